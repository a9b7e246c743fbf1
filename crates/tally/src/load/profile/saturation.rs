//! What gave way first: from the figures of a step of rising load to the name of a component.

use serde::Serialize;

/// Of what was due, less is a step that was not kept up with.
const KEPT_UP: f64 = 0.9;
/// Latency beyond so many times that of the first step, and beyond the milliseconds, is saturation.
const SLOWER: f64 = 10.0;
const SLOW_MS: f64 = 250.0;
/// A share of a resource above which it is as good as used up.
const USED_UP: f64 = 0.85;

/// What gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Component {
    /// This program: the server could take more.
    Generator,
    /// The processors of the server.
    ServerCpu,
    /// The log's disk, whose fsync every answer waits for.
    Disk,
    /// The memory for bodies on their way into the log.
    LogQueue,
    /// Counting, which falls behind what is accepted.
    Counting,
    /// The limits on requests.
    RateLimit,
    /// Nothing that is measured.
    Unknown,
}

impl std::fmt::Display for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Generator => "this generator",
            Self::ServerCpu => "the server's processors",
            Self::Disk => "the log's disk",
            Self::LogQueue => "the queue before the log",
            Self::Counting => "counting",
            Self::RateLimit => "the rate limit",
            Self::Unknown => "something that is not measured",
        })
    }
}

/// The figures of a step: medians over its time. None is what is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Events a second that were due, and that were answered.
    pub(crate) offered: f64,
    pub(crate) answered: f64,
    pub(crate) p99_ms: f64,
    /// Attempts a second that were to be made again.
    pub(crate) refused: f64,
    /// Events a second by which counting falls behind.
    pub(crate) lag_growth: f64,
    /// Processors this program uses; one thread makes and sends everything.
    pub(crate) generator_cores: Option<f64>,
    pub(crate) server_cores: Option<f64>,
    pub(crate) cores: Option<f64>,
    /// Share of the time in which something waited for a disk.
    pub(crate) disk_wait: Option<f64>,
    /// Share of the time in which something waited for a processor.
    pub(crate) processor_wait: Option<f64>,
    /// Share of the memory for bodies that is in use.
    pub(crate) queue_fill: Option<f64>,
    /// Whether attempts were answered 429.
    pub(crate) is_limited: bool,
}

/// The finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Saturated {
    pub(crate) component: Component,
    /// What shows that the step was too much, and what names the component.
    pub(crate) because: String,
}

/// What gave way in a step, compared with the first; none where nothing did.
pub(crate) fn find(step: &Figures, first: &Figures) -> Option<Saturated> {
    let symptom = symptom(step, first)?;
    let (component, evidence) = culprit(step);
    Some(Saturated { component, because: format!("{symptom}; {evidence}") })
}

fn symptom(step: &Figures, first: &Figures) -> Option<String> {
    let Figures { offered, answered, p99_ms, refused, lag_growth, .. } = *step;
    if answered < KEPT_UP * offered {
        return Some(format!("{answered:.0} of {offered:.0} events/s were answered"));
    }
    if refused * 100.0 > offered.min(100.0) {
        return Some(format!("{refused:.0} requests/s were refused for a while"));
    }
    if lag_growth > (1.0 - KEPT_UP) * offered {
        return Some(format!("counting falls behind by {lag_growth:.0} events/s"));
    }
    let slow = (SLOWER * first.p99_ms).max(SLOW_MS);
    (p99_ms > slow).then(|| format!("p99 is {p99_ms:.0} ms after {:.0} ms", first.p99_ms))
}

fn culprit(step: &Figures) -> (Component, String) {
    let generator = step.generator_cores.unwrap_or(0.0);
    let server = step.server_cores.zip(step.cores);
    let share = server.map(|(used, cores)| used / cores.max(1.0));
    // On one machine both want the same processors.
    let all = server.map(|(used, cores)| (used + generator) / cores.max(1.0));
    if step.is_limited {
        return (Component::RateLimit, "the server answers 429".into());
    }
    if generator > USED_UP {
        let text =
            format!("this generator uses {generator:.2} processors, and sends from one thread");
        return (Component::Generator, text);
    }
    if share.is_some_and(|share| share > USED_UP) || all.is_some_and(|all| all > 0.95) {
        let (used, cores) = server.unwrap_or_default();
        let text = format!(
            "the server uses {used:.2} of {cores:.0} processors, this generator {generator:.2}"
        );
        return (Component::ServerCpu, text);
    }
    if let Some(wait) = step.disk_wait.filter(|wait| *wait > 0.5) {
        return (
            Component::Disk,
            format!("something waits for a disk {:.0} % of the time", wait * 100.0),
        );
    }
    if let Some(fill) = step.queue_fill.filter(|fill| *fill > USED_UP) {
        let text =
            format!("the memory for bodies on their way to the log is {:.0} % full", fill * 100.0);
        return (Component::LogQueue, text);
    }
    if step.lag_growth > (1.0 - KEPT_UP) * step.answered {
        return (Component::Counting, "events are accepted faster than they are counted".into());
    }
    if let Some(wait) = step.processor_wait.filter(|wait| *wait > 0.5) {
        let text = format!(
            "something waits for a processor {:.0} % of the time, though the server uses {:.2}",
            wait * 100.0,
            step.server_cores.unwrap_or(0.0)
        );
        return (Component::ServerCpu, text);
    }
    let text =
        "nothing that is measured is at its limit: try more --connections or a larger --batch";
    (Component::Unknown, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Figures {
        Figures {
            offered: 1e5,
            answered: 1e5,
            p99_ms: 4.0,
            generator_cores: Some(0.2),
            server_cores: Some(0.5),
            cores: Some(2.0),
            disk_wait: Some(0.1),
            queue_fill: Some(0.0),
            ..Default::default()
        }
    }

    fn component(change: impl Fn(&mut Figures)) -> Option<Component> {
        let mut step = calm();
        change(&mut step);
        find(&step, &calm()).map(|found| found.component)
    }

    #[test]
    fn a_calm_step_is_not_saturated_however_busy_one_part_is() {
        assert_eq!(component(|_| {}), None);
        assert_eq!(component(|step| step.server_cores = Some(2.0)), None);
        assert_eq!(component(|step| step.p99_ms = 40.0), None);
    }

    #[test]
    fn the_component_is_what_is_used_up() {
        use Component as C;
        let too_much = |step: &mut Figures| step.answered = 5e4;
        type Change = fn(&mut Figures);
        let cases: [(Change, C); 8] = [
            (|step| step.generator_cores = Some(0.97), C::Generator),
            (|step| step.server_cores = Some(1.9), C::ServerCpu),
            (
                |step| (step.server_cores, step.generator_cores) = (Some(1.3), Some(0.7)),
                C::ServerCpu,
            ),
            (|step| step.disk_wait = Some(0.9), C::Disk),
            (|step| step.queue_fill = Some(0.95), C::LogQueue),
            (|step| step.processor_wait = Some(0.9), C::ServerCpu),
            (|step| step.is_limited = true, C::RateLimit),
            (|_| {}, C::Unknown),
        ];
        for (change, expected) in cases {
            let found = component(|step| {
                too_much(step);
                change(step);
            });
            assert_eq!(found, Some(expected));
        }
        assert_eq!(component(|step| step.lag_growth = 3e4), Some(C::Counting));
    }

    #[test]
    fn each_symptom_is_enough() {
        assert!(component(|step| step.p99_ms = 900.0).is_some());
        assert!(component(|step| step.refused = 5.0).is_some());
        assert!(component(|step| step.answered = 8e4).is_some());
    }
}
