//! Reports, `top` and `trending` against sums over a plain list of events, whatever was flushed or
//! folded meanwhile and however little is still kept.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use engine::admission::Admission;
use engine::conformance::mem_store::{FlushFailure, MemStore};
use engine::ports::{AppendPart, Clock, ErrorKind, EventLog, LogBounds, PartResult, PortError};
use engine::processor::{ProcessorSettings, Stepped};
use engine::query::{CounterPart, CounterScope, Query};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::append_time::{ClockReading, ImplausibleClock};
use model::bucket::{DAY_MS, HOUR_MS, MINUTE_MS};
use model::control::Control;
use model::{
    Batch, Event, Granularity, Horizons, Minute, Offset, PartitionId, RecordBuf, Retention,
    RoutingTable, Summary, TimeRange, TimestampMs, Value,
};
use parking_lot::Mutex;
use proptest::prelude::*;

pub(super) const PARTITIONS: u16 = 2;
const ITEMS: [&str; 5] = ["a", "ab", "b/ü", "c?#", "d"];
const TYPES: [&str; 3] = ["like", "view", "view.x"];
pub(super) const FIRST_MINUTE: u32 = 29_000_000;

/// A log that is fed from outside.
#[derive(Default)]
pub(super) struct FedLog {
    ends: [AtomicU64; PARTITIONS as usize],
    /// What was fed, for who starts anew.
    fed: Mutex<Vec<Batch<Bytes>>>,
    now_ms: AtomicI64,
}

impl FedLog {
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub(super) fn pass_ms(&self, millis: i64) {
        self.now_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for FedLog {
    fn now(&self) -> ClockReading {
        let wall = TimestampMs(self.now_ms.load(Ordering::Relaxed));
        ClockReading { wall, monotonic_ms: wall.0 }
    }
}

impl EventLog for FedLog {
    fn partitions(&self) -> u16 {
        PARTITIONS
    }

    fn append(&self, _: Vec<AppendPart>) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        unreachable!("batches are handed to the processors")
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        let is_asked =
            |batch: &&Batch<Bytes>| batch.partition == partition && batch.next_offset() > from;
        let fed: Vec<_> = self.fed.lock().iter().filter(is_asked).cloned().collect();
        match fed.is_empty() {
            true => futures::future::pending().boxed(),
            false => futures::future::ready(Ok(fed)).boxed(),
        }
    }

    fn bounds(&self, partition: PartitionId) -> LogBounds {
        let end = self.ends[usize::from(partition.0)].load(Ordering::Relaxed);
        LogBounds { log_epoch: 1, start_offset: Offset(0), durable_offset: Offset(end) }
    }

    fn trim(&self, _: PartitionId, _: Offset) -> Result<(), PortError> {
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        Ok(TimestampMs(self.now_ms.load(Ordering::Relaxed)))
    }
}

/// One event: item, type, so many minutes ago, value.
type Sent = (usize, usize, u32, Option<i64>);

#[derive(Clone, Debug)]
pub(super) enum Step {
    Count(Vec<Sent>),
    /// So many minutes pass.
    Wait(u32),
    /// Minutes, and hours beyond them, are kept for so long.
    Retention(u32, u32),
    Flush(u16),
    /// A flush that fails when some rows are written.
    FlushPartly(u16, u8),
    Fold(u16),
}

pub(super) struct World {
    pub(super) log: Arc<FedLog>,
    pub(super) store: Arc<MemStore>,
    pub(super) stepped: Stepped,
    query: Query,
    /// Item, type, minute and value of all that was counted.
    events: Vec<(usize, usize, u32, Option<i64>)>,
    ids: u64,
}

/// Processors on what log and store have.
fn opened(log: &Arc<FedLog>, store: &Arc<MemStore>) -> Stepped {
    let settings = ProcessorSettings {
        flush_interval_ms: 1_000,
        table_cells_max: usize::MAX,
        known_bytes_max: 64 << 10,
        hash_keys: (1, 2),
        dedup_minutes: 10,
    };
    let admission = Arc::new(Admission::new(PARTITIONS, 1 << 30));
    Stepped::open(log.clone(), store.clone(), log.clone(), admission, settings).expect("it opens")
}

impl World {
    pub(super) fn new() -> Self {
        let log = Arc::new(FedLog::default());
        log.now_ms.store(i64::from(FIRST_MINUTE) * MINUTE_MS + 1, Ordering::Relaxed);
        let store = Arc::new(MemStore::new());
        let stepped = opened(&log, &store);
        let query = Query::new(stepped.processors(), DAY_MS);
        Self { log, store, stepped, query, events: Vec::new(), ids: 0 }
    }

    fn now(&self) -> u32 {
        (self.log.now_ms.load(Ordering::Relaxed) / MINUTE_MS) as u32
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Wait(minutes) => {
                self.log.now_ms.fetch_add(i64::from(minutes) * MINUTE_MS, Ordering::Relaxed);
            }
            Step::Retention(minutes, more) => {
                let millis = |minutes: u32| i64::from(minutes) * MINUTE_MS;
                let kept = Retention::new(millis(minutes), millis(minutes + more)).expect("longer");
                for partition in (0..PARTITIONS).map(PartitionId) {
                    self.append(partition, Control::Retention(kept).payload(), 1, true);
                }
            }
            Step::Flush(partition) => self.stepped.flush(PartitionId(partition)).expect("a flush"),
            Step::FlushPartly(partition, which) => {
                if self.stepped.freeze(PartitionId(partition)).is_some() {
                    self.store.fail_flush(0, FlushFailure::Partly(which));
                    let failed = self.stepped.flush(PartitionId(partition));
                    assert_eq!(failed.expect_err("as ordered").kind, ErrorKind::Unavailable);
                }
            }
            Step::Fold(partition) => self.stepped.fold(PartitionId(partition)).expect("folding"),
            Step::Count(events) => self.count(events),
        }
    }

    fn count(&mut self, sent: Vec<Sent>) {
        let routing = RoutingTable::first(PARTITIONS);
        let mut records: BTreeMap<PartitionId, RecordBuf> = BTreeMap::new();
        for (item, event_type, ago, micros) in sent {
            self.ids += 1;
            let minute = self.now() - ago;
            let event = Event {
                id: self.ids.to_string().into(),
                item: ITEMS[item].into(),
                event_type: TYPES[event_type].into(),
                time: Minute(minute).start(),
                value: micros.map(|micros| Value::from_micros(micros).expect("small")),
                attributes: Vec::new(),
            };
            records.entry(routing.route_first(ITEMS[item])).or_default().push(&event);
            self.events.push((item, event_type, minute, micros));
        }
        for (partition, records) in records {
            let count = records.record_count();
            self.append(partition, records.into_payload(), count, false);
        }
    }

    pub(super) fn append(
        &mut self,
        id: PartitionId,
        payload: Vec<u8>,
        record_count: u32,
        is_control: bool,
    ) {
        let end = &self.log.ends[usize::from(id.0)];
        let base_offset = Offset(end.fetch_add(u64::from(record_count), Ordering::Relaxed));
        let batch = Batch {
            partition: id,
            log_epoch: 1,
            base_offset,
            record_count,
            append_time: TimestampMs(self.log.now_ms.load(Ordering::Relaxed)),
            is_control,
            payload: Bytes::from(payload),
        };
        self.log.fed.lock().push(batch.clone());
        self.stepped.apply(id, &[batch]).expect("it comes next");
    }

    /// As a process that was killed and started again: what was not flushed is counted again.
    pub(super) fn restart(&mut self) {
        self.stepped = opened(&self.log, &self.store);
        self.query = Query::new(self.stepped.processors(), DAY_MS);
        for id in (0..PARTITIONS).map(PartitionId) {
            let from = self.stepped.next_offset(id);
            let is_left =
                |batch: &&Batch<Bytes>| batch.partition == id && batch.base_offset >= from;
            let left: Vec<_> = self.log.fed.lock().iter().filter(is_left).cloned().collect();
            self.stepped.apply(id, &left).expect("it comes next");
        }
    }

    /// The first offset after a partition's log.
    pub(super) fn end_of(&self, id: PartitionId) -> u64 {
        self.log.ends[usize::from(id.0)].load(Ordering::Relaxed)
    }

    /// The sum of what is picked.
    fn sum(&self, pick: impl Fn(usize, usize, u32) -> bool) -> Summary {
        let picked =
            self.events.iter().filter(|(item, kind, minute, _)| pick(*item, *kind, *minute));
        let of = |micros: &Option<i64>| Summary::of(micros.map(|m| Value::from_micros(m).unwrap()));
        picked.map(|(_, _, _, micros)| of(micros)).collect::<Vec<_>>().iter().sum()
    }

    fn check_report(&self, asked: &[usize], hours: u32) -> Result<(), TestCaseError> {
        let end = TimestampMs(self.query.now().0 + 1).ceil(HOUR_MS);
        let start = TimestampMs(end.0 - i64::from(hours) * HOUR_MS);
        let names: Vec<&str> = asked.iter().map(|item| ITEMS[*item]).collect();
        let range = TimeRange::covering(start, end);
        let report = self.query.report(&names, "view", range).expect("an answer");
        let processors = self.stepped.processors();
        let horizons = processors.status().into_iter().map(|p| p.horizons);
        // Those of partitions that were asked; a partition without an item may be further.
        let newest = horizons.fold(Horizons::default(), Horizons::newest).hour().minute();
        prop_assert!(
            report.range.start >= range.start && report.range.start <= newest.max(range.start)
        );
        prop_assert_eq!(report.range.end, range.end);
        let within = |minute: u32| report.range.contains(Minute(minute));
        for (time, summary) in &report.series {
            let hour = time.minute().0;
            let of_hour = |minute: u32| (hour..hour + 60).contains(&minute);
            let expected = self
                .sum(|item, kind, minute| asked.contains(&item) && kind == 1 && of_hour(minute));
            prop_assert_eq!(summary, &expected, "{}", time);
        }
        prop_assert_eq!(report.series.len() as u32 * 60, report.range.end.0 - report.range.start.0);
        let total =
            self.sum(|item, kind, minute| asked.contains(&item) && kind == 1 && within(minute));
        prop_assert_eq!(report.total, total);
        for (item, count) in asked.iter().zip(&report.by_item) {
            let expected =
                self.sum(|other, kind, minute| other == *item && kind == 1 && within(minute));
            prop_assert_eq!(*count, expected.count);
        }
        let mut totals: Vec<(String, Summary)> = (0..TYPES.len())
            .map(|kind| {
                (TYPES[kind].to_owned(), self.sum(|i, k, _| asked.contains(&i) && k == kind))
            })
            .filter(|(_, sum)| sum.count > 0)
            .collect();
        totals.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
        prop_assert_eq!(report.totals, totals);
        Ok(())
    }

    fn check_trending(&self, minutes: u32, limit: usize) -> Result<(), TestCaseError> {
        let trending = self.query.trending("view", minutes, limit).expect("an answer");
        let (window, before_start) = (trending.window, trending.before_start);
        prop_assert!(window.contains(Minute(self.now())));
        prop_assert!(window.end.0 - window.start.0 >= minutes);
        let length = window.start.0 - before_start.0;
        prop_assert!((minutes..=minutes + 2 * 24 * 60).contains(&length), "{length} minutes");
        let mut expected = Vec::new();
        for (item, name) in ITEMS.iter().enumerate() {
            let within = |start: Minute, end: Minute| {
                let is_in = |minute: u32| (start.0..end.0).contains(&minute);
                self.sum(|other, kind, minute| other == item && kind == 1 && is_in(minute)).count
            };
            let count = within(window.start, window.end);
            let before = within(before_start, window.start);
            let passed = trending.quality.as_of.0 - window.start.start().0;
            let passed = (passed.max(MINUTE_MS) as f64) / MINUTE_MS as f64;
            let length = f64::from(length);
            let chance =
                before as f64 * passed.min(f64::from(window.end.0 - window.start.0)) / length;
            let score = (count as f64 - chance) / (chance + 10.0).sqrt();
            if score > 1e-9 {
                expected.push((*name, count, before, score));
            }
        }
        let found: Vec<_> = trending.items.iter().filter(|row| row.score > 1e-9).collect();
        prop_assert_eq!(found.len(), expected.len().min(limit));
        for row in &found {
            let same = expected.iter().find(|other| other.0 == row.item);
            let (_, count, before, score) = same.expect("it was counted");
            prop_assert_eq!((row.count, row.before), (*count, *before), "{}", row.item);
            prop_assert!((row.score - score).abs() < 1e-6, "{} is not {score}", row.score);
        }
        prop_assert!(trending.items.is_sorted_by(|a, b| a.score >= b.score));
        let worst = found.last().map_or(f64::INFINITY, |row| row.score);
        let is_left_out = |name: &str| found.iter().all(|row| row.item != name);
        for (name, _, _, score) in expected.iter().filter(|other| is_left_out(other.0)) {
            prop_assert!(*score <= worst + 1e-9, "{name} was left out");
        }
        Ok(())
    }

    fn check_totals(&self) -> Result<(), TestCaseError> {
        // In any order, also one that is not there and one twice.
        let asked = [4, 0, 2, 0, 1, 3];
        let mut names: Vec<&str> = asked.iter().map(|item| ITEMS[*item]).collect();
        names.push("none");
        let (totals, _) = self.query.totals(&names, "view").expect("an answer");
        let of = |item: &usize| self.sum(|other, kind, _| other == *item && kind == 1);
        let expected: Vec<_> = asked.iter().map(of).chain([Summary::EMPTY]).collect();
        prop_assert_eq!(totals, expected);
        Ok(())
    }

    /// Counts, series, their parts and what is scanned, of each item alone.
    fn check_items(&self, minutes: u32) -> Result<(), TestCaseError> {
        let end = Minute(self.now() + 1);
        let range = TimeRange { start: Minute(end.0 - minutes), end };
        for (at, item) in ITEMS.iter().enumerate() {
            let of = |range: Option<TimeRange>| {
                let is_in = |minute: u32| range.is_none_or(|range| range.contains(Minute(minute)));
                self.sum(|other, kind, minute| other == at && kind == 1 && is_in(minute))
            };
            for asked in [None, Some(range)] {
                let counted = self.query.count(item, "view", asked).expect("an answer");
                prop_assert_eq!(counted.summary, of(counted.range));
                let explained = self.query.explain(item, "view", asked).expect("an answer");
                let parts = explained.partitions.iter().flat_map(|partition| {
                    let rows = partition.rows.iter().map(|part| &part.summary);
                    rows.chain(partition.memory.iter().map(|part| &part.summary))
                });
                prop_assert_eq!(parts.sum::<Summary>(), of(counted.range));
            }
            let step = Granularity::Hour;
            let series = self.query.series(item, "view", range, step).expect("an answer");
            prop_assert_eq!(series.total, of(Some(series.range)));
            let points: Vec<Summary> = series.points.iter().map(|(_, summary)| *summary).collect();
            prop_assert_eq!(points.iter().sum::<Summary>(), series.total);
            for item in [Some((*item).to_owned()), None] {
                let event_type = Some("view".to_owned());
                let scope = CounterScope { range: TimeRange::ALL, event_type, item };
                let mut scanned = Summary::EMPTY;
                let mut each = |part: &CounterPart<'_>| {
                    if part.item == ITEMS[at] {
                        scanned.add(part.summary);
                    }
                    ControlFlow::Continue(())
                };
                self.query.scan(&scope, &mut |_| (), &mut each).expect("a scan");
                prop_assert_eq!(scanned, of(None));
            }
        }
        Ok(())
    }

    fn check_top(&self, minutes: u32) -> Result<(), TestCaseError> {
        let end = Minute(self.now() + 1);
        let range = TimeRange { start: Minute(end.0 - minutes), end };
        let top = self.query.top("view", range, 3).expect("an answer");
        let counted = (0..ITEMS.len()).map(|item| {
            let of = |other, kind, minute| {
                other == item && kind == 1 && top.range.contains(Minute(minute))
            };
            (ITEMS[item].to_owned(), self.sum(of).count)
        });
        let mut expected: Vec<_> = counted.filter(|(_, count)| *count > 0).collect();
        expected.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        expected.truncate(3);
        prop_assert_eq!(top.items, expected);
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let ago = prop_oneof![6 => 0u32..3, 3 => 0u32..200, 2 => 0u32..9_000];
    let value = proptest::option::of(-1_000_000i64..1_000_000);
    let sent = (0..ITEMS.len(), 0..TYPES.len(), ago, value);
    prop_oneof![
        6 => proptest::collection::vec(sent, 1..20).prop_map(Step::Count),
        3 => (1u32..90).prop_map(Step::Wait),
        1 => (1_000u32..3_000).prop_map(Step::Wait),
        1 => (0u32..300, 0u32..4_000).prop_map(|(minutes, more)| Step::Retention(minutes, more)),
        3 => (0..PARTITIONS).prop_map(Step::Flush),
        2 => (0..PARTITIONS, any::<u8>()).prop_map(|(p, which)| Step::FlushPartly(p, which)),
        1 => (0..PARTITIONS).prop_map(Step::Fold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn equal_the_sums_of_the_events(
        steps in proptest::collection::vec(step(), 1..25),
        asked in proptest::sample::subsequence((0..ITEMS.len()).collect::<Vec<_>>(), 0..=ITEMS.len()),
        hours in prop_oneof![1u32..30, 100u32..200],
        minutes in prop_oneof![1u32..150, 1_000u32..6_000],
        limit in 1usize..7,
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check_report(&asked, hours)?;
            world.check_trending(minutes, limit)?;
            world.check_top(minutes)?;
            world.check_totals()?;
            world.check_items(minutes)?;
        }
    }
}
