//! Sends one request until there is a verdict: chooses an endpoint, judges the answer, waits and
//! tries again within the budget.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::retry::{Backoff, Jitter};
use super::super::{ClientError, NDJSON, SourceStamp};
use super::Shared;
use super::metrics::add;
use super::receipt::LostReason;
use crate::{AcceptedAnswer, RejectedEvent};

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) body: Bytes,
    pub(super) events: u64,
    /// For balancing by a hash.
    pub(super) key: u64,
    pub(super) stamp: Option<SourceStamp<'a>>,
}

/// What a server said of a request's events.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The events that it refused for good, and the places of those to send again; the others are
    /// accepted.
    Judged { rejected: Vec<RejectedEvent>, again: Vec<u64> },
    /// It will never take any of them as they are.
    Refused { code: String, detail: String },
}

/// Why a request was given up.
#[derive(Debug)]
pub(super) enum GaveUp {
    /// Every endpoint is down.
    Down,
    /// It lasted too long, or the tracker is closed.
    Ended(LostReason),
}

/// The attempts of one request, or of what is left of it.
pub(super) struct Delivery<'a> {
    shared: &'a Shared,
    /// How long it is tried again; none: for ever.
    retry_for: Option<Duration>,
    /// It is given up as soon as every endpoint is down.
    gives_way: bool,
    backoff: Backoff,
    failing_since: Option<Instant>,
    attempts: u64,
    /// The endpoint and the code of the last failure.
    last: Option<(String, String)>,
    /// Whether an attempt may have been carried out without an answer.
    pub(super) may_be_counted: bool,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(shared: &'a Shared, retry_for: Option<Duration>, gives_way: bool) -> Self {
        let options = &shared.options;
        let backoff = Backoff::new(options.first_wait, options.longest_wait, Jitter::random());
        Self {
            shared,
            retry_for,
            gives_way,
            backoff,
            failing_since: None,
            attempts: 0,
            last: None,
            may_be_counted: false,
        }
    }

    /// Counts the time for retries from the next failure.
    pub(super) fn begin_again(&mut self) {
        self.failing_since = None;
        self.backoff.reset();
    }

    /// Sends until a server has judged. Where events are to be sent again, call it again: it waits
    /// before it sends.
    pub(super) async fn send(&mut self, request: &Request<'_>) -> Result<Verdict, GaveUp> {
        loop {
            match self.attempt(request).await? {
                Ok(Verdict::Judged { rejected, again }) if !again.is_empty() => {
                    let wait = self.backoff.next_wait(None);
                    self.wait(Instant::now() + wait).await?;
                    return Ok(Verdict::Judged { rejected, again });
                }
                Ok(verdict) => return Ok(verdict),
                Err(wait) => self.wait(Instant::now() + wait).await?,
            }
        }
    }

    /// One attempt, as soon as an endpoint and the budget allow it. The error is how long to wait
    /// before the next.
    async fn attempt(
        &mut self,
        request: &Request<'_>,
    ) -> Result<Result<Verdict, Duration>, GaveUp> {
        let shared = self.shared;
        if shared.is_closed() {
            return Err(GaveUp::Ended(LostReason::Closed));
        }
        let avoid = self.last.as_ref().map(|(url, _)| url.as_str());
        // Before it looks, so that no change is missed.
        let changed = shared.endpoints.changed();
        let lease = match shared.endpoints.pick(request.key, avoid) {
            Ok(lease) => lease,
            Err(none) if none.is_down && self.gives_way => return Err(GaveUp::Down),
            Err(none) => {
                self.check_time(Instant::now())?;
                tokio::select! {
                    () = changed => return Ok(Err(Duration::ZERO)),
                    () = tokio::time::sleep_until(none.until) => return Ok(Err(Duration::ZERO)),
                    () = shared.closed() => return Err(GaveUp::Ended(LostReason::Closed)),
                }
            }
        };
        if let Err(wait) = shared.pay(self.attempts > 0) {
            return Ok(Err(wait));
        }
        shared.counters.count_request(request.events, self.attempts > 0);
        self.attempts += 1;
        let sending =
            lease.client().send_stamped(NDJSON, request.body.clone(), None, request.stamp);
        let answer = tokio::select! {
            answer = sending => answer,
            () = shared.closed() => {
                self.may_be_counted = true;
                return Err(GaveUp::Ended(LostReason::Closed));
            }
        };
        match answer.and_then(|answer| check(answer, request.events, lease.url())) {
            Ok(answer) => {
                lease.succeeded();
                let (again, rejected): (Vec<_>, Vec<_>) =
                    answer.rejected.into_iter().partition(|event| event.retryable);
                if let Some(first) = again.first() {
                    self.failed_at("", &first.code);
                }
                self.may_be_counted |= again.iter().any(|event| event.code == "outcome_unknown");
                let again = again.into_iter().map(|event| event.index).collect();
                Ok(Ok(Verdict::Judged { rejected, again }))
            }
            Err(error) if is_temporary(&error) || self.keeps_on_after(&error) => {
                self.may_be_counted |= !matches!(error, ClientError::Connect { .. });
                self.failed_at(lease.url(), error.code());
                let wait = self.backoff.next_wait(None);
                // The jitter comes on top of what was asked for; another endpoint need not wait so
                // long.
                lease.failed(&error, error.retry_after().map(|asked| asked.saturating_add(wait)));
                Ok(Err(wait))
            }
            Err(error) => {
                let (code, detail) = (error.code().to_owned(), error.to_string());
                lease.failed(&error, None);
                Ok(Ok(Verdict::Refused { code, detail }))
            }
        }
    }

    /// What is tried for ever was said to be safe: a revoked key or a wrong path is no verdict on it,
    /// and can be mended. Only the server's own word on the events is.
    fn keeps_on_after(&self, error: &ClientError) -> bool {
        let is_verdict = matches!(
            error,
            ClientError::Problem { problem, .. } if matches!(problem.status, 400 | 413 | 422)
        );
        self.retry_for.is_none() && !is_verdict
    }

    fn failed_at(&mut self, url: &str, code: &str) {
        self.failing_since.get_or_insert_with(Instant::now);
        self.last = Some((url.to_owned(), code.to_owned()));
    }

    /// Waits until then, unless the time for retries would be over, or that for closing is.
    async fn wait(&mut self, until: Instant) -> Result<(), GaveUp> {
        self.check_time(until)?;
        tokio::select! {
            () = tokio::time::sleep_until(until) => Ok(()),
            () = self.shared.closed() => Err(GaveUp::Ended(LostReason::Closed)),
        }
    }

    fn check_time(&mut self, until: Instant) -> Result<(), GaveUp> {
        // Counted from the first failure: a slow request is not a failing one.
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let is_over = self.retry_for.is_some_and(|most| until > since + most);
        let code = || self.last.as_ref().map_or("no_endpoint", |(_, code)| code).to_owned();
        match is_over {
            true => Err(GaveUp::Ended(LostReason::RetriesEnded { code: code() })),
            false => Ok(()),
        }
    }
}

/// An answer whose numbers do not add up was not made for this request.
fn check(answer: AcceptedAnswer, events: u64, url: &str) -> Result<AcceptedAnswer, ClientError> {
    let is_sound = answer.accepted.checked_add(answer.rejected.len() as u64) == Some(events)
        && answer.rejected.iter().all(|event| event.index < events);
    if is_sound {
        return Ok(answer);
    }
    Err(ClientError::UnexpectedBody {
        url: url.to_owned(),
        body: format!("{} accepted and {} rejected", answer.accepted, answer.rejected.len()),
        source: serde::de::Error::custom(format!("the request had {events} events")),
    })
}

/// Whether the same events, with the same ids, are to be sent again: also after an answer that a
/// broken server or something between gave, for it says nothing of the events.
fn is_temporary(error: &ClientError) -> bool {
    match error {
        ClientError::Problem { problem, .. } => error.is_retryable() || problem.status >= 500,
        ClientError::UnexpectedStatus { status, .. } => error.is_retryable() || *status >= 500,
        ClientError::UnexpectedBody { .. } => true,
        _ => error.is_retryable(),
    }
}

impl super::metrics::Counters {
    fn count_request(&self, events: u64, is_retry: bool) {
        add(&self.requests, 1);
        add(&self.sent, events);
        if is_retry {
            add(&self.retries, 1);
            add(&self.retried, events);
        }
    }
}
