//! The sources of a partition, as counting knows them and the gateway asks for them: whether there
//! is room for one more is said before the log, so that none is ever forgotten for lack of room.

use std::collections::BTreeSet;

use model::limits::{REFUSED_RANGES_MAX, SOURCES_MAX};
use model::source::{Sources, Stamped};
use model::{Offset, Refused, SourceState, TimestampMs};
use parking_lot::RwLock;

use crate::processor::SourceMarks;

/// Written by one processor, read by whoever accepts stamped events.
#[derive(Debug, Default)]
pub struct SourceBook(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    heard: Sources,
    /// On their way through the log. One whose write failed keeps its place until the process ends.
    announced: BTreeSet<Box<str>>,
    /// Ranges that were refused, on their way through the log likewise.
    announced_ranges: usize,
}

impl SourceBook {
    /// What a checkpoint goes with.
    pub fn restored(sources: impl IntoIterator<Item = (String, SourceState)>) -> Self {
        let mut heard = Sources::default();
        for (source, state) in sources {
            heard.restore(source.into(), state);
        }
        Self(RwLock::new(Inner { heard, ..Inner::default() }))
    }

    /// Whether records of a source can be taken.
    pub(crate) fn has_room_for(&self, source: &str) -> bool {
        let inner = self.0.read();
        inner.heard.len() + inner.announced.len() < SOURCES_MAX
            || inner.heard.contains(source)
            || inner.announced.contains(source)
    }

    /// Keeps a place for a source whose records go to the log now.
    pub(crate) fn announce(&self, source: &str) {
        if self.0.read().heard.contains(source) {
            return;
        }
        let mut inner = self.0.write();
        // It may have been counted in between.
        if !inner.heard.contains(source) {
            inner.announced.insert(source.into());
        }
    }

    /// Keeps room for ranges that were refused, whose record goes to the log now; whether there is
    /// any.
    pub(crate) fn announce_refused(&self, ranges: usize) -> bool {
        let mut inner = self.0.write();
        let taken = inner.heard.refused_ranges() + inner.announced_ranges;
        let has_room = taken + ranges <= REFUSED_RANGES_MAX;
        inner.announced_ranges += if has_room { ranges } else { 0 };
        has_room
    }

    /// Notes what was refused, and adds what is to be stored.
    pub(crate) fn refuse(
        &self,
        refused: &Refused,
        append_time: TimestampMs,
        offset: Offset,
        marks: &mut SourceMarks,
    ) {
        let mut inner = self.0.write();
        inner.heard.refuse(refused, append_time, offset);
        inner.announced.remove(refused.source.as_str());
        inner.announced_ranges = inner.announced_ranges.saturating_sub(refused.ranges.len());
        let mark = inner.heard.mark(&refused.source);
        marks.extend(mark.map(|mark| (mark.source.clone(), mark)));
    }

    /// Judges records that follow each other, whether each is a repeat, and adds what is to be
    /// stored of their sources.
    pub(crate) fn observe(
        &self,
        records: &[Stamped<'_>],
        append_time: TimestampMs,
        marks: &mut SourceMarks,
    ) -> Vec<bool> {
        let mut inner = self.0.write();
        let observe = |record: &Stamped<'_>| inner.heard.observe(*record, append_time);
        let repeats = records.iter().map(observe).collect();
        let names: BTreeSet<&str> = records.iter().map(|record| record.source).collect();
        for source in names {
            inner.announced.remove(source);
            let mark = inner.heard.mark(source);
            marks.extend(mark.map(|mark| (mark.source.clone(), mark)));
        }
        repeats
    }

    /// Gives back the memory of what is forgotten, and adds that it is.
    pub(crate) fn sweep(&self, now: TimestampMs, marks: &mut SourceMarks) {
        if self.0.read().heard.is_empty() {
            return;
        }
        let gone = self.0.write().heard.sweep(now);
        marks.extend(gone.into_iter().map(|mark| (mark.source.clone(), mark)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::RefusedRanges;

    use super::*;

    #[test]
    fn there_is_room_for_so_many_refused_ranges() {
        let book = SourceBook::default();
        assert!(book.announce_refused(REFUSED_RANGES_MAX - 1));
        assert!(!book.announce_refused(2) && book.announce_refused(1));
        let mut ranges = RefusedRanges::default();
        ranges.push(1, false);
        ranges.push(3, false);
        let refused = Refused { source: "s".into(), ranges };
        let mut marks = SourceMarks::new();
        book.refuse(&refused, TimestampMs(1), Offset(0), &mut marks);
        assert_eq!(marks.len(), 1);
        // Both are one range as long as nothing lies between them.
        assert!(!book.announce_refused(2) && book.announce_refused(1));
    }

    #[test]
    fn new_sources_are_refused_when_there_is_no_room_and_known_ones_never() {
        let state = || SourceState {
            sequence: 1,
            append_time: TimestampMs(5),
            since: Offset(0),
            refused: Arc::default(),
        };
        let known = (0..SOURCES_MAX - 2).map(|n| (n.to_string(), state()));
        let book = SourceBook::restored(known);
        assert!(book.has_room_for("new"));
        book.announce("new");
        book.announce("new");
        book.announce("0");
        assert!(book.has_room_for("newer"));
        book.announce("newer");
        assert!(!book.has_room_for("newest"));
        assert!(["0", "new", "newer"].iter().all(|source| book.has_room_for(source)));
        // What was announced is counted: the number stays.
        let record = Stamped { source: "new", sequence: 3, offset: Offset(9) };
        let mut marks = SourceMarks::new();
        assert_eq!(book.observe(&[record, record], TimestampMs(6), &mut marks), [false, true]);
        assert_eq!(marks.len(), 1);
        assert!(!book.has_room_for("newest") && book.has_room_for("new"));
        let later = TimestampMs(6 + model::limits::SOURCE_KEPT_MS);
        book.sweep(later, &mut marks);
        assert_eq!(marks.values().filter(|mark| mark.state.is_none()).count(), SOURCES_MAX - 2);
        assert!(book.has_room_for("newest"));
    }
}
