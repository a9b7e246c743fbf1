//! What the machine and the HTTP stack allow: a handler that only reads the body and one that
//! answers a fixed count, on request beside threads that keep the cores as busy as Tally did.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use bytes::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

/// How long a busy thread works and sleeps, taken together.
const TURN: Duration = Duration::from_millis(3);

/// Where bodies are appended.
type Keep = Option<Arc<Mutex<File>>>;

/// Serves until the process is killed, beside so many cores' worth of other work; prints the
/// address first. Bodies are appended to a file where one is named.
pub(crate) fn serve(busy_cores: f64, keep: Option<&Path>) -> Result<()> {
    let keep: Keep = keep.map(File::create).transpose()?.map(|file| Arc::new(Mutex::new(file)));
    let cores = std::thread::available_parallelism()?.get();
    let share = (busy_cores / cores as f64).clamp(0.0, 1.0);
    for _ in 0..cores {
        std::thread::spawn(move || work(share));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = Router::new()
            .route("/v1/events", post(take))
            .route("/v1/items/{item}/count", get(count))
            .layer(DefaultBodyLimit::disable())
            .with_state(keep);
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(4_096)?;
        println!("listening on http://{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(async move {
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new());
                // A client that goes away is no concern of a benchmark.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

/// Computes for this share of the time, as willing to wait as Tally's counting is.
fn work(share: f64) {
    // At worst the thread is as important as the others.
    let _ = rustix::process::setpriority_process(None, 10);
    let busy = TURN.mul_f64(share);
    if busy.is_zero() {
        return;
    }
    loop {
        let begun = Instant::now();
        while begun.elapsed() < busy {
            std::hint::spin_loop();
        }
        std::thread::sleep(TURN.saturating_sub(busy));
    }
}

async fn count() -> &'static str {
    "{\"item\":\"an-item\",\"type\":\"view\",\"count\":1}"
}

async fn take(State(keep): State<Keep>, body: Bytes) -> (StatusCode, &'static str) {
    let kept =
        keep.map(|file| file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&body));
    if let Some(Err(error)) = kept {
        eprintln!("bodies cannot be kept: {error}");
        return (StatusCode::INTERNAL_SERVER_ERROR, "");
    }
    (StatusCode::ACCEPTED, "{\"accepted\":1,\"rejected\":[]}")
}
