//! What a scenario plays on: a scratch folder of its own, a server, traffic, and a list of what was
//! done.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, bail};

use super::server::{Launch, Server, Start, command, last};
use super::traffic::Traffic;
use crate::load::Random;

/// What every scenario is given.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    pub(crate) launch: Launch,
    pub(crate) random: Random,
    /// There once a server has listened.
    pub(crate) traffic: Option<Rc<Traffic>>,
    /// Makes traffic to a server.
    pub(crate) open_traffic: Box<dyn Fn(api::client::Client) -> Traffic>,
    /// What was done, in plain words.
    pub(crate) done: Vec<String>,
}

/// What `tally log verify` says.
pub(crate) struct Verified {
    pub(crate) status: Option<i32>,
    pub(crate) findings: Vec<serde_json::Value>,
}

impl Stage {
    /// Writes down what was done.
    pub(crate) fn note(&mut self, done: impl Into<String>) {
        self.done.push(done.into());
    }

    /// Starts a server on the folder and waits until it is ready. Later starts take the port of the
    /// first, so that clients find it again.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start(&mut self) -> anyhow::Result<Server> {
        let mut server = self.listen().await?;
        server.until_ready().await?;
        Ok(server)
    }

    /// Starts a server that need not become ready.
    ///
    /// # Errors
    /// When it does not listen.
    pub(crate) async fn listen(&mut self) -> anyhow::Result<Server> {
        match self.launch.start().await? {
            Start::Serving(server) => {
                self.launch.port = server.port;
                if self.traffic.is_none() {
                    let traffic = (self.open_traffic)(server.client.clone());
                    self.traffic = Some(Rc::new(traffic));
                }
                Ok(*server)
            }
            Start::Refused(status, said) => {
                bail!("the server did not start ({status}); {}", last(&said))
            }
        }
    }

    /// The traffic to the server that was started.
    ///
    /// # Errors
    /// When none was.
    pub(crate) fn traffic(&self) -> anyhow::Result<Rc<Traffic>> {
        self.traffic.clone().context("no server was started")
    }

    /// Checks the log with the program's own tool.
    ///
    /// # Errors
    /// When it does not run or prints no report.
    pub(crate) async fn verify_log(&self) -> anyhow::Result<Verified> {
        let words: Vec<OsString> =
            [&self.launch.command[..], &["log".into(), "verify".into(), "--json".into()]].concat();
        let mut command = command(&words, &self.launch.run_in);
        let output = command.arg("--data-dir").arg(&self.launch.data_dir).output().await?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| last(&String::from_utf8_lossy(&output.stderr)))
            .context("`tally log verify` prints no report")?;
        let findings = report["findings"].as_array().cloned().unwrap_or_default();
        Ok(Verified { status: output.status.code(), findings })
    }
}
