//! HTTPS from outside: the server, its audit, and a command that trusts the certificate.

use std::process::{Child, Command, Stdio};

use super::PATIENCE;
use super::keys::{out, run};

/// A process that is told to stop, or killed when dropped.
struct Ended(Child);

impl Ended {
    fn stop(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(killed.success());
        self.0.wait().expect("it ends").code()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_audit_and_a_stop_work_with_tls() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let (cert, key) = (cert.to_str().expect("a path"), key.to_str().expect("a path"));
    let (mut child, words) = {
        let words = dir.path().join("words.txt");
        let file = std::fs::File::create(&words).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_tally"))
            .args(["serve", "--listen", "127.0.0.1:0", "--partitions", "2", "--audit-interval"])
            .args(["1s", "--log-level", "debug", "--tls-cert", cert, "--tls-key", key])
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(file))
            .spawn()
            .expect("the binary starts");
        (Ended(child), words)
    };
    let begun = std::time::Instant::now();
    loop {
        let said = std::fs::read_to_string(&words).expect("words");
        assert!(!said.contains("could not be made") && !said.contains("difference"), "{said}");
        if said.contains("an audit found what it should") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{said}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let mut line = String::new();
    let stdout = child.0.stdout.take().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    let port = line.trim().rsplit(':').next().expect("a port");
    let url = format!("https://localhost:{port}");
    let trusted = run(dir.path(), &["count", "a", "--url", &url, "--ca-file", cert], None);
    assert!(out(&trusted).starts_with('0'));
    let unknown = run(dir.path(), &["count", "a", "--url", &url], None);
    assert_eq!(unknown.status.code().map(|code| code > 0), Some(true), "nobody vouches for it");
    let load = ["load", "--events", "300", "--batch", "10", "--verify", "--json", "--url", &url];
    let loaded = run(dir.path(), &[&load[..], &["--ca-file", cert]].concat(), None);
    assert!(out(&loaded).contains(r#""accepted":300"#), "{}", out(&loaded));
    let unknown = run(dir.path(), &load, None);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(1), "{said}");
    assert!(said.contains("certificate"), "it says what is wrong: {said}");
    assert_eq!(child.stop(), Some(0));
    let missing = run(dir.path(), &["serve", "--tls-cert", cert], None);
    assert_eq!(missing.status.code(), Some(2));
}
