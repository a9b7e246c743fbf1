//! Behaviours of every [`RoutingStore`].

use std::sync::Arc;

use model::limits::ROUTING_LEAD_MS;
use model::{RoutingChange, RoutingTable, Rule, Strategy, Subject};

use crate::ports::{ErrorKind, PortError, RoutingStore};

/// A version that spreads an item over two partitions.
pub fn spread(item: &str) -> Vec<RoutingChange> {
    let rule = Rule { strategy: Strategy::Spread { over: 2 }, is_automatic: false };
    vec![RoutingChange { subject: Subject::Item(item.into()), rule: Some(rule) }]
}

/// Runs every behaviour on a store of one version, which has two partitions.
///
/// # Panics
/// When the store does not behave.
pub fn all(store: &dyn RoutingStore) {
    let first = store.table().expect("known");
    assert_eq!(*first, RoutingTable::first(2));
    versions_follow_each_other(store);
    what_cannot_follow_is_refused(store);
}

/// A version is published after all that was confirmed, and takes effect after its lead.
fn versions_follow_each_other(store: &dyn RoutingStore) {
    for item in ["a", "b", "c"] {
        let (before, confirmed_at) = (store.table().expect("known"), store.confirmed_at());
        let after = store.publish(before.version(), 2, spread(item)).expect("it follows");
        let (old, new) = (before.newest(), after.newest());
        assert_eq!(after.version(), before.version() + 1);
        assert_eq!(store.table().expect("known"), after);
        assert!(new.published >= confirmed_at.expect("a good clock"), "nobody was surer");
        assert!(new.effective.0 > new.published.0 + ROUTING_LEAD_MS);
        assert!(new.effective > old.effective && new.published >= old.published);
        assert!(store.confirmed_at().expect("a good clock") >= new.published);
    }
}

fn what_cannot_follow_is_refused(store: &dyn RoutingStore) {
    let table = store.table().expect("known");
    let kind = |refused: Result<Arc<RoutingTable>, PortError>| refused.expect_err("refused").kind;
    let version = table.version();
    assert_eq!(kind(store.publish(version - 1, 2, spread("d"))), ErrorKind::Conflict);
    assert_eq!(kind(store.publish(version + 1, 2, spread("d"))), ErrorKind::Conflict);
    assert_eq!(kind(store.publish(version, 0, spread("d"))), ErrorKind::Invalid);
    assert_eq!(kind(store.publish(version, 2, spread("\n"))), ErrorKind::Invalid);
    assert_eq!(store.table().expect("known"), table);
}

/// Of those who publish after the same version one wins, and the others hear of it. The stores may be
/// one, or those of several processes.
///
/// # Panics
/// When two win, or none.
pub fn one_of_many_wins(stores: &[Arc<dyn RoutingStore>]) {
    for round in 0..10 {
        let after = stores[0].table().expect("known").version();
        let results: Vec<_> = std::thread::scope(|scope| {
            let publish = |(at, store): (usize, &Arc<dyn RoutingStore>)| {
                let (store, item) = (store.clone(), format!("item-{round}-{at}"));
                scope.spawn(move || store.publish(after, 2, spread(&item)))
            };
            let threads: Vec<_> = stores.iter().enumerate().map(publish).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "one wins: {lost:?}");
        let kinds = lost.into_iter().map(|lost| lost.expect_err("lost").kind);
        assert!(kinds.into_iter().all(|kind| kind == ErrorKind::Conflict));
        let table = won.into_iter().next().and_then(Result::ok).expect("one won");
        assert_eq!(table.version(), after + 1);
    }
}

/// A store knows after reopening what it knew before, and its clock has not gone back.
///
/// # Panics
/// When it does not.
pub fn survives_reopening(mut open: impl FnMut() -> Arc<dyn RoutingStore>) {
    let (table, confirmed_at) = {
        let store = open();
        let version = store.table().expect("known").version();
        let table = store.publish(version, 2, spread("kept")).expect("it follows");
        (table, store.confirmed_at().expect("a good clock"))
    };
    let store = open();
    assert_eq!(store.table().expect("known"), table);
    assert!(store.confirmed_at().expect("a good clock") >= confirmed_at);
}
