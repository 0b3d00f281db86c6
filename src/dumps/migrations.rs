//! The tables in which tools for migrations keep what has been applied: in a dump by its own rows, in a live database by
//! `migrations` in `structure.sh`. Never knows what a migration does.

use std::collections::BTreeSet;

/// More bytes of such a table are not read in a dump: thousands of migrations, with what prisma logs of them, are far less.
const MOST_BYTES: usize = 8 << 20;
/// Names of migrations that are shown.
const SHOWN: usize = 5;

/// A tool, by the table that it keeps.
pub struct Tool {
    pub name: &'static str,
    pub table: &'static str,
    /// What names a migration in it.
    pub version: &'static [&'static str],
    /// A column that must be there, and that another tool's table of the same name has not.
    pub has: &'static str,
    /// The migration counts where this column says so: the column, and what it says.
    pub counts: Option<(&'static str, &'static str)>,
    /// Whether the versions themselves say which is newer; else the order in which the rows were written does. Rails
    /// writes those of a schema that it loads with the newest first.
    pub by_version: bool,
    /// Whether it has a row for each migration; else only for the last one.
    pub keeps_all: bool,
}

/// Those that are known, in the order in which a table is taken for one's.
pub const TOOLS: &[Tool] = &[
    tool("alembic", "alembic_version", &["version_num"], "version_num", None, false, false),
    tool("golang-migrate", "schema_migrations", &["version"], "dirty", None, true, false),
    tool("rails", "schema_migrations", &["version"], "version", None, true, true),
    tool(
        "prisma",
        "_prisma_migrations",
        &["migration_name"],
        "migration_name",
        Some(("rolled_back_at", "\\N")),
        true,
        true,
    ),
    tool("drizzle", "__drizzle_migrations", &["created_at"], "hash", None, true, true),
    tool("flyway", "flyway_schema_history", &["version"], "installed_rank", Some(("success", "t")), false, true),
    tool("liquibase", "databasechangelog", &["filename", "id"], "orderexecuted", None, false, true),
    tool("django", "django_migrations", &["app", "name"], "applied", None, false, true),
    tool("sqlx", "_sqlx_migrations", &["version"], "checksum", Some(("success", "t")), true, true),
    tool("diesel", "__diesel_schema_migrations", &["version"], "run_on", None, true, true),
    tool("goose", "goose_db_version", &["version_id"], "is_applied", Some(("is_applied", "t")), false, true),
    tool("knex", "knex_migrations", &["name"], "migration_time", None, false, true),
];

const fn tool(
    name: &'static str,
    table: &'static str,
    version: &'static [&'static str],
    has: &'static str,
    counts: Option<(&'static str, &'static str)>,
    by_version: bool,
    keeps_all: bool,
) -> Tool {
    Tool { name, table, version, has, counts, by_version, keeps_all }
}

/// A migration that was applied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Migration {
    pub tool: String,
    pub version: String,
}

/// The rows of one such table while they pass.
pub struct Rows {
    tool: &'static Tool,
    /// Places of the columns that name a migration.
    version: Vec<usize>,
    counts: Option<(usize, &'static str)>,
    rows: Vec<u8>,
    /// There were more than are read.
    pub is_cut: bool,
}

impl Rows {
    /// By the COPY statement of a table, and its name without quotes and schema.
    pub fn of(statement: &str, table: &str) -> Option<Rows> {
        let columns = statement.split_once('(')?.1.rsplit_once(')')?.0;
        let columns: Vec<&str> = columns.split(',').map(|column| column.trim().trim_matches('"')).collect();
        let place = |name: &str| columns.iter().position(|column| *column == name);
        let tool = TOOLS.iter().find(|tool| tool.table == table && place(tool.has).is_some())?;
        let version = tool.version.iter().map(|name| place(name)).collect::<Option<Vec<usize>>>()?;
        let counts = tool.counts.and_then(|(name, says)| Some((place(name)?, says)));
        Some(Rows { tool, version, counts, rows: Vec::new(), is_cut: false })
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let room = MOST_BYTES.saturating_sub(self.rows.len());
        self.is_cut |= bytes.len() > room;
        self.rows.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub fn end(self) -> Vec<Migration> {
        let text = String::from_utf8_lossy(&self.rows);
        let read = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            let is_counted = self.counts.is_none_or(|(place, says)| fields.get(place) == Some(&says));
            let version: Option<Vec<&str>> = self.version.iter().map(|place| fields.get(*place).copied()).collect();
            let version = version.filter(|_| is_counted)?.join(".");
            (version != "\\N").then(|| Migration { tool: self.tool.name.to_owned(), version })
        };
        text.lines().filter_map(read).collect()
    }
}

/// How two states differ.
#[derive(Debug, PartialEq, Eq)]
pub struct StatesDiffer {
    pub words: String,
    /// Whether the first has what the second has not.
    pub is_newer: bool,
}

/// The live database's state beside a dump's, each tool by itself; nothing where neither has any, or both have the same.
pub fn compared(live: &[Migration], dump: &[Migration]) -> Option<StatesDiffer> {
    let mut tools: Vec<&str> = Vec::new();
    for migration in live.iter().chain(dump) {
        if !tools.contains(&migration.tool.as_str()) {
            tools.push(&migration.tool);
        }
    }
    let differ: Vec<StatesDiffer> = tools.into_iter().filter_map(|tool| compared_of(tool, live, dump)).collect();
    let words: Vec<&str> = differ.iter().map(|differs| differs.words.as_str()).collect();
    let is_newer = differ.iter().any(|differs| differs.is_newer);
    (!words.is_empty()).then(|| StatesDiffer { words: format!("migrations {}", words.join("; ")), is_newer })
}

/// Migrations that are to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Down {
    pub tool: String,
    /// The last one that is applied, and the one that shall be.
    pub from: String,
    pub to: String,
    /// Those that go, the oldest first; of a tool that keeps one row alone the last one.
    pub newer: Vec<String>,
    /// Whether those are all of them.
    pub are_all: bool,
    /// Whether it is known that the tool has the one that shall be.
    pub is_known: bool,
}

impl Down {
    /// Whether the live database is there by now; `None` where it is neither there nor where it was.
    pub fn is_at(&self, live: &[Migration]) -> Option<bool> {
        let now = versions(&self.tool, live);
        let last = |of: &str| now.iter().rev().find(|version| are_numbered_together(&self.tool, version, of)).copied();
        let is_gone = |gone: &String| !now.contains(&gone.as_str());
        let is_there = match self.are_all {
            // What went further down than was asked is no more there than what went half the way.
            true => self.newer.iter().all(is_gone) && last(&self.to) == Some(self.to.as_str()),
            false => now == [self.to.as_str()],
        };
        let is_as_it_was = match self.are_all {
            true => !self.newer.iter().any(is_gone) && last(&self.from) == Some(self.from.as_str()),
            false => now == self.newer.iter().map(String::as_str).collect::<Vec<_>>(),
        };
        match (is_there, is_as_it_was) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// Where a tool's last one stands, in words: `alembic is at ae10`.
pub fn state_words(live: &[Migration]) -> String {
    let mut tools: Vec<&str> = live.iter().map(|migration| migration.tool.as_str()).collect();
    tools.dedup();
    let mut said: Vec<String> = Vec::new();
    for tool in tools {
        let words = format!("{tool} is at {}", versions(tool, live).last().unwrap_or(&"none"));
        if !said.contains(&words) {
            said.push(words);
        }
    }
    if said.is_empty() { "no tool for migrations keeps its state there".to_owned() } else { said.join(", ") }
}

/// What is to be taken back so that the live database is at the wanted one, or, where none is named, at the dump's; nothing
/// where it is there already.
///
/// # Errors
/// Why that cannot be said.
pub fn down(live: &[Migration], wanted: Option<&str>, dump: Option<&[Migration]>) -> Result<Option<Down>, String> {
    let mut tools: Vec<&str> = live.iter().map(|migration| migration.tool.as_str()).collect();
    tools.sort_unstable();
    tools.dedup();
    if tools.is_empty() {
        return Err("no tool for migrations keeps its state in the live database".to_owned());
    }
    let found: Vec<Result<Option<Down>, String>> = match wanted {
        Some(wanted) => tools.iter().filter_map(|tool| down_to(tool, live, wanted, dump)).collect(),
        None => {
            let Some(dump) = dump else {
                return Err("which migrations the dump has is not known: name the one to go back to".to_owned());
            };
            tools.iter().filter_map(|tool| down_to_the_dump(tool, live, dump)).collect()
        }
    };
    let mut found = found.into_iter();
    match (found.next(), found.next(), wanted) {
        (Some(one), None, _) => one,
        (Some(_), Some(_), Some(wanted)) => Err(format!("{wanted} may be of several tools: {}", tools.join(", "))),
        (Some(_), Some(_), None) => {
            Err(format!("several tools have newer ones ({}): name the one to go back to", tools.join(", ")))
        }
        (None, _, Some(wanted)) => {
            Err(format!("no tool knows a migration {wanted} that is applied; {}", state_words(live)))
        }
        (None, _, None) => Ok(None),
    }
}

fn is_one_row(tool: &str) -> bool {
    TOOLS.iter().any(|known| known.name == tool && !known.keeps_all)
}

/// Django numbers those of each application by themselves.
fn are_numbered_together(tool: &str, one: &str, other: &str) -> bool {
    let app = |version: &str| version.split_once('.').map(|(app, _)| app.to_owned());
    tool != "django" || app(one) == app(other)
}

fn down_to(
    tool: &str,
    live: &[Migration],
    wanted: &str,
    dump: Option<&[Migration]>,
) -> Option<Result<Option<Down>, String>> {
    let applied = versions(tool, live);
    let from = (*applied.last()?).to_owned();
    if is_one_row(tool) {
        if applied.contains(&wanted) {
            return Some(Ok(None));
        }
        let is_known = dump.is_some_and(|dump| versions(tool, dump).contains(&wanted));
        let newer = applied.iter().map(|version| (*version).to_owned()).collect();
        let to = wanted.to_owned();
        return Some(Ok(Some(Down { tool: tool.to_owned(), from, to, newer, are_all: false, is_known })));
    }
    let place = applied.iter().position(|version| *version == wanted)?;
    let newer: Vec<String> = applied[place + 1..]
        .iter()
        .filter(|version| are_numbered_together(tool, version, wanted))
        .map(|version| (*version).to_owned())
        .collect();
    let Some(from) = newer.last().cloned() else { return Some(Ok(None)) };
    let to = wanted.to_owned();
    Some(Ok(Some(Down { tool: tool.to_owned(), from, to, newer, are_all: true, is_known: true })))
}

fn down_to_the_dump(tool: &str, live: &[Migration], dump: &[Migration]) -> Option<Result<Option<Down>, String>> {
    let (applied, before) = (versions(tool, live), versions(tool, dump));
    let newer = beyond(&applied, &before);
    let last = newer.last()?;
    let to = before.iter().rev().find(|version| are_numbered_together(tool, version, last));
    let Some(to) = to else {
        return Some(Err(format!("the dump has none of {tool}'s: name the one to go back to")));
    };
    let of_others = newer.iter().any(|version| !are_numbered_together(tool, version, last));
    if of_others {
        return Some(Err(format!("several of {tool}'s applications have newer ones: name the one to go back to")));
    }
    let newer: Vec<String> = newer.iter().map(|version| (*version).to_owned()).collect();
    let (from, to, are_all) = ((*last).to_owned(), (*to).to_owned(), !is_one_row(tool));
    Some(Ok(Some(Down { tool: tool.to_owned(), from, to, newer, are_all, is_known: true })))
}

/// Those of a tool, the oldest first.
fn versions<'m>(tool: &str, all: &'m [Migration]) -> Vec<&'m str> {
    versions_of(tool, TOOLS.iter().find(|known| known.name == tool), all)
}

fn compared_of(tool: &str, live: &[Migration], dump: &[Migration]) -> Option<StatesDiffer> {
    let known = TOOLS.iter().find(|known| known.name == tool);
    let (live, dump) = (versions_of(tool, known, live), versions_of(tool, known, dump));
    let newer = beyond(&live, &dump);
    let older = beyond(&dump, &live);
    if newer.is_empty() && older.is_empty() {
        return None;
    }
    let newest = |all: &[&str]| all.last().map_or("none", |version| version).to_owned();
    let mut words = format!("({tool}): live is at {}, the dump at {}", newest(&live), newest(&dump));
    // Of a tool that keeps one row nobody can say how many there are between, or which came first.
    if known.is_some_and(|known| !known.keeps_all) {
        return Some(StatesDiffer { words, is_newer: !newer.is_empty() });
    }
    match newer.len() {
        0 => {}
        1 => words.push_str(&format!(": 1 migration newer ({})", named(&newer))),
        count => words.push_str(&format!(": {count} migrations newer ({})", named(&newer))),
    }
    if !older.is_empty() {
        words.push_str(&format!(", in the dump and not live: {}", named(&older)));
    }
    Some(StatesDiffer { words, is_newer: !newer.is_empty() })
}

/// A tool's versions, the oldest first, each once: a schema for each tenant has them all again.
fn versions_of<'m>(tool: &str, known: Option<&Tool>, all: &'m [Migration]) -> Vec<&'m str> {
    let mut seen = BTreeSet::new();
    let own = all.iter().filter(|migration| migration.tool == tool).map(|migration| migration.version.as_str());
    let mut versions: Vec<&str> = own.filter(|version| seen.insert(*version)).collect();
    if known.is_some_and(|known| known.by_version) {
        // A number is larger than every shorter one.
        versions.sort_by_key(|version| {
            let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
            (if is_number { version.len() } else { 0 }, *version)
        });
    }
    versions
}

/// What the first have and the second have not.
fn beyond<'m>(these: &[&'m str], those: &[&str]) -> Vec<&'m str> {
    let those: BTreeSet<&str> = those.iter().copied().collect();
    these.iter().filter(|version| !those.contains(*version)).copied().collect()
}

fn named(versions: &[&str]) -> String {
    let shown = &versions[versions.len().saturating_sub(SHOWN)..];
    let more = if versions.len() > shown.len() { "…, " } else { "" };
    format!("{more}{}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(statement: &str, table: &str, rows: &str) -> Vec<String> {
        let mut reading = Rows::of(statement, table).expect("it is a tool's");
        reading.push(rows.as_bytes());
        reading.end().into_iter().map(|migration| format!("{} {}", migration.tool, migration.version)).collect()
    }

    #[test]
    fn a_tools_table_is_told_by_its_columns() {
        let rails = "COPY public.schema_migrations (version) FROM stdin;";
        assert_eq!(read(rails, "schema_migrations", "20261124\n20261120\n"), ["rails 20261124", "rails 20261120"]);
        let migrate = "COPY public.schema_migrations (version, dirty) FROM stdin;";
        assert_eq!(read(migrate, "schema_migrations", "7\tf\n"), ["golang-migrate 7"]);
        let django = "COPY public.django_migrations (id, app, name, applied) FROM stdin;";
        assert_eq!(
            read(django, "django_migrations", "1\tauth\t0001_initial\t2026-01-01\n"),
            ["django auth.0001_initial"]
        );
        let flyway = "COPY public.flyway_schema_history (installed_rank, version, success) FROM stdin;";
        assert_eq!(read(flyway, "flyway_schema_history", "1\t1.1\tt\n2\t1.2\tf\n"), ["flyway 1.1"]);
        assert!(Rows::of("COPY public.schema_migrations (name) FROM stdin;", "schema_migrations").is_none());
        assert!(Rows::of("COPY public.orders (version) FROM stdin;", "orders").is_none());
    }

    #[test]
    fn a_live_database_is_asked_for_the_same_tables() {
        let sql = include_str!("../../scripts/remote/structure.sh");
        for tool in TOOLS {
            let row = format!("'{}', '{}', '{}', ", tool.name, tool.table, tool.has);
            assert!(sql.contains(&row), "{row} is not in structure.sh");
        }
    }

    #[test]
    fn what_goes_down_is_what_is_newer() {
        let of = |tool: &str, versions: &[&str]| -> Vec<Migration> {
            let of = |version: &&str| Migration { tool: tool.into(), version: (*version).into() };
            versions.iter().map(of).collect()
        };
        let told = |live: &[Migration], wanted: Option<&str>, dump: Option<&[Migration]>| {
            let Some(down) = down(live, wanted, dump)? else { return Ok("there already".to_owned()) };
            let newer = down.newer.join(" ");
            Ok::<String, String>(format!("{} {}→{} [{newer}] {}", down.tool, down.from, down.to, down.is_known))
        };
        let rails = of("rails", &["9", "10", "11"]);
        assert_eq!(told(&rails, Some("9"), None), Ok("rails 11→9 [10 11] true".into()));
        assert_eq!(told(&rails, None, Some(&of("rails", &["9", "10"]))), Ok("rails 11→10 [11] true".into()));
        assert_eq!(told(&rails, None, Some(&rails)), Ok("there already".into()));
        assert_eq!(told(&rails, Some("11"), None), Ok("there already".into()));
        assert_eq!(
            told(&rails, Some("8"), None),
            Err("no tool knows a migration 8 that is applied; rails is at 11".into())
        );
        assert!(told(&rails, None, None).is_err() && told(&[], Some("9"), None).is_err());
        assert_eq!(
            told(&rails, None, Some(&[])),
            Err("the dump has none of rails's: name the one to go back to".into())
        );
        // One row: what it is at, and no more.
        let alembic = of("alembic", &["ae10"]);
        assert_eq!(told(&alembic, Some("1f00"), None), Ok("alembic ae10→1f00 [ae10] false".into()));
        assert_eq!(told(&alembic, None, Some(&of("alembic", &["1f00"]))), Ok("alembic ae10→1f00 [ae10] true".into()));
        // Of each application by itself.
        let django = of("django", &["auth.0001", "shop.0001", "auth.0002", "shop.0002"]);
        assert_eq!(told(&django, Some("shop.0001"), None), Ok("django shop.0002→shop.0001 [shop.0002] true".into()));
        assert_eq!(
            told(&django, None, Some(&of("django", &["auth.0001", "shop.0001", "auth.0002"]))),
            Ok("django shop.0002→shop.0001 [shop.0002] true".into())
        );
        assert!(told(&django, None, Some(&of("django", &["auth.0001", "shop.0001"]))).is_err());
        // Two tools, and a revision of one of them.
        let both = [rails.clone(), alembic.clone()].concat();
        assert_eq!(
            told(&both, None, Some(&[rails.clone(), of("alembic", &["1f00"])].concat())),
            Ok("alembic ae10→1f00 [ae10] true".into())
        );
        assert!(told(&both, Some("9"), None).is_err(), "it may be of either");

        let of_rails = down(&rails, Some("9"), None).expect("it is known").expect("it is not there yet");
        assert_eq!(of_rails.is_at(&rails), Some(false));
        assert_eq!(of_rails.is_at(&of("rails", &["9"])), Some(true));
        assert_eq!(of_rails.is_at(&of("rails", &["9", "10"])), None, "half-way");
        assert_eq!(of_rails.is_at(&of("rails", &["8"])), None, "too far");
        assert_eq!(of_rails.is_at(&of("rails", &["9", "10", "11", "12"])), None, "somebody went up meanwhile");
        assert_eq!(of_rails.is_at(&[]), None, "whoever says nothing says nothing");
    }

    #[test]
    fn what_is_newer_is_named() {
        let of = |versions: &[&str]| -> Vec<Migration> {
            let of = |version: &&str| Migration { tool: "rails".into(), version: (*version).into() };
            versions.iter().map(of).collect()
        };
        let said = |live: &[Migration], dump: &[Migration]| {
            compared(live, dump).map(|differs| (differs.words, differs.is_newer))
        };
        let words = |text: &str, is_newer| Some((format!("migrations {text}"), is_newer));
        assert_eq!(said(&of(&["1", "2"]), &of(&["1", "2"])), None);
        assert_eq!(said(&[], &[]), None);
        let newer = "(rails): live is at 10, the dump at 9: 1 migration newer (10)";
        assert_eq!(said(&of(&["10", "9"]), &of(&["9"])), words(newer, true), "numbers, whatever their order");
        let newer = "(rails): live is at 4, the dump at 1: 3 migrations newer (2, 3, 4)";
        assert_eq!(
            said(&of(&["1", "2", "3", "4", "1", "2", "3", "4"]), &of(&["1", "1"])),
            words(newer, true),
            "of two tenants"
        );
        let older = "(rails): live is at 1, the dump at 2, in the dump and not live: 2";
        assert_eq!(said(&of(&["1"]), &of(&["1", "2"])), words(older, false));
        let of_tool = |tool: &str, version: &str| Migration { tool: tool.into(), version: version.into() };
        let two = "(rails): live is at 2, the dump at 1: 1 migration newer (2); (knex): live is at a.js, the dump at none: 1 migration \
                   newer (a.js)";
        assert_eq!(said(&[of(&["1", "2"]), vec![of_tool("knex", "a.js")]].concat(), &of(&["1"])), words(two, true));
        let one_row = "(golang-migrate): live is at 9, the dump at 5";
        assert_eq!(said(&[of_tool("golang-migrate", "9")], &[of_tool("golang-migrate", "5")]), words(one_row, true));
    }
}
