//! The thread that counts files: one after the other in the order in which the log names them.
//!
//! Live events go first: it has the least share of the processor, and waits while a partition is
//! behind or the gateway takes nothing.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::BulkState;
use engine::admission::Refusal;
use engine::gateway::{Outcome, SourceStamp};
use engine::ports::PortError;
use engine::processor::PartitionStatus;
use futures::executor::block_on;
use model::{BulkEntry, BulkId, Offset};

use super::object::ObjectFile;
use super::{BulkLane, How, INTERVAL, Progress, log_ends};
use crate::http::events::read::{IdSource, Intake, Verdicts, ndjson};
use crate::http::events::stamp::RESERVED_PREFIX;
use crate::import::{Reader, Source};

/// Events that are sent together.
const BATCH_EVENTS: usize = 2_000;
/// Bytes after which a batch is sent, full or not.
const BATCH_BYTES: usize = 4 << 20;
/// Records after which a batch is sent, however many of them are events.
const BATCH_RECORDS: u64 = 20_000;
/// While a partition has so many records to count, it waits.
const LAG_MAX: u64 = 100_000;
/// How long it waits for live events at a time.
const GIVE_WAY: Duration = Duration::from_millis(50);
/// Longest wait before a batch that was not taken is sent again.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often progress is stored.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// What a compressed file may become, in any case and for each byte: more is no usual file.
const EXPANDED_BYTES: u64 = 1 << 30;
const EXPANSION: u64 = 1_000;

/// Why work on a file ended before its end.
enum Ended {
    /// The server stops.
    Stopping,
    /// The object store does not answer.
    Away,
    /// The file cannot be read on.
    Failed(String),
}

impl BulkLane {
    /// `leftovers` are the files that lay there before anybody could send one, `counted_from` is
    /// where the log of partition 0 ended then.
    pub(super) fn run(&self, mut leftovers: Vec<String>, counted_from: Offset) {
        while !self.is_stopping() {
            let next = self.refresh().map(|()| self.next());
            match next {
                Ok(Some(entry)) => {
                    self.work_on(&entry);
                    continue;
                }
                Ok(None) => self.remove_leftovers(&mut leftovers, counted_from),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the bulk lane waits for its files"
                ),
            }
            self.pause(INTERVAL);
        }
    }

    /// The oldest file that is not settled.
    fn next(&self) -> Option<BulkEntry> {
        let jobs = self.jobs.lock();
        let open = jobs.values().filter(|job| !job.progress.state.is_final());
        open.min_by_key(|job| job.entry.offset).map(|job| job.entry.clone())
    }

    /// Removes, once after a start, what no open job needs: files of settled jobs, and those whose
    /// name never came into the log.
    fn remove_leftovers(&self, names: &mut Vec<String>, counted_from: Offset) {
        let is_counted = |status: &PartitionStatus| status.next_offset >= counted_from;
        let is_replayed = || self.processors.status().first().is_some_and(is_counted);
        // What the log names is known only now.
        if names.is_empty() || !is_replayed() || self.refresh().is_err() {
            return;
        }
        let jobs = self.jobs.lock();
        let open = jobs.values().filter(|job| !job.progress.state.is_final());
        let needed: BTreeSet<String> = open.map(|job| job.entry.object.object.clone()).collect();
        drop(jobs);
        for name in std::mem::take(names) {
            if !needed.contains(&name) {
                let _ = self.objects.delete(&name);
            }
        }
    }

    fn work_on(&self, entry: &BulkEntry) {
        let id = entry.object.id;
        let known = self.jobs.lock().get(&id).map(|job| job.progress.clone());
        let mut progress = known.unwrap_or_default();
        progress.state = BulkState::Running;
        let worked = catch_unwind(AssertUnwindSafe(|| self.work(entry, &mut progress)));
        match worked.unwrap_or_else(|_| Err(Ended::Failed("the file cannot be read".into()))) {
            Ok(()) => progress.state = BulkState::Done,
            Err(Ended::Failed(detail)) => {
                tracing::warn!(%id, detail, "a file of the bulk lane failed");
                progress.state = BulkState::Failed;
                progress.detail = Some(detail);
            }
            Err(Ended::Away) => return self.pause(INTERVAL),
            Err(Ended::Stopping) => {
                let _ = self.save(id, &mut progress);
                return;
            }
        }
        // The file goes only once its end is stored.
        while self.save(id, &mut progress).is_err() {
            if self.is_stopping() {
                return;
            }
            self.pause(INTERVAL);
        }
        self.tell(id, &progress);
        let _ = self.objects.delete(&entry.object.object);
    }

    fn save(&self, id: BulkId, progress: &mut Progress) -> Result<(), PortError> {
        progress.log_ends = log_ends(&self.processors);
        progress.save(&*self.objects, id)
    }

    fn tell(&self, id: BulkId, progress: &Progress) {
        if let Some(job) = self.jobs.lock().get_mut(&id) {
            job.progress = progress.clone();
        }
    }

    /// Sends the events of a file from where its progress is.
    fn work(&self, entry: &BulkEntry, progress: &mut Progress) -> Result<(), Ended> {
        let object = &entry.object;
        let how: How = serde_json::from_str(&object.how)
            .map_err(|error| Ended::Failed(format!("how it is read is not known: {error}")))?;
        let options = how.options().map_err(Ended::Failed)?;
        let file = ObjectFile::new(self.objects.clone(), &object.object, object.bytes);
        let ended = |error: anyhow::Error| match file.was_away() {
            true => Ended::Away,
            false => Ended::Failed(format!("{error:#}")),
        };
        let most = EXPANDED_BYTES.max(object.bytes.saturating_mul(EXPANSION));
        let source = Source::of_object("the file", file.clone(), file.reader(), most);
        let source = source.map_err(ended)?;
        let read_bytes = source.read_bytes.clone();
        let mut reader = Reader::new(source, &options).map_err(ended)?;
        let mut batch = Batch::default();
        let mut events = 0;
        for _ in 0..progress.report.records {
            batch.body.clear();
            let Some(record) = reader.next(&mut batch.body).map_err(ended)? else { break };
            events += u64::from(record.result.is_ok());
        }
        let mut saved = Instant::now();
        loop {
            let end = batch.fill(&mut reader);
            let (sent, bytes_read) = (batch.lines.len() as u64, read_bytes.load(Ordering::Relaxed));
            // What came before a damage is good.
            self.settle(object.id, events, &mut batch)?;
            events += sent;
            progress.report.merge(std::mem::take(&mut batch.report));
            progress.bytes_read = bytes_read.min(object.bytes);
            self.tell(object.id, progress);
            if end.map_err(ended)? {
                progress.bytes_read = object.bytes;
                return Ok(());
            }
            if saved.elapsed() >= SAVE_INTERVAL {
                saved = Instant::now();
                if let Err(error) = self.save(object.id, progress) {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "progress of the bulk lane is not stored");
                }
            }
        }
    }

    /// Sends a batch until it is settled; `first` is how many events of the file come before it.
    fn settle(&self, id: BulkId, first: u64, batch: &mut Batch) -> Result<(), Ended> {
        let mut wait = GIVE_WAY;
        while !batch.lines.is_empty() {
            self.give_way()?;
            if let Some((verdicts, outcome)) = self.attempt(id, first, &batch.body) {
                if let Some(hear) = self.judged.get() {
                    hear(&outcome, &verdicts.rejections);
                }
                batch.report.accepted += outcome.accepted;
                for rejection in verdicts.rejections {
                    let line = batch.lines.get(rejection.index as usize).copied().unwrap_or(0);
                    let detail = rejection.fault.detail.into_owned();
                    batch.report.refused.add(rejection.fault.code.as_str(), line, detail);
                }
                return Ok(());
            }
            self.pause(wait);
            wait = (wait * 2).min(RETRY_MAX);
        }
        Ok(())
    }

    /// Sends a batch once; none where all of it is to be sent again.
    fn attempt(&self, id: BulkId, first: u64, body: &[u8]) -> Option<(Verdicts, Outcome)> {
        let first = i64::try_from(first).ok()?;
        let stamp = SourceStamp { source: format!("{RESERVED_PREFIX}{id}"), first };
        let refused = |refusal: &Refusal| {
            tracing::debug!(%id, error = refusal as &dyn std::error::Error, "a file waits");
        };
        let mut batch = self.gateway.begin_stamped(stamp).inspect_err(refused).ok()?;
        let mut intake = Intake::new(&mut batch, IdSource::random());
        ndjson::read(body, &mut intake).ok()?;
        let verdicts = intake.finish();
        let outcome = block_on(batch.commit()).ok()?;
        outcome.failed.is_empty().then_some((verdicts, outcome))
    }

    /// Waits while live events wait to be counted.
    fn give_way(&self) -> Result<(), Ended> {
        loop {
            if self.is_stopping() {
                return Err(Ended::Stopping);
            }
            if self.processors.status().iter().all(|status| status.lag < LAG_MAX) {
                return Ok(());
            }
            self.pause(GIVE_WAY);
        }
    }
}

/// Some records of a file.
#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    /// The line of the file of each event.
    lines: Vec<u64>,
    report: crate::import::FileReport,
}

impl Batch {
    /// Reads records until it is full; whether the file has ended.
    fn fill(&mut self, reader: &mut Reader) -> anyhow::Result<bool> {
        self.body.clear();
        self.lines.clear();
        while self.lines.len() < BATCH_EVENTS
            && self.body.len() < BATCH_BYTES
            && self.report.records < BATCH_RECORDS
        {
            let Some(record) = reader.next(&mut self.body)? else { return Ok(true) };
            self.report.records += 1;
            self.report.line = record.line;
            match record.result {
                Ok(()) => self.lines.push(record.line),
                Err(refusal) => self.report.refused.add(refusal.code, record.line, refusal.detail),
            }
        }
        Ok(false)
    }
}
