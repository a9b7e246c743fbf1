//! Behind real load balancers, with the configurations of `deploy/`: what passes, what is sent
//! again and what never is, and ten stops under load of which no client has to know.

mod stand_in;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::server::{Server, TALLY, free_port, wait_for};
use stand_in::{Manner, StandIn};

const STOPS: u64 = 10;
/// Events a second, by schedule: there is load at every stop, and for a minute at least, however fast
/// the machine. What was due meanwhile comes at once afterwards.
const RATE: u64 = 5_000;
const EVENTS: u64 = 60 * RATE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nginx,
    HaProxy,
}

/// A load balancer with the shipped configuration, in which addresses alone are other ones.
struct Proxy {
    child: Child,
    url: String,
    scratch: tempfile::TempDir,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The program, installed where it is missing.
fn program(name: &str) -> String {
    let output = Command::new(root().join("scripts/outside")).arg(name).output();
    let output = output.expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} cannot be installed: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The shipped file with some of its text replaced, all of which must be there.
fn shipped(file: &str, changes: &[(&str, String)]) -> String {
    let text = std::fs::read_to_string(root().join("deploy").join(file)).expect("it is shipped");
    changes.iter().fold(text, |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{file} says `{from}` once");
        text.replace(from, to)
    })
}

impl Proxy {
    /// Checks the configuration by the program's own means, and starts it.
    fn start(kind: Kind, primary: u16, secondary: u16) -> Self {
        let scratch = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let mut command = match kind {
            Kind::Nginx => nginx(scratch.path(), port, primary, secondary),
            Kind::HaProxy => haproxy(scratch.path(), port, primary, secondary),
        };
        let log = std::fs::File::create(scratch.path().join("log")).expect("a file");
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{kind:?} does not start: {error}"));
        let url = format!("http://127.0.0.1:{port}");
        let mut proxy = Self { child, url, scratch };
        wait_for("the load balancer listens", || {
            let ended = proxy.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "{kind:?} ended: {}", proxy.said());
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        proxy
    }

    /// Its log so far.
    fn said(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Status and body of a request by curl.
    fn curl(&self, args: &[&str], path: &str) -> (u16, String) {
        let output = Command::new("curl")
            .args(["-s", "--max-time", "30", "--path-as-is", "-w", "\n%{http_code}"])
            .args(args)
            .arg(format!("{}{path}", self.url))
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().expect("a status"), body.to_owned())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its workers end with it only if it is asked.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn check(mut command: Command) {
    let output = command.output().expect("the check runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
    assert!(!said.contains("[warn]") && !said.contains("[WARNING]"), "{said}");
}

fn nginx(scratch: &Path, port: u16, primary: u16, secondary: u16) -> Command {
    let site = shipped(
        "nginx/tally.conf",
        &[
            ("listen 80;", format!("listen 127.0.0.1:{port};")),
            ("server 127.0.0.1:8080 ", format!("server 127.0.0.1:{primary} ")),
            ("# server 127.0.0.1:8081 ", format!("server 127.0.0.1:{secondary} ")),
        ],
    );
    let dir = scratch.display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
        .concat();
    // Nobody's files are not to be found under a scratch folder: workers stay who they are.
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let main = format!(
        "{user}\ndaemon off;\nworker_processes 2;\npid {dir}/pid;\nerror_log stderr;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temp}\n{site}\n}}\n"
    );
    let file = scratch.join("nginx.conf");
    std::fs::write(&file, main).expect("a file");
    let command = || {
        let mut command = Command::new(program("nginx"));
        command.arg("-p").arg(scratch).arg("-e").arg(scratch.join("early")).arg("-c").arg(&file);
        command
    };
    let mut test = command();
    test.arg("-t");
    check(test);
    command()
}

fn haproxy(scratch: &Path, port: u16, primary: u16, secondary: u16) -> Command {
    let text = shipped(
        "haproxy/haproxy.cfg",
        &[
            ("    user haproxy\n", String::new()),
            ("    group haproxy\n", String::new()),
            ("bind :80\n", format!("bind 127.0.0.1:{port}\n")),
            ("server primary 127.0.0.1:8080", format!("server primary 127.0.0.1:{primary}")),
            (
                "# server secondary 127.0.0.1:8081",
                format!("server secondary 127.0.0.1:{secondary}"),
            ),
        ],
    );
    let file = scratch.join("haproxy.cfg");
    std::fs::write(&file, text).expect("a file");
    let mut test = Command::new(program("haproxy"));
    test.arg("-c").arg("-f").arg(&file);
    check(test);
    let mut command = Command::new(program("haproxy"));
    command.arg("-db").arg("-f").arg(&file);
    command
}

const JSON: &str = "Content-Type: application/json";

fn passes_unchanged(kind: Kind) {
    let server = StandIn::start(Manner::Echo);
    let proxy = Proxy::start(kind, server.port, free_port());
    let paths =
        ["/v1/items/a%2Fb%20c%2F%2Fd/count?type=view", "/v1/items/%C3%A4%3F/stats?step=total"];
    for path in paths {
        let (status, seen) = proxy.curl(&["-H", "X-Forwarded-For: 1.2.3.4"], path);
        assert_eq!(status, 200, "{kind:?}: {seen}");
        let seen = seen.to_ascii_lowercase();
        let line = format!("get {} http/1.1\r\n", path.to_ascii_lowercase());
        assert!(seen.starts_with(&line), "{kind:?}: {path} became {seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{kind:?}: {seen}");
        assert!(!seen.contains("1.2.3.4"), "{kind:?} believes what a client claims: {seen}");
    }
    // 500 items of 40 bytes in a line.
    let many = format!("/v1/counts?{}", vec![format!("item={}", "x".repeat(40)); 500].join("&"));
    let (status, seen) = proxy.curl(&[], &many);
    assert!(status == 200 && seen.contains(&many), "{kind:?}: a long line is {status}");
    let body = ["-H", JSON, "-H", "Content-Encoding: gzip", "--data-binary", "not \u{1}gzip"];
    let (_, seen) = proxy.curl(&body, "/v1/events");
    assert!(seen.to_ascii_lowercase().contains("content-encoding: gzip\r\n"), "{kind:?}: {seen}");
    assert!(seen.ends_with("not \u{1}gzip"), "{kind:?}: {seen}");
}

/// An event is there at once, though more is to come.
fn streams(kind: Kind) {
    let server = StandIn::start(Manner::Drip);
    let proxy = Proxy::start(kind, server.port, free_port());
    let (status, seen) = proxy.curl(&["-N", "-m", "2"], "/v1/items/a%2Fb/live?type=view");
    assert_eq!((status, seen.as_str()), (200, "data: 1\n\n"), "{kind:?}");
}

fn bounds_bodies(kind: Kind) {
    let server = StandIn::start(Manner::Echo);
    let proxy = Proxy::start(kind, server.port, free_port());
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::copy(&mut std::io::repeat(b' ').take((16 << 20) + 1), &mut file).expect("room");
    let at = format!("@{}", file.path().display());
    let send = ["-H", JSON, "-H", "Expect:", "--data-binary", &at];
    let (status, body) = proxy.curl(&send, "/v1/events");
    let problem: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}"));
    assert_eq!((status, &problem["code"]), (413, &Value::from("body_too_large")), "{kind:?}");
    assert_eq!(server.requests(), 0, "{kind:?} bothered the server");
    let (status, _) = proxy.curl(&send, "/v1/bulk");
    assert_eq!((status, server.requests()), (200, 1), "{kind:?}: files have no bound");
}

/// What was sent to a server that died over it is sent again only where a repeat is recognised.
fn repeats_only_what_is_recognised(kind: Kind) {
    let key = ["-H", "Idempotency-Key: k1"];
    let stamp = ["-H", "Tally-Source: s1", "-H", "Tally-Sequence: 1"];
    let event = ["-H", JSON, "-d", "{\"item\":\"a\"}"];
    let cases: [(&[&str], &str, bool); 5] = [
        (&[], "/v1/items/a/count", true),
        (&event, "/v1/events", false),
        (&["-X", "POST"], "/v1/items/a/events", false),
        (&[&event[..], &key].concat(), "/v1/events", true),
        (&[&event[..], &stamp].concat(), "/v1/events", true),
    ];
    for (args, path, is_repeated) in cases {
        let (primary, secondary) = (StandIn::start(Manner::Die), StandIn::start(Manner::Die));
        let proxy = Proxy::start(kind, primary.port, secondary.port);
        let (status, body) = proxy.curl(args, path);
        let sent = primary.requests() + secondary.requests();
        assert_eq!(sent > 1, is_repeated, "{kind:?}: {args:?} was sent {sent} times");
        assert_eq!(status, 502, "{kind:?}: {body}");
        let problem: Value =
            serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}"));
        assert_eq!(problem["code"], "outcome_unknown", "{kind:?}");
    }
    // Nothing was sent to who refuses connections: anything may go elsewhere.
    let secondary = StandIn::start(Manner::Echo);
    let proxy = Proxy::start(kind, free_port(), secondary.port);
    let (status, body) = proxy.curl(&event, "/v1/events");
    assert_eq!((status, secondary.requests()), (200, 1), "{kind:?}: {body}");
}

/// The data folder moves between primary and secondary, or stays; stopped in turn by SIGTERM and
/// by `kill -9`.
fn ten_stops_under_load(kind: Kind) {
    let scratch = tempfile::tempdir().expect("a folder");
    let data_dir = scratch.path().join("data");
    let flags = ["--drain-delay", "1500ms", "--flush-interval", "1s", "--audit-interval", "off"];
    let ports = [free_port(), free_port()];
    let proxy = Proxy::start(kind, ports[0], ports[1]);
    let mut at = 0;
    let mut server = Server::start_on(ports[at], &data_dir, &flags);
    wait_for("it is reached", || proxy.curl(&[], "/readyz").0 == 200);
    let mut client = Command::new(TALLY)
        .args(["load", "--json", "--verify", "--patience", "60s", "--retry-for", "120"])
        .args(["--batch", "20", "--connections", "8", "--items", "2000", "--duplicates", "0.02"])
        .args(["--rate", &RATE.to_string(), "--events", &EVENTS.to_string(), "--url", &proxy.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    for stop in 0..STOPS {
        let share = (EVENTS / (20 * STOPS)) as f64;
        let mut ended = false;
        wait_for("enough events are accepted", || {
            ended = client.try_wait().expect("the client can be asked").is_some();
            ended || server.metric("tally_events_accepted_total") >= share
        });
        assert!(!ended, "{kind:?}: the client ended before stop {stop}");
        if stop % 2 == 0 {
            assert!(server.stop(), "{kind:?}: SIGTERM ends it with status 0");
        } else {
            server.kill();
        }
        if stop % 3 != 0 {
            at = 1 - at;
        }
        server = Server::start_on(ports[at], &data_dir, &flags);
    }
    let output = client.wait_with_output().expect("the client ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{kind:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&said).expect("JSON");
    println!("{kind:?}: {} retries {}", report["retries"], report["errors"]);
    assert_eq!(report["accepted"], EVENTS, "{kind:?}: {report}");
    for figure in ["rejected", "unknown"] {
        assert_eq!(report[figure], 0, "{kind:?}: {report}");
    }
    assert_eq!(report["verification"]["mismatches"], 0, "{kind:?}: {report}");
}

#[test]
#[ignore = "needs NGINX or HAProxy: make test-proxy"]
fn nginx_passes_bounds_and_repeats_as_it_should() {
    passes_unchanged(Kind::Nginx);
    streams(Kind::Nginx);
    bounds_bodies(Kind::Nginx);
    repeats_only_what_is_recognised(Kind::Nginx);
}

#[test]
#[ignore = "needs NGINX or HAProxy: make test-proxy"]
fn haproxy_passes_bounds_and_repeats_as_it_should() {
    passes_unchanged(Kind::HaProxy);
    streams(Kind::HaProxy);
    bounds_bodies(Kind::HaProxy);
    repeats_only_what_is_recognised(Kind::HaProxy);
}

#[test]
#[ignore = "needs NGINX or HAProxy: make test-proxy"]
fn behind_nginx_ten_stops_under_load_lose_and_double_nothing() {
    ten_stops_under_load(Kind::Nginx);
}

#[test]
#[ignore = "needs NGINX or HAProxy: make test-proxy"]
fn behind_haproxy_ten_stops_under_load_lose_and_double_nothing() {
    ten_stops_under_load(Kind::HaProxy);
}
