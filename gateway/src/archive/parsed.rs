//! Reading our own lines again, to find the one that a server complains of and what is in it. Pure.
//!
//! Knows the line protocol only as far as [`super::line`] writes it: a point of one line, with a time.

/// One reading of a line: its field, and the quality that stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// `key=value`, or `key=value,key_quality="bad"`.
    pub(super) text: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl Field<'_> {
    /// The metric, without escapes.
    pub(super) fn metric(&self) -> String {
        unescaped(self.key)
    }

    /// The type, in the servers' words.
    pub(super) fn kind(&self) -> &'static str {
        match (self.value.first(), self.value.last()) {
            (Some(b'"'), _) => "string",
            (Some(b't' | b'T' | b'f' | b'F'), _) => "boolean",
            (_, Some(b'i')) => "integer",
            (_, Some(b'u')) => "unsigned",
            _ => "float",
        }
    }
}

/// The measurement, without escapes.
pub(super) fn measurement(line: &[u8]) -> String {
    let end = find(line, false, |byte| byte == b',' || byte == b' ');
    unescaped(&line[..end])
}

/// What stands before the fields and behind them, blanks and newline included.
pub(super) fn ends(line: &[u8]) -> (&[u8], &[u8]) {
    let (from, to) = field_set(line);
    (&line[..from], &line[to..])
}

/// The readings of a line.
pub(super) fn fields(line: &[u8]) -> Vec<Field<'_>> {
    let (from, to) = field_set(line);
    let set = &line[from..to];
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut start = 0;
    while start < set.len() {
        let end = start + find(&set[start..], true, |byte| byte == b',');
        let text = &set[start..end];
        let equals = find(text, false, |byte| byte == b'=');
        let (key, value) = (&text[..equals], text.get(equals + 1..).unwrap_or_default());
        match fields.last_mut() {
            Some(last) if key.strip_prefix(last.key) == Some(b"_quality") => {
                let whole = start - 1 - last.text.len();
                last.text = &set[whole..end];
            }
            _ => fields.push(Field { text, key, value }),
        }
        start = end + 1;
    }
    fields
}

fn field_set(line: &[u8]) -> (usize, usize) {
    let blank = |byte| byte == b' ' || byte == b'\n';
    let from = (find(line, false, blank) + 1).min(line.len());
    (from, from + find(&line[from..], true, blank))
}

/// Where the first such byte is that is neither escaped nor, if there are any, in quotes; the length if there is none.
fn find(text: &[u8], quotes: bool, wanted: impl Fn(u8) -> bool) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            // A quote begins a text only as the first of a value.
            b'"' if quoted || quotes && text[..at].ends_with(b"=") => quoted = !quoted,
            _ if !quoted && wanted(byte) => return at,
            _ => {}
        }
    }
    text.len()
}

fn unescaped(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escapes = byte == b'\\' && bytes.peek().is_some_and(|next| b",= ".contains(next));
        if !escapes {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_along_its_unquoted_and_unescaped_marks() {
        let line = b"my\\ m,device=\"a\\,b t=1,t_quality=\"bad\",te\\ xt=\"a, b=\\\"c\\\" d\",on=true,n=5i 17\n";
        assert_eq!(measurement(line), "my m");
        let (head, tail) = ends(line);
        assert_eq!(
            (head, tail),
            (&b"my\\ m,device=\"a\\,b "[..], &b" 17\n"[..])
        );
        let found: Vec<_> = fields(line)
            .iter()
            .map(|f| {
                (
                    f.metric(),
                    f.kind(),
                    String::from_utf8_lossy(f.text).into_owned(),
                )
            })
            .collect();
        let wanted = [
            ("t", "float", "t=1,t_quality=\"bad\""),
            ("te xt", "string", "te\\ xt=\"a, b=\\\"c\\\" d\""),
            ("on", "boolean", "on=true"),
            ("n", "integer", "n=5i"),
        ];
        assert_eq!(
            found,
            wanted.map(|(m, k, t)| (m.to_owned(), k, t.to_owned()))
        );
    }

    #[test]
    fn what_is_no_line_yields_nothing_and_never_panics() {
        for text in ["", "\n", "m", "m ", " ", "m =", "m a=\"", "m \\", "m a=1,"] {
            assert!(fields(text.as_bytes()).len() <= 1, "{text}");
            ends(text.as_bytes());
            measurement(text.as_bytes());
        }
    }
}
