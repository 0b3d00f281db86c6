//! The file as it is written, key by key, and the defaults, each with its reason. The comments on the
//! types become the descriptions of the schema, so they speak to whoever edits a `rollback.toml`.
//! Never checks anything: what the schema cannot say is `meaning`'s.
//!
//! Every key is an `Option` or has a default, so that a file with problems can still be read as far as
//! it goes; the required keys are named to the schema, which `check` holds the documents against.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// The defaults, each with its reason.
pub mod default {
    /// Beside the config: the runbook's scripts and the incidents are found in one place.
    pub const INCIDENTS: &str = "incidents";
    /// A host with one role only is written so; most services have everything on each host.
    pub const ROLES: [&str; 3] = ["balancer", "app", "database"];
    /// A host that answers at all answers within a few round trips; three TCP retries fit (1 + 2 s).
    pub const CONNECT_TIMEOUT: &str = "5s";
    /// A fleet in a few batches. A bastion sees all of them, and drops some (`MaxStartups` 10:30:100); those come again.
    pub const AT_ONCE: u32 = 32;
    /// The balancer itself, past DNS and any cloud load balancer.
    pub const PROBE: &str = "http://127.0.0.1/";
    /// nginx's master runs as root nearly everywhere, and a deploy user does not.
    pub const SUDO: bool = true;
    /// The pair in one upstream, which every other layout is a way around.
    pub const SWITCH: &str = "weights";
    /// What nginx's own documentation names.
    pub const TEST: &str = "nginx -t";
    /// Through systemd, so that a failed reload is known to `systemctl status` too.
    pub const RELOAD: &str = "systemctl reload nginx";
    /// Where nginx runs in a container.
    pub const RELOAD_IN_CONTAINER: &str = "nginx -s reload";
    /// Longer than a request should take; shorter than the patience of the one who waits.
    pub const STOP_TIMEOUT: &str = "20s";
    /// Traffic is safe by then; this only bounds how long green may finish what it has begun.
    pub const DRAIN_TIMEOUT: &str = "20s";
    /// One answer can be luck; three over a second are a running process.
    pub const PASSES: u32 = 3;
    /// Three passes in one second, and no load worth naming.
    pub const INTERVAL: &str = "500ms";
    /// A blue that had to be started needs its warm-up; half of the one-minute target for traffic.
    pub const VERIFY_TIMEOUT: &str = "30s";
    /// The runbook's: more than 5 % errors for two minutes, p99 over 2 s, twice as slow, three bad answers of health.
    pub const WINDOW: &str = "2m";
    pub const LOG_ERRORS: &str = "10/1000";
    pub const LOG_PATTERN: &str = "(?i)error|panic|fatal";
    pub const ERROR_SHARE: &str = "5%";
    pub const P99: &str = "2s";
    pub const SLOWER: &str = "2x";
    /// What nobody would roll back for, even where it is certain.
    pub const WORSE_BY: &str = "1%";
    pub const BAD_HEALTH: u32 = 3;
    /// systemd itself gives up at five starts in ten seconds.
    pub const RESTARTS: u32 = 3;
    /// The runbook's "error rate under 1 % for 5 minutes".
    pub const BAKE_FOR: &str = "5m";
    pub const BAKE_ERROR_SHARE: &str = "1%";
    pub const BAKE_P95: &str = "500ms";
    /// Where the packages of nginx log to.
    pub const ERROR_LOG: &str = "/var/log/nginx/error.log";
    /// The unit of nginx's packages; green's own units are added to it.
    pub const JOURNAL: &str = "nginx";
    /// Some hours of a noisy log, and still seconds over a slow line once compressed.
    pub const MAX_BYTES: &str = "256MB";
    /// Evidence is worth a minute, not more, while somebody waits for the report.
    pub const EVIDENCE_TIMEOUT: &str = "60s";
    /// The one type of issue that nearly every project of a Jira has.
    pub const ISSUE_TYPE: &str = "Task";
    /// A message goes out beside the work; a webhook that takes longer is down.
    pub const DRILL_EVERY: &str = "90d";
    pub const VERIFY_EVERY: &str = "7d";
    pub const NOTIFY_TIMEOUT: &str = "5s";
    /// The superuser that every PostgreSQL package makes.
    pub const ADMIN: &str = "postgres";
    /// Parallel restore that leaves the other cores to blue.
    pub const JOBS: u32 = 2;
    /// A week: long enough for the postmortem to ask the old database something.
    pub const KEEP_OLD: &str = "7d";
    /// A command that hangs is known to hang by then; what a hook does is done in less.
    pub const WORDS_TIMEOUT: &str = "60s";
    /// An image of some hundred megabytes, over the line that a shop has.
    pub const EARLIER_TIMEOUT: &str = "5m";
    /// Where the release lies that knows how its migrations go down.
    pub const MIGRATIONS_ON: &str = "app";
    /// A column of a large table that is written anew.
    pub const MIGRATIONS_TIMEOUT: &str = "10m";
    /// This machine, which has what a hook calls.
    pub const HOOK_ON: &str = "here";
    /// The runbook's promise for each phase: traffic, the whole rollback, the restore, and the
    /// recovery objectives for time and data.
    pub const TARGETS: [&str; 5] = ["60s", "2m", "10m", "15m", "5m"];
}

/// What a rollback needs to know about the service and its hosts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "rollback.toml", extend("required" = ["service", "host", "nginx", "blue", "green"]))]
pub struct RollbackToml {
    /// The word used in the report, the messages and the lock.
    #[schemars(example = &"listings")]
    pub service: Option<String>,
    /// Where incident folders go, relative to this file. Default: `incidents`.
    #[schemars(example = &"incidents")]
    pub incidents: Option<String>,
    /// The hosts, in the order in which they are shown.
    pub host: Option<Vec<HostTable>>,
    /// How the hosts are reached.
    pub ssh: Option<SshTable>,
    /// The balancer, and the block that is changed.
    pub nginx: Option<NginxTable>,
    /// What we go back to.
    pub blue: Option<AppTable>,
    /// What we take out.
    pub green: Option<AppTable>,
    /// How long green may finish what it has begun.
    pub drain: Option<DrainTable>,
    /// When blue counts as proven.
    pub verify: Option<VerifyTable>,
    /// When a release counts as bad: for `watch` and `--bake`.
    pub judge: Option<JudgeTable>,
    /// Whether a rollback is over only when blue was judged good for a while, and by what.
    pub bake: Option<BakeTable>,
    /// What `--restore-db` restores. Leave it out where there is no database.
    pub database: Option<DatabaseTable>,
    /// What else a release changes, by a name of your own: for `partial NAME` and `--with NAME`.
    pub change: BTreeMap<String, ChangeTable>,
    /// How migrations of the database are taken back, for `--migrate-down`.
    pub migrations: Option<MigrationsTable>,
    /// What is run beside the steps.
    pub hook: Vec<HookTable>,
    /// What is saved before green stops.
    pub evidence: Option<EvidenceTable>,
    /// Who is told.
    pub notify: Option<NotifyTable>,
    /// What the run is measured against, in its last lines and in the report.
    pub targets: Option<TargetsTable>,
    /// Who is named in the report.
    pub contacts: Option<ContactsTable>,
    /// Where `report --ticket … --file` files incidents.
    pub tickets: Option<TicketsTable>,
    /// How often the way back is to be tried.
    pub drill: Option<DrillTable>,
    /// Several services in one file, each by its name: what its table holds is laid over the top of the file.
    pub services: BTreeMap<String, ServiceTable>,
}

/// The keys of the top of the file that a service may have of its own.
pub const OF_A_SERVICE: [&str; 12] = [
    "nginx",
    "blue",
    "green",
    "drain",
    "verify",
    "judge",
    "bake",
    "database",
    "change",
    "migrations",
    "hook",
    "evidence",
];

/// One of several services: keys of the top of the file, which are laid over those that stand there, and these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTable {
    /// The services that it needs: they go back after it.
    #[schemars(example = ["keycloak"])]
    pub after: Vec<String>,
    /// The hosts that it has to do with, by their names. Left out: all that its servers' addresses do not rule out.
    #[schemars(example = ["web1", "web2"])]
    pub hosts: Vec<String>,
}

/// One host.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "ssh"]))]
pub struct HostTable {
    /// How the screen, the report and the incident's files call it.
    #[schemars(example = &"web1")]
    pub name: Option<String>,
    /// A destination of ssh(1): `user@host`, `ssh://user@host:port` or an alias of the ssh config.
    #[schemars(example = &"deploy@web1.example.com")]
    pub ssh: Option<String>,
    /// What runs on it.
    #[schemars(with = "Vec<RoleName>")]
    pub roles: Vec<String>,
}

impl Default for HostTable {
    fn default() -> Self {
        Self { name: None, ssh: None, roles: default::ROLES.map(String::from).into() }
    }
}

// For the schema alone: `roles` is read as words, so that a wrong one is named with the nearest.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "a list for the schema")]
pub enum RoleName {
    Balancer,
    App,
    Database,
}

/// How the hosts are reached.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SshTable {
    /// Passed to ssh as `-F`. Left out: ssh's own files.
    #[schemars(example = &"~/.ssh/config")]
    pub config: Option<String>,
    /// A host that has not answered by then counts as unreachable.
    pub connect_timeout: String,
    /// Connections that are made at the same moment; fewer where a bastion takes fewer.
    #[schemars(range(min = 1, max = 1000))]
    pub at_once: u32,
    /// Passed to ssh as `-o`, each one.
    #[schemars(example = ["KexAlgorithms=curve25519-sha256"])]
    pub options: Vec<String>,
}

impl Default for SshTable {
    fn default() -> Self {
        Self {
            config: None,
            connect_timeout: default::CONNECT_TIMEOUT.into(),
            at_once: default::AT_ONCE,
            options: Vec::new(),
        }
    }
}

/// The balancer, and the block that is changed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["file"] }, { "required": ["files"] }]))]
pub struct NginxTable {
    /// The file on the hosts that says who serves.
    #[schemars(example = &"/etc/nginx/sites-available/listings")]
    pub file: Option<String>,
    /// Instead of it, with `upstreams`: several files, each with some of them. All are changed in one step.
    #[schemars(example = ["/etc/nginx/conf.d/api.conf", "/etc/nginx/conf.d/web.conf"])]
    pub files: Option<Vec<String>>,
    /// The container that nginx runs in, of docker or podman. `file` is then a path in it or on the host, `test` and `reload`
    /// run in it. Left out: nginx runs on the host.
    #[schemars(example = &"web-nginx")]
    pub container: Option<String>,
    /// In which way it says so: by the weights in an upstream block, by the word that a variable is given or that
    /// `proxy_pass` names, by where it points as a link, or by what it says as a copy of one of two files.
    #[schemars(with = "SwitchName")]
    pub switch: String,
    /// The name of the upstream block.
    #[schemars(example = &"listings_backend")]
    pub upstream: Option<String>,
    /// Instead of it: the names of several blocks that belong to one service. `blue.servers` and `green.servers` name their
    /// servers in the same order.
    #[schemars(example = ["api", "web"])]
    pub upstreams: Option<Vec<String>>,
    /// Which one is meant where a block of that name stands in `http` and in `stream`.
    #[schemars(with = "ContextName")]
    pub context: Option<String>,
    /// With `switch = "variable"`: what the variable is given for blue. With `"pass"`: what is passed to. With `"link"` and
    /// `"file"`: blue's file, by its path or as a name in the same folder.
    #[schemars(example = &"listings_blue")]
    pub blue: Option<String>,
    /// The same of green.
    #[schemars(example = &"listings_green")]
    pub green: Option<String>,
    /// With `switch = "variable"`: the variable. Left out: the only one that is given such a word.
    #[schemars(example = &"active")]
    pub variable: Option<String>,
    /// A template of your own for the block, relative to this file. Left out: the built-in one.
    #[schemars(example = &"templates/upstream.conf.tera")]
    pub template: Option<String>,
    /// Asked on each balancer; its answer must come from blue.
    pub probe: String,
    /// The Host header of the probe.
    #[schemars(example = &"listings.example.com")]
    pub probe_host: Option<String>,
    /// The probe begins with the line of the PROXY protocol, which `listen … proxy_protocol` waits for. Needs curl there.
    pub proxy_protocol: bool,
    /// `sudo -n` before nginx, systemctl and the file's change.
    pub sudo: bool,
    /// Tests the configuration. Words, not a shell line; sudo goes before it.
    pub test: String,
    /// Puts the configuration into force. Words, not a shell line; sudo goes before it. In a container `nginx -s reload`.
    pub reload: String,
}

impl Default for NginxTable {
    fn default() -> Self {
        Self {
            file: None,
            files: None,
            container: None,
            switch: default::SWITCH.into(),
            upstream: None,
            upstreams: None,
            context: None,
            blue: None,
            green: None,
            variable: None,
            template: None,
            probe: default::PROBE.into(),
            probe_host: None,
            proxy_protocol: false,
            sudo: default::SUDO,
            test: default::TEST.into(),
            reload: default::RELOAD.into(),
        }
    }
}

/// In which way nginx's file says who serves.
#[derive(Clone, Copy, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SwitchName {
    /// By the weights in an upstream block.
    Weights,
    /// By the word that `set` or a map's default gives a variable.
    Variable,
    /// By what is passed to: `proxy_pass http://WORD`.
    Pass,
    /// By where it points: it is a link to blue's file or to green's.
    Link,
    /// By what it says: it is a copy of blue's file or of green's.
    File,
}

/// Where an upstream block stands.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "a list for the schema")]
pub enum ContextName {
    Http,
    Stream,
}

/// One colour of the application.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["servers", "run"]))]
pub struct AppTable {
    /// As they stand in the upstream block.
    #[schemars(example = ["127.0.0.1:8080"])]
    pub servers: Option<Vec<String>>,
    /// Asked on each app host. Left out: blue is proven by the probe's path on its own servers.
    #[schemars(example = ["http://127.0.0.1:8080/health"])]
    pub health: Vec<String>,
    /// What its health is asked with, where a plain GET that answers 2xx is not what it understands.
    pub health_with: Option<HealthWithTable>,
    /// Its log, saved before it stops.
    #[schemars(example = &"/opt/listings/logs/green.log")]
    pub log: Option<String>,
    /// What says which release it is: a file on the hosts, by its path, or what a URL answers: its first line, or `version` of
    /// its JSON. Left out: its image's label, `REVISION` or git's commit in its folder, or its program's digest.
    #[schemars(example = &"http://127.0.0.1:8081/version")]
    pub release: Option<String>,
    /// The header of that answer that says it, in the place of its body.
    #[schemars(example = &"X-Version")]
    pub release_header: Option<String>,
    /// Of blue: where releases are kept that it could be put back to, for `--to RELEASE` and `releases`: exactly one of `files`,
    /// `releases`, `image`, `deb`.
    pub earlier: Option<EarlierTable>,
    /// What keeps it running: exactly one of `systemd`, `docker`, `compose`, `process`, `command`.
    #[schemars(example = serde_json::json!({ "systemd": "listings-green.service" }))]
    pub run: Option<RunTable>,
    /// After SIGTERM this long, then SIGKILL.
    pub stop_timeout: String,
}

impl Default for AppTable {
    fn default() -> Self {
        Self {
            servers: None,
            health: Vec::new(),
            health_with: None,
            log: None,
            release: None,
            release_header: None,
            earlier: None,
            run: None,
            stop_timeout: default::STOP_TIMEOUT.into(),
        }
    }
}

/// Where releases are kept that blue could be put back to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EarlierTable {
    /// The one before is kept beside what is run, and takes its place.
    pub files: Vec<PutTable>,
    /// The folder that has a folder for each release.
    #[schemars(example = &"/srv/listings/releases")]
    pub releases: Option<String>,
    /// The link to one of them, which says what is run.
    #[schemars(example = &"/srv/listings/current")]
    pub link: Option<String>,
    /// The name of the images of a compose service, without a tag: what is on the host, or at the registry.
    #[schemars(example = &"registry.example.com/listings")]
    pub image: Option<String>,
    /// The variable of the `.env` beside the compose file that says which tag is run.
    #[schemars(example = &"BLUE_TAG")]
    pub variable: Option<String>,
    /// The package whose versions they are, as apt has them.
    #[schemars(example = &"listings-blue")]
    pub deb: Option<String>,
    /// What a pull or an installation may take.
    pub timeout: String,
}

impl Default for EarlierTable {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            releases: None,
            link: None,
            image: None,
            variable: None,
            deb: None,
            timeout: default::EARLIER_TIMEOUT.into(),
        }
    }
}

/// What the health of a colour is asked with.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthWithTable {
    /// Lines of the request's head. One that is a secret stands in a variable, as a whole: `"$BLUE_AUTHORIZATION"`.
    #[schemars(example = ["Host: listings.example.com"])]
    pub headers: Vec<String>,
    /// On the host: the certificates that its own is held against. Left out: those that the host trusts.
    #[schemars(example = &"/etc/ssl/listings-ca.pem")]
    pub ca: Option<String>,
    /// Whether any certificate will do. On the loopback addresses any does without it.
    pub insecure: bool,
    /// What a side answers that is well. Left out: anything from 200 to 299.
    #[schemars(example = [401], inner(range(min = 100, max = 599)))]
    pub statuses: Vec<u16>,
}

/// What keeps a colour running: exactly one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct RunTable {
    /// A unit of systemd.
    #[schemars(example = &"listings-green.service")]
    pub systemd: Option<String>,
    /// A container.
    #[schemars(example = &"listings_green")]
    pub docker: Option<String>,
    /// A service of docker compose.
    pub compose: Option<ComposeTable>,
    /// A process that nothing supervises, known by its program and its port.
    pub process: Option<ProcessTable>,
    /// A supervisor of any kind, told by its own commands.
    pub command: Option<CommandTable>,
}

/// A supervisor of any kind, told by its own commands: words, run without a shell and without sudo.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["start", "stop", "status"]))]
pub struct CommandTable {
    /// Starts it.
    #[schemars(example = ["supervisorctl", "start", "listings-green"])]
    pub start: Option<Vec<String>>,
    /// Stops it, and returns when it has stopped.
    #[schemars(example = ["supervisorctl", "stop", "listings-green"])]
    pub stop: Option<Vec<String>>,
    /// Ends with 0 where it runs, with 4 where that cannot be said, and with anything else where it does not.
    #[schemars(example = ["supervisorctl", "status", "listings-green"])]
    pub status: Option<Vec<String>>,
}

/// A service of docker compose.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["file", "service"]))]
pub struct ComposeTable {
    /// The compose file on the hosts.
    #[schemars(example = &"/opt/listings/compose.yaml")]
    pub file: Option<String>,
    /// The service in it.
    #[schemars(example = &"green")]
    pub service: Option<String>,
    /// `docker compose -p`. Left out: compose takes the folder's name.
    #[schemars(example = &"listings")]
    pub project: Option<String>,
}

/// A process that nothing supervises, known by its program and its port.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["exe", "port"]))]
pub struct ProcessTable {
    /// The program's path on the hosts.
    #[schemars(example = &"/opt/listings/bin/listings-green")]
    pub exe: Option<String>,
    /// The port that it listens on; one of its colour's servers.
    #[schemars(range(min = 1), example = 8081)]
    pub port: Option<u16>,
    /// A line for `sh -c` on the host that starts it. Left out: it cannot be started from here.
    #[schemars(example = &"cd /opt/listings && ./bin/listings-green --port=8081")]
    pub start: Option<String>,
}

/// How long green may finish what it has begun.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrainTable {
    /// Connections to green are counted; at the deadline it is stopped all the same.
    pub timeout: String,
}

impl Default for DrainTable {
    fn default() -> Self {
        Self { timeout: default::DRAIN_TIMEOUT.into() }
    }
}

/// When blue counts as proven.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyTable {
    /// Good answers in a row.
    // 100: more is a load test, and the timeout would end it first.
    #[schemars(range(min = 1, max = 100))]
    pub passes: u32,
    /// From one question to the next.
    pub interval: String,
    /// Bad answers are followed by another try for this long.
    pub timeout: String,
    /// Asked from this machine, not from the hosts.
    #[schemars(example = ["https://listings.example.com/health"])]
    pub public: Vec<String>,
    /// A line for `sh -c` on this machine, in the config's folder; exit 0 passes.
    #[schemars(example = &"./scripts/smoke-tests.sh --host listings.example.com")]
    pub smoke: Option<String>,
}

impl Default for VerifyTable {
    fn default() -> Self {
        Self {
            passes: default::PASSES,
            interval: default::INTERVAL.into(),
            timeout: default::VERIFY_TIMEOUT.into(),
            public: Vec::new(),
            smoke: None,
        }
    }
}

/// When a release counts as bad. A rule is switched off by the word `off`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeTable {
    /// The absolute limits are held over it.
    pub window: String,
    /// Of a side's attempts in nginx's access log: 5xx, refused connections, time-outs.
    pub error_share: String,
    /// No more than half of a side's requests may be slower.
    #[schemars(example = &"200ms")]
    pub p50: Option<String>,
    /// No more than 10 %.
    #[schemars(example = &"500ms")]
    pub p90: Option<String>,
    /// No more than 5 %.
    #[schemars(example = &"800ms")]
    pub p95: Option<String>,
    /// No more than 1 %.
    pub p99: Option<String>,
    /// No more than 5 % of them slower than so many times the other side's p95 of the same minutes, at least 50 ms.
    pub slower: String,
    /// Points by which a side may be worse than the other at the same time before that counts.
    pub worse_by: String,
    /// A floor of your own under what the intervals ask for anyway.
    pub min_requests: u64,
    /// Of the newest lines of a side's own log (`blue.log`, its container's, its unit's), those that match, while it is
    /// judged: no more than so many of so many.
    pub log_errors: String,
    /// What matches there, as `grep -E` reads it; `(?i)` in front makes upper and lower case one.
    pub log_pattern: String,
    /// Bad answers in a row to a health URL. A dead line of ours is no answer.
    #[schemars(range(min = 1, max = 1000))]
    pub health: u32,
    /// Of its unit, container or process within five minutes.
    #[schemars(range(min = 1, max = 1000))]
    pub restarts: u32,
    /// Who is asked beside the access logs.
    pub prometheus: Option<PrometheusTable>,
    /// Run here against a side before `switch` gives it its first share; exit 0 passes.
    #[schemars(example = &"./scripts/smoke-tests.sh --port 8081")]
    pub smoke: Option<String>,
}

impl Default for JudgeTable {
    fn default() -> Self {
        Self {
            window: default::WINDOW.into(),
            error_share: default::ERROR_SHARE.into(),
            p50: None,
            p90: None,
            p95: None,
            p99: Some(default::P99.into()),
            slower: default::SLOWER.into(),
            worse_by: default::WORSE_BY.into(),
            min_requests: 0,
            log_errors: default::LOG_ERRORS.into(),
            log_pattern: default::LOG_PATTERN.into(),
            health: default::BAD_HEALTH,
            restarts: default::RESTARTS,
            prometheus: None,
            smoke: None,
        }
    }
}

/// A Prometheus, asked from here. What it cannot say is no data: never good, never bad.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct PrometheusTable {
    /// Where it is.
    #[schemars(example = &"http://prometheus:9090")]
    pub url: Option<String>,
    /// The variable that holds a bearer token, for one that asks for it.
    #[schemars(example = &"PROMETHEUS_TOKEN")]
    pub token_env: Option<String>,
    /// The user, for one that asks for a password.
    #[schemars(example = &"rollback")]
    pub user: Option<String>,
    /// The variable that holds the password.
    #[schemars(example = &"PROMETHEUS_PASSWORD")]
    pub password_env: Option<String>,
    /// Labels of alerts: one that fires counts as bad.
    #[schemars(example = &"{service=\"listings\",severity=\"critical\"}")]
    pub alerts: Option<String>,
    /// What else may not be: shares of something, and values.
    pub query: Vec<QueryTable>,
}

/// Either `bad` and `of`, or `expr`; each gives one number.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "max"]))]
pub struct QueryTable {
    /// What it is called in a verdict.
    #[schemars(example = &"errors")]
    pub name: Option<String>,
    /// How many were bad.
    #[schemars(example = &"sum(increase(errors_total[2m]))")]
    pub bad: Option<String>,
    /// Of how many.
    #[schemars(example = &"sum(increase(requests_total[2m]))")]
    pub of: Option<String>,
    /// A value.
    #[schemars(example = &"max(queue_depth)")]
    pub expr: Option<String>,
    /// What it may be at most: a share ("5%") of `bad` and `of`, a number of `expr`.
    #[schemars(example = &"5%")]
    pub max: Option<Limit>,
}

/// A text or a number.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Limit {
    Text(String),
    Number(f64),
}

impl JsonSchema for Limit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number"] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// After a rollback: blue is judged for so long, by these limits and the rest of `judge`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BakeTable {
    /// How long. Where the table stands, every rollback is followed by it.
    #[serde(rename = "for")]
    pub lasts: String,
    /// As in `judge`.
    pub error_share: String,
    /// As in `judge`.
    #[schemars(example = &"200ms")]
    pub p50: Option<String>,
    /// As in `judge`.
    #[schemars(example = &"400ms")]
    pub p90: Option<String>,
    /// As in `judge`.
    pub p95: Option<String>,
    /// As in `judge`.
    #[schemars(example = &"2s")]
    pub p99: Option<String>,
}

impl Default for BakeTable {
    fn default() -> Self {
        Self {
            lasts: default::BAKE_FOR.into(),
            error_share: default::BAKE_ERROR_SHARE.into(),
            p50: None,
            p90: None,
            p95: Some(default::BAKE_P95.into()),
            p99: None,
        }
    }
}

/// What `--restore-db` restores.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct DatabaseTable {
    /// The database.
    #[schemars(example = &"listings_prod")]
    pub name: Option<String>,
    /// The role that owns the data.
    #[schemars(example = &"listings")]
    pub user: Option<String>,
    /// The role that may create and rename databases.
    pub admin: String,
    /// psql runs through `docker exec -i` in it. Left out: psql on the host.
    #[schemars(example = &"listings_postgres")]
    pub container: Option<String>,
    /// The dumps on the host: an absolute path with `*`.
    #[schemars(example = &"/opt/listings/backups/*.sql.gz")]
    pub backups: Option<String>,
    /// When green was deployed, RFC 3339: a newer dump is refused.
    #[schemars(example = &"2026-11-20T20:58:00Z")]
    pub deployed_at: Option<String>,
    /// SQL that must say true on the restored copy before it goes live.
    #[schemars(example = ["SELECT count(*) > 0 FROM listings"])]
    pub checks: Vec<String>,
    /// Asked after the swap.
    #[schemars(example = ["http://127.0.0.1:8080/health/db"])]
    pub health: Vec<String>,
    /// Parallel jobs of the restore.
    // 64: more than any database host has cores to spare.
    #[schemars(range(min = 1, max = 64))]
    pub jobs: u32,
    /// How long the replaced database is kept.
    pub keep_old: String,
}

impl Default for DatabaseTable {
    fn default() -> Self {
        Self {
            name: None,
            user: None,
            admin: default::ADMIN.into(),
            container: None,
            backups: None,
            deployed_at: None,
            checks: Vec::new(),
            health: Vec::new(),
            jobs: default::JOBS,
            keep_old: default::KEEP_OLD.into(),
        }
    }
}

/// What else a release changed, and how that goes back: at least one of `files`, `run` and `restart`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["on"]))]
pub struct ChangeTable {
    /// Where: a role, names of hosts, or `here`, which is the machine that this program runs on.
    #[schemars(example = &"app")]
    pub on: Option<OneOrMore>,
    /// Files that take the place of others, whose owner and mode they get.
    pub files: Vec<PutTable>,
    /// The colour that is started again afterwards, one host after the other, and proven as after a start.
    #[schemars(with = "ColourName", example = &"blue")]
    pub restart: Option<String>,
    /// What is run: words, never a shell line, as the account that is logged in with.
    #[schemars(example = ["curl", "-fsS", "-X", "POST", "http://127.0.0.1:5000/flags/checkout/off"])]
    pub run: Vec<String>,
    /// What takes `run` back. Left out: `run` cannot be taken back.
    #[schemars(example = ["curl", "-fsS", "-X", "POST", "http://127.0.0.1:5000/flags/checkout/on"])]
    pub undo: Vec<String>,
    /// Ends with 0 where the change is in force. Asked before, and then nothing is done; and asked after.
    #[schemars(example = ["curl", "-fsS", "http://127.0.0.1:5000/flags/checkout/is-off"])]
    pub check: Vec<String>,
    /// The folder that words are run in.
    #[schemars(example = &"/opt/listings")]
    pub cwd: Option<String>,
    /// Variables that words get; `$NAME` is filled in. They are on no command line and on no host's disk.
    #[schemars(example = serde_json::json!({ "ADMIN_TOKEN": "$ADMIN_TOKEN" }))]
    pub env: BTreeMap<String, String>,
    /// What has not ended by then is ended.
    pub timeout: String,
}

impl Default for ChangeTable {
    fn default() -> Self {
        Self {
            on: None,
            files: Vec::new(),
            restart: None,
            run: Vec::new(),
            undo: Vec::new(),
            check: Vec::new(),
            cwd: None,
            env: BTreeMap::new(),
            timeout: default::WORDS_TIMEOUT.into(),
        }
    }
}

/// One file that takes another's place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["put", "in"]))]
pub struct PutTable {
    /// The file whose text is wanted; it stays where it is.
    #[schemars(example = &"/opt/listings/.env.blue.old")]
    pub put: Option<String>,
    /// The file that gets it. What it was is kept beside it.
    #[serde(rename = "in")]
    #[schemars(example = &"/opt/listings/.env.blue")]
    pub into: Option<String>,
}

/// How migrations of the database are taken back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["down"]))]
pub struct MigrationsTable {
    /// What is run: words, never a shell line. `{to}` is the migration that shall be the last one, `{steps}` how many go.
    #[schemars(example = ["alembic", "downgrade", "{to}"])]
    pub down: Vec<String>,
    /// What `undo` runs. Left out: migrations that went down stay down.
    #[schemars(example = ["alembic", "upgrade", "{to}"])]
    pub up: Vec<String>,
    /// Where: a role or names of hosts, of which the first that is reached is taken, or `here`.
    #[schemars(example = &"app")]
    pub on: OneOrMore,
    /// The folder that it is run in.
    #[schemars(example = &"/opt/listings")]
    pub cwd: Option<String>,
    /// Variables that it gets; `$NAME` is filled in. They are on no command line and on no host's disk.
    #[schemars(example = serde_json::json!({ "DATABASE_URL": "$DATABASE_URL" }))]
    pub env: BTreeMap<String, String>,
    /// What has not ended by then is ended.
    pub timeout: String,
}

impl Default for MigrationsTable {
    fn default() -> Self {
        Self {
            down: Vec::new(),
            up: Vec::new(),
            on: OneOrMore::One(default::MIGRATIONS_ON.into()),
            cwd: None,
            env: BTreeMap::new(),
            timeout: default::MIGRATIONS_TIMEOUT.into(),
        }
    }
}

/// What is run beside a step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["at", "run"]))]
pub struct HookTable {
    /// `before` or `after` one of `observe`, `lock`, `switch`, `drain`, `stop`, `verify`, `restore` and `report`; or `on failure`.
    #[schemars(example = &"before switch")]
    pub at: Option<String>,
    /// Where, as in a change.
    pub on: OneOrMore,
    /// Words, never a shell line.
    #[schemars(example = ["./scripts/freeze-deploys.sh"])]
    pub run: Option<Vec<String>>,
    /// As in a change.
    #[schemars(example = &"/opt/listings")]
    pub cwd: Option<String>,
    /// As in a change.
    #[schemars(example = serde_json::json!({ "DEPLOY_TOKEN": "$DEPLOY_TOKEN" }))]
    pub env: BTreeMap<String, String>,
    /// What has not ended by then is ended.
    pub timeout: String,
    /// Whether nothing new begins once it failed; else that is a warning.
    pub required: bool,
}

impl Default for HookTable {
    fn default() -> Self {
        Self {
            at: None,
            on: OneOrMore::One(default::HOOK_ON.into()),
            run: None,
            cwd: None,
            env: BTreeMap::new(),
            timeout: default::WORDS_TIMEOUT.into(),
            required: false,
        }
    }
}

/// A colour, by its name.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "a list for the schema")]
pub enum ColourName {
    Blue,
    Green,
}

/// A word, or several.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl JsonSchema for OneOrMore {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMore".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "array"], "items": { "type": "string" } })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// What is saved before green stops.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvidenceTable {
    /// Files on the hosts.
    pub files: Vec<String>,
    /// Units whose journal is saved. Default: nginx, and those of green and blue.
    #[schemars(example = ["nginx", "listings-green"])]
    pub journal: Option<Vec<String>>,
    /// Of each file, its newest part, before compression: B, KB, MB, GB, KiB, MiB or GiB.
    pub max_bytes: String,
    /// For all of it, on one host.
    pub timeout: String,
    /// Regular expressions blotted out of what is saved, besides the built-in ones.
    #[schemars(example = ["(?i)password=\\S+"])]
    pub redact: Vec<String>,
}

impl Default for EvidenceTable {
    fn default() -> Self {
        Self {
            files: vec![default::ERROR_LOG.into()],
            journal: None,
            max_bytes: default::MAX_BYTES.into(),
            timeout: default::EVIDENCE_TIMEOUT.into(),
            redact: Vec::new(),
        }
    }
}

/// Who is told. A failed message never fails or delays a rollback.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyTable {
    /// For each message.
    pub timeout: String,
    /// A Slack channel.
    pub slack: Option<SlackTable>,
    /// A pager: a page for each incident.
    pub pagerduty: Option<PagerdutyTable>,
    /// A public status page.
    pub statuspage: Option<StatuspageTable>,
    /// Alerts that everybody knows of while a run is at it.
    pub alertmanager: Option<AlertmanagerTable>,
    /// A mark on every graph.
    pub grafana: Option<GrafanaTable>,
    /// Mail.
    pub email: Option<EmailTable>,
    /// JSON sent with POST, to each.
    pub webhook: Vec<WebhookTable>,
}

impl Default for NotifyTable {
    fn default() -> Self {
        Self {
            timeout: default::NOTIFY_TIMEOUT.into(),
            slack: None,
            pagerduty: None,
            statuspage: None,
            alertmanager: None,
            grafana: None,
            email: None,
            webhook: Vec::new(),
        }
    }
}

/// A Slack channel: by its incoming webhook, or by a token and its name. With a token an incident is one thread.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct SlackTable {
    /// The variable that holds the address.
    #[schemars(example = &"SLACK_WEBHOOK_URL")]
    pub webhook_env: Option<String>,
    /// The address itself, as `$NAME`. It is a secret: do not write it here.
    #[schemars(example = &"$SLACK_WEBHOOK_URL")]
    pub webhook: Option<String>,
    /// The variable that holds a bot's token (chat:write).
    #[schemars(example = &"SLACK_BOT_TOKEN")]
    pub token_env: Option<String>,
    /// The channel that the bot writes into; its ID is surer than its name.
    #[schemars(example = &"C0INCIDENTS")]
    pub channel: Option<String>,
    /// Where the API is, where that is not Slack's own address.
    #[schemars(example = &"https://slack.com/api")]
    pub url: Option<String>,
}

/// A pager, by PagerDuty's Events API v2: trigger, acknowledge and resolve of one incident are one page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["routing_key_env"]))]
pub struct PagerdutyTable {
    /// The variable that holds the integration's key.
    #[schemars(example = &"PAGERDUTY_ROUTING_KEY")]
    pub routing_key_env: Option<String>,
    /// Where events go, where that is not PagerDuty's own address.
    #[schemars(example = &"https://events.pagerduty.com/v2/enqueue")]
    pub url: Option<String>,
}

/// A public page, by Statuspage's API: investigating, monitoring, resolved.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["page", "token_env"]))]
pub struct StatuspageTable {
    /// The page's ID.
    #[schemars(example = &"kctbh9vrtdwd")]
    pub page: Option<String>,
    /// The ID of the component that has the problem.
    #[schemars(example = &"8kbf7d35c070")]
    pub component: Option<String>,
    /// The variable that holds the API's key.
    #[schemars(example = &"STATUSPAGE_TOKEN")]
    pub token_env: Option<String>,
    /// Where the API is, where that is not Statuspage's own address.
    #[schemars(example = &"https://api.statuspage.io")]
    pub url: Option<String>,
}

/// Alerts that are silenced while a run is at it, and an hour at most.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct AlertmanagerTable {
    /// Where it is.
    #[schemars(example = &"http://alertmanager:9093")]
    pub url: Option<String>,
    /// Their labels; left out, those with the service's name as `service`.
    #[schemars(example = &"{service=\"listings\"}")]
    pub silence: Option<String>,
}

/// A mark on every graph from a run's beginning to its end.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url", "token_env"]))]
pub struct GrafanaTable {
    /// Where it is.
    #[schemars(example = &"http://grafana:3000")]
    pub url: Option<String>,
    /// The variable that holds a service account's token.
    #[schemars(example = &"GRAFANA_TOKEN")]
    pub token_env: Option<String>,
}

/// Mail.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["from", "to"]))]
pub struct EmailTable {
    /// The mail server: `smtp://host:port`, `smtps://user:password@host`. This or `smtp_env`.
    #[schemars(example = &"smtp://127.0.0.1:1025")]
    pub smtp: Option<String>,
    /// The variable that holds the server's address; for one with a password.
    #[schemars(example = &"SMTP_URL")]
    pub smtp_env: Option<String>,
    /// The sender.
    #[schemars(example = &"rollback@example.com")]
    pub from: Option<String>,
    /// Who gets it.
    #[schemars(example = ["oncall@example.com"])]
    pub to: Option<Vec<String>>,
}

/// JSON sent with POST: exactly one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct WebhookTable {
    /// The variable that holds the address.
    #[schemars(example = &"STATUS_WEBHOOK_URL")]
    pub url_env: Option<String>,
    /// The address itself, as `$NAME`. It may carry a secret: do not write it here.
    #[schemars(example = &"$STATUS_WEBHOOK_URL")]
    pub url: Option<String>,
}

/// What the run is measured against.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TargetsTable {
    /// Until all traffic is on blue.
    pub traffic: String,
    /// Until the rollback is done.
    pub rollback: String,
    /// Until the database is restored.
    pub restore: String,
    /// Recovery time objective: from the start to all of it done.
    pub rto: String,
    /// Recovery point objective: how much data may be lost.
    pub rpo: String,
}

impl Default for TargetsTable {
    fn default() -> Self {
        let [traffic, rollback, restore, rto, rpo] = default::TARGETS.map(String::from);
        Self { traffic, rollback, restore, rto, rpo }
    }
}

/// Who is named in the report. A `$NAME` that is not set is left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContactsTable {
    /// The engineer on call.
    #[schemars(example = &"$ONCALL_ENGINEER")]
    pub oncall: Option<String>,
    /// The incident commander.
    #[schemars(example = &"$INCIDENT_COMMANDER")]
    pub commander: Option<String>,
    /// Whom to call when it lasts, in this order: named in the messages, and called by `watch` through the channels of [notify].
    pub escalate: Vec<EscalateTable>,
}

/// Where `report --ticket … --file` files incidents.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TicketsTable {
    /// The issues of a repository at GitHub.
    pub github: Option<GithubTable>,
    /// A project of a Jira.
    pub jira: Option<JiraTable>,
}

/// The issues of a repository at GitHub, by its REST API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["repository", "token_env"]))]
pub struct GithubTable {
    /// Whose it is and its name.
    #[schemars(example = &"example/listings")]
    pub repository: Option<String>,
    /// The variable that holds a token that may write issues there.
    #[schemars(example = &"GITHUB_TOKEN")]
    pub token_env: Option<String>,
    /// Where the API is, where that is not GitHub's own address.
    #[schemars(example = &"https://api.github.com")]
    pub url: Option<String>,
}

/// A project of a Jira, in the cloud or one's own, by its REST API v2.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url", "project", "token_env"]))]
pub struct JiraTable {
    /// Where it is.
    #[schemars(example = &"https://example.atlassian.net")]
    pub url: Option<String>,
    /// The project's key.
    #[schemars(example = &"OPS")]
    pub project: Option<String>,
    /// Whose token it is, as the cloud wants it; left out, the token is a personal one of a Jira of one's own.
    #[schemars(example = &"bot@example.com")]
    pub user: Option<String>,
    /// The variable that holds the token.
    #[schemars(example = &"JIRA_TOKEN")]
    pub token_env: Option<String>,
    /// What an incident is there.
    #[schemars(example = &"Task")]
    pub issue_type: String,
}

impl Default for JiraTable {
    fn default() -> Self {
        Self { url: None, project: None, user: None, token_env: None, issue_type: default::ISSUE_TYPE.into() }
    }
}

/// How often the way back is to be tried; what is overdue is said by `check` and `status`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrillTable {
    /// A rollback and its undo, on an environment that is not prod.
    pub every: String,
    /// A dump into a throw-away database, where the config has a database.
    pub verify_every: String,
}

impl Default for DrillTable {
    fn default() -> Self {
        Self { every: default::DRILL_EVERY.into(), verify_every: default::VERIFY_EVERY.into() }
    }
}

/// Whom to call, and after how long.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["after", "name"]))]
pub struct EscalateTable {
    /// After so long.
    #[schemars(example = &"15m")]
    pub after: Option<String>,
    /// Whom.
    #[schemars(example = &"team lead")]
    pub name: Option<String>,
}
