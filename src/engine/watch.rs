//! Somebody serves, to the last second of the run: beside everything else, who should serve is asked, and where he does
//! not answer he is started again at once; where he will not live, the traffic goes back to whom it came from.
//!
//! A dead line of ours is no answer: what could not be asked is not mended. Never moves traffic while a stage of the plan
//! still does.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::run::Engine;
use crate::hosts::facts::{self, Get};
use crate::hosts::remote::Apply;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Reach, Role};
use crate::nouns::names::HostName;
use crate::nouns::plan::{Action, Step, Undo};
use crate::nouns::production::Production;
use crate::nouns::record::{AppState, Balancer, Status, StepWord, What};
use crate::nouns::share::Share;
use crate::nouns::side::Side;
use crate::steps::{start, verify};

/// Between two looks. As often as a lock's beat: half a dozen looks in a short run, and no load worth naming on a long one.
const EVERY: Duration = Duration::from_secs(2);
/// One bad answer can be a restart of a worker; so many in a row, so far apart, are a side that does not serve.
const BAD_IN_A_ROW: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(200);
/// A look that takes longer has no answer.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// What a look at one host found: what is wrong with what traffic went to there, and with what comes through its balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Look {
    app: Option<String>,
    through: Option<String>,
}

impl Look {
    fn complaint(&self) -> Option<&str> {
        self.app.as_deref().or(self.through.as_deref())
    }
}

/// What is looked at on a host.
struct Sight<'h> {
    host: &'h HostName,
    /// Whether what traffic goes to should answer there itself.
    is_app: bool,
    /// Whether it should answer through the balancer there.
    is_balancer: bool,
}

impl<'r, 'a, F: Apply> Engine<'r, 'a, F> {
    /// Works, and looks meanwhile that somebody serves.
    pub async fn while_watched<T>(&self, work: impl Future<Output = T>) -> T {
        let is_over = Notify::new();
        let work = async {
            let result = work.await;
            is_over.notify_one();
            result
        };
        let looks = async {
            loop {
                tokio::select! {
                    () = is_over.notified() => return,
                    () = sleep(EVERY) => {}
                }
                // Never left in the middle: what it mends, it mends to its end.
                self.look_and_mend().await;
            }
        };
        join(work, looks).await.0
    }

    /// Asks everybody who should serve, and mends what does not.
    pub(super) async fn look_and_mend(&self) {
        let sights = self.sights();
        let looks = join_all(sights.iter().map(|sight| self.look(sight))).await;
        let mut is_down: Vec<&HostName> = Vec::new();
        let mut is_silent: BTreeSet<&HostName> = BTreeSet::new();
        for (sight, look) in sights.iter().zip(looks) {
            // A dead line of ours is no answer.
            let Some(look) = look else { continue };
            self.answers(sight.host, self.colour(Side::To), look.complaint());
            is_down.extend(look.app.is_some().then_some(sight.host));
            is_silent.extend(look.through.is_some().then_some(sight.host));
        }
        if self.run.plan.is_gradual {
            return self.leave_what_died(&is_down, &is_silent).await;
        }
        let given_up = self.watched.given_up().clone();
        is_down.retain(|host| !given_up.contains(*host));
        // A table that is written anew holds up whoever asks for it, and he is well.
        if is_down.is_empty() || self.run.interrupted() > 1 || self.watched.is_going_down() {
            return;
        }
        let revived = join_all(is_down.into_iter().map(|host| self.revive(host))).await;
        let dead: BTreeSet<&HostName> = revived.into_iter().flatten().collect();
        if dead.is_empty() {
            return;
        }
        self.watched.given_up().extend(dead.iter().map(|host| (*host).clone()));
        let dead: BTreeSet<&HostName> = dead.into_iter().chain(&given_up).collect();
        let gone: Vec<&HostName> = self.without_anybody(&sights, &is_silent, &dead).await;
        if !gone.is_empty() {
            self.go_back(&gone).await;
        }
    }

    /// A side that dies after its last share is not started again: whom traffic came from still runs, and gets all of it back.
    async fn leave_what_died(&self, is_down: &[&HostName], is_silent: &BTreeSet<&HostName>) {
        let dead: BTreeSet<&str> = is_down.iter().chain(is_silent).map(|host| host.as_str()).collect();
        // Once is enough: where it came to nothing, that is said.
        if dead.is_empty() || self.run.interrupted() > 1 || self.run.stopped.get().is_some() {
            return;
        }
        let (to, from) = (self.colour(Side::To), self.colour(Side::From));
        let on = dead.into_iter().collect::<Vec<_>>().join(", ");
        self.run.stop(format!("{to} does not serve on {on}: all traffic goes back to {from}"));
        self.all_back().await;
        self.take_back_starts().await;
    }

    /// Where the traffic is back with whom it came from, it is asked whether he answers. He is not this run's to mend.
    pub(super) async fn look_at_what_was_put_back(&self) {
        let (to, from) = (self.colour(Side::To), self.colour(Side::From));
        let is_gradual = self.run.plan.is_gradual;
        let hosts: Vec<(&HostName, Colour)> = self.run.journal.production(|production| {
            // Where changes are all that is made, whoever served is to serve afterwards.
            let stays = self.run.plan.is_of_changes_alone();
            let is_back = |host: &HostName| stays || production.balancer(host) == Some(Balancer::PutBack);
            let balancers = self.run.plan.balancers.iter();
            // A gradual switch mends nobody, so it asks whoever was there before, too.
            let asked = balancers
                .filter(|host| is_back(host) && (stays || is_gradual || !production.found_sending_to(host, to)));
            let was_to_alone =
                |host: &HostName| production.found_sending_to(host, to) && !production.found_sending_to(host, from);
            asked.map(|host| (host, if was_to_alone(host) { to } else { from })).collect()
        });
        join_all(hosts.into_iter().map(|(host, colour)| async move {
            let look = self.look(&Sight { host, is_app: false, is_balancer: true }).await;
            if let Some(look) = look {
                self.answers(host, colour, look.complaint());
            }
        }))
        .await;
    }

    /// Who should serve: behind every balancer that this run moved, or put back to what sent there before, too.
    fn sights(&self) -> Vec<Sight<'a>> {
        let run = self.run;
        // What gets a share is judged by that; once all are given it is looked after.
        let is_over = || !self.watched.is_at_work() && run.journal.production(Production::is_all_shifted);
        if run.plan.is_gradual && !is_over() {
            return Vec::new();
        }
        let to = self.colour(Side::To);
        let serving: BTreeSet<&HostName> = run.journal.production(|production| {
            let is_put_back = |host: &HostName| production.balancer(host) == Some(Balancer::PutBack);
            let was_there = |host: &HostName| production.found_sending_to(host, to);
            let balancers = run.plan.balancers.iter();
            balancers.filter(|host| production.is_shifted(host) || is_put_back(host) && was_there(host)).collect()
        });
        let apps: BTreeSet<&HostName> = self.app_hosts().map(|host| &host.name).collect();
        let reach = run.app(Side::To).reach;
        let is_needed = |host: &HostName| match reach {
            Reach::OwnHost => serving.contains(host),
            Reach::AnyBalancer => !serving.is_empty(),
        };
        run.inventory
            .hosts
            .iter()
            // One that was left out is nobody's to mend.
            .filter(|host| run.seen(&host.name).is_some())
            .map(|host| Sight {
                host: &host.name,
                is_app: host.is(Role::App) && apps.contains(&host.name) && is_needed(&host.name),
                is_balancer: serving.contains(&host.name)
                    && !run.plan.left_out.iter().any(|left| left.host == host.name),
            })
            .filter(|sight| sight.is_app || sight.is_balancer)
            .collect()
    }

    /// Asks one host; what is bad is asked again before it counts. `None` where the host could not be asked.
    async fn look(&self, sight: &Sight<'_>) -> Option<Look> {
        let mut bad = 0;
        loop {
            let look = timeout(LOOK_LIMIT, self.look_once(sight)).await.ok().flatten()?;
            bad += 1;
            if look.complaint().is_none() || bad >= BAD_IN_A_ROW {
                return Some(look);
            }
            sleep(BETWEEN).await;
        }
    }

    async fn look_once(&self, sight: &Sight<'_>) -> Option<Look> {
        let run = self.run;
        let to = sight.is_app.then(|| run.colour(Side::To));
        let answer = run.fleet.ask(sight.host, &verify::serves(run.inventory, to, sight.is_balancer)).await.ok()?;
        let mut look = Look::default();
        for (name, gets) in facts::gets(&answer) {
            let is_probe = name == "probe";
            let is_good = |get: &&Get| match is_probe {
                true => (200..500).contains(&get.status),
                false => run.inventory.app(run.colour(Side::To)).health_with.accepts(get.status),
            };
            if is_probe
                && let Some(Err(why)) = gets.last().map(|get| verify::is_not_of_the_other(run, sight.host, get))
                && run.is_shifted(sight.host)
            {
                look.through = Some(why);
                continue;
            }
            let Some(get) = gets.iter().find(|get| !is_good(get)) else { continue };
            let what = match get.status {
                0 if get.error.is_empty() => "gives no answer".to_owned(),
                0 => format!("gives no answer: {}", get.error),
                status => format!("answers {status}"),
            };
            match is_probe {
                true => look.through = Some(format!("the probe {what}")),
                false => look.app = Some(format!("{}'s health {what}", self.colour(Side::To))),
            }
        }
        Some(look)
    }

    /// Recorded when it changes, not at every look.
    fn answers(&self, host: &HostName, colour: Colour, complaint: Option<&str>) {
        let was_good = self.run.journal.production(|production| production.complaint(host).is_none());
        if was_good != complaint.is_none() {
            self.run.journal.record(What::Answer {
                host: host.clone(),
                colour,
                is_good: complaint.is_none(),
                detail: complaint.unwrap_or_default().to_owned(),
            });
        }
    }

    /// Starts what traffic goes to once more, at once. The host, where it will not live.
    async fn revive<'h>(&self, host: &'h HostName) -> Option<&'h HostName> {
        let run = self.run;
        let to = self.colour(Side::To);
        let complaint = run.journal.production(|production| production.complaint(host).unwrap_or_default().to_owned());
        run.journal.record(What::Intent {
            step: StepWord::Verify,
            host: host.clone(),
            why: format!("{to} does not answer ({complaint}): start it again"),
            colour: None,
            of: None,
        });
        let timed = run.journal.timed(StepWord::Verify, Some(host));
        let outcome = start::run(run, host, Side::To, AppState::Started).await;
        let is_well = outcome.status == Status::Done;
        let detail = match is_well {
            true => format!("{to} did not answer any more ({complaint}), and was started again: it answers"),
            false => format!("{to} does not answer any more: {complaint}; {}", outcome.detail),
        };
        timed.end(outcome.status, detail);
        if is_well {
            let is_balancer = run.is_shifted(host);
            let look = self.look(&Sight { host, is_app: true, is_balancer }).await;
            self.answers(host, to, look.as_ref().and_then(Look::complaint));
        }
        (!is_well).then_some(host)
    }

    /// The balancers behind which nobody serves: their own side is dead, or the last of those that they share is, and no
    /// good answer comes through them.
    async fn without_anybody<'h>(
        &self,
        sights: &[Sight<'h>],
        is_silent: &BTreeSet<&HostName>,
        dead: &BTreeSet<&HostName>,
    ) -> Vec<&'h HostName> {
        let reach = self.run.app(Side::To).reach;
        let is_all_dead = sights.iter().filter(|sight| sight.is_app).all(|sight| dead.contains(sight.host));
        let suspects = sights.iter().filter(|sight| sight.is_balancer).filter(|sight| match reach {
            Reach::OwnHost => dead.contains(sight.host),
            Reach::AnyBalancer => is_all_dead || is_silent.contains(sight.host),
        });
        let looks = join_all(suspects.map(|sight| async move {
            let through = Sight { host: sight.host, is_app: false, is_balancer: true };
            (sight.host, self.look(&through).await)
        }));
        looks
            .await
            .into_iter()
            .filter(|(_, look)| look.as_ref().is_some_and(|look| look.through.is_some()))
            .map(|(host, _)| host)
            .collect()
    }

    /// The traffic of these balancers goes back to whom it came from, who is started again where he was stopped. Where he
    /// does not answer either, it stays: two wrongs are no way out, and that nobody answers is said.
    async fn go_back(&self, balancers: &[&HostName]) {
        let run = self.run;
        let (to, from) = (self.colour(Side::To), self.colour(Side::From));
        let names = balancers.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(", ");
        run.stop(format!("{to} does not serve on {names}, and will not live: the traffic goes back to {from}"));
        self.watched.until_the_lane_is_over().await;
        if run.interrupted() > 1 {
            return;
        }
        if self.is_database_down() {
            run.journal.note(format!("migrations of {from} are taken back, so it cannot have the traffic again"));
            return;
        }
        let reach = run.app(Side::From).reach;
        let needed: Vec<&HostName> = self
            .app_hosts()
            .map(|host| &host.name)
            .filter(|host| reach == Reach::AnyBalancer || balancers.contains(host))
            .collect();
        let serving: BTreeSet<&HostName> = join_all(needed.into_iter().map(|host| async move {
            let was_stopped = self.begun_on(host, |action| matches!(action, Action::Stop { side: Side::From, .. }));
            let is_back = match was_stopped {
                Some(step) => self.undo(step).await,
                None => verify::passes_in_a_row(run, host, Side::From, run.in_a_row()).await.is_ok(),
            };
            is_back.then_some(host)
        }))
        .await
        .into_iter()
        .flatten()
        .collect();
        let can_go = |host: &HostName| match reach {
            Reach::OwnHost => serving.contains(host),
            Reach::AnyBalancer => !serving.is_empty(),
        };
        join_all(balancers.iter().map(|host| async move {
            let switched = self.begun_on(host, |action| matches!(action, Action::Switch { .. }));
            // What it said before is no way back where it was the same.
            let was_there = |step: &Step| {
                !matches!(&step.undo, Undo::Does(action)
                if matches!(action.as_ref(), Action::Switch { share, .. } if *share != Share::ALL))
            };
            match switched {
                _ if !run.is_shifted(host) => {}
                Some(step) if was_there(step) => {
                    run.journal.note(format!("{host}: its traffic was on {to} before this run, too; it stays there"));
                }
                Some(step) if can_go(host) => {
                    self.undo(step).await;
                    if run.journal.production(|production| production.balancer(host)) == Some(Balancer::PutBack) {
                        self.answers(host, to, None);
                    }
                }
                Some(_) => {
                    run.journal.note(format!("{host}: {from} does not answer either; its traffic stays on {to}"))
                }
                None => run.journal.note(format!("{host}: this run did not move its traffic")),
            }
        }))
        .await;
        self.take_back_starts().await;
        Box::pin(self.take_back_changes_for_nothing()).await;
    }
}
