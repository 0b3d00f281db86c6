//! `init`: from hosts that were never seen to a `rollback.toml`, and `check` on it. Reads hosts, writes one file here, and
//! never over one that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser as _;
use futures_util::future::join_all;

use super::{Run, Session, asked, connected, incident_id, last_words, load, usage};
use crate::cli::{Cli, Everywhere};
use crate::config;
use crate::discover::draft::{About, Draft, Missing, WayRound, Wishes, draft};
use crate::discover::question;
use crate::discover::survey::{self, Survey};
use crate::discover::written::{Around, learn, to_ask, written};
use crate::engine::planner;
use crate::hosts::answer::Failure;
use crate::hosts::facts::{Facts, gets, needed_rights};
use crate::hosts::question::facts_with_rights;
use crate::hosts::remote::{Ask, ReadOnly};
use crate::hosts::ssh::Ssh;
use crate::incident::journal::{Journal, Watcher as _};
use crate::nouns::clock::Clock;
use crate::nouns::inventory::{Host, Role, SshSettings};
use crate::nouns::names::{HostName, ServiceName, SshDestination};
use crate::nouns::production::Verdict;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::tell::terminal::Terminal;

/// As long as a config has where it says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Somebody names a handful of hosts, and waits.
const AT_ONCE: u32 = 16;

/// What was typed.
pub struct InitWords<'a> {
    pub destinations: &'a [String],
    pub out: &'a Path,
    pub ssh_config: Option<&'a Path>,
    pub everywhere: &'a Everywhere,
}

/// Looks, asks what it cannot find out, writes, checks, and says what is left to do.
pub(super) async fn init(terminal: &Terminal, clock: Clock, wanted: &InitWords<'_>) -> u8 {
    let hosts = match hosts_of(wanted) {
        Ok(hosts) => hosts,
        Err(problems) => return usage(terminal, clock, RefusalName::Flags, problems, None),
    };
    if std::fs::symlink_metadata(wanted.out).is_ok() {
        let why = format!("{} is there already, and init never overwrites", wanted.out.display());
        let next = format!("rollback-prod check --config {}", shell_words::quote(&wanted.out.to_string_lossy()));
        let hint = Some(format!("{next}, or another place: --out FILE"));
        terminal.refusals(clock.now(), None, &[Refusal { hint, ..Refusal::new(RefusalName::Init, why) }]);
        return ended(terminal, clock, 1, "nothing was changed", next);
    }
    let variables = match load::variables(wanted.out) {
        Ok(variables) => variables,
        Err(problems) => return usage(terminal, clock, RefusalName::Config, problems, None),
    };
    let ssh_config = wanted.ssh_config.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let settings = SshSettings {
        config: ssh_config.clone(),
        connect_timeout: CONNECT_TIMEOUT,
        at_once: AT_ONCE,
        options: Vec::new(),
    };
    let fleet = match Ssh::to(settings, hosts.clone()) {
        Ok(ssh) => ReadOnly::new(ssh),
        Err(err) => return refused(terminal, clock, wanted, &[missing(None, format!("{err:#}"), None)]),
    };
    let surveys = match surveys(&fleet, &hosts).await {
        Ok(surveys) => surveys,
        Err(unreached) => return refused(terminal, clock, wanted, &unreached),
    };
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let wishes = Wishes { service: wanted.everywhere.service.first().cloned(), ..Wishes::default() };
    let draft = match ask_about(terminal, &surveys, &variables, wishes).await {
        Ok(draft) => draft,
        Err(missing) => return refused(terminal, clock, wanted, &missing),
    };
    let asks = draft.hosts.iter().map(|host| reached(&fleet, &draft, &host.name));
    let learnt = learn(&draft, &join_all(asks).await.into_iter().flatten().collect::<Vec<_>>());
    let around = Around {
        ssh_config: ssh_config.map(|path| path.to_string_lossy().into_owned()),
        variables: variables.keys().cloned().collect::<BTreeSet<_>>(),
        date: clock.began_at().format("%Y-%m-%d").to_string(),
    };
    let mut said = String::new();
    for line in draft.found.iter().chain(&learnt.found) {
        let _ = writeln!(said, "found: {line}");
    }
    for line in draft.remarks.iter().chain(&learnt.remarks) {
        let _ = writeln!(said, "note:  {line}");
    }
    if let Err(err) = put(wanted.out, &written(&draft, &learnt, &around)) {
        terminal.printable(said.trim_end());
        let why = format!("cannot write {}: {err}", wanted.out.display());
        return refused(terminal, clock, wanted, &[missing(None, why, None)]);
    }
    let _ = write!(said, "written: {}", wanted.out.display());
    match terminal.is_json() {
        true => {
            let journal = Journal::new(clock, terminal);
            said.lines().for_each(|line| journal.note(line));
        }
        false => terminal.printable(&said),
    }
    drop(fleet);
    checked(terminal, clock, wanted).await
}

/// The destinations as hosts with names of their own.
fn hosts_of(wanted: &InitWords<'_>) -> Result<Vec<Host>, Vec<String>> {
    let mut problems = Vec::new();
    if wanted.everywhere.config.is_some() || wanted.everywhere.env.is_some() {
        problems.push("init writes a config and reads none: --out FILE says where it goes".to_owned());
    }
    if let Some(name) = wanted.everywhere.service.first()
        && let Err(err) = ServiceName::new(name.as_str())
    {
        problems.push(format!("--service {err}"));
    }
    let mut hosts: Vec<Host> = Vec::new();
    for word in wanted.destinations {
        let ssh = match SshDestination::new(word.as_str()) {
            Ok(ssh) => ssh,
            Err(err) => {
                problems.push(format!("{err}"));
                continue;
            }
        };
        if hosts.iter().any(|host| host.ssh == ssh) {
            continue;
        }
        let is_taken =
            |name: &HostName| hosts.iter().any(|host| host.name.as_str().eq_ignore_ascii_case(name.as_str()));
        let names = names_for(word);
        match names.into_iter().filter_map(|name| HostName::new(name).ok()).find(|name| !is_taken(name)) {
            Some(name) => hosts.push(Host { name, ssh, roles: Role::ALL.to_vec() }),
            None => problems.push(format!("{word:?}: another host has its name already")),
        }
    }
    if problems.is_empty() { Ok(hosts) } else { Err(problems) }
}

/// How a host may be called: its first label, its whole name, then with its port.
fn names_for(destination: &str) -> [String; 3] {
    let plain = destination.strip_prefix("ssh://").unwrap_or(destination);
    let plain = plain.rsplit_once('@').map_or(plain, |(_, host)| host);
    let (host, port) = match plain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.trim_start_matches(':')),
        None => plain.split_once(':').filter(|(_, rest)| !rest.contains(':')).unwrap_or((plain, "")),
    };
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let first = if is_address { host } else { host.split('.').next().unwrap_or(host) };
    let clean = |name: &str| name.replace([':', '%'], "-").trim_matches('-').to_owned();
    [clean(first), clean(host), clean(&format!("{host}-{port}"))]
}

/// Every host's answer, or each one that gave none: what is left out of a config unseen would be found out in a rollback.
async fn surveys(fleet: &impl Ask, hosts: &[Host]) -> Result<Vec<Survey>, Vec<Missing>> {
    let question = question::survey();
    let asks = hosts.iter().map(|host| fleet.ask(&host.name, &question));
    let (mut found, mut unreached) = (Vec::new(), Vec::new());
    for (host, answer) in hosts.iter().zip(join_all(asks).await) {
        match answer {
            Ok(answer) => found.push(survey::read(host.name.clone(), host.ssh.clone(), &answer)),
            Err(failure) => {
                let why = failure.to_string();
                let hint = match failure {
                    Failure::NotSent { hint, .. } => hint,
                    Failure::Unknown { .. } => None,
                };
                let hint = hint.unwrap_or_else(|| format!("ssh {} true", host.ssh));
                unreached.push(missing(Some(&host.name), why, Some(hint)));
            }
        }
    }
    if unreached.is_empty() { Ok(found) } else { Err(unreached) }
}

fn missing(host: Option<&HostName>, why: String, hint: Option<String>) -> Missing {
    Missing { host: host.cloned(), why, hint }
}

/// The draft, with what a person says where one is there to be asked; each doubt once.
async fn ask_about(
    terminal: &Terminal,
    surveys: &[Survey],
    variables: &BTreeMap<String, String>,
    mut wishes: Wishes,
) -> Result<Draft, Vec<Missing>> {
    let mut asked: Vec<About> = Vec::new();
    loop {
        let drafted = draft(surveys, variables, &wishes)?;
        let is_asked = std::io::stdin().is_terminal() && !terminal.is_json();
        let Some(doubt) = drafted.doubts.iter().find(|doubt| is_asked && !asked.contains(&doubt.about)) else {
            return Ok(drafted);
        };
        asked.push(doubt.about);
        let lines: Vec<String> =
            doubt.answers.iter().enumerate().map(|(place, answer)| format!("  {}  {answer}", place + 1)).collect();
        let typed = terminal.ask(&lines.join("\n"), &format!("{} [1] ", doubt.question)).await.unwrap_or_default();
        let count = doubt.answers.len();
        let place = typed.trim().parse::<usize>().ok().filter(|place| (1..=count).contains(place)).unwrap_or(1) - 1;
        match doubt.about {
            About::WhichService => wishes.candidate = Some(place),
            About::WhichSide => {
                wishes.are_swapped = Some(if place == 0 { WayRound::AsFound } else { WayRound::OtherWay });
            }
            About::WhichDatabase => wishes.database = doubt.answers.get(place).cloned(),
        }
    }
}

/// What answers on a host. One that does not answer any more is no reason to write nothing.
async fn reached(
    fleet: &impl Ask,
    draft: &Draft,
    host: &HostName,
) -> Option<(HostName, BTreeMap<String, Vec<crate::hosts::facts::Get>>)> {
    let wanted = to_ask(draft, host);
    if wanted.is_empty() {
        return None;
    }
    let question = question::reach(&wanted, draft.nginx.container.as_deref(), &draft.names());
    let answer = fleet.ask(host, &question).await.ok()?;
    Some((host.clone(), gets(&answer)))
}

/// A new file, as others may read it and nobody else may write it: what stands in it is run.
fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// `check` on what was written, by its own code; then what is to be pasted, and the next command.
async fn checked(terminal: &Terminal, clock: Clock, wanted: &InitWords<'_>) -> u8 {
    let path = wanted.out;
    let words = [Path::new("rollback-prod"), Path::new("check"), Path::new("--config"), path];
    let check = match Cli::try_parse_from(words) {
        Ok(check) => check,
        Err(err) => return usage(terminal, clock, RefusalName::Mistake, vec![err.to_string()], None),
    };
    let loaded = match load::load(Some(path), "prod", true) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let hint = format!("edit {}, then: rollback-prod check", path.display());
            return usage_of_written(terminal, clock, problems, hint);
        }
    };
    for warning in &loaded.warnings {
        terminal.warning(warning);
    }
    let Ok(asked) = asked(&check, loaded.services, incident_id(clock, "rollback"), clock) else {
        return ended(terminal, clock, 1, "nothing was changed", "rollback-prod check".to_owned());
    };
    let (mut run, ssh) = match connected(terminal, clock, asked, (&[], 1)) {
        Ok(connected) => connected,
        Err(exit) => return exit,
    };
    let fleet = ReadOnly::new(ssh);
    let mut verdicts = Vec::new();
    let mut lines = String::new();
    for session in &mut run.sessions {
        let (verdict, facts) = session.check(&fleet).await;
        lines.push_str(&rights(&fleet, session, &facts).await);
        verdicts.push(verdict);
    }
    if !terminal.is_json() {
        terminal.text(&lines);
    }
    let is_usual = path.file_name().is_some_and(|name| name == config::FILE_NAME) && is_here(path);
    let flag =
        if is_usual { String::new() } else { format!(" --config {}", shell_words::quote(&path.to_string_lossy())) };
    let verdicts = verdicts.into_iter().map(|verdict: Verdict| {
        let next = match verdict.exit {
            0 => format!("rollback-prod --dry-run{flag}"),
            _ => format!("rollback-prod check{flag}"),
        };
        Verdict { next, ..verdict }
    });
    Run::end(&run, verdicts.collect())
}

/// Whether it is found without being named.
fn is_here(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).map(PathBuf::from);
    let here = std::env::current_dir().ok();
    folder.is_none_or(|folder| {
        std::fs::canonicalize(folder).ok() == here.and_then(|here| std::fs::canonicalize(here).ok())
    })
}

/// The lines for sudoers, for each host those that it needs.
async fn rights(fleet: &impl Ask, session: &Session<'_>, facts: &Facts) -> String {
    let mut text = String::new();
    let inventory = session.inventory();
    if !inventory.nginx.sudo {
        return text;
    }
    for host in &inventory.hosts {
        let Some(seen) = facts.seen(&host.name) else { continue };
        let asked = facts_with_rights(inventory, session.request.direction, host);
        // One that does not answer any more has said above what it lacks.
        let Ok(answer) = fleet.ask(&host.name, &asked).await else { continue };
        let needed = needed_rights(&answer);
        let mut lines: Vec<String> =
            needed.iter().map(|words| planner::sudoers_line(&seen.user, seen, words)).collect();
        lines.dedup();
        if lines.is_empty() {
            continue;
        }
        let allowed = match (&seen.missing_rights, seen.may_root_shell) {
            (Ok(missing), _) if !missing.is_empty() => "it lacks some of them",
            (_, true) => "sudo allows it everything now, these would be enough",
            (_, false) => "it has them",
        };
        let _ =
            writeln!(text, "\n# {}: what {} needs, for /etc/sudoers.d/rollback-prod ({allowed})", host.name, seen.user);
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn refused(terminal: &Terminal, clock: Clock, wanted: &InitWords<'_>, missing: &[Missing]) -> u8 {
    let refusal = |missing: &Missing| Refusal {
        host: missing.host.clone(),
        hint: missing.hint.clone(),
        ..Refusal::new(RefusalName::Init, &missing.why)
    };
    terminal.refusals(clock.now(), None, &missing.iter().map(refusal).collect::<Vec<_>>());
    let next = format!("rollback-prod init {}", wanted.destinations.join(" "));
    ended(terminal, clock, 1, "nothing was changed, and no config was written", next)
}

fn usage_of_written(terminal: &Terminal, clock: Clock, problems: Vec<String>, hint: String) -> u8 {
    terminal.refusals(clock.now(), None, &Refusal::all_of(RefusalName::Init, problems, Some(hint)));
    ended(terminal, clock, 1, "nothing was changed", "rollback-prod check".to_owned())
}

fn ended(terminal: &Terminal, clock: Clock, exit: u8, production: &str, next: String) -> u8 {
    last_words(terminal, clock, Verdict { exit, production: production.to_owned(), next, left: Vec::new() })
}
