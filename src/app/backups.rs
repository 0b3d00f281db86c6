//! `backups list` and `backups verify`: what there is to restore, and the weekly drill that proves it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::load::Opened;
use super::services::only_one;
use super::{Session, refuse, usage};
use crate::database::restore::{Against, Choice, DatabaseServer, Work};
use crate::database::verdict::{self, Checked, Hindrance};
use crate::hosts::answer::Failure;
use crate::hosts::carried;
use crate::hosts::remote::{Ask, ReadOnly};
use crate::hosts::ssh::Ssh;
use crate::incident::folder;
use crate::incident::journal::Journal;
use crate::nouns::consent::Confirmed;
use crate::nouns::inventory::{Database, Host, Role, Targets};
use crate::nouns::names::{HostName, RemotePath};
use crate::nouns::plan::{Action, Gate, Guard, Plan, RestoreWish, Stage, StageName, Step, TakesOver, Undo};
use crate::nouns::production::Verdict;
use crate::nouns::record::{Drill, Status, StepWord};
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::units::{bytes, contents, span};
use crate::tell::terminal::line::Note;

/// The service whose database it is; any one where none has one.
///
/// # Errors
/// That several have one each.
pub(super) fn of_the_one(mut services: Vec<Opened>) -> Result<Vec<Opened>, String> {
    let place = only_one("backups", &services, Opened::restores)?;
    Ok(vec![services.swap_remove(place.unwrap_or_default())])
}

impl Session<'_> {
    /// The dumps, newest first, each with its verdict; and the databases that earlier restores kept.
    pub(super) async fn backups(&self, fleet: ReadOnly<Ssh>) -> u8 {
        let Some(database) = self.inventory().database.as_ref() else { return self.no_database() };
        let journal = Journal::new(self.clock, self.terminal);
        let work = self.work(database, &fleet, &journal);
        let listed = match work.server().await {
            Ok(server) => self.list(&work, &server).await,
            Err(problem) => Err(in_the_way(problem, None)),
        };
        let verdict = match listed {
            Ok(Some(chosen)) => Verdict {
                exit: 0,
                production: format!("nothing was changed; {chosen} would be restored"),
                next: self.command("--reason '…' --restore-db"),
                left: Vec::new(),
            },
            Ok(None) => Verdict {
                exit: 1,
                production: "nothing was changed; none of the dumps would be restored".to_owned(),
                next: self.command("backups verify"),
                left: Vec::new(),
            },
            Err(refusal) => {
                self.terminal.refusals(self.clock.now(), None, &[refusal]);
                let production = "nothing was changed; what would be restored is not known".to_owned();
                Verdict { exit: 1, production, next: self.command("check"), left: Vec::new() }
            }
        };
        self.end(&verdict, None, None, None)
    }

    /// Prints the list; the result is the dump that would be taken.
    async fn list<F: Ask>(&self, work: &Work<'_, F>, server: &DatabaseServer) -> Result<Option<String>, Refusal> {
        let database = work.database;
        let none = || Refusal::new(RefusalName::DumpNone, "the config has no database.backups");
        let pattern = database.backups.as_ref().ok_or_else(none)?;
        let unread = |failure: Failure| Refusal {
            host: Some(server.host.clone()),
            ..Refusal::new(RefusalName::DumpUnread, failure.to_string())
        };
        let (files, looked) = work.files(server, pattern).await.map_err(unread)?;
        if files.is_empty() {
            let why = format!("there is no dump at {pattern} on {}: {looked}", server.host);
            return Err(Refusal::new(RefusalName::DumpNone, why));
        }
        let checked = work.check(server, files).await.map_err(unread)?;
        // They are listed newest first, so the first good one is the one that would be taken.
        let chosen = checked.iter().find(|dump| dump.problems.is_empty()).map(|dump| dump.file.path.clone());
        for problem in work.hindrances(server, None) {
            self.terminal.warning(&problem.to_string());
        }
        for dump in &checked {
            let more = columns(dump, chosen.as_deref() == Some(dump.file.path.as_str()));
            self.terminal.row(self.clock.now(), Note { host: Some(server.host.as_str()), more, ..Note::default() });
        }
        let facts = &server.facts;
        let size = facts.live.as_ref().map_or("it does not exist".to_owned(), |live| bytes(live.size));
        let version = facts.server.short_version();
        let about = match facts.container_runs {
            Some(false) => "its container does not run, a restore starts it".to_owned(),
            Some(true) | None => format!("PostgreSQL {version}, {size}"),
        };
        self.terminal.printable(&format!("{} on {}: {about}\n\n", database.name, server.host));
        self.terminal.printable(&verdict::table(&checked, self.clock.now(), chosen.as_deref()));
        if let (Some(rpo), Some(newest)) =
            (self.inventory().targets.rpo, checked.iter().find(|d| d.problems.is_empty()))
        {
            let age = (self.clock.now() - newest.file.modified).to_std().unwrap_or_default();
            let verdict = if age <= rpo { "met" } else { "MISSED" };
            self.terminal.printable(&format!(
                "\nlost by a restore now: {} (target {}: {verdict})",
                span(age),
                span(rpo)
            ));
        }
        let kept: Vec<String> = facts
            .relatives
            .iter()
            .chain(&facts.schemas)
            .map(|relative| {
                let until = relative.kept_until().map_or("left over".to_owned(), |until| {
                    let over =
                        if until <= self.clock.now() { ", which is over: the next restore drops it" } else { "" };
                    format!("kept until {}{over}", until.format("%Y-%m-%d %H:%M UTC"))
                });
                format!("  {}  {}  {until}\n", relative.name, bytes(relative.size))
            })
            .collect();
        if !kept.is_empty() {
            self.terminal.printable(&format!("\nbeside it on the server:\n{}", kept.concat()));
        }
        self.terminal.text("\n");
        Ok(chosen)
    }

    /// The drill: the newest dump into a throw-away database, checked, counted, timed, and dropped again.
    /// A named one is taken whatever it holds; whether it would have served is another question.
    pub(super) async fn drill(&self, fleet: ReadOnly<Ssh>, named: Option<&str>) -> u8 {
        let Some(database) = self.inventory().database.as_ref() else { return self.no_database() };
        let named = match named.map(RemotePath::new).transpose() {
            Ok(named) => named,
            Err(bad) => return usage(self.terminal, self.clock, RefusalName::Flags, vec![bad.to_string()], None),
        };
        let plan = self.drill_plan(database, named.clone());
        let Some(fleet) = Confirmed::by_reason(&plan).and_then(|consent| fleet.unlock([(&consent, &plan)])) else {
            let why = "nobody asked for this drill";
            return refuse(self.terminal, self.clock, Refusal::new(RefusalName::Mistake, why));
        };
        let journal = Journal::new(self.clock, self.terminal);
        let interrupts = super::rollback::watch_signals(&self.terminal.aside());
        let work = Work { is_forced: named.is_some(), ..self.work(database, &fleet, &journal) };
        let drill = self.drilled(&work, named.as_ref(), &interrupts).await;
        let incidents = &self.inventory().incidents;
        for missed in &drill.missed {
            self.terminal.warning(missed);
        }
        if let Some(trend) = trend(&folder::drills(incidents, &database.name), &drill) {
            self.terminal.printable(&format!("{trend}\n"));
        }
        let written = folder::append_drill(incidents, &drill);
        if let Err(err) = &written {
            self.terminal.error(&format!("{err:#}"));
        }
        let left = drill.why.iter().chain(&drill.missed).map(|why| format!("drill: {why}")).collect::<Vec<_>>();
        let is_good = drill.would_serve && written.is_ok();
        let served = match &drill.dump {
            Some(dump) if drill.would_serve => format!("{dump} would have served"),
            Some(dump) => format!("{dump} would NOT have served"),
            None => "there is no dump that would have served".to_owned(),
        };
        let verdict = Verdict {
            exit: u8::from(!is_good),
            production: format!("nothing was changed in production; {served}"),
            next: self.command("backups list"),
            left,
        };
        self.end(&verdict, None, None, None)
    }

    /// What a drill does: one load aside, and nothing that lasts. Typing the command is the consent to that.
    fn drill_plan(&self, database: &Database, backup: Option<RemotePath>) -> Plan {
        let inventory = self.inventory();
        let host = inventory.with_role(Role::Database).next().or(inventory.hosts.first());
        let step = |host: &Host| Step {
            host: host.name.clone(),
            action: Action::Load { wish: RestoreWish { backup: backup.clone(), tables: None } },
            guard: Guard::Nothing,
            undo: Undo::CopyIsDropped,
            why: format!("database {}: the newest whole dump is loaded aside, checked and dropped", database.name),
        };
        let steps = host.map(step).into_iter().collect();
        Plan {
            id: self.request.id.clone(),
            service: inventory.service.to_string(),
            environment: inventory.environment.to_string(),
            reason: "a drill of the newest dump".to_owned(),
            direction: self.request.direction,
            releases: None,
            is_forced: self.request.is_forced,
            takes_over: TakesOver::Nobody,
            among: None,
            is_gradual: false,
            balancers: Vec::new(),
            changes: Vec::new(),
            down: None,
            hooks: Vec::new(),
            stages: vec![Stage { name: StageName::Load, gate: Gate::Open, steps }],
            notes: Vec::new(),
            left_out: Vec::new(),
        }
    }

    async fn drilled(
        &self,
        work: &Work<'_, Ssh>,
        named: Option<&RemotePath>,
        interrupts: &watch::Receiver<u32>,
    ) -> Drill {
        let began = Instant::now();
        let mut drill = Drill::begun(self.clock.began_at(), &work.database.name);
        let server = match work.server_awake().await {
            Ok(server) => server,
            Err(problem) => return drill.failed(problem.why),
        };
        drill.host = Some(server.host.clone());
        let problems: Vec<String> = work.hindrances(&server, None).iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return drill.failed(problems.join("; "));
        }
        work.drop_leftovers(&server).await;
        let choice: Choice = work.choose(&server, &RestoreWish { backup: named.cloned(), tables: None }).await;
        drill.passed_over.clone_from(&choice.passed_over);
        let dump = match &choice.dump {
            Some(dump) if choice.problems.is_empty() => dump,
            Some(_) | None => {
                let why: Vec<String> = choice.problems.iter().map(ToString::to_string).collect();
                return drill.failed(why.join("; "));
            }
        };
        drill.dump = Some(dump.file.path.clone());
        drill.bytes = dump.file.bytes;
        drill.modified = Some(dump.file.modified);
        let step = work.journal.begin(StepWord::Restore, Some(&server.host));
        let name = work.name_of("drill");
        let loaded = match work.load(&server, dump, &name, interrupts).await {
            Ok(loaded) => loaded,
            Err(why) => {
                step.end(Status::Failed, why.clone());
                return drill.failed(why);
            }
        };
        drill.load_ms = u64::try_from(loaded.took.as_millis()).unwrap_or(u64::MAX);
        let compared = work.compare(&server, &loaded, Against::Structure).await;
        drill.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        drill.missed = missed(&drill, &self.inventory().targets, self.clock.now());
        let dropped = work.drop(&server, &name, Some(loaded.oid)).await;
        let mut why: Vec<String> = choice.forced_past.iter().map(|problem| problem.why.clone()).collect();
        match compared {
            Err(failure) => why.push(failure.to_string()),
            Ok(compared) => {
                (drill.rows, drill.tables) = (compared.rows, compared.tables);
                why.extend(compared.wrong);
                why.extend(compared.incomplete.iter().map(|why| format!("it is incomplete: {why}")));
                why.extend(compared.failed_checks.iter().map(|check| format!("the check {check}")));
            }
        }
        if let Err(err) = dropped {
            why.push(format!("{name} is still there: {err}"));
        }
        let words = format!("{} in {}", contents(drill.tables, drill.rows), span(loaded.took));
        if why.is_empty() {
            step.end(Status::Done, format!("{words}; checked, and dropped again"));
            return drill;
        }
        step.end(Status::Failed, why.join("; "));
        drill.failed(why.join("; "))
    }

    /// What `--restore-db` would restore, and what stands in its way.
    pub(super) async fn try_dump(&self, fleet: &impl Ask, journal: &Journal<'_>) -> Vec<Refusal> {
        let Some(database) = self.inventory().database.as_ref() else { return Vec::new() };
        let work = self.work(database, fleet, journal);
        let Some(wish) = &self.request.restore else {
            if let Some(words) = work.migrated().await {
                journal.note(words);
            }
            return Vec::new();
        };
        let server = match work.server().await {
            Ok(server) => server,
            Err(hindrance) => return vec![in_the_way(hindrance, None)],
        };
        if server.facts.container_runs == Some(false) {
            journal.note(format!("{}: the database's container does not run; a rollback starts it", server.host));
            return Vec::new();
        }
        let choice = work.choose(&server, wish).await;
        for passed in &choice.passed_over {
            journal.note(format!("dump passed over: {passed}"));
        }
        if let (Some(dump), []) = (&choice.dump, choice.problems.as_slice()) {
            let good = verdict::good_words(&dump.scan);
            journal.note(format!("{}: {} would be restored: {good}", server.host, dump.file.path));
        }
        let problems = work.hindrances(&server, wish.tables.as_ref()).into_iter().chain(choice.problems);
        problems.map(|problem| in_the_way(problem, Some(&server.host))).collect()
    }

    /// For whoever wonders whether to go back: that the live database has migrated since.
    pub(super) async fn migrations(&self, fleet: &impl Ask, journal: &Journal<'_>) -> Option<String> {
        let database = self.inventory().database.as_ref()?;
        self.work(database, fleet, journal).migrated().await
    }

    /// And whether a dump would be there, should the data be bad, too.
    pub(super) async fn dumps(&self, fleet: &impl Ask, journal: &Journal<'_>) -> Option<String> {
        let database = self.inventory().database.as_ref()?;
        database.backups.as_ref()?;
        let work = self.work(database, fleet, journal);
        let server = match work.server().await {
            Ok(server) => server,
            Err(hindrance) => return Some(format!("database {}: {}", database.name, hindrance.why)),
        };
        let choice = work.choose(&server, &RestoreWish { backup: None, tables: None }).await;
        Some(match (&choice.dump, choice.problems.first()) {
            (Some(dump), None) => format!("a dump is fit, should the data be bad, too: {}", dump.file.path),
            (_, Some(problem)) => format!("no dump is fit: {}", problem.why),
            (None, None) => "there is no dump".to_owned(),
        })
    }

    /// What stands between a restore and its server, for `check`.
    pub(super) async fn check_database(&self, fleet: &impl Ask, journal: &Journal<'_>) -> Vec<Refusal> {
        let Some(database) = self.inventory().database.as_ref() else { return Vec::new() };
        let work = self.work(database, fleet, journal);
        match work.server().await {
            Err(hindrance) => {
                let why = format!("database {}: {}", database.name, hindrance.why);
                vec![Refusal { why, ..in_the_way(hindrance, None) }]
            }
            Ok(server) if server.facts.container_runs == Some(false) => {
                journal.note(format!("{}: the database's container does not run; a restore starts it", server.host));
                Vec::new()
            }
            Ok(server) => {
                if server.facts.live.is_none() {
                    journal.note(format!("{}: there is no database {}", server.host, database.name));
                }
                if carried::program_for(&server.facts.system).is_empty() {
                    journal.note(format!(
                        "{}: it is {}, for which this program has nothing to send over: dumps are read and loaded by the \
                         host's own psql, gzip and awk, slower",
                        server.host, server.facts.system
                    ));
                }
                let problems = work.hindrances(&server, None).into_iter();
                problems.map(|problem| in_the_way(problem, Some(&server.host))).collect()
            }
        }
    }

    pub(super) fn work<'w, F>(&'w self, database: &'w Database, fleet: &'w F, journal: &'w Journal<'_>) -> Work<'w, F> {
        Work {
            inventory: self.inventory(),
            database,
            fleet,
            journal,
            run: &self.request.id,
            is_forced: self.request.is_forced,
            tenure: None,
            numbers: BTreeMap::new(),
        }
    }

    fn no_database(&self) -> u8 {
        refuse(self.terminal, self.clock, Refusal::new(RefusalName::DatabaseNone, "the config has no [database]"))
    }
}

/// A dump as a row for programs.
fn columns(dump: &Checked, is_chosen: bool) -> Map<String, Value> {
    let problems: Vec<String> = dump.problems.iter().map(ToString::to_string).collect();
    let row = json!({
        "dump": dump.file.path, "bytes": dump.file.bytes, "modified": dump.file.modified, "format": dump.format,
        "tables": dump.scan.rows.len(), "rows": dump.scan.rows.iter().map(|(_, rows)| rows).sum::<u64>(),
        "problems": problems, "chosen": is_chosen,
    });
    row.as_object().cloned().unwrap_or_default()
}

/// What keeps a restore from its server, as a reason not to begin.
fn in_the_way(Hindrance { name, why, hint, can_be_forced, .. }: Hindrance, host: Option<&HostName>) -> Refusal {
    Refusal { name, host: host.cloned(), why, hint, can_be_forced }
}

/// So many earlier drills are a trend.
const TREND: usize = 5;

/// How long the load took in the drills before, and now; nothing where this one loaded none.
fn trend(before: &[Drill], now: &Drill) -> Option<String> {
    let loads: Vec<&Drill> = before.iter().filter(|drill| drill.load_ms > 0).collect();
    if loads.is_empty() || now.load_ms == 0 {
        return None;
    }
    let words = |drill: &Drill| format!("{} ({})", span(Duration::from_millis(drill.load_ms)), bytes(drill.bytes));
    let earlier: Vec<String> = loads.iter().rev().take(TREND).rev().map(|drill| words(drill)).collect();
    Some(format!("loaded before in {}; now in {}", earlier.join(", "), words(now)))
}

/// What of the promises a restore like this drill would have broken.
fn missed(drill: &Drill, targets: &Targets, now: DateTime<Utc>) -> Vec<String> {
    let took = Duration::from_millis(drill.took_ms);
    let age = drill.modified.map(|modified| (now - modified).to_std().unwrap_or_default());
    let over = |took: Option<Duration>, target: Option<Duration>, words: &str, name: &str| {
        let (took, target) = (took?, target?);
        (took > target).then(|| format!("{words} {} of the {} that targets.{name} promises", span(took), span(target)))
    };
    [
        over(Some(took), targets.restore, "a restore would have taken", "restore"),
        over(Some(took), targets.rto, "a restore alone would have taken", "rto"),
        over(age, targets.rpo, "what is lost would have been", "rpo"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
