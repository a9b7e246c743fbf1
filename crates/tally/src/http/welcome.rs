//! `GET /`: a few lines for whoever opens the address in a browser.

use axum::response::Html;
use axum::routing::get;

use super::Routes;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.add("/", &["GET"], get(async || Html(include_str!("welcome.html"))))
}
