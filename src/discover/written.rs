//! A draft as the text of `rollback.toml`: every guess with a comment behind it, what could be added beside it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::apps::Keeper;
use super::draft::{Draft, Likely, ProxyProtocol, SideDraft, UsesSudo, list, quoted};
use super::question::{PATHS, PathAsked};
use crate::hosts::facts::{Get, direct_url};
use crate::nouns::colour::{Colour, Each};
use crate::nouns::inventory::Role;
use crate::nouns::names::{HostName, ServerAddress};
use crate::nouns::redact::printable;

/// What was learnt by asking, after the draft was made.
#[derive(Debug, Clone, Default)]
pub struct Learnt {
    /// Of each colour the path that says how it is, where any answers.
    pub health: Each<Option<String>>,
    /// The path by which the probe reaches the service.
    pub probe: Option<String>,
    /// Words about both.
    pub found: Vec<String>,
    pub remarks: Vec<String>,
}

/// What is written down besides the draft.
#[derive(Debug, Clone, Default)]
pub struct Around {
    pub ssh_config: Option<String>,
    /// The names of the variables that are there.
    pub variables: BTreeSet<String>,
    pub date: String,
}

/// What to ask an app host, or a balancer, to learn more.
pub fn to_ask(draft: &Draft, host: &HostName) -> Vec<PathAsked> {
    let roles = draft.hosts.iter().find(|of| of.name == *host).map(|of| of.roles.as_slice()).unwrap_or_default();
    let mut wanted = Vec::new();
    let is_beside = roles.contains(&Role::Balancer);
    for colour in Colour::BOTH {
        let first = draft.sides.of(colour).servers.value.first();
        let local = first.and_then(|server| ServerAddress::new(server.as_str()).ok()).is_some_and(|one| one.is_local());
        if let Some(server) = first.filter(|_| is_beside || (roles.contains(&Role::App) && !local)) {
            wanted.extend(PATHS.iter().map(|path| PathAsked {
                name: format!("{colour}.direct{path}"),
                host: None,
                url: direct_url(server, path),
            }));
        }
    }
    if is_beside && draft.nginx.proxy_protocol == ProxyProtocol::NotAsked {
        let base = draft.nginx.probe.value.strip_suffix(draft.nginx.location.as_str());
        let base = base.unwrap_or(&draft.nginx.probe.value).trim_end_matches('/');
        for path in probe_paths(draft) {
            let (name, url) = (format!("probe{path}"), format!("{base}{path}"));
            wanted.push(PathAsked { name, host: draft.nginx.probe_host.clone(), url });
        }
    }
    wanted
}

fn probe_paths(draft: &Draft) -> Vec<String> {
    let location = &draft.nginx.location;
    let below = PATHS.iter().map(|path| format!("{}{path}", location.trim_end_matches('/')));
    let mut paths = vec![location.clone()];
    paths.extend(below.filter(|path| path != location));
    paths
}

/// What the answers come to.
pub fn learn(draft: &Draft, answers: &[(HostName, BTreeMap<String, Vec<Get>>)]) -> Learnt {
    let mut learnt = Learnt::default();
    let is_well = |name: &str| {
        let of_host = |(_, gets): &(HostName, BTreeMap<String, Vec<Get>>)| {
            gets.get(name).and_then(|gets| gets.first()).is_some_and(|get| (200..300).contains(&get.status))
        };
        answers.iter().any(of_host)
    };
    for colour in Colour::BOTH {
        let path = PATHS.iter().find(|path| is_well(&format!("{colour}.direct{path}")));
        let side = draft.sides.of(colour);
        match path {
            Some(path) => {
                let server = side.servers.value.first().map(String::as_str).unwrap_or_default();
                learnt.found.push(format!("{colour}: {server}{path} answers 200"));
            }
            None => learnt
                .remarks
                .push(format!("{colour} answers none of {} with 200: no health path is known for it", PATHS.join(" "))),
        }
        let said = path.map(|path| (*path).to_owned());
        match colour {
            Colour::Blue => learnt.health.blue = said,
            Colour::Green => learnt.health.green = said,
        }
    }
    let mut paths = probe_paths(draft);
    // What an application says of itself is the likelier to come from it.
    paths.sort_by_key(|path| !is_well(&format!("probe{path}")));
    learnt.probe = paths.into_iter().next().filter(|path| is_well(&format!("probe{path}")));
    if learnt.probe.is_none() && draft.nginx.proxy_protocol == ProxyProtocol::NotAsked {
        learnt.remarks.push(format!(
            "the probe {} does not answer 200; a path of the service is to be named",
            draft.nginx.probe.value
        ));
    }
    learnt
}

/// A line with its guess behind it.
fn line(text: &mut String, key: &str, value: &str, guess: Option<&str>) {
    let comment = guess.map(|why| format!("   # guessed: {}", comment(why))).unwrap_or_default();
    let _ = writeln!(text, "{key} = {value}{comment}");
}

/// Nothing that a host said ends a comment.
fn comment(words: &str) -> String {
    printable(words).replace(['\n', '\r'], " ")
}

fn guess_of<T>(likely: &Likely<T>) -> Option<&str> {
    likely.guess.as_deref()
}

/// The whole file.
pub fn written(draft: &Draft, learnt: &Learnt, around: &Around) -> String {
    let mut text = format!(
        "# Written by `rollback-prod init` on {}, from what the hosts said. What it could not know is marked `guessed`:\n\
         # look at those, and at docs/rollback.example.toml for all that may stand here.\n",
        around.date
    );
    for remark in draft.remarks.iter().chain(&learnt.remarks) {
        let _ = writeln!(text, "# {}", comment(remark));
    }
    line(&mut text, "service", &quoted(&draft.service.value), guess_of(&draft.service));
    text.push_str("incidents = \"incidents\"\n");
    for host in &draft.hosts {
        let roles: Vec<String> = host.roles.iter().map(|role| role.word().to_owned()).collect();
        let (name, ssh) = (quoted(host.name.as_str()), quoted(host.ssh.as_str()));
        let _ = write!(text, "\n[[host]]\nname = {name}\nssh = {ssh}\nroles = {}\n", list(&roles));
    }
    if let Some(path) = &around.ssh_config {
        let _ = write!(text, "\n[ssh]\nconfig = {}\n", quoted(path));
    }
    let nginx = &draft.nginx;
    let _ = writeln!(text, "\n[nginx]   # {}", comment(&nginx.layout));
    if let Some(container) = &nginx.container {
        line(&mut text, "container", &quoted(container), None);
    }
    for line in &nginx.lines {
        let _ = writeln!(text, "{line}");
    }
    let probe = match &learnt.probe {
        Some(path) => {
            let base = nginx.probe.value.strip_suffix(nginx.location.as_str()).unwrap_or(&nginx.probe.value);
            Likely { value: format!("{}{path}", base.trim_end_matches('/')), guess: None }
        }
        None => Likely {
            value: nginx.probe.value.clone(),
            guess: Some("it did not answer 200; name a path that the service answers".to_owned()),
        },
    };
    line(&mut text, "probe", &quoted(&probe.value), guess_of(&probe));
    if let Some(host) = &nginx.probe_host {
        line(&mut text, "probe_host", &quoted(host), None);
    }
    if nginx.proxy_protocol == ProxyProtocol::Asked {
        line(&mut text, "proxy_protocol", "true", None);
    }
    match nginx.uses_sudo {
        UsesSudo::Through => {}
        UsesSudo::Without => line(&mut text, "sudo", "false", None),
    }
    if let Some(reload) = &nginx.reload {
        line(&mut text, "reload", &quoted(reload), Some("no unit of systemd runs nginx by its usual name"));
    }
    for colour in Colour::BOTH {
        side(&mut text, draft, colour, draft.sides.of(colour), learnt);
    }
    if let Some(database) = &draft.database {
        text.push_str("\n[database]\n");
        line(&mut text, "name", &quoted(&database.name.value), guess_of(&database.name));
        line(&mut text, "user", &quoted(&database.user), None);
        line(&mut text, "admin", &quoted(&database.admin), None);
        if let Some(container) = &database.container {
            line(&mut text, "container", &quoted(container), None);
        }
        match &database.backups {
            Some(backups) => line(&mut text, "backups", &quoted(&backups.value), guess_of(backups)),
            None => text.push_str("#backups = \"/var/backups/*.sql.gz\"   # no dump was found on the host\n"),
        }
    }
    around.of_runbook(&mut text);
    text
}

fn side(text: &mut String, draft: &Draft, colour: Colour, side: &SideDraft, learnt: &Learnt) {
    let _ = writeln!(
        text,
        "\n[{colour}]   # {}",
        if colour == Colour::Blue { "what a rollback goes back to" } else { "what a rollback takes out" }
    );
    line(text, "servers", &list(&side.servers.value), guess_of(&side.servers));
    // A container's name is known to its network alone, so its health is what the probe's path says.
    let is_own = |server: &String| {
        ServerAddress::new(server.as_str())
            .is_ok_and(|one| one.unix_path().is_none() && (draft.nginx.container.is_none() || one.name().is_none()))
    };
    let (own, others) = (learnt.health.of(colour), learnt.health.of(colour.other()));
    if side.servers.value.iter().all(is_own)
        && let Some(path) = own.as_ref().or(others.as_ref())
    {
        let urls: Vec<String> = side.servers.value.iter().map(|server| direct_url(server, path)).collect();
        let guess = own.is_none().then_some("the other side's path; this one did not answer");
        line(text, "health", &list(&urls), guess);
    }
    let kept = &side.kept.value;
    match &kept.log {
        Some(log) => line(text, "log", &quoted(log), Some("a file that it has open, or that its unit writes to")),
        None => text.push_str(
            "#log = \"/var/log/SERVICE.log\"   # none was found; a container's and a unit's own are saved without it\n",
        ),
    }
    let guess = guess_of(&side.kept);
    match &kept.keeper {
        Keeper::Unit(unit) => line(text, "run.systemd", &quoted(unit), guess),
        Keeper::Container(name) => line(text, "run.docker", &quoted(name), guess),
        Keeper::Service { file, project, service } => {
            line(text, "run.compose.file", &quoted(file), guess);
            line(text, "run.compose.service", &quoted(service), None);
            if let Some(project) = project {
                line(text, "run.compose.project", &quoted(project), None);
            }
        }
        Keeper::Process { exe, port, start } => {
            line(text, "run.process.exe", &quoted(exe), guess);
            line(text, "run.process.port", &port.to_string(), None);
            if let Some(start) = start {
                line(text, "run.process.start", &quoted(start), Some("as it was started"));
            }
        }
        Keeper::Supervisor { start, stop, status } => {
            line(text, "run.command.start", &list(start), guess);
            line(text, "run.command.stop", &list(stop), None);
            line(text, "run.command.status", &list(status), None);
        }
    }
}

impl Around {
    /// What the runbook's `.env.deploy` has, taken over by the names of its variables.
    fn of_runbook(&self, text: &mut String) {
        let mut table = |head: &str, lines: &[(&str, &str, String)]| {
            let known: Vec<_> = lines.iter().filter(|(variable, ..)| self.variables.contains(*variable)).collect();
            if !known.is_empty() {
                let _ = writeln!(text, "\n{head}");
            }
            for (_, key, value) in known {
                line(text, key, value, None);
            }
        };
        let (slack, status) = ("SLACK_WEBHOOK_URL", "STATUS_WEBHOOK_URL");
        let webhook = format!("[{{ url_env = {} }}]", quoted(status));
        table(
            "[notify]   # the addresses are in .env.deploy",
            &[(slack, "slack.webhook_env", quoted(slack)), (status, "webhook", webhook)],
        );
        let (oncall, commander) = ("ONCALL_ENGINEER", "INCIDENT_COMMANDER");
        let contact = |variable: &str| quoted(&format!("${variable}"));
        table("[contacts]", &[(oncall, "oncall", contact(oncall)), (commander, "commander", contact(commander))]);
    }
}
