//! One step over all its hosts: who is done, who failed, who is waited for and since when. Pure: whoever asks brings the
//! time. Draws nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::nouns::likes::first_of;
use crate::nouns::record::{Status, plural};
use crate::nouns::redact::printable;
use crate::tell::terminal::lines::{BAD, DIM, GOOD, WARN, seconds};
use crate::tell::terminal::width::{shortened, width};

/// What is awaited for less long is no wait that anybody notices.
const NOTICEABLE: Duration = Duration::from_secs(2);
/// A step of at most so many hosts names them all; of more the count says it.
pub(super) const FEW: usize = 8;
/// Hosts whose answers differ are told apart up to so many answers; figures of a fleet's own stand in the report.
const ANSWERS: usize = 3;
/// How much a live line says: the first of these that fits. Who failed is the last thing to go.
const FILLS: [Fill; 9] = [
    Fill { says_hosts: true, failed: 4, slow: Some((STILL, 4)), times_itself: true },
    Fill { says_hosts: true, failed: 3, slow: Some((STILL, 3)), times_itself: true },
    Fill { says_hosts: true, failed: 2, slow: Some((STILL, 2)), times_itself: true },
    Fill { says_hosts: true, failed: 1, slow: Some((STILL, 1)), times_itself: true },
    Fill { says_hosts: true, failed: 1, slow: Some((STILL, 1)), times_itself: false },
    Fill { says_hosts: false, failed: 1, slow: Some(("waiting for", 1)), times_itself: false },
    Fill { says_hosts: false, failed: 1, slow: Some(("waiting for", 0)), times_itself: false },
    Fill { says_hosts: false, failed: 1, slow: None, times_itself: false },
    LEAST,
];
const LEAST: Fill = Fill { says_hosts: false, failed: 0, slow: None, times_itself: false };
const STILL: &str = "still waiting for";

struct Fill {
    /// Whether what is counted is named.
    says_hosts: bool,
    /// So many names of those that failed.
    failed: usize,
    /// How those are told that are waited for, and so many names of them.
    slow: Option<(&'static str, usize)>,
    /// Whether its seconds stand at its end.
    times_itself: bool,
}

/// Names of answers that differ.
const NAMES: usize = 4;

/// A step of a run, while it is under way.
pub(super) struct Tally {
    /// The word of the contract, and whose it is where there are several services.
    pub(super) step: &'static str,
    pub(super) whose: String,
    began: Duration,
    /// How many have begun.
    begun: usize,
    waiting: Vec<Waiting>,
    /// In the order in which they began, and in which people look for them.
    ended: BTreeMap<usize, (Status, String)>,
    /// What was said of those that are done, with who said it.
    answers: Vec<(String, BTreeMap<usize, String>)>,
    /// How far the step is by its own words.
    progress: String,
    /// When it was last said that somebody is waited for.
    said: Duration,
}

struct Waiting {
    place: usize,
    /// Nobody, where a step is of no host.
    who: String,
    of: Option<String>,
    since: Duration,
}

impl Tally {
    pub(super) fn new(step: &'static str, whose: String, now: Duration) -> Tally {
        Tally {
            step,
            whose,
            began: now,
            begun: 0,
            waiting: Vec::new(),
            ended: BTreeMap::new(),
            answers: Vec::new(),
            progress: String::new(),
            said: now,
        }
    }

    pub(super) fn begin(&mut self, who: &str, of: Option<&str>, now: Duration) {
        let place = self.begun;
        self.begun += 1;
        self.waiting.push(Waiting { place, who: who.to_owned(), of: of.map(str::to_owned), since: now });
    }

    pub(super) fn progress(&mut self, words: String) {
        self.progress = words;
    }

    pub(super) fn end(&mut self, who: &str, of: Option<&str>, status: Status, detail: &str) {
        let exactly = self.waiting.iter().position(|waiting| waiting.who == who && waiting.of.as_deref() == of);
        let at = exactly.or_else(|| self.waiting.iter().position(|waiting| waiting.who == who));
        // One that begins under another name than it ends must not be waited for until the run is over.
        let at = at.or_else(|| (!self.waiting.is_empty()).then_some(0));
        let place = match at {
            Some(at) => self.waiting.remove(at).place,
            None => {
                self.begun += 1;
                self.begun - 1
            }
        };
        self.ended.insert(place, (status, who.to_owned()));
        if status == Status::Done {
            match self.answers.iter_mut().find(|(other, _)| other == detail) {
                Some((_, whose)) => drop(whose.insert(place, who.to_owned())),
                None => self.answers.push((detail.to_owned(), BTreeMap::from([(place, who.to_owned())]))),
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_of_many(&self) -> bool {
        self.total() > FEW
    }

    fn total(&self) -> usize {
        self.waiting.len() + self.ended.len()
    }

    fn names(&self, is_so: impl Fn(Status) -> bool) -> Vec<&str> {
        let named = self.ended.values().filter(|(status, who)| is_so(*status) && !who.is_empty());
        named.map(|(_, who)| who.as_str()).collect()
    }

    fn done(&self) -> usize {
        self.ended.values().filter(|(status, _)| *status == Status::Done).count()
    }

    /// Whoever is waited for noticeably, the slowest first, each with how long.
    fn slow(&self, now: Duration) -> Vec<(&str, Duration)> {
        let waits = self.waiting.iter().map(|waiting| (waiting.who.as_str(), now.saturating_sub(waiting.since)));
        let mut slow: Vec<(&str, Duration)> = waits.filter(|(_, wait)| *wait >= NOTICEABLE).collect();
        slow.sort_by_key(|(_, wait)| std::cmp::Reverse(*wait));
        slow
    }

    /// How much it wants to be seen where not every step has room: failures, then waits.
    pub(super) fn urgency(&self, now: Duration) -> (usize, Duration) {
        let failed = self.names(is_bad).len();
        (failed, self.slow(now).first().map_or(Duration::ZERO, |(_, wait)| *wait))
    }

    /// Its live line, no wider than that.
    pub(super) fn live(&self, now: Duration, columns: usize) -> String {
        let spent = format!("{} s", now.saturating_sub(self.began).as_secs());
        let before = format!("{:<9} {}", self.step, self.whose);
        let room = columns.saturating_sub(width(&before) + width(&spent) + 1);
        if !self.progress.is_empty() {
            let words = shortened(&self.progress, room);
            return fitted(&format!("{before}{words}"), &spent, columns);
        }
        let fits = |fill: &&Fill| {
            width(&self.state(fill, now)) <= if fill.times_itself { room } else { room + spent.len() + 1 }
        };
        let Some(fill) = FILLS.iter().find(fits) else {
            return shortened(&format!("{before}{}", self.state(&LEAST, now)), columns);
        };
        let end = if fill.times_itself { spent.as_str() } else { "" };
        fitted(&format!("{before}{}", self.state(fill, now)), end, columns)
    }

    fn counts(&self) -> String {
        let total = self.total();
        let is_of_hosts =
            self.waiting.iter().any(|waiting| !waiting.who.is_empty()) || !self.names(|_| true).is_empty();
        if is_of_hosts { format!("{} of {}", self.done(), plural(total, "host")) } else { String::new() }
    }

    /// Counts, the failed and the slow.
    fn state(&self, fill: &Fill, now: Duration) -> String {
        let counts = self.counts();
        let mut parts = vec![if fill.says_hosts { counts } else { counts.replace(" hosts", "").replace(" host", "") }];
        for (style, is_so, word) in [
            (BAD, is_failed as fn(Status) -> bool, "failed"),
            (BAD, is_unknown, "unknown"),
            (WARN, is_skipped, "skipped"),
        ] {
            let who = self.names(is_so);
            if !who.is_empty() {
                parts.push(format!("{style}{word}{style:#} {}", listed(&who, fill.failed)));
            }
        }
        let slow = self.slow(now);
        let done = self.names(|status| status == Status::Done);
        match fill.slow {
            Some((still, names)) if !slow.is_empty() => {
                parts.push(waited_for(&slow, (still, names), |wait| format!(" ({wait} s)")));
            }
            Some((_, names)) if !self.is_of_many() && names > 0 => parts.push(done.join(" ")),
            Some(_) | None => {}
        }
        parts.retain(|part| !part.is_empty());
        parts.join(" · ")
    }

    /// What stays of it: who is done, and what they said. Nothing where nobody is.
    pub(super) fn summary(&self, now: Duration) -> Option<String> {
        let done = self.done();
        let spent = seconds(now.saturating_sub(self.began));
        let end = format!(" {DIM}({spent}){DIM:#}");
        let (step, whose) = (self.step, &self.whose);
        if done == 0 {
            return None;
        }
        if self.names(|status| status == Status::Done).is_empty() {
            let words = self.answers.iter().map(|(words, _)| printable(words)).filter(|words| !words.is_empty());
            return Some(format!("{step:<9} {whose}{}{end}", words.collect::<Vec<_>>().join("; ")));
        }
        if !self.is_of_many() {
            let each = self.answers.iter().map(|(words, who)| match words.as_str() {
                "" => named(who).join(" "),
                words => format!("{}: {}", named(who).join(" "), printable(words)),
            });
            return Some(format!("{step:<9} {whose}{}{end}", each.collect::<Vec<_>>().join("; ")));
        }
        let total = self.total();
        let failed = [(is_bad as fn(Status) -> bool, "failed on"), (is_skipped, "skipped on")].into_iter();
        let but: String = failed
            .map(|(is_so, word)| (self.names(is_so), word))
            .filter(|(who, _)| !who.is_empty())
            .map(|(who, word)| format!(", {word} {}", first_of(&who, FEW)))
            .collect();
        let words = self.answers_of_many();
        let colon = if words.is_empty() { "" } else { ": " };
        Some(format!("{step:<9} {whose}{GOOD}done{GOOD:#} on {done} of {total} hosts{but}{colon}{words}{end}"))
    }

    fn answers_of_many(&self) -> String {
        let mut answers: Vec<&(String, BTreeMap<usize, String>)> = self.answers.iter().collect();
        answers.sort_by_key(|(_, who)| std::cmp::Reverse(who.len()));
        match answers.as_slice() {
            [] => String::new(),
            [(words, _)] => printable(words),
            [(first, who), rest @ ..] if answers.len() <= ANSWERS => {
                let rest =
                    rest.iter().map(|(words, who)| format!("; {}: {}", first_of(&named(who), NAMES), printable(words)));
                format!("{} ({} of them){}", printable(first), who.len(), rest.collect::<String>())
            }
            [(words, who), ..] => {
                let others = self.done() - who.len();
                format!("{}: {}; {others} with words of their own", first_of(&named(who), 2), printable(words))
            }
        }
    }

    /// Who is waited for, where that was not said for so long and the step does not say itself how far it is.
    pub(super) fn still_waiting(&mut self, now: Duration, every: Duration) -> Option<String> {
        let slow = self.slow(now);
        let (_, longest) = *slow.first()?;
        if longest < every || now.saturating_sub(self.said) < every || !self.progress.is_empty() {
            return None;
        }
        let counts = match self.counts() {
            counts if self.total() > 1 && !counts.is_empty() => format!("{counts} done · "),
            _ => String::new(),
        };
        let waits = waited_for(&slow, ("still waiting for", FEW), |wait| format!(", {wait} s"));
        let line = format!("{:<9} {}{counts}{waits}", self.step, self.whose);
        self.said = now;
        Some(line)
    }
}

fn named(who: &BTreeMap<usize, String>) -> Vec<&str> {
    who.values().map(String::as_str).collect()
}

fn is_failed(status: Status) -> bool {
    status == Status::Failed
}

fn is_unknown(status: Status) -> bool {
    status == Status::Unknown
}

fn is_skipped(status: Status) -> bool {
    status == Status::Skipped
}

fn is_bad(status: Status) -> bool {
    is_failed(status) || is_unknown(status)
}

/// `web7, web9 +3`; with no room for a name how many they are.
fn listed(who: &[&str], names: usize) -> String {
    let shown = if names == 0 { 0 } else { who.len().min(names) };
    match (who.len() - shown, shown) {
        (0, _) => who.join(", "),
        (all, 0) => all.to_string(),
        (more, _) => format!("{} +{more}", who[..shown].join(", ")),
    }
}

/// `still waiting for web7 (12 s), web9 (11 s) +1`
fn waited_for(slow: &[(&str, Duration)], (still, names): (&str, usize), time: impl Fn(u64) -> String) -> String {
    let (_, longest) = slow[0];
    let named: Vec<String> = slow
        .iter()
        .filter(|(who, _)| !who.is_empty())
        .map(|(who, wait)| format!("{who}{}", time(wait.as_secs())))
        .collect();
    let each: Vec<&str> = named.iter().map(String::as_str).collect();
    match (named.len(), names) {
        (0, _) => format!("{}{}", still.trim_end_matches(" for"), time(longest.as_secs())),
        (all, 0) => format!("{all} waiting{}", time(longest.as_secs())),
        (_, names) => format!("{still} {}", listed(&each, names)),
    }
}

/// A line whose end stands at the right edge.
fn fitted(line: &str, end: &str, columns: usize) -> String {
    let gap = columns.saturating_sub(width(line) + width(end));
    match gap {
        _ if end.is_empty() => line.to_owned(),
        0 => shortened(line, columns),
        gap => format!("{line}{}{DIM}{end}{DIM:#}", " ".repeat(gap)),
    }
}
