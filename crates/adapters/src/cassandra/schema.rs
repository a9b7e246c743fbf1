//! The tables, made by `tally store init` and never by a server that starts.
//!
//! Rows are overwritten again and again, and timestamps are no times: compaction is levelled, never by
//! time windows.

use engine::ports::{ErrorKind, PortError};

use super::session::{Link, failure};

/// What this program reads and writes.
const VERSION: i64 = 1;
/// The name of the version in `meta`.
const VERSION_NAME: &str = "schema_version";

/// In how many Cassandra partitions the totals of one partition of the log lie. It never changes: where a
/// total lies depends on it.
pub(super) const TOTAL_BUCKETS: u32 = 64;
/// Hours of an item and type that lie in one Cassandra partition: four weeks.
pub(super) const PERIOD_HOURS: u32 = 4 * 7 * 24;

/// Each with its name and what follows it.
const TABLES: [(&str, &str); 12] = [
    ("meta", "(name text PRIMARY KEY, number bigint, words text)"),
    (
        "owners",
        "(log_partition int PRIMARY KEY, owner blob, log_epoch bigint, next_offset bigint,
          begun bigint, checkpoint blob)",
    ),
    (
        "totals",
        "(log_partition int, bucket int, item text, event_type text, counts blob,
          PRIMARY KEY ((log_partition, bucket), item, event_type))",
    ),
    (
        "item_hours",
        "(item text, event_type text, period bigint, hour bigint, log_partition int, counts blob,
          minutes blob, PRIMARY KEY ((item, event_type, period), hour, log_partition))",
    ),
    (
        "hours",
        "(log_partition int, hour bigint, event_type text, item text, counts blob, minutes blob,
          PRIMARY KEY ((log_partition, hour, event_type), item))",
    ),
    (
        "days",
        "(log_partition int, day bigint, event_type text, item text, counts blob,
          PRIMARY KEY ((log_partition, day, event_type), item))",
    ),
    (
        "filled",
        "(log_partition int, kind int, number bigint, event_type text,
          PRIMARY KEY ((log_partition, kind), number, event_type))",
    ),
    (
        "dead_letters",
        "(log_partition int, log_offset bigint, letter blob,
          PRIMARY KEY (log_partition, log_offset))",
    ),
    (
        "letter_states",
        "(log_partition int, log_offset bigint, letter_state blob,
          PRIMARY KEY (log_partition, log_offset))",
    ),
    (
        "sources",
        "(log_partition int, source text, stamp bigint, source_state blob,
          PRIMARY KEY (log_partition, source, stamp))",
    ),
    (
        "bulk",
        "(slot int, id blob, log_partition int, entry blob, PRIMARY KEY (slot, id, log_partition))",
    ),
    (
        "repairs",
        "(log_partition int, log_offset bigint, repair blob,
          PRIMARY KEY (log_partition, log_offset))",
    ),
];

/// How often each row is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// So many times, wherever.
    Anywhere(u8),
    /// So many times in each of these data centers.
    Datacenters(Vec<(String, u8)>),
}

impl Replication {
    /// As CQL writes it.
    fn options(&self) -> String {
        match self {
            Self::Anywhere(factor) => {
                format!("'class': 'SimpleStrategy', 'replication_factor': {factor}")
            }
            Self::Datacenters(named) => {
                let named = named.iter().map(|(name, factor)| format!(", '{name}': {factor}"));
                format!("'class': 'NetworkTopologyStrategy'{}", named.collect::<String>())
            }
        }
    }
}

/// Makes keyspace and tables where they are not there. A repeat is harmless and finishes what was begun.
pub(super) fn make(link: &Link, replication: &Replication) -> Result<(), PortError> {
    let keyspace = &link.place().keyspace;
    if let Some(version) = version(link)?
        && version != VERSION
    {
        return Err(other_version(link, version));
    }
    link.change(format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{{}}}",
        replication.options()
    ))?;
    for (name, columns) in TABLES {
        link.change(format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.{name} {columns}
             WITH compaction = {{'class': 'LeveledCompactionStrategy'}}"
        ))?;
    }
    // Last: whoever finds a version finds all tables.
    link.change(format!(
        "INSERT INTO {keyspace}.meta (name, number) VALUES ('{VERSION_NAME}', {VERSION})
         USING TIMESTAMP {VERSION}"
    ))
}

/// Refuses a keyspace that this program does not know, and says what to do.
pub(super) fn check(link: &Link) -> Result<(), PortError> {
    match version(link)? {
        Some(VERSION) => Ok(()),
        Some(version) => Err(other_version(link, version)),
        None => {
            let context = format!(
                "the keyspace {:?} has no tables of Tally: make them with `tally store init`",
                link.place()
            );
            Err(PortError::new(ErrorKind::Invalid, context))
        }
    }
}

fn other_version(link: &Link, version: i64) -> PortError {
    let context = format!(
        "the tables in {:?} have version {version}, this program knows only {VERSION}: use the \
         program that made them, or another keyspace",
        link.place()
    );
    PortError::new(ErrorKind::Invalid, context)
}

/// The version of the tables; none where there are none.
fn version(link: &Link) -> Result<Option<i64>, PortError> {
    let keyspace = link.place().keyspace.clone();
    let has_table = link.ask::<(String,)>(format!(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'
         AND table_name = 'meta'"
    ))?;
    if has_table.is_empty() {
        return Ok(None);
    }
    let found = link.ask::<(Option<i64>,)>(format!(
        "SELECT number FROM {keyspace}.meta WHERE name = '{VERSION_NAME}'"
    ));
    Ok(found
        .map_err(|error| failure("read the version of the tables", error))?
        .into_iter()
        .find_map(|row| row.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_written_as_cql_has_it() {
        let simple = Replication::Anywhere(3).options();
        assert_eq!(simple, "'class': 'SimpleStrategy', 'replication_factor': 3");
        let named = Replication::Datacenters(vec![("eu".into(), 3), ("us-1".into(), 2)]).options();
        assert_eq!(named, "'class': 'NetworkTopologyStrategy', 'eu': 3, 'us-1': 2");
    }
}
