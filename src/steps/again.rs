//! An answer was lost. The step runs on without us, on its own host: its result is fetched there, or what is true is read
//! again. What was lost is never taken for what failed. Makes no change of its own.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::context::Context;
use super::observe;
use crate::hosts::answer::{Answer, Failure};
use crate::hosts::facts::Seen;
use crate::hosts::job;
use crate::hosts::program::Change;
use crate::hosts::remote::{Apply, Ask};
use crate::nouns::names::HostName;

/// A host that is asked again after a lost answer gets this long to come back before it counts as unknown.
const LOOK_AGAIN: Duration = Duration::from_secs(40);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What there is of a step whose answer was lost.
pub enum Fetched {
    Answer(Answer),
    /// The host is back and knows no such step: it never began there, or its answer was fetched already.
    NoSuchStep,
    /// The host has not come back.
    Nothing,
}

/// Sends a change; once more only where it certainly was not sent before.
///
/// # Errors
/// Those of the second try, where there was one.
pub async fn apply<F: Apply>(run: &Context<'_, F>, host: &HostName, change: &Change) -> Result<Answer, Failure> {
    match run.fleet.apply(host, change).await {
        Err(Failure::NotSent { .. }) => run.fleet.apply(host, change).await,
        other => other,
    }
}

/// Fetches the result of a step by its name on the host; `limit` is what the step itself may still take.
pub async fn result<F: Ask>(run: &Context<'_, F>, host: &HostName, step: &str, limit: Duration) -> Fetched {
    let until = Instant::now() + LOOK_AGAIN.max(limit);
    let question = job::job(run.inventory, &run.plan.id, step, limit);
    while Instant::now() < until && run.interrupted() < 2 {
        match run.fleet.ask(host, &question).await {
            Ok(answer) if answer.status == job::NO_SUCH_STEP => return Fetched::NoSuchStep,
            Ok(answer) => return Fetched::Answer(answer),
            Err(_) => sleep(PAUSE).await,
        }
    }
    Fetched::Nothing
}

/// Everything that is true of a host now, where it can be asked.
pub async fn facts<F: Ask>(run: &Context<'_, F>, host: &HostName) -> Option<Seen> {
    let host = run.inventory.host(host)?;
    let facts = observe::ask_facts(run.fleet, run.inventory, run.plan.direction, host, run.journal.clock()).await;
    facts.seen.ok()
}
