//! One endpoint: its client, its breaker, its health, and how long it takes to answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::breaker::{Breaker, BreakerState};
use super::super::{Client, ClientError};
use super::target::Address;
use super::{EndpointOptions, Key, hash_key};

/// The moving average forgets by this time: what is three times as old counts a twentieth.
const AVERAGE_OVER: Duration = Duration::from_secs(10);

/// A server, by one of its addresses.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: Client,
    hash: u64,
    retry_after_most: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    /// What the last readiness check said; good before the first.
    is_healthy: bool,
    outstanding: u32,
    /// Seconds; zero before the first answer, so that it is tried soon.
    average: f64,
    averaged_at: Instant,
    paused_until: Option<Instant>,
    requests: u64,
    failures: u64,
}

/// Why an endpoint takes no request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) is_down: bool,
    pub(super) until: Option<Instant>,
}

/// How an endpoint fares.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EndpointMetrics {
    /// Its URL, with the address where it was resolved from a name.
    pub url: String,
    /// What its breaker lets through.
    pub breaker: BreakerState,
    /// What the last readiness check said.
    pub is_healthy: bool,
    /// Requests under way.
    pub outstanding: u32,
    /// The moving average of the response time; zero before the first.
    pub response_time: Duration,
    /// Requests sent.
    pub requests: u64,
    /// Of them those that failed in the sense of the breaker.
    pub failures: u64,
}

impl Endpoint {
    pub(super) fn new(address: &Address, options: &EndpointOptions) -> Result<Self, ClientError> {
        let mut client = Client::new(&address.url)?
            .with_connect_timeout(options.connect_timeout)
            .with_timeout(options.request_timeout);
        if let Some(host) = &address.host {
            client = client.with_host(host)?;
        }
        if let Some(pem) = &options.ca_pem {
            client = client.with_ca_pem(pem)?;
        }
        if let Some(Key(key)) = &options.key {
            client = client.with_key(key)?;
        }
        let state = State {
            breaker: Breaker::new(options.breaker),
            is_healthy: true,
            outstanding: 0,
            average: 0.0,
            averaged_at: Instant::now(),
            paused_until: None,
            requests: 0,
            failures: 0,
        };
        Ok(Self {
            hash: hash_key(&address.url),
            client,
            retry_after_most: options.retry_after_most,
            state: Mutex::new(state),
        })
    }

    pub(super) fn url(&self) -> &str {
        self.client.base_url()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn outstanding(&self) -> u32 {
        self.state().outstanding
    }

    /// Less is better: the expected wait behind what is under way.
    pub(super) fn score(&self) -> f64 {
        let state = self.state();
        state.average * f64::from(state.outstanding + 1)
    }

    /// Whether it takes a request.
    pub(super) fn check(&self, now: Instant) -> Result<(), Refusal> {
        let state = self.state();
        if !state.is_healthy {
            return Err(Refusal { is_down: true, until: None });
        }
        if let Err(until) = state.breaker.check(now) {
            // While one is tried, the others wait for what comes of it.
            return Err(Refusal { is_down: until.is_some(), until });
        }
        match state.paused_until {
            Some(until) if now < until => Err(Refusal { is_down: false, until: Some(until) }),
            _ => Ok(()),
        }
    }

    /// Begins a request.
    pub(super) fn lease(this: &Arc<Self>, now: Instant, changed: &Arc<Notify>) -> Option<Lease> {
        let mut state = this.state();
        if !state.breaker.try_acquire(now) {
            return None;
        }
        state.outstanding += 1;
        drop(state);
        let (endpoint, changed) = (Arc::clone(this), Arc::clone(changed));
        Some(Lease { endpoint, changed, began: now, is_over: false })
    }

    /// Takes what a readiness check said; whether that is new.
    pub(super) fn set_healthy(&self, is_healthy: bool) -> bool {
        std::mem::replace(&mut self.state().is_healthy, is_healthy) != is_healthy
    }

    pub(super) fn metrics(&self, now: Instant) -> EndpointMetrics {
        let state = self.state();
        EndpointMetrics {
            url: self.url().to_owned(),
            breaker: state.breaker.state(now),
            is_healthy: state.is_healthy,
            outstanding: state.outstanding,
            response_time: Duration::try_from_secs_f64(state.average).unwrap_or_default(),
            requests: state.requests,
            failures: state.failures,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What it guards is never left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn average(&mut self, now: Instant, took: Duration) {
        let took = took.as_secs_f64();
        if self.average == 0.0 {
            (self.average, self.averaged_at) = (took, now);
            return;
        }
        let passed = now.saturating_duration_since(self.averaged_at).as_secs_f64();
        // A fast endpoint answers often: each answer counts by the time that it stands for.
        let passed = passed.max(took).max(1e-3);
        let kept = (-passed / AVERAGE_OVER.as_secs_f64()).exp();
        self.average = kept * self.average + (1.0 - kept) * took;
        self.averaged_at = now;
    }
}

/// The right to send one request to an endpoint. Dropped without a word it is as if never taken.
#[derive(Debug)]
pub struct Lease {
    endpoint: Arc<Endpoint>,
    changed: Arc<Notify>,
    began: Instant,
    is_over: bool,
}

impl Lease {
    /// What to send it with.
    pub fn client(&self) -> &Client {
        &self.endpoint.client
    }

    /// The URL of the endpoint.
    pub fn url(&self) -> &str {
        self.endpoint.url()
    }

    /// A good answer came, or one that refuses what was sent.
    pub fn succeeded(self) {
        self.end(|state, now, took| {
            state.breaker.succeeded();
            state.average(now, took);
        });
    }

    /// The request failed. A server that answers 429, or that the events are wrong, works: only no
    /// answer, one of the 5xx or one that makes no sense is a failure to the breaker. `pause` is
    /// how long nothing is to be sent there (`Retry-After`).
    pub fn failed(self, error: &ClientError, pause: Option<Duration>) {
        let pause = pause.map(|pause| pause.min(self.endpoint.retry_after_most));
        let is_failure = is_failure(error);
        self.end(|state, now, took| {
            if is_failure {
                state.failures += 1;
                state.breaker.failed(now);
            } else {
                state.breaker.succeeded();
            }
            state.average(now, took);
            state.paused_until = state.paused_until.max(pause.map(|pause| now + pause));
        });
    }

    fn end(mut self, note: impl FnOnce(&mut State, Instant, Duration)) {
        self.is_over = true;
        let now = Instant::now();
        let mut state = self.endpoint.state();
        state.requests += 1;
        note(&mut state, now, now.saturating_duration_since(self.began));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.endpoint.state();
        state.outstanding = state.outstanding.saturating_sub(1);
        if !self.is_over {
            state.breaker.given_up();
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

fn is_failure(error: &ClientError) -> bool {
    match error {
        ClientError::Problem { problem, .. } => problem.status >= 500,
        ClientError::UnexpectedStatus { status, .. } => *status >= 500,
        ClientError::InvalidUrl { .. }
        | ClientError::InvalidHeader { .. }
        | ClientError::InvalidKey
        | ClientError::InvalidCertificates { .. } => false,
        ClientError::Connect { .. }
        | ClientError::Interrupted { .. }
        | ClientError::Timeout { .. }
        | ClientError::UnexpectedBody { .. } => true,
    }
}
