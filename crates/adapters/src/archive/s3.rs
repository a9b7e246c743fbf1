//! A bucket of S3, or of a server that speaks like it, and the runtime that its sockets need.

use std::env;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::ports::{ErrorKind, PortError};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Name;
use object_store::prefix::PrefixStore;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};

/// For how long a request is tried again: callers try again themselves, and want to know.
const RETRY: Duration = Duration::from_secs(10);

/// A part of an upload has so long.
const REQUEST_TIMEOUT: &str = "30 seconds";

/// One thread for sockets.
pub(super) struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match &self.0 {
            Some(runtime) => runtime.block_on(future),
            None => unreachable!("only drop takes it"),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Connections are all that is left; nobody waits for them.
            runtime.shutdown_background();
        }
    }
}

/// Opens a bucket with what the environment says of credentials, region and endpoint.
pub(super) fn open(
    bucket: &str,
    prefix: &str,
) -> Result<(Arc<dyn ObjectStore>, Runtime), PortError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("s3")
        .enable_all()
        .build()
        .map_err(|error| {
            PortError::caused(ErrorKind::Unavailable, "cannot start a thread for S3", error)
        })?;
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .into_iter()
        .find_map(|name| env::var(name).ok());
    let is_http_allowed = env::var("AWS_ALLOW_HTTP").is_ok_and(|allow| allow == "true")
        || endpoint.as_deref().is_some_and(is_on_this_machine);
    if let Some(endpoint) = endpoint.filter(|url| url.starts_with("http://") && !is_http_allowed) {
        let context = format!(
            "{endpoint} would send events in clear over the network; use https, or set \
             AWS_ALLOW_HTTP=true"
        );
        return Err(PortError::new(ErrorKind::Invalid, context));
    }
    let retry = RetryConfig { max_retries: 3, retry_timeout: RETRY, ..RetryConfig::default() };
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), "5 seconds")
        .with_allow_http(is_http_allowed)
        .with_retry(retry)
        // Many servers lack it, and here objects go one by one.
        .with_disable_bulk_delete(true)
        .build()
        .map_err(|error| {
            let context =
                format!("the AWS_… environment variables do not say how to reach s3://{bucket}");
            PortError::caused(ErrorKind::Invalid, context, error)
        })?;
    let prefix = Name::parse(prefix).map_err(|error| {
        PortError::caused(ErrorKind::Invalid, format!("`{prefix}` cannot be a prefix"), error)
    })?;
    Ok((Arc::new(PrefixStore::new(store, prefix)), Runtime(Some(runtime))))
}

/// Whether a URL without TLS leads to this machine.
fn is_on_this_machine(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_on_this_machine;

    #[test]
    fn http_is_for_this_machine() {
        for url in [
            "http://127.0.0.1:9000",
            "http://localhost",
            "http://[::1]:9000/",
            "http://127.1.2.3/x",
        ] {
            assert!(is_on_this_machine(url), "{url}");
        }
        for url in
            ["https://127.0.0.1", "http://10.0.0.1:9000", "http://127.0.0.1.example.com", "s3"]
        {
            assert!(!is_on_this_machine(url), "{url}");
        }
    }
}
