//! Who may do what, as far as no network and no file is needed for it: roles, scopes and what a request needs ([`role`]); secrets that
//! the gateway makes ([`secret`]) and those that people think of ([`password`]); limits on guessing ([`limit`]); and the table of those
//! who are known ([`Known`]).
//!
//! - Of sessions and tokens only hashes are kept; their 256 bits are made by chance and can't be guessed. Passwords are kept as
//!   Argon2id hashes.
//! - A token never does more than its owner may do now: powers are looked up with each request.
//! - Whatever may end (a session, a token, a role) has a [`Caller::ended`] that says so at once: live streams listen to it.
//!
//! Not here: where all this is written down (`state`), requests and cookies (`http`).

mod known;
pub mod limit;
pub mod password;
pub mod role;
pub mod secret;

pub use self::{
    known::{Account, Caller, Known, MAX_SESSIONS, MAX_SESSIONS_OF_ONE, People, Session, Token},
    role::{Need, Role, Scope},
};

/// Users at most; one more is refused.
pub const MAX_USERS: usize = 100;
/// Tokens at most, over all users; one more is refused.
pub const MAX_TOKENS: usize = 1_000;

/// Whether a user or a token may be called so: 1 to 64 letters, digits, `.`, `_`, `-` or `@`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@'))
}

/// What [`is_name`] asks for, in words.
pub const NAME_RULE: &str = "a name has 1 to 64 letters, digits, `.`, `_`, `-` or `@`";
