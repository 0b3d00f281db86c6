//! The first question: the facts of all hosts, in one round trip each. Changes nothing; what it found is the first thing
//! that the journal knows of production.

use futures_util::future::join_all;

use super::context::Context;
use crate::hosts::facts::{self, Asked, Facts, HostFacts};
use crate::hosts::question;
use crate::hosts::remote::Ask;
use crate::incident::journal::Journal;
use crate::nginx::Site;
use crate::nouns::clock::Clock;
use crate::nouns::inventory::{Host, Inventory, Role};
use crate::nouns::names::HostName;
use crate::nouns::record::{Status, StepWord, Traffic, What};
use crate::nouns::share::{Serving, Share};
use crate::nouns::side::{Direction, Side};

/// Asks all hosts at once for everything a plan needs.
pub async fn observe<F: Ask>(fleet: &F, inventory: &Inventory, direction: Direction, journal: &Journal<'_>) -> Facts {
    let asked_at = journal.clock().now();
    let hosts =
        join_all(inventory.hosts.iter().map(|host| observe_host(fleet, inventory, direction, host, journal))).await;
    Facts::new(asked_at, hosts)
}

async fn observe_host<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    direction: Direction,
    host: &Host,
    journal: &Journal<'_>,
) -> HostFacts {
    // The first question rides on the handshake, so both begin at once and end with the answer.
    let connect = journal.begin(StepWord::Connect, Some(&host.name));
    let step = journal.begin(StepWord::Observe, Some(&host.name));
    let facts = ask_facts(fleet, inventory, direction, host, journal.clock()).await;
    let found =
        host.is(Role::Balancer).then(|| What::Found { host: host.name.clone(), traffic: traffic(inventory, &facts) });
    match &facts.seen {
        Ok(seen) => {
            connect.end(Status::Done, format!("as {}", seen.user));
            step.end_with(Status::Done, summary(inventory, direction, host, seen), found);
        }
        Err(not_known) => {
            connect.end(Status::Failed, not_known.to_string());
            step.end_with(Status::Skipped, "not reached", found);
        }
    }
    facts
}

/// What a balancer's file says and who answers through it, as far as that is known.
pub fn traffic(inventory: &Inventory, facts: &HostFacts) -> Option<Traffic> {
    let nginx = facts.seen.as_ref().ok()?.nginx.as_ref()?;
    let shares = nginx.text.as_ref().ok().and_then(|text| Site::of(inventory, &nginx.side_texts).shares(text).ok());
    Some(Traffic {
        file: facts::serving(inventory, nginx),
        blue: shares.and_then(|shares| Share::percent(shares.blue)).unwrap_or(Share::NONE),
        answered_by: nginx.probe_answered_by,
        status: nginx.probe.status,
    })
}

/// What a balancer sends to by now; `None` where it cannot be read.
pub async fn found_now<F: Ask>(run: &Context<'_, F>, host: &HostName) -> Option<What> {
    let of = run.inventory.host(host)?;
    let facts = ask_facts(run.fleet, run.inventory, run.plan.direction, of, run.journal.clock()).await;
    let traffic = traffic(run.inventory, &facts)?;
    Some(What::Found { host: host.clone(), traffic: Some(traffic) })
}

/// The facts of one host, without a word on the screen.
pub async fn ask_facts<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    direction: Direction,
    host: &Host,
    clock: Clock,
) -> HostFacts {
    let sent = clock.now();
    let answer = fleet.ask(&host.name, &question::facts(inventory, direction, host)).await;
    facts::read(inventory, direction, host, Asked { sent, answered: clock.now() }, answer)
}

fn summary(inventory: &Inventory, direction: Direction, host: &Host, seen: &facts::Seen) -> String {
    let mut words = Vec::new();
    if let Some(nginx) = &seen.nginx {
        words.push(
            match facts::serving(inventory, nginx) {
                Some(Serving::Blue) => "sends to blue",
                Some(Serving::Green) => "sends to green",
                Some(Serving::Both) => "sends to both",
                Some(Serving::Neither) => "sends to neither",
                None => "upstream not understood",
            }
            .to_owned(),
        );
    }
    if host.is(Role::App) {
        let to = direction.colour(Side::To);
        words.push(match seen.app(to).is_healthy() {
            true => format!("{to} is well"),
            false => format!("{to}: {}", seen.app(to).complaint()),
        });
    }
    words.join(", ")
}
