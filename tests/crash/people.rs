//! People at work while the gateway is killed: they make silences (planned, active, soon over, ended by hand) and
//! acknowledge what fires. Each thing is asked once and never again: what was answered with 2xx must be there at the end, once;
//! what got no answer may be.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tests::Gateway;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinHandle,
};

/// Between two things that somebody does.
const PAUSE: Duration = Duration::from_millis(200);
/// So many lines of the audit trail are shown at once: more than half as many things, of which each writes two lines at most, are
/// not done.
const MOST: usize = 480;
const BY: &str = "Ada";

/// What was promised.
#[derive(Default)]
struct Promises {
    asked: usize,
    /// Silences as they were answered, by their comment, which no two have in common.
    made: BTreeMap<String, Value>,
    /// Silences that were ended by hand, as they were answered, by id.
    ended: BTreeMap<String, Value>,
    /// Acknowledgements as they were answered, by alert.
    acknowledged: BTreeMap<String, Value>,
    /// Comments of silences that were asked for without an answer.
    unanswered: Vec<String>,
    /// What was answered otherwise.
    refused: Vec<String>,
}

/// The people.
pub(crate) struct People {
    promises: Arc<Mutex<Promises>>,
    task: JoinHandle<()>,
}

/// What came of it.
pub(crate) struct Kept {
    silences: usize,
    ended: usize,
    acknowledged: usize,
    unanswered: usize,
    wrong: Vec<String>,
}

/// While this is held nobody does anything.
pub(crate) struct Rest(OwnedMutexGuard<Promises>);

impl People {
    /// They talk to the gateway at this port, whenever there is one.
    pub(crate) fn start(port: u16, seed: u64) -> Self {
        let promises = Arc::new(Mutex::new(Promises::default()));
        let shared = Arc::clone(&promises);
        let task = tokio::spawn(async move {
            let mut chance = Rng::with_seed(seed);
            let client = reqwest::Client::builder()
                .timeout(Duration::from_secs(10))
                .build()
                .expect("a client");
            loop {
                tokio::time::sleep(PAUSE).await;
                let mut promises = shared.lock().await;
                if promises.asked < MOST {
                    promises.act(&client, port, &mut chance).await;
                }
            }
        });
        Self { promises, task }
    }

    /// Nobody does anything from here on, and no silence begins or ends by itself within the next minute.
    pub(crate) async fn rest(&self, gateway: &Gateway) -> Rest {
        let rest = Arc::clone(&self.promises).lock_owned().await;
        tests::eventually("short silences are over", || async {
            let silences = gateway.get("/api/v1/silences").await;
            let soon = now_ms() + 60_000;
            let next = |s: &Value| match s["state"].as_str() {
                Some("planned") => s["starts_ms"].as_i64(),
                Some("active") => s["ends_ms"].as_i64(),
                _ => Some(i64::MAX),
            };
            let over = |s: &Value| next(s) > Some(soon);
            silences["silences"]
                .as_array()?
                .iter()
                .all(over)
                .then_some(())
        })
        .await;
        Rest(rest)
    }

    /// Ends their work, and holds what was promised to what the gateway says.
    pub(crate) async fn judge(&self, gateway: &Gateway) -> Kept {
        let rest = self.rest(gateway).await;
        self.task.abort();
        let promises = &rest.0;
        let silences = gateway.get("/api/v1/silences").await;
        let alerts = gateway.get("/api/v1/alerts?state=all&limit=1000").await;
        let audit = gateway.get("/api/v1/audit?limit=1000").await;
        let mut kept = Kept {
            silences: promises.made.len(),
            ended: promises.ended.len(),
            acknowledged: promises.acknowledged.len(),
            unanswered: promises.unanswered.len(),
            wrong: promises.refused.clone(),
        };
        let lines = |action: &str, target: &Value| {
            let lines = audit["audit"].as_array().into_iter().flatten();
            lines
                .filter(|l| l["action"] == action && l["target"] == *target && l["by"] == BY)
                .count()
        };
        let by_comment = |comment: &str| -> Vec<&Value> {
            let all = silences["silences"].as_array().into_iter().flatten();
            all.filter(|s| s["comment"] == comment).collect()
        };
        for (comment, answered) in &promises.made {
            let id = &answered["id"];
            match by_comment(comment)[..] {
                [found] => {
                    let ended = promises.ended.get(id.as_str().unwrap_or_default());
                    kept.silence(ended.unwrap_or(answered), found, ended.is_some());
                }
                ref found => {
                    kept.wrong(format!("silence {comment} is there {} times", found.len()))
                }
            }
            if lines("silence_created", id) != 1 {
                let n = lines("silence_created", id);
                kept.wrong(format!(
                    "the making of silence {comment} is {n} times in the audit trail"
                ));
            }
        }
        for id in promises.ended.keys() {
            let n = lines("silence_ended", &Value::from(id.as_str()));
            if n != 1 {
                kept.wrong(format!(
                    "the end of silence {id} is {n} times in the audit trail"
                ));
            }
        }
        for comment in &promises.unanswered {
            let n = by_comment(comment).len();
            if n > 1 {
                kept.wrong(format!(
                    "silence {comment}, asked for once, is there {n} times"
                ));
            }
        }
        for (id, answered) in &promises.acknowledged {
            let all = alerts["alerts"].as_array().into_iter().flatten();
            let found: Vec<&Value> = all.filter(|a| a["id"] == id.as_str()).collect();
            if found.len() != 1 || found[0]["acknowledged"] != *answered {
                kept.wrong(format!(
                    "alert {id} was acknowledged as {answered}: {found:?}"
                ));
            }
            let n = lines("alert_acknowledged", &Value::from(id.as_str()));
            if n != 1 {
                kept.wrong(format!(
                    "the acknowledgement of {id} is {n} times in the audit trail"
                ));
            }
        }
        kept
    }
}

impl Promises {
    async fn act(&mut self, client: &reqwest::Client, port: u16, chance: &mut Rng) {
        let n = self.asked;
        self.asked += 1;
        let base = format!("http://127.0.0.1:{port}/api/v1");
        let silence = |starts: Option<&str>, ends: &str| {
            let mut asked = json!({
                // Of a device that sends nothing: the webhook must hear of every alert.
                "matchers": [{"name": "device", "value": format!("cellar-{n}"), "glob": false}],
                "ends_at": ends, "created_by": BY, "comment": format!("number {n}"),
            });
            if let Some(starts) = starts {
                asked["starts_at"] = Value::from(starts);
            }
            asked
        };
        let asked = match chance.u8(..6) {
            0 => silence(Some("+2h"), "+4h"),
            1 => silence(None, "+4h"),
            2 => silence(None, "+1s"),
            3 => silence(Some("+1s"), "+2s"),
            4 => return self.end_one(client, &base, chance).await,
            _ => return self.acknowledge(client, &base).await,
        };
        let comment = format!("number {n}");
        match ask(
            client,
            Method::POST,
            &format!("{base}/silences"),
            Some(&asked),
        )
        .await
        {
            Some((201, made)) => drop(self.made.insert(comment, made)),
            Some(other) => self.refuse("a silence", &other),
            None => self.unanswered.push(comment),
        }
    }

    /// Ends a silence of those that would go on.
    async fn end_one(&mut self, client: &reqwest::Client, base: &str, chance: &mut Rng) {
        let open: Vec<&Value> = self
            .made
            .values()
            .filter(|s| s["ends_ms"].as_i64() > Some(now_ms() + 60_000))
            .filter(|s| {
                !self
                    .ended
                    .contains_key(s["id"].as_str().unwrap_or_default())
            })
            .collect();
        let Some(one) = chance.choice(open) else {
            return;
        };
        let id = one["id"].as_str().unwrap_or_default().to_owned();
        let comment = one["comment"].as_str().unwrap_or_default().to_owned();
        match ask(
            client,
            Method::DELETE,
            &format!("{base}/silences/{id}?by={BY}"),
            None,
        )
        .await
        {
            Some((200, ended)) => drop(self.ended.insert(id, ended)),
            Some(other) => self.refuse("the end of a silence", &other),
            None => {
                // Whether it has ended nobody knows: of this one only that it is there once.
                self.made.remove(&comment);
                self.unanswered.push(comment);
            }
        }
    }

    /// Acknowledges what fires.
    async fn acknowledge(&mut self, client: &reqwest::Client, base: &str) {
        let Some((200, alerts)) = ask(client, Method::GET, &format!("{base}/alerts"), None).await
        else {
            return;
        };
        let open = alerts["alerts"].as_array().into_iter().flatten();
        let Some(alert) = open.into_iter().find(|a| a["state"] == "firing") else {
            return;
        };
        let id = alert["id"].as_str().unwrap_or_default().to_owned();
        let given = json!({"by": BY, "comment": "I look after it"});
        match ask(
            client,
            Method::POST,
            &format!("{base}/alerts/{id}/acknowledge"),
            Some(&given),
        )
        .await
        {
            Some((200, answer)) => {
                drop(self.acknowledged.insert(id, answer["acknowledged"].clone()));
            }
            // It was over meanwhile, or not written down yet.
            Some((409 | 503, _)) | None => {}
            Some(other) => self.refuse("an acknowledgement", &other),
        }
    }

    fn refuse(&mut self, what: &str, (status, answer): &(u16, Value)) {
        // A gateway whose disk refuses, or that starts, says so.
        if *status != 503 {
            self.refused
                .push(format!("{what} was answered {status}: {answer}"));
        }
    }
}

async fn ask(
    client: &reqwest::Client,
    method: Method,
    url: &str,
    body: Option<&Value>,
) -> Option<(u16, Value)> {
    let mut request = client.request(method, url);
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.ok()?))
}

impl Kept {
    /// Holds a silence to what was answered. What time does to it is not in the answer.
    fn silence(&mut self, answered: &Value, found: &Value, by_hand: bool) {
        for field in [
            "id",
            "version",
            "matchers",
            "starts_ms",
            "ends_ms",
            "created_by",
            "created_ms",
            "comment",
        ] {
            if answered[field] != found[field] {
                self.wrong(format!(
                    "{field} of a silence is another: {answered} → {found}"
                ));
            }
        }
        let now = now_ms();
        let state = if by_hand || answered["ends_ms"].as_i64() <= Some(now) {
            "ended"
        } else if answered["starts_ms"].as_i64() > Some(now) {
            "planned"
        } else {
            "active"
        };
        if found["state"] != state {
            self.wrong(format!("a silence is not {state}: {found}"));
        }
    }

    fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    pub(crate) fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.silences > 0
    }

    pub(crate) fn told(&self) -> String {
        let mut told = format!(
            "{} silences made, {} ended by hand, {} alerts acknowledged, each there once and once in the audit trail: {} wrong ({} silences without an answer)",
            self.silences,
            self.ended,
            self.acknowledged,
            self.wrong.len(),
            self.unanswered,
        );
        for one in self.wrong.iter().take(5) {
            told += &format!("\n    {one}");
        }
        told
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program is no part of the gateway"
)]
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
