//! Makes events from a seed. Everything but the ids and times of a run is a pure function of the
//! seed; ids carry the time of the run's start (as UUIDv7 do), so that a second run is no duplicate
//! of the first.

use super::encode::{BodyFormat, Encoder};
use super::zipf::{Random, Zipf, mix};

/// How many events back a duplicate may reach.
const RECENT: usize = 4096;
pub(crate) const EVENT_TYPES: [&str; 3] = ["view", "like", "share"];
pub(super) const COUNTRIES: [&str; 8] = ["DE", "US", "IN", "BR", "JP", "FR", "GB", "NG"];
pub(super) const DEVICES: [&str; 4] = ["tv", "phone", "web", "tablet"];
pub(crate) const ITEM_BYTES: usize = 11;

/// What to make.
#[derive(Clone, Debug)]
pub(crate) struct GeneratorOptions {
    pub(crate) seed: u64,
    pub(crate) items: u32,
    pub(crate) skew: f64,
    /// Share of events that are of the first item, whatever the skew.
    pub(crate) hot: f64,
    /// Share of events that repeat a recent one exactly.
    pub(crate) duplicates: f64,
    pub(crate) attributes: bool,
    pub(crate) format: BodyFormat,
    /// Remember what is in each body, for the check at the end.
    pub(crate) track: bool,
    /// Epoch milliseconds of the start, in every id.
    pub(crate) started_ms: u64,
}

/// One event before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MadeEvent {
    pub(crate) id: [u8; 16],
    pub(crate) item: [u8; ITEM_BYTES],
    pub(crate) event_type: u8,
    pub(crate) time_ms: u64,
    /// Thousandths; zero: the event has no value.
    pub(crate) value_milli: u32,
    /// Bits that choose country and device.
    pub(crate) place: u8,
    pub(crate) rank: u32,
    pub(crate) number: u64,
}

/// An event of a body as the check remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracked {
    pub(crate) rank: u32,
    pub(crate) event_type: u8,
    /// Thousandths; zero: the event has no value.
    pub(crate) value_milli: u32,
    pub(crate) is_duplicate: bool,
    /// How many different events were made before it; a duplicate has that of its original.
    pub(crate) number: u64,
}

/// Makes bodies.
#[derive(Debug)]
pub(crate) struct Generator {
    random: Random,
    zipf: Zipf,
    /// Of 2^32.
    duplicate_chance: u32,
    /// Of 2^32; without it nothing is drawn for it.
    hot_chance: Option<u32>,
    track: bool,
    id_time: u64,
    id_salt: u64,
    made: u64,
    recent: Vec<MadeEvent>,
    encoder: Encoder,
}

impl Generator {
    pub(crate) fn new(options: &GeneratorOptions) -> Self {
        Self {
            random: Random::new(options.seed),
            zipf: Zipf::new(options.items, options.skew),
            duplicate_chance: (options.duplicates * 4_294_967_295.0) as u32,
            hot_chance: (options.hot > 0.0).then_some((options.hot * 4_294_967_295.0) as u32),
            track: options.track,
            id_time: options.started_ms,
            id_salt: mix(options.seed ^ 0x6c6f_6164),
            made: 0,
            recent: Vec::with_capacity(RECENT),
            encoder: Encoder::new(options.format, options.attributes),
        }
    }

    /// A body of so many events that happen at this time. What is in it goes to `tracked` where the
    /// check wants it.
    pub(crate) fn body(&mut self, events: u32, now_ms: u64, tracked: &mut Vec<Tracked>) -> Vec<u8> {
        self.encoder.begin(events, now_ms);
        for _ in 0..events {
            let (event, is_duplicate) = self.next(now_ms);
            self.encoder.push(&event);
            if self.track {
                let MadeEvent { rank, event_type, value_milli, number, .. } = event;
                tracked.push(Tracked { rank, event_type, value_milli, is_duplicate, number });
            }
        }
        self.encoder.finish(events)
    }

    fn next(&mut self, now_ms: u64) -> (MadeEvent, bool) {
        let bits = self.random.next();
        if (bits as u32) < self.duplicate_chance && !self.recent.is_empty() {
            let index = ((bits >> 32) as usize) % self.recent.len();
            return (self.recent[index], true);
        }
        let is_hot = self.hot_chance.is_some_and(|hot| (self.random.next() as u32) < hot);
        let rank = if is_hot { 0 } else { self.zipf.draw(&mut self.random) };
        let event_type = match (bits >> 32) as u8 {
            0..=229 => 0,
            230..=250 => 1,
            _ => 2,
        };
        // Half of the events carry up to an hour of seconds watched.
        let value_milli =
            if bits >> 63 == 0 { ((bits >> 40) as u32 & 0x3f_ffff) % 3_600_000 } else { 0 };
        let event = MadeEvent {
            id: event_id(self.id_time, self.id_salt, self.made),
            item: item_name(rank),
            event_type,
            time_ms: now_ms,
            value_milli,
            place: (bits >> 56) as u8,
            rank,
            number: self.made,
        };
        if self.recent.len() < RECENT {
            self.recent.push(event);
        } else {
            self.recent[self.made as usize % RECENT] = event;
        }
        self.made += 1;
        (event, false)
    }
}

/// A UUID of version 7: the run's start in epoch milliseconds, then the number of the event, then
/// bits of both and of a salt. The number alone makes it unique in a run.
pub(crate) fn event_id(started_ms: u64, salt: u64, number: u64) -> [u8; 16] {
    let low = mix(salt.wrapping_add(number));
    let high = (started_ms << 16) | 0x7000 | (low & 0x0fff);
    let low = (1 << 63) | (number & 0xffff_ffff_ffff) << 14 | (low >> 50);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&high.to_be_bytes());
    id[8..].copy_from_slice(&(low & !(1 << 62)).to_be_bytes());
    id
}

/// The name of a rank, like the id of a video. Different for every rank: 64 bits of a bijection in
/// 11 characters of 6 bits.
pub(crate) fn item_name(rank: u32) -> [u8; ITEM_BYTES] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = mix(u64::from(rank) + 1);
    std::array::from_fn(|i| ALPHABET[(bits >> (i * 6)) as usize & 63])
}

/// The name as text.
pub(crate) fn item_text(rank: u32) -> String {
    item_name(rank).iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests;
