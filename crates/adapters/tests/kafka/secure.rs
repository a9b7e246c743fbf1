//! Brokers that want a password and TLS, and what is said where either is wrong.

use engine::conformance::event_log as conformance;
use engine::ports::{ErrorKind, EventLog, PortError};
use futures::executor::block_on;
use model::{Offset, PartitionId};

use super::bench::{Bench, servers};

/// As `scripts/kafka` makes the user.
const PASSWORD: &str = "of-a-test";

fn named(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable}: `make test-kafka` sets it"))
}

/// A topic behind the port that wants both, with these options.
fn bench(servers: &str, options: &str) -> Bench {
    let mut bench = Bench::new();
    let place = format!("kafka://{servers}/{}?{options}", bench.topic());
    bench.settings.place = place.parse().expect("a place");
    bench
}

fn options(password: &str, certificate: &str) -> String {
    let keys = named("TALLY_TEST_KEYS");
    format!(
        "security.protocol=SASL_SSL&sasl.mechanism=SCRAM-SHA-512&sasl.username=tally\
         &sasl.password={password}&ssl.ca.location={keys}/{certificate}"
    )
}

fn refused(servers: &str, options: &str) -> PortError {
    bench(servers, options).try_open().err().expect("it is refused")
}

#[test]
fn events_go_over_tls_for_who_has_the_password() {
    let log = bench(&named("TALLY_TEST_KAFKA_TLS"), &options(PASSWORD, "ca.pem")).open();
    let first = PartitionId(0);
    let part = conformance::part(first, "over-tls", 5);
    block_on(log.append(vec![part]).expect("taken")).pop().expect("one").expect("durable");
    assert_eq!(conformance::ids(&conformance::read_all(&log, first, Offset(0), 100)).len(), 5);
}

#[test]
fn a_wrong_password_is_told_as_that() {
    let error = refused(&named("TALLY_TEST_KAFKA_TLS"), &options("guessed", "ca.pem"));
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.context.contains("sasl.password"), "{error}");
    assert!(!error.context.contains("guessed"), "a password is told to nobody: {error}");
}

#[test]
fn a_broker_that_nobody_vouches_for_is_not_trusted() {
    let error = refused(&named("TALLY_TEST_KAFKA_TLS"), &options(PASSWORD, "stranger.pem"));
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.context.contains("ssl.ca.location"), "{error}");
}

#[test]
fn tls_on_a_plain_port_is_told_as_that() {
    let error = refused(&servers(), &options(PASSWORD, "ca.pem"));
    assert!(error.context.contains("security.protocol"), "{error}");
}

#[test]
fn a_port_that_wants_tls_says_so_to_who_does_not_speak_it() {
    let error = refused(&named("TALLY_TEST_KAFKA_TLS"), "security.protocol=PLAINTEXT");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.context.contains("security.protocol"), "{error}");
}
