//! Item details, read back from any bytes.

use super::bytes;

/// What is read keeps the rules, and is written in one way only.
pub fn details(input: &[u8]) {
    let Ok(details) = bytes::read(input) else { return };
    assert_eq!(details.check(), Ok(()));
    assert_eq!(bytes::write(&details), input);
}
