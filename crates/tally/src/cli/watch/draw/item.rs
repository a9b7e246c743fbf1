//! An item's page: its total in large digits, by type, the last hour and the last two days.

use ratatui::text::Line;

use api::DecimalNumber;

use super::super::ask::ItemNumbers;
use super::super::look::{Look, Role};
use super::super::state::State;
use super::{chart, digits, heading};
use crate::cli::output::thousands;

/// With fewer lines than this, only the charts that fit.
const TWO_CHARTS_FROM: usize = 6;

pub(super) fn lines(state: &State, look: Look, width: usize, height: usize) -> Vec<Line<'static>> {
    let item = state.item.as_deref().unwrap_or("");
    let Some(numbers) = &state.numbers else {
        let text = if state.refused.is_some() { "no numbers" } else { "asking..." };
        return vec![heading(look, item, "", width), look.line(Role::Quiet, text)];
    };
    let mut lines = match &numbers.title {
        Some(title) => vec![heading(look, title, item, width)],
        None => vec![heading(look, item, "", width)],
    };
    lines.extend(total(numbers, look, width, height));
    if height >= lines.len() + numbers.types.len() + 2 * TWO_CHARTS_FROM / 2 {
        lines.extend(by_type(numbers, look, width));
    }
    let room = height.saturating_sub(lines.len());
    let (minutes, hours) = if room >= TWO_CHARTS_FROM {
        ((room - 2).div_ceil(2), (room - 2) / 2)
    } else {
        (room.saturating_sub(1), 0)
    };
    let (last_hour, last_days) = ("last 60 minutes", "last 48 hours");
    lines.extend(series(look, last_hour, "minute", &numbers.minutes, width, minutes));
    lines.extend(series(look, last_days, "hour", &numbers.hours, width, hours));
    lines
}

fn total(numbers: &ItemNumbers, look: Look, width: usize, height: usize) -> Vec<Line<'static>> {
    let decimal = |value: &Option<Option<DecimalNumber>>| {
        let value = value.as_ref().and_then(Option::as_ref);
        value.map_or_else(|| "-".to_owned(), |number| number.as_str().to_owned())
    };
    let count = thousands(numbers.total.count.unwrap_or(0));
    let title = format!("{count} {}", numbers.event_type);
    let dot = look.glyphs.dot;
    let (sum, average) = (decimal(&numbers.total.sum), decimal(&numbers.total.average));
    let more = format!("sum {sum} {dot} average {average}");
    let large = digits::large(&count, width, look.glyphs);
    let large = large.filter(|rows| height >= rows.len() + 10).unwrap_or_default();
    let mut lines: Vec<Line<'static>> =
        large.into_iter().map(|row| look.line(Role::Heading, row)).collect();
    lines.push(heading(look, &title, &more, width));
    lines
}

fn by_type(numbers: &ItemNumbers, look: Look, width: usize) -> Vec<Line<'static>> {
    let types = &numbers.types;
    let highest = types.iter().map(|of| of.count).max().unwrap_or(0);
    let digits = types.iter().map(|of| thousands(of.count).len()).max().unwrap_or(0);
    let names = types.iter().map(|of| of.event_type.len()).max().unwrap_or(0).min(width / 3);
    let bars = width.saturating_sub(2 + names + 2 + digits + 1);
    let line = |of: &super::super::ask::TypeCount| {
        let name = look.glyphs.pad(&of.event_type, names);
        let count = thousands(of.count);
        let bar = look.glyphs.lying(of.count, highest, bars);
        let text = look.span(Role::Plain, format!("  {name}  {count:>digits$} "));
        Line::from(vec![text, look.span(Role::Bar, bar)])
    };
    types.iter().map(line).collect()
}

/// A chart under a heading that says how high it is.
fn series(
    look: Look,
    title: &str,
    step: &str,
    counts: &[u64],
    width: usize,
    rows: usize,
) -> Vec<Line<'static>> {
    if rows == 0 {
        return Vec::new();
    }
    let highest = counts.iter().copied().max().unwrap_or(0);
    let all = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let dot = look.glyphs.dot;
    let more = format!("{} {dot} most in a {step} {}", thousands(all), thousands(highest));
    let mut lines = vec![heading(look, title, &more, width)];
    lines.extend(chart(look, counts, width, rows));
    lines
}
