//! Reports a thousand views to a server, in the background, and prints what became of them.
//!
//! `tally serve` in one terminal, `cargo run -p tally-api --features client --example track` in
//! another. Stop the server meanwhile: the events go to the spool, and to the server when both run again.

use std::error::Error;
use std::time::Duration;

use api::client::tracker::{Event, SpoolOptions, Tracker, TrackerOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("TALLY_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    let mut options = TrackerOptions::new([url]);
    options.spool = Some(SpoolOptions::new(std::env::temp_dir().join("tally-example-spool")));
    let tracker = Tracker::start(options).await?;
    for n in 0..1_000 {
        let event = Event::new("dQw4w9WgXcQ").kind("watch").value(f64::from(n) / 4.0);
        // Never waits; a program that can wait uses `track_wait`.
        tracker.track(&event.attribute("device", "tv"))?;
    }
    let receipt = tracker.track_with_receipt(&Event::new("dQw4w9WgXcQ"))?;
    println!("the last one: {:?}", receipt.await);
    let metrics = tracker.close(Duration::from_secs(10)).await;
    println!(
        "{} tracked, {} accepted, {} in the spool, {} lost",
        metrics.tracked, metrics.accepted, metrics.spool_events, metrics.lost
    );
    Ok(())
}
