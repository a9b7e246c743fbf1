//! The data folder: where it lies, whether there is room, whose it is, how fast it is durable.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access as may, statfs, statvfs};

use super::Finding;
use crate::config::units::format_size;
use crate::wiring::LOG_RESERVE_BYTES;

/// Below this share of the disk there should be a plan.
const FREE_SHARE: f64 = 0.1;
/// Below this room, too, in bytes.
const FREE_BYTES: u64 = 8 << 30;
/// Files that the disk may still take.
const FREE_FILES: u64 = 10_000;
/// A disk whose fsync takes longer makes every request wait.
const FSYNC_SLOW: Duration = Duration::from_millis(50);
const FSYNCS: usize = 9;

/// Numbers by which the kernel calls file systems (`statfs(2)`).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
const OVER_A_NETWORK: [u64; 4] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997];
const OVERLAY: u64 = 0x794c_7630;

/// The folder, or the nearest one above it that is there.
fn nearest(dir: &Path) -> &Path {
    let mut there = dir;
    while !there.exists() {
        match there.parent() {
            Some(above) if !above.as_os_str().is_empty() => there = above,
            _ => return Path::new("."),
        }
    }
    there
}

pub(super) fn file_system(dir: &Path) -> Finding {
    const CHECK: &str = "file_system";
    match statfs(nearest(dir)) {
        Ok(found) => judge_file_system(found.f_type as u64 & 0xffff_ffff),
        Err(error) => Finding::problem(CHECK, error.to_string(), "choose another --data-dir"),
    }
}

fn judge_file_system(kind: u64) -> Finding {
    const CHECK: &str = "file_system";
    if IN_MEMORY.contains(&kind) {
        let advice = "everything there is gone after a restart of the machine; choose a disk";
        return Finding::problem(CHECK, "in memory", advice);
    }
    if OVER_A_NETWORK.contains(&kind) {
        let advice = "fsync and locks are only as good as that server's; choose a local disk";
        return Finding::warning(CHECK, "over a network", advice);
    }
    if kind == OVERLAY {
        let advice = "a container's own layer goes with the container; mount a volume";
        return Finding::warning(CHECK, "a layer of a container", advice);
    }
    Finding::good(CHECK, format!("local (type {kind:#x})"))
}

pub(super) fn space(dir: &Path) -> Finding {
    match statvfs(nearest(dir)) {
        Ok(disk) => judge_space(
            disk.f_bavail.saturating_mul(disk.f_frsize),
            disk.f_blocks.saturating_mul(disk.f_frsize),
            // File systems without a table of files say 0 of 0.
            (disk.f_files > 0).then_some(disk.f_favail),
        ),
        Err(error) => Finding::problem("disk", error.to_string(), "choose another --data-dir"),
    }
}

fn judge_space(free: u64, size: u64, files_free: Option<u64>) -> Finding {
    const CHECK: &str = "disk";
    let found = format!("{} free of {}", rounded(free), rounded(size));
    if free < LOG_RESERVE_BYTES {
        let reserve = rounded(LOG_RESERVE_BYTES);
        return Finding::problem(CHECK, found, format!("below {reserve} nothing is accepted"));
    }
    if files_free.is_some_and(|files| files < FREE_FILES) {
        let found = format!("{found}, room for {} files", files_free.unwrap_or(0));
        return Finding::warning(CHECK, found, "remove files of others");
    }
    if free < FREE_BYTES || (free as f64) < size as f64 * FREE_SHARE {
        let advice = "make room, or shorten raw_retention and log_retention";
        return Finding::warning(CHECK, found, advice);
    }
    Finding::good(CHECK, found)
}

/// To three digits or so: people read it.
fn rounded(bytes: u64) -> String {
    match bytes {
        0..=0x3fff_ffff => format_size(bytes >> 20 << 20),
        _ => format!("{:.1}GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

pub(super) fn access(dir: &Path) -> Finding {
    const CHECK: &str = "data_folder";
    let shown = dir.display();
    let there = nearest(dir);
    if let Err(error) = may(there, Access::WRITE_OK | Access::EXEC_OK) {
        let found = format!("{} cannot be written: {error}", there.display());
        return Finding::problem(CHECK, found, "run as the user who owns it, or change its owner");
    }
    match dir.is_dir() {
        true => Finding::good(CHECK, format!("{shown}, writable")),
        false if dir.exists() => {
            Finding::problem(CHECK, format!("{shown} is no folder"), "choose another --data-dir")
        }
        false => Finding::good(CHECK, format!("{shown}, made at the first start")),
    }
}

pub(super) fn lock(dir: &Path, usage: anyhow::Result<bool>) -> Finding {
    const CHECK: &str = "lock";
    match usage {
        Ok(false) => Finding::good(CHECK, "free"),
        Ok(true) => {
            let pid = std::fs::read_to_string(dir.join("lock")).unwrap_or_default();
            Finding::good(CHECK, format!("a server has the folder (pid {})", pid.trim()))
        }
        Err(error) => Finding::problem(
            CHECK,
            format!("{error:#}"),
            "run as the user who owns the data folder",
        ),
    }
}

/// How long writes take to be durable; none where there is no folder to try it in.
pub(super) fn fsync(dir: &Path) -> Option<Finding> {
    if !dir.is_dir() {
        return None;
    }
    Some(match measure_fsync(dir) {
        Ok(took) => judge_fsync(took),
        Err(error) => Finding::problem("fsync", error.to_string(), "see to the disk"),
    })
}

/// The median of some writes of 4 KiB, each with its fsync, to a file that goes again.
fn measure_fsync(dir: &Path) -> std::io::Result<Duration> {
    let path = dir.join(format!("doctor-{}.tmp", std::process::id()));
    let measured = File::create(&path).and_then(|mut file| {
        let mut took = (0..FSYNCS)
            .map(|_| {
                let begun = Instant::now();
                file.write_all(&[0; 4096])?;
                file.sync_data()?;
                Ok(begun.elapsed())
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        took.sort_unstable();
        Ok(took[took.len() / 2])
    });
    std::fs::remove_file(&path)?;
    measured
}

fn judge_fsync(took: Duration) -> Finding {
    let found = format!("{:.2} ms", took.as_secs_f64() * 1e3);
    match took > FSYNC_SLOW {
        false => Finding::good("fsync", found),
        true => {
            Finding::warning("fsync", found, "every request waits so long; a faster disk helps")
        }
    }
}

pub(super) fn keys(file: &Path) -> Finding {
    const CHECK: &str = "keys";
    let Ok(data) = file.metadata() else {
        return Finding::good(CHECK, "none: open to this machine alone");
    };
    match data.permissions().mode() & 0o077 {
        0 => Finding::good(CHECK, format!("{}, read by its owner alone", file.display())),
        _ => Finding::warning(
            CHECK,
            format!("{} can be read by others", file.display()),
            format!("chmod 600 {}", file.display()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn room_is_judged_before_it_is_needed() {
        let judged = |free, size, files| judge_space(free, size, files).verdict;
        assert_eq!(judged(LOG_RESERVE_BYTES - 1, 1 << 40, None), Verdict::Problem);
        assert_eq!(judged(FREE_BYTES - 1, 10 << 30, None), Verdict::Warning);
        assert_eq!(judged(90 << 30, 1 << 40, None), Verdict::Warning);
        assert_eq!(judged(500 << 30, 1 << 40, Some(FREE_FILES - 1)), Verdict::Warning);
        assert_eq!(judged(500 << 30, 1 << 40, Some(FREE_FILES)), Verdict::Good);
        assert_eq!(judge_space(3 << 29, 1 << 31, None).found, "1.5GiB free of 2.0GiB");
    }

    #[test]
    fn what_forgets_or_lies_far_away_is_named() {
        let judged = |kind| judge_file_system(kind).verdict;
        assert_eq!(judged(0xef53), Verdict::Good);
        assert_eq!(judged(0x0102_1994), Verdict::Problem);
        assert_eq!((judged(0x6969), judged(OVERLAY)), (Verdict::Warning, Verdict::Warning));
        assert_eq!(judge_fsync(FSYNC_SLOW).verdict, Verdict::Good);
        assert_eq!(judge_fsync(FSYNC_SLOW * 2).verdict, Verdict::Warning);
    }

    #[test]
    fn a_folder_that_is_not_there_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        assert_eq!(nearest(&deep), dir.path());
        assert_eq!(nearest(Path::new("nowhere/else")), Path::new("."));
        assert_eq!(access(&deep).verdict, Verdict::Good);
        assert_eq!((fsync(&deep), keys(&deep).verdict), (None, Verdict::Good));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(keys(&file).verdict, Verdict::Warning);
        assert!(fsync(dir.path()).is_some());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "it leaves nothing");
    }
}
