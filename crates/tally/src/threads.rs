//! What a thread is there for, told to the kernel: who answers goes before who counts, and who
//! merges comes last.

/// A thread's duty. Threads inherit that of the one that starts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Answers somebody who waits, and needs little time for it.
    Answer,
    /// Parses, counts or flushes: much work, and nobody waits for the first of it.
    Count,
    /// Merges the store's tables: nobody waits at all.
    Merge,
    /// Counts again: takes only what the others leave, however long that lasts.
    Spare,
}

impl Duty {
    /// The least nice value: threads of a higher one get less when cores are short.
    fn nice(self) -> i32 {
        match self {
            Self::Answer => 0,
            Self::Count => 10,
            Self::Merge => 15,
            Self::Spare => 19,
        }
    }

    /// For how long the thread runs at a stretch when others wait, in nanoseconds. A thread that
    /// wakes up goes before a running one whose slice is longer than its own; else it waits for
    /// the end of that one's slice. Other processes have 0.7 to 3 ms.
    fn slice_ns(self) -> u64 {
        match self {
            Self::Answer => 100_000,
            // They offer their core every 0.1 ms or so, and lose what is left of their slice then.
            Self::Count | Self::Merge | Self::Spare => 400_000,
        }
    }

    /// How the kernel schedules it. Whoever has chosen another policy than the usual for this process keeps it,
    /// unless that would give a thread more than this.
    #[cfg(target_os = "linux")]
    fn policy(self) -> i32 {
        match self {
            Self::Answer => libc::SCHED_OTHER,
            // It does not push aside who runs when it wakes up: whoever woke it may be answering.
            Self::Count | Self::Merge => libc::SCHED_BATCH,
            Self::Spare => libc::SCHED_IDLE,
        }
    }

    /// Takes this duty for the thread that calls.
    ///
    /// Best effort: a sandbox may forbid it, and Linux before 6.12 knows no slices.
    pub(crate) fn take(self) {
        let inherited = rustix::process::getpriority_process(None).unwrap_or(0);
        let nice = self.nice().max(inherited);
        #[cfg(target_os = "linux")]
        let done = linux::set(nice, self.slice_ns(), self.policy());
        #[cfg(not(target_os = "linux"))]
        let done = false;
        if !done {
            let _ = rustix::process::setpriority_process(None, nice);
        }
    }

    /// Calls a function on a thread of this duty.
    pub(crate) fn call<R: Send>(self, call: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.take();
                call()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

#[cfg(target_os = "linux")]
mod linux {
    /// Sets nice value, slice and policy of the calling thread; whether the kernel took them.
    pub(super) fn set(nice: i32, slice_ns: u64, policy: i32) -> bool {
        // SAFETY: it takes and gives numbers.
        #[allow(unsafe_code)] // no safe wrapper has this call
        let is_usual = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        let flags = match is_usual || policy == libc::SCHED_IDLE {
            true => 0,
            false => libc::SCHED_FLAG_KEEP_POLICY,
        };
        let attributes = libc::sched_attr {
            size: size_of::<libc::sched_attr>() as u32,
            sched_policy: policy as u32,
            sched_flags: flags as u64,
            sched_nice: nice,
            sched_priority: 0,
            sched_runtime: slice_ns,
            sched_deadline: 0,
            sched_period: 0,
        };
        // SAFETY: the kernel reads the structure, whose size it is told, and keeps nothing of it.
        #[allow(unsafe_code)] // no safe wrapper has this call
        let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        result == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn a_duty_is_taken_and_inherited() {
        let before = nice();
        let inner = Duty::Count.call(|| (nice(), Duty::Answer.call(nice)));
        assert_eq!(inner.0, before.max(10));
        // A thread cannot go back to a lower value, and does not try.
        assert_eq!(inner.1, before.max(10));
        assert_eq!(
            Duty::Merge.call(|| std::thread::scope(|s| s.spawn(nice).join().unwrap())),
            before.max(15)
        );
        assert_eq!(nice(), before);
    }

    /// Where the kernel tells the slice (6.12 and later), it is ours, in threads started from here
    /// too.
    #[cfg(target_os = "linux")]
    #[test]
    fn slices_are_taken_where_the_kernel_has_them() {
        fn slice_ns() -> Option<u64> {
            let sched = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
            let line = sched.lines().find(|line| line.starts_with("se.slice"))?;
            line.rsplit_once(':')?.1.trim().parse().ok()
        }
        for duty in [Duty::Answer, Duty::Count, Duty::Merge] {
            let before = slice_ns();
            let (own, child) = duty
                .call(|| (slice_ns(), std::thread::scope(|s| s.spawn(slice_ns).join().unwrap())));
            assert_eq!(own, child);
            assert!(own == Some(duty.slice_ns()) || own == before, "{own:?}");
        }
    }

    /// The kernel's number of a policy stands in the 41st field of `stat`.
    #[cfg(target_os = "linux")]
    #[test]
    fn work_wakes_up_without_pushing_aside_and_spare_threads_run_where_a_core_would_idle() {
        fn policy() -> i32 {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let behind_name = stat.rsplit_once(") ").unwrap().1;
            behind_name.split(' ').nth(38).unwrap().parse().unwrap()
        }
        // Who runs the tests may have chosen another than the usual.
        let chosen = |usual| if policy() == libc::SCHED_OTHER { usual } else { policy() };
        let of_child = || std::thread::scope(|s| s.spawn(policy).join().unwrap());
        assert_eq!(Duty::Answer.call(of_child), policy());
        assert_eq!(Duty::Count.call(of_child), chosen(libc::SCHED_BATCH));
        assert_eq!(Duty::Merge.call(of_child), chosen(libc::SCHED_BATCH));
        assert_eq!(
            Duty::Spare.call(|| (policy(), of_child())),
            (libc::SCHED_IDLE, libc::SCHED_IDLE)
        );
    }
}
