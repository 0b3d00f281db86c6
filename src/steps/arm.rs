//! Arms the dead man of a balancer: should nobody come any more while both sides have traffic, he puts all of it back by
//! himself. Undone by nobody: he ends by himself once one side has all, and whoever is armed later takes his place.

use std::time::Duration;

use super::context::{Context, Outcome};
use super::switch::written_and_proven;
use crate::hosts::facts::direct_url;
use crate::hosts::program::{Arguments, Change, LIB, LOCK, NGINX, PATIENCE, SHIFT, Script, Tenure, program, script};
use crate::hosts::question::{MOST_DIRECT, path_of};
use crate::hosts::remote::Apply;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::Inventory;
use crate::nouns::names::HostName;
use crate::nouns::plan::{FileChange, Proof};
use crate::nouns::record::What;
use crate::nouns::side::Side;

pub(super) const ARM: Script = script!("arm", LIB, NGINX, LOCK, SHIFT);

/// He looks around so often, in seconds; sooner where he must act sooner.
const LOOKS_EVERY_SECONDS: u64 = 5;

/// Arms him to make whichever of these changes fits, which give all traffic to that side, after so many seconds without a word;
/// without a number whoever is armed is called off.
pub fn arm(
    inventory: &Inventory,
    tenure: &Tenure,
    from: Colour,
    (back, proof): (&[FileChange], &Proof),
    limit: Option<u64>,
) -> Change {
    let mut arguments = Arguments::new(inventory);
    arguments.container(&inventory.nginx);
    arguments.set("service", inventory.word_on_hosts());
    arguments.tenure(tenure);
    if let Some(limit) = limit {
        arguments.set("seconds", limit);
        arguments.set("every", (limit / 10).clamp(1, LOOKS_EVERY_SECONDS));
    }
    back.iter().for_each(|change| arguments.set("mine", &change.before));
    if let Some(change) = back.first() {
        written_and_proven(&mut arguments, inventory, change, proof);
    }
    let (host, path) = (inventory.nginx.probe_host.as_deref(), path_of(inventory.nginx.probe.as_str()));
    for server in inventory.app(from).servers.iter().take(MOST_DIRECT) {
        arguments.get("direct", PATIENCE, host, &direct_url(server.as_str(), path));
    }
    arguments.lookups(inventory);
    Change(program(ARM, arguments, Duration::from_secs(20)))
}

/// Whether he still waits, by what the host says of him; `arm.sh` and `facts.sh` have the words.
pub fn is_armed(said: &str) -> bool {
    said.starts_with("armed: ") && !said.contains("his process is gone")
}

/// Arms him, or calls him off.
pub async fn run<F: Apply>(
    run: &Context<'_, F>,
    host: &HostName,
    back: &[FileChange],
    proof: &Proof,
    limit: Option<u64>,
) -> Outcome {
    let from = run.colour(Side::From);
    let change = arm(run.inventory, &run.tenure_on(host), from, (back, proof), limit);
    let off = "; without one: --dead-man off";
    let answer = match run.fleet.apply(host, &change).await {
        Ok(answer) => answer,
        // Whether he is armed or not: nothing moves without him.
        Err(failure) => return Outcome::failed(format!("no dead man: {failure}")),
    };
    match (answer.status, limit) {
        (0, Some(limit)) => {
            let time = humantime::format_duration(Duration::from_secs(limit));
            let detail = format!("dead man armed: all traffic goes back after {time} without a word");
            Outcome::done(detail).then(What::DeadMan { host: host.clone(), limit_seconds: Some(limit) })
        }
        (0, None) => Outcome::done("no dead man").then(What::DeadMan { host: host.clone(), limit_seconds: None }),
        // Nothing could be written there; where nobody was armed, nobody need be called off.
        (41 | 42, None) if run.seen(host).is_some_and(|seen| !seen.dead_men.iter().any(|said| is_armed(said))) => {
            Outcome::done("no dead man").then(What::DeadMan { host: host.clone(), limit_seconds: None })
        }
        (41 | 42, None) => {
            Outcome::failed("whoever is armed there cannot be called off: this run has no lock, or no record, there")
        }
        (43, _) => {
            let record = answer.text("why").unwrap_or_default();
            let what = "a dead man of another account is armed there, who does not see this run";
            Outcome::failed(format!("{what}: sudo rm -r {record}"))
        }
        (40, _) => Outcome::failed(format!(
            "a dead man would not live there: systemd ends what an account leaves behind (KillUserProcesses=yes){off}"
        )),
        (41, _) => {
            Outcome::failed(format!("a dead man would hear nothing there: this run has no lock on that host{off}"))
        }
        (42, _) => {
            Outcome::failed(format!("a dead man has no place there: no folder in memory can be written to{off}"))
        }
        (93, _) => {
            let why = answer.text("why").unwrap_or_default();
            Outcome::failed(format!("another run took the lock: {why}; nothing was changed"))
        }
        (status, _) => Outcome::failed(format!("no dead man: it ended with {status}")),
    }
}
