//! What stands on the screen of a run: which lines stay, and which live lines are below them, for one host or hundreds.
//! Hosts that say the same are told once; who failed is always told by name. Pure: whoever asks brings the time and the
//! size of the screen. Draws nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::incident::journal::Progress;
use crate::nouns::colour::Colour;
use crate::nouns::likes::{few_of, without_its_name};
use crate::nouns::names::{HostName, ServiceName, listed};
use crate::nouns::record::{Entry, Status, StepWord, What, answer_words, plural};
use crate::nouns::redact::printable;
use crate::nouns::rules::{Judgement, Opinion};
use crate::tell::terminal::lines::{BAD, DIM, GOOD, WARN, judgement_lines, plain, style_of, whose};
use crate::tell::terminal::tally::{FEW, Tally};
use crate::tell::terminal::width::shortened;

/// What is the same of several hosts comes within this time from most of them.
const GATHERED_FOR: Duration = Duration::from_secs(2);
/// Where every line stays, it is said so often who is waited for.
const WAIT_SAID_EVERY: Duration = Duration::from_secs(10);
/// Ten times a second looks alive and costs nothing.
pub(super) const SPINS_EVERY: Duration = Duration::from_millis(100);
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Whether there are live lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One for each step that has begun and not ended on all its hosts; what stays stands above them.
    Live,
    /// None: every line stays.
    Plain,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Usual,
    /// What was asked and answered, too, and each host's own words.
    Verbose,
}

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// The screen of a run.
pub struct Board {
    kind: Kind,
    detail: Detail,
    /// Every host that a step has begun on, by its place among them: what is said of many is said differently.
    hosts: BTreeMap<HostName, usize>,
    steps: BTreeMap<LineOf, Tally>,
    /// What was said of one host and came again from others.
    gathered: BTreeMap<Said, Gathered>,
    /// The figures of both sides while somebody judges.
    figures: Vec<String>,
    /// What was said last: what has not changed stands in the figures.
    opinion: Option<Opinion>,
    /// Notes that the plan says.
    in_the_plan: BTreeSet<String>,
}

/// Which line: of several services each has its own.
type LineOf = (Option<ServiceName>, StepWord);

/// What several hosts may say, but for their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    service: Option<ServiceName>,
    label: Label,
    words: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// A step with what became of it, by the word for that.
    Ended(StepWord, &'static str, Option<String>),
    Note,
    /// What could not be looked at.
    Gap(String),
    /// Whether a colour answers.
    Answer(Colour, Answers),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answers {
    Well,
    Not,
}

impl Said {
    fn is_of(&self, step: StepWord) -> bool {
        match &self.label {
            // The first question rides on the handshake: whoever is not reached fails in both.
            Label::Ended(StepWord::Connect, ..) => step == StepWord::Observe,
            Label::Ended(of, ..) => *of == step,
            Label::Note | Label::Gap(_) | Label::Answer(..) => false,
        }
    }
}

/// Those that said so after the first one.
struct Gathered {
    status: Option<Status>,
    hosts: Vec<HostName>,
    since: Duration,
}

impl Board {
    pub fn new(kind: Kind, detail: Detail) -> Board {
        Board {
            kind,
            detail,
            hosts: BTreeMap::new(),
            steps: BTreeMap::new(),
            gathered: BTreeMap::new(),
            figures: Vec::new(),
            opinion: None,
            in_the_plan: BTreeSet::new(),
        }
    }

    /// These notes are not said by themselves: the plan that follows has them.
    pub fn leave_to_the_plan(&mut self, notes: &[String]) {
        self.in_the_plan.extend(notes.iter().cloned());
    }

    /// The lines that an entry leaves.
    pub fn show(&mut self, entry: &Entry, now: Duration) -> Vec<String> {
        match &entry.what {
            // The first question rides on the handshake: one line for both.
            What::Outcome { step: StepWord::Connect, status: Status::Started, .. } => Vec::new(),
            What::Outcome { step: StepWord::Connect, status: Status::Done, .. } if self.kind == Kind::Live => {
                Vec::new()
            }
            What::Outcome { step: StepWord::Connect, status: Status::Done, .. } => self.alone(entry),
            What::Intent { step, host, of, .. } => {
                self.begin(entry, *step, Some(host), of.as_deref(), now);
                if self.kind == Kind::Plain { self.alone(entry) } else { Vec::new() }
            }
            What::Outcome { step, host, of, status: Status::Started, .. } => {
                self.begin(entry, *step, host.as_ref(), of.as_deref(), now);
                Vec::new()
            }
            What::Outcome { step, host, of, status, detail, .. } => {
                if matches!(step, StepWord::Hold | StepWord::Judge) && host.is_none() {
                    self.figures.clear();
                    self.opinion = None;
                }
                self.end(entry, (*step, *status), (host.as_ref(), of.as_deref()), detail, now)
            }
            What::Note { text } if self.in_the_plan.remove(text) => Vec::new(),
            What::Note { text } => self.note(entry, text, now),
            What::Gap { host: Some(host), what, why } => {
                self.gathered_or_alone(entry, (Label::Gap(what.clone()), None), (host, why), now)
            }
            What::Answer { host, colour, is_good, detail } => {
                let label = Label::Answer(*colour, if *is_good { Answers::Well } else { Answers::Not });
                self.gathered_or_alone(entry, (label, None), (host, detail), now)
            }
            // One that says what the last one said stands in the figures.
            What::Judged(judgement) if self.kind == Kind::Live && self.opinion == Some(judgement.opinion) => Vec::new(),
            What::Judged(judgement) => {
                self.opinion = Some(judgement.opinion);
                self.alone(entry)
            }
            What::Begun(_)
            | What::Found { .. }
            | What::Balancer { .. }
            | What::DeadMan { .. }
            | What::App { .. }
            | What::Green { .. }
            | What::TrafficSafe { .. }
            | What::Gap { host: None, .. }
            | What::Change { .. }
            | What::Said { .. }
            | What::Captured(_)
            | What::Errors { .. }
            | What::Dump(_)
            | What::Loss(_)
            | What::Database(_)
            | What::Noted { .. }
            | What::Resolved { .. }
            | What::Ticket { .. }
            | What::Ended { .. } => self.alone(entry),
        }
    }

    pub fn progress(&mut self, progress: &Progress<'_>, now: Duration) {
        let words = format!("{} {}", progress.host, printable(progress.words));
        // There may be progress to show before the step itself begins.
        self.step(progress.service, progress.step, now).progress(words);
    }

    /// The figures take the place of those before.
    pub fn judging(&mut self, judgement: &Judgement) {
        self.figures = judgement_lines(judgement);
    }

    /// The lines that time leaves: what was gathered, and who is waited for where no live line says so.
    pub fn tick(&mut self, now: Duration) -> Vec<String> {
        let mut lines = self.told_again(|_, gathered| now.saturating_sub(gathered.since) >= GATHERED_FOR);
        if self.kind == Kind::Plain {
            // Whoever judges says so himself, every ten seconds.
            let waits = self.steps.iter_mut().filter(|((_, step), _)| *step != StepWord::Judge);
            lines.extend(waits.filter_map(|(_, tally)| tally.still_waiting(now, WAIT_SAID_EVERY)));
        }
        lines
    }

    /// Nothing is live any more; the lines that are still to be said.
    pub fn clear(&mut self) -> Vec<String> {
        self.steps.clear();
        self.figures.clear();
        self.opinion = None;
        self.told_again(|_, _| true)
    }

    /// The live lines: never more than the screen is high, never one that is wider. Where there is not room for all of them
    /// it is for those where something is wrong.
    pub fn live(&self, now: Duration, size: Size) -> Vec<String> {
        if self.kind == Kind::Plain {
            return Vec::new();
        }
        // A line that ends in the last column may or may not have begun the next one; and what stays needs a line of its own.
        let (columns, rows) = (size.columns.saturating_sub(1), size.rows.saturating_sub(1).max(1));
        let steps: Vec<&Tally> = self.steps.values().collect();
        // The last line says how many there is no room for.
        let hidden = if steps.len() > rows { steps.len() - (rows - 1) } else { 0 };
        let mut shown: Vec<usize> = (0..steps.len()).collect();
        if hidden > 0 {
            shown.sort_by_key(|at| std::cmp::Reverse(steps[*at].urgency(now)));
            shown.truncate(rows - 1);
            shown.sort_unstable();
        }
        let turn = (now.as_millis() / SPINS_EVERY.as_millis()) as usize % SPINNER.len();
        let spun = |line: String| shortened(&format!("{} {line}", SPINNER[turn]), columns);
        let mut lines: Vec<String> =
            shown.iter().map(|at| spun(steps[*at].live(now, columns.saturating_sub(2)))).collect();
        if hidden > 0 {
            lines.push(shortened(&format!("  {DIM}… and {}{DIM:#}", plural(hidden, "more step")), columns));
        }
        let room = rows.saturating_sub(lines.len());
        lines.extend(self.figures.iter().take(room).map(|line| shortened(line, columns)));
        lines
    }

    fn is_of_many(&self) -> bool {
        self.hosts.len() > FEW && self.detail == Detail::Usual
    }

    fn alone(&self, entry: &Entry) -> Vec<String> {
        plain(entry, self.detail == Detail::Verbose).into_iter().collect()
    }

    fn step(&mut self, service: Option<&ServiceName>, step: StepWord, now: Duration) -> &mut Tally {
        let of = (service.cloned(), step);
        self.steps.entry(of).or_insert_with(|| Tally::new(step.as_str(), whose(service), now))
    }

    fn begin(&mut self, entry: &Entry, step: StepWord, host: Option<&HostName>, of: Option<&str>, now: Duration) {
        if let Some(host) = host {
            let place = self.hosts.len();
            self.hosts.entry(host.clone()).or_insert(place);
        }
        self.step(entry.service.as_ref(), step, now).begin(named(host), of, now);
    }

    fn end(
        &mut self,
        entry: &Entry,
        (step, status): (StepWord, Status),
        (host, of): (Option<&HostName>, Option<&str>),
        detail: &str,
        now: Duration,
    ) -> Vec<String> {
        let key = (entry.service.clone(), step);
        let is_done = status == Status::Done;
        let Some(tally) = self.steps.get_mut(&key) else {
            return if is_done {
                self.alone(entry)
            } else {
                self.ended_badly(entry, (step, status), (host, of), detail, now)
            };
        };
        tally.end(named(host), of, status, detail);
        let is_over = tally.is_over();
        let is_folded = self.kind == Kind::Live || (tally.is_of_many() && self.detail == Detail::Usual);
        let summary = (is_over && is_folded).then(|| tally.summary(now)).flatten();
        let mut lines = match (is_done, is_folded) {
            (false, _) => self.ended_badly(entry, (step, status), (host, of), detail, now),
            (true, false) => self.alone(entry),
            (true, true) => Vec::new(),
        };
        if is_over {
            self.steps.remove(&key);
            lines.extend(self.told_again(|said, _| said.service == key.0 && said.is_of(step)));
        }
        lines.extend(summary.map(|summary| match self.kind {
            Kind::Live => format!("{GOOD}✔{GOOD:#} {summary}"),
            Kind::Plain => summary,
        }));
        lines
    }

    /// The first of a kind at once; of a fleet the others together, by name.
    fn ended_badly(
        &mut self,
        entry: &Entry,
        (step, status): (StepWord, Status),
        (host, of): (Option<&HostName>, Option<&str>),
        detail: &str,
        now: Duration,
    ) -> Vec<String> {
        let lines = match host {
            Some(host) => {
                let label = Label::Ended(step, status.as_str(), of.map(str::to_owned));
                self.gathered_or_alone(entry, (label, Some(status)), (host, detail), now)
            }
            None => self.alone(entry),
        };
        lines.into_iter().map(|line| self.marked(status, &line)).collect()
    }

    fn note(&mut self, entry: &Entry, text: &str, now: Duration) -> Vec<String> {
        let of = text
            .split_once(": ")
            .and_then(|(name, rest)| Some((self.hosts.keys().find(|host| host.as_str() == name)?.clone(), rest)));
        match of {
            Some((host, rest)) => self.gathered_or_alone(entry, (Label::Note, None), (&host, rest), now),
            None => self.alone(entry),
        }
    }

    fn gathered_or_alone(
        &mut self,
        entry: &Entry,
        (label, status): (Label, Option<Status>),
        (host, words): (&HostName, &str),
        now: Duration,
    ) -> Vec<String> {
        let words = without_its_name(words, host.as_str());
        let said = Said { service: entry.service.clone(), label, words };
        match self.is_of_many() && self.gather(said, status, host, now) {
            true => Vec::new(),
            false => self.alone(entry),
        }
    }

    /// Whether somebody said so before, a moment ago: then it is told again later, of all of them together.
    fn gather(&mut self, said: Said, status: Option<Status>, host: &HostName, now: Duration) -> bool {
        match self.gathered.get_mut(&said) {
            Some(gathered) => {
                gathered.hosts.push(host.clone());
                true
            }
            None => {
                self.gathered.insert(said, Gathered { status, hosts: Vec::new(), since: now });
                false
            }
        }
    }

    /// What was gathered and is due.
    fn told_again(&mut self, is_due: impl Fn(&Said, &Gathered) -> bool) -> Vec<String> {
        let due: Vec<Said> = self
            .gathered
            .iter()
            .filter(|(said, gathered)| is_due(said, gathered))
            .map(|(said, _)| said.clone())
            .collect();
        let due = due.into_iter().filter_map(|said| Some((self.gathered.remove(&said)?, said)));
        let due: Vec<(Gathered, Said)> = due.filter(|(gathered, _)| !gathered.hosts.is_empty()).collect();
        due.iter().map(|(gathered, said)| self.again(gathered, said)).collect()
    }

    fn again(&self, Gathered { status, hosts, .. }: &Gathered, Said { service, label, words }: &Said) -> String {
        // In the order of the config, in which people look for them.
        let mut hosts: Vec<&HostName> = hosts.iter().collect();
        hosts.sort_by_key(|host| self.hosts.get(*host));
        let (whose, words, some) = (whose(service.as_ref()), printable(words), few_of(&hosts));
        match label {
            Label::Note => format!("{DIM}note:{DIM:#}     {whose}{some}: {words}"),
            Label::Gap(what) => format!("{WARN}gap:{WARN:#}      {whose}{some}: {}: {words}", printable(what)),
            Label::Answer(colour, Answers::Well) => {
                format!("{DIM}note:{DIM:#}     {whose}{}", answer_words(some, *colour, true, &words))
            }
            // Whoever failed is named, however many they are.
            Label::Answer(colour, Answers::Not) => {
                format!("{BAD}ALARM:{BAD:#}    {whose}{}", answer_words(listed(&hosts), *colour, false, &words))
            }
            Label::Ended(step, word, of) => {
                let status = status.unwrap_or(Status::Done);
                let names = if status == Status::Skipped { some } else { listed(&hosts) };
                let (style, of) = (style_of(status), of.as_ref().map_or(String::new(), |of| format!("{of}: ")));
                let (colon, count) = (if words.is_empty() { "" } else { ": " }, plural(hosts.len(), "more host"));
                let step = step.as_str();
                let line = format!("{step:<9} {whose}{of}{style}{word}{style:#} on {count}, {names}{colon}{words}");
                self.marked(status, &line)
            }
        }
    }

    fn marked(&self, status: Status, line: &str) -> String {
        match (self.kind, status) {
            (Kind::Plain, _) => line.to_owned(),
            (Kind::Live, Status::Skipped) => format!("{WARN}–{WARN:#} {line}"),
            (Kind::Live, Status::Failed | Status::Unknown) => format!("{BAD}✖{BAD:#} {line}"),
            (Kind::Live, Status::Done | Status::Started) => line.to_owned(),
        }
    }
}

fn named(host: Option<&HostName>) -> &str {
    host.map_or("", HostName::as_str)
}
