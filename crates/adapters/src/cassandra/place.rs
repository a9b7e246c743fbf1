//! Where a cluster is and how it is spoken to, as people write it:
//! `cassandra://node1:9042,node2/tally?write_consistency=local_quorum&datacenter=eu`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use scylla::statement::Consistency;
use thiserror::Error;

/// The port where a node says none.
const PORT: u16 = 9042;
/// A statement that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A read that takes longer is sent to another node too.
const SPECULATE: Duration = Duration::from_millis(100);

/// A keyspace of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// Nodes to begin with, each `host:port`; the others are learned from them.
    pub nodes: Vec<String>,
    /// The keyspace: letters, digits and `_`.
    pub keyspace: String,
    /// How many replicas answer a read.
    pub read_consistency: Consistency,
    /// How many replicas confirm a write.
    pub write_consistency: Consistency,
    /// Where the replicas are that are asked first; any where none is named.
    pub datacenter: Option<String>,
    /// How long a statement may take.
    pub timeout: Duration,
    /// How long a read waits before another node is asked too; none never asks another.
    pub speculate: Option<Duration>,
    /// User and password.
    pub user: Option<(String, String)>,
    /// A file with the user in its first line and the password in its second.
    pub user_file: Option<PathBuf>,
    /// Whether the connections are encrypted.
    pub tls: bool,
    /// Certificates that are trusted instead of the system's, PEM.
    pub tls_ca: Option<PathBuf>,
}

/// Passwords are for nobody's log.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cassandra://{}/{}", self.nodes.join(","), self.keyspace)
    }
}

/// Why a text names no keyspace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// Another scheme, or none.
    #[error("it must begin with cassandra://")]
    Scheme,
    /// No node, or one that cannot be one.
    #[error("`{0}` is no node: give cassandra://host:port,host:port/keyspace")]
    Node(String),
    /// No keyspace, or one that cannot be one.
    #[error(
        "`{0}` is no keyspace: 1 to 48 letters, digits and `_`, of which the first is a letter"
    )]
    Keyspace(String),
    /// A read that could miss what a write has confirmed.
    #[error(
        "read_consistency and write_consistency must have a replica in common, or counts get lost: both \
         quorum, both local_quorum, each_quorum for writes, or all for one of them"
    )]
    Consistency,
    /// An option that is not known, or without a value that is.
    #[error("the option `{name}` is `{value}`, and must be {allowed}")]
    Option {
        /// Which option.
        name: String,
        /// What it says.
        value: String,
        /// What it may say.
        allowed: &'static str,
    },
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let rest = text.strip_prefix("cassandra://").ok_or(PlaceError::Scheme)?;
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (nodes, keyspace) = rest.split_once('/').unwrap_or((rest, ""));
        // A password may have any character but those that end this part of a URL.
        let (user, nodes) = match nodes.rsplit_once('@') {
            Some((user, nodes)) => (Some(user.split_once(':').unwrap_or((user, ""))), nodes),
            None => (None, nodes),
        };
        let mut place = Self {
            nodes: nodes.split(',').map(node).collect::<Result<_, _>>()?,
            keyspace: check_keyspace(keyspace)?,
            read_consistency: Consistency::Quorum,
            write_consistency: Consistency::Quorum,
            datacenter: None,
            timeout: TIMEOUT,
            speculate: Some(SPECULATE),
            user: user.map(|(name, password)| (name.to_owned(), password.to_owned())),
            user_file: None,
            tls: false,
            tls_ca: None,
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            place.set(name, value).map_err(|allowed| {
                let (name, value) = (name.to_owned(), value.to_owned());
                PlaceError::Option { name, value, allowed }
            })?;
        }
        match overlap(place.read_consistency, place.write_consistency) {
            true => Ok(place),
            false => Err(PlaceError::Consistency),
        }
    }
}

impl Place {
    /// Whether connections are encrypted: whoever names whom to trust wants that.
    pub(super) fn is_encrypted(&self) -> bool {
        self.tls || self.tls_ca.is_some()
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        const CONSISTENCY: &str =
            "one, local_one, two, three, quorum, local_quorum, each_quorum or all";
        const MILLIS: &str = "a number of milliseconds, 1 to 600000";
        let path = || match value {
            "" => Err("the path of a file"),
            path => Ok(Some(PathBuf::from(path))),
        };
        let millis = || {
            let millis = value.parse().ok().filter(|millis| (1..=600_000).contains(millis));
            millis.map(Duration::from_millis)
        };
        match name {
            "read_consistency" => self.read_consistency = consistency(value).ok_or(CONSISTENCY)?,
            "write_consistency" => {
                self.write_consistency = consistency(value).ok_or(CONSISTENCY)?
            }
            "datacenter" if !value.is_empty() => self.datacenter = Some(value.to_owned()),
            "timeout_ms" => self.timeout = millis().ok_or(MILLIS)?,
            "speculate_ms" if value == "off" => self.speculate = None,
            "speculate_ms" => {
                let allowed = "a number of milliseconds, 1 to 600000, or off";
                self.speculate = Some(millis().ok_or(allowed)?);
            }
            "user_file" => self.user_file = path()?,
            "tls" => self.tls = value.parse().map_err(|_| "true or false")?,
            "tls_ca" => self.tls_ca = path()?,
            "datacenter" => return Err("the name of a data center"),
            _ => {
                return Err("one of read_consistency, write_consistency, datacenter, timeout_ms, \
                            speculate_ms, user_file, tls, tls_ca");
            }
        }
        Ok(())
    }
}

/// Whether a read sees what any write has confirmed, however often rows are kept. Who flushes adds to what it
/// reads, so a stale read would be written back as the truth.
fn overlap(read: Consistency, write: Consistency) -> bool {
    use Consistency::{All, EachQuorum, LocalQuorum, Quorum};

    match (read, write) {
        (All, _) | (_, All) => true,
        // Within one data center, where all that flush must be.
        (LocalQuorum, LocalQuorum) | (Quorum, Quorum) => true,
        (Quorum | LocalQuorum, EachQuorum) | (EachQuorum, Quorum | LocalQuorum) => true,
        _ => false,
    }
}

fn node(text: &str) -> Result<String, PlaceError> {
    let refused = || PlaceError::Node(text.to_owned());
    // A bare IPv6 address has colons of its own, and is written in brackets.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refused)?)
        }
        _ => (text, PORT),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err(refused());
    }
    Ok(format!("{host}:{port}"))
}

/// A keyspace goes into statements as it is.
fn check_keyspace(text: &str) -> Result<String, PlaceError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
    match begins_well && text.len() <= 48 && text.chars().all(is_plain) {
        // Unquoted names are the same in any case; in tables of the system they are in lower case.
        true => Ok(text.to_ascii_lowercase()),
        false => Err(PlaceError::Keyspace(text.to_owned())),
    }
}

fn consistency(text: &str) -> Option<Consistency> {
    Some(match text {
        "one" => Consistency::One,
        "local_one" => Consistency::LocalOne,
        "two" => Consistency::Two,
        "three" => Consistency::Three,
        "quorum" => Consistency::Quorum,
        "local_quorum" => Consistency::LocalQuorum,
        "each_quorum" => Consistency::EachQuorum,
        "all" => Consistency::All,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_everything() {
        let place: Place = "cassandra://a,b:9043,[::1]:1/Tally".parse().unwrap();
        assert_eq!(place.nodes, ["a:9042", "b:9043", "[::1]:1"]);
        assert_eq!(place.keyspace, "tally");
        assert_eq!(place.read_consistency, Consistency::Quorum);
        assert_eq!(place.write_consistency, Consistency::Quorum);
        assert!(!place.tls && place.user.is_none());
        let text = "cassandra://me:p@ss:w@n/k?read_consistency=local_one&write_consistency=all\
                    &datacenter=eu&timeout_ms=500&speculate_ms=off&tls=true&tls_ca=/ca.pem\
                    &user_file=/secret";
        let place: Place = text.parse().unwrap();
        assert_eq!(place.user, Some(("me".into(), "p@ss:w".into())));
        assert_eq!(place.read_consistency, Consistency::LocalOne);
        assert_eq!(place.write_consistency, Consistency::All);
        assert_eq!(place.datacenter.as_deref(), Some("eu"));
        assert_eq!((place.timeout, place.speculate), (Duration::from_millis(500), None));
        assert!(place.tls && place.tls_ca == Some("/ca.pem".into()));
        assert_eq!(place.user_file, Some("/secret".into()));
        assert_eq!(format!("{place:?}"), "cassandra://n:9042/k");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("scylla://a/k", "cassandra://"),
            ("cassandra:///k", "is no node"),
            ("cassandra://a:0/k", "`a:0`"),
            ("cassandra://a b/k", "`a b`"),
            ("cassandra://a", "is no keyspace"),
            ("cassandra://a/1k", "`1k`"),
            ("cassandra://a/k;drop", "`k;drop`"),
            ("cassandra://a/k?read_consistency=any", "local_quorum"),
            ("cassandra://a/k?timeout_ms=0", "milliseconds"),
            ("cassandra://a/k?speculate_ms=no", "or off"),
            ("cassandra://a/k?tls=maybe", "true or false"),
            ("cassandra://a/k?datacenter", "data center"),
            ("cassandra://a/k?color=red", "`color`"),
            ("cassandra://a/k?read_consistency=one", "in common"),
            ("cassandra://a/k?write_consistency=local_quorum", "in common"),
            ("cassandra://a/k?write_consistency=two&read_consistency=two", "in common"),
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
