//! Devices and webhooks that people make are laid over those of the config; what comes of it is in force. This is where they are put
//! together, and the desk where changes of them go through, one after the other and none beside a reload.
//!
//! A person's change is read by the config's own reader, written down by the state, applied as a reload is, told to the browsers,
//! and then answered: what was answered is in force and survives a kill.
//!
//! What people say of a device overrides or completes what the config says; a webhook is either the config's or a person's. When
//! a changed config brings a webhook by the name of a person's, the config's is in force and the person's stands aside, with the
//! reason, until one of them is gone. What this gateway can't read stands aside too: no file's contents keep it from starting.

use std::collections::HashMap;

use serde_json::{Map, Value as JsonValue, json};

use super::{App, StartError, change::Difference, rules::shown};
use crate::{
    cause,
    config::{Body, Config, Written, read_device, read_webhook},
    http::{self, Entries, Entry, MadeRequest, MadeWish, Origin, Refusal, webhook_shown},
    live::Topic,
    state::{Made, MadeDraft, MadeError, SECRET_KEYS, State, StateError, Thing},
    store::DeviceConfig,
};

/// Keys of a webhook that say where it is: its secrets are for there.
const ADDRESS_KEYS: [&str; 4] = ["kind", "host", "port", "security"];

/// What people made, as it is written down.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Own {
    pub(super) webhooks: Vec<Made>,
    pub(super) devices: Vec<Made>,
}

impl Own {
    pub(super) async fn read(state: &State) -> Result<Self, StateError> {
        Ok(Self {
            webhooks: state.made(Thing::Webhook).await?,
            devices: state.made(Thing::Device).await?,
        })
    }

    fn of(&self, thing: Thing) -> &[Made] {
        match thing {
            Thing::Device => &self.devices,
            _ => &self.webhooks,
        }
    }
}

/// A config with what people made laid over it.
#[derive(Debug)]
pub(super) struct Laid {
    /// What is in force.
    pub(super) config: Config,
    /// As it is shown.
    pub(super) entries: Entries,
}

/// Lays what people made over the config of the file.
pub(super) fn lay_over(file: &Config, own: &Own) -> Laid {
    let mut config = file.clone();
    let written = |thing, written: &Written| Entry {
        thing,
        id: written.name.to_string(),
        origin: Origin::File,
        made: None,
        in_force: true,
        problem: None,
        configured: Some(written.body.clone()),
        file: file.file.clone(),
        line: Some(written.line),
    };
    let all = |thing, list: &[Written]| list.iter().map(|one| written(thing, one)).collect();
    let mut entries = Entries {
        webhooks: all(Thing::Webhook, &file.written_webhooks),
        devices: all(Thing::Device, &file.written_devices),
    };
    for made in &own.webhooks {
        let mut entry = of_person(made);
        let taken = entries.webhooks.iter().find(|other| other.id == entry.id);
        match (taken, read_webhook(&made.body)) {
            (Some(taken), _) => {
                entry.problem = Some(format!(
                    "the name is taken by the webhook at {}",
                    taken.place()
                ));
            }
            (None, (Some(webhook), faults)) if faults.is_empty() => {
                entry.in_force = made.enabled;
                if made.enabled {
                    config.webhooks.push(webhook);
                }
            }
            (None, (_, faults)) => entry.problem = Some(in_words(faults)),
        }
        entries.webhooks.push(entry);
    }
    let places = entries.devices.iter().zip(0..);
    let known: HashMap<String, usize> = places.map(|(entry, at)| (entry.id.clone(), at)).collect();
    for made in &own.devices {
        let mut said = of_person(made);
        let at = known.get(made.id.as_str()).copied();
        match read_device(&with_id(&made.body, &made.id)) {
            (Some(device), faults) if faults.is_empty() => {
                said.in_force = true;
                let device = DeviceConfig {
                    version: made.version,
                    ..device
                };
                match at {
                    Some(at) => complete(&mut config.engine.devices[at], device, &made.body),
                    None => config.engine.devices.push(device),
                }
            }
            (_, faults) => said.problem = Some(in_words(faults)),
        }
        match at {
            Some(at) => {
                let configured = &mut entries.devices[at];
                configured.origin = Origin::Person;
                configured.in_force = said.in_force;
                configured.problem = said.problem;
                configured.made = said.made;
            }
            None => entries.devices.push(said),
        }
    }
    Laid { config, entries }
}

fn of_person(made: &Made) -> Entry {
    Entry {
        thing: made.thing,
        id: made.id.to_string(),
        origin: Origin::Person,
        made: Some(made.clone()),
        in_force: false,
        problem: None,
        configured: None,
        file: None,
        line: None,
    }
}

fn in_words(faults: Vec<crate::config::KeyFault>) -> String {
    let said: Vec<String> = faults.into_iter().map(|fault| fault.detail).collect();
    said.join("; ")
}

fn with_id(body: &Body, id: &str) -> Body {
    let mut body = body.clone();
    body.insert(String::from("id"), json!(id));
    body
}

/// What a person says of a device counts more; labels count one by one.
fn complete(device: &mut DeviceConfig, said: DeviceConfig, body: &Body) {
    device.version = said.version;
    device.name = said.name.or(device.name.take());
    device.site = said.site.or(device.site.take());
    device.note = said.note.or(device.note.take());
    device.labels.extend(said.labels);
    if body.contains_key("expect") {
        device.expect = said.expect;
    }
    device.interval = said.interval.or(device.interval);
}

/// Carries the secrets of a webhook on that the new wish does not speak of; not to another address.
fn keep_secrets(before: &Body, wish: &mut Body) -> Vec<http::KeyFault> {
    let host = |body: &Body| {
        let url = body.get("url").and_then(JsonValue::as_str)?;
        let url = reqwest::Url::parse(url).ok()?;
        Some((
            url.scheme().to_owned(),
            url.host_str()?.to_owned(),
            url.port_or_known_default(),
        ))
    };
    let moved = ADDRESS_KEYS.iter().any(|key| {
        wish.get(*key).unwrap_or(&JsonValue::Null) != before.get(*key).unwrap_or(&JsonValue::Null)
    }) || wish.contains_key("url") && host(wish) != host(before);
    let mut faults = Vec::new();
    for key in SECRET_KEYS {
        let Some(held) = before.get(key).filter(|_| !wish.contains_key(key)) else {
            continue;
        };
        if moved && key != "url" {
            faults.push(http::KeyFault {
                key: Some(key.to_owned()),
                detail: format!("the address is another one: say `{key}` again, or null for none"),
            });
        }
        wish.insert(key.to_owned(), held.clone());
    }
    faults
}

/// What is new in a list of entries, to be told.
fn news(before: &[Entry], after: &[Entry], show: impl Fn(&Entry) -> JsonValue) -> Vec<JsonValue> {
    let known: HashMap<(&str, Origin), &Entry> = before
        .iter()
        .map(|entry| ((entry.id.as_str(), entry.origin), entry))
        .collect();
    let gone = before
        .iter()
        .filter(|old| after.iter().all(|new| new.id != old.id));
    let gone = gone.map(|old| json!({"id": old.id, "deleted": true}));
    let changed = after
        .iter()
        .filter(|new| known.get(&(new.id.as_str(), new.origin)) != Some(new));
    gone.chain(changed.map(show)).collect()
}

impl App {
    /// A change of a device or webhook that a person asks for. Pends for ever once nobody can ask any more.
    pub async fn asked(&mut self) -> MadeRequest {
        match self.asked.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// Does it. Who asked and went away misses only the answer.
    pub async fn answer(&mut self, request: MadeRequest) {
        match request {
            MadeRequest::Create {
                thing,
                wish,
                answer,
            } => drop(answer.send(self.create(thing, wish).await)),
            MadeRequest::Change {
                thing,
                id,
                version,
                wish,
                answer,
            } => drop(answer.send(self.change(thing, &id, version, wish).await)),
            MadeRequest::Delete {
                thing,
                id,
                version,
                by,
                answer,
            } => drop(answer.send(self.delete(thing, &id, version, by).await)),
        }
    }

    async fn create(&mut self, thing: Thing, mut wish: MadeWish) -> Result<Made, Refusal> {
        self.catch_up().await?;
        wish.body.retain(|_, value| !value.is_null());
        let id = self.check(thing, None, &mut wish.body)?;
        let draft = MadeDraft {
            body: wish.body,
            enabled: wish.enabled.unwrap_or(true),
            by: wish.by,
        };
        let made = self.state.make(thing, Some(&id), draft).await;
        let made = made.map_err(Refusal::Not)?;
        self.put_in_force().await?;
        Ok(made)
    }

    async fn change(
        &mut self,
        thing: Thing,
        id: &str,
        version: Option<u64>,
        mut wish: MadeWish,
    ) -> Result<Made, Refusal> {
        self.catch_up().await?;
        let Some(before) = self
            .own
            .of(thing)
            .iter()
            .find(|made| made.id == id)
            .cloned()
        else {
            return self.first_word(thing, id, version, wish).await;
        };
        // Who changes what is no more is told that first, and not what is wrong with it.
        if version.is_some_and(|version| version != before.version) {
            return Err(Refusal::Changed(thing, self.shown(thing, id)));
        }
        let mut faults = Vec::new();
        if thing == Thing::Webhook {
            faults = keep_secrets(&before.body, &mut wish.body);
        }
        wish.body.retain(|_, value| !value.is_null());
        if !faults.is_empty() {
            return Err(Refusal::Wrong(thing, faults));
        }
        self.check(thing, Some(id), &mut wish.body)?;
        let draft = MadeDraft {
            body: wish.body,
            enabled: wish.enabled.unwrap_or(before.enabled),
            by: wish.by,
        };
        let changed = self.state.change_made(thing, id, version, draft).await;
        let changed = changed.map_err(|error| self.refused(error))?;
        self.put_in_force().await?;
        Ok(changed)
    }

    /// Nobody said anything of this yet: of a device that the config knows, or that was heard, somebody may begin.
    async fn first_word(
        &mut self,
        thing: Thing,
        id: &str,
        version: Option<u64>,
        mut wish: MadeWish,
    ) -> Result<Made, Refusal> {
        self.of_file_or_unknown(thing, id).await?;
        if version.is_some_and(|version| version != 0) {
            return Err(Refusal::Changed(thing, self.shown(thing, id)));
        }
        wish.body.insert(String::from("id"), json!(id));
        self.create(thing, wish).await
    }

    async fn delete(
        &mut self,
        thing: Thing,
        id: &str,
        version: Option<u64>,
        by: String,
    ) -> Result<Made, Refusal> {
        self.catch_up().await?;
        if self.own.of(thing).iter().all(|made| made.id != id) {
            let entries = self.entries();
            let entry = entries.iter_of(thing).find(|entry| entry.id == id);
            return Err(entry.map_or(Refusal::Not(MadeError::Unknown(thing)), of_file));
        }
        let gone = self.state.delete_made(thing, id, version, by).await;
        let gone = gone.map_err(|error| self.refused(error))?;
        self.put_in_force().await?;
        Ok(gone)
    }

    /// Whether it may be written down, and its id; `at` is the one that it takes the place of.
    fn check(&self, thing: Thing, at: Option<&str>, body: &mut Body) -> Result<String, Refusal> {
        let key = if thing == Thing::Device { "id" } else { "name" };
        if let Some(at) = at {
            let said = body.entry(key).or_insert_with(|| json!(at));
            if said.as_str() != Some(at) {
                let detail = format!(
                    "the `{key}` of a {} stays as it is: make another one",
                    thing.name()
                );
                return Err(fault(thing, key, detail));
            }
        }
        let faults = match thing {
            Thing::Device => read_device(body).1,
            _ => read_webhook(body).1,
        };
        if !faults.is_empty() {
            return Err(Refusal::Wrong(
                thing,
                faults.into_iter().map(shown).collect(),
            ));
        }
        let id = body.get(key).and_then(JsonValue::as_str);
        let id = id.unwrap_or_default().to_owned();
        if thing == Thing::Device {
            // It is the id of the row.
            body.remove("id");
            return Ok(id);
        }
        let entries = self.entries();
        let of_file = |entry: &&Entry| entry.id == id && entry.origin == Origin::File;
        if let Some(taken) = entries.webhooks.iter().find(of_file) {
            let place = taken.place();
            return Err(Refusal::NameTaken(format!(
                "the name \"{id}\" is taken by the webhook at {place}: give this one another"
            )));
        }
        if let (Some(webhook), _) = read_webhook(body)
            && let Err(error) = self.outlets.prepare_webhook(&webhook)
        {
            let detail = cause::chain(&error);
            return Err(Refusal::Wrong(
                thing,
                vec![http::KeyFault { key: None, detail }],
            ));
        }
        Ok(id)
    }

    async fn of_file_or_unknown(&self, thing: Thing, id: &str) -> Result<(), Refusal> {
        let entries = self.entries();
        let entry = entries.iter_of(thing).find(|entry| entry.id == id);
        match (thing, entry) {
            (Thing::Device, Some(_)) => Ok(()),
            (Thing::Device, None) => {
                let heard = self.journalled_device(id).await;
                heard
                    .then_some(())
                    .ok_or(Refusal::Not(MadeError::Unknown(thing)))
            }
            (_, Some(entry)) => Err(of_file(entry)),
            (_, None) => Err(Refusal::Not(MadeError::Unknown(thing))),
        }
    }

    async fn journalled_device(&self, id: &str) -> bool {
        let devices = self.engine.devices().await.unwrap_or_default();
        devices.iter().any(|device| device.id.0 == id)
    }

    /// The file is what counts: it may have been lost, and begun anew, since it was last read.
    async fn catch_up(&mut self) -> Result<(), Refusal> {
        let own = Own::read(&self.state).await?;
        if own != self.own {
            self.own = own;
            self.apply_own().await.map_err(not_in_force)?;
        }
        Ok(())
    }

    async fn put_in_force(&mut self) -> Result<(), Refusal> {
        self.own = Own::read(&self.state).await?;
        self.apply_own().await.map_err(not_in_force)
    }

    async fn apply_own(&mut self) -> Result<(), StartError> {
        let laid = lay_over(&self.file, &self.own);
        let difference = Difference::between(&self.config, &laid.config);
        if !difference.is_empty() {
            // On the heap: it is large, and needed now and then.
            Box::pin(self.apply(&difference, &laid.config)).await?;
            tracing::info!(changed = %difference.words(), "what people made is in force");
        }
        self.config = laid.config;
        self.show(laid.entries).await;
        Ok(())
    }

    /// Shows what is in force to whoever asks, and tells what is new in it.
    pub(super) async fn show(&self, entries: Entries) {
        let webhooks = self.config.webhooks.clone();
        let before = self.entries();
        let told = news(&before.webhooks, &entries.webhooks, |entry| {
            JsonValue::Object(webhook_shown(entry, &webhooks))
        });
        for entry in entries.webhooks.iter().chain(&entries.devices) {
            if let Some(problem) = &entry.problem {
                tracing::warn!(
                    thing = entry.thing.name(),
                    id = entry.id,
                    problem,
                    "something is wrong with what a person made"
                );
            }
        }
        let left: Vec<String> = before
            .devices
            .iter()
            .filter(|old| entries.devices.iter().all(|new| new.id != old.id))
            .map(|old| old.id.clone())
            .collect();
        self.configured.send_modify(|configured| {
            configured.webhooks = webhooks.into();
            configured.made = entries.into();
        });
        self.hub.made(Topic::Webhook, told).await;
        if left.is_empty() {
            return;
        }
        // Those that were heard go on under their ids; the engine says so.
        let heard = self.engine.devices().await.unwrap_or_default();
        let gone = left
            .iter()
            .filter(|id| heard.iter().all(|device| device.id.0 != **id))
            .map(|id| json!({"id": id, "deleted": true}));
        self.hub.made(Topic::Device, gone.collect()).await;
    }

    fn entries(&self) -> std::sync::Arc<Entries> {
        std::sync::Arc::clone(&self.configured.borrow().made)
    }

    fn shown(&self, thing: Thing, id: &str) -> JsonValue {
        let entries = self.entries();
        let entry = entries.iter_of(thing).find(|entry| entry.id == id);
        let shown = entry.map(|entry| match thing {
            Thing::Webhook => webhook_shown(entry, &self.config.webhooks),
            _ => entry.shown(),
        });
        JsonValue::Object(shown.unwrap_or_else(Map::new))
    }

    fn refused(&self, error: MadeError) -> Refusal {
        match error {
            MadeError::Changed(made) => {
                Refusal::Changed(made.thing, self.shown(made.thing, &made.id))
            }
            other => Refusal::Not(other),
        }
    }
}

fn of_file(entry: &Entry) -> Refusal {
    Refusal::OfFile {
        thing: entry.thing,
        name: entry.id.clone(),
        place: entry.place(),
        current: JsonValue::Object(entry.shown()),
    }
}

fn fault(thing: Thing, key: &str, detail: String) -> Refusal {
    let fault = http::KeyFault {
        key: Some(key.to_owned()),
        detail,
    };
    Refusal::Wrong(thing, vec![fault])
}

/// It is written down, and could not be applied: the next start, or the next change, does.
fn not_in_force(error: StartError) -> Refusal {
    tracing::error!(error = %cause::chain(&error), "what a person made is written down and could not be put in force");
    Refusal::NotInForce(cause::chain(&error))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{
        config::{Surroundings, parse},
        model::Timestamp,
    };

    fn config(text: &str) -> Config {
        let around = Surroundings {
            folder: Path::new(""),
            read_file: &|_| Ok(String::new()),
            environment: &|_| None,
        };
        let mut config = parse("gateway.toml", text, &around).unwrap();
        config.file = Some(String::from("gateway.toml"));
        config
    }

    fn body(body: JsonValue) -> Body {
        body.as_object().unwrap().clone()
    }

    fn made(thing: Thing, id: &str, said: JsonValue) -> Made {
        Made {
            thing,
            id: id.into(),
            version: 3,
            enabled: true,
            body: body(said),
            created_by: String::from("Ada"),
            created: Timestamp(0),
            changed_by: None,
            changed: None,
        }
    }

    #[test]
    fn what_people_say_of_a_device_overrides_or_completes_what_the_config_says() {
        let file = config(
            "[[device]]\nid = \"pump\"\nname = \"Pump\"\nsite = \"hill\"\nlabels = { floor = \"1\", kind = \"gas\" }\nexpect = [\"flow\"]\ninterval = \"10s\"\n",
        );
        let own = Own {
            devices: vec![
                made(
                    Thing::Device,
                    "pump",
                    json!({"name": "The pump", "labels": {"floor": "2"}, "note": "leaks"}),
                ),
                made(Thing::Device, "new", json!({"site": "barn"})),
                made(Thing::Device, "odd", json!({"colour": "red"})),
            ],
            webhooks: Vec::new(),
        };
        let laid = lay_over(&file, &own);
        let [pump, new] = &laid.config.engine.devices[..] else {
            panic!("{:?}", laid.config.engine.devices);
        };
        assert_eq!(pump.name.as_deref(), Some("The pump"));
        assert_eq!(pump.site.as_deref(), Some("hill"));
        let labels: Vec<_> = pump
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(labels, ["floor=2", "kind=gas"]);
        assert_eq!((&pump.expect[..], pump.version), (&["flow".into()][..], 3));
        assert_eq!(pump.interval, Some(Duration::from_secs(10)));
        assert_eq!(pump.note.as_deref(), Some("leaks"));
        assert_eq!(
            (new.id.as_str(), new.site.as_deref()),
            ("new", Some("barn"))
        );
        let problem = laid.entries.devices[2].problem.as_deref();
        assert!(problem.unwrap().contains("`colour`"), "{problem:?}");
        let shown = laid.entries.devices[0].shown();
        assert_eq!(
            (&shown["origin"], &shown["line"]),
            (&json!("person"), &json!(1))
        );
        assert_eq!(shown["configured"]["name"], "Pump");
        assert_eq!(shown["device"]["name"], "The pump");
    }

    #[test]
    fn a_webhook_of_the_config_comes_before_one_of_a_person_by_its_name_which_stands_aside() {
        let file = config("[[webhook]]\nname = \"ops\"\nurl = \"http://a/b\"\n");
        let hook = |id: &str, url: &str| made(Thing::Webhook, id, json!({"name": id, "url": url}));
        let mut off = hook("off", "http://e/f");
        off.enabled = false;
        let own = Own {
            devices: Vec::new(),
            webhooks: vec![
                hook("ops", "http://c/d"),
                hook("mine", "http://c/S3CRET"),
                off,
            ],
        };
        let laid = lay_over(&file, &own);
        let names: Vec<_> = laid
            .config
            .webhooks
            .iter()
            .map(|w| w.name.as_str())
            .collect();
        assert_eq!(names, ["ops", "mine"]);
        let stands: Vec<_> = laid
            .entries
            .webhooks
            .iter()
            .map(|e| (e.origin, e.in_force))
            .collect();
        let person = Origin::Person;
        assert_eq!(
            stands,
            [
                (Origin::File, true),
                (person, false),
                (person, true),
                (person, false)
            ]
        );
        let problem = laid.entries.webhooks[1].problem.as_deref();
        assert_eq!(
            problem,
            Some("the name is taken by the webhook at gateway.toml:1")
        );
        let shown = json!(laid.entries.webhooks[2].shown());
        assert_eq!(
            (&shown["secrets"], &shown["webhook"]),
            (&json!(["url"]), &json!({"name": "mine"}))
        );
        assert!(!shown.to_string().contains("S3CRET"));
    }

    #[test]
    fn secrets_are_kept_at_the_address_and_not_sent_to_another_one() {
        let before = body(
            json!({"name": "ops", "url": "https://a.example/x", "token": "t", "headers": {"a": "b"}}),
        );
        let mut wish = body(json!({"name": "ops", "timeout": "5s"}));
        assert!(keep_secrets(&before, &mut wish).is_empty());
        assert_eq!(
            (&wish["token"], &wish["url"]),
            (&json!("t"), &before["url"])
        );
        let mut wish = body(json!({"name": "ops", "url": "https://a.example/y", "token": null}));
        assert!(keep_secrets(&before, &mut wish).is_empty());
        assert_eq!(
            (&wish["token"], &wish["headers"]),
            (&JsonValue::Null, &before["headers"])
        );
        let mut wish = body(json!({"name": "ops", "url": "https://evil.example/", "headers": {}}));
        let faults = keep_secrets(&before, &mut wish);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].key.as_deref(), Some("token"));
    }
}
