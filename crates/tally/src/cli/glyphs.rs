//! The characters that bars are made of: block elements, or ASCII where the locale has no UTF-8.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// What a terminal can show.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Glyphs {
    /// From the lowest visible bar to a full one.
    pub(crate) bars: [char; 8],
    /// Between parts of a line.
    pub(crate) dot: &'static str,
    /// Stands for what was cut off.
    pub(crate) ellipsis: &'static str,
    pub(crate) is_ascii: bool,
}

pub(crate) const UNICODE: Glyphs = Glyphs {
    bars: ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    dot: "·",
    ellipsis: "…",
    is_ascii: false,
};

pub(crate) const ASCII: Glyphs = Glyphs {
    bars: ['.', ':', '-', '=', '+', '*', '%', '#'],
    dot: "-",
    ellipsis: "~",
    is_ascii: true,
};

impl Glyphs {
    /// The glyphs of this process's locale.
    pub(crate) fn of_locale() -> &'static Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// ASCII only where a locale is set that is not UTF-8: containers set none, and their terminals
    /// show UTF-8 all the same.
    fn of(variable: impl Fn(&str) -> Option<String>) -> &'static Self {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"];
        let set = names.into_iter().filter_map(variable).find(|text| !text.is_empty());
        let is_utf8 = set.is_none_or(|locale| {
            let locale = locale.to_ascii_uppercase();
            locale.contains("UTF-8") || locale.contains("UTF8")
        });
        if is_utf8 { &UNICODE } else { &ASCII }
    }

    /// The bar of a number that is at most `highest`, in eighths of so many rows: zero is none, and
    /// anything above zero can be seen.
    pub(crate) fn eighths(number: u64, highest: u64, rows: usize) -> usize {
        // In 128 bits: a count can be near 2^64.
        let all = rows as u128 * 8;
        (u128::from(number) * all).div_ceil(u128::from(highest.max(1))).min(all) as usize
    }

    /// A line of bars, at most `width` of them: neighbours are added where there are more counts.
    /// The highest is a full bar, zero is a blank.
    pub(crate) fn sparkline(&self, counts: &[u64], width: usize) -> String {
        self.columns(counts, width, 1).concat()
    }

    /// Upright bars in so many rows, the highest row first; see [`Self::sparkline`].
    pub(crate) fn columns(&self, counts: &[u64], width: usize, rows: usize) -> Vec<String> {
        let per_bar = counts.len().div_ceil(width.max(1)).max(1);
        let add = |chunk: &[u64]| chunk.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
        let sums: Vec<u64> = counts.chunks(per_bar).map(add).collect();
        let highest = sums.iter().copied().max().unwrap_or(0);
        let levels = sums.iter().map(|&sum| Self::eighths(sum, highest, rows));
        let levels: Vec<usize> = levels.collect();
        let cell = |level: usize, row: usize| match level.saturating_sub(row * 8).min(8) {
            0 => ' ',
            eighths => self.bars[eighths - 1],
        };
        (0..rows).rev().map(|row| levels.iter().map(|&level| cell(level, row)).collect()).collect()
    }

    /// A bar that lies on its side, at most `width` long; anything above zero can be seen.
    pub(crate) fn lying(&self, number: u64, highest: u64, width: usize) -> String {
        let length = u128::from(number) * width as u128 / u128::from(highest.max(1));
        let length = (length as usize).clamp(usize::from(number > 0).min(width), width);
        self.bars[7].to_string().repeat(length)
    }

    /// Text of others in at most so many columns: control characters become visible instead of
    /// working, and what is cut off leaves an ellipsis. Never cuts within a character as people see
    /// it, so the text may be a column shorter.
    pub(crate) fn fit(&self, text: &str, width: usize) -> String {
        let text = self.visible(text);
        if columns_of(&text) <= width {
            return text.into_owned();
        }
        let room = width.saturating_sub(columns_of(self.ellipsis));
        let mut cut = String::new();
        let mut used = 0;
        for character in text.graphemes(true) {
            used += columns_of(character);
            if used > room {
                break;
            }
            cut.push_str(character);
        }
        if width > 0 {
            cut.push_str(self.ellipsis);
        }
        cut
    }

    /// As [`Self::fit`], filled with blanks to exactly so many columns.
    pub(crate) fn pad(&self, text: &str, width: usize) -> String {
        let mut text = self.fit(text, width);
        let blanks = width.saturating_sub(columns_of(&text));
        text.extend(std::iter::repeat_n(' ', blanks));
        text
    }

    /// Text without what the terminal would obey or cannot show.
    fn visible<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let is_shown = |c: char| !is_obeyed(c) && (c.is_ascii() || !self.is_ascii);
        if text.chars().all(is_shown) {
            return Cow::Borrowed(text);
        }
        let stand_in = if self.is_ascii { '?' } else { char::REPLACEMENT_CHARACTER };
        text.chars().map(|c| if is_shown(c) { c } else { stand_in }).collect()
    }
}

/// Columns of a terminal that a text takes: two for most of Chinese, Japanese, Korean and emoji.
pub(crate) fn columns_of(text: &str) -> usize {
    text.width()
}

/// Control characters, and those that turn the direction of what follows.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_without_utf8_has_ascii() {
        let of = |set: &[(&str, &str)]| {
            Glyphs::of(|name| {
                let found = set.iter().find(|(other, _)| *other == name);
                found.map(|(_, text)| (*text).to_owned())
            })
            .is_ascii
        };
        assert!(of(&[("LANG", "C")]) && of(&[("LC_ALL", "POSIX"), ("LANG", "de_DE.UTF-8")]));
        assert!(!of(&[]) && !of(&[("LANG", "")]) && !of(&[("LANG", "C.UTF-8")]));
        assert!(!of(&[("LC_ALL", ""), ("LC_CTYPE", "de_DE.utf8"), ("LANG", "C")]));
    }

    #[test]
    fn a_sparkline_shows_zero_one_and_the_highest_apart() {
        assert_eq!(UNICODE.sparkline(&[0, 1, 800, 400], 80), " ▁█▄");
        assert_eq!(UNICODE.sparkline(&[u64::MAX, 1], 80), "█▁");
        assert_eq!(UNICODE.sparkline(&[], 80), "");
        assert_eq!(UNICODE.sparkline(&[0, 0], 80), "  ");
        assert_eq!(ASCII.sparkline(&[0, 1, 800, 400], 80), " .#=");
    }

    #[test]
    fn a_sparkline_fits_by_adding_neighbours() {
        assert_eq!(UNICODE.sparkline(&[1, 1, 2, 2, 4], 3), "▄██");
        assert_eq!(UNICODE.sparkline(&[1; 1000], 10).chars().count(), 10);
        assert_eq!(UNICODE.sparkline(&[u64::MAX, u64::MAX, 1], 2), "█▁");
    }

    #[test]
    fn columns_grow_from_the_lowest_row() {
        assert_eq!(UNICODE.columns(&[0, 1, 8, 16], 10, 2), ["   █", " ▁██"]);
        assert_eq!(ASCII.columns(&[12, 16], 10, 2), ["=#", "##"]);
    }

    #[test]
    fn a_lying_bar_is_seen_and_never_longer_than_its_room() {
        assert_eq!(UNICODE.lying(1, 1000, 10), "█");
        assert_eq!(UNICODE.lying(0, 1000, 10), "");
        assert_eq!(UNICODE.lying(u64::MAX, u64::MAX, 3), "███");
        assert_eq!(ASCII.lying(2, 1, 3), "###");
        assert_eq!(ASCII.lying(2, 1, 0), "");
    }

    #[test]
    fn text_is_cut_between_characters_as_people_see_them() {
        assert_eq!(UNICODE.fit("night trains", 12), "night trains");
        assert_eq!(UNICODE.fit("night trains", 8), "night t…");
        // Two columns each: a column stays free rather than half a character.
        assert_eq!(UNICODE.fit("夜行列車", 6), "夜行…");
        assert_eq!(columns_of(&UNICODE.pad("夜行列車", 6)), 6);
        // A family is one character of seven code points.
        let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
        assert_eq!(UNICODE.fit(&format!("{family}{family}"), 3), format!("{family}…"));
        assert_eq!(UNICODE.fit("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!((UNICODE.fit("ab", 1).as_str(), UNICODE.fit("ab", 0).as_str()), ("…", ""));
        assert_eq!(ASCII.fit("Brücken", 5), "Br?c~");
        assert_eq!(UNICODE.fit("a\u{1b}[2J\u{202e}b", 9), "a\u{fffd}[2J\u{fffd}b");
    }
}
