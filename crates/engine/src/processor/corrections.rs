//! Which corrections are in the rows of a partition, as every process that has looked says it: answers that
//! are cached for several of them are told apart by it.
//!
//! It is where the newest corrections stand in the log, plus one. What is noted of corrections may be in the store
//! before the rows are, so it counts when the checkpoint has passed it.

use std::sync::atomic::{AtomicU64, Ordering};

use model::control::Control;
use model::{Checkpoint, Offset};

use super::memory::Frozen;
use crate::ports::Repairs;

/// What stands for corrections that are being written.
const UNDER_WAY: u64 = u64::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Standing(AtomicU64);

impl Standing {
    /// None while rows are being corrected.
    pub(super) fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|until| *until != UNDER_WAY)
    }

    pub(super) fn set(&self, until: Option<u64>) {
        self.0.store(until.unwrap_or(UNDER_WAY), Ordering::SeqCst);
    }
}

/// By what a store says; none where the newest are not in all rows yet.
pub(super) fn corrected_until(checkpoint: Option<&Checkpoint>, repairs: &Repairs) -> Option<u64> {
    let Some((offset, _)) = repairs.newest else { return Some(0) };
    let counted = checkpoint.map_or(Offset(0), |checkpoint| checkpoint.next_offset);
    (offset < counted).then(|| offset.0 + 1)
}

/// By what a flush writes; none where it corrects nothing.
pub(super) fn newest_correction(frozen: &Frozen) -> Option<u64> {
    let corrects = |(_, control): &&(Offset, Control)| matches!(control, Control::Corrections(_));
    frozen.controls.iter().filter(corrects).map(|(offset, _)| offset.0 + 1).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_count_when_the_checkpoint_has_passed_them() {
        let at =
            |next_offset| Checkpoint { next_offset: Offset(next_offset), ..Default::default() };
        let newest = |offset| Repairs { newest: Some((Offset(offset), 1)), kept: Vec::new() };
        assert_eq!(corrected_until(None, &Repairs::default()), Some(0));
        assert_eq!(corrected_until(Some(&at(9)), &Repairs::default()), Some(0));
        assert_eq!(corrected_until(Some(&at(9)), &newest(8)), Some(9));
        assert_eq!(corrected_until(Some(&at(9)), &newest(9)), None);
        assert_eq!(corrected_until(None, &newest(0)), None);
    }
}
