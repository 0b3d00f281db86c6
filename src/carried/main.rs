//! What goes over to hosts, run by the scripts in `scripts/remote/` and not by people:
//!
//!     scan --read=WORD…
//!     load --read=WORD… [--jobs=N] [--progress=FILE] [--bytes=N] [--in-order] [--split=PLACE…] -- psql WORD…
//!     count [--every=MS] [--lasts=SECONDS] [--since=SECONDS] [--limit=MS…] LOG…
//!
//! where a LOG is `[--number=N] --form=TEXT [--escape=json|none]` with `--file=PATH [--from=end|back|DEVICE:INODE:OFFSET]` or `--input`
//! behind it; `--unlink` removes the program's own file, so that nothing of it is left whatever ends it.
//!
//! Exit: 0 done; 1 not, and why on standard error; 2 words that it does not know; [`load::ODD`].

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use dumps::dump::Scan;
use dumps::load::{self, LoadFailure, LoadWords};
use dumps::source;
use lexopt::{Arg, Parser, ValueExt};
use logs::counts::Place;
use logs::follow::Begin;
use logs::form::{Escape, Form};
use logs::reader::{self, LogSource, LogWords, ReaderWords};

enum Work {
    /// It runs here, which is all that was asked.
    Nothing,
    /// The words of the command whose output is the dump.
    Scan(Vec<String>),
    Load(LoadWords),
    Count(ReaderWords),
}

fn main() -> ExitCode {
    let work = match words() {
        Ok(work) => work,
        Err(err) => {
            eprintln!("rollback-prod on a host: {err}");
            return ExitCode::from(2);
        }
    };
    match work {
        Work::Nothing => ExitCode::SUCCESS,
        Work::Scan(read) => {
            say(&source::scan(&read));
            ExitCode::SUCCESS
        }
        Work::Count(words) => match reader::run(words, &mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            // Nobody listens any more, and nobody could be told.
            Err(_) => ExitCode::FAILURE,
        },
        Work::Load(words) => match load::load(&words) {
            Ok(scan) => {
                say(&scan);
                ExitCode::SUCCESS
            }
            Err(failure) => {
                let LoadFailure { why, is_odd, scan } = *failure;
                say(&scan);
                eprintln!("{why}");
                ExitCode::from(if is_odd { load::ODD } else { 1 })
            }
        },
    }
}

fn words() -> Result<Work, lexopt::Error> {
    let mut parser = Parser::from_env();
    let what = match parser.next()? {
        Some(Arg::Long("version")) => return Ok(Work::Nothing),
        Some(Arg::Value(what)) => what.string()?,
        Some(other) => return Err(other.unexpected()),
        None => return Err("it is told what to do by scan, load or count".into()),
    };
    if what == "count" {
        return count_words(&mut parser).map(Work::Count);
    }
    let mut load = LoadWords::default();
    while let Some(word) = parser.next()? {
        match word {
            Arg::Long("read") => load.read.push(parser.value()?.string()?),
            Arg::Long("jobs") => load.jobs = parser.value()?.parse()?,
            Arg::Long("progress") => load.progress = Some(parser.value()?.into()),
            Arg::Long("bytes") => load.bytes = parser.value()?.parse()?,
            Arg::Long("in-order") => load.in_order = true,
            Arg::Long("split") => load.split.push(parser.value()?.parse()?),
            // Behind `--`.
            Arg::Value(word) => load.psql.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    match what.as_str() {
        _ if load.read.is_empty() => Err("--read is missing".into()),
        "scan" => Ok(Work::Scan(load.read)),
        "load" if load.psql.is_empty() => Err("psql is missing behind --".into()),
        "load" => Ok(Work::Load(load)),
        other => Err(format!("{other} is neither scan nor load nor count").into()),
    }
}

fn count_words(parser: &mut Parser) -> Result<ReaderWords, lexopt::Error> {
    let mut words = ReaderWords {
        logs: Vec::new(),
        every: Duration::from_secs(1),
        lasts: Duration::ZERO,
        limits: Vec::new(),
        since: 0,
    };
    let (mut form, mut escape, mut begin, mut number) = (String::new(), Escape::Default, Begin::End, 0);
    while let Some(word) = parser.next()? {
        match word {
            Arg::Long("every") => words.every = Duration::from_millis(parser.value()?.parse()?),
            Arg::Long("lasts") => words.lasts = Duration::from_secs(parser.value()?.parse()?),
            Arg::Long("since") => words.since = parser.value()?.parse()?,
            Arg::Long("limit") => words.limits.push(parser.value()?.parse()?),
            Arg::Long("number") => number = parser.value()?.parse()?,
            Arg::Long("form") => (form, escape) = (parser.value()?.string()?, Escape::Default),
            Arg::Long("escape") => escape = parser.value()?.parse_with(escape_of)?,
            Arg::Long("from") => begin = parser.value()?.parse_with(begin_of)?,
            Arg::Long("file") => {
                let source = LogSource::File(parser.value()?.into(), begin);
                words.logs.push(LogWords { number, source, form: Form::new(&form, escape) });
            }
            Arg::Long("input") => {
                words.logs.push(LogWords { number, source: LogSource::Input, form: Form::new(&form, escape) });
            }
            Arg::Long("unlink") => remove_ourselves(),
            other => return Err(other.unexpected()),
        }
    }
    if words.logs.is_empty() { Err("no log is named: --file or --input".into()) } else { Ok(words) }
}

fn escape_of(word: &str) -> Result<Escape, String> {
    match word {
        "default" => Ok(Escape::Default),
        "json" => Ok(Escape::Json),
        "none" => Ok(Escape::Nothing),
        other => Err(format!("{other} is no escape of nginx")),
    }
}

fn begin_of(word: &str) -> Result<Begin, String> {
    match word {
        "end" => Ok(Begin::End),
        "back" => Ok(Begin::Back),
        place => Place::from_word(place).map(Begin::At).ok_or_else(|| format!("{place} is no place in a file")),
    }
}

/// The file and the folder that the script made for it.
fn remove_ourselves() {
    if let Ok(own) = std::env::current_exe() {
        // Whatever stays is the script's to remove.
        let _ = std::fs::remove_file(&own);
        let _ = own.parent().map(std::fs::remove_dir);
    }
}

fn say(scan: &Scan) {
    let mut out = std::io::stdout().lock();
    // Nobody who reads it: nobody who could be told.
    let _ = out.write_all(scan.to_lines().as_bytes());
    let _ = out.flush();
}
