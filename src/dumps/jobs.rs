//! What comes after a dump's rows: indexes and constraints, side by side as soon as their table is loaded; then the rest
//! in the dump's order; foreign keys are declared there and checked side by side after it, beside the refresh of
//! materialized views. Gives out pieces of SQL and is told when they are done; sends nothing itself.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::statement::{after_parentheses, name_at};

/// A table with fewer bytes of rows than this is not worth a job of its own.
const SMALL_BYTES: u64 = 1 << 20;
/// Statements that go out at once where each is short.
const BATCH_ITEMS: usize = 64;

/// One item of the dump, as its header cuts it off.
pub struct Item {
    pub kind: String,
    pub text: Vec<u8>,
    /// `SET default_tablespace = …` and its like, as they are in force here.
    pub settings: Vec<u8>,
}

/// A COPY block of the dump.
#[derive(Clone)]
pub struct Block {
    pub table: Vec<u8>,
    pub bytes: u64,
}

pub struct Jobs {
    jobs: Vec<Job>,
    /// By stage: those that nobody has begun, in the order in which they should be.
    waiting: [BTreeSet<usize>; STAGES],
    /// By stage: those that are not over.
    open: [usize; STAGES],
    items: [u64; STAGES],
    items_done: [u64; STAGES],
    tables: HashMap<Vec<u8>, usize>,
    states: Vec<TableState>,
    table_of_block: Vec<usize>,
    blocks_missing: usize,
    /// All that stands between the rows is done: sequences, large objects, INSERTs.
    rows_are_over: bool,
    /// No index may be begun before: the rows are not in COPY blocks.
    needs_all_rows: bool,
    running: usize,
    is_refreshing: bool,
}

#[derive(Default, Clone)]
struct TableState {
    blocks_missing: usize,
    bytes: u64,
    shared: usize,
    is_exclusive: bool,
}

struct Job {
    stage: Stage,
    tables: Vec<usize>,
    /// Nothing else may be done to its tables meanwhile.
    is_exclusive: bool,
    is_refresh: bool,
    items: u64,
    weight: u64,
    sql: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Indexes, keys, unique and exclusion constraints, side by side.
    Indexes,
    /// Everything else in the dump's order, one after the other; foreign keys are declared here.
    Rest,
    /// Foreign keys are checked, side by side; materialized views are filled, one after the other.
    Checks,
    /// What the dump has after its materialized views, and event triggers: they would be called by all of the above.
    Last,
}

const STAGES: usize = 4;
const ALL: [Stage; STAGES] = [Stage::Indexes, Stage::Rest, Stage::Checks, Stage::Last];

/// What a connection does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Its number and text. `is_alone`: nobody else has anything to do now.
    Job {
        number: usize,
        sql: Vec<u8>,
        is_alone: bool,
    },
    /// Somebody else must finish something first.
    Later,
    Nothing,
}

impl Jobs {
    /// `plain`: the tables that hold their rows themselves; `is_loaded`: which of the blocks are there already.
    pub fn of(
        items: Vec<Item>,
        blocks: &[Block],
        plain: &HashSet<Vec<u8>>,
        needs_all_rows: bool,
        is_loaded: impl Fn(usize) -> bool,
    ) -> Jobs {
        let mut jobs = Jobs {
            jobs: Vec::new(),
            waiting: Default::default(),
            open: [0; STAGES],
            items: [0; STAGES],
            items_done: [0; STAGES],
            tables: HashMap::new(),
            states: Vec::new(),
            table_of_block: Vec::new(),
            blocks_missing: 0,
            rows_are_over: false,
            needs_all_rows,
            running: 0,
            is_refreshing: false,
        };
        for (number, block) in blocks.iter().enumerate() {
            let table = jobs.table(&block.table);
            jobs.table_of_block.push(table);
            jobs.states[table].bytes += block.bytes;
            if !is_loaded(number) {
                jobs.states[table].blocks_missing += 1;
                jobs.blocks_missing += 1;
            }
        }
        jobs.fill(items, plain);
        // The largest first where the order is ours; a stable sort, so that the others keep the dump's.
        jobs.jobs.sort_by_key(|job| (job.stage, std::cmp::Reverse(job.weight)));
        for (number, job) in jobs.jobs.iter().enumerate() {
            let stage = job.stage as usize;
            jobs.waiting[stage].insert(number);
            jobs.open[stage] += 1;
            jobs.items[stage] += job.items;
        }
        jobs
    }

    fn table(&mut self, name: &[u8]) -> usize {
        if let Some(number) = self.tables.get(name) {
            return *number;
        }
        let number = self.states.len();
        self.states.push(TableState::default());
        self.tables.insert(name.to_vec(), number);
        number
    }

    fn fill(&mut self, items: Vec<Item>, plain: &HashSet<Vec<u8>>) {
        // Small tables: what belongs to each, in the dump's order.
        let mut small: Vec<(usize, Vec<Item>)> = Vec::new();
        let mut place_of: HashMap<usize, usize> = HashMap::new();
        let mut rest = Batch::default();
        let mut last = Batch::default();
        let mut is_after_views = false;
        for item in items {
            match item.kind.as_str() {
                "INDEX" | "CONSTRAINT" => {
                    let is_index = item.kind == "INDEX";
                    let Some(name) = (if is_index { indexed(&item.text) } else { altered(&item.text) }) else {
                        rest.add(&item);
                        continue;
                    };
                    let table = self.table(name);
                    let bytes = self.states[table].bytes;
                    if bytes < SMALL_BYTES {
                        let place = *place_of.entry(table).or_insert_with(|| {
                            small.push((table, Vec::new()));
                            small.len() - 1
                        });
                        small[place].1.push(item);
                        continue;
                    }
                    let weight = bytes * slowness(&item.text);
                    // Only one statement: what else stands there (CLUSTER ON, SET STATISTICS) locks the table.
                    let is_exclusive = !is_index || statements(&item.text) != 1;
                    self.add(Stage::Indexes, vec![table], is_exclusive, weight, 1, item.sql());
                }
                "FK CONSTRAINT" => match validated_later(&item.text, plain) {
                    Some((declare, validate)) => {
                        let table = self.table(altered(&item.text).unwrap_or_default());
                        let weight = self.states[table].bytes;
                        self.add(Stage::Checks, vec![table], true, weight, 1, validate);
                        rest.add(&Item { kind: item.kind, text: declare, settings: item.settings });
                    }
                    None => rest.add(&item),
                },
                "MATERIALIZED VIEW DATA" => {
                    is_after_views = true;
                    self.add(Stage::Checks, Vec::new(), false, 0, 1, item.sql());
                    if let Some(job) = self.jobs.last_mut() {
                        job.is_refresh = true;
                        // The first of them at once: one has to wait for the other.
                        job.weight = u64::MAX;
                    }
                }
                "EVENT TRIGGER" => {
                    is_after_views = true;
                    last.add(&item);
                }
                _ if is_after_views => last.add(&item),
                _ => rest.add(&item),
            }
        }
        let mut tables = Vec::new();
        let mut batch = Batch::default();
        for (table, items) in small {
            tables.push(table);
            items.iter().for_each(|item| batch.add(item));
            if batch.items() >= BATCH_ITEMS {
                let (sql, items) = batch.take();
                self.add(Stage::Indexes, std::mem::take(&mut tables), true, 0, items, sql);
            }
        }
        if !tables.is_empty() {
            let (sql, items) = batch.take();
            self.add(Stage::Indexes, tables, true, 0, items, sql);
        }
        for (stage, batch) in [(Stage::Rest, rest), (Stage::Last, last)] {
            for (sql, items) in batch.parts {
                self.add(stage, Vec::new(), false, 0, items, sql);
            }
        }
    }

    fn add(&mut self, stage: Stage, tables: Vec<usize>, is_exclusive: bool, weight: u64, items: u64, sql: Vec<u8>) {
        self.jobs.push(Job { stage, tables, is_exclusive, is_refresh: false, items, weight, sql });
    }

    /// This block is there.
    pub fn loaded(&mut self, block: usize) {
        if let Some(table) = self.table_of_block.get(block) {
            self.blocks_missing -= 1;
            self.states[*table].blocks_missing -= 1;
        }
    }

    /// What stands between the rows was sent and done.
    pub fn rows_are_over(&mut self) {
        self.rows_are_over = true;
    }

    pub fn next(&mut self) -> Next {
        let Some(stage) = ALL.into_iter().find(|stage| self.open[*stage as usize] > 0) else { return Next::Nothing };
        let rows_are_there = self.blocks_missing == 0 && self.rows_are_over;
        let may_begin = rows_are_there || (stage == Stage::Indexes && !self.needs_all_rows);
        let is_one_by_one = matches!(stage, Stage::Rest | Stage::Last);
        if !may_begin || (is_one_by_one && self.running > 0) {
            return Next::Later;
        }
        let Some(number) = self.waiting[stage as usize].iter().copied().find(|number| self.is_free(*number)) else {
            return Next::Later;
        };
        self.waiting[stage as usize].remove(&number);
        self.running += 1;
        let is_alone = rows_are_there && self.waiting[stage as usize].is_empty();
        let job = &mut self.jobs[number];
        self.is_refreshing |= job.is_refresh;
        for table in &job.tables {
            let state = &mut self.states[*table];
            state.is_exclusive = job.is_exclusive;
            state.shared += 1;
        }
        Next::Job { number, sql: std::mem::take(&mut job.sql), is_alone }
    }

    fn is_free(&self, number: usize) -> bool {
        let job = &self.jobs[number];
        let is_free = |table: &usize| {
            let state = &self.states[*table];
            state.blocks_missing == 0 && (state.shared == 0 || !(state.is_exclusive || job.is_exclusive))
        };
        !(job.is_refresh && self.is_refreshing) && job.tables.iter().all(is_free)
    }

    pub fn done(&mut self, number: usize) {
        let job = &self.jobs[number];
        for table in &job.tables {
            let state = &mut self.states[*table];
            state.shared -= 1;
            state.is_exclusive = false;
        }
        self.is_refreshing &= !job.is_refresh;
        self.running -= 1;
        self.open[job.stage as usize] -= 1;
        self.items_done[job.stage as usize] += job.items;
    }

    /// Stage as it is shown, and how many of its items are done, of how many.
    pub fn standing(&self) -> (&'static str, u64, u64) {
        if self.open[Stage::Indexes as usize] > 0 {
            return ("indexes", self.items_done[0], self.items[0]);
        }
        ("constraints", self.items_done[1..].iter().sum(), self.items[1..].iter().sum())
    }
}

impl Item {
    fn sql(&self) -> Vec<u8> {
        [self.settings.as_slice(), &self.text].concat()
    }
}

/// Items that go out at once, each with its settings where they change.
#[derive(Default)]
struct Batch {
    parts: Vec<(Vec<u8>, u64)>,
    settings: Vec<u8>,
}

impl Batch {
    fn add(&mut self, item: &Item) {
        let is_full = self.parts.last().is_none_or(|(_, items)| *items >= BATCH_ITEMS as u64);
        if is_full {
            self.parts.push((Vec::new(), 0));
        }
        let Some((sql, items)) = self.parts.last_mut() else { return };
        if is_full || self.settings != item.settings {
            sql.extend_from_slice(&item.settings);
            self.settings.clone_from(&item.settings);
        }
        sql.extend_from_slice(&item.text);
        *items += 1;
    }

    fn items(&self) -> usize {
        self.parts.iter().map(|(_, items)| *items as usize).sum()
    }

    /// All of it as one, and how many items that is.
    fn take(&mut self) -> (Vec<u8>, u64) {
        let parts = std::mem::take(self).parts;
        let items = parts.iter().map(|(_, items)| items).sum();
        (parts.into_iter().flat_map(|(sql, _)| sql).collect(), items)
    }
}

/// How much slower an index is than a btree over a column: what takes longest must not come last, when the others have
/// nothing left to do beside it. Measured: GIN 6 s where a btree of the same table took 0.7 s.
fn slowness(sql: &[u8]) -> u64 {
    let is_in = |needle: &str| memchr::memmem::find(sql, needle.as_bytes()).is_some();
    if [" USING gin ", " USING gist ", " USING spgist ", " USING hnsw "].into_iter().any(is_in) { 8 } else { 1 }
}

/// Each statement of an item ends its line.
fn statements(text: &[u8]) -> usize {
    memchr::memmem::find_iter(text, b";\n").count()
}

/// The table of `CREATE INDEX name ON ONLY table`.
fn indexed(text: &[u8]) -> Option<&[u8]> {
    let rest = text.trim_ascii_start().strip_prefix(b"CREATE ")?;
    let rest = rest.strip_prefix(b"UNIQUE ").unwrap_or(rest).strip_prefix(b"INDEX ")?;
    let rest = rest[name_at(rest).len()..].strip_prefix(b" ON ")?;
    Some(name_at(rest.strip_prefix(b"ONLY ").unwrap_or(rest)))
}

/// The table of `ALTER TABLE ONLY name`.
fn altered(text: &[u8]) -> Option<&[u8]> {
    let rest = text.trim_ascii_start().strip_prefix(b"ALTER TABLE ")?;
    Some(name_at(rest.strip_prefix(b"ONLY ").unwrap_or(rest)))
}

/// A foreign key as two statements: declared in no time, then checked beside others. `None` where the server does not
/// take it apart (pg_dump leaves `ONLY` out for a partitioned table), where it would leave a part of it unchecked (one
/// that refers to a partitioned table is a key for each partition, and PostgreSQL 15 validates the first), or where there
/// is nothing to check.
fn validated_later(text: &[u8], plain: &HashSet<Vec<u8>>) -> Option<(Vec<u8>, Vec<u8>)> {
    let statement = text.trim_ascii().strip_suffix(b";")?;
    let rest = statement.strip_prefix(b"ALTER TABLE ONLY ")?;
    let table = name_at(rest);
    let after = rest[table.len()..].trim_ascii_start().strip_prefix(b"ADD CONSTRAINT ")?;
    let constraint = name_at(after);
    let columns = after[constraint.len()..].strip_prefix(b" FOREIGN KEY ")?;
    let referred = name_at(after_parentheses(columns)?.strip_prefix(b" REFERENCES ")?);
    if statements(text) != 1 || after.ends_with(b" NOT VALID") || !plain.contains(referred) {
        return None;
    }
    let declare = [statement, b" NOT VALID;\n"].concat();
    let validate = [b"ALTER TABLE ONLY ".as_slice(), table, b" VALIDATE CONSTRAINT ", constraint, b";\n"].concat();
    Some((declare, validate))
}
