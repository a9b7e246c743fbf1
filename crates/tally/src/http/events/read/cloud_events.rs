//! CloudEvents 1.0 in JSON, one or a batch: `source` and `id` make the id, `subject` is the item,
//! `type` the event type, `data.value` the value. Extension attributes are ignored.

use std::borrow::Cow;

use api::ProblemCode;
use model::TimestampMs;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{each_element, not_json, time_fault, utf8, value};
use super::{BodyFault, Draft, EventSink, Fault, Intake, cloud_event_id};

/// Offers the one event of an `application/cloudevents+json` body.
pub(crate) fn read_one<S: EventSink>(
    body: &[u8],
    intake: &mut Intake<'_, S>,
) -> Result<(), BodyFault> {
    let body = utf8(body)?;
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    serde_json::from_str::<serde::de::IgnoredAny>(body).map_err(not_json)?;
    intake.take(event(body))
}

/// Offers every event of an `application/cloudevents-batch+json` body.
pub(crate) fn read_batch<S: EventSink>(
    body: &[u8],
    intake: &mut Intake<'_, S>,
) -> Result<(), BodyFault> {
    let body = utf8(body)?;
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    each_element(body, |element| intake.take(event(element)))
}

/// The members that matter. Each is kept as it was sent, so that a wrong one gets its own code.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    subject: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

fn event(json: &str) -> Result<Draft<'_>, Fault> {
    let members: Members<'_> = serde_json::from_str(json).map_err(not_json)?;
    let version = text(members.specversion, ProblemCode::InvalidJson, "specversion")?;
    if version != "1.0" {
        return Err(Fault::new(ProblemCode::InvalidJson, "the specversion must be \"1.0\""));
    }
    let source = text(members.source, ProblemCode::InvalidId, "source")?;
    let id = text(members.id, ProblemCode::InvalidId, "id")?;
    if id.is_empty() || source.is_empty() {
        return Err(Fault::new(ProblemCode::InvalidId, "the id and source must not be empty"));
    }
    let time = match members.time {
        None => None,
        Some(raw) => {
            let time = text(Some(raw), ProblemCode::InvalidTime, "time")?;
            Some(TimestampMs::parse_rfc3339(&time).map_err(time_fault)?)
        }
    };
    // Data that is no object has no value; only a value that is no number is wrong.
    let data = members.data.filter(|raw| raw.get().starts_with('{'));
    let data = data.map(|raw| serde_json::from_str::<Data<'_>>(raw.get())).transpose();
    let value = match data.map_err(not_json)?.and_then(|data| data.value) {
        None => None,
        Some(raw) => value(raw).transpose()?,
    };
    Ok(Draft {
        id: Some(cloud_event_id(&source, &id).into()),
        item: Some(text(members.subject, ProblemCode::InvalidItem, "subject")?),
        event_type: Some(text(members.event_type, ProblemCode::InvalidType, "type")?),
        time,
        value,
        attributes: Vec::new(),
    })
}

/// A member that must be a string.
fn text<'a>(
    raw: Option<&'a RawValue>,
    code: ProblemCode,
    name: &str,
) -> Result<Cow<'a, str>, Fault> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text = raw.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok());
    text.map(|text| text.0).ok_or_else(|| {
        Fault::new(code, format!("the CloudEvents member `{name}` must be a string"))
    })
}
