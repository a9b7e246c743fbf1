//! `tally routing`: which partition events go to, and how that is changed.

use anyhow::bail;
use api::client::{Client, ItemsQuery, ROUTING_PATH};
use api::{
    ItemDetailsAnswer, RoutingAnswer, RoutingRequest, RoutingRule, RoutingStrategy, RoutingVersion,
};
use clap::{Args, Subcommand, ValueEnum};
use model::limits::CHANNEL_ITEMS_MAX;

use super::server::{self, ServerArgs, runtime};
use super::{Outcome, UsageError, output};

/// Versions that are shown.
const VERSIONS_SHOWN: usize = 5;

/// Say which partition events go to: spread hot items, give channels partitions of their own
///
/// Each change is a version of the routing table, which takes effect a minute and a half later: an event
/// and its repeats always go the same way, and no number is ever moved. Items that take more than their
/// share are spread by the server itself (`spread_above`).
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tally routing show\n  \
    tally routing spread dQw4w9WgXcQ --over 8\n  \
    tally routing dedicate --channel UCuAXFkgsw1L7xaCfnd5JJOw --partitions 16-17\n  \
    tally routing partitions 32")]
pub(crate) struct RoutingArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the newest version: partitions and rules
    #[command(after_help = "Example:\n  tally routing show --json")]
    Show {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Spread an item over several partitions
    #[command(after_help = "Examples:\n  tally routing spread dQw4w9WgXcQ --over 8\n  \
        tally routing spread dQw4w9WgXcQ --by minute")]
    Spread {
        /// The item
        item: String,
        /// By the id of each event, or by the minute it happens in, over all partitions in turn
        #[arg(long, value_enum, default_value_t = By::Id, value_name = "BY")]
        by: By,
        /// Over how many partitions, by id
        #[arg(long, value_name = "N", default_value_t = 4)]
        over: u16,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Spread an item no more
    #[command(after_help = "Examples:\n  tally routing unspread dQw4w9WgXcQ\n  \
        tally routing unspread dQw4w9WgXcQ --for-good\n\n\
        An item that is hot the server spreads again, unless it is for good; `pin ITEM --off` ends that.")]
    Unspread {
        /// The item
        item: String,
        /// However hot it is
        #[arg(long)]
        for_good: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Send an item, or all that begin alike, to certain partitions
    #[command(after_help = "Examples:\n  tally routing pin dQw4w9WgXcQ --partitions 3\n  \
        tally routing pin --prefix ads/ --partitions 0,4-7\n  \
        tally routing pin dQw4w9WgXcQ --off")]
    Pin {
        #[command(flatten)]
        whom: SubjectArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Give an item, all that begin alike, or a channel's items partitions that nobody else has
    #[command(after_help = "Examples:\n  \
        tally routing dedicate --channel UCuAXFkgsw1L7xaCfnd5JJOw --partitions 16-17\n  \
        tally routing dedicate --prefix ads/ --off\n\n\
        Partitions behind the last one are added. A channel's items are those that it has now: the server \
        routes by the item alone, so say it again when there are more.")]
    Dedicate {
        #[command(flatten)]
        whom: SubjectArgs,
        /// All items of a channel
        #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["item", "prefix"])]
        channel: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Change the number of partitions that items without a rule go to, while the server runs
    #[command(after_help = "Example:\n  tally routing partitions 32\n\n\
        With fewer than before, the others are kept and read: counts do not move.")]
    Partitions {
        /// How many
        number: u16,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Id,
    Minute,
}

/// Whom a rule is for, and which partitions it names.
#[derive(Args, Debug)]
struct SubjectArgs {
    /// The item
    item: Option<String>,
    /// Every item that begins so
    #[arg(long, value_name = "TEXT", conflicts_with = "item")]
    prefix: Option<String>,
    /// Which partitions: numbers and ranges, with commas
    #[arg(long, value_name = "LIST", required_unless_present = "off", conflicts_with = "off")]
    partitions: Option<String>,
    /// Take the rule away
    #[arg(long)]
    off: bool,
}

#[derive(Args, Debug)]
struct PlaceArgs {
    /// Print the server's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &RoutingArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::Show { place } => {
            server::show(&place.server, ROUTING_PATH, place.json, |table: &RoutingAnswer| {
                told(table)
            })
        }
        Command::Spread { item, by, over, place } => {
            let (strategy, over) = match by {
                By::Id => (RoutingStrategy::Spread, Some(*over)),
                By::Minute => (RoutingStrategy::ItemAndMinute, None),
            };
            change(place, vec![RoutingRule { over, ..of_item(item, strategy) }], None)
        }
        Command::Unspread { item, for_good, place } => {
            let strategy = match for_good {
                true => RoutingStrategy::Item,
                false => RoutingStrategy::None,
            };
            change(place, vec![of_item(item, strategy)], None)
        }
        Command::Pin { whom, place } => {
            change(place, vec![whom.rule(RoutingStrategy::Pinned)?], None)
        }
        Command::Dedicate { whom, channel: None, place } => {
            change(place, vec![whom.rule(RoutingStrategy::Dedicated)?], None)
        }
        Command::Dedicate { whom, channel: Some(channel), place } => {
            let client = place.server.client()?;
            let items = runtime()?.block_on(items_of(&client, channel))?;
            let rule = whom.with(RoutingStrategy::Dedicated)?;
            let rules =
                items.into_iter().map(|item| RoutingRule { item: Some(item), ..rule.clone() });
            change(place, rules.collect(), None)
        }
        Command::Partitions { number, place } => change(place, Vec::new(), Some(*number)),
    }
}

fn change(
    place: &PlaceArgs,
    rules: Vec<RoutingRule>,
    partitions: Option<u16>,
) -> anyhow::Result<Outcome> {
    let client = place.server.client()?;
    let wanted = RoutingRequest { partitions, rules, after: None };
    let table = runtime()?.block_on(client.change_routing(&wanted))?;
    match place.json {
        true => output::print(&serde_json::to_string(&table)?)?,
        false => output::print(&format!(
            "version {} of the routing table holds for events from {} on",
            table.version,
            table.effective.unwrap_or_default()
        ))?,
    }
    Ok(Outcome::Good)
}

/// The items that a channel has now.
async fn items_of(client: &Client, channel: &str) -> anyhow::Result<Vec<String>> {
    let mut lines = client.items(&ItemsQuery { channel: Some(channel), after: None }).await?;
    let mut items = Vec::new();
    // Bytes come cut anywhere.
    let mut rest = Vec::new();
    while let Some(bytes) = lines.next().await? {
        rest.extend_from_slice(&bytes);
        let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') else { continue };
        let behind = rest.split_off(end + 1);
        for line in rest.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let details: ItemDetailsAnswer = serde_json::from_slice(line)?;
            items.push(details.item);
        }
        rest = behind;
        if items.len() > CHANNEL_ITEMS_MAX {
            bail!("the channel {channel} has more than {CHANNEL_ITEMS_MAX} items: use --prefix");
        }
    }
    if items.is_empty() {
        bail!("no item is known to be of the channel {channel}: `tally items import` says so");
    }
    Ok(items)
}

fn of_item(item: &str, strategy: RoutingStrategy) -> RoutingRule {
    RoutingRule { item: Some(item.to_owned()), ..rule_of(strategy) }
}

fn rule_of(strategy: RoutingStrategy) -> RoutingRule {
    RoutingRule {
        item: None,
        prefix: None,
        strategy,
        over: None,
        partitions: Vec::new(),
        is_automatic: false,
        effective: None,
    }
}

impl SubjectArgs {
    fn rule(&self, strategy: RoutingStrategy) -> Result<RoutingRule, UsageError> {
        if self.item.is_none() && self.prefix.is_none() {
            return Err(UsageError("name an item, or several with --prefix".to_owned()));
        }
        let (item, prefix) = (self.item.clone(), self.prefix.clone());
        Ok(RoutingRule { item, prefix, ..self.with(strategy)? })
    }

    /// The rule of whomever.
    fn with(&self, strategy: RoutingStrategy) -> Result<RoutingRule, UsageError> {
        match &self.partitions {
            Some(list) => Ok(RoutingRule { partitions: partitions(list)?, ..rule_of(strategy) }),
            None => Ok(rule_of(RoutingStrategy::None)),
        }
    }
}

/// Numbers and ranges: `0,4-7`.
fn partitions(list: &str) -> Result<Vec<u16>, UsageError> {
    let wrong =
        || UsageError(format!("--partitions {list}: it must be numbers and ranges, such as 0,4-7"));
    let mut partitions = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        partitions.extend(first..=last);
    }
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions)
}

fn told(table: &RoutingAnswer) -> String {
    let RoutingAnswer { version, partitions, log_partitions, .. } = table;
    let since = match &table.effective {
        Some(effective) => format!("for events from {effective} on"),
        None => "since ever".to_owned(),
    };
    let mut text = format!(
        "version {version} · {since} · {partitions} partitions for items without a rule · the log has \
         {log_partitions}\n"
    );
    if !table.rules.is_empty() {
        let mut rules = output::table();
        rules.set_header(["of", "goes", "since", "made by"]);
        for rule in &table.rules {
            rules.add_row(rule_row(rule));
        }
        text += &format!("\n{rules}\n");
        let more = table.rules_total.saturating_sub(table.rules.len() as u64);
        if more > 0 {
            text += &format!("and {} rules more\n", output::thousands(more));
        }
    }
    let mut versions = output::table();
    versions.set_header(["version", "published", "effective", "partitions", "changes"]);
    for version in table.versions.iter().take(VERSIONS_SHOWN) {
        versions.add_row(version_row(version));
    }
    text + &format!("\n{versions}")
}

fn rule_row(rule: &RoutingRule) -> [String; 4] {
    let whose = match (&rule.item, &rule.prefix) {
        (Some(item), _) => output::visible(item),
        (None, prefix) => format!("{}…", output::visible(prefix.as_deref().unwrap_or_default())),
    };
    let list = || rule.partitions.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let goes = match rule.strategy {
        RoutingStrategy::Item => "by item".to_owned(),
        RoutingStrategy::ItemAndMinute => "by item and minute".to_owned(),
        RoutingStrategy::Spread => format!("by id over {}", rule.over.unwrap_or_default()),
        RoutingStrategy::Pinned => format!("to {}", list()),
        RoutingStrategy::Dedicated => format!("to {}, alone", list()),
        RoutingStrategy::None => "nowhere".to_owned(),
    };
    let by = if rule.is_automatic { "the server" } else { "people" };
    [whose, goes, rule.effective.clone().unwrap_or_default(), by.to_owned()]
}

fn version_row(version: &RoutingVersion) -> [String; 5] {
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
    [
        version.version.to_string(),
        time(&version.published),
        time(&version.effective),
        version.partitions.to_string(),
        version.changes.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_numbers_and_ranges() {
        let list = |text| partitions(text).map_err(|_| ());
        assert_eq!(list("3"), Ok(vec![3]));
        assert_eq!(list("4-6, 0,5"), Ok(vec![0, 4, 5, 6]));
        for wrong in ["", "a", "3-1", "-1", "1-", "70000", "1,,2"] {
            assert_eq!(list(wrong), Err(()), "{wrong}");
        }
    }

    #[test]
    fn a_table_is_told() {
        let rule = RoutingRule { partitions: vec![3, 4], ..rule_of(RoutingStrategy::Dedicated) };
        let table = RoutingAnswer {
            version: 2,
            effective: Some("2026-11-21T10:01:30.001Z".into()),
            partitions: 16,
            log_partitions: 18,
            rules_total: 3,
            rules: vec![
                RoutingRule {
                    over: Some(8),
                    is_automatic: true,
                    ..of_item("hot", RoutingStrategy::Spread)
                },
                RoutingRule { prefix: Some("ads/".into()), ..rule },
            ],
            versions: Vec::new(),
        };
        let text = told(&table);
        for part in
            ["version 2", "by id over 8", "the server", "ads/…", "to 3,4, alone", "1 rules more"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
