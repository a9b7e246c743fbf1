//! What runs did, added up; and the rule that a seed is run twice.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow, ensure};

/// How often each of some kinds of things happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K>(BTreeMap<K, u64>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Copy + Ord> Tally<K> {
    /// It happened so often, once more.
    pub fn add(&mut self, kind: K, times: u64) {
        if times > 0 {
            *self.0.entry(kind).or_default() += times;
        }
    }

    /// Adds another run's numbers.
    pub fn merge(&mut self, other: &Self) {
        for (kind, times) in other.iter() {
            self.add(kind, times);
        }
    }

    /// How often it happened.
    pub fn of(&self, kind: K) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// What happened at all, in the order of kinds.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> + '_ {
        self.0.iter().map(|(kind, times)| (*kind, *times))
    }
}

/// Runs a seed twice: both must do the same, and what one finds the other must find.
pub(crate) fn twice<R: Debug + PartialEq>(seed: u64, run: impl Fn() -> Result<R>) -> Result<R> {
    let (first, second) = (run(), run());
    let is_same = match (&first, &second) {
        (Ok(first), Ok(second)) => first == second,
        (Err(first), Err(second)) => format!("{first:#}") == format!("{second:#}"),
        _ => false,
    };
    ensure!(is_same, "seed {seed} did not do the same twice: {first:?} and {second:?}");
    first
}

/// Runs a seed once: a panic is found like anything else that is wrong.
pub(crate) fn caught<R>(seed: u64, run: impl FnOnce() -> Result<R>) -> Result<R> {
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(anyhow!("panicked: {text}"))
    });
    result.with_context(|| format!("seed {seed}"))
}
