//! `tally top`: the most counted items of a time range.

use api::TopAnswer;
use api::client::TopQuery;

use super::glyphs::{self, Glyphs};
use super::server::{self, ServerArgs};
use super::{Outcome, output};

/// The shortest bar that is worth its place, and the least that is left of a name for it.
const BAR_MIN: usize = 4;
const NAME_MIN: usize = 20;

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
    server::show(&args.server, &query.path(), args.json, |answer| {
        let glyphs = Glyphs::of_locale();
        format!("{}\n\n{}", heading(answer, glyphs), text(answer, output::width(), glyphs))
    })
}

fn heading(answer: &TopAnswer, glyphs: &Glyphs) -> String {
    let parts = [
        format!("top of {}", answer.event_type),
        format!("{} to {}", answer.start, answer.end),
        format!("{}as of {}", if answer.stale { "stale, " } else { "" }, answer.as_of),
    ];
    output::heading(&parts, glyphs.dot, output::known_width())
}

/// Rank, name, count and bar, a line each: what is short of room is first the bar, then the name.
fn text(answer: &TopAnswer, width: usize, glyphs: &Glyphs) -> String {
    let Some(highest) = answer.items.iter().map(|item| item.count).max() else {
        return "no events in this range".into();
    };
    let name =
        |item: &api::TopItem| glyphs.fit(item.title.as_deref().unwrap_or(&item.item), usize::MAX);
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let names = longest(&mut answer.items.iter().map(|item| glyphs::columns_of(&name(item))));
    let counts = longest(&mut answer.items.iter().map(|item| output::thousands(item.count).len()));
    let ranks = answer.items.len().to_string().len();
    // A blank before the rank, two between columns.
    let room = width.saturating_sub(1 + ranks + 2 + 2 + counts);
    let bars = (width / 4).min(room.saturating_sub(names.min(NAME_MIN) + 2));
    let bars = if bars < BAR_MIN { 0 } else { bars };
    let names = names.min(room.saturating_sub(if bars > 0 { bars + 2 } else { 0 }));
    let mut out = String::new();
    for (rank, item) in (1..).zip(&answer.items) {
        let (name, count) = (glyphs.pad(&name(item), names), output::thousands(item.count));
        let bar = glyphs.lying(item.count, highest, bars);
        let line = format!(" {rank:>ranks$}  {name}  {count:>counts$}  {bar}");
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::glyphs::{ASCII, UNICODE, columns_of};

    fn answer() -> TopAnswer {
        serde_json::from_str(
            r#"{"type":"view","start":"S","end":"E","as_of":"A","items":[
                {"item":"a","count":1000,"title":"The A"},{"item":"b\u0007","count":500}]}"#,
        )
        .expect("an answer of the contract")
    }

    #[test]
    fn titles_stand_for_items_and_an_empty_range_says_so() {
        let mut answer = answer();
        let shown = text(&answer, 80, &UNICODE);
        let bars = ("█".repeat(20), "█".repeat(10));
        let expected =
            format!(" 1  The A  1,000  {}\n 2  b\u{fffd}       500  {}\n", bars.0, bars.1);
        assert_eq!(shown, expected);
        answer.items.clear();
        assert!(text(&answer, 80, &UNICODE).contains("no events"));
    }

    #[test]
    fn lines_fit_any_terminal_and_wide_characters_stay_aligned() {
        let mut answer = answer();
        let title = "夜行列車で北へ 🚂 a title that is longer than most terminals are wide";
        answer.items[1].title = Some(title.into());
        for width in [20, 24, 40, 61, 80, 200] {
            let shown = text(&answer, width, &UNICODE);
            let lines: Vec<&str> = shown.lines().collect();
            assert!(lines.iter().all(|line| columns_of(line) <= width), "{width}\n{shown}");
            let count_at = |line: &str, count: &str| {
                columns_of(&line[..line.find(count).expect("its count")]) + count.len()
            };
            assert_eq!(count_at(lines[0], "1,000"), count_at(lines[1], "500"), "{shown}");
        }
        assert!(text(&answer, 40, &UNICODE).contains('…'));
        let ascii = text(&answer, 40, &ASCII);
        assert!(ascii.is_ascii() && ascii.contains('#') && ascii.contains('~'), "{ascii}");
    }
}
