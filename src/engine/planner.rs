//! From what was asked for, what the config means and what is, to a plan or to every reason against one. Pure: no
//! I/O, no clock, no waiting. The same facts always give the same plan.

mod changes;
mod downgrade;
mod earlier;
mod gradual;

use std::collections::{BTreeMap, BTreeSet};

use super::doubts::{self, Doubt};
use crate::hosts::facts::{self, Facts, NginxFacts, NotKnown, Origin, Seen, first_of, must_be_stopped};
use crate::nginx::{NotUnderstood, Serving, Site, Template, not_found};
use crate::nouns::colour::Colour;
use crate::nouns::digest::sha256;
use crate::nouns::inventory::{App, Host, Inventory, Layout, Reach, Role, Run};
use crate::nouns::joined;
use crate::nouns::names::{HostName, ServerAddress};
use crate::nouns::octets::bytes_of;
use crate::nouns::plan::{
    Action, DEAD_MAN_OF, FileChange, Gate, Guard, LeftAs, LeftOut, Plan, Proof, Stage, StageName, Step, Target, Undo,
    Word,
};
use crate::nouns::rebase::rebased;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::request::{Request, Undoing};
use crate::nouns::share::Share;
use crate::nouns::side::{Direction, Side};

/// Below this much free space beside the nginx file a switch is refused: the file is written beside itself first.
const FREE_KIB_NEEDED: u64 = 256;
/// A host whose clock is further off than this is named: its log times will not fit the report's.
const CLOCK_OFFSET_NOTED_MS: i64 = 2_000;
/// A lock whose last beat is younger than this is alive; `prepare.sh` says the same.
pub const LOCK_STALE_SECONDS: u64 = 10;

/// Makes the plan.
///
/// # Errors
/// Every refusal at once.
pub fn plan(
    request: &Request,
    inventory: &Inventory,
    facts: &Facts,
    template: &Template,
) -> Result<Plan, Vec<Refusal>> {
    let mut planner = Planner::new(request, inventory, facts, template);
    let plan = planner.plan();
    let refusals: Vec<Refusal> =
        planner.refusals.into_iter().filter(|refusal| !(request.is_forced && refusal.can_be_forced)).collect();
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}

/// What stands in the way on the hosts, and what an operator should know, without a plan: `check`.
pub fn check(
    request: &Request,
    inventory: &Inventory,
    facts: &Facts,
    template: &Template,
) -> (Vec<Refusal>, Vec<String>) {
    let mut planner = Planner::new(request, inventory, facts, template);
    planner.is_check = true;
    let notes = planner.plan().notes;
    (planner.refusals, notes)
}

struct Planner<'a> {
    request: &'a Request,
    inventory: &'a Inventory,
    facts: &'a Facts,
    template: &'a Template,
    /// The balancers that were asked for and reached, and the app hosts that they may send to.
    balancers: Vec<InScope<'a>>,
    apps: Vec<InScope<'a>>,
    /// The names of both.
    in_scope: BTreeSet<&'a HostName>,
    refusals: Vec<Refusal>,
    notes: Vec<String>,
    /// Whether everything is looked at that the config has, and not what one run would do.
    is_check: bool,
}

/// A balancer's file as it shall be.
struct Shift {
    change: FileChange,
    /// What the side that traffic goes to gets then.
    share: Share,
    /// How the file says it.
    says: String,
}

/// A host that this run is about, and what was seen there.
type InScope<'a> = (&'a Host, &'a Seen);

impl<'a> Planner<'a> {
    fn new(request: &'a Request, inventory: &'a Inventory, facts: &'a Facts, template: &'a Template) -> Planner<'a> {
        let mut planner = Planner {
            request,
            inventory,
            facts,
            template,
            balancers: Vec::new(),
            apps: Vec::new(),
            in_scope: BTreeSet::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            is_check: false,
        };
        planner.balancers = planner.seen(planner.meant_balancers().filter(|host| planner.is_asked_for(host)));
        planner.in_scope = planner.balancers.iter().map(|(host, _)| &host.name).collect();
        planner.apps = planner.seen(inventory.with_role(Role::App).filter(|app| planner.is_needed(app)));
        planner.in_scope.extend(planner.apps.iter().map(|(host, _)| &host.name));
        planner
    }

    fn seen(&self, hosts: impl Iterator<Item = &'a Host>) -> Vec<InScope<'a>> {
        hosts.filter_map(|host| Some((host, self.facts.seen(&host.name)?))).collect()
    }

    fn direction(&self) -> Direction {
        self.request.direction
    }

    fn colour(&self, side: Side) -> Colour {
        self.direction().colour(side)
    }

    fn app(&self, side: Side) -> &'a App {
        self.inventory.app(self.colour(side))
    }

    fn plan(&mut self) -> Plan {
        let left_out = self.left_out();
        let databases = self.databases_in_scope();
        let mut stages = Stages::default();
        for (host, seen) in self.all_of(&[&self.balancers, &self.apps, &databases]) {
            self.check_host(host, seen);
        }
        if self.request.gradual.is_some() {
            self.refuse_unreached();
        }
        for (host, seen) in self.balancers.clone() {
            stages.extend(self.balancer(host, seen).into_iter().flatten());
        }
        if stages.is_empty() && self.refusals.is_empty() && !self.is_of_changes_alone() {
            self.refuse(
                RefusalName::NoBalancer,
                None,
                "no balancer could be reached, so traffic cannot be moved".into(),
                None,
            );
        }
        if self.moves_traffic() {
            let not_there: BTreeSet<&HostName> =
                left_out.iter().filter(|left| left.is_balancer && !left.is_there).map(|left| &left.host).collect();
            let (sides, is_split) = (stages.sides(), stages.is_split());
            for (host, seen) in self.apps.clone() {
                if self.request.gradual.is_some() {
                    stages.extend(self.start(host, seen, Side::To).map(|step| (StageName::Start, step)));
                    stages.extend([(StageName::Stop, self.stays(host, seen, is_split))]);
                    continue;
                }
                for side in &sides {
                    stages.extend(self.start(host, seen, *side).map(|step| (StageName::Start, step)));
                }
                stages.extend(self.drain(host).map(|step| (StageName::Drain, step)));
                stages.extend([(StageName::Stop, self.stop(host, seen, &sides, &not_there))]);
            }
            let verified = self.all_of(&[&self.balancers, &self.apps]);
            stages.extend(verified.into_iter().map(|(host, _)| (StageName::Verify, self.verify(host, &sides))));
        }
        self.check_releases();
        self.remember(&mut stages);
        let mut changes = self.changes(&mut stages);
        let (down, downgrade) = self.downgrade(&mut stages).unzip();
        changes.extend(downgrade);
        let hooks = self.hooks();
        self.lock_the_rest(&mut stages, &databases);
        self.database(&mut stages);
        let mut stages = stages.in_order();
        if let Some(gradual) = &self.request.gradual {
            gradual::held(&mut stages, gradual);
        }
        Plan {
            id: self.request.id.clone(),
            service: self.inventory.service.to_string(),
            environment: self.inventory.environment.to_string(),
            reason: self.request.reason.clone(),
            direction: self.direction(),
            releases: self.moves_traffic().then(|| self.releases()).flatten(),
            among: self.request.among.clone(),
            is_forced: self.request.is_forced,
            takes_over: self.request.takes_over,
            is_gradual: self.request.gradual.is_some(),
            balancers: self.meant_balancers().map(|host| host.name.clone()).collect(),
            changes,
            down: down.flatten(),
            hooks,
            stages,
            notes: std::mem::take(&mut self.notes),
            left_out,
        }
    }

    /// The balancers that the run is about, reached or not: those that an incident moved, or all.
    fn meant_balancers(&self) -> impl Iterator<Item = &'a Host> {
        let moved = self.request.undo.as_ref().map(|undo| &undo.files).filter(|files| !files.is_empty());
        self.inventory
            .with_role(Role::Balancer)
            .filter(move |host| moved.is_none_or(|moved| moved.contains_key(&host.name)))
    }

    fn is_asked_for(&self, host: &Host) -> bool {
        self.request.only.is_empty() || self.request.only.contains(&host.name)
    }

    /// Whether an app host was asked for, or a balancer in scope may send to it, `--hosts` or not: what traffic goes to is
    /// proven wherever it goes. An undo is about what the incident moved, and about nobody else.
    fn is_needed(&self, app: &Host) -> bool {
        (self.request.undo.is_none() && self.is_asked_for(app)) || self.is_sent_to(app)
    }

    /// Whether an app host was asked for, so that what traffic leaves may be stopped there: by its name, or by no name of an
    /// app host at all, where only balancers were named. What traffic goes to is another matter: [`Planner::is_needed`].
    fn is_stop_asked_for(&self, app: &Host) -> bool {
        self.is_asked_for(app)
            || !self.inventory.with_role(Role::App).any(|host| self.request.only.contains(&host.name))
    }

    /// Whether a balancer in scope can reach either colour on that host.
    fn is_sent_to(&self, app: &Host) -> bool {
        let is_any = [Side::To, Side::From].into_iter().any(|side| self.app(side).reach == Reach::AnyBalancer);
        match is_any {
            true => !self.balancers.is_empty(),
            false => self.in_scope.contains(&app.name) && app.is(Role::Balancer),
        }
    }

    /// The database's hosts, where it is to be changed.
    fn databases_in_scope(&self) -> Vec<InScope<'a>> {
        let is_changed = self.request.restore.is_some()
            || self.request.migrate_down.is_some()
            || self.request.undo.as_ref().is_some_and(Undoing::is_of_a_database);
        self.seen(self.inventory.with_role(Role::Database).filter(|_| is_changed))
    }

    /// Each host once, in the order of the config.
    fn all_of(&self, groups: &[&Vec<InScope<'a>>]) -> Vec<InScope<'a>> {
        let names: BTreeSet<&HostName> =
            groups.iter().flat_map(|group| group.iter()).map(|(host, _)| &host.name).collect();
        self.seen(self.inventory.hosts.iter().filter(|host| names.contains(&host.name)))
    }

    fn refuse(&mut self, name: RefusalName, host: Option<&Host>, why: String, hint: Option<String>) {
        let host = host.map(|host| host.name.clone());
        self.refusals.push(Refusal { name, host, why, hint, can_be_forced: false });
    }

    fn refuse_unless_forced(&mut self, name: RefusalName, host: Option<&Host>, why: String, hint: Option<String>) {
        let host = host.map(|host| host.name.clone());
        self.refusals.push(Refusal { name, host, why, hint, can_be_forced: true });
    }

    fn doubt(&mut self, host: &Host, doubt: impl IntoIterator<Item = Doubt>) {
        doubt.into_iter().for_each(|doubt| self.refuse(doubt.name, Some(host), doubt.why, doubt.hint));
    }

    fn refuse_unknown(&mut self, name: RefusalName, host: &Host, not_known: &NotKnown) {
        self.refuse(name, Some(host), not_known.why.clone(), not_known.hint.clone());
    }

    /// Hosts that this plan does not touch. An unreachable one is never dropped: it is named, and what depends on it
    /// is not done.
    fn left_out(&mut self) -> Vec<LeftOut> {
        let meant: BTreeSet<&HostName> = self.meant_balancers().map(|host| &host.name).collect();
        let mut left_out = Vec::new();
        for host in &self.inventory.hosts {
            let is_balancer = meant.contains(&host.name);
            // An undo is about what the incident moved, and about nobody else.
            if self.request.undo.is_some() && !is_balancer && !(host.is(Role::App) && self.is_needed(host)) {
                continue;
            }
            let (why, is_there) = match self.facts.host(&host.name).map(|facts| &facts.seen) {
                Some(Ok(_)) if self.is_asked_for(host) => continue,
                Some(Ok(_)) if !is_balancer && host.is(Role::App) && self.is_needed(host) => continue,
                Some(Ok(seen)) => ("left out by --hosts".to_owned(), self.is_there(seen)),
                Some(Err(not_known)) => {
                    self.name_unreached(host, not_known);
                    (format!("not reached: {not_known}"), false)
                }
                None => ("not asked".to_owned(), false),
            };
            left_out.push(LeftOut { host: host.name.clone(), why, is_balancer, is_there });
        }
        left_out
    }

    fn name_unreached(&mut self, host: &Host, not_known: &NotKnown) {
        let is_sent_to = host.is(Role::App) && self.is_sent_to(host);
        if self.is_of_changes_alone() {
            self.notes.push(format!("{}: not reached: {}", host.name, not_known.why));
        } else if self.balancers.is_empty() && host.is(Role::Balancer) {
            self.refuse_unknown(RefusalName::HostUnreached, host, not_known);
        } else if is_sent_to || (host.is(Role::App) && !host.is(Role::Balancer) && self.is_asked_for(host)) {
            let why = format!("not reached, so {} cannot be proven there: {}", self.colour(Side::To), not_known.why);
            self.refuse_unless_forced(RefusalName::HostUnreached, Some(host), why, not_known.hint.clone());
        } else {
            self.notes.push(format!("{}: not reached, its traffic stays as it is: {}", host.name, not_known.why));
        }
    }

    /// What sudo does not allow of what this run is sure to need: a side that is kept is not stopped, and the one that
    /// traffic goes to only where a start comes to nothing.
    fn missing_rights<'s>(&self, seen: &'s Seen) -> Result<Vec<&'s str>, &'s NotKnown> {
        let mut unused = facts::rights_to_stop(self.app(Side::To));
        if self.request.from_is_kept {
            unused.extend(facts::rights_to_stop(self.app(Side::From)));
        }
        let missing = seen.missing_rights.as_ref()?.iter().map(String::as_str);
        Ok(missing.filter(|right| !unused.iter().any(|words| words.join(" ") == *right)).collect())
    }

    /// Whether a balancer is known to send everything where the run goes.
    fn is_there(&self, seen: &Seen) -> bool {
        let to = self.colour(Side::To);
        seen.nginx.as_ref().is_some_and(|nginx| {
            facts::serving(self.inventory, nginx) == Some(Serving::only(to))
                && nginx.probe_answered_by != Some(to.other())
                && (200..500).contains(&nginx.probe.status)
        })
    }

    /// What must hold for every host, whatever it does.
    fn check_host(&mut self, host: &Host, seen: &Seen) {
        // Changes say for themselves what they need.
        if !self.is_of_changes_alone() {
            self.check_rights(host, seen);
        }
        match &seen.clock_offset_ms {
            Ok(offset) if offset.abs() > CLOCK_OFFSET_NOTED_MS => {
                self.notes.push(format!("{}: its clock is {:.1} s off ours", host.name, *offset as f64 / 1000.0));
            }
            Ok(_) | Err(_) => {}
        }
        if !self.is_of_changes_alone() {
            let stops = (!self.request.from_is_kept).then(|| self.app(Side::From));
            self.notes.extend(super::remarks::remarks(self.inventory, host, seen, stops));
        }
        self.check_who_is_there(host, seen);
    }

    /// What sudo must allow, and what must be there.
    fn check_rights(&mut self, host: &Host, seen: &Seen) {
        match self.missing_rights(seen) {
            Err(not_known) => {
                // What runs without a person has no terminal.
                let hint = match not_known.why.contains("must have a tty") {
                    true => format!("visudo -f /etc/sudoers.d/rollback-prod\nDefaults:{} !requiretty", seen.user),
                    false => format!("the lines of docs/start.md into /etc/sudoers.d/rollback-prod on {}", host.name),
                };
                self.refuse(
                    RefusalName::Sudo,
                    Some(host),
                    format!("we may not do what a switch needs: {}", not_known.why),
                    Some(hint),
                );
            }
            Ok(missing) if !missing.is_empty() => {
                // Who edits the file anyway may as well add what is only better to have.
                let words = missing.iter().copied().chain(seen.wanted_rights.iter().map(String::as_str));
                self.refuse(
                    RefusalName::Sudo,
                    Some(host),
                    format!("sudo does not allow {}: {}", seen.user, missing.join("; ")),
                    Some(sudoers_hint(seen, words)),
                );
            }
            Ok(_) => {}
        }
        if !seen.has_tool("curl") && !seen.has_tool("wget") {
            self.refuse(
                RefusalName::HostTools,
                Some(host),
                "it has neither curl nor wget, so nobody can be asked for an answer".into(),
                None,
            );
        }
    }

    /// Whoever else is at work there, or was.
    fn check_who_is_there(&mut self, host: &Host, seen: &Seen) {
        for said in &seen.dead_men {
            self.notes.push(format!("{}: the dead man of a switch: {said}", host.name));
        }
        for step in &seen.begun {
            self.notes.push(format!("{}: a step of an earlier run: {step}", host.name));
        }
        if let Some(lock) = &seen.lock {
            let is_alive = lock.age_seconds.is_some_and(|age| age < LOCK_STALE_SECONDS);
            if is_alive && lock.holder.starts_with(DEAD_MAN_OF) {
                let who = &lock.holder;
                self.notes.push(format!("{}: {who} puts all traffic back at this moment; he is waited for", host.name));
            } else if is_alive && self.request.takes_over.takes_from(&lock.holder) {
                self.notes.push(format!("{}: the lock is taken over from the live run of {}", host.name, lock.holder));
            } else if is_alive {
                self.refuse(
                    RefusalName::LockHeld,
                    Some(host),
                    format!("another run holds the lock: {}", lock.holder),
                    Some(
                        "ask them; if their run must stop before its next change, the same line with --take-over"
                            .into(),
                    ),
                );
            } else {
                self.notes.push(format!("{}: a stale lock is taken over from {}", host.name, lock.holder));
            }
        }
    }

    /// Lock, switch and drain of one balancer.
    fn balancer(&mut self, host: &Host, seen: &Seen) -> Option<Vec<(StageName, Step)>> {
        if self.is_of_changes_alone() {
            return Some(vec![(StageName::Lock, self.lock_step(host, None))]);
        }
        let nginx = seen.nginx.as_ref()?;
        let (path, text) = self.readable_file(host, seen, nginx)?;
        self.check_nginx(host, seen, nginx, path);
        let (to, from) = (self.colour(Side::To), self.colour(Side::From));
        if !self.moves_traffic() {
            return Some(vec![(StageName::Lock, self.lock_step(host, None))]);
        }
        if let Some(gradual) = &self.request.gradual {
            self.notes.extend(doubts::probe_notes(self.inventory, host, seen));
            return self.shifts(host, nginx, (path, text), gradual);
        }
        let Shift { change, share, says } = self.change(host, nginx, path, text)?;
        self.notes.extend(doubts::probe_notes(self.inventory, host, seen));
        if share == Share::ALL
            && nginx.mark.is_none()
            && nginx.probe_origin != Origin::NginxItself
            && seen.app(to).is_running.as_ref().is_ok_and(|running| *running)
        {
            self.notes.push(format!(
                "{}: answers of {to} and {from} look alike; the switch counts as proven when no old worker accepts any more",
                host.name
            ));
        }
        let proof = self.proof(nginx, share);
        let is_needed = change.is_needed();
        let wait = format!("test, reload, wait until {} answers", proof.who);
        let paths = [path].into_iter().chain(nginx.also.iter().map(String::as_str)).collect::<Vec<_>>().join(", ");
        let why = match is_needed {
            true => format!("{paths}: {says}; {wait}"),
            false => format!("{paths} says so already: {wait}"),
        };
        let before = self.share_of(nginx, &change.before).unwrap_or(Share::NONE);
        let undo = match is_needed {
            false => Undo::NothingToUndo,
            true => Undo::Does(Box::new(Action::Switch {
                change: change.reversed(),
                proof: self.proof(nginx, before),
                share: before,
                says: format!("{}, as before", self.shared(before)),
            })),
        };
        Some(vec![
            (StageName::Lock, self.lock_step(host, is_needed.then(|| change.clone()))),
            (
                StageName::Switch,
                Step {
                    host: host.name.clone(),
                    action: Action::Switch { change, proof, share, says },
                    guard: Guard::FileIsUnchanged { sha256: nginx.sha256.clone().unwrap_or_default() },
                    undo,
                    why,
                },
            ),
            (StageName::Drain, self.drain_step(host, Reach::OwnHost)),
        ])
    }

    /// A rollback to what is no other release changes nothing. An undo goes back to what was, whatever that is.
    fn check_releases(&mut self) {
        if self.request.undo.is_some() || !self.moves_traffic() {
            return;
        }
        // What it runs now is not what it will.
        let doubt = match self.request.to_release {
            Some(_) => self.same_as_before(),
            None => doubts::same_release(self.inventory, self.direction(), &self.apps),
        };
        self.check_rolled_back();
        if let Some(Doubt { name, why, hint }) = doubt {
            self.refuse_unless_forced(name, None, why, hint);
        } else {
            self.notes.extend(doubts::release_notes(self.direction(), &self.apps));
        }
    }

    fn lock_step(&self, host: &Host, candidate: Option<FileChange>) -> Step {
        let why = match (&candidate, self.moves_traffic()) {
            (None, false) => "two runs must not change the same host",
            _ => "two runs must not write the same file; nginx must accept the new one before any host changes",
        };
        Step {
            host: host.name.clone(),
            action: Action::Lock { candidate },
            guard: Guard::NobodyElseHoldsTheLock,
            undo: Undo::Released,
            why: why.to_owned(),
        }
    }

    /// How it is proven that traffic is shared so.
    fn proof(&self, nginx: &NginxFacts, share: Share) -> Proof {
        let (to, from) = (self.colour(Side::To), self.colour(Side::From));
        Proof {
            who: match share {
                Share::ALL => to.to_string(),
                Share::NONE => from.to_string(),
                _ => format!("{to} or {from}"),
            },
            pidfile: nginx.pidfile.clone(),
            error_logs: nginx.error_logs.clone(),
            access_logs: nginx.access_logs.clone(),
            // Where both sides answer, whose an answer is proves nothing.
            mark: nginx.mark.clone().filter(|_| share == Share::ALL),
        }
    }

    /// The file's path and text, where both are known.
    fn readable_file<'s>(&mut self, host: &Host, seen: &Seen, nginx: &'s NginxFacts) -> Option<(&'s str, &'s str)> {
        let path = match &nginx.path {
            Ok(path) => path,
            Err(not_known) => {
                self.refuse_unknown(RefusalName::FileUnknown, host, not_known);
                return None;
            }
        };
        match &nginx.text {
            Ok(text) => Some((path, text)),
            Err(not_known) => {
                // Without the right to read it, the right is what is asked for.
                if self.may_all(seen) {
                    self.refuse_unknown(RefusalName::FileUnknown, host, not_known);
                }
                None
            }
        }
    }

    fn may_all(&self, seen: &Seen) -> bool {
        self.missing_rights(seen).is_ok_and(|missing| missing.is_empty())
    }

    fn check_nginx(&mut self, host: &Host, seen: &Seen, nginx: &NginxFacts, path: &str) {
        if let Some(server) = self.comes_with_the_start(seen, nginx) {
            let to = self.colour(Side::To);
            let why =
                format!("nginx does not find {to}'s server {server} while {to} is down; it is tested once {to} runs");
            self.notes.push(format!("{}: {why}", host.name));
        } else if let Err(not_known) = &nginx.is_valid {
            // Without the right to run the test its words say nothing about the configuration.
            if self.may_all(seen) {
                match &nginx.left {
                    // A file that is written in place, and was not to its end.
                    Some(left) => {
                        let why = format!("{not_known}; a run was cut off there, and what it said before is in {left}");
                        let hint = format!("ssh {} sudo cp -a {left} {path}", host.ssh);
                        self.refuse(RefusalName::NginxTest, Some(host), why, Some(hint));
                    }
                    None => self.refuse_unknown(RefusalName::NginxTest, host, not_known),
                }
            }
        } else if let Some((unread, of_that_name)) = nginx.unread.first() {
            self.refuse_unread(host, unread, of_that_name.as_deref().map(|read| ("a file of that name", read)));
        } else if nginx.is_loaded == Ok(false) {
            let defined_in = nginx.defined_in.first().map(|read| ("the upstream that it serves", read.as_str()));
            let of_that_name = nginx.read_instead.as_deref().map(|read| ("a file of that name", read));
            self.refuse_unread(host, path, defined_in.or(of_that_name));
        } else if let Err(not_known) = &nginx.is_loaded {
            self.notes.push(format!("{}: whether nginx reads {path} is not known: {not_known}", host.name));
        }
        if nginx.master.is_none() {
            let hint = match &self.inventory.nginx.container {
                Some(container) => format!("ssh {} docker logs --tail 20 {container}", host.ssh),
                None => format!("ssh {} sudo systemctl status nginx", host.ssh),
            };
            self.refuse(RefusalName::NginxDown, Some(host), "nginx is not running there".into(), Some(hint));
        }
        if nginx.master.is_some() && self.may_all(seen) {
            self.doubt(host, doubts::probe_fails(self.inventory, host, seen));
        }
        if let Some(note) = doubts::is_the_target_of_a_link(self.inventory, host, path) {
            self.notes.push(note);
        }
        for mention in &nginx.mentions {
            let from = self.colour(Side::From);
            self.notes.push(format!("{}: another file sends to {from} too: {mention}", host.name));
        }
        self.check_space(host, seen, path);
    }

    /// A file that nginx does not read, and what it reads in its place.
    fn refuse_unread(&mut self, host: &Host, path: &str, read: Option<(&str, &str)>) {
        let (why, hint) = match read {
            None => ("no include names it".to_owned(), format!("ssh {} grep -rn include /etc/nginx", host.ssh)),
            Some((what, read)) => (
                format!("{what} is in {read}, which is another file"),
                match self.inventory.nginx.also.is_empty() {
                    true => format!("in the config: nginx.file = \"{read}\""),
                    false => format!("in the config, among nginx.files: \"{read}\""),
                },
            ),
        };
        self.refuse(RefusalName::FileUnread, Some(host), format!("nginx does not read {path}: {why}"), Some(hint));
    }

    /// Of the side that is started before the switch the server whose name nginx does not find before.
    fn comes_with_the_start(&self, seen: &Seen, nginx: &NginxFacts) -> Option<&'a ServerAddress> {
        let not_known = nginx.is_valid.as_ref().err()?;
        let to = self.app(Side::To);
        let is_down = to.reach == Reach::OwnHost && seen.app(to.colour).is_running == Ok(false);
        not_found(&not_known.why, &to.servers).filter(|_| is_down)
    }

    /// The file as it shall be, and the share that this gives to the side that traffic goes to.
    fn change(&mut self, host: &Host, nginx: &NginxFacts, path: &str, text: &str) -> Option<Shift> {
        let to = self.colour(Side::To);
        if self.inventory.nginx.layout == Layout::NotSaid {
            self.doubt(host, [doubts::layout(self.inventory, host, nginx, path)]);
            return None;
        }
        let rewritten = match self.site(nginx).rewrite(text, to, self.template) {
            Ok(rewritten) => rewritten,
            Err(not_understood) => {
                self.refuse_text(host, nginx, text, not_understood);
                return None;
            }
        };
        let change = |after: String| FileChange {
            path: path.to_owned(),
            also: nginx.also.clone(),
            before: text.to_owned(),
            after,
            mounted: nginx.mounted.clone(),
        };
        let before = self.before_the_incident(host, nginx, text, rewritten.strangers.is_empty());
        if let Some(before) = before {
            // What stood there before may be any share; nobody else than its own text says which.
            let Some(share) = self.share_of(nginx, &before) else {
                let why =
                    format!("{path}: whom it sent to before the incident is not to be told from what it said then");
                let hint = format!("ssh {} cat {path}", host.ssh);
                self.refuse(RefusalName::FileBefore, Some(host), why, Some(hint));
                return None;
            };
            let says = format!("{}, as before the incident", self.shared(share));
            return Some(Shift { change: change(before), share, says });
        }
        for stranger in &rewritten.strangers {
            let (path, line) = self.place(nginx, text, stranger.line);
            let why =
                format!("{path}: line {line}: server {} is neither blue nor green and takes traffic", stranger.address);
            let hint = format!("ssh {} cat {path}", host.ssh);
            self.refuse_unless_forced(RefusalName::FileStranger, Some(host), why, Some(hint));
        }
        for exception in &rewritten.exceptions {
            let from = to.other();
            let why = format!("{path}: {exception} still sends some requests to {from}");
            if self.request.from_is_kept {
                self.notes.push(format!("{}: {why}", host.name));
            } else {
                let hint = "nobody answers them once it is stopped: --keep-green leaves it running".to_owned();
                self.refuse_unless_forced(RefusalName::FileException, Some(host), why, Some(hint));
            }
        }
        self.notes.extend(doubts::file_notes(self.inventory, to, host, nginx, &rewritten));
        let says = self.site(nginx).says(to, &rewritten);
        Some(Shift { change: change(rewritten.text), share: Share::ALL, says })
    }

    /// A text that is not understood, or cannot be made to say what it should.
    fn refuse_text(&mut self, host: &Host, nginx: &NginxFacts, text: &str, not_understood: NotUnderstood) {
        let (path, line) = self.place(nginx, text, not_understood.line);
        let not_understood = NotUnderstood { line, ..not_understood };
        let excerpt = match not_understood.excerpt.is_empty() {
            true => String::new(),
            false => format!("\n    {}", not_understood.excerpt),
        };
        let hint = format!("ssh {} cat {path}", host.ssh);
        self.refuse(RefusalName::FileText, Some(host), format!("{path}: {not_understood}{excerpt}"), Some(hint));
    }

    /// The file, and the line of it, that is this line of the whole.
    fn place<'n>(&self, nginx: &'n NginxFacts, text: &str, line: usize) -> (&'n str, usize) {
        let (file, line) = joined::place(text, line);
        let first = nginx.path.as_deref().unwrap_or_default();
        let path = file.checked_sub(1).and_then(|also| nginx.also.get(also)).map_or(first, String::as_str);
        (path, line)
    }

    /// Who gets how much.
    fn shared(&self, share: Share) -> String {
        let (to, from) = (self.colour(Side::To), self.colour(Side::From));
        match share {
            Share::ALL => format!("{to} alone"),
            Share::NONE => format!("{from} alone"),
            split => format!("{to} {split}, {from} {}", split.rest()),
        }
    }

    fn site<'s>(&self, nginx: &'s NginxFacts) -> Site<'s>
    where
        'a: 's,
    {
        Site::of(self.inventory, &nginx.side_texts)
    }

    /// What a text, as an nginx file, gives to the side that traffic goes to; `None` where it is not understood.
    fn share_of(&self, nginx: &NginxFacts, text: &str) -> Option<Share> {
        Share::percent(*self.site(nginx).shares(text).ok()?.of(self.colour(Side::To)))
    }

    fn check_space(&mut self, host: &Host, seen: &Seen, path: &str) {
        let mount = seen
            .free_kib
            .iter()
            .filter(|(mount, _)| path.starts_with(mount.as_str()))
            .max_by_key(|(mount, _)| mount.len());
        if let Some((mount, free)) = mount.filter(|(_, free)| **free < FREE_KIB_NEEDED) {
            let hint = format!("ssh {} df -h {mount}", host.ssh);
            self.refuse(
                RefusalName::DiskFull,
                Some(host),
                format!("{mount} is full ({free} KiB free), {path} cannot be replaced"),
                Some(hint),
            );
        }
    }

    /// Whether traffic is to be moved at all: an incident may have changed the database alone.
    fn moves_traffic(&self) -> bool {
        !self.request.is_partial && self.request.undo.as_ref().is_none_or(|undo| !undo.files.is_empty())
    }

    /// In an undo, the file as it was before the incident, where it is still what the incident made of it, or was changed
    /// elsewhere alone and has only our servers.
    fn before_the_incident(
        &mut self,
        host: &Host,
        nginx: &NginxFacts,
        text: &str,
        is_all_ours: bool,
    ) -> Option<String> {
        let change = self.request.undo.as_ref()?.files.get(&host.name)?;
        let between = self.request.undo.as_ref().and_then(|undo| undo.between.get(&host.name));
        let is_between = between.is_some_and(|texts| texts.iter().any(|other| other == text));
        if change.after == text || change.before == text || is_between {
            return Some(change.before.clone());
        }
        let is_a_copy = matches!(self.inventory.nginx.layout, Layout::Copy(_));
        let share = self.share_of(nginx, &change.before);
        let elsewhere = rebased(&change.after, &change.before, text)
            .filter(|before| !is_a_copy && is_all_ours && share.is_some() && self.share_of(nginx, before) == share);
        if let Some(before) = elsewhere {
            self.notes.push(format!(
                "{}: {} is not what the incident left any more; what was changed elsewhere in it stays as it is now",
                host.name, change.path
            ));
            return Some(before);
        }
        self.notes.push(format!(
            "{}: {} is not what the incident left any more; only the shares are changed, the rest stays as it is now",
            host.name, change.path
        ));
        None
    }

    /// The step that starts a side which is to get traffic, where it is down.
    fn start(&mut self, host: &Host, seen: &Seen, side: Side) -> Option<Step> {
        let colour = self.colour(side);
        let theirs = seen.app(colour);
        let run = &self.app(side).run;
        if let Some(doubt) = doubts::names_nothing(self.app(side), host, theirs) {
            self.doubt(host, [doubt]);
            return None;
        }
        let cannot_start = doubts::cannot_start(self.app(side), host, theirs);
        if !cannot_start.is_empty() {
            self.doubt(host, cannot_start);
            return None;
        }
        if theirs.port_is_open && theirs.listener_is_ours == Ok(false) {
            let who: Vec<String> =
                theirs.listeners.iter().map(|l| format!("pid {} {} on port {}", l.pid, l.exe, l.port)).collect();
            self.refuse(
                RefusalName::BluePort,
                Some(host),
                format!("{colour}'s port is answered by somebody else: {} is not {}", who.join(", "), run.describe()),
                Some(format!("ssh {} sudo ss -ltnp", host.ssh)),
            );
            return None;
        }
        let is_running = match &theirs.is_running {
            Ok(is_running) => *is_running,
            Err(not_known) if theirs.is_healthy() => {
                self.notes.push(format!(
                    "{}: {colour} answers, but its {} is not known: {not_known}",
                    host.name,
                    run.describe()
                ));
                true
            }
            Err(not_known) => {
                let hint = start_hint(host, run, "status");
                self.refuse(
                    RefusalName::BlueUnknown,
                    Some(host),
                    format!("{colour} cannot be judged: {not_known}; {}", theirs.complaint()),
                    hint,
                );
                return None;
            }
        };
        if !is_running && !theirs.port_is_open {
            if matches!(run, Run::Process { start: None, .. }) {
                let why = format!(
                    "{colour} is down, and the config does not say how to start it ([{colour}] run.process.start)"
                );
                self.refuse(RefusalName::BlueNoStart, Some(host), why, None);
                return None;
            }
            return Some(Step {
                host: host.name.clone(),
                action: Action::Start { side },
                guard: Guard::WeHoldTheLock,
                undo: self.undo_of_start(seen, side),
                why: format!("{colour} is down ({}): start {} and ask it", theirs.state, run.describe()),
            });
        }
        if !theirs.is_healthy() {
            let why = format!("{colour} runs ({}) and is not well: {}", theirs.state, theirs.complaint());
            self.refuse(RefusalName::BlueIll, Some(host), why, start_hint(host, run, "status"));
            return None;
        }
        if let Err(not_known) = &theirs.listener_is_ours {
            self.notes.push(format!("{}: who answers on {colour}'s port is not known: {not_known}", host.name));
        }
        None
    }

    /// What was started for nothing is stopped again, where sudo allows that.
    fn undo_of_start(&self, seen: &Seen, side: Side) -> Undo {
        let app = self.app(side);
        let missing = seen.missing_rights.as_ref().map(Vec::as_slice).unwrap_or_default();
        let rights = facts::rights_to_stop(app).into_iter().map(|words| words.join(" "));
        if let Some(right) = rights.into_iter().find(|right| missing.contains(right)) {
            return Undo::Impossible(format!("sudo does not allow {right}"));
        }
        Undo::Does(Box::new(Action::Stop { side, target: Target::later(&app.run) }))
    }

    /// The drain of an app host that is no balancer itself: a balancer's is planned with its switch.
    fn drain(&self, host: &Host) -> Option<Step> {
        let is_planned = host.is(Role::Balancer) && self.is_asked_for(host);
        (!is_planned).then(|| self.drain_step(host, self.app(Side::From).reach))
    }

    fn drain_step(&self, host: &Host, reach: Reach) -> Step {
        Step {
            host: host.name.clone(),
            action: Action::Drain,
            guard: Guard::AreShifted { reach },
            undo: Undo::NothingToUndo,
            why: format!(
                "requests in flight end on {}; {} s at most",
                self.colour(Side::From),
                self.inventory.drain_timeout.as_secs_f64()
            ),
        }
    }

    /// What is done about the side that traffic leaves, on one of its hosts: it is stopped where no balancer can still
    /// send to it, known or not, and only if that is wanted and it runs.
    fn stop(&mut self, host: &Host, seen: &Seen, sides: &BTreeSet<Side>, not_there: &BTreeSet<&HostName>) -> Step {
        let from = self.colour(Side::From);
        let app = self.app(Side::From);
        let left = |as_what: LeftAs| Step {
            host: host.name.clone(),
            action: Action::Leave { side: Side::From, as_what },
            guard: Guard::Nothing,
            undo: Undo::NothingToUndo,
            why: format!("{from} is left as it is"),
        };
        let theirs = seen.app(from);
        // What gets traffic, too, runs by then, whether it does now or not.
        if !must_be_stopped(&app.run, theirs) && !sides.contains(&Side::From) {
            return left(LeftAs::Down);
        }
        if self.request.from_is_kept {
            let why = match self.request.undo {
                None => "--keep-green".to_owned(),
                Some(_) => format!("{from} is left running"),
            };
            return left(LeftAs::Kept { why });
        }
        if !self.is_stop_asked_for(host) {
            return left(LeftAs::Kept { why: "left out by --hosts".to_owned() });
        }
        self.doubt(host, doubts::serves_both(self.inventory, self.direction(), host, seen));
        if let Some(doubt) = doubts::names_nothing(app, host, theirs) {
            self.notes.push(format!("{}: {from} is left running: {}", host.name, doubt.why));
            return left(LeftAs::Running { why: doubt.why });
        }
        let is_own_host = app.reach == Reach::OwnHost;
        let may_send = |balancer: &&&HostName| !is_own_host || ***balancer == host.name;
        let still: Vec<&str> = not_there.iter().filter(may_send).map(|balancer| balancer.as_str()).collect();
        let target = match (still.is_empty(), &app.run, first_of(&theirs.listeners)) {
            (false, _, _) => Err(format!("{} may still send to it", still.join(", "))),
            (true, Run::Systemd(_) | Run::Docker(_) | Run::Compose { .. } | Run::Command(_), _) => {
                Ok(Target::Supervised)
            }
            (true, Run::Process { exe, .. }, Some(listener)) if theirs.listener_is_ours == Ok(true) => {
                match listener.restarted_by() {
                    None => Ok(Target::Process {
                        pid: listener.pid,
                        started: listener.started.clone(),
                        exe: listener.program().to_owned(),
                    }),
                    Some(supervisor) => Err(format!(
                        "pid {} is kept running by {supervisor}, which would start it again; say how it is stopped: \
                         [{from}] run.command",
                        listener.pid
                    )),
                }
            }
            (true, Run::Process { exe, .. }, Some(listener)) => {
                let stranger = format!("pid {} on its port is {}, not {exe}", listener.pid, listener.exe);
                // pm2 runs a script from one of its own and gives it a name that is no path.
                Err(match listener.restarted_by() {
                    None => stranger,
                    Some(supervisor) => format!(
                        "{stranger}; it is kept running by {supervisor}: if that is {from}, say how it is stopped: \
                         [{from}] run.command"
                    ),
                })
            }
            (true, Run::Process { .. }, None) => {
                Err("the process on its port belongs to another user and sudo does not show it".to_owned())
            }
        };
        let target = match target {
            Ok(target) => target,
            Err(why) => {
                self.notes.push(format!("{}: {from} is left running: {why}", host.name));
                return left(LeftAs::Running { why });
            }
        };
        let undo = match &app.run {
            Run::Process { start: None, .. } => {
                Undo::Impossible(format!("the config does not say how to start it ([{from}] run.process.start)"))
            }
            Run::Process { .. } | Run::Systemd(_) | Run::Docker(_) | Run::Compose { .. } | Run::Command(_) => {
                Undo::Does(Box::new(Action::Start { side: Side::From }))
            }
        };
        Step {
            host: host.name.clone(),
            action: Action::Stop { side: Side::From, target },
            guard: Guard::NobodyNeedsIt { reach: app.reach },
            undo,
            why: format!("{}: {}, then its port must stay closed", app.run.describe(), how_it_is_stopped(app)),
        }
    }

    fn verify(&self, host: &Host, sides: &BTreeSet<Side>) -> Step {
        let verify = &self.inventory.verify;
        Step {
            host: host.name.clone(),
            action: Action::Verify { sides: sides.iter().copied().collect() },
            guard: Guard::Nothing,
            undo: Undo::NothingToUndo,
            why: format!(
                "{} answers in a row {} s apart, public URLs and smoke command from here, nginx's error share",
                verify.passes,
                verify.interval.as_secs_f64()
            ),
        }
    }

    /// The lock on every other host that something is changed on, or where a step of an earlier run left its record:
    /// whoever holds the lock takes that away.
    fn lock_the_rest(&self, stages: &mut Stages, databases: &[InScope<'a>]) {
        let locked: BTreeSet<HostName> = stages.hosts(StageName::Lock);
        let mut changed = stages.hosts(StageName::Start);
        changed.extend(stages.stopped());
        changed.extend(stages.changed());
        changed.extend(databases.iter().map(|(host, _)| host.name.clone()));
        let left = self.apps.iter().filter(|(_, seen)| !seen.begun.is_empty());
        changed.extend(left.map(|(host, _)| host.name.clone()));
        for host in
            self.inventory.hosts.iter().filter(|host| changed.contains(&host.name) && !locked.contains(&host.name))
        {
            let lock = Step {
                host: host.name.clone(),
                action: Action::Lock { candidate: None },
                guard: Guard::NobodyElseHoldsTheLock,
                undo: Undo::Released,
                why: "two runs must not start and stop the same processes".to_owned(),
            };
            stages.extend([(StageName::Lock, lock)]);
        }
    }

    fn database(&mut self, stages: &mut Stages) {
        let Some(database) = &self.inventory.database else { return };
        let host = self.inventory.with_role(Role::Database).next().or(self.inventory.hosts.first());
        let Some(host) = host.map(|host| &host.name) else { return };
        let step = |action: Action, guard: Guard, undo: Undo, why: String| Step {
            host: host.clone(),
            action,
            guard,
            undo,
            why,
        };
        if let Some(swap) = self.request.undo.as_ref().and_then(|undo| undo.swap.as_ref()) {
            let why = format!("{} takes the place of {} again; what is live now is kept", swap.kept, swap.live);
            let undo = Undo::ByCommand(format!("what is live now is kept beside it; {} is not dropped", swap.live));
            let take_back = step(Action::TakeBack { swap: swap.clone() }, Guard::WeHoldTheLock, undo, why);
            stages.extend([(StageName::TakeBack, take_back)]);
        }
        if let Some(merge) = self.request.undo.as_ref().and_then(|undo| undo.merge.as_ref()) {
            let names = merge.names();
            let why = format!("rows of {names} are what {} keeps of before; what is there now is kept", merge.kept);
            let undo = Undo::ByCommand(format!("what is there now is kept beside it; {} is not dropped", merge.kept));
            let take_back = step(Action::TakeRowsBack { merge: merge.clone() }, Guard::WeHoldTheLock, undo, why);
            stages.extend([(StageName::TakeBack, take_back)]);
        }
        if let Some(wish) = &self.request.restore {
            let dump = match (&wish.backup, &database.backups) {
                (Some(backup), _) => backup.to_string(),
                (None, Some(pattern)) => format!("the newest whole dump of {pattern}"),
                (None, None) => "a dump".to_owned(),
            };
            let load = step(
                Action::Load { wish: wish.clone() },
                Guard::TrafficIsSafe,
                Undo::CopyIsDropped,
                format!("database {}: {dump} is loaded aside; the live one is not touched", database.name),
            );
            let (action, why) = match &wish.tables {
                None => (
                    Action::Swap,
                    format!("database {}: two renames in one transaction; the replaced one is kept", database.name),
                ),
                Some(tables) => (
                    Action::Merge { wish: tables.clone() },
                    format!(
                        "database {}: rows of {} in one transaction, in which nobody else writes to them; what they were is \
                         kept",
                        database.name,
                        tables.names.join(", ")
                    ),
                ),
            };
            let swap = step(action, Guard::WeHoldTheLock, Undo::ByCommand("rollback-prod undo".to_owned()), why);
            stages.extend([(StageName::Load, load), (StageName::Swap, swap)]);
        }
    }
}

/// The steps of a plan while it is made.
#[derive(Default)]
struct Stages(BTreeMap<StageName, Vec<Step>>);

impl Stages {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn extend(&mut self, steps: impl IntoIterator<Item = (StageName, Step)>) {
        for (name, step) in steps {
            self.0.entry(name).or_default().push(step);
        }
    }

    fn hosts(&self, name: StageName) -> BTreeSet<HostName> {
        self.0.get(&name).into_iter().flatten().map(|step| step.host.clone()).collect()
    }

    /// Who gets traffic once it was moved: mostly the side that it goes to, and nobody else. What was before an incident may
    /// be any share.
    fn sides(&self) -> BTreeSet<Side> {
        let last = self.0.iter().rev().find(|(name, _)| name.moves_traffic());
        let shares = last.into_iter().flat_map(|(_, steps)| steps).filter_map(|step| match &step.action {
            Action::Switch { share, .. } => Some(*share),
            _ => None,
        });
        shares
            .flat_map(|share| {
                let to = (share != Share::NONE).then_some(Side::To);
                let from = (share != Share::ALL).then_some(Side::From);
                to.into_iter().chain(from)
            })
            .collect()
    }

    fn stopped(&self) -> impl Iterator<Item = HostName> {
        let stops = self.0.get(&StageName::Stop).into_iter().flatten();
        stops.filter(|step| matches!(step.action, Action::Stop { .. })).map(|step| step.host.clone())
    }

    /// Hosts on which changes are made.
    fn changed(&self) -> impl Iterator<Item = HostName> {
        let of_changes = self.0.iter().filter(|(name, _)| name.is_of_a_change());
        of_changes.flat_map(|(_, steps)| steps).map(|step| step.host.clone())
    }

    fn in_order(self) -> Vec<Stage> {
        let first_after = self.0.keys().find(|name| matches!(name, StageName::Change(_))).copied();
        let moves_traffic = self.0.keys().any(|name| name.moves_traffic());
        let gate = |name: StageName| match name {
            StageName::Lock | StageName::Load | StageName::Stop | StageName::Verify | StageName::Remember => Gate::Open,
            StageName::TakeBack => Gate::Typed(Word::Undo),
            StageName::Start | StageName::Arm | StageName::Shift(_) | StageName::Switch => Gate::NoneFailed,
            // The first one waits for traffic, as what is not urgent any more does.
            name @ StageName::Change(_) if Some(name) == first_after && moves_traffic => Gate::AnyProven,
            StageName::Ready(_) | StageName::Change(_) => Gate::NoneFailed,
            StageName::Drain => Gate::AnyProven,
            StageName::Swap => Gate::Typed(Word::Restore),
            StageName::Downgrade => Gate::Typed(Word::Downgrade),
        };
        self.0.into_iter().map(|(name, steps)| Stage { name, gate: gate(name), steps }).collect()
    }
}

fn sha256_of(text: &str) -> String {
    sha256(&bytes_of(text))
}

fn how_it_is_stopped(app: &App) -> String {
    let grace = app.stop_timeout.as_secs_f64();
    match &app.run {
        Run::Command(commands) => format!("`{}`, {grace} s at most", commands.stop.join(" ")),
        Run::Systemd(_) | Run::Docker(_) | Run::Compose { .. } | Run::Process { .. } => {
            format!("SIGTERM, after {grace} s SIGKILL")
        }
    }
}

/// The command that tells more about a colour on a host.
fn start_hint(host: &Host, run: &Run, verb: &str) -> Option<String> {
    match run {
        Run::Systemd(unit) => Some(format!("ssh {} systemctl {verb} {unit}", host.ssh)),
        Run::Docker(name) => Some(format!("ssh {} docker logs --tail 50 {name}", host.ssh)),
        Run::Compose { file, service, .. } => {
            Some(format!("ssh {} docker compose -f {file} logs --tail 50 {service}", host.ssh))
        }
        Run::Process { port, .. } => Some(format!("ssh {} 'ss -ltnp | grep {port}'", host.ssh)),
        Run::Command(commands) => Some(format!("ssh {} {}", host.ssh, commands.status.join(" "))),
    }
}

/// What to type where sudo does not allow these.
fn sudoers_hint<'w>(seen: &Seen, rights: impl Iterator<Item = &'w str>) -> String {
    let lines: Vec<String> = rights.map(|words| sudoers_line(&seen.user, seen, words)).collect();
    format!("visudo -f /etc/sudoers.d/rollback-prod\n{}", lines.join("\n"))
}

/// The line for a sudoers file that allows exactly these words, with what sudoers(5) gives a meaning escaped.
pub fn sudoers_line(user: &str, seen: &Seen, words: &str) -> String {
    let (program, rest) = words.split_once(' ').unwrap_or((words, ""));
    let path =
        seen.tools.iter().find(|path| path.rsplit('/').next() == Some(program)).cloned().unwrap_or_else(|| {
            if program.starts_with('/') { program.to_owned() } else { format!("/usr/bin/{program}") }
        });
    let mut escaped = String::new();
    for c in rest.chars() {
        if ",:=\\*?[]!".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    format!("{user} ALL=(root) NOPASSWD: {path} {escaped}").trim_end().to_owned()
}
