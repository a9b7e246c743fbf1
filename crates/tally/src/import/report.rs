//! What has become of the records of a file: numbers that add up, and the first examples of each
//! refusal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many refusals of a code are told with their lines.
const EXAMPLES: usize = 3;

/// Refused records by code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Refusals(BTreeMap<String, RefusedCode>);

/// The records refused with one code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct RefusedCode {
    /// How many.
    pub(crate) count: u64,
    /// The first of them.
    pub(crate) examples: Vec<RefusedExample>,
}

/// One refused record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct RefusedExample {
    /// Line of the file, from 1.
    pub(crate) line: u64,
    /// What was wrong.
    pub(crate) detail: String,
}

impl Refusals {
    pub(crate) fn add(&mut self, code: &str, line: u64, detail: String) {
        let entry = self.0.entry(code.to_owned()).or_default();
        entry.count += 1;
        if entry.examples.len() < EXAMPLES {
            entry.examples.push(RefusedExample { line, detail });
        }
    }

    /// Adds those of later lines.
    pub(crate) fn merge(&mut self, later: Self) {
        for (code, refused) in later.0 {
            let entry = self.0.entry(code).or_default();
            entry.count += refused.count;
            let room = EXAMPLES.saturating_sub(entry.examples.len());
            entry.examples.extend(refused.examples.into_iter().take(room));
        }
    }

    /// All together.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().map(|refused| refused.count).sum()
    }

    /// By code.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &RefusedCode)> {
        self.0.iter().map(|(code, refused)| (code.as_str(), refused))
    }
}

/// The records of one file up to some place, every one of them settled: accepted or refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct FileReport {
    /// Records read.
    pub(crate) records: u64,
    /// Line of the last of them.
    pub(crate) line: u64,
    /// Events that the server made durable.
    pub(crate) accepted: u64,
    /// Of those, requests that are odd but were kept.
    pub(crate) odd: u64,
    /// Requests that were sent again.
    pub(crate) retries: u64,
    /// What was refused, here or by the server.
    pub(crate) refused: Refusals,
}

/// How far a file is: everything up to a place, and pieces behind a gap whose answers came early.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Progress {
    /// The records from the first one on without a gap.
    pub(crate) done: FileReport,
    /// What is settled behind the gap, in the order of the file.
    pub(crate) ahead: Vec<Piece>,
}

/// Some settled records in the midst of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Piece {
    /// How many records come before it.
    pub(crate) first_record: u64,
    /// What became of it.
    pub(crate) report: FileReport,
}

impl Progress {
    /// Whether the pieces follow each other and all numbers together stay numbers: a damaged file
    /// may say anything.
    pub(super) fn adds_up(&self) -> bool {
        let mut place = Some(self.done.records);
        for piece in &self.ahead {
            place = place
                .filter(|place| piece.first_record >= *place)
                .and_then(|_| piece.first_record.checked_add(piece.report.records));
        }
        let reports = self.ahead.iter().map(|piece| &piece.report).chain([&self.done]);
        let mut numbers = reports.flat_map(|report| {
            let refused = report.refused.iter().map(|(_, refused)| refused.count);
            refused.chain([report.accepted, report.odd, report.retries])
        });
        place.is_some() && numbers.try_fold(0u64, u64::checked_add).is_some()
    }
}

impl FileReport {
    /// Adds the records that follow.
    pub(crate) fn merge(&mut self, next: Self) {
        self.records += next.records;
        self.line = next.line;
        self.accepted += next.accepted;
        self.odd += next.odd;
        self.retries += next.retries;
        self.refused.merge(next.refused);
    }
}
