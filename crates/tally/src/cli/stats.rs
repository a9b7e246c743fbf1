//! `tally stats ITEM`: counts, sums and means of an item over time, as a table with a sparkline.

use api::client::StatsQuery;
use api::{DecimalNumber, StatsAnswer, StatsSummary};

use super::glyphs::Glyphs;
use super::server::{self, ServerArgs};
use super::{Outcome, output};

/// Columns of an item's name in the heading.
const NAME_MAX: usize = 60;

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
    server::show(&args.server, &query.path(), args.json, |answer| {
        let (glyphs, width) = (Glyphs::of_locale(), output::width());
        let heading = heading(answer, glyphs, output::known_width());
        format!("{heading}\n{}", text(answer, width, glyphs))
    })
}

fn heading(answer: &StatsAnswer, glyphs: &Glyphs, width: Option<usize>) -> String {
    let parts = [
        glyphs.fit(&answer.item, width.unwrap_or(NAME_MAX).max(NAME_MAX)),
        answer.event_type.clone(),
        format!("{} to {}", answer.start, answer.end),
    ];
    let asked = output::heading(&parts, glyphs.dot, width);
    let stale = if answer.stale { ", stale," } else { "" };
    format!("{asked}\n{}{stale} as of {}", answer.status, answer.as_of)
}

/// A sparkline and a table; on a terminal that is too narrow for it, with shorter times, and else
/// as a list.
fn text(answer: &StatsAnswer, width: usize, glyphs: &Glyphs) -> String {
    let counts: Vec<u64> = answer.series.iter().filter_map(|point| point.summary.count).collect();
    let sparkline = match glyphs.sparkline(&counts, width.saturating_sub(2)) {
        bars if bars.trim().is_empty() => String::new(),
        bars => format!("\n {bars}\n"),
    };
    let table = output::aligned(&rows(answer, str::to_owned), width)
        .or_else(|| output::aligned(&rows(answer, |time| short_time(time, &answer.step)), width))
        .unwrap_or_else(|| list(answer, width));
    format!("{sparkline}\n{table}")
}

/// A header, a row a bucket and the total. The columns are those that the total has: a point has
/// the same.
fn rows(answer: &StatsAnswer, time: impl Fn(&str) -> String) -> Vec<Vec<String>> {
    let names: Vec<&str> = columns(&answer.total).into_iter().map(|(name, _)| name).collect();
    let row = |label: String, summary: &StatsSummary| {
        let values = columns(summary);
        let value = |name: &&str| {
            values.iter().find(|(other, _)| other == name).map_or("", |(_, text)| text.as_str())
        };
        std::iter::once(label).chain(names.iter().map(|name| value(name).to_owned())).collect()
    };
    let header = std::iter::once(answer.step.clone());
    let header = header.chain(names.iter().map(|name| (*name).to_owned())).collect();
    let points = answer.series.iter().map(|point| row(time(&point.time), &point.summary));
    let total = std::iter::once(row("total".into(), &answer.total));
    std::iter::once(header).chain(points).chain(total).collect()
}

/// The part of a time that tells buckets apart: the heading has the rest.
fn short_time(time: &str, step: &str) -> String {
    let part = if step == "day" { time.get(..10) } else { time.get(5..16) };
    part.unwrap_or(time).replace('T', " ")
}

/// A paragraph a bucket: its time, and below it the numbers, as many on a line as fit.
fn list(answer: &StatsAnswer, width: usize) -> String {
    let points = answer.series.iter().map(|point| (point.time.as_str(), &point.summary));
    let mut out = String::new();
    for (label, summary) in points.chain([("total", &answer.total)]) {
        let numbers = columns(summary).into_iter().map(|(name, text)| format!("{name} {text}"));
        let numbers: Vec<String> = numbers.collect();
        let numbers = output::heading(&numbers, " ", Some(width.saturating_sub(3)));
        out += &format!(" {label}\n   {}\n", numbers.replace('\n', "\n   "));
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::glyphs::{ASCII, UNICODE, columns_of};

    fn answer() -> StatsAnswer {
        serde_json::from_str(
            r#"{"item":"a\u0007","type":"view","start":"S","end":"E","step":"hour",
                "total":{"count":1200,"sum":3.5},"as_of":"A","status":"final","series":[
                {"time":"2026-11-22T07:00:00Z","count":1200,"sum":3.5},
                {"time":"2026-11-22T08:00:00Z","count":0,"sum":null}]}"#,
        )
        .expect("an answer of the contract")
    }

    #[test]
    fn the_table_has_what_was_asked_for_and_a_sparkline_that_fits() {
        let answer = answer();
        assert_eq!(heading(&answer, &UNICODE, None), "a\u{fffd} · view · S to E\nfinal as of A");
        let expected = "\n █ \n\n hour                  count  sum\n \
             2026-11-22T07:00:00Z  1,200  3.5\n \
             2026-11-22T08:00:00Z      0    -\n \
             total                 1,200  3.5\n";
        assert_eq!(text(&answer, 40, &UNICODE), expected);
        assert!(text(&answer, 40, &ASCII).is_ascii());
    }

    #[test]
    fn a_narrow_terminal_has_shorter_times_and_then_a_list_and_no_number_is_cut() {
        let mut answer = answer();
        let shown = text(&answer, 30, &UNICODE);
        assert!(shown.contains("\n 11-22 07:00  1,200  3.5\n"), "{shown}");
        answer.step = "day".into();
        assert!(text(&answer, 30, &UNICODE).contains("\n 2026-11-22  1,200  3.5\n"));
        let shown = text(&answer, 22, &UNICODE);
        assert!(shown.contains("\n 2026-11-22T07:00:00Z\n   count 1,200\n   sum 3.5\n"), "{shown}");
        for width in [22, 30, 33, 34, 40, 80] {
            let shown = text(&answer, width, &UNICODE);
            assert!(shown.lines().all(|line| columns_of(line) <= width), "{width}\n{shown}");
        }
    }
}
