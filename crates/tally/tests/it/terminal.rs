//! `tally watch` in a terminal of its own, and what is on its screen.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::PATIENCE;

const TALLY: &str = env!("CARGO_BIN_EXE_tally");
pub(super) const TO_OTHER_SCREEN: &str = "\u{1b}[?1049h";
const FROM_OTHER_SCREEN: &str = "\u{1b}[?1049l";
const CURSOR_SHOWN: &str = "\u{1b}[?25h";
const CURSOR_HIDDEN: &str = "\u{1b}[?25l";

/// A terminal with a program in it. The program is killed when this is dropped.
pub(super) struct Terminal {
    program: Child,
    keyboard: File,
    /// The end that the program has, which tells its modes.
    line: File,
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub(super) fn start(url: &str, args: &[&str], envs: &[(&str, &str)]) -> Self {
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

    pub(super) fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().expect("no panic")).into_owned()
    }

    /// Waits until the screen shows a text.
    pub(super) fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    pub(super) fn wait_until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
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

    pub(super) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    pub(super) fn resize(&self, columns: u16, rows: u16) {
        resize(&self.line, columns, rows);
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.program.id().to_string();
        let killed = Command::new("kill").args([name, &pid]).status().expect("kill runs");
        assert!(killed.success());
    }

    pub(super) fn is_raw(&self) -> bool {
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
    pub(super) fn assert_given_back(&mut self) {
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
