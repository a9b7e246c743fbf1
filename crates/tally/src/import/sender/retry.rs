//! Delivers one batch: sends it, and sends again what was refused for a temporary reason.

use std::time::{Duration, Instant};

use api::client::{ClientError, NDJSON};
use api::{AcceptedAnswer, RejectedEvent};
use bytes::Bytes;

use super::super::report::FileReport;
use super::batch::Batch;
use super::{BatchError, Sender};

/// Events of one batch that have no verdict yet.
struct Remaining {
    body: Bytes,
    /// The line of the file of each event.
    lines: Vec<u64>,
}

/// Gives the index and the place of the batch, and what became of its records.
pub(super) async fn deliver(
    sender: &Sender,
    batch: Batch,
) -> (u64, u64, Result<FileReport, BatchError>) {
    let (index, first_record) = (batch.index, batch.first_record);
    (index, first_record, settle_all(sender, batch).await)
}

async fn settle_all(sender: &Sender, batch: Batch) -> Result<FileReport, BatchError> {
    let Batch { body, lines, report, .. } = batch;
    sender.settle(body.into(), lines, report, |_| {}).await
}

impl Sender {
    /// Sends events, one a line, until each has a verdict, and adds the verdicts to a report.
    /// `lines` names each event for people; `attempted` hears the number of events in each request.
    ///
    /// # Errors
    /// A refusal of the request that is not for a while, or one that outlasted the retries.
    pub(crate) async fn settle(
        &self,
        body: Bytes,
        lines: Vec<u64>,
        report: FileReport,
        attempted: impl FnMut(u64),
    ) -> Result<FileReport, BatchError> {
        settle_remaining(self, Remaining { body, lines }, report, attempted).await
    }
}

async fn settle_remaining(
    sender: &Sender,
    mut remaining: Remaining,
    mut report: FileReport,
    mut attempted: impl FnMut(u64),
) -> Result<FileReport, BatchError> {
    // Counted from the first failure: a slow batch is not a failing one.
    let mut failing_since: Option<Instant> = None;
    let mut wait = sender.options.first_wait;
    while !remaining.lines.is_empty() {
        attempted(remaining.lines.len() as u64);
        let (error, asked) = match attempt(sender, &remaining.body).await {
            Ok(answer) => match settle(answer, remaining, &mut report) {
                Ok(()) => return Ok(report),
                Err(again) => {
                    let error;
                    (remaining, error) = *again;
                    (error, None)
                }
            },
            Err(error) => {
                let asked = error.retry_after();
                if !error.is_retryable() {
                    return Err(error.into());
                }
                (error.into(), asked)
            }
        };
        let since = *failing_since.get_or_insert_with(Instant::now);
        let pause = asked.unwrap_or(Duration::ZERO).max(wait);
        if since.elapsed() + pause > sender.options.retry_for {
            return Err(error);
        }
        tracing::debug!(events = remaining.lines.len(), ?pause, %error, "the batch is sent again");
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(sender.options.longest_wait);
        report.retries += 1;
    }
    Ok(report)
}

async fn attempt(sender: &Sender, body: &Bytes) -> Result<AcceptedAnswer, ClientError> {
    if sender.options.compress {
        // Level 1: the link is to be saved, not the processor to be spent.
        let packed = zstd::encode_all(body.as_ref(), 1).expect("memory takes any bytes");
        return sender.client.send(NDJSON, packed.into(), Some("zstd")).await;
    }
    sender.client.send_ndjson(body.clone()).await
}

/// Takes the verdicts of an answer; what is to be sent again is the error.
fn settle(
    answer: AcceptedAnswer,
    remaining: Remaining,
    report: &mut FileReport,
) -> Result<(), Box<(Remaining, BatchError)>> {
    report.accepted += answer.accepted;
    let (again, refused): (Vec<RejectedEvent>, Vec<RejectedEvent>) =
        answer.rejected.into_iter().partition(|event| event.retryable);
    let line = |event: &RejectedEvent| {
        usize::try_from(event.index).ok().and_then(|index| remaining.lines.get(index)).copied()
    };
    for event in refused {
        report.refused.add(&event.code, line(&event).unwrap_or(0), event.detail);
    }
    let Some(first) = again.first().cloned() else { return Ok(()) };
    let events: Vec<&[u8]> = remaining.body.split_inclusive(|&byte| byte == b'\n').collect();
    let (mut body, mut lines) = (Vec::new(), Vec::new());
    for event in &again {
        let index = usize::try_from(event.index).unwrap_or(usize::MAX);
        if let (Some(bytes), Some(line)) = (events.get(index), remaining.lines.get(index)) {
            body.extend_from_slice(bytes);
            lines.push(*line);
        }
    }
    let error =
        BatchError::StillRefused { events: lines.len(), code: first.code, detail: first.detail };
    Err(Box::new((Remaining { body: body.into(), lines }, error)))
}
