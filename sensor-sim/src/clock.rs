//! The wall clock, read in one place. Everything that must be repeatable takes its time as an argument instead.

/// Nanoseconds since the Unix epoch.
#[must_use]
pub fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
