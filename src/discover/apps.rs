//! Who serves at an address of a host, what keeps him there, and who his other colour is. Pure; says how it knows.

use super::survey::{ContainerSeen, Survey, UnitSeen};
use crate::hosts::facts::{Listener, first_of};
use crate::nginx::{other_colours, same_address};
use crate::nouns::names::ServerAddress;

/// What keeps an application running, as the config would say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    Unit(String),
    Container(String),
    Service { file: String, project: Option<String>, service: String },
    Process { exe: String, port: u16, start: Option<String> },
    Supervisor { start: Vec<String>, stop: Vec<String>, status: Vec<String> },
}

/// An application at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedBy {
    pub keeper: Keeper,
    pub log: Option<String>,
    /// What it goes by, where its colour may stand in.
    pub label: String,
    /// How it was known, for people.
    pub why: String,
    /// The processes that listen there.
    pub pids: Vec<u32>,
    pub database: Option<(String, Option<String>)>,
}

/// The other side of an application, where nginx names only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    pub server: String,
    pub why: String,
    pub is_guess: bool,
}

/// Programs that run somebody else's text.
const INTERPRETERS: &[&str] =
    &["python", "node", "ruby", "perl", "php", "java", "bash", "sh", "dash", "deno", "bun", "dotnet", "beam.smp"];
/// Units that keep others' processes, and are not the application.
const NO_APPLICATION: &[&str] = &[
    "supervisor",
    "supervisord",
    "runit",
    "docker",
    "containerd",
    "podman",
    "ssh",
    "sshd",
    "cron",
    "crond",
    "nginx",
    "postgresql",
];

/// Whether a server of nginx's file is on that host, when the nginx of `beside` asks for it.
pub fn is_on(survey: &Survey, server: &str, is_beside: bool) -> bool {
    let Ok(address) = ServerAddress::new(server) else { return false };
    if address.is_local() {
        return is_beside;
    }
    let host = address.host();
    let is_own = |own: &String| own.eq_ignore_ascii_case(host);
    survey.addresses.iter().any(is_own)
        || host.eq_ignore_ascii_case(survey.name.as_str())
        || (is_beside && contained(survey, &address).is_some())
}

/// Who serves there, or would.
pub fn kept_at(survey: &Survey, server: &str) -> Option<ServedBy> {
    let address = ServerAddress::new(server).ok()?;
    if let Some(path) = address.unix_path() {
        let path = path.split(':').next().unwrap_or(path);
        let pid = survey.sockets.iter().find(|(_, known)| known == path).and_then(|(pid, _)| *pid);
        let of_pid = pid.and_then(|pid| survey.listeners.iter().find(|of| of.pid == pid || of.parents.contains(&pid)));
        return match of_pid {
            Some(listener) => keeper_of(survey, listener, &[listener.pid]),
            None => survey.units.iter().find(|unit| unit.start.contains(path)).map(|unit| by_unit(unit, path)),
        };
    }
    if let Some(container) = contained(survey, &address) {
        return Some(by_container(container));
    }
    let port = address.port()?;
    let here: Vec<Listener> = survey.listeners.iter().filter(|of| of.port == port).cloned().collect();
    let pids: Vec<u32> = here.iter().map(|listener| listener.pid).collect();
    if let Some(first) = first_of(&here) {
        return keeper_of(survey, first, &pids);
    }
    if let Some(container) = survey.containers.iter().find(|of| of.published.contains(&port)) {
        return Some(by_container(container));
    }
    // Nobody is there: who would be, by its command line.
    let mut would = survey.units.iter().filter(|unit| unit.ports.contains(&port));
    match (would.next(), would.next()) {
        (Some(unit), None) => Some(by_unit(unit, &format!("port {port}"))),
        (_, _) => None,
    }
}

fn contained<'s>(survey: &'s Survey, address: &ServerAddress) -> Option<&'s ContainerSeen> {
    let host = address.host();
    let is_it = |of: &&ContainerSeen| {
        of.name == host || of.addresses.iter().any(|own| own == host) || of.service() == Some(host)
    };
    survey.containers.iter().find(is_it)
}

fn by_unit(unit: &UnitSeen, what: &str) -> ServedBy {
    ServedBy {
        keeper: Keeper::Unit(unit.name.clone()),
        log: unit.output.clone(),
        label: unit.name.clone(),
        why: format!("{} names {what} in its command", unit.name),
        pids: Vec::new(),
        database: None,
    }
}

fn by_container(container: &ContainerSeen) -> ServedBy {
    let label = |key: &str| container.labels.get(&format!("com.docker.compose.{key}")).cloned();
    let file = label("project.config_files").and_then(|files| {
        let file = files.split(',').next()?.to_owned();
        let folder = label("project.working_dir").unwrap_or_default();
        if file.starts_with('/') { Some(file) } else { Some(format!("{}/{file}", folder.trim_end_matches('/'))) }
    });
    let keeper = match (file.filter(|file| file.starts_with('/')), label("service")) {
        (Some(file), Some(service)) if container.engine == "docker" => {
            Keeper::Service { file, project: label("project"), service }
        }
        (_, _) => Keeper::Container(container.name.clone()),
    };
    ServedBy {
        keeper,
        log: None,
        label: container.name.clone(),
        why: format!("it is container {} ({})", container.name, container.image),
        pids: Vec::new(),
        database: None,
    }
}

fn keeper_of(survey: &Survey, listener: &Listener, pids: &[u32]) -> Option<ServedBy> {
    let own = |container: &&ContainerSeen| {
        listener.is_in_container(&container.id)
            || (listener.program().ends_with("-proxy") && container.published.contains(&listener.port))
    };
    if let Some(container) = survey.containers.iter().find(own) {
        return Some(ServedBy { pids: pids.to_vec(), ..by_container(container) });
    }
    let seen = survey.processes.get(&listener.pid);
    let log = seen.and_then(|process| process.logs.first().cloned());
    let is_it = |pid: u32| listener.pid == pid || listener.parents.contains(&pid);
    let kept = |keeper: Keeper, log: Option<String>, label: &str, why: String| {
        let database = seen.and_then(|process| process.database.clone());
        Some(ServedBy { keeper, log, label: label.to_owned(), why, pids: pids.to_vec(), database })
    };
    let with = |by: &[String], words: [&str; 2]| -> Vec<String> {
        by.iter().cloned().chain(words.map(str::to_owned)).collect()
    };
    if let Some(program) = survey.supervised.iter().find(|program| program.pid.is_some_and(is_it)) {
        let words = |verb: &str| with(&survey.supervisor, [verb, &program.name]);
        let keeper = Keeper::Supervisor { start: words("start"), stop: words("stop"), status: words("status") };
        return kept(keeper, log, &program.name, format!("supervisord keeps it as {}", program.name));
    }
    if let Some((_, folder)) = survey.runit.iter().find(|(pid, _)| is_it(*pid)) {
        let words = |verb: &str| with(&survey.runit_by, [verb, folder]);
        // Its own status is 0 for what is down, too: the first word of what it prints counts.
        let asked = words("status");
        let status =
            ["sh", "-c", "\"$@\" | grep -q ^run:", "status"].map(str::to_owned).into_iter().chain(asked).collect();
        let keeper = Keeper::Supervisor { start: words("start"), stop: words("stop"), status };
        return kept(keeper, log, folder, format!("runit keeps it in {folder}"));
    }
    let unit = listener.unit().filter(|unit| {
        let plain = unit.trim_end_matches(".service");
        let is_session = plain.starts_with("user@") || plain.starts_with("session-");
        !is_session && !NO_APPLICATION.contains(&plain.split('@').next().unwrap_or(plain))
    });
    if let Some(unit) = unit {
        let output = survey.units.iter().find(|of| of.name == unit).and_then(|of| of.output.clone());
        return kept(Keeper::Unit(unit.to_owned()), output.or(log), unit, format!("pid {} is of it", listener.pid));
    }
    let exe = program_of(survey, listener)?;
    let start = seen.filter(|process| process.uid.is_none_or(|uid| (uid == 0) == survey.is_root)).and_then(|process| {
        let words = shell_words::join(&process.words);
        let cwd = process.cwd.as_deref().map(|cwd| format!("cd {} && ", shell_words::quote(cwd)));
        (!process.words.is_empty()).then(|| format!("{}{words}", cwd.unwrap_or_default()))
    });
    let why = format!("pid {} runs {exe}, and nothing that keeps it is known", listener.pid);
    kept(Keeper::Process { exe: exe.clone(), port: listener.port, start }, log, &exe, why)
}

/// Its program, or the script that an interpreter was started with.
fn program_of(survey: &Survey, listener: &Listener) -> Option<String> {
    let program = listener.program();
    if !program.starts_with('/') {
        return None;
    }
    let name = program.rsplit('/').next().unwrap_or(program);
    let is_interpreter =
        INTERPRETERS.iter().any(|known| name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') == *known);
    if !is_interpreter {
        return Some(program.to_owned());
    }
    let process = survey.processes.get(&listener.pid)?;
    let is_file = |word: &&String| !word.starts_with('-') && (word.contains('/') || word.contains('.'));
    let script = process.words.iter().skip(1).find(is_file);
    match (script, &process.cwd) {
        (Some(script), _) if script.starts_with('/') => Some(script.clone()),
        (Some(script), Some(cwd)) => Some(format!("{}/{}", cwd.trim_end_matches('/'), script.trim_start_matches("./"))),
        (_, _) => Some(program.to_owned()),
    }
}

/// The other side of who serves at `server`: by its name in the other colour, or by its program on another port. `taken` are
/// servers that belong to somebody already.
pub fn sibling(survey: &Survey, server: &str, kept: &ServedBy, taken: &[String]) -> Option<Sibling> {
    let address = ServerAddress::new(server).ok()?;
    let is_free = |server: &String| !taken.iter().any(|other| same_address(other, server));
    if let Some(path) = address.unix_path() {
        let other = format!("unix:{}", other_colours(path)?);
        let why = format!("{other} is its name in the other colour");
        return is_free(&other).then_some(Sibling { server: other, why, is_guess: true });
    }
    if contained(survey, &address).is_some() {
        let other = other_colours(address.host())?;
        survey.containers.iter().find(|of| of.name == other || of.service() == Some(&other))?;
        let server = format!("{other}:{}", address.port()?);
        let why = format!("there is a container {other}");
        return is_free(&server).then_some(Sibling { server, why, is_guess: false });
    }
    let port = address.port()?;
    let at = |other: u16| match server.rsplit_once(':') {
        Some((host, _)) => format!("{host}:{other}"),
        None => format!("{server}:{other}"),
    };
    let nearest = |ports: Vec<u16>| {
        let free = ports.into_iter().filter(|other| *other != port && is_free(&at(*other)));
        free.min_by_key(|other| other.abs_diff(port))
    };
    // By its name, whether it runs or not.
    if let Some(label) = other_colours(&kept.label) {
        let is_it = |of: &Listener| keeper_of(survey, of, &[]).is_some_and(|kept| kept.label == label);
        let mut ports: Vec<u16> = survey.listeners.iter().filter(|of| is_it(of)).map(|of| of.port).collect();
        if ports.is_empty() {
            let named = survey.units.iter().find(|unit| unit.name == label);
            ports = named.map(|unit| unit.ports.clone()).unwrap_or_default();
        }
        if ports.is_empty() {
            let named = survey.containers.iter().find(|of| of.name == label);
            ports = named.map(|of| of.published.clone()).unwrap_or_default();
        }
        if let Some(other) = nearest(ports) {
            let why = format!("{label} is the other colour of {}", kept.label);
            return Some(Sibling { server: at(other), why, is_guess: false });
        }
    }
    // By its program: where an interpreter runs it, by the script.
    let own = survey.listeners.iter().find(|of| of.port == port).and_then(|of| program_of(survey, of))?;
    let is_same = |of: &&Listener| program_of(survey, of).as_ref() == Some(&own) && !kept.pids.contains(&of.pid);
    let same = survey.listeners.iter().filter(is_same);
    let other = nearest(same.map(|of| of.port).collect())?;
    Some(Sibling { server: at(other), why: format!("{own} listens there, too"), is_guess: true })
}
