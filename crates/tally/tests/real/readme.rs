//! The commands that README shows print what README says.

use std::process::Command;

use super::server::{Server, TALLY, data_file};

#[test]
fn the_commands_of_readme_print_what_it_shows() {
    let readme = include_str!("../../../../README.md");
    let scratch = tempfile::tempdir().expect("a folder");
    let flags = ["--max-event-age", "40y", "--retention-minute", "40y", "--retention-hour", "40y"];
    let server = Server::start(&scratch.path().join("data"), &flags);
    let bin = std::path::Path::new(TALLY).parent().expect("a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let data = data_file("").display().to_string();
    let mut commands = 0;
    for block in readme.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or("");
        for example in block.split("$ ").skip(1) {
            let (command, expected) = example.split_once('\n').unwrap_or((example, ""));
            let command = command
                .replace("http://127.0.0.1:8080", &server.url)
                .replace("../shared/data/", &data);
            let output = Command::new("bash")
                .args(["-c", &command])
                .env("PATH", &path)
                .env("TALLY_URL", &server.url)
                .env("XDG_STATE_HOME", scratch.path())
                .env("NO_COLOR", "1")
                .output()
                .expect("bash runs");
            server.wait_for("everything is counted", || {
                server.metric("tally_partition_lag_events") == 0.0
            });
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(
                matches(expected.trim_end(), printed.trim_end()),
                "$ {command}\nREADME says:\n{expected}\nprinted:\n{printed}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            commands += 1;
        }
    }
    assert!(commands >= 3, "README shows commands");
}

/// Whether a text is as expected, where `…` stands for anything within a line.
fn matches(expected: &str, printed: &str) -> bool {
    let mut printed = printed.lines();
    let same = expected.lines().all(|line| {
        let Some(found) = printed.next() else { return false };
        let mut rest = found;
        let parts: Vec<&str> = line.split('…').collect();
        let fits = parts.iter().enumerate().all(|(n, part)| match rest.find(part) {
            Some(at) if n > 0 || at == 0 => {
                rest = &rest[at + part.len()..];
                true
            }
            _ => false,
        });
        fits && (parts.len() > 1 || rest.is_empty())
    });
    same && printed.next().is_none()
}
