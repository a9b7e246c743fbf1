//! A small file system of a server's own: a tmpfs in a mount namespace that only the server is in,
//! made by `unshare` of util-linux. It ends with the server; no other process sees it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use adapters::embedded::disk::{Disk, RealDisk};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::Pid;
use tokio::process::Command;

use super::Skipped;

/// Size of the file system. A tmpfs takes only the memory for what is written, and the ballast is.
pub(crate) const DISK_BYTES: u64 = 1 << 30;
/// Memory that must be available, so that nobody else on the machine runs short.
const MEMORY_BYTES_MIN: u64 = 2 * DISK_BYTES;
/// Ballast is cut in pieces, larger ones first.
const PIECES: [u64; 4] = [64 << 20, 4 << 20, 64 << 10, 4 << 10];

/// Words before a command that give it a file system of its own at a folder.
///
/// # Errors
/// [`Skipped`] where this machine does not allow it.
pub(crate) async fn small_disk(folder: &Path) -> anyhow::Result<Vec<OsString>> {
    if !cfg!(target_os = "linux") {
        return Err(Skipped("small file systems are made on Linux only".into()).into());
    }
    let available = available_memory();
    if available.is_none_or(|bytes| bytes < MEMORY_BYTES_MIN) {
        let (needed, has) = (MEMORY_BYTES_MIN >> 20, available.unwrap_or(0) >> 20);
        let reason = format!("a file system in memory needs {needed} MiB free; there are {has}");
        return Err(Skipped(reason).into());
    }
    // Root may mount; anybody else is root in a user namespace of his own, where that is allowed.
    let namespaces = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let mount =
        format!("mount -t tmpfs -o size={DISK_BYTES},mode=700 tally-drill \"$0\" && exec \"$@\"");
    let words: Vec<OsString> = vec![
        "unshare".into(),
        namespaces.into(),
        "sh".into(),
        "-c".into(),
        mount.into(),
        folder.into(),
    ];
    let mut tried = Command::new(&words[0]);
    tried.args(&words[1..]).arg("true").kill_on_drop(true);
    let refused = match tried.output().await {
        Ok(output) if output.status.success() => return Ok(words),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("unshare: {error}"),
    };
    Err(Skipped(format!("this machine does not allow a small file system ({refused})")).into())
}

/// What fills a small file system up.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Fills what a process sees at a folder, to the last page.
    ///
    /// # Errors
    /// When the file system of the process cannot be reached.
    pub(crate) fn fill(pid: Pid, folder: &Path) -> anyhow::Result<Self> {
        let seen = format!("/proc/{}/root{}", pid.as_raw_nonzero(), folder.display());
        let path = PathBuf::from(seen).join("ballast");
        let ballast = Self { path };
        ballast.top_up()?;
        Ok(ballast)
    }

    /// Takes what has become free since.
    ///
    /// # Errors
    /// When it cannot write for any other reason than that there is no room.
    pub(crate) fn top_up(&self) -> anyhow::Result<()> {
        let file = File::options().create(true).append(true).open(&self.path)?;
        let mut size = file.metadata()?.len();
        for piece in PIECES {
            loop {
                match fallocate(&file, FallocateFlags::empty(), size, piece) {
                    Ok(()) => size += piece,
                    Err(rustix::io::Errno::NOSPC) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Bytes that are free beside it.
    ///
    /// # Errors
    /// When the file system cannot be reached.
    pub(crate) fn free_bytes(&self) -> anyhow::Result<u64> {
        Ok(RealDisk.free_bytes(&self.path)?)
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When the file system cannot be reached.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(&self.path)?)
    }
}

/// Memory that can be taken without anybody else giving way, where the system says so.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}
