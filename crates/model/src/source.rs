//! Repeats after the dedup window: the highest sequence of every source that a partition heard of.
//!
//! Whoever may repeat late stamps what it sends with (source, sequence), the sequence rising. A
//! record is a repeat if its sequence is at or below the highest of its source. Every record that
//! can be read raises it, whether it counts or not, so this is a function of the log alone; and it
//! knows nothing of ids, as the dedup window knows nothing of sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bucket::TimestampMs;
use crate::limits::SOURCE_KEPT_MS;
use crate::partition::Offset;

/// What is known of a source in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// The highest sequence that was appended.
    pub sequence: i64,
    /// When the newest record of it was appended.
    pub append_time: TimestampMs,
    /// Offset of the first record of it: a recount from there on can judge as counting did.
    pub since: Offset,
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
pub struct Sources(BTreeMap<Arc<str>, SourceState>);

impl Sources {
    /// Puts back what a checkpoint goes with.
    pub fn restore(&mut self, source: Arc<str>, state: SourceState) {
        self.0.insert(source, state);
    }

    /// Notes a record that was appended at a time, which never goes back; whether it is a repeat.
    pub fn observe(&mut self, record: Stamped<'_>, append_time: TimestampMs) -> bool {
        let Stamped { source, sequence, offset } = record;
        let begun = SourceState { sequence, append_time, since: offset };
        match self.0.get_mut(source) {
            Some(state) if !is_forgotten(state, append_time) => {
                let is_repeat = sequence <= state.sequence;
                state.sequence = state.sequence.max(sequence);
                state.append_time = append_time;
                is_repeat
            }
            // Swept or not, it is forgotten.
            Some(state) => {
                *state = begun;
                false
            }
            None => {
                self.0.insert(source.into(), begun);
                false
            }
        }
    }

    /// A source as it is to be stored.
    pub fn mark(&self, source: &str) -> Option<SourceMark> {
        let (source, state) = self.0.get_key_value(source)?;
        Some(SourceMark { source: source.clone(), state: Some(*state) })
    }

    /// Gives back the memory of sources that were not heard of for [`SOURCE_KEPT_MS`].
    pub fn sweep(&mut self, now: TimestampMs) -> Vec<SourceMark> {
        let gone = self.0.extract_if(.., |_, state| is_forgotten(state, now));
        gone.map(|(source, _)| SourceMark { source, state: None }).collect()
    }

    /// Whether a source is known.
    pub fn contains(&self, source: &str) -> bool {
        self.0.contains_key(source)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
