//! `GET /v1/items/{item}/live`: the total of an item and type, pushed when it changes.
//!
//! Listeners of the same number share one task that looks at it four times a second: first whether
//! anything was counted in its partitions at all, which costs nothing, and only then what the total is.
//! A task ends with its last listener. Nothing is pinned between two looks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::{LiveCount, ProblemCode};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::query::Query;
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Routes;
use super::items::item_of;
use super::params::Params;
use super::problem::Failure;

/// How often a number is looked at, and pushed at most.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long nothing may be sent: a connection whose other end has gone is found out, and proxies do
/// not give it up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Most listeners at a time. Each holds a connection, of which more than half stay for others where
/// `connections_max` is what it is by default; should each listen to another number, all looks
/// together take a fifth of a core.
const LISTENERS_MAX: usize = 4_000;

/// What is listened to: an item and an event type.
type Topic = (String, String);
type Counts = watch::Sender<LiveCount>;

/// All that is listened to.
pub(crate) struct Live {
    query: Arc<Query>,
    topics: Mutex<HashMap<Topic, Counts>>,
    listeners: Arc<AtomicUsize>,
    /// True once the server stops.
    stopping: watch::Sender<bool>,
}

/// A place among the listeners, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a listener holds.
struct Listener {
    counts: watch::Receiver<LiveCount>,
    stopping: watch::Receiver<bool>,
    is_first: bool,
    _place: Place,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, live: &Arc<Live>) -> Routes {
    routes.add("/v1/items/{item}/live", &["GET"], get(listen).with_state(live.clone()))
}

async fn listen(
    State(live): State<Arc<Live>>,
    item: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let item = item_of(item)?;
    let params = Params::of(params.as_deref(), &["type"])?;
    let listener = live.subscribe((item, params.event_type()?))?;
    let kept = KeepAlive::new().interval(HEARTBEAT).text("alive");
    let mut response = Sse::new(events(listener)).keep_alive(kept).into_response();
    // nginx would hold events back to fill its buffer.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
    Ok(response)
}

/// The events of a listener: the newest count each time, however many it has missed.
fn events(listener: Listener) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold(listener, |mut listener| async move {
        if !listener.is_first {
            tokio::select! {
                // Ready also where the number is no longer looked at, or the server has gone.
                _ = listener.stopping.wait_for(|is_stopping| *is_stopping) => return None,
                changed = listener.counts.changed() => changed.ok()?,
            }
        }
        listener.is_first = false;
        let event = {
            let count = listener.counts.borrow_and_update();
            let data = serde_json::to_string(&*count).expect("a count is plain data");
            Event::default().event("count").data(data)
        };
        Some((Ok(event), listener))
    })
}

impl Live {
    pub(crate) fn new(query: Arc<Query>) -> Arc<Self> {
        let (topics, listeners) = Default::default();
        Arc::new(Self { query, topics, listeners, stopping: watch::Sender::new(false) })
    }

    /// Ends all streams, and takes no more listeners.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Number of listeners now.
    pub(super) fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }

    fn subscribe(self: &Arc<Self>, topic: Topic) -> Result<Listener, Failure> {
        if *self.stopping.borrow() {
            return Err(Failure::new(ProblemCode::NotReady, "the server is stopping"));
        }
        if self.listeners.fetch_add(1, Ordering::Relaxed) >= LISTENERS_MAX {
            self.listeners.fetch_sub(1, Ordering::Relaxed);
            let detail = format!("{LISTENERS_MAX} clients are listening, and no more can");
            return Err(Failure::new(ProblemCode::Overloaded, detail));
        }
        let place = Place(self.listeners.clone());
        // Before the lock, as others wait for it.
        let is_new = !self.topics.lock().contains_key(&topic);
        let seen = self.query.progress(&topic.0);
        let first = is_new.then(|| self.look(&topic)).transpose()?;
        let counts = match self.topics.lock().entry(topic) {
            Entry::Occupied(topic) => topic.get().subscribe(),
            Entry::Vacant(place) => {
                let first = match first {
                    Some(first) => first,
                    // Everybody has left it in between.
                    None => self.look(place.key())?,
                };
                let (sender, receiver) = watch::channel(first);
                let (topic, live) = (place.key().clone(), self.clone());
                place.insert(sender.clone());
                tokio::spawn(async move { live.follow(topic, sender, seen).await });
                receiver
            }
        };
        let stopping = self.stopping.subscribe();
        Ok(Listener { counts, stopping, is_first: true, _place: place })
    }

    fn look(&self, (item, event_type): &Topic) -> Result<LiveCount, Failure> {
        let ask = || self.query.count(item, event_type, None);
        // A server has several threads, and others take over what waits on this one.
        let afar = self.query.reads_afar();
        let counted = if afar { tokio::task::block_in_place(ask) } else { ask() }?;
        Ok(LiveCount {
            item: item.clone(),
            event_type: event_type.clone(),
            count: counted.summary.count,
            as_of: counted.quality.as_of.to_string(),
        })
    }

    /// Looks at a number until nobody listens to it, the server stops, or there is no answer: then
    /// its streams end, and who listens anew is told why.
    async fn follow(&self, topic: Topic, counts: Counts, mut seen: u64) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is due at once, and the number is fresh.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            {
                let mut topics = self.topics.lock();
                if counts.receiver_count() == 0 || *self.stopping.borrow() {
                    topics.remove(&topic);
                    return;
                }
            }
            let progress = self.query.progress(&topic.0);
            // A partition that has stopped makes no progress, and would stand still without a word.
            if progress == seen && self.query.ready().is_ok() {
                continue;
            }
            let Ok(count) = self.look(&topic) else {
                self.topics.lock().remove(&topic);
                return;
            };
            seen = progress;
            counts.send_if_modified(|newest| {
                let is_new = newest.count != count.count;
                *newest = count;
                is_new
            });
        }
    }
}
