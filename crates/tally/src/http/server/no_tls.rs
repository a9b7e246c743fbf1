//! A build without TLS: certificates are refused.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use model::TimestampMs;

use super::guarded::Guarded;
use crate::config::TlsFiles;

/// This program cannot serve HTTPS.
#[derive(Debug, thiserror::Error)]
#[error("this program was built without TLS (feature `tls`): leave out `tls_cert` and `tls_key`")]
pub(crate) struct TlsError;

/// There is none.
pub(crate) struct Tls(Infallible);

/// There is none.
pub(super) struct Acceptor(Infallible);

/// Never made.
pub(super) type TlsStream = Guarded;

impl Tls {
    pub(crate) fn open(_: TlsFiles) -> Result<Self, TlsError> {
        Err(TlsError)
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        match self.0 {}
    }

    /// Never asked.
    pub(crate) fn ends(&self) -> Option<TimestampMs> {
        match self.0 {}
    }

    pub(crate) async fn follow(self: Arc<Self>) {
        match self.0 {}
    }
}

impl Acceptor {
    pub(super) async fn accept(self, _: Guarded) -> io::Result<(bool, TlsStream)> {
        match self.0 {}
    }
}
