//! Answers of a process that others count for, while those, or the store between them, are away: stale rather than
//! none. Every such answer says `"stale":true`, and `as_of` of when it is.
//!
//! Where others have not flushed for a while, answers are made as ever from what they had flushed. Where the
//! store or the archive does not answer in time, the same question is answered as it was the last time, if this process has
//! answered it in the last hour; those answers are kept in memory of a bounded size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use engine::ports::QueryCache;
use engine::query::Query;
use serde::Deserialize;

/// For so long an answer is waited for where another one was given before.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an answer may stand for one of now.
const LIFE_MS: u64 = 60 * 60_000;
/// What a stale answer begins with, and what that stands for in any other.
const STALE: &[u8] = b"{\"stale\":true,";
const BEGIN: &[u8] = b"{";
const JSON: &str = "application/json";

/// What this process has answered.
pub(super) struct LastKnown {
    query: Arc<Query>,
    answers: Arc<dyn QueryCache>,
    /// Answers that said that they are stale.
    given: AtomicU64,
}

/// What an answer says of how good it is.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    status: Option<String>,
}

impl LastKnown {
    /// `answers` is this process's own: it works when nothing else does.
    pub(super) fn new(query: Arc<Query>, answers: Arc<dyn QueryCache>) -> Self {
        Self { query, answers, given: AtomicU64::new(0) }
    }

    /// Stale answers that were given.
    pub(super) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// The answer that was given to a question the last time, as one that says it is stale.
    fn again(&self, question: &[u8]) -> Option<Response> {
        let known = self.answers.get(question).ok().flatten()?;
        Some(self.stale(&known))
    }

    fn stale(&self, answer: &Bytes) -> Response {
        self.given.fetch_add(1, Ordering::Relaxed);
        let rest = answer.strip_prefix(BEGIN).unwrap_or_default();
        let mut response = Response::new(Body::from([STALE, rest].concat()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
    }

    /// Keeps an answer that was made now, and says that it is stale where it is of long ago.
    async fn keep(&self, question: &[u8], response: Response) -> Response {
        let (head, body) = response.into_parts();
        // It lies in memory as a whole already.
        let Ok(answer) = to_bytes(body, usize::MAX).await else {
            return Response::from_parts(head, Body::empty());
        };
        // One that cannot be kept is not there the next time: nothing worse.
        drop(self.answers.put(question, answer.clone(), LIFE_MS));
        if self.query.is_behind() && !is_final(&answer) {
            return self.stale(&answer);
        }
        let mut response = Response::from_parts(head, Body::from(answer));
        response.headers_mut().remove(CONTENT_LENGTH);
        response
    }
}

/// Whether an answer cannot change any more, however old it is.
fn is_final(answer: &[u8]) -> bool {
    let head: Result<Head, _> = serde_json::from_slice(answer);
    head.is_ok_and(|head| {
        matches!(head.status.as_deref(), Some(super::items::FINAL | super::items::RECOUNTED))
    })
}

/// Whether a path is a question whose answer has `as_of`.
fn is_question(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    matches!(
        parts[..],
        ["v1", "counts" | "top" | "trending"]
            | ["v1", "items", _, "count" | "stats" | "report"]
            | ["v1", "channels", _, "report"]
    )
}

/// What every request passes, behind the door.
pub(super) async fn pass(
    State(known): State<Arc<LastKnown>>,
    request: Request,
    next: Next,
) -> Response {
    let uri = request.uri();
    if request.method() != Method::GET || !is_question(uri.path()) {
        return next.run(request).await;
    }
    let question = uri.path_and_query().map_or_else(|| uri.path(), |asked| asked.as_str());
    let question = question.as_bytes().to_vec();
    let response = match known.answers.get(&question).ok().flatten() {
        None => next.run(request).await,
        // Nobody waits for a store of which it is known that it does not answer.
        Some(before) if known.query.is_store_away() => return known.stale(&before),
        Some(before) => match tokio::time::timeout(PATIENCE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => return known.stale(&before),
        },
    };
    match response.status() {
        StatusCode::OK => known.keep(&question, response).await,
        StatusCode::SERVICE_UNAVAILABLE => known.again(&question).unwrap_or(response),
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_told_from_other_paths() {
        for path in ["/v1/counts", "/v1/top", "/v1/items/a%2Fb/count", "/v1/channels/c/report"] {
            assert!(is_question(path), "{path}");
        }
        for path in ["/v1/items/count", "/v1/items/a/live", "/v1/items/a/b/count", "/metrics", "/"]
        {
            assert!(!is_question(path), "{path}");
        }
    }

    #[test]
    fn what_is_final_is_never_stale() {
        assert!(is_final(br#"{"item":"a","sum":1.50,"status":"final","as_of":"x"}"#));
        assert!(is_final(br#"{"status":"recounted"}"#));
        assert!(!is_final(br#"{"status":"provisional"}"#) && !is_final(b"{}") && !is_final(b""));
    }
}
