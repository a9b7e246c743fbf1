use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;

use super::{
    RoutingChange, RoutingError, RoutingTable, RoutingVersion, Rule, Strategy, Subject,
    murmur3_x86_32,
};
use crate::bucket::TimestampMs;
use crate::limits::ROUTING_LEAD_MS;
use crate::partition::PartitionId;

#[test]
fn matches_the_published_vectors() {
    // Verified against the reference implementation's well known results for seed 0.
    for (text, expected) in [
        ("", 0),
        ("test", 0xba6b_d213),
        ("Hello, world!", 0xc036_3e43),
        ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
    ] {
        assert_eq!(murmur3_x86_32(text.as_bytes()), expected, "{text}");
    }
}

fn rule(strategy: Strategy) -> Option<Rule> {
    Some(Rule { strategy, is_automatic: false })
}

fn of_item(item: &str, rule: Option<Rule>) -> RoutingChange {
    RoutingChange { subject: Subject::Item(item.into()), rule }
}

fn of_prefix(prefix: &str, rule: Option<Rule>) -> RoutingChange {
    RoutingChange { subject: Subject::Prefix(prefix.into()), rule }
}

/// The table with one more version, published at a time and in force as early as it may be.
fn then(
    table: &RoutingTable,
    published: i64,
    partitions: u16,
    changes: &[RoutingChange],
) -> Result<RoutingTable, RoutingError> {
    let published = TimestampMs(published);
    let effective = table.earliest(published);
    table.with(RoutingVersion { published, effective, partitions, changes: changes.to_vec() })
}

fn sixteen() -> RoutingTable {
    RoutingTable::first(16)
}

#[test]
fn the_first_version_goes_by_the_item_alone() {
    let table = sixteen();
    for (item, partition) in [("test", 3), ("Hello, world!", 3), ("", 0)] {
        let routed = table.route(item, "any", TimestampMs(5));
        assert_eq!((routed, table.route_first(item)), (PartitionId(partition), routed), "{item}");
        assert_eq!(table.partitions_of(item), [routed]);
    }
    assert_eq!((table.version(), table.log_partitions()), (1, 16));
}

#[test]
fn a_version_holds_from_its_time_on_and_changes_nothing_before() {
    let spread = rule(Strategy::Spread { over: 4 });
    let table = then(&sixteen(), 1_000, 16, &[of_item("hot", spread)]).expect("it follows");
    let effective = table.newest().effective;
    assert_eq!(effective, TimestampMs(1_000 + ROUTING_LEAD_MS + 1));
    let own = table.route_first("hot");
    let before = TimestampMs(effective.0 - 1);
    let ids: Vec<String> = (0..200).map(|n| format!("id-{n}")).collect();
    assert!(ids.iter().all(|id| table.route("hot", id, before) == own));
    let mut reached: Vec<_> = ids.iter().map(|id| table.route("hot", id, effective)).collect();
    reached.sort_unstable();
    reached.dedup();
    let expected: Vec<_> = (0..4).map(|n| PartitionId((own.0 + n) % 16)).collect();
    let mut sorted = expected.clone();
    sorted.sort_unstable();
    assert_eq!((&reached, table.partitions_of("hot")), (&sorted, sorted.clone()));
    assert!(ids.iter().all(|id| table.route("cold", id, effective) == table.route_first("cold")));
    // Taken away again, the rows stay where they are.
    let cooled = then(&table, 500_000, 16, &[of_item("hot", None)]).expect("it follows");
    let after = cooled.newest().effective;
    assert!(ids.iter().all(|id| cooled.route("hot", id, after) == own));
    assert!(
        ids.iter()
            .all(|id| cooled.route("hot", id, effective) == table.route("hot", id, effective))
    );
    assert_eq!(cooled.partitions_of("hot"), sorted);
    assert_eq!(cooled.rules(), []);
}

#[test]
fn dedicated_partitions_are_left_to_whom_they_belong() {
    let partitions = vec![3, 5];
    let changes = [of_prefix("c/", rule(Strategy::Dedicated { partitions }))];
    let table = then(&sixteen(), 0, 16, &changes).expect("it follows");
    let now = table.newest().effective;
    let mut moved = 0;
    for n in 0..500 {
        let (own, other) = (format!("c/{n}"), format!("d/{n}"));
        assert!([3, 5].contains(&table.route(&own, "x", now).0));
        let routed = table.route(&other, "x", now);
        assert!(![3, 5].contains(&routed.0));
        let first = table.route_first(&other);
        assert!(routed == first || [3, 5].contains(&first.0), "only who must goes elsewhere");
        moved += usize::from(routed != first);
        assert!(table.partitions_of(&other).contains(&routed));
    }
    assert!((20..120).contains(&moved), "an eighth: {moved}");
    assert_eq!(table.dedicated(), [3, 5]);
    // An item of its own below the prefix.
    let table = then(&table, 200_000, 16, &[of_item("c/0", rule(Strategy::Item))]);
    let table = table.expect("it follows");
    let now = table.newest().effective;
    assert!(![3, 5].contains(&table.route("c/0", "x", now).0));
    // The longest prefix decides.
    let longer = of_prefix("c/1", rule(Strategy::Pinned { partitions: vec![0] }));
    let table = then(&table, 400_000, 16, &[longer]).expect("it follows");
    assert_eq!(table.route("c/12", "x", table.newest().effective), PartitionId(0));
}

#[test]
fn an_item_by_the_minute_goes_everywhere_and_never_within_a_minute() {
    let table = then(&sixteen(), 0, 16, &[of_item("hot", rule(Strategy::ItemAndMinute))]);
    let table = table.expect("it follows");
    let start = table.newest().effective.ceil(60_000).0;
    let mut reached = std::collections::BTreeSet::new();
    for minute in 0..400 {
        let at = |ms| table.route("hot", "x", TimestampMs(start + minute * 60_000 + ms));
        assert_eq!(at(0), at(59_999));
        reached.insert(at(0));
    }
    assert_eq!(reached.len(), 16);
    assert_eq!(table.partitions_of("hot").len(), 16);
}

#[test]
fn more_and_fewer_partitions() {
    let grown = then(&sixteen(), 0, 32, &[]).expect("it follows");
    let shrunk = then(&grown, 1_000_000, 8, &[]).expect("it follows");
    let (mid, late) = (grown.newest().effective, shrunk.newest().effective);
    assert_eq!((shrunk.log_partitions(), shrunk.newest().partitions), (32, 8));
    for n in 0..200 {
        let item = format!("item-{n}");
        let hash = murmur3_x86_32(item.as_bytes());
        let by = |time| u32::from(shrunk.route(&item, "x", time).0);
        assert_eq!([by(TimestampMs(0)), by(mid), by(late)], [hash % 16, hash % 32, hash % 8]);
        for time in [TimestampMs(0), mid, late] {
            assert!(shrunk.partitions_of(&item).contains(&shrunk.route(&item, "x", time)));
        }
    }
}

#[test]
fn what_cannot_follow_is_refused() {
    let table = then(&sixteen(), 100_000, 16, &[]).expect("it follows");
    let version = |published, effective| RoutingVersion {
        published: TimestampMs(published),
        effective: TimestampMs(effective),
        partitions: 16,
        changes: Vec::new(),
    };
    let lead = ROUTING_LEAD_MS;
    let refused = |version| table.with(version).expect_err("it cannot follow");
    assert_eq!(refused(version(99_999, 900_000)), RoutingError::OutOfOrder);
    assert_eq!(refused(version(500_000, 500_000 + lead)), RoutingError::TooEarly);
    assert_eq!(refused(version(100_001, table.newest().effective.0)), RoutingError::TooEarly);
    let of = |changes: &[RoutingChange], partitions| {
        then(&table, 500_000, partitions, changes).expect_err("it cannot follow")
    };
    let pinned = |partitions: &[u16]| rule(Strategy::Pinned { partitions: partitions.to_vec() });
    let all = rule(Strategy::Dedicated { partitions: (0..16).collect() });
    for (error, changes, partitions) in [
        (RoutingError::Partitions, vec![], 0),
        (RoutingError::Partitions, vec![], 1_025),
        (RoutingError::Subject, vec![of_item("", None)], 16),
        (RoutingError::Subject, vec![of_item(&"x".repeat(257), None)], 16),
        (RoutingError::Subject, vec![of_prefix("a\n", None)], 16),
        (RoutingError::Twice, vec![of_item("a", None), of_item("a", None)], 16),
        (RoutingError::Over, vec![of_item("a", rule(Strategy::Spread { over: 1 }))], 16),
        (RoutingError::Over, vec![of_item("a", rule(Strategy::Spread { over: 1_025 }))], 16),
        (RoutingError::Named, vec![of_item("a", pinned(&[]))], 16),
        (RoutingError::Named, vec![of_item("a", pinned(&[2, 2]))], 16),
        (RoutingError::Named, vec![of_item("a", pinned(&[1_024]))], 16),
        (RoutingError::Named, vec![of_item("a", pinned(&(0..65).collect::<Vec<_>>()))], 16),
        (RoutingError::NoneFree, vec![of_prefix("a", all)], 16),
    ] {
        assert_eq!(of(&changes, partitions), error, "{changes:?}");
    }
}

fn any_rule() -> impl Generator<Value = Option<Rule>> {
    let named = || proptest::collection::btree_set(0u16..20, 1..4);
    let list = |set: std::collections::BTreeSet<u16>| set.into_iter().collect::<Vec<_>>();
    let strategy = prop_oneof![
        Just(Strategy::Item),
        Just(Strategy::ItemAndMinute),
        (2u16..24).prop_map(|over| Strategy::Spread { over }),
        named().prop_map(move |set| Strategy::Pinned { partitions: list(set) }),
        named().prop_map(move |set| Strategy::Dedicated { partitions: list(set) }),
    ];
    proptest::option::of(
        (strategy, any::<bool>())
            .prop_map(|(strategy, is_automatic)| Rule { strategy, is_automatic }),
    )
}

fn any_table() -> impl Generator<Value = RoutingTable> {
    let subject = prop_oneof![
        (0..6u8).prop_map(|n| Subject::Item(format!("item-{n}"))),
        prop_oneof![Just(""), Just("item"), Just("item-1")]
            .prop_map(|prefix: &str| Subject::Prefix(prefix.into())),
    ];
    let change = (subject, any_rule()).prop_map(|(subject, rule)| RoutingChange { subject, rule });
    let version = (0i64..300_000, 1u16..24, proptest::collection::vec(change, 0..4));
    proptest::collection::vec(version, 0..8).prop_map(|steps| {
        let (mut table, mut published) = (RoutingTable::first(7), 0);
        for (passed, partitions, changes) in steps {
            published += passed;
            table = then(&table, published, partitions, &changes).unwrap_or(table);
        }
        table
    })
}

proptest! {
    /// A later version changes nothing for the events that were routed before it, whoever routes
    /// them by whichever table; and a question knows where to look.
    #[test]
    fn an_event_always_goes_the_same_way(
        table in any_table(),
        items in proptest::collection::vec((0..6u8, 0..50u8), 1..20),
        times in proptest::collection::vec(0i64..2_000_000, 1..20),
    ) {
        let mut older = RoutingTable::first(7);
        for version in &table.versions()[1..] {
            for ((item, id), time) in items.iter().zip(&times) {
                let (item, id) = (format!("item-{item}"), id.to_string());
                // Nobody may route by the older table what the version holds for.
                let time = TimestampMs(*time);
                if time < version.effective {
                    prop_assert_eq!(older.route(&item, &id, time), table.route(&item, &id, time));
                }
                let routed = table.route(&item, &id, time);
                prop_assert!(table.partitions_of(&item).contains(&routed));
                prop_assert!(table.partitions_of(&item).contains(&table.route_first(&item)));
                prop_assert!(routed.0 < table.log_partitions());
            }
            older = older.with(version.clone()).expect("it followed before");
        }
        prop_assert_eq!(&older, &table);
    }

    #[test]
    fn bytes_come_back(table in any_table()) {
        prop_assert_eq!(RoutingTable::from_bytes(&table.to_bytes()), Ok(table));
    }

    #[test]
    fn any_bytes_are_refused_or_a_table(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(table) = RoutingTable::from_bytes(&bytes) {
            prop_assert_eq!(table.to_bytes(), bytes);
        }
    }
}

#[test]
fn golden_bytes() {
    let partitions = vec![6, 7];
    let changes = [
        of_item("hot", Some(Rule { strategy: Strategy::Spread { over: 4 }, is_automatic: true })),
        of_item("é", rule(Strategy::Item)),
        of_prefix("c/", rule(Strategy::Dedicated { partitions })),
        of_prefix("", rule(Strategy::ItemAndMinute)),
        of_item("b", rule(Strategy::Pinned { partitions: vec![258] })),
        of_item("a", None),
    ];
    let table = then(&RoutingTable::first(2), 1_000, 8, &changes).expect("it follows");
    let golden = "0200" // partitions of version 1
        .to_owned()
        + "01000000" // one later version
        + "e803000000000000" // published
        + "7963010000000000" // effective
        + "0800" // partitions
        + "06000000" // changes
        + "000300686f7403030400"
        + "000200c3a90101"
        + "010200632f010502000600" + "0700"
        + "0100000102"
        + "00010062010401000201"
        + "0001006100";
    let bytes = table.to_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);
    for len in 0..bytes.len() {
        assert_eq!(RoutingTable::from_bytes(&bytes[..len]), Err(RoutingError::Bytes), "{len}");
    }
}
