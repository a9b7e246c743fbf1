//! `tally demo`: a server with a lively made-up stream to look at.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;

use super::glyphs::Glyphs;
use super::load::{parse_duration, wall_clock_ms};
use super::signals::Signals;
use super::{Outcome, UsageError, output, serve};
use crate::config::{Layer, Machine, Origin, Raw, Resolved};
use crate::demo::{self, DemoOptions, Progress, VIDEOS, VIRAL_RANK, Video};
use crate::telemetry;
use crate::threads::Duty;
use crate::wiring::Tally;

/// Where it listens unless told otherwise, or that is taken.
const LISTEN: &str = "127.0.0.1:8080";
/// A file that says that a folder is a demo's: no other is filled with made-up events.
const MARK: &str = "tally-demo";
/// How often the line of events a second is written anew.
const LINE_EVERY: Duration = Duration::from_millis(500);
/// How much of the rate's past the line tells.
const RATE_OVER: usize = 4;
/// More than any server takes; above, a mistake is likelier.
const RATE_MAX: f64 = 1e6;

/// Run a server with a lively made-up stream to look at
///
/// Starts a server on a temporary folder, fills in two days of history, and goes on with views,
/// likes and shares of made-up videos, of which a few have most and one goes viral after some 20
/// seconds. It is sent over HTTP as by any client. Ctrl-C ends it and removes the folder.
///
/// Settings files and TALLY_… variables play no part. Items, types and values are a function of
/// seed, rate and the hour of the day; times and ids are those of the run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally demo\n  \
    tally demo --rate 20000 --listen 127.0.0.1:9000\n  \
    tally demo --data-dir ./demo-data --duration 5m")]
pub(crate) struct DemoArgs {
    /// Where to listen [default: 127.0.0.1:8080, or a free port where that is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Keep the data in this folder, which must be new, empty or that of a demo [default: a
    /// temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Events a second, about
    #[arg(long, value_name = "N", default_value_t = 2000.0)]
    rate: f64,
    /// Decides titles, items, types and values
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// End by itself after this long, such as 90s or 15m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
}

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<Outcome> {
    if !(args.rate > 0.0 && args.rate <= RATE_MAX) {
        let text = format!("--rate {}: above 0 and at most {RATE_MAX}", args.rate);
        return Err(UsageError(text).into());
    }
    // The line of events a second is not to drown.
    telemetry::start("warn", telemetry::LogFormat::Text);
    Duty::Answer.take();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // From here on a signal leaves nothing behind.
    let stop = runtime.block_on(async { Signals::listen() })?;
    let folder = Folder::take(args.data_dir.as_deref())?;
    let listener = runtime.block_on(async { listen(args.listen) })?;
    let settings = settings(listener.local_addr()?, &folder.path)?;
    let tally = Tally::open(&settings, None)?;
    let shown = runtime.block_on(show(args, &settings, &tally, listener, &folder, stop));
    let stopped = tally.stop();
    drop(folder);
    shown.and(stopped)?;
    Ok(Outcome::Good)
}

/// Listens where it is told to, or near the default.
fn listen(wanted: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    if let Some(address) = wanted {
        return serve::listen(address).with_context(|| {
            format!("cannot listen on {address}; choose another address with --listen")
        });
    }
    let mut address: SocketAddr = LISTEN.parse()?;
    match serve::listen(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            eprintln!("{LISTEN} is taken; this demo listens on a free port");
            address.set_port(0);
            serve::listen(address).context("cannot listen on any port")
        }
        other => other.with_context(|| format!("cannot listen on {LISTEN}; see --listen")),
    }
}

/// A small server: what the demo has said is not to fill a disk that somebody forgot it on.
fn settings(listen: SocketAddr, data_dir: &Path) -> anyhow::Result<Resolved> {
    let data_dir = data_dir.to_str().context("the folder's name is not UTF-8")?;
    let raw = Raw {
        listen: Some(listen.to_string()),
        data_dir: Some(data_dir.to_owned()),
        dedup_memory: Some("256MiB".into()),
        log_retention: Some("1h".into()),
        raw_retention: Some("1d".into()),
        log_level: Some("warn".into()),
        ..Raw::default()
    };
    Ok(Resolved::resolve(&[Layer { origin: Origin::Flag, raw }], Machine::this())?)
}

/// Serves and sends until somebody ends it.
async fn show(
    args: &DemoArgs,
    settings: &Resolved,
    tally: &Tally,
    listener: TcpListener,
    folder: &Folder,
    mut stop: Signals,
) -> anyhow::Result<()> {
    let options = DemoOptions {
        url: serve::reachable(listener.local_addr()?),
        seed: args.seed,
        rate: args.rate,
        with_history: folder.is_new,
        now_ms: wall_clock_ms,
    };
    let videos = demo::videos(args.seed, wall_clock_ms());
    output::print(&greeting(args, &options.url, &videos, folder))?;
    let progress = Progress::default();
    let (ended, served_until) = tokio::sync::oneshot::channel::<()>();
    let serving = serve::answer((listener, None), settings, tally, None, async {
        // Also when the sender is dropped.
        let _ = served_until.await;
    });
    let playing = async {
        let begun = Instant::now();
        let result = tokio::select! {
            result = demo::play(&options, &videos, &progress) => result,
            () = line(&progress) => Ok(()),
            () = stop.any() => Ok(()),
            () = over(args.duration) => Ok(()),
        };
        let events =
            progress.live.load(Ordering::Relaxed) + progress.history.load(Ordering::Relaxed);
        eprintln!(
            "the demo ends after {} s and {} events; {}",
            begun.elapsed().as_secs(),
            output::thousands(events),
            if folder.is_temporary { "its folder goes" } else { "its folder stays" }
        );
        drop(ended);
        result
    };
    let (served, played) = tokio::join!(serving, playing);
    played.and(served)
}

async fn over(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

fn greeting(args: &DemoArgs, url: &str, videos: &[Video], folder: &Folder) -> String {
    let to =
        if url == format!("http://{LISTEN}") { String::new() } else { format!(" --url {url}") };
    let title = |rank: usize| videos.get(rank).map_or("", |video| video.title.as_str());
    let item = videos.first().map_or("", |video| video.item.as_str());
    let viral = VIRAL_RANK as usize;
    let viral_item = videos.get(viral).map_or("", |video| video.item.as_str());
    let fate = match (folder.is_temporary, folder.is_new) {
        (true, _) => "goes when this ends",
        (false, true) => "stays",
        (false, false) => "goes on from the demo before, and stays",
    };
    format!(
        "listening on {url}\n\n\
         {rate} made-up events a second over {VIDEOS} videos. In another terminal:\n\n  \
         tally watch{to}\n  \
         tally watch {item}{to}    # {popular}\n  \
         tally top --window 1h{to}\n  \
         tally stats {viral_item} --step minute{to}\n  \
         curl '{url}/v1/items/{viral_item}/count'\n  \
         curl '{url}/v1/top?window=1h&limit=5'\n\n\
         {viral_item}, \"{viral_title}\", goes viral in 20 seconds.\n\
         The data in {folder} {fate}. Ctrl-C ends it.\n",
        rate = output::thousands(args.rate as u64),
        popular = title(0),
        viral_title = title(viral),
        folder = folder.path.display(),
    )
}

/// A line of events a second, on a terminal only.
async fn line(progress: &Progress) {
    let bar = ProgressBar::new_spinner();
    let dot = Glyphs::of_locale().dot;
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut seen = std::collections::VecDeque::from([(Instant::now(), 0)]);
    let mut ticks = tokio::time::interval(LINE_EVERY);
    loop {
        ticks.tick().await;
        let (now, live) = (Instant::now(), read(&progress.live));
        let rate = seen.front().map_or(0.0, |&(then, before)| {
            let seconds = now.saturating_duration_since(then).as_secs_f64();
            live.saturating_sub(before) as f64 / seconds.max(1e-3)
        });
        seen.push_back((now, live));
        if seen.len() > RATE_OVER {
            seen.pop_front();
        }
        let (history, all) = (read(&progress.history), read(&progress.history_all));
        let past = if history < all {
            format!(" {dot} history {} %", history * 100 / all)
        } else {
            String::new()
        };
        let (rate, live) = (output::thousands(rate as u64), output::thousands(live));
        bar.set_message(format!("{rate} events/s {dot} {live} sent{past}"));
        bar.tick();
    }
}

/// The folder of a demo; a temporary one is removed when dropped.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    is_temporary: bool,
    /// No demo has filled it before.
    is_new: bool,
}

impl Folder {
    fn take(wanted: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = wanted else {
            let name = format!("tally-demo-{}-{:08x}", std::process::id(), rand::random::<u32>());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).with_context(|| {
                format!("cannot make the folder {}; name another with --data-dir", path.display())
            })?;
            return Ok(Self { path, is_temporary: true, is_new: true });
        };
        let named = || format!("the folder {} cannot be used", path.display());
        std::fs::create_dir_all(path).with_context(named)?;
        let mark = path.join(MARK);
        let is_new = !mark.try_exists().with_context(named)?;
        if is_new {
            if std::fs::read_dir(path).with_context(named)?.next().is_some() {
                bail!(
                    "{} holds something else than a demo, which is not to be mixed with made-up \
                     events; name a new folder with --data-dir",
                    path.display()
                );
            }
            std::fs::write(&mark, "made-up events of `tally demo`\n").with_context(named)?;
        }
        Ok(Self { path: path.to_owned(), is_temporary: false, is_new })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("tally: cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_something_else_is_refused_and_one_of_a_demo_taken_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("data");
        assert!(Folder::take(Some(&path)).expect("a new folder").is_new);
        assert!(!Folder::take(Some(&path)).expect("its own folder").is_new);
        std::fs::remove_file(path.join(MARK)).expect("the mark");
        std::fs::write(path.join("lock"), "1").expect("a file");
        let error = Folder::take(Some(&path)).expect_err("somebody's data").to_string();
        assert!(error.contains("something else than a demo"), "{error}");
    }

    #[test]
    fn a_temporary_folder_goes() {
        let folder = Folder::take(None).expect("a folder");
        let path = folder.path.clone();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
