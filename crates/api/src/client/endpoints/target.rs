//! Where servers are: a URL as it is, or a name that stands for several addresses.

use hyper::Uri;

use super::super::{ClientError, path};

/// One entry of the list of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A server, or a load balancer that looks like one, such as `http://10.0.0.7:8080`.
    Url(String),
    /// A URL whose host is a name of DNS: each of its addresses is an endpoint. It is resolved
    /// again and again; addresses come and go. With `https` the name is one endpoint: its
    /// certificate is for the name.
    Dns(String),
}

impl From<&str> for Target {
    fn from(url: &str) -> Self {
        Self::Url(url.to_owned())
    }
}

impl From<String> for Target {
    fn from(url: String) -> Self {
        Self::Url(url)
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) url: String,
    /// The header `Host`, where the URL has an address instead of the name.
    pub(super) host: Option<String>,
}

impl Target {
    /// Whether it can be used.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let (Self::Url(url) | Self::Dns(url)) = self;
        path::check_base(url).map(|_| ())
    }

    /// The addresses that it stands for now; none where its name cannot be resolved.
    pub(super) async fn resolve(&self) -> Vec<Address> {
        let (Self::Url(url) | Self::Dns(url)) = self;
        let Ok(base) = path::check_base(url) else { return Vec::new() };
        if matches!(self, Self::Url(_)) || base.starts_with("https") {
            return vec![Address { url: base, host: None }];
        }
        let Ok(uri) = base.parse::<Uri>() else { return Vec::new() };
        let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
            return Vec::new();
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((host, uri.port_u16().unwrap_or(80))).await;
        let mut found: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
        found.sort_unstable();
        found.dedup();
        let path = uri.path().trim_end_matches('/');
        let at = |address| Address {
            url: format!("http://{address}{path}"),
            host: Some(authority.as_str().to_owned()),
        };
        found.into_iter().map(at).collect()
    }
}
