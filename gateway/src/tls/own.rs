//! The certificate that the gateway makes for itself: signed by its own key, for some two years. Browsers ask once whether it is to be
//! trusted; who wants to be sure compares the fingerprint in the log.
//!
//! Certificate and key lie in one file, so that one never is without the other, with a line before them that says what they are for.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use super::{TlsError, pair};
use crate::{cause, model::Timestamp};

const FILE: &str = "tls.pem";
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// Some systems take none that are good for longer.
const GOOD_FOR_DAYS: i64 = 800;
/// Another one is made when less is left.
const RENEWED_BEFORE_DAYS: i64 = 30;
/// A clock that was never set must not make one that is over once it is: 2026-11-01.
const EARLIEST_MS: i64 = 1_793_491_200_000;

/// As PEM: the one that is there, or a new one when it is for other names, is damaged, or ends soon.
pub(super) fn kept_or_made(
    folder: &Path,
    names: &[String],
    now: Timestamp,
) -> Result<String, TlsError> {
    let path = folder.join(FILE);
    let failed = |source| TlsError::File {
        path: path.display().to_string(),
        source,
    };
    let needed_until = now.as_millis() + RENEWED_BEFORE_DAYS * DAY_MS;
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let is_good = until(&text, names).is_some_and(|until| until > needed_until);
            match pair(&text, &text) {
                Ok(_) if is_good => return Ok(text),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), error = %cause::chain(&error), "the certificate of the gateway is damaged: it makes another one");
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let text = make(names, now).map_err(TlsError::Make)?;
    write(&path, &text).map_err(failed)?;
    Ok(text)
}

/// The line before the PEM.
fn note(until_ms: i64, names: &[String]) -> String {
    format!(
        "# made by the gateway, until {until_ms}, for {}",
        names.join(" ")
    )
}

/// Until when it is good, if it is for these names.
fn until(text: &str, names: &[String]) -> Option<i64> {
    let first = text.lines().next()?;
    let until: i64 = first
        .split(", until ")
        .nth(1)?
        .split(',')
        .next()?
        .parse()
        .ok()?;
    (first == note(until, names)).then_some(until)
}

fn make(names: &[String], now: Timestamp) -> Result<String, rcgen::Error> {
    let until_ms = now.as_millis().max(EARLIEST_MS) + GOOD_FOR_DAYS * DAY_MS;
    let until = jiff::Timestamp::from_millisecond(until_ms)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let day = |day: i8| u8::try_from(day).unwrap_or(1);
    let mut params = CertificateParams::new(names)?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until.year().into(), day(until.month()), day(until.day()));
    let name = names.first().map_or("sensor gateway", String::as_str);
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    let note = note(until_ms, names);
    Ok(format!("{note}\n{}{}", cert.pem(), key.serialize_pem()))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("pem.new");
    // What a kill left there may be open to others.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
