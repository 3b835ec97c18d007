//! `kind = "email"`: what a mail says, as plain text and simple HTML (RFC 5322, RFC 2045). The Message-ID is made from the delivery's id, so that a mail
//! that came twice is the same one; all mails about one alert, or one group, refer to the same id, so that they are one thread.

use std::fmt::Write as _;

use super::{
    Notice,
    wording::{self, Measure},
};
use crate::state::{AlertMessage, Event};

/// Lines over 998 characters are encoded; a subject is read on a phone.
const MAX_SUBJECT: usize = 200;
const MAX_ALERTS: usize = 200;

/// A mail without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::notify) struct Mail {
    pub(in crate::notify) subject: String,
    pub(in crate::notify) plain: String,
    pub(in crate::notify) html: String,
    /// Without `@` and domain.
    pub(in crate::notify) id: String,
    /// What all mails about the same refer to, without `@` and domain.
    pub(in crate::notify) thread: String,
}

/// The left side of an id: what RFC 5322 allows in a dot-atom.
fn local_part(text: &str) -> String {
    let safe: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '.' {
                c
            } else {
                '_'
            }
        })
        .collect();
    safe.split('.')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("<br>"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// What there is to know of an alert, as pairs.
fn facts(alert: &AlertMessage) -> Vec<(&str, String)> {
    let mut facts = vec![
        (
            "State",
            String::from(if alert.event == Event::Firing {
                "firing"
            } else {
                "resolved"
            }),
        ),
        ("Severity", wording::severity(alert.severity).to_owned()),
        ("Series", alert.series.clone()),
    ];
    facts.extend(wording::value(alert).map(|value| ("Value", value)));
    facts.push((
        "Since",
        alert.fired.clone().unwrap_or_else(|| alert.began.clone()),
    ));
    facts.extend(alert.resolved.clone().map(|at| ("Resolved", at)));
    let labels: Vec<String> = alert
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !labels.is_empty() {
        facts.push(("Labels", labels.join(", ")));
    }
    facts
}

/// See [`super::Format::request`].
pub(in crate::notify) fn mail(notice: &Notice<'_>) -> Mail {
    let message = notice.message;
    let headline = wording::headline(notice);
    // A header has no line breaks.
    let subject = wording::clip(
        &headline.replace(['\r', '\n'], " "),
        MAX_SUBJECT,
        Measure::Characters,
    );
    let mut plain = format!("{headline}\n");
    let mut html = format!("<h2>{}</h2>\n", escaped(&headline));
    let ranked = wording::ranked(message);
    for alert in ranked.iter().take(MAX_ALERTS) {
        let _ = write!(plain, "\n{}\n", alert.rule);
        let _ = writeln!(html, "<h3>{}</h3>", escaped(&alert.rule));
        if !alert.summary.is_empty() {
            let _ = writeln!(plain, "{}", alert.summary);
            let _ = writeln!(html, "<p>{}</p>", escaped(&alert.summary));
        }
        html.push_str("<table>\n");
        for (name, value) in facts(alert) {
            let _ = writeln!(plain, "  {name}: {value}");
            let _ = writeln!(
                html,
                "<tr><th align=\"left\">{name}</th><td>{}</td></tr>",
                escaped(&value)
            );
        }
        html.push_str("</table>\n");
    }
    let more = ranked.len().saturating_sub(MAX_ALERTS) as u64 + wording::elsewhere(message);
    if more > 0 {
        let _ = writeln!(plain, "\n… and {more} more");
        let _ = writeln!(html, "<p>… and {more} more</p>");
    }
    for (word, url) in [
        ("Acknowledge", notice.acknowledge()),
        ("The page", notice.links.page()),
    ] {
        if let Some(url) = url {
            let _ = writeln!(plain, "\n{word}: {url}");
            let _ = writeln!(html, "<p><a href=\"{0}\">{word}</a></p>", escaped(&url));
        }
    }
    Mail {
        subject,
        plain,
        html,
        id: local_part(notice.id),
        thread: local_part(&format!("thread.{}", notice.subject())),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::Links;

    #[test]
    fn one_alert_is_a_mail_with_all_that_is_known() {
        let links = Links::new(Some("https://g.example"), None);
        let message = samples::firing();
        let mail = mail(&samples::notice(&message, &links));
        assert_eq!(mail.subject, "FIRING: too hot on boiler #1/temperature");
        assert_eq!(
            mail.plain,
            "FIRING: too hot on boiler #1/temperature\n\ntoo hot\nOpen the \"vents\" <now> & *run*\nfast\n  State: firing\n  \
             Severity: critical\n  Series: boiler #1/temperature\n  Value: 91.5 °C\n  Since: 2026-11-20T09:00:30Z\n  \
             Labels: site=green & house, team-name=growing\n\nThe page: https://g.example/#alerts\n"
        );
        assert!(
            mail.html
                .contains("<p>Open the &quot;vents&quot; &lt;now&gt; &amp; *run*<br>fast</p>")
        );
        assert!(mail.html.contains("<a href=\"https://g.example/#alerts\">"));
    }

    #[test]
    fn ids_are_stable_and_mails_about_one_alert_are_one_thread() {
        let links = Links::default();
        let (fired, over) = (samples::firing(), samples::resolved());
        let (fired, over) = (
            mail(&samples::notice(&fired, &links)),
            mail(&samples::notice(&over, &links)),
        );
        assert_eq!(fired.id, "k3v9-0.firing.ops");
        assert_eq!(over.id, "k3v9-0.resolved.ops");
        assert_eq!(
            (&fired.thread, &over.thread),
            (&fired.thread, &fired.thread)
        );
        assert_eq!(fired.thread, "thread.k3v9-0");
        assert_eq!(local_part("a..b @ü."), "a.b___");
    }

    #[test]
    fn a_storm_is_one_mail_that_counts_the_rest() {
        let (message, links) = (samples::group(5_000), Links::default());
        let mail = mail(&samples::notice(&message, &links));
        assert!(mail.plain.ends_with("\n… and 4800 more\n"));
        assert!(!mail.subject.contains('\n'));
    }
}
