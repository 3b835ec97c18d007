//! Texts with gaps: `{device}` (a named level of the topic), `{topic}`, `{source}`, `{field:PATH}`, `{path}`, `{series}`, `{1}`.
//!
//! A gap may list alternatives, the first that is there counts: `{field:tag.device|field:tag.host|source}`. An
//! alternative that is empty is not there.

use smol_str::SmolStr;
use thiserror::Error;

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// A brace without its other half.
    #[error("a brace is not closed")]
    Unclosed,
    /// `{}`, `{field:}`.
    #[error("\"{{{0}}}\" names nothing")]
    Empty(SmolStr),
    /// A gap that can't be filled here.
    #[error("\"{{{0}}}\" is not known here: the topic names no such level")]
    Unknown(SmolStr),
    /// `{2}` where the path of the field has fewer `*`.
    #[error("\"{{{0}}}\" is not known here: the path has {1} `*`")]
    NoSuchStar(usize, usize),
    /// `{path}` where no field is spoken of.
    #[error("\"{{path}}\" is not known here: it is the path of a field, for `metric` alone")]
    NoPath,
}

/// What may fill a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// A named level of the topic.
    Level(SmolStr),
    /// The whole topic.
    Topic,
    /// The name of the source.
    Source,
    /// The value of a field of the same record.
    Field(SmolStr),
    /// The path of the field itself.
    Path,
    /// The path of the field itself, and before it what else tells the series from others of its device: in line protocol
    /// the measurement (unless it names the device, or a tag `device` does) and the values of further tags.
    Series,
    /// What the n-th `*` of the rule's path stood for, from 1.
    Star(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(SmolStr),
    FirstOf(Vec<Gap>),
}

/// A checked template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// Words that levels of a topic can't be named.
pub(super) fn is_reserved(name: &str) -> bool {
    matches!(name, "topic" | "source" | "path" | "series")
        || name.bytes().all(|b| b.is_ascii_digit())
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Unclosed`] and [`TemplateError::Empty`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if rest.as_bytes().get(open) == Some(&b'}') {
                return Err(TemplateError::Unclosed);
            }
            let close = rest[open..].find('}').ok_or(TemplateError::Unclosed)? + open;
            if open > 0 {
                parts.push(Part::Text(rest[..open].into()));
            }
            let inside = &rest[open + 1..close];
            let gaps: Result<_, _> = inside.split('|').map(gap).collect();
            parts.push(Part::FirstOf(gaps?));
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts })
    }

    /// The template that writes nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self { parts: Vec::new() }
    }

    /// All that may fill its gaps.
    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.parts.iter().flat_map(|part| match part {
            Part::Text(_) => [].iter(),
            Part::FirstOf(gaps) => gaps.iter(),
        })
    }

    /// Checks that each gap can be filled: levels by `names`, stars up to `stars`, the path only where `path` says so.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Unknown`], [`TemplateError::NoSuchStar`] and [`TemplateError::NoPath`].
    pub fn check(&self, names: &[&SmolStr], path: bool, stars: usize) -> Result<(), TemplateError> {
        for gap in self.gaps() {
            match gap {
                Gap::Level(name) if !names.contains(&name) => {
                    return Err(TemplateError::Unknown(name.clone()));
                }
                Gap::Star(n) if *n == 0 || *n > stars => {
                    return Err(TemplateError::NoSuchStar(*n, stars));
                }
                Gap::Path | Gap::Series if !path => return Err(TemplateError::NoPath),
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the text to `out`; `fill` writes what a gap stands for, and says whether there was something.
    /// False if a gap stays empty.
    pub fn write(&self, out: &mut String, mut fill: impl FnMut(&Gap, &mut String) -> bool) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Text(text) => {
                out.push_str(text);
                true
            }
            Part::FirstOf(gaps) => gaps.iter().any(|gap| {
                let length = out.len();
                let filled = fill(gap, out) && out.len() > length;
                if !filled {
                    out.truncate(length);
                }
                filled
            }),
        })
    }
}

fn gap(text: &str) -> Result<Gap, TemplateError> {
    let text = text.trim();
    match text {
        "topic" => Ok(Gap::Topic),
        "source" => Ok(Gap::Source),
        "path" => Ok(Gap::Path),
        "series" => Ok(Gap::Series),
        "" | "field:" => Err(TemplateError::Empty(text.into())),
        _ => match text.strip_prefix("field:") {
            Some(path) => Ok(Gap::Field(path.into())),
            None => Ok(text
                .parse()
                .map_or_else(|_| Gap::Level(text.into()), Gap::Star)),
        },
    }
}
