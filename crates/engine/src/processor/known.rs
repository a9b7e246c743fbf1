//! Rows as they were last written, so that a flush need not read them back: on a long tail that took it most of
//! its time.
//!
//! Of an item and type that is the total and the row of its newest hour, and nothing older. It holds for as long as
//! nobody else writes rows of the partition: it begins with the one who opens it, and hours that the store may have
//! folded are asked for all the same. Records lie one behind the other in segments; where there is no more room the
//! oldest segment is written over, so that what was not counted for longest goes.
//!
//! ```text
//! record = length of item, type, total and hour row u16 each | item | type | total | hour row
//! ```

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use model::StoredRow;
use model::counter::bytes::read_row;

/// Records begin at multiples of so many bytes.
const ALIGN: usize = 4;
/// The lengths at the begin of a record.
const HEAD: usize = 8;
/// Longest hour row that is kept: the sixty minutes of one in which everything has values.
const HOUR_BYTES_MAX: usize = 1 << 10;
/// Bounds of a segment. A record fits into the smallest.
const SEGMENT_BYTES: (usize, usize) = (4 << 10, 1 << 20);
/// Places are counted in [`ALIGN`] and are 32 bits.
const BYTES_MAX: usize = 8 << 30;

/// What is known of the rows of one partition.
pub struct KnownRows {
    /// How much it may take, in bytes.
    bytes_max: usize,
    /// Bytes of a segment, a power of two.
    segment_bytes: usize,
    segments: Vec<Vec<u8>>,
    /// The segment that is written to.
    current: usize,
    /// Whether the last segment was full and there is no room for more.
    is_full: bool,
    index: HashTable<Indexed>,
    seed: u64,
    /// Whether there are no other totals in the store.
    has_all: bool,
}

/// An item and type and where its record is.
#[derive(Clone, Copy)]
struct Indexed {
    hash: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u32);

/// What was found of an item and type; holds until something is learned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    hash: u32,
    place: Option<Place>,
}

/// What is known of an item and type.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    /// These are its rows.
    Rows {
        total: StoredRow,
        /// The bytes of the row of the total's newest hour; empty where it has to be asked for.
        hour: &'a [u8],
    },
    /// It was never counted.
    Nothing,
    /// The store has to be asked.
    Unknown,
}

/// What is known of an item and type, as bytes.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) item: &'a [u8],
    pub(super) event_type: &'a [u8],
    /// The total's row.
    pub(super) total: &'a [u8],
    /// The row of the total's newest hour; empty where it has to be asked for.
    pub(super) hour: &'a [u8],
}

impl KnownRows {
    /// Nothing, and it stays so.
    pub fn none() -> Self {
        Self::new(0, 0, false)
    }

    /// What there is to know at the begin, in so many bytes at most. `is_new` says that the store has no rows
    /// of the partition.
    pub fn new(bytes_max: usize, seed: u64, is_new: bool) -> Self {
        let bytes_max = bytes_max.min(BYTES_MAX);
        let (least, most) = SEGMENT_BYTES;
        Self {
            bytes_max,
            segment_bytes: (bytes_max / 16).next_power_of_two().clamp(least, most),
            segments: Vec::new(),
            current: 0,
            is_full: false,
            index: HashTable::new(),
            seed,
            has_all: is_new,
        }
    }

    /// Forgets everything: what the store has was not written by what is known here.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.bytes_max, self.seed, false);
    }

    /// Looks for items and types. In loops that each do one step for all of them, so that the processor waits for
    /// many cache lines at once.
    pub(super) fn find_all<'n>(
        &self,
        names: impl Iterator<Item = (&'n str, &'n str)> + Clone,
    ) -> Vec<Found> {
        let mut all: Vec<_> = names
            .clone()
            .map(|(item, event_type)| self.hash(item.as_bytes(), event_type.as_bytes()))
            .map(|hash| Found { hash, place: None })
            .collect();
        for Found { hash, place } in &mut all {
            let same_hash = |indexed: &Indexed| indexed.hash == *hash;
            *place = self.index.find(spread(*hash), same_hash).map(|indexed| indexed.place);
        }
        for (names, found) in names.zip(&mut all) {
            let is_it = |place: Place| self.record(place).has_names(names);
            // Two names may share a hash.
            if found.place.is_some_and(|place| !is_it(place)) {
                let is_it = |indexed: &Indexed| indexed.hash == found.hash && is_it(indexed.place);
                found.place =
                    self.index.find(spread(found.hash), is_it).map(|indexed| indexed.place);
            }
        }
        all
    }

    /// What is known of what was found.
    pub(super) fn get(&self, found: Found) -> Known<'_> {
        match found.place {
            Some(place) => {
                let Record { total, hour, .. } = self.record(place);
                Known::Rows { total: read_row(total).expect("as it was learned"), hour }
            }
            None if self.has_all => Known::Nothing,
            None => Known::Unknown,
        }
    }

    /// Learns the rows that the store has now of what was looked for.
    pub(super) fn learn(&mut self, found: Found, record: &Record<'_>) {
        let is_long = record.hour.len() > HOUR_BYTES_MAX;
        let hour = if is_long { &[] } else { record.hour };
        let pushed = self.push(&Record { hour, ..*record });
        // It may have gone to make room.
        let before = found.place.and_then(|before| {
            let is_it = |indexed: &Indexed| indexed.hash == found.hash && indexed.place == before;
            self.index.find_entry(spread(found.hash), is_it).ok()
        });
        match (before, pushed) {
            (Some(mut before), Some(place)) => before.get_mut().place = place,
            (Some(before), None) => {
                before.remove();
                self.has_all = false;
            }
            (None, Some(place)) => {
                let indexed = Indexed { hash: found.hash, place };
                self.index.insert_unique(spread(found.hash), indexed, |other| spread(other.hash));
            }
            (None, None) => self.has_all = false,
        }
    }

    /// Appends a record; none where it has no room.
    fn push(&mut self, record: &Record<'_>) -> Option<Place> {
        let Record { item, event_type, total, hour } = record;
        let parts = [item, event_type, total, hour];
        let len = HEAD + parts.iter().map(|part| part.len()).sum::<usize>();
        let fits = len <= self.segment_bytes && self.bytes_max >= 2 * self.segment_bytes;
        if !fits || parts.iter().any(|part| part.len() > usize::from(u16::MAX)) {
            return None;
        }
        let has_room = |segment: &Vec<u8>| segment.len() + len <= self.segment_bytes;
        if !self.segments.get(self.current).is_some_and(has_room) {
            self.begin_segment();
        }
        let segment = &mut self.segments[self.current];
        let place = self.current * (self.segment_bytes / ALIGN) + segment.len() / ALIGN;
        for part in parts {
            segment.extend_from_slice(&(part.len() as u16).to_le_bytes());
        }
        for part in parts {
            segment.extend_from_slice(part);
        }
        segment.resize(segment.len().next_multiple_of(ALIGN), 0);
        Some(Place(place as u32))
    }

    /// Goes on in an empty segment.
    fn begin_segment(&mut self) {
        let count = self.segments.len();
        let taken = count * self.segment_bytes + self.index.allocation_size();
        self.is_full |= count >= 2 && taken + self.segment_bytes > self.bytes_max;
        if self.is_full {
            self.current = (self.current + 1) % count;
            self.evict(self.current);
        } else {
            self.current = count;
            self.segments.push(Vec::with_capacity(self.segment_bytes));
        }
    }

    /// Forgets what a segment has that was not written again since.
    fn evict(&mut self, segment: usize) {
        let begin = segment * (self.segment_bytes / ALIGN);
        let mut at = 0;
        while at < self.segments[segment].len() {
            let place = Place((begin + at / ALIGN) as u32);
            let record = self.record(place);
            let (hash, len) = (self.hash(record.item, record.event_type), record.len());
            let is_it = |indexed: &Indexed| indexed.place == place;
            if let Ok(newest) = self.index.find_entry(spread(hash), is_it) {
                newest.remove();
                self.has_all = false;
            }
            at += len.next_multiple_of(ALIGN);
        }
        self.segments[segment].clear();
    }

    fn record(&self, Place(place): Place) -> Record<'_> {
        let in_segment = self.segment_bytes / ALIGN;
        let at = place as usize;
        let (head, mut rest) =
            self.segments[at / in_segment][at % in_segment * ALIGN..].split_at(HEAD);
        let mut part = |at: usize| {
            let len = usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
            let part;
            (part, rest) = rest.split_at(len);
            part
        };
        Record { item: part(0), event_type: part(2), total: part(4), hour: part(6) }
    }

    fn hash(&self, item: &[u8], event_type: &[u8]) -> u32 {
        let mut hasher = FoldHasher::with_seed(self.seed, SharedSeed::global_fixed());
        hasher.write(item);
        hasher.write(event_type);
        hasher.finish() as u32
    }
}

impl Record<'_> {
    fn has_names(&self, (item, event_type): (&str, &str)) -> bool {
        self.item == item.as_bytes() && self.event_type == event_type.as_bytes()
    }

    fn len(&self) -> usize {
        HEAD + self.item.len() + self.event_type.len() + self.total.len() + self.hour.len()
    }
}

/// The table takes bits from both ends.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests;
