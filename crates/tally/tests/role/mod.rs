//! A gateway, a processor or a query node as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::server::{TALLY, wait_for};

/// A role's process; killed when dropped.
pub(crate) struct Role {
    child: Child,
    pub(crate) url: String,
}

impl Role {
    pub(crate) fn start(role: &str, port: u16, data_dir: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(TALLY)
            .args([role, "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(data_dir)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = lines.next().expect("it says where it listens").expect("it is text");
        let url = line.strip_prefix("listening on ").expect("its address").to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        let role = Self { child, url };
        wait_for("the role is ready", || role.get("/readyz").is_some());
        role
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let output =
            Command::new("curl").args(["-sf", "-m", "10", &format!("{}{path}", self.url)]).output();
        let output = output.expect("curl runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// How far the partitions of a processor are.
    pub(crate) fn partitions(&self) -> Vec<Value> {
        let text = self.get("/v1/admin/partitions").unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        answer["partitions"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn counted(&self) -> u64 {
        self.partitions().iter().map(|partition| partition["counted"].as_u64().unwrap_or(0)).sum()
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as SIGTERM does; whether its exit status is 0.
    pub(crate) fn stop(mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
        self.child.wait().expect("it ends").success()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> u16 {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.port()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
