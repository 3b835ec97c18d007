//! Patterns over `device/metric`, or one side of it, wherever a person may write one: rules, metrics, calibrations, the
//! filters of the live stream. `*` is any run of characters and `?` one, neither of them crosses the `/`.
//!
//! There is no escape and there are no classes: names with a `*` or `?` in them match themselves by the wildcard.

/// Whether `text` matches `pattern`. Takes time proportional to the product of their lengths at worst.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on when what follows the last `*` did not fit: with one character more under the `*`.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let mut wanted = pattern.chars();
        match (wanted.next(), text.chars().next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                pattern = wanted.as_str();
                retry = Some((pattern, text));
                continue;
            }
            (Some(want), Some(is)) if want == is || (want == '?' && is != '/') => {
                pattern = wanted.as_str();
                text = &text[is.len_utf8()..];
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = retry else {
            return false;
        };
        match from.chars().next() {
            Some(under) if under != '/' => {
                text = &from[under.len_utf8()..];
                pattern = after;
                retry = Some((after, text));
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_stay_on_their_side_of_the_slash() {
        for (pattern, text, expected) in [
            ("*/temperature", "boiler/temperature", true),
            ("*/temperature", "hall/boiler/temperature", false),
            ("*", "boiler/temperature", false),
            ("*/*", "boiler/temperature", true),
            ("boiler/*", "boiler/", true),
            ("boiler-?/temp*", "boiler-1/temperature", true),
            ("boiler-?/temp*", "boiler-/temperature", false),
            ("a?b/x", "a/b/x", false),
            ("*a*b/c", "xaab/c", true),
            ("*ab*/x", "aab/x", true),
            ("*", "temperature", true),
            ("*temperature", "device_temperature", true),
            ("shed*/t*e", "shed.1/temperature", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "a/b", false),
            ("küche/*", "küche/feuchte", true),
            ("k?che/*", "küche/feuchte", true),
            ("", "", true),
            ("a", "", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    /// The definition itself, without the bookkeeping.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                by_definition(rest, text)
                    || matches!(text, [is, more @ ..] if *is != '/' && by_definition(pattern, more))
            }
            ([want, rest @ ..], [is, more @ ..]) => {
                (want == is || (*want == '?' && *is != '/')) && by_definition(rest, more)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_its_definition(pattern in "[ab/*?]{0,9}", text in "[ab/]{0,9}") {
            let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), by_definition(&p, &t));
        }
    }
}
