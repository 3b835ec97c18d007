use super::*;
use crate::backoff;

/// A config for tests of this room.
pub(super) fn config(url: &str) -> Config {
    Config {
        url: url.to_owned(),
        org: String::from("farm"),
        bucket: String::from("plant"),
        token: None,
        ca_file: None,
        measurement: String::from("sensor"),
        measurements: BTreeMap::new(),
        batch_lines: 100,
        timeout: Duration::from_secs(5),
        linger: Duration::ZERO,
        backfill_rate: 20_000,
        backoff: backoff::Config {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(5),
        },
    }
}
