//! `tally watch` on a terminal of its own: it shows numbers that move, and gives the terminal back
//! however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};

use super::{PATIENCE, Tally};

const TALLY: &str = env!("CARGO_BIN_EXE_tally");
const TO_OTHER_SCREEN: &str = "\u{1b}[?1049h";
const FROM_OTHER_SCREEN: &str = "\u{1b}[?1049l";
const CURSOR_SHOWN: &str = "\u{1b}[?25h";
const CURSOR_HIDDEN: &str = "\u{1b}[?25l";

/// A terminal with a program in it. The program is killed when this is dropped.
struct Terminal {
    program: Child,
    keyboard: File,
    /// The end that the program has, which tells its modes.
    line: File,
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(url: &str, args: &[&str], envs: &[(&str, &str)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = openpt(flags).expect("a terminal");
        grantpt(&keyboard).expect("it is ours");
        unlockpt(&keyboard).expect("it opens");
        let name = ptsname(&keyboard, Vec::new()).expect("it has a name");
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits() as i32)
            .open(name.to_str().expect("a plain name"))
            .expect("its other end");
        let keyboard = File::from(keyboard);
        resize(&line, 80, 24);
        let end = || Stdio::from(line.try_clone().expect("a file"));
        // The terminal becomes that of the program, as a shell would do it.
        let program = Command::new("setsid")
            .args(["--ctty", TALLY, "watch", "--interval", "250ms", "--url", url])
            .args(args)
            .env_remove("COLUMNS")
            .env_remove("LC_ALL")
            .envs([("LANG", "C.UTF-8"), ("TERM", "xterm-256color")])
            .envs(envs.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid of util-linux is there");
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (heard, mut screen) = (printed.clone(), keyboard.try_clone().expect("a file"));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Ends when the last program has let go of the terminal.
            while let Ok(read @ 1..) = screen.read(&mut chunk) {
                heard.lock().expect("no panic").extend_from_slice(&chunk[..read]);
            }
        });
        Self { program, keyboard, line, printed }
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().expect("no panic")).into_owned()
    }

    /// Waits until the screen shows a text.
    fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    fn wait_until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        loop {
            let screen = screen(&self.printed());
            if holds(&screen) {
                return;
            }
            let ended = self.program.try_wait().expect("its status");
            assert!(ended.is_none(), "{ended:?} before {what}: {:?}", self.printed());
            assert!(begun.elapsed() < PATIENCE, "not {what} on\n{screen}");
            std::thread::yield_now();
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    fn signal(&self, name: &str) {
        let pid = self.program.id().to_string();
        let killed = Command::new("kill").args([name, &pid]).status().expect("kill runs");
        assert!(killed.success());
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.line).expect("its modes").local_modes;
        !modes.contains(LocalModes::ECHO) && !modes.contains(LocalModes::ICANON)
    }

    fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.program.try_wait().expect("its status") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it goes on: {:?}", self.printed());
            std::thread::yield_now();
        }
    }

    /// The program has ended well, and the terminal is as it was.
    fn assert_given_back(&mut self) {
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{:?}", self.printed());
        assert!(!self.is_raw());
        // What it wrote last may be on its way still.
        let begun = Instant::now();
        loop {
            let printed = self.printed();
            let is_last = |text: &str, before: &str| printed.rfind(text) > printed.rfind(before);
            if is_last(FROM_OTHER_SCREEN, TO_OTHER_SCREEN) && is_last(CURSOR_SHOWN, CURSOR_HIDDEN) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{printed:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// What is on the screen after all that was printed: a program moves the cursor, clears and writes,
/// and everything here is a column wide.
fn screen(printed: &str) -> String {
    const SIZE: (usize, usize) = (200, 60);
    let mut cells = vec![vec![' '; SIZE.0]; SIZE.1];
    let (mut x, mut y) = (0, 0);
    let mut rest = printed.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                let Some('[') = rest.next() else { continue };
                let mut numbers = String::new();
                let last = rest.by_ref().find(|c| {
                    let is_last = ('@'..='~').contains(c);
                    numbers.extend((!is_last).then_some(*c));
                    is_last
                });
                match last {
                    Some('H') => {
                        let mut at = numbers.split(';').map(|n| n.parse().unwrap_or(1) - 1);
                        (y, x) = (at.next().unwrap_or(0), at.next().unwrap_or(0));
                    }
                    Some('J') => cells.iter_mut().for_each(|line| line.fill(' ')),
                    _ => {}
                }
            }
            '\r' => x = 0,
            '\n' => y += 1,
            c => {
                if let Some(cell) = cells.get_mut(y).and_then(|line| line.get_mut(x)) {
                    *cell = c;
                }
                x += 1;
            }
        }
    }
    let lines = cells.into_iter().map(|line| line.into_iter().collect::<String>());
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn resize(line: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(line, size).expect("it has a size");
}

fn url(tally: &Tally) -> String {
    format!("http://{}", tally.addr)
}

fn send(tally: &Tally, item: &str, times: usize) {
    let events: Vec<Value> = (0..times).map(|_| json!({"item": item, "value": 2.5})).collect();
    assert_eq!(tally.send_json(&json!(events)).status, 202);
    tally.wait_until("counted", || tally.count(item) >= times as u64);
}

#[test]
fn an_item_is_watched_until_q() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "clip", 1234);
    let mut terminal = Terminal::start(&url(&tally), &["clip"], &[]);
    terminal.wait_for("1,234 view");
    assert!(terminal.is_raw());
    assert!(terminal.printed().contains(TO_OTHER_SCREEN));
    // Sum and average.
    terminal.wait_for("3085");
    terminal.wait_for("2.5");
    send(&tally, "clip", 1);
    send(&tally, "clip", 5000);
    terminal.wait_for("6,235 view");
    terminal.press("q");
    terminal.assert_given_back();
}

#[test]
fn the_overview_selects_opens_goes_back_and_resizes() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "first", 30);
    send(&tally, "second", 20);
    let mut terminal = Terminal::start(&url(&tally), &[], &[]);
    terminal.wait_for("second");
    resize(&terminal.line, 120, 30);
    terminal.signal("-WINCH");
    // The keys are in the last line.
    terminal.wait_until("resized", |screen| {
        screen.lines().nth(29).is_some_and(|line| line.starts_with("q quit"))
    });
    terminal.press("?");
    terminal.wait_for("shift-tab");
    terminal.press(" \t\t\r");
    terminal.wait_until("on the second item's page", |screen| {
        screen.contains("last 60 minutes") && screen.contains("20 view")
    });
    terminal.press("\u{1b}");
    terminal.wait_for("top of view");
    terminal.press("t");
    terminal.wait_for("top of like");
    terminal.press("\u{3}");
    terminal.assert_given_back();
}

#[test]
fn signals_give_the_terminal_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut terminal = Terminal::start(&url(&tally), &[], &[]);
        terminal.wait_for("ready");
        terminal.signal(signal);
        terminal.assert_given_back();
    }
}

#[test]
fn without_colours_or_unicode_none_are_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "brücke", 30);
    let envs = [("NO_COLOR", "1"), ("LANG", "C")];
    let mut terminal = Terminal::start(&url(&tally), &[], &envs);
    terminal.wait_for("br?cke");
    terminal.wait_for("###");
    terminal.press("q");
    terminal.assert_given_back();
    let printed = terminal.printed();
    assert!(printed.is_ascii(), "{printed:?}");
    // Cyan, green and red.
    for color in ["38;5;6", "38;5;2", "38;5;1", "[36m", "[32m", "[31m"] {
        assert!(!printed.contains(color), "{color} in {printed:?}");
    }
}

/// A server at a fixed address.
fn serve_again(address: SocketAddr, dir: &Path) -> Child {
    Command::new(TALLY)
        .args(["serve", "--listen", &address.to_string(), "--data-dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

#[test]
fn a_server_that_goes_away_is_told_and_taken_up_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "clip", 1234);
    let address = tally.addr;
    let mut terminal = Terminal::start(&url(&tally), &["clip"], &[]);
    terminal.wait_for("1,234");
    assert_eq!(tally.stop(), Some(0));
    terminal.wait_until("away since, with old numbers", |screen| {
        ["away", "no answer since", "OLD numbers", "1,234 view"].iter().all(|p| screen.contains(p))
    });
    let mut again = serve_again(address, dir.path());
    terminal.wait_until("ready again, with new numbers", |screen| {
        screen.contains("ready") && !screen.contains("OLD") && screen.contains("1,234 view")
    });
    terminal.press("q");
    terminal.assert_given_back();
    again.kill().expect("it runs");
    again.wait().expect("it ends");
}

fn watch(url: &str, args: &[&str], envs: &[(&str, &str)]) -> Output {
    Command::new(TALLY)
        .args(["watch", "--interval", "250ms", "--url", url])
        .args(args)
        .env("LANG", "C.UTF-8")
        .env_remove("LC_ALL")
        .envs(envs.iter().copied())
        .output()
        .expect("the binary starts")
}

#[test]
fn a_pipe_gets_one_snapshot_or_is_told_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "clip", 1234);
    let url = url(&tally);

    let output = watch(&url, &[], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--once") && output.stdout.is_empty(), "{said}");

    let output = watch(&url, &["--once"], &[("COLUMNS", "40")]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    for part in ["ready", "0 events/s", "top of view", "clip", "1,234", "lag 0"] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    assert!(!printed.contains('\u{1b}') && !printed.contains("q quit"), "{printed}");
    assert!(printed.lines().all(|line| line.chars().count() <= 40), "{printed}");

    let output = watch(&url, &["--once", "--json"], &[]);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(shown["top"][0], json!({"item": "clip", "count": 1234}));
    assert_eq!((&shown["is_ready"], &shown["events_per_second"]), (&json!(true), &json!(0)));
    assert_eq!(shown["server"]["partitions"].as_array().map(Vec::len), Some(2), "{shown}");

    let output = watch(&url, &["clip", "--once", "--json"], &[]);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let item = &shown["item"];
    assert_eq!((&item["total"]["count"], &item["total"]["sum"]), (&json!(1234), &json!(3085)));
    assert_eq!(item["types"], json!([{"type": "view", "count": 1234}]));
    for (series, points) in [("minutes", 60), ("hours", 48)] {
        let counts = item[series].as_array().expect("a series");
        assert_eq!(counts.len(), points);
        let all: u64 = counts.iter().filter_map(Value::as_u64).sum();
        assert_eq!(all, 1234, "{shown}");
    }

    assert_eq!(tally.stop(), Some(0));
    let output = watch(&url, &["--once"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot connect"), "{said}");
}
