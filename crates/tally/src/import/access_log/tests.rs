//! Every kind of odd line, and the real logs against their published truth.

use std::collections::HashMap;

use serde_json::Value;

use super::super::reader::{ReadOptions, Reader, read_all};
use super::super::source::Source;
use super::*;

fn options(format: Format, access_log: AccessLogRules) -> ReadOptions {
    ReadOptions { format: Some(format), access_log, ..Default::default() }
}

fn common(request: &str) -> String {
    format!("h - - [17/May/2015:10:05:03 +0000] \"{request}\" 200 5\n")
}

fn one(request: &str, rules: AccessLogRules) -> (Option<Value>, Record) {
    let (mut events, mut records) =
        read_all(common(request).as_bytes(), &options(Format::Common, rules));
    (events.pop(), records.pop().expect("one record"))
}

#[test]
fn a_line_becomes_an_event() {
    let (event, record) = one("GET /a?b=c HTTP/1.1", AccessLogRules::default());
    let mut event = event.expect("an event");
    event.as_object_mut().expect("an object").remove("id");
    assert_eq!(
        event,
        serde_json::json!({"item": "/a", "time": 1_431_857_103_000_i64, "value": 5,
            "attributes": {"method": "GET", "status": "200"}})
    );
    assert!(!record.is_odd);
    let rules = AccessLogRules { keep_query: true, type_from_method: true, ..Default::default() };
    let event = one("HEAD /a?b=c", rules).0.expect("an event");
    assert_eq!((&event["item"], &event["type"]), (&"/a?b=c".into(), &"head".into()));
}

#[test]
fn methods_can_have_types_of_their_own() {
    let pairs = ["HEAD=like".to_owned()];
    let method_types = AccessLogRules::parse_method_types(&pairs).expect("a pair");
    let rules = AccessLogRules { method_types, ..Default::default() };
    assert_eq!(one("HEAD / HTTP/1.0", rules.clone()).0.expect("an event")["type"], "like");
    assert_eq!(one("GET / HTTP/1.0", rules).0.expect("an event").get("type"), None);
    assert!(AccessLogRules::parse_method_types(&["HEAD".to_owned()]).is_err());
}

#[test]
fn odd_requests_are_kept_and_counted_or_refused() {
    for request in [
        "GET /a HTTP/V1.0",
        "GET /a HTTP/1.0 ",
        "GET /a align=left HTTP/1.0",
        "GET  /a",
        "get /a HTTP/1.0",
        "GET /a \"quoted\" HTTP/1.0",
    ] {
        let (event, record) = one(request, AccessLogRules::default());
        assert!(record.is_odd, "{request}");
        assert_eq!(event.expect(request)["item"], "/a", "{request}");
        let refuse = AccessLogRules { refuse_odd: true, ..Default::default() };
        assert_eq!(one(request, refuse).1.result.expect_err(request).code, "odd_line");
    }
    for request in ["", "-", "\\x04\\x01\\x00P"] {
        let (event, record) = one(request, AccessLogRules::default());
        assert!(event.is_none() && !record.is_odd, "{request}");
    }
}

#[test]
fn broken_lines_are_refused_and_reading_goes_on() {
    let long = "x".repeat(257);
    let head = "h - - [17/May/2015:10:05:03 +0000]";
    let text = format!(
        "hello\n{head}\n{head} \"GET /\n{head} \"GET / HTTP/1.0\" x 5\n{head} \"GET / HTTP/1.0\" 200 five\n\
         h - - [17/Foo/2015:10:05:03 +0000] \"GET / HTTP/1.0\" 200 5\n\
         h - - [31/Feb/2015:10:05:03 +0000] \"GET / HTTP/1.0\" 200 5\n\
         {head} \"GET /{long} HTTP/1.0\" 200 5\n{head} \"GET /\u{1} HTTP/1.0\" 200 5\n\
         {head} \"GET / HTTP/1.0\" 200 5 \"-\" \"x\"\nh a [x] \"GET\" 200 5\n\n{head} \"GET /ok HTTP/1.0\" 200 -\n",
    );
    let (events, records) =
        read_all(text.as_bytes(), &options(Format::Common, AccessLogRules::default()));
    let codes: Vec<_> =
        records.iter().map(|record| record.result.as_ref().err().map(|e| e.code)).collect();
    let (odd, time, item) = (Some("odd_line"), Some("invalid_time"), Some("invalid_item"));
    assert_eq!(codes, [odd, odd, odd, odd, odd, time, time, item, item, odd, odd, None]);
    assert_eq!((&events[0]["item"], events[0].get("value")), (&"/ok".into(), None));
    assert_eq!(records.last().expect("the last").line, 13, "empty lines are lines");

    let mut binary = common("GET /a HTTP/1.0").into_bytes();
    binary[40] = 0xff;
    let (events, _) = read_all(&binary, &options(Format::Common, AccessLogRules::default()));
    assert!(events.is_empty());
}

#[test]
fn combined_lines_need_both_quoted_texts() {
    let head = "h - a b [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 5";
    let entry = format!("{head} \"http://r/\" \"a \\\"b\\\"\" extra");
    let parsed = Entry::parse(&entry, true).expect("combined");
    assert_eq!(
        (parsed.user, parsed.referer, parsed.user_agent),
        ("a b", "http://r/", "a \\\"b\\\"")
    );
    for bad in [head.to_owned(), format!("{head} \"-\""), format!("{head} \"-\" \"Mozilla")] {
        Entry::parse(&bad, true).expect_err(&bad);
    }
}

#[test]
fn times_are_exact_in_any_offset() {
    assert_eq!(time_ms("01/Jan/1970:00:00:00 +0000"), Some(0));
    assert_eq!(time_ms("01/Jan/2017:00:00:17 -0400"), Some(1_483_243_217_000));
    assert_eq!(time_ms("31/Dec/2016:23:59:60 +0000"), Some(1_483_228_799_000));
    for text in [
        "",
        "1/Jan/1970:00:00:00 +0000",
        "01/Jan/1970:24:00:00 +0000",
        "01/Jan/1970 00:00:00 +0000",
    ] {
        assert_eq!(time_ms(text), None, "{text}");
    }
}

/// Totals of one real log, to compare with the truth beside it.
#[derive(Default)]
struct Totals {
    events: u64,
    odd: u64,
    refused: Vec<u64>,
    bytes: u64,
    items: HashMap<String, u64>,
    days: HashMap<String, u64>,
    methods: HashMap<String, u64>,
}

/// None where the data does not lie beside the checkout.
fn real(name: &str, rules: AccessLogRules) -> Option<(Totals, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let stem = name.split('.').next().expect("a stem");
    let truth = std::fs::read(format!("{folder}/{stem}.truth.json")).ok()?;
    let truth = serde_json::from_slice(&truth).expect("the truth is JSON");
    let source = Source::open(&format!("{folder}/{name}")).expect("the log is there");
    let options = ReadOptions { access_log: rules, ..Default::default() };
    let mut reader = Reader::new(source, &options).expect("the format is detected");
    let mut totals = Totals::default();
    let mut out = Vec::new();
    while let Some(record) = reader.next(&mut out).expect("the log is whole") {
        totals.odd += u64::from(record.is_odd);
        if record.result.is_err() {
            totals.refused.push(record.line);
            continue;
        }
        let event: Value = serde_json::from_slice(&out).expect("an event");
        out.clear();
        totals.events += 1;
        totals.bytes += event["value"].as_u64().unwrap_or(0);
        let time = jiff::Timestamp::from_millisecond(event["time"].as_i64().expect("a time"));
        let day = time.expect("in range").to_string()[..10].to_owned();
        *totals.days.entry(day).or_default() += 1;
        let method = event["attributes"]["method"].as_str().expect("a method").to_owned();
        *totals.methods.entry(method).or_default() += 1;
        *totals.items.entry(event["item"].as_str().expect("an item").to_owned()).or_default() += 1;
    }
    Some((totals, truth))
}

fn assert_top(items: &HashMap<String, u64>, top: &Value) {
    for pair in top.as_array().expect("a list") {
        let (item, count) = (pair[0].as_str().expect("an item"), pair[1].as_u64());
        assert_eq!(items.get(item).copied(), count, "{item}");
    }
}

#[test]
fn the_combined_log_agrees_with_its_truth() {
    for (keep_query, key) in [(false, "path_without_query"), (true, "full_target")] {
        let rules = AccessLogRules { keep_query, ..Default::default() };
        let Some((totals, truth)) = real("apache-combined-2015-05.log.zst", rules) else { return };
        assert_top(&totals.items, &truth[key]["top12"]);
        assert_eq!(totals.events, 9_998);
        assert_eq!(totals.refused.len(), 2, "no closing quote; an item of 595 bytes");
        assert!(totals.refused.contains(&8_899));
        for (method, count) in truth["methods"].as_object().expect("methods") {
            let long_item = u64::from(method == "GET");
            assert_eq!(totals.methods[method] + long_item, count.as_u64().expect("a count"));
        }
    }
}

#[test]
fn the_common_log_agrees_with_its_truth() {
    let rules = AccessLogRules { keep_query: true, ..Default::default() };
    let Some((totals, truth)) = real("nasa-web-2017-jan-aug.log.zst", rules) else { return };
    assert_top(&totals.items, &truth["full_target"]["top12"]);
    let lines = truth["lines"].as_u64().expect("a count");
    assert_eq!(totals.events + totals.refused.len() as u64, lines);
    assert!(totals.refused.len() < 20, "{:?}", totals.refused);
    assert!((700..=727).contains(&totals.odd), "{}", totals.odd);
    let refused_bytes = truth["bytes_sum"].as_u64().expect("a sum") - totals.bytes;
    assert!(refused_bytes < 10_000, "only the refused lines are missing: {refused_bytes}");
    let refused_gets = truth["methods"]["GET"].as_u64().expect("a count") - totals.methods["GET"];
    assert!(refused_gets <= 8, "only binary ones: {refused_gets}");
}
