//! Rates as token buckets, each one number: when the bucket is full again.
//!
//! A bucket holds what comes in a second, and at least one. Requests cost one. Events cost their number,
//! known only when a body has been read: a batch that is larger than the bucket passes when the bucket is
//! full, and what it took too much has to come in before the next. A bucket that is full again is the same
//! as none, so it is forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use engine::ports::Clock;
use parking_lot::Mutex;

use super::{Caller, KeyId, address};

const SECOND_NS: u64 = 1_000_000_000;
/// Buckets are spread over so many locks.
const SHARDS: usize = 16;
/// Most buckets behind a lock: some 15 MB in all, at most, for each of events and requests.
const SHARD_BUCKETS_MAX: usize = 8 << 10;

/// How long until the same would pass, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(u64);

impl Wait {
    /// As `Retry-After` says it: whole seconds, at least one.
    pub(super) fn seconds(self) -> u64 {
        self.0.div_ceil(SECOND_NS).max(1)
    }
}

/// Whom a bucket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Key(KeyId),
    Address(IpAddr),
}

/// A bucket owner with its rates, a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    owner: Owner,
    events: Option<u64>,
    requests: Option<u64>,
}

/// See the module.
pub(super) struct Limits {
    events: Option<u64>,
    requests: Option<u64>,
    clock: Arc<dyn Clock>,
    event_buckets: Buckets,
    request_buckets: Buckets,
}

impl Limits {
    /// With the rates of keys that have none of their own, and of addresses.
    pub(super) fn new(events: Option<u64>, requests: Option<u64>, clock: Arc<dyn Clock>) -> Self {
        let (event_buckets, request_buckets) = (Buckets::new(), Buckets::new());
        Self { events, requests, clock, event_buckets, request_buckets }
    }

    /// Whether addresses are limited.
    pub(super) fn has_defaults(&self) -> bool {
        self.events.is_some() || self.requests.is_some()
    }

    /// Who pays: the key; the address where there is none, and where the key is public and so in
    /// everybody's hands.
    pub(super) fn accounts(&self, caller: Option<&Caller>, client: Option<IpAddr>) -> Vec<Account> {
        let mut accounts = Vec::new();
        if let Some(caller) = caller {
            // Of a public key all its users together only have what was given to it by name.
            let defaults =
                if caller.is_public { (None, None) } else { (self.events, self.requests) };
            accounts.push(Account {
                owner: Owner::Key(caller.id),
                events: caller.rates.events.or(defaults.0),
                requests: caller.rates.requests.or(defaults.1),
            });
        }
        if caller.is_none_or(|caller| caller.is_public)
            && let Some(client) = client
        {
            let owner = Owner::Address(address::group(client));
            accounts.push(Account { owner, events: self.events, requests: self.requests });
        }
        accounts.retain(|account| account.events.is_some() || account.requests.is_some());
        accounts
    }

    /// Takes one request.
    pub(super) fn charge_request(&self, accounts: &[Account]) -> Result<(), Wait> {
        let rates = accounts.iter().filter_map(|account| Some((account.owner, account.requests?)));
        self.charge(&self.request_buckets, rates, 1)
    }

    /// Takes so many events.
    pub(super) fn charge_events(&self, accounts: &[Account], events: u64) -> Result<(), Wait> {
        let rates = accounts.iter().filter_map(|account| Some((account.owner, account.events?)));
        self.charge(&self.event_buckets, rates, events)
    }

    /// Refuses whoever could not send a single event now, before a body is read.
    pub(super) fn owes_events(&self, accounts: &[Account]) -> Result<(), Wait> {
        let now = self.now_ns();
        let mut rates =
            accounts.iter().filter_map(|account| Some((account.owner, account.events?)));
        rates.try_for_each(|(owner, rate)| self.event_buckets.look(owner, rate, 1, now))
    }

    /// Takes from all or from none. Two requests at the same time may both be let in where only one had
    /// room: what they took too much has to come in first.
    fn charge(
        &self,
        buckets: &Buckets,
        rates: impl Iterator<Item = (Owner, u64)> + Clone,
        tokens: u64,
    ) -> Result<(), Wait> {
        let now = self.now_ns();
        rates.clone().try_for_each(|(owner, rate)| buckets.look(owner, rate, tokens, now))?;
        rates.for_each(|(owner, rate)| buckets.take(owner, rate, tokens, now));
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.clock.now().monotonic_ms).unwrap_or(0).saturating_mul(1_000_000)
    }
}

/// Buckets by owner: the moment at which each is full.
struct Buckets {
    hasher: RandomState,
    shards: [Mutex<HashMap<Owner, u64>>; SHARDS],
}

impl Buckets {
    fn new() -> Self {
        Self { hasher: RandomState::new(), shards: Default::default() }
    }

    fn shard(&self, owner: &Owner) -> &Mutex<HashMap<Owner, u64>> {
        let at = self.hasher.hash_one(owner) % SHARDS as u64;
        &self.shards[at as usize]
    }

    /// Whether so many tokens can be taken.
    fn look(&self, owner: Owner, rate: u64, tokens: u64, now: u64) -> Result<(), Wait> {
        let full_at = self.shard(&owner).lock().get(&owner).copied().unwrap_or(0);
        let backlog = full_at.saturating_sub(now);
        let room = room_ns(rate);
        match backlog.saturating_add(cost_ns(tokens, rate).min(room)).checked_sub(room) {
            None | Some(0) => Ok(()),
            Some(wait) => Err(Wait(wait)),
        }
    }

    /// Takes them, room or not.
    fn take(&self, owner: Owner, rate: u64, tokens: u64, now: u64) {
        let mut buckets = self.shard(&owner).lock();
        if buckets.len() >= SHARD_BUCKETS_MAX && !buckets.contains_key(&owner) {
            make_room(&mut buckets, now);
        }
        let full_at = buckets.entry(owner).or_insert(0);
        *full_at = (*full_at).max(now).saturating_add(cost_ns(tokens, rate));
    }
}

/// How long the tokens of a bucket take to come in.
fn room_ns(rate: u64) -> u64 {
    SECOND_NS.max(cost_ns(1, rate))
}

/// How long so many tokens take to come in, rounded up.
fn cost_ns(tokens: u64, rate: u64) -> u64 {
    tokens.saturating_mul(SECOND_NS).div_ceil(rate.max(1))
}

/// Forgets the buckets that are full, and when those are few, the eighth that is nearest to it: whoever
/// owes least gains least.
fn make_room(buckets: &mut HashMap<Owner, u64>, now: u64) {
    buckets.retain(|_, full_at| *full_at > now);
    let least = SHARD_BUCKETS_MAX - SHARD_BUCKETS_MAX / 8;
    if buckets.len() <= least {
        return;
    }
    let mut times: Vec<_> = buckets.values().copied().collect();
    let (_, limit, _) = times.select_nth_unstable(SHARD_BUCKETS_MAX / 8 - 1);
    let limit = *limit;
    buckets.retain(|_, full_at| *full_at > limit);
}

#[cfg(test)]
mod tests;
