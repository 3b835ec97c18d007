//! Signatures after Standard Webhooks 1.0.0 (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>):
//! HMAC-SHA256 over `id.timestamp.body`, in base64, one for each key. Ids are made by the gateway, so that nobody can move the full stops.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::hmac;
use thiserror::Error;

/// A secret that signs; it does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

/// What a key must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not base64.
    #[error(
        "a signing key is `whsec_` and base64: make one with  echo whsec_$(head -c 32 /dev/urandom | base64)"
    )]
    NotBase64,
    /// Too short or too long.
    #[error("a signing key has 24 to 64 bytes, this one has {0}")]
    Length(usize),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Reads `whsec_` and base64; the prefix may be missing.
    ///
    /// # Errors
    ///
    /// [`KeyError`]
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let key = BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| KeyError::NotBase64)?;
        if !(24..=64).contains(&key.len()) {
            return Err(KeyError::Length(key.len()));
        }
        Ok(Self(key))
    }
}

/// The value of `webhook-signature`: `v1,…` for each key. None without keys.
pub(super) fn sign(keys: &[SigningKey], id: &str, timestamp: &str, body: &str) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    let signatures: Vec<String> = keys
        .iter()
        .map(|SigningKey(key)| {
            let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
            for part in [id, ".", timestamp, ".", body] {
                context.update(part.as_bytes());
            }
            format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
        })
        .collect();
    Some(signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_reference_libraries_comes_out() {
        let keys = [SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()];
        let signed = sign(
            &keys,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signed.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn while_a_key_is_changed_both_sign() {
        let keys = [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ]
        .map(|key| SigningKey::parse(key).unwrap());
        let both = sign(&keys, "a", "1", "b").unwrap();
        let each: Vec<_> = keys
            .iter()
            .map(|key| sign(std::slice::from_ref(key), "a", "1", "b").unwrap())
            .collect();
        assert_eq!(both, each.join(" "));
        assert_eq!(sign(&[], "a", "1", "b"), None);
    }

    #[test]
    fn keys_that_are_none_are_refused_and_none_is_printed() {
        assert_eq!(SigningKey::parse("whsec_#"), Err(KeyError::NotBase64));
        assert_eq!(SigningKey::parse("whsec_AAAA"), Err(KeyError::Length(3)));
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }
}
