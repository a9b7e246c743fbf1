use super::*;

fn entry(sequence: u64, body: &[u8]) -> Entry<'_> {
    Entry { source: "spool:a", sequence, events: 2, body }
}

fn open(folder: &Path) -> Spool {
    Spool::open(folder, 1 << 20).expect("it opens")
}

/// Reads and acknowledges everything.
fn drain(spool: &Spool) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(entry) = spool.peek().expect("readable") {
        assert_eq!((entry.source.as_str(), entry.events), ("spool:a", 2));
        spool.acknowledge(&entry).expect("writable");
        all.push((entry.sequence, entry.body));
    }
    all
}

fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let files =
        std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|is| is == kind)).collect();
    files.sort();
    files
}

#[test]
fn what_goes_in_comes_out_in_order_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    assert!(spool.is_empty() && spool.peek().expect("readable").is_none());
    // Over several segments, which are a quarter of the room.
    let bodies: Vec<Vec<u8>> = (0..90_u8).map(|n| vec![n; 10_000]).collect();
    for (sequence, body) in (0..).zip(&bodies) {
        spool.append(&entry(sequence, body)).expect("room");
    }
    assert_eq!(files(folder.path(), "spool").len(), 4);
    assert_eq!(spool.figures().events, 180);
    assert!(drain(&spool).into_iter().eq((0..).zip(bodies)));
    assert!(spool.is_empty() && spool.figures() == Figures::default());
    assert!(files(folder.path(), "spool").is_empty() && files(folder.path(), "ack").is_empty());
    spool.append(&entry(90, b"again")).expect("room");
    assert_eq!(drain(&spool), [(90, b"again".to_vec())]);
}

#[test]
fn it_is_full_at_its_bound_and_takes_more_when_segments_are_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    let body = vec![7; 50_000];
    let taken = (0..100).take_while(|n| spool.append(&entry(*n, &body)).is_ok()).count();
    assert!((18..=20).contains(&taken), "{taken}");
    assert!(matches!(spool.append(&entry(100, &body)), Err(SpoolError::Full)));
    assert!(spool.figures().bytes <= 1 << 20);
    for _ in 0..6 {
        let entry = spool.peek().expect("readable").expect("an entry");
        spool.acknowledge(&entry).expect("writable");
    }
    spool.append(&entry(101, &body)).expect("room again");
    assert_eq!(drain(&spool).len(), taken - 5);
}

#[test]
fn another_process_goes_on_where_the_last_one_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    assert!(matches!(Spool::open(folder.path(), 1), Err(SpoolError::Locked { .. })));
    for sequence in 0..10 {
        spool.append(&entry(sequence, b"body")).expect("room");
    }
    for _ in 0..4 {
        let entry = spool.peek().expect("readable").expect("an entry");
        spool.acknowledge(&entry).expect("writable");
    }
    drop(spool);
    let spool = open(folder.path());
    assert_eq!(spool.figures().events, 12);
    spool.append(&entry(10, b"body")).expect("room");
    assert!(drain(&spool).iter().map(|(sequence, _)| *sequence).eq(4..=10));
    drop(spool);
    // What stands beside a segment may be lost: then it is sent again from its beginning.
    let spool = open(folder.path());
    (0..3).for_each(|sequence| spool.append(&entry(sequence, b"x")).expect("room"));
    let first = spool.peek().expect("readable").expect("an entry");
    spool.acknowledge(&first).expect("writable");
    drop(spool);
    std::fs::write(&files(folder.path(), "ack")[0], b"torn").expect("writable");
    assert_eq!(drain(&open(folder.path())).len(), 3);
}

#[test]
fn a_file_torn_at_any_byte_gives_exactly_its_whole_entries() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    let mut ends = Vec::new();
    for sequence in 0..4 {
        spool.append(&entry(sequence, b"some body")).expect("room");
        ends.push(spool.figures().bytes as usize);
    }
    drop(spool);
    let path = files(folder.path(), "spool").remove(0);
    let bytes = std::fs::read(&path).expect("readable");
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).expect("writable");
        let spool = open(folder.path());
        let whole = ends.iter().filter(|end| **end <= length).count();
        // What comes behind the cut is read too.
        spool.append(&entry(99, b"new")).expect("room");
        let sequences: Vec<_> = drain(&spool).into_iter().map(|(sequence, _)| sequence).collect();
        assert!(
            sequences.iter().copied().eq((0..whole as u64).chain([99])),
            "{length}: {sequences:?}"
        );
        let figures = spool.figures();
        let last = ends.iter().copied().filter(|end| *end <= length).max();
        // Of a file without a whole entry its header is no loss.
        let cut = length - last.unwrap_or(length.min(16));
        assert_eq!((figures.damaged_bytes, figures.cut_bytes), (0, cut as u64), "{length}");
    }
    assert!(files(folder.path(), "damaged").is_empty());
}

#[test]
fn damage_before_good_entries_is_counted_and_the_file_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    for sequence in 0..3 {
        spool.append(&entry(sequence, b"0123456789")).expect("room");
    }
    drop(spool);
    let path = files(folder.path(), "spool").remove(0);
    let bytes = std::fs::read(&path).expect("readable");
    let entry_bytes = (bytes.len() - 16) / 3;
    for flipped in 0..bytes.len() - entry_bytes {
        let mut bad = bytes.clone();
        bad[flipped] ^= 0x40;
        std::fs::write(&path, &bad).expect("writable");
        let opened = Spool::open(folder.path(), 1 << 20);
        let spool = match opened {
            Ok(spool) => spool,
            Err(error) => panic!("{flipped}: {error}"),
        };
        let sequences: Vec<_> = drain(&spool).into_iter().map(|(sequence, _)| sequence).collect();
        let lost = (flipped >= 16).then(|| ((flipped - 16) / entry_bytes) as u64);
        assert!(sequences.iter().copied().eq((0..3).filter(|n| Some(*n) != lost)), "{flipped}");
        let damaged = spool.figures().damaged_bytes;
        assert_eq!(damaged, if lost.is_some() { entry_bytes as u64 } else { 16 });
        let kept = files(folder.path(), "damaged");
        assert_eq!(std::fs::read(&kept[0]).expect("kept"), bad);
    }
    let mut later = bytes;
    later[8] = 2;
    let sum = crc32c::crc32c(&later[..12]);
    later[12..16].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, &later).expect("writable");
    let error = Spool::open(folder.path(), 1 << 20).expect_err("of a later version");
    assert!(matches!(error, SpoolError::UnknownVersion { version: 2, .. }), "{error}");
}

/// `.ack` of the first version says how far its segment is sent.
#[test]
fn an_acknowledgement_of_version_1_is_read() {
    let golden = include_bytes!("../../../tests/golden/spool-1.spool");
    let folder = tempfile::tempdir().expect("a folder");
    let name = |end: &str| folder.path().join(format!("{:020}.{end}", 0));
    std::fs::write(name("spool"), golden).expect("a file");
    let first =
        format::encode(&entry(7, b"{\"item\":\"a\",\"id\":\"1\"}\n{\"item\":\"b\",\"id\":\"2\"}"));
    let end = format::HEADER_BYTES + first.len() as u64;
    let acknowledged = [end.to_le_bytes().to_vec(), ACK_SUM.to_vec()].concat();
    std::fs::write(name("ack"), acknowledged).expect("a file");
    let left = drain(&open(folder.path()));
    assert_eq!(left.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [9]);
}

/// CRC32C of the place of the second entry, little-endian.
const ACK_SUM: [u8; 4] = [0xbf, 0xf3, 0x21, 0x8b];

#[test]
fn bytes_of_an_entry_never_change() {
    let bytes = format::encode(&Entry { source: "s", sequence: 258, events: 1, body: b"{}\n" });
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

const GOLDEN: &str = "5453504511000000ec197b5e01730201000000000000010000007b7d0a";

/// What the first version wrote is read for ever, and is what this one writes.
#[test]
fn a_segment_of_version_1_is_read() {
    let golden = include_bytes!("../../../tests/golden/spool-1.spool");
    let bodies: [&[u8]; 2] = [
        b"{\"item\":\"a\",\"id\":\"1\"}\n{\"item\":\"b\",\"id\":\"2\"}",
        b"{\"item\":\"c\",\"id\":\"3\"}\n{\"item\":\"d\",\"id\":\"4\"}",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(format!("{:020}.spool", 0)), golden).expect("a file");
    let expected = [(7, bodies[0].to_vec()), (9, bodies[1].to_vec())];
    assert_eq!(drain(&open(folder.path())), expected);
    let written = [
        &format::header()[..],
        &format::encode(&entry(7, bodies[0])),
        &format::encode(&entry(9, bodies[1])),
    ];
    assert_eq!(written.concat(), golden);
}
