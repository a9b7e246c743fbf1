//! The overview: events a second, the most counted items, what grows, and how the server is.

use ratatui::text::Line;

use super::super::look::{Look, Role};
use super::super::state::State;
use super::{chart, heading};
use crate::cli::glyphs::columns_of;
use crate::cli::output::thousands;

/// Rows of the list of what grows, where it stands below the other.
const TRENDING_STACKED: usize = 5;
/// From so many lines on there is room for it.
const TRENDING_FROM: usize = 18;
/// A list has at least so many rows before anything else gets room.
const ROWS_MIN: usize = 3;

/// Everything below each other, for narrow terminals.
pub(super) fn stacked(
    state: &State,
    look: Look,
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let mut health = health(state, look, width);
    health.truncate(if height >= 14 { 4 } else { 1 });
    let trending = state.trending.as_deref().unwrap_or(&[]).len().min(TRENDING_STACKED);
    let trending = if height >= TRENDING_FROM { trending } else { 0 };
    let below = health.len() + if trending > 0 { trending + 1 } else { 0 };
    let mut lines = traffic(state, look, width, height.saturating_sub(below));
    if trending > 0 {
        lines.extend(growing(state, look, width, trending + 1));
    }
    lines.extend(health);
    lines
}

/// Events a second and the most counted items.
pub(super) fn traffic(
    state: &State,
    look: Look,
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let mut lines = rates(state, look, width, chart_rows(height));
    lines.extend(top(state, look, width, height.saturating_sub(lines.len())));
    lines
}

/// What grows and how the server is, beside the rest.
pub(super) fn side(state: &State, look: Look, width: usize, height: usize) -> Vec<Line<'static>> {
    let health = health(state, look, width);
    let room = height.saturating_sub(health.len() + 1);
    let mut lines = growing(state, look, width, room);
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines.extend(health);
    lines
}

fn chart_rows(height: usize) -> usize {
    match height {
        0..10 => 1,
        10..16 => 2,
        16..24 => 3,
        _ => 5,
    }
}

fn rates(state: &State, look: Look, width: usize, rows: usize) -> Vec<Line<'static>> {
    let (title, more) = match state.rates {
        Some((accepted, counted)) => (
            format!("{} events/s", thousands(accepted)),
            format!("accepted {} {}/s counted", look.glyphs.dot, thousands(counted)),
        ),
        None => ("- events/s".into(), String::new()),
    };
    let history: Vec<u64> = state.rate_history.iter().copied().collect();
    let mut lines = vec![heading(look, &title, &more, width)];
    // The newest are at the right, however many there are yet.
    let newest = &history[history.len().saturating_sub(width)..];
    let blanks = vec![0; width.saturating_sub(newest.len())];
    lines.extend(chart(look, &[&blanks, newest].concat(), width, rows));
    lines
}

fn top(state: &State, look: Look, width: usize, height: usize) -> Vec<Line<'static>> {
    let title = format!("top of {}", state.event_type);
    let mut lines = vec![heading(look, &title, "last hour", width)];
    let room = height.saturating_sub(lines.len());
    let rows = match state.top.as_deref() {
        Some(rows) if !rows.is_empty() => rows,
        none => {
            let text = if none.is_some() { "no events" } else { "asking..." };
            lines.push(look.line(Role::Quiet, text));
            return lines;
        }
    };
    // What is selected stays in view.
    let selected = state.selected();
    let at = rows.iter().position(|row| Some(row.item.as_str()) == selected).unwrap_or(0);
    let from = (at + 1).saturating_sub(room.max(1));
    let shown = rows.iter().enumerate().skip(from).take(room);
    let highest = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let digits = rows.iter().map(|row| thousands(row.count).len()).max().unwrap_or(0);
    let bars = if width >= 40 { width / 4 } else { 0 };
    let names = width.saturating_sub(4 + digits + 2 + bars + 1);
    for (rank, row) in shown {
        let (rank, count) = (rank + 1, thousands(row.count));
        let name = look.glyphs.pad(row.title.as_deref().unwrap_or(&row.item), names);
        let role = if Some(row.item.as_str()) == selected { Role::Selected } else { Role::Plain };
        let bar = look.glyphs.lying(row.count, highest, bars);
        lines.push(Line::from(vec![
            look.span(Role::Quiet, format!("{rank:>3} ")),
            look.span(role, format!("{name}  {count:>digits$}")),
            look.span(Role::Bar, format!(" {bar}")),
        ]));
    }
    lines
}

/// What grows, with how much it has and had; nothing where the server does not say.
fn growing(state: &State, look: Look, width: usize, height: usize) -> Vec<Line<'static>> {
    let Some(trending) = &state.trending else { return Vec::new() };
    let mut lines = vec![heading(look, "trending", "last hour, and the one before", width)];
    if trending.is_empty() {
        lines.push(look.line(Role::Quiet, "nothing grows"));
    }
    let growth = |count: u64, before: u64| format!("{} < {}", thousands(count), thousands(before));
    let selected = state.selected();
    for trend in trending.iter().take(height.saturating_sub(1).max(ROWS_MIN)) {
        let growth = growth(trend.count, trend.before);
        let names = width.saturating_sub(columns_of(&growth) + 2);
        let name = look.glyphs.pad(trend.title.as_deref().unwrap_or(&trend.item), names);
        let role = if Some(trend.item.as_str()) == selected { Role::Selected } else { Role::Plain };
        let growth = look.span(Role::Quiet, format!("  {growth}"));
        lines.push(Line::from(vec![look.span(role, name), growth]));
    }
    lines
}

/// Lag, errors, room: the most urgent first.
fn health(state: &State, look: Look, width: usize) -> Vec<Line<'static>> {
    let Some(vitals) = &state.vitals else { return Vec::new() };
    let dot = look.glyphs.dot;
    let lags = vitals.partitions.iter().map(|lag| thousands(lag.lag_events));
    let lags = lags.collect::<Vec<_>>().join(" ");
    let lag = format!("lag {} by partition: {lags}", thousands(vitals.lag_events()));
    let errors = format!(
        "refused {} {dot} errors {} {dot} dead letters {}",
        thousands(vitals.rejected),
        thousands(vitals.errors),
        thousands(vitals.dead_letters)
    );
    let disk = vitals.disk_free_bytes.map_or_else(|| "?".into(), gibibytes);
    let room = format!(
        "disk {disk} free {dot} queue {:.0}% {dot} fresh {:.1} s",
        vitals.queue_fill_ratio * 100.0,
        vitals.freshness_seconds
    );
    let counted = format!(
        "counted {} {dot} repeats {}",
        thousands(vitals.counted),
        thousands(vitals.duplicates)
    );
    let is_wrong = vitals.errors > 0 || vitals.dead_letters > 0;
    let line = |role: Role, text: String| look.line(role, look.glyphs.fit(&text, width));
    vec![
        line(Role::Plain, lag),
        line(if is_wrong { Role::Bad } else { Role::Plain }, errors),
        line(Role::Quiet, room),
        line(Role::Quiet, counted),
    ]
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
