//! What comes after the switch, when traffic is safe and nothing is urgent any more: drain, evidence, stop, verify.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{Execution, Locks, intent_of, worst_line};
use crate::engine::planner::{may_send_to, must_be_stopped};
use crate::hosts::job;
use crate::hosts::remote::Apply;
use crate::incident::evidence;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Host, Role};
use crate::nouns::names::HostName;
use crate::nouns::plan::{Action, PhaseKind, Step};
use crate::nouns::record::{Balancer, Green, Status, StepWord, What, plural};
use crate::steps::observe::{self, Sample};
use crate::steps::public;
use crate::steps::stop;

/// How often is counted what still reaches green.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// A moment without a connection is no proof that nobody connects: a balancer that was not listed opens one for each
/// request. This many looks in a row must find none.
const QUIET_SAMPLES: u32 = 3;
/// At the deadline a host that gives no answer gets this long for one: without it nobody knows who is connected.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// What a drain found.
#[derive(Default)]
struct Drained {
    /// Hosts, and addresses of peers there that are none of ours and still connected at the end.
    strangers: Vec<(HostName, String)>,
    /// Hosts that could not be looked at in the end: who is connected there is not known.
    unseen: Vec<HostName>,
}

impl<F: Apply> Execution<'_, F> {
    /// Drain and evidence side by side, then stop, then verify, then the rest of the evidence.
    /// Green is not stopped before the verdict on the dump is there, unless that takes longer than a drain may.
    pub(super) async fn after_the_switch(&self, locks: &Locks, verdict: oneshot::Receiver<()>) {
        let logs = self.logs();
        let rest = async {
            let (drained, _) = join(self.drain(locks), timeout(self.inventory.drain_timeout, verdict)).await;
            self.pictures().await;
            if self.goes_on(locks) {
                self.stop_green(&drained).await;
            } else if *self.interrupts.borrow() == 0 {
                for step in self.steps(PhaseKind::StopGreen) {
                    self.leave_green(&step.host, "another run took the lock");
                }
            }
            if *self.interrupts.borrow() == 0 {
                self.verify().await;
            }
        };
        join(logs, rest).await;
    }

    fn app_hosts(&self) -> Vec<&Host> {
        self.inventory.with_role(Role::App).filter(|host| self.facts.seen(&host.name).is_some()).collect()
    }

    /// Counts what still reaches green until nothing does, or the time is over.
    async fn drain(&self, locks: &Locks) -> Drained {
        let steps: Vec<&Step> = self
            .steps(PhaseKind::Drain)
            .iter()
            .filter(|step| self.state_of(&step.host) == Some(Balancer::Blue))
            .collect();
        let timed: Vec<_> = steps.iter().map(|step| self.journal.begin(StepWord::Drain, Some(&step.host))).collect();
        let until = Instant::now() + self.inventory.drain_timeout;
        let mut quiet = 0;
        let is_taken = || locks.iter().any(|(_, held)| held.is_lost());
        let last = loop {
            let samples = self.samples().await;
            let is_quiet = |(host, sample): &(HostName, Option<Sample>)| {
                sample.as_ref().is_some_and(Sample::is_quiet) || !self.drains(host)
            };
            quiet = if samples.iter().all(is_quiet) { quiet + 1 } else { 0 };
            let is_seen = samples.iter().all(|(_, sample)| sample.is_some());
            let is_over = Instant::now() >= if is_seen { until } else { until + LAST_LOOK };
            if quiet >= QUIET_SAMPLES || is_over || is_taken() || *self.interrupts.borrow() > 0 {
                break samples;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        };
        let is_cut = Instant::now() >= until;
        for (step, timed) in steps.iter().zip(timed) {
            let sample = last.iter().find(|(host, _)| *host == step.host).and_then(|(_, sample)| sample.clone());
            match sample {
                Some(sample) if sample.towards_green == 0 && sample.closing_workers == 0 => {
                    timed.end(Status::Done, format!("no connection to {}, no old worker", self.plan.towards.other()));
                }
                Some(sample) => {
                    let left = format!(
                        "{} to {} and {} left",
                        plural(sample.towards_green, "connection"),
                        self.plan.towards.other(),
                        plural(sample.closing_workers, "old worker"),
                    );
                    if is_taken() {
                        timed.end(Status::Failed, format!("{left}; another run took the lock, and waits for it"));
                    } else if is_cut {
                        let cut = format!("{left} at the deadline; they are cut");
                        self.journal.gap(Some(&step.host), "drain", cut.clone());
                        timed.end(Status::Done, cut);
                    } else {
                        timed.end(Status::Skipped, format!("{left}; not waited for any longer"));
                    }
                }
                None => timed.end(Status::Unknown, "the host does not answer"),
            }
        }
        let unseen = last.iter().filter(|(_, sample)| sample.is_none()).map(|(host, _)| host.clone()).collect();
        Drained { strangers: self.strangers(&last), unseen }
    }

    /// Whether anything is to end there: a balancer that was switched, or a green that nobody is to reach any more. Where
    /// traffic stayed on green there is nothing to wait for.
    fn drains(&self, host: &HostName) -> bool {
        let is_switched = self.state_of(host) == Some(Balancer::Blue);
        is_switched || (self.app_hosts().iter().any(|app| app.name == *host) && self.not_on_blue(host).is_empty())
    }

    /// The balancers that are not known to be on blue and may send to green on that host.
    fn not_on_blue(&self, app: &HostName) -> Vec<&str> {
        self.inventory
            .with_role(Role::Balancer)
            .filter(|host| self.state_of(&host.name) != Some(Balancer::Blue))
            .filter(|host| may_send_to(&self.inventory.green, &host.name, app))
            .map(|host| host.name.as_str())
            .collect()
    }

    async fn samples(&self) -> Vec<(HostName, Option<Sample>)> {
        let hosts = self.inventory.hosts.iter().filter(|host| self.facts.seen(&host.name).is_some());
        join_all(hosts.map(|host| async {
            let pidfile =
                self.facts.seen(&host.name).and_then(|seen| seen.nginx.as_ref()).map(|nginx| nginx.pidfile.as_str());
            (host.name.clone(), observe::sample(self.fleet, self.inventory, &host.name, pidfile).await.ok())
        }))
        .await
    }

    /// Peers of green that no balancer of ours explains. A balancer without old workers and without a connection of
    /// its own explains none; one that is still draining explains those from its addresses.
    fn strangers(&self, samples: &[(HostName, Option<Sample>)]) -> Vec<(HostName, String)> {
        let mut explained: Vec<String> = Vec::new();
        for host in self.inventory.with_role(Role::Balancer) {
            let is_drained = samples
                .iter()
                .any(|(of, sample)| *of == host.name && sample.as_ref().is_some_and(|s| s.closing_workers == 0));
            if let Some(seen) = self.facts.seen(&host.name).filter(|_| !is_drained) {
                explained.extend(seen.addresses.iter().cloned());
                explained.push("127.0.0.1".to_owned());
                explained.push("::1".to_owned());
            }
        }
        let mut strangers = Vec::new();
        for (host, sample) in samples {
            for peer in sample.iter().flat_map(|sample| &sample.peers) {
                let stranger = (host.clone(), peer.clone());
                if !explained.contains(peer) && !strangers.contains(&stranger) {
                    strangers.push(stranger);
                }
            }
        }
        strangers
    }

    async fn pictures(&self) {
        join_all(self.app_hosts().into_iter().map(|host| {
            evidence::picture(self.fleet, self.inventory, self.facts, &host.name, self.folder, self.journal)
        }))
        .await;
    }

    /// Logs and journals of all hosts, each bounded in time and size.
    async fn logs(&self) {
        let hosts = self.inventory.hosts.iter().filter(|host| self.facts.seen(&host.name).is_some());
        join_all(hosts.map(|host| async {
            let timed = self.journal.begin(evidence::STEP, Some(&host.name));
            evidence::logs(self.fleet, self.inventory, self.facts, host, self.folder, self.journal, self.redactor)
                .await;
            evidence::system_journal(self.fleet, self.inventory, self.facts, host, self.folder, self.journal).await;
            evidence::end_step(timed, self.journal, &host.name);
        }))
        .await;
    }

    /// Stops green where the plan says so and the guard holds; otherwise it is left running and named.
    async fn stop_green(&self, drained: &Drained) {
        for host in self.app_hosts() {
            let seen = self.facts.seen(&host.name);
            if seen.is_some_and(|seen| !must_be_stopped(&self.inventory.green.run, &seen.green)) {
                self.journal.record(self.green_is(&host.name, Green::Stopped));
            }
        }
        let planned = self.plan.hosts_of(PhaseKind::StopGreen);
        for host in self.app_hosts() {
            let runs =
                self.facts.seen(&host.name).is_some_and(|seen| must_be_stopped(&self.inventory.green.run, &seen.green));
            if !runs || planned.contains(&host.name) {
                continue;
            }
            if self.green_is_kept {
                let timed = self.journal.timed(StepWord::Stop, Some(&host.name));
                let why = match self.plan.towards {
                    Colour::Blue => "--keep-green",
                    Colour::Green => "blue is left running",
                };
                timed.end_with(Status::Skipped, why, [self.green_is(&host.name, Green::Kept)]);
            } else {
                self.leave_green(&host.name, "the plan found no safe way to stop it; see the notes");
            }
        }
        let is_unseen = |step: &&Step| !self.is_forced && drained.unseen.contains(&step.host);
        let (unseen, steps): (Vec<&Step>, Vec<&Step>) = self.steps(PhaseKind::StopGreen).iter().partition(is_unseen);
        for step in unseen {
            self.leave_green(&step.host, "who is connected to it is not known; --force stops it all the same");
        }
        let ill = if steps.is_empty() { Vec::new() } else { self.ill_blues().await };
        let mut to_stop = Vec::new();
        for step in steps {
            match self.reason_to_leave_green(&step.host, drained, &ill) {
                Some(why) => self.leave_green(&step.host, &why),
                None => to_stop.push(step),
            }
        }
        self.journal.record_all(to_stop.iter().copied().map(intent_of(StepWord::Stop)));
        join_all(to_stop.into_iter().map(|step| self.stop_on(step))).await;
    }

    fn leave_green(&self, host: &HostName, why: &str) {
        let timed = self.journal.timed(StepWord::Stop, Some(host));
        timed.end_with(
            Status::Failed,
            format!("green is left running: {why}"),
            [self.green_is(host, Green::LeftRunning)],
        );
    }

    /// The guard of a stop: every balancer that may send there is on blue, the blues that take its place answer now,
    /// nobody else is connected.
    fn reason_to_leave_green(&self, app: &HostName, drained: &Drained, ill: &[(HostName, String)]) -> Option<String> {
        let not_on_blue = self.not_on_blue(app);
        if !not_on_blue.is_empty() {
            return Some(format!("{} may still send to it", not_on_blue.join(", ")));
        }
        let strangers: Vec<&str> =
            drained.strangers.iter().filter(|(host, _)| host == app).map(|(_, peer)| peer.as_str()).collect();
        if !strangers.is_empty() && !self.is_forced {
            return Some(format!(
                "still connected to it on {app}, and none of our balancers: {}; --force stops it all the same",
                strangers.join(", ")
            ));
        }
        // Where servers are local its own blue takes its place, else any of them may.
        ill.iter().find(|(host, _)| may_send_to(&self.inventory.green, host, app)).map(|(_, why)| why.clone())
    }

    /// The hosts on which blue does not answer well now, and what it does instead.
    async fn ill_blues(&self) -> Vec<(HostName, String)> {
        let pulses = join_all(self.app_hosts().into_iter().map(|host| async {
            let why = match observe::pulse(self.fleet, self.inventory, &host.name, Colour::Blue).await {
                Ok(pulse) if pulse.is_good() => return None,
                Ok(pulse) => format!("blue on {} is not well any more: {}", host.name, pulse.complaint()),
                Err(failure) => format!("blue on {} cannot be asked: {failure}", host.name),
            };
            Some((host.name.clone(), why))
        }))
        .await;
        pulses.into_iter().flatten().collect()
    }

    async fn stop_on(&self, step: &Step) {
        let Action::Stop { colour, target } = &step.action else { return };
        let timed = self.journal.timed(StepWord::Stop, Some(&step.host));
        let stop = stop::stop(self.inventory, &self.tenure, *colour, target);
        let answer = match self.fleet.apply(&step.host, &stop).await {
            Ok(answer) => Ok(answer),
            Err(failure) => {
                let limit = self.inventory.green.stop_timeout + Duration::from_secs(10);
                self.journal.note(format!("{}: {failure}; looking again", step.host));
                let job = job::job(self.inventory, &self.plan.id, "stop", limit);
                self.fleet.ask(&step.host, &job).await.map_err(|_| failure)
            }
        };
        let (status, state, detail) = match answer {
            Ok(answer) => {
                let said = worst_line(&answer.text("stop").unwrap_or_default());
                match answer.status {
                    0 => (Status::Done, Green::Stopped, "green stopped, its port stays closed".to_owned()),
                    40 => (
                        Status::Failed,
                        Green::LeftRunning,
                        "its pid is another program by now; nothing was sent to it".into(),
                    ),
                    41 => (Status::Failed, Green::LeftRunning, format!("green could not be stopped: {said}")),
                    42 => {
                        let left = worst_line(&answer.text("left").unwrap_or_default());
                        (Status::Failed, Green::LeftRunning, format!("green was stopped and is there again: {left}"))
                    }
                    93 => {
                        let other = answer.text("why").unwrap_or_default();
                        (Status::Failed, Green::LeftRunning, format!("another run took the lock: {other}"))
                    }
                    other => (Status::Unknown, Green::Unknown, format!("the step ended with {other}: {said}")),
                }
            }
            Err(failure) => (Status::Unknown, Green::Unknown, failure.to_string()),
        };
        timed.end_with(status, detail, [self.green_is(&step.host, state)]);
    }

    /// Blue once more, from where users are too.
    async fn verify(&self) {
        let hosts = join_all(self.steps(PhaseKind::Verify).iter().map(|step| self.verify_host(&step.host)));
        let here = self.verify_from_here();
        join(hosts, here).await;
    }

    async fn verify_host(&self, name: &HostName) {
        let Some(host) = self.inventory.host(name) else { return };
        let timed = self.journal.begin(StepWord::Verify, Some(name));
        let mut good = Vec::new();
        if host.is(Role::App) {
            match self.passes_in_a_row(name, Colour::Blue, self.wanted()).await {
                Ok(()) => {
                    good.push(format!("{} answers, {} in a row", self.plan.towards, self.inventory.verify.passes))
                }
                Err(why) => return timed.end(Status::Failed, format!("{}: {why}", self.plan.towards)),
            }
        }
        if host.is(Role::Balancer) && self.state_of(name) == Some(Balancer::Blue) {
            match observe::probe(self.fleet, self.inventory, name).await {
                Ok(get) if (200..500).contains(&get.status) => good.push(format!("the probe answers {}", get.status)),
                Ok(get) => return timed.end(Status::Failed, format!("the probe answers {} {}", get.status, get.error)),
                Err(failure) => return timed.end(Status::Failed, format!("the probe: {failure}")),
            }
            self.compare_errors(name, &mut good).await;
        }
        timed.end(Status::Done, good.join(", "));
    }

    /// nginx's own count of server errors. More errors than before are named; they are not a reason to go back.
    async fn compare_errors(&self, name: &HostName, good: &mut Vec<String>) {
        let sizes = self
            .access_sizes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(name)
            .cloned()
            .unwrap_or_default();
        match observe::errors(self.fleet, self.inventory, name, &sizes).await {
            Ok(Some((before, after))) => {
                self.journal.record(What::Errors { host: name.clone(), before, after });
                if after.percent() > before.percent() && after.percent().is_some_and(|percent| percent > 1.0) {
                    let (before, after) = (before.describe(), after.describe());
                    self.journal.note(format!("{name}: more server errors than before: {after}, was {before}"));
                }
                good.push(format!("server errors {}, were {}", after.describe(), before.describe()));
            }
            Ok(None) => self.journal.gap(Some(name), "error share", "no access log of nginx can be read there"),
            Err(failure) => self.journal.gap(Some(name), "error share", failure.to_string()),
        }
    }

    /// Public URLs and the smoke command, from this machine.
    async fn verify_from_here(&self) {
        let verify = &self.inventory.verify;
        if verify.public.is_empty() && verify.smoke.is_none() {
            return;
        }
        let timed = self.journal.begin(StepWord::Verify, None);
        let mut wrong = Vec::new();
        let mut good = Vec::new();
        for (url, answer) in join_all(
            verify.public.iter().map(|url| async move { (url, public::passes_in_a_row(url, self.wanted()).await) }),
        )
        .await
        {
            match answer {
                Ok(()) => good.push(format!("{url} answers")),
                Err(why) => wrong.push(format!("{url}: {why}")),
            }
        }
        if let Some(smoke) = &verify.smoke {
            let folder = self.inventory.sources.first().and_then(|path| path.parent());
            match public::smoke(smoke, folder, verify.timeout).await {
                Ok(()) => good.push("smoke command passes".to_owned()),
                Err(why) => wrong.push(format!("smoke command: {why}")),
            }
        }
        if wrong.is_empty() {
            timed.end(Status::Done, good.join(", "));
        } else {
            timed.end(Status::Failed, self.redactor.text(&wrong.join("; ")));
        }
    }
}
