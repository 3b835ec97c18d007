//! `[[webhook]]` tables: what all have, and what each kind has beside.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use smol_str::SmolStr;

use super::{
    Surroundings,
    reader::{Placed, Table},
    secret,
    template::{body, body_template, template, url_template},
};
use crate::{
    backoff,
    model::Secret,
    notify::{
        AlertmanagerConfig, Destination, Endpoint, Escape, Format, JsonConfig, NtfyConfig,
        OpsgenieConfig, PagerDutyConfig, Publishing, SigningKey, SlackConfig, Template,
        WebhookConfig, mqtt, smtp,
    },
};

#[derive(Clone, Copy)]
enum Kind {
    Json,
    AlertmanagerWebhook,
    Alertmanager,
    Slack,
    Teams,
    Discord,
    Ntfy,
    PagerDuty,
    Opsgenie,
    Email,
    Mqtt,
}

const KINDS: [(&str, Kind); 11] = [
    ("webhook", Kind::Json),
    ("alertmanager_webhook", Kind::AlertmanagerWebhook),
    ("alertmanager", Kind::Alertmanager),
    ("slack", Kind::Slack),
    ("teams", Kind::Teams),
    ("discord", Kind::Discord),
    ("ntfy", Kind::Ntfy),
    ("pagerduty", Kind::PagerDuty),
    ("opsgenie", Kind::Opsgenie),
    ("email", Kind::Email),
    ("mqtt", Kind::Mqtt),
];

/// Reads one `[[webhook]]`.
pub(super) fn read(
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
    let kind = if table.has("kind") {
        // Which keys it may have depends on the kind: naming unknown ones would mislead.
        table.choice("kind", &KINDS)?
    } else {
        Kind::Json
    };
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
    let send_resolved = table.placed::<bool>("send_resolved");
    if let (Some(no), Kind::Alertmanager) = (&send_resolved, kind)
        && !no.value
    {
        let message = "Alertmanager must hear of the end, or it goes on firing";
        table.report(no.span.clone(), message);
    }
    let fallback = name.as_ref().map_or("", |name| name.value.as_str());
    let to = match kind {
        Kind::Email => email(&mut table, around).map(|c| Destination::Email(Box::new(c))),
        Kind::Mqtt => broker(&mut table, around, fallback).map(|c| Destination::Mqtt(Box::new(c))),
        http => over_http(&mut table, around, http),
    };
    table.finish();
    let name = name?;
    let webhook = WebhookConfig {
        name: name.value.clone(),
        to: to?,
        timeout,
        backoff,
        give_up_after,
        send_resolved: send_resolved.is_none_or(|told| told.value),
    };
    Some((webhook, name))
}

fn over_http(table: &mut Table<'_>, around: &Surroundings<'_>, kind: Kind) -> Option<Destination> {
    let usual = match kind {
        Kind::PagerDuty => Some("https://events.pagerduty.com/v2/enqueue"),
        Kind::Opsgenie => Some("https://api.opsgenie.com"),
        Kind::Ntfy => Some("https://ntfy.sh"),
        _ => None,
    };
    let url = address(table, around, usual);
    let token = match kind {
        Kind::Json | Kind::AlertmanagerWebhook | Kind::Alertmanager | Kind::Ntfy => {
            secret::read(table, around, "token")
        }
        _ => None,
    };
    let signing_keys = match kind {
        Kind::Json | Kind::AlertmanagerWebhook => signing_keys(table, around),
        _ => Vec::new(),
    };
    let mut headers = headers(table);
    let format = match kind {
        Kind::Json => {
            let mut config = JsonConfig {
                body: body(table, around),
                ..JsonConfig::default()
            };
            let templates = |value: &String| Template::is_in(value);
            for (name, value) in headers.extract_if(.., |_, value| templates(value)) {
                match Template::new(&value, Escape::Header) {
                    Ok(template) => drop(config.headers.insert(name, template)),
                    Err(fault) => table.report(
                        table.span_of("headers"),
                        format!("`headers.{name}`: {fault}"),
                    ),
                }
            }
            if let Some(url) = url.as_ref().filter(|url| Template::is_in(&url.value)) {
                config.url = url_template(table, url);
            }
            Some(Format::Json(config))
        }
        Kind::AlertmanagerWebhook => Some(Format::AlertmanagerWebhook),
        Kind::Alertmanager => {
            let mut config = AlertmanagerConfig::default();
            table.set_within_seconds("resend_every", &mut config.resend_every, 5, 3_600);
            table.set_within_seconds("forget_after", &mut config.forget_after, 60, 30 * 86_400);
            if config.forget_after < config.resend_every * 2 {
                let message = "`forget_after` must be at least twice `resend_every`, or alerts end between two reminders";
                table.report(table.span_of("forget_after"), message);
            }
            Some(Format::Alertmanager(config))
        }
        Kind::Slack => Some(Format::Slack(SlackConfig {
            channel: table.optional("channel"),
            username: table.optional("username"),
        })),
        Kind::Teams => Some(Format::Teams),
        Kind::Discord => Some(Format::Discord),
        Kind::Ntfy => topic(table, around).map(|topic| Format::Ntfy(NtfyConfig { topic })),
        Kind::PagerDuty => required_secret(table, around, "routing_key")
            .map(|routing_key| Format::PagerDuty(PagerDutyConfig { routing_key })),
        Kind::Opsgenie => required_secret(table, around, "api_key")
            .map(|api_key| Format::Opsgenie(OpsgenieConfig { api_key })),
        Kind::Email | Kind::Mqtt => None,
    };
    let endpoint = Endpoint {
        url: Secret(url?.value),
        token,
        headers,
        signing_keys,
    };
    Some(Destination::Http(Box::new(endpoint), Box::new(format?)))
}

/// `url`, or `url_file` or `url_env` where it is a secret, or the usual one.
fn address(
    table: &mut Table<'_>,
    around: &Surroundings<'_>,
    usual: Option<&str>,
) -> Option<Placed<String>> {
    let span = table.span_of("url");
    if secret::is_elsewhere(table, "url") {
        if table.know("url") {
            table.report(span, "give `url`, `url_file` or `url_env`, not two of them");
            return None;
        }
        let url = secret::from_elsewhere(table, around, "url")?;
        let usable = reqwest::Url::parse(&url.0)
            .is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        if !usable {
            // It is a secret: it is not repeated.
            let message = format!(
                "what the address of {} is read from is no full address such as https://host/path",
                table.name
            );
            table.report(span.clone(), message);
        }
        let url = Placed { value: url.0, span };
        super::check_outside(table, &url);
        return usable.then_some(url);
    }
    match (table.has("url"), usual) {
        (false, Some(usual)) => {
            table.know("url");
            Some(Placed {
                value: usual.to_owned(),
                span,
            })
        }
        _ => {
            let url = table.required_placed::<String>("url")?;
            super::check_http_url(table, "url", &url);
            super::check_outside(table, &url);
            Some(url)
        }
    }
}

fn headers(table: &mut Table<'_>) -> BTreeMap<String, String> {
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
    headers
}

/// One key a line, or with spaces between: the newest first.
fn signing_keys(table: &mut Table<'_>, around: &Surroundings<'_>) -> Vec<SigningKey> {
    let span = if table.has("signing_keys_file") {
        table.span_of("signing_keys_file")
    } else {
        table.span_of("signing_keys_env")
    };
    let Some(keys) = secret::read(table, around, "signing_keys") else {
        return Vec::new();
    };
    keys.0
        .split_whitespace()
        .filter_map(|key| match SigningKey::parse(key) {
            Ok(key) => Some(key),
            Err(error) => {
                table.report(span.clone(), error.to_string());
                None
            }
        })
        .collect()
}

fn required_secret(
    table: &mut Table<'_>,
    around: &Surroundings<'_>,
    key: &'static str,
) -> Option<Secret> {
    let written = table.has(key) || secret::is_elsewhere(table, key);
    let found = secret::read(table, around, key);
    if !written {
        let message = format!("{} needs `{key}_file` or `{key}_env`", table.name);
        table.report(table.span(), message);
    }
    found
}

/// `topic`, which is as good as a password on a public server and so may stand elsewhere.
fn topic(table: &mut Table<'_>, around: &Surroundings<'_>) -> Option<Secret> {
    let span = table.span_of("topic");
    let topic = if secret::is_elsewhere(table, "topic") {
        table.know("topic");
        secret::from_elsewhere(table, around, "topic")?
    } else {
        Secret(table.required::<String>("topic")?)
    };
    let usable = (1..=64).contains(&topic.0.len())
        && topic
            .0
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !usable {
        let message = "a topic of ntfy has 1 to 64 letters, digits, `_` or `-`";
        table.report(span, message);
    }
    usable.then_some(topic)
}

/// `username` with `password_file` or `password_env`.
fn login(
    table: &mut Table<'_>,
    around: &Surroundings<'_>,
) -> Option<(Placed<String>, Option<Secret>)> {
    let password = secret::read(table, around, "password");
    match table.placed::<String>("username") {
        Some(user) => Some((user, password)),
        None => {
            if password.is_some() {
                let message = format!("{}: a password goes with `username`", table.name);
                table.report(table.span(), message);
            }
            None
        }
    }
}

/// The certificates in a file: its contents, so that a changed file is a changed config.
fn authorities(table: &mut Table<'_>, around: &Surroundings<'_>) -> Option<String> {
    let path = table.readable("ca_file", around)?;
    (around.read_file)(&path).ok()
}

fn mailbox(table: &Table<'_>, span: &Range<usize>, text: &str) -> Option<smtp::Mail> {
    smtp::Mail::parse(text)
        .map_err(|error| {
            let message = format!(
                "\"{text}\" is no address such as \"me@example.org\" or \"Gateway <me@example.org>\": {error}"
            );
            table.report(span.clone(), message);
        })
        .ok()
}

fn email(table: &mut Table<'_>, around: &Surroundings<'_>) -> Option<smtp::Config> {
    let host = table.required::<String>("host");
    let protections = [
        ("starttls", smtp::Security::StartTls),
        ("tls", smtp::Security::Tls),
        ("none", smtp::Security::None),
    ];
    let security = table
        .choice("security", &protections)
        .unwrap_or(smtp::Security::StartTls);
    let mut port: u16 = match security {
        smtp::Security::StartTls => 587,
        smtp::Security::Tls => 465,
        smtp::Security::None => 25,
    };
    table.set_number("port", &mut port, 1, 65_535);
    let ca = authorities(table, around);
    let login = login(table, around);
    let is_near = |host: &str| {
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    };
    if let (Some((user, _)), smtp::Security::None, Some(host)) = (&login, security, &host)
        && !is_near(host)
    {
        let message = "a password must not cross a network in the clear: set `security` to \"starttls\" or \"tls\"";
        table.report(user.span.clone(), message);
    }
    let from = table
        .required_placed::<String>("from")
        .and_then(|from| mailbox(table, &from.span, &from.value));
    let readers = table.required_placed::<Vec<String>>("to");
    let to: Vec<smtp::Mail> = readers
        .iter()
        .flat_map(|readers| readers.value.iter().map(move |text| (text, &readers.span)))
        .filter_map(|(text, span)| mailbox(table, span, text))
        .collect();
    if let Some(readers) = readers.filter(|readers| readers.value.is_empty()) {
        table.report(readers.span, "`to` names nobody");
    }
    if let Some((user, None)) = &login {
        let message = "`username` needs `password_file` or `password_env`";
        table.report(user.span.clone(), message);
    }
    Some(smtp::Config {
        host: host?,
        port,
        security,
        ca,
        login: login.and_then(|(user, password)| Some((user.value, password?))),
        from: from?,
        to,
    })
}

fn broker(table: &mut Table<'_>, around: &Surroundings<'_>, name: &str) -> Option<mqtt::Config> {
    let url = table.required_placed::<String>("url");
    let ca = authorities(table, around);
    let login = login(table, around);
    let client_id = table
        .optional("client_id")
        .unwrap_or_else(|| format!("gateway-webhook-{name}"));
    let versions = [("3.1.1", mqtt::Version::V4), ("5", mqtt::Version::V5)];
    let version = table.choice("version", &versions).unwrap_or_default();
    let topic = table.required_placed::<String>("topic");
    let topic = topic.and_then(|topic| {
        let empty = topic.value.is_empty();
        if empty || topic.value.contains(['+', '#']) && !Template::is_in(&topic.value) {
            let message = "`topic` is one to publish to: not empty, and without `+` and `#`";
            table.report(topic.span.clone(), message);
            return None;
        }
        template(table, topic.span, &topic.value, Escape::Topic)
    });
    let body = body_template(table, around, Escape::Json);
    let retain = table.optional("retain").unwrap_or(false);
    let url = url?;
    let Some((tls, host, port)) = super::source::split_url(&url.value) else {
        let message = format!(
            "`url` must be \"mqtt://host:port\" or, with TLS, \"mqtts://host:port\", found \"{}\"",
            url.value
        );
        table.report(url.span, message);
        return None;
    };
    if ca.is_some() && !tls {
        let message = "`ca_file` is for TLS: write the url as \"mqtts://…\"";
        table.report(url.span, message);
    }
    Some(mqtt::Config {
        host: host.to_owned(),
        port: port.unwrap_or(if tls { 8883 } else { 1883 }),
        tls: tls.then_some(ca),
        client_id,
        login: login.map(|(user, password)| (user.value, password)),
        version,
        publishing: Publishing {
            topic: topic?,
            body,
            retain,
        },
    })
}

#[cfg(test)]
mod tests;
