//! What this process uses of the machine, as Linux tells it in `/proc`, and how many files it may open.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files of the log, the store and the archive that are open beside connections, generously.
const OWN_FILES: u64 = 1_024;

/// Raises the number of files that this process may have open to what the system allows it: what it
/// starts with is often a tenth of the connections that it serves. How many that are, where they are
/// bounded.
pub(crate) fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    match setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }) {
        Ok(()) => current,
        Err(_) => limit.current,
    }
}

/// As [`raise_file_limit`], for a server of so many connections; says so where it is too few for them.
pub(crate) fn allow_connections(connections: usize) {
    let needed = (connections as u64).saturating_add(OWN_FILES);
    if let Some(allowed) = raise_file_limit().filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "connections_max needs more open files than are allowed; raise LimitNOFILE or `ulimit -n`, or lower it"
        );
    }
}

/// Numbers of a moment. What cannot be read is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all threads since the start.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    /// None where there is no bound.
    pub(crate) open_files_max: Option<u64>,
    /// In seconds since 1970.
    pub(crate) started_seconds: Option<f64>,
}

/// What this process uses now.
pub(crate) fn usage() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let ticks = stat.as_deref().and_then(cpu_ticks);
    let machine = fs::read_to_string("/proc/stat").ok();
    let start_ticks = stat.as_deref().and_then(start_ticks);
    let boot = machine.as_deref().and_then(boot_seconds);
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let statm = fs::read_to_string("/proc/self/statm").ok();
    Usage {
        cpu_seconds: ticks.map(|ticks| ticks as f64 / ticks_per_second),
        open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        started_seconds: start_ticks
            .zip(boot)
            .map(|(ticks, boot)| boot as f64 + ticks as f64 / ticks_per_second),
        resident_bytes: statm
            .as_deref()
            .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
            .map(|pages| pages.saturating_mul(rustix::param::page_size() as u64)),
        // The listing itself has one open.
        open_files: fs::read_dir("/proc/self/fd").ok().map(|dir| (dir.count() as u64).max(1) - 1),
    }
}

/// What threads of the machine wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scarce {
    Processor,
    Disk,
}

/// For how many seconds since the machine's start some thread of it waited for this, where the kernel
/// counts that.
pub(crate) fn wait_seconds(scarce: Scarce) -> Option<f64> {
    let file = match scarce {
        Scarce::Processor => "/proc/pressure/cpu",
        Scarce::Disk => "/proc/pressure/io",
    };
    total_micros(&fs::read_to_string(file).ok()?).map(|micros| micros as f64 / 1e6)
}

/// User and system ticks of a line of `/proc/…/stat`. The name in it may have blanks and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// When the process started, in ticks since the machine did.
fn start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// When the machine started, in seconds since 1970, as `/proc/stat` tells it.
fn boot_seconds(machine: &str) -> Option<u64> {
    machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn total_micros(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find(|line| line.starts_with("some "))?;
    line.rsplit_once("total=")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 5 0 99";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!((cpu_ticks("7 (a"), start_ticks("7 (a")), (None, None));
        assert_eq!(start_ticks(stat), Some(99));
        assert_eq!(boot_seconds("cpu 1 2\nbtime 1795255200\nprocesses 3\n"), Some(1_795_255_200));
        let pressure =
            "some avg10=0.90 avg60=3.37 avg300=4.21 total=957580898\nfull avg10=0 total=2";
        assert_eq!(total_micros(pressure), Some(957_580_898));
        assert_eq!(total_micros(""), None);
    }

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        let allowed = raise_file_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, limit.current), (limit.maximum, allowed));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{usage:?}");
        assert!(usage.open_files.is_some_and(|files| (1..100_000).contains(&files)), "{usage:?}");
        assert!(usage.cpu_seconds.is_some(), "{usage:?}");
        assert!(usage.started_seconds.is_some_and(|seconds| seconds > 1.7e9), "{usage:?}");
    }
}
