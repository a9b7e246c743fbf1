//! Sends what is in the spool, oldest first, one request after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::SourceStamp;
use super::super::spool::{Spool, SpoolError, StoredEntry};
use super::Shared;
use super::delivery::{Delivery, Request, Verdict};
use super::metrics::add;
use super::worker::send_until_judged;

/// How long a disk that fails is left alone.
const DISK_WAIT: Duration = Duration::from_secs(1);

/// Drains until it is told to stop. What is under way then stays in the spool, and is sent again
/// with the same stamp.
pub(super) async fn drain(shared: Arc<Shared>, spool: Arc<Spool>, mut stop: watch::Receiver<()>) {
    let mut stopped = std::pin::pin!(async move { while stop.changed().await.is_ok() {} });
    loop {
        let changed = spool.changed.notified();
        let entry = match blocking(&spool, Spool::peek).await {
            Ok(entry) => entry,
            Err(_) => {
                add(&shared.counters.spool_errors, 1);
                tokio::select! {
                    () = tokio::time::sleep(DISK_WAIT) => continue,
                    () = &mut stopped => return,
                }
            }
        };
        let Some(entry) = entry else {
            tokio::select! {
                () = changed => continue,
                () = &mut stopped => return,
            }
        };
        tokio::select! {
            () = settle(&shared, &entry) => {}
            () = &mut stopped => return,
        }
        let acknowledged = blocking(&spool, move |spool| spool.acknowledge(&entry)).await;
        if acknowledged.is_err() {
            // It is sent again, and counted once.
            add(&shared.counters.spool_errors, 1);
        }
    }
}

async fn settle(shared: &Shared, entry: &StoredEntry) {
    let events = u64::from(entry.events);
    let request = Request {
        body: entry.body.clone().into(),
        events,
        key: entry.sequence,
        stamp: Some(SourceStamp { source: &entry.source, sequence: entry.sequence }),
    };
    let counters = &shared.counters;
    let mut delivery = Delivery::new(shared, None, false);
    let Ok(verdict) = send_until_judged(&mut delivery, &request).await else {
        // Given up only where the tracker is closed: somebody stops this.
        return std::future::pending().await;
    };
    match verdict {
        Verdict::Refused { code, .. } => counters.rejected(&code, events),
        Verdict::Judged { rejected, .. } => {
            add(&counters.accepted, events - rejected.len() as u64);
            rejected.iter().for_each(|event| counters.rejected(&event.code, 1));
        }
    }
    add(&counters.drained, events);
}

async fn blocking<T: Send + 'static>(
    spool: &Arc<Spool>,
    act: impl FnOnce(&Spool) -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    let spool = Arc::clone(spool);
    match tokio::task::spawn_blocking(move || act(&spool)).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
