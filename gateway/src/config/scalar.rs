//! Single values as people write them: durations (`1.5s`, `5m`), sizes (`64 MiB`), addresses, lists.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use smol_str::SmolStr;
use toml::de::DeValue;

use crate::{journal::Rhythm, model::Value};

/// One value or a list of them: what a series may be equal to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Values(pub(super) Vec<Value>);

/// A number of bytes, written `4096` or `"64 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// A value that can be read from one TOML value; the error says what was expected.
pub(super) trait Scalar: Sized {
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

fn expected(what: &str, value: &DeValue<'_>) -> String {
    let found = match value {
        DeValue::String(s) => format!("\"{s}\""),
        DeValue::Integer(i) => i.as_str().to_owned(),
        DeValue::Float(f) => f.as_str().to_owned(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Array(_) => String::from("a list"),
        DeValue::Table(_) => String::from("a table"),
        other @ DeValue::Datetime(_) => format!("a {}", other.type_str()),
    };
    format!("expected {what}, found {found}")
}

impl Scalar for String {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value
            .as_str()
            .map(ToOwned::to_owned)
            .ok_or_else(|| expected("text in quotes", value))
    }
}

impl Scalar for SmolStr {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value
            .as_str()
            .map(Self::from)
            .ok_or_else(|| expected("text in quotes", value))
    }
}

impl Scalar for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value
            .as_str()
            .filter(|s| !s.is_empty())
            .map(Self::from)
            .ok_or_else(|| expected("a path in quotes", value))
    }
}

impl Scalar for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| expected("true or false", value))
    }
}

impl Scalar for i64 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value
            .as_integer()
            .and_then(|i| Self::from_str_radix(&i.as_str().replace('_', ""), i.radix()).ok())
            .ok_or_else(|| expected("a whole number", value))
    }
}

impl Scalar for f64 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let number = match value {
            DeValue::Integer(_) => i64::read(value).ok().map(|i| {
                #[expect(clippy::cast_precision_loss, reason = "a person's number in a config")]
                {
                    i as Self
                }
            }),
            DeValue::Float(f) => f.as_str().replace('_', "").parse().ok(),
            _ => None,
        };
        number
            .filter(|n: &Self| n.is_finite())
            .ok_or_else(|| expected("a number", value))
    }
}

impl Scalar for Duration {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value
            .as_str()
            .ok_or_else(|| expected("a duration such as \"30s\", \"500ms\" or \"5m\"", value))?;
        duration(text).ok_or_else(|| {
            expected(
                "a duration such as \"30s\", \"500ms\", \"5m\", \"2h\" or \"7d\"",
                value,
            )
        })
    }
}

/// How long nothing may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    For(Duration),
    /// `"auto"`: as long as the series itself shows.
    Learned,
}

impl Scalar for Patience {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str();
        if text == Some("auto") {
            return Ok(Self::Learned);
        }
        let length = text.and_then(duration).map(Self::For);
        length.ok_or_else(|| expected("a duration such as \"30s\" or \"5m\", or \"auto\"", value))
    }
}

impl Scalar for Rhythm {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some(text) if duration(text).is_some() => Duration::read(value).map(Self::Fixed),
            _ => Err(expected(
                "\"auto\", or a duration such as \"50ms\" or \"1s\"",
                value,
            )),
        }
    }
}

impl Scalar for Size {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "a size such as \"64 MiB\", \"500 kB\" or a whole number of bytes";
        let size = match value {
            DeValue::Integer(_) => i64::read(value).ok().and_then(|i| u64::try_from(i).ok()),
            DeValue::String(text) => size(text),
            _ => None,
        };
        size.map(Self).ok_or_else(|| expected(wanted, value))
    }
}

impl Scalar for SocketAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "an address and port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
        value
            .as_str()
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| expected(wanted, value))
    }
}

impl<T: Scalar> Scalar for Vec<T> {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let array = value
            .as_array()
            .ok_or_else(|| expected("a list in [ ]", value))?;
        array.iter().map(|item| T::read(item.get_ref())).collect()
    }
}

/// `(measured, true)` pairs: `[[0.1, 0.0], [99.8, 100.0]]`.
impl Scalar for (f64, f64) {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let pair: Vec<f64> = Vec::read(value)?;
        if let [a, b] = pair[..] {
            Ok((a, b))
        } else {
            Err(expected("a pair of numbers such as [1.0, 2.0]", value))
        }
    }
}

impl Scalar for Values {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let one = |value: &DeValue<'_>| match value {
            DeValue::Boolean(value) => Ok(Value::Bool(*value)),
            DeValue::Integer(_) => i64::read(value).map(Value::Int),
            DeValue::Float(_) => f64::read(value).map(Value::Float),
            DeValue::String(text) => Ok(Value::Text(text.as_ref().into())),
            _ => Err(expected(
                "true, false, a number or a text, or a list of them",
                value,
            )),
        };
        match value {
            DeValue::Array(list) => {
                let values: Result<_, _> = list.iter().map(|item| one(item.get_ref())).collect();
                values.map(Self)
            }
            value => one(value).map(|value| Self(vec![value])),
        }
    }
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim()))
}

/// A span of time as people write it.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be in range; a fraction of a byte is nothing"
)]
fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        // Cards are sold by terabytes written.
        "t" | "tb" | "tbw" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * factor;
    (bytes <= 9e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("5 m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("7d"), Some(Duration::from_secs(604_800)));
        assert_eq!(duration("10"), None);
        assert_eq!(duration("1e9h"), None);
        assert_eq!(size("64 MiB"), Some(64 << 20));
        assert_eq!(size("1GB"), Some(1_000_000_000));
        assert_eq!(size("30TBW"), Some(30_000_000_000_000));
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("four"), None);
    }
}
