//! Keys on the wire.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

/// The body of `POST /v1/admin/keys`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// What it is for; at most 256 bytes.
    #[serde(default)]
    pub name: String,
    /// What it may do: `write`, `read`, `admin`.
    pub scopes: Vec<String>,
    /// May stand in web pages: it sends events and does nothing else.
    #[serde(default)]
    pub public: bool,
    /// When it ends by itself: RFC 3339, or epoch milliseconds as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Events a second, instead of the server's setting.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub rate_limit_events: Option<u64>,
    /// Requests a second, instead of the server's setting.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub rate_limit_requests: Option<u64>,
}

/// A whole number; to JSON `7.0` is as whole as `7`.
fn whole<'de, D: Deserializer<'de>>(json: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(json)? else { return Ok(None) };
    // Up to here a float has every whole number.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let rounded = number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=EXACT_MAX).contains(n));
    match number.as_u64().or_else(|| rounded.map(|n| n as u64)) {
        Some(whole) => Ok(Some(whole)),
        None => Err(D::Error::custom(format!("{number} is not a whole number"))),
    }
}

/// `GET /v1/admin/keys`: all keys, oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct KeysAnswer {
    /// The keys.
    pub keys: Vec<KeyAnswer>,
}

/// Whether a key opens anything.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It was ended.
    Revoked,
}

impl KeyState {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// One key, without its secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct KeyAnswer {
    /// The part of the key's text after `tk_`, by which it is revoked.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether it may stand in web pages.
    pub public: bool,
    /// Whether it opens anything.
    pub state: KeyState,
    /// When it was made.
    pub created: String,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When it was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// Events a second, instead of the server's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_events: Option<u64>,
    /// Requests a second, instead of the server's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_requests: Option<u64>,
}

/// The answer to `POST /v1/admin/keys`. No `Debug`: it holds the secret, this once.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
pub struct CreatedKeyAnswer {
    /// The text that clients send, `tk_…`. Nobody can show it again.
    pub secret: String,
    /// Everything else.
    #[serde(flatten)]
    pub key: KeyAnswer,
}
