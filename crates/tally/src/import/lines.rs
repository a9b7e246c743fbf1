//! Splits a stream into lines, bounded: a file without line ends does not fill the memory.

use std::io::{self, BufRead};

/// The longest line that is read. An event of the contract is far below (16 attributes of 320
/// bytes).
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// A reader of lines that counts them from 1.
pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    number: u64,
    line: Vec<u8>,
    too_long: bool,
}

/// One line without its end.
pub(super) struct Line<'a> {
    pub(super) number: u64,
    pub(super) bytes: &'a [u8],
    /// The line is over [`MAX_LINE_BYTES`]; `bytes` is its beginning.
    pub(super) too_long: bool,
}

impl Lines {
    pub(super) fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Self { reader, number: 0, line: Vec::new(), too_long: false }
    }

    /// The next line, or none at the end. `\r\n` ends a line too.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.too_long = false;
        let mut seen = false;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                if !seen {
                    return Ok(None);
                }
                break;
            }
            seen = true;
            let end = memchr::memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = MAX_LINE_BYTES - self.line.len();
            self.too_long |= part.len() > room;
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        self.number += 1;
        let bytes = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(Some(Line { number: self.number, bytes, too_long: self.too_long }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &'static [u8]) -> Vec<(u64, Vec<u8>, bool)> {
        let mut lines = Lines::new(Box::new(io::BufReader::with_capacity(3, text)));
        let mut found = Vec::new();
        while let Some(line) = lines.next().expect("memory does not fail") {
            found.push((line.number, line.bytes.to_vec(), line.too_long));
        }
        found
    }

    #[test]
    fn lines_end_with_lf_crlf_or_the_file() {
        let expected = ["abcd", "", "e\0", "f"];
        let found = all(b"abcd\r\n\ne\0\nf");
        assert_eq!(found.len(), 4);
        for (i, (number, bytes, too_long)) in found.into_iter().enumerate() {
            assert_eq!((number, bytes.as_slice()), (i as u64 + 1, expected[i].as_bytes()));
            assert!(!too_long);
        }
        assert!(all(b"").is_empty());
        assert_eq!(all(b"\n").len(), 1);
    }

    #[test]
    fn an_endless_line_is_cut_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; MAX_LINE_BYTES + 1];
        text.extend_from_slice(b"\nnext\n");
        let found = all(text.leak());
        assert_eq!((found[0].1.len(), found[0].2), (MAX_LINE_BYTES, true));
        assert_eq!(found[1], (2, b"next".to_vec(), false));
    }
}
