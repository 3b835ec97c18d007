use std::path::Path;

use super::super::{Config, Mistakes, Surroundings, parse};
use crate::notify::{Destination, Format};

fn parse_text(text: &str) -> Result<Config, Mistakes> {
    let around = Surroundings {
        folder: Path::new("/etc/gateway"),
        read_file: &|path| match path.to_str() {
            Some("/etc/gateway/slack") => Ok(String::from(
                "https://hooks.slack.example/services/T0/B0/SECRET\n",
            )),
            Some("/etc/gateway/keys") => Ok(String::from(
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
            )),
            Some("/etc/gateway/body.json") => Ok(String::from("{\n  \"a\": {{ sumary }}\n}\n")),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        },
        environment: &|name| match name {
            "KEY" => Some(String::from("SECRET-KEY")),
            "NOTHING" => Some(String::from("no address")),
            _ => None,
        },
    };
    parse("gateway.toml", text, &around)
}

fn webhook(keys: &str) -> Result<Destination, Mistakes> {
    let config = parse_text(&format!("[[webhook]]\nname = \"ops\"\n{keys}"))?;
    Ok(config.webhooks[0].to.clone())
}

fn mistakes(keys: &str) -> Vec<(usize, usize, String)> {
    webhook(keys)
        .unwrap_err()
        .0
        .into_iter()
        .map(|m| (m.line, m.column, m.message))
        .collect()
}

#[test]
fn every_kind_is_read_with_the_least_that_it_needs() {
    for (kind, keys) in [
        ("webhook", "url = \"http://h/x\""),
        ("webhook", "kind = \"webhook\"\nurl = \"http://h/x\""),
        ("alertmanager_webhook", "url = \"http://h/x\""),
        ("alertmanager", "url = \"http://h:9093\""),
        ("slack", "url_file = \"slack\""),
        ("teams", "url_file = \"slack\""),
        ("discord", "url_file = \"slack\""),
        ("ntfy", "topic = \"greenhouse\""),
        ("ntfy", "topic_env = \"KEY\"\nurl = \"http://ntfy.example\""),
        ("pagerduty", "routing_key_env = \"KEY\""),
        ("opsgenie", "api_key_env = \"KEY\""),
        (
            "email",
            "host = \"mail.example.org\"\nfrom = \"Gateway <g@example.org>\"\nto = [\"me@example.org\"]",
        ),
        (
            "mqtt",
            "url = \"mqtts://broker\"\ntopic = \"alerts/{{ device }}\"",
        ),
    ] {
        let written = if keys.starts_with("kind") {
            String::from(keys)
        } else {
            format!("kind = \"{kind}\"\n{keys}")
        };
        let to = webhook(&written).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(to.kind(), kind);
        assert!(
            !format!("{to:?}{}", to.shown()).contains("SECRET"),
            "{to:?}"
        );
    }
}

#[test]
fn what_a_kind_needs_and_what_it_does_not_know_is_told() {
    for (keys, said) in [
        (
            "kind = \"slak\"\nurl = \"http://h/x\"",
            "did you mean `slack`?",
        ),
        (
            "kind = \"pagerduty\"",
            "needs `routing_key_file` or `routing_key_env`",
        ),
        (
            "kind = \"pagerduty\"\nrouting_key = \"x\"",
            "must not stand in the config",
        ),
        (
            "kind = \"opsgenie\"",
            "needs `api_key_file` or `api_key_env`",
        ),
        ("kind = \"ntfy\"", "needs `topic`"),
        ("kind = \"ntfy\"\ntopic = \"a/b\"", "1 to 64 letters"),
        (
            "kind = \"teams\"\nurl = \"http://h/x\"\nchannel = \"a\"",
            "unknown key `channel`",
        ),
        (
            "kind = \"slack\"\nurl = \"http://h/x\"\nurl_file = \"slack\"",
            "not two of them",
        ),
        (
            "kind = \"slack\"\nurl_env = \"NOTHING\"",
            "is no full address",
        ),
        (
            "kind = \"alertmanager\"\nurl = \"http://h\"\nsend_resolved = false",
            "must hear of the end",
        ),
        (
            "kind = \"alertmanager\"\nurl = \"http://h\"\nresend_every = \"1h\"\nforget_after = \"61m\"",
            "twice",
        ),
        (
            "kind = \"email\"\nhost = \"h\"\nfrom = \"nobody\"\nto = []",
            "is no address such as",
        ),
        (
            "kind = \"email\"\nhost = \"h\"\nfrom = \"a@b.example\"\nto = []",
            "names nobody",
        ),
        (
            "kind = \"email\"\nhost = \"mail.example\"\nsecurity = \"none\"\nusername = \"u\"\npassword_env = \"KEY\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]",
            "in the clear",
        ),
        (
            "kind = \"mqtt\"\nurl = \"http://h\"\ntopic = \"a\"",
            "mqtts://host:port",
        ),
        (
            "kind = \"mqtt\"\nurl = \"mqtt://h\"\ntopic = \"a/#\"",
            "without `+` and `#`",
        ),
        (
            "url = \"https://{{ device }}/x\"",
            "the host of `url` must stand there",
        ),
        (
            "url = \"https://h{{ device }}/x\"",
            "the host of `url` must stand there",
        ),
        (
            "url = \"http://h/x\"\nsigning_keys_env = \"KEY\"",
            "a signing key is `whsec_`",
        ),
        (
            "url = \"http://h/x\"\ncontent_type = \"text/plain\"",
            "goes with `body`",
        ),
    ] {
        let found = mistakes(keys);
        assert!(
            found.iter().any(|m| m.2.contains(said)),
            "{keys}: {found:?}"
        );
        assert!(!format!("{found:?}").contains("no address\""), "{found:?}");
    }
}

#[test]
fn mistakes_in_templates_are_told_with_their_place_in_the_config_or_the_file() {
    let found = mistakes("url = \"http://h/x\"\nbody = '''\n{\n  \"a\": {{ sumary }}\n}'''");
    assert_eq!((found[0].0, found[0].1), (6, 11), "{found:?}");
    let found = mistakes("url = \"http://h/{{ devise }}\"");
    assert_eq!((found[0].0, found[0].1), (3, 20), "{found:?}");
    let Err(Mistakes(found)) = webhook("url = \"http://h/x\"\nbody_file = \"body.json\"") else {
        panic!("a mistake")
    };
    assert_eq!(
        (found[0].file.as_str(), found[0].line, found[0].column),
        ("/etc/gateway/body.json", 2, 11)
    );
    let found = mistakes("url = \"http://h/x\"\nheaders = { x-a = \"{{ nothing }}\" }");
    assert!(found[0].2.contains("`headers.x-a`"), "{found:?}");
}

#[test]
fn several_keys_sign_while_one_is_changed() {
    let to = webhook("url = \"http://h/x\"\nsigning_keys_file = \"keys\"").unwrap();
    let Destination::Http(endpoint, format) = &to else {
        panic!("{to:?}");
    };
    assert_eq!(endpoint.signing_keys.len(), 2);
    assert!(to.is_signed() && matches!(format.as_ref(), Format::Json(_)));
}
