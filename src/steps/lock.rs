//! The lock on a host, and the candidate that is tested in the same breath. Undone by giving it back.
//!
//! `prepare.sh` takes it; it lives as long as the channel that took it. It is never the reason that a rollback cannot
//! start: only another live run is.

use std::time::Duration;

use super::context::{Context, Outcome};
use crate::hosts::answer::Answer;
use crate::hosts::program::{Arguments, Change, LIB, LOCK, NGINX, Question, Script, Tenure, UNIT, program, script};
use crate::hosts::remote::Apply;
use crate::nginx::not_found;
use crate::nouns::inventory::{Inventory, Layout};
use crate::nouns::names::HostName;
use crate::nouns::plan::{FileChange, Plan, StageName, Step};
use crate::nouns::record::{Balancer, Status, What};
use crate::nouns::share::Share;
use crate::nouns::side::Side;

const CANDIDATE: &str = include_str!("../../scripts/remote/candidate.sh");
pub(super) const PREPARE: Script = script!("prepare", LIB, NGINX, CANDIDATE, LOCK);
pub(super) const TEST: Script = script!("test", LIB, NGINX, CANDIDATE);

/// Tests a candidate and leaves nothing.
pub fn test_candidate(inventory: &Inventory, change: &FileChange) -> Question {
    let mut arguments = Arguments::new(inventory);
    candidate(&mut arguments, inventory, change);
    Question(program(TEST, arguments, Duration::from_secs(30)))
}

/// Takes the lock, and tests the candidate where there is one.
pub fn prepare(inventory: &Inventory, tenure: &Tenure, change: Option<&FileChange>) -> Change {
    let mut arguments = Arguments::new(inventory);
    for service in &tenure.services {
        arguments.set("service", service);
    }
    arguments.set("holder", &tenure.holder);
    arguments.set("take_over", tenure.takes_over.word());
    if let Some(number) = tenure.number {
        arguments.set("held_before", number);
    }
    if let Some(change) = change.filter(|change| change.is_needed()) {
        candidate(&mut arguments, inventory, change);
    }
    Change(program(PREPARE, arguments, Duration::from_secs(30)))
}

fn candidate(arguments: &mut Arguments, inventory: &Inventory, change: &FileChange) {
    arguments.container(&inventory.nginx);
    arguments.files(change);
    arguments.set("test", inventory.nginx.test.join(UNIT));
    match inventory.nginx.layout {
        // Tested is what it points at, in the place of what it points at now.
        Layout::Link(_) => arguments.set("source", inventory.nginx.beside(&change.after)),
        Layout::Weights { .. } | Layout::Word { .. } | Layout::Copy(_) | Layout::NotSaid => {
            arguments.set("text", &change.after)
        }
    }
}

/// Takes it, for as long as the run lasts. Where another service of the run has it, only the candidate is left to test.
pub async fn run<F: Apply>(run: &Context<'_, F>, step: &Step, change: Option<&FileChange>) -> Outcome {
    let _nobody_else = run.locks.taking(&step.host).await;
    if run.locks.is_held(&step.host) {
        return under_it(run, step, change).await;
    }
    match run.fleet.hold(&step.host, &prepare(run.inventory, &run.tenure, change)).await {
        Ok((answer, held)) => {
            let (outcome, is_held) = outcome(run, step, &answer);
            if is_held {
                run.locks.hold(&step.host, held);
            }
            outcome
        }
        Err(failure) => lost(run, step, failure.to_string()),
    }
}

/// The candidate alone, under a lock that this run has already.
async fn under_it<F: Apply>(run: &Context<'_, F>, step: &Step, change: Option<&FileChange>) -> Outcome {
    let Some(change) = change.filter(|change| change.is_needed()) else { return Outcome::done("held already") };
    match run.fleet.ask(&step.host, &test_candidate(run.inventory, change)).await {
        Ok(answer) => match tested(run, step, &answer) {
            Ok(details) => Outcome::done(details.map_or("held already".to_owned(), |of| format!("held already, {of}"))),
            Err(why) => Outcome::failed(why),
        },
        Err(failure) => lost(run, step, failure.to_string()),
    }
}

/// A host that is gone by now is not switched, and does not keep the others from it.
fn lost<F>(run: &Context<'_, F>, step: &Step, why: String) -> Outcome {
    let outcome = Outcome::unknown(why);
    let is_switched = run.plan.shifts().any(|stage| stage.is_on(&step.host));
    let unknown = What::Balancer { host: step.host.clone(), state: Balancer::Unknown, share: Share::ALL };
    if is_switched { outcome.then(unknown) } else { outcome }
}

/// Takes it once more where its line has died: for as long as that is gone the host hears nothing of us. Where another run
/// had it meanwhile, the run stops. Whether it is ours again.
pub async fn take_again<F: Apply>(run: &Context<'_, F>, step: &Step) -> bool {
    let host = &step.host;
    match run.fleet.hold(host, &prepare(run.inventory, &run.tenure_again(host), None)).await {
        Ok((answer, held)) => {
            let (outcome, is_held) = outcome(run, step, &answer);
            match outcome.status {
                Status::Failed => run.stop(format!("{host}: {}; this one stops here", outcome.detail)),
                _ if is_held => run.locks.hold(host, held),
                _ => {}
            }
            is_held
        }
        Err(_) => {
            // It is tried again.
            run.locks.miss(host);
            false
        }
    }
}

/// Whether nginx refuses a candidate for no other reason than that it does not find a server which is started before the
/// switch: who is in a network of containers is found while he runs.
pub fn is_to_be_started(inventory: &Inventory, plan: &Plan, host: &HostName, said: &str) -> bool {
    let is_started = plan.stage(StageName::Start).is_some_and(|stage| stage.is_on(host));
    is_started && not_found(said, &inventory.app(plan.direction.colour(Side::To)).servers).is_some()
}

/// What `prepare.sh` said, and whether the lock is ours now.
fn outcome<F>(run: &Context<'_, F>, step: &Step, answer: &Answer) -> (Outcome, bool) {
    let said = answer.text("lock").unwrap_or_default();
    let (verdict, about) = said.split_once(' ').unwrap_or((&said, ""));
    if verdict == "busy" {
        return (Outcome::failed(format!("another run holds the lock: {about}")), false);
    }
    if let Some(number) = answer.text("number").and_then(|number| number.trim().parse().ok()) {
        run.locks.remember_number(&step.host, number);
    }
    for note in answer.all("note") {
        run.journal.note(format!("{}: {note}", step.host));
    }
    let mut details = Vec::new();
    let mut is_held = true;
    match verdict {
        "held" => {}
        "stale" => details.push(format!("stale lock taken over from {about}")),
        "taken" => details.push(format!("lock taken over from the live run of {about}")),
        _ => {
            run.journal.note(format!("{}: no lock: {about}", step.host));
            details.push("without a lock".to_owned());
            is_held = false;
        }
    }
    match tested(run, step, answer) {
        Ok(tested) => details.extend(tested),
        Err(why) => return (Outcome::failed(why), false),
    }
    (Outcome::done(details.join(", ")), is_held)
}

/// What nginx said of the candidate, where one was tested.
///
/// # Errors
/// Why it refuses it.
fn tested<F>(run: &Context<'_, F>, step: &Step, answer: &Answer) -> Result<Option<String>, String> {
    let said = answer.text("candidate").unwrap_or_default();
    match answer.status_of("candidate") {
        Some(1) if is_to_be_started(run.inventory, run.plan, &step.host, &said) => {
            let to = run.colour(Side::To);
            run.journal.note(format!("{}: candidate not tested beforehand: nginx finds {to} once it runs", step.host));
            Ok(None)
        }
        Some(1) => Err(format!("nginx refuses the new file: {}", answer.worst_line("candidate"))),
        Some(0) => Ok(Some("candidate accepted".to_owned())),
        Some(_) => {
            let why = answer.worst_line("candidate");
            run.journal.note(format!("{}: candidate not tested beforehand: {why}", step.host));
            Ok(None)
        }
        None => Ok(None),
    }
}
