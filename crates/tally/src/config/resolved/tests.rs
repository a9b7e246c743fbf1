use super::*;

const MACHINE: Machine = Machine { cores: 4, memory_bytes: 8 << 30 };

fn layer(origin: Origin, change: impl FnOnce(&mut Raw)) -> Layer {
    let mut raw = Raw::default();
    change(&mut raw);
    Layer { origin, raw }
}

#[test]
fn defaults_follow_the_machine() {
    let resolved = Resolved::resolve(&[], MACHINE).unwrap();
    assert_eq!(resolved.partitions, None);
    assert_eq!(resolved.partitions_default, 4);
    assert_eq!(resolved.dedup_bytes, 2 << 30);
    assert_eq!(resolved.dedup_minutes, 10);
    assert_eq!(resolved.max_event_age_ms, 7 * 86_400_000);
    let kept = Retention::new(7 * 86_400_000, 90 * 86_400_000);
    assert_eq!(Some(resolved.counter_retention), kept);
    assert!(resolved.shown.iter().all(|(_, _, origin)| *origin == Origin::Default));
}

#[test]
fn the_first_layer_wins_and_is_named() {
    let layers = [
        layer(Origin::Flag, |raw| raw.max_event_age = Some("40y".into())),
        layer(Origin::Environment, |raw| {
            raw.max_event_age = Some("1d".into());
            raw.partitions = Some("7".into());
        }),
    ];
    let resolved = Resolved::resolve(&layers, MACHINE).unwrap();
    assert_eq!(resolved.max_event_age_ms, 40 * 365 * 86_400_000);
    assert_eq!(resolved.partitions, Some(7));
    let origin = |name| resolved.shown.iter().find(|s| s.0 == name).unwrap().2.clone();
    assert_eq!(origin("max_event_age"), Origin::Flag);
    assert_eq!(origin("partitions"), Origin::Environment);
}

#[test]
fn a_wrong_setting_says_everything() {
    type Change = fn(&mut Raw);
    let cases: [(&str, Change); 42] = [
        ("listen", |raw| raw.listen = Some("here".into())),
        ("data_dir", |raw| raw.data_dir = Some(String::new())),
        ("log", |raw| raw.log = Some("pulsar://a".into())),
        ("partitions", |raw| raw.partitions = Some("0".into())),
        ("max_event_age", |raw| raw.max_event_age = Some("old".into())),
        ("drain_delay", |raw| raw.drain_delay = Some("soon".into())),
        ("drain_delay", |raw| raw.drain_delay = Some("1h".into())),
        ("dedup_window", |raw| raw.dedup_window = Some("90s".into())),
        ("dedup_memory", |raw| raw.dedup_memory = Some("1KiB".into())),
        ("flush_interval", |raw| raw.flush_interval = Some("1d".into())),
        ("log_retention", |raw| raw.log_retention = Some("0d".into())),
        ("log_retention_bytes", |raw| raw.log_retention_bytes = Some("some".into())),
        ("retention_minute", |raw| raw.retention_minute = Some("7".into())),
        ("retention_hour", |raw| raw.retention_hour = Some("long".into())),
        ("retention_hour", |raw| raw.retention_hour = Some("6d".into())),
        ("archive", |raw| raw.archive = Some("gs://bucket".into())),
        ("raw_retention", |raw| raw.raw_retention = Some("0d".into())),
        ("segment_bytes", |raw| raw.segment_bytes = Some("1B".into())),
        ("log_compression", |raw| raw.log_compression = Some("zip".into())),
        ("audit_interval", |raw| raw.audit_interval = Some("10ms".into())),
        ("audit_interval", |raw| raw.audit_interval = Some("never".into())),
        ("recount_interval", |raw| raw.recount_interval = Some("10ms".into())),
        ("query_cache", |raw| raw.query_cache = Some("1KiB".into())),
        ("query_cache", |raw| raw.query_cache = Some("some".into())),
        ("store", |raw| raw.store = Some("scylla://a/k".into())),
        ("cache", |raw| raw.cache = Some("none".into())),
        ("spread_above", |raw| raw.spread_above = Some("much".into())),
        ("spread_above", |raw| raw.spread_above = Some("-1".into())),
        ("keys_file", |raw| raw.keys_file = Some(String::new())),
        ("allow_anonymous", |raw| raw.allow_anonymous = Some("maybe".into())),
        ("rate_limit_events", |raw| raw.rate_limit_events = Some("0".into())),
        ("rate_limit_requests", |raw| raw.rate_limit_requests = Some("fast".into())),
        ("trusted_proxies", |raw| raw.trusted_proxies = Some("10.0.0.0/33".into())),
        ("trusted_proxies", |raw| raw.trusted_proxies = Some("10.0.0.1,proxy".into())),
        ("cors_origins", |raw| raw.cors_origins = Some("example.org".into())),
        ("cors_origins", |raw| raw.cors_origins = Some("https://a.org/x".into())),
        ("tls_key", |raw| raw.tls_cert = Some("a.pem".into())),
        ("tls_cert", |raw| raw.tls_key = Some("a.pem".into())),
        ("connections_max", |raw| raw.connections_max = Some("0".into())),
        ("connections_per_address", |raw| raw.connections_per_address = Some("x".into())),
        ("log_level", |raw| raw.log_level = Some("a=b=c".into())),
        ("log_format", |raw| raw.log_format = Some("xml".into())),
    ];
    for (name, change) in cases {
        let layers = [layer(Origin::Environment, change)];
        let error = Resolved::resolve(&layers, MACHINE).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")), "{error}");
        assert!(error.contains("must"), "{error}");
        let is_default = error.contains("from the default");
        assert!(is_default || error.contains(&variable(name)), "{error}");
    }
}

#[test]
fn the_archive_is_in_the_data_folder_unless_it_is_placed() {
    let resolved = |data_dir: &str, archive: Option<&str>| {
        let layers = [layer(Origin::Flag, |raw| {
            raw.data_dir = Some(data_dir.into());
            raw.archive = archive.map(Into::into);
        })];
        Resolved::resolve(&layers, MACHINE).unwrap()
    };
    let default = resolved("/srv/tally", None);
    assert_eq!(default.archive.as_deref(), Some("/srv/tally/archive"));
    let shown = default.shown.iter().find(|shown| shown.0 == "archive").unwrap();
    assert_eq!((shown.1.as_str(), &shown.2), ("/srv/tally/archive", &Origin::Default));
    assert_eq!(resolved("d", Some("none")).archive, None);
    for place in ["s3://bucket/prefix", "s3://bucket", "file:///srv", "here"] {
        assert_eq!(resolved("d", Some(place)).archive.as_deref(), Some(place));
    }
    assert_eq!(default.raw_retention_ms, 14 * 86_400_000);
}

#[test]
fn the_log_is_embedded_unless_it_is_placed() {
    let log = |text: &str| {
        let layers = [layer(Origin::Flag, |raw| raw.log = Some(text.into()))];
        Resolved::resolve(&layers, MACHINE).unwrap().log
    };
    assert_eq!(Resolved::resolve(&[], MACHINE).unwrap().log, None);
    assert_eq!(log("embedded"), None);
    assert_eq!(log("kafka://a:1/t").as_deref(), Some("kafka://a:1/t"));
    let place = "kafka://a:1/t?sasl.username=u&sasl.password=p%26&group=g";
    let layers = [layer(Origin::Flag, |raw| raw.log = Some(place.into()))];
    let resolved = Resolved::resolve(&layers, MACHINE).unwrap();
    assert_eq!(resolved.log.as_deref(), Some(place));
    let (_, shown, _) = resolved.shown.iter().find(|shown| shown.0 == "log").unwrap();
    assert_eq!(shown, "kafka://a:1/t?sasl.username=u&sasl.password=(hidden)&group=g");
}

#[test]
fn hot_items_can_be_left_alone() {
    let above = |text: &str| {
        let layers = [layer(Origin::Flag, |raw| raw.spread_above = Some(text.into()))];
        Resolved::resolve(&layers, MACHINE).unwrap().spread_above
    };
    assert_eq!(Resolved::resolve(&[], MACHINE).unwrap().spread_above, Some(5_000));
    assert_eq!((above("off"), above("0"), above("1")), (None, None, Some(1)));
}

#[test]
fn the_query_cache_can_be_off() {
    let bytes = |text: &str| {
        let layers = [layer(Origin::Flag, |raw| raw.query_cache = Some(text.into()))];
        Resolved::resolve(&layers, MACHINE).unwrap().query_cache_bytes
    };
    assert_eq!(Resolved::resolve(&[], MACHINE).unwrap().query_cache_bytes, Some(32 << 20));
    assert_eq!((bytes("0"), bytes("off"), bytes("1GiB")), (None, None, Some(1 << 30)));
}

#[test]
fn engines_are_chosen_by_url_and_passwords_are_not_shown() {
    let default = Resolved::resolve(&[], MACHINE).unwrap();
    assert_eq!((default.store, default.cache), (None, None));
    let layers = [layer(Origin::Flag, |raw| {
        raw.store = Some("cassandra://me:s3:cret@a:1,b:2/k?x=y".into());
        raw.cache = Some("redis://:s3cret@c:6379/1".into());
    })];
    let chosen = Resolved::resolve(&layers, MACHINE).unwrap();
    assert_eq!(chosen.store.as_deref(), Some("cassandra://me:s3:cret@a:1,b:2/k?x=y"));
    assert_eq!(chosen.cache.as_deref(), Some("redis://:s3cret@c:6379/1"));
    let shown = |name| chosen.shown.iter().find(|s| s.0 == name).unwrap().1.clone();
    assert_eq!(shown("store"), "cassandra://me:***@a:1,b:2/k?x=y");
    assert_eq!(shown("cache"), "redis://:***@c:6379/1");
    let tls = [layer(Origin::Flag, |raw| raw.cache = Some("rediss://c:6380?tls_ca=/c".into()))];
    let chosen = Resolved::resolve(&tls, MACHINE).unwrap();
    assert_eq!(chosen.cache.as_deref(), Some("rediss://c:6380?tls_ca=/c"));
    let layers = [layer(Origin::Flag, |raw| raw.store = Some("pg://me:s3cret@a/k".into()))];
    let error = Resolved::resolve(&layers, MACHINE).unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn environment_names_follow_the_settings() {
    let all = environment(|name| Some(name.to_owned()));
    for (name, text) in all.pairs() {
        assert_eq!(text.as_deref(), Some(variable(name).as_str()));
    }
}

#[test]
fn files_refuse_unknown_names_and_take_numbers() {
    let raw: Raw = toml::from_str("partitions = 3\ndedup_memory = \"1GiB\"").unwrap();
    assert_eq!(raw.partitions.as_deref(), Some("3"));
    assert!(toml::from_str::<Raw>("partition = 3").is_err());
}
