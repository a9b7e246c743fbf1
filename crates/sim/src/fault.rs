//! What can go wrong; FAULTS.md says what is promised under each.

/// A kind of fault that the scheduler injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies; what it wrote is in the page cache still.
    ProcessDies,
    /// The power fails between two operations of the disk.
    PowerFails,
    /// The power fails within a write, sync or change of a name.
    CrashAtOperation,
    /// A sync fails.
    FailedSync,
    /// A write fails as a whole.
    FailedWrite,
    /// A write fails half way.
    ShortWrite,
    /// A read fails.
    FailedRead,
    /// The disk has no room for a while.
    DiskFull,
    /// Each change to the disk takes long for a while.
    SlowDisk,
    /// A bit flips at rest.
    BitFlip,
    /// The wall clock is set ahead.
    ClockAhead,
    /// The wall clock is set back.
    ClockBack,
    /// A request never arrives.
    LostRequest,
    /// A request arrives twice.
    RepeatedRequest,
    /// A client does not hear what became of its request.
    LostAnswer,
    /// An event is sent again after the dedup window.
    LateRepeat,
    /// A client that stamps its requests sends an old one again.
    StampedRepeat,
    /// The store takes nothing and says so.
    FlushRefused,
    /// The store takes a flush and its answer is lost.
    FlushUnconfirmed,
    /// The store takes some rows of a flush, and fails; the others may come later.
    FlushHalfway,
    /// The store is away for a while.
    StoreAway,
    /// A processor of before wakes up and flushes what it had.
    LateWriter,
    /// The same, in the middle of another one's flush.
    LateWriterWithin,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::ProcessDies,
        Self::PowerFails,
        Self::CrashAtOperation,
        Self::FailedSync,
        Self::FailedWrite,
        Self::ShortWrite,
        Self::FailedRead,
        Self::DiskFull,
        Self::SlowDisk,
        Self::BitFlip,
        Self::ClockAhead,
        Self::ClockBack,
        Self::LostRequest,
        Self::RepeatedRequest,
        Self::LostAnswer,
        Self::LateRepeat,
        Self::StampedRepeat,
        Self::FlushRefused,
        Self::FlushUnconfirmed,
        Self::FlushHalfway,
        Self::StoreAway,
        Self::LateWriter,
        Self::LateWriterWithin,
    ];
}
