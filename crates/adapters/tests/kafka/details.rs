//! Item details in a topic, shared by several processes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapters::embedded::details::EmbeddedDetails;
use adapters::kafka::KafkaDetails;
use engine::conformance::item_details as conformance;
use engine::ports::{DetailsChange, ErrorKind, ItemDetailsStore, PortError};
use model::ItemDetails;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::bench::{Bench, client, until};

fn try_open(bench: &Bench, folder: &Path) -> Result<KafkaDetails, PortError> {
    let view = Arc::new(EmbeddedDetails::open(folder, 0).expect("the view opens"));
    KafkaDetails::open(&bench.settings, "cluster", view)
}

fn open(bench: &Bench, folder: &Path) -> KafkaDetails {
    try_open(bench, folder).expect("it opens")
}

fn title(title: &str) -> Option<ItemDetails> {
    Some(ItemDetails { title: Some(title.into()), ..ItemDetails::default() })
}

fn put(details: &KafkaDetails, item: &str, known: Option<ItemDetails>) -> bool {
    let change = DetailsChange { item: item.into(), details: known };
    details.put(&[change]).expect("a write") == [true]
}

fn of(details: &KafkaDetails, item: &str) -> Option<ItemDetails> {
    details.get(&[item]).expect("a read").pop().expect("one")
}

fn produce(bench: &Bench, key: &[u8], value: &[u8]) {
    let producer: BaseProducer = client().create().expect("a producer");
    let topic = format!("{}-details", bench.topic());
    let record = BaseRecord::to(&topic).partition(0).key(key).payload(value);
    producer.send(record).map_err(|(error, _)| error).expect("taken");
    producer.flush(Duration::from_secs(30)).expect("confirmed");
}

#[test]
fn conforms() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut number = 0;
    conformance::shared(|| {
        number += 1;
        Arc::new(open(&Bench::new(), &scratch.path().join(number.to_string())))
    });
    let bench = Bench::new();
    conformance::keeps_all(|| Arc::new(open(&bench, &scratch.path().join("kept"))));
}

#[test]
fn what_one_writes_all_know_those_who_were_away_too() {
    let (bench, scratch) = (Bench::new(), tempfile::tempdir().expect("a folder"));
    let [one, two, late] = ["one", "two", "late"].map(|name| scratch.path().join(name));
    let (first, second) = (open(&bench, &one), open(&bench, &two));
    assert!(!put(&first, "a", title("A")) && !put(&first, "b", title("B")));
    until("the other one knows", || of(&second, "b") == title("B"));
    assert!(put(&second, "a", title("later")), "it was known");
    drop(second);
    assert!(put(&first, "b", None));
    until("it has come back", || of(&first, "a") == title("later"));
    assert!(!put(&first, "c", title("C")));
    // Who was away goes on where they were, and who is new reads all.
    for folder in [&two, &late] {
        let details = open(&bench, folder);
        assert_eq!(of(&details, "a"), title("later"));
        assert_eq!((of(&details, "b"), of(&details, "c")), (None, title("C")));
    }
}

#[test]
fn a_view_is_of_one_topic() {
    let (bench, scratch) = (Bench::new(), tempfile::tempdir().expect("a folder"));
    put(&open(&bench, scratch.path()), "a", title("A"));
    let error = try_open(&Bench::new(), scratch.path()).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("remove its folder `details`"), "{error}");
    assert_eq!(of(&open(&bench, scratch.path()), "a"), title("A"));
}

#[test]
fn what_is_no_details_changes_nothing_and_what_is_newer_ends_it() {
    let (bench, scratch) = (Bench::new(), tempfile::tempdir().expect("a folder"));
    let details = open(&bench, scratch.path());
    put(&details, "a", title("A"));
    produce(&bench, b"a", b"\x01garbage");
    produce(&bench, b"\xff", b"\x01");
    put(&details, "b", title("B"));
    assert_eq!((of(&details, "a"), of(&details, "b")), (title("A"), title("B")));
    produce(&bench, b"a", b"\x02newer");
    let refused = || {
        let change = DetailsChange { item: "c".into(), details: None };
        details.put(&[change]).is_err_and(|error| error.kind == ErrorKind::Corrupt)
    };
    until("it is noticed", refused);
    assert_eq!(of(&details, "a"), title("A"), "what is known is known");
    drop(details);
    let error = try_open(&bench, scratch.path()).err().expect("refused");
    assert!(error.to_string().contains("a newer program"), "{error}");
}
