use super::*;

#[test]
fn only_answers_that_may_change_are_tried_again() {
    let headers = header::HeaderMap::new();
    for status in [200, 202, 204] {
        assert!(matches!(
            judge(StatusCode::from_u16(status).unwrap(), &headers, "", None),
            Answer::Accepted
        ));
    }
    for status in [408, 425, 429, 500, 503] {
        assert!(
            matches!(
                judge(StatusCode::from_u16(status).unwrap(), &headers, "", None),
                Answer::Later { .. }
            ),
            "{status}"
        );
    }
    for status in [301, 400, 401, 404, 410, 422] {
        assert!(
            matches!(
                judge(StatusCode::from_u16(status).unwrap(), &headers, "", None),
                Answer::Refused { .. }
            ),
            "{status}"
        );
    }
}

#[test]
fn retry_after_is_honoured_in_seconds_and_bounded() {
    let answer = |value: &'static str| {
        let headers = header::HeaderMap::from_iter([(
            header::RETRY_AFTER,
            header::HeaderValue::from_static(value),
        )]);
        match judge(StatusCode::TOO_MANY_REQUESTS, &headers, "", None) {
            Answer::Later { after, .. } => after,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(answer("17"), Some(Duration::from_secs(17)));
    assert_eq!(answer("999999"), Some(Duration::from_secs(3_600)));
    assert_eq!(answer("Fri, 20 Nov 2026 10:00:00 GMT"), None);
}

#[test]
fn what_the_receiver_said_is_in_the_error_on_one_line() {
    let status = StatusCode::BAD_REQUEST;
    match judge(status, &header::HeaderMap::new(), "invalid\n payload", None) {
        Answer::Refused { error } => {
            assert_eq!(
                error,
                "the receiver answered 400 Bad Request: invalid payload"
            );
        }
        other => panic!("{other:?}"),
    }
}
