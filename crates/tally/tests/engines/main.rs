//! The program on real engines, which `scripts/test-cassandra` starts and names: counters in Cassandra,
//! answers in Redis.

mod cassandra;

#[path = "../real/server.rs"]
mod server;
