//! JSON of any shape, read as a stream into paths and values; no tree is built.
//!
//! Steps are joined with dots, array elements have their index. In an array at the top each object is a record
//! of its own. `null` says nothing. Of a key that is written twice both values are kept, in order.
//!
//! What is not JSON (a bare `nan`, a missing brace) is refused whole, but in an array at the top only the elements
//! that are wrong are lost. A number too large for 64 bits of float is refused as not finite.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Decoded, MAX_PATH_BYTES, RecordTime, Role, Scalar, number};
use crate::rejects::Reason;

/// How deep objects and arrays may nest.
pub const MAX_DEPTH: usize = 32;

pub(super) fn decode(payload: &[u8], out: &mut Decoded) {
    let payload = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    let Err(error) = read(payload, Place::Top, 0, out) else {
        return;
    };
    out.clear();
    let Some(inside) = payload.trim_ascii_start().strip_prefix(b"[") else {
        fault(&error, payload, 0, out);
        return;
    };
    // Start again, slower: find the elements of the array by their brackets and read each for itself.
    for (index, element) in Elements::of(inside).enumerate() {
        if out.is_full(index) {
            return;
        }
        match element {
            Piece::Element(element) => {
                if let Err(error) = read(element, Place::Element, index, out) {
                    out.abandon();
                    fault(&error, element, index, out);
                }
            }
            // What was cut off may look whole (`21` of `21.5`), so it is not read.
            Piece::Cut => out.fault(Reason::Malformed, index, || {
                "not JSON: the array is cut off here".into()
            }),
            Piece::After => out.fault(Reason::Malformed, index, || {
                "not JSON: text after the array".into()
            }),
        }
    }
}

fn read(
    payload: &[u8],
    place: Place,
    index: usize,
    out: &mut Decoded,
) -> Result<(), serde_json::Error> {
    out.path.clear();
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    Node {
        out,
        place,
        depth: 0,
        index,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    out.close(index, RecordTime::Unsaid);
    Ok(())
}

fn fault(error: &serde_json::Error, payload: &[u8], index: usize, out: &mut Decoded) {
    let reason = if std::str::from_utf8(payload).is_err() {
        Reason::NotUtf8
    } else if error.to_string().starts_with("number out of range") {
        Reason::NotFinite
    } else {
        Reason::Malformed
    };
    out.fault(reason, index, || format!("not JSON: {error}"));
}

/// The elements of an array at the top, told by brackets and quotes alone.
struct Elements<'a> {
    rest: Option<&'a [u8]>,
    /// There is something behind the array.
    more: bool,
}

enum Piece<'a> {
    Element(&'a [u8]),
    Cut,
    After,
}

impl<'a> Elements<'a> {
    const fn of(inside: &'a [u8]) -> Self {
        Self {
            rest: Some(inside),
            more: false,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if std::mem::take(&mut self.more) {
            return Some(Piece::After);
        }
        let rest = self.rest.take()?;
        let mut depth = 0_usize;
        let (mut quoted, mut escaped) = (false, false);
        for (at, &byte) in rest.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' | b'[' => depth += 1,
                b']' if depth == 0 => {
                    self.more = !rest[at + 1..].trim_ascii().is_empty();
                    return Some(Piece::Element(&rest[..at]));
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => {
                    self.rest = Some(&rest[at + 1..]);
                    return Some(Piece::Element(&rest[..at]));
                }
                _ => {}
            }
        }
        Some(Piece::Cut)
    }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the whole message. A scalar has the path `value`; the elements of an array are records.
    Top,
    /// It is an element of an array at the top: an object has no path, anything else its index.
    Element,
    /// It is anywhere else; the path is there.
    Inside,
}

/// Reads one value, whatever it is, into `out`.
struct Node<'a> {
    out: &'a mut Decoded,
    place: Place,
    depth: usize,
    index: usize,
}

/// Appends a key to the path.
struct Key<'a>(&'a mut String);

impl Node<'_> {
    /// Completes the path of a value that is not an object.
    fn name(&mut self) {
        match self.place {
            Place::Top => self.out.path.push_str(number::PATH),
            Place::Element => push_index(&mut self.out.path, self.index),
            Place::Inside => {}
        }
    }

    fn scalar(mut self, value: Scalar) {
        self.name();
        if !self.out.is_full(self.index) {
            let path = std::mem::take(&mut self.out.path);
            self.out.field(&path, value);
            self.out.path = path;
        }
    }

    /// Whether the path has grown too long for what is under it to be kept.
    fn too_long(&mut self) -> bool {
        let too_long = self.out.path.len() > MAX_PATH_BYTES;
        if too_long {
            self.out.fault(Reason::TooLong, self.index, || {
                format!("a path is longer than {MAX_PATH_BYTES} bytes")
            });
        }
        too_long
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(self.depth + 1)
    }

    fn child(&mut self, place: Place, depth: usize, index: usize) -> Node<'_> {
        Node {
            out: self.out,
            place,
            depth,
            index,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(value));
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Scalar::Int(value));
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a whole number beyond i64 is kept as the nearest float"
    )]
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.scalar(i64::try_from(value).map_or(Scalar::Float(value as f64), Scalar::Int));
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Scalar::Float(value));
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(mut self, value: &str) -> Result<(), E> {
        self.name();
        if !self.out.is_full(self.index) {
            let path = std::mem::take(&mut self.out.path);
            self.out.text_field(&path, value, Role::Value);
            self.out.path = path;
        }
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let index = self.index;
        let length = self.out.path.len();
        loop {
            if length > 0 {
                self.out.path.push('.');
            }
            if map.next_key_seed(Key(&mut self.out.path))?.is_none() {
                break;
            }
            if self.too_long() || self.out.full {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(self.child(Place::Inside, depth, index))?;
            }
            self.out.path.truncate(length);
        }
        self.out.path.truncate(length);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let top = self.place == Place::Top;
        if !top {
            self.name();
        }
        let length = self.out.path.len();
        for element in 0.. {
            let more = if self.out.full {
                seq.next_element::<IgnoredAny>()?.is_some()
            } else if top {
                let more = seq
                    .next_element_seed(self.child(Place::Element, depth, element))?
                    .is_some();
                self.out.close(element, RecordTime::Unsaid);
                more
            } else {
                self.out.path.push('.');
                push_index(&mut self.out.path, element);
                if self.too_long() {
                    seq.next_element::<IgnoredAny>()?.is_some()
                } else {
                    let index = self.index;
                    seq.next_element_seed(self.child(Place::Inside, depth, index))?
                        .is_some()
                }
            };
            self.out.path.truncate(length);
            if !more {
                break;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        self.0.push_str(key);
        Ok(())
    }
}

fn push_index(path: &mut String, index: usize) {
    path.push_str(itoa::Buffer::new().format(index));
}
