//! `GET /healthz`: the process lives. `GET /readyz`: it can accept events and answer questions.

use std::sync::atomic::Ordering;

use api::ProblemCode;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;

use super::problem::Failure;
use super::{Parts, Routes};

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, parts: &Parts) -> Routes {
    routes.add("/healthz", &["GET"], get(|| async { "ok\n" })).add(
        "/readyz",
        &["GET"],
        get(ready).with_state(parts.clone()),
    )
}

async fn ready(State(parts): State<Parts>) -> Result<impl IntoResponse, Failure> {
    readiness(&parts)?;
    Ok("ready\n")
}

/// Whether events are accepted and questions answered now.
///
/// # Errors
/// Why not.
pub(super) fn readiness(parts: &Parts) -> Result<(), Failure> {
    if parts.draining.load(Ordering::Relaxed) {
        let detail = "the server is stopping; what is sent to it now is still taken";
        return Err(Failure::new(ProblemCode::NotReady, detail));
    }
    parts.query.ready()?;
    // Whether a batch may begin is whether one does; an empty one costs nothing.
    drop(parts.gateway.begin()?);
    Ok(())
}
