//! HTTP: a file per resource, and what they share.
//!
//! Knows the engine and the wire types; knows nothing of storage products or of the command line.

mod activity;
mod admin;
mod again;
mod audits;
mod backups;
mod beacon;
mod body;
mod bulk;
mod counters;
mod counts;
mod dashboard;
mod dead_letters;
pub(crate) mod details;
mod door;
pub(crate) mod events;
mod explain;
mod front;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod health;
mod items;
mod keys;
#[cfg(feature = "kafka")]
mod last_known;
mod lines;
mod live;
mod log_level;
mod metrics;
mod openapi;
mod params;
mod problem;
mod process;
mod ranges;
mod recounts;
mod reports;
mod request_ids;
#[cfg(feature = "kafka")]
pub(crate) mod roles;
mod routing;
mod schemas;
mod server;
mod skew;
mod top;
mod trending;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use engine::admission::Admission;
use engine::answers::Answers;
use engine::archiver::Archiver;
use engine::dead_letters::DeadLetters;
use engine::gateway::Gateway;
use engine::ports::ItemDetailsStore;
use engine::processor::Processors;
use engine::query::Query;
use engine::routing::Routing;

use crate::audit::LiveAudit;
use crate::backups::Backups;
use crate::bulk::BulkLane;
use body::BodyBudget;
use events::Ingest;
use events::pool::IngestPool;
use metrics::{Disk, Metrics, Vitals};

use crate::recount::Recounts;

pub(crate) use door::{Door, DoorSettings};
pub(crate) use front::{Front, Routes};
pub(crate) use live::Live;
pub(crate) use server::{Service, Tls, serve};

/// The parts of Tally that are reached over HTTP.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) routing: Arc<Routing>,
    pub(crate) query: Arc<Query>,
    /// Of the same query.
    pub(crate) answers: Arc<Answers>,
    pub(crate) live: Arc<Live>,
    pub(crate) details: Arc<dyn ItemDetailsStore>,
    pub(crate) processors: Arc<Processors>,
    /// None where no raw events are kept.
    pub(crate) archiver: Option<Arc<Archiver>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) dead_letters: Arc<DeadLetters>,
    pub(crate) bulk: Arc<BulkLane>,
    pub(crate) recounts: Arc<Recounts>,
    pub(crate) backups: Arc<Backups>,
    pub(crate) audit: Arc<LiveAudit>,
    pub(crate) door: Arc<Door>,
    pub(crate) data_dir: PathBuf,
    /// What an acknowledged event is, as the header says it.
    pub(crate) durability: &'static str,
    /// Set when the server is about to stop: not ready any more, though it still serves.
    pub(crate) draining: Arc<AtomicBool>,
}

/// Every path, over the parts; with the certificate, where HTTPS is served.
pub(crate) fn front(parts: Parts, tls: Option<Arc<Tls>>) -> std::io::Result<Arc<Front>> {
    let budget = BodyBudget::new();
    let skew = Arc::new(skew::Skew::default());
    let metrics = Arc::new(Metrics::new(vitals(&parts, &budget, &skew, tls)));
    let pool = IngestPool::start(std::thread::available_parallelism()?.get())?;
    let gateway = parts.gateway.clone();
    let letters = Arc::new(dead_letters::Letters {
        dead_letters: parts.dead_letters.clone(),
        budget: budget.clone(),
        metrics: metrics.clone(),
        durability: parts.durability,
    });
    let (keys_budget, recounts_budget) = (budget.clone(), budget.clone());
    let level_budget = budget.clone();
    let changing = routing::RoutingPaths { routing: parts.routing.clone(), budget: budget.clone() };
    let taking = backups::Taking { backups: parts.backups.clone(), budget: budget.clone() };
    let budget_of_details = budget.clone();
    let ingest = Arc::new(Ingest {
        gateway,
        budget,
        pool,
        metrics: metrics.clone(),
        durability: parts.durability,
    });
    let routes = Routes::default();
    let routes = events::routes(routes, &ingest);
    let routes = bulk::routes(routes, &parts.bulk);
    let judged = metrics.clone();
    parts.bulk.on_judged(move |outcome, refused| judged.events_judged(outcome, refused));
    let (query, answers) = (parts.query.clone(), parts.answers.clone());
    let recounts = parts.recounts.clone();
    let asked = Arc::new(items::Asked { query, answers, recounts });
    let routes = items::routes(routes, &asked);
    let routes = explain::routes(routes, &asked);
    let routes = counts::routes(routes, &parts.query);
    let routes = details_routes(routes, &parts, &budget_of_details);
    let routes = live::routes(routes, &parts.live);
    let routes = health::routes(routes, &parts);
    let routes = admin::routes(routes, &parts, &skew);
    let routes = routing::routes(routes, &Arc::new(changing));
    let activity = activity::Activity::start(activity_sample(&parts, &metrics, &skew));
    let routes = activity::routes(routes, &activity);
    let routes = counters::routes(routes, &parts.query);
    let routes = dead_letters::routes(routes, &letters);
    let (recounts, query) = (parts.recounts.clone(), parts.query.clone());
    let recounting = recounts::RecountPaths { recounts, query, budget: recounts_budget };
    let routes = recounts::routes(routes, &Arc::new(recounting));
    let routes = audits::routes(routes, &parts.audit);
    let routes = backups::routes(routes, &Arc::new(taking));
    let keys = keys::KeyPaths { keys: parts.door.keys().clone(), budget: keys_budget };
    let routes = keys::routes(routes, &Arc::new(keys));
    let routes = log_level::routes(routes, &level_budget);
    let routes = static_routes(routes);
    let routes = metrics::routes(routes, &metrics);
    Ok(routes.behind(metrics, parts.door))
}

/// The paths that show item details, alone or beside counts.
fn details_routes(routes: Routes, parts: &Parts, budget: &BodyBudget) -> Routes {
    let (answers, store) = (&parts.answers, &parts.details);
    let details = details::Details::new(store.clone(), budget.clone(), parts.durability);
    let routes = details::routes(routes, &Arc::new(details));
    let routes = details::list::routes(routes, store);
    let reports = reports::Reports::new(answers.clone(), store.clone());
    let routes = reports::routes(routes, &Arc::new(reports));
    let ranked = Arc::new(top::Ranked { answers: answers.clone(), details: store.clone() });
    trending::routes(top::routes(routes, &ranked), &ranked)
}

/// The paths that need no part of the engine.
fn static_routes(routes: Routes) -> Routes {
    beacon::routes(dashboard::routes(schemas::routes(openapi::routes(routes))))
}

/// What is kept of the last minutes.
fn activity_sample(
    parts: &Parts,
    metrics: &Arc<Metrics>,
    skew: &Arc<skew::Skew>,
) -> impl Fn() -> activity::Sample + Send + Sync + use<> {
    let (processors, query) = (parts.processors.clone(), parts.query.clone());
    let (metrics, skew, started) = (metrics.clone(), skew.clone(), Instant::now());
    move || {
        let partitions = processors.status();
        let durable = partitions.iter().map(|partition| partition.durable_offset.0).collect();
        let passed = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        skew.note(passed, durable);
        activity::Sample {
            time: query.now(),
            accepted: metrics.accepted(),
            lag_events: partitions.iter().map(|partition| partition.lag).sum(),
        }
    }
}

/// What the metrics read at every scrape.
fn vitals(
    parts: &Parts,
    budget: &BodyBudget,
    skew: &Arc<skew::Skew>,
    tls: Option<Arc<Tls>>,
) -> impl Fn() -> Vitals + Send + Sync + use<> {
    let (parts, budget, skew) = (parts.clone(), budget.clone(), skew.clone());
    move || Vitals {
        is_ready: health::readiness(&parts).is_ok(),
        flush_durations: parts.processors.flush_durations(),
        last_backup_ms: parts.backups.last_done_ms(),
        certificate_ends: tls.as_ref().and_then(|tls| tls.ends()),
        dedup_fill: parts.admission.dedup_fill(),
        partition_skew: skew.ratio(),
        routing: parts.routing.table().ok(),
        partitions: parts.processors.status(),
        archive: parts.archiver.as_ref().map(|archiver| (archiver.status(), archiver.totals())),
        now: parts.query.now(),
        body_memory_used: budget.used(),
        disk: Disk::of(&parts.data_dir),
        live_listeners: parts.live.listeners(),
        query_cache: parts.answers.figures(),
        stale_answers: 0,
        dedup_bytes: parts.admission.dedup_bytes(),
        audits: parts.audit.audits().figures(),
    }
}

#[cfg(test)]
mod tests;
