//! Everything that only asks: the facts of all hosts in one round trip each, a look at what still reaches green, the
//! health of a colour, nginx's own count of errors. Changes nothing, and decides nothing about production.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::{drain, verify};
use crate::hosts::answer::Failure;
use crate::hosts::facts::{self, Asked, Facts, Get, Health, HostFacts, Listener, Socket};
use crate::hosts::question;
use crate::hosts::remote::Ask;
use crate::incident::journal::Journal;
use crate::nouns::clock::Clock;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Host, Inventory, Role};
use crate::nouns::names::HostName;
use crate::nouns::record::{ErrorShare, Status, StepWord};

/// Asks all hosts at once for everything a plan needs.
pub async fn observe<F: Ask>(fleet: &F, inventory: &Inventory, journal: &Journal<'_>) -> Facts {
    let asked_at = journal.clock().now();
    let hosts = join_all(inventory.hosts.iter().map(|host| observe_host(fleet, inventory, host, journal))).await;
    Facts { asked_at, hosts }
}

async fn observe_host<F: Ask>(fleet: &F, inventory: &Inventory, host: &Host, journal: &Journal<'_>) -> HostFacts {
    // The first question rides on the handshake, so both begin at once and end with the answer.
    let connect = journal.begin(StepWord::Connect, Some(&host.name));
    let step = journal.begin(StepWord::Observe, Some(&host.name));
    let facts = ask_facts(fleet, inventory, host, journal.clock()).await;
    match &facts.seen {
        Ok(seen) => {
            connect.end(Status::Done, format!("as {}", seen.user));
            step.end(Status::Done, summary(inventory, host, seen));
        }
        Err(not_known) => {
            connect.end(Status::Failed, not_known.to_string());
            step.end(Status::Skipped, "not reached");
        }
    }
    facts
}

/// The facts of one host, without a word on the screen.
pub async fn ask_facts<F: Ask>(fleet: &F, inventory: &Inventory, host: &Host, clock: Clock) -> HostFacts {
    let sent = clock.now();
    let answer = fleet.ask(&host.name, &question::facts(inventory, host)).await;
    facts::read(inventory, host, Asked { sent, answered: clock.now() }, answer)
}

fn summary(inventory: &Inventory, host: &Host, seen: &facts::Seen) -> String {
    let mut words = Vec::new();
    if let Some(nginx) = &seen.nginx {
        words.push(match facts::serving(inventory, nginx) {
            Some(crate::nginx::Serving::Blue) => format!("sends to {}", inventory.blue.colour),
            Some(crate::nginx::Serving::Green) => format!("sends to {}", inventory.green.colour),
            Some(crate::nginx::Serving::Both) => "sends to both".to_owned(),
            Some(crate::nginx::Serving::Neither) => "sends to neither".to_owned(),
            None => "upstream not understood".to_owned(),
        });
    }
    if host.is(Role::App) {
        let well = match seen.blue.is_healthy() {
            true => format!("{} is well", inventory.blue.colour),
            false => format!("{}: {}", inventory.blue.colour, seen.blue.complaint()),
        };
        words.push(well);
    }
    words.join(", ")
}

/// One look at what still reaches green from or on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Connections from here to green.
    pub towards_green: usize,
    /// Addresses connected to green here.
    pub peers: Vec<String>,
    /// Workers of nginx that still finish old requests.
    pub closing_workers: usize,
}

impl Sample {
    pub fn is_quiet(&self) -> bool {
        self.towards_green == 0 && self.peers.is_empty() && self.closing_workers == 0
    }
}

/// # Errors
/// [`Failure`] when the host cannot be asked.
pub async fn sample<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    host: &HostName,
    pidfile: Option<&str>,
) -> Result<Sample, Failure> {
    let answer = fleet.ask(host, &drain::sample(inventory, pidfile)).await?;
    let sockets = facts::sockets(&answer.text("sockets").unwrap_or_default());
    let established = |is_here: bool| sockets.iter().filter(move |s| s.is_established() && s.is_here == is_here);
    let over_unix = answer.text("unix").unwrap_or_default().lines().count();
    Ok(Sample {
        towards_green: established(false).count() + over_unix,
        peers: established(true).map(Socket::peer_address).collect(),
        closing_workers: answer
            .text("nginx.workers")
            .unwrap_or_default()
            .lines()
            .filter(|line| line.ends_with(" closing"))
            .count(),
    })
}

/// What a colour answers now on one app host.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    pub health: Vec<Health>,
    pub listeners: Vec<Listener>,
}

impl Pulse {
    pub fn is_good(&self) -> bool {
        !self.health.is_empty() && self.health.iter().all(Health::is_good)
    }

    /// What is not good about it.
    pub fn complaint(&self) -> String {
        match self.health.iter().find(|health| !health.is_good()) {
            None => "nothing answers".to_owned(),
            Some(health) => match health.statuses.first() {
                Some(0) | None => format!("{} gives no answer ({})", health.url, health.error),
                Some(status) => format!("{} answers {status}", health.url),
            },
        }
    }
}

/// # Errors
/// [`Failure`] when the host cannot be asked.
pub async fn pulse<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    host: &HostName,
    colour: Colour,
) -> Result<Pulse, Failure> {
    let answer = fleet.ask(host, &verify::health(inventory, colour)).await?;
    let gets = facts::gets(&answer);
    let health = facts::health_urls(inventory.app(colour))
        .enumerate()
        .map(|(n, url)| {
            let answers: Vec<Get> = gets.get(&format!("{colour}.health.{n}")).cloned().unwrap_or_default();
            Health {
                url,
                statuses: answers.iter().map(|get| get.status).collect(),
                error: answers.iter().map(|get| get.error.clone()).find(|e| !e.is_empty()).unwrap_or_default(),
            }
        })
        .collect();
    Ok(Pulse { health, listeners: facts::read_listeners(&answer.text("listeners").unwrap_or_default()) })
}

/// The probe through a balancer, once.
///
/// # Errors
/// [`Failure`] when the host cannot be asked.
pub async fn probe<F: Ask>(fleet: &F, inventory: &Inventory, host: &HostName) -> Result<Get, Failure> {
    let answer = fleet.ask(host, &verify::probe(inventory)).await?;
    Ok(facts::gets(&answer).remove("probe").and_then(|mut gets| gets.pop()).unwrap_or_default())
}

/// Shares of server errors before and after the switch, over all access logs of a host that we may read.
///
/// # Errors
/// [`Failure`] when the host cannot be asked.
pub async fn errors<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    host: &HostName,
    sizes: &BTreeMap<String, u64>,
) -> Result<Option<(ErrorShare, ErrorShare)>, Failure> {
    let sizes: Vec<(String, u64)> = sizes.iter().map(|(path, size)| (path.clone(), *size)).collect();
    if sizes.is_empty() {
        return Ok(None);
    }
    let answer = fleet.ask(host, &verify::access(inventory, &sizes)).await?;
    let (mut before, mut after) = (ErrorShare::default(), ErrorShare::default());
    let mut any = false;
    for line in answer.text("access").unwrap_or_default().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        // PATH before TOTAL ERRORS after TOTAL ERRORS
        if let (Some(b), Some(be), Some(a), Some(ae)) = (number(2), number(3), number(5), number(6)) {
            any = true;
            before = ErrorShare { requests: before.requests + b, errors: before.errors + be };
            after = ErrorShare { requests: after.requests + a, errors: after.errors + ae };
        }
    }
    Ok(any.then_some((before, after)))
}
