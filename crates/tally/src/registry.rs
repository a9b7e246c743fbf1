//! Schemas of those who write events into a log themselves, from a schema registry that speaks as
//! Confluent's does. A schema never changes under its id, so each is asked for once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use api::client::{Client, ClientError};
use model::record::EVENT_SCHEMA;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::http::events::read::avro::WriterSchema;
use crate::http::events::read::foreign::{RegistryAway, Schemas};

/// Schemas that are remembered; beyond them all are asked for again.
const KNOWN_MAX: usize = 4_096;
/// A registry that did not answer is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Registry {
    /// The schema that we write with, and its id.
    own: (u32, Arc<WriterSchema>),
    /// None where no registry is set: then no schema but ours is known.
    remote: Option<Remote>,
}

struct Remote {
    client: Client,
    state: Mutex<State>,
}

struct State {
    runtime: tokio::runtime::Runtime,
    /// None of an id that the registry does not have, or whose schema does not resolve to ours.
    known: HashMap<u32, Option<Arc<WriterSchema>>>,
    failed_at: Option<Instant>,
}

/// What the registry answers.
#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType", default)]
    schema_type: Option<String>,
}

impl Registry {
    /// With the registry at a URL, if any; our own schema has an id in it.
    ///
    /// # Errors
    /// Where the URL cannot be used.
    pub(crate) fn new(own_id: u32, url: Option<&str>) -> anyhow::Result<Self> {
        let own = WriterSchema::resolve(EVENT_SCHEMA).context("the schema of events")?;
        let open = |url: &str| {
            let client = Client::new(url.trim_end_matches('/'))
                .with_context(|| format!("the schema registry {url} cannot be used"))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let state = State { runtime, known: HashMap::new(), failed_at: None };
            anyhow::Ok(Remote { client, state: Mutex::new(state) })
        };
        Ok(Self { own: (own_id, Arc::new(own)), remote: url.map(open).transpose()? })
    }
}

impl Schemas for Registry {
    fn get(&self, id: u32) -> Result<Option<Arc<WriterSchema>>, RegistryAway> {
        if id == self.own.0 {
            return Ok(Some(self.own.1.clone()));
        }
        self.remote.as_ref().map_or(Ok(None), |remote| remote.get(id))
    }
}

impl Remote {
    fn get(&self, id: u32) -> Result<Option<Arc<WriterSchema>>, RegistryAway> {
        let mut state = self.state.lock();
        if let Some(known) = state.known.get(&id) {
            return Ok(known.clone());
        }
        if state.failed_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(RegistryAway);
        }
        let asked = state.runtime.block_on(self.client.get(&format!("/schemas/ids/{id}")));
        let answered = match asked {
            Ok(bytes) => serde_json::from_slice::<Answer>(&bytes).ok(),
            Err(error) if is_not_found(&error) => None,
            Err(error) => {
                tracing::warn!(
                    schema = id,
                    error = &error as &dyn std::error::Error,
                    "the schema registry does not answer; what was written with its schemas waits"
                );
                state.failed_at = Some(Instant::now());
                return Err(RegistryAway);
            }
        };
        state.failed_at = None;
        let avro = answered.filter(|answer| {
            answer.schema_type.as_deref().is_none_or(|schema_type| schema_type == "AVRO")
        });
        let schema =
            avro.and_then(|answer| WriterSchema::resolve(&answer.schema).ok()).map(Arc::new);
        if schema.is_none() {
            tracing::warn!(
                schema = id,
                "the schema registry has no schema of this id that says what an event is"
            );
        }
        if state.known.len() >= KNOWN_MAX {
            state.known.clear();
        }
        state.known.insert(id, schema.clone());
        Ok(schema)
    }
}

fn is_not_found(error: &ClientError) -> bool {
    match error {
        ClientError::Problem { problem, .. } => problem.status == 404,
        ClientError::UnexpectedStatus { status, .. } => *status == 404,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers requests one after the other, and tells what was asked.
    fn serve(answers: Vec<(u16, &'static str)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().expect("a request");
                let reader = BufReader::new(stream.try_clone().expect("a stream"));
                let mut lines = reader.lines().map(|line| line.expect("a line"));
                asked.push(lines.next().expect("a first line"));
                lines.find(String::is_empty);
                let len = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status} Said\r\nContent-Type: application/vnd.schemaregistry.v1+json\r\n\
                     Connection: close\r\nContent-Length: {len}\r\n\r\n{body}"
                )
                .expect("written");
            }
            asked
        });
        (url, serving)
    }

    #[test]
    fn a_schema_is_asked_for_once_and_one_that_is_not_there_too() {
        let play = r#"{"schema":"{\"type\":\"record\",\"name\":\"P\",\"fields\":[{\"name\":\"item\",\"type\":\"string\"}]}"}"#;
        let (url, serving) = serve(vec![
            (200, play),
            (404, r#"{"error_code":40403,"message":"Schema not found"}"#),
            (200, r#"{"schemaType":"JSON","schema":"{}"}"#),
        ]);
        let registry = Registry::new(5, Some(&url)).expect("a registry");
        for _ in 0..2 {
            assert!(registry.get(5).expect("ours").is_some());
            assert!(registry.get(1).expect("answered").is_some());
            assert!(registry.get(2).expect("answered").is_none());
            assert!(registry.get(3).expect("answered").is_none());
        }
        let asked = serving.join().expect("no panic");
        assert_eq!(asked, [1, 2, 3].map(|id| format!("GET /schemas/ids/{id} HTTP/1.1")));
    }

    #[test]
    fn a_registry_that_does_not_answer_says_nothing() {
        let (url, serving) = serve(vec![(500, "oh")]);
        let registry = Registry::new(1, Some(&url)).expect("a registry");
        assert_eq!(registry.get(2).err(), Some(RegistryAway));
        serving.join().expect("no panic");
        // Left alone for a moment, it is not asked at all.
        assert_eq!(registry.get(2).err(), Some(RegistryAway));
        let none = Registry::new(1, None).expect("no registry");
        assert!(none.get(2).expect("nobody to ask").is_none());
        assert!(Registry::new(1, Some("nowhere")).is_err());
    }
}
