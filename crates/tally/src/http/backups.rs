//! `/v1/admin/backups`: backups of the running server.

use std::sync::Arc;

use api::{BackupRequest, BackupsAnswer, ProblemCode};
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use super::Routes;
use super::body::{self, BodyBudget, Encoding};
use super::params::Params;
use super::problem::{Failure, json};
use crate::backups::{Backups, Refused};

/// What the paths of this resource need.
pub(super) struct Taking {
    pub(super) backups: Arc<Backups>,
    pub(super) budget: BodyBudget,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, taking: &Arc<Taking>) -> Routes {
    let handler = get(list).post(begin).with_state(taking.clone());
    routes.add("/v1/admin/backups", &["GET", "POST"], handler)
}

async fn list(
    State(taking): State<Arc<Taking>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    Ok(json(StatusCode::OK, &BackupsAnswer { backups: taking.backups.recent() }))
}

async fn begin(State(taking): State<Arc<Taking>>, request: Request) -> Result<Response, Failure> {
    Params::of(request.uri().query(), &[])?;
    body::expect_type(request.headers(), body::JSON)?;
    let encoding = Encoding::of(request.headers())?;
    let (head, body) = request.into_parts();
    let body = body::read(&taking.budget, &head.headers, body).await?;
    // Making a folder can block.
    let begun = tokio::task::spawn_blocking(move || {
        let body = body.decode(encoding)?;
        let wanted: BackupRequest = serde_json::from_slice(&body.bytes).map_err(|error| {
            let detail = format!(r#"the body must be like {{"folder":"/backups/1"}}: {error}"#);
            Failure::new(ProblemCode::InvalidJson, detail)
        })?;
        taking.backups.begin(&wanted.folder).map_err(Failure::from)
    });
    match begun.await {
        Ok(begun) => Ok(json(StatusCode::ACCEPTED, &begun?)),
        Err(_) => Err(Failure::new(ProblemCode::Internal, "the backup could not be begun")),
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::UnderWay(_) => ProblemCode::BackupUnderWay,
            Refused::Folder(_) => ProblemCode::InvalidFolder,
            Refused::Thread(_) => ProblemCode::Overloaded,
        };
        Self::new(code, refused.to_string())
    }
}
