//! `tally report ITEM` and `tally report --channel CHANNEL`: what a creator looks at, as text.

use api::client::{channel_report_path, item_report_path};
use api::{
    ChannelReportAnswer, DecimalNumber, ItemDetailsAnswer, ItemReportAnswer, TopItem, TypeTotal,
    ViewsReport,
};
use comfy_table::{Cell, CellAlignment};

use super::glyphs::Glyphs;
use super::server::{self, ServerArgs};
use super::{Outcome, output};

/// Show an item or a channel: details, totals by type and views per hour
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally report dQw4w9WgXcQ\n  \
    tally report --channel UCuAXFkgsw1L7xaCfnd5JJOw --hours 168 --json")]
pub(crate) struct ReportArgs {
    /// The item, as it was sent
    #[arg(required_unless_present = "channel", conflicts_with = "channel")]
    item: Option<String>,
    /// All items of this channel, by their item details
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// How many hours of views, the current one included [default: 24]
    #[arg(long, value_name = "N")]
    hours: Option<u32>,
    /// Print the server's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<Outcome> {
    if let Some(channel) = &args.channel {
        let path = channel_report_path(channel, args.hours);
        let text = |answer: &ChannelReportAnswer| channel_text(answer, output::width());
        return server::show(&args.server, &path, args.json, text);
    }
    let path = item_report_path(args.item.as_deref().unwrap_or_default(), args.hours);
    let text = |answer: &ItemReportAnswer| item_text(answer, output::width());
    server::show(&args.server, &path, args.json, text)
}

fn item_text(answer: &ItemReportAnswer, width: usize) -> String {
    let mut heading = output::visible(&answer.item);
    if let Some(details) = &answer.details {
        heading = details_text(heading, details);
    }
    let range = (answer.start.as_str(), answer.end.as_str(), answer.as_of.as_str());
    format!("{heading}\n{}", numbers(&answer.totals, &answer.views, range, width))
}

fn details_text(item: String, details: &ItemDetailsAnswer) -> String {
    let mut text = match &details.title {
        Some(title) => format!("{} · {item}", output::visible(title)),
        None => item,
    };
    let channel = details.channel_name.as_ref().or(details.channel.as_ref());
    if let Some(channel) = channel {
        text.push_str(&format!("\nchannel {}", output::visible(channel)));
    }
    if let Some(created) = &details.created {
        text.push_str(&format!("\ncreated {created}"));
    }
    for (key, value) in &details.attributes {
        text.push_str(&format!("\n{} {}", output::visible(key), output::visible(value)));
    }
    text
}

fn channel_text(answer: &ChannelReportAnswer, width: usize) -> String {
    let name = answer.channel_name.as_ref().unwrap_or(&answer.channel);
    let range = (answer.start.as_str(), answer.end.as_str(), answer.as_of.as_str());
    format!(
        "{} · {} items\n{}{}",
        output::visible(name),
        output::thousands(answer.items),
        numbers(&answer.totals, &answer.views, range, width),
        top_text(&answer.top, width)
    )
}

/// A line an item: a name that is too long for the terminal is cut, a count never.
fn top_text(top: &[TopItem], width: usize) -> String {
    if top.is_empty() {
        return String::new();
    }
    let glyphs = Glyphs::of_locale();
    let digits = top.iter().map(|item| output::thousands(item.count).len()).max().unwrap_or(0);
    let names = width.saturating_sub(1 + 2 + digits);
    let rows: Vec<Vec<String>> = top
        .iter()
        .map(|item| {
            let name = item.title.as_deref().unwrap_or(&item.item);
            vec![glyphs.fit(name, names), output::thousands(item.count)]
        })
        .collect();
    let table = output::aligned(&rows, usize::MAX).unwrap_or_default();
    format!("\n\nmost viewed in these hours\n{}", table.trim_end())
}

/// Totals by type, and views by the hour as a line of bars.
fn numbers(
    totals: &[TypeTotal],
    views: &ViewsReport,
    (start, end, as_of): (&str, &str, &str),
    width: usize,
) -> String {
    let mut table = output::table();
    let heads = ["type", "count", "sum", "average"].map(str::to_owned);
    table.set_header(row(heads));
    for total in totals {
        let cells = [
            total.event_type.clone(),
            output::thousands(total.count),
            number(&total.sum),
            number(&total.average),
        ];
        table.add_row(row(cells));
    }
    let totals = match totals {
        [] => "\nno events yet".to_owned(),
        _ => format!("\n{}", table.trim_fmt()),
    };
    let counts: Vec<u64> =
        views.series.iter().map(|point| point.summary.count.unwrap_or(0)).collect();
    let bars = match Glyphs::of_locale().sparkline(&counts, width.saturating_sub(2)) {
        bars if bars.trim().is_empty() => String::new(),
        bars => format!("\n {bars}"),
    };
    let values = match (&views.sum, &views.average) {
        (Some(sum), Some(average)) => {
            format!(", sum {}, average {}", sum.as_str(), average.as_str())
        }
        _ => String::new(),
    };
    format!(
        "{totals}\n\n{} views in {} h{values}{bars}\n {start} to {end} · as of {as_of}",
        output::thousands(views.count),
        views.series.len(),
    )
}

fn row(cells: [String; 4]) -> Vec<Cell> {
    let [name, numbers @ ..] = cells;
    std::iter::once(Cell::new(name)).chain(numbers.map(right)).collect()
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// `-` where no event has a value.
fn number(value: &Option<DecimalNumber>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), |number| number.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEWS: &str = r#"{"type":"view","count":1200,"sum":25.5,"average":12.75,"series":[
        {"time":"T1","count":1200,"sum":25.5,"average":12.75},
        {"time":"T2","count":0,"sum":null,"average":null}]}"#;

    #[test]
    fn an_item_is_shown_with_what_is_known_of_it() {
        let text = format!(
            r#"{{"item":"a\u0007","details":{{"item":"a\u0007","title":"The A","channel":"c"}},
                "start":"S","end":"E","as_of":"A","totals":[
                {{"type":"view","count":1200,"sum":25.5,"average":12.75}},
                {{"type":"like","count":7,"sum":null,"average":null}}],"views":{VIEWS}}}"#
        );
        let answer: ItemReportAnswer = serde_json::from_str(&text).expect("an answer");
        let shown = item_text(&answer, 40);
        for part in ["The A · a", "channel c", "1,200", "like", "12.75", "█", "in 2 h", "as of A"]
        {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(!shown.contains('\u{7}'), "{shown}");
        let bare = ItemReportAnswer { details: None, totals: Vec::new(), ..answer };
        assert!(item_text(&bare, 40).contains("no events yet"));
    }

    #[test]
    fn a_channel_is_shown_with_its_best() {
        let text = format!(
            r#"{{"channel":"c","channel_name":"Ch","items":1000,"start":"S","end":"E","as_of":"A",
                "totals":[],"views":{VIEWS},"top":[{{"item":"a","count":1200,"title":"The A"}}]}}"#
        );
        let answer: ChannelReportAnswer = serde_json::from_str(&text).expect("an answer");
        let shown = channel_text(&answer, 40);
        for part in ["Ch · 1,000 items", "most viewed", "The A"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
}
