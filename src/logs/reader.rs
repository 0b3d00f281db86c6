//! A reader at work on a host: looks at the logs every so often, and tells what it counted. Ends when its time is over, or
//! when nobody listens any more.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::follow::{Begin, Cut, Cutter, Follow};
use super::form::Form;
use super::tally::Tally;

/// What a reader is told.
#[derive(Debug)]
pub struct ReaderWords {
    pub logs: Vec<(LogSource, Form)>,
    /// Between two looks.
    pub every: Duration,
    pub lasts: Duration,
    /// Limits for the time of an attempt, in milliseconds.
    pub limits: Vec<u64>,
    /// Lines of an earlier time do not count, in seconds since 1970.
    pub since: u64,
}

#[derive(Debug)]
pub enum LogSource {
    File(PathBuf, Begin),
    /// Standard input: what a container prints, or what only root may read.
    Input,
}

enum Open {
    File { follow: Follow, trouble: Option<String> },
    Input { pieces: Receiver<Vec<u8>>, lines: Cutter },
}

/// Pieces of an input that wait while something is counted.
const WAITING: usize = 64;

/// # Errors
/// Where nobody listens any more.
pub fn run(words: ReaderWords, out: &mut impl Write) -> io::Result<()> {
    let ends = Instant::now() + words.lasts;
    let mut tally = Tally::new(words.limits, words.since);
    let mut logs: Vec<(Open, Form)> = words.logs.into_iter().map(|(source, form)| (open(source), form)).collect();
    loop {
        let mut is_over = !logs.is_empty();
        for (log, (open, form)) in logs.iter_mut().enumerate() {
            is_over &= look(log, open, form, &mut tally);
        }
        out.write_all(tally.take().to_lines().as_bytes())?;
        out.flush()?;
        let left = ends.saturating_duration_since(Instant::now());
        if is_over || left.is_zero() {
            return Ok(());
        }
        thread::sleep(words.every.min(left));
    }
}

fn open(source: LogSource) -> Open {
    match source {
        LogSource::File(path, begin) => Open::File { follow: Follow::new(&path, begin), trouble: None },
        LogSource::Input => {
            let (give, pieces) = sync_channel(WAITING);
            thread::spawn(move || {
                let mut input = io::stdin().lock();
                let mut chunk = vec![0; 64 << 10];
                while let Ok(n @ 1..) = input.read(&mut chunk) {
                    if give.send(chunk[..n].to_vec()).is_err() {
                        return;
                    }
                }
            });
            Open::Input { pieces, lines: Cutter::default() }
        }
    }
}

/// Whether nothing more will come of it.
fn look(log: usize, open: &mut Open, form: &Form, tally: &mut Tally) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut found = |found: Cut<'_>| match found {
        Cut::Line(line) => tally.line(form, line, now),
        Cut::TooLong(beginning) => tally.odd(beginning),
        Cut::Note(note) => tally.note(log, note),
    };
    match open {
        Open::File { follow, trouble } => {
            let said = follow.look(&mut found).err().map(|err| err.to_string());
            if said.is_some() && *trouble != said {
                tally.note(log, said.as_deref().unwrap_or_default());
            }
            *trouble = said;
            if let Some(place) = follow.place() {
                tally.place(log, place);
            }
            false
        }
        Open::Input { pieces, lines } => loop {
            match pieces.try_recv() {
                Ok(piece) => lines.cut(&piece, &mut found),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        },
    }
}
