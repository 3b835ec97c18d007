//! Dry runs as clients see them: what they answer, and what is too much.

use super::*;

fn ask(from: &str) -> Request<Body> {
    let asked = json!({"rule": {"name": "hot"}, "from": from});
    Request::post("/api/v1/rules/dry-run")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(asked.to_string()))
        .unwrap()
}

#[tokio::test]
async fn a_dry_run_answers_from_memory_and_says_that_there_is_no_history() {
    let house = house();
    let (status, _, body) = house.send(ask("-5m")).await;
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    let run: JsonValue = serde_json::from_slice(&body).unwrap();
    assert_eq!((&run["fired"], &run["matched"]), (&json!(1), &json!(1)));
    // From ten minutes before on it was true: the range begins in the middle of it.
    let one = &run["series"][0];
    assert_eq!(one["intervals"][0]["fired_ms"], NOW_MS - 600_000);
    assert_eq!(one["intervals"][0]["peak"], 1.5);
    assert_eq!((&one["unit"], &one["points"]), (&json!("Cel"), &json!(300)));
    assert!(run["notes"].to_string().contains("history is switched off"));
}

#[tokio::test]
async fn a_second_one_at_once_and_one_that_is_too_much_are_refused_with_what_to_do() {
    let house = house();
    let (one, other) = tokio::join!(house.send(ask("-5m")), house.send(ask("-5m")));
    let (taken, refused) = if one.0 == StatusCode::OK {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(taken.0, StatusCode::OK);
    assert_eq!(refused.0, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.1.contains_key(header::RETRY_AFTER));
    let (_, said) = house.problem(ask("-400d"), 413).await;
    assert!(
        said["detail"].as_str().unwrap().contains("shorter range"),
        "{said}"
    );
    // Neither is in the way of the next.
    assert_eq!(house.send(ask("-5m")).await.0, StatusCode::OK);
    house.problem(ask("soon"), 400).await;
    house.problem(ask("+1h"), 400).await;
}
