//! `tally stats ITEM`: counts, sums and means of an item over time, as a table with a sparkline.

use api::client::StatsQuery;
use api::{DecimalNumber, StatsAnswer, StatsSummary};
use comfy_table::{Cell, CellAlignment};

use super::server::{self, ServerArgs};
use super::{Outcome, output};

/// Show counts, sums and averages of an item over time
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally stats dQw4w9WgXcQ --step hour\n  \
    tally stats LAX-LAS --type share --function count,sum,average --step day \\\n    \
    --start 2001-04-01T00:00:00Z --end 2001-05-01T00:00:00Z --json")]
pub(crate) struct StatsArgs {
    /// The item, as it was sent
    item: String,
    /// The event type
    #[arg(long = "type", default_value = "view", value_name = "TYPE")]
    event_type: String,
    /// What to show, separated by commas: count, sum, average, min, max
    #[arg(long, value_name = "LIST")]
    function: Option<String>,
    /// Length of a bucket: minute, hour, day or total
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// From this time on (RFC 3339 or epoch milliseconds)
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Up to this time, exclusive
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// Print the server's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &StatsArgs) -> anyhow::Result<Outcome> {
    let query = StatsQuery {
        item: &args.item,
        event_type: Some(&args.event_type),
        function: args.function.as_deref(),
        step: args.step.as_deref(),
        start: args.start.as_deref(),
        end: args.end.as_deref(),
    };
    server::show(&args.server, &query.path(), args.json, |answer| text(answer, output::width()))
}

fn text(answer: &StatsAnswer, width: usize) -> String {
    let heading = format!(
        "{} · {} · {} to {}\n{} as of {}",
        output::visible(&answer.item),
        answer.event_type,
        answer.start,
        answer.end,
        answer.status,
        answer.as_of
    );
    let counts: Vec<u64> = answer.series.iter().filter_map(|point| point.summary.count).collect();
    let sparkline = match output::sparkline(&counts, width.saturating_sub(2)) {
        bars if bars.trim().is_empty() => String::new(),
        bars => format!("\n {bars}\n"),
    };
    let mut table = output::table();
    let mut header = vec![Cell::new(&answer.step)];
    header.extend(columns(&answer.total).iter().map(|(name, _)| right(name)));
    table.set_header(header);
    for point in &answer.series {
        table.add_row(row(&point.time, &answer.total, &point.summary));
    }
    table.add_row(row("total", &answer.total, &answer.total));
    format!("{heading}\n{sparkline}\n{}", table.trim_fmt())
}

/// The columns are those that the total has: a point has the same.
fn row(label: &str, total: &StatsSummary, summary: &StatsSummary) -> Vec<Cell> {
    let values = columns(summary);
    let value = |name: &str| {
        values.iter().find(|(other, _)| *other == name).map_or("", |(_, text)| text.as_str())
    };
    let mut cells = vec![Cell::new(label)];
    cells.extend(columns(total).iter().map(|(name, _)| right(value(name))));
    cells
}

/// Name and text of what was asked for; `-` where no event has a value.
fn columns(summary: &StatsSummary) -> Vec<(&'static str, String)> {
    let number = |value: &Option<DecimalNumber>| {
        value.as_ref().map_or_else(|| "-".to_owned(), |number| number.as_str().to_owned())
    };
    let decimals = [
        ("sum", &summary.sum),
        ("average", &summary.average),
        ("min", &summary.min),
        ("max", &summary.max),
    ];
    let count = summary.count.map(|count| ("count", output::thousands(count)));
    let decimals =
        decimals.into_iter().filter_map(|(name, value)| value.as_ref().map(|v| (name, number(v))));
    count.into_iter().chain(decimals).collect()
}

fn right(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_what_was_asked_for_and_a_sparkline_that_fits() {
        let answer: StatsAnswer = serde_json::from_str(
            r#"{"item":"a\u0007","type":"view","start":"S","end":"E","step":"hour",
                "total":{"count":1200,"sum":3.5},"as_of":"A","status":"final",
                "series":[{"time":"T1","count":1200,"sum":3.5},{"time":"T2","count":0,"sum":null}]}"#,
        )
        .expect("an answer of the contract");
        let text = text(&answer, 40);
        assert!(text.contains('█') && !text.contains('\u{7}'), "{text}");
        assert!(text.contains("1,200") && text.contains("3.5") && text.contains('-'), "{text}");
        assert!(!text.contains("average"), "{text}");
    }
}
