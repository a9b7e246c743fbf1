//! Metrics of the server's process, under the names that Prometheus' own libraries use.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::process::{self, Scarce};

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let usage = process::usage();
    let counters = [
        ("process_cpu_seconds", "Processor time of all threads", usage.cpu_seconds),
        (
            "tally_disk_wait_seconds",
            "Time in which some thread of the machine waited for a disk",
            process::wait_seconds(Scarce::Disk),
        ),
        (
            "tally_processor_wait_seconds",
            "Time in which some thread of the machine waited for a processor",
            process::wait_seconds(Scarce::Processor),
        ),
    ];
    for (name, help, value) in counters {
        let Some(value) = value else { continue };
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let mut family = encoder.encode_descriptor(
        "tally_build_info",
        "The program, 1 for each version",
        None,
        MetricType::Gauge,
    )?;
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    ConstGauge::new(1.0).encode(family.encode_family(&labels)?)?;
    let cores = std::thread::available_parallelism().ok().map(|cores| cores.get() as f64);
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory",
            usage.resident_bytes.map(|n| n as f64),
        ),
        ("process_open_fds", "Open files and sockets", usage.open_files.map(|n| n as f64)),
        ("process_max_fds", "Most open files and sockets", usage.open_files_max.map(|n| n as f64)),
        (
            "process_start_time_seconds",
            "When the process started, in Unix seconds",
            usage.started_seconds,
        ),
        ("tally_cores", "Processors that the server may use", cores),
    ];
    for (name, help, value) in gauges {
        let Some(value) = value else { continue };
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    Ok(())
}
