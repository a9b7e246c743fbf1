//! The attributes of a record.

use super::Reader;

/// Gives the attributes of a record, name and value, in the order they were sent.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// All of them, encoded.
    encoded: &'a [u8],
    /// The same, where it is ASCII: then each text is a part of it.
    ascii: Option<&'a str>,
    at: usize,
    /// Of the block that is being read.
    left: u64,
}

impl<'a> Attributes<'a> {
    /// Of bytes that were checked when the record was read.
    pub(super) fn of(encoded: &'a [u8]) -> Self {
        let ascii = encoded.is_ascii().then(|| std::str::from_utf8(encoded).ok()).flatten();
        Self { encoded, ascii, at: 0, left: 0 }
    }

    fn text(&mut self) -> Option<&'a str> {
        let mut reader = Reader(&self.encoded[self.at..]);
        let bytes = reader.bytes().ok()?;
        self.at = self.encoded.len() - reader.0.len();
        match self.ascii {
            Some(ascii) => ascii.get(self.at - bytes.len()..self.at),
            None => std::str::from_utf8(bytes).ok(),
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let mut reader = Reader(&self.encoded[self.at..]);
            self.left = reader.attribute_count().ok().filter(|&count| count > 0)?;
            self.at = self.encoded.len() - reader.0.len();
        }
        self.left -= 1;
        Some((self.text()?, self.text()?))
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{Record, RecordError};

    /// A record of item `v` with these attributes, encoded.
    fn record(attributes: &[u8]) -> Vec<u8> {
        // Id "a", item "v", type "t", time 0, no value.
        let head = [4, 2, b'a', 2, b'v', 2, b't', 2, 0, 0];
        [&head, attributes, &[0]].concat()
    }

    #[test]
    fn blocks_of_others_are_read_whole() {
        // Two blocks, the second with its size in front.
        let blocks = b"\x02\x02a\x021\x01\x10\x04bc\x06\xe2\x82\xac\x00";
        for (blocks, last) in [(&blocks[..], "€"), (b"\x02\x02a\x021\x01\x0a\x04bc\x00\x00", "")]
        {
            let record = record(blocks);
            let record = Record::read(&record).expect("a record");
            assert_eq!(record.attributes().collect::<Vec<_>>(), [("a", "1"), ("bc", last)]);
        }
    }

    #[test]
    fn texts_are_utf_8_each_by_itself() {
        // The name ends in the middle of a character, which the length of the value would end:
        // 0xc2 0x80 is one, and 0x80 0x01 a length of 64.
        let mut split = b"\x02\x02\xc2\x80\x01".to_vec();
        split.extend([b'x'; 64]);
        split.push(0);
        assert!(std::str::from_utf8(&split).is_ok());
        assert_eq!(Record::read(&record(&split)), Err(RecordError::Text));
        assert!(Record::read(&record(b"\x02\x02a\x02\xff\x00")).is_err());
        assert_eq!(Record::read(&record(b"\x02\x02a\x7f\x00")), Err(RecordError::Length));
    }
}
