//! What clients say of an event, and what is made of it by whoever takes it.

use engine::gateway::Repeats;
use model::{Event, TimestampMs};

use super::{EVENT_TYPE, Fleet, FleetBug};

/// See the module.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) item: String,
    /// None leaves it to the server, which makes another one every time.
    pub(super) id: Option<String>,
    /// None leaves it to whoever takes it.
    pub(super) time: Option<TimestampMs>,
}

impl Said {
    /// The event as a gateway takes it at a time, with the id that it makes where there is none.
    pub(super) fn event(&self, now: TimestampMs, made: impl FnOnce() -> String) -> Event<'_> {
        Event {
            id: self.id.clone().unwrap_or_else(made).into(),
            item: self.item.as_str().into(),
            event_type: EVENT_TYPE.into(),
            time: self.time.unwrap_or(now),
            value: None,
            attributes: Vec::new(),
        }
    }

    /// What a repeat brings again.
    pub(super) fn repeats(&self, bug: Option<FleetBug>) -> Repeats {
        Repeats {
            time: self.time.is_some() || bug == Some(FleetBug::RouteByArrival),
            id: self.id.is_some() || bug == Some(FleetBug::SpreadByMadeId),
        }
    }
}

impl Fleet {
    /// Thinks of an event: by the clock of a client that is off itself, up to `ahead_ms` ahead, now and
    /// then without a time; of a client that stamps, without an id too.
    pub(super) fn invent_said(&mut self, ahead_ms: u64, is_stamped: bool) -> Said {
        let item = if self.chance.one_in(2) { 0 } else { self.chance.below(self.shape.items()) };
        let off = self.chance.below(300_000 + ahead_ms) as i64 - 300_000;
        let time = TimestampMs(self.broker.now().0 + off);
        let random = self.chance.draw();
        let plain = || Some(format!("id-{random:x}"));
        let (id, time) = match self.chance.below(if is_stamped { 6 } else { 4 }) {
            0 => (plain(), None),
            1 => (Some(uuid_v7(time, random)), None),
            2 => (Some(uuid_v7(time, random)), Some(time)),
            3 => (plain(), Some(time)),
            4 => (None, None),
            _ => (None, Some(time)),
        };
        Said { item: item_name(item), id, time }
    }
}

pub(super) fn item_name(number: u64) -> String {
    format!("item-{number}")
}

/// An id that says when it was made.
fn uuid_v7(time: TimestampMs, random: u64) -> String {
    let (millis, high, low) = (time.0 as u64, random >> 52, random & 0xffff_ffff_ffff);
    format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{low:012x}",
        millis >> 16,
        millis & 0xffff,
        high & 0xfff,
        random >> 48 & 0xfff
    )
}
