//! `tally serve`: everything in one process on embedded storage.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::config::resolve;
use super::{Outcome, UsageError};
use crate::config::{Raw, Resolved};
use crate::http::{Door, Front, Service, Tls};
use crate::threads::Duty;
use crate::wiring::Tally;
use crate::{http, telemetry};

/// Run Tally in one process on embedded storage
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  tally serve --listen 127.0.0.1:8080 --data-dir ./tally-data\n\n\
                  Every flag can be set as TALLY_… in the environment or in tally.toml too; \
                  `tally config` shows what is in effect."
)]
pub(crate) struct ServeArgs {
    /// Settings file [default: ./tally.toml, where it exists]
    #[arg(long, value_name = "FILE", env = "TALLY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Raw,
    /// For drills: shift the wall clock by the signed milliseconds in this file, read again and
    /// again
    #[arg(long, value_name = "FILE", hide = true)]
    drill_clock: Option<PathBuf>,
    /// For tests: the live audit reaches the server by this URL
    #[arg(long, value_name = "URL", hide = true)]
    audit_url: Option<String>,
}

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<Outcome> {
    let (settings, runtime) = begin(args.config.as_deref(), &args.settings)?;
    let tally = Tally::open(&settings, args.drill_clock.as_deref())?;
    runtime.block_on(serve(&settings, &tally, args.audit_url.as_deref()))?;
    tally.stop()?;
    telemetry::traces::stop();
    eprintln!("tally has stopped; everything that was accepted is on disk");
    Ok(Outcome::Good)
}

/// Reads the settings, and starts to log and the threads that answer.
pub(super) fn begin(config: Option<&Path>, settings: &Raw) -> anyhow::Result<(Resolved, Runtime)> {
    let settings = resolve(config, settings).map_err(|error| UsageError(error.to_string()))?;
    telemetry::start(&settings.log_level, settings.log_format);
    Duty::Answer.take();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok((settings, runtime))
}

/// Connections that may wait to be accepted: beyond them a client tries again only a second later.
const BACKLOG: u32 = 4_096;

/// Listens where the settings say.
pub(super) fn listen_as_set(settings: &Resolved) -> anyhow::Result<TcpListener> {
    listen(settings.listen).with_context(|| {
        format!("cannot listen on {}; choose another address with --listen", settings.listen)
    })
}

pub(super) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart does not wait for the connections of the process before it to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The URL by which this machine reaches an address that is listened on.
pub(super) fn reachable(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

async fn serve(settings: &Resolved, tally: &Tally, audit_url: Option<&str>) -> anyhow::Result<()> {
    let listener = listen_as_set(settings)?;
    let tls = settings.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", listener.local_addr()?);
    let mut signals = Signals::new(settings.drain_delay_ms)?;
    println!("listening on {url}");
    eprintln!(
        "\n  data in {}, try it:\n\n    curl -X POST {url}/v1/items/hello/events\n    \
         curl {url}/v1/items/hello/count\n\n  stop with Ctrl-C\n",
        settings.data_dir.display()
    );
    let until = signals.wait(&tally.parts.draining);
    answer((listener, tls), settings, tally, audit_url, until).await
}

/// The signals that stop a server.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    drain_delay: Option<Duration>,
}

impl Signals {
    /// Hears them from now on.
    pub(super) fn new(drain_delay_ms: Option<u64>) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            drain_delay: drain_delay_ms.map(Duration::from_millis),
        })
    }

    /// Waits until one says to stop, and drains before where that is wanted.
    pub(super) async fn wait(&mut self, draining: &AtomicBool) {
        let Self { terminate, interrupt, drain_delay } = self;
        tokio::select! {
            _ = terminate.recv() => {
                if let Some(delay) = *drain_delay {
                    // Load balancers ask whether it is ready, and send new requests elsewhere.
                    draining.store(true, Ordering::Relaxed);
                    eprintln!("draining: not ready any more; a second signal stops at once");
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                }
            }
            _ = interrupt.recv() => {}
        }
    }
}

/// Answers requests, audits and recounts until something is ready; then accepts no event any more.
pub(super) async fn answer(
    (listener, tls): (TcpListener, Option<Arc<Tls>>),
    settings: &Resolved,
    tally: &Tally,
    audit_url: Option<&str>,
    until: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let front = http::front(tally.parts.clone(), tls.clone())?;
    let audit = tally.parts.audit.clone();
    let keys = tally.parts.door.keys().clone();
    // The audit does not look through the certificate of a public name at an address of this machine:
    // with TLS it has a port of its own, which nobody else can reach either.
    let own = match &tls {
        Some(_) => Some(listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?),
        None => None,
    };
    let own_url = reachable(own.as_ref().unwrap_or(&listener).local_addr()?);
    let audit_url = audit_url.unwrap_or(&own_url);
    audit.set_url(audit_url, keys.internal_secret().expose())?;
    let audits = settings.audit_interval_ms.map(Duration::from_millis);
    let audits = audits.map(|interval| tokio::spawn(audit.run_every(interval)));
    let recounts = settings.recount_interval_ms.map(Duration::from_millis);
    let (recounting, query) = (tally.parts.recounts.clone(), tally.parts.query.clone());
    let recounts = recounts.map(|interval| tokio::spawn(recounting.run_every(interval, query)));
    let stop = async {
        until.await;
        audits.iter().chain(&recounts).for_each(JoinHandle::abort);
        tally.parts.live.stop();
        eprintln!("stopping: finishing what is in flight");
    };
    let service = service(settings, &tally.parts.door, front, tls);
    let own = own.map(|listener| {
        let service = Service { tls: None, ..service.clone() };
        tokio::spawn(http::serve(listener, service, std::future::pending()))
    });
    serve_until(listener, service, &tally.parts.door, stop).await;
    own.iter().for_each(JoinHandle::abort);
    tally.refuse_events();
    Ok(())
}

/// How requests are answered, as the settings say.
pub(super) fn service(
    settings: &Resolved,
    door: &Door,
    front: Arc<Front>,
    tls: Option<Arc<Tls>>,
) -> Service {
    Service {
        front,
        tells_peers: door.wants_address(),
        limits: settings.connections,
        trusted_proxies: settings.door.trusted_proxies.clone(),
        tls,
    }
}

/// Answers requests until something is ready, by the keys and the certificate as they are at each time.
pub(super) async fn serve_until(
    listener: TcpListener,
    service: Service,
    door: &Door,
    until: impl Future<Output = ()>,
) {
    crate::process::allow_connections(service.limits.total);
    let keys = tokio::spawn(door.keys().clone().follow());
    let certificate = service.tls.clone().map(|tls| tokio::spawn(tls.follow()));
    http::serve(listener, service, until).await;
    certificate.iter().chain([&keys]).for_each(JoinHandle::abort);
}
