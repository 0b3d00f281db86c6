//! The database's own work, for a rollback, an undo and a drill alike: which dump, loaded aside, compared, swapped in,
//! dropped. Drives hosts through the traits of `remote`. What a dump is worth is `backup`'s to say; it never asks
//! anybody for consent, and replaces nothing without one.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::backup::{self, Checked, File, Format, Problem, Target};
use crate::command::database as command;
use crate::consent::Overwrite;
use crate::database::{self, Access, DatabaseFacts, LoadState};
use crate::dump::Scan;
use crate::inventory::{Database, Host, Inventory, Role};
use crate::journal::{Journal, Progress};
use crate::names::{HostName, IncidentId, RemotePath};
use crate::record::{Dump, Loss, StepWord, Swap, TableLoss};
use crate::remote::{Apply, Ask, Failure};
use crate::units::{bytes, span};

/// How often is asked how far a load is.
const POLL: Duration = Duration::from_millis(300);
/// A load goes on over there while the line is gone; this long is tried to see it again.
const LOST_LIMIT: Duration = Duration::from_secs(600);
/// What the stages of a load take of its time, measured on two data sets (docs/performance.md): rows, indexes, foreign
/// keys and checks, statistics.
const SHARES: [(&str, u64); 6] =
    [("create", 0), ("schema", 1), ("data", 49), ("indexes", 38), ("constraints", 9), ("analyze", 3)];

/// What the work needs to know all along.
pub struct Work<'a, F> {
    pub inventory: &'a Inventory,
    pub database: &'a Database,
    pub fleet: &'a F,
    pub journal: &'a Journal<'a>,
    pub run: &'a IncidentId,
    /// This program, packed, for the host to read and load dumps with; empty where it would not run there.
    pub carried: Arc<[u8]>,
}

/// The server that holds the database.
#[derive(Debug, Clone)]
pub struct Server {
    pub host: HostName,
    pub facts: DatabaseFacts,
}

/// A dump that may be restored, or the reasons against the one that would be.
#[derive(Debug, Clone)]
pub struct Choice {
    pub dump: Option<Checked>,
    /// Newer ones that were not taken, each with the cause.
    pub passed_over: Vec<String>,
    /// Why there is none at all.
    pub problems: Vec<Problem>,
}

/// A copy that stands beside the live database.
#[derive(Debug, Clone)]
pub struct Copy {
    pub name: String,
    pub oid: u32,
    pub scan: Scan,
    pub took: Duration,
}
