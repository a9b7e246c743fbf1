//! A server on a scratch folder, and the commands that talk to it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program under test.
pub(crate) const TALLY: &str = env!("CARGO_BIN_EXE_tally");

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `tally serve`; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

/// The folder beside the checkout that holds the real data.
pub(crate) fn data_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    assert!(path.exists(), "the real data is missing: {}", path.display());
    path
}

/// What the data's README promises of a file.
pub(crate) fn truth(name: &str) -> Value {
    let text = std::fs::read_to_string(data_file(&format!("{name}.truth.json"))).expect("a truth");
    serde_json::from_str(&text).expect("a truth is JSON")
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Server {
    /// Starts a server on any free port and waits until it is ready.
    pub(crate) fn start(data_dir: &Path, flags: &[&str]) -> Self {
        Self::start_on(0, data_dir, flags)
    }

    /// Starts a server on this port and waits until it is ready.
    pub(crate) fn start_on(port: u16, data_dir: &Path, flags: &[&str]) -> Self {
        Self::start_as(Command::new(TALLY), port, data_dir, flags)
    }

    /// Starts a server by the program, or by what runs it, and waits until it is ready.
    pub(crate) fn start_as(program: Command, port: u16, data_dir: &Path, flags: &[&str]) -> Self {
        Self::start_part(program, "serve", port, data_dir, flags)
    }

    /// Starts what one of the program's commands serves.
    pub(crate) fn start_part(
        mut program: Command,
        command: &str,
        port: u16,
        data_dir: &Path,
        flags: &[&str],
    ) -> Self {
        let mut child = program
            .args([command, "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(data_dir)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let url = loop {
            let line = lines.next().expect("it says where it listens").expect("it is text");
            if let Some((_, address)) = line.split_once("http://") {
                break format!("http://{}", address.trim());
            }
        };
        // Goes on reading, so that the server never writes into a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { child, url };
        server.wait_for("the server is ready", || server.get("/readyz").is_some());
        server
    }

    /// The server's process, which is that of what ran it where that gave way to it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Asks the process to stop, as SIGTERM does; whether it exits with status 0.
    pub(crate) fn stop(mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
        self.child.wait().expect("it ends").success()
    }

    /// The body of a path, where the answer is 200.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        get(&self.url, path)
    }

    /// A command with `--json` against this server.
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        let output = self.tally(args, &["--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "tally {args:?}: {text} {:?}", output.stderr);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("tally {args:?} printed {text}"))
    }

    /// Any command against this server.
    pub(crate) fn tally(&self, args: &[&str], more: &[&str]) -> Output {
        let command =
            Command::new(TALLY).args(args).args(more).env("TALLY_URL", &self.url).output();
        command.expect("the command runs")
    }

    /// Waits until something is true.
    pub(crate) fn wait_for(&self, what: &str, is_true: impl FnMut() -> bool) {
        wait_for(what, is_true);
    }

    /// The value of a metric, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").unwrap_or_default();
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}

/// Looks again and again until something is true, or fails.
pub(crate) fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn get(url: &str, path: &str) -> Option<String> {
    let output =
        Command::new("curl").args(["-sf", "-m", "10"]).arg(format!("{url}{path}")).output();
    let output = output.expect("curl runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
