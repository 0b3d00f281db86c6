//! What was asked for, and by whom. No meaning yet: the planner gives it one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::change::ChangeWork;
use super::colour::Colour;
use super::migration::DownWish;
use super::names::{ChangeName, HostName, IncidentId};
use super::plan::{Among, FileChange, RestoreWish, TakesOver};
use super::record::{Merge, Swap};
use super::share::Share;
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
    /// From whom the lock is also taken while his run lives.
    pub takes_over: TakesOver,
    /// How long the side that traffic goes to is judged afterwards.
    pub bake: Option<Duration>,
    /// What else of the release goes back, by the names of the config.
    pub changes: Vec<ChangeName>,
    /// The release that blue is put to first, as it was typed.
    pub to_release: Option<String>,
    /// Whether that is all: traffic stays.
    pub is_partial: bool,
    /// Its place among the services of the run, where that has several.
    pub among: Option<Among>,
    /// Whether the database is restored too, and from what.
    pub restore: Option<RestoreWish>,
    /// Whether migrations are taken back, and how far.
    pub migrate_down: Option<DownWish>,
    /// What is taken back; `None` for a rollback.
    pub undo: Option<Undoing>,
    /// Traffic moves in steps, and is judged at each; `None` where all of it moves at once.
    pub gradual: Option<Gradual>,
}

/// `switch`: share after share, each one judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gradual {
    /// Of the traffic, for the side that it goes to; each more than the one before.
    pub steps: Vec<Share>,
    /// How long each share is judged, and how long it is waited at most where that was not enough to tell.
    pub hold: Duration,
    pub hold_max: Duration,
    /// Every balancer puts all traffic back by itself after so long without a word; `None` where none shall.
    pub dead_man: Option<Duration>,
    /// The flags that say so, as they were typed.
    pub flags: String,
}

/// What an undo takes back.
#[derive(Debug, Clone, Serialize)]
pub struct Undoing {
    pub incident: IncidentId,
    /// Whose.
    pub service: String,
    /// The colour that traffic came from, and goes back to.
    pub to: Colour,
    /// The nginx files that the incident changed, by host.
    pub files: BTreeMap<HostName, FileChange>,
    /// What a file may say besides, where the incident went in steps and was cut off between them.
    pub between: BTreeMap<HostName, Vec<String>>,
    /// The swap that the incident made, where it made one.
    pub swap: Option<Swap>,
    /// Or the rows that it put back.
    pub merge: Option<Merge>,
    /// The changes that it made, or may have made, in the order in which it made them.
    pub changes: Vec<MadeChange>,
}

/// A change that an incident made on a host.
#[derive(Debug, Clone, Serialize)]
pub struct MadeChange {
    pub host: HostName,
    pub work: ChangeWork,
    /// Whether that was before traffic moved.
    pub was_before: bool,
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
