//! Any sequence of appends, crashes and restarts keeps what was acknowledged, once and in order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    /// Parts of so many records, taken together; then the writer runs.
    Append(Vec<(bool, usize)>),
    /// A reader goes over everything.
    Read,
    /// Lets go of what is old, below a share of the log.
    Trim(u64),
    Pass(i64),
    /// The n-th operation on the disk from now, and all after it, fail.
    CrashAfter(u64),
    FailSyncAfter(u64),
    /// A new process; with or without a power failure.
    Reopen(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => proptest::collection::vec((any::<bool>(), 1usize..60), 1..6).prop_map(Act::Append),
        1 => Just(Act::Read),
        1 => (0u64..100).prop_map(Act::Trim),
        1 => (0i64..5_000).prop_map(Act::Pass),
        2 => (0u64..40).prop_map(Act::CrashAfter),
        1 => (0u64..10).prop_map(Act::FailSyncAfter),
        2 => any::<bool>().prop_map(Act::Reopen),
    ]
}

/// What must be true of one partition, whatever happens.
#[derive(Default)]
struct Oracle {
    /// Offset and id of every record that was acknowledged or read: it may never go.
    certain: Vec<(u64, String)>,
    /// Ids that were refused for sure: they may never be read.
    refused: BTreeSet<String>,
    /// Highest durable offset seen, as a checkpoint would keep it.
    durable: Offset,
    append_time: TimestampMs,
}

impl Oracle {
    fn appended(&mut self, prefix: &str, count: usize, result: PartResult) {
        match result {
            Ok(appended) => {
                assert!(appended.append_time >= self.append_time);
                self.append_time = appended.append_time;
                let base = appended.base_offset.0;
                let ids = (0..count).map(|n| (base + n as u64, format!("{prefix}-{n}")));
                self.certain.extend(ids);
            }
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded) => {
                self.refused.extend((0..count).map(|n| format!("{prefix}-{n}")));
            }
            Err(_) => {}
        }
    }

    /// Compares with what can be read; `read_all` checks offsets, times and epochs.
    fn check(&mut self, log: &EmbeddedLog, partition: PartitionId) {
        let bounds = log.bounds(partition);
        assert!(bounds.durable_offset >= self.durable, "the durable end went back");
        self.durable = bounds.durable_offset;
        let read = ids(&read_all(log, partition, bounds.start_offset, 5_000));
        let kept = |certain: &Vec<(u64, String)>| {
            let kept = certain.iter().filter(|(offset, _)| *offset >= bounds.start_offset.0);
            kept.cloned().collect::<BTreeSet<_>>()
        };
        let read_set: BTreeSet<_> = read.iter().cloned().collect();
        let certain = kept(&self.certain);
        let lost: Vec<_> = certain.difference(&read_set).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let distinct: BTreeSet<_> = read.iter().map(|(_, id)| id).collect();
        assert_eq!(distinct.len(), read.len(), "something is there twice");
        assert!(read.iter().all(|(_, id)| !self.refused.contains(id)), "refused, but there");
        // What was read once is as certain as what was acknowledged.
        self.certain = read;
    }
}

/// Runs the acts and gives the disk's fingerprint at the end.
fn run(seed: u64, acts: &[Act]) -> String {
    let mut bench = Bench::new(seed);
    bench.settings.retention_ms = Some(4_000);
    bench.settings.codec = [Codec::None, Codec::Lz4, Codec::Zstd][seed as usize % 3];
    let mut oracles = [Oracle::default(), Oracle::default()];
    let mut log = Some(bench.open());
    for (n, act) in acts.iter().enumerate() {
        match act {
            Act::Append(parts) => append_all(log.as_ref(), n, parts, &mut oracles),
            Act::Read => check(log.as_ref(), &mut oracles),
            Act::Trim(percent) => {
                // On a disk that is down this fails, and must do no harm.
                if let Some(log) = &log {
                    let before = log.bounds(FIRST).durable_offset.0 * percent / 100;
                    let _ = log.trim(FIRST, Offset(before));
                }
            }
            Act::Pass(ms) => bench.clock.advance(*ms),
            Act::CrashAfter(operations) => bench.disk.crash_after(*operations),
            Act::FailSyncAfter(operations) => bench.disk.fail_sync_after(*operations),
            Act::Reopen(power_fails) => {
                // A dead process writes nothing more, whatever its drops try.
                bench.disk.crash_after(0);
                drop(log.take());
                match power_fails {
                    true => bench.disk.power_cycle(),
                    false => bench.disk.restart(),
                }
                log = Some(open_through_crashes(&bench, seed ^ n as u64, &oracles));
                check(log.as_ref(), &mut oracles);
            }
        }
    }
    drop(log);
    bench.disk.power_cycle();
    check(Some(&bench.open()), &mut oracles);
    bench.disk.fingerprint()
}

/// Opens the log, with a crash or two on the way where the number says so.
fn open_through_crashes(bench: &Bench, number: u64, oracles: &[Oracle; 2]) -> EmbeddedLog {
    let known: Vec<_> = oracles.iter().map(|oracle| Some(oracle.durable)).collect();
    for crash in 0..number % 3 {
        bench.disk.crash_after(number / 3 % 30 + crash);
        let opened = bench.try_open(&known);
        if opened.is_ok() && !bench.disk.is_down() {
            bench.disk.crash_after(0);
        }
        drop(opened);
        match (number + crash) % 2 {
            0 => bench.disk.restart(),
            _ => bench.disk.power_cycle(),
        }
    }
    bench
        .try_open(&known)
        .unwrap_or_else(|error| panic!("does not open: {error} {:?}", error.source))
}

fn append_all(
    log: Option<&EmbeddedLog>,
    n: usize,
    parts: &[(bool, usize)],
    oracles: &mut [Oracle; 2],
) {
    let Some(log) = log else { return };
    let places: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(at, &(second, count))| (usize::from(second), format!("a{n}p{at}"), count))
        .collect();
    let parts =
        places.iter().map(|(to, prefix, count)| part(PartitionId(*to as u16), prefix, *count));
    match log.append(parts.collect()) {
        Ok(waiting) => {
            while log.step(FIRST) || log.step(SECOND) {}
            for ((to, prefix, count), result) in places.iter().zip(block_on(waiting)) {
                oracles[*to].appended(prefix, *count, result);
            }
        }
        Err(error) => {
            assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded));
            for (to, prefix, count) in &places {
                let refused = PortError::new(error.kind, "refused");
                oracles[*to].appended(prefix, *count, Err(refused));
            }
        }
    }
}

fn check(log: Option<&EmbeddedLog>, oracles: &mut [Oracle; 2]) {
    for (partition, oracle) in [FIRST, SECOND].into_iter().zip(oracles) {
        if let Some(log) = log {
            oracle.check(log, partition);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_refused_appears(
        seed in any::<u64>(),
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        run(seed, &acts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn the_same_seed_gives_the_same_bytes(
        seed in any::<u64>(),
        acts in proptest::collection::vec(act(), 1..40),
    ) {
        prop_assert_eq!(run(seed, &acts), run(seed, &acts));
    }
}

#[test]
fn a_crash_at_every_single_operation_of_a_run() {
    let act_list = |n: u64| {
        vec![
            Act::Append(vec![(false, 30), (true, 3)]),
            Act::Append(vec![(false, 50), (false, 50)]),
            Act::CrashAfter(n),
            Act::Append(vec![(false, 55), (true, 3)]),
            Act::Append(vec![(false, 55), (false, 55), (false, 55), (false, 55), (false, 55)]),
            Act::Append(vec![(true, 55), (false, 1)]),
            Act::Reopen(n.is_multiple_of(2)),
            Act::Append(vec![(false, 5), (true, 5)]),
        ]
    };
    for n in 0..60 {
        for seed in 0..8 {
            run(seed * 3 + n % 3, &act_list(n));
        }
    }
}
