//! `switch`: traffic to the other side, share by share. The story is a rollback's, with another request; here is what it asks
//! for, and whether anybody could judge it.

use std::time::Duration;

use crate::cli::{Command, DeadMan};
use crate::hosts::facts::Facts;
use crate::hosts::remote::Ask;
use crate::nginx::log_lines;
use crate::nouns::inventory::Inventory;
use crate::nouns::plan::{Gate, Plan};
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::request::{Gradual, Request};
use crate::nouns::share::Share;
use crate::nouns::side::Direction;
use crate::steps::measure::find_logs;

/// What the flags say where nobody typed any.
const USUAL: (&str, Duration, Duration) = ("10,50,100", Duration::from_secs(300), Duration::from_secs(600));

/// The request of a switch.
///
/// # Errors
/// What is wrong with the steps.
pub(super) fn request(request: Request, command: &Option<Command>) -> Result<Request, String> {
    let Some(Command::Switch { to, reason, steps, hold, hold_max, dead_man, insistence, .. }) = command else {
        return Ok(request);
    };
    if !steps.is_sorted_by(|a, b| a < b) {
        return Err("--steps: each share is more than the one before; for example: --steps 10,50,100".to_owned());
    }
    let hold_max = hold_max.unwrap_or(*hold * 2);
    if hold_max < *hold {
        return Err("--hold-max is less than --hold".to_owned());
    }
    let DeadMan(dead_man) = *dead_man;
    let gradual = Gradual {
        flags: flags(steps, *hold, hold_max, dead_man),
        steps: steps.clone(),
        hold: *hold,
        hold_max,
        dead_man,
    };
    Ok(Request {
        reason: reason.clone().unwrap_or_default(),
        direction: Direction::to(*to),
        from_is_kept: true,
        is_forced: insistence.force,
        takes_over: insistence.takes_over(),
        bake: None,
        gradual: Some(gradual),
        ..request
    })
}

/// The flags that ask for the same again, without those that say what is said anyway.
fn flags(steps: &[Share], hold: Duration, hold_max: Duration, dead_man: Option<Duration>) -> String {
    let (usual_steps, usual_hold, usual_dead_man) = USUAL;
    let time = humantime::format_duration;
    let steps = steps.iter().map(|share| share.as_percent().to_string()).collect::<Vec<_>>().join(",");
    let mut flags = String::new();
    if steps != usual_steps {
        flags.push_str(&format!(" --steps {steps}"));
    }
    if hold != usual_hold {
        flags.push_str(&format!(" --hold {}", time(hold)));
    }
    if hold_max != hold * 2 {
        flags.push_str(&format!(" --hold-max {}", time(hold_max)));
    }
    match dead_man {
        None => flags.push_str(" --dead-man off"),
        Some(limit) if limit != usual_dead_man => flags.push_str(&format!(" --dead-man {}", time(limit))),
        Some(_) => {}
    }
    flags
}

/// The plan, where what it holds could be judged: a share that no log shows is neither proven nor good.
pub(super) async fn can_be_judged(
    fleet: &impl Ask,
    inventory: &Inventory,
    facts: &Facts,
    plan: Plan,
) -> Result<Plan, Vec<Refusal>> {
    let is_judged = |share: Share, seconds: u64| share.is_split() && seconds > 0;
    let mut gates = plan.stages.iter().map(|stage| stage.gate);
    if !gates.any(|gate| matches!(gate, Gate::Held(holding) if is_judged(holding.share, holding.seconds))) {
        return Ok(plan);
    }
    let window = inventory.judging.rules.window.as_secs();
    let is_short = |gate: &Gate| matches!(gate, Gate::Held(holding) if holding.longest_seconds <= window);
    if inventory.prometheus.is_some() && plan.stages.iter().any(|stage| is_short(&stage.gate)) {
        let why = format!(
            "Prometheus is listened to only when {window} s of a share are over, and that share is waited for no longer"
        );
        let hint = Some("a longer --hold, or --hold-max; or a shorter judge.window".to_owned());
        return Err(vec![Refusal { hint, ..Refusal::new(RefusalName::HoldShort, why) }]);
    }
    let found = find_logs(fleet, inventory, facts, None).await;
    let tells = |host: &&crate::nouns::names::HostName| {
        found.readable.iter().any(|of| of.host == **host && of.logs.iter().any(|log| log.names_servers))
    };
    let silent = plan.balancers.iter().filter(|host| facts.seen(host).is_some() && !tells(host));
    let refusals: Vec<Refusal> = silent
        .map(|host| Refusal {
            host: Some(host.clone()),
            hint: Some(format!(
                "these lines tell it:\n{}\nor without a judgement: --hold 0s",
                log_lines(inventory.service.as_str())
            )),
            ..Refusal::new(
                RefusalName::ShareUnseen,
                "no access log says which server a request went to, so no share can be proven or judged",
            )
        })
        .collect();
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}
