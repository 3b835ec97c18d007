//! The rules of the config and those that people make are one list; this is where it is put together, and where each change of either
//! goes through, one after the other.
//!
//! A person's change is read by the config's own reader, written down by the state, applied to the engine as a reload is, told to the
//! browsers, and then answered: what was answered is in force and survives a kill.
//!
//! A name belongs to one rule. A person can't take one that is taken. When a changed config brings a name that a person's rule has,
//! the config's is in force and the person's stands aside, with the reason, until one of them is called otherwise: a restart
//! must not come to another end than a reload, and a start can't refuse. So it is with a rule that this gateway can't read.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use serde_json::{Map, Value as JsonValue, json};
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    alert::Rule,
    config::{self, Config, dependence_fault, read_rule},
    engine::{self, Engine},
    http::{
        self, Answer, KeyFault, Origin, Refusal, RuleEntry, RuleRequest, RuleToRehearse, RuleWish,
    },
    live::{Hub, Topic},
    state::{Made, MadeDraft, MadeError, State, Thing},
};

/// Names of copies that are tried.
const MAX_COPIES: usize = 1_000;

/// All rules.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// Those in force.
    pub(super) rules: Vec<Rule>,
    /// All, as they are shown: those of the config first.
    pub(super) entries: Vec<RuleEntry>,
}

/// The rules of the config, and behind them those of people that are enabled and can be read.
pub(super) fn merge(config: &Config, own: &[Made]) -> Merged {
    let mut merged = Merged {
        rules: Vec::new(),
        entries: config
            .rules
            .iter()
            .map(|written| RuleEntry {
                id: format!("file:{}", written.name),
                name: written.name.to_string(),
                origin: Origin::File,
                version: None,
                enabled: true,
                in_force: true,
                problem: None,
                file: config.file.clone(),
                line: Some(written.line),
                created_by: None,
                created_ms: None,
                changed_by: None,
                changed_ms: None,
                rule: written.body.clone(),
            })
            .collect(),
    };
    let mut all = config.clone();
    for rule in own {
        let mut entry = RuleEntry::of_person(rule);
        let (kept, places) = (all.engine.rules.len(), all.rules.len());
        entry.problem = if let Some(taken) = name_taken(&merged.entries, &entry.name) {
            Some(taken)
        } else {
            let (read, faults) = read_rule(&mut all, &rule.body);
            // A webhook that is gone is no reason to watch less.
            let usable = read.is_some()
                && faults
                    .iter()
                    .all(|fault| fault.key.as_deref() == Some("webhooks"));
            entry.in_force = rule.enabled && usable;
            let said: Vec<String> = faults.into_iter().map(|fault| fault.detail).collect();
            (!said.is_empty()).then(|| said.join("; "))
        };
        if !entry.in_force {
            all.engine.rules.truncate(kept);
            all.rules.truncate(places);
        }
        merged.entries.push(entry);
    }
    merged.rules = all.engine.rules;
    doubt_dependence(&mut merged);
    merged
}

/// A rule whose dependence is gone watches on, and says so: it stands back for nobody.
fn doubt_dependence(merged: &mut Merged) {
    let in_force: Vec<Depending> = merged
        .rules
        .iter()
        .map(|rule| (rule.name.clone(), rule.life.depends_on.clone()))
        .collect();
    let names: HashSet<String> = merged.entries.iter().map(|e| e.name.clone()).collect();
    for entry in &mut merged.entries {
        if !entry.in_force || entry.origin != Origin::Person {
            continue;
        }
        let (name, depends_on) = depending(&entry.name, &entry.rule);
        let said = depends_on.iter().filter_map(|on| {
            let fault = dependence_fault(&in_force, &name, on)?;
            let stands_by =
                names.contains(on.as_str()) && in_force.iter().all(|(rule, _)| rule != on);
            Some(if stands_by {
                format!("the rule \"{on}\", which it depends on, is not in force")
            } else {
                fault
            })
        });
        let said: Vec<String> = entry.problem.take().into_iter().chain(said).collect();
        entry.problem = (!said.is_empty()).then(|| said.join("; "));
    }
}

/// The name of a rule, and those that it depends on.
type Depending = (SmolStr, Vec<SmolStr>);

/// By the keys of `[[rule]]`.
fn depending(name: &str, body: &Map<String, JsonValue>) -> Depending {
    let on = body.get("depends_on").and_then(JsonValue::as_array);
    let names = on.into_iter().flatten().filter_map(JsonValue::as_str);
    (SmolStr::new(name), names.map(SmolStr::new).collect())
}

/// Who has this name, in words.
fn name_taken(entries: &[RuleEntry], name: &str) -> Option<String> {
    let taken = entries.iter().find(|entry| entry.name == name)?;
    Some(match taken.origin {
        Origin::File => format!(
            "the name \"{name}\" is taken by the rule at {}",
            http::rule_place(taken)
        ),
        Origin::Person => {
            let who = taken.created_by.as_deref().unwrap_or("a person");
            format!("the name \"{name}\" is taken by a rule that {who} made")
        }
    })
}

/// What the desk works with.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) engine: Engine,
    pub(super) state: State,
    pub(super) hub: Hub,
    pub(super) configured: watch::Sender<http::Configured>,
}

/// A changed config, for the desk.
#[derive(Debug)]
struct Reload {
    config: Box<Config>,
    /// Whether the engine needs it whatever became of the rules.
    engine: bool,
    done: oneshot::Sender<()>,
}

/// The config's way to the desk. When this and the askers over HTTP are gone, the desk ends.
#[derive(Debug)]
pub(super) struct Desk {
    reloads: mpsc::Sender<Reload>,
}

impl Desk {
    /// Starts the desk with what is in force.
    pub(super) fn start(
        around: Around,
        config: Config,
        own: Vec<Made>,
        merged: Merged,
        asked: mpsc::Receiver<RuleRequest>,
        registry: &mut Registry,
    ) -> Self {
        let (reloads, reloaded) = mpsc::channel(1);
        let aside = Gauge::default();
        registry.register(
            "gateway_rules_set_aside",
            "Rules of people that are enabled and not in force: their name is taken, or they cannot be read",
            aside.clone(),
        );
        let task = Task {
            around,
            config,
            own,
            merged: Merged::default(),
            aside,
        };
        tokio::spawn(task.run(merged, asked, reloaded));
        Self { reloads }
    }

    /// Takes the rules of this config, and the engine's other settings if `engine` says so. Returns when they are in force.
    pub(super) async fn reload(&self, config: &Config, engine: bool) {
        let (done, is_done) = oneshot::channel();
        let reload = Reload {
            config: Box::new(config.clone()),
            engine,
            done,
        };
        if self.reloads.send(reload).await.is_err() || is_done.await.is_err() {
            tracing::debug!("the gateway ends: it takes no other rules");
        }
    }
}

struct Task {
    around: Around,
    config: Config,
    own: Vec<Made>,
    merged: Merged,
    aside: Gauge,
}

impl Task {
    async fn run(
        mut self,
        merged: Merged,
        mut asked: mpsc::Receiver<RuleRequest>,
        mut reloaded: mpsc::Receiver<Reload>,
    ) {
        // Whoever comes from before the start asks anew.
        drop(self.take(merged));
        loop {
            tokio::select! {
                Some(reload) = reloaded.recv() => {
                    self.config = *reload.config;
                    self.put_in_force(reload.engine).await;
                    // A stop may have come between.
                    let _gone = reload.done.send(());
                }
                Some(request) = asked.recv() => self.answer(request).await,
                else => return,
            }
        }
    }

    /// Who asked and went away misses only the answer.
    async fn answer(&mut self, request: RuleRequest) {
        fn send<T>(answer: Answer<T>, said: Result<T, Refusal>) {
            drop(answer.send(said));
        }
        match request {
            RuleRequest::Read(body, answer) => send(answer, self.to_rehearse(&body)),
            RuleRequest::Create(wish, answer) => send(answer, self.create(wish).await),
            RuleRequest::Duplicate {
                id,
                name,
                enabled,
                by,
                answer,
            } => send(answer, self.duplicate(&id, name, enabled, by).await),
            RuleRequest::Change {
                id,
                version,
                wish,
                answer,
            } => send(answer, self.change(&id, version, wish).await),
            RuleRequest::Delete {
                id,
                version,
                by,
                answer,
            } => send(answer, self.delete(&id, version, by).await),
        }
    }

    fn to_rehearse(&self, body: &Map<String, JsonValue>) -> Result<Box<RuleToRehearse>, Refusal> {
        let mut config = self.read(body)?;
        let rule = config.rules.first().cloned();
        let (along, notes) =
            rule.map_or_else(Default::default, |rule| run_along(&self.merged, rule));
        config.rules.extend(along);
        Ok(Box::new(RuleToRehearse { config, notes }))
    }

    fn read(&self, body: &Map<String, JsonValue>) -> Result<engine::Config, Refusal> {
        let mut alone = self.config.clone();
        alone.rules.clear();
        alone.engine.rules.clear();
        let (_, faults) = read_rule(&mut alone, body);
        if faults.is_empty() {
            Ok(alone.engine)
        } else {
            Err(wrong(faults))
        }
    }

    /// Whether a rule may be written down; `but` is the one that it takes the place of.
    fn check(&self, body: &Map<String, JsonValue>, but: Option<&str>) -> Result<(), Refusal> {
        self.read(body)?;
        let name = body.get("name").and_then(JsonValue::as_str);
        let faults = wrong_dependence(&self.merged.entries, name.unwrap_or_default(), body, but);
        if !faults.is_empty() {
            return Err(wrong(faults));
        }
        let others: Vec<RuleEntry> = self
            .merged
            .entries
            .iter()
            .filter(|entry| but != Some(entry.id.as_str()) && Some(entry.name.as_str()) == name)
            .cloned()
            .collect();
        match name.and_then(|name| name_taken(&others, name)) {
            Some(taken) => Err(Refusal::NameTaken(format!(
                "{taken}: give this one another"
            ))),
            None => Ok(()),
        }
    }

    async fn create(&mut self, wish: RuleWish) -> Result<RuleEntry, Refusal> {
        self.catch_up().await?;
        let body = wish.body.unwrap_or_default();
        self.check(&body, None)?;
        let draft = MadeDraft {
            body,
            enabled: wish.enabled.unwrap_or(true),
            by: wish.by,
        };
        let made = self.around.state.make(Thing::Rule, None, draft).await;
        let made = made.map_err(Refusal::Not)?;
        let id = made.id.clone();
        self.own.push(made);
        self.put_in_force(false).await;
        self.entry(&id)
    }

    async fn duplicate(
        &mut self,
        id: &str,
        name: Option<String>,
        enabled: bool,
        by: String,
    ) -> Result<RuleEntry, Refusal> {
        let mut body = self.entry(id)?.rule;
        let name = name.unwrap_or_else(|| {
            let name = body.get("name").and_then(JsonValue::as_str);
            let name = name.unwrap_or_default();
            let copies = (1..=MAX_COPIES).map(|n| match n {
                1 => format!("{name} copy"),
                n => format!("{name} copy {n}"),
            });
            let is_free = |copy: &String| self.merged.entries.iter().all(|e| e.name != *copy);
            copies.into_iter().find(is_free).unwrap_or_default()
        });
        body.insert(String::from("name"), JsonValue::String(name));
        let wish = RuleWish {
            body: Some(body),
            enabled: Some(enabled),
            by,
        };
        self.create(wish).await
    }

    async fn change(
        &mut self,
        id: &str,
        version: Option<u64>,
        wish: RuleWish,
    ) -> Result<RuleEntry, Refusal> {
        self.catch_up().await?;
        let before = self.of_person(id)?.clone();
        // Who changes what is no more is told that first, and not what is wrong with it.
        if version.is_some_and(|version| version != before.version) {
            return Err(Refusal::Changed(Thing::Rule, json!(self.entry(id)?)));
        }
        if let Some(body) = &wish.body {
            self.check(body, Some(id))?;
        }
        let draft = MadeDraft {
            body: wish.body.unwrap_or(before.body),
            enabled: wish.enabled.unwrap_or(before.enabled),
            by: wish.by,
        };
        let changed = self
            .around
            .state
            .change_made(Thing::Rule, id, version, draft)
            .await;
        let changed = changed.map_err(refused)?;
        if let Some(own) = self.own.iter_mut().find(|own| own.id == id) {
            *own = changed;
        }
        self.put_in_force(false).await;
        self.entry(id)
    }

    async fn delete(&mut self, id: &str, version: Option<u64>, by: String) -> Result<(), Refusal> {
        self.catch_up().await?;
        self.of_person(id)?;
        let gone = self
            .around
            .state
            .delete_made(Thing::Rule, id, version, by)
            .await;
        gone.map_err(refused)?;
        self.own.retain(|own| own.id != id);
        self.put_in_force(false).await;
        Ok(())
    }

    /// The file is what counts: it may have been lost, and begun anew, since it was last read.
    async fn catch_up(&mut self) -> Result<(), Refusal> {
        let own = self.around.state.made(Thing::Rule).await?;
        if own != self.own {
            self.own = own;
            self.put_in_force(false).await;
        }
        Ok(())
    }

    fn entry(&self, id: &str) -> Result<RuleEntry, Refusal> {
        let found = self.merged.entries.iter().find(|entry| entry.id == id);
        found
            .cloned()
            .ok_or(Refusal::Not(MadeError::Unknown(Thing::Rule)))
    }

    fn of_person(&self, id: &str) -> Result<&Made, Refusal> {
        if let Some(own) = self.own.iter().find(|own| own.id == id) {
            return Ok(own);
        }
        let entry = self.entry(id)?;
        Err(Refusal::OfFile {
            thing: Thing::Rule,
            name: entry.name.clone(),
            place: http::rule_place(&entry),
            current: json!(entry),
        })
    }

    /// Applies the list as it is now.
    async fn put_in_force(&mut self, engine: bool) {
        let merged = merge(&self.config, &self.own);
        if engine || merged.rules != self.merged.rules {
            let mut settings = self.config.engine.clone();
            settings.rules.clone_from(&merged.rules);
            if self.around.engine.reconfigure(settings).await.is_err() {
                tracing::debug!("the engine ends: it takes no other rules");
            }
        }
        let news = self.take(merged);
        self.around.hub.made(Topic::Rule, news).await;
    }

    /// Shows the list to whoever asks; gives what is new in it.
    fn take(&mut self, merged: Merged) -> Vec<JsonValue> {
        let shown = |entries: &[RuleEntry]| -> HashMap<String, RuleEntry> {
            let by_id = entries
                .iter()
                .map(|entry| (entry.id.clone(), entry.clone()));
            by_id.collect()
        };
        let (before, after) = (shown(&self.merged.entries), shown(&merged.entries));
        let mut news = Vec::new();
        for id in before.keys().filter(|id| !after.contains_key(*id)) {
            news.push(json!({"id": id, "deleted": true}));
        }
        for entry in &merged.entries {
            let old = before.get(&entry.id);
            if old != Some(entry) {
                news.push(json!(entry));
            }
            if let Some(problem) = &entry.problem
                && entry.enabled
                && old.and_then(|old| old.problem.as_ref()) != Some(problem)
            {
                tracing::warn!(
                    rule = %entry.name, id = %entry.id, in_force = entry.in_force, problem,
                    "something is wrong with a rule that a person made"
                );
            }
        }
        let aside = merged.entries.iter().filter(|e| e.enabled && !e.in_force);
        self.aside
            .set(i64::try_from(aside.count()).unwrap_or(i64::MAX));
        let entries: Arc<[RuleEntry]> = merged.entries.clone().into();
        self.merged = merged;
        self.around
            .configured
            .send_modify(|configured| configured.rules = entries);
        news
    }
}

/// The rules in force that a rule depends on, over however many, and what must be said of those that are left out.
fn run_along(merged: &Merged, rule: Rule) -> (Vec<Rule>, Vec<String>) {
    // It takes the place of the one that has its name.
    let others = || merged.rules.iter().filter(|other| other.name != rule.name);
    let all: Vec<Depending> = others()
        .chain([&rule])
        .map(|rule| (rule.name.clone(), rule.life.depends_on.clone()))
        .collect();
    let mut notes = Vec::new();
    let mut taken = vec![rule.clone()];
    let mut at = 0;
    while let Some(one) = taken.get(at).cloned() {
        at += 1;
        for on in &one.life.depends_on {
            let fault = dependence_fault(&all, &one.name, on).map(|fault| {
                match merged.entries.iter().any(|entry| entry.name == *on) {
                    true if all.iter().all(|(name, _)| name != on) => {
                        format!("the rule \"{on}\" is not in force")
                    }
                    _ => fault,
                }
            });
            if let Some(fault) = fault {
                notes.push(format!(
                    "\"{}\" is judged without the rule \"{on}\", which it depends on: {fault}.",
                    one.name
                ));
            } else if taken.iter().all(|rule| rule.name != *on) {
                taken.extend(others().find(|rule| rule.name == *on).cloned());
            }
        }
    }
    taken.remove(0);
    (taken, notes)
}

/// What is wrong with what a rule depends on that may take the place of `but`. Those that are not in force count: they may be again.
fn wrong_dependence(
    entries: &[RuleEntry],
    name: &str,
    body: &Map<String, JsonValue>,
    but: Option<&str>,
) -> Vec<config::KeyFault> {
    let this = depending(name, body);
    let mut all: Vec<Depending> = entries
        .iter()
        .filter(|entry| but != Some(entry.id.as_str()))
        .map(|entry| depending(&entry.name, &entry.rule))
        .collect();
    all.push(this.clone());
    let faults = this
        .1
        .iter()
        .filter_map(|on| dependence_fault(&all, name, on));
    let fault = |detail| config::KeyFault {
        key: Some(String::from("depends_on")),
        detail,
    };
    faults.map(fault).collect()
}

fn wrong(faults: Vec<config::KeyFault>) -> Refusal {
    Refusal::Wrong(Thing::Rule, faults.into_iter().map(shown).collect())
}

/// A mistake as it is told over HTTP.
pub(super) fn shown(fault: config::KeyFault) -> KeyFault {
    KeyFault {
        key: fault.key,
        detail: fault.detail,
    }
}

fn refused(error: MadeError) -> Refusal {
    match error {
        MadeError::Changed(rule) => {
            Refusal::Changed(Thing::Rule, json!(RuleEntry::of_person(&rule)))
        }
        other => Refusal::Not(other),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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

    fn own(id: &str, enabled: bool, body: JsonValue) -> Made {
        Made {
            thing: Thing::Rule,
            id: id.into(),
            version: 1,
            enabled,
            body: body.as_object().unwrap().clone(),
            created_by: String::from("Ada"),
            created: Timestamp(0),
            changed_by: None,
            changed: None,
        }
    }

    fn named(name: &str) -> JsonValue {
        json!({"name": name, "series": "*/t", "above": 1})
    }

    fn stands(merged: &Merged) -> Vec<(&str, bool, Option<&str>)> {
        let entries = merged.entries.iter();
        entries
            .map(|e| (e.id.as_str(), e.in_force, e.problem.as_deref()))
            .collect()
    }

    fn in_force(merged: &Merged) -> Vec<&str> {
        merged.rules.iter().map(|rule| rule.name.as_str()).collect()
    }

    const HOT: &str = "[[rule]]\nname = \"hot\"\nseries = \"*/t\"\nabove = 1\n";

    #[test]
    fn rules_of_the_config_and_of_people_are_one_list() {
        let people = [
            own("r-1", true, named("dry")),
            own("r-2", false, named("wet")),
        ];
        let merged = merge(&config(HOT), &people);
        assert_eq!(in_force(&merged), ["hot", "dry"]);
        assert_eq!(
            stands(&merged),
            [
                ("file:hot", true, None),
                ("r-1", true, None),
                ("r-2", false, None)
            ]
        );
        assert_eq!(merged.entries[0].file.as_deref(), Some("gateway.toml"));
        assert_eq!(merged.entries[0].line, Some(1));
    }

    #[test]
    fn a_name_that_the_config_takes_sets_a_rule_aside_with_the_place() {
        let people = [
            own("r-1", true, named("hot")),
            own("r-2", true, named("dry")),
        ];
        let merged = merge(&config(HOT), &people);
        assert_eq!(in_force(&merged), ["hot", "dry"]);
        let problem = "the name \"hot\" is taken by the rule at gateway.toml:1";
        assert_eq!(stands(&merged)[1], ("r-1", false, Some(problem)));
        assert_eq!(in_force(&merge(&config(""), &people)), ["hot", "dry"]);
    }

    #[test]
    fn a_rule_watches_on_when_its_webhook_is_gone_and_not_when_it_cannot_be_read() {
        let mut lonely = named("lonely");
        lonely["webhooks"] = json!(["ops"]);
        let newer = json!({"name": "newer", "series": "*/t", "above": 1, "mood": "bad"});
        let merged = merge(
            &config(""),
            &[own("r-1", true, lonely), own("r-2", true, newer)],
        );
        assert_eq!(in_force(&merged), ["lonely"]);
        let (_, watches, problem) = stands(&merged)[0];
        assert!(watches && problem.unwrap().contains("no webhook named \"ops\""));
        let (_, watches, problem) = stands(&merged)[1];
        assert!(!watches && problem.unwrap().contains("unknown key `mood`"));
    }

    fn depending_on(name: &str, on: &str) -> JsonValue {
        let mut body = named(name);
        body["depends_on"] = json!([on]);
        body
    }

    #[test]
    fn a_rule_watches_on_when_one_that_it_depends_on_is_gone_and_says_so() {
        let off = own("r-0", false, named("off"));
        let people = [
            own("r-1", true, depending_on("a", "hot")),
            own("r-2", true, depending_on("b", "c")),
            off.clone(),
            own("r-3", true, depending_on("c", "off")),
        ];
        let merged = merge(&config(HOT), &people);
        assert_eq!(in_force(&merged), ["hot", "a", "b", "c"]);
        assert_eq!(merged.rules[1].life.depends_on, ["hot"]);
        let out = "the rule \"off\", which it depends on, is not in force";
        let problems = |merged: &Merged| -> Vec<Option<String>> {
            let entries = merged.entries.iter();
            entries.map(|entry| entry.problem.clone()).collect()
        };
        assert_eq!(
            problems(&merged),
            [None, None, None, None, Some(out.to_owned())],
            "whoever is made later may be depended on"
        );
        let merged = merge(&config(""), &people[..1]);
        assert_eq!(in_force(&merged), ["a"]);
        let gone = problems(&merged)[0].clone().unwrap();
        assert!(gone.contains("no rule named \"hot\""), "{gone}");
    }

    #[test]
    fn who_makes_a_rule_hears_of_one_that_it_cannot_depend_on() {
        let people = [
            own("r-1", true, depending_on("a", "b")),
            own("r-2", false, named("b")),
        ];
        let merged = merge(&config(HOT), &people);
        let faults = |name: &str, on: &str, but: Option<&str>| -> Vec<String> {
            let body = depending_on(name, on);
            let body = body.as_object().unwrap();
            let faults = wrong_dependence(&merged.entries, name, body, but);
            assert!(
                faults
                    .iter()
                    .all(|f| f.key.as_deref() == Some("depends_on"))
            );
            faults.into_iter().map(|fault| fault.detail).collect()
        };
        assert_eq!(faults("new", "hot", None), [""; 0]);
        assert_eq!(
            faults("new", "b", None),
            [""; 0],
            "one that is off may be on again"
        );
        let gone = faults("new", "hott", None);
        assert!(gone[0].contains("did you mean `hot`"), "{gone:?}");
        let ring = faults("b", "a", Some("r-2"));
        assert!(ring[0].contains("depend on each other"), "{ring:?}");
        // What it was before does not count.
        assert_eq!(faults("a", "hot", Some("r-1")), [""; 0]);
    }

    #[test]
    fn what_a_rule_depends_on_is_rehearsed_with_it_or_it_is_said_why_not() {
        let depending = |name: &str, on: &[&str]| {
            let mut body = named(name);
            body["depends_on"] = json!(on);
            body
        };
        let people = [
            own("r-1", true, depending("link", &["power"])),
            own("r-2", true, named("power")),
            own("r-3", false, named("off")),
            own("r-4", true, depending("ring", &["hot"])),
            own("r-5", true, named("unrelated")),
            own("r-6", true, named("hot")),
        ];
        let merged = merge(&config(""), &people);
        let hot = |on: &[&str]| {
            let body = depending("hot", on);
            let mut alone = config("");
            let (rule, faults) = read_rule(&mut alone, body.as_object().unwrap());
            assert_eq!(faults, []);
            run_along(&merged, rule.unwrap())
        };
        let names = |rules: &[Rule]| -> Vec<String> {
            rules.iter().map(|rule| rule.name.to_string()).collect()
        };
        let (along, notes) = hot(&["link", "power"]);
        assert_eq!(names(&along), ["link", "power"]);
        assert_eq!(notes, Vec::<String>::new());
        let (along, notes) = hot(&["off", "ring", "gone", "power"]);
        assert_eq!(names(&along), ["power"]);
        let why = [
            "is not in force",
            "depend on each other",
            "there is no rule named",
        ];
        assert_eq!(notes.len(), why.len());
        for (note, why) in notes.iter().zip(why) {
            assert!(
                note.starts_with("\"hot\" is judged without the rule") && note.contains(why),
                "{note}"
            );
        }
    }
}
