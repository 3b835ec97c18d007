//! `[[route]]` and `[[inhibit]]` tables.

use std::{ops::Range, time::Duration};

use smol_str::SmolStr;

use super::reader::{Placed, Table, did_you_mean};
use crate::{
    alert::{
        Severity,
        route::{Inhibit, MAX_ROUTES, MAX_STEPS, Route, Routing, Step},
        silence::{Matcher, is_subject},
    },
    notify::WebhookConfig,
};

/// What `group_by` may name.
const SUBJECTS: &str = "rule, series, device, site, severity, or label. and the name of a label";

/// Reads all of them. The webhooks are known by then.
pub(super) fn read(root: &mut Table<'_>, webhooks: &[WebhookConfig]) -> Routing {
    let mut routing = Routing::default();
    for table in root.tables("route") {
        let place = table.span_of("name");
        let Some(route) = route(table, webhooks) else {
            continue;
        };
        if routing.named(&route.name).is_some() {
            root.report(
                place.clone(),
                format!("there are two routes named \"{}\"", route.name),
            );
        }
        if routing.routes.len() == MAX_ROUTES {
            root.report(place, format!("there are more than {MAX_ROUTES} routes"));
        }
        routing.routes.push(route);
    }
    let inhibits = root.tables("inhibit");
    if inhibits.len() > MAX_ROUTES {
        root.report(
            root.span(),
            format!("there are more than {MAX_ROUTES} [[inhibit]]"),
        );
    }
    routing.inhibits = inhibits.into_iter().map(inhibit).collect();
    routing
}

fn route(mut table: Table<'_>, webhooks: &[WebhookConfig]) -> Option<Route> {
    let name = table.required_placed::<SmolStr>("name");
    if let Some(name) = &name {
        table.name = format!("[[route]] \"{}\"", name.value);
        if !super::is_name(&name.value) {
            table.report(name.span.clone(), super::NAME_RULE);
        }
    }
    let matchers = matchers(&mut table, "matchers");
    let mut severities = Vec::new();
    if let Some(Placed { value, span }) = table.placed::<Vec<SmolStr>>("severity") {
        for word in value {
            match severity(&word) {
                Some(severity) => severities.push(severity),
                None => table.report(
                    span.clone(),
                    format!("a severity is \"info\", \"warning\" or \"critical\", not \"{word}\""),
                ),
            }
        }
    }
    let told = table.required_placed::<Vec<SmolStr>>("webhooks");
    if let Some(told) = &told {
        check_webhooks(&table, told, webhooks);
    }
    let mut group_by = vec![SmolStr::from("rule")];
    if let Some(Placed { value, span }) = table.placed::<Vec<SmolStr>>("group_by") {
        check_subjects(&table, &value, &span);
        group_by = value;
    }
    let mut route = Route {
        name: SmolStr::default(),
        matchers,
        severities,
        webhooks: told.map(|told| told.value).unwrap_or_default(),
        group_by,
        group_wait: Duration::from_secs(10),
        group_interval: Duration::from_secs(60),
        repeat_interval: Duration::from_secs(4 * 3_600),
        escalate: Vec::new(),
        goes_on: table.optional("continue").unwrap_or_default(),
    };
    table.set_within_seconds("group_wait", &mut route.group_wait, 0, 86_400);
    table.set_within_seconds("group_interval", &mut route.group_interval, 0, 86_400);
    table.set_within_seconds(
        "repeat_interval",
        &mut route.repeat_interval,
        0,
        30 * 86_400,
    );
    if (1..60).contains(&route.repeat_interval.as_secs()) {
        table.report(
            table.span_of("repeat_interval"),
            "`repeat_interval` must be at least \"1m\", or \"0s\" for never",
        );
    }
    for step in table.tables("escalate") {
        route.escalate.extend(self::step(step, webhooks));
    }
    if route.escalate.len() > MAX_STEPS {
        table.report(
            table.span_of("escalate"),
            format!("a route has at most {MAX_STEPS} steps"),
        );
    }
    if !route.escalate.is_sorted_by(|a, b| a.after < b.after) {
        table.report(
            table.span_of("escalate"),
            "each step of `escalate` must come later than the one before it",
        );
    }
    table.finish();
    route.name = name?.value;
    Some(route)
}

fn step(mut table: Table<'_>, webhooks: &[WebhookConfig]) -> Option<Step> {
    table.name = String::from("a step of `escalate`");
    let after = table.required_placed::<Duration>("after");
    if let Some(after) = &after
        && !(1..=30 * 86_400).contains(&after.value.as_secs())
    {
        table.report(
            after.span.clone(),
            "`after` must be between \"1s\" and \"30d\"",
        );
    }
    let told = table.required_placed::<Vec<SmolStr>>("webhooks");
    if let Some(told) = &told {
        if told.value.is_empty() {
            table.report(told.span.clone(), "a step tells at least one webhook");
        }
        check_webhooks(&table, told, webhooks);
    }
    table.finish();
    Some(Step {
        after: after?.value,
        webhooks: told?.value,
    })
}

fn inhibit(mut table: Table<'_>) -> Inhibit {
    for key in ["source", "target"] {
        if !table.has(key) {
            table.report(
                table.span(),
                format!("[[inhibit]] needs `{key}`, such as {key} = [{{ name = \"rule\", value = \"…\" }}]"),
            );
        }
    }
    let inhibit = Inhibit {
        source: matchers(&mut table, "source"),
        target: matchers(&mut table, "target"),
        equal: match table.placed::<Vec<SmolStr>>("equal") {
            Some(Placed { value, span }) => {
                check_subjects(&table, &value, &span);
                value
            }
            None => Vec::new(),
        },
    };
    for (key, matchers) in [("source", &inhibit.source), ("target", &inhibit.target)] {
        if table.has(key) && matchers.is_empty() {
            table.report(
                table.span_of(key),
                format!("`{key}` of [[inhibit]] needs at least one matcher"),
            );
        }
    }
    table.finish();
    inhibit
}

/// `[{ name = "site", value = "north*", glob = true }]`
fn matchers(table: &mut Table<'_>, key: &'static str) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    for mut item in table.tables(key) {
        item.name = format!("a matcher of `{key}`");
        let (name, value) = (
            item.required::<String>("name"),
            item.required::<String>("value"),
        );
        let glob = item.optional("glob").unwrap_or_default();
        let span = item.span();
        if let (Some(name), Some(value)) = (name, value) {
            let matcher = Matcher { name, value, glob };
            if let Err(error) = matcher.check() {
                item.report(span, error.to_string());
            }
            matchers.push(matcher);
        }
        item.finish();
    }
    if matchers.len() > crate::alert::silence::MAX_MATCHERS {
        table.report(table.span_of(key), format!("`{key}` has too many matchers"));
    }
    matchers
}

fn check_subjects(table: &Table<'_>, names: &[SmolStr], span: &Range<usize>) {
    for name in names.iter().filter(|name| !is_subject(name)) {
        table.report(span.clone(), format!("unknown \"{name}\": use {SUBJECTS}"));
    }
}

fn check_webhooks(table: &Table<'_>, named: &Placed<Vec<SmolStr>>, webhooks: &[WebhookConfig]) {
    let known = |name: &SmolStr| webhooks.iter().any(|webhook| webhook.name == *name);
    for unknown in named.value.iter().filter(|name| !known(name)) {
        let mean = did_you_mean(unknown, webhooks.iter().map(|w| w.name.as_str()));
        table.report(
            named.span.clone(),
            format!("there is no webhook named \"{unknown}\"{mean}"),
        );
    }
}

fn severity(word: &str) -> Option<Severity> {
    match word {
        "info" => Some(Severity::Info),
        "warning" => Some(Severity::Warning),
        "critical" => Some(Severity::Critical),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Surroundings, parse};

    const WEBHOOKS: &str = "[[webhook]]\nname = \"ops\"\nurl = \"http://h/\"\n[[webhook]]\nname = \"boss\"\nurl = \"http://h/b\"\n";

    fn config(routes: &str) -> Result<Config, String> {
        let around = Surroundings {
            folder: Path::new(""),
            read_file: &|_| Ok(String::new()),
            environment: &|_| None,
        };
        parse("g.toml", &format!("{WEBHOOKS}{routes}"), &around).map_err(|e| e.to_string())
    }

    #[test]
    fn a_route_has_sensible_waits_and_says_what_it_takes() {
        let config = config(
            "[[route]]\nname = \"all\"\nwebhooks = [\"ops\"]\n[[route]]\nname = \"night\"\nseverity = [\"critical\"]\n\
             matchers = [{ name = \"site\", value = \"n*\", glob = true }]\nwebhooks = []\ngroup_by = [\"site\", \"label.room\"]\n\
             repeat_interval = \"0s\"\ncontinue = true\nescalate = [{ after = \"15m\", webhooks = [\"boss\"] }]\n\
             [[inhibit]]\nsource = [{ name = \"rule\", value = \"down\" }]\ntarget = [{ name = \"severity\", value = \"warning\" }]\nequal = [\"site\"]\n",
        )
        .unwrap();
        let [all, night] = config.routing.routes.as_slice() else {
            panic!("two routes")
        };
        assert_eq!(all.group_by, ["rule"]);
        assert_eq!(
            [all.group_wait, all.group_interval, all.repeat_interval].map(|d| d.as_secs()),
            [10, 60, 14_400]
        );
        assert_eq!(night.severities, [Severity::Critical]);
        assert!(night.goes_on && night.repeat_interval.is_zero() && night.matchers[0].glob);
        assert_eq!(night.escalate[0].after, Duration::from_secs(900));
        assert_eq!(config.routing.inhibits[0].equal, ["site"]);
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        for (text, said) in [
            ("[[route]]\nname = \"a\"\n", "needs `webhooks`"),
            (
                "[[route]]\nname = \"a\"\nwebhooks = [\"opps\"]\n",
                "no webhook named \"opps\"; did you mean `ops`?",
            ),
            (
                "[[route]]\nname = \"a\"\nwebhooks = []\ngroup_by = [\"room\"]\n",
                "unknown \"room\"",
            ),
            (
                "[[route]]\nname = \"a\"\nwebhooks = []\nmatchers = [{ name = \"room\", value = \"x\" }]\n",
                "unknown matcher \"room\"",
            ),
            (
                "[[route]]\nname = \"a\"\nwebhooks = []\nseverity = [\"bad\"]\n",
                "not \"bad\"",
            ),
            (
                "[[route]]\nname = \"a\"\nwebhooks = []\nrepeat_interval = \"5s\"\n",
                "at least \"1m\"",
            ),
            (
                "[[route]]\nname = \"a\"\nwebhooks = []\nescalate = [{ after = \"5m\", webhooks = [\"ops\"] }, { after = \"4m\", webhooks = [\"boss\"] }]\n",
                "later than the one before",
            ),
            (
                "[[route]]\nname = \"a\"\nwebhooks = []\nescalate = [{ after = \"5m\", webhooks = [] }]\n",
                "at least one webhook",
            ),
            (
                "[[route]]\nname = \"a\"\nwebhooks = []\n[[route]]\nname = \"a\"\nwebhooks = []\n",
                "two routes named \"a\"",
            ),
            (
                "[[inhibit]]\nsource = [{ name = \"rule\", value = \"x\" }]\n",
                "needs `target`",
            ),
            (
                "[[inhibit]]\nsource = []\ntarget = [{ name = \"rule\", value = \"x\" }]\n",
                "at least one matcher",
            ),
        ] {
            let refused = config(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
            assert!(refused.starts_with("g.toml:"), "{refused}");
        }
    }
}
