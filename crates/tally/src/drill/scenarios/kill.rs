//! `kill -9` under load: the clients try again with the same ids, at another server on the same
//! folder.

use anyhow::ensure;

use super::super::account::Comparison;
use super::super::stage::Stage;
use super::watched;

const KILLS: u64 = 20;
const EVENTS: u64 = 600_000;
/// Small requests: many are under way at every kill.
const BATCH: u32 = 100;

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let first = stage.start().await?;
    let traffic = stage.traffic()?;
    let sending = traffic.send(EVENTS, BATCH);
    let killing = async {
        let mut server = first;
        for kill in 0..KILLS {
            // So many more events each time that the last kill comes long before their end; a few
            // more or less, so that it hits at any step of a write.
            let more = EVENTS / (2 * KILLS) - stage.random.next() % 1000;
            let wanted = traffic.accepted() + more;
            server.until("loaded", async |_| traffic.accepted() >= wanted).await?;
            ensure!(traffic.accepted() < EVENTS * 9 / 10, "the load ended before kill {kill}");
            server.kill().await?;
            server = stage.start().await?;
        }
        anyhow::Ok(server)
    };
    let both = async { tokio::try_join!(sending, killing).map(|((), server)| server) };
    let server = watched(&traffic, both).await?;
    stage.note(format!("killed {KILLS} times (kill -9) in the midst of writing"));
    traffic.repeat_newest().await?;
    super::ensure_equal(&traffic.compare().await?, "before the last restart")?;
    server.kill().await?;
    let _server = stage.start().await?;
    stage.note("and once more when all was counted");
    traffic.repeat_newest().await?;
    traffic.compare().await
}
