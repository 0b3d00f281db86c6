//! Stops a colour, and only that one: its unit or container, or the one process that was seen. Undone by starting it
//! again.

use std::time::Duration;

use super::again::{self, Fetched};
use super::context::{Context, Outcome};
use super::verify;
use crate::hosts::answer::{Answer, Failure};
use crate::hosts::facts::{Listener, first_of, must_be_stopped};
use crate::hosts::program::{Arguments, Change, Script, Tenure, UNIT, hex_ports, program, script};
use crate::hosts::remote::Apply;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Run};
use crate::nouns::names::HostName;
use crate::nouns::plan::{LeftAs, Target};
use crate::nouns::record::{AppState, Status, What};
use crate::nouns::side::Side;

pub(super) const STOP: Script = script!("stop");

/// A stopped colour's port is watched this long, for a supervisor that starts it again.
const PORT_WATCH_SECONDS: u64 = 1;

/// What `stop.sh` ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Stopped,
    /// The pid is another program's by now.
    AnotherProgram,
    NotStopped,
    /// Something listens on its port again.
    BackAgain,
    /// Whoever would be stopped serves the other colour, too.
    ServesBoth,
    /// Another run has the lock.
    Fenced,
    Otherwise(i32),
}

impl Ended {
    fn with(status: i32) -> Ended {
        match status {
            0 => Ended::Stopped,
            40 => Ended::AnotherProgram,
            41 => Ended::NotStopped,
            42 => Ended::BackAgain,
            43 => Ended::ServesBoth,
            93 => Ended::Fenced,
            other => Ended::Otherwise(other),
        }
    }
}

/// Stops a colour and watches its ports; nobody who serves the other one too.
pub fn stop(inventory: &Inventory, tenure: &Tenure, colour: Colour, target: &Target) -> Change {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", inventory.word_on_hosts());
    arguments.tenure(tenure);
    arguments.set("run", &tenure.run);
    arguments.run(&app.run);
    match target {
        Target::Supervised | Target::Listener => {}
        Target::Process { pid, started, exe } => {
            arguments.set("pid", pid);
            arguments.set("started", started);
            arguments.set("exe", exe);
        }
        Target::Session { pid, started } => {
            arguments.set("pid", pid);
            arguments.set("started", started);
        }
    }
    if let Run::Command(commands) = &app.run {
        arguments.set("words", commands.stop.join(UNIT));
        arguments.set("status", commands.status.join(UNIT));
    }
    let grace = app.stop_timeout.as_secs().max(1);
    arguments.set("grace", grace);
    arguments.set("ports", hex_ports(app.ports()));
    arguments.set("watch", PORT_WATCH_SECONDS);
    let own = app.ports();
    let others: Vec<u16> =
        inventory.app(colour.other()).ports().into_iter().filter(|port| !own.contains(port)).collect();
    if !others.is_empty() {
        arguments.set("keep", hex_ports(others));
    }
    Change(program(STOP, arguments, Duration::from_secs(grace + 30)))
}

/// Stops a side on a host; `as_what` is what it is then.
pub async fn run<F: Apply>(
    run: &Context<'_, F>,
    host: &HostName,
    side: Side,
    target: &Target,
    as_what: AppState,
) -> Outcome {
    let colour = run.colour(side);
    let now = |state: AppState| What::App { host: host.clone(), colour, state };
    let target = match target {
        Target::Supervised | Target::Process { .. } | Target::Session { .. } => target.clone(),
        // One that does not listen, or not yet, runs all the same.
        Target::Listener => match listener(run, host, side).await.map(|target| target.or(run.seen_since.session(host)))
        {
            Ok(Some(target)) => target,
            Ok(None) => return Outcome::done(format!("nothing of {colour} listens")).then(now(as_what)),
            Err(why) => return Outcome::unknown(why).then(now(AppState::Unknown)),
        },
    };
    let change = stop(run.inventory, &run.tenure_on(host), colour, &target);
    match again::apply(run, host, &change).await {
        Ok(answer) => outcome(colour, &answer, as_what, now),
        Err(failure @ Failure::NotSent { .. }) => {
            Outcome::failed(format!("{failure}; nothing was sent")).then(now(AppState::LeftRunning))
        }
        Err(failure @ Failure::Unknown { .. }) => {
            run.journal.note(format!("{host}: {failure}; looking again"));
            let limit = run.app(side).stop_timeout + Duration::from_secs(10);
            match again::result(run, host, "stop", limit).await {
                Fetched::Answer(answer) => outcome(colour, &answer, as_what, now),
                Fetched::NoSuchStep => read_again(run, host, side, as_what).await,
                Fetched::Nothing => {
                    Outcome::unknown(format!("{failure}; the host has not come back")).then(now(AppState::Unknown))
                }
            }
        }
    }
}

fn outcome(colour: Colour, answer: &Answer, as_what: AppState, now: impl Fn(AppState) -> What) -> Outcome {
    let said = || answer.worst_line("stop");
    let left = |detail: String| Outcome::failed(detail).then(now(AppState::LeftRunning));
    match Ended::with(answer.status) {
        Ended::Stopped => Outcome::done(format!("{colour} stopped, its port stays closed")).then(now(as_what)),
        Ended::AnotherProgram => left("its pid is another program by now; nothing was sent to it".to_owned()),
        Ended::NotStopped => left(format!("{colour} could not be stopped: {}", said())),
        Ended::BackAgain => left(format!("{colour} was stopped and is there again: {}", answer.worst_line("left"))),
        Ended::ServesBoth => left(format!("{colour} is left running: {}", answer.worst_line("shared"))),
        Ended::Fenced => left(format!("another run took the lock: {}", answer.text("why").unwrap_or_default())),
        Ended::Otherwise(status) => {
            Outcome::unknown(format!("the step ended with {status}: {}", said())).then(now(AppState::Unknown))
        }
    }
}

/// Whether it runs, as the host sees it now.
async fn read_again<F: Apply>(run: &Context<'_, F>, host: &HostName, side: Side, as_what: AppState) -> Outcome {
    let colour = run.colour(side);
    let now = |state: AppState| What::App { host: host.clone(), colour, state };
    match again::facts(run, host).await {
        None => Outcome::unknown("the host cannot be asked").then(now(AppState::Unknown)),
        Some(seen) if must_be_stopped(&run.app(side).run, seen.app(colour)) => {
            Outcome::failed(format!("read again: {colour} runs")).then(now(AppState::LeftRunning))
        }
        Some(_) => Outcome::done(format!("read again: {colour} is stopped")).then(now(as_what)),
    }
}

/// The process of the config's program that listens on its port now.
async fn listener<F: Apply>(run: &Context<'_, F>, host: &HostName, side: Side) -> Result<Option<Target>, String> {
    let Run::Process { exe, .. } = &run.app(side).run else { return Ok(Some(Target::Supervised)) };
    let pulse = verify::pulse(run, host, side).await.map_err(|failure| failure.to_string())?;
    // What the config names may be a link.
    let program =
        run.seen(host).map(|seen| seen.app(run.colour(side)).supervision.program.as_str()).unwrap_or_default();
    let is_ours = |listener: &Listener| [exe.as_str(), program].contains(&listener.program());
    let ours: Vec<Listener> = pulse.listeners.into_iter().filter(is_ours).collect();
    let target = |first: &Listener| Target::Process {
        pid: first.pid,
        started: first.started.clone(),
        exe: first.program().to_owned(),
    };
    Ok(first_of(&ours).map(target))
}

/// Nothing is stopped, and what that leaves is told.
pub fn left<F>(run: &Context<'_, F>, host: &HostName, side: Side, as_what: &LeftAs) -> Outcome {
    let colour = run.colour(side);
    let now = |state: AppState| What::App { host: host.clone(), colour, state };
    match as_what {
        LeftAs::Down => Outcome::new(Status::Skipped, format!("{colour} is down already")).then(now(AppState::Stopped)),
        LeftAs::Kept { why } => Outcome::new(Status::Skipped, why.clone()).then(now(AppState::Kept)),
        LeftAs::Running { why } => {
            Outcome::failed(format!("{colour} is left running: {why}")).then(now(AppState::LeftRunning))
        }
    }
}
