//! `/v1/admin/audits`: what audits found, and a live one now.

use std::sync::Arc;

use api::{AuditsAnswer, ProblemCode};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use model::limits::LIST_ROWS_MAX;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Routes;
use super::params::Params;
use super::problem::{Failure, json};
use crate::audit::{Figures, LiveAudit};

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, audit: &Arc<LiveAudit>) -> Routes {
    let handler = get(list).post(audit_now).with_state(audit.clone());
    routes.add("/v1/admin/audits", &["GET", "POST"], handler)
}

async fn list(
    State(audit): State<Arc<LiveAudit>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::of(params.as_deref(), &["kind", "limit"])?;
    let limit = params.number("limit", 1..=LIST_ROWS_MAX)?.unwrap_or(LIST_ROWS_MAX);
    let audits = audit.audits().recent(params.one("kind")?, limit);
    Ok(json(StatusCode::OK, &AuditsAnswer { audits }))
}

async fn audit_now(
    State(audit): State<Arc<LiveAudit>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    // On a task of its own it goes on to its end, also when the client has gone.
    match tokio::spawn(async move { audit.run().await }).await {
        Ok(found) => Ok(json(StatusCode::OK, &found)),
        Err(_) => Err(Failure::new(ProblemCode::Internal, "the audit ended in a panic")),
    }
}

/// Writes the metrics of audits.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    kinds: &[(String, Figures)],
) -> std::fmt::Result {
    if kinds.is_empty() {
        return Ok(());
    }
    let help = "Events too few or too many at the last audit";
    let mut family =
        encoder.encode_descriptor("tally_audit_drift", help, None, MetricType::Gauge)?;
    for (kind, figures) in kinds {
        let labels = [("kind", kind.as_str())];
        ConstGauge::new(figures.drift).encode(family.encode_family(&labels)?)?;
    }
    let help = "Audits since the start, by what they found";
    let mut family =
        encoder.encode_descriptor("tally_audit_runs", help, None, MetricType::Counter)?;
    for (kind, figures) in kinds {
        for (result, runs) in &figures.runs {
            let labels = [("kind", kind.as_str()), ("result", *result)];
            ConstCounter::new(*runs).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
