//! The lock on a balancer, and the candidate that is tested in the same breath.

use std::time::Duration;

use crate::hosts::program::{Arguments, Change, LIB, Question, Script, Tenure, UNIT, program, script};
use crate::nouns::inventory::Inventory;
use crate::nouns::plan::FileChange;

const CANDIDATE: &str = include_str!("../../scripts/remote/candidate.sh");
pub(super) const PREPARE: Script = script!("prepare", LIB, CANDIDATE);
pub(super) const TEST: Script = script!("test", LIB, CANDIDATE);

/// Tests a candidate and leaves nothing.
pub fn test_candidate(inventory: &Inventory, change: &FileChange) -> Question {
    let mut arguments = Arguments::new(inventory);
    candidate(&mut arguments, inventory, change);
    Question(program(TEST, arguments, Duration::from_secs(30)))
}

/// Takes the lock, and tests the candidate where there is one.
pub fn prepare(inventory: &Inventory, tenure: &Tenure, change: Option<&FileChange>) -> Change {
    let mut arguments = Arguments::new(inventory);
    arguments.tenure(inventory, tenure);
    arguments.set("take_over", if tenure.takes_over { "yes" } else { "no" });
    if let Some(change) = change.filter(|change| change.is_needed()) {
        candidate(&mut arguments, inventory, change);
    }
    Change(program(PREPARE, arguments, Duration::from_secs(30)))
}

fn candidate(arguments: &mut Arguments, inventory: &Inventory, change: &FileChange) {
    arguments.set("live", &change.path);
    arguments.set("test", inventory.nginx.test.join(UNIT));
    arguments.set("text", &change.after);
}
