//! Passwords: what they must be like, and Argon2id hashes of them with 19 MiB, two passes and one lane
//! (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>).
//!
//! Hashing takes tens of milliseconds of a core, on a small machine hundreds: it belongs on a thread that may block, and who calls
//! bounds how many run at once.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use ring::rand::{SecureRandom as _, SystemRandom};
use thiserror::Error;

/// Memory of one hash, KiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// Characters at least.
pub const MIN_CHARACTERS: usize = 10;
/// Bytes at most.
pub const MAX_BYTES: usize = 256;

/// Why a password can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("a password has at least {MIN_CHARACTERS} characters, and at most {MAX_BYTES} bytes")]
    Length,
    /// It is the user's name.
    #[error("a password must not be the name, or hold nothing but one character")]
    Guessable,
    /// The system has no random numbers or no memory.
    #[error("the password cannot be hashed: try again")]
    Unavailable,
}

/// Whether a new password of this user is good enough.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check(name: &str, password: &str) -> Result<(), PasswordError> {
    if password.chars().count() < MIN_CHARACTERS || password.len() > MAX_BYTES {
        return Err(PasswordError::Length);
    }
    let first = password.chars().next();
    let is_dull = password.chars().all(|c| Some(c) == first);
    if is_dull || password.to_lowercase() == name.to_lowercase() {
        return Err(PasswordError::Guessable);
    }
    Ok(())
}

/// As a PHC string, with a salt of its own.
///
/// # Errors
///
/// [`PasswordError::Unavailable`]
pub fn hash(password: &str) -> Result<String, PasswordError> {
    let unavailable = |_| PasswordError::Unavailable;
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| PasswordError::Unavailable)?;
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| PasswordError::Unavailable)?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(unavailable)?;
    Ok(hash.to_string())
}

/// Whether it is the password of this hash. A hash that can't be read belongs to no password. Takes as long for a wrong one as for
/// the right one.
#[must_use]
pub fn is_right(password: &str, hash: &str) -> bool {
    password.len() <= MAX_BYTES
        && PasswordHash::new(hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other_is_taken_for_it() {
        let kept = hash("correct horse").unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        assert!(is_right("correct horse", &kept));
        assert!(!is_right("correct horsf", &kept));
        assert!(!is_right("", &kept) && !is_right("correct horse", "nonsense"));
        assert_ne!(kept, hash("correct horse").unwrap(), "the salt is fresh");
    }

    #[test]
    fn a_password_that_is_short_or_is_the_name_is_refused() {
        assert_eq!(check("anna", "correct horse"), Ok(()));
        assert_eq!(check("anna", "short"), Err(PasswordError::Length));
        assert_eq!(check("anna", &"a".repeat(300)), Err(PasswordError::Length));
        assert_eq!(check("anna", "aaaaaaaaaaaa"), Err(PasswordError::Guessable));
        assert_eq!(
            check("Annabella.Smith", "annabella.smith"),
            Err(PasswordError::Guessable)
        );
        // Ten characters of any script.
        assert_eq!(check("anna", "пароль дня"), Ok(()));
    }
}
