//! What the drill does, one file each: a scenario plays on its stage, notes what it did, and gives
//! the comparison of the account with the server's answers at the end.

mod clock;
mod flip;
mod full_disk;
mod kill;
mod load;
mod lost_answers;
mod second_server;
mod torn_tail;

use super::account::Comparison;
use super::stage::Stage;

/// A scenario. In this order they are played: what asks most of the machine comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Steady load with repeats
    Load,
    /// kill -9 under load, again and again
    Kill,
    /// Requests whose answers nobody reads, sent again
    LostAnswers,
    /// A second server on the folder of a running one
    SecondServer,
    /// Unfinished writes and garbage behind the end of the log after a kill -9
    TornTail,
    /// A flipped bit in the log, in a sealed file and in the newest, and in an index
    Flip,
    /// The machine's clock set wrong, while the server runs and between starts
    Clock,
    /// A file system that runs full and has room again
    FullDisk,
}

impl Scenario {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Kill => "kill",
            Self::LostAnswers => "lost-answers",
            Self::SecondServer => "second-server",
            Self::TornTail => "torn-tail",
            Self::Flip => "flip",
            Self::Clock => "clock",
            Self::FullDisk => "full-disk",
        }
    }

    /// Plays it to its end.
    ///
    /// # Errors
    /// What did not go as it should; [`super::Skipped`] where the machine does not allow it.
    pub(super) async fn play(self, stage: &mut Stage) -> anyhow::Result<Comparison> {
        match self {
            Self::Load => load::play(stage).await,
            Self::Kill => kill::play(stage).await,
            Self::LostAnswers => lost_answers::play(stage).await,
            Self::SecondServer => second_server::play(stage).await,
            Self::TornTail => torn_tail::play(stage).await,
            Self::Flip => flip::play(stage).await,
            Self::Clock => clock::play(stage).await,
            Self::FullDisk => full_disk::play(stage).await,
        }
    }
}

/// Does the work while every total is watched: none may go down.
async fn watched<T>(
    traffic: &super::Traffic,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        wrong = traffic.watch() => Err(wrong),
    }
}

/// Makes sure that a comparison in the midst of a scenario finds no difference.
fn ensure_equal(found: &Comparison, when: &str) -> anyhow::Result<()> {
    match found.examples.first() {
        None => Ok(()),
        Some(first) => anyhow::bail!("{when} {} counters differ: {first}", found.different),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_name_is_what_the_command_line_takes() {
        for scenario in Scenario::value_variants() {
            let value = scenario.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), scenario.name());
        }
    }
}
