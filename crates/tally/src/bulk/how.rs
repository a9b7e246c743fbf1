//! How a file of the bulk lane is read, as it stands in the log.

use serde::{Deserialize, Serialize};

use crate::import::{Format, Mapping, ReadOptions, ids};

/// How a file is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileFormat {
    Ndjson,
    Csv,
    Parquet,
}

/// As `tally send` takes it: `--map`, `--set`, `--shift-days`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    pub(crate) format: FileFormat,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) map: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) set: Vec<String>,
    #[serde(default)]
    pub(crate) shift_days: i64,
}

impl How {
    /// What the reader of files wants.
    ///
    /// # Errors
    /// Says which part of the mapping is wrong.
    pub(crate) fn options(&self) -> Result<ReadOptions, String> {
        let format = match self.format {
            FileFormat::Ndjson => Format::Ndjson,
            FileFormat::Csv => Format::Csv,
            FileFormat::Parquet => Format::Parquet,
        };
        let mapping = Mapping::parse(&self.map, &self.set, self.shift_days)?;
        Ok(ReadOptions { format: Some(format), mapping, ..ReadOptions::default() })
    }

    /// The text for the log.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("plain data is JSON")
    }

    /// Which file, read how: the same bytes with the same options are the same file.
    pub(super) fn id_of(&self, content: u128) -> model::BulkId {
        let content = content.to_be_bytes();
        model::BulkId(ids::digest([&content[..], self.text().as_bytes()]).as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_texts_never_change() {
        let how =
            How { format: FileFormat::Csv, map: vec!["item=x".into()], set: vec![], shift_days: 0 };
        assert_eq!(how.text(), r#"{"format":"csv","map":["item=x"],"shift_days":0}"#);
        assert_eq!(serde_json::from_str::<How>(&how.text()).expect("it is read"), how);
        assert_ne!(how.id_of(1), how.id_of(2));
        assert_ne!(how.id_of(1), How { shift_days: 1, ..how.clone() }.id_of(1));
        assert!(How { map: vec!["x".into()], ..how }.options().is_err());
    }
}
