//! Bugs that are planted to see whether the simulation would find them.

/// A mistake that an engine or adapter could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The disk says that it synced and did not.
    DropSync,
    /// Records are counted before the log has them.
    ApplyBeforeAppend,
    /// After a restart the record just below the checkpoint is counted again.
    CheckpointInclusive,
    /// After a restart the dedup window is empty.
    ForgetRebuild,
    /// After a restart it is not known how far each source had come.
    ForgetSources,
    /// The store adds to its rows, and moves the checkpoint in a step of its own.
    WriteIncrements,
    /// The store moves the checkpoint before it writes the rows.
    CheckpointFirst,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DropSync,
        Self::ApplyBeforeAppend,
        Self::CheckpointInclusive,
        Self::ForgetRebuild,
        Self::ForgetSources,
        Self::WriteIncrements,
        Self::CheckpointFirst,
    ];
}
