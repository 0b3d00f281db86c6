//! Everything that changes a host, in the order of the plan and to its letter: guard, intent on disk, apply, prove,
//! outcome on disk. An answer that was lost is looked for before anything is concluded from it. Makes no plans, and
//! prints nothing.

mod after;
mod database;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::{oneshot, watch};

use crate::hosts::answer::{Answer, Failure};
use crate::hosts::facts::Facts;
use crate::hosts::job;
use crate::hosts::program::Tenure;
use crate::hosts::remote::{Apply, Held};
use crate::incident::evidence;
use crate::incident::folder::Folder;
use crate::incident::journal::Journal;
use crate::nouns::colour::Colour;
use crate::nouns::consent::Confirmed;
use crate::nouns::inventory::{Database, Inventory, Role, Run};
use crate::nouns::names::HostName;
use crate::nouns::plan::{Action, FileChange, PhaseKind, Plan, Proof, RestoreWish, Step, Target};
use crate::nouns::record::{Balancer, Green, Status, StepWord, Swap, What, last_balancer_state};
use crate::nouns::redact::Redactor;
use crate::steps::observe;
use crate::steps::passes::{self, InARow};
use crate::steps::{lock, start, stop, switch};

/// A host that is asked again after a lost answer gets this long to come back before it counts as unknown.
const LOOK_AGAIN: Duration = Duration::from_secs(40);

/// What an execution works with.
pub struct Execution<'a, F> {
    pub plan: &'a Plan,
    pub inventory: &'a Inventory,
    pub facts: &'a Facts,
    pub fleet: &'a F,
    pub journal: &'a Journal<'a>,
    pub folder: &'a Folder,
    pub redactor: &'a Redactor,
    /// Goes up with each signal: 1 stops between two steps, 2 stops waiting at once.
    pub interrupts: watch::Receiver<u32>,
    pub green_is_kept: bool,
    pub is_forced: bool,
    /// What the database is restored from, where that is wanted.
    pub restore: Option<(&'a RestoreWish, &'a Database)>,
    /// The swap of databases that is taken back before anything else.
    pub take_back: Option<(&'a Swap, &'a Database)>,
    /// Who we are, for the hosts.
    pub tenure: Tenure,
    /// Sizes of the access logs at the moment of the switch, by host.
    pub access_sizes: Mutex<BTreeMap<HostName, BTreeMap<String, u64>>>,
}

/// Carries the plan out. What became of it is in the journal.
pub async fn execute<F: Apply>(run: &Execution<'_, F>, consent: &Confirmed) {
    if !consent.covers(run.plan) {
        run.journal.note("the plan is not the one that was consented to; nothing was changed");
        return;
    }
    let mut interrupts = run.interrupts.clone();
    tokio::select! {
        () = carry_out(run) => {}
        // A step that had begun ends on its host by itself; its intent without an outcome says that it is unknown.
        Ok(_) = interrupts.wait_for(|count| *count > 1) => {
            run.journal.note("stopped waiting; what had begun ends on the hosts by itself");
        }
    }
}

async fn carry_out<F: Apply>(run: &Execution<'_, F>) {
    run.record_left_out();
    let Some(locks) = run.lock().await else { return };
    if let Some((swap, database)) = run.take_back
        && !run.take_database_back(database, swap, &locks).await
    {
        join_all(locks.into_iter().map(|(_, held)| held.release())).await;
        return;
    }
    let (known, verdict) = oneshot::channel();
    let (is_safe, safe) = watch::channel(None);
    // The dump is judged and loaded beside everything else; traffic waits for nothing of it.
    let database = async {
        let (wish, database) = run.restore?;
        Some((database, run.load_aside(wish, database, known, safe).await?))
    };
    let traffic = async {
        run.move_traffic(&locks, &is_safe, verdict).await;
        // Where traffic never came to be safe, the database need not wait for it.
        is_safe.send_if_modified(|safe| safe.replace(safe.unwrap_or(false)).is_none());
    };
    let (ready, ()) = join(database, traffic).await;
    if let Some((database, ready)) = ready {
        run.replace_database(database, ready, &locks).await;
    }
    join_all(locks.into_iter().map(|(_, held)| held.release())).await;
}

type Locks = Vec<(HostName, Held)>;

impl<F: Apply> Execution<'_, F> {
    /// Whether the next change may begin: nobody pressed Ctrl-C, nobody took the lock.
    fn goes_on(&self, locks: &Locks) -> bool {
        if *self.interrupts.borrow() > 0 {
            return false;
        }
        for (host, held) in locks {
            if held.is_lost() {
                self.journal.note(format!("{host}: another run took the lock; this one stops here"));
                return false;
            }
        }
        true
    }

    /// Blue up, traffic on it, green drained and stopped.
    async fn move_traffic(&self, locks: &Locks, is_safe: &watch::Sender<Option<bool>>, verdict: oneshot::Receiver<()>) {
        let moves = self.plan.phase(PhaseKind::Switch).is_some();
        if !(moves && self.goes_on(locks) && self.start_blue().await && self.goes_on(locks)) {
            return;
        }
        self.switch().await;
        self.keep_nginx_files();
        if self.is_all_on_blue() {
            self.say_traffic_is_safe();
        }
        is_safe.send_replace(Some(self.is_all_on_blue()));
        if self.any_on_blue() {
            self.after_the_switch(locks, verdict).await;
        }
    }

    fn steps(&self, kind: PhaseKind) -> &[Step] {
        self.plan.phase(kind).map(|phase| phase.steps.as_slice()).unwrap_or_default()
    }

    fn state_of(&self, host: &HostName) -> Option<Balancer> {
        last_balancer_state(&self.journal.entries(), host)
    }

    fn is_all_on_blue(&self) -> bool {
        self.inventory.with_role(Role::Balancer).all(|host| self.state_of(&host.name) == Some(Balancer::Blue))
    }

    fn any_on_blue(&self) -> bool {
        self.plan.hosts_of(PhaseKind::Switch).iter().any(|host| self.state_of(host) == Some(Balancer::Blue))
    }

    fn say_traffic_is_safe(&self) {
        let hosts = self.inventory.with_role(Role::Balancer).count();
        self.journal.record(What::TrafficSafe { hosts, towards: self.plan.towards });
    }

    /// What is known of balancers that this plan does not touch.
    fn record_left_out(&self) {
        let states = self.plan.left_out.iter().filter(|left| left.is_balancer).map(|left| {
            let was_reached = self.facts.seen(&left.host).is_some();
            let state = match (left.is_on_blue, was_reached) {
                (true, _) => Balancer::Blue,
                (false, true) => Balancer::Unchanged,
                (false, false) => Balancer::Unknown,
            };
            What::Balancer { host: left.host.clone(), state }
        });
        self.journal.record_all(states.collect::<Vec<_>>());
    }

    /// Takes the lock on every balancer and has nginx test the candidates there. `None` when nothing may begin.
    async fn lock(&self) -> Option<Locks> {
        let steps = self.steps(PhaseKind::Lock);
        self.journal.record_all(steps.iter().map(intent_of(StepWord::Lock)));
        let taken = join_all(steps.iter().map(|step| self.lock_host(step))).await;
        let may_begin = taken.iter().all(|taken| !matches!(taken, Taken::Refused));
        let locks: Locks = taken
            .into_iter()
            .filter_map(|taken| match taken {
                Taken::Held(host, held) => Some((host, held)),
                Taken::Refused | Taken::Without => None,
            })
            .collect();
        if may_begin {
            return Some(locks);
        }
        join_all(locks.into_iter().map(|(_, held)| held.release())).await;
        None
    }

    async fn lock_host(&self, step: &Step) -> Taken {
        let Action::Lock { candidate } = &step.action else { return Taken::Without };
        let timed = self.journal.timed(StepWord::Lock, Some(&step.host));
        let change = lock::prepare(self.inventory, &self.tenure, candidate.as_ref());
        let (answer, held) = match self.fleet.hold(&step.host, &change).await {
            Ok(taken) => taken,
            Err(failure) => {
                // A host that is gone by now is not switched, and does not keep the others from it.
                timed.end_with(
                    Status::Failed,
                    failure.to_string(),
                    [What::Balancer { host: step.host.clone(), state: Balancer::Unknown }],
                );
                return Taken::Without;
            }
        };
        let said = answer.text("lock").unwrap_or_default();
        let (verdict, about) = said.split_once(' ').unwrap_or((&said, ""));
        let candidate_said = answer.text("candidate").unwrap_or_default();
        match (verdict, answer.status_of("candidate")) {
            ("busy", _) => {
                timed.end(Status::Failed, format!("another run holds the lock: {about}"));
                Taken::Refused
            }
            (_, Some(1)) => {
                timed.end(Status::Failed, format!("nginx refuses the new file: {}", worst_line(&candidate_said)));
                Taken::Refused
            }
            (verdict, tested) => {
                let mut details = Vec::new();
                match verdict {
                    "held" => {}
                    "stale" => details.push(format!("stale lock taken over from {about}")),
                    "taken" => details.push(format!("lock taken over from the live run of {about}")),
                    // A lock is never the reason that a rollback cannot start.
                    _ => {
                        self.journal.note(format!("{}: no lock: {about}", step.host));
                        details.push("without a lock".to_owned());
                    }
                }
                match tested {
                    Some(0) => details.push("candidate accepted".to_owned()),
                    Some(_) => {
                        let why = worst_line(&candidate_said);
                        self.journal.note(format!("{}: candidate not tested beforehand: {why}", step.host));
                    }
                    None => {}
                }
                timed.end(Status::Done, details.join(", "));
                if matches!(verdict, "held" | "stale" | "taken") {
                    Taken::Held(step.host.clone(), held)
                } else {
                    Taken::Without
                }
            }
        }
    }

    /// Starts blue where the plan says so, and proves it: N answers in a row, from the process that the config names.
    async fn start_blue(&self) -> bool {
        let steps = self.steps(PhaseKind::StartBlue);
        self.journal.record_all(steps.iter().map(intent_of(StepWord::Verify)));
        let started = join_all(steps.iter().map(|step| self.start_blue_on(step))).await;
        started.into_iter().all(|it_serves| it_serves)
    }

    async fn start_blue_on(&self, step: &Step) -> bool {
        let timed = self.journal.timed(StepWord::Verify, Some(&step.host));
        let said = match self.fleet.apply(&step.host, &start::start(self.inventory, &self.tenure, Colour::Blue)).await {
            Ok(answer) if answer.status == 0 => None,
            Ok(answer) => Some(worst_line(&answer.text("start").unwrap_or_default())),
            // Whether it was started is seen below, where it is asked.
            Err(failure) => Some(failure.to_string()),
        };
        let wanted = InARow { interval: Duration::ZERO, ..self.wanted() };
        match self.passes_in_a_row(&step.host, Colour::Blue, wanted).await {
            Ok(()) => {
                timed.end(Status::Done, format!("{} started and proven", self.plan.towards));
                true
            }
            Err(why) => {
                let mut detail = format!("{} was started and is not well: {why}", self.plan.towards);
                if let Some(said) = said.filter(|said| !said.is_empty()) {
                    detail = format!("{} could not be started: {said}; {why}", self.plan.towards);
                }
                if !matches!(self.inventory.blue.run, Run::Process { .. }) {
                    let stop = stop::stop(self.inventory, &self.tenure, Colour::Blue, &Target::Supervised);
                    // As it was before us; if that fails too, it is a failed unit that serves nobody.
                    if self.fleet.apply(&step.host, &stop).await.is_ok_and(|answer| answer.status == 0) {
                        detail.push_str("; it was stopped again");
                    }
                }
                timed.end(Status::Failed, detail);
                false
            }
        }
    }

    /// What `[verify]` wants.
    fn wanted(&self) -> InARow {
        let verify = &self.inventory.verify;
        InARow { passes: verify.passes, interval: verify.interval, timeout: verify.timeout }
    }

    /// Asks a colour until it has answered so many times in a row.
    async fn passes_in_a_row(&self, host: &HostName, colour: Colour, wanted: InARow) -> Result<(), String> {
        let goes_on = || *self.interrupts.borrow() < 2;
        let ask = async || match observe::pulse(self.fleet, self.inventory, host, colour).await {
            Ok(pulse) if pulse.is_good() => Ok(()),
            Ok(pulse) => Err(pulse.complaint()),
            Err(failure) => Err(failure.to_string()),
        };
        passes::in_a_row(wanted, goes_on, ask).await
    }

    /// Switches all balancers at once. Every one of them proves it or puts its own file back.
    async fn switch(&self) {
        let steps: Vec<&Step> = self
            .steps(PhaseKind::Switch)
            .iter()
            .filter(|step| self.state_of(&step.host) != Some(Balancer::Unknown))
            .collect();
        self.journal.record_all(steps.iter().copied().map(intent_of(StepWord::Switch)));
        join_all(steps.into_iter().map(|step| self.switch_host(step))).await;
    }

    async fn switch_host(&self, step: &Step) {
        let Action::Switch { change, proof } = &step.action else { return };
        let timed = self.journal.timed(StepWord::Switch, Some(&step.host));
        let switched = self.apply_switch(&step.host, change, proof).await;
        let (status, state, detail) = match &switched {
            Ok(answer) => {
                self.remember_access_sizes(&step.host, answer);
                outcome_of_switch(answer, change, self.plan.towards)
            }
            Err(failure) => self.look_again(&step.host, change, failure).await,
        };
        timed.end_with(status, detail, [What::Balancer { host: step.host.clone(), state }]);
    }

    /// The switch itself; sent again only when it certainly was not sent before.
    async fn apply_switch(&self, host: &HostName, change: &FileChange, proof: &Proof) -> Result<Answer, Failure> {
        let may_root_shell = self.facts.seen(host).is_some_and(|seen| seen.may_root_shell);
        let command = switch::switch(self.inventory, &self.tenure, change, proof, may_root_shell);
        match self.fleet.apply(host, &command).await {
            Err(Failure::NotSent { .. }) => self.fleet.apply(host, &command).await,
            other => other,
        }
    }

    /// An answer was lost. The step runs on without us: its result is fetched, or what is true is read again.
    async fn look_again(&self, host: &HostName, change: &FileChange, failure: &Failure) -> (Status, Balancer, String) {
        if let Failure::NotSent { .. } = failure {
            return (Status::Failed, Balancer::Unknown, format!("{failure}; nothing was sent"));
        }
        self.journal.note(format!("{host}: {failure}; looking again"));
        let until = tokio::time::Instant::now() + LOOK_AGAIN;
        let job = job::job(self.inventory, &self.plan.id, "switch", Duration::from_secs(30));
        while tokio::time::Instant::now() < until && *self.interrupts.borrow() < 2 {
            match self.fleet.ask(host, &job).await {
                Ok(answer) if answer.status != 92 => {
                    self.remember_access_sizes(host, &answer);
                    return outcome_of_switch(&answer, change, self.plan.towards);
                }
                // The host is back and knows no such step: it never began there, or its answer was fetched already.
                Ok(_) => return self.read_again(host, change).await,
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
        (Status::Unknown, Balancer::Unknown, format!("{failure}; the host has not come back"))
    }

    async fn read_again(&self, host: &HostName, change: &FileChange) -> (Status, Balancer, String) {
        let Some(host) = self.inventory.host(host) else {
            return (Status::Unknown, Balancer::Unknown, "the host is not in the config".to_owned());
        };
        let facts = observe::ask_facts(self.fleet, self.inventory, host, self.journal.clock()).await;
        let nginx = facts.seen.as_ref().ok().and_then(|seen| seen.nginx.as_ref());
        let text = nginx.and_then(|nginx| nginx.text.as_ref().ok());
        let answered_by = nginx.and_then(|nginx| nginx.probe_answered_by);
        match (text, answered_by) {
            (Some(text), Some(Colour::Blue)) if *text == change.after => (
                Status::Done,
                Balancer::Blue,
                format!("read again: the file is the new one and {} answers", self.plan.towards),
            ),
            (Some(text), by) if *text == change.before && by != Some(Colour::Blue) => {
                (Status::Failed, Balancer::Unchanged, "read again: the switch did not begin".to_owned())
            }
            _ => (Status::Unknown, Balancer::Unknown, "read again: what is served is not known".to_owned()),
        }
    }

    fn remember_access_sizes(&self, host: &HostName, answer: &Answer) {
        let sizes = answer.text("access").unwrap_or_default();
        let sizes = sizes.lines().filter_map(|line| {
            let (path, size) = line.rsplit_once(' ')?;
            Some((path.to_owned(), size.parse().ok()?))
        });
        // A panic while it was held would have left a map that is whole all the same.
        let mut all = self.access_sizes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.insert(host.clone(), sizes.collect());
    }

    /// The nginx files before and after, for the incident folder.
    fn keep_nginx_files(&self) {
        for (host, change) in self.plan.file_changes() {
            let keep = |which: &str, of: &str, text: &str| {
                let file = format!("{host}.nginx.{which}.conf");
                evidence::keep_whole(self.folder, self.journal, Some(host), &file, of, text.as_bytes());
            };
            keep("before", &format!("{} before", change.path), &change.before);
            if self.state_of(host) == Some(Balancer::Blue) {
                keep("after", &format!("{} after", change.path), &change.after);
            }
        }
    }

    fn green_is(&self, host: &HostName, state: Green) -> What {
        What::Green { host: host.clone(), state }
    }
}

/// What became of a lock.
enum Taken {
    Held(HostName, Held),
    /// The host goes on without one.
    Without,
    /// Nothing may begin anywhere.
    Refused,
}

fn intent_of(word: StepWord) -> impl Fn(&Step) -> What {
    move |step| What::Intent { step: word, host: step.host.clone(), why: step.why.clone() }
}

/// What `switch.sh` ended with, as an outcome.
fn outcome_of_switch(answer: &Answer, change: &FileChange, to: Colour) -> (Status, Balancer, String) {
    let why = answer.text("why").unwrap_or_default();
    let said = |section: &str| worst_line(&answer.text(section).unwrap_or_default());
    let failed = |state: Balancer, detail: String| (Status::Failed, state, detail);
    match answer.status {
        0 => (Status::Done, Balancer::Blue, format!("{to} 100, {} down", to.other())),
        10 => failed(Balancer::Unchanged, format!("{} changed since it was read; nothing was changed", change.path)),
        11 => failed(Balancer::Unchanged, "nginx is not running there; nothing was changed".to_owned()),
        12 => failed(
            Balancer::Unchanged,
            format!("the new file cannot be written beside {}: {}; nothing was changed", change.path, said("steps")),
        ),
        20 => failed(Balancer::PutBack, format!("{why}: {}; the old file is back", said("test"))),
        21 => failed(Balancer::PutBack, format!("{why}: {}; the old file is back", said("reload"))),
        22 => failed(Balancer::PutBack, format!("not proven: {why}; the old file is back and loaded")),
        30 => (
            Status::Unknown,
            Balancer::Unknown,
            format!("{why}, and the old file could not be put back: {}", said("put_back")),
        ),
        93 => failed(Balancer::Unchanged, format!("another run took the lock: {why}; nothing was changed")),
        other => (Status::Unknown, Balancer::Unknown, format!("the step ended with {other}: {}", said("steps"))),
    }
}

/// The line of a program's words that says most: nginx's emerg, else the last.
fn worst_line(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let worst = lines().find(|line| line.contains("[emerg]")).or_else(|| lines().next_back());
    worst.unwrap_or("it says nothing").to_owned()
}
