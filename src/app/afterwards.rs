//! What is done about an incident when its run is over, or from beside it: a note, its end, its report once more, and the
//! history of all of them. Reads and writes the folders of this machine; asks no host.

use std::path::{Path, PathBuf};

use super::{Run, Session};
use crate::incident::folder::{self, Folder};
use crate::incident::journal::{self, Journal};
use crate::incident::past;
use crate::nouns::production::Verdict;
use crate::nouns::record::{Entry, StepWord, TicketState, What};
use crate::nouns::redact::Redactor;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::tell::history::{self, INDEX, Past};
use crate::tell::known::{KNOWN, Known};
use crate::tell::message;
use crate::tell::notify::{self, Outbox};
use crate::tell::page;
use crate::tell::render::Templates;
use crate::tell::report;
use crate::tell::story::Story;
use crate::tell::terminal::line::Note;
use crate::tell::ticket::{self, Tracker};

/// An incident, read back.
pub(super) struct ReadBack {
    folder: Folder,
    journals: Vec<Vec<Entry>>,
    known: Vec<Known>,
    /// Whether all that the report was made of is there: not in folders of before it was kept.
    is_whole: bool,
}

impl ReadBack {
    pub(super) fn open(path: PathBuf) -> Result<ReadBack, String> {
        let name = past::name_of(&path).unwrap_or_default();
        let journals = past::journals(&path).map_err(|err| format!("{name} cannot be read back: {err:#}"))?;
        if journals.is_empty() {
            return Err(format!("{name} has no beginning in its journal"));
        }
        let known: Vec<Option<Known>> = journals
            .iter()
            .map(|entries| {
                let part = entries.first().and_then(|entry| entry.service.as_ref());
                let file = part.map_or_else(|| path.join(KNOWN), |service| path.join(service.as_str()).join(KNOWN));
                serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
            })
            .collect();
        let is_whole = known.iter().all(Option::is_some);
        // The journal alone is enough for a report, if a poorer one.
        let known = known.into_iter().map(Option::unwrap_or_default).collect();
        Ok(ReadBack { folder: Folder::open(path), journals, known, is_whole })
    }

    pub(super) fn stories(&self) -> Vec<Story<'_>> {
        let local_offset = *chrono::Local::now().offset();
        let parts = self.journals.iter().zip(&self.known);
        parts.map(|(entries, known)| Story { known, entries, local_offset }).collect()
    }

    pub(super) fn name(&self) -> String {
        past::name_of(self.folder.path()).unwrap_or_default()
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// After a line that was added to it.
    pub(super) fn refresh_sum_of_journal(&self) -> Result<(), String> {
        self.folder.refresh_sum(journal::FILE).map_err(|err| format!("{err:#}"))
    }

    /// What is known of its ticket at that tracker.
    pub(super) fn ticket(&self, at: &str) -> Option<TicketState> {
        self.journals
            .iter()
            .flatten()
            .filter_map(|entry| {
                let What::Ticket { tracker, state, .. } = &entry.what else { return None };
                (tracker == at).then(|| state.clone())
            })
            .next_back()
    }

    /// Who called it over, and when.
    fn resolved(&self) -> Option<String> {
        self.journals.iter().flatten().find_map(|entry| {
            let What::Resolved { by, .. } = &entry.what else { return None };
            Some(format!("{by} at {} UTC", entry.time.format("%Y-%m-%d %H:%M")))
        })
    }

    /// Report, page and postmortem once more; the last one only where nobody has gone on with it. What was written.
    fn write(&self, templates: &Templates, redactor: &Redactor) -> anyhow::Result<Vec<&'static str>> {
        let stories = self.stories();
        self.folder.write(folder::PAGE, page::incident_page(&stories, templates, redactor).as_bytes())?;
        self.folder.refresh_sum(folder::PAGE)?;
        let mut written = vec![folder::PAGE];
        // A richer report than could be made now is not written over.
        let may_be_made = |name: &str| self.is_whole || !self.folder.path().join(name).exists();
        if may_be_made(folder::REPORT) {
            self.folder.write(folder::REPORT, report::incident_report(&stories, templates, redactor).as_bytes())?;
            written.push(folder::REPORT);
        }
        if may_be_made(folder::POSTMORTEM) && self.folder.is_as_sealed(folder::POSTMORTEM) {
            self.folder.write(folder::POSTMORTEM, report::postmortem(&stories, templates, redactor).as_bytes())?;
            self.folder.refresh_sum(folder::POSTMORTEM)?;
            written.push(folder::POSTMORTEM);
        }
        self.folder.refresh_sum(journal::FILE)?;
        Ok(written)
    }
}

impl Run<'_> {
    pub(super) fn templates(&self) -> Templates {
        Templates::beside(self.first().inventory().sources.first().map(|path| path.as_path()))
    }

    pub(super) fn incidents(&self) -> &Path {
        &self.first().inventory().incidents
    }

    /// A line for the timeline, by a person.
    pub(super) fn note(&self, text: &str, incident: Option<&str>) -> u8 {
        let what = What::Noted { by: self.first().request.operator.clone(), text: text.trim().to_owned() };
        match self.add(incident, what) {
            Ok(added) => self.end_of(&added.read, &format!("the note is in its timeline{}", added.later())),
            Err(why) => self.nothing_done(&why),
        }
    }

    /// The incident is over: said in its timeline, and to everybody who was told of it.
    pub(super) async fn resolve(&self, incident: Option<&str>, text: &str) -> u8 {
        match self.alarm_meant(incident) {
            Ok(Some(alarm)) => return self.call_over(alarm, text).await,
            Ok(None) => {}
            Err(why) => return self.nothing_done(&why),
        }
        let read = match past::folder_of(self.incidents(), incident).and_then(ReadBack::open) {
            Ok(read) => read,
            Err(why) => return self.nothing_done(&why),
        };
        if let Some(by) = read.resolved() {
            return self.end_of(&read, &format!("it was called over before, by {by}; nothing is sent again"));
        }
        let what = What::Resolved { by: self.first().request.operator.clone(), text: text.trim().to_owned() };
        let added = match self.add(incident, what) {
            Ok(added) => added,
            Err(why) => return self.nothing_done(&why),
        };
        let told = self.tell_that_it_is_over(&added.read).await;
        self.call_over_with(&added.read.name(), text.trim()).await;
        self.end_of(&added.read, &format!("it is over{told}{}", added.later()))
    }

    /// What became of telling it.
    async fn tell_that_it_is_over(&self, read: &ReadBack) -> String {
        let session = self.first();
        let notify = &session.inventory().notify;
        if notify.channels.is_empty() {
            return String::new();
        }
        let message = message::resolved_message(&read.stories(), &self.templates(), &session.redactor());
        let outbox = Outbox::open(read.folder.path());
        // What is a day old, or of another config, is not sent with it.
        outbox.keep_only_of(session.inventory(), session.clock.now());
        outbox.post(notify, &message);
        let journal = Journal::new(session.clock, session.terminal);
        let step = journal.begin(StepWord::Notify, None);
        let failed = notify::failures(outbox.deliver(notify).await);
        notify::end_step(step, &failed);
        if let Err(err) = read.folder.refresh_sum(notify::OUTBOX) {
            session.terminal.warning(&format!("{err:#}"));
        }
        if failed.is_empty() {
            ", and everybody who was told of it knows".to_owned()
        } else {
            "; not everybody knows yet".to_owned()
        }
    }

    /// Report and page once more, from the journal; with a ticket, its text on standard output.
    pub(super) fn report(&self, incident: Option<&str>, as_ticket: Option<Tracker>) -> u8 {
        let read = match past::folder_of(self.incidents(), incident).and_then(ReadBack::open) {
            Ok(read) => read,
            Err(why) => return self.nothing_done(&why),
        };
        let (templates, redactor) = (self.templates(), self.first().redactor());
        if let Some(kind) = as_ticket {
            let ticket = ticket::ticket(&read.stories(), kind, &redactor);
            self.first().terminal.text(&ticket);
            return 0;
        }
        if Outbox::is_held(read.folder.path()) {
            return self
                .nothing_done(&format!("the run of {} still goes on, and writes its report itself", read.name()));
        }
        match read.write(&templates, &redactor) {
            Ok(written) => {
                let kept = if !read.is_whole && !written.contains(&folder::REPORT) {
                    "; the folder has no known.json, so its INCIDENT_REPORT.md knows more than could be written now, and stays as it is"
                } else if written.contains(&folder::POSTMORTEM) {
                    ""
                } else {
                    "; POSTMORTEM.md was gone on with, and stays as it is"
                };
                self.end_of(&read, &format!("{} written again from its journal{kept}", written.join(", ")))
            }
            Err(err) => self.nothing_done(&format!("{err:#}")),
        }
    }

    /// Every incident and drill, newest first.
    pub(super) fn history(&self) -> u8 {
        let session = self.first();
        let pasts = pasts(self.incidents());
        for past in &pasts {
            let more = [("incident".to_owned(), serde_json::json!(past))].into_iter().collect();
            session.terminal.row(session.clock.now(), Note { more, ..Note::default() });
        }
        session.terminal.printable(&history::table(&pasts, session.clock.now()));
        session.write_index_of(&pasts, &self.templates());
        let production = "not asked: this is what is on record here".to_owned();
        let verdict = Verdict { exit: 0, production, next: session.command("status"), left: Vec::new() };
        session.end(&verdict, None, None, None)
    }

    /// Adds a person's line, and makes the report again where no run is still at it.
    pub(super) fn add(&self, incident: Option<&str>, what: What) -> Result<Added, String> {
        let path = past::folder_of(self.incidents(), incident)?;
        journal::add(&path.join(journal::FILE), self.first().clock.now(), what).map_err(|err| format!("{err:#}"))?;
        let is_running = Outbox::is_held(&path);
        let read = ReadBack::open(path)?;
        if !is_running {
            let templates = self.templates();
            // The line is in its journal, from which the report can be made at any time: who is to be told is told.
            if let Err(err) = read.write(&templates, &self.first().redactor()) {
                self.first().terminal.warning(&format!("{err:#}"));
            }
            self.first().write_index(&templates);
        }
        Ok(Added { read, is_running })
    }

    pub(super) fn end_of(&self, read: &ReadBack, words: &str) -> u8 {
        let session = self.first();
        let production = format!("not asked; {}: {words}", read.name());
        let verdict = Verdict { exit: 0, production, next: session.command("status"), left: Vec::new() };
        session.end(&verdict, None, Some(read.folder.path()), None)
    }

    fn nothing_done(&self, why: &str) -> u8 {
        self.refused_afterwards(RefusalName::IncidentUnknown, why)
    }

    pub(super) fn refused_afterwards(&self, name: RefusalName, why: &str) -> u8 {
        let session = self.first();
        session.terminal.refusals(session.clock.now(), None, &[Refusal::new(name, why)]);
        let production = "nothing was changed, here or there".to_owned();
        let next = session.command("history");
        session.end(&Verdict { exit: 1, production, next, left: Vec::new() }, None, None, None)
    }
}

/// An incident that has one line more.
pub(super) struct Added {
    read: ReadBack,
    /// Its run still goes on.
    is_running: bool,
}

impl Added {
    /// What becomes of the line.
    fn later(&self) -> &'static str {
        if self.is_running { "; its run still goes on, and takes it into its report" } else { "" }
    }
}

/// More are nobody's reading; they stay on disk.
const MOST_PASTS: usize = 1_000;

fn pasts(incidents: &Path) -> Vec<Past> {
    let of_folders = folder::newest_first(incidents)
        .into_iter()
        .take(MOST_PASTS)
        .filter_map(|path| history::of_incident(&past::name_of(&path)?, &past::journals(&path).ok()?));
    let mut pasts: Vec<Past> = of_folders
        .chain(folder::all_drills(incidents).iter().map(history::of_drill))
        .chain(folder::rehearsals(incidents).iter().map(history::of_rehearsal))
        .collect();
    pasts.sort_by_key(|past| std::cmp::Reverse(past.began));
    pasts
}

impl Session<'_> {
    /// The page over all incidents. Where it cannot be written, a warning: nobody's rollback fails for it.
    pub(super) fn write_index(&self, templates: &Templates) {
        self.write_index_of(&pasts(&self.inventory().incidents), templates);
    }

    fn write_index_of(&self, pasts: &[Past], templates: &Templates) {
        let incidents = &self.inventory().incidents;
        // One incident has a page of its own.
        if pasts.len() < 2 && !incidents.join(INDEX).exists() {
            return;
        }
        let text = history::index_page(pasts, self.clock.now(), templates, &self.redactor());
        if let Err(err) = folder::write_beside(incidents, INDEX, text.as_bytes()) {
            self.terminal.warning(&format!("{err:#}"));
        }
    }
}
