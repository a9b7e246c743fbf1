//! How each fault is brought about.

use adapters::embedded::mem_disk::DiskFault;
use anyhow::{Result, bail};
use engine::ports::ErrorKind;
use engine::processor::{KnownRows, flush};

use crate::damage::Damage;
use crate::fault::Fault;
use crate::process::PARTITIONS;
use crate::world::World;

impl World {
    /// Injects one of the faults that this run knows, or ends one that lasts.
    pub(crate) fn inject(&mut self) -> Result<()> {
        if self.enabled.is_empty() {
            return Ok(());
        }
        let fault = self.enabled[self.chance.index(self.enabled.len())];
        let disk = self.machine.disk.clone();
        match fault {
            Fault::ProcessDies | Fault::PowerFails => {
                self.note_fault(fault);
                self.crash(fault == Fault::PowerFails);
            }
            // These are counted when they strike.
            Fault::CrashAtOperation => disk.crash_after(self.chance.below(12)),
            Fault::FailedSync => disk.fail_sync_after(self.chance.below(8)),
            Fault::FailedWrite => disk.fail_after(DiskFault::FailedWrite, self.chance.below(5)),
            Fault::ShortWrite => disk.fail_after(DiskFault::ShortWrite, self.chance.below(5)),
            Fault::FailedRead => disk.fail_after(DiskFault::FailedRead, self.chance.below(8)),
            Fault::DiskFull => self.toggle_full(),
            Fault::SlowDisk => {
                let ms = if self.machine.slow_ms > 0 { 0 } else { 20 + self.chance.below(2_000) };
                self.set_slow(ms as i64);
            }
            Fault::BitFlip => self.flip(),
            Fault::ClockAhead | Fault::ClockBack => self.jump(fault),
            Fault::StoreAway => {
                let is_away = !self.machine.store.is_away();
                if is_away {
                    self.note_fault(fault);
                }
                self.machine.store.set_away(is_away);
            }
            Fault::LateWriter => self.wake_late_writer()?,
            // These strike where clients and flushes are.
            Fault::LostRequest
            | Fault::RepeatedRequest
            | Fault::LostAnswer
            | Fault::LateRepeat
            | Fault::StampedRepeat
            | Fault::FlushRefused
            | Fault::FlushUnconfirmed
            | Fault::FlushHalfway
            | Fault::LateWriterWithin => {}
        }
        Ok(())
    }

    fn toggle_full(&mut self) {
        let disk = self.machine.disk.clone();
        match self.kept_free.take() {
            Some(kept) => disk.give_room(kept),
            None => {
                self.note_fault(Fault::DiskFull);
                self.kept_free = Some(disk.take_room());
            }
        }
    }

    fn set_slow(&mut self, ms: i64) {
        if ms > 0 {
            self.note_fault(Fault::SlowDisk);
        }
        self.machine.slow_ms = ms;
        if let Some(process) = &self.process {
            process.set_slow(ms);
        }
    }

    fn flip(&mut self) {
        if self.damage.is_some() {
            return;
        }
        let durable: Vec<u64> =
            (0..PARTITIONS).map(|id| self.oracle.durable(usize::from(id))).collect();
        self.damage = Damage::strike(&self.machine.disk, &mut self.chance, &durable);
        if let Some(damage) = &self.damage {
            let line = format!("flip in {} at byte {}", damage.path.display(), damage.position);
            self.trace.note(line);
            self.note_fault(Fault::BitFlip);
        }
    }

    fn jump(&mut self, fault: Fault) {
        let far = if self.chance.one_in(3) { 30 * 60_000 } else { 90_000 };
        let ms = self.chance.below(far) as i64;
        self.note_fault(fault);
        self.machine.clock.set_wall_off(if fault == Fault::ClockAhead { ms } else { -ms });
    }

    /// A processor that everybody took for dead flushes what it had counted.
    fn wake_late_writer(&mut self) -> Result<()> {
        if self.late.is_empty() {
            return Ok(());
        }
        self.note_fault(Fault::LateWriter);
        let at = self.chance.index(self.late.len());
        let (id, frozen) = self.late.swap_remove(at);
        let result = flush(&*self.machine.store, id, &frozen, None, &mut KnownRows::none());
        self.trace.note(format!("late writer of {id}: {:?}", result.as_ref().map_err(|e| e.kind)));
        match result {
            Ok(()) => self.is_usurped = true,
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(_) if self.machine.store.is_away() => {}
            Err(error) => bail!("a late writer failed: {error}"),
        }
        self.check_store()
    }

    /// From now on nothing fails any more. What is damaged is restored.
    pub(crate) fn end_faults(&mut self) {
        self.enabled.clear();
        self.machine.disk.call_off();
        if let Some(kept) = self.kept_free.take() {
            self.machine.disk.give_room(kept);
        }
        self.set_slow(0);
        self.machine.clock.set_wall_off(0);
        self.machine.store.set_away(false);
        if let Some(damage) = self.damage.take() {
            damage.undo(&self.machine.disk);
        }
    }
}
