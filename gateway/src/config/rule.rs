//! `[[rule]]` tables.

use std::{collections::BTreeMap, time::Duration};

use smol_str::SmolStr;

use super::{
    condition, life, pattern,
    reader::{Placed, Table},
};
use crate::alert::{Rule, Severity};

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
    let matching = matching(&mut table);
    let series = if matching.is_empty() {
        if !table.has("series") && !table.has("match") {
            table.report_missing(
                "series",
                format!("{} needs `series`, such as \"*/temperature\", or `match`, such as {{ site = \"north\" }}", table.name),
            );
        }
        table.placed::<SmolStr>("series")
    } else {
        table.placed("series").or(Some(Placed {
            value: SmolStr::new_static("*/*"),
            span: table.span(),
        }))
    };
    if let Some(series) = &series {
        pattern::check_series(&table, series);
    }
    let condition = condition::read(&mut table);
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
        matching,
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

/// `match = { site = "north", room = "cold*" }`.
fn matching(table: &mut Table<'_>) -> BTreeMap<String, String> {
    let matching = table.texts("match");
    for (label, pattern) in &matching {
        if label.is_empty() || pattern.is_empty() {
            table.report(
                table.span_of("match"),
                "`match` holds names of labels and what they must be, such as { site = \"north\" }; \"*\" is any",
            );
        }
    }
    matching
}
