//! Which dump, and whether it may be restored. Pure: files as they were listed, what was read in them, the server
//! they shall go into. A verdict names every reason at once, each with what to type.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::nouns::refusal::RefusalName;
use crate::nouns::units::{bytes, grouped, span, with_contents};
use dumps::dump::{Holds, Scan};
use dumps::statement::plain_name;

/// A database needs more room than its dump's text: indexes, page headers, free space. Measured 1.4 and 2.2 on two
/// data sets (docs/performance.md); the live database's own size is the better guess where there is one.
const ROOM_FOR_TEXT: f64 = 1.5;
/// Nothing is begun that would leave less than this share of the room it needs: WAL, temporary files, the live
/// database's own growth meanwhile.
const ROOM_TO_SPARE: f64 = 1.1;

/// A dump as it lies there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DumpFile {
    pub path: String,
    /// Of all files in it where it is a folder.
    pub bytes: u64,
    pub modified: DateTime<Utc>,
    /// Whether its size changed while it was looked at.
    pub is_growing: bool,
}

/// What kind of dump it is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Plain,
    Custom,
    Directory,
    Tar,
    Unknown,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::Custom => "custom",
            Format::Directory => "directory",
            Format::Tar => "tar",
            Format::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A dump and what was read in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    pub file: DumpFile,
    pub format: Format,
    pub scan: Scan,
    pub problems: Vec<Hindrance>,
}

/// A reason not to restore it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hindrance {
    pub name: RefusalName,
    pub why: String,
    /// The command to type, or what to do.
    pub hint: Option<String>,
    pub can_be_forced: bool,
    /// Whether it keeps a dump from being taken that nobody named, forced or not.
    pub must_be_named: bool,
}

impl Hindrance {
    pub fn new(name: RefusalName, why: impl Into<String>, hint: Option<&str>) -> Hindrance {
        let (why, hint) = (why.into(), hint.map(str::to_owned));
        Hindrance { name, why, hint, can_be_forced: false, must_be_named: false }
    }

    fn forcible(name: RefusalName, why: impl Into<String>) -> Hindrance {
        Hindrance { can_be_forced: true, ..Hindrance::new(name, why, None) }
    }

    fn partial(why: impl Into<String>) -> Hindrance {
        Hindrance { must_be_named: true, ..Hindrance::forcible(RefusalName::DumpPart, why) }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        if self.can_be_forced {
            f.write_str(" (--force goes on past this)")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Where it shall go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RestoreTarget {
    /// As the server counts: 150018.
    pub server: Option<u32>,
    pub live_bytes: Option<u64>,
    /// Where the server keeps its data.
    pub free_bytes: Option<u64>,
    /// The tables of the live database, as `schema.table`; empty where there is none, or it has none.
    pub live_tables: Vec<String>,
    /// The roles that the server has; empty where nobody could be asked.
    pub roles: Vec<String>,
    pub deployed_at: Option<DateTime<Utc>>,
}

/// Files in the order in which they are tried, the newest first, and those that are not, each with the cause.
pub fn candidates(mut files: Vec<DumpFile>, deployed_at: Option<DateTime<Utc>>) -> (Vec<DumpFile>, Vec<String>) {
    files.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.path.cmp(&b.path)));
    let (newer, older): (Vec<DumpFile>, Vec<DumpFile>) =
        files.into_iter().partition(|file| deployed_at.is_some_and(|deployed| file.modified >= deployed));
    let passed_over = newer.iter().map(|file| format!("{}: {}", file.path, newer_than_deploy(file, deployed_at)));
    (older, passed_over.collect())
}

fn newer_than_deploy(file: &DumpFile, deployed_at: Option<DateTime<Utc>>) -> String {
    let deployed = deployed_at.map_or(String::new(), |at| format!(" of {} UTC", at.format("%Y-%m-%d %H:%M:%S")));
    format!(
        "it is of {} UTC, after the deploy{deployed}: it holds what the bad release wrote",
        file.modified.format("%Y-%m-%d %H:%M:%S")
    )
}

/// Every reason against a dump.
pub fn judge(file: &DumpFile, format: Format, scan: &Scan, target: &RestoreTarget) -> Vec<Hindrance> {
    let mut problems = Vec::new();
    if file.is_growing {
        let hint = "wait until whoever writes it is done, or name another with --backup FILE";
        problems.push(Hindrance::new(RefusalName::DumpGrowing, "it is still being written", Some(hint)));
    }
    problems.extend(whole(format, scan));
    if problems.is_empty() {
        problems.extend(offences(scan));
        problems.extend(versions(scan, target));
        problems.extend(roles(scan, target));
        problems.extend(tables(scan, target).or_else(|| part(scan, target)));
        problems.extend(room(scan, target));
    }
    if target.deployed_at.is_some_and(|deployed| file.modified >= deployed) {
        problems.push(Hindrance::forcible(RefusalName::DumpNewer, newer_than_deploy(file, target.deployed_at)));
    }
    problems
}

/// Whether all of it is there. What is not whole is not looked at any further.
fn whole(format: Format, scan: &Scan) -> Option<Hindrance> {
    let hint = Some("take another: --backup FILE");
    if let Some(error) = &scan.error {
        return Some(Hindrance::new(RefusalName::DumpBroken, format!("it cannot be read to its end: {error}"), hint));
    }
    if scan.is_cluster {
        let hint = "it holds every database of its server; make one of this database: pg_dump NAME | gzip >FILE";
        return Some(Hindrance::new(
            RefusalName::DumpCluster,
            "it is a dump of a whole server (pg_dumpall)",
            Some(hint),
        ));
    }
    if scan.bytes == 0 {
        return Some(Hindrance::new(RefusalName::DumpBroken, "it is empty", hint));
    }
    let has_nothing = scan.statements == 0 && scan.rows.is_empty();
    if format == Format::Unknown || has_nothing || (scan.by.is_none() && !scan.is_complete) {
        return Some(Hindrance::new(RefusalName::DumpBroken, "it is not a dump", hint));
    }
    if scan.is_complete {
        return None;
    }
    let inside = scan.inside.as_ref().map_or(String::new(), |inside| format!(", inside {inside}"));
    Some(Hindrance::new(
        RefusalName::DumpBroken,
        format!("it is cut off{inside}: pg_dump's last line is missing"),
        hint,
    ))
}

fn offences(scan: &Scan) -> Vec<Hindrance> {
    let hint = "it was made with -C and would leave the copy for another database; make one without: pg_dump NAME";
    scan.offences
        .iter()
        .take(1)
        .map(|(line, text)| {
            let more = match scan.offences.len() {
                1 => String::new(),
                several => format!(" and {} more", several - 1),
            };
            Hindrance::new(RefusalName::DumpCommands, format!("line {line} of it says `{text}`{more}"), Some(hint))
        })
        .collect()
}

fn versions(scan: &Scan, target: &RestoreTarget) -> Vec<Hindrance> {
    let Some(server) = target.server.map(|number| number / 10_000) else { return Vec::new() };
    let mut problems = Vec::new();
    for (what, version) in [("pg_dump", &scan.by), ("a server of version", &scan.from)] {
        let Some(major) = version.as_deref().and_then(major) else { continue };
        if major > server {
            problems.push(Hindrance::forcible(
                RefusalName::DumpVersion,
                format!("it was made by {what} {major}, the server is version {server}, which may not understand it"),
            ));
            break;
        }
    }
    if scan.sets_transaction_timeout && server < 17 {
        let hint = format!("make it with a pg_dump of version {server}");
        problems.push(Hindrance::new(
            RefusalName::DumpVersion,
            format!("it sets transaction_timeout, which the server (version {server}) does not know"),
            Some(&hint),
        ));
    }
    problems
}

/// A dump is of one database, and roles are the server's.
fn roles(scan: &Scan, target: &RestoreTarget) -> Option<Hindrance> {
    let missing: Vec<&String> = scan.roles.iter().filter(|role| !target.roles.contains(role)).collect();
    if missing.is_empty() || target.roles.is_empty() {
        return None;
    }
    let quoted = |role: &&String| format!("\"{}\"", role.replace('"', "\"\""));
    let lines: Vec<String> = missing.iter().map(|role| format!("CREATE ROLE {};", quoted(role))).collect();
    let names: Vec<&str> = missing.iter().map(|role| role.as_str()).collect();
    let hint = format!("as a superuser: {}", lines.join(" "));
    let why = format!("it gives things to roles that the server does not have: {}", names.join(", "));
    Some(Hindrance::new(RefusalName::DumpRoles, why, Some(&hint)))
}

/// `15` of `15.18 (Debian 15.18-0+deb12u1)`, `9` of `9.6.24`.
fn major(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A dump whose tables are all unknown to the live database is another database's.
fn tables(scan: &Scan, target: &RestoreTarget) -> Option<Hindrance> {
    if target.live_tables.is_empty() || scan.rows.is_empty() {
        return None;
    }
    let is_known = |name: &str| target.live_tables.contains(&plain_name(name));
    if scan.rows.iter().any(|(name, _)| is_known(name)) {
        return None;
    }
    let first: Vec<&str> = scan.rows.iter().take(3).map(|(name, _)| name.as_str()).collect();
    Some(Hindrance::forcible(
        RefusalName::DumpForeign,
        format!(
            "it is another database's: none of its tables ({}…) is in the live one ({}…)",
            first.join(", "),
            target.live_tables.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ")
        ),
    ))
}

/// A dump of a part of the database would leave the rest of it nowhere.
fn part(scan: &Scan, target: &RestoreTarget) -> Option<Hindrance> {
    let what = match scan.holds() {
        Holds::Schema => "the schema only, and no rows",
        Holds::Rows => "rows only, and no tables for them",
        Holds::After => "indexes, keys and triggers only",
        Holds::All => {
            // What green added since is not in it, and is never most of a database. Counted and not named: rows may go in
            // through the root of a partitioned table.
            let (held, live) = (scan.items.get("TABLE").copied()?, target.live_tables.len() as u64);
            return (2 * held < live).then(|| {
                Hindrance::partial(format!("it is a dump of a part: it has {held} tables, and {live} are live"))
            });
        }
    };
    Some(Hindrance::partial(format!("it is a dump of a part: {what}")))
}

fn room(scan: &Scan, target: &RestoreTarget) -> Option<Hindrance> {
    let free = target.free_bytes?;
    let guess = target.live_bytes.unwrap_or(0).max((scan.bytes as f64 * ROOM_FOR_TEXT) as u64);
    let needed = (guess as f64 * ROOM_TO_SPARE) as u64;
    (free < needed).then(|| {
        Hindrance::forcible(
            RefusalName::DumpRoom,
            format!("the server's disk has {} free, a second copy needs about {}", bytes(free), bytes(needed)),
        )
    })
}

/// The list, newest first, as columns.
pub fn table(dumps: &[Checked], now: DateTime<Utc>, chosen: Option<&str>) -> String {
    let mut rows = vec![["", "dump", "size", "age", "format", "verdict"].map(str::to_owned)];
    for dump in dumps {
        let age = (now - dump.file.modified).to_std().unwrap_or(Duration::ZERO);
        let verdict = match dump.problems.as_slice() {
            [] => good_words(&dump.scan),
            problems => problems.iter().map(|problem| problem.why.clone()).collect::<Vec<_>>().join("; "),
        };
        let mark = if chosen == Some(dump.file.path.as_str()) { "*" } else { "" };
        rows.push([
            mark.to_owned(),
            dump.file.path.clone(),
            bytes(dump.file.bytes),
            span(age),
            dump.format.to_string(),
            verdict,
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let pad = widths.get(column).map_or(0, |width| width - cell.chars().count());
            match column {
                2 | 3 => text.push_str(&format!("{}{cell}  ", " ".repeat(pad))),
                5 => text.push_str(cell),
                _ => text.push_str(&format!("{cell}{}  ", " ".repeat(pad))),
            }
        }
        text.push('\n');
    }
    text
}

/// What is known of a good one: `whole, 12 tables, 3600000 rows, pg_dump 15.18`.
pub fn good_words(scan: &Scan) -> String {
    let rows: u64 = scan.rows.iter().map(|(_, rows)| rows).sum();
    let by =
        scan.by.as_deref().and_then(|by| by.split(' ').next()).map_or(String::new(), |by| format!(", pg_dump {by}"));
    let inserts = if scan.inserts > 0 { format!(", {} INSERTs", grouped(scan.inserts)) } else { String::new() };
    let lacks = if scan.items.is_empty() || scan.has_after() { "" } else { ", no index, key or trigger in it" };
    format!("{}{inserts}{lacks}{by}", with_contents("whole", scan.rows.len() as u64, rows))
}
