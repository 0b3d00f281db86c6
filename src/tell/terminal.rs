//! Everything that is printed, and nothing else: the plan and the last lines on standard output, progress and errors
//! on standard error. On a terminal one live line for each step; elsewhere, and with `--plain`, plain lines; with `--json`
//! one object a line. Whatever a host, a config or a flag said is made printable first. `board` says what stands on the
//! screen, `lines` what each entry is, `live` draws it. Decides nothing.

pub mod board;
pub mod line;
mod lines;
mod live;
mod tally;
mod width;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::Style;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use crate::incident::journal::{Progress, Typed, Watcher};
use crate::nouns::names::{HostName, IncidentId, ServiceName};
use crate::nouns::plan::{Plan, Short};
use crate::nouns::production::Verdict;
use crate::nouns::record::{Entry, Status, StepWord, What, answer_words};
use crate::nouns::redact::printable;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::rules::Judgement;
use crate::nouns::side::Side;
use crate::tell::terminal::board::{Board, Detail, Kind};
use crate::tell::terminal::line::{Note, OutputEvent, OutputLine};
use crate::tell::terminal::lines::{BAD, DIM, GOOD, WARN, lined, safe_line, whose};
use crate::tell::terminal::live::Screen;

/// Where the words go.
pub struct Terminal {
    detail: Detail,
    mode: Mode,
    run: Option<IncidentId>,
    /// When a progress was last said where there are no live lines.
    said: Mutex<Option<Instant>>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Live lines where there is a terminal that can have them.
    Usual,
    /// Lines that stay, wherever they go: for a screen reader, or a terminal that is recorded.
    Plain,
    Json,
}

/// Where every line stays, a long step says so often how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// A program that reads along can take more.
const PROGRESS_EVERY_JSON: Duration = Duration::from_secs(1);

enum Mode {
    Json,
    Plain(Screen),
    Live(Screen),
}

impl Terminal {
    pub fn new(output: Output, detail: Detail, run: Option<IncidentId>) -> Terminal {
        let is_dumb = || std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let mode = match output {
            Output::Json => Mode::Json,
            Output::Usual if std::io::stderr().is_terminal() && !is_dumb() => {
                Mode::Live(Screen::new(Board::new(Kind::Live, detail)))
            }
            Output::Usual | Output::Plain => Mode::Plain(Screen::new(Board::new(Kind::Plain, detail))),
        };
        Terminal { detail, mode, run, said: Mutex::default() }
    }

    /// The same for another run, on the same screen.
    #[must_use]
    pub fn of_run(&self, run: IncidentId) -> Terminal {
        let mode = match &self.mode {
            Mode::Json => Mode::Json,
            Mode::Plain(screen) => Mode::Plain(screen.clone()),
            Mode::Live(screen) => Mode::Live(screen.clone()),
        };
        Terminal { detail: self.detail, mode, run: Some(run), said: Mutex::default() }
    }

    pub fn is_json(&self) -> bool {
        matches!(self.mode, Mode::Json)
    }

    pub fn is_verbose(&self) -> bool {
        self.detail == Detail::Verbose
    }

    /// The screen, where words go that are no JSON.
    fn screen(&self) -> Option<&Screen> {
        match &self.mode {
            Mode::Json => None,
            Mode::Plain(screen) | Mode::Live(screen) => Some(screen),
        }
    }

    /// Text for standard output, as it is: the plan, a table, a man page. Not with `--json`.
    pub fn text(&self, text: &str) {
        // The live lines stand on the same screen: they make room, or the text lands inside them.
        let Some(screen) = self.screen() else { return };
        screen.drawn().suspend(|| {
            let mut out = anstream::stdout().lock();
            // A closed pipe (`| head`) is the reader's decision, not a failure of the run.
            let _ = write!(out, "{text}");
            let _ = out.flush();
        });
    }

    /// The same for text with words from hosts in it: line by line made printable.
    pub fn printable(&self, text: &str) {
        let lines: Vec<String> = text.lines().map(printable).collect();
        self.text(&format!("{}\n", lines.join("\n")));
    }

    /// The plan in full.
    pub fn plan(&self, plan: &Plan) {
        self.printable(&plan.to_string());
    }

    /// The plan of a run that begins at once; `in_full` is the flag that shows all of it, and nothing else is shown where
    /// that was given.
    pub fn plan_in_short(&self, plan: &Plan, in_full: &str) {
        match self.detail {
            Detail::Usual => self.printable(&Short { plan, in_full }.to_string()),
            Detail::Verbose => self.plan(plan),
        }
    }

    /// These notes are in a plan that is shown in a moment. Where both outputs are one screen they stand there once.
    pub fn leave_to_the_plan(&self, notes: &[String]) {
        let is_one = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        if let Some(screen) = self.screen().filter(|_| is_one) {
            screen.drawn().board.leave_to_the_plan(notes);
        }
    }

    /// A row of a list, with `--json`.
    pub fn row(&self, time: DateTime<Utc>, row: Note<'_>) {
        if self.is_json() {
            self.say(time, None, OutputEvent::Note(Box::new(row)));
        }
    }

    /// A line of another run of this program, passed on.
    pub fn pass_on(&self, line: &serde_json::Value) {
        self.object(line);
    }

    fn say(&self, time: DateTime<Utc>, service: Option<&ServiceName>, event: OutputEvent<'_>) {
        let run = self.run.as_ref().map(IncidentId::as_str);
        self.object(&OutputLine::new(time, run, service, event));
    }

    /// One JSON object on standard output.
    fn object(&self, object: &impl Serialize) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{}", json!(object));
        let _ = out.flush();
    }

    pub fn error(&self, text: &str) {
        self.labelled("error", BAD, text);
    }

    pub fn warning(&self, text: &str) {
        self.labelled("warning", WARN, text);
    }

    pub fn hint(&self, text: &str) {
        self.labelled("hint", DIM, text);
    }

    /// Refusals, each with its name, and where more is said of them; the service is named where there are several.
    pub fn refusals(&self, time: DateTime<Utc>, service: Option<&ServiceName>, refusals: &[Refusal]) {
        let whose = whose(service);
        let mut names: Vec<RefusalName> = Vec::new();
        for refusal in refusals {
            let text = format!("{whose}{refusal}");
            // Behind the first line: what follows it is shown as it stands in a file.
            let (first, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
            self.error(&format!("{first} [{}]{rest}", refusal.name));
            if let Some(hint) = &refusal.hint {
                self.hint(hint);
            }
            if self.is_json() {
                self.say(time, service, OutputEvent::Note(Box::new(Note::of(refusal))));
            }
            if !names.contains(&refusal.name) {
                names.push(refusal.name);
            }
        }
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().map(RefusalName::as_str).collect();
            self.hint(&format!("what that means, and what to do: rollback-prod explain {}", names.join(" ")));
        }
    }

    fn labelled(&self, label: &str, style: Style, text: &str) {
        self.line(&format!("{style}{label}:{style:#} {}", lined(text)));
    }

    /// A line on standard error, above the live ones.
    fn line(&self, line: &str) {
        match self.screen() {
            Some(screen) => screen.say(line),
            None => {
                let mut err = anstream::stderr().lock();
                let _ = writeln!(err, "{line}");
            }
        }
    }

    /// For whoever has a word to say from elsewhere, as long as he likes: on standard error, and not with `--json`.
    pub fn aside(&self) -> Aside {
        Aside(self.screen().cloned())
    }

    /// Nothing is live any more.
    fn clear(&self) {
        if let Some(screen) = self.screen() {
            screen.drawn().clear();
        }
    }

    /// The last lines of every run: what production is now, and the one next command to type.
    pub fn end(&self, verdict: &Verdict, ending: &Ending<'_>) {
        self.clear();
        if self.is_json() {
            let end = OutputEvent::End {
                exit: verdict.exit,
                production: &verdict.production,
                traffic_safe_ms: ending.traffic_safe_ms,
                total_ms: ending.total_ms,
                incident: ending.incident.map(|path| path.display().to_string()),
                next: &verdict.next,
                left: &verdict.left,
            };
            self.say(ending.time, None, end);
            return;
        }
        let mut text = String::new();
        for left in &verdict.left {
            text.push_str(&format!("{BAD}not done:{BAD:#}   {}\n", printable(left)));
        }
        if let Some(targets) = ending.targets {
            text.push_str(&format!("times:      {}\n", printable(targets)));
        }
        if let Some(incident) = ending.incident {
            text.push_str(&format!("report:     {}\n", incident.join(crate::incident::folder::REPORT).display()));
        }
        let style = match verdict.exit {
            0 => GOOD,
            1 | 2 | 3 | 4 | 6 | 130 => WARN,
            _ => BAD,
        };
        text.push_str(&format!("production: {style}{}{style:#}\n", printable(&verdict.production)));
        text.push_str(&format!("next:       {}\n", printable(&verdict.next)));
        self.text(&text);
    }
}

/// A way to the screen that outlives the terminal.
#[derive(Clone)]
pub struct Aside(Option<Screen>);

impl Aside {
    pub fn say(&self, line: &str) {
        if let Some(screen) = &self.0 {
            screen.say(line);
        }
    }
}

/// What the last lines say besides the verdict.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    pub time: DateTime<Utc>,
    pub traffic_safe_ms: Option<u64>,
    pub total_ms: u64,
    pub incident: Option<&'a Path>,
    pub targets: Option<&'a str>,
}

impl Watcher for Terminal {
    fn show(&self, entry: &Entry) {
        match self.screen() {
            None => self.show_json(entry),
            Some(screen) => screen.change(|board, now| board.show(entry, now)),
        }
    }

    /// The line comes with its end; `None` where standard input is closed. With `--json`, or where standard output goes
    /// to a file, the question goes to standard error: whoever is to answer must see it.
    fn ask(&self, text: &str, question: &str) -> Typed {
        let still = self.screen().map(Screen::still);
        let shown = format!("\n{text}\n{question}");
        let is_typed = std::io::stdin().is_terminal();
        let end = if is_typed { "" } else { "\n" };
        if self.is_json() || (!std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
            let mut err = anstream::stderr().lock();
            let _ = write!(err, "{shown}{end}");
            let _ = err.flush();
        } else {
            let mut out = anstream::stdout().lock();
            // Nobody's Enter ends the line with the question where nobody types.
            let _ = write!(out, "{shown}{end}");
            let _ = out.flush();
        }
        let (typed, answer) = tokio::sync::oneshot::channel();
        // A thread of its own: a signal must be seen while it waits, and the program may end without the line.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            // Nobody waits for it any more: then nothing was confirmed.
            let _ = typed.send(matches!(read, Ok(n) if n > 0).then_some(line));
        });
        Box::pin(async move {
            let answer = answer.await.ok().flatten();
            drop(still);
            answer
        })
    }

    fn progress(&self, progress: &Progress<'_>) {
        let is_due = |every: Duration| {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = said.is_none_or(|said| said.elapsed() >= every);
            if is_due {
                *said = Some(Instant::now());
            }
            is_due
        };
        let keep = |screen: &Screen| {
            screen.change(|board, now| {
                board.progress(progress, now);
                Vec::new()
            });
        };
        match &self.mode {
            Mode::Live(screen) => keep(screen),
            Mode::Plain(screen) => {
                keep(screen);
                if is_due(PROGRESS_EVERY) {
                    let (whose, host) = (whose(progress.service), progress.host);
                    self.line(&format!("{:<9} {whose}{host} {}", progress.step.as_str(), printable(progress.words)));
                }
            }
            Mode::Json if is_due(PROGRESS_EVERY_JSON) => {
                let note = Note {
                    step: Some(progress.step),
                    host: Some(progress.host.as_str()),
                    percent: Some(progress.percent),
                    detail: Some(progress.words.into()),
                    ..Note::default()
                };
                self.say(progress.time, progress.service, OutputEvent::Note(Box::new(note)));
            }
            Mode::Json => {}
        }
    }

    /// Elsewhere the entries say it, every ten seconds.
    fn judging(&self, judgement: &Judgement) {
        if let Mode::Live(screen) = &self.mode {
            screen.change(|board, _| {
                board.judging(judgement);
                Vec::new()
            });
        }
    }
}

impl Terminal {
    fn show_json(&self, entry: &Entry) {
        if let Some(event) = event_of(entry) {
            self.say(entry.time, entry.service.as_ref(), event);
        }
    }
}

/// An entry as a program reads it; `None` where it is nothing to look at.
fn event_of(entry: &Entry) -> Option<OutputEvent<'_>> {
    let note = match &entry.what {
        What::Intent { step, host, why, of, .. } => {
            return Some(OutputEvent::Step {
                step: *step,
                of: of.as_deref(),
                host: Some(host.as_str()),
                status: Status::Started,
                ms: None,
                detail: why,
                judgement: None,
            });
        }
        What::Outcome { step, host, of, status, ms, detail } => {
            return Some(OutputEvent::Step {
                step: *step,
                of: of.as_deref(),
                host: host.as_ref().map(HostName::as_str),
                status: *status,
                ms: (*status != Status::Started).then_some(*ms),
                detail,
                judgement: None,
            });
        }
        What::Judged(judgement) => {
            return Some(OutputEvent::Step {
                step: StepWord::Judge,
                of: None,
                host: None,
                status: Status::Started,
                ms: None,
                detail: &judgement.words,
                judgement: Some(judgement),
            });
        }
        What::TrafficSafe { hosts, to } => Note {
            traffic_safe_ms: Some(entry.at_ms),
            ..Note::in_words(None, safe_line(*hosts, to.colour(Side::To), entry.at_ms))
        },
        What::Note { text } => Note::in_words(None, text),
        What::Gap { host, what, why } => Note::in_words(host.as_ref(), format!("gap: {what}: {why}")),
        What::Answer { host, colour, is_good, detail } => {
            Note::in_words(Some(host), answer_words(host, *colour, *is_good, detail))
        }
        What::Said { step, host, of, text } => {
            Note { step: Some(*step), of: Some(of), ..Note::in_words(Some(host), text) }
        }
        What::Begun(_)
        | What::Change { .. }
        | What::Found { .. }
        | What::Balancer { .. }
        | What::DeadMan { .. }
        | What::App { .. }
        | What::Green { .. }
        | What::Captured(_)
        | What::Errors { .. }
        | What::Dump(_)
        | What::Loss(_)
        | What::Database(_)
        | What::Noted { .. }
        | What::Resolved { .. }
        | What::Ticket { .. }
        | What::Ended { .. } => return None,
    };
    Some(OutputEvent::Note(Box::new(note)))
}
