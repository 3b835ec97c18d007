//! Links that let whoever got a message do one thing without a login: acknowledge one alert, until a time.
//!
//! `<alert>.<webhook>.<expires>.<mac>`: the time in epoch seconds, and the first 128 bits of HMAC-SHA256 (RFC 2104, RFC 4868) over
//! what stands before it, as base64url. Nothing of it is secret but the key, which never leaves the gateway; the link itself is as good as the
//! message that it stands in. Made again for the same alert and webhook it is the same, so that a message looks the same at each try.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use thiserror::Error;

use crate::model::Timestamp;

/// Bytes of the key.
pub const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 16;
/// What the key signs: a token for this is good for nothing else.
const PURPOSE: &str = "acknowledge\n";

/// Makes tokens and knows its own again.
#[derive(Clone, Debug)]
pub struct Signer {
    key: hmac::Key,
}

/// What a token allows: to acknowledge this alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The alert's id.
    pub alert: String,
    /// The webhook whose message had the link.
    pub webhook: String,
}

/// Why a token allows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It was cut off, changed, or made by another gateway.
    #[error("this link is not one of this gateway's, or was cut off")]
    Forged,
    /// Its time is over.
    #[error("this link is too old: acknowledge on the page")]
    Expired,
}

impl Signer {
    /// With this key.
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// A token that lets its holder acknowledge `alert` until `expires`.
    #[must_use]
    pub fn token(&self, alert: &str, webhook: &str, expires: Timestamp) -> String {
        let claim = format!(
            "{alert}.{webhook}.{}",
            expires.as_millis().div_euclid(1_000)
        );
        let mac = URL_SAFE_NO_PAD.encode(self.mac(&claim));
        format!("{claim}.{mac}")
    }

    /// What a token allows.
    ///
    /// # Errors
    ///
    /// [`TokenError`]
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Claim, TokenError> {
        let (claim, mac) = token.rsplit_once('.').ok_or(TokenError::Forged)?;
        let mac = URL_SAFE_NO_PAD
            .decode(mac)
            .map_err(|_| TokenError::Forged)?;
        // In constant time: how much of a guess is right must not show.
        if !bool::from(subtle::ConstantTimeEq::ct_eq(
            mac.as_slice(),
            self.mac(claim).as_slice(),
        )) {
            return Err(TokenError::Forged);
        }
        // What was signed has three parts; names of webhooks may have dots.
        let (alert, rest) = claim.split_once('.').ok_or(TokenError::Forged)?;
        let (webhook, expires) = rest.rsplit_once('.').ok_or(TokenError::Forged)?;
        let expires: i64 = expires.parse().map_err(|_| TokenError::Forged)?;
        if now.as_millis().div_euclid(1_000) >= expires {
            return Err(TokenError::Expired);
        }
        Ok(Claim {
            alert: alert.to_owned(),
            webhook: webhook.to_owned(),
        })
    }

    fn mac(&self, claim: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(PURPOSE.as_bytes());
        context.update(claim.as_bytes());
        context.sign().as_ref()[..MAC_BYTES].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPIRES: Timestamp = Timestamp(2_000_000_000_000_000_000);
    const NOW: Timestamp = Timestamp(1_999_999_999_000_000_000);

    fn signer() -> Signer {
        Signer::new(&[7; KEY_BYTES])
    }

    #[test]
    fn a_token_is_the_same_for_ever() {
        // Computed apart: `printf 'acknowledge\n1-2.ops.a.2000000000' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…07`.
        assert_eq!(signer().token("1-2", "ops.a", EXPIRES), EXPECTED);
        assert_eq!(
            signer().read(EXPECTED, NOW),
            Ok(Claim {
                alert: String::from("1-2"),
                webhook: String::from("ops.a"),
            })
        );
    }

    const EXPECTED: &str = "1-2.ops.a.2000000000.CfBQYFVKVLIcgxDM5XyafA";

    #[test]
    fn a_token_ends_with_its_time_and_is_good_for_its_own_gateway_only() {
        let token = signer().token("1-2", "ops", EXPIRES);
        assert_eq!(signer().read(&token, EXPIRES), Err(TokenError::Expired));
        let other = Signer::new(&[8; KEY_BYTES]);
        assert_eq!(other.read(&token, NOW), Err(TokenError::Forged));
    }

    proptest! {
        #[test]
        fn no_change_of_a_token_is_taken(at in 0usize..100, to in "[a-zA-Z0-9._-]") {
            let token = signer().token("1-2", "ops", EXPIRES);
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            // The last character of base64 has bits that mean nothing: only the canonical one is decoded.
            prop_assume!(changed != token);
            prop_assert_eq!(signer().read(&changed, NOW), Err(TokenError::Forged));
            prop_assert_eq!(signer().read(&token[..at], NOW), Err(TokenError::Forged));
        }
    }
}
