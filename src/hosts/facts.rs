//! What is: one `Result<T, NotKnown>` for each question on each host, read from the answer of `facts.sh`.
//! Pure: the answer is an argument. Decides nothing; the planner does.
//!
//! [`read`] makes [`HostFacts`] of an answer. What is true of any host is in `host`, of nginx in `nginx`, of a colour in
//! `app`; they read `sockets` and answers over `http`, and `mark` says whose an answer is. `change` and `earlier` read
//! the answers of other questions.

mod app;
mod change;
mod container;
mod earlier;
mod ground;
mod host;
mod http;
mod mark;
mod nginx;
mod release;
mod sockets;

use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use self::app::{AppFacts, Health, NoLog, Supervision, direct_url, health_urls, must_be_stopped, read_health};
pub use self::change::{ChangeSeen, FileSeen, HookSeen, check_status};
pub use self::earlier::EarlierSeen;
pub use self::ground::Lack;
pub use self::host::{BegunState, BegunStep, Lock, RolledBack, program_behind, rights_to_start, rights_to_stop};
pub use self::http::{Get, gets};
pub use self::mark::{Origin, origin};
pub use self::nginx::{IN_CONTAINER, NginxFacts, loaded_files, serving};
pub use self::release::ProgramSeen;
pub use self::sockets::{Listener, Socket, first_of, read_listeners, sockets};
use crate::hosts::answer::{Answer, Failure};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Host, Inventory, Reach, Role};
use crate::nouns::migration::MigrationsSeen;
use crate::nouns::names::{ChangeName, HostName, ServerAddress};
use crate::nouns::plan::Plan;
use crate::nouns::side::Direction;

/// A question that could not be answered, with the cause and, where there is one, the command to type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{why}")]
pub struct NotKnown {
    pub why: String,
    pub hint: Option<String>,
}

impl From<Failure> for NotKnown {
    fn from(failure: Failure) -> NotKnown {
        let why = failure.to_string();
        let hint = if let Failure::NotSent { hint, .. } = failure { hint } else { None };
        NotKnown { why, hint }
    }
}

/// All hosts, in the order of the config.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    pub asked_at: DateTime<Utc>,
    pub hosts: Vec<HostFacts>,
    /// How the changes stand that were asked for.
    pub changes: Vec<ChangeSeen>,
    /// Hooks that could not be run.
    pub hooks: Vec<HookSeen>,
    /// What blue could be put back to, where that was asked.
    pub earlier: Vec<EarlierSeen>,
    /// Which migrations are applied, where they are to be taken back.
    pub migrations: Option<Result<MigrationsSeen, NotKnown>>,
    /// Where each host stands among them.
    #[serde(skip)]
    places: BTreeMap<HostName, usize>,
}

/// One host: what was seen there, or why nothing was.
#[derive(Debug, Clone, Serialize)]
pub struct HostFacts {
    pub host: HostName,
    pub seen: Result<Seen, NotKnown>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    pub user: String,
    pub uid: u32,
    pub login_shell: String,
    pub system: String,
    /// What the login shell printed before our answer.
    pub noise: String,
    /// The program that held up the answer longest and how many milliseconds, where that was long.
    pub held_up_by: Option<(&'static str, u64)>,
    /// The key exchange of the connection, as ssh names it: `sntrup761x25519-sha512@openssh.com`.
    pub key_exchange: Option<String>,
    /// The host's clock minus ours, in milliseconds; half a round trip uncertain.
    pub clock_offset_ms: Result<i64, NotKnown>,
    /// Full paths of the programs we may use.
    pub tools: Vec<String>,
    /// Free space in KiB by mount point.
    pub free_kib: BTreeMap<String, u64>,
    /// What `sudo -n` does not allow, as words; empty when nothing is missing.
    pub missing_rights: Result<Vec<String>, NotKnown>,
    /// What it had better allow, as words: without it a switch goes on all the same.
    pub wanted_rights: Vec<String>,
    /// Whether `sudo -n` allows everything, a shell too.
    pub may_root_shell: bool,
    pub lock: Option<Lock>,
    /// Steps of earlier runs whose result was never fetched.
    pub begun: Vec<BegunStep>,
    /// Releases that were taken out of traffic, the latest first; only on balancers.
    pub rolled_back: Vec<RolledBack>,
    /// Whoever puts all traffic back by himself there, in his own words: that he is armed, or what he did.
    pub dead_men: Vec<String>,
    /// The addresses of this host, as [`Socket::peer_address`] writes those of peers.
    pub addresses: Vec<String>,
    /// The files that the config wants as evidence, and their sizes in bytes where they can be had.
    pub evidence: Vec<(String, Result<u64, NoLog>)>,
    /// Whether there is a journal of systemd here that this user may not read, through sudo neither.
    pub journal_is_closed: bool,
    /// Whether /proc hides the processes of others from this user (`hidepid`).
    pub hides_processes: bool,
    /// Only on balancers.
    pub nginx: Option<NginxFacts>,
    pub blue: AppFacts,
    pub green: AppFacts,
}

impl Facts {
    pub fn new(asked_at: DateTime<Utc>, hosts: Vec<HostFacts>) -> Facts {
        let places = hosts.iter().enumerate().map(|(place, facts)| (facts.host.clone(), place)).collect();
        Facts { asked_at, hosts, changes: Vec::new(), hooks: Vec::new(), earlier: Vec::new(), migrations: None, places }
    }

    pub fn host(&self, name: &HostName) -> Option<&HostFacts> {
        self.hosts.get(*self.places.get(name)?)
    }

    /// How a change stands on a host, or here.
    pub fn change(&self, name: &ChangeName, host: &HostName) -> Option<&ChangeSeen> {
        self.changes.iter().find(|seen| seen.name == *name && seen.host == *host)
    }

    /// The releases that a host keeps.
    pub fn earlier(&self, host: &HostName) -> Option<&EarlierSeen> {
        self.earlier.iter().find(|seen| seen.host == *host)
    }

    pub fn seen(&self, name: &HostName) -> Option<&Seen> {
        self.host(name)?.seen.as_ref().ok()
    }

    /// Whether no server of either colour can be on that host, reached or not: nothing sends there, wherever the config has it.
    pub fn rule_out(&self, inventory: &Inventory, host: &Host) -> bool {
        let addresses = self.seen(&host.name).map(|seen| seen.addresses.as_slice()).unwrap_or_default();
        let is_of_another = |server: &ServerAddress| {
            let address: Result<IpAddr, _> = server.host().parse();
            address.is_ok_and(|address| !address.is_loopback() && !addresses.contains(&address.to_string()))
        };
        [&inventory.blue, &inventory.green].into_iter().all(|app| match app.reach {
            Reach::OwnHost => !host.is(Role::Balancer),
            Reach::AnyBalancer => !addresses.is_empty() && app.servers.iter().all(is_of_another),
        })
    }

    /// From now on as it will be once that plan is carried out, as far as its nginx files go.
    pub fn follow(&mut self, plan: &Plan) {
        for (host, change) in plan.file_changes() {
            let Some(place) = self.places.get(host) else { continue };
            if let Some(HostFacts { seen: Ok(Seen { nginx: Some(nginx), .. }), .. }) = self.hosts.get_mut(*place) {
                nginx.follow(change);
            }
        }
    }
}

impl Seen {
    pub fn app(&self, colour: Colour) -> &AppFacts {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }

    pub fn has_tool(&self, name: &str) -> bool {
        self.tools.iter().any(|path| path.rsplit('/').next() == Some(name))
    }
}

/// When a question was sent and its answer came, by our clock.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub sent: DateTime<Utc>,
    pub answered: DateTime<Utc>,
}

/// Reads one host's answer.
pub fn read(
    inventory: &Inventory,
    direction: Direction,
    host: &Host,
    asked: Asked,
    answer: Result<Answer, Failure>,
) -> HostFacts {
    let seen = match answer {
        Ok(answer) => Ok(read_seen(inventory, direction, host, asked, &answer)),
        Err(Failure::NotSent { why, hint }) => Err(NotKnown { why, hint }),
        Err(failure @ Failure::Unknown { .. }) => {
            Err(NotKnown { why: failure.to_string(), hint: Some(format!("ssh {} true", host.ssh)) })
        }
    };
    HostFacts { host: host.name.clone(), seen }
}

/// All that sudo must allow, as words, by an answer to [`question::facts_with_rights`](super::question::facts_with_rights).
pub fn needed_rights(answer: &Answer) -> Vec<String> {
    let said = answer.text("rights.needed").unwrap_or_default();
    said.lines().map(|words| words.replace('\u{1f}', " ")).collect()
}

fn read_seen(inventory: &Inventory, direction: Direction, host: &Host, asked: Asked, answer: &Answer) -> Seen {
    let text = |name: &str| answer.text(name).unwrap_or_default();
    let who = text("who");
    let mut who = who.lines();
    let uid = who.next().and_then(|uid| uid.trim().parse().ok()).unwrap_or(u32::MAX);
    let user = who.next().unwrap_or("").to_owned();
    let gets = gets(answer);
    Seen {
        uid,
        user,
        login_shell: who.next().unwrap_or("").to_owned(),
        system: text("system").trim().to_owned(),
        noise: answer.noise.clone(),
        held_up_by: answer.silence.as_ref().and_then(|silence| {
            let milliseconds = u64::try_from(silence.lasted.as_millis()).unwrap_or(u64::MAX);
            Some((program_behind(&silence.section)?, milliseconds))
        }),
        key_exchange: answer.key_exchange.clone(),
        clock_offset_ms: host::clock_offset(&text("clock"), asked),
        tools: text("tools").lines().map(str::to_owned).collect(),
        free_kib: host::free_space(&text("space")),
        missing_rights: host::rights(&text("rights"), host),
        wanted_rights: text("rights")
            .lines()
            .filter_map(|line| line.strip_prefix("wanted ").map(str::to_owned))
            .collect(),
        may_root_shell: text("rights").lines().any(|line| line == "shell"),
        lock: answer
            .text("lock")
            .filter(|holder| !holder.trim().is_empty())
            .map(|holder| Lock { holder: holder.trim().to_owned(), age_seconds: text("lock.age").trim().parse().ok() }),
        begun: answer.all("job").filter_map(|job| host::begun(&job)).collect(),
        rolled_back: host::rolled_back(answer.all("rolled_back")),
        dead_men: answer.all("dead_man").map(|said| said.trim().replace('\n', "; ")).collect(),
        addresses: host::addresses(&text("addresses")),
        evidence: answer.all("evidence").filter_map(|said| app::evidence(&said)).collect(),
        journal_is_closed: text("journal").lines().any(|line| line == "not readable"),
        hides_processes: text("hidden").trim() == "yes",
        nginx: host.is(Role::Balancer).then(|| nginx::read(inventory, direction, host, answer, &gets)),
        blue: app::read(Colour::Blue, inventory, answer, &gets),
        green: app::read(Colour::Green, inventory, answer, &gets),
    }
}
