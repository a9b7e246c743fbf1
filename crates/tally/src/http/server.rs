//! The accept loop: HTTP/1.1 with every wait bounded, and a stop that loses no answer.

mod guarded;

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use api::ProblemCode;
use axum::Router;
use axum::response::IntoResponse;
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::door::{Door, Peer};
use super::problem::Failure;
use guarded::Guarded;

/// How long the head of a request may take, an idle connection's next one included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections beyond this wait to be accepted.
const CONNECTIONS_MAX: usize = 10_000;
/// How long requests in flight may take to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait where accepting fails, as it does without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is ready, then finishes what is in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    door: &Door,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Ok((stream, peer, permit)) = accepted else {
            // Usually no file descriptors: some come free.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let peer = door.wants_address().then(|| Peer(peer.ip()));
        // Without it small answers wait for the client's acknowledgement; no harm where it fails.
        let _ = stream.set_nodelay(true);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(Guarded::new(stream)), answering(router.clone(), peer));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still in flight after {} s", DRAIN_TIMEOUT.as_secs());
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// The router as hyper calls it; a handler that panics answers 500 and the connection lives on.
fn answering(
    router: Router,
    peer: Option<Peer>,
) -> impl Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> {
    let router = TowerToHyperService::new(router);
    service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let answer = AssertUnwindSafe(router.call(request)).catch_unwind();
        async move {
            answer.await.unwrap_or_else(|_| {
                let detail = "this is a bug; the server's log says more";
                Ok(Failure::new(ProblemCode::Internal, detail).into_response())
            })
        }
    })
}
