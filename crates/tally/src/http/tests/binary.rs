//! CloudEvents whose attributes are headers.

use super::*;

const HEAD: &str = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /player\r\nce-type: view\r\n\
                    ce-subject: caf%C3%A9\r\nce-time: 2026-11-21T09:59:59Z\r\n";

#[test]
fn attributes_may_come_as_headers() {
    let server = Server::start();
    let json = "content-type: application/json; charset=utf-8\r\n";
    for (headers, body) in [
        (json, &br#"{"value":0.1,"x":[]}"#[..]),
        (json, b"5"),
        (json, b""),
        ("content-type: application/vnd.player+json\r\n", b"{}"),
        ("content-type: image/png\r\n", b"\xff\xd8"),
        ("", b""),
    ] {
        let sent = server.post("/v1/events", &format!("{HEAD}{headers}"), body);
        assert_eq!(sent.status, 202, "{headers} {}", sent.body);
    }
    assert_eq!(server.records(), 6);
    let code = |head: &str, body: &[u8]| {
        let refused = server.post("/v1/events", &format!("{head}{json}"), body);
        let problem: api::Problem = serde_json::from_str(&refused.body).unwrap();
        problem.rejected.first().map_or(problem.code.clone(), |event| event.code.clone())
    };
    for (from, to, wanted) in [
        ("1.0", "0.3", "invalid_json"),
        ("ce-id: 1", "ce-id:", "invalid_id"),
        ("ce-source", "ce-sauce", "invalid_id"),
        ("ce-subject", "ce-object", "invalid_item"),
        ("ce-type: view", "ce-type: com.Example", "invalid_type"),
        ("ce-type", "ce-kind", "invalid_type"),
        ("2026-11-21T09:59:59Z", "now", "invalid_time"),
        ("%C3%A9", "%C3", "invalid_parameter"),
        ("ce-id: 1", "ce-id: 1\r\nce-id: 2", "invalid_parameter"),
    ] {
        assert_eq!(code(&HEAD.replace(from, to), b"{}"), wanted, "{from} {to}");
    }
    assert_eq!(code(HEAD, b"{"), "invalid_json");
    assert_eq!(code(HEAD, br#"{"value":"0.1"}"#), "invalid_value");
    assert_eq!(server.records(), 6);
}
