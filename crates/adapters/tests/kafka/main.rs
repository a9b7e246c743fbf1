//! The log in Kafka, on a real broker: `make test-kafka` starts one and says where it is.

mod archive;
mod bench;
mod details;
mod group;
mod letters;
mod others;
mod routing;
mod secure;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use bench::Bench;
use engine::conformance::event_log as conformance;
use engine::ports::{ErrorKind, EventLog};
use futures::executor::block_on;
use model::{Offset, PartitionId};

const FIRST: PartitionId = PartitionId(0);

#[test]
fn conforms() {
    let behaviours: [fn(&dyn EventLog); 8] = [
        |log| conformance::gives_back_what_was_appended(log),
        |log| conformance::keeps_the_order_of_calls(log),
        |log| conformance::takes_parts_for_several_partitions(log),
        |log| conformance::keeps_repeats(log),
        |log| conformance::writes_what_nobody_waits_for(log),
        |log| conformance::wakes_readers_at_the_end(log),
        |log| conformance::refuses_what_is_invalid(log),
        |log| conformance::trims_only_below(log),
    ];
    for behaviour in behaviours {
        behaviour(&Bench::new().open());
    }
}

#[test]
fn survives_reopening() {
    let bench = Bench::new();
    conformance::survives_reopening(|| Box::new(bench.open()));
}

#[test]
fn readers_at_many_places_do_not_disturb_each_other() {
    let log = Arc::new(Bench::new().open());
    for n in 0..20 {
        let part = conformance::part(FIRST, &format!("p{n}"), 100);
        block_on(log.append(vec![part]).expect("taken")).pop().expect("one").expect("durable");
    }
    let end = log.bounds(FIRST).durable_offset;
    let read = |from: u64, bytes_max: usize| {
        let all = conformance::read_all(&*log, FIRST, Offset(from), bytes_max);
        let ids = conformance::ids(&all);
        let ids: Vec<_> = ids.into_iter().filter(|(at, _)| *at >= from).collect();
        assert_eq!(ids.len() as u64, end.0 - from);
        let expected = |(at, _): &(u64, String)| format!("p{}-{}", at / 100, at % 100);
        assert!(ids.iter().all(|entry| entry.1 == expected(entry)), "each at its place");
    };
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || read(n * 211, 1_000 + 500 * n as usize));
        }
    });
    // A place is moved back, and forth.
    for from in [0, 1_999, 3, 1_500, 4, 2] {
        read(from, 10_000);
    }
}

#[test]
fn reads_that_wait_end_when_the_log_closes() {
    let log = Bench::new().open();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on(log.read(FIRST, Offset(0), 1)));
        // Closed before or after it waits, it ends.
        std::thread::sleep(Duration::from_millis(50));
        log.close();
        let error = waiting.join().expect("no panic").expect_err("closed");
        assert_eq!(error.kind, ErrorKind::Unavailable);
    });
}

#[test]
fn what_another_process_appends_is_seen_soon() {
    let bench = Bench::new();
    let (one, other) = (bench.open(), bench.open());
    let part = conformance::part(FIRST, "here", 3);
    block_on(one.append(vec![part]).expect("taken")).pop().expect("one").expect("durable");
    let appended_at = bench::wall_now();
    bench::until("the other process sees it", || other.bounds(FIRST).durable_offset == Offset(3));
    bench::until("the log's time passes it", || {
        other.append_time().expect("a good clock") > appended_at
    });
    assert_eq!(other.bounds(FIRST).durable_offset, Offset(3));
    assert_eq!(conformance::ids(&conformance::read_all(&other, FIRST, Offset(0), 100)).len(), 3);
}
