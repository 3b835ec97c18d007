//! The table of needs against the router.

use super::*;

#[tokio::test]
async fn every_route_of_the_router_has_a_row_and_every_row_a_route() {
    let mut registry = Registry::default();
    let (_updates, heard) = mpsc::channel(1);
    let (hub, _task) = crate::live::Hub::start(
        crate::live::Config::default(),
        crate::live::Past::default(),
        heard,
        Clock::manual(Timestamp(0)),
        tokio_util::sync::CancellationToken::new(),
        &mut registry,
    );
    let (door, _deliveries) = crate::source::intake::Door::new();
    let clock = Clock::manual(Timestamp(0));
    let (reporter, _) =
        SourceMetrics::new(&mut registry).reporter(SourceName("push".into()), "http", clock);
    let rejects = Rejects::new(&mut registry);
    let fragments = vec![
        crate::live::sse::router(hub.clone()),
        crate::live::websocket::Sockets::new(hub).router(),
        crate::metrics::router(Arc::new(Registry::default())),
        crate::source::push::router(
            crate::source::push::Config::default(),
            door.intake(0, SourceName("push".into())),
            reporter,
            rejects,
        ),
    ];
    let router = house_with("127.0.0.1:8080", &[], fragments).router;
    let mut missing = needs::without_row(&router);
    missing.sort();
    // What only these tests have.
    assert_eq!(missing, ["GET /never", "POST /post"]);
    // Each row leads somewhere: what the router does not have is answered by the fallback.
    for (method, path, _) in NEEDS {
        let request = Request::builder()
            .method(*method)
            .uri(path.replace(['{', '}'], ""))
            .body(Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        if *path == "/events" {
            continue;
        }
        let body = axum::body::to_bytes(response.into_body(), 10 << 20)
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(
            status != StatusCode::METHOD_NOT_ALLOWED && !text.contains("nothing at this path"),
            "{method} {path}: {status} {text}"
        );
    }
}
