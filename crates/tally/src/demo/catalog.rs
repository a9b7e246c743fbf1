//! The made-up videos of a demo: titles and channels that read like ones, drawn from a seed.

use serde::Serialize;

use crate::load::{Random, item_text};

/// A video as `POST /v1/items` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Video {
    pub(crate) item: String,
    pub(crate) title: String,
    pub(crate) channel: String,
    pub(crate) channel_name: String,
    /// RFC 3339.
    pub(crate) created: String,
    #[serde(skip)]
    pub(crate) length_ms: u32,
}

/// A channel and what it is about. Every subject goes into every form.
const CHANNELS: [(&str, [&str; 5]); 16] = [
    ("Harbour Kitchen", ["sourdough", "smoked mackerel", "rye crackers", "plum jam", "fish soup"]),
    (
        "Slow Rails",
        ["night trains", "branch lines", "steam in winter", "rail ferries", "old signals"],
    ),
    (
        "Nadia Repairs",
        ["a dead toaster", "film cameras", "a cracked radio", "clocks", "a 1974 moped"],
    ),
    (
        "Cold Water Club",
        ["winter swimming", "ice rivers", "sea saunas", "lake crossings", "wetsuits"],
    ),
    (
        "The Allotment",
        ["heirloom tomatoes", "compost", "garlic", "bean poles", "a tiny greenhouse"],
    ),
    (
        "Loft Observatory",
        ["Saturn's rings", "meteor nights", "cheap telescopes", "comets", "the Moon"],
    ),
    ("Two Left Feet", ["tango", "tap dancing", "waltzing at fifty", "folk dances", "swing"]),
    ("Paper & String", ["bookbinding", "kites", "origami", "marbled paper", "pop-up cards"]),
    ("Kofi Codes", ["sorting", "tiny databases", "a chess engine", "old BASIC", "hash tables"]),
    (
        "Map Corner",
        ["lost islands", "odd borders", "metro maps", "mountain passes", "river mouths"],
    ),
    (
        "Attic Synths",
        ["tape loops", "drum machines", "a theremin", "bass lines", "circuit bending"],
    ),
    (
        "Bread & Bicycles",
        ["hill climbs", "wheel building", "rainy rides", "cargo bikes", "city tours"],
    ),
    ("Studio Moth", ["linocuts", "watercolour skies", "charcoal", "glazing", "mending jumpers"]),
    (
        "Little Histories",
        ["lighthouses", "the first elevator", "salt roads", "canal towns", "postage"],
    ),
    ("Field Notes", ["owls at dusk", "mushrooms", "tide pools", "bees", "hedgehogs"]),
    (
        "Half Time",
        ["a village derby", "keepers' gloves", "penalty nerves", "muddy pitches", "free kicks"],
    ),
];

const FORMS: [&str; 5] = [
    "{}, the long version",
    "What nobody says about {}",
    "A week of {}",
    "{} in ten minutes",
    "{}: your questions",
];

/// Videos there are.
pub(crate) const VIDEOS: u32 = (CHANNELS.len() * 5 * FORMS.len()) as u32;

const DAY_MS: u64 = 86_400_000;
const SECOND_MS: u32 = 1_000;

/// All videos, the most popular first: which those are, the seed says, as it does their lengths and
/// ages. A video at a rank has the same id with every seed.
pub(crate) fn videos(seed: u64, now_ms: u64) -> Vec<Video> {
    let mut random = Random::new(seed ^ 0x7669_6465_6f73);
    let mut kinds: Vec<usize> = (0..VIDEOS as usize).collect();
    for last in (1..kinds.len()).rev() {
        kinds.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    let made = kinds.into_iter().zip(0..).map(|(kind, rank)| {
        let (channel_name, subjects) = CHANNELS[kind / 25];
        let (subject, form) = (subjects[kind / 5 % 5], FORMS[kind % 5]);
        let age_ms = 3 * DAY_MS + random.next() % (400 * DAY_MS);
        Video {
            item: item_text(rank),
            title: capital(&form.replace("{}", subject)),
            channel: slug(channel_name),
            channel_name: channel_name.into(),
            created: time_text(now_ms.saturating_sub(age_ms)),
            length_ms: (60 + (random.next() % 1_740) as u32) * SECOND_MS,
        }
    });
    made.collect()
}

/// One video a line.
pub(crate) fn ndjson(videos: &[Video]) -> Vec<u8> {
    let mut body = Vec::new();
    for video in videos {
        serde_json::to_writer(&mut body, video).expect("texts are JSON");
        body.push(b'\n');
    }
    body
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `Paper & String` as `paper-string`.
fn slug(name: &str) -> String {
    let name = name.to_lowercase();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

fn time_text(epoch_ms: u64) -> String {
    let time =
        i64::try_from(epoch_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.0}", time.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOW_MS: u64 = 1_795_334_400_000;

    #[test]
    fn a_seed_makes_the_same_videos_and_no_two_alike() {
        let made = videos(7, NOW_MS);
        assert_eq!(made, videos(7, NOW_MS));
        assert_ne!(made, videos(8, NOW_MS));
        let of = |text: fn(&Video) -> &str| made.iter().map(text).collect::<BTreeSet<_>>().len();
        assert_eq!(made.len(), VIDEOS as usize);
        assert_eq!((of(|v| &v.item), of(|v| &v.title)), (made.len(), made.len()));
        assert_eq!((of(|v| &v.channel), of(|v| &v.channel_name)), (CHANNELS.len(), CHANNELS.len()));
    }

    #[test]
    fn lines_are_what_the_items_path_takes() {
        let made = videos(1, NOW_MS);
        let body = ndjson(&made);
        let lines: Vec<&[u8]> =
            body.split(|&byte| byte == b'\n').filter(|l| !l.is_empty()).collect();
        assert_eq!(lines.len(), made.len());
        let first: serde_json::Value = serde_json::from_slice(lines[0]).expect("JSON");
        let keys: Vec<&String> = first.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["channel", "channel_name", "created", "item", "title"]);
        let created: jiff::Timestamp = made[0].created.parse().expect("a time");
        assert!((created.as_millisecond() as u64) < NOW_MS);
        assert_eq!(slug("Paper & String"), "paper-string");
    }
}
