//! What this program does when it was carried to the database's host: it reads a dump whole, and loads a plain one over
//! several connections at once. Talks to nobody but psql, and knows nothing of ssh, of configs or of incidents.

mod jobs;
mod load;
mod psql;
mod source;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::database::dump::Scan;

/// `rollback-prod on-host …`: run by the scripts in `scripts/remote/`, not by people.
#[derive(Debug, Subcommand)]
pub enum OnHost {
    /// Read a dump to its end and say what it holds
    Scan(ScanWords),
    /// Load a plain dump
    Load(LoadWords),
}

/// Where a dump comes from.
#[derive(Debug, Clone, Args)]
pub struct ScanWords {
    /// A word of the command whose output is the dump; repeated
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, required = true)]
    pub read: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct LoadWords {
    #[command(flatten)]
    pub read: ScanWords,
    /// Connections at once
    #[arg(long, default_value_t = 2)]
    pub jobs: usize,
    /// Where is written how far it is
    #[arg(long, value_name = "FILE")]
    pub progress: Option<PathBuf>,
    /// The size of the file, for the progress
    #[arg(long, default_value_t = 0)]
    pub bytes: u64,
    /// One statement after the other, as they come
    #[arg(long)]
    pub in_order: bool,
    /// psql with its options
    #[arg(last = true, required = true)]
    pub psql: Vec<String>,
}

/// What `load` ends with when the dump must be loaded with `--in-order`, into a database that is empty again.
pub const ODD: u8 = 3;

/// Runs it; the result is the exit code: 0 done, 1 not.
pub fn run(what: &OnHost) -> u8 {
    match what {
        OnHost::Scan(read) => {
            print(&source::scan(&read.read));
            0
        }
        OnHost::Load(options) => match load::load(options) {
            Ok(scan) => {
                print(&scan);
                0
            }
            Err(failure) => {
                let load::LoadFailure { why, is_odd, scan } = *failure;
                print(&scan);
                eprintln!("{why}");
                if is_odd { ODD } else { 1 }
            }
        },
    }
}

fn print(scan: &Scan) {
    let mut out = std::io::stdout().lock();
    // Nobody who reads it: nobody who could be told.
    let _ = out.write_all(scan.to_lines().as_bytes());
    let _ = out.flush();
}
