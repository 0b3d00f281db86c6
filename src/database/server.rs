//! What is true of the database's server, read from the answers of its scripts. Pure: the answers are arguments. Says
//! nothing of whether a dump may be restored; `backup` does.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::database::structure;
use crate::database::verdict::{DumpFile, Format};
use crate::hosts::answer::Answer;
use crate::nouns::record::{Loss, TableLoss, plural};
use dumps::dump::Scan;
use dumps::migrations::{self, Migration};
use dumps::statement::plain_name;

/// The server, and the database on it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DatabaseFacts {
    /// How psql reaches it: `direct`, `sudo`, `tcp`, `container`; empty where it does not.
    pub way: String,
    /// What each way said, where none led there.
    pub refused: String,
    /// Then also: who we are over there, and where PostgreSQL's programs are.
    pub account: String,
    pub programs: Vec<String>,
    /// `None` where no container is configured or docker knows none of that name.
    pub container_runs: Option<bool>,
    pub system: String,
    pub server: ServerFacts,
    /// `None` where there is no database of that name.
    pub live: Option<LiveFacts>,
    /// What would not survive a swap, or stop it: prepared transactions, replication slots, subscriptions.
    pub hindrances: Vec<String>,
    pub sessions: Vec<Sessions>,
    /// Copies and kept databases of ours.
    pub relatives: Vec<Relative>,
    pub free_bytes: Option<u64>,
    /// The names of all roles.
    #[serde(skip)]
    pub roles: Vec<String>,
    /// `schema.table` of the live database.
    pub tables: Vec<String>,
    /// Schemas of ours in it: what rows of some tables were before they were put back.
    pub schemas: Vec<Relative>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerFacts {
    /// 150018 is 15.18.
    pub version_num: u32,
    pub version: String,
    pub is_standby: bool,
    pub is_superuser: bool,
    pub can_create: bool,
    /// Whether the role may end other roles' sessions.
    pub can_signal: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveFacts {
    pub oid: u32,
    pub owner: String,
    /// In bytes.
    pub size: u64,
    pub allows_connections: bool,
}

/// Sessions that are alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sessions {
    pub user: Option<String>,
    pub application: Option<String>,
    pub client: String,
    pub count: u64,
}

impl Sessions {
    /// `8 × listings@10.0.0.7 (puma)`
    pub fn describe(&self) -> String {
        let user = self.user.as_deref().unwrap_or("?");
        let application = self.application.as_deref().filter(|name| !name.is_empty());
        let application = application.map_or(String::new(), |name| format!(" ({name})"));
        format!("{} × {user}@{}{application}", self.count, self.client)
    }
}

/// A database, or a schema of the live one, whose name says that it is one of ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Relative {
    pub name: String,
    pub oid: u32,
    pub size: u64,
    pub comment: Option<String>,
}

impl Relative {
    /// Until when it is to be kept, from the comment that the swap wrote.
    pub fn kept_until(&self) -> Option<DateTime<Utc>> {
        let until = self.comment.as_deref()?.rsplit_once("keep until ")?.1;
        DateTime::parse_from_rfc3339(until.trim()).ok().map(|time| time.to_utc())
    }
}

impl ServerFacts {
    /// `15.18`, without what the packager adds.
    pub fn short_version(&self) -> &str {
        self.version.split(' ').next().unwrap_or_default()
    }
}

impl DatabaseFacts {
    pub fn is_reached(&self) -> bool {
        !self.way.is_empty()
    }

    pub fn relative(&self, name: &str) -> Option<&Relative> {
        self.relatives.iter().find(|relative| relative.name == name)
    }
}

/// Reads `database.sh`'s answer.
pub fn facts(answer: &Answer) -> DatabaseFacts {
    let text = |name: &str| answer.text(name).unwrap_or_default();
    let access = text("access");
    let (way, refused) = match access.trim().split_once('\n') {
        Some(("none", refused)) => ("", refused),
        _ => (access.trim(), ""),
    };
    let way = if way == "none" { "" } else { way };
    let programs = text("programs");
    let mut programs = programs.lines().map(str::to_owned);
    let refused = if refused.is_empty() && way.is_empty() { text("facts") } else { refused.to_owned() };
    DatabaseFacts {
        way: way.to_owned(),
        refused: refused.trim().to_owned(),
        account: programs.next().unwrap_or_default(),
        programs: programs.collect(),
        container_runs: answer
            .status_of("container")
            .filter(|status| *status == 0)
            .map(|_| text("container").trim() == "true"),
        system: text("system").trim().to_owned(),
        server: lines(&text("server")).into_iter().next().unwrap_or_default(),
        live: lines(&text("live")).into_iter().next(),
        hindrances: lines(&text("hindrances")),
        sessions: lines(&text("sessions")),
        relatives: lines(&text("relatives")),
        free_bytes: text("space")
            .lines()
            .nth(1)
            .and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok())
            .map(|kib| kib * 1024),
        roles: lines(&text("roles")),
        tables: lines(&text("tables")),
        schemas: lines(&text("schemas")),
    }
}

/// A JSON value on each line; what is none is left out.
pub(super) fn lines<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Reads `backups.sh`'s answer: the files, and where there are none what was found instead.
pub fn files(answer: &Answer) -> (Vec<DumpFile>, String) {
    let read = |section: &str| -> Vec<(u64, DateTime<Utc>, String)> {
        let text = answer.text(section).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let mut words = line.splitn(4, ' ');
                let bytes = words.next()?.trim().parse().ok()?;
                let modified = DateTime::from_timestamp(words.next()?.parse().ok()?, 0)?;
                Some((bytes, modified, words.nth(1)?.to_owned()))
            })
            .collect()
    };
    let before: BTreeMap<String, u64> = read("before").into_iter().map(|(bytes, _, path)| (path, bytes)).collect();
    let files = read("files").into_iter().map(|(bytes, modified, path)| DumpFile {
        is_growing: before.get(&path) != Some(&bytes),
        path,
        bytes,
        modified,
    });
    (files.collect(), answer.text("looked").unwrap_or_default().trim().to_owned())
}

/// Reads `scan.sh`'s answer: format and scan of each file, in the order in which they were asked for.
pub fn scans(answer: &Answer) -> Vec<(Format, Scan)> {
    let formats = answer.all("format").map(|format| match format.trim() {
        "plain" => Format::Plain,
        "custom" => Format::Custom,
        "directory" => Format::Directory,
        "tar" => Format::Tar,
        _ => Format::Unknown,
    });
    formats.zip(answer.all("scan").map(|text| Scan::from_lines(&text))).collect()
}

/// How a load stands.
#[derive(Debug, Clone, PartialEq)]
pub enum LoadState {
    Running {
        stage: String,
        /// 0 to 1 of the stage.
        share: f64,
        /// Bytes of the file, or things, that are done, and all of them; 0 where it is not known.
        done: u64,
        total: u64,
    },
    Ended {
        status: i32,
        said: String,
        scan: Box<Scan>,
    },
    /// It left no status: killed, or the host was switched off.
    Killed {
        said: String,
    },
    /// There is none.
    Gone,
}

/// Reads `progress.sh`'s answer.
pub fn load_state(answer: &Answer) -> LoadState {
    if answer.status == 92 {
        return LoadState::Gone;
    }
    let text = |name: &str| answer.text(name).unwrap_or_default();
    if let Ok(status) = text("status").trim().parse() {
        return LoadState::Ended { status, said: text("out"), scan: Box::new(Scan::from_lines(&text("scan"))) };
    }
    if text("alive").trim() != "yes" {
        return LoadState::Killed { said: text("out") };
    }
    let progress = text("progress");
    let mut words = progress.split_whitespace();
    let stage = words.next().unwrap_or("create").to_owned();
    let mut number = || words.next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    let (done, total) = (number(), number());
    let share = if total > 0.0 { (done / total).min(1.0) } else { 0.0 };
    LoadState::Running { stage, share, done: done as u64, total: total as u64 }
}

/// What `compare.sh` found.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// Checks of the config that did not say true, each with what it said.
    pub failed_checks: Vec<String>,
    /// Where the copy differs from its own dump.
    pub wrong: Vec<String>,
    /// What the dump does not hold, and the live database has.
    pub incomplete: Vec<String>,
    pub loss: Loss,
    /// Rows in the copy.
    pub rows: u64,
    pub tables: u64,
}

#[derive(Debug, Deserialize)]
struct Count {
    table: String,
    rows: u64,
    newest: Option<String>,
}

/// What tools for migrations have applied, the oldest first.
pub fn migrations(answer: &Answer) -> Vec<Migration> {
    lines(&answer.text("migrations").unwrap_or_default())
}

/// Checks that did not say true, each with what it said.
pub fn failed_checks(answer: &Answer, checks: &[String]) -> Vec<String> {
    let text = |section: &str| answer.text(section).unwrap_or_default();
    checks
        .iter()
        .enumerate()
        .filter_map(|(number, check)| {
            let said = text(&format!("check.{number}"));
            let is_true = said.lines().count() > 0 && said.lines().all(|line| line.trim() == "t");
            let is_good = answer.status_of(&format!("check.{number}")) == Some(0) && is_true;
            let said = said.trim().replace('\n', " ");
            (!is_good).then(|| format!("`{check}` says {}", if said.is_empty() { "nothing" } else { &said }))
        })
        .collect()
}

/// Reads `compare.sh`'s answer. `scan` is what was read in the dump while it was loaded.
pub fn compared(answer: &Answer, name: &str, checks: &[String], scan: &Scan, has_live: bool) -> Compared {
    let text = |section: &str| answer.text(section).unwrap_or_default();
    let failed_checks = failed_checks(answer, checks);
    let copy: Vec<Count> = lines(&text("rows.copy"));
    let live: Vec<Count> = lines(&text("rows.live"));
    let mut wrong: Vec<String> =
        lines::<String>(&text("validity")).into_iter().map(|what| format!("{what} is not valid")).collect();
    wrong.extend(differs_from_dump(&copy, &lines(&text("extension_tables")), scan));
    let differs = structure::read(&text("structure"));
    let incomplete = structure::incomplete(&differs, scan);
    let mut loss =
        if has_live { loss(answer, name, &live, &copy) } else { Loss { database: name.to_owned(), ..Loss::default() } };
    loss.structure = differs;
    // Where only the shell reads dumps, nobody has read theirs.
    let applied = migrations(answer);
    if !scan.reads_migrations && !applied.is_empty() {
        loss.not_counted.push("which migrations the dump has was not read there".to_owned());
    } else {
        loss.migrations = migrations::compared(&applied, &scan.migrations).map(|differs| differs.words);
    }
    let (rows, tables) = (copy.iter().map(|count| count.rows).sum(), copy.len() as u64);
    Compared { failed_checks, wrong, incomplete, loss, rows, tables }
}

/// Rows of each table against those that the dump had; a table that an extension made may have more, which it brought.
fn differs_from_dump(copy: &[Count], of_extensions: &[String], scan: &Scan) -> Vec<String> {
    if scan.rows.is_empty() || scan.inserts > 0 {
        return Vec::new();
    }
    let mut in_dump: BTreeMap<String, u64> = BTreeMap::new();
    // What a merge kept of before is in a dump like the rest, and counted on neither side.
    for (name, rows) in scan.rows.iter().filter(|(name, _)| !name.starts_with("rollback_prod_")) {
        *in_dump.entry(plain_name(name)).or_default() += rows;
    }
    let in_copy: BTreeMap<&str, u64> = copy.iter().map(|count| (count.table.as_str(), count.rows)).collect();
    let mut wrong: Vec<String> = in_dump
        .iter()
        .filter_map(|(table, rows)| match in_copy.get(table.as_str()) {
            Some(count) if count > rows && of_extensions.contains(table) => None,
            Some(count) if count != rows => Some(format!("{table} has {count} rows, the dump has {rows}")),
            _ => None,
        })
        .collect();
    // Rows that came in through a partitioned table are in its partitions: then the sums must fit.
    let is_own = |table: &str| !of_extensions.iter().any(|of| of == table);
    let dumped: u64 = in_dump.iter().filter(|(table, _)| is_own(table)).map(|(_, rows)| rows).sum();
    let copied: u64 = in_copy.iter().filter(|(table, _)| is_own(table)).map(|(_, rows)| rows).sum();
    if wrong.is_empty() && dumped != copied {
        wrong.push(format!("the copy has {copied} rows in all, the dump has {dumped}"));
    }
    wrong
}

fn loss(answer: &Answer, name: &str, live: &[Count], copy: &[Count]) -> Loss {
    let text = |section: &str| answer.text(section).unwrap_or_default();
    let tables_of_keys: BTreeMap<String, String> = text("keys.tables")
        .lines()
        .filter_map(|line| {
            let (number, table) = line.split_once(' ')?;
            Some((number.to_owned(), serde_json::from_str(table).ok()?))
        })
        .collect();
    let mut keys: BTreeMap<&str, (u64, u64)> = tables_of_keys.values().map(|table| (table.as_str(), (0, 0))).collect();
    for line in text("keys").lines() {
        let mut words = line.split_whitespace();
        let (Some(number), Some(live), Some(copy)) = (words.next(), words.next(), words.next()) else { continue };
        if let (Some(table), Ok(live), Ok(copy)) = (tables_of_keys.get(number), live.parse(), copy.parse()) {
            keys.insert(table, (live, copy));
        }
    }
    let mut names: Vec<&str> = live.iter().chain(copy).map(|count| count.table.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let find = |side: &[Count], table: &str| side.iter().position(|count| count.table == table);
    let mut tables = Vec::new();
    let mut alike = 0;
    let mut without_keys = 0;
    for table in names {
        let l = find(live, table).and_then(|at| live.get(at));
        let c = find(copy, table).and_then(|at| copy.get(at));
        let keys = keys.get(table).copied();
        let newest = |count: Option<&Count>| count.and_then(|count| count.newest.clone());
        let is_same = l.map(|l| l.rows) == c.map(|c| c.rows)
            && newest(l) == newest(c)
            && keys.is_none_or(|(live, copy)| live == 0 && copy == 0);
        if is_same {
            alike += 1;
            without_keys += u64::from(keys.is_none() && l.is_some_and(|l| l.rows > 0));
            continue;
        }
        tables.push(TableLoss {
            table: table.to_owned(),
            live_rows: l.map(|l| l.rows),
            copy_rows: c.map(|c| c.rows),
            only_live: keys.map(|(live, _)| live),
            only_copy: keys.map(|(_, copy)| copy),
            newest_live: newest(l),
            newest_copy: newest(c),
        });
    }
    let lost = |table: &TableLoss| {
        let by_count = table.live_rows.unwrap_or(0).saturating_sub(table.copy_rows.unwrap_or(0));
        table.only_live.unwrap_or(by_count)
    };
    tables.sort_by_key(|table| std::cmp::Reverse(lost(table)));
    let mut not_counted = Vec::new();
    if without_keys > 0 {
        let tables = plural(usize::try_from(without_keys).unwrap_or(usize::MAX), "table");
        not_counted.push(format!("{tables} of those alike: by the number of rows and the newest time, not row by row"));
    }
    if live.is_empty() && !copy.is_empty() {
        not_counted.push("the live database could not be counted".to_owned());
    }
    Loss { database: name.to_owned(), tables, alike, not_counted, ..Loss::default() }
}
