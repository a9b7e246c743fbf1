//! Behaviours of every [`ItemDetailsStore`].

use std::ops::ControlFlow;
use std::sync::Arc;

use model::limits::{
    ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, CHANNEL_NAME_BYTES_MAX,
    ITEM_BYTES_MAX, TITLE_BYTES_MAX,
};
use model::{ItemDetails, TimestampMs};

use crate::ports::{DetailsChange, ItemDetailsStore};

/// Runs every behaviour on stores that `fresh` makes, each empty.
///
/// # Panics
/// When the store does not behave.
pub fn all(mut fresh: impl FnMut() -> Arc<dyn ItemDetailsStore>) {
    shared(&mut fresh);
    batches_are_seen_whole(fresh());
}

/// Runs the behaviours of a store that several processes share, where one may see a part of what
/// another one writes.
///
/// # Panics
/// When the store does not behave.
pub fn shared(mut fresh: impl FnMut() -> Arc<dyn ItemDetailsStore>) {
    an_empty_store_knows_nothing(&*fresh());
    details_come_back_as_written(&*fresh());
    a_write_replaces_wholly(&*fresh());
    channels_follow_their_items(&*fresh());
    channels_are_paged(&*fresh());
    scans_are_in_item_order(&*fresh());
    a_scan_is_of_one_moment(&*fresh());
}

/// A store knows after reopening what it knew before.
///
/// # Panics
/// When it does not.
pub fn keeps_all(mut open: impl FnMut() -> Arc<dyn ItemDetailsStore>) {
    {
        let store = open();
        put(&*store, &[("kept", Some(of("A", Some("c")))), ("gone", Some(of("B", Some("c"))))]);
        put(&*store, &[("gone", None)]);
    }
    let store = open();
    assert_eq!(get(&*store, &["kept", "gone"]), [Some(of("A", Some("c"))), None]);
    assert_eq!(channel(&*store, "c"), ["kept"]);
    assert_eq!(put(&*store, &[("kept", None)]), [true]);
    assert_eq!(channel(&*store, "c"), [""; 0]);
}

fn an_empty_store_knows_nothing(store: &dyn ItemDetailsStore) {
    assert_eq!(get(store, &["a", "a"]), [None, None]);
    assert_eq!(get(store, &[]), []);
    assert_eq!(channel(store, "c"), [""; 0]);
    assert_eq!(scan(store, None, None), []);
    assert_eq!(scan(store, Some("c"), Some("a")), []);
    assert_eq!(put(store, &[("a", None)]), [false]);
    assert_eq!(put(store, &[]), [false; 0]);
}

fn details_come_back_as_written(store: &dyn ItemDetailsStore) {
    let text = |bytes: usize| Some("日".repeat(bytes / 3));
    let pair = |at: usize| {
        let key = format!("{at:0width$}", width = ATTRIBUTE_KEY_BYTES_MAX);
        (key, "v".repeat(ATTRIBUTE_VALUE_BYTES_MAX))
    };
    let largest = ItemDetails {
        title: text(TITLE_BYTES_MAX),
        channel: text(ITEM_BYTES_MAX),
        channel_name: text(CHANNEL_NAME_BYTES_MAX),
        created: Some(TimestampMs(253_402_207_200_000)),
        attributes: (0..ATTRIBUTES_MAX).map(pair).collect(),
    };
    let long_item = "é".repeat(ITEM_BYTES_MAX / 2);
    let cases = [
        ("none", ItemDetails::default()),
        ("t", of("<img onerror>", None)),
        ("c", ItemDetails { channel: Some("c".into()), ..ItemDetails::default() }),
        ("w", ItemDetails { created: Some(TimestampMs(0)), ..ItemDetails::default() }),
        (&long_item, largest),
    ];
    let changes = cases.clone().map(|(item, details)| (item, Some(details)));
    assert_eq!(put(store, &changes), [false; 5]);
    let items = cases.each_ref().map(|(item, _)| *item);
    assert_eq!(get(store, &items), cases.map(|(_, details)| Some(details)));
}

fn a_write_replaces_wholly(store: &dyn ItemDetailsStore) {
    let full = ItemDetails { created: Some(TimestampMs(7)), ..of("A", Some("c")) };
    assert_eq!(put(store, &[("a", Some(full))]), [false]);
    let bare = ItemDetails { channel_name: Some("C".into()), ..ItemDetails::default() };
    assert_eq!(put(store, &[("a", Some(bare.clone()))]), [true]);
    assert_eq!(get(store, &["a"]), [Some(bare)]);
    // Of several changes of one item in a batch the last holds.
    let batch = [
        ("a", Some(of("B", Some("d")))),
        ("b", Some(of("B", Some("d")))),
        ("a", None),
        ("b", Some(of("C", Some("e")))),
    ];
    assert_eq!(put(store, &batch), [true, false, true, true]);
    assert_eq!(get(store, &["a", "b"]), [None, Some(of("C", Some("e")))]);
    assert_eq!(channel(store, "d"), [""; 0]);
    assert_eq!(channel(store, "e"), ["b"]);
}

fn channels_follow_their_items(store: &dyn ItemDetailsStore) {
    // Channels of which one begins with another, and items that look like a channel's rest.
    put(
        store,
        &[
            ("b", Some(of("B", Some("c")))),
            ("a", Some(of("A", Some("c")))),
            ("a2", Some(of("A2", Some("c ")))),
            ("z", Some(of("nameless", Some("cc")))),
        ],
    );
    assert_eq!(channel(store, "c"), ["a", "b"]);
    assert_eq!(channel(store, "c "), ["a2"]);
    assert_eq!(channel(store, ""), [""; 0]);
    put(store, &[("a", Some(of("A", Some("d"))))]);
    assert_eq!((channel(store, "c"), channel(store, "d")), (vec!["b".into()], vec!["a".into()]));
    put(store, &[("a", Some(of("A", None))), ("b", None)]);
    assert_eq!(channel(store, "c"), [""; 0]);
    assert_eq!(channel(store, "d"), [""; 0]);
}

fn channels_are_paged(store: &dyn ItemDetailsStore) {
    let items: Vec<String> = (0..25).map(|n| format!("i{n:02}")).collect();
    let changes: Vec<_> = items.iter().map(|i| (i.as_str(), Some(of(i, Some("c"))))).collect();
    put(store, &changes);
    put(store, &[("j", Some(of("J", Some("d"))))]);
    let (mut found, mut behind) = (Vec::new(), None);
    loop {
        let page = store.of_channel("c", behind.as_deref(), 10).expect("a page");
        assert!(page.len() <= 10);
        behind = page.last().cloned();
        found.extend(page);
        if behind.is_none() {
            break;
        }
    }
    assert_eq!(found, items);
    assert_eq!(store.of_channel("c", Some("i20x"), 2).expect("a page"), ["i21", "i22"]);
}

fn scans_are_in_item_order(store: &dyn ItemDetailsStore) {
    let known = [
        ("a", of("A", Some("c"))),
        ("a b", of("A B", Some("cc"))),
        ("b", of("B", None)),
        ("é", of("É", Some("c"))),
        ("日", ItemDetails { channel: Some("c".into()), ..ItemDetails::default() }),
    ];
    let changes: Vec<_> =
        known.iter().rev().map(|(item, details)| (*item, Some(details.clone()))).collect();
    put(store, &changes);
    put(store, &[("gone", Some(of("G", Some("c"))))]);
    put(store, &[("gone", None)]);
    let all = known.map(|(item, details)| (item.to_owned(), details));
    let of_channel = [&all[0], &all[3], &all[4]].map(Clone::clone);
    assert_eq!(scan(store, None, None), all);
    assert_eq!(scan(store, Some("c"), None), of_channel);
    assert_eq!(scan(store, Some("none"), None), []);
    // What it begins behind need not be there.
    for (behind, rest, of_rest) in
        [("a", 1, 1), ("a a", 1, 1), ("a b", 2, 1), ("b", 3, 1), ("é", 4, 2), ("日", 5, 3)]
    {
        assert_eq!(scan(store, None, Some(behind)), all[rest..], "{behind}");
        assert_eq!(scan(store, Some("c"), Some(behind)), of_channel[of_rest..], "{behind}");
    }
    for channel in [None, Some("c")] {
        let mut met = Vec::new();
        let broken_off = store.scan(channel, None, &mut |item, _| {
            met.push(item.to_owned());
            if met.len() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        broken_off.expect("it breaks off");
        assert_eq!(met.len(), 2, "{met:?}");
    }
}

/// What is written while a scan is on its way is not in it, and does not wait for it.
fn a_scan_is_of_one_moment(store: &dyn ItemDetailsStore) {
    let before = [("a", Some(of("A", Some("c")))), ("b", Some(of("B", Some("c"))))];
    let expected = [("a".to_owned(), of("A", Some("c"))), ("b".to_owned(), of("B", Some("c")))];
    for channel in [None, Some("c")] {
        put(store, &before);
        put(store, &[("c", None)]);
        let mut met = Vec::new();
        let scanned = store.scan(channel, None, &mut |item, details| {
            let later = ("c", Some(of("C", Some("c"))));
            put(store, &[("a", None), ("b", Some(of("later", Some("d")))), later]);
            met.push((item.to_owned(), details));
            ControlFlow::Continue(())
        });
        scanned.expect("a scan");
        assert_eq!(met, expected);
    }
    assert_eq!(scan(store, Some("d"), None), [("b".to_owned(), of("later", Some("d")))]);
}

/// While batches move items between two channels, every read finds all in one of them.
fn batches_are_seen_whole(store: Arc<dyn ItemDetailsStore>) {
    const ITEMS: usize = 64;
    let items: Vec<String> = (0..ITEMS).map(|n| format!("i{n:03}")).collect();
    let moved = |to: &str| -> Vec<DetailsChange> {
        let change =
            |item: &String| DetailsChange { item: item.clone(), details: Some(of("T", Some(to))) };
        items.iter().map(change).collect()
    };
    store.put(&moved("c0")).expect("a write");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for turn in 1..20 {
                store.put(&moved(if turn % 2 == 0 { "c0" } else { "c1" })).expect("a write");
            }
        });
        while !writer.is_finished() {
            let names: Vec<&str> = items.iter().map(String::as_str).collect();
            let found = store.get(&names).expect("a read");
            let of_first = &found[0];
            assert!(found.iter().all(|details| details == of_first), "{found:?}");
            let found = channel(&*store, "c0").len();
            assert!([0, ITEMS].contains(&found), "{found} of a batch");
        }
    });
}

fn of(title: &str, channel: Option<&str>) -> ItemDetails {
    let channel = channel.map(str::to_owned);
    ItemDetails { title: Some(title.to_owned()), channel, ..ItemDetails::default() }
}

fn put(store: &dyn ItemDetailsStore, changes: &[(&str, Option<ItemDetails>)]) -> Vec<bool> {
    let change = |(item, details): &(&str, Option<ItemDetails>)| DetailsChange {
        item: (*item).to_owned(),
        details: details.clone(),
    };
    store.put(&changes.iter().map(change).collect::<Vec<_>>()).expect("a write")
}

fn get(store: &dyn ItemDetailsStore, items: &[&str]) -> Vec<Option<ItemDetails>> {
    store.get(items).expect("a read")
}

fn channel(store: &dyn ItemDetailsStore, channel: &str) -> Vec<String> {
    store.of_channel(channel, None, usize::MAX).expect("a page")
}

fn scan(
    store: &dyn ItemDetailsStore,
    channel: Option<&str>,
    behind: Option<&str>,
) -> Vec<(String, ItemDetails)> {
    let mut met = Vec::new();
    let scanned = store.scan(channel, behind, &mut |item, details| {
        met.push((item.to_owned(), details));
        ControlFlow::Continue(())
    });
    scanned.expect("a scan");
    met
}
