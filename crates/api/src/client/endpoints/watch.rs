//! Looks after the endpoints while they are used: asks whether they are ready, and resolves names
//! again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::ClientError;
use super::endpoint::Endpoint;
use super::{Endpoints, Target};

/// The longest that one readiness check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

impl Endpoints {
    /// Resolves all targets, and takes what was found. A name that cannot be resolved keeps the
    /// addresses that it had: a DNS server that is away is no reason to stop.
    pub async fn resolve(&self) {
        let mut found = Vec::new();
        let mut is_complete = true;
        for target in &self.options.targets {
            let addresses = target.resolve().await;
            is_complete &= !addresses.is_empty();
            found.extend(addresses);
        }
        if !is_complete {
            let before = self.list();
            let kept = before.iter().map(|endpoint| super::target::Address {
                url: endpoint.url().to_owned(),
                host: None,
            });
            found.extend(kept);
        }
        self.set(found);
    }

    /// Asks each endpoint whether it is ready, all at once. One that answers 5xx, or not at all, gets
    /// no requests until it is; any other answer is good: what stands before the server may not
    /// know the path.
    pub async fn check_health(&self) {
        let list: Vec<Arc<Endpoint>> = self.list().clone();
        let mut checks = JoinSet::new();
        for endpoint in list {
            checks.spawn(async move {
                let is_ready = is_ready(&endpoint).await;
                endpoint.set_healthy(is_ready)
            });
        }
        let changes = checks.join_all().await;
        if changes.contains(&true) {
            self.changed.notify_waiters();
        }
    }

    /// Checks and resolves for as long as it is polled.
    pub async fn watch(&self) {
        let has_names = self.options.targets.iter().any(|t| matches!(t, Target::Dns(_)));
        let mut resolved_at = Instant::now();
        loop {
            self.check_health().await;
            let wait = self.options.health_interval.max(Duration::from_millis(10));
            // Up to a tenth more, so that many clients do not ask in step.
            let more = {
                let mut jitter =
                    self.jitter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                jitter.up_to(wait / 10)
            };
            tokio::time::sleep(wait + more).await;
            if has_names && resolved_at.elapsed() >= self.options.resolve_interval {
                self.resolve().await;
                resolved_at = Instant::now();
            }
        }
    }
}

async fn is_ready(endpoint: &Endpoint) -> bool {
    let client = endpoint.client().clone();
    let answer = tokio::time::timeout(CHECK_TIMEOUT, client.get("/readyz")).await;
    match answer {
        Ok(Ok(_)) => true,
        Ok(Err(ClientError::Problem { problem, .. })) => problem.status < 500,
        Ok(Err(ClientError::UnexpectedStatus { status, .. })) => status < 500,
        Ok(Err(_)) | Err(_) => false,
    }
}
