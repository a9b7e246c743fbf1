//! Where a log in Kafka is, as the setting `log` says it:
//! `kafka://host:port,host:port/topic?option=value&option=value`.
//!
//! Options with a dot go to Kafka's client as they are (`security.protocol`, `sasl.username`, …), and
//! `options-file` names a file of such options, a `name=value` a line, which keeps secrets out of
//! command lines. `replication-factor` says how a topic is made that is not there yet, `group` names
//! the group of the processors, `tally` if nothing is said, and `schema-id` the id of the schema of
//! events in the registry, 1 as in our own; `registry` is its URL, where the schemas of others are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rdkafka::ClientConfig;

/// A topic of a cluster, and how to talk to the cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaPlace {
    /// Brokers to begin with, `host:port` with commas between them.
    servers: String,
    /// The topic.
    pub topic: String,
    /// Copies of each partition where the topic is made; none leaves it to the brokers.
    pub replication_factor: Option<i32>,
    /// The group that processors share the partitions in.
    pub group: String,
    /// The id that the schema of events has in the registry.
    pub schema_id: u32,
    /// The schema registry; without one no schema but ours is known.
    pub registry: Option<String>,
    options: Vec<(String, String)>,
    options_file: Option<PathBuf>,
}

/// Why a text is no such place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaPlaceError {
    /// It has another form.
    #[error("it must have the form kafka://host:port,host:port/topic?option=value")]
    Form,
    /// The topic has a name that Kafka does not take.
    #[error("the topic `{0}` must be 1 to 249 of a-z A-Z 0-9 . _ -")]
    Topic(String),
    /// An option is none of ours, and has no dot as those of Kafka's client have.
    #[error(
        "there is no option `{0}`; there are replication-factor, group, registry, schema-id, options-file, \
         and the options of librdkafka that have a dot"
    )]
    Unknown(String),
    /// An option has a value that it does not take.
    #[error("the option `{0}` has a value that it does not take")]
    Value(String),
    /// An option that decides whether counting is exact.
    #[error("the option `{0}` is not free: exact counting depends on it")]
    Fixed(String),
    /// The file of options cannot be read.
    #[error("the file of options {0} cannot be read: {1}")]
    File(String, String),
}

/// Options that are set here and nowhere else.
const FIXED: [&str; 13] = [
    "acks",
    "request.required.acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.rack",
    "metadata.broker.list",
    "enable.auto.commit",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "group.id",
    "isolation.level",
    "message.timeout.ms",
    "delivery.timeout.ms",
];

impl FromStr for KafkaPlace {
    type Err = KafkaPlaceError;

    fn from_str(text: &str) -> Result<Self, KafkaPlaceError> {
        let rest = text.strip_prefix("kafka://").ok_or(KafkaPlaceError::Form)?;
        let (servers, rest) = rest.split_once('/').ok_or(KafkaPlaceError::Form)?;
        let (topic, options) = rest.split_once('?').unwrap_or((rest, ""));
        let is_server = |server: &str| match server.rsplit_once(':') {
            Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok(),
            None => false,
        };
        if !servers.split(',').all(is_server) {
            return Err(KafkaPlaceError::Form);
        }
        if !is_topic(topic) {
            return Err(KafkaPlaceError::Topic(topic.to_owned()));
        }
        let mut place = Self {
            servers: servers.to_owned(),
            topic: topic.to_owned(),
            replication_factor: None,
            group: "tally".to_owned(),
            schema_id: 1,
            registry: None,
            options: Vec::new(),
            options_file: None,
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or(KafkaPlaceError::Form)?;
            let value =
                percent_decoded(value).ok_or_else(|| KafkaPlaceError::Value(name.to_owned()))?;
            place.set(name, value)?;
        }
        Ok(place)
    }
}

impl KafkaPlace {
    fn set(&mut self, name: &str, value: String) -> Result<(), KafkaPlaceError> {
        let wrong = || KafkaPlaceError::Value(name.to_owned());
        match name {
            "replication-factor" => {
                let copies = value.parse().ok().filter(|copies| (1..=100).contains(copies));
                self.replication_factor = Some(copies.ok_or_else(wrong)?);
            }
            "group" if value.is_empty() => return Err(wrong()),
            "group" => self.group = value,
            "schema-id" => self.schema_id = value.parse().map_err(|_| wrong())?,
            "registry" => self.registry = Some(value),
            "options-file" => self.options_file = Some(value.into()),
            _ => self.options.push(free_option(name, value)?),
        }
        Ok(())
    }

    /// What every client of this cluster is configured with.
    ///
    /// # Errors
    /// Where the file of options cannot be read or has others than those of Kafka's client.
    pub(super) fn client(&self) -> Result<ClientConfig, KafkaPlaceError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("client.id", "tally");
        if let Some(file) = &self.options_file {
            for (name, value) in options_of(file)? {
                config.set(name, value);
            }
        }
        for (name, value) in &self.options {
            config.set(name, value);
        }
        Ok(config)
    }
}

impl fmt::Display for KafkaPlace {
    /// Without options: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kafka://{}/{}", self.servers, self.topic)
    }
}

impl fmt::Debug for KafkaPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn free_option(name: &str, value: String) -> Result<(String, String), KafkaPlaceError> {
    if FIXED.contains(&name) {
        return Err(KafkaPlaceError::Fixed(name.to_owned()));
    }
    // `debug` and `acks` aside, every option of librdkafka that somebody needs has a dot.
    if !name.contains('.') {
        return Err(KafkaPlaceError::Unknown(name.to_owned()));
    }
    Ok((name.to_owned(), value))
}

/// The options of a file: `name=value` a line, `#` begins a comment.
fn options_of(file: &Path) -> Result<Vec<(String, String)>, KafkaPlaceError> {
    let wrong = |what: String| KafkaPlaceError::File(file.display().to_string(), what);
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(at, line)| {
            let pair = line.split_once('=');
            let (name, value) = pair.ok_or_else(|| wrong(format!("line {} has no `=`", at + 1)))?;
            free_option(name.trim(), value.trim().to_owned())
        })
        .collect()
}

pub(super) fn is_topic(topic: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&topic.len()) && topic.bytes().all(fine) && topic != "." && topic != ".."
}

fn percent_decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        bytes.push((digit(0)? << 4 | digit(1)?) as u8);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> KafkaPlaceError {
        text.parse::<KafkaPlace>().expect_err(text)
    }

    #[test]
    fn a_place_is_read_with_its_options() {
        let place: KafkaPlace = "kafka://a:9092,[::1]:9093/tally.events?replication-factor=3\
                                 &security.protocol=SASL_SSL&sasl.password=a%26b%25&group=g"
            .parse()
            .expect("a place");
        assert_eq!((place.topic.as_str(), place.replication_factor), ("tally.events", Some(3)));
        assert_eq!(
            (place.to_string().as_str(), place.group.as_str()),
            ("kafka://a:9092,[::1]:9093/tally.events", "g")
        );
        let client = place.client().expect("a configuration");
        let of = |name| client.get(name).map(str::to_owned);
        assert_eq!(of("sasl.password").as_deref(), Some("a&b%"));
        assert_eq!(of("bootstrap.servers").as_deref(), Some("a:9092,[::1]:9093"));
        assert!(!format!("{place:?}").contains("a&b"), "secrets are not shown");
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_reason() {
        for text in ["kafka:/a:1/t", "kafka://a/t", "kafka://a:1", "kafka://:1/t", "kafka://a:1,/t"]
        {
            assert_eq!(error(text), KafkaPlaceError::Form, "{text}");
        }
        assert_eq!(error("kafka://a:1/"), KafkaPlaceError::Topic(String::new()));
        assert_eq!(error("kafka://a:1/a/b"), KafkaPlaceError::Topic("a/b".into()));
        assert_eq!(error("kafka://a:1/t?acks=0"), KafkaPlaceError::Fixed("acks".into()));
        assert_eq!(error("kafka://a:1/t?replicas=3"), KafkaPlaceError::Unknown("replicas".into()));
        let wrong = KafkaPlaceError::Value("replication-factor".into());
        assert_eq!(error("kafka://a:1/t?replication-factor=0"), wrong);
        assert_eq!(
            error("kafka://a:1/t?sasl.password=%4"),
            KafkaPlaceError::Value("sasl.password".into())
        );
    }

    #[test]
    fn secrets_can_stand_in_a_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("kafka.properties");
        std::fs::write(&file, "# ours\nsasl.username = tally\nsasl.password=x=y\n")
            .expect("written");
        let text = format!("kafka://a:1/t?options-file={}", file.display());
        let client = text.parse::<KafkaPlace>().expect("a place").client().expect("options");
        assert_eq!(
            (client.get("sasl.username"), client.get("sasl.password")),
            (Some("tally"), Some("x=y"))
        );
        std::fs::write(&file, "enable.idempotence=false\n").expect("written");
        let refused = text.parse::<KafkaPlace>().expect("a place").client();
        assert_eq!(refused.err(), Some(KafkaPlaceError::Fixed("enable.idempotence".into())));
    }
}
