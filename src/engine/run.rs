//! The engine: every stage of the plan in its order, every step to the letter. Guard, intent on disk, apply, prove, outcome
//! on disk; between two stages the gate; where it ends before its end, the undos of what was done, backwards. Makes no
//! plans, concludes nothing about production, and prints nothing.
//!
//! [`execute`] carries a plan out, beside it [`super::watch`] looks that somebody serves. What a step does is in
//! [`crate::steps`].

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use futures_util::future::{join, join_all};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::lane::Watched;
use super::turns::{Point, Turn};
use crate::hosts::remote::Apply;
use crate::incident::evidence::{self, Collector};
use crate::nouns::change::{HookAt, HookPhase};
use crate::nouns::colour::Colour;
use crate::nouns::consent::Confirmed;
use crate::nouns::inventory::{Host, Reach, Role};
use crate::nouns::names::{HostName, listed};
use crate::nouns::octets::bytes_of;
use crate::nouns::plan::{Action, Gate, Guard, Lane, LeftAs, Stage, StageName, Step, Undo};
use crate::nouns::production::Production;
use crate::nouns::record::{AppState, Balancer, Status, StepWord, What};
use crate::nouns::share::Share;
use crate::nouns::side::{Direction, Side};
use crate::steps::context::Context;
use crate::steps::drain::{self, Drained};
use crate::steps::switch::{Switch, Way};
use crate::steps::{arm, change, lock, observe, remember, start, stop, verify};

/// A run on its way: what was begun, so that it can be taken back, and who looks that somebody serves.
pub struct Engine<'r, 'a, F> {
    pub(super) run: &'r Context<'a, F>,
    /// Changes that were begun, in order.
    begun: Mutex<Vec<&'a Step>>,
    pub(super) watched: Watched,
    pub(super) turn: &'r Turn,
}

/// Carries the plan out, when it is its turn. What became of it is in the journal; the locks are still held, and
/// [`Engine::settle`] is its end.
pub async fn execute<'r, 'a, F: Apply>(
    run: &'r Context<'a, F>,
    consent: &Confirmed,
    turn: &'r Turn,
) -> Engine<'r, 'a, F> {
    let _until_over = turn.until_over();
    let engine = Engine { run, begun: Mutex::default(), watched: Watched::default(), turn };
    if !consent.covers(run.plan) {
        run.journal.note("the plan is not the one that was consented to; nothing was changed");
        return engine;
    }
    engine.unless_given_up(engine.while_watched(engine.carry_out())).await;
    engine
}

impl<'r, 'a, F: Apply> Engine<'r, 'a, F> {
    /// Works until it is done, or until the operator no longer wants to wait.
    pub async fn unless_given_up(&self, work: impl Future<Output = ()>) {
        let mut interrupts = self.run.interrupts.clone();
        tokio::select! {
            () = work => {}
            // A step that had begun ends on its host by itself; its intent without an outcome says that it is unknown.
            Ok(_) = interrupts.wait_for(|count| *count > 1) => {
                self.run.journal.note("stopped waiting; what had begun ends on the hosts by itself");
            }
        }
    }

    /// The last look: who should serve is asked once more, and mended where he does not. The locks can be given back then.
    pub async fn settle(self) {
        if self.run.interrupted() < 2 {
            self.unless_given_up(self.look_and_mend()).await;
            self.unless_given_up(self.look_at_what_was_put_back()).await;
        }
    }

    async fn carry_out(&self) {
        self.record_left_out();
        let stages: Vec<&Stage> = self.run.plan.lane(Lane::Traffic).collect();
        self.hooks(HookAt::Before(HookPhase::Lock)).await;
        for stage in stages.iter().filter(|stage| stage.name == StageName::Lock) {
            if self.run.stopped.get().is_some() || !self.passes(stage) || !self.stage(stage).await {
                return;
            }
            self.hooks(HookAt::After(HookPhase::Lock)).await;
        }
        if !self.are_all(Point::Locked, "nothing is changed: another service of this run cannot be begun").await {
            return;
        }
        for stage in stages.iter().filter(|stage| stage.name == StageName::TakeBack) {
            if !self.is_ready_and_my_turn().await || !self.passes(stage) || !self.stage(stage).await {
                return;
            }
        }
        if self.run.stopped.get().is_some() {
            return;
        }
        let (known, verdict) = oneshot::channel();
        let (is_safe, safe) = watch::channel(None);
        let database = self.database(known, safe);
        let traffic = async {
            match self.run.plan.is_gradual {
                true => self.with_hooks(HookPhase::Switch, Box::pin(self.gradually(&stages))).await,
                false => self.traffic(&stages, &is_safe, verdict).await,
            }
            self.take_back_starts().await;
            Box::pin(self.take_back_changes_for_nothing()).await;
            self.turn.rest(Point::Back);
            // Where traffic never came to be safe, the database need not wait for it.
            is_safe.send_if_modified(|safe| safe.replace(safe.unwrap_or(false)).is_none());
            self.watched.lane_is_over();
        };
        self.watched.lane_begins();
        join(database, traffic).await;
    }

    /// The database's lane: what was loaded aside takes the place of what is live, where the word is typed.
    async fn database(&self, known: oneshot::Sender<()>, safe: watch::Receiver<Option<bool>>) {
        let Some(database) = &self.run.inventory.database else { return };
        let loads = self.run.plan.lane(Lane::Database).flat_map(|stage| &stage.steps);
        let Some(wish) = loads.into_iter().find_map(Step::loads) else {
            // The drain waits for a verdict, and there is none.
            drop(known);
            return self.run.note_migrations(database, safe).await;
        };
        let restore = async {
            if let Some(ready) = self.run.load_aside(wish, database, known, safe).await {
                match &wish.tables {
                    None => self.run.replace_database(database, ready).await,
                    Some(tables) => self.run.merge_tables(database, tables, ready).await,
                }
            }
        };
        self.with_hooks(HookPhase::Restore, Box::pin(restore)).await;
    }

    /// What traffic goes to is started where it is down, traffic moves, and what it left is drained and stopped.
    async fn traffic(
        &self,
        stages: &[&'a Stage],
        is_safe: &watch::Sender<Option<bool>>,
        verdict: oneshot::Receiver<()>,
    ) {
        if !self.run.plan.moves_traffic() {
            self.turn.reach(Point::Ready, true);
            if self.is_my_turn().await {
                Box::pin(self.changes_alone(stages)).await;
                let is_well = self.run.journal.production(|production| production.verdict(false).exit == 0);
                self.turn.reach(Point::Safe, is_well);
            }
            return;
        }
        let until_it_moves = StageName::Ready(0)..=StageName::Switch;
        for stage in stages.iter().filter(|stage| until_it_moves.contains(&stage.name)) {
            if stage.name.moves_traffic() && !(self.passes(stage) && self.is_ready_and_my_turn().await) {
                return;
            }
            if stage.name == StageName::Switch && self.run.goes_on() {
                self.hooks(HookAt::Before(HookPhase::Switch)).await;
            }
            if !self.run.goes_on() || !self.passes(stage) {
                return;
            }
            match stage.name.is_of_a_change() {
                true => Box::pin(self.change(stage)).await,
                false => drop(self.stage(stage).await),
            }
        }
        self.keep_nginx_files();
        let is_all = self.is_all_there();
        if is_all {
            let hosts = self.run.plan.balancers.len();
            self.run.journal.record(What::TrafficSafe { hosts, to: self.who_serves() });
        }
        // Of a balancer that this run leaves alone nobody waits for anything.
        self.turn.reach(Point::Safe, self.is_all_moved());
        if !self.turn.stays().await {
            self.run.stop("not all services of this run were moved, and all or nothing was asked for".to_owned());
            return Box::pin(self.all_back()).await;
        }
        is_safe.send_replace(Some(is_all));
        if self.run.journal.production(Production::is_anything_moved) {
            self.hooks(HookAt::After(HookPhase::Switch)).await;
        }
        let after: Vec<&Stage> = stages.iter().copied().filter(|stage| stage.name > StageName::Switch).collect();
        if after.first().is_some_and(|stage| self.passes(stage)) {
            join(self.logs(), self.after_the_switch(&after, verdict)).await;
        }
    }

    /// Whether all services of the run have come there; where one never will, that is said.
    async fn are_all(&self, point: Point, otherwise: &str) -> bool {
        self.turn.reach(point, self.run.stopped.get().is_none());
        let are_all = self.turn.all(point).await;
        if !are_all && self.run.stopped.get().is_none() {
            self.run.journal.note(otherwise);
        }
        are_all
    }

    /// Whether this service's traffic may move: what all of them go to is proven, and those before it are where they should be.
    async fn is_ready_and_my_turn(&self) -> bool {
        self.are_all(Point::Ready, "no traffic is moved: another service of this run is not ready").await
            && self.is_my_turn().await
    }

    /// Waits for the services that go before this one. Whether it may go.
    async fn is_my_turn(&self) -> bool {
        let is_mine = self.turn.mine().await;
        if !is_mine {
            self.run.journal.note("nothing is moved: a service that goes before this one was not");
        }
        is_mine && self.run.stopped.get().is_none()
    }

    /// What is not urgent any more. Nothing is stopped before the verdict on the dump is there, unless that takes longer
    /// than a drain may.
    async fn after_the_switch(&self, stages: &[&'a Stage], verdict: oneshot::Receiver<()>) {
        let mut verdict = Some(verdict);
        for stage in stages {
            match stage.name {
                StageName::Change(_) if self.run.goes_on() && self.passes(stage) => Box::pin(self.change(stage)).await,
                StageName::Drain => {
                    let known =
                        timeout(self.run.inventory.drain_timeout, verdict.take().unwrap_or(oneshot::channel().1));
                    self.with_hooks(HookPhase::Drain, Box::pin(join(self.stage(stage), known))).await;
                    self.pictures().await;
                }
                StageName::Stop if self.run.goes_on() => {
                    self.hooks(HookAt::Before(HookPhase::Stop)).await;
                    match self.run.goes_on() {
                        true => drop(self.stage(stage).await),
                        false => self.leave_all(stage),
                    }
                    self.hooks(HookAt::After(HookPhase::Stop)).await;
                }
                StageName::Stop if self.run.interrupted() == 0 => self.leave_all(stage),
                StageName::Verify if self.run.interrupted() == 0 => {
                    let verify = join(self.stage(stage), verify::from_here(self.run));
                    self.with_hooks(HookPhase::Verify, Box::pin(verify)).await;
                }
                StageName::Downgrade if self.run.goes_on() => Box::pin(self.downgrade(stage)).await,
                StageName::Remember if self.run.goes_on() => drop(self.stage(stage).await),
                StageName::Stop
                | StageName::Verify
                | StageName::Remember
                | StageName::Downgrade
                | StageName::Ready(_)
                | StageName::Change(_)
                | StageName::Lock
                | StageName::TakeBack
                | StageName::Start
                | StageName::Arm
                | StageName::Shift(_)
                | StageName::Switch
                | StageName::Load
                | StageName::Swap => {}
            }
        }
    }

    /// Whether what stands between the stage and the one before it lets it begin.
    pub(super) fn passes(&self, stage: &Stage) -> bool {
        let before = self.run.plan.lane(stage.name.lane()).take_while(|other| other.name < stage.name).last();
        let statuses = || {
            before.into_iter().flat_map(|stage| stage.steps.iter().map(|step| (stage.name.word(), step))).filter_map(
                |(word, step)| {
                    let of = step.changes().map(|work| work.name.as_str());
                    self.run.journal.production(|production| production.outcome_of(word, Some(&step.host), of))
                },
            )
        };
        match stage.gate {
            Gate::Open | Gate::Typed(_) => true,
            // It is held and judged first.
            Gate::Held(_) => false,
            // What is not known of a change is no ground to go on from.
            Gate::NoneFailed if before.is_some_and(|stage| stage.name.is_of_a_change()) => {
                let count = before.map_or(0, |stage| stage.steps.len());
                statuses().filter(|status| *status == Status::Done).count() == count
            }
            Gate::NoneFailed => !statuses().any(|status| status == Status::Failed),
            Gate::AnyProven => statuses().any(|status| status == Status::Done),
        }
    }

    /// All steps of a stage at once. Whether none of them failed.
    pub(super) async fn stage(&self, stage: &'a Stage) -> bool {
        let view = self.view(stage).await;
        let (begin, stay): (Vec<_>, Vec<_>) =
            stage.steps.iter().map(|step| (step, self.holds(step, &view))).partition(|(_, held)| held.is_ok());
        for (step, held) in stay {
            if let (Err(Some(why)), Action::Stop { side, .. }) = (held, &step.action) {
                self.leave(stage.name, &step.host, *side, why);
            }
        }
        let steps: Vec<&'a Step> = begin.into_iter().map(|(step, _)| step).collect();
        // What serves is not started again everywhere at once.
        if steps.iter().any(|step| step.changes().is_some_and(|work| work.restart.is_some())) {
            return Box::pin(self.one_after_the_other(stage.name, &steps)).await;
        }
        self.run.journal.record_all(steps.iter().filter_map(|step| self.intent(stage.name, step)));
        self.begun().extend(steps.iter().filter(|step| step.is_a_change()));
        let done = join_all(steps.into_iter().map(|step| self.step(stage.name, step, Way::Forth))).await;
        done.into_iter().all(|status| status != Status::Failed)
    }

    /// Until one fails. Whether none did.
    async fn one_after_the_other(&self, name: StageName, steps: &[&'a Step]) -> bool {
        for step in steps {
            if !self.run.goes_on() {
                return false;
            }
            self.run.journal.record_all(self.intent(name, step));
            self.begun().push(step);
            if self.step(name, step, Way::Forth).await != Status::Done {
                return false;
            }
        }
        true
    }

    /// Work between the hooks that go before it and after it. On the heap: it is most of a run.
    async fn with_hooks<T>(&self, phase: HookPhase, work: Pin<Box<impl Future<Output = T>>>) {
        if self.run.goes_on() {
            self.hooks(HookAt::Before(phase)).await;
        }
        work.await;
        self.hooks(HookAt::After(phase)).await;
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, Vec<&'a Step>> {
        // A panic while it was held would have left a list that is whole all the same.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the journal says before a step: the intent of a change, the beginning of a look.
    fn intent(&self, name: StageName, step: &Step) -> Option<What> {
        let intent = |side: Option<Side>| What::Intent {
            step: name.word(),
            host: step.host.clone(),
            why: step.why.clone(),
            colour: side.map(|side| self.run.colour(side)),
            of: None,
        };
        match &step.action {
            Action::Lock { .. } | Action::Arm { .. } | Action::Switch { .. } => Some(intent(None)),
            Action::Start { side } | Action::Stop { side, .. } => Some(intent(Some(*side))),
            Action::Change { work } => Some(What::Intent {
                step: name.word(),
                host: step.host.clone(),
                why: step.why.clone(),
                colour: work.restart,
                of: Some(work.name.to_string()),
            }),
            Action::Drain | Action::Verify { .. } => Some(What::Outcome {
                step: name.word(),
                host: Some(step.host.clone()),
                of: None,
                status: Status::Started,
                ms: 0,
                detail: String::new(),
            }),
            // Their intents say the names of databases that are not known yet.
            Action::Load { .. }
            | Action::Swap
            | Action::Merge { .. }
            | Action::TakeBack { .. }
            | Action::TakeRowsBack { .. }
            | Action::Remember { .. }
            | Action::Leave { .. } => None,
        }
    }

    /// One step, or one that takes another back, and its outcome on disk.
    async fn step(&self, name: StageName, step: &Step, way: Way) -> Status {
        let run = self.run;
        let (started, stopped) = match way {
            Way::Forth => (AppState::Started, AppState::Stopped),
            Way::Back => (AppState::StartedAgain, AppState::StoppedAgain),
        };
        let timed = match (&step.action, way) {
            (Action::Change { work }, Way::Forth) => run.journal.timed_of(name.word(), &step.host, work.name.as_str()),
            // Its own line: why it was taken back is the other's.
            (Action::Change { work }, Way::Back) => {
                run.journal.timed_of(StepWord::Change, &step.host, format!("{} back", work.name))
            }
            (Action::Remember { .. }, _) => run.journal.timed_of(StepWord::Verify, &step.host, "release"),
            _ => run.journal.timed(name.word(), Some(&step.host)),
        };
        let outcome = match &step.action {
            // A large future, and a rare one: not on every step's stack.
            Action::Change { work } => Box::pin(change::run(run, &step.host, work)).await,
            Action::Lock { candidate } => lock::run(run, step, candidate.as_ref()).await,
            Action::Start { side } => start::run(run, &step.host, *side, started).await,
            Action::Switch { change, proof, share, says } => {
                Switch { host: &step.host, change, proof, share: *share, says, way }.run(run).await
            }
            Action::Arm { back, proof, limit_seconds } => arm::run(run, &step.host, back, proof, *limit_seconds).await,
            Action::Drain => drain::run(run, &step.host).await,
            Action::Stop { side, target } => stop::run(run, &step.host, *side, target, stopped).await,
            Action::Leave { side, as_what } => {
                let outcome = stop::left(run, &step.host, *side, as_what);
                if *as_what == LeftAs::Down {
                    // Nobody asks for an outcome of what was not there.
                    run.journal.record_all(outcome.follows);
                    return Status::Skipped;
                }
                outcome
            }
            Action::Verify { sides } => verify::run(run, &step.host, sides).await,
            Action::Remember { releases, is_back } => remember::run(run, &step.host, releases, *is_back).await,
            Action::TakeBack { swap } => {
                let Some(database) = &run.inventory.database else { return Status::Failed };
                return if run.take_database_back(database, swap).await { Status::Done } else { Status::Failed };
            }
            // Their lane carries them out.
            Action::TakeRowsBack { merge } => {
                let Some(database) = &run.inventory.database else { return Status::Failed };
                return if run.take_rows_back(database, merge).await { Status::Done } else { Status::Failed };
            }
            Action::Load { .. } | Action::Swap | Action::Merge { .. } => return Status::Skipped,
        };
        let status = outcome.status;
        timed.end_with(status, outcome.detail, outcome.follows);
        status
    }

    /// What is true now of all that the guards of a stage ask for, looked at once for all of them.
    pub(super) async fn view(&self, stage: &Stage) -> View {
        let not_there: BTreeSet<HostName> = self
            .run
            .inventory
            .with_role(Role::Balancer)
            .filter(|host| !self.run.is_shifted(&host.name))
            .map(|host| host.name.clone())
            .collect();
        let stops = stage.name == StageName::Stop && stage.steps.iter().any(|step| step.is_a_change());
        let ill = if stops { self.ill().await } else { Vec::new() };
        View { not_there, ill, drained: stops.then(|| drain::drained(self.run)) }
    }

    /// Whether a step may begin.
    ///
    /// # Errors
    /// Why not, where that is to be told.
    pub(super) fn holds(&self, step: &Step, view: &View) -> Result<(), Option<String>> {
        match &step.guard {
            // The step itself holds them, on its host and in the same breath as the change.
            Guard::NobodyElseHoldsTheLock | Guard::FileIsUnchanged { .. } => {
                // A balancer that was lost on the way to its lock is not switched.
                let is_lost = matches!(step.action, Action::Switch { .. })
                    && self.run.journal.production(|p| p.balancer(&step.host)) == Some(Balancer::Unknown);
                if is_lost { Err(None) } else { Ok(()) }
            }
            Guard::WeHoldTheLock => match self.run.locks.lost() {
                Some(host) => Err(Some(format!("another run took the lock on {host}"))),
                None => Ok(()),
            },
            Guard::AreShifted { reach } => match view.still_send(*reach, &step.host).is_empty() {
                true => Ok(()),
                false => Err(None),
            },
            Guard::NobodyNeedsIt { reach } => {
                view.somebody_needs(*reach, &step.host, self.run).map_or(Ok(()), |why| Err(Some(why)))
            }
            Guard::FromIsStopped => match (self.is_all_there(), self.still_running()) {
                (true, None) => Ok(()),
                (false, _) => Err(Some("traffic is not where it should be".to_owned())),
                (true, Some(why)) => Err(Some(why)),
            },
            Guard::TrafficIsSafe => {
                if self.is_all_there() {
                    Ok(())
                } else {
                    Err(Some("traffic is not where it should be".to_owned()))
                }
            }
            Guard::Nothing => Ok(()),
        }
    }

    /// Where what traffic left still runs, or may, in words.
    fn still_running(&self) -> Option<String> {
        let from = self.run.colour(Side::From);
        let runs = |host: &&Host| {
            let state = self.run.journal.production(|production| production.app(&host.name, from));
            let was_down =
                state.is_none() && self.run.seen(&host.name).is_some_and(|seen| seen.app(from).is_running == Ok(false));
            !was_down && state != Some(AppState::Stopped)
        };
        let hosts: Vec<&HostName> =
            self.run.inventory.with_role(Role::App).filter(runs).map(|host| &host.name).collect();
        (!hosts.is_empty()).then(|| format!("{from} may still run on {}", listed(&hosts)))
    }

    /// The hosts on which what traffic goes to does not answer well now, and what it does instead.
    async fn ill(&self) -> Vec<(HostName, String)> {
        let to = self.run.colour(Side::To);
        let pulses = join_all(self.app_hosts().map(|host| async move {
            let why = match verify::pulse(self.run, &host.name, Side::To).await {
                Ok(pulse) if pulse.is_good() => return None,
                Ok(pulse) => format!("{to} on {} is not well any more: {}", host.name, pulse.complaint()),
                Err(failure) => format!("{to} on {} cannot be asked: {failure}", host.name),
            };
            Some((host.name.clone(), why))
        }));
        pulses.await.into_iter().flatten().collect()
    }

    /// The app hosts that this run is about and that were reached.
    pub(super) fn app_hosts(&self) -> impl Iterator<Item = &'a Host> {
        let stops = self.run.plan.stage(StageName::Stop);
        let names: BTreeSet<&HostName> =
            stops.into_iter().flat_map(|stage| &stage.steps).map(|step| &step.host).collect();
        self.run.inventory.with_role(Role::App).filter(move |host| names.contains(&host.name))
    }

    fn is_all_there(&self) -> bool {
        self.run.journal.production(|production| self.run.plan.balancers.iter().all(|host| production.is_shifted(host)))
    }

    /// Whether every balancer whose traffic the plan moves is proven where it goes.
    fn is_all_moved(&self) -> bool {
        let mut moved = self.run.plan.shifts().flat_map(|stage| &stage.steps);
        moved.all(|step| self.run.is_shifted(&step.host))
    }

    /// Where traffic goes: an undo of a run that found everything where it should be already leaves it there.
    fn who_serves(&self) -> Direction {
        let mut switches = self.run.plan.stage(StageName::Switch).into_iter().flat_map(|stage| &stage.steps);
        let stays = switches.all(|step| matches!(step.action, Action::Switch { share: Share::NONE, .. }));
        if stays { Direction::to(self.run.colour(Side::From)) } else { self.run.plan.direction }
    }

    fn leave_all(&self, stage: &Stage) {
        let why = self.run.stopped.get().map_or("another run took the lock", String::as_str);
        for step in &stage.steps {
            if let Action::Stop { side, .. } = &step.action {
                self.leave(stage.name, &step.host, *side, why.to_owned());
            }
        }
    }

    fn leave(&self, name: StageName, host: &HostName, side: Side, why: String) {
        let timed = self.run.journal.timed(name.word(), Some(host));
        let outcome = stop::left(self.run, host, side, &LeftAs::Running { why });
        timed.end_with(outcome.status, outcome.detail, outcome.follows);
    }

    /// Where nothing came of it, what was started is stopped again: production is what it was, or it is said what it is.
    pub(super) async fn take_back_starts(&self) {
        if self.run.interrupted() > 1 {
            return;
        }
        let begun: Vec<&Step> = self.begun().clone();
        let starts: Vec<(&Step, Side)> =
            begun.into_iter().rev().filter_map(|step| Some((step, step.starts()?))).collect();
        self.look_at_who_may_need(&starts).await;
        join_all(starts.into_iter().map(|(step, side)| async move {
            match self.need_of(side, &step.host) {
                Need::Moved => {}
                // Traffic went there before this run, and nobody served: to stop it again would be an outage of ours.
                Need::Found => self.say_what_runs(step, AppState::Started).await,
                Need::Nobody => drop(self.undo(step).await),
            }
        }))
        .await;
    }

    /// The balancers that may send to what was started for nothing are read once more: somebody else may have moved them.
    async fn look_at_who_may_need(&self, starts: &[(&Step, Side)]) {
        let for_nothing = starts.iter().filter(|(step, side)| self.need_of(*side, &step.host) == Need::Nobody);
        let balancers: BTreeSet<&HostName> = for_nothing
            .flat_map(|(step, side)| {
                let reach = self.run.app(*side).reach;
                let all = self.run.plan.balancers.iter();
                all.filter(move |balancer| reach.includes(balancer, &step.host))
            })
            .collect();
        let found = join_all(balancers.into_iter().map(|host| observe::found_now(self.run, host))).await;
        self.run.journal.record_all(found.into_iter().flatten());
    }

    /// Who needs what was started on a host.
    fn need_of(&self, side: Side, host: &HostName) -> Need {
        let (colour, reach) = (self.run.colour(side), self.run.app(side).reach);
        self.run.journal.production(|production| {
            let mut senders = production.balancers().filter(|(balancer, _)| reach.includes(balancer, host));
            // What had a share has requests in flight, which nobody counts: it is left running, and that is said.
            let mut is_found = self.run.plan.is_gradual
                && production.balancers().any(|(balancer, state)| {
                    state == Balancer::PutBack
                        && reach.includes(balancer, host)
                        && production.share_before(balancer).is_some()
                });
            let is_moved = senders.any(|(balancer, state)| {
                is_found |= production.found_sending_to(balancer, colour);
                matches!(state, Balancer::Shifted | Balancer::Unknown)
            });
            match (is_moved, is_found) {
                (true, _) => Need::Moved,
                (false, true) => Need::Found,
                (false, false) => Need::Nobody,
            }
        })
    }

    /// Takes a step back, as the plan says. Whether that was done.
    pub(super) async fn undo(&self, step: &Step) -> bool {
        let why = match &step.undo {
            Undo::Does(action) | Undo::AllBack(action) => {
                let back =
                    Step { action: action.as_ref().clone(), why: format!("takes back: {}", step.why), ..step.clone() };
                let name = match back.action {
                    Action::Start { .. } => StageName::Start,
                    Action::Stop { .. } => StageName::Stop,
                    Action::Change { .. } => StageName::Change(0),
                    Action::Lock { .. }
                    | Action::Arm { .. }
                    | Action::Switch { .. }
                    | Action::Drain
                    | Action::Leave { .. }
                    | Action::Verify { .. }
                    | Action::Load { .. }
                    | Action::Swap
                    | Action::Merge { .. }
                    | Action::TakeBack { .. }
                    | Action::TakeRowsBack { .. }
                    | Action::Remember { .. } => StageName::Switch,
                };
                self.run.journal.record_all(self.intent(name, &back));
                return self.step(name, &back, Way::Back).await == Status::Done;
            }
            Undo::Impossible(why) => why.clone(),
            Undo::ByCommand(command) => command.clone(),
            Undo::Released | Undo::CopyIsDropped | Undo::EndsByItself | Undo::NothingToUndo => return true,
        };
        self.run.journal.note(format!("{}: cannot be taken back: {why}", step.host));
        self.say_what_runs(step, AppState::LeftRunning).await;
        false
    }

    /// What was started and is not stopped again may be down all the same: only the host knows.
    async fn say_what_runs(&self, step: &Step, if_it_runs: AppState) {
        let Some(side) = step.starts() else { return };
        let colour = self.run.colour(side);
        let seen = crate::steps::again::facts(self.run, &step.host).await;
        let state = match seen.as_ref().map(|seen| seen.app(colour)) {
            Some(app) if !app.port_is_open && app.is_running == Ok(false) => AppState::StoppedAgain,
            Some(_) => if_it_runs,
            None => AppState::Unknown,
        };
        self.run.journal.record(What::App { host: step.host.clone(), colour, state });
    }

    /// The shares that this run began to give on a host, in order.
    pub(super) fn shifts_begun_on(&self, host: &HostName) -> Vec<&'a Step> {
        let is_one = |step: &&&'a Step| step.host == *host && step.switches().is_some();
        self.begun().iter().filter(is_one).copied().collect()
    }

    /// The changes of the config that this run began to make, in order.
    pub(super) fn changes_begun(&self) -> Vec<&'a Step> {
        self.begun().iter().filter(|step| step.changes().is_some()).copied().collect()
    }

    /// A change of this run that was begun on a host.
    pub(super) fn begun_on(&self, host: &HostName, is_it: impl Fn(&Action) -> bool) -> Option<&'a Step> {
        self.begun().iter().rev().find(|step| step.host == *host && is_it(&step.action)).copied()
    }

    /// What is known of balancers that this plan does not touch.
    fn record_left_out(&self) {
        let states = self.run.plan.left_out.iter().filter(|left| left.is_balancer).map(|left| {
            let was_reached = self.run.seen(&left.host).is_some();
            let state = match (left.is_there, was_reached) {
                (true, _) => Balancer::Shifted,
                (false, true) => Balancer::Unchanged,
                (false, false) => Balancer::Unknown,
            };
            What::Balancer { host: left.host.clone(), state, share: Share::ALL }
        });
        self.run.journal.record_all(states.collect::<Vec<_>>());
    }

    /// The nginx files before and after, for the incident folder.
    pub(super) fn keep_nginx_files(&self) {
        let mut seen: BTreeSet<&HostName> = BTreeSet::new();
        for (host, change) in self.run.plan.file_changes() {
            // Of several shares the first one was before, and the one that was given last is after.
            let is_first = seen.insert(host);
            let share = self.run.journal.production(|production| production.share(host));
            let is_given = |step: &Step| matches!(&step.action, Action::Switch { change: of, share: given, .. } if of == change && Some(*given) == share);
            let is_last = !self.run.plan.is_gradual || self.shifts_begun_on(host).into_iter().any(is_given);
            let keep = |which: &str, text: &str| {
                let file = format!("{host}.nginx.{which}.conf");
                let of = format!("{} {which}", change.path);
                evidence::keep_whole(self.run.folder, self.run.journal, Some(host), &file, &of, &bytes_of(text));
            };
            if is_first {
                keep("before", &change.before);
            }
            if is_last && self.run.is_shifted(host) {
                keep("after", &change.after);
            }
        }
    }

    async fn pictures(&self) {
        self.pictures_of(Side::From).await;
    }

    /// What a side looks like that is not to serve.
    pub(super) async fn pictures_of(&self, side: Side) {
        let evidence = self.evidence(side);
        join_all(self.app_hosts().map(|host| evidence.picture(&host.name))).await;
    }

    async fn logs(&self) {
        self.logs_of(Side::From).await;
    }

    /// Logs and journals of all hosts, each bounded in time and size.
    pub(super) async fn logs_of(&self, side: Side) {
        let run = self.run;
        let evidence = &self.evidence(side);
        let hosts = run.inventory.hosts.iter().filter(|host| run.seen(&host.name).is_some());
        join_all(hosts.map(|host| async move {
            let timed = run.journal.begin(evidence::STEP, Some(&host.name));
            let until = evidence.deadline();
            evidence.logs(host, until).await;
            evidence.system_journal(host, until).await;
            evidence::end_step(timed, run.journal, &host.name);
        }))
        .await;
    }

    fn evidence(&self, side: Side) -> Collector<'_, F> {
        let run = self.run;
        Collector {
            fleet: run.fleet,
            inventory: run.inventory,
            facts: run.facts,
            from: run.colour(side),
            folder: run.folder,
            journal: run.journal,
            redactor: run.redactor,
        }
    }

    pub(super) fn colour(&self, side: Side) -> Colour {
        self.run.colour(side)
    }
}

/// Who needs what was started.
#[derive(PartialEq, Eq)]
enum Need {
    /// Traffic that this run moved, or may have moved.
    Moved,
    /// Traffic that went there before.
    Found,
    Nobody,
}

/// What the guards of one stage ask for.
pub(super) struct View {
    /// Balancers that are not proven where they should be.
    not_there: BTreeSet<HostName>,
    /// Hosts on which what traffic goes to does not answer well.
    ill: Vec<(HostName, String)>,
    drained: Option<Drained>,
}

impl View {
    /// The balancers that may still send to the side that traffic left, on that host.
    fn still_send(&self, reach: Reach, host: &HostName) -> Vec<&str> {
        self.not_there.iter().filter(|balancer| reach.includes(balancer, host)).map(HostName::as_str).collect()
    }

    /// Why it must not be stopped on that host.
    fn somebody_needs<F>(&self, reach: Reach, host: &HostName, run: &Context<'_, F>) -> Option<String> {
        let still = self.still_send(reach, host);
        if !still.is_empty() {
            return Some(format!("{} may still send to it", still.join(", ")));
        }
        let peers = self.drained.as_ref().map(|drained| drained.peers(host));
        if let Some(peers) = peers.filter(|_| !run.plan.is_forced) {
            if peers.is_unseen {
                return Some("who is connected to it is not known; --force stops it all the same".to_owned());
            }
            if !peers.strangers.is_empty() {
                return Some(format!(
                    "still connected to it on {host}, and none of our balancers: {}; --force stops it all the same",
                    peers.strangers.join(", ")
                ));
            }
        }
        // Where servers are local its own other colour takes its place, else any of them may.
        self.ill.iter().find(|(other, _)| reach.includes(other, host)).map(|(_, why)| why.clone())
    }
}
