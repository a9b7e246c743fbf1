//! OpenTelemetry traces, from a request to the write of its counters: sent over HTTP to a collector, where
//! the standard environment names one (`OTEL_EXPORTER_OTLP_ENDPOINT`). Nothing is made of them otherwise.
//!
//! Spans are `tracing`'s, of the target `tally::trace`; `OTEL_TRACES_SAMPLER` says how many are sent. The
//! exporter has a thread and an event loop of its own: it never waits where events are counted.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::request::RequestIds;

/// Any of these turns traces on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// How long a collector may take for a batch of spans.
const TIMEOUT: Duration = Duration::from_secs(10);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// What makes spans of requests into traces; none where no collector is named.
pub(super) fn layer<S>() -> Option<impl Layer<S>>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    if !ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some_and(|url| !url.is_empty())) {
        return None;
    }
    let provider = match provider() {
        Ok(provider) => PROVIDER.get_or_init(|| provider),
        Err(error) => {
            // Logging has not started yet.
            eprintln!("tally: no traces are sent: {error:#}");
            return None;
        }
    };
    let ours = Targets::new().with_target(super::TRACES, LevelFilter::INFO);
    let tracer = provider.tracer("tally");
    Some(tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_filter(ours))
}

fn provider() -> anyhow::Result<SdkTracerProvider> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp")
        .enable_all()
        .build()
        .context("no event loop for the exporter")?;
    let client = HyperClient::with_default_connector(TIMEOUT, None);
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(OnRuntime { runtime, client })
        .build()
        .context("the exporter cannot be made")?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource,
        None => resource.with_service_name("tally"),
    };
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
    Ok(provider.with_resource(resource.build()).build())
}

/// Sends on an event loop of its own: the exporter's thread has none.
#[derive(Debug)]
struct OnRuntime {
    runtime: tokio::runtime::Runtime,
    client: HyperClient,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

/// The span of a request, within the trace of whoever sent it.
pub(crate) fn request_span(ids: &RequestIds, method: &str, route: &str) -> Span {
    let span = tracing::info_span!(
        target: super::TRACES,
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        tally.request_id = ids.id,
    );
    if let Some(parent) = ids.trace.as_ref().filter(|_| !span.is_disabled())
        && let (Ok(trace), Ok(id)) =
            (TraceId::from_hex(&parent.trace_id), SpanId::from_hex(&parent.parent_id))
    {
        let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let remote = SpanContext::new(trace, id, flags, true, TraceState::default());
        let context = opentelemetry::Context::new().with_remote_span_context(remote);
        // It fails only where nothing is traced.
        let _ = span.set_parent(context);
    }
    span
}

/// Notes how the request of the current span was answered.
pub(crate) fn answered(status: u32) {
    Span::current().record("http.response.status_code", status);
}

/// Sends what was not sent yet.
pub(crate) fn stop() {
    if let Some(Err(error)) = PROVIDER.get().map(SdkTracerProvider::shutdown) {
        tracing::warn!(%error, "the last traces were not sent");
    }
}
