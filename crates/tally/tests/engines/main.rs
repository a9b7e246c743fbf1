//! The program on real engines, which `scripts/test-cassandra` starts and names: counters in Cassandra,
//! answers in Redis; and all of a cluster, with its log in Kafka and its archive in a bucket.

mod cassandra;
mod cluster;

#[path = "../real/server.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod server;
