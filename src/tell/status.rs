//! Who serves now, in words and as JSON, from facts alone. Pure.

use std::path::Path;

use serde_json::json;

use crate::hosts::facts::{AppFacts, Facts, NginxFacts, Seen};
use crate::nginx::Site;
use crate::nouns::colour::{Colour, Each};
use crate::nouns::inventory::{Host, Inventory, Role};
use crate::nouns::production::who_serves;
use crate::nouns::record::plural;
use crate::nouns::redact::printable;
use crate::steps::observe::traffic;

/// What a balancer sends to, in words.
fn serving(inventory: &Inventory, facts: &Facts, host: &Host) -> Option<String> {
    Some(who_serves(&traffic(inventory, facts.host(&host.name)?)?))
}

/// The whole picture for people.
pub fn status(inventory: &Inventory, facts: &Facts, last_incident: Option<&Path>) -> String {
    let mut text = format!("{} / {}\n", inventory.service, inventory.environment);
    for host in &inventory.hosts {
        text.push_str(&format!("\n{}\n", host.name));
        match facts.host(&host.name).map(|facts| &facts.seen) {
            Some(Ok(seen)) => {
                let serving = serving(inventory, facts, host).unwrap_or_else(|| "NOT KNOWN".to_owned());
                for (label, words) in lines(inventory, host, seen, serving) {
                    text.push_str(&format!("  {label:<9} {}\n", printable(&words)));
                }
            }
            Some(Err(not_known)) => {
                text.push_str(&format!("  not reached: {}\n", printable(&not_known.why)));
                if let Some(hint) = &not_known.hint {
                    text.push_str(&format!("  hint: {}\n", printable(hint)));
                }
            }
            None => text.push_str("  not asked\n"),
        }
    }
    let last = last_incident.map_or("none".to_owned(), |path| path.display().to_string());
    text.push_str(&format!("\nlast incident: {last}\n\n"));
    text
}

fn lines(inventory: &Inventory, host: &Host, seen: &Seen, serving: String) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(nginx) = &seen.nginx {
        lines.push(("traffic", serving));
        lines.push(("weights", weights(inventory, nginx)));
        let by = nginx.probe_answered_by.map_or("nobody we can tell".to_owned(), |colour| colour.to_string());
        lines.push(("probe", format!("answers {}, from {by}", nginx.probe.status)));
        let master = nginx
            .master
            .map_or("NOT RUNNING".to_owned(), |pid| format!("master {pid}, {}", plural(nginx.workers, "worker")));
        lines.push(("nginx", master));
    }
    lines.extend(seen.rolled_back.iter().take(3).map(|seen| ("release", seen.to_string())));
    if host.is(Role::App) {
        lines.push(("blue", app(&seen.blue)));
        lines.push(("green", app(&seen.green)));
    }
    lines.extend(seen.begun.iter().map(|step| ("begun", step.to_string())));
    let lock = seen.lock.as_ref().map(|lock| {
        let age = lock.age_seconds.map_or("?".to_owned(), |age| age.to_string());
        format!("held, last beat {age} s ago: {}", lock.holder)
    });
    lines.push(("lock", lock.unwrap_or_else(|| "free".to_owned())));
    lines.extend(seen.dead_men.iter().map(|said| ("dead man", said.clone())));
    lines
}

fn weights(inventory: &Inventory, nginx: &NginxFacts) -> String {
    let text = match &nginx.text {
        Ok(text) => text,
        Err(not_known) => return not_known.why.clone(),
    };
    match Site::of(inventory, &nginx.side_texts).shares(text) {
        Ok(Each { blue, green }) => format!("blue {blue} %, green {green} %"),
        Err(not_understood) => not_understood.to_string(),
    }
}

fn app(app: &AppFacts) -> String {
    let health = if app.health.is_empty() {
        "health not asked".to_owned()
    } else if app.is_healthy() {
        "healthy".to_owned()
    } else {
        app.complaint()
    };
    let foreign = match &app.listener_is_ours {
        Ok(false) => "; ANOTHER PROCESS listens on its port",
        Ok(true) | Err(_) => "",
    };
    let release = app.release.as_ref().map_or(String::new(), |release| format!("{}; ", release.name));
    format!("{release}{}; {health}{foreign}", app.state)
}

/// The same for scripts: one text of JSON for each host.
pub fn json(inventory: &Inventory, facts: &Facts, last_incident: Option<&Path>) -> Vec<String> {
    let last = last_incident.map(|path| path.display().to_string());
    inventory
        .hosts
        .iter()
        .map(|host| {
            let seen = facts.seen(&host.name);
            let nginx = seen.and_then(|seen| seen.nginx.as_ref());
            let app = |colour: Colour| {
                seen.filter(|_| host.is(Role::App)).map(|seen| {
                    let app = seen.app(colour);
                    json!({ "running": app.is_running.as_ref().ok(), "healthy": app.is_healthy(), "state": app.state,
                            "release": app.release.as_ref().map(|release| &release.name) })
                })
            };
            json!({
                "host": host.name, "reached": seen.is_some(), "traffic": serving(inventory, facts, host),
                "weights": nginx.map(|nginx| weights(inventory, nginx)),
                "probe_answered_by": nginx.and_then(|nginx| nginx.probe_answered_by),
                "blue": app(Colour::Blue), "green": app(Colour::Green),
                "rolled_back": seen.map(|seen| &seen.rolled_back),
                "begun": seen.map(|seen| seen.begun.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "lock": seen.and_then(|seen| seen.lock.as_ref()), "last_incident": last,
            })
            .to_string()
        })
        .collect()
}
