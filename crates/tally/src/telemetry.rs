//! What the program writes about itself: log lines on standard error, as text for people or as JSON for
//! machines. What is logged can be changed while it runs, by module.

mod line;
pub(crate) mod request;
#[cfg(not(feature = "otel"))]
#[path = "telemetry/no_traces.rs"]
pub(crate) mod traces;
#[cfg(feature = "otel")]
pub(crate) mod traces;

use std::io::IsTerminal;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use line::WithRequest;

/// What libraries tell of their everyday work is of no use to an operator.
const QUIET: &str = "fjall=warn,lsm_tree=warn,object_store=warn";

/// What would tell secrets.
const SECRET: [&str; 3] = ["h2=info", "hyper=info", "rustls=info"];

/// The target of spans that are for collectors of traces, not for log lines. The engine's are called so too.
pub(crate) const TRACES: &str = "tally::trace";

/// A longer filter is none that anybody means.
pub(crate) const FILTER_BYTES_MAX: usize = 1_024;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The filter of this process, once logging has started.
static FILTER: OnceLock<Running> = OnceLock::new();

struct Running {
    handle: reload::Handle<EnvFilter, Registry>,
    /// As it was asked for.
    text: Mutex<String>,
}

/// Why the filter was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// It is none.
    #[error(
        "a filter is error, warn, info, debug, trace, or modules with levels such as \
         info,tally_engine=debug"
    )]
    Invalid,
    /// Nothing is logged in this process.
    #[error("logging has not started in this process")]
    NotStarted,
}

/// Starts logging at a level or by a filter such as `info,tally=debug`. The text was checked when
/// the settings were.
pub(crate) fn start(filter: &str, format: LogFormat) {
    let (layer, handle) = reload::Layer::new(effective(filter));
    let colours =
        format == LogFormat::Text && std::io::stderr().is_terminal() && !crate::cli::no_color();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = match format {
        LogFormat::Text => {
            lines.map_event_format(|text| WithRequest::text(text.with_ansi(colours))).boxed()
        }
        LogFormat::Json => {
            lines.json().flatten_event(true).map_event_format(WithRequest::json).boxed()
        }
    };
    #[cfg(not(feature = "otel"))]
    let subscriber = tracing_subscriber::registry().with(layer).with(lines);
    // Log lines and traces are chosen apart.
    #[cfg(feature = "otel")]
    let subscriber =
        tracing_subscriber::registry().with(lines.with_filter(layer)).with(traces::layer());
    // A second start in one process, as in tests, changes nothing.
    if subscriber.try_init().is_ok() {
        let _ = FILTER.set(Running { handle, text: Mutex::new(filter.to_owned()) });
    }
}

/// What is asked for comes after what is left out by itself, and wins; but `trace` for all is not meant
/// for those that write down the heads of requests, and keys with them.
fn effective(filter: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},info")));
    let left_out = format!("{TRACES}=off");
    let left_out = SECRET.into_iter().chain([left_out.as_str()]);
    left_out.fold(filter, |filter, quiet| match quiet.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    })
}

/// Whether a text is a log filter.
pub(crate) fn is_filter(text: &str) -> bool {
    !text.is_empty() && text.len() <= FILTER_BYTES_MAX && EnvFilter::try_new(text).is_ok()
}

/// The filter in effect, as it was asked for; none where nothing is logged.
pub(crate) fn filter() -> Option<String> {
    FILTER.get().map(|running| running.text.lock().clone())
}

/// Logs by another filter from now on, until the process ends.
///
/// # Errors
/// Where the text is no filter, or nothing is logged.
pub(crate) fn set_filter(text: &str) -> Result<(), FilterError> {
    if !is_filter(text) {
        return Err(FilterError::Invalid);
    }
    let running = FILTER.get().ok_or(FilterError::NotStarted)?;
    let mut known = running.text.lock();
    running.handle.reload(effective(text)).map_err(|_| FilterError::NotStarted)?;
    text.clone_into(&mut known);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_levels_and_modules() {
        for good in ["info", "warn,tally_engine=debug", "off", "tally::access=debug"] {
            assert!(is_filter(good), "{good}");
        }
        let long = "a".repeat(FILTER_BYTES_MAX + 1);
        for bad in ["", "info,tally=loud", "a=b=c", &long] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    #[test]
    fn what_tells_secrets_stays_quiet_whatever_is_asked_for() {
        let shown = effective("trace,hyper=trace").to_string();
        for quiet in SECRET {
            assert!(shown.split(',').any(|directive| directive == quiet), "{shown}");
        }
        assert!(!shown.contains("hyper=trace"), "{shown}");
    }
}
