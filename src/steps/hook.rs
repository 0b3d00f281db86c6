//! Runs the config's hooks, here and on hosts. One that fails, hangs or prints without end changes nothing else; where it is
//! required nothing new begins after it. Undone by nobody: what it did is its own.

use futures_util::future::join_all;

use super::about::AboutRun;
use super::change::{self, WorkEnded, WorkOnHost};
use super::context::Context;
use crate::hosts::answer::Answer;
use crate::hosts::facts::{Facts, HookSeen};
use crate::hosts::remote::{Apply, Ask};
use crate::incident::journal::Journal;
use crate::nouns::change::{self as nouns, ChangePlace, Hook, HookAt};
use crate::nouns::inventory::Inventory;
use crate::nouns::names::HostName;
use crate::nouns::record::{Status, StepWord, What};
use crate::nouns::redact::Redactor;

/// Hooks that need no host: what they are run with.
pub struct HooksHere<'b> {
    pub inventory: &'b Inventory,
    pub journal: &'b Journal<'b>,
    pub redactor: &'b Redactor,
    pub about: AboutRun,
}

impl HooksHere<'_> {
    /// Runs those of that moment that are of this machine.
    ///
    /// # Errors
    /// Which required one failed.
    pub async fn run_at(&self, at: HookAt) -> Result<(), String> {
        for hook in of(self.inventory, at).filter(|hook| hook.manner.on == ChangePlace::Here) {
            self.run_here(hook).await.map_err(|()| why_it_stops(hook, &[&nouns::here()]))?;
        }
        Ok(())
    }

    async fn run_here(&self, hook: &Hook) -> Result<(), ()> {
        let (host, label) = (nouns::here(), label(hook));
        self.journal.record(intent(hook, &host));
        let timed = self.journal.timed_of(StepWord::Hook, &host, label.clone());
        let env = self.about.env(&hook.at.to_string(), &hook.manner);
        let ran = change::words_here(self.inventory, &hook.run, &hook.manner, &env).await;
        let said = change::told(self.redactor, StepWord::Hook, &host, &label, &ran.said);
        let (status, detail) = outcome(hook, ran.result());
        timed.end_with(status, self.redactor.text(&detail), said);
        if status == Status::Failed { Err(()) } else { Ok(()) }
    }
}

/// Runs those of that moment, one after the other, each on all its hosts at once. After a required one that fails nothing
/// new begins.
pub async fn run_at<F: Apply>(run: &Context<'_, F>, at: HookAt) {
    for hook in of(run.inventory, at) {
        if run.interrupted() > 1 {
            return;
        }
        let hosts = hook.manner.on.hosts();
        let results = join_all(hosts.iter().map(|host| async move {
            let is_well = match &hook.manner.on {
                ChangePlace::Here => beside(run).run_here(hook).await.is_ok(),
                ChangePlace::On(_) => on_host(run, hook, host).await,
            };
            (!is_well).then_some(host)
        }))
        .await;
        let failed: Vec<&HostName> = results.into_iter().flatten().collect();
        if !failed.is_empty() {
            run.stop(why_it_stops(hook, &failed));
            return;
        }
    }
}

/// The hooks whose program is not there, or cannot be run: here, and on the hosts that were reached. Only asks.
pub async fn look<F: Ask>(fleet: &F, inventory: &Inventory, facts: &Facts) -> Vec<HookSeen> {
    let all = inventory.hooks.iter().enumerate().flat_map(|(number, hook)| {
        let hosts = hook.manner.on.hosts().into_iter();
        let is_here = hook.manner.on == ChangePlace::Here;
        hosts.filter(move |host| is_here || facts.seen(host).is_some()).map(move |host| (number, hook, host))
    });
    let asked = all.map(|(number, hook, host)| async move {
        let program = hook.run.first()?;
        let why = change::lacks(fleet, inventory, &host, (program, &hook.manner)).await;
        why.map(|why| HookSeen { number, host, why })
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn beside<'r, F>(run: &'r Context<'_, F>) -> HooksHere<'r> {
    HooksHere { inventory: run.inventory, journal: run.journal, redactor: run.redactor, about: run.about() }
}

fn of(inventory: &Inventory, at: HookAt) -> impl Iterator<Item = &Hook> {
    inventory.hooks.iter().filter(move |hook| hook.at == at)
}

/// Which one it is, where there are several: `before switch (./freeze.sh)`.
fn label(hook: &Hook) -> String {
    let program = hook.run.first().map_or("", String::as_str);
    format!("{} ({})", hook.at, if hook.called.starts_with('$') { &hook.called } else { program })
}

fn intent(hook: &Hook, host: &HostName) -> What {
    let why = format!("hook {}: `{}`", hook.at, hook.called);
    What::Intent { step: StepWord::Hook, host: host.clone(), why, colour: None, of: Some(label(hook)) }
}

fn why_it_stops(hook: &Hook, on: &[&HostName]) -> String {
    let names: Vec<&str> = on.iter().map(|host| host.as_str()).collect();
    format!("a hook that is required failed on {}: {}; nothing new begins", names.join(", "), label(hook))
}

/// One that is not required, and failed, is a warning.
fn outcome(hook: &Hook, result: Result<(), String>) -> (Status, String) {
    match result {
        Ok(()) => (Status::Done, String::new()),
        Err(why) if hook.is_required => (Status::Failed, why),
        Err(why) => (Status::Skipped, format!("failed, and is not required: {why}")),
    }
}

/// Whether it did what is needed.
async fn on_host<F: Apply>(run: &Context<'_, F>, hook: &Hook, host: &HostName) -> bool {
    let label = label(hook);
    run.journal.record(intent(hook, host));
    let timed = run.journal.timed_of(StepWord::Hook, host, label.clone());
    let env = run.about().env(&hook.at.to_string(), &hook.manner);
    let name = format!("hook-{}", hook.at.to_string().replace(' ', "-"));
    let work = WorkOnHost {
        name: &name,
        is_back: false,
        files: &[],
        words: &hook.run,
        as_root: false,
        manner: &hook.manner,
        env: &env,
    };
    let result = match run.seen(host) {
        None => Err("the host was not reached".to_owned()),
        Some(_) => match run.fleet.apply(host, &change::work(run.inventory, &run.tenure_on(host), &work)).await {
            Ok(answer) => {
                change::say(run, StepWord::Hook, host, &label, &answer.text("said").unwrap_or_default());
                ended(&answer, hook)
            }
            // It may go on there by itself; nobody looks at what comes of it.
            Err(failure) => Err(failure.to_string()),
        },
    };
    let (status, detail) = outcome(hook, result);
    timed.end(status, run.redactor.text(&detail));
    status != Status::Failed
}

fn ended(answer: &Answer, hook: &Hook) -> Result<(), String> {
    match WorkEnded::with(answer.status) {
        WorkEnded::Done => Ok(()),
        WorkEnded::WordsFailed => {
            let status = answer.text("status").unwrap_or_default();
            Err(format!("ended with {}: {}", status.trim(), answer.worst_line("said")))
        }
        WorkEnded::WordsTookTooLong => Err(format!("has not ended after {} s, and was ended", hook.manner.seconds())),
        WorkEnded::Fenced => Err(format!("another run took the lock: {}", answer.text("why").unwrap_or_default())),
        // It puts no files.
        WorkEnded::FileIsAnother | WorkEnded::NotWritten | WorkEnded::NotPutBack | WorkEnded::Otherwise(_) => {
            Err(format!("the step ended with {}", answer.status))
        }
    }
}
