//! What a report tells of plan and facts: what was known before the first change. Small enough to be kept beside the
//! journal, so that the report can be made again when the program that made the plan is long gone. Concludes nothing about
//! production.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hosts::facts::Facts;
use crate::nouns::colour::Colour;
use crate::nouns::names::{HostName, alike, some_of};
use crate::nouns::plan::{LeftOut, Plan};
use crate::nouns::side::Side;
use crate::nouns::units::duration;

/// The file in the incident folder, or in the part of it that a service has.
pub const KNOWN: &str = "known.json";

/// What was known of one service before anything was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Hosts that the plan does not touch.
    pub(super) left_out: Vec<LeftOut>,
    /// Files that were to be changed.
    pub(super) changes: Vec<ChangedFile>,
    /// What an operator was told, which explains what came after: the plan's notes, and clocks that differ.
    pub(super) notes: Vec<String>,
    /// Who answered before, as far as it was seen.
    pub(super) before: Option<String>,
    /// ssh's key exchanges, each with its hosts: `sntrup761x25519-sha512@openssh.com (web1, web2)`. It is most of a
    /// connection's time, and a matter of policy.
    pub(super) key_exchange: Option<String>,
}

/// A file as the plan changes it, on hosts where that is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChangedFile {
    pub(super) path: String,
    pub(super) hosts: String,
    pub(super) diff: String,
}

impl Known {
    pub fn of(plan: &Plan, facts: &Facts) -> Known {
        Known {
            left_out: plan.left_out.clone(),
            changes: changes(plan),
            notes: notes(plan, facts),
            before: before(facts, plan.direction.colour(Side::To)),
            key_exchange: key_exchange(facts),
        }
    }
}

fn changes(plan: &Plan) -> Vec<ChangedFile> {
    let needed = plan.file_changes().filter(|(_, change)| change.is_needed());
    let switched = alike(needed).into_iter().map(|(change, hosts)| ChangedFile {
        path: change.path.clone(),
        hosts: some_of(&hosts),
        diff: change.diff(),
    });
    let put = alike(plan.files_put()).into_iter().map(|(file, hosts)| ChangedFile {
        path: file.into.clone(),
        hosts: some_of(&hosts),
        diff: file.diff.clone(),
    });
    switched.chain(put).collect()
}

fn notes(plan: &Plan, facts: &Facts) -> Vec<String> {
    let mut notes = plan.notes.clone();
    for facts in &facts.hosts {
        match &facts.seen {
            Err(unknown) => notes.push(format!("{} was not reached: {unknown}", facts.host)),
            // Below two seconds nobody is misled by a log's times.
            Ok(seen) => match seen.clock_offset_ms {
                Ok(offset) if offset.abs() >= 2000 => {
                    let direction = if offset > 0 { "ahead of" } else { "behind" };
                    let apart = duration(offset.unsigned_abs());
                    notes.push(format!(
                        "{}: its clock is {apart} {direction} this machine's, and so are the times in its logs",
                        facts.host
                    ));
                }
                Ok(_) | Err(_) => {}
            },
        }
    }
    let mut kept: Vec<String> = Vec::new();
    for note in notes {
        if !kept.contains(&note) {
            kept.push(note);
        }
    }
    kept
}

fn before(facts: &Facts, to: Colour) -> Option<String> {
    let of = |wanted: Colour| -> Vec<HostName> {
        facts
            .hosts
            .iter()
            .filter(|facts| {
                let nginx = facts.seen.as_ref().ok().and_then(|seen| seen.nginx.as_ref());
                nginx.is_some_and(|nginx| nginx.probe_answered_by == Some(wanted))
            })
            .map(|facts| facts.host.clone())
            .collect()
    };
    let said: Vec<String> = [(of(Colour::Green), to.other()), (of(Colour::Blue), to)]
        .into_iter()
        .filter(|(hosts, _)| !hosts.is_empty())
        .map(|(hosts, colour)| format!("{colour} answered on {}", some_of(&hosts)))
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn key_exchange(facts: &Facts) -> Option<String> {
    let mut hosts: BTreeMap<&str, Vec<HostName>> = BTreeMap::new();
    for facts in &facts.hosts {
        if let Some(name) = facts.seen.as_ref().ok().and_then(|seen| seen.key_exchange.as_deref()) {
            hosts.entry(name).or_default().push(facts.host.clone());
        }
    }
    let said: Vec<String> = match hosts.len() {
        1 => hosts.into_keys().map(str::to_owned).collect(),
        _ => hosts.into_iter().map(|(name, hosts)| format!("{name} ({})", some_of(&hosts))).collect(),
    };
    (!said.is_empty()).then(|| said.join("; "))
}
