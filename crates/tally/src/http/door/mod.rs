//! Who comes in: keys, rates and origins, judged before a request reaches its path.
//!
//! A server without keys and rates pays two loads for it; all else is behind [`Door::is_wide_open`].

mod address;
mod cors;
mod limits;
mod needs;

use std::net::IpAddr;
use std::sync::Arc;

use api::ProblemCode;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use engine::ports::Clock;

use super::problem::Failure;
use crate::keys::{Caller, KeyId, Keyring};

pub(crate) use address::{AddressRange, Peer};
pub(super) use address::{KEY_PARAMETER, group};
pub(crate) use cors::Origin;
pub(super) use cors::allow_reading;
pub(super) use needs::Need;

use cors::Cors;
use limits::{Account, Limits};

/// What the door is told by the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DoorSettings {
    /// Events a second of a key or an address.
    pub(crate) rate_events: Option<u64>,
    /// Requests a second of a key or an address.
    pub(crate) rate_requests: Option<u64>,
    /// Who may say for whom they speak.
    pub(crate) trusted_proxies: Vec<AddressRange>,
    /// Pages whose scripts may read answers.
    pub(crate) cors_origins: Vec<Origin>,
}

/// See the module.
pub(crate) struct Door {
    keys: Arc<Keyring>,
    limits: Arc<Limits>,
    trusted_proxies: Vec<AddressRange>,
    cors: Cors,
}

/// What the paths that take events want to know of a caller; absent where nothing is known or limited.
#[derive(Clone)]
pub(crate) struct Admitted {
    limits: Arc<Limits>,
    accounts: Vec<Account>,
    /// Showed a key that stands in web pages.
    pub(crate) is_public: bool,
}

impl Admitted {
    /// Takes so many events from the caller's allowance.
    ///
    /// # Errors
    /// 429 when they are too many for now.
    pub(crate) fn charge_events(&self, events: u64) -> Result<(), Failure> {
        self.limits.charge_events(&self.accounts, events).map_err(|wait| too_many("events", wait))
    }
}

impl Door {
    pub(crate) fn new(settings: &DoorSettings, keys: Arc<Keyring>, clock: Arc<dyn Clock>) -> Self {
        let limits = Arc::new(Limits::new(settings.rate_events, settings.rate_requests, clock));
        Self {
            keys,
            limits,
            trusted_proxies: settings.trusted_proxies.clone(),
            cors: Cors::new(settings.cors_origins.clone()),
        }
    }

    pub(crate) fn keys(&self) -> &Arc<Keyring> {
        &self.keys
    }

    /// Whose scripts may read what.
    pub(super) fn cors(&self) -> &Cors {
        &self.cors
    }

    /// Whether requests are told apart by their address.
    pub(crate) fn wants_address(&self) -> bool {
        self.limits.has_defaults()
    }

    fn is_wide_open(&self) -> bool {
        !self.limits.has_defaults() && !self.keys.is_closed()
    }

    /// Lets a request to a path, by its template, in, with what that is to know of the caller.
    ///
    /// # Errors
    /// 401 without a good key, 403 with one that is not for this, 429 when it comes too soon.
    pub(super) fn admit(&self, head: &mut Parts, route: Option<&str>) -> Result<(), Failure> {
        if self.is_wide_open() {
            return Ok(());
        }
        let admitted = self.examine(head, route);
        // What has not been read of a body cannot be skipped.
        admitted
            .map_err(|refused| if has_body(&head.headers) { refused.closing() } else { refused })
    }

    fn examine(&self, head: &mut Parts, route: Option<&str>) -> Result<(), Failure> {
        let need = Need::of(&head.method, route);
        let address = self.address_of(head);
        if need == Need::Nothing {
            return Ok(());
        }
        let is_closed = self.keys.is_closed();
        let caller = if is_closed { self.caller(head, need) } else { None };
        if caller.as_ref().is_some_and(|caller| caller.is_internal) {
            return Ok(());
        }
        let verdict = match &caller {
            _ if !is_closed => Ok(()),
            None => Err(unauthorized(&head.headers)),
            Some(caller) => self.judge(caller, need, &head.headers),
        };
        let accounts = self.limits.accounts(caller.as_ref().filter(|_| verdict.is_ok()), address);
        // Those who are turned away pay too.
        self.limits.charge_request(&accounts).map_err(|wait| too_many("requests", wait))?;
        verdict?;
        let is_public = caller.is_some_and(|caller| caller.is_public);
        if need == Need::SendEvents {
            self.limits.owes_events(&accounts).map_err(|wait| too_many("events", wait))?;
            let admitted = Admitted { limits: self.limits.clone(), accounts, is_public };
            head.extensions.insert(admitted);
        }
        Ok(())
    }

    /// Whose key the request shows. A public key may stand in the address: `sendBeacon` sends no
    /// headers.
    fn caller(&self, head: &mut Parts, need: Need) -> Option<Caller> {
        let shown = bearer(&head.headers);
        if let Some(shown) = shown {
            return self.keys.recognise(shown);
        }
        if need != Need::SendEvents || head.headers.contains_key(header::AUTHORIZATION) {
            return None;
        }
        let text = address::take_key(head)?;
        self.keys.recognise(text.as_bytes()).filter(|caller| caller.is_public)
    }

    fn judge(&self, caller: &Caller, need: Need, headers: &HeaderMap) -> Result<(), Failure> {
        let forbidden = |detail: String| Err(Failure::new(ProblemCode::Forbidden, detail));
        if caller.is_public && need != Need::SendEvents {
            return forbidden("a public key sends events and does nothing else".into());
        }
        if caller.is_public && !self.cors.allows_page(headers) {
            let detail = "this page may not use the key; the setting cors_origins says which may";
            return forbidden(detail.into());
        }
        let wanted = need.scopes();
        if wanted.is_empty() || caller.scopes.meets(wanted) {
            return Ok(());
        }
        let names = wanted.names().join(" or ");
        forbidden(format!("this needs a key with the scope {names}"))
    }

    fn address_of(&self, head: &Parts) -> Option<IpAddr> {
        let Peer(peer) = *head.extensions.get::<Peer>()?;
        Some(address::client(peer, &head.headers, &self.trusted_proxies))
    }
}

/// The key of `Authorization: Bearer …`; none where there is no such header, or more than one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// One answer for a key that is missing, unknown, wrong, revoked or over: which, is nobody's business.
fn unauthorized(headers: &HeaderMap) -> Failure {
    let detail =
        "send a key that is valid: `Authorization: Bearer tk_…`; `tally keys create` makes one";
    let challenge = if headers.contains_key(header::AUTHORIZATION) {
        r#"Bearer realm="tally", error="invalid_token""#
    } else {
        r#"Bearer realm="tally""#
    };
    Failure::new(ProblemCode::Unauthorized, detail).challenging(challenge)
}

fn too_many(what: &str, wait: limits::Wait) -> Failure {
    let detail = format!("too many {what}; send the same again after {} s", wait.seconds());
    Failure::new(ProblemCode::RateLimited, detail).after(wait.seconds())
}

#[cfg(test)]
mod tests;
