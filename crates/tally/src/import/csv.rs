//! CSV as of RFC 4180 with the names in the first line. Columns named as in the contract, or
//! `event_id,item_id,event_type,ts,value,attr.NAME`, need no mapping; others are ignored.

use std::io::{self, BufRead};

use super::ids::IdDeriver;
use super::plan::{Mapping, Plan, Target};
use super::reader::{Record, Refusal};

/// Columns that are understood without a mapping, the first that exists of each.
const KNOWN: &[(Target, &[&str])] = &[
    (Target::Id, &["id", "event_id"]),
    (Target::Item, &["item", "item_id"]),
    (Target::EventType, &["type", "event_type"]),
    (Target::Time, &["time", "ts", "timestamp"]),
    (Target::Value, &["value"]),
];

pub(super) struct CsvReader {
    reader: csv::Reader<Box<dyn BufRead + Send>>,
    record: csv::ByteRecord,
    columns: usize,
    plan: Plan,
    ids: IdDeriver,
    position: u64,
}

impl CsvReader {
    /// Reads the names. The outer error is one of reading, the inner one of the mapping.
    pub(super) fn new(
        reader: Box<dyn BufRead + Send>,
        ids: IdDeriver,
        mapping: &Mapping,
    ) -> io::Result<Result<Self, String>> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
        let header = reader.byte_headers().map_err(into_io)?;
        let names: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mapping = with_known(mapping, &names);
        Ok(Plan::new(&mapping, &names).map(|plan| Self {
            reader,
            record: csv::ByteRecord::new(),
            columns: names.len(),
            plan,
            ids,
            position: 0,
        }))
    }

    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Option<Record>> {
        if !self.reader.read_byte_record(&mut self.record).map_err(into_io)? {
            return Ok(None);
        }
        self.position += 1;
        let line = self.record.position().map_or(0, csv::Position::line);
        let length = out.len();
        let result = self.event(out);
        if result.is_err() {
            out.truncate(length);
        }
        Ok(Some(Record { line, result, is_odd: false }))
    }

    fn event(&self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if self.record.len() != self.columns {
            let detail = format!(
                "the row has {} fields, the first line {}",
                self.record.len(),
                self.columns
            );
            return Err(Refusal::new("odd_line", detail));
        }
        if std::str::from_utf8(self.record.as_slice()).is_err() {
            return Err(Refusal::new("odd_line", "the row is not UTF-8"));
        }
        // The fields one after the other are UTF-8, but a field alone need not be.
        let field = |index: usize| std::str::from_utf8(&self.record[index]).unwrap_or_default();
        let derive = || self.ids.derive(self.position, &self.record);
        self.plan.write_event(field, &[], derive, out)
    }
}

pub(super) fn with_known(mapping: &Mapping, names: &[&str]) -> Mapping {
    let mut mapping = mapping.clone();
    for (target, known) in KNOWN {
        if let Some(name) = known.iter().find(|name| names.contains(name)) {
            mapping = mapping.with_default(target.clone(), name);
        }
    }
    for name in names {
        let attribute = name.strip_prefix("attr.").or_else(|| name.strip_prefix("attributes."));
        if let Some(attribute) = attribute.filter(|attribute| !attribute.is_empty()) {
            mapping = mapping.with_default(Target::Attribute(attribute.to_owned()), name);
        }
    }
    mapping
}

/// The only other errors of the reader are of a fixed number of fields and of UTF-8, which it is
/// not asked to look at.
fn into_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Format, ReadOptions, read_all};
    use super::*;

    fn options(map: &[&str]) -> ReadOptions {
        let map: Vec<String> = map.iter().map(ToString::to_string).collect();
        let mapping = Mapping::parse(&map, &[], 0).expect("a good mapping");
        ReadOptions { format: Some(Format::Csv), mapping, ..Default::default() }
    }

    #[test]
    fn known_columns_need_no_mapping_and_others_are_ignored() {
        let text = b"event_id,item_id,event_type,ts,value,attr.origin,extra.delay\n\
                     a1,\"LAX,\"\"LAS\"\"\",share,2001-01-01T00:01:00Z,2176,LAS,33\n\
                     ,\"two\nlines\",view,,,,\n\
                     a3,x,,,,,\n";
        let (events, records) = read_all(text, &options(&[]));
        assert_eq!(
            events[0],
            serde_json::json!({"id": "a1", "item": "LAX,\"LAS\"", "type": "share",
                "time": "2001-01-01T00:01:00Z", "value": 2176, "attributes": {"origin": "LAS"}})
        );
        assert_eq!(records[1].result.as_ref().expect_err("control").code, "invalid_item");
        assert_eq!(events[1], serde_json::json!({"id": "a3", "item": "x"}));
        assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [2, 3, 5]);
    }

    #[test]
    fn odd_rows_are_refused_and_reading_goes_on() {
        let text = b"item,value\na,1\nb\nc,1,2\n\xff,1\n\xc3,\xbc\nd,x\ne,2";
        let (events, records) = read_all(text, &options(&[]));
        let codes: Vec<_> =
            records.iter().map(|record| record.result.as_ref().err().map(|e| e.code)).collect();
        let odd = Some("odd_line");
        // The fifth is UTF-8 only when its fields are joined: an empty item.
        let expected = [None, odd, odd, odd, Some("invalid_item"), Some("invalid_value"), None];
        assert_eq!(codes, expected);
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn rows_without_an_id_have_one_of_their_content_and_position() {
        let text = b"item,value\na,1\na,1\n";
        let (events, _) = read_all(text, &options(&[]));
        assert_ne!(events[0]["id"], events[1]["id"]);
        assert_eq!(read_all(text, &options(&[])).0, events);
    }

    #[test]
    fn a_mapping_wins_over_known_columns() {
        let text = b"item,path,n\nignored,/a,5\n";
        let (events, _) = read_all(text, &options(&["item=path", "value=n"]));
        assert_eq!((&events[0]["item"], &events[0]["value"]), (&"/a".into(), &5.into()));
    }
}
