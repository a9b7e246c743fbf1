//! How a tracker works, and why it does not start.

use std::path::PathBuf;
use std::time::Duration;

use super::super::ClientError;
use super::super::endpoints::{EndpointOptions, Target};
use super::super::retry::RetryBudgetOptions;
use super::super::spool::SpoolError;

/// How a tracker works. The defaults suit most; set what does not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TrackerOptions {
    /// Where events go, with breakers, timeouts and balancing.
    pub endpoints: EndpointOptions,
    /// Places in the buffer: how many events may be without a verdict. An event takes a place for
    /// each KiB that it begins, so this bounds memory too. Default: 100,000.
    pub buffer_places: usize,
    /// Events in a request, at most 100,000. Default: 1,000.
    pub batch_events: usize,
    /// Bytes in a request, at most 8 MiB. Default: 512 KiB, below what proxies take by default.
    pub batch_bytes: usize,
    /// The longest that an event waits for others to go with. Default: 50 ms.
    pub linger: Duration,
    /// Requests under way at once. Default: 4.
    pub in_flight: usize,
    /// The longest random wait before the first retry; it doubles from retry to retry. Default: 100 ms.
    pub first_wait: Duration,
    /// The longest random wait before any retry. Default: 10 s.
    pub longest_wait: Duration,
    /// What may be repeated. Default: 20 % and one a second.
    pub retry_budget: RetryBudgetOptions,
    /// How long a request is tried again before it is spooled or lost. Without a spool it must be
    /// shorter than the dedup window of the server, 10 minutes by default: what is repeated later
    /// would count twice. Default: 60 s.
    pub retry_for: Duration,
    /// Where events go while every endpoint is down; none: they wait in the buffer for `retry_for`
    /// and are lost then. Default: none.
    pub spool: Option<SpoolOptions>,
}

/// Where and how much a tracker spools.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// The folder: of one tracker at a time.
    pub folder: PathBuf,
    /// The most bytes in it, at least 1 MiB; beyond them events wait in the buffer. Default: 1 GiB.
    pub max_bytes: u64,
}

/// Why a tracker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A server cannot be used.
    #[error(transparent)]
    Endpoints(#[from] ClientError),
    /// The spool cannot be opened.
    #[error("cannot open the spool")]
    Spool(#[from] SpoolError),
    /// An option is out of bounds.
    #[error("{name} must be {allowed}")]
    Option {
        /// Which one.
        name: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
}

impl TrackerOptions {
    /// The defaults with these servers, such as `["http://10.0.0.7:8080"]`.
    pub fn new(targets: impl IntoIterator<Item = impl Into<Target>>) -> Self {
        Self {
            endpoints: EndpointOptions::new(targets),
            buffer_places: 100_000,
            batch_events: 1_000,
            batch_bytes: 512 << 10,
            linger: Duration::from_millis(50),
            in_flight: 4,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(10),
            retry_budget: RetryBudgetOptions::default(),
            retry_for: Duration::from_secs(60),
            spool: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), StartError> {
        let holds = |is_good, name, allowed| match is_good {
            true => Ok(()),
            false => Err(StartError::Option { name, allowed }),
        };
        // The largest event takes some 35 places; a semaphore counts more than the most.
        let places = 64..=1 << 30;
        holds(places.contains(&self.buffer_places), "buffer_places", "from 64 to 2^30")?;
        let batch = (1..=100_000).contains(&self.batch_events);
        holds(batch, "batch_events", "from 1 to 100,000")?;
        let bytes = (1..=8 << 20).contains(&self.batch_bytes);
        holds(bytes, "batch_bytes", "from 1 to 8 MiB")?;
        holds((1..=1_000).contains(&self.in_flight), "in_flight", "from 1 to 1,000")?;
        let room = self.spool.as_ref().is_none_or(|spool| spool.max_bytes >= 1 << 20);
        holds(room, "spool.max_bytes", "at least 1 MiB")?;
        // A request has to fit into a segment's share of the room.
        let fits = |spool: &SpoolOptions| self.batch_bytes as u64 <= spool.max_bytes / 2;
        let fits = self.spool.as_ref().is_none_or(fits);
        holds(fits, "spool.max_bytes", "at least twice batch_bytes")
    }
}

impl SpoolOptions {
    /// Up to 1 GiB in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), max_bytes: 1 << 30 }
    }
}
