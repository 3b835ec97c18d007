//! Patterns over MQTT topics, with levels that have names: `tele/{device}/SENSOR`, `plant/{site}/{rest...}`.
//!
//! `+` and `{name}` stand for one level; `#` at the end and `{name...}` at the end for any number, none included;
//! `{name...}` elsewhere for one or more. Only one of the latter two may be in a pattern. As in MQTT, a pattern that
//! starts with one of these does not take topics that start with `$`. The empty pattern takes everything.

use std::ops::Range;

use smol_str::SmolStr;
use thiserror::Error;

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// `a{b}`, `x+`, `{}`.
    #[error("level \"{0}\" must be a plain word, +, #, {{name}} or {{name...}}")]
    BadLevel(SmolStr),
    /// `#` before the end.
    #[error("# may only stand at the end; name it as {{rest...}} to use it elsewhere")]
    HashNotLast,
    /// Two levels that stand for many.
    #[error("only one level may stand for many")]
    TwoRests,
    /// A name that is used twice.
    #[error("level \"{0}\" is named twice")]
    NamedTwice(SmolStr),
    /// A name that templates use for something else.
    #[error("a level can't be named \"{0}\": templates use that word")]
    Reserved(SmolStr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Word(SmolStr),
    One(Option<SmolStr>),
    Many(Option<SmolStr>),
}

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern {
    /// `None` takes everything.
    levels: Option<Vec<Level>>,
}

/// Where the named levels of a pattern are in a topic, in the order of the pattern.
pub type Captures = Vec<Range<usize>>;

/// The narrowest MQTT filter that covers a pattern: what to subscribe to.
///
/// # Errors
///
/// [`PatternError`] for what is no pattern.
pub fn filter_of(pattern: &str) -> Result<SmolStr, PatternError> {
    let Some(levels) = TopicPattern::parse(pattern)?.levels else {
        return Ok(SmolStr::new_static("#"));
    };
    let mut words = Vec::with_capacity(levels.len());
    for level in &levels {
        match level {
            Level::Word(word) => words.push(word.as_str()),
            Level::One(_) => words.push("+"),
            Level::Many(_) => {
                words.push("#");
                break;
            }
        }
    }
    Ok(words.join("/").into())
}

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what is wrong with it.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        if pattern.is_empty() {
            return Ok(Self { levels: None });
        }
        let mut levels = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let count = pattern.split('/').count();
        for (at, text) in pattern.split('/').enumerate() {
            let level = match text {
                "+" => Level::One(None),
                "#" if at + 1 == count => Level::Many(None),
                "#" => return Err(PatternError::HashNotLast),
                _ => match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
                    Some(inside) => {
                        let (name, many) = inside
                            .strip_suffix("...")
                            .map_or((inside, false), |name| (name, true));
                        if !is_name(name) {
                            return Err(PatternError::BadLevel(text.into()));
                        }
                        if super::template::is_reserved(name) {
                            return Err(PatternError::Reserved(name.into()));
                        }
                        if names.contains(&name) {
                            return Err(PatternError::NamedTwice(name.into()));
                        }
                        names.push(name);
                        if many {
                            Level::Many(Some(name.into()))
                        } else {
                            Level::One(Some(name.into()))
                        }
                    }
                    None if text.contains(['{', '}', '+', '#']) => {
                        return Err(PatternError::BadLevel(text.into()));
                    }
                    None => Level::Word(text.into()),
                },
            };
            levels.push(level);
        }
        if levels
            .iter()
            .filter(|l| matches!(l, Level::Many(_)))
            .count()
            > 1
        {
            return Err(PatternError::TwoRests);
        }
        Ok(Self {
            levels: Some(levels),
        })
    }

    /// The names of its levels, in order; those of [`Captures`].
    pub fn names(&self) -> impl Iterator<Item = &SmolStr> {
        self.levels
            .iter()
            .flatten()
            .filter_map(|level| match level {
                Level::One(name) | Level::Many(name) => name.as_ref(),
                Level::Word(_) => None,
            })
    }

    /// Whether a topic is of this pattern; then `captures` holds where its named levels are.
    pub fn matches(&self, topic: &str, captures: &mut Captures) -> bool {
        captures.clear();
        let Some(levels) = &self.levels else {
            return true;
        };
        if topic.starts_with('$') && !matches!(levels.first(), Some(Level::Word(_))) {
            return false;
        }
        // With one level that stands for many, the others are counted off from both ends.
        let found = topic.split('/').count();
        let fixed = levels
            .iter()
            .filter(|l| !matches!(l, Level::Many(_)))
            .count();
        let last_is_many = matches!(levels.last(), Some(Level::Many(_)));
        let many = match (fixed == levels.len(), found.checked_sub(fixed)) {
            (true, Some(0)) => 0,
            (true, _) | (false, None) => return false,
            (false, Some(0)) if !last_is_many => return false,
            (false, Some(many)) => many,
        };
        let mut start = 0;
        for level in levels {
            let rest = topic.get(start..).unwrap_or_default();
            let take = if matches!(level, Level::Many(_)) {
                many
            } else {
                1
            };
            let end = if take == 0 {
                start
            } else {
                rest.match_indices('/')
                    .nth(take - 1)
                    .map_or(topic.len(), |(at, _)| start + at)
            };
            match level {
                Level::Word(word) if topic.get(start..end) != Some(word.as_str()) => return false,
                Level::One(Some(_)) | Level::Many(Some(_)) => {
                    captures.push(start.min(topic.len())..end.min(topic.len()));
                }
                Level::Word(_) | Level::One(None) | Level::Many(None) => {}
            }
            start = end + 1;
        }
        true
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
