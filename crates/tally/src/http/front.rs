//! What every request passes on its way in and out: it is named, measured, judged by the door and
//! answered by its path.
//!
//! No middleware: a layer around a router costs each request a copy of the router behind it and a future on the heap,
//! and requests with single events are many.

use std::sync::Arc;

use api::ProblemCode;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tracing::Instrument;

use super::door::{self, Door};
use super::events::{self, Ingest};
use super::metrics::Metrics;
use super::problem::Failure;
use super::request_ids;
use crate::telemetry;

/// A router that can say which paths it has: the API's description is checked against them.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router,
    pub(super) listed: Vec<(&'static str, &'static [&'static str])>,
    events: Option<Arc<Ingest>>,
}

impl Routes {
    /// Adds a path with its methods.
    pub(super) fn add(
        mut self,
        path: &'static str,
        methods: &'static [&'static str],
        handler: MethodRouter,
    ) -> Self {
        self.router = self.router.route(path, handler);
        self.listed.push((path, methods));
        self
    }

    /// Adds the path that takes events, which is reached without the router: most requests are for it.
    pub(super) fn add_events(self, ingest: &Arc<Ingest>) -> Self {
        let taking = ingest.clone();
        let handler = post(async move |request: Request| {
            let (head, body) = request.into_parts();
            taking.answer_to(head, body).await
        });
        let routes = self.add(events::PATH, &["POST"], handler);
        Self { events: Some(ingest.clone()), ..routes }
    }

    /// With something that requests pass behind the door, but for those with events.
    #[cfg(feature = "kafka")]
    pub(super) fn passing(self, layer: impl FnOnce(Router) -> Router) -> Self {
        Self { router: layer(self.router), ..self }
    }

    /// All of it behind the door, with problems for what there is not.
    pub(super) fn behind(self, metrics: Arc<Metrics>, door: Arc<Door>) -> Arc<Front> {
        let Self { router, listed, events } = self;
        let mut paths = matchit::Router::new();
        for (path, _) in listed {
            // The router took it, which matches in the same way.
            paths.insert(path, path).expect("paths differ");
        }
        let router = router.method_not_allowed_fallback(method_not_allowed).fallback(not_found);
        let router = TowerToHyperService::new(router);
        Arc::new(Front { router, paths, events, metrics, door })
    }
}

/// See the module.
pub(crate) struct Front {
    router: TowerToHyperService<Router>,
    /// The templates of all paths: requests are measured and judged by them.
    paths: matchit::Router<&'static str>,
    /// None where no events are taken.
    events: Option<Arc<Ingest>>,
    metrics: Arc<Metrics>,
    door: Arc<Door>,
}

impl Front {
    /// Answers a request, also one that is turned away.
    pub(super) async fn answer(&self, request: hyper::Request<Incoming>) -> Response {
        let (mut head, body) = request.into_parts();
        let ids = Arc::new(request_ids::of(&head.headers));
        let route = self.paths.at(head.uri.path()).ok().map(|found| *found.value);
        let measured = self.metrics.measure(&head.method, route);
        let span = measured.span(&ids);
        // It stays where it is: moving it is what a small request takes longest for.
        let answering = std::pin::pin!(async {
            let cors = self.door.cors();
            let reader = cors.reader(&head);
            let preflight = reader.as_ref().and_then(|_| cors.preflight(&head));
            let mut response = match preflight {
                Some(response) => response,
                None => match self.door.admit(&mut head, route) {
                    Ok(()) => self.hand_over(head, body, route).await,
                    Err(refused) => refused.into_response(),
                },
            };
            if let Some(origin) = reader {
                door::allow_reading(origin, &mut response);
            }
            measured.end(&self.metrics, &response);
            response
        });
        let answering = answering.instrument(span);
        let mut response = telemetry::request::within(ids.clone(), answering).await;
        if let Some(id) = request_ids::header(&ids) {
            response.headers_mut().insert(request_ids::HEADER, id);
        }
        response
    }

    /// The answer of the path.
    async fn hand_over(&self, head: Parts, body: Incoming, route: Option<&str>) -> Response {
        match &self.events {
            Some(ingest) if route == Some(events::PATH) && head.method == Method::POST => {
                ingest.answer_to(head, body).await.into_response()
            }
            _ => match self.router.call(Request::from_parts(head, Body::new(body))).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        }
    }
}

async fn not_found(uri: Uri) -> Failure {
    let detail = format!("there is nothing at {}; GET /openapi.json lists all paths", uri.path());
    Failure::new(ProblemCode::NotFound, detail)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    let detail =
        format!("{} does not take {method}; the header Allow says what it does", uri.path());
    Failure::new(ProblemCode::MethodNotAllowed, detail)
}
