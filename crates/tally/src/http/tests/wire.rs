//! What stands before HTTP: TLS, HTTP/2, idle and slow connections; and the beacon.

use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::config::TlsFiles;

/// Writes a new self-made certificate for `localhost`, and says what trusts it.
fn certify(files: &TlsFiles) -> RootCertStore {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    roots
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") }
}

fn start_tls(files: &TlsFiles) -> (Server, Arc<Tls>) {
    let tls = Arc::new(Tls::open(files.clone()).unwrap());
    assert!(tls.ends().is_some_and(|ends| ends > NOW), "its operator can be warned");
    let (keys_dir, clock, door) = Server::door(&DoorSettings::default());
    (Server::over(keys_dir, clock, door, Some(tls.clone()), |routes| routes), tls)
}

type TlsStream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

async fn connect(
    addr: SocketAddr,
    roots: &RootCertStore,
    protocol: &[u8],
) -> std::io::Result<TlsStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = tokio::net::TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn event() -> hyper::Request<Full<Bytes>> {
    hyper::Request::post("http://localhost/v1/events")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(br#"{"item":"v"}"#)))
        .unwrap()
}

/// Sends events over HTTP/2, so many at once.
async fn send_http2<S>(stream: S, events: usize)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let executor = TokioExecutor::new();
    let (sender, driver) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(driver);
    let sent = (0..events).map(|_| {
        let mut sender = sender.clone();
        async move {
            let answer = sender.send_request(event()).await.unwrap();
            assert_eq!(
                (answer.status(), answer.version()),
                (202.try_into().unwrap(), hyper::Version::HTTP_2)
            );
            answer.into_body().collect().await.unwrap();
        }
    });
    futures::future::join_all(sent).await;
}

#[test]
fn http2_is_spoken_with_tls_and_without() {
    let server = Server::start();
    server._runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
        send_http2(stream, 300).await;
    });
    assert_eq!(server.records(), 300);
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let roots = certify(&files);
    let (server, _) = start_tls(&files);
    server._runtime.block_on(async {
        let stream = connect(server.addr, &roots, b"h2").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        send_http2(stream, 20).await;
        let stream = connect(server.addr, &roots, b"http/1.1").await.unwrap();
        let stream = TokioIo::new(stream);
        let (mut sender, driver) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(driver);
        assert_eq!(sender.send_request(event()).await.unwrap().status(), 202);
    });
    assert_eq!(server.records(), 21);
    // Who speaks plainly where TLS is wanted gets nothing.
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(!bytes.windows(5).any(|five| five == b"HTTP/"), "{bytes:?}");
}

#[test]
fn words_that_come_one_by_one_are_understood() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"PRINT / HTTP/1.1\r\nhost: t\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(answer(&mut stream).status, 405);
}

#[test]
fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let old = certify(&files);
    let (server, tls) = start_tls(&files);
    server._runtime.block_on(async {
        let stream = TokioIo::new(connect(server.addr, &old, b"http/1.1").await.unwrap());
        let (mut first, driver) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(driver);
        assert_eq!(first.send_request(event()).await.unwrap().status(), 202);
        let good_key = std::fs::read(&files.key).unwrap();
        std::fs::write(&files.key, "no key").unwrap();
        tls.reload_if_changed();
        connect(server.addr, &old, b"h2").await.expect("the old one holds");
        // A key that is of another certificate.
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&files.key, other.signing_key.serialize_pem()).unwrap();
        tls.reload_if_changed();
        connect(server.addr, &old, b"h2").await.expect("the old one holds");
        std::fs::write(&files.key, good_key).unwrap();
        tls.reload_if_changed();
        let new = certify(&files);
        tls.reload_if_changed();
        connect(server.addr, &new, b"h2").await.expect("the new one is shown");
        assert!(connect(server.addr, &old, b"h2").await.is_err());
        assert_eq!(first.send_request(event()).await.unwrap().status(), 202, "it was not cut");
    });
    assert_eq!(server.records(), 2);
    std::fs::write(&files.cert, "").unwrap();
    assert!(Tls::open(files).is_err());
}

#[test]
fn idle_and_slow_connections_leave_the_server_answering() {
    // Both ends of every connection are in this process.
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files).unwrap();
    let server = Server::start();
    let idle: Vec<_> = (0..1000).map(|_| TcpStream::connect(server.addr).unwrap()).collect();
    let mut slow: Vec<_> = (0..200).map(|_| TcpStream::connect(server.addr).unwrap()).collect();
    let begun = Instant::now();
    for byte in b"POST /v1/events HTTP/1.1\r\n" {
        for stream in &mut slow {
            stream.write_all(&[*byte]).unwrap();
        }
        assert_eq!(server.json(r#"{"item":"v"}"#).status, 202);
    }
    // Each of them is given up in time: they see the end, or an answer that says so.
    for mut stream in idle.into_iter().chain(slow) {
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn the_beacon_is_small_and_kept_by_browsers() {
    assert!(beacon::SCRIPT.len() < 2048, "{} bytes", beacon::SCRIPT.len());
    let server = Server::start();
    let script = server.get("/beacon.js");
    assert_eq!(script.status, 200);
    assert!(script.head.contains("content-type: text/javascript"), "{}", script.head);
    let tag = script.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let ask = |known: &str| {
        let head = format!("GET /beacon.js HTTP/1.1\r\nhost: t\r\nif-none-match: {known}\r\n\r\n");
        server.raw(head.as_bytes()).status
    };
    assert_eq!((ask(tag), ask(&format!("\"x\", W/{tag}")), ask("\"x\"")), (304, 304, 200));
}
