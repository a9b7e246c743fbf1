//! Raw files as a recount reads them that shares no code with who wrote them.

use adapters::archive::{Objects, RawFiles};
use batch::{Archive, Error, Event, Recount, Scope, raw_files};
use bytes::Bytes;
use engine::ports::{RawArchive, RawEvent, RawFile, RawHead};
use model::control::Control;
use model::record::RecordId;
use model::source::{Sources, Stamped};
use model::{Hour, Offset, PartitionId, RecordBuf, Refused, RefusedRanges, TimestampMs};
use proptest::prelude::*;

const PARTITION: PartitionId = PartitionId(1);
const HOUR: Hour = Hour(500_000);

struct Read(Objects);

impl Archive for Read {
    fn raw_names(&self) -> Result<Vec<String>, Error> {
        let objects = self.0.list("raw").map_err(|error| Error::Archive(Box::new(error)))?;
        Ok(objects.into_iter().map(|object| object.name).collect())
    }

    fn bytes(&self, name: &str) -> Result<Bytes, Error> {
        let bytes = self.0.get(name).map_err(|error| Error::Archive(Box::new(error)))?;
        Ok(bytes.expect("it is listed"))
    }
}

/// Says that a sequence of the source was refused: its bytes in the log without their length.
fn refused(sequence: i64) -> Vec<u8> {
    let mut ranges = RefusedRanges::default();
    ranges.push(sequence, false);
    control(ranges)
}

fn control(ranges: RefusedRanges) -> Vec<u8> {
    let mut records = RecordBuf::new();
    Control::Refused(Refused { source: "s".into(), ranges }).push_to(&mut records);
    let payload = records.into_payload();
    model::record::split(&payload).next().expect("one").expect("whole").to_vec()
}

/// Two files of two hours, from offset 7 on: sequences 2 and 4 of a source, 3 was refused; then 5
/// and 7, 6 was refused.
fn archive() -> Read {
    let objects = Objects::in_memory();
    let files = RawFiles::new(objects.clone(), "me", 0);
    for (hour, from, sequences, never) in [(HOUR, 7, [2, 4], 3), (Hour(HOUR.0 + 1), 10, [5, 7], 6)]
    {
        let (from, append_time) = (Offset(from), hour.start());
        let file = RawFile { partition: PARTITION, from, to: from.plus(3), hour };
        let event = |offset, sequence| RawEvent {
            offset,
            append_time,
            id: RecordId::Text("id"),
            item: "i",
            event_type: "view",
            time: append_time,
            value: None,
            attributes: None,
            source: Some(("s", sequence)),
        };
        files
            .write_raw(file, &|| (), &mut |sink| {
                sink(event(from, sequences[0]))?;
                sink(event(from.plus(2), sequences[1]))?;
                let controls = vec![(from.plus(1), append_time, refused(never))];
                Ok(RawHead {
                    window_minutes: 10,
                    next_window_minutes: 10,
                    controls,
                    ..RawHead::default()
                })
            })
            .expect("a file");
    }
    Read(objects)
}

/// A recount from an hour on.
fn recount(hour: Hour) -> Recount {
    let start_ms = hour.start().0;
    let end_ms = start_ms + 3_600_000;
    let scope = Scope { start_ms, end_ms, item: None, event_type: None, share: 0, shares: 1 };
    Recount::new(PARTITION.0, scope, 10, (1, 2))
}

/// How many of these sequences count, appended behind the files.
fn counted(recount: &mut Recount, hour: Hour, sequences: &[i64]) -> u64 {
    let before = recount.read();
    for (offset, &sequence) in (13..).zip(sequences) {
        let (append_ms, id) = (hour.start().0, sequence.to_string());
        let source = Some(("s", sequence));
        let (item, event_type) = ("i", "view");
        let event = Event {
            offset,
            append_ms,
            id: &id,
            item,
            event_type,
            time_ms: append_ms,
            micros: None,
            source,
        };
        recount.event(&event);
    }
    let (events, repeats) = recount.read();
    (events - before.0) - (repeats - before.1)
}

#[test]
fn sources_are_known_from_files_that_are_read_for_nothing_else() {
    let archive = archive();
    let files = raw_files(&archive).expect("listed");
    // What is appended that long before an hour decides about it: in the last file, or in none.
    for hour in [Hour(HOUR.0 + 6), Hour(HOUR.0 + 9)] {
        let mut recount = recount(hour);
        let log_from = recount.read_archive(&archive, &files, &mut |_| true).expect("read");
        assert_eq!(log_from, Some(13));
        recount.begins_at(13);
        // Up to 7 all came but what was refused; that counts when it comes, and once.
        assert_eq!(counted(&mut recount, hour, &[2, 4, 5, 7]), 0, "{hour:?}");
        assert_eq!(counted(&mut recount, hour, &[3, 6, 3, 6, 8]), 3, "{hour:?}");
        recount.check_source("s", 7).expect("its first record was read");
        recount.check_source("s", 6).expect_err("there was one before");
    }
}

#[test]
fn an_empty_archive_leaves_all_to_the_log() {
    let archive = Read(Objects::in_memory());
    let mut recount = recount(HOUR);
    let log_from = recount.read_archive(&archive, &[], &mut |_| true).expect("read");
    assert_eq!(log_from, None);
    recount.begins_at(13);
    assert_eq!(counted(&mut recount, HOUR, &[2]), 1);
    recount.check_source("s", 13).expect("its first record was read");
    recount.check_source("s", 12).expect_err("there was one before");
}

proptest! {
    /// Whatever a source sends and is refused, in whatever order: both say the same of it.
    #[test]
    fn counting_and_recounting_agree_about_sources(
        steps in prop::collection::vec((0..40_i64, 0..4_i64, any::<bool>(), 0..100_u8), 0..60),
    ) {
        let (mut sources, mut recount) = (Sources::default(), recount(HOUR));
        let mut append_ms = HOUR.start().0;
        for (offset, (sequence, more, is_refused, passed)) in (0..).zip(steps) {
            // Now and then long enough that the source is forgotten.
            append_ms += if passed == 0 { 31 * 86_400_000 } else { 1 };
            let at = TimestampMs(append_ms);
            if is_refused {
                let mut ranges = RefusedRanges::default();
                (0..=more).for_each(|n| ranges.push(sequence + 2 * n, n % 2 == 1));
                let refused = Refused { source: "s".into(), ranges: ranges.clone() };
                sources.refuse(&refused, at, Offset(offset));
                let bytes = control(ranges);
                recount.control(&batch::Control { offset, append_ms, bytes }).expect("it is known");
                continue;
            }
            let stamped = Stamped { source: "s", sequence, offset: Offset(offset) };
            let (before, id) = (recount.read().1, offset.to_string());
            let event = Event {
                offset,
                append_ms,
                id: &id,
                item: "i",
                event_type: "view",
                time_ms: append_ms,
                micros: None,
                source: Some(("s", sequence)),
            };
            recount.event(&event);
            prop_assert_eq!(recount.read().1 > before, sources.observe(stamped, at));
        }
    }
}
