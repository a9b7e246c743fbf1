//! Faults of the disk in memory that strike one operation and are over.

use std::collections::BTreeMap;

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskFault {
    /// A sync fails; nobody knows what is durable.
    FailedSync,
    /// A write fails and leaves the file as it was.
    FailedWrite,
    /// A write fails after a part of it.
    ShortWrite,
    /// A read fails.
    FailedRead,
}

/// Faults that are yet to strike, and those that did.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Operations of its kind to let pass before.
    pending: BTreeMap<DiskFault, u64>,
    pub(super) struck: BTreeMap<DiskFault, u64>,
}

impl Orders {
    pub(super) fn order(&mut self, fault: DiskFault, n: u64) {
        self.pending.insert(fault, n);
    }

    pub(super) fn cancel(&mut self) {
        self.pending.clear();
    }

    /// Whether the fault strikes this operation of its kind.
    pub(super) fn is_due(&mut self, fault: DiskFault) -> bool {
        match self.pending.get_mut(&fault) {
            None => return false,
            Some(0) => {}
            Some(left) => {
                *left -= 1;
                return false;
            }
        }
        self.pending.remove(&fault);
        self.note(fault);
        true
    }

    pub(super) fn note(&mut self, fault: DiskFault) {
        *self.struck.entry(fault).or_default() += 1;
    }
}
