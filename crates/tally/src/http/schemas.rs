//! The Avro schema of events in the shapes of Confluent's schema registry, so that its clients can
//! read it here. There is one subject with one version, and nothing can be registered.

use api::ProblemCode;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use model::record::EVENT_SCHEMA;
use serde::Serialize;

use super::Routes;
use super::problem::{Failure, json};

/// The subject of events.
const SUBJECT: &str = "tally-events-value";
const SCHEMA_ID: &str = "1";
const VERSION: u32 = 1;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add("/subjects", &["GET"], get(async || json(StatusCode::OK, &[SUBJECT])))
        .add("/schemas/ids/{id}", &["GET"], get(by_id))
        .add("/subjects/{subject}/versions/{version}", &["GET"], get(by_version))
}

#[derive(Serialize)]
struct SchemaAnswer {
    #[serde(rename = "schemaType")]
    schema_type: &'static str,
    schema: &'static str,
}

#[derive(Serialize)]
struct VersionAnswer {
    subject: &'static str,
    id: u32,
    version: u32,
    #[serde(flatten)]
    schema: SchemaAnswer,
}

const SCHEMA: SchemaAnswer = SchemaAnswer { schema_type: "AVRO", schema: EVENT_SCHEMA };

async fn by_id(Path(id): Path<String>) -> Result<Response, Failure> {
    if id == SCHEMA_ID { Ok(json(StatusCode::OK, &SCHEMA)) } else { Err(unknown("schema id", &id)) }
}

async fn by_version(Path((subject, version)): Path<(String, String)>) -> Result<Response, Failure> {
    if subject != SUBJECT {
        return Err(unknown("subject", &subject));
    }
    if version != "1" && version != "latest" {
        return Err(unknown("version", &version));
    }
    let answer = VersionAnswer { subject: SUBJECT, id: 1, version: VERSION, schema: SCHEMA };
    Ok(json(StatusCode::OK, &answer))
}

fn unknown(what: &str, name: &str) -> Failure {
    let detail =
        format!("there is no {what} `{name}`; the subject is {SUBJECT}, version 1, schema id 1");
    Failure::new(ProblemCode::NotFound, detail)
}
