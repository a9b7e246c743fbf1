//! `/v1/admin/log-level`: what is logged, changed without a restart.

use api::{LogLevel, ProblemCode};
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use super::Routes;
use super::body::{self, BodyBudget, Encoding};
use super::params::Params;
use super::problem::{Failure, json};
use crate::telemetry::{self, FilterError};

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, budget: &BodyBudget) -> Routes {
    let handler = get(show).put(change).with_state(budget.clone());
    routes.add("/v1/admin/log-level", &["GET", "PUT"], handler)
}

async fn show(RawQuery(params): RawQuery) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    answer()
}

async fn change(State(budget): State<BodyBudget>, request: Request) -> Result<Response, Failure> {
    Params::of(request.uri().query(), &[])?;
    body::expect_type(request.headers(), body::JSON)?;
    let encoding = Encoding::of(request.headers())?;
    let (head, body) = request.into_parts();
    let body = body::read(&budget, &head.headers, body).await?.decode(encoding)?;
    let wanted: LogLevel = serde_json::from_slice(&body.bytes).map_err(|error| {
        let detail = format!(r#"the body must be like {{"filter":"info"}}: {error}"#);
        Failure::new(ProblemCode::InvalidJson, detail)
    })?;
    telemetry::set_filter(&wanted.filter)?;
    tracing::warn!(filter = wanted.filter, "what is logged was changed");
    answer()
}

fn answer() -> Result<Response, Failure> {
    let filter = telemetry::filter().ok_or(FilterError::NotStarted)?;
    Ok(json(StatusCode::OK, &LogLevel { filter }))
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        let code = match error {
            FilterError::Invalid => ProblemCode::InvalidFilter,
            FilterError::NotStarted => ProblemCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}
