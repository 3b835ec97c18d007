//! Patterns over the paths of fields: steps joined with dots, `*` for one step, a last `**` for all that follow.

use smol_str::SmolStr;
use thiserror::Error;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// Nothing there.
    #[error("a path can't be empty")]
    Empty,
    /// `**` before the end.
    #[error("** may only stand at the end of a path")]
    DeepNotLast,
}

/// A checked pattern over paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: SmolStr,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`PathError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let before_last = text.rsplit_once('.').map_or("", |(before, _)| before);
        if before_last.split('.').any(|step| step == "**") {
            return Err(PathError::DeepNotLast);
        }
        Ok(Self { text: text.into() })
    }

    /// How many `*` it has: the number of `{1}`, `{2}`, … that its templates may use.
    #[must_use]
    pub fn stars(&self) -> usize {
        self.text.split('.').filter(|step| *step == "*").count()
    }

    /// What the stars stand for in `path`, in order; `None` if it is not of this pattern.
    #[must_use]
    pub fn stars_in<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut stars = Vec::new();
        let mut steps = path.split('.');
        for wanted in self.text.split('.') {
            if wanted == "**" {
                return steps.next().is_some().then_some(stars);
            }
            match steps.next() {
                Some(step) if wanted == "*" => stars.push(step),
                Some(step) if step == wanted => {}
                _ => return None,
            }
        }
        steps.next().is_none().then_some(stars)
    }
}
