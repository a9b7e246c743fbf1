//! What commands print: text that survives a closed pipe, tables and headings that fit, thousands.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use comfy_table::{ContentArrangement, Table};

use super::glyphs::{self, columns_of};

/// Columns assumed where the output is no terminal.
const DEFAULT_WIDTH: usize = 80;

/// Writes text and a line end to standard output. A reader that has gone (`| head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
        .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Writes the server's JSON unchanged.
pub(crate) fn print_json(body: &[u8]) -> anyhow::Result<()> {
    print(std::str::from_utf8(body).context("the answer is not UTF-8")?)
}

/// An empty table without frames, as wide as the terminal.
pub(crate) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = columns_wanted() {
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    table
}

/// Columns that the output has.
pub(crate) fn width() -> usize {
    known_width().unwrap_or(DEFAULT_WIDTH)
}

/// Columns of the terminal, or those that `COLUMNS` says; none in a pipe.
pub(crate) fn known_width() -> Option<usize> {
    columns_wanted().or_else(|| Table::new().width().map(usize::from))
}

/// What the variable `COLUMNS` says, as terminals and scripts set it.
fn columns_wanted() -> Option<usize> {
    std::env::var("COLUMNS").ok()?.trim().parse().ok().filter(|&columns| columns > 0)
}

/// Whether the environment asks for no colours (<https://no-color.org>).
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty())
}

/// Parts of a heading on one line, or on several where they do not fit.
pub(crate) fn heading(parts: &[String], dot: &str, width: Option<usize>) -> String {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let joined = lines.last().map(|line| format!("{line} {dot} {part}"));
        match (joined, lines.last_mut()) {
            (Some(joined), Some(line))
                if width.is_none_or(|width| columns_of(&joined) <= width) =>
            {
                *line = joined;
            }
            _ => lines.push(part.clone()),
        }
    }
    lines.join("\n")
}

/// Rows of columns as wide as their longest cell, the first to the left and the others to the
/// right, as [`table`] sets them; none where that is wider than the terminal.
pub(crate) fn aligned(rows: &[Vec<String>], width: usize) -> Option<String> {
    let cells = rows.iter().map(Vec::len).max().unwrap_or(0);
    let longest =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|c| columns_of(c)).max();
    let longest: Vec<usize> = (0..cells).filter_map(longest).collect();
    if 1 + longest.iter().sum::<usize>() + 2 * cells.saturating_sub(1) > width {
        return None;
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, &longest)) in row.iter().zip(&longest).enumerate() {
            let blanks = " ".repeat(longest.saturating_sub(columns_of(cell)));
            line += &match at {
                0 => format!(" {cell}{blanks}"),
                _ => format!("  {blanks}{cell}"),
            };
        }
        out += line.trim_end();
        out.push('\n');
    }
    Some(out)
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Text of others on a terminal: control characters become visible instead of working.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if glyphs::is_obeyed(c) { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        let numbers = [0, 999, 1000, 123_456, 1_234_567, u64::MAX];
        let texts = ["0", "999", "1,000", "123,456", "1,234,567", "18,446,744,073,709,551,615"];
        assert_eq!(numbers.map(thousands), texts);
    }

    #[test]
    fn columns_are_as_wide_as_they_are_seen() {
        let rows = [["夜", "1"], ["abc", "1,000"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows, 11).as_deref(), Some(" 夜       1\n abc  1,000\n"));
        assert_eq!(aligned(&rows, 10), None);
    }

    #[test]
    fn a_heading_breaks_between_its_parts() {
        let parts = ["top of view", "S to E", "as of A"].map(str::to_owned);
        assert_eq!(heading(&parts, "·", None), "top of view · S to E · as of A");
        assert_eq!(heading(&parts, "·", Some(20)), "top of view · S to E\nas of A");
        assert_eq!(heading(&parts, "·", Some(1)), "top of view\nS to E\nas of A");
    }
}
