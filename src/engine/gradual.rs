//! Share after share: each is written and proven, held, and judged; where one is not good all traffic goes back at once. The
//! gates of a gradual plan are asked here. Makes no plans, and judges nothing itself: that is [`super::hold`]'s.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::sleep;

use super::hold::{Hold, Shifted};
use super::run::Engine;
use super::turns::Point;
use crate::hosts::facts::Seen;
use crate::hosts::remote::Apply;
use crate::judge::shifted::SHARE;
use crate::nouns::inventory::Reach;
use crate::nouns::names::HostName;
use crate::nouns::plan::{Action, Gate, Holding, Stage, StageName, Step};
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
                if !self.run.goes_on() {
                    return self.stands_still().await;
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
        // Where the last share is no whole one, somebody must keep what the last words promise.
        self.look_for_dead_men().await;
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
            Some((host.clone(), workers, sharing))
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
                // Should nobody wait for this to its end.
                self.run.locks.miss(&host);
                // A host that was off has forgotten who was armed there, too.
                if lock::take_again(self.run, step).await
                    && let Some(Step { action: Action::Arm { back, proof, limit_seconds }, .. }) =
                        step_of(StageName::Arm)
                {
                    let outcome = arm::run(self.run, &host, back, proof, *limit_seconds).await;
                    self.run.journal.note(format!("{host}: the lock was taken again; {}", outcome.detail));
                    let gone = What::DeadMan { host: host.clone(), limit_seconds: None };
                    let is_armed = outcome.status == Status::Done;
                    self.run.journal.record_all(if is_armed { outcome.follows } else { vec![gone] });
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
            let share = self.run.journal.production(|production| production.share(host));
            let Some(share) = share.filter(|share| share.is_split()) else { return };
            let seen = again::facts(self.run, host).await;
            if let Some(seen) = &seen
                && !self.says(host, seen, share)
            {
                return self.is_not_there(host).await;
            }
            let Action::Arm { limit_seconds: Some(_), .. } = step.action else { return };
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

    /// Whether a balancer's file says the share that this run gave last.
    fn says(&self, host: &HostName, seen: &Seen, share: Share) -> bool {
        let text = seen.nginx.as_ref().and_then(|nginx| nginx.text.as_ref().ok());
        let is_it = |step: &&&Step| matches!(&step.action, Action::Switch { share: of, .. } if *of == share);
        let steps = self.shifts_begun_on(host);
        let change = steps.iter().rev().find(is_it).and_then(|step| step.switches());
        change.is_none_or(|change| text.is_none_or(|text| *text == change.after))
    }

    /// Somebody else has changed it meanwhile: a dead man whose host heard nothing of us for too long, or a person.
    async fn is_not_there(&self, host: &HostName) {
        self.run
            .journal
            .note(format!("{host}: its file is not what this run made of it any more: somebody changed it meanwhile"));
        let found = observe::found_now(self.run, host).await;
        let state = What::Balancer { host: host.clone(), state: Balancer::Unknown, share: Share::ALL };
        self.run.journal.record_all(found.into_iter().chain([state]));
    }

    /// The hosts on which whom traffic came from does not answer by himself: nothing goes back there.
    async fn hosts_without_from(&self) -> Vec<HostName> {
        let asked = self.app_hosts().map(|host| async move {
            match verify::pulse(self.run, &host.name, Side::From).await {
                Ok(pulse) if !pulse.is_good() => Some(host.name.clone()),
                // A dead line of ours is no answer.
                Ok(_) | Err(_) => None,
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// All traffic back to whom it came from, on every balancer at once; then what the bad side leaves is kept.
    pub(super) async fn all_back(&self) {
        if self.run.interrupted() > 1 {
            return;
        }
        let ill = self.hosts_without_from().await;
        let reach = self.run.app(Side::From).reach;
        let apps = self.app_hosts().count();
        let can_go_back = |balancer: &&HostName| match reach {
            Reach::OwnHost => !ill.contains(balancer),
            Reach::AnyBalancer => apps == 0 || ill.len() < apps,
        };
        let (go, stay): (Vec<&HostName>, Vec<&HostName>) = self.run.plan.balancers.iter().partition(can_go_back);
        for host in stay.into_iter().filter(|host| self.run.is_shifted(host)) {
            let from = self.run.colour(Side::From);
            self.run.journal.note(format!("{host}: {from} does not answer either; its traffic stays where it is"));
        }
        join_all(go.into_iter().map(|host| self.back(host))).await;
        self.turn.rest(Point::Back);
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
        let is_open = run.journal.production(|production| production.balancer(host)) == Some(Balancer::Unknown);
        let step = match known {
            Some(step) => Some(step),
            // What the file says decides from where it goes back.
            None if is_open => self.shift_that_is_there(host, &steps).await,
            // It was put back by the step itself, or never came to it.
            None => None,
        };
        if let Some(step) = step {
            self.undo(step).await;
        }
    }

    /// Of the shares that were begun on a balancer, the one that its file says now; the last one, whose undo says itself what it
    /// finds, where it says something else.
    async fn shift_that_is_there(&self, host: &HostName, steps: &[&'a Step]) -> Option<&'a Step> {
        let Some(seen) = again::facts(self.run, host).await else {
            self.run.journal.note(format!("{host}: it cannot be asked, so nothing is taken back there"));
            return None;
        };
        let text = seen.nginx.as_ref().and_then(|nginx| nginx.text.as_ref().ok());
        let is_there = |step: &&&Step| step.switches().is_some_and(|change| text == Some(&change.after));
        steps.iter().rev().find(is_there).or(steps.last()).copied()
    }
}
