//! Every target over its seeds: what was found once is not found again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use targets::TARGETS;

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("a name of plain text")
    };
    entries.map(name).collect()
}

#[test]
fn every_target_has_a_folder_of_seeds_and_every_folder_a_target() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(targets, names(&seeds()));
    assert_eq!(targets.len(), TARGETS.len());
}

#[test]
fn every_seed_is_small_and_finds_nothing() {
    for target in TARGETS {
        let folder = seeds().join(target.name);
        let names = names(&folder);
        assert!(names.len() >= 4, "{} has few seeds", target.name);
        for name in names {
            let input = std::fs::read(folder.join(&name)).expect("a seed");
            assert!(input.len() < 4096, "{} {name} is too large", target.name);
            if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
                panic!(
                    "replay with: scripts/fuzz {} fuzz/seeds/{}/{name}",
                    target.name, target.name
                );
            }
            // What was cut anywhere is no worse.
            for len in (0..input.len()).step_by(input.len() / 16 + 1) {
                (target.run)(&input[..len]);
            }
        }
    }
}
