//! Whether the clock can be believed: append times never go back, so a server whose clock is behind its
//! log is not ready until it has caught up.

use std::path::Path;
use std::time::UNIX_EPOCH;

use model::TimestampMs;

use super::Finding;

/// No program of ours is older: 2026-01-01.
const EARLIEST: TimestampMs = TimestampMs(1_767_225_600_000);
/// What file systems and clocks may differ by.
const TOLERANCE_MS: i64 = 5_000;
/// Long enough to renew a certificate in working hours.
const CERTIFICATE_MS: i64 = 14 * 86_400_000;
/// Files of a partition's log that are looked at; the newest is the last by name.
const PARTITIONS_MAX: usize = 1_024;

pub(super) fn against_the_folder(dir: &Path, now: TimestampMs) -> Finding {
    judge(now, newest_write(&dir.join("log")))
}

fn judge(now: TimestampMs, newest_write: Option<TimestampMs>) -> Finding {
    const CHECK: &str = "clock";
    let advice = "set the clock, and keep it set (chrony, systemd-timesyncd)";
    if now < EARLIEST {
        return Finding::problem(
            CHECK,
            format!("it is {now}, before this program was made"),
            advice,
        );
    }
    match newest_write {
        Some(newest) if newest.0 - now.0 > TOLERANCE_MS => {
            let found = format!("it is {now}, but the log was written at {newest}");
            Finding::problem(CHECK, found, advice)
        }
        _ => Finding::good(CHECK, now.to_string()),
    }
}

/// When the newest segment of any partition was written.
fn newest_write(log: &Path) -> Option<TimestampMs> {
    let partitions = std::fs::read_dir(log).ok()?.take(PARTITIONS_MAX).filter_map(Result::ok);
    let newest = partitions.filter_map(|partition| {
        let files = std::fs::read_dir(partition.path()).ok()?.filter_map(Result::ok);
        let segments = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
        let last = segments.max_by_key(std::fs::DirEntry::file_name)?;
        let written = last.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(written.as_millis()).ok()
    });
    newest.max().map(TimestampMs)
}

/// What the end of a certificate says; none where it cannot be read out of it.
pub(super) fn certificate(
    loaded: anyhow::Result<Option<TimestampMs>>,
    now: TimestampMs,
) -> Finding {
    const CHECK: &str = "certificate";
    let advice = "renew it; a running server reads the files again by itself";
    match loaded {
        Err(error) => Finding::problem(
            CHECK,
            format!("{error:#}"),
            "the settings tls_cert and tls_key name files in PEM that go together",
        ),
        Ok(None) => Finding::warning(CHECK, "usable; its end cannot be told", advice),
        Ok(Some(ends)) if ends <= now => Finding::problem(CHECK, format!("ended {ends}"), advice),
        Ok(Some(ends)) if ends.0 - now.0 < CERTIFICATE_MS => {
            Finding::warning(CHECK, format!("ends {ends}"), advice)
        }
        Ok(Some(ends)) => Finding::good(CHECK, format!("ends {ends}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_795_255_200_000);

    #[test]
    fn a_clock_behind_its_log_is_a_problem() {
        let at = |shift: i64| Some(TimestampMs(NOW.0 + shift));
        assert_eq!(judge(NOW, None).verdict, Verdict::Good);
        assert_eq!(judge(NOW, at(-86_400_000)).verdict, Verdict::Good);
        assert_eq!(judge(NOW, at(TOLERANCE_MS)).verdict, Verdict::Good);
        assert_eq!(judge(NOW, at(TOLERANCE_MS + 1)).verdict, Verdict::Problem);
        assert_eq!(judge(TimestampMs(0), None).verdict, Verdict::Problem);
    }

    #[test]
    fn the_newest_segment_tells_when_the_log_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest_write(dir.path()), None);
        let partition = dir.path().join("0");
        std::fs::create_dir(&partition).unwrap();
        std::fs::write(partition.join("next.tmp"), "").unwrap();
        assert_eq!(newest_write(dir.path()), None);
        std::fs::write(partition.join("00000000000000000000.log"), "").unwrap();
        assert!(newest_write(dir.path()).is_some_and(|written| written > EARLIEST));
    }

    #[test]
    fn a_certificate_is_renewed_before_it_ends() {
        let judged = |days: i64| {
            let ends = TimestampMs(NOW.0 + days * 86_400_000);
            certificate(Ok(Some(ends)), NOW).verdict
        };
        let verdicts = [judged(0), judged(13), judged(15)];
        assert_eq!(verdicts, [Verdict::Problem, Verdict::Warning, Verdict::Good]);
        assert_eq!(certificate(Ok(None), NOW).verdict, Verdict::Warning);
        assert_eq!(certificate(Err(anyhow::anyhow!("none")), NOW).verdict, Verdict::Problem);
    }
}
