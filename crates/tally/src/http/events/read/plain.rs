//! Event objects as nearly everybody writes them: fields that are known, each once, and texts
//! without escapes, read in one pass over the bytes. What is written otherwise, or is wrong, is left
//! to [`super::json`], which alone judges; what is read here it would read just so.

use std::borrow::Cow;

use model::limits::ATTRIBUTES_MAX;
use model::{TimestampMs, Value};

use super::Draft;
use super::json::Name;

/// Reads one event object; none where it is not as plain as that.
pub(crate) fn event(text: &str) -> Option<Draft<'_>> {
    let mut reader = Reader(text);
    let mut draft = Draft::default();
    let mut has_attributes = false;
    reader.token(b'{')?;
    loop {
        match reader.field()? {
            Name::Id if draft.id.is_none() => draft.id = Some(Cow::Borrowed(reader.string()?)),
            Name::Item if draft.item.is_none() => {
                draft.item = Some(Cow::Borrowed(reader.string()?));
            }
            Name::Type if draft.event_type.is_none() => {
                draft.event_type = Some(Cow::Borrowed(reader.string()?));
            }
            Name::Time if draft.time.is_none() => draft.time = Some(reader.time()?),
            Name::Value if draft.value.is_none() => {
                draft.value = Some(Value::parse(reader.number()?).ok()?);
            }
            Name::Attributes if !has_attributes => {
                has_attributes = true;
                draft.attributes = reader.attributes()?;
            }
            _ => return None,
        }
        if !reader.has_next()? {
            break;
        }
    }
    reader.skip_space();
    reader.0.is_empty().then_some(draft)
}

/// The names of fields as they stand in an object. None is the beginning of another.
const FIELDS: [(&str, Name); 6] = [
    ("\"id\"", Name::Id),
    ("\"item\"", Name::Item),
    ("\"type\"", Name::Type),
    ("\"time\"", Name::Time),
    ("\"value\"", Name::Value),
    ("\"attributes\"", Name::Attributes),
];

/// Reads JSON's tokens from the front of a text.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    #[inline]
    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', ..] = self.0.as_bytes() {
            self.0 = &self.0[1..];
        }
    }

    /// Goes on behind the byte, which is ASCII and must come next.
    #[inline]
    fn token(&mut self, byte: u8) -> Option<()> {
        if self.0.as_bytes().first() != Some(&byte) {
            self.skip_space();
        }
        self.0 = self.0.strip_prefix(char::from(byte))?;
        Some(())
    }

    /// The name of a field, and on behind the colon.
    #[inline]
    fn field(&mut self) -> Option<Name> {
        self.skip_space();
        let known = |(name, field): &(&str, Name)| Some((self.0.strip_prefix(name)?, *field));
        let (rest, field) = FIELDS.iter().find_map(known)?;
        self.0 = rest;
        self.token(b':')?;
        Some(field)
    }

    /// Whether something comes after what was read, or the object ends.
    #[inline]
    fn has_next(&mut self) -> Option<bool> {
        self.skip_space();
        let has_next = match self.0.as_bytes().first()? {
            b',' => true,
            b'}' => false,
            _ => return None,
        };
        self.0 = &self.0[1..];
        Some(has_next)
    }

    /// A string without escapes.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        self.token(b'"')?;
        let len = plain_len(self.0.as_bytes())?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = &rest[1..];
        Some(text)
    }

    /// The digits of a number without an exponent. That they are one, whoever takes them finds.
    fn number(&mut self) -> Option<&'a str> {
        self.skip_space();
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'.');
        let len = self.0.bytes().take_while(is_part).count();
        let (number, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(number)
    }

    fn time(&mut self) -> Option<TimestampMs> {
        self.skip_space();
        match self.0.as_bytes().first()? {
            b'"' => TimestampMs::parse_rfc3339(self.string()?).ok(),
            b'1'..=b'9' => TimestampMs(self.number()?.parse().ok()?).checked().ok(),
            _ => None,
        }
    }

    fn attributes(&mut self) -> Option<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
        self.token(b'{')?;
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        loop {
            let name = self.string()?;
            if pairs.len() >= ATTRIBUTES_MAX || pairs.iter().any(|(other, _)| other == name) {
                return None;
            }
            self.token(b':')?;
            pairs.push((Cow::Borrowed(name), Cow::Borrowed(self.string()?)));
            if !self.has_next()? {
                return Some(pairs);
            }
        }
    }
}

/// The length of a string's text, which a quotation mark ends; none where an escape or a control
/// character, which must be escaped, comes first. Looks at eight bytes at a time.
fn plain_len(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = LOW << 7;
    // The lowest bit that is set of each is of the first such byte; those above it may be wrong.
    let below = |word: u64, bound: u8| word.wrapping_sub(LOW * u64::from(bound)) & !word & HIGH;
    let equals = |word: u64, byte: u8| below(word ^ (LOW * u64::from(byte)), 1);
    let ends = |word| equals(word, b'"') | equals(word, b'\\') | below(word, b' ');
    let mut at = 0;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let found = ends(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        if found != 0 {
            at += found.trailing_zeros() as usize / 8;
            return (bytes[at] == b'"').then_some(at);
        }
        at += 8;
    }
    let end = words.remainder().iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
    (bytes[at + end] == b'"').then_some(at + end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::any_event;
    use super::*;

    #[test]
    fn what_nearly_everybody_sends_is_plain() {
        for text in [
            r#"{"item":"v"}"#,
            r#" { "item" : "a longer name than eight bytes" , "value" : -12.5 } "#,
            r#"{"id":"a","item":"日本","type":"view","time":1795255200000,"value":3}"#,
            r#"{"time":"2026-11-21T09:59:59.123Z","attributes":{"country":"DE","device":"tv"},"item":""}"#,
        ] {
            let draft = event(text).expect(text);
            assert_eq!(Ok(draft), any_event(text));
        }
    }

    #[test]
    fn what_is_not_so_plain_is_left_to_others() {
        for text in [
            "",
            "{",
            "{}",
            "[]",
            "null",
            r#"{"item":"v"}x"#,
            r#"{"item":"v",}"#,
            r#"{"item":null}"#,
            r#"{"item":"v","item":"v"}"#,
            r#"{"item":"a\n"}"#,
            "{\"item\":\"a\n\"}",
            r#"{"item":1}"#,
            r#"{"value":01}"#,
            r#"{"value":1.}"#,
            r#"{"value":-}"#,
            r#"{"value":1e3}"#,
            r#"{"time":0123}"#,
            r#"{"time":1-2}"#,
            r#"{"time":1.0}"#,
            r#"{"time":"now"}"#,
            r#"{"attributes":{"a":"1","a":"2"}}"#,
            r#"{"attributes":{"a":1}}"#,
            r#"{"other":"v"}"#,
        ] {
            assert_eq!(event(text), None, "{text}");
        }
    }

    /// Parts of objects, right and wrong.
    fn part() -> impl Strategy<Value = String> {
        let names = ["id", "item", "type", "time", "value", "attributes", "other", "it\\u0065m"];
        let values = [
            r#""v""#,
            r#""a longer text, of many words""#,
            r#""\u00e9\"""#,
            "\"\u{1}\"",
            "\"é\u{7f}\"",
            "null",
            "true",
            "0",
            "-0",
            "01",
            "1.",
            ".5",
            "12.5",
            "-1e3",
            "1795255200000",
            "-5",
            "99999999999999999999",
            r#""2026-11-21T09:59:59.123Z""#,
            r#""2026-11-21 09:59:59Z""#,
            "[]",
            "{}",
            r#"{"a":"1","b":"2"}"#,
            r#"{"a":"1","a":"2"}"#,
            r#"{"a":null}"#,
            r#"{"a" : "1" }"#,
        ];
        let space = prop::sample::select(vec!["", "", "", " ", "\t\r\n", "\u{a0}"]);
        let name = prop::sample::select(names.to_vec());
        (name, prop::sample::select(values.to_vec()), space).prop_map(|(name, value, space)| {
            format!("{space}\"{name}\"{space}:{space}{value}{space}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn whatever_is_read_would_be_read_so(
            parts in prop::collection::vec(part(), 0..5),
            at in 0usize..200,
            to in prop::option::weighted(0.3, "[\\PC\u{0}\"\\\\{},:]"),
        ) {
            let mut text = format!("{{{}}}", parts.join(","));
            if let Some((at, old)) = to.as_ref().and_then(|_| text.char_indices().nth(at)) {
                text.replace_range(at..at + old.len_utf8(), to.as_deref().unwrap_or_default());
            }
            if let Some(draft) = event(&text) {
                prop_assert_eq!(Ok(draft), any_event(&text));
            }
        }

        #[test]
        fn a_text_ends_at_the_first_quotation_mark(bytes in prop::collection::vec(
            prop_oneof![8 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'!'), 1 => Just(b'#')], 0..40,
        )) {
            let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '));
            prop_assert_eq!(plain_len(&bytes), end.filter(|end| bytes[*end] == b'"'));
        }
    }
}
