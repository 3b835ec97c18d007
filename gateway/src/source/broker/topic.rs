//! Topic names and filters: what is allowed (4.7) and what matches what.
//!
//! Not those of `rumqttc`: its `matches` panics on a topic that starts with a character of more than one byte.

use super::packet::Reason;

/// The longest topic or filter, in bytes.
pub(super) const MAX_BYTES: usize = 1024;
/// The deepest topic or filter, in levels.
pub(super) const MAX_LEVELS: usize = 32;

/// Whether a client may publish to this topic.
///
/// # Errors
///
/// [`Reason::Malformed`] for what no client may send at all, [`Reason::TopicNameInvalid`] for what we don't take: too
/// long, too deep, or the server's own (`$…`).
pub(super) fn check_name(topic: &str) -> Result<(), Reason> {
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return Err(Reason::Malformed);
    }
    if topic.starts_with('$') || topic.len() > MAX_BYTES || levels(topic) > MAX_LEVELS {
        return Err(Reason::TopicNameInvalid);
    }
    Ok(())
}

/// Whether a client may subscribe to this filter.
///
/// # Errors
///
/// Why not.
pub(super) fn check_filter(filter: &str) -> Result<(), Reason> {
    if filter.starts_with("$share/") {
        return Err(Reason::SharedSubscriptions);
    }
    let mut rest = filter.split('/').peekable();
    let mut wild_rightly = true;
    while let Some(level) = rest.next() {
        wild_rightly &= match level {
            "#" => rest.peek().is_none(),
            "+" => true,
            _ => !level.contains(['+', '#']),
        };
    }
    if filter.is_empty()
        || filter.contains('\0')
        || !wild_rightly
        || filter.len() > MAX_BYTES
        || levels(filter) > MAX_LEVELS
    {
        return Err(Reason::TopicFilterInvalid);
    }
    Ok(())
}

/// Whether `filter` takes `topic`; both are valid.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    // The server's own topics are not for wildcards (4.7.2).
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut given) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

fn levels(topic: &str) -> usize {
    topic.bytes().filter(|byte| *byte == b'/').count() + 1
}
