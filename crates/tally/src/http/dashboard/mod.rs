//! `GET /` and the pages below it: the dashboard, files that were built before the program was and
//! are part of it.
//!
//! The pages are one document that asks the API for what it shows, so every path of a page answers
//! the same bytes. What the browser may load is bounded by the policy of the answer: nothing but
//! files and answers of this server, and no script or style within the document.

use api::ProblemCode;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Routes;
use super::problem::Failure;

/// What `build.rs` found; empty where the dashboard was not built.
static BUILT: &[Asset] = &include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// The page in place of a dashboard that was not built.
const WELCOME: &str = include_str!("welcome.html");

/// The document of every page.
const INDEX: &str = "index.html";

const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const WELCOME_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);
/// The page names the files it needs, so a browser asks whether it has changed.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// The names of files change with their content.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes) -> Routes {
    let dashboard = Dashboard { assets: BUILT };
    let routes = routes.add("/", &["GET"], get(page).with_state(dashboard));
    let routes = routes.add("/items/{item}", &["GET"], get(page).with_state(dashboard));
    let routes = routes.add("/channels/{channel}", &["GET"], get(page).with_state(dashboard));
    let routes = routes.add("/health", &["GET"], get(page).with_state(dashboard));
    routes.add("/assets/{file}", &["GET"], get(asset).with_state(dashboard))
}

/// A built file.
#[derive(Debug)]
struct Asset {
    /// Without folders.
    name: &'static str,
    /// Of the plain bytes, in hexadecimal digits.
    hash: &'static str,
    plain: &'static [u8],
    /// The same bytes compressed, where that makes them fewer.
    gzip: Option<&'static [u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Dashboard {
    assets: &'static [Asset],
}

async fn page(State(dashboard): State<Dashboard>, asked: HeaderMap) -> Response {
    dashboard.page(&asked)
}

async fn asset(
    State(dashboard): State<Dashboard>,
    Path(name): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Failure> {
    dashboard.asset(&name, &asked)
}

impl Dashboard {
    fn find(self, name: &str) -> Option<&'static Asset> {
        self.assets.iter().find(|asset| asset.name == name)
    }

    fn page(self, asked: &HeaderMap) -> Response {
        let (mut response, policy) = match self.find(INDEX) {
            Some(index) => (index.answer(asked, ASK_AGAIN), PAGE_POLICY),
            None => (axum::response::Html(WELCOME).into_response(), WELCOME_POLICY),
        };
        guard(response.headers_mut(), policy);
        response
    }

    fn asset(self, name: &str, asked: &HeaderMap) -> Result<Response, Failure> {
        let Some(asset) = self.find(name).filter(|_| name != INDEX) else {
            let detail = format!("the dashboard has no file `{name}`; load its page again");
            return Err(Failure::new(ProblemCode::NotFound, detail));
        };
        let mut response = asset.answer(asked, FOR_EVER);
        guard(response.headers_mut(), PAGE_POLICY);
        Ok(response)
    }
}

/// What a browser is told of every file.
fn guard(headers: &mut HeaderMap, policy: HeaderValue) {
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
}

impl Asset {
    /// The file as the client takes it, or that it has not changed.
    fn answer(&self, asked: &HeaderMap, caching: HeaderValue) -> Response {
        let gzip = self.gzip.filter(|_| accepts_gzip(asked));
        // Two encodings of a file are different bytes, which a strong tag tells apart.
        let tag = match gzip {
            Some(_) => format!("\"{}-gzip\"", self.hash),
            None => format!("\"{}\"", self.hash),
        };
        let mut headers: Vec<(HeaderName, HeaderValue)> =
            vec![(header::CACHE_CONTROL, caching), (header::VARY, header::ACCEPT_ENCODING.into())];
        let is_known = tokens(asked, header::IF_NONE_MATCH)
            .any(|known| known == "*" || known.trim_start_matches("W/") == tag);
        headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let kind = HeaderValue::from_static(content_type(self.name));
            headers.push((header::CONTENT_TYPE, kind));
            headers
                .extend(gzip.map(|_| (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))));
            gzip.unwrap_or(self.plain).into_response()
        };
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The parts of a header that is a list.
fn tokens(asked: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = asked.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn accepts_gzip(asked: &HeaderMap) -> bool {
    tokens(asked, header::ACCEPT_ENCODING).any(|token| {
        let mut parts = token.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        is_gzip
            && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
