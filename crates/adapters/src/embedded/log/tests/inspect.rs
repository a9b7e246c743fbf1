//! Looking into the log: every record is given out, every bad place is named, nothing is changed.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::embedded::disk::DiskFile;
use crate::embedded::log::inspect::{Finding, FindingKind, Piece, View, inspect};
use crate::embedded::log::segment::SEGMENT_HEADER_BYTES;

/// What was found in the first partition.
#[derive(Default)]
struct Seen {
    /// First and next offset of each batch, and where it is in its segment.
    batches: Vec<(u64, u64, u64)>,
    findings: Vec<Finding>,
}

impl Seen {
    fn kinds(&self) -> Vec<FindingKind> {
        self.findings.iter().map(|finding| finding.kind).collect()
    }

    /// Offsets that no batch holds, as ranges.
    fn missing(&self, durable: Offset) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut expected = 0;
        for &(base, next, _) in self.batches.iter().chain([&(durable.0, durable.0, 0)]) {
            if base != expected {
                ranges.push((expected, base));
            }
            expected = next;
        }
        ranges
    }
}

/// Looks into a bench's first partition, and checks that this changes nothing.
fn look(bench: &Bench, from: u64, is_served: bool) -> Seen {
    let contents = || {
        let paths = bench.disk.paths().into_iter();
        paths.map(|path| (bench.disk.bytes(&path), path)).collect::<Vec<_>>()
    };
    let before = contents();
    let seen = look_at(&bench.disk, from, is_served);
    assert!(contents() == before, "nothing was changed");
    seen
}

fn look_at(disk: &dyn Disk, from: u64, is_served: bool) -> Seen {
    let view = View { disk, dir: Path::new("/log"), is_served, from: Offset(from) };
    let mut seen = Seen::default();
    let mut previous_end = None;
    inspect(view, FIRST, &mut |piece| {
        match piece {
            Piece::Segment { .. } => previous_end = None,
            Piece::Batch { position, end, batch } => {
                assert_eq!(previous_end.unwrap_or(position), position, "no gap between batches");
                previous_end = Some(end);
                seen.batches.push((batch.base_offset.0, batch.next_offset().0, position));
            }
            Piece::Finding(finding) => {
                previous_end = None;
                seen.findings.push(finding);
            }
        }
        ControlFlow::Continue(())
    })
    .expect("the folder can be listed");
    seen
}

/// A closed log of several segments, and where its first partition ends.
fn filled(codec: Codec) -> (Bench, Offset) {
    let mut bench = Bench::new(1);
    bench.settings.codec = codec;
    let log = bench.open();
    for n in 0..60 {
        appended(&log, &format!("p{n}"), 20);
    }
    let durable = log.bounds(FIRST).durable_offset;
    drop(log);
    (bench, durable)
}

#[test]
fn a_sound_log_is_given_out_whole_and_from_any_offset() {
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        let (bench, durable) = filled(codec);
        let seen = look(&bench, 0, false);
        assert_eq!((seen.missing(durable), seen.kinds()), (vec![], vec![]), "{codec:?}");
        let tail = look(&bench, durable.0 - 1, false);
        assert!(tail.batches.len() < seen.batches.len() || bench.segments().len() == 1);
        assert_eq!(tail.batches.last(), seen.batches.last());
    }
}

#[test]
fn two_flips_in_a_sealed_segment_are_both_named_in_the_words_of_the_server() {
    let (bench, durable) = filled(Codec::None);
    let sound = look(&bench, 0, false);
    let (first, second) = (sound.batches[2], sound.batches[5]);
    let sealed = bench.segments()[0].clone();
    bench.disk.flip_bit(&sealed, first.2 as usize + 70, 3);
    // The magic itself: the batch is not seen at all.
    bench.disk.flip_bit(&sealed, second.2 as usize, 0);
    let seen = look(&bench, 0, false);
    assert_eq!(seen.kinds(), [FindingKind::Damage; 2]);
    assert_eq!(seen.missing(durable), [(first.0, first.1), (second.0, second.1)]);
    for (finding, batch) in seen.findings.iter().zip([first, second]) {
        assert_eq!((&finding.path, finding.position), (&sealed, batch.2));
        assert_eq!((finding.offset.0, finding.next_offset), (batch.0, Some(Offset(batch.1))));
    }
    let log = bench.open();
    let error = block_on(log.read(FIRST, Offset(first.0), 1)).expect_err("it is damaged");
    assert_eq!(error.to_string(), seen.findings[0].message);
}

#[test]
fn a_flip_in_the_newest_segment_is_judged_as_a_start_does() {
    let (sound, durable) = filled(Codec::None);
    let newest = sound.segments().pop().expect("there are segments");
    let batches = look(&sound, 0, false).batches;
    let (base, _, last) = *batches.last().expect("there are batches");
    let mut verdicts = [0, 0];
    for position in (SEGMENT_HEADER_BYTES..last as usize + 200).step_by(211) {
        // The same calls give the same bytes.
        let (bench, _) = filled(Codec::None);
        bench.disk.flip_bit(&newest, position, 2);
        let seen = look(&bench, 0, false);
        match bench.try_open(&[]) {
            Err(error) => {
                assert_eq!(seen.kinds(), [FindingKind::Damage], "byte {position}");
                assert_eq!(seen.findings[0].message, error.to_string());
                verdicts[0] += 1;
            }
            Ok(_) => {
                assert_eq!(seen.kinds(), [FindingKind::TornTail], "byte {position}");
                assert_eq!(seen.missing(durable), [(base, durable.0)]);
                verdicts[1] += 1;
            }
        }
    }
    assert!(verdicts.iter().all(|&count| count > 0), "{verdicts:?}");
}

#[test]
fn a_tail_that_is_being_written_is_no_damage() {
    let (bench, durable) = filled(Codec::Lz4);
    let newest = bench.segments().pop().expect("there are segments");
    let (_, _, last) = *look(&bench, 0, true).batches.last().expect("there are batches");
    bench.disk.flip_bit(&newest, last as usize + 20, 0);
    assert_eq!(look(&bench, 0, true).kinds(), [FindingKind::Growing]);
    let seen = look(&bench, 0, false);
    assert_eq!(seen.kinds(), [FindingKind::TornTail]);
    assert_eq!(seen.findings[0].position, last);
    assert_eq!(seen.missing(durable).len(), 1);
}

#[test]
fn damaged_headers_and_missing_segments_are_named_and_the_rest_is_given_out() {
    let (bench, durable) = filled(Codec::None);
    let segments = bench.segments();
    bench.disk.flip_bit(&segments[0], 20, 0);
    let seen = look(&bench, 0, false);
    assert_eq!((seen.missing(durable), seen.kinds()), (vec![], vec![FindingKind::Damage]));
    let start = bench.try_open(&[]).err().expect("the start stops");
    assert_eq!(seen.findings[0].message, start.to_string());
    bench.disk.flip_bit(&segments[0], 20, 0);
    bench.disk.remove(&segments[1]).expect("it is removed");
    let seen = look(&bench, 0, false);
    assert_eq!((seen.missing(durable).len(), seen.kinds()), (1, vec![FindingKind::Damage]));
    assert_eq!(seen.findings[0].path, segments[2]);
}

#[test]
fn stray_bytes_behind_a_sealed_segment_harm_nothing() {
    let (bench, durable) = filled(Codec::None);
    let sealed = &bench.segments()[0];
    let len = bench.disk.bytes(sealed).expect("it is there").len();
    bench.disk.flip_bit(sealed, len - 1, 0);
    let seen = look(&bench, 0, false);
    assert_eq!((seen.missing(durable), seen.kinds()), (vec![], vec![FindingKind::Stray]));
}

/// A disk whose writer overtakes the reader: the first time a segment is read whole, the bytes of
/// `hole` come as they were before they were written, those behind it as they are after.
struct Overtaken {
    disk: MemDisk,
    segment: PathBuf,
    hole: Range<usize>,
    whole_reads: Arc<AtomicUsize>,
}

struct OvertakenFile {
    file: Arc<dyn DiskFile>,
    hole: Range<usize>,
    whole_reads: Arc<AtomicUsize>,
}

impl Disk for Overtaken {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path)?;
        if path != self.segment {
            return Ok(file);
        }
        let (hole, whole_reads) = (self.hole.clone(), self.whole_reads.clone());
        Ok(Arc::new(OvertakenFile { file, hole, whole_reads }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, _: &Path, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        unreachable!("it only looks")
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("it only looks")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!("it only looks")
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("it only looks")
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("it only looks")
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        unreachable!("it only looks")
    }
}

impl DiskFile for OvertakenFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(position, buf)?;
        if buf.len() > SEGMENT_HEADER_BYTES && self.whole_reads.fetch_add(1, Ordering::SeqCst) == 0
        {
            buf[self.hole.clone()].fill(0);
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        unreachable!("it only looks")
    }

    fn sync(&self) -> io::Result<()> {
        unreachable!("it only looks")
    }
}

#[test]
fn a_writer_that_overtakes_the_reader_leaves_no_hole() {
    let (bench, durable) = filled(Codec::None);
    let segment = bench.segments().pop().expect("there are segments");
    let batches = look(&bench, 0, true).batches;
    let [.., before, last] = &batches[..] else { panic!("two batches at least") };
    let disk = Overtaken {
        disk: bench.disk.clone(),
        segment,
        hole: before.2 as usize..last.2 as usize,
        whole_reads: Arc::default(),
    };
    let seen = look_at(&disk, 0, true);
    assert_eq!((seen.kinds(), seen.missing(durable)), (vec![], vec![]));
    assert_eq!(disk.whole_reads.load(Ordering::SeqCst), 2, "it was read again");
}
