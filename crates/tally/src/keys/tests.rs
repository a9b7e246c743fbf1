use std::sync::Arc;

use engine::ports::Clock;
use model::TimestampMs;
use model::append_time::ClockReading;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;

const NOW: TimestampMs = TimestampMs(1_795_255_200_000);

struct SetClock(Mutex<TimestampMs>);

impl Clock for SetClock {
    fn now(&self) -> ClockReading {
        ClockReading { wall: *self.0.lock(), monotonic_ms: 0 }
    }
}

fn draft(scopes: Scopes) -> Draft {
    Draft { name: "a name".into(), scopes, ..Draft::default() }
}

fn open() -> (tempfile::TempDir, Arc<SetClock>, Keyring) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(Mutex::new(NOW)));
    let file = KeyFile::new(dir.path().join("keys.json"));
    let keyring = Keyring::open(file, clock.clone()).unwrap();
    (dir, clock, keyring)
}

#[test]
fn a_key_opens_until_it_is_revoked_or_over() {
    let (_dir, clock, keyring) = open();
    assert!(!keyring.is_closed());
    let (key, secret) = keyring.create(draft(Scopes::READ)).unwrap();
    assert!(keyring.is_closed());
    let caller = keyring.recognise(secret.expose().as_bytes()).unwrap();
    assert_eq!((caller.scopes, caller.is_public), (Scopes::READ, false));
    let expires = Some(TimestampMs(NOW.0 + 1000));
    let (_, short) = keyring.create(Draft { expires, ..draft(Scopes::WRITE) }).unwrap();
    assert!(keyring.recognise(short.expose().as_bytes()).is_some());
    clock.0.lock().0 += 1000;
    assert!(keyring.recognise(short.expose().as_bytes()).is_none());
    let revoked = keyring.revoke(key.id.parse().unwrap()).unwrap().unwrap();
    assert_eq!(revoked.state, api::KeyState::Revoked);
    assert!(keyring.recognise(secret.expose().as_bytes()).is_none());
    assert!(keyring.is_closed(), "the last key has gone, the door stays shut");
    assert!(keyring.revoke("000000000000".parse().unwrap()).unwrap().is_none());
}

#[test]
fn every_changed_digit_makes_another_key() {
    let (_dir, _, keyring) = open();
    let (_, secret) = keyring.create(draft(Scopes::READ)).unwrap();
    let text = secret.expose().as_bytes();
    for at in 0..text.len() {
        let mut wrong = text.to_vec();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        assert!(keyring.recognise(&wrong).is_none(), "byte {at}");
        assert!(keyring.recognise(&text[..at]).is_none(), "cut at {at}");
    }
    assert!(keyring.recognise(&[text, b"0"].concat()).is_none());
}

#[test]
fn the_file_holds_no_secret_and_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, _, keyring) = open();
    let (_, secret) = keyring.create(draft(Scopes::READ)).unwrap();
    let path = dir.path().join("keys.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let random = secret.expose().rsplit('_').next().unwrap();
    assert!(!text.contains(random) && text.contains("sha256:"), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{secret:?} {keyring}", keyring = text).contains(random));
}

#[test]
fn what_another_process_changes_is_taken_and_damage_is_not() {
    let (dir, _, keyring) = open();
    let path = dir.path().join("keys.json");
    let other = KeyFile::new(path.clone());
    let (key, secret) = other.create(draft(Scopes::ADMIN), NOW).unwrap();
    keyring.reload_if_changed();
    assert!(keyring.recognise(secret.expose().as_bytes()).is_some());
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"{\"version\":1,\"keys\":[{}]}").unwrap();
    keyring.reload_if_changed();
    assert!(keyring.recognise(secret.expose().as_bytes()).is_some(), "the old keys hold");
    assert!(matches!(other.read(), Err(KeyFileError::Damaged { .. })));
    assert!(other.create(draft(Scopes::READ), NOW).is_err(), "damage is not written over");
    std::fs::write(&path, good).unwrap();
    other.revoke(key.id, NOW).unwrap();
    keyring.reload_if_changed();
    assert!(keyring.recognise(secret.expose().as_bytes()).is_none());
    std::fs::remove_file(&path).unwrap();
    keyring.reload_if_changed();
    assert!(keyring.is_closed());
}

#[test]
fn a_key_that_makes_no_sense_is_refused() {
    let (dir, _, keyring) = open();
    let both = Scopes::WRITE.and(Scopes::READ);
    let rates = Rates { events: Some(0), requests: None };
    for bad in [
        draft(Scopes::NONE),
        Draft { is_public: true, ..draft(both) },
        Draft { expires: Some(NOW), ..draft(both) },
        Draft { rates, ..draft(both) },
        Draft { name: "a\nb".into(), ..draft(both) },
        Draft { name: "a".repeat(257), ..draft(both) },
    ] {
        assert!(matches!(keyring.create(bad), Err(KeyFileError::Invalid(_))));
    }
    assert!(!dir.path().join("keys.json").exists());
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let (dir, _, keyring) = open();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let file = KeyFile::new(dir.path().join("keys.json"));
                for _ in 0..5 {
                    file.create(draft(Scopes::READ), NOW).unwrap();
                }
            });
        }
    });
    keyring.reload_if_changed();
    assert_eq!(keyring.list().len(), 20);
}

/// What the first version wrote is read for ever.
#[test]
fn the_file_of_version_1_is_read() {
    let (dir, _, keyring) = open();
    let file = r#"{"version":1,"keys":[{"id":"0123456789ab","name":"shop",
        "hash":"sha256:f0b41762abaf1ee560cc9bcb3188486a6fe671635bef79e6fd41a4375360983d",
        "scopes":["write","read"],"public":false,"created":"2026-11-21T10:00:00Z","expires":null,
        "revoked":null,"rate_limit_events":5,"rate_limit_requests":null}]}"#;
    std::fs::write(dir.path().join("keys.json"), file).unwrap();
    keyring.reload_if_changed();
    let text = format!("tk_0123456789ab_{}", "5a".repeat(32));
    let caller = keyring.recognise(text.as_bytes()).unwrap();
    assert_eq!(caller.scopes, Scopes::WRITE.and(Scopes::READ));
    assert_eq!(caller.rates, Rates { events: Some(5), requests: None });
    let later = file.replace("\"version\":1", "\"version\":2");
    std::fs::write(dir.path().join("keys.json"), later).unwrap();
    let file = KeyFile::new(dir.path().join("keys.json"));
    assert!(matches!(file.read(), Err(KeyFileError::OtherVersion { version: 2, .. })));
    // Whatever else a later one says.
    std::fs::write(dir.path().join("keys.json"), b"{\"version\":9,\"sealed\":\"x\"}").unwrap();
    let error = file.read().expect_err("refused").to_string();
    assert!(error.contains("version 9, this program knows only 1"), "{error}");
    assert!(file.create(draft(Scopes::READ), NOW).is_err(), "it is not written over");
}

proptest! {
    #[test]
    fn any_text_is_refused_and_any_file_is_read_or_named(text: Vec<u8>, json in ".{0,200}") {
        let (dir, _, keyring) = open();
        prop_assert!(keyring.recognise(&text).is_none());
        std::fs::write(dir.path().join("keys.json"), json).unwrap();
        let file = KeyFile::new(dir.path().join("keys.json"));
        let refused = file.read().expect_err("any text is none of ours");
        let is_of_the_disk = matches!(refused, KeyFileError::Io { .. });
        prop_assert!(!is_of_the_disk, "it was read");
    }
}
