//! Open files and sockets: the limit is raised as far as the system allows, and connections are held to what is left of
//! it, so that the journal and the databases always find a file when they need one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for what is not a connection of a client: journal, databases, sources, webhooks, the archive.
pub const RESERVED: u64 = 256;
/// More than anybody needs; some systems allow a thousand million.
const ENOUGH: u64 = 1 << 20;

/// Raises the limit on open files as far as it may be raised; what it is then.
#[must_use]
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    let now = limit.current.unwrap_or(u64::MAX);
    if now >= most {
        return now;
    }
    let raised = Rlimit {
        current: Some(most),
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(error) => {
            tracing::debug!(%error, "the limit on open files stays as it is");
            now
        }
    }
}

/// The limit on open files now.
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections each that listens may have under a limit on open files: a quarter of what is not reserved. So HTTP
/// and up to three listeners never use up what the journal needs.
#[must_use]
pub fn share(limit: u64) -> usize {
    let left = limit.saturating_sub(RESERVED).max(limit / 2);
    usize::try_from(left / 4).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_that_listen_never_take_what_is_reserved() {
        assert_eq!(share(524_288), 131_008);
        assert_eq!(share(1024), 192);
        assert_eq!(share(64), 8);
        assert_eq!(share(0), 1);
    }

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let before = limit();
        let raised = raise_limit();
        assert!(raised >= before);
        assert_eq!(limit(), raised);
    }
}
