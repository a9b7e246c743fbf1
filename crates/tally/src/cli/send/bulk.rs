//! `tally send --bulk`: files go to the server whole, which counts them when it can.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use api::client::{BulkFile, Client, ClientError, NDJSON, encode_segment};
use api::{BulkAnswer, BulkState};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{Outcome, SendArgs, output};
use crate::import::{Format, Source};

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// How often progress is asked for.
const INTERVAL: Duration = Duration::from_millis(300);
/// Longest wait before a file is sent again.
const RETRY_MAX: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Sent {
    file: String,
    #[serde(flatten)]
    job: BulkAnswer,
}

pub(super) fn run(args: &SendArgs, files: &[String]) -> anyhow::Result<Outcome> {
    // A wrong mapping is told before anything is sent.
    args.read_options()?;
    let client = args.server.client()?;
    let runtime = crate::cli::server::runtime()?;
    let mut jobs = Vec::new();
    for file in files {
        let job = runtime.block_on(async {
            let job = submit(args, &client, file).await?;
            if args.wait { wait(&client, file, job).await } else { Ok(job) }
        })?;
        jobs.push(Sent { file: file.clone(), job });
    }
    report(args, &jobs)?;
    let is_bad =
        |sent: &Sent| sent.job.state == BulkState::Failed || (args.strict && sent.job.rejected > 0);
    Ok(if jobs.iter().any(is_bad) { Outcome::Failed } else { Outcome::Good })
}

/// The content type and encoding of a file.
fn kind(args: &SendArgs, file: &str) -> anyhow::Result<(&'static str, Option<&'static str>)> {
    if file == "-" {
        bail!("--bulk takes files, not standard input");
    }
    let source = Source::open_unidentified(file)?;
    let content_type = match args.format.or_else(|| source.detect()) {
        Some(Format::Ndjson) => NDJSON,
        Some(Format::Csv) => "text/csv",
        Some(Format::Parquet) => "application/vnd.apache.parquet",
        Some(Format::Common | Format::Combined) => {
            bail!("`{file}` is an access log: send it without --bulk")
        }
        None => bail!("cannot tell the format of `{file}`: say --format ndjson, csv or parquet"),
    };
    Ok((content_type, source.compression))
}

async fn submit(args: &SendArgs, client: &Client, file: &str) -> anyhow::Result<BulkAnswer> {
    let (content_type, content_encoding) = kind(args, file)?;
    let context = || format!("cannot read `{file}`");
    let bytes = std::fs::metadata(file).with_context(context)?.len();
    let query = query(args);
    let bar = bar(file, bytes);
    let mut failing_since: Option<Instant> = None;
    let mut pause = Duration::from_millis(200);
    loop {
        let opened = File::open(file).with_context(context)?;
        let (sender, pieces) = mpsc::channel(4);
        let shown = bar.clone();
        let reading = tokio::task::spawn_blocking(move || read(opened, bytes, &sender, &shown));
        let what = BulkFile { content_type, content_encoding, bytes, query: &query };
        let sent = client.submit_bulk(what, pieces).await;
        reading.await.context("the file's reader failed")?.with_context(context)?;
        let error = match sent {
            Ok(job) => {
                bar.finish_and_clear();
                return Ok(job);
            }
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(explain(error, file)),
        };
        let since = *failing_since.get_or_insert_with(Instant::now);
        let wait = error.retry_after().unwrap_or_default().max(pause);
        if since.elapsed() + wait > Duration::from_secs(args.retry_for) {
            return Err(explain(error, file));
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

fn explain(error: ClientError, file: &str) -> anyhow::Error {
    let context =
        format!("`{file}` was not taken; send it again with the same command, it counts once");
    anyhow::Error::from(error).context(context)
}

/// Reads a file into pieces; ends early when nobody wants them any more.
fn read(
    mut file: File,
    bytes: u64,
    to: &mpsc::Sender<Bytes>,
    bar: &ProgressBar,
) -> std::io::Result<()> {
    let mut left = bytes;
    bar.set_position(0);
    while left > 0 {
        let mut piece = vec![0; left.min(PIECE_BYTES as u64) as usize];
        file.read_exact(&mut piece)?;
        left -= piece.len() as u64;
        if to.blocking_send(piece.into()).is_err() {
            return Ok(());
        }
        bar.set_position(bytes - left);
    }
    Ok(())
}

async fn wait(client: &Client, file: &str, job: BulkAnswer) -> anyhow::Result<BulkAnswer> {
    let bar = bar(file, job.bytes);
    let mut job = job;
    while !job.state.is_final() {
        tokio::time::sleep(INTERVAL).await;
        match client.bulk(&job.id).await {
            Ok(now) => job = now,
            // The server may be restarted meanwhile: the file is safe.
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error.into()),
        }
        bar.set_position(job.bytes_read);
        bar.set_message(format!("{} events", output::thousands(job.accepted)));
    }
    bar.finish_and_clear();
    Ok(job)
}

fn query(args: &SendArgs) -> String {
    let mut parts = Vec::new();
    for (name, pairs) in [("map", &args.map), ("set", &args.set)] {
        parts.extend(pairs.iter().map(|pair| format!("{name}={}", encode_segment(pair))));
    }
    if args.shift_days != 0 {
        parts.push(format!("shift_days={}", args.shift_days));
    }
    parts.join("&")
}

fn bar(file: &str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    // Hidden by itself where standard error is no terminal.
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = "{prefix} {bar:30} {bytes}/{total_bytes} {msg} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(file.to_owned());
    bar
}

fn report(args: &SendArgs, jobs: &[Sent]) -> anyhow::Result<()> {
    if args.json {
        return output::print(&serde_json::to_string(jobs)?);
    }
    for Sent { file, job } in jobs {
        for (code, rejected) in &job.rejected_by_code {
            eprintln!("{file}: {} refused ({code})", output::thousands(rejected.count));
            for example in &rejected.examples {
                eprintln!("  line {}: {}", example.line, output::visible(&example.detail));
            }
        }
        let state = match (job.state, &job.detail) {
            (BulkState::Queued, _) => "queued".to_owned(),
            (BulkState::Running, _) => "running".to_owned(),
            (BulkState::Done, _) => "done".to_owned(),
            (BulkState::Failed, detail) => {
                let detail = detail.as_deref().unwrap_or_default();
                format!("failed: {}", output::visible(detail))
            }
        };
        output::print(&format!(
            "{file}: {} {state}; {} records: {} accepted, {} refused",
            job.id,
            output::thousands(job.records),
            output::thousands(job.accepted),
            output::thousands(job.rejected),
        ))?;
    }
    Ok(())
}
