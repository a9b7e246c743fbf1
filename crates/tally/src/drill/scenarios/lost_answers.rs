//! Requests whose answers nobody reads: the client hangs up, knows nothing, and sends them again.

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::account::Comparison;
use super::super::stage::Stage;
use super::super::traffic::Body;
use super::watched;

const EVENTS: u64 = 60_000;
const LOST: u64 = 60;
const BATCH: u32 = 500;

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let server = stage.start().await?;
    let traffic = stage.traffic()?;
    let losing = async {
        for lost in 0..LOST {
            let body = traffic.body(BATCH);
            // By turns: hang up with the answer there and unread, at once after the request, and in
            // the midst of it.
            let hung_up = send_and_hang_up(server.port, &body, lost % 3).await;
            if hung_up.context("cannot send")? {
                traffic.send_unanswered(&body);
            }
            traffic.deliver(body).await?;
        }
        anyhow::Ok(())
    };
    let both = async { tokio::try_join!(traffic.send(EVENTS, BATCH), losing).map(drop) };
    watched(&traffic, both).await?;
    stage.note(format!(
        "{LOST} requests whose answers were lost: the client hung up before it read them, and sent \
         all of it again"
    ));
    traffic.compare().await
}

/// Whether all of it was sent.
async fn send_and_hang_up(port: u16, body: &Body, how: u64) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {}\r\n\r\n",
        body.bytes.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let is_whole = how != 2;
    let sent = if is_whole { body.bytes.len() } else { body.bytes.len() / 2 };
    stream.write_all(&body.bytes[..sent]).await?;
    if how == 0 {
        stream.readable().await?;
    }
    Ok(is_whole)
}
