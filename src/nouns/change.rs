//! What else a release changes besides traffic, as the config says how to take it back; and what is run beside the steps of
//! a run. No I/O: who carries them out is [`crate::steps`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nouns::colour::Colour;
use crate::nouns::names::{ChangeName, HostName, RemotePath};
use crate::nouns::secret::Secret;

/// How this machine is called where a host's name would stand.
pub const HERE: &str = "here";

/// `[change.NAME]`: files that are put back, something that is started again, words that are run.
#[derive(Debug, Clone)]
pub struct NamedChange {
    pub name: ChangeName,
    pub manner: Manner,
    pub files: Vec<PutBack>,
    /// Started again, or where it is down started, and proven, once the files and the words are done.
    pub restart: Option<Colour>,
    /// Words that make the change; empty where files and a restart are all of it.
    pub run: Vec<String>,
    /// Words that take it back; empty where there is no way.
    pub undo: Vec<String>,
    /// Whether both are run as root, where we are not.
    pub as_root: bool,
    /// Words that end with 0 where it is in force; empty where nothing tells.
    pub check: Vec<String>,
    /// What `run` and `undo` come to, where their words are none of the operator's own.
    pub called: Option<[String; 2]>,
}

/// A file, and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    pub put: Put,
    pub into: RemotePath,
}

/// What takes a file's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Put {
    /// Another file's text; that file stays where it is.
    File(RemotePath),
    /// Its own text, with this value of a variable.
    Variable { name: String, value: String },
    /// A link that points there, where there is a link now.
    Link(String),
}

/// As hosts are told it, and as it stands in journals: a path, `=NAME=VALUE`, `@TARGET`.
impl From<Put> for String {
    fn from(put: Put) -> String {
        match put {
            Put::File(path) => path.to_string(),
            Put::Variable { name, value } => format!("={name}={value}"),
            Put::Link(target) => format!("@{target}"),
        }
    }
}

impl TryFrom<String> for Put {
    type Error = String;

    fn try_from(text: String) -> Result<Put, String> {
        if let Some(target) = text.strip_prefix('@') {
            return Ok(Put::Link(target.to_owned()));
        }
        match text.strip_prefix('=').map(|line| line.split_once('=')) {
            Some(Some((name, value))) => Ok(Put::Variable { name: name.to_owned(), value: value.to_owned() }),
            Some(None) => Err(format!("{text:?} sets no variable")),
            None => RemotePath::new(text).map(Put::File).map_err(|err| err.to_string()),
        }
    }
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Put::File(path) => path.fmt(f),
            Put::Variable { name, value } => write!(f, "{name}={value}"),
            Put::Link(target) => f.write_str(target),
        }
    }
}

/// Where words are run, and how.
#[derive(Debug, Clone)]
pub struct Manner {
    pub on: ChangePlace,
    /// The roles and hosts by whose names that was said.
    pub named_by: Vec<String>,
    /// The folder; `None` is the account's own on a host, and the config's here.
    pub cwd: Option<String>,
    pub env: Vec<EnvVar>,
    /// After so long they are ended.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangePlace {
    /// On this machine.
    Here,
    /// In the order of the config.
    On(Vec<HostName>),
}

/// A variable that words get, and no command line.
#[derive(Debug, Clone)]
pub struct EnvVar {
    pub name: String,
    /// Why it has none: the variable of ours that it comes from is not set.
    pub value: Result<Secret, String>,
    /// It came from a variable: nobody prints it.
    pub is_hidden: bool,
}

/// `[[hook]]`: words that are run beside a step.
#[derive(Debug, Clone)]
pub struct Hook {
    pub at: HookAt,
    pub manner: Manner,
    pub run: Vec<String>,
    /// How it is shown: its words, or the name of the variable that it comes from, where secrets may stand.
    pub called: String,
    /// Where it fails nothing new begins.
    pub is_required: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookAt {
    Before(HookPhase),
    After(HookPhase),
    OnFailure,
}

/// What a hook goes before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPhase {
    Observe,
    Lock,
    Switch,
    Drain,
    Stop,
    Verify,
    Restore,
    Report,
}

impl HookPhase {
    pub const ALL: [(&'static str, HookPhase); 8] = [
        ("observe", HookPhase::Observe),
        ("lock", HookPhase::Lock),
        ("switch", HookPhase::Switch),
        ("drain", HookPhase::Drain),
        ("stop", HookPhase::Stop),
        ("verify", HookPhase::Verify),
        ("restore", HookPhase::Restore),
        ("report", HookPhase::Report),
    ];
}

impl HookAt {
    /// Whether no host can be asked then, or none should be waited for any more.
    pub fn is_of_this_machine(self) -> bool {
        matches!(
            self,
            HookAt::Before(HookPhase::Observe | HookPhase::Report)
                | HookAt::After(HookPhase::Observe | HookPhase::Report)
        )
    }
}

impl fmt::Display for HookAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (when, of) = match self {
            HookAt::OnFailure => return f.write_str("on failure"),
            HookAt::Before(phase) => ("before", phase),
            HookAt::After(phase) => ("after", phase),
        };
        let name = HookPhase::ALL.iter().find(|(_, phase)| phase == of).map_or("", |(name, _)| name);
        write!(f, "{when} {name}")
    }
}

impl EnvVar {
    /// What must be kept out of all text.
    pub fn hidden(&self) -> Option<&Secret> {
        self.value.as_ref().ok().filter(|_| self.is_hidden)
    }
}

impl Manner {
    /// The timeout as hosts count it: in whole seconds.
    pub fn seconds(&self) -> u64 {
        self.timeout.as_secs().max(1)
    }

    /// The variables that have no value, each with its reason.
    pub fn unset(&self) -> impl Iterator<Item = &str> {
        self.env.iter().filter_map(|variable| variable.value.as_ref().err().map(String::as_str))
    }
}

impl ChangePlace {
    /// The hosts, or this machine as if it were one.
    pub fn hosts(&self) -> Vec<HostName> {
        match self {
            ChangePlace::Here => vec![here()],
            ChangePlace::On(hosts) => hosts.clone(),
        }
    }
}

/// This machine, where a host's name stands. No host of a config is called so.
pub fn here() -> HostName {
    HostName::new(HERE).expect("a plain word")
}

pub fn is_here(host: &HostName) -> bool {
    host.as_str() == HERE
}

/// What is done on a host to make a change, or to take it back: data that a later run can turn round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeWork {
    pub name: ChangeName,
    /// Whether it is taken back.
    pub is_back: bool,
    pub files: Vec<FilePut>,
    /// Words that do it, and words that do the opposite; either may be empty.
    pub words: Vec<String>,
    pub opposite: Vec<String>,
    /// Whether both are run as root, where we are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_root: bool,
    /// Words that must end with 0 once it is made; they say nothing of one that is taken back.
    pub check: Vec<String>,
    /// What is started again afterwards.
    pub restart: Option<Colour>,
    /// What the words and their opposite come to, where they are none of the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<[String; 2]>,
}

/// What takes a file's place on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePut {
    pub put: Put,
    /// What is replaced, behind all links.
    pub into: String,
    pub put_sha256: String,
    /// `None` where there was no such file.
    pub into_sha256: Option<String>,
    /// What changes by that, without secrets.
    pub diff: String,
}

impl FilePut {
    /// As it was asked for.
    pub fn asked(&self) -> Option<PutBack> {
        Some(PutBack { put: self.put.clone(), into: RemotePath::new(&self.into).ok()? })
    }

    pub fn is_needed(&self) -> bool {
        self.into_sha256.as_ref() != Some(&self.put_sha256)
    }
}

impl ChangeWork {
    /// The same the other way round.
    #[must_use]
    pub fn reversed(&self) -> ChangeWork {
        ChangeWork {
            is_back: !self.is_back,
            words: self.opposite.clone(),
            opposite: self.words.clone(),
            called: self.called.clone().map(|[forth, back]| [back, forth]),
            ..self.clone()
        }
    }

    /// What it comes to, for people.
    pub fn words(&self) -> String {
        let quoted = |words: &[String]| format!("`{}`", shell_words::join(words));
        let needed = self.files.iter().filter(|file| file.is_needed());
        let files = needed.map(|file| match (self.is_back, &file.into_sha256) {
            (false, _) => match &file.put {
                Put::File(path) => format!("put {path} in the place of {}", file.into),
                put @ Put::Variable { .. } => format!("set {put} in {}", file.into),
                Put::Link(target) => format!("point {} at {target}", file.into),
            },
            (true, Some(_)) => format!("put back what {} was", file.into),
            (true, None) => format!("remove {}", file.into),
        });
        let run = (!self.words.is_empty()).then(|| match &self.called {
            Some([called, _]) => called.clone(),
            None => format!("run {}", quoted(&self.words)),
        });
        // What was run last is taken back first.
        let mut parts: Vec<String> = match self.is_back {
            false => files.chain(run).collect(),
            true => run.into_iter().chain(files).collect(),
        };
        parts.extend(self.restart.map(|colour| format!("start {colour} again and prove it")));
        if !self.check.is_empty() && !self.is_back && self.called.is_none() {
            parts.push(format!("then {} must say yes", quoted(&self.check)));
        }
        parts.join("; ")
    }

    /// What was done, for people.
    pub fn done_words(&self) -> String {
        let needed = self.files.iter().filter(|file| file.is_needed());
        let mut parts: Vec<String> = needed
            .map(|file| match (self.is_back, &file.into_sha256) {
                (false, _) => format!("{} replaced", file.into),
                (true, Some(_)) => format!("{} is what it was", file.into),
                (true, None) => format!("{} removed", file.into),
            })
            .collect();
        parts.extend(self.words.first().map(|program| match &self.called {
            Some([called, _]) => format!("{called}: done"),
            None => format!("{program} ran"),
        }));
        parts.extend(self.restart.map(|colour| format!("{colour} started again and proven")));
        if !self.check.is_empty() && !self.is_back {
            parts.push("in force".to_owned());
        }
        parts.join("; ")
    }
}
