//! Three hundred seeds find nothing, and every planted bug is found.

use sim::{Bug, Fault, FleetBug, FleetReport, Report, check, check_fleet, run};

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
        assert!(total.faults.contains_key(&fault), "{fault:?} was never injected");
    }
    assert!(total.duplicates > 1_000 && total.let_go > 1_000, "{total:?}");
    assert!(total.answers.len() == 3 && total.answers.values().all(|n| *n > 300), "{total:?}");
    assert!(total.cold_runs > 10, "{total:?}");
    assert!(total.damage_named > 10, "damage was noticed {} times", total.damage_named);
}

#[test]
fn every_planted_bug_is_found_within_200_seeds() {
    for bug in Bug::ALL {
        let found = (0..200).find_map(|seed| run(seed, Some(bug), false).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: {found:#}");
    }
}

#[test]
fn three_hundred_fleets_change_their_routing_and_count_exactly() {
    let mut total = FleetReport::default();
    for seed in 0..300 {
        match check_fleet(seed, None) {
            Ok(report) => total.add(&report),
            Err(error) => {
                panic!("{error:#}\nreplay: cargo run -p tally-sim -- --fleet --seed {seed}")
            }
        }
    }
    assert!(total.across > 1_000 && total.duplicates > 10_000, "{total:?}");
    assert!(total.versions > 3_000 && total.added > 300 && total.unsure > 1_000, "{total:?}");
    assert!(total.stamped > 10_000 && total.late > 1_000, "{total:?}");
}

#[test]
fn every_bug_of_a_fleet_is_found_within_200_seeds() {
    for bug in FleetBug::ALL {
        let found = (0..200).find_map(|seed| check_fleet(seed, Some(bug)).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: {found:#}");
    }
}
