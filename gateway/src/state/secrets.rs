//! Keys that the gateway makes for itself and must know again after a restart.

use ring::{
    error::Unspecified,
    rand::{SecureRandom as _, SystemRandom},
};
use rusqlite::{OptionalExtension, params};

use super::State;
use crate::cause;

/// Bytes of the key that links are signed with.
const SIGNING_KEY_BYTES: usize = 32;

impl State {
    /// The key that links are signed with: made by chance when it is first asked for, and the same from then on. When the file is lost,
    /// links in messages that were sent before are good for nothing; while it can't be written, those of this run.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub async fn signing_key(&self) -> Result<[u8; SIGNING_KEY_BYTES], Unspecified> {
        let mut fresh = [0; SIGNING_KEY_BYTES];
        SystemRandom::new().fill(&mut fresh)?;
        let kept = self.write(move |connection| {
            let found: Option<[u8; SIGNING_KEY_BYTES]> = connection
                .query_row(
                    "SELECT value FROM secrets WHERE name = 'links'",
                    [],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(key) = found {
                return Ok(key);
            }
            connection.execute(
                "INSERT INTO secrets (name, value) VALUES ('links', ?1)",
                params![fresh],
            )?;
            Ok(fresh)
        });
        Ok(kept.await.unwrap_or_else(|error| {
            tracing::warn!(
                error = %cause::chain(&error),
                "the key of the links in messages cannot be written down: they end with this run"
            );
            fresh
        }))
    }
}
