//! `GET /openapi.json`: the description of this API, written by hand and checked against the
//! router.

use axum::http::header;
use axum::routing::get;

use super::Routes;

pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes) -> Routes {
    let document = async || ([(header::CONTENT_TYPE, "application/json")], DOCUMENT);
    routes.add("/openapi.json", &["GET"], get(document))
}
