//! Which server a command talks to, and the loop that waits for its answer.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use api::client::{Client, ClientError};

use crate::keys::Secret;

/// The server that is asked.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server
    #[arg(long, env = "TALLY_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) url: String,
    /// File with the key that opens the server [default: the environment's TALLY_KEY, where set]
    #[arg(long, env = "TALLY_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// File with the certificates to trust, PEM [default: those that the system trusts]
    #[arg(long, env = "TALLY_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// A longer file holds no key.
const KEY_FILE_BYTES_MAX: u64 = 4096;

impl ServerArgs {
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let usage = |error: ClientError| super::UsageError(error.to_string());
        let mut client = Client::new(&self.url).map_err(usage)?;
        if let Some(file) = &self.ca_file {
            let pem = std::fs::read(file)
                .with_context(|| format!("the file {} cannot be read", file.display()))?;
            client = client.with_ca_pem(&pem).map_err(usage)?;
        }
        Ok(match self.key()? {
            Some(key) => client.with_key(key.expose()).map_err(usage)?,
            None => client,
        })
    }

    /// The key to send. Never an argument: everybody on a machine can read those.
    pub(crate) fn key(&self) -> anyhow::Result<Option<Secret>> {
        let Some(file) = &self.key_file else {
            return Ok(std::env::var("TALLY_KEY").ok().and_then(|text| Secret::given(&text)));
        };
        let mut text = String::new();
        let read = File::open(file)
            .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text));
        read.with_context(|| format!("the key file {} cannot be read", file.display()))?;
        let key = Secret::given(&text)
            .with_context(|| format!("the key file {} holds no key", file.display()))?;
        Ok(Some(key))
    }
}

/// A single-threaded runtime: asking one question needs no more.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")
}

/// Asks, and prints the answer: as it is where JSON is wanted, else as the text made of it.
pub(crate) fn show<T: serde::de::DeserializeOwned>(
    server: &ServerArgs,
    path: &str,
    json: bool,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<super::Outcome> {
    let body = ask(server, path)?;
    if json {
        super::output::print_json(&body)?;
    } else {
        super::output::print(&text(&read(&server.url, &body)?))?;
    }
    Ok(super::Outcome::Good)
}

/// The server's answer to one GET.
pub(crate) fn ask(server: &ServerArgs, path: &str) -> anyhow::Result<bytes::Bytes> {
    let client = server.client()?;
    Ok(runtime()?.block_on(client.get(path))?)
}

/// Reads an answer of the contract.
pub(crate) fn read<T: serde::de::DeserializeOwned>(url: &str, body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body)
        .with_context(|| format!("{url} does not answer as Tally would; does it lead to Tally?"))
}
