//! Writes down on a balancer which releases were taken out of traffic, for whoever looks there later; the undo of that
//! run writes down that they are not any more. It is no part of the proof: where there is no room for it, that is said.

use std::time::Duration;

use super::context::{Context, Outcome};
use crate::hosts::answer::Answer;
use crate::hosts::program::{Arguments, Change, Script, Tenure, program, script};
use crate::hosts::remote::Apply;
use crate::nouns::inventory::Inventory;
use crate::nouns::names::HostName;
use crate::nouns::record::Status;

pub(super) const REMEMBER: Script = script!("remember");

const LIMIT: Duration = Duration::from_secs(20);

/// `when`: seconds since 1970, by the clock of whoever rolls back.
pub fn remember(inventory: &Inventory, tenure: &Tenure, releases: &[String], is_back: bool, when: i64) -> Change {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", inventory.word_on_hosts());
    arguments.tenure(tenure);
    arguments.set("run", &tenure.run);
    arguments.set("when", when);
    if is_back {
        arguments.set("back", "yes");
    }
    for release in releases {
        arguments.set("release", release);
    }
    Change(program(REMEMBER, arguments, LIMIT))
}

pub async fn run<F: Apply>(run: &Context<'_, F>, host: &HostName, releases: &[String], is_back: bool) -> Outcome {
    let when = run.journal.clock().now().timestamp();
    let program = remember(run.inventory, &run.tenure_on(host), releases, is_back, when);
    let status = run.fleet.apply(host, &program).await.map(|answer: Answer| answer.status);
    let what = releases.join(", ");
    let now = if is_back { "is not rolled back any more" } else { "was rolled back" };
    match status {
        Ok(0) => Outcome::done(format!("remembered there: {what} {now}")),
        Ok(93) => {
            Outcome::new(Status::Skipped, format!("another run took the lock; not remembered there: {what} {now}"))
        }
        Ok(_) => Outcome::new(Status::Skipped, format!("there is no room to remember there that {what} {now}")),
        Err(failure) => Outcome::new(Status::Skipped, format!("not remembered there: {failure}")),
    }
}
