//! The documents tell the truth: their commands print what they show, the tests they name exist, their
//! links lead somewhere, their flags are those of the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Tally;
use super::docs::{Stage, run};

const PAGES: [&str; 9] = [
    "docs/install.md",
    "docs/first-hour.md",
    "docs/operations.md",
    "docs/metrics.md",
    "docs/guarantees.md",
    "docs/comparison.md",
    "docs/capacity.md",
    "docs/faq.md",
    "examples/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs the commands of a page against a server of its own.
fn show(page: &str, flags: &[&str]) -> usize {
    let scratch = tempfile::tempdir().expect("a folder");
    let data = scratch.path().join("tally-data");
    std::fs::create_dir(&data).expect("a folder");
    let server = Tally::start(&data, flags);
    let url = format!("http://{}", server.addr);
    let stage = Stage {
        program: env!("CARGO_BIN_EXE_tally"),
        url: &url,
        scratch: scratch.path(),
        replaced: &[("http://127.0.0.1:8080", &url), ("localhost:8080", &url[7..])],
    };
    let lag = || {
        let metrics = String::from_utf8(server.get("/metrics").body).expect("text");
        let lags = metrics.lines().filter(|line| line.starts_with("tally_partition_lag_events{"));
        lags.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    run(&read(page), &stage, || server.wait_until("counted", || lag() == 0.0))
}

#[test]
fn the_first_hour_goes_as_it_is_written() {
    assert!(show("docs/first-hour.md", &["--audit-interval", "off"]) >= 12);
}

#[test]
fn the_commands_of_installing_and_operating_print_what_they_show() {
    assert!(show("docs/install.md", &[]) >= 3);
    assert!(show("docs/operations.md", &[]) >= 3);
}

#[test]
fn each_guarantee_names_tests_that_are_there() {
    let text = read("docs/guarantees.md");
    let mut named = 0;
    for section in text.split("\n## ").skip(1) {
        let proofs: Vec<&str> = section.lines().filter(|line| line.starts_with("- `")).collect();
        assert!(!proofs.is_empty(), "nothing proves: {}", section.lines().next().unwrap_or(""));
        for proof in proofs {
            let parts: Vec<&str> = proof.split('`').collect();
            let [_, name, " in ", file, ..] = parts[..] else { panic!("{proof}") };
            let code = read(file);
            let place = code.find(&format!("fn {name}(")).unwrap_or_else(|| {
                panic!("{file} has no {name}");
            });
            let before: Vec<&str> = code[..place].lines().rev().take(4).collect();
            assert!(before.iter().any(|line| line.trim() == "#[test]"), "{name} is no test");
            named += 1;
        }
    }
    assert!(named >= 20, "{named}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    for page in PAGES {
        let text = read(page);
        let folder = Path::new(page).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.into() } else { folder.join(path) };
            let target = target.to_str().expect("a path").to_owned();
            assert!(root().join(&target).exists(), "{page} links {link}");
            if !anchor.is_empty() {
                let headings = read(&target);
                let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase();
                let slug = |line: &str| slug(line).replace(' ', "-").replace(['.', ',', '?'], "");
                let mut lines = headings.lines().filter(|line| line.starts_with('#'));
                assert!(lines.any(|line| slug(line) == anchor), "{page} links {link}");
            }
        }
        // Paths in backticks too, where they look like ones of this repository.
        let code = text.split('`').skip(1).step_by(2);
        for path in code.filter(|code| !code.contains(['*', ' ', '\n', '<', '{'])) {
            let is_ours = ["crates/", "deploy/", "docs/", "bench/", "examples/"]
                .iter()
                .any(|folder| path.starts_with(folder));
            let path = path.split('#').next().unwrap_or(path);
            assert!(!is_ours || root().join(path).exists(), "{page} names {path}");
        }
    }
}

/// What a command's help says, and that of the commands below it.
fn help(words: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_tally")).args(words).arg("--help").output();
    let output = output.expect("the binary starts");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Words that a page types after `tally`, up to the end of the command.
fn typed(text: &str) -> BTreeSet<Vec<String>> {
    let ends = |c: char| "|;&>#`\n)".contains(c);
    let starts = text.match_indices("tally ").filter(|(at, _)| {
        text[..*at].ends_with(['`', '\n', '$']) || text[..*at].ends_with("$ ") || *at == 0
    });
    let commands = starts.map(|(at, found)| {
        let rest = &text[at + found.len()..];
        let command = rest.split(ends).next().unwrap_or_default();
        command.split_whitespace().map(str::to_owned).collect()
    });
    commands.filter(|words: &Vec<String>| !words.is_empty()).collect()
}

#[test]
fn every_command_and_flag_in_code_is_one_of_the_program() {
    let top = help(&[]).expect("help");
    let is_command = |word: &str| {
        top.lines()
            .any(|line| line.starts_with("  ") && line.split_whitespace().next() == Some(word))
    };
    let mut checked = 0;
    for page in PAGES {
        let text = read(page);
        // Blocks and words in backticks; elsewhere `tally` is a name.
        let mut code = String::new();
        for (at, part) in text.split("```").enumerate() {
            if at % 2 == 1 {
                code += part;
            } else {
                part.split('`').skip(1).step_by(2).for_each(|word| code += &format!("`{word}`"));
            }
        }
        for words in typed(&code) {
            let command = words[0].as_str();
            if command.starts_with('-') || command == "COMMAND" {
                continue;
            }
            assert!(is_command(command), "{page}: tally {}", words.join(" "));
            let below = words.get(1).map(String::as_str).filter(|word| {
                word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                    && !word.starts_with('-')
                    && help(&[command, word])
                        .is_some_and(|text| text.contains(&format!("tally {command} {word}")))
            });
            let path: Vec<&str> = [command].into_iter().chain(below).collect();
            let known = help(&path).unwrap_or_default();
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or(flag);
                assert!(known.contains(flag), "{page}: tally {} has no {flag}", path.join(" "));
            }
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}

/// Runs an example against a server of its own; what it printed.
fn example(program: &str, file: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Tally::start(dir.path(), &["--audit-interval", "off"]);
    let output = Command::new(program)
        .arg(root().join("examples").join(file))
        .env("TALLY_URL", format!("http://{}", server.addr))
        .env_remove("TALLY_KEY")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let (said, wrong) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{file}: {said}{wrong}");
    said.into_owned()
}

#[test]
fn the_examples_count_what_they_send() {
    let curl = example("bash", "curl.sh");
    for type_name in ["view", "like", "share"] {
        let counted = format!("\"item\":\"curl-example\",\"type\":\"{type_name}\",\"count\":1");
        assert!(curl.contains(&counted), "{curl}");
    }
    let python = example("python3", "count.py");
    assert!(python.contains("2 accepted") && python.contains("'count': 2"), "{python}");
    assert!(python.contains("'sum': 42.5") && python.contains("'average': 21.25"), "{python}");
    match Command::new("node").arg("--version").output() {
        Ok(_) => {
            let node = example("node", "count.mjs");
            assert!(node.contains("2 accepted") && node.contains("count: 2"), "{node}");
        }
        Err(error) => println!("SKIPPED: no node: {error}"),
    }
}
