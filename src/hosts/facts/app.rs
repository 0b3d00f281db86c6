//! One colour on one host: whether it runs, who listens on its ports, what it answers. Never says what follows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ground;
use super::release::{self, ProgramSeen};
use super::sockets::is_reached;
use super::{Get, Lack, Listener, NotKnown, read_listeners, sockets};
use crate::hosts::answer::Answer;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{App, Inventory, Run};
use crate::nouns::release::Release;

#[derive(Debug, Clone, Serialize)]
pub struct AppFacts {
    /// What its supervisor says; for a plain process, whether its program listens on its port.
    pub is_running: Result<bool, NotKnown>,
    /// The supervisor's own words.
    pub state: String,
    pub listeners: Vec<Listener>,
    /// Whether anything listens on its ports here.
    pub port_is_open: bool,
    /// Whether what listens is what the config names.
    pub listener_is_ours: Result<bool, NotKnown>,
    /// Every answer to every health URL, in order.
    pub health: Vec<Health>,
    /// Size in bytes of its log, where we may read it.
    pub log_bytes: Result<u64, NoLog>,
    /// What it runs, as far as that can be told.
    pub release: Option<Release>,
    pub program: Option<ProgramSeen>,
    pub supervision: Supervision,
}

/// Why there is no size of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NoLog {
    #[error("was not asked for")]
    NotAsked,
    #[error("is not there")]
    Missing,
    #[error("is {0} and no file")]
    Is(&'static str),
    /// Not for us, but for a group where it has one.
    #[error("may not be read by us")]
    Closed { group: Option<String> },
}

/// What is known of whatever keeps a colour running.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub struct Supervision {
    /// The supervisor has nothing of the name that the config gives.
    pub is_missing: bool,
    /// What its start would need and does not find; only asked of the colour that traffic goes to, where it is down.
    pub lacks: Vec<Lack>,
    /// The control group of its unit, or the number of its container: who is in there ends with it.
    pub group: String,
    /// Ports of the host that its container publishes.
    pub published: Vec<u16>,
    /// Where the program that the config names is, behind all links.
    pub program: String,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Health {
    pub url: String,
    /// The first answer that was not good; 0 where there was none.
    pub bad: Option<u16>,
    pub error: String,
}

impl Health {
    pub fn is_good(&self) -> bool {
        self.bad.is_none()
    }

    /// What is not good about it.
    pub fn complaint(&self) -> String {
        match self.bad {
            Some(0) | None => format!("{} gives no answer{}", self.url, after_colon(&self.error)),
            Some(status) => format!("{} answers {status}", self.url),
        }
    }
}

impl AppFacts {
    pub fn is_healthy(&self) -> bool {
        !self.health.is_empty() && self.health.iter().all(Health::is_good)
    }

    /// The first health answer that is not good, in words.
    pub fn complaint(&self) -> String {
        match self.health.iter().find(|health| !health.is_good()) {
            None => "it has no health URL to ask".to_owned(),
            Some(health) => health.complaint(),
        }
    }
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// What systemctl says of a colour's unit: of both in turn, blue first, with an empty line between; one complaint where
/// it can tell nothing at all.
fn unit_of(inventory: &Inventory, colour: Colour, answer: &Answer) -> Option<String> {
    let said = answer.text("units")?;
    let is_second = colour == Colour::Green && matches!(inventory.blue.run, Run::Systemd(_));
    Some(said.split("\n\n").nth(usize::from(is_second)).unwrap_or(&said).to_owned())
}

pub(super) fn read(
    colour: Colour,
    inventory: &Inventory,
    answer: &Answer,
    gets: &BTreeMap<String, Vec<Get>>,
) -> AppFacts {
    let app = inventory.app(colour);
    let ports = app.ports();
    let mains = answer.text("mains").unwrap_or_default();
    let leads = |pid: u32| mains.lines().any(|line| line.strip_prefix("MainPID=") == Some(pid.to_string().as_str()));
    // In a network of containers it has an address of its own, and whoever listens here is none of it.
    let is_apart = inventory.nginx.container.is_some()
        && matches!(app.run, Run::Docker(_) | Run::Compose { .. })
        && app.servers.iter().all(|server| server.name().is_some_and(|name| !name.contains('.')));
    // Any account may listen on 127.0.0.9 with the same port; that is none of the colour's.
    let is_its_own = |port: u16, address: &str| !is_apart && ports.contains(&port) && is_reached(app, port, address);
    let listeners: Vec<Listener> = read_listeners(&answer.text("listeners").unwrap_or_default())
        .into_iter()
        .filter(|l| is_its_own(l.port, &l.address))
        .map(|l| Listener { leads_its_unit: leads(l.pid), ..l })
        .collect();
    let port_is_open = sockets(&answer.text("sockets").unwrap_or_default())
        .iter()
        .any(|socket| socket.is_listening() && is_its_own(socket.port, &socket.address));
    let unit = unit_of(inventory, colour, answer);
    let container = answer.text(&format!("{colour}.container"));
    let not_known = |why: String| Err::<bool, _>(NotKnown { why, hint: None });
    let property = |name: &str| -> String {
        let prefix = format!("{name}=");
        unit.iter().flat_map(|unit| unit.lines()).find_map(|line| line.strip_prefix(&prefix)).unwrap_or("").to_owned()
    };
    let nobody_seen = || {
        not_known(if port_is_open {
            "the process behind its port belongs to another user, and sudo does not show it".to_owned()
        } else {
            "nothing listens on its port".to_owned()
        })
    };
    let mut supervision = Supervision {
        lacks: ground::read(&answer.text(&format!("{colour}.lacks")).unwrap_or_default()),
        ..Supervision::default()
    };
    let (is_running, state, listener_is_ours) = match &app.run {
        Run::Systemd(name) => {
            let group = property("ControlGroup");
            let state = format!("{} ({})", property("ActiveState"), property("SubState"));
            let is_running = match property("LoadState").as_str() {
                "loaded" => Ok(property("ActiveState") == "active"),
                "" => not_known(format!("systemctl says: {}", unit.as_deref().unwrap_or("nothing").trim())),
                other => not_known(format!("unit {name} is {other}")),
            };
            let ours = match listeners.is_empty() {
                true => nobody_seen(),
                // Where a connection starts the unit, systemd keeps the socket, and is no stranger for that.
                false => Ok(listeners.iter().all(|l| l.is_in(&group) || l.pid == 1)
                    && listeners.iter().any(|l| l.is_in(&group))),
            };
            supervision.group = group;
            supervision.is_missing = property("LoadState") == "not-found";
            (is_running, state, ours)
        }
        Run::Docker(_) | Run::Compose { .. } => {
            let said = container.unwrap_or_default();
            let mut words = said.split_whitespace();
            let running = words.next().unwrap_or("").to_owned();
            let pid: Option<u32> = words.next().and_then(|pid| pid.parse().ok());
            let id = words.nth(1).unwrap_or("").to_owned();
            let is_running = match running.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => not_known(format!("docker says: {}", said.trim())),
            };
            supervision.published = published_ports(&said);
            let published = ports.iter().all(|port| supervision.published.contains(port));
            let inside =
                !listeners.is_empty() && listeners.iter().all(|l| Some(l.pid) == pid || l.is_in_container(&id));
            let ours = if published || inside || is_apart { Ok(true) } else { nobody_seen() };
            supervision.group = id;
            supervision.is_missing = said.contains("No such container") || said.contains("No such object");
            (is_running, if running == "true" { "running".into() } else { "not running".into() }, ours)
        }
        Run::Process { exe, .. } => {
            let program = answer.text(&format!("{colour}.exe")).unwrap_or_default().trim().to_owned();
            supervision.program = if program.is_empty() { exe.to_string() } else { program };
            let is_ours = |l: &Listener| l.program() == exe.as_str() || l.program() == supervision.program;
            let ours = if listeners.is_empty() { nobody_seen() } else { Ok(listeners.iter().all(is_ours)) };
            let is_running = match (&ours, port_is_open) {
                (Ok(true), _) => Ok(true),
                (_, false) => Ok(false),
                (Ok(false), true) => Ok(false),
                (Err(err), true) => Err(err.clone()),
            };
            let state = listeners.first().map_or("not running".to_owned(), |l| format!("pid {}", l.pid));
            (is_running, state, ours)
        }
        Run::Command(commands) => {
            let name = format!("{colour}.status");
            let words = commands.status.join(" ");
            let is_running = match answer.text(&name).and_then(|status| status.trim().parse().ok()) {
                Some(0) => Ok(true),
                // What scripts of init say where they cannot tell, and a shell of a command that is not there, may not be
                // run, or took too long.
                Some(124) => not_known(format!("`{words}` does not end")),
                Some(status @ (4 | 126 | 127)) => not_known(format!("`{words}` cannot say, it ends with {status}")),
                None => not_known(format!("`{words}` was not asked")),
                Some(_) => Ok(false),
            };
            // Whoever listens is taken for it where its supervisor says that it runs.
            let ours = if listeners.is_empty() { nobody_seen() } else { is_running.clone() };
            let state = match &is_running {
                Ok(true) => "running".to_owned(),
                Ok(false) => "not running".to_owned(),
                Err(_) => "not known".to_owned(),
            };
            (is_running, state, ours)
        }
    };
    // Whoever has no app there was not asked.
    let was_asked = gets.keys().any(|name| name.starts_with(&format!("{colour}.health.")));
    let health = if was_asked { read_health(app, gets) } else { Vec::new() };
    let log_bytes = log_size(&answer.text(&format!("{colour}.log")).unwrap_or_default());
    let (release, program) = release::read(app, answer, gets);
    AppFacts {
        is_running,
        state,
        listeners,
        port_is_open,
        listener_is_ours,
        health,
        log_bytes,
        release,
        program,
        supervision,
    }
}

/// A path, and on the next line what `log_facts` says of it.
pub(super) fn evidence(said: &str) -> Option<(String, Result<u64, NoLog>)> {
    let (path, what) = said.split_once('\n')?;
    Some((path.to_owned(), log_size(what)))
}

fn log_size(said: &str) -> Result<u64, NoLog> {
    let said = said.trim();
    if let Some(bytes) = said.strip_prefix("readable ").and_then(|bytes| bytes.parse().ok()) {
        return Ok(bytes);
    }
    Err(match (said.strip_prefix("no file: "), said.strip_prefix("not readable")) {
        (Some("fifo"), _) => NoLog::Is("a FIFO"),
        (Some("directory"), _) => NoLog::Is("a folder"),
        (Some("socket"), _) => NoLog::Is("a socket"),
        (Some(_), _) => NoLog::Is("a device"),
        // `-rw-r----- adm`; root's group is no group to be put into.
        (None, Some(whose)) => NoLog::Closed {
            group: whose
                .trim()
                .split_once(' ')
                .filter(|(mode, group)| mode.as_bytes().get(4) == Some(&b'r') && !matches!(*group, "root" | "UNKNOWN"))
                .map(|(_, group)| group.to_owned()),
        },
        (None, None) if said.is_empty() => NoLog::NotAsked,
        (None, None) => NoLog::Missing,
    })
}

/// The ports of the host in what docker says of a container's, as JSON on its first line.
fn published_ports(said: &str) -> Vec<u16> {
    let said = said.trim_start().lines().next().unwrap_or_default();
    said.split("\"HostPort\":\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

/// What a colour answered to each of its health URLs.
pub fn read_health(app: &App, gets: &BTreeMap<String, Vec<Get>>) -> Vec<Health> {
    let read = |(n, url)| {
        let answers = gets.get(&format!("{}.health.{n}", app.colour)).map_or(&[][..], Vec::as_slice);
        let bad = answers.iter().map(|get| get.status).find(|status| !app.health_with.accepts(*status));
        let error = answers.iter().map(|get| get.error.clone()).find(|error| !error.is_empty()).unwrap_or_default();
        Health { url, bad: if answers.is_empty() { Some(0) } else { bad }, error }
    };
    health_urls(app).enumerate().map(read).collect()
}

/// What a colour is asked for its health: the config's URLs, or its own local servers at `/`.
pub fn health_urls(app: &App) -> impl Iterator<Item = String> {
    let configured = app.health.iter().map(|url| url.to_string());
    let own = app
        .servers
        .iter()
        .filter(|server| app.health.is_empty() && (server.is_local() || app.servers.len() == 1))
        .map(|server| direct_url(server.as_str(), "/"));
    configured.chain(own)
}

/// The URL at which a server of the upstream is asked without nginx.
pub fn direct_url(server: &str, path: &str) -> String {
    match server.strip_prefix("unix:") {
        Some(socket) => format!("unix:{}:{path}", socket.trim_end_matches(':')),
        None => format!("http://{server}{path}"),
    }
}

/// Whether there is anything to stop. A unit that waits for its restart is not running, and will be.
pub fn must_be_stopped(run: &Run, app: &AppFacts) -> bool {
    match run {
        Run::Systemd(_) => {
            app.port_is_open
                || !(app.state.starts_with("inactive") || app.state.starts_with("failed") || app.is_running.is_err())
        }
        Run::Docker(_) | Run::Compose { .. } => app.port_is_open || app.is_running == Ok(true),
        // What cannot be said may run, and is on no port of this host perhaps.
        Run::Command(_) => app.port_is_open || app.is_running != Ok(false),
        Run::Process { .. } => app.port_is_open,
    }
}
