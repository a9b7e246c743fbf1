use std::io::Write;

use super::super::upload::PART_BYTES;
use super::*;

/// What holds of every kind of place. `objects` is empty.
fn behave_like_objects(objects: &Objects) {
    put_and_get(objects);
    ranges_are_exact(objects);
    uploads_appear_when_finished(objects);
    listings_are_by_folder(objects);
    names_are_checked(objects);
}

fn put_and_get(objects: &Objects) {
    assert_eq!(objects.get("a/one").unwrap(), None);
    assert_eq!(objects.size("a/one").unwrap(), None);
    objects.put("a/one", "first").unwrap();
    objects.put("a/one", "second!").unwrap();
    assert_eq!(objects.get("a/one").unwrap().unwrap(), "second!");
    assert_eq!(objects.size("a/one").unwrap(), Some(7));
    assert!(!objects.create("a/one", "third").unwrap());
    assert_eq!(objects.get("a/one").unwrap().unwrap(), "second!");
    assert!(objects.create("a/two", "").unwrap());
    assert_eq!(objects.get("a/two").unwrap().unwrap(), "");
    for name in ["a/one", "a/two", "a/two"] {
        objects.delete(name).unwrap();
        assert_eq!(objects.get(name).unwrap(), None);
    }
}

fn ranges_are_exact(objects: &Objects) {
    assert_eq!(objects.get_range("r", 0..1).unwrap(), None);
    assert_eq!(objects.get_range("r", 0..0).unwrap(), None);
    objects.put("r", "0123456789").unwrap();
    assert_eq!(objects.get_range("r", 0..10).unwrap().unwrap(), "0123456789");
    assert_eq!(objects.get_range("r", 3..5).unwrap().unwrap(), "34");
    assert_eq!(objects.get_range("r", 3..3).unwrap().unwrap(), "");
    for beyond in [8..11, 10..11, 20..30] {
        let error = objects.get_range("r", beyond.clone()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{beyond:?}: {error}");
    }
    objects.delete("r").unwrap();
}

fn uploads_appear_when_finished(objects: &Objects) {
    let large: Vec<u8> = (0..PART_BYTES * 2 + 17).map(|n| (n % 251) as u8).collect();
    for bytes in [&large[..0], &large[..100], &large[..PART_BYTES], &large[..]] {
        objects.put("up/load", "old").unwrap();
        let mut upload = objects.upload("up/load").unwrap();
        for chunk in bytes.chunks(1_000_003) {
            upload.write_all(chunk).unwrap();
        }
        assert_eq!(objects.get("up/load").unwrap().unwrap(), "old");
        upload.finish().unwrap();
        assert!(objects.get("up/load").unwrap().unwrap() == bytes, "{} bytes", bytes.len());

        let mut upload = objects.upload("up/other").unwrap();
        upload.write_all(bytes).unwrap();
        upload.abort();
        let names: Vec<_> = objects.list("up").unwrap().into_iter().map(|o| o.name).collect();
        assert_eq!(names, ["up/load"]);
    }
    objects.delete("up/load").unwrap();
}

fn listings_are_by_folder(objects: &Objects) {
    assert_eq!(objects.list("").unwrap(), []);
    for name in ["raw/d=2/h=1/p", "raw/d=1/h=2/p", "raw/d=1/h=1/q", "raw/d=1/h=1/p", "rawer"] {
        objects.put(name, name.to_owned()).unwrap();
    }
    let names = |folder: &str| {
        let found = objects.list(folder).unwrap();
        assert!(found.iter().all(|object| object.bytes == object.name.len() as u64));
        found.into_iter().map(|object| object.name).collect::<Vec<_>>()
    };
    let all = ["raw/d=1/h=1/p", "raw/d=1/h=1/q", "raw/d=1/h=2/p", "raw/d=2/h=1/p", "rawer"];
    assert_eq!(names(""), all);
    assert_eq!(names("raw"), all[..4]);
    assert_eq!(names("raw/d=1/"), all[..3]);
    assert_eq!(names("raw/d=1/h=2"), all[2..3]);
    assert_eq!(names("none"), [""; 0]);
    assert_eq!(objects.folders("").unwrap(), ["raw"]);
    assert_eq!(objects.folders("raw").unwrap(), ["d=1", "d=2"]);
    assert_eq!(objects.folders("raw/d=1/").unwrap(), ["h=1", "h=2"]);
    assert_eq!(objects.folders("none").unwrap(), [""; 0]);
    for name in all {
        objects.delete(name).unwrap();
    }
    assert_eq!(objects.list("").unwrap(), []);
}

fn names_are_checked(objects: &Objects) {
    for name in ["", "/a", "a/", "a//b", "../a", "a/./b", "a#1", "a\nb"] {
        let error = objects.put(name, "x").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{name}: {error}");
        assert!(objects.upload(name).is_err(), "{name}");
    }
}

#[test]
fn a_folder_behaves() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::from(dir.path().join("not/yet").as_path());
    behave_like_objects(&Objects::open(&place).unwrap());
}

#[test]
fn memory_behaves() {
    behave_like_objects(&Objects::in_memory());
}

/// The place of a bucket to try, on this machine: `make test-s3` sets it.
#[cfg(feature = "s3")]
#[test]
#[ignore = "needs a server of S3; run by `make test-s3`"]
fn a_bucket_behaves() {
    let place: Place = std::env::var("TALLY_TEST_S3").unwrap().parse().unwrap();
    behave_like_objects(&Objects::open(&place).unwrap());
}

#[cfg(feature = "s3")]
#[test]
#[ignore = "needs a server of S3; run by `make test-s3`"]
fn a_bucket_that_is_not_there_is_unavailable() {
    let objects = Objects::open(&"s3://no-such-bucket/x".parse().unwrap()).unwrap();
    assert_eq!(objects.put("a", "x").unwrap_err().kind, ErrorKind::Unavailable);
}

#[cfg(not(feature = "s3"))]
#[test]
fn without_s3_a_bucket_is_refused_with_the_feature() {
    let error = Objects::open(&"s3://b/p".parse().unwrap()).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("--features s3"), "{error}");
}

#[test]
fn leftovers_are_unseen_in_nobodys_way_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::open(&dir.path().into()).unwrap();
    // What a process that is killed leaves: the bytes of its parts, and no name.
    let mut killed = objects.upload("d/big").unwrap();
    killed.write_all(&vec![7; PART_BYTES + 1]).unwrap();
    std::mem::forget(killed);
    let files = || fs::read_dir(dir.path().join("d")).unwrap().count();
    assert_eq!(files(), 1);
    assert_eq!(objects.list("").unwrap(), []);

    let mut again = objects.upload("d/big").unwrap();
    again.write_all(&vec![8; PART_BYTES + 1]).unwrap();
    again.finish().unwrap();
    assert_eq!(objects.size("d/big").unwrap(), Some(PART_BYTES as u64 + 1));
    assert_eq!(files(), 2);
    objects.remove_leftovers().unwrap();
    assert_eq!(files(), 1);
    assert_eq!(objects.list("").unwrap().len(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::open(&dir.path().join("a").as_path().into()).unwrap();
    // A file where a folder must be.
    objects.put("in-the-way", "x").unwrap();
    for error in [
        objects.put("in-the-way/b", "x").unwrap_err(),
        Objects::open(&dir.path().join("a/in-the-way").as_path().into()).err().unwrap(),
    ] {
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.source.is_some());
    }
}
