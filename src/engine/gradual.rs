//! Share after share: each is written and proven, held, and judged; where one is not good all traffic goes back at once. The
//! gates of a gradual plan are asked here. Makes no plans, and judges nothing itself: that is [`super::hold`]'s.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::sleep;

use super::hold::{Hold, Shifted};
use super::run::Engine;
use crate::hosts::remote::Apply;
use crate::judge::shifted::SHARE;
use crate::nouns::names::HostName;
use crate::nouns::plan::{Action, Gate, Holding, Stage, StageName, Step, Undo};
use crate::nouns::record::{Balancer, Status, StepWord, What};
use crate::nouns::rules::Opinion;
use crate::nouns::share::Share;
use crate::nouns::side::Side;
use crate::steps::arm::{self, is_armed};
use crate::steps::{again, lock, observe, verify};

/// Whether the locks are still ours is looked at so often.
const LOOK_AT_LOCKS: Duration = Duration::from_secs(2);

/// Of more balancers the report's judgements tell.
const SHARES_TOLD: usize = 3;

/// What became of a share that was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Good,
    Bad,
    /// Nobody knows; traffic stays as it is.
    Open,
}

impl<'a, F: Apply> Engine<'_, 'a, F> {
    /// Traffic moves, and is judged at each share.
    pub(super) async fn gradually(&self, stages: &[&'a Stage]) {
        let mut is_smoked = false;
        for stage in stages.iter().filter(|stage| stage.name >= StageName::Start) {
            if !self.run.goes_on() {
                return self.stands_still().await;
            }
            match stage.gate {
                Gate::Held(holding) => match self.hold(holding).await {
                    Ended::Good => {}
                    Ended::Open => return self.stands_still().await,
                    Ended::Bad => return self.all_back().await,
                },
                Gate::Open | Gate::NoneFailed | Gate::AnyProven | Gate::Typed(_) => {
                    if !self.passes(stage) {
                        return self.all_back().await;
                    }
                }
            }
            // The last moment at which nobody has seen the release, and nobody waits for its first share.
            if !is_smoked && stage.name >= StageName::Arm {
                is_smoked = true;
                if !self.smoke_passes().await {
                    return;
                }
            }
            let is_done = self.stage(stage).await;
            if stage.name == StageName::Verify {
                verify::from_here(self.run).await;
            }
            let is_there = |step: &Step| self.run.is_shifted(&step.host);
            if stage.name.moves_traffic() && !(is_done && stage.steps.iter().all(is_there)) {
                return self.all_back().await;
            }
        }
        self.keep_nginx_files();
    }

    /// The command of `judge.smoke`, from here.
    async fn smoke_passes(&self) -> bool {
        let Some(smoke) = &self.run.inventory.judging.smoke else { return true };
        verify::smoke_from_here(self.run, smoke).await
    }

    /// Holds the share that traffic stands at until it is known whether it is good.
    async fn hold(&self, holding: Holding) -> Ended {
        let run = self.run;
        let (to, share) = (run.colour(Side::To), holding.share);
        let timed = run.journal.begin(StepWord::Hold, None);
        if holding.seconds == 0 {
            timed.end(Status::Done, format!("{to} {share}: not judged (--hold 0s)"));
            return Ended::Good;
        }
        let hold = Hold {
            fleet: run.fleet,
            inventory: run.inventory,
            facts: run.facts,
            journal: run.journal,
            judging: &run.inventory.judging,
            judged: to,
            alone: (share == Share::ALL).then_some(to),
            lasts: Duration::from_secs(holding.seconds),
            at_most: Duration::from_secs(holding.longest_seconds),
            is_new: true,
            shifted: share.is_split().then(|| self.shifted(share)),
        };
        let held = tokio::select! {
            held = hold.run(run.interrupts.clone()) => Some(held),
            () = self.until_a_lock_is_lost() => None,
        };
        let Some(held) = held else {
            let why = run.stopped.get().map_or("another run took the lock", String::as_str);
            timed.end(Status::Skipped, format!("{to} {share}: {why}"));
            return Ended::Open;
        };
        // The share is proven where it is judged, and said beside what it is judged by.
        let shares = held.judgement.findings.iter().filter(|finding| finding.rule == SHARE).take(SHARES_TOLD);
        let shares = shares.map(|finding| format!("; {}", finding.words)).collect::<String>();
        let words = match shares.contains(&held.judgement.words) {
            true => held.judgement.words,
            false => format!("{}{shares}", held.judgement.words),
        };
        match (held.was_interrupted, held.judgement.opinion) {
            (true, opinion) => {
                timed.end(Status::Skipped, format!("{to} {share}: interrupted, {opinion} so far: {words}"));
                Ended::Open
            }
            (false, Opinion::Good) => {
                timed.end(Status::Done, format!("{to} {share}: good: {words}"));
                Ended::Good
            }
            (false, Opinion::NotEnoughData) => {
                timed.end(Status::Skipped, format!("{to} {share}: not enough data: {words}"));
                Ended::Open
            }
            (false, Opinion::Bad) => {
                timed.end(Status::Failed, format!("{to} {share}: bad: {words}"));
                Ended::Bad
            }
        }
    }

    /// What each balancer's log must show at that share.
    fn shifted(&self, share: Share) -> Shifted {
        let site = |host: &HostName| {
            let nginx = self.run.seen(host)?.nginx.as_ref()?;
            let text = nginx.text.as_ref().ok()?;
            let sharing = crate::nginx::Site::of(self.run.inventory, &nginx.side_texts).sharing(text).ok()?;
            let workers = if sharing.is_zoned { 1 } else { nginx.workers.max(1) };
            Some((host.clone(), workers, sharing.is_by_connections))
        };
        Shifted { share, balancers: self.run.plan.balancers.iter().filter_map(site).collect() }
    }

    /// A line that died takes its lock with it: it is taken again, so that the balancers hear of us. Returns where another
    /// run has it.
    async fn until_a_lock_is_lost(&self) {
        loop {
            sleep(LOOK_AT_LOCKS).await;
            for host in self.run.locks.gone() {
                let step_of = |name: StageName| self.run.plan.stage(name).and_then(|stage| stage.on(&host));
                let Some(step) = step_of(StageName::Lock) else { continue };
                // A host that was off has forgotten who was armed there, too.
                if lock::take_again(self.run, step).await
                    && let Some(Step { action: Action::Arm { back, proof, limit_seconds }, .. }) =
                        step_of(StageName::Arm)
                {
                    let outcome = arm::run(self.run, &host, back, proof, *limit_seconds).await;
                    self.run.journal.note(format!("{host}: the lock was taken again; {}", outcome.detail));
                    self.run.journal.record_all(outcome.follows);
                }
            }
            if self.run.stopped.get().is_some() || !self.locks_are_ours() {
                return;
            }
        }
    }

    fn locks_are_ours(&self) -> bool {
        // It says why, where they are not.
        self.run.interrupted() > 0 || self.run.goes_on()
    }

    /// Nothing new begins. What another run does by now is its own: it is said that nobody here knows.
    async fn stands_still(&self) {
        self.keep_nginx_files();
        if self.run.stopped.get().is_none() {
            return self.look_for_dead_men().await;
        }
        let moved = self.run.plan.balancers.iter().filter(|host| self.run.is_shifted(host));
        let unknown =
            moved.map(|host| What::Balancer { host: host.clone(), state: Balancer::Unknown, share: Share::ALL });
        self.run.journal.record_all(unknown.collect::<Vec<_>>());
    }

    /// Whether those who were armed still are: what the last words promise, somebody must keep.
    async fn look_for_dead_men(&self) {
        let armed = self.run.plan.stage(StageName::Arm).into_iter().flat_map(|stage| &stage.steps);
        join_all(armed.map(|step| async move {
            let host = &step.host;
            let Action::Arm { limit_seconds: Some(_), .. } = step.action else { return };
            let seen = again::facts(self.run, host).await;
            let is_armed = seen.as_ref().is_some_and(|seen| seen.dead_men.iter().any(|said| is_armed(said)));
            if !is_armed {
                let why =
                    if seen.is_some() { "its dead man is gone" } else { "whether its dead man is there is not known" };
                self.run.journal.note(format!("{host}: {why}: nobody puts its traffic back by himself"));
                self.run.journal.record(What::DeadMan { host: host.clone(), limit_seconds: None });
            }
        }))
        .await;
    }

    /// All traffic back to whom it came from, on every balancer at once; then what the bad side leaves is kept.
    pub(super) async fn all_back(&self) {
        if self.run.interrupted() > 1 {
            return;
        }
        join_all(self.run.plan.balancers.iter().map(|host| self.back(host))).await;
        self.keep_nginx_files();
        join(self.logs_of(Side::To), self.pictures_of(Side::To)).await;
    }

    async fn back(&self, host: &HostName) {
        let run = self.run;
        let steps = self.shifts_begun_on(host);
        if steps.is_empty() {
            return;
        }
        let share = run.journal.production(|production| production.share(host));
        let at = |wanted: Share| {
            steps.iter().rev().find(|step| matches!(step.action, Action::Switch { share, .. } if share == wanted))
        };
        let known = share.and_then(at).copied();
        let step = match known {
            Some(step) => Some(step),
            // What the file says decides from where it goes back.
            None => self.shift_that_is_there(host, &steps).await,
        };
        match step {
            Some(step) => drop(self.undo(step).await),
            None => run.journal.note(format!("{host}: nothing of this run is in its file")),
        }
    }

    /// Of the shares that were begun on a balancer, the one that its file says now.
    async fn shift_that_is_there(&self, host: &HostName, steps: &[&'a Step]) -> Option<&'a Step> {
        let seen = again::facts(self.run, host).await?;
        let nginx = seen.nginx.as_ref()?;
        let text = nginx.text.as_ref().ok()?;
        let is_there = |step: &&&Step| step.switches().is_some_and(|change| change.after == *text);
        let found = steps.iter().rev().find(is_there).copied();
        let is_home = |step: &Step| match &step.undo {
            Undo::AllBack(action) => {
                matches!(action.as_ref(), Action::Switch { change, .. } if change.after == *text)
            }
            _ => false,
        };
        if found.is_none()
            && let Some(what) = observe::found_now(self.run, host).await
        {
            self.run.journal.record(what);
            let state = if steps.iter().any(|step| is_home(step)) { Balancer::Unchanged } else { Balancer::Unknown };
            self.run.journal.record(What::Balancer { host: host.clone(), state, share: Share::NONE });
        }
        found
    }
}
