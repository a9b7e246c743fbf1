//! Whether a machine and a data folder are fit for a server: `tally doctor`. Each check reads facts and
//! says what it found; the judgement is a function of the facts.

mod clock;
mod folder;
mod machine;

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::config::Resolved;
use crate::http::Tls;
use crate::wiring;

/// How good it is what a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Good,
    /// It works, and can be better or cannot be told.
    Warning,
    /// A server does not start, or will not keep what it promises.
    Problem,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) found: String,
    /// What to do, where it is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    pub(crate) fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, found: found.into(), advice: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let verdict = Verdict::Warning;
        Self { check, verdict, found: found.into(), advice: Some(advice.into()) }
    }

    pub(crate) fn problem(
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let verdict = Verdict::Problem;
        Self { check, verdict, found: found.into(), advice: Some(advice.into()) }
    }
}

/// All checks, in the order in which they are shown.
pub(crate) fn examine(settings: &Resolved) -> Vec<Finding> {
    let dir = &settings.data_dir;
    let usage = wiring::is_folder_in_use(dir);
    let is_in_use = *usage.as_ref().unwrap_or(&false);
    let mut findings = vec![
        Finding::good("program", format!("tally {}", env!("CARGO_PKG_VERSION"))),
        machine::kernel(),
        machine::memory(settings),
        machine::files(settings),
        clock::against_the_folder(dir, wiring::wall_now()),
        folder::file_system(dir),
        folder::space(dir),
        folder::access(dir),
        folder::lock(dir, usage),
        stored(dir),
        machine::address(settings.listen, is_in_use),
        folder::keys(&settings.keys_file),
    ];
    if let Some(fsync) = folder::fsync(dir) {
        findings.push(fsync);
    }
    if let Some(files) = settings.tls.clone() {
        let loaded = Tls::open(files).map_err(anyhow::Error::from);
        findings.push(clock::certificate(loaded.map(|tls| tls.ends()), wiring::wall_now()));
    }
    findings
}

/// Whether this program knows the format of what is in the folder.
fn stored(dir: &Path) -> Finding {
    const CHECK: &str = "format";
    match wiring::stored_partitions_of(dir).context("the log cannot be opened") {
        Ok(None) => Finding::good(CHECK, "no data yet"),
        Ok(Some(1)) => Finding::good(CHECK, "known, 1 partition"),
        Ok(Some(partitions)) => Finding::good(CHECK, format!("known, {partitions} partitions")),
        Err(error) => Finding::problem(
            CHECK,
            format!("{error:#}"),
            "use the program that wrote it or a newer one; `tally log verify` looks for damage",
        ),
    }
}
