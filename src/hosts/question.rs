//! The first question to a host, and the only one that is asked before a plan: everything that is true of it.

use std::time::Duration;

use super::facts::{addresses, direct_url, health_urls, rights_to_stop};
use super::program::{
    Arguments, PATIENCE, Question, RunWords, SHORT_PATIENCE, Script, UNIT, hex_ports, program, script,
};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{App, Host, Inventory, Role, Run};
use crate::nouns::names::RemotePath;

const FACTS: Script = script!("facts");
pub const SCRIPTS: &[Script] = &[FACTS];

/// What a question that reads files and asks local ports may take: an earlier run's step may be waited for.
const FACTS_LIMIT: Duration = Duration::from_secs(60);

/// Everything about a host in one question.
pub fn facts(inventory: &Inventory, host: &Host) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", &inventory.service);
    if host.is(Role::Balancer) {
        arguments.set("nginx_file", &inventory.nginx.file);
        arguments.set("dump", dump_words(&inventory.nginx.test).join(UNIT));
        for server in addresses(&inventory.green) {
            arguments.set("mark", server);
        }
        if inventory.nginx.sudo {
            for words in [&inventory.nginx.test, &dump_words(&inventory.nginx.test), &inventory.nginx.reload] {
                arguments.set("right", words.join(UNIT));
            }
        }
    }
    if host.is(Role::App) {
        if inventory.nginx.sudo {
            for words in app_rights(inventory) {
                arguments.set("right", words.join(UNIT));
            }
        }
        for (colour, app) in [(Colour::Blue, &inventory.blue), (Colour::Green, &inventory.green)] {
            arguments.set("colour", colour_words(colour, app).join(UNIT));
        }
        arguments.set("ports", hex_ports(inventory.blue.ports().into_iter().chain(inventory.green.ports())));
        for _ in 0..inventory.verify.passes {
            for (n, url) in health_urls(&inventory.blue).enumerate() {
                arguments.get(&format!("blue.health.{n}"), PATIENCE, None, &url);
            }
        }
        for (n, url) in health_urls(&inventory.green).enumerate() {
            arguments.get(&format!("green.health.{n}"), SHORT_PATIENCE, None, &url);
        }
    }
    if host.is(Role::Balancer) {
        let path = path_of(inventory.nginx.probe.as_str());
        let probe_host = inventory.nginx.probe_host.as_deref();
        for (colour, app) in [(Colour::Blue, &inventory.blue), (Colour::Green, &inventory.green)] {
            // Two answers of a lone server show what changes between answers; four servers are plenty to compare.
            let times = if colour == Colour::Blue && app.servers.len() == 1 { 2 } else { 1 };
            let seconds = if colour == Colour::Blue { PATIENCE } else { SHORT_PATIENCE };
            for server in app.servers.iter().take(4) {
                for _ in 0..times {
                    arguments.get(&format!("{colour}.direct"), seconds, probe_host, &direct_url(server.as_str(), path));
                }
            }
        }
        arguments.get("probe", SHORT_PATIENCE, probe_host, inventory.nginx.probe.as_str());
    }
    Question(program(FACTS, arguments, FACTS_LIMIT))
}

/// The test command as the one that also prints what is loaded: `nginx -t` → `nginx -T`.
fn dump_words(test: &[String]) -> Vec<String> {
    test.iter().map(|word| if word == "-t" { "-T".to_owned() } else { word.clone() }).collect()
}

/// What `sudo -n` must allow on an app host besides what the facts script works out from the nginx file itself.
fn app_rights(inventory: &Inventory) -> Vec<Vec<String>> {
    let mut rights = Vec::new();
    for app in [&inventory.blue, &inventory.green] {
        if let Run::Systemd(unit) = &app.run {
            rights.push(["systemctl", "start", unit.as_str()].map(str::to_owned).to_vec());
        }
    }
    rights.extend(rights_to_stop(&inventory.green));
    rights
}

/// `NAME KIND UNIT-OR-CONTAINER COMPOSE-FILE PROJECT LOG`, with `-` for what there is not.
fn colour_words(colour: Colour, app: &App) -> Vec<String> {
    let run = RunWords::of(&app.run);
    let log = app.log.as_ref().map_or("-", RemotePath::as_str);
    [colour.to_string().as_str(), run.kind, run.name, run.file, run.project, log].map(str::to_owned).to_vec()
}

/// The path and query of an http URL.
fn path_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("/", |slash| &after_scheme[slash..])
}
