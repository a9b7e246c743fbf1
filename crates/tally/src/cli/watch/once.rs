//! One snapshot without a terminal: as text, drawn like the view, or as JSON.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde::Serialize;

use super::ask::{AskError, Asker, ItemNumbers};
use super::draw::{Look, draw};
use super::live::now_ms;
use super::state::{Row, State};
use super::vitals::Vitals;
use crate::cli::glyphs::Glyphs;

/// Lines of the page that is drawn for it.
const LINES: u16 = 44;

/// A snapshot as JSON.
#[derive(Serialize)]
pub(super) struct Snapshot<'a> {
    url: &'a str,
    time: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    is_ready: bool,
    /// Why the server is not ready.
    #[serde(skip_serializing_if = "str::is_empty")]
    not_ready: &'a str,
    /// What was accepted between two looks.
    events_per_second: Option<u64>,
    counted_per_second: Option<u64>,
    server: Option<&'a Vitals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<&'a [Row]>,
    /// Left out where the server has no trending.
    #[serde(skip_serializing_if = "Option::is_none")]
    trending: Option<&'a [api::TrendingItem]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a ItemNumbers>,
}

impl<'a> Snapshot<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let time = jiff::Timestamp::from_millisecond(state.now_ms).unwrap_or_default();
        Self {
            url: &state.url,
            time: format!("{time:.3}"),
            event_type: &state.event_type,
            is_ready: state.not_ready.is_empty(),
            not_ready: &state.not_ready,
            events_per_second: state.rates.map(|(accepted, _)| accepted),
            counted_per_second: state.rates.map(|(_, counted)| counted),
            server: state.vitals.as_ref(),
            top: state.top.as_deref(),
            trending: state.trending.as_deref(),
            item: state.numbers.as_ref(),
        }
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the server refuses: {0}")]
    Refused(String),
}

/// Looks twice, an interval apart: what happens in a second takes two looks to see.
///
/// # Errors
/// When the server does not answer, or refuses what it is asked.
pub(super) async fn look(
    mut state: State,
    mut asker: Asker,
    interval: Duration,
) -> Result<State, LookError> {
    for is_first in [true, false] {
        if !is_first {
            tokio::time::sleep(interval).await;
            asker.start_over();
        }
        state.now_ms = now_ms();
        let answer = asker.ask(&state.question()).await?;
        state.now_ms = now_ms();
        state.hear(Ok(answer));
        if let Some(why) = state.refused.take() {
            return Err(LookError::Refused(why));
        }
    }
    Ok(state)
}

/// The page as lines, without the keys and without blanks at the ends.
pub(super) fn text(state: &State, glyphs: &'static Glyphs, width: usize) -> String {
    let width = u16::try_from(width).unwrap_or(u16::MAX).clamp(1, 500);
    let area = Rect::new(0, 0, width, LINES);
    let mut buffer = Buffer::empty(area);
    draw(state, Look { glyphs, has_color: false }, area, &mut buffer);
    // The last line says which keys there are.
    let lines = (0..LINES - 1).map(|y| line_of(&buffer, y));
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.truncate(text.trim_end().len());
    text
}

/// A line of a buffer as text. A wide character has its second column skipped.
pub(super) fn line_of(buffer: &Buffer, y: u16) -> String {
    let mut line = String::new();
    let mut x = buffer.area.left();
    while x < buffer.area.right() {
        let symbol = buffer[(x, y)].symbol();
        line.push_str(symbol);
        x += (crate::cli::glyphs::columns_of(symbol) as u16).max(1);
    }
    line.truncate(line.trim_end().len());
    line
}
