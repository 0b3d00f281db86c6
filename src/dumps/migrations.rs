//! The tables in which tools for migrations keep what has been applied: in a dump by its own rows, in a live database by
//! `migrations` in `structure.sh`. Never knows what a migration does.

use std::collections::BTreeSet;

/// More bytes of such a table are not read in a dump: thousands of migrations are far less.
const MOST_BYTES: usize = 1 << 20;
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
}

/// Those that are known, in the order in which a table is taken for one's.
pub const TOOLS: &[Tool] = &[
    tool("alembic", "alembic_version", &["version_num"], "version_num", None, false),
    tool("golang-migrate", "schema_migrations", &["version"], "dirty", None, true),
    tool("rails", "schema_migrations", &["version"], "version", None, true),
    tool("prisma", "_prisma_migrations", &["migration_name"], "migration_name", Some(("rolled_back_at", "\\N")), true),
    tool("drizzle", "__drizzle_migrations", &["created_at"], "hash", None, true),
    tool("flyway", "flyway_schema_history", &["version"], "installed_rank", Some(("success", "t")), false),
    tool("liquibase", "databasechangelog", &["id"], "orderexecuted", None, false),
    tool("django", "django_migrations", &["app", "name"], "applied", None, false),
    tool("sqlx", "_sqlx_migrations", &["version"], "checksum", Some(("success", "t")), true),
    tool("diesel", "__diesel_schema_migrations", &["version"], "run_on", None, true),
    tool("goose", "goose_db_version", &["version_id"], "is_applied", Some(("is_applied", "t")), false),
    tool("knex", "knex_migrations", &["name"], "migration_time", None, false),
];

const fn tool(
    name: &'static str,
    table: &'static str,
    version: &'static [&'static str],
    has: &'static str,
    counts: Option<(&'static str, &'static str)>,
    by_version: bool,
) -> Tool {
    Tool { name, table, version, has, counts, by_version }
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
        Some(Rows { tool, version, counts, rows: Vec::new() })
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let room = MOST_BYTES.saturating_sub(self.rows.len());
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
        let mut applied: Vec<Migration> = text.lines().filter_map(read).collect();
        if self.tool.by_version {
            // A number is larger than every shorter one.
            applied.sort_by_key(|migration| {
                let is_number = migration.version.bytes().all(|byte| byte.is_ascii_digit());
                (if is_number { migration.version.len() } else { 0 }, migration.version.clone())
            });
        }
        applied
    }
}

/// What is said of two states, each tool by itself; nothing where neither has any, or both have the same.
pub fn compared(live: &[Migration], dump: &[Migration]) -> Option<String> {
    let mut tools: Vec<&str> = Vec::new();
    for migration in live.iter().chain(dump) {
        if !tools.contains(&migration.tool.as_str()) {
            tools.push(&migration.tool);
        }
    }
    let said: Vec<String> = tools.into_iter().filter_map(|tool| compared_of(tool, live, dump)).collect();
    (!said.is_empty()).then(|| format!("migrations {}", said.join("; ")))
}

fn compared_of(tool: &str, live: &[Migration], dump: &[Migration]) -> Option<String> {
    let of = |all: &'_ [Migration]| -> Vec<String> {
        all.iter().filter(|of| of.tool == tool).map(|of| of.version.clone()).collect()
    };
    let (live, dump) = (of(live), of(dump));
    let newer = beyond(&live, &dump);
    let older = beyond(&dump, &live);
    if newer.is_empty() && older.is_empty() {
        return None;
    }
    let newest = |all: &[String]| all.last().map_or("none", String::as_str).to_owned();
    let mut words = format!("({tool}): live is at {}, the dump at {}", newest(&live), newest(&dump));
    match newer.len() {
        0 => {}
        1 => words.push_str(&format!(": 1 migration newer ({})", named(&newer))),
        count => words.push_str(&format!(": {count} migrations newer ({})", named(&newer))),
    }
    if !older.is_empty() {
        words.push_str(&format!(", in the dump and not live: {}", named(&older)));
    }
    Some(words)
}

/// What the first have and the second have not.
fn beyond<'m>(these: &'m [String], those: &[String]) -> Vec<&'m str> {
    let those: BTreeSet<&String> = those.iter().collect();
    these.iter().filter(|version| !those.contains(version)).map(String::as_str).collect()
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
        assert_eq!(read(rails, "schema_migrations", "20261124\n20261120\n"), ["rails 20261120", "rails 20261124"]);
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
        assert_eq!(compared(&of(&["1", "2"]), &of(&["1", "2"])), None);
        assert_eq!(compared(&[], &[]), None);
        let words = compared(&of(&["1", "2", "3", "4"]), &of(&["1"]));
        let wanted = "migrations (rails): live is at 4, the dump at 1: 3 migrations newer (2, 3, 4)";
        assert_eq!(words.as_deref(), Some(wanted));
        let words = compared(&of(&["1"]), &of(&["1", "2"]));
        let wanted = "migrations (rails): live is at 1, the dump at 2, in the dump and not live: 2";
        assert_eq!(words.as_deref(), Some(wanted));
        let also = Migration { tool: "knex".into(), version: "a.js".into() };
        let words = compared(&[of(&["1", "2"]), vec![also]].concat(), &of(&["1"]));
        let wanted = "migrations (rails): live is at 2, the dump at 1: 1 migration newer (2); (knex): live is at a.js, the \
                      dump at none: 1 migration newer (a.js)";
        assert_eq!(words.as_deref(), Some(wanted));
    }
}
