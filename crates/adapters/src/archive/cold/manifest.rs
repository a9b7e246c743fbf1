//! Which files hold the cold days: the one object that says so is replaced as a whole.
//!
//! ```text
//! tally counters 1
//! until 2026-05-03
//! file day-2026-05-01 2026-05-01 2026-05-02 4211       name, first day, day after the last, bytes
//! end
//! ```
//!
//! Processors that share an archive write each as an object of its own, see [`super::published`].

use model::{Day, TimestampMs};

/// The folder of files and manifests.
pub(in super::super) const FOLDER: &str = "counters";

/// Its name, where one server writes it.
pub(in super::super) const NAME: &str = "counters/manifest";

/// What the names of manifests begin with that processors share.
const GENERATION: &str = "counters/manifest-";

/// The object of a generation.
pub(in super::super) fn generation_name(generation: u64) -> String {
    format!("{GENERATION}{generation:020}")
}

/// The generation that an object is; none for others.
pub(in super::super) fn generation_of(name: &str) -> Option<u64> {
    let generation = name.strip_prefix(GENERATION)?.parse().ok()?;
    (generation_name(generation) == name).then_some(generation)
}

/// The version that is known here.
pub(in super::super) const VERSION: u32 = 1;
const HEAD: &str = "tally counters 1";
/// What it begins with in every version.
const ANY_HEAD: &str = "tally counters ";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Manifest {
    /// All days before this one are there.
    pub(in super::super) until: Day,
    /// By their first day; no day is in two.
    pub(in super::super) files: Vec<Entry>,
}

/// A file and its days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Entry {
    pub(in super::super) name: String,
    pub(in super::super) first: Day,
    pub(in super::super) end: Day,
    pub(in super::super) bytes: u64,
}

impl Entry {
    /// The object that it is.
    pub(in super::super) fn object(&self) -> String {
        object(&self.name)
    }

    /// Whether it can hold a day of a range.
    pub(in super::super) fn overlaps(&self, days: &std::ops::Range<u32>) -> bool {
        self.first.0 < days.end && days.start < self.end.0
    }
}

/// The object of a file.
pub(in super::super) fn object(name: &str) -> String {
    format!("counters/{name}.parquet")
}

/// A day as `2026-05-01`.
pub(in super::super) fn date(day: Day) -> String {
    // RFC 3339 begins with the date.
    day.start().to_string().chars().take(10).collect()
}

impl Manifest {
    /// Puts files in the place of all whose days they have.
    pub(in super::super) fn replace(&mut self, added: Entry) {
        let days = added.first.0..added.end.0;
        self.files.retain(|entry| !entry.overlaps(&days));
        self.files.push(added);
        self.files.sort_by_key(|entry| entry.first);
    }

    pub(in super::super) fn write(&self) -> String {
        let mut text = format!("{HEAD}\nuntil {}\n", date(self.until));
        for Entry { name, first, end, bytes } in &self.files {
            text += &format!("file {name} {} {} {bytes}\n", date(*first), date(*end));
        }
        text + "end\n"
    }

    /// The version that a whole one says, where it is not known here.
    pub(in super::super) fn unknown_version(text: &str) -> Option<&str> {
        let mut lines = text.strip_suffix("end\n")?.lines();
        let version = lines.next()?.strip_prefix(ANY_HEAD)?;
        let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && version != "1").then_some(version)
    }

    /// None where it is not what was written.
    pub(in super::super) fn read(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix("end\n")?.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let until = day(lines.next()?.strip_prefix("until ")?)?;
        let files = lines.map(entry).collect::<Option<Vec<_>>>()?;
        let is_sorted = files.is_sorted_by(|a, b| a.end <= b.first);
        is_sorted.then_some(Self { until, files })
    }
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.strip_prefix("file ")?.split(' ');
    let mut next = || words.next();
    let (name, first, end) = (next()?.to_owned(), day(next()?)?, day(next()?)?);
    let bytes = next()?.parse().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (next().is_none() && first < end && name.bytes().all(is_plain)).then_some(Entry {
        name,
        first,
        end,
        bytes,
    })
}

fn day(date: &str) -> Option<Day> {
    let at = TimestampMs::parse_rfc3339(&format!("{date}T00:00:00Z")).ok()?;
    Some(at.minute().hour().day())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, first: u32, end: u32) -> Entry {
        Entry { name: name.into(), first: Day(first), end: Day(end), bytes: 7 }
    }

    #[test]
    fn written_and_read_back() {
        let mut manifest = Manifest { until: Day(20_576), files: Vec::new() };
        manifest.replace(file("day-2", 20_575, 20_576));
        manifest.replace(file("day-1", 20_574, 20_575));
        let text = manifest.write();
        let expected = "tally counters 1\nuntil 2026-05-03\n\
                        file day-1 2026-05-01 2026-05-02 7\n\
                        file day-2 2026-05-02 2026-05-03 7\nend\n";
        assert_eq!(text, expected);
        assert_eq!(Manifest::read(&text), Some(manifest.clone()));
        manifest.replace(file("month", 20_560, 20_576));
        assert_eq!(manifest.files, [file("month", 20_560, 20_576)]);
        assert_eq!(Manifest::read(&Manifest::default().write()), Some(Manifest::default()));
    }

    #[test]
    fn generations_are_objects_in_order() {
        let name = generation_name(7);
        assert_eq!(name, "counters/manifest-00000000000000000007");
        assert_eq!(generation_of(&name), Some(7));
        for other in [NAME, "counters/manifest-7", "counters/day-2026-05-01.parquet"] {
            assert_eq!(generation_of(other), None);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let whole = "tally counters 1\nuntil 2026-05-03\nfile a 2026-05-01 2026-05-02 7\nend\n";
        assert!(Manifest::read(whole).is_some());
        assert_eq!(Manifest::unknown_version(whole), None);
        let later = whole.replacen(" 1\n", " 2\n", 1);
        assert_eq!(Manifest::unknown_version(&later), Some("2"));
        for end in 0..whole.len() {
            assert_eq!(Manifest::read(&whole[..end]), None, "{end}");
        }
        for (from, to) in [
            (" 1\n", " 2\n"),
            ("2026-05-03", "2026-13-03"),
            ("file a", "file ../a"),
            ("2026-05-02 7", "2026-05-01 7"),
            (" 7", " -7"),
            (" 7", " 7 7"),
            ("end", "file b 2026-05-01 2026-05-03 7\nend"),
        ] {
            assert_eq!(Manifest::read(&whole.replacen(from, to, 1)), None, "{to}");
        }
    }
}
