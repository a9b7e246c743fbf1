//! Sources of a file, so that several requests of it can be under way at once: a source sends one
//! after the other, so a file has eight, and its events go to them by turns.
//!
//! Which source an event has, and with which sequence, depends on nothing but its place among the
//! events of the file: cut into other requests, it has the same.

use super::ids;

/// Sources of a file.
pub(crate) const LANES: u64 = 8;
/// So many events that follow each other have the same source.
pub(crate) const LANE_EVENTS: u64 = 2_000;

/// The sources of one file.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    prefix: String,
}

impl Lanes {
    /// For a content read with these options: all that changes which events come out of it.
    pub(crate) fn of_file(identity: u128, options: &str) -> Self {
        let identity = identity.to_be_bytes();
        let key = ids::digest([identity.as_slice(), options.as_bytes()]).as_u128();
        Self { prefix: format!("send:{key:032x}") }
    }

    /// With another name.
    #[cfg(test)]
    pub(crate) fn named(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The source of the events of a lane.
    pub(crate) fn source(&self, lane: usize) -> String {
        format!("{}:{lane}", self.prefix)
    }
}

/// The lane of an event, by its place among the events of the file.
pub(crate) fn lane_of(event: u64) -> usize {
    (event / LANE_EVENTS % LANES) as usize
}

/// How many events from this one on have the same lane.
pub(crate) fn left_of_lane(event: u64) -> u64 {
    LANE_EVENTS - event % LANE_EVENTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_come_by_turns() {
        assert_eq!([0, 1_999, 2_000, 15_999, 16_000].map(lane_of), [0, 0, 1, 7, 0]);
        assert_eq!([0, 1, 1_999, 2_000].map(left_of_lane), [2_000, 1_999, 1, 2_000]);
    }

    #[test]
    fn sources_depend_on_content_and_options_and_never_change() {
        let source = |identity, options: &str| Lanes::of_file(identity, options).source(7);
        assert_eq!(source(7, "x"), SOURCE);
        assert_ne!(source(7, "x"), source(8, "x"));
        assert_ne!(source(7, "x"), source(7, "y"));
        assert!(model::event::is_source(&source(7, "x")));
    }

    const SOURCE: &str = "send:04ead1e3e8e09d3f00f0f78b5d00fdd0:7";
}
