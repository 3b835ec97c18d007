//! `[[heartbeat]]` tables.

use std::time::Duration;

use smol_str::SmolStr;

use super::{
    NAME_RULE, Surroundings, check_http_url, check_outside, is_name,
    reader::{Placed, Table},
    secret,
};
use crate::{
    heartbeat::{BeatMethod, Config},
    model::Secret,
};

/// Reads one `[[heartbeat]]`.
pub(super) fn read(
    mut table: Table<'_>,
    around: &Surroundings<'_>,
) -> Option<(Config, Placed<SmolStr>)> {
    let name = table.required_placed::<SmolStr>("name");
    if let Some(name) = &name {
        table.name = format!("[[heartbeat]] \"{}\"", name.value);
        if !is_name(&name.value) {
            table.report(name.span.clone(), NAME_RULE);
        }
    }
    let url = table.required_placed::<String>("url");
    if let Some(url) = &url {
        check_http_url(&table, "url", url);
        check_outside(&table, url);
    }
    let methods = [("POST", BeatMethod::Post), ("GET", BeatMethod::Get)];
    let method = table.choice("method", &methods).unwrap_or_default();
    let mut every = Duration::from_secs(60);
    table.set_within_seconds("every", &mut every, 1, 86_400);
    let mut timeout = Duration::from_secs(10);
    table.set_within_seconds("timeout", &mut timeout, 1, 120);
    let token = secret::read(&mut table, around, "token");
    table.finish();
    let name = name?;
    let config = Config {
        name: name.value.clone(),
        url: Secret(url?.value),
        method,
        every,
        timeout,
        token,
    };
    Some((config, name))
}
