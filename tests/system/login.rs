//! Where people log in: each request is held to what it needs, whoever asks; and a power that is taken away is gone.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::StreamExt as _;
use gateway::{
    auth::{Need, Role, Scope, password},
    http::NEEDS,
    model::Timestamp,
    state::{PeopleChange, PeopleFile},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tests::{Gateway, eventually, within};

const LOGIN: &str = "[http]\nlogin = \"on\"\n";
const PASSWORD: &str = "correct horse battery";

/// Who asks.
#[derive(Clone, Debug)]
enum As {
    Nobody,
    /// With the cookie of a session.
    Session(String),
    /// With a token.
    Token(String),
}

struct House {
    gateway: Gateway,
    client: reqwest::Client,
}

impl House {
    async fn start(config: &str) -> Self {
        Self::with(Gateway::start(config).await)
    }

    fn with(gateway: Gateway) -> Self {
        Self {
            gateway,
            client: reqwest::Client::new(),
        }
    }

    /// With an admin `anna`.
    async fn set_up() -> (Self, As) {
        let house = Self::start(LOGIN).await;
        let asked =
            json!({"token": house.setup_secret().await, "name": "anna", "password": PASSWORD});
        let answer = house
            .ask(&As::Nobody, Method::POST, "/api/v1/setup")
            .json(&asked);
        let anna = session(answer.send().await.unwrap());
        (house, anna)
    }

    /// Out of the newest link in the log.
    async fn setup_secret(&self) -> String {
        eventually("the log has a link", || async {
            let log = self.gateway.log();
            let line = log
                .lines()
                .rfind(|line| line.contains("#setup="))?
                .to_owned();
            let entry: Value = serde_json::from_str(&line).ok()?;
            let link = entry["link"].as_str()?.to_owned();
            let page = self.gateway.url("/#setup=");
            Some(
                link.strip_prefix(&page)
                    .unwrap_or_else(|| panic!("{link}"))
                    .to_owned(),
            )
        })
        .await
    }

    fn ask(&self, who: &As, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, self.gateway.url(path));
        match who {
            As::Nobody => request,
            As::Session(cookie) => request.header("cookie", cookie),
            As::Token(token) => request.bearer_auth(token),
        }
    }

    async fn status(&self, who: &As, method: Method, path: &str) -> StatusCode {
        self.ask(who, method, path).send().await.unwrap().status()
    }

    /// Asks with a body; what must be answered with this status is given back.
    async fn json(&self, who: &As, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let mut request = self.ask(who, method.parse().unwrap(), path);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let got = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert_eq!(got, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn log_in(&self, name: &str, password: &str) -> Response {
        let asked = json!({"name": name, "password": password});
        let answer = self
            .ask(&As::Nobody, Method::POST, "/api/v1/login")
            .json(&asked);
        answer.send().await.unwrap()
    }

    async fn user(&self, admin: &As, name: &str, role: &str) -> As {
        let asked = json!({"name": name, "role": role, "password": PASSWORD});
        self.json(admin, "POST", "/api/v1/users", &asked, 201).await;
        session(self.log_in(name, PASSWORD).await)
    }

    async fn token(&self, owner: &As, name: &str, scopes: &[&str]) -> (i64, As) {
        let asked = json!({"name": name, "scopes": scopes, "expires": "+90d"});
        let made = self
            .json(owner, "POST", "/api/v1/tokens", &asked, 201)
            .await;
        let secret = made["secret"].as_str().unwrap();
        assert!(secret.starts_with("gwt_"), "{made}");
        (
            made["token"]["id"].as_i64().unwrap(),
            As::Token(secret.to_owned()),
        )
    }
}

fn session(answer: Response) -> As {
    assert!(answer.status().is_success(), "{}", answer.status());
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    As::Session(cookie.split(';').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_answers_nobody_each_role_and_each_scope_as_the_table_says() {
    let (house, anna) = House::set_up().await;
    let ended = house.token(&anna, "ended", &["admin"]).await;
    let path = format!("/api/v1/tokens/{}", ended.0);
    house.json(&anna, "DELETE", &path, &Value::Null, 204).await;
    let unknown = |name: &str, who: As| Asking {
        name: name.to_owned(),
        who,
        power: Power::None,
    };
    let mut callers = vec![
        unknown("nobody", As::Nobody),
        unknown("a revoked token", ended.1),
        unknown("a forged session", As::Session(forged(&anna))),
    ];
    for role in Role::ALL {
        callers.push(Asking {
            name: role.to_string(),
            who: house.user(&anna, &format!("the-{role}"), role.name()).await,
            power: Power::Role(role),
        });
    }
    for scope in Scope::ALL {
        callers.push(Asking {
            name: format!("token: {scope}"),
            who: house.token(&anna, scope.name(), &[scope.name()]).await.1,
            power: Power::Scope(scope),
        });
    }
    let mut wrong = Vec::new();
    for Asking { name, who, power } in &callers {
        for (method, path, need) in NEEDS {
            let is_session = matches!(who, As::Session(_));
            if *path == "/api/v1/logout" && is_session {
                continue;
            }
            let asked = path.replace(['{', '}'], "");
            let got = house
                .status(who, method.parse().unwrap(), &asked)
                .await
                .as_u16();
            let may = match power {
                Power::None => false,
                Power::Role(role) => role.may(*need),
                Power::Scope(scope) => scope.may(*need),
            };
            let fine = match power {
                _ if may || *need == Need::Open => got != 401 && got != 403,
                Power::None => got == 401,
                Power::Role(_) | Power::Scope(_) => got == 403,
            };
            if !fine {
                wrong.push(format!("{name}: {method} {path} ({need:?}): {got}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    for Asking { name, who, .. } in &callers[3..6] {
        let out = house.status(who, Method::POST, "/api/v1/logout").await;
        assert_eq!(out, 204, "{name}");
        let after = house.status(who, Method::GET, "/api/v1/me").await;
        assert_eq!(after, 401, "{name} is out");
    }
    // What the router does not know is not told to strangers; the page is.
    for (path, status) in [
        ("/api/v1/none", 401),
        ("/", 200),
        ("/healthz", 200),
        ("/readyz", 200),
    ] {
        assert_eq!(
            house.status(&As::Nobody, Method::GET, path).await,
            status,
            "{path}"
        );
    }
    let refused = house
        .ask(&As::Nobody, Method::GET, "/api/v1/status")
        .send()
        .await
        .unwrap();
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
    // `Basic` would make browsers ask with a box of their own.
    assert!(challenge.starts_with("Bearer"), "{challenge}");
}

struct Asking {
    name: String,
    who: As,
    power: Power,
}

enum Power {
    None,
    Role(Role),
    Scope(Scope),
}

/// The right name and another secret.
fn forged(session: &As) -> String {
    let As::Session(cookie) = session else {
        panic!("no session")
    };
    let (name, secret) = cookie.split_once('=').unwrap();
    format!("{name}={}", secret.chars().rev().collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_is_made_by_the_newest_link_and_only_once() {
    let house = House::start(LOGIN).await;
    let first = house.setup_secret().await;
    let refused = house.log_in("anna", PASSWORD).await;
    assert_eq!(refused.status(), 401);
    let (_, stopped) = house.gateway.stop().await;
    let house = House::with(stopped.start().await);
    let second = house.setup_secret().await;
    assert_ne!(first, second);
    let asked = |token: &str, name: &str, password: &str| json!({"token": token, "name": name, "password": password});
    let nobody = &As::Nobody;
    house
        .json(
            nobody,
            "POST",
            "/api/v1/setup",
            &asked(&first, "anna", PASSWORD),
            403,
        )
        .await;
    // What is wrong with name or password does not use the link up.
    house
        .json(
            nobody,
            "POST",
            "/api/v1/setup",
            &asked(&second, "anna", "short"),
            400,
        )
        .await;
    house
        .json(
            nobody,
            "POST",
            "/api/v1/setup",
            &asked(&second, "an na", PASSWORD),
            400,
        )
        .await;
    let made = house
        .json(
            nobody,
            "POST",
            "/api/v1/setup",
            &asked(&second, "anna", PASSWORD),
            200,
        )
        .await;
    assert_eq!(made, json!({"name": "anna", "role": "admin"}));
    house
        .json(
            nobody,
            "POST",
            "/api/v1/setup",
            &asked(&second, "eve", PASSWORD),
            403,
        )
        .await;
    let (_, stopped) = house.gateway.stop().await;
    let house = House::with(stopped.start().await);
    assert!(
        !house.gateway.log().contains("#setup="),
        "there is an admin"
    );
    let anna = session(house.log_in("anna", PASSWORD).await);
    let me = house
        .json(&anna, "GET", "/api/v1/me", &Value::Null, 200)
        .await;
    assert_eq!(
        me,
        json!({"login": true, "name": "anna", "role": "admin", "scopes": null})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_tokens_outlive_a_kill_and_their_secrets_are_nowhere_on_disk() {
    let (house, anna) = House::set_up().await;
    let (_, token) = house.token(&anna, "script", &["read"]).await;
    let stopped = house.gateway.kill().await;
    let dir = Arc::clone(&stopped.dir);
    let port = cookie_port(&anna);
    let house = House::with(stopped.start_at(port).await);
    for who in [&anna, &token] {
        assert_eq!(house.status(who, Method::GET, "/api/v1/status").await, 200);
    }
    let (As::Session(cookie), As::Token(token)) = (&anna, &token) else {
        panic!()
    };
    let secrets = [cookie.split_once('=').unwrap().1, token.as_str(), PASSWORD];
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        files += 1;
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{secret} stands in {}", path.display());
        }
    }
    assert!(files > 0);
    for secret in secrets {
        assert!(!house.gateway.log().contains(secret));
    }
}

fn cookie_port(session: &As) -> u16 {
    let As::Session(cookie) = session else {
        panic!("no session")
    };
    let name = cookie.split_once('=').unwrap().0;
    name.strip_prefix("gateway_").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_another_page_forges_changes_nothing() {
    let (house, anna) = House::set_up().await;
    let answer = house.log_in("anna", PASSWORD).await;
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(
        !cookie.contains("Secure") && !cookie.contains("Domain"),
        "{cookie}"
    );
    let asked = json!({"name": "anna", "password": PASSWORD});
    let behind_tls = house
        .ask(&As::Nobody, Method::POST, "/api/v1/login")
        .header("x-forwarded-proto", "https")
        .json(&asked);
    let behind_tls = behind_tls.send().await.unwrap();
    assert!(
        behind_tls.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .ends_with("; Secure")
    );
    let new = json!({"name": "eve", "role": "admin", "password": PASSWORD});
    let own = house.gateway.url("");
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        // Another port is another origin, though the cookie is sent there.
        ("origin", "http://127.0.0.1:1", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("origin", own.as_str(), 201),
    ] {
        for (path, body) in [("/api/v1/users", &new), ("/api/v1/login", &asked)] {
            let request = house
                .ask(&anna, Method::POST, path)
                .header(name, value)
                .json(body);
            let got = request.send().await.unwrap().status().as_u16();
            let status = if path.ends_with("login") && status == 201 {
                200
            } else {
                status
            };
            assert_eq!(got, status, "{path} with {name}: {value}");
        }
    }
    // A form of another page can't say that it is JSON.
    let form = house
        .ask(&anna, Method::POST, "/api/v1/users")
        .header("content-type", "text/plain")
        .body(new.to_string());
    assert_eq!(form.send().await.unwrap().status(), 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_waits_and_learns_nothing_and_others_log_in_meanwhile() {
    let (house, anna) = House::set_up().await;
    let tries = async |name: &str, password: &str, from: &str| {
        let asked = json!({"name": name, "password": password});
        let request = house
            .ask(&As::Nobody, Method::POST, "/api/v1/login")
            // The proxy on this machine says where they are.
            .header("x-forwarded-for", from)
            .json(&asked);
        let answer = request.send().await.unwrap();
        let wait = answer.headers().get("retry-after").cloned();
        (answer.status().as_u16(), wait, answer.text().await.unwrap())
    };
    let mut said = BTreeMap::<String, u32>::new();
    for n in 0..10 {
        let name = if n % 2 == 0 {
            "anna"
        } else {
            "nobody-of-this-name"
        };
        let (status, _, text) = tries(name, "wrong password", "192.0.2.1").await;
        assert_eq!(status, 401);
        *said.entry(text).or_default() += 1;
    }
    assert_eq!(
        said.len(),
        1,
        "the answer tells nothing of the name: {said:?}"
    );
    // Guesses come back one in ten seconds; a slow machine may have earned one by now, but not twenty.
    let mut limited = None;
    for _ in 0..20 {
        let (status, wait, _) = tries("anna", "wrong password", "192.0.2.1").await;
        if status == 429 {
            limited = wait;
            break;
        }
    }
    let wait: u64 = limited.expect("a limit").to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    let (status, _, text) = tries("anna", PASSWORD, "192.0.2.2").await;
    assert_eq!(status, 200, "{text}");
    let metrics = house
        .ask(&anna, Method::GET, "/metrics")
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("gateway_logins_limited_total 1\n"),
        "{metrics}"
    );
    let trail = house
        .json(&anna, "GET", "/api/v1/audit", &Value::Null, 200)
        .await;
    let failed: Vec<&Value> = trail["audit"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "login_failed")
        .collect();
    assert_eq!(failed.len(), 10, "further ones are counted only");
    assert_eq!(failed[0]["detail"]["from"], "192.0.2.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_is_written_down_under_the_name_with_which_they_logged_in() {
    let (house, anna) = House::set_up().await;
    let otto = house.user(&anna, "otto", "operator").await;
    let vera = house.user(&anna, "vera", "viewer").await;
    let silence = json!({
        "matchers": [{"name": "rule", "value": "hot"}], "ends_at": "+1h", "created_by": "Mallory"
    });
    let made = house
        .json(&otto, "POST", "/api/v1/silences", &silence, 201)
        .await;
    assert_eq!(made["created_by"], "otto");
    let rule = json!({"rule": {"name": "hot", "series": "*/temperature", "above": 80}});
    let made = house.json(&otto, "POST", "/api/v1/rules", &rule, 201).await;
    assert_eq!(made["created_by"], "otto", "a name need not be said");
    let path = format!("/api/v1/rules/{}?by=Mallory", made["id"].as_str().unwrap());
    let gone = house
        .ask(&otto, Method::DELETE, &path)
        .header("if-match", "*");
    assert_eq!(gone.send().await.unwrap().status(), 204);
    let trail = async |who: &As| -> Vec<(String, String)> {
        let trail = house
            .json(who, "GET", "/api/v1/audit", &Value::Null, 200)
            .await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = trail["audit"].as_array().unwrap().iter();
        entries
            .map(|entry| (text(&entry["by"]), text(&entry["action"])))
            .collect()
    };
    let public = [
        ("otto", "rule_deleted"),
        ("otto", "rule_created"),
        ("otto", "silence_created"),
    ];
    let as_texts = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(by, action)| ((*by).to_owned(), (*action).to_owned()))
            .collect()
    };
    assert_eq!(trail(&vera).await, as_texts(&public));
    assert_eq!(trail(&otto).await, as_texts(&public));
    let all = [
        &public[..],
        &[
            ("vera", "logged_in"),
            ("anna", "user_created"),
            ("otto", "logged_in"),
            ("anna", "user_created"),
            ("anna", "logged_in"),
            ("anna", "user_created"),
        ],
    ];
    assert_eq!(trail(&anna).await, as_texts(&all.concat()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_that_is_taken_away_is_gone_at_once_and_live_streams_end_with_it() {
    let (house, anna) = House::set_up().await;
    let otto = house.user(&anna, "otto", "operator").await;
    let (id, token) = house.token(&otto, "wall", &["read"]).await;
    let open = async |who: &As| {
        let answer = house.ask(who, Method::GET, "/events").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Box::pin(answer.bytes_stream())
    };
    let (mut by_token, mut by_session) = (open(&token).await, open(&otto).await);
    assert!(by_token.next().await.unwrap().is_ok() && by_session.next().await.unwrap().is_ok());
    let path = format!("/api/v1/tokens/{id}");
    // Of others only an admin revokes.
    let vera = house.user(&anna, "vera", "viewer").await;
    house.json(&vera, "DELETE", &path, &Value::Null, 404).await;
    house.json(&anna, "DELETE", &path, &Value::Null, 204).await;
    within("the stream of the token ends", async {
        while by_token.next().await.is_some() {}
    })
    .await;
    assert_eq!(
        house.status(&token, Method::GET, "/api/v1/status").await,
        401
    );
    // The other stream goes on: its next beat comes.
    assert!(within("a beat", by_session.next()).await.unwrap().is_ok());
    let lower = json!({"role": "viewer"});
    house
        .json(&anna, "PUT", "/api/v1/users/otto", &lower, 200)
        .await;
    within("what was opened with more power ends", async {
        while by_session.next().await.is_some() {}
    })
    .await;
    assert_eq!(house.status(&otto, Method::GET, "/api/v1/me").await, 200);
    let silence = house.status(&otto, Method::POST, "/api/v1/silences").await;
    assert_eq!(silence, 403);
    let mut again = open(&otto).await;
    house
        .json(&anna, "DELETE", "/api/v1/users/otto", &Value::Null, 204)
        .await;
    within("the stream of who is deleted ends", async {
        while again.next().await.is_some() {}
    })
    .await;
    assert_eq!(house.status(&otto, Method::GET, "/api/v1/me").await, 401);
    house
        .json(&anna, "DELETE", "/api/v1/users/anna", &Value::Null, 409)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_more_power_by_a_token_than_they_have() {
    let (house, anna) = House::set_up().await;
    let vera = house.user(&anna, "vera", "viewer").await;
    for scope in ["push", "operate", "admin"] {
        let asked = json!({"name": "t", "scopes": ["read", scope]});
        house
            .json(&vera, "POST", "/api/v1/tokens", &asked, 403)
            .await;
    }
    let (_, reads) = house.token(&vera, "t", &["read"]).await;
    let (_, operates) = house.token(&anna, "t", &["operate"]).await;
    let asked = json!({"name": "more", "scopes": ["read"]});
    for token in [&reads, &operates] {
        house
            .json(token, "POST", "/api/v1/tokens", &asked, 403)
            .await;
    }
    let own = house
        .json(&vera, "GET", "/api/v1/tokens", &Value::Null, 200)
        .await;
    assert_eq!(own["tokens"].as_array().unwrap().len(), 1, "{own}");
    assert!(!own.to_string().contains("gwt_"), "a secret is shown once");
    let past = json!({"name": "late", "scopes": ["read"], "expires": "2020-01-01T00:00:00Z"});
    house
        .json(&vera, "POST", "/api/v1/tokens", &past, 400)
        .await;
    let soon = json!({"name": "soon", "scopes": ["read"], "expires": "+2s"});
    let made = house
        .json(&vera, "POST", "/api/v1/tokens", &soon, 201)
        .await;
    let soon = As::Token(made["secret"].as_str().unwrap().to_owned());
    eventually("a token ends by itself", || async {
        let status = house.status(&soon, Method::GET, "/api/v1/status").await;
        (status == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_influxdb_write_with_a_token_in_each_way_they_know() {
    let (house, anna) = House::set_up().await;
    let (_, push) = house.token(&anna, "telegraf", &["push"]).await;
    let (_, reads) = house.token(&anna, "reads", &["read"]).await;
    let (As::Token(push), As::Token(reads)) = (push, reads) else {
        panic!()
    };
    let line = "shed,device=shed temperature=12.5";
    let write = async |path: &str, authorization: Option<String>| {
        let mut request = house.ask(&As::Nobody, Method::POST, path).body(line);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(
        write("/api/v2/write", Some(format!("Token {push}"))).await,
        204
    );
    assert_eq!(
        write("/api/v2/write", Some(format!("Token telegraf:{push}"))).await,
        204
    );
    assert_eq!(write("/write", Some(format!("Bearer {push}"))).await, 204);
    assert_eq!(
        write(&format!("/write?u=telegraf&p={push}"), None).await,
        204
    );
    let basic = house
        .ask(&As::Nobody, Method::POST, "/write")
        .basic_auth("telegraf", Some(&push))
        .body(line);
    assert_eq!(basic.send().await.unwrap().status(), 204);
    assert_eq!(write(&format!("/write?p={reads}"), None).await, 403);
    assert_eq!(
        write("/write?u=anna&p=correct+horse+battery", None).await,
        401
    );
    // An address with a secret in it is good for nothing else.
    let path = format!("/api/v1/status?p={reads}");
    assert_eq!(house.status(&As::Nobody, Method::GET, &path).await, 401);
    let account = house
        .json(&anna, "GET", "/api/v1/account", &Value::Null, 200)
        .await;
    let text = account.to_string();
    assert!(text.contains("\"push\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions_and_is_asked_the_old_one() {
    let (house, anna) = House::set_up().await;
    let other = session(house.log_in("anna", PASSWORD).await);
    let path = "/api/v1/me/password";
    let wrong = json!({"old": "not this one", "new": "quite another one"});
    house.json(&anna, "PUT", path, &wrong, 403).await;
    let short = json!({"old": PASSWORD, "new": "short"});
    house.json(&anna, "PUT", path, &short, 400).await;
    let right = json!({"old": PASSWORD, "new": "quite another one"});
    house.json(&anna, "PUT", path, &right, 204).await;
    assert_eq!(house.status(&anna, Method::GET, "/api/v1/me").await, 200);
    assert_eq!(house.status(&other, Method::GET, "/api/v1/me").await, 401);
    assert_eq!(house.log_in("anna", PASSWORD).await.status(), 401);
    assert_eq!(
        house.log_in("anna", "quite another one").await.status(),
        200
    );
}

/// Runs the command line on the config of a gateway: exit code, output, errors.
async fn command(house: &House, words: &str, input: &str) -> (i32, String, String) {
    use tokio::io::AsyncWriteExt as _;
    let piped = std::process::Stdio::piped;
    let mut child = tokio::process::Command::new(tests::workspace_binary("gateway"))
        .args(words.split(' '))
        .arg("--config")
        .arg(house.gateway.dir.path().join("gateway.toml"))
        .stdin(piped())
        .stdout(piped())
        .stderr(piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that reads nothing may be gone by now.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let ended = within("the command ends", child.wait_with_output())
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        ended.status.code().unwrap(),
        text(ended.stdout),
        text(ended.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_tokens_are_made_and_revoked_on_the_command_line_while_it_runs() {
    let house = House::start(LOGIN).await;
    let password = format!("{PASSWORD}\n");
    assert_eq!(
        command(&house, "user add anna --role admin", "short\n")
            .await
            .0,
        1
    );
    assert_eq!(
        command(&house, "user add anna --role boss", &password)
            .await
            .0,
        2
    );
    let (code, said, error) = command(&house, "user add anna --role admin", &password).await;
    assert_eq!((code, said.as_str()), (0, "anna is admin\n"), "{error}");
    let anna = eventually("who was added can log in", || async {
        let answer = house.log_in("anna", PASSWORD).await;
        answer.status().is_success().then(|| session(answer))
    })
    .await;
    let (code, secret, error) = command(
        &house,
        "token create wall --user anna --scope read --days 9",
        "",
    )
    .await;
    assert_eq!(code, 0, "{error}");
    let wall = As::Token(secret.trim().to_owned());
    eventually("the token is known", || async {
        let status = house.status(&wall, Method::GET, "/api/v1/status").await;
        (status == 200).then_some(())
    })
    .await;
    let (_, listed, _) = command(&house, "token list", "").await;
    assert!(listed.starts_with("1\tanna\twall\tread\tends "), "{listed}");
    assert!(!listed.contains(secret.trim()));
    assert_eq!(command(&house, "token revoke 1", "").await.0, 0);
    assert_eq!(command(&house, "token revoke 1", "").await.0, 1);
    eventually("the token is known no more", || async {
        let status = house.status(&wall, Method::GET, "/api/v1/status").await;
        (status == 401).then_some(())
    })
    .await;
    let (code, _, error) = command(&house, "user remove anna", "").await;
    assert!(code == 1 && error.contains("the last admin"), "{error}");
    let (_, listed, _) = command(&house, "user list", "").await;
    assert_eq!(listed, "anna\tadmin\t1 sessions\n");
    assert_eq!(
        command(&house, "user passwd anna", "quite another one\n")
            .await
            .0,
        0
    );
    eventually("a new password ends the sessions", || async {
        let status = house.status(&anna, Method::GET, "/api/v1/me").await;
        (status == 401).then_some(())
    })
    .await;
    // Beside a gateway that does not run, and before its first start.
    let trail = session(house.log_in("anna", "quite another one").await);
    let trail = house
        .json(&trail, "GET", "/api/v1/audit", &Value::Null, 200)
        .await;
    assert_eq!(trail["audit"][1]["by"], "command line");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_changes_holds_soon_and_no_restart_is_needed() {
    let (house, anna) = House::set_up().await;
    let vera = house.user(&anna, "vera", "viewer").await;
    let mut file = PeopleFile::open(&house.gateway.dir.path().join("data")).unwrap();
    let now = Timestamp::from_millis(1_800_000_000_000);
    let new = PeopleChange::CreateUser {
        name: String::from("otto"),
        role: Role::Operator,
        password: password::hash(PASSWORD).unwrap(),
    };
    file.change(new, "root", now).unwrap();
    let gone = PeopleChange::DeleteUser {
        name: String::from("vera"),
    };
    file.change(gone, "root", now).unwrap();
    eventually("who was deleted is out", || async {
        let status = house.status(&vera, Method::GET, "/api/v1/me").await;
        (status == 401).then_some(())
    })
    .await;
    let otto = session(house.log_in("otto", PASSWORD).await);
    let me = house
        .json(&otto, "GET", "/api/v1/me", &Value::Null, 200)
        .await;
    assert_eq!(me["role"], "operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_switched_off_everybody_may_everything_and_nobody_logs_in() {
    let house = House::start("").await;
    let nobody = &As::Nobody;
    let me = house
        .json(nobody, "GET", "/api/v1/me", &Value::Null, 200)
        .await;
    assert_eq!(me["login"], false);
    let asked = json!({"name": "anna", "password": PASSWORD});
    for (method, path) in [
        ("POST", "/api/v1/login"),
        ("POST", "/api/v1/logout"),
        ("GET", "/api/v1/users"),
        ("GET", "/api/v1/tokens"),
    ] {
        house.json(nobody, method, path, &asked, 409).await;
    }
    house
        .json(nobody, "GET", "/api/v1/status", &Value::Null, 200)
        .await;
    assert!(!house.gateway.log().contains("#setup="));
}
