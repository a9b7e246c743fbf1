//! Query parameters, by the rules of HTML forms: `+` is a space, `%XX` a byte. An unknown one is
//! refused, so that a slip of the pen does not quietly ask another question.

use api::ProblemCode;
use model::bucket::TimeError;
use model::limits::TYPE_DEFAULT;
use model::{TimestampMs, Value};

use super::events::read::Fault;
use super::problem::Failure;

/// The parameters of a request, in their order.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query string.
    ///
    /// # Errors
    /// 400 for a name that `is_known` refuses, and for text that is not UTF-8.
    pub(crate) fn read(
        query: Option<&str>,
        is_known: impl Fn(&str) -> bool,
        known: impl Fn() -> String,
    ) -> Result<Self, Failure> {
        let mut params = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if !is_known(&name) {
                let detail =
                    format!("the parameter `{name}` is not known; this path takes {}", known());
                return Err(Failure::parameter(detail));
            }
            params.push((name, decode(value)?));
        }
        Ok(Self(params))
    }

    /// As [`Params::read`], with the names given.
    pub(crate) fn of(query: Option<&str>, names: &[&str]) -> Result<Self, Failure> {
        let known = || if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Self::read(query, |name| names.contains(&name), known)
    }

    /// The one value of a name.
    ///
    /// # Errors
    /// 400 when it comes twice.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Failure> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Failure::parameter(format!("the parameter `{name}` comes twice"))),
            (value, None) => Ok(value),
        }
    }

    /// Every value of a name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All parameters.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The event type asked for, checked.
    pub(crate) fn event_type(&self) -> Result<String, Failure> {
        let event_type = self.one("type")?.unwrap_or(TYPE_DEFAULT);
        model::event::check_type(event_type).map_err(Fault::from)?;
        Ok(event_type.to_owned())
    }

    /// A time: RFC 3339 or epoch milliseconds.
    pub(crate) fn time(&self, name: &str) -> Result<Option<TimestampMs>, Failure> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        time(&format!("the parameter `{name}`"), text).map(Some)
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, Failure> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if bounds.contains(&number) => Ok(Some(number)),
            _ => Err(Failure::parameter(format!(
                "the parameter `{name}` is `{text}`; it must be a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            ))),
        }
    }

    /// A decimal, exactly.
    pub(crate) fn value(&self, name: &str) -> Result<Option<Value>, Failure> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let refused = |error: model::value::ValueError| {
            let detail = format!("the parameter `{name}` is `{text}`: {error}");
            Failure::new(ProblemCode::InvalidValue, detail)
        };
        Value::parse(text).map(Some).map_err(refused)
    }
}

/// The bound of a range.
///
/// # Errors
/// 400 for what is no time, 422 for one outside 1970 to 9999.
pub(super) fn time(what: &str, text: &str) -> Result<TimestampMs, Failure> {
    TimestampMs::parse(text).map_err(|error| {
        let code = match error {
            TimeError::NotATime => ProblemCode::InvalidParameter,
            TimeError::OutOfBounds => ProblemCode::InvalidRange,
        };
        Failure::new(code, format!("{what} is `{text}`: {error}"))
    })
}

/// Undoes the encoding of HTML forms.
fn decode(text: &str) -> Result<String, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        let hex = |digit: Option<&u8>| digit.and_then(|&d| char::from(d).to_digit(16));
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut ahead = rest.clone();
                match (hex(ahead.next()), hex(ahead.next())) {
                    (Some(high), Some(low)) => {
                        rest = ahead;
                        (high << 4 | low) as u8
                    }
                    // As browsers do: a stray percent sign stands for itself.
                    _ => byte,
                }
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::parameter(format!("the query text `{text}` is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_forms() {
        let params = Params::of(Some("a=1+2&b=%2F%c3%bc&&a=100%&c"), &["a", "b", "c"]).unwrap();
        assert_eq!(params.all("a").collect::<Vec<_>>(), ["1 2", "100%"]);
        assert_eq!(params.one("b").unwrap(), Some("/ü"));
        assert_eq!(params.one("c").unwrap(), Some(""));
        assert!(params.one("a").is_err());
        assert!(Params::of(Some("d=1"), &["a"]).is_err());
        assert!(Params::of(Some("a=%ff"), &["a"]).is_err());
    }

    #[test]
    fn names_what_is_wrong() {
        let params = Params::of(Some("limit=0&start=now"), &["limit", "start"]).unwrap();
        for failure in [params.number("limit", 1..=10).err(), params.time("start").err()] {
            assert_eq!(failure.unwrap().code(), ProblemCode::InvalidParameter);
        }
        for text in ["-1", "1969-12-31T23:59:59Z", "99999999999999999999"] {
            let query = format!("start={text}");
            let params = Params::of(Some(&query), &["start"]).unwrap();
            let code = params.time("start").unwrap_err().code();
            assert_eq!(code, ProblemCode::InvalidRange, "{text}");
        }
    }
}
