//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// One thing that a key may do. None of them holds another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Send events and item details.
    Write,
    /// Ask for counts, lists and metrics.
    Read,
    /// Everything under `/v1/admin`.
    Admin,
}

impl Scope {
    /// All of them, in the order they are shown.
    pub(crate) const ALL: [Self; 3] = [Self::Write, Self::Read, Self::Admin];

    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("the scope `{text}` is none of write, read and admin"))
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scopes {
    /// None at all.
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const WRITE: Self = Self(1 << Scope::Write as u8);
    pub(crate) const READ: Self = Self(1 << Scope::Read as u8);
    pub(crate) const ADMIN: Self = Self(1 << Scope::Admin as u8);

    /// The scopes of either.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the two have a scope in common.
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Reads names.
    ///
    /// # Errors
    /// For a name that is no scope.
    pub(crate) fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        names.into_iter().try_fold(Self::NONE, |all, name| {
            let scope: Scope = name.parse()?;
            Ok(all.and(Self(1 << scope as u8)))
        })
    }

    /// The names, in the order they are shown.
    pub(crate) fn names(self) -> Vec<String> {
        let held = Scope::ALL.into_iter().filter(|scope| self.0 & (1 << *scope as u8) != 0);
        held.map(|scope| scope.to_string()).collect()
    }
}
