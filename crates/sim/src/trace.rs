//! What a run did, as a hash and, if asked for, as lines.

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    is_echoing: bool,
    lines: u64,
}

impl Trace {
    /// Nothing was done.
    pub(crate) fn new(is_echoing: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, is_echoing, lines: 0 }
    }

    /// Takes down a line.
    pub(crate) fn note(&mut self, line: String) {
        self.lines += 1;
        for byte in line.bytes().chain([b'\n']) {
            // FNV-1a.
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.is_echoing {
            println!("{:5} {line}", self.lines);
        }
    }

    /// Hash of all lines.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
