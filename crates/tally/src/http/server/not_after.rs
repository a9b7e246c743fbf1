//! When a certificate ends, read from its bytes (X.509 in DER, RFC 5280).
//!
//! TLS looks at it in the client; the server only has to warn its operator in time, and wants one field of
//! a certificate that it was given by them.

use model::TimestampMs;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version of a certificate, where it says one.
const VERSION: u8 = 0xa0;

/// When it ends; none where the bytes are not as they should be.
pub(super) fn not_after(certificate: &[u8]) -> Option<TimestampMs> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (signed, _) = expect(certificate, SEQUENCE)?;
    let rest = match element(signed)? {
        (VERSION, _, rest) => rest,
        _ => signed,
    };
    let (_serial, rest) = expect(rest, INTEGER)?;
    let (_algorithm, rest) = expect(rest, SEQUENCE)?;
    let (_issuer, rest) = expect(rest, SEQUENCE)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (_, _not_before, rest) = element(validity)?;
    let (kind, time, _) = element(rest)?;
    let text = std::str::from_utf8(time).ok()?;
    match kind {
        // Years from 50 on are of the century before.
        UTC_TIME if text.is_ascii() && text.len() == 13 => {
            let century = if text.get(..2)? < "50" { "20" } else { "19" };
            instant(&format!("{century}{text}"))
        }
        GENERALIZED_TIME if text.is_ascii() && text.len() == 15 => instant(text),
        _ => None,
    }
}

/// Reads `20261122101500Z`.
fn instant(text: &str) -> Option<TimestampMs> {
    let digits = text.strip_suffix('Z')?;
    let part = |from: usize, to: usize| digits.get(from..to);
    let (date, time) = ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(8, 10)?, part(10, 12)?));
    let seconds = part(12, 14)?;
    let ((year, month, day), (hour, minute)) = (date, time);
    TimestampMs::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{seconds}Z")).ok()
}

/// The content of an element of this kind, and what follows it.
fn expect(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == kind).then_some((content, rest))
}

/// The kind and content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // So many bytes of length, of which four are more than any certificate has.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((kind, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_found_in_both_ways_to_write_it() {
        for year in [2030, 2049, 2050, 4096] {
            let expected = TimestampMs::parse(&format!("{year}-02-03T00:00:00Z")).unwrap();
            assert_eq!(not_after(&made(year)), Some(expected), "{year}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_end() {
        let whole = made(2030);
        (0..whole.len()).for_each(|end| assert_eq!(not_after(&whole[..end]), None, "{end}"));
        // Whatever byte is wrong, nothing worse than another answer comes of it.
        for at in 0..whole.len().min(400) {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut bad = whole.clone();
                bad[at] = byte;
                let _ = not_after(&bad);
            }
        }
        assert_eq!(not_after(&[]), None);
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
