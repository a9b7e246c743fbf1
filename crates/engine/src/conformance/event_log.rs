//! Behaviours of every [`crate::ports::EventLog`].
//!
//! Each takes a log that nothing was appended to yet, with at least two partitions, and drives it
//! from a plain thread: the log must make progress without an executor.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use model::record::{Record, split};
use model::{Batch, Event, Offset, PartitionId, RecordBuf, TimestampMs};

use crate::ports::{AppendPart, Appended, ErrorKind, EventLog};

const FIRST: PartitionId = PartitionId(0);
const SECOND: PartitionId = PartitionId(1);

/// Records whose ids are `prefix-0`, `prefix-1` and so on.
pub fn records(prefix: &str, count: usize) -> RecordBuf {
    let mut records = RecordBuf::new();
    for n in 0..count {
        records.push(&Event {
            id: Cow::Owned(format!("{prefix}-{n}")),
            item: "item".into(),
            event_type: "view".into(),
            time: TimestampMs(1_795_255_200_000),
            value: None,
            attributes: Vec::new(),
        });
    }
    records
}

/// A part with such records.
pub fn part(partition: PartitionId, prefix: &str, count: usize) -> AppendPart {
    AppendPart { partition, records: records(prefix, count), is_control: false }
}

/// Offset and id of every record of these batches, control records left out.
///
/// # Panics
/// When a batch does not hold what it says.
pub fn ids(batches: &[Batch<Bytes>]) -> Vec<(u64, String)> {
    let mut ids = Vec::new();
    for batch in batches {
        let mut offset = batch.base_offset.0;
        for record in split(&batch.payload) {
            let record = record.expect("the payload splits into records");
            if !batch.is_control {
                ids.push((offset, Record::read(record).expect("a record").id_text()));
            }
            offset += 1;
        }
        assert_eq!(offset, batch.next_offset().0, "record_count is that of the payload");
    }
    ids
}

/// Everything durable in a partition from an offset on, in reads of about `bytes_max`.
///
/// # Panics
/// When the log breaks its contract on the way.
pub fn read_all(
    log: &dyn EventLog,
    partition: PartitionId,
    from: Offset,
    bytes_max: usize,
) -> Vec<Batch<Bytes>> {
    let mut all: Vec<Batch<Bytes>> = Vec::new();
    let mut next_offset = from;
    while next_offset < log.bounds(partition).durable_offset {
        let batches = block_on(log.read(partition, next_offset, bytes_max)).expect("readable");
        assert!(!batches.is_empty(), "a read gives at least one batch");
        let payload: usize = batches.iter().map(|batch| batch.payload.len()).sum();
        assert!(batches.len() == 1 || payload <= bytes_max, "a read is bounded");
        for batch in batches {
            assert_eq!(batch.partition, partition);
            if let Some(before) = all.last() {
                assert_eq!(batch.base_offset, before.next_offset(), "offsets have no gap");
                assert!(batch.append_time >= before.append_time, "append time never goes back");
                assert!(batch.log_epoch >= before.log_epoch, "the epoch never goes back");
            } else {
                assert!(batch.base_offset <= from && from < batch.next_offset());
            }
            next_offset = batch.next_offset();
            all.push(batch);
        }
    }
    all
}

fn append(log: &dyn EventLog, parts: Vec<AppendPart>) -> Vec<Appended> {
    let results = block_on(log.append(parts).expect("taken"));
    results.into_iter().map(|result| result.expect("durable")).collect()
}

/// Parts come back in the order they were appended, each contiguous, at the offsets that were
/// promised.
pub fn gives_back_what_was_appended(log: &dyn EventLog) {
    let before = log.append_time().expect("the clock is fit");
    let start = log.bounds(FIRST).durable_offset;
    let mut expected = Vec::new();
    for (n, count) in [1, 3, 100, 2].into_iter().enumerate() {
        let prefix = format!("p{n}");
        let appended = append(log, vec![part(FIRST, &prefix, count)]);
        assert_eq!(appended[0].partition, FIRST);
        assert!(appended[0].append_time >= before);
        let base = appended[0].base_offset.0;
        expected.extend((0..count).map(|n| (base + n as u64, format!("{prefix}-{n}"))));
        assert_eq!(appended[0].next_offset, appended[0].base_offset.plus(count as u64));
        assert_eq!(log.bounds(FIRST).durable_offset, appended[0].next_offset);
    }
    for bytes_max in [1, 200, usize::MAX] {
        let batches = read_all(log, FIRST, start, bytes_max);
        assert_eq!(ids(&batches), expected, "in reads of {bytes_max} bytes");
    }
    let middle = Offset(expected[50].0);
    let batches = read_all(log, FIRST, middle, usize::MAX);
    let tail: Vec<_> = ids(&batches).into_iter().filter(|(at, _)| *at >= middle.0).collect();
    assert_eq!(tail, expected[50..]);
}

/// Futures that wait together are all answered, in the order `append` was called.
pub fn keeps_the_order_of_calls(log: &dyn EventLog) {
    let waiting: Vec<_> = (0..200)
        .map(|n| log.append(vec![part(FIRST, &format!("c{n}"), 1 + n % 3)]).expect("taken"))
        .collect();
    let mut next_offset = None;
    for (n, waiting) in waiting.into_iter().enumerate() {
        let results = block_on(waiting);
        let appended = results[0].as_ref().expect("durable");
        if let Some(next_offset) = next_offset {
            assert_eq!(appended.base_offset, next_offset, "call {n} follows the one before");
        }
        next_offset = Some(appended.next_offset);
    }
}

/// A request with parts for several partitions gets a result for each, in its order.
pub fn takes_parts_for_several_partitions(log: &dyn EventLog) {
    let parts =
        vec![part(SECOND, "a", 2), part(FIRST, "b", 1), part(SECOND, "c", 3), part(FIRST, "d", 1)];
    let appended = append(log, parts);
    let partitions: Vec<_> = appended.iter().map(|appended| appended.partition).collect();
    assert_eq!(partitions, [SECOND, FIRST, SECOND, FIRST]);
    assert_eq!(appended[2].base_offset, appended[0].base_offset.plus(2));
    assert_eq!(appended[3].base_offset, appended[1].base_offset.plus(1));
    for (partition, expected) in
        [(FIRST, vec!["b-0", "d-0"]), (SECOND, vec!["a-0", "a-1", "c-0", "c-1", "c-2"])]
    {
        let start = log.bounds(partition).start_offset;
        let all = ids(&read_all(log, partition, start, usize::MAX));
        assert_eq!(all.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), expected);
    }
    assert!(append(log, Vec::new()).is_empty(), "no parts, no results");
}

/// A part that is appended again is there again: the log does not look into records.
pub fn keeps_repeats(log: &dyn EventLog) {
    let start = log.bounds(FIRST).durable_offset;
    for _ in 0..2 {
        append(log, vec![part(FIRST, "same", 1)]);
    }
    assert_eq!(ids(&read_all(log, FIRST, start, usize::MAX)).len(), 2);
}

/// Dropping the future does not take the records back.
pub fn writes_what_nobody_waits_for(log: &dyn EventLog) {
    let start = log.bounds(FIRST).durable_offset;
    drop(log.append(vec![part(FIRST, "dropped", 1)]).expect("taken"));
    append(log, vec![part(FIRST, "after", 1)]);
    let all = ids(&read_all(log, FIRST, start, usize::MAX));
    let all: Vec<_> = all.into_iter().map(|(_, id)| id).collect();
    assert_eq!(all, ["dropped-0", "after-0"]);
}

/// Counts how often a reader is woken, and wakes the test.
struct Woken {
    times: AtomicUsize,
    test: Thread,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.test.unpark();
    }
}

fn woken() -> (Arc<Woken>, Waker) {
    let woken = Arc::new(Woken { times: AtomicUsize::new(0), test: std::thread::current() });
    (woken.clone(), Waker::from(woken))
}

/// A read at the durable end waits without a thread of its own, and is woken when what was appended
/// next can be read.
pub fn wakes_readers_at_the_end(log: &dyn EventLog) {
    let end = log.bounds(FIRST).durable_offset;
    let (_woken, waker) = woken();
    let mut reading = log.read(FIRST, end, usize::MAX);
    assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    append(log, vec![part(SECOND, "elsewhere", 1)]);
    assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    append(log, vec![part(FIRST, "awaited", 1)]);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Poll::Ready(batches) = reading.as_mut().poll(&mut Context::from_waker(&waker)) {
            assert_eq!(ids(&batches.expect("readable")), [(end.0, "awaited-0".to_owned())]);
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "a reader is woken by what it waits for");
        std::thread::park_timeout(left);
    }
}

/// What a log with readers in its own process promises beyond
/// [`wakes_readers_at_the_end`]: what is durable can be read at once.
pub fn gives_readers_at_once_what_is_durable(log: &dyn EventLog) {
    let end = log.bounds(FIRST).durable_offset;
    let (woken, waker) = woken();
    let mut reading = log.read(FIRST, end, usize::MAX);
    assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    append(log, vec![part(SECOND, "elsewhere", 1)]);
    assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    append(log, vec![part(FIRST, "awaited", 1)]);
    assert!(woken.times.load(Ordering::SeqCst) > 0, "what is durable has woken its readers");
    match reading.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(batches) => {
            assert_eq!(ids(&batches.expect("readable")), [(end.0, "awaited-0".to_owned())]);
        }
        Poll::Pending => panic!("the records are durable"),
    }
}

/// Requests that can never work are refused as such.
pub fn refuses_what_is_invalid(log: &dyn EventLog) {
    let beyond = PartitionId(log.partitions());
    let kind_of = |parts| log.append(parts).err().expect("refused").kind;
    assert_eq!(kind_of(vec![part(beyond, "x", 1)]), ErrorKind::Invalid);
    assert_eq!(kind_of(vec![part(FIRST, "x", 1), part(beyond, "x", 1)]), ErrorKind::Invalid);
    let empty = AppendPart { partition: FIRST, records: RecordBuf::new(), is_control: false };
    assert_eq!(kind_of(vec![empty]), ErrorKind::Invalid);
    let after_end = log.bounds(FIRST).durable_offset.plus(1);
    for (partition, from) in [(beyond, Offset(0)), (FIRST, after_end)] {
        let error = block_on(log.read(partition, from, 1)).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
    let start = log.bounds(FIRST).start_offset;
    assert!(
        ids(&read_all(log, FIRST, start, usize::MAX)).is_empty(),
        "of a request that was refused nothing is written"
    );
}

/// Trimming keeps everything from `before` on.
pub fn trims_only_below(log: &dyn EventLog) {
    for n in 0..20 {
        append(log, vec![part(FIRST, &format!("t{n}"), 10)]);
    }
    let before = Offset(log.bounds(FIRST).durable_offset.0 - 55);
    log.trim(FIRST, before).expect("trimmed");
    assert!(log.bounds(FIRST).start_offset <= before);
    assert_eq!(
        ids(&read_all(log, FIRST, before, usize::MAX))
            .iter()
            .filter(|(at, _)| *at >= before.0)
            .count(),
        55
    );
}

/// A log with one writer has an epoch of its own for every start. `open` closes the log it gave
/// before.
pub fn rises_in_epoch_with_every_start(mut open: impl FnMut() -> Box<dyn EventLog>) {
    let mut epoch = 0;
    for _ in 0..3 {
        let bounds = open().bounds(FIRST);
        assert!(bounds.log_epoch > epoch, "every start has an epoch of its own");
        epoch = bounds.log_epoch;
    }
}

/// What was durable is there after reopening, at its place, under the same epoch or a higher one.
/// `open` closes the log it gave before.
pub fn survives_reopening(mut open: impl FnMut() -> Box<dyn EventLog>) {
    let mut expected = Vec::new();
    let mut epoch = 0;
    let mut append_time = TimestampMs(0);
    for round in 0..3 {
        let log = open();
        let bounds = log.bounds(FIRST);
        assert!(bounds.log_epoch >= epoch, "an epoch never falls");
        epoch = bounds.log_epoch;
        assert_eq!(ids(&read_all(&*log, FIRST, bounds.start_offset, 100)), expected);
        for n in 0..5 {
            let prefix = format!("r{round}-{n}");
            let appended = append(&*log, vec![part(FIRST, &prefix, 2)])[0];
            assert!(appended.append_time >= append_time, "append time never goes back");
            append_time = appended.append_time;
            let base = appended.base_offset.0;
            expected.extend((0..2).map(|n| (base + n, format!("{prefix}-{n}"))));
        }
    }
}
