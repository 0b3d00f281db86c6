//! The services of a run: which ones, what is asked of which, and what they come to together. Mostly it is one.

use std::sync::{Arc, LazyLock};

use futures_util::future::join_all;
use regex::Regex;

use super::load::Opened;
use super::switch;
use super::{Run, Session, refusal_of};
use crate::engine::planner;
use crate::engine::safety;
use crate::hosts::facts::Facts;
use crate::hosts::remote::Ask;
use crate::incident::journal::Journal;
use crate::nouns::change::NamedChange;
use crate::nouns::inventory::{Host, Inventory, Role};
use crate::nouns::names::{ChangeName, HostName, ServiceName};
use crate::nouns::plan::{Among, Plan};
use crate::nouns::production::Verdict;
use crate::nouns::redact::Redactor;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::request::Request;
use crate::nouns::secret::Secret;
use crate::nouns::together::together;

/// What was seen for a service, and its plan or every reason against one.
pub(super) type Prepared = (Facts, Result<Plan, Vec<Refusal>>);

/// Those that were asked for, in the order of the config's rollback: all where none is named.
///
/// # Errors
/// A name that the config does not have.
pub(super) fn chosen(services: Vec<Opened>, names: &[String]) -> Result<Vec<Opened>, String> {
    let names: Vec<&str> = names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
    for name in &names {
        if !services.iter().any(|opened| opened.inventory.service.as_str() == *name) {
            let known = listed(&services);
            return Err(format!("--service names {name:?}, which the config does not; it has {known}"));
        }
    }
    let is_chosen = |opened: &Opened| names.is_empty() || names.contains(&opened.inventory.service.as_str());
    Ok(services.into_iter().filter(is_chosen).collect())
}

/// What services have in common is done once, with the one that goes last: a database that all of them use, and changes
/// that stand at the top of the file.
pub(super) fn once_each(mut services: Vec<Opened>) -> Vec<Opened> {
    for place in 0..services.len() {
        let (here, later) = services.split_at_mut(place + 1);
        let Some(opened) = here.last_mut() else { continue };
        let has_it = |other: &&Opened| is_same_database(&opened.inventory, &other.inventory);
        if let Some(other) = later.iter().find(has_it) {
            match go_down_alike(&opened.inventory, &other.inventory) {
                true => (opened.inventory.database, opened.inventory.migrations) = (None, None),
                // Its own way down needs it; to restore it is the other's.
                false => opened.shares_database = true,
            }
        }
        let is_later = |change: &NamedChange| {
            let has = |other: &Opened| other.shared.contains(&change.name);
            opened.shared.contains(&change.name) && later.iter().any(has)
        };
        let kept = opened.inventory.changes.iter().filter(|change| !is_later(change)).cloned().collect();
        opened.inventory.changes = kept;
    }
    services
}

/// Whether the first one's migrations go down as the other's do, or nobody said how.
fn go_down_alike(a: &Inventory, b: &Inventory) -> bool {
    let how = |inventory: &Inventory| {
        let change = &inventory.migrations.as_ref()?.change;
        Some((change.run.clone(), change.undo.clone(), change.manner.cwd.clone(), change.manner.named_by.clone()))
    };
    a.migrations.is_none() || how(a) == how(b)
}

fn is_same_database(a: &Inventory, b: &Inventory) -> bool {
    let hosts = |inventory: &Inventory| -> Vec<HostName> {
        inventory.with_role(Role::Database).map(|host| host.name.clone()).collect()
    };
    match (&a.database, &b.database) {
        (Some(of_a), Some(of_b)) => {
            of_a.name == of_b.name
                && of_a.container == of_b.container
                && hosts(a).iter().any(|host| hosts(b).contains(host))
        }
        _ => false,
    }
}

/// Of several services the only one that has what a flag is about.
///
/// # Errors
/// That several have it.
pub(super) fn only_one(
    flag: &str,
    services: &[Opened],
    has: impl Fn(&Opened) -> bool,
) -> Result<Option<usize>, String> {
    let having: Vec<usize> = (0..services.len()).filter(|place| has(&services[*place])).collect();
    match having.as_slice() {
        [] => Ok(None),
        [place] => Ok(Some(*place)),
        several => {
            let names: Vec<&str> = several.iter().map(|place| services[*place].inventory.service.as_str()).collect();
            Err(format!("{flag} is of one service, and {} could be meant: name it with --service", names.join(", ")))
        }
    }
}

/// The one service that a command is about.
///
/// # Errors
/// That there are several.
pub(super) fn the_one(command: &str, services: Vec<Opened>) -> Result<Vec<Opened>, String> {
    match services.len() {
        1 => Ok(services),
        _ => Err(format!(
            "{command} is about one service, and the config has several: name it with --service; there is {}",
            listed(&services)
        )),
    }
}

/// A redactor that is made when it is first needed.
pub(super) type OfAll = LazyLock<Arc<Redactor>, Box<dyn FnOnce() -> Arc<Redactor> + Send>>;

/// What keeps the secrets of all services out of everything.
pub(super) fn redactor_of_all<'o>(inventories: impl Iterator<Item = &'o Inventory> + Clone) -> Arc<OfAll> {
    let rules: Vec<Regex> = inventories.clone().flat_map(|of| &of.evidence.redact).cloned().collect();
    let secrets: Vec<Secret> = inventories.flat_map(Inventory::secrets).cloned().collect();
    let make = move || {
        let redactor = Arc::new(Redactor::new(&rules, secrets.iter().map(Secret::reveal)));
        let warmed = Arc::clone(&redactor);
        std::thread::spawn(move || warmed.text(""));
        redactor
    };
    Arc::new(LazyLock::new(Box::new(make)))
}

/// All hosts of the services, each once.
pub(super) fn hosts_of<'o>(services: impl Iterator<Item = &'o Opened>) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for host in services.flat_map(|opened| &opened.inventory.hosts) {
        if !hosts.iter().any(|known| known.name == host.name) {
            hosts.push(host.clone());
        }
    }
    hosts
}

/// Their names, in a row.
fn listed(services: &[Opened]) -> String {
    services.iter().map(|opened| opened.inventory.service.as_str()).collect::<Vec<_>>().join(", ")
}

/// The names that a flag or a command gives, for each service its own.
///
/// # Errors
/// A name that none of them has.
pub(super) fn changes_named(by: &str, names: &[String], services: &[Opened]) -> Result<Vec<Vec<ChangeName>>, String> {
    let mut found: Vec<Vec<ChangeName>> = vec![Vec::new(); services.len()];
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let mut is_known = false;
        for (opened, found) in services.iter().zip(&mut found) {
            let change = opened.inventory.changes.iter().find(|change| change.name.as_str() == name);
            is_known |= change.is_some();
            found.extend(change.map(|change| change.name.clone()).filter(|name| !found.contains(name)));
        }
        if !is_known {
            let known: Vec<&str> = services
                .iter()
                .flat_map(|opened| &opened.inventory.changes)
                .map(|change| change.name.as_str())
                .collect();
            let known = match known.is_empty() {
                true => "it has no [change.NAME] at all".to_owned(),
                false => format!("it has {}", known.join(", ")),
            };
            return Err(format!("{by} names the change {name:?}, which the config does not have; {known}"));
        }
    }
    Ok(found)
}

/// The same requests, each with its place among the others.
pub(super) fn in_turn(requests: Vec<(Opened, Request)>, is_all_or_nothing: bool) -> Vec<(Opened, Request)> {
    let names: Vec<ServiceName> = requests.iter().map(|(opened, _)| opened.inventory.service.clone()).collect();
    if names.len() < 2 {
        return requests;
    }
    let among = |place: usize| Among {
        before: names[..place].to_vec(),
        behind: names[place + 1..].to_vec(),
        is_all_or_nothing,
    };
    let requests = requests.into_iter().enumerate();
    requests.map(|(place, (opened, request))| (opened, Request { among: Some(among(place)), ..request })).collect()
}

impl Run<'_> {
    /// The first half of a run, and of a dry run: what is, what shall be, and whether that is safe. Where two services change
    /// one file, the later one finds what the earlier one made of it.
    pub(super) async fn prepare(&mut self, fleet: &impl Ask, journals: &[Journal<'_>]) -> Vec<Prepared> {
        let looks = self.sessions.iter().zip(journals).map(|(session, journal)| session.observe(fleet, journal));
        let seen = join_all(looks).await;
        for (session, facts) in self.sessions.iter_mut().zip(&seen) {
            session.leave_out_hosts(facts);
        }
        let mut prepared: Vec<Prepared> = Vec::new();
        for ((place, session), mut facts) in self.sessions.iter().enumerate().zip(seen) {
            for plan in prepared.iter().filter_map(|(_, plan)| plan.as_ref().ok()) {
                facts.follow(plan);
            }
            let plan = match self.sessions[..place]
                .iter()
                .flat_map(|other| same_runs(other, session, &facts))
                .collect::<Vec<_>>()
            {
                same if same.is_empty() => session.plan(fleet, &facts).await,
                same => Err(same),
            };
            prepared.push((facts, plan));
        }
        prepared
    }

    /// The last lines of a command that only looked, for each service what it says.
    pub(super) fn end(&self, verdicts: Vec<Verdict>) -> u8 {
        // Nothing was changed: the worst of them, and not that they differ.
        let exit = verdicts.iter().map(|verdict| verdict.exit).max().unwrap_or(1);
        self.first().end(&Verdict { exit, ..self.together(verdicts) }, None, None, None)
    }

    /// What the verdicts of the services come to.
    pub(super) fn together(&self, verdicts: Vec<Verdict>) -> Verdict {
        let names = self.sessions.iter().map(|session| session.inventory().service.as_str());
        together(names.zip(verdicts).collect())
    }
}

/// Where two services are one and the same on a host: to stop one would stop the other.
fn same_runs(one: &Session<'_>, other: &Session<'_>, facts: &Facts) -> Vec<Refusal> {
    let (a, b) = (one.inventory(), other.inventory());
    let is_common =
        |host: &&Host| facts.seen(&host.name).is_some() && b.host(&host.name).is_some_and(|host| host.is(Role::App));
    let on = |host: &Host| {
        let (theirs, ours) = a.apps_beside(b).find(|(theirs, ours)| theirs.run == ours.run)?;
        let why = ours.runs_as(a, theirs);
        let hint = Some(format!("[services.{}] hosts = […], where it does not run there", b.service));
        Some(Refusal { host: Some(host.name.clone()), hint, ..Refusal::new(RefusalName::ServicesOneRun, why) })
    };
    a.with_role(Role::App).filter(is_common).filter_map(on).collect()
}

impl Session<'_> {
    async fn plan(&self, fleet: &impl Ask, facts: &Facts) -> Result<Plan, Vec<Refusal>> {
        let inventory = self.inventory();
        let plan = planner::plan(&self.request, inventory, facts, &self.opened.template)?;
        let plan = match plan.is_gradual {
            true => switch::can_be_judged(fleet, inventory, facts, plan).await?,
            false => plan,
        };
        let violations = safety::check(&plan, inventory, facts);
        if violations.is_empty() { Ok(plan) } else { Err(violations.iter().map(refusal_of).collect()) }
    }

    /// Of several services each has to do with the hosts that its servers can be on.
    pub(super) fn leave_out_hosts(&mut self, facts: &Facts) {
        if self.inventory().is_alone {
            return;
        }
        let inventory = &self.opened.inventory;
        let elsewhere = inventory.with_role(Role::App).filter(|host| facts.rule_out(inventory, host));
        let elsewhere: Vec<HostName> = elsewhere.map(|host| host.name.clone()).collect();
        // Where it would be nowhere the addresses are not what we think, and why will be told.
        if elsewhere.len() < inventory.with_role(Role::App).count() {
            let Opened { inventory, shared, .. } = &mut self.opened;
            inventory.leave_out(&elsewhere, &[Role::App], shared);
        }
    }
}
