//! What the program writes about itself: log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// What libraries tell of their everyday work is of no use to an operator.
const QUIET: &str = "fjall=warn,lsm_tree=warn,object_store=warn";

/// What would tell secrets.
const SECRET: [&str; 3] = ["h2=info", "hyper=info", "rustls=info"];

/// Starts logging at a level or by a filter such as `info,tally=debug`. The text was checked when
/// the settings were.
pub(crate) fn start(filter: &str) {
    // What is asked for comes last, and wins.
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},info")));
    // These write down the heads of requests, and keys with them: `trace` for all is not meant for them.
    let filter = SECRET.iter().fold(filter, |filter, quiet| match quiet.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    });
    // A second start in one process, as in tests, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !crate::cli::no_color())
        .try_init();
}

/// Whether a text is a log filter.
pub(crate) fn is_filter(text: &str) -> bool {
    !text.is_empty() && EnvFilter::try_new(text).is_ok()
}
