//! Which pages' scripts may send events and read answers: an allow-list, of which nothing is guessed.
//!
//! There are no cookies here. A page that is not on the list can send nothing that another program could
//! not send, and reads no answer; the list decides where a public key is of use.

use std::fmt;
use std::str::FromStr;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;

/// How long a browser may remember what it was allowed, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("3600");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, content-encoding, idempotency-key, tally-source, tally-sequence, \
     x-request-id, traceparent, tracestate",
);
const EXPOSED: HeaderValue =
    HeaderValue::from_static("retry-after, tally-durability, www-authenticate, etag, x-request-id");

/// `https://example.org`, as browsers write it, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(String);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "it must be origins such as https://example.org, with commas, or *";
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let uri: Uri = text.parse().map_err(|_| SHAPE)?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let is_bare = text.matches('/').count() == 2 && uri.query().is_none();
        let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        if is_web && is_bare && !has_user {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(SHAPE)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// See the module.
pub(in crate::http) struct Cors {
    origins: Vec<Origin>,
}

impl Cors {
    pub(super) fn new(origins: Vec<Origin>) -> Self {
        Self { origins }
    }

    fn is_listed(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| {
            listed.0 == "*" || listed.0.as_bytes().eq_ignore_ascii_case(origin.as_bytes())
        })
    }

    /// Whether a public key may be used by the page that a request comes from, where it comes from one.
    pub(super) fn allows_page(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let own = headers.get(header::HOST).is_some_and(|host| {
            let page = origin.as_bytes();
            let page = page.strip_prefix(b"https://").or_else(|| page.strip_prefix(b"http://"));
            page.is_some_and(|page| page.eq_ignore_ascii_case(host.as_bytes()))
        });
        own || self.is_listed(origin)
    }

    /// The origin of a request from a page whose scripts may read the answer.
    pub(in crate::http) fn reader(&self, head: &Parts) -> Option<HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        let path = head.uri.path();
        let is_shared = path.starts_with("/v1/") && !path.starts_with("/v1/admin/");
        let origin = head.headers.get(header::ORIGIN)?;
        (is_shared && self.is_listed(origin)).then(|| origin.clone())
    }

    /// The answer to a browser that asks first, before it sends what is not a plain form.
    pub(in crate::http) fn preflight(&self, head: &Parts) -> Option<Response> {
        if head.method != Method::OPTIONS
            || !head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        Some(response)
    }
}

/// Lets a page's script read the answer. An answer that depends on who asks says so to caches.
pub(in crate::http) fn allow_reading(origin: HeaderValue, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}
