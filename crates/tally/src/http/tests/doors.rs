//! Keys, scopes, rates and origins, over HTTP.

use super::*;

/// A key of the scopes, as `Authorization` says it.
fn key(server: &Server, scopes: Scopes) -> String {
    made(server, Draft { scopes, ..Draft::default() }).1
}

/// The id and the header of a key.
fn made(server: &Server, draft: Draft) -> (String, String) {
    let (key, secret) = server.door.keys().create(draft).unwrap();
    (key.id, format!("authorization: Bearer {}\r\n", secret.expose()))
}

fn ask(server: &Server, method: &str, path: &str, headers: &str) -> Answer {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n{headers}\r\n");
    server.raw(head.as_bytes())
}

/// Every operation that is described, with the scopes of which one is asked for.
fn operations() -> Vec<(Method, String, Vec<String>, bool)> {
    let document: serde_json::Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let security = operation["security"].as_array();
            let security = security.unwrap_or_else(|| panic!("{method} {path} says no security"));
            let scopes = security.iter().filter_map(|one| one["key"].as_array()).flatten();
            let scopes = scopes.map(|scope| scope.as_str().unwrap().to_owned()).collect();
            let is_public = security.iter().any(|one| one["publicKey"].is_array());
            let method = method.to_uppercase().parse().unwrap();
            if !security.is_empty() {
                for status in ["401", "403", "429"] {
                    assert!(operation["responses"][status].is_object(), "{method} {path} {status}");
                }
            }
            found.push((method, path.clone(), scopes, is_public));
        }
    }
    found
}

#[test]
fn the_description_and_the_door_ask_for_the_same() {
    for (method, path, described, is_public) in operations() {
        let need = door::Need::of(&method, Some(&path));
        assert_eq!(need.scopes().names(), described, "{method} {path}");
        assert_eq!(need == door::Need::SendEvents, is_public, "{method} {path}");
        assert_eq!(need == door::Need::Nothing, described.is_empty(), "{method} {path}");
    }
}

#[test]
fn what_nobody_thought_of_is_for_administrators() {
    for (method, path) in
        [(Method::POST, "/v1/sql"), (Method::GET, "/v2/new"), (Method::DELETE, "/metricz")]
    {
        let need = door::Need::of(&method, Some(path));
        assert_eq!(need, door::Need::AnyOf(Scopes::ADMIN), "{method} {path}");
    }
    assert_eq!(door::Need::of(&Method::GET, None), door::Need::AnyKey);
}

/// Every path with every key. The paths here stand for those that need an engine: the door is before
/// them all.
#[test]
fn each_scope_opens_what_it_should_and_nothing_else() {
    let server = Server::start_with_all_paths();
    let keys = [
        ("write", key(&server, Scopes::WRITE)),
        ("read", key(&server, Scopes::READ)),
        ("admin", key(&server, Scopes::ADMIN)),
    ];
    let is_public = true;
    let (_, public) = made(&server, Draft { scopes: Scopes::WRITE, is_public, ..Draft::default() });
    for (method, path, scopes, takes_public) in operations() {
        let asked = path.replace('{', "a").replace('}', "b");
        let ask = |key: &str| ask(&server, method.as_str(), &asked, key);
        let bare = ask("");
        if scopes.is_empty() {
            assert!(!matches!(bare.status, 401 | 403), "{method} {path} is open");
            continue;
        }
        assert_eq!((bare.status, bare.code().as_str()), (401, "unauthorized"), "{method} {path}");
        assert!(bare.head.contains("www-authenticate: bearer realm=\"tally\""), "{}", bare.head);
        for (scope, key) in &keys {
            let answer = ask(key);
            if scopes.iter().any(|wanted| wanted == scope) {
                assert!(!matches!(answer.status, 401 | 403), "{method} {path} with {scope}");
            } else {
                let told = (answer.status, answer.code());
                assert_eq!(told, (403, "forbidden".into()), "{method} {path} with {scope}");
                assert!(!answer.head.contains("www-authenticate"), "{}", answer.head);
            }
        }
        assert_eq!(ask(&public).status == 403, !takes_public, "{method} {path} with a public key");
    }
    assert_eq!(ask(&server, "GET", "/nothing", "").status, 401);
    assert_eq!(ask(&server, "GET", "/nothing", &keys[0].1).status, 404);
    assert_eq!(ask(&server, "PATCH", "/v1/events", "").status, 401);
    // What is no key gets one answer, whatever is wrong with it.
    let good = keys[1].1.clone();
    let clipped = good.replacen("tk_", "tk-", 1);
    let shortened = format!("{}\r\n", &good[..good.len() - 3]);
    let other_end =
        format!("{}{}\r\n", &good[..good.len() - 3], if good.ends_with("0\r\n") { 1 } else { 0 });
    for wrong in [
        "authorization: Bearer tk_x\r\n",
        "authorization: Basic dGs6dGs=\r\n",
        "authorization: Bearer\r\n",
        &clipped,
        &shortened,
        &other_end,
        &format!("{good}{good}"),
        &good.replace("Bearer ", ""),
    ] {
        let refused = ask(&server, "GET", "/metrics", wrong);
        assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"), "{wrong}");
        assert_eq!(refused.body, ask(&server, "GET", "/metrics", "").body, "nothing is given away");
    }
    assert_eq!(ask(&server, "GET", "/metrics", &good.replace("Bearer", "bEARER")).status, 200);
    assert_eq!(server.records(), 2, "of those who may, one event each; of the others none");
}

#[test]
fn a_key_that_is_over_or_revoked_opens_nothing_more() {
    let server = Server::start();
    let event = "content-type: application/json\r\n";
    let send = |key: &str| server.post("/v1/events", &format!("{event}{key}"), b"{\"item\":\"v\"}");
    assert_eq!(send("").status, 202, "without any key everybody may");
    let expires = Some(TimestampMs(NOW.0 + 5000));
    let scopes = Scopes::WRITE;
    let (_, short) = made(&server, Draft { scopes, expires, ..Draft::default() });
    let (id, long) = made(&server, Draft { scopes, ..Draft::default() });
    assert_eq!(send("").status, 401);
    assert_eq!((send(&short).status, send(&long).status), (202, 202));
    *server.clock.0.lock() += 5000;
    assert_eq!((send(&short).status, send(&long).status), (401, 202));
    server.door.keys().revoke(id.parse().unwrap()).unwrap();
    let refused = send(&long);
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("connection: close"), "the body was not read");
    assert!(refused.head.contains("error=\"invalid_token\""), "{}", refused.head);
    assert_eq!(server.records(), 4);
}

#[test]
fn a_page_sends_with_a_public_key_in_the_address() {
    let cors_origins = vec!["https://shop.example".parse().unwrap()];
    let server = Server::start_with(&DoorSettings { cors_origins, ..DoorSettings::default() });
    let (_, public) =
        made(&server, Draft { scopes: Scopes::WRITE, is_public: true, ..Draft::default() });
    let private = key(&server, Scopes::WRITE);
    let text = |header: &str| header.trim().rsplit(' ').next().unwrap().to_owned();
    let send = |key: &str, headers: &str| {
        let headers = format!("content-type: text/plain;charset=UTF-8\r\n{headers}");
        let body = b"{\"item\":\"a\"}\n{\"item\":\"b\"}";
        server.post(&format!("/v1/events?key={key}"), &headers, body)
    };
    let sent = send(&text(&public), "origin: https://shop.example\r\n");
    assert_eq!(sent.status, 202, "{}", sent.body);
    assert!(sent.head.contains("access-control-allow-origin: https://shop.example"));
    assert!(sent.head.contains("vary: origin"));
    assert_eq!(server.records(), 2);
    let elsewhere = send(&text(&public), "origin: https://evil.example\r\n");
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (403, "forbidden"));
    assert!(!elsewhere.head.contains("access-control"));
    assert_eq!(send(&text(&public), "origin: null\r\n").status, 403);
    assert_eq!(send(&text(&public), "origin: http://t\r\n").status, 202, "the server's own page");
    assert_eq!(send(&text(&private), "").status, 401, "a secret has no place in an address");
    assert_eq!(send("tk_x&key=tk_y", "").status, 401);
    let plain = format!("content-type: text/plain\r\n{private}");
    assert_eq!(server.post("/v1/events", &plain, b"{\"item\":\"a\"}").status, 415);
    let one = format!("/v1/items/a/events?type=like&key={}&value=2", text(&public));
    assert_eq!(ask(&server, "POST", &one, "").status, 202);
    let read = format!("/metrics?key={}", text(&public));
    assert_eq!(ask(&server, "GET", &read, "").status, 401);
    assert_eq!(server.records(), 5);
}

#[test]
fn a_browser_that_asks_first_is_told_what_a_page_may() {
    let cors_origins = vec!["https://shop.example".parse().unwrap()];
    let server = Server::start_with(&DoorSettings { cors_origins, ..DoorSettings::default() });
    key(&server, Scopes::WRITE);
    let first = |path: &str, origin: &str| {
        let wanted = "access-control-request-method: POST\r\n";
        ask(&server, "OPTIONS", path, &format!("{wanted}origin: {origin}\r\n"))
    };
    let told = first("/v1/events", "https://shop.example");
    assert_eq!(told.status, 204);
    for line in [
        "access-control-allow-origin: https://shop.example",
        "access-control-allow-methods: get, head, post",
        "access-control-allow-headers: authorization, content-type",
    ] {
        assert!(told.head.contains(line), "{line} in {}", told.head);
    }
    assert!(!told.head.contains("access-control-allow-credentials"));
    for (path, origin) in [
        ("/v1/events", "https://shop.example.evil"),
        ("/v1/admin/keys", "https://shop.example"),
        ("/metrics", "https://shop.example"),
    ] {
        let refused = first(path, origin);
        assert_eq!(refused.status, 401, "{path} {origin}");
        assert!(!refused.head.contains("access-control-allow"), "{}", refused.head);
    }
}

#[test]
fn rates_are_held_to_the_event_and_say_when_to_come_again() {
    let rate_events = Some(10);
    let server = Server::start_with(&DoorSettings { rate_events, ..DoorSettings::default() });
    let send = |events: usize, key: &str| {
        let body = vec!["{\"item\":\"v\"}"; events].join("\n");
        let headers = format!("content-type: application/x-ndjson\r\n{key}");
        server.post("/v1/events", &headers, body.as_bytes())
    };
    let wait = |answer: &Answer| {
        assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
        let line = answer.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
        line.unwrap().parse::<i64>().unwrap()
    };
    assert_eq!(send(4, "").status, 202);
    assert_eq!(send(6, "").status, 202, "ten in all");
    assert_eq!(wait(&send(1, "")), 1);
    *server.clock.0.lock() += 500;
    assert_eq!(wait(&send(6, "")), 1, "five have come in");
    assert_eq!(send(5, "").status, 202);
    // A batch larger than a second's worth waits for a full bucket, and owes the rest.
    *server.clock.0.lock() += 1000;
    assert_eq!(send(35, "").status, 202);
    let owed = wait(&send(1, ""));
    assert_eq!(owed, 3, "25 owed and one more, at ten a second");
    *server.clock.0.lock() += owed * 1000;
    assert_eq!(send(1, "").status, 202, "Retry-After was long enough");
    assert_eq!(server.records(), 51);
    // A key has a bucket of its own, with its own rate.
    let rates = Rates { events: Some(3), requests: Some(2) };
    let (_, slow) = made(&server, Draft { scopes: Scopes::WRITE, rates, ..Draft::default() });
    let fast = key(&server, Scopes::WRITE);
    assert_eq!((send(3, &slow).status, send(10, &fast).status), (202, 202));
    assert_eq!(wait(&send(1, &slow)), 1);
    *server.clock.0.lock() += 1000;
    assert_eq!((send(1, &slow).status, send(1, &slow).status), (202, 202));
    assert_eq!(wait(&send(1, &slow)), 1, "two requests a second");
}

#[test]
fn addresses_are_told_apart_by_trusted_proxies_alone() {
    let settings = DoorSettings {
        rate_requests: Some(1),
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..DoorSettings::default()
    };
    let server = Server::start_with(&settings);
    let from = |client: &str| {
        ask(&server, "GET", "/metrics", &format!("x-forwarded-for: {client}\r\n")).status
    };
    assert_eq!((from("203.0.113.1"), from("203.0.113.2")), (200, 200));
    assert_eq!(from("198.51.100.9, 203.0.113.1"), 429, "what the client wrote is not believed");
    assert_eq!((from("2001:db8::1"), from("2001:db8::2")), (200, 429), "one customer");
    assert_eq!(ask(&server, "GET", "/healthz", "").status, 404, "no such path here, yet unlimited");
    let settings = DoorSettings { rate_requests: Some(1), ..DoorSettings::default() };
    let server = Server::start_with(&settings);
    let from = |client: &str| {
        ask(&server, "GET", "/metrics", &format!("x-forwarded-for: {client}\r\n")).status
    };
    assert_eq!((from("203.0.113.1"), from("203.0.113.2")), (200, 429));
}
