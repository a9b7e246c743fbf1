//! Item details beside what was counted.

use super::*;

const ITEMS: &str = r#"{"item":"/","title":"Home, \"sweet\" home","channel":"site","channel_name":"Site","created":"1995-07-01T00:00:00.5Z","attributes":{"b":"2","a":"é\u0001"}}
{"item":"/images/NASA-logosmall.gif","channel":"images"}
{"item":"/images/KSC-logosmall.gif","channel":"images","created":804556800000}
{"item":"odd","title":"Odd"}
{"item":"never counted","channel":"site"}
"#;

#[test]
fn items_are_joined_with_what_was_counted_of_them() {
    let scratch = scratch();
    let scratch = scratch.path();
    let server = start(scratch, 0, &LONG);
    send_file(&server, scratch);
    post(&server, ODD);
    post_to(&server, "/v1/items", ITEMS);
    server.wait_for("it is counted", || {
        json(&server, "/v1/items/odd/count")["count"] == 2
            && json(&server, "/v1/admin/partitions")["partitions"]
                .as_array()
                .is_some_and(|all| all.iter().all(|row| row["lag_events"] == 0))
    });
    let ask = |question: &str| one(&server, scratch, question);
    let found = rows(&server, scratch, "select * from items where item = '/'");
    let expected = [
        ("attributes", r#"{"a":"é\u0001","b":"2"}"#),
        ("channel", "site"),
        ("channel_name", "Site"),
        ("created", "1995-07-01T00:00:00.500Z"),
        ("item", "/"),
        ("title", "Home, \"sweet\" home"),
    ];
    assert_eq!(found.len(), 1, "{found:?}");
    let found: Vec<(&str, &str)> = found[0].iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(found, expected);
    let nobody = rows(&server, scratch, "select * from items where item = 'nobody'");
    assert_eq!(nobody, []);

    let by_channel = rows(
        &server,
        scratch,
        "select i.channel, sum(c.count) as n from counters c join items i on i.item = c.item \
         group by i.channel order by i.channel",
    );
    let total = |items: &[&str]| -> u64 {
        let types = rows(&server, scratch, "select distinct type from counters");
        let query: String = items.iter().map(|item| format!("&item={}", percent(item))).collect();
        let of_type = |row: &BTreeMap<String, String>| {
            let answer = json(&server, &format!("/v1/counts?type={}{query}", row["type"]));
            let counts = answer["counts"].as_array().expect("a list").clone();
            counts.iter().map(|row| row["count"].as_u64().expect("a count")).sum::<u64>()
        };
        types.iter().map(of_type).sum()
    };
    let images = total(&["/images/NASA-logosmall.gif", "/images/KSC-logosmall.gif"]);
    assert!(images > 1_000, "{images}");
    let row = |channel: &str, n: u64| {
        BTreeMap::from([("channel".to_owned(), channel.to_owned()), ("n".into(), n.to_string())])
    };
    let site = total(&["/"]);
    assert_eq!(by_channel, [row("images", images), row("site", site), row("null", 2)]);
    let of_events = ask("select count(*) from items i join counters c on c.item = i.item \
                         where i.channel = 'images' and c.granularity = 'minute'");
    assert!(of_events.parse::<u64>().expect("a number") > 100, "{of_events}");
    let uncounted = "select item from items where item not in (select item from counters)";
    assert_eq!(ask(uncounted), "never counted");
    assert_eq!(ask("select count(*) from items where channel = 'images'"), "2");
    assert_eq!(
        ask("select min(item) from items where item > '/images/KSC-logosmall.gif'"),
        "/images/NASA-logosmall.gif"
    );
    assert_eq!(ask("select count(*) from items where created >= '1995-07-01'"), "2");
    assert_eq!(
        ask(
            "select data_type from information_schema.columns where table_name = 'items' and column_name = 'created'"
        ),
        "Timestamp(ms, \"UTC\")"
    );
}
