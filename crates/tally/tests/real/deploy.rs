//! The other files of `deploy/`: a unit that systemd accepts, a plan that names paths which exist.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

/// Prints the path and method of each sampler, by a parser of XML.
const SAMPLERS: &str = r#"
import json, sys, xml.etree.ElementTree as tree
samplers = tree.parse(sys.argv[1]).getroot().iter("HTTPSamplerProxy")
text = lambda sampler, name: sampler.find(f"stringProp[@name='HTTPSampler.{name}']").text
print(json.dumps([[text(s, "path"), text(s, "method")] for s in samplers]))
"#;

#[test]
fn the_jmeter_plan_is_xml_and_asks_for_what_is_there() {
    let file = deploy("jmeter/tally.jmx");
    let output = Command::new("python3").args(["-c", SAMPLERS]).arg(&file).output();
    let output = output.expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let samplers: Vec<(String, String)> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(samplers.len() >= 3, "{samplers:?}");
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/openapi.json");
    let api: Value =
        serde_json::from_slice(&std::fs::read(api).expect("it is there")).expect("JSON");
    for (path, method) in samplers {
        let path = path.split('?').next().unwrap_or_default();
        // An item that JMeter makes stands where the description has a name.
        let template: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with("jmeter-$") { "{item}" } else { part })
            .collect();
        let (template, method) = (template.join("/"), method.to_lowercase());
        assert!(api["paths"][&template][&method].is_object(), "{method} {template}");
    }
    let text = std::fs::read_to_string(&file).expect("it is there");
    for variable in ["host", "port", "rate", "duration", "query_rate", "threads"] {
        assert!(text.contains(&format!("${{__P({variable},")), "-J{variable} does nothing");
    }
}

#[test]
fn systemd_accepts_the_unit() {
    let unit = std::fs::read_to_string(deploy("systemd/tally.service")).expect("it is there");
    let scratch = tempfile::tempdir().expect("a folder");
    let file = scratch.path().join("tally.service");
    // The program has its place only where it is installed.
    let program = "ExecStart=/usr/local/bin/tally ";
    assert!(unit.contains(program));
    std::fs::write(&file, unit.replace(program, "ExecStart=/bin/true ")).expect("a file");
    let output = match Command::new("systemd-analyze").arg("verify").arg(&file).output() {
        Ok(output) => output,
        Err(error) => return println!("SKIPPED: no systemd-analyze: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    // Its flags are those of the program.
    let line = unit.lines().find_map(|line| line.strip_prefix(program)).expect("flags");
    let flags: Vec<&str> = line.split(' ').collect();
    assert_eq!(flags[0], "serve");
    let output = Command::new(super::server::TALLY).arg("config").args(&flags[1..]).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
