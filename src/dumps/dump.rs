//! What a plain dump says, read as it streams by: statements, COPY blocks and their rows, the trailer, and whatever
//! would leave the database that it is loaded into. Constant memory; never holds a row.
//!
//! `scanner` follows psql's own lexer through the bytes; `statement` says what each of the statements is. What comes out
//! is a [`Scan`], and its parts for a [`Reader`] while they pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use super::migrations::Migration;

/// Everything that was read in a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Scan {
    pub is_packed: bool,
    /// "Dumped by pg_dump version", as it stands there.
    pub by: Option<String>,
    /// "Dumped from database version".
    pub from: Option<String>,
    pub encoding: Option<String>,
    pub is_restricted: bool,
    pub sets_transaction_timeout: bool,
    /// Made by pg_dumpall.
    pub is_cluster: bool,
    /// Line and text of what would act outside the database it is loaded into.
    pub offences: Vec<(u64, String)>,
    /// Statements that are not COPY.
    pub statements: u64,
    pub inserts: u64,
    /// Each COPY block: the table's name as written, and its rows.
    pub rows: Vec<(String, u64)>,
    /// Those of 32 MiB and more: the block's place among all, and the bytes of its rows; the shell counts none.
    pub large: Vec<(usize, u64)>,
    /// How many items of each type its headers tell of: `TABLE`, `TABLE DATA`, `INDEX`, …; none in what is not pg_dump's.
    pub items: BTreeMap<String, u64>,
    /// What tools for migrations had applied, by the rows of their own tables.
    pub migrations: Vec<Migration>,
    /// Whether they were looked for: the shell reads no rows.
    pub reads_migrations: bool,
    /// Whether any item has an owner; pg_dump writes none with --no-owner.
    pub has_owners: bool,
    /// Roles that something in it belongs to or is given to; the shell reads none.
    pub roles: BTreeSet<String>,
    /// Of SQL text.
    pub bytes: u64,
    /// Not in pg_dump's own order: schema, then rows, then indexes and what needs the rows; or with settings between
    /// the items that the next ones need. It is loaded as it comes.
    pub is_odd: bool,
    /// Where the text ends, when it is not complete.
    pub inside: Option<String>,
    /// Why it could not be read to its end.
    pub error: Option<String>,
    /// The trailer was seen, and nothing but white space and `\unrestrict` after it.
    pub is_complete: bool,
}

impl Scan {
    /// As lines: `scan` prints them, and the awk that reads dumps where this program does not run.
    pub fn to_lines(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key} {}", one_line(value));
        };
        line("packed", if self.is_packed { "gzip" } else { "no" });
        for (key, value) in [("by", &self.by), ("from", &self.from), ("encoding", &self.encoding)] {
            if let Some(value) = value {
                line(key, value);
            }
        }
        for (key, is_so) in [
            ("restrict", self.is_restricted),
            ("transaction_timeout", self.sets_transaction_timeout),
            ("cluster", self.is_cluster),
            ("odd", self.is_odd),
            ("owners", self.has_owners),
            ("migrations", self.reads_migrations),
        ] {
            if is_so {
                line(key, "yes");
            }
        }
        for (number, offence) in &self.offences {
            line("offence", &format!("{number} {offence}"));
        }
        line("statements", &self.statements.to_string());
        line("inserts", &self.inserts.to_string());
        for (name, rows) in &self.rows {
            line("rows", &format!("{rows} {name}"));
        }
        for (place, bytes) in &self.large {
            line("large", &format!("{place} {bytes}"));
        }
        for (kind, count) in &self.items {
            line("item", &format!("{count} {kind}"));
        }
        for migration in &self.migrations {
            line("migration", &format!("{} {}", migration.tool, migration.version));
        }
        for role in &self.roles {
            line("role", role);
        }
        line("bytes", &self.bytes.to_string());
        if let Some(inside) = &self.inside {
            line("inside", inside);
        }
        if let Some(error) = &self.error {
            line("error", error);
        }
        if self.is_complete {
            line("complete", "yes");
        }
        text
    }

    /// Reads the lines back; what it does not know is left out.
    pub fn from_lines(text: &str) -> Scan {
        let mut scan = Scan::default();
        let number = |value: &str| value.trim().parse().unwrap_or(0);
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let owned = || Some(value.to_owned());
            let (first, rest) = value.split_once(' ').unwrap_or((value, ""));
            match key {
                "packed" => scan.is_packed = value == "gzip",
                "by" => scan.by = owned(),
                "from" => scan.from = owned(),
                "encoding" => scan.encoding = owned(),
                "restrict" => scan.is_restricted = true,
                "transaction_timeout" => scan.sets_transaction_timeout = true,
                "cluster" => scan.is_cluster = true,
                "odd" => scan.is_odd = true,
                "owners" => scan.has_owners = true,
                "migrations" => scan.reads_migrations = true,
                "item" => {
                    scan.items.insert(rest.to_owned(), number(first));
                }
                "migration" => {
                    scan.migrations.push(Migration { tool: first.to_owned(), version: rest.to_owned() });
                }
                "offence" => {
                    scan.offences.push((number(first), rest.to_owned()));
                }
                "statements" => scan.statements = number(value),
                "inserts" => scan.inserts = number(value),
                "rows" => {
                    scan.rows.push((rest.to_owned(), number(first)));
                }
                "large" => {
                    scan.large.extend(first.parse().ok().map(|place| (place, number(rest))));
                }
                "role" => drop(scan.roles.insert(value.to_owned())),
                "bytes" => scan.bytes = number(value),
                "inside" => scan.inside = owned(),
                "error" => scan.error = owned(),
                "complete" => scan.is_complete = true,
                _ => {}
            }
        }
        scan
    }

    /// The COPY blocks, by their places, that are cut in parts and loaded by all of so many connections: each of them would
    /// keep one busy for much longer than the others have anything to do. In parts it cannot be frozen, which costs a quarter:
    /// one that is only a little more than a connection's share is loaded faster whole (docs/performance.md).
    pub fn to_split(&self, connections: u32) -> Vec<usize> {
        let share = self.bytes / u64::from(connections.max(1));
        self.large
            .iter()
            .filter(|(_, bytes)| connections > 1 && *bytes > share + share / 2)
            .map(|(place, _)| *place)
            .collect()
    }

    /// What it is a dump of, by its headers and its rows.
    pub fn holds(&self) -> Holds {
        let has = |kinds: &[&str]| kinds.iter().any(|kind| self.items.contains_key(*kind));
        let has_rows = has(&["TABLE DATA"]) || !self.rows.is_empty() || self.inserts > 0;
        match (has(&["TABLE", "FOREIGN TABLE"]), has_rows, self.has_after()) {
            // Whoever made it, it is not pg_dump; or there is no table in it.
            _ if self.items.is_empty() => Holds::All,
            (true, true, _) | (false, false, false) => Holds::All,
            (true, false, _) => Holds::Schema,
            (false, true, _) => Holds::Rows,
            (false, false, true) => Holds::After,
        }
    }

    /// Whether anything is in it that pg_dump writes behind the rows.
    pub fn has_after(&self) -> bool {
        self.items.keys().any(|kind| Section::Schema.then(kind) == Section::After)
    }

    /// Whether it may be loaded as far as the text alone tells.
    pub fn is_good(&self) -> bool {
        self.is_complete && self.error.is_none() && self.offences.is_empty() && !self.is_cluster
    }
}

pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Which part of a database a dump is of, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    All,
    Schema,
    Rows,
    /// Indexes, keys, triggers, and no table that they are for.
    After,
}

/// The three parts of a dump in pg_dump's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Section {
    #[default]
    Schema,
    Rows,
    /// What needs the rows: indexes, constraints, triggers, materialized views, and all that follows them.
    After,
}

impl Section {
    /// The section that an item of this type stands in, when the items before it stood in this one.
    pub fn then(self, kind: &str) -> Section {
        match kind {
            "TABLE DATA" | "SEQUENCE SET" | "BLOBS" => self.max(Section::Rows),
            "CONSTRAINT"
            | "FK CONSTRAINT"
            | "CHECK CONSTRAINT"
            | "INDEX"
            | "INDEX ATTACH"
            | "STATISTICS"
            | "TRIGGER"
            | "RULE"
            | "POLICY"
            | "ROW SECURITY"
            | "EVENT TRIGGER"
            | "MATERIALIZED VIEW DATA"
            | "PUBLICATION"
            | "PUBLICATION TABLE"
            | "SUBSCRIPTION" => Section::After,
            // They follow all rows, in a dump without indexes at once: a GRANT beside a TRUNCATE of its table by another
            // connection ends with "tuple concurrently updated".
            "ACL" | "DEFAULT ACL" if self == Section::Rows => Section::After,
            _ => self,
        }
    }
}

/// Whoever wants the dump's parts, in the order in which they come.
pub trait Reader {
    /// pg_dump's header of an item: its type (`TABLE`, `INDEX`, …) and the section it stands in.
    ///
    /// # Errors
    /// Whatever ends the reading.
    fn item(&mut self, _kind: &str, _section: Section) -> io::Result<()> {
        Ok(())
    }

    /// A whole statement as it stands there, without comments. One that is longer than a megabyte comes in pieces, of
    /// which only the last `is_last`.
    ///
    /// # Errors
    /// Whatever ends the reading.
    fn statement(&mut self, _text: &[u8], _is_last: bool) -> io::Result<()> {
        Ok(())
    }

    /// A COPY block begins: its statement, and the table's name as written; bytes, because a dump may be in any encoding.
    ///
    /// # Errors
    /// Whatever ends the reading.
    fn copy(&mut self, _statement: &[u8], _name: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// Bytes of the block's rows, line ends and all.
    ///
    /// # Errors
    /// Whatever ends the reading.
    fn rows(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// The block is over; its `\.` was seen.
    ///
    /// # Errors
    /// Whatever ends the reading.
    fn copied(&mut self, _rows: u64) -> io::Result<()> {
        Ok(())
    }

    /// The dump is not in pg_dump's order, or its statements hang together in ways of their own: one must follow the
    /// other. Said once.
    ///
    /// # Errors
    /// Whatever ends the reading.
    fn odd(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Something that must never be sent, and is given to nobody.
    ///
    /// # Errors
    /// Whatever ends the reading.
    fn offence(&mut self, _line: u64, _text: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Nobody: the scan alone is wanted.
impl Reader for () {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_split_where_it_is_much_more_than_a_connections_share() {
        let scan = Scan { bytes: 1000, large: vec![(0, 190), (4, 760)], ..Scan::default() };
        assert_eq!(Scan::from_lines(&scan.to_lines()), scan, "it is said and read again");
        assert_eq!((scan.to_split(1), scan.to_split(2), scan.to_split(8)), (vec![], vec![4], vec![0, 4]));
    }

    #[test]
    fn rights_wait_for_all_rows_and_make_no_dump_of_indexes() {
        assert_eq!(Section::Rows.then("ACL"), Section::After);
        assert_eq!(Section::Rows.then("DEFAULT ACL"), Section::After);
        assert_eq!(Section::Schema.then("ACL"), Section::Schema, "what holds no rows has nobody to wait for");
    }
}
