//! Times in payloads: epoch numbers in four sizes, and RFC 3339.
//!
//! Zero and an empty text are what devices send before their clock is set: they say nothing, and the arrival counts.
//! A text without an offset is the device's local time. It is never taken for UTC: with the mapping's
//! `local_offset_minutes` it is converted; without, [`TimeFormat::Auto`] lets the arrival count and
//! [`TimeFormat::Rfc3339`] refuses it.

use jiff::civil::DateTime;
use thiserror::Error;

use super::{excerpt, mapping::TimeFormat};
use crate::model::Timestamp;

/// Why a time can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimeError {
    /// It is not written in the expected way.
    #[error("{0} is not a time as configured")]
    Unreadable(String),
    /// It is before 1677 or after 2262.
    #[error("{0} is too far away to be a time")]
    OutOfRange(String),
    /// It is local time, and nobody said which.
    #[error("{0} has no offset; set local_offset_minutes")]
    NoOffset(String),
}

/// Reads an epoch number.
///
/// # Errors
///
/// [`TimeError::OutOfRange`], and [`TimeError::Unreadable`] where text was expected.
pub fn from_int(value: i64, format: TimeFormat) -> Result<Option<Timestamp>, TimeError> {
    if value == 0 {
        return Ok(None);
    }
    epoch(value, format).map(Some)
}

/// Reads an epoch number; as [`from_int`], but zero is 1970.
pub(super) fn epoch(value: i64, format: TimeFormat) -> Result<Timestamp, TimeError> {
    let nanos = nanos_in(unit_of(value.unsigned_abs(), format), || value.to_string())?;
    value
        .checked_mul(nanos)
        .map(Timestamp)
        .ok_or_else(|| TimeError::OutOfRange(value.to_string()))
}

/// Reads an epoch number with a fraction.
///
/// # Errors
///
/// As [`from_int`].
pub fn from_float(value: f64, format: TimeFormat) -> Result<Option<Timestamp>, TimeError> {
    if value == 0.0 {
        return Ok(None);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and only the size is asked for"
    )]
    let size = value.abs() as u64;
    let nanos = nanos_in(unit_of(size, format), || value.to_string())?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a float has no more digits anyway"
    )]
    let (whole, scale) = (value.trunc(), nanos as f64);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a limit, far from where it matters"
    )]
    let limit = i64::MAX as f64;
    if !value.is_finite() || (whole * scale).abs() >= limit {
        return Err(TimeError::OutOfRange(value.to_string()));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked above"
    )]
    // Whole and fraction apart: today's seconds as nanoseconds are beyond what a float holds exactly.
    let total = (whole as i64).checked_mul(nanos).and_then(|at| {
        // Floats hold today's seconds to a quarter of a microsecond: more digits would be noise.
        let micros = ((value - whole) * scale / 1_000.0).round() as i64;
        at.checked_add(micros * 1_000)
    });
    total
        .map(|at| Some(Timestamp(at)))
        .ok_or_else(|| TimeError::OutOfRange(value.to_string()))
}

/// Reads a time that is written as text: a date, or an epoch number in quotes.
///
/// # Errors
///
/// Each of [`TimeError`]; the text is quoted in it.
pub fn from_text(
    text: &str,
    format: TimeFormat,
    local_offset_minutes: Option<i32>,
) -> Result<Option<Timestamp>, TimeError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if format != TimeFormat::Rfc3339 {
        if let Ok(int) = text.parse() {
            return from_int(int, format);
        }
        if let Ok(float) = text.parse() {
            return from_float(float, format);
        }
        if format != TimeFormat::Auto {
            return Err(TimeError::Unreadable(excerpt(text)));
        }
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return in_range(at.as_nanosecond(), text).map(Some);
    }
    let local: DateTime = text
        .parse()
        .map_err(|_| TimeError::Unreadable(excerpt(text)))?;
    match local_offset_minutes {
        Some(minutes) => {
            let seconds = i64::from(minutes) * 60;
            let utc = jiff::tz::Offset::UTC
                .to_timestamp(local)
                .map_err(|_| TimeError::OutOfRange(excerpt(text)))?;
            let nanos = utc.as_nanosecond() - i128::from(seconds) * 1_000_000_000;
            in_range(nanos, text).map(Some)
        }
        None if format == TimeFormat::Auto => Ok(None),
        None => Err(TimeError::NoOffset(excerpt(text))),
    }
}

fn in_range(nanos: i128, text: &str) -> Result<Timestamp, TimeError> {
    i64::try_from(nanos)
        .map(Timestamp)
        .map_err(|_| TimeError::OutOfRange(excerpt(text)))
}

/// What a number of this size stands for.
const fn unit_of(size: u64, format: TimeFormat) -> TimeFormat {
    match format {
        TimeFormat::Auto if size < 100_000_000_000 => TimeFormat::EpochSeconds,
        TimeFormat::Auto if size < 100_000_000_000_000 => TimeFormat::EpochMillis,
        TimeFormat::Auto if size < 100_000_000_000_000_000 => TimeFormat::EpochMicros,
        TimeFormat::Auto => TimeFormat::EpochNanos,
        said => said,
    }
}

fn nanos_in(unit: TimeFormat, number: impl FnOnce() -> String) -> Result<i64, TimeError> {
    match unit {
        TimeFormat::EpochSeconds => Ok(1_000_000_000),
        TimeFormat::EpochMillis => Ok(1_000_000),
        TimeFormat::EpochMicros => Ok(1_000),
        TimeFormat::EpochNanos => Ok(1),
        TimeFormat::Auto | TimeFormat::Rfc3339 => Err(TimeError::Unreadable(number())),
    }
}
