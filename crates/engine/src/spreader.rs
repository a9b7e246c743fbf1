//! Hot items: a sample of what gateways take, and the thread that spreads the hottest over several
//! partitions, and no more when they have cooled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::hot::{HeavyHitters, HotItems, Round};
use model::limits::ROUTING_VERSIONS_AUTOMATIC_MAX;
use parking_lot::Mutex;

use crate::background::Background;
use crate::ports::{Clock, ErrorKind, PortError};
use crate::routing::Routing;

/// One event of so many is looked at: what matters here comes by the thousand.
const SAMPLE: u64 = 16;
/// Counters of the sketch: an item with a five-hundredth of all events has one for sure.
const COUNTERS: usize = 512;
/// How long a round is.
const ROUND: Duration = Duration::from_secs(10);

/// How hot items are: filled by a gateway, emptied once a round.
#[derive(Debug)]
pub struct Heat {
    sketch: Mutex<HeavyHitters>,
    /// Events of all requests, so that small ones are sampled evenly too.
    seen: AtomicU64,
}

/// What one request has of the sample.
#[derive(Debug)]
pub(crate) struct Sampled {
    begun_at: u64,
    seen: u64,
    items: Vec<Box<str>>,
}

impl Sampled {
    pub(crate) fn see(&mut self, item: &str) {
        if (self.begun_at + self.seen).is_multiple_of(SAMPLE) {
            self.items.push(item.into());
        }
        self.seen += 1;
    }
}

impl Heat {
    /// Of nothing yet. The seed is random in production, so that no client can choose items that
    /// collide.
    pub fn new(seed: u64) -> Self {
        Self { sketch: Mutex::new(HeavyHitters::new(COUNTERS, seed)), seen: AtomicU64::new(0) }
    }

    pub(crate) fn begin(&self) -> Sampled {
        Sampled { begun_at: self.seen.load(Ordering::Relaxed), seen: 0, items: Vec::new() }
    }

    pub(crate) fn end(&self, sampled: &Sampled) {
        self.seen.fetch_add(sampled.seen, Ordering::Relaxed);
        if sampled.items.is_empty() {
            return;
        }
        let mut sketch = self.sketch.lock();
        sampled.items.iter().for_each(|item| sketch.add(item, SAMPLE));
    }

    /// What came in since this was called before, and begins anew.
    fn take(&self, millis: u64) -> Round {
        let (events, items) = self.sketch.lock().take();
        Round { millis, events, items }
    }
}

/// The thread that spreads hot items.
pub struct Spreader(Background);

impl Spreader {
    /// Starts the thread. `hot` decides: of all events, or of a part, where other gateways see the
    /// rest.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        routing: Arc<Routing>,
        heat: Arc<Heat>,
        clock: Arc<dyn Clock>,
        mut hot: HotItems,
    ) -> Result<Self, PortError> {
        let thread = Background::start("spread", move |stopping| {
            let mut begun = clock.now().monotonic_ms;
            while !stopping.wait(ROUND) {
                let now = clock.now().monotonic_ms;
                let millis = u64::try_from(now - begun).unwrap_or(0);
                begun = now;
                match spread(&routing, &heat, &mut hot, millis) {
                    Ok(()) => {}
                    // By the next round its version is known here too.
                    Err(error) if error.kind == ErrorKind::Conflict => tracing::info!(
                        "somebody else has changed the routing; hot items are judged again"
                    ),
                    Err(error) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "hot items cannot be spread now"
                    ),
                }
            }
        });
        thread.map(Self)
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// One round: what came in for so many milliseconds, and a version where that asks for one.
///
/// # Errors
/// Where the version cannot be published; the next rounds see.
pub fn spread(
    routing: &Routing,
    heat: &Heat,
    hot: &mut HotItems,
    millis: u64,
) -> Result<(), PortError> {
    let round = heat.take(millis);
    let table = routing.table()?;
    let changes = hot.judge(&round, &table);
    if changes.is_empty() {
        return Ok(());
    }
    if table.versions().len() >= ROUTING_VERSIONS_AUTOMATIC_MAX {
        let context = "the routing table has so many versions that the rest is left to people";
        return Err(PortError::new(ErrorKind::Invalid, context));
    }
    for change in &changes {
        tracing::info!(subject = ?change.subject, rule = ?change.rule, "an item is hot, or no more");
    }
    routing.change(changes, None, Some(table.version())).map(drop)
}
