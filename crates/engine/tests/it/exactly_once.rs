//! Any sequence of events, duplicates, restarts and crashes at any flush gives the counters of a
//! ten-line oracle, at every moment and not only at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use engine::conformance::mem_store::{FlushFailure, MemStore};
use engine::ports::{Claim, CounterSnapshot, CounterStore, ErrorKind};
use engine::processor::{Counting, Frozen, KnownRows, Memory, ReadRow, flush, with_hours};
use engine::sources::SourceBook;
use model::bucket::MINUTE_MS;
use model::control::Control;
use model::recover::{LogFacts, resume};
use model::{
    Batch, BulkId, BulkObject, Cell, Correction, Corrections, Event, HourCell, Minute, Offset,
    PartitionId, RecordBuf, Refused, RefusedRanges, Retention, RowKey, SlotPlace, Summary,
    TimeRange, TimestampMs, Value,
};
use proptest::prelude::*;

const PARTITION: PartitionId = PartitionId(0);
const ITEMS: [&str; 3] = ["a", "b/ü", "c?#"];
const TYPES: [&str; 2] = ["view", "like"];
const SOURCES: [&str; 2] = ["s", "s 2"];
const FIRST_MINUTE: u32 = 29_000_000;
/// For so long a source is known.
const SOURCE_MINUTES: u32 = 30 * 24 * 60;
/// Some of them forget sources.
const FORGETTING: std::ops::Range<u32> = SOURCE_MINUTES - 3..SOURCE_MINUTES + 3;

/// One event as a client would send it.
#[derive(Clone, Debug)]
struct Sent {
    id: u8,
    item: usize,
    event_type: usize,
    minute: u32,
    value: Option<i64>,
    /// Which source, and the sequence.
    source: Option<(usize, i64)>,
}

#[derive(Clone, Debug)]
enum Step {
    /// So many minutes later, these are appended as one batch.
    Append(u32, Vec<Sent>),
    /// A record that nobody can read is appended.
    Poison,
    /// A file of this id is named.
    Name(u8),
    /// Of a source these many sequences from one on are refused.
    Refuse(usize, i64, i64),
    /// The window has another length from here on.
    Window(u32),
    /// A cell and its total are found to lack these values, by a recount of all that is counted.
    Correct(Sent, Vec<Option<i64>>),
    /// From here on minutes and hours are kept for so many minutes.
    Retention(u32, u32),
    /// The processor counts so many batches.
    Count(usize),
    /// The same; a flush that control records ask for writes only these rows before it fails, and is repeated:
    /// by the next process where the number is odd.
    CountFailing(usize, u8),
    /// A flush, which may fail before or after it took effect.
    Flush(Option<FlushFailure>),
    /// The store folds so many rows.
    Fold(usize),
    /// So many totals are read, so that flushes need not ask for them; of a snapshot of now, if none is being read.
    Read(usize),
    /// The process ends without warning and starts again.
    Crash,
    /// What a flush that failed half way had sent arrives now.
    Deliver,
}

/// What the log holds, as the oracle sees it.
enum Entry {
    Event(Sent),
    Window(u32),
    Name(u8),
    Refuse(usize, i64, i64),
    Retention(u32, u32),
    Poison,
    /// What a recount up to an offset found missing in the cell of an event, which is so many
    /// minutes long.
    Correct(Offset, u32, Sent, Vec<Option<i64>>),
}

/// The first minutes whose minutes and whose hours are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Kept {
    minutes_from: u32,
    hours_from: u32,
}

impl Kept {
    /// The definition: what is older than it is kept for, in whole hours and days; never back.
    fn advance(&mut self, now: u32, (minutes, hours): (u32, u32)) {
        self.minutes_from = self.minutes_from.max((now - minutes) / 60 * 60);
        self.hours_from = self.hours_from.max((now - hours) / 1_440 * 1_440);
    }

    /// The first minute of what a minute is kept in, and how many that are.
    fn bucket(self, minute: u32) -> (u32, u32) {
        let length = match () {
            () if minute >= self.minutes_from => 1,
            () if minute >= self.hours_from => 60,
            () => 1_440,
        };
        (minute / length * length, length)
    }
}

type Counters = BTreeMap<(usize, usize, u32), Summary>;

/// The definition: an event counts unless its key was appended within the window, whose start
/// never goes back, or its source, if heard of in the last 30 days, had come so far; but what was
/// refused before its source had come so far counts when it comes.
fn oracle(log: &[(u32, Entry)]) -> (Counters, Kept) {
    let (mut counters, mut seen) = (Counters::new(), HashMap::new());
    let mut sources: HashMap<usize, Source> = HashMap::new();
    let (mut kept, mut retention) = (Kept::default(), (FIRST_MINUTE, FIRST_MINUTE));
    let (mut minutes, mut start) = (10, 0);
    let mut corrected = None;
    for (offset, (now, entry)) in log.iter().enumerate() {
        start = start.max(now - minutes);
        match entry {
            Entry::Event(sent) => {
                let key = (sent.id, sent.item, sent.event_type);
                let is_new = sent.source.is_none_or(|(source, sequence)| {
                    let known = sources.entry(source).or_default().heard(*now);
                    let was_refused = known.refused.remove(&sequence);
                    let highest = known.highest.replace(sequence.max(known.highest.unwrap_or(-1)));
                    was_refused || highest.is_none_or(|highest| sequence > highest)
                });
                if is_new & seen.insert(key, *now).is_none_or(|last| last < start) {
                    let value = sent.value.map(|micros| Value::from_micros(micros).unwrap());
                    let key = (sent.item, sent.event_type, sent.minute);
                    counters.entry(key).or_default().add(&Summary::of(value));
                }
            }
            Entry::Window(changed) => {
                minutes = *changed;
                start = start.max(now - minutes);
            }
            Entry::Retention(minutes, hours) => retention = (*minutes, *hours),
            Entry::Refuse(source, first, more) => {
                let known = sources.entry(*source).or_default().heard(*now);
                let above = known.highest.map_or(0, |highest| highest + 1);
                known.refused.extend((*first..=first + more).filter(|sequence| *sequence >= above));
                // What lies between has not come either.
                let open: Vec<_> = known.refused.range(above..).copied().collect();
                if let [first, .., last] = open[..] {
                    known.refused.extend(first..last);
                }
            }
            Entry::Poison | Entry::Name(_) => {}
            Entry::Correct(known, length, sent, missing) => {
                kept.advance(*now, retention);
                let is_as_fine = match length {
                    1 => sent.minute >= kept.minutes_from,
                    _ => sent.minute >= kept.hours_from,
                };
                if is_as_fine && corrected.is_none_or(|newest| known.0 as usize > newest) {
                    let key = (sent.item, sent.event_type, sent.minute);
                    counters.entry(key).or_default().add(&sum(missing));
                }
                corrected = Some(offset);
            }
        }
        kept.advance(*now, retention);
    }
    (counters, kept)
}

#[derive(Default)]
struct Source {
    highest: Option<i64>,
    refused: BTreeSet<i64>,
    last: u32,
}

impl Source {
    fn heard(&mut self, now: u32) -> &mut Self {
        if now - self.last > SOURCE_MINUTES {
            *self = Self::default();
        }
        self.last = now;
        self
    }
}

fn sum(values: &[Option<i64>]) -> Summary {
    let of = |micros: &Option<i64>| Summary::of(micros.map(|m| Value::from_micros(m).unwrap()));
    values.iter().map(of).collect::<Vec<_>>().iter().sum()
}

struct World {
    store: MemStore,
    batches: Vec<Batch<Vec<u8>>>,
    entries: Vec<(u32, Entry)>,
    now: u32,
    running: (Counting, Memory, KnownRows),
    /// What is left of the totals that are being read.
    reading: Option<Vec<ReadRow>>,
    /// Processes of before with what they were flushing, which everybody takes for dead.
    zombies: Vec<(MemStore, Arc<Frozen>)>,
}

impl World {
    fn new() -> Self {
        let store = MemStore::new();
        let running = start(&store, &[], Offset(0));
        let (batches, entries, zombies, reading) = Default::default();
        Self { store, batches, entries, now: FIRST_MINUTE, running, reading, zombies }
    }

    fn append(&mut self, payload: Vec<u8>, entries: Vec<Entry>, is_control: bool) {
        self.batches.push(Batch {
            partition: PARTITION,
            log_epoch: 1,
            base_offset: Offset(self.entries.len() as u64),
            record_count: entries.len() as u32,
            append_time: Minute(self.now).start(),
            is_control,
            payload,
        });
        self.entries.extend(entries.into_iter().map(|entry| (self.now, entry)));
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(passed, events) => {
                self.now += passed;
                let mut records = RecordBuf::new();
                for sent in &events {
                    let source = sent.source.map(|(source, n)| (SOURCES[source], n));
                    records.push_stamped(&event(sent), source);
                }
                let entries = events.into_iter().map(Entry::Event).collect();
                self.append(records.into_payload(), entries, false);
            }
            Step::Poison => self.append(vec![3, 2, 9, 9], vec![Entry::Poison], false),
            Step::Window(dedup_minutes) => {
                let payload = Control::Settings { dedup_minutes }.payload();
                self.append(payload, vec![Entry::Window(dedup_minutes)], true);
            }
            Step::Name(id) => {
                let payload = Control::BulkObject(object(id)).payload();
                self.append(payload, vec![Entry::Name(id)], true);
            }
            Step::Refuse(source, first, more) => {
                let mut ranges = RefusedRanges::default();
                (first..=first + more).for_each(|sequence| ranges.push(sequence, true));
                let refused = Refused { source: SOURCES[source].to_owned(), ranges };
                let payload = Control::Refused(refused).payload();
                self.append(payload, vec![Entry::Refuse(source, first, more)], true);
            }
            Step::Retention(minutes, hours) => {
                let millis = |minutes: u32| i64::from(minutes) * MINUTE_MS;
                let kept = Retention::new(millis(minutes), millis(hours)).unwrap();
                let payload = Control::Retention(kept).payload();
                self.append(payload, vec![Entry::Retention(minutes, hours)], true);
            }
            Step::Correct(sent, missing) => self.correct(sent, missing),
            Step::Count(batches) => self.count(batches, None),
            Step::CountFailing(batches, which) => self.count(batches, Some(which)),
            Step::Flush(failure) => self.flush(failure),
            Step::Fold(rows) => drop(self.store.fold(PARTITION, rows).unwrap()),
            Step::Read(rows) => self.read(rows),
            Step::Crash => self.crash(),
            Step::Deliver => self.deliver(),
        }
        self.check()
    }

    /// Store and memory together know every file that was named, and where.
    fn check_named(&self, snapshot: &dyn CounterSnapshot) -> Result<(), TestCaseError> {
        let (counting, memory, _) = &self.running;
        let counted = self.entries[..counting.next_offset().0 as usize].iter().zip(0u64..);
        let named = counted.filter_map(|((_, entry), offset)| match entry {
            Entry::Name(id) => Some((object(*id).id, Offset(offset))),
            _ => None,
        });
        let known = snapshot.bulk().unwrap().into_iter();
        let known = known.chain(memory.look(|tables| tables.bulk().cloned().collect::<Vec<_>>()));
        let known: BTreeMap<_, _> = known.map(|e| (e.object.id, e.offset)).collect();
        let named: BTreeMap<_, _> = named.collect();
        for (id, at) in &named {
            prop_assert!(known.get(id).is_some_and(|known| known >= at), "{:?} is not known", id);
        }
        // A flush that failed half way may have told of others, all of them named in the log.
        for (id, at) in known.iter().filter(|known| named.get(known.0) != Some(known.1)) {
            let entry = self.entries.get(at.0 as usize).map(|(_, entry)| entry);
            let is_ahead = *at >= counting.next_offset();
            prop_assert!(
                is_ahead && matches!(entry, Some(Entry::Name(of)) if object(*of).id == *id)
            );
        }
        Ok(())
    }

    fn count(&mut self, batches: usize, mut failing: Option<u8>) {
        let next = self.running.0.next_offset();
        let rest = self.batches.iter().filter(|batch| batch.next_offset() > next);
        let rest: Vec<_> = rest.take(batches).cloned().collect();
        for batch in rest {
            let (counting, memory, _) = &mut self.running;
            counting.apply(&batch, memory).expect("batches follow each other");
            let corrects = |frozen: &Arc<Frozen>| !frozen.controls.is_empty();
            // One that ends where a flush was begun is frozen already.
            let has_ended = memory.look(|tables| tables.frozen.as_ref().is_some_and(corrects));
            if has_ended || memory.is_due(usize::MAX) {
                if let Some(which) = failing.take() {
                    if memory.look(|tables| tables.frozen.is_some()) {
                        self.flush(None);
                    }
                    self.flush(Some(FlushFailure::Partly(which)));
                    if which % 2 == 1 {
                        return self.crash();
                    }
                }
                // The first takes what a failed one left behind.
                self.flush(None);
                self.flush(None);
            }
        }
    }

    fn correct(&mut self, sent: Sent, missing: Vec<Option<i64>>) {
        let known_offset = self.running.0.next_offset();
        let (counters, kept) = oracle(&self.entries[..known_offset.0 as usize]);
        let (start, length) = kept.bucket(sent.minute);
        if length > 60 {
            // Days are beyond a recount.
            return;
        }
        let of_item = |key: &(usize, usize, u32)| (key.0, key.1) == (sent.item, sent.event_type);
        let total = counters.iter().filter(|(key, _)| of_item(key)).map(|(_, sum)| sum).sum();
        let of_bucket = |key: &(usize, usize, u32)| (start..start + length).contains(&key.2);
        let of_cell = counters.iter().filter(|(key, _)| of_item(key) && of_bucket(key));
        let cell = of_cell.map(|(_, sum)| sum).sum();
        let correction = |place, was: Summary| {
            let mut is = was;
            is.add(&sum(&missing));
            let (item, event_type) = (ITEMS[sent.item].into(), TYPES[sent.event_type].into());
            Correction { place, event_type, item, was, is }
        };
        let minute = Minute(sent.minute);
        let slot = if length == 1 { minute.of_hour() } else { Cell::WHOLE };
        let place = HourCell { hour: minute.hour(), slot };
        let cells = vec![correction(None, total), correction(Some(place), cell)];
        let generation = 1 + self.entries.len() as u64;
        let corrections = Corrections { generation, known_offset, cells };
        let payload = Control::Corrections(corrections).payload();
        self.append(payload, vec![Entry::Correct(known_offset, length, sent, missing)], true);
    }

    fn flush(&mut self, failure: Option<FlushFailure>) {
        let (_, memory, known) = &mut self.running;
        let Some(frozen) = memory.freeze_now() else { return };
        if let Some(failure) = failure {
            self.store.fail_flush(0, failure);
        }
        match flush(&self.store, PARTITION, &frozen, None, known) {
            Ok(()) => memory.flushed(),
            Err(_) if matches!(failure, Some(FlushFailure::Before | FlushFailure::Partly(_))) => {
                // The store is back: the same flush again, later.
            }
            Err(error) => {
                assert_eq!(failure, Some(FlushFailure::After), "{error:?}");
                self.crash();
            }
        }
    }

    fn read(&mut self, rows: usize) {
        let known = &mut self.running.2;
        if self.reading.is_none() && known.begin_reading() {
            let (snapshot, mut totals) = (self.store.snapshot().unwrap(), Vec::new());
            let mut each = |item: &str, event_type: &str, row| {
                totals.push((event_type.to_owned(), item.to_owned(), row));
                ControlFlow::Continue(())
            };
            snapshot.scan_totals(PARTITION, &mut each).unwrap();
            let from = Minute(FIRST_MINUTE - 600).hour();
            self.reading = Some(with_hours(&*snapshot, PARTITION, totals, from).unwrap());
        }
        let Some(totals) = &mut self.reading else { return };
        let read: Vec<_> = totals.drain(..rows.min(totals.len())).collect();
        let goes_on = known.read(&read);
        if goes_on && totals.is_empty() {
            known.end_reading();
        }
        if !goes_on || totals.is_empty() {
            self.reading = None;
        }
    }

    /// A store over many machines may write late what a process sent, which may be no more.
    fn deliver(&mut self) {
        self.store.deliver_late();
        for (store, frozen) in self.zombies.drain(..) {
            let before = self.store.snapshot().unwrap().checkpoint(PARTITION).unwrap();
            // Whether it was its own flush that another finished, or it is refused: it changes nothing.
            let woken = flush(&store, PARTITION, &frozen, None, &mut KnownRows::none());
            assert!(woken.is_ok() || woken.is_err_and(|error| error.kind == ErrorKind::Conflict));
            let after = self.store.snapshot().unwrap().checkpoint(PARTITION).unwrap();
            assert_eq!(before, after);
        }
    }

    fn crash(&mut self) {
        let next = self.store.another();
        let of_before = std::mem::replace(&mut self.store, next);
        let frozen = self.running.1.look(|tables| tables.frozen.clone());
        self.zombies.extend(frozen.map(|frozen| (of_before, frozen)));
        self.running = start(&self.store, &self.batches, Offset(self.entries.len() as u64));
        self.reading = None;
    }

    /// Store and memory together are the oracle's counters of what has been counted, in the buckets
    /// that are still kept.
    fn check(&self) -> Result<(), TestCaseError> {
        let (counting, memory, _) = &self.running;
        if memory.ends_at().is_some() {
            // Rows are ahead of what is counted: the log is being replayed, and nobody is answered.
            return Ok(());
        }
        let counted = counting.next_offset().0 as usize;
        let (expected, kept) = oracle(&self.entries[..counted]);
        let snapshot = self.store.snapshot().unwrap();
        self.check_named(&*snapshot)?;
        let checkpoint = snapshot.checkpoint(PARTITION).unwrap().unwrap_or_default();
        for (item, name) in ITEMS.iter().enumerate() {
            for (kind, event_type) in TYPES.iter().enumerate() {
                let mut slots: Vec<(SlotPlace, Summary)> = Vec::new();
                let mut total = Summary::EMPTY;
                let mut in_memory: Vec<(Offset, SlotPlace, Summary)> = Vec::new();
                memory.look(|tables| {
                    let tables = tables.since(checkpoint.next_offset).expect("they meet");
                    for table in tables {
                        table.for_each_slot(name, event_type, TimeRange::ALL, |slot, sum| {
                            in_memory.push((table.from(), slot.place(), *sum));
                        });
                    }
                });
                // Where each row is: of a flush that failed half way some are ahead of the checkpoint.
                let mut total_at = checkpoint.next_offset;
                let mut hours_at: HashMap<model::Hour, Offset> = HashMap::new();
                let mut days_at: HashMap<model::Day, Offset> = HashMap::new();
                let key = RowKey::Total { item: name, event_type };
                for row in snapshot.get(PARTITION, &[key]).unwrap().into_iter().flatten() {
                    total_at = total_at.max(row.stamp.next_offset);
                    total.add(&row.summary());
                }
                let mut add = |hour: model::Hour, row: model::StoredRow| {
                    hours_at.insert(hour, row.stamp.next_offset);
                    for cell in row.cells {
                        slots.push((SlotPlace::Hour(hour, cell.slot), cell.summary));
                    }
                };
                snapshot.scan_item(PARTITION, name, event_type, 0..u32::MAX, &mut add).unwrap();
                for day in snapshot.days(PARTITION, 0..u32::MAX).unwrap() {
                    let key = RowKey::Day { day, event_type, item: name };
                    for row in snapshot.get(PARTITION, &[key]).unwrap().into_iter().flatten() {
                        days_at.insert(day, row.stamp.next_offset);
                        slots.push((SlotPlace::Day(day), row.summary()));
                    }
                }
                for (from, place, summary) in in_memory {
                    let row_at = match place {
                        SlotPlace::Hour(hour, _) => hours_at.get(&hour),
                        SlotPlace::Day(day) => days_at.get(&day),
                    };
                    if row_at.is_none_or(|at| from >= *at) {
                        slots.push((place, summary));
                    }
                    if from >= total_at {
                        total.add(&summary);
                    }
                }
                let mut of_item: BTreeMap<u32, Summary> = BTreeMap::new();
                for ((i, k, minute), summary) in &expected {
                    if (*i, *k) == (item, kind) {
                        of_item.entry(kept.bucket(*minute).0).or_default().add(summary);
                    }
                }
                prop_assert_eq!(total, of_item.values().sum::<Summary>());
                prop_assert_eq!(buckets(&slots, kept)?, of_item);
            }
        }
        Ok(())
    }
}

/// What is stored by the buckets that are kept: nothing is kept more coarsely than that.
fn buckets(
    slots: &[(SlotPlace, Summary)],
    kept: Kept,
) -> Result<BTreeMap<u32, Summary>, TestCaseError> {
    let mut buckets: BTreeMap<u32, Summary> = BTreeMap::new();
    for (place, summary) in slots {
        let (minute, length) = match *place {
            SlotPlace::Hour(hour, Cell::WHOLE) => (hour.0 * 60, 60),
            SlotPlace::Hour(hour, slot) => (hour.minute(slot).0, 1),
            SlotPlace::Day(day) => (day.0 * 1_440, 1_440),
        };
        let (start, kept_length) = kept.bucket(minute);
        prop_assert!(length <= kept_length, "{place:?} is more than {kept:?}");
        buckets.entry(start).or_default().add(summary);
    }
    Ok(buckets)
}

/// What a process does when it starts on this store and log.
fn start(store: &MemStore, log: &[Batch<Vec<u8>>], end: Offset) -> (Counting, Memory, KnownRows) {
    let Claim { checkpoint, begun } = store.claim(PARTITION).unwrap();
    let facts = LogFacts { log_epoch: 1, start_offset: Offset(0), durable_offset: end };
    let resume = resume(checkpoint.as_ref(), facts).expect("log and store belong together");
    let sources = store.snapshot().unwrap().sources(PARTITION).unwrap();
    let sources = Arc::new(SourceBook::restored(sources));
    let mut counting = Counting::new(checkpoint.as_ref(), 10, (3, 4)).with_sources(sources);
    for batch in log.iter().filter(|batch| batch.next_offset() > resume.window_from) {
        counting.rebuild(batch, resume.window_from);
    }
    let is_new = checkpoint.is_none() && begun.is_none();
    // So little that rows are forgotten again.
    let known = KnownRows::new(8 << 10, 5, is_new);
    (counting, Memory::new(checkpoint.unwrap_or_default(), 5).ending_at(begun), known)
}

fn event(sent: &Sent) -> Event<'static> {
    Event {
        id: format!("id-{}", sent.id).into(),
        item: ITEMS[sent.item].into(),
        event_type: TYPES[sent.event_type].into(),
        time: TimestampMs(i64::from(sent.minute) * MINUTE_MS + 59_999),
        value: sent.value.map(|micros| Value::from_micros(micros).unwrap()),
        attributes: Vec::new(),
    }
}

/// A file that is named.
fn object(id: u8) -> BulkObject {
    let (object, how) = (format!("o{id}"), "{}".into());
    BulkObject { id: BulkId(id.into()), bytes: 7, object, how }
}

fn step() -> impl Strategy<Value = Step> {
    let sent = (
        0u8..12,
        0..ITEMS.len(),
        0..TYPES.len(),
        prop_oneof![Just(FIRST_MINUTE), FIRST_MINUTE - 2_000..FIRST_MINUTE],
        proptest::option::of(-1_000_000i64..1_000_000),
        proptest::option::weighted(0.3, (0..SOURCES.len(), 0i64..40)),
    )
        .prop_map(|(id, item, event_type, minute, value, source)| Sent {
            id,
            item,
            event_type,
            minute,
            value,
            source,
        });
    let values = proptest::collection::vec(proptest::option::of(-9i64..9), 1..4);
    let corrected = (sent.clone(), values).prop_map(|(sent, values)| Step::Correct(sent, values));
    let passed = prop_oneof![
        12 => Just(0u32),
        6 => 1u32..4,
        2 => 4u32..40,
        1 => 40u32..2_000,
        1 => FORGETTING,
    ];
    let failure = prop_oneof![
        4 => Just(None),
        1 => Just(Some(FlushFailure::Before)),
        1 => Just(Some(FlushFailure::After)),
        2 => any::<u8>().prop_map(|which| Some(FlushFailure::Partly(which))),
    ];
    prop_oneof![
        6 => (passed, proptest::collection::vec(sent, 1..12)).prop_map(|(p, e)| Step::Append(p, e)),
        1 => Just(Step::Poison),
        1 => (0u8..5).prop_map(Step::Name),
        1 => (0usize..2, 0..12i64, 0..3i64).prop_map(|(s, first, n)| Step::Refuse(s, first, n)),
        1 => (1u32..30).prop_map(Step::Window),
        1 => corrected,
        1 => (0u32..300, 0u32..2_000).prop_map(|(m, more)| Step::Retention(m, m + more)),
        5 => (1usize..4).prop_map(Step::Count),
        2 => (1usize..4, any::<u8>()).prop_map(|(n, which)| Step::CountFailing(n, which)),
        3 => failure.prop_map(Step::Flush),
        2 => (1usize..5).prop_map(Step::Fold),
        2 => (1usize..5).prop_map(Step::Read),
        1 => Just(Step::Crash),
        1 => Just(Step::Deliver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_oracle_at_every_step(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.take(step)?;
        }
        world.take(Step::Count(usize::MAX))?;
        world.take(Step::Deliver)?;
        // The first takes what a failed one left behind, the second what has come since.
        world.take(Step::Flush(None))?;
        world.take(Step::Flush(None))?;
        world.take(Step::Fold(usize::MAX))?;
        world.take(Step::Crash)?;
        prop_assert_eq!(world.running.0.next_offset().0 as usize, world.entries.len());
        let poisoned = world.entries.iter().filter(|entry| matches!(entry.1, Entry::Poison)).count();
        let snapshot = world.store.snapshot().unwrap();
        let dead = snapshot.dead_letters(PARTITION, Offset(0), usize::MAX).unwrap();
        prop_assert_eq!(dead.len(), poisoned, "every record that cannot be counted is kept");
    }
}

/// What was decided about a correction holds when its flush is repeated, whichever rows were written: the second
/// of two that were found at the same offset has not seen the first, and is refused for good.
#[test]
fn a_correction_is_decided_once() {
    let sent =
        |minute| Sent { id: 1, item: 0, event_type: 0, minute, value: Some(5), source: None };
    for which in 0..=u8::MAX {
        let mut world = World::new();
        let (early, late) = (sent(FIRST_MINUTE - 70), Sent { id: 2, ..sent(FIRST_MINUTE) });
        let steps = [
            Step::Append(0, vec![early.clone(), late.clone()]),
            Step::Count(1),
            Step::Flush(None),
            Step::Correct(early, vec![Some(7), None]),
            Step::Correct(late.clone(), vec![Some(9)]),
            // The table that the refused one ends has an event of the same rows.
            Step::Append(0, vec![Sent { id: 3, ..late.clone() }]),
            Step::Correct(late, vec![Some(11)]),
            Step::CountFailing(1, which),
            Step::CountFailing(1, which.rotate_left(3)),
            Step::CountFailing(2, which),
            Step::Count(9),
            Step::Deliver,
            Step::Flush(None),
            Step::Flush(None),
            Step::Crash,
            Step::Deliver,
        ];
        for step in steps {
            world.take(step.clone()).unwrap_or_else(|error| panic!("{which} {step:?}: {error}"));
        }
    }
}
