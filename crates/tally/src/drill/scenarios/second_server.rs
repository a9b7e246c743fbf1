//! A second server on the folder of a running one is turned away, and the first does not notice.

use anyhow::{bail, ensure};

use super::super::account::Comparison;
use super::super::server::Start;
use super::super::stage::Stage;
use super::watched;

const EVENTS: u64 = 60_000;
const BATCH: u32 = 500;

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let server = stage.start().await?;
    let traffic = stage.traffic()?;
    let launch = super::super::server::Launch { port: 0, ..stage.launch.clone() };
    let holder = server.pid()?.as_raw_nonzero();
    let intruding = async {
        for _ in 0..3 {
            match launch.start().await? {
                Start::Serving(_) => bail!("a second server was let into the folder"),
                Start::Refused(status, said) => {
                    ensure!(status.code() == Some(1), "the second server ended with {status}");
                    let names_holder = said.contains(&format!("pid {holder}"));
                    ensure!(names_holder, "it does not say who has the folder: {said}");
                }
            }
        }
        Ok(())
    };
    let both = async { tokio::try_join!(traffic.send(EVENTS, BATCH), intruding).map(drop) };
    watched(&traffic, both).await?;
    stage.note("3 more servers were started on the folder under load: turned away, with the pid of the one that has it");
    traffic.compare().await
}
