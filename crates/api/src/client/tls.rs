//! HTTPS: whom the client trusts.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{ClientError, plain_connector};

/// Opens connections to `http` and `https`.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Whose certificates are good.
#[derive(Clone, Debug)]
pub(super) struct Trust(ClientConfig);

impl Trust {
    /// Trusts what the system trusts, where the server is reached by `https`; with `http` nobody is
    /// asked. On a system that trusts nobody no connection is made.
    pub(super) fn of_system(base_url: &str) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        if base_url.starts_with("https") {
            // A certificate among them that cannot be read trusts nobody; the others do.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Self::of_roots(roots)
    }

    /// Trusts these certificates alone.
    pub(super) fn of_pem(pem: &[u8]) -> Result<Self, ClientError> {
        let invalid = |reason: String| ClientError::InvalidCertificates { reason };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(invalid("there is no certificate in it".to_owned()));
        }
        Self::of_roots(roots)
    }

    fn of_roots(roots: RootCertStore) -> Result<Self, ClientError> {
        // Named, as another library in the same program may bring another one.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::InvalidCertificates { reason: error.to_string() })?;
        Ok(Self(config.with_root_certificates(roots).with_no_client_auth()))
    }

    pub(super) fn connector(&self, connect_timeout: Duration) -> Connector {
        let mut plain = plain_connector(connect_timeout);
        plain.enforce_http(false);
        HttpsConnectorBuilder::new()
            .with_tls_config(self.0.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain)
    }
}
