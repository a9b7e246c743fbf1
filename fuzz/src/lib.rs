//! The fuzz targets: one function for each decoder of bytes that come from outside or from disk.
//!
//! A target takes any bytes and panics where a promise is broken; that bytes are refused is fine.
//! `scripts/fuzz` looks for such bytes, and `cargo test` runs every target over `fuzz/seeds/`.

mod record;
mod text;

use adapters::archive::fuzz as archived;
use adapters::embedded::fuzz as stored;
use tally::fuzz as outside;

/// Something that takes any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of the folder with its seeds.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "record", run: record::record },
    Target { name: "value", run: text::value },
    Target { name: "time", run: text::time },
    Target { name: "segment", run: stored::segment },
    Target { name: "log", run: stored::log },
    Target { name: "log_files", run: stored::files },
    Target { name: "index", run: stored::index },
    Target { name: "row", run: stored::row },
    Target { name: "letter", run: stored::letter },
    Target { name: "routing", run: stored::routing },
    Target { name: "manifest", run: archived::manifest },
    Target { name: "details", run: stored::details },
    Target { name: "json", run: outside::json },
    Target { name: "ndjson", run: outside::ndjson },
    Target { name: "item_lines", run: outside::item_lines },
    Target { name: "cloud_events", run: outside::cloud_events },
    Target { name: "avro", run: outside::avro },
    Target { name: "avro_block", run: outside::avro_block },
    Target { name: "encoded", run: outside::encoded },
    Target { name: "query", run: outside::query },
    Target { name: "csv", run: outside::csv },
    Target { name: "import_ndjson", run: outside::import_ndjson },
    Target { name: "access_log", run: outside::access_log },
    Target { name: "resume", run: outside::resume },
    Target { name: "settings", run: outside::settings },
];
