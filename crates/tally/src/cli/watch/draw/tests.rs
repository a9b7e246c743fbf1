//! What a terminal shows of a state, at several sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use super::super::ask::{Answer, ItemNumbers, TypeCount};
use super::super::once::line_of;
use super::super::state::State;
use super::super::vitals::{PartitionLag, Vitals};
use super::{Look, draw};
use crate::cli::glyphs::{ASCII, UNICODE, columns_of};

const COLORS: Look = Look { glyphs: &UNICODE, has_color: true };
const NO_COLOR: Look = Look { glyphs: &UNICODE, has_color: false };
const PLAIN: Look = Look { glyphs: &ASCII, has_color: false };

/// 2026-11-22T08:00:00Z.
const NOW_MS: i64 = 1_795_334_400_000;

fn vitals(accepted: u64) -> Vitals {
    let lag = |partition, lag_events| PartitionLag { partition, lag_events };
    Vitals {
        accepted,
        counted: accepted - 12,
        disk_free_bytes: Some(58 << 30),
        queue_fill_ratio: 0.25,
        freshness_seconds: 0.04,
        partitions: vec![lag(0, 0), lag(1, 12)],
        ..Vitals::default()
    }
}

fn answer(accepted: u64) -> Answer {
    let top = serde_json::from_str(
        r#"{"type":"view","start":"S","end":"E","as_of":"A","items":[
            {"item":"lXwCQ0hFSaF","count":1234567,"title":"Night trains, the long version"},
            {"item":"b","count":617283,"title":"夜行列車で北へ"},
            {"item":"c","count":1}]}"#,
    );
    let trend = api::TrendingItem {
        item: "b".into(),
        title: None,
        count: 617_283,
        before: 1_024,
        score: 9.5,
    };
    Answer {
        vitals: vitals(accepted),
        not_ready: String::new(),
        top: Some(top.expect("an answer of the contract")),
        trending: Some(vec![trend]),
        item: None,
        refused: None,
    }
}

/// The overview after two answers, a second apart.
fn overview() -> State {
    let mut state = State::new("http://127.0.0.1:8080", None, "view", NOW_MS);
    for (second, accepted) in [(0, 1_000), (1, 2_000), (2, 4_013)] {
        state.now_ms = NOW_MS + second * 1_000;
        state.hear(Ok(answer(accepted)));
    }
    state
}

fn item() -> State {
    let mut state = State::new("http://127.0.0.1:8080", Some("b"), "view", NOW_MS);
    let total = serde_json::from_str(r#"{"count":1234567,"sum":19.75,"average":null}"#);
    let of = |event_type: &str, count| TypeCount { event_type: event_type.into(), count };
    let numbers = ItemNumbers {
        item: "b".into(),
        title: Some("夜行列車で北へ".into()),
        event_type: "view".into(),
        total: total.expect("a summary"),
        types: vec![of("view", 1_234_567), of("like", 308_642)],
        minutes: (1..=60).collect(),
        hours: (0..48).map(|hour| hour % 24).collect(),
        as_of: "A".into(),
    };
    state.hear(Ok(Answer { item: Some(numbers), top: None, trending: None, ..answer(1_000) }));
    state
}

fn shown(state: &State, look: Look, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let draw = |frame: &mut ratatui::Frame<'_>| draw(state, look, frame.area(), frame.buffer_mut());
    terminal.draw(draw).expect("it draws");
    let buffer = terminal.backend().buffer();
    (0..height).map(|y| line_of(buffer, y)).collect()
}

/// Compares lines, of which the shown ones may be more: they are then blank, but for the keys.
fn assert_shown(state: &State, look: Look, (width, height): (u16, u16), expected: &str) {
    let shown = shown(state, look, width, height);
    let (keys, shown) = shown.split_last().expect("a line");
    let expected: Vec<&str> = expected.lines().collect();
    let blanks = vec![""; shown.len().saturating_sub(expected.len())];
    assert_eq!(shown, [expected, blanks].concat(), "{width} x {height}\n{}", shown.join("\n"));
    assert!(keys.starts_with("q quit"), "{keys}");
}

#[test]
fn a_narrow_overview_has_everything_below_each_other() {
    let expected = "\
tally · http://127.0.0.1:8080 · ready
2,013 events/s  accepted · 2,013/s coun…
                                       █
                                      ▄█
                                      ██
top of view  last hour
  1 Night trains,…  1,234,567 ██████████
  2 夜行列車で北へ    617,283 ████
  3 c                       1 █
trending  last hour, and the one before
b                        617,283 < 1,024
lag 12 by partition: 0 12
refused 0 · errors 0 · dead letters 0
disk 58.0 GiB free · queue 25% · fresh …
counted 4,001 · repeats 0";
    assert_shown(&overview(), COLORS, (40, 24), expected);
}

#[test]
fn a_short_overview_in_ascii_keeps_the_list() {
    let expected = "\
tally - http://127.0.0.1:8080 - ready
2,013 events/s  accepted - 2,013/s coun~
                                       #
                                      ##
top of view  last hour
  1 Night trains,~  1,234,567 ##########
  2 ???????           617,283 ####
  3 c                       1 #
lag 12 by partition: 0 12";
    assert_shown(&overview(), PLAIN, (40, 14), expected);
}

#[test]
fn a_wide_overview_has_two_sides() {
    let expected = "\
tally · http://127.0.0.1:8080 · ready
2,013 events/s  accepted · 2,013/s counted                               trending  last hour, and the one before
                                                                     █   b                               617,283 < 1,024
                                                                    ▄█
                                                                    ██   lag 12 by partition: 0 12
top of view  last hour                                                   refused 0 · errors 0 · dead letters 0
  1 Night trains, the long version         1,234,567 █████████████████   disk 58.0 GiB free · queue 25% · fresh 0.0 s
  2 夜行列車で北へ                           617,283 ████████            counted 4,001 · repeats 0
  3 c                                              1 █";
    assert_shown(&overview(), COLORS, (120, 20), expected);
}

#[test]
fn a_server_without_trending_has_no_list_of_it() {
    let mut state = overview();
    state.trending = None;
    for width in [40, 120] {
        let shown = shown(&state, COLORS, width, 24).join("\n");
        assert!(!shown.contains("trending") && shown.contains("lag 12"), "{shown}");
    }
}

#[test]
fn an_item_has_its_number_in_large_digits_types_and_two_charts() {
    let lines = shown(&item(), COLORS, 40, 30);
    let expected = "\
tally · http://127.0.0.1:8080 · ready
夜行列車で北へ  b
▄█    ▀▀█ ▀▀█ █ █   █▀▀ █▀▀ ▀▀█
 █  ▄ █▀▀ ▀▀█ ▀▀█ ▄ ▀▀█ █▀█  ▄▀
▀▀▀ ▀ ▀▀▀ ▀▀▀   ▀ ▀ ▀▀▀ ▀▀▀  ▀
1,234,567 view  sum 19.75 · average -
  view  1,234,567 ██████████████████████
  like    308,642 █████
last 60 minutes  1,830 · most in a minu…
                           ▃▆█";
    assert_eq!(lines[..10], expected.lines().collect::<Vec<_>>());
    assert_eq!(lines[19], "last 48 hours  552 · most in a hour 23");
    assert_eq!(lines[28], "▂███████████▂███████████");
    let lines = shown(&item(), PLAIN, 80, 24).join("\n");
    assert!(lines.is_ascii() && lines.contains("\n #    ### ### # #   ### ### ###\n"), "{lines}");
}

#[test]
fn a_short_item_keeps_its_number_and_the_last_hour() {
    let lines = shown(&item(), COLORS, 40, 7);
    assert_eq!(lines[2], "1,234,567 view  sum 19.75 · average -");
    assert!(lines[3].starts_with("last 60 minutes") && lines[5].contains('█'), "{lines:?}");
}

#[test]
fn numbers_of_a_server_that_is_away_stay_and_are_called_old() {
    let mut state = overview();
    let url = String::from("http://127.0.0.1:8080");
    for seconds in [5, 20] {
        state.now_ms = NOW_MS + seconds * 1_000;
        state.hear(Err(super::super::ask::AskError::NotTally { url: url.clone() }));
    }
    let lines = shown(&state, COLORS, 80, 24);
    assert_eq!(lines[0], "tally · http://127.0.0.1:8080 · away");
    assert_eq!(lines[1], "! no answer since 08:00:05 UTC (15 s)");
    assert_eq!(lines[2], "! OLD numbers, of 08:00:02 UTC");
    assert!(lines[3].starts_with("! http://127.0.0.1:8080 does not answer"), "{}", lines[3]);
    assert!(lines[4].starts_with("2,013 events/s"), "{}", lines[4]);
    state.hear(Ok(answer(4_500)));
    let lines = shown(&state, COLORS, 80, 24);
    assert_eq!(lines[0], "tally · http://127.0.0.1:8080 · ready");
    assert!(!lines.join("\n").contains("OLD"), "{lines:?}");
    let mut state = State::new(&url, None, "view", NOW_MS);
    state.hear(Err(super::super::ask::AskError::NotTally { url }));
    assert!(shown(&state, COLORS, 80, 24).join("\n").contains("no numbers yet"));
}

#[test]
fn what_is_wrong_is_told_in_words() {
    let mut state = overview();
    state.not_ready = "partition 1 has stopped\u{1b}[2J".into();
    state.refused = Some("too many points".into());
    let lines = shown(&state, NO_COLOR, 60, 24);
    assert_eq!(lines[0], "tally · http://127.0.0.1:8080 · not ready");
    assert_eq!(lines[1], "! partition 1 has stopped\u{fffd}[2J");
    assert_eq!(lines[2], "! too many points");
}

#[test]
fn without_colours_there_are_none_and_what_is_selected_is_reversed() {
    for (look, has_color) in [(COLORS, true), (NO_COLOR, false)] {
        let mut state = overview();
        state.press(ratatui::crossterm::event::KeyCode::Tab.into());
        let mut terminal = Terminal::new(TestBackend::new(60, 24)).expect("a terminal");
        terminal
            .draw(|frame| draw(&state, look, frame.area(), frame.buffer_mut()))
            .expect("it draws");
        let buffer = terminal.backend().buffer();
        let colors = buffer.content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(colors, has_color);
        let is_reversed = |y: u16| buffer[(6, y)].modifier.contains(Modifier::REVERSED);
        let reversed: Vec<String> =
            (0..24).filter(|&y| is_reversed(y)).map(|y| line_of(buffer, y)).collect();
        assert!(
            matches!(reversed.as_slice(), [row] if row.contains("Night trains")),
            "{reversed:?}"
        );
    }
}

#[test]
fn any_size_is_drawn_and_no_line_is_wider_than_the_terminal() {
    let mut selected = overview();
    selected.press(ratatui::crossterm::event::KeyCode::Up.into());
    let mut helped = overview();
    helped.is_help_shown = true;
    for state in [&overview(), &item(), &selected, &helped] {
        for look in [COLORS, PLAIN] {
            for width in [1, 2, 7, 20, 39, 40, 41, 99, 100, 101, 250] {
                for height in [1, 2, 3, 5, 8, 13, 24, 60] {
                    let lines = shown(state, look, width, height);
                    assert!(
                        lines.iter().all(|line| columns_of(line) <= usize::from(width)),
                        "{width} x {height}: {lines:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_empty_list_is_told_from_one_that_is_not_there_yet() {
    let mut state = overview();
    state.top = Some(Vec::new());
    assert!(shown(&state, COLORS, 60, 24).join("\n").contains("no events"));
    state.press(ratatui::crossterm::event::KeyCode::Char('t').into());
    let lines = shown(&state, COLORS, 60, 24).join("\n");
    assert!(lines.contains("top of like") && lines.contains("asking..."), "{lines}");
}

#[test]
fn a_selected_row_stays_in_view() {
    let mut state = overview();
    let row = |n: u32| super::super::state::Row { item: format!("i{n}"), title: None, count: 1 };
    state.top = Some((0..50).map(row).collect());
    for _ in 0..40 {
        state.press(ratatui::crossterm::event::KeyCode::Down.into());
    }
    let lines = shown(&state, COLORS, 40, 16).join("\n");
    assert!(lines.contains(" i39 ") && !lines.contains(" i40 "), "{lines}");
}
