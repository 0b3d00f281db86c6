//! The database's steps: the verdict on the dump while traffic moves, the load beside the stop, the question, the swap, and
//! the proof that the service works on what is live then; and all of it back. A copy that does not go live is dropped.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use super::context::Context;
use crate::database::question;
use crate::database::restore::{Against, Choice, DatabaseServer, Loaded, Swapped, Work};
use crate::hosts::remote::Apply;
use crate::incident::journal::Timed;
use crate::nouns::colour::Colour;
use crate::nouns::consent::Overwrite;
use crate::nouns::inventory::{Database, Role};
use crate::nouns::names::HostName;
use crate::nouns::plan::{RestoreWish, Word};
use crate::nouns::record::{self, AppState, DatabaseState, Status, StepWord, Swap, What, plural};
use crate::nouns::side::Side;
use crate::nouns::units::{bytes, span, with_contents};
use crate::steps::verify;

/// A copy that stands ready, and everything that the question needs.
pub struct Ready<'j, 'a> {
    pub(super) server: DatabaseServer,
    pub(super) choice: Choice,
    pub(super) loaded: Loaded,
    pub(super) timed: Timed<'j, 'a>,
}

impl<'a, F: Apply> Context<'a, F> {
    pub(super) fn work(&self, database: &'a Database) -> Work<'_, F> {
        Work {
            inventory: self.inventory,
            database,
            fleet: self.fleet,
            journal: self.journal,
            run: &self.plan.id,
            is_forced: self.plan.is_forced,
            tenure: Some(&self.tenure),
            numbers: self.locks.numbers(),
        }
    }

    /// Whether green has migrated the database, where only traffic goes back: blue may not know what it finds. Looked at once
    /// traffic is safe, and not waited for long.
    pub async fn note_migrations(&self, database: &'a Database, mut safe: watch::Receiver<Option<bool>>) {
        let is_safe = safe.wait_for(Option::is_some).await.ok().and_then(|safe| *safe);
        if is_safe != Some(true) || self.colour(Side::To) != Colour::Blue {
            return;
        }
        if let Some(words) = self.work(database).migrated().await {
            self.journal.note(words);
        }
    }

    /// From the first look to a copy that is loaded and checked. Says through `known` when the verdict on the dump is
    /// there, and loads only after `safe` says that traffic is. `None` where there is nothing to ask for: why is recorded.
    pub async fn load_aside(
        &self,
        wish: &RestoreWish,
        database: &'a Database,
        known: oneshot::Sender<()>,
        safe: watch::Receiver<Option<bool>>,
    ) -> Option<Ready<'_, 'a>> {
        let work = self.work(database);
        let prepared = self.verdict(&work, wish).await;
        // Nobody waits for it any more where the drain was quicker.
        let _ = known.send(());
        let (server, choice) = prepared?;
        let dump = choice.dump.clone()?;
        let mut safe = safe;
        let is_safe = safe.wait_for(Option::is_some).await.ok().and_then(|safe| *safe);
        if is_safe != Some(true) {
            self.stays(database, &server.host, None, "traffic is not on blue everywhere; the database is not touched");
            return None;
        }
        work.drop_leftovers(&server).await;
        let name = work.name_of("copy");
        self.journal.record(intent(&server.host, format!("load {} aside, as {name}", dump.file.path)));
        let timed = self.journal.timed(StepWord::Restore, Some(&server.host));
        match work.load(&server, &dump, &name, &self.interrupts).await {
            Err(why) => {
                self.stays(database, &server.host, Some(timed), &why);
                None
            }
            Ok(loaded) => {
                self.journal.note(format!(
                    "{}: loaded as {name} in {}; the live database is not touched yet",
                    server.host,
                    span(loaded.took)
                ));
                Some(Ready { server, choice, loaded, timed })
            }
        }
    }

    /// The server, and the dump with its verdict; both recorded. `None` where nothing can be restored.
    async fn verdict(&self, work: &Work<'_, F>, wish: &RestoreWish) -> Option<(DatabaseServer, Choice)> {
        let anywhere = || {
            let host = self.inventory.with_role(Role::Database).next();
            host.or(self.inventory.hosts.first()).map(|host| host.name.clone())
        };
        let server = match work.server_awake().await {
            Ok(server) => server,
            Err(problem) => {
                if let Some(host) = anywhere() {
                    self.stays(work.database, &host, None, &problem.why);
                }
                return None;
            }
        };
        let choice = work.choose(&server, wish).await;
        let record = work.dump_record(&server, &choice, wish.tables.as_ref());
        self.journal.record(What::Dump(record.clone()));
        for passed in &choice.passed_over {
            self.journal.note(format!("dump passed over: {passed}"));
        }
        if !record.problems.is_empty() {
            self.stays(work.database, &server.host, None, &record.problems.join("; "));
            return None;
        }
        let (path, size) = (&record.path, bytes(record.bytes));
        let made = record.modified.format("made %Y-%m-%d %H:%M:%S UTC");
        let words = format!("{}: the dump {path} is whole: {size}, {made}", server.host);
        self.journal.note(with_contents(&words, record.tables, record.rows));
        Some((server, choice))
    }

    /// The database is as it was, and why.
    pub(super) fn stays(&self, database: &Database, host: &HostName, timed: Option<Timed<'_, '_>>, why: &str) {
        let timed = timed.unwrap_or_else(|| self.journal.timed(StepWord::Restore, Some(host)));
        let state = record::DatabaseNow {
            host: host.clone(),
            name: database.name.clone(),
            state: DatabaseState::AsItWas,
            swap: None,
            merge: None,
        };
        timed.end_with(Status::Failed, format!("the database stays as it was: {why}"), [What::Database(state)]);
    }

    /// Compares, asks, swaps and proves.
    pub async fn replace_database(&self, database: &'a Database, ready: Ready<'_, 'a>) {
        let work = self.work(database);
        let Ready { server, choice, loaded, timed } = ready;
        let consent = self.ask_to_replace(&work, &server, &choice, &loaded).await;
        let consent = match consent {
            Ok(consent) => consent,
            Err(why) => {
                let dropped = work.drop(&server, &loaded.name, Some(loaded.oid)).await;
                let left =
                    dropped.err().map_or(String::new(), |err| format!("; {} is still there: {err}", loaded.name));
                self.stays(database, &server.host, Some(timed), &format!("{why}{left}"));
                return;
            }
        };
        let state = |state| {
            What::Database(record::DatabaseNow {
                host: server.host.clone(),
                name: database.name.clone(),
                state,
                swap: Some(consent.change().clone()),
                merge: None,
            })
        };
        self.journal.record_all([
            intent(&server.host, format!("{} takes the place of {}", loaded.name, database.name)),
            state(DatabaseState::Unknown),
        ]);
        let comment = kept_comment(consent.change(), &self.plan.id.to_string());
        match work.swap(&server, &consent, &comment).await {
            Swapped::Done(took) => {
                let took = took.map_or(String::new(), |ms| format!(", swapped in {ms} ms"));
                let kept =
                    consent.change().kept().map_or(String::new(), |kept| format!("; the replaced one is {kept}"));
                let words = format!("{} restored{took}{kept}", database.name);
                timed.end_with(Status::Done, words, [state(DatabaseState::Restored)]);
                work.forget_load(&server).await;
                self.prove_database(&work, &server).await;
                work.drop_expired(&server, self.journal.clock().now()).await;
            }
            Swapped::No(why) => {
                let dropped = work.drop(&server, &loaded.name, Some(loaded.oid)).await;
                let left =
                    dropped.err().map_or(String::new(), |err| format!("; {} is still there: {err}", loaded.name));
                self.stays(database, &server.host, Some(timed), &format!("the swap was not made: {why}{left}"));
            }
            Swapped::Unknown(why) => {
                timed.end_with(
                    Status::Unknown,
                    format!("nobody knows whether the swap was made: {why}"),
                    [state(DatabaseState::Unknown)],
                );
            }
        }
    }

    /// The question, once the copy has proven itself.
    async fn ask_to_replace(
        &self,
        work: &Work<'_, F>,
        server: &DatabaseServer,
        choice: &Choice,
        loaded: &Loaded,
    ) -> Result<Overwrite<Swap>, String> {
        let compared =
            work.compare(server, loaded, Against::StructureAndRows).await.map_err(|failure| failure.to_string())?;
        let mut wrong = compared.wrong.clone();
        wrong.extend(compared.failed_checks.iter().map(|check| format!("the check {check}")));
        if !wrong.is_empty() {
            return Err(format!("the copy is not what it should be: {}", wrong.join("; ")));
        }
        if !compared.incomplete.is_empty() && !work.is_forced {
            let why = compared.incomplete.join("; ");
            return Err(format!("the copy is incomplete: {why} (--force goes on past this)"));
        }
        self.journal.record(What::Loss(compared.loss.clone()));
        // Sessions and sizes as they are now, not as they were before the load.
        let server = work.server().await.map_err(|problem| problem.why)?;
        let live = server.facts.live.clone();
        let keep = TimeDelta::from_std(work.database.keep_old).unwrap_or_default();
        let swap = Swap {
            live: work.database.name.clone(),
            live_oid: live.as_ref().map_or(0, |live| live.oid),
            copy: loaded.name.clone(),
            copy_oid: loaded.oid,
            kept: work.name_of("before"),
            kept_until: Some(self.journal.clock().now() + keep),
        };
        if !self.goes_on() {
            return Err("interrupted".to_owned());
        }
        let sessions: Vec<String> = server.facts.sessions.iter().map(|sessions| sessions.describe()).collect();
        let dump = work.dump_record(&server, choice, None);
        let mut warnings = self.warnings(&server);
        warnings.extend(choice.forced_past.iter().map(|problem| problem.why.clone()));
        warnings.extend(compared.incomplete.iter().map(|why| format!("the copy is incomplete: {why}")));
        let question = question::Prompt {
            word: Word::Restore,
            swap: &swap,
            host: server.host.as_str(),
            server: server.facts.server.short_version(),
            live_bytes: live.map_or(0, |live| live.size),
            dump: Some(&dump),
            loss: Some(&compared.loss),
            sessions: &sessions,
            warnings: &warnings,
            loaded_in: Some(loaded.took),
            now: self.journal.clock().now(),
            rpo: self.inventory.targets.rpo,
        };
        let last_line = question::last_line(Word::Restore);
        self.typed(Word::Restore, (&question::text(&question), &last_line), swap).await
    }

    /// Consent to a change of a live database, typed behind the last line of a question.
    pub async fn typed<Change>(
        &self,
        word: Word,
        (text, last_line): (&str, &str),
        change: Change,
    ) -> Result<Overwrite<Change>, String> {
        let mut interrupts = self.interrupts.clone();
        let line = tokio::select! {
            line = self.journal.ask(text, last_line) => line,
            _ = interrupts.wait_for(|count| *count > 0) => return Err("interrupted at the question".to_owned()),
            // Whoever is asked while nobody serves would hold up who mends that.
            why = self.until_stopped() => return Err(why),
        };
        let Some(line) = line else { return Err(format!("nobody typed {}", word.as_str())) };
        let Some(consent) = Overwrite::by_line(&line, word, change) else {
            return Err(format!("not confirmed: what was typed is not {}", word.as_str()));
        };
        if self.goes_on() { Ok(consent) } else { Err("interrupted".to_owned()) }
    }

    /// The database first: what it was before the incident takes its place again, once the word is typed. False where
    /// it stays as it is, and then nothing else is taken back either.
    pub async fn take_database_back(&self, database: &'a Database, done: &Swap) -> bool {
        let work = self.work(database);
        let timed =
            self.journal.timed(StepWord::Restore, self.inventory.with_role(Role::Database).next().map(|h| &h.name));
        let server = match work.server_awake().await {
            Ok(server) => server,
            Err(problem) => {
                if let Some(host) = self.inventory.with_role(Role::Database).next() {
                    self.stays(database, &host.name, Some(timed), &problem.why);
                }
                return false;
            }
        };
        drop(timed);
        let timed = self.journal.timed(StepWord::Restore, Some(&server.host));
        let state = |state, swap: &Swap| {
            let name = database.name.clone();
            let host = server.host.clone();
            What::Database(record::DatabaseNow { host, name, state, swap: Some(swap.clone()), merge: None })
        };
        let live = server.facts.live.clone();
        if live.as_ref().is_some_and(|live| live.oid == done.live_oid) {
            timed.end_with(
                Status::Done,
                format!("{} is the database of before already", database.name),
                [state(DatabaseState::TakenBack, done)],
            );
            return true;
        }
        let back = match self.way_back(&work, &server, done).await {
            Ok(back) => back,
            Err(why) => {
                self.stays(database, &server.host, Some(timed), &why);
                return false;
            }
        };
        self.journal.record_all([
            intent(&server.host, format!("{} takes the place of {} again", back.change().copy, database.name)),
            state(DatabaseState::Unknown, back.change()),
        ]);
        let comment = kept_comment(back.change(), &self.plan.id.to_string());
        match work.swap(&server, &back, &comment).await {
            Swapped::Done(took) => {
                let took = took.map_or(String::new(), |ms| format!(", swapped in {ms} ms"));
                let words =
                    format!("{} is what it was before{took}; what was live is {}", database.name, back.change().kept);
                timed.end_with(Status::Done, words, [state(DatabaseState::TakenBack, back.change())]);
                true
            }
            Swapped::No(why) => {
                self.stays(database, &server.host, Some(timed), &format!("the swap was not made: {why}"));
                false
            }
            Swapped::Unknown(why) => {
                timed.end_with(
                    Status::Unknown,
                    format!("nobody knows whether the swap was made: {why}"),
                    [state(DatabaseState::Unknown, back.change())],
                );
                false
            }
        }
    }

    /// The swap that takes another one back, once it is known to be possible and `UNDO` was typed.
    async fn way_back(
        &self,
        work: &Work<'_, F>,
        server: &DatabaseServer,
        done: &Swap,
    ) -> Result<Overwrite<Swap>, String> {
        let problems: Vec<String> = work.hindrances(server, None).iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        if done.kept().is_none() {
            return Err(format!("there was no database {} before the restore", done.live));
        }
        let live = server.facts.live.clone().ok_or_else(|| format!("there is no database {}", done.live))?;
        if live.oid != done.copy_oid {
            return Err(format!("{} is not the database that was restored any more", done.live));
        }
        let kept = server.facts.relative(&done.kept).ok_or_else(|| {
            format!("{} is not there any more: it was kept until its time was over, or dropped by hand", done.kept)
        })?;
        if kept.oid != done.live_oid {
            return Err(format!("{} is not the database that was replaced", done.kept));
        }
        let keep = TimeDelta::from_std(work.database.keep_old).unwrap_or_default();
        let swap = Swap {
            live: done.live.clone(),
            live_oid: live.oid,
            copy: kept.name.clone(),
            copy_oid: kept.oid,
            kept: work.name_of("undone"),
            kept_until: Some(self.journal.clock().now() + keep),
        };
        let sessions: Vec<String> = server.facts.sessions.iter().map(|sessions| sessions.describe()).collect();
        let warning = format!("what was written since the restore is not in it; it stays in {}", swap.kept);
        let question = question::Prompt {
            word: Word::Undo,
            swap: &swap,
            host: server.host.as_str(),
            server: server.facts.server.short_version(),
            live_bytes: live.size,
            dump: None,
            loss: None,
            sessions: &sessions,
            warnings: &[warning],
            loaded_in: None,
            now: self.journal.clock().now(),
            rpo: None,
        };
        let text = question::text(&question);
        self.typed(Word::Undo, (&text, &question::last_line(Word::Undo)), swap.clone()).await
    }

    pub(super) fn warnings(&self, server: &DatabaseServer) -> Vec<String> {
        let from = self.colour(Side::From);
        let mut warnings = Vec::new();
        for host in self.inventory.with_role(Role::App) {
            let state = self.journal.production(|production| production.app(&host.name, from));
            if matches!(state, Some(AppState::Kept | AppState::LeftRunning | AppState::Unknown)) {
                warnings.push(format!("{from} still runs on {}: it goes on in the restored database", host.name));
            }
        }
        if server.facts.live.is_none() {
            warnings.push("there is no live database of that name: nothing is replaced".to_owned());
        }
        warnings
    }

    /// The database's own health, as the service sees it, and the checks of the config on what is live now.
    pub(super) async fn prove_database(&self, work: &Work<'_, F>, server: &DatabaseServer) {
        let timed = self.journal.begin(StepWord::Verify, Some(&server.host));
        // The service writes again: rows may be more than the dump had by now, so only the checks count here.
        let failed = match work.failed_checks(server, &work.database.name).await {
            Ok(failed) => failed,
            Err(failure) => vec![failure.to_string()],
        };
        if failed.is_empty() {
            timed.end(Status::Done, format!("{} {}", work.database.name, passed(work.database.checks.len())));
        } else {
            timed.end(Status::Failed, format!("on the restored database: {}", failed.join("; ")));
            return;
        }
        if work.database.health.is_empty() {
            return;
        }
        join_all(self.inventory.with_role(Role::App).map(|host| async {
            let timed = self.journal.begin(StepWord::Verify, Some(&host.name));
            match self.database_is_well(work.database, &host.name).await {
                Ok(()) => timed.end(Status::Done, "the service works on the restored database"),
                Err(why) => timed.end(Status::Failed, format!("on the restored database: {why}")),
            }
        }))
        .await;
    }

    /// Asks the health URLs until all are good; the service has to connect anew first.
    async fn database_is_well(&self, database: &Database, host: &HostName) -> Result<(), String> {
        let question = verify::database_health(self.inventory, &database.health);
        let until = Instant::now() + self.inventory.verify.timeout;
        loop {
            let why = match self.fleet.ask(host, &question).await {
                Err(failure) => failure.to_string(),
                Ok(answer) => {
                    let bad = database.health.iter().enumerate().find_map(|(n, url)| {
                        let code = answer.text(&format!("database.health.{n}.code")).unwrap_or_default();
                        let status: u16 =
                            code.split_whitespace().next().and_then(|code| code.parse().ok()).unwrap_or(0);
                        let head = answer.text(&format!("database.health.{n}")).unwrap_or_default();
                        let is_good = (200..300).contains(&status) || (code == "wget" && head.contains(" 200"));
                        (!is_good).then(|| format!("{url} answers {status}"))
                    });
                    match bad {
                        None => return Ok(()),
                        Some(bad) => bad,
                    }
                }
            };
            if Instant::now() >= until {
                return Err(why);
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}

pub(super) fn intent(host: &HostName, why: String) -> What {
    What::Intent { step: StepWord::Restore, host: host.clone(), why, colour: None, of: None }
}

fn passed(checks: usize) -> String {
    match checks {
        0 => "is live; the config has no checks".to_owned(),
        checks => format!("is live and passes {}", plural(checks, "check")),
    }
}

/// What `\l+` shows beside a kept database, and what says how long it is kept.
fn kept_comment(swap: &Swap, run: &str) -> String {
    let until = swap.kept_until.map_or(String::new(), |until| format!("; keep until {}", until.to_rfc3339()));
    format!("rollback-prod: {} until {run} replaced it{until}", swap.live)
}
