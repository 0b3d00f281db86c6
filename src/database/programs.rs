//! The questions and changes that are the database's: which script of `scripts/remote/`, which arguments, how long.

use std::time::Duration;

use crate::database::verdict::Format;
use crate::hosts::program::{Arguments, CARRY, Change, LIB, Question, Script, Tenure, program, script};
use crate::nouns::inventory::{Database, Inventory};
use crate::nouns::names::{IncidentId, RemotePath};
use crate::nouns::plan::TablesWish;
use crate::nouns::record::{Merge, Swap};

const PSQL: &str = include_str!("../../scripts/remote/psql.sh");
const STRUCTURE: &str = include_str!("../../scripts/remote/structure.sh");

const DUMP: &str = include_str!("../../scripts/remote/dump.sh");

const DATABASE: Script = script!("database", LIB, PSQL);
const AWAKE: Script = script!("awake", LIB, PSQL);
const BACKUPS: Script = script!("backups", LIB, PSQL);
const SCAN: Script = script!("scan", LIB, PSQL, CARRY, DUMP);
const LOAD: Script = script!("load", LIB, PSQL, CARRY, DUMP);
const PROGRESS: Script = script!("progress", LIB, PSQL);
const COMPARE: Script = script!("compare", LIB, PSQL, STRUCTURE);
const SWAP: Script = script!("swap", LIB, PSQL);
const DROP: Script = script!("drop", LIB, PSQL);
const TABLES: Script = script!("tables", LIB, PSQL);
const STAGE: Script = script!("stage", LIB, PSQL);
const MERGE: Script = script!("merge", LIB, PSQL);
const KEEP: Script = script!("keep", LIB, PSQL);

pub const SCRIPTS: &[Script] =
    &[DATABASE, AWAKE, BACKUPS, SCAN, LOAD, PROGRESS, COMPARE, SWAP, DROP, TABLES, STAGE, MERGE, KEEP];

/// A container's server may have a cluster to make, or a crash to recover from.
const AWAKE_SECONDS: u64 = 60;
/// A dump of 100 GB is read in ten minutes; more than that is not waited for.
const SCAN_LIMIT: Duration = Duration::from_secs(1800);
/// Counting both sides: a minute for each table is the script's own bound.
const COMPARE_LIMIT: Duration = Duration::from_secs(900);
/// PostgreSQL itself waits 5 s for the sessions of a database that is renamed.
const SWAP_SECONDS: u64 = 5;
/// Rows of some tables are read from the copy and written beside the live ones.
const STAGE_LIMIT: Duration = Duration::from_secs(1800);
/// A dump of the whole database, before its migrations go down.
const KEEP_LIMIT: Duration = Duration::from_secs(1800);
/// What a lock on a table is waited for, and how long nobody else may write to those tables.
pub const LOCK_SECONDS: u64 = 5;
pub const MERGE_SECONDS: u64 = 120;
/// Rows that are compared key by key, in all tables together: about 10 s and 80 MB of temporary files.
const KEYS_COMPARED: u64 = 2_000_000;

/// PostgreSQL cuts a longer name silently.
const NAME_BYTES: usize = 63;

/// A name cut so that this fits behind it.
pub fn cut<'n>(name: &'n str, behind: &str) -> &'n str {
    let mut end = name.len().min(NAME_BYTES - behind.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// What is true of the server and the database.
pub fn facts(inventory: &Inventory, database: &Database, stem: &str) -> Question {
    let mut arguments = arguments(inventory, database, None);
    arguments.set("database", &database.name);
    arguments.set("stem", stem);
    Question(program(DATABASE, arguments, Duration::from_secs(30)))
}

/// Starts the container and waits for its server.
pub fn awake(inventory: &Inventory, database: &Database) -> Change {
    let mut arguments = arguments(inventory, database, None);
    arguments.set("limit", AWAKE_SECONDS);
    Change(program(AWAKE, arguments, Duration::from_secs(AWAKE_SECONDS + 30)))
}

/// The dumps that a pattern names.
pub fn backups(inventory: &Inventory, database: &Database, pattern: &RemotePath) -> Question {
    let mut arguments = arguments(inventory, database, None);
    arguments.set("pattern", pattern);
    Question(program(BACKUPS, arguments, Duration::from_secs(30)))
}

/// Reads dumps to their end.
pub fn scan(inventory: &Inventory, database: &Database, files: &[&str], carried: &'static [u8]) -> Question {
    let mut arguments = arguments(inventory, database, None);
    arguments.set("bytes", carried.len());
    for file in files {
        arguments.set("file", file);
    }
    let mut program = program(SCAN, arguments, SCAN_LIMIT);
    program.cargo = carried;
    Question(program)
}

/// What a load needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    pub run: &'a IncidentId,
    /// The database to be made.
    pub copy: &'a str,
    /// Whether the live one exists, and is the model for it.
    pub has_live: bool,
    pub comment: &'a str,
    pub file: &'a str,
    pub bytes: u64,
    pub format: Format,
    pub is_odd: bool,
    /// COPY blocks that all connections load together.
    pub split: &'a [usize],
    /// Of a run that has a lock.
    pub tenure: Option<&'a Tenure>,
}

/// Begins a load; it goes on by itself.
pub fn load(inventory: &Inventory, database: &Database, way: &str, load: &Load<'_>, carried: &'static [u8]) -> Change {
    let mut arguments = arguments(inventory, database, Some(way));
    arguments.set("run", load.run);
    under(&mut arguments, load.tenure);
    arguments.set("copy", load.copy);
    arguments.set("model", if load.has_live { &database.name } else { "" });
    arguments.set("owner", database.user.as_deref().unwrap_or(""));
    arguments.set("comment", load.comment);
    arguments.set("file", load.file);
    arguments.set("kind", load.format);
    arguments.set("jobs", database.jobs);
    arguments.set("size", load.bytes);
    arguments.set("bytes", carried.len());
    for place in load.split {
        arguments.set("split", place);
    }
    arguments.set("in_order", if load.is_odd { "yes" } else { "no" });
    let mut program = program(LOAD, arguments, Duration::from_secs(120));
    program.cargo = carried;
    Change(program)
}

/// How far a load is.
pub fn progress(inventory: &Inventory, database: &Database, run: &IncidentId) -> Question {
    let mut arguments = arguments(inventory, database, None);
    arguments.set("run", run);
    Question(program(PROGRESS, arguments, Duration::from_secs(15)))
}

/// Checks on the copy, and what it lacks of the live database, which it is held against: of its structure and, with `rows`,
/// of its rows. Without one, the copy alone.
pub fn compare(
    inventory: &Inventory,
    database: &Database,
    way: &str,
    copy: &str,
    live: Option<&str>,
    rows: bool,
) -> Question {
    let mut arguments = arguments(inventory, database, Some(way));
    arguments.set("copy", copy);
    arguments.set("live", live.filter(|_| rows).unwrap_or(""));
    arguments.set("against", live.unwrap_or(""));
    arguments.set("keys", KEYS_COMPARED);
    for check in &database.checks {
        arguments.set("check", check);
    }
    Question(program(COMPARE, arguments, COMPARE_LIMIT))
}

/// The config's checks on a database, and nothing else.
pub fn checks(inventory: &Inventory, database: &Database, way: &str, name: &str) -> Question {
    let mut arguments = arguments(inventory, database, Some(way));
    arguments.set("copy", name);
    arguments.set("count", "no");
    for check in &database.checks {
        arguments.set("check", check);
    }
    Question(program(COMPARE, arguments, COMPARE_LIMIT))
}

/// What tools for migrations have applied to the live database, and nothing else.
pub fn migrations(inventory: &Inventory, database: &Database, way: &str) -> Question {
    let mut arguments = arguments(inventory, database, Some(way));
    arguments.set("against", &database.name);
    arguments.set("count", "no");
    Question(program(COMPARE, arguments, Duration::from_secs(30)))
}

/// Keeps a dump of the live database, or removes it again.
pub fn keep(
    inventory: &Inventory,
    database: &Database,
    way: &str,
    run: &IncidentId,
    tenure: Option<&Tenure>,
    forgets: bool,
) -> Change {
    let mut arguments = arguments(inventory, database, Some(way));
    under(&mut arguments, tenure);
    arguments.set("run", run);
    arguments.set("database", &database.name);
    if forgets {
        arguments.set("forget", "yes");
    }
    Change(program(KEEP, arguments, KEEP_LIMIT))
}

/// Puts one database in the place of another.
pub fn swap(
    inventory: &Inventory,
    database: &Database,
    way: &str,
    run: &IncidentId,
    tenure: Option<&Tenure>,
    swap: &Swap,
    comment: &str,
) -> Change {
    let mut arguments = arguments(inventory, database, Some(way));
    under(&mut arguments, tenure);
    arguments.set("run", run);
    arguments.set("live", &swap.live);
    if swap.live_oid > 0 {
        arguments.set("live_oid", swap.live_oid);
    }
    arguments.set("copy", &swap.copy);
    arguments.set("copy_oid", swap.copy_oid);
    arguments.set("kept", &swap.kept);
    arguments.set("comment", comment);
    arguments.set("seconds", SWAP_SECONDS);
    Change(program(SWAP, arguments, Duration::from_secs(4 * SWAP_SECONDS + 20)))
}

/// Ends a load, and drops one database of ours.
pub fn drop(
    inventory: &Inventory,
    database: &Database,
    run: Option<&IncidentId>,
    tenure: Option<&Tenure>,
    stem: &str,
    name: &str,
    oid: Option<u32>,
) -> Change {
    let mut arguments = arguments(inventory, database, None);
    under(&mut arguments, tenure);
    if let Some(run) = run {
        arguments.set("run", run);
    }
    arguments.set("database", name);
    arguments.set("stem", stem);
    if let Some(oid) = oid {
        arguments.set("oid", oid);
    }
    Change(program(DROP, arguments, Duration::from_secs(60)))
}

/// Drops a schema of the live database that rows were put into.
pub fn drop_schema(inventory: &Inventory, database: &Database, tenure: Option<&Tenure>, schema: &str) -> Change {
    let mut arguments = arguments(inventory, database, None);
    under(&mut arguments, tenure);
    arguments.set("database", &database.name);
    arguments.set("schema", schema);
    Change(program(DROP, arguments, Duration::from_secs(60)))
}

/// Some tables, as they are on both sides.
pub fn tables(inventory: &Inventory, database: &Database, way: &str, copy: &str, names: &[String]) -> Question {
    let mut arguments = arguments(inventory, database, Some(way));
    arguments.set("live", &database.name);
    arguments.set("copy", copy);
    for name in names {
        arguments.set("table", name);
    }
    Question(program(TABLES, arguments, Duration::from_secs(120)))
}

/// Who wrote to rows that were put back, since.
pub fn since(inventory: &Inventory, database: &Database, way: &str, merge: &Merge) -> Question {
    let mut arguments = arguments(inventory, database, Some(way));
    arguments.set("live", &database.name);
    arguments.set("kept", &merge.kept);
    arguments.set("plan", plan_of(merge));
    Question(program(TABLES, arguments, Duration::from_secs(120)))
}

/// Puts the rows of a copy beside the live ones.
pub fn stage(
    inventory: &Inventory,
    database: &Database,
    way: &str,
    tenure: Option<&Tenure>,
    (copy, stage, comment): (&str, &str, &str),
    merge: &Merge,
    wish: &TablesWish,
) -> Change {
    let mut arguments = arguments(inventory, database, Some(way));
    under(&mut arguments, tenure);
    arguments.set("live", &database.name);
    arguments.set("copy", copy);
    arguments.set("stage", stage);
    arguments.set("comment", comment);
    arguments.set("plan", plan_of(merge));
    arguments.set("delete_missing", if wish.delete_missing { "yes" } else { "no" });
    Change(program(STAGE, arguments, STAGE_LIMIT))
}

/// Rows that are put into live tables, and where they stand.
#[derive(Debug, Clone, Copy)]
pub struct RowsToMerge<'a> {
    pub run: &'a IncidentId,
    /// Of a run that has a lock.
    pub tenure: Option<&'a Tenure>,
    pub merge: &'a Merge,
    /// The schema that holds them.
    pub from: &'a str,
    /// What says of the schema that keeps the others what it is.
    pub comment: &'a str,
    /// `None` where they are what an earlier merge kept.
    pub wish: Option<&'a TablesWish>,
}

/// Puts rows into live tables, in one transaction.
pub fn merge(inventory: &Inventory, database: &Database, way: &str, rows: &RowsToMerge<'_>) -> Change {
    let mut arguments = arguments(inventory, database, Some(way));
    under(&mut arguments, rows.tenure);
    let yes_or_no = |is_so: bool| if is_so { "yes" } else { "no" };
    arguments.set("run", rows.run);
    arguments.set("live", &database.name);
    arguments.set("from", rows.from);
    arguments.set("kept", &rows.merge.kept);
    arguments.set("comment", rows.comment);
    arguments.set("plan", plan_of(rows.merge));
    arguments.set("seconds", LOCK_SECONDS);
    arguments.set("longest", MERGE_SECONDS);
    arguments.set("back", yes_or_no(rows.wish.is_none()));
    arguments.set("delete_missing", yes_or_no(rows.wish.is_some_and(|wish| wish.delete_missing)));
    arguments.set("fire_triggers", yes_or_no(rows.wish.is_some_and(|wish| wish.fire_triggers)));
    Change(program(MERGE, arguments, Duration::from_secs(MERGE_SECONDS + 30)))
}

/// As the scripts read it.
fn plan_of(merge: &Merge) -> String {
    serde_json::to_string(&merge.tables).expect("names of tables are plain data")
}

fn under(arguments: &mut Arguments, tenure: Option<&Tenure>) {
    if let Some(tenure) = tenure {
        arguments.tenure(tenure);
    }
}

fn arguments(inventory: &Inventory, database: &Database, way: Option<&str>) -> Arguments {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", inventory.word_on_hosts());
    arguments.set("admin", &database.admin);
    if let Some(container) = &database.container {
        arguments.set("container", container);
    }
    if let Some(way) = way {
        arguments.set("way", way);
    }
    arguments
}
