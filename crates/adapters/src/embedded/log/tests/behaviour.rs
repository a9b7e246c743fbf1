//! What the port promises, and the settings.

use engine::conformance::event_log as conformance;

use model::Retention;

use super::*;

#[test]
fn conforms() {
    let behaviours: [fn(&dyn EventLog); 9] = [
        |log| conformance::gives_back_what_was_appended(log),
        |log| conformance::keeps_the_order_of_calls(log),
        |log| conformance::takes_parts_for_several_partitions(log),
        |log| conformance::keeps_repeats(log),
        |log| conformance::writes_what_nobody_waits_for(log),
        |log| conformance::wakes_readers_at_the_end(log),
        |log| conformance::gives_readers_at_once_what_is_durable(log),
        |log| conformance::refuses_what_is_invalid(log),
        |log| conformance::trims_only_below(log),
    ];
    for behaviour in behaviours {
        for tail_bytes_max in [0, 1 << 20] {
            let mut bench = Bench::new(1);
            bench.settings.tail_bytes_max = tail_bytes_max;
            bench.settings.retention_bytes = Some(1);
            behaviour(&bench.open_threaded());
        }
    }
}

#[test]
fn survives_reopening_in_every_codec() {
    let mut bench = Bench::new(1);
    let mut codecs = [Codec::None, Codec::Lz4, Codec::Zstd].into_iter().cycle();
    conformance::survives_reopening(|| {
        bench.settings.codec = codecs.next().expect("for ever");
        Box::new(bench.open_threaded())
    });
}

#[test]
fn conforms_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::default());
    let settings =
        LogSettings { segment_bytes: 1 << 20, batch_bytes_max: 64 << 10, ..LogSettings::new(2) };
    conformance::survives_reopening(|| {
        let disk = Arc::new(crate::embedded::disk::RealDisk);
        Box::new(EmbeddedLog::open(disk, dir.path(), &settings, clock.clone(), &[]).unwrap())
    });
    conformance::rises_in_epoch_with_every_start(|| {
        let disk = Arc::new(crate::embedded::disk::RealDisk);
        Box::new(EmbeddedLog::open(disk, dir.path(), &settings, clock.clone(), &[]).unwrap())
    });
}

#[test]
fn memory_and_files_give_the_same() {
    let mut bench = Bench::new(1);
    bench.settings.tail_bytes_max = 1 << 20;
    let log = bench.open();
    for n in 0..300 {
        appended(&log, &format!("p{n}"), 1 + n % 20);
    }
    assert!(bench.segments().len() > 3);
    let from_memory = read_all(&log, FIRST, Offset(1), 10_000);
    drop(log);
    bench.settings.tail_bytes_max = 0;
    let log = bench.open();
    let mut from_files = read_all(&log, FIRST, Offset(1), 10_000);
    assert!(from_files.pop().expect("the second start").is_control);
    assert_eq!(from_memory, from_files);
    // Any offset can be begun from, with the indexes or without.
    for path in bench.disk.paths() {
        if path.extension().is_some_and(|ext| ext == "index") {
            bench.disk.damage(&path, 20, &[0xff]);
        }
    }
    for from in (1..from_files.last().unwrap().next_offset().0).step_by(7) {
        let batches = block_on(log.read(FIRST, Offset(from), 1)).unwrap();
        let expected = from_files.iter().find(|batch| batch.next_offset().0 > from);
        assert_eq!(batches.first(), expected, "from {from}");
    }
}

#[test]
fn a_part_over_the_batch_bound_is_divided() {
    let bench = Bench::new(1);
    let log = bench.open();
    let first = appended(&log, "large", 1_000);
    assert_eq!(first.base_offset, Offset(2));
    let batches = read_all(&log, FIRST, Offset(0), usize::MAX);
    assert!(batches.iter().all(|batch| batch.payload.len() <= bench.settings.batch_bytes_max));
    let expected: Vec<_> = (0..1_000).map(|n| (n + 2, format!("large-{n}"))).collect();
    assert_eq!(ids(&batches), expected);
}

#[test]
fn each_start_writes_its_epoch_and_settings() {
    let mut bench = Bench::new(1);
    for start in 1..=3u32 {
        bench.settings.dedup_minutes = 10 * start;
        let kept = Retention::new(1, start.into()).expect("hours are kept longer");
        bench.settings.counters = kept;
        let log = bench.open();
        assert_eq!(log.bounds(FIRST).log_epoch, start);
        let batch = read_all(&log, FIRST, Offset(0), usize::MAX).pop().unwrap();
        assert_eq!((batch.log_epoch, batch.is_control, batch.record_count), (start, true, 2));
        let control: Vec<_> = Control::read_all(&batch.payload).collect();
        let dedup_minutes = 10 * start;
        let expected = [Control::Settings { dedup_minutes }, Control::Retention(kept)];
        assert_eq!(control, expected.map(Ok));
    }
}

#[test]
fn the_number_of_partitions_is_fixed_at_the_first_start() {
    let mut bench = Bench::new(1);
    assert_eq!(stored_partitions(&bench.disk, Path::new("/log")).unwrap(), None);
    drop(bench.open());
    assert_eq!(stored_partitions(&bench.disk, Path::new("/log")).unwrap(), Some(2));
    bench.settings.partitions = 3;
    let error = bench.try_open(&[]).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.context.contains("has 2 partitions and not 3"), "{error}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let usual = Bench::new(1).settings;
    for settings in [
        LogSettings { partitions: 0, ..usual.clone() },
        LogSettings { partitions: model::limits::PARTITIONS_MAX + 1, ..usual.clone() },
        LogSettings { dedup_minutes: 0, ..usual.clone() },
        LogSettings { segment_bytes: 8 << 10, ..usual.clone() },
        LogSettings { batch_bytes_max: 17 << 20, segment_bytes: 64 << 20, ..usual.clone() },
    ] {
        let bench = Bench { settings, ..Bench::new(1) };
        let error = bench.try_open(&[]).err().expect("refused");
        assert_eq!(error.kind, ErrorKind::Invalid, "{:?}", bench.settings);
    }
}

#[test]
fn a_full_queue_takes_all_parts_or_none() {
    let mut bench = Bench::new(1);
    bench.settings.queue_parts_max = 2;
    let log = bench.open();
    let waiting = log.append(vec![part(FIRST, "a", 1), part(SECOND, "b", 1)]).unwrap();
    let first = log.append(vec![part(SECOND, "c", 1)]).unwrap();
    // The second partition is full; nothing of this may get into the first.
    let refused = log.append(vec![part(FIRST, "d", 1), part(SECOND, "e", 1)]);
    assert_eq!(refused.err().unwrap().kind, ErrorKind::Overloaded);
    while log.step(FIRST) || log.step(SECOND) {}
    assert!(block_on(waiting).iter().all(Result::is_ok));
    assert!(block_on(first)[0].is_ok());
    assert_eq!(all(&log), [(2, "a-0".to_owned())]);
    assert!(append(&log, SECOND, "f", 1).is_ok(), "there is room again");
}

#[test]
fn a_queue_is_bounded_in_bytes_but_takes_one_large_part() {
    let mut bench = Bench::new(1);
    bench.settings.queue_bytes_max = 100;
    let log = bench.open();
    let large = log.append(vec![part(FIRST, "large", 100)]).unwrap();
    let refused = log.append(vec![part(FIRST, "small", 1)]);
    assert_eq!(refused.err().unwrap().kind, ErrorKind::Overloaded);
    log.step(FIRST);
    assert!(block_on(large)[0].is_ok());
}

#[test]
fn a_closed_log_has_written_what_it_took_and_takes_no_more() {
    let bench = Bench::new(1);
    let log = bench.open_threaded();
    let waiting = log.append(vec![part(FIRST, "a", 1)]).unwrap();
    log.close();
    assert!(block_on(waiting)[0].is_ok());
    let error = log.append(vec![part(FIRST, "b", 1)]).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let error = block_on(log.read(FIRST, log.bounds(FIRST).durable_offset, 1)).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(all(&log).len(), 1, "what is durable can still be read");
}

#[test]
fn retention_lets_go_of_old_segments_for_good() {
    let mut bench = Bench::new(1);
    bench.settings.retention_ms = Some(10_000);
    bench.settings.codec = Codec::None;
    let log = bench.open();
    for n in 0..100 {
        bench.clock.advance(1_000);
        appended(&log, &format!("p{n}"), 20);
    }
    let before = log.bounds(FIRST);
    log.trim(FIRST, Offset(0)).unwrap();
    assert_eq!(log.bounds(FIRST), before, "nothing above what is needed goes");
    log.trim(FIRST, before.durable_offset).unwrap();
    let bounds = log.bounds(FIRST);
    assert!(bounds.start_offset > before.start_offset);
    let oldest = block_on(log.read(FIRST, bounds.start_offset, 1)).unwrap().remove(0);
    let newest_time = log.append_time().unwrap();
    assert!(newest_time.0 - oldest.append_time.0 < 25_000, "about the age is kept");
    let error = block_on(log.read(FIRST, Offset(0), 1)).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid);
    let kept = all(&log);
    drop(log);
    bench.disk.power_cycle();
    assert_eq!(all(&bench.open()), kept);
}

#[test]
fn a_time_leads_to_its_offset() {
    let mut bench = Bench::new(1);
    bench.settings.codec = Codec::None;
    let log = bench.open();
    let mut places = Vec::new();
    for n in 0..200 {
        bench.clock.advance(1_000);
        let appended = appended(&log, &format!("p{n}"), 8);
        places.push((appended.append_time, appended.base_offset));
    }
    assert!(bench.segments().len() > 2);
    for (time, offset) in places {
        assert_eq!(log.offset_at(FIRST, time).unwrap(), offset);
        assert_eq!(log.offset_at(FIRST, TimestampMs(time.0 - 1)).unwrap(), offset);
    }
    let after = TimestampMs(log.append_time().unwrap().0 + 1);
    assert_eq!(log.offset_at(FIRST, after).unwrap(), log.bounds(FIRST).durable_offset);
}

#[test]
fn a_clock_that_jumped_refuses_appends() {
    let bench = Bench::new(1);
    let log = bench.open();
    let before = appended(&log, "before", 1).append_time;
    bench.clock.set_wall_ahead(3_600_000);
    assert!(log.append_time().is_err());
    let error = log.append(vec![part(FIRST, "during", 1)]).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    bench.clock.set_wall_ahead(-5_000);
    assert!(appended(&log, "after", 1).append_time >= before);
    // The clock may jump between taking a part and writing it.
    let waiting = log.append(vec![part(FIRST, "late", 1)]).unwrap();
    bench.clock.set_wall_ahead(-3_600_000);
    log.step(FIRST);
    assert_eq!(block_on(waiting).remove(0).err().unwrap().kind, ErrorKind::Unavailable);
    drop(log);
    let log = bench.open();
    assert!(log.append_time().is_err(), "not ready, but it opens and can be read");
    assert_eq!(all(&log).len(), 2);
}
