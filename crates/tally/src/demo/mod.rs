//! A lively made-up stream for a server, so that a newcomer sees everything move: videos with
//! titles, a few of which have most of the views, two days of history with a daily wave, and one
//! video that goes viral. It talks to the server over HTTP as any client does.

mod catalog;
mod stream;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use api::client::Client;
use bytes::Bytes;

pub(crate) use catalog::{VIDEOS, Video, videos};
pub(crate) use stream::VIRAL_RANK;
use stream::{Body, History, Live, TICK};

use crate::import::{FileReport, SendOptions, Sender};

/// A stream that is so far behind, on a machine that slept or is busy, does not catch up.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// How long the stream waits for the days before to be there.
const HEAD_START: Duration = Duration::from_secs(3);
/// How long a request is tried again: a full disk does not get better.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// What to send, and where.
#[derive(Clone, Debug)]
pub(crate) struct DemoOptions {
    pub(crate) url: String,
    pub(crate) seed: u64,
    /// Events a second, without those of the viral video.
    pub(crate) rate: f64,
    /// Whether the days before are made up too: not twice in one folder.
    pub(crate) with_history: bool,
    /// The wall clock, in epoch milliseconds.
    pub(crate) now_ms: fn() -> u64,
}

/// How far a demo is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Events accepted as they happened.
    pub(crate) live: AtomicU64,
    /// Events accepted of the days before.
    pub(crate) history: AtomicU64,
    /// All events of the days before; 0 until that is known.
    pub(crate) history_all: AtomicU64,
}

/// Sends for as long as it is polled.
///
/// # Errors
/// When the server refuses events for good, or stays away.
pub(crate) async fn play(
    options: &DemoOptions,
    videos: &[Video],
    progress: &Progress,
) -> anyhow::Result<()> {
    let send_options = SendOptions {
        batch_events: 0,
        in_flight: 1,
        compress: false,
        retry_for: RETRY_FOR,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(500),
    };
    let sender = Sender::new(Client::new(&options.url)?, send_options);
    sender.client.send_items(Bytes::from(catalog::ndjson(videos))).await?;
    let started_ms = (options.now_ms)();
    let past = async {
        if options.with_history {
            let history = History::new(options.seed, videos, options.rate, started_ms);
            progress.history_all.store(history.events, Ordering::Relaxed);
            for body in history {
                settle(&sender, body, &progress.history).await?;
            }
        }
        anyhow::Ok(())
    };
    let live = async {
        let live = Live::new(options.seed, videos, options.rate, started_ms);
        keep_up(live, &sender, options.now_ms, &progress.live).await
    };
    // As one burst before the stream, where the machine is up to it: it would dwarf the stream.
    let mut past = std::pin::pin!(past);
    match tokio::time::timeout(HEAD_START, &mut past).await {
        Ok(sent) => {
            sent?;
            live.await
        }
        Err(_) => futures::try_join!(past, live).map(|((), ())| ()),
    }
}

/// Sends each tick when it is due.
async fn keep_up(
    mut live: Live,
    sender: &Sender,
    now_ms: fn() -> u64,
    accepted: &AtomicU64,
) -> anyhow::Result<()> {
    let mut due = Instant::now();
    loop {
        let now = Instant::now();
        if now.saturating_duration_since(due) > BEHIND_MAX {
            due = now;
        }
        tokio::time::sleep_until(due.into()).await;
        due += TICK;
        settle(sender, live.tick(now_ms()), accepted).await?;
    }
}

async fn settle(sender: &Sender, body: Body, accepted: &AtomicU64) -> anyhow::Result<()> {
    if body.events == 0 {
        return Ok(());
    }
    let lines = (1..=body.events).collect();
    let sent = sender.settle(body.bytes.into(), lines, FileReport::default(), |_| {}).await?;
    if let Some((code, refused)) = sent.refused.iter().next() {
        let detail = refused.examples.first().map_or("", |example| &example.detail);
        anyhow::bail!("the server refuses the demo's events: {code}: {detail}");
    }
    accepted.fetch_add(body.events, Ordering::Relaxed);
    Ok(())
}
