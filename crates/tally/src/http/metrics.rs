//! `GET /metrics`: what the server does and how it is, as OpenMetrics text.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use api::ProblemCode;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::answers::CacheFigures;
use engine::archiver::{ArchiveStatus, ArchiveTotals};
use engine::gateway::{Fate, Outcome};
use engine::processor::PartitionStatus;
use model::{RoutingTable, TimestampMs};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Routes;
use super::events::read::Rejection;
use crate::audit::Figures;

/// Bounds of the duration histogram, in seconds.
const DURATION_BUCKETS: [f64; 15] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, metrics: &Arc<Metrics>) -> Routes {
    routes.add("/metrics", &["GET"], get(scrape).with_state(metrics.clone()))
}

/// How the server is at the moment of a scrape.
pub(super) struct Vitals {
    pub(super) partitions: Vec<PartitionStatus>,
    /// None where no raw events are kept.
    pub(super) archive: Option<(Vec<ArchiveStatus>, ArchiveTotals)>,
    pub(super) now: TimestampMs,
    /// Share of the body memory that is in use, 0 to 1.
    pub(super) body_memory_used: f64,
    pub(super) disk_free_bytes: Option<u64>,
    pub(super) dedup_bytes: u64,
    pub(super) query_cache: CacheFigures,
    /// What the busiest partition was given of late, against an even share.
    pub(super) partition_skew: f64,
    /// None where it is not known.
    pub(super) routing: Option<Arc<RoutingTable>>,
    /// Clients that hear live counts.
    pub(super) live_listeners: usize,
    /// By kind.
    pub(super) audits: Vec<(String, Figures)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    /// The template, never the path itself: items are not labels.
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// Counters that requests write, and what is read when scraped.
pub(crate) struct Metrics {
    registry: Registry,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    requests: Family<RequestLabels, Counter>,
    accepted: Counter,
    rejected: Family<CodeLabel, Counter>,
    errors: Family<CodeLabel, Counter>,
}

impl Metrics {
    pub(super) fn new(vitals: impl Fn() -> Vitals + Send + Sync + 'static) -> Self {
        let mut registry = Registry::default();
        let new_histogram: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS);
        let durations = Family::new_with_constructor(new_histogram);
        let requests = Family::default();
        let (accepted, rejected, errors) =
            (Counter::default(), Family::default(), Family::default());
        let name = "tally_http_request_duration_seconds";
        registry.register(name, "Time from a request's head to its answer", durations.clone());
        registry.register("tally_http_requests", "Requests answered", requests.clone());
        registry.register("tally_events_accepted", "Events made durable", accepted.clone());
        registry.register("tally_events_rejected", "Events refused, by code", rejected.clone());
        registry.register("tally_errors", "Answers with a status of 500 or more", errors.clone());
        registry.register_collector(Box::new(VitalsCollector(Box::new(vitals))));
        Self { registry, durations, requests, accepted, rejected, errors }
    }

    /// Counts the verdicts on the events of a request.
    pub(super) fn events_judged(&self, outcome: &Outcome, rejections: &[Rejection]) {
        self.accepted.inc_by(outcome.accepted);
        for rejection in rejections {
            self.reject(rejection.fault.code);
        }
        for failed in &outcome.failed {
            self.reject(match failed.fate {
                Fate::NotWritten => ProblemCode::Unavailable,
                Fate::Unknown => ProblemCode::OutcomeUnknown,
            });
        }
    }

    /// Events made durable since the start.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    fn reject(&self, code: ProblemCode) {
        self.rejected.get_or_create(&CodeLabel { code: code.as_str() }).inc();
    }
}

/// A request that is being measured.
pub(super) struct Measured {
    started: Instant,
    method: String,
    route: String,
}

impl Metrics {
    /// Begins to measure a request.
    pub(super) fn measure(&self, request: &Request) -> Measured {
        let started = Instant::now();
        // Methods are free text on the wire; labels are not.
        let method = match request.method().as_str() {
            method @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS") => method,
            _ => "other",
        };
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
        Measured { started, method: method.to_owned(), route }
    }
}

impl Measured {
    /// Counts the request and its answer.
    pub(super) fn end(self, metrics: &Metrics, response: &Response) {
        let Self { started, method, route } = self;
        let status = u32::from(response.status().as_u16());
        if status >= 500 {
            let code = response.extensions().get::<ProblemCode>();
            let code = code.map_or("none", |code| code.as_str());
            metrics.errors.get_or_create(&CodeLabel { code }).inc();
        }
        let labels = RouteLabels { method: method.clone(), route: route.clone() };
        metrics.durations.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        metrics.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    }
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry)
        .expect("writing to a string does not fail");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

struct VitalsCollector(Box<dyn Fn() -> Vitals + Send + Sync>);

impl fmt::Debug for VitalsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VitalsCollector")
    }
}

impl Collector for VitalsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let vitals = (self.0)();
        let mut each = EachPartition { encoder: &mut encoder, partitions: &vitals.partitions };
        each.counter("tally_events_counted", "Events counted since the start", |p| p.counted)?;
        each.counter("tally_events_duplicate", "Repeats not counted", |p| p.duplicates)?;
        each.counter("tally_dead_letters", "Events that cannot be counted", |p| p.dead_letters)?;
        let help = "Durable events that are not counted yet";
        each.gauge("tally_partition_lag_events", help, |p| p.lag as f64)?;
        let help = "Time since the counters were last written to disk";
        each.gauge("tally_checkpoint_age_seconds", help, |p| p.checkpoint_age_ms as f64 / 1e3)?;
        let help = "Ids by which a repeat is recognised";
        each.gauge("tally_dedup_ids", help, |p| p.dedup_ids as f64)?;
        let help = "From when on counts by the minute are kept, in Unix seconds";
        let start = |p: &PartitionStatus| p.horizons.minute().start().0 as f64 / 1e3;
        each.gauge("tally_minute_horizon_seconds", help, start)?;
        let help = "From when on counts by the hour are kept, in Unix seconds";
        let start = |p: &PartitionStatus| p.horizons.hour().start().0 as f64 / 1e3;
        each.gauge("tally_hour_horizon_seconds", help, start)?;
        let help = "Rows whose minutes were made one cell behind the horizon";
        each.counter("tally_folded_rows", help, |p| p.folded_rows)?;
        if let Some((partitions, totals)) = &vitals.archive {
            encode_archive(&mut encoder, partitions, totals)?;
        }
        let mut gauge = |name, help, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        let help = "How long the oldest uncounted event may have waited";
        gauge("tally_freshness_seconds", help, freshness_ms(&vitals) as f64 / 1e3)?;
        let help = "Share of the memory for bodies that is in use";
        gauge("tally_queue_fill_ratio", help, vitals.body_memory_used)?;
        let help = "What the busiest partition was given of late, against an even share";
        gauge("tally_partition_skew_ratio", help, vitals.partition_skew)?;
        if let Some(table) = &vitals.routing {
            let help = "The newest version of the routing table";
            gauge("tally_routing_version", help, f64::from(table.version()))?;
            let help = "Items that are spread because they are hot";
            gauge("tally_routing_spread_items", help, table.automatic() as f64)?;
        }
        gauge("tally_dedup_bytes", "Memory of the dedup window", vitals.dedup_bytes as f64)?;
        let help = "Clients that hear live counts";
        gauge("tally_live_listeners", help, vitals.live_listeners as f64)?;
        if let Some(free) = vitals.disk_free_bytes {
            gauge("tally_disk_free_bytes", "Room in the data folder", free as f64)?;
        }
        let CacheFigures { hits, misses } = vitals.query_cache;
        for (name, help, total) in [
            ("tally_query_cache_hits", "Answers that were given again", hits),
            (
                "tally_query_cache_misses",
                "Answers that were made, though they could be kept",
                misses,
            ),
        ] {
            let counter = ConstCounter::new(total);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        super::process::encode(&mut encoder)?;
        super::audits::encode(&mut encoder, &vitals.audits)
    }
}

fn encode_archive(
    encoder: &mut DescriptorEncoder<'_>,
    partitions: &[ArchiveStatus],
    totals: &ArchiveTotals,
) -> fmt::Result {
    for (name, help, total) in [
        ("tally_archive_files", "Raw files written", totals.files),
        ("tally_archive_files_removed", "Raw files removed because of their age", totals.removed),
        ("tally_archive_errors", "Attempts to archive that failed", totals.errors),
    ] {
        let counter = ConstCounter::new(total);
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    type Number = fn(&ArchiveStatus) -> f64;
    let gauges: [(&str, &str, Number); 2] = [
        ("tally_archive_lag_events", "Durable events that are in no raw file yet", |p| {
            p.lag as f64
        }),
        ("tally_archive_stopped", "1 where archiving stopped on an error", |p| {
            f64::from(u8::from(p.is_stopped))
        }),
    ];
    for (name, help, number) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for partition in partitions {
            let labels = [("partition", partition.partition.to_string())];
            ConstGauge::new(number(partition)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Writes metrics that every partition has, with its number as the label.
struct EachPartition<'e, 'd> {
    encoder: &'e mut DescriptorEncoder<'d>,
    partitions: &'e [PartitionStatus],
}

impl EachPartition<'_, '_> {
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        number: fn(&PartitionStatus) -> u64,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for partition in self.partitions {
            let labels = [("partition", partition.partition.to_string())];
            ConstCounter::new(number(partition)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        number: fn(&PartitionStatus) -> f64,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for partition in self.partitions {
            let labels = [("partition", partition.partition.to_string())];
            ConstGauge::new(number(partition)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The newest counted append time of a partition that lags, seen from now.
fn freshness_ms(vitals: &Vitals) -> i64 {
    let lagging = vitals.partitions.iter().filter(|p| p.lag > 0);
    lagging.map(|p| (vitals.now.0 - p.append_time.0).max(0)).max().unwrap_or(0)
}
