//! One kept-alive connection that asks question after question, and how long each took.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Asker {
    stream: BufReader<TcpStream>,
}

impl Asker {
    /// Connects to the server at a URL.
    pub(crate) fn connect(url: &str) -> Result<Self> {
        let address = url.strip_prefix("http://").context("the URL of a server")?;
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The answer to a GET, and the milliseconds until all of it was there.
    pub(crate) fn get(&mut self, path: &str) -> Result<(Value, f64)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
        let begun = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.trim().to_owned();
        let mut length = 0;
        while line.trim() != "" {
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended");
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        ensure!(status.contains(" 200 "), "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok((serde_json::from_slice(&body)?, took))
    }
}

/// The value below which so much of the numbers lies.
pub(crate) fn percentile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
