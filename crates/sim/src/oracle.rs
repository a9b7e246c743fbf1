//! What must be true, in the fewest lines: what clients sent, what the log was seen to hold, and
//! the definition of a duplicate over that. Shares no code with the counting it judges.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use model::record::{Record, split};
use model::{Batch, Granularity, Minute, Retention, Summary, TimeRange, TimestampMs, Value};

/// One event that clients sent, however often.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Idempotency key; neighbours share one and differ in their item.
    pub(crate) id: String,
    /// Which item.
    pub(crate) item: String,
    /// When it says it happened.
    pub(crate) time: TimestampMs,
    /// Its value.
    pub(crate) value: Option<Value>,
    /// Which source sends it, and with which sequence; none is sent without a stamp.
    pub(crate) stamp: Option<(usize, i64)>,
    /// The earliest log time at which it can have been appended; none before the first delivery.
    pub(crate) since: Option<TimestampMs>,
    /// Whether a server said that it is durable.
    pub(crate) acknowledged: bool,
    /// Whether the client heard that.
    pub(crate) known: bool,
    /// Whether it was refused for its time, and its source went on; it may send it again.
    pub(crate) given_up: bool,
    in_log: bool,
    counted: bool,
}

impl Sent {
    /// An event that was not sent yet.
    pub(crate) fn new(id: String, item: String, time: TimestampMs, value: Option<Value>) -> Self {
        let (acknowledged, known, in_log, counted) = (false, false, false, false);
        let (stamp, since, given_up) = (None, None, false);
        Self { id, item, time, value, stamp, since, acknowledged, known, given_up, in_log, counted }
    }
}

/// A record that was seen below the durable offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    append_time: TimestampMs,
    /// The event and which delivery brought it; none for a control record.
    event: Option<(usize, u64)>,
    counts: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// Length of the dedup window in minutes.
    window_minutes: i64,
    retention: Retention,
    /// Everything that clients sent.
    pub(crate) sent: Vec<Sent>,
    logs: Vec<Vec<Seen>>,
    /// Deliveries that the log promised not to have written, by event.
    not_written: BTreeSet<(usize, u64)>,
    /// Append minute of each event's newest record, by partition.
    newest: BTreeMap<(usize, usize), i64>,
    highest: BTreeMap<String, u64>,
}

impl Oracle {
    /// Of an empty log.
    pub(crate) fn new(partitions: u16, window_minutes: u32, retention: Retention) -> Self {
        Self {
            window_minutes: i64::from(window_minutes),
            retention,
            sent: Vec::new(),
            logs: vec![Vec::new(); usize::from(partitions)],
            not_written: BTreeSet::new(),
            newest: BTreeMap::new(),
            highest: BTreeMap::new(),
        }
    }

    /// The first offset of a partition that was not seen durable.
    pub(crate) fn durable(&self, partition: usize) -> u64 {
        self.logs[partition].len() as u64
    }

    /// Number of records seen in all partitions.
    pub(crate) fn records(&self) -> u64 {
        self.logs.iter().map(|log| log.len() as u64).sum()
    }

    /// Number of those that repeat another within the window.
    pub(crate) fn duplicates(&self) -> u64 {
        let repeats = |seen: &&Seen| seen.event.is_some() && !seen.counts;
        self.logs.iter().flatten().filter(repeats).count() as u64
    }

    /// An event's delivery is durable, its server says: then it can be read.
    pub(crate) fn acknowledge(&mut self, event: usize, delivery: u64) -> Result<()> {
        self.sent[event].acknowledged = true;
        let is_it = |seen: &Seen| seen.event == Some((event, delivery));
        let is_there = self.logs.iter().any(|log| log.iter().rev().any(is_it));
        ensure!(is_there, "event {event} was acknowledged and is not below the durable offset");
        Ok(())
    }

    /// An event's delivery was not written and never will be, its server says.
    pub(crate) fn promise_unwritten(&mut self, event: usize, delivery: u64) -> Result<()> {
        let is_there = |seen: &Seen| seen.event == Some((event, delivery));
        ensure!(
            !self.logs.iter().flatten().any(is_there),
            "event {event} was said not to be written, but the log has it"
        );
        self.not_written.insert((event, delivery));
        Ok(())
    }

    /// Takes a batch that the log gave out: what was seen before must be the same, what is new
    /// must have been sent.
    pub(crate) fn observe(
        &mut self,
        partition: usize,
        batch: &Batch<impl AsRef<[u8]>>,
    ) -> Result<()> {
        let base = batch.base_offset.0 as usize;
        let mut records = split(batch.payload.as_ref());
        for at in base..base + batch.record_count as usize {
            let event = match records.next().filter(|_| !batch.is_control) {
                Some(bytes) => Some(self.origin(bytes?)?),
                None => None,
            };
            ensure!(event.is_some() || batch.is_control, "a batch has not the records it says");
            match self.logs[partition].get(at) {
                Some(seen) => ensure!(
                    (seen.append_time, seen.event) == (batch.append_time, event),
                    "partition {partition} held {seen:?} at offset {at}, and now {event:?}"
                ),
                None => {
                    ensure!(at == self.logs[partition].len(), "a gap before offset {at}");
                    self.add(partition, batch.append_time, event)?;
                }
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        partition: usize,
        append_time: TimestampMs,
        event: Option<(usize, u64)>,
    ) -> Result<()> {
        let last = self.logs[partition].last().map(|seen| seen.append_time);
        ensure!(last <= Some(append_time), "append time went back in partition {partition}");
        let mut counts = false;
        if let Some((number, delivery)) = event {
            ensure!(
                !self.not_written.contains(&(number, delivery)),
                "event {number} was said not to be written, but came into the log"
            );
            let minute = append_time.0.div_euclid(60_000);
            let before = self.newest.insert((partition, number), minute);
            let Some(sent) = self.sent.get_mut(number) else { bail!("nobody sent {number}") };
            // An event has one item, and so one partition.
            let is_new = sent.stamp.is_none() || !sent.in_log;
            counts = is_new && before.is_none_or(|before| before < minute - self.window_minutes);
            let Some(since) = sent.since else { bail!("{number} was not delivered yet") };
            let since = since.min(append_time);
            sent.since = Some(since);
            let is_late =
                sent.stamp.is_none() && append_time.0 - since.0 > self.window_minutes * 60_000;
            ensure!(!counts || !sent.counted || is_late, "event {number} counts twice");
            sent.in_log = true;
            sent.counted |= counts;
        }
        self.logs[partition].push(Seen { append_time, event, counts });
        Ok(())
    }

    /// What an item's minutes must be once a partition is counted up to an offset.
    pub(crate) fn minutes(
        &self,
        partition: usize,
        next_offset: u64,
        item: &str,
    ) -> BTreeMap<Minute, Summary> {
        let mut minutes: BTreeMap<Minute, Summary> = BTreeMap::new();
        for seen in self.logs[partition].iter().take(next_offset as usize) {
            let Some((number, _)) = seen.event.filter(|_| seen.counts) else { continue };
            let event = &self.sent[number];
            if event.item == item {
                let minute = Minute((event.time.0 / 60_000) as u32);
                let micros = event.value.map(Value::micros);
                let values = minutes.entry(minute).or_default();
                values.count += 1;
                if let Some(micros) = micros {
                    values.value_count += 1;
                    values.sum += i128::from(micros);
                    values.min = values.min.min(micros);
                    values.max = values.max.max(micros);
                }
            }
        }
        minutes
    }

    /// Where minutes and hours begin to be kept, once a partition is counted up to an offset. Every
    /// log begins with what is to be kept.
    pub(crate) fn horizons(&self, partition: usize, next_offset: u64) -> Kept {
        let seen = &self.logs[partition][..next_offset as usize];
        let newest = seen.last().map_or(0, |seen| seen.append_time.0);
        let from = |retention_ms: i64, bucket: i64| {
            newest.saturating_sub(retention_ms).max(0) / 60_000 / bucket * bucket
        };
        Kept {
            minutes_from: from(self.retention.minute_ms(), 60),
            hours_from: from(self.retention.hour_ms(), 24 * 60),
        }
    }

    /// Everything appended before the time that an answer names is in it.
    pub(crate) fn check_as_of(
        &self,
        partition: usize,
        next_offset: u64,
        as_of: TimestampMs,
    ) -> Result<()> {
        let missing = self.logs[partition].get(next_offset as usize);
        ensure!(
            missing.is_none_or(|seen| seen.append_time >= as_of),
            "an answer as of {as_of:?} lacks {missing:?}"
        );
        Ok(())
    }

    /// A question was answered: numbers never go down.
    pub(crate) fn told(&mut self, item: &str, count: u64) -> Result<()> {
        let highest = self.highest.entry(item.to_owned()).or_default();
        ensure!(count >= *highest, "the total of {item} went down from {highest} to {count}");
        *highest = count;
        Ok(())
    }

    /// Every acknowledged event is in the log, once at least.
    pub(crate) fn check_acknowledged(&self) -> Result<()> {
        for (number, event) in self.sent.iter().enumerate() {
            ensure!(
                !event.acknowledged || (event.in_log && event.counted),
                "event {number} was acknowledged and is lost: {event:?}"
            );
        }
        Ok(())
    }

    /// Which event a record is, and which delivery brought it: both travel as attributes.
    fn origin(&self, bytes: &[u8]) -> Result<(usize, u64)> {
        let record = Record::read(bytes)?;
        let attributes = record.attributes().collect::<Vec<_>>();
        let [("event", event), ("delivery", delivery)] = attributes[..] else {
            bail!("the log holds a record that nobody sent: {record:?}")
        };
        let (event, delivery): (usize, u64) = (event.parse()?, delivery.parse()?);
        let stamp = self.sent.get(event).and_then(|sent| sent.stamp);
        let name = stamp.map(|(source, sequence)| (source_name(source), sequence));
        let expected = name.as_ref().map(|(name, sequence)| (name.as_str(), *sequence));
        ensure!(record.source == expected, "the stamp of {record:?} is not {expected:?}");
        Ok((event, delivery))
    }
}

/// The first minute whose minutes, and whose hours, are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    minutes_from: i64,
    hours_from: i64,
}

impl Kept {
    /// Minutes in the shortest bucket that is kept at a minute.
    fn bucket(self, minute: Minute) -> u32 {
        let minute = i64::from(minute.0);
        match () {
            () if minute >= self.minutes_from => 1,
            () if minute >= self.hours_from => 60,
            () => 24 * 60,
        }
    }

    /// The finest that is kept from a minute on.
    pub(crate) fn finest(self, from: Minute) -> Granularity {
        match self.bucket(from) {
            1 => Granularity::Minute,
            60 => Granularity::Hour,
            _ => Granularity::Day,
        }
    }

    /// A range as it can be told.
    pub(crate) fn rounded(self, range: TimeRange) -> TimeRange {
        let last = Minute(range.end.0 - 1);
        let (down, up) = (self.bucket(range.start), self.bucket(last));
        TimeRange {
            start: Minute(range.start.0 / down * down),
            end: Minute((last.0 / up + 1) * up),
        }
    }

    /// Numbers by the buckets that are kept.
    pub(crate) fn coarsened(
        self,
        minutes: &BTreeMap<Minute, Summary>,
    ) -> BTreeMap<Minute, Summary> {
        gathered(minutes, |minute| self.bucket(minute))
    }

    /// Numbers by the longest of the buckets that are kept from a minute on.
    pub(crate) fn series(
        self,
        from: Minute,
        minutes: &BTreeMap<Minute, Summary>,
    ) -> BTreeMap<Minute, Summary> {
        gathered(minutes, |_| self.bucket(from))
    }
}

fn gathered(
    minutes: &BTreeMap<Minute, Summary>,
    bucket: impl Fn(Minute) -> u32,
) -> BTreeMap<Minute, Summary> {
    let mut all: BTreeMap<Minute, Summary> = BTreeMap::new();
    for (minute, summary) in minutes {
        let start = minute.0 / bucket(*minute) * bucket(*minute);
        all.entry(Minute(start)).or_default().add(summary);
    }
    all
}

/// The name of a source.
pub(crate) fn source_name(source: usize) -> String {
    format!("source-{source}")
}
