//! What is asked of a host for the folder: logs, the journal, a picture of the host. Only asks.

use std::time::Duration;

use crate::hosts::program::{Arguments, LIB, NGINX, Question, RunWords, Script, program, script};
use crate::nouns::inventory::{Inventory, Run};
use crate::nouns::names::{RemotePath, UnitName};

const PICTURE: Script = script!("picture");
const ARCHIVE: Script = script!("archive", LIB, NGINX);
const JOURNAL: Script = script!("journal");
pub const SCRIPTS: &[Script] = &[PICTURE, ARCHIVE, JOURNAL];

/// What `archive.sh` ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    Whole,
    Missing,
    Unreadable,
    /// It is no file, and was not opened.
    Is(&'static str),
    Strays,
    NotTheirs,
    Changed,
    WithoutRotated,
    /// A status that the script does not know: that of a program in it.
    Failed(i32),
}

impl Archived {
    pub fn of(status: i32) -> Archived {
        match status {
            0 => Archived::Whole,
            50 => Archived::Missing,
            51 => Archived::Unreadable,
            53 => Archived::Is("a FIFO"),
            54 => Archived::Is("a device"),
            55 => Archived::Is("a folder"),
            56 => Archived::Is("a socket"),
            57 => Archived::Strays,
            58 => Archived::NotTheirs,
            59 => Archived::Changed,
            60 => Archived::WithoutRotated,
            other => Archived::Failed(other),
        }
    }

    /// Why something is missing; nothing where nothing is.
    pub fn gap(self) -> Option<String> {
        let words = match self {
            Archived::Whole => return None,
            Archived::Missing => "there is no such file on that host",
            Archived::Unreadable => "it may not be read there",
            Archived::Is(kind) => return Some(format!("it is {kind} and no file, so it was not opened")),
            Archived::Strays => "it is a link out of its folder, which was not followed",
            Archived::NotTheirs => {
                "who may write to its folder could have put it there, and may not read it himself, so it was not read for him"
            }
            Archived::Changed => "it became another while it was opened, so it was not read",
            Archived::WithoutRotated => "the rotated part before it may not be read there, or is no file",
            Archived::Failed(status) => return Some(format!("compressing it ended with {status}")),
        };
        Some(words.to_owned())
    }
}

/// The host as it is, while green still runs.
pub fn picture(inventory: &Inventory, pids: &[u32]) -> Question {
    let mut arguments = Arguments::new(inventory);
    for pid in pids {
        arguments.set("pid", pid);
    }
    Question(program(PICTURE, arguments, Duration::from_secs(20)))
}

/// A log's newest part, compressed, as a stream.
pub fn archive(inventory: &Inventory, file: &RemotePath) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("file", file);
    arguments.set("max", inventory.evidence.max_bytes);
    Question(program(ARCHIVE, arguments, inventory.evidence.timeout))
}

/// The same of a log of nginx; see `nginx.sh`.
pub fn archive_nginx(inventory: &Inventory, log: &str) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.container(&inventory.nginx);
    arguments.set("file", log);
    arguments.set("max", inventory.evidence.max_bytes);
    Question(program(ARCHIVE, arguments, inventory.evidence.timeout))
}

/// The same of what docker keeps of a container's output; `None` for what is no container.
pub fn archive_container(inventory: &Inventory, run: &Run) -> Option<Question> {
    let mut arguments = Arguments::new(inventory);
    let words = RunWords::of(run);
    match run {
        Run::Docker(name) => arguments.set("container", name),
        Run::Compose { .. } => {
            arguments.set("compose", words.name);
            arguments.set("file", words.file);
            arguments.set("project", words.project);
        }
        Run::Systemd(_) | Run::Process { .. } | Run::Command(_) => return None,
    }
    arguments.set("max", inventory.evidence.max_bytes);
    Some(Question(program(ARCHIVE, arguments, inventory.evidence.timeout)))
}

/// The journal of units since a time of the host's clock.
pub fn journal(inventory: &Inventory, since_unix: i64, units: &[UnitName]) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("since", since_unix);
    for unit in units {
        arguments.set("unit", unit);
    }
    arguments.set("max", inventory.evidence.max_bytes.min(64 << 20));
    Question(program(JOURNAL, arguments, inventory.evidence.timeout))
}
