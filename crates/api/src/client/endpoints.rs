//! The servers that requests can go to, and which one the next goes to.
//!
//! An endpoint gets requests while its readiness check (`GET /readyz`) is good, its breaker lets
//! them through and it has not asked for a pause (`Retry-After`). Among those the
//! [`Balance`] chooses.

mod endpoint;
mod target;
mod watch;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::BreakerOptions;
use super::retry::{Jitter, mix};
use super::{CONNECT_TIMEOUT, ClientError, REQUEST_TIMEOUT};
use endpoint::Endpoint;
pub use endpoint::{EndpointMetrics, Lease};
pub use target::Target;

/// How the next endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastOutstanding,
    /// The better of two random ones, by the moving average of its response time and the requests
    /// under way there.
    LeastResponseTime,
    /// By a hash of the key: the same key goes to the same endpoint for as long as it is up, and
    /// only the keys of an endpoint that comes or goes move (rendezvous hashing).
    Hash,
}

/// Which endpoints there are and how they are used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointOptions {
    /// Where the servers are.
    pub targets: Vec<Target>,
    /// How the next one is chosen.
    pub balance: Balance,
    /// When the breaker of an endpoint opens and closes.
    pub breaker: BreakerOptions,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long one request may take, its answer included.
    pub request_timeout: Duration,
    /// How often `/readyz` of each endpoint is asked.
    pub health_interval: Duration,
    /// How often names are resolved again.
    pub resolve_interval: Duration,
    /// The longest that a server's `Retry-After` is believed.
    pub retry_after_most: Duration,
    /// The key that every request carries, where the servers want one.
    pub key: Option<Key>,
    /// Certificates in PEM, to be trusted instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// A key that opens a server, `tk_…`. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Takes the text of a key.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl EndpointOptions {
    /// The defaults with these servers.
    pub fn new(targets: impl IntoIterator<Item = impl Into<Target>>) -> Self {
        Self {
            targets: targets.into_iter().map(Into::into).collect(),
            balance: Balance::default(),
            breaker: BreakerOptions::default(),
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            health_interval: Duration::from_secs(5),
            resolve_interval: Duration::from_secs(30),
            retry_after_most: Duration::from_secs(60),
            key: None,
            ca_pem: None,
        }
    }
}

/// Why no endpoint takes a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEndpoint {
    /// Every one is down: its breaker is open or its readiness check failed. Otherwise at least one
    /// only asked for a pause, or is being tried.
    pub is_down: bool,
    /// When it is worth looking again.
    pub until: Instant,
}

/// The endpoints, shared by all that send. Must be used within a Tokio runtime.
#[derive(Debug)]
pub struct Endpoints {
    options: EndpointOptions,
    list: Mutex<Vec<Arc<Endpoint>>>,
    next: AtomicUsize,
    jitter: Mutex<Jitter>,
    /// Something may have become free.
    changed: Arc<Notify>,
}

impl Endpoints {
    /// Resolves the targets for the first time. A name that cannot be resolved yet has no endpoint
    /// until [`Endpoints::watch`] resolves it again.
    ///
    /// # Errors
    /// [`ClientError::InvalidUrl`] where a URL cannot be used, or there is none.
    pub async fn new(options: EndpointOptions) -> Result<Self, ClientError> {
        if options.targets.is_empty() {
            let reason = "there must be one at least";
            return Err(ClientError::InvalidUrl { url: String::new(), reason });
        }
        for target in &options.targets {
            target.check()?;
        }
        let endpoints = Self {
            options,
            list: Mutex::default(),
            next: AtomicUsize::new(0),
            jitter: Mutex::new(Jitter::random()),
            changed: Arc::default(),
        };
        endpoints.resolve().await;
        Ok(endpoints)
    }

    /// Chooses where the next request goes. `key` matters to [`Balance::Hash`]; `avoid` is the URL
    /// of an endpoint that just failed, which is taken only if there is no other.
    ///
    /// # Errors
    /// Where none takes a request now.
    pub fn pick(&self, key: u64, avoid: Option<&str>) -> Result<Lease, NoEndpoint> {
        let now = Instant::now();
        let list = self.list();
        let mut free: Vec<&Arc<Endpoint>> =
            list.iter().filter(|endpoint| endpoint.check(now).is_ok()).collect();
        if free.len() > 1
            && let Some(avoid) = avoid
        {
            free.retain(|endpoint| endpoint.url() != avoid);
        }
        while !free.is_empty() {
            let chosen = self.choose(&free, key);
            if let Some(lease) = Endpoint::lease(free[chosen], now, &self.changed) {
                return Ok(lease);
            }
            free.swap_remove(chosen);
        }
        Err(self.none(&list, now))
    }

    fn choose(&self, free: &[&Arc<Endpoint>], key: u64) -> usize {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        match self.options.balance {
            Balance::RoundRobin => turn % free.len(),
            Balance::LeastOutstanding => (0..free.len())
                // Equal ones by turns.
                .map(|i| (i + turn) % free.len())
                .min_by_key(|&i| free[i].outstanding())
                .unwrap_or(0),
            Balance::LeastResponseTime => {
                let mut jitter = self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
                let first = jitter.below(free.len());
                let second = (first + 1 + jitter.below(free.len() - 1)) % free.len();
                if free[second].score() < free[first].score() { second } else { first }
            }
            Balance::Hash => {
                (0..free.len()).max_by_key(|&i| mix(free[i].hash() ^ mix(key))).unwrap_or(0)
            }
        }
    }

    fn none(&self, list: &[Arc<Endpoint>], now: Instant) -> NoEndpoint {
        let next_check = now + self.options.health_interval;
        let (mut is_down, mut until) = (true, None);
        for endpoint in list {
            let (endpoint_is_down, at) = match endpoint.check(now) {
                Ok(()) => (false, now),
                Err(refusal) => (refusal.is_down, refusal.until.unwrap_or(next_check)),
            };
            is_down &= endpoint_is_down;
            until = Some(until.map_or(at, |until: Instant| until.min(at)));
        }
        NoEndpoint { is_down, until: until.unwrap_or(next_check) }
    }

    /// Resolves when something changed after this call: a request ended, an endpoint came or is
    /// ready again. Take it before [`Endpoints::pick`], and await it where that gives none.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// How each endpoint fares.
    pub fn metrics(&self) -> Vec<EndpointMetrics> {
        let now = Instant::now();
        self.list().iter().map(|endpoint| endpoint.metrics(now)).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Endpoint>>> {
        // What it guards is never left half done.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the addresses found; those that were there before keep their breakers and averages.
    fn set(&self, found: Vec<target::Address>) {
        let mut list = self.list();
        let before = std::mem::take(&mut *list);
        for address in found {
            if list.iter().any(|endpoint| endpoint.url() == address.url) {
                continue;
            }
            let known = before.iter().find(|endpoint| endpoint.url() == address.url);
            let endpoint = match known {
                Some(known) => Ok(Arc::clone(known)),
                None => Endpoint::new(&address, &self.options).map(Arc::new),
            };
            // The target was checked, and an address in its place changes nothing.
            list.extend(endpoint);
        }
        drop(list);
        self.changed.notify_waiters();
    }
}

/// A stable hash of a text (FNV-1a), such as of an item for [`Balance::Hash`].
pub fn hash_key(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests;
