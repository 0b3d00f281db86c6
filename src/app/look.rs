//! The commands that only look: dry run, status, check. What they hold cannot change a host.

use std::net::IpAddr;

use futures_util::future::join_all;

use super::{Run, Session};
use crate::engine::doubts;
use crate::engine::planner;
use crate::hosts::facts::{Facts, Origin};
use crate::hosts::remote::{Ask, ReadOnly};
use crate::hosts::ssh::Ssh;
use crate::incident::folder::{self, Folder};
use crate::incident::journal::Journal;
use crate::nginx;
use crate::nouns::inventory::Role;
use crate::nouns::plan::Plan;
use crate::nouns::production::{Production, Verdict};
use crate::nouns::record::{self, What};
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::request::Request;
use crate::nouns::side::Side;
use crate::steps::certificate;
use crate::steps::lock;
use crate::steps::measure;
use crate::steps::observe::observe;
use crate::steps::public;
use crate::steps::verify;
use crate::tell::notify;
use crate::tell::rehearsal;
use crate::tell::status;

impl Run<'_> {
    /// The dry run is the first half of the real run. It holds nothing that could change a host.
    pub(super) async fn dry_run(mut self, fleet: ReadOnly<Ssh>) -> u8 {
        let journals: Vec<Journal<'_>> = self.sessions.iter().map(Session::journal).collect();
        let prepared = self.prepare(&fleet, &journals).await;
        let mut is_refused = false;
        for ((session, journal), (_, plan)) in self.sessions.iter().zip(&journals).zip(&prepared) {
            let mut refusals = match plan {
                Err(refusals) => refusals.clone(),
                Ok(plan) => session.test_candidates(&fleet, plan, journal).await,
            };
            refusals.extend(session.try_dump(&fleet, journal).await);
            if let Ok(plan) = plan {
                session.show_plan(plan, journal);
            }
            session.show_refusals(&refusals);
            is_refused |= !refusals.is_empty();
        }
        let next = match is_refused {
            false => self.first().command(&self.in_earnest()),
            true => self.first().command("check"),
        };
        self.nothing_was_changed(u8::from(is_refused), &journals, next)
    }

    /// Who serves now. Only asks.
    pub(super) async fn status(mut self, fleet: ReadOnly<Ssh>) -> u8 {
        let resent = notify::resend_beside(self.first().inventory());
        let mut verdicts = Vec::new();
        for session in &mut self.sessions {
            verdicts.push(session.status(&fleet).await);
        }
        self.first().say_resent(notify::wait_for(resent).await);
        self.end(verdicts)
    }

    /// Every problem on the hosts at once. Only asks.
    pub(super) async fn check(mut self, fleet: ReadOnly<Ssh>) -> u8 {
        let resent = notify::resend_beside(self.first().inventory());
        let mut verdicts = Vec::new();
        for session in &mut self.sessions {
            verdicts.push(session.check(&fleet).await.0);
        }
        self.first().say_resent(notify::wait_for(resent).await);
        self.end(verdicts)
    }

    /// The same without `--dry-run`.
    fn in_earnest(&self) -> String {
        let request = &self.first().request;
        if let Some(gradual) = &request.gradual {
            let to = request.direction.colour(Side::To);
            return format!("switch --to {to}{} --reason '…'", gradual.flags);
        }
        let requests = || self.sessions.iter().map(|session| &session.request);
        let mut names: Vec<&str> = Vec::new();
        for name in requests().flat_map(|request| &request.changes) {
            if !names.contains(&name.as_str()) {
                names.push(name.as_str());
            }
        }
        if request.is_partial {
            return format!("partial {} --reason '…'", names.join(" "));
        }
        let to = requests().filter_map(|request| request.to_release.as_ref());
        let to = to.map(|release| format!(" --to {}", shell_words::quote(release)));
        let with = (!names.is_empty()).then(|| format!(" --with {}", names.join(",")));
        let down = requests().filter_map(|request| request.migrate_down.as_ref());
        let down = down.map(|wish| format!(" {}", wish.flag()));
        let all = request.among.as_ref().filter(|among| among.is_all_or_nothing);
        let all = all.map(|_| " --all-or-nothing".to_owned());
        format!("--reason '…'{}", to.chain(with).chain(down).chain(all).collect::<String>())
    }
}

impl Session<'_> {
    async fn test_candidates(&self, fleet: &impl Ask, plan: &Plan, journal: &Journal<'_>) -> Vec<Refusal> {
        let tests = plan.file_changes().filter(|(_, change)| change.is_needed()).map(|(host, change)| async move {
            let answer = fleet.ask(host, &lock::test_candidate(self.inventory(), change)).await;
            (host, answer)
        });
        let mut refusals = Vec::new();
        for (host, answer) in join_all(tests).await {
            let refused = |name, why: String| Refusal { host: Some(host.clone()), ..Refusal::new(name, why) };
            match answer.map(|answer| (answer.status_of("candidate"), answer.text("candidate").unwrap_or_default())) {
                Ok((Some(0), _)) => journal.note(format!("{host}: nginx accepts the new file")),
                Ok((Some(1), said)) if lock::is_to_be_started(self.inventory(), plan, host, &said) => {
                    journal.note(format!("{host}: the new file is tested once the servers that it names are started"))
                }
                Ok((Some(1), said)) => {
                    let why = format!("nginx refuses the new file: {}", said.trim());
                    refusals.push(refused(RefusalName::NginxRefuses, why));
                }
                Ok((_, said)) => {
                    journal.note(format!("{host}: the new file could not be tested here: {}", said.trim()))
                }
                Err(failure) => refusals.push(refused(RefusalName::HostUnreached, failure.to_string())),
            }
        }
        refusals
    }

    async fn status(&mut self, fleet: &ReadOnly<Ssh>) -> Verdict {
        let journal = self.journal();
        let facts = observe(fleet, self.inventory(), self.request.direction, &journal).await;
        self.leave_out_hosts(&facts);
        let last = folder::newest_first(&self.inventory().incidents).into_iter().next();
        let table = status::status(self.inventory(), &facts, last.as_deref());
        if self.terminal.is_json() {
            for line in status::json(self.inventory(), &facts, last.as_deref()) {
                journal.note(line);
            }
        }
        self.terminal.text(&table);
        let is_known = facts.hosts.iter().all(|host| host.seen.is_ok());
        let overdue = self.overdue().into_iter().map(|words| format!("; {words}"));
        Verdict {
            exit: if is_known { 0 } else { 1 },
            production: format!("{}{}", journal.production(Production::words), overdue.collect::<String>()),
            next: self.command(if is_known { "--dry-run --reason '…'" } else { "check" }),
            left: Vec::new(),
        }
    }

    /// What it comes to, and the facts that it was judged by.
    pub(super) async fn check(&mut self, fleet: &ReadOnly<Ssh>) -> (Verdict, Facts) {
        let journal = self.journal();
        let facts = self.observe(fleet, &journal).await;
        self.leave_out_hosts(&facts);
        let (mut refusals, notes) = planner::check(&self.request, self.inventory(), &facts, &self.opened.template);
        for host in &facts.hosts {
            if let Err(not_known) = &host.seen
                && !refusals.iter().any(|refusal| refusal.host.as_ref() == Some(&host.host))
            {
                refusals.push(Refusal {
                    host: Some(host.host.clone()),
                    hint: not_known.hint.clone(),
                    ..Refusal::new(RefusalName::HostUnreached, &not_known.why)
                });
            }
        }
        refusals.extend(self.doubt_probes(fleet, &facts).await);
        // What a rollback would do, without what else somebody may ask for.
        let plain = Request { changes: Vec::new(), ..self.request.clone() };
        if let Ok(plan) = planner::plan(&plain, self.inventory(), &facts, &self.opened.template) {
            refusals.extend(self.test_candidates(fleet, &plan, &journal).await);
        }
        refusals.extend(self.check_database(fleet, &journal).await);
        let (untrusted, told) = self.check_public(&facts).await;
        refusals.extend(untrusted);
        let wanted = facts.hosts.iter().filter_map(|host| Some((&host.host, host.seen.as_ref().ok()?)));
        let wanted = wanted.flat_map(|(host, seen)| {
            seen.wanted_rights.iter().map(move |words| {
                let line = planner::sudoers_line(&seen.user, seen, words);
                format!(
                    "{host}: without this line in sudoers the lock lies where other operators do not see it: {line}"
                )
            })
        });
        let unjudged = self.unjudged(fleet, &facts).await.into_iter().chain(self.overdue());
        journal.record_all(notes.into_iter().chain(wanted).chain(unjudged).chain(told).map(|text| What::Note { text }));
        self.show_refusals(&refusals);
        let found = match refusals.len() {
            0 => "nothing stands in the way".to_owned(),
            n => format!("{} in the way", record::plural(n, "problem")),
        };
        let verdict = Verdict {
            exit: u8::from(!refusals.is_empty()),
            production: format!("{found}; {}", journal.production(Production::words)),
            next: self.command(if refusals.is_empty() { "--dry-run --reason '…'" } else { "check" }),
            left: Vec::new(),
        };
        (verdict, facts)
    }

    /// Certificates that users will not believe, and what else is odd about the public URLs.
    async fn check_public(&self, facts: &Facts) -> (Vec<Refusal>, Vec<String>) {
        let inventory = self.inventory();
        let (mut refusals, mut told) = (Vec::new(), Vec::new());
        let ours: Vec<IpAddr> = inventory
            .with_role(Role::Balancer)
            .filter_map(|host| facts.seen(&host.name))
            .flat_map(|seen| seen.addresses.iter().filter_map(|address| address.parse().ok()))
            // A name that leads there leads everybody to himself.
            .filter(|address: &IpAddr| !address.is_loopback())
            .collect();
        for url in &inventory.verify.public {
            match certificate::look(url, self.clock.now()).await {
                None => {}
                Some(Err(why)) => told.push(format!("{url}: its certificate was not seen from here: {why}")),
                Some(Ok(shown)) => {
                    told.extend(shown.warning(self.clock.now()).map(|soon| format!("{url}: its certificate {soon}")));
                    let wrong = shown.problem.map(|problem| format!("{url}: its certificate {problem}"));
                    refusals.extend(wrong.map(|why| Refusal::new(RefusalName::Certificate, why)));
                }
            }
            let leads = public::leads_to(url).await;
            if !leads.is_empty() && !ours.is_empty() && !leads.iter().any(|address| ours.contains(address)) {
                let all = leads.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                told.push(format!(
                    "{url}: its name leads to {all}, which is no address of a balancer here: there is something in front of them, or DNS leads elsewhere"
                ));
            }
        }
        (refusals, told)
    }

    /// Drills that are due, where the config says how often they are to be.
    fn overdue(&self) -> Vec<String> {
        let inventory = self.inventory();
        let Some(due) = &inventory.drill else { return Vec::new() };
        let (incidents, now) = (&inventory.incidents, self.clock.now());
        rehearsal::overdue(due, &folder::rehearsals(incidents), &folder::all_drills(incidents), now)
    }

    /// What `watch` and `--bake` could not judge by the logs that there are, and the lines that would tell it.
    async fn unjudged(&self, fleet: &impl Ask, facts: &Facts) -> Vec<String> {
        let found = measure::find_logs(fleet, self.inventory(), facts, None).await;
        let lines = nginx::log_lines(self.inventory().service.as_str());
        let lacking = found.readable.iter().filter_map(|measure::HostLogs { host, logs, .. }| {
            let servers = logs.iter().all(|log| !log.names_servers).then_some("which server a request went to");
            let times = logs.iter().all(|log| !log.tells_times).then_some("how long one took");
            let lacks: Vec<&str> = servers.into_iter().chain(times).collect();
            (!lacks.is_empty()).then(|| {
                format!("{host}: for `watch`: no access log says {}; these lines would:\n{lines}", lacks.join(", nor "))
            })
        });
        let lacking: Vec<String> = lacking.collect();
        found.notes.into_iter().chain(lacking).collect()
    }

    /// Probes that could prove nothing, each with a path that could, where one is found.
    async fn doubt_probes(&self, fleet: &impl Ask, facts: &Facts) -> Vec<Refusal> {
        let inventory = self.inventory();
        let doubts = inventory.hosts.iter().map(|host| async move {
            let seen = facts.seen(&host.name)?;
            let nginx = seen.nginx.as_ref()?;
            let site = nginx.text.as_deref().unwrap_or_default();
            let path = match nginx.probe_origin {
                Origin::NginxItself => verify::path_that_reaches(fleet, inventory, &host.name, site).await,
                Origin::App | Origin::NotKnown => None,
            };
            let doubt = doubts::probe_proves_nothing(inventory, host, seen, path.as_deref())?;
            Some(Refusal { host: Some(host.name.clone()), hint: doubt.hint, ..Refusal::new(doubt.name, doubt.why) })
        });
        join_all(doubts).await.into_iter().flatten().collect()
    }

    /// Messages of earlier runs that got through now, or still do not.
    fn say_resent(&self, deliveries: Vec<notify::Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        let journal = Journal::new(self.clock, self.terminal);
        for delivery in deliveries {
            match delivery.outcome {
                Ok(()) => journal.note(format!("{}: a message of an earlier run was sent now", delivery.channel)),
                Err(why) => {
                    journal.note(format!("{}: a message of an earlier run is still unsent: {why}", delivery.channel))
                }
            }
        }
        for folder in folder::newest_first(&self.inventory().incidents) {
            if folder.join(notify::OUTBOX).exists()
                && let Err(err) = Folder::open(folder).refresh_sum(notify::OUTBOX)
            {
                self.terminal.warning(&format!("{err:#}"));
            }
        }
    }
}
