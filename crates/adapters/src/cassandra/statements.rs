//! Every statement, prepared once.

use engine::ports::PortError;
use scylla::statement::prepared::PreparedStatement;

use super::session::{Link, Way};

/// See the module. Values are bound in the order of the question marks.
pub(super) struct Statements {
    pub(super) owner: PreparedStatement,
    pub(super) own_first: PreparedStatement,
    pub(super) own: PreparedStatement,
    pub(super) begin: PreparedStatement,
    pub(super) commit: PreparedStatement,
    pub(super) checkpoint: PreparedStatement,
    pub(super) write_total: PreparedStatement,
    pub(super) totals: PreparedStatement,
    pub(super) totals_of_item: PreparedStatement,
    pub(super) totals_of_bucket: PreparedStatement,
    pub(super) write_hour: PreparedStatement,
    pub(super) write_hour_minutes: PreparedStatement,
    pub(super) remove_hour: PreparedStatement,
    pub(super) hours: PreparedStatement,
    pub(super) hours_of_type: PreparedStatement,
    pub(super) hours_behind: PreparedStatement,
    pub(super) items_of_hour: PreparedStatement,
    pub(super) write_item_hour: PreparedStatement,
    pub(super) write_item_hour_minutes: PreparedStatement,
    pub(super) remove_item_hour: PreparedStatement,
    pub(super) item_hours: PreparedStatement,
    pub(super) write_day: PreparedStatement,
    pub(super) days: PreparedStatement,
    pub(super) days_of_type: PreparedStatement,
    pub(super) write_filled: PreparedStatement,
    pub(super) remove_filled: PreparedStatement,
    pub(super) filled: PreparedStatement,
    pub(super) write_letter: PreparedStatement,
    pub(super) letters: PreparedStatement,
    pub(super) letter_states: PreparedStatement,
    pub(super) mark_first: PreparedStatement,
    pub(super) mark: PreparedStatement,
    pub(super) unmark: PreparedStatement,
    pub(super) write_source: PreparedStatement,
    pub(super) remove_sources_before: PreparedStatement,
    pub(super) sources: PreparedStatement,
    pub(super) write_bulk: PreparedStatement,
    pub(super) bulk: PreparedStatement,
    pub(super) write_repair: PreparedStatement,
    pub(super) remove_repair: PreparedStatement,
    pub(super) repairs: PreparedStatement,
    pub(super) write_meta: PreparedStatement,
    pub(super) meta: PreparedStatement,
    pub(super) bind: PreparedStatement,
    pub(super) bound: PreparedStatement,
}

impl Statements {
    /// Prepares all of them.
    pub(super) fn prepare(link: &Link) -> Result<Self, PortError> {
        let keyspace = &link.place().keyspace;
        // Every statement names one table, as `{}`.
        let with = |way: Way| move |text: &str| link.prepare(text.replace("{}", keyspace), way);
        let (read, write) = (with(Way::Read), with(Way::Write));
        let (decide, read_decided) = (with(Way::Decide), with(Way::ReadDecided));
        Ok(Self {
            owner: read_decided(
                "SELECT owner, log_epoch, next_offset, begun, checkpoint FROM {}.owners
                 WHERE log_partition = ?",
            )?,
            own_first: decide(
                "INSERT INTO {}.owners (log_partition, owner, log_epoch, next_offset, begun)
                 VALUES (?, ?, ?, ?, ?) IF NOT EXISTS",
            )?,
            own: decide("UPDATE {}.owners SET owner = ? WHERE log_partition = ? IF owner = ?")?,
            begin: decide(
                "UPDATE {}.owners SET begun = ? WHERE log_partition = ?
                 IF owner = ? AND log_epoch = ? AND next_offset = ? AND begun IN (?, ?)",
            )?,
            commit: decide(
                "UPDATE {}.owners SET checkpoint = ?, log_epoch = ?, next_offset = ?, begun = ?
                 WHERE log_partition = ? IF owner = ? AND begun = ?",
            )?,
            checkpoint: read("SELECT checkpoint FROM {}.owners WHERE log_partition = ?")?,
            write_total: write(
                "INSERT INTO {}.totals (log_partition, bucket, item, event_type, counts)
                 VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )?,
            totals: read(
                "SELECT item, event_type, counts FROM {}.totals WHERE log_partition = ?
                 AND bucket = ? AND (item, event_type) IN ?",
            )?,
            totals_of_item: read(
                "SELECT event_type, counts FROM {}.totals WHERE log_partition = ? AND bucket = ?
                 AND item = ?",
            )?,
            totals_of_bucket: read(
                "SELECT item, event_type, counts FROM {}.totals WHERE log_partition = ?
                 AND bucket = ?",
            )?,
            write_hour: write(
                "INSERT INTO {}.hours (log_partition, hour, event_type, item, counts)
                 VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )?,
            write_hour_minutes: write(
                "UPDATE {}.hours USING TIMESTAMP ? AND TTL ? SET minutes = ?
                 WHERE log_partition = ? AND hour = ? AND event_type = ? AND item = ?",
            )?,
            remove_hour: write(
                "DELETE FROM {}.hours USING TIMESTAMP ? WHERE log_partition = ? AND hour = ?
                 AND event_type = ? AND item = ?",
            )?,
            hours: read(
                "SELECT item, counts, minutes FROM {}.hours WHERE log_partition = ? AND hour = ?
                 AND event_type = ? AND item IN ?",
            )?,
            hours_of_type: read(
                "SELECT item, counts, minutes FROM {}.hours WHERE log_partition = ? AND hour = ?
                 AND event_type = ?",
            )?,
            hours_behind: read(
                "SELECT item, counts, minutes FROM {}.hours WHERE log_partition = ? AND hour = ?
                 AND event_type = ? AND item > ? LIMIT ?",
            )?,
            items_of_hour: read(
                "SELECT item FROM {}.hours WHERE log_partition = ? AND hour = ?
                 AND event_type = ?",
            )?,
            write_item_hour: write(
                "INSERT INTO {}.item_hours (item, event_type, period, hour, log_partition, counts)
                 VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )?,
            write_item_hour_minutes: write(
                "UPDATE {}.item_hours USING TIMESTAMP ? AND TTL ? SET minutes = ? WHERE item = ?
                 AND event_type = ? AND period = ? AND hour = ? AND log_partition = ?",
            )?,
            remove_item_hour: write(
                "DELETE FROM {}.item_hours USING TIMESTAMP ? WHERE item = ? AND event_type = ?
                 AND period = ? AND hour = ? AND log_partition = ?",
            )?,
            item_hours: read(
                "SELECT hour, log_partition, counts, minutes FROM {}.item_hours WHERE item = ?
                 AND event_type = ? AND period = ? AND hour >= ? AND hour < ?",
            )?,
            write_day: write(
                "INSERT INTO {}.days (log_partition, day, event_type, item, counts)
                 VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )?,
            days: read(
                "SELECT item, counts FROM {}.days WHERE log_partition = ? AND day = ?
                 AND event_type = ? AND item IN ?",
            )?,
            days_of_type: read(
                "SELECT item, counts FROM {}.days WHERE log_partition = ? AND day = ?
                 AND event_type = ?",
            )?,
            write_filled: write(
                "INSERT INTO {}.filled (log_partition, kind, number, event_type)
                 VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            )?,
            remove_filled: write(
                "DELETE FROM {}.filled USING TIMESTAMP ? WHERE log_partition = ? AND kind = ?
                 AND number = ? AND event_type = ?",
            )?,
            filled: read(
                "SELECT number, event_type FROM {}.filled WHERE log_partition = ? AND kind = ?
                 AND number >= ? AND number < ?",
            )?,
            write_letter: write(
                "INSERT INTO {}.dead_letters (log_partition, log_offset, letter) VALUES (?, ?, ?)
                 USING TIMESTAMP ?",
            )?,
            letters: read(
                "SELECT log_offset, letter FROM {}.dead_letters WHERE log_partition = ?
                 AND log_offset >= ? LIMIT ?",
            )?,
            letter_states: read_decided(
                "SELECT log_offset, letter_state FROM {}.letter_states WHERE log_partition = ?
                 AND log_offset IN ?",
            )?,
            mark_first: decide(
                "INSERT INTO {}.letter_states (log_partition, log_offset, letter_state)
                 VALUES (?, ?, ?) IF NOT EXISTS",
            )?,
            mark: decide(
                "UPDATE {}.letter_states SET letter_state = ? WHERE log_partition = ?
                 AND log_offset = ? IF letter_state = ?",
            )?,
            unmark: decide(
                "DELETE FROM {}.letter_states WHERE log_partition = ? AND log_offset = ?
                 IF letter_state = ?",
            )?,
            write_source: write(
                "INSERT INTO {}.sources (log_partition, source, stamp, source_state)
                 VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            )?,
            remove_sources_before: write(
                "DELETE FROM {}.sources USING TIMESTAMP ? WHERE log_partition = ? AND source = ?
                 AND stamp < ?",
            )?,
            sources: read(
                "SELECT source, stamp, source_state FROM {}.sources WHERE log_partition = ?",
            )?,
            write_bulk: write(
                "INSERT INTO {}.bulk (slot, id, log_partition, entry) VALUES (?, ?, ?, ?)
                 USING TIMESTAMP ?",
            )?,
            bulk: read("SELECT id, entry FROM {}.bulk WHERE slot = ?")?,
            write_repair: write(
                "INSERT INTO {}.repairs (log_partition, log_offset, repair) VALUES (?, ?, ?)
                 USING TIMESTAMP ?",
            )?,
            remove_repair: write(
                "DELETE FROM {}.repairs USING TIMESTAMP ? WHERE log_partition = ?
                 AND log_offset = ?",
            )?,
            repairs: read("SELECT log_offset, repair FROM {}.repairs WHERE log_partition = ?")?,
            write_meta: write(
                "INSERT INTO {}.meta (name, number) VALUES (?, ?) USING TIMESTAMP ?",
            )?,
            meta: read("SELECT number FROM {}.meta WHERE name = ?")?,
            bind: decide("INSERT INTO {}.meta (name, words) VALUES (?, ?) IF NOT EXISTS")?,
            bound: read_decided("SELECT words FROM {}.meta WHERE name = ?")?,
        })
    }
}
