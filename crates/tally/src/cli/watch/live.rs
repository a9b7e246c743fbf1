//! The loop: asks, draws, listens to keys and signals, and gives the terminal back however it ends.

use std::time::Duration;

use anyhow::{Context, bail};
use api::client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::ask::{Answer, AskError, Asker};
use super::draw::{Look, draw};
use super::state::{Action, State};
use crate::cli::load::wall_clock_ms;
use crate::cli::signals::Signals;

/// How soon the thread that reads keys sees that nobody wants them any more.
const KEY_WAIT: Duration = Duration::from_millis(200);
/// Keys that may wait.
const KEYS_MAX: usize = 64;

/// The terminal in the view's hands: raw, on its other screen. A panic gives it back too, before it
/// is told.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> anyhow::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                // It may be raw already.
                let _ = ratatui::try_restore();
                Err(error).context("cannot take over the terminal; `--once` needs none")
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone: then there is nobody to tell either.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// An asker on its way, and what it brings.
type Asking = BoxFuture<'static, (Asker, Result<Answer, AskError>)>;

/// Shows the view until somebody quits, or a signal ends it.
pub(super) async fn run(
    mut state: State,
    client: Client,
    interval: Duration,
    look: Look,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut screen = Screen::take()?;
    let mut keys = read_keys();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut resting = Some(Asker::new(client));
    let mut asking: Option<Asking> = None;
    let mut starts_over = false;
    loop {
        state.now_ms = now_ms();
        screen
            .0
            .draw(|frame| draw(&state, look, frame.area(), frame.buffer_mut()))
            .context("cannot write to the terminal")?;
        tokio::select! {
            _ = signals.any() => return Ok(()),
            event = keys.recv() => {
                let Some(event) = event else { bail!("the terminal is gone") };
                match on_event(&mut state, event.context("cannot read keys")?) {
                    Action::Quit => return Ok(()),
                    Action::Ask => {
                        starts_over = true;
                        ticks.reset_immediately();
                    }
                    Action::Nothing => {}
                }
            }
            (asker, answer) = answered(&mut asking), if asking.is_some() => {
                asking = None;
                starts_over |= state.away.is_some();
                state.now_ms = now_ms();
                // What was asked before the page changed is of another page.
                state.hear(answer);
                resting = Some(asker);
                if starts_over {
                    ticks.reset_immediately();
                }
            }
            _ = ticks.tick() => {
                if let Some(mut asker) = resting.take() {
                    if std::mem::take(&mut starts_over) {
                        asker.start_over();
                    }
                    let question = state.question();
                    asking = Some(
                        async move {
                            let answer = asker.ask(&question).await;
                            (asker, answer)
                        }
                        .boxed(),
                    );
                }
            }
        }
    }
}

async fn answered(asking: &mut Option<Asking>) -> (Asker, Result<Answer, AskError>) {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

fn on_event(state: &mut State, event: Event) -> Action {
    match event {
        Event::Key(key) => state.press(key),
        // The next drawing has the new size.
        _ => Action::Nothing,
    }
}

/// Keys and resizes, read by a thread: the terminal knows no other way. It ends when nobody
/// listens, or with the terminal.
fn read_keys() -> mpsc::Receiver<std::io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let event = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let is_over = event.is_err();
            if sender.blocking_send(event).is_err() || is_over {
                break;
            }
        }
    });
    receiver
}

pub(super) fn now_ms() -> i64 {
    i64::try_from(wall_clock_ms()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::Screen;

    /// What the test below runs in a terminal.
    #[test]
    #[ignore = "needs a terminal; the next test gives it one"]
    #[should_panic(expected = "on purpose")]
    fn panic_on_the_screen() {
        let _screen = Screen::take().expect("on purpose a terminal");
        panic!("on purpose");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        let program = std::env::current_exe().expect("this test");
        let test = "cli::watch::live::tests::panic_on_the_screen";
        let run = format!("'{}' --ignored --nocapture --exact {test}", program.display());
        // script(1) runs it in a terminal of its own, stty says how that is left.
        let output = Command::new("script")
            .args(["-qec", &format!("{run}; stty -a"), "/dev/null"])
            .env("TERM", "xterm-256color")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("script of util-linux is there");
        let printed = String::from_utf8_lossy(&output.stdout);
        let at =
            |text: &str| printed.find(text).unwrap_or_else(|| panic!("no {text}: {printed:?}"));
        let (taken, given_back) = (at("\u{1b}[?1049h"), at("\u{1b}[?1049l"));
        assert!(taken < given_back && given_back < at("panicked at"), "{printed:?}");
        let is_cooked = |mode: &str| printed.split_whitespace().any(|word| word == mode);
        assert!(is_cooked("icanon") && is_cooked("echo"), "{printed:?}");
    }
}
