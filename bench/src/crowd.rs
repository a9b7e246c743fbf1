//! What connections that only hold on do to those that work: single events at a fixed rate, without and
//! beside a thousand idle connections and two hundred that send a byte now and then.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::Bench;
use crate::load::{flags, median, number, run as load};
use crate::scenarios::Findings;
use crate::server::Server;

/// Connections that have asked once and then hold on.
const IDLE: u32 = 1_000;
/// Connections that send a byte every [`DRIP`].
const SLOW: u32 = 200;
const DRIP: Duration = Duration::from_secs(1);
/// How long it takes until all are there. The server gives each up after as long, so that they come back
/// one by one too.
const GATHERING: Duration = Duration::from_secs(10);
/// Until one that was turned away comes again.
const PAUSE: Duration = Duration::from_millis(100);
/// Of single events a second: far below what a server takes, so that nothing waits for the load itself.
const RATE: u32 = 2_000;
/// They move the p99 of events by less than this.
const TARGET: f64 = 1.2;

/// The scenario.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let server = Server::tally(&bench.program, &bench.scratch, &[])?;
    let events = (bench.events / 200).max(200);
    let load_flags =
        flags(&format!("--batch 1 --format json --connections 32 --rate {RATE} --events {events}"));
    let measure = || load(&bench.program, &server.url, &load_flags);
    // What a server does for the first time is measured in neither.
    measure()?;
    let (mut raw, mut alone, mut beside, mut ratios) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let without = measure()?;
        let before = server.open_files()?;
        let crowd = gather(&server.url)?;
        // A few are always on their way back.
        let most = u64::from(IDLE + SLOW) * 9 / 10;
        wait_until(|| Ok(server.open_files()? >= before + most))?;
        let with = measure()?;
        let held = server.open_files()?.saturating_sub(before);
        ensure!(held >= most, "only {held} connections were held beside the load");
        crowd.shutdown_background();
        wait_until(|| Ok(server.open_files()? < before + most / 10))?;
        let p99 = |report: &Value| number(report, "latency_ms.p99");
        let (p99_alone, p99_beside) = (p99(&without)?, p99(&with)?);
        alone.push(p99_alone);
        beside.push(p99_beside);
        ratios.push(p99_beside / p99_alone);
        raw.push(json!({ "rate": RATE, "without": without, "with": with, "held": held }));
    }
    server.stop()?;
    let lines = vec![format!(
        "single events at {RATE} a second: p99 {:.2} ms alone, {:.2} ms beside {IDLE} idle and {SLOW} slow \
         connections, {:.2} × (below {TARGET})",
        median(alone),
        median(beside),
        median(ratios)
    )];
    Ok(Findings { lines, raw })
}

fn wait_until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        ensure!(begun.elapsed() < 6 * GATHERING, "the connections do not come or do not go");
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Opens all connections, and each again whenever the server has given it up. They end with what is
/// returned.
fn gather(url: &str) -> Result<Runtime> {
    let address = url.strip_prefix("http://").context("the URL of a server")?;
    let address: SocketAddr = address.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        // Clients elsewhere would not take a core from the server: these take it from nobody else.
        .on_thread_start(|| {
            // At worst they are as important as the others.
            let _ = setpriority_process(None, 19);
        })
        .enable_all()
        .build()?;
    for n in 0..IDLE + SLOW {
        runtime.spawn(async move {
            tokio::time::sleep(GATHERING / (IDLE + SLOW) * n).await;
            loop {
                let held = match n {
                    0..IDLE => idle(address).await,
                    _ if n % 2 == 0 => slow(address, "", HEAD).await,
                    _ => slow(address, HEAD, " ").await,
                };
                if held.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    }
    Ok(runtime)
}

/// Of a request whose body never comes to its end.
const HEAD: &str = "POST /v1/events HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
                    content-length: 1000000\r\n\r\n";

/// Asks once, then holds on until the server has had enough.
async fn idle(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
    let mut answer = [0; 1024];
    while stream.read(&mut answer).await? > 0 {}
    Ok(())
}

/// Sends some text at once and some byte by byte, over and over.
async fn slow(address: SocketAddr, at_once: &str, drops: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(at_once.as_bytes()).await?;
    let mut answer = [0; 1024];
    for byte in drops.bytes().cycle() {
        tokio::select! {
            read = stream.read(&mut answer) => if read? == 0 { return Ok(()) },
            () = tokio::time::sleep(DRIP) => stream.write_all(&[byte]).await?,
        }
    }
    Ok(())
}
