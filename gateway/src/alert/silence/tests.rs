use proptest::prelude::*;

use super::*;
use crate::alert::Marks;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

fn at(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1_000_000_000)
}

fn matcher(name: &str, value: &str) -> Matcher {
    Matcher {
        name: name.to_owned(),
        value: value.to_owned(),
        glob: false,
    }
}

fn like(name: &str, value: &str) -> Matcher {
    Matcher {
        glob: true,
        ..matcher(name, value)
    }
}

fn draft(matchers: Vec<Matcher>) -> Draft {
    Draft {
        matchers,
        starts: None,
        ends: at(3_600),
        by: String::from(" Ada "),
        comment: String::from(" pump is being changed\n"),
        repeat: None,
    }
}

fn silence(matchers: Vec<Matcher>) -> Silence {
    let draft = draft(matchers).check(NOW, "created_by").unwrap();
    Silence::new("s-1".into(), draft, NOW)
}

fn alert() -> Alert {
    let labels = [
        ("device", "boiler-1"),
        ("site", "cellar"),
        ("team", "heat/1"),
    ];
    Alert {
        id: "a".into(),
        rule: "too hot".into(),
        series: "boiler-1/temperature".into(),
        state: AlertState::Firing,
        severity: Severity::Critical,
        summary: String::new(),
        value: None,
        unit: None,
        labels: labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        began_ms: 0,
        fired_ms: Some(0),
        resolved_ms: None,
        webhooks: Vec::new(),
        marks: Marks::default(),
    }
}

#[test]
fn a_matcher_is_true_by_equality_or_pattern_of_what_it_names() {
    let alert = alert();
    for (matcher, expected) in [
        (matcher("rule", "too hot"), true),
        (matcher("rule", "too"), false),
        (like("rule", "too*"), true),
        (matcher("device", "boiler-1"), true),
        (matcher("device", "boiler-?"), false),
        (like("device", "boiler-?"), true),
        (matcher("series", "boiler-1/temperature"), true),
        (like("series", "*/temperature"), true),
        (like("series", "*"), false),
        (matcher("site", "cellar"), true),
        (matcher("severity", "critical"), true),
        (matcher("severity", "warning"), false),
        (matcher("label.team", "heat/1"), true),
        (like("label.team", "*"), false),
        (like("label.team", "heat/*"), true),
        (matcher("label.floor", "3"), false),
        (like("label.floor", "*"), false),
    ] {
        assert_eq!(matcher.matches(alert.facts()), expected, "{matcher:?}");
    }
}

#[test]
fn all_matchers_must_match_and_only_an_active_silence_holds() {
    let both = silence(vec![
        matcher("device", "boiler-1"),
        matcher("site", "cellar"),
    ]);
    assert!(both.holds(alert().facts()));
    let one_off = silence(vec![matcher("device", "boiler-1"), matcher("site", "roof")]);
    assert!(!one_off.holds(alert().facts()));
    for state in [SilenceState::Planned, SilenceState::Ended] {
        let idle = Silence {
            state,
            ..both.clone()
        };
        assert!(!idle.holds(alert().facts()));
    }
}

#[test]
fn an_alert_names_its_acknowledgement_and_its_silences_until_it_is_over() {
    let acknowledgement = Acknowledgement {
        by: String::from("Ada"),
        comment: String::new(),
        at_ms: 5,
    };
    let attention = Attention {
        silences: vec![
            silence(vec![matcher("device", "boiler-1")]),
            silence(vec![matcher("device", "other")]),
        ],
        acknowledged: HashMap::from([(SmolStr::from("a"), acknowledgement)]),
        ..Attention::default()
    };
    let shown = serde_json::to_value(attention.to(&alert())).unwrap();
    assert_eq!(shown["id"], "a");
    assert_eq!(shown["acknowledged"]["by"], "Ada");
    assert_eq!(shown["silenced_by"], serde_json::json!(["s-1"]));
    let over = Alert {
        state: AlertState::Resolved,
        ..alert()
    };
    assert!(attention.to(&over).silenced_by.is_empty());
}

#[test]
fn a_draft_is_refused_with_the_reason() {
    let fine = || draft(vec![matcher("device", "boiler-1")]);
    let refused = |draft: Draft| draft.check(NOW, "created_by").unwrap_err();
    assert_eq!(refused(draft(vec![])), DraftError::NoMatchers);
    let many = vec![matcher("rule", "x"); MAX_MATCHERS + 1];
    assert_eq!(refused(draft(many)), DraftError::TooManyMatchers);
    for name in ["metrics", "label.", "Device"] {
        let draft = draft(vec![matcher(name, "x")]);
        assert_eq!(refused(draft), DraftError::UnknownName(name.to_owned()));
    }
    let long = "x".repeat(MAX_MATCHER_BYTES + 1);
    for bad in [
        matcher("rule", ""),
        matcher("", "x"),
        matcher("rule", &long),
    ] {
        assert_eq!(refused(draft(vec![bad])), DraftError::MatcherLength);
    }
    let severity = draft(vec![matcher("severity", "high")]);
    assert_eq!(
        refused(severity),
        DraftError::UnknownSeverity("high".into())
    );
    for (starts, ends) in [(None, NOW), (Some(at(5)), at(5)), (Some(at(9)), at(5))] {
        let draft = Draft {
            starts,
            ends,
            ..fine()
        };
        assert_eq!(refused(draft), DraftError::NoTime);
    }
    for by in ["", "  ", "two\nlines", &"x".repeat(MAX_NAME_BYTES + 1)] {
        let draft = Draft {
            by: by.to_owned(),
            ..fine()
        };
        assert_eq!(refused(draft), DraftError::Name("created_by"), "{by:?}");
    }
    let chatty = Draft {
        comment: "x".repeat(MAX_COMMENT_BYTES + 1),
        ..fine()
    };
    assert_eq!(refused(chatty), DraftError::Comment);
    let taken = fine().check(NOW, "created_by").unwrap();
    assert_eq!(
        (taken.by.as_str(), taken.comment.as_str()),
        ("Ada", "pump is being changed")
    );
}

#[test]
fn a_silence_begins_at_once_or_when_it_was_planned_and_a_person_can_move_it() {
    let now = silence(vec![matcher("rule", "x")]);
    assert_eq!((now.state, now.starts), (SilenceState::Active, NOW));
    assert_eq!(now.edge(), Some(at(3_600)));
    let later = Draft {
        starts: Some(at(60)),
        ..draft(vec![matcher("rule", "x")])
    };
    let planned = Silence::new("s-2".into(), later.clone(), NOW);
    assert_eq!(planned.state, SilenceState::Planned);
    assert_eq!(planned.edge(), Some(at(60)));
    let moved = now.change(later, at(1));
    assert_eq!((moved.state, moved.version), (SilenceState::Planned, 2));
    assert_eq!(
        (moved.created_by, moved.changed_by),
        ("Ada".into(), Some(" Ada ".into()))
    );
    let longer = now.change(draft(vec![matcher("rule", "y")]), at(1));
    assert_eq!((longer.state, longer.starts), (SilenceState::Active, NOW));
    let ended = planned.end("Bob".into(), at(1));
    assert_eq!(
        (ended.state, ended.starts, ended.ends, ended.edge()),
        (SilenceState::Ended, at(1), at(1), None)
    );
}

#[test]
fn who_may_have_heard_of_the_beginning_hears_of_the_end() {
    assert!(is_withdrawn(false, true), "never offered");
    assert!(is_withdrawn(false, false));
    assert!(is_withdrawn(true, false), "its end would not be told");
    assert!(!is_withdrawn(true, true));
}

proptest! {
    #[test]
    fn time_moves_a_silence_forward_only_and_an_unset_clock_not_at_all(
        starts in 0..100_i64, length in 1..100_i64, clock in proptest::collection::vec((0..250_i64, any::<bool>()), 1..20)
    ) {
        let (starts, ends) = (at(starts), at(starts + length));
        let mut state = SilenceState::Planned;
        let mut latest = i64::MIN;
        for (seconds, is_set) in clock {
            let before = state;
            state = state.at(starts, ends, at(seconds), is_set);
            prop_assert!(state >= before);
            if is_set {
                latest = latest.max(seconds);
            } else {
                prop_assert_eq!(state, before);
            }
            let expected = if latest == i64::MIN || at(latest) < starts {
                SilenceState::Planned
            } else if at(latest) < ends {
                SilenceState::Active
            } else {
                SilenceState::Ended
            };
            prop_assert_eq!(state, expected);
        }
    }
}
