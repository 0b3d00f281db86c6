//! What was asked for, and by whom. No meaning yet: the planner gives it one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::colour::Colour;
use super::names::{HostName, IncidentId};
use super::plan::{FileChange, RestoreWish};
use super::record::{Merge, Swap};
use super::side::Direction;

/// What was asked for, with everything from outside that a plan depends on.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    pub id: IncidentId,
    pub reason: String,
    pub severity: Option<Severity>,
    pub operator: String,
    pub begun_at: DateTime<Utc>,
    /// The hosts of `--hosts`; empty means all.
    pub only: Vec<HostName>,
    /// Where traffic is to go.
    pub direction: Direction,
    /// Whether the side that traffic leaves is left running.
    pub from_is_kept: bool,
    pub is_forced: bool,
    /// Whether the lock is also taken from a live run.
    pub takes_over: bool,
    /// How long the side that traffic goes to is judged afterwards.
    pub bake: Option<Duration>,
    /// Whether the database is restored too, and from what.
    pub restore: Option<RestoreWish>,
    /// What is taken back; `None` for a rollback.
    pub undo: Option<Undoing>,
}

/// What an undo takes back.
#[derive(Debug, Clone, Serialize)]
pub struct Undoing {
    pub incident: IncidentId,
    /// The colour that traffic came from, and goes back to.
    pub to: Colour,
    /// The nginx files that the incident changed, by host.
    pub files: BTreeMap<HostName, FileChange>,
    /// The swap that the incident made, where it made one.
    pub swap: Option<Swap>,
    /// Or the rows that it put back.
    pub merge: Option<Merge>,
}

impl Undoing {
    /// Whether a database is to be changed.
    pub fn is_of_a_database(&self) -> bool {
        self.swap.is_some() || self.merge.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum Severity {
    P0,
    P1,
    P2,
    P3,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
