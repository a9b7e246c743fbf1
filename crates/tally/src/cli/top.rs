//! `tally top`: the most counted items of a time range.

use api::TopAnswer;
use api::client::TopQuery;
use comfy_table::{Cell, CellAlignment};

use super::server::{self, ServerArgs};
use super::{Outcome, output};

/// Show the most counted items
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally top --window 1h\n  \
    tally top --type share --start 2001-04-01T00:00:00Z --end 2001-05-01T00:00:00Z --limit 20 --json")]
pub(crate) struct TopArgs {
    /// The event type
    #[arg(long = "type", default_value = "view", value_name = "TYPE")]
    event_type: String,
    /// How far back from now: 90s, 15m, 24h, 7d [default: 1h, when there is no --start]
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["start", "end"])]
    window: Option<String>,
    /// From this time on (RFC 3339 or epoch milliseconds)
    #[arg(long, value_name = "TIME", requires = "end")]
    start: Option<String>,
    /// Up to this time, exclusive
    #[arg(long, value_name = "TIME", requires = "start")]
    end: Option<String>,
    /// How many items
    #[arg(long, default_value_t = 10, value_name = "N")]
    limit: u32,
    /// Print the server's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &TopArgs) -> anyhow::Result<Outcome> {
    let window = match (&args.window, &args.start) {
        (None, None) => Some("1h"),
        (window, _) => window.as_deref(),
    };
    let query = TopQuery {
        event_type: Some(&args.event_type),
        window,
        start: args.start.as_deref(),
        end: args.end.as_deref(),
        limit: Some(args.limit),
    };
    server::show(&args.server, &query.path(), args.json, |answer| text(answer, output::width()))
}

fn text(answer: &TopAnswer, width: usize) -> String {
    let heading = format!(
        "top of {} · {} to {} · as of {}",
        answer.event_type, answer.start, answer.end, answer.as_of
    );
    let Some(highest) = answer.items.iter().map(|item| item.count).max() else {
        return format!("{heading}\n\nno events in this range");
    };
    let longest_bar = width / 4;
    let mut table = output::table();
    for (rank, item) in answer.items.iter().enumerate() {
        let bar = u128::from(item.count) * longest_bar as u128 / u128::from(highest.max(1));
        let name = item.title.as_deref().unwrap_or(&item.item);
        table.add_row(vec![
            Cell::new(rank + 1).set_alignment(CellAlignment::Right),
            Cell::new(output::visible(name)),
            Cell::new(output::thousands(item.count)).set_alignment(CellAlignment::Right),
            Cell::new("█".repeat(bar as usize)),
        ]);
    }
    format!("{heading}\n\n{}", table.trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_stand_for_items_and_an_empty_range_says_so() {
        let mut answer: TopAnswer = serde_json::from_str(
            r#"{"type":"view","start":"S","end":"E","as_of":"A","items":[
                {"item":"a","count":1000,"title":"The A"},{"item":"b","count":500}]}"#,
        )
        .expect("an answer of the contract");
        let shown = text(&answer, 80);
        assert!(
            shown.contains("The A") && shown.contains("1,000") && shown.contains('b'),
            "{shown}"
        );
        answer.items.clear();
        assert!(text(&answer, 80).contains("no events"));
    }
}
