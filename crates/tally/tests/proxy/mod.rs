//! A bad network: a proxy between a client and a server that breaks what it carries, as a seed says.
//! It knows no more of HTTP than where a message ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::client::retry::Jitter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What can happen to a request of events, each with its chance in a thousand; the rest goes well.
const FAULTS: [(Fault, usize); 9] = [
    (Fault::DropBefore, 30),
    (Fault::DropAfter, 30),
    (Fault::Delay, 30),
    (Fault::Cut, 30),
    (Fault::Duplicate, 40),
    (Fault::Answer(500), 20),
    (Fault::Answer(429), 20),
    (Fault::Answer(503), 20),
    (Fault::AnswerAfter(500), 20),
];

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The connection ends before the server has seen it.
    DropBefore,
    /// The connection ends after the server has answered.
    DropAfter,
    /// It arrives late.
    Delay,
    /// The answer ends in the middle.
    Cut,
    /// The server gets it twice, one after the other.
    Duplicate,
    /// The server does not see it; the answer is this status.
    Answer(u16),
    /// The server takes it; the answer is this status.
    AnswerAfter(u16),
}

/// A running proxy; it ends with the runtime.
pub(crate) struct Proxy {
    pub(crate) url: String,
    upstream: SocketAddr,
    jitter: Mutex<Jitter>,
    /// No events get through: their connections end at once. Readiness checks do.
    is_down: AtomicBool,
    requests: AtomicU64,
    faults: Mutex<HashMap<Fault, u64>>,
}

impl Proxy {
    /// A proxy in front of this server; the same seed draws the same faults in the same order.
    pub(crate) async fn start(upstream: SocketAddr, seed: u64) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().expect("bound")),
            upstream,
            jitter: Mutex::new(Jitter::seeded(seed)),
            is_down: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            faults: Mutex::default(),
        });
        let this = Arc::clone(&proxy);
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let this = Arc::clone(&this);
                tokio::spawn(async move {
                    // Whatever breaks ends the connection: that is what it is for.
                    let _ = this.carry(client).await;
                });
            }
        });
        proxy
    }

    /// Lets no events through, or all of them again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Requests of events that came, also while it was down.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many kinds of faults have happened, and how often all of them.
    pub(crate) fn faults(&self) -> (usize, u64) {
        let faults = self.faults.lock().expect("no panic");
        (faults.len(), faults.values().sum())
    }

    async fn carry(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut rest = Vec::new();
        while let Some(request) = message(&mut client, &mut rest).await? {
            let is_of_events = request.starts_with(b"POST /v1/events");
            self.requests.fetch_add(u64::from(is_of_events), Ordering::Relaxed);
            if is_of_events && self.is_down.load(Ordering::Relaxed) {
                return Ok(());
            }
            let fault = if is_of_events { self.draw() } else { None };
            match fault {
                Some(Fault::DropBefore) => return Ok(()),
                Some(Fault::Answer(status)) => {
                    client.write_all(&refusal(status)).await?;
                    continue;
                }
                Some(Fault::Delay) => tokio::time::sleep(Duration::from_millis(30)).await,
                _ => {}
            }
            let mut answer = self.forward(&request).await?;
            match fault {
                Some(Fault::DropAfter) => return Ok(()),
                Some(Fault::Cut) => return client.write_all(&answer[..answer.len() - 5]).await,
                Some(Fault::Duplicate) => answer = self.forward(&request).await?,
                Some(Fault::AnswerAfter(status)) => answer = refusal(status),
                _ => {}
            }
            client.write_all(&answer).await?;
        }
        Ok(())
    }

    fn draw(&self) -> Option<Fault> {
        let mut drawn = self.jitter.lock().expect("no panic").below(1_000);
        for (fault, chance) in FAULTS {
            if drawn < chance {
                *self.faults.lock().expect("no panic").entry(fault).or_default() += 1;
                return Some(fault);
            }
            drawn -= chance;
        }
        None
    }

    async fn forward(&self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.upstream).await?;
        server.write_all(request).await?;
        let answer = message(&mut server, &mut Vec::new()).await?;
        answer.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}

fn refusal(status: u16) -> Vec<u8> {
    // One in three with the header; the tests' patience is short.
    let more = if status == 429 { "retry-after: 0\r\n" } else { "" };
    format!("HTTP/1.1 {status} no\r\n{more}content-length: 4\r\n\r\noops").into_bytes()
}

/// One message with a `content-length`; what comes behind it stays in `rest`. None at the end.
async fn message(stream: &mut TcpStream, rest: &mut Vec<u8>) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = None;
    loop {
        if length.is_none() {
            length = rest.windows(4).position(|four| four == b"\r\n\r\n").map(|end| {
                let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
                let body = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                end + 4 + body.map_or(0, |body| body.trim().parse().expect("a length"))
            });
        }
        if let Some(length) = length.filter(|length| rest.len() >= *length) {
            return Ok(Some(rest.drain(..length).collect()));
        }
        if stream.read_buf(rest).await? == 0 {
            return Ok(None);
        }
    }
}
