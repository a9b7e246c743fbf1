//! The text of a key, and what is kept of it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What the text of every key begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "tk_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

/// What a key is called in lists and logs. No secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KeyId(pub(super) [u8; ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl FromStr for KeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_hex(text.as_bytes()).map(Self).ok_or("a key's id is 12 hexadecimal digits")
    }
}

/// The text of a key. Shown once to whoever made it, and never by `Debug`.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A new key: its id, and a secret that nobody guesses. The generator is seeded by the system and
    /// made for secrets.
    pub(super) fn generate() -> (KeyId, Self) {
        let id = KeyId(rand::random());
        let secret: [u8; SECRET_BYTES] = rand::random();
        (id, Self(format!("{PREFIX}{id}_{}", to_hex(&secret))))
    }

    /// The key that a person wrote down; none where there is only white space.
    pub(crate) fn given(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The text itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> SecretHash {
        SecretHash::of(self.0.as_bytes())
    }
}

/// The id within the text of a key; none where the text cannot be one.
pub(super) fn id_of(text: &[u8]) -> Option<KeyId> {
    let rest = text.strip_prefix(PREFIX.as_bytes())?;
    let (id, rest) = rest.split_at_checked(2 * ID_BYTES)?;
    let secret = rest.strip_prefix(b"_")?;
    (secret.len() == 2 * SECRET_BYTES).then_some(())?;
    from_hex(id).map(KeyId)
}

/// SHA-256 of a key's text. A slow hash with a salt is for what people choose: nobody tries out 2^256
/// random secrets, and this is asked of every request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SecretHash([u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl SecretHash {
    const SCHEME: &'static str = "sha256:";

    pub(super) fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Whether a text is the key, in a time that does not depend on how much of it is right.
    pub(super) fn is_of(&self, text: &[u8]) -> bool {
        Self::of(text).0.ct_eq(&self.0).into()
    }

    /// As it stands in the file.
    pub(super) fn to_text(self) -> String {
        format!("{}{}", Self::SCHEME, to_hex(&self.0))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        from_hex(text.strip_prefix(Self::SCHEME)?.as_bytes()).map(Self)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    (text.len() == 2 * N).then_some(())?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
