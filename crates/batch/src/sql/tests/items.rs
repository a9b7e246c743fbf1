//! The table `items`, alone and beside counters.

use super::*;

const ITEMS: &str = r#"{"item":"a","title":"The \"A\"","channel":"ch","channel_name":"Ch","created":"2026-11-21T10:00:00.5Z","attributes":{"k":"v"}}
{"item":"b","title":"B","channel":"ch"}
{"item":"nobody"}
"#;

#[test]
fn items_are_joined_with_counters() {
    let ask = |question: &str| {
        let (archive, server) = seam();
        let server = Arc::into_inner(server).unwrap();
        ask(archive, &Arc::new(Says { items: ITEMS.into(), ..server }), question).unwrap()
    };
    let all = [
        r#"a The "A" ch Ch 2026-11-21T10:00:00.500Z {"k":"v"}"#,
        "b B ch null null null",
        "nobody null null null null null",
    ];
    assert_eq!(ask("select * from items order by item"), all);
    let of_channel = "select i.channel, sum(c.count), count(distinct c.item) from counters c \
                      join items i on i.item = c.item group by i.channel";
    assert_eq!(ask(of_channel), ["ch 31110 2"]);
    let uncounted = "select i.item from items i left join counters c on c.item = i.item \
                     where c.item is null";
    assert_eq!(ask(uncounted), ["nobody"]);
    assert_eq!(ask("select item from items where created > '2026-11-21'"), ["a"]);
    assert_eq!(ask("select count(*) from items where item = 'b' and channel = 'ch'"), ["1"]);
    assert_eq!(ask("select count(*) from items where item > 'a'"), ["2"], "also what came along");
    assert_eq!(ask("select title from items order by item limit 1"), ["The \"A\""]);
}

#[test]
fn the_server_is_asked_for_no_more_items_than_are_wanted() {
    let server = Arc::new(Says { cold_until: "1970-01-01".into(), ..Says::default() });
    for filter in ["true", "item = 'b'", "'ch' = channel and item > 'a'"] {
        let question = format!("select count(*) from items where {filter}");
        ask(Memory::default(), &server, &question).unwrap();
    }
    let some = |name: &str| Some(name.to_owned());
    let expected = [
        ItemFilter::default(),
        ItemFilter { item: some("b"), ..ItemFilter::default() },
        ItemFilter { item: None, channel: some("ch"), after: some("a") },
    ];
    assert_eq!(*server.asked_items.lock().unwrap(), expected);
    let wrong = Says { items: "{}\n".into(), ..Says::default() };
    let wrong = ask(Memory::default(), &Arc::new(wrong), "select * from items").unwrap_err();
    assert!(wrong.to_string().contains("is no item;"), "{wrong}");
}
