//! The mappings of a source, made ready: patterns and templates read once, and what they decided about topics and
//! paths remembered. Both memories are bounded; a full one is emptied, and fills again with what is in use.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smol_str::SmolStr;

use super::{SourceMappings, unit};
use crate::{
    decode::{
        Decoded, Mapping, Record, Role, Scalar, line_protocol,
        path::PathPattern,
        template::{Gap, Template},
        topic::{Captures, TopicPattern},
    },
    model::{SourceName, Unit},
};

/// Topics of one source whose mapping is remembered.
const MAX_TOPICS: usize = 4096;
/// Bytes that those topics may have together.
const MAX_TOPIC_BYTES: usize = 512 * 1024;
/// Paths of one mapping whose fate is remembered.
const MAX_PATHS: usize = 4096;

type Map<K, V> = HashMap<K, V, RandomState>;

/// A source with its mappings.
#[derive(Debug)]
pub(super) struct Source {
    name: SourceName,
    mappings: Vec<Compiled>,
    topics: Map<SmolStr, Option<Topic>>,
    topic_bytes: usize,
}

/// What is known of a topic.
#[derive(Debug)]
pub(super) struct Topic {
    mapping: usize,
    /// The device, where the payload has no say in it; an error: it can't be told.
    pub(super) device: Option<Result<SmolStr, ()>>,
    captures: Captures,
}

/// A mapping, made ready.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) mapping: Mapping,
    pattern: Option<TopicPattern>,
    names: Vec<SmolStr>,
    device: Template,
    metric: Template,
    pub(super) rules: Vec<Rule>,
    ignore: Vec<PathPattern>,
    plans: Map<SmolStr, Plan>,
}

/// A field rule, made ready.
#[derive(Debug)]
pub(super) struct Rule {
    path: PathPattern,
    metric: Option<Template>,
    pub(super) unit: Option<Unit>,
    pub(super) unit_path: Option<SmolStr>,
}

/// What becomes of the fields with one path.
#[derive(Debug)]
pub(super) struct Plan {
    /// It never becomes a reading.
    pub(super) skip: bool,
    /// The rule that takes it.
    pub(super) rule: Option<usize>,
    /// Its metric, where only the path has a say in it.
    pub(super) metric: Option<SmolStr>,
    stars: Vec<SmolStr>,
}

/// What templates may look at, besides the field itself.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) source: &'a SourceName,
    pub(super) topic: &'a str,
    pub(super) decoded: &'a Decoded,
    pub(super) record: &'a Record,
}

impl Source {
    pub(super) fn new(source: SourceMappings) -> Self {
        Self {
            name: source.name,
            mappings: source.mappings.into_iter().map(Compiled::new).collect(),
            topics: Map::default(),
            topic_bytes: 0,
        }
    }

    /// The mapping that takes this topic, and what follows from that; from memory if it is there.
    pub(super) fn find(&mut self, topic: &SmolStr) -> Option<(&SourceName, &Topic, &mut Compiled)> {
        let Self {
            name,
            mappings,
            topics,
            topic_bytes,
        } = self;
        if !topics.contains_key(topic) {
            *topic_bytes += topic.len();
            if topics.len() >= MAX_TOPICS || *topic_bytes > MAX_TOPIC_BYTES {
                topics.clear();
                *topic_bytes = topic.len();
            }
            topics.insert(topic.clone(), choose(name, mappings, topic));
        }
        let found = topics.get(topic)?.as_ref()?;
        Some((name, found, mappings.get_mut(found.mapping)?))
    }

    /// How many topics, and at most how many paths of a mapping, are remembered.
    #[cfg(test)]
    pub(super) fn memory(&self) -> (usize, usize) {
        let paths = self.mappings.iter().map(|mapping| mapping.plans.len());
        (self.topics.len(), paths.max().unwrap_or_default())
    }
}

fn choose(source: &SourceName, mappings: &[Compiled], topic: &str) -> Option<Topic> {
    let mut captures = Captures::new();
    let (mapping, compiled) = mappings.iter().enumerate().find(|(_, compiled)| {
        compiled
            .pattern
            .as_ref()
            .is_some_and(|pattern| pattern.matches(topic, &mut captures))
    })?;
    let by_topic = !compiled
        .device
        .gaps()
        .any(|gap| matches!(gap, Gap::Field(_)));
    let device = by_topic.then(|| {
        let mut device = String::new();
        let told = compiled.device.write(&mut device, |gap, out| {
            compiled.fill_from_topic(gap, topic, source, &captures, out)
        });
        if told { Ok(device.into()) } else { Err(()) }
    });
    Some(Topic {
        mapping,
        device,
        captures,
    })
}

impl Compiled {
    /// A mapping that did not pass [`Mapping::check`] takes no message: the config is checked before.
    fn new(mapping: Mapping) -> Self {
        let pattern = mapping
            .check()
            .is_empty()
            .then(|| TopicPattern::parse(&mapping.topic).ok())
            .flatten();
        let names: Vec<SmolStr> = pattern
            .iter()
            .flat_map(TopicPattern::names)
            .cloned()
            .collect();
        let device = match mapping.device.as_str() {
            "" if names.iter().any(|name| name == "device") => "{device}",
            "" => "{source}",
            said => said,
        };
        let template = |text: &str| Template::parse(text).unwrap_or_else(|_| Template::empty());
        let paths = |text: &SmolStr| PathPattern::parse(text).ok();
        let mut ignore: Vec<PathPattern> = mapping.ignore.iter().filter_map(paths).collect();
        // Where time and units are written is no measurement.
        ignore.extend(mapping.time_path.iter().filter_map(paths));
        ignore.extend(
            mapping
                .fields
                .iter()
                .filter_map(|rule| rule.unit_path.as_ref())
                .filter_map(paths),
        );
        let rules = mapping
            .fields
            .iter()
            .filter_map(|rule| {
                Some(Rule {
                    path: paths(&rule.path)?,
                    metric: rule.metric.as_ref().map(|metric| template(&metric.0)),
                    unit: rule.unit.as_ref().and_then(|unit| unit::resolve(&unit.0)),
                    unit_path: rule.unit_path.clone(),
                })
            })
            .collect();
        Self {
            device: template(device),
            metric: template(&mapping.metric),
            pattern,
            names,
            rules,
            ignore,
            plans: Map::default(),
            mapping,
        }
    }

    /// What becomes of fields with this path, if that was decided before.
    pub(super) fn plan(&self, path: &str) -> Option<&Plan> {
        self.plans.get(path)
    }

    /// Decides what becomes of fields with this path, and remembers it.
    pub(super) fn learn(&mut self, path: &str, source: &SourceName) {
        if self.plans.len() >= MAX_PATHS {
            self.plans.clear();
        }
        let plan = self.decide(path, source);
        self.plans.insert(path.into(), plan);
    }

    fn decide(&self, path: &str, source: &SourceName) -> Plan {
        if self
            .ignore
            .iter()
            .any(|ignored| ignored.stars_in(path).is_some())
        {
            return Plan::SKIP;
        }
        let (rule, stars) = self
            .rules
            .iter()
            .enumerate()
            .find_map(|(at, rule)| Some((Some(at), rule.path.stars_in(path)?)))
            .unwrap_or((None, Vec::new()));
        let mut plan = Plan {
            skip: false,
            rule,
            metric: None,
            stars: stars.into_iter().map(SmolStr::new).collect(),
        };
        let template = self.metric_template(&plan);
        let by_path_alone = template
            .gaps()
            .all(|gap| matches!(gap, Gap::Path | Gap::Star(_) | Gap::Source));
        if by_path_alone {
            let mut metric = String::new();
            let told = template.write(&mut metric, |gap, out| {
                fill_from_path(gap, path, &plan.stars, source, out)
            });
            if told {
                plan.metric = Some(metric.replace('/', ".").into());
            }
        }
        plan
    }

    /// The template of a field's metric: its rule's, else the mapping's.
    fn metric_template(&self, plan: &Plan) -> &Template {
        plan.rule
            .and_then(|rule| self.rules.get(rule)?.metric.as_ref())
            .unwrap_or(&self.metric)
    }

    /// Writes the metric of a field whose plan does not know it. False if it can't be told.
    pub(super) fn write_metric(
        &self,
        plan: &Plan,
        path: &str,
        topic: &Topic,
        sight: Sight<'_>,
        out: &mut String,
    ) -> bool {
        self.metric_template(plan).write(out, |gap, out| {
            fill_from_path(gap, path, &plan.stars, sight.source, out)
                || fill_series(gap, path, sight, out)
                || self.fill_from_topic(gap, sight.topic, sight.source, &topic.captures, out)
                || fill_from_record(gap, sight, out)
        })
    }

    /// Writes the device of a record, where the topic alone does not tell it. False if it can't be told.
    pub(super) fn write_device(&self, topic: &Topic, sight: Sight<'_>, out: &mut String) -> bool {
        self.device.write(out, |gap, out| {
            self.fill_from_topic(gap, sight.topic, sight.source, &topic.captures, out)
                || fill_from_record(gap, sight, out)
        })
    }

    fn fill_from_topic(
        &self,
        gap: &Gap,
        topic: &str,
        source: &SourceName,
        captures: &Captures,
        out: &mut String,
    ) -> bool {
        let text = match gap {
            Gap::Topic => Some(topic),
            Gap::Source => Some(source.0.as_str()),
            Gap::Level(name) => self
                .names
                .iter()
                .position(|known| known == name)
                .and_then(|at| captures.get(at))
                .and_then(|range| topic.get(range.clone())),
            Gap::Field(_) | Gap::Path | Gap::Series | Gap::Star(_) => None,
        };
        text.is_some_and(|text| {
            out.push_str(text);
            true
        })
    }
}

impl Plan {
    const SKIP: Self = Self {
        skip: true,
        rule: None,
        metric: None,
        stars: Vec::new(),
    };
}

fn fill_from_path(
    gap: &Gap,
    path: &str,
    stars: &[SmolStr],
    source: &SourceName,
    out: &mut String,
) -> bool {
    let text = match gap {
        Gap::Path => Some(path),
        Gap::Source => Some(source.0.as_str()),
        Gap::Star(n) => n
            .checked_sub(1)
            .and_then(|at| stars.get(at))
            .map(SmolStr::as_str),
        Gap::Level(_) | Gap::Topic | Gap::Field(_) | Gap::Series => None,
    };
    text.is_some_and(|text| {
        out.push_str(text);
        true
    })
}

/// Telegraf's `mem` and `disk` both have a `used_percent`, and each CPU a `usage_idle`: the path alone would make one
/// series of them.
fn fill_series(gap: &Gap, path: &str, sight: Sight<'_>, out: &mut String) -> bool {
    if *gap != Gap::Series {
        return false;
    }
    let there = |label: &str| sight.decoded.find(sight.record, label).is_some();
    let named_by_measurement = !there("tag.device") && !there("tag.host");
    for label in sight.decoded.fields(sight.record) {
        let (Role::Label, Scalar::Text(value)) = (label.role, label.value) else {
            continue;
        };
        let told_already = match sight.decoded.text(label.path) {
            line_protocol::MEASUREMENT => named_by_measurement || there("tag.device"),
            "tag.device" | "tag.host" | "tag.site" => true,
            _ => false,
        };
        if !told_already {
            out.push_str(sight.decoded.text(value));
            out.push('.');
        }
    }
    out.push_str(path);
    true
}

fn fill_from_record(gap: &Gap, sight: Sight<'_>, out: &mut String) -> bool {
    let Gap::Field(path) = gap else {
        return false;
    };
    let Some(field) = sight.decoded.find(sight.record, path) else {
        return false;
    };
    match field.value {
        Scalar::Text(text) => out.push_str(sight.decoded.text(text)),
        Scalar::Int(int) => out.push_str(itoa::Buffer::new().format(int)),
        Scalar::Bool(on) => out.push_str(if on { "true" } else { "false" }),
        // A float is a measurement, not a name.
        Scalar::Float(_) => return false,
    }
    true
}

/// Whether a value may become a reading without a rule.
pub(super) const fn is_free(mapping: &Mapping, value: Scalar) -> bool {
    match value {
        Scalar::Text(_) => mapping.text,
        _ => mapping.flatten,
    }
}
