//! What a port says when it cannot: the kind is what the caller does next.

use std::error::Error;
use std::fmt;

/// What the caller of a port does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later; nothing is broken here.
    Unavailable,
    /// Too much at once: slow down and try again.
    Overloaded,
    /// Somebody else is or was at it: stop, and find out.
    Conflict,
    /// Stored bytes are wrong: stop this partition and tell the operator.
    Corrupt,
    /// The request can never work: do not repeat it.
    Invalid,
}

/// A failure of a port.
#[derive(Debug)]
pub struct PortError {
    /// What the caller does next.
    pub kind: ErrorKind,
    /// What was tried, on what, and what an operator can do.
    pub context: String,
    /// What went wrong below.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl PortError {
    /// A failure with no cause below.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// A failure with its cause.
    pub fn caused(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, context: context.into(), source: Some(source.into()) }
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
