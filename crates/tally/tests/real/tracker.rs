//! A million events through the tracking client and a bad network: drops, delays, cut answers,
//! repeats, 500, 429 and 503 at random, and a server that is away for a while. Each counts once.

use std::time::Duration;

use api::client::tracker::{Event, SpoolOptions, Tracker, TrackerOptions};

use super::proxy::Proxy;
use super::server::Server;

const EVENTS: u64 = 1_000_000;
const ITEMS: u64 = 100;
const MS: Duration = Duration::from_millis(1);

#[test]
fn a_million_events_through_a_bad_network_are_counted_exactly_once() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = Server::start(&scratch.path().join("data"), &[]);
    let upstream = server.url.trim_start_matches("http://").parse().expect("an address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (metrics, faults, requests) = runtime.block_on(async {
        let proxy = Proxy::start(upstream, 6).await;
        let mut options = TrackerOptions::new([proxy.url.as_str()]);
        options.first_wait = MS * 10;
        options.longest_wait = MS * 100;
        options.endpoints.breaker.open_for = MS * 200;
        options.spool = Some(SpoolOptions::new(scratch.path().join("spool")));
        options.retry_budget.ratio = 0.5;
        let tracker = Tracker::start(options).await.expect("it starts");
        for n in 0..EVENTS {
            // Away twice, each time for a twentieth of the events.
            if n % (EVENTS / 2) == EVENTS / 4 {
                proxy.set_down(true);
            }
            if n % (EVENTS / 2) == EVENTS / 4 + EVENTS / 20 {
                proxy.set_down(false);
            }
            let event = Event::new(format!("item-{}", n % ITEMS)).value(0.5);
            tracker.track_wait(&event).await.expect("it is open");
        }
        tracker.flush().await;
        tracker.drained().await;
        (tracker.close(Duration::from_secs(60)).await, proxy.faults(), proxy.requests())
    });
    println!("{faults:?} kinds and faults; {metrics:?}");
    assert_eq!((faults.0, metrics.accepted, metrics.lost), (9, EVENTS, 0));
    assert!(requests <= metrics.requests, "{requests} came, repeats of repeats");
    assert!(metrics.rejected.is_empty() && metrics.spooled > 0 && metrics.retries > 0);
    server.wait_for("everything is judged", || server.metric("tally_partition_lag_events") == 0.0);
    for item in 0..ITEMS {
        let answer = server.ask(&["count", &format!("item-{item}")]);
        assert_eq!(answer["count"], EVENTS / ITEMS, "item-{item}");
    }
    let repeats = server.metric("tally_events_duplicate_total");
    assert!(repeats > 0.0, "nothing came twice: nothing was tried");
}
