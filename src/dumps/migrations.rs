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
