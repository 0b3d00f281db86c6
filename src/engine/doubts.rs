//! What speaks against beginning, or for saying something first, that the planner need not know how to tell: from facts to
//! refusals, hints and notes. Pure, and never decides what is done instead.

use std::collections::BTreeSet;

use crate::hosts::facts::{AppFacts, Lack, Listener, NginxFacts, Origin, ProgramSeen, Seen};
use crate::nginx::{Clues, Rewritten, find};
use crate::nouns::colour::{Colour, Each};
use crate::nouns::inventory::{App, Host, Inventory, Layout, Run};
use crate::nouns::names::ServerAddress;
use crate::nouns::refusal::RefusalName;
use crate::nouns::release;
use crate::nouns::side::{Direction, Side};

/// A reason against beginning: what is so, and the command to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    pub name: RefusalName,
    pub why: String,
    pub hint: Option<String>,
}

/// Whoever would be stopped for the colour that traffic leaves also serves the one that it goes to: one process on both
/// ports, the parent of the other, one unit, one container. Nothing is wrong with moving traffic then, only with the stop.
pub fn serves_both(inventory: &Inventory, direction: Direction, host: &Host, seen: &Seen) -> Option<Doubt> {
    let side = |side: Side| inventory.app(direction.colour(side));
    let (to, from) = (side(Side::To), side(Side::From));
    let own = from.ports();
    // A port that both have tells nothing; whose it is is asked elsewhere.
    let kept: Vec<&Listener> =
        seen.app(to.colour).listeners.iter().filter(|l| !own.contains(&l.port) && l.pid != FIRST_PROCESS).collect();
    let colour = to.colour;
    let why = if to.run == from.run {
        format!("{colour} and {} are both {}", from.colour, from.run.describe())
    } else {
        let (ends, how) = kept
            .iter()
            .find_map(|kept| Some((*kept, ends_with(&from.run, seen.app(from.colour), kept)?)))
            .map_or_else(
                || {
                    let published = to
                        .ports()
                        .into_iter()
                        .find(|port| seen.app(from.colour).supervision.published.contains(port))?;
                    Some((format!("{colour}'s port {published}"), format!("{} publishes it too", from.run.describe())))
                },
                |(kept, how)| Some((format!("{colour}'s {}", kept.describe()), how)),
            )?;
        format!("{ends} would end with {}: {how}", from.colour)
    };
    let pid = kept.first().map_or(FIRST_PROCESS, |kept| kept.pid);
    Some(Doubt {
        name: RefusalName::BlueEndsToo,
        why: format!("{why}; --keep-green moves traffic and stops nobody"),
        hint: Some(format!("ssh {} 'ps -o pid,ppid,cgroup,args -p {pid}; sudo ss -ltnp'", host.ssh)),
    })
}

/// systemd itself, which holds the sockets of units that are started by a connection, and is never stopped.
const FIRST_PROCESS: u32 = 1;

/// How a listener that must live would end with what is stopped, where it would.
fn ends_with(run: &Run, stopped: &AppFacts, kept: &Listener) -> Option<String> {
    match run {
        Run::Systemd(_) => {
            let group = &stopped.supervision.group;
            kept.is_in(group).then(|| format!("it belongs to {}", run.describe()))
        }
        Run::Docker(_) | Run::Compose { .. } => {
            let id = &stopped.supervision.group;
            kept.is_in_container(id).then(|| format!("it runs in {}", run.describe()))
        }
        // What a supervisor ends is what listens, and whoever comes from that.
        Run::Process { .. } | Run::Command(_) => {
            stopped.listeners.iter().filter(|l| l.pid != FIRST_PROCESS).find_map(|stopped| {
                if stopped.pid == kept.pid {
                    return Some(format!("the same process listens on port {}", stopped.port));
                }
                if kept.parents.contains(&stopped.pid) {
                    return Some(format!("{} is its parent", stopped.describe()));
                }
                let unit = kept.unit().filter(|_| stopped.leads_its_unit && kept.unit() == stopped.unit())?;
                Some(format!("{} is the main process of {unit}, which holds both", stopped.describe()))
            })
        }
    }
}

/// The config names a unit or a container that is not there; where somebody else's runs on the port, whose.
pub fn names_nothing(app: &App, host: &Host, facts: &AppFacts) -> Option<Doubt> {
    if !facts.supervision.is_missing {
        return None;
    }
    let runs = facts.listeners.iter().find_map(Listener::unit);
    let (what, list) = match &app.run {
        Run::Systemd(unit) => (format!("no unit {unit}"), "systemctl list-units --all --type=service".to_owned()),
        Run::Docker(name) => (format!("no container {name}"), "docker ps --all".to_owned()),
        Run::Compose { file, service, .. } => {
            (format!("no container of compose service {service}"), format!("docker compose -f {file} ps --all"))
        }
        Run::Process { .. } | Run::Command(_) => return None,
    };
    let why = match (&app.run, runs) {
        (Run::Systemd(_), Some(unit)) => format!("{what}; {unit} runs that port"),
        _ => format!("{what} there, which the config names for {}", app.colour),
    };
    Some(Doubt { name: RefusalName::BlueMissing, why, hint: Some(format!("ssh {} {list}", host.ssh)) })
}

/// Why the colour that traffic goes to, and that is down, could not be started.
pub fn cannot_start(app: &App, host: &Host, facts: &AppFacts) -> Vec<Doubt> {
    // One that runs and has no port of its own here needs nothing any more.
    if facts.is_running == Ok(true) {
        return Vec::new();
    }
    let doubt = |lack: &Lack| {
        let (what, look) = lack.describe();
        let why = format!("{} is down, and {} cannot be started: {what}", app.colour, app.run.describe());
        let look = match (lack, &app.run) {
            (Lack::Complaint(_), Run::Systemd(unit)) => format!("systemd-analyze verify {unit}"),
            (Lack::Complaint(_), Run::Compose { file, .. }) => format!("docker compose -f {file} config"),
            _ => look,
        };
        Doubt { name: RefusalName::BlueNoStart, why, hint: Some(format!("ssh {} {look}", host.ssh)) }
    };
    facts.supervision.lacks.iter().map(doubt).collect()
}

/// What both sides run, as far as it is known: `green 1.4.0 → blue 1.3.2`; `put_to` is what the side that traffic goes to will.
pub fn releases(direction: Direction, apps: &[(&Host, &Seen)], put_to: Option<String>) -> Option<String> {
    let of = |side: Side| {
        let colour = direction.colour(side);
        let known = apps.iter().filter_map(|(host, seen)| Some((&host.name, seen.app(colour).release.as_ref()?)));
        (colour, release::names(known))
    };
    let said = |name: Option<String>| name.unwrap_or_else(|| "(release not known)".to_owned());
    match (of(Side::From), of(Side::To), put_to) {
        ((_, None), (_, None), None) => None,
        ((from, was), (to, is), None) => Some(format!("{from} {} → {to} {}", said(was), said(is))),
        ((from, was), (to, is), Some(shall)) => {
            Some(format!("{from} {} → {to} {shall} (it runs {} now)", said(was), said(is)))
        }
    }
}

/// Both sides are proven to run the same release on every host: to move traffic between them would change nothing.
pub fn same_release(inventory: &Inventory, direction: Direction, apps: &[(&Host, &Seen)]) -> Option<Doubt> {
    let (to, from) = (direction.colour(Side::To), direction.colour(Side::From));
    let whys: Option<Vec<(&Host, String)>> = apps
        .iter()
        .map(|(host, seen)| {
            let (theirs, other) = (seen.app(to), seen.app(from));
            if let (Some(release), Some(same)) = (&theirs.release, &other.release)
                && release.is(same)
            {
                return Some((*host, format!("{to} and {from} both run {}", release.name)));
            }
            // A deploy that made what serves the next way back, and kept what was: what is called blue is green's release.
            let (program, same) = (theirs.program.as_ref()?, other.program.as_ref()?);
            let older = program.older.as_ref().filter(|_| is_copy(program, same))?;
            Some((*host, format!("{to}'s {} is {from}'s {}; what it was before is {older}", program.path, same.path)))
        })
        .collect();
    let whys = whys.filter(|whys| !whys.is_empty())?;
    let (host, why) = whys.first()?;
    let older = apps.iter().find_map(|(_, seen)| {
        let program = seen.app(to).program.as_ref()?;
        Some((program.path.as_str(), program.older.as_deref()?))
    });
    let put_to = "rollback-prod --reason '…' --to earlier, or to another one that `rollback-prod releases` shows";
    let put_to = (inventory.earlier.is_some() && to == Colour::Blue).then(|| put_to.to_owned());
    let by_hand = older.map(|(path, older)| {
        let start = match &inventory.app(to).run {
            Run::Systemd(unit) => format!("sudo systemctl restart {unit}"),
            Run::Docker(_) | Run::Compose { .. } | Run::Process { .. } | Run::Command(_) => {
                format!("stop {to}; a rollback starts it")
            }
        };
        format!(
            "put it back on each host, and {start}: ssh {} cp -a {older} {path}.new '&&' mv {path}.new {path}",
            host.ssh
        )
    });
    let why = format!("{why}: to go there would change nothing");
    Some(Doubt { name: RefusalName::BlueSame, why, hint: put_to.or(by_hand) })
}

/// Whether two programs are one that was copied.
fn is_copy(program: &ProgramSeen, other: &ProgramSeen) -> bool {
    program.digest == other.digest && program.path != other.path
}

/// What an operator should know of the releases: hosts that differ, and sides that nothing tells apart.
pub fn release_notes(direction: Direction, apps: &[(&Host, &Seen)]) -> Vec<String> {
    let mut notes = Vec::new();
    let (to, from) = (direction.colour(Side::To), direction.colour(Side::From));
    for colour in [to, from] {
        let names: BTreeSet<&str> =
            apps.iter().filter_map(|(_, seen)| Some(seen.app(colour).release.as_ref()?.name.as_str())).collect();
        if names.len() > 1 {
            let known = apps.iter().filter_map(|(host, seen)| Some((&host.name, seen.app(colour).release.as_ref()?)));
            let each = release::names(known).unwrap_or_default();
            notes.push(format!("{colour} is not the same release everywhere: {each}"));
        }
    }
    let is_same = |seen: &Seen| {
        let (Some(program), Some(other)) = (&seen.app(to).program, &seen.app(from).program) else { return false };
        is_copy(program, other)
    };
    if !apps.is_empty() && apps.iter().all(|(_, seen)| is_same(seen)) {
        notes.push(format!(
            "{to} and {from} are copies of one program: unless they are started in another way, a rollback changes nothing"
        ));
    }
    notes
}

/// What speaks against the probe as it was answered just now, before anything is changed. Where a colour that hangs may be
/// the cause it says nothing: that is what a rollback is for.
pub fn probe_fails(inventory: &Inventory, host: &Host, seen: &Seen) -> Option<Doubt> {
    let probe = &seen.nginx.as_ref()?.probe;
    let is_certain = probe.status == 0 && !probe.error.is_empty() && !probe.error.contains("timed out");
    is_certain.then(|| no_answer(inventory, host, &probe.error))
}

fn no_answer(inventory: &Inventory, host: &Host, error: &str) -> Doubt {
    let nginx = &inventory.nginx;
    let probe = nginx.probe.as_str();
    let error = error.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("curl does not say why");
    let is_about_trust = probe.starts_with("https:") && error.to_ascii_lowercase().contains("certificate");
    let why = match (is_about_trust, &nginx.probe_host) {
        (true, Some(name)) => format!("the probe's certificate is not trusted there for {name}: {error}"),
        (true, None) => format!("the probe's certificate is not trusted there: {error}"),
        (false, _) => format!("the probe {probe} gets no answer, so a switch could not be proven: {error}"),
    };
    let why = match is_about_trust {
        true => format!("{why}; one to 127.0.0.1 does not leave the host, and is not verified"),
        false => why,
    };
    Doubt {
        name: RefusalName::ProbeFails,
        why,
        hint: Some(format!("ssh {} {}", host.ssh, curl_line(inventory, probe))),
    }
}

/// The probe as an operator types it.
fn curl_line(inventory: &Inventory, url: &str) -> String {
    let curl = if inventory.nginx.proxy_protocol { "curl -sSi --haproxy-protocol" } else { "curl -sSi" };
    match (&inventory.nginx.probe_host, url.strip_prefix("https://")) {
        (None, _) => format!("{curl} {url}"),
        (Some(name), None) => format!("{curl} -H 'Host: {name}' {url}"),
        (Some(name), Some(rest)) => {
            let place = place_of(url);
            format!("{curl} --connect-to ::{place} https://{name}{}", rest.strip_prefix(place).unwrap_or_default())
        }
    }
}

/// Host and port of a URL, as they stand there.
fn place_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// What `check` says of the probe besides: it would be no reason to leave traffic where it is, and is one to mend it today.
/// `path` is one that does reach the application, where one is known.
pub fn probe_proves_nothing(inventory: &Inventory, host: &Host, seen: &Seen, path: Option<&str>) -> Option<Doubt> {
    let nginx = seen.nginx.as_ref()?;
    match (nginx.probe.status, nginx.probe_origin) {
        (0, _) if nginx.master.is_some() && probe_fails(inventory, host, seen).is_none() => {
            Some(no_answer(inventory, host, &nginx.probe.error))
        }
        (_, Origin::NginxItself) => {
            let probe = inventory.nginx.probe.as_str();
            let why = format!(
                "nginx answers the probe {probe} by itself ({}), so it proves nothing about who serves",
                nginx.probe.status
            );
            let scheme = probe.split_once("://").map_or("http", |(scheme, _)| scheme);
            let (why, hint) = match path {
                Some(path) => (
                    format!("{why}; {path} does reach the application"),
                    format!("[nginx] probe = \"{scheme}://{}{path}\"", place_of(probe)),
                ),
                None => (why, format!("ssh {} {}", host.ssh, curl_line(inventory, probe))),
            };
            Some(Doubt { name: RefusalName::ProbeNginx, why, hint: Some(hint) })
        }
        (_, Origin::App | Origin::NotKnown) => None,
    }
}

/// What an operator should know of the probe before a run.
pub fn probe_notes(inventory: &Inventory, host: &Host, seen: &Seen) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(nginx) = &seen.nginx else { return notes };
    if nginx.probe_origin == Origin::NginxItself {
        notes.push(format!(
            "{}: nginx answers the probe by itself ({}); the switch counts as proven when no old worker accepts any more",
            host.name, nginx.probe.status
        ));
    }
    if is_asked_on_the_host(inventory.nginx.probe.as_str()) {
        let name = host.name.as_str();
        notes.push(format!("{name}: the probe's certificate is not verified, since it does not leave the host"));
    }
    notes
}

/// The file that is changed is where a link points, and known by another name: perhaps that of a side.
pub fn is_the_target_of_a_link(inventory: &Inventory, host: &Host, path: &str) -> Option<String> {
    let named = inventory.nginx.file.as_str();
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    let is_another = inventory.nginx.container.is_none()
        && !matches!(inventory.nginx.layout, Layout::Link(_))
        && name(named) != name(path);
    is_another.then(|| {
        format!(
            "{}: {named} is a link, and {path}, where it points, is what changes; where the link itself says who serves: \
             nginx.switch = \"link\"",
            host.name
        )
    })
}

/// What an operator should know of a balancer's file as it will be: what is unlike the usual pair of servers, and what it
/// may cost later.
pub fn file_notes(
    inventory: &Inventory,
    to: Colour,
    host: &Host,
    nginx: &NginxFacts,
    after: &Rewritten,
) -> Vec<String> {
    let from = to.other();
    let mut notes = Vec::new();
    for added in &after.added {
        notes.push(format!("{}: {to}'s server {added} is not in the block and is added", host.name));
    }
    for only in &after.replaced {
        let why = "the only one of its block, is replaced by";
        notes.push(format!("{}: {from}'s server {only}, {why} {to}'s", host.name));
    }
    if !after.no_longer.is_empty() {
        let lines: Vec<String> = after.no_longer.iter().map(|line| format!("`{line}`")).collect();
        notes.push(format!("{}: a deploy that looks for {} will not find it any more", host.name, lines.join(" or ")));
    }
    let is_only_looked_up =
        |server: &&ServerAddress| server.name().is_some_and(|name| !nginx.kept_names.iter().any(|kept| kept == name));
    for server in inventory.app(from).servers.iter().filter(is_only_looked_up) {
        let stands = |text: &str| text.contains(server.as_str());
        if stands(&after.text) || nginx.mentions.iter().any(|mention| stands(mention)) {
            let instead = match &inventory.nginx.container {
                Some(container) => format!("take it out of them before {container} is started again"),
                None => "write its address".to_owned(),
            };
            notes.push(format!(
                "{}: {from}'s server {server} stays in nginx's files and is a name that is not in /etc/hosts: should it go with \
                 {from}, nginx refuses its next reload and its next start (\"host not found in upstream\"); {instead}",
                host.name
            ));
        }
    }
    notes
}

/// The config does not say in which way the file says who serves: which it is, and what to write.
pub fn layout(inventory: &Inventory, host: &Host, nginx: &NginxFacts, path: &str) -> Doubt {
    let servers = Each::from(|colour| inventory.app(colour).addresses());
    // A container's files are known by its own names for them.
    let (named, behind) = match &nginx.mounted {
        Some(mounted) => (mounted.inside.as_str(), path),
        None => (inventory.nginx.file.as_str(), path),
    };
    let clues = Clues { named, behind, is_link: nginx.is_link, loaded: &nginx.loaded, beside: &nginx.beside };
    match find(clues, &servers) {
        Some(found) => Doubt {
            name: RefusalName::FileLayout,
            why: format!("the config does not say in which way {path} says who serves: it is {}", found.what),
            hint: Some(format!("add to [nginx]:\n    {}", found.lines.join("\n    "))),
        },
        None => Doubt {
            name: RefusalName::FileLayout,
            why: format!(
                "the config does not say in which way {path} says who serves, and nothing that nginx has loaded sends to {} or {}",
                servers.blue.join(", "),
                servers.green.join(", ")
            ),
            hint: Some(format!("ssh {} nginx -T | grep -nE 'server |_pass '", host.ssh)),
        },
    }
}

/// Whether an https URL does not leave the host; `split_https` in `lib.sh` says the same.
fn is_asked_on_the_host(url: &str) -> bool {
    let place = place_of(url);
    let host = match place.split_once(']') {
        Some((address, _)) => address.trim_start_matches('['),
        None => place.split(':').next().unwrap_or(place),
    };
    url.starts_with("https://") && (host.starts_with("127.") || host == "localhost" || host == "::1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::facts::{NoLog, Supervision, read_listeners};
    use crate::nouns::inventory::Commands;
    use crate::nouns::names::{ContainerName, RemotePath, UnitName};

    fn app(listeners: &str, group: &str) -> AppFacts {
        AppFacts {
            is_running: Ok(true),
            state: "active (running)".into(),
            listeners: read_listeners(listeners),
            port_is_open: true,
            listener_is_ours: Ok(true),
            health: vec![],
            log_bytes: Err(NoLog::NotAsked),
            release: None,
            program: None,
            supervision: Supervision { group: group.into(), ..Supervision::default() },
        }
    }

    /// A listener as facts.sh says it.
    fn on(port: &str, chain: &str, cgroup: &str) -> String {
        [port, chain, "127.0.0.1", "/opt/x", "1", cgroup].join("\u{1f}")
    }

    #[test]
    fn what_would_end_with_green_is_told_from_what_would_not() {
        let exe = RemotePath::new("/opt/x").expect("a path");
        let process = Run::Process { exe, port: 8081, start: None };
        let unit = Run::Systemd(UnitName::new("green.service").expect("a unit"));
        let container = Run::Docker(ContainerName::new("green").expect("a container"));
        let is_ended = |run: &Run, green: &AppFacts, blue: &str| {
            let kept = read_listeners(blue).remove(0);
            ends_with(run, green, &kept)
        };
        let green = app(&on("1F91", "70,60", "0::/system.slice/ssh.service|"), "");
        let says =
            |ended: Option<String>, word: &str| assert!(ended.as_ref().is_some_and(|e| e.contains(word)), "{ended:?}");
        says(is_ended(&process, &green, &on("1F90", "70,60", "0::/system.slice/ssh.service|")), "same process");
        says(is_ended(&process, &green, &on("1F90", "71,70,60", "0::/system.slice/ssh.service|")), "its parent");
        // So it is with what a supervisor ends.
        let words = || vec!["supervisorctl".to_owned()];
        let command = Run::Command(Commands { start: words(), stop: words(), status: words() });
        says(is_ended(&command, &green, &on("1F90", "70,60", "0::/system.slice/ssh.service|")), "same process");
        says(is_ended(&command, &green, &on("1F90", "71,70,60", "0::/system.slice/ssh.service|")), "its parent");
        // Brothers, and strangers in the unit of whoever started both, live on.
        assert_eq!(is_ended(&process, &green, &on("1F90", "71,60", "0::/system.slice/ssh.service|")), None);
        let mut main = green.clone();
        main.listeners[0].leads_its_unit = true;
        says(
            is_ended(&process, &main, &on("1F90", "71,1", "0::/system.slice/ssh.service|")),
            "main process of ssh.service",
        );
        assert_eq!(is_ended(&process, &main, &on("1F90", "71,1", "0::/system.slice/blue.service|")), None);

        let green = app("", "/system.slice/green.service");
        says(is_ended(&unit, &green, &on("1F90", "71,1", "0::/system.slice/green.service|")), "unit green.service");
        says(is_ended(&unit, &green, &on("1F90", "71,1", "0::/system.slice/green.service/a|")), "unit green.service");
        assert_eq!(is_ended(&unit, &green, &on("1F90", "71,1", "0::/system.slice/blue.service|")), None);
        // A unit that does not run has no group, and everybody would be in it.
        assert_eq!(is_ended(&unit, &app("", ""), &on("1F90", "71,1", "0::/system.slice/blue.service|")), None);

        let green = app("", "abc123");
        says(
            is_ended(&container, &green, &on("1F90", "71,1", "0::/system.slice/docker-abc123.scope|")),
            "container green",
        );
        assert_eq!(is_ended(&container, &green, &on("1F90", "71,1", "0::/system.slice/docker.service|")), None);
    }
}
