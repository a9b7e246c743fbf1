//! `tally store`: tables for counters in a cluster.

use clap::{Args, Subcommand};

use super::{Outcome, UsageError, output};
use crate::wiring;

/// Prepare a cluster that counters are kept in
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  tally store init --store cassandra://node1,node2/tally --replication 3\n  \
    tally serve --store cassandra://node1,node2/tally"
)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    Init(InitArgs),
}

/// Make the keyspace and its tables, where they are not there
///
/// A repeat is harmless, and finishes what was begun. A keyspace that is there keeps its replication.
///
/// Options follow the keyspace, as in ?datacenter=eu&tls=true: read_consistency and write_consistency (quorum,
/// local_quorum, each_quorum, all), datacenter, timeout_ms (10000), speculate_ms (100, or off), user_file (user
/// and password, a line each), tls, tls_ca. User and password may stand before the nodes too: user:password@node.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  tally store init --store cassandra://node1/tally --replication eu=3,us=3"
)]
struct InitArgs {
    /// Where: cassandra://node:port,node:port/keyspace
    #[arg(long, value_name = "STORE", env = "TALLY_STORE")]
    store: String,
    /// How many nodes keep each row: a number, or one for each data center
    #[arg(long, value_name = "N", default_value = "3")]
    replication: String,
}

pub(crate) fn run(args: &StoreArgs) -> anyhow::Result<Outcome> {
    let StoreCommand::Init(InitArgs { store, replication }) = &args.command;
    let factors = factors(replication).ok_or_else(|| {
        UsageError(format!(
            "--replication is `{replication}`; it must be a number from 1 to 255, or one for each data \
             center: eu=3,us=3"
        ))
    })?;
    wiring::init_store(store, &factors)?;
    output::print("the tables are there; start servers with the same --store")?;
    Ok(Outcome::Good)
}

/// A number alone, or numbers by data center.
fn factors(text: &str) -> Option<Vec<(Option<String>, u8)>> {
    let number = |text: &str| text.parse::<u8>().ok().filter(|number| *number > 0);
    if let Some(number) = number(text) {
        return Some(vec![(None, number)]);
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let named = text.split(',').map(|part| {
        let (name, factor) = part.split_once('=')?;
        let is_name = !name.is_empty() && name.chars().all(is_plain);
        is_name.then_some((Some(name.to_owned()), number(factor)?))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_a_number_or_one_for_each_data_center() {
        assert_eq!(factors("3"), Some(vec![(None, 3)]));
        let named = vec![(Some("eu".to_owned()), 3), (Some("us-1".to_owned()), 2)];
        assert_eq!(factors("eu=3,us-1=2"), Some(named));
        for wrong in ["", "0", "256", "eu", "eu=", "eu=0", "=3", "eu=3,", "e'u=3"] {
            assert_eq!(factors(wrong), None, "{wrong}");
        }
    }
}
