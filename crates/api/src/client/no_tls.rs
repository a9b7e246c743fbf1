//! A build without TLS: `http` alone.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;

use super::{ClientError, plain_connector};

/// Opens connections to `http`.
pub(super) type Connector = HttpConnector;

/// Nobody's certificates are asked for.
#[derive(Clone, Debug)]
pub(super) struct Trust;

impl Trust {
    pub(super) fn of_system(base_url: &str) -> Result<Self, ClientError> {
        if base_url.starts_with("https") {
            let reason = "this build has no TLS (feature `client-tls`)";
            return Err(ClientError::InvalidUrl { url: base_url.to_owned(), reason });
        }
        Ok(Self)
    }

    pub(super) fn of_pem(_: &[u8]) -> Result<Self, ClientError> {
        let reason = "this build has no TLS (feature `client-tls`)".to_owned();
        Err(ClientError::InvalidCertificates { reason })
    }

    pub(super) fn connector(&self, connect_timeout: Duration) -> Connector {
        plain_connector(connect_timeout)
    }
}
