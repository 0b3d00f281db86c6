//! What shall be done: stages of steps, each with its guard, its undo and its reason. A plan leaves no choices to whoever
//! carries it out: the guard that is shown is the one that is evaluated, the undo that is shown the one that is run. `told`
//! and `short` put it on a screen. No I/O, no clock.

mod short;
mod told;

use dumps::migrations::Down;
use serde::{Deserialize, Serialize};

use crate::nouns::change::{ChangeWork, FilePut};
use crate::nouns::colour::Colour;
use crate::nouns::digest::sha256;
use crate::nouns::inventory::{Reach, Run};
use crate::nouns::names::{HostName, IncidentId, RemotePath, ServiceName};
use crate::nouns::record::{MeantChange, Merge, StepWord, Swap};
use crate::nouns::share::Share;
use crate::nouns::side::{Direction, Side};
use crate::nouns::{joined, octets};

pub use short::Short;

/// A complete plan: everything that decides what happens is in it, so that a consent to it is a consent to that.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub id: IncidentId,
    pub service: String,
    pub environment: String,
    pub reason: String,
    /// Where traffic goes and where it comes from.
    #[serde(rename = "to")]
    pub direction: Direction,
    /// What both sides run: `green 1.4.0 → blue 1.3.2`; `None` where neither is known.
    pub releases: Option<String>,
    /// Its place among the services of the run, where that has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub among: Option<Among>,
    /// Whether refusals that `--force` names were passed over, and guards that name it are.
    pub is_forced: bool,
    /// From whom the lock is also taken while his run lives.
    pub takes_over: TakesOver,
    /// Whether traffic moves share by share, and all of it goes back to whom it came from where one is not good.
    pub is_gradual: bool,
    /// The balancers that this run is about: all of the config, or those that an incident moved. Not all of them are
    /// reached.
    pub balancers: Vec<HostName>,
    /// What else of the release goes back, and where.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<MeantChange>,
    /// The migrations that are taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<Down>,
    /// What is run beside the steps, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// In the order in which they happen; those of one lane one after the other.
    pub stages: Vec<Stage>,
    /// What an operator should know before, and a report after: hosts that were not reached, what cannot be proven.
    pub notes: Vec<String>,
    /// Hosts that the config names and this plan does not touch: not reached, or left out by `--hosts`.
    pub left_out: Vec<LeftOut>,
}

/// A service's place among those of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Among {
    /// Those whose traffic moves before its own.
    pub before: Vec<ServiceName>,
    /// Those that wait for it.
    pub behind: Vec<ServiceName>,
    /// Whether its traffic goes back where that of another one cannot be moved.
    pub is_all_or_nothing: bool,
}

/// Whose lock a run takes although he is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TakesOver {
    Nobody,
    /// A rollback wins against a switch.
    Switch,
    Anybody,
}

impl TakesOver {
    pub fn word(self) -> &'static str {
        match self {
            TakesOver::Nobody => "no",
            TakesOver::Switch => "switch",
            TakesOver::Anybody => "yes",
        }
    }

    /// Whether the lock of a live run with that holder is taken.
    pub fn takes_from(self, holder: &str) -> bool {
        match self {
            TakesOver::Nobody => false,
            TakesOver::Switch => holder.starts_with(SWITCH_BY),
            TakesOver::Anybody => true,
        }
    }
}

/// What the holder's line of a dead man begins with; `arm.sh` says the same.
pub const DEAD_MAN_OF: &str = "dead man of ";

/// What the holder's line of a gradual switch begins with; `lock.sh` says the same.
pub const SWITCH_BY: &str = "switch by ";

/// A host that the plan does not touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub host: HostName,
    pub why: String,
    pub is_balancer: bool,
    /// Whether it is known to send all traffic where the run goes.
    pub is_there: bool,
}

/// What must be so before it begins, and steps of one kind, on all hosts at once.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    pub name: StageName,
    pub gate: Gate,
    pub steps: Vec<Step>,
}

/// In the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// The lock is taken and the candidate tested.
    Lock,
    /// The database that a restore replaced takes its place again.
    TakeBack,
    /// A change without which what traffic goes to would not be what it should: before it gets any. By its place among the
    /// changes.
    Ready(u16),
    /// What traffic goes to is started where it is down, and proven.
    Start,
    /// Every balancer is told to put all traffic back by itself, should nobody come any more.
    Arm,
    /// Some of the traffic moves.
    Shift(Share),
    Switch,
    /// Any other change.
    Change(u16),
    Drain,
    Stop,
    Verify,
    /// Which release was taken out of traffic is written down on the balancers.
    Remember,
    /// Migrations are taken back, once nobody needs them any more.
    Downgrade,
    /// A dump is loaded aside, as soon as traffic is safe.
    Load,
    /// What was loaded takes the place of the live database.
    Swap,
}

/// What runs beside what: the database waits for traffic where a guard says so, traffic never for the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Traffic,
    Database,
}

impl StageName {
    pub fn moves_traffic(self) -> bool {
        matches!(self, StageName::Shift(_) | StageName::Switch)
    }

    pub fn is_of_a_change(self) -> bool {
        matches!(self, StageName::Ready(_) | StageName::Change(_) | StageName::Downgrade)
    }

    /// The word of the contract for it.
    pub fn word(self) -> StepWord {
        match self {
            StageName::Lock => StepWord::Lock,
            StageName::Start | StageName::Verify | StageName::Remember => StepWord::Verify,
            StageName::Arm => StepWord::Hold,
            StageName::Shift(_) | StageName::Switch => StepWord::Switch,
            StageName::Ready(_) | StageName::Change(_) => StepWord::Change,
            StageName::Downgrade => StepWord::Migrate,
            StageName::Drain => StepWord::Drain,
            StageName::Stop => StepWord::Stop,
            StageName::TakeBack | StageName::Load | StageName::Swap => StepWord::Restore,
        }
    }

    pub fn lane(self) -> Lane {
        match self {
            StageName::Load | StageName::Swap => Lane::Database,
            StageName::Lock
            | StageName::TakeBack
            | StageName::Ready(_)
            | StageName::Start
            | StageName::Arm
            | StageName::Shift(_)
            | StageName::Switch
            | StageName::Change(_)
            | StageName::Drain
            | StageName::Stop
            | StageName::Verify
            | StageName::Remember
            | StageName::Downgrade => Lane::Traffic,
        }
    }
}

/// What is asked between two stages of a lane: of the steps before, of what users get, or of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing: the steps have guards of their own.
    Open,
    /// No step of the stage before failed.
    NoneFailed,
    /// At least one of them was done and proven.
    AnyProven,
    /// The share that traffic stands at was held for a while, and judged good.
    Held(Holding),
    /// A person typed the word, after it was shown what it costs.
    Typed(Word),
}

/// How long a share is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Holding {
    pub share: Share,
    pub seconds: u64,
    /// Where that was not enough to tell, it is waited for it so long in all.
    pub longest_seconds: u64,
}

/// The word that an operator types to replace a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Word {
    Restore,
    Undo,
    Downgrade,
}

impl Word {
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Restore => "RESTORE",
            Word::Undo => "UNDO",
            Word::Downgrade => "DOWNGRADE",
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Lock {
        candidate: Option<FileChange>,
    },
    Start {
        side: Side,
    },
    /// A balancer is told to make one of these changes by itself, whichever fits, after so many seconds without a word of
    /// ours; without a limit whoever was told so before is called off.
    Arm {
        back: Vec<FileChange>,
        proof: Proof,
        limit_seconds: Option<u64>,
    },
    /// Traffic is shared out anew; `share` is what the side that it goes to gets, `says` how the file says so.
    Switch {
        change: FileChange,
        proof: Proof,
        share: Share,
        says: String,
    },
    /// What still reaches the side that traffic left is counted until nothing does.
    Drain,
    Stop {
        side: Side,
        target: Target,
    },
    /// Nothing is done, and that is to be told.
    Leave {
        side: Side,
        as_what: LeftAs,
    },
    /// Whoever gets traffic now is asked once more.
    Verify {
        sides: Vec<Side>,
    },
    Load {
        wish: RestoreWish,
    },
    Swap,
    /// Rows of the copy take the place of live ones.
    Merge {
        wish: TablesWish,
    },
    TakeBack {
        swap: Swap,
    },
    TakeRowsBack {
        merge: Merge,
    },
    Change {
        work: ChangeWork,
    },
    /// Who looks at the host later finds there that these releases were rolled back, or that they are not any more.
    Remember {
        releases: Vec<String>,
        is_back: bool,
    },
}

/// Why a colour is not stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftAs {
    /// It is down already.
    Down,
    /// Somebody wants it so.
    Kept { why: String },
    /// It should be stopped, and there is no safe way.
    Running { why: String },
}

/// A file's text before and after. Where both are the same the file says already what it should, and only the
/// reload and the proof remain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Behind all links.
    pub path: String,
    /// Files that are changed with it; then the texts are those of all, see [`joined`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    pub before: String,
    pub after: String,
    /// How the container that nginx runs in has it, where it runs in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounted: Option<Mounted>,
}

/// How a container has a file of its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mounted {
    /// Its path there.
    pub inside: String,
    /// It alone is mounted, and not its folder: the container keeps the one that it has, whatever takes its place.
    pub alone: bool,
}

impl FileChange {
    pub fn is_needed(&self) -> bool {
        self.before != self.after
    }

    /// The same the other way round.
    #[must_use]
    pub fn reversed(&self) -> FileChange {
        let FileChange { path, also, before, after, mounted } = self.clone();
        FileChange { path, also, before: after, after: before, mounted }
    }

    /// The unified diff; empty where nothing changes.
    pub fn diff(&self) -> String {
        let changed = self.texts().filter(|(_, (before, after))| before != after);
        changed.map(|(path, texts)| text_diff(path, texts, 3)).collect()
    }

    /// Each file with its texts before and after.
    fn texts(&self) -> impl Iterator<Item = (&str, (&str, &str))> {
        let paths = [&self.path].into_iter().chain(&self.also).map(String::as_str);
        paths.zip(joined::parts(&self.before).zip(joined::parts(&self.after)))
    }
}

/// The unified diff of a file's texts, as it may be shown, with so many lines around what differs.
pub fn text_diff(path: &str, (before, after): (&str, &str), around: usize) -> String {
    let diff = similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(around)
        .header(&format!("{path} (now)"), &format!("{path} (after)"))
        .to_string();
    octets::shown(&diff)
}

/// How it is proven that a balancer serves as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Who shall answer, in words: a colour, or both.
    pub who: String,
    pub pidfile: String,
    pub error_logs: Vec<String>,
    pub access_logs: Vec<String>,
    /// What an answer of the side that gets all traffic has; without it, the old workers must have stopped accepting first.
    pub mark: Option<Mark>,
}

/// What an answer of one colour has and one of the other has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Whose answers have it.
    pub of: Colour,
    pub stands_in: StandsIn,
    pub ours: String,
    /// What stands there in an answer of the other colour: an answer with it is never one of ours.
    pub theirs: String,
}

impl Mark {
    /// Whether an answer is the other colour's, by its lines and its body.
    pub fn is_of_the_other(&self, head: &[String], body: &str) -> bool {
        match self.stands_in {
            StandsIn::Header => head.iter().any(|line| line.eq_ignore_ascii_case(&self.theirs)),
            StandsIn::Body => !self.theirs.is_empty() && body.trim_end_matches('\n') == self.theirs,
        }
    }
}

/// Where a mark is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StandsIn {
    /// A line of the head, as `Name: value`, in any case.
    Header,
    /// The whole body, without the newlines at its end.
    Body,
}

/// What exactly is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// What the config's `run` names, through its supervisor.
    Supervised,
    /// One process, as it was seen.
    Process { pid: u32, started: String, exe: String },
    /// Whatever the config's program listens with when it comes to it: a process that this run started is not there yet.
    Listener,
    /// A session that this run began, by the process that leads it.
    Session { pid: u32, started: String },
}

impl Target {
    /// What of a side is stopped that may not run yet.
    pub fn later(run: &Run) -> Target {
        match run {
            Run::Systemd(_) | Run::Docker(_) | Run::Compose { .. } | Run::Command(_) => Target::Supervised,
            Run::Process { .. } => Target::Listener,
        }
    }
}

/// What must still be true when the step begins. The engine evaluates it, or the step itself does on its host in the same
/// breath as its change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// On the host: the lock is a folder that only one can make.
    NobodyElseHoldsTheLock,
    /// Here, and on the host by the lock's number.
    WeHoldTheLock,
    /// On the host, with the whole text; the plan was made from the one of this digest.
    FileIsUnchanged {
        sha256: String,
    },
    /// Those balancers that can send there are proven where they should be.
    AreShifted {
        reach: Reach,
    },
    /// Nobody needs what is stopped: those balancers that can send there are proven off it, what takes its place answers
    /// now, and nobody is connected to it whom the balancers do not explain.
    NobodyNeedsIt {
        reach: Reach,
    },
    /// Every balancer of the plan is proven where it should be.
    TrafficIsSafe,
    /// The same, and what it left runs nowhere any more.
    FromIsStopped,
    Nothing,
}

/// `--restore-db` or `--restore-tables`, with the dump of `--backup` where one was named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreWish {
    pub backup: Option<RemotePath>,
    /// Of all that the dump has these tables' rows alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<TablesWish>,
}

/// `--restore-tables`, and what may be done to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TablesWish {
    /// As they were typed, with their schema or without.
    pub names: Vec<String>,
    /// Whether rows go that the dump has not.
    pub delete_missing: bool,
    /// Whether columns that only one side has are left out.
    pub common_columns: bool,
    pub fire_triggers: bool,
}

impl TablesWish {
    /// The flags that say so.
    pub fn flags(&self) -> String {
        let more = [
            (self.delete_missing, " --delete-missing"),
            (self.common_columns, " --common-columns"),
            (self.fire_triggers, " --fire-triggers"),
        ];
        let more = more.into_iter().filter_map(|(is_set, flag)| is_set.then_some(flag));
        let names = shell_words::quote(&self.names.join(",")).into_owned();
        format!("--restore-tables {names}{}", more.collect::<String>())
    }
}

/// How the step is taken back, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// By the engine, where what comes later fails.
    Does(Box<Action>),
    /// The same; but it is not the step before that comes back: all traffic goes to whom it came from.
    AllBack(Box<Action>),
    /// The lock is given back at the end, and when this program dies.
    Released,
    /// The copy is dropped, where it does not go live.
    CopyIsDropped,
    /// It ends by itself once one side has all traffic.
    EndsByItself,
    /// By a person: nothing is taken back over their heads.
    ByCommand(String),
    NothingToUndo,
    Impossible(String),
}

/// The fingerprint of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Plan {
    pub fn digest(&self) -> Digest {
        let text = serde_json::to_string(self).expect("a plan is plain data with string keys");
        Digest(sha256(text.as_bytes()))
    }

    pub fn stage(&self, name: StageName) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The stages of a lane, in order.
    pub fn lane(&self, lane: Lane) -> impl Iterator<Item = &Stage> {
        self.stages.iter().filter(move |stage| stage.name.lane() == lane)
    }

    /// The hosts that a stage acts on.
    pub fn hosts_of(&self, name: StageName) -> Vec<HostName> {
        self.stage(name).map(|stage| stage.steps.iter().map(|step| step.host.clone()).collect()).unwrap_or_default()
    }

    /// The stages that move traffic, in order.
    pub fn shifts(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().filter(|stage| stage.name.moves_traffic())
    }

    pub fn moves_traffic(&self) -> bool {
        self.shifts().next().is_some()
    }

    /// What tells the answers of one side from those of the other, behind a balancer that this plan sends to one alone.
    pub fn mark_on(&self, host: &HostName) -> Option<&Mark> {
        let mut steps = self.shifts().flat_map(|stage| &stage.steps).filter(|step| step.host == *host);
        steps.find_map(|step| match &step.action {
            Action::Switch { proof, .. } => proof.mark.as_ref(),
            _ => None,
        })
    }

    /// The files that changes put in the place of others, by host.
    pub fn files_put(&self) -> impl Iterator<Item = (&HostName, &FilePut)> {
        let steps = self.stages.iter().flat_map(|stage| &stage.steps);
        let works = steps.filter_map(|step| Some((&step.host, step.changes()?))).filter(|(_, work)| !work.is_back);
        works.flat_map(|(host, work)| work.files.iter().filter(|file| file.is_needed()).map(move |file| (host, file)))
    }

    /// Whether it is about changes alone.
    pub fn is_of_changes_alone(&self) -> bool {
        !self.changes.is_empty() && !self.moves_traffic()
    }

    /// The nginx files that this plan changes or proves, by host.
    pub fn file_changes(&self) -> impl Iterator<Item = (&HostName, &FileChange)> {
        let steps = self.stages.iter().flat_map(|stage| &stage.steps);
        steps.filter_map(|step| step.switches().map(|change| (&step.host, change)))
    }
}

impl Stage {
    pub fn is_on(&self, host: &HostName) -> bool {
        self.on(host).is_some()
    }

    /// Its step on that host.
    pub fn on(&self, host: &HostName) -> Option<&Step> {
        self.steps.iter().find(|step| step.host == *host)
    }
}

impl Step {
    /// The side that it starts.
    pub fn starts(&self) -> Option<Side> {
        if let Action::Start { side } = self.action { Some(side) } else { None }
    }

    /// The file that it changes and proves.
    pub fn switches(&self) -> Option<&FileChange> {
        if let Action::Switch { change, .. } = &self.action { Some(change) } else { None }
    }

    /// The change that it makes, or takes back.
    pub fn changes(&self) -> Option<&ChangeWork> {
        if let Action::Change { work } = &self.action { Some(work) } else { None }
    }

    /// The wish for a dump that it loads.
    pub fn loads(&self) -> Option<&RestoreWish> {
        if let Action::Load { wish } = &self.action { Some(wish) } else { None }
    }

    /// Whether it changes a host.
    pub fn is_a_change(&self) -> bool {
        match self.action {
            Action::Lock { .. }
            | Action::Start { .. }
            | Action::Arm { .. }
            | Action::Switch { .. }
            | Action::Stop { .. }
            | Action::Load { .. }
            | Action::Swap
            | Action::Merge { .. }
            | Action::TakeBack { .. }
            | Action::TakeRowsBack { .. }
            | Action::Change { .. }
            | Action::Remember { .. } => true,
            Action::Drain | Action::Leave { .. } | Action::Verify { .. } => false,
        }
    }
}
