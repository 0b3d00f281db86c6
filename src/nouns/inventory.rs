//! What the config means: hosts by role, the two colours, nginx, limits. An inventory cannot be
//! invalid: `config` is the only place that makes one, and reports every problem instead when it
//! cannot. No I/O, no defaults: the defaults stand in `config`, where the file's keys stand too.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use regex::Regex;
use serde::Serialize;

use crate::nouns::change::{ChangePlace, EnvVar, Hook, NamedChange};
use crate::nouns::colour::{Colour, Each};
use crate::nouns::earlier::Earlier;
use crate::nouns::migration::Migrations;
use crate::nouns::names::{
    ChangeName, ContainerName, Environment, HostName, HttpUrl, RemotePath, ServerAddress, ServiceName, SshDestination,
    UnitName,
};
use crate::nouns::rules::{Bake, Judging};
use crate::nouns::secret::Secret;

/// Everything that one rollback needs to know beforehand.
#[derive(Debug, Clone)]
pub struct Inventory {
    pub service: ServiceName,
    /// The word of the whole file: the lock's and the messages'. Where there is but one service it is that one's.
    pub group: ServiceName,
    /// Whether the config has no other service.
    pub is_alone: bool,
    pub environment: Environment,
    /// The files the config was read from, the base first.
    pub sources: Vec<PathBuf>,
    /// Where incident folders go.
    pub incidents: PathBuf,
    /// In the order of the config; never empty.
    pub hosts: Vec<Host>,
    pub ssh: SshSettings,
    pub nginx: Nginx,
    pub blue: App,
    pub green: App,
    pub drain_timeout: Duration,
    pub verify: Verify,
    pub judging: Judging,
    /// Who is asked beside the logs, where there is one.
    pub prometheus: Option<Prometheus>,
    /// Its rules hold for `--bake`, too.
    pub bake: Bake,
    pub database: Option<Database>,
    /// What else a release changes, in the order of the config.
    pub changes: Vec<NamedChange>,
    /// What blue could be put back to.
    pub earlier: Option<Earlier>,
    /// How migrations are taken back.
    pub migrations: Option<Migrations>,
    /// What is run beside the steps, in the order of the config.
    pub hooks: Vec<Hook>,
    pub evidence: Evidence,
    pub notify: Notify,
    pub targets: Targets,
    pub contacts: Contacts,
    pub tickets: Tickets,
    pub drill: Option<DrillDue>,
}

#[derive(Debug, Clone)]
pub struct Host {
    pub name: HostName,
    pub ssh: SshDestination,
    /// Without duplicates. Empty where, of several services, this one only changes something there.
    pub roles: Vec<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Balancer,
    App,
    Database,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Balancer, Role::App, Role::Database];

    pub fn word(self) -> &'static str {
        match self {
            Role::Balancer => "balancer",
            Role::App => "app",
            Role::Database => "database",
        }
    }

    pub fn of_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }
}

#[derive(Debug, Clone)]
pub struct SshSettings {
    /// `ssh -F`; `None` leaves ssh to its own files.
    pub config: Option<PathBuf>,
    pub connect_timeout: Duration,
    /// Connections that are made at the same moment.
    pub at_once: u32,
    /// Each one is passed as `-o`.
    pub options: Vec<String>,
}

/// In which way nginx's configuration says who serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// By the weights of the servers of one or several upstreams, all in one file.
    Weights { upstreams: Vec<String>, context: Option<NginxContext> },
    /// By one word, mostly an upstream's name, or the end of one.
    Word { words: Each<String>, stands: WordStands },
    /// By where a link points: to one of two files, as the config names them: a path, or a name in the link's folder.
    Link(Each<String>),
    /// By a file that is the same as one of two others, named as those of a link.
    Copy(Each<String>),
    /// The config does not say. Nothing can be switched then, only found out.
    NotSaid,
}

/// Which of two upstreams of one name, in a file with both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NginxContext {
    Http,
    Stream,
}

/// Where a word stands that says who serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WordStands {
    /// `set $active WORD;`, or a map's default. The variable without `$`; `None` is the only one that is given such a word.
    InAVariable(Option<String>),
    /// `proxy_pass http://WORD;`
    InAPass,
}

#[derive(Debug, Clone)]
pub struct Nginx {
    pub file: RemotePath,
    /// Files that are changed with it, where several upstreams stand in several.
    pub also: Vec<RemotePath>,
    pub layout: Layout,
    /// nginx runs in it, and so do the words of its commands; `None` is nginx on the host.
    pub container: Option<ContainerName>,
    /// The template of the block as read from the laptop: its path and text; `None` is the built-in one.
    pub template: Option<(PathBuf, String)>,
    pub probe: HttpUrl,
    pub probe_host: Option<String>,
    /// Whether nginx waits for the line of the PROXY protocol where the probe asks.
    pub proxy_protocol: bool,
    pub sudo: bool,
    /// The words of the test command, never empty.
    pub test: Vec<String>,
    /// The words of the reload command, never empty.
    pub reload: Vec<String>,
}

/// One colour of the application.
#[derive(Debug, Clone)]
pub struct App {
    pub colour: Colour,
    pub servers: Vec<ServerAddress>,
    /// Which balancers can send to them.
    pub reach: Reach,
    pub health: Vec<HttpUrl>,
    pub health_with: HealthWith,
    pub log: Option<RemotePath>,
    pub release: ReleaseSaid,
    pub run: Run,
    /// After SIGTERM this long, then SIGKILL.
    pub stop_timeout: Duration,
}

/// What says which release a colour is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseSaid {
    /// The config does not say: what can be found of its image, its folder or its program.
    Nowhere,
    InFile(RemotePath),
    /// In the answer's body, or in one of its headers.
    ByUrl {
        url: HttpUrl,
        header: Option<String>,
    },
}

/// What the health of a colour is asked with, and which answers are good.
#[derive(Debug, Clone, Default)]
pub struct HealthWith {
    /// `Name: value`; any of them may hold a secret, which the head of a request often does.
    pub headers: Vec<Header>,
    /// Certificates on the host that the server's own is held against; `None` is those that the host trusts.
    pub ca: Option<RemotePath>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// Empty is anything from 200 to 299.
    pub statuses: Vec<u16>,
}

/// A line of a request's head.
#[derive(Debug, Clone)]
pub struct Header {
    pub line: Secret,
    /// What must be kept out of all text: the value, where it came from a variable.
    pub hidden: Option<Secret>,
}

/// What keeps a colour running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    Systemd(UnitName),
    Docker(ContainerName),
    Compose {
        file: RemotePath,
        /// `docker compose -p`; `None` lets compose derive it from the folder.
        project: Option<ContainerName>,
        service: ContainerName,
    },
    Process {
        exe: RemotePath,
        port: u16,
        /// A line for `sh -c` on the host, as the operator wrote it.
        start: Option<String>,
    },
    /// A supervisor that only its own commands know.
    Command(Commands),
}

/// The words by which a supervisor of any kind is told; run as the account that we log in with, never by a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    pub start: Vec<String>,
    /// Returns when it has stopped.
    pub stop: Vec<String>,
    /// Ends with 0 where it runs, with 4 where that cannot be said, and with anything else where it does not.
    pub status: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Verify {
    /// Answers in a row; at least 1.
    pub passes: u32,
    pub interval: Duration,
    pub timeout: Duration,
    /// Asked from the laptop.
    pub public: Vec<HttpUrl>,
    /// A line for `sh -c` on the laptop, run in the config's folder.
    pub smoke: Option<String>,
}

/// What `--restore-db` restores, and through what.
#[derive(Debug, Clone)]
pub struct Database {
    pub name: String,
    /// The role that owns the data; `None` is the owner of the live database.
    pub user: Option<String>,
    /// The role that may create and rename databases.
    pub admin: String,
    /// psql runs in it through `docker exec -i`; `None` is psql on the host.
    pub container: Option<ContainerName>,
    /// Where the dumps are: an absolute path, with `*` where there are several.
    pub backups: Option<RemotePath>,
    /// A dump that is newer holds what the bad release wrote.
    pub deployed_at: Option<DateTime<Utc>>,
    /// SQL that must say true on the copy before it goes live.
    pub checks: Vec<String>,
    /// Asked on the app hosts after the swap.
    pub health: Vec<HttpUrl>,
    /// Parallel jobs of the load; at least 1.
    pub jobs: u32,
    /// How long the replaced database is kept.
    pub keep_old: Duration,
}

#[derive(Debug, Clone)]
pub struct Evidence {
    pub files: Vec<RemotePath>,
    pub journal: Vec<UnitName>,
    /// Of each file, its newest part, before compression.
    pub max_bytes: u64,
    pub timeout: Duration,
    /// Besides the built-in ones.
    pub redact: Vec<Regex>,
}

#[derive(Debug, Clone)]
pub struct Notify {
    pub timeout: Duration,
    pub channels: Vec<Channel>,
}

/// Where messages go. Addresses that carry a secret are [`Secret`]s: they are never printed.
#[derive(Debug, Clone)]
pub enum Channel {
    Slack {
        webhook: Secret,
    },
    /// A channel by Slack's own API: one incident, one thread.
    SlackThread {
        token: Secret,
        channel: String,
        url: String,
    },
    Email {
        smtp: Secret,
        from: String,
        to: Vec<String>,
    },
    Webhook {
        url: Secret,
    },
    PagerDuty {
        key: Secret,
        url: String,
    },
    Statuspage {
        page: String,
        component: Option<String>,
        token: Secret,
        url: String,
    },
    /// Alerts with such labels are silenced while a run is at it.
    Alertmanager {
        url: String,
        matchers: Vec<Matcher>,
    },
    Grafana {
        url: String,
        token: Secret,
    },
}

impl Channel {
    /// What must not be read anywhere.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Channel::Slack { webhook: secret }
            | Channel::SlackThread { token: secret, .. }
            | Channel::Email { smtp: secret, .. }
            | Channel::Webhook { url: secret }
            | Channel::PagerDuty { key: secret, .. }
            | Channel::Statuspage { token: secret, .. }
            | Channel::Grafana { token: secret, .. } => Some(secret),
            Channel::Alertmanager { .. } => None,
        }
    }
}

/// Which alerts: `service="listings"`, `env=~"prod.*"`, `team!="dba"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    pub name: String,
    pub value: String,
    pub is_regex: bool,
    pub is_equal: bool,
}

/// A server that has counted, too, and knows of alerts.
#[derive(Debug, Clone)]
pub struct Prometheus {
    /// Without the slash at its end.
    pub url: String,
    pub login: Option<Login>,
    /// The labels of alerts, in braces; one that fires counts as bad.
    pub alerts: Option<String>,
    pub queries: Vec<Query>,
}

/// What it asks for before it answers.
#[derive(Debug, Clone)]
pub enum Login {
    Token(Secret),
    Password { user: String, password: Secret },
}

/// One question to it.
#[derive(Debug, Clone)]
pub struct Query {
    pub name: String,
    pub asks: Asks,
}

#[derive(Debug, Clone)]
pub enum Asks {
    /// Of so many so many are bad; no more than this share may be.
    Share { bad: String, of: String, most: f64 },
    /// No more than this.
    Value { expr: String, most: f64 },
}

/// What the run is measured against.
#[derive(Debug, Clone)]
pub struct Targets {
    pub traffic: Option<Duration>,
    pub rollback: Option<Duration>,
    pub restore: Option<Duration>,
    pub rto: Option<Duration>,
    pub rpo: Option<Duration>,
}

#[derive(Debug, Clone, Default)]
pub struct Contacts {
    pub oncall: Option<String>,
    pub commander: Option<String>,
    /// Who is to be told when it lasts that long, the first one first.
    pub escalate: Vec<Escalation>,
}

/// Where incidents are filed.
#[derive(Debug, Clone, Default)]
pub struct Tickets {
    pub github: Option<GithubIssues>,
    pub jira: Option<JiraProject>,
}

/// The issues of a repository.
#[derive(Debug, Clone)]
pub struct GithubIssues {
    /// `owner/name`
    pub repository: String,
    pub token: Token,
    /// Where the API is.
    pub url: String,
}

/// A project of a Jira.
#[derive(Debug, Clone)]
pub struct JiraProject {
    pub url: String,
    /// Its key.
    pub project: String,
    pub issue_type: String,
    /// Whose token it is, where it goes with a name; one without is sent by itself.
    pub user: Option<String>,
    pub token: Token,
}

/// A token that may be missing where nobody needs it.
#[derive(Debug, Clone)]
pub struct Token {
    /// The variable that holds it.
    pub env: String,
    pub secret: Option<Secret>,
}

/// How often the way back is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillDue {
    pub every: Duration,
    /// Of a database's dumps, where there is one.
    pub verify_every: Option<Duration>,
}

/// Whom to call, and after how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    pub after: Duration,
    pub name: String,
}

impl std::fmt::Display for Escalation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} after {}", self.name, humantime::format_duration(self.after))
    }
}

/// Which balancers can send to a colour on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Local servers are reached from their own host only, and so are those in its own network of containers.
    OwnHost,
    AnyBalancer,
}

impl Reach {
    /// Whether a balancer can send to a colour on that host.
    pub fn includes(self, balancer: &HostName, app: &HostName) -> bool {
        match self {
            Reach::OwnHost => balancer == app,
            Reach::AnyBalancer => true,
        }
    }
}

impl Nginx {
    /// The probe as `fetch_all` in `lib.sh` takes it.
    pub fn probe_url(&self) -> String {
        let before = if self.proxy_protocol { "proxy+" } else { "" };
        format!("{before}{}", self.probe)
    }

    /// The files of the two sides, where the layout has some.
    pub fn side_files(&self) -> Option<&Each<String>> {
        match &self.layout {
            Layout::Link(files) | Layout::Copy(files) => Some(files),
            Layout::Weights { .. } | Layout::Word { .. } | Layout::NotSaid => None,
        }
    }

    /// The path of what is named beside `file`, as a link there would name it; without `..`.
    pub fn beside(&self, name: &str) -> String {
        let folder = self.file.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        let before = if name.starts_with('/') { "" } else { folder };
        let mut steps: Vec<&str> = Vec::new();
        for step in before.split('/').chain(name.split('/')) {
            match step {
                "" | "." => {}
                ".." => drop(steps.pop()),
                step => steps.push(step),
            }
        }
        format!("/{}", steps.join("/"))
    }
}

impl Inventory {
    /// Nothing of the service is on these hosts, as far as the roles go: what is done on all hosts of a role is not done there.
    /// What is shared with other services is done where it is said.
    pub fn leave_out(&mut self, names: &[HostName], roles: &[Role], shared: &[ChangeName]) {
        for host in self.hosts.iter_mut().filter(|host| names.contains(&host.name)) {
            host.roles.retain(|role| !roles.contains(role));
        }
        let own =
            self.changes.iter_mut().filter(|change| !shared.contains(&change.name)).map(|change| &mut change.manner);
        let earlier = self.earlier.iter_mut().map(|earlier| &mut earlier.change.manner);
        let migrations = self.migrations.iter_mut().map(|migrations| &mut migrations.change.manner);
        let hooks = self.hooks.iter_mut().map(|hook| &mut hook.manner);
        let hosts = &self.hosts;
        let is_meant = |name: &HostName, words: &[String]| {
            let host = hosts.iter().find(|host| host.name == *name);
            words.iter().any(|word| match Role::of_word(word) {
                Some(role) => host.is_some_and(|host| host.is(role)),
                None => word == name.as_str(),
            })
        };
        let mut named: Vec<HostName> = Vec::new();
        for manner in own.chain(earlier).chain(migrations).chain(hooks) {
            if let ChangePlace::On(places) = &mut manner.on {
                places.retain(|name| is_meant(name, &manner.named_by));
                named.extend(places.iter().cloned());
            }
        }
        for change in self.changes.iter().filter(|change| shared.contains(&change.name)) {
            if let ChangePlace::On(places) = &change.manner.on {
                named.extend(places.iter().cloned());
            }
        }
        self.hosts.retain(|host| !host.roles.is_empty() || named.contains(&host.name));
    }

    /// What the service's files on the hosts begin with.
    pub fn word_on_hosts(&self) -> String {
        if self.is_alone { self.service.to_string() } else { format!("{}.{}", self.group, self.service) }
    }

    pub fn app(&self, colour: Colour) -> &App {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }

    /// Each of its colours beside each of another service's: its own first.
    pub fn apps_beside<'i>(&'i self, other: &'i Inventory) -> impl Iterator<Item = (&'i App, &'i App)> {
        let beside = |own: Colour| Colour::BOTH.map(|theirs| (self.app(own), other.app(theirs)));
        Colour::BOTH.into_iter().flat_map(beside)
    }

    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(move |host| host.is(role))
    }

    pub fn host(&self, name: &HostName) -> Option<&Host> {
        self.hosts.iter().find(|host| &host.name == name)
    }

    pub fn change(&self, name: &ChangeName) -> Option<&NamedChange> {
        let of_a_release = self.earlier.iter().map(|earlier| &earlier.change);
        let of_migrations = self.migrations.iter().map(|migrations| &migrations.change);
        self.changes.iter().chain(of_a_release).chain(of_migrations).find(|change| change.name == *name)
    }

    /// Every secret that the config or its variables named, so that it can be kept out of all text.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let addresses = self.notify.channels.iter().filter_map(Channel::secret);
        let login = self.prometheus.iter().filter_map(|prometheus| match prometheus.login.as_ref()? {
            Login::Token(secret) | Login::Password { password: secret, .. } => Some(secret),
        });
        let tickets = [
            self.tickets.github.as_ref().map(|github| &github.token),
            self.tickets.jira.as_ref().map(|jira| &jira.token),
        ];
        let tickets = tickets.into_iter().flatten().filter_map(|token| token.secret.as_ref());
        let headers = [&self.blue, &self.green].into_iter().flat_map(|app| &app.health_with.headers);
        let changes = self.changes.iter().chain(self.migrations.iter().map(|migrations| &migrations.change));
        let changes = changes.map(|change| &change.manner);
        let manners = changes.chain(self.hooks.iter().map(|hook| &hook.manner));
        let hidden = manners.flat_map(|manner| &manner.env).filter_map(EnvVar::hidden);
        addresses.chain(login).chain(tickets).chain(headers.filter_map(|header| header.hidden.as_ref())).chain(hidden)
    }
}

impl Host {
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

impl HealthWith {
    pub fn accepts(&self, status: u16) -> bool {
        if self.statuses.is_empty() { (200..300).contains(&status) } else { self.statuses.contains(&status) }
    }
}

impl App {
    /// That it is run as another service's colour is, in words.
    pub fn runs_as(&self, of: &Inventory, theirs: &App) -> String {
        format!("{} is {}, and so is {}'s {}", self.colour, self.run.describe(), of.service, theirs.colour)
    }

    /// Its servers as nginx's file writes them.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(ToString::to_string).collect()
    }

    /// The TCP ports of its servers, without duplicates, in order.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.servers.iter().filter_map(ServerAddress::port).collect();
        if let Run::Process { port, .. } = self.run {
            ports.push(port);
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl Run {
    /// How people call it on the screen: `unit listings-blue.service`.
    pub fn describe(&self) -> String {
        match self {
            Run::Systemd(unit) => format!("unit {unit}"),
            Run::Docker(name) => format!("container {name}"),
            Run::Compose { service, .. } => format!("compose service {service}"),
            Run::Process { exe, port, .. } => format!("process {exe} on port {port}"),
            Run::Command(commands) => format!("what `{}` asks for", commands.status.join(" ")),
        }
    }
}
