//! `tally gateway`, `tally processor` and `tally query`: the parts of `tally serve` as processes of
//! their own, on a log that they share.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::config::Raw;

/// Accept events into a log that processors count
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  tally gateway --log kafka://127.0.0.1:9092/events --listen 0.0.0.0:8080\n\n\
                  A gateway keeps nothing: run as many as you like behind a load balancer. \
                  `tally serve` with the same log, or processors, count what they accept."
)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    common: RoleArgs,
}

/// Count a share of a log's partitions
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  tally processor --log kafka://127.0.0.1:9092/events --data-dir ./counters\n\n\
                  Processors of one log share its partitions as a consumer group. With the counters in \
                  a data folder there is one processor."
)]
pub(crate) struct ProcessorArgs {
    #[command(flatten)]
    common: RoleArgs,
}

/// Answer questions from counters that processors have flushed
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  tally query --log kafka://127.0.0.1:9092/events --data-dir ./counters\n\n\
                  It counts nothing: `as_of` in an answer says how far the counters are. A data folder is \
                  open in one process at a time, so that of a processor can be asked when that has \
                  stopped."
)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    common: RoleArgs,
}

#[derive(Args, Debug)]
struct RoleArgs {
    /// Settings file [default: ./tally.toml, where it exists]
    #[arg(long, value_name = "FILE", env = "TALLY_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Raw,
}

pub(crate) fn run_gateway(args: &GatewayArgs) -> anyhow::Result<Outcome> {
    roles::run_gateway(&args.common)
}

pub(crate) fn run_processor(args: &ProcessorArgs) -> anyhow::Result<Outcome> {
    roles::run_processor(&args.common)
}

pub(crate) fn run_query(args: &QueryArgs) -> anyhow::Result<Outcome> {
    roles::run_query(&args.common)
}

#[cfg(not(feature = "kafka"))]
mod roles {
    use super::{Outcome, RoleArgs};
    use crate::cli::UsageError;
    use crate::cli::config::resolve;

    pub(super) fn run_gateway(args: &RoleArgs) -> anyhow::Result<Outcome> {
        resolve(args.config.as_deref(), &args.settings)
            .map_err(|error| UsageError(error.to_string()))?;
        anyhow::bail!(
            "this build of tally has no log that processes share; build it with --features kafka"
        )
    }

    pub(super) fn run_processor(args: &RoleArgs) -> anyhow::Result<Outcome> {
        run_gateway(args)
    }

    pub(super) fn run_query(args: &RoleArgs) -> anyhow::Result<Outcome> {
        run_gateway(args)
    }
}

#[cfg(feature = "kafka")]
mod roles {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::runtime::Runtime;

    use super::{Outcome, RoleArgs};
    use crate::cli::serve::{self, Signals, listen_as_set, serve_until, service};
    use crate::config::Resolved;
    use crate::http::Front;
    use crate::http::roles::{self, Role};
    use crate::telemetry::traces;
    use crate::wiring::roles::{Accepting, Processor, Questions};

    /// How often lag tools hear of progress.
    const PROGRESS: Duration = Duration::from_secs(5);

    pub(super) fn run_gateway(args: &RoleArgs) -> anyhow::Result<Outcome> {
        let (settings, runtime) = begin(args)?;
        let accepting = Accepting::open(&settings)?;
        let role = accepting.parts.role.clone();
        let front = roles::gateway_front(accepting.parts.clone())?;
        runtime.block_on(serve(&settings, &role, front, || {}))?;
        accepting.stop();
        traces::stop();
        eprintln!("the gateway has stopped; everything that was accepted is in the log");
        Ok(Outcome::Good)
    }

    pub(super) fn run_processor(args: &RoleArgs) -> anyhow::Result<Outcome> {
        let (settings, runtime) = begin(args)?;
        let processor = Arc::new(Processor::open(&settings)?);
        let front = roles::processor_front(processor.parts.clone());
        let noting = processor.clone();
        let served = runtime.block_on(async {
            let noted = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(PROGRESS).await;
                    let noting = noting.clone();
                    drop(tokio::task::spawn_blocking(move || noting.note_progress()).await);
                }
            });
            let served = serve(&settings, &processor.parts.role, front, || {}).await;
            noted.abort();
            served
        });
        drop(runtime);
        processor.stop();
        traces::stop();
        eprintln!("the processor has stopped; what it had counted is flushed");
        served.map(|()| Outcome::Good)
    }

    pub(super) fn run_query(args: &RoleArgs) -> anyhow::Result<Outcome> {
        let (settings, runtime) = begin(args)?;
        let questions = Questions::open(&settings)?;
        let front = roles::query_front(questions.parts.clone());
        let live = questions.parts.live.clone();
        runtime.block_on(serve(&settings, &questions.parts.role, front, move || live.stop()))?;
        drop(runtime);
        questions.stop()?;
        traces::stop();
        Ok(Outcome::Good)
    }

    fn begin(args: &RoleArgs) -> anyhow::Result<(Resolved, Runtime)> {
        serve::begin(args.config.as_deref(), &args.settings)
    }

    /// Answers requests until a signal says to stop.
    /// `ending` then ends answers that would go on for ever.
    async fn serve(
        settings: &Resolved,
        role: &Role,
        front: Arc<Front>,
        ending: impl FnOnce(),
    ) -> anyhow::Result<()> {
        let listener = listen_as_set(settings)?;
        let tls = role.tls.clone();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut signals = Signals::new(settings.drain_delay_ms)?;
        println!("listening on {scheme}://{}", listener.local_addr()?);
        let service = service(settings, &role.door, front, tls);
        let until = async {
            signals.wait(&role.draining).await;
            ending();
        };
        serve_until(listener, service, &role.door, until).await;
        role.admission.stop();
        Ok(())
    }
}
