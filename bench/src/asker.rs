//! One kept-alive connection that asks question after question, and how long each took.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::load::median;
use crate::scenarios::Findings;

/// Questions of a kind in a run.
const QUESTIONS: usize = 1_000;

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
        self.ask(&request(path), path)
    }

    /// The answer to a POST without a body, and the milliseconds until all of it was there.
    pub(crate) fn post(&mut self, path: &str) -> Result<(Value, f64)> {
        let head = format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n");
        self.ask(&head, path)
    }

    fn ask(&mut self, request: &str, path: &str) -> Result<(Value, f64)> {
        let begun = Instant::now();
        let body = self.exchange(request, path)?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        Ok((serde_json::from_slice(&body)?, took))
    }

    /// Asks the same as often as answers come, for so long; how often that was.
    pub(crate) fn ask_for(&mut self, path: &str, time: Duration) -> Result<u64> {
        let (begun, mut questions) = (Instant::now(), 0);
        let request = request(path);
        while begun.elapsed() < time {
            self.exchange(&request, path)?;
            questions += 1;
        }
        Ok(questions)
    }

    /// Sends a request; the body of the answer.
    fn exchange(&mut self, request: &str, path: &str) -> Result<Vec<u8>> {
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
        let is_good = status.contains(" 200 ") || status.contains(" 202 ");
        ensure!(is_good, "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n")
}

impl Findings {
    /// Asks a kind of question often, in so many runs, and adds how long that took.
    pub(crate) fn ask(
        &mut self,
        (asker, runs): (&mut Asker, usize),
        name: &str,
        path: impl Fn(u64) -> String,
    ) -> Result<()> {
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let mut took = Vec::with_capacity(QUESTIONS);
            for n in 0..QUESTIONS as u64 {
                took.push(asker.get(&path(n))?.1);
            }
            p50.push(percentile(&took, 0.5));
            p99.push(percentile(&took, 0.99));
            let max = percentile(&took, 1.0);
            self.raw.push(json!({ "question": name, "p50_ms": p50.last(), "p99_ms": p99.last(),
                "max_ms": max, "questions": QUESTIONS }));
        }
        self.lines.push(format!("{name}: p50 {:.2} ms, p99 {:.2} ms", median(p50), median(p99)));
        Ok(())
    }
}

/// The value below which so much of the numbers lies.
pub(crate) fn percentile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
