//! What still reaches the side that traffic left is counted, until nothing does or the time is over. Changes nothing, so
//! nothing undoes it; what it saw is what the stop's guard asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::context::{Context, Outcome, Sample};
use crate::hosts::answer::Failure;
use crate::hosts::facts::{self, Socket};
use crate::hosts::program::{Arguments, LIB, NGINX, Question, Script, hex_ports, program, script};
use crate::hosts::remote::Ask;
use crate::nouns::inventory::{App, Inventory, Role};
use crate::nouns::names::HostName;
use crate::nouns::record::{Status, plural};
use crate::nouns::side::Side;

pub(super) const SAMPLE: Script = script!("sample", LIB, NGINX);

/// How often is counted.
const POLL: Duration = Duration::from_millis(100);
/// A moment without a connection is no proof that nobody connects: a balancer that was not listed opens one for each
/// request. This many looks in a row must find none.
const QUIET_SAMPLES: u32 = 3;
/// At the deadline a host that gives no answer gets this long for one: without it nobody knows who is connected.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// What still reaches a colour, as this host sees it.
pub fn sample(inventory: &Inventory, app: &App, pidfile: Option<&str>) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("ports", hex_ports(app.ports()));
    if let Some(pidfile) = pidfile {
        arguments.container(&inventory.nginx);
        arguments.set("pidfile", pidfile);
    }
    for path in app.servers.iter().filter_map(|server| server.unix_path()) {
        arguments.set("unix", path);
    }
    Question(program(SAMPLE, arguments, Duration::from_secs(10)))
}

/// The addresses of a side's servers, as far as they are known.
fn addresses(app: &App, known: &BTreeMap<String, String>) -> BTreeSet<IpAddr> {
    let servers = app.servers.iter().filter(|server| server.port().is_some());
    let address = servers.map(|server| known.get(server.host()).map_or(server.host(), String::as_str));
    address.filter_map(|address| address.parse::<IpAddr>().ok()).map(|address| address.to_canonical()).collect()
}

async fn look<F: Ask>(run: &Context<'_, F>, host: &HostName) -> Result<Sample, Failure> {
    let nginx = run.seen(host).and_then(|seen| seen.nginx.as_ref());
    let pidfile = nginx.map(|nginx| nginx.pidfile.as_str());
    let (from, to) = (run.app(Side::From), run.app(Side::To));
    let answer = run.fleet.ask(host, &sample(run.inventory, from, pidfile)).await?;
    let sockets = facts::sockets(&answer.text("sockets").unwrap_or_default());
    // Where both sides have a port it is the address that tells them apart; what is not certainly the other side's counts.
    let no_names = BTreeMap::new();
    let known = nginx.map_or(&no_names, |nginx| &nginx.known);
    let (theirs, ours) = (addresses(from, known), addresses(to, known));
    let is_theirs = |socket: &Socket| match socket.server_address() {
        Some(address) if to.ports().contains(&socket.port) => !ours.contains(&address) || theirs.contains(&address),
        _ => true,
    };
    let established =
        |is_here: bool| sockets.iter().filter(move |s| s.is_established() && s.is_here == is_here && is_theirs(s));
    let over_unix = answer.text("unix").unwrap_or_default().lines().count();
    let workers = answer.text("nginx.workers").unwrap_or_default();
    Ok(Sample {
        towards: established(false).count() + over_unix,
        peers: established(true).map(Socket::peer_address).collect(),
        closing_workers: workers.lines().filter(|line| line.ends_with(" closing")).count(),
    })
}

/// Counts on one host until nothing reaches it any more.
pub async fn run<F: Ask>(run: &Context<'_, F>, host: &HostName) -> Outcome {
    let from = run.colour(Side::From);
    let until = Instant::now() + run.inventory.drain_timeout;
    let mut quiet = 0;
    let last = loop {
        let sample = look(run, host).await.ok();
        quiet = if sample.as_ref().is_some_and(Sample::is_quiet) { quiet + 1 } else { 0 };
        let is_over = Instant::now() >= if sample.is_some() { until } else { until + LAST_LOOK };
        if quiet >= QUIET_SAMPLES || is_over || !run.goes_on() {
            break sample;
        }
        sleep(POLL).await;
    };
    run.seen_since.remember_sample(host, last.clone());
    let Some(sample) = last else { return Outcome::unknown("the host does not answer") };
    if sample.towards == 0 && sample.closing_workers == 0 {
        return Outcome::done(format!("no connection to {from}, no old worker"));
    }
    let connections = plural(sample.towards, "connection");
    let left = format!("{connections} to {from} and {} left", plural(sample.closing_workers, "old worker"));
    if run.locks.lost().is_some() {
        return Outcome::failed(format!("{left}; another run took the lock, and waits for it"));
    }
    if Instant::now() < until {
        return Outcome::new(Status::Skipped, format!("{left}; not waited for any longer"));
    }
    let cut = format!("{left} at the deadline; they are cut");
    run.journal.gap(Some(host), "drain", cut.clone());
    Outcome::done(cut)
}

/// Peers of the side that traffic left, on a host, that no balancer of ours explains; and whether that host could not be
/// looked at in the end.
pub struct Peers {
    pub strangers: Vec<String>,
    pub is_unseen: bool,
}

/// What the drain found, by app host.
pub struct Drained {
    samples: BTreeMap<HostName, Option<Sample>>,
    /// Addresses from which a connection is nobody's but a balancer's that still finishes.
    explained: BTreeSet<String>,
}

/// A balancer without old workers explains nobody; one that is still draining, or was not drained, explains those from
/// its addresses.
pub fn drained<F>(run: &Context<'_, F>) -> Drained {
    let samples = run.seen_since.samples();
    let mut explained = BTreeSet::new();
    for host in run.inventory.with_role(Role::Balancer) {
        let is_drained =
            samples.get(&host.name).is_some_and(|sample| sample.as_ref().is_some_and(|s| s.closing_workers == 0));
        if let Some(seen) = run.seen(&host.name).filter(|_| !is_drained) {
            explained.extend(seen.addresses.iter().cloned());
            explained.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
        }
    }
    Drained { samples, explained }
}

impl Drained {
    pub fn peers(&self, host: &HostName) -> Peers {
        let sample = self.samples.get(host).and_then(Option::as_ref);
        let peers: BTreeSet<&String> = sample.iter().flat_map(|sample| &sample.peers).collect();
        Peers {
            strangers: peers.into_iter().filter(|peer| !self.explained.contains(*peer)).cloned().collect(),
            is_unseen: sample.is_none(),
        }
    }
}
