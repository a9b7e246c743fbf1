//! The client against a peer that says exactly what a test wants, byte for byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers the first request on one connection with this status line and headers, and this body;
/// gives the request's head.
async fn peer(head: &str, body: &str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let head = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 64 << 10];
        let mut length = 0;
        while !request[..length].windows(4).any(|four| four == b"\r\n\r\n") {
            length += stream.read(&mut request[length..]).await.expect("a request");
        }
        stream.write_all(answer.as_bytes()).await.expect("the client listens");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (url, head)
}

#[tokio::test]
async fn an_item_is_percent_encoded_and_the_answer_is_read() {
    let (url, head) = peer(
        "200 OK",
        "{\"item\":\"/a b\",\"type\":\"view\",\"count\":7,\"as_of\":\"2026-11-21T10:00:00Z\",\"status\":\"final\"}",
    )
    .await;
    let client = Client::new(&url).expect("a good URL");
    let query = CountQuery { item: "/a ü?%", event_type: Some("view"), ..Default::default() };
    let answer = client.count(&query).await.expect("an answer");
    assert_eq!(answer.count, 7);
    let head = head.await.expect("the peer ran");
    assert!(
        head.starts_with("GET /v1/items/%2Fa%20%C3%BC%3F%25/count?type=view HTTP/1.1"),
        "{head}"
    );
}

#[tokio::test]
async fn all_rejected_is_an_answer_with_the_verdicts() {
    let (url, _head) = peer(
        "422 Unprocessable Content",
        "{\"type\":\"/problems/all_rejected\",\"title\":\"t\",\"status\":422,\"code\":\"all_rejected\",\
         \"rejected\":[{\"index\":0,\"code\":\"event_too_old\",\"detail\":\"it is very old\"}]}",
    )
    .await;
    let client = Client::new(&url).expect("a good URL");
    let answer = client.send_ndjson(Bytes::from_static(b"{}\n")).await.expect("verdicts");
    assert_eq!((answer.accepted, answer.rejected[0].code.as_str()), (0, "event_too_old"));
}

#[tokio::test]
async fn a_problem_says_its_code_and_how_long_to_wait() {
    let (url, _head) = peer(
        "503 Service Unavailable\r\nretry-after: 2",
        "{\"type\":\"/problems/overloaded\",\"title\":\"busy\",\"status\":503,\"code\":\"overloaded\"}",
    )
    .await;
    let client = Client::new(&url).expect("a good URL");
    let error = client.send_ndjson(Bytes::new()).await.expect_err("a problem");
    assert_eq!(error.code(), "overloaded");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn no_server_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let client = Client::new(&url).expect("a good URL");
    let error = client.get("/v1/top").await.expect_err("nobody listens");
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains("tally serve"), "{error}");
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let client = Client::new(&url).expect("a good URL").with_timeout(Duration::from_millis(20));
    let error = client.get("/v1/top").await.expect_err("it never answers");
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[test]
fn a_wrong_url_says_what_is_wrong() {
    for (url, says) in [
        ("127.0.0.1:8080", "http://"),
        ("ftp://example.org", "http"),
        ("http://", "http://"),
        ("http://a?b", "query"),
    ] {
        let error = Client::new(url).expect_err(url).to_string();
        assert!(error.contains(says), "{url}: {error}");
    }
    assert_eq!(Client::new("http://a:1/").expect("fine").base_url(), "http://a:1");
}

#[test]
fn dots_alone_are_no_steps_of_a_path() {
    let query = CountQuery { item: "..", ..Default::default() };
    assert_eq!(query.path(), "/v1/items/%2E%2E/count");
}
