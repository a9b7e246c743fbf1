//! Every command in the documents is run. What a `console` block shows is compared with what is printed
//! (`documents.rs`, and `real/readme.rs` for README). Of an `sh` block each command must end well, and one that
//! serves must become ready, and end well when it is told to stop. What cannot be run here is in [`NOT_RUN`], with
//! the reason.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, Tally};

const PAGES: [&str; 10] = [
    "README.md",
    "docs/install.md",
    "docs/first-hour.md",
    "docs/operations.md",
    "docs/metrics.md",
    "docs/guarantees.md",
    "docs/comparison.md",
    "docs/faq.md",
    "docs/capacity.md",
    "examples/README.md",
];

/// Beginnings of commands that are not run here, and why. Each must be in some document.
const NOT_RUN: [(&str, &str); 14] = [
    ("make serve", "builds a release; what it starts then is `tally serve`, which is run"),
    ("make test", "is what runs this"),
    ("git clone", "needs a network; the place is one of whoever publishes it"),
    ("scripts/dashboard && cargo build", "builds a release, as `make test` did before"),
    ("cargo build", "builds another program, for minutes: make test-s3, test-sql, test-otel do"),
    ("sudo install", "changes the machine"),
    ("sudo useradd", "changes the machine; the unit is checked by real/deploy.rs"),
    ("sudo cp", "changes the machine; the unit is checked by real/deploy.rs"),
    ("sudo systemctl", "changes the machine; the unit is checked by real/deploy.rs"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "needs the feature otel: make test-otel does it"),
    ("tally sql", "needs the feature sql: make test-sql asks these questions"),
    ("duckdb", "is another's program: real/archive.rs lets it count raw files"),
    ("tally drill", "takes two minutes: real/drill.rs runs it"),
    ("tally watch", "draws on a terminal until a key is pressed: watch.rs gives it one"),
];

/// What a document writes and what stands for it here.
const REPLACED: [(&str, &str); 6] = [
    ("target/release/tally", "tally"),
    ("0.0.0.0:8443", "127.0.0.1:0"),
    ("/var/lib/tally", "var-lib-tally"),
    // The first port that is free, and as many events as take no time.
    ("tally demo", "tally demo --listen 127.0.0.1:0"),
    ("--events 2000000", "--events 2000"),
    // No path of the checkout is before the program under test.
    ("$PWD/target/release:", ""),
];

fn read(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Language and text of each code block.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, block)) = rest.split_once("\n```") {
        let (language, block) = block.split_once('\n').expect("a block has lines");
        let (body, after) = block.split_once("\n```").expect("a block ends");
        found.push((language, body));
        rest = after;
    }
    found
}

/// The commands of an `sh` block: one a line, which goes on after a backslash or within quotes.
fn commands(block: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in block.lines() {
        match commands.last_mut().filter(|_| is_open) {
            Some(command) => *command = format!("{command}\n{line}"),
            None if line.trim().is_empty() => continue,
            None => commands.push(line.to_owned()),
        }
        let command = commands.last().expect("there is one");
        is_open = command.ends_with('\\') || command.matches('"').count() % 2 == 1;
    }
    commands
}

/// Whether a command goes on until it is told to stop.
fn serves(command: &str) -> bool {
    ["tally serve", "tally demo"].iter().any(|begin| command.starts_with(begin))
}

/// Where the commands of one page run.
struct Stage {
    folder: tempfile::TempDir,
    /// A server for those that ask one; it shares nothing with those that a page starts.
    server: Tally,
    _data: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let (folder, data) = (tempfile::tempdir(), tempfile::tempdir().expect("a folder"));
        let folder = folder.expect("a folder");
        // A certificate, where a page takes one to be there.
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("a file");
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.path().join("key.pem"), key).expect("a file");
        let server = Tally::start(data.path(), &["--audit-interval", "off"]);
        Self { folder, server, _data: data }
    }

    fn command(&self, shown: &str) -> Command {
        let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
        let line = REPLACED.iter().fold(shown.to_owned(), replace);
        let bin = Path::new(env!("CARGO_BIN_EXE_tally")).parent().expect("a folder");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        // What serves takes the place of the shell, so that it is what is told to stop.
        let line = if serves(&line) { format!("exec {line}") } else { line };
        command
            .args(["-c", &line])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("TALLY_URL", format!("http://{}", self.server.addr))
            .env("XDG_STATE_HOME", self.folder.path())
            .env("NO_COLOR", "1")
            .env_remove("TALLY_KEY")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, shown: &str) {
        let mut command = self.command(shown);
        // For what would listen where it always does, or asks whether it could.
        let output = command.env("TALLY_LISTEN", "127.0.0.1:0").output().expect("bash runs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, wrong) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success(), "$ {shown}\n{out}{wrong}");
    }

    /// Starts what serves, and waits until it is ready.
    fn serve(&self, shown: &str) -> Serving {
        let out = self.folder.path().join("out.txt");
        let command = &mut self.command(shown);
        let child = command
            .env("TALLY_LISTEN", "127.0.0.1:0")
            .stdout(File::create(&out).expect("a file"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash runs");
        let mut serving = Serving(child);
        let begun = Instant::now();
        loop {
            let said = std::fs::read_to_string(&out).expect("a file");
            // `listening on URL`, or the page that a demo names.
            let url = said.split_whitespace().find(|word| word.starts_with("http"));
            let is_ready = url.is_some_and(|url| {
                let ready = format!("{}/readyz", url.trim_end_matches('/'));
                // The certificate is of nobody whom this machine trusts.
                let asked = Command::new("curl").args(["-skf", "-o", "/dev/null", &ready]).status();
                asked.expect("curl runs").success()
            });
            if is_ready {
                return serving;
            }
            let has_ended = serving.0.try_wait().expect("it can be asked").is_some();
            assert!(!has_ended, "$ {shown}\n{said}{}", serving.words());
            assert!(begun.elapsed() < PATIENCE, "$ {shown}\nnot ready: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A command that serves; killed when dropped.
struct Serving(Child);

impl Serving {
    fn words(&mut self) -> String {
        let mut words = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut words).expect("text");
        }
        words
    }

    fn stop(mut self, shown: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let status = self.0.wait().expect("it ends");
        assert!(status.success(), "$ {shown}\n{status}: {}", self.words());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the `sh` blocks of a page; how many commands there were.
fn run(page: &str) -> usize {
    let text = read(page);
    let of_page: Vec<_> = blocks(&text).into_iter().filter(|(kind, _)| *kind == "sh").collect();
    if of_page.is_empty() {
        return 0;
    }
    let (stage, mut ran) = (Stage::new(), 0);
    for (_, block) in of_page {
        // What serves does so for the rest of its block.
        let mut serving = Vec::new();
        for command in commands(block) {
            let plain = command.replace("target/release/tally", "tally");
            if NOT_RUN.iter().any(|(begin, _)| plain.starts_with(begin)) {
                continue;
            }
            let begun = Instant::now();
            match serves(&plain) {
                true => serving.push((stage.serve(&command), command)),
                false => stage.run(&command),
            }
            println!("{page}: {:.1?} for {plain}", begun.elapsed());
            ran += 1;
        }
        serving.into_iter().for_each(|(serving, command)| serving.stop(&command));
    }
    ran
}

#[test]
fn commands_that_readme_names_end_well() {
    assert!(run("README.md") >= 7);
}

#[test]
fn commands_of_the_first_hour_and_of_installing_end_well() {
    assert!(run("docs/first-hour.md") >= 4);
    assert!(run("docs/install.md") >= 2);
}

#[test]
fn commands_of_all_other_pages_end_well() {
    let first = ["README.md", "docs/first-hour.md", "docs/install.md"];
    let others = PAGES.iter().filter(|page| !first.contains(page));
    println!("{} commands", others.map(|page| run(page)).sum::<usize>());
}

/// A block is of a kind that is run, or holds no commands; what is not run is in a document, so that the list
/// grows no longer than it has to.
#[test]
fn no_block_of_commands_is_left_out() {
    let mut not_run = BTreeSet::new();
    for page in PAGES {
        let text = read(page);
        for (language, block) in blocks(&text) {
            match language {
                "console" => assert!(block.starts_with("$ "), "{page}: {block}"),
                "sh" => {
                    let plain = block.replace("target/release/tally", "tally");
                    for command in commands(&plain) {
                        let begins = |(begin, _): &&(&str, &str)| command.starts_with(begin);
                        not_run.extend(NOT_RUN.iter().find(begins).map(|(begin, _)| *begin));
                    }
                }
                "rust" | "sql" | "json" => {}
                "" => {
                    let is_command = |line: &str| {
                        ["$ ", "tally ", "make ", "curl ", "sudo ", "cargo "]
                            .iter()
                            .any(|begin| line.starts_with(begin))
                    };
                    assert!(!block.lines().any(is_command), "{page}: not marked as sh: {block}");
                }
                other => panic!("{page}: a block of the kind `{other}`, which nothing runs"),
            }
        }
    }
    let listed: BTreeSet<_> = NOT_RUN.iter().map(|(begin, _)| *begin).collect();
    assert_eq!(listed, not_run, "commands that are in no document any more");
    assert!(NOT_RUN.iter().all(|(_, why)| why.len() > 10));
}

#[test]
fn a_command_goes_on_within_quotes_and_after_a_backslash() {
    let block = "one --flag # why\n\ntwo \\\n  --more\nthree \"a\n  b\" c\nfour";
    let expected = ["one --flag # why", "two \\\n  --more", "three \"a\n  b\" c", "four"];
    assert_eq!(commands(block), expected);
    let text = "a\n```sh\nx\ny\n```\nb\n```\nz\n```\n";
    assert_eq!(blocks(text), [("sh", "x\ny"), ("", "z")]);
}

/// Paths of documents that the list of pages lacks.
#[test]
fn every_page_is_looked_at() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = std::fs::read_dir(docs).expect("a folder").map(|entry| entry.expect("one").path());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|end| end == "md");
    for page in pages.filter(is_page) {
        let name = format!("docs/{}", page.file_name().and_then(|n| n.to_str()).expect("a name"));
        // What bytes mean; its blocks are layouts.
        assert!(PAGES.contains(&&*name) || name == "docs/format.md", "{name} is not looked at");
    }
}
