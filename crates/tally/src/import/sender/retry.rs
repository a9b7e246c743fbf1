//! Delivers one batch: sends it, and sends it again while any of it is refused for a temporary
//! reason, with the waits and the retry budget of the client library.

use std::time::Instant;

use api::AcceptedAnswer;
use api::client::retry::{Backoff, Jitter};
use api::client::{ClientError, NDJSON, SourceStamp};
use bytes::Bytes;

use super::super::lanes::Lanes;
use super::super::report::FileReport;
use super::batch::Batch;
use super::{BatchError, SendOptions, Sender};

/// A body of events and how it is stamped.
struct Body {
    bytes: Bytes,
    /// The line of the file of each event.
    lines: Vec<u64>,
    /// The source, and the sequence of the first event.
    stamp: Option<(String, u64)>,
}

/// A batch that was delivered, or not.
pub(super) struct Delivered {
    pub(super) index: u64,
    pub(super) first_record: u64,
    /// The lane that is free again.
    pub(super) lane: Option<usize>,
    /// What became of its records.
    pub(super) result: Result<FileReport, BatchError>,
}

/// Delivers a batch, stamped where the file has lanes.
pub(super) async fn deliver(sender: &Sender, batch: Batch, lanes: Option<&Lanes>) -> Delivered {
    let (index, first_record, lane) = (batch.index, batch.first_record, batch.lane(lanes));
    let stamp = lanes.zip(lane).map(|(lanes, lane)| (lanes.source(lane), batch.first_event));
    let Batch { body, lines, report, .. } = batch;
    let body = Body { bytes: body.into(), lines, stamp };
    let result = settle_all(sender, &body, report, |_| {}).await;
    Delivered { index, first_record, lane, result }
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
        settle_all(self, &Body { bytes: body, lines, stamp: None }, report, attempted).await
    }
}

/// Sends the same request until no event of it is to be sent again: then its stamp and its ids say
/// the same every time, and what had been written is not counted again.
async fn settle_all(
    sender: &Sender,
    body: &Body,
    mut report: FileReport,
    mut attempted: impl FnMut(u64),
) -> Result<FileReport, BatchError> {
    // Counted from the first failure: a slow batch is not a failing one.
    let mut failing_since: Option<Instant> = None;
    let SendOptions { first_wait, longest_wait, retry_for, .. } = sender.options;
    let mut backoff = Backoff::new(first_wait, longest_wait, Jitter::random());
    sender.budget.lock().first_attempt(tokio::time::Instant::now());
    while !body.lines.is_empty() {
        attempted(body.lines.len() as u64);
        let (error, asked) = match attempt(sender, body).await {
            Ok(answer) => match still_refused(&answer) {
                None => {
                    add_verdicts(answer, &body.lines, &mut report);
                    return Ok(report);
                }
                Some(error) => (error, None),
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
        let mut pause = backoff.next_wait(asked);
        loop {
            if since.elapsed() + pause > retry_for {
                return Err(error);
            }
            tracing::debug!(events = body.lines.len(), ?pause, %error, "the batch is sent again");
            tokio::time::sleep(pause).await;
            // What one batch may not repeat yet, another has repeated.
            match sender.budget.lock().try_retry(tokio::time::Instant::now()) {
                Ok(()) => break,
                Err(until_there_is_one) => pause = until_there_is_one,
            }
        }
        report.retries += 1;
    }
    Ok(report)
}

async fn attempt(sender: &Sender, body: &Body) -> Result<AcceptedAnswer, ClientError> {
    let stamp = body.stamp.as_ref();
    let stamp = stamp.map(|(source, sequence)| SourceStamp { source, sequence: *sequence });
    let (bytes, encoding) = match sender.options.compress {
        // Level 1: the link is to be saved, not the processor to be spent.
        true => {
            let packed = zstd::encode_all(body.bytes.as_ref(), 1).expect("memory takes any bytes");
            (packed.into(), Some("zstd"))
        }
        false => (body.bytes.clone(), None),
    };
    sender.client.send_stamped(NDJSON, bytes, encoding, stamp).await
}

/// Why the request is to be sent again, if it is.
fn still_refused(answer: &AcceptedAnswer) -> Option<BatchError> {
    let mut again = answer.rejected.iter().filter(|event| event.retryable);
    let first = again.next()?;
    let (code, detail) = (first.code.clone(), first.detail.clone());
    Some(BatchError::StillRefused { events: 1 + again.count(), code, detail })
}

fn add_verdicts(answer: AcceptedAnswer, lines: &[u64], report: &mut FileReport) {
    report.accepted += answer.accepted;
    for event in answer.rejected {
        let line = usize::try_from(event.index).ok().and_then(|index| lines.get(index));
        report.refused.add(&event.code, line.copied().unwrap_or(0), event.detail);
    }
}
