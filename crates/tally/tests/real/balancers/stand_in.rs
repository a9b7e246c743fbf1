//! What stands behind a load balancer when its own conduct is looked at: it counts requests, and
//! either says what it saw or dies over them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answers 200 with head and body as they came.
    Echo,
    /// Sends an event of Server-Sent Events, and nothing more for as long as the client looks.
    Drip,
    /// Reads the request and closes the connection.
    Die,
}

/// A server for as long as the test runs. It is always ready, as far as `/readyz` says.
pub(super) struct StandIn {
    pub(super) port: u16,
    requests: Arc<AtomicU64>,
}

impl StandIn {
    pub(super) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(AtomicU64::new(0));
        let counted = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = counted.clone();
                // A connection that breaks is the load balancer's business.
                std::thread::spawn(move || answer(&stream, manner, &counted).ok());
            }
        });
        Self { port, requests }
    }

    /// How many came, health checks aside.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(stream: &TcpStream, manner: Manner, counted: &AtomicU64) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = Vec::new();
        let length = length.map_or(0, |text| text.trim().parse().expect("a length"));
        reader.by_ref().take(length).read_to_end(&mut body)?;
        let is_check = head.starts_with("GET /readyz ");
        if !is_check {
            counted.fetch_add(1, Ordering::SeqCst);
            if manner == Manner::Die {
                return Ok(());
            }
        }
        if !is_check && manner == Manner::Drip {
            let mut stream = stream;
            let kind = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked";
            write!(stream, "HTTP/1.1 200 OK\r\n{kind}\r\n\r\n9\r\ndata: 1\n\n\r\n")?;
            // Until the other side has enough.
            reader.read_line(&mut head)?;
            return Ok(());
        }
        let seen = [head.as_bytes(), &body].concat();
        let mut stream = stream;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.len())?;
        stream.write_all(&seen)?;
    }
}
