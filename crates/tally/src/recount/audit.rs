//! The strong audit: an hour that is over is counted again from raw events, now and then.

use std::sync::Arc;
use std::time::Duration;

use api::{AuditAnswer, AuditResult};
use engine::query::Query;
use model::bucket::HOUR_MS;
use model::{TimeRange, TimestampMs};

use super::{AskedBy, Job, Progress, Recounts};

/// The kind of audit that recounts are.
const KIND: &str = "recount";
/// The first comes soon: a server that is restarted every day is audited too.
const FIRST_AFTER: Duration = Duration::from_secs(600);

impl Recounts {
    /// Counts the newest hour that is over again and again, the first time after ten minutes or one
    /// interval. Events that come late for it are in what is compared.
    pub(crate) async fn run_every(self: Arc<Self>, interval: Duration, query: Arc<Query>) {
        let first = tokio::time::Instant::now() + interval.min(FIRST_AFTER);
        let mut ticks = tokio::time::interval_at(first, interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = query.now();
            let end = now.floor(HOUR_MS);
            let range = TimeRange::covering(TimestampMs(end.0 - HOUR_MS), end);
            // Where one is running already, that one is an audit too.
            if let Err(error) = self.start(range, None, None, (AskedBy::Schedule, now)) {
                tracing::debug!(%error, "an audit is left out");
            }
        }
    }

    /// Lists a recount among the audits.
    pub(super) fn remember(&self, job: &Job, took: Duration) {
        let (work, state) = (job.work(), job.state());
        let mut audit = AuditAnswer {
            kind: KIND.to_owned(),
            time: job.began.to_string(),
            result: AuditResult::Failed,
            expected: 0,
            found: 0,
            drift: 0,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            detail: String::new(),
        };
        let range = format!("{} to {}", job.start, job.end);
        match state.progress {
            // Whoever asked for it or stopped it knows.
            Progress::Running | Progress::Stopped => return,
            Progress::Failed(_) if job.by == AskedBy::Request => return,
            Progress::Failed(error) => audit.detail = format!("{range}: {error}"),
            Progress::Done => {
                // Each cell is in a total too; a total alone may be wrong as well.
                let drift = |f: &super::Found| f.cell.is.count.abs_diff(f.cell.was.count);
                let (totals, cells): (Vec<_>, Vec<_>) =
                    state.found.iter().partition(|found| found.cell.place.is_none());
                let sum = |found: &[&super::Found]| found.iter().map(|f| drift(f)).sum::<u64>();
                audit.expected = work.judged - work.repeats;
                audit.drift = sum(&cells).max(sum(&totals)).max(u64::from(!state.found.is_empty()));
                let (mut more, mut fewer) = (0, 0);
                for found in &cells {
                    more += found.cell.was.count.saturating_sub(found.cell.is.count);
                    fewer += found.cell.is.count.saturating_sub(found.cell.was.count);
                }
                audit.found = (audit.expected + more).saturating_sub(fewer);
                audit.result = match state.found.first() {
                    None => AuditResult::Equal,
                    Some(_) => AuditResult::Different,
                };
                if let Some(first) = state.found.first() {
                    let (item, number) = (&first.cell.item, job.id);
                    audit.detail = format!(
                        "{range}: {} numbers differ, one of {item}; recount {number} names them",
                        state.found.len()
                    );
                }
            }
        }
        self.audits.add(audit);
    }
}
