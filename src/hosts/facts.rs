//! What is: one `Result<T, NotKnown>` for each question on each host, read from the answer of `facts.sh`.
//! Pure: the answer is an argument. Decides nothing; the planner does.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::hosts::answer::{Answer, Failure};
use crate::nginx;
use crate::nouns::colour::Colour;
use crate::nouns::digest::sha256;
use crate::nouns::inventory::{App, Host, Inventory, Role, Run};
use crate::nouns::names::HostName;
use crate::nouns::plan::Mark;

/// A question that could not be answered, with the cause and, where there is one, the command to type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{why}")]
pub struct NotKnown {
    pub why: String,
    pub hint: Option<String>,
}

/// All hosts, in the order of the config.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    pub asked_at: DateTime<Utc>,
    pub hosts: Vec<HostFacts>,
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
    /// Whether `sudo -n` allows everything, a shell too.
    pub may_root_shell: bool,
    pub lock: Option<Lock>,
    /// Steps of earlier runs whose result was never fetched.
    pub begun: Vec<BegunStep>,
    /// The addresses of this host, as /proc writes them.
    pub addresses: Vec<String>,
    /// Only on balancers.
    pub nginx: Option<NginxFacts>,
    pub blue: AppFacts,
    pub green: AppFacts,
}

/// A step that an earlier run began on a host, and whose end it did not live to see.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct BegunStep {
    /// `rollback-20261120-211503.switch`
    pub name: String,
    pub state: BegunState,
}

#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum BegunState {
    Runs,
    /// With this status.
    Ended(i32),
    /// It left no status: it was killed, or the host lost its power.
    Killed,
}

impl fmt::Display for BegunStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            BegunState::Runs => write!(f, "{} still runs", self.name),
            BegunState::Ended(0) => write!(f, "{} was done", self.name),
            BegunState::Ended(status) => write!(f, "{} ended with {status}", self.name),
            BegunState::Killed => write!(f, "{} was killed", self.name),
        }
    }
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Lock {
    pub holder: String,
    pub age_seconds: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct NginxFacts {
    /// The file behind all links.
    pub path: Result<String, NotKnown>,
    /// `user:group mode links`, as stat says.
    pub stat: String,
    pub text: Result<String, NotKnown>,
    pub sha256: Option<String>,
    /// Whether the configuration that is on disk now passes nginx's own test.
    pub is_valid: Result<(), NotKnown>,
    /// Whether nginx reads the file at all.
    pub is_loaded: Result<bool, NotKnown>,
    pub pidfile: String,
    pub master: Option<u32>,
    pub workers: usize,
    pub error_logs: Vec<String>,
    pub access_logs: Vec<String>,
    /// Lines of other files that name a server of green.
    pub mentions: Vec<String>,
    /// The answer of the probe, and whose it is as far as it can be told.
    pub probe: Get,
    pub probe_answered_by: Option<Colour>,
    /// What tells an answer of blue from one of green.
    pub mark: Option<Mark>,
}

/// One answer over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Get {
    /// 0 when there was none.
    pub status: u16,
    /// Header lines as they came, without the status line.
    pub head: Vec<String>,
    pub body: String,
    /// Why there was none.
    pub error: String,
}

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
    pub log_bytes: Result<u64, NotKnown>,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Listener {
    pub port: u16,
    pub pid: u32,
    pub exe: String,
    /// In clock ticks after boot: tells a pid from a later one of the same number.
    pub started: String,
    pub cgroup: String,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Health {
    pub url: String,
    pub statuses: Vec<u16>,
    pub error: String,
}

impl Health {
    pub fn is_good(&self) -> bool {
        !self.statuses.is_empty() && self.statuses.iter().all(|status| (200..300).contains(status))
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
            Some(health) => match health.statuses.iter().find(|status| !(200..300).contains(*status)) {
                Some(0) | None => format!("{} gives no answer{}", health.url, after_colon(&health.error)),
                Some(status) => format!("{} answers {status}", health.url),
            },
        }
    }
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl Facts {
    pub fn host(&self, name: &HostName) -> Option<&HostFacts> {
        self.hosts.iter().find(|facts| &facts.host == name)
    }

    pub fn seen(&self, name: &HostName) -> Option<&Seen> {
        self.host(name)?.seen.as_ref().ok()
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
pub fn read(inventory: &Inventory, host: &Host, asked: Asked, answer: Result<Answer, Failure>) -> HostFacts {
    let seen = match answer {
        Ok(answer) => Ok(read_seen(inventory, host, asked, &answer)),
        Err(Failure::NotSent { why, hint }) => Err(NotKnown { why, hint }),
        Err(failure @ Failure::Unknown { .. }) => {
            Err(NotKnown { why: failure.to_string(), hint: Some(format!("ssh {} true", host.ssh)) })
        }
    };
    HostFacts { host: host.name.clone(), seen }
}

fn read_seen(inventory: &Inventory, host: &Host, asked: Asked, answer: &Answer) -> Seen {
    let text = |name: &str| answer.text(name).unwrap_or_default();
    let who = text("who");
    let mut who = who.lines();
    let gets = gets(answer);
    Seen {
        uid: who.next().and_then(|uid| uid.trim().parse().ok()).unwrap_or(u32::MAX),
        user: who.next().unwrap_or("").to_owned(),
        login_shell: who.next().unwrap_or("").to_owned(),
        system: text("system").trim().to_owned(),
        noise: answer.noise.clone(),
        key_exchange: answer.key_exchange.clone(),
        clock_offset_ms: clock_offset(&text("clock"), asked),
        tools: text("tools").lines().map(str::to_owned).collect(),
        free_kib: free_space(&text("space")),
        missing_rights: rights(&text("rights"), host),
        may_root_shell: text("rights").lines().any(|line| line == "shell"),
        lock: answer
            .text("lock")
            .filter(|holder| !holder.trim().is_empty())
            .map(|holder| Lock { holder: holder.trim().to_owned(), age_seconds: text("lock.age").trim().parse().ok() }),
        begun: answer.all("job").filter_map(|job| begun(&job)).collect(),
        addresses: text("addresses").lines().map(str::to_owned).collect(),
        nginx: host.is(Role::Balancer).then(|| read_nginx(inventory, host, answer, &gets)),
        blue: read_app(Colour::Blue, inventory, answer, &gets),
        green: read_app(Colour::Green, inventory, answer, &gets),
    }
}

/// A name, and on the next line `runs`, a status, or nothing.
fn begun(job: &str) -> Option<BegunStep> {
    let mut lines = job.lines();
    let name = lines.next()?.to_owned();
    let state = match lines.next().map(str::trim) {
        Some("runs") => BegunState::Runs,
        Some(status) => status.parse().map_or(BegunState::Killed, BegunState::Ended),
        None => BegunState::Killed,
    };
    Some(BegunStep { name, state })
}

fn clock_offset(said: &str, asked: Asked) -> Result<i64, NotKnown> {
    let seconds: f64 = match said.trim().parse() {
        Ok(seconds) => seconds,
        // busybox knows no %N and leaves it in place
        Err(_) => said
            .trim()
            .trim_end_matches(".%N")
            .parse()
            .map_err(|_| NotKnown { why: format!("date says {:?}", said.trim()), hint: None })?,
    };
    let round_trip = asked.answered - asked.sent;
    let offset = (seconds * 1000.0) as i64 - (asked.sent + round_trip / 2).timestamp_millis();
    // A host that is busy answers late; what the round trip explains is no offset.
    Ok(if offset.abs() <= round_trip.num_milliseconds() / 2 { 0 } else { offset })
}

fn free_space(df: &str) -> BTreeMap<String, u64> {
    df.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            Some((fields.get(5..)?.join(" "), fields.get(3)?.parse().ok()?))
        })
        .collect()
}

/// What `sudo -n` must allow where green may be stopped, and for nothing else.
pub fn rights_to_stop(green: &App) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match &green.run {
        Run::Systemd(unit) => vec![
            words(&["systemctl", "--no-block", "stop", unit.as_str()]),
            words(&["systemctl", "kill", "-s", "SIGKILL", unit.as_str()]),
        ],
        Run::Docker(_) | Run::Compose { .. } | Run::Process { .. } => Vec::new(),
    }
}

fn rights(said: &str, host: &Host) -> Result<Vec<String>, NotKnown> {
    let said = said.trim();
    if let Some(refused) = said.strip_prefix("refused: ") {
        return Err(NotKnown {
            why: format!("sudo -n: {}", refused.lines().next_back().unwrap_or("refused")),
            hint: Some(format!("ssh {} sudo -n -l", host.ssh)),
        });
    }
    Ok(said
        .lines()
        .filter_map(|line| line.strip_prefix("missing "))
        .map(|words| words.replace('\u{1f}', " "))
        .collect())
}

fn read_nginx(inventory: &Inventory, host: &Host, answer: &Answer, gets: &BTreeMap<String, Vec<Get>>) -> NginxFacts {
    let text = |name: &str| answer.text(name).unwrap_or_default();
    let hint = |command: &str| Some(format!("ssh {} {command}", host.ssh));
    let configured = inventory.nginx.file.as_str();
    let path = match text("nginx.link") {
        path if path.starts_with('/') && answer.status_of("nginx.stat") == Some(0) => Ok(path),
        _ => Err(NotKnown {
            why: format!("{configured} does not exist there"),
            hint: hint(&format!("ls -l {configured}")),
        }),
    };
    let file = match (&path, answer.bytes("nginx.text"), answer.status_of("nginx.text")) {
        (Err(err), _, _) => Err(err.clone()),
        (Ok(_), Some(bytes), Some(0)) => String::from_utf8(bytes.to_vec()).map_err(|_| NotKnown {
            why: format!("{configured} is not UTF-8 text"),
            hint: hint(&format!("file {configured}")),
        }),
        (Ok(path), said, _) => Err(NotKnown {
            why: format!("{path} cannot be read: {}", String::from_utf8_lossy(said.unwrap_or_default()).trim()),
            hint: hint(&format!("ls -l {path}")),
        }),
    };
    let dump = text("nginx.dump");
    let dumped = answer.status_of("nginx.dump");
    let test = inventory.nginx.test.join(" ");
    let is_valid = match dumped {
        Some(0) => Ok(()),
        _ => Err(NotKnown {
            why: format!("{test} fails there already: {}", complaint(&dump)),
            hint: hint(&if inventory.nginx.sudo { format!("sudo -n {test}") } else { test.clone() }),
        }),
    };
    let files: Vec<&str> = dump
        .lines()
        .filter_map(|line| line.strip_prefix("# configuration file "))
        .map(|line| line.trim_end_matches(':'))
        .collect();
    // nginx names the file as its include does, which may be the link; the other name is the config's own.
    let is_loaded = match (&is_valid, &path, files.is_empty()) {
        (Err(err), _, _) => Err(err.clone()),
        (_, Err(err), _) => Err(err.clone()),
        (_, _, true) => {
            Err(NotKnown { why: format!("{test} cannot be turned into a dump of what is loaded"), hint: None })
        }
        (Ok(()), Ok(path), false) => {
            let name = path.rsplit('/').next().unwrap_or(path);
            Ok(files.iter().any(|file| *file == path || *file == configured || file.rsplit('/').next() == Some(name)))
        }
    };
    let logs = |directive: &str| -> Vec<String> {
        let mut logs: Vec<String> = dump
            .lines()
            .filter_map(|line| line.trim().strip_prefix(directive)?.split_whitespace().next())
            .map(|path| path.trim_end_matches(';').trim_matches('"').to_owned())
            .filter(|path| path.starts_with('/') && !path.contains('$') && !path.starts_with("/dev/"))
            .collect();
        logs.sort();
        logs.dedup();
        logs
    };
    let probe = gets.get("probe").and_then(|gets| gets.first()).cloned().unwrap_or_default();
    let direct = |colour: Colour| gets.get(&format!("{colour}.direct")).map(Vec::as_slice).unwrap_or_default();
    let mark = mark(direct(Colour::Blue), direct(Colour::Green), &probe);
    let error_logs = match logs("error_log ") {
        // nginx's own default, which a dump does not show
        none if none.is_empty() => vec!["/var/log/nginx/error.log".to_owned()],
        some => some,
    };
    let own: Vec<&str> = path.iter().map(String::as_str).chain([configured]).collect();
    NginxFacts {
        sha256: file.as_ref().ok().map(|text| sha256(text.as_bytes())),
        stat: text("nginx.stat").trim().to_owned(),
        text: file,
        is_valid,
        is_loaded,
        pidfile: text("nginx.pidfile").trim().to_owned(),
        master: text("nginx.master").trim().parse().ok(),
        workers: text("nginx.workers").lines().filter(|line| line.ends_with(" open")).count(),
        error_logs,
        access_logs: logs("access_log "),
        mentions: dump
            .lines()
            .filter_map(|line| line.strip_prefix("mention "))
            .filter(|line| {
                let file = line.split_whitespace().next().unwrap_or("");
                !own.iter().any(|own| *own == file || own.rsplit('/').next() == file.rsplit('/').next())
            })
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect(),
        probe_answered_by: answered_by(&probe, mark.as_ref())
            .or_else(|| only_one_answers(&probe, direct(Colour::Blue), direct(Colour::Green))),
        probe,
        mark,
        path,
    }
}

/// The line of nginx's or sudo's complaint that says most.
fn complaint(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let emerg = lines.iter().find(|line| line.contains("[emerg]"));
    let other = lines.iter().find(|line| !line.starts_with("# configuration file"));
    (*emerg.or(other).unwrap_or(&"it says nothing")).to_owned()
}

/// What systemctl says of a colour's unit: of both in turn, blue first, with an empty line between; one complaint where
/// it can tell nothing at all.
fn unit_of(inventory: &Inventory, colour: Colour, answer: &Answer) -> Option<String> {
    let said = answer.text("units")?;
    let is_second = colour == Colour::Green && matches!(inventory.blue.run, Run::Systemd(_));
    Some(said.split("\n\n").nth(usize::from(is_second)).unwrap_or(&said).to_owned())
}

fn read_app(colour: Colour, inventory: &Inventory, answer: &Answer, gets: &BTreeMap<String, Vec<Get>>) -> AppFacts {
    let app = inventory.app(colour);
    let ports = app.ports();
    let listeners: Vec<Listener> = read_listeners(&answer.text("listeners").unwrap_or_default())
        .into_iter()
        .filter(|l| ports.contains(&l.port))
        .collect();
    let port_is_open = sockets(&answer.text("sockets").unwrap_or_default())
        .iter()
        .any(|socket| socket.is_listening() && ports.contains(&socket.port));
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
                false if group.is_empty() => Ok(false),
                false => Ok(listeners.iter().all(|l| {
                    l.cgroup.split('|').any(|line| line.ends_with(&group) || line.contains(&format!("{group}/")))
                })),
            };
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
            let published = ports.iter().all(|port| said.contains(&format!("\"HostPort\":\"{port}\"")));
            let inside = !listeners.is_empty()
                && listeners.iter().all(|l| Some(l.pid) == pid || (!id.is_empty() && l.cgroup.contains(&id)));
            let ours = if published || inside { Ok(true) } else { nobody_seen() };
            (is_running, if running == "true" { "running".into() } else { "not running".into() }, ours)
        }
        Run::Process { exe, .. } => {
            let is_ours = |l: &Listener| l.exe == exe.as_str() || l.exe == format!("{exe} (deleted)");
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
    };
    let urls: Vec<String> = health_urls(app).collect();
    let health = urls
        .iter()
        .enumerate()
        .filter_map(|(n, url)| {
            let answers = gets.get(&format!("{colour}.health.{n}"))?;
            Some(Health {
                url: url.clone(),
                statuses: answers.iter().map(|get| get.status).collect(),
                error: answers.iter().map(|get| get.error.clone()).find(|error| !error.is_empty()).unwrap_or_default(),
            })
        })
        .collect();
    let log = answer.text(&format!("{colour}.log")).unwrap_or_default();
    let log_bytes = match log.strip_prefix("readable ").and_then(|bytes| bytes.trim().parse().ok()) {
        Some(bytes) => Ok(bytes),
        None if log.is_empty() => Err(NotKnown { why: "the config names no log".into(), hint: None }),
        None => Err(NotKnown { why: "its log cannot be read".into(), hint: None }),
    };
    AppFacts { is_running, state, listeners, port_is_open, listener_is_ours, health, log_bytes }
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

/// One line of `connections` in lib.sh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    state: String,
    /// Whether the port is this end's.
    pub is_here: bool,
    pub port: u16,
    /// The peer as /proc writes it: hexadecimal, in the machine's byte order.
    pub peer: String,
}

impl Socket {
    pub fn is_listening(&self) -> bool {
        self.state == "0A"
    }

    pub fn is_established(&self) -> bool {
        self.state == "01"
    }

    /// The peer as people write it.
    pub fn peer_address(&self) -> String {
        let words = |hex: &str| -> Option<Vec<u8>> {
            let bytes: Option<Vec<u8>> =
                (0..hex.len() / 2).map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect();
            // each 32-bit word stands in the machine's byte order; every host we know of is little-endian
            Some(bytes?.chunks(4).flat_map(|word| word.iter().rev().copied().collect::<Vec<_>>()).collect())
        };
        match words(&self.peer) {
            Some(b) if b.len() == 4 => std::net::Ipv4Addr::new(b[0], b[1], b[2], b[3]).to_string(),
            Some(b) if b.len() == 16 => {
                let mut octets = [0_u8; 16];
                octets.copy_from_slice(&b);
                let address = std::net::Ipv6Addr::from(octets);
                address.to_ipv4_mapped().map_or(address.to_string(), |v4| v4.to_string())
            }
            _ => self.peer.clone(),
        }
    }
}

/// Reads what `connections` prints.
pub fn sockets(said: &str) -> Vec<Socket> {
    said.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(Socket {
                state: words.next()?.to_owned(),
                is_here: words.next()? == "here",
                port: u16::from_str_radix(words.next()?, 16).ok()?,
                peer: words.next()?.to_owned(),
            })
        })
        .collect()
}

/// Reads what `listeners` prints: `HEXPORT PID EXE STARTED CGROUP`.
pub fn read_listeners(said: &str) -> Vec<Listener> {
    said.lines()
        .filter_map(|line| {
            let mut words = line.splitn(5, ' ');
            let port = u16::from_str_radix(words.next()?, 16).ok()?;
            let pid = words.next()?.parse().ok()?;
            // a deleted program's link reads "PATH (deleted)", which puts a word more on the line
            let rest: Vec<&str> = line.splitn(3, ' ').nth(2)?.splitn(2, " (deleted) ").collect();
            let (exe, tail) = match rest.as_slice() {
                [exe, tail] => (format!("{exe} (deleted)"), (*tail).to_owned()),
                _ => (words.next()?.to_owned(), words.collect::<Vec<_>>().join(" ")),
            };
            let mut tail = tail.splitn(2, ' ');
            Some(Listener {
                port,
                pid,
                exe,
                started: tail.next()?.to_owned(),
                cgroup: tail.next().unwrap_or("").to_owned(),
            })
        })
        .collect()
}

/// All answers over HTTP by name; a name asked several times has several.
pub fn gets(answer: &Answer) -> BTreeMap<String, Vec<Get>> {
    let mut found: BTreeMap<String, Vec<Get>> = BTreeMap::new();
    let mut last: Option<(&str, Get)> = None;
    for (name, bytes) in &answer.sections {
        match (name.strip_suffix(".code"), last.take()) {
            (Some(of), Some((asked, mut get))) if of == asked => {
                let said = String::from_utf8_lossy(bytes);
                let (code, error) = said.split_once(' ').unwrap_or((&said, ""));
                if let Ok(status) = code.trim().parse() {
                    get.status = status;
                }
                get.error = error.trim().to_owned();
                found.entry(asked.to_owned()).or_default().push(get);
            }
            _ => last = Some((name, parse_get(bytes))),
        }
    }
    found
}

fn parse_get(bytes: &[u8]) -> Get {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let text = text.trim_start_matches('\n');
    if !text.starts_with("HTTP/") {
        return Get { error: text.trim().to_owned(), ..Get::default() };
    }
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
    Get { status, head: lines.map(str::to_owned).collect(), body: body.to_owned(), error: String::new() }
}

/// Header names whose values differ from answer to answer or from server to server for reasons of their own.
const VOLATILE: &[&str] = &[
    "date",
    "age",
    "expires",
    "etag",
    "last-modified",
    "set-cookie",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "x-request-id",
    "x-runtime",
    "x-response-time",
    "x-trace-id",
    "traceparent",
    "cf-ray",
    "server-timing",
];

/// What tells the colours' answers apart: a header of the same name with another value in each, or the body. It must
/// not change between answers of one colour, and nginx must pass it on: the probe's answer has one or the other.
fn mark(blue: &[Get], green: &[Get], probe: &Get) -> Option<Mark> {
    let first = |gets: &[Get]| gets.first().filter(|get| get.status != 0).cloned();
    let (b, g) = (first(blue)?, first(green)?);
    let header = b.head.iter().find(|line| {
        let Some((name, value)) = line.split_once(':') else { return false };
        let same_name = |other: &&String| other.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        let Some(greens) = g.head.iter().find(same_name) else { return false };
        let differs = greens.split_once(':').is_some_and(|(_, v)| v.trim() != value.trim());
        let is_steady = blue.iter().all(|get| get.head.contains(line));
        let is_passed_on = probe.head.iter().any(|l| l.eq_ignore_ascii_case(line) || l.eq_ignore_ascii_case(greens));
        !VOLATILE.contains(&name.to_ascii_lowercase().as_str()) && differs && is_steady && is_passed_on
    });
    if let Some(line) = header {
        return Some(Mark::Header(line.clone()));
    }
    let body = b.body.trim_end_matches('\n');
    let is_steady = blue.len() > 1 && blue.iter().all(|get| get.body == b.body);
    let is_passed_on = probe.body == b.body || probe.body == g.body;
    // A page is compared whole by a shell on the host; beyond a few KiB it is not a mark but a page.
    let is_usable = !body.is_empty() && body.len() <= 4096 && !body.contains(['\0', '\r']) && b.status < 300;
    (is_usable && is_steady && is_passed_on && b.body != g.body).then(|| Mark::Body(body.to_owned()))
}

/// Whose answer it is, where that can be told.
fn answered_by(probe: &Get, mark: Option<&Mark>) -> Option<Colour> {
    let is_blue = match mark? {
        Mark::Header(line) => probe.head.iter().any(|l| l.eq_ignore_ascii_case(line)),
        Mark::Body(body) => probe.body.trim_end_matches('\n') == body,
    };
    // A mark is only one if the probe's answer has blue's or green's.
    Some(if is_blue { Colour::Blue } else { Colour::Green })
}

/// An answer of nobody in particular is blue's where green does not answer at all, and the other way round. One that
/// took too long, or of which an old curl does not say why, may answer all the same.
fn only_one_answers(probe: &Get, blue: &[Get], green: &[Get]) -> Option<Colour> {
    let is_silent = |get: &Get| get.status == 0 && !get.error.is_empty() && !get.error.contains("timed out");
    let answers = |gets: &[Get]| gets.iter().any(|get| !is_silent(get));
    let is_good = (200..500).contains(&probe.status);
    match (answers(blue), answers(green)) {
        (true, false) if is_good => Some(Colour::Blue),
        (false, true) if is_good => Some(Colour::Green),
        (true, true | false) | (false, true | false) => None,
    }
}

/// Whether the file's upstream sends to blue, green, both or neither; `None` where the file is not understood.
pub fn serving(inventory: &Inventory, nginx: &NginxFacts) -> Option<nginx::Serving> {
    let text = nginx.text.as_ref().ok()?;
    let upstream = nginx::find_upstream(text, &inventory.nginx.upstream).ok()?;
    Some(nginx::serving(&upstream, &addresses(&inventory.blue), &addresses(&inventory.green)))
}

/// The servers of a colour as the nginx module takes them.
pub fn addresses(app: &App) -> Vec<String> {
    app.servers.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(head: &[&str], body: &str) -> Get {
        Get {
            status: 200,
            head: head.iter().map(|s| (*s).to_owned()).collect(),
            body: body.into(),
            error: String::new(),
        }
    }

    #[test]
    fn a_header_that_differs_between_the_colours_is_the_mark() {
        let blue = [get(&["Date: 1", "X-Instance: blue"], "x"), get(&["Date: 2", "X-Instance: blue"], "x")];
        let green = [get(&["Date: 3", "X-Instance: green"], "x")];
        let probe = get(&["Server: nginx", "x-instance: green"], "x");
        let found = mark(&blue, &green, &probe);
        assert_eq!(found, Some(Mark::Header("X-Instance: blue".into())));
        assert_eq!(answered_by(&probe, found.as_ref()), Some(Colour::Green));
    }

    #[test]
    fn a_header_that_changes_or_that_nginx_drops_is_no_mark() {
        let counting = [get(&["X-Count: 1"], "same"), get(&["X-Count: 2"], "same")];
        assert_eq!(mark(&counting, &[get(&["X-Count: 9"], "same")], &get(&["X-Count: 9"], "same")), None);
        let servers = [get(&["Server: a"], "same"), get(&["Server: a"], "same")];
        assert_eq!(mark(&servers, &[get(&["Server: b"], "same")], &get(&["Server: nginx"], "same")), None);
    }

    #[test]
    fn bodies_are_the_mark_where_heads_are_alike() {
        let blue = [get(&[], "blue\n"), get(&[], "blue\n")];
        let found = mark(&blue, &[get(&[], "green\n")], &get(&[], "blue\n"));
        assert_eq!(found, Some(Mark::Body("blue".into())));
        assert_eq!(answered_by(&get(&[], "blue\n"), found.as_ref()), Some(Colour::Blue));
    }

    #[test]
    fn a_peer_is_written_as_people_write_it() {
        let said =
            "01 here 1F91 0100007F 1000 4242\n01 here 1F91 0000000000000000FFFF0000 0 1\n0A here 1F91 00000000 0 2\n";
        let sockets = sockets(said);
        assert_eq!(sockets[0].peer_address(), "127.0.0.1");
        assert!(sockets[0].is_established() && sockets[2].is_listening());
        let v6 = Socket { state: "01".into(), is_here: true, port: 1, peer: "0000000000000000FFFF00000100007F".into() };
        assert_eq!(v6.peer_address(), "127.0.0.1");
    }

    #[test]
    fn a_deleted_program_is_still_named() {
        let seen = read_listeners("1F91 77 /opt/x (deleted) 123 0::/a|\n1F90 78 /opt/y 124 0::/b b|\n");
        assert_eq!((seen[0].exe.as_str(), seen[0].started.as_str()), ("/opt/x (deleted)", "123"));
        assert_eq!((seen[1].exe.as_str(), seen[1].cgroup.as_str()), ("/opt/y", "0::/b b|"));
    }
}
