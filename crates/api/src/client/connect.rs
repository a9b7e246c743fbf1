//! A connection as the client makes it, for who speaks HTTP over it without the client.

use std::error::Error;

use hyper::Uri;
use hyper::rt::{Read, Write};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::{Client, ClientError};

impl Client {
    /// A new connection to the server for HTTP/1.1, over TLS where its URL says `https`, within the
    /// client's time limit. It is none of those that the client's own requests use.
    ///
    /// # Errors
    /// [`ClientError::Connect`] when nobody answers, or nobody whom the client trusts;
    /// [`ClientError::Timeout`].
    pub async fn connect(
        &self,
    ) -> Result<impl Read + Write + Send + Unpin + 'static + use<>, ClientError> {
        let url = || self.base.clone();
        let uri: Uri = self.base.parse().map_err(|_| ClientError::InvalidUrl {
            url: url(),
            reason: "write it like http://127.0.0.1:8080",
        })?;
        let after = self.connect_timeout;
        let opening = TowerToHyperService::new(self.tls.connector(after)).call(uri);
        tokio::time::timeout(after, opening)
            .await
            .map_err(|_| ClientError::Timeout { url: url(), after })?
            .map_err(|source| ClientError::Connect { url: url(), source: boxed(source) })
    }
}

/// With TLS the error is boxed already.
fn boxed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Box<dyn Error + Send + Sync> {
    error.into()
}
