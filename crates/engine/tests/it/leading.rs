//! The most counted of thousands of items, by those that lead: equal to what all rows say, whatever was flushed, folded
//! or lost by a restart, and told without all rows where some items are well ahead.

use std::collections::BTreeMap;

use engine::query::Query;
use model::bucket::DAY_MS;
use model::{Event, Minute, PartitionId, RecordBuf, RoutingTable, TimeRange};
use proptest::prelude::*;

use super::reports::{FIRST_MINUTE, PARTITIONS, Step, World};

/// More than lists keep.
const ITEMS: u64 = 7_000;

struct Crowd {
    world: World,
    draw: u64,
    ids: u64,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        Self { world: World::new(), draw: seed | 1, ids: 0 }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.draw ^= self.draw << 13;
        self.draw ^= self.draw >> 7;
        self.draw ^= self.draw << 17;
        self.draw % end
    }

    /// Events of the last minutes; `skew` squeezes them onto few items.
    fn count(&mut self, events: u64, skew: u32, minutes: u64) {
        let routing = RoutingTable::first(PARTITIONS);
        let mut records: BTreeMap<PartitionId, RecordBuf> = BTreeMap::new();
        for _ in 0..events {
            let mut item = self.below(ITEMS);
            for _ in 0..skew {
                item = self.below(item + 1);
            }
            let minute = (self.world.log.now_ms() / 60_000) as u64 - self.below(minutes);
            self.ids += 1;
            let event = Event {
                id: self.ids.to_string().into(),
                item: format!("item-{item}").into(),
                event_type: if self.below(9) == 0 { "like" } else { "view" }.into(),
                time: Minute(minute as u32).start(),
                value: None,
                attributes: Vec::new(),
            };
            records.entry(routing.route_first(&event.item)).or_default().push(&event);
        }
        for (partition, records) in records {
            let count = records.record_count();
            self.world.append(partition, records.into_payload(), count, false);
        }
    }

    /// Compares with all rows; whether all rows were needed.
    fn check(&self, minutes: u32, limit: usize, event_type: &str) -> Result<bool, TestCaseError> {
        let query = Query::new(self.world.stepped.processors(), DAY_MS);
        let end = Minute((self.world.log.now_ms() / 60_000) as u32 + 1);
        let range = TimeRange { start: Minute(end.0 - minutes), end };
        let all = query.top_of_all(event_type, range, limit).expect("an answer");
        let leading = query.top_of_leaders(event_type, range, limit).expect("an answer");
        prop_assert_eq!(&query.top(event_type, range, limit).expect("an answer").items, &all.items);
        if let Some(leading) = &leading {
            prop_assert_eq!(&leading.items, &all.items);
            prop_assert_eq!(leading.range, all.range);
        }
        Ok(leading.is_none())
    }
}

#[test]
fn items_well_ahead_are_told_without_all_rows() {
    let mut crowd = Crowd::new(0x7a11);
    crowd.count(40_000, 3, 100);
    let of_all = |crowd: &Crowd| crowd.check(60, 5, "view").expect("as all rows say");
    assert!(!of_all(&crowd), "by memory alone");
    (0..PARTITIONS).for_each(|partition| crowd.world.take(Step::Flush(partition)));
    assert!(!of_all(&crowd), "by rows alone");
    crowd.count(20_000, 3, 30);
    assert!(!of_all(&crowd), "by both");
    crowd.world.restart();
    crowd.count(1_000, 3, 30);
    assert!(!of_all(&crowd), "by lists that are made of rows");
    let is_in_doubt = crowd.check(60, 2_000, "view").expect("as all rows say");
    assert!(is_in_doubt, "so many can only be told by all rows");
    let before = Minute(FIRST_MINUTE);
    let long = TimeRange { start: Minute(before.0 - 3_000), end: before };
    let query = Query::new(crowd.world.stepped.processors(), DAY_MS);
    assert!(query.top_of_leaders("view", long, 5).expect("an answer").is_none(), "many hours");
}

#[derive(Clone, Debug)]
enum Act {
    /// Events, how squeezed, of how many minutes.
    Count(u64, u32, u64),
    Of(Step),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1u64..9_000, 0u32..4, 1u64..200).prop_map(|(n, skew, minutes)| Act::Count(n, skew, minutes)),
        4 => (0..PARTITIONS).prop_map(|p| Act::Of(Step::Flush(p))),
        2 => (0..PARTITIONS, any::<u8>()).prop_map(|(p, rows)| Act::Of(Step::FlushPartly(p, rows))),
        2 => (1u32..50).prop_map(|minutes| Act::Of(Step::Wait(minutes))),
        1 => (30u32..300, 0u32..4_000).prop_map(|(minutes, more)| Act::Of(Step::Retention(minutes, more))),
        1 => (0..PARTITIONS).prop_map(|p| Act::Of(Step::Fold(p))),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn leaders_are_what_all_rows_say(
        seed in any::<u64>(),
        acts in proptest::collection::vec(act(), 1..20),
        minutes in 1u32..150,
        limit in 1usize..40,
    ) {
        let mut crowd = Crowd::new(seed);
        for act in acts {
            match act {
                Act::Count(events, skew, minutes) => crowd.count(events, skew, minutes),
                Act::Of(step) => crowd.world.take(step),
                Act::Restart => crowd.world.restart(),
            }
            crowd.check(minutes, limit, "view")?;
            crowd.check(minutes, 1, "like")?;
        }
    }
}
