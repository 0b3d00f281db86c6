//! What goes over to a database's host, run by the scripts in `scripts/remote/` and not by people:
//!
//!     scan --read=WORD…
//!     load --read=WORD… [--jobs=N] [--progress=FILE] [--bytes=N] [--in-order] [--split=PLACE…] -- psql WORD…
//!
//! Exit: 0 done; 1 not, and why on standard error; 2 words that it does not know; [`load::ODD`].

use std::io::Write;
use std::process::ExitCode;

use dumps::dump::Scan;
use dumps::load::{self, LoadFailure, LoadWords};
use dumps::source;
use lexopt::{Arg, Parser, ValueExt};

enum Work {
    /// It runs here, which is all that was asked.
    Nothing,
    /// The words of the command whose output is the dump.
    Scan(Vec<String>),
    Load(LoadWords),
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
        None => return Err("it is told what to do by scan or load".into()),
    };
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
        other => Err(format!("{other} is neither scan nor load").into()),
    }
}

fn say(scan: &Scan) {
    let mut out = std::io::stdout().lock();
    // Nobody who reads it: nobody who could be told.
    let _ = out.write_all(scan.to_lines().as_bytes());
    let _ = out.flush();
}
