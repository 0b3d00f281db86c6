//! Releases: blue is put to an earlier one before it gets traffic, which one that is on each host, and why it cannot be; and
//! those that were rolled back.

use std::collections::BTreeSet;

use super::changes::Made;
use super::{InScope, Planner, Stages};
use crate::engine::doubts::{self, Doubt};
use crate::hosts::facts;
use crate::nouns::colour::Colour;
use crate::nouns::earlier::Earlier;
use crate::nouns::inventory::{Host, Role};
use crate::nouns::plan::{Action, Guard, StageName, Step, Undo};
use crate::nouns::record::MeantChange;
use crate::nouns::refusal::RefusalName;
use crate::nouns::side::Side;

impl<'a> Planner<'a> {
    /// The release that was asked for, and where its kin are kept.
    fn wanted_release(&self) -> Option<(&'a str, &'a Earlier)> {
        Some((self.request.to_release.as_deref()?, self.inventory.earlier.as_ref()?))
    }

    /// Plans that blue is put to the release that was asked for, on every host that it may get traffic on.
    pub(super) fn earlier_release(&mut self, stages: &mut Stages) -> Option<MeantChange> {
        let (wanted, earlier) = self.wanted_release()?;
        let has_traffic = self.has_traffic_now();
        let names = self.wanted_names();
        if names.len() > 1 {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let why = format!("{wanted} is not the same release on every host: {names}");
            self.refuse_unless_forced(RefusalName::ReleaseDiffers, None, why, None);
        }
        let mut meant = MeantChange { name: earlier.change.name.clone(), hosts: Vec::new(), in_force: Vec::new() };
        for (host, _) in self.apps.clone() {
            meant.hosts.push(host.name.clone());
            let Some(kept) = self.facts.earlier(&host.name) else { continue };
            if let Some(unknown) = &kept.unknown {
                let why = format!("which releases of {} it keeps is not known: {}", Colour::Blue, unknown.why);
                self.refuse(RefusalName::ReleaseUnknown, Some(host), why, unknown.hint.clone());
                continue;
            }
            let (release, change) = match kept.change_to(earlier, wanted) {
                Ok(found) => found,
                Err(why) => {
                    self.refuse(
                        RefusalName::ReleaseNotKept,
                        Some(host),
                        format!("{} cannot be put to {wanted}: {why}", Colour::Blue),
                        Some("rollback-prod releases".into()),
                    );
                    continue;
                }
            };
            let Some(standing) = self.facts.change(&change.name, &host.name) else { continue };
            let is_there = standing.are_alike() && standing.check.as_ref().is_none_or(|check| *check == Ok(0));
            if has_traffic != Some(false) {
                if is_there {
                    self.notes.push(format!("{}: {} is put to {} already", host.name, Colour::Blue, release.name));
                    meant.in_force.push(host.name.clone());
                    continue;
                }
                self.refuse_while_it_serves(&release.name, has_traffic);
                if has_traffic == Some(true) {
                    continue;
                }
            }
            if change.undo.is_empty() && !change.run.is_empty() && change.files.is_empty() {
                let now = kept.name_now().unwrap_or("what it runs now");
                let why = format!("no repository has {now} any more, so `undo` cannot put {} back to it", Colour::Blue);
                self.notes.push(format!("{}: {why}", host.name));
            }
            // Who has no traffic is started again even where it says that it is there: what runs may be older than what it says.
            if self.made_on(&host.name, 0, &change, standing, stages) == Made::WithTheStart {
                self.notes.push(format!(
                    "{}: {} is put to {} already, and is started",
                    host.name,
                    Colour::Blue,
                    release.name
                ));
                meant.in_force.push(host.name.clone());
            }
        }
        Some(meant)
    }

    /// Whether any balancer sends to blue now, asked for or not; `None` where that is not known of one.
    fn has_traffic_now(&self) -> Option<bool> {
        let sends = |host: &Host| {
            let nginx = self.facts.seen(&host.name).and_then(|seen| seen.nginx.as_ref())?;
            Some(facts::serving(self.inventory, nginx)?.includes(Colour::Blue))
        };
        let all: Vec<Option<bool>> = self.inventory.with_role(Role::Balancer).map(sends).collect();
        match (all.contains(&Some(true)), all.contains(&None)) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        }
    }

    fn refuse_while_it_serves(&mut self, release: &str, has_traffic: Option<bool>) {
        let (to, from) = (self.colour(Side::To), self.colour(Side::From));
        let why = match has_traffic {
            Some(_) => format!("{to} has traffic now, and would have to stop to be put to {release}"),
            None => format!(
                "whether {to} has traffic now is not known of every balancer, and it would have to stop to be put to {release}"
            ),
        };
        if self.refusals.iter().any(|refusal| refusal.why == why) {
            return;
        }
        if has_traffic.is_none() {
            let hint = Some("rollback-prod status".into());
            return self.refuse_unless_forced(RefusalName::ReleaseServes, None, why, hint);
        }
        let hint =
            format!("traffic to {from} first: rollback-prod switch --to {from} --steps 100 --hold 0s --reason '…'");
        self.refuse(RefusalName::ReleaseServes, None, why, Some(hint));
    }

    /// What both sides run, and what the one that traffic goes to will.
    pub(super) fn releases(&self) -> Option<String> {
        let put_to = self.wanted_release().map(|_| self.wanted_names().into_iter().collect::<Vec<_>>().join(", "));
        doubts::releases(self.direction(), &self.apps, put_to)
    }

    /// The release that was asked for is the one that traffic leaves.
    pub(super) fn same_as_before(&self) -> Option<Doubt> {
        let (wanted, earlier) = self.wanted_release()?;
        let from = self.colour(Side::From);
        let is_same = |(host, seen): &InScope<'a>| {
            let kept = self.facts.earlier(&host.name)?;
            let (release, _) = kept.change_to(earlier, wanted).ok()?;
            let theirs = seen.app(from).release.as_ref()?;
            let names = [Some(release.name.as_str()), release.also.as_deref()];
            let known = [Some(theirs.name.as_str()), theirs.proof.as_deref(), theirs.name.rsplit(':').next()];
            let is_known = names.into_iter().flatten().any(|name| known.contains(&Some(name)));
            is_known.then(|| release.name.clone())
        };
        let same: Option<Vec<String>> = self.apps.iter().map(is_same).collect();
        let same = same.filter(|same| !same.is_empty())?;
        let name = same.first()?;
        let why = format!("{name} is what {from} runs: to go there would change nothing");
        Some(Doubt { name: RefusalName::BlueSame, why, hint: Some("rollback-prod releases".into()) })
    }

    /// Releases that were rolled back before: traffic goes to one of them only where somebody insists, and a rollback, which is
    /// in a hurry, is told.
    pub(super) fn check_rolled_back(&mut self) {
        let mut wanted = self.wanted_names();
        if let Some((release, earlier)) = self.wanted_release() {
            let kept = self.facts.earlier.iter().filter_map(|kept| kept.change_to(earlier, release).ok());
            wanted.extend(kept.filter_map(|(release, _)| release.also));
        }
        let is_asked_for = self.request.gradual.is_some() || self.request.to_release.is_some();
        for seen in self.rolled_back(&wanted) {
            match is_asked_for {
                true => self.refuse_unless_forced(RefusalName::ReleaseRolledBack, None, seen, None),
                false => self.notes.push(format!("{}: {seen}", self.colour(Side::To))),
            }
        }
    }

    /// Which of these releases were rolled back, in words, by what any balancer remembers.
    fn rolled_back(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let all = self.balancers.iter().flat_map(|(_, seen)| &seen.rolled_back);
        // A commit is remembered by its beginning, an image by its name and tag.
        let is_it = |release: &str| {
            names.iter().any(|name| {
                let is_commit = release.len() >= 7 && name.len() > release.len() && name.starts_with(release);
                name == release || is_commit || release.rsplit_once(':').is_some_and(|(_, tag)| tag == name)
            })
        };
        all.filter(|seen| is_it(&seen.release)).map(ToString::to_string).collect()
    }

    fn names_of(&self, side: Side) -> BTreeSet<String> {
        let releases = self.apps.iter().filter_map(|(_, seen)| seen.app(self.colour(side)).release.as_ref());
        releases.map(|release| release.name.clone()).collect()
    }

    /// What traffic goes to runs, or will.
    fn wanted_names(&self) -> BTreeSet<String> {
        let Some((wanted, earlier)) = self.wanted_release() else { return self.names_of(Side::To) };
        let found =
            self.apps.iter().filter_map(|(host, _)| self.facts.earlier(&host.name)?.change_to(earlier, wanted).ok());
        found.map(|(release, _)| release.name).collect()
    }

    /// Plans that what a rollback takes out of traffic is remembered, and forgotten where an undo brings it back.
    pub(super) fn remember(&self, stages: &mut Stages) {
        if self.request.gradual.is_some() || !self.moves_traffic() {
            return;
        }
        let is_back = self.request.undo.is_some();
        let releases: Vec<String> = match is_back {
            true => {
                // By the incident that is taken back, or one after it: what comes back may be down, and tell nothing of itself.
                let moment = |incident: &str| incident.split_once('-').map(|(_, moment)| moment.to_owned());
                let undone = self.request.undo.as_ref().and_then(|undo| moment(undo.incident.as_str()));
                let known = self.balancers.iter().flat_map(|(_, seen)| &seen.rolled_back);
                let known = known.filter(|seen| moment(&seen.incident) >= undone);
                known.map(|seen| seen.release.clone()).collect::<BTreeSet<String>>().into_iter().collect()
            }
            // A program's digest is no release's name: the same one, started in another way, may be well.
            false => {
                let named = self.names_of(Side::From).into_iter().filter(|name| !name.starts_with("sha256:"));
                let wanted = self.wanted_names();
                named.filter(|name| !wanted.contains(name)).collect()
            }
        };
        if releases.is_empty() {
            return;
        }
        let names = releases.join(", ");
        let (why, undo) = match is_back {
            true => (format!("{names} is in traffic again"), Undo::NothingToUndo),
            false => (
                format!("{names} was rolled back: `status` says so, and `switch` goes there only with --force"),
                Undo::ByCommand("rollback-prod undo".to_owned()),
            ),
        };
        let steps = self.balancers.iter().map(|(host, _)| Step {
            host: host.name.clone(),
            action: Action::Remember { releases: releases.clone(), is_back },
            guard: Guard::TrafficIsSafe,
            undo: undo.clone(),
            why: why.clone(),
        });
        stages.extend(steps.map(|step| (StageName::Remember, step)).collect::<Vec<_>>());
    }
}
