//! The promises of ports on real engines, which `scripts/test-cassandra` starts and names.

mod cassandra;
mod redis;
mod secure;

/// What the script names.
fn named(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: scripts/test-cassandra"))
}

/// Sends a signal to a process that the script started.
fn signal(variable: &str, signal: rustix::process::Signal) {
    let pid = named(variable).parse().ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process"), signal).expect("it can be signalled");
}

/// What an error says, with all that caused it.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
