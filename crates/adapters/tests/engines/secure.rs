//! A cluster that wants a password and TLS, and what is said where either is wrong.

use adapters::cassandra::{CassandraStore, Place, Replication};
use engine::ports::{CounterStore, ErrorKind, PortError};
use model::PartitionId;

use super::{named, told};

/// A keyspace at a node, as `--store` names it.
fn place(node: &str, options: &str) -> Place {
    format!("cassandra://{node}/over_tls?timeout_ms=60000{options}").parse().expect("a place")
}

fn trusting(certificate: &str) -> String {
    format!("&tls_ca={}/{certificate}", named("TALLY_TEST_KEYS"))
}

fn refused(node: &str, options: &str) -> PortError {
    CassandraStore::open(place(node, options), 1).err().expect("it is refused")
}

#[test]
fn counters_are_kept_over_tls_by_who_has_the_password() {
    let node = named("TALLY_TEST_CASSANDRA_TLS");
    let tls = trusting("ca.pem");
    CassandraStore::init(place(&node, &tls), &Replication::Anywhere(1)).expect("tables");
    // User and password in a file, as they are kept out of command lines.
    let (user, address) = node.split_once('@').expect("user:password@host:port");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("user");
    std::fs::write(&file, user.replace(':', "\n")).expect("written");
    let options = format!("{tls}&user_file={}", file.display());
    let store = CassandraStore::open(place(address, &options), 2).expect("a store");
    store.claim(PartitionId(0)).expect("claimed");
    assert!(store.snapshot().expect("seen").checkpoint(PartitionId(0)).expect("read").is_none());
}

#[test]
fn whoever_may_not_in_is_told_why() {
    let (node, plain) = (named("TALLY_TEST_CASSANDRA_TLS"), named("TALLY_TEST_CASSANDRA"));
    let (user, address) = node.split_once('@').expect("user:password@host:port");
    let (name, password) = user.split_once(':').expect("user:password");
    let (tls, stranger) = (trusting("ca.pem"), trusting("stranger.pem"));
    let wrong_password = format!("{name}:not-{password}@{address}");
    let cases: [(&str, &str, ErrorKind, &str); 6] = [
        (&wrong_password, &tls, ErrorKind::Invalid, "refuses the user"),
        (address, &tls, ErrorKind::Invalid, "give `user_file`"),
        (&node, &stranger, ErrorKind::Invalid, "see `tls_ca`"),
        (&node, "&tls=true", ErrorKind::Invalid, "see `tls_ca`"),
        (&plain, &tls, ErrorKind::Invalid, "does not speak TLS"),
        (&node, "", ErrorKind::Unavailable, "may want TLS"),
    ];
    for (node, options, kind, part) in cases {
        let error = refused(node, options);
        assert!(error.context.contains(part), "{node} {options}: {}", told(&error));
        assert_eq!(error.kind, kind, "{node} {options}: {}", told(&error));
        assert!(!told(&error).contains(&format!("not-{password}")), "a password is told to nobody");
    }
}
