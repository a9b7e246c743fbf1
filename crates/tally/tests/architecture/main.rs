//! The rules of the house that the compiler does not see: which crate may import which, and that
//! ARCHITECTURE.md names only what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Every package of the workspace with its normal dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let normal = list(&package["dependencies"]);
            let normal = normal.iter().filter(|dependency| dependency["kind"].is_null());
            (name(package), normal.map(name).collect())
        })
        .collect()
}

#[test]
fn imports_run_one_way() {
    let dependencies = dependencies();
    let allowed: &[(&str, &[&str])] = &[
        ("tally-model", &[]),
        ("tally-engine", &["tally-model"]),
        ("tally-adapters", &["tally-engine", "tally-model"]),
        ("tally-api", &[]),
        ("tally-batch", &[]),
        ("tally", &["tally-adapters", "tally-api", "tally-batch", "tally-engine", "tally-model"]),
        ("tally-bench", &["tally"]),
        ("tally-fuzz", &["tally", "tally-adapters", "tally-model"]),
        ("tally-sim", &["tally-adapters", "tally-engine", "tally-model"]),
        ("tally-stages", &["tally-adapters", "tally-api", "tally-engine", "tally-model"]),
    ];
    for (name, dependencies) in &dependencies {
        let ours: Vec<&str> =
            dependencies.iter().map(String::as_str).filter(|d| d.starts_with("tally")).collect();
        let (_, allowed) =
            allowed.iter().find(|(package, _)| package == name).expect("a known package");
        assert!(ours.iter().all(|d| allowed.contains(d)), "{name} imports {ours:?}");
    }
}

#[test]
fn the_inner_crates_know_no_vendor() {
    let dependencies = dependencies();
    let vendors = ["fjall", "tokio", "hyper", "axum", "rustix", "rdkafka", "scylla", "redis"];
    for inner in ["tally-model", "tally-engine"] {
        for vendor in vendors {
            assert!(!dependencies[inner].contains(vendor), "{inner} imports {vendor}");
        }
    }
}

#[test]
fn architecture_names_only_what_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let named: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| {
            code.starts_with("crates/")
                || code.starts_with("docs/")
                || ["bench", "deploy", "fuzz"].contains(code)
        })
        .collect();
    assert!(named.len() > 10, "the paths stand in backticks");
    for path in named {
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which is not there");
    }
}

#[test]
fn files_stay_readable() {
    let listed = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let files = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    assert!(files.lines().count() > 30, "the sources are listed");
    for file in files.lines() {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(text.lines().count() <= 700, "{file} has over 700 lines");
        assert!(
            text.starts_with("//!")
                || file.ends_with("tests.rs")
                || text.is_empty()
                || file.contains("/tests/"),
            "{file} does not say what it is for"
        );
        let name = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        for banned in ["utils", "helpers", "misc", "types", "impls"] {
            assert_ne!(name, banned, "{file}: a name that says nothing");
        }
    }
}
