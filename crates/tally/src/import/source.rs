//! Opens what is to be sent: a file or standard input, decompressed as its first bytes say.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;

use super::ids::{self, HEAD_BYTES};
use super::parquet::ReadAt;
use super::reader::Format;

const BUFFER_BYTES: usize = 256 << 10;
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// An open file.
pub(crate) struct Source {
    /// As the user wrote it; `standard input` for `-`.
    pub(crate) name: String,
    /// A digest of every byte as stored: what is taken for the same file is not counted again.
    /// Standard input has none.
    pub(crate) identity: Option<u128>,
    /// Size as stored, where it is known.
    pub(crate) stored_bytes: Option<u64>,
    /// How many bytes have been read, as stored.
    pub(crate) read_bytes: Arc<AtomicU64>,
    /// The first bytes, decompressed.
    pub(super) head: Vec<u8>,
    /// All bytes, decompressed, those of the head included.
    pub(super) reader: Box<dyn BufRead + Send>,
    /// What it is compressed with.
    pub(crate) compression: Option<&'static str>,
    /// All bytes as stored, in any order, where that is possible and they are not compressed.
    pub(super) anywhere: Option<Arc<dyn ReadAt>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a path; `-` is standard input. Reads all of a file once, to identify it.
    pub(crate) fn open(path: &str) -> anyhow::Result<Self> {
        let mut source = Self::open_unidentified(path)?;
        if source.stored_bytes.is_some() {
            let context = || format!("cannot read `{path}`");
            let file = File::open(Path::new(path)).with_context(context)?;
            source.identity = Some(ids::digest_all(file).with_context(context)?);
        }
        Ok(source)
    }

    /// How it is written, from its name and its beginning.
    pub(crate) fn detect(&self) -> Option<Format> {
        Format::detect(&self.name, &self.head)
    }

    /// As [`Source::open`], without an identity.
    pub(crate) fn open_unidentified(path: &str) -> anyhow::Result<Self> {
        if path == "-" {
            return Self::new("standard input", Box::new(io::stdin()), u64::MAX);
        }
        let context = || format!("cannot read `{path}`");
        let file = File::open(Path::new(path)).with_context(context)?;
        let metadata = file.metadata().with_context(context)?;
        if metadata.is_dir() {
            anyhow::bail!("`{path}` is a folder; name the files in it");
        }
        let stored_bytes = metadata.is_file().then_some(metadata.len());
        let again: Option<Arc<dyn ReadAt>> = match metadata.is_file() {
            true => Some(Arc::new(file.try_clone().with_context(context)?)),
            false => None,
        };
        let source = Self::new(path, Box::new(file), u64::MAX).with_context(context)?;
        let anywhere = again.filter(|_| source.compression.is_none());
        Ok(Self { stored_bytes, anywhere, ..source })
    }

    /// Something that can be read anywhere, and its reader from the front. `expanded_max` is what
    /// it may become when it is decompressed.
    pub(crate) fn of_object(
        name: &str,
        anywhere: impl ReadAt + 'static,
        front: impl Read + Send + 'static,
        expanded_max: u64,
    ) -> anyhow::Result<Self> {
        let stored_bytes = Some(anywhere.size());
        let source = Self::new(name, Box::new(front), expanded_max)?;
        let anywhere: Option<Arc<dyn ReadAt>> =
            source.compression.is_none().then(|| Arc::new(anywhere) as _);
        Ok(Self { stored_bytes, anywhere, ..source })
    }

    fn new(name: &str, raw: Box<dyn Read + Send>, expanded_max: u64) -> anyhow::Result<Self> {
        let read_bytes = Arc::new(AtomicU64::new(0));
        let counted = CountingReader { inner: raw, count: Arc::clone(&read_bytes) };
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, counted);
        let magic = read_head(&mut raw, ZSTD_MAGIC.len())?;
        let whole = Cursor::new(magic.clone()).chain(raw);
        let (compression, expanded): (_, Box<dyn BufRead + Send>) = if magic.starts_with(ZSTD_MAGIC)
        {
            let decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            (Some("zstd"), Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)))
        } else if magic.starts_with(GZIP_MAGIC) {
            let decoder = flate2::bufread::MultiGzDecoder::new(whole);
            (Some("gzip"), Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)))
        } else {
            (None, Box::new(whole))
        };
        let left = if compression.is_some() { expanded_max } else { u64::MAX };
        let mut reader = Bounded { inner: expanded, left };
        let mut head = match read_head(&mut reader, HEAD_BYTES) {
            Ok(head) => head,
            Err(error) => return Err(read_error(name, compression, error)),
        };
        if head.starts_with(BYTE_ORDER_MARK) {
            head.drain(..BYTE_ORDER_MARK.len());
        }
        let reader = Box::new(Cursor::new(head.clone()).chain(reader));
        let (identity, stored_bytes, anywhere) = (None, None, None);
        let name = name.to_owned();
        Ok(Self { name, identity, stored_bytes, read_bytes, head, reader, compression, anywhere })
    }
}

/// Explains an error of reading: a broken compressed file is the usual one.
pub(super) fn read_error(
    name: &str,
    compression: Option<&'static str>,
    error: io::Error,
) -> anyhow::Error {
    let text = match (compression, error.kind()) {
        (Some(kind), io::ErrorKind::UnexpectedEof) => {
            format!("the {kind} data of `{name}` is cut short: fetch the whole file again")
        }
        (Some(kind), _) => format!("the {kind} data of `{name}` is damaged"),
        (None, _) => format!("cannot read `{name}`"),
    };
    anyhow::Error::new(error).context(text)
}

/// Reads up to so many bytes; fewer only at the end.
fn read_head(reader: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(bytes);
    reader.take(bytes as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Ends with an error where more comes out of a decoder than is allowed.
struct Bounded {
    inner: Box<dyn BufRead + Send>,
    left: u64,
}

impl BufRead for Bounded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.left;
        let buffer = self.inner.fill_buf()?;
        if left == 0 && !buffer.is_empty() {
            let error = "it expands to far more than a usual file does";
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(&buffer[..buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, bytes: usize) {
        self.left -= bytes as u64;
        self.inner.consume(bytes);
    }
}

impl Read for Bounded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

struct CountingReader {
    inner: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for CountingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(super) fn try_from_bytes(bytes: Vec<u8>) -> anyhow::Result<Source> {
    let bytes = bytes::Bytes::from(bytes);
    Source::of_object("test", bytes.clone(), Cursor::new(bytes), 1 << 30)
}

#[cfg(test)]
pub(super) fn from_bytes(bytes: Vec<u8>) -> Source {
    try_from_bytes(bytes).expect("readable")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn content(mut source: Source) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        source.reader.read_to_end(&mut all)?;
        Ok(all)
    }

    fn text() -> Vec<u8> {
        (0..20_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn plain_zstd_and_gzip_in_several_members_give_the_same_bytes_and_head() {
        let text = text();
        let (first, second) = text.split_at(70_001);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("memory");
        let forms = [
            text.clone(),
            zstd(&text),
            gzip(&text),
            [zstd(first), zstd(second)].concat(),
            [gzip(first), gzip(second)].concat(),
        ];
        for form in forms {
            let source = from_bytes(form);
            assert_eq!(source.head, text[..HEAD_BYTES]);
            assert_eq!(content(source).expect("whole"), text);
        }
    }

    #[test]
    fn a_cut_compressed_file_is_an_error_and_never_an_end() {
        let text = text();
        for whole in [zstd::encode_all(text.as_slice(), 1).expect("memory"), gzip(&text)] {
            let cut = whole[..whole.len() - 20].to_vec();
            let source = from_bytes(cut);
            let (name, compression) = (source.name.clone(), source.compression);
            let error = read_error(&name, compression, content(source).expect_err("cut"));
            assert!(format!("{error:#}").contains("cut short"), "{error:#}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_content() {
        assert_eq!(content(from_bytes("\u{feff}a,b".into())).expect("memory"), b"a,b");
    }
}
