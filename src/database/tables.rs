//! Some tables alone: which they are in the live database and in the copy, whether rows of one may go into the other, and
//! what that would change. Pure: the answers of the scripts are arguments. A refusal names every reason at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::database::programs::cut;
use crate::database::server::lines;
use crate::database::verdict::Hindrance;
use crate::hosts::answer::{Answer, last_line};
use crate::nouns::plan::TablesWish;
use crate::nouns::record::{Loss, MergedTable, TableLoss};
use crate::nouns::refusal::RefusalName;
use crate::nouns::units::counted;
use dumps::dump::Scan;
use dumps::statement::plain_name;

/// Names that a refusal shows where one is not known.
const SHOWN: usize = 8;

/// What is there under the names that were asked for.
#[derive(Debug, Clone, Default)]
pub struct Shapes {
    live: Vec<Shape>,
    copy: Vec<Shape>,
    references: Vec<Reference>,
    /// Why they could not be looked at.
    unknown: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Shape {
    /// As it was asked for.
    named: String,
    schema: String,
    table: String,
    /// As `pg_class` has it: `r` a table, `p` a partitioned one, `v` a view.
    kind: String,
    /// The table that it is a part of.
    partition_of: Option<String>,
    children: u64,
    /// Those that would fire.
    triggers: Vec<String>,
    columns: Vec<Column>,
    key: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    is_generated: bool,
    is_always: bool,
}

/// A foreign key, by the tables.
#[derive(Debug, Clone, Deserialize)]
struct Reference {
    from: String,
    to: String,
}

/// The tables that rows are put into, in the order in which they are written, and what else an operator must know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picked {
    pub tables: Vec<MergedTable>,
    pub notes: Vec<String>,
}

/// What a merge would change in one table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Preview {
    pub table: String,
    pub live: u64,
    pub copy: u64,
    pub only_live: u64,
    pub only_copy: u64,
    pub changed: u64,
}

/// Rows that would refer to what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dangling {
    key: String,
    from: String,
    to: String,
    rows: u64,
}

/// What a merge changed in one table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Told {
    pub table: String,
    pub changed: u64,
    pub inserted: u64,
    pub deleted: u64,
}

/// Rows that were put back, and those of them that somebody wrote to since.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Since {
    pub table: String,
    pub put_back: u64,
    pub since: u64,
}

impl Shape {
    fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// What it is, where it is nothing that holds rows of its own.
    fn is_no_table(&self) -> Option<&'static str> {
        match self.kind.as_str() {
            "r" | "p" => None,
            "v" => Some("a view"),
            "m" => Some("a materialized view"),
            "S" => Some("a sequence"),
            "f" => Some("a foreign table"),
            _ => Some("no table"),
        }
    }

    fn written(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.is_generated)
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Reads what `tables.sh` says of both sides.
pub fn shapes(answer: &Answer) -> Shapes {
    let text = |name: &str| answer.text(name).unwrap_or_default();
    Shapes {
        unknown: ["shapes.live", "shapes.copy", "references"].iter().find_map(|name| unended(&text(name))),
        live: lines(&text("shapes.live")),
        copy: lines(&text("shapes.copy")),
        references: lines(&text("references")),
    }
}

/// Why a section has no end.
fn unended(text: &str) -> Option<String> {
    (!text.lines().any(|line| line == "end")).then(|| last_line(text))
}

/// Reads what `tables.sh` says of rows that were put back; `None` where it could not be looked at.
pub fn since(answer: &Answer) -> Option<Vec<Since>> {
    let text = answer.text("since").unwrap_or_default();
    unended(&text).is_none().then(|| lines(&text))
}

/// Reads what `merge.sh` changed.
pub fn told(answer: &Answer) -> Vec<Told> {
    serde_json::from_str(answer.text("told").unwrap_or_default().trim()).unwrap_or_default()
}

/// Reads what `stage.sh` found.
pub fn previews(answer: &Answer) -> (Vec<Preview>, Vec<Dangling>) {
    let text = |name: &str| answer.text(name).unwrap_or_default();
    (lines(&text("preview")), lines(&text("dangling")))
}

/// What is known before a dump is loaded: names that the live database or the dump has not.
pub fn not_there(wish: &TablesWish, live: &[String], scan: &Scan) -> Vec<Hindrance> {
    let dumped: Vec<String> = scan.rows.iter().map(|(name, _)| plain_name(name)).collect();
    let is_it = |name: &str, table: &String| table == name || table.split_once('.').is_some_and(|(_, own)| own == name);
    let mut problems = Vec::new();
    for name in &wish.names {
        if !live.iter().any(|table| is_it(name, table)) {
            let (some, more) = (live.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "), live.len() > SHOWN);
            let hint = format!("it has {some}{}", if more { ", …" } else { "" });
            problems.push(unknown(name, Some(&hint)));
        } else if scan.inserts == 0 && !dumped.iter().any(|table| is_it(name, table)) && !is_parted(name, live, &dumped)
        {
            problems.push(Hindrance::new(
                RefusalName::TableUnknown,
                format!("the dump has no rows of a table {name}"),
                Some("take another dump: --backup FILE"),
            ));
        }
    }
    problems
}

/// Whether a table that is live and has no rows of its own in a dump may have them in its partitions, which are called
/// otherwise: then the copy tells.
fn is_parted(name: &str, live: &[String], dumped: &[String]) -> bool {
    live.iter().any(|table| (table == name || table.ends_with(&format!(".{name}"))) && !dumped.contains(table))
        && live.len() > dumped.len()
}

/// The tables, in the order in which they are written.
///
/// # Errors
/// Every reason why rows of the copy cannot go into them.
pub fn pick(wish: &TablesWish, shapes: &Shapes) -> Result<Picked, Vec<Hindrance>> {
    if let Some(why) = &shapes.unknown {
        let why = format!("the tables could not be looked at: {why}");
        return Err(vec![Hindrance::new(RefusalName::DatabaseUnreached, why, None)]);
    }
    let mut problems = Vec::new();
    let mut picked = Picked::default();
    for name in &wish.names {
        match pick_one(wish, shapes, name, &mut picked.notes) {
            Ok(table) if picked.tables.iter().any(|other| other.name() == table.name()) => {}
            Ok(table) => picked.tables.push(table),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    in_order(&mut picked.tables, &shapes.references);
    name_what_is_kept(&mut picked.tables);
    Ok(picked)
}

/// A table that nobody knows.
fn unknown(name: &str, hint: Option<&str>) -> Hindrance {
    Hindrance::new(RefusalName::TableUnknown, format!("there is no table {name} in the live database"), hint)
}

fn pick_one(wish: &TablesWish, shapes: &Shapes, name: &str, notes: &mut Vec<String>) -> Result<MergedTable, Hindrance> {
    let of = |side: &'_ [Shape]| -> Vec<Shape> { side.iter().filter(|shape| shape.named == name).cloned().collect() };
    let live = match of(&shapes.live).as_slice() {
        [] => return Err(unknown(name, None)),
        [one] => one.clone(),
        several => {
            let names: Vec<String> = several.iter().map(Shape::name).collect();
            let hint = format!("name it with its schema: --restore-tables {}", names[0]);
            let why = format!("{name} may be any of {}", names.join(", "));
            return Err(Hindrance::new(RefusalName::TableUnknown, why, Some(&hint)));
        }
    };
    let full = live.name();
    if let Some(what) = live.is_no_table() {
        let why = format!("{full} is {what}: it has no rows to be put back");
        return Err(Hindrance::new(RefusalName::TableKind, why, None));
    }
    if let Some(whole) = &live.partition_of {
        let hint = format!("name the whole table: --restore-tables {whole}");
        return Err(Hindrance::new(RefusalName::TableKind, format!("{full} is a partition of {whole}"), Some(&hint)));
    }
    let Some(copy) = of(&shapes.copy).into_iter().find(|copy| copy.name() == full && copy.is_no_table().is_none())
    else {
        let (why, hint) = (format!("the dump has no table {full}"), "take another dump: --backup FILE");
        return Err(Hindrance::new(RefusalName::TableUnknown, why, Some(hint)));
    };
    let names = live.columns.iter().map(|column| &column.name).chain([&live.schema, &live.table]);
    if names.into_iter().any(|name| name.contains(char::is_control)) {
        let why = format!("{full} has a name in it that is no line of text");
        return Err(Hindrance::new(RefusalName::TableKind, why, None));
    }
    let differs = differences(&live, &copy);
    if !differs.is_empty() && !wish.common_columns {
        let hint = "--common-columns takes the columns that both have";
        return Err(Hindrance::new(
            RefusalName::TableShape,
            format!("{full} has another shape than in the dump: {}", differs.join("; ")),
            Some(hint),
        ));
    }
    let is_common = |column: &&Column| copy.written().any(|other| other.name == column.name);
    let picked: Vec<String> = live.written().filter(is_common).map(|column| column.name.clone()).collect();
    if let Some(lacks) = live.key.iter().find(|column| !picked.contains(column)) {
        let why = format!("{full}: the dump has not its key's column {lacks}");
        return Err(Hindrance::new(RefusalName::TableShape, why, None));
    }
    if live.key.is_empty() && !wish.delete_missing {
        return Err(Hindrance::new(
            RefusalName::TableKey,
            format!("{full} has no primary key, nor a unique one without nulls: its rows cannot be told apart"),
            Some("--delete-missing replaces all of them"),
        ));
    }
    notes.extend(notes_about(wish, &live, &differs));
    Ok(MergedTable {
        kept: String::new(),
        columns: live.written().map(|column| column.name.clone()).collect(),
        always: live
            .written()
            .filter(|column| column.is_always && !live.key.contains(&column.name))
            .map(|column| column.name.clone())
            .collect(),
        is_parted: live.kind == "p",
        picked,
        key: live.key,
        schema: live.schema,
        table: live.table,
    })
}

/// Column by column, in words.
fn differences(live: &Shape, copy: &Shape) -> Vec<String> {
    let mut differs: Vec<String> = Vec::new();
    for column in &live.columns {
        match copy.column(&column.name) {
            None => differs.push(format!("{} is only live", column.name)),
            Some(other) if other.kind != column.kind => {
                differs.push(format!("{} is {} live and {} in the dump", column.name, column.kind, other.kind));
            }
            Some(_) => {}
        }
    }
    let only_copy = copy.columns.iter().filter(|column| live.column(&column.name).is_none());
    differs.extend(only_copy.map(|column| format!("{} is only in the dump", column.name)));
    differs
}

fn notes_about(wish: &TablesWish, live: &Shape, differs: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    let full = live.name();
    if !differs.is_empty() {
        notes.push(format!("{full}: {}; the rest goes back", differs.join("; ")));
    }
    if !live.triggers.is_empty() {
        let fire = if wish.fire_triggers { "fire" } else { "do not fire" };
        notes.push(format!("{full}: its triggers {fire}: {}", live.triggers.join(", ")));
    }
    if live.kind == "r" && live.children > 0 {
        let children = counted(live.children, "table");
        notes.push(format!("{full}: {children} that inherit from it keep their rows"));
    }
    let is_always = |column: &&Column| column.is_always && !live.key.contains(&column.name);
    if let Some(column) = live.written().find(is_always) {
        notes.push(format!("{full}: readers wait, too: its column {} is numbered by the database alone", column.name));
    }
    if live.key.is_empty() {
        notes.push(format!("{full} has no key: all of its rows are replaced"));
    }
    notes
}

/// Tables whose rows the dump left out: a copy has them empty, and that is no reason to empty the live ones. pg_dump writes
/// a block of rows for each table, also where there are none.
pub fn without_rows(picked: &[MergedTable], scan: &Scan) -> Vec<String> {
    let dumped: BTreeSet<String> = scan.rows.iter().map(|(name, _)| plain_name(name)).collect();
    let lacks = |table: &&MergedTable| scan.inserts == 0 && !table.is_parted && !dumped.contains(&table.name());
    picked.iter().filter(lacks).map(MergedTable::name).collect()
}

/// Those that others refer to first; where they refer to each other in a circle, as they were named.
fn in_order(tables: &mut Vec<MergedTable>, references: &[Reference]) {
    let mut left: Vec<MergedTable> = std::mem::take(tables);
    while !left.is_empty() {
        let names: BTreeSet<String> = left.iter().map(MergedTable::name).collect();
        let waits = |table: &MergedTable| {
            let name = table.name();
            references.iter().any(|key| key.from == name && key.to != name && names.contains(&key.to))
        };
        let next = left.iter().position(|table| !waits(table)).unwrap_or(0);
        tables.push(left.remove(next));
    }
}

/// Each its own name in one schema: with the schema it is from, cut where that is too long.
fn name_what_is_kept(tables: &mut [MergedTable]) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for table in tables {
        let name = cut(&table.name(), "~99").to_owned();
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        table.kept = if *count == 1 { name } else { format!("{name}~{count}") };
    }
}

impl Dangling {
    /// `3 rows of orders would refer to what is not in listings (orders_listing_fkey)`
    pub fn describe(&self) -> String {
        let rows = counted(self.rows, "row");
        format!("{rows} of {} would refer to what is not in {} ({})", self.from, self.to, self.key)
    }
}

/// The same as a report shows it.
pub fn loss(database: &str, previews: &[Preview], wish: &TablesWish) -> Loss {
    let row = |preview: &Preview| TableLoss {
        table: preview.table.clone(),
        live_rows: Some(preview.live),
        copy_rows: Some(preview.copy),
        only_live: Some(preview.only_live),
        only_copy: Some(preview.only_copy),
        newest_live: None,
        newest_copy: None,
    };
    let mut notes: Vec<String> = previews
        .iter()
        .filter(|preview| preview.changed > 0)
        .map(|preview| format!("{}: {} set back to what the dump has", preview.table, counted(preview.changed, "row")))
        .collect();
    let only_live: u64 = previews.iter().map(|preview| preview.only_live).sum();
    if only_live > 0 {
        let rows = counted(only_live, "row");
        notes.push(match wish.delete_missing {
            true => format!("{rows} that only the live tables have are deleted (--delete-missing)"),
            false => format!("{rows} that only the live tables have are kept"),
        });
    }
    let differs = |preview: &&Preview| preview.only_live + preview.only_copy + preview.changed > 0;
    Loss {
        database: database.to_owned(),
        tables: previews.iter().filter(differs).map(row).collect(),
        alike: previews.iter().filter(|preview| !differs(preview)).count() as u64,
        not_counted: notes,
        ..Loss::default()
    }
}
