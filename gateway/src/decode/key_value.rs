//! `key=value` pairs, parted by blanks, line ends or the configured separators. A message is one record.
//!
//! Values are understood as [`super::number`] says. A blank after the assignment is allowed (`T: 21.5`). A piece without
//! an assignment, without a key or that is not text is refused; the other pairs are not.

use super::{Decoded, RecordTime, excerpt, mapping::KeyValue, number};
use crate::rejects::Reason;

pub(super) fn decode(config: &KeyValue, payload: &[u8], out: &mut Decoded) {
    let parts = |&b: &u8| {
        b.is_ascii_whitespace() || b == 0 || (config.separators.contains(&b) && b != config.assign)
    };
    let mut pieces = payload.split(parts).filter(|piece| !piece.is_empty());
    while let Some(piece) = pieces.next() {
        if out.is_full(0) {
            break;
        }
        let (key, value) = match piece.iter().position(|&b| b == config.assign) {
            // Nothing follows directly: the value is the next piece, unless that is a pair itself.
            Some(at) if at + 1 == piece.len() => {
                let mut ahead = pieces.clone();
                match ahead.next().filter(|next| !next.contains(&config.assign)) {
                    Some(next) => {
                        pieces = ahead;
                        (&piece[..at], next)
                    }
                    None => (&piece[..at], &[][..]),
                }
            }
            Some(at) => (&piece[..at], &piece[at + 1..]),
            None => {
                pair_fault(piece, "has no key", out);
                continue;
            }
        };
        match (std::str::from_utf8(key), std::str::from_utf8(value)) {
            (Ok(""), Ok(_)) => pair_fault(piece, "has no key", out),
            (Ok(_), Ok("")) => pair_fault(piece, "has no value", out),
            (Ok(key), Ok(value)) => number::cell(key, value, out),
            _ => out.fault(Reason::NotUtf8, 0, || "not text".into()),
        }
    }
    out.close(0, RecordTime::Unsaid);
}

fn pair_fault(piece: &[u8], what: &str, out: &mut Decoded) {
    let reason = if std::str::from_utf8(piece).is_err() {
        Reason::NotUtf8
    } else {
        Reason::Malformed
    };
    out.fault(reason, 0, || {
        format!("{} {what}", excerpt(&String::from_utf8_lossy(piece)))
    });
}
