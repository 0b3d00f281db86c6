//! Starts a colour and proves it: answers in a row. Undone by stopping it again.

use std::sync::OnceLock;
use std::time::Duration;

use super::context::{Context, Outcome};
use super::passes::{self, InARow};
use super::verify;
use crate::hosts::answer::Answer;
use crate::hosts::program::{Arguments, Change, Script, Tenure, UNIT, program, script};
use crate::hosts::remote::Apply;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Run};
use crate::nouns::names::HostName;
use crate::nouns::plan::Target;
use crate::nouns::record::{AppState, What};
use crate::nouns::side::Side;

pub(super) const START: Script = script!("start");

/// What `start.sh` ends with where the lock is another run's by now.
const FENCED: i32 = 93;

/// Starts a colour; anew with what its files say now, where its supervisor would keep what it made of them.
pub fn start(inventory: &Inventory, tenure: &Tenure, colour: Colour, is_anew: bool) -> Change {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.tenure(tenure);
    arguments.run(&app.run);
    match &app.run {
        Run::Process { start: Some(start), .. } => arguments.set("start", start),
        Run::Command(commands) => arguments.set("start", commands.start.join(UNIT)),
        Run::Process { start: None, .. } | Run::Systemd(_) | Run::Docker(_) | Run::Compose { .. } => {}
    }
    if let Some(log) = &app.log {
        arguments.set("log", log);
    }
    if is_anew {
        arguments.set("anew", "yes");
    }
    // systemctl waits for a Type=notify unit; its own limit is 90 s
    Change(program(START, arguments, Duration::from_secs(100)))
}

/// The session of a plain process, as `start.sh` tells it.
fn session(answer: &Answer) -> Option<Target> {
    let process = answer.text("process")?;
    let (pid, started) = process.trim().split_once(' ')?;
    Some(Target::Session { pid: pid.parse().ok()?, started: started.to_owned() })
}

/// Starts a side on a host; `as_what` is what it is then.
pub async fn run<F: Apply>(run: &Context<'_, F>, host: &HostName, side: Side, as_what: AppState) -> Outcome {
    carry_out(run, host, side, as_what, false).await
}

/// The same once its files are others.
pub async fn run_anew<F: Apply>(run: &Context<'_, F>, host: &HostName, side: Side, as_what: AppState) -> Outcome {
    carry_out(run, host, side, as_what, true).await
}

async fn carry_out<F: Apply>(
    run: &Context<'_, F>,
    host: &HostName,
    side: Side,
    as_what: AppState,
    is_anew: bool,
) -> Outcome {
    let colour = run.colour(side);
    let now = |state: AppState| What::App { host: host.clone(), colour, state };
    let said = match run.fleet.apply(host, &start(run.inventory, &run.tenure_on(host), colour, is_anew)).await {
        Ok(answer) if answer.status == 0 => {
            if let Some(session) = session(&answer) {
                run.seen_since.remember_session(host, session);
            }
            None
        }
        Ok(answer) if answer.status == FENCED => {
            let other = answer.text("why").unwrap_or_default();
            return Outcome::failed(format!("another run took the lock: {other}; {colour} was not started"))
                .then(now(AppState::StoppedAgain));
        }
        Ok(answer) => Some(answer.worst_line("start")),
        // Whether it was started is seen below, where it is asked.
        Err(failure) => Some(failure.to_string()),
    };
    // It is not waited for any longer once its supervisor has given up.
    let given_up = OnceLock::new();
    let wanted = InARow { interval: Duration::ZERO, ..run.in_a_row() };
    let ask = async || match verify::pulse_of_start(run, host, side).await {
        Ok(pulse) if pulse.is_good() => Ok(()),
        Ok(pulse) => Err(pulse.given_up.clone().map_or_else(
            || pulse.complaint(),
            |why| {
                let _ = given_up.set(());
                why
            },
        )),
        Err(failure) => Err(failure.to_string()),
    };
    match passes::in_a_row(wanted, || run.interrupted() < 2 && given_up.get().is_none(), ask).await {
        Ok(()) => Outcome::done(format!("{colour} started and proven")).then(now(as_what)),
        Err(why) => {
            let detail = match said {
                Some(said) => format!("{colour} could not be started: {said}; {why}"),
                None => format!("{colour} was started and is not well: {why}"),
            };
            Outcome::failed(detail).then(now(AppState::Unknown))
        }
    }
}
