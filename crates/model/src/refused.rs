//! Places of a source that were refused for their time, which may be good another time: the same
//! request again, with a clock set right or a bound raised, has them counted although their source
//! has gone on. Only so far as a later record has passed them they have to be remembered.
//!
//! ```text
//! ranges = range*      range = gap varint | length - 1 varint
//!          gap: first sequence minus the first that the range before it does not hold (0 at first)
//! control record of kind 6: length of source u8 | source | ranges
//! ```

use crate::event::is_source;
use crate::record::{Reader, RecordError, push_leb128};

/// Most ranges of one control record.
pub const RANGES_OF_A_RECORD_MAX: usize = 1_024;

/// Sequences that were refused, as rising ranges that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedRanges(Vec<(i64, i64)>);

impl RefusedRanges {
    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, first and last sequence of each.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().copied()
    }

    /// Adds a sequence above all others. `is_next` says that nothing of the source lies between it
    /// and the one before, so that both are one range.
    pub fn push(&mut self, sequence: i64, is_next: bool) {
        match self.0.last_mut() {
            Some((_, last)) if is_next => *last = sequence,
            _ => self.0.push((sequence, sequence)),
        }
    }

    /// Takes out ranges from the front, at most so many.
    pub fn split_front(&mut self, ranges_max: usize) -> Self {
        let rest = self.0.split_off(ranges_max.min(self.0.len()));
        Self(std::mem::replace(&mut self.0, rest))
    }

    /// Notes that a range was refused, of a source whose highest sequence is given. What lies at or
    /// below that was judged before; what lies above is new in any case, so that all of it is one
    /// range.
    fn refuse(&mut self, (first, last): (i64, i64), highest: i64) {
        let first = first.max(highest.saturating_add(1));
        if last <= highest {
            return;
        }
        match self.0.last_mut() {
            Some(open) if open.1 > highest => *open = (open.0.min(first), open.1.max(last)),
            _ => self.0.push((first, last)),
        }
    }

    /// As [`Self::refuse`], of several.
    pub fn refuse_all(&mut self, ranges: &Self, highest: i64) {
        ranges.iter().for_each(|range| self.refuse(range, highest));
    }

    /// Whether a sequence is among them.
    pub fn contains(&self, sequence: i64) -> bool {
        self.place(sequence).is_some()
    }

    /// Takes out a sequence; whether it was there.
    pub fn take(&mut self, sequence: i64) -> bool {
        let Some(at) = self.place(sequence) else { return false };
        let (first, last) = self.0[at];
        match (first == sequence, last == sequence) {
            (true, true) => drop(self.0.remove(at)),
            (true, false) => self.0[at].0 += 1,
            (false, true) => self.0[at].1 -= 1,
            (false, false) => {
                self.0[at].1 = sequence - 1;
                self.0.insert(at + 1, (sequence + 1, last));
            }
        }
        true
    }

    fn place(&self, sequence: i64) -> Option<usize> {
        let at = self.0.partition_point(|(_, last)| *last < sequence);
        self.0.get(at).filter(|(first, _)| *first <= sequence).map(|_| at)
    }

    /// Appends the bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut next = 0;
        for (first, last) in self.iter() {
            push_leb128(out, (first - next) as u64);
            push_leb128(out, (last - first) as u64);
            next = last.saturating_add(1);
        }
    }

    /// Reads bytes to their end.
    ///
    /// # Errors
    /// Bytes that are no such ranges.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        const BEYOND: RecordError = RecordError::Rule("a sequence is out of bounds");
        let (mut reader, mut ranges, mut next) = (Reader(bytes), Vec::new(), Some(0_i64));
        while !reader.0.is_empty() {
            let mut number = || i64::try_from(reader.leb128()?).map_err(|_| BEYOND);
            let (gap, more) = (number()?, number()?);
            let first = next.and_then(|next| next.checked_add(gap)).ok_or(BEYOND)?;
            let last = first.checked_add(more).ok_or(BEYOND)?;
            ranges.push((first, last));
            next = last.checked_add(1);
        }
        Ok(Self(ranges))
    }
}

/// What was refused of a source in one request, as a control record says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The source.
    pub source: String,
    /// The sequences, at least one; at most [`RANGES_OF_A_RECORD_MAX`] ranges.
    pub ranges: RefusedRanges,
}

impl Refused {
    /// The body of the control record.
    pub fn body(&self) -> Vec<u8> {
        let mut out = vec![self.source.len() as u8];
        out.extend_from_slice(self.source.as_bytes());
        self.ranges.write(&mut out);
        out
    }

    /// Reads the body of a control record.
    ///
    /// # Errors
    /// Bytes that are no such body.
    pub fn read(body: &[u8]) -> Result<Self, RecordError> {
        let (len, rest) = body.split_first().ok_or(RecordError::Length)?;
        let (source, ranges) =
            rest.split_at_checked(usize::from(*len)).ok_or(RecordError::Length)?;
        let source = str::from_utf8(source).map_err(|_| RecordError::Text)?;
        let ranges = RefusedRanges::read(ranges)?;
        if !is_source(source) || !(1..=RANGES_OF_A_RECORD_MAX).contains(&ranges.len()) {
            return Err(RecordError::Rule("a source, or what was refused of it, is out of bounds"));
        }
        Ok(Self { source: source.to_owned(), ranges })
    }
}

#[cfg(test)]
mod tests;
