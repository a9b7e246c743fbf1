//! What is known of an item beside its counts: for people who look at reports. Nothing of it judges
//! or changes a count.

use crate::bucket::TimestampMs;
use crate::event::check_item;
use crate::limits::{
    ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, CHANNEL_NAME_BYTES_MAX,
    TITLE_BYTES_MAX,
};

/// The details of an item, each of them optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemDetails {
    /// What people call it.
    pub title: Option<String>,
    /// The channel it belongs to, by the rules of an item.
    pub channel: Option<String>,
    /// What people call the channel.
    pub channel_name: Option<String>,
    /// When it was made or published.
    pub created: Option<TimestampMs>,
    /// Anything else, as pairs in the order of their keys, no key twice.
    pub attributes: Vec<(String, String)>,
}

/// Which rule details break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetailsViolation {
    /// The title is empty, too long or has control characters.
    #[error("the title must be 1 to 1024 bytes of UTF-8 without control characters")]
    Title,
    /// The channel is empty, too long or has control characters.
    #[error("the channel must be 1 to 256 bytes of UTF-8 without control characters")]
    Channel,
    /// The name of the channel is empty, too long or has control characters.
    #[error("the channel_name must be 1 to 256 bytes of UTF-8 without control characters")]
    ChannelName,
    /// Too many attributes, one too long, or not in the order of their keys.
    #[error("at most 16 attributes, keys of 1 to 64 bytes and values of at most 256 bytes")]
    Attributes,
}

impl ItemDetails {
    /// Checks every rule.
    pub fn check(&self) -> Result<(), DetailsViolation> {
        let is_fine = |text: &Option<String>, bytes_max: usize| {
            text.as_ref().is_none_or(|text| {
                (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
            })
        };
        if !is_fine(&self.title, TITLE_BYTES_MAX) {
            return Err(DetailsViolation::Title);
        }
        if self.channel.as_deref().is_some_and(|channel| check_item(channel).is_err()) {
            return Err(DetailsViolation::Channel);
        }
        if !is_fine(&self.channel_name, CHANNEL_NAME_BYTES_MAX) {
            return Err(DetailsViolation::ChannelName);
        }
        let is_short = |(key, value): &(String, String)| {
            (1..=ATTRIBUTE_KEY_BYTES_MAX).contains(&key.len())
                && value.len() <= ATTRIBUTE_VALUE_BYTES_MAX
        };
        let are_fine = self.attributes.len() <= ATTRIBUTES_MAX
            && self.attributes.iter().all(is_short)
            && self.attributes.is_sorted_by(|one, next| one.0 < next.0);
        if are_fine { Ok(()) } else { Err(DetailsViolation::Attributes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_checked() {
        let text = |bytes: usize| Some("x".repeat(bytes));
        let pair = |key: &str, bytes: usize| (key.to_owned(), "v".repeat(bytes));
        let none = ItemDetails::default;
        let many = |n: usize| (0..n).map(|at| pair(&format!("{at:02}"), 0)).collect();
        let cases = [
            (none(), Ok(())),
            (ItemDetails { title: text(1_024), channel_name: text(256), ..none() }, Ok(())),
            (ItemDetails { title: Some("<b>日本\"&</b>".into()), ..none() }, Ok(())),
            (ItemDetails { title: text(0), ..none() }, Err(DetailsViolation::Title)),
            (ItemDetails { title: text(1_025), ..none() }, Err(DetailsViolation::Title)),
            (ItemDetails { title: Some("a\u{1b}".into()), ..none() }, Err(DetailsViolation::Title)),
            (ItemDetails { channel: text(0), ..none() }, Err(DetailsViolation::Channel)),
            (ItemDetails { channel: text(257), ..none() }, Err(DetailsViolation::Channel)),
            (ItemDetails { channel: Some("a\0".into()), ..none() }, Err(DetailsViolation::Channel)),
            (ItemDetails { channel_name: text(257), ..none() }, Err(DetailsViolation::ChannelName)),
            (ItemDetails { attributes: many(16), ..none() }, Ok(())),
            (ItemDetails { attributes: many(17), ..none() }, Err(DetailsViolation::Attributes)),
            (
                ItemDetails { attributes: vec![pair("k", 257)], ..none() },
                Err(DetailsViolation::Attributes),
            ),
            (
                ItemDetails { attributes: vec![pair("", 1)], ..none() },
                Err(DetailsViolation::Attributes),
            ),
            (
                ItemDetails { attributes: vec![pair("b", 1), pair("a", 1)], ..none() },
                Err(DetailsViolation::Attributes),
            ),
        ];
        for (details, expected) in cases {
            assert_eq!(details.check(), expected, "{details:?}");
        }
    }
}
