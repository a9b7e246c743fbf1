//! Where a request comes from, and the key that may stand in its address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};

/// The other end of the connection; an extension of the requests of a server that wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Addresses with the same first bits: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    address: IpAddr,
    bits: u8,
}

impl FromStr for AddressRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "it must be addresses or ranges such as 10.0.0.0/8, with commas";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| SHAPE)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| SHAPE))?;
        if bits > most { Err(SHAPE) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl AddressRange {
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                (u64::from(own.to_bits() ^ other.to_bits()) >> shift) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The client's address. What a proxy says is believed where the proxy is trusted, and of several the
/// last that is none of ours: whatever stands before it, the client may have written itself.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[AddressRange]) -> IpAddr {
    const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
    let is_trusted = |address| trusted.iter().any(|range| range.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let lines: Vec<_> = headers.get_all(FORWARDED).iter().collect();
    let said = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for text in said {
        let text = std::str::from_utf8(text).unwrap_or_default().trim();
        let Ok(address) = text.parse::<IpAddr>() else { break };
        client = address.to_canonical();
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// What is limited as one: an IPv6 customer has a /64 of addresses.
pub(in crate::http) fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// The parameter of an address that a public key may stand in.
pub(in crate::http) const KEY_PARAMETER: &str = "key";

/// Takes the parameter `key` out of the address, so that no path sees it. A key has no characters that
/// are percent-encoded. None where there is no such parameter, or more than one.
pub(super) fn take_key(head: &mut Parts) -> Option<String> {
    let query = head.uri.query()?;
    let is_key = |pair: &&str| pair.split('=').next() == Some(KEY_PARAMETER);
    let mut found = query.split('&').filter(is_key);
    let (Some(pair), None) = (found.next(), found.next()) else { return None };
    let (_, key) = pair.split_once('=')?;
    let key = key.to_owned();
    let rest: Vec<_> = query.split('&').filter(|pair| !is_key(pair)).collect();
    let path = head.uri.path();
    let path_and_query =
        if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) };
    let mut parts = head.uri.clone().into_parts();
    // A part of what was an address is one.
    parts.path_and_query = path_and_query.parse().ok();
    head.uri = Uri::from_parts(parts).ok()?;
    Some(key)
}
