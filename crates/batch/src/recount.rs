//! Counts the events of a partition again and says what is stored otherwise.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::error::Error;
use crate::files::{Archive, RawFile, plan};
use crate::judge::Judge;
use crate::numbers::Numbers;
use crate::raw::{Control, Event, RawReader};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// How far an event may lie in the future of its append time.
const FUTURE_SKEW_MS: i64 = MINUTE_MS;
/// The longest dedup window. What came this long before an event decides whether it is a repeat;
/// twice as long before, also how far back the window of that time reached.
const WINDOW_MS_MAX: i64 = 120 * MINUTE_MS;
/// Events between two looks at whether to go on: about a millisecond's.
const EVENTS_AT_A_TIME: u64 = 1 << 11;

/// What is to be counted again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// From this time on; the start of an hour, in milliseconds since 1970.
    pub start_ms: i64,
    /// Up to this time, exclusive; the start of an hour.
    pub end_ms: i64,
    /// Only this item.
    pub item: Option<String>,
    /// Only this event type.
    pub event_type: Option<String>,
    /// Which of `shares` shares of all items, so that memory stays bounded: all repeats of an event
    /// are of its item.
    pub share: u32,
    /// Number of shares; at least 1.
    pub shares: u32,
}

/// A cell as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCell<'a> {
    /// Start of its minute or hour, in milliseconds since 1970.
    pub start_ms: i64,
    /// The item.
    pub item: &'a str,
    /// The event type.
    pub event_type: &'a str,
    /// Its numbers.
    pub numbers: Numbers,
}

/// A cell that is stored otherwise than it was counted again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which partition.
    pub partition: u16,
    /// Start of the cell's minute or hour, in milliseconds since 1970.
    pub start_ms: i64,
    /// Whether it is a minute; else an hour.
    pub is_minute: bool,
    /// The item.
    pub item: String,
    /// The event type.
    pub event_type: String,
    /// What is stored.
    pub stored: Numbers,
    /// What the events say.
    pub recounted: Numbers,
}

/// A recount of one partition. Events come in log order: first those of the archive, then those
/// that only the log has.
pub struct Recount {
    partition: u16,
    scope: Scope,
    judge: Judge,
    names: Names,
    /// By name and start of the minute in minutes since 1970; of the hour once settled.
    cells: HashMap<(u32, i64), Numbers>,
    minutes_from_ms: i64,
    events: u64,
    repeats: u64,
    /// The first offset whose source was read.
    earliest: Option<u64>,
}

impl Scope {
    /// The append time from which on events matter, those included that decide about repeats.
    pub fn needed_from_ms(&self) -> i64 {
        self.start_ms - FUTURE_SKEW_MS - 2 * WINDOW_MS_MAX
    }

    /// Whether an item and type are among those asked for, and in this share.
    pub fn takes(&self, item: &str, event_type: &str) -> bool {
        self.item.as_ref().is_none_or(|only| only == item)
            && self.event_type.as_ref().is_none_or(|only| only == event_type)
            && self.is_mine(item)
    }

    fn is_mine(&self, item: &str) -> bool {
        // FNV-1a: which share an item is in must be the same everywhere, and nothing else.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        self.shares == 1
            || (item.bytes().fold(0xcbf2_9ce4_8422_2325, hash) >> 32) as u32 % self.shares
                == self.share
    }
}

impl Recount {
    /// Nothing is counted yet. `window_minutes` holds until a raw file or a control record says
    /// otherwise.
    pub fn new(partition: u16, scope: Scope, window_minutes: u32, hash_keys: (u64, u64)) -> Self {
        let mut judge = Judge::new(hash_keys);
        judge.set_window(window_minutes);
        Self {
            partition,
            scope,
            judge,
            names: Names::default(),
            cells: HashMap::new(),
            minutes_from_ms: i64::MIN,
            events: 0,
            repeats: 0,
            earliest: None,
        }
    }

    /// Counts what the archive holds; the offset from which on the log has to give the rest, or
    /// none where the archive has nothing of it. `go_on` hears how many events were read since it
    /// was asked last.
    ///
    /// # Errors
    /// `TooOld` and `Gap` where nothing could be proven, `Damaged`, `Archive`; `Stopped`.
    pub fn read_archive(
        &mut self,
        archive: &dyn Archive,
        files: &[RawFile],
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<u64>, Error> {
        let partition = self.partition;
        let mine = files.iter().filter(|file| file.partition == partition);
        let newest = mine.clone().next_back();
        let chosen = plan(files, self.partition, self.scope.needed_from_ms())?;
        // Where no file is needed, what follows all of them is.
        let begin = chosen.first().map(|file| file.from).or(newest.map(|file| file.to));
        let before = mine.take_while(|file| Some(file.from) < begin);
        self.read_sources(archive, before, go_on)?;
        if let Some(begin) = begin {
            self.begins_at(begin);
        }
        for file in &chosen {
            self.read_file(archive, file, go_on)?;
        }
        Ok(newest.map(|file| file.to))
    }

    /// Reads what sources sent before: it says which of their events are repeats.
    fn read_sources<'a>(
        &mut self,
        archive: &dyn Archive,
        files: impl Iterator<Item = &'a RawFile>,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Error> {
        for file in files {
            self.earliest.get_or_insert(file.from);
            let reader = RawReader::open(archive, file)?;
            let refusals = reader.head.controls.iter().filter(|c| c.bytes.first() == Some(&6));
            let mut refusals = refusals.peekable();
            reader.for_each_source(|offset, (source, sequence), append_ms| {
                while let Some(control) = refusals.next_if(|control| control.offset < offset) {
                    self.control(control)?;
                }
                self.judge.is_repeated_by(source, sequence, append_ms);
                Ok(())
            })?;
            refusals.try_for_each(|control| self.control(control))?;
            if !go_on(0) {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }

    /// Says where reading begins, unless it has begun.
    pub fn begins_at(&mut self, offset: u64) {
        self.earliest.get_or_insert(offset);
    }

    /// Says that a source was first heard of at an offset. Call it for all sources, when everything
    /// is read.
    ///
    /// # Errors
    /// `Source` where events of it were read, and others lie before the first that was.
    pub fn check_source(&self, source: &str, since: u64) -> Result<(), Error> {
        let is_whole = self.earliest.is_some_and(|earliest| since >= earliest);
        if is_whole || !self.judge.has_heard_of(source) {
            return Ok(());
        }
        Err(Error::Source { partition: self.partition, source_name: source.to_owned() })
    }

    fn read_file(
        &mut self,
        archive: &dyn Archive,
        file: &RawFile,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Error> {
        let reader = RawReader::open(archive, file)?;
        self.judge.set_window(reader.head.window_minutes);
        let mut controls = reader.head.controls.iter().peekable();
        let mut unsaid = 0;
        reader.for_each(|event| {
            while let Some(control) = controls.next_if(|control| control.offset < event.offset) {
                self.control(control)?;
            }
            self.event(event);
            unsaid += 1;
            match unsaid == EVENTS_AT_A_TIME && !go_on(std::mem::take(&mut unsaid)) {
                true => Err(Error::Stopped),
                false => Ok(()),
            }
        })?;
        controls.try_for_each(|control| self.control(control))?;
        if go_on(unsaid) { Ok(()) } else { Err(Error::Stopped) }
    }

    /// Counts the next event, unless it is a repeat.
    pub fn event(&mut self, event: &Event<'_>) {
        self.judge.advance(event.append_ms);
        let is_repeated = event.source.is_some_and(|(source, sequence)| {
            self.judge.is_repeated_by(source, sequence, event.append_ms)
        });
        if !self.scope.takes(event.item, event.event_type) {
            return;
        }
        self.events += 1;
        // Both take note of it, whatever the other says.
        if self.judge.is_repeat(event) || is_repeated {
            self.repeats += 1;
        } else if (self.scope.start_ms..self.scope.end_ms).contains(&event.time_ms) {
            let name = self.names.number(event.item, event.event_type);
            let minute = event.time_ms.div_euclid(MINUTE_MS);
            self.cells.entry((name, minute)).or_insert(Numbers::NONE).event(event.micros);
        }
    }

    /// Minds the next control record.
    ///
    /// # Errors
    /// `Control` where it is not known.
    pub fn control(&mut self, control: &Control) -> Result<(), Error> {
        self.judge.control(self.partition, control)
    }

    /// Says from when on minutes are kept: cells before are hours from here on. Call it once, when
    /// everything is counted.
    pub fn settle(&mut self, minutes_from_ms: i64) {
        self.minutes_from_ms = minutes_from_ms;
        let to_hour = |minute: i64| match minute * MINUTE_MS < minutes_from_ms {
            true => (minute * MINUTE_MS).div_euclid(HOUR_MS) * HOUR_MS / MINUTE_MS,
            false => minute,
        };
        let finer: Vec<_> =
            self.cells.extract_if(|(_, minute), _| to_hour(*minute) != *minute).collect();
        for ((name, minute), numbers) in finer {
            *self.cells.entry((name, to_hour(minute))).or_insert(Numbers::NONE) += numbers;
        }
    }

    /// Compares a stored cell, each once. A cell is a minute from where minutes are kept, else an
    /// hour.
    pub fn compare(&mut self, cell: &StoredCell<'_>) -> Option<Difference> {
        let scope = &self.scope;
        let is_asked = (scope.start_ms..scope.end_ms).contains(&cell.start_ms)
            && scope.takes(cell.item, cell.event_type);
        if !is_asked {
            return None;
        }
        let minute = cell.start_ms.div_euclid(MINUTE_MS);
        let name = self.names.find(cell.item, cell.event_type);
        let recounted = name.and_then(|name| self.cells.remove(&(name, minute)));
        let recounted = recounted.unwrap_or(Numbers::NONE);
        (recounted != cell.numbers).then(|| Difference {
            partition: self.partition,
            start_ms: cell.start_ms,
            is_minute: cell.start_ms >= self.minutes_from_ms,
            item: cell.item.to_owned(),
            event_type: cell.event_type.to_owned(),
            stored: cell.numbers,
            recounted,
        })
    }

    /// The cells that were counted again and are not stored at all. Call it when all that is stored
    /// was compared.
    pub fn missing(&mut self) -> Vec<Difference> {
        let left = std::mem::take(&mut self.cells);
        let difference = |((name, minute), recounted): ((u32, i64), Numbers)| {
            let (item, event_type) = self.names.pair(name);
            Difference {
                partition: self.partition,
                start_ms: minute * MINUTE_MS,
                is_minute: minute * MINUTE_MS >= self.minutes_from_ms,
                item: item.to_owned(),
                event_type: event_type.to_owned(),
                stored: Numbers::NONE,
                recounted,
            }
        };
        left.into_iter().map(difference).collect()
    }

    /// Events of the scope that were read, and how many of them were repeats.
    pub fn read(&self) -> (u64, u64) {
        (self.events, self.repeats)
    }
}

/// Items and types, each pair with a number.
#[derive(Default)]
struct Names {
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    pairs: Vec<(Box<str>, Box<str>)>,
}

impl Names {
    fn hash(&self, item: &str, event_type: &str) -> u64 {
        self.hasher.hash_one((item, event_type))
    }

    fn find(&self, item: &str, event_type: &str) -> Option<u32> {
        let is_it = |at: &u32| {
            let (own, its_type) = &self.pairs[*at as usize];
            **own == *item && **its_type == *event_type
        };
        self.index.find(self.hash(item, event_type), is_it).copied()
    }

    fn pair(&self, number: u32) -> (&str, &str) {
        let (item, event_type) = &self.pairs[number as usize];
        (item, event_type)
    }

    fn number(&mut self, item: &str, event_type: &str) -> u32 {
        if let Some(known) = self.find(item, event_type) {
            return known;
        }
        let number = u32::try_from(self.pairs.len()).expect("a share has fewer items");
        let hash = self.hash(item, event_type);
        self.pairs.push((item.into(), event_type.into()));
        let Self { hasher, index, pairs } = self;
        index.insert_unique(hash, number, |at| {
            let (item, event_type) = &pairs[*at as usize];
            hasher.hash_one((&**item, &**event_type))
        });
        number
    }
}
