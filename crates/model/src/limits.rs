//! Bounds that users do not turn, each with the reason or the inequality behind it.

/// Longest item, in bytes of UTF-8.
pub const ITEM_BYTES_MAX: usize = 256;
/// Longest event type, in bytes.
pub const TYPE_BYTES_MAX: usize = 64;
/// Longest event id, in bytes of printable ASCII.
pub const ID_BYTES_MAX: usize = 64;
/// Most attributes of one event.
pub const ATTRIBUTES_MAX: usize = 16;
/// Longest attribute key, in bytes.
pub const ATTRIBUTE_KEY_BYTES_MAX: usize = 64;
/// Longest attribute value, in bytes.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 256;
/// Longest title of an item, in bytes of UTF-8.
pub const TITLE_BYTES_MAX: usize = 1_024;
/// Longest name of a channel, in bytes of UTF-8.
pub const CHANNEL_NAME_BYTES_MAX: usize = 256;
/// Longest source, in bytes of printable ASCII.
pub const SOURCE_BYTES_MAX: usize = 64;
/// How long the highest sequence of a source is kept after the last record of it, in milliseconds
/// of append time: 30 days, far beyond any retry.
pub const SOURCE_KEPT_MS: i64 = 30 * 86_400_000;
/// Most sources that a partition knows at a time: some 20 MB. Beyond it new ones are refused.
pub const SOURCES_MAX: usize = 128 << 10;
/// Most ranges of refused sequences that a partition remembers, of all sources: some 4 MB. Beyond
/// it requests that add to them are refused.
pub const REFUSED_RANGES_MAX: usize = 256 << 10;
/// How far in the future an event's time may lie, in milliseconds: clocks of clients differ.
pub const FUTURE_SKEW_MS: i64 = 60_000;
/// The event type of an event that names none.
pub const TYPE_DEFAULT: &str = "view";

/// Most events of one request.
pub const BATCH_EVENTS_MAX: usize = 100_000;
/// Largest body of one request, in bytes, before and after decompression.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Largest encoded event, in bytes: all fields at their longest with their length prefixes.
pub const RECORD_BYTES_MAX: usize = 8 << 10;
const _: () = assert!(
    ITEM_BYTES_MAX
        + TYPE_BYTES_MAX
        + ID_BYTES_MAX
        + SOURCE_BYTES_MAX
        + ATTRIBUTES_MAX * (ATTRIBUTE_KEY_BYTES_MAX + ATTRIBUTE_VALUE_BYTES_MAX + 8)
        + 256
        <= RECORD_BYTES_MAX
);

/// Longest dedup window, in minutes. A generation is one byte: entries can be as old as twice the
/// window and a minute before they are swept, and must not wrap around.
pub const DEDUP_MINUTES_MAX: u32 = 120;
const _: () = assert!(2 * DEDUP_MINUTES_MAX + 2 < 256);

/// Most points of a series.
pub const SERIES_POINTS_MAX: u64 = 10_000;
/// Most rows of a list.
pub const LIST_ROWS_MAX: usize = 1_000;
/// Most items of one `counts` question.
pub const COUNTS_ITEMS_MAX: usize = 500;

/// Most items of a channel that a report adds up: beyond it reading them takes longer than anybody
/// looks at a page for.
pub const CHANNEL_ITEMS_MAX: usize = 10_000;
/// Most hours of a report: 90 days, as hours are kept by default.
pub const REPORT_HOURS_MAX: usize = 90 * 24;
/// Longest window of `trending`, in milliseconds: it and the one before it are read row by row.
pub const TRENDING_WINDOW_MAX_MS: i64 = 31 * 86_400_000;

/// Most partitions: a partition id is two bytes in stored keys.
pub const PARTITIONS_MAX: u16 = 1_024;

/// How long a gateway may route by a table after it was last sure to know every version of it, in
/// milliseconds of the clock that versions are published by.
pub const ROUTING_LEASE_MS: i64 = 30_000;
/// A version of the routing table takes effect later than so long after its publication, in
/// milliseconds: whoever does not know it yet has no right to route such events, and nobody takes
/// them before.
pub const ROUTING_LEAD_MS: i64 = FUTURE_SKEW_MS + ROUTING_LEASE_MS;
/// Most rules in force at a time: those of the items of the largest channel, and some more.
pub const ROUTING_RULES_MAX: usize = 16 << 10;
/// Most of them that are of prefixes: each is compared with every item.
pub const ROUTING_PREFIXES_MAX: usize = 64;
/// Most versions: some tens of megabytes with what they usually change.
pub const ROUTING_VERSIONS_MAX: usize = 64 << 10;
/// Most changes of rules in all versions, and most partitions that a rule names: together some
/// hundred megabytes, at the very worst.
pub const ROUTING_CHANGES_MAX: usize = 256 << 10;
/// See [`ROUTING_CHANGES_MAX`].
pub const ROUTING_NAMED_MAX: usize = 64;
/// Automatic versions end here, so that people can still make some.
pub const ROUTING_VERSIONS_AUTOMATIC_MAX: usize = 48 << 10;
/// Most items that are spread because they are hot.
pub const SPREAD_ITEMS_MAX: usize = 64;
