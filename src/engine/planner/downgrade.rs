//! Migrations are taken back once nobody needs them any more: which, where that is run, and why it cannot be.

use dumps::migrations::{self, Down};

use super::{Planner, Stages};
use crate::nouns::change::{ChangePlace, ChangeWork, is_here};
use crate::nouns::names::{HostName, listed};
use crate::nouns::plan::{Action, Guard, StageName, Step, Undo};
use crate::nouns::record::MeantChange;
use crate::nouns::refusal::RefusalName;

impl Planner<'_> {
    /// Plans that migrations are taken back.
    pub(super) fn downgrade(&mut self, stages: &mut Stages) -> Option<(Option<Down>, MeantChange)> {
        let wish = self.request.migrate_down.as_ref()?;
        let (config, seen) = (self.inventory.migrations.as_ref()?, self.facts.migrations.as_ref()?);
        let seen = match seen {
            Ok(seen) => seen,
            Err(not_known) => {
                let why = format!("which migrations are applied is not known: {}", not_known.why);
                self.refuse(RefusalName::MigrationUnknown, None, why, not_known.hint.clone());
                return None;
            }
        };
        for why in config.change.manner.unset() {
            self.refuse(RefusalName::VariableUnset, None, format!("migrations: {why}"), None);
        }
        let database = self.inventory.host(&seen.host);
        let down = match migrations::down(&seen.live, wish.to.as_deref(), seen.dump.as_deref()) {
            Ok(Some(down)) => down,
            // The same line once more, after a run that did it and did not live to say so.
            Ok(None) => {
                let host = self.first_reached(&config.change.manner.on)?;
                self.notes.push(format!(
                    "{}: nothing is to be taken back: {}",
                    seen.host,
                    migrations::state_words(&seen.live)
                ));
                let (name, in_force) = (config.change.name.clone(), vec![host.clone()]);
                return Some((None, MeantChange { name, hosts: vec![host], in_force }));
            }
            Err(why) => {
                let why = format!("migrations cannot be taken back: {why}");
                self.refuse(RefusalName::MigrationDown, database, why, None);
                return None;
            }
        };
        if !down.is_known {
            let why = format!(
                "whether {} has a migration {} nobody can say: it keeps its last one alone",
                down.tool, down.to
            );
            self.refuse_unless_forced(RefusalName::MigrationUnknown, database, why, None);
        }
        let change = match config.change_of(&down) {
            Ok(change) => change,
            Err(why) => {
                self.refuse(RefusalName::MigrationDown, None, format!("migrations: {why}"), None);
                return None;
            }
        };
        let host = self.first_reached(&change.manner.on)?;
        self.refuse_one_at_work(&host, &change.name);
        if let Some(unknown) = self.facts.change(&change.name, &host).and_then(|seen| seen.unknown.as_ref()) {
            let why = format!("migrations: {}", unknown.why);
            self.refuse_on(RefusalName::ChangeUnknown, &host, why, unknown.hint.clone());
        }
        let back = match change.undo.is_empty() {
            true => Undo::Impossible("the config says no way back: migrations.up".to_owned()),
            false => Undo::ByCommand("rollback-prod undo".to_owned()),
        };
        let work = ChangeWork {
            name: change.name.clone(),
            is_back: false,
            files: Vec::new(),
            words: change.run.clone(),
            opposite: change.undo.clone(),
            check: Vec::new(),
            restart: None,
            called: None,
            as_root: false,
        };
        let count = if down.are_all { format!(" ({})", down.newer.join(", ")) } else { String::new() };
        let step = Step {
            host: host.clone(),
            why: format!(
                "{}: from {} to {}{count}; a dump is kept before; {}",
                down.tool,
                down.from,
                down.to,
                work.words()
            ),
            action: Action::Change { work },
            guard: Guard::FromIsStopped,
            undo: back,
        };
        stages.extend([(StageName::Downgrade, step)]);
        Some((Some(down), MeantChange { name: change.name, hosts: vec![host], in_force: Vec::new() }))
    }

    /// The first of the hosts that was reached, or this machine.
    fn first_reached(&mut self, place: &ChangePlace) -> Option<HostName> {
        let hosts = place.hosts();
        let found = hosts.iter().find(|host| is_here(host) || self.facts.seen(host).is_some()).cloned();
        if found.is_none() {
            let why = format!("migrations: none of {} was reached", listed(&hosts.iter().collect::<Vec<_>>()));
            self.refuse(RefusalName::HostUnreached, None, why, None);
        }
        found
    }
}
