//! The paths of a process that is one role of a cluster, and not all of Tally.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::{Durability, ProblemCode};
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use engine::admission::Admission;
use engine::answers::Answers;
use engine::archiver::{ArchiveStatus, Archiver};
use engine::dead_letters::DeadLetters;
use engine::durations::DurationFigures;
use engine::gateway::Gateway;
use engine::ports::{Clock, ItemDetailsStore, QueryCache};
use engine::processor::{Group, PartitionStatus, Processors};
use engine::query::Query;
use engine::routing::Routing;

use super::body::BodyBudget;
use super::door::Door;
use super::events::pool::IngestPool;
use super::events::{self, Ingest};
use super::last_known::{self, LastKnown};
use super::metrics::{self, Disk, Metrics, Vitals};
use super::params::Params;
use super::problem::{Failure, json};
use super::{
    Front, Live, Routes, Tls, admin, beacon, counters, counts, dashboard, dead_letters, details,
    explain, items, live, openapi, recounts, reports, routing, schemas, top, trending,
};
use crate::recount::Recounts;

/// What every role has.
#[derive(Clone)]
pub(crate) struct Role {
    pub(crate) admission: Arc<Admission>,
    pub(crate) door: Arc<Door>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) data_dir: PathBuf,
    /// None where HTTPS is not served.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Set when the process is about to stop: not ready any more, though it still serves.
    pub(crate) draining: Arc<AtomicBool>,
}

/// A gateway without processors: it accepts events.
#[derive(Clone)]
pub(crate) struct GatewayParts {
    pub(crate) role: Role,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) routing: Arc<Routing>,
    /// What an acknowledged event is.
    pub(crate) durability: &'static str,
}

/// A processor without a gateway: it counts its share.
#[derive(Clone)]
pub(crate) struct ProcessorParts {
    pub(crate) role: Role,
    pub(crate) group: Arc<Group>,
    /// None where raw events are not kept.
    pub(crate) archiver: Option<Arc<Archiver>>,
}

/// A process that counts nothing and answers questions, from a store that processors flush to.
#[derive(Clone)]
pub(crate) struct QueryParts {
    pub(crate) role: Role,
    pub(crate) query: Arc<Query>,
    /// Of the same query.
    pub(crate) answers: Arc<Answers>,
    pub(crate) live: Arc<Live>,
    pub(crate) recounts: Arc<Recounts>,
    pub(crate) details: Arc<dyn ItemDetailsStore>,
    pub(crate) processors: Arc<Processors>,
    /// What it has answered, in its memory.
    pub(crate) last_known: Arc<dyn QueryCache>,
    pub(crate) routing: Arc<Routing>,
    pub(crate) dead_letters: Arc<DeadLetters>,
}

/// The paths of a gateway.
pub(crate) fn gateway_front(parts: GatewayParts) -> std::io::Result<Arc<Front>> {
    let GatewayParts { role, gateway, routing, durability } = parts;
    let budget = BodyBudget::new();
    let accepting = gateway.clone();
    // Whether a batch may begin is whether one does; an empty one costs nothing.
    let is_ready = move || Ok(accepting.begin().map(|_| ())?);
    let counted = || (Vec::new(), DurationFigures::default());
    let seen = vitals(&role, budget.clone(), is_ready.clone(), counted);
    let table = routing.clone();
    let seen = move || Vitals { routing: table.table().ok(), ..seen() };
    let metrics = Arc::new(Metrics::new(seen));
    let changing = routing::RoutingPaths { routing, budget: budget.clone() };
    let pool = IngestPool::start(std::thread::available_parallelism()?.get())?;
    let ingest = Arc::new(Ingest { gateway, budget, pool, metrics: metrics.clone(), durability });
    let routes = events::routes(Routes::default(), &ingest);
    let routes = beacon::routes(schemas::routes(openapi::routes(routes)));
    let routes = routing::routes(routes, &Arc::new(changing));
    let routes = health(routes, &role, is_ready);
    let routes = metrics::routes(routes, &metrics);
    Ok(routes.behind(metrics, role.door))
}

/// The paths of a processor.
pub(crate) fn processor_front(parts: ProcessorParts) -> Arc<Front> {
    let ProcessorParts { role, group, archiver } = parts;
    let (counting, admission) = (group.clone(), role.admission.clone());
    let is_ready = move || {
        if let Some(partition) = admission.stopped_partition() {
            let detail = format!("partition {partition} has stopped; the process's log says why");
            return Err(Failure::new(ProblemCode::NotReady, detail));
        }
        if counting.status().len() < counting.partitions().len() {
            let detail = "partitions that were assigned to this process are being begun";
            return Err(Failure::new(ProblemCode::NotReady, detail));
        }
        Ok(())
    };
    let counting = group.clone();
    let counted = move || (counting.status(), counting.flush_durations());
    let seen = vitals(&role, BodyBudget::new(), is_ready.clone(), counted);
    let archiving = archiver.clone();
    let metrics = Arc::new(Metrics::new(move || Vitals {
        archive: archiving.as_ref().map(|archiver| (archiver.status(), archiver.totals())),
        ..seen()
    }));
    let routes = health(schemas::routes(Routes::default()), &role, is_ready);
    let archived = move || archiver.as_ref().map(|a| a.status()).unwrap_or_default();
    let routes = partitions(routes, move || (group.status(), archived()));
    let routes = metrics::routes(routes, &metrics);
    routes.behind(metrics, role.door)
}

/// The paths of a process that answers questions.
pub(crate) fn query_front(parts: QueryParts) -> Arc<Front> {
    let QueryParts { role, query, answers, live, recounts, processors, routing, .. } = parts;
    let (store, dead_letters) = (parts.details, parts.dead_letters);
    let last_known = Arc::new(LastKnown::new(query.clone(), parts.last_known));
    let stale = last_known.clone();
    let budget = BodyBudget::new();
    let (followed, figures, listened) = (processors.clone(), answers.clone(), live.clone());
    let asking = query.clone();
    let is_ready = move || Ok(asking.ready()?);
    let counted = move || (followed.status(), DurationFigures::default());
    let seen = vitals(&role, budget.clone(), is_ready.clone(), counted);
    let table = routing.clone();
    let changing = routing::RoutingPaths { routing, budget: budget.clone() };
    let metrics = Arc::new(Metrics::new(move || Vitals {
        routing: table.table().ok(),
        query_cache: figures.figures(),
        stale_answers: stale.given(),
        live_listeners: listened.listeners(),
        ..seen()
    }));
    let repairs = recounts::RecountPaths {
        recounts: recounts.clone(),
        query: query.clone(),
        budget: budget.clone(),
    };
    let letters = dead_letters::Letters {
        dead_letters,
        budget: budget.clone(),
        metrics: metrics.clone(),
        durability: Durability::REPLICATED,
    };
    let asked = items::Asked { query: query.clone(), answers: answers.clone(), recounts };
    let asked = Arc::new(asked);
    let routes = explain::routes(items::routes(Routes::default(), &asked), &asked);
    let routes = counters::routes(counts::routes(routes, &query), &query);
    let routes = live::routes(routes, &live);
    let routes = recounts::routes(routes, &Arc::new(repairs));
    let known = details::Details::new(store.clone(), budget, Durability::REPLICATED);
    let routes = details::routes(routes, &Arc::new(known));
    let routes = details::list::routes(routes, &store);
    let routes =
        reports::routes(routes, &Arc::new(reports::Reports::new(answers.clone(), store.clone())));
    let ranked = Arc::new(top::Ranked { answers, details: store });
    let routes = trending::routes(top::routes(routes, &ranked), &ranked);
    let routes = dashboard::routes(schemas::routes(openapi::routes(routes)));
    let routes = routing::routes(routes, &Arc::new(changing));
    let routes = dead_letters::routes(routes, &Arc::new(letters));
    let routes = health(routes, &role, is_ready);
    let routes = partitions(routes, move || (processors.status(), Vec::new()));
    let routes =
        routes.passing(|router| router.layer(from_fn_with_state(last_known, last_known::pass)));
    let routes = metrics::routes(routes, &metrics);
    routes.behind(metrics, role.door)
}

/// `GET /v1/admin/partitions` of a role; `status` says how partitions are counted and archived.
fn partitions(
    routes: Routes,
    status: impl Fn() -> (Vec<PartitionStatus>, Vec<ArchiveStatus>) + Clone + Send + Sync + 'static,
) -> Routes {
    let shown = move |RawQuery(params): RawQuery| {
        let status = status.clone();
        async move {
            Params::of(params.as_deref(), &[])?;
            let (partitions, archive) = status();
            let answer = admin::PartitionsAnswer::of(&partitions, &archive, &[]);
            Ok::<_, Failure>(json(StatusCode::OK, &answer))
        }
    };
    routes.add("/v1/admin/partitions", &["GET"], get(shown))
}

/// `GET /healthz` and `GET /readyz` of a role.
fn health(
    routes: Routes,
    role: &Role,
    is_ready: impl Fn() -> Result<(), Failure> + Clone + Send + Sync + 'static,
) -> Routes {
    let draining = role.draining.clone();
    let ready = move || {
        let (is_ready, is_draining) = (is_ready.clone(), draining.load(Ordering::Relaxed));
        async move {
            if is_draining {
                let detail = "the process is stopping; what is sent to it now is still taken";
                return Err(Failure::new(ProblemCode::NotReady, detail));
            }
            is_ready().map(|()| "ready\n")
        }
    };
    let routes = routes.add("/healthz", &["GET"], get(|| async { "ok\n" }));
    routes.add("/readyz", &["GET"], get(ready))
}

/// What the metrics of a role read at every scrape; `counted` says how partitions and flushes are.
fn vitals(
    role: &Role,
    budget: BodyBudget,
    is_ready: impl Fn() -> Result<(), Failure> + Send + Sync + 'static,
    counted: impl Fn() -> (Vec<PartitionStatus>, DurationFigures) + Send + Sync + 'static,
) -> impl Fn() -> Vitals + Send + Sync + 'static {
    let role = role.clone();
    move || {
        let (partitions, flush_durations) = counted();
        Vitals {
            is_ready: !role.draining.load(Ordering::Relaxed) && is_ready().is_ok(),
            flush_durations,
            last_backup_ms: None,
            certificate_ends: role.tls.as_ref().and_then(|tls| tls.ends()),
            partitions,
            partition_skew: 0.0,
            routing: None,
            archive: None,
            now: role.clock.now().wall,
            body_memory_used: budget.used(),
            disk: Disk::of(&role.data_dir),
            live_listeners: 0,
            query_cache: engine::answers::CacheFigures::default(),
            stale_answers: 0,
            dedup_bytes: role.admission.dedup_bytes(),
            dedup_fill: role.admission.dedup_fill(),
            audits: Vec::new(),
        }
    }
}
