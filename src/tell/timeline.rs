//! What happened, in order: the journal's entries as the lines of a report's timeline. Never says what follows from
//! them: see `story`.

use serde::Serialize;

use crate::nouns::colour::Colour;
use crate::nouns::names::{HostName, some_of};
use crate::nouns::record::{Entry, Status, StepWord, TicketState, What, answer_words, plural};
use crate::nouns::side::Side;
use crate::nouns::units::duration;
use crate::tell::story::{Ending, open_intents};
use crate::tell::times::{Clock, Time};

#[derive(Debug, Clone, Serialize)]
pub(super) struct Event {
    at: Time,
    text: String,
    is_bad: bool,
    /// The one line that matters most.
    is_safe: bool,
}

/// Outcomes that are alike on several hosts are one line, at the time of the last of them.
pub(super) fn timeline(entries: &[Entry], clock: &Clock, ending: &Ending) -> Vec<Event> {
    let mut groups: Vec<(u64, Words)> = Vec::new();
    for entry in entries {
        let Some(words) = words(entry) else { continue };
        match words {
            Words::Step { step, of, status, host: Some(host), detail, ms } => {
                // Only within a run of steps: what came between two of them stays between them.
                let like = groups.iter_mut().rev().take_while(|(_, words)| words.is_of_a_step()).find(|(_, words)| {
                    matches!(words, Words::Steps { step: s, of: o, status: t, detail: d, .. } if (*s, o, *t, d) == (step, &of, status, &detail))
                });
                match like {
                    Some((at_ms, Words::Steps { hosts, ms: longest, .. })) => {
                        hosts.push(host);
                        *longest = (*longest).max(ms);
                        *at_ms = entry.at_ms;
                    }
                    _ => groups.push((entry.at_ms, Words::Steps { step, of, status, hosts: vec![host], detail, ms })),
                }
            }
            other => groups.push((entry.at_ms, other)),
        }
    }
    groups.sort_by_key(|(at_ms, _)| *at_ms);
    let mut events: Vec<Event> = groups.into_iter().map(|(at_ms, words)| words.event(clock.time(at_ms))).collect();
    if ending.is_cut_off {
        for (step, host) in open_intents(entries) {
            let text = format!("{} on {host} had begun; its outcome is not in the journal", step.as_str());
            events.push(Event { at: clock.time(ending.at_ms), text, is_bad: true, is_safe: false });
        }
        let text = "the journal ends here".to_owned();
        events.push(Event { at: clock.time(ending.at_ms), text, is_bad: true, is_safe: false });
    }
    events
}

/// What an entry has to say in the timeline.
enum Words {
    Step { step: StepWord, of: Option<String>, status: Status, host: Option<HostName>, detail: String, ms: u64 },
    Steps { step: StepWord, of: Option<String>, status: Status, hosts: Vec<HostName>, detail: String, ms: u64 },
    Safe(usize, Colour),
    Plain(String),
    Ended(u8),
}

fn words(entry: &Entry) -> Option<Words> {
    match &entry.what {
        What::Begun(begun) => Some(Words::Plain(format!("{} begins on {}", begun.program, begun.laptop))),
        What::Outcome { status: Status::Started, .. } => None,
        What::Outcome { step, host, of, status, ms, detail } => Some(Words::Step {
            step: *step,
            of: of.clone(),
            status: *status,
            host: host.clone(),
            detail: detail.trim().to_owned(),
            ms: *ms,
        }),
        What::TrafficSafe { hosts, to } => Some(Words::Safe(*hosts, to.colour(Side::To))),
        What::Answer { host, colour, is_good, detail } => {
            Some(Words::Plain(answer_words(host, *colour, *is_good, detail)))
        }
        What::Note { text } if !is_the_plan(text) => Some(Words::Plain(text.trim().to_owned())),
        What::Noted { by, text } => Some(Words::Plain(format!("{by}: {}", text.trim()))),
        What::Resolved { by, text } if text.trim().is_empty() => Some(Words::Plain(format!("{by} calls it over"))),
        What::Resolved { by, text } => Some(Words::Plain(format!("{by} calls it over: {}", text.trim()))),
        What::Ticket { by, tracker, state: TicketState::Filed { url } } => {
            Some(Words::Plain(format!("{by} files it at {tracker}: {url}")))
        }
        // What came of it is another line; or nobody knows, and whoever files it again is told so.
        What::Ticket { state: TicketState::Sent | TicketState::Refused { .. }, .. } => None,
        What::Ended { exit, .. } => Some(Words::Ended(*exit)),
        // an intent is the outcome's beginning; states follow from outcomes; the rest has sections of its own
        What::Note { .. }
        | What::Intent { .. }
        | What::Found { .. }
        | What::Balancer { .. }
        | What::DeadMan { .. }
        | What::App { .. }
        | What::Green { .. }
        | What::Gap { .. }
        | What::Change { .. }
        | What::Said { .. }
        | What::Captured(_)
        | What::Errors { .. }
        | What::Judged(_)
        | What::Dump(_)
        | What::Loss(_)
        | What::Database(_) => None,
    }
}

/// With `--json` the plan goes out as a note. It has a file of its own.
fn is_the_plan(text: &str) -> bool {
    text.starts_with("plan of ") && text.contains('\n')
}

impl Words {
    fn is_of_a_step(&self) -> bool {
        match self {
            Words::Step { .. } | Words::Steps { .. } => true,
            Words::Safe(..) | Words::Plain(_) | Words::Ended(_) => false,
        }
    }

    fn event(self, at: Time) -> Event {
        let of_step = |step: StepWord, of: Option<&str>, status: Status, hosts: &[HostName], detail: &str, ms: u64| {
            let status_word = match status {
                Status::Failed => "FAILED",
                Status::Unknown => "NOT KNOWN",
                Status::Started | Status::Done | Status::Skipped => status.as_str(),
            };
            let on = if hosts.is_empty() { String::new() } else { format!(" on {}", some_of(hosts)) };
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            let took = if ms == 0 { String::new() } else { format!(" ({})", duration(ms)) };
            let which = of.map_or(String::new(), |of| format!(" {of}"));
            format!("{}{which} {status_word}{on}{took}{detail}", step.as_str())
        };
        let is_bad = |status: Status| matches!(status, Status::Failed | Status::Unknown);
        match self {
            Words::Step { step, of, status, host, detail, ms } => Event {
                at,
                text: of_step(step, of.as_deref(), status, host.as_slice(), &detail, ms),
                is_bad: is_bad(status),
                is_safe: false,
            },
            Words::Steps { step, of, status, hosts, detail, ms } => Event {
                at,
                text: of_step(step, of.as_deref(), status, &hosts, &detail, ms),
                is_bad: is_bad(status),
                is_safe: false,
            },
            Words::Safe(hosts, to) => {
                let text = format!("traffic is safe: {to} serves on {}", plural(hosts, "host"));
                Event { at, text, is_bad: false, is_safe: true }
            }
            Words::Plain(text) => Event { at, text, is_bad: false, is_safe: false },
            Words::Ended(exit) => {
                Event { at, text: format!("the run ends, exit {exit}"), is_bad: exit != 0, is_safe: false }
            }
        }
    }
}
