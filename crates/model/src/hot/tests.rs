use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;

use super::{COOL_ROUNDS, HOT_ROUNDS, HeavyHitters, HeavyItem, HotItems, Round};
use crate::bucket::TimestampMs;
use crate::limits::SPREAD_ITEMS_MAX;
use crate::route::{RoutingChange, RoutingTable, RoutingVersion, Rule, Strategy, Subject};

fn stream() -> impl Generator<Value = Vec<(u8, u64)>> {
    // Small numbers come more often.
    let item = (0u8..=255, 0u8..=255).prop_map(|(a, b)| a.min(b) / 4);
    proptest::collection::vec((item, 1u64..5), 1..400)
}

proptest! {
    /// A counter is at most too large by its error, and what is heavy has one.
    #[test]
    fn space_saving_keeps_its_promise(stream in stream(), capacity in 1usize..20) {
        let mut sketch = HeavyHitters::new(capacity, 7);
        let mut exact = std::collections::BTreeMap::<String, u64>::new();
        for (item, events) in &stream {
            sketch.add(&item.to_string(), *events);
            *exact.entry(item.to_string()).or_default() += events;
        }
        let all: u64 = exact.values().sum();
        let largest = |sketch: &HeavyHitters, item: &str| {
            sketch.places.get(item).map(|at| sketch.counters[*at as usize].count)
        };
        for (item, count) in &exact {
            let counted = largest(&sketch, item);
            prop_assert!(counted.is_none_or(|counted| counted >= *count));
            prop_assert!(counted.is_some() || count * capacity as u64 <= all);
        }
        prop_assert!(sketch.counters.len() <= capacity);
        let (total, items) = sketch.take();
        prop_assert_eq!(total, all);
        for HeavyItem { item, count_min } in &items {
            prop_assert!(exact[item] >= *count_min);
        }
        prop_assert!(items.is_sorted_by_key(|item| std::cmp::Reverse(item.count_min)));
        prop_assert_eq!(sketch.take(), (0, Vec::new()));
    }
}

fn round(events: u64, items: &[(&str, u64)]) -> Round {
    let items = items
        .iter()
        .map(|(item, count_min)| HeavyItem { item: (*item).into(), count_min: *count_min });
    Round { millis: 10_000, events, items: items.collect() }
}

fn publish(table: &RoutingTable, changes: Vec<RoutingChange>) -> RoutingTable {
    let published = TimestampMs(table.newest().effective.0.max(0));
    let effective = table.earliest(published);
    let partitions = table.newest().partitions;
    table.with(RoutingVersion { published, effective, partitions, changes }).expect("it follows")
}

fn spread(item: &str, over: u16) -> RoutingChange {
    let rule = Rule { strategy: Strategy::Spread { over }, is_automatic: true };
    RoutingChange { subject: Subject::Item(item.into()), rule: Some(rule) }
}

fn unspread(item: &str) -> RoutingChange {
    RoutingChange { subject: Subject::Item(item.into()), rule: None }
}

#[test]
fn an_item_is_spread_when_it_stays_hot_and_no_more_when_it_stays_cool() {
    let mut hot = HotItems::new(500);
    let mut table = RoutingTable::first(16);
    let heat = round(100_000, &[("hot", 90_000), ("warm", 5_000), ("b", 100)]);
    for _ in 1..HOT_ROUNDS {
        assert_eq!(hot.judge(&heat, &table), []);
    }
    let changes = hot.judge(&heat, &table);
    assert_eq!(changes, [spread("hot", 16)]);
    table = publish(&table, changes);
    // In between, nothing changes however long it takes.
    let warm = round(100_000, &[("hot", 4_000)]);
    for _ in 0..3 * COOL_ROUNDS {
        assert_eq!(hot.judge(&heat, &table), []);
        assert_eq!(hot.judge(&warm, &table), []);
    }
    let cool = round(100_000, &[("hot", 3_000)]);
    for _ in 1..COOL_ROUNDS {
        assert_eq!(hot.judge(&cool, &table), []);
    }
    // One warm round begins the count anew, and an item that is not heard of is cool.
    assert_eq!(hot.judge(&warm, &table), []);
    let quiet = round(0, &[]);
    for _ in 1..COOL_ROUNDS {
        assert_eq!(hot.judge(&quiet, &table), []);
    }
    assert_eq!(hot.judge(&quiet, &table), [unspread("hot")]);
}

#[test]
fn what_becomes_hot_again_and_again_stays_spread_longer() {
    let mut table = RoutingTable::first(16);
    let mut hot = HotItems::new(500);
    let mut rounds_until = |round: &Round, table: &mut RoutingTable| {
        let mut rounds = 0;
        loop {
            rounds += 1;
            let changes = hot.judge(round, table);
            if !changes.is_empty() {
                *table = publish(table, changes);
                return rounds;
            }
        }
    };
    let heat = round(100_000, &[("hot", 90_000)]);
    for doubled in [0, 1, 2, 3, 4, 5, 6, 7, 8, 8] {
        assert_eq!(rounds_until(&heat, &mut table), HOT_ROUNDS);
        assert_eq!(rounds_until(&round(0, &[]), &mut table), COOL_ROUNDS << doubled);
    }
}

#[test]
fn one_of_several_leaves_to_others_what_it_cannot_tell() {
    let mut hot = HotItems::of_a_part(500);
    let table = publish(&RoutingTable::first(16), vec![spread("hot", 16)]);
    // Nothing comes here, or too little to tell, or less of the item than would ever spread it: others
    // have more of it.
    for round in [round(0, &[]), round(4_999, &[("other", 4_999)]), round(6_000, &[("hot", 400)])] {
        for _ in 0..3 * COOL_ROUNDS {
            assert_eq!(hot.judge(&round, &table), [], "{round:?}");
        }
    }
    let cool = round(6_000, &[("hot", 180), ("other", 300)]);
    for _ in 1..COOL_ROUNDS {
        assert_eq!(hot.judge(&cool, &table), []);
    }
    assert_eq!(hot.judge(&cool, &table), [unspread("hot")]);
    // It spreads what is hot here, as anybody does.
    let heat = round(100_000, &[("hotter", 90_000)]);
    let changes: Vec<_> = (0..HOT_ROUNDS).flat_map(|_| hot.judge(&heat, &table)).collect();
    assert_eq!(changes, [spread("hotter", 16)]);
}

#[test]
fn a_peak_of_a_moment_and_a_trickle_change_nothing() {
    let mut hot = HotItems::new(1_000);
    let table = RoutingTable::first(16);
    let heat = round(100_000, &[("hot", 90_000)]);
    for n in 0..20 {
        let next = if n % 3 == 2 { round(100_000, &[]) } else { heat.clone() };
        assert_eq!(hot.judge(&next, &table), []);
        // Much of very little.
        assert_eq!(HotItems::new(1_000).judge(&round(9_000, &[("a", 9_000)]), &table), []);
    }
    let mut of_one = HotItems::new(1_000);
    let alone = RoutingTable::first(1);
    assert!((0..20).all(|_| of_one.judge(&heat, &alone).is_empty()), "nowhere to spread to");
}

#[test]
fn what_grows_is_spread_wider_and_what_people_decided_stays() {
    let table = publish(&RoutingTable::first(16), vec![spread("a", 2)]);
    let by_hand = Rule { strategy: Strategy::Item, is_automatic: false };
    let by_hand = RoutingChange { subject: Subject::Prefix("m/".into()), rule: Some(by_hand) };
    let table = publish(&table, vec![by_hand]);
    let mut hot = HotItems::new(1);
    // 12 % of 16 partitions: four of them would do.
    let heat = round(100_000, &[("m/1", 50_000), ("a", 12_000), ("b", 7_000)]);
    let changes: Vec<_> = (0..HOT_ROUNDS).flat_map(|_| hot.judge(&heat, &table)).collect();
    assert_eq!(changes, [spread("a", 4), spread("b", 4)]);
}

#[test]
fn at_most_so_many_items_are_spread() {
    let names: Vec<String> = (0..2 * SPREAD_ITEMS_MAX).map(|n| format!("item-{n:03}")).collect();
    let items: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 100_000)).collect();
    let heat = round(100_000 * names.len() as u64, &items);
    let mut table = RoutingTable::first(512);
    let mut hot = HotItems::new(1);
    for _ in 0..10 {
        let changes = hot.judge(&heat, &table);
        if !changes.is_empty() {
            table = publish(&table, changes);
        }
    }
    assert_eq!((table.rules().len(), table.version()), (SPREAD_ITEMS_MAX, 2));
}
