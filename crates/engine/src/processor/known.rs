//! Rows as they were last written, so that a flush need not read them back: on a long tail that took it most of
//! its time.
//!
//! Of an item and type that is the total and the row of its newest hour, and nothing older. It holds for as long as
//! nobody else writes rows of the partition: it begins with the one who opens it, and hours that the store may have
//! folded are asked for all the same. What the store had before is read in the background. Records lie one behind the other in segments. Where there is no more room the
//! segment that was begun longest ago is cleaned: what was written again since goes, and where nearly all of the
//! room is taken by what was not, the rest too.
//!
//! ```text
//! record = length of item, type, total and hour row u16 each | item | type | total | hour row
//! ```

use hashbrown::HashTable;
use model::StoredRow;
use model::aggregate::hash_names;
use model::counter::bytes::{read_row, write_row};

use super::reading::ReadRow;

/// Records begin at multiples of so many bytes.
const ALIGN: usize = 4;
/// The lengths at the begin of a record.
const HEAD: usize = 8;
/// Longest hour row that is kept: the sixty minutes of one in which everything has values.
const HOUR_BYTES_MAX: usize = 1 << 10;
/// Bounds of a segment. A record fits into the smallest.
const SEGMENT_BYTES: (usize, usize) = (4 << 10, 1 << 20);
/// Where records that were not written again take more than so much of the room, in percent, some of them go:
/// room for the next ones would take more and more cleaning.
const KEPT_PERCENT_MAX: usize = 80;
/// Places are counted in [`ALIGN`] and are 32 bits.
const BYTES_MAX: usize = 8 << 30;

/// What is known of the rows of one partition.
pub struct KnownRows {
    /// How much it may take, in bytes.
    bytes_max: usize,
    segments: Segments,
    /// Whether the last segment was full and there is no room for more.
    is_full: bool,
    /// Bytes of records that were not written again since.
    newest_bytes: usize,
    index: HashTable<Indexed>,
    seed: u64,
    reach: Reach,
}

/// Which totals of the store are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All.
    All,
    /// All that were written since a reading of the store began.
    SinceReading,
    /// Some.
    Some,
}

/// Records one behind the other, in pieces.
struct Segments {
    /// Bytes of a segment, a power of two.
    segment_bytes: usize,
    all: Vec<Vec<u8>>,
    /// The segment that is written to.
    current: usize,
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
        let segment_bytes = (bytes_max / 16).next_power_of_two().clamp(least, most);
        Self {
            bytes_max,
            segments: Segments { segment_bytes, all: Vec::new(), current: 0 },
            is_full: false,
            newest_bytes: 0,
            index: HashTable::new(),
            seed,
            reach: if is_new { Reach::All } else { Reach::Some },
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
            let names = (names.0.as_bytes(), names.1.as_bytes());
            let is_it = |place: Place| self.segments.record(place).has_names(names);
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
                let Record { total, hour, .. } = self.segments.record(place);
                Known::Rows { total: read_row(total).expect("as it was learned"), hour }
            }
            None if self.reach == Reach::All => Known::Nothing,
            None => Known::Unknown,
        }
    }

    /// Learns the rows that the store has now of what was looked for.
    pub(super) fn learn(&mut self, found: Found, record: &Record<'_>) {
        let is_long = record.hour.len() > HOUR_BYTES_MAX;
        let hour = if is_long { &[] } else { record.hour };
        let pushed = self.push(&Record { hour, ..*record });
        // It may have gone to make room, or be elsewhere.
        let Self { segments, index, is_full, .. } = self;
        let before = found.place.and_then(|before| {
            let names = (record.item, record.event_type);
            let is_at = |place| match *is_full {
                true => segments.record(place).has_names(names),
                false => place == before,
            };
            let is_it = |indexed: &Indexed| indexed.hash == found.hash && is_at(indexed.place);
            index.find_entry(spread(found.hash), is_it).ok()
        });
        if let Some(before) = &before {
            self.newest_bytes -= segments.record(before.get().place).len();
        }
        match (before, pushed) {
            (Some(mut before), Some(place)) => before.get_mut().place = place,
            (Some(before), None) => {
                before.remove();
                self.reach = Reach::Some;
            }
            (None, Some(place)) => {
                let indexed = Indexed { hash: found.hash, place };
                index.insert_unique(spread(found.hash), indexed, |other| spread(other.hash));
            }
            (None, None) => self.reach = Reach::Some,
        }
    }

    /// Says that a snapshot is taken now, whose totals are read; false where that is no use. Nobody may flush in
    /// between.
    pub fn begin_reading(&mut self) -> bool {
        let has_room = self.bytes_max >= 2 * self.segments.segment_bytes;
        let is_wanted = has_room && self.reach != Reach::All;
        if is_wanted {
            self.reach = Reach::SinceReading;
        }
        is_wanted
    }

    /// Takes rows that were read of the snapshot. What is known already was written since,
    /// or is the same. False where no more is wanted: what was written since may be known no longer, and
    /// then what the snapshot has may be old.
    pub fn read(&mut self, rows: &[ReadRow]) -> bool {
        let names = rows.iter().map(|row| (row.item.as_str(), row.event_type.as_str()));
        let (mut total, mut hour) = (Vec::new(), Vec::new());
        for (found, row) in self.find_all(names).into_iter().zip(rows) {
            if self.is_full {
                // What is met again is of more use than the rest.
                self.reach = Reach::Some;
            }
            if self.reach != Reach::SinceReading {
                return false;
            }
            if found.place.is_none() {
                total.clear();
                hour.clear();
                write_row(&mut total, &row.total);
                row.hour.iter().for_each(|row| write_row(&mut hour, row));
                let (item, event_type) = (row.item.as_bytes(), row.event_type.as_bytes());
                self.learn(found, &Record { item, event_type, total: &total, hour: &hour });
            }
        }
        self.reach == Reach::SinceReading
    }

    /// Says that all of the snapshot was read.
    pub fn end_reading(&mut self) {
        if self.reach == Reach::SinceReading {
            self.reach = Reach::All;
        }
    }

    /// Appends a record; none where it can have no room.
    fn push(&mut self, record: &Record<'_>) -> Option<Place> {
        let Segments { segment_bytes, .. } = self.segments;
        let is_short = |part: &[u8]| part.len() <= usize::from(u16::MAX);
        let fits = record.parts().into_iter().all(is_short) && record.len() <= segment_bytes;
        if !fits || self.bytes_max < 2 * segment_bytes {
            return None;
        }
        self.make_room(record.len());
        self.newest_bytes += record.len();
        Some(self.segments.append(record))
    }

    /// Goes on in a segment that has so much room.
    fn make_room(&mut self, len: usize) {
        // Once around at most: what is kept may leave a little room everywhere, and nowhere enough.
        for round in 0.. {
            if self.segments.has_room(len) {
                return;
            }
            let (count, segment_bytes) = (self.segments.all.len(), self.segments.segment_bytes);
            let room = count * segment_bytes;
            let taken = room + self.index.allocation_size();
            self.is_full |= count >= 2 && taken + segment_bytes > self.bytes_max;
            if !self.is_full {
                return self.segments.begin();
            }
            if count > 2 && taken > self.bytes_max {
                // The index has grown: records may be shorter now, or fewer of them written again.
                self.clean(count - 1, false);
                self.segments.all.pop();
                self.segments.current %= count - 1;
                continue;
            }
            let keeps = round < count && self.newest_bytes <= room / 100 * KEPT_PERCENT_MAX;
            self.segments.current = (self.segments.current + 1) % count;
            self.clean(self.segments.current, keeps);
        }
    }

    /// Removes from a segment what was written again since, or everything.
    fn clean(&mut self, segment: usize, keeps_newest: bool) {
        let mut bytes = std::mem::take(&mut self.segments.all[segment]);
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            let record = Record::read(&bytes[at..]);
            let (hash, len) = (self.hash(record.item, record.event_type), record.len());
            let place = self.segments.place(segment, at);
            let is_it = |indexed: &Indexed| indexed.place == place;
            match self.index.find_entry(spread(hash), is_it) {
                Ok(mut newest) if keeps_newest => {
                    bytes.copy_within(at..at + len, kept);
                    newest.get_mut().place = self.segments.place(segment, kept);
                    kept += len;
                }
                Ok(newest) => {
                    newest.remove();
                    self.newest_bytes -= len;
                    self.reach = Reach::Some;
                }
                Err(_) => {}
            }
            at += len;
        }
        bytes.truncate(kept);
        self.segments.all[segment] = bytes;
    }

    fn hash(&self, item: &[u8], event_type: &[u8]) -> u32 {
        hash_names(self.seed, item, event_type) as u32
    }
}

impl Segments {
    fn begin(&mut self) {
        self.current = self.all.len();
        self.all.push(Vec::with_capacity(self.segment_bytes));
    }

    fn has_room(&self, len: usize) -> bool {
        self.all.get(self.current).is_some_and(|segment| segment.len() + len <= self.segment_bytes)
    }

    /// Appends a record for which there is room.
    fn append(&mut self, record: &Record<'_>) -> Place {
        let segment = &mut self.all[self.current];
        let at = segment.len();
        record.write(segment);
        self.place(self.current, at)
    }

    fn place(&self, segment: usize, at: usize) -> Place {
        Place((segment * (self.segment_bytes / ALIGN) + at / ALIGN) as u32)
    }

    fn record(&self, Place(place): Place) -> Record<'_> {
        let (at, in_segment) = (place as usize, self.segment_bytes / ALIGN);
        Record::read(&self.all[at / in_segment][at % in_segment * ALIGN..])
    }
}

impl<'a> Record<'a> {
    fn parts(&self) -> [&'a [u8]; 4] {
        [self.item, self.event_type, self.total, self.hour]
    }

    /// Bytes until the next record.
    fn len(&self) -> usize {
        let parts: usize = self.parts().into_iter().map(<[u8]>::len).sum();
        (HEAD + parts).next_multiple_of(ALIGN)
    }

    fn has_names(&self, names: (&[u8], &[u8])) -> bool {
        (self.item, self.event_type) == names
    }

    fn write(&self, out: &mut Vec<u8>) {
        let parts = self.parts();
        parts.iter().for_each(|part| out.extend_from_slice(&(part.len() as u16).to_le_bytes()));
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.resize(out.len().next_multiple_of(ALIGN), 0);
    }

    /// The record at the begin of these bytes.
    fn read(bytes: &'a [u8]) -> Self {
        let (head, mut rest) = bytes.split_at(HEAD);
        let mut part = |at: usize| {
            let len = usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
            let part;
            (part, rest) = rest.split_at(len);
            part
        };
        Self { item: part(0), event_type: part(2), total: part(4), hour: part(6) }
    }
}

/// The table takes bits from both ends.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests;
