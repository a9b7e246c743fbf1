//! TLS: the certificate of the server, read again when its files change.
//!
//! A connection keeps what it began with; the next one gets what is new. Files that make no sense, such
//! as a certificate whose key has not come yet, change nothing.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::TimestampMs;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::guarded::Guarded;
use super::not_after::not_after;
use crate::config::TlsFiles;

/// How often it is looked whether the files have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("the file {} is no {what} in PEM", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it was to be.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The certificate has nothing in it.
    #[error("the file {} holds no certificate", .0.display())]
    Empty(PathBuf),
    /// They do not go together, or are of a kind that is not understood.
    #[error("the certificate and its key cannot be used together")]
    Pair(#[from] rustls::Error),
}

/// See the module.
pub(crate) struct Tls {
    files: TlsFiles,
    loaded: ArcSwap<Loaded>,
    seen: Mutex<Option<Fingerprint>>,
}

/// A certificate that is in use.
struct Loaded {
    config: Arc<ServerConfig>,
    /// None where that cannot be told.
    ends: Option<TimestampMs>,
}

/// A connection's bytes, as they were before they were encrypted.
pub(super) type TlsStream = tokio_rustls::server::TlsStream<Guarded>;

/// Takes one connection.
pub(super) struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// Shakes hands; whether HTTP/2 was agreed on.
    pub(super) async fn accept(self, stream: Guarded) -> io::Result<(bool, TlsStream)> {
        let stream = self.0.accept(stream).await?;
        Ok((stream.get_ref().1.alpn_protocol() == Some(b"h2"), stream))
    }
}

/// Tells the files from those that replaced them.
type Fingerprint = [(u64, u64, i64, i64); 2];

impl Tls {
    /// With the certificate of the files.
    ///
    /// # Errors
    /// When they cannot be read or used.
    pub(crate) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let seen = Mutex::new(fingerprint(&files));
        let loaded = ArcSwap::from_pointee(load(&files)?);
        Ok(Self { files, loaded, seen })
    }

    /// Takes connections with the certificate as it is now.
    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor(self.loaded.load().config.clone().into())
    }

    /// When the certificate ends that is in use.
    pub(crate) fn ends(&self) -> Option<TimestampMs> {
        self.loaded.load().ends
    }

    /// Reads the files again if they have changed. Blocks.
    pub(crate) fn reload_if_changed(&self) {
        let fingerprint = fingerprint(&self.files);
        let mut seen = self.seen.lock();
        if *seen == fingerprint {
            return;
        }
        // Told once for each state of the files.
        *seen = fingerprint;
        let file = self.files.cert.display();
        match load(&self.files) {
            Ok(loaded) => {
                self.loaded.store(Arc::new(loaded));
                tracing::info!(%file, "the certificate was read again");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, %file, "the certificate cannot be read again; the one from before holds");
            }
        }
    }

    /// Looks again and again whether the files have changed.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let tls = self.clone();
            // One that panicked has said so.
            let _ = tokio::task::spawn_blocking(move || tls.reload_if_changed()).await;
        }
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let failed = |path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::File { path, what, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(&files.cert, "certificate"))?;
    let Some(own) = chain.first() else {
        return Err(TlsError::Empty(files.cert.clone()));
    };
    let ends = not_after(own);
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(failed(&files.key, "private key"))?;
    // Named, as another library in the same program may bring another one.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), ends })
}

fn fingerprint(files: &TlsFiles) -> Option<Fingerprint> {
    let of = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.ino(), data.len(), data.ctime(), data.ctime_nsec()))
    };
    Some([of(&files.cert)?, of(&files.key)?])
}
