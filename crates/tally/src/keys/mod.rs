//! Keys: who may write, read or administer.
//!
//! A key is `tk_`, an id that may be shown, `_` and 256 random bits. The file in the data folder holds
//! only a hash of it. Once there is a key in the file, every request needs one, also when all of them
//! are revoked: taking away the last key must not open the door.

mod file;
mod keyring;
mod scope;
mod secret;

use model::TimestampMs;

pub(crate) use file::{Draft, KeyFile, KeyFileError};
pub(crate) use keyring::{Caller, Keyring};
pub(crate) use scope::Scopes;
pub(crate) use secret::{KeyId, Secret};

use secret::SecretHash;

/// Events and requests a second that a key may send; none leaves it to the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) events: Option<u64>,
    pub(crate) requests: Option<u64>,
}

/// A key as it is kept: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) name: String,
    hash: SecretHash,
    pub(crate) scopes: Scopes,
    /// May stand in web pages: it sends events and does nothing else.
    pub(crate) is_public: bool,
    pub(crate) created: TimestampMs,
    /// From then on it is no key any more.
    pub(crate) expires: Option<TimestampMs>,
    pub(crate) revoked: Option<TimestampMs>,
    pub(crate) rates: Rates,
}

impl Key {
    /// Whether it opens anything at this time.
    pub(crate) fn is_active(&self, now: TimestampMs) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    /// As it is shown.
    pub(crate) fn describe(&self, now: TimestampMs) -> api::KeyAnswer {
        let state = if self.revoked.is_some() {
            api::KeyState::Revoked
        } else if self.is_active(now) {
            api::KeyState::Active
        } else {
            api::KeyState::Expired
        };
        api::KeyAnswer {
            id: self.id.to_string(),
            name: self.name.clone(),
            scopes: self.scopes.names(),
            public: self.is_public,
            state,
            created: self.created.to_string(),
            expires: self.expires.map(|time| time.to_string()),
            revoked: self.revoked.map(|time| time.to_string()),
            rate_limit_events: self.rates.events,
            rate_limit_requests: self.rates.requests,
        }
    }
}

#[cfg(test)]
mod tests;
