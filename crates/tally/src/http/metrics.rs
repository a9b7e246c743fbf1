//! `GET /metrics`: what the server does and how it is, as text for Prometheus. `docs/metrics.md` lists
//! all of it, and a test compares.

mod classic;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::ProblemCode;
use axum::extract::State;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::answers::CacheFigures;
use engine::archiver::{ArchiveStatus, ArchiveTotals};
use engine::durations::DurationFigures;
use engine::gateway::{Fate, Outcome};
use engine::processor::PartitionStatus;
use model::{RoutingTable, TimestampMs};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Routes;
use super::events::read::Rejection;
use crate::audit::Figures;
use crate::telemetry::request::RequestIds;
use crate::telemetry::traces;

/// Bounds of the duration histogram, in seconds.
const DURATION_BUCKETS: [f64; 15] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Bounds of the histogram of events a request, up to the greatest batch.
const BATCH_BUCKETS: [f64; 9] =
    [1.0, 3.0, 10.0, 30.0, 100.0, 1_000.0, 10_000.0, 30_000.0, 100_000.0];

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, metrics: &Arc<Metrics>) -> Routes {
    routes.add("/metrics", &["GET"], get(scrape).with_state(metrics.clone()))
}

/// How the server is at the moment of a scrape.
pub(super) struct Vitals {
    pub(super) is_ready: bool,
    pub(super) flush_durations: DurationFigures,
    /// In ms since 1970; none where no backup was made since the start.
    pub(super) last_backup_ms: Option<i64>,
    /// None where HTTPS is not served.
    pub(super) certificate_ends: Option<TimestampMs>,
    pub(super) partitions: Vec<PartitionStatus>,
    /// None where no raw events are kept.
    pub(super) archive: Option<(Vec<ArchiveStatus>, ArchiveTotals)>,
    pub(super) now: TimestampMs,
    /// Share of the body memory that is in use, 0 to 1.
    pub(super) body_memory_used: f64,
    /// None where the system does not tell.
    pub(super) disk: Option<Disk>,
    pub(super) dedup_bytes: u64,
    /// Share of the memory for the dedup window that is in use or bespoken, 0 to 1.
    pub(super) dedup_fill: f64,
    pub(super) query_cache: CacheFigures,
    /// Answers that said that they are stale.
    pub(super) stale_answers: u64,
    /// What the busiest partition was given of late, against an even share.
    pub(super) partition_skew: f64,
    /// None where it is not known.
    pub(super) routing: Option<Arc<RoutingTable>>,
    /// Clients that hear live counts.
    pub(super) live_listeners: usize,
    /// By kind.
    pub(super) audits: Vec<(String, Figures)>,
}

/// The file system of the data folder.
pub(super) struct Disk {
    pub(super) free_bytes: u64,
    pub(super) size_bytes: u64,
}

impl Disk {
    /// That of a folder; none where the system does not tell.
    pub(super) fn of(folder: &std::path::Path) -> Option<Self> {
        let disk = rustix::fs::statvfs(folder).ok()?;
        Some(Self {
            free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
            size_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        })
    }
}

/// The label of methods and paths that are none of ours.
const OTHER: &str = "other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    /// The template, never the path itself: items are not labels.
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
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
    in_flight: Gauge,
    appends: Histogram,
    batches: Histogram,
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
        let in_flight = Gauge::default();
        let (appends, batches) = (new_histogram(), Histogram::new(BATCH_BUCKETS));
        let name = "tally_http_request_duration_seconds";
        registry.register(name, "Time from a request's head to its answer", durations.clone());
        registry.register("tally_http_requests", "Requests answered", requests.clone());
        let help = "Requests whose answer is not ready";
        registry.register("tally_http_requests_in_flight", help, in_flight.clone());
        let help = "Time until the events of a request are durable";
        registry.register("tally_append_duration_seconds", help, appends.clone());
        registry.register("tally_batch_events", "Events accepted of a request", batches.clone());
        registry.register("tally_events_accepted", "Events made durable", accepted.clone());
        registry.register("tally_events_rejected", "Events refused, by code", rejected.clone());
        registry.register("tally_errors", "Answers with a status of 500 or more", errors.clone());
        registry.register_collector(Box::new(VitalsCollector(Box::new(vitals))));
        let metrics = Self {
            registry,
            durations,
            requests,
            in_flight,
            appends,
            batches,
            accepted,
            rejected,
            errors,
        };
        metrics.begin_at_zero();
        metrics
    }

    /// What has not happened yet is 0, not absent: a rate sees the first error then.
    fn begin_at_zero(&self) {
        for code in ProblemCode::ALL {
            let label = CodeLabel { code: code.as_str() };
            if code.status() >= 500 {
                drop(self.errors.get_or_create(&label));
            }
            if is_of_an_event(*code) {
                drop(self.rejected.get_or_create(&label));
            }
        }
    }

    /// Takes how long the events of a request took to be durable, and how many were.
    pub(super) fn made_durable(&self, took: Duration, outcome: &Outcome) {
        self.appends.observe(took.as_secs_f64());
        self.batches.observe(outcome.accepted as f64);
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

/// Whether an event may be refused with this code.
fn is_of_an_event(code: ProblemCode) -> bool {
    matches!(
        code,
        ProblemCode::InvalidJson
            | ProblemCode::InvalidItem
            | ProblemCode::InvalidType
            | ProblemCode::InvalidId
            | ProblemCode::InvalidTime
            | ProblemCode::InvalidValue
            | ProblemCode::InvalidAttributes
            | ProblemCode::EventTooOld
            | ProblemCode::EventInFuture
            | ProblemCode::Unavailable
            | ProblemCode::OutcomeUnknown
    )
}

/// Counts itself as long as it lives, also where the client leaves before the answer.
struct InFlight(Gauge);

impl InFlight {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request that is being measured.
pub(super) struct Measured {
    started: Instant,
    method: &'static str,
    route: &'static str,
    _in_flight: InFlight,
}

impl Metrics {
    /// Begins to measure a request; `route` is the template of its path, none where it has none of ours.
    pub(super) fn measure(&self, method: &Method, route: Option<&'static str>) -> Measured {
        const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
        let started = Instant::now();
        // Methods are free text on the wire; labels are not.
        let method = METHODS.into_iter().find(|known| *known == method.as_str());
        let (method, route) = (method.unwrap_or(OTHER), route.unwrap_or(OTHER));
        let _in_flight = InFlight::begin(&self.in_flight);
        Measured { started, method, route, _in_flight }
    }
}

impl Measured {
    /// The span of the request, for collectors of traces.
    pub(super) fn span(&self, ids: &RequestIds) -> tracing::Span {
        traces::request_span(ids, self.method, self.route)
    }

    /// Counts the request and its answer.
    pub(super) fn end(self, metrics: &Metrics, response: &Response) {
        let Self { started, method, route, _in_flight } = self;
        let status = u32::from(response.status().as_u16());
        if status >= 500 {
            let code = response.extensions().get::<ProblemCode>();
            let code = code.map_or("none", |code| code.as_str());
            metrics.errors.get_or_create(&CodeLabel { code }).inc();
        }
        let labels = RouteLabels { method, route };
        let took = started.elapsed().as_secs_f64();
        traces::answered(status);
        // One line a request, for who asks for `tally::access=debug`.
        tracing::debug!(target: "tally::access", method, route, status, seconds = took, "answered");
        metrics.durations.get_or_create(&labels).observe(took);
        metrics.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    }
}

/// OpenMetrics for who asks for it, as Prometheus does; else the older text that every tool reads.
async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry)
        .expect("writing to a string does not fail");
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    let is_open = accepted.any(|kinds| {
        kinds.to_str().is_ok_and(|kinds| kinds.contains("application/openmetrics-text"))
    });
    let kind = match is_open {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => {
            text = classic::of_open_metrics(&text);
            "text/plain; version=0.0.4; charset=utf-8"
        }
    };
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
        each.gauge("tally_minute_horizon_timestamp_seconds", help, start)?;
        let help = "From when on counts by the hour are kept, in Unix seconds";
        let start = |p: &PartitionStatus| p.horizons.hour().start().0 as f64 / 1e3;
        each.gauge("tally_hour_horizon_timestamp_seconds", help, start)?;
        let help = "Rows whose minutes were made one cell behind the horizon";
        each.counter("tally_folded_rows", help, |p| p.folded_rows)?;
        let help = "1 where counting stopped on an error";
        each.gauge("tally_partition_stopped", help, |p| f64::from(u8::from(p.is_stopped)))?;
        let help = "Writes of counters to disk that failed and are tried again";
        each.counter("tally_flush_errors", help, |p| p.flush_errors)?;
        encode_flushes(&mut encoder, &vitals.flush_durations)?;
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
        let help = "Share of the memory for the dedup window that is in use or bespoken";
        gauge("tally_dedup_fill_ratio", help, vitals.dedup_fill)?;
        let help = "1 where events are accepted and questions answered";
        gauge("tally_ready", help, f64::from(u8::from(vitals.is_ready)))?;
        let help = "When the newest backup since the start was done, 0 without one";
        let done = vitals.last_backup_ms.unwrap_or(0) as f64 / 1e3;
        gauge("tally_backup_last_success_timestamp_seconds", help, done)?;
        let help = "Clients that hear live counts";
        gauge("tally_live_listeners", help, vitals.live_listeners as f64)?;
        if let Some(ends) = vitals.certificate_ends {
            let help = "When the certificate of the server ends, in Unix seconds";
            gauge("tally_certificate_expiry_timestamp_seconds", help, ends.0 as f64 / 1e3)?;
        }
        if let Some(Disk { free_bytes, size_bytes }) = vitals.disk {
            gauge("tally_disk_free_bytes", "Room in the data folder", free_bytes as f64)?;
            let help = "Size of the file system of the data folder";
            gauge("tally_disk_size_bytes", help, size_bytes as f64)?;
        }
        let CacheFigures { hits, misses } = vitals.query_cache;
        for (name, help, total) in [
            ("tally_query_cache_hits", "Answers that were given again", hits),
            (
                "tally_query_cache_misses",
                "Answers that were made, though they could be kept",
                misses,
            ),
            (
                "tally_stale_answers",
                "Answers that said that they are stale, as the processors or the store are away",
                vitals.stale_answers,
            ),
        ] {
            let counter = ConstCounter::new(total);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        super::process::encode(&mut encoder)?;
        super::audits::encode(&mut encoder, &vitals.audits)
    }
}

fn encode_flushes(encoder: &mut DescriptorEncoder<'_>, flushes: &DurationFigures) -> fmt::Result {
    let help = "Time of a write of counters to disk";
    let mut histogram = encoder.encode_descriptor(
        "tally_flush_duration_seconds",
        help,
        None,
        MetricType::Histogram,
    )?;
    let DurationFigures { buckets, sum_seconds } = flushes;
    histogram.encode_histogram::<NoLabelSet>(*sum_seconds, flushes.count(), buckets, None)
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
        (
            "tally_archive_lost_events",
            "Offsets that no raw file has, as the log let go of them before they were archived",
            totals.lost,
        ),
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
