//! The commands that documents show print what they say: each `console` block is run as it stands.

use std::path::Path;
use std::process::Command;

/// Where the commands of a document run.
pub(crate) struct Stage<'a> {
    /// The program under test.
    pub(crate) program: &'a str,
    /// A server for those that ask one.
    pub(crate) url: &'a str,
    /// Commands are run here, and remember things here.
    pub(crate) scratch: &'a Path,
    /// What a document writes and what stands for it here.
    pub(crate) replaced: &'a [(&'a str, &'a str)],
}

/// Runs the commands of all `console` blocks, in their order; how many there were. `settle` is called after
/// each: what it sent is counted then.
pub(crate) fn run(document: &str, stage: &Stage<'_>, settle: impl Fn()) -> usize {
    let bin = Path::new(stage.program).parent().expect("a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut commands = 0;
    for block in document.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or("");
        // A command begins a line; what follows it up to the next one is what it prints.
        for example in format!("\n{block}").split("\n$ ").skip(1) {
            let (shown, expected) = command_of(example);
            let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
            let command = stage.replaced.iter().fold(shown, replace);
            let output = Command::new("bash")
                .args(["-c", &command])
                .current_dir(stage.scratch)
                .env("PATH", &path)
                .env("TALLY_URL", stage.url)
                .env("XDG_STATE_HOME", stage.scratch)
                .env("NO_COLOR", "1")
                .env_remove("TALLY_KEY")
                .output()
                .expect("bash runs");
            settle();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(
                matches(expected.trim_end(), printed.trim_end()),
                "$ {command}\nthe document says:\n{expected}\nprinted:\n{printed}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            commands += 1;
        }
    }
    commands
}

/// The command, which goes on where a line ends in a backslash, and what it prints.
fn command_of(example: &str) -> (String, String) {
    let mut lines = example.split_inclusive('\n');
    let mut command = String::new();
    for line in lines.by_ref() {
        command += line;
        if !line.trim_end_matches('\n').ends_with('\\') {
            break;
        }
    }
    (command.trim_end().to_owned(), lines.collect())
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
