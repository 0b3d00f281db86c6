//! The story of each command on one screen. The only place that opens the config, makes the connection and reads who
//! and where we are. Loops over no steps, parses nothing, formats nothing.

mod afterwards;
mod assess;
mod backups;
mod drill;
mod escalate;
mod filing;
mod init;
mod load;
mod look;
mod partial;
mod releases;
mod rollback;
mod serves;
mod services;
mod switch;
mod undo;
mod watch;

use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory;

use self::load::Opened;
use self::watch::WhenBad;
use crate::cli::{Backups, Cli, Command, RollbackFlags};
use crate::engine::safety;
use crate::hosts::facts::Facts;
use crate::hosts::remote::{Ask, ReadOnly};
use crate::hosts::ssh::Ssh;
use crate::incident::journal::Journal;
use crate::nouns::clock::Clock;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Database, Inventory};
use crate::nouns::migration::DownWish;
use crate::nouns::names::{ChangeName, HostName, IncidentId, RemotePath};
use crate::nouns::plan::{Plan, RestoreWish, TablesWish, TakesOver};
use crate::nouns::production::Verdict;
use crate::nouns::redact::Redactor;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::request::Request;
use crate::nouns::side::Direction;
use crate::steps::about::AboutRun;
use crate::steps::change;
use crate::steps::downgrade;
use crate::steps::earlier;
use crate::steps::hook;
use crate::steps::observe::observe;
use crate::tell::explain::Topic;
use crate::tell::manual;
use crate::tell::terminal::board::Detail;
use crate::tell::terminal::line::Note;
use crate::tell::terminal::{Ending, Output, Terminal};

/// Runs what was asked for; the result is the exit code.
pub async fn run(cli: Cli, clock: Clock, is_staging: bool) -> u8 {
    let id = incident_id(
        clock,
        match &cli.command {
            Some(Command::Switch { .. }) => "switch",
            Some(Command::Partial { .. }) => "partial",
            _ => "rollback",
        },
    );
    let is_rollback = matches!(
        cli.command,
        None | Some(
            Command::Undo { .. }
                | Command::Switch { .. }
                | Command::Partial { .. }
                | Command::Watch { rollback: true, .. }
        )
    );
    let output = match (cli.everywhere.json, cli.everywhere.plain) {
        (true, _) => Output::Json,
        (false, true) => Output::Plain,
        (false, false) => Output::Usual,
    };
    let detail = if cli.everywhere.verbose { Detail::Verbose } else { Detail::Usual };
    let terminal = Terminal::new(output, detail, is_rollback.then(|| id.clone()));
    if let (Some(Command::Explain { names }), true) = (&cli.command, terminal.is_json()) {
        let all: Vec<Topic> = if names.is_empty() { Topic::all().collect() } else { names.clone() };
        for topic in all {
            let more = [("name".to_owned(), topic.as_str().into())].into_iter().collect();
            terminal.row(clock.now(), Note { detail: Some(topic.section().into()), more, ..Note::default() });
        }
        let production = "not asked".to_owned();
        let next = "rollback-prod status".to_owned();
        return last_words(&terminal, clock, Verdict { exit: 0, production, next, left: Vec::new() });
    }
    if let Some(text) = text_of(&cli.command) {
        terminal.text(&text);
        return 0;
    }
    if let Err(why) = check_flags(&cli, is_staging) {
        return usage(&terminal, clock, RefusalName::Flags, vec![why.0], why.1);
    }
    if let Some(Command::Init { destinations, out, ssh_config }) = &cli.command {
        let wanted =
            init::InitWords { destinations, out, ssh_config: ssh_config.as_deref(), everywhere: &cli.everywhere };
        return init::init(&terminal, clock, &wanted).await;
    }
    let environment = if is_staging { "staging" } else { cli.everywhere.env.as_deref().unwrap_or("prod") };
    let loaded =
        match load::load(cli.everywhere.config.as_deref(), environment, matches!(cli.command, Some(Command::Check))) {
            Ok(loaded) => loaded,
            Err(problems) => return usage(&terminal, clock, RefusalName::Config, problems, None),
        };
    for warning in &loaded.warnings {
        terminal.warning(warning);
    }
    let count = loaded.services.len();
    let asked = match asked(&cli, loaded.services, id, clock) {
        Ok(asked) => asked,
        Err(NotAsked::Wrong(problem)) => return usage(&terminal, clock, RefusalName::Flags, vec![problem], None),
        Err(NotAsked::Nothing(why)) => return refuse(&terminal, clock, Refusal::new(RefusalName::UndoNothing, why)),
    };
    let (run, ssh) = match connected(&terminal, clock, asked, (&cli.everywhere.service, count)) {
        Ok(connected) => connected,
        Err(exit) => return exit,
    };
    match &cli.command {
        Some(Command::Status) => run.status(ReadOnly::new(ssh)).await,
        Some(Command::Check) => run.check(ReadOnly::new(ssh)).await,
        Some(Command::Backups { what: Some(Backups::Verify { file }) }) => {
            run.first().drill(ReadOnly::new(ssh), file.as_deref()).await
        }
        Some(Command::Backups { what: Some(Backups::List) | None }) => run.first().backups(ReadOnly::new(ssh)).await,
        None if cli.rollback.dry_run => run.dry_run(ReadOnly::new(ssh)).await,
        Some(Command::Switch { dry_run: true, .. } | Command::Partial { dry_run: true, .. }) => {
            run.dry_run(ReadOnly::new(ssh)).await
        }
        None | Some(Command::Undo { .. } | Command::Switch { .. } | Command::Partial { .. }) => {
            run.rollback(ReadOnly::new(ssh.that_will_hold()), None).await
        }
        Some(Command::Releases) => run.releases(ReadOnly::new(ssh)).await,
        Some(Command::Assess) => run.first().assess(ReadOnly::new(ssh)).await,
        Some(Command::Watch { lasts, rollback, no_page, .. }) => {
            let (ssh, when_bad) = match (rollback, no_page) {
                (true, _) => (ssh.that_will_hold(), WhenBad::RollBack),
                (false, true) => (ssh, WhenBad::End),
                (false, false) => (ssh, WhenBad::Call),
            };
            run.first().watch(ReadOnly::new(ssh), *lasts, when_bad).await
        }
        Some(Command::Drill { ics: true }) => run.drill_calendar(),
        Some(Command::Drill { ics: false }) => run.drill().await,
        Some(Command::History) => run.history(),
        Some(Command::Report { incident, ticket: Some(tracker), file: true }) => {
            run.file_ticket(incident.as_deref(), *tracker).await
        }
        Some(Command::Report { incident, ticket, .. }) => run.report(incident.as_deref(), *ticket),
        Some(Command::Note { text, incident }) => run.note(text, incident.as_deref()),
        Some(Command::Resolve { incident, because }) => run.resolve(incident.as_deref(), because).await,
        Some(Command::Manual) => {
            for session in &run.sessions {
                terminal.text(&manual::manual(session.inventory()));
            }
            0
        }
        // They need no config, and were done before one was looked for.
        Some(Command::Init { .. } | Command::Explain { .. } | Command::Completions { .. } | Command::Man) => 0,
    }
}

/// Sessions for what is asked, and the way to all their hosts; `picked` are the services that were named, of how many.
///
/// # Errors
/// The exit code, when it was said why there is no way.
fn connected<'a>(
    terminal: &'a Terminal,
    clock: Clock,
    asked: Vec<(Opened, Request)>,
    (picked, count): (&[String], usize),
) -> Result<(Run<'a>, Ssh), u8> {
    let hosts = services::hosts_of(asked.iter().map(|(opened, _)| opened));
    let settings = asked.iter().map(|(opened, _)| opened.inventory.ssh.clone()).next();
    let ssh = match settings.map_or_else(|| Err(anyhow::anyhow!("no service")), |ssh| Ssh::to(ssh, hosts)) {
        Ok(ssh) => ssh,
        Err(err) => return Err(refuse(terminal, clock, Refusal::new(RefusalName::Ssh, format!("{err:#}")))),
    };
    let is_part = !picked.is_empty() && asked.len() < count;
    let names: Vec<&str> = asked.iter().map(|(opened, _)| opened.inventory.service.as_str()).collect();
    let picks = if is_part { format!(" --service {}", names.join(",")) } else { String::new() };
    let redactor = services::redactor_of_all(asked.iter().map(|(opened, _)| &opened.inventory));
    let sessions = asked.into_iter().map(|(opened, request)| Session {
        terminal,
        clock,
        opened,
        request,
        picks: picks.clone(),
        redactor: Arc::clone(&redactor),
    });
    Ok((Run { sessions: sessions.collect() }, ssh))
}

/// Why nothing is done.
enum NotAsked {
    /// What was typed is wrong.
    Wrong(String),
    /// There is nothing to take back.
    Nothing(String),
}

impl From<String> for NotAsked {
    fn from(problem: String) -> NotAsked {
        NotAsked::Wrong(problem)
    }
}

/// What is asked of which service, in the order in which they go.
fn asked(cli: &Cli, all: Vec<Opened>, id: IncidentId, clock: Clock) -> Result<Vec<(Opened, Request)>, NotAsked> {
    let chosen = services::chosen(all, &cli.everywhere.service)?;
    // Whoever made what they have in common takes it back.
    let chosen = if matches!(cli.command, Some(Command::Undo { .. })) { chosen } else { services::once_each(chosen) };
    let chosen = match &cli.command {
        Some(Command::Switch { .. }) => services::the_one("switch", chosen)?,
        Some(Command::Watch { .. }) => services::the_one("watch", chosen)?,
        Some(Command::Assess) => services::the_one("assess", chosen)?,
        Some(Command::Backups { .. }) => backups::of_the_one(chosen)?,
        _ => chosen,
    };
    let requests = requests(&cli.rollback, &chosen, id, clock)?;
    let asked = chosen.into_iter().zip(requests);
    let asked: Vec<(Opened, Request)> = match &cli.command {
        Some(Command::Undo { incident, insistence }) => {
            undo::requests(asked.collect(), incident.as_deref(), insistence).map_err(NotAsked::Nothing)?
        }
        // Every change is looked at, whether anybody asked for it or not.
        Some(Command::Check) => asked
            .map(|(opened, request)| {
                let changes = opened.inventory.changes.iter().map(|change| change.name.clone()).collect();
                (opened, Request { changes, ..request })
            })
            .collect(),
        Some(Command::Partial { .. }) => partial::requests(asked.collect(), &cli.command)?,
        Some(Command::Switch { .. }) => asked
            .map(|(opened, request)| Ok((opened, switch::request(request, &cli.command)?)))
            .collect::<Result<_, String>>()?,
        Some(Command::Watch { reason, .. }) => asked
            .map(|(opened, request)| (opened, Request { reason: reason.clone().unwrap_or_default(), ..request }))
            .collect(),
        None
        | Some(
            Command::Status
            | Command::Assess
            | Command::Backups { .. }
            | Command::Releases
            | Command::Drill { .. }
            | Command::History
            | Command::Report { .. }
            | Command::Note { .. }
            | Command::Resolve { .. }
            | Command::Manual
            | Command::Init { .. }
            | Command::Explain { .. }
            | Command::Completions { .. }
            | Command::Man,
        ) => asked.collect(),
    };
    Ok(services::in_turn(asked, cli.rollback.all_or_nothing))
}

/// What every command that asks hosts works with, for one service.
struct Session<'a> {
    terminal: &'a Terminal,
    clock: Clock,
    opened: Opened,
    request: Request,
    /// The flag that picks the services of the run, where they are not all of the config.
    picks: String,
    /// The same for all services of a run: nobody's secret stands in what another one printed.
    redactor: Arc<services::OfAll>,
}

/// The services of a run in the order in which they go; never empty.
struct Run<'a> {
    sessions: Vec<Session<'a>>,
}

impl<'a> Run<'a> {
    /// What is of none of them in particular is any one's.
    fn first(&self) -> &Session<'a> {
        &self.sessions[0]
    }
}

impl<'a> Session<'a> {
    fn inventory(&self) -> &Inventory {
        &self.opened.inventory
    }

    /// A journal for what is done for this service.
    fn journal(&self) -> Journal<'a> {
        let journal = Journal::new(self.clock, self.terminal);
        if self.request.among.is_some() { journal.of_service(&self.inventory().service) } else { journal }
    }

    /// Its rules are compiled once, beside the handshake, and not when the first message waits for them.
    fn redactor(&self) -> Arc<Redactor> {
        Arc::clone(&**self.redactor)
    }

    /// Everything that is true of the hosts, and how the changes stand that were asked for.
    async fn observe(&self, fleet: &impl Ask, journal: &Journal<'_>) -> Facts {
        let mut facts = observe(fleet, self.inventory(), self.request.direction, journal).await;
        let mut names = self.request.changes.clone();
        names.extend(self.request.undo.iter().flat_map(|undo| &undo.changes).map(|made| made.work.name.clone()));
        names.sort();
        names.dedup();
        let about = AboutRun::of_request(&self.request, self.inventory());
        if !names.is_empty() {
            facts.changes = change::look(fleet, self.inventory(), &facts, &names, &about, &self.redactor()).await;
        }
        if let (Some(wanted), Some(earlier)) = (&self.request.to_release, &self.inventory().earlier) {
            facts.earlier = earlier::look(fleet, self.inventory(), &facts, earlier, Some(wanted)).await;
            let asked = (earlier, wanted.as_str());
            let standing = earlier::standing(fleet, self.inventory(), &facts, asked, &about, &self.redactor()).await;
            facts.changes.extend(standing);
        }
        if let (Some(wish), Some(database)) = (&self.request.migrate_down, &self.inventory().database) {
            let work = self.work(database, fleet, journal);
            facts.migrations = Some(work.migrations_seen(wish.to.is_none()).await);
            facts.changes.extend(downgrade::look(fleet, self.inventory(), &facts, &about, &self.redactor()).await);
        }
        if !self.inventory().hooks.is_empty() {
            facts.hooks = hook::look(fleet, self.inventory(), &facts).await;
        }
        facts
    }

    fn show_plan(&self, plan: &Plan, journal: &Journal<'_>) {
        if self.terminal.is_json() {
            journal.note(plan.to_string());
        } else {
            self.terminal.plan(plan);
        }
    }

    /// The same above a run that begins at once.
    fn show_plan_in_short(&self, plan: &Plan, journal: &Journal<'_>, in_full: &str) {
        if self.terminal.is_json() {
            self.show_plan(plan, journal);
        } else {
            self.terminal.plan_in_short(plan, in_full);
        }
    }

    fn show_refusals(&self, refusals: &[Refusal]) {
        let service = self.request.among.as_ref().map(|_| &self.inventory().service);
        self.terminal.refusals(self.clock.now(), service, refusals);
    }

    fn command(&self, words: &str) -> String {
        let picks = &self.picks;
        match self.inventory().environment.as_str() {
            "prod" => format!("rollback-prod {words}{picks}"),
            other => format!("rollback-prod --env {other} {words}{picks}"),
        }
    }

    /// Somebody pressed Ctrl-C while hosts were only asked.
    fn end_before_anything(&self) -> u8 {
        let production = "interrupted; nothing was changed".to_owned();
        let verdict = Verdict { exit: 130, production, next: self.command("status"), left: Vec::new() };
        self.end(&verdict, None, None, None)
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
        Some(Command::Explain { names }) if names.is_empty() => Some(Topic::list()),
        Some(Command::Explain { names }) => Some(names.iter().map(|topic| topic.text()).collect::<Vec<_>>().join("\n")),
        Some(
            Command::Status
            | Command::Check
            | Command::Assess
            | Command::Watch { .. }
            | Command::Switch { .. }
            | Command::Partial { .. }
            | Command::Undo { .. }
            | Command::Backups { .. }
            | Command::Releases
            | Command::Drill { .. }
            | Command::History
            | Command::Report { .. }
            | Command::Note { .. }
            | Command::Resolve { .. }
            | Command::Init { .. }
            | Command::Manual,
        )
        | None => None,
    }
}

/// What is wrong with the flags taken together, and the line to type.
fn check_flags(cli: &Cli, is_staging: bool) -> Result<(), (String, Option<String>)> {
    if cli.command.is_some() && cli.rollback.any() {
        return Err(("the rollback's own flags do not go with a command".into(), Some("rollback-prod --help".into())));
    }
    if is_staging && cli.everywhere.env.as_deref().is_some_and(|env| env != "staging") {
        return Err(("called as rollback-staging, --env is staging".into(), None));
    }
    if let Some(Command::Watch { rollback: true, reason, .. }) = &cli.command
        && reason.as_deref().is_none_or(|reason| reason.trim().is_empty())
    {
        let line = "rollback-prod watch --rollback --reason \"canary of 1.4\"";
        return Err(("a rollback needs a reason; it is the consent to move traffic".into(), Some(line.into())));
    }
    if let Some(Command::Switch { reason, dry_run: false, to, .. }) = &cli.command
        && reason.as_deref().is_none_or(|reason| reason.trim().is_empty())
    {
        let line = format!("rollback-prod switch --to {to} --reason \"release 1.4\"");
        return Err(("a switch needs a reason; it is the consent to move traffic".into(), Some(line)));
    }
    if let Some(Command::Partial { reason, dry_run: false, changes, .. }) = &cli.command
        && reason.as_deref().is_none_or(|reason| reason.trim().is_empty())
    {
        let line = format!("rollback-prod partial {} --reason \"…\"", changes.join(" "));
        return Err(("a partial rollback needs a reason; it is the consent to make it".into(), Some(line)));
    }
    if let Some(Command::Note { text, .. }) = &cli.command
        && text.trim().is_empty()
    {
        return Err(("a note needs words".into(), Some("rollback-prod note \"db team: index rebuilt\"".into())));
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

/// What the flags ask of each service.
fn requests(flags: &RollbackFlags, services: &[Opened], id: IncidentId, clock: Clock) -> Result<Vec<Request>, String> {
    let hosts = services::hosts_of(services.iter());
    let known = |name: &String| {
        let host = hosts.iter().find(|host| host.name.as_str() == name.trim());
        host.map(|host| host.name.clone()).ok_or_else(|| {
            let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
            format!("--hosts names {name:?}, which the config does not; it names {}", names.join(", "))
        })
    };
    let only: Vec<HostName> =
        flags.hosts.iter().filter(|name| !name.is_empty()).map(known).collect::<Result<_, _>>()?;
    let with = services::changes_named("--with", &flags.with, services)?;
    let restored = match (flags.restore_db, flags.restore_tables.is_empty()) {
        (true, _) => Some("--restore-db"),
        (false, false) => Some("--restore-tables"),
        (false, true) => None,
    };
    let restored = match restored {
        None => None,
        Some(flag) => match services::only_one(flag, services, Opened::restores)? {
            None => return Err(format!("{flag}: the config has no [database]")),
            Some(place) => Some((flag, place)),
        },
    };
    let earlier = match flags.to {
        None => None,
        Some(_) => match services::only_one("--to", services, |of| of.inventory.earlier.is_some())? {
            Some(place) => Some(place),
            None => {
                let why = "--to: the config says of no releases that blue could be put back to ([blue] earlier)";
                return Err(why.to_owned());
            }
        },
    };
    let down = match down_wish(flags)? {
        None => None,
        Some(wish) => match services::only_one("--migrate-down", services, |of| of.inventory.migrations.is_some())? {
            Some(place) => Some((wish, place)),
            None => {
                let why = "--migrate-down: the config does not say how migrations go down ([migrations] down)";
                return Err(why.to_owned());
            }
        },
    };
    let request = |place: usize, opened: &Opened, changes: Vec<ChangeName>| {
        let inventory = &opened.inventory;
        let restore = match (restored, &inventory.database) {
            (Some((flag, at)), Some(database)) if at == place => Some(restore_wish(flag, flags, database)?),
            _ => None,
        };
        Ok(Request {
            id: id.clone(),
            reason: flags.reason.clone().unwrap_or_default(),
            severity: flags.severity,
            operator: operator(),
            begun_at: clock.began_at(),
            only: only.clone(),
            direction: Direction::to(Colour::Blue),
            from_is_kept: flags.keep_green,
            is_forced: flags.insistence.force,
            takes_over: if flags.insistence.take_over { TakesOver::Anybody } else { TakesOver::Switch },
            bake: flags.bake.or_else(|| inventory.bake.is_always.then_some(inventory.bake.lasts)),
            changes,
            to_release: flags.to.clone().filter(|_| earlier == Some(place)),
            is_partial: false,
            among: None,
            restore,
            migrate_down: down.as_ref().filter(|(_, at)| *at == place).map(|(wish, _)| wish.clone()),
            undo: None,
            gradual: None,
        })
    };
    services.iter().zip(with).enumerate().map(|(place, (opened, changes))| request(place, opened, changes)).collect()
}

fn down_wish(flags: &RollbackFlags) -> Result<Option<DownWish>, String> {
    let Some(to) = &flags.migrate_down else { return Ok(None) };
    if flags.keep_green {
        return Err("--migrate-down: green must be stopped for that, and --keep-green leaves it running".to_owned());
    }
    Ok(Some(DownWish { to: Some(to.trim().to_owned()).filter(|to| !to.is_empty()) }))
}

fn restore_wish(flag: &str, flags: &RollbackFlags, database: &Database) -> Result<RestoreWish, String> {
    let backup = flags.backup.as_ref().map(RemotePath::new).transpose();
    let backup = backup.map_err(|err| format!("--backup: {err}; it is a file on the database's host"))?;
    if backup.is_none() && database.backups.is_none() {
        return Err(format!("{flag}: the config has no database.backups; name a dump on the host with --backup FILE"));
    }
    let names: Vec<String> = flags.restore_tables.iter().map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err("--restore-tables: a name is empty; for example: --restore-tables listings,shop.orders".to_owned());
    }
    let tables = (!names.is_empty()).then_some(TablesWish {
        names,
        delete_missing: flags.delete_missing,
        common_columns: flags.common_columns,
        fire_triggers: flags.fire_triggers,
    });
    Ok(RestoreWish { backup, tables })
}

/// `rollback-YYYYMMDD-HHMMSS`, or `switch-…`, of the moment the process began.
fn incident_id(clock: Clock, what: &str) -> IncidentId {
    IncidentId::new(format!("{what}-{}", clock.began_at().format("%Y%m%d-%H%M%S")))
        .expect("digits of a date make the name of an incident")
}

/// Who runs this, as people would say it. cron, CI and containers often set none of the variables; the machine knows
/// the name all the same, unless the number stands in no list of users.
fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    ["SUDO_USER", "LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .or_else(|| Some(uzers::get_user_by_uid(uid)?.name().to_string_lossy().into_owned()))
        .unwrap_or_else(|| format!("uid {uid}"))
}

fn refusal_of(violation: &safety::Violation) -> Refusal {
    let why = format!("the plan is not safe: {violation}; this is a mistake in rollback-prod, please report it");
    Refusal { hint: Some("rollback-prod manual".into()), ..Refusal::new(RefusalName::Mistake, why) }
}

fn usage(terminal: &Terminal, clock: Clock, name: RefusalName, problems: Vec<String>, hint: Option<String>) -> u8 {
    let next = hint.clone().unwrap_or_else(|| "rollback-prod --help".to_owned());
    terminal.refusals(clock.now(), None, &Refusal::all_of(name, problems, hint));
    last_words(terminal, clock, Verdict { exit: 2, production: "nothing was changed".into(), next, left: Vec::new() })
}

fn refuse(terminal: &Terminal, clock: Clock, refusal: Refusal) -> u8 {
    terminal.refusals(clock.now(), None, &[refusal]);
    let next = "rollback-prod check".to_owned();
    last_words(terminal, clock, Verdict { exit: 1, production: "nothing was changed".into(), next, left: Vec::new() })
}

fn last_words(terminal: &Terminal, clock: Clock, verdict: Verdict) -> u8 {
    let total_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    let ending = Ending { time: clock.now(), traffic_safe_ms: None, total_ms, incident: None, targets: None };
    terminal.end(&verdict, &ending);
    verdict.exit
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
