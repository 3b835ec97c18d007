//! One bare number, or a word for on and off; and how text cells of other formats are understood.
//!
//! It does not guess: `12 V` is text, and as a whole message it is a fault.

use super::{Decoded, RecordTime, Role, Scalar, excerpt};
use crate::rejects::Reason;

/// The path of the one field.
pub const PATH: &str = "value";

pub(super) fn decode(payload: &[u8], out: &mut Decoded) {
    let Ok(text) = std::str::from_utf8(payload) else {
        out.fault(Reason::NotUtf8, 0, || "not text".into());
        return;
    };
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    match scalar(text) {
        Some(value) => {
            out.field(PATH, value);
            out.close(0, RecordTime::Unsaid);
        }
        None => out.fault(Reason::Malformed, 0, || {
            format!("{} is neither a number nor on or off", excerpt(text))
        }),
    }
}

/// A text as number, or as on and off; `None` if it is neither. `nan` and `inf` are numbers here, so that they are
/// refused for what they are.
pub(crate) fn scalar(text: &str) -> Option<Scalar> {
    number(text).or_else(|| boolean(text).map(Scalar::Bool))
}

/// A text as number.
pub(crate) fn number(text: &str) -> Option<Scalar> {
    // Rust's own parsers take exactly what is wanted: no blanks, no hexadecimal, no underscores.
    if let Ok(int) = text.parse() {
        return Some(Scalar::Int(int));
    }
    text.parse().ok().map(Scalar::Float)
}

/// `true`, `false`, `on`, `off` in any case.
fn boolean(text: &str) -> Option<bool> {
    match text.len() {
        2..=5 if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("on") => Some(true),
        2..=5 if text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("off") => {
            Some(false)
        }
        _ => None,
    }
}

/// Adds a cell of text: as number or as on and off where it is one, else as text.
pub(super) fn cell(path: &str, text: &str, out: &mut Decoded) {
    match scalar(text) {
        Some(value) => out.field(path, value),
        None => out.text_field(path, text, Role::Value),
    }
}
