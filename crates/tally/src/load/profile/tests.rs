use super::*;

fn sample(seconds: f64, p99_ms: f64, lag: f64) -> Sample {
    Sample {
        seconds,
        offered: 100.0,
        answered: 100.0,
        p99_ms: Some(p99_ms),
        lag_events: Some(lag),
        memory_bytes: Some(100e6),
        dedup_bytes: Some(10e6),
        open_files: Some(50.0),
        disk_free_bytes: Some(1e12 - 3700.0 * seconds),
        ..Default::default()
    }
}

#[test]
fn schedules_are_those_of_their_profile() {
    let total = |profile: Profile| {
        let steps = profile.steps(100.0, Duration::from_secs(120));
        (steps.len(), steps.iter().map(|step| step.lasts.as_secs()).sum::<u64>())
    };
    assert_eq!(total(Profile::Load), (1, 120));
    assert_eq!(total(Profile::Soak), (1, 120));
    assert_eq!(total(Profile::Stress), (12, 120));
    assert_eq!(total(Profile::Spike), (3, 120));
    let rates = |profile: Profile| {
        profile
            .steps(100.0, Duration::from_secs(1))
            .iter()
            .map(|step| step.rate)
            .collect::<Vec<_>>()
    };
    assert_eq!(rates(Profile::Spike), [100.0, 1000.0, 100.0]);
    assert!(rates(Profile::Stress).windows(2).all(|pair| pair[1] == 1.5 * pair[0]));
}

#[test]
fn recovery_counts_from_the_end_of_the_spike_to_lasting_calm() {
    let mut samples: Vec<Sample> = (0..60).map(|i| sample(f64::from(i), 5.0, 10.0)).collect();
    for s in &mut samples[20..41] {
        s.p99_ms = Some(800.0);
    }
    // One calm moment in between is not it.
    samples[35].p99_ms = Some(5.0);
    assert_eq!(recovery(&samples, 30.0, 5.0, 10.0), Some(11.0));
    for s in &mut samples[41..45] {
        s.lag_events = Some(1e6);
    }
    assert_eq!(recovery(&samples, 30.0, 5.0, 10.0), Some(15.0));
    assert_eq!(recovery(&samples[..46], 30.0, 5.0, 10.0), None, "too few to be sure");
}

#[test]
fn a_soak_finds_leaks_of_memory_and_files_and_knows_when_it_cannot_tell() {
    let long = Duration::from_secs(3600);
    let samples = |leak: f64, files: f64| -> Vec<Sample> {
        let at = |i: i32| f64::from(i) * 36.0;
        let change = |i| Sample {
            memory_bytes: Some(100e6 + leak * at(i) + f64::from(i % 3) * 1e5),
            // The window fills up, and that is no leak.
            dedup_bytes: Some(1000.0 * at(i)),
            open_files: Some(50.0 + (files * at(i)).floor()),
            ..sample(at(i), 5.0, 10.0)
        };
        (0..100).map(change).collect()
    };
    let leaks = |samples: &[Sample], duration| match soak(samples, duration) {
        Verdict::Soak { leaks, .. } => leaks,
        _ => unreachable!("soak has a verdict of soak"),
    };
    assert_eq!(leaks(&samples(1000.0, 0.0), long), Some(false));
    assert_eq!(leaks(&samples(20_000.0, 0.0), long), Some(true));
    assert_eq!(leaks(&samples(1000.0, 0.05), long), Some(true));
    assert_eq!(leaks(&samples(20_000.0, 0.0), Duration::from_secs(60)), None);
    let Verdict::Soak { disk_bytes_per_event, .. } = soak(&samples(1000.0, 0.0), long) else {
        unreachable!("soak has a verdict of soak")
    };
    assert!(disk_bytes_per_event.is_some_and(|bytes| (bytes - 37.0).abs() < 0.1));
}

#[test]
fn steps_are_judged_when_they_are_over_and_against_the_first() {
    let steps = Profile::Stress.steps(100.0, Duration::from_secs(120));
    let mut judged = Vec::new();
    let mut samples = Vec::new();
    for i in 1..=300_u32 {
        let seconds = f64::from(i) / 10.0;
        // From 20 s on no more than 150 events a second.
        let answered = [100.0, 150.0, 150.0][(i as usize - 1) / 100];
        samples.push(Sample { answered, ..sample(seconds, 5.0, 10.0) });
        judge_steps(Profile::Stress, &steps, &samples, &mut judged, false);
        assert_eq!(judged.len(), i as usize / 100);
    }
    samples.push(sample(30.5, 5.0, 10.0));
    judge_steps(Profile::Stress, &steps, &samples, &mut judged, true);
    assert_eq!(judged.pop().map(|step| step.figures.answered), Some(100.0), "cut short");
    let saturated: Vec<bool> = judged.iter().map(|step| step.saturated.is_some()).collect();
    assert_eq!(saturated, [false, false, true]);
    match verdict(Profile::Stress, &samples, &judged, Duration::from_secs(120)) {
        Verdict::Stress { sustained, offered, saturated: Some(_) } => {
            assert!(
                (149.0..151.0).contains(&sustained) && offered == 225.0,
                "{sustained} {offered}"
            );
        }
        other => panic!("{other:?}"),
    }
}
