//! Questions and changes as programs: which script, which arguments, how long it may take. The only file that knows
//! the scripts' names and arguments. Never runs anything.

pub mod database;

use std::sync::Arc;
use std::time::Duration;

use crate::colour::Colour;
use crate::facts::{Mark, addresses, direct_url, health_urls, rights_to_stop};
use crate::inventory::{App, Host, Inventory, Role, Run};
use crate::names::{HttpUrl, IncidentId, RemotePath, UnitName};
use crate::plan::{FileChange, Proof, Target};
use crate::remote::{Change, Program, Question};

const LIB: &str = include_str!("../scripts/remote/lib.sh");
const CANDIDATE: &str = include_str!("../scripts/remote/candidate.sh");

/// The separator between words of a list that is one argument; no word can hold it.
const UNIT: &str = "\u{1f}";

/// How many answers in a row a balancer's probe must give before it counts as switched.
const PROBE_PASSES: u32 = 3;

/// A switch that is not proven within this many seconds is put back. nginx itself needs about 0.1 s; a file system
/// that is busy, or DNS in the configuration, may take seconds.
const SWITCH_LIMIT_SECONDS: u64 = 10;

/// What a question that reads files and asks local ports may take: an earlier run's step may be waited for.
const FACTS_LIMIT: Duration = Duration::from_secs(60);

/// Seconds that an HTTP answer may take, from a server on the same machine or beside it.
const PATIENCE: u64 = 3;

/// The same of green, and of nginx that sends to it: it is bad, or we would not be here, and must not hold up the rest.
const SHORT_PATIENCE: u64 = 1;

/// Green's port is watched this long after its stop, for a supervisor that starts it again.
const PORT_WATCH_SECONDS: u64 = 1;

macro_rules! script {
    ($name:literal) => {
        script!($name, LIB)
    };
    ($name:literal, $($shared:expr),+) => {
        ($name, &[$($shared,)+ include_str!(concat!("../scripts/remote/", $name, ".sh"))])
    };
}

/// Every script of the program, as it is sent: name and parts. For the tests that hold them to POSIX.
pub const SCRIPTS: &[(&str, &[&str])] = &[
    FACTS,
    TEST,
    PREPARE,
    SWITCH,
    JOB,
    SAMPLE,
    HEALTH,
    START,
    STOP,
    PICTURE,
    ARCHIVE,
    JOURNAL,
    ACCESS,
    database::DATABASE,
    database::AWAKE,
    database::BACKUPS,
    database::SCAN,
    database::LOAD,
    database::PROGRESS,
    database::COMPARE,
    database::SWAP,
    database::DROP,
];
const FACTS: (&str, &[&str]) = script!("facts");
const TEST: (&str, &[&str]) = script!("test", LIB, CANDIDATE);
const PREPARE: (&str, &[&str]) = script!("prepare", LIB, CANDIDATE);
const SWITCH: (&str, &[&str]) = script!("switch");
const JOB: (&str, &[&str]) = script!("job");
const SAMPLE: (&str, &[&str]) = script!("sample");
const HEALTH: (&str, &[&str]) = script!("health");
const START: (&str, &[&str]) = script!("start");
const STOP: (&str, &[&str]) = script!("stop");
const PICTURE: (&str, &[&str]) = script!("picture");
const ARCHIVE: (&str, &[&str]) = script!("archive");
const JOURNAL: (&str, &[&str]) = script!("journal");
const ACCESS: (&str, &[&str]) = script!("access");

/// Everything about a host in one question.
pub fn facts(inventory: &Inventory, host: &Host) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", &inventory.service);
    if host.is(Role::Balancer) {
        arguments.set("nginx_file", &inventory.nginx.file);
        arguments.set("dump", dump_words(&inventory.nginx.test).join(UNIT));
        for server in addresses(&inventory.green) {
            arguments.set("mark", server);
        }
        if inventory.nginx.sudo {
            for words in [&inventory.nginx.test, &dump_words(&inventory.nginx.test), &inventory.nginx.reload] {
                arguments.set("right", words.join(UNIT));
            }
        }
    }
    if host.is(Role::App) {
        if inventory.nginx.sudo {
            for words in app_rights(inventory) {
                arguments.set("right", words.join(UNIT));
            }
        }
        for (colour, app) in [(Colour::Blue, &inventory.blue), (Colour::Green, &inventory.green)] {
            arguments.set("colour", colour_words(colour, app).join(UNIT));
        }
        arguments.set("ports", hex_ports(inventory.blue.ports().into_iter().chain(inventory.green.ports())));
        for _ in 0..inventory.verify.passes {
            for (n, url) in health_urls(&inventory.blue).enumerate() {
                arguments.get(&format!("blue.health.{n}"), PATIENCE, None, &url);
            }
        }
        for (n, url) in health_urls(&inventory.green).enumerate() {
            arguments.get(&format!("green.health.{n}"), SHORT_PATIENCE, None, &url);
        }
    }
    if host.is(Role::Balancer) {
        let path = path_of(inventory.nginx.probe.as_str());
        let probe_host = inventory.nginx.probe_host.as_deref();
        for (colour, app) in [(Colour::Blue, &inventory.blue), (Colour::Green, &inventory.green)] {
            // Two answers of a lone server show what changes between answers; four servers are plenty to compare.
            let times = if colour == Colour::Blue && app.servers.len() == 1 { 2 } else { 1 };
            let seconds = if colour == Colour::Blue { PATIENCE } else { SHORT_PATIENCE };
            for server in app.servers.iter().take(4) {
                for _ in 0..times {
                    arguments.get(&format!("{colour}.direct"), seconds, probe_host, &direct_url(server.as_str(), path));
                }
            }
        }
        arguments.get("probe", SHORT_PATIENCE, probe_host, inventory.nginx.probe.as_str());
    }
    Question(program(FACTS, arguments, FACTS_LIMIT))
}

/// Tests a candidate and leaves nothing.
pub fn test_candidate(inventory: &Inventory, change: &FileChange) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.candidate(inventory, change);
    Question(program(TEST, arguments, Duration::from_secs(30)))
}

/// A run as the hosts know it: its steps bear its name, its lock the holder's line.
#[derive(Debug, Clone)]
pub struct Tenure {
    pub run: IncidentId,
    /// Who holds the lock and why, on one line.
    pub holder: String,
    /// Whether the lock is also taken from a live run.
    pub takes_over: bool,
}

/// Takes the lock, and tests the candidate where there is one.
pub fn prepare(inventory: &Inventory, tenure: &Tenure, change: Option<&FileChange>) -> Change {
    let mut arguments = Arguments::new(inventory);
    arguments.tenure(inventory, tenure);
    arguments.set("take_over", if tenure.takes_over { "yes" } else { "no" });
    if let Some(change) = change.filter(|change| change.is_needed()) {
        arguments.candidate(inventory, change);
    }
    Change(program(PREPARE, arguments, Duration::from_secs(30)))
}

/// Switches a balancer and proves it, or puts the old file back. In one root shell where the host's sudo allows that.
pub fn switch(
    inventory: &Inventory,
    tenure: &Tenure,
    change: &FileChange,
    proof: &Proof,
    may_root_shell: bool,
) -> Change {
    let nginx = &inventory.nginx;
    let mut arguments = Arguments::new(inventory);
    arguments.set("root_shell", if may_root_shell && nginx.sudo { "yes" } else { "no" });
    arguments.tenure(inventory, tenure);
    arguments.set("live", &change.path);
    arguments.set("before", &change.before);
    arguments.set("after", &change.after);
    arguments.set("test", nginx.test.join(UNIT));
    arguments.set("reload", nginx.reload.join(UNIT));
    arguments.set("pidfile", &proof.pidfile);
    for log in &proof.error_logs {
        arguments.set("log", log);
    }
    for log in &proof.access_logs {
        arguments.set("access", log);
    }
    arguments.set("probe", &nginx.probe);
    arguments.set("probe_host", nginx.probe_host.as_deref().unwrap_or("-"));
    arguments.set("limit", SWITCH_LIMIT_SECONDS);
    arguments.set("passes", PROBE_PASSES);
    match &proof.mark {
        Some(Mark::Header(line)) => arguments.set("header", line),
        Some(Mark::Body(body)) => arguments.set("body", body),
        None => {}
    }
    // The proof, the put-back with a test and a reload of its own, and a host that is busy.
    Change(program(SWITCH, arguments, Duration::from_secs(SWITCH_LIMIT_SECONDS + 50)))
}

/// The result of a step whose answer was lost.
pub fn job(inventory: &Inventory, run: &IncidentId, step: &str, limit: Duration) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", &inventory.service);
    arguments.set("job", format!("{run}.{step}"));
    arguments.set("limit", limit.as_secs());
    Question(program(JOB, arguments, limit + Duration::from_secs(10)))
}

/// What still reaches green, as this host sees it.
pub fn sample(inventory: &Inventory, pidfile: Option<&str>) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("ports", hex_ports(inventory.green.ports()));
    if let Some(pidfile) = pidfile {
        arguments.set("pidfile", pidfile);
    }
    for path in inventory.green.servers.iter().filter_map(|server| server.unix_path()) {
        arguments.set("unix", path);
    }
    Question(program(SAMPLE, arguments, Duration::from_secs(10)))
}

/// Each health URL of a colour, once, and who listens on its ports.
pub fn health(inventory: &Inventory, colour: Colour) -> Question {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.set("ports", hex_ports(app.ports()));
    for (n, url) in health_urls(app).enumerate() {
        arguments.get(&format!("{colour}.health.{n}"), PATIENCE, None, &url);
    }
    Question(program(HEALTH, arguments, Duration::from_secs(20)))
}

/// The probe, once, through a balancer.
pub fn probe(inventory: &Inventory) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.get("probe", PATIENCE, inventory.nginx.probe_host.as_deref(), inventory.nginx.probe.as_str());
    Question(program(HEALTH, arguments, Duration::from_secs(10)))
}

/// Starts a colour.
pub fn start(inventory: &Inventory, tenure: &Tenure, colour: Colour) -> Change {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.tenure(inventory, tenure);
    arguments.run(&app.run);
    if let Run::Process { start: Some(start), .. } = &app.run {
        arguments.set("start", start);
    }
    if let Some(log) = &app.log {
        arguments.set("log", log);
    }
    // systemctl waits for a Type=notify unit; its own limit is 90 s
    Change(program(START, arguments, Duration::from_secs(100)))
}

/// Stops a colour and watches its ports.
pub fn stop(inventory: &Inventory, tenure: &Tenure, colour: Colour, target: &Target) -> Change {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.tenure(inventory, tenure);
    arguments.run(&app.run);
    if let Target::Process { pid, started, exe } = target {
        arguments.set("pid", pid);
        arguments.set("started", started);
        arguments.set("exe", exe);
    }
    let grace = app.stop_timeout.as_secs().max(1);
    arguments.set("grace", grace);
    arguments.set("ports", hex_ports(app.ports()));
    arguments.set("watch", PORT_WATCH_SECONDS);
    Change(program(STOP, arguments, Duration::from_secs(grace + 30)))
}

/// The host as it is, while green still runs.
pub fn picture(inventory: &Inventory, pids: &[u32]) -> Question {
    let mut arguments = Arguments::new(inventory);
    for pid in pids {
        arguments.set("pid", pid);
    }
    Question(program(PICTURE, arguments, Duration::from_secs(20)))
}

/// A log's newest part, compressed, as a stream.
pub fn archive(inventory: &Inventory, file: &RemotePath) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("file", file);
    arguments.set("max", inventory.evidence.max_bytes);
    Question(program(ARCHIVE, arguments, inventory.evidence.timeout))
}

/// URLs of the database's health, asked on a host once.
pub fn database_health(inventory: &Inventory, urls: &[HttpUrl]) -> Question {
    let mut arguments = Arguments::new(inventory);
    for (n, url) in urls.iter().enumerate() {
        arguments.get(&format!("database.health.{n}"), PATIENCE, None, url.as_str());
    }
    Question(program(HEALTH, arguments, Duration::from_secs(20)))
}

/// The same of what docker keeps of a container's output; `None` for what is no container.
pub fn archive_container(inventory: &Inventory, run: &Run) -> Option<Question> {
    let mut arguments = Arguments::new(inventory);
    let words = RunWords::of(run);
    match run {
        Run::Docker(name) => arguments.set("container", name),
        Run::Compose { .. } => {
            arguments.set("compose", words.name);
            arguments.set("file", words.file);
            arguments.set("project", words.project);
        }
        Run::Systemd(_) | Run::Process { .. } => return None,
    }
    arguments.set("max", inventory.evidence.max_bytes);
    Some(Question(program(ARCHIVE, arguments, inventory.evidence.timeout)))
}

/// The journal of units since a time of the host's clock.
pub fn journal(inventory: &Inventory, since_unix: i64, units: &[UnitName]) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("since", since_unix);
    for unit in units {
        arguments.set("unit", unit);
    }
    arguments.set("max", inventory.evidence.max_bytes.min(64 << 20));
    Question(program(JOURNAL, arguments, inventory.evidence.timeout))
}

/// Statuses in the access logs on both sides of a size.
pub fn access(inventory: &Inventory, sizes: &[(String, u64)]) -> Question {
    let mut arguments = Arguments::new(inventory);
    for (path, size) in sizes {
        arguments.set("log", format!("{path}{UNIT}{size}"));
    }
    Question(program(ACCESS, arguments, Duration::from_secs(20)))
}

/// The test command as the one that also prints what is loaded: `nginx -t` → `nginx -T`.
fn dump_words(test: &[String]) -> Vec<String> {
    test.iter().map(|word| if word == "-t" { "-T".to_owned() } else { word.clone() }).collect()
}

/// What `sudo -n` must allow on an app host besides what the facts script works out from the nginx file itself.
fn app_rights(inventory: &Inventory) -> Vec<Vec<String>> {
    let mut rights = Vec::new();
    for app in [&inventory.blue, &inventory.green] {
        if let Run::Systemd(unit) = &app.run {
            rights.push(["systemctl", "start", unit.as_str()].map(str::to_owned).to_vec());
        }
    }
    rights.extend(rights_to_stop(&inventory.green));
    rights
}

/// `NAME KIND UNIT-OR-CONTAINER COMPOSE-FILE PROJECT LOG`, with `-` for what there is not.
fn colour_words(colour: Colour, app: &App) -> Vec<String> {
    let run = RunWords::of(&app.run);
    let log = app.log.as_ref().map_or("-", RemotePath::as_str);
    [colour.to_string().as_str(), run.kind, run.name, run.file, run.project, log].map(str::to_owned).to_vec()
}

struct RunWords<'a> {
    kind: &'static str,
    name: &'a str,
    file: &'a str,
    project: &'a str,
}

impl<'a> RunWords<'a> {
    fn of(run: &'a Run) -> RunWords<'a> {
        match run {
            Run::Systemd(unit) => RunWords { kind: "systemd", name: unit.as_str(), file: "-", project: "-" },
            Run::Docker(name) => RunWords { kind: "docker", name: name.as_str(), file: "-", project: "-" },
            Run::Compose { file, project, service } => RunWords {
                kind: "compose",
                name: service.as_str(),
                file: file.as_str(),
                project: project.as_ref().map_or("-", |project| project.as_str()),
            },
            Run::Process { .. } => RunWords { kind: "process", name: "-", file: "-", project: "-" },
        }
    }
}

/// Ports as /proc writes them, with a space on both sides of each: ` 1F90 1F91 `.
fn hex_ports(ports: impl IntoIterator<Item = u16>) -> String {
    ports.into_iter().fold(" ".to_owned(), |text, port| format!("{text}{port:04X} "))
}

/// The path and query of an http URL.
fn path_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("/", |slash| &after_scheme[slash..])
}

/// `key=value` arguments.
struct Arguments(Vec<String>);

impl Arguments {
    fn new(inventory: &Inventory) -> Arguments {
        Arguments(vec![format!("sudo={}", if inventory.nginx.sudo { "yes" } else { "no" })])
    }

    fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.push(format!("{key}={value}"));
    }

    fn get(&mut self, name: &str, seconds: u64, host: Option<&str>, url: &str) {
        self.set("get", format!("{name}{UNIT}{seconds}{UNIT}{}{UNIT}{url}", host.unwrap_or("-")));
    }

    fn tenure(&mut self, inventory: &Inventory, tenure: &Tenure) {
        self.set("service", &inventory.service);
        self.set("run", &tenure.run);
        self.set("holder", &tenure.holder);
    }

    fn run(&mut self, run: &Run) {
        let words = RunWords::of(run);
        self.set("kind", words.kind);
        self.set("name", words.name);
        self.set("file", words.file);
        self.set("project", words.project);
    }

    fn candidate(&mut self, inventory: &Inventory, change: &FileChange) {
        self.set("live", &change.path);
        self.set("test", inventory.nginx.test.join(UNIT));
        self.set("text", &change.after);
    }
}

fn program(script: (&'static str, &'static [&'static str]), arguments: Arguments, limit: Duration) -> Program {
    Program { name: script.0, parts: script.1, arguments: arguments.0, cargo: Arc::default(), limit }
}
