//! `kill -9` under load: the clients try again with the same ids, at another server on the same
//! folder.

use super::super::account::Comparison;
use super::super::stage::Stage;
use super::watched;

const KILLS: u64 = 20;
/// A kill comes after so many more events, or up to twice as many.
const EVENTS_BETWEEN: u64 = 8_000;
/// Small requests: many are under way at every kill.
const BATCH: u32 = 100;

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let first = stage.start().await?;
    let traffic = stage.traffic()?;
    let killing = async {
        let mut server = first;
        for _ in 0..KILLS {
            // A few more or less, so that it hits at any step of a write.
            let more = EVENTS_BETWEEN + stage.random.next() % EVENTS_BETWEEN;
            let wanted = traffic.accepted() + more;
            server.until("loaded", async |_| traffic.accepted() >= wanted).await?;
            server.kill().await?;
            server = stage.start().await?;
        }
        Ok(server)
    };
    let server = watched(&traffic, traffic.send_during(BATCH, killing)).await?;
    stage.note(format!("killed {KILLS} times (kill -9) in the midst of writing"));
    traffic.repeat_newest().await?;
    super::ensure_equal(&traffic.compare().await?, "before the last restart")?;
    server.kill().await?;
    let _server = stage.start().await?;
    stage.note("and once more when all was counted");
    traffic.repeat_newest().await?;
    traffic.compare().await
}
