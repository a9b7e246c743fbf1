//! Keys from outside: made by the command, taken by the running server, and nowhere to be read.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::{Answer, Tally};

pub(super) fn run(dir: &Path, args: &[&str], key: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command.args(args).current_dir(dir).env_remove("TALLY_KEY").env_remove("TALLY_KEY_FILE");
    if let Some(key) = key {
        command.env("TALLY_KEY", key);
    }
    command.output().expect("the binary starts")
}

pub(super) fn out(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a key in the data folder.
fn create(dir: &Path, more: &[&str]) -> String {
    let folder = dir.to_str().expect("a plain path");
    out(&run(dir, &[&["keys", "create", "--data-dir", folder], more].concat(), None))
}

fn ask(server: &Tally, method: &str, path: &str, key: &str) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\ncontent-length: \
         0\r\n\r\n"
    );
    server.raw(head.as_bytes())
}

/// A server whose words go to a file.
fn loud(dir: &Path, flags: &[&str]) -> (Tally, PathBuf) {
    let words = dir.join("words.txt");
    let file = std::fs::File::create(&words).expect("a file");
    (Tally::start_saying(dir, flags, Stdio::from(file)), words)
}

#[test]
fn keys_are_taken_while_the_server_runs_and_are_nowhere_to_be_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let (server, words) = loud(dir.path(), &["--log-level", "trace", "--audit-interval", "1s"]);
    assert_eq!(ask(&server, "GET", "/v1/items/a/count", "").status, 200);
    let writer = create(dir.path(), &["--scope", "write", "--name", "shop"]);
    server.wait_until("shut", || server.get("/v1/items/a/count").status == 401);
    let reader = create(dir.path(), &["--scope", "read"]);
    let admin = create(dir.path(), &["--scope", "admin"]);
    server.wait_until("known", || ask(&server, "GET", "/v1/admin/keys", &admin).status == 200);
    assert_eq!(ask(&server, "POST", "/v1/items/a/events", &writer).status, 202);
    assert_eq!(ask(&server, "POST", "/v1/items/a/events", &reader).status, 403);
    assert_eq!(ask(&server, "GET", "/v1/items/a/count", &writer).status, 403);
    let count = || ask(&server, "GET", "/v1/items/a/count", &reader).json()["count"].as_u64();
    server.wait_until("counted", || count() == Some(1));
    assert_eq!(server.get("/healthz").status, 200);
    // The live audit has a key of its own, and nobody sees it.
    let equal = || {
        let audits = ask(&server, "GET", "/v1/admin/audits?limit=1", &admin).json();
        audits["audits"][0]["result"] == "equal"
    };
    server.wait_until("audited", equal);
    // Commands send the key of the environment or of a file.
    let url = format!("http://{}", server.addr);
    let asked = run(dir.path(), &["count", "a", "--url", &url, "--json"], Some(&reader));
    assert!(out(&asked).contains("\"count\":1"));
    let file = dir.path().join("reader.key");
    std::fs::write(&file, format!("{reader}\n")).expect("a file");
    let file = file.to_str().expect("a plain path");
    let asked = run(dir.path(), &["count", "a", "--url", &url, "--key-file", file], None);
    out(&asked);
    let asked = run(dir.path(), &["count", "a", "--url", &url], None);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.status.code() == Some(1) && said.contains("tally keys create"), "{said}");
    // From afar, by the server itself.
    let made = ["keys", "create", "--scope", "read", "--expires", "90d", "--json", "--url", &url];
    let made: Value = serde_json::from_str(&out(&run(dir.path(), &made, Some(&admin)))).unwrap();
    let other = made["secret"].as_str().expect("the secret");
    assert_eq!(ask(&server, "GET", "/v1/items/a/count", other).status, 200);
    let id = made["id"].as_str().expect("the id");
    out(&run(dir.path(), &["keys", "revoke", id, "--url", &url], Some(&admin)));
    assert_eq!(ask(&server, "GET", "/v1/items/a/count", other).status, 401);
    let listed = out(&run(dir.path(), &["keys", "list", "--json", "--url", &url], Some(&admin)));
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let states = listed["keys"].as_array().expect("keys").iter().map(|key| key["state"].as_str());
    let states: Vec<_> = states.map(|state| state.expect("a state")).collect();
    assert_eq!(states, ["active", "active", "active", "revoked"]);
    // And in the file, by the folder's owner.
    let id = writer.split('_').nth(1).expect("the id");
    let folder = dir.path().to_str().expect("a plain path");
    out(&run(dir.path(), &["keys", "revoke", id, "--data-dir", folder], None));
    server.wait_until("revoked", || {
        ask(&server, "POST", "/v1/items/a/events", &writer).status == 401
    });
    let metrics = ask(&server, "GET", "/metrics", &reader);
    assert_eq!(metrics.status, 200);
    drop(server);
    let mut texts = vec![std::fs::read_to_string(words).expect("words"), listed.to_string()];
    texts.push(String::from_utf8_lossy(&metrics.body).into_owned());
    texts.push(std::fs::read_to_string(dir.path().join("keys.json")).expect("the file"));
    let shown = run(dir.path(), &["config", "--json"], Some(&reader));
    texts.push(out(&shown));
    assert!(texts[0].contains("keys were read again"), "the log is that of the server");
    for secret in [&writer, &reader, &admin, other] {
        let secret = secret.rsplit('_').next().expect("the secret part");
        assert_eq!(secret.len(), 64);
        assert!(texts.iter().all(|text| !text.contains(secret)), "a secret was written down");
    }
}

#[test]
fn without_keys_only_this_machine_is_served_unless_that_is_wanted() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().to_str().expect("a plain path");
    let wide = ["serve", "--listen", "0.0.0.0:0", "--data-dir", folder];
    let refused = run(dir.path(), &wide, None);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("tally keys create") && said.contains("--allow-anonymous"), "{said}");
    let server = Tally::start(dir.path(), &["--allow-anonymous"]);
    assert_eq!(server.get("/v1/items/a/count").status, 200);
    drop(server);
    create(dir.path(), &["--public"]);
    let server = Tally::start(dir.path(), &[]);
    assert_eq!(server.get("/v1/items/a/count").status, 401, "keys outlive the server");
    drop(server);
    std::fs::write(dir.path().join("keys.json"), "{}").expect("a file");
    let refused =
        run(dir.path(), &["serve", "--listen", "127.0.0.1:0", "--data-dir", folder], None);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "damage opens nothing: {said}");
    assert!(said.contains("keys.json") && said.contains("damaged"), "{said}");
}

#[test]
fn wrong_usage_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    for args in [
        &["keys", "create"][..],
        &["keys", "create", "--scope", "root"],
        &["keys", "create", "--scope", "read", "--public"],
        &["keys", "create", "--scope", "read", "--expires", "soon"],
        &["keys", "create", "--scope", "read", "--rate-events", "0"],
        &["keys", "revoke", "x"],
    ] {
        let output = run(dir.path(), args, None);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    }
    let output = run(dir.path(), &["keys", "revoke", "0123456789ab"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(!dir.path().join("tally-data/keys.json").exists());
}

#[test]
fn rates_and_origins_are_settings() {
    let dir = tempfile::tempdir().expect("a folder");
    let flags = ["--rate-limit-events", "5", "--cors-origins", "https://shop.example"];
    let server = Tally::start(dir.path(), &flags);
    let events: Vec<_> = (0..5).map(|n| json!({"item": format!("i{n}")})).collect();
    let mut refused = None;
    server.wait_until("limited", || {
        let answer = server.send_json(&Value::from(events.clone()));
        refused = (answer.status == 429).then_some(answer);
        refused.is_some()
    });
    let refused = refused.expect("it was refused");
    assert_eq!(refused.code(), "rate_limited");
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    let asked = server
        .raw(b"GET /v1/items/i0/count HTTP/1.1\r\nhost: t\r\norigin: https://shop.example\r\n\r\n");
    assert!(asked.head.contains("access-control-allow-origin: https://shop.example"));
}

#[test]
fn an_address_has_so_many_connections() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Tally::start(dir.path(), &["--connections-per-address", "3"]);
    let connect = || std::net::TcpStream::connect(server.addr).expect("it listens");
    let mut held: Vec<_> = (0..3).map(|_| connect()).collect();
    // Those of the start may be on their way out still.
    server.wait_until("full", || {
        let mut one_more = connect();
        one_more.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a timeout");
        let read = std::io::Read::read(&mut one_more, &mut [0]);
        let is_closed = match &read {
            Ok(length) => *length == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        if !is_closed {
            held.push(one_more);
        }
        is_closed
    });
    drop(held);
    let answers = || {
        let mut stream = connect();
        let asked =
            std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n");
        let mut first = [0; 4];
        asked.is_ok() && std::io::Read::read_exact(&mut stream, &mut first).is_ok()
    };
    server.wait_until("free again", answers);
}
