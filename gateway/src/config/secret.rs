//! Secrets come from a file or an environment variable, never from the config itself, and are never printed.

use std::path::PathBuf;

use super::{Surroundings, reader::Table};
use crate::model::Secret;

/// What must not stand in the config, with the keys of its file and its variable.
pub(super) const KEYS: [(&str, &str, &str); 5] = [
    ("token", "token_file", "token_env"),
    ("password", "password_file", "password_env"),
    ("signing_keys", "signing_keys_file", "signing_keys_env"),
    ("routing_key", "routing_key_file", "routing_key_env"),
    ("api_key", "api_key_file", "api_key_env"),
];

/// The keys of a secret's file and variable.
fn elsewhere(key: &str) -> (&'static str, &'static str) {
    match key {
        "url" => ("url_file", "url_env"),
        "topic" => ("topic_file", "topic_env"),
        _ => {
            let known = KEYS.iter().find(|known| known.0 == key);
            known.map_or(("token_file", "token_env"), |known| (known.1, known.2))
        }
    }
}

/// The variable of a secret that may not stand in the config; none for other keys.
pub(super) fn variable(key: &str) -> Option<&'static str> {
    KEYS.iter()
        .find(|known| known.0 == key)
        .map(|known| known.2)
}

/// Reads `KEY_file` or `KEY_env`.
pub(super) fn read(
    table: &mut Table<'_>,
    around: &Surroundings<'_>,
    key: &'static str,
) -> Option<Secret> {
    let (file_key, env_key) = elsewhere(key);
    if table.has(key) {
        let message = format!(
            "`{key}` must not stand in the config: put it in a file and name that with `{file_key}`, or in the environment with `{env_key}`"
        );
        table.optional::<String>(key);
        table.report(table.span_of(key), message);
    }
    from_elsewhere(table, around, key)
}

/// Whether `KEY_file` or `KEY_env` is there.
pub(super) fn is_elsewhere(table: &Table<'_>, key: &str) -> bool {
    let (file_key, env_key) = elsewhere(key);
    table.has(file_key) || table.has(env_key)
}

/// Reads `KEY_file` or `KEY_env`; `KEY` itself may be there too, for what need not be a secret.
pub(super) fn from_elsewhere(
    table: &mut Table<'_>,
    around: &Surroundings<'_>,
    key: &'static str,
) -> Option<Secret> {
    let (file_key, env_key) = elsewhere(key);
    if table.has(file_key) && table.has(env_key) {
        table.report(
            table.span_of(env_key),
            format!("{}: give `{file_key}` or `{env_key}`, not both", table.name),
        );
    }
    if let Some(file) = table.placed::<PathBuf>(file_key) {
        let path = around.beside_config(&file.value);
        match (around.read_file)(&path) {
            Ok(text) if text.trim().is_empty() => {
                table.report(file.span, format!("{} is empty", path.display()))
            }
            Ok(text) => return Some(Secret(text.trim().to_owned())),
            Err(error) => table.report(
                file.span,
                format!("cannot read {}: {error}", path.display()),
            ),
        }
    }
    if let Some(variable) = table.placed::<String>(env_key) {
        match (around.environment)(&variable.value) {
            Some(text) if !text.is_empty() => return Some(Secret(text)),
            _ => table.report(
                variable.span,
                format!("the environment variable {} is not set", variable.value),
            ),
        }
    }
    None
}
