//! CloudEvents 1.0 in JSON, one or a batch, or with their attributes apart (binary mode): `source` and `id` make the id, `subject` is the item,
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
    check_version(&text(members.specversion, ProblemCode::InvalidJson, "specversion")?)?;
    let source = text(members.source, ProblemCode::InvalidId, "source")?;
    let id = text(members.id, ProblemCode::InvalidId, "id")?;
    let id = joined_id(&source, &id)?;
    let time = match members.time {
        None => None,
        Some(raw) => {
            let time = text(Some(raw), ProblemCode::InvalidTime, "time")?;
            Some(TimestampMs::parse_rfc3339(&time).map_err(time_fault)?)
        }
    };
    Ok(Draft {
        id: Some(id.into()),
        item: Some(text(members.subject, ProblemCode::InvalidItem, "subject")?),
        event_type: Some(text(members.event_type, ProblemCode::InvalidType, "type")?),
        time,
        value: data_value(members.data.map(RawValue::get))?,
        attributes: Vec::new(),
    })
}

/// The attributes of an event whose body is its data alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) version: String,
    pub(crate) id: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) time: Option<String>,
    /// Other data has no value.
    pub(crate) has_json_data: bool,
}

/// Offers the one event of these attributes, with the body as its data.
pub(crate) fn read_binary<S: EventSink>(
    attributes: &Attributes,
    data: &[u8],
    intake: &mut Intake<'_, S>,
) -> Result<(), BodyFault> {
    let data = if attributes.has_json_data { utf8(data)?.trim_ascii() } else { "" };
    if !data.is_empty() {
        serde_json::from_str::<serde::de::IgnoredAny>(data).map_err(not_json)?;
    }
    intake.take(binary_event(attributes, data))
}

fn binary_event<'a>(attributes: &'a Attributes, data: &str) -> Result<Draft<'a>, Fault> {
    let required = |text: &'a Option<String>, code, name| {
        let missing = || Fault::new(code, format!("the header `ce-{name}` is missing"));
        text.as_deref().ok_or_else(missing)
    };
    check_version(&attributes.version)?;
    let source = required(&attributes.source, ProblemCode::InvalidId, "source")?;
    let id = required(&attributes.id, ProblemCode::InvalidId, "id")?;
    let time = attributes.time.as_deref().map(TimestampMs::parse_rfc3339);
    Ok(Draft {
        id: Some(joined_id(source, id)?.into()),
        item: Some(required(&attributes.subject, ProblemCode::InvalidItem, "subject")?.into()),
        event_type: Some(
            required(&attributes.event_type, ProblemCode::InvalidType, "type")?.into(),
        ),
        time: time.transpose().map_err(time_fault)?,
        value: data_value(Some(data))?,
        attributes: Vec::new(),
    })
}

fn check_version(version: &str) -> Result<(), Fault> {
    if version == "1.0" {
        return Ok(());
    }
    Err(Fault::new(ProblemCode::InvalidJson, "the specversion must be \"1.0\""))
}

fn joined_id(source: &str, id: &str) -> Result<String, Fault> {
    if id.is_empty() || source.is_empty() {
        return Err(Fault::new(ProblemCode::InvalidId, "the id and source must not be empty"));
    }
    Ok(cloud_event_id(source, id))
}

/// The value in JSON data. Data that is no object has none; only a value that is no number is wrong.
fn data_value(data: Option<&str>) -> Result<Option<model::Value>, Fault> {
    let data = data.filter(|text| text.starts_with('{'));
    let data = data.map(serde_json::from_str::<Data<'_>>).transpose();
    match data.map_err(not_json)?.and_then(|data| data.value) {
        None => Ok(None),
        Some(raw) => value(raw).transpose(),
    }
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
