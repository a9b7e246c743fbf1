//! Settings and the start: what is wrong is said, with the exit status that the contract names.

use std::process::{Command, Output};

use super::Tally;

fn tally(args: &[&str], envs: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(args)
        .envs(envs.iter().copied())
        .current_dir(dir.path())
        .output()
        .expect("the binary starts")
}

#[test]
fn config_shows_values_and_origins() {
    let output =
        tally(&["config", "--json", "--partitions", "3"], &[("TALLY_MAX_EVENT_AGE", "40y")]);
    assert!(output.status.success());
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = |name: &str| {
        let all = shown.as_array().expect("an array");
        let one = all.iter().find(|one| one["name"] == name).expect("the setting is there");
        (one["value"].as_str().unwrap().to_owned(), one["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("partitions"), ("3".into(), "flag".into()));
    assert_eq!(of("max_event_age"), ("40y".into(), "environment".into()));
    assert_eq!(of("dedup_window"), ("10m".into(), "default".into()));
}

#[test]
fn a_wrong_setting_stops_the_start_with_status_two() {
    for (args, named) in [
        (&["serve", "--dedup-window", "90s"][..], "dedup_window"),
        (&["config", "--listen", "nowhere"], "listen"),
        (&["config", "--config", "missing.toml"], "missing.toml"),
    ] {
        let output = tally(args, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn a_second_process_on_the_folder_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = Tally::start(dir.path(), &[]);
    let path = dir.path().to_str().expect("a plain path");
    let output = tally(&["serve", "--listen", "127.0.0.1:0", "--data-dir", path], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(path) && said.contains(&first.child.id().to_string()), "{said}");
}

#[test]
fn a_server_that_drains_is_not_ready_and_still_takes_events() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Tally::start(dir.path(), &["--drain-delay", "10m"]);
    let term = || {
        let pid = server.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    };
    term();
    server.wait_until("draining", || server.get("/readyz").status == 503);
    let answer = server.get("/readyz");
    assert_eq!(answer.code(), "not_ready");
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.send_json(&serde_json::json!({"item": "late"})).status, 202);
    server.wait_until("counted", || server.count("late") == 1);
    // The second signal does not wait for ten minutes.
    assert_eq!(server.stop(), Some(0));
}
