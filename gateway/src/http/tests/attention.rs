//! Acknowledgements, silences and the audit trail as clients see them.

use super::*;
use crate::{
    alert::Transition,
    engine::Decided,
    journal::Position,
    notify::{KEY_BYTES, Signer},
};

fn body(method: &str, path: &str, headers: &[(&str, &str)], json: &JsonValue) -> Request<Body> {
    let mut request = with(method, path, headers);
    request.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    *request.body_mut() = Body::from(json.to_string());
    request
}

impl House {
    async fn ok(&self, request: Request<Body>, status: u16) -> (HeaderMap, JsonValue) {
        let (got, headers, body) = self.send(request).await;
        assert_eq!(got.as_u16(), status, "{}", String::from_utf8_lossy(&body));
        (headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Writes the engine's alert into the file, as it does a moment after.
    async fn write_down(&self, alert_state: AlertState) {
        let state = state::State::open(
            self._dir.path(),
            &[],
            Clock::system(),
            &mut Registry::default(),
        )
        .unwrap();
        let alert = Alert {
            state: alert_state,
            ..alert()
        };
        let transitions = vec![Transition {
            alert,
            series: key(),
            at: Timestamp(0),
            memory: None,
        }];
        let position = Position(1);
        let decided = Decided {
            position,
            transitions,
            closings: Vec::new(),
        };
        state.record(decided).await.unwrap();
    }
}

fn asked() -> JsonValue {
    json!({
        "matchers": [{"name": "device", "value": "a b"}],
        "ends_at": "+4h",
        "created_by": "Ada",
        "comment": "works on it",
    })
}

#[tokio::test]
async fn a_silence_is_made_shown_changed_and_ended() {
    let house = house();
    let (headers, made) = house
        .ok(body("POST", "/api/v1/silences", &[], &asked()), 201)
        .await;
    let place = headers[header::LOCATION].to_str().unwrap().to_owned();
    assert_eq!(headers[header::ETAG], "\"1\"");
    assert_eq!(made["state"], "active");
    assert_eq!(made["ends_ms"], NOW_MS + 4 * 3_600_000);
    assert_eq!(made["ends_at"], "2027-01-15T12:00:00Z");
    assert_eq!(made["created_by"], "Ada");
    let (headers, one) = house.ok(get(&place), 200).await;
    assert_eq!(
        (&one, &headers[header::ETAG]),
        (&made, &header::HeaderValue::from_static("\"1\""))
    );
    let alert = &house.json("/api/v1/alerts").await["alerts"][0];
    assert_eq!(alert["silenced_by"], json!([made["id"]]));
    assert_eq!(alert["acknowledged"], JsonValue::Null);

    let other = json!({"matchers": [{"name": "rule", "value": "h*", "glob": true}], "ends_at": "+1h", "by": "Bob"});
    house.problem(body("PUT", &place, &[], &other), 428).await;
    let first = [("if-match", "\"1\"")];
    let (headers, changed) = house.ok(body("PUT", &place, &first, &other), 200).await;
    assert_eq!(headers[header::ETAG], "\"2\"");
    assert_eq!(
        (&changed["changed_by"], &changed["created_by"]),
        (&json!("Bob"), &json!("Ada"))
    );
    let (_, conflict) = house
        .problem(body("PUT", &place, &first, &other), 412)
        .await;
    assert_eq!(conflict["current"], changed);
    house
        .problem(body("PUT", &place, &[("if-match", "2")], &other), 412)
        .await;
    house
        .problem(with("DELETE", &format!("{place}?by=Bob"), &first), 412)
        .await;
    house.problem(with("DELETE", &place, &[]), 400).await;
    let (_, ended) = house
        .ok(with("DELETE", &format!("{place}?by=Bob%20B."), &[]), 200)
        .await;
    assert_eq!(
        (&ended["state"], &ended["changed_by"]),
        (&json!("ended"), &json!("Bob B."))
    );
    house
        .problem(body("PUT", &place, &[("if-match", "*")], &other), 409)
        .await;
    assert_eq!(
        house.json("/api/v1/silences").await["silences"],
        json!([ended])
    );
    assert_eq!(
        house.json("/api/v1/alerts").await["alerts"][0]["silenced_by"],
        json!([])
    );
    let trail = house.json("/api/v1/audit?limit=2").await;
    let actions: Vec<_> = trail["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["action"])
        .collect();
    assert_eq!(actions, ["silence_ended", "silence_changed"]);
    assert_eq!(trail["audit"][1]["detail"]["before"], made);
}

#[tokio::test]
async fn what_makes_no_silence_is_refused_with_the_reason() {
    let house = house();
    let with_field = |field: &str, value: JsonValue| {
        let mut asked = asked();
        asked[field] = value;
        asked
    };
    for (asked, word) in [
        (with_field("matchers", json!([])), "matchers"),
        (
            with_field("matchers", json!([{"name": "colour", "value": "x"}])),
            "colour",
        ),
        (with_field("ends_at", json!("-1h")), "ends_at"),
        (with_field("ends_at", json!("soon")), "ends_at"),
        (with_field("created_by", json!(" ")), "created_by"),
        (with_field("comment", json!("x".repeat(1_001))), "comment"),
    ] {
        let (_, problem) = house
            .problem(body("POST", "/api/v1/silences", &[], &asked), 400)
            .await;
        assert!(
            problem["detail"].as_str().unwrap().contains(word),
            "{problem}"
        );
    }
    let unknown = with_field("until", json!("+1h"));
    house
        .problem(body("POST", "/api/v1/silences", &[], &unknown), 422)
        .await;
    let long = with_field("comment", json!("x".repeat(100_000)));
    house
        .problem(body("POST", "/api/v1/silences", &[], &long), 413)
        .await;
    let mut plain = body("POST", "/api/v1/silences", &[], &asked());
    plain.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain"),
    );
    house.problem(plain, 415).await;
    let foreign = [("origin", "http://evil.example")];
    house
        .problem(body("POST", "/api/v1/silences", &foreign, &asked()), 403)
        .await;
    house.problem(get("/api/v1/silences/s-0"), 404).await;
    house
        .problem(with("DELETE", "/api/v1/silences/s-0?by=Ada", &[]), 404)
        .await;
    house.problem(get("/api/v1/audit?limit=0"), 400).await;
    assert_eq!(
        house.json("/api/v1/silences").await,
        json!({"silences": []})
    );
    assert_eq!(house.json("/api/v1/audit").await, json!({"audit": []}));
}

#[tokio::test]
async fn a_firing_alert_is_acknowledged_once_and_what_does_not_fire_is_not() {
    let house = house();
    let path = "/api/v1/alerts/hot-1/acknowledge";
    let ada = json!({"by": "Ada", "comment": "on it"});
    // It fires, and the file does not know yet.
    let (headers, _) = house.problem(body("POST", path, &[], &ada), 503).await;
    assert!(headers.contains_key(header::RETRY_AFTER));
    let unknown = body("POST", "/api/v1/alerts/hot-2/acknowledge", &[], &ada);
    house.problem(unknown, 404).await;
    house.write_down(AlertState::Firing).await;
    house
        .problem(body("POST", path, &[], &json!({"by": ""})), 400)
        .await;
    let (_, given) = house.ok(body("POST", path, &[], &ada), 200).await;
    assert_eq!(house.ok(body("POST", path, &[], &ada), 200).await.1, given);
    let bob = json!({"by": "Bob"});
    let (_, conflict) = house.problem(body("POST", path, &[], &bob), 409).await;
    assert_eq!(conflict["acknowledged"], given["acknowledged"]);
    for query in ["", "?state=all"] {
        let shown = house.json(&format!("/api/v1/alerts{query}")).await;
        assert_eq!(shown["alerts"][0]["acknowledged"]["by"], "Ada");
        assert_eq!(shown["alerts"][0]["acknowledged"]["comment"], "on it");
    }
    let take_back = || with("DELETE", "/api/v1/alerts/hot-1/acknowledge?by=Bob", &[]);
    house.ok(take_back(), 204).await;
    house.ok(take_back(), 204).await;
    let shown = house.json("/api/v1/alerts").await;
    assert_eq!(shown["alerts"][0]["acknowledged"], JsonValue::Null);
    house.write_down(AlertState::Resolved).await;
    let (_, over) = house.problem(body("POST", path, &[], &ada), 409).await;
    assert!(
        over["detail"].as_str().unwrap().contains("resolved"),
        "{over}"
    );
}

#[tokio::test]
async fn an_alert_is_shown_with_all_that_happened_to_it() {
    let house = house();
    house.problem(get("/api/v1/alerts/hot-2"), 404).await;
    // The engine knows it, the file does not yet.
    house.problem(get("/api/v1/alerts/hot-1"), 503).await;
    house.write_down(AlertState::Firing).await;
    house.write_down(AlertState::Resolved).await;
    let shown = house.json("/api/v1/alerts/hot-1").await;
    assert_eq!(shown["alert"]["id"], "hot-1");
    assert_eq!(shown["alert"]["acknowledged"], JsonValue::Null);
    let changes = shown["changes"].as_array().unwrap();
    let states: Vec<&JsonValue> = changes.iter().map(|change| &change["state"]).collect();
    assert_eq!(states, ["firing", "resolved"]);
    assert_eq!(
        (
            &changes[0]["number"],
            &changes[0]["at"],
            &changes[0]["at_ms"]
        ),
        (&json!(1), &json!("1970-01-01T00:00:00Z"), &json!(0))
    );
}

#[tokio::test]
async fn a_link_in_a_message_shows_the_alert_and_only_its_button_acknowledges() {
    let house = house();
    house.write_down(AlertState::Firing).await;
    let later = Timestamp::from_millis(NOW_MS + 1_000);
    let token = Signer::new(&[7; KEY_BYTES]).token("hot-1", "ops", later);
    let path = format!("/acknowledge/{token}");
    let page = async |request| {
        let (status, headers, body) = house.send(request).await;
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, shown) = page(get(&path)).await;
    assert_eq!(status, 200);
    assert!(
        shown.contains("cool it") && shown.contains("<form"),
        "{shown}"
    );
    let alerts = house.json("/api/v1/alerts").await;
    assert_eq!(
        alerts["alerts"][0]["acknowledged"],
        JsonValue::Null,
        "who only opens it does nothing"
    );

    let press = |form: &'static str| {
        let mut request = with("POST", &path, &[("accept", "text/html,*/*;q=0.8")]);
        *request.body_mut() = Body::from(form);
        request
    };
    let (status, done) = page(press("by=Ada+L&comment=%3Cb%3Eon+it")).await;
    assert_eq!(status, 200);
    assert!(done.contains("by Ada L at 20"), "{done}");
    assert!(done.contains("&lt;b&gt;on it"), "{done}");
    let (_, again) = page(press("by=Bob")).await;
    assert!(again.contains("by Ada L"), "who was first stays: {again}");
    let (_, shown) = page(get(&path)).await;
    assert!(!shown.contains("<form") && shown.contains("by Ada L"));
    let shown = house.json("/api/v1/alerts").await;
    let acknowledged = &shown["alerts"][0]["acknowledged"];
    assert_eq!(
        (&acknowledged["by"], &acknowledged["comment"]),
        (&json!("Ada L"), &json!("<b>on it"))
    );

    house.write_down(AlertState::Resolved).await;
    let over = page(with("POST", &path, &[("accept", "text/html")])).await;
    assert_eq!(over.0, 409, "{}", over.1);
}

#[tokio::test]
async fn a_receiver_presses_the_button_itself_and_a_link_that_is_none_does_nothing() {
    let house = house();
    house.write_down(AlertState::Firing).await;
    let signer = Signer::new(&[7; KEY_BYTES]);
    let token = |ms| signer.token("hot-1", "ops", Timestamp::from_millis(ms));
    let post = |token: String| with("POST", &format!("/acknowledge/{token}"), &[]);
    let (_, old) = house.ok(post(token(NOW_MS)), 410).await;
    assert!(old["detail"].as_str().unwrap().contains("too old"));
    let mut cut = token(NOW_MS + 1_000);
    cut.pop();
    house.ok(post(cut), 404).await;
    let (_, given) = house.ok(post(token(NOW_MS + 1_000)), 200).await;
    assert_eq!(given["acknowledged"]["by"], "link to ops");
}

#[tokio::test]
async fn a_silence_that_recurs_says_its_hours_and_wrong_ones_are_refused_with_the_reason() {
    let house = house();
    let with_hours = |hours: JsonValue| {
        let mut asked = asked();
        asked["repeat"] = hours;
        body("POST", "/api/v1/silences", &[], &asked)
    };
    let hours = json!({"days": ["sat"], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"});
    let (_, made) = house.ok(with_hours(hours.clone()), 201).await;
    assert_eq!(made["repeat"], hours);
    let (_, plain) = house
        .ok(body("POST", "/api/v1/silences", &[], &asked()), 201)
        .await;
    assert_eq!(plain["repeat"], JsonValue::Null);
    for (field, value, reason) in [
        ("zone", "Europe/Nowhere", "time zone"),
        ("from", "8", "08:00"),
        ("to", "24:01", "08:00"),
    ] {
        let mut wrong = hours.clone();
        wrong[field] = json!(value);
        let (_, refused) = house.problem(with_hours(wrong), 400).await;
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{detail}");
    }
}
