//! Draws the state into a buffer: a pure function, so that tests read what a terminal would show.
//!
//! A page is lines, made for a width and a height; a wide terminal has two pages' worth side by
//! side.

mod digits;
mod item;
mod overview;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;

pub(crate) use super::look::Look;
use super::look::Role;
use super::state::State;
use crate::cli::glyphs::columns_of;

/// From so many columns on, lists stand side by side.
const WIDE: usize = 100;
/// Blank columns between them.
const GAP: usize = 3;

/// Draws everything. An area of any size is good; what has no room is left out.
pub(crate) fn draw(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut top = header(state, look, width);
    let foot = footer(state, look, width);
    top.truncate(height);
    let room = height.saturating_sub(top.len() + 1);
    let rows =
        |from: usize, lines: usize| Rect { y: area.y + from as u16, height: lines as u16, ..area };
    put(&top, rows(0, top.len()), buffer);
    if top.len() < height {
        put(&[foot], rows(height - 1, 1), buffer);
    }
    let body = rows(top.len(), room);
    if state.is_help_shown {
        put(&help(look), body, buffer);
    } else if state.answered_ms.is_none() {
        let text = if state.away.is_some() { "no numbers yet" } else { "asking..." };
        put(&[look.line(Role::Quiet, text)], body, buffer);
    } else if state.item.is_some() {
        put(&item::lines(state, look, width, room), body, buffer);
    } else if width >= WIDE {
        let left = (width - GAP) * 3 / 5;
        let right = width - GAP - left;
        let half =
            |x: usize, width: usize| Rect { x: body.x + x as u16, width: width as u16, ..body };
        put(&overview::traffic(state, look, left, room), half(0, left), buffer);
        put(&overview::side(state, look, right, room), half(left + GAP, right), buffer);
    } else {
        put(&overview::stacked(state, look, width, room), body, buffer);
    }
}

/// Lines from the top of an area, those that fit.
fn put(lines: &[Line<'_>], area: Rect, buffer: &mut Buffer) {
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        line.render(Rect { y, height: 1, ..area }, buffer);
    }
}

/// The server and how it is; what is wrong has lines of its own.
fn header(state: &State, look: Look, width: usize) -> Vec<Line<'static>> {
    let dot = look.glyphs.dot;
    let health = match (&state.away, state.not_ready.is_empty(), state.answered_ms) {
        (Some(_), ..) => (Role::Bad, "away"),
        (_, _, None) => (Role::Quiet, "connecting"),
        (_, true, _) => (Role::Good, "ready"),
        (_, false, _) => (Role::Bad, "not ready"),
    };
    let room = width.saturating_sub(columns_of(health.1) + 3);
    let name = look.glyphs.fit(&format!("tally {dot} {}", state.url), room);
    let mut lines = vec![Line::from(vec![
        look.span(Role::Heading, name),
        look.span(Role::Quiet, format!(" {dot} ")),
        look.span(health.0, health.1),
    ])];
    let mut complain = |text: String| {
        lines.push(look.line(Role::Bad, look.glyphs.fit(&text, width)));
    };
    if let Some(away) = &state.away {
        let seconds = (state.now_ms - away.since_ms).max(0) / 1_000;
        complain(format!("! no answer since {} ({seconds} s)", clock(away.since_ms)));
        if let Some(answered_ms) = state.answered_ms {
            complain(format!("! OLD numbers, of {}", clock(answered_ms)));
        }
        complain(format!("! {}", away.why));
    } else if !state.not_ready.is_empty() {
        complain(format!("! {}", state.not_ready));
    }
    if let Some(refused) = &state.refused {
        complain(format!("! {refused}"));
    }
    lines
}

fn footer(state: &State, look: Look, width: usize) -> Line<'static> {
    let dot = look.glyphs.dot;
    let keys: &[&str] = match (state.is_help_shown, &state.item) {
        (true, _) => &["q quit", "any key goes back"],
        (_, Some(_)) => &["q quit", "? help", "t type", "esc back"],
        (_, None) => &["q quit", "? help", "t type", "tab select", "enter open"],
    };
    // Those that fit, the most needed first.
    let mut line = String::new();
    for key in keys {
        let longer =
            if line.is_empty() { (*key).to_owned() } else { format!("{line} {dot} {key}") };
        if columns_of(&longer) > width {
            break;
        }
        line = longer;
    }
    look.line(Role::Quiet, line)
}

fn help(look: Look) -> Vec<Line<'static>> {
    let keys = [
        ("tab, down", "select the next item"),
        ("shift-tab, up", "select the one before"),
        ("enter", "open the selected item"),
        ("esc", "back to the overview, or quit"),
        ("t", "the next event type"),
        ("q, ctrl-c", "quit"),
    ];
    let line = |(keys, does): (&str, &str)| {
        let keys = look.glyphs.pad(keys, 15);
        Line::from(vec![look.span(Role::Heading, keys), look.span(Role::Plain, does)])
    };
    let mut lines = vec![Line::default()];
    lines.extend(keys.map(line));
    let times = "Times are UTC. Numbers are those of the server, asked once per interval.";
    lines.extend([Line::default(), look.line(Role::Quiet, times)]);
    lines
}

/// `12:03:04 UTC`.
fn clock(epoch_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(epoch_ms).unwrap_or_default();
    time.strftime("%H:%M:%S UTC").to_string()
}

/// A line of a heading and what goes with it, cut to the width.
fn heading(look: Look, title: &str, more: &str, width: usize) -> Line<'static> {
    let title = look.glyphs.fit(title, width);
    let room = width.saturating_sub(columns_of(&title) + 2);
    let more = if more.is_empty() || room == 0 { String::new() } else { format!("  {more}") };
    let more = look.glyphs.fit(&more, room + 2);
    Line::from(vec![look.span(Role::Heading, title), look.span(Role::Quiet, more)])
}

/// Upright bars, the newest to the right, each as many columns wide as there is room for.
fn chart(look: Look, counts: &[u64], width: usize, rows: usize) -> Vec<Line<'static>> {
    let wide = (width / counts.len().max(1)).clamp(1, 3);
    let lines = look.glyphs.columns(counts, width / wide, rows);
    let stretch = |line: String| -> String {
        line.chars().flat_map(|bar| std::iter::repeat_n(bar, wide)).collect()
    };
    lines.into_iter().map(|line| look.line(Role::Bar, stretch(line))).collect()
}

#[cfg(test)]
mod tests;
