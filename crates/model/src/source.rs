//! Repeats after the dedup window: the highest sequence of every source that a partition heard of.
//!
//! Whoever may repeat late stamps what it sends with (source, sequence), the sequence rising. A
//! record is a repeat if its sequence is at or below the highest of its source, but for those that
//! were refused for their time when their source went on (see `refused`). Every record that can be
//! read raises the highest, whether it counts or not, so this is a function of the log alone; and
//! it knows nothing of ids, as the dedup window knows nothing of sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bucket::TimestampMs;
use crate::limits::SOURCE_KEPT_MS;
use crate::partition::Offset;
use crate::refused::{Refused, RefusedRanges};

/// What is known of a source in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// The highest sequence that was appended; -1 before the first.
    pub sequence: i64,
    /// When the newest record of it was appended.
    pub append_time: TimestampMs,
    /// Offset of the first record of it: a recount from there on can judge as counting did.
    pub since: Offset,
    /// What was refused of it and has not come since. Shared with what is to be stored.
    pub refused: Arc<RefusedRanges>,
}

/// A source as it is to be stored; without a state it is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceMark {
    /// Its name.
    pub source: Arc<str>,
    /// What is known of it.
    pub state: Option<SourceState>,
}

/// A record's place among what its source sends, and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped<'a> {
    /// The source.
    pub source: &'a str,
    /// The record's place among what the source sends.
    pub sequence: i64,
    /// Its place in the log.
    pub offset: Offset,
}

/// All sources of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    known: BTreeMap<Arc<str>, SourceState>,
    /// Ranges that were refused, of all sources.
    refused_ranges: usize,
}

impl Sources {
    /// Puts back what a checkpoint goes with.
    pub fn restore(&mut self, source: Arc<str>, state: SourceState) {
        self.refused_ranges += state.refused.len();
        self.known.insert(source, state);
    }

    /// Notes a record that was appended at a time, which never goes back; whether it is a repeat.
    pub fn observe(&mut self, record: Stamped<'_>, append_time: TimestampMs) -> bool {
        let Stamped { source, sequence, offset } = record;
        self.change(source, append_time, offset, |state| {
            let is_above = sequence > state.sequence;
            state.sequence = state.sequence.max(sequence);
            let was_refused = state.refused.contains(sequence)
                && Arc::make_mut(&mut state.refused).take(sequence);
            !is_above && !was_refused
        })
    }

    /// Notes what was refused of a source, said by a record that was appended at a time, which
    /// never goes back.
    pub fn refuse(&mut self, refused: &Refused, append_time: TimestampMs, offset: Offset) {
        self.change(&refused.source, append_time, offset, |state| {
            Arc::make_mut(&mut state.refused).refuse_all(&refused.ranges, state.sequence);
        });
    }

    fn change<T>(
        &mut self,
        source: &str,
        append_time: TimestampMs,
        offset: Offset,
        change: impl FnOnce(&mut SourceState) -> T,
    ) -> T {
        let begun =
            || SourceState { sequence: -1, append_time, since: offset, refused: Arc::default() };
        let state = match self.known.get_mut(source) {
            Some(state) => state,
            None => self.known.entry(source.into()).or_insert_with(begun),
        };
        let ranges_before = state.refused.len();
        // Swept or not, it is forgotten.
        if is_forgotten(state, append_time) {
            *state = begun();
        }
        let result = change(state);
        state.append_time = append_time;
        self.refused_ranges = self.refused_ranges + state.refused.len() - ranges_before;
        result
    }

    /// A source as it is to be stored.
    pub fn mark(&self, source: &str) -> Option<SourceMark> {
        let (source, state) = self.known.get_key_value(source)?;
        Some(SourceMark { source: source.clone(), state: Some(state.clone()) })
    }

    /// Gives back the memory of sources that were not heard of for [`SOURCE_KEPT_MS`].
    pub fn sweep(&mut self, now: TimestampMs) -> Vec<SourceMark> {
        let gone = self.known.extract_if(.., |_, state| is_forgotten(state, now));
        let ranges = &mut self.refused_ranges;
        gone.map(|(source, state)| {
            *ranges -= state.refused.len();
            SourceMark { source, state: None }
        })
        .collect()
    }

    /// Whether a source is known.
    pub fn contains(&self, source: &str) -> bool {
        self.known.contains_key(source)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Number of ranges that were refused, of all sources.
    pub fn refused_ranges(&self) -> usize {
        self.refused_ranges
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

fn is_forgotten(state: &SourceState, now: TimestampMs) -> bool {
    now.0.saturating_sub(state.append_time.0) > SOURCE_KEPT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(sources: &mut Sources, source: &str, sequence: i64, at: i64) -> bool {
        sources.observe(Stamped { source, sequence, offset: Offset(7) }, TimestampMs(at))
    }

    #[test]
    fn at_or_below_the_highest_is_a_repeat() {
        let mut sources = Sources::default();
        let steps = [("a", 5), ("a", 5), ("a", 3), ("b", 3), ("a", 9), ("a", 6), ("b", 4)];
        let repeats = steps.map(|(source, sequence)| observe(&mut sources, source, sequence, 1));
        assert_eq!(repeats, [false, true, true, false, false, true, false]);
        assert_eq!(sources.len(), 2);
        let mark = sources.mark("a").and_then(|mark| mark.state).expect("it is known");
        assert_eq!((mark.sequence, mark.since), (9, Offset(7)));
        assert_eq!(sources.mark("c"), None);
    }

    #[test]
    fn what_was_refused_is_new_when_it_comes_and_once() {
        let mut sources = Sources::default();
        let mut ranges = RefusedRanges::default();
        for (sequence, is_next) in [(0, false), (1, true), (3, false), (9, false)] {
            ranges.push(sequence, is_next);
        }
        let refused = Refused { source: "a".into(), ranges };
        sources.refuse(&refused, TimestampMs(1), Offset(5));
        assert!(!observe(&mut sources, "a", 2, 1) && !observe(&mut sources, "a", 5, 1));
        // Said again, nothing changes.
        sources.refuse(&refused, TimestampMs(1), Offset(8));
        let steps = [2, 3, 3, 0, 0, 4, 9, 9, 8, 1].map(|n| observe(&mut sources, "a", n, 2));
        // 4 never came, and lies between what was refused: it is new too.
        let expected = [true, false, true, false, true, false, false, true, false, false];
        assert_eq!(steps, expected);
        let state = sources.mark("a").and_then(|mark| mark.state).expect("it is known");
        assert_eq!((state.sequence, state.since), (9, Offset(5)));
        assert_eq!(sources.refused_ranges(), state.refused.len());
        sources.sweep(TimestampMs(SOURCE_KEPT_MS + 3));
        assert_eq!((sources.len(), sources.refused_ranges()), (0, 0));
    }

    #[test]
    fn a_source_is_forgotten_by_append_time_alone_swept_or_not() {
        for is_swept in [false, true] {
            let mut sources = Sources::default();
            assert!(!observe(&mut sources, "a", 5, 0));
            // Being heard of keeps it, repeats included.
            assert!(observe(&mut sources, "a", 1, 10));
            let last = TimestampMs(SOURCE_KEPT_MS + 10);
            assert_eq!(sources.sweep(last), []);
            if is_swept {
                let gone = sources.sweep(TimestampMs(last.0 + 1));
                assert_eq!(gone, [SourceMark { source: "a".into(), state: None }]);
                assert!(!sources.contains("a") && sources.is_empty());
            }
            assert!(!observe(&mut sources, "a", 1, last.0 + 1));
            assert!(!observe(&mut sources, "a", 2, last.0 + 1));
        }
        let mut sources = Sources::default();
        assert!(!observe(&mut sources, "a", 5, 0));
        assert!(observe(&mut sources, "a", 5, SOURCE_KEPT_MS));
    }
}
