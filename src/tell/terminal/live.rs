//! Draws a board on standard error: the lines that stay, and the live ones below them, at the size that the terminal has at
//! that moment. Never decides what they say: that is the board's.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::tell::terminal::board::{Board, SPINS_EVERY, Size};

/// Where there are no live lines, time makes a line every few seconds.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// From the cursor on nothing stands there any more, and it is where it was, at the beginning of a row.
const CLEARED: &str = " \u{1b}[J\r\u{1b}[K";
/// What a terminal is that does not say.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// A board on the screen. A thread redraws it while anybody has it.
#[derive(Clone)]
pub(super) struct Screen(Arc<Mutex<Drawn>>);

pub(super) struct Drawn {
    pub(super) board: Board,
    began: Instant,
    /// Whether the live lines stand on the terminal, and the cursor at the beginning of the first of them.
    is_drawn: bool,
    /// Whether somebody redraws it by now.
    is_kept: bool,
    /// Whether somebody is asked at this moment: nothing moves under what he types.
    is_still: bool,
}

/// Nothing is live while it lives.
pub(super) struct Still(Screen);

impl Drop for Still {
    fn drop(&mut self) {
        let mut drawn = self.0.drawn();
        drawn.is_still = false;
        drawn.put(&[]);
    }
}

impl Screen {
    pub(super) fn new(board: Board) -> Screen {
        let drawn = Drawn { board, began: Instant::now(), is_drawn: false, is_kept: false, is_still: false };
        Screen(Arc::new(Mutex::new(drawn)))
    }

    /// For as long as the value lives nobody else draws.
    pub(super) fn drawn(&self) -> MutexGuard<'_, Drawn> {
        locked(&self.0)
    }

    /// Changes what stands there: lines that stay come first, and what is live is drawn anew.
    pub(super) fn change(&self, change: impl FnOnce(&mut Board, Duration) -> Vec<String>) {
        let mut drawn = self.drawn();
        let now = drawn.began.elapsed();
        let lines = change(&mut drawn.board, now);
        drawn.put(&lines);
        if !std::mem::replace(&mut drawn.is_kept, true) {
            self.keep_drawing();
        }
    }

    /// Makes room for a question.
    pub(super) fn still(&self) -> Still {
        let mut drawn = self.drawn();
        drawn.is_still = true;
        drawn.put(&[]);
        Still(self.clone())
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        self.drawn().put(&[line.to_owned()]);
    }

    fn keep_drawing(&self) {
        let drawn = Arc::downgrade(&self.0);
        // A thread and no task: it draws also while the program is busy, and nobody has to wait for its end.
        std::thread::spawn(move || {
            while let Some(drawn) = drawn.upgrade() {
                let wait = {
                    let mut drawn = locked(&drawn);
                    let now = drawn.began.elapsed();
                    let lines = if drawn.is_still { Vec::new() } else { drawn.board.tick(now) };
                    drawn.put(&lines);
                    if drawn.is_drawn { SPINS_EVERY } else { LOOKS_EVERY }
                };
                std::thread::sleep(wait);
            }
        });
    }
}

fn locked(drawn: &Mutex<Drawn>) -> MutexGuard<'_, Drawn> {
    // A panic elsewhere must not lose the screen.
    drawn.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drawn {
    /// Lines that stay, above the live ones. The cursor is left where the live ones begin: however a terminal breaks them
    /// when it is made narrower, all of them are from there on.
    fn put(&mut self, lines: &[String]) {
        let live = if self.is_still { Vec::new() } else { self.board.live(self.began.elapsed(), size()) };
        if lines.is_empty() && live.is_empty() && !self.is_drawn {
            return;
        }
        // What stood there is written over row by row. A screen that is cleared from its first column on, where that is its
        // very first, goes to the history of some terminals, ten times a second.
        let mut text = String::from(if self.is_drawn { "\r" } else { "" });
        let end = if self.is_drawn { "\u{1b}[K\n" } else { "\n" };
        for line in lines {
            text.push_str(&as_wanted(line).replace('\n', end));
            text.push_str(end);
        }
        text.push_str(&as_wanted(&live.join("\u{1b}[K\n")));
        match live.len().checked_sub(1) {
            Some(0) => text.push_str("\u{1b}[J\r"),
            Some(below) => text.push_str(&format!("\u{1b}[J\u{1b}[{below}A\r")),
            None if self.is_drawn => text.push_str(CLEARED),
            None => {}
        }
        self.is_drawn = !live.is_empty();
        write(&text);
    }

    /// Makes room for what is printed on the same screen.
    pub(super) fn suspend(&mut self, print: impl FnOnce()) {
        if std::mem::take(&mut self.is_drawn) {
            write("\r");
            write(CLEARED);
        }
        print();
        self.put(&[]);
    }

    /// Nothing is live any more.
    pub(super) fn clear(&mut self) {
        let lines = self.board.clear();
        self.put(&lines);
    }
}

impl Drop for Drawn {
    /// Whoever comes next begins on an empty row.
    fn drop(&mut self) {
        if self.is_drawn {
            write(CLEARED);
        }
    }
}

fn write(text: &str) {
    let mut err = std::io::stderr().lock();
    // Nobody is there to be told that nobody sees it.
    let _ = err.write_all(text.as_bytes());
    let _ = err.flush();
}

/// What is wanted of colours: only this knows that of standard error, and our own lines move the cursor, too.
fn as_wanted(text: &str) -> String {
    match anstream::stderr().current_choice() {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        anstream::ColorChoice::Auto | anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => {
            text.to_owned()
        }
    }
}

fn size() -> Size {
    let err = std::io::stderr();
    if !err.is_terminal() {
        return USUAL;
    }
    match rustix::termios::tcgetwinsize(err) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) }
        }
        Ok(_) | Err(_) => USUAL,
    }
}
