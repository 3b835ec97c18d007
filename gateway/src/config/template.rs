//! Templates in the config: `body` or `body_file` of a webhook, and what else has places in it. A mistake in one is told with its place.

use std::{ops::Range, path::PathBuf};

use super::{
    Surroundings,
    reader::{Placed, Table},
};
use crate::notify::{Escape, Fault, Template};

/// An address with places in it: what is before the first one must say the host.
pub(super) fn url_template(table: &Table<'_>, url: &Placed<String>) -> Option<Template> {
    let literal = url.value.split('{').next().unwrap_or_default();
    let host_is_said = literal
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains('/'));
    if !host_is_said {
        let message = "the host of `url` must stand there as it is: places such as {{ device }} come in the path or the query";
        table.report(url.span.clone(), message);
        return None;
    }
    template(table, url.span.clone(), &url.value, Escape::Url)
}

/// `body` or `body_file`, with `content_type`.
pub(super) fn body(table: &mut Table<'_>, around: &Surroundings<'_>) -> Option<(Template, String)> {
    let content_type = table
        .placed::<String>("content_type")
        .unwrap_or_else(|| Placed {
            value: String::from("application/json"),
            span: table.span(),
        });
    if reqwest::header::HeaderValue::try_from(&content_type.value).is_err() {
        let message = "`content_type` must be one such as \"text/plain; charset=utf-8\"";
        table.report(content_type.span.clone(), message);
    }
    let escape = if content_type.value.contains("json") {
        Escape::Json
    } else {
        Escape::Plain
    };
    let written = table.has("body") || table.has("body_file");
    if table.has("content_type") && !written {
        let message = "`content_type` goes with `body` or `body_file`";
        table.report(content_type.span, message);
    }
    Some((body_template(table, around, escape)?, content_type.value))
}

pub(super) fn body_template(
    table: &mut Table<'_>,
    around: &Surroundings<'_>,
    escape: Escape,
) -> Option<Template> {
    if table.has("body") && table.has("body_file") {
        let message = "give `body` or `body_file`, not both";
        table.report(table.span_of("body_file"), message);
    }
    let file = table.placed::<PathBuf>("body_file");
    if let Some(body) = table.placed::<String>("body") {
        return template(table, body.span, &body.value, escape);
    }
    let file = file?;
    let path = around.beside_config(&file.value);
    match (around.read_file)(&path) {
        Ok(text) => match Template::new(&text, escape) {
            Ok(template) => Some(template),
            Err(fault) => {
                let reporter = table
                    .reporter
                    .other_file(&path.display().to_string(), &text);
                reporter.report(within(&text, 0, &fault), fault.message);
                None
            }
        },
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            table.report(file.span, message);
            None
        }
    }
}

/// A template that stands in the config itself; a mistake is told with its place there.
pub(super) fn template(
    table: &Table<'_>,
    span: Range<usize>,
    text: &str,
    escape: Escape,
) -> Option<Template> {
    match Template::new(text, escape) {
        Ok(template) => Some(template),
        Err(fault) => {
            let raw = table.reporter.text(span.clone());
            let opening = [
                "'''\r\n",
                "'''\n",
                "'''",
                "\"\"\"\r\n",
                "\"\"\"\n",
                "\"\"\"",
                "'",
                "\"",
            ]
            .into_iter()
            .find(|opening| raw.starts_with(opening))
            .map_or(0, str::len);
            let place = within(
                raw.get(opening..).unwrap_or_default(),
                span.start + opening,
                &fault,
            );
            table.report(place, fault.message);
            None
        }
    }
}

/// The place of a fault in a text that begins at `start`.
fn within(text: &str, start: usize, fault: &Fault) -> Range<usize> {
    let line = match fault.line {
        0 | 1 => 0,
        line => text
            .match_indices('\n')
            .nth(line - 2)
            .map_or(text.len(), |(at, _)| at + 1),
    };
    let column = text[line..]
        .char_indices()
        .nth(fault.column.saturating_sub(1))
        .map_or(0, |(at, _)| at);
    start + line + column..start + line + column + 1
}
