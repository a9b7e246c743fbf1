//! A process under test: started on a free port and a scratch folder, measured from `/proc`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to count or archive what it has accepted.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(360);

/// A running server; ends with its owner.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    data: Option<tempfile::TempDir>,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time in seconds.
    pub(crate) cpu_s: f64,
    /// Resident memory now and at its peak, in bytes.
    pub(crate) rss: u64,
    pub(crate) rss_peak: u64,
}

/// Bytes of disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskUse {
    /// Of the log and the counters.
    pub(crate) hot: u64,
    /// Of raw events in the archive.
    pub(crate) archive: u64,
}

impl Server {
    /// Starts `tally serve` on a new data folder below `scratch`.
    pub(crate) fn tally(program: &Path, scratch: &Path, flags: &[&str]) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("tally-bench").tempdir_in(scratch)?;
        Self::on(Some(data), program, flags)
    }

    /// Stops the server and starts it again on its data, with other flags.
    pub(crate) fn restart(mut self, program: &Path, flags: &[&str]) -> Result<Self> {
        let data = self.data.take();
        self.stop()?;
        let server = Self::on(data, program, flags)?;
        // It answers when its log is replayed.
        server.wait_until_counted()?;
        Ok(server)
    }

    /// Starts the server again on the data of one that was killed; returns when it listens.
    pub(crate) fn restart_killed(mut self, program: &Path) -> Result<Self> {
        let data = self.data.take();
        self.child.wait()?;
        Self::on(data, program, &[])
    }

    fn on(data: Option<tempfile::TempDir>, program: &Path, flags: &[&str]) -> Result<Self> {
        let folder = data.as_ref().context("the server has a data folder")?.path().join("d");
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder);
        command.args(flags);
        Self::start(command, data)
    }

    /// Starts the empty handler, which is this program again, beside so many cores' worth of work.
    pub(crate) fn empty(busy_cores: f64) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["empty", "--busy", &busy_cores.to_string()]);
        Self::start(command, None)
    }

    /// Starts the empty handler, which appends what is posted to a file.
    pub(crate) fn keeping(file: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["empty", "--keep"]).arg(file);
        Self::start(command, None)
    }

    fn start(mut command: Command, data: Option<tempfile::TempDir>) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::inherit()).stdin(Stdio::null());
        let mut child = command
            .env("TALLY_LOG_LEVEL", "warn")
            .spawn()
            .context("the server cannot be started")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        for line in &mut lines {
            let line = line?;
            if let Some((_, address)) = line.split_once("http://") {
                let url = format!("http://{}", address.trim());
                // Goes on reading, so that the server never writes into a closed pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, url, data });
            }
        }
        bail!("the server ended before it said where it listens");
    }

    /// What the process has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let pid = self.child.id();
        let [user, system, _, _] = cpu_s(&format!("/proc/{pid}/stat"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or("");
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        Ok(Usage { cpu_s: user + system, rss: kib("VmRSS:") << 10, rss_peak: kib("VmHWM:") << 10 })
    }

    /// Files and sockets that the process has open.
    pub(crate) fn open_files(&self) -> Result<u64> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count() as u64)
    }

    /// Waits until everything that was accepted is counted.
    pub(crate) fn wait_until_counted(&self) -> Result<()> {
        let is_counted = |partition: &serde_json::Value| partition["lag_events"] == 0;
        self.wait_for_partitions(is_counted).context("counting does not catch up")
    }

    /// Waits until every raw file that is full is in the archive.
    pub(crate) fn wait_until_archived(&self) -> Result<()> {
        const FILE_OFFSETS: u64 = 1 << 20;
        let is_archived = |partition: &serde_json::Value| {
            let of = |name: &str| partition[name].as_u64().unwrap_or(0);
            of("archived_offset") >= of("durable_offset") / FILE_OFFSETS * FILE_OFFSETS
        };
        self.wait_for_partitions(is_archived).context("the archive does not catch up")
    }

    /// Waits until it does nothing that is worth mentioning: what was left for later is done, merges of counters too.
    pub(crate) fn wait_until_idle(&self) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(500);
        const IDLE_CPU_S: f64 = 0.03;
        let (begun, mut before, mut idle) = (Instant::now(), self.usage()?.cpu_s, 0);
        while begun.elapsed() < CAUGHT_UP_WITHIN {
            std::thread::sleep(LOOK);
            let now = self.usage()?.cpu_s;
            idle = if now - before < IDLE_CPU_S { idle + 1 } else { 0 };
            if idle == 3 {
                return Ok(());
            }
            before = now;
        }
        bail!("it works on after {} s", CAUGHT_UP_WITHIN.as_secs())
    }

    /// Waits until this is true of every partition.
    fn wait_for_partitions(&self, is_done: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
        let path = format!("{}/v1/admin/partitions", self.url);
        let begun = Instant::now();
        while begun.elapsed() < CAUGHT_UP_WITHIN {
            let output = Command::new("curl").args(["-sf", "-m", "10", &path]).output()?;
            let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            let partitions = answer["partitions"].as_array().context("a list of partitions")?;
            if partitions.iter().all(&is_done) {
                return Ok(());
            }
            // A hundredth of what was waited is precise enough, and asking takes half a core.
            let pause = (begun.elapsed() / 100).max(Duration::from_millis(5));
            std::thread::sleep(pause);
        }
        bail!("not within {} s", CAUGHT_UP_WITHIN.as_secs())
    }

    /// Where its data lies.
    pub(crate) fn data_dir(&self) -> Result<PathBuf> {
        Ok(self.data.as_ref().context("the server has a data folder")?.path().join("d"))
    }

    /// Stops the server; bytes that its data takes on disk then, reserved room left out.
    pub(crate) fn stop_and_measure(mut self) -> Result<DiskUse> {
        let data = self.data.take().context("the server has a data folder")?;
        self.stop()?;
        let archive = data.path().join("d/archive");
        let archive = if archive.exists() { written_bytes(&archive)? } else { 0 };
        Ok(DiskUse { hot: written_bytes(data.path())? - archive, archive })
    }

    /// Ends the server as a machine that fails would.
    pub(crate) fn kill(&self) {
        // It may have ended by itself, which shows elsewhere.
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds that processes which this one started, and which have ended, have worked.
pub(crate) fn children_cpu_s() -> Result<f64> {
    let [_, _, user, system] = cpu_s("/proc/self/stat")?;
    Ok(user + system)
}

/// Seconds that a process has worked in user and system mode, and those of its children that ended.
fn cpu_s(stat: &str) -> Result<[f64; 4]> {
    let stat = std::fs::read_to_string(stat)?;
    // The name, which may hold anything, ends with the last bracket.
    let (_, fields) = stat.rsplit_once(')').context("a line of /proc")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(4).map(str::parse).collect::<Result<_, _>>()?;
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let seconds: Vec<f64> = ticks.into_iter().map(|ticks| ticks as f64 / per_second).collect();
    seconds.try_into().ok().context("a line of /proc has four times of work")
}

/// Seconds that all cores together have worked since the machine started.
pub(crate) fn machine_cpu_s() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("a line of /proc")?;
    let (_, ticks) = line.split_once(' ').context("the line of all cores")?;
    let ticks: Vec<u64> = ticks.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else {
        bail!("/proc/stat does not say what the cores did")
    };
    let worked = user + nice + system + irq + softirq;
    Ok(worked as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Bytes below a folder that are not zero at the end of a file: segments are reserved in advance,
/// and what they do not hold yet is no cost of an event.
fn written_bytes(folder: &Path) -> Result<u64> {
    let mut total = 0;
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = std::fs::read(entry.path())?;
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                total += used as u64;
            }
        }
    }
    Ok(total)
}
