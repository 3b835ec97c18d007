//! What all text formats say in the same words: the headline, one line an alert, the worst first, and how many more there are.
//! Each format escapes the pieces for its receiver and says how much room there is.

use std::{cmp::Reverse, fmt::Write as _};

use super::Notice;
use crate::{
    alert::Severity,
    state::{AlertMessage, Event, Message, Reason},
};

/// The alerts of a message, worst first: what fires before what is over, then by severity, then the newest.
pub(in crate::notify) fn ranked(message: &Message) -> Vec<&AlertMessage> {
    let mut alerts: Vec<_> = message.alerts().iter().collect();
    alerts.sort_by_key(|alert| {
        (
            alert.event == Event::Resolved,
            Reverse(alert.severity),
            Reverse(alert.began_ms),
        )
    });
    alerts
}

/// The worst severity of what fires; of a message about what is over, of all of it.
pub(super) fn worst(message: &Message) -> Severity {
    ranked(message)
        .first()
        .map_or(Severity::Info, |alert| alert.severity)
}

/// Alerts of the same moment that are not in this message.
pub(in crate::notify) fn elsewhere(message: &Message) -> u64 {
    match message {
        Message::Group(group) => group.more,
        Message::Alert(_) => 0,
    }
}

/// One line that says it all, for a title or a subject; not escaped.
pub(super) fn headline(notice: &Notice<'_>) -> String {
    let message = notice.message;
    let state = match (message.event(), reason(message)) {
        (Event::Resolved, _) => "RESOLVED",
        (Event::Firing, Reason::Change) => "FIRING",
        (Event::Firing, Reason::Repeat) => "STILL FIRING",
        (Event::Firing, Reason::Escalation) => "NOT ACKNOWLEDGED",
    };
    let mark = if notice.test { "[TEST] " } else { "" };
    let alerts = message.alerts();
    match (message, alerts) {
        (Message::Group(group), alerts) if alerts.len() != 1 || group.more > 0 => {
            let over = alerts.iter().filter(|a| a.event == Event::Resolved).count();
            let firing = alerts.len() - over;
            let mut counts = Vec::new();
            if firing > 0 || over == 0 {
                counts.push(format!("{firing} firing"));
            }
            if over > 0 {
                counts.push(format!("{over} resolved"));
            }
            let what = if group.group_labels.is_empty() {
                group.route.clone()
            } else {
                let labels = group.group_labels.iter();
                labels
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            format!("{mark}{state}: {what} ({})", counts.join(", "))
        }
        (_, [alert, ..]) => format!("{mark}{state}: {} on {}", alert.rule, alert.series),
        (_, []) => format!("{mark}{state}"),
    }
}

fn reason(message: &Message) -> Reason {
    match message {
        Message::Group(group) => group.reason,
        Message::Alert(_) => Reason::Change,
    }
}

/// The value with its unit as people write it; none without a value.
pub(in crate::notify) fn value(alert: &AlertMessage) -> Option<String> {
    use crate::model::Value;
    let value = match alert.value.as_ref()? {
        Value::Bool(on) => String::from(if *on { "on" } else { "off" }),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
    };
    Some(match alert.unit.as_deref().map(usual_form) {
        Some("%") => format!("{value} %"),
        Some(unit) if !unit.is_empty() => format!("{value} {unit}"),
        _ => value,
    })
}

/// UCUM codes that people write otherwise.
fn usual_form(code: &str) -> &str {
    match code {
        "Cel" => "°C",
        "[degF]" => "°F",
        "deg" => "°",
        "Ohm" => "Ω",
        "um" => "µm",
        "ug/m3" => "µg/m³",
        "m2" => "m²",
        "m3" => "m³",
        "1" => "",
        other => other,
    }
}

/// One alert on one line, without its state: `critical: too hot, boiler/temperature = 91.5 °C. Open the vents`.
pub(super) fn line(alert: &AlertMessage) -> String {
    let mut line = format!(
        "{}: {}, {}",
        severity(alert.severity),
        alert.rule,
        alert.series
    );
    if let Some(value) = value(alert) {
        let _ = write!(line, " = {value}");
    }
    if !alert.summary.is_empty() {
        let _ = write!(line, ". {}", alert.summary);
    }
    line
}

/// The word for it.
pub(super) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// A colour that says how bad it is, as RGB.
pub(super) fn colour(message: &Message) -> u32 {
    match (message.event(), worst(message)) {
        (Event::Resolved, _) => 0x2e_b8_86,
        (Event::Firing, Severity::Critical) => 0xd0_00_00,
        (Event::Firing, Severity::Warning) => 0xda_a0_38,
        (Event::Firing, Severity::Info) => 0x43_9f_e0,
    }
}

/// How a receiver counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Characters,
    Bytes,
}

impl Measure {
    fn of(self, text: &str) -> usize {
        match self {
            Self::Characters => text.chars().count(),
            Self::Bytes => text.len(),
        }
    }
}

/// Room for `… and 18446744073709551615 more`.
const TAIL: usize = 32;

/// The alerts of a message, worst first, one line each as `line` writes it, as many as fit into `room` and at most `most`; a last line
/// says how many more there are. An alert that is over says so.
pub(super) fn listed(
    message: &Message,
    (most, room): (usize, usize),
    measure: Measure,
    write: impl Fn(&AlertMessage) -> String,
) -> String {
    let ranked = ranked(message);
    let several = ranked.len() > 1 || elsewhere(message) > 0;
    let mut text = String::new();
    let mut used = 0;
    let mut shown = 0;
    for alert in ranked.iter().take(most) {
        let mut line = write(alert);
        if several {
            line = line.replace('\n', " ");
            if alert.event == Event::Resolved {
                line.insert_str(0, "resolved, ");
            }
        }
        let mut size = measure.of(&line) + 1;
        if used + size + TAIL > room {
            if shown > 0 {
                break;
            }
            line = clip(&line, room.saturating_sub(TAIL + 1), measure);
            size = measure.of(&line) + 1;
        }
        used += size;
        shown += 1;
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
    }
    let more = (ranked.len() - shown) as u64 + elsewhere(message);
    if more > 0 {
        let _ = write!(text, "\n… and {more} more");
    }
    text
}

/// The beginning of a text, with `…` for what does not fit.
pub(super) fn clip(text: &str, room: usize, measure: Measure) -> String {
    if measure.of(text) <= room {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut used = measure.of("…");
    for c in text.chars() {
        let size = match measure {
            Measure::Characters => 1,
            Measure::Bytes => c.len_utf8(),
        };
        if used + size > room {
            break;
        }
        used += size;
        clipped.push(c);
    }
    clipped.push('…');
    clipped
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    #[test]
    fn the_worst_comes_first_and_what_is_over_last() {
        let group = samples::group(3);
        let rules: Vec<_> = ranked(&group)
            .iter()
            .map(|a| (a.event, a.severity))
            .collect();
        assert_eq!(
            rules,
            [
                (Event::Firing, Severity::Critical),
                (Event::Firing, Severity::Warning),
                (Event::Resolved, Severity::Critical),
            ]
        );
    }

    #[test]
    fn a_headline_says_what_of_what_and_that_it_is_a_test() {
        let links = crate::notify::Links::default();
        let one = samples::firing();
        let mut notice = samples::notice(&one, &links);
        assert_eq!(
            headline(&notice),
            "FIRING: too hot on boiler #1/temperature"
        );
        notice.test = true;
        assert_eq!(
            headline(&notice),
            "[TEST] FIRING: too hot on boiler #1/temperature"
        );
        let group = samples::group(3);
        let notice = samples::notice(&group, &links);
        assert_eq!(
            headline(&notice),
            "FIRING: site=green & house (2 firing, 1 resolved)"
        );
    }

    #[test]
    fn a_list_never_takes_more_than_its_room_and_counts_the_rest() {
        let group = samples::group(5_000);
        for measure in [Measure::Characters, Measure::Bytes] {
            for room in [60, 500, 3_000] {
                let text = listed(&group, (20, room), measure, line);
                assert!(measure.of(&text) <= room, "{room}: {}", measure.of(&text));
                let shown = text.lines().count() - 1;
                assert!((1..=20).contains(&shown));
                assert!(
                    text.ends_with(&format!("\n… and {} more", 5_000 - shown)),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        let mut alert = samples::alert(0);
        assert_eq!(value(&alert).unwrap(), "91.5 °C");
        alert.unit = Some(String::from("%"));
        alert.value = Some(crate::model::Value::Int(7));
        assert_eq!(value(&alert).unwrap(), "7 %");
        alert.value = None;
        assert_eq!(value(&alert), None);
    }

    #[test]
    fn clipping_keeps_characters_whole() {
        assert_eq!(clip("grün°°°", 5, Measure::Characters), "grün…");
        assert_eq!(clip("grün°°°", 6, Measure::Bytes), "gr…");
        assert_eq!(clip("grün", 4, Measure::Characters), "grün");
    }
}
