//! `GET /v1/admin/items`: all item details, as NDJSON, for who lists them or joins them with counts.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use engine::ports::{ItemDetailsStore, PortError};
use model::event::check_item;

use super::{describe, unreadable};
use crate::http::Routes;
use crate::http::events::read::Fault;
use crate::http::lines::{Begin, LineAnswers, Lines};
use crate::http::params::Params;
use crate::http::problem::Failure;

/// What the path needs.
struct Listing {
    store: Arc<dyn ItemDetailsStore>,
    answers: LineAnswers,
}

/// Which items are listed; all where nothing is said.
struct Scope {
    channel: Option<String>,
    after: Option<String>,
}

/// Why a list broke off or never began.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unreadable(PortError);

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        unreadable(error.0)
    }
}

/// Adds the path of this resource.
pub(in crate::http) fn routes(routes: Routes, store: &Arc<dyn ItemDetailsStore>) -> Routes {
    let listing = Listing { store: store.clone(), answers: LineAnswers::new("item details") };
    routes.add("/v1/admin/items", &["GET"], get(list).with_state(Arc::new(listing)))
}

async fn list(
    State(listing): State<Arc<Listing>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::of(params.as_deref(), &["channel", "after"])?;
    let scope = Scope { channel: name(&params, "channel")?, after: name(&params, "after")? };
    let store = listing.store.clone();
    let make = move |begin: &mut Begin<()>, lines: &mut Lines| {
        make(&*store, &scope, begin, lines).map_err(Unreadable)
    };
    let ((), response) = listing.answers.answer(make).await?;
    Ok(response)
}

/// A channel or an item, which keep one rule.
fn name(params: &Params, parameter: &str) -> Result<Option<String>, Failure> {
    let name = params.one(parameter)?;
    name.map_or(Ok(()), check_item).map_err(|violation| {
        let detail = Fault::from(violation).detail;
        Failure::parameter(format!("the parameter `{parameter}`: {detail}"))
    })?;
    Ok(name.map(ToOwned::to_owned))
}

fn make(
    store: &dyn ItemDetailsStore,
    scope: &Scope,
    begin: &mut Begin<()>,
    lines: &mut Lines,
) -> Result<(), PortError> {
    store.scan(scope.channel.as_deref(), scope.after.as_deref(), &mut |item, details| {
        // What cannot even be begun is told by the status.
        begin.with(());
        lines.push(&describe(item.to_owned(), &details))
    })?;
    begin.with(());
    Ok(())
}
