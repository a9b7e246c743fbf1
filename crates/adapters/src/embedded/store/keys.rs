//! Where things stand in the store: byte order of keys is the order in which they are read.
//!
//! Everything lies in one keyspace, because what commits together in one keyspace lets go of its
//! journal together. Numbers are big-endian. Items and types hold no control characters, so a zero
//! byte ends them.
//!
//! ```text
//! dead letter  partition u16 | 44 'D' | offset u64
//! repairs      partition u16 | 47 'G'                  where the newest corrections stood
//! a repair     partition u16 | 47 'G' | offset u64
//! hour         partition u16 | 48 'H' | hour u32 | type | 00 | item
//! checkpoint   partition u16 | 4B 'K'
//! folded       partition u16 | 4D 'M'
//! source       partition u16 | 51 'Q' | name
//! its state    partition u16 | 53 'S' | offset u64     of a letter; not there while that is open
//! total        partition u16 | 54 'T' | item | 00 | type
//! day          partition u16 | 59 'Y' | day u32 | type | 00 | item
//! cold until   41 'A'
//! bulk object  42 'B' | id u128
//! format       46 'F'
//! ```
//!
//! What a flush writes lies together, and nothing of others in between: the stretch of keys from the first
//! to the last of its rows is what a table covers, and who asks for a key looks into every table that covers
//! it. So the partition stands first, hours stand time first, and the checkpoint behind them: a flush of
//! recent events covers no hour of before, and none of another partition. All items of an hour and type
//! are one scan.

use model::bucket::TIME_MAX;
use model::limits::PARTITIONS_MAX;
use model::{BulkId, Day, Hour, Offset, PartitionId, RowKey};

use super::row::Damage;

/// The key of the format record.
pub(super) const FORMAT: [u8; 1] = [b'F'];

/// The key of the first day that is not in cold files.
pub(super) const COLD_UNTIL: [u8; 1] = [b'A'];

const CHECKPOINT: u8 = b'K';
const DEAD_LETTER: u8 = b'D';
const LETTER_STATE: u8 = b'S';
const SOURCE: u8 = b'Q';
/// What the keys of all bulk objects begin with.
pub(super) const BULK: [u8; 1] = [b'B'];
const TOTAL: u8 = b'T';
const HOUR: u8 = b'H';
const REPAIR: u8 = b'G';
const DAY: u8 = b'Y';
const FOLDED: u8 = b'M';

/// Bytes of an hour's or day's key before the event type: partition, tag, hour or day.
const HEAD: usize = 7;

/// Keys without a partition sort behind all that have one.
const _: () = assert!(PARTITIONS_MAX.to_be_bytes()[0] < COLD_UNTIL[0]);

/// The key of a partition's checkpoint.
pub(super) fn checkpoint(partition: PartitionId) -> [u8; 3] {
    tagged(CHECKPOINT, partition)
}

/// The key of the mark up to where a partition's hours are folded.
pub(super) fn folded(partition: PartitionId) -> [u8; 3] {
    tagged(FOLDED, partition)
}

/// The key of a dead letter.
pub(super) fn dead_letter(partition: PartitionId, offset: Offset) -> [u8; 11] {
    tagged_offset(DEAD_LETTER, partition, offset)
}

/// The key of a dead letter's state.
pub(super) fn letter_state(partition: PartitionId, offset: Offset) -> [u8; 11] {
    tagged_offset(LETTER_STATE, partition, offset)
}

/// The key of a bulk object.
pub(super) fn bulk(id: BulkId) -> [u8; 17] {
    let mut key = [BULK[0]; 17];
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    key
}

/// The key of a source; with no name, what those of a partition begin with.
pub(super) fn source(partition: PartitionId, name: &str) -> Vec<u8> {
    [&tagged(SOURCE, partition), name.as_bytes()].concat()
}

/// The name in a source's key.
pub(super) fn source_name(key: &[u8]) -> Result<&str, Damage> {
    let name = std::str::from_utf8(key.get(3..).ok_or(Damage::Length)?);
    name.ok().filter(|name| model::event::is_source(name)).ok_or(Damage::Text)
}

/// The key of where a partition's newest corrections stood; all its repairs begin with it.
pub(super) fn repairs(partition: PartitionId) -> [u8; 3] {
    tagged(REPAIR, partition)
}

/// The key of a repair, by the offset of its control record.
pub(super) fn repair(partition: PartitionId, offset: Offset) -> [u8; 11] {
    tagged_offset(REPAIR, partition, offset)
}

/// The offset in a repair's key.
pub(super) fn repair_offset(key: &[u8]) -> Option<Offset> {
    dead_letter_offset(key)
}

fn tagged_offset(tag: u8, partition: PartitionId, offset: Offset) -> [u8; 11] {
    let mut key = [0; 11];
    key[..3].copy_from_slice(&tagged(tag, partition));
    key[3..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// The offset in a dead letter's key.
pub(super) fn dead_letter_offset(key: &[u8]) -> Option<Offset> {
    Some(Offset(u64::from_be_bytes(key.get(3..)?.try_into().ok()?)))
}

/// Replaces `key` by the key of a row.
pub(super) fn row(key: &mut Vec<u8>, partition: PartitionId, row: &RowKey<'_>) {
    key.clear();
    match row {
        RowKey::Total { item, event_type } => {
            key.extend_from_slice(&tagged(TOTAL, partition));
            key.extend_from_slice(item.as_bytes());
            key.push(0);
            key.extend_from_slice(event_type.as_bytes());
        }
        RowKey::Hour { hour, event_type, item } => {
            head_type(key, &hour_head(partition, *hour), event_type);
            key.extend_from_slice(item.as_bytes());
        }
        RowKey::Day { day, event_type, item } => {
            head_type(key, &day_head(partition, *day), event_type);
            key.extend_from_slice(item.as_bytes());
        }
    }
}

/// Replaces `key` by what all rows of an hour or day and a type begin with.
pub(super) fn head_type(key: &mut Vec<u8>, head: &[u8; HEAD], event_type: &str) {
    key.clear();
    key.extend_from_slice(head);
    key.extend_from_slice(event_type.as_bytes());
    key.push(0);
}

/// What all rows of an hour begin with.
pub(super) fn hour_head(partition: PartitionId, hour: Hour) -> [u8; HEAD] {
    head(HOUR, partition, hour.0)
}

/// What all rows of a day begin with.
pub(super) fn day_head(partition: PartitionId, day: Day) -> [u8; HEAD] {
    head(DAY, partition, day.0)
}

fn head(tag: u8, partition: PartitionId, number: u32) -> [u8; HEAD] {
    let mut key = [0; HEAD];
    key[..3].copy_from_slice(&tagged(tag, partition));
    key[3..].copy_from_slice(&number.to_be_bytes());
    key
}

/// What all totals of a partition begin with.
pub(super) fn totals(partition: PartitionId) -> [u8; 3] {
    tagged(TOTAL, partition)
}

/// The item and type in a total's key.
pub(super) fn total_row(key: &[u8]) -> Result<(&str, &str), Damage> {
    two_texts(key.get(3..).ok_or(Damage::Length)?)
}

/// The hour, type and item in an hour row's key.
pub(super) fn hour_row(key: &[u8]) -> Result<(Hour, &str, &str), Damage> {
    let (_, hour) = partition_and_hour(key)?;
    let (event_type, item) = two_texts(&key[HEAD..])?;
    Ok((hour, event_type, item))
}

/// The day, type and item in a day row's key.
pub(super) fn day_row(key: &[u8]) -> Result<(Day, &str, &str), Damage> {
    let (_, day) = partition_and_day(key)?;
    let (event_type, item) = two_texts(&key[HEAD..])?;
    Ok((day, event_type, item))
}

fn two_texts(bytes: &[u8]) -> Result<(&str, &str), Damage> {
    let text = std::str::from_utf8(bytes).map_err(|_| Damage::Text)?;
    text.split_once('\0').ok_or(Damage::Text)
}

/// What is kept of the key of an hour row as the mark of folding.
pub(super) fn fold_mark(key: &[u8]) -> &[u8] {
    &key[3..]
}

/// The key that a mark of folding stands for.
pub(super) fn hours_from(partition: PartitionId, mark: &[u8]) -> Result<Vec<u8>, Damage> {
    let key = [&tagged(HOUR, partition)[..], mark].concat();
    partition_and_hour(&key).map(|_| key)
}

/// The first key after all hours of a partition.
pub(super) fn hours_end(partition: PartitionId) -> [u8; 3] {
    tagged(HOUR + 1, partition)
}

/// The first key after all days of a partition.
pub(super) fn days_end(partition: PartitionId) -> [u8; 3] {
    tagged(DAY + 1, partition)
}

/// What the rows after those of an hour begin with at least.
pub(super) fn after_hour(partition: PartitionId, hour: Hour) -> [u8; HEAD] {
    hour_head(partition, Hour(hour.0 + 1))
}

/// What the rows after those of a day begin with at least.
pub(super) fn after_day(partition: PartitionId, day: Day) -> [u8; HEAD] {
    day_head(partition, Day(day.0 + 1))
}

/// The partition and hour in an hour row's key.
pub(super) fn partition_and_hour(key: &[u8]) -> Result<(PartitionId, Hour), Damage> {
    let last = TIME_MAX.minute().hour();
    partition_and_number(HOUR, key, last.0).map(|(partition, hour)| (partition, Hour(hour)))
}

/// The partition and day in a day row's key.
pub(super) fn partition_and_day(key: &[u8]) -> Result<(PartitionId, Day), Damage> {
    let last = TIME_MAX.minute().hour().day();
    partition_and_number(DAY, key, last.0).map(|(partition, day)| (partition, Day(day)))
}

/// No event is later than `last`, so that whoever counts on from there need not fear its end.
fn partition_and_number(tag: u8, key: &[u8], last: u32) -> Result<(PartitionId, u32), Damage> {
    let (head, _) = key.split_first_chunk::<HEAD>().ok_or(Damage::Length)?;
    let [p0, p1, stored, number @ ..] = *head;
    let number = u32::from_be_bytes(number);
    if stored != tag {
        return Err(Damage::Marks);
    }
    if number > last {
        return Err(Damage::Number);
    }
    Ok((PartitionId(u16::from_be_bytes([p0, p1])), number))
}

fn tagged(tag: u8, partition: PartitionId) -> [u8; 3] {
    let [high, low] = partition.0.to_be_bytes();
    [high, low, tag]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(partition: u16, key: &RowKey<'_>) -> Vec<u8> {
        let mut out = b"left over".to_vec();
        row(&mut out, PartitionId(partition), key);
        out
    }

    #[test]
    fn golden_keys() {
        let total = RowKey::Total { item: "v1", event_type: "view" };
        assert_eq!(bytes(258, &total), b"\x01\x02Tv1\0view");
        let hour = RowKey::Hour { hour: Hour(0x0102_0304), event_type: "view", item: "v1" };
        assert_eq!(bytes(258, &hour), b"\x01\x02H\x01\x02\x03\x04view\0v1");
        let day = RowKey::Day { day: Day(0x0102_0304), event_type: "view", item: "v1" };
        assert_eq!(bytes(258, &day), b"\x01\x02Y\x01\x02\x03\x04view\0v1");
        assert_eq!(checkpoint(PartitionId(258)), *b"\x01\x02K");
        assert_eq!(folded(PartitionId(258)), *b"\x01\x02M");
        assert_eq!(
            dead_letter(PartitionId(258), Offset(0x0a0b)),
            *b"\x01\x02D\0\0\0\0\0\0\x0a\x0b"
        );
        assert_eq!(
            letter_state(PartitionId(258), Offset(0x0a0b)),
            *b"\x01\x02S\0\0\0\0\0\0\x0a\x0b"
        );
        assert_eq!(repairs(PartitionId(258)), *b"\x01\x02G");
        assert_eq!(repair(PartitionId(258), Offset(7)), *b"\x01\x02G\0\0\0\0\0\0\0\x07");
        assert_eq!(repair_offset(&repair(PartitionId(258), Offset(7))), Some(Offset(7)));
        assert_eq!(repair_offset(&repairs(PartitionId(258))), None);
        assert_eq!(FORMAT, *b"F");
        assert_eq!(bulk(BulkId(0x0102)), *b"B\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02");
        assert_eq!(source(PartitionId(258), "s 1"), b"\x01\x02Qs 1");
        assert_eq!(source_name(b"\x01\x02Qs 1"), Ok("s 1"));
        assert_eq!(source_name(b"\x01\x02Q"), Err(Damage::Text));
        assert_eq!(source_name(b"\x01\x02"), Err(Damage::Length));
        assert_eq!(COLD_UNTIL, *b"A");
    }

    #[test]
    fn reads_back_what_the_store_needs_of_a_key() {
        let key = bytes(7, &RowKey::Hour { hour: Hour(9), event_type: "t", item: "i" });
        assert_eq!(partition_and_hour(&key), Ok((PartitionId(7), Hour(9))));
        assert!(key[..] < after_hour(PartitionId(7), Hour(9))[..]);
        assert_eq!(hour_row(&key), Ok((Hour(9), "t", "i")));
        assert_eq!(hour_row(&key[..8]), Err(Damage::Text));
        let total = bytes(7, &RowKey::Total { item: "i", event_type: "t" });
        assert_eq!(total_row(&total), Ok(("i", "t")));
        assert_eq!(total_row(&total[..2]), Err(Damage::Length));
        assert_eq!(partition_and_hour(&key[..6]), Err(Damage::Length));
        assert_eq!(partition_and_hour(b"\0\0T\0\0\0\0"), Err(Damage::Marks));
        // Nothing was ever counted in the last hour of all: the key is damaged.
        assert_eq!(partition_and_hour(b"\0\0H\xff\xff\xff\xff"), Err(Damage::Number));
        let key = bytes(7, &RowKey::Day { day: Day(9), event_type: "t", item: "i" });
        assert_eq!(partition_and_day(&key), Ok((PartitionId(7), Day(9))));
        assert!(key[..] < after_day(PartitionId(7), Day(9))[..]);
        assert_eq!(day_row(&key), Ok((Day(9), "t", "i")));
        assert_eq!(day_row(&key[..8]), Err(Damage::Text));
        assert_eq!(partition_and_day(b"\0\0H\0\0\0\0"), Err(Damage::Marks));
        assert_eq!(partition_and_day(b"\0\0Y\xff\xff\xff\xff"), Err(Damage::Number));
        let key = bytes(7, &RowKey::Hour { hour: Hour(9), event_type: "t", item: "i" });
        assert_eq!(fold_mark(&key), b"\0\0\0\x09t\0i");
        assert_eq!(hours_from(PartitionId(7), fold_mark(&key)), Ok(key));
        assert_eq!(hours_from(PartitionId(7), b"\0\0\x09"), Err(Damage::Length));
        let key = dead_letter(PartitionId(7), Offset(9));
        assert_eq!(dead_letter_offset(&key), Some(Offset(9)));
        assert_eq!(dead_letter_offset(&key[..10]), None);
    }

    proptest! {
        #[test]
        fn byte_order_is_key_order(
            (item_a, item_b) in ("[ a-c日]{1,4}", "[ a-c日]{1,4}"),
            (type_a, type_b) in ("[a-b.]{1,3}", "[a-b.]{1,3}"),
            (hour_a, hour_b) in (any::<u32>(), any::<u32>()),
        ) {
            let (total_a, total_b) = (
                RowKey::Total { item: &item_a, event_type: &type_a },
                RowKey::Total { item: &item_b, event_type: &type_b },
            );
            prop_assert_eq!(total_a.cmp(&total_b), bytes(1, &total_a).cmp(&bytes(1, &total_b)));
            let (hour_a, hour_b) = (
                RowKey::Hour { hour: Hour(hour_a), event_type: &type_a, item: &item_a },
                RowKey::Hour { hour: Hour(hour_b), event_type: &type_b, item: &item_b },
            );
            prop_assert_eq!(hour_a.cmp(&hour_b), bytes(1, &hour_a).cmp(&bytes(1, &hour_b)));
        }
    }
}
