//! A gradual switch as a plan: share after share, each one held and judged before the next, and from each of them all the way
//! back in one step.

use super::{LeftAs, Planner, Stages};
use crate::hosts::facts::{NginxFacts, Seen, must_be_stopped};
use crate::nginx::{Rewritten, Sharing};
use crate::nouns::inventory::Host;
use crate::nouns::plan::{Action, FileChange, Gate, Guard, Holding, Lane, Proof, Stage, StageName, Step, Undo};
use crate::nouns::refusal::RefusalName;
use crate::nouns::request::Gradual;
use crate::nouns::share::Share;
use crate::nouns::side::Side;

impl<'a> Planner<'a> {
    /// The shares that are still ahead: from the lowest one that is found. It is held once more: nobody knows for how long
    /// it was.
    pub(super) fn ahead(&self, gradual: &Gradual) -> Vec<Share> {
        let shares = self.balancers.iter().filter_map(|(_, seen)| {
            let nginx = seen.nginx.as_ref()?;
            self.share_of(nginx, nginx.text.as_ref().ok()?)
        });
        let found = shares.min().unwrap_or(Share::NONE);
        gradual.steps.iter().copied().filter(|share| *share >= found).collect()
    }

    /// Lock, dead man and shares of one balancer.
    pub(super) fn shifts(
        &mut self,
        host: &Host,
        nginx: &NginxFacts,
        (path, text): (&str, &str),
        gradual: &Gradual,
    ) -> Option<Vec<(StageName, Step)>> {
        let ahead = self.ahead(gradual);
        let (to, from) = (self.colour(Side::To), self.colour(Side::From));
        if ahead.is_empty() {
            let found = self.share_of(nginx, text).map_or("all".to_owned(), |share| share.to_string());
            let why = format!("{to} has {found} of the traffic already: no step is ahead");
            self.refuse(RefusalName::ShareThere, None, why, None);
            return None;
        }
        let is_split = ahead.iter().any(|share| share.is_split());
        self.check_sharing(host, nginx, path, text, is_split)?;
        let found = self.share_of(nginx, text);
        // Nothing but the last step is ahead: what was there is the way back, be it split. All of it there already is none.
        let is_back_to_found = ahead == [Share::ALL] && found.is_some_and(|share| share != Share::NONE);
        let home = match found {
            Some(Share::NONE) => text.to_owned(),
            _ if is_back_to_found => text.to_owned(),
            _ => self.rewritten(host, nginx, (path, text), Share::NONE)?.text,
        };
        let change = |before: &str, after: &str| FileChange {
            path: path.to_owned(),
            also: nginx.also.clone(),
            before: before.to_owned(),
            after: after.to_owned(),
            mounted: nginx.mounted.clone(),
        };
        let (mut steps, mut back) = (Vec::new(), Vec::new());
        let mut before = text.to_owned();
        let back_proof = self.proof(nginx, Share::NONE);
        for share in ahead {
            let rewritten = self.rewritten(host, nginx, (path, text), share)?;
            let says = match share {
                Share::ALL => self.site(nginx).says(to, &rewritten),
                split => self.shared(split),
            };
            let after = rewritten.text;
            if share.is_split() && after != home {
                back.push(change(&after, &home));
            }
            let undo = match (after == home, found) {
                (true, _) => Undo::NothingToUndo,
                (false, Some(found)) if is_back_to_found => Undo::Does(Box::new(Action::Switch {
                    change: change(&after, &home),
                    proof: self.proof(nginx, found),
                    share: found,
                    says: format!("{}, as before", self.shared(found)),
                })),
                (false, _) => Undo::AllBack(Box::new(Action::Switch {
                    change: change(&after, &home),
                    proof: back_proof.clone(),
                    share: Share::NONE,
                    says: format!("{from} alone"),
                })),
            };
            let proof = self.proof(nginx, share);
            let why = format!("{path}: {says}; test, reload, wait until {} answers", proof.who);
            let change = change(&before, &after);
            let guard = Guard::FileIsUnchanged { sha256: super::sha256_of(&before) };
            let action = Action::Switch { change, proof, share, says };
            let name = if share == Share::ALL { StageName::Switch } else { StageName::Shift(share) };
            steps.push((name, Step { host: host.name.clone(), action, guard, undo, why }));
            before = after;
        }
        let first = steps.iter().find_map(|(_, step)| step.switches().filter(|change| change.is_needed())).cloned();
        let mut all = vec![(StageName::Lock, self.lock_step(host, first))];
        if is_split {
            if text != home && self.share_of(nginx, text).is_some_and(Share::is_split) {
                back.push(change(text, &home));
            }
            all.push((StageName::Arm, self.arm_step(host, back, back_proof, gradual)));
        }
        all.extend(steps);
        Some(all)
    }

    fn arm_step(&self, host: &Host, mut back: Vec<FileChange>, proof: Proof, gradual: &Gradual) -> Step {
        let limit_seconds = gradual.dead_man.map(|limit| limit.as_secs());
        back.dedup();
        let from = self.colour(Side::From);
        let why = match gradual.dead_man {
            Some(limit) => {
                let limit = humantime::format_duration(limit);
                format!("without a word of ours for {limit} the balancer itself gives all traffic back to {from}")
            }
            None => {
                "nobody gives the traffic back where this run dies; whoever was armed before is called off".to_owned()
            }
        };
        Step {
            host: host.name.clone(),
            action: Action::Arm { back, proof, limit_seconds },
            guard: Guard::WeHoldTheLock,
            undo: Undo::EndsByItself,
            why,
        }
    }

    /// What a share would mean there; refuses where there are none, and where the file says more than whom of the two it
    /// sends to.
    fn check_sharing(&mut self, host: &Host, nginx: &NginxFacts, path: &str, text: &str, is_split: bool) -> Option<()> {
        let sharing = match self.site(nginx).sharing(text) {
            Ok(sharing) => sharing,
            Err(not_understood) => {
                self.refuse_text(host, nginx, text, not_understood);
                return None;
            }
        };
        let Sharing { refused, is_by_connections, .. } = sharing;
        if let Some(why) = refused.filter(|_| is_split) {
            let hint = "all at once: --steps 100".to_owned();
            self.refuse(RefusalName::ShareImpossible, Some(host), format!("{path}: {why}"), Some(hint));
            return None;
        }
        if is_by_connections && is_split {
            self.notes.push(format!(
                "{}: a share is one of open connections there (least_conn): whoever answers faster gets more requests",
                host.name
            ));
        }
        Some(())
    }

    /// The file with that share for the side that traffic goes to.
    fn rewritten(
        &mut self,
        host: &Host,
        nginx: &NginxFacts,
        (path, text): (&str, &str),
        share: Share,
    ) -> Option<Rewritten> {
        let rewritten = match self.site(nginx).rewrite_to(text, self.colour(Side::To), share, self.template) {
            Ok(rewritten) => rewritten,
            Err(not_understood) => {
                self.refuse_text(host, nginx, text, not_understood);
                return None;
            }
        };
        if let Some(stranger) = rewritten.strangers.first() {
            let why = format!(
                "{path}: line {}: server {} is neither blue nor green and takes traffic, so a share of the weight is none of \
                 the requests",
                stranger.line, stranger.address
            );
            let hint = format!("ssh {} cat {path}", host.ssh);
            self.refuse(RefusalName::FileStranger, Some(host), why, Some(hint));
            return None;
        }
        Some(rewritten)
    }

    /// The side that gives way is the way back, and the other half of every share: it runs, and goes on running.
    pub(super) fn stays(&mut self, host: &Host, seen: &Seen, is_split: bool) -> Step {
        let from = self.colour(Side::From);
        let theirs = seen.app(from);
        let runs = must_be_stopped(&self.app(Side::From).run, theirs);
        if is_split && !(runs && theirs.is_healthy()) {
            let why = format!("{from} is not well ({}), and every share needs both sides", theirs.complaint());
            let hint = format!("all to {} at once: --steps 100", self.colour(Side::To));
            self.refuse(RefusalName::ShareOneSide, Some(host), why, Some(hint));
        }
        let as_what = if runs { LeftAs::Kept { why: "it is the way back".to_owned() } } else { LeftAs::Down };
        Step {
            host: host.name.clone(),
            action: Action::Leave { side: Side::From, as_what },
            guard: Guard::Nothing,
            undo: Undo::NothingToUndo,
            why: format!("{from} is left as it is: it is the way back"),
        }
    }

    /// A balancer that is not reached keeps its share, and the others' would be another one than is asked for.
    pub(super) fn refuse_unreached(&mut self) {
        let unreached: Vec<&Host> =
            self.meant_balancers().filter(|host| self.facts.seen(&host.name).is_none()).collect();
        for host in unreached {
            let why = "not reached: what share it gives cannot be said, nor moved".to_owned();
            let hint = format!("ssh {} true", host.ssh);
            self.refuse_unless_forced(RefusalName::HostUnreached, Some(host), why, Some(hint));
        }
    }
}

impl Stages {
    /// Whether both sides have traffic at any of its shares.
    pub(super) fn is_split(&self) -> bool {
        self.0.keys().any(|name| matches!(name, StageName::Shift(_)))
    }
}

/// Asks between two shares, and after the last one, whether the one before was good.
pub(super) fn held(stages: &mut [Stage], gradual: &Gradual) {
    let mut held: Option<Share> = None;
    for stage in stages.iter_mut().filter(|stage| stage.name.lane() == Lane::Traffic) {
        if let Some(share) = held.take() {
            stage.gate = Gate::Held(Holding {
                share,
                seconds: gradual.hold.as_secs(),
                longest_seconds: gradual.hold_max.max(gradual.hold).as_secs(),
            });
        }
        held = match stage.name {
            StageName::Shift(share) => Some(share),
            StageName::Switch => Some(Share::ALL),
            _ => None,
        };
    }
}
