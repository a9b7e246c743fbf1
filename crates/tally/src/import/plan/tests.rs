//! Mapping, odd decimals and times, and what an event looks like on its line.

use super::*;

fn mapping(map: &[&str], set: &[&str], shift_days: i64) -> Mapping {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    Mapping::parse(&owned(map), &owned(set), shift_days).expect("a good mapping")
}

fn line(plan: &Plan, fields: &'static [&'static str]) -> Result<String, Refusal> {
    let mut out = Vec::new();
    plan.write_event(|index| fields[index], &[], || "derived".into(), &mut out)?;
    Ok(String::from_utf8(out).expect("JSON is UTF-8"))
}

#[test]
fn fields_constants_and_derived_ids_make_an_event() {
    let mapping = mapping(
        &["item=path", "time=ts", "value=bytes", "attr.agent=ua"],
        &["type=hit", "attr.site=blog"],
        0,
    );
    let plan = Plan::new(&mapping, &["ts", "path", "bytes", "ua"]).expect("all fields exist");
    assert_eq!(
        line(&plan, &["2026-01-01T00:00:00Z", "/a\"b", "0012.50", ""]).expect("an event"),
        "{\"id\":\"derived\",\"item\":\"/a\\\"b\",\"type\":\"hit\",\"time\":\"2026-01-01T00:00:00Z\",\
         \"value\":12.50,\"attributes\":{\"site\":\"blog\"}}\n"
    );
    assert_eq!(
        line(&plan, &["1500000000000", "ü", "", "x"]).expect("an event"),
        "{\"id\":\"derived\",\"item\":\"ü\",\"type\":\"hit\",\"time\":1500000000000,\
         \"attributes\":{\"agent\":\"x\",\"site\":\"blog\"}}\n"
    );
}

#[test]
fn times_move_by_whole_days() {
    let plan = Plan::new(&mapping(&["item=i", "time=t"], &[], 2), &["i", "t"]).expect("fine");
    let moved = line(&plan, &["a", "1970-01-01T00:00:01.5Z"]).expect("an event");
    assert!(moved.contains("\"time\":172801500"), "{moved}");
    assert_eq!(line(&plan, &["a", "soon"]).expect_err("no time").code, "invalid_time");
}

#[test]
fn decimals_become_json_numbers_with_all_their_digits() {
    for (text, json) in [
        ("12.5", "12.5"),
        ("-0.10", "-0.10"),
        ("+5", "5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007", "7"),
        ("0", "0"),
        (" 1 ", "1"),
        ("9007199254740993.000001", "9007199254740993.000001"),
        ("1e3", "1e3"),
        ("1E-3", "1e-3"),
    ] {
        assert_eq!(value(text).expect(text).as_deref(), Some(json), "{text}");
        serde_json::from_str::<serde_json::Number>(json).expect(json);
    }
    assert_eq!(value("").expect("none"), None);
    for text in ["NaN", "inf", "1,5", "0x10", ".", "-", "1e", "1e+", "--1", "1 2", "١"] {
        assert_eq!(value(text).expect_err(text).code, "invalid_value", "{text}");
    }
}

#[test]
fn items_are_judged_as_the_contract_says() {
    check_item(&"x".repeat(256)).expect("256 bytes are fine");
    for item in ["", "a\nb", "a\u{85}b", &"x".repeat(257), &"ü".repeat(129)] {
        assert_eq!(check_item(item).expect_err(item).code, "invalid_item");
    }
}

#[test]
fn a_wrong_mapping_says_what_there_is() {
    let missing = Plan::new(&mapping(&["item=nope"], &[], 0), &["a", "b"]).expect_err("no field");
    assert!(missing.contains("`nope`") && missing.contains("a, b"), "{missing}");
    let none = Plan::new(&Mapping::default(), &["a", "b"]).expect_err("no item");
    assert!(none.contains("--map item="), "{none}");
    for (map, says) in [("item", "PART=NAME"), ("thing=a", "attr.NAME"), ("item=", "PART=NAME")] {
        let error = Mapping::parse(&[map.into()], &[], 0).expect_err(map);
        assert!(error.contains(says), "{error}");
    }
}
