//! A small file system of a server's own: a tmpfs in a mount namespace that only the server is in, as
//! the drill makes it. It ends with the server; no other process sees it but by the server's `/proc`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// A folder that is to be a file system for one process.
pub(crate) struct SmallDisk {
    folder: PathBuf,
    bytes: u64,
}

impl SmallDisk {
    /// Or why this machine does not allow it. Nothing is mounted yet.
    pub(crate) fn on(folder: &Path, bytes: u64) -> Result<Self, String> {
        let small = Self { folder: folder.to_owned(), bytes };
        let tried = small.words().arg("true").output();
        match tried {
            Ok(output) if output.status.success() => Ok(small),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("unshare: {error}")),
        }
    }

    /// A command that runs the program with the file system mounted; what the folder holds is copied
    /// onto it. The program takes the place of the process that is started.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.words();
        command.arg(program);
        command
    }

    fn words(&self) -> Command {
        // Root may mount; anybody else is root in a user namespace of his own, where that is allowed.
        let namespaces = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
        let bytes = self.bytes;
        let script = format!(
            "set -e; mkdir -p \"$0.outside\"; mount --bind \"$0\" \"$0.outside\"; \
             mount -t tmpfs -o size={bytes},mode=700 tally-test \"$0\"; \
             cp -a \"$0.outside/.\" \"$0/\"; exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args([namespaces, "sh", "-c", &script]).arg(&self.folder);
        command
    }

    /// The folder as the process that was started sees it.
    fn seen_by(&self, pid: u32) -> PathBuf {
        PathBuf::from(format!("/proc/{pid}/root{}", self.folder.display()))
    }

    /// Takes room until so many bytes are free. Dropped, it gives the room back.
    pub(crate) fn fill(&self, pid: u32, leave: u64) -> Ballast {
        let ballast = Ballast { path: self.seen_by(pid).join("ballast") };
        let file = File::create_new(&ballast.path).expect("the file system can be reached");
        let free = ballast.free_bytes();
        assert!(free > leave, "{free} bytes are free, {leave} are to be left");
        fallocate(&file, FallocateFlags::empty(), 0, free - leave).expect("there is room");
        ballast
    }
}

/// A file that takes room.
pub(crate) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Bytes that are free beside it.
    pub(crate) fn free_bytes(&self) -> u64 {
        let stat = statvfs(self.path.parent().expect("it lies in a folder"));
        let stat = stat.expect("the file system can be reached");
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // The server may be gone already, and its file system with it.
        let _ = std::fs::remove_file(&self.path);
    }
}
