//! What else of a release goes back, as the engine does it: change after change, where one restarts something host after host,
//! all or nothing where changes are all that was asked for. And the moments at which hooks are run.

use super::run::Engine;
use crate::hosts::remote::Apply;
use crate::nouns::change::HookAt;
use crate::nouns::plan::{Stage, StageName, Step};
use crate::nouns::production::Production;
use crate::nouns::record::ChangeState;
use crate::steps::downgrade::Goes;
use crate::steps::hook;

impl<'a, F: Apply> Engine<'_, 'a, F> {
    /// Hooks of that moment.
    pub(super) async fn hooks(&self, at: HookAt) {
        if self.run.inventory.hooks.iter().any(|hook| hook.at == at) {
            // A large future, and a rare one.
            Box::pin(hook::run_at(self.run, at)).await;
        }
    }

    /// Makes a change on its hosts, or takes it back. What failed on the way is taken back there, as far as it can be.
    pub(super) async fn change(&self, stage: &'a Stage) {
        let is_done = self.stage(stage).await;
        // What could not be taken back is not made again.
        if is_done || self.run.journal.production(Production::wanted) != ChangeState::Made {
            return;
        }
        for step in stage.steps.iter().filter(|step| self.state_of(step) == Some(ChangeState::Unknown)) {
            self.undo(step).await;
        }
    }

    /// Changes where traffic stays. One that cannot be made takes all of them back; one that cannot be taken back stays.
    pub(super) async fn changes_alone(&self, stages: &[&'a Stage]) {
        for stage in stages.iter().filter(|stage| stage.name.is_of_a_change()) {
            if !self.run.goes_on() || !self.passes(stage) {
                break;
            }
            self.change(stage).await;
        }
        let wanted = self.run.journal.production(Production::wanted);
        let mut steps = stages.iter().filter(|stage| stage.name.is_of_a_change()).flat_map(|stage| &stage.steps);
        if wanted == ChangeState::Made && !steps.all(|step| self.state_of(step) == Some(wanted)) {
            self.take_back_changes().await;
        }
    }

    /// The changes of this run, latest first.
    async fn take_back_changes(&self) {
        if self.run.interrupted() > 1 {
            return;
        }
        for step in self.changes_begun().into_iter().rev() {
            if self.state_of(step) == Some(ChangeState::Made) {
                self.undo(step).await;
            }
        }
    }

    /// Changes that were made for traffic which never came: production is what it was, or it is said what it is.
    pub(super) async fn take_back_changes_for_nothing(&self) {
        let is_undo = self.run.journal.production(Production::wanted) != ChangeState::Made;
        if is_undo || !self.run.plan.moves_traffic() || self.run.journal.production(Production::is_anything_moved) {
            return;
        }
        self.take_back_changes().await;
    }

    /// Takes migrations back, once the word is typed. What the database says of them afterwards is what is true.
    pub(super) async fn downgrade(&self, stage: &'a Stage) {
        let view = self.view(stage).await;
        let Some((step, work)) = stage.steps.first().and_then(|step| Some((step, step.changes()?))) else { return };
        let may_begin = match self.holds(step, &view) {
            Ok(()) => self.run.may_downgrade(work).await,
            Err(why) => Err(why.unwrap_or_default()),
        };
        match may_begin {
            Ok(Goes::IsThere(words)) => self.run.is_down(&step.host, work, &words),
            Ok(Goes::From(kept)) => {
                self.watched.goes_down(true);
                let is_done = self.stage(stage).await;
                self.watched.goes_down(false);
                match self.is_begun(step) {
                    true => self.run.say_state_after(&step.host, work, is_done, kept.as_deref()).await,
                    false => self.run.stays_up(&step.host, work, "what it waits for is not so any more"),
                }
            }
            Err(why) => self.run.stays_up(&step.host, work, &why),
        }
    }

    /// Whether migrations were taken back, or may have been: what they were made for cannot serve any more.
    pub(super) fn is_database_down(&self) -> bool {
        let down = self.run.plan.stage(StageName::Downgrade).and_then(|stage| stage.steps.first());
        down.is_some_and(|step| {
            match self.state_of(step) {
                // What an earlier run began is there, too.
                Some(state) => state != ChangeState::AsItWas,
                None => self.is_begun(step),
            }
        })
    }

    fn is_begun(&self, step: &Step) -> bool {
        self.begun_on(&step.host, |action| *action == step.action).is_some()
    }

    fn state_of(&self, step: &Step) -> Option<ChangeState> {
        let work = step.changes()?;
        self.run.journal.production(|production| production.change(&work.name, &step.host))
    }
}
