//! `tally sql QUESTION`: SQL over raw events, counters and item details. A build without the feature
//! `sql` says how to get one that has it, and what else reads the same files.

#[cfg(feature = "sql")]
mod answer;
#[cfg(feature = "sql")]
mod format;

use std::path::PathBuf;

use super::config::resolve;
use super::server::ServerArgs;
use super::{Outcome, UsageError};
use crate::config::Raw;

/// Ask in SQL what was sent and what was counted
///
/// Tables: `events` has what was sent and is still kept, repeats included, up to the newest raw file;
/// `events_once` the same without repeats; `counters` what was counted up to now, each event in
/// exactly one row; `items` what is known of items: title, channel, channel_name, created, attributes.
/// Events come from the archive's files, counters and items from the server; where days are cold,
/// counters come from the files too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tally sql \"select type, count(*) from events_once group by type\"\n  \
    tally sql --format csv --output days.csv \"select date_trunc('day', time) as day, sum(count) as views\n    \
    from counters where item = 'dQw4w9WgXcQ' and type = 'view' group by day order by day\"\n  \
    tally sql \"select i.channel, sum(c.count) as views from counters c join items i on i.item = c.item\n    \
    where c.type = 'view' group by i.channel order by views desc\"\n  \
    tally sql \"describe counters\"\n\n\
    The SQL is DataFusion's. It only reads. Values and sums are exact decimals.")]
pub(crate) struct SqlArgs {
    /// The question
    #[arg(value_name = "QUESTION")]
    question: String,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// As --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write the answer to a file, which is there only when it is whole
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where raw events and cold days are, as the server has it [default: that of the settings]
    #[arg(long, value_name = "PLACE")]
    archive: Option<String>,
    /// The server's data folder, which the archive is in by default
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Settings file [default: ./tally.toml, where it exists]
    #[arg(long, value_name = "FILE", env = "TALLY_CONFIG")]
    config: Option<PathBuf>,
    /// Memory for rows that are sorted, grouped or joined
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    memory: String,
    /// Folder for what does not fit in memory [default: the system's]
    #[arg(long, value_name = "DIR")]
    temp_dir: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: the first 1,000 rows, aligned
    Table,
    /// Comma-separated, with a line of names
    Csv,
    /// An array of objects; decimals are exact
    Json,
    /// A Parquet file
    Parquet,
}

impl SqlArgs {
    /// Where the archive is.
    fn archive(&self) -> anyhow::Result<String> {
        let raw = Raw {
            archive: self.archive.clone(),
            data_dir: self.data_dir.clone(),
            ..Raw::default()
        };
        let settings = resolve(self.config.as_deref(), &raw);
        let settings = settings.map_err(|error| UsageError(error.to_string()))?;
        let none = "the setting `archive` is none, so there are no files to ask: name a place with \
                    --archive";
        settings.archive.ok_or_else(|| UsageError(none.into()).into())
    }
}

#[cfg(feature = "sql")]
pub(crate) fn run(args: &SqlArgs) -> anyhow::Result<Outcome> {
    answer::run(args)
}

#[cfg(not(feature = "sql"))]
pub(crate) fn run(args: &SqlArgs) -> anyhow::Result<Outcome> {
    let SqlArgs { question: _, format: _, json: _, output: _, memory: _, temp_dir: _, .. } = args;
    Err(anyhow::anyhow!(elsewhere(&args.archive()?)))
}

/// What to do with a program that has no SQL.
#[cfg(any(test, not(feature = "sql")))]
fn elsewhere(archive: &str) -> String {
    let folder = archive.strip_prefix("file://").unwrap_or(archive);
    let files = match folder.contains("://") {
        true => folder.to_owned(),
        false => {
            let absolute = std::path::absolute(folder);
            absolute.map_or_else(|_| folder.to_owned(), |path| path.display().to_string())
        }
    };
    // Two quotings: SQL's within the shell's.
    let files = format!("{}/raw/**/*.parquet", files.trim_end_matches('/')).replace('\'', "''");
    let sql = format!("select type, count(*) from read_parquet('{files}') group by type");
    format!(
        "this build has no SQL. Build one that has (it takes a while):\n\n  \
         cargo build --release -p tally --features sql\n\n\
         or ask DuckDB about the same files:\n\n  \
         duckdb -c '{}'",
        sql.replace('\'', r"'\''")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_sql_it_says_where_to_go() {
        let text = elsewhere("s3://bucket/it's");
        assert!(text.contains("cargo build --release -p tally --features sql"), "{text}");
        assert!(text.contains(r"s3://bucket/it'\'''\''s/raw/**/*.parquet"), "{text}");
        assert!(elsewhere("file:///srv/a").contains("/srv/a/raw/**"));
        let here = std::env::current_dir().unwrap().display().to_string();
        assert!(elsewhere("archive").contains(&format!("{here}/archive/raw/**")));
    }
}
