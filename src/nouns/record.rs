//! What was done: the journal's entries, the outcome of each step, and the verdict that follows from them. Plain
//! data with a version, small and hand-chosen, so that an old folder still reads. The verdict is a pure function
//! of the entries; nothing here writes a file.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::nouns::colour::Colour;
use crate::nouns::names::HostName;
use crate::nouns::units::counted;

/// The words for steps that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepWord {
    Connect,
    Observe,
    Lock,
    Switch,
    Drain,
    Stop,
    Verify,
    Restore,
    Evidence,
    Report,
    Notify,
}

impl StepWord {
    pub fn as_str(self) -> &'static str {
        match self {
            StepWord::Connect => "connect",
            StepWord::Observe => "observe",
            StepWord::Lock => "lock",
            StepWord::Switch => "switch",
            StepWord::Drain => "drain",
            StepWord::Stop => "stop",
            StepWord::Verify => "verify",
            StepWord::Restore => "restore",
            StepWord::Evidence => "evidence",
            StepWord::Report => "report",
            StepWord::Notify => "notify",
        }
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Started,
    Done,
    Failed,
    Skipped,
    /// The answer was lost: it may have happened.
    Unknown,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Started => "started",
            Status::Done => "done",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
            Status::Unknown => "unknown",
        }
    }
}

/// One line of `journal.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// The format's version.
    pub v: u32,
    pub time: DateTime<Utc>,
    /// Milliseconds since the process began.
    pub at_ms: u64,
    #[serde(flatten)]
    pub what: What,
}

/// The version of the journal's lines.
pub const JOURNAL_VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The first line: everything the report says that no step says.
    Begun(Box<Begun>),
    /// A change that is about to be made. On disk before it is.
    Intent { step: StepWord, host: HostName, why: String },
    /// How a step ended; without a host it is of no one host.
    Outcome { step: StepWord, host: Option<HostName>, status: Status, ms: u64, detail: String },
    /// What a balancer serves from now on.
    Balancer { host: HostName, state: Balancer },
    /// What green is from now on, on an app host.
    Green { host: HostName, state: Green },
    /// Every balancer is proven on blue.
    TrafficSafe {
        hosts: usize,
        #[serde(default = "blue")]
        towards: Colour,
    },
    /// Something an operator should know.
    Note { text: String },
    /// What could not be captured or proven.
    Gap { host: Option<HostName>, what: String, why: String },
    /// A file of the incident folder.
    Captured(Captured),
    /// Shares of server errors as nginx logged them.
    Errors { host: HostName, before: ErrorShare, after: ErrorShare },
    /// The dump that is restored, or why none is.
    Dump(Dump),
    /// What the restore takes away, as the prompt showed it.
    Loss(Loss),
    /// What the database is from now on.
    Database(DatabaseNow),
    /// The last line.
    Ended { exit: u8, production: String, next: String },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begun {
    pub id: String,
    pub program: String,
    pub service: String,
    pub environment: String,
    pub reason: String,
    pub severity: Option<String>,
    pub operator: String,
    pub laptop: String,
    /// The balancers and the app hosts that the config names.
    pub balancers: Vec<HostName>,
    pub apps: Vec<HostName>,
    pub green_is_kept: bool,
    /// The database that `--restore-db` is to restore.
    #[serde(default)]
    pub restores: Option<String>,
    /// The incident that this run takes back.
    #[serde(default)]
    pub undoes: Option<String>,
    /// The colour that traffic goes to.
    #[serde(default = "blue")]
    pub towards: Colour,
    /// Whether it is only the database's turn.
    #[serde(default)]
    pub traffic_stays: bool,
    pub oncall: Option<String>,
    pub commander: Option<String>,
    pub targets_ms: Vec<(String, u64)>,
}

/// Journals of before there was an undo do not say it.
fn blue() -> Colour {
    Colour::Blue
}

/// What a balancer sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// Proven.
    Blue,
    /// As it was before this run.
    Unchanged,
    /// Changed, not proven, and as it was again.
    PutBack,
    Unknown,
}

/// What became of green on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Green {
    Stopped,
    /// Left running because the operator said so.
    Kept,
    /// Running although it should not be.
    LeftRunning,
    Unknown,
}

/// A dump and what was found in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    pub host: HostName,
    pub path: String,
    /// Of the file; of all files together where it is a folder.
    pub bytes: u64,
    pub modified: DateTime<Utc>,
    pub tables: u64,
    /// Rows in its COPY blocks.
    pub rows: u64,
    /// Why it is not restored; empty for a good one.
    pub problems: Vec<String>,
    /// Newer dumps that were not taken, each with the cause.
    pub passed_over: Vec<String>,
}

/// Rows that are live and not in the dump, table by table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    pub database: String,
    /// Tables that differ, the ones that lose most first.
    pub tables: Vec<TableLoss>,
    /// How many tables are alike, as far as was counted.
    pub alike: u64,
    /// What could not be counted, in words.
    pub not_counted: Vec<String>,
}

/// One table on both sides; `None` is a table that is not there, or was not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLoss {
    pub table: String,
    pub live_rows: Option<u64>,
    pub copy_rows: Option<u64>,
    /// Keys that only one side has.
    pub only_live: Option<u64>,
    pub only_copy: Option<u64>,
    /// The newest of a column of times, as the database writes it.
    pub newest_live: Option<String>,
    pub newest_copy: Option<String>,
}

/// One line of `drills.jsonl`: a dump restored into a throw-away database, and whether it would have served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub v: u32,
    pub time: DateTime<Utc>,
    pub database: String,
    pub host: Option<HostName>,
    pub dump: Option<String>,
    pub bytes: u64,
    pub modified: Option<DateTime<Utc>>,
    pub passed_over: Vec<String>,
    pub tables: u64,
    pub rows: u64,
    pub load_ms: u64,
    pub would_serve: bool,
    /// Why it would not.
    pub why: Option<String>,
}

impl Drill {
    pub fn begun(time: DateTime<Utc>, database: &str) -> Drill {
        Drill {
            v: JOURNAL_VERSION,
            time,
            database: database.to_owned(),
            host: None,
            dump: None,
            bytes: 0,
            modified: None,
            passed_over: Vec::new(),
            tables: 0,
            rows: 0,
            load_ms: 0,
            would_serve: true,
            why: None,
        }
    }

    pub fn failed(mut self, why: String) -> Drill {
        self.would_serve = false;
        self.why = Some(why);
        self
    }
}

/// The database and, once a swap was begun, everything that taking it back needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseNow {
    pub host: HostName,
    pub name: String,
    pub state: DatabaseState,
    pub swap: Option<Swap>,
}

/// Two renames that happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The name that the service uses.
    pub live: String,
    /// 0 where there is no database of that name.
    pub live_oid: u32,
    /// What takes its place.
    pub copy: String,
    pub copy_oid: u32,
    /// What the replaced one is called from then on.
    pub kept: String,
    /// Until then it is kept.
    pub kept_until: Option<DateTime<Utc>>,
}

impl Swap {
    /// The name of the replaced one; `None` where there was none to replace.
    pub fn kept(&self) -> Option<&str> {
        (self.live_oid > 0).then_some(self.kept.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseState {
    AsItWas,
    /// Replaced by what was loaded from the dump.
    Restored,
    /// Replaced by what it was before a restore.
    TakenBack,
    /// A swap has begun and its end is not known.
    Unknown,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Captured {
    pub host: Option<HostName>,
    pub file: String,
    /// What it is a copy of.
    pub of: String,
    /// Bytes in the file, and bytes it holds unpacked.
    pub bytes: u64,
    pub unpacked_bytes: u64,
    pub lines: u64,
    pub sha256: String,
    /// Kinds of trouble found in it, most frequent first.
    pub patterns: Vec<Pattern>,
}

/// Lines of a log that are alike but for numbers and names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// `panic`, `query`, `timeout`, `error`.
    pub kind: String,
    pub count: u64,
    /// One of the lines, with secrets redacted.
    pub example: String,
}

/// Requests and server errors among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorShare {
    pub requests: u64,
    pub errors: u64,
}

impl ErrorShare {
    /// Fewer requests than this say nothing about a share of a percent or two.
    const ENOUGH: u64 = 20;

    /// `1.3 % of 1200 requests`, or that there is not enough data.
    pub fn describe(self) -> String {
        if self.requests < Self::ENOUGH {
            return format!("not enough data ({})", counted(self.requests, "request"));
        }
        format!("{:.1} % of {} requests", 100.0 * self.errors as f64 / self.requests as f64, self.requests)
    }

    /// The share in percent, where there is enough to tell.
    pub fn percent(self) -> Option<f64> {
        (self.requests >= Self::ENOUGH).then(|| 100.0 * self.errors as f64 / self.requests as f64)
    }
}

/// How a run ends: the exit code, what production is now, and the one next command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub exit: u8,
    pub production: String,
    pub next: String,
    /// What is not done, each with its host and cause.
    pub left: Vec<String>,
}

/// Judges a run by its journal alone.
pub fn judge(entries: &[Entry], was_interrupted: bool) -> Verdict {
    let begun = entries.iter().find_map(|entry| match &entry.what {
        What::Begun(begun) => Some(begun.as_ref()),
        _ => None,
    });
    let balancers = begun.map(|begun| begun.balancers.clone()).unwrap_or_default();
    // A switch whose intent is the last word of it, in the journal of a run that was killed, may have happened.
    let state_of = |host: &HostName| {
        let began = if switch_is_open(entries, host) { Balancer::Unknown } else { Balancer::Unchanged };
        last_balancer_state(entries, host).unwrap_or(began)
    };
    let of =
        |wanted: Balancer| -> Vec<&HostName> { balancers.iter().filter(|host| state_of(host) == wanted).collect() };
    let (blue, put_back, unknown) = (of(Balancer::Blue), of(Balancer::PutBack), of(Balancer::Unknown));
    let unchanged = of(Balancer::Unchanged);
    let total = balancers.len();
    let greens = greens(entries);
    // A host that neither balances nor serves is not needed to move traffic; evidence that is missing of it is a gap.
    let is_needed = |host: &HostName| begun.is_none_or(|b| b.balancers.contains(host) || b.apps.contains(host));
    let failed = failures(entries, &is_needed);
    let all_blue = total > 0 && blue.len() == total;

    let to = begun.map_or(Colour::Blue, |begun| begun.towards);
    let on_it = format!("on {to}");
    let mut production = vec![format!("traffic on {to} on {} of {}", blue.len(), plural(total, "host"))];
    if !all_blue {
        production = Vec::new();
        for (hosts, words) in [
            (&blue, on_it.as_str()),
            (&unchanged, "as it was"),
            (&put_back, "put back, as it was"),
            (&unknown, "NOT KNOWN"),
        ] {
            if !hosts.is_empty() {
                let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
                production.push(format!("traffic of {} {words}", names.join(", ")));
            }
        }
    }
    production.push(green_words(&greens, to.other()));
    if begun.is_some_and(|begun| begun.traffic_stays) {
        production = vec!["traffic untouched".to_owned()];
    }
    let database = last_database(entries);
    let restores = begun.and_then(|begun| begun.restores.as_deref());
    production.extend(database_words(database, restores));
    let production = production.join("; ");
    let is_restored = restores.is_none() || database.is_some_and(|database| database.state != DatabaseState::AsItWas);

    let exit = if begun.is_some_and(|begun| begun.traffic_stays) {
        match (database.map(|database| database.state), failed.is_empty(), was_interrupted) {
            (Some(DatabaseState::Restored | DatabaseState::TakenBack), true, _) => 0,
            (Some(DatabaseState::Restored | DatabaseState::TakenBack | DatabaseState::Unknown), _, _) => 4,
            (_, _, true) => 130,
            (Some(DatabaseState::AsItWas) | None, _, false) => 1,
        }
    } else if !unknown.is_empty() {
        5
    } else if all_blue {
        match (failed.is_empty(), was_interrupted) {
            (_, true) => 130,
            (_, false) if !is_restored => 6,
            (true, false) => 0,
            (false, false) => 4,
        }
    } else if !blue.is_empty() {
        if was_interrupted { 130 } else { 5 }
    } else if was_interrupted {
        130
    } else if database.is_some_and(|database| database.state != DatabaseState::AsItWas) {
        // The database was taken back, and traffic was not.
        4
    } else if !put_back.is_empty() {
        3
    } else {
        1
    };
    let service = begun.map_or(String::new(), |begun| match begun.environment.as_str() {
        "prod" => String::new(),
        other => format!(" --env {other}"),
    });
    let again = |hosts: &[&HostName]| {
        let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
        let reason = shell_words::quote(begun.map_or("", |begun| &begun.reason)).into_owned();
        let reason = if reason.contains('\n') { "'…'".to_owned() } else { reason };
        let only = if names.is_empty() || names.len() == total {
            String::new()
        } else {
            format!(" --hosts {}", names.join(","))
        };
        let restore = if is_restored { "" } else { " --restore-db" };
        match begun.and_then(|begun| begun.undoes.as_deref()) {
            Some(incident) => format!("rollback-prod{service} undo {incident}"),
            None => format!("rollback-prod{service} --reason {reason}{only}{restore}"),
        }
    };
    let not_blue: Vec<&HostName> = balancers.iter().filter(|host| state_of(host) != Balancer::Blue).collect();
    let next = match exit {
        0 => format!("rollback-prod{service} status"),
        6 if !has_good_dump(entries) => format!("rollback-prod{service} backups list"),
        4 if database.is_some_and(|database| database.state == DatabaseState::Unknown) => {
            format!("rollback-prod{service} backups list")
        }
        4 | 6 | 130 if all_blue => again(&[]),
        1 | 3 if begun.is_none_or(|begun| begun.undoes.is_none()) => format!("rollback-prod{service} check"),
        _ => again(&not_blue),
    };
    Verdict { exit, production, next, left: failed }
}

/// The newest word on a balancer.
pub fn last_balancer_state(entries: &[Entry], host: &HostName) -> Option<Balancer> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Balancer { host: of, state } if of == host => Some(*state),
        _ => None,
    })
}

/// The newest word on the database.
pub fn last_database(entries: &[Entry]) -> Option<&DatabaseNow> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Database(database) => Some(database),
        _ => None,
    })
}

fn has_good_dump(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(&entry.what, What::Dump(dump) if dump.problems.is_empty()))
}

fn database_words(database: Option<&DatabaseNow>, restores: Option<&str>) -> Option<String> {
    let Some(DatabaseNow { name, state, swap, .. }) = database else {
        return restores.map(|name| format!("database {name} as it was"));
    };
    let kept = swap
        .as_ref()
        .and_then(Swap::kept)
        .map_or(String::new(), |kept| format!(" (the replaced one is kept as {kept})"));
    Some(match state {
        DatabaseState::AsItWas => format!("database {name} as it was"),
        DatabaseState::Restored => format!("database {name} restored{kept}"),
        DatabaseState::TakenBack => format!("database {name} as it was before the restore{kept}"),
        DatabaseState::Unknown => format!("database {name} NOT KNOWN"),
    })
}

fn switch_is_open(entries: &[Entry], host: &HostName) -> bool {
    entries
        .iter()
        .rev()
        .find_map(|entry| match &entry.what {
            What::Intent { step: StepWord::Switch, host: of, .. } if of == host => Some(true),
            What::Outcome { step: StepWord::Switch, host: Some(of), .. } if of == host => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

fn greens(entries: &[Entry]) -> Vec<(HostName, Green)> {
    let mut greens: Vec<(HostName, Green)> = Vec::new();
    for entry in entries {
        let (host, state) = match &entry.what {
            What::Green { host, state } => (host, *state),
            // A stop that began and whose end is not in the journal may have happened.
            What::Intent { step: StepWord::Stop, host, .. } => (host, Green::Unknown),
            _ => continue,
        };
        match greens.iter_mut().find(|(of, _)| of == host) {
            Some((_, last)) => *last = state,
            None => greens.push((host.clone(), state)),
        }
    }
    greens
}

fn green_words(greens: &[(HostName, Green)], green: Colour) -> String {
    let of = |wanted: Green| -> Vec<&str> {
        greens.iter().filter(|(_, state)| *state == wanted).map(|(host, _)| host.as_str()).collect()
    };
    if greens.is_empty() {
        return format!("{green} untouched");
    }
    if of(Green::Stopped).len() == greens.len() {
        return format!("{green} stopped");
    }
    let mut words = Vec::new();
    for (state, said) in [
        (Green::Stopped, "stopped"),
        (Green::Kept, "kept running"),
        (Green::LeftRunning, "STILL RUNNING"),
        (Green::Unknown, "NOT KNOWN"),
    ] {
        let hosts = of(state);
        if hosts.len() == greens.len() {
            return format!("{green} {said}");
        }
        if !hosts.is_empty() {
            words.push(format!("{green} {said} on {}", hosts.join(", ")));
        }
    }
    words.join(", ")
}

/// What is not done: steps whose newest outcome is not good. Messages are never among them.
fn failures(entries: &[Entry], is_needed: &dyn Fn(&HostName) -> bool) -> Vec<String> {
    let mut last: Vec<(StepWord, Option<HostName>, Status, String)> = Vec::new();
    for entry in entries {
        if let What::Outcome { step, host, status, detail, .. } = &entry.what {
            match last.iter_mut().find(|(s, h, _, _)| s == step && h == host) {
                Some(found) => (found.2, found.3) = (*status, detail.clone()),
                None => last.push((*step, host.clone(), *status, detail.clone())),
            }
        }
    }
    last.into_iter()
        .filter(|(step, _, status, _)| *step != StepWord::Notify && matches!(status, Status::Failed | Status::Unknown))
        .filter(|(step, host, _, _)| *step != StepWord::Connect || host.as_ref().is_none_or(is_needed))
        .map(|(step, host, _, detail)| match host {
            Some(host) => format!("{}: {host}: {detail}", step.as_str()),
            None => format!("{}: {detail}", step.as_str()),
        })
        .collect()
}

/// `1 host`, `3 hosts`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
