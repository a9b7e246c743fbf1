//! Disks that fail and fill.

use super::*;

#[test]
fn a_failed_sync_stops_the_partition_until_a_restart() {
    for power_fails in [false, true] {
        for seed in 0..16 {
            let bench = Bench::new(seed);
            let log = bench.open();
            appended(&log, "before", 1);
            let unknown = log.append(vec![part(FIRST, "unknown", 1)]).unwrap();
            bench.disk.fail_sync_after(0);
            log.step(FIRST);
            let error = block_on(unknown).remove(0).expect_err("not durable");
            assert_eq!(error.kind, ErrorKind::Conflict, "seed {seed}: {error}");
            assert!(std::error::Error::source(&error).is_some());
            let error = append(&log, FIRST, "refused", 1).expect_err("the partition stopped");
            assert_eq!(error.kind, ErrorKind::Unavailable, "seed {seed}: {error}");
            assert_eq!(all(&log).len(), 1, "seed {seed}: what is uncertain is not read");
            assert!(append(&log, SECOND, "other", 1).is_ok(), "the other partition goes on");
            drop(log);
            match power_fails {
                true => bench.disk.power_cycle(),
                false => bench.disk.restart(),
            }
            let log = bench.open();
            appended(&log, "after", 1);
            let read = all(&log);
            drop(log);
            // What was read once must stay, though its first sync failed.
            bench.disk.power_cycle();
            assert_eq!(all(&bench.open()), read, "seed {seed}");
            assert!(read.iter().all(|(_, id)| id != "refused-0"));
        }
    }
}

#[test]
fn parts_behind_a_failed_sync_were_surely_not_written() {
    let bench = Bench::new(1);
    let log = bench.open();
    // A group of 4 MiB, and one behind it.
    let large = log.append(vec![part(FIRST, "large", 120_000)]).unwrap();
    let behind = log.append(vec![part(FIRST, "behind", 1)]).unwrap();
    bench.disk.fail_sync_after(0);
    log.step(FIRST);
    assert_eq!(block_on(large).remove(0).err().unwrap().kind, ErrorKind::Conflict);
    assert_eq!(block_on(behind).remove(0).err().unwrap().kind, ErrorKind::Unavailable);
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let bench = Bench::new(1);
    let log = bench.open();
    bench.disk.set_free_bytes(0);
    let mut durable = Vec::new();
    let error = loop {
        let prefix = format!("p{}", durable.len());
        match append(&log, FIRST, &prefix, 5) {
            Ok(appended) => durable.push((appended.base_offset, prefix)),
            Err(error) => break error,
        }
        assert!(durable.len() < 1_000, "a segment is never full");
    };
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    for _ in 0..3 {
        let error = append(&log, FIRST, "still", 5).expect_err("still full");
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    }
    assert_eq!(all(&log).len(), durable.len() * 5, "reading goes on");
    bench.disk.set_free_bytes(1 << 20);
    let after = appended(&log, "after", 5);
    assert_eq!(after.base_offset, durable.last().unwrap().0.plus(5));
    drop(log);
    bench.disk.power_cycle();
    let read = all(&bench.open());
    assert_eq!(read.len(), durable.len() * 5 + 5);
    assert!(read.iter().all(|(_, id)| !id.starts_with("still")));
}

#[test]
fn a_reserve_is_left_to_others_and_used_by_a_start() {
    let mut bench = Bench::new(1);
    bench.settings.reserve_bytes = 100 << 10;
    let log = bench.open();
    let reserve = bench.settings.reserve_bytes;
    bench.disk.set_free_bytes(reserve + 3 * bench.settings.segment_bytes);
    let mut durable = 0;
    let error = loop {
        match append(&log, FIRST, &format!("p{durable}"), 5) {
            Ok(_) => durable += 1,
            Err(error) => break error,
        }
        assert!(durable < 1_000, "the reserve is used up");
    };
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("make room"), "{cause}");
    assert!(bench.disk.free_bytes(Path::new("/log")).expect("a figure") >= reserve);
    drop(log);
    let log = bench.open();
    assert_eq!(all(&log).len(), durable * 5);
    bench.disk.set_free_bytes(reserve + (1 << 20));
    appended(&log, "after", 5);
}

#[test]
fn a_group_that_fills_the_disk_tells_each_part_what_became_of_it() {
    let bench = Bench::new(1);
    let log = bench.open();
    bench.disk.set_free_bytes(0);
    let waiting: Vec<_> =
        (0..40).map(|n| log.append(vec![part(FIRST, &format!("p{n}"), 40)]).unwrap()).collect();
    while log.step(FIRST) {}
    let results: Vec<_> = waiting.into_iter().map(|waiting| block_on(waiting).remove(0)).collect();
    let durable = results.iter().take_while(|result| result.is_ok()).count();
    assert!((1..40).contains(&durable), "{durable}");
    for result in &results[durable..] {
        assert_eq!(result.as_ref().err().unwrap().kind, ErrorKind::Unavailable);
    }
    let read = all(&log);
    assert_eq!(read.len(), durable * 40);
    bench.disk.set_free_bytes(1 << 20);
    assert_eq!(appended(&log, "after", 1).base_offset.0, 2 + durable as u64 * 40);
}

#[test]
fn a_full_disk_at_start_is_an_error_and_not_a_loss() {
    let bench = Bench::new(1);
    bench.disk.set_free_bytes(100);
    assert_eq!(bench.try_open(&[]).err().unwrap().kind, ErrorKind::Unavailable);
    bench.disk.set_free_bytes(1 << 20);
    appended(&bench.open(), "a", 1);
    assert_eq!(all(&bench.open()).len(), 1);
}
