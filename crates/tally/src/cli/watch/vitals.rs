//! How a server is, from the text of its `/metrics`.

use serde::Serialize;

/// The figures that are shown, of one scrape.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Vitals {
    /// Events made durable since the server's start.
    pub(crate) accepted: u64,
    /// Events counted since the server's start.
    pub(crate) counted: u64,
    /// Repeats that were not counted.
    pub(crate) duplicates: u64,
    /// Events refused.
    pub(crate) rejected: u64,
    /// Answers with a status of 500 or more.
    pub(crate) errors: u64,
    pub(crate) dead_letters: u64,
    pub(crate) disk_free_bytes: Option<u64>,
    /// Share of the memory for bodies that is in use, 0 to 1.
    pub(crate) queue_fill_ratio: f64,
    /// How long the oldest uncounted event may have waited.
    pub(crate) freshness_seconds: f64,
    /// Events that are durable and not counted yet, by partition.
    pub(crate) partitions: Vec<PartitionLag>,
}

/// What one partition still has to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionLag {
    pub(crate) partition: u16,
    pub(crate) lag_events: u64,
}

impl Vitals {
    /// Reads OpenMetrics text; none where it is not that of Tally. Lines that are not understood
    /// are left out.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut vitals = Self::default();
        let mut is_tally = false;
        for sample in text.lines().filter_map(Sample::read) {
            let count = sample.value as u64;
            match sample.name {
                "tally_events_accepted_total" => {
                    is_tally = true;
                    vitals.accepted += count;
                }
                "tally_events_counted_total" => vitals.counted += count,
                "tally_events_duplicate_total" => vitals.duplicates += count,
                "tally_events_rejected_total" => vitals.rejected += count,
                "tally_errors_total" => vitals.errors += count,
                "tally_dead_letters_total" => vitals.dead_letters += count,
                "tally_disk_free_bytes" => vitals.disk_free_bytes = Some(count),
                "tally_queue_fill_ratio" => vitals.queue_fill_ratio = sample.value,
                "tally_freshness_seconds" => vitals.freshness_seconds = sample.value,
                "tally_partition_lag_events" => {
                    let partition = sample.label("partition").and_then(|text| text.parse().ok());
                    let lag = |partition| PartitionLag { partition, lag_events: count };
                    vitals.partitions.extend(partition.map(lag));
                }
                _ => {}
            }
        }
        vitals.partitions.sort_by_key(|lag| lag.partition);
        is_tally.then_some(vitals)
    }

    /// Events that are not counted yet.
    pub(crate) fn lag_events(&self) -> u64 {
        self.partitions.iter().fold(0, |sum, lag| sum.saturating_add(lag.lag_events))
    }
}

/// One line: `name{label="value",…} 12.5`.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let name_end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(name_end);
        let (labels, rest) = match rest.strip_prefix('{') {
            // A label's value may hold a brace; a number does not.
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
        value.is_finite().then_some(Self { name, labels, value: value.max(0.0) })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        let pair = self.labels.split(',').find_map(|pair| pair.strip_prefix(name))?;
        pair.strip_prefix("=\"")?.strip_suffix('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_over_labels_and_lag_is_kept_by_partition() {
        let text = "# HELP tally_events_accepted Events made durable.\n\
            tally_events_accepted_total 12\n\
            tally_events_counted_total{partition=\"0\"} 5\n\
            tally_events_counted_total{partition=\"1\"} 6\n\
            tally_partition_lag_events{partition=\"1\"} 1.0\n\
            tally_partition_lag_events{partition=\"0\"} 0.0\n\
            tally_errors_total{code=\"a } b\"} 3\n\
            tally_disk_free_bytes 1024.0\ntally_queue_fill_ratio 0.5\n# EOF\n";
        let vitals = Vitals::read(text).expect("it is Tally");
        assert_eq!((vitals.accepted, vitals.counted, vitals.errors), (12, 11, 3));
        assert_eq!((vitals.disk_free_bytes, vitals.queue_fill_ratio), (Some(1024), 0.5));
        let lags: Vec<_> = vitals.partitions.iter().map(|p| (p.partition, p.lag_events)).collect();
        assert_eq!(lags, [(0, 0), (1, 1)]);
        assert_eq!(vitals.lag_events(), 1);
    }

    #[test]
    fn what_is_no_metrics_of_tally_is_none_and_odd_lines_are_left_out() {
        assert_eq!(Vitals::read("<html>"), None);
        assert_eq!(Vitals::read("go_goroutines 7\n"), None);
        let text = "tally_events_accepted_total 1\ntally_errors_total\ntally_errors_total{ 9\n\
            tally_errors_total NaN\ntally_partition_lag_events{partition=\"x\"} 4\n{} {\n";
        let vitals = Vitals::read(text).expect("it is Tally");
        assert_eq!((vitals.errors, vitals.partitions.len()), (0, 0));
    }
}
