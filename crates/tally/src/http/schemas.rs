//! The Avro schema of events in the shapes of Confluent's schema registry, so that its clients can
//! read it here. There is one subject with one version, and nothing can be registered. Parameters that
//! those clients add (`deleted`, `format`, …) choose nothing among one, and are not looked at.

use api::ProblemCode;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::record::EVENT_SCHEMA;
use serde::Serialize;

use super::Routes;
use super::problem::{Failure, json};

/// The subject of events.
const SUBJECT: &str = "tally-events-value";
const SCHEMA_ID: u32 = 1;
const VERSION: u32 = 1;
/// What a version may be called that is the newest.
const NEWEST: [&str; 2] = ["latest", "-1"];
/// What clients of the registry name their media types with; they read no problem documents.
const REGISTRY_TYPE: &str = "application/vnd.schemaregistry";

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add("/subjects", &["GET"], get(async || json(StatusCode::OK, &[SUBJECT])))
        .add("/subjects/{subject}/versions", &["GET"], get(versions))
        .add("/subjects/{subject}/versions/{version}", &["GET"], get(by_version))
        .add("/schemas/ids/{id}", &["GET"], get(by_id))
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

type Named<T> = Result<Path<T>, PathRejection>;

/// What a path that is no UTF-8 names: nothing that is here.
const UNREADABLE: &str = "\u{fffd}";

async fn versions(path: Named<String>, headers: HeaderMap) -> Response {
    let subject = path.map_or_else(|_| UNREADABLE.to_owned(), |Path(subject)| subject);
    match subject == SUBJECT {
        true => json(StatusCode::OK, &[VERSION]),
        false => Unknown::Subject(subject).answer(&headers),
    }
}

async fn by_version(path: Named<(String, String)>, headers: HeaderMap) -> Response {
    let unreadable = |_| (UNREADABLE.to_owned(), UNREADABLE.to_owned());
    let (subject, version) = path.map_or_else(unreadable, |Path(names)| names);
    if subject != SUBJECT {
        return Unknown::Subject(subject).answer(&headers);
    }
    if version.parse() != Ok(VERSION) && !NEWEST.contains(&version.as_str()) {
        return Unknown::Version(version).answer(&headers);
    }
    let (id, version) = (SCHEMA_ID, VERSION);
    json(StatusCode::OK, &VersionAnswer { subject: SUBJECT, id, version, schema: SCHEMA })
}

async fn by_id(path: Named<String>, headers: HeaderMap) -> Response {
    let id = path.map_or_else(|_| UNREADABLE.to_owned(), |Path(id)| id);
    match id.parse() == Ok(SCHEMA_ID) {
        true => json(StatusCode::OK, &SCHEMA),
        false => Unknown::Schema(id).answer(&headers),
    }
}

/// What is not here, by its name.
enum Unknown {
    Subject(String),
    Version(String),
    Schema(String),
}

/// An error as the registry writes it.
#[derive(Serialize)]
struct RegistryError {
    error_code: u32,
    message: String,
}

impl Unknown {
    /// A problem, or for clients of the registry what they know.
    fn answer(self, headers: &HeaderMap) -> Response {
        let (what, name, error_code) = match self {
            Self::Subject(name) => ("subject", name, 40_401),
            Self::Version(name) => ("version", name, 40_402),
            Self::Schema(name) => ("schema id", name, 40_403),
        };
        let message = format!(
            "there is no {what} `{name}`; the subject is {SUBJECT}, version {VERSION}, schema id {SCHEMA_ID}"
        );
        if !speaks_registry(headers) {
            return Failure::new(ProblemCode::NotFound, message).into_response();
        }
        let mut response = json(StatusCode::NOT_FOUND, &RegistryError { error_code, message });
        let kind = HeaderValue::from_static("application/vnd.schemaregistry.v1+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// Some clients name the type as what they take, others as what they send, though they send nothing.
fn speaks_registry(headers: &HeaderMap) -> bool {
    let names = [header::ACCEPT, header::CONTENT_TYPE];
    let mut named = names.iter().flat_map(|name| headers.get_all(name));
    named.any(|value| value.to_str().is_ok_and(|text| text.contains(REGISTRY_TYPE)))
}
