//! What keys and answers do to the state.

use super::*;

const START_MS: i64 = 1_000_000;

fn answer(accepted: u64) -> Answer {
    let top = r#"{"type":"view","start":"S","end":"E","as_of":"A","items":[
        {"item":"a","count":3},{"item":"b","count":2}]}"#;
    let trend = |item: &str| TrendingItem {
        item: item.into(),
        title: None,
        count: 1,
        before: 0,
        score: 1.0,
    };
    Answer {
        vitals: Vitals { accepted, counted: accepted, ..Vitals::default() },
        not_ready: String::new(),
        top: Some(serde_json::from_str(top).expect("an answer of the contract")),
        trending: Some(vec![trend("b"), trend("c")]),
        item: None,
        refused: None,
    }
}

fn state() -> State {
    let mut state = State::new("http://s", None, "ad.play", START_MS);
    state.hear(Ok(answer(100)));
    state
}

fn press(state: &mut State, key: KeyCode) -> Action {
    state.press(key.into())
}

#[test]
fn rates_come_of_two_answers_and_a_restart_says_nothing() {
    let mut state = state();
    assert_eq!(state.rates, None);
    state.now_ms += 500;
    state.hear(Ok(answer(1_100)));
    assert_eq!(state.rates, Some((2_000, 2_000)));
    state.now_ms += 1_000;
    state.hear(Ok(answer(5)));
    assert_eq!(state.rates, None);
    state.now_ms += 1_000;
    state.hear(Ok(answer(10)));
    assert_eq!(state.rates, Some((5, 5)));
    assert_eq!(state.rate_history, [2_000, 5]);
}

#[test]
fn history_is_bounded() {
    let mut state = state();
    for second in 0..2_000 {
        state.now_ms += 1_000;
        state.hear(Ok(answer(100 + second)));
    }
    assert_eq!(state.rate_history.len(), RATES_MAX);
}

#[test]
fn keys_select_each_item_once_open_it_and_go_back() {
    let mut state = state();
    assert_eq!(press(&mut state, KeyCode::Enter), Action::Nothing);
    for expected in ["a", "b", "c", "a"] {
        assert_eq!(press(&mut state, KeyCode::Tab), Action::Nothing);
        assert_eq!(state.selected(), Some(expected));
    }
    press(&mut state, KeyCode::Up);
    assert_eq!(state.selected(), Some("c"));
    assert_eq!(press(&mut state, KeyCode::Enter), Action::Ask);
    assert_eq!(state.question().item.as_deref(), Some("c"));
    assert_eq!(press(&mut state, KeyCode::Esc), Action::Ask);
    assert_eq!(state.question().item, None);
    assert_eq!(press(&mut state, KeyCode::Esc), Action::Quit);
}

#[test]
fn what_was_asked_for_by_name_is_left_by_escape() {
    let mut state = State::new("http://s", Some("a"), "view", START_MS);
    assert_eq!(press(&mut state, KeyCode::Left), Action::Nothing);
    assert_eq!(press(&mut state, KeyCode::Esc), Action::Quit);
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.press(control), Action::Quit);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Action::Quit);
}

#[test]
fn types_go_round_and_no_number_of_another_stays() {
    let mut state = state();
    for expected in ["view", "like", "share", "ad.play"] {
        assert_eq!(press(&mut state, KeyCode::Char('t')), Action::Ask);
        assert_eq!(state.question().event_type, expected);
        assert!(state.top.is_none() && state.trending.is_none());
    }
}

#[test]
fn any_key_leaves_the_help_and_does_nothing_else() {
    let mut state = state();
    press(&mut state, KeyCode::Char('?'));
    assert!(state.is_help_shown);
    assert_eq!(press(&mut state, KeyCode::Esc), Action::Nothing);
    assert!(!state.is_help_shown);
}
