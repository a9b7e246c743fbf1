//! Embeds the dashboard: writes the files that scripts/dashboard has built as a table of
//! `http::dashboard::Asset`. Where nothing was built the table is empty, and the program has a
//! welcome page instead.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let dist = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../../dashboard/dist");
    // Of a folder cargo watches all that is in it.
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=build.rs");
    let table = Path::new(&variable("OUT_DIR")).join("dashboard.rs");
    fs::write(table, table_of(&built_files(&dist)?)?)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}

/// The built files by name; none where the page itself is missing.
fn built_files(dist: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    if !dist.join("index.html").exists() {
        return Ok(BTreeMap::new());
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dist)? {
        let path = entry?.path().canonicalize()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            files.insert(name, path);
        }
    }
    Ok(files)
}

/// The table as Rust: what is compressed stands beside what is not, by its name and `.gz`.
fn table_of(files: &BTreeMap<String, PathBuf>) -> io::Result<String> {
    let mut table = String::from("[\n");
    for (name, path) in files.iter().filter(|(name, _)| !name.ends_with(".gz")) {
        let mut hasher = DefaultHasher::new();
        fs::read(path)?.hash(&mut hasher);
        let gzip = match files.get(&format!("{name}.gz")) {
            Some(gzip) => format!("Some(include_bytes!({gzip:?}))"),
            None => "None".to_owned(),
        };
        let hash = hasher.finish();
        writeln!(
            table,
            "    Asset {{ name: {name:?}, hash: \"{hash:016x}\", plain: include_bytes!({path:?}), gzip: {gzip} }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    Ok(table)
}
