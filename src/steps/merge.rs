//! Rows of some tables: looked at beside the live ones, the question, the merge, and the proof that the service works on what
//! is there then; and all of it back. A copy is dropped however it ends, and so are rows that were not merged.

use std::time::Duration;

use chrono::TimeDelta;

use super::context::Context;
use super::restore::{Ready, intent};
use crate::database::programs::{LOCK_SECONDS, MERGE_SECONDS};
use crate::database::question;
use crate::database::restore::{Against, Choice, DatabaseServer, Loaded, Swapped, Work};
use crate::database::tables::{self, Told};
use crate::hosts::remote::Apply;
use crate::nouns::consent::Overwrite;
use crate::nouns::inventory::{Database, Role};
use crate::nouns::plan::{TablesWish, Word};
use crate::nouns::record::{self, DatabaseState, Merge, Status, StepWord, What};
use crate::nouns::units::counted;

/// How long a lock is waited for, and how long nobody else may write.
const WAITS: (Duration, Duration) = (Duration::from_secs(LOCK_SECONDS), Duration::from_secs(MERGE_SECONDS));

impl<'a, F: Apply> Context<'a, F> {
    /// Compares, asks, merges and proves.
    pub async fn merge_tables(&self, database: &'a Database, wish: &TablesWish, ready: Ready<'_, 'a>) {
        let work = self.work(database);
        let Ready { server, choice, loaded, timed } = ready;
        let asked = self.ask_to_merge(&work, (&server, &choice, &loaded), wish).await;
        // Its rows are beside the live ones by now, or are not wanted.
        let dropped = work.drop(&server, &loaded.name, Some(loaded.oid)).await;
        let left = dropped.err().map_or(String::new(), |err| format!("; {} is still there: {err}", loaded.name));
        let (stage, consent) = match asked {
            Ok((stage, consent)) => (stage, consent),
            Err(why) => return self.stays(database, &server.host, Some(timed), &format!("{why}{left}")),
        };
        let merge = consent.change();
        let state = |state| self.rows_are(&server, database, merge, state);
        self.journal.record_all([
            intent(&server.host, format!("rows of {} take the place of the live ones", merge.names())),
            state(DatabaseState::Unknown),
        ]);
        let comment = kept_comment(merge, &self.plan.id.to_string());
        let (ended, told) = work.merge(&server, &consent, &stage, &comment, Some(wish)).await;
        match ended {
            Swapped::Done(took) => {
                let words = format!(
                    "rows of {} restored{}{}; what was there is in the schema {}{left}",
                    merge.names(),
                    changed(&told),
                    took.map_or(String::new(), |ms| format!(" in {ms} ms")),
                    merge.kept
                );
                timed.end_with(Status::Done, words, [state(DatabaseState::Restored)]);
                self.prove_database(&work, &server).await;
                work.drop_expired(&server, self.journal.clock().now()).await;
            }
            Swapped::No(why) => {
                let dropped = work.drop_schema(&server, &stage).await;
                let stays =
                    dropped.err().map_or(String::new(), |err| format!("; the schema {stage} is still there: {err}"));
                self.stays(
                    database,
                    &server.host,
                    Some(timed),
                    &format!("the rows were not put back: {why}{stays}{left}"),
                );
            }
            Swapped::Unknown(why) => {
                timed.end_with(
                    Status::Unknown,
                    format!("nobody knows whether the rows were put back: {why}{left}"),
                    [state(DatabaseState::Unknown)],
                );
            }
        }
    }

    fn rows_are(&self, server: &DatabaseServer, database: &Database, merge: &Merge, state: DatabaseState) -> What {
        What::Database(record::DatabaseNow {
            host: server.host.clone(),
            name: database.name.clone(),
            state,
            swap: None,
            merge: Some(merge.clone()),
        })
    }

    /// The question, once the copy has proven itself and its rows stand beside the live ones; and in which schema.
    async fn ask_to_merge(
        &self,
        work: &Work<'_, F>,
        (server, choice, loaded): (&DatabaseServer, &Choice, &Loaded),
        wish: &TablesWish,
    ) -> Result<(String, Overwrite<Merge>), String> {
        let compared = work.compare(server, loaded, Against::Nothing).await.map_err(|failure| failure.to_string())?;
        if !compared.wrong.is_empty() {
            return Err(format!("the copy is not what it should be: {}", compared.wrong.join("; ")));
        }
        let live = server.facts.live.as_ref().ok_or_else(|| format!("there is no database {}", work.database.name))?;
        let picked = work.pick(server, &loaded.name, wish).await?;
        let without = tables::without_rows(&picked.tables, &loaded.scan);
        if !without.is_empty() {
            return Err(format!("the dump has no rows of {}; take another dump: --backup FILE", without.join(", ")));
        }
        let keep = TimeDelta::from_std(work.database.keep_old).unwrap_or_default();
        let merge = Merge {
            live: work.database.name.clone(),
            live_oid: live.oid,
            kept: work.schema_of("before"),
            kept_until: Some(self.journal.clock().now() + keep),
            tables: picked.tables,
        };
        let (previews, dangling) = work.stage(server, &loaded.name, &merge, wish).await?;
        let stage = work.schema_of("from");
        let consent = async {
            if !dangling.is_empty() {
                let why: Vec<String> = dangling.iter().map(tables::Dangling::describe).collect();
                let hint = "name those tables, too, or another dump";
                return Err(format!("{}; {hint}", why.join("; ")));
            }
            self.journal.record(What::Loss(tables::loss(&work.database.name, &previews, wish)));
            if !self.goes_on() {
                return Err("interrupted".to_owned());
            }
            let record = work.dump_record(server, choice, Some(wish));
            let mut warnings = self.warnings(server);
            warnings.extend(choice.forced_past.iter().map(|problem| problem.why.clone()));
            let question = question::RowsPrompt {
                word: Word::Restore,
                merge: &merge,
                host: server.host.as_str(),
                server: server.facts.server.short_version(),
                dump: Some(&record),
                previews: &previews,
                deletes_missing: wish.delete_missing,
                since: &[],
                warnings: &warnings,
                notes: &picked.notes,
                waits: WAITS,
                now: self.journal.clock().now(),
                rpo: self.inventory.targets.rpo,
            };
            let last_line = question::last_line_of_rows(Word::Restore, &merge);
            self.typed(Word::Restore, (&question::text_of_rows(&question), &last_line), merge.clone()).await
        };
        match consent.await {
            Ok(consent) => Ok((stage, consent)),
            Err(why) => match work.drop_schema(server, &stage).await {
                Ok(()) => Err(why),
                Err(err) => Err(format!("{why}; the schema {stage} is still there: {err}")),
            },
        }
    }

    /// The rows that an incident's merge replaced take their place again, once the word is typed. False where they stay as
    /// they are, and then nothing else is taken back either.
    pub async fn take_rows_back(&self, database: &'a Database, done: &Merge) -> bool {
        let work = self.work(database);
        let server = match work.server_awake().await {
            Ok(server) => server,
            Err(problem) => {
                if let Some(host) = self.inventory.with_role(Role::Database).next() {
                    self.stays(database, &host.name, None, &problem.why);
                }
                return false;
            }
        };
        let timed = self.journal.timed(StepWord::Restore, Some(&server.host));
        let back = match self.way_back_for_rows(&work, &server, done).await {
            Ok(back) => back,
            Err(why) => {
                self.stays(database, &server.host, Some(timed), &why);
                return false;
            }
        };
        let merge = back.change();
        let state = |state| self.rows_are(&server, database, merge, state);
        self.journal.record_all([
            intent(&server.host, format!("rows of {} become what they were before", merge.names())),
            state(DatabaseState::Unknown),
        ]);
        let comment = kept_comment(merge, &self.plan.id.to_string());
        let (ended, told) = work.merge(&server, &back, &done.kept, &comment, None).await;
        match ended {
            Swapped::Done(took) => {
                let took = took.map_or(String::new(), |ms| format!(" in {ms} ms"));
                let words = format!("rows of {} are what they were before{}{took}", merge.names(), changed(&told));
                timed.end_with(Status::Done, words, [state(DatabaseState::TakenBack)]);
                true
            }
            Swapped::No(why) => {
                self.stays(database, &server.host, Some(timed), &format!("the rows were not taken back: {why}"));
                false
            }
            Swapped::Unknown(why) => {
                timed.end_with(
                    Status::Unknown,
                    format!("nobody knows whether the rows were taken back: {why}"),
                    [state(DatabaseState::Unknown)],
                );
                false
            }
        }
    }

    /// The merge that takes another one back, once it is known to be possible and `UNDO` was typed.
    async fn way_back_for_rows(
        &self,
        work: &Work<'_, F>,
        server: &DatabaseServer,
        done: &Merge,
    ) -> Result<Overwrite<Merge>, String> {
        let live = server.facts.live.as_ref().ok_or_else(|| format!("there is no database {}", done.live))?;
        if live.oid != done.live_oid {
            return Err(format!("{} is another database than the one whose rows were put back", done.live));
        }
        if !server.facts.schemas.iter().any(|schema| schema.name == done.kept) {
            return Err(format!(
                "{} has no schema {} any more: it was kept until its time was over, or dropped by hand",
                done.live, done.kept
            ));
        }
        let keep = TimeDelta::from_std(work.database.keep_old).unwrap_or_default();
        let merge = Merge {
            kept: work.schema_of("undone"),
            kept_until: Some(self.journal.clock().now() + keep),
            ..done.clone()
        };
        let since = work.written_since(server, done).await;
        let mut warnings: Vec<String> = done
            .tables
            .iter()
            .filter(|table| table.key.is_empty())
            .map(|table| format!("{} has no key: all rows that were written since are lost", table.name()))
            .collect();
        if since.is_none() {
            warnings.push("nobody can say what was written to these rows since; it is lost".to_owned());
        }
        let since = since.unwrap_or_default();
        let question = question::RowsPrompt {
            word: Word::Undo,
            merge: &merge,
            host: server.host.as_str(),
            server: server.facts.server.short_version(),
            dump: None,
            previews: &[],
            deletes_missing: false,
            since: &since,
            warnings: &warnings,
            notes: &[],
            waits: WAITS,
            now: self.journal.clock().now(),
            rpo: None,
        };
        let last_line = question::last_line_of_rows(Word::Undo, &merge);
        self.typed(Word::Undo, (&question::text_of_rows(&question), &last_line), merge.clone()).await
    }
}

/// `: 12 rows put back, 3 set back, 0 deleted`
fn changed(told: &[Told]) -> String {
    if told.is_empty() {
        return String::new();
    }
    let sum = |of: fn(&Told) -> u64| told.iter().map(of).sum::<u64>();
    let (inserted, changed, deleted) = (sum(|told| told.inserted), sum(|told| told.changed), sum(|told| told.deleted));
    format!(": {} put in, {changed} changed, {deleted} deleted", counted(inserted, "row"))
}

/// What says how long a schema is kept, where people look for it.
fn kept_comment(merge: &Merge, run: &str) -> String {
    let until = merge.kept_until.map_or(String::new(), |until| format!("; keep until {}", until.to_rfc3339()));
    format!("rollback-prod: rows of {} until {run} replaced them{until}", merge.names())
}
