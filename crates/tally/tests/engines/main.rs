//! The program on real engines, which `scripts/test-cassandra` starts and names: counters in Cassandra,
//! answers in Redis.

mod cassandra;

#[path = "../real/server.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod server;
