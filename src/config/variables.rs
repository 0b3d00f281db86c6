//! Fills in the variables: every text that is `$NAME` becomes what the variable holds. Never asks for one twice, and
//! never lets a channel's missing variable stand in the way of a rollback.

use std::collections::HashMap;

use super::env_file::variable_of;
use super::findings::{Findings, Place};
use super::tree::{Entry, Kind, Node};

/// Every text that is `$NAME` becomes what the variable holds.
pub(super) fn fill_in(tree: &mut Node, variable: &dyn Fn(&str) -> Option<String>, findings: &mut Findings) {
    let mut asked = HashMap::new();
    let mut lookup = |name: &str| asked.entry(name.to_owned()).or_insert_with(|| look_up(variable, name)).clone();
    let Kind::Table(entries) = &mut tree.kind else { return };
    for entry in entries {
        let mut unset = Vec::new();
        match entry.key.as_str() {
            // Who is on call is good to know; not to know it is no reason to leave green in traffic.
            "contacts" => resolve(&mut entry.node, &mut lookup, &mut unset),
            "notify" => fill_in_channels(&mut entry.node, &mut lookup, findings),
            // Whose variable is not set may never be asked for; and what is filled into words would stand on a command line.
            "change" | "hook" | "migrations" => {}
            _ => {
                resolve(&mut entry.node, &mut lookup, &mut unset);
                for (place, why) in unset {
                    findings.problem(place, why);
                }
            }
        }
    }
}

type Lookup<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// The value, or why there is none.
pub(super) fn look_up(variable: &dyn Fn(&str) -> Option<String>, name: &str) -> Result<String, String> {
    match variable(name) {
        Some(value) if value.trim().is_empty() => Err(format!("the variable {name} is empty")),
        Some(value) => Ok(value),
        None => Err(format!("the variable {name} is not set (neither in the environment nor in .env.deploy)")),
    }
}

/// A channel whose variable is not set is left out, and the others are told.
fn fill_in_channels(notify: &mut Node, lookup: &mut Lookup, findings: &mut Findings) {
    let mut fill = |channel: &mut Node, name: &str| {
        let mut unset = Vec::new();
        resolve(channel, lookup, &mut unset);
        for (place, why) in &unset {
            findings.warning(*place, format!("{why}; {}", left_out(name)));
        }
        unset.is_empty()
    };
    let Kind::Table(entries) = &mut notify.kind else { return };
    for Entry { key, node, .. } in entries {
        if let Kind::List(items) = &mut node.kind {
            items.retain_mut(|item| fill(item, key));
        } else if !fill(node, key) {
            node.kind = Kind::Wrong;
        }
    }
}

/// How a warning about a channel ends.
pub(super) fn left_out(channel: &str) -> String {
    match channel {
        "slack" => "no message goes to Slack".into(),
        "email" => "no message goes out by email".into(),
        "webhook" => "no message goes to this webhook".into(),
        "pagerduty" => "nobody is paged".into(),
        "statuspage" => "the status page is told nothing".into(),
        "grafana" => "no graph gets a mark".into(),
        other => format!("the default of {other} is used"),
    }
}

fn resolve(node: &mut Node, lookup: &mut Lookup, unset: &mut Vec<(Place, String)>) {
    match &mut node.kind {
        Kind::Text(text) => {
            if let Some(name) = variable_of(text).map(str::to_owned) {
                match lookup(&name) {
                    Ok(value) => node.kind = Kind::Text(value),
                    Err(why) => {
                        unset.push((node.place, why));
                        node.kind = Kind::Wrong;
                    }
                }
                node.variable = Some(name);
            }
        }
        Kind::List(items) => {
            items.iter_mut().for_each(|item| resolve(item, lookup, unset));
            if items.iter().any(|item| matches!(item.kind, Kind::Wrong)) {
                node.kind = Kind::Wrong;
            }
        }
        // `webhook_env = "$NAME"` is refused later: filled in, it would be the secret as a variable's name.
        Kind::Table(entries) => entries
            .iter_mut()
            .filter(|entry| !entry.key.ends_with("_env"))
            .for_each(|entry| resolve(&mut entry.node, lookup, unset)),
        Kind::Integer(_) | Kind::Boolean(_) | Kind::Foreign(_) | Kind::Wrong => {}
    }
}
