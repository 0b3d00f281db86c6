//! The database's part of a report: the dump, what the restore took away, what is kept.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::database::structure;
use crate::nouns::record::{DatabaseState, Dump, Entry, Loss, Merge, TableLoss, What};
use crate::nouns::units::{bytes, grouped, to_the_second, with_contents};
use crate::tell::story;

/// Tables that differ are shown up to this many; the journal has all of them.
const TABLES_SHOWN: usize = 40;

#[derive(Debug, Clone, Serialize)]
pub(super) struct Database {
    name: String,
    state: String,
    is_bad: bool,
    dump: Option<DumpRow>,
    loss: Vec<LossRow>,
    /// What the table does not show, in words.
    loss_notes: Vec<String>,
    /// `listings_before_20261120_211503 until 2026-11-27 21:15 UTC`
    kept: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct DumpRow {
    path: String,
    /// `380.1 MB, made 2026-11-20 20:00 UTC, 12 tables, 3600000 rows`
    about: String,
    problems: Vec<String>,
    passed_over: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct LossRow {
    table: String,
    live: String,
    dump: String,
    only_live: String,
    only_dump: String,
    newest_live: String,
    newest_dump: String,
}

/// `None` where no restore was asked for and nothing was done to a database.
pub(super) fn database(entries: &[Entry], restores: Option<&str>) -> Option<Database> {
    let last = story::database(entries);
    let last = last.as_ref();
    let name = last.map(|database| database.name.as_str()).or(restores)?.to_owned();
    let state = last.map_or(DatabaseState::AsItWas, |database| database.state);
    let swap = last.and_then(|database| database.swap.as_ref());
    let find_last = |pick: fn(&What) -> bool| entries.iter().rev().map(|entry| &entry.what).find(|what| pick(what));
    let dump = match find_last(|what| matches!(what, What::Dump(_))) {
        Some(What::Dump(dump)) => Some(dump_row(dump)),
        Some(_) | None => None,
    };
    let (loss, loss_notes) = match find_last(|what| matches!(what, What::Loss(_))) {
        Some(What::Loss(loss)) => loss_rows(loss),
        Some(_) | None => (Vec::new(), Vec::new()),
    };
    let is_swapped = matches!(state, DatabaseState::Restored | DatabaseState::TakenBack);
    Some(Database {
        name,
        state: match last.and_then(|database| database.merge.as_ref()) {
            Some(merge) => words_of_rows(state, merge),
            None => words(state).to_owned(),
        },
        is_bad: state == DatabaseState::Unknown || (state == DatabaseState::AsItWas && restores.is_some()),
        dump,
        loss,
        loss_notes,
        kept: swap.filter(|_| is_swapped).and_then(|swap| Some(format!("{}{}", swap.kept()?, until(swap.kept_until)))),
    })
}

fn until(time: Option<DateTime<Utc>>) -> String {
    time.map_or(String::new(), |until| until.format(" until %Y-%m-%d %H:%M UTC").to_string())
}

fn words_of_rows(state: DatabaseState, merge: &Merge) -> String {
    let (rows, kept) = (format!("rows of {}", merge.names()), format!("{}{}", merge.kept, until(merge.kept_until)));
    match state {
        DatabaseState::AsItWas => "as it was".to_owned(),
        DatabaseState::Restored => format!("{rows} restored from the dump; what was there is in its schema {kept}"),
        DatabaseState::TakenBack => {
            format!("{rows} taken back to what they were; what was there is in its schema {kept}")
        }
        DatabaseState::Unknown => format!("{rows} NOT KNOWN: a merge has begun and its end is not in the journal"),
    }
}

fn words(state: DatabaseState) -> &'static str {
    match state {
        DatabaseState::AsItWas => "as it was",
        DatabaseState::Restored => "restored from the dump",
        DatabaseState::TakenBack => "taken back to what it was before the restore",
        DatabaseState::Unknown => "NOT KNOWN: a swap has begun and its end is not in the journal",
    }
}

fn dump_row(dump: &Dump) -> DumpRow {
    let made = dump.modified.format("%Y-%m-%d %H:%M");
    DumpRow {
        path: dump.path.clone(),
        about: with_contents(&format!("{}, made {made} UTC", bytes(dump.bytes)), dump.tables, dump.rows),
        problems: dump.problems.clone(),
        passed_over: dump.passed_over.clone(),
    }
}

fn loss_rows(loss: &Loss) -> (Vec<LossRow>, Vec<String>) {
    let rows = loss.tables.iter().take(TABLES_SHOWN).map(loss_row).collect();
    let mut notes = Vec::new();
    if loss.tables.len() > TABLES_SHOWN {
        notes.push(format!("{} more tables differ; the journal has them", loss.tables.len() - TABLES_SHOWN));
    }
    if loss.alike > 0 {
        notes.push(format!("{} tables are alike on both sides", loss.alike));
    }
    notes.extend(loss.not_counted.iter().cloned());
    notes.extend(loss.migrations.clone());
    notes.extend(structure::lines(&loss.structure));
    (rows, notes)
}

fn loss_row(table: &TableLoss) -> LossRow {
    let count = |count: Option<u64>| count.map_or("–".to_owned(), grouped);
    let newest = |newest: &Option<String>| newest.as_deref().map_or("–".to_owned(), to_the_second);
    LossRow {
        table: table.table.clone(),
        live: count(table.live_rows),
        dump: count(table.copy_rows),
        only_live: count(table.only_live),
        only_dump: count(table.only_copy),
        newest_live: newest(&table.newest_live),
        newest_dump: newest(&table.newest_copy),
    }
}
