//! Many rows at once: keys that lie together are asked for in one statement, the statements side by side.

use std::collections::HashMap;
use std::sync::Arc;

use engine::ports::PortError;
use futures::{StreamExt, TryStreamExt};
use model::{Day, Hour, PartitionId, RowKey, StoredRow};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue::{BigInt, Int, List, Text, Tuple};

use super::Shared;
use super::rows::{bucket, read_hour};
use super::session::{Values, all_pages};
use super::snapshot::{Bytes, HourRow, damaged_row, read_row};

/// Reads under way at a time, of one question.
const READS_AT_A_TIME: usize = 64;
/// Names of one statement: ScyllaDB takes a hundred by default.
const NAMES_AT_A_TIME: usize = 64;

/// Where in the question each item and type stands.
type Places = HashMap<(String, String), Vec<usize>>;

/// The rows of keys, in the order asked.
pub(super) fn rows(
    shared: &Shared,
    partition: PartitionId,
    keys: &[RowKey<'_>],
) -> Result<Vec<Option<StoredRow>>, PortError> {
    let mut rows = vec![None; keys.len()];
    if keys.is_empty() {
        return Ok(rows);
    }
    let asked = shared.asked(partition, keys);
    let session = shared.link.session();
    let found: Vec<Vec<(usize, StoredRow)>> = shared.link.wait(async move {
        let answers = asked.into_iter().map(|asked| asked.answer(session.clone()));
        futures::stream::iter(answers).buffer_unordered(READS_AT_A_TIME).try_collect().await
    })?;
    for (at, row) in found.into_iter().flatten() {
        rows[at] = Some(row);
    }
    Ok(rows)
}

/// Keys that are asked for in one statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Group<'a> {
    Totals(i32),
    Hours(Hour, &'a str),
    Days(Day, &'a str),
}

impl<'a> Group<'a> {
    fn of(key: &RowKey<'a>) -> Self {
        match *key {
            RowKey::Total { item, .. } => Self::Totals(bucket(item)),
            RowKey::Hour { hour, event_type, .. } => Self::Hours(hour, event_type),
            RowKey::Day { day, event_type, .. } => Self::Days(day, event_type),
        }
    }
}

/// What is asked for in one statement: where in the question each name stands.
struct Asked {
    statement: PreparedStatement,
    values: Values,
    kind: AskedKind,
    places: Places,
}

#[derive(Clone, Copy)]
enum AskedKind {
    Totals,
    Hours,
    Days,
}

impl Shared {
    /// One question for some names of each group.
    fn asked(&self, id: PartitionId, keys: &[RowKey<'_>]) -> Vec<Asked> {
        let mut groups: HashMap<(Group<'_>, usize), Places> = HashMap::new();
        let mut sizes: HashMap<Group<'_>, usize> = HashMap::new();
        for (at, key) in keys.iter().enumerate() {
            let (RowKey::Total { item, event_type }
            | RowKey::Hour { item, event_type, .. }
            | RowKey::Day { item, event_type, .. }) = *key;
            let name = (item.to_owned(), event_type.to_owned());
            let size = sizes.entry(Group::of(key)).or_default();
            let part = (Group::of(key), *size / NAMES_AT_A_TIME);
            *size += 1;
            groups.entry(part).or_default().entry(name).or_default().push(at);
        }
        let id = Int(id.0.into());
        let of_group = |((group, _), places): ((Group<'_>, usize), Places)| {
            let items = || List(places.keys().map(|(item, _)| Text(item.clone())).collect());
            let (statement, values, kind) = match group {
                Group::Totals(bucket) => {
                    let name = |(item, event_type): &(String, String)| {
                        Tuple(vec![Some(Text(item.clone())), Some(Text(event_type.clone()))])
                    };
                    let names = List(places.keys().map(name).collect());
                    let values = vec![id.clone(), Int(bucket), names];
                    (&self.statements.totals, values, AskedKind::Totals)
                }
                Group::Hours(hour, event_type) => {
                    let event_type = Text(event_type.to_owned());
                    let values = vec![id.clone(), BigInt(hour.0.into()), event_type, items()];
                    (&self.statements.hours, values, AskedKind::Hours)
                }
                Group::Days(day, event_type) => {
                    let event_type = Text(event_type.to_owned());
                    let values = vec![id.clone(), BigInt(day.0.into()), event_type, items()];
                    (&self.statements.days, values, AskedKind::Days)
                }
            };
            Asked { statement: statement.clone(), values, kind, places }
        };
        groups.into_iter().map(of_group).collect()
    }
}

impl Asked {
    async fn answer(
        self,
        session: Arc<scylla::client::session::Session>,
    ) -> Result<Vec<(usize, StoredRow)>, PortError> {
        let Self { statement, values, kind, places } = self;
        // Of an hour or day all names have one type.
        let only_type = places.keys().next().map(|name| name.1.clone()).unwrap_or_default();
        let mut found = Vec::with_capacity(places.len());
        let mut take = |item: String, event_type: String, row: Option<StoredRow>| {
            if let (Some(row), Some(at)) = (row, places.get(&(item, event_type))) {
                found.extend(at.iter().map(|at| (*at, row.clone())));
            }
        };
        match kind {
            AskedKind::Totals => {
                type Row = (String, String, Bytes);
                for (item, event_type, counts) in
                    all_pages::<Row>(&session, &statement, values).await?
                {
                    take(item, event_type, read_row(counts)?);
                }
            }
            AskedKind::Hours => {
                for (item, counts, minutes) in
                    all_pages::<HourRow>(&session, &statement, values).await?
                {
                    let row = read_hour(counts, minutes).map_err(damaged_row)?;
                    take(item, only_type.clone(), row);
                }
            }
            AskedKind::Days => {
                for (item, counts) in
                    all_pages::<(String, Bytes)>(&session, &statement, values).await?
                {
                    take(item, only_type.clone(), read_row(counts)?);
                }
            }
        }
        Ok(found)
    }
}
