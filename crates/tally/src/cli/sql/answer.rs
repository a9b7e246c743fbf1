//! Asks, and writes the answer down.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::ProblemCode;
use api::client::{Client, ClientError, CountersQuery, ItemsQuery};
use batch::sql::{
    CounterFilter, Database, HotCounters, HotHead, ItemDetailsLines, ItemFilter, Limits, Rows,
    SourceError, Sources, SqlError,
};
use futures::future::BoxFuture;
use indicatif::ProgressBar;

use super::{Format, SqlArgs, format};
use crate::cli::{Outcome, UsageError, output};
use crate::config::units::parse_size;
use crate::wiring;

/// Less than this sorts nothing.
const MEMORY_MIN: u64 = 16 << 20;
/// How long threads that still read are waited for in the end.
const END_TIMEOUT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

pub(super) fn run(args: &SqlArgs) -> anyhow::Result<Outcome> {
    let limits = limits(args)?;
    let format = if args.json { Format::Json } else { args.format };
    if format == Format::Parquet && args.output.is_none() && io::stdout().is_terminal() {
        let message = "Parquet is not for a terminal: name a file with --output";
        return Err(UsageError(message.into()).into());
    }
    let client = args.server.client()?;
    let files = wiring::sql::files(&args.archive()?)?;
    let server = Arc::new(Server(client));
    let sources = Sources { files, counters: server.clone(), items: server };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(limits.threads)
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let answered = runtime.block_on(async {
        tokio::select! {
            answered = answer(args, format, &sources, &limits) => answered,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped")),
        }
    });
    runtime.shutdown_timeout(END_TIMEOUT);
    answered
}

fn limits(args: &SqlArgs) -> anyhow::Result<Limits> {
    let wrong = |expected: &str| {
        UsageError(format!("--memory is `{}`; it must be at least 16MiB: {expected}", args.memory))
    };
    let memory = parse_size(&args.memory).map_err(wrong)?;
    if memory < MEMORY_MIN {
        return Err(wrong("less sorts nothing").into());
    }
    let temp_dir = args.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
    if !temp_dir.is_dir() {
        let message = format!("{} is no folder; name one with --temp-dir", temp_dir.display());
        return Err(UsageError(message).into());
    }
    Ok(Limits {
        memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        temp_dir,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

async fn answer(
    args: &SqlArgs,
    format: Format,
    sources: &Sources,
    limits: &Limits,
) -> anyhow::Result<Outcome> {
    let bar = ProgressBar::new_spinner().with_message("reading");
    bar.enable_steady_tick(TICK);
    let database = Database::open(sources, limits).await?;
    let rows = database.query(&args.question).await.map_err(explained)?;
    let written = match &args.output {
        Some(path) => to_file(path, rows, format, &bar).await,
        None => {
            let out = BufWriter::new(io::stdout());
            match write(rows, format, out, &bar).await {
                // A reader that has gone (`| head`) is no error.
                Err(error) if is_broken_pipe(&error) => Ok(()),
                other => other,
            }
        }
    };
    bar.finish_and_clear();
    written.map(|()| Outcome::Good)
}

/// A question that cannot be understood is wrong usage.
fn explained(error: SqlError) -> anyhow::Error {
    match error {
        SqlError::Query(_) | SqlError::Changes => UsageError(error.to_string()).into(),
        other => other.into(),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is_pipe))
}

/// Writes under another name first: what is there under its own is whole.
async fn to_file(path: &Path, rows: Rows, format: Format, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let file =
        File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    let written = write(rows, format, BufWriter::new(file), bar).await;
    let named = written.and_then(|()| {
        std::fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
    });
    if named.is_err() {
        // It may have gone already; what went wrong first is told.
        let _ = std::fs::remove_file(&partial);
    }
    named
}

async fn write(
    rows: Rows,
    format: Format,
    mut out: impl Write + Send,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    match format {
        Format::Table => format::table(rows, output::table(), &mut out, bar).await?,
        Format::Csv => format::csv(rows, &mut out).await?,
        Format::Json => format::json(rows, &mut out).await?,
        Format::Parquet => drop(rows.write_parquet(&mut out).await?),
    }
    out.flush().context("cannot write the answer")
}

/// The server that is asked for counters and item details, when a question needs them.
struct Server(Client);

impl HotCounters for Server {
    fn fetch<'a>(
        &'a self,
        filter: &'a CounterFilter,
        into: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, Result<HotHead, SourceError>> {
        Box::pin(async move {
            let time = |ms: Option<i64>| ms.map(|ms| ms.to_string());
            let (start, end) = (time(filter.start_ms), time(filter.end_ms));
            let query = CountersQuery {
                item: filter.item.as_deref(),
                event_type: filter.event_type.as_deref(),
                start: start.as_deref(),
                end: end.as_deref(),
            };
            let mut lines = self.0.counters(&query).await?;
            while let Some(bytes) = lines.next().await? {
                into.write_all(&bytes)?;
            }
            Ok(HotHead { cold_until: lines.cold_until })
        })
    }
}

impl ItemDetailsLines for Server {
    fn fetch<'a>(
        &'a self,
        filter: &'a ItemFilter,
        into: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            if let Some(item) = &filter.item {
                return match self.0.item(item).await {
                    Ok(details) => Ok(serde_json::to_writer(into, &details)?),
                    Err(error) if is_unknown(&error) => Ok(()),
                    Err(error) => Err(error.into()),
                };
            }
            let query =
                ItemsQuery { channel: filter.channel.as_deref(), after: filter.after.as_deref() };
            let mut lines = self.0.items(&query).await?;
            while let Some(bytes) = lines.next().await? {
                into.write_all(&bytes)?;
            }
            Ok(())
        })
    }
}

/// Whether nothing is known of an item.
fn is_unknown(error: &ClientError) -> bool {
    let code = ProblemCode::UnknownItem.as_str();
    matches!(error, ClientError::Problem { problem, .. } if problem.code == code)
}
