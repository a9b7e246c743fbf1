//! The commands that README shows print what README says.

use super::docs::{Stage, run};
use super::server::{Server, TALLY, data_file};

#[test]
fn the_commands_of_readme_print_what_it_shows() {
    let readme = include_str!("../../../../README.md");
    let scratch = tempfile::tempdir().expect("a folder");
    let flags = ["--max-event-age", "40y", "--retention-minute", "40y", "--retention-hour", "40y"];
    let server = Server::start(&scratch.path().join("data"), &flags);
    let data = data_file("").display().to_string();
    let stage = Stage {
        program: TALLY,
        url: &server.url,
        scratch: scratch.path(),
        replaced: &[("http://127.0.0.1:8080", &server.url), ("../shared/data/", &data)],
    };
    let counted = || server.metric("tally_partition_lag_events") == 0.0;
    let commands = run(readme, &stage, || server.wait_for("everything is counted", counted));
    assert!(commands >= 3, "README shows commands");
}
