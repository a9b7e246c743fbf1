//! How a request ends that does not end well: `application/problem+json` with a stable code.

use api::{Problem, ProblemCode, RejectedEvent};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::admission::Refusal;
use engine::ports::{ErrorKind, PortError};
use engine::query::QueryError;
use serde::Serialize;

use super::events::read::Fault;

/// Seconds after which a client may try again what was refused for a temporary reason.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error answer.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ProblemCode,
    detail: String,
    rejected: Vec<RejectedEvent>,
    closes: bool,
    /// What `WWW-Authenticate` says.
    challenge: Option<&'static str>,
    /// Seconds, where it is known when the same would pass.
    retry_after: Option<u64>,
}

impl Failure {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            rejected: Vec::new(),
            closes: false,
            challenge: None,
            retry_after: None,
        }
    }

    /// The refusal of a query parameter or header, which the detail names.
    pub(crate) fn parameter(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::InvalidParameter, detail)
    }

    /// With the verdicts of the events.
    pub(crate) fn with_rejected(mut self, rejected: Vec<RejectedEvent>) -> Self {
        self.rejected = rejected;
        self
    }

    /// Ends the connection: the rest of the body is not going to be read.
    pub(crate) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Says how to show who one is.
    pub(crate) fn challenging(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Says in how many seconds the same would pass.
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn code(&self) -> ProblemCode {
        self.code
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code, fault.detail)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::DedupFull | Refusal::TooManyRefused => ProblemCode::Overloaded,
            Refusal::Stopping | Refusal::Starting => ProblemCode::NotReady,
            Refusal::SourceBusy => ProblemCode::SourceBusy,
            Refusal::TooManySources => ProblemCode::TooManySources,
            Refusal::Clock(_) | Refusal::Routing(_) | Refusal::PartitionStopped(_) => {
                ProblemCode::Unavailable
            }
        };
        Self::new(code, refusal.to_string())
    }
}

/// A port that refused events before any was written.
impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        let code = match error.kind {
            ErrorKind::Overloaded => ProblemCode::Overloaded,
            ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Corrupt => {
                ProblemCode::Unavailable
            }
            ErrorKind::Invalid => ProblemCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let code = match &error {
            QueryError::NotReady(_) => ProblemCode::NotReady,
            QueryError::PartitionStopped(_) => ProblemCode::Unavailable,
            QueryError::TooManyPoints { .. } => ProblemCode::TooManyPoints,
            QueryError::Port(port) => match port.kind {
                ErrorKind::Unavailable => ProblemCode::Unavailable,
                ErrorKind::Overloaded => ProblemCode::Overloaded,
                ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::Invalid => {
                    tracing::error!(error = port as &dyn std::error::Error, "a question failed");
                    ProblemCode::Internal
                }
            },
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut problem = Problem::new(self.code, self.detail);
        problem.rejected = self.rejected;
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &problem);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.code.is_retryable() {
            let retry_after = self.retry_after.map_or(RETRY_AFTER, HeaderValue::from);
            headers.insert(header::RETRY_AFTER, retry_after);
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    let text = serde_json::to_vec(answer).expect("answers are plain data with text keys");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
