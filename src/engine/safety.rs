//! An independent reader of finished plans: whatever the planner thought, no prefix of a plan, with the undos of its steps
//! or without, may leave nobody serving, and nobody may be stopped before the other is proven. Shares no code with the
//! planner, on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::hosts::facts::Facts;
use crate::nginx::Site;
use crate::nouns::change::is_here;
use crate::nouns::digest::sha256;
use crate::nouns::inventory::{Inventory, Reach};
use crate::nouns::names::HostName;
use crate::nouns::octets::bytes_of;
use crate::nouns::plan::{Action, FileChange, Guard, LeftAs, Plan, StageName, Step, Undo};
use crate::nouns::share::Share;
use crate::nouns::side::{Direction, Side};

/// A rule that a plan breaks. A plan with one is never executed: it is a mistake in this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Stages are not in the order that keeps somebody serving.
    OutOfOrder { before: StageName, after: StageName },
    /// A side would be stopped while this balancer is neither switched by the plan nor known to be off it.
    StopsUnderABalancer { app: HostName, balancer: HostName },
    /// A side would be stopped without the guard that looks at who takes its place and who is connected to it.
    StopsUnguarded { app: HostName },
    /// A file would be replaced without the digest of what it replaces.
    FileWithoutGuard { host: HostName },
    /// A host would be changed on which the lock is not taken first.
    ChangeWithoutLock { host: HostName },
    /// A switch whose undo is not the same file the other way round.
    SwitchWithoutUndo { host: HostName },
    /// What the plan says of a file's share is not what the file says.
    ShareIsNotTheFiles { host: HostName },
    /// After this stage nobody would serve behind that balancer.
    NobodyServes { balancer: HostName, after: StageName },
    /// Taken back after this stage, nobody would serve behind a balancer that was served before, or a file would be another.
    NotTakenBack { balancer: HostName, after: StageName },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::OutOfOrder { before, after } => write!(f, "{before:?} must come before {after:?}"),
            Violation::StopsUnderABalancer { app, balancer } => {
                write!(f, "what runs on {app} would be stopped while {balancer} may still send to it")
            }
            Violation::StopsUnguarded { app } => write!(f, "what runs on {app} would be stopped without a look around"),
            Violation::FileWithoutGuard { host } => write!(f, "{host}: the file would be replaced unseen"),
            Violation::ChangeWithoutLock { host } => write!(f, "{host}: would be changed without the lock"),
            Violation::SwitchWithoutUndo { host } => write!(f, "{host}: the switch could not be put back"),
            Violation::ShareIsNotTheFiles { host } => write!(f, "{host}: the file says another share than the plan"),
            Violation::NobodyServes { balancer, after } => {
                write!(f, "{balancer}: nobody would serve after the stage {after:?}")
            }
            Violation::NotTakenBack { balancer, after } => {
                write!(f, "{balancer}: taken back after the stage {after:?}, it would not be as it was")
            }
        }
    }
}

/// What a plan is held against.
struct Rules<'r> {
    inventory: &'r Inventory,
    facts: &'r Facts,
    direction: Direction,
    /// Which balancers can send to each side.
    to_reach: Reach,
    from_reach: Reach,
}

impl Rules<'_> {
    /// Of the traffic, what a text, as an nginx file, gives to the side that traffic goes to and to the other one; `None`
    /// where it is not understood.
    fn shares(&self, balancer: &HostName, text: &str) -> Option<(Share, Share)> {
        let site = Site::of(self.inventory, &self.facts.seen(balancer)?.nginx.as_ref()?.side_texts);
        let shares = site.shares(text).ok()?;
        let share = |side| Share::percent(*shares.of(self.direction.colour(side)));
        // A server that belongs to neither is left alone, and says nothing of how the two share what is theirs.
        match (share(Side::To)?, share(Side::From)?) {
            (to, from) if to != Share::NONE && from == Share::NONE => Some((Share::ALL, from)),
            (to, from) if to == Share::NONE && from != Share::NONE => Some((to, Share::ALL)),
            both => Some(both),
        }
    }
}

impl Rules<'_> {
    /// Whether a text sends everything to whom traffic comes from.
    fn is_home(&self, balancer: &HostName, text: &str) -> bool {
        self.shares(balancer, text) == Some((Share::NONE, Share::ALL))
    }
}

/// Every rule that the plan breaks.
pub fn check(plan: &Plan, inventory: &Inventory, facts: &Facts) -> Vec<Violation> {
    let reach = |side: Side| inventory.app(plan.direction.colour(side)).reach;
    let direction = plan.direction;
    let rules = &Rules { inventory, facts, direction, to_reach: reach(Side::To), from_reach: reach(Side::From) };
    let mut violations = Vec::new();
    for pair in plan.stages.windows(2) {
        if pair[0].name >= pair[1].name {
            violations.push(Violation::OutOfOrder { before: pair[1].name, after: pair[0].name });
        }
    }
    let locked: BTreeSet<HostName> = plan.hosts_of(StageName::Lock).into_iter().collect();
    for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
        check_step(plan, step, &locked, rules, &mut violations);
    }
    check_prefixes(plan, rules, &mut violations);
    violations
}

fn check_step(
    plan: &Plan,
    step: &Step,
    locked: &BTreeSet<HostName>,
    rules: &Rules<'_>,
    violations: &mut Vec<Violation>,
) {
    let host = || step.host.clone();
    match &step.action {
        Action::Switch { change, share, .. } => {
            let is_guarded = matches!(&step.guard, Guard::FileIsUnchanged { sha256: known }
                if *known == sha256(&bytes_of(&change.before)));
            if !is_guarded {
                violations.push(Violation::FileWithoutGuard { host: host() });
            }
            let takes_it_back = match &step.undo {
                Undo::NothingToUndo => change.before == change.after,
                Undo::Does(action) => matches!(action.as_ref(), Action::Switch { change: back, .. }
                    if back.path == change.path && back.before == change.after && back.after == change.before),
                Undo::AllBack(action) => matches!(action.as_ref(), Action::Switch { change: back, .. }
                    if plan.is_gradual && back.path == change.path && back.before == change.after
                        && rules.is_home(&step.host, &back.after)),
                Undo::Released
                | Undo::CopyIsDropped
                | Undo::EndsByItself
                | Undo::ByCommand(_)
                | Undo::Impossible(_) => false,
            };
            if !takes_it_back {
                violations.push(Violation::SwitchWithoutUndo { host: host() });
            }
            if rules.shares(&step.host, &change.after).map(|(to, _)| to) != Some(*share) {
                violations.push(Violation::ShareIsNotTheFiles { host: host() });
            }
        }
        Action::Stop { side: Side::From, .. } => {
            if !matches!(step.guard, Guard::NobodyNeedsIt { reach } if reach == rules.from_reach) {
                violations.push(Violation::StopsUnguarded { app: host() });
            }
            for left in plan.left_out.iter().filter(|left| left.is_balancer && !left.is_there) {
                if rules.from_reach.includes(&left.host, &step.host) {
                    violations.push(Violation::StopsUnderABalancer { app: host(), balancer: left.host.clone() });
                }
            }
        }
        Action::Arm { back, .. } => {
            let is_good = |change: &FileChange| rules.is_home(&step.host, &change.after);
            if !back.iter().all(is_good) {
                violations.push(Violation::SwitchWithoutUndo { host: host() });
            }
        }
        Action::Start { .. } | Action::Stop { .. } => {}
        // Nobody locks his own machine.
        Action::Change { .. } if is_here(&step.host) => return,
        Action::Change { .. } | Action::Remember { .. } => {}
        Action::Lock { .. }
        | Action::Drain
        | Action::Leave { .. }
        | Action::Verify { .. }
        | Action::Load { .. }
        | Action::Swap
        | Action::Merge { .. }
        | Action::TakeBack { .. }
        | Action::TakeRowsBack { .. } => return,
    }
    if !locked.contains(&step.host) {
        violations.push(Violation::ChangeWithoutLock { host: host() });
    }
}

/// Who runs and who is sent to, as the plan would have it.
#[derive(Clone, PartialEq, Eq)]
struct World<'p> {
    files: BTreeMap<&'p HostName, &'p str>,
    to_runs: BTreeSet<&'p HostName>,
    from_runs: BTreeSet<&'p HostName>,
}

impl<'p> World<'p> {
    /// Before the first step: what the plan starts is down, what it does not stop runs unless it says that it is down.
    fn before(plan: &'p Plan) -> World<'p> {
        let steps = || plan.stages.iter().flat_map(|stage| &stage.steps);
        let started: BTreeSet<(&HostName, Side)> = steps()
            .filter_map(|step| match step.action {
                Action::Start { side } => Some((&step.host, side)),
                _ => None,
            })
            .collect();
        let apps = || {
            steps().filter_map(|step| match &step.action {
                Action::Stop { side: Side::From, .. } => Some((&step.host, true)),
                Action::Leave { as_what, .. } => Some((&step.host, *as_what != LeftAs::Down)),
                _ => None,
            })
        };
        World {
            files: steps()
                .filter_map(|step| match &step.action {
                    Action::Switch { change, .. } => Some((&step.host, change.before.as_str())),
                    _ => None,
                })
                // Of several shares the first one changes what is there.
                .rev()
                .collect(),
            to_runs: apps().map(|(host, _)| host).filter(|host| !started.contains(&(host, Side::To))).collect(),
            from_runs: apps()
                .filter(|(host, runs)| *runs && !started.contains(&(*host, Side::From)))
                .map(|(host, _)| host)
                .collect(),
        }
    }

    fn apply(&mut self, host: &'p HostName, action: &'p Action) {
        match action {
            Action::Switch { change, .. } => {
                self.files.insert(host, &change.after);
            }
            Action::Start { side: Side::To } => drop(self.to_runs.insert(host)),
            Action::Start { side: Side::From } => drop(self.from_runs.insert(host)),
            Action::Stop { side: Side::To, .. } => drop(self.to_runs.remove(host)),
            Action::Stop { side: Side::From, .. } => drop(self.from_runs.remove(host)),
            Action::Lock { .. }
            | Action::Arm { .. }
            | Action::Drain
            | Action::Leave { .. }
            | Action::Verify { .. }
            | Action::Load { .. }
            | Action::Swap
            | Action::Merge { .. }
            | Action::TakeBack { .. }
            | Action::TakeRowsBack { .. }
            | Action::Change { .. }
            | Action::Remember { .. } => {}
        }
    }

    /// Balancers behind which nobody serves: some share of the traffic goes to a side that does not run.
    fn unserved(&self, rules: &Rules<'_>) -> Vec<&'p HostName> {
        let runs = |who: &BTreeSet<&HostName>, reach: Reach, balancer: &HostName| match reach {
            Reach::OwnHost => who.contains(balancer),
            Reach::AnyBalancer => !who.is_empty(),
        };
        let is_served = |(balancer, text): &(&&'p HostName, &&str)| {
            rules.shares(balancer, text).is_some_and(|(to, from)| {
                (to == Share::NONE || runs(&self.to_runs, rules.to_reach, balancer))
                    && (from == Share::NONE || runs(&self.from_runs, rules.from_reach, balancer))
                    && (to, from) != (Share::NONE, Share::NONE)
            })
        };
        self.files.iter().filter(|served| !is_served(served)).map(|(balancer, _)| *balancer).collect()
    }
}

/// Every prefix of stages, and the same with everything taken back that can be.
fn check_prefixes(plan: &Plan, rules: &Rules<'_>, violations: &mut Vec<Violation>) {
    let before = World::before(plan);
    // Who was not served before, which may be why somebody rolls back, is no fault of the plan's until it moves him.
    let unserved_before: BTreeSet<&HostName> = before.unserved(rules).into_iter().collect();
    let mut world = before.clone();
    let mut done: Vec<&Step> = Vec::new();
    for stage in &plan.stages {
        for step in &stage.steps {
            world.apply(&step.host, &step.action);
            done.push(step);
        }
        let has_moved = stage.name > StageName::Arm;
        for balancer in world.unserved(rules) {
            if has_moved || !unserved_before.contains(balancer) {
                violations.push(Violation::NobodyServes { balancer: balancer.clone(), after: stage.name });
            }
        }
        let mut back = world.clone();
        let mut is_complete = true;
        for step in done.iter().rev() {
            match &step.undo {
                Undo::Does(action) | Undo::AllBack(action) => back.apply(&step.host, action),
                Undo::Impossible(_) => is_complete = false,
                Undo::Released
                | Undo::CopyIsDropped
                | Undo::EndsByItself
                | Undo::ByCommand(_)
                | Undo::NothingToUndo => {}
            }
        }
        let is_as_before = match plan.is_gradual {
            false => back.files == before.files && (!is_complete || back == before),
            // Whatever was split before: what goes back goes to one side.
            true => back.files.iter().all(|(host, text)| before.files[host] == *text || rules.is_home(host, text)),
        };
        let unserved = back.unserved(rules);
        let lost = unserved.into_iter().find(|balancer| is_complete && !unserved_before.contains(balancer));
        if let Some(balancer) = lost.or(before.files.keys().copied().next().filter(|_| !is_as_before)) {
            violations.push(Violation::NotTakenBack { balancer: balancer.clone(), after: stage.name });
        }
    }
}
