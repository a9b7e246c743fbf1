//! A server as a child process on a scratch folder: started, killed, stopped, and heard.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use api::client::{Client, ClientError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long a start, a stop, or a change of state may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How soon a state is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// How long a killed process may take to be gone.
const DEATH: Duration = Duration::from_secs(5);
/// How much of what a server said is told when it fails.
const TOLD_BYTES: usize = 2000;

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program, or what starts it: everything before `serve`.
    pub(crate) command: Vec<OsString>,
    pub(crate) data_dir: PathBuf,
    /// Where what it says on standard error is kept.
    pub(crate) said: PathBuf,
    /// The folder it runs in, without a settings file.
    pub(crate) run_in: PathBuf,
    pub(crate) flags: Vec<OsString>,
    /// 0 takes a free port.
    pub(crate) port: u16,
}

/// A process that does not outlive this: killed when dropped, and then dead, so that its folder can
/// go.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.start_kill();
        let begun = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && begun.elapsed() < DEATH {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) client: Client,
    pub(crate) port: u16,
    said: Said,
    /// Goes on being held, so that the server never writes into a closed pipe.
    _stdout: Lines<BufReader<ChildStdout>>,
}

/// What became of a start.
#[derive(Debug)]
pub(crate) enum Start {
    /// It listens; it may not be ready yet.
    Serving(Box<Server>),
    /// It ended, with a status and what it said.
    Refused(ExitStatus, String),
}

/// What one process said on standard error.
#[derive(Debug)]
struct Said {
    file: PathBuf,
    from: u64,
}

impl Said {
    fn text(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.file).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.from))?;
            file.read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(its words cannot be read: {error})"),
        }
    }
}

/// A command of the program that neither the environment nor the folder's settings change.
pub(crate) fn command(words: &[OsString], run_in: &Path) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(run_in).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TALLY_") {
            command.env_remove(name);
        }
    }
    // Ctrl-C in the terminal is for the drill, which then ends its servers.
    command.process_group(0);
    command
}

impl Launch {
    /// Starts it and waits until it listens or has ended.
    pub(crate) async fn start(&self) -> anyhow::Result<Start> {
        let file = File::options().create(true).append(true).open(&self.said)?;
        let said = Said { file: self.said.clone(), from: file.metadata()?.len() };
        let mut command = command(&self.command, &self.run_in);
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{}", self.port), "--data-dir"])
            .arg(&self.data_dir)
            .args(&self.flags)
            .stdout(Stdio::piped())
            .stderr(file);
        let program = self.command[0].display();
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let mut process = Process(child);
        let stdout = process.0.stdout.take().context("the server's output is not piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.strip_prefix("listening on ") {
                    return Ok(Some(url.trim().to_owned()));
                }
            }
            Ok::<_, std::io::Error>(None)
        };
        let listening = tokio::time::timeout(PATIENCE, listening).await;
        let Some(url) = listening.context("the server does not say where it listens")?? else {
            let status = process.0.wait().await?;
            return Ok(Start::Refused(status, said.text()));
        };
        let client = Client::new(&url)?.with_timeout(Duration::from_secs(10));
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.with_context(|| format!("{url} has no port"))?;
        Ok(Start::Serving(Box::new(Server { process, client, port, said, _stdout: lines })))
    }
}

impl Server {
    /// Its process id.
    pub(crate) fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.process.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        id.context("the server has ended by itself")
    }

    /// What it has said on standard error.
    pub(crate) fn said(&self) -> String {
        self.said.text()
    }

    /// Whether it says that it is ready; the detail where it says why not.
    pub(crate) async fn readiness(&self) -> Result<(), String> {
        match self.client.get("/readyz").await {
            Ok(_) => Ok(()),
            Err(ClientError::Problem { problem, .. }) => Err(problem.detail),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits until it is ready.
    pub(crate) async fn until_ready(&mut self) -> anyhow::Result<()> {
        self.until("ready", async |server| server.readiness().await.is_ok()).await
    }

    /// Waits until it says that it is not ready; gives its reason.
    pub(crate) async fn until_not_ready(&mut self, part: &str) -> anyhow::Result<()> {
        let what = format!("not ready because of `{part}`");
        self.until(&what, async |server| {
            server.readiness().await.is_err_and(|detail| detail.contains(part))
        })
        .await
    }

    /// Asks again and again until it holds.
    ///
    /// # Errors
    /// When patience ends, or the server does.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut holds: impl AsyncFnMut(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !holds(self).await {
            if let Some(status) = self.process.0.try_wait()? {
                bail!("the server ended ({status}) before it was {what}; {}", last(&self.said()));
            }
            if begun.elapsed() > PATIENCE {
                let now = self.readiness().await.err().unwrap_or_else(|| "ready".into());
                bail!(
                    "the server was not {what} within {PATIENCE:?} (it is: {now}); {}",
                    last(&self.said())
                );
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.process.0.kill().await.context("cannot kill the server")
    }

    /// Asks it to stop, as SIGTERM does, and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<(ExitStatus, String)> {
        kill_process(self.pid()?, Signal::TERM)?;
        let ended = tokio::time::timeout(PATIENCE, self.process.0.wait()).await;
        let status = ended.context("the server does not stop")??;
        Ok((status, self.said()))
    }
}

/// The end of what a server said.
pub(crate) fn last(said: &str) -> String {
    let said = said.trim_end();
    let from = said.len().saturating_sub(TOLD_BYTES);
    let from = (from..said.len()).find(|&at| said.is_char_boundary(at)).unwrap_or(from);
    if said.is_empty() { "it said nothing".into() } else { format!("it said:\n{}", &said[from..]) }
}
