//! The story of a rollback: plan, consent, execution, and the paper that is left of it. Never asks or changes a host
//! itself.

use std::pin::Pin;
use std::sync::OnceLock;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::services::Prepared;
use super::{Run, Session, refuse};
use crate::engine::hold::Hold;
use crate::engine::run::{Engine, execute};
use crate::engine::turns::turns;
use crate::hosts::facts::Facts;
use crate::hosts::program::Tenure;
use crate::hosts::remote::ReadOnly;
use crate::hosts::ssh::Ssh;
use crate::incident::folder::{self, Folder};
use crate::incident::journal::{self, Journal, Pages};
use crate::nouns::change::{HookAt, HookPhase};
use crate::nouns::consent::Confirmed;
use crate::nouns::inventory::Role;
use crate::nouns::migration::DownWish;
use crate::nouns::plan::{Plan, SWITCH_BY};
use crate::nouns::production::{Production, Verdict};
use crate::nouns::record::{self, Begun, Repeat, Status, StepWord, What};
use crate::nouns::redact::Redactor;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::request::{Gradual, Request};
use crate::nouns::rules::{Judgement, Opinion};
use crate::nouns::share::Share;
use crate::nouns::side::Side;
use crate::nouns::together::together;
use crate::steps::about::AboutRun;
use crate::steps::context::{Context, Files, Locks, SeenSince};
use crate::steps::hook::{self, HooksHere};
use crate::tell::known::{KNOWN, Known};
use crate::tell::message;
use crate::tell::notify::{self, Outbox};
use crate::tell::page;
use crate::tell::render::Templates;
use crate::tell::report;
use crate::tell::story::Story;
use crate::tell::terminal::Aside;
use crate::tell::times;

/// What is done for one service of a run.
struct Part<'r, 'a> {
    session: &'r Session<'a>,
    journal: &'r Journal<'a>,
    facts: &'r Facts,
    plan: &'r Plan,
    known: &'r Known,
}

/// What the end of a run needs to know of it.
struct Finished<'r, 'a> {
    parts: Vec<Part<'r, 'a>>,
    folder: &'r Folder,
    templates: &'r Templates,
    redactor: &'r Redactor,
    outbox: &'r Outbox,
    interrupts: watch::Receiver<u32>,
}

impl Run<'_> {
    /// The rollback; `because` is what a watch judged it by, and who listens for signals already.
    pub(super) async fn rollback(
        mut self,
        fleet: ReadOnly<Ssh>,
        because: Option<(Judgement, watch::Receiver<u32>)>,
    ) -> u8 {
        let journals: Vec<Journal<'_>> = self.sessions.iter().map(Session::journal).collect();
        let (terminal, clock) = (self.first().terminal, self.first().clock);
        let (because, interrupts) = match because {
            Some((judgement, interrupts)) => (Some(judgement), interrupts),
            None => (None, watch_signals(&terminal.aside())),
        };
        let redactor = self.first().redactor();
        let mut first_interrupt = interrupts.clone();
        let observed = self.observed(&fleet, &journals, &redactor);
        let observed = tokio::select! {
            observed = observed => observed,
            // Nothing was changed yet, so nothing needs to be finished first.
            _ = first_interrupt.changed() => return self.first().end_before_anything(),
        };
        let prepared = match observed {
            Ok(prepared) => prepared,
            Err(why) => return refuse(terminal, clock, Refusal::new(RefusalName::Hook, why)),
        };
        if prepared.iter().any(|(_, plan)| plan.is_err()) {
            return self.refused(prepared, &journals);
        }
        let prepared: Vec<(Facts, Plan)> =
            prepared.into_iter().filter_map(|(facts, plan)| Some((facts, plan.ok()?))).collect();
        let known: Vec<Known> = prepared.iter().map(|(facts, plan)| Known::of(plan, facts)).collect();
        let parts = || -> Vec<Part<'_, '_>> {
            let all = self.sessions.iter().zip(&journals).zip(&prepared).zip(&known);
            all.map(|(((session, journal), (facts, plan)), known)| Part { session, journal, facts, plan, known })
                .collect()
        };
        let (folder, folders) = match self.open_incident(&parts()) {
            Ok(opened) => opened,
            Err(err) => {
                return refuse(terminal, clock, Refusal::new(RefusalName::IncidentFolder, format!("{err:#}")));
            }
        };
        let is_by_watch = because.is_some();
        if let Some(judgement) = because {
            journals[0].record(What::Judged(Box::new(judgement)));
        }
        // An undo and what a watch begins have no dry run.
        let in_full = match is_by_watch || self.first().request.undo.is_some() {
            true => "--verbose",
            false => "--dry-run",
        };
        for part in parts() {
            part.session.show_plan_in_short(part.plan, part.journal, in_full);
        }
        let templates = self.templates();
        journals[0].record_all(templates.notes().into_iter().map(|text| What::Note { text }));
        let outbox = Outbox::open(folder.path());
        let done = Finished {
            parts: parts(),
            folder: &folder,
            templates: &templates,
            redactor: &redactor,
            outbox: &outbox,
            interrupts: interrupts.clone(),
        };
        let notify = &self.first().inventory().notify;
        let entries = done.entries();
        outbox.post(notify, &message::begin_message(&done.stories(&entries), &templates, &redactor));
        let first = notify::deliver_beside(&outbox, notify);

        // A command without a reason was refused before: nothing is unlocked without one.
        let consents: Option<Vec<Confirmed>> = prepared.iter().map(|(_, plan)| Confirmed::by_reason(plan)).collect();
        let Some(consents) = consents else {
            return refuse(terminal, clock, Refusal::new(RefusalName::Mistake, "a rollback needs a reason"));
        };
        let Some(fleet) = fleet.unlock(consents.iter().zip(prepared.iter().map(|(_, plan)| plan))) else {
            return refuse(terminal, clock, Refusal::new(RefusalName::Mistake, "the consent is to another plan"));
        };
        let (locks, files) = (Locks::default(), Files::default());
        let services: Vec<String> = self.sessions.iter().map(|session| session.inventory().word_on_hosts()).collect();
        let contexts: Vec<Context<'_, Ssh>> = done
            .parts
            .iter()
            .zip(&folders)
            .map(|(part, folder)| Context {
                plan: part.plan,
                inventory: part.session.inventory(),
                facts: part.facts,
                fleet: &fleet,
                journal: part.journal,
                folder,
                redactor: &redactor,
                interrupts: interrupts.clone(),
                tenure: Tenure {
                    run: part.session.request.id.clone(),
                    services: services.clone(),
                    holder: holder(&part.session.request),
                    takes_over: part.plan.takes_over,
                    number: None,
                },
                locks: &locks,
                files: &files,
                seen_since: SeenSince::default(),
                stopped: OnceLock::new(),
            })
            .collect();
        let turns = turns(contexts.len(), self.is_all_or_nothing());
        let runs = contexts.iter().zip(&consents).zip(&turns);
        let engines = join_all(runs.map(|((context, consent), turn)| async move {
            let engine = execute(context, consent, turn).await;
            // Somebody serves of each service, however long another one takes.
            engine.unless_given_up(engine.while_watched(turn.until_all_are_over())).await;
            engine
        }))
        .await;
        for part in &done.parts {
            part.session.note_round_trips(&fleet, part.plan, part.journal);
        }
        let paper = async {
            // What did not get through is tried once more with the last message, and named then.
            let _ = notify::wait_for(first).await;
            let told = done.paper(&fleet, &contexts).await;
            for context in &contexts {
                hook::run_at(context, HookAt::After(HookPhase::Report)).await;
            }
            told
        };
        let told = while_all_are_watched(&engines, Box::pin(paper)).await;
        join_all(engines.into_iter().map(Engine::settle)).await;
        locks.release().await;
        done.finish(told).await
    }

    /// What is, and the plans, between the hooks of that moment.
    async fn observed(
        &mut self,
        fleet: &ReadOnly<Ssh>,
        journals: &[Journal<'_>],
        redactor: &Redactor,
    ) -> Result<Vec<Prepared>, String> {
        self.hooks(HookAt::Before(HookPhase::Observe), journals, redactor).await?;
        let prepared = self.prepare(fleet, journals).await;
        self.hooks(HookAt::After(HookPhase::Observe), journals, redactor).await?;
        Ok(prepared)
    }

    async fn hooks(&self, at: HookAt, journals: &[Journal<'_>], redactor: &Redactor) -> Result<(), String> {
        for (session, journal) in self.sessions.iter().zip(journals) {
            let about = AboutRun::of_request(&session.request, session.inventory());
            HooksHere { inventory: session.inventory(), journal, redactor, about }.run_at(at).await?;
        }
        Ok(())
    }

    /// Every reason against it, of every service: then none of them is touched.
    fn refused(&self, prepared: Vec<Prepared>, journals: &[Journal<'_>]) -> u8 {
        for (session, (_, plan)) in self.sessions.iter().zip(prepared) {
            session.show_refusals(&plan.err().unwrap_or_default());
        }
        self.nothing_was_changed(1, journals, self.first().command("check"))
    }

    /// The last lines of a run that changed nothing.
    pub(super) fn nothing_was_changed(&self, exit: u8, journals: &[Journal<'_>], next: String) -> u8 {
        let words = journals.iter().map(|journal| Verdict {
            exit,
            production: journal.production(Production::words),
            next: next.clone(),
            left: Vec::new(),
        });
        let verdict = self.together(words.collect());
        let production = format!("nothing was changed; {}", verdict.production);
        self.first().end(&Verdict { production, ..verdict }, None, None, None)
    }

    fn is_all_or_nothing(&self) -> bool {
        self.first().request.among.as_ref().is_some_and(|among| among.is_all_or_nothing)
    }

    /// The incident folder with what is known before the first change, and where in it the files of each service go. When
    /// it cannot be made where it should be, a temporary one will do: a full disk here is no reason to leave a bad release
    /// in production.
    fn open_incident(&self, parts: &[Part<'_, '_>]) -> anyhow::Result<(Folder, Vec<Folder>)> {
        let session = self.first();
        let (incidents, id) = (&session.inventory().incidents, &session.request.id);
        let (folder, note) = match Folder::create(incidents, id) {
            Ok(folder) => (folder, None),
            Err(err) => {
                let elsewhere = std::env::temp_dir();
                let folder = Folder::create(&elsewhere, id)?;
                let note = format!(
                    "{} cannot be written ({err}); the incident folder is {}",
                    incidents.display(),
                    folder.path().display()
                );
                (folder, Some(note))
            }
        };
        let pages = Pages::new(folder.new_file(journal::FILE)?);
        let mut folders = Vec::new();
        for Part { session, journal, facts, plan, known } in parts {
            let folder = match session.request.among {
                Some(_) => folder.for_service(&session.inventory().service)?,
                None => folder.clone(),
            };
            journal.keep_in(&pages);
            journal.record(What::Begun(Box::new(session.begun(plan))));
            session.terminal.leave_to_the_plan(&plan.notes);
            journal.record_all(plan.notes.iter().map(|note| What::Note { text: note.clone() }));
            let kept = [
                ("facts.json", serde_json::to_vec_pretty(facts)?),
                ("plan.json", serde_json::to_vec_pretty(plan)?),
                (KNOWN, serde_json::to_vec_pretty(known)?),
            ];
            for (name, bytes) in kept {
                if let Err(err) = folder.write(name, &bytes) {
                    journal.gap(None, name, format!("{err:#}"));
                }
            }
            folders.push(folder);
        }
        if let (Some(note), Some(part)) = (note, parts.first()) {
            session.terminal.warning(&note);
            part.journal.gap(None, "incident folder", note);
        }
        Ok((folder, folders))
    }
}

/// Works, and looks meanwhile that somebody serves, of each service.
fn while_all_are_watched<'w, T: 'w>(
    engines: &'w [Engine<'_, '_, Ssh>],
    work: Pin<Box<dyn Future<Output = T> + 'w>>,
) -> Pin<Box<dyn Future<Output = T> + 'w>> {
    engines.iter().fold(work, |work, engine| Box::pin(engine.while_watched(work)))
}

impl Session<'_> {
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
            group: (!inventory.is_alone).then(|| inventory.group.to_string()),
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
            escalate: inventory.contacts.escalate.iter().map(ToString::to_string).collect(),
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
}

impl Part<'_, '_> {
    /// The side that serves now is judged for as long as asked. Whether it was.
    async fn bake(&self, fleet: &Ssh, interrupts: &watch::Receiver<u32>) -> bool {
        let is_over = *interrupts.borrow() > 0 || !self.journal.production(Production::is_all_shifted);
        let Some(lasts) = self.session.request.bake.filter(|_| !is_over) else { return false };
        let judged = self.plan.direction.colour(Side::To);
        let step = self.journal.begin(StepWord::Judge, None);
        let inventory = self.session.inventory();
        let hold = Hold {
            fleet,
            inventory,
            facts: self.facts,
            journal: self.journal,
            judging: &inventory.bake.judging,
            judged,
            alone: Some(judged),
            lasts,
            at_most: lasts,
            is_new: true,
            shifted: None,
        };
        let held = hold.run(interrupts.clone()).await;
        let (words, time) = (held.judgement.words, humantime::format_duration(lasts));
        match (held.was_interrupted, held.judgement.opinion) {
            (true, _) => step.end(Status::Skipped, format!("{judged} is not baked: interrupted; {words}")),
            (false, Opinion::Good) => step.end(Status::Done, format!("{judged} is baked for {time}: {words}")),
            (false, Opinion::Bad) => step.end(Status::Failed, format!("{judged} is judged bad: {words}")),
            (false, Opinion::NotEnoughData) => step.end(Status::Skipped, format!("{judged} is not baked: {words}")),
        }
        true
    }

    fn verdict(&self, was_interrupted: bool) -> Verdict {
        self.journal.production(|production| production.verdict(was_interrupted))
    }
}

impl Finished<'_, '_> {
    /// The journals as they are now, one for each service.
    fn entries(&self) -> Vec<Vec<record::Entry>> {
        self.parts.iter().map(|part| part.journal.entries()).collect()
    }

    fn stories<'s>(&'s self, entries: &'s [Vec<record::Entry>]) -> Vec<Story<'s>> {
        let local_offset = *chrono::Local::now().offset();
        let parts = self.parts.iter().zip(entries);
        parts.map(|(part, entries)| Story { known: part.known, entries, local_offset }).collect()
    }

    fn was_interrupted(&self) -> bool {
        *self.interrupts.borrow() > 0
    }

    fn verdict(&self) -> Verdict {
        let was_interrupted = self.was_interrupted();
        let verdicts = self.parts.iter().map(|part| (part.plan.service.as_str(), part.verdict(was_interrupted)));
        together(verdicts.collect())
    }

    fn has_failed(&self, part: &Part<'_, '_>) -> bool {
        !matches!(part.verdict(self.was_interrupted()).exit, 0 | 8 | 130)
    }

    /// Hooks, report and messages, and the judgement that was asked for. What was told of production.
    async fn paper(&self, fleet: &Ssh, contexts: &[Context<'_, Ssh>]) -> Verdict {
        let mut told_of: Vec<bool> = Vec::new();
        for (part, context) in self.parts.iter().zip(contexts) {
            let has_failed = self.has_failed(part);
            if has_failed {
                hook::run_at(context, HookAt::OnFailure).await;
            }
            told_of.push(has_failed);
            hook::run_at(context, HookAt::Before(HookPhase::Report)).await;
        }
        let told = self.write_paper().await;
        let baked = join_all(self.parts.iter().map(|part| part.bake(fleet, &self.interrupts))).await;
        if !baked.contains(&true) {
            return told;
        }
        // Nobody waits for the first message until blue is baked, and it says nothing of that.
        for ((part, context), was_told) in self.parts.iter().zip(contexts).zip(told_of) {
            if self.has_failed(part) && !was_told {
                hook::run_at(context, HookAt::OnFailure).await;
            }
        }
        self.write_paper().await
    }

    /// Report and messages, while it is still looked that somebody serves. What was told of production.
    async fn write_paper(&self) -> Verdict {
        let reports: Vec<_> = self.parts.iter().map(|part| part.journal.begin(StepWord::Report, None)).collect();
        let trouble = || self.parts.iter().find_map(|part| part.journal.trouble());
        let written = self.write_reports().and_then(|()| trouble().map_or(Ok(()), |why| Err(anyhow::anyhow!(why))));
        for report in reports {
            match &written {
                Ok(()) => report.end(Status::Done, folder::REPORT),
                Err(err) => report.end(Status::Failed, format!("{err:#}")),
            }
        }
        let told = self.verdict();
        self.send_messages().await;
        told
    }

    /// Postmortem, report, checksums, last lines: always, however the run went.
    async fn finish(&self, told: Verdict) -> u8 {
        if self.verdict().production != told.production {
            // Something happened after the last message: what it said is not true any more.
            self.send_messages().await;
        }
        for part in &self.parts {
            let verdict = part.verdict(self.was_interrupted());
            part.journal.record(What::Ended { exit: verdict.exit, production: verdict.production, next: verdict.next });
        }
        for part in &self.parts {
            part.journal.hear_people(&self.folder.path().join(journal::FILE));
        }
        // Once more, now that it is known what became of the report and the messages, and over the whole journal.
        let sealed = self.write_reports().and_then(|()| self.folder.write_sums());
        let Some(session) = self.parts.first().map(|part| part.session) else { return 1 };
        if let Err(err) = sealed {
            session.terminal.warning(&format!("{err:#}"));
        }
        if self.folder.path().starts_with(&session.inventory().incidents) {
            session.write_index(self.templates);
        }
        let safe = self
            .parts
            .iter()
            .map(|part| part.journal.production(|production| production.safe()).map(|safe| safe.at_ms));
        // All traffic is safe with the last of them.
        let safe = safe.collect::<Option<Vec<u64>>>().and_then(|safe| safe.into_iter().max());
        let entries = self.entries();
        let times = times::times_line(&self.stories(&entries));
        session.end(&self.verdict(), safe, Some(self.folder.path()), times.as_deref())
    }

    fn write_reports(&self) -> anyhow::Result<()> {
        let entries = self.entries();
        let stories = self.stories(&entries);
        let report = report::incident_report(&stories, self.templates, self.redactor);
        let written = self.folder.write(folder::REPORT, report.as_bytes());
        if let (Err(_), Some(part)) = (&written, self.parts.first()) {
            // The report is what the morning after needs: where the disk takes none, the screen does.
            part.session.terminal.text(&report);
        }
        written?;
        let page = page::incident_page(&stories, self.templates, self.redactor);
        self.folder.write(folder::PAGE, page.as_bytes())?;
        let postmortem = report::postmortem(&stories, self.templates, self.redactor);
        self.folder.write(folder::POSTMORTEM, postmortem.as_bytes())
    }

    /// The last message, and those before it that did not get through. Bounded by `[notify] timeout`.
    async fn send_messages(&self) {
        let Some(part) = self.parts.first() else { return };
        let notify = &part.session.inventory().notify;
        if notify.channels.is_empty() {
            return;
        }
        let entries = self.entries();
        let message = message::end_message(&self.stories(&entries), &self.verdict(), self.templates, self.redactor);
        let step = part.journal.begin(StepWord::Notify, None);
        self.outbox.post(notify, &message);
        let failed = notify::failures(self.outbox.deliver(notify).await);
        if let Some(trouble) = self.outbox.trouble() {
            part.journal.gap(None, "outbox", trouble);
        }
        notify::end_step(step, &failed);
    }
}

pub(super) fn laptop() -> String {
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
pub(super) fn watch_signals(aside: &Aside) -> watch::Receiver<u32> {
    use tokio::signal::unix::{SignalKind, signal};
    let (count, counted) = watch::channel(0);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let (count, aside) = (count.clone(), aside.clone());
        let Ok(mut signals) = signal(kind) else { continue };
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                count.send_modify(|count| *count += 1);
                // Below the `^C` that the terminal has written where the cursor was.
                aside.say("\nstopping after this step; once more to stop waiting for it");
            }
        });
    }
    counted
}
