//! `GET /beacon.js`: counts what happens in web pages.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use siphasher::sip128::{Hasher128, SipHasher};
use std::hash::Hasher;

use super::Routes;

pub(super) const SCRIPT: &str = include_str!("beacon.js");

/// Names the content: another one has another tag. Nobody gains by making two of a kind.
static TAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut hasher = SipHasher::new();
    hasher.write(SCRIPT.as_bytes());
    let tag = format!("\"{:032x}\"", hasher.finish128().as_u128());
    HeaderValue::try_from(tag).expect("hexadecimal digits in quotes")
});

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.add("/beacon.js", &["GET"], get(script))
}

async fn script(headers: HeaderMap) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(','));
    let is_known = known.any(|tag| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.as_bytes() == TAG.as_bytes()
    });
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = (header::CONTENT_TYPE, "text/javascript; charset=utf-8");
        ([kind], SCRIPT).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, TAG.clone());
    // A page may take it from anywhere; an hour is how long a new version may stay unknown.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert(
        header::HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("cross-origin"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
