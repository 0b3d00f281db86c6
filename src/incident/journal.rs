//! The journal: what is about to be done, and what came of it, synced to disk line by line and shown as it is
//! written. One writer. It never decides; a full disk makes it say so once, not stop the run.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::nouns::clock::Clock;
use crate::nouns::names::{HostName, ServiceName};
use crate::nouns::production::Production;
use crate::nouns::record::{Entry, JOURNAL_VERSION, Status, StepWord, What};
use crate::nouns::rules::Judgement;

/// The file in the incident folder.
pub const FILE: &str = "journal.jsonl";

/// A line that an operator typed, once it is there; `None` where nobody can type one.
pub type Typed = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Whoever shows entries as they happen, and can be asked.
pub trait Watcher: Sync {
    fn show(&self, entry: &Entry);

    /// Shows a text and a question, and waits for a line.
    fn ask(&self, text: &str, question: &str) -> Typed;

    /// How far a long step is. It is not kept: nobody needs it afterwards.
    fn progress(&self, progress: &Progress<'_>);

    /// What the rules say at this moment. It is not kept: what is, comes as an entry.
    fn judging(&self, judgement: &Judgement);
}

/// How far a long step of a host is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    pub time: DateTime<Utc>,
    /// Whose, where a run has several services.
    pub service: Option<&'a ServiceName>,
    pub step: StepWord,
    pub host: &'a HostName,
    /// 0 to 100, where it is known.
    pub percent: Option<u8>,
    pub words: &'a str,
}

/// Entries in memory, on disk once there is a folder, and on the screen: those of one service, where a run has several.
pub struct Journal<'a> {
    clock: Clock,
    watcher: &'a dyn Watcher,
    service: Option<ServiceName>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    /// What they come to. Grows with them: nobody reads all of them again for each question.
    production: Production,
    pages: Option<Pages>,
}

/// The file that journals are written to: one, whatever services a run has.
#[derive(Clone)]
pub struct Pages(Arc<Mutex<Page>>);

struct Page {
    file: File,
    /// Why the disk took no more, said once.
    broken: Option<String>,
}

impl<'a> Journal<'a> {
    /// Shows what the rules say at this moment.
    pub fn judging(&self, judgement: &Judgement) {
        self.watcher.judging(judgement);
    }

    pub fn new(clock: Clock, watcher: &'a dyn Watcher) -> Journal<'a> {
        Journal { clock, watcher, service: None, inner: Mutex::new(Inner::default()) }
    }

    /// The same of one of several services.
    #[must_use]
    pub fn of_service(self, name: &ServiceName) -> Journal<'a> {
        Journal { service: Some(name.clone()), ..self }
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere must not lose the journal: what was pushed is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on entries go to this file too; those that were recorded before go there first.
    pub fn keep_in(&self, pages: &Pages) {
        let mut inner = self.inner();
        pages.write(&inner.entries);
        inner.pages = Some(pages.clone());
    }

    /// Records entries with one sync to disk: on return they are there.
    pub fn record_all(&self, whats: impl IntoIterator<Item = What>) {
        let mut inner = self.inner();
        let entries: Vec<Entry> = whats
            .into_iter()
            .map(|what| Entry {
                v: JOURNAL_VERSION,
                time: self.clock.now(),
                at_ms: u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
                service: self.service.clone(),
                what,
            })
            .collect();
        if let Some(pages) = &inner.pages {
            pages.write(&entries);
        }
        for entry in &entries {
            inner.production.take(entry);
        }
        inner.entries.extend(entries.iter().cloned());
        drop(inner);
        for entry in &entries {
            self.watcher.show(entry);
        }
    }

    pub fn record(&self, what: What) {
        self.record_all([what]);
    }

    /// A step that begins without changing anything.
    pub fn begin(&self, step: StepWord, host: Option<&HostName>) -> Timed<'_, 'a> {
        let host = host.cloned();
        let (status, detail) = (Status::Started, String::new());
        self.record(What::Outcome { step, host: host.clone(), of: None, status, ms: 0, detail });
        self.timed(step, host.as_ref())
    }

    /// A step that is timed from now; its intent, if it changes something, was recorded by the caller.
    pub fn timed(&self, step: StepWord, host: Option<&HostName>) -> Timed<'_, 'a> {
        Timed { journal: self, step, host: host.cloned(), of: None, began: self.clock.elapsed() }
    }

    /// The same of one of several of a kind.
    pub fn timed_of(&self, step: StepWord, host: &HostName, of: impl Into<String>) -> Timed<'_, 'a> {
        Timed { of: Some(of.into()), ..self.timed(step, Some(host)) }
    }

    pub fn note(&self, text: impl Into<String>) {
        self.record(What::Note { text: text.into() });
    }

    pub fn gap(&self, host: Option<&HostName>, what: impl Into<String>, why: impl Into<String>) {
        self.record(What::Gap { host: host.cloned(), what: what.into(), why: why.into() });
    }

    /// The service that it is of, where a run has several.
    pub fn service(&self) -> Option<&ServiceName> {
        self.service.as_ref()
    }

    /// Asks whoever watches.
    pub fn ask(&self, text: &str, question: &str) -> Typed {
        self.watcher.ask(text, question)
    }

    /// Shown, and not recorded.
    pub fn progress(&self, progress: &Progress<'_>) {
        self.watcher.progress(progress);
    }

    /// What production is now, by everything that was recorded. `read` must not record.
    pub fn production<T>(&self, read: impl FnOnce(&Production) -> T) -> T {
        read(&self.inner().production)
    }

    /// A copy of all of them: for the report, not for questions.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner().entries.clone()
    }

    /// Asks the entries, newest first, without a copy of them. `read` must not record.
    pub fn newest_first<T>(&self, read: impl FnOnce(&mut dyn Iterator<Item = &Entry>) -> T) -> T {
        read(&mut self.inner().entries.iter().rev())
    }

    /// Takes the lines that people added to the file meanwhile, which are there already.
    pub fn hear_people(&self, path: &Path) {
        let mut inner = self.inner();
        let known = inner.entries.iter().filter(|entry| is_of_a_person(entry)).count();
        let of_people = read(path).unwrap_or_default().into_iter();
        let of_people = of_people.filter(|entry| is_of_a_person(entry) && entry.service == self.service);
        inner.entries.extend(of_people.skip(known));
    }

    /// Why the file does not hold everything, if it does not.
    pub fn trouble(&self) -> Option<String> {
        self.inner().pages.as_ref()?.page().broken.clone()
    }
}

impl Pages {
    pub fn new(file: File) -> Pages {
        Pages(Arc::new(Mutex::new(Page { file, broken: None })))
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        // What was written before a panic is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, entries: &[Entry]) {
        let mut page = self.page();
        let mut write = || -> anyhow::Result<()> {
            let mut lines = Vec::new();
            for entry in entries {
                serde_json::to_writer(&mut lines, entry)?;
                lines.push(b'\n');
            }
            page.file.write_all(&lines)?;
            page.file.sync_data()?;
            Ok(())
        };
        let written = write();
        if let Err(err) = written {
            page.broken.get_or_insert(format!("{err:#}"));
        }
    }
}

/// A step whose end is still to be recorded.
pub struct Timed<'j, 'a> {
    journal: &'j Journal<'a>,
    step: StepWord,
    host: Option<HostName>,
    of: Option<String>,
    began: std::time::Duration,
}

impl Timed<'_, '_> {
    pub fn end(self, status: Status, detail: impl Into<String>) {
        self.end_with(status, detail, []);
    }

    /// The outcome and what follows from it, as one write.
    pub fn end_with(self, status: Status, detail: impl Into<String>, more: impl IntoIterator<Item = What>) {
        let ms = self.journal.clock.elapsed().saturating_sub(self.began).as_millis();
        let outcome = What::Outcome {
            step: self.step,
            host: self.host,
            of: self.of,
            status,
            ms: u64::try_from(ms).unwrap_or(u64::MAX),
            detail: detail.into(),
        };
        self.journal.record_all([outcome].into_iter().chain(more));
    }
}

/// Reads a journal back. A last line of the run that was cut by a crash is left out.
///
/// # Errors
/// When the file cannot be read, or another line is not an entry.
pub fn read(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines: Vec<String> = BufReader::new(file).lines().collect::<Result<_, _>>()?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut damaged = None;
    for (number, line) in lines.iter().enumerate() {
        match (serde_json::from_str::<Entry>(line), damaged.take()) {
            // People add lines behind the last one of a run, also of one that was killed while it wrote.
            (Ok(entry), Some((number, err))) if !is_of_a_person(&entry) => {
                return Err(err).with_context(|| format!("{}: line {number}", path.display()));
            }
            (Ok(entry), _) => entries.push(entry),
            (Err(err), None) => damaged = Some((number + 1, err)),
            (Err(_), Some((number, err))) => {
                return Err(err).with_context(|| format!("{}: line {number}", path.display()));
            }
        }
    }
    Ok(entries)
}

fn is_of_a_person(entry: &Entry) -> bool {
    matches!(entry.what, What::Noted { .. } | What::Resolved { .. } | What::Ticket { .. })
}

/// The right to go on with what a file says, as long as it is held.
#[derive(Debug)]
pub struct Alone(#[expect(dead_code, reason = "the lock goes with the file")] Option<File>);

/// Of several processes on this machine that would go on with a file one has the right; `None` for the others. Where nobody can
/// say (a file system without locks) each has it: better that two do something than that nobody does.
pub fn alone(path: &Path) -> Option<Alone> {
    let Ok(file) = File::open(path) else { return Some(Alone(None)) };
    match file.try_lock() {
        Ok(()) => Some(Alone(Some(file))),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(_)) => Some(Alone(None)),
    }
}

/// Adds a line of a person to the journal of a run that is over, or still goes on. Its time is counted from the run's
/// beginning, as all of them are.
///
/// # Errors
/// When the journal cannot be read or written, or does not even begin.
pub fn add(path: &Path, now: DateTime<Utc>, what: What) -> anyhow::Result<()> {
    let entries = read(path)?;
    let first = entries.first().with_context(|| format!("{} is empty", path.display()))?;
    let since_first = (now - first.time).num_milliseconds();
    let at_ms = first.at_ms.saturating_add_signed(since_first);
    let entry = Entry { v: JOURNAL_VERSION, time: now, at_ms, service: first.service.clone(), what };
    append_line(path, &entry)
}

/// A line of JSON more in a file of them, which is made where there is none; on disk when this returns.
///
/// # Errors
/// When it cannot be written.
pub(super) fn append_line(path: &Path, line: &impl Serialize) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut last = [b'\n'];
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        // A line that was cut stays by itself.
        if last != [b'\n'] {
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        Ok(file.sync_data()?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
