//! What is asked of a host for the folder: logs, the journal, a picture of the host. Only asks.

use std::time::Duration;

use crate::hosts::program::{Arguments, Question, RunWords, Script, program, script};
use crate::nouns::inventory::{Inventory, Run};
use crate::nouns::names::{RemotePath, UnitName};

const PICTURE: Script = script!("picture");
const ARCHIVE: Script = script!("archive");
const JOURNAL: Script = script!("journal");
pub const SCRIPTS: &[Script] = &[PICTURE, ARCHIVE, JOURNAL];

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
        Run::Systemd(_) | Run::Process { .. } => return None,
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
