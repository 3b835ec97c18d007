//! `[[source]]` tables: the ways in.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use smol_str::SmolStr;
use toml::de::DeTable;

use super::{
    Surroundings, mapping,
    reader::{Placed, Table},
    secret,
};
use crate::{
    decode::{self, Format, Mapping},
    model::{Secret, SourceName},
    source::{broker, mqtt, serial, shed},
};

/// How long a link may be down before that is an alert, if the source says nothing else.
pub(super) const DOWN_FOR: Duration = Duration::from_secs(60);

/// A configured way in.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// Unique.
    pub name: SourceName,
    /// What it is connected to.
    pub kind: SourceKind,
    /// How its messages become readings; in order, the first whose topic matches is used.
    pub mappings: Vec<Mapping>,
    /// The measurement of its readings in InfluxDB, if not the common one.
    pub measurement: Option<String>,
    /// How long its link may be down before that is an alert. Default 1 min (1 s to 1 day).
    pub down_for: Duration,
}

/// The kinds of connection.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// A serial port.
    Serial(serial::Config),
    /// An MQTT broker.
    Mqtt(mqtt::Config),
    /// The embedded MQTT listener.
    Listener(broker::Config),
}

#[derive(Clone, Copy)]
enum Kind {
    Serial,
    Mqtt,
    Listener,
}

/// Reads one `[[source]]`.
pub(super) fn read(mut table: Table<'_>, around: &Surroundings<'_>) -> Option<SourceConfig> {
    let name = table.required_placed::<SmolStr>("name");
    if let Some(name) = &name {
        table.name = format!("[[source]] \"{}\"", name.value);
        if !super::is_name(&name.value) {
            table.report(name.span.clone(), super::NAME_RULE);
        }
        if name.value == super::PUSH_SOURCE {
            table.report(
                name.span.clone(),
                "the source name \"push\" is taken by HTTP push: choose another",
            );
        }
    }
    let kinds = [
        ("serial", Kind::Serial),
        ("mqtt", Kind::Mqtt),
        ("mqtt_listener", Kind::Listener),
    ];
    if !table.has("type") {
        table.report(
            table.span(),
            format!(
                "{} needs `type`: \"serial\", \"mqtt\" or \"mqtt_listener\"",
                table.name
            ),
        );
    }
    let kind = table.choice("type", &kinds);
    let measurement = table.optional("measurement");
    let mut down_for = DOWN_FOR;
    table.set_within_seconds("down_for", &mut down_for, 1, 86_400);
    let written = mappings(&mut table, around);
    let name = name.map(|n| n.value);
    let Some(kind) = kind else {
        // Which keys it may have depends on the type: naming unknown ones would mislead.
        return None;
    };
    let kind = match kind {
        Kind::Serial => {
            check_lines(&table, &written);
            serial_port(&mut table).map(SourceKind::Serial)
        }
        Kind::Mqtt => {
            let name = name.as_deref().unwrap_or_default();
            broker_session(&mut table, around, name, &written).map(SourceKind::Mqtt)
        }
        Kind::Listener => Some(SourceKind::Listener(listener(&mut table, around))),
    };
    table.finish();
    let mut mappings: Vec<Mapping> = written.into_iter().map(|w| w.mapping).collect();
    if mappings.is_empty() {
        // Everything as JSON, flattened: what a newcomer's first message most likely is.
        mappings.push(Mapping::default());
    }
    Some(SourceConfig {
        name: SourceName(name?),
        kind: kind?,
        mappings,
        measurement,
        down_for,
    })
}

fn mappings(table: &mut Table<'_>, around: &Surroundings<'_>) -> Vec<mapping::Written> {
    let mut written: Vec<mapping::Written> = table
        .tables("mapping")
        .into_iter()
        .map(mapping::read)
        .collect();
    let files = match table.placed::<PathBuf>("mappings_file") {
        Some(Placed { value, span }) => vec![Placed { value, span }],
        None => Vec::new(),
    };
    for file in files {
        let path = around.beside_config(&file.value);
        match (around.read_file)(&path) {
            Err(error) => table.report(
                file.span,
                format!("cannot read {}: {error}", path.display()),
            ),
            Ok(text) => {
                let reporter = table
                    .reporter
                    .other_file(&path.display().to_string(), &text);
                let (root, errors) = DeTable::parse_recoverable(&text);
                super::report_syntax(&reporter, &errors);
                let mut root = Table::new(&reporter, "the mappings file", root.get_ref(), 0..0);
                // Places in the other file mean nothing here: point at the line that names it.
                written.extend(root.tables("mapping").into_iter().map(mapping::read).map(
                    |mut w| {
                        w.span = file.span.clone();
                        w.topic = w.topic.map(|t| Placed {
                            value: t.value,
                            span: file.span.clone(),
                        });
                        w
                    },
                ));
                root.finish();
            }
        }
    }
    written
}

fn queue(table: &mut Table<'_>, queue: &mut shed::Config) {
    table.set_count("max_waiting_messages", &mut queue.max_frames, 1, 10_000_000);
    table.set_bytes("max_waiting_size", &mut queue.max_bytes, 1024, 1 << 30);
}

/// What can't work on a serial line: it has no topics, and each line comes alone.
fn check_lines(table: &Table<'_>, written: &[mapping::Written]) {
    for one in written {
        if let Some(topic) = one.topic.as_ref().filter(|topic| !topic.value.is_empty()) {
            let message = format!(
                "{} is a serial line, which has no topics: this mapping would take nothing, leave `topic` away",
                table.name
            );
            table.report(topic.span.clone(), message);
        }
        if let Format::Csv(csv) = &one.mapping.format
            && csv.columns.is_empty()
        {
            let message = format!(
                "{} reads line by line, so no first line names the columns: give `columns`, such as columns = [\"temperature\", \"humidity\"]",
                table.name
            );
            table.report(one.span.clone(), message);
        }
    }
}

fn serial_port(table: &mut Table<'_>) -> Option<serial::Config> {
    let device = table.required::<PathBuf>("device");
    let mut port = serial::Config::new(device.clone().unwrap_or_default());
    table.set_number("baud_rate", &mut port.baud_rate, 50, 4_000_000);
    table.set_number("data_bits", &mut port.data_bits, 5, 8);
    table.set_number("stop_bits", &mut port.stop_bits, 1, 2);
    let parities = [
        ("none", serial::Parity::None),
        ("odd", serial::Parity::Odd),
        ("even", serial::Parity::Even),
    ];
    if let Some(parity) = table.choice("parity", &parities) {
        port.parity = parity;
    }
    table.set_count("max_line_bytes", &mut port.max_line_bytes, 8, 1 << 20);
    table.set_within_seconds("silent_after", &mut port.silent_after, 1, 86_400 * 365);
    queue(table, &mut port.queue);
    device.map(|_| port)
}

fn broker_session(
    table: &mut Table<'_>,
    around: &Surroundings<'_>,
    name: &str,
    written: &[mapping::Written],
) -> Option<mqtt::Config> {
    let address = table.required_placed::<String>("url");
    let tls_files = mqtt::TlsConfig {
        ca_file: table.readable("ca_file", around),
        certificate_file: table.readable("certificate_file", around),
        key_file: table.readable("key_file", around),
    };
    if table.has("certificate_file") != table.has("key_file") {
        table.report(
            table.span(),
            format!(
                "{}: `certificate_file` and `key_file` go together",
                table.name
            ),
        );
    }
    let mut session = mqtt::Config::new(String::new(), 1883, format!("gateway-{name}"));
    table.set("client_id", &mut session.client_id);
    session.username = table.optional("username");
    session.password = secret::read(table, around, "password");
    table.set_within_seconds("keep_alive", &mut session.keep_alive, 5, 65_535);
    table.set("persistent_session", &mut session.persistent_session);
    if let Some(version) = table.choice(
        "version",
        &[("3.1.1", mqtt::Version::V4), ("5", mqtt::Version::V5)],
    ) {
        session.version = version;
    }
    table.set_bytes(
        "max_packet_size",
        &mut session.max_packet_bytes,
        1024,
        256 << 20,
    );
    table.set_count(
        "max_unacknowledged",
        &mut session.max_unacknowledged,
        1,
        65_535,
    );
    queue(table, &mut session.queue);
    session.subscriptions = subscriptions(table, written);
    let address = address?;
    let Some((tls, host, port)) = split_url(&address.value) else {
        let message = format!(
            "`url` must be \"mqtt://host:port\" or, with TLS, \"mqtts://host:port\", found \"{}\"",
            address.value
        );
        table.report(address.span, message);
        return None;
    };
    let has_tls_files = tls_files != mqtt::TlsConfig::default();
    if has_tls_files && !tls {
        table.report(address.span, "`ca_file`, `certificate_file` and `key_file` are for TLS: write the url as \"mqtts://…\"");
    }
    session.host = host.to_owned();
    session.port = port.unwrap_or(if tls { 8883 } else { 1883 });
    session.tls = tls.then_some(tls_files);
    Some(session)
}

/// One subscription a mapping, equal filters once (with the highest QoS).
fn subscriptions(table: &Table<'_>, written: &[mapping::Written]) -> Vec<mqtt::Subscription> {
    let mut subscriptions: Vec<mqtt::Subscription> = Vec::new();
    for one in written {
        let Some(topic) = &one.topic else {
            table.report(
                one.span.clone(),
                format!(
                    "a mapping of {} needs `topic`: it is what to subscribe to",
                    table.name
                ),
            );
            continue;
        };
        // A topic that can't be a filter was reported by the mapping's own check.
        let Ok(filter) = decode::topic::filter_of(&topic.value) else {
            continue;
        };
        let qos = one.qos.unwrap_or(1);
        match subscriptions.iter_mut().find(|s| s.filter == filter) {
            Some(same) => same.qos = same.qos.max(qos),
            None => subscriptions.push(mqtt::Subscription { filter, qos }),
        }
    }
    if written.is_empty() {
        table.report(
            table.span(),
            format!(
                "{} needs at least one [[source.mapping]] with a `topic`",
                table.name
            ),
        );
    }
    subscriptions
}

pub(super) fn split_url(url: &str) -> Option<(bool, &str, Option<u16>)> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        "mqtt" | "tcp" => false,
        "mqtts" | "ssl" => true,
        _ => return None,
    };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.contains(['/', '@', ' ']) {
        return None;
    }
    if let Some(v6) = rest.strip_prefix('[') {
        let (host, port) = v6.split_once(']')?;
        let port = if port.is_empty() {
            None
        } else {
            Some(port.strip_prefix(':')?.parse().ok()?)
        };
        return Some((tls, host, port));
    }
    match rest.split_once(':') {
        Some((host, port)) => Some((tls, host, Some(port.parse().ok()?))),
        None => Some((tls, rest, None)),
    }
}

fn listener(table: &mut Table<'_>, around: &Surroundings<'_>) -> broker::Config {
    let mut listener = broker::Config::default();
    let listen = table.placed::<SocketAddr>("listen");
    if let Some(listen) = &listen {
        listener.listen = listen.value;
    }
    for mut user in table.tables("users") {
        user.name = String::from("[[source.users]]");
        let name = user.required::<String>("name");
        let password = secret::read(&mut user, around, "password");
        let given = ["password", "password_file", "password_env"];
        if password.is_none() && !given.iter().any(|key| user.has(key)) {
            user.report(
                user.span(),
                "a user needs `password_file` or `password_env`",
            );
        }
        let place = user.span_of("name");
        user.finish();
        if let Some(name) = &name
            && listener.users.iter().any(|(before, _)| before == name)
        {
            table.report(place, format!("there are two users named \"{name}\""));
        }
        if let (Some(name), Some(password)) = (name, password) {
            listener.users.push((name, Secret(password.0)));
        }
    }
    let without_login = table.optional::<bool>("without_login").unwrap_or(false);
    if let Some(listen) = listen
        && !listener.listen.ip().is_loopback()
        && listener.users.is_empty()
        && !without_login
    {
        let message = "this address can be reached from other machines and nobody has to log in: add `users`, or say `without_login = true`";
        table.report(listen.span, message);
    }
    table.set_count("max_connections", &mut listener.max_connections, 1, 100_000);
    table.set_bytes(
        "max_packet_size",
        &mut listener.max_packet_bytes,
        128,
        256 << 20,
    );
    table.set_count("max_retained", &mut listener.max_retained, 0, 10_000_000);
    table.set_count(
        "max_unacknowledged",
        &mut listener.max_unacknowledged,
        1,
        65_535,
    );
    queue(table, &mut listener.queue);
    listener
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_urls_say_whether_tls_and_which_port() {
        assert_eq!(
            split_url("mqtt://localhost"),
            Some((false, "localhost", None))
        );
        assert_eq!(
            split_url("mqtts://b.example:8884/"),
            Some((true, "b.example", Some(8884)))
        );
        assert_eq!(
            split_url("mqtt://[::1]:1884"),
            Some((false, "::1", Some(1884)))
        );
        assert_eq!(split_url("localhost:1883"), None);
        assert_eq!(split_url("mqtt://user@host"), None);
        assert_eq!(split_url("mqtt://host:port"), None);
    }
}
