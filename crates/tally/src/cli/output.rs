//! What commands print: text that survives a closed pipe, tables, thousands, sparklines.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use comfy_table::{ContentArrangement, Table};

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
    table
}

/// Columns that the output has.
pub(crate) fn width() -> usize {
    table().width().map_or(DEFAULT_WIDTH, usize::from)
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

/// A line of bars, at most `width` of them: neighbours are added where there are more counts. The
/// highest is a full bar, zero is a blank, and anything above zero can be seen.
pub(crate) fn sparkline(counts: &[u64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let per_bar = counts.len().div_ceil(width.max(1)).max(1);
    let sums: Vec<u64> = counts.chunks(per_bar).map(|chunk| chunk.iter().sum()).collect();
    let highest = sums.iter().copied().max().unwrap_or(0);
    let bar = |sum: u64| match sum {
        0 => ' ',
        // Rounded up, in 128 bits: a count can be near 2^64.
        sum => BARS[(u128::from(sum) * 8).div_ceil(u128::from(highest)) as usize - 1],
    };
    sums.into_iter().map(bar).collect()
}

/// Text of others on a terminal: control characters become visible instead of working.
pub(crate) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
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
    fn a_sparkline_shows_zero_one_and_the_highest_apart() {
        assert_eq!(sparkline(&[0, 1, 800, 400], 80), " ▁█▄");
        assert_eq!(sparkline(&[u64::MAX, 1], 80), "█▁");
        assert_eq!(sparkline(&[], 80), "");
        assert_eq!(sparkline(&[0, 0], 80), "  ");
    }

    #[test]
    fn a_sparkline_fits_by_adding_neighbours() {
        assert_eq!(sparkline(&[1, 1, 2, 2, 4], 3), "▄██");
        assert_eq!(sparkline(&[1; 1000], 10).chars().count(), 10);
    }
}
