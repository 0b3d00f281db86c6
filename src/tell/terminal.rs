//! Everything that is printed, and nothing else: the plan and the last lines on standard output, progress and errors
//! on standard error. On a terminal one live line for each step; elsewhere plain lines; with `--json` one object a
//! line. Whatever a host, a config or a flag said is made printable first. `live` keeps the live lines. Decides nothing.

pub mod line;
mod live;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use crate::incident::journal::{Progress, Typed, Watcher};
use crate::nouns::colour::Colour;
use crate::nouns::names::{HostName, IncidentId, ServiceName};
use crate::nouns::plan::Plan;
use crate::nouns::production::Verdict;
use crate::nouns::record::{Entry, Status, StepWord, What, answer_words, plural};
use crate::nouns::redact::printable;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::rules::{Judgement, Opinion};
use crate::nouns::side::Side;
use crate::nouns::units::{counted, grouped};
use crate::tell::terminal::line::{Event, Line, Note};
use crate::tell::terminal::live::Live;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Where the words go.
pub struct Terminal {
    mode: Mode,
    run: Option<IncidentId>,
    is_verbose: bool,
    /// When a progress was last said where there are no live lines.
    said: Mutex<Option<Instant>>,
}

/// Where every line stays, a long step says so often how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// A program that reads along can take more.
const PROGRESS_EVERY_JSON: Duration = Duration::from_secs(1);

enum Mode {
    Json,
    Plain,
    Live(Box<Mutex<Live>>),
}

impl Terminal {
    pub fn new(is_json: bool, is_verbose: bool, run: Option<IncidentId>) -> Terminal {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let mode = if is_json {
            Mode::Json
        } else if std::io::stderr().is_terminal() && !is_dumb {
            Mode::Live(Box::default())
        } else {
            Mode::Plain
        };
        Terminal { mode, run, is_verbose, said: Mutex::default() }
    }

    pub fn is_json(&self) -> bool {
        matches!(self.mode, Mode::Json)
    }

    pub fn is_verbose(&self) -> bool {
        self.is_verbose
    }

    /// Text for standard output, as it is: the plan, a table, a man page. Not with `--json`.
    pub fn text(&self, text: &str) {
        let print = || {
            let mut out = anstream::stdout().lock();
            // A closed pipe (`| head`) is the reader's decision, not a failure of the run.
            let _ = write!(out, "{text}");
            let _ = out.flush();
        };
        match &self.mode {
            Mode::Json => {}
            Mode::Plain => print(),
            // The live lines stand on the same screen: they make room, or the text lands inside them.
            Mode::Live(live) => live.lock().unwrap_or_else(PoisonError::into_inner).suspend(print),
        }
    }

    /// The same for text with words from hosts in it: line by line made printable.
    pub fn printable(&self, text: &str) {
        let lines: Vec<String> = text.lines().map(printable).collect();
        self.text(&format!("{}\n", lines.join("\n")));
    }

    /// The plan, line by line made printable.
    pub fn plan(&self, plan: &Plan) {
        let text: Vec<String> = plan.to_string().lines().map(printable).collect();
        self.text(&format!("{}\n", text.join("\n")));
    }

    /// A row of a list, with `--json`.
    pub fn row(&self, time: DateTime<Utc>, row: Note<'_>) {
        if self.is_json() {
            self.say(time, None, Event::Note(Box::new(row)));
        }
    }

    /// A line of another run of this program, passed on.
    pub fn pass_on(&self, line: &serde_json::Value) {
        self.object(line);
    }

    fn say(&self, time: DateTime<Utc>, service: Option<&ServiceName>, event: Event<'_>) {
        let run = self.run.as_ref().map(IncidentId::as_str);
        self.object(&Line::new(time, run, service, event));
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
                self.say(time, service, Event::Note(Box::new(Note::of(refusal))));
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
        let text: Vec<String> = text.lines().map(printable).collect();
        self.line(&format!("{style}{label}:{style:#} {}", text.join("\n    ")));
    }

    /// A line on standard error, above the live ones.
    fn line(&self, line: &str) {
        match &self.mode {
            Mode::Live(live) => live.lock().unwrap_or_else(PoisonError::into_inner).println(line),
            Mode::Json | Mode::Plain => {
                let mut err = anstream::stderr().lock();
                let _ = writeln!(err, "{line}");
            }
        }
    }

    /// The last lines of every run: what production is now, and the one next command to type.
    pub fn end(&self, verdict: &Verdict, ending: &Ending<'_>) {
        if let Mode::Live(live) = &self.mode {
            live.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        if self.is_json() {
            let end = Event::End {
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
        match &self.mode {
            Mode::Json => self.show_json(entry),
            Mode::Plain => {
                if let Some(line) = plain(entry, self.is_verbose) {
                    self.line(&line);
                }
            }
            Mode::Live(live) => live.lock().unwrap_or_else(PoisonError::into_inner).show(entry, self.is_verbose),
        }
    }

    /// The line comes with its end; `None` where standard input is closed. With `--json`, or where standard output goes
    /// to a file, the question goes to standard error: whoever is to answer must see it.
    fn ask(&self, text: &str, question: &str) -> Typed {
        if let Mode::Live(live) = &self.mode {
            live.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
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
        Box::pin(async move { answer.await.ok().flatten() })
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
        match &self.mode {
            Mode::Live(live) => live.lock().unwrap_or_else(PoisonError::into_inner).progress(progress),
            Mode::Plain if is_due(PROGRESS_EVERY) => {
                let (whose, host) = (whose(progress.service), progress.host);
                self.line(&format!("{:<9} {whose}{host} {}", progress.step.as_str(), printable(progress.words)));
            }
            Mode::Json if is_due(PROGRESS_EVERY_JSON) => {
                let note = Note {
                    step: Some(progress.step),
                    host: Some(progress.host.as_str()),
                    percent: progress.percent,
                    detail: Some(progress.words.into()),
                    ..Note::default()
                };
                self.say(progress.time, progress.service, Event::Note(Box::new(note)));
            }
            Mode::Plain | Mode::Json => {}
        }
    }

    /// Elsewhere the entries say it, every ten seconds.
    fn judging(&self, judgement: &Judgement) {
        if let Mode::Live(live) = &self.mode {
            live.lock().unwrap_or_else(PoisonError::into_inner).judging(judgement);
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
fn event_of(entry: &Entry) -> Option<Event<'_>> {
    let note = match &entry.what {
        What::Intent { step, host, why, of, .. } => {
            return Some(Event::Step {
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
            return Some(Event::Step {
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
            return Some(Event::Step {
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
        | What::Ended { .. } => return None,
    };
    Some(Event::Note(Box::new(note)))
}

/// The line that matters most.
fn safe_line(hosts: usize, to: Colour, at_ms: u64) -> String {
    format!("traffic is safe: {to} serves on {hosts} of {} ({:.2} s)", plural(hosts, "host"), at_ms as f64 / 1000.0)
}

/// An entry as one line of its own; `None` where it is nothing to look at.
fn plain(entry: &Entry, is_verbose: bool) -> Option<String> {
    let whose = whose(entry.service.as_ref());
    match &entry.what {
        What::TrafficSafe { hosts, to } => {
            Some(format!("{GOOD}{whose}{}{GOOD:#}", safe_line(*hosts, to.colour(Side::To), entry.at_ms)))
        }
        What::Outcome { status: Status::Started, .. } => None,
        // The answer to the first question says it too.
        What::Outcome { step: StepWord::Connect, status: Status::Done, .. } if !is_verbose => None,
        What::Outcome { step, host, of, status, ms, detail } => {
            let of = of.as_ref().map_or(String::new(), |of| format!("{of}: "));
            let host = host.as_ref().map_or(String::new(), |host| format!("{host} {of}"));
            let style = style_of(*status);
            Some(format!(
                "{:<9} {whose}{host}{style}{}{style:#}{} {DIM}({}){DIM:#}",
                step.as_str(),
                status.as_str(),
                if detail.is_empty() { String::new() } else { format!(": {}", printable(detail)) },
                seconds(Duration::from_millis(*ms)),
            ))
        }
        What::Intent { step, host, why, .. } if is_verbose => {
            Some(format!("{:<9} {whose}{host} begins: {}", step.as_str(), printable(why)))
        }
        What::Note { text } => Some(format!("{DIM}note:{DIM:#}     {whose}{}", printable(text))),
        What::Gap { host, what, why } => {
            let host = host.as_ref().map_or(String::new(), |host| format!("{host}: "));
            Some(format!("{WARN}gap:{WARN:#}      {whose}{host}{}: {}", printable(what), printable(why)))
        }
        What::Captured(captured) if is_verbose => {
            Some(format!("evidence  {} ({} bytes)", captured.file, captured.bytes))
        }
        What::Answer { host, colour, is_good, detail } => {
            let (label, style) = if *is_good { ("note:", DIM) } else { ("ALARM:", BAD) };
            let words = answer_words(host, *colour, *is_good, detail);
            Some(format!("{style}{label:<9}{style:#} {whose}{}", printable(&words)))
        }
        What::Judged(judgement) => {
            let style = style_of_opinion(judgement.opinion);
            Some(format!(
                "{:<9} {whose}{} of {} {style}{}{style:#}: {}; {}",
                StepWord::Judge.as_str(),
                minutes(judgement.after_s),
                minutes(judgement.of_s),
                judgement.opinion,
                printable(&judgement.words),
                printable(&side_words(judgement)),
            ))
        }
        What::Said { host, of, text, .. } if is_verbose => Some(
            text.lines()
                .map(|line| format!("{DIM}{whose}{host} {of}:{DIM:#} {}", printable(line)))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        What::Begun(_)
        | What::Intent { .. }
        | What::Change { .. }
        | What::Said { .. }
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
        | What::Ended { .. } => None,
    }
}

/// Before what is of one of several services.
fn whose(service: Option<&ServiceName>) -> String {
    service.map(|name| format!("{name}: ")).unwrap_or_default()
}

fn style_of_opinion(opinion: Opinion) -> Style {
    match opinion {
        Opinion::Bad => BAD,
        Opinion::Good => GOOD,
        Opinion::NotEnoughData => DIM,
    }
}

/// What the rules say at a moment, as lines of one screen: how long it has been, both sides' figures, and the verdict.
fn judgement_lines(judgement: &Judgement) -> Vec<String> {
    let Judgement { opinion, words, sides, after_s, of_s, .. } = judgement;
    let style = style_of_opinion(*opinion);
    let all = sides.blue.tried + sides.green.tried;
    let side = |colour: Colour| {
        let figures = sides.of(colour);
        let percent = |part: u64, of: u64| match of {
            0 => "–".to_owned(),
            of => format!("{:.1} %", part as f64 * 100.0 / of as f64),
        };
        let time = |ms: Option<u64>| ms.map_or("–".to_owned(), |ms| format!("{ms} ms"));
        format!(
            "  {:<6} {:>12} {:>9} {:>10} {:>9} {:>9} {:>9}",
            colour.to_string(),
            grouped(figures.tried),
            percent(figures.tried, all),
            percent(figures.bad, figures.tried),
            time(figures.p50_ms),
            time(figures.p95_ms),
            time(figures.p99_ms),
        )
    };
    vec![
        format!(
            "  {DIM}{:<6} {:>12} {:>9} {:>10} {:>9} {:>9} {:>9}{DIM:#}",
            "", "requests", "share", "errors", "p50", "p95", "p99"
        ),
        side(judgement.judged),
        side(judgement.judged.other()),
        format!("  {} of {}  {style}{opinion}{style:#}: {}", minutes(*after_s), minutes(*of_s), printable(words)),
    ]
}

/// `2:10`
fn minutes(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// `green 412, p95 80 ms; blue 38,201, p95 70 ms`
fn side_words(judgement: &Judgement) -> String {
    let of = |colour: Colour| {
        let side = judgement.sides.of(colour);
        let p95 = side.p95_ms.map_or(String::new(), |p95| format!(", p95 {p95} ms"));
        let p99 = side.p99_ms.map_or(String::new(), |p99| format!(", p99 {p99} ms"));
        format!("{colour} {}{p95}{p99}", counted(side.tried, "request"))
    };
    [judgement.judged, judgement.judged.other()].map(of).join("; ")
}

fn style_of(status: Status) -> Style {
    match status {
        Status::Done => GOOD,
        Status::Failed | Status::Unknown => BAD,
        Status::Skipped => WARN,
        Status::Started => DIM,
    }
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
