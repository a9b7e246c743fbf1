//! What can go wrong between the client and the server, and whether trying again can help.

use std::time::Duration;

use crate::Problem;

/// An error of the transport below.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL of the server cannot be used.
    #[error("the URL `{url}` cannot be used: {reason}")]
    InvalidUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A content type or encoding has characters that no header may have.
    #[error("`{value}` cannot be sent as a header")]
    InvalidHeader {
        /// As given.
        value: String,
    },
    /// The key has characters that no key has.
    #[error("the key cannot be sent: it has characters that no key has")]
    InvalidKey,
    /// The certificates to trust cannot be used.
    #[error("the certificates to trust cannot be used: {reason}")]
    InvalidCertificates {
        /// What is wrong with them.
        reason: String,
    },
    /// No connection; nothing was sent.
    #[error(
        "cannot connect to {url}: is a server running there? Start one with `tally serve`, or name another \
         with --url or TALLY_URL"
    )]
    Connect {
        /// The server.
        url: String,
        /// Why.
        source: Source,
    },
    /// The connection broke while the request was under way: it may or may not have been carried
    /// out.
    #[error("the connection to {url} broke before the answer came")]
    Interrupted {
        /// The server.
        url: String,
        /// Why.
        source: Source,
    },
    /// No answer in time: the request may or may not have been carried out.
    #[error("{url} did not answer within {after:?}")]
    Timeout {
        /// The server.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// The server said what is wrong.
    #[error("{} ({}, status {}){}", problem.title, problem.code, problem.status, colon(&problem.detail))]
    Problem {
        /// What it said.
        problem: Box<Problem>,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
    },
    /// An error status without a problem document, as proxies send.
    #[error("{url} answered with status {status}: {body}")]
    UnexpectedStatus {
        /// The server.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
    },
    /// A good status with a body that is not of the contract.
    #[error(
        "{url} answered with something else than Tally would; does the URL lead to Tally? {body}"
    )]
    UnexpectedBody {
        /// The server.
        url: String,
        /// The beginning of the body.
        body: String,
        /// What was expected.
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Whether the same request can succeed later without a change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Interrupted { .. } | Self::Timeout { .. } => true,
            Self::Problem { problem, .. } => is_retryable_status(problem.status),
            Self::UnexpectedStatus { status, .. } => is_retryable_status(*status),
            Self::InvalidUrl { .. }
            | Self::InvalidHeader { .. }
            | Self::InvalidKey
            | Self::InvalidCertificates { .. }
            | Self::UnexpectedBody { .. } => false,
        }
    }

    /// How long the server asked to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. } | Self::UnexpectedStatus { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    /// A short stable name for tables of errors: the problem code where there is one.
    pub fn code(&self) -> &str {
        match self {
            Self::InvalidUrl { .. }
            | Self::InvalidHeader { .. }
            | Self::InvalidKey
            | Self::InvalidCertificates { .. } => "invalid_request",
            Self::Connect { .. } => "connect",
            Self::Interrupted { .. } => "interrupted",
            Self::Timeout { .. } => "timeout",
            Self::Problem { problem, .. } => &problem.code,
            Self::UnexpectedStatus { .. } | Self::UnexpectedBody { .. } => "unexpected_answer",
        }
    }
}

/// Whether the same request can succeed later where a server answered with this HTTP status: 502 and
/// 504 come from a proxy in front of a server that is restarting.
pub fn is_retryable_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

fn colon(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

/// Enough of a body to recognise what answered.
pub(super) fn first_chars(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
