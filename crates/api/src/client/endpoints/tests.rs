use std::collections::BTreeMap;

use super::super::breaker::BreakerState;
use super::target::Address;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn url(n: usize) -> String {
    format!("http://10.0.0.{n}:8080")
}

async fn endpoints(count: usize, balance: Balance) -> Endpoints {
    let mut options = EndpointOptions::new((1..=count).map(url));
    options.balance = balance;
    Endpoints::new(options).await.expect("good URLs")
}

fn refused() -> ClientError {
    let body = String::new();
    ClientError::UnexpectedStatus { url: String::new(), status: 503, body, retry_after: None }
}

fn busy() -> ClientError {
    let body = String::new();
    ClientError::UnexpectedStatus { url: String::new(), status: 429, body, retry_after: None }
}

fn picked(endpoints: &Endpoints, picks: u64) -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    for key in 0..picks {
        let lease = endpoints.pick(key, None).expect("one is free");
        *times.entry(lease.url().to_owned()).or_default() += 1;
    }
    times
}

#[tokio::test(start_paused = true)]
async fn round_robin_takes_turns_and_avoids_what_just_failed() {
    let endpoints = endpoints(3, Balance::RoundRobin).await;
    assert!(picked(&endpoints, 30).values().all(|times| *times == 10));
    for _ in 0..10 {
        let lease = endpoints.pick(0, Some(&url(2))).expect("one is free");
        assert_ne!(lease.url(), url(2));
    }
}

#[tokio::test(start_paused = true)]
async fn the_least_outstanding_is_taken() {
    let endpoints = endpoints(3, Balance::LeastOutstanding).await;
    let held: Vec<_> = (0..8).map(|_| endpoints.pick(0, None).expect("free")).collect();
    let spread = |endpoints: &Endpoints| {
        let mut spread: Vec<_> = endpoints.metrics().iter().map(|e| e.outstanding).collect();
        spread.sort_unstable();
        spread
    };
    assert_eq!(spread(&endpoints), [2, 3, 3]);
    drop(held);
    assert_eq!(spread(&endpoints), [0, 0, 0], "what is dropped is given back");
}

#[tokio::test(start_paused = true)]
async fn the_slow_one_of_two_gets_little() {
    let endpoints = endpoints(2, Balance::LeastResponseTime).await;
    let mut slow = 0;
    for _ in 0..100 {
        let lease = endpoints.pick(0, None).expect("one is free");
        let is_slow = lease.url() == url(1);
        slow += u32::from(is_slow);
        let took = if is_slow { SECOND } else { SECOND / 100 };
        tokio::time::advance(took).await;
        lease.succeeded();
    }
    assert!((1..=5).contains(&slow), "{slow}");
}

#[tokio::test(start_paused = true)]
async fn a_hash_stays_and_moves_only_with_its_endpoint() {
    let endpoints = endpoints(4, Balance::Hash).await;
    let place = |endpoints: &Endpoints, key: &str| {
        endpoints.pick(hash_key(key), None).expect("free").url().to_owned()
    };
    let keys: Vec<String> = (0..400).map(|n| format!("item {n}")).collect();
    let before: Vec<String> = keys.iter().map(|key| place(&endpoints, key)).collect();
    for n in 1..=4 {
        let share = before.iter().filter(|at| **at == url(n)).count();
        assert!((60..140).contains(&share), "{n}: {share}");
    }
    endpoints.set((2..=4).map(|n| Address { url: url(n), host: None }).collect());
    for (key, before) in keys.iter().zip(&before) {
        let now = place(&endpoints, key);
        assert!(now == *before || *before == url(1), "{key} moved from {before} to {now}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_sends_everything_to_the_others_until_a_trial_is_good() {
    let endpoints = endpoints(2, Balance::RoundRobin).await;
    let fail = |endpoints: &Endpoints, at: &str| loop {
        let lease = endpoints.pick(0, None).expect("free");
        if lease.url() == at {
            return lease.failed(&refused(), None);
        }
    };
    (0..5).for_each(|_| fail(&endpoints, &url(1)));
    assert_eq!(picked(&endpoints, 10), [(url(2), 10)].into());
    (0..5).for_each(|_| fail(&endpoints, &url(2)));
    let none = endpoints.pick(0, None).expect_err("both are down");
    assert!(none.is_down && none.until == Instant::now() + SECOND, "{none:?}");
    tokio::time::advance(SECOND).await;
    // One trial each at a time.
    let trials = [endpoints.pick(0, None), endpoints.pick(0, None)].map(|t| t.expect("a trial"));
    let none = endpoints.pick(0, None).expect_err("both are being tried");
    assert!(!none.is_down, "what comes of the trials is worth a wait");
    trials.into_iter().for_each(Lease::succeeded);
    let lease = endpoints.pick(0, None).expect("another trial");
    lease.succeeded();
    let states: Vec<_> = endpoints.metrics().iter().map(|metrics| metrics.breaker).collect();
    assert!(states.contains(&BreakerState::Closed) && states.contains(&BreakerState::HalfOpen));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_was_asked_for_is_kept_and_is_no_failure() {
    let endpoints = endpoints(1, Balance::RoundRobin).await;
    for _ in 0..20 {
        let lease = endpoints.pick(0, None).expect("free");
        lease.failed(&busy(), Some(SECOND * 3));
        let none = endpoints.pick(0, None).expect_err("it asked for a pause");
        assert!(!none.is_down && none.until == Instant::now() + SECOND * 3);
        tokio::time::advance(SECOND * 3).await;
    }
    let lease = endpoints.pick(0, None).expect("free");
    lease.failed(&busy(), Some(SECOND * 1_000_000));
    let none = endpoints.pick(0, None).expect_err("it asked for a pause");
    assert_eq!(none.until, Instant::now() + SECOND * 60, "a pause of days is not believed");
    assert_eq!(endpoints.metrics()[0].breaker, BreakerState::Closed);
}

#[tokio::test]
async fn names_are_resolved_and_what_cannot_be_used_is_named() {
    let options = EndpointOptions::new([Target::Dns("http://localhost:9/sub/".to_owned())]);
    let endpoints = Endpoints::new(options).await.expect("a good URL");
    let urls: Vec<_> = endpoints.metrics().into_iter().map(|metrics| metrics.url).collect();
    assert!(urls.contains(&"http://127.0.0.1:9/sub".to_owned()), "{urls:?}");
    // Nobody listens there.
    endpoints.check_health().await;
    assert!(endpoints.metrics().iter().all(|metrics| !metrics.is_healthy));
    assert!(endpoints.pick(0, None).expect_err("none is ready").is_down);
    endpoints.resolve().await;
    assert!(endpoints.metrics().iter().all(|metrics| !metrics.is_healthy), "they are kept");

    for bad in [vec![], vec!["ftp://a"], vec!["http://a", "nonsense"]] {
        let error = Endpoints::new(EndpointOptions::new(bad)).await.expect_err("no use");
        assert!(matches!(error, ClientError::InvalidUrl { .. }));
    }
}
