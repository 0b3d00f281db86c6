//! Judges a side for a while: what is measured comes in, every so often the rules are asked, each verdict is recorded, and the
//! first bad one ends it. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::{join, join_all};
use logs::counts::Batch;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::hosts::facts::Facts;
use crate::hosts::remote::Ask;
use crate::incident::journal::Journal;
use crate::judge::complaints::{Complaints, of_log};
use crate::judge::shifted::{Giver, share_given};
use crate::judge::sides::Sides;
use crate::judge::verdict::judge;
use crate::nginx::Sharing;
use crate::nouns::colour::{Colour, Each};
use crate::nouns::inventory::{Inventory, Prometheus, Reach, Role};
use crate::nouns::names::HostName;
use crate::nouns::record::What;
use crate::nouns::rules::{Finding, Judgement, Judging, LogRule, Opinion};
use crate::nouns::share::Share;
use crate::nouns::side::Side;
use crate::steps::context::locked;
use crate::steps::measure::{LogsFound, Meter, OwnLog, find_logs, life, named, read_own_log};
use crate::steps::prometheus::Looks;

/// The rules are asked so often.
const LOOK: Duration = Duration::from_secs(2);
/// A Prometheus is asked, and a side's own log read, so often: most of them do not look more often themselves.
const BESIDE_EVERY: Duration = Duration::from_secs(10);
/// A verdict that stays the same is recorded so often.
const RECORDED_EVERY_SECONDS: u64 = 10;
/// Counts are begun anew after so long: what was an hour ago says little of now.
const ROUND_SECONDS: u64 = 1800;
/// So many requests of others, and none of the judged side's, are no chance.
const STRANGERS: u64 = 50;
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
    /// Where that was not enough to tell, it goes on until then.
    pub at_most: Duration,
    /// Whether the share is new: what others have counted over the rules' window is then of another one at first.
    pub is_new: bool,
    /// The share that the judged side was given, where both sides have some: the logs must show it.
    pub shifted: Option<Shifted>,
}

/// A share, and what it takes to see it.
#[derive(Debug, Clone)]
pub struct Shifted {
    pub share: Share,
    /// Each balancer with how many of its workers count for themselves, and what a share means there.
    pub balancers: Vec<(HostName, usize, Sharing)>,
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

/// What is known of it on all of them.
#[derive(Debug, Default)]
struct Known {
    health: BTreeMap<HostName, Health>,
    /// Those that could not be asked.
    unasked: BTreeSet<HostName>,
}

impl<F: Ask> Hold<'_, F> {
    /// Ends with the first bad judgement, after its time, or when somebody interrupts it: then nothing is called bad any more.
    pub async fn run(&self, mut interrupts: watch::Receiver<u32>) -> HoldEnd {
        let logs = tokio::select! {
            logs = find_logs(self.fleet, self.inventory, self.facts, self.alone) => logs,
            Ok(_) = interrupts.wait_for(|count| *count > 0) => {
                return HoldEnd { judgement: self.nothing(), was_interrupted: true };
            }
        };
        logs.notes.iter().for_each(|note| self.journal.note(note.clone()));
        self.note_what_is_not_told(&logs);
        let meter = Meter::new(self.fleet, self.inventory, self.facts, self.journal, self.judging.rules.limits_ms());
        let asked = Mutex::new(Vec::new());
        let asking = async {
            if let Some(prometheus) = &self.inventory.prometheus {
                self.ask_beside(prometheus, &asked).await;
            }
            std::future::pending::<()>().await;
        };
        let complaining = Mutex::new(Vec::new());
        let listening = async {
            if let Some(rule) = &self.judging.log {
                self.read_own_logs(rule, &complaining).await;
            }
            std::future::pending::<()>().await;
        };
        let beside = [&asked, &complaining];
        let reading = async {
            meter.run(&logs.readable, self.at_most.max(self.lasts) + LOOK).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reading => HoldEnd { judgement: self.nothing(), was_interrupted: false },
            _ = join(asking, listening) => HoldEnd { judgement: self.nothing(), was_interrupted: false },
            held = self.look(&meter, &beside, &mut interrupts) => held,
        }
    }

    fn now(&self) -> u64 {
        self.journal.clock().seconds()
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

    /// Nothing is judged by a number that nobody measured, and that is said.
    fn note_what_is_not_told(&self, logs: &LogsFound) {
        let all = || logs.readable.iter().flat_map(|of| &of.logs);
        if self.alone.is_none() && !all().any(|log| log.names_servers) {
            self.journal.note(
                "no access log says which server a request went to, so neither side's can be counted; `check` prints \
                 the lines to add",
            );
        }
        let rules = &self.judging.rules;
        let of_times: Vec<&str> =
            rules.slow.iter().map(|rule| rule.name).chain(rules.slower.map(|_| "slower")).collect();
        if all().next().is_some() && !all().any(|log| log.tells_times) && !of_times.is_empty() {
            self.journal.note(format!(
                "no access log says how long a request took, so {} is not judged; `check` prints the lines to add",
                of_times.join(" and ")
            ));
        }
    }

    /// Requests are logged, and none of them is the judged side's: its servers have other addresses there.
    fn note_strangers(&self, sides: &Sides) {
        let all = sides.all();
        let strangers = all.elsewhere().tried;
        if strangers >= STRANGERS && all.of(self.judged).tried == 0 {
            self.journal.note(format!(
                "of {strangers} requests in the access logs none went to a server of {}: is it logged by another address than \
                 the config's?",
                self.judged
            ));
        }
    }

    /// Asks a Prometheus beside everything else: one that hangs holds up nobody.
    async fn ask_beside(&self, prometheus: &Prometheus, asked: &Mutex<Vec<Finding>>) {
        let mut looks = Looks::default();
        if self.is_new {
            let window = self.judging.rules.window;
            let time = humantime::format_duration(window);
            *locked(asked) = vec![Finding {
                rule: "prometheus".to_owned(),
                opinion: Opinion::NotEnoughData,
                words: format!("prometheus: what it counted over {time} is of another share yet"),
            }];
            sleep(window).await;
        }
        let mut said = BTreeSet::new();
        loop {
            let findings = looks.look(prometheus).await;
            let silent = findings.iter().filter(|finding| finding.opinion == Opinion::NotEnoughData);
            for finding in silent {
                if said.insert(finding.rule.clone()) {
                    self.journal.note(finding.words.clone());
                }
            }
            *locked(asked) = findings;
            sleep(BESIDE_EVERY).await;
        }
    }

    /// The own logs of both sides, from where they end now.
    async fn read_own_logs(&self, rule: &LogRule, complaining: &Mutex<Vec<Finding>>) {
        let mut begun: BTreeMap<(HostName, Colour), u64> = BTreeMap::new();
        let mut silent = BTreeSet::new();
        loop {
            let hosts: Vec<(HostName, Colour)> =
                self.hosts().into_iter().flat_map(|host| Colour::BOTH.map(|colour| (host.clone(), colour))).collect();
            let looks = join_all(hosts.iter().map(|at| (at, begun.get(at).copied().unwrap_or(0))).map(
                |(at, since)| async move {
                    (at, read_own_log(self.fleet, self.inventory, &at.0, at.1, (rule, since)).await)
                },
            ));
            let mut counted: BTreeMap<(HostName, Colour), Complaints> = BTreeMap::new();
            for (at, look) in looks.await {
                let Some(OwnLog { end, matched, lines }) = look else {
                    let is_named = self.inventory.app(at.1).log.is_some() && at.1 == self.judged;
                    if is_named && silent.insert(at.clone()) {
                        self.journal.note(format!("{}: {}'s own log cannot be read, and is not judged by", at.0, at.1));
                    }
                    continue;
                };
                if begun.contains_key(at) {
                    counted.insert(at.clone(), Complaints { matched, lines });
                }
                // An empty log begins at its first byte, which 0 would not say.
                begun.entry(at.clone()).or_insert(end.max(1));
            }
            let other = |host: &HostName| counted.get(&(host.clone(), self.judged.other())).copied();
            let own = counted.iter().filter(|((_, colour), _)| *colour == self.judged);
            *locked(complaining) =
                own.map(|((host, _), own)| of_log(host.as_str(), self.judged, rule, *own, other(host))).collect();
            sleep(BESIDE_EVERY).await;
        }
    }

    async fn look(
        &self,
        meter: &Meter<'_, F>,
        beside: &[&Mutex<Vec<Finding>>],
        interrupts: &mut watch::Receiver<u32>,
    ) -> HoldEnd {
        let begun = self.now();
        let (ends, at_most) = (begun + self.lasts.as_secs(), begun + self.at_most.max(self.lasts).as_secs());
        let mut sides = Sides::new(named(), self.judged, self.judging.rules.window.as_secs());
        sides.begin(begun, self.alone);
        let mut known = Known::default();
        let mut given: BTreeMap<HostName, Each<u64>> = BTreeMap::new();
        let (mut round, mut recorded) = (1, None);
        let mut judgement = self.nothing();
        loop {
            let is_open = judgement.opinion == Opinion::NotEnoughData;
            let is_over = self.now() >= if is_open { at_most } else { ends };
            let is_new = recorded.is_none_or(|(at, opinion): (u64, Opinion)| {
                opinion != judgement.opinion || self.now() >= at + RECORDED_EVERY_SECONDS || is_over
            });
            if is_new && judgement.after_s > 0 {
                recorded = Some((self.now(), judgement.opinion));
                self.journal.record(What::Judged(Box::new(judgement.clone())));
            }
            if is_over {
                self.note_strangers(&sides);
            }
            if judgement.opinion == Opinion::Bad || is_over {
                return HoldEnd { judgement, was_interrupted: false };
            }
            let looked = async {
                sleep(LOOK).await;
                self.ask(&mut known).await;
            };
            tokio::select! {
                () = looked => {}
                Ok(_) = interrupts.wait_for(|count| *count > 0) => {
                    return HoldEnd { judgement, was_interrupted: true };
                }
            }
            // Never so late that what is left is too short to say anything.
            if self.now() >= sides.since() + ROUND_SECONDS && self.now() + ROUND_SECONDS / 2 <= ends {
                sides.begin(self.now(), self.alone);
                round += 1;
            }
            for (host, batch) in meter.take() {
                sides.take(&batch);
                let here = given.entry(host).or_default();
                *here = Each::from(|colour| *here.of(colour) + tried(&batch, colour));
            }
            let mut hard = self.hard(&known);
            beside.iter().for_each(|findings| hard.extend(locked(findings).iter().cloned()));
            hard.extend(self.shares(&given));
            judgement = judge(&self.judging.rules, &sides, &hard, self.now(), round);
            let of = if self.now() > ends { self.at_most } else { self.lasts };
            (judgement.after_s, judgement.of_s) = ((self.now() - begun).max(1), of.as_secs());
            self.journal.judging(&judgement);
        }
    }

    /// The hosts on which the judged side gets requests: those of a balancer that sends to it.
    fn hosts(&self) -> Vec<&HostName> {
        let reach = self.inventory.app(self.judged).reach;
        let gets = |host: &HostName| {
            self.journal.production(|production| {
                let was_moved = production.is_shifted(host) && production.direction().colour(Side::To) == self.judged;
                was_moved || production.found_sending_to(host, self.judged)
            })
        };
        let apps = self.inventory.with_role(Role::App).map(|host| &host.name);
        apps.filter(|host| self.facts.seen(host).is_some() && (reach == Reach::AnyBalancer || gets(host))).collect()
    }

    /// How the judged side is on its hosts. A host that cannot be asked says nothing, and that is said once.
    async fn ask(&self, known: &mut Known) {
        let lives = self
            .hosts()
            .into_iter()
            .map(|host| async move { (host, life(self.fleet, self.inventory, host, self.judged).await) });
        let answers = join_all(lives).await;
        let now = self.now();
        for (host, life) in answers {
            let life = match life {
                Ok(life) => life,
                Err(failure) => {
                    if known.unasked.insert(host.clone()) {
                        self.journal.note(format!("{host}: how {} is there is not known: {failure}", self.judged));
                    }
                    continue;
                }
            };
            let health = known.health.entry(host.clone()).or_default();
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

    /// Whether each balancer gives the share that it was told to.
    fn shares(&self, given: &BTreeMap<HostName, Each<u64>>) -> Vec<Finding> {
        let Some(Shifted { share, balancers }) = &self.shifted else { return Vec::new() };
        let of = |(host, workers, sharing): &(HostName, usize, Sharing)| {
            let Sharing { servers, is_by_connections, .. } = *sharing;
            let giver = Giver { host: host.as_str(), workers: *workers, servers, is_by_connections };
            let tried = given.get(host).cloned().unwrap_or_default();
            share_given(giver, self.judged, *share, *tried.of(self.judged), tried.blue + tried.green)
        };
        balancers.iter().map(of).collect()
    }

    fn hard(&self, known: &Known) -> Vec<Finding> {
        let bad = |rule: &str, words: String| Finding { rule: rule.to_owned(), opinion: Opinion::Bad, words };
        let judged = self.judged;
        let mut findings = Vec::new();
        for (host, health) in &known.health {
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

/// Attempts at a side's servers, which [`Meter`] calls by its colour.
fn tried(batch: &Batch, colour: Colour) -> u64 {
    let name = colour.to_string();
    batch.ticks.values().filter_map(|tick| tick.servers.get(&name)).map(|attempts| attempts.tried).sum()
}
