//! Secrets that the gateway makes: of sessions, tokens and the one-time link. 256 bits by chance, so a fast hash is enough to keep them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest,
    error::Unspecified,
    rand::{SecureRandom as _, SystemRandom},
};

/// What is kept of a secret: its SHA-256.
pub type Print = [u8; 32];

/// With what tokens begin, so that people and scanners of leaked secrets know them.
pub const TOKEN_PREFIX: &str = "gwt_";

/// A new one: 43 letters, digits, `-` and `_`.
///
/// # Errors
///
/// When the system has no random numbers.
pub fn fresh() -> Result<String, Unspecified> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of it. Who knows only this can't make the secret again; that looking it up takes a time that depends on it tells
/// nothing about the secret.
#[must_use]
pub fn print(secret: &str) -> Print {
    let mut print = [0; 32];
    print.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_is_another_and_is_known_again_by_its_print() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 43);
        assert_eq!(print(&one), print(&one));
        assert_ne!(print(&one), print(&other));
    }
}
