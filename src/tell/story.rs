//! What a run was, concluded from the journal's entries: who serves where, what became of the other colour and of the
//! database, how it ended and what that is called. Every conclusion about production that this room needs is drawn
//! here, and the documents read it. Pure, so that a journal that ends in the middle tells as much as was known then.
//! Never guesses: a change whose outcome is not in the journal is not known.

use chrono::{DateTime, FixedOffset, Utc};
use serde::Serialize;

use crate::nouns::colour::Colour;
use crate::nouns::names::HostName;
use crate::nouns::production::{Production, Verdict};
use crate::nouns::record::{AppState, Balancer, Begun, DatabaseNow, DatabaseState, Entry, Status, StepWord, What};
use crate::nouns::share::Share;
use crate::nouns::side::Side;
use crate::tell::known::Known;

/// Everything that is known of one run. The journal is enough: what plan and facts said makes the report richer.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    pub known: &'a Known,
    /// With [`What::Ended`] among them, unless the run was killed.
    pub entries: &'a [Entry],
    /// Of the operator's clock, for the column of local times.
    pub local_offset: FixedOffset,
}

/// How an incident stands, in the word that status pages use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Standing {
    /// Work goes on, or something is left to do with all traffic safe.
    Mitigating,
    Resolved,
    /// Traffic is not on blue, or not everywhere.
    Failed,
    Unknown,
}

impl Standing {
    pub(super) fn word(self) -> &'static str {
        match self {
            Standing::Mitigating => "Mitigating",
            Standing::Resolved => "Resolved",
            Standing::Failed => "Failed",
            Standing::Unknown => "Unknown",
        }
    }

    /// How much it should worry whoever sees it: `good`, `warn` or `bad`.
    pub(super) fn tone(self) -> &'static str {
        match self {
            Standing::Resolved => "good",
            Standing::Mitigating => "warn",
            Standing::Failed | Standing::Unknown => "bad",
        }
    }
}

/// How the run ended and what production is by then, as far as the journal tells.
pub(super) struct Ending {
    pub(super) verdict: Verdict,
    pub(super) standing: Standing,
    /// The journal has no end: the run was killed.
    pub(super) is_cut_off: bool,
    /// The last known moment.
    pub(super) at_ms: u64,
    production: Production,
}

impl Ending {
    /// What a balancer serves; as it was, where no entry says otherwise.
    pub(super) fn balancer(&self, host: &HostName) -> Balancer {
        self.production.balancer(host).unwrap_or(Balancer::Unchanged)
    }

    /// The share that a balancer is proven at.
    pub(super) fn share(&self, host: &HostName) -> Option<Share> {
        self.production.share(host)
    }

    /// Whether both sides have traffic by this run.
    pub(super) fn is_split(&self) -> bool {
        self.production.is_split()
    }

    /// What became of the side that traffic left, on an app host; `None` where nobody touched it.
    pub(super) fn from(&self, host: &HostName) -> Option<AppState> {
        self.production.app(host, self.colour(Side::From))
    }

    /// What is wrong with whoever should answer on or through that host now.
    pub(super) fn complaint(&self, host: &HostName) -> Option<&str> {
        self.production.complaint(host)
    }

    /// The changes that were meant, each with whether it is what it should be everywhere.
    pub(super) fn changes(&self) -> Vec<(String, bool)> {
        self.production.changes_done()
    }

    pub(super) fn colour(&self, side: Side) -> Colour {
        self.production.direction().colour(side)
    }

    /// Every balancer is proven to send where traffic was to go.
    pub(super) fn is_all_there(&self) -> bool {
        self.production.is_all_shifted()
    }
}

/// How a run ended by its journal; a run that was killed is judged by what is known of it.
pub(super) fn ending(entries: &[Entry]) -> Ending {
    let ended = entries.iter().rev().find_map(|entry| {
        let What::Ended { exit, production, next } = &entry.what else { return None };
        Some((*exit, production, next, entry.at_ms))
    });
    let production: Production = entries.iter().collect();
    let (verdict, at_ms) = match ended {
        Some((exit, words, next, at_ms)) => {
            let left = production.verdict(false).left;
            (Verdict { exit, production: words.clone(), next: next.clone(), left }, at_ms)
        }
        None => (production.verdict(true), last_of_the_run(entries).map_or(0, |entry| entry.at_ms)),
    };
    rated(verdict, production, ended.is_none(), at_ms)
}

/// The same for a run whose last line is still to be written.
pub(super) fn ending_with(verdict: &Verdict, entries: &[Entry]) -> Ending {
    let at_ms = last_of_the_run(entries).map_or(0, |entry| entry.at_ms);
    rated(verdict.clone(), entries.iter().collect(), false, at_ms)
}

/// What people add, they add hours later.
fn last_of_the_run(entries: &[Entry]) -> Option<&Entry> {
    entries
        .iter()
        .rev()
        .find(|entry| !matches!(entry.what, What::Noted { .. } | What::Resolved { .. } | What::Ticket { .. }))
}

/// Who called it over, when, and with what words; `None` where nobody did.
pub(super) fn resolved(entries: &[Entry]) -> Option<(&Entry, &str, &str)> {
    entries.iter().rev().find_map(|entry| {
        let What::Resolved { by, text } = &entry.what else { return None };
        Some((entry, by.as_str(), text.as_str()))
    })
}

/// A verdict in the word of status pages.
fn rated(verdict: Verdict, production: Production, is_cut_off: bool, at_ms: u64) -> Ending {
    let standing = if verdict.exit == 0 {
        Standing::Resolved
    } else if production.balancers().any(|(_, state)| state == Balancer::Unknown) {
        Standing::Unknown
    } else if let Some(begun) = production.begun().filter(|begun| begun.is_partial()) {
        // What traffic does is not what such a run is about.
        match verdict.exit {
            5 => Standing::Unknown,
            4 | 130 if !begun.changes.is_empty() => Standing::Mitigating,
            _ => Standing::Failed,
        }
    } else if matches!(verdict.exit, 8 | 130) && production.begun().is_some_and(|begun| begun.gradual.is_some())
        || production.is_all_shifted() && !production.is_silent()
    {
        Standing::Mitigating
    } else {
        Standing::Failed
    };
    Ending { verdict, standing, is_cut_off, at_ms, production }
}

/// Changes whose outcome the journal does not have.
pub(super) fn open_intents(entries: &[Entry]) -> Vec<(StepWord, HostName)> {
    let mut open: Vec<(StepWord, HostName)> = Vec::new();
    for entry in entries {
        match &entry.what {
            What::Intent { step, host, .. } => open.push((*step, host.clone())),
            What::Outcome { step, host: Some(host), status, .. } if *status != Status::Started => {
                open.retain(|(s, h)| (s, h) != (step, host));
            }
            What::Begun(_)
            | What::Outcome { .. }
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
            | What::Judged(_)
            | What::Dump(_)
            | What::Loss(_)
            | What::Database(_)
            | What::Noted { .. }
            | What::Resolved { .. }
            | What::Ticket { .. }
            | What::Ended { .. } => {}
        }
    }
    open
}

/// What was asked for, and by whom; `None` where the journal does not even begin.
pub(super) fn begun(entries: &[Entry]) -> Option<&Begun> {
    entries.iter().find_map(|entry| {
        let What::Begun(begun) = &entry.what else { return None };
        Some(begun.as_ref())
    })
}

/// The colour that traffic was to go to.
pub(super) fn towards(entries: &[Entry]) -> Colour {
    begun(entries).map_or(Colour::Blue, |begun| begun.direction.colour(Side::To))
}

/// All traffic is proven where it was to go.
pub(super) struct TrafficSafe {
    pub(super) at_ms: u64,
    pub(super) balancers: usize,
}

/// When all traffic was safe for the first time; `None` where it never was.
pub(super) fn traffic_safe(entries: &[Entry]) -> Option<TrafficSafe> {
    entries.iter().find_map(|entry| {
        let What::TrafficSafe { hosts, .. } = &entry.what else { return None };
        Some(TrafficSafe { at_ms: entry.at_ms, balancers: *hosts })
    })
}

/// At some time at least one balancer was proven where it was to be.
pub(super) fn some_traffic_moved(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(&entry.what, What::Balancer { state: Balancer::Shifted, .. }))
}

/// What the database is; `None` where nothing was begun on it.
pub(super) fn database(entries: &[Entry]) -> Option<DatabaseNow> {
    entries.iter().collect::<Production>().database().cloned()
}

/// When the restored database went live.
pub(super) fn restored_at(entries: &[Entry]) -> Option<DateTime<Utc>> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Database(database) if database.state == DatabaseState::Restored => Some(entry.time),
        _ => None,
    })
}

/// The newest outcome of a step, on one host or of no host.
pub(super) fn newest<'e>(entries: &'e [Entry], wanted: StepWord, on: Option<&HostName>) -> Option<(Status, &'e str)> {
    entries.iter().rev().find_map(|entry| {
        let What::Outcome { step, host, status, detail, .. } = &entry.what else { return None };
        (*step == wanted && host.as_ref() == on).then_some((*status, detail.as_str()))
    })
}

/// The newest outcome of a step, on whatever host.
pub(super) fn newest_of_any_host(entries: &[Entry], wanted: StepWord) -> Option<Status> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Outcome { step, status, .. } if *step == wanted => Some(*status),
        _ => None,
    })
}

/// Whether a step was done on every host where it began, after traffic was safe.
pub(super) fn all_done(entries: &[Entry], wanted: StepWord) -> bool {
    let from = entries.iter().position(|entry| matches!(&entry.what, What::TrafficSafe { .. }));
    let Some(after) = from.and_then(|from| entries.get(from..)) else { return false };
    let mut last: Vec<(&Option<HostName>, Status)> = Vec::new();
    for entry in after {
        if let What::Outcome { step, host, status, .. } = &entry.what
            && *step == wanted
            && host.is_some()
        {
            last.retain(|(of, _)| *of != host);
            last.push((host, *status));
        }
    }
    !last.is_empty() && last.iter().all(|(_, status)| *status == Status::Done)
}

/// The environment is said where it is not the one that everybody means.
pub(super) fn service_words(begun: Option<&Begun>) -> String {
    match begun {
        None => "rollback".to_owned(),
        Some(begun) if begun.environment == "prod" => begun.service.clone(),
        Some(begun) => format!("{} ({})", begun.service, begun.environment),
    }
}

/// How the run ended in a few words, for a headline or a subject.
pub(super) fn title(service: &str, ending: &Ending, begun: Option<&Begun>) -> String {
    if let Some(incident) = begun.and_then(|begun| begun.undoes.as_ref()) {
        let what = match ending.verdict.exit {
            0 => "is taken back",
            1 => "stays: the undo was refused, nothing was changed",
            3 => "stays: the undo failed and was put back",
            _ => "is taken back in part",
        };
        return format!("{service}: {incident} {what}");
    }
    if let Some(begun) = begun.filter(|begun| begun.is_partial()) {
        let names = begun.change_names().join(", ");
        let what = match ending.verdict.exit {
            0 => "done",
            1 => "refused, nothing was changed",
            3 => "failed and put back",
            4 => "done in part",
            5 => "what became of it is NOT KNOWN",
            _ => "interrupted",
        };
        return format!("{service}: partial rollback of {names}: {what}");
    }
    if let Some(gradual) = begun.and_then(|begun| begun.gradual.as_ref()) {
        let to = ending.colour(Side::To);
        let what = match ending.verdict.exit {
            0 => format!("{} of the traffic on {to}", gradual.last),
            1 => format!("switch to {to} refused, nothing was changed"),
            3 => format!("switch to {to} taken back"),
            4 => format!("{} of the traffic on {to}, not all is done", gradual.last),
            5 => format!("switch to {to}: the balancers differ, or one is not known"),
            8 => format!("switch to {to} stands still: not enough data to judge"),
            _ => format!("switch to {to} interrupted"),
        };
        return format!("{service}: {what}");
    }
    let what = match (ending.standing, ending.verdict.exit) {
        (Standing::Resolved, _) => "rolled back to blue",
        (Standing::Mitigating, _) if ending.is_cut_off => "traffic on blue, the run was cut off",
        (Standing::Mitigating, 130) => "traffic on blue, interrupted before the end",
        (Standing::Mitigating, 6) => "traffic on blue, the database as it was",
        (Standing::Mitigating, _) => "traffic on blue, not all is done",
        (Standing::Unknown, _) => "rollback: what a balancer serves is NOT KNOWN",
        (Standing::Failed, 1) => "rollback refused, nothing was changed",
        (Standing::Failed, 3) => "rollback failed and put back: NOT mitigated",
        (Standing::Failed, 4) => "traffic on blue, which DOES NOT ANSWER",
        (Standing::Failed, 5) => "rollback incomplete: the balancers differ",
        (Standing::Failed, _) => "rollback not done: NOT mitigated",
    };
    format!("{service}: {what}")
}
