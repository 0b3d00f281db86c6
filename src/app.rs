//! The story of each command on one screen. The only place that opens the config, makes the connection and reads who
//! and where we are. Loops over no steps, parses nothing, formats nothing.

mod load;

use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::CommandFactory;
use tokio::sync::watch;

use crate::cli::{Cli, Command, RollbackFlags};
use crate::clock::Clock;
use crate::command;
use crate::consent::Confirmed;
use crate::execute::{Execution, execute};
use crate::facts::Facts;
use crate::incident::{self, Folder};
use crate::inventory::{Inventory, Role};
use crate::journal::{self, Journal};
use crate::names::{HostName, IncidentId};
use crate::notify::{self, Outbox};
use crate::observe::observe;
use crate::plan::{PhaseKind, Plan, Request};
use crate::planner::{self, Refusal};
use crate::record::{self, Begun, Status, StepWord, Verdict, What};
use crate::redact::Redactor;
use crate::remote::ssh::Ssh;
use crate::remote::{Ask, ReadOnly};
use crate::render::Templates;
use crate::report::{self, Story};
use crate::safety;
use crate::status;
use crate::terminal::{Ending, Terminal};
use crate::{manual, nginx};

/// Runs what was asked for; the result is the exit code.
pub async fn run(cli: Cli, clock: Clock, is_staging: bool) -> u8 {
    let id = incident_id(clock);
    let is_rollback = cli.command.is_none();
    let terminal = Terminal::new(cli.everywhere.json, cli.everywhere.verbose, is_rollback.then(|| id.clone()));
    if let Some(text) = text_of(&cli.command) {
        terminal.text(&text);
        return 0;
    }
    if let Err(why) = check_flags(&cli, is_staging) {
        return usage(&terminal, clock, &[why.0], why.1.as_deref());
    }
    let environment = if is_staging { "staging" } else { cli.everywhere.env.as_deref().unwrap_or("prod") };
    let loaded = match load::load(cli.everywhere.config.as_deref(), environment) {
        Ok(loaded) => loaded,
        Err(problems) => return usage(&terminal, clock, &problems, None),
    };
    for warning in &loaded.warnings {
        terminal.warning(warning);
    }
    if let Some(Command::Manual) = cli.command {
        terminal.text(&manual::manual(&loaded.inventory));
        return 0;
    }
    let request = match request(&cli.rollback, id, clock) {
        Ok(request) => request,
        Err(problem) => return usage(&terminal, clock, &[problem], None),
    };
    let ssh = match Ssh::new(&loaded.inventory) {
        Ok(ssh) => ssh,
        Err(err) => return refuse(&terminal, clock, &format!("{err:#}")),
    };
    let session = Session { terminal: &terminal, clock, loaded: &loaded, request: &request };
    match cli.command {
        Some(Command::Status) => session.status(ReadOnly::new(ssh)).await,
        Some(Command::Check) => session.check(ReadOnly::new(ssh)).await,
        _ if cli.rollback.dry_run => session.dry_run(ReadOnly::new(ssh)).await,
        _ => session.rollback(ReadOnly::new(ssh)).await,
    }
}

/// What every command that asks hosts works with.
struct Session<'a> {
    terminal: &'a Terminal,
    clock: Clock,
    loaded: &'a load::Loaded,
    request: &'a Request,
}

impl Session<'_> {
    fn inventory(&self) -> &Inventory {
        &self.loaded.inventory
    }

    /// The first half of a rollback, and of a dry run: what is, what shall be, and whether that is safe.
    async fn prepare(&self, fleet: &impl Ask, journal: &Journal<'_>) -> (Facts, Result<Plan, Vec<Refusal>>) {
        let facts = observe(fleet, self.inventory(), journal).await;
        let plan = planner::plan(self.request, self.inventory(), &facts, &self.loaded.template);
        let plan = plan.and_then(|plan| {
            let violations = safety::check(
                &plan,
                &|balancer, app| planner::may_send_to(&self.inventory().green, balancer, app),
                &|text| self.serves_blue(text),
            );
            if violations.is_empty() { Ok(plan) } else { Err(violations.iter().map(refusal_of).collect()) }
        });
        (facts, plan)
    }

    fn serves_blue(&self, text: &str) -> bool {
        let inventory = self.inventory();
        let (blue, green) = (crate::facts::addresses(&inventory.blue), crate::facts::addresses(&inventory.green));
        nginx::find_upstream(text, &inventory.nginx.upstream)
            .is_ok_and(|upstream| nginx::serving(&upstream, &blue, &green) == nginx::Serving::Blue)
    }

    /// The dry run is the first half of the real run. It holds nothing that could change a host.
    async fn dry_run(&self, fleet: ReadOnly<Ssh>) -> u8 {
        let journal = Journal::new(self.clock, self.terminal);
        let (facts, plan) = self.prepare(&fleet, &journal).await;
        let refusals = match &plan {
            Err(refusals) => refusals.clone(),
            Ok(plan) => self.test_candidates(&fleet, plan, &journal).await,
        };
        if let Ok(plan) = &plan {
            self.show_plan(plan, &journal);
        }
        self.terminal.refusals(&refusals);
        let production = format!("nothing was changed; {}", status::production(self.inventory(), &facts));
        let verdict = match refusals.is_empty() {
            true => Verdict { exit: 0, production, next: self.command("--reason '…'"), left: Vec::new() },
            false => Verdict { exit: 1, production, next: self.command("check"), left: Vec::new() },
        };
        self.end(&verdict, None, None, None)
    }

    async fn test_candidates(&self, fleet: &impl Ask, plan: &Plan, journal: &Journal<'_>) -> Vec<Refusal> {
        let tests = plan.file_changes().filter(|(_, change)| change.is_needed()).map(|(host, change)| async move {
            let answer = fleet.ask(host, &command::test_candidate(self.inventory(), change)).await;
            (host, answer)
        });
        let mut refusals = Vec::new();
        for (host, answer) in futures_util::future::join_all(tests).await {
            let refused = |why: String| Refusal { host: Some(host.clone()), why, hint: None, can_be_forced: false };
            match answer.map(|answer| (answer.status_of("candidate"), answer.text("candidate").unwrap_or_default())) {
                Ok((Some(0), _)) => journal.note(format!("{host}: nginx accepts the new file")),
                Ok((Some(1), said)) => refusals.push(refused(format!("nginx refuses the new file: {}", said.trim()))),
                Ok((_, said)) => {
                    journal.note(format!("{host}: the new file could not be tested here: {}", said.trim()))
                }
                Err(failure) => refusals.push(refused(failure.to_string())),
            }
        }
        refusals
    }

    fn show_plan(&self, plan: &Plan, journal: &Journal<'_>) {
        if self.terminal.is_json() {
            journal.note(plan.to_string());
        } else {
            self.terminal.plan(plan);
        }
    }

    /// The rollback.
    async fn rollback(&self, fleet: ReadOnly<Ssh>) -> u8 {
        let journal = Journal::new(self.clock, self.terminal);
        let interrupts = watch_signals(self.terminal.is_json());
        let redactor = self.redactor();
        let mut first_interrupt = interrupts.clone();
        let (facts, plan) = tokio::select! {
            prepared = self.prepare(&fleet, &journal) => prepared,
            // Nothing was changed yet, so nothing needs to be finished first.
            _ = first_interrupt.changed() => {
                let verdict = Verdict {
                    exit: 130,
                    production: "interrupted; nothing was changed".into(),
                    next: self.command("status"),
                    left: Vec::new(),
                };
                return self.end(&verdict, None, None, None);
            }
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(refusals) => {
                self.terminal.refusals(&refusals);
                let production = format!("nothing was changed; {}", status::production(self.inventory(), &facts));
                let verdict = Verdict { exit: 1, production, next: self.command("check"), left: Vec::new() };
                return self.end(&verdict, None, None, None);
            }
        };
        let (folder, path_note) = match self.open_incident(&journal, &facts, &plan) {
            Ok(opened) => opened,
            Err(err) => return refuse(self.terminal, self.clock, &format!("{err:#}")),
        };
        if let Some(note) = path_note {
            self.terminal.warning(&note);
            journal.gap(None, "incident folder", note);
        }
        self.show_plan(&plan, &journal);
        let templates = Templates::beside(self.inventory().sources.first().map(|path| path.as_path()));
        journal.record_all(templates.notes().into_iter().map(|text| What::Note { text }));
        let outbox = Outbox::open(folder.path());
        let begin = report::begin_message(&self.story(&plan, &facts, &journal.entries()), &templates, &redactor);
        outbox.post(&self.inventory().notify, &begin);
        let first = notify::deliver_beside(&outbox, &self.inventory().notify);

        let consent = Confirmed::by_reason(&plan);
        let fleet = fleet.unlock(&consent);
        let execution = Execution {
            plan: &plan,
            inventory: self.inventory(),
            facts: &facts,
            fleet: &fleet,
            journal: &journal,
            folder: &folder,
            redactor: &redactor,
            interrupts: interrupts.clone(),
            green_is_kept: self.request.green_is_kept,
            is_forced: self.request.is_forced,
            holder: holder(self.request),
            access_sizes: Mutex::default(),
        };
        execute(&execution, &consent).await;
        self.note_round_trips(&fleet, &plan, &journal);

        let was_interrupted = *interrupts.borrow() > 0;
        // What did not get through is tried once more with the last message, and named then.
        let _ = notify::wait_for(first).await;
        let done = Finished {
            plan: &plan,
            facts: &facts,
            templates: &templates,
            redactor: &redactor,
            outbox: &outbox,
            was_interrupted,
        };
        self.finish(&journal, &folder, &done).await
    }

    /// Its rules are compiled here, beside the handshake, and not when the first message waits for them.
    fn redactor(&self) -> Arc<Redactor> {
        let inventory = self.inventory();
        let secrets = inventory.secrets().map(crate::inventory::Secret::reveal);
        let redactor = Arc::new(Redactor::new(&inventory.evidence.redact, secrets));
        let warmed = Arc::clone(&redactor);
        std::thread::spawn(move || warmed.text(""));
        redactor
    }

    fn story<'s>(&self, plan: &'s Plan, facts: &'s Facts, entries: &'s [record::Entry]) -> Story<'s> {
        Story { plan: Some(plan), facts: Some(facts), entries, local_offset: *chrono::Local::now().offset() }
    }

    fn command(&self, words: &str) -> String {
        let inventory = self.inventory();
        match inventory.environment.as_str() {
            "prod" => format!("rollback-prod {words}"),
            other => format!("rollback-prod --env {other} {words}"),
        }
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
        journal.record(What::Begun(self.begun(plan)));
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
            balancers: names(Role::Balancer),
            apps: names(Role::App),
            green_is_kept: self.request.green_is_kept,
            oncall: inventory.contacts.oncall.clone(),
            commander: inventory.contacts.commander.clone(),
            targets_ms: targets
                .into_iter()
                .filter_map(|(name, target)| Some((name.to_owned(), u64::try_from(target?.as_millis()).ok()?)))
                .collect(),
        }
    }

    fn note_round_trips(&self, fleet: &Ssh, plan: &Plan, journal: &Journal<'_>) {
        if !self.terminal.is_verbose() {
            return;
        }
        for host in plan.hosts_of(PhaseKind::Switch) {
            journal.note(format!("{host}: {} round trips in all", fleet.round_trips(&host)));
        }
    }

    /// Postmortem, messages, report, checksums, last lines: always, however the run went.
    async fn finish(&self, journal: &Journal<'_>, folder: &Folder, done: &Finished<'_>) -> u8 {
        let judged = |journal: &Journal<'_>| record::judge(&journal.entries(), done.was_interrupted);
        let report = journal.begin(StepWord::Report, None);
        let written = self.write_reports(journal, folder, done);
        match written.and_then(|()| journal.trouble().map_or(Ok(()), |trouble| Err(anyhow::anyhow!(trouble)))) {
            Ok(()) => report.end(Status::Done, incident::REPORT),
            Err(err) => report.end(Status::Failed, format!("{err:#}")),
        }
        self.send_messages(journal, done).await;
        let verdict = judged(journal);
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
        let entries = journal.entries();
        let safe = entries.iter().find(|entry| matches!(entry.what, What::TrafficSafe { .. })).map(|entry| entry.at_ms);
        let times = report::times_line(&self.story(done.plan, done.facts, &entries));
        self.end(&verdict, safe, Some(folder.path()), times.as_deref())
    }

    fn write_reports(&self, journal: &Journal<'_>, folder: &Folder, done: &Finished<'_>) -> anyhow::Result<()> {
        let entries = journal.entries();
        let story = self.story(done.plan, done.facts, &entries);
        let report = report::incident_report(&story, done.templates, done.redactor);
        let written = folder.write(incident::REPORT, report.as_bytes());
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
        let verdict = record::judge(&entries, done.was_interrupted);
        let message = report::end_message(&story, &verdict, done.templates, done.redactor);
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

    /// Who serves now. Only asks.
    async fn status(&self, fleet: ReadOnly<Ssh>) -> u8 {
        let journal = Journal::new(self.clock, self.terminal);
        let resent = notify::resend_beside(self.inventory());
        let facts = observe(&fleet, self.inventory(), &journal).await;
        let last = incident::newest_first(&self.inventory().incidents).into_iter().next();
        let table = status::status(self.inventory(), &facts, last.as_deref());
        if self.terminal.is_json() {
            for line in status::json(self.inventory(), &facts, last.as_deref()) {
                journal.note(line);
            }
        }
        self.terminal.text(&table);
        self.say_resent(&journal, notify::wait_for(resent).await);
        let is_known = facts.hosts.iter().all(|host| host.seen.is_ok());
        let verdict = Verdict {
            exit: if is_known { 0 } else { 1 },
            production: status::production(self.inventory(), &facts),
            next: self.command(if is_known { "--dry-run --reason '…'" } else { "check" }),
            left: Vec::new(),
        };
        self.end(&verdict, None, None, None)
    }

    /// Every problem on the hosts at once. Only asks.
    async fn check(&self, fleet: ReadOnly<Ssh>) -> u8 {
        let journal = Journal::new(self.clock, self.terminal);
        let resent = notify::resend_beside(self.inventory());
        let facts = observe(&fleet, self.inventory(), &journal).await;
        let (mut refusals, notes) = planner::check(self.request, self.inventory(), &facts, &self.loaded.template);
        for host in &facts.hosts {
            if let Err(not_known) = &host.seen
                && !refusals.iter().any(|refusal| refusal.host.as_ref() == Some(&host.host))
            {
                refusals.push(Refusal {
                    host: Some(host.host.clone()),
                    why: not_known.why.clone(),
                    hint: not_known.hint.clone(),
                    can_be_forced: false,
                });
            }
        }
        if let Ok(plan) = planner::plan(self.request, self.inventory(), &facts, &self.loaded.template) {
            refusals.extend(self.test_candidates(&fleet, &plan, &journal).await);
        }
        journal.record_all(notes.into_iter().map(|text| What::Note { text }));
        self.terminal.refusals(&refusals);
        self.say_resent(&journal, notify::wait_for(resent).await);
        let found = match refusals.len() {
            0 => "nothing stands in the way".to_owned(),
            n => format!("{} in the way", record::plural(n, "problem")),
        };
        let verdict = Verdict {
            exit: u8::from(!refusals.is_empty()),
            production: format!("{found}; {}", status::production(self.inventory(), &facts)),
            next: self.command(if refusals.is_empty() { "--dry-run --reason '…'" } else { "check" }),
            left: Vec::new(),
        };
        self.end(&verdict, None, None, None)
    }

    /// Messages of earlier runs that got through now, or still do not.
    fn say_resent(&self, journal: &Journal<'_>, deliveries: Vec<notify::Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        for delivery in deliveries {
            match delivery.outcome {
                Ok(()) => journal.note(format!("{}: a message of an earlier run was sent now", delivery.channel)),
                Err(why) => {
                    journal.note(format!("{}: a message of an earlier run is still unsent: {why}", delivery.channel))
                }
            }
        }
        for folder in incident::newest_first(&self.inventory().incidents) {
            if folder.join(notify::OUTBOX).exists()
                && let Err(err) = Folder::open(folder).refresh_sum(notify::OUTBOX)
            {
                self.terminal.warning(&format!("{err:#}"));
            }
        }
    }

    fn end(&self, verdict: &Verdict, safe: Option<u64>, incident: Option<&Path>, targets: Option<&str>) -> u8 {
        let here = std::env::current_dir().ok();
        let incident = incident.map(|path| here.as_ref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path));
        let ending = Ending {
            time: self.clock.now(),
            traffic_safe_ms: safe,
            total_ms: u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            incident,
            targets,
        };
        self.terminal.end(verdict, &ending);
        verdict.exit
    }
}

/// What the end of a rollback needs to know of it.
struct Finished<'a> {
    plan: &'a Plan,
    facts: &'a Facts,
    templates: &'a Templates,
    redactor: &'a Redactor,
    outbox: &'a Outbox,
    was_interrupted: bool,
}

/// Texts that need no config.
fn text_of(command: &Option<Command>) -> Option<String> {
    match command {
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "rollback-prod", &mut text);
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            // Writing to memory cannot fail; an empty page would show that it did.
            let _ = clap_mangen::Man::new(Cli::command()).render(&mut text);
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        Some(Command::Status | Command::Check | Command::Backups { .. } | Command::Undo { .. } | Command::Manual)
        | None => None,
    }
}

/// What is wrong with the flags taken together, and the line to type.
fn check_flags(cli: &Cli, is_staging: bool) -> Result<(), (String, Option<String>)> {
    let not_yet = |what: &str| Err((format!("this build does not have {what} yet"), None));
    if let Some(command) = &cli.command {
        if cli.rollback.any() {
            return Err((
                "the rollback's own flags do not go with a command".into(),
                Some("rollback-prod --help".into()),
            ));
        }
        match command {
            Command::Undo { .. } => return not_yet("undo"),
            Command::Backups { .. } => return not_yet("backups"),
            Command::Status | Command::Check | Command::Manual | Command::Completions { .. } | Command::Man => {}
        }
    }
    if cli.rollback.restore_db {
        return not_yet("--restore-db");
    }
    if cli.rollback.take_over {
        return not_yet("--take-over");
    }
    if is_staging && cli.everywhere.env.as_deref().is_some_and(|env| env != "staging") {
        return Err(("called as rollback-staging, --env is staging".into(), None));
    }
    let has_reason = cli.rollback.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty());
    if cli.command.is_none() && !has_reason && !cli.rollback.dry_run {
        let name = if is_staging { "rollback-staging" } else { "rollback-prod" };
        return Err((
            "a rollback needs a reason; it is the consent to move traffic".into(),
            Some(format!("{name} --reason \"high error rate\"")),
        ));
    }
    Ok(())
}

fn request(flags: &RollbackFlags, id: IncidentId, clock: Clock) -> Result<Request, String> {
    let only = flags
        .hosts
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| HostName::new(name.trim()).map_err(|err| format!("--hosts: {err}")))
        .collect::<Result<_, _>>()?;
    Ok(Request {
        id,
        reason: flags.reason.clone().unwrap_or_default(),
        severity: flags.severity,
        operator: operator(),
        begun_at: clock.began_at(),
        only,
        green_is_kept: flags.keep_green,
        is_forced: flags.force,
    })
}

/// `rollback-YYYYMMDD-HHMMSS` of the moment the process began.
fn incident_id(clock: Clock) -> IncidentId {
    IncidentId::new(clock.began_at().format("rollback-%Y%m%d-%H%M%S").to_string())
        .expect("digits of a date make the name of an incident")
}

/// Who runs this, as people would say it.
fn operator() -> String {
    ["SUDO_USER", "LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn laptop() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who holds the lock: what another operator needs to know to ask the right person.
fn holder(request: &Request) -> String {
    format!(
        "{}@{} pid {} since {} ({}): {}",
        request.operator,
        laptop(),
        std::process::id(),
        request.begun_at.format("%Y-%m-%dT%H:%M:%SZ"),
        request.id,
        request.reason
    )
}

fn refusal_of(violation: &safety::Violation) -> Refusal {
    let why = format!("the plan is not safe: {violation}; this is a mistake in rollback-prod, please report it");
    Refusal { host: None, why, hint: Some("rollback-prod manual".into()), can_be_forced: false }
}

fn usage(terminal: &Terminal, clock: Clock, problems: &[String], hint: Option<&str>) -> u8 {
    for problem in problems {
        terminal.error(problem);
    }
    if let Some(hint) = hint {
        terminal.hint(hint);
    }
    let next = hint.unwrap_or("rollback-prod --help").to_owned();
    last_words(terminal, clock, Verdict { exit: 2, production: "nothing was changed".into(), next, left: Vec::new() })
}

fn refuse(terminal: &Terminal, clock: Clock, why: &str) -> u8 {
    terminal.error(why);
    let next = "rollback-prod check".to_owned();
    last_words(terminal, clock, Verdict { exit: 1, production: "nothing was changed".into(), next, left: Vec::new() })
}

fn last_words(terminal: &Terminal, clock: Clock, verdict: Verdict) -> u8 {
    let total_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    let ending = Ending { time: clock.now(), traffic_safe_ms: None, total_ms, incident: None, targets: None };
    terminal.end(&verdict, &ending);
    verdict.exit
}

/// Counts the signals that ask us to stop. The first stops between two steps; the second stops waiting at once.
fn watch_signals(is_json: bool) -> watch::Receiver<u32> {
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

/// A panic is a mistake of ours; what it must still say is where production is.
pub fn set_panic_words() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        eprintln!("error: this is a mistake in rollback-prod, please report it");
        eprintln!("production: not known from here; steps that had begun end on the hosts by themselves");
        eprintln!("next:       rollback-prod status");
    }));
}
