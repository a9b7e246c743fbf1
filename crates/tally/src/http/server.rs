//! The accept loop: HTTP/1.1 and HTTP/2, plain or over TLS, with every wait bounded, and a stop that
//! loses no answer.

mod connection;
mod crowd;
mod guarded;
#[cfg(feature = "tls")]
mod not_after;
#[cfg(not(feature = "tls"))]
#[path = "server/no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Front;
use super::door::{AddressRange, Peer};
use crate::config::ConnectionLimits;
use connection::Connection;
use crowd::Crowd;

pub(crate) use tls::Tls;

/// How long requests in flight may take to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait where accepting fails, as it does without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server serves, and to how many.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) front: Arc<Front>,
    /// Whether requests are to know the other end of their connection.
    pub(crate) tells_peers: bool,
    pub(crate) limits: ConnectionLimits,
    /// Not bounded by the number of connections of an address.
    pub(crate) trusted_proxies: Vec<AddressRange>,
    /// None serves plain HTTP.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// Serves until `stop` is ready, then finishes what is in flight.
pub(crate) async fn serve(listener: TcpListener, service: Service, stop: impl Future<Output = ()>) {
    let total = u32::try_from(service.limits.total).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(total as usize));
    let crowd = Arc::new(Crowd::new(service.limits.per_address, service.trusted_proxies));
    let (stopping, told) = watch::channel(());
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
        // Whoever has too many finds this one closed.
        let Some(place) = crowd.enter(peer.ip()) else { continue };
        // Without it small answers wait for the client's acknowledgement; no harm where it fails.
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            stream,
            front: service.front.clone(),
            peer: service.tells_peers.then(|| Peer(peer.ip())),
            tls: service.tls.as_ref().map(|tls| tls.acceptor()),
            told: told.clone(),
        };
        tokio::spawn(async move {
            if let Err(error) = connection.serve().await {
                tracing::debug!(error = &*error as &dyn std::error::Error, "a connection ended");
            }
            drop((permit, place));
        });
    }
    drop(listener);
    let _ = stopping.send(());
    // All have left when all their places are free.
    if tokio::time::timeout(DRAIN_TIMEOUT, room.acquire_many(total)).await.is_err() {
        tracing::warn!("requests were still in flight after {} s", DRAIN_TIMEOUT.as_secs());
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}
