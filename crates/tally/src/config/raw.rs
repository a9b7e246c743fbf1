//! Settings as they are written, each of them optional, in every layer the same.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::resolved::SettingError;

/// Settings as text, of one layer. Unknown names in a file are refused.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// How long the server is not ready but still serves after SIGTERM, for load balancers, or off
    /// [default: off]
    #[arg(long, value_name = "DURATION")]
    pub(crate) drain_delay: Option<String>,
    /// Folder for all data; created if missing [default: ./tally-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Where events become durable: embedded, or kafka://host:port/topic [default: embedded]
    #[arg(long, value_name = "PLACE")]
    pub(crate) log: Option<String>,
    /// Number of partitions at the first start; `tally routing partitions` changes it later [default:
    /// one per core]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) partitions: Option<String>,
    /// Oldest event that is accepted; raise it to load history [default: 7d]
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_event_age: Option<String>,
    /// How long a repeated event id is recognised, in whole minutes [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) dedup_window: Option<String>,
    /// Memory for the ids of the dedup window [default: a quarter of the machine's]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) dedup_memory: Option<String>,
    /// Longest time between writes of the counters to disk [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) flush_interval: Option<String>,
    /// How long raw events stay in the log [default: 14d]
    #[arg(long, value_name = "DURATION")]
    pub(crate) log_retention: Option<String>,
    /// Size of a partition's log from which the oldest events go, or none [default: none]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) log_retention_bytes: Option<String>,
    /// How long counts by the minute are kept; raise it to load history [default: 7d]
    #[arg(long, value_name = "DURATION")]
    pub(crate) retention_minute: Option<String>,
    /// How long counts by the hour are kept, days are for ever [default: 90d]
    #[arg(long, value_name = "DURATION")]
    pub(crate) retention_hour: Option<String>,
    /// Where raw events are kept for others to read: a folder, s3://bucket/prefix, or none [default:
    /// the folder `archive` in the data folder]
    #[arg(long, value_name = "PLACE")]
    pub(crate) archive: Option<String>,
    /// How long raw events stay in the archive [default: 14d]
    #[arg(long, value_name = "DURATION")]
    pub(crate) raw_retention: Option<String>,
    /// Size of one file of the log [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) segment_bytes: Option<String>,
    /// How the log is compressed: none, lz4 or zstd [default: lz4]
    #[arg(long, value_name = "CODEC")]
    pub(crate) log_compression: Option<String>,
    /// How often the server audits itself with marked events, or off [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) audit_interval: Option<String>,
    /// How often an hour that is over is counted again from raw events, or off [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) recount_interval: Option<String>,
    /// Memory for answers that are asked for again, or off [default: 32MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) query_cache: Option<String>,
    /// Where counters are: embedded, or cassandra://node:port,node:port/keyspace [default: embedded]
    #[arg(long, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// Where answers are kept that are asked for again: memory, or redis://host:port [default: memory]
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache: Option<String>,
    /// Events a second from which an item that is hot is spread over partitions, or off [default: 5000]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) spread_above: Option<String>,
    /// File of the keys that open this server [default: keys.json in the data folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) keys_file: Option<String>,
    /// Serve addresses beyond this machine without any key [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) allow_anonymous: Option<String>,
    /// Events a second of a key, and of an address without one, or none [default: none]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) rate_limit_events: Option<String>,
    /// Requests a second of a key, and of an address without one, or none [default: none]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) rate_limit_requests: Option<String>,
    /// Proxies whose X-Forwarded-For is believed: addresses or ranges, with commas [default: none]
    #[arg(long, value_name = "RANGES")]
    pub(crate) trusted_proxies: Option<String>,
    /// Pages whose scripts may use this server: origins with commas, * or none [default: none]
    #[arg(long, value_name = "ORIGINS")]
    pub(crate) cors_origins: Option<String>,
    /// File of the certificate chain, PEM: serves HTTPS; read again when it changes [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<String>,
    /// File of the certificate's private key, PEM [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<String>,
    /// Connections at a time; more wait to be accepted [default: 10000]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) connections_max: Option<String>,
    /// Connections at a time of one address, trusted proxies aside, or none [default: none]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "text", default)]
    pub(crate) connections_per_address: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a filter [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How log lines are written: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

/// Takes a number where a file writes one without quotes.
fn text<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Switch(bool),
        Quoted(String),
    }
    Ok(Some(match Written::deserialize(value)? {
        Written::Number(number) => number.to_string(),
        Written::Switch(switch) => switch.to_string(),
        Written::Quoted(text) => text,
    }))
}

impl Raw {
    /// The names and values of all settings, in the order they are shown.
    pub(crate) fn pairs(&self) -> [(&'static str, &Option<String>); 35] {
        [
            ("listen", &self.listen),
            ("drain_delay", &self.drain_delay),
            ("data_dir", &self.data_dir),
            ("log", &self.log),
            ("partitions", &self.partitions),
            ("max_event_age", &self.max_event_age),
            ("dedup_window", &self.dedup_window),
            ("dedup_memory", &self.dedup_memory),
            ("flush_interval", &self.flush_interval),
            ("log_retention", &self.log_retention),
            ("log_retention_bytes", &self.log_retention_bytes),
            ("retention_minute", &self.retention_minute),
            ("retention_hour", &self.retention_hour),
            ("archive", &self.archive),
            ("raw_retention", &self.raw_retention),
            ("segment_bytes", &self.segment_bytes),
            ("log_compression", &self.log_compression),
            ("audit_interval", &self.audit_interval),
            ("recount_interval", &self.recount_interval),
            ("query_cache", &self.query_cache),
            ("store", &self.store),
            ("cache", &self.cache),
            ("spread_above", &self.spread_above),
            ("keys_file", &self.keys_file),
            ("allow_anonymous", &self.allow_anonymous),
            ("rate_limit_events", &self.rate_limit_events),
            ("rate_limit_requests", &self.rate_limit_requests),
            ("trusted_proxies", &self.trusted_proxies),
            ("cors_origins", &self.cors_origins),
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
            ("connections_max", &self.connections_max),
            ("connections_per_address", &self.connections_per_address),
            ("log_level", &self.log_level),
            ("log_format", &self.log_format),
        ]
    }
}

/// Reads a settings file; none where no name was given and `./tally.toml` is not there.
///
/// # Errors
/// When the file cannot be read or says something that is not a setting.
pub(crate) fn read_file(given: Option<&Path>) -> Result<Option<(PathBuf, Raw)>, SettingError> {
    let path = given.unwrap_or(Path::new("tally.toml"));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if given.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(SettingError::file(path, &error.to_string())),
    };
    Ok(Some((path.to_owned(), parse(path, &text)?)))
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Raw, SettingError> {
    toml::from_str(text).map_err(|error| SettingError::file(path, &error.to_string()))
}
