//! The story of a rollback: plan, consent, execution, and the paper that is left of it. Never asks or changes a host
//! itself.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::{Session, refuse};
use crate::engine::hold::Hold;
use crate::engine::run::execute;
use crate::hosts::facts::Facts;
use crate::hosts::program::Tenure;
use crate::hosts::remote::ReadOnly;
use crate::hosts::ssh::Ssh;
use crate::incident::folder::{self, Folder};
use crate::incident::journal::{self, Journal};
use crate::nouns::change::{HookAt, HookPhase};
use crate::nouns::consent::Confirmed;
use crate::nouns::inventory::Role;
use crate::nouns::migration::DownWish;
use crate::nouns::plan::{Plan, SWITCH_BY};
use crate::nouns::production::{Production, Verdict};
use crate::nouns::record::{self, Begun, Repeat, Status, StepWord, What};
use crate::nouns::redact::Redactor;
use crate::nouns::request::{Gradual, Request};
use crate::nouns::rules::{Judgement, Opinion};
use crate::nouns::secret::Secret;
use crate::nouns::share::Share;
use crate::nouns::side::Side;
use crate::steps::about::AboutRun;
use crate::steps::context::{Context, Locks, SeenSince};
use crate::steps::hook::{self, HooksHere};
use crate::tell::message;
use crate::tell::notify::{self, Outbox};
use crate::tell::render::Templates;
use crate::tell::report;
use crate::tell::story::Story;
use crate::tell::times;

impl Session<'_> {
    /// The rollback; `because` is what a watch judged it by, and who listens for signals already.
    pub(super) async fn rollback(
        &self,
        fleet: ReadOnly<Ssh>,
        because: Option<(Judgement, watch::Receiver<u32>)>,
    ) -> u8 {
        let journal = Journal::new(self.clock, self.terminal);
        let (because, interrupts) = match because {
            Some((judgement, interrupts)) => (Some(judgement), interrupts),
            None => (None, watch_signals(self.terminal.is_json())),
        };
        let redactor = self.redactor();
        let mut first_interrupt = interrupts.clone();
        let about = AboutRun::of_request(self.request, self.inventory());
        let hooks = HooksHere { inventory: self.inventory(), journal: &journal, redactor: &redactor, about };
        let observed = async {
            hooks.run_at(HookAt::Before(HookPhase::Observe)).await?;
            let prepared = self.prepare(&fleet, &journal).await;
            hooks.run_at(HookAt::After(HookPhase::Observe)).await.map(|()| prepared)
        };
        let observed = tokio::select! {
            observed = observed => observed,
            // Nothing was changed yet, so nothing needs to be finished first.
            _ = first_interrupt.changed() => return self.end_before_anything(),
        };
        let (facts, plan) = match observed {
            Ok(observed) => observed,
            Err(why) => return refuse(self.terminal, self.clock, &why),
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(refusals) => {
                self.terminal.refusals(&refusals);
                let production = format!("nothing was changed; {}", journal.production(Production::words));
                let verdict = Verdict { exit: 1, production, next: self.command("check"), left: Vec::new() };
                return self.end(&verdict, None, None, None);
            }
        };
        let (folder, path_note) = match self.open_incident(&journal, &facts, &plan) {
            Ok(opened) => opened,
            Err(err) => return refuse(self.terminal, self.clock, &format!("{err:#}")),
        };
        if let Some(judgement) = because {
            journal.record(What::Judged(Box::new(judgement)));
        }
        if let Some(note) = path_note {
            self.terminal.warning(&note);
            journal.gap(None, "incident folder", note);
        }
        self.show_plan(&plan, &journal);
        let templates = Templates::beside(self.inventory().sources.first().map(|path| path.as_path()));
        journal.record_all(templates.notes().into_iter().map(|text| What::Note { text }));
        let outbox = Outbox::open(folder.path());
        let begin = message::begin_message(&self.story(&plan, &facts, &journal.entries()), &templates, &redactor);
        outbox.post(&self.inventory().notify, &begin);
        let first = notify::deliver_beside(&outbox, &self.inventory().notify);

        // A command without a reason was refused before: nothing is unlocked without one.
        let Some(consent) = Confirmed::by_reason(&plan) else {
            return refuse(self.terminal, self.clock, "a rollback needs a reason");
        };
        let Some(fleet) = fleet.unlock(&consent, &plan) else {
            return refuse(self.terminal, self.clock, "the consent is to another plan");
        };
        let context = Context {
            plan: &plan,
            inventory: self.inventory(),
            facts: &facts,
            fleet: &fleet,
            journal: &journal,
            folder: &folder,
            redactor: &redactor,
            interrupts: interrupts.clone(),
            tenure: Tenure {
                run: self.request.id.clone(),
                holder: holder(self.request),
                takes_over: plan.takes_over,
                number: None,
            },
            locks: Locks::default(),
            seen_since: SeenSince::default(),
            stopped: OnceLock::new(),
        };
        let engine = execute(&context, &consent).await;
        self.note_round_trips(&fleet, &plan, &journal);
        let done = Finished {
            plan: &plan,
            facts: &facts,
            templates: &templates,
            redactor: &redactor,
            outbox: &outbox,
            interrupts: interrupts.clone(),
        };
        let paper = async {
            // What did not get through is tried once more with the last message, and named then.
            let _ = notify::wait_for(first).await;
            let has_failed = || !matches!(self.verdict(&journal, &done).exit, 0 | 8 | 130);
            let was_told = has_failed();
            if was_told {
                hook::run_at(&context, HookAt::OnFailure).await;
            }
            hook::run_at(&context, HookAt::Before(HookPhase::Report)).await;
            let told = self.write_paper(&journal, &folder, &done).await;
            match self.bake(&fleet, &journal, &done).await {
                // Nobody waits for the first message until blue is baked, and it says nothing of that.
                true => {
                    if has_failed() && !was_told {
                        hook::run_at(&context, HookAt::OnFailure).await;
                    }
                    self.write_paper(&journal, &folder, &done).await
                }
                false => told,
            }
        };
        let paper = async {
            let told = paper.await;
            hook::run_at(&context, HookAt::After(HookPhase::Report)).await;
            told
        };
        let told = engine.while_watched(paper).await;
        engine.settle().await;
        self.finish(&journal, &folder, &done, told).await
    }

    /// The incident folder with what is known before the first change. When it cannot be made where it should be, a
    /// temporary one will do: a full disk here is no reason to leave a bad release in production.
    fn open_incident(
        &self,
        journal: &Journal<'_>,
        facts: &Facts,
        plan: &Plan,
    ) -> anyhow::Result<(Folder, Option<String>)> {
        let inventory = self.inventory();
        let (folder, note) = match Folder::create(&inventory.incidents, &self.request.id) {
            Ok(folder) => (folder, None),
            Err(err) => {
                let elsewhere = std::env::temp_dir();
                let folder = Folder::create(&elsewhere, &self.request.id)?;
                let note = format!(
                    "{} cannot be written ({err}); the incident folder is {}",
                    inventory.incidents.display(),
                    folder.path().display()
                );
                (folder, Some(note))
            }
        };
        journal.keep_in(folder.new_file(journal::FILE)?);
        journal.record(What::Begun(Box::new(self.begun(plan))));
        journal.record_all(plan.notes.iter().map(|note| What::Note { text: note.clone() }));
        let kept = [("facts.json", serde_json::to_vec_pretty(facts)?), ("plan.json", serde_json::to_vec_pretty(plan)?)];
        for (name, bytes) in kept {
            if let Err(err) = folder.write(name, &bytes) {
                journal.gap(None, name, format!("{err:#}"));
            }
        }
        Ok((folder, note))
    }

    fn begun(&self, plan: &Plan) -> Begun {
        let inventory = self.inventory();
        let names = |role: Role| inventory.with_role(role).map(|host| host.name.clone()).collect();
        let targets = [
            ("traffic", inventory.targets.traffic),
            ("rollback", inventory.targets.rollback),
            ("restore", inventory.targets.restore),
            ("rto", inventory.targets.rto),
            ("rpo", inventory.targets.rpo),
        ];
        Begun {
            id: plan.id.to_string(),
            program: format!("rollback-prod {}", env!("CARGO_PKG_VERSION")),
            service: plan.service.clone(),
            environment: plan.environment.clone(),
            reason: plan.reason.clone(),
            severity: self.request.severity.map(|severity| severity.to_string()),
            operator: self.request.operator.clone(),
            laptop: laptop(),
            balancers: plan.balancers.clone(),
            apps: names(Role::App),
            green_is_kept: self.request.from_is_kept,
            gradual: self.request.gradual.as_ref().map(|gradual| self.repeat(gradual, plan)),
            undoes: self.request.undo.as_ref().map(|undo| undo.incident.to_string()),
            direction: plan.direction,
            traffic_stays: !plan.moves_traffic(),
            changes: plan.changes.clone(),
            to_release: self.request.to_release.clone(),
            releases: plan.releases.clone(),
            restores: self
                .request
                .restore
                .as_ref()
                .and(inventory.database.as_ref())
                .map(|database| database.name.clone()),
            restore_flags: self.request.restore.as_ref().and_then(|wish| Some(wish.tables.as_ref()?.flags())),
            down_flag: self.request.migrate_down.as_ref().map(DownWish::flag),
            oncall: inventory.contacts.oncall.clone(),
            commander: inventory.contacts.commander.clone(),
            targets_ms: targets
                .into_iter()
                .filter_map(|(name, target)| Some((name.to_owned(), u64::try_from(target?.as_millis()).ok()?)))
                .collect(),
        }
    }

    fn repeat(&self, gradual: &Gradual, plan: &Plan) -> Repeat {
        let to = plan.direction.colour(Side::To);
        let last = gradual.steps.last().copied().unwrap_or(Share::ALL);
        Repeat { command: format!("switch --to {to}{}", gradual.flags), last }
    }

    fn note_round_trips(&self, fleet: &Ssh, plan: &Plan, journal: &Journal<'_>) {
        if !self.terminal.is_verbose() {
            return;
        }
        for host in &plan.balancers {
            let host = host.clone();
            journal.note(format!("{host}: {} round trips in all", fleet.round_trips(&host)));
        }
    }

    /// The side that serves now is judged for as long as asked. Whether it was.
    async fn bake(&self, fleet: &Ssh, journal: &Journal<'_>, done: &Finished<'_>) -> bool {
        let is_over = *done.interrupts.borrow() > 0 || !journal.production(Production::is_all_shifted);
        let Some(lasts) = self.request.bake.filter(|_| !is_over) else { return false };
        let judged = done.plan.direction.colour(Side::To);
        let step = journal.begin(StepWord::Judge, None);
        let hold = Hold {
            fleet,
            inventory: self.inventory(),
            facts: done.facts,
            journal,
            judging: &self.inventory().bake.judging,
            judged,
            alone: Some(judged),
            lasts,
            at_most: lasts,
            is_new: true,
            shifted: None,
        };
        let held = hold.run(done.interrupts.clone()).await;
        let (words, time) = (held.judgement.words, humantime::format_duration(lasts));
        match (held.was_interrupted, held.judgement.opinion) {
            (true, _) => step.end(Status::Skipped, format!("{judged} is not baked: interrupted; {words}")),
            (false, Opinion::Good) => step.end(Status::Done, format!("{judged} is baked for {time}: {words}")),
            (false, Opinion::Bad) => step.end(Status::Failed, format!("{judged} is judged bad: {words}")),
            (false, Opinion::NotEnoughData) => step.end(Status::Skipped, format!("{judged} is not baked: {words}")),
        }
        true
    }

    /// Report and messages, while it is still looked that somebody serves. What was told of production.
    async fn write_paper(&self, journal: &Journal<'_>, folder: &Folder, done: &Finished<'_>) -> Verdict {
        let report = journal.begin(StepWord::Report, None);
        let written = self.write_reports(journal, folder, done);
        match written.and_then(|()| journal.trouble().map_or(Ok(()), |trouble| Err(anyhow::anyhow!(trouble)))) {
            Ok(()) => report.end(Status::Done, folder::REPORT),
            Err(err) => report.end(Status::Failed, format!("{err:#}")),
        }
        let told = self.verdict(journal, done);
        self.send_messages(journal, done).await;
        told
    }

    fn verdict(&self, journal: &Journal<'_>, done: &Finished<'_>) -> Verdict {
        journal.production(|production| production.verdict(*done.interrupts.borrow() > 0))
    }

    /// Postmortem, report, checksums, last lines: always, however the run went.
    async fn finish(&self, journal: &Journal<'_>, folder: &Folder, done: &Finished<'_>, told: Verdict) -> u8 {
        if self.verdict(journal, done).production != told.production {
            // Something happened after the last message: what it said is not true any more.
            self.send_messages(journal, done).await;
        }
        let verdict = self.verdict(journal, done);
        journal.record(What::Ended {
            exit: verdict.exit,
            production: verdict.production.clone(),
            next: verdict.next.clone(),
        });
        // Once more, now that it is known what became of the report and the messages, and over the whole journal.
        let sealed = self.write_reports(journal, folder, done).and_then(|()| folder.write_sums());
        if let Err(err) = sealed {
            self.terminal.warning(&format!("{err:#}"));
        }
        let safe = journal.production(|production| production.safe()).map(|safe| safe.at_ms);
        let times = times::times_line(&self.story(done.plan, done.facts, &journal.entries()));
        self.end(&verdict, safe, Some(folder.path()), times.as_deref())
    }

    fn write_reports(&self, journal: &Journal<'_>, folder: &Folder, done: &Finished<'_>) -> anyhow::Result<()> {
        let entries = journal.entries();
        let story = self.story(done.plan, done.facts, &entries);
        let report = report::incident_report(&story, done.templates, done.redactor);
        let written = folder.write(folder::REPORT, report.as_bytes());
        if written.is_err() {
            // The report is what the morning after needs: where the disk takes none, the screen does.
            self.terminal.text(&report);
        }
        written?;
        folder.write("POSTMORTEM.md", report::postmortem(&story, done.templates, done.redactor).as_bytes())
    }

    /// The last message, and those before it that did not get through. Bounded by `[notify] timeout`.
    async fn send_messages(&self, journal: &Journal<'_>, done: &Finished<'_>) {
        let notify = &self.inventory().notify;
        if notify.channels.is_empty() {
            return;
        }
        let entries = journal.entries();
        let story = self.story(done.plan, done.facts, &entries);
        let verdict = self.verdict(journal, done);
        let message = message::end_message(&story, &verdict, done.templates, done.redactor);
        let step = journal.begin(StepWord::Notify, None);
        done.outbox.post(notify, &message);
        let failed: Vec<String> = done
            .outbox
            .deliver(notify)
            .await
            .into_iter()
            .filter_map(|delivery| Some(format!("{}: {}", delivery.channel, delivery.outcome.err()?)))
            .collect();
        if let Some(trouble) = done.outbox.trouble() {
            journal.gap(None, "outbox", trouble);
        }
        if failed.is_empty() {
            step.end(Status::Done, "all messages were taken");
        } else {
            step.end(Status::Failed, format!("{}; the next command sends them again", failed.join("; ")));
        }
    }

    /// Its rules are compiled here, once, beside the handshake, and not when the first message waits for them.
    pub(super) fn redactor(&self) -> Arc<Redactor> {
        let made = || {
            let inventory = self.inventory();
            let secrets = inventory.secrets().map(Secret::reveal);
            let redactor = Arc::new(Redactor::new(&inventory.evidence.redact, secrets));
            let warmed = Arc::clone(&redactor);
            std::thread::spawn(move || warmed.text(""));
            redactor
        };
        Arc::clone(self.redactor.get_or_init(made))
    }

    fn story<'s>(&self, plan: &'s Plan, facts: &'s Facts, entries: &'s [record::Entry]) -> Story<'s> {
        Story { plan: Some(plan), facts: Some(facts), entries, local_offset: *chrono::Local::now().offset() }
    }
}

/// What the end of a rollback needs to know of it.
struct Finished<'a> {
    plan: &'a Plan,
    facts: &'a Facts,
    templates: &'a Templates,
    redactor: &'a Redactor,
    outbox: &'a Outbox,
    interrupts: watch::Receiver<u32>,
}

fn laptop() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who holds the lock, on one line: what another operator needs to know to ask the right person.
fn holder(request: &Request) -> String {
    let since = request.begun_at.format("%Y-%m-%dT%H:%M:%SZ");
    let (operator, laptop, pid) = (&request.operator, laptop(), std::process::id());
    let what = if request.gradual.is_some() { SWITCH_BY } else { "" };
    let line = format!("{what}{operator}@{laptop} pid {pid} since {since} ({}): {}", request.id, request.reason);
    line.replace(['\n', '\r'], " ")
}

/// Counts the signals that ask us to stop. The first stops between two steps; the second stops waiting at once.
pub(super) fn watch_signals(is_json: bool) -> watch::Receiver<u32> {
    use tokio::signal::unix::{SignalKind, signal};
    let (count, counted) = watch::channel(0);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let count = count.clone();
        let Ok(mut signals) = signal(kind) else { continue };
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                count.send_modify(|count| *count += 1);
                if !is_json {
                    eprintln!("\nstopping after this step; once more to stop waiting for it");
                }
            }
        });
    }
    counted
}
