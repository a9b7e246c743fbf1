//! What the archive reads back, from any bytes.

use super::cold::manifest::Manifest;

/// A manifest: what is read is written in one way only, and read the same again.
pub fn manifest(bytes: &[u8]) {
    let Some(manifest) = str::from_utf8(bytes).ok().and_then(Manifest::read) else { return };
    assert!(manifest.files.iter().all(|entry| entry.first < entry.end));
    assert!(manifest.files.is_sorted_by(|a, b| a.end <= b.first), "no day is in two");
    let plain = |entry: &super::cold::manifest::Entry| !entry.name.contains(['/', '.']);
    assert!(manifest.files.iter().all(plain), "a name leads nowhere else");
    assert_eq!(Manifest::read(&manifest.write()), Some(manifest));
}
