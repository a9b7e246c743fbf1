//! One face for all formats: the next record of a file, as an event or as a reason why not.

use std::io;

use super::access_log::{self, AccessLogReader, AccessLogRules};
use super::csv::CsvReader;
use super::ids::IdDeriver;
use super::ndjson::NdjsonReader;
use super::parquet::{self, ParquetReader};
use super::plan::Mapping;
use super::source::{self, Source};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    Ndjson,
    /// Comma-separated values, names in the first line
    Csv,
    /// Apache Parquet, a row a record
    Parquet,
    /// Web access log: host ident user [time] "request" status bytes
    Common,
    /// Web access log: common, then "referer" "user agent"
    Combined,
}

impl Format {
    /// From the name, then from the first bytes.
    pub(crate) fn detect(name: &str, head: &[u8]) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let stem = lower.strip_suffix(".zst").or(lower.strip_suffix(".gz")).unwrap_or(&lower);
        match stem.rsplit_once('.').map(|(_, extension)| extension) {
            Some("ndjson" | "jsonl") => return Some(Self::Ndjson),
            Some("csv") => return Some(Self::Csv),
            Some("parquet") => return Some(Self::Parquet),
            _ => {}
        }
        if head.starts_with(parquet::MAGIC) {
            return Some(Self::Parquet);
        }
        if head.trim_ascii_start().first() == Some(&b'{') {
            return Some(Self::Ndjson);
        }
        let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end).take(10);
        let first = lines.clone().next().unwrap_or_default();
        lines.find_map(access_log::detect).or_else(|| first.contains(&b',').then_some(Self::Csv))
    }
}

/// How to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOptions {
    /// None: from name and content.
    pub(crate) format: Option<Format>,
    pub(crate) mapping: Mapping,
    pub(crate) access_log: AccessLogRules,
}

/// Why a record is no event. Codes are those of the contract, and `odd_line` for a line that is not
/// of its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// One record that was read. Where it is an event, its line of NDJSON was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Line of the file, from 1, where it begins.
    pub(crate) line: u64,
    pub(crate) result: Result<(), Refusal>,
    /// It is an event, but by a rule for odd requests.
    pub(crate) is_odd: bool,
}

enum Kind {
    Ndjson(NdjsonReader),
    Csv(CsvReader),
    AccessLog(AccessLogReader),
    Parquet(Box<ParquetReader>),
}

/// Reads the records of one file.
pub(crate) struct Reader {
    name: String,
    compression: Option<&'static str>,
    kind: Kind,
}

impl Reader {
    /// Begins to read. The error says what to change in the arguments.
    pub(crate) fn new(source: Source, options: &ReadOptions) -> anyhow::Result<Self> {
        let Source { name, compression, head, reader, anywhere, .. } = source;
        let Some(format) = options.format.or_else(|| Format::detect(&name, &head)) else {
            anyhow::bail!(
                "cannot tell the format of `{name}`: say --format ndjson, csv, parquet, common or combined"
            );
        };
        let ids = IdDeriver::new(&head);
        let mapping = &options.mapping;
        let kind = match format {
            Format::Ndjson => NdjsonReader::new(reader, ids, mapping).map(Kind::Ndjson),
            Format::Csv => match CsvReader::new(reader, ids, mapping) {
                Ok(opened) => opened.map(Kind::Csv),
                Err(error) => return Err(source::read_error(&name, compression, error)),
            },
            Format::Parquet => match anywhere {
                None => Err(
                    "Parquet must be a file that can be read anywhere, not a stream or compressed"
                        .into(),
                ),
                Some(file) => match ParquetReader::new(file, ids, mapping) {
                    Ok(opened) => opened.map(|reader| Kind::Parquet(Box::new(reader))),
                    Err(error) => return Err(source::read_error(&name, compression, error)),
                },
            },
            Format::Common | Format::Combined => {
                let is_combined = format == Format::Combined;
                AccessLogReader::new(reader, ids, mapping, &options.access_log, is_combined)
                    .map(Kind::AccessLog)
            }
        };
        let kind = kind.map_err(|problem| anyhow::anyhow!("`{name}`: {problem}"))?;
        Ok(Self { name, compression, kind })
    }

    /// The next record, or none at the end.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> anyhow::Result<Option<Record>> {
        let record: io::Result<_> = match &mut self.kind {
            Kind::Ndjson(reader) => reader.next(out),
            Kind::Csv(reader) => reader.next(out),
            Kind::AccessLog(reader) => reader.next(out),
            Kind::Parquet(reader) => reader.next(out),
        };
        record.map_err(|error| source::read_error(&self.name, self.compression, error))
    }
}

#[cfg(test)]
pub(super) fn read_all(
    text: &[u8],
    options: &ReadOptions,
) -> (Vec<serde_json::Value>, Vec<Record>) {
    let source = source::from_bytes(text.to_vec());
    let mut reader = Reader::new(source, options).expect("a readable file");
    let (mut out, mut records) = (Vec::new(), Vec::new());
    while let Some(record) = reader.next(&mut out).expect("memory does not fail") {
        records.push(record);
    }
    let lines = out.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    (lines.map(|line| serde_json::from_slice(line).expect("an event")).collect(), records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_name_then_by_content() {
        let combined =
            b"1.2.3.4 - - [20/May/2015:12:05:17 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"x\"\n";
        let common = b"1.2.3.4 - - [20/May/2015:12:05:17 +0000] \"GET / HTTP/1.1\" 200 5\n";
        for (name, head, format) in [
            ("a.csv.zst", b"".as_slice(), Some(Format::Csv)),
            ("A.JSONL.gz", b"", Some(Format::Ndjson)),
            ("access.log", combined, Some(Format::Combined)),
            ("-", common, Some(Format::Common)),
            ("-", b" {\"item\":1}", Some(Format::Ndjson)),
            ("-", b"item,ts\n", Some(Format::Csv)),
            ("-", b"hello", None),
        ] {
            assert_eq!(Format::detect(name, head), format, "{name}");
        }
    }
}
