//! `[[rule]]` and `[[webhook]]` tables.

use std::time::Duration;

use smol_str::SmolStr;

use super::{
    Surroundings, life, pattern,
    reader::{Placed, Table},
    secret,
};
use crate::{
    alert::{Condition, Rule, Severity},
    backoff,
    notify::WebhookConfig,
};

/// A rule with the place of the webhook names, which are checked when all are read.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) rule: Rule,
    pub(super) webhooks: Option<Placed<Vec<SmolStr>>>,
    pub(super) name: Placed<SmolStr>,
    pub(super) series: Placed<SmolStr>,
    pub(super) depends_on: life::DependsOn,
}

/// Reads one `[[rule]]`.
pub(super) fn read(mut table: Table<'_>) -> Option<Written> {
    let name = table.required_placed::<SmolStr>("name");
    if let Some(name) = &name {
        table.name = format!("[[rule]] \"{}\"", name.value);
        if name.value.trim().is_empty() {
            table.report(
                name.span.clone(),
                "a rule needs a name that people can read",
            );
        }
    }
    let series = table.required_placed::<SmolStr>("series");
    if let Some(series) = &series {
        pattern::check_series(&table, series);
    }
    let condition = condition(&mut table);
    let hold = table.optional("for").unwrap_or(Duration::ZERO);
    let severities = [
        ("info", Severity::Info),
        ("warning", Severity::Warning),
        ("critical", Severity::Critical),
    ];
    let severity = table.choice("severity", &severities).unwrap_or_default();
    let summary = table.optional("summary").unwrap_or_default();
    let webhooks = table.placed::<Vec<SmolStr>>("webhooks");
    let labels = table.texts("labels");
    let (life, depends_on) = life::read(&mut table);
    table.finish();
    let (name, series) = (name?, series?);
    let rule = Rule {
        name: name.value.clone(),
        series: series.value.clone(),
        condition: condition?,
        hold,
        severity,
        summary,
        webhooks: webhooks
            .as_ref()
            .map(|w| w.value.clone())
            .unwrap_or_default(),
        labels,
        life,
    };
    Some(Written {
        rule,
        webhooks,
        name,
        series,
        depends_on,
    })
}

fn condition(table: &mut Table<'_>) -> Option<Condition> {
    let above = table.placed::<f64>("above");
    let below = table.placed::<f64>("below");
    let clear = table.placed::<f64>("clear");
    let change = table.placed::<f64>("change_above");
    let over = table.placed::<Duration>("over");
    let silence = table.placed::<Duration>("no_data_for");
    let given = ["above", "below", "change_above", "no_data_for"]
        .iter()
        .filter(|key| table.has(key))
        .count();
    if given != 1 {
        let found = if given == 0 {
            "none is given"
        } else {
            "more than one is given"
        };
        table.report(table.span(), format!("{} needs one of `above`, `below`, `change_above` (with `over`), `no_data_for`: {found}", table.name));
        return None;
    }
    if let Some(clear) = &clear
        && above.is_none()
        && below.is_none()
    {
        table.report(clear.span.clone(), "`clear` goes with `above` or `below`");
    }
    if let Some(over) = &over
        && change.is_none()
    {
        table.report(over.span.clone(), "`over` goes with `change_above`");
    }
    if let Some(limit) = above {
        let clear = clear.unwrap_or_else(|| limit.clone());
        if clear.value > limit.value {
            table.report(
                clear.span,
                format!(
                    "`clear` must not be above the limit of {}: it would never fire for long",
                    limit.value
                ),
            );
        }
        return Some(Condition::Above {
            limit: limit.value,
            clear: clear.value,
        });
    }
    if let Some(limit) = below {
        let clear = clear.unwrap_or_else(|| limit.clone());
        if clear.value < limit.value {
            table.report(
                clear.span,
                format!(
                    "`clear` must not be below the limit of {}: it would never fire for long",
                    limit.value
                ),
            );
        }
        return Some(Condition::Below {
            limit: limit.value,
            clear: clear.value,
        });
    }
    if let Some(limit) = change {
        if limit.value <= 0.0 {
            table.report(
                limit.span,
                "`change_above` must be more than 0: it is taken in both directions",
            );
        }
        let Some(over) = over else {
            table.report(
                table.span(),
                format!(
                    "{}: `change_above` needs `over`, such as over = \"10m\"",
                    table.name
                ),
            );
            return None;
        };
        if over.value < Duration::from_secs(1) {
            table.report(over.span, "`over` must be at least \"1s\"");
        }
        return Some(Condition::ChangeOver {
            limit: limit.value,
            over: over.value,
        });
    }
    let silence = silence?;
    if silence.value < Duration::from_secs(1) {
        table.report(silence.span, "`no_data_for` must be at least \"1s\"");
    }
    Some(Condition::NoDataFor {
        silence: silence.value,
    })
}

/// Reads one `[[webhook]]`.
pub(super) fn webhook(
    mut table: Table<'_>,
    around: &Surroundings<'_>,
) -> Option<(WebhookConfig, Placed<SmolStr>)> {
    let name = table.required_placed::<SmolStr>("name");
    if let Some(name) = &name {
        table.name = format!("[[webhook]] \"{}\"", name.value);
        if !super::is_name(&name.value) {
            table.report(name.span.clone(), super::NAME_RULE);
        }
    }
    let url = table.required_placed::<String>("url");
    if let Some(url) = &url {
        super::check_http_url(&table, "url", url);
        super::check_outside(&table, url);
    }
    let token = secret::read(&mut table, around, "token");
    let headers = table.texts("headers");
    for (name, value) in &headers {
        let usable = reqwest::header::HeaderName::try_from(name).is_ok()
            && reqwest::header::HeaderValue::try_from(value).is_ok();
        if !usable {
            table.report(
                table.span_of("headers"),
                format!("\"{name}: {value}\" is no header that HTTP knows: names have letters, digits and `-`"),
            );
        }
    }
    let mut timeout = Duration::from_secs(10);
    table.set_within_seconds("timeout", &mut timeout, 1, 120);
    let mut backoff = backoff::Config {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(300),
    };
    table.set("first_wait", &mut backoff.initial);
    table.set("longest_wait", &mut backoff.max);
    if backoff.initial.is_zero() || backoff.initial > backoff.max {
        table.report(
            table.span(),
            format!(
                "{}: `first_wait` must be more than nothing and at most `longest_wait`",
                table.name
            ),
        );
    }
    let mut give_up_after = Duration::from_secs(86_400);
    table.set("give_up_after", &mut give_up_after);
    let send_resolved = table.optional("send_resolved").unwrap_or(true);
    table.finish();
    let name = name?;
    let webhook = WebhookConfig {
        name: name.value.clone(),
        url: url?.value,
        token,
        headers,
        timeout,
        backoff,
        give_up_after,
        send_resolved,
    };
    Some((webhook, name))
}
