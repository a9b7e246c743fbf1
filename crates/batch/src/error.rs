//! Why something cannot be counted again.

/// Why something cannot be counted again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read now.
    #[error("the archive cannot be read")]
    Archive(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A raw file's bytes are wrong.
    #[error("the raw file {name} is damaged: {reason}")]
    Damaged {
        /// Which file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A later program wrote a file.
    #[error(
        "{name} has format {format}, this program knows only 1: use the program that \
         wrote it, or a newer one"
    )]
    Format {
        /// Which file.
        name: String,
        /// What it says.
        format: String,
    },
    /// Offsets are missing, so that nothing can be proven.
    #[error(
        "partition {partition}: the raw events of offsets {from} to {to} are missing, so that \
         nothing can be proven"
    )]
    Gap {
        /// Which partition.
        partition: u16,
        /// The first offset that is missing.
        from: u64,
        /// The first offset that is there again.
        to: u64,
    },
    /// What would have to be counted again is older than what is kept.
    #[error(
        "partition {partition}: raw events are kept from {kept_ms} ms since 1970 on, and those from \
         {needed_ms} on are needed: ask for a later start"
    )]
    TooOld {
        /// Which partition.
        partition: u16,
        /// Start of the oldest hour of append time that is kept.
        kept_ms: i64,
        /// The append time from which on events may matter.
        needed_ms: i64,
    },
    /// A control record that is not known: what follows it cannot be judged.
    #[error("partition {partition}: the control record at offset {offset} cannot be read")]
    Control {
        /// Which partition.
        partition: u16,
        /// Where it stands.
        offset: u64,
    },
    /// Repeats of a source that was heard of before what is kept cannot be told.
    #[error(
        "partition {partition}: the source {source_name} sent events before the oldest raw event \
         that is kept, so that nothing can be said about which of its events are repeats"
    )]
    Source {
        /// Which partition.
        partition: u16,
        /// Which source.
        source_name: String,
    },
    /// Somebody asked to stop.
    #[error("the recount was stopped")]
    Stopped,
}
