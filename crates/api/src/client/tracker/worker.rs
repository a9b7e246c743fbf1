//! Takes batches one after the other and settles each: delivered, spooled, or lost.
//!
//! With a spool a worker is a source: its batches are stamped before the first attempt, because what
//! is spooled after an attempt without an answer may be repeated any time later. While anything is
//! in the spool, batches go behind it, so that nothing overtakes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};

use super::super::SourceStamp;
use super::super::spool::{Entry, Spool, SpoolError};
use super::Shared;
use super::batcher::{Batch, Pending};
use super::delivery::{Delivery, GaveUp, Request, Verdict};
use super::metrics::add;
use super::receipt::{Fate, LostReason};

/// How long a spool that takes nothing is left alone.
const SPOOL_WAIT: Duration = Duration::from_millis(200);

/// Who sends, and with which sequence the next batch begins.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    next: u64,
}

/// A batch that keeps its stamp and content until it is settled.
struct Stamped {
    source: Arc<str>,
    sequence: u64,
    body: Bytes,
    events: u64,
    key: u64,
}

/// Works until the batcher has ended. `source` is the name of this worker, where there is a spool.
pub(super) async fn work(
    shared: Arc<Shared>,
    batches: Arc<Mutex<mpsc::Receiver<Batch>>>,
    source: Option<String>,
) {
    let mut source = source.map(|name| Source { name: name.into(), next: 0 });
    loop {
        let batch = batches.lock().await.recv().await;
        let Some(mut batch) = batch else { return };
        match (&mut source, &shared.spool) {
            (Some(source), Some(spool)) => settle_stamped(&shared, spool, source, &mut batch).await,
            _ => settle(&shared, &mut batch).await,
        }
        shared.ledger.settle(batch.number);
        shared.room.add_permits(batch.places);
    }
}

fn body(events: &[Pending]) -> Bytes {
    let mut body = Vec::with_capacity(events.iter().map(|event| event.line.len()).sum());
    events.iter().for_each(|event| body.extend_from_slice(&event.line));
    body.into()
}

/// Sends what is refused for a while again, and nothing else.
async fn settle(shared: &Shared, batch: &mut Batch) {
    let mut delivery = Delivery::new(shared, Some(shared.options.retry_for), false);
    while !batch.events.is_empty() {
        let (body, events) = (body(&batch.events), batch.events.len() as u64);
        let request = Request { body, events, key: batch.key, stamp: None };
        match delivery.send(&request).await {
            Ok(verdict) => apply(shared, batch, verdict),
            Err(gave_up) => lose(shared, batch, gave_up, delivery.may_be_counted),
        }
    }
}

/// Sends the same request until no event of it is to be sent again, or it is in the spool.
async fn settle_stamped(
    shared: &Shared,
    spool: &Arc<Spool>,
    source: &mut Source,
    batch: &mut Batch,
) {
    let events = batch.events.len() as u64;
    let stamped = Stamped {
        source: Arc::clone(&source.name),
        sequence: source.next,
        body: body(&batch.events),
        events,
        key: batch.key,
    };
    source.next += events;
    let mut delivery = Delivery::new(shared, Some(shared.options.retry_for), true);
    loop {
        if spool.is_empty() {
            delivery.begin_again();
            if let Ok(verdict) = send_whole(&mut delivery, &stamped).await {
                return apply(shared, batch, verdict);
            }
        }
        match keep(spool, &stamped).await {
            Ok(()) => {
                add(&shared.counters.spooled, events);
                return batch.events.drain(..).for_each(|event| event.tell(|| Fate::Spooled));
            }
            Err(_) => add(&shared.counters.spool_errors, 1),
        }
        // Full, or the disk fails: the batch waits where it is, and the buffer behind it fills.
        tokio::select! {
            () = spool.changed.notified() => {}
            () = tokio::time::sleep(SPOOL_WAIT) => {}
            () = shared.closed() => {
                let closed = GaveUp::Ended(LostReason::Closed);
                return lose(shared, batch, closed, delivery.may_be_counted);
            }
        }
    }
}

async fn send_whole(delivery: &mut Delivery<'_>, stamped: &Stamped) -> Result<Verdict, GaveUp> {
    let Stamped { source, sequence, body, events, key } = stamped;
    let request = Request {
        body: body.clone(),
        events: *events,
        key: *key,
        stamp: Some(SourceStamp { source, sequence: *sequence }),
    };
    send_until_judged(delivery, &request).await
}

/// Sends the same request until no event of it is to be sent again.
pub(super) async fn send_until_judged(
    delivery: &mut Delivery<'_>,
    request: &Request<'_>,
) -> Result<Verdict, GaveUp> {
    loop {
        match delivery.send(request).await? {
            Verdict::Judged { again, .. } if !again.is_empty() => {}
            verdict => return Ok(verdict),
        }
    }
}

async fn keep(spool: &Arc<Spool>, stamped: &Stamped) -> Result<(), SpoolError> {
    let (spool, source, body) =
        (Arc::clone(spool), Arc::clone(&stamped.source), stamped.body.clone());
    let (sequence, events) = (stamped.sequence, stamped.events as u32);
    let kept = tokio::task::spawn_blocking(move || {
        spool.append(&Entry { source: &source, sequence, events, body: &body })
    });
    match kept.await {
        Ok(kept) => kept,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Tells what became of the events; those to be sent again stay in the batch.
fn apply(shared: &Shared, batch: &mut Batch, verdict: Verdict) {
    let events = std::mem::take(&mut batch.events);
    match verdict {
        Verdict::Refused { code, detail } => {
            shared.counters.rejected(&code, events.len() as u64);
            for event in events {
                event.tell(|| Fate::Rejected { code: code.clone(), detail: detail.clone() });
            }
        }
        Verdict::Judged { rejected, again } => {
            let mut rejected: Vec<_> = rejected.into_iter().map(|r| (r.index, r)).collect();
            rejected.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
            let mut again = again;
            again.sort_unstable_by(|a, b| b.cmp(a));
            for (index, event) in (0..).zip(events) {
                if again.pop_if(|next| *next == index).is_some() {
                    batch.events.push(event);
                } else if let Some((_, refusal)) = rejected.pop_if(|(next, _)| *next == index) {
                    shared.counters.rejected(&refusal.code, 1);
                    let (code, detail) = (refusal.code, refusal.detail);
                    event.tell(|| Fate::Rejected { code, detail });
                } else {
                    add(&shared.counters.accepted, 1);
                    event.tell(|| Fate::Accepted);
                }
            }
        }
    }
}

fn lose(shared: &Shared, batch: &mut Batch, gave_up: GaveUp, may_be_counted: bool) {
    let reason = match gave_up {
        GaveUp::Ended(reason) => reason,
        GaveUp::Down => LostReason::RetriesEnded { code: "no_endpoint".to_owned() },
    };
    add(&shared.counters.lost, batch.events.len() as u64);
    for event in batch.events.drain(..) {
        event.tell(|| Fate::Lost { reason: reason.clone(), may_be_counted });
    }
}

impl Pending {
    fn tell(self, fate: impl FnOnce() -> Fate) {
        if let Some(receipt) = self.receipt {
            // Who had the receipt may have dropped it.
            let _ = receipt.send(fate());
        }
    }
}
