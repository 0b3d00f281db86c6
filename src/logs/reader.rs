//! A reader at work on a host: looks at the logs every so often, and tells what it counted. Ends when its time is over, or
//! when nobody listens any more.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::follow::{Begin, Cut, Cutter, Follow};
use super::form::Form;
use super::tally::Tally;

/// What a reader is told.
#[derive(Debug)]
pub struct ReaderWords {
    pub logs: Vec<LogWords>,
    /// Between two looks.
    pub every: Duration,
    pub lasts: Duration,
    /// Limits for the time of an attempt, in milliseconds.
    pub limits: Vec<u64>,
    /// Lines of an earlier time do not count, in seconds since 1970.
    pub since: u64,
}

/// A log, and what whoever asked calls it.
#[derive(Debug)]
pub struct LogWords {
    pub number: usize,
    pub source: LogSource,
    pub form: Form,
}

#[derive(Debug)]
pub enum LogSource {
    File(PathBuf, Begin),
    /// Standard input: what a container prints, or what only root may read.
    Input,
}

struct Log {
    number: usize,
    form: Form,
    open: Open,
}

enum Open {
    File { follow: Follow, trouble: Option<String> },
    Input { pieces: Receiver<Vec<u8>>, lines: Cutter, is_over: bool },
}

/// Pieces of an input that wait while something is counted.
const WAITING: usize = 64;

/// # Errors
/// Where nobody listens any more.
pub fn run(words: ReaderWords, out: &mut impl Write) -> io::Result<()> {
    let ends = Instant::now() + words.lasts;
    let mut tally = Tally::new(words.limits, words.since);
    let logs = words.logs.into_iter();
    let mut logs: Vec<Log> =
        logs.map(|LogWords { number, source, form }| Log { number, form, open: open(source) }).collect();
    loop {
        let next = (Instant::now() + words.every).min(ends);
        logs.iter_mut().for_each(|log| log.look(&mut tally));
        out.write_all(tally.take().to_lines().as_bytes())?;
        out.flush()?;
        if logs.iter().all(Log::is_over) || Instant::now() >= ends {
            return Ok(());
        }
        // An input does not wait for us: what comes meanwhile is taken as it comes.
        match logs.iter_mut().find(|log| matches!(log.open, Open::Input { is_over: false, .. })) {
            Some(input) => input.take_until(next, &mut tally),
            None => thread::sleep(next.saturating_duration_since(Instant::now())),
        }
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
            Open::Input { pieces, lines: Cutter::default(), is_over: false }
        }
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Log {
    /// Whether nothing more will come of it.
    fn is_over(&self) -> bool {
        matches!(self.open, Open::Input { is_over: true, .. })
    }

    /// What came to a file since the last look.
    fn look(&mut self, tally: &mut Tally) {
        let Log { number, form, open: Open::File { follow, trouble } } = self else { return };
        let now = seconds_now();
        let looked = follow.look(&mut |cut| count(*number, form, cut, now, tally));
        let said = looked.err().map(|err| err.to_string());
        if let Some(said) = said.as_ref().filter(|_| *trouble != said) {
            tally.note(*number, said);
        }
        *trouble = said;
        if let Some(place) = follow.place() {
            tally.place(*number, place);
        }
    }

    /// What comes to an input until then.
    fn take_until(&mut self, until: Instant, tally: &mut Tally) {
        let Log { number, form, open: Open::Input { pieces, lines, is_over } } = self else { return };
        loop {
            match pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(piece) => {
                    let now = seconds_now();
                    lines.cut(&piece, &mut |cut| count(*number, form, cut, now, tally));
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    *is_over = true;
                    return;
                }
            }
            // A stream that never pauses must not keep us from telling what was counted.
            if Instant::now() >= until {
                return;
            }
        }
    }
}

fn count(number: usize, form: &Form, cut: Cut<'_>, now: u64, tally: &mut Tally) {
    match cut {
        Cut::Line(line) => tally.line(form, line, now),
        Cut::TooLong(beginning) => tally.odd(beginning),
        Cut::Note(note) => tally.note(number, note),
    }
}
