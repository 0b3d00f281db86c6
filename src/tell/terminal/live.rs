//! The live lines of a terminal: one for each step that has begun and not ended on all its hosts, and a line that stays
//! when it has. Never says what an entry's own line says: that is the door's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::incident::journal::Progress;
use crate::nouns::names::{HostName, ServiceName};
use crate::nouns::record::{Entry, Status, StepWord, What};
use crate::nouns::redact::printable;
use crate::nouns::rules::{Judgement, Opinion};
use crate::tell::terminal::{BAD, DIM, GOOD, WARN, judgement_lines, plain, seconds, whose};

/// The live lines of a terminal: one for each step that has begun and not ended on all its hosts.
pub(super) struct Live {
    bars: MultiProgress,
    steps: BTreeMap<LineOf, StepLine>,
    /// The figures of both sides while somebody judges.
    figures: Vec<ProgressBar>,
    /// What was said last: what has not changed stands in the figures.
    said: Option<Opinion>,
}

/// Which line: of several services each has its own.
type LineOf = (Option<ServiceName>, StepWord);

struct StepLine {
    whose: String,
    bar: ProgressBar,
    began: Instant,
    waiting: usize,
    done: Vec<String>,
    details: Vec<String>,
    progress: String,
}

impl Default for Live {
    fn default() -> Live {
        Live { bars: MultiProgress::new(), steps: BTreeMap::new(), figures: Vec::new(), said: None }
    }
}

impl Live {
    /// Makes room for what is printed on the same screen.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        self.bars.suspend(print);
    }

    pub(super) fn println(&self, line: &str) {
        let _ = self.bars.println(as_wanted(line));
    }

    /// The figures take the place of those before.
    pub(super) fn judging(&mut self, judgement: &Judgement) {
        let lines = judgement_lines(judgement);
        while self.figures.len() < lines.len() {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.set_style(
                ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            self.figures.push(bar);
        }
        for (bar, line) in self.figures.iter().zip(lines) {
            bar.set_message(as_wanted(&line));
        }
    }

    fn no_figures(&mut self) {
        for bar in self.figures.drain(..) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        self.said = None;
    }

    pub(super) fn clear(&mut self) {
        self.no_figures();
        for (_, step) in std::mem::take(&mut self.steps) {
            step.bar.finish_and_clear();
        }
        let _ = self.bars.clear();
    }

    pub(super) fn show(&mut self, entry: &Entry, is_verbose: bool) {
        match &entry.what {
            // The first question rides on the handshake: one line for both.
            What::Outcome { step: StepWord::Connect, status: Status::Started | Status::Done, .. } => {}
            What::Intent { step, .. } | What::Outcome { step, status: Status::Started, .. } => {
                self.begin((entry.service.clone(), *step));
            }
            What::Outcome { step, host, status, detail, .. } => {
                if matches!(step, StepWord::Hold | StepWord::Judge) && host.is_none() {
                    self.no_figures();
                }
                self.end(*step, host.as_ref(), *status, detail, entry, is_verbose)
            }
            // One that says what the last one said stands in the figures.
            What::Judged(judgement) if self.said == Some(judgement.opinion) => {}
            What::Judged(judgement) => {
                self.said = Some(judgement.opinion);
                if let Some(line) = plain(entry, is_verbose) {
                    self.println(&line);
                }
            }
            What::Begun(_)
            | What::Found { .. }
            | What::Balancer { .. }
            | What::DeadMan { .. }
            | What::App { .. }
            | What::Answer { .. }
            | What::Green { .. }
            | What::TrafficSafe { .. }
            | What::Note { .. }
            | What::Gap { .. }
            | What::Change { .. }
            | What::Said { .. }
            | What::Captured(_)
            | What::Errors { .. }
            | What::Dump(_)
            | What::Loss(_)
            | What::Database(_)
            | What::Noted { .. }
            | What::Resolved { .. }
            | What::Ended { .. } => {
                if let Some(line) = plain(entry, is_verbose) {
                    self.println(&line);
                }
            }
        }
    }

    pub(super) fn progress(&mut self, progress: &Progress<'_>) {
        let line = self.line_of((progress.service.cloned(), progress.step));
        line.progress = format!("{} {}", progress.host, printable(progress.words));
        line.refresh();
    }

    fn begin(&mut self, of: LineOf) {
        let line = self.line_of(of);
        line.waiting += 1;
        line.refresh();
    }

    /// The live line of a step. There may be progress to show before the step itself begins.
    fn line_of(&mut self, of: LineOf) -> &mut StepLine {
        let bars = &self.bars;
        let (whose, step) = (whose(of.0.as_ref()), of.1);
        self.steps.entry(of).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {prefix:<9} {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            bar.set_style(style);
            bar.set_prefix(step.as_str());
            // Ten times a second looks alive and costs nothing.
            bar.enable_steady_tick(Duration::from_millis(100));
            StepLine {
                whose,
                bar,
                began: Instant::now(),
                waiting: 0,
                done: Vec::new(),
                details: Vec::new(),
                progress: String::new(),
            }
        })
    }

    fn end(
        &mut self,
        step: StepWord,
        host: Option<&HostName>,
        status: Status,
        detail: &str,
        entry: &Entry,
        is_verbose: bool,
    ) {
        let is_good = matches!(status, Status::Done);
        let of = (entry.service.clone(), step);
        let Some(line) = self.steps.get_mut(&of) else {
            if let Some(text) = plain(entry, is_verbose) {
                self.println(&text);
            }
            return;
        };
        line.waiting = line.waiting.saturating_sub(1);
        if is_good {
            line.done.extend(host.map(ToString::to_string));
            if !detail.is_empty() && !line.details.iter().any(|other| other == detail) {
                line.details.push(detail.to_owned());
            }
        }
        line.refresh();
        let is_over = line.waiting == 0;
        let summary = (is_over && (!line.done.is_empty() || is_good)).then(|| {
            let details = line.details.join("; ");
            let colon = if details.is_empty() || line.done.is_empty() { "" } else { ": " };
            let (hosts, spent) = (line.done.join(" "), seconds(line.began.elapsed()));
            let whose = &line.whose;
            let (step, details) = (step.as_str(), printable(&details));
            format!("{GOOD}✔{GOOD:#} {step:<9} {whose}{hosts}{colon}{details} {DIM}({spent}){DIM:#}")
        });
        if !is_good && let Some(text) = plain(entry, is_verbose) {
            let mark =
                if status == Status::Skipped { format!("{WARN}–{WARN:#}") } else { format!("{BAD}✖{BAD:#}") };
            self.println(&format!("{mark} {text}"));
        }
        if let Some(summary) = summary {
            self.println(&summary);
        }
        if is_over && let Some(line) = self.steps.remove(&of) {
            line.bar.finish_and_clear();
            self.bars.remove(&line.bar);
        }
    }
}

/// indicatif does not strip colours itself; anstream knows what this terminal wants.
fn as_wanted(line: &str) -> String {
    match anstream::stderr().current_choice() {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(line).to_string(),
        _ => line.to_owned(),
    }
}

impl StepLine {
    fn refresh(&self) {
        let total = self.waiting + self.done.len();
        if self.progress.is_empty() {
            let (whose, done) = (&self.whose, &self.done);
            self.bar.set_message(format!("{whose}{} of {total} {}", done.len(), done.join(" ")));
        } else {
            self.bar.set_message(format!("{}{}", self.whose, self.progress));
        }
    }
}
