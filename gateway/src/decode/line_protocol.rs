//! InfluxDB line protocol: `measurement,tag=value field=value,field=value time`.
//!
//! A record a line. The measurement is the label `measurement`, a tag the label `tag.NAME`; fields keep their names.
//! It decides as InfluxDB's own parser does (`influxdata/line-protocol`, `lineprotocol/decoder.go`): control characters,
//! empty tags, repeated tags, numbers out of range and text that is not UTF-8 refuse the line. A string may hold line
//! ends. Unsigned integers beyond `i64` become floats. A refused line loses only itself: reading goes on with the
//! next line of the text, even where a string that was not closed in time had swallowed it.
//!
//! It does not keep a measurement without fields, and does not check what a name means.

use std::ops::Range;

use super::{Decoded, RecordTime, Role, Scalar, excerpt, mapping::TimeFormat, time};
use crate::rejects::Reason;

/// The path of the measurement.
pub const MEASUREMENT: &str = "measurement";
/// What precedes the name of a tag in its path.
pub const TAG: &str = "tag.";
/// Tags of one line; more are refused.
pub const MAX_TAGS: usize = 256;

const IN_MEASUREMENT: &[u8] = b", ";
const IN_KEY: &[u8] = b",= ";
const IN_STRING: &[u8] = b"\"\\nrt";

type Fault = (Reason, String);

pub(super) fn decode(precision: TimeFormat, payload: &[u8], out: &mut Decoded) {
    let mut line = Line {
        bytes: payload,
        at: 0,
    };
    let (mut number, mut counted) = (0, 0);
    while line.skip_blank_lines() {
        let start = line.at;
        number += payload[counted..start]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        counted = start;
        if out.is_full(number) {
            return;
        }
        match line.read(precision, out) {
            Ok(time) => out.close(number, time),
            Err((reason, detail)) => {
                out.abandon();
                out.fault(reason, number, || detail);
                line.at = start;
                line.skip_to_next();
            }
        }
    }
}

/// A reader of lines.
struct Line<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Line<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// Takes a line end; the end of the input is one too.
    fn end_of_line(&mut self) -> bool {
        match (self.peek(), self.bytes.get(self.at + 1)) {
            (None, _) => true,
            (Some(b'\n'), _) => {
                self.at += 1;
                true
            }
            (Some(b'\r'), Some(b'\n') | None) => {
                self.at = self.bytes.len().min(self.at + 2);
                true
            }
            _ => false,
        }
    }

    fn skip_to_next(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest
            .iter()
            .position(|&b| b == b'\n')
            .map_or(rest.len(), |end| end + 1);
    }

    /// Passes over empty lines and comments. False at the end.
    fn skip_blank_lines(&mut self) -> bool {
        loop {
            self.blanks();
            match self.peek() {
                None => return false,
                Some(b'#') => self.skip_to_next(),
                Some(_) if self.end_of_line() => {}
                Some(_) => return true,
            }
        }
    }

    fn read(&mut self, precision: TimeFormat, out: &mut Decoded) -> Result<RecordTime, Fault> {
        let measurement = self.token(IN_MEASUREMENT)?;
        if measurement.is_empty() {
            return Err(self.unexpected("a measurement"));
        }
        let path = out.keep(MEASUREMENT);
        let value = self.keep(measurement, IN_MEASUREMENT, out);
        out.push(path, Scalar::Text(value), Role::Label);
        while self.peek() == Some(b',') {
            self.at += 1;
            self.tag(out)?;
        }
        if self.peek() != Some(b' ') {
            return Err(self.unexpected("fields"));
        }
        self.blanks();
        self.field(out)?;
        while self.peek() == Some(b',') {
            self.at += 1;
            self.field(out)?;
        }
        self.time(precision)
    }

    fn tag(&mut self, out: &mut Decoded) -> Result<(), Fault> {
        let key = self.token(IN_KEY)?;
        if key.is_empty() {
            return Err(self.unexpected("the name of a tag"));
        }
        if self.peek() != Some(b'=') {
            return Err(self.unexpected("= after the name of a tag"));
        }
        self.at += 1;
        let value = self.token(IN_KEY)?;
        if value.is_empty() {
            return Err(self.unexpected("the value of a tag"));
        }
        let mut path = out.keep(TAG);
        path.end = self.keep(key, IN_KEY, out).end;
        let tags = &out.fields[out.open_fields + 1..];
        if tags.len() >= MAX_TAGS {
            return Err((Reason::Malformed, format!("more than {MAX_TAGS} tags")));
        }
        if tags.iter().any(|tag| out.text(tag.path) == out.text(path)) {
            let name = excerpt(&out.text(path)[TAG.len()..]);
            return Err((Reason::Malformed, format!("tag {name} is there twice")));
        }
        let value = self.keep(value, IN_KEY, out);
        out.push(path, Scalar::Text(value), Role::Label);
        Ok(())
    }

    fn field(&mut self, out: &mut Decoded) -> Result<(), Fault> {
        let key = self.token(IN_KEY)?;
        if key.is_empty() {
            return Err(self.unexpected("the name of a field"));
        }
        if self.peek() != Some(b'=') {
            return Err(self.unexpected("= after the name of a field"));
        }
        self.at += 1;
        let path = self.keep(key, IN_KEY, out);
        let value = if self.peek() == Some(b'"') {
            let string = self.string()?;
            Scalar::Text(self.keep(string, IN_STRING, out))
        } else {
            self.value()?
        };
        out.push(path, value, Role::Value);
        Ok(())
    }

    /// The inside of a quoted string; line ends belong to it.
    fn string(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at + 1;
        let mut at = start;
        while let Some(&byte) = self.bytes.get(at) {
            match byte {
                b'"' => {
                    self.at = at + 1;
                    return self.utf8(start..at);
                }
                b'\\' if matches!(self.bytes.get(at + 1), Some(b'"' | b'\\')) => at += 2,
                _ => at += 1,
            }
        }
        Err((Reason::Malformed, "a string is not closed".into()))
    }

    /// A number or a boolean.
    fn value(&mut self) -> Result<Scalar, Fault> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|b| !matches!(b, b',' | b' ' | b'\r' | b'\n'))
        {
            self.at += 1;
        }
        let raw = self.utf8(start..self.at)?;
        let text = self.str(&raw);
        let malformed = |what| (Reason::Malformed, format!("{} is {what}", excerpt(text)));
        let out_of_range = || malformed("out of range");
        match text.as_bytes() {
            [] => Err((Reason::Malformed, "a field has no value".into())),
            b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok(Scalar::Bool(true)),
            b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok(Scalar::Bool(false)),
            [digits @ .., b'i'] if is_integer(digits) => text[..digits.len()]
                .parse()
                .map(Scalar::Int)
                .map_err(|_| out_of_range()),
            [digits @ .., b'u'] if digits.first() != Some(&b'-') && is_integer(digits) => {
                let unsigned: u64 = text[..digits.len()].parse().map_err(|_| out_of_range())?;
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "beyond i64 the nearest float is kept"
                )]
                Ok(i64::try_from(unsigned).map_or(Scalar::Float(unsigned as f64), Scalar::Int))
            }
            [b'-' | b'.' | b'0'..=b'9', rest @ ..]
                if rest
                    .iter()
                    .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) =>
            {
                let float: f64 = text.parse().map_err(|_| malformed("not a number"))?;
                if float.is_finite() {
                    Ok(Scalar::Float(float))
                } else {
                    Err((Reason::NotFinite, format!("{} is too large", excerpt(text))))
                }
            }
            _ if text.parse::<f64>().is_ok_and(|float| !float.is_finite()) => Err((
                Reason::NotFinite,
                format!("{} is not finite", excerpt(text)),
            )),
            _ => Err(malformed("neither a number, a boolean nor a string")),
        }
    }

    /// What follows the fields: perhaps a time, then the end of the line.
    fn time(&mut self, precision: TimeFormat) -> Result<RecordTime, Fault> {
        let gap = self.peek() == Some(b' ');
        self.blanks();
        if self.end_of_line() {
            return Ok(RecordTime::Unsaid);
        }
        if !gap {
            return Err(self.unexpected("a blank or the end of the line after a field"));
        }
        let start = self.at;
        while self.peek().is_some_and(|b| b == b'-' || b.is_ascii_digit()) {
            self.at += 1;
        }
        if start == self.at {
            return Err(self.unexpected("a time"));
        }
        let text = self.str(&(start..self.at));
        let bad = |what: &str| (Reason::BadTime, format!("time {} {what}", excerpt(text)));
        let at = match text.parse() {
            Ok(int) => time::epoch(int, precision).map_err(|e| (Reason::BadTime, e.to_string()))?,
            Err(_) if is_integer(text.as_bytes()) => return Err(bad("is out of range")),
            Err(_) => return Err(bad("is not a whole number")),
        };
        self.blanks();
        if self.end_of_line() {
            Ok(RecordTime::At(at))
        } else {
            Err(self.unexpected("the end of the line after the time"))
        }
    }

    /// A name: up to one of `stops` that is not escaped, or a control character.
    fn token(&mut self, stops: &[u8]) -> Result<Range<usize>, Fault> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if byte == b'\\'
                && self
                    .bytes
                    .get(self.at + 1)
                    .is_some_and(|b| stops.contains(b))
            {
                self.at += 2;
            } else if stops.contains(&byte) || byte.is_ascii_control() {
                break;
            } else {
                self.at += 1;
            }
        }
        self.utf8(start..self.at)
    }

    fn utf8(&self, range: Range<usize>) -> Result<Range<usize>, Fault> {
        match std::str::from_utf8(&self.bytes[range.clone()]) {
            Ok(_) => Ok(range),
            Err(_) => Err((Reason::NotUtf8, "not text".into())),
        }
    }

    fn str(&self, range: &Range<usize>) -> &'a str {
        std::str::from_utf8(&self.bytes[range.clone()]).unwrap_or_default()
    }

    /// Keeps a name or string without its escapes: a backslash before one of `escaped` goes, any other stays. In strings
    /// the letters n, r and t stand for line end, return and tab.
    fn keep(&self, range: Range<usize>, escaped: &[u8], out: &mut Decoded) -> super::Span {
        let text = self.str(&range);
        if !text.contains('\\') {
            return out.keep(text);
        }
        let mut span = out.keep("");
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            out.keep(&rest[..at]);
            let next = rest[at + 1..].chars().next();
            let step = match next.filter(|c| u8::try_from(*c).is_ok_and(|b| escaped.contains(&b))) {
                Some(c) => {
                    out.text.push(match c {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        other => other,
                    });
                    at + 2
                }
                None => {
                    out.text.push('\\');
                    at + 1
                }
            };
            rest = &rest[step..];
        }
        span.end = out.keep(rest).end;
        span
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let detail = match self.peek() {
            None => format!("expected {wanted}, found the end"),
            Some(b) if b.is_ascii() => format!("expected {wanted}, found {:?}", char::from(b)),
            Some(b) => format!("expected {wanted}, found byte {b:#04x}"),
        };
        (Reason::Malformed, detail)
    }
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}
