//! The machine: its kernel, memory, limits and addresses.

use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::config::units::format_size;
use crate::config::{Machine, Resolved};
use crate::tables;

/// Memory for bodies of requests and for what does not grow: code, stacks, caches of the store.
const BASE_BYTES: u64 = 768 << 20;
/// Files beside connections: of the program itself, and of each partition.
const FILES_BASE: u64 = 256;
const FILES_PER_PARTITION: u64 = 16;
/// Below this a few dozen clients are too many.
const FILES_MIN: u64 = 1_024;
/// The oldest kernel that all this was ever tried on.
const KERNEL_MIN: (u32, u32) = (4, 19);

pub(super) fn kernel() -> Finding {
    let name = rustix::system::uname();
    let (system, release) = (name.sysname().to_string_lossy(), name.release().to_string_lossy());
    judge_kernel(&system, &release)
}

fn judge_kernel(system: &str, release: &str) -> Finding {
    const CHECK: &str = "kernel";
    let found = format!("{system} {release}");
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    let (major, minor) = KERNEL_MIN;
    match version {
        Some(version) if system == "Linux" && version >= KERNEL_MIN => Finding::good(CHECK, found),
        _ => Finding::warning(
            CHECK,
            found,
            format!("it is made for Linux {major}.{minor} and newer"),
        ),
    }
}

pub(super) fn memory(settings: &Resolved) -> Finding {
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let bound = group.as_deref().and_then(|text| text.trim().parse::<u64>().ok());
    let there = Machine::this().memory_bytes.min(bound.unwrap_or(u64::MAX));
    let cache = settings.query_cache_bytes.unwrap_or(0);
    let partitions = settings.partitions.unwrap_or(settings.partitions_default);
    let tables = tables::bytes_max(settings.dedup_bytes, partitions);
    judge_memory(there, settings.dedup_bytes + cache + tables + BASE_BYTES)
}

fn judge_memory(there: u64, needed: u64) -> Finding {
    const CHECK: &str = "memory";
    let whole = |bytes: u64| format_size(bytes >> 20 << 20);
    let found = format!("{} for this process, at most {} used", whole(there), whole(needed));
    match needed > there {
        false => Finding::good(CHECK, found),
        true => Finding::warning(CHECK, found, "lower dedup_memory or query_cache"),
    }
}

pub(super) fn files(settings: &Resolved) -> Finding {
    let partitions = settings.partitions.unwrap_or(settings.partitions_default);
    let connections = settings.connections.total as u64;
    let needed = connections + FILES_BASE + u64::from(partitions) * FILES_PER_PARTITION;
    judge_files(getrlimit(Resource::Nofile).current, needed)
}

fn judge_files(limit: Option<u64>, needed: u64) -> Finding {
    const CHECK: &str = "files";
    let Some(limit) = limit else { return Finding::good(CHECK, "as many as wanted") };
    let found = format!("{limit} open at a time, {needed} with all connections");
    let advice = "raise it (ulimit -n, LimitNOFILE=), or lower connections_max";
    if limit < FILES_MIN {
        Finding::problem(CHECK, found, advice)
    } else if limit < needed {
        Finding::warning(CHECK, found, advice)
    } else {
        Finding::good(CHECK, found)
    }
}

/// Whether a server can listen; where one has the folder, it is that one who does.
pub(super) fn address(listen: SocketAddr, is_in_use: bool) -> Finding {
    const CHECK: &str = "address";
    match TcpListener::bind(listen) {
        Ok(_) => Finding::good(CHECK, format!("{listen} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && is_in_use => {
            Finding::good(CHECK, format!("{listen} is in use, as it should be"))
        }
        Err(error) => Finding::problem(
            CHECK,
            format!("{listen}: {error}"),
            "stop who has it, or choose another with --listen",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn kernels_are_told_by_their_release() {
        let judged = |system, release| judge_kernel(system, release).verdict;
        assert_eq!(judged("Linux", "6.1.0-18-amd64"), Verdict::Good);
        assert_eq!(judged("Linux", "4.19"), Verdict::Good);
        assert_eq!(judged("Linux", "3.10.0"), Verdict::Warning);
        assert_eq!(judged("Darwin", "25.0.0"), Verdict::Warning);
        assert_eq!(judged("Linux", "odd"), Verdict::Warning);
    }

    #[test]
    fn limits_are_compared_with_what_is_needed() {
        assert_eq!(judge_memory(4 << 30, 4 << 30).verdict, Verdict::Good);
        assert_eq!(judge_memory(2 << 30, 4 << 30).verdict, Verdict::Warning);
        let judged = |limit| judge_files(limit, 10_500).verdict;
        assert_eq!((judged(None), judged(Some(20_000))), (Verdict::Good, Verdict::Good));
        assert_eq!((judged(Some(4_096)), judged(Some(256))), (Verdict::Warning, Verdict::Problem));
    }

    #[test]
    fn an_address_that_another_has_is_a_problem() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(super::address(address, false).verdict, Verdict::Problem);
        assert_eq!(super::address(address, true).verdict, Verdict::Good);
    }
}
