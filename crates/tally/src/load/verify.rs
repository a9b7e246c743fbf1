//! The check at the end of a run: the exact number of different events of every item and type,
//! against what the server counts. What the server had before the run is taken off.

use std::time::{Duration, Instant};

use anyhow::Context;
use api::client::Client;
use serde::Serialize;

use super::generator::{EVENT_TYPES, Tracked, item_text};

/// The contract's bound on one call.
const ITEMS_A_CALL: usize = 500;
const PAUSE: Duration = Duration::from_millis(50);
/// How many mismatches are told one by one.
const TOLD: usize = 20;

/// What the check found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verification {
    /// Different events that must be counted.
    pub(crate) expected: u64,
    /// Counters compared.
    pub(crate) counters: u64,
    /// Counters that differ.
    pub(crate) mismatches: u64,
    /// The first of them.
    pub(crate) examples: Vec<Mismatch>,
    /// Events whose requests were given up; with any of these a mismatch proves nothing.
    pub(crate) unknown: u64,
}

/// A counter that is not as it must be.
#[derive(Debug, Serialize)]
pub(crate) struct Mismatch {
    pub(crate) item: String,
    #[serde(rename = "type")]
    pub(crate) event_type: &'static str,
    pub(crate) expected: u64,
    pub(crate) counted: u64,
}

impl Verification {
    pub(crate) fn is_exact(&self) -> bool {
        self.mismatches == 0 && self.unknown == 0
    }
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for m in &self.examples {
            writeln!(
                f,
                "  {} {}: {} expected, {} counted",
                m.item, m.event_type, m.expected, m.counted
            )?;
        }
        if self.unknown > 0 {
            writeln!(f, "  {} events have an unknown outcome: nothing is proved", self.unknown)?;
        }
        write!(
            f,
            "verify    {} events in {} counters: {}",
            self.expected,
            self.counters,
            if self.is_exact() {
                "all exact".to_owned()
            } else {
                format!("{} MISMATCHES", self.mismatches)
            }
        )
    }
}

/// Expected counts: per type, per rank.
#[derive(Debug)]
pub(super) struct Expected {
    counts: [Vec<u64>; EVENT_TYPES.len()],
    touched: [Vec<bool>; EVENT_TYPES.len()],
    events: u64,
}

impl Expected {
    /// What the server counts before the run. All items are asked for: which of them the run will
    /// draw is not known yet.
    pub(super) async fn baseline(client: &Client, items: u32) -> anyhow::Result<Self> {
        let ranks: Vec<u32> = (0..items).collect();
        let mut counts = std::array::from_fn(|_| vec![0; items as usize]);
        for (event_type, counts) in EVENT_TYPES.iter().zip(&mut counts) {
            for (rank, count) in ask(client, event_type, &ranks).await? {
                counts[rank as usize] = count;
            }
        }
        let touched = std::array::from_fn(|_| vec![false; items as usize]);
        Ok(Self { counts, touched, events: 0 })
    }

    /// Adds the events of an answered body; those in `rejected` (positions, rising) were not taken.
    pub(super) fn add(&mut self, events: &[Tracked], rejected: &[u64]) {
        for (index, event) in (0_u64..).zip(events) {
            if event.is_duplicate || rejected.binary_search(&index).is_ok() {
                continue;
            }
            let (event_type, rank) = (usize::from(event.event_type), event.rank as usize);
            self.counts[event_type][rank] += 1;
            self.touched[event_type][rank] = true;
            self.events += 1;
        }
    }

    /// Compares every touched counter, and asks again for those that are behind until they are
    /// there or patience ends.
    pub(super) async fn compare(
        self,
        client: &Client,
        unknown: u64,
        patience: Duration,
    ) -> anyhow::Result<Verification> {
        let mut found = Verification { expected: self.events, unknown, ..Default::default() };
        let deadline = Instant::now() + patience;
        for (index, event_type) in EVENT_TYPES.into_iter().enumerate() {
            let expected = &self.counts[index];
            let touched = (0_u32..).zip(&self.touched[index]);
            let mut open: Vec<u32> =
                touched.filter(|(_, is_touched)| **is_touched).map(|(rank, _)| rank).collect();
            found.counters += open.len() as u64;
            let different = loop {
                let mut different = ask(client, event_type, &open).await?;
                different.retain(|&(rank, count)| expected[rank as usize] != count);
                let is_behind = different.iter().any(|&(r, count)| count < expected[r as usize]);
                if !is_behind || Instant::now() >= deadline {
                    break different;
                }
                open = different.into_iter().map(|(rank, _)| rank).collect();
                tokio::time::sleep(PAUSE).await;
            };
            found.mismatches += different.len() as u64;
            let room = TOLD.saturating_sub(found.examples.len());
            found.examples.extend(different.into_iter().take(room).map(|(rank, counted)| {
                Mismatch {
                    item: item_text(rank),
                    event_type,
                    expected: expected[rank as usize],
                    counted,
                }
            }));
        }
        Ok(found)
    }
}

async fn ask(client: &Client, event_type: &str, ranks: &[u32]) -> anyhow::Result<Vec<(u32, u64)>> {
    let mut counts = Vec::with_capacity(ranks.len());
    for ranks in ranks.chunks(ITEMS_A_CALL) {
        let items: Vec<String> = ranks.iter().map(|&rank| item_text(rank)).collect();
        let answer = client
            .counts(event_type, items.iter().map(String::as_str))
            .await
            .context("cannot read the counts for --verify")?;
        anyhow::ensure!(answer.counts.len() == ranks.len(), "the server left out items");
        counts.extend(ranks.iter().copied().zip(answer.counts.iter().map(|row| row.count)));
    }
    Ok(counts)
}
