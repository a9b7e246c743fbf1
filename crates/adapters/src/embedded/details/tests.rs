use engine::conformance::item_details;

use super::*;

fn open(folder: &Path) -> EmbeddedDetails {
    EmbeddedDetails::open(folder, 0).expect("the details open")
}

fn change(item: &str, title: &str) -> DetailsChange {
    let details = ItemDetails { title: Some(title.into()), ..ItemDetails::default() };
    DetailsChange { item: item.into(), details: Some(details) }
}

#[test]
fn behaves_as_a_store_of_item_details() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut number = 0;
    item_details::all(|| {
        number += 1;
        Arc::new(open(&scratch.path().join(number.to_string())))
    });
    item_details::keeps_all(|| Arc::new(open(&scratch.path().join("kept"))));
}

#[test]
fn it_has_one_owner_and_a_known_format() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("details");
    let owner = open(&folder);
    let error = EmbeddedDetails::open(&folder, 0).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    owner.entries.insert(bytes::FORMAT, 2u32.to_be_bytes()).expect("a write");
    owner.db.persist(PersistMode::SyncAll).expect("a sync");
    drop(owner);
    let error = EmbeddedDetails::open(&folder, 0).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    let said = error.to_string();
    assert!(said.contains("format 2") && said.contains("this program knows only 1"), "{said}");
    assert!(said.contains(folder.to_str().expect("a path")), "{said}");
}

#[test]
fn a_full_disk_refuses_writes_and_not_reads() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("details");
    open(&folder).put(&[change("a", "A")]).expect("a write");
    let full = EmbeddedDetails::open(&folder, u64::MAX).expect("the details open");
    assert_eq!(full.put(&[change("a", "B")]).unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(full.get(&["a"]).expect("a read"), [change("a", "A").details]);
}

#[test]
fn damaged_values_are_named() {
    let scratch = tempfile::tempdir().expect("a folder");
    let details = open(&scratch.path().join("details"));
    details.entries.insert(b"Ia", b"\xff").expect("a write");
    *details.pinned.write() = Arc::new(details.db.snapshot());
    let error = details.get(&["a"]).expect_err("it is damaged");
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.to_string().contains("Ia"), "{error}");
    let mut count = |_: &str, _| ControlFlow::Continue(());
    let scanned = details.scan(None, None, &mut count).expect_err("it is damaged");
    assert_eq!(scanned.kind, ErrorKind::Corrupt);
    assert!(details.scan(None, Some("a"), &mut count).is_ok());
    // An item that only its channel knows.
    details.entries.insert(bytes::channel_key("c", "b"), b"").expect("a write");
    *details.pinned.write() = Arc::new(details.db.snapshot());
    let scanned = details.scan(Some("c"), None, &mut count).expect_err("it is damaged");
    assert_eq!(scanned.kind, ErrorKind::Corrupt);
    assert!(scanned.to_string().contains("Cc"), "{scanned}");
}

#[test]
fn a_copy_holds_what_was_written() {
    let scratch = tempfile::tempdir().expect("a folder");
    let details = open(&scratch.path().join("details"));
    details.put(&[change("a", "A"), change("b", "B")]).expect("a write");
    let copy = scratch.path().join("copy");
    details.copy_to(&copy).expect("a copy");
    details.put(&[change("a", "later")]).expect("a write");
    let expected = [change("a", "A").details, change("b", "B").details];
    assert_eq!(open(&copy).get(&["a", "b"]).expect("a read"), expected);
}
