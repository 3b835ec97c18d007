//! Secrets come from a file or an environment variable, never from the config itself, and are never printed.

use std::path::PathBuf;

use super::{Surroundings, reader::Table};
use crate::model::Secret;

/// Reads `KEY_file` or `KEY_env`.
pub(super) fn read(
    table: &mut Table<'_>,
    around: &Surroundings<'_>,
    key: &'static str,
) -> Option<Secret> {
    let (file_key, env_key) = match key {
        "password" => ("password_file", "password_env"),
        _ => ("token_file", "token_env"),
    };
    if table.has(key) {
        let message = format!(
            "`{key}` must not stand in the config: put it in a file and name that with `{file_key}`, or in the environment with `{env_key}`"
        );
        table.optional::<String>(key);
        table.report(table.span_of(key), message);
    }
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
