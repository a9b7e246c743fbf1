//! What a demo sends: a live stream in ticks, and the days before it. All of it is a function of
//! the seed, the rate and the hour of the day; only times and ids are the run's.

use std::f64::consts::TAU;
use std::time::Duration;

use super::catalog::{VIDEOS, Video};
use crate::load::{BodyFormat, Encoder, MadeEvent, Random, Zipf, event_id, item_name};

/// The live stream is sent in steps of this.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// The rank of the video that goes viral: nobody looks at it before.
pub(crate) const VIRAL_RANK: u32 = 140;
/// From this second on it does.
const VIRAL_FROM: f64 = 20.0;
/// By how much it adds to the rate, at most.
const VIRAL_SHARE: f64 = 0.6;

const SKEW: f64 = 1.0;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
/// The past is not made up at more than this rate: it has to be there in seconds.
const HISTORY_RATE_MAX: f64 = 4_000.0;
/// Numbers of events of the past begin here, so that no id is that of a live one.
const HISTORY_NUMBERS: u64 = 1 << 40;
/// Events in a request of the past.
const HISTORY_BATCH: u64 = 1_000;
const MINUTES: u64 = 60;
const HOURS: u64 = 47;
/// Of the live rate, what the last minute had; each minute before has less.
const LAST_MINUTE_SHARE: f64 = 0.25;
const MINUTES_FALL: f64 = 12.0;
/// How many seconds of the live rate make an hour of the past: as many as a start can wait for.
const HOUR_SECONDS: f64 = 6.0;

/// Makes events one after the other.
struct Maker {
    random: Random,
    zipf: Zipf,
    encoder: Encoder,
    lengths_ms: Vec<u32>,
    started_ms: u64,
    salt: u64,
    number: u64,
}

impl Maker {
    fn new(seed: u64, videos: &[Video], started_ms: u64, number: u64) -> Self {
        Self {
            random: Random::new(seed ^ number),
            zipf: Zipf::new(VIDEOS, SKEW),
            encoder: Encoder::new(BodyFormat::Ndjson, true),
            lengths_ms: videos.iter().map(|video| video.length_ms).collect(),
            started_ms,
            salt: seed,
            number,
        }
    }

    /// An event of a video, or of any: mostly views, which tell the seconds watched.
    fn make(&mut self, rank: Option<u32>, time_ms: u64) -> MadeEvent {
        let rank = rank.unwrap_or_else(|| self.zipf.draw(&mut self.random));
        let bits = self.random.next();
        let event_type = match (bits >> 32) as u8 {
            0..=229 => 0,
            230..=250 => 1,
            _ => 2,
        };
        let length_ms = self.lengths_ms.get(rank as usize).copied().unwrap_or(0);
        // To tenths of a second, and never nothing: zero would be no value.
        let watched = (u64::from(length_ms) * (bits & 0xffff)) >> 16;
        let value_milli = if event_type == 0 { (watched as u32 / 100 + 1) * 100 } else { 0 };
        let event = MadeEvent {
            id: event_id(self.started_ms, self.salt, self.number),
            item: item_name(rank),
            event_type,
            time_ms,
            value_milli,
            place: (bits >> 56) as u8,
            rank,
            number: self.number,
        };
        self.number += 1;
        event
    }
}

/// A request: events, one a line.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) events: u64,
}

/// The stream as it happens.
pub(crate) struct Live {
    maker: Maker,
    rate: f64,
    tick: u64,
    /// Parts of events that are due.
    due: f64,
    viral_due: f64,
}

impl Live {
    pub(crate) fn new(seed: u64, videos: &[Video], rate: f64, started_ms: u64) -> Self {
        let maker = Maker::new(seed, videos, started_ms, 0);
        Self { maker, rate, tick: 0, due: 0.0, viral_due: 0.0 }
    }

    /// The next tick's events, which happen now; it may have none.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Body {
        let seconds = self.tick as f64 * TICK.as_secs_f64();
        self.tick += 1;
        let per_tick = self.rate * TICK.as_secs_f64();
        self.due += per_tick * ripple(seconds);
        self.viral_due += per_tick * viral(seconds);
        let (usual, viral) = (self.due as u32, self.viral_due as u32);
        self.due -= f64::from(usual);
        self.viral_due -= f64::from(viral);
        self.maker.encoder.begin(usual + viral, now_ms);
        for at in 0..usual + viral {
            let rank = (at >= usual).then_some(VIRAL_RANK);
            let event = self.maker.make(rank, now_ms);
            self.maker.encoder.push(&event);
        }
        let events = usual + viral;
        Body { bytes: self.maker.encoder.finish(events), events: events.into() }
    }
}

/// The rate breathes a little, so that one sees it live.
fn ripple(seconds: f64) -> f64 {
    1.0 + 0.15 * (TAU * seconds / 45.0).sin()
}

/// What the viral video adds to the rate: it doubles every few seconds, has everybody, and is
/// slowly forgotten.
fn viral(seconds: f64) -> f64 {
    if seconds < VIRAL_FROM {
        return 0.0;
    }
    let spread = 1.0 / (1.0 + (-(seconds - VIRAL_FROM - 15.0) / 4.0).exp());
    let forgotten = (-(seconds - 180.0).max(0.0) / 240.0).exp();
    VIRAL_SHARE * spread * forgotten
}

/// How much happens at an hour of the day, 1 on average: most at 20:00, least at 8:00 UTC.
fn wave(time_ms: u64) -> f64 {
    let hour = (time_ms % (24 * HOUR_MS)) as f64 / HOUR_MS as f64;
    1.0 + 0.6 * (TAU * (hour - 20.0) / 24.0).cos()
}

/// A piece of the past that has no live events.
struct Slot {
    start_ms: u64,
    length_ms: u64,
    events: u64,
}

/// The last hour by the minute and two days by the hour, the newest first.
pub(crate) struct History {
    maker: Maker,
    slots: std::vec::IntoIter<Slot>,
    slot: Option<Slot>,
    left: u64,
    pub(crate) events: u64,
}

impl History {
    pub(crate) fn new(seed: u64, videos: &[Video], rate: f64, started_ms: u64) -> Self {
        let rate = rate.min(HISTORY_RATE_MAX);
        let minute = started_ms / MINUTE_MS * MINUTE_MS;
        let hour = started_ms / HOUR_MS * HOUR_MS;
        let minutes = (1..=MINUTES).map(|ago| {
            let share = LAST_MINUTE_SHARE * (-(ago as f64 - 1.0) / MINUTES_FALL).exp();
            let start_ms = minute.saturating_sub(ago * MINUTE_MS);
            Slot { start_ms, length_ms: MINUTE_MS, events: (rate * 60.0 * share) as u64 }
        });
        let hours = (1..=HOURS).map(|ago| {
            let start_ms = hour.saturating_sub(ago * HOUR_MS);
            let events = rate * HOUR_SECONDS * wave(start_ms + HOUR_MS / 2);
            Slot { start_ms, length_ms: HOUR_MS, events: events as u64 }
        });
        let slots: Vec<Slot> = minutes.chain(hours).collect();
        let events = slots.iter().map(|slot| slot.events).sum();
        let maker = Maker::new(seed, videos, started_ms, HISTORY_NUMBERS);
        Self { maker, slots: slots.into_iter(), slot: None, left: 0, events }
    }
}

impl Iterator for History {
    type Item = Body;

    fn next(&mut self) -> Option<Body> {
        while self.left == 0 {
            self.slot = Some(self.slots.next()?);
            self.left = self.slot.as_ref().map_or(0, |slot| slot.events);
        }
        let slot = self.slot.as_ref()?;
        let (start_ms, length_ms) = (slot.start_ms, slot.length_ms);
        let events = self.left.min(HISTORY_BATCH);
        self.left -= events;
        self.maker.encoder.begin(events as u32, start_ms);
        for _ in 0..events {
            let time_ms = start_ms + self.maker.random.next() % length_ms;
            let event = self.maker.make(None, time_ms);
            self.maker.encoder.push(&event);
        }
        Some(Body { bytes: self.maker.encoder.finish(events as u32), events })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::super::catalog::videos;
    use super::*;

    const NOW_MS: u64 = 1_795_334_400_000;
    const RATE: f64 = 1_000.0;

    fn events(body: &Body) -> Vec<Value> {
        let lines = body.bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let events: Vec<Value> =
            lines.map(|line| serde_json::from_slice(line).expect("an event is JSON")).collect();
        assert_eq!(events.len() as u64, body.events);
        events
    }

    fn live(seed: u64, seconds: u64) -> Vec<Vec<Value>> {
        let mut live = Live::new(seed, &videos(seed, NOW_MS), RATE, NOW_MS);
        let mut second = |_| (0..10).flat_map(|_| events(&live.tick(NOW_MS))).collect();
        (0..seconds).map(&mut second).collect()
    }

    #[test]
    fn a_seed_sends_the_same() {
        assert_eq!(live(7, 3), live(7, 3));
        assert_ne!(live(7, 1), live(8, 1));
    }

    #[test]
    fn the_rate_is_kept_and_one_video_goes_viral() {
        let seconds = live(1, 60);
        let viral = crate::load::item_text(VIRAL_RANK);
        let of = |second: &[Value]| {
            second.iter().filter(|event| event["item"] == viral.as_str()).count()
        };
        for (at, second) in seconds.iter().enumerate() {
            let usual = (second.len() - of(second)) as f64;
            assert!((RATE * 0.8..RATE * 1.2).contains(&usual), "{usual} in second {at}");
        }
        assert!(seconds[..20].iter().all(|second| of(second) < 20));
        let last = of(&seconds[59]);
        assert!(last > 500, "{last} views of the viral video a second");
        // No other has as many.
        let mut counts = BTreeMap::new();
        for event in &seconds[59] {
            *counts.entry(event["item"].as_str()).or_insert(0) += 1;
        }
        assert_eq!(counts.values().max(), counts.get(&Some(viral.as_str())));
    }

    #[test]
    fn events_are_views_with_seconds_and_some_likes_and_shares() {
        let made = live(1, 5).concat();
        let share = |event_type: &str| {
            let of = made.iter().filter(|event| event["type"] == event_type);
            let of: Vec<&Value> = of.collect();
            let with_value = of.iter().filter(|event| event["value"].as_f64() > Some(0.0)).count();
            (of.len() as f64 / made.len() as f64, with_value == of.len(), with_value)
        };
        let (views, all_have_values, _) = share("view");
        assert!((0.85..0.95).contains(&views) && all_have_values, "{views}");
        for event_type in ["like", "share"] {
            let (some, _, with_value) = share(event_type);
            assert!((0.005..0.15).contains(&some) && with_value == 0, "{event_type} {some}");
        }
    }

    #[test]
    fn history_is_bounded_whatever_the_rate() {
        let history = |rate| History::new(1, &videos(1, NOW_MS), rate, NOW_MS).events;
        assert_eq!(history(1e6), history(HISTORY_RATE_MAX));
        assert!(history(HISTORY_RATE_MAX) < 2_500_000, "{}", history(HISTORY_RATE_MAX));
        assert!((700_000..1_200_000).contains(&history(2_000.0)), "{}", history(2_000.0));
    }

    #[test]
    fn history_lies_before_the_start_has_a_wave_and_ids_of_its_own() {
        let history = History::new(1, &videos(1, NOW_MS), 100.0, NOW_MS);
        let promised = history.events;
        let made: Vec<Value> = history.flat_map(|body| events(&body)).collect();
        assert_eq!(made.len() as u64, promised);
        let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
        for event in &made {
            let time: jiff::Timestamp =
                event["time"].as_str().expect("a time").parse().expect("RFC 3339");
            let ago = NOW_MS as i64 - time.as_millisecond();
            assert!((0..48 * HOUR_MS as i64).contains(&ago), "{event}");
            *hours.entry(ago / HOUR_MS as i64).or_default() += 1;
        }
        let of_days: Vec<u64> = hours.range(2..26).map(|(_, count)| *count).collect();
        let (least, most) = (of_days.iter().min(), of_days.iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| *most > 3 * least), "{hours:?}");
        let ids: std::collections::BTreeSet<_> = made.iter().map(|e| e["id"].as_str()).collect();
        assert_eq!(ids.len(), made.len());
        let live_ids: Vec<Value> = live(1, 1).concat();
        assert!(live_ids.iter().all(|event| !ids.contains(&event["id"].as_str())));
    }
}
