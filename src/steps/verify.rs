//! Asks whoever should serve: on his own host, through the balancer, and from here. Changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join, join_all};

use super::certificate;
use super::context::{Context, Outcome};
use super::passes::{self, InARow};
use super::{public, supervisor};
use crate::hosts::answer::{Answer, Failure};
use crate::hosts::facts::{self, Get, Health, Listener, Origin, direct_url, health_urls};
use crate::hosts::program::{
    Arguments, LIB, NGINX, PATIENCE, Question, SHORT_PATIENCE, Script, UNIT, hex_ports, program, script,
};
use crate::hosts::question::path_of;
use crate::hosts::remote::Ask;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Role, Run};
use crate::nouns::names::{HostName, HttpUrl};
use crate::nouns::record::{Clients, ErrorShare, Second, Status, StepWord, What};
use crate::nouns::side::Side;

pub(super) const HEALTH: Script = script!("health", LIB, NGINX);
pub(super) const ACCESS: Script = script!("access", LIB, NGINX);

/// Each health URL of a colour, once, and who listens on its ports.
pub fn health(inventory: &Inventory, colour: Colour) -> Question {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.set("ports", hex_ports(app.ports()));
    for (n, url) in health_urls(app).enumerate() {
        arguments.health(&format!("{colour}.health.{n}"), PATIENCE, app, &url);
    }
    arguments.lookups(inventory);
    Question(program(HEALTH, arguments, Duration::from_secs(20)))
}

/// The same while it is being started: its supervisor is asked too, and says when it has given up (`supervisor::given_up`).
pub fn health_of_start(inventory: &Inventory, colour: Colour) -> Question {
    let Question(mut program) = health(inventory, colour);
    match &inventory.app(colour).run {
        Run::Systemd(unit) => program.arguments.push(("unit", unit.to_string())),
        Run::Docker(name) => program.arguments.push(("container", name.to_string())),
        Run::Compose { .. } | Run::Process { .. } | Run::Command(_) => {}
    }
    Question(program)
}

/// The probe, once, through a balancer.
pub fn probe(inventory: &Inventory) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.get("probe", PATIENCE, inventory.nginx.probe_host.as_deref(), &inventory.nginx.probe_url());
    Question(program(HEALTH, arguments, Duration::from_secs(10)))
}

/// Whether somebody serves there: a colour itself, and through the balancer.
pub fn serves(inventory: &Inventory, colour: Option<Colour>, through_balancer: bool) -> Question {
    let mut arguments = Arguments::new(inventory);
    if let Some(colour) = colour {
        let app = inventory.app(colour);
        for (n, url) in health_urls(app).enumerate() {
            arguments.health(&format!("{colour}.health.{n}"), SHORT_PATIENCE, app, &url);
        }
    }
    if through_balancer {
        let host = inventory.nginx.probe_host.as_deref();
        arguments.get("probe", SHORT_PATIENCE, host, &inventory.nginx.probe_url());
    }
    arguments.lookups(inventory);
    Question(program(HEALTH, arguments, Duration::from_secs(10)))
}

/// Paths that may reach the application through nginx, where the probe's does not: those of the health URLs.
pub fn other_paths(inventory: &Inventory) -> Vec<String> {
    let probe = path_of(inventory.nginx.probe.as_str());
    let mut paths: Vec<String> = Vec::new();
    for url in inventory.blue.health.iter().chain(&inventory.green.health) {
        let path = path_of(url.as_str()).to_owned();
        if path != probe && !paths.contains(&path) {
            paths.push(path);
        }
    }
    // Three are plenty to choose from.
    paths.truncate(3);
    paths
}

/// The URL that the probe would have with another path.
pub fn probe_with(inventory: &Inventory, path: &str) -> String {
    let probe = inventory.nginx.probe.as_str();
    let place = probe.strip_suffix(path_of(probe)).unwrap_or(probe);
    format!("{}{path}", place.trim_end_matches('/'))
}

/// Each of these paths through nginx (`through.N`), and of the colours' first servers without it (`direct.N`).
pub fn paths(inventory: &Inventory, paths: &[String]) -> Question {
    let mut arguments = Arguments::new(inventory);
    let probe_host = inventory.nginx.probe_host.as_deref();
    for (n, path) in paths.iter().enumerate() {
        arguments.get(&format!("through.{n}"), SHORT_PATIENCE, probe_host, &probe_with(inventory, path));
        for server in [&inventory.blue, &inventory.green].into_iter().filter_map(|app| app.servers.first()) {
            let url = direct_url(server.as_str(), path);
            arguments.get(&format!("direct.{n}"), SHORT_PATIENCE, probe_host, &url);
        }
    }
    arguments.container(&inventory.nginx);
    arguments.lookups(inventory);
    Question(program(HEALTH, arguments, Duration::from_secs(20)))
}

/// How far back requests tell how it was before; at most a megabyte of each log.
const BEFORE: Duration = Duration::from_secs(600);

/// Statuses in the access logs on both sides of a size.
pub fn access(inventory: &Inventory, sizes: &[(String, u64)]) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.container(&inventory.nginx);
    arguments.set("since", BEFORE.as_secs());
    for (path, size) in sizes {
        arguments.set("log", format!("{path}{UNIT}{size}"));
    }
    Question(program(ACCESS, arguments, Duration::from_secs(20)))
}

/// URLs of the database's health, asked on a host once.
pub fn database_health(inventory: &Inventory, urls: &[HttpUrl]) -> Question {
    let mut arguments = Arguments::new(inventory);
    for (n, url) in urls.iter().enumerate() {
        arguments.get(&format!("database.health.{n}"), PATIENCE, None, url.as_str());
    }
    Question(program(HEALTH, arguments, Duration::from_secs(20)))
}

/// What a colour answers now on one app host.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    pub health: Vec<Health>,
    pub listeners: Vec<Listener>,
    /// Why it will not come up any more; only asked while it is being started.
    pub given_up: Option<String>,
}

impl Pulse {
    pub fn is_good(&self) -> bool {
        !self.health.is_empty() && self.health.iter().all(Health::is_good)
    }

    /// What is not good about it.
    pub fn complaint(&self) -> String {
        match self.health.iter().find(|health| !health.is_good()) {
            None => "nothing answers".to_owned(),
            Some(health) => health.complaint(),
        }
    }
}

/// # Errors
/// [`Failure`] when the host cannot be asked.
pub async fn pulse<F: Ask>(run: &Context<'_, F>, host: &HostName, side: Side) -> Result<Pulse, Failure> {
    let colour = run.colour(side);
    let answer = run.fleet.ask(host, &health(run.inventory, colour)).await?;
    Ok(read_pulse(run.inventory, colour, &answer))
}

/// The same while it is being started, with what its supervisor says.
///
/// # Errors
/// [`Failure`] when the host cannot be asked.
pub async fn pulse_of_start<F: Ask>(run: &Context<'_, F>, host: &HostName, side: Side) -> Result<Pulse, Failure> {
    let colour = run.colour(side);
    let answer = run.fleet.ask(host, &health_of_start(run.inventory, colour)).await?;
    Ok(Pulse { given_up: supervisor::given_up(&answer), ..read_pulse(run.inventory, colour, &answer) })
}

pub(super) fn read_pulse(inventory: &Inventory, colour: Colour, answer: &Answer) -> Pulse {
    let health = facts::read_health(inventory.app(colour), &facts::gets(answer));
    let listeners = facts::read_listeners(&answer.text("listeners").unwrap_or_default());
    Pulse { health, listeners, given_up: None }
}

/// Asks a side until it has answered so many times in a row.
///
/// # Errors
/// What was wrong last.
pub async fn passes_in_a_row<F: Ask>(
    run: &Context<'_, F>,
    host: &HostName,
    side: Side,
    wanted: InARow,
) -> Result<(), String> {
    let goes_on = || run.interrupted() < 2;
    let ask = async || match pulse(run, host, side).await {
        Ok(pulse) if pulse.is_good() => Ok(()),
        Ok(pulse) => Err(pulse.complaint()),
        Err(failure) => Err(failure.to_string()),
    };
    passes::in_a_row(wanted, goes_on, ask).await
}

/// The probe through a balancer, once.
///
/// # Errors
/// What is wrong with the answer, or why there is none.
pub async fn through<F: Ask>(run: &Context<'_, F>, host: &HostName) -> Result<u16, String> {
    let answer = run.fleet.ask(host, &probe(run.inventory)).await.map_err(|failure| format!("the probe: {failure}"))?;
    let get = facts::gets(&answer).remove("probe").and_then(|mut gets| gets.pop()).unwrap_or_default();
    match get.status {
        status @ 200..500 => is_not_of_the_other(run, host, &get).map(|()| status),
        status => Err(format!("the probe answers {status} {}", get.error)),
    }
}

/// What an answer through a balancer disproves, for ever: that nobody but one side serves there.
///
/// # Errors
/// Whose it is.
pub fn is_not_of_the_other<F>(run: &Context<'_, F>, host: &HostName, get: &Get) -> Result<(), String> {
    // In a share both sides answer, and there is no mark.
    match run.plan.mark_on(host).filter(|mark| mark.is_of_the_other(&get.head, &get.body)) {
        None => Ok(()),
        Some(mark) => Err(format!("the probe is answered by {} still", mark.of.other())),
    }
}

/// A path that reaches the application through a balancer, for a probe whose own does not; `None` where there is none among
/// those of the health URLs, or where nobody can say.
pub async fn path_that_reaches<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    host: &HostName,
    site: &str,
) -> Option<String> {
    let others = other_paths(inventory);
    if others.is_empty() {
        return None;
    }
    let answer = fleet.ask(host, &paths(inventory, &others)).await.ok()?;
    let gets = facts::gets(&answer);
    let reaches = |n: usize| {
        let through = gets.get(&format!("through.{n}")).and_then(|gets| gets.first());
        let direct: Vec<&Get> = gets.get(&format!("direct.{n}")).into_iter().flatten().collect();
        through.is_some_and(|through| {
            (200..300).contains(&through.status) && facts::origin(through, &direct, None, site) == Origin::App
        })
    };
    (0..others.len()).find(|n| reaches(*n)).and_then(|n| others.get(n).cloned())
}

/// Whoever gets traffic now, once more, on one host.
pub async fn run<F: Ask>(run: &Context<'_, F>, name: &HostName, sides: &[Side]) -> Outcome {
    let Some(host) = run.inventory.host(name) else { return Outcome::failed("it is not in the config") };
    let mut good = Vec::new();
    for side in sides.iter().filter(|_| host.is(Role::App)) {
        let colour = run.colour(*side);
        match passes_in_a_row(run, name, *side, run.in_a_row()).await {
            Ok(()) => good.push(format!("{colour} answers, {} in a row", run.inventory.verify.passes)),
            Err(why) => return Outcome::failed(format!("{colour}: {why}")),
        }
    }
    if host.is(Role::Balancer) && run.is_shifted(name) {
        match through(run, name).await {
            Ok(status) => good.push(format!("the probe answers {status}")),
            Err(why) => return Outcome::failed(why),
        }
        compare_errors(run, name, &mut good).await;
    }
    Outcome::done(good.join(", "))
}

/// nginx's own count of server errors. More errors than before are named; they are not a reason to go back.
async fn compare_errors<F: Ask>(run: &Context<'_, F>, name: &HostName, good: &mut Vec<String>) {
    match errors(run, name, &run.seen_since.access_sizes(name)).await {
        // The probe itself was one.
        Ok(Some(Counts { after, .. })) if after.requests == 0 => {
            let why = "no access log of nginx that can be read there has a request since the switch: they are off, held back \
                       in memory, or say no status";
            run.journal.gap(Some(name), "error share", why);
        }
        Ok(Some(Counts { before, after, seconds, clients_before, clients_after, .. })) => {
            let (host, seconds) = (name.clone(), seconds.into_values().collect());
            run.journal.record(What::Errors { host, before, after, seconds, clients_before, clients_after });
            if after.percent() > before.percent() && after.percent().is_some_and(|percent| percent > 1.0) {
                let (before, after) = (before.describe(), after.describe());
                run.journal.note(format!("{name}: more server errors than before: {after}, was {before}"));
            }
            good.push(format!("server errors {}, were {}", after.describe(), before.describe()));
        }
        Ok(None) => run.journal.gap(Some(name), "error share", "no access log of nginx can be read there"),
        Err(failure) => run.journal.gap(Some(name), "error share", failure.to_string()),
    }
}

/// Shares of server errors before and after the switch, over all access logs of a host that we may read.
async fn errors<F: Ask>(
    run: &Context<'_, F>,
    host: &HostName,
    sizes: &BTreeMap<String, u64>,
) -> Result<Option<Counts>, Failure> {
    let sizes: Vec<(String, u64)> = sizes.iter().map(|(path, size)| (path.clone(), *size)).collect();
    if sizes.is_empty() {
        return Ok(None);
    }
    let answer = run.fleet.ask(host, &access(run.inventory, &sizes)).await?;
    let offset = run.facts.seen(host).and_then(|seen| seen.clock_offset_ms.as_ref().ok()).map_or(0, |ms| ms / 1000);
    let mut counted: Vec<Counts> =
        answer.text("access").unwrap_or_default().lines().filter_map(|line| Counts::read(line, offset)).collect();
    // Each request stands in both.
    if counted.iter().any(|log| !log.is_own && log.before.requests + log.after.requests > 0) {
        counted.retain(|log| !log.is_own);
    }
    Ok((!counted.is_empty()).then(|| counted.into_iter().reduce(Counts::and).unwrap_or_default()))
}

/// What access logs say of both sides of the switch.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    before: ErrorShare,
    after: ErrorShare,
    seconds: BTreeMap<i64, Second>,
    /// Of those that failed; `None` where one of them does not tell it.
    clients_before: Option<Clients>,
    clients_after: Option<Clients>,
    /// Whether the log is of the format that `check` proposes, and lies beside another one.
    is_own: bool,
}

/// A log tells so many seconds at most; what is older is of another time, and a host may say anything.
const MOST_SECONDS: usize = 900;

impl Counts {
    /// `PATH before TOTAL ERRORS SECONDS CLIENTS FORM after TOTAL ERRORS SECONDS CLIENTS FORM`, by a clock that is so many seconds ahead of ours.
    fn read(line: &str, offset_seconds: i64) -> Option<Counts> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let (before, after) = (
            ErrorShare { requests: number(2)?, errors: number(3)? },
            ErrorShare { requests: number(8)?, errors: number(9)? },
        );
        let clients = |at: usize| {
            let word = words.get(at)?;
            Some(Clients { count: word.trim_end_matches('+').parse().ok()?, is_cut: word.ends_with('+') })
        };
        let (clients_before, clients_after) = (clients(5), clients(11));
        let is_own = [6, 12].into_iter().any(|at| words.get(at) == Some(&"own"));
        let mut counts = Counts { before, after, seconds: BTreeMap::new(), clients_before, clients_after, is_own };
        for said in [4, 10].into_iter().filter_map(|at| words.get(at)).flat_map(|words| words.split(',')) {
            let mut parts = said.split(':');
            let mut part = || parts.next()?.parse::<i64>().ok();
            if let (Some(at), Some(requests), Some(errors)) = (part(), part(), part()) {
                let at = at.saturating_sub(offset_seconds);
                counts.add(Second { at, requests: requests.unsigned_abs(), errors: errors.unsigned_abs() });
            }
        }
        Some(counts)
    }

    fn add(&mut self, second: Second) {
        let sum = self.seconds.entry(second.at).or_insert(Second { at: second.at, requests: 0, errors: 0 });
        sum.requests = sum.requests.saturating_add(second.requests);
        sum.errors = sum.errors.saturating_add(second.errors);
        if self.seconds.len() > MOST_SECONDS {
            self.seconds.pop_first();
        }
    }

    fn and(mut self, other: Counts) -> Counts {
        let sum = |a: ErrorShare, b: ErrorShare| ErrorShare {
            requests: a.requests + b.requests,
            errors: a.errors + b.errors,
        };
        let both = |a: Option<Clients>, b: Option<Clients>| Some(a?.and(b?));
        self.clients_before = both(self.clients_before, other.clients_before);
        self.clients_after = both(self.clients_after, other.clients_after);
        (self.before, self.after) = (sum(self.before, other.before), sum(self.after, other.after));
        other.seconds.into_values().for_each(|second| self.add(second));
        self
    }
}

/// Public URLs and the smoke command, from this machine.
pub async fn from_here<F>(run: &Context<'_, F>) {
    let verify = &run.inventory.verify;
    if verify.public.is_empty() && verify.smoke.is_none() {
        return;
    }
    let timed = run.journal.begin(StepWord::Verify, None);
    let mut wrong = Vec::new();
    let mut good = Vec::new();
    let now = run.journal.clock().now();
    let asked = verify.public.iter().map(|url| async move {
        (url, join(public::passes_in_a_row(url, run.in_a_row()), certificate::look(url, now)).await)
    });
    for (url, (answer, shown)) in join_all(asked).await {
        match answer {
            Ok(()) => {
                good.push(format!("{url} answers"));
                if let Some(Ok(shown)) = shown
                    && let Some(soon) = shown.warning(now)
                {
                    run.journal.note(format!("{url}: its certificate {soon}"));
                }
            }
            Err(why) => wrong.push(format!("{url}: {why}")),
        }
    }
    if let Some(command) = &verify.smoke {
        match smoke(run, command).await {
            Ok(()) => good.push("smoke command passes".to_owned()),
            Err(why) => wrong.push(why),
        }
    }
    let outcome = match wrong.is_empty() {
        true => Outcome::done(good.join(", ")),
        false => Outcome::failed(run.redactor.text(&wrong.join("; "))),
    };
    timed.end(outcome.status, outcome.detail);
}

async fn smoke<F>(run: &Context<'_, F>, command: &str) -> Result<(), String> {
    let folder = run.inventory.sources.first().and_then(|path| path.parent());
    let said = public::smoke(command, folder, run.inventory.verify.timeout).await;
    said.map_err(|why| format!("smoke command: {why}"))
}

/// The command that asks a side before anybody else does, from this machine. Whether it passed.
pub async fn smoke_from_here<F>(run: &Context<'_, F>, command: &str) -> bool {
    let timed = run.journal.begin(StepWord::Verify, None);
    match smoke(run, command).await {
        Ok(()) => {
            timed.end(Status::Done, format!("smoke command passes: {command}"));
            true
        }
        Err(why) => {
            timed.end(Status::Failed, run.redactor.text(&why));
            false
        }
    }
}
