//! What else of the release goes back: which change is made where, in which order beside the traffic, and why one cannot be.

use std::collections::BTreeSet;

use super::{Planner, Stages, sudoers_hint};
use crate::hosts::facts::{self, ChangeSeen, Seen};
use crate::nouns::change::{ChangeWork, FilePut, Hook, NamedChange, is_here};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Host, Run};
use crate::nouns::names::{ChangeName, HostName, listed};
use crate::nouns::plan::{Action, Guard, StageName, Step, Undo};
use crate::nouns::record::MeantChange;
use crate::nouns::refusal::RefusalName;
use crate::nouns::request::MadeChange;
use crate::nouns::side::Side;

/// How a change comes into force on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// By a step of its own, or it was refused.
    ByAStep,
    /// The start that is planned anyway is all that it needs.
    WithTheStart,
}

impl<'a> Planner<'a> {
    /// Whether changes are all that this run is about.
    pub(super) fn is_of_changes_alone(&self) -> bool {
        self.request.is_partial
            || self
                .request
                .undo
                .as_ref()
                .is_some_and(|undo| !undo.changes.is_empty() && undo.files.is_empty() && !undo.is_of_a_database())
    }

    /// Plans the changes that were asked for, or those of an incident backwards.
    pub(super) fn changes(&mut self, stages: &mut Stages) -> Vec<MeantChange> {
        match &self.request.undo {
            Some(undo) => self.changes_back(&undo.changes, stages),
            None => {
                let names = self.request.changes.iter();
                let changes: Vec<&NamedChange> = names.filter_map(|name| self.inventory.change(name)).collect();
                let release = self.earlier_release(stages);
                let made = (1..).zip(changes).map(|(number, change)| self.made(number, change, stages));
                release.into_iter().chain(made).collect()
            }
        }
    }

    /// What is run beside the steps, in words.
    pub(super) fn hooks(&mut self) -> Vec<String> {
        for lacking in &self.facts.hooks {
            let Some(hook) = self.inventory.hooks.get(lacking.number) else { continue };
            let why = format!("hook {}: {}", hook.at, lacking.why);
            if hook.is_required {
                self.refuse_on(RefusalName::Hook, &lacking.host, why, None);
            } else {
                self.notes.push(format!("{}: {why}", lacking.host));
            }
        }
        for hook in &self.inventory.hooks {
            for why in hook.manner.unset() {
                let why = format!("hook {}: {why}", hook.at);
                if hook.is_required {
                    self.refuse(RefusalName::VariableUnset, None, why, None);
                } else {
                    self.notes.push(format!("{why}; it is run without it"));
                }
            }
        }
        let words = |hook: &Hook| {
            let required = if hook.is_required { ", required" } else { "" };
            let hosts = hook.manner.on.hosts();
            format!("{} on {}: `{}`{required}", hook.at, listed(&hosts.iter().collect::<Vec<_>>()), hook.called)
        };
        self.inventory.hooks.iter().map(words).collect()
    }

    fn made(&mut self, number: u16, change: &'a NamedChange, stages: &mut Stages) -> MeantChange {
        let name = &change.name;
        for why in change.manner.unset() {
            self.refuse(RefusalName::VariableUnset, None, format!("change {name}: {why}"), None);
        }
        let is_asked_for =
            |host: &HostName| self.request.only.is_empty() || self.request.only.contains(host) || is_here(host);
        let hosts: Vec<HostName> = change.manner.on.hosts().into_iter().filter(|host| is_asked_for(host)).collect();
        if hosts.is_empty() {
            let why = format!("change {name}: none of its hosts is among those of --hosts");
            self.refuse(RefusalName::ChangeHosts, None, why, None);
        }
        let mut in_force = Vec::new();
        for host in &hosts {
            let Some(seen) = self.facts.change(name, host) else {
                let why = format!("not reached, so change {name} cannot be made there");
                let hint = self.facts.host(host).and_then(|facts| facts.seen.as_ref().err()?.hint.clone());
                self.refuse(RefusalName::HostUnreached, self.inventory.host(host), why, hint);
                continue;
            };
            if seen.is_in_force(change) {
                self.notes.push(format!("{host}: change {name} is in force already"));
                in_force.push(host.clone());
            } else if self.made_on(host, number, change, seen, stages) == Made::WithTheStart {
                self.notes.push(format!("{host}: change {name} comes into force with the start"));
                in_force.push(host.clone());
            }
        }
        MeantChange { name: name.clone(), hosts, in_force }
    }

    /// Plans a change on one of its hosts, or refuses it there.
    pub(super) fn made_on(
        &mut self,
        host: &HostName,
        number: u16,
        change: &NamedChange,
        seen: &ChangeSeen,
        stages: &mut Stages,
    ) -> Made {
        let name = &change.name;
        let Some(mut work) = self.work(change, host, seen) else { return Made::ByAStep };
        // The start that comes behind it has what its files say, and is proven; before it nothing could say that it is in force.
        // Compose starts a container that is there as it was made.
        let to = self.colour(Side::To);
        let is_started =
            stages.hosts(StageName::Start).contains(host) && !matches!(self.inventory.app(to).run, Run::Compose { .. });
        let is_started_anyway = is_started && (change.restart.is_none() || change.restart == Some(to));
        if is_started_anyway && (change.restart.is_some() || !change.files.is_empty()) {
            (work.restart, work.check) = (None, Vec::new());
            if work.words.is_empty() && !work.files.iter().any(FilePut::is_needed) {
                return Made::WithTheStart;
            }
        }
        self.refuse_one_at_work(host, name);
        if !self.is_check
            && let Some((other, file)) = replaced_twice(&work, host, stages)
        {
            let why =
                format!("change {name} replaces {file}, which change {other} replaces, too: one run makes one of them");
            self.refuse(RefusalName::ChangeTwice, self.inventory.host(host), why, None);
            return Made::ByAStep;
        }
        let is_needed_first = self.moves_traffic()
            && (change.restart == Some(to)
                || !change.files.is_empty() && stages.hosts(StageName::Start).contains(host));
        let stage = if is_needed_first { StageName::Ready(number) } else { StageName::Change(number) };
        stages.extend([(stage, self.step_of(host, work))]);
        Made::ByAStep
    }

    fn step_of(&self, host: &HostName, work: ChangeWork) -> Step {
        let undo = match has_way_back(&work) {
            true => Undo::Does(Box::new(Action::Change { work: work.reversed() })),
            false => Undo::Impossible(format!("the config says no way back: change.{}.undo", work.name)),
        };
        Step {
            host: host.clone(),
            why: work.words(),
            action: Action::Change { work },
            guard: Guard::WeHoldTheLock,
            undo,
        }
    }

    /// What is to be done on a host; `None` with a refusal where it cannot be.
    fn work(&mut self, change: &NamedChange, name: &HostName, seen: &ChangeSeen) -> Option<ChangeWork> {
        let host = self.inventory.host(name);
        let of = |why: &str| format!("change {}: {why}", change.name);
        if let Some(unknown) = &seen.unknown {
            self.refuse_on(RefusalName::ChangeUnknown, name, of(&unknown.why), unknown.hint.clone());
            return None;
        }
        if let Some(Err(why)) = &seen.check {
            let hint = format!("in the config: change.{}.check", change.name);
            let why = of(&format!("whether it is in force cannot be asked: {why}"));
            self.refuse_on(RefusalName::ChangeUnknown, name, why, Some(hint));
            return None;
        }
        let known = self.facts.seen(name);
        let missing = seen.files.iter().flat_map(|file| &file.missing).chain(&seen.missing);
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        if let (false, Some(known)) = (missing.is_empty(), known) {
            let each: BTreeSet<&str> = missing.iter().copied().collect();
            let hint = sudoers_hint(known, each.into_iter());
            let why = of(&format!("sudo does not allow {}: {}", known.user, missing.join("; ")));
            self.refuse(RefusalName::Sudo, host, why, Some(hint));
        }
        let wrong: Vec<String> = seen.files.iter().filter_map(|file| file.work.as_ref().err().cloned()).collect();
        // Without a right the right is what is asked for.
        for why in wrong.iter().filter(|_| missing.is_empty()) {
            self.refuse(RefusalName::ChangeFile, host, of(why), None);
        }
        let restart = match (change.restart, host, known) {
            (Some(colour), Some(host), Some(known)) => self.restart(change, colour, host, known),
            _ => None,
        };
        (missing.is_empty() && wrong.is_empty()).then(|| ChangeWork {
            name: change.name.clone(),
            is_back: false,
            files: seen.files.iter().filter_map(|file| file.work.clone().ok()).collect(),
            words: change.run.clone(),
            opposite: change.undo.clone(),
            check: change.check.clone(),
            restart,
            called: change.called.clone(),
            as_root: change.as_root,
        })
    }

    /// The colour that is started again there, or started where it is down; none with a refusal where it cannot be.
    fn restart(&mut self, change: &NamedChange, colour: Colour, host: &Host, seen: &Seen) -> Option<Colour> {
        let app = self.inventory.app(colour);
        if seen.app(colour).is_running == Ok(false) && !self.moves_traffic() {
            let name = &change.name;
            self.notes.push(format!("{}: {colour} does not run there, and is started for change {name}", host.name));
        }
        if matches!(app.run, Run::Process { start: None, .. }) {
            let why = format!(
                "change {}: the config does not say how {colour} is started ([{colour}] run.process.start)",
                change.name
            );
            self.refuse(RefusalName::ChangeRestart, Some(host), why, None);
            return None;
        }
        let needed = facts::rights_to_stop(app).into_iter().chain(facts::rights_to_start(app));
        let needed: Vec<String> = needed.map(|words| words.join(" ")).collect();
        let missing = seen.missing_rights.as_ref().map(Vec::as_slice).unwrap_or_default();
        let missing: Vec<&String> = missing.iter().filter(|words| needed.contains(words)).collect();
        if !missing.is_empty() {
            let why = format!("change {}: sudo does not allow {} to start {colour} again", change.name, seen.user);
            let hint = sudoers_hint(seen, missing.into_iter().map(String::as_str));
            self.refuse(RefusalName::Sudo, Some(host), why, Some(hint));
            return None;
        }
        if !self.moves_traffic()
            && seen.nginx.as_ref().is_some_and(|nginx| {
                facts::serving(self.inventory, nginx).is_some_and(|serving| serving.includes(colour))
            })
        {
            self.notes.push(format!(
                "{}: {colour} serves, and is started again for change {}: what reaches it meanwhile fails or waits",
                host.name, change.name
            ));
        }
        Some(colour)
    }

    /// The changes of an incident, the last one first: those that came after its traffic go before this one's.
    fn changes_back(&mut self, made: &'a [MadeChange], stages: &mut Stages) -> Vec<MeantChange> {
        let mut meant: Vec<MeantChange> = Vec::new();
        for MadeChange { host, work, was_before } in made.iter().rev() {
            if self.inventory.change(&work.name).is_none() {
                let why = format!("the incident made change {}, which the config has no more", work.name);
                self.refuse(RefusalName::ChangeGone, None, why, Some(format!("in the config: [change.{}]", work.name)));
                continue;
            }
            match meant.last_mut().filter(|last| last.name == work.name) {
                Some(last) => last.hosts.push(host.clone()),
                None => {
                    let hosts = vec![host.clone()];
                    meant.push(MeantChange { name: work.name.clone(), hosts, in_force: Vec::new() });
                }
            }
            let back = work.reversed();
            if !is_here(host) && self.facts.seen(host).is_none() {
                self.notes.push(format!("{host}: not reached, so change {} stays made there", work.name));
                continue;
            }
            if !has_way_back(work) {
                let why = format!("change {} stays made: the config said no undo for it", work.name);
                self.notes.push(format!("{host}: {why}"));
                continue;
            }
            if let (false, Some(change)) = (back.words.is_empty(), self.inventory.change(&work.name)) {
                for why in change.manner.unset() {
                    self.refuse(RefusalName::VariableUnset, None, format!("change {}: {why}", work.name), None);
                }
            }
            self.refuse_one_at_work(host, &work.name);
            let number = u16::try_from(meant.len()).unwrap_or(u16::MAX);
            let comes_first = self.moves_traffic() && !was_before;
            let stage = if comes_first { StageName::Ready(number) } else { StageName::Change(number) };
            stages.extend([(stage, self.step_of(host, back))]);
        }
        if self.is_of_changes_alone() && stages.changed().next().is_none() && self.refusals.is_empty() {
            let why = format!("none of these changes can be taken back: {}", self.notes.join("; "));
            self.refuse(RefusalName::ChangeStays, None, why, None);
        }
        meant
    }

    /// A step of an earlier run that is still at work on that change would be overtaken.
    pub(super) fn refuse_one_at_work(&mut self, host: &HostName, name: &ChangeName) {
        if let Some(step) = self.facts.change(name, host).and_then(|seen| seen.at_work.as_ref()) {
            let why = format!("{step} of an earlier run is still at work there");
            self.refuse_on(
                RefusalName::StepAtWork,
                host,
                why,
                Some("it ends by itself: the same line again in a minute".into()),
            );
        }
    }

    /// A refusal on a host, or on this machine.
    pub(super) fn refuse_on(&mut self, name: RefusalName, host: &HostName, why: String, hint: Option<String>) {
        match self.inventory.host(host) {
            Some(host) => self.refuse(name, Some(host), why, hint),
            None => self.refuse(name, None, format!("{host}: {why}"), hint),
        }
    }
}

/// Whether something can be taken back of it: words that have no opposite are not, and files and a restart are all the same.
fn has_way_back(work: &ChangeWork) -> bool {
    let has_words = !work.words.is_empty();
    // A start of what words have put there is no way back from them.
    let is_restart = work.restart.is_some() && work.called.is_none();
    !has_words || !work.opposite.is_empty() || is_restart || work.files.iter().any(FilePut::is_needed)
}

/// A file that another change of the run replaces on that host, and that change.
fn replaced_twice(work: &ChangeWork, host: &HostName, stages: &Stages) -> Option<(ChangeName, String)> {
    let others = stages.0.values().flatten().filter(|step| step.host == *host).filter_map(Step::changes);
    let mut same = others.flat_map(|other| {
        let is_ours = |file: &&FilePut| work.files.iter().any(|ours| ours.into == file.into);
        other.files.iter().filter(is_ours).map(|file| (other.name.clone(), file.into.clone()))
    });
    same.next()
}
