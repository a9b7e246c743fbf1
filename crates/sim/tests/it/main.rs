//! Three hundred seeds find nothing, and every planted bug is found.

use sim::{
    Bug, Done, Fault, FleetBug, FleetDone, FleetReport, FleetShape, Report, check, check_fleet, run,
};

#[test]
fn three_hundred_seeds_count_exactly() {
    let mut total = Report::default();
    for seed in 0..300 {
        match check(seed, None) {
            Ok(report) => total.add(&report),
            Err(error) => {
                panic!("{error:#}\nreplay: cargo run -p tally-sim -- --seed {seed} --trace")
            }
        }
    }
    for fault in Fault::ALL {
        assert!(total.faults.of(fault) > 0, "{fault:?} was never injected");
    }
    let done = |what| total.done.of(what);
    assert!(done(Done::Duplicates) > 1_000 && done(Done::LetGo) > 1_000, "{total:?}");
    let answers: Vec<u64> = total.answers.iter().map(|(_, times)| times).collect();
    assert!(answers.len() == 3 && answers.iter().all(|times| *times > 300), "{total:?}");
    assert!(done(Done::ColdRuns) > 10, "{total:?}");
    assert!(done(Done::DamageNamed) > 10, "{total:?}");
}

#[test]
fn every_planted_bug_is_found_within_200_seeds() {
    for bug in Bug::ALL {
        let found = (0..200).find_map(|seed| run(seed, Some(bug), false).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: {found:#}");
    }
}

/// Runs seeds of a fleet; what they did, all together.
fn fleets(seeds: u64, shape: FleetShape) -> FleetReport {
    let mut total = FleetReport::default();
    for seed in 0..seeds {
        match check_fleet(seed, shape, None) {
            Ok(report) => total.done.merge(&report.done),
            Err(error) => {
                let FleetShape { partitions, processors } = shape;
                panic!(
                    "{error:#}\nreplay: cargo run -p tally-sim -- --fleet --partitions {partitions} \
                     --processors {processors} --seed {seed}"
                )
            }
        }
    }
    total
}

fn assert_each_above(total: &FleetReport, least: &[(FleetDone, u64)]) {
    for (done, least) in least {
        assert!(total.done.of(*done) > *least, "{done:?}: {total:?}");
    }
}

#[test]
fn three_hundred_fleets_change_their_routing_and_count_exactly() {
    let total = fleets(300, FleetShape::SMALL);
    let least = [
        (FleetDone::Across, 1_000),
        (FleetDone::Duplicates, 10_000),
        (FleetDone::Versions, 3_000),
        (FleetDone::Added, 300),
        (FleetDone::Unsure, 1_000),
        (FleetDone::Stamped, 10_000),
        (FleetDone::Late, 1_000),
    ];
    assert_each_above(&total, &least);
}

#[test]
fn partitions_that_move_among_processors_are_counted_exactly() {
    let total = fleets(100, FleetShape::MOVING);
    let least = [
        (FleetDone::Across, 300),
        (FleetDone::Duplicates, 3_000),
        (FleetDone::Moved, 1_000),
        (FleetDone::Storms, 100),
        (FleetDone::Killed, 100),
        (FleetDone::Stopped, 100),
        (FleetDone::LateFlushes, 100),
    ];
    assert_each_above(&total, &least);
}

#[test]
fn a_thousand_partitions_move_among_processors_and_are_counted_exactly() {
    let total = fleets(2, FleetShape::LARGE);
    let least = [
        (FleetDone::Accepted, 10_000),
        (FleetDone::Duplicates, 3_000),
        (FleetDone::Across, 100),
        (FleetDone::Moved, 5_000),
        (FleetDone::Storms, 5),
        (FleetDone::Killed, 5),
        (FleetDone::Stopped, 2),
        (FleetDone::LateFlushes, 20),
    ];
    assert_each_above(&total, &least);
}

#[test]
fn every_bug_of_a_fleet_is_found_within_200_seeds() {
    for bug in FleetBug::ALL {
        let found = (0..200).find_map(|seed| check_fleet(seed, bug.shape(), Some(bug)).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: {found:#}");
    }
}
