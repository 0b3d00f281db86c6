//! Judges a side for a while: what is measured comes in, every so often the rules are asked, each verdict is recorded, and the
//! first bad one ends it. Changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::hosts::facts::Facts;
use crate::hosts::remote::Ask;
use crate::incident::journal::Journal;
use crate::judge::sides::Sides;
use crate::judge::verdict::{HardFacts, judge};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Role};
use crate::nouns::names::HostName;
use crate::nouns::record::What;
use crate::nouns::rules::{Finding, Judgement, Judging, Opinion};
use crate::steps::measure::{Meter, find_logs, life, names};

/// The rules are asked so often.
const LOOK: Duration = Duration::from_secs(2);
/// A verdict that stays the same is recorded so often.
const RECORDED_EVERY_SECONDS: u64 = 10;
/// Counts are begun anew after so long: what was an hour ago says little of now.
const ROUND_SECONDS: u64 = 1800;
/// Restarts count within so long.
const RESTARTS_SECONDS: u64 = 300;

/// Whom to judge, by what, for how long.
pub struct Hold<'a, F> {
    pub fleet: &'a F,
    pub inventory: &'a Inventory,
    pub facts: &'a Facts,
    pub journal: &'a Journal<'a>,
    pub judging: &'a Judging,
    pub judged: Colour,
    /// Who gets all traffic, where anybody does.
    pub alone: Option<Colour>,
    pub lasts: Duration,
}

/// How it ended.
#[derive(Debug)]
pub struct HoldEnd {
    /// The last judgement.
    pub judgement: Judgement,
    pub was_interrupted: bool,
}

/// What is known of the judged side on a host.
#[derive(Debug, Default)]
struct Health {
    /// Bad answers in a row, and the last of them.
    bad: u32,
    complaint: String,
    identity: String,
    /// When it was another one, in seconds since 1970.
    restarts: Vec<u64>,
}

impl<F: Ask> Hold<'_, F> {
    /// Ends with the first bad judgement, after its time, or when somebody interrupts it.
    pub async fn run(&self, mut interrupts: watch::Receiver<u32>) -> HoldEnd {
        let logs = find_logs(self.fleet, self.inventory, self.facts).await;
        logs.notes.iter().for_each(|note| self.journal.note(note.clone()));
        if self.alone.is_none() && !logs.readable.iter().flat_map(|(_, logs)| logs).any(|log| log.names_servers) {
            self.journal.note(
                "no access log says which server a request went to, so neither side's can be counted; `check` prints \
                 the lines to add",
            );
        }
        let meter = Meter::new(self.fleet, self.inventory, self.facts, self.journal, self.judging.rules.limits_ms());
        let reading = async {
            meter.run(&logs.readable, self.lasts + LOOK).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reading => HoldEnd { judgement: self.nothing(), was_interrupted: false },
            held = self.look(&meter, &mut interrupts) => held,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.journal.clock().now().timestamp()).unwrap_or(0)
    }

    fn nothing(&self) -> Judgement {
        Judgement {
            judged: self.judged,
            opinion: Opinion::NotEnoughData,
            words: format!("{}: nothing was measured yet", self.judged),
            findings: Vec::new(),
            sides: Default::default(),
            after_s: 0,
            of_s: self.lasts.as_secs(),
        }
    }

    async fn look(&self, meter: &Meter<'_, F>, interrupts: &mut watch::Receiver<u32>) -> HoldEnd {
        let begun = self.now();
        let window = self.judging.rules.window.as_secs();
        let mut sides = Sides::new(names(self.inventory, self.facts), self.judged, self.alone, window);
        sides.begin(begun, self.alone);
        let mut health: BTreeMap<HostName, Health> = BTreeMap::new();
        let (mut round, mut recorded) = (1, None);
        let mut judgement = self.nothing();
        let already = *interrupts.borrow();
        loop {
            let is_over = self.now() >= begun + self.lasts.as_secs();
            let is_new = recorded.is_none_or(|(at, opinion): (u64, Opinion)| {
                opinion != judgement.opinion || self.now() >= at + RECORDED_EVERY_SECONDS || is_over
            });
            if is_new && judgement.after_s > 0 {
                recorded = Some((self.now(), judgement.opinion));
                self.journal.record(What::Judged(Box::new(judgement.clone())));
            }
            if judgement.opinion == Opinion::Bad || is_over {
                return HoldEnd { judgement, was_interrupted: false };
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                Ok(_) = interrupts.wait_for(|count| *count > already) => {
                    return HoldEnd { judgement, was_interrupted: true };
                }
            }
            if self.now() >= sides.since() + ROUND_SECONDS {
                sides.begin(self.now(), self.alone);
                round += 1;
            }
            self.ask(&mut health).await;
            meter.take().iter().for_each(|batch| sides.take(batch));
            let facts = HardFacts { findings: self.hard(&health) };
            judgement = judge(&self.judging.rules, &sides, &facts, self.now(), round);
            (judgement.after_s, judgement.of_s) = ((self.now() - begun).max(1), self.lasts.as_secs());
        }
    }

    /// How the judged side is on its hosts. A host that cannot be asked says nothing.
    async fn ask(&self, health: &mut BTreeMap<HostName, Health>) {
        let apps = self.inventory.with_role(Role::App).filter(|host| self.facts.seen(&host.name).is_some());
        let lives = apps
            .map(|host| async { (host.name.clone(), life(self.fleet, self.inventory, &host.name, self.judged).await) });
        let now = self.now();
        for (host, life) in join_all(lives).await {
            let Ok(life) = life else { continue };
            let health = health.entry(host).or_default();
            match life.complaint {
                None => health.bad = 0,
                Some(complaint) => {
                    health.bad += 1;
                    health.complaint = complaint;
                }
            }
            if !life.identity.is_empty() {
                if !health.identity.is_empty() && health.identity != life.identity {
                    health.restarts.push(now);
                }
                health.identity = life.identity;
            }
            health.restarts.retain(|at| at + RESTARTS_SECONDS >= now);
        }
    }

    fn hard(&self, health: &BTreeMap<HostName, Health>) -> Vec<Finding> {
        let bad = |rule: &str, words: String| Finding { rule: rule.to_owned(), opinion: Opinion::Bad, words };
        let judged = self.judged;
        let mut findings = Vec::new();
        for (host, health) in health {
            let restarts = u32::try_from(health.restarts.len()).unwrap_or(u32::MAX);
            if health.bad >= self.judging.health {
                let (times, why) = (health.bad, &health.complaint);
                findings.push(bad("health", format!("{judged} on {host}: {why}, {times} times in a row: bad")));
            } else if restarts >= self.judging.restarts {
                findings.push(bad(
                    "restarts",
                    format!("{judged} on {host} was started again {restarts} times in 5 min: bad"),
                ));
            }
        }
        findings
    }
}
