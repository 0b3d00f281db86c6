//! What both sides do while somebody judges: counts from the access logs of every balancer, as they come, and how the judged
//! side is on its hosts. Only asks; what cannot be measured is said once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use logs::counts::{Batch, Batches, Place, TICK};
use logs::form::Escape;
use tokio::time::{Instant, sleep};

use super::context::locked;
use super::verify;
use crate::hosts::answer::{Answer, Failure};
use crate::hosts::carried;
use crate::hosts::facts::{self, Facts, IN_CONTAINER, Seen, first_of};
use crate::hosts::program::{Arguments, CARRY, LIB, NGINX, Question, Script, UNIT, program, script};
use crate::hosts::question::dump_words;
use crate::hosts::remote::Ask;
use crate::incident::journal::Journal;
use crate::nginx::{AccessLog, Logging, logged_address, logging};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Role};
use crate::nouns::names::{HostName, ServerAddress};
use crate::nouns::rules::LogRule;

pub(super) const CONFIG: Script = script!("config", LIB, NGINX);
pub(super) const COMPLAINTS: Script = script!("complaints");
pub(super) const COUNT: Script = script!("count", LIB, NGINX, CARRY);

/// A reader tells what it counted so often.
const EVERY: Duration = Duration::from_secs(1);
/// Before a reader whose line was lost is begun again.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A host may say anything, as often as it likes.
const MOST_SAID: usize = 200;
/// A clock that is further off than this is set right: its ticks would be of another time.
const OFFSET_NOTED_SECONDS: i64 = 5;

/// Everything that nginx has loaded on a balancer.
pub fn loaded_config(inventory: &Inventory) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.container(&inventory.nginx);
    arguments.set("dump", dump_words(&inventory.nginx.test).join(UNIT));
    for name in servers(inventory).filter_map(|(server, _)| server.name()) {
        arguments.set("lookup", name);
    }
    Question(program(CONFIG, arguments, Duration::from_secs(20)))
}

fn servers(inventory: &Inventory) -> impl Iterator<Item = (&ServerAddress, Colour)> {
    let apps = [&inventory.blue, &inventory.green].into_iter();
    apps.flat_map(|app| app.servers.iter().map(|server| (server, app.colour)))
}

/// What is to be counted on a balancer.
#[derive(Debug, Clone)]
pub struct Counting<'a> {
    pub logs: &'a [AccessLog],
    /// Where an earlier reader ended, by the number of the log; the others begin at their end.
    pub places: &'a BTreeMap<usize, Place>,
    /// Milliseconds.
    pub limits: &'a [u64],
    /// Lines of an earlier time do not count, in seconds since 1970.
    pub since: u64,
    pub lasts: Duration,
}

/// Counts in the access logs of a balancer, for so long or until nobody listens any more.
pub fn count(inventory: &Inventory, counting: &Counting<'_>) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.container(&inventory.nginx);
    let carried = carried::program_for(&format!("Linux {}", std::env::consts::ARCH));
    arguments.set("bytes", carried.len());
    arguments.set("every", EVERY.as_millis());
    arguments.set("since", counting.since);
    arguments.set("lasts", counting.lasts.as_secs().max(1));
    for limit in counting.limits {
        arguments.set("limit", limit);
    }
    for (n, log) in counting.logs.iter().enumerate() {
        let escape = match log.escape {
            Escape::Default => "default",
            Escape::Json => "json",
            Escape::Nothing => "none",
        };
        let begin = if counting.since > 0 { "back" } else { "end" };
        let from = counting.places.get(&n).map_or(begin.to_owned(), |place| place.to_word());
        arguments.set("log", [&n.to_string(), log.form.as_str(), escape, &from, &log.path].join(UNIT));
    }
    let mut program = program(COUNT, arguments, counting.lasts + Duration::from_secs(60));
    program.cargo = carried;
    Question(program)
}

/// The access logs that can be judged by, on each balancer that was reached, and why the others cannot.
#[derive(Debug, Default)]
pub struct LogsFound {
    pub readable: Vec<HostLogs>,
    /// Whole sentences, with their host.
    pub notes: Vec<String>,
}

/// Those of one balancer.
#[derive(Debug)]
pub struct HostLogs {
    pub host: HostName,
    pub logs: Vec<AccessLog>,
    /// Whose an address in them is. Each host has networks of its own, and the same address may be another's there.
    names: BTreeMap<String, Colour>,
}

/// Asks every balancer into which logs its requests go; `alone` is who gets all of them, where anybody does.
pub async fn find_logs<F: Ask>(fleet: &F, inventory: &Inventory, facts: &Facts, alone: Option<Colour>) -> LogsFound {
    let balancers = inventory.with_role(Role::Balancer).filter_map(|host| Some((host, facts.seen(&host.name)?)));
    let asked = balancers
        .map(|(host, seen)| async move { (&host.name, seen, fleet.ask(&host.name, &loaded_config(inventory)).await) });
    let mut found = LogsFound::default();
    for (host, seen, answer) in join_all(asked).await {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                found.notes.push(format!("{host}: its requests are not judged: {failure}"));
                continue;
            }
        };
        let Logging { logs, upstreams } = logging(&facts::loaded_files(&answer), inventory);
        if logs.is_empty() {
            found.notes.push(format!("{host}: its requests are not judged: nginx logs none of them (access_log off)"));
        }
        let (fit, unfit): (Vec<AccessLog>, Vec<AccessLog>) = logs.into_iter().partition(|log| log.unfit.is_none());
        for log in unfit {
            let why = log.unfit.unwrap_or_default();
            found.notes.push(format!("{host}: {} is not judged by: {why}", log.path));
        }
        let logs: Vec<AccessLog> = fit.into_iter().map(|log| as_it_lies(log, inventory, seen)).collect();
        if !logs.is_empty() {
            let mut names: BTreeMap<String, Colour> =
                servers(inventory).map(|(server, colour)| (logged_address(server.as_str()), colour)).collect();
            names.extend(by_address(inventory, &answer.text("nginx.known").unwrap_or_default()));
            // Where no server could be tried nginx logs the name of the upstream.
            names.extend(upstreams.into_iter().filter_map(|(name, side)| Some((name, side.or(alone)?))));
            found.readable.push(HostLogs { host: host.clone(), logs, names });
        }
    }
    found
}

/// How [`Meter`] calls the servers of the sides, whatever their host does.
pub fn named() -> BTreeMap<String, Colour> {
    Colour::BOTH.map(|colour| (colour.to_string(), colour)).into()
}

/// Where nginx runs in a container, a log lies there, or is what the container prints.
fn as_it_lies(log: AccessLog, inventory: &Inventory, seen: &Seen) -> AccessLog {
    if inventory.nginx.container.is_none() {
        return log;
    }
    let known = seen.nginx.iter().flat_map(|nginx| &nginx.access_logs);
    let path = format!("{IN_CONTAINER}{}", log.path);
    let is_printed = known.clone().any(|known| known == IN_CONTAINER) && !known.clone().any(|known| *known == path);
    AccessLog { path: if is_printed { IN_CONTAINER.to_owned() } else { path }, ..log }
}

/// A server that is a name is logged by its address: lines of NAME and ADDRESS say which.
fn by_address(inventory: &Inventory, known: &str) -> Vec<(String, Colour)> {
    let lines = known.lines().filter_map(|line| line.split_once(' '));
    let of_name = |(name, address): (&str, &str)| {
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        servers(inventory)
            .filter(move |(server, _)| server.name() == Some(name))
            .map(move |(server, colour)| {
                let port = logged_address(server.as_str()).rsplit(':').next().unwrap_or("80").to_owned();
                (logged_address(&format!("{address}:{port}")), colour)
            })
            .collect::<Vec<_>>()
    };
    lines.flat_map(of_name).collect()
}

/// Readers at work on all balancers.
pub struct Meter<'a, F> {
    fleet: &'a F,
    inventory: &'a Inventory,
    facts: &'a Facts,
    journal: &'a Journal<'a>,
    limits: Vec<u64>,
    /// Of which moment on lines count, in seconds since 1970; 0 is from now on.
    since: u64,
    came: Mutex<Vec<(HostName, Batch)>>,
    /// What was said of a host, by its kind.
    said: Mutex<BTreeSet<(HostName, String)>>,
}

impl<'a, F: Ask> Meter<'a, F> {
    pub fn new(
        fleet: &'a F,
        inventory: &'a Inventory,
        facts: &'a Facts,
        journal: &'a Journal<'a>,
        limits: Vec<u64>,
    ) -> Meter<'a, F> {
        Meter { fleet, inventory, facts, journal, limits, since: 0, came: Mutex::default(), said: Mutex::default() }
    }

    /// The same of what was since a moment, too, in seconds since 1970.
    #[must_use]
    pub fn since(self, since: u64) -> Meter<'a, F> {
        Meter { since, ..self }
    }

    /// Reads for so long. What comes is taken by [`Meter::take`].
    pub async fn run(&self, logs: &[HostLogs], lasts: Duration) {
        let until = Instant::now() + lasts;
        join_all(logs.iter().map(|logs| self.read(logs, until))).await;
    }

    /// What came since the last time, each with the balancer that it comes from.
    pub fn take(&self) -> Vec<(HostName, Batch)> {
        std::mem::take(&mut *locked(&self.came))
    }

    async fn read(&self, HostLogs { host, logs, names }: &HostLogs, until: Instant) {
        let mut places: BTreeMap<usize, Place> = BTreeMap::new();
        let offset =
            self.facts.seen(host).and_then(|seen| seen.clock_offset_ms.as_ref().ok()).map_or(0, |ms| ms / 1000);
        if offset.abs() > OFFSET_NOTED_SECONDS {
            self.say(
                host,
                "clock",
                format!("its clock is {} s off; its log's times are set right by that", offset.abs()),
            );
        }
        let mut pause = PAUSE;
        while Instant::now() < until {
            let lasts = until - Instant::now();
            let counting = Counting { logs, places: &places.clone(), limits: &self.limits, since: self.since, lasts };
            let mut batches = Batches::default();
            let mut sink = |bytes: &[u8]| {
                for batch in batches.take(bytes) {
                    places.extend(&batch.places);
                    for (log, note) in &batch.notes {
                        let path = logs.get(*log).map_or("a log", |log| log.path.as_str());
                        self.say(host, &format!("{path} {note}"), format!("{path}: {note}"));
                    }
                    if let Some(odd) = &batch.first_odd {
                        self.say(host, "odd", format!("there are lines that are not of the format in force: {odd}"));
                    }
                    locked(&self.came).push((host.clone(), shifted(renamed(batch, names), offset)));
                }
                Ok(())
            };
            let ended = self.fleet.stream(host, &count(self.inventory, &counting), &mut sink).await;
            let (kind, what) = match ended {
                Ok(0) if Instant::now() + PAUSE >= until => return,
                Ok(3) => {
                    let why = "its requests are not judged: no program of ours can run there";
                    return self.say(host, "program", why.to_owned());
                }
                Ok(4) => ("unread", "its requests are not judged: none of its access logs can be read".to_owned()),
                Ok(0) => ("early", "the reader of its access log ended early; it is begun again".to_owned()),
                Ok(status) => {
                    ("status", format!("the reader of its access log ended with {status}; it is begun again"))
                }
                Err(failure) => ("line", format!("its access log is not read: {failure}; it is tried again")),
            };
            self.say(host, kind, what);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Each kind of thing once for each host, and no more than a person would read.
    fn say(&self, host: &HostName, kind: &str, what: String) {
        let mut said = locked(&self.said);
        if said.len() < MOST_SAID && said.insert((host.clone(), kind.to_owned())) {
            self.journal.note(format!("{host}: {what}"));
        }
    }
}

/// The servers of the sides by the names that [`named`] has.
fn renamed(mut batch: Batch, names: &BTreeMap<String, Colour>) -> Batch {
    for tick in batch.ticks.values_mut() {
        for (server, attempts) in std::mem::take(&mut tick.servers) {
            let name = names.get(&server).map_or(server, Colour::to_string);
            tick.servers.entry(name).or_default().merge(&attempts);
        }
    }
    batch
}

/// By our clock instead of the host's, in whole ticks.
fn shifted(mut batch: Batch, offset_seconds: i64) -> Batch {
    if offset_seconds.abs() > OFFSET_NOTED_SECONDS {
        let tick = TICK.cast_signed();
        let ticks = (offset_seconds + offset_seconds.signum() * tick / 2) / tick * tick;
        let moved = |at: u64| at.saturating_add_signed(-ticks);
        batch.ticks = batch.ticks.into_iter().map(|(at, counts)| (moved(at), counts)).collect();
    }
    batch
}

/// What a side's own log says, since a place in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnLog {
    /// Where it ends now.
    pub end: u64,
    pub matched: u64,
    pub lines: u64,
}

/// The lines of a side's own log that match, among its newest since that place; 0 asks for the place alone.
pub fn own_log(inventory: &Inventory, colour: Colour, rule: &LogRule, since: u64) -> Question {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    match &app.log {
        Some(log) => {
            arguments.set("log", log);
            arguments.set("kind", "file");
        }
        None => arguments.run(&app.run),
    }
    arguments.set("pattern", &rule.pattern);
    arguments.set("fold", if rule.folds_case { "yes" } else { "no" });
    arguments.set("lines", rule.lines);
    arguments.set("since", since);
    Question(program(COMPLAINTS, arguments, Duration::from_secs(10)))
}

/// `None` where there is nothing that could be read, or nobody who could be asked.
pub async fn read_own_log<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    host: &HostName,
    colour: Colour,
    (rule, since): (&LogRule, u64),
) -> Option<OwnLog> {
    let answer =
        fleet.ask(host, &own_log(inventory, colour, rule, since)).await.ok().filter(|answer| answer.status == 0)?;
    let end = answer.text("end")?.trim().parse().ok()?;
    let counted = answer.text("counted").unwrap_or_default();
    let (matched, lines) = counted.trim().split_once(' ').unwrap_or(("0", "0"));
    Some(OwnLog { end, matched: matched.parse().ok()?, lines: lines.parse().ok()? })
}

/// How a side is on one of its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// What is wrong with its answers; `None` where they are good.
    pub complaint: Option<String>,
    /// What is another one after a restart; empty where nobody can say.
    pub identity: String,
}

/// # Errors
/// [`Failure`] when the host cannot be asked: that is no answer of the side.
pub async fn life<F: Ask>(fleet: &F, inventory: &Inventory, host: &HostName, colour: Colour) -> Result<Life, Failure> {
    let answer = fleet.ask(host, &verify::health_of_start(inventory, colour)).await?;
    let pulse = verify::read_pulse(inventory, colour, &answer);
    // Without a URL to ask there is nothing to be wrong.
    let complaint = (!pulse.health.is_empty() && !pulse.is_good()).then(|| pulse.complaint());
    Ok(Life { complaint, identity: identity(&answer, &pulse) })
}

fn identity(answer: &Answer, pulse: &verify::Pulse) -> String {
    let supervisor = answer.text("supervisor").unwrap_or_default();
    let property = |name: &str| supervisor.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::to_owned);
    property("NRestarts=").or_else(|| property("StartedAt=")).unwrap_or_else(|| {
        // Workers come and go; the first one stays while it runs.
        first_of(&pulse.listeners).map_or(String::new(), |listener| format!("{}:{}", listener.pid, listener.started))
    })
}
