//! Settings, typed and checked, each with where it came from.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::Retention;
use model::limits::{DEDUP_MINUTES_MAX, PARTITIONS_MAX};

use super::door;
use super::raw::Raw;
use super::units::{format_duration_ms, format_size, parse_duration_ms, parse_size};
use crate::http::DoorSettings;
use crate::telemetry::LogFormat;

/// Least size of a log file: it must hold the largest batch of records.
const SEGMENT_BYTES_MIN: u64 = 8 << 20;
/// Greatest size of a log file.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Least memory for the dedup window: below, a busy second fills it.
const DEDUP_BYTES_MIN: u64 = 16 << 20;
/// Longest time between flushes: what must be counted again after a crash.
const FLUSH_INTERVAL_MAX_MS: u64 = 10 * 60_000;

/// Least memory for the query cache: below, hardly an answer fits.
const QUERY_CACHE_BYTES_MIN: u64 = 1 << 20;

/// A drain is over long before a service manager loses its patience.
const DRAIN_DELAY_MAX_MS: u64 = 10 * 60_000;
/// Audits cost a few requests and events each, and take a moment.
const AUDIT_INTERVAL_MIN_MS: u64 = 1_000;

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A command line flag.
    Flag,
    /// An environment variable, `TALLY_` and the name in capitals.
    Environment,
    /// A settings file.
    File(PathBuf),
    /// Nobody set it.
    Default,
}

impl Origin {
    /// Whether somebody set it.
    pub(crate) fn is_set(&self) -> bool {
        *self != Self::Default
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The settings of one origin.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) origin: Origin,
    pub(crate) raw: Raw,
}

/// A setting that cannot be used, or a file that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingError(String);

impl SettingError {
    pub(super) fn file(path: &Path, what: &str) -> Self {
        Self(format!("the settings file {}: {}", path.display(), what.trim_end()))
    }
}

/// How the log is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Lz4,
    Zstd,
}

/// What the machine has, for the defaults that follow it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: u16,
    pub(crate) memory_bytes: u64,
}

impl Machine {
    /// This machine.
    pub(crate) fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let info = rustix::system::sysinfo();
        let unit = u64::from(info.mem_unit);
        let memory_bytes = info.totalram.saturating_mul(unit);
        let cores = u16::try_from(cores).unwrap_or(PARTITIONS_MAX).min(PARTITIONS_MAX);
        Self { cores, memory_bytes }
    }
}

/// Where a server's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The chain, PEM.
    pub(crate) cert: PathBuf,
    /// The private key, PEM.
    pub(crate) key: PathBuf,
}

/// How many connections are served at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// More wait to be accepted.
    pub(crate) total: usize,
    /// More of one address are closed at once; none sets no bound.
    pub(crate) per_address: Option<usize>,
}

/// Settings that can be used as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) listen: SocketAddr,
    /// How long readiness is refused before connections are, after SIGTERM.
    pub(crate) drain_delay_ms: Option<u64>,
    pub(crate) data_dir: PathBuf,
    /// None keeps the log in the data folder; else the place of another.
    pub(crate) log: Option<String>,
    /// None leaves it to what the log has, or at the first start to the machine.
    pub(crate) partitions: Option<u16>,
    pub(crate) partitions_default: u16,
    pub(crate) max_event_age_ms: i64,
    pub(crate) dedup_minutes: u32,
    pub(crate) dedup_bytes: u64,
    pub(crate) flush_interval_ms: u64,
    pub(crate) log_retention_ms: i64,
    pub(crate) log_retention_bytes: Option<u64>,
    /// How long counts by the minute and by the hour are kept.
    pub(crate) counter_retention: Retention,
    /// None keeps no raw events.
    pub(crate) archive: Option<String>,
    pub(crate) raw_retention_ms: i64,
    pub(crate) segment_bytes: u64,
    pub(crate) log_compression: Compression,
    /// None where the server does not audit itself.
    pub(crate) audit_interval_ms: Option<u64>,
    /// None where no hour is counted again by itself.
    pub(crate) recount_interval_ms: Option<u64>,
    /// None where every answer is made.
    pub(crate) query_cache_bytes: Option<u64>,
    /// The URL of the cluster that counters are in; none keeps them in the data folder.
    pub(crate) store: Option<String>,
    /// The URL of the cache of answers; none keeps them in this process.
    pub(crate) cache: Option<String>,
    /// Events a second from which a hot item is spread; none where none ever is.
    pub(crate) spread_above: Option<u64>,
    /// The keys that open the server.
    pub(crate) keys_file: PathBuf,
    /// Whether addresses beyond this machine are served without any key.
    pub(crate) is_anonymous_allowed: bool,
    pub(crate) door: DoorSettings,
    /// None serves plain HTTP.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) connections: ConnectionLimits,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    /// Name, effective value and origin of every setting.
    pub(crate) shown: Vec<(&'static str, String, Origin)>,
}

/// One setting on its way from text.
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) origin: Origin,
}

impl Setting {
    pub(super) fn refuse(&self, allowed: &str) -> SettingError {
        let Self { name, text, origin } = self;
        let origin = match origin {
            Origin::Flag => format!("the flag --{}", name.replace('_', "-")),
            Origin::Environment => format!("the environment variable {}", variable(name)),
            Origin::File(path) => format!("the file {}", path.display()),
            Origin::Default => "the default".into(),
        };
        let text = without_secrets(text);
        SettingError(format!("the setting `{name}` is `{text}` (from {origin}); {allowed}"))
    }

    fn duration_ms(&self, max_ms: u64) -> Result<u64, SettingError> {
        let millis = parse_duration_ms(&self.text).map_err(|shape| self.refuse(shape))?;
        if millis > max_ms {
            let max = format_duration_ms(max_ms);
            return Err(self.refuse(&format!("it must be at most {max}")));
        }
        Ok(millis)
    }

    /// A duration of at least so much, or off.
    fn interval_ms(&self, min_ms: u64) -> Result<u64, SettingError> {
        match parse_duration_ms(&self.text) {
            Ok(millis) if millis >= min_ms => Ok(millis),
            _ => {
                let min = format_duration_ms(min_ms);
                Err(self.refuse(&format!("it must be off, or a duration of at least {min}: 60s")))
            }
        }
    }

    fn size(&self, bounds: std::ops::RangeInclusive<u64>) -> Result<u64, SettingError> {
        let bytes = parse_size(&self.text).map_err(|shape| self.refuse(shape))?;
        if !bounds.contains(&bytes) {
            let (least, most) = (format_size(*bounds.start()), format_size(*bounds.end()));
            return Err(self.refuse(&format!("it must be from {least} to {most}")));
        }
        Ok(bytes)
    }
}

/// The name of a setting's environment variable.
fn variable(name: &str) -> String {
    format!("TALLY_{}", name.to_ascii_uppercase())
}

/// The archive's folder in the data folder, where nothing else is said.
const ARCHIVE_FOLDER: &str = "archive";

impl Resolved {
    /// Whether the archive lies in the data folder, where no other process writes to it.
    #[cfg(feature = "kafka")]
    pub(crate) fn is_archive_in_data_dir(&self) -> bool {
        let inside = self.data_dir.join(ARCHIVE_FOLDER).display().to_string();
        self.archive.as_ref().is_some_and(|archive| *archive == inside)
    }

    /// The settings of layers, the first of which goes before the others.
    ///
    /// # Errors
    /// Names the setting, its value, where it came from and what is allowed.
    pub(crate) fn resolve(layers: &[Layer], machine: Machine) -> Result<Self, SettingError> {
        let mut settings = Vec::new();
        for (at, (name, default)) in defaults(machine).into_iter().enumerate() {
            let set = layers.iter().find_map(|layer| {
                let (_, text) = layer.raw.pairs()[at];
                text.as_ref().map(|text| (text.clone(), layer.origin.clone()))
            });
            let (text, origin) = set.unwrap_or((default, Origin::Default));
            settings.push(Setting { name, text, origin });
        }
        place_in_data_dir(&mut settings, "archive", ARCHIVE_FOLDER);
        place_in_data_dir(&mut settings, "keys_file", "keys.json");
        let shown = |s: &Setting| (s.name, without_secrets(&s.text), s.origin.clone());
        let shown = settings.iter().map(shown).collect();
        let settings: [Setting; 35] =
            settings.try_into().map_err(|_| SettingError("a setting has no default".into()))?;
        let [
            listen,
            drain_delay,
            data_dir,
            log,
            partitions,
            max_event_age,
            dedup_window,
            dedup_memory,
            flush_interval,
            log_retention,
            log_retention_bytes,
            retention_minute,
            retention_hour,
            archive,
            raw_retention,
            segment_bytes,
            log_compression,
            audit_interval,
            recount_interval,
            query_cache,
            store,
            cache,
            spread_above,
            keys_file,
            allow_anonymous,
            rate_limit_events,
            rate_limit_requests,
            trusted_proxies,
            cors_origins,
            tls_cert,
            tls_key,
            connections_max,
            connections_per_address,
            log_level,
            log_format,
        ] = settings;
        let fixed = partitions.origin != Origin::Default;
        Ok(Self {
            listen: listen
                .text
                .parse()
                .map_err(|_| listen.refuse("it must be an address and a port: 127.0.0.1:8080"))?,
            drain_delay_ms: match drain_delay.text.as_str() {
                "off" | "0" => None,
                _ => Some(drain_delay.duration_ms(DRAIN_DELAY_MAX_MS)?),
            },
            data_dir: folder(&data_dir)?,
            log: log_place(&log)?,
            partitions: if fixed { Some(partition_count(&partitions)?) } else { None },
            partitions_default: machine.cores,
            max_event_age_ms: max_event_age.duration_ms(i64::MAX as u64)? as i64,
            dedup_minutes: dedup_minutes(&dedup_window)?,
            dedup_bytes: dedup_memory.size(DEDUP_BYTES_MIN..=1 << 50)?,
            flush_interval_ms: flush_interval.duration_ms(FLUSH_INTERVAL_MAX_MS)?,
            log_retention_ms: log_retention.duration_ms(i64::MAX as u64)? as i64,
            log_retention_bytes: match log_retention_bytes.text.as_str() {
                "none" => None,
                _ => Some(log_retention_bytes.size(SEGMENT_BYTES_MIN..=1 << 60)?),
            },
            counter_retention: counter_retention(&retention_minute, &retention_hour)?,
            archive: archive_place(&archive)?,
            raw_retention_ms: raw_retention.duration_ms(i64::MAX as u64)? as i64,
            segment_bytes: segment_bytes.size(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX)?,
            log_compression: match log_compression.text.as_str() {
                "none" => Compression::None,
                "lz4" => Compression::Lz4,
                "zstd" => Compression::Zstd,
                _ => return Err(log_compression.refuse("it must be none, lz4 or zstd")),
            },
            audit_interval_ms: match audit_interval.text.as_str() {
                "off" | "0" => None,
                _ => Some(audit_interval.interval_ms(AUDIT_INTERVAL_MIN_MS)?),
            },
            recount_interval_ms: match recount_interval.text.as_str() {
                "off" | "0" => None,
                _ => Some(recount_interval.interval_ms(AUDIT_INTERVAL_MIN_MS)?),
            },
            query_cache_bytes: match query_cache.text.as_str() {
                "off" | "0" => None,
                _ => Some(query_cache.size(QUERY_CACHE_BYTES_MIN..=1 << 40)?),
            },
            store: engine_url(
                &store,
                "embedded",
                &["cassandra"],
                "cassandra://host:port/keyspace",
            )?,
            cache: engine_url(&cache, "memory", &["redis", "rediss"], "redis://host:port")?,
            spread_above: match spread_above.text.as_str() {
                "off" | "0" => None,
                _ => Some(events_per_second(&spread_above)?),
            },
            keys_file: door::file(&keys_file)?,
            is_anonymous_allowed: door::switch(&allow_anonymous)?,
            door: DoorSettings {
                rate_events: door::rate(&rate_limit_events)?,
                rate_requests: door::rate(&rate_limit_requests)?,
                trusted_proxies: door::list(&trusted_proxies)?,
                cors_origins: door::list(&cors_origins)?,
            },
            tls: door::tls(&tls_cert, &tls_key)?,
            connections: ConnectionLimits {
                total: door::connections(&connections_max)?,
                per_address: match connections_per_address.text.as_str() {
                    "none" => None,
                    _ => Some(door::connections(&connections_per_address)?),
                },
            },
            log_level: if crate::telemetry::is_filter(&log_level.text) {
                log_level.text
            } else {
                let allowed = "it must be error, warn, info, debug, trace or a filter such as \
                               info,tally=debug";
                return Err(log_level.refuse(allowed));
            },
            log_format: match log_format.text.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(log_format.refuse("it must be text or json")),
            },
            shown,
        })
    }
}

/// The settings of the environment: `TALLY_LISTEN` and so on, of which an empty one is not set.
pub(crate) fn environment(read: impl Fn(&str) -> Option<String>) -> Raw {
    let get = |name| read(&variable(name)).filter(|text| !text.is_empty());
    Raw {
        listen: get("listen"),
        drain_delay: get("drain_delay"),
        data_dir: get("data_dir"),
        log: get("log"),
        partitions: get("partitions"),
        max_event_age: get("max_event_age"),
        dedup_window: get("dedup_window"),
        dedup_memory: get("dedup_memory"),
        flush_interval: get("flush_interval"),
        log_retention: get("log_retention"),
        log_retention_bytes: get("log_retention_bytes"),
        retention_minute: get("retention_minute"),
        retention_hour: get("retention_hour"),
        archive: get("archive"),
        raw_retention: get("raw_retention"),
        segment_bytes: get("segment_bytes"),
        log_compression: get("log_compression"),
        audit_interval: get("audit_interval"),
        recount_interval: get("recount_interval"),
        query_cache: get("query_cache"),
        store: get("store"),
        cache: get("cache"),
        spread_above: get("spread_above"),
        keys_file: get("keys_file"),
        allow_anonymous: get("allow_anonymous"),
        rate_limit_events: get("rate_limit_events"),
        rate_limit_requests: get("rate_limit_requests"),
        trusted_proxies: get("trusted_proxies"),
        cors_origins: get("cors_origins"),
        tls_cert: get("tls_cert"),
        tls_key: get("tls_key"),
        connections_max: get("connections_max"),
        connections_per_address: get("connections_per_address"),
        log_level: get("log_level"),
        log_format: get("log_format"),
    }
}

fn defaults(machine: Machine) -> [(&'static str, String); 35] {
    let dedup_bytes = (machine.memory_bytes / 4 / (1 << 20) * (1 << 20)).max(DEDUP_BYTES_MIN);
    [
        ("listen", "127.0.0.1:8080".into()),
        ("drain_delay", "off".into()),
        ("data_dir", "./tally-data".into()),
        ("log", "embedded".into()),
        ("partitions", machine.cores.to_string()),
        ("max_event_age", "7d".into()),
        ("dedup_window", "10m".into()),
        ("dedup_memory", format_size(dedup_bytes)),
        ("flush_interval", "10s".into()),
        ("log_retention", "14d".into()),
        ("log_retention_bytes", "none".into()),
        ("retention_minute", "7d".into()),
        ("retention_hour", "90d".into()),
        ("archive", String::new()), // see `place_in_data_dir`
        ("raw_retention", "14d".into()),
        ("segment_bytes", "64MiB".into()),
        ("log_compression", "lz4".into()),
        ("audit_interval", "60s".into()),
        ("recount_interval", "24h".into()),
        ("query_cache", "32MiB".into()),
        ("store", "embedded".into()),
        ("cache", "memory".into()),
        ("spread_above", "5000".into()),
        ("keys_file", String::new()), // see `place_in_data_dir`
        ("allow_anonymous", "false".into()),
        ("rate_limit_events", "none".into()),
        ("rate_limit_requests", "none".into()),
        ("trusted_proxies", "none".into()),
        ("cors_origins", "none".into()),
        ("tls_cert", "none".into()),
        ("tls_key", "none".into()),
        ("connections_max", "10000".into()),
        ("connections_per_address", "none".into()),
        ("log_level", "info".into()),
        ("log_format", "text".into()),
    ]
}

fn events_per_second(setting: &Setting) -> Result<u64, SettingError> {
    match setting.text.parse() {
        Ok(events @ 1..=1_000_000_000) => Ok(events),
        _ => Err(setting.refuse("it must be off, or events a second: 5000")),
    }
}

fn folder(setting: &Setting) -> Result<PathBuf, SettingError> {
    if setting.text.is_empty() {
        return Err(setting.refuse("it must name a folder"));
    }
    Ok(PathBuf::from(&setting.text))
}

/// What nobody placed is in the data folder.
fn place_in_data_dir(settings: &mut [Setting], name: &str, place: &str) {
    let text = |name| settings.iter().find(|s: &&Setting| s.name == name).map(|s| s.text.clone());
    let Some(data_dir) = text("data_dir") else { return };
    let placed = settings.iter_mut().find(|setting| setting.name == name);
    if let Some(placed) = placed.filter(|placed| placed.origin == Origin::Default) {
        placed.text = Path::new(&data_dir).join(place).display().to_string();
    }
}

/// The place of the archive as text, whose scheme is known.
fn archive_place(setting: &Setting) -> Result<Option<String>, SettingError> {
    let text = &setting.text;
    let is_known = match text.split_once("://") {
        None => !text.is_empty(),
        Some(("file", path)) => path.starts_with('/'),
        Some(("s3", bucket)) => !bucket.is_empty() && !bucket.starts_with('/'),
        Some(_) => false,
    };
    if !is_known {
        return Err(
            setting.refuse("it must be a folder, file:///folder, s3://bucket/prefix or none")
        );
    }
    Ok((text != "none").then(|| text.clone()))
}

/// The URL of an engine, whose scheme is that of the example; none where it is what is built in. What else
/// it says is read by who knows the engine.
fn engine_url(
    setting: &Setting,
    built_in: &str,
    schemes: &[&str],
    example: &str,
) -> Result<Option<String>, SettingError> {
    if setting.text == built_in {
        return Ok(None);
    }
    let given = setting.text.split_once("://").map(|(scheme, _)| scheme);
    match given.is_some_and(|scheme| schemes.contains(&scheme)) {
        true => Ok(Some(setting.text.clone())),
        false => Err(setting.refuse(&format!("it must be {built_in}, or {example}"))),
    }
}

/// The place of an engine without what is secret in it, the password of its user and the values of
/// options: people look at it, and paste it elsewhere. Any other text as it is.
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let of_user = rest.rsplit_once('@').and_then(|(user, after)| {
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:***@{after}"))
    });
    let place = of_user.unwrap_or_else(|| text.to_owned());
    let Some((place, options)) = place.split_once('?') else { return place };
    let hidden = |option: &str| match option.split_once('=') {
        Some((name, _))
            if ["password", "secret", "pem", "jaas"].iter().any(|s| name.contains(s)) =>
        {
            format!("{name}=(hidden)")
        }
        _ => option.to_owned(),
    };
    format!("{place}?{}", options.split('&').map(hidden).collect::<Vec<_>>().join("&"))
}

/// The place of a log elsewhere, as text whose scheme is known.
fn log_place(setting: &Setting) -> Result<Option<String>, SettingError> {
    match setting.text.as_str() {
        "embedded" => Ok(None),
        text if text.starts_with("kafka://") => Ok(Some(text.to_owned())),
        _ => Err(setting.refuse("it must be embedded, or kafka://host:port,host:port/topic")),
    }
}

fn partition_count(setting: &Setting) -> Result<u16, SettingError> {
    match setting.text.parse() {
        Ok(count @ 1..=PARTITIONS_MAX) => Ok(count),
        _ => {
            let allowed = format!("it must be a whole number from 1 to {PARTITIONS_MAX}");
            Err(setting.refuse(&allowed))
        }
    }
}

fn counter_retention(minute: &Setting, hour: &Setting) -> Result<Retention, SettingError> {
    let minute_ms = minute.duration_ms(i64::MAX as u64)? as i64;
    let hour_ms = hour.duration_ms(i64::MAX as u64)? as i64;
    Retention::new(minute_ms, hour_ms).ok_or_else(|| {
        let text = &minute.text;
        hour.refuse(&format!("it must be at least as long as `retention_minute`, {text}"))
    })
}

fn dedup_minutes(setting: &Setting) -> Result<u32, SettingError> {
    let allowed = format!("it must be whole minutes from 1m to {}h", DEDUP_MINUTES_MAX / 60);
    let millis = parse_duration_ms(&setting.text).map_err(|_| setting.refuse(&allowed))?;
    match u32::try_from(millis / 60_000) {
        Ok(minutes @ 1..=DEDUP_MINUTES_MAX) if millis % 60_000 == 0 => Ok(minutes),
        _ => Err(setting.refuse(&allowed)),
    }
}

#[cfg(test)]
mod tests;
