//! The query cache on Redis.

use std::time::{Duration, Instant};

use adapters::redis::RedisCache;
use bytes::Bytes;
use engine::conformance::query_cache;
use engine::ports::QueryCache;
use rustix::process::Signal;

use super::{named, signal, told};

fn cache(namespace: &str) -> RedisCache {
    RedisCache::new(&named("TALLY_TEST_REDIS"), namespace).expect("a URL")
}

/// All in one, because one of them stops Redis for a while.
#[test]
fn answers_in_redis() {
    let mut fresh = 0;
    query_cache::outside(|| {
        fresh += 1;
        Box::new(cache(&format!("fresh-{fresh}")))
    });
    answers_end_with_their_life();
    servers_of_other_data_do_not_meet();
    a_cache_that_is_away_costs_hardly_any_time();
}

#[test]
fn answers_over_tls() {
    let (keys, url) = (named("TALLY_TEST_KEYS"), named("TALLY_TEST_REDIS_TLS"));
    let open =
        |ca: &str| RedisCache::new(&format!("{url}?tls_ca={keys}/{ca}"), "tls").expect("a URL");
    let cache = open("ca.pem");
    cache.put(b"key", Bytes::from_static(b"1"), 60_000).unwrap();
    assert_eq!(cache.get(b"key").unwrap(), Some(Bytes::from_static(b"1")));
    let refused = open("stranger.pem").get(b"key").expect_err("it is not trusted");
    assert!(told(&refused).contains("certificate"), "{}", told(&refused));
    let untold = RedisCache::new(&url, "tls").expect("a URL");
    let refused = untold.get(b"key").expect_err("the system does not trust it");
    assert!(told(&refused).contains("certificate"), "{}", told(&refused));
    let wrong = url.replace("rediss://:", "rediss://:not-");
    let wrong = RedisCache::new(&format!("{wrong}?tls_ca={keys}/ca.pem"), "tls").expect("a URL");
    let refused = told(&wrong.get(b"key").expect_err("the password is wrong"));
    assert!(refused.contains("uthenticat") || refused.contains("WRONGPASS"), "{refused}");
}

fn answers_end_with_their_life() {
    let cache = cache("life");
    cache.put(b"none", Bytes::from_static(b"x"), 0).unwrap();
    assert_eq!(cache.get(b"none").unwrap(), None);
    cache.put(b"short", Bytes::from_static(b"x"), 300).unwrap();
    let begun = Instant::now();
    assert!(cache.get(b"short").unwrap().is_some() || begun.elapsed().as_millis() >= 300);
    while cache.get(b"short").unwrap().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(begun.elapsed() >= Duration::from_millis(250), "it ended early");
    // One that is too large is not kept, and drives out what was there.
    cache.put(b"huge", Bytes::from_static(b"x"), 60_000).unwrap();
    cache.put(b"huge", Bytes::from(vec![7; 2 << 20]), 60_000).unwrap();
    assert_eq!(cache.get(b"huge").unwrap(), None);
}

fn servers_of_other_data_do_not_meet() {
    let (one, two) = (cache("one"), cache("two"));
    one.put(b"key", Bytes::from_static(b"1"), 60_000).unwrap();
    assert_eq!(two.get(b"key").unwrap(), None);
    assert_eq!(cache("one").get(b"key").unwrap(), Some(Bytes::from_static(b"1")));
}

fn a_cache_that_is_away_costs_hardly_any_time() {
    let cache = cache("away");
    cache.put(b"key", Bytes::from_static(b"1"), 600_000).unwrap();
    signal("TALLY_TEST_REDIS_PID", Signal::STOP);
    let begun = Instant::now();
    let asked: Vec<_> = (0..200).map(|_| cache.get(b"key")).collect();
    let took = begun.elapsed();
    signal("TALLY_TEST_REDIS_PID", Signal::CONT);
    assert!(asked.iter().all(|answer| !matches!(answer, Ok(Some(_)))), "it was stopped");
    assert!(took < Duration::from_secs(1), "200 questions waited {took:?}");
    let begun = Instant::now();
    while !matches!(cache.get(b"key"), Ok(Some(_))) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not asked again");
        std::thread::sleep(Duration::from_millis(50));
    }
}
