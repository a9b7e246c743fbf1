//! Which events are repeats: the dedup rule of the design, written a second time.
//!
//! An event is a repeat if the same (item, type, id) was appended to its partition in the same or
//! the last so many append minutes. A repeat counts as appended. Where the length of the window
//! changes, what was forgotten stays forgotten.

use std::collections::BTreeMap;
use std::hash::Hasher;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::error::Error;
use crate::raw::{Control, Event};

/// Entries below which sweeping is not worth its while.
const SWEEP_MIN: usize = 1 << 16;
/// A source that nothing named for longer is as if never heard of.
const SOURCE_KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// Tells repeats of one partition, whose events come in log order.
pub struct Judge {
    hash_keys: (u64, u64),
    /// The append minute in which an id was last seen.
    seen: HashMap<[u64; 2], u32>,
    window_minutes: u32,
    minute: u32,
    /// Ids of minutes before this one are forgotten.
    start: u32,
    /// Number of ids after the last sweep.
    swept: usize,
    sources: HashMap<String, Source>,
}

/// What a source has sent.
struct Source {
    /// Its highest sequence.
    highest: i64,
    /// When it was last heard of.
    heard_ms: i64,
    /// What was refused for its time and has not come since: last sequences by first ones.
    refused: BTreeMap<i64, i64>,
}

impl Judge {
    /// Knows no id yet. The keys seed the hash; random ones leave nobody a choice of collisions.
    pub fn new(hash_keys: (u64, u64)) -> Self {
        Self {
            hash_keys,
            seen: HashMap::new(),
            window_minutes: 0,
            minute: 0,
            start: 0,
            swept: 0,
            sources: HashMap::new(),
        }
    }

    /// The length of the window from here on.
    pub fn set_window(&mut self, minutes: u32) {
        self.window_minutes = minutes;
        self.move_start();
    }

    /// Moves on to an append minute.
    pub(crate) fn advance(&mut self, append_ms: i64) {
        let minute = u32::try_from(append_ms / 60_000).unwrap_or(0);
        if minute <= self.minute {
            return;
        }
        self.minute = minute;
        self.move_start();
        if self.seen.len() > SWEEP_MIN.max(self.swept * 2) {
            let start = self.start;
            self.seen.retain(|_, seen| *seen >= start);
            self.swept = self.seen.len();
        }
    }

    /// Minds a control record of the partition.
    ///
    /// # Errors
    /// `Control` where it is not known.
    pub(crate) fn control(&mut self, partition: u16, control: &Control) -> Result<(), Error> {
        self.advance(control.append_ms);
        let unknown = || Error::Control { partition, offset: control.offset };
        match *control.bytes {
            [1, a, b, c, d] => self.set_window(u32::from_le_bytes([a, b, c, d])),
            // What is kept of counters, corrections of them, and what the bulk lane is to read:
            // none of it says what is a repeat.
            [2..=5, ..] => {}
            [6, ref body @ ..] => match read_refused(body) {
                Some((source, ranges)) => self.refuse(source, &ranges, control.append_ms),
                None => return Err(unknown()),
            },
            // A place of the log without a record.
            [7] => {}
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn move_start(&mut self) {
        self.start = self.start.max(self.minute.saturating_sub(self.window_minutes));
    }

    /// Notes an event and its source; whether it is a repeat by either. Both take note of it,
    /// whatever the other says.
    #[cfg(feature = "sql")]
    pub(crate) fn is_counted_before(&mut self, event: &Event<'_>) -> bool {
        self.advance(event.append_ms);
        let is_repeated = event.source.is_some_and(|(source, sequence)| {
            self.is_repeated_by(source, sequence, event.append_ms)
        });
        self.is_repeat(event) || is_repeated
    }

    /// Notes an event; whether it is a repeat.
    pub(crate) fn is_repeat(&mut self, event: &Event<'_>) -> bool {
        self.advance(event.append_ms);
        let key = self.hash(event);
        match self.seen.entry(key) {
            Entry::Occupied(mut seen) => {
                let before = seen.insert(self.minute);
                before >= self.start
            }
            Entry::Vacant(new) => {
                new.insert(self.minute);
                false
            }
        }
    }

    /// Notes a source's sequence; whether it came before: it is at or below the highest, and not
    /// one that was refused.
    pub(crate) fn is_repeated_by(&mut self, source: &str, sequence: i64, append_ms: i64) -> bool {
        let source = self.source(source, append_ms);
        let range = source.refused.range(..=sequence).next_back();
        let was_refused = match range.map(|(first, last)| (*first, *last)) {
            Some((first, last)) if sequence <= last => {
                source.refused.remove(&first);
                let parts = [(first, sequence - 1), (sequence.saturating_add(1), last)];
                source.refused.extend(parts.into_iter().filter(|(first, last)| first <= last));
                true
            }
            _ => false,
        };
        let is_passed = sequence <= source.highest;
        source.highest = source.highest.max(sequence);
        is_passed && !was_refused
    }

    /// Notes that sequences of a source were refused. Those that it had passed by then had come.
    fn refuse(&mut self, source: &str, ranges: &[(i64, i64)], append_ms: i64) {
        let source = self.source(source, append_ms);
        for &(first, last) in ranges {
            let mut open = (first.max(source.highest.saturating_add(1)), last);
            if last <= source.highest {
                continue;
            }
            // What the source has not passed is new, refused or not: it may be one range.
            if let Some((first, last)) = source.refused.last_key_value().map(|(a, b)| (*a, *b))
                && last > source.highest
            {
                source.refused.remove(&first);
                open = (open.0.min(first), open.1.max(last));
            }
            source.refused.insert(open.0, open.1);
        }
    }

    fn source(&mut self, name: &str, append_ms: i64) -> &mut Source {
        let source = self.sources.entry_ref(name).or_insert_with(|| Source {
            highest: -1,
            heard_ms: append_ms,
            refused: BTreeMap::new(),
        });
        if append_ms - source.heard_ms > SOURCE_KEPT_MS {
            (source.highest, source.refused) = (-1, BTreeMap::new());
        }
        source.heard_ms = append_ms;
        source
    }

    /// Whether an event of the source was read.
    pub(crate) fn has_heard_of(&self, source: &str) -> bool {
        self.sources.contains_key(source)
    }

    /// 128 bits: that two of 10^8 ids share them has a chance below 2^-74.
    fn hash(&self, event: &Event<'_>) -> [u64; 2] {
        let mut hasher = SipHasher13::new_with_keys(self.hash_keys.0, self.hash_keys.1);
        for part in [event.id, event.item, event.event_type] {
            hasher.write_u32(part.len() as u32);
            hasher.write(part.as_bytes());
        }
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }
}

/// A control record about what was refused: length of source u8 | source | (gap | length - 1)*.
fn read_refused(body: &[u8]) -> Option<(&str, Vec<(i64, i64)>)> {
    let (len, rest) = body.split_first()?;
    let (source, mut rest) = rest.split_at_checked(usize::from(*len))?;
    let mut number = || {
        let len = 1 + rest.iter().position(|byte| *byte < 0x80)?;
        let (digits, after) = rest.split_at(len);
        rest = after;
        // 63 bits.
        let digit = |number: i64, byte: &u8| number << 7 | i64::from(byte & 0x7f);
        (len <= 9).then(|| digits.iter().rev().fold(0, digit))
    };
    let (mut ranges, mut next) = (Vec::new(), 0_i64);
    while let Some(gap) = number() {
        let first = next.checked_add(gap)?;
        let last = first.checked_add(number()?)?;
        ranges.push((first, last));
        next = last.saturating_add(1);
    }
    rest.is_empty().then_some((str::from_utf8(source).ok()?, ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(minute: i64, id: &'static str) -> Event<'static> {
        Event { id, append_ms: minute * 60_000, item: "i", event_type: "t", ..Event::default() }
    }

    fn judge() -> Judge {
        let mut judge = Judge::new((1, 2));
        judge.set_window(10);
        judge
    }

    #[test]
    fn a_repeat_within_the_window_is_one_and_refreshes_it() {
        let mut judge = judge();
        let minutes = [100, 110, 120, 131];
        assert_eq!(minutes.map(|m| judge.is_repeat(&event(m, "a"))), [false, true, true, false]);
        assert!(!judge.is_repeat(&event(131, "b")));
        assert!(!judge.is_repeat(&Event { item: "j", ..event(131, "a") }));
        assert!(!judge.is_repeat(&Event { event_type: "u", ..event(131, "a") }));
        assert!(judge.is_repeat(&event(131, "a")));
    }

    #[test]
    fn what_a_shorter_window_forgot_stays_forgotten() {
        let mut judge = judge();
        assert!(!judge.is_repeat(&event(100, "a")));
        assert!(!judge.is_repeat(&event(105, "b")));
        judge.set_window(2);
        judge.set_window(60);
        assert!(!judge.is_repeat(&event(106, "a")));
        assert!(judge.is_repeat(&event(106, "b")));
        // Ten minutes back from 107 would reach "b", and so does the longer window.
        assert!(judge.is_repeat(&event(150, "b")));
    }

    #[test]
    fn a_source_repeats_what_is_at_or_below_its_highest() {
        let mut judge = judge();
        let mut at = |sequence, ms| judge.is_repeated_by("s", sequence, ms);
        let steps = [(5, 0), (5, 1), (3, 2), (6, 3), (6, SOURCE_KEPT_MS + 3)];
        let repeats = steps.map(|(sequence, ms)| at(sequence, ms));
        assert_eq!(repeats, [false, true, true, false, true]);
        assert!(!at(1, 2 * SOURCE_KEPT_MS + 4));
        assert!(!judge.is_repeated_by("t", 1, 0));
        assert!(judge.has_heard_of("t") && !judge.has_heard_of("u"));
    }

    #[test]
    fn what_was_refused_counts_when_it_comes_and_once() {
        let mut judge = judge();
        judge.refuse("s", &[(0, 1), (3, 3), (9, 9)], 0);
        let mut at = |sequence| judge.is_repeated_by("s", sequence, 0);
        assert_eq!([2, 5].map(&mut at), [false, false]);
        judge.refuse("s", &[(0, 1), (3, 3), (9, 9)], 1);
        let mut at = |sequence| judge.is_repeated_by("s", sequence, 1);
        let steps = [2, 3, 3, 0, 0, 4, 9, 9, 8, 1].map(&mut at);
        let expected = [true, false, true, false, true, false, false, true, false, false];
        assert_eq!(steps, expected);
        judge.refuse("s", &[(2, 9)], 1);
        assert!(judge.is_repeated_by("s", 5, 1) && !judge.is_repeated_by("s", 10, 1));
    }

    #[test]
    fn sweeping_changes_nothing() {
        let mut judge = judge();
        let ids: Vec<&'static str> =
            (0..SWEEP_MIN * 4).map(|n| &*Box::leak(n.to_string().into_boxed_str())).collect();
        for (n, id) in ids.iter().enumerate() {
            assert!(!judge.is_repeat(&event(100 + (n / SWEEP_MIN) as i64 * 6, id)), "{id}");
        }
        assert!(judge.seen.len() < ids.len());
        // The last is of minute 118: what was seen from 108 on is known.
        for (n, id) in ids.iter().enumerate().rev() {
            assert_eq!(judge.is_repeat(&event(118, id)), n >= SWEEP_MIN * 2, "{id}");
        }
    }
}
