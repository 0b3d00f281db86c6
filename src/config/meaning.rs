//! From the file as written to the [`Inventory`]: words, durations, sizes, addresses, and what must
//! hold between them. Every problem points at the value that has it.
//! Never looks at the documents' text, and never asks anything but what [`Reading`] holds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;

use super::check::{self, ALTERNATIVES, Findings, Kind, Node, Place, any_of, readable};
use super::env_file::is_variable_name;
use super::file::{self, default};
use super::value::{check_smtp, host_of_url, refused_ssh_option, size};
use super::{Problem, Reading};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{
    App, Channel, Contacts, Database, Evidence, Host, Inventory, Nginx, Notify, Role, Run, Secret, SshSettings,
    Targets, Verify,
};
use crate::nouns::names::{
    BadWord, ContainerName, HostName, HttpUrl, RemotePath, ServerAddress, ServiceName, SshDestination, UnitName,
};

/// No wait of a rollback is meant to be longer; a slip like "30d" is found, and clocks cannot overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// What is kept or measured, not waited for. Ten years: past that it is a slip.
const LONGEST_AGE: Duration = Duration::from_secs(10 * 31_557_600);
/// PostgreSQL cuts a longer name silently, to that of another database perhaps.
const LONGEST_DATABASE_NAME: usize = 63;

/// `None` when there is a problem, which is in `findings` then.
pub(super) fn inventory(
    written: &file::RollbackToml,
    tree: &Node,
    reading: &Reading,
    findings: &mut Findings,
) -> Option<Inventory> {
    let folder = reading.base.path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut meaning = Meaning { tree, reading, folder, findings };
    let (default_ssh, default_drain) = (file::SshTable::default(), file::DrainTable::default());
    let (default_verify, default_evidence) = (file::VerifyTable::default(), file::EvidenceTable::default());
    let (default_notify, default_targets) = (file::NotifyTable::default(), file::TargetsTable::default());

    // Everything is read before anything is missed: each line may add problems.
    let service = written.service.as_ref().and_then(|word| meaning.word("service", word, ServiceName::new));
    let incidents = written.incidents.as_deref().unwrap_or(default::INCIDENTS);
    let incidents = meaning.local_path("incidents", incidents);
    let hosts = written.host.as_ref().and_then(|hosts| meaning.hosts(hosts));
    let ssh = meaning.ssh(written.ssh.as_ref().unwrap_or(&default_ssh));
    let nginx = written.nginx.as_ref().and_then(|nginx| meaning.nginx(nginx));
    let blue_site = written.blue.as_ref().map(|app| meaning.site(Colour::Blue, app)).unwrap_or_default();
    let green_site = written.green.as_ref().map(|app| meaning.site(Colour::Green, app)).unwrap_or_default();
    meaning.colours_differ(&blue_site, &green_site);
    let green_run = green_site.run.clone();
    let blue = written.blue.as_ref().and_then(|app| meaning.app(Colour::Blue, app, blue_site));
    let green = written.green.as_ref().and_then(|app| meaning.app(Colour::Green, app, green_site));
    let drain_timeout = meaning.wait("drain.timeout", &written.drain.as_ref().unwrap_or(&default_drain).timeout);
    let verify = meaning.verify(written.verify.as_ref().unwrap_or(&default_verify));
    let database = written.database.as_ref().map(|database| meaning.database(database));
    if let (Some(_), Some(hosts)) = (&written.database, &written.host) {
        meaning.some_host_is("database", "database", hosts);
    }
    let evidence = meaning.evidence(written.evidence.as_ref().unwrap_or(&default_evidence), green_run);
    let notify = meaning.notify(written.notify.as_ref().unwrap_or(&default_notify));
    let targets = meaning.targets(written.targets.as_ref().unwrap_or(&default_targets));
    let contacts = written.contacts.as_ref().map_or_else(Contacts::default, |contacts| Contacts {
        oncall: contacts.oncall.clone(),
        commander: contacts.commander.clone(),
    });

    Some(Inventory {
        service: service?,
        environment: reading.environment.clone(),
        sources: [&reading.base].into_iter().chain(&reading.overlay).map(|document| document.path.clone()).collect(),
        incidents: incidents?,
        hosts: hosts?,
        ssh: ssh?,
        nginx: nginx?,
        blue: blue?,
        green: green?,
        drain_timeout: drain_timeout?,
        verify: verify?,
        database: match database {
            Some(database) => Some(database?),
            None => None,
        },
        evidence: evidence?,
        notify: notify?,
        targets: targets?,
        contacts,
    })
}

struct Meaning<'a, 'f, 's> {
    tree: &'a Node,
    reading: &'a Reading<'a>,
    /// The config's folder.
    folder: PathBuf,
    findings: &'f mut Findings<'s>,
}

/// What a colour is made of: `None` is missing or wrong, and reported.
#[derive(Default)]
struct Site {
    servers: Option<Vec<ServerAddress>>,
    run: Option<Run>,
}

/// Where a channel's address comes from, and its place in the file.
struct Address {
    value: String,
    path: String,
    place: Place,
    variable: Option<String>,
}

impl Meaning<'_, '_, '_> {
    // -- saying what is wrong

    fn wrong(&mut self, path: &str, what: impl std::fmt::Display) -> &mut Problem {
        let node = self.tree.nearest(path);
        let origin = node.variable.as_ref().map(|name| format!(" (from the variable {name})")).unwrap_or_default();
        self.findings.problem(node.place, readable(&format!("{}: {what}{origin}", label(path))))
    }

    /// Whether the key stands in the file, be it right or wrong.
    fn is_written(&self, path: &str) -> bool {
        self.tree.get(path).is_some()
    }

    // -- one value

    fn word<T>(&mut self, path: &str, word: &str, new: impl Fn(String) -> Result<T, BadWord>) -> Option<T> {
        match new(word.to_owned()) {
            Ok(word) => Some(word),
            Err(bad) => {
                self.wrong(path, bad);
                None
            }
        }
    }

    /// All of them, or `None` when one is wrong.
    fn each<T>(
        &mut self,
        path: &str,
        texts: &[String],
        mut read: impl FnMut(&mut Self, &str, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let read: Vec<Option<T>> =
            texts.iter().enumerate().map(|(index, text)| read(self, &format!("{path}.{index}"), text)).collect();
        read.into_iter().collect()
    }

    fn duration(&mut self, path: &str, text: &str, longest: Duration) -> Option<Duration> {
        match humantime::parse_duration(text) {
            Err(error) => {
                self.wrong(path, format!("{text:?} is not a duration")).hint = Some(match error {
                    humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
                        "it needs a unit, for example \"20s\"".into()
                    }
                    humantime::DurationError::UnknownUnit { unit, .. } => {
                        format!("{unit:?} is no unit; for example \"20s\"")
                    }
                    _ => "for example \"20s\"".into(),
                });
                None
            }
            Ok(duration) if duration > longest => {
                self.wrong(path, format!("{text:?} is longer than {}", humantime::format_duration(longest)));
                None
            }
            Ok(duration) => Some(duration),
        }
    }

    fn wait(&mut self, path: &str, text: &str) -> Option<Duration> {
        let duration = self.duration(path, text, LONGEST_WAIT)?;
        if duration.is_zero() {
            self.wrong(path, format!("{text:?} is no time at all; it must be more than zero"));
            return None;
        }
        Some(duration)
    }

    /// Any text but an empty one.
    fn text(&mut self, path: &str, text: &str) -> Option<String> {
        if text.trim().is_empty() {
            self.wrong(path, "is empty");
            return None;
        }
        // A NUL ends an argument early: the line that runs would not be the line that stands here.
        if text.contains('\0') {
            self.wrong(path, "has a NUL in it");
            return None;
        }
        Some(text.to_owned())
    }

    /// A line for `sh -c`.
    fn shell_line(&mut self, path: &str, text: &Option<String>) -> Result<Option<String>, ()> {
        optional(text, |text| self.text(path, text))
    }

    /// A path on this machine: `~/` is the home, everything else is relative to the config's folder.
    fn local_path(&mut self, path: &str, text: &str) -> Option<PathBuf> {
        self.text(path, text)?;
        match (text.strip_prefix("~/"), &self.reading.home) {
            (Some(rest), Some(home)) => Some(home.join(rest)),
            (Some(_), None) => {
                self.wrong(path, "the home folder that ~ stands for is not known").hint = Some("set HOME".into());
                None
            }
            (None, _) => Some(self.folder.join(text)),
        }
    }

    fn url(&mut self, path: &str, text: &str) -> Option<HttpUrl> {
        let url = self.word(path, text, HttpUrl::new)?;
        if let Err(why) = host_of_url(text) {
            self.wrong(path, format!("{text:?} {why}"));
            return None;
        }
        Some(url)
    }

    /// Words that are run without a shell.
    fn command(&mut self, path: &str, text: &str) -> Option<Vec<String>> {
        let words = match shell_words::split(text) {
            Err(_) => {
                self.wrong(path, format!("{text:?} has a quote that is not closed"));
                return None;
            }
            Ok(words) => words,
        };
        if words.first().is_none_or(String::is_empty) {
            self.wrong(path, "is empty");
            return None;
        }
        let is_operator = |word: &&String| ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"].contains(&word.as_str());
        if let Some(operator) = words.iter().find(is_operator) {
            self.wrong(path, format!("{operator:?} needs a shell, and the words are run without one"));
            return None;
        }
        Some(words)
    }

    // -- one table

    fn hosts(&mut self, written: &[file::HostTable]) -> Option<Vec<Host>> {
        if written.is_empty() {
            self.wrong("host", "there must be at least one host");
            return None;
        }
        let hosts: Vec<Option<Host>> =
            written.iter().enumerate().map(|(index, host)| self.host(&format!("host.{index}"), host)).collect();
        for (index, host) in hosts.iter().enumerate() {
            let earlier = hosts[..index].iter().flatten();
            let Some(host) = host else { continue };
            // Their files stand in one incident folder, and not every laptop's disk knows Web1 from web1.
            let same_name = |other: &&Host| other.name.as_str().eq_ignore_ascii_case(host.name.as_str());
            if let Some(other) = earlier.clone().find(same_name) {
                let what = format!("there is a host {:?} already", other.name.as_str());
                self.wrong(&format!("host.{index}.name"), what);
            } else if let Some(other) = earlier.clone().find(|other| other.ssh == host.ssh) {
                let what = format!("is where {} is already; two names for one host would be changed twice", other.name);
                self.wrong(&format!("host.{index}.ssh"), what);
            }
        }
        for role in ["balancer", "app"] {
            self.some_host_is(role, "host", written);
        }
        hosts.into_iter().collect()
    }

    /// Looks at the words: a host with another problem still has its roles.
    fn some_host_is(&mut self, role: &str, path: &str, hosts: &[file::HostTable]) {
        // A misspelt role is reported already, and may be this one.
        let each_is_known = hosts.iter().all(|host| {
            !host.roles.is_empty() && host.roles.iter().all(|word| default::ROLES.contains(&word.as_str()))
        });
        if each_is_known && !hosts.iter().any(|host| host.roles.iter().any(|word| word == role)) {
            self.wrong(path, format!("no host has the role {role:?}"));
        }
    }

    fn host(&mut self, path: &str, host: &file::HostTable) -> Option<Host> {
        let name = host.name.as_ref().and_then(|word| self.word(&format!("{path}.name"), word, HostName::new));
        let ssh = host.ssh.as_ref().and_then(|word| self.word(&format!("{path}.ssh"), word, SshDestination::new));
        let at = format!("{path}.roles");
        let mut roles = self.each(&at, &host.roles, Self::role);
        if host.roles.is_empty() {
            self.wrong(&at, "is empty").hint = Some(format!("leave it out for {}", default::ROLES.join(", ")));
            return None;
        }
        if let Some(roles) = &mut roles {
            // Said twice is said once.
            *roles = [Role::Balancer, Role::App, Role::Database].into_iter().filter(|r| roles.contains(r)).collect();
        }
        Some(Host { name: name?, ssh: ssh?, roles: roles? })
    }

    fn role(&mut self, path: &str, word: &str) -> Option<Role> {
        match word {
            "balancer" => Some(Role::Balancer),
            "app" => Some(Role::App),
            "database" => Some(Role::Database),
            _ => {
                let hint = match check::nearest(word, default::ROLES.into_iter()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("known: {}", default::ROLES.join(", ")),
                };
                self.wrong(path, format!("unknown role {word:?}")).hint = Some(hint);
                None
            }
        }
    }

    fn ssh(&mut self, ssh: &file::SshTable) -> Option<SshSettings> {
        let config = optional(&ssh.config, |text| self.local_path("ssh.config", text));
        let connect_timeout = self.wait("ssh.connect_timeout", &ssh.connect_timeout);
        let options = self.each("ssh.options", &ssh.options, Self::ssh_option);
        Some(SshSettings {
            config: config.ok()?,
            connect_timeout: connect_timeout?,
            at_once: ssh.at_once,
            options: options?,
        })
    }

    fn ssh_option(&mut self, path: &str, option: &str) -> Option<String> {
        match refused_ssh_option(option) {
            None => Some(option.to_owned()),
            Some((what, hint)) => {
                self.wrong(path, format!("{option:?} {what}")).hint = hint.map(String::from);
                None
            }
        }
    }

    fn nginx(&mut self, nginx: &file::NginxTable) -> Option<Nginx> {
        let file = nginx.file.as_ref().and_then(|word| self.word("nginx.file", word, RemotePath::new));
        let upstream = nginx.upstream.as_ref().and_then(|name| self.nginx_word("nginx.upstream", name));
        let template = optional(&nginx.template, |text| self.template(text));
        let probe = self.url("nginx.probe", &nginx.probe);
        let probe_host = optional(&nginx.probe_host, |name| self.nginx_word("nginx.probe_host", name));
        let test = self.command("nginx.test", &nginx.test);
        let reload = self.command("nginx.reload", &nginx.reload);
        Some(Nginx {
            file: file?,
            upstream: upstream?,
            template: template.ok()?,
            probe: probe?,
            probe_host: probe_host.ok()?,
            sudo: nginx.sudo,
            test: test?,
            reload: reload?,
        })
    }

    /// A word that stands in nginx's configuration without quotes.
    fn nginx_word(&mut self, path: &str, word: &str) -> Option<String> {
        self.text(path, word)?;
        if word.chars().any(|c| c.is_whitespace() || c.is_control() || "{};\"'\\$#".contains(c)) {
            self.wrong(path, format!("{word:?} has a character in it that no such name has"));
            return None;
        }
        Some(word.to_owned())
    }

    fn template(&mut self, text: &str) -> Option<(PathBuf, String)> {
        let path = self.local_path("nginx.template", text)?;
        match (self.reading.read_file)(&path) {
            Ok(template) => Some((path, template)),
            Err(error) => {
                self.wrong("nginx.template", format!("cannot read {}", path.display())).hint = Some(error.to_string());
                None
            }
        }
    }

    /// What of a colour can be held against the other one, as far as it is right.
    fn site(&mut self, colour: Colour, app: &file::AppTable) -> Site {
        let servers = app.servers.as_ref().and_then(|servers| self.servers(&format!("{colour}.servers"), servers));
        let run = app.run.as_ref().and_then(|run| self.run(&format!("{colour}.run"), run, servers.as_deref()));
        Site { servers, run }
    }

    fn app(&mut self, colour: Colour, app: &file::AppTable, site: Site) -> Option<App> {
        let at = |key: &str| format!("{colour}.{key}");
        let health = self.each(&at("health"), &app.health, Self::url);
        let log = optional(&app.log, |word| self.word(&at("log"), word, RemotePath::new));
        let stop_timeout = self.wait(&at("stop_timeout"), &app.stop_timeout);
        let (servers, run) = (site.servers?, site.run?);
        Some(App { colour, servers, health: health?, log: log.ok()?, run, stop_timeout: stop_timeout? })
    }

    fn servers(&mut self, path: &str, texts: &[String]) -> Option<Vec<ServerAddress>> {
        if texts.is_empty() {
            self.wrong(path, "there must be at least one server");
            return None;
        }
        self.each(path, texts, |meaning, path, text| {
            let server = meaning.word(path, text, ServerAddress::new)?;
            let why = match server.unix_path() {
                Some(socket) if !socket.starts_with('/') => "is not unix: and an absolute path",
                None if server.port().is_none_or(|port| port == 0) => "has no port from 1 to 65535",
                _ => return Some(server),
            };
            meaning.wrong(path, format!("{text:?} {why}"));
            None
        })
    }

    fn run(&mut self, path: &str, run: &file::RunTable, servers: Option<&[ServerAddress]>) -> Option<Run> {
        self.exactly_one(path, ALTERNATIVES[0])?;
        if let Some(unit) = &run.systemd {
            return self.word(&format!("{path}.systemd"), unit, UnitName::new).map(Run::Systemd);
        }
        if let Some(name) = &run.docker {
            return self.word(&format!("{path}.docker"), name, ContainerName::new).map(Run::Docker);
        }
        if let Some(compose) = &run.compose {
            let at = |key: &str| format!("{path}.compose.{key}");
            let file = compose.file.as_ref().and_then(|word| self.word(&at("file"), word, RemotePath::new));
            let service = compose.service.as_ref().and_then(|word| self.word(&at("service"), word, ContainerName::new));
            let project = optional(&compose.project, |word| self.word(&at("project"), word, ContainerName::new));
            return Some(Run::Compose { file: file?, project: project.ok()?, service: service? });
        }
        let process = run.process.as_ref()?;
        let at = |key: &str| format!("{path}.process.{key}");
        let exe = process.exe.as_ref().and_then(|word| self.word(&at("exe"), word, RemotePath::new));
        let start = self.shell_line(&at("start"), &process.start);
        if let (Some(port), Some(servers)) = (process.port, servers)
            && !servers.iter().any(|server| server.port() == Some(port))
        {
            let servers: Vec<&str> = servers.iter().map(ServerAddress::as_str).collect();
            self.wrong(&at("port"), format!("{port} is not a port of its servers ({})", servers.join(", ")));
        }
        Some(Run::Process { exe: exe?, port: process.port?, start: start.ok()? })
    }

    /// Problems unless the table has one of the keys, and one only.
    fn exactly_one(&mut self, path: &str, keys: &[&str]) -> Option<()> {
        let Some(Node { kind: Kind::Table(entries), .. }) = self.tree.get(path) else { return Some(()) };
        let named: Vec<_> = entries.iter().filter(|entry| keys.contains(&entry.key.as_str())).collect();
        match named.as_slice() {
            [_] => Some(()),
            [] => {
                self.wrong(path, format!("one of {} is needed", any_of(keys)));
                None
            }
            [first, second, ..] => {
                let what = format!("{}: {} and {} exclude each other", label(path), first.key, second.key);
                self.findings.problem(second.place, what);
                None
            }
        }
    }

    fn colours_differ(&mut self, blue: &Site, green: &Site) {
        let blues: Vec<String> = blue.servers.iter().flatten().map(plain_server).collect();
        for (index, server) in green.servers.iter().flatten().enumerate() {
            if blues.contains(&plain_server(server)) {
                self.wrong(&format!("green.servers.{index}"), format!("{:?} is blue's too", server.as_str()));
            }
        }
        if let (Some(blue), Some(green)) = (&blue.run, &green.run)
            && same_unit(blue, green)
        {
            let what = format!("is {}, which is blue's too; to stop green would stop blue", green.describe());
            self.wrong("green.run", what);
        }
    }

    fn verify(&mut self, verify: &file::VerifyTable) -> Option<Verify> {
        let interval = self.wait("verify.interval", &verify.interval);
        let timeout = self.wait("verify.timeout", &verify.timeout);
        let public = self.each("verify.public", &verify.public, Self::url);
        let smoke = self.shell_line("verify.smoke", &verify.smoke);
        let (interval, timeout) = (interval?, timeout?);
        if interval.saturating_mul(verify.passes.saturating_sub(1)) >= timeout {
            let what = format!(
                "{} is too short for {} passes, one each {}",
                humantime::format_duration(timeout),
                verify.passes,
                humantime::format_duration(interval)
            );
            // The default is not at fault where only the others are written.
            let path = ["timeout", "passes", "interval"].map(|key| format!("verify.{key}"));
            let path = path.iter().find(|path| self.is_written(path)).map_or("verify", String::as_str).to_owned();
            let place = self.tree.nearest(&path).place;
            self.findings.problem(place, format!("verify.timeout: {what}"));
            return None;
        }
        Some(Verify { passes: verify.passes, interval, timeout, public: public?, smoke: smoke.ok()? })
    }

    fn database(&mut self, database: &file::DatabaseTable) -> Option<Database> {
        let name = database.name.as_ref().and_then(|name| self.role_or_database("database.name", name));
        let user = optional(&database.user, |name| self.role_or_database("database.user", name));
        let admin = self.role_or_database("database.admin", &database.admin);
        let container = optional(&database.container, |word| self.word("database.container", word, ContainerName::new));
        let backups = optional(&database.backups, |word| self.word("database.backups", word, RemotePath::new));
        let deployed_at = optional(&database.deployed_at, |text| self.time("database.deployed_at", text));
        let checks = self.each("database.checks", &database.checks, Self::text);
        let health = self.each("database.health", &database.health, Self::url);
        let keep_old = self.duration("database.keep_old", &database.keep_old, LONGEST_AGE);
        Some(Database {
            name: name?,
            user: user.ok()?,
            admin: admin?,
            container: container.ok()?,
            backups: backups.ok()?,
            deployed_at: deployed_at.ok()?.map(|time| time.to_utc()),
            checks: checks?,
            health: health?,
            jobs: database.jobs,
            keep_old: keep_old?,
        })
    }

    fn role_or_database(&mut self, path: &str, name: &str) -> Option<String> {
        let name = self.text(path, name)?;
        if name.len() > LONGEST_DATABASE_NAME {
            self.wrong(
                path,
                format!("{name:?} is longer than {LONGEST_DATABASE_NAME} bytes, where PostgreSQL cuts it"),
            );
            return None;
        }
        if name.chars().any(char::is_control) {
            self.wrong(path, format!("{name:?} has a control character in it"));
            return None;
        }
        Some(name)
    }

    fn time(&mut self, path: &str, text: &str) -> Option<chrono::DateTime<chrono::FixedOffset>> {
        chrono::DateTime::parse_from_rfc3339(text)
            .map_err(|_| {
                let hint = "RFC 3339, for example \"2026-11-20T20:58:00Z\"";
                self.wrong(path, format!("{text:?} is not a time")).hint = Some(hint.into());
            })
            .ok()
    }

    fn evidence(&mut self, evidence: &file::EvidenceTable, green: Option<Run>) -> Option<Evidence> {
        let files = self
            .each("evidence.files", &evidence.files, |meaning, path, word| meaning.word(path, word, RemotePath::new));
        let written = evidence.journal.clone().unwrap_or_else(|| vec![default::JOURNAL.into()]);
        let mut journal =
            self.each("evidence.journal", &written, |meaning, path, word| meaning.word(path, word, UnitName::new));
        if let (None, Some(journal), Some(Run::Systemd(unit))) = (&evidence.journal, &mut journal, green) {
            journal.push(unit);
        }
        let max_bytes = match size(&evidence.max_bytes) {
            Ok(bytes) => Some(bytes),
            Err(why) => {
                self.wrong("evidence.max_bytes", format!("{:?} {why}", evidence.max_bytes)).hint =
                    Some(format!("for example {:?}", default::MAX_BYTES));
                None
            }
        };
        let timeout = self.wait("evidence.timeout", &evidence.timeout);
        let redact = self.each("evidence.redact", &evidence.redact, Self::regex);
        Some(Evidence { files: files?, journal: journal?, max_bytes: max_bytes?, timeout: timeout?, redact: redact? })
    }

    fn regex(&mut self, path: &str, text: &str) -> Option<Regex> {
        match Regex::new(text) {
            Ok(regex) if regex.is_match("") => {
                self.wrong(path, format!("{text:?} matches the empty text, so it would blot out nothing, everywhere"));
                None
            }
            Ok(regex) => Some(regex),
            Err(error) => {
                // Its message draws the pattern over several lines; the reason stands on the last one.
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.wrong(path, format!("{text:?} is not a regular expression")).hint = Some(readable(&reason));
                None
            }
        }
    }

    fn targets(&mut self, targets: &file::TargetsTable) -> Option<Targets> {
        let mut target = |key: &str, text: &str| {
            let path = format!("targets.{key}");
            let duration = self.duration(&path, text, LONGEST_AGE)?;
            if duration.is_zero() {
                self.wrong(&path, format!("{text:?} is no time at all; it must be more than zero"));
            }
            Some(duration)
        };
        let traffic = target("traffic", &targets.traffic);
        let rollback = target("rollback", &targets.rollback);
        let restore = target("restore", &targets.restore);
        let rto = target("rto", &targets.rto);
        let rpo = target("rpo", &targets.rpo);
        let targets = Targets { traffic, rollback, restore, rto, rpo };
        Some(targets)
    }

    // -- the channels: what is wrong in the file is a problem, what is wrong outside it a warning

    fn notify(&mut self, notify: &file::NotifyTable) -> Option<Notify> {
        let timeout = self.wait("notify.timeout", &notify.timeout);
        let mut channels = Vec::new();
        if let Some(slack) = &notify.slack {
            let webhook =
                self.address("notify.slack", ALTERNATIVES[1], &slack.webhook_env, &slack.webhook).and_then(|address| {
                    self.warn_of_literal(&address, "webhook_env = \"SLACK_WEBHOOK_URL\"");
                    self.http_secret(address, "slack")
                });
            channels.extend(webhook.map(|webhook| Channel::Slack { webhook }));
        }
        if let Some(email) = &notify.email {
            channels.extend(self.email(email));
        }
        for (index, webhook) in notify.webhook.iter().enumerate() {
            let path = format!("notify.webhook.{index}");
            let url = self.address(&path, ALTERNATIVES[3], &webhook.url_env, &webhook.url).and_then(|address| {
                self.warn_of_literal(&address, "url_env = \"STATUS_WEBHOOK_URL\"");
                self.http_secret(address, "webhook")
            });
            channels.extend(url.map(|url| Channel::Webhook { url }));
        }
        Some(Notify { timeout: timeout?, channels })
    }

    fn email(&mut self, email: &file::EmailTable) -> Option<Channel> {
        let path = "notify.email";
        let smtp = self.address(path, ALTERNATIVES[2], &email.smtp_env, &email.smtp).and_then(|address| {
            if address.value.contains('@') {
                self.warn_of_literal(&address, "smtp_env = \"SMTP_URL\"");
            }
            match check_smtp(&address.value) {
                Ok(()) => Some(Secret::new(address.value)),
                Err(why) => self.bad_address(&address, why, "email"),
            }
        });
        let from = email.from.as_ref().and_then(|text| self.mailbox(&format!("{path}.from"), text));
        let at = format!("{path}.to");
        let to = email.to.as_ref().and_then(|texts| self.each(&at, texts, Self::mailbox));
        if email.to.as_ref().is_some_and(Vec::is_empty) {
            self.wrong(&at, "there must be at least one address");
        }
        Some(Channel::Email { smtp: smtp?, from: from?, to: to? })
    }

    fn mailbox(&mut self, path: &str, text: &str) -> Option<String> {
        if text.parse::<lettre::Address>().is_ok() {
            return Some(text.to_owned());
        }
        let node = self.tree.nearest(path);
        match &node.variable {
            Some(name) => {
                let what =
                    format!("the value of the variable {name} is not an email address; {}", check::left_out("email"));
                self.findings.warning(node.place, what);
            }
            None => {
                self.wrong(path, format!("{text:?} is not an email address"));
            }
        }
        None
    }

    /// The address of a channel, from the variable that `env` names or as it is written.
    fn address(
        &mut self,
        path: &str,
        keys: &[&str],
        env: &Option<String>,
        written: &Option<String>,
    ) -> Option<Address> {
        self.exactly_one(path, keys)?;
        let path = format!("{path}.{}", keys[usize::from(env.is_none())]);
        let node = self.tree.nearest(&path);
        let (place, variable) = (node.place, node.variable.clone());
        let Some(name) = env else {
            return written.clone().map(|value| Address { value, path, place, variable });
        };
        if !is_variable_name(name) {
            // Not quoted: whoever writes the secret here by mistake shall not see it on the screen.
            let hint = format!("for example {:?}, without the $", "SLACK_WEBHOOK_URL");
            self.wrong(&path, "is not the name of a variable").hint = Some(hint);
            return None;
        }
        match check::look_up(self.reading.variable, name) {
            Ok(value) => Some(Address { value, path, place, variable: Some(name.clone()) }),
            Err(why) => {
                let channel = path.split('.').nth(1).unwrap_or_default();
                self.findings.warning(place, format!("{why}; {}", check::left_out(channel)));
                None
            }
        }
    }

    fn warn_of_literal(&mut self, address: &Address, instead: &str) {
        if address.variable.is_none() {
            let what = format!("{}: a secret stands in the file", label(&address.path));
            self.findings.warning(address.place, what).hint =
                Some(format!("write {instead} and set the variable in .env.deploy"));
        }
    }

    fn http_secret(&mut self, address: Address, channel: &str) -> Option<Secret> {
        let refused = match HttpUrl::new(address.value.as_str()) {
            Err(bad) => Some(bad.why),
            Ok(_) => host_of_url(&address.value).err(),
        };
        match refused {
            None => Some(Secret::new(address.value)),
            Some(why) => self.bad_address(&address, why, channel),
        }
    }

    /// Says why without the address itself, which may be a secret.
    fn bad_address(&mut self, address: &Address, why: &str, channel: &str) -> Option<Secret> {
        match &address.variable {
            Some(name) => {
                let what = format!("the value of the variable {name} {why}; {}", check::left_out(channel));
                self.findings.warning(address.place, what);
            }
            None => {
                self.findings.problem(address.place, format!("{}: the address {why}", label(&address.path)));
            }
        }
        None
    }
}

/// `host.1.ssh` as people read it: `host[1].ssh`.
fn label(path: &str) -> String {
    let mut label = String::new();
    for step in path.split('.') {
        if step.bytes().all(|b| b.is_ascii_digit()) {
            label.push_str(&format!("[{step}]"));
        } else {
            if !label.is_empty() {
                label.push('.');
            }
            label.push_str(step);
        }
    }
    label
}

/// `Ok(None)` when the key is left out, `Err` when its value is wrong and reported.
fn optional<T>(text: &Option<String>, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, ()> {
    text.as_deref().map(|text| read(text).ok_or(())).transpose()
}

/// The same server, however it is written.
fn plain_server(server: &ServerAddress) -> String {
    match server.port() {
        None => server.as_str().into(),
        Some(port) => {
            let host =
                server.as_str().strip_suffix(&format!(":{port}")).unwrap_or(server.as_str()).to_ascii_lowercase();
            format!("{}:{port}", if host == "localhost" { "127.0.0.1" } else { &host })
        }
    }
}

fn same_unit(blue: &Run, green: &Run) -> bool {
    match (blue, green) {
        (Run::Systemd(blue), Run::Systemd(green)) => {
            let plain = |unit: &UnitName| unit.as_str().trim_end_matches(".service").to_owned();
            plain(blue) == plain(green)
        }
        (Run::Docker(_) | Run::Compose { .. } | Run::Systemd(_), _) => blue == green,
        // One program on two ports is the usual case; the ports differ because the servers do.
        (Run::Process { exe, port, .. }, Run::Process { exe: other, port: other_port, .. }) => {
            exe == other && port == other_port
        }
        (Run::Process { .. }, _) => false,
    }
}
