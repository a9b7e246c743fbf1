//! `POST /v1/items/{item}/events`: one event with no body, for `curl` and for hooks that can only
//! call a URL. In the path the item is percent-encoded and `+` is a plus; in the query `+` is a
//! space, as in HTML forms.

use std::borrow::Cow;
use std::sync::Arc;

use api::ProblemCode;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::Response;

use super::read::{Draft, Intake};
use super::{Ingest, charge, ids, stamp};
use crate::http::door::{Admitted, KEY_PARAMETER};
use crate::http::items::item_of;
use crate::http::params::Params;
use crate::http::problem::Failure;

/// What the name of a parameter begins with that is an attribute: `attr.country=DE`.
const ATTRIBUTE_PREFIX: &str = "attr.";

pub(super) async fn post_event(
    State(ingest): State<Arc<Ingest>>,
    item: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let item = item_of(item)?;
    let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        let detail = "this path takes no body; use POST /v1/events for event objects";
        return Err(Failure::parameter(detail).closing());
    }
    let is_known = |name: &str| {
        matches!(name, "type" | "value" | "id" | "time" | KEY_PARAMETER)
            || name.starts_with(ATTRIBUTE_PREFIX)
    };
    let known = || "type, value, id, time and attr.NAME".to_owned();
    let params = Params::read(request.uri().query(), is_known, known)?;
    let time = params
        .one("time")?
        .map(model::TimestampMs::parse)
        .transpose()
        .map_err(|error| Failure::new(ProblemCode::InvalidTime, error.to_string()))?;
    let attributes = params.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(ATTRIBUTE_PREFIX)?;
        Some((Cow::Borrowed(name), Cow::Borrowed(value)))
    });
    let draft = Draft {
        id: params.one("id")?.map(Cow::Borrowed),
        item: Some(item.into()),
        event_type: params.one("type")?.map(Cow::Borrowed),
        time,
        value: params.value("value")?,
        attributes: attributes.collect(),
    };
    let admitted = request.extensions().get::<Admitted>().cloned();
    let ids = ids(request.headers())?;
    let stamp = stamp::stamp(request.headers())?;
    let mut batch = stamp::begin(&ingest.gateway, stamp)?;
    let mut intake = Intake::new(&mut batch, ids);
    intake.take(Ok(draft))?;
    let verdicts = intake.finish();
    let code = verdicts.rejections.first().map(|rejection| rejection.fault.code);
    charge(admitted.as_ref(), 1)?;
    let outcome = ingest.commit(batch).await?;
    ingest.answer(verdicts, &outcome, code)
}
