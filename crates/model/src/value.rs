//! Exact decimals: a value is a whole number of micro-units.

use std::fmt;

/// A decimal kept exactly to 6 places, in micro-units; its magnitude is below 9.2e12 units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(i64);

/// Micro-units in one unit.
pub const MICROS: i64 = 1_000_000;
/// The exclusive bound of a value's magnitude, in micro-units.
const MAGNITUDE_MAX: u128 = 9_200_000_000_000 * MICROS as u128;

/// Why a text is not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The text is not a decimal number.
    #[error("not a decimal number")]
    NotADecimal,
    /// The magnitude is 9.2e12 or more.
    #[error("the magnitude must be below 9.2e12")]
    TooLarge,
}

impl Value {
    /// A value of so many micro-units, where the magnitude is in bounds.
    pub fn from_micros(micros: i64) -> Result<Self, ValueError> {
        if u128::from(micros.unsigned_abs()) < MAGNITUDE_MAX {
            Ok(Self(micros))
        } else {
            Err(ValueError::TooLarge)
        }
    }

    /// The micro-units.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Reads a decimal in JSON's number grammar, a sign and an exponent included, rounding half to
    /// even beyond 6 places.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let magnitude = match small_decimal(unsigned) {
            Some(micros) => micros,
            None => any_decimal(unsigned)?,
        };
        if magnitude >= MAGNITUDE_MAX {
            return Err(ValueError::TooLarge);
        }
        let micros = i64::try_from(magnitude).map_err(|_| ValueError::TooLarge)?;
        Ok(Self(if negative { -micros } else { micros }))
    }

    /// The shortest decimal that reads back as this number, as [`Value::parse`] takes it.
    pub fn from_f64(number: f64) -> Result<Self, ValueError> {
        /// Decimals below this, in micro-units, have at most 15 digits: no two are the same number.
        const TOLD_APART: f64 = 1e15;
        let micros = (number * MICROS as f64).round();
        if micros.abs() < TOLD_APART && micros / MICROS as f64 == number {
            return Ok(Self(micros as i64));
        }
        Self::parse(&number.to_string())
    }

    /// `unscaled / 10^scale`, as Avro's and others' decimals are stored, rounded half to even.
    pub fn from_scaled(unscaled: i128, scale: u32) -> Result<Self, ValueError> {
        let magnitude = unscaled.unsigned_abs();
        let micros = if scale <= 6 {
            magnitude.checked_mul(10u128.pow(6 - scale)).ok_or(ValueError::TooLarge)?
        } else if scale - 6 > 38 {
            0
        } else {
            divide_half_even(magnitude, 10u128.pow(scale - 6))
        };
        if micros >= MAGNITUDE_MAX {
            return Err(ValueError::TooLarge);
        }
        let micros = i64::try_from(micros).map_err(|_| ValueError::TooLarge)?;
        Ok(Self(if unscaled < 0 { -micros } else { micros }))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_micros(i128::from(self.0)))
    }
}

/// Micro-units as a decimal with exactly its digits: `12.5`, `-0.000001`, `3`.
pub fn format_micros(micros: i128) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let magnitude = micros.unsigned_abs();
    let (units, fraction) = (magnitude / MICROS as u128, magnitude % MICROS as u128);
    if fraction == 0 {
        return format!("{sign}{units}");
    }
    let digits = format!("{fraction:06}");
    format!("{sign}{units}.{}", digits.trim_end_matches('0'))
}

/// `sum / n` in micro-units, rounded half to even. `n` must not be 0.
pub fn average_micros(sum: i128, n: u64) -> i128 {
    assert!(n > 0, "an average needs at least one value");
    let rounded = i128::try_from(divide_half_even(sum.unsigned_abs(), u128::from(n)))
        .expect("a quotient of an i128's magnitude and a positive divisor fits");
    if sum < 0 { -rounded } else { rounded }
}

fn divide_half_even(dividend: u128, divisor: u128) -> u128 {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    // `rest * 2` cannot overflow where the divisor is at most 10^38; compare without doubling.
    match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + (quotient & 1),
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

/// The common case: up to 12 digits, a point, up to 6 digits. `None` leaves it to [`any_decimal`].
fn small_decimal(text: &[u8]) -> Option<u128> {
    // All digits together: 18 of them at most, which 64 bits hold.
    let (mut micros, mut at) = (0u64, 0);
    let mut take = |from: usize, most: usize| -> Option<usize> {
        let mut at = from;
        while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10)
        {
            if at - from >= most {
                return None;
            }
            micros = micros * 10 + u64::from(digit);
            at += 1;
        }
        (at > from).then_some(at)
    };
    at = take(at, 12)?;
    if at > 1 && text[0] == b'0' {
        return None;
    }
    let mut places = 0;
    if text.get(at) == Some(&b'.') {
        let end = take(at + 1, 6)?;
        (places, at) = (end - at - 1, end);
    }
    const WEIGHTS: [u64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    (at == text.len()).then(|| u128::from(micros * WEIGHTS[places]))
}

/// JSON's whole number grammar without the sign: digits, fraction, exponent of any length.
fn any_decimal(text: &[u8]) -> Result<u128, ValueError> {
    let digits_at = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole_len = digits_at(0);
    if whole_len == 0 || (whole_len > 1 && text[0] == b'0') {
        return Err(ValueError::NotADecimal);
    }
    let mut at = whole_len;
    let mut fraction: &[u8] = &[];
    if text.get(at) == Some(&b'.') {
        let len = digits_at(at + 1);
        if len == 0 {
            return Err(ValueError::NotADecimal);
        }
        fraction = &text[at + 1..at + 1 + len];
        at += 1 + len;
    }
    let exponent = exponent(&text[at..])?;
    let digits: Vec<u8> = text[..whole_len].iter().chain(fraction).map(|b| b - b'0').collect();
    let Some(first) = digits.iter().position(|&d| d != 0) else { return Ok(0) };
    // The first digit that counts stands for 10^power micro-units.
    let power = exponent.saturating_add(6 + whole_len as i64 - 1 - first as i64);
    if power >= 20 {
        return Err(ValueError::TooLarge);
    }
    if power < -1 {
        return Ok(0);
    }
    let significant = &digits[first..];
    let kept = usize::try_from(power + 1).expect("the power is -1 or more");
    let mut micros = 0u128;
    for place in 0..kept {
        micros = micros * 10 + u128::from(significant.get(place).copied().unwrap_or(0));
    }
    let rest = significant.get(kept..).unwrap_or(&[]);
    let half = match rest.split_first() {
        None => std::cmp::Ordering::Less,
        Some((&next, tail)) => next.cmp(&5).then(if tail.iter().any(|&d| d != 0) {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }),
    };
    Ok(match half {
        std::cmp::Ordering::Less => micros,
        std::cmp::Ordering::Equal => micros + (micros & 1),
        std::cmp::Ordering::Greater => micros + 1,
    })
}

fn exponent(text: &[u8]) -> Result<i64, ValueError> {
    let digits = match text {
        [] => return Ok(0),
        [b'e' | b'E', b'+' | b'-', digits @ ..] | [b'e' | b'E', digits @ ..] => digits,
        _ => return Err(ValueError::NotADecimal),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ValueError::NotADecimal);
    }
    let size = digits
        .iter()
        .fold(0i64, |size, &d| size.saturating_mul(10).saturating_add(i64::from(d - b'0')))
        .min(1 << 40);
    Ok(if text[1] == b'-' { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(text: &str) -> Result<i64, ValueError> {
        Value::parse(text).map(Value::micros)
    }

    #[test]
    fn reads_decimals_exactly() {
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("12.5", 12_500_000),
            ("-12.5", -12_500_000),
            ("0.000001", 1),
            ("1e3", 1_000_000_000),
            ("1E-6", 1),
            ("1.5e-6", 2),
            ("2.5e-6", 2),
            ("0.0000005", 0),
            ("0.0000015", 2),
            ("0.00000050000000000000000001", 1),
            ("9199999999999.999999", 9_199_999_999_999_999_999),
            ("0e999999999999999999999", 0),
            ("1e-999999999999999999999", 0),
            ("123456789012.123456", 123_456_789_012_123_456),
        ] {
            assert_eq!(micros(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_decimal_or_too_large() {
        for text in ["", "-", "+1", "01", ".5", "5.", "1e", "1e+", "NaN", "Infinity", "0x1", "1 "] {
            assert_eq!(micros(text), Err(ValueError::NotADecimal), "{text}");
        }
        for text in ["9200000000000", "-9.2e12", "1e400", "9199999999999.9999999"] {
            assert_eq!(micros(text), Err(ValueError::TooLarge), "{text}");
        }
    }

    #[test]
    fn averages_round_half_to_even() {
        assert_eq!(average_micros(5, 2), 2);
        assert_eq!(average_micros(7, 2), 4);
        assert_eq!(average_micros(-5, 2), -2);
        assert_eq!(average_micros(10, 3), 3);
        assert_eq!(average_micros(11, 3), 4);
    }

    proptest! {
        #[test]
        fn text_and_back(micros in -9_199_999_999_999_999_999i64..=9_199_999_999_999_999_999) {
            let value = Value::from_micros(micros).unwrap();
            prop_assert_eq!(Value::parse(&value.to_string()), Ok(value));
        }

        #[test]
        fn both_parsers_agree(units in 0u64..999_999_999_999, fraction in "[0-9]{1,6}") {
            let text = format!("{units}.{fraction}");
            prop_assert_eq!(small_decimal(text.as_bytes()), any_decimal(text.as_bytes()).ok());
        }

        #[test]
        fn a_number_is_its_shortest_text(
            any in any::<f64>(),
            micros in -9_200_000_000_000_000_000i64..9_200_000_000_000_000_000,
            scale in 0i32..18,
        ) {
            for number in [any, micros as f64 / 1e6, micros as f64 / 10f64.powi(scale)] {
                prop_assert_eq!(Value::from_f64(number), Value::parse(&number.to_string()));
            }
        }

        #[test]
        fn scaled_agrees_with_text(unscaled in -1_000_000_000i64..1_000_000_000, scale in 0u32..12) {
            let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale as usize + 1);
            let (units, fraction) = digits.split_at(digits.len() - scale as usize);
            let sign = if unscaled < 0 { "-" } else { "" };
            let point = if scale > 0 { "." } else { "" };
            prop_assert_eq!(
                Value::from_scaled(i128::from(unscaled), scale),
                Value::parse(&format!("{sign}{units}{point}{fraction}"))
            );
        }
    }
}
