//! `tally send FILE…`: sends files of events, each event exactly once.

mod bulk;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::client::Client;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::server::ServerArgs;
use super::{Outcome, UsageError, output};
use crate::import::lanes::Lanes;
use crate::import::{
    AccessLogRules, FileReport, Format, Mapping, Progress, ReadOptions, Reader, Refusals,
    ResumeFile, SendError, SendOptions, Sender, Source, state_dir,
};

/// Send files of events: NDJSON, CSV or web access logs
///
/// Every event of a file is counted once, however often the same command is repeated: its requests
/// are stamped with the content of the file, the options and the place of their events, and a
/// server knows a stamp for 30 days. Where the file has no ids, they are derived from content and
/// position. After a failure the same command goes on where it stopped. Standard input has no
/// stamps: repeat it within the dedup window of the server. Files compressed with zstd or gzip are
/// read as they are.
///
/// CSV columns named as in the contract (id, item, type, time, value, attr.NAME), or event_id,
/// item_id, event_type and ts, need no --map; other columns are ignored. The fields of access logs
/// are host, ident, user, time, method, path, target (path and query), protocol, status, bytes,
/// referer, user_agent; by default the item is the path, the value the bytes, and method and status
/// are attributes.
///
/// With --bulk each file (NDJSON, CSV or Parquet) goes to the server whole, is safe there when the
/// command ends, and is counted in the server's own time, once, however often it is sent. Send an
/// event in a file or without --bulk, not both: later than the dedup window it would count twice.
///
/// Refused events are counted, and told by code with the first lines. They do not fail the command,
/// unless --strict is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally send events.ndjson.zst\n  \
    tally send trips.csv --map item=route,time=departed,value=miles,attr.origin=from --set type=trip\n  \
    tally send access.log --type-from-method\n  \
    tally send --bulk --wait history.parquet --map item=video,time=watched_at\n  \
    zcat old.log.gz | tally send - --format combined --shift-days 365")]
pub(crate) struct SendArgs {
    /// The files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// How the files are written [default: by name and content]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Which field becomes which part of an event: item=path,time=ts,attr.origin=from
    #[arg(long, value_name = "PART=FIELD", value_delimiter = ',')]
    map: Vec<String>,
    /// A part that is the same for all events: type=view,attr.site=blog
    #[arg(long, value_name = "PART=TEXT", value_delimiter = ',')]
    set: Vec<String>,
    /// Move all times by so many days, to the past when negative
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    shift_days: i64,
    /// Access logs: the item keeps its query string
    #[arg(long)]
    with_query: bool,
    /// Access logs: the event type is the method in lower case [default: view]
    #[arg(long)]
    type_from_method: bool,
    /// Access logs: event types of single methods, such as GET=view,HEAD=like
    #[arg(long, value_name = "METHOD=TYPE", value_delimiter = ',')]
    map_method: Vec<String>,
    /// Access logs: refuse requests that are not METHOD TARGET [HTTP/x.y], instead of keeping them
    #[arg(long)]
    refuse_odd: bool,
    /// Events in a request; at most 2000 of them have the same stamp and go together
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Requests under way at once; of one file at most 8
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    in_flight: u8,
    /// Compress what is sent (zstd)
    #[arg(long)]
    compress: bool,
    /// Seconds for which a batch is tried again while the server is away or busy
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_for: u64,
    /// Begin at the first line, also where an earlier run has stopped
    #[arg(long)]
    restart: bool,
    /// Exit with status 1 when any event was refused
    #[arg(long)]
    strict: bool,
    /// Send the files whole, to be counted when the server can
    #[arg(long)]
    bulk: bool,
    /// Send files of at least this size as with --bulk, such as 1GiB; keep to it when you repeat
    #[arg(long, value_name = "SIZE", value_parser = size)]
    bulk_above: Option<u64>,
    /// With --bulk: wait until the server has counted them
    #[arg(long)]
    wait: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// How long to wait for the server to count what it acknowledged, and how often to look.
const COUNTED_TIMEOUT: Duration = Duration::from_secs(10);
const COUNTED_INTERVAL: Duration = Duration::from_millis(5);

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    files: Vec<FileSummary>,
    records: u64,
    accepted: u64,
    refused: u64,
    odd: u64,
    refused_by_code: Refusals,
    seconds: f64,
    events_per_second: f64,
}

#[derive(Debug, Serialize)]
struct FileSummary {
    file: String,
    /// Records that an earlier run had settled.
    resumed_from: u64,
    #[serde(flatten)]
    report: FileReport,
}

pub(crate) fn run(args: &SendArgs) -> anyhow::Result<Outcome> {
    let is_bulk = |file: &String| {
        let least = args.bulk_above.filter(|_| file != "-");
        let size = least.and_then(|_| std::fs::metadata(file).ok()).map(|file| file.len());
        args.bulk || size.zip(least).is_some_and(|(size, least)| size >= least)
    };
    let (whole, streamed): (Vec<_>, Vec<_>) = args.files.iter().cloned().partition(is_bulk);
    if whole.is_empty() {
        return stream(args, &streamed);
    }
    let outcome = bulk::run(args, &whole)?;
    match streamed.is_empty() {
        true => Ok(outcome),
        false => stream(args, &streamed).map(|streamed| match outcome {
            Outcome::Good => streamed,
            Outcome::Failed => Outcome::Failed,
        }),
    }
}

fn size(text: &str) -> Result<u64, String> {
    crate::config::units::parse_size(text).map_err(str::to_owned)
}

fn stream(args: &SendArgs, files: &[String]) -> anyhow::Result<Outcome> {
    let options = args.read_options()?;
    let sender = Sender::new(args.server.client()?, args.send_options());
    if files.iter().filter(|file| *file == "-").count() > 1 {
        return Err(UsageError("standard input (-) can be named only once".into()).into());
    }
    let runtime = super::server::runtime()?;
    let started = Instant::now();
    let mut summary = Summary::default();
    let mut outcome = Ok(Outcome::Good);
    for file in files {
        match runtime.block_on(send_file(args, &options, &sender, file)) {
            Ok(sent) => summary.add(sent),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    runtime.block_on(wait_until_counted(&sender.client));
    // A reader that waits for standard input would hold the program.
    runtime.shutdown_background();
    summary.finish(started.elapsed());
    report(args, &summary)?;
    match outcome {
        Ok(_) if args.strict && summary.refused > 0 => Ok(Outcome::Failed),
        other => other,
    }
}

impl SendArgs {
    fn read_options(&self) -> anyhow::Result<ReadOptions> {
        let usage = |text| anyhow::Error::new(UsageError(text));
        Ok(ReadOptions {
            format: self.format,
            mapping: Mapping::parse(&self.map, &self.set, self.shift_days).map_err(usage)?,
            access_log: AccessLogRules {
                keep_query: self.with_query,
                refuse_odd: self.refuse_odd,
                type_from_method: self.type_from_method,
                method_types: AccessLogRules::parse_method_types(&self.map_method)
                    .map_err(usage)?,
            },
        })
    }

    fn send_options(&self) -> SendOptions {
        SendOptions {
            batch_events: self.batch as usize,
            in_flight: usize::from(self.in_flight),
            compress: self.compress,
            retry_for: Duration::from_secs(self.retry_for),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(5),
        }
    }

    /// Everything that decides which events come out of a file and where they go.
    fn resume_key(&self) -> String {
        format!("{} {}", self.server.url, self.events_key())
    }

    /// Everything that decides which events come out of a file.
    fn events_key(&self) -> String {
        format!(
            "{:?} {:?} {:?} {} {} {} {:?} {}",
            self.format,
            self.map,
            self.set,
            self.shift_days,
            self.with_query,
            self.type_from_method,
            self.map_method,
            self.refuse_odd
        )
    }

    fn resume_file(&self, file: &str, identity: Option<u128>) -> Option<ResumeFile> {
        let folder = state_dir()?;
        Some(ResumeFile::new(&folder, file, identity?, &self.resume_key()))
    }
}

async fn send_file(
    args: &SendArgs,
    options: &ReadOptions,
    sender: &Sender,
    file: &str,
) -> anyhow::Result<FileSummary> {
    let source = Source::open(file)?;
    let resume = args.resume_file(file, source.identity);
    let earlier = match &resume {
        Some(resume) if !args.restart => resume.load().unwrap_or_default(),
        _ => Progress::default(),
    };
    let resumed_from = earlier.done.records;
    if resumed_from > 0 {
        eprintln!(
            "{file}: an earlier run was acknowledged up to line {}; going on behind it (--restart begins anew)",
            earlier.done.line
        );
    }
    let can_resume = resume.is_some();
    let lanes = source.identity.map(|identity| Lanes::of_file(identity, &args.events_key()));
    let bar = progress_bar(&source);
    let read_bytes = Arc::clone(&source.read_bytes);
    let reader = Reader::new(source, options)?;
    let progress = |report: &FileReport| {
        bar.set_position(read_bytes.load(Ordering::Relaxed));
        bar.set_message(format!("{} events", output::thousands(report.accepted)));
    };
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let sent = sender.send_file(reader, earlier, resume, lanes, progress, stop).await;
    bar.finish_and_clear();
    match sent {
        Ok(report) => Ok(FileSummary { file: file.to_owned(), resumed_from, report }),
        Err(error) => Err(explain(file, error, can_resume)),
    }
}

/// Waits until the server has counted what it acknowledged, so that whoever asks next sees all of
/// it. No more than a courtesy: it gives up after a while, or where the server does not tell.
async fn wait_until_counted(client: &Client) {
    let deadline = Instant::now() + COUNTED_TIMEOUT;
    let Some(ends) = offsets(client, "durable_offset").await else { return };
    while Instant::now() < deadline {
        match offsets(client, "next_offset").await {
            Some(counted) if counted.iter().zip(&ends).any(|(counted, end)| counted < end) => {
                tokio::time::sleep(COUNTED_INTERVAL).await;
            }
            _ => return,
        }
    }
}

/// One figure of every partition.
async fn offsets(client: &Client, figure: &str) -> Option<Vec<u64>> {
    let answer = client.get("/v1/admin/partitions").await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).ok()?;
    answer["partitions"].as_array()?.iter().map(|partition| partition[figure].as_u64()).collect()
}

/// How far it got, and what to do next.
fn explain(file: &str, error: SendError, can_resume: bool) -> anyhow::Error {
    let SendError { cause, done } = error;
    let next = if can_resume {
        "run the same command again to go on there"
    } else {
        "run the same command with the same input again: what was acknowledged within the dedup window of the \
         server is not counted twice"
    };
    cause.context(format!(
        "`{file}` is not sent to its end: acknowledged up to line {} ({} events, {} refused); {next}",
        done.line,
        done.accepted,
        done.refused.total()
    ))
}

fn progress_bar(source: &Source) -> ProgressBar {
    let bar = match source.stored_bytes {
        Some(bytes) => ProgressBar::new(bytes),
        None => ProgressBar::new_spinner(),
    };
    // Hidden by itself where standard error is no terminal.
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = "{prefix} {bar:30} {bytes}/{total_bytes} {msg} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(source.name.clone());
    bar
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            records: 0,
            accepted: 0,
            refused: 0,
            odd: 0,
            refused_by_code: Refusals::default(),
            seconds: 0.0,
            events_per_second: 0.0,
        }
    }
}

impl Summary {
    fn add(&mut self, file: FileSummary) {
        self.records += file.report.records;
        self.accepted += file.report.accepted;
        self.refused += file.report.refused.total();
        self.odd += file.report.odd;
        self.refused_by_code.merge(file.report.refused.clone());
        self.files.push(file);
    }

    /// The rate is that of this run: what an earlier one had settled does not count.
    fn finish(&mut self, elapsed: Duration) {
        let resumed: u64 = self.files.iter().map(|file| file.resumed_from).sum();
        self.seconds = (elapsed.as_secs_f64() * 1e3).round() / 1e3;
        let rate = (self.records - resumed) as f64 / elapsed.as_secs_f64().max(1e-9);
        self.events_per_second = rate.round();
    }
}

fn report(args: &SendArgs, summary: &Summary) -> anyhow::Result<()> {
    if args.json {
        return output::print(&serde_json::to_string(summary)?);
    }
    if summary.files.is_empty() {
        return Ok(());
    }
    for file in &summary.files {
        for (code, refused) in file.report.refused.iter() {
            eprintln!("{}: {} refused ({code})", file.file, output::thousands(refused.count));
            for example in &refused.examples {
                eprintln!("  line {}: {}", example.line, output::visible(&example.detail));
            }
        }
        if file.report.odd > 0 {
            let odd = output::thousands(file.report.odd);
            eprintln!("{}: {odd} odd requests were kept (--refuse-odd refuses them)", file.file);
        }
    }
    if summary.refused_by_code.iter().any(|(code, _)| code == "event_too_old") {
        eprintln!(
            "Events are too old for the server: start it with a longer --max-event-age (such as 40y), or move \
             the times with --shift-days"
        );
    }
    output::print(&format!(
        "{} records: {} accepted, {} refused, in {:.1} s ({}/s)",
        output::thousands(summary.records),
        output::thousands(summary.accepted),
        output::thousands(summary.refused),
        summary.seconds,
        output::thousands(summary.events_per_second as u64),
    ))
}
