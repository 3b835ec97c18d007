//! What is wrong in a config, where, and what to do: collected, never thrown one by one.

use std::{cell::RefCell, fmt, ops::Range, rc::Rc};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file as the person named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong and what to do, without the place.
    pub message: String,
    /// The key that is not there, where the mistake is that it is missing.
    pub missing: Option<&'static str>,
    /// The line itself, for a caret under it.
    excerpt: String,
    /// How many characters the caret marks.
    width: usize,
}

/// All mistakes of a config, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

/// Takes mistakes about one file. Clones share one list; [`Reporter::other_file`] shares it too.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    file: Rc<str>,
    text: Rc<str>,
    list: Rc<RefCell<Vec<Mistake>>>,
    doubts: Rc<RefCell<Vec<Mistake>>>,
}

impl Reporter {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.into(),
            text: text.into(),
            list: Rc::default(),
            doubts: Rc::default(),
        }
    }

    pub(super) fn other_file(&self, file: &str, text: &str) -> Self {
        Self {
            file: file.into(),
            text: text.into(),
            list: Rc::clone(&self.list),
            doubts: Rc::clone(&self.doubts),
        }
    }

    /// What stands there.
    pub(super) fn text(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    pub(super) fn report(&self, span: Range<usize>, message: impl Into<String>) {
        self.list.borrow_mut().push(self.mistake(span, message));
    }

    /// A key that must be there is not.
    pub(super) fn report_missing(
        &self,
        span: Range<usize>,
        key: &'static str,
        message: impl Into<String>,
    ) {
        self.list.borrow_mut().push(Mistake {
            missing: Some(key),
            ..self.mistake(span, message)
        });
    }

    /// The line on which a span begins, from 1.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        let start = floor_boundary(&self.text, span.start);
        self.text[..start].matches('\n').count() + 1
    }

    /// What may be right, but looks like a slip.
    pub(super) fn doubt(&self, span: Range<usize>, message: impl Into<String>) {
        self.doubts.borrow_mut().push(self.mistake(span, message));
    }

    /// The place of a piece of a text that stands at `span` in quotes; the whole of it where it is written with escapes.
    pub(super) fn inside(
        &self,
        span: Range<usize>,
        text: &str,
        piece: Range<usize>,
    ) -> Range<usize> {
        let found = self.text.get(span.clone()).and_then(|raw| raw.find(text));
        match found {
            Some(at) if !text.is_empty() => {
                let start = span.start + at;
                start + piece.start..start + piece.end
            }
            _ => span,
        }
    }

    fn mistake(&self, span: Range<usize>, message: impl Into<String>) -> Mistake {
        let start = floor_boundary(&self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        let excerpt = self.text[line_start..].lines().next().unwrap_or_default();
        let end = floor_boundary(&self.text, span.end)
            .clamp(start, line_start + excerpt.len().max(start - line_start));
        Mistake {
            file: self.file.to_string(),
            line: self.line_of(&span),
            column: self.text[line_start..start].chars().count() + 1,
            message: message.into(),
            missing: None,
            excerpt: excerpt.to_owned(),
            width: self.text[start..end].chars().count().max(1),
        }
    }

    /// What looks like a slip.
    pub(super) fn doubts(&self) -> Vec<Mistake> {
        self.doubts.borrow().clone()
    }

    /// All that was reported so far, by file and place, each once.
    pub(super) fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = self.list.borrow().clone();
        mistakes.sort_by(|a, b| {
            (a.file != *self.file, &a.file, a.line, a.column).cmp(&(
                b.file != *self.file,
                &b.file,
                b.line,
                b.column,
            ))
        });
        mistakes.dedup();
        mistakes
    }
}

/// What is no TOML.
pub(super) fn report_syntax(reporter: &Reporter, errors: &[toml::de::Error]) {
    for error in errors {
        reporter.report(
            error.span().unwrap_or(0..0),
            error.message().replace('\n', "; "),
        );
    }
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )?;
        let number = self.line.to_string();
        let indent: String = self
            .excerpt
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        writeln!(f, "  {number} | {}", self.excerpt)?;
        write!(
            f,
            "  {} | {indent}{}",
            " ".repeat(number.len()),
            "^".repeat(self.width)
        )
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}")?;
        }
        let n = self.0.len();
        write!(
            f,
            "{n} mistake{} in the config",
            if n == 1 { "" } else { "s" }
        )
    }
}

impl std::error::Error for Mistakes {}
