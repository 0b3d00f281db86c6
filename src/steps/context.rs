//! What every step works with, and what it gives back. Carries nothing out, and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::hosts::facts::{Facts, Seen};
use crate::hosts::program::Tenure;
use crate::hosts::remote::Held;
use crate::incident::folder::Folder;
use crate::incident::journal::Journal;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{App, Inventory};
use crate::nouns::joined;
use crate::nouns::names::HostName;
use crate::nouns::plan::{FileChange, Plan, TakesOver, Target};
use crate::nouns::rebase::rebased;
use crate::nouns::record::{Status, What};
use crate::nouns::redact::Redactor;
use crate::nouns::side::Side;

use super::about::AboutRun;
use super::passes::InARow;

/// One run: its plan, what was seen, the hosts, and the journal that says what became of it.
pub struct Context<'a, F> {
    pub plan: &'a Plan,
    pub inventory: &'a Inventory,
    pub facts: &'a Facts,
    pub fleet: &'a F,
    pub journal: &'a Journal<'a>,
    pub folder: &'a Folder,
    pub redactor: &'a Redactor,
    /// Goes up with each signal: 1 stops between two steps, 2 stops waiting at once.
    pub interrupts: watch::Receiver<u32>,
    /// Who we are, for the hosts.
    pub tenure: Tenure,
    /// Shared by all services of a run.
    pub locks: &'a Locks,
    /// Shared by them, too.
    pub files: &'a Files,
    pub seen_since: SeenSince,
    /// Why nothing new may begin any more, once there is a reason: nobody serves, or a lock was lost.
    pub stopped: OnceLock<String>,
}

/// The locks that this run holds: one on a host, whatever services it has there.
#[derive(Default)]
pub struct Locks {
    held: Mutex<Vec<(HostName, Held)>>,
    /// The number of each of them.
    numbers: Mutex<BTreeMap<HostName, u64>>,
    /// Whoever takes one keeps his siblings away from it until it is known whether he has it.
    taking: OneOnEach,
    /// Hosts on which the line that held it is gone.
    missed: Mutex<BTreeSet<HostName>>,
}

impl Locks {
    pub fn hold(&self, host: &HostName, held: Held) {
        locked(&self.missed).remove(host);
        locked(&self.held).push((host.clone(), held));
    }

    /// A host on which another run has it by now.
    pub fn lost(&self) -> Option<HostName> {
        locked(&self.held).iter().find(|(_, held)| held.is_lost()).map(|(host, _)| host.clone())
    }

    /// Hosts whose channel has ended, and the lock with it. They are held no more.
    pub fn gone(&self) -> Vec<HostName> {
        let mut held = locked(&self.held);
        let mut gone = std::mem::take(&mut *locked(&self.missed));
        gone.extend(held.iter().filter(|(_, held)| held.is_gone()).map(|(host, _)| host.clone()));
        held.retain(|(_, held)| !held.is_gone());
        gone.into_iter().collect()
    }

    pub fn is_held(&self, host: &HostName) -> bool {
        locked(&self.held).iter().any(|(of, _)| of == host)
    }

    /// For as long as the value lives nobody else of this run takes the lock there.
    pub async fn taking(&self, host: &HostName) -> tokio::sync::OwnedMutexGuard<()> {
        self.taking.on(host).await
    }

    pub fn remember_number(&self, host: &HostName, number: u64) {
        locked(&self.numbers).insert(host.clone(), number);
    }

    pub fn numbers(&self) -> BTreeMap<HostName, u64> {
        locked(&self.numbers).clone()
    }

    fn number(&self, host: &HostName) -> Option<u64> {
        locked(&self.numbers).get(host).copied()
    }

    /// It could not be taken again.
    pub fn miss(&self, host: &HostName) {
        locked(&self.missed).insert(host.clone());
    }

    pub async fn release(&self) {
        let held = std::mem::take(&mut *locked(&self.held));
        join_all(held.into_iter().map(|(_, held)| held.release())).await;
    }
}

/// On each host one of this run's services at a time.
#[derive(Default)]
struct OneOnEach(Mutex<BTreeMap<HostName, Arc<tokio::sync::Mutex<()>>>>);

impl OneOnEach {
    async fn on(&self, host: &HostName) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = Arc::clone(locked(&self.0).entry(host.clone()).or_default());
        turn.lock_owned().await
    }
}

/// What this run's services have made of nginx's files: two of them may change one, and take it back in any order.
#[derive(Default)]
pub struct Files {
    texts: Mutex<BTreeMap<(HostName, String), String>>,
    writing: OneOnEach,
}

impl Files {
    /// For as long as the value lives nobody else of this run writes there.
    pub async fn writing(&self, host: &HostName) -> tokio::sync::OwnedMutexGuard<()> {
        self.writing.on(host).await
    }

    /// The same change of the files as this run has left them. Where both touch the same lines it stays what it was, and the
    /// host finds that the file is another.
    pub fn as_they_are(&self, host: &HostName, change: &FileChange) -> FileChange {
        let texts = locked(&self.texts);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (path, was, shall) in parts_of(change) {
            let now = texts.get(&(host.clone(), path.clone())).map_or(was, String::as_str);
            match (now == was).then(|| shall.to_owned()).or_else(|| rebased(was, shall, now)) {
                Some(shall) => {
                    before.push(now.to_owned());
                    after.push(shall);
                }
                None => {
                    before.push(was.to_owned());
                    after.push(shall.to_owned());
                }
            }
        }
        FileChange { before: before.join(joined::NEXT), after: after.join(joined::NEXT), ..change.clone() }
    }

    /// Nobody here knows any more what they are: the plan's own texts count again.
    pub fn forget(&self, host: &HostName, change: &FileChange) {
        let mut texts = locked(&self.texts);
        for (path, _, _) in parts_of(change) {
            texts.remove(&(host.clone(), path.clone()));
        }
    }

    /// From now on the files are as the change has them after it, or before.
    pub fn remember(&self, host: &HostName, change: &FileChange, is_made: bool) {
        let mut texts = locked(&self.texts);
        for (path, was, shall) in parts_of(change) {
            texts.insert((host.clone(), path.clone()), if is_made { shall } else { was }.to_owned());
        }
    }
}

/// Of each file what it said, and what it shall say.
fn parts_of(change: &FileChange) -> impl Iterator<Item = (&String, &str, &str)> {
    let paths = [&change.path].into_iter().chain(&change.also);
    let texts = joined::parts(&change.before).zip(joined::parts(&change.after));
    paths.zip(texts).map(|(path, (was, shall))| (path, was, shall))
}

/// One look at what still reaches a colour from or on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Connections from here to it.
    pub towards: usize,
    /// Addresses connected to it here.
    pub peers: Vec<String>,
    /// Workers of nginx that still finish old requests.
    pub closing_workers: usize,
}

impl Sample {
    pub fn is_quiet(&self) -> bool {
        self.towards == 0 && self.peers.is_empty() && self.closing_workers == 0
    }
}

/// What steps have seen that later ones ask for.
#[derive(Default)]
pub struct SeenSince {
    /// Sizes of the access logs at the moment of the switch, by host.
    access_sizes: Mutex<BTreeMap<HostName, BTreeMap<String, u64>>>,
    /// The last look at what still reaches the side that traffic left; `None` where the host gave no answer.
    samples: Mutex<BTreeMap<HostName, Option<Sample>>>,
    /// The sessions of plain processes that this run began, as what may be stopped.
    sessions: Mutex<BTreeMap<HostName, Target>>,
}

/// What became of a step, for the journal.
#[derive(Debug)]
pub struct Outcome {
    pub status: Status,
    pub detail: String,
    /// What production is from now on, recorded with the outcome as one write.
    pub follows: Vec<What>,
}

impl Outcome {
    pub fn new(status: Status, detail: impl Into<String>) -> Outcome {
        Outcome { status, detail: detail.into(), follows: Vec::new() }
    }

    pub fn done(detail: impl Into<String>) -> Outcome {
        Outcome::new(Status::Done, detail)
    }

    pub fn failed(detail: impl Into<String>) -> Outcome {
        Outcome::new(Status::Failed, detail)
    }

    pub fn unknown(detail: impl Into<String>) -> Outcome {
        Outcome::new(Status::Unknown, detail)
    }

    #[must_use]
    pub fn then(mut self, what: What) -> Outcome {
        self.follows.push(what);
        self
    }
}

impl<'a, F> Context<'a, F> {
    pub fn colour(&self, side: Side) -> Colour {
        self.plan.direction.colour(side)
    }

    pub fn app(&self, side: Side) -> &'a App {
        self.inventory.app(self.colour(side))
    }

    pub fn seen(&self, host: &HostName) -> Option<&'a Seen> {
        self.facts.seen(host)
    }

    /// What the words of hooks and changes are told of it.
    pub fn about(&self) -> AboutRun {
        AboutRun::of_plan(self.plan, self.folder.path())
    }

    /// Who we are, for a host: with the number of our lock there.
    pub fn tenure_on(&self, host: &HostName) -> Tenure {
        self.tenure.under(self.locks.number(host))
    }

    /// The same where a lock is taken once more: whoever had one since came after us, and what he did stays.
    pub fn tenure_again(&self, host: &HostName) -> Tenure {
        Tenure { takes_over: TakesOver::Nobody, ..self.tenure_on(host) }
    }

    /// How often somebody asked us to stop.
    pub fn interrupted(&self) -> u32 {
        *self.interrupts.borrow()
    }

    /// Whether the next change may begin: nobody pressed Ctrl-C, nobody took a lock, and somebody serves.
    pub fn goes_on(&self) -> bool {
        if self.interrupted() > 0 || self.stopped.get().is_some() {
            return false;
        }
        match self.locks.lost() {
            None => true,
            Some(host) => {
                self.stop(format!("{host}: another run took the lock; this one stops here"));
                false
            }
        }
    }

    /// Nothing new begins from now on.
    pub fn stop(&self, why: String) {
        if self.stopped.set(why.clone()).is_ok() {
            self.journal.note(why);
        }
    }

    /// Ends once nothing new begins any more, with the reason.
    pub async fn until_stopped(&self) -> String {
        loop {
            if let Some(why) = self.stopped.get() {
                return why.clone();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn is_shifted(&self, host: &HostName) -> bool {
        self.journal.production(|production| production.is_shifted(host))
    }

    /// What `[verify]` wants.
    pub fn in_a_row(&self) -> InARow {
        let verify = &self.inventory.verify;
        InARow { passes: verify.passes, interval: verify.interval, timeout: verify.timeout }
    }
}

// A panic while one of them was held would have left a value that is whole all the same.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SeenSince {
    /// The first ones count: they are of the moment when traffic moved.
    pub fn remember_access_sizes(&self, host: &HostName, sizes: BTreeMap<String, u64>) {
        locked(&self.access_sizes).entry(host.clone()).or_insert(sizes);
    }

    pub fn access_sizes(&self, host: &HostName) -> BTreeMap<String, u64> {
        locked(&self.access_sizes).get(host).cloned().unwrap_or_default()
    }

    pub fn remember_sample(&self, host: &HostName, sample: Option<Sample>) {
        locked(&self.samples).insert(host.clone(), sample);
    }

    pub fn samples(&self) -> BTreeMap<HostName, Option<Sample>> {
        locked(&self.samples).clone()
    }

    pub fn remember_session(&self, host: &HostName, session: Target) {
        locked(&self.sessions).insert(host.clone(), session);
    }

    pub fn session(&self, host: &HostName) -> Option<Target> {
        locked(&self.sessions).get(host).cloned()
    }
}
