//! What each entry of the journal is as a line of its own, and what the rules say as lines of one screen. Colours never
//! carry meaning alone. Prints nothing.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::nouns::colour::Colour;
use crate::nouns::names::ServiceName;
use crate::nouns::record::{Entry, Status, StepWord, What, answer_words, plural};
use crate::nouns::redact::printable;
use crate::nouns::rules::{Judgement, Opinion};
use crate::nouns::side::Side;
use crate::nouns::units::{counted, grouped};

pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const DIM: Style = Style::new().dimmed();

/// The line that matters most.
pub(super) fn safe_line(hosts: usize, to: Colour, at_ms: u64) -> String {
    format!("traffic is safe: {to} serves on {hosts} of {} ({:.2} s)", plural(hosts, "host"), at_ms as f64 / 1000.0)
}

/// An entry as one line of its own; `None` where it is nothing to look at.
pub(super) fn plain(entry: &Entry, is_verbose: bool) -> Option<String> {
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
        What::Note { text } => Some(format!("{DIM}note:{DIM:#}     {whose}{}", lined(text))),
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
        | What::Ticket { .. }
        | What::Ended { .. } => None,
    }
}

/// Several lines stay lines, to be pasted; set in, so that none of them looks like one of ours.
pub(super) fn lined(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n    ")
}

/// Before what is of one of several services.
pub(super) fn whose(service: Option<&ServiceName>) -> String {
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
pub(super) fn judgement_lines(judgement: &Judgement) -> Vec<String> {
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

pub(super) fn style_of(status: Status) -> Style {
    match status {
        Status::Done => GOOD,
        Status::Failed | Status::Unknown => BAD,
        Status::Skipped => WARN,
        Status::Started => DIM,
    }
}

pub(super) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
