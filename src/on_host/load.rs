//! Loads a plain dump over several connections without unpacking it to disk. Each connection reads the whole dump for
//! itself and loads the tables that no other has taken: reading is five times faster than loading, so they leapfrog.
//! The first also makes the schema and whatever else stands between the rows. Indexes and constraints follow over all
//! connections as soon as their table is there, foreign keys last. What is read is verified on the way; anything that
//! is wrong with it ends the load. Measured against other ways in docs/performance.md.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::psql::Psql;
use super::{Load, source};
use crate::dump::{Reader, Scan, Section};

/// What only makes a load faster and is gone with the session. The last two are the superuser's to set:
/// `deadlock_timeout`, so that an autovacuum in the way of an ALTER TABLE is cancelled after 20 ms and not after 1 s.
const FASTER: &[u8] = b"SET synchronous_commit = off;
SELECT pg_catalog.set_config(name, value, false)
  FROM (VALUES ('wal_init_zero', 'off'), ('deadlock_timeout', '20ms')) AS faster (name, value)
 WHERE (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);
";

/// How often the file that says how far it is is written at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Why a load failed, and what was read until then.
pub struct Failure {
    pub why: String,
    pub is_odd: bool,
    pub scan: Scan,
}

/// Loads it. On return the server has done everything, or nothing goes on any more.
///
/// # Errors
/// [`Failure`].
pub fn load(options: &Load) -> Result<Scan, Failure> {
    let workers = if options.in_order { 1 } else { options.jobs.max(1) };
    let shared = Shared::new(options, workers);
    let scans: Vec<Option<Scan>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|index| {
                let shared = &shared;
                scope.spawn(move || work(index, shared))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    });
    let scan = scans.into_iter().flatten().next().unwrap_or_default();
    let board = shared.board();
    match &board.failed {
        None => Ok(scan),
        Some(why) => Err(Failure { why: why.clone(), is_odd: board.is_odd, scan }),
    }
}

/// What the connections know of each other.
struct Shared<'o> {
    options: &'o Load,
    board: Mutex<Board>,
    changed: Condvar,
    /// Packed bytes that each has read.
    consumed: Vec<Arc<AtomicU64>>,
    reported: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Board {
    failed: Option<String>,
    is_odd: bool,
    has_schema: bool,
    /// COPY blocks that somebody has taken, by their number.
    taken: HashSet<usize>,
    /// Tables that a block was taken for: only the first may begin with an empty table.
    begun: HashSet<String>,
    loaded: HashSet<usize>,
    jobs: Option<Jobs>,
    psqls: Vec<Arc<Mutex<Child>>>,
}

impl<'o> Shared<'o> {
    fn new(options: &'o Load, workers: usize) -> Shared<'o> {
        Shared {
            options,
            board: Mutex::default(),
            changed: Condvar::new(),
            consumed: (0..workers).map(|_| Arc::default()).collect(),
            reported: Mutex::default(),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, board: MutexGuard<'g, Board>) -> MutexGuard<'g, Board> {
        self.changed.wait(board).unwrap_or_else(PoisonError::into_inner)
    }

    /// The first cause counts; whatever fails after it fails because of it.
    fn fail(&self, why: String, is_odd: bool) {
        let mut board = self.board();
        if board.failed.is_none() {
            board.failed = Some(why);
            board.is_odd = is_odd;
        }
        for psql in board.psqls.drain(..) {
            // One that has ended by itself cannot be ended again.
            let _ = psql.lock().unwrap_or_else(PoisonError::into_inner).kill();
        }
        drop(board);
        self.changed.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        if self.board().failed.is_some() { Err(io::Error::other("another connection failed")) } else { Ok(()) }
    }

    fn report(&self, stage: &str, done: u64, total: u64, is_last: bool) {
        let Some(path) = &self.options.progress else { return };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_last && reported.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
            return;
        }
        *reported = Some(Instant::now());
        let fresh = path.with_extension("new");
        // Whoever watches sees an old word then; the load itself is not worse for it.
        let _ =
            std::fs::write(&fresh, format!("{stage} {done} {total}\n")).and_then(|()| std::fs::rename(&fresh, path));
    }

    /// The one that is least far: what it is at is being loaded.
    fn report_rows(&self) {
        let least = self.consumed.iter().map(|consumed| consumed.load(Ordering::Relaxed)).min().unwrap_or(0);
        let stage = if self.board().has_schema { "data" } else { "schema" };
        self.report(stage, least, self.options.bytes, false);
    }
}

/// One connection, from its first word to its last.
fn work(index: usize, shared: &Shared<'_>) -> Option<Scan> {
    let mut worker = match Worker::start(index, shared) {
        Ok(worker) => worker,
        Err(err) => {
            shared.fail(err.to_string(), false);
            return None;
        }
    };
    let (scan, refused) = source::read(&shared.options.read.read, &shared.consumed[index], &mut worker);
    let done = match refused {
        Some(err) => Err((err.to_string(), worker.is_odd)),
        None if scan.is_good() => worker.finish(&scan).map_err(|err| (err.to_string(), false)),
        None => Err((complaint(&scan), false)),
    };
    if let Err((why, is_odd)) = done {
        shared.fail(why, is_odd);
    }
    Some(scan)
}

fn complaint(scan: &Scan) -> String {
    if let Some(error) = &scan.error {
        return error.clone();
    }
    if let Some((line, text)) = scan.offences.first() {
        return format!("line {line} of the dump says `{text}`");
    }
    if scan.is_cluster {
        return "it is a dump of a whole server".to_owned();
    }
    match &scan.inside {
        Some(inside) => format!("the dump is cut off inside {inside}"),
        None => "pg_dump's last line is missing".to_owned(),
    }
}

struct Worker<'s, 'o> {
    index: usize,
    shared: &'s Shared<'o>,
    psql: Psql,
    section: Section,
    kind: String,
    /// Settings that the dump makes before its first item: every connection needs them.
    prologue: Vec<u8>,
    is_set_up: bool,
    /// `SET default_tablespace = …` and its like, as they are in force.
    settings: BTreeMap<String, Vec<u8>>,
    /// Tables that are made by this dump and hold their rows themselves.
    plain_tables: HashSet<String>,
    block: usize,
    /// Bytes of each block's rows, by its number.
    block_bytes: Vec<u64>,
    /// The table of the block that this connection loads.
    loading: Option<Loading>,
    /// What comes after the rows: each item with its type and text.
    items: Vec<Item>,
    is_odd: bool,
}

struct Loading {
    is_frozen: bool,
}

struct Item {
    kind: String,
    text: Vec<u8>,
    settings: Vec<u8>,
}

impl<'s, 'o> Worker<'s, 'o> {
    fn start(index: usize, shared: &'s Shared<'o>) -> io::Result<Worker<'s, 'o>> {
        let psql = Psql::start(&shared.options.psql)?;
        shared.board().psqls.push(psql.handle());
        Ok(Worker {
            index,
            shared,
            psql,
            section: Section::Schema,
            kind: String::new(),
            prologue: Vec::new(),
            is_set_up: false,
            settings: BTreeMap::new(),
            plain_tables: HashSet::new(),
            block: 0,
            block_bytes: Vec::new(),
            loading: None,
            items: Vec::new(),
            is_odd: false,
        })
    }

    fn is_first(&self) -> bool {
        self.index == 0
    }

    /// The schema is there for everybody: the first connection says so, the others wait for it.
    fn need_schema(&mut self) -> io::Result<()> {
        if self.is_set_up {
            return Ok(());
        }
        self.is_set_up = true;
        if self.is_first() {
            self.psql.sync()?;
            self.shared.board().has_schema = true;
            self.shared.changed.notify_all();
            return self.psql.send(FASTER);
        }
        let mut board = self.shared.board();
        while !board.has_schema && board.failed.is_none() {
            board = self.shared.wait(board);
        }
        drop(board);
        self.shared.check()?;
        let prologue = std::mem::take(&mut self.prologue);
        self.psql.send(&prologue)?;
        self.psql.send(FASTER)
    }

    /// After the last byte: the rest of the work, together with the others.
    fn finish(mut self, scan: &Scan) -> io::Result<()> {
        self.need_schema()?;
        let items = std::mem::take(&mut self.items);
        {
            let mut board = self.shared.board();
            if board.jobs.is_none() {
                board.jobs = Some(Jobs::of(items, scan, &self.block_bytes));
            }
        }
        self.shared.changed.notify_all();
        while let Some((number, sql)) = self.next_job()? {
            self.psql.send(&sql)?;
            self.psql.sync()?;
            let mut board = self.shared.board();
            if let Some(jobs) = &mut board.jobs {
                jobs.done(number);
                let (stage, done, total) = jobs.standing();
                drop(board);
                self.shared.report(stage, done, total, false);
            }
            self.shared.changed.notify_all();
        }
        self.psql.end()
    }

    /// The next thing to do, waited for; `None` when nothing is left.
    fn next_job(&mut self) -> io::Result<Option<(usize, Vec<u8>)>> {
        let mut board = self.shared.board();
        loop {
            if board.failed.is_some() {
                return Err(io::Error::other("another connection failed"));
            }
            let Board { jobs, loaded, .. } = &mut *board;
            match jobs.as_mut().map(|jobs| jobs.next(loaded)) {
                Some(Next::Job(number, sql)) => return Ok(Some((number, sql))),
                Some(Next::Nothing) => return Ok(None),
                Some(Next::Later) | None => board = self.shared.wait(board),
            }
        }
    }
}

impl Reader for Worker<'_, '_> {
    fn item(&mut self, kind: &str, section: Section) -> io::Result<()> {
        self.kind = kind.to_owned();
        if self.shared.options.in_order {
            return Ok(());
        }
        self.section = section;
        if section == Section::After {
            let settings = self.settings.values().flatten().copied().collect();
            self.items.push(Item { kind: kind.to_owned(), text: Vec::new(), settings });
        }
        if section > Section::Schema { self.need_schema() } else { Ok(()) }
    }

    fn statement(&mut self, text: &[u8], is_last: bool) -> io::Result<()> {
        if is_last && text.len() < 400 {
            let said = String::from_utf8_lossy(text);
            if let Some(name) = ["SET default_tablespace", "SET default_table_access_method"]
                .iter()
                .find(|name| said.trim_start().starts_with(**name))
            {
                let mut line = text.to_vec();
                line.push(b'\n');
                self.settings.insert((*name).to_owned(), line);
            }
        }
        match self.section {
            Section::After => {
                // A setting stands before the item that it is for, and is with each item anyway.
                if let Some(item) = self.items.last_mut() {
                    item.text.extend_from_slice(text);
                    if is_last {
                        item.text.push(b'\n');
                    }
                }
                return Ok(());
            }
            Section::Schema if self.kind.is_empty() => {
                self.prologue.extend_from_slice(text);
                self.prologue.push(b'\n');
            }
            Section::Schema if self.kind == "TABLE" => self.note_table(text),
            Section::Schema | Section::Rows => {}
        }
        if self.is_first() {
            self.psql.send(text)?;
            if is_last {
                self.psql.send(b"\n")?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, statement: &str, name: &str) -> io::Result<()> {
        let number = self.block;
        self.block += 1;
        self.block_bytes.push(0);
        if !self.shared.options.in_order && self.section != Section::Rows {
            self.is_odd = true;
            return Err(io::Error::other("the dump is not in pg_dump's order"));
        }
        self.need_schema()?;
        let is_frozen = {
            let mut board = self.shared.board();
            if board.failed.is_some() || !board.taken.insert(number) {
                drop(board);
                return self.shared.check();
            }
            board.begun.insert(name.to_owned())
                && !self.shared.options.in_order
                && self.plain_tables.contains(name)
                && statement.ends_with(" FROM stdin;")
        };
        if is_frozen {
            // Rows that no other transaction can ever see otherwise need no second visit: COPY FREEZE.
            let copy = statement.trim_end_matches(';');
            self.psql.send(format!("BEGIN;\nTRUNCATE ONLY {name};\n{copy} WITH (FREEZE);\n").as_bytes())?;
        } else {
            self.psql.send(format!("{statement}\n").as_bytes())?;
        }
        self.loading = Some(Loading { is_frozen });
        Ok(())
    }

    fn rows(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(total) = self.block_bytes.last_mut() {
            *total += bytes.len() as u64;
        }
        if self.loading.is_some() {
            self.psql.send(bytes)?;
        }
        self.shared.report_rows();
        Ok(())
    }

    fn copied(&mut self, _rows: u64) -> io::Result<()> {
        let Some(loading) = self.loading.take() else { return self.shared.check() };
        self.psql.send(if loading.is_frozen { b"\\.\nCOMMIT;\n" } else { b"\\.\n" })?;
        self.psql.sync()?;
        self.shared.board().loaded.insert(self.block - 1);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn offence(&mut self, line: u64, text: &str) -> io::Result<()> {
        Err(io::Error::other(format!("line {line} of the dump says `{text}`")))
    }
}

impl Worker<'_, '_> {
    fn note_table(&mut self, text: &[u8]) {
        let said = String::from_utf8_lossy(text);
        let said = said.trim_start();
        let rest = said.strip_prefix("CREATE TABLE ").or_else(|| said.strip_prefix("CREATE UNLOGGED TABLE "));
        if let Some(rest) = rest
            && !said.contains("\nPARTITION BY ")
        {
            self.plain_tables.insert(name_at(rest).to_owned());
        }
    }
}

/// The name that a text begins with, quotes and schema and all.
fn name_at(text: &str) -> &str {
    let mut is_quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            ' ' | '(' | '\n' | ';' | '\t' if !is_quoted => return &text[..at],
            _ => {}
        }
    }
    text
}

/// What comes after the rows, in stages: each begins when the one before is over.
struct Jobs {
    jobs: Vec<Job>,
}

struct Job {
    stage: Stage,
    /// The table, where it is known; no two jobs of a table that one of them locks run at once.
    table: Option<String>,
    is_exclusive: bool,
    /// COPY blocks that must be loaded first.
    blocks: Vec<usize>,
    sql: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Indexes, keys and unique constraints, side by side.
    Indexes,
    /// Everything else in the dump's order, one after the other.
    Rest,
    /// Foreign keys, declared one after the other.
    ForeignKeys,
    /// And checked side by side.
    Validation,
}

enum Next {
    Job(usize, Vec<u8>),
    /// Somebody else must finish something first.
    Later,
    Nothing,
}

impl Jobs {
    fn of(items: Vec<Item>, scan: &Scan, block_bytes: &[u64]) -> Jobs {
        let mut jobs: Vec<(u64, Job)> = Vec::new();
        let blocks_of = |table: &str| -> Vec<usize> {
            scan.rows.iter().enumerate().filter(|(_, (name, _))| name == table).map(|(number, _)| number).collect()
        };
        let bytes_of =
            |table: &str| -> u64 { blocks_of(table).into_iter().filter_map(|number| block_bytes.get(number)).sum() };
        let mut add = |stage, table: Option<&str>, is_exclusive, settings: &[u8], sql: &[u8]| {
            let blocks = table.map(blocks_of).unwrap_or_default();
            let weight = table.map_or(0, bytes_of) * slowness(sql);
            let table = table.map(str::to_owned);
            let sql = [settings, sql].concat();
            jobs.push((weight, Job { stage, table, is_exclusive, blocks, sql, state: State::Waiting }));
        };
        for item in &items {
            let text = String::from_utf8_lossy(&item.text);
            match item.kind.as_str() {
                "INDEX" => {
                    let table = text.split_once(" ON ").map(|(_, on)| name_at(on.strip_prefix("ONLY ").unwrap_or(on)));
                    // Only one statement: what else stands there (CLUSTER ON, SET STATISTICS) locks the table.
                    let is_alone = text.matches(";\n").count() == 1;
                    add(Stage::Indexes, table, !is_alone, &item.settings, &item.text);
                }
                "CONSTRAINT" => {
                    add(Stage::Indexes, altered(&text), true, &item.settings, &item.text);
                }
                "FK CONSTRAINT" => match validated_later(&text) {
                    Some((declare, validate)) => {
                        let table = altered(&text);
                        add(Stage::ForeignKeys, None, true, &item.settings, declare.as_bytes());
                        add(Stage::Validation, table, true, &item.settings, validate.as_bytes());
                    }
                    None => add(Stage::ForeignKeys, None, true, &item.settings, &item.text),
                },
                _ => add(Stage::Rest, None, true, &item.settings, &item.text),
            }
        }
        // The largest table first where the order is ours; a stable sort, so that the others keep the dump's.
        jobs.sort_by_key(|(weight, job)| {
            let is_ours = matches!(job.stage, Stage::Indexes | Stage::Validation);
            (job.stage, std::cmp::Reverse(if is_ours { *weight } else { 0 }))
        });
        Jobs { jobs: jobs.into_iter().map(|(_, job)| job).collect() }
    }

    fn next(&mut self, loaded: &HashSet<usize>) -> Next {
        let Some(stage) = self.jobs.iter().filter(|job| job.state != State::Done).map(|job| job.stage).min() else {
            return Next::Nothing;
        };
        let is_one_by_one = matches!(stage, Stage::Rest | Stage::ForeignKeys);
        let mut found = None;
        for (number, job) in self.jobs.iter().enumerate().filter(|(_, job)| job.stage == stage) {
            let is_free = job.state == State::Waiting
                && job.blocks.iter().all(|block| loaded.contains(block))
                && !self.is_in_the_way(job, is_one_by_one);
            if is_free {
                found = Some(number);
                break;
            }
            if is_one_by_one && job.state != State::Done {
                break;
            }
        }
        match found {
            None => Next::Later,
            Some(number) => {
                let job = &mut self.jobs[number];
                job.state = State::Running;
                Next::Job(number, std::mem::take(&mut job.sql))
            }
        }
    }

    fn is_in_the_way(&self, job: &Job, is_one_by_one: bool) -> bool {
        self.jobs
            .iter()
            .filter(|other| other.state == State::Running)
            .any(|other| is_one_by_one || (other.table == job.table && (other.is_exclusive || job.is_exclusive)))
    }

    fn done(&mut self, number: usize) {
        self.jobs[number].state = State::Done;
    }

    /// Stage, jobs done, jobs in all.
    fn standing(&self) -> (&'static str, u64, u64) {
        let late = |job: &&Job| matches!(job.stage, Stage::ForeignKeys | Stage::Validation);
        let is_late = self.jobs.iter().filter(|job| !late(job)).all(|job| job.state == State::Done);
        let of: Vec<&Job> = self.jobs.iter().filter(|job| late(job) == is_late).collect();
        let done = of.iter().filter(|job| job.state == State::Done).count();
        (if is_late { "constraints" } else { "indexes" }, done as u64, of.len() as u64)
    }
}

/// How much slower an index is than a btree over a column: what takes longest must not come last, when the others have
/// nothing left to do beside it. Measured: GIN 6 s where a btree of the same table took 0.7 s.
fn slowness(sql: &[u8]) -> u64 {
    let is_in = |needle: &str| memchr::memmem::find(sql, needle.as_bytes()).is_some();
    if is_in(" USING gin ") || is_in(" USING gist ") || is_in(" USING spgist ") || is_in(" USING hnsw ") {
        8
    } else {
        1
    }
}

/// The table of `ALTER TABLE ONLY name`.
fn altered(text: &str) -> Option<&str> {
    let rest = text.split_once("ALTER TABLE ")?.1;
    Some(name_at(rest.strip_prefix("ONLY ").unwrap_or(rest)))
}

/// A foreign key as two statements: declared in no time, then checked beside others. `None` where the server does not
/// take it apart (pg_dump leaves `ONLY` out for a partitioned table), or where there is nothing to check.
fn validated_later(text: &str) -> Option<(String, String)> {
    let statement = text.trim().strip_suffix(';')?;
    let rest = statement.strip_prefix("ALTER TABLE ONLY ")?;
    let table = name_at(rest);
    let after = rest[table.len()..].trim_start().strip_prefix("ADD CONSTRAINT ")?;
    let constraint = name_at(after);
    if !after[constraint.len()..].starts_with(" FOREIGN KEY ") || after.contains(';') || after.ends_with(" NOT VALID") {
        return None;
    }
    let declare = format!("{statement} NOT VALID;\n");
    Some((declare, format!("ALTER TABLE ONLY {table} VALIDATE CONSTRAINT {constraint};\n")))
}
