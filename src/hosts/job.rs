//! What became of a step whose answer was lost.

use std::time::Duration;

use super::program::{Arguments, Question, Script, program, script};
use crate::nouns::inventory::Inventory;
use crate::nouns::names::IncidentId;

const JOB: Script = script!("job");

/// What `job.sh` ends with where the host knows no step of that name.
pub const NO_SUCH_STEP: i32 = 92;
pub const SCRIPTS: &[Script] = &[JOB];

/// The result of a step whose answer was lost.
pub fn job(inventory: &Inventory, run: &IncidentId, step: &str, limit: Duration) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", inventory.word_on_hosts());
    arguments.set("job", format!("{run}.{step}"));
    arguments.set("limit", limit.as_secs());
    Question(program(JOB, arguments, limit + Duration::from_secs(10)))
}
