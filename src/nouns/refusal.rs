//! Reasons not to begin, and the short name of each kind of them: what `explain` and the book call it. The words of one say
//! what is so on this host; what the kind means, and what is to be done about it, stands under its name in `docs/refusals.md`.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::names::HostName;

/// A reason not to begin. Nothing was changed when one is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub name: RefusalName,
    pub host: Option<HostName>,
    pub why: String,
    /// The command to type.
    pub hint: Option<String>,
    /// Whether `--force` goes on past it.
    pub can_be_forced: bool,
}

impl Refusal {
    /// One that nothing goes past, of no host in particular.
    pub fn new(name: RefusalName, why: impl Into<String>) -> Refusal {
        Refusal { name, host: None, why: why.into(), hint: None, can_be_forced: false }
    }

    /// Several of a kind; what to type stands behind the last one.
    pub fn all_of(name: RefusalName, whys: Vec<String>, hint: Option<String>) -> Vec<Refusal> {
        let mut all: Vec<Refusal> = whys.into_iter().map(|why| Refusal::new(name, why)).collect();
        if let Some(last) = all.last_mut() {
            last.hint = hint;
        }
        all
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}: ")?;
        }
        f.write_str(&self.why)?;
        if self.can_be_forced {
            f.write_str(" (--force goes on past this)")?;
        }
        Ok(())
    }
}

macro_rules! refusal_names {
    ($($variant:ident = $name:literal,)*) => {
        /// The kind of a refusal, as it is typed: `E-BLUE-SAME`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
        pub enum RefusalName {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl RefusalName {
            /// In the order of the book.
            pub const ALL: &[RefusalName] = &[$(RefusalName::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(RefusalName::$variant => $name,)*
                }
            }
        }
    };
}

refusal_names! {
    // What was typed, and what is here.
    Flags = "E-FLAGS",
    Config = "E-CONFIG",
    Ssh = "E-SSH",
    IncidentFolder = "E-INCIDENT-FOLDER",
    IncidentUnknown = "E-INCIDENT-UNKNOWN",
    Ticket = "E-TICKET",
    UndoNothing = "E-UNDO-NOTHING",
    DrillProd = "E-DRILL-PROD",
    DrillUndated = "E-DRILL-UNDATED",
    Init = "E-INIT",
    Mistake = "E-MISTAKE",
    // Hosts, and who may do what there.
    HostUnreached = "E-HOST-UNREACHED",
    HostTools = "E-HOST-TOOLS",
    Sudo = "E-SUDO",
    LockHeld = "E-LOCK-HELD",
    StepAtWork = "E-STEP-AT-WORK",
    DiskFull = "E-DISK-FULL",
    // nginx and its file.
    NoBalancer = "E-NO-BALANCER",
    NginxDown = "E-NGINX-DOWN",
    NginxTest = "E-NGINX-TEST",
    NginxRefuses = "E-NGINX-REFUSES",
    FileUnknown = "E-FILE-UNKNOWN",
    FileUnread = "E-FILE-UNREAD",
    FileText = "E-FILE-TEXT",
    FileLayout = "E-FILE-LAYOUT",
    FileStranger = "E-FILE-STRANGER",
    FileException = "E-FILE-EXCEPTION",
    FileBefore = "E-FILE-BEFORE",
    ProbeFails = "E-PROBE-FAILS",
    ProbeNginx = "E-PROBE-NGINX",
    Certificate = "E-CERTIFICATE",
    // The two sides.
    BlueSame = "E-BLUE-SAME",
    BlueIll = "E-BLUE-ILL",
    BlueMissing = "E-BLUE-MISSING",
    BlueNoStart = "E-BLUE-NO-START",
    BluePort = "E-BLUE-PORT",
    BlueUnknown = "E-BLUE-UNKNOWN",
    BlueEndsToo = "E-BLUE-ENDS-TOO",
    ServicesOneRun = "E-SERVICES-ONE-RUN",
    // Releases.
    ReleaseDiffers = "E-RELEASE-DIFFERS",
    ReleaseUnknown = "E-RELEASE-UNKNOWN",
    ReleaseNotKept = "E-RELEASE-NOT-KEPT",
    ReleaseServes = "E-RELEASE-SERVES",
    ReleaseRolledBack = "E-RELEASE-ROLLED-BACK",
    // Shares, and their judgement.
    ShareThere = "E-SHARE-THERE",
    ShareImpossible = "E-SHARE-IMPOSSIBLE",
    ShareUnseen = "E-SHARE-UNSEEN",
    ShareOneSide = "E-SHARE-ONE-SIDE",
    HoldShort = "E-HOLD-SHORT",
    NothingToJudge = "E-NOTHING-TO-JUDGE",
    // What else a release changed.
    Hook = "E-HOOK",
    VariableUnset = "E-VARIABLE-UNSET",
    ChangeHosts = "E-CHANGE-HOSTS",
    ChangeUnknown = "E-CHANGE-UNKNOWN",
    ChangeFile = "E-CHANGE-FILE",
    ChangeTwice = "E-CHANGE-TWICE",
    ChangeRestart = "E-CHANGE-RESTART",
    ChangeGone = "E-CHANGE-GONE",
    ChangeStays = "E-CHANGE-STAYS",
    MigrationUnknown = "E-MIGRATION-UNKNOWN",
    MigrationDown = "E-MIGRATION-DOWN",
    // The database.
    DatabaseNone = "E-DATABASE-NONE",
    DatabaseUnreached = "E-DATABASE-UNREACHED",
    DatabaseSeveral = "E-DATABASE-SEVERAL",
    DatabaseStandby = "E-DATABASE-STANDBY",
    DatabaseRights = "E-DATABASE-RIGHTS",
    DatabaseHeld = "E-DATABASE-HELD",
    DatabaseAsleep = "E-DATABASE-ASLEEP",
    DumpNone = "E-DUMP-NONE",
    DumpUnread = "E-DUMP-UNREAD",
    DumpGrowing = "E-DUMP-GROWING",
    DumpBroken = "E-DUMP-BROKEN",
    DumpCluster = "E-DUMP-CLUSTER",
    DumpCommands = "E-DUMP-COMMANDS",
    DumpVersion = "E-DUMP-VERSION",
    DumpRoles = "E-DUMP-ROLES",
    DumpForeign = "E-DUMP-FOREIGN",
    DumpPart = "E-DUMP-PART",
    DumpRoom = "E-DUMP-ROOM",
    DumpNewer = "E-DUMP-NEWER",
    TableUnknown = "E-TABLE-UNKNOWN",
    TableKind = "E-TABLE-KIND",
    TableShape = "E-TABLE-SHAPE",
    TableKey = "E-TABLE-KEY",
}

impl fmt::Display for RefusalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
