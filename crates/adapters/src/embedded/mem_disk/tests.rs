use super::*;

fn path() -> &'static Path {
    Path::new("/d/file")
}

/// Writes four sectors, syncs two of them, and fails the power.
fn run(seed: u64) -> (MemDisk, Option<Vec<u8>>) {
    let disk = MemDisk::new(seed);
    let file = disk.create(path(), 4 * 512).unwrap();
    file.write_at(0, &[1; 512]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(512, &[2; 1536]).unwrap();
    disk.power_cycle();
    let bytes = disk.bytes(path());
    (disk, bytes)
}

#[test]
fn synced_bytes_stay_and_others_go_by_sector() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let bytes = run(seed).1.expect("the name was synced");
        assert_eq!(bytes[..512], [1; 512], "seed {seed}");
        let sectors: Vec<u8> = bytes[512..].chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes[512..].chunks(512).all(|sector| sector.iter().all(|&b| b == sector[0])));
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 8, "every subset of three sectors");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..16 {
        assert_eq!(run(seed).0.fingerprint(), run(seed).0.fingerprint(), "seed {seed}");
    }
}

#[test]
fn an_unsynced_name_may_be_lost() {
    let lost = (0..32).filter(|&seed| {
        let disk = MemDisk::new(seed);
        disk.create(path(), 512).unwrap().sync().unwrap();
        disk.power_cycle();
        disk.bytes(path()).is_none()
    });
    assert!((1..31).contains(&lost.count()));
}

#[test]
fn a_crash_stops_everything_until_the_restart() {
    let disk = MemDisk::new(1);
    let file = disk.create(path(), 512).unwrap();
    disk.crash_after(1);
    file.write_at(0, &[1]).unwrap();
    assert!(file.sync().is_err());
    assert!(file.write_at(1, &[2]).is_err());
    disk.restart();
    assert_eq!(disk.bytes(path()).unwrap()[..2], [1, 0], "the page cache outlives the process");
    assert!(file.write_at(1, &[2]).is_err(), "the process of this handle is gone");
    assert!(disk.open(path()).unwrap().write_at(1, &[2]).is_ok());
}

#[test]
fn a_failed_sync_leaves_clean_pages_that_are_not_on_the_medium() {
    let lost = (0..32).filter(|&seed| {
        let disk = MemDisk::new(seed);
        let file = disk.create(path(), 512).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(0, &[1]).unwrap();
        disk.fail_sync_after(0);
        assert!(file.sync().is_err());
        file.sync().unwrap();
        assert_eq!(disk.bytes(path()).unwrap()[0], 1);
        disk.power_cycle();
        disk.bytes(path()).unwrap()[0] == 0
    });
    assert!((1..31).contains(&lost.count()));
}

#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let disk = MemDisk::new(1);
    disk.set_free_bytes(1000);
    disk.create(path(), 512).unwrap();
    let other = Path::new("/d/other");
    let error = disk.create(other, 512).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.bytes(other), None);
    disk.remove(path()).unwrap();
    assert!(disk.create(other, 512).is_ok());
}

#[test]
fn reads_and_writes_fail_as_ordered_and_once() {
    let disk = MemDisk::new(3);
    let file = disk.create(path(), 512).unwrap();
    disk.fail_after(DiskFault::FailedWrite, 1);
    file.write_at(0, &[1; 8]).unwrap();
    assert!(file.write_at(0, &[2; 8]).is_err());
    assert_eq!(disk.bytes(path()).unwrap()[..8], [1; 8], "a failed write changes nothing");
    disk.fail_after(DiskFault::ShortWrite, 0);
    assert!(file.write_at(0, &[3; 100]).is_err());
    let bytes = disk.bytes(path()).unwrap();
    let written = bytes.iter().take_while(|&&byte| byte == 3).count();
    assert!(written < 100 && bytes[100..] == [0; 412], "{written} bytes were written");
    disk.fail_after(DiskFault::FailedRead, 0);
    assert!(file.read_at(0, &mut [0; 4]).is_err());
    assert!(file.read_at(0, &mut [0; 4]).is_ok());
    assert!(disk.struck().values().all(|&times| times == 1));
    assert_eq!(disk.struck().len(), 3);
}
