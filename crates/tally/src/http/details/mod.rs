//! `/v1/items/{item}` and `POST /v1/items`: what is known of items beside their counts.

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
pub(super) mod list;
mod read;

use std::sync::Arc;

use api::{AcceptedAnswer, Durability, ItemDetailsAnswer, ProblemCode, RejectedEvent, TopItem};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use engine::ports::{DetailsChange, ItemDetailsStore, PortError};
use model::ItemDetails;
use tokio::sync::Semaphore;

use super::Routes;
use super::body::{self, BodyBudget, Encoding};
use super::items::item_of;
use super::params::Params;
use super::problem::{Failure, json};

/// Lists that are read and written at a time: what is read of one takes several times the memory of
/// its body, of which there may be many.
const LISTS_AT_A_TIME: usize = 2;

/// What the paths of this resource need.
pub(super) struct Details {
    store: Arc<dyn ItemDetailsStore>,
    budget: BodyBudget,
    lists: Arc<Semaphore>,
    /// What a written change is.
    durability: &'static str,
}

impl Details {
    pub(super) fn new(
        store: Arc<dyn ItemDetailsStore>,
        budget: BodyBudget,
        durability: &'static str,
    ) -> Self {
        Self { store, budget, lists: Arc::new(Semaphore::new(LISTS_AT_A_TIME)), durability }
    }

    /// Says what durable means here.
    fn durable(&self, mut response: Response) -> Response {
        response.headers_mut().insert(
            HeaderName::from_static(Durability::HEADER),
            HeaderValue::from_static(self.durability),
        );
        response
    }
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, details: &Arc<Details>) -> Routes {
    routes
        .add(
            "/v1/items/{item}",
            &["PUT", "GET", "DELETE"],
            put(replace).get(show).delete(remove).with_state(details.clone()),
        )
        .add("/v1/items", &["POST"], post(import).with_state(details.clone()))
}

async fn replace(
    State(details): State<Arc<Details>>,
    item: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let item = item_of(item)?;
    Params::of(request.uri().query(), &[])?;
    body::expect_type(request.headers(), body::JSON)?;
    let encoding = Encoding::of(request.headers())?;
    let (head, body) = request.into_parts();
    let body = body::read(&details.budget, &head.headers, body).await?;
    let (was_known, answer) = blocking(&details.store, move |store| {
        let body = body.decode(encoding)?;
        let known = read::one(&body.bytes, &item)?;
        let answer = describe(item.clone(), &known);
        let was_known = store.put(&[DetailsChange { item, details: Some(known) }])?;
        Ok::<_, Failure>((was_known == [true], answer))
    })
    .await?;
    let status = if was_known { StatusCode::OK } else { StatusCode::CREATED };
    Ok(details.durable(json(status, &answer)))
}

async fn show(
    State(details): State<Arc<Details>>,
    item: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let item = item_of(item)?;
    Params::of(params.as_deref(), &[])?;
    // One look-up, as of a count: it is answered here.
    match details.store.get(&[&item]).map_err(unreadable)?.pop().flatten() {
        Some(known) => Ok(json(StatusCode::OK, &describe(item, &known))),
        None => Err(unknown(&item)),
    }
}

async fn remove(
    State(details): State<Arc<Details>>,
    item: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let item = item_of(item)?;
    Params::of(params.as_deref(), &[])?;
    let change = DetailsChange { item: item.clone(), details: None };
    let was_known =
        blocking(&details.store, move |store| store.put(&[change]).map_err(Failure::from)).await?;
    if was_known != [true] {
        return Err(unknown(&item));
    }
    Ok(details.durable(StatusCode::NO_CONTENT.into_response()))
}

async fn import(
    State(details): State<Arc<Details>>,
    request: Request,
) -> Result<Response, Failure> {
    Params::of(request.uri().query(), &[])?;
    body::expect_type(request.headers(), &["application/x-ndjson", "application/ndjson"])?;
    let encoding = Encoding::of(request.headers())?;
    let (head, body) = request.into_parts();
    let body = body::read(&details.budget, &head.headers, body).await?;
    let turn = details.lists.clone().acquire_owned().await;
    let turn = turn.map_err(|_| Failure::new(ProblemCode::NotReady, "the server is stopping"))?;
    let list = blocking(&details.store, move |store| {
        // Held to the end of the work, also where the client has gone.
        let _turn = turn;
        let body = body.decode(encoding)?;
        let list = read::lines(&body.bytes)?;
        drop(body);
        store.put(&list.changes)?;
        Ok::<_, Failure>(list)
    })
    .await?;
    answer(list).map(|answer| details.durable(answer))
}

/// The verdicts on a list whose good lines are written.
fn answer(list: read::List) -> Result<Response, Failure> {
    let accepted = list.changes.len() as u64;
    let rejected: Vec<RejectedEvent> = list
        .rejections
        .into_iter()
        .map(|rejection| RejectedEvent {
            index: u64::from(rejection.index),
            code: rejection.fault.code.as_str().into(),
            detail: rejection.fault.detail.into_owned(),
            retryable: false,
        })
        .collect();
    match rejected.first() {
        None if accepted == 0 => Err(Failure::new(ProblemCode::EmptyBatch, "the body has no item")),
        Some(first) if accepted == 0 => {
            let detail = format!("none of {} items; the first: {}", rejected.len(), first.detail);
            Err(Failure::new(ProblemCode::AllRejected, detail).with_rejected(rejected))
        }
        _ => Ok(json(StatusCode::OK, &AcceptedAnswer { accepted, rejected })),
    }
}

/// What is known of an item, as it goes over the wire.
pub(super) fn describe(item: String, details: &ItemDetails) -> ItemDetailsAnswer {
    let ItemDetails { title, channel, channel_name, created, attributes } = details.clone();
    ItemDetailsAnswer {
        item,
        title,
        channel,
        channel_name,
        created: created.map(|time| time.to_string()),
        attributes: attributes.into_iter().collect(),
    }
}

/// The titles of items, in their order. Numbers without titles are better than no numbers: where
/// details cannot be read, the log says so.
pub(super) fn titles<'a>(
    store: &dyn ItemDetailsStore,
    items: impl IntoIterator<Item = &'a str>,
) -> Vec<Option<String>> {
    let items: Vec<&str> = items.into_iter().collect();
    match store.get(&items) {
        Ok(found) => found.into_iter().map(|details| details?.title).collect(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "titles cannot be read");
            vec![None; items.len()]
        }
    }
}

/// Gives rows of a ranking their titles.
pub(super) fn add_titles(store: &dyn ItemDetailsStore, rows: &mut [TopItem]) {
    let found = titles(store, rows.iter().map(|row| row.item.as_str()));
    rows.iter_mut().zip(found).for_each(|(row, title)| row.title = title);
}

/// A failure to read details, which is no failure to accept anything.
pub(super) fn unreadable(error: PortError) -> Failure {
    tracing::error!(error = &error as &dyn std::error::Error, "item details cannot be read");
    Failure::new(ProblemCode::Internal, error.to_string())
}

fn unknown(item: &str) -> Failure {
    let detail = format!("nothing is known of the item `{item}`; PUT its details here");
    Failure::new(ProblemCode::UnknownItem, detail)
}

/// Runs what waits for the disk off the async threads.
async fn blocking<T: Send + 'static>(
    store: &Arc<dyn ItemDetailsStore>,
    call: impl FnOnce(&dyn ItemDetailsStore) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let store = store.clone();
    match tokio::task::spawn_blocking(move || call(&*store)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(ProblemCode::Internal, "keeping item details failed")),
    }
}
