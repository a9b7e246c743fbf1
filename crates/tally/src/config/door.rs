//! Settings of the front door, from their text.

use std::path::PathBuf;
use std::str::FromStr;

use super::resolved::{Setting, SettingError, TlsFiles};

/// Greatest rate, a second.
const RATE_MAX: u64 = 1_000_000_000;
/// Most connections: file descriptors end before.
const CONNECTIONS_MAX: usize = 1_000_000;

pub(super) fn switch(setting: &Setting) -> Result<bool, SettingError> {
    setting.text.parse().map_err(|_| setting.refuse("it must be true or false"))
}

/// A number a second; none where nothing is limited.
pub(super) fn rate(setting: &Setting) -> Result<Option<u64>, SettingError> {
    match setting.text.as_str() {
        "none" => Ok(None),
        text => match text.parse() {
            Ok(rate @ 1..=RATE_MAX) => Ok(Some(rate)),
            _ => {
                let allowed = format!("it must be none, or a whole number from 1 to {RATE_MAX}");
                Err(setting.refuse(&allowed))
            }
        },
    }
}

/// Parts between commas.
pub(super) fn list<T: FromStr<Err = &'static str>>(
    setting: &Setting,
) -> Result<Vec<T>, SettingError> {
    if setting.text == "none" {
        return Ok(Vec::new());
    }
    let parts = setting.text.split(',').map(|part| part.trim().parse());
    parts.collect::<Result<_, _>>().map_err(|shape| setting.refuse(shape))
}

pub(super) fn file(setting: &Setting) -> Result<PathBuf, SettingError> {
    let path = PathBuf::from(&setting.text);
    if path.file_name().is_none() {
        return Err(setting.refuse("it must name a file"));
    }
    Ok(path)
}

/// Both files, or none.
pub(super) fn tls(cert: &Setting, key: &Setting) -> Result<Option<TlsFiles>, SettingError> {
    match (cert.text.as_str(), key.text.as_str()) {
        ("none", "none") => Ok(None),
        ("none", _) => Err(cert.refuse("it must name a file, as `tls_key` does")),
        (_, "none") => Err(key.refuse("it must name a file, as `tls_cert` does")),
        _ => Ok(Some(TlsFiles { cert: file(cert)?, key: file(key)? })),
    }
}

pub(super) fn connections(setting: &Setting) -> Result<usize, SettingError> {
    match setting.text.parse() {
        Ok(count @ 1..=CONNECTIONS_MAX) => Ok(count),
        _ => {
            let allowed = format!("it must be a whole number from 1 to {CONNECTIONS_MAX}");
            Err(setting.refuse(&allowed))
        }
    }
}
