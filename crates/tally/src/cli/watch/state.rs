//! What the view knows, what keys and answers do to it, and nothing of terminals or sockets.

use std::collections::VecDeque;

use api::TrendingItem;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde::Serialize;

use super::ask::{Answer, AskError, ItemNumbers, Question};
use super::vitals::Vitals;

/// Rates that are remembered: more than a wide terminal has columns.
const RATES_MAX: usize = 600;
/// The types that `t` goes through beside the one that was asked for.
const TYPES: [&str; 3] = ["view", "like", "share"];

/// Types that are remembered from items' pages, those included.
const TYPES_MAX: usize = 16;

/// What a key asks of the loop around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Draw again, at most.
    Nothing,
    /// Ask at once: another page is shown.
    Ask,
    Quit,
}

/// Since when the server does not answer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Away {
    /// Epoch milliseconds.
    pub(crate) since_ms: i64,
    pub(crate) why: String,
}

/// A row that can be selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) item: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    pub(crate) count: u64,
}

/// Everything that is drawn.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) url: String,
    /// None is the overview.
    pub(crate) item: Option<String>,
    /// Whether an item's page was opened from the overview, to which it then goes back.
    came_from_overview: bool,
    pub(crate) event_type: String,
    types: Vec<String>,
    selected: Option<String>,
    pub(crate) is_help_shown: bool,
    /// Epoch milliseconds.
    pub(crate) now_ms: i64,
    /// When the numbers came; none before the first.
    pub(crate) answered_ms: Option<i64>,
    pub(crate) away: Option<Away>,
    pub(crate) refused: Option<String>,
    pub(crate) not_ready: String,
    pub(crate) vitals: Option<Vitals>,
    /// Events accepted and counted a second, from the last two answers.
    pub(crate) rates: Option<(u64, u64)>,
    /// Events accepted a second, newest last.
    pub(crate) rate_history: VecDeque<u64>,
    /// None until an answer for this type came.
    pub(crate) top: Option<Vec<Row>>,
    /// None where the server has no trending.
    pub(crate) trending: Option<Vec<TrendingItem>>,
    pub(crate) numbers: Option<ItemNumbers>,
}

impl State {
    pub(crate) fn new(url: &str, item: Option<&str>, event_type: &str, now_ms: i64) -> Self {
        let mut types = vec![event_type.to_owned()];
        types.extend(TYPES.iter().filter(|other| **other != event_type).map(ToString::to_string));
        Self {
            url: url.to_owned(),
            item: item.map(str::to_owned),
            came_from_overview: false,
            event_type: event_type.to_owned(),
            types,
            selected: None,
            is_help_shown: false,
            now_ms,
            answered_ms: None,
            away: None,
            refused: None,
            not_ready: String::new(),
            vitals: None,
            rates: None,
            rate_history: VecDeque::new(),
            top: None,
            trending: None,
            numbers: None,
        }
    }

    /// What is to be asked for the page that is shown.
    pub(crate) fn question(&self) -> Question {
        Question {
            item: self.item.clone(),
            event_type: self.event_type.clone(),
            types: self.types.clone(),
            now_ms: self.now_ms,
        }
    }

    /// Takes an answer in, or that there is none. Numbers stay until newer ones come.
    pub(crate) fn hear(&mut self, answer: Result<Answer, AskError>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let since_ms = self.away.as_ref().map_or(self.now_ms, |away| away.since_ms);
                self.away = Some(Away { since_ms, why: error.to_string() });
                return;
            }
        };
        self.measure(&answer.vitals);
        self.away = None;
        self.answered_ms = Some(self.now_ms);
        self.vitals = Some(answer.vitals);
        self.not_ready = answer.not_ready;
        self.refused = answer.refused;
        if let Some(top) = answer.top {
            self.trending = answer.trending;
            let rows = top.items.into_iter();
            let row =
                |row: api::TopItem| Row { item: row.item, title: row.title, count: row.count };
            self.top = Some(rows.map(row).collect());
        }
        // An answer may be to the question before.
        let is_shown = |numbers: &ItemNumbers| {
            self.item.as_ref() == Some(&numbers.item) && self.event_type == numbers.event_type
        };
        if let Some(numbers) = answer.item.filter(is_shown) {
            for of in &numbers.types {
                if !self.types.contains(&of.event_type) && self.types.len() < TYPES_MAX {
                    self.types.push(of.event_type.clone());
                }
            }
            self.numbers = Some(numbers);
        }
    }

    /// What happened a second since the last answer. A counter that fell back is that of a server
    /// that has started again: it says nothing of the time before.
    fn measure(&mut self, new: &Vitals) {
        let (Some(old), Some(answered_ms)) = (&self.vitals, self.answered_ms) else { return };
        let elapsed_ms = u64::try_from(self.now_ms - answered_ms).unwrap_or(0);
        let rate = |new: u64, old: u64| {
            let more = new.checked_sub(old)?;
            let rate = u128::from(more) * 1_000 / u128::from(elapsed_ms.max(1));
            u64::try_from(rate).ok()
        };
        if elapsed_ms == 0 {
            return;
        }
        let accepted = rate(new.accepted, old.accepted);
        self.rates = accepted.zip(rate(new.counted, old.counted));
        if let Some((accepted, _)) = self.rates {
            if self.rate_history.len() == RATES_MAX {
                self.rate_history.pop_front();
            }
            self.rate_history.push_back(accepted);
        }
    }

    /// Does what a key says.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Action::Quit,
                _ => Action::Nothing,
            };
        }
        if self.is_help_shown {
            self.is_help_shown = false;
            return if key.code == KeyCode::Char('q') { Action::Quit } else { Action::Nothing };
        }
        match key.code {
            KeyCode::Char('q') => Action::Quit,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.back(key.code),
            KeyCode::Char('?' | 'h') => {
                self.is_help_shown = true;
                Action::Nothing
            }
            KeyCode::Char('t') => self.next_type(),
            KeyCode::Tab | KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::BackTab | KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Enter | KeyCode::Right => self.open(),
            _ => Action::Nothing,
        }
    }

    /// Escape leaves the program where there is no overview to go back to.
    fn back(&mut self, key: KeyCode) -> Action {
        if self.item.is_some() && self.came_from_overview {
            self.item = None;
            self.refused = None;
            return Action::Ask;
        }
        if key == KeyCode::Esc { Action::Quit } else { Action::Nothing }
    }

    fn next_type(&mut self) -> Action {
        let at = self.types.iter().position(|other| *other == self.event_type).unwrap_or(0);
        self.event_type.clone_from(&self.types[(at + 1) % self.types.len()]);
        // Numbers of another type under this name would be wrong.
        self.top = None;
        self.trending = None;
        self.numbers = None;
        Action::Ask
    }

    /// Items in the order in which they are shown, each once.
    fn selectable(&self) -> Vec<&str> {
        let top = self.top.iter().flatten().map(|row| row.item.as_str());
        let trending = self.trending.iter().flatten().map(|trend| trend.item.as_str());
        let mut items: Vec<&str> = Vec::new();
        for item in top.chain(trending) {
            if !items.contains(&item) {
                items.push(item);
            }
        }
        items
    }

    /// The selected item, for as long as it is in a list.
    pub(crate) fn selected(&self) -> Option<&str> {
        let selected = self.selected.as_deref()?;
        self.selectable().contains(&selected).then_some(selected)
    }

    fn select(&mut self, by: isize) -> Action {
        if self.item.is_some() {
            return Action::Nothing;
        }
        let items = self.selectable();
        let at = self.selected().and_then(|selected| items.iter().position(|i| *i == selected));
        let next = match at {
            Some(at) => (at as isize + by).rem_euclid(items.len() as isize) as usize,
            None if by < 0 => items.len().saturating_sub(1),
            None => 0,
        };
        self.selected = items.get(next).map(|item| (*item).to_owned());
        Action::Nothing
    }

    fn open(&mut self) -> Action {
        let Some(selected) = self.selected().map(str::to_owned) else { return Action::Nothing };
        if self.item.is_some() {
            return Action::Nothing;
        }
        self.item = Some(selected);
        self.came_from_overview = true;
        self.numbers = None;
        Action::Ask
    }
}

#[cfg(test)]
mod tests;
