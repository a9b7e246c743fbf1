//! A clock that a drill sets wrong while the server runs: the system's, shifted by what a file
//! says. Only `serve --drill-clock FILE` makes one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use engine::ports::Clock;
use model::TimestampMs;
use model::append_time::ClockReading;

/// The file in which a server says which shift it has seen, beside that which sets it.
const SEEN: &str = "seen";
/// How soon a change of the file is noticed.
const REREAD: Duration = Duration::from_millis(10);

/// Shifts the wall clock; the monotonic one goes on, as it does when somebody sets a clock.
pub(crate) struct ShiftedClock {
    inner: Arc<dyn Clock>,
    shift_ms: Arc<AtomicI64>,
}

impl ShiftedClock {
    /// Reads the file, and again for as long as the clock lives.
    ///
    /// # Errors
    /// When the file holds no whole number of milliseconds.
    pub(crate) fn start(inner: Arc<dyn Clock>, file: &Path) -> anyhow::Result<Self> {
        let shift_ms = Arc::new(AtomicI64::new(read(file)?));
        let (watched, file): (_, PathBuf) = (Arc::downgrade(&shift_ms), file.to_owned());
        let mut is_first = true;
        std::thread::Builder::new().name("drill-clock".into()).spawn(move || {
            while let Some(shift_ms) = watched.upgrade() {
                // What is half written or gone changes nothing.
                if let Ok(now) = read(&file)
                    && (shift_ms.swap(now, Ordering::Relaxed) != now || is_first)
                {
                    is_first = false;
                    // Best effort: a drill that does not find it says so.
                    let _ = std::fs::write(file.with_extension(SEEN), now.to_string());
                }
                drop(shift_ms);
                std::thread::sleep(REREAD);
            }
        })?;
        Ok(Self { inner, shift_ms })
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> ClockReading {
        let ClockReading { wall, monotonic_ms } = self.inner.now();
        let wall = TimestampMs(wall.0 + self.shift_ms.load(Ordering::Relaxed));
        ClockReading { wall, monotonic_ms }
    }
}

/// The shift that a server has seen in this file, if any.
pub(super) fn shift_seen(file: &Path) -> Option<i64> {
    read(&file.with_extension(SEEN)).ok()
}

fn read(file: &Path) -> anyhow::Result<i64> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the drill's clock {}", file.display()))?;
    text.trim().parse().with_context(|| {
        format!("the drill's clock {} must hold whole milliseconds", file.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> ClockReading {
            ClockReading { wall: TimestampMs(1_000_000), monotonic_ms: 7 }
        }
    }

    #[test]
    fn only_the_wall_clock_follows_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clock");
        assert!(ShiftedClock::start(Arc::new(Fixed), &file).is_err(), "there is no file");
        std::fs::write(&file, "-3600000\n").unwrap();
        let clock = ShiftedClock::start(Arc::new(Fixed), &file).unwrap();
        let at = |wall| ClockReading { wall: TimestampMs(wall), monotonic_ms: 7 };
        assert_eq!(clock.now(), at(1_000_000 - 3_600_000));
        std::fs::write(&file, "later").unwrap();
        std::fs::write(&file, "5").unwrap();
        while clock.now() != at(1_000_005) {
            std::thread::yield_now();
        }
        while shift_seen(&file) != Some(5) {
            std::thread::yield_now();
        }
    }
}
