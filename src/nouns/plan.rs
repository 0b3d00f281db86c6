//! What shall be done: phases of steps, each with its guard, its undo and its reason. A plan leaves no choices to
//! whoever executes it; its Display is the dry run's screen. No I/O, no clock.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::nouns::colour::Colour;
use crate::nouns::digest::sha256;
use crate::nouns::names::{HostName, IncidentId, RemotePath};
use crate::nouns::record::{StepWord, Swap};

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
    pub green_is_kept: bool,
    pub is_forced: bool,
    /// Whether the lock is also taken from a live run.
    pub takes_over: bool,
    /// Whether the database is restored too, and from what.
    pub restore: Option<RestoreWish>,
    /// What is taken back; `None` for a rollback.
    pub undo: Option<Undoing>,
}

/// What an undo takes back.
#[derive(Debug, Clone, Serialize)]
pub struct Undoing {
    pub incident: IncidentId,
    /// The nginx files that the incident changed, by host.
    pub files: BTreeMap<HostName, FileChange>,
    /// The swap that the incident made, where it made one.
    pub swap: Option<Swap>,
}

/// `--restore-db`, with the dump of `--backup` where one was named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreWish {
    pub backup: Option<RemotePath>,
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

/// A complete plan. `execute` follows it to the letter.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub id: IncidentId,
    pub service: String,
    pub environment: String,
    pub reason: String,
    /// The colour that traffic goes to.
    pub towards: Colour,
    pub phases: Vec<Phase>,
    /// What an operator should know before, and a report after: hosts that were not reached, what cannot be proven.
    pub notes: Vec<String>,
    /// Balancers that the config names and this plan does not touch: not reached, or left out by `--hosts`.
    pub left_out: Vec<LeftOut>,
}

/// A host that the plan does not touch.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOut {
    pub host: HostName,
    pub why: String,
    pub is_balancer: bool,
    /// Whether it is known to send to blue already.
    pub is_on_blue: bool,
}

/// Steps of one kind, on all hosts at once.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    pub kind: PhaseKind,
    pub steps: Vec<Step>,
}

/// In the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// The lock is taken and the candidate tested, on every balancer.
    Lock,
    /// Blue is started where it is down, and proven.
    StartBlue,
    Switch,
    Drain,
    StopGreen,
    Verify,
}

impl PhaseKind {
    /// The word of the contract for it.
    pub fn word(self) -> StepWord {
        match self {
            PhaseKind::Lock => StepWord::Lock,
            PhaseKind::StartBlue | PhaseKind::Verify => StepWord::Verify,
            PhaseKind::Switch => StepWord::Switch,
            PhaseKind::Drain => StepWord::Drain,
            PhaseKind::StopGreen => StepWord::Stop,
        }
    }
}

/// One step on one host.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub host: HostName,
    pub action: Action,
    pub guard: Guard,
    pub undo: Undo,
    pub why: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Lock { candidate: Option<FileChange> },
    Start { colour: Colour },
    Switch { change: FileChange, proof: Proof },
    Drain,
    Stop { colour: Colour, target: Target },
    Verify,
}

/// A file's text before and after. Where both are the same the file says already what it should, and only the
/// reload and the proof remain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Behind all links.
    pub path: String,
    pub before: String,
    pub after: String,
}

impl FileChange {
    pub fn is_needed(&self) -> bool {
        self.before != self.after
    }

    /// The unified diff; empty where nothing changes.
    pub fn diff(&self) -> String {
        if !self.is_needed() {
            return String::new();
        }
        similar::TextDiff::from_lines(&self.before, &self.after)
            .unified_diff()
            .header(&format!("{} (now)", self.path), &format!("{} (after)", self.path))
            .to_string()
    }
}

/// How it is proven that a balancer serves blue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    pub pidfile: String,
    pub error_logs: Vec<String>,
    pub access_logs: Vec<String>,
    /// What an answer of blue has; without it, the old workers must have stopped accepting first.
    pub mark: Option<Mark>,
}

/// What an answer of blue has and one of green has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// A line of the head, as `Name: value`.
    Header(String),
    /// The whole body.
    Body(String),
}

/// What exactly is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// What the config's `run` names, through its supervisor.
    Supervised,
    /// One process, as it was seen.
    Process { pid: u32, started: String, exe: String },
}

/// What must still be true when the step begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    NobodyElseHoldsTheLock,
    WeHoldTheLock,
    FileIsUnchanged { sha256: String },
    BalancersAreOnBlue,
    NobodyReachesGreen,
    Nothing,
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::NobodyElseHoldsTheLock => f.write_str("no other run holds the lock"),
            Guard::WeHoldTheLock => f.write_str("this run holds the lock"),
            Guard::FileIsUnchanged { sha256 } => write!(f, "the file is still {}", &sha256[..sha256.len().min(12)]),
            Guard::BalancersAreOnBlue => f.write_str("every balancer is switched and proven"),
            Guard::NobodyReachesGreen => {
                f.write_str("every balancer is proven on blue, blue still answers, and no peer is connected to green")
            }
            Guard::Nothing => f.write_str("nothing"),
        }
    }
}

/// How the step is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The step does it by itself when it cannot be proven.
    PutsFileBack,
    Released,
    StopAgain,
    StartAgain,
    NothingToUndo,
    Impossible(String),
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undo::PutsFileBack => f.write_str("the step puts the old file back by itself when it cannot be proven"),
            Undo::Released => f.write_str("released at the end, and when this program dies"),
            Undo::StopAgain => f.write_str("stop it again"),
            Undo::StartAgain => f.write_str("start it again"),
            Undo::NothingToUndo => f.write_str("changes nothing"),
            Undo::Impossible(why) => write!(f, "IRREVERSIBLE: {why}"),
        }
    }
}

/// The fingerprint of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Plan {
    pub fn digest(&self) -> Digest {
        // A plan is plain data with string keys: serializing it cannot fail, and an empty text covers nothing else.
        Digest(sha256(serde_json::to_string(self).unwrap_or_default().as_bytes()))
    }

    pub fn phase(&self, kind: PhaseKind) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.kind == kind)
    }

    /// The hosts that a phase acts on.
    pub fn hosts_of(&self, kind: PhaseKind) -> Vec<HostName> {
        self.phase(kind).map(|phase| phase.steps.iter().map(|step| step.host.clone()).collect()).unwrap_or_default()
    }

    /// The nginx files that this plan changes or proves, by host.
    pub fn file_changes(&self) -> impl Iterator<Item = (&HostName, &FileChange)> {
        self.phases.iter().flat_map(|phase| &phase.steps).filter_map(|step| match &step.action {
            Action::Switch { change, .. } => Some((&step.host, change)),
            Action::Lock { .. } | Action::Start { .. } | Action::Drain | Action::Stop { .. } | Action::Verify => None,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan of {} for {} / {}", self.id, self.service, self.environment)?;
        for (number, phase) in self.phases.iter().enumerate() {
            let hosts: Vec<&str> = phase.steps.iter().map(|step| step.host.as_str()).collect();
            writeln!(f, "  {}. {} on {}", number + 1, phase.title(self.towards), hosts.join(", "))?;
            let mut said: Vec<String> = Vec::new();
            for step in &phase.steps {
                let line = format!("     {}\n       if {}; undo: {}", step.why, step.guard, step.undo);
                if !said.contains(&line) {
                    writeln!(f, "{line}")?;
                    said.push(line);
                }
            }
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        let mut shown: Vec<(&FileChange, Vec<&str>)> = Vec::new();
        for (host, change) in self.file_changes().filter(|(_, change)| change.is_needed()) {
            match shown.iter_mut().find(|(other, _)| *other == change) {
                Some((_, hosts)) => hosts.push(host.as_str()),
                None => shown.push((change, vec![host.as_str()])),
            }
        }
        for (change, hosts) in shown {
            write!(f, "\n{}:\n{}", hosts.join(", "), change.diff())?;
        }
        Ok(())
    }
}

impl Phase {
    fn title(&self, to: Colour) -> String {
        let from = to.other();
        match self.kind {
            PhaseKind::Lock => "take the lock, test the candidate".to_owned(),
            PhaseKind::StartBlue => format!("start {to} and prove it"),
            PhaseKind::Switch => format!("switch to {to} and prove it"),
            PhaseKind::Drain => format!("drain {from}"),
            PhaseKind::StopGreen => format!("stop {from}"),
            PhaseKind::Verify => format!("verify {to}"),
        }
    }
}
