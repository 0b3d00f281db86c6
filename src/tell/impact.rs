//! What an incident cost, when it was noticed and over, and what went well: the postmortem's beginnings, from the journal alone.
//! Each sentence is something that was counted, proven or recorded; what nobody measured is left for people.

use std::collections::BTreeMap;

use chrono::DateTime;

use crate::nouns::record::{Clients, DatabaseState, Entry, ErrorShare, Second, What, plural};
use crate::nouns::rules::Opinion;
use crate::nouns::units::{duration, grouped};
use crate::tell::checklist::Check;
use crate::tell::story::{Ending, database, resolved, traffic_safe};
use crate::tell::times::{Clock, Measure};

/// What the access logs of one balancer say of both sides of the switch.
struct Counted<'e> {
    host: &'e str,
    before: ErrorShare,
    after: ErrorShare,
    clients_before: Option<Clients>,
    clients_after: Option<Clients>,
    seconds: &'e [Second],
}

/// Of each balancer what was counted last.
fn counted(entries: &[Entry]) -> Vec<Counted<'_>> {
    let mut all: BTreeMap<&str, Counted<'_>> = BTreeMap::new();
    for entry in entries {
        if let What::Errors { host, before, after, seconds, clients_before, clients_after } = &entry.what {
            let (host, clients_before, clients_after) = (host.as_str(), *clients_before, *clients_after);
            let (before, after) = (*before, *after);
            all.insert(host, Counted { host, before, after, clients_before, clients_after, seconds });
        }
    }
    all.into_values().collect()
}

/// Requests that failed, and from how many addresses they came.
pub(super) fn impact(entries: &[Entry]) -> Vec<String> {
    let all = counted(entries);
    let side = |share: ErrorShare, clients: Option<Clients>| {
        let from = match clients {
            Some(clients) if share.errors > 0 => format!(", from {}", clients.describe()),
            Some(_) | None => String::new(),
        };
        format!("{} of {}{from}", grouped(share.errors), grouped(share.requests))
    };
    let mut lines: Vec<String> = all
        .iter()
        .map(|of| {
            let (before, after) = (side(of.before, of.clients_before), side(of.after, of.clients_after));
            format!(
                "{}: requests that failed in the ten minutes before traffic moved, as far as its logs were read: {before}; since then: {after}",
                of.host
            )
        })
        .collect();
    if lines.is_empty() {
        return lines;
    }
    let sum = |pick: fn(&Counted<'_>) -> ErrorShare| all.iter().map(|of| pick(of).errors).sum::<u64>();
    let failed = sum(|of| of.before) + sum(|of| of.after);
    if all.len() > 1 {
        lines.push(format!("Requests that failed, on all balancers: {}", grouped(failed)));
    }
    // Whoever stands in the logs of two balancers is one: there are at least as many as one of them saw.
    let clients = all.iter().map(|of| Some(of.clients_before?.and(of.clients_after?))).reduce(|a, b| Some(a?.and(b?)));
    lines.push(match clients.flatten() {
        Some(_) if failed == 0 => "Users: none of the requests that were counted failed".to_owned(),
        Some(clients) => {
            format!("Users, by distinct addresses of clients as nginx logged them: {}", clients.describe())
        }
        None => "Users: not counted; a request that failed tells no address of its client in the logs".to_owned(),
    });
    lines
}

/// When it was noticed, and when it was over.
pub(super) fn moments(entries: &[Entry], clock: &Clock) -> Vec<String> {
    let all = counted(entries);
    let utc = |at: i64| DateTime::from_timestamp(at, 0).map(|time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    let seconds = || all.iter().flat_map(|of| of.seconds);
    let failing = || seconds().filter(|second| second.errors > 0).map(|second| second.at);
    let read_from = seconds().map(|second| second.at).min();
    let began = entries.first().map_or(0, |entry| entry.time.timestamp());
    let safe = traffic_safe(entries).map(|safe| safe.at_ms);
    let safe_at =
        entries.iter().find(|entry| matches!(entry.what, What::TrafficSafe { .. })).map(|entry| entry.time.timestamp());
    let mut moments: Vec<String> = Vec::new();
    let first = failing().min().filter(|first| *first <= began);
    if let Some((first, read_from)) = first.zip(read_from) {
        let since = if first == read_from { ", and that is where reading began: it may be older" } else { "" };
        moments.extend(utc(first).map(|at| format!("First request that failed in the logs: {at}{since}")));
    }
    // What was judged before traffic moved is why it was moved.
    let judged = entries.iter().find(|entry| {
        matches!(&entry.what, What::Judged(judgement) if judgement.opinion == Opinion::Bad)
            && safe.is_none_or(|safe| entry.at_ms <= safe)
    });
    if let Some(judged) = judged {
        moments.push(format!("Judged bad by `watch`: {} UTC", clock.time(judged.at_ms).utc));
    }
    moments.push(format!("Run begun: {} UTC", clock.time(0).utc));
    moments.push(match safe {
        None => "Traffic safe: never proven".to_owned(),
        Some(safe) => {
            let from_first = first.zip(safe_at).map(|(first, at)| u64::try_from(at - first).unwrap_or(0) * 1000);
            let from_first =
                from_first.map_or(String::new(), |ms| format!(", {} after that first request", duration(ms)));
            format!("Traffic safe: {} UTC, {} after it was begun{from_first}", clock.time(safe).utc, duration(safe))
        }
    });
    let last = failing().max().filter(|last| safe_at.is_some_and(|safe| *last > safe));
    moments.extend(last.and_then(utc).map(|at| format!("Last request that failed in the logs: {at}")));
    if let Some((entry, by, _)) = resolved(entries) {
        moments.push(format!("Called over: {} UTC, by {by}", clock.time(entry.at_ms).utc));
    }
    moments
}

/// What held: targets, proofs, counts, evidence, messages. Nothing that was not asked for, and nothing by its absence alone.
pub(super) fn went_well(
    entries: &[Entry],
    ending: &Ending,
    measured: &[Measure],
    checklist: &[Check],
    gaps: &[String],
) -> Vec<String> {
    let met = measured.iter().filter(|measure| measure.is_met()).filter_map(Measure::against_target);
    // That a reason was typed, or that nobody touched the database, is no merit of anybody's.
    let is_merit = |text: &str| !matches!(text, "reason recorded" | "database: untouched" | "database: as it was");
    let ticked = checklist.iter().filter(|check| check.is_done() && is_merit(check.text()));
    let mut well: Vec<String> = met.chain(ticked.map(|check| check.text().to_owned())).collect();
    for of in counted(entries) {
        if of.after.errors == 0 && of.after.percent().is_some() {
            well.push(format!(
                "{}: none of {} requests failed after traffic moved",
                of.host,
                grouped(of.after.requests)
            ));
        }
    }
    let loss =
        entries.iter().rev().find_map(|entry| if let What::Loss(loss) = &entry.what { Some(loss) } else { None });
    let is_restored = database(entries).is_some_and(|database| database.state == DatabaseState::Restored);
    if loss.is_some_and(|loss| loss.tables.is_empty() && loss.not_counted.is_empty() && loss.alike > 0) && is_restored {
        well.push("the restore lost no row: every table was alike on both sides".to_owned());
    }
    let captured = entries.iter().filter(|entry| matches!(entry.what, What::Captured(_))).count();
    if captured > 0 && gaps.is_empty() && !ending.is_cut_off {
        well.push(format!("evidence: {} kept, and nothing is missing", plural(captured, "file")));
    }
    well
}
