//! `*` in names: any characters within one side of `device/metric`, none included.

/// Whether `text` is of `pattern`; `*` never stands for a `/`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (mut p, mut t) = (pattern.as_bytes(), text.as_bytes());
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        match (p.split_first(), t.split_first()) {
            (Some((b'*', rest)), _) => {
                star = Some((rest, t));
                p = rest;
            }
            (Some((a, p_rest)), Some((b, t_rest))) if a == b => (p, t) = (p_rest, t_rest),
            (None, None) => return true,
            // Let the last star take one character more.
            _ => match star {
                Some((after, [first, rest @ ..])) if *first != b'/' => {
                    star = Some((after, rest));
                    (p, t) = (after, rest);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stays_within_its_side() {
        for (pattern, text, expected) in [
            ("*", "temperature", true),
            ("*temperature", "device_temperature", true),
            ("*/temperature", "shed/temperature", true),
            ("*", "shed/temperature", false),
            ("shed*/t*e", "shed.1/temperature", true),
            ("shed/*", "shed/", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "a/b", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
