//! `/v1/admin/keys`: the keys of this server.

use std::sync::Arc;

use api::{CreatedKeyAnswer, KeyRequest, KeysAnswer, ProblemCode};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{delete, get};
use model::TimestampMs;

use super::Routes;
use super::body::{self, BodyBudget, Encoding};
use super::params::Params;
use super::problem::{Failure, json};
use crate::keys::{Draft, KeyFileError, KeyId, Keyring, Rates, Scopes};

/// What the paths of this resource need.
pub(super) struct KeyPaths {
    pub(super) keys: Arc<Keyring>,
    pub(super) budget: BodyBudget,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, paths: &Arc<KeyPaths>) -> Routes {
    let all = get(list).post(create).with_state(paths.clone());
    let one = delete(revoke).with_state(paths.clone());
    routes.add("/v1/admin/keys", &["GET", "POST"], all).add("/v1/admin/keys/{id}", &["DELETE"], one)
}

async fn list(
    State(paths): State<Arc<KeyPaths>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    Ok(json(StatusCode::OK, &KeysAnswer { keys: paths.keys.list() }))
}

async fn create(State(paths): State<Arc<KeyPaths>>, request: Request) -> Result<Response, Failure> {
    Params::of(request.uri().query(), &[])?;
    body::expect_type(request.headers(), body::JSON)?;
    let encoding = Encoding::of(request.headers())?;
    let (head, body) = request.into_parts();
    let body = body::read(&paths.budget, &head.headers, body).await?;
    let created = blocking(move || {
        let body = body.decode(encoding)?;
        let wanted: KeyRequest = serde_json::from_slice(&body.bytes).map_err(|error| {
            let detail =
                format!(r#"the body must be like {{"name":"shop","scopes":["write"]}}: {error}"#);
            Failure::new(ProblemCode::InvalidJson, detail)
        })?;
        Ok(paths.keys.create(draft_of(&wanted)?)?)
    });
    let (key, secret) = created.await?;
    let answer = CreatedKeyAnswer { secret: secret.expose().to_owned(), key };
    let mut response = json(StatusCode::CREATED, &answer);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn draft_of(wanted: &KeyRequest) -> Result<Draft, Failure> {
    let refused = |detail: String| Failure::new(ProblemCode::InvalidKey, detail);
    let expires = wanted.expires.as_deref().map(TimestampMs::parse).transpose();
    Ok(Draft {
        name: wanted.name.clone(),
        scopes: Scopes::parse(wanted.scopes.iter().map(String::as_str)).map_err(refused)?,
        is_public: wanted.public,
        expires: expires.map_err(|error| refused(format!("`expires`: {error}")))?,
        rates: Rates { events: wanted.rate_limit_events, requests: wanted.rate_limit_requests },
    })
}

async fn revoke(
    State(paths): State<Arc<KeyPaths>>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    let missing = || {
        let detail = "there is no such key; GET /v1/admin/keys lists them";
        Failure::new(ProblemCode::NotFound, detail)
    };
    let id = id.ok().and_then(|Path(id)| id.parse::<KeyId>().ok()).ok_or_else(missing)?;
    let key = blocking(move || Ok(paths.keys.revoke(id)?)).await?;
    Ok(json(StatusCode::OK, &key.ok_or_else(missing)?))
}

/// Files are written here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Failure::new(ProblemCode::Internal, "the keys could not be changed")),
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        let code = match &error {
            KeyFileError::Invalid(_) => ProblemCode::InvalidKey,
            KeyFileError::Io { .. }
            | KeyFileError::Damaged { .. }
            | KeyFileError::OtherVersion { .. } => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the keys could not be changed"
                );
                ProblemCode::Internal
            }
        };
        Self::new(code, error.to_string())
    }
}
