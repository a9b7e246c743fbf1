//! Which server a command talks to, and the loop that waits for its answer.

use anyhow::Context;
use api::client::Client;

/// The server that is asked.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server
    #[arg(long, env = "TALLY_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) url: String,
}

impl ServerArgs {
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.url).map_err(|error| super::UsageError(error.to_string()).into())
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
