//! The manifest of a backup: what belongs to it, and how each file is known to be whole.
//!
//! ```text
//! {"crc32c":"0b1c2d3e","manifest":{"format":1,"program":"tally 0.1.0","begun":"…","finished":"…",
//!  "partitions":[{"partition":0,"log_epoch":3,"start_offset":0,"checkpoint_offset":9,"durable_offset":12}],
//!  "files":[{"path":"log/log.meta","bytes":16,"crc32c":"8f01…"}]}}
//! ```
//!
//! The checksum in front is that of the text of `manifest`, from brace to brace. Paths are relative, in
//! byte order, with `/` between names.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use engine::ports::{ErrorKind, PortError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::files::sync_folder;
use super::refused;

/// The name of the manifest's file.
pub const MANIFEST: &str = "manifest.json";
/// Its name until it is whole.
pub(super) const UNFINISHED: &str = "manifest.unfinished";
/// The version of the format.
pub(super) const FORMAT: u32 = 1;
/// Larger is no manifest.
const BYTES_MAX: u64 = 256 << 20;

/// What a backup holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// What wrote it.
    pub program: String,
    /// When it was begun: what was acknowledged by then is in it. RFC 3339.
    pub begun: String,
    /// When it was whole.
    pub finished: String,
    /// What the copy of each partition's log holds.
    pub partitions: Vec<PartitionEntry>,
    /// Every file but the manifest.
    pub files: Vec<FileEntry>,
}

/// A partition in a backup. All in it is counted once a start has replayed
/// `[checkpoint_offset, durable_offset)`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionEntry {
    /// Which one.
    pub partition: u16,
    /// Identity of the log that was copied.
    pub log_epoch: u32,
    /// The first offset in the copy.
    pub start_offset: u64,
    /// The first offset that is not in the copy's counter store.
    pub checkpoint_offset: u64,
    /// The first offset after the copy.
    pub durable_offset: u64,
}

/// A file in a backup.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it is, below the backup's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// CRC32C of its bytes.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub crc32c: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    crc32c: u32,
    manifest: Box<RawValue>,
}

fn to_hex<S: Serializer>(crc: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{crc:08x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    let crc = u32::from_str_radix(&text, 16).ok().filter(|crc| format!("{crc:08x}") == text);
    crc.ok_or_else(|| serde::de::Error::custom("a checksum is eight hexadecimal digits"))
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Writes it, at once and durable: with it a folder becomes a backup.
    pub(super) fn store(&self, folder: &Path) -> Result<(), PortError> {
        let (path, unfinished) = (folder.join(MANIFEST), folder.join(UNFINISHED));
        let text = self.seal().map_err(|error| refused("write", &path)(error.into()))?;
        let mut file = File::create(&unfinished).map_err(refused("make", &unfinished))?;
        file.write_all(text.as_bytes()).map_err(refused("write", &unfinished))?;
        file.sync_all().map_err(refused("sync", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(refused("name", &path))?;
        sync_folder(folder)
    }

    fn seal(&self) -> serde_json::Result<String> {
        let manifest = serde_json::value::to_raw_value(self)?;
        let crc32c = crc32c::crc32c(manifest.get().as_bytes());
        serde_json::to_string(&Sealed { crc32c, manifest })
    }

    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// `Invalid` where the folder is no backup or one of a later program, `Corrupt` where the manifest
    /// is damaged, `Unavailable` where the disk refuses.
    pub fn load(folder: &Path) -> Result<Self, PortError> {
        let path = folder.join(MANIFEST);
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let context = format!(
                    "{} holds no {MANIFEST}: it is no backup, or one that broke off; use another",
                    folder.display()
                );
                return Err(PortError::new(ErrorKind::Invalid, context));
            }
            Err(error) => return Err(refused("read", &path)(error)),
        };
        if size > BYTES_MAX {
            return Err(damaged(&path, "it is too large"));
        }
        let bytes = fs::read(&path).map_err(refused("read", &path))?;
        Self::open(&bytes).map_err(|what| match what {
            Bad::Damage(what) => damaged(&path, what),
            Bad::Version(format) => {
                let context = format!(
                    "{} has format {format}, this program knows only {FORMAT}: use the one that \
                     wrote it",
                    path.display()
                );
                PortError::new(ErrorKind::Invalid, context)
            }
        })
    }

    fn open(bytes: &[u8]) -> Result<Self, Bad> {
        let not_json = |_| Bad::Damage("it is not what a backup writes");
        let Sealed { crc32c: expected, manifest } =
            serde_json::from_slice(bytes).map_err(not_json)?;
        if crc32c::crc32c(manifest.get().as_bytes()) != expected {
            return Err(Bad::Damage("its checksum is wrong"));
        }
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let Versioned { format } = serde_json::from_str(manifest.get()).map_err(not_json)?;
        if format != FORMAT {
            return Err(Bad::Version(format));
        }
        let manifest: Self = serde_json::from_str(manifest.get()).map_err(not_json)?;
        match manifest.files.iter().all(|file| is_inside(&file.path)) {
            true => Ok(manifest),
            false => Err(Bad::Damage("it names a file outside of the backup")),
        }
    }
}

/// Why bytes are no manifest for this program.
#[derive(Debug, PartialEq, Eq)]
enum Bad {
    Damage(&'static str),
    Version(u32),
}

fn damaged(path: &Path, what: &str) -> PortError {
    let context = format!("{} is damaged: {what}; use another backup", path.display());
    PortError::new(ErrorKind::Corrupt, context)
}

/// Whether a path leads to a file below the folder and to nowhere else.
fn is_inside(path: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains('\0');
    path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let entry = |path: &str, crc32c| FileEntry { path: path.into(), bytes: 16, crc32c };
        Manifest {
            format: FORMAT,
            program: "tally 0.1.0".into(),
            begun: "2026-11-21T10:00:00Z".into(),
            finished: "2026-11-21T10:00:01Z".into(),
            partitions: vec![PartitionEntry {
                partition: 0,
                log_epoch: 3,
                start_offset: 0,
                checkpoint_offset: 9,
                durable_offset: 12,
            }],
            files: vec![entry("log/log.meta", 0x0b1c_2d3e), entry("store/a/b", 7)],
        }
    }

    #[test]
    fn golden_text() {
        let text = manifest().seal().unwrap();
        let expected = r#""manifest":{"format":1,"program":"tally 0.1.0","begun":"2026-11-21T10:00:00Z","finished":"2026-11-21T10:00:01Z","partitions":[{"partition":0,"log_epoch":3,"start_offset":0,"checkpoint_offset":9,"durable_offset":12}],"files":[{"path":"log/log.meta","bytes":16,"crc32c":"0b1c2d3e"},{"path":"store/a/b","bytes":16,"crc32c":"00000007"}]}}"#;
        let (head, body) = text.split_once(',').unwrap();
        assert!(head.starts_with("{\"crc32c\":\"") && head.len() == 20, "{head}");
        assert_eq!(body, expected);
        assert_eq!(Manifest::open(text.as_bytes()), Ok(manifest()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let text = manifest().seal().unwrap().into_bytes();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::open(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..text.len() {
            assert!(Manifest::open(&text[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn other_versions_and_paths_that_lead_out_are_refused() {
        let later = Manifest { format: 2, ..manifest() };
        assert_eq!(Manifest::open(later.seal().unwrap().as_bytes()), Err(Bad::Version(2)));
        for path in ["../x", "/etc/passwd", "a/../../x", "", "a//b", "./a"] {
            let mut out = manifest();
            out.files[0].path = path.into();
            let opened = Manifest::open(out.seal().unwrap().as_bytes());
            assert!(matches!(opened, Err(Bad::Damage(_))), "{path}");
        }
    }
}
