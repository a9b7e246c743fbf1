//! Numbers that are read from across the room.

use crate::cli::glyphs::Glyphs;

/// Rows of a digit.
const ROWS: usize = 5;

/// The rows of a digit or comma, top first: a bit a cell, the leftmost the highest.
fn rows_of(digit: char) -> (usize, [u8; ROWS]) {
    match digit {
        '0' => (3, [0b111, 0b101, 0b101, 0b101, 0b111]),
        '1' => (3, [0b010, 0b110, 0b010, 0b010, 0b111]),
        '2' => (3, [0b111, 0b001, 0b111, 0b100, 0b111]),
        '3' => (3, [0b111, 0b001, 0b111, 0b001, 0b111]),
        '4' => (3, [0b101, 0b101, 0b111, 0b001, 0b001]),
        '5' => (3, [0b111, 0b100, 0b111, 0b001, 0b111]),
        '6' => (3, [0b111, 0b100, 0b111, 0b101, 0b111]),
        '7' => (3, [0b111, 0b001, 0b001, 0b010, 0b010]),
        '8' => (3, [0b111, 0b101, 0b111, 0b101, 0b111]),
        '9' => (3, [0b111, 0b101, 0b111, 0b001, 0b111]),
        ',' => (1, [0, 0, 0, 1, 1]),
        _ => (1, [0; ROWS]),
    }
}

/// A number with its commas in large digits; none where it is wider than its room. Half blocks make
/// two rows one; ASCII takes a row for each.
pub(super) fn large(number: &str, width: usize, glyphs: &Glyphs) -> Option<Vec<String>> {
    let digits: Vec<(usize, [u8; ROWS])> = number.chars().map(rows_of).collect();
    let columns: usize = digits.iter().map(|(cells, _)| cells + 1).sum();
    if columns.saturating_sub(1) > width {
        return None;
    }
    let row = |at: usize| -> Vec<bool> {
        let cells = digits.iter().flat_map(|&(cells, rows)| {
            let bits = rows.get(at).copied().unwrap_or(0);
            (0..=cells).map(move |cell| cell < cells && bits >> (cells - 1 - cell) & 1 == 1)
        });
        cells.collect()
    };
    if glyphs.is_ascii {
        let line = |at| row(at).into_iter().map(|is_on| if is_on { '#' } else { ' ' }).collect();
        return Some((0..ROWS).map(line).collect());
    }
    let line = |at: usize| {
        let halves = row(2 * at).into_iter().zip(row(2 * at + 1));
        let cell = |half| match half {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        halves.map(cell).collect()
    };
    Some((0..ROWS.div_ceil(2)).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::glyphs::{ASCII, UNICODE};

    #[test]
    fn digits_are_drawn_by_half_blocks_or_ascii() {
        let lines = large("1,20", 13, &UNICODE).expect("it fits");
        assert_eq!(lines, ["▄█    ▀▀█ █▀█ ", " █  ▄ █▀▀ █ █ ", "▀▀▀ ▀ ▀▀▀ ▀▀▀ "]);
        assert_eq!(
            large("7", 3, &ASCII).expect("it fits"),
            ["### ", "  # ", "  # ", " #  ", " #  "]
        );
        assert_eq!(large("1,20", 12, &UNICODE), None);
    }
}
