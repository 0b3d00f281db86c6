//! Loads a plain dump over several connections without unpacking it to disk. Each connection reads the whole dump for
//! itself and loads the tables that no other has taken, and of a table that is most of the dump the parts: reading is five
//! times faster than loading, so they leapfrog. The first also makes the schema and whatever else stands between the rows. Indexes and constraints follow over all
//! connections as soon as their table is there, foreign keys last. What is read is verified on the way; anything that
//! is wrong with it ends the load. Measured against other ways in docs/performance.md.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::dump::{Reader, Scan, Section};
use super::jobs::{Block, Item, Jobs, Next};
use super::psql::{Handle, Psql};
use super::source;
use super::statement::name_at;

/// What only makes a load faster and is gone with the session. The last two are the superuser's to set:
/// `deadlock_timeout`, so that an autovacuum in the way of an ALTER TABLE is cancelled after 20 ms and not after 1 s.
const FASTER: &[u8] = b"SET synchronous_commit = off;
SELECT pg_catalog.set_config(name, value, false)
  FROM (VALUES ('wal_init_zero', 'off'), ('deadlock_timeout', '20ms')) AS faster (name, value)
 WHERE (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);
";

/// How often the file that says how far it is is written at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Rows that are held until it is clear whether their table is large: for a small one, TRUNCATE and FREEZE cost more
/// than they save (ten thousand tables of ten rows: 16 s with, 11 s without).
const SMALL_BYTES: usize = 64 << 10;

/// The rows of a block that is split go to the connections in parts of this many bytes, and the rest of a row: large enough
/// that a transaction for each costs nothing, small enough that all connections end together.
const PART_BYTES: usize = 8 << 20;

/// Small blocks, or parts of a large one, that may be on their way before one waits for the server.
const UNCONFIRMED: usize = 64;

/// psql ends a moment after its statement was cancelled. One that does not is killed, and one that may not be killed
/// (it is behind sudo) ends by itself when its input does.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a dump sets at its beginning is a handful of lines.
const PROLOGUE_BYTES: usize = 64 << 10;

/// What it ends with when the dump must be loaded in order, into a database that is empty again.
pub const ODD: u8 = 3;

/// What a load is told.
#[derive(Debug, Clone)]
pub struct LoadWords {
    /// The command whose output is the dump.
    pub read: Vec<String>,
    /// Connections at once.
    pub jobs: usize,
    /// Where is written how far it is.
    pub progress: Option<PathBuf>,
    /// The size of the file, for the progress.
    pub bytes: u64,
    /// One statement after the other, as they come.
    pub in_order: bool,
    /// COPY blocks, by their places among all, whose rows all connections load together.
    pub split: Vec<usize>,
    /// psql with its options.
    pub psql: Vec<String>,
}

impl Default for LoadWords {
    fn default() -> Self {
        LoadWords {
            read: Vec::new(),
            jobs: 2,
            progress: None,
            bytes: 0,
            in_order: false,
            split: Vec::new(),
            psql: Vec::new(),
        }
    }
}

/// Why a load failed, and what was read until then.
pub struct LoadFailure {
    pub why: String,
    pub is_odd: bool,
    pub scan: Scan,
}

/// Loads it. On return the server has done everything, or nothing is sent any more.
///
/// # Errors
/// [`LoadFailure`].
pub fn load(options: &LoadWords) -> Result<Scan, Box<LoadFailure>> {
    let workers = if options.in_order { 1 } else { options.jobs.max(1) };
    let shared = Arc::new(Shared::new(options.clone(), workers));
    // Not waited for without end: one whose psql does not end must not keep the others' news from anybody.
    for index in 0..workers {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            let scan = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(index, &shared)));
            let scan = scan.unwrap_or_else(|_| {
                shared.fail("a thread of the load broke", false);
                None
            });
            shared.board().ended.push((index, scan));
            shared.changed.notify_all();
        });
    }
    let mut board = shared.board();
    let mut failed_at = None;
    let mut is_killed = false;
    while board.ended.len() < workers {
        board = shared.wait_a_moment(board);
        if board.failed.is_none() {
            continue;
        }
        let waited = failed_at.get_or_insert_with(Instant::now).elapsed();
        if waited > PATIENCE && !is_killed {
            is_killed = true;
            board.psqls.iter().for_each(Handle::kill);
        } else if waited > 2 * PATIENCE {
            break;
        }
    }
    board.ended.sort_by_key(|(index, _)| *index);
    let scans: Vec<Scan> = board.ended.iter_mut().filter_map(|(_, scan)| scan.take()).collect();
    let failed = board.failed.take().or_else(|| {
        // Each opens the file for itself, and each must have read the same.
        scans.windows(2).any(|pair| pair[0] != pair[1]).then(|| "the dump changed while it was read".to_owned())
    });
    let is_odd = board.is_odd;
    drop(board);
    let scan = scans.into_iter().max_by_key(|scan| (scan.error.is_some(), scan.bytes)).unwrap_or_default();
    match failed {
        None => Ok(scan),
        Some(why) => Err(Box::new(LoadFailure { why, is_odd, scan })),
    }
}

/// What the connections know of each other.
struct Shared {
    options: LoadWords,
    board: Mutex<Board>,
    changed: Condvar,
    has_failed: AtomicBool,
    /// Packed bytes that each has read.
    consumed: Vec<Arc<AtomicU64>>,
    reported: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Board {
    failed: Option<String>,
    is_odd: bool,
    has_schema: bool,
    /// Parts of COPY blocks that somebody has taken: the block's number, and the part's within it.
    taken: HashSet<(usize, usize)>,
    /// Tables that a block was taken for: only the first may begin with an empty table.
    begun: HashSet<Vec<u8>>,
    /// How much of each block is loaded, by its number.
    loaded: HashMap<usize, PartsLoaded>,
    /// The first connection has done all that stands between the rows.
    rows_are_over: bool,
    jobs: Option<Jobs>,
    psqls: Vec<Handle>,
    /// Connections that are over, and what each has read.
    ended: Vec<(usize, Option<Scan>)>,
}

#[derive(Default)]
struct PartsLoaded {
    parts_done: usize,
    /// Known once somebody has read to the block's end.
    parts: Option<usize>,
}

impl PartsLoaded {
    fn is_whole(&self) -> bool {
        self.parts == Some(self.parts_done)
    }
}

impl Board {
    /// `more` parts of a block are loaded; `parts` is how many it has, where that is known.
    fn note(&mut self, block: usize, more: usize, parts: Option<usize>) {
        let loaded = self.loaded.entry(block).or_default();
        let was_whole = loaded.is_whole();
        loaded.parts_done += more;
        loaded.parts = loaded.parts.or(parts);
        if let Some(jobs) = self.jobs.as_mut().filter(|_| !was_whole && loaded.is_whole()) {
            jobs.loaded(block);
        }
    }
}

impl Shared {
    fn new(options: LoadWords, workers: usize) -> Shared {
        Shared {
            options,
            board: Mutex::default(),
            changed: Condvar::new(),
            has_failed: AtomicBool::new(false),
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

    fn wait_a_moment<'g>(&self, board: MutexGuard<'g, Board>) -> MutexGuard<'g, Board> {
        self.changed.wait_timeout(board, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The first cause counts; whatever fails after it fails because of it.
    fn fail(&self, why: &str, is_odd: bool) {
        let mut board = self.board();
        if board.failed.is_none() {
            board.failed = Some(why.to_owned());
            board.is_odd = is_odd;
            self.has_failed.store(true, Ordering::Release);
            // The server lets go of what it is at; nobody waits for an index of a table that will be dropped.
            board.psqls.iter().for_each(Handle::cancel);
        }
        drop(board);
        self.changed.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        if self.has_failed.load(Ordering::Acquire) {
            Err(io::Error::other("another connection failed"))
        } else {
            Ok(())
        }
    }

    fn report(&self, stage: &str, done: u64, total: u64) {
        let Some(path) = &self.options.progress else { return };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = done == total && stage == "constraints";
        if !is_over && reported.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
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
        self.report(stage, least, self.options.bytes);
    }
}

/// One connection, from its first word to its last.
fn work(index: usize, shared: &Shared) -> Option<Scan> {
    let mut worker = match Worker::start(index, shared) {
        Ok(worker) => worker,
        Err(err) => {
            shared.fail(&err.to_string(), false);
            return None;
        }
    };
    let (scan, refused) = source::read(&shared.options.read, &shared.consumed[index], &mut worker);
    let is_odd = worker.is_odd;
    let done = match refused {
        Some(err) => Err(err.to_string()),
        None if scan.is_good() => worker.finish(&scan).map_err(|err| err.to_string()),
        None => Err(complaint(&scan)),
    };
    if let Err(why) = done {
        shared.fail(&why, is_odd);
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
        _ if scan.bytes == 0 => "the dump is empty".to_owned(),
        Some(inside) => format!("the dump is cut off inside {inside}"),
        None => "the dump is cut off: pg_dump's last line is missing".to_owned(),
    }
}

struct Worker<'s> {
    index: usize,
    shared: &'s Shared,
    psql: Psql,
    section: Section,
    kind: String,
    /// Settings that the dump makes before its first item: every connection needs them.
    prologue: Vec<u8>,
    is_set_up: bool,
    /// `SET default_tablespace = …` and its like, as they are in force.
    settings: BTreeMap<String, Vec<u8>>,
    /// What stands before the first item and drops what a new database does not have (`pg_dump --clean`) may fail.
    is_lenient: bool,
    /// Tables that are made by this dump and hold their rows themselves.
    plain_tables: HashSet<Vec<u8>>,
    /// All that were read so far.
    blocks: Vec<Block>,
    /// Which part of the last block is being read, and how far.
    part: Part,
    /// The part that this connection loads.
    loading: Option<Loading>,
    /// Parts that were sent, but not yet confirmed by the server, each by its block.
    unconfirmed: Vec<usize>,
    /// What comes after the rows: each item with its type and text.
    items: Vec<Item>,
    is_odd: bool,
}

/// A part of a block's rows; the whole block, where it is not split.
#[derive(Default)]
struct Part {
    statement: Vec<u8>,
    name: Vec<u8>,
    is_split: bool,
    number: usize,
    bytes: usize,
}

impl Part {
    /// Where in the next bytes it ends: with the row that is then read.
    fn end_in(&self, bytes: &[u8]) -> Option<usize> {
        let from = PART_BYTES.saturating_sub(self.bytes);
        let rest = bytes.get(from..).filter(|_| self.is_split)?;
        memchr::memchr(b'\n', rest).map(|at| from + at + 1)
    }
}

struct Loading {
    /// Whether the table is empty and nobody else can see it.
    can_be_frozen: bool,
    /// The first rows, until the block is known to be large.
    held: Vec<u8>,
    is_begun: bool,
    /// The rows' last two bytes: the end mark must end its line as they do.
    tail: [u8; 2],
}

impl<'s> Worker<'s> {
    fn start(index: usize, shared: &'s Shared) -> io::Result<Worker<'s>> {
        let psql = Psql::start(&shared.options.psql)?;
        shared.board().psqls.push(psql.handle());
        shared.check()?;
        Ok(Worker {
            index,
            shared,
            psql,
            section: Section::Schema,
            kind: String::new(),
            prologue: Vec::new(),
            is_set_up: false,
            settings: BTreeMap::new(),
            is_lenient: false,
            plain_tables: HashSet::new(),
            blocks: Vec::new(),
            part: Part::default(),
            loading: None,
            unconfirmed: Vec::new(),
            items: Vec::new(),
            is_odd: false,
        })
    }

    fn is_first(&self) -> bool {
        self.index == 0
    }

    fn is_in_order(&self) -> bool {
        self.shared.options.in_order
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
        if self.is_first() {
            self.psql.sync()?;
        }
        self.confirm()?;
        let items = std::mem::take(&mut self.items);
        {
            let mut board = self.shared.board();
            let Board { jobs, loaded, rows_are_over, .. } = &mut *board;
            let jobs = jobs.get_or_insert_with(|| {
                let is_loaded = |block| loaded.get(&block).is_some_and(PartsLoaded::is_whole);
                Jobs::of(items, &self.blocks, &self.plain_tables, scan.inserts > 0, is_loaded)
            });
            if self.is_first() {
                *rows_are_over = true;
            }
            if *rows_are_over {
                jobs.rows_are_over();
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
                self.shared.report(stage, done, total);
            }
            self.shared.changed.notify_all();
        }
        self.psql.end()
    }

    /// The next thing to do, waited for; `None` when nothing is left.
    fn next_job(&mut self) -> io::Result<Option<(usize, Vec<u8>)>> {
        let mut board = self.shared.board();
        loop {
            self.shared.check()?;
            match board.jobs.as_mut().map(Jobs::next) {
                Some(Next::Job { number, sql, .. }) => return Ok(Some((number, sql))),
                Some(Next::Nothing) => return Ok(None),
                Some(Next::Later) | None => board = self.shared.wait(board),
            }
        }
    }

    /// Waits until the server has all parts that were sent, and says so.
    fn confirm(&mut self) -> io::Result<()> {
        if self.unconfirmed.is_empty() {
            return Ok(());
        }
        self.psql.sync()?;
        let mut board = self.shared.board();
        for block in self.unconfirmed.drain(..) {
            board.note(block, 1, None);
        }
        drop(board);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// The part that is read now is loaded here, unless another connection does so already.
    fn take(&mut self) {
        let block = self.blocks.len() - 1;
        let Part { statement, name, is_split, number, .. } = &self.part;
        let mut board = self.shared.board();
        if !board.taken.insert((block, *number)) {
            return;
        }
        let is_first = board.begun.insert(name.clone());
        drop(board);
        let can_be_frozen = is_first
            && !is_split
            && !self.is_in_order()
            && self.plain_tables.contains(name)
            && statement.ends_with(b" FROM stdin;");
        self.loading = Some(Loading { can_be_frozen, held: Vec::new(), is_begun: false, tail: [0; 2] });
    }

    /// Rows of one part.
    fn part_of_rows(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.part.bytes += bytes.len();
        let Some(loading) = &mut self.loading else { return Ok(()) };
        loading.tail = match bytes {
            [.., first, second] => [*first, *second],
            [only] => [loading.tail[1], *only],
            [] => loading.tail,
        };
        if loading.is_begun {
            return self.psql.send(bytes);
        }
        loading.held.extend_from_slice(bytes);
        if loading.held.len() > SMALL_BYTES { self.begin(true) } else { Ok(()) }
    }

    /// The part was read to its end.
    fn part_ends(&mut self) -> io::Result<()> {
        let Some(loading) = &self.loading else { return Ok(()) };
        let is_begun = loading.is_begun;
        let mark: &[u8] = if loading.tail == *b"\r\n" { b"\\.\r\nCOMMIT;\n" } else { b"\\.\nCOMMIT;\n" };
        if self.part.bytes > 0 {
            if !is_begun {
                self.begin(false)?;
            }
            self.psql.send(mark)?;
        }
        self.loading = None;
        self.unconfirmed.push(self.blocks.len() - 1);
        let is_enough = self.unconfirmed.len() >= UNCONFIRMED || (is_begun && !self.part.is_split);
        if is_enough { self.confirm() } else { Ok(()) }
    }

    /// The part's COPY, and its rows as far as they were held.
    fn begin(&mut self, is_large: bool) -> io::Result<()> {
        let Some(loading) = &mut self.loading else { return Ok(()) };
        loading.is_begun = true;
        let held = std::mem::take(&mut loading.held);
        // A transaction, so that a block of which psql sees only the beginning leaves nothing.
        let mut text = b"BEGIN;\n".to_vec();
        if is_large && loading.can_be_frozen {
            // Rows that no other transaction can ever see otherwise need no second visit: COPY FREEZE.
            text.extend_from_slice(b"TRUNCATE ONLY ");
            text.extend_from_slice(&self.part.name);
            text.extend_from_slice(b";\n");
            text.extend_from_slice(self.part.statement.strip_suffix(b";").unwrap_or(&self.part.statement));
            text.extend_from_slice(b" WITH (FREEZE);\n");
        } else {
            text.extend_from_slice(&self.part.statement);
            text.push(b'\n');
        }
        text.extend_from_slice(&held);
        self.psql.send(&text)
    }

    /// A setting that the items after it need.
    fn note_setting(&mut self, text: &[u8]) {
        let names = [&b"SET default_tablespace"[..], b"SET default_table_access_method"];
        if let Some(name) = names.iter().find(|name| text.starts_with(name)) {
            let line = [text, b"\n"].concat();
            self.settings.insert(String::from_utf8_lossy(name).into_owned(), line);
        }
    }

    fn note_table(&mut self, text: &[u8]) {
        let rest = text.strip_prefix(b"CREATE TABLE ").or_else(|| text.strip_prefix(b"CREATE UNLOGGED TABLE "));
        if let Some(rest) = rest
            && memchr::memmem::find(text, b"\nPARTITION BY ").is_none()
        {
            self.plain_tables.insert(name_at(rest).to_vec());
        }
    }

    /// What stands before the first item: settings, which everybody needs, and what `pg_dump --clean` drops.
    fn note_prologue(&mut self, text: &[u8]) -> io::Result<()> {
        let is_setting = text.starts_with(b"SET ") || text.starts_with(b"SELECT pg_catalog.set_config(");
        if is_setting && self.prologue.len() + text.len() < PROLOGUE_BYTES {
            self.prologue.extend_from_slice(text);
            self.prologue.push(b'\n');
        }
        let has = |words: &[u8]| memchr::memmem::find(text, words).is_some();
        let drops = text.starts_with(b"DROP ")
            || (text.starts_with(b"ALTER ") && has(b" DROP "))
            || text.starts_with(b"SELECT pg_catalog.lo_unlink(")
            // A view that others need is emptied before it is dropped.
            || (text.starts_with(b"CREATE OR REPLACE VIEW ") && has(b" AS\nSELECT\n    NULL::"));
        self.be_lenient(drops)
    }

    fn be_lenient(&mut self, is_lenient: bool) -> io::Result<()> {
        if !self.is_first() || std::mem::replace(&mut self.is_lenient, is_lenient) == is_lenient {
            return Ok(());
        }
        self.psql.send(if is_lenient { b"\\set ON_ERROR_STOP 0\n" } else { b"\\set ON_ERROR_STOP 1\n" })
    }
}

impl Reader for Worker<'_> {
    fn item(&mut self, kind: &str, section: Section) -> io::Result<()> {
        self.be_lenient(false)?;
        self.kind = kind.to_owned();
        if self.is_in_order() {
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
        self.shared.check()?;
        if is_last && text.len() < 400 {
            self.note_setting(text);
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
            Section::Schema if self.kind.is_empty() => self.note_prologue(text)?,
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

    fn odd(&mut self) -> io::Result<()> {
        if self.is_in_order() {
            return Ok(());
        }
        self.is_odd = true;
        Err(io::Error::other("the dump is not in pg_dump's order"))
    }

    fn copy(&mut self, statement: &[u8], name: &[u8]) -> io::Result<()> {
        self.shared.check()?;
        self.be_lenient(false)?;
        // Rows in another format than pg_dump's need not end with their line.
        let is_split = self.shared.options.split.contains(&self.blocks.len())
            && statement.ends_with(b" FROM stdin;")
            && !self.is_in_order();
        self.blocks.push(Block { table: name.to_vec(), bytes: 0 });
        self.need_schema()?;
        self.part = Part { statement: statement.to_vec(), name: name.to_vec(), is_split, number: 0, bytes: 0 };
        self.take();
        Ok(())
    }

    fn rows(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.shared.check()?;
        if let Some(block) = self.blocks.last_mut() {
            block.bytes += bytes.len() as u64;
        }
        while let Some(end) = self.part.end_in(bytes) {
            self.part_of_rows(&bytes[..end])?;
            self.part_ends()?;
            self.part.number += 1;
            self.part.bytes = 0;
            self.take();
            bytes = &bytes[end..];
        }
        self.part_of_rows(bytes)?;
        self.shared.report_rows();
        Ok(())
    }

    fn copied(&mut self, _rows: u64) -> io::Result<()> {
        self.shared.check()?;
        if self.part.is_split || self.loading.is_some() {
            self.shared.board().note(self.blocks.len() - 1, 0, Some(self.part.number + 1));
        }
        self.part_ends()?;
        if self.part.is_split { self.confirm() } else { Ok(()) }
    }

    fn offence(&mut self, line: u64, text: &str) -> io::Result<()> {
        Err(io::Error::other(format!("line {line} of the dump says `{text}`")))
    }
}
