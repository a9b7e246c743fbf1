//! The drill's own account: for every item and type how many different events were accepted and
//! what their values add up to, kept with nothing of the server's, and compared with its answers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use api::client::{Client, StatsQuery};
use serde::Serialize;

use crate::load::{EVENT_TYPES, Tracked, item_text};

/// How many differences are told one by one.
const TOLD: usize = 10;

/// What is expected of one counter, or what a server says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Numbers {
    pub(crate) count: u64,
    /// Sum of the values in thousandths; none where no event had a value.
    pub(crate) sum_milli: Option<i128>,
}

/// Rank of the item, index of the type.
type Counter = (u32, u8);

/// What was sent and accepted.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    items: u32,
    counters: BTreeMap<Counter, Numbers>,
    /// Different events that were made to be sent.
    made: u64,
    /// Events in all requests: first attempts, retries and repeats.
    sent: u64,
    /// The numbers of the events that the server has acknowledged.
    accepted: BTreeSet<u64>,
}

/// A counter that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mismatch {
    pub(crate) item: String,
    #[serde(rename = "type")]
    pub(crate) event_type: &'static str,
    pub(crate) expected: Numbers,
    pub(crate) got: Numbers,
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// What the server counts over all counters.
    pub(crate) counted: u64,
    /// Counters that differ.
    pub(crate) different: u64,
    /// The first of them.
    pub(crate) examples: Vec<Mismatch>,
}

impl Account {
    /// An empty account over so many items.
    pub(crate) fn new(items: u32) -> Self {
        Self { items, counters: BTreeMap::new(), made: 0, sent: 0, accepted: BTreeSet::new() }
    }

    /// A body was made that is sent next.
    pub(crate) fn make(&mut self, events: &[Tracked]) {
        self.made += events.iter().filter(|event| !event.is_duplicate).count() as u64;
    }

    /// Events have gone out, whatever comes of them.
    pub(crate) fn send(&mut self, events: u64) {
        self.sent += events;
    }

    /// Events were acknowledged, for the first time or once more.
    pub(crate) fn accept<'a>(&mut self, events: impl IntoIterator<Item = &'a Tracked>) {
        for event in events {
            if !self.accepted.insert(event.number) {
                continue;
            }
            let numbers = self.counters.entry((event.rank, event.event_type)).or_default();
            numbers.count += 1;
            if event.value_milli > 0 {
                *numbers.sum_milli.get_or_insert(0) += i128::from(event.value_milli);
            }
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Events in requests that had been sent before.
    pub(crate) fn repeats(&self) -> u64 {
        self.sent.saturating_sub(self.made)
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.len() as u64
    }

    /// Asks for every counter, those that must be empty too.
    pub(crate) async fn compare(&self, client: &Client) -> anyhow::Result<Comparison> {
        let mut found = Comparison::default();
        for rank in 0..self.items {
            for event_type in 0..EVENT_TYPES.len() as u8 {
                let got = ask(client, (rank, event_type)).await?;
                self.judge((rank, event_type), got, &mut found);
            }
        }
        Ok(found)
    }

    fn judge(&self, counter: Counter, got: Numbers, found: &mut Comparison) {
        found.counted += got.count;
        let expected = self.counters.get(&counter).copied().unwrap_or_default();
        if got == expected {
            return;
        }
        found.different += 1;
        if found.examples.len() < TOLD {
            let (item, event_type) = (item_text(counter.0), EVENT_TYPES[usize::from(counter.1)]);
            found.examples.push(Mismatch { item, event_type, expected, got });
        }
    }
}

async fn ask(client: &Client, (rank, event_type): Counter) -> anyhow::Result<Numbers> {
    let item = item_text(rank);
    let query = StatsQuery {
        item: &item,
        event_type: Some(EVENT_TYPES[usize::from(event_type)]),
        function: Some("count,sum"),
        step: Some("total"),
        start: None,
        end: None,
    };
    let total = client.stats(&query).await?.total;
    let sum = total.sum.flatten();
    let sum_milli = sum.map(|sum| {
        let text = sum.as_str();
        milli(text).with_context(|| format!("the sum {text} of {item} is in no thousandths"))
    });
    Ok(Numbers {
        count: total.count.context("an answer has no count")?,
        sum_milli: sum_milli.transpose()?,
    })
}

/// A decimal as whole thousandths, where it is that.
fn milli(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || fraction.len() > 3 || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{fraction:0<3}").parse().ok()
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { item, event_type, expected, got } = self;
        write!(f, "item {item}, type {event_type}: expected {expected}, got {got}")
    }
}

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.count)?;
        match self.sum_milli {
            Some(sum) => write!(f, " (sum {}.{:03})", sum / 1000, sum % 1000),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64, value_milli: u32, is_duplicate: bool) -> Tracked {
        Tracked { rank: 3, event_type: 1, value_milli, is_duplicate, number }
    }

    fn compared(account: &Account, got: Numbers) -> Comparison {
        let mut found = Comparison::default();
        account.judge((3, 1), got, &mut found);
        found
    }

    #[test]
    fn a_repeat_is_sent_but_not_expected_again() {
        let mut account = Account::new(5);
        let events = [event(0, 1500, false), event(0, 1500, true), event(1, 0, false)];
        account.make(&events);
        account.send(3);
        account.send(3);
        account.accept(&events);
        // Once more, as after a lost answer.
        account.accept(&events[1..]);
        assert_eq!((account.sent(), account.repeats(), account.accepted()), (6, 4, 2));
        let right = Numbers { count: 2, sum_milli: Some(1500) };
        let found = compared(&account, right);
        assert_eq!((found.counted, found.different), (2, 0));
    }

    #[test]
    fn one_too_many_one_too_few_and_a_wrong_sum_are_named() {
        let mut account = Account::new(5);
        account.accept(&[event(0, 1500, false), event(1, 0, false)]);
        for got in [
            Numbers { count: 3, sum_milli: Some(1500) },
            Numbers { count: 1, sum_milli: Some(1500) },
            Numbers { count: 2, sum_milli: Some(1501) },
            Numbers { count: 2, sum_milli: None },
            Numbers { count: 0, sum_milli: None },
        ] {
            let found = compared(&account, got);
            assert_eq!((found.different, found.examples.len()), (1, 1), "{got:?}");
            let text = found.examples[0].to_string();
            assert!(text.contains(&item_text(3)) && text.contains("like"), "{text}");
            assert!(text.contains("expected 2 (sum 1.500), got "), "{text}");
        }
        // What nobody sent is a difference too.
        let found = compared(&Account::new(5), Numbers { count: 1, sum_milli: None });
        assert_eq!((found.counted, found.different), (1, 1));
    }

    #[test]
    fn decimals_are_taken_digit_by_digit() {
        let cases = [
            ("0", 0),
            ("19.75", 19_750),
            ("1.5", 1500),
            ("9007199254740993.001", 9_007_199_254_740_993_001),
        ];
        for (text, expected) in cases {
            assert_eq!(milli(text), Some(expected), "{text}");
        }
        for text in ["1.2345", "1e3", "-1", "", "x"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }
}
