//! The routing table that gateways, servers and query nodes of one log share.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::role::Role;
use super::server::{Server, TALLY, wait_for};
use super::{count, place, wait_for_count};

/// What another version takes effect later than, in milliseconds.
const LEAD_MS: i64 = 90_000;
/// How far ahead of now an event may be.
const AHEAD_MS: i64 = 60_000;

/// Posts JSON; the status and the answer.
fn post(url: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut child = Command::new("curl")
        .args(["-s", "-m", "30", "-w", "\n%{http_code}", "-d", "@-"])
        .args(["-H", "Content-Type: application/json", &format!("{url}{path}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    child.stdin.take().expect("piped").write_all(body.to_string().as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), serde_json::from_str(answer).unwrap_or_default())
}

fn version(text: Option<String>) -> u64 {
    let answer: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
    answer["version"].as_u64().unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "the server goes by it")]
fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

/// An item is spread by one gateway, which is killed; another one routes by that too, and a repeat of an
/// event meets its original whichever gateway it goes through, before and after the change.
#[test]
fn all_gateways_route_by_what_one_has_published() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, _) = place();
    let flags = ["--log", &place, "--partitions", "4"];
    let start = |name: &str| Role::start("gateway", 0, &scratch.path().join(name), &flags);
    let (mut one, other) = (start("one"), start("other"));
    let server = Server::start(&scratch.path().join("serve"), &flags);
    assert_eq!(version(one.get("/v1/admin/routing")), 1);
    let published_at = now_ms();
    let command = |url: &str, arguments: &[&str]| {
        let mut command = Command::new(TALLY);
        command.args(["routing"]).args(arguments).env("TALLY_URL", url);
        command.output().expect("it runs")
    };
    let output = command(&one.url, &["spread", "hot", "--over", "4"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    one.kill();
    for url in [&other.url, &server.url] {
        wait_for("everybody knows of it", || {
            let output = command(url, &["show", "--json"]);
            version(Some(String::from_utf8_lossy(&output.stdout).into_owned())) == 2
        });
    }
    // Whoever follows what is not the newest hears of that.
    let rule = json!({"item": "b", "strategy": "spread", "over": 2});
    let (status, answer) =
        post(&other.url, "/v1/admin/routing", &json!({"rules": [rule], "after": 1}));
    assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");
    // More partitions than the topic has.
    let (status, answer) = post(&other.url, "/v1/admin/routing", &json!({"partitions": 9}));
    assert_eq!(status, 422, "{answer}");
    let one = start("one");
    assert_eq!(version(one.get("/v1/admin/routing")), 2, "what was published outlives the gateway");

    let effective = published_at + LEAD_MS;
    let event = |n: usize, time: i64| json!({"item": "hot", "id": format!("e{n}"), "time": time});
    let before: Vec<Value> = (0..200).map(|n| event(n, effective - 30_000)).collect();
    let (status, answer) = post(&one.url, "/v1/events", &json!(before));
    assert_eq!((status, &answer["accepted"]), (202, &json!(200)), "{answer}");
    // The change comes into reach: events of the time after it can be sent.
    wait_for("the version holds for what may be sent", || {
        std::thread::sleep(Duration::from_millis(200));
        now_ms() + AHEAD_MS > effective + 12_000
    });
    let after: Vec<Value> = (200..400).map(|n| event(n, effective + 10_000)).collect();
    for (url, events) in [(&one.url, &after), (&other.url, &before), (&other.url, &after)] {
        wait_for("it is taken", || post(url, "/v1/events", &json!(events)).0 == 202);
    }
    wait_for_count(&server, "hot", 400);
    wait_for("all is counted", || server.metric("tally_partition_lag_events") == 0.0);
    assert_eq!(count(&server, "hot"), 400, "no repeat counts");
    let explained = server.get("/v1/items/hot/explain").expect("an answer");
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    let count_of = |part: &Value| part["count"].as_u64().unwrap_or(0);
    let in_partition = |partition: &Value| {
        let of = |kind: &str| partition[kind].as_array().cloned().unwrap_or_default();
        of("rows").iter().chain(&of("memory")).map(count_of).sum::<u64>()
    };
    let partitions = explained["partitions"].as_array().cloned().unwrap_or_default();
    let counts: Vec<u64> = partitions.iter().map(in_partition).collect();
    assert_eq!(counts.len(), 4, "{explained}");
    assert!(counts.iter().all(|count| *count > 0), "it was spread: {counts:?}");
    assert!(one.stop() && other.stop() && server.stop(), "SIGTERM ends all with status 0");
}
