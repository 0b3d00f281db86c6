//! What was done: the journal's entries and the outcome of each step. Plain data with a version, small and hand-chosen, so
//! that an old folder still reads. What production is follows from them in one place, [`super::production`]; nothing here
//! concludes anything or writes a file.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nouns::colour::Colour;
use crate::nouns::names::{ChangeName, HostName, ServiceName};
use crate::nouns::rules::Judgement;
use crate::nouns::share::{Serving, Share};
use crate::nouns::side::Direction;
use crate::nouns::units::counted;

/// The words for steps that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepWord {
    Connect,
    Observe,
    Lock,
    Switch,
    Drain,
    Stop,
    Verify,
    Hold,
    Judge,
    Restore,
    Change,
    Migrate,
    Hook,
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
            StepWord::Hold => "hold",
            StepWord::Judge => "judge",
            StepWord::Restore => "restore",
            StepWord::Change => "change",
            StepWord::Migrate => "migrate",
            StepWord::Hook => "hook",
            StepWord::Evidence => "evidence",
            StepWord::Report => "report",
            StepWord::Notify => "notify",
        }
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// The service that it is of, where the run has several. Not `service`, which the first line says of itself.
    #[serde(rename = "of_service", default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
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
    /// What was found on a host before anything was done.
    Found { host: HostName, traffic: Option<Traffic> },
    /// A change that is about to be made. On disk before it is.
    Intent {
        step: StepWord,
        host: HostName,
        why: String,
        /// Whom it starts or stops.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        colour: Option<Colour>,
        /// Which one, where a host has several of the kind: the name of a change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// How a step ended; without a host it is of no one host.
    Outcome {
        step: StepWord,
        host: Option<HostName>,
        /// Which one, where a host has several of the kind: the name of a change, or what a hook is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
        status: Status,
        ms: u64,
        detail: String,
    },
    /// What became of a change on a host.
    Change { host: HostName, name: ChangeName, state: ChangeState },
    /// What a change's words or a hook printed: bounded, without secrets, and nothing in it acts.
    Said { step: StepWord, host: HostName, of: String, text: String },
    /// What a balancer sends to from now on.
    Balancer {
        host: HostName,
        state: Balancer,
        /// Of the traffic, for the side that it goes to, where the balancer is [`Balancer::Shifted`].
        #[serde(default = "all", skip_serializing_if = "is_all")]
        share: Share,
    },
    /// A balancer puts all traffic back by itself after so many seconds without a word; without a number it does not.
    DeadMan { host: HostName, limit_seconds: Option<u64> },
    /// What a colour is from now on, on an app host.
    App { host: HostName, colour: Colour, state: AppState },
    /// The same of green, as the first edition wrote it. Only read.
    Green { host: HostName, state: AppState },
    /// Whether whoever should serve through a host answered when he was last asked. Recorded when that changes.
    Answer { host: HostName, colour: Colour, is_good: bool, detail: String },
    /// Every balancer is proven to send where it should.
    TrafficSafe {
        hosts: usize,
        #[serde(default = "to_blue", alias = "towards", rename = "towards")]
        to: Direction,
    },
    /// Something an operator should know.
    Note { text: String },
    /// What could not be captured or proven.
    Gap { host: Option<HostName>, what: String, why: String },
    /// A file of the incident folder.
    Captured(Captured),
    /// Shares of server errors as nginx logged them.
    Errors {
        host: HostName,
        before: ErrorShare,
        after: ErrorShare,
        /// The same second by second, where the log tells the time; only those that have a request.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        seconds: Vec<Second>,
        /// From how many addresses those came that failed, where every one of them tells it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clients_before: Option<Clients>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clients_after: Option<Clients>,
    },
    /// What the rules say of a side, every ten seconds and when that changes.
    Judged(Box<Judgement>),
    /// The dump that is restored, or why none is.
    Dump(Dump),
    /// What the restore takes away, as the prompt showed it.
    Loss(Loss),
    /// What the database is from now on.
    Database(DatabaseNow),
    /// A line that a person added, during the run or after it.
    Noted { by: String, text: String },
    /// A person calls the incident over.
    Resolved { by: String, text: String },
    /// A person files it as a ticket: written before it is sent, and again when it is known what became of it.
    Ticket { by: String, tracker: String, state: TicketState },
    /// The last line of the run itself.
    Ended { exit: u8, production: String, next: String },
}

/// What is known of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    /// It is sent now. With nothing behind it nobody knows what became of it.
    Sent,
    /// Where it is.
    Filed { url: String },
    /// It is certain that there is none, and why.
    Refused { why: String },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begun {
    pub id: String,
    pub program: String,
    pub service: String,
    /// The word of all services of the config together, where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
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
    /// The flags that asked for it, where they were others than that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_flags: Option<String>,
    /// The flag that asked for migrations to be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_flag: Option<String>,
    /// The incident that this run takes back.
    #[serde(default)]
    pub undoes: Option<String>,
    /// The colour that traffic goes to.
    #[serde(default = "to_blue", rename = "towards")]
    pub direction: Direction,
    /// Of a gradual switch what repeats it: `switch --to green --steps 10,50`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradual: Option<Repeat>,
    /// Whether traffic is not to be moved: it is only the database's turn, or that of changes.
    #[serde(default)]
    pub traffic_stays: bool,
    /// The changes that were asked for, or are taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<MeantChange>,
    /// The release that blue was to be put to first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_release: Option<String>,
    /// What both sides ran when it began: `green 1.4.0 → blue 1.3.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub releases: Option<String>,
    pub oncall: Option<String>,
    pub commander: Option<String>,
    /// Whom to call when it lasts: `team lead after 15m`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<String>,
    pub targets_ms: Vec<(String, u64)>,
}

impl Begun {
    /// Whether it is a rollback of changes alone.
    pub fn is_partial(&self) -> bool {
        self.traffic_stays && self.undoes.is_none() && !self.changes.is_empty()
    }

    /// The names of the changes.
    pub fn change_names(&self) -> Vec<&str> {
        self.changes.iter().map(|change| change.name.as_str()).collect()
    }
}

/// A change that is to be made, or taken back, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeantChange {
    pub name: ChangeName,
    pub hosts: Vec<HostName>,
    /// Hosts on which it was in force before, so that nothing is done there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_force: Vec<HostName>,
}

/// What became of a change on a host in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// It is made, and proven where something can prove it.
    Made,
    /// It was made, and is not any more.
    TakenBack,
    /// A step was begun, and nothing came of it: as before that step.
    AsItWas,
    Unknown,
}

/// What a gradual switch was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    pub command: String,
    /// The share that it is over with.
    pub last: Share,
}

/// Journals of before there was an undo do not say it.
fn to_blue() -> Direction {
    Direction::to(Colour::Blue)
}

fn all() -> Share {
    Share::ALL
}

fn is_all(share: &Share) -> bool {
    *share == Share::ALL
}

/// What a balancer's file says and who answers through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// `None` where the file is not understood.
    pub file: Option<Serving>,
    /// Of the traffic, for blue, by the file.
    pub blue: Share,
    /// Whose the probe's answer is, where that can be told.
    pub answered_by: Option<Colour>,
    /// Of the probe's answer; 0 where there was none.
    pub status: u16,
}

/// What a balancer sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// Where this run sends it, proven.
    #[serde(alias = "blue")]
    Shifted,
    /// As it was before this run.
    Unchanged,
    /// Changed, and as it was again.
    PutBack,
    Unknown,
}

/// What became of a colour on an app host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    Stopped,
    /// Left running because the operator said so.
    Kept,
    /// Running although it should not be.
    LeftRunning,
    /// By this run, which found it down.
    Started,
    /// Started by this run, and down again as it was found.
    StoppedAgain,
    /// Stopped by this run, and running again as it was found.
    StartedAgain,
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
    /// Where the migrations of the two sides differ: how, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<String>,
    /// What differs besides rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub structure: Vec<StructureDiffers>,
}

/// Things of one kind (`index`, `grant`, …) that differ in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StructureDiffers {
    pub kind: String,
    pub how: Differs,
    pub count: u64,
    /// The first of them.
    pub names: Vec<String>,
}

/// In which way a copy differs from the live database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Differs {
    OnlyLive,
    OnlyCopy,
    /// Both have it, and it is not the same.
    Otherwise,
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
    /// From the first look to the copy that is checked: what a restore takes besides the question and the swap.
    #[serde(default)]
    pub took_ms: u64,
    pub would_serve: bool,
    /// Why it would not.
    pub why: Option<String>,
    /// What it saw that would not have been enough, beside what the config promises.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<String>,
}

/// One line of `drills.jsonl`: a rollback and its undo where nobody is hurt, and what held of the runbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    pub v: u32,
    pub time: DateTime<Utc>,
    /// What tells such a line from that of a dump.
    pub drill: RehearsalKind,
    pub service: String,
    pub environment: String,
    pub operator: String,
    /// The incidents of both runs.
    pub rollback: Option<String>,
    pub undo: Option<String>,
    pub held: Vec<String>,
    pub missed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RehearsalKind {
    Rollback,
}

impl Rehearsal {
    pub fn begun(time: DateTime<Utc>, service: &str, environment: &str, operator: &str) -> Rehearsal {
        Rehearsal {
            v: JOURNAL_VERSION,
            time,
            drill: RehearsalKind::Rollback,
            service: service.to_owned(),
            environment: environment.to_owned(),
            operator: operator.to_owned(),
            rollback: None,
            undo: None,
            held: Vec::new(),
            missed: Vec::new(),
        }
    }
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
            took_ms: 0,
            would_serve: true,
            why: None,
            missed: Vec::new(),
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
    /// Instead of a swap, where rows of some tables were put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
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

/// Rows of some tables that take the place of the live ones, in one transaction, and what taking that back needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    pub live: String,
    pub live_oid: u32,
    /// The schema of the live database that holds what was there before.
    pub kept: String,
    /// Until then it is kept.
    pub kept_until: Option<DateTime<Utc>>,
    /// Those that others refer to first.
    pub tables: Vec<MergedTable>,
}

/// A table that gets rows. Its names are those of the database, without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedTable {
    pub schema: String,
    pub table: String,
    /// What its rows of before are called in the schema that keeps them.
    pub kept: String,
    /// All that can be written.
    pub columns: Vec<String>,
    /// Of these the ones that the dump gives.
    pub picked: Vec<String>,
    /// What tells its rows apart; where nothing does, all of them are replaced.
    pub key: Vec<String>,
    /// Columns outside the key that are `GENERATED ALWAYS AS IDENTITY`.
    pub always: Vec<String>,
    /// Whether partitions hold its rows.
    pub is_parted: bool,
}

impl Merge {
    /// `public.listings, public.orders`
    pub fn names(&self) -> String {
        let names: Vec<String> = self.tables.iter().map(MergedTable::name).collect();
        names.join(", ")
    }
}

impl MergedTable {
    pub fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
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

/// Distinct addresses of clients, as nginx logged them: never the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    pub count: u64,
    /// There were at least so many: they stood in several logs, or were too many to be told apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

impl Clients {
    /// Both together. Whoever stands in both cannot be told: there are at least as many as in one of them.
    #[must_use]
    pub fn and(self, other: Clients) -> Clients {
        match (self.count, other.count) {
            (0, _) => other,
            (_, 0) => self,
            (one, two) => Clients { count: one.max(two), is_cut: true },
        }
    }

    /// `87 addresses`, `at least 87 addresses`
    pub fn describe(self) -> String {
        let at_least = if self.is_cut { "at least " } else { "" };
        match self.count {
            1 => format!("{at_least}1 address"),
            count => format!("{at_least}{count} addresses"),
        }
    }
}

/// What a balancer answered in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, u64, u64)", into = "(i64, u64, u64)")]
pub struct Second {
    /// Since 1970, by this machine's clock.
    pub at: i64,
    pub requests: u64,
    pub errors: u64,
}

impl From<(i64, u64, u64)> for Second {
    fn from((at, requests, errors): (i64, u64, u64)) -> Second {
        Second { at, requests, errors }
    }
}

impl From<Second> for (i64, u64, u64) {
    fn from(second: Second) -> (i64, u64, u64) {
        (second.at, second.requests, second.errors)
    }
}

/// That somebody who should serve does not answer, or does again.
pub fn answer_words(host: impl std::fmt::Display, colour: Colour, is_good: bool, detail: &str) -> String {
    match is_good {
        true => format!("{host}: {colour} answers"),
        false => format!("{host}: {colour} DOES NOT ANSWER: {detail}"),
    }
}

/// `1 host`, `3 hosts`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
