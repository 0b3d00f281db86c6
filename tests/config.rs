//! The config as an operator meets it: what is taken, what is refused, and the exact words of each refusal.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use rollback_prod::config::{self, Document, Problem, Reading, Understood};
use rollback_prod::nouns::inventory::{Channel, Inventory, Role, Run};
use rollback_prod::nouns::names::Environment;
use rollback_prod::nouns::service::Service;

/// Section 2 of the contract, as it stands there; only `deployed_at` is a real time.
const CONTRACT: &str = r#"
service   = "listings"                    # the word used in the report, the messages, the lock
incidents = "incidents"                   # where incident folders go, relative to this file

[[host]]
name  = "web1"
ssh   = "deploy@web1.example.com"         # a destination of ssh(1); ~/.ssh/config holds as it does for ssh
roles = ["balancer", "app", "database"]   # this is the default

[ssh]
config = "~/.ssh/config"                  # ssh -F
connect_timeout = "5s"
options = ["KexAlgorithms=curve25519-sha256"]   # passed to ssh as -o; default none

[nginx]
file       = "/etc/nginx/sites-available/listings"   # the file that holds the upstream block
upstream   = "listings_backend"
template   = "templates/upstream.conf.tera"          # default: the built-in one
probe      = "http://127.0.0.1/"          # asked on each balancer; its answer must come from blue
probe_host = "listings.example.com"       # the Host header of the probe
sudo       = true                         # `sudo -n` before nginx, systemctl and the file's change
test = "nginx -t"                         # defaults; sudo goes before them
reload = "systemctl reload nginx"         # or "nginx -s reload"

[blue]                                    # what we go back to
servers = ["127.0.0.1:8080"]              # as in the upstream block
health  = ["http://127.0.0.1:8080/health"]
log     = "/opt/listings/logs/blue.log"
run.systemd = "listings-blue.service"     # exactly one of: systemd, docker, compose, process

[green]                                   # what we take out
servers = ["127.0.0.1:8081"]
log     = "/opt/listings/logs/green.log"
run.process = { exe = "/opt/listings/bin/listings-green", port = 8081, start = "cd /opt/listings && ./bin/listings-green --port=8081" }
stop_timeout = "20s"                      # SIGTERM, then SIGKILL

[drain]
timeout = "20s"                           # connections to green are counted; at the deadline green is stopped all the same

[verify]
passes   = 3                              # answers in a row
interval = "500ms"
timeout  = "30s"
public   = ["https://listings.example.com/health"]   # asked from here, not from the host
smoke    = "./scripts/smoke-tests.sh --host listings.example.com"   # run here; exit 0 passes

[database]
name = "listings_prod"
user = "listings"                         # the role that owns the data
admin = "postgres"                        # the role that may create and rename databases
container = "listings_postgres"           # psql through `docker exec -i`; left out: psql on the host
backups = "/opt/listings/backups/*.sql.gz"
deployed_at = "2026-11-20T20:58:00Z"                       # optional; a dump newer than this is refused
checks  = ["SELECT count(*) > 0 FROM listings"]      # on the restored copy, before it goes live
health  = ["http://127.0.0.1:8080/health/db"]        # after
jobs = 2
keep_old = "7d"

[evidence]
files     = ["/var/log/nginx/error.log"]
journal   = ["nginx", "listings-green"]
max_bytes = "256MB"                       # of each file, its newest part, before compression
timeout   = "60s"
redact    = ["(?i)password=\\S+"]         # besides the built-in ones

[notify]
timeout = "5s"
slack   = { webhook_env = "SLACK_WEBHOOK_URL" }
email   = { smtp = "smtp://127.0.0.1:1025", from = "rollback@example.com", to = ["oncall@example.com"] }
webhook = [{ url_env = "STATUS_WEBHOOK_URL" }]

[targets]                                 # measured against, in the last lines and in the report
traffic = "60s"
rollback = "2m"
restore = "10m"
rto = "15m"
rpo = "5m"

[contacts]
oncall = "$ONCALL_ENGINEER"
commander = "$INCIDENT_COMMANDER"
"#;

/// The fewest keys that make a config. Line 1 is `service`.
const LEAST: &str = r#"service = "listings"
[[host]]
name = "web1"
ssh = "web1.example.com"
[nginx]
file = "/etc/nginx/conf.d/listings.conf"
upstream = "listings_backend"
[blue]
servers = ["127.0.0.1:8080"]
run.systemd = "listings-blue.service"
[green]
servers = ["127.0.0.1:8081"]
run.systemd = "listings-green.service"
"#;

const EXAMPLE: &str = include_str!("../docs/rollback.example.toml");

/// A config to be read, and the world around it.
struct Config {
    base: String,
    overlay: Option<String>,
    environment: &'static str,
    home: Option<&'static str>,
    variables: HashMap<&'static str, &'static str>,
}

impl Config {
    fn new(base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            overlay: None,
            environment: "prod",
            home: Some("/home/ops"),
            variables: HashMap::new(),
        }
    }

    /// The least config and some more lines.
    fn least_and(more: &str) -> Self {
        Self::new(format!("{LEAST}{more}"))
    }

    /// The least config with one text in place of another.
    fn least_with(from: &str, to: &str) -> Self {
        assert!(LEAST.contains(from), "{from:?} does not stand in the least config");
        Self::new(LEAST.replacen(from, to, 1))
    }

    fn staging(mut self, overlay: impl Into<String>) -> Self {
        self.overlay = Some(overlay.into());
        self.environment = "staging";
        self
    }

    fn set(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(name, value);
        self
    }

    fn read(&self) -> Result<Understood, Vec<Problem>> {
        let environment = Environment::new(self.environment).expect("a plain word");
        let base = PathBuf::from("rollback.toml");
        let overlay =
            self.overlay.clone().map(|text| Document { path: config::overlay_path(&base, &environment), text });
        config::read(&Reading {
            base: Document { path: base, text: self.base.clone() },
            overlay,
            environment,
            may_lack_layout: false,
            home: self.home.map(PathBuf::from),
            variable: &|name| self.variables.get(name).map(ToString::to_string),
            read_file: &|path| match path.to_str() {
                Some("templates/upstream.conf.tera") => Ok("upstream {{ name }} {}".into()),
                _ => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file")),
            },
        })
    }

    #[track_caller]
    fn holds(&self) -> Inventory {
        match self.read() {
            Ok(read) => read.services.into_iter().next().expect("a service").inventory,
            Err(problems) => panic!("refused:\n{}", lines(&problems).join("\n")),
        }
    }

    #[track_caller]
    fn warnings(&self) -> Vec<String> {
        lines(&self.read().expect("warnings only").warnings)
    }

    #[track_caller]
    fn problems(&self) -> Vec<String> {
        match self.read() {
            Ok(_) => panic!("this config was taken:\n{}\n{:?}", self.base, self.overlay),
            Err(problems) => lines(&problems),
        }
    }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

// -- what is taken

#[test]
fn the_contracts_own_example_is_taken_as_it_stands() {
    let config = Config::new(CONTRACT)
        .set("SLACK_WEBHOOK_URL", "https://hooks.slack.example.com/T0/B0")
        .set("STATUS_WEBHOOK_URL", "https://status.example.com/hook")
        .set("ONCALL_ENGINEER", "Ada");
    assert_eq!(config.warnings(), Vec::<String>::new());
    let inventory = config.holds();
    assert_eq!(inventory.service.as_str(), "listings");
    assert_eq!(inventory.sources, [PathBuf::from("rollback.toml")]);
    assert_eq!(inventory.incidents, Path::new("incidents"));
    assert_eq!(inventory.hosts[0].roles, [Role::Balancer, Role::App, Role::Database]);
    assert_eq!(inventory.ssh.config, Some(PathBuf::from("/home/ops/.ssh/config")));
    assert_eq!(inventory.ssh.options, ["KexAlgorithms=curve25519-sha256"]);
    assert_eq!(inventory.nginx.reload, ["systemctl", "reload", "nginx"]);
    assert_eq!(inventory.nginx.template.as_ref().map(|(_, text)| text.as_str()), Some("upstream {{ name }} {}"));
    assert!(matches!(&inventory.blue.run, Run::Systemd(unit) if unit.as_str() == "listings-blue.service"));
    assert!(matches!(&inventory.green.run, Run::Process { port: 8081, start: Some(_), .. }));
    assert_eq!(inventory.verify.interval, Duration::from_millis(500));
    assert_eq!(inventory.database.as_ref().map(|database| database.name.as_str()), Some("listings_prod"));
    assert_eq!(inventory.evidence.max_bytes, 256_000_000);
    assert_eq!(inventory.targets.rto, Some(Duration::from_secs(15 * 60)));
    assert_eq!(inventory.contacts.oncall.as_deref(), Some("Ada"));
    assert_eq!(inventory.contacts.commander, None, "a contact that is not set is left out");
    let channels = inventory.notify.channels;
    assert!(
        matches!(channels.as_slice(), [Channel::Slack { .. }, Channel::Email { .. }, Channel::Webhook { .. }]),
        "{channels:?}"
    );
}

#[test]
fn the_least_config_gets_every_default_of_the_contract() {
    let inventory = Config::new(LEAST).holds();
    assert_eq!(inventory.ssh.connect_timeout, Duration::from_secs(5));
    assert_eq!((inventory.ssh.config, inventory.ssh.at_once), (None, 32));
    assert_eq!(inventory.nginx.probe.as_str(), "http://127.0.0.1/");
    assert!(inventory.nginx.sudo);
    assert_eq!(inventory.nginx.test, ["nginx", "-t"]);
    assert_eq!(inventory.green.stop_timeout, Duration::from_secs(20));
    assert_eq!(inventory.drain_timeout, Duration::from_secs(20));
    assert_eq!(inventory.verify.passes, 3);
    assert_eq!(inventory.verify.timeout, Duration::from_secs(30));
    let journal: Vec<&str> = inventory.evidence.journal.iter().map(|unit| unit.as_str()).collect();
    assert_eq!(journal, ["nginx", "listings-green.service", "listings-blue.service"], "their own units are evidence");
    assert_eq!(inventory.evidence.timeout, Duration::from_secs(60));
    assert_eq!(inventory.notify.timeout, Duration::from_secs(5));
    assert!(inventory.notify.channels.is_empty());
    assert_eq!(inventory.targets.traffic, Some(Duration::from_secs(60)));
    assert!(inventory.database.is_none());
}

#[test]
fn sizes_are_decimal_or_binary_as_they_are_written() {
    for (text, bytes) in [
        ("1B", 1),
        ("256MB", 256_000_000),
        ("2 GB", 2_000_000_000),
        ("64KiB", 65_536),
        ("1mib", 1_048_576),
        ("1GiB", 1_073_741_824),
    ] {
        let config = Config::least_and(&format!("[evidence]\nmax_bytes = {text:?}"));
        assert_eq!(config.holds().evidence.max_bytes, bytes, "{text}");
    }
}

#[test]
fn every_way_to_run_a_colour_is_taken() {
    for (run, described) in [
        ("run.docker = \"listings_green\"", "container listings_green"),
        ("run.compose = { file = \"/opt/compose.yaml\", service = \"green\" }", "compose service green"),
        (
            "run.compose = { file = \"/opt/compose.yaml\", service = \"green\", project = \"p\" }",
            "compose service green",
        ),
        ("[green.run.process]\nexe = \"/opt/green\"\nport = 8081", "process /opt/green on port 8081"),
    ] {
        let config = Config::least_with("run.systemd = \"listings-green.service\"", run);
        assert_eq!(config.holds().green.run.describe(), described);
    }
}

#[test]
fn a_path_here_is_relative_to_the_configs_folder_and_a_tilde_is_the_home() {
    let read = |incidents: &str| {
        let text = format!("incidents = {incidents:?}\n{LEAST}");
        let reading = Reading {
            base: Document { path: "/srv/ops/rollback.toml".into(), text },
            overlay: None,
            environment: Environment::new("prod").expect("a plain word"),
            may_lack_layout: false,
            home: Some("/home/ops".into()),
            variable: &|_| None,
            read_file: &|_| Ok(String::new()),
        };
        config::read(&reading).expect("a config").services[0].inventory.incidents.clone()
    };
    assert_eq!(read("incidents"), Path::new("/srv/ops/incidents"));
    assert_eq!(read("~/incidents"), Path::new("/home/ops/incidents"));
    assert_eq!(read("/var/incidents"), Path::new("/var/incidents"));
}

// -- what is refused

/// Each case: what replaces what in the least config (`""`: what is added to its end), and every line that is said.
const REFUSALS: &[(&str, &str, &[&str])] = &[
    // the document
    (
        "file = \"/etc/nginx/conf.d/listings.conf\"",
        "file = /etc/nginx",
        &["rollback.toml:6:8: not TOML: string values must be quoted, expected literal string"],
    ),
    ("", "[blue]\n", &["rollback.toml:14:2: not TOML: duplicate key"]),
    ("", "[verify\n", &["rollback.toml:14:8: not TOML: unclosed table, expected `]`"]),
    // keys
    (
        "servers = [\"127.0.0.1:8080\"]",
        "servers = [\"127.0.0.1:8080\"]\nhelth = []",
        &["rollback.toml:10:1: unknown key \"helth\": did you mean \"health\"?"],
    ),
    ("", "[drian]\ntimeout = \"5s\"", &["rollback.toml:14:2: unknown key \"drian\": did you mean \"drain\"?"]),
    (
        "",
        "stop-timeout = \"5s\"",
        &["rollback.toml:14:1: unknown key \"stop-timeout\": did you mean \"stop_timeout\"?"],
    ),
    ("", "public = []", &["rollback.toml:14:1: unknown key \"public\": it belongs to [verify]"]),
    (
        "",
        "timeout = \"5s\"",
        &[
            "rollback.toml:14:1: unknown key \"timeout\": it belongs to [blue.earlier], [green.earlier], [drain], [verify], [change.NAME], [migrations], [[hook]], [evidence] or [notify]",
        ],
    ),
    (
        "",
        "incidents = \"incidents\"",
        &["rollback.toml:14:1: unknown key \"incidents\": it belongs to the top of the file, before the first [table]"],
    ),
    (
        "",
        "[ssh]\nxyzzy = 1",
        &["rollback.toml:15:1: unknown key \"xyzzy\": known here: config, connect_timeout, at_once, options"],
    ),
    (
        "ssh = \"web1.example.com\"",
        "ssh = \"web1.example.com\"\nrole = [\"app\"]",
        &["rollback.toml:5:1: unknown key \"role\": did you mean \"roles\"?"],
    ),
    (
        "",
        "[notify.slack]\nwebhok_env = \"X\"\nwebhook_env = \"X\"",
        &["rollback.toml:15:1: unknown key \"webhok_env\": did you mean \"webhook_env\"?"],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run = { process = { exe = \"/g\", prot = 8081 } }",
        &[
            "rollback.toml:13:19: missing key green.run.process.port: for example 8081",
            "rollback.toml:13:33: unknown key \"prot\": did you mean \"port\"?",
        ],
    ),
    // types
    (
        "service = \"listings\"",
        "service = 3",
        &["rollback.toml:1:11: service: expected a string, found an integer: for example \"listings\""],
    ),
    (
        "",
        "[drain]\ntimeout = 20",
        &["rollback.toml:15:11: drain.timeout: expected a string, found an integer: for example \"20s\""],
    ),
    (
        "servers = [\"127.0.0.1:8080\"]",
        "servers = \"127.0.0.1:8080\"",
        &["rollback.toml:9:11: blue.servers: expected an array, found a string: for example [\"127.0.0.1:8080\"]"],
    ),
    (
        "servers = [\"127.0.0.1:8080\"]",
        "servers = [\"127.0.0.1:8080\", 8082]",
        &["rollback.toml:9:30: blue.servers[1]: expected a string, found an integer"],
    ),
    (
        "upstream = \"listings_backend\"",
        "upstream = \"listings_backend\"\nsudo = \"yes\"",
        &["rollback.toml:8:8: nginx.sudo: expected a boolean, found a string: for example true"],
    ),
    ("[[host]]", "[host]", &["rollback.toml:2:1: host: expected an array, found a table: write [[host]]"]),
    (
        "run.systemd = \"listings-blue.service\"",
        "run = \"listings-blue.service\"",
        &[
            "rollback.toml:10:7: blue.run: expected a table, found a string: for example { systemd = \"listings-green.service\" }",
        ],
    ),
    (
        "",
        "[verify]\npasses = 2.5",
        &["rollback.toml:15:10: verify.passes: expected an integer, found a float: for example 3"],
    ),
    ("", "[ssh]\nat_once = 0", &["rollback.toml:15:11: ssh.at_once: 0 is not a number from 1 to 1000"]),
    ("", "[verify]\npasses = 0", &["rollback.toml:15:10: verify.passes: 0 is not a number from 1 to 100"]),
    (
        "",
        "[database]\nname = \"l\"\ndeployed_at = 2026-11-20T20:58:00Z",
        &[
            "rollback.toml:16:15: database.deployed_at: expected a string, found a date without quotes: for example \"2026-11-20T20:58:00Z\"",
        ],
    ),
    (
        "",
        "[database]\nname = \"l\"\njobs = 99999999999999999999",
        &[
            "rollback.toml:16:8: database.jobs: expected an integer, found an integer of more than 64 bits: for example 2",
        ],
    ),
    // missing
    ("service = \"listings\"\n", "", &["rollback.toml:1:1: missing key service: for example \"listings\""]),
    (
        "[[host]]\nname = \"web1\"\nssh = \"web1.example.com\"\n",
        "",
        &["rollback.toml:1:1: missing [[host]]: it needs name and ssh"],
    ),
    ("name = \"web1\"\n", "", &["rollback.toml:2:1: missing key host[0].name: for example \"web1\""]),
    (
        "[nginx]\nfile = \"/etc/nginx/conf.d/listings.conf\"\nupstream = \"listings_backend\"\n",
        "",
        &["rollback.toml:1:1: missing [nginx]: it needs file"],
    ),
    (
        "upstream = \"listings_backend\"\n",
        "",
        &[
            "rollback.toml:5:1: missing key nginx.upstream: for example \"listings_backend\"; `rollback-prod check` finds out which layout it is",
        ],
    ),
    (
        "servers = [\"127.0.0.1:8080\"]\nrun.systemd = \"listings-blue.service\"\n",
        "",
        &[
            "rollback.toml:8:1: missing key blue.servers: for example [\"127.0.0.1:8080\"]",
            "rollback.toml:8:1: missing key blue.run: for example { systemd = \"listings-green.service\" }",
        ],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run.process.exe = \"/g\"",
        &["rollback.toml:13:5: missing key green.run.process.port: for example 8081"],
    ),
    (
        "",
        "[database]\nuser = \"listings\"",
        &["rollback.toml:14:1: missing key database.name: for example \"listings_prod\""],
    ),
    // hosts
    (
        "service = \"listings\"\n[[host]]\nname = \"web1\"\nssh = \"web1.example.com\"",
        "service = \"listings\"\nhost = []",
        &["rollback.toml:2:8: host: there must be at least one host"],
    ),
    (
        "name = \"web1\"",
        "name = \"../web1\"",
        &["rollback.toml:3:8: host[0].name: \"../web1\" starts with a dot or a dash"],
    ),
    (
        "ssh = \"web1.example.com\"",
        "ssh = \"-oProxyCommand=x\"",
        &["rollback.toml:4:7: host[0].ssh: \"-oProxyCommand=x\" starts with a dash, which ssh would read as an option"],
    ),
    (
        "",
        "[[host]]\nname = \"Web1\"\nssh = \"web2\"\n[[host]]\nname = \"web3\"\nssh = \"web1.example.com\"",
        &[
            "rollback.toml:15:8: host[1].name: there is a host \"web1\" already",
            "rollback.toml:19:7: host[2].ssh: is where web1 is already; two names for one host would be changed twice",
        ],
    ),
    (
        "ssh = \"web1.example.com\"",
        "ssh = \"web1.example.com\"\nroles = []",
        &["rollback.toml:5:9: host[0].roles: is empty: leave it out for balancer, app, database"],
    ),
    (
        "ssh = \"web1.example.com\"",
        "ssh = \"web1.example.com\"\nroles = [\"app\", \"balancr\", \"cache\"]",
        &[
            "rollback.toml:5:17: host[0].roles[1]: unknown role \"balancr\": did you mean \"balancer\"?",
            "rollback.toml:5:28: host[0].roles[2]: unknown role \"cache\": known: balancer, app, database",
        ],
    ),
    (
        "ssh = \"web1.example.com\"",
        "ssh = \"web1.example.com\"\nroles = [\"app\"]",
        &["rollback.toml:2:1: host: no host has the role \"balancer\""],
    ),
    (
        "ssh = \"web1.example.com\"",
        "ssh = \"web1.example.com\"\nroles = [\"balancer\"]",
        &["rollback.toml:2:1: host: no host has the role \"app\""],
    ),
    // words, paths, durations
    (
        "service = \"listings\"",
        "service = \"my listings\"",
        &[
            "rollback.toml:1:11: service: \"my listings\" has a character other than letters, digits, dot, dash and underscore",
        ],
    ),
    (
        "service = \"listings\"",
        "service = \"listings\"\nincidents = \"\"",
        &["rollback.toml:2:13: incidents: is empty"],
    ),
    (
        "file = \"/etc/nginx/conf.d/listings.conf\"",
        "file = \"conf.d/listings.conf\"",
        &["rollback.toml:6:8: nginx.file: \"conf.d/listings.conf\" is not an absolute path"],
    ),
    (
        "upstream = \"listings_backend\"",
        "upstream = \"listings; }\"",
        &["rollback.toml:7:12: nginx.upstream: \"listings; }\" has a character in it that no such name has"],
    ),
    (
        "upstream = \"listings_backend\"",
        "upstream = \"l\"\nprobe = \"ftp://x\"\nprobe_host = \"\"",
        &[
            "rollback.toml:8:9: nginx.probe: \"ftp://x\" is not an http:// or https:// URL",
            "rollback.toml:9:14: nginx.probe_host: is empty",
        ],
    ),
    (
        "upstream = \"listings_backend\"",
        "upstream = \"l\"\nprobe = \"http://:80/\"",
        &["rollback.toml:8:9: nginx.probe: \"http://:80/\" names no host"],
    ),
    (
        "upstream = \"listings_backend\"",
        "upstream = \"l\"\nprobe = \"http://x:99999/\"",
        &["rollback.toml:8:9: nginx.probe: \"http://x:99999/\" has no port from 1 to 65535"],
    ),
    (
        "upstream = \"listings_backend\"",
        "upstream = \"l\"\ntest = \"nginx -t && true\"\nreload = \"nginx '-s\"",
        &[
            "rollback.toml:8:8: nginx.test: \"&&\" needs a shell, and the words are run without one",
            "rollback.toml:9:10: nginx.reload: \"nginx '-s\" has a quote that is not closed",
        ],
    ),
    ("upstream = \"listings_backend\"", "upstream = \"l\"\ntest = \"\"", &["rollback.toml:8:8: nginx.test: is empty"]),
    (
        "upstream = \"listings_backend\"",
        "upstream = \"l\"\ntemplate = \"none.tera\"",
        &["rollback.toml:8:12: nginx.template: cannot read none.tera: no such file"],
    ),
    (
        "",
        "stop_timeout = \"20\"",
        &["rollback.toml:14:16: green.stop_timeout: \"20\" is not a duration: it needs a unit, for example \"20s\""],
    ),
    (
        "",
        "stop_timeout = \"soon\"",
        &["rollback.toml:14:16: green.stop_timeout: \"soon\" is not a duration: for example \"20s\""],
    ),
    (
        "",
        "stop_timeout = \"0s\"",
        &["rollback.toml:14:16: green.stop_timeout: \"0s\" is no time at all; it must be more than zero"],
    ),
    ("", "stop_timeout = \"30d\"", &["rollback.toml:14:16: green.stop_timeout: \"30d\" is longer than 1day"]),
    ("", "log = \"green.log\"", &["rollback.toml:14:7: green.log: \"green.log\" is not an absolute path"]),
    (
        "",
        "health = [\"http://127.0.0.1:8081/\", \"127.0.0.1:8081/health\"]",
        &["rollback.toml:14:37: green.health[1]: \"127.0.0.1:8081/health\" is not an http:// or https:// URL"],
    ),
    // the colours
    (
        "servers = [\"127.0.0.1:8081\"]",
        "servers = []",
        &["rollback.toml:12:11: green.servers: there must be at least one server"],
    ),
    (
        "servers = [\"127.0.0.1:8081\"]",
        "servers = [\"127.0.0.1:8081\", \"localhost:8080\"]",
        &["rollback.toml:12:30: green.servers[1]: \"localhost:8080\" is blue's too"],
    ),
    (
        "servers = [\"127.0.0.1:8081\"]",
        "servers = [\"127.0.0.1:port\", \"unix:run/x.sock\", \"a b\"]",
        &[
            "rollback.toml:12:12: green.servers[0]: \"127.0.0.1:port\" has no port from 1 to 65535",
            "rollback.toml:12:30: green.servers[1]: \"unix:run/x.sock\" is not unix: and an absolute path",
            "rollback.toml:12:49: green.servers[2]: \"a b\" has a character in it that no server address has",
        ],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run.systemd = \"listings-blue\"",
        &["rollback.toml:13:1: green.run: is unit listings-blue, which is blue's too; to stop green would stop blue"],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run.systemd = \"green unit\"",
        &["rollback.toml:13:15: green.run.systemd: \"green unit\" has a character in it that no systemd unit has"],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run.docker = \"-green\"",
        &["rollback.toml:13:14: green.run.docker: \"-green\" is not the name of a container"],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run.systemd = \"g\"\nrun.docker = \"g\"",
        &["rollback.toml:14:5: green.run: systemd and docker exclude each other"],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run = {}",
        &["rollback.toml:13:7: green.run: one of systemd, docker, compose, process or command is needed"],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run.process = { exe = \"green\", port = 9999, start = \" \" }",
        &[
            "rollback.toml:13:23: green.run.process.exe: \"green\" is not an absolute path",
            "rollback.toml:13:39: green.run.process.port: 9999 is not a port of its servers (127.0.0.1:8081)",
            "rollback.toml:13:53: green.run.process.start: is empty",
        ],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run.process = { exe = \"/g\", port = 70000 }",
        &["rollback.toml:13:36: green.run.process.port: 70000 is not a number from 1 to 65535"],
    ),
    (
        "run.systemd = \"listings-green.service\"",
        "run.compose = { file = \"compose.yaml\", service = \"a b\", project = \"\" }",
        &[
            "rollback.toml:13:24: green.run.compose.file: \"compose.yaml\" is not an absolute path",
            "rollback.toml:13:50: green.run.compose.service: \"a b\" is not the name of a container",
            "rollback.toml:13:67: green.run.compose.project: \"\" is not the name of a container",
        ],
    ),
    // verify
    (
        "",
        "[verify]\npasses = 5\ninterval = \"10s\"",
        &["rollback.toml:15:10: verify.timeout: 30s is too short for 5 passes, one each 10s"],
    ),
    (
        "",
        "[verify]\npublic = [\"https://\"]\nsmoke = \"\"",
        &[
            "rollback.toml:15:11: verify.public[0]: \"https://\" names no host",
            "rollback.toml:16:9: verify.smoke: is empty",
        ],
    ),
    // database
    (
        "",
        "[database]\nname = \"\"\ncontainer = \"/x\"\nbackups = \"backups/*.gz\"\ndeployed_at = \"yesterday\"\nchecks = [\"\"]\nhealth = [\"x\"]\nkeep_old = \"a week\"",
        &[
            "rollback.toml:15:8: database.name: is empty",
            "rollback.toml:16:13: database.container: \"/x\" is not the name of a container",
            "rollback.toml:17:11: database.backups: \"backups/*.gz\" is not an absolute path",
            "rollback.toml:18:15: database.deployed_at: \"yesterday\" is not a time: RFC 3339, for example \"2026-11-20T20:58:00Z\"",
            "rollback.toml:19:11: database.checks[0]: is empty",
            "rollback.toml:20:11: database.health[0]: \"x\" is not an http:// or https:// URL",
            "rollback.toml:21:12: database.keep_old: \"a week\" is not a duration: for example \"20s\"",
        ],
    ),
    (
        "ssh = \"web1.example.com\"",
        "ssh = \"web1.example.com\"\nroles = [\"balancer\", \"app\"]\n[database]\nname = \"l\"",
        &["rollback.toml:6:1: database: no host has the role \"database\""],
    ),
    // evidence
    (
        "",
        "[evidence]\nfiles = [\"error.log\"]\njournal = [\"a b\"]\nmax_bytes = \"256\"\ntimeout = \"0s\"",
        &[
            "rollback.toml:15:10: evidence.files[0]: \"error.log\" is not an absolute path",
            "rollback.toml:16:12: evidence.journal[0]: \"a b\" has a character in it that no systemd unit has",
            "rollback.toml:17:13: evidence.max_bytes: \"256\" does not end in B, KB, MB, GB, KiB, MiB or GiB: for example \"256MB\"",
            "rollback.toml:18:11: evidence.timeout: \"0s\" is no time at all; it must be more than zero",
        ],
    ),
    (
        "",
        "[evidence]\nmax_bytes = \"0MB\"",
        &["rollback.toml:15:13: evidence.max_bytes: \"0MB\" is nothing at all: for example \"256MB\""],
    ),
    (
        "",
        "[evidence]\nmax_bytes = \"99999999999GB\"",
        &[
            "rollback.toml:15:13: evidence.max_bytes: \"99999999999GB\" is more than any disk holds: for example \"256MB\"",
        ],
    ),
    (
        "",
        "[evidence]\nmax_bytes = \"many\"",
        &["rollback.toml:15:13: evidence.max_bytes: \"many\" is not a size: for example \"256MB\""],
    ),
    (
        "",
        "[evidence]\nredact = [\"(\", \"a*\"]",
        &[
            "rollback.toml:15:11: evidence.redact[0]: \"(\" is not a regular expression: unclosed group",
            "rollback.toml:15:16: evidence.redact[1]: \"a*\" matches the empty text, so it would blot out nothing, everywhere",
        ],
    ),
    // notify
    (
        "",
        "[notify]\nslack = { webhook = \"$A\", webhook_env = \"A\" }",
        &["rollback.toml:15:27: notify.slack: webhook and webhook_env exclude each other"],
    ),
    (
        "",
        "[notify]\nslack = { token_env = \"A\" }",
        &[
            "rollback.toml:15:9: notify.slack: a token needs the channel that it writes into: for example channel = \"C0INCIDENTS\"",
        ],
    ),
    (
        "",
        "[notify]\nslack = { webhook_env = \"A\", channel = \"C0\" }",
        &["rollback.toml:15:9: notify.slack: channel and url go with token_env"],
    ),
    (
        "",
        "[notify]\nstatuspage = { page = \"a/b\", token_env = \"$A\" }",
        &[
            "rollback.toml:15:23: notify.statuspage.page: \"a/b\" is no ID; it is letters and digits",
            "rollback.toml:15:42: notify.statuspage.token_env: is not the name of a variable: for example \"PAGERDUTY_ROUTING_KEY\", without the $",
        ],
    ),
    (
        "",
        "[notify]\nalertmanager = { url = \"http://a:9093\", silence = '{team=~\".*\"}' }",
        &[
            "rollback.toml:15:51: notify.alertmanager.silence: would silence alerts of others, too: for example '{service=\"listings\"}'",
        ],
    ),
    (
        "",
        "[notify]\nslack = {}",
        &["rollback.toml:15:9: notify.slack: one of webhook_env, webhook or token_env is needed"],
    ),
    (
        "",
        "[notify]\nslack = { webhook_env = \"$A\" }",
        &[
            "rollback.toml:15:25: notify.slack.webhook_env: is not the name of a variable: for example \"SLACK_WEBHOOK_URL\", without the $",
        ],
    ),
    (
        "",
        "[notify]\nwebhook = [{ url = \"status.example.com/secret\" }]",
        &["rollback.toml:15:20: notify.webhook[0].url: the address is not an http:// or https:// URL"],
    ),
    (
        "",
        "[notify]\nemail = { smtp = \"mail:25\", from = \"rollback\", to = [] }",
        &[
            "rollback.toml:15:18: notify.email.smtp: the address is not an smtp:// or smtps:// URL",
            "rollback.toml:15:36: notify.email.from: \"rollback\" is not an email address",
            "rollback.toml:15:53: notify.email.to: there must be at least one address",
        ],
    ),
    (
        "",
        "[notify]\nemail = { smtp = \"smtp://m\", from = \"a@example.com\", to = [\"b\"] }",
        &["rollback.toml:15:60: notify.email.to[0]: \"b\" is not an email address"],
    ),
    // tickets; a token that is not set is missed by whoever files one, and no problem here
    (
        "",
        "[tickets]\ngithub = { repository = \"example/../x\", token_env = \"$T\" }",
        &[
            "rollback.toml:15:25: tickets.github.repository: \"example/../x\" is no repository: for example \"example/listings\"",
            "rollback.toml:15:53: tickets.github.token_env: is not the name of a variable: for example \"GITHUB_TOKEN\", without the $",
        ],
    ),
    (
        "",
        "[tickets]\njira = { url = \"jira.example.com\", project = \"\", user = \"a:b\", token_env = \"T\" }",
        &[
            "rollback.toml:15:16: tickets.jira.url: \"jira.example.com\" is not an http:// or https:// URL",
            "rollback.toml:15:46: tickets.jira.project: is empty",
            "rollback.toml:15:57: tickets.jira.user: has a colon in it",
        ],
    ),
    // targets
    (
        "",
        "[targets]\nrto = \"0s\"\nrpo = \"20 years\"",
        &[
            "rollback.toml:15:7: targets.rto: \"0s\" is no time at all; it must be more than zero",
            "rollback.toml:16:7: targets.rpo: \"20 years\" is longer than 10years",
        ],
    ),
    // variables
    (
        "service = \"listings\"",
        "service = \"$SERVICE\"",
        &["rollback.toml:1:11: the variable SERVICE is not set (neither in the environment nor in .env.deploy)"],
    ),
    (
        "ssh = \"web1.example.com\"",
        "ssh = \"$DASH\"",
        &[
            "rollback.toml:4:7: host[0].ssh: \"-x\" starts with a dash, which ssh would read as an option (from the variable DASH)",
        ],
    ),
    ("ssh = \"web1.example.com\"", "ssh = \"$EMPTY\"", &["rollback.toml:4:7: the variable EMPTY is empty"]),
    // ssh
    ("", "[ssh]\nconfig = \"\"", &["rollback.toml:15:10: ssh.config: is empty"]),
    (
        "",
        "[ssh]\noptions = [\"StrictHostKeyChecking=no\", \"stricthostkeychecking \\\"off\\\"\"]",
        &[
            "rollback.toml:15:12: ssh.options[0]: \"StrictHostKeyChecking=no\" would talk to any host that answers: put the hosts' keys into known_hosts",
            "rollback.toml:15:40: ssh.options[1]: \"stricthostkeychecking \\\"off\\\"\" would talk to any host that answers: put the hosts' keys into known_hosts",
        ],
    ),
    (
        "",
        "[ssh]\noptions = [\"UserKnownHostsFile = /dev/null\"]",
        &[
            "rollback.toml:15:12: ssh.options[0]: \"UserKnownHostsFile = /dev/null\" would forget which hosts are ours: put the hosts' keys into known_hosts",
        ],
    ),
    (
        "",
        "[ssh]\noptions = [\"ForwardAgent yes\"]",
        &["rollback.toml:15:12: ssh.options[0]: \"ForwardAgent yes\" would lend your keys to the hosts: leave it out"],
    ),
    (
        "",
        "[ssh]\noptions = [\"PermitLocalCommand=yes\", \"LocalCommand=date\"]",
        &[
            "rollback.toml:15:12: ssh.options[0]: \"PermitLocalCommand=yes\" would run a command here for each connection: leave it out",
            "rollback.toml:15:38: ssh.options[1]: \"LocalCommand=date\" would run a command here for each connection: leave it out",
        ],
    ),
    (
        "",
        "[ssh]\noptions = [\"ControlPath=/tmp/x\", \"ControlMaster=auto\", \"ControlPersist=1h\"]",
        &[
            "rollback.toml:15:12: ssh.options[0]: \"ControlPath=/tmp/x\" is set by rollback-prod, which keeps one connection to each host: leave it out",
            "rollback.toml:15:34: ssh.options[1]: \"ControlMaster=auto\" is set by rollback-prod, which keeps one connection to each host: leave it out",
            "rollback.toml:15:56: ssh.options[2]: \"ControlPersist=1h\" is set by rollback-prod, which keeps one connection to each host: leave it out",
        ],
    ),
    (
        "",
        "[ssh]\noptions = [\"BatchMode=no\", \"RequestTTY=force\", \"RemoteCommand=id\"]",
        &[
            "rollback.toml:15:12: ssh.options[0]: \"BatchMode=no\" would wait for a password that nobody types: leave it out",
            "rollback.toml:15:28: ssh.options[1]: \"RequestTTY=force\" would change what a remote command is: leave it out",
            "rollback.toml:15:48: ssh.options[2]: \"RemoteCommand=id\" would change what a remote command is: leave it out",
        ],
    ),
    (
        "",
        "[ssh]\noptions = [\"ConnectTimeout=1\", \"Include /x\", \"-v\", \"Port=\", \"Port 22\\nUser root\"]",
        &[
            "rollback.toml:15:12: ssh.options[0]: \"ConnectTimeout=1\" is set by rollback-prod: set ssh.connect_timeout",
            "rollback.toml:15:32: ssh.options[1]: \"Include /x\" belongs into an ssh config: name the file in ssh.config",
            "rollback.toml:15:46: ssh.options[2]: \"-v\" is not Key=value: for example \"KexAlgorithms=curve25519-sha256\"",
            "rollback.toml:15:52: ssh.options[3]: \"Port=\" is not Key=value: for example \"KexAlgorithms=curve25519-sha256\"",
            "rollback.toml:15:61: ssh.options[4]: \"Port 22\\nUser root\" is not Key=value: for example \"KexAlgorithms=curve25519-sha256\"",
        ],
    ),
    // Releases that are kept in no way, in two, or without what says which one is run.
    (
        "",
        "[green.earlier]\ndeb = \"listings\"",
        &["rollback.toml:14:1: green.earlier: a rollback goes to blue, and green is not put back to anything"],
    ),
    (
        "",
        "[blue.earlier]\ntimeout = \"1m\"",
        &["rollback.toml:14:1: blue.earlier: one of files, releases, image or deb is needed"],
    ),
    (
        "",
        "[blue.earlier]\ndeb = \"listings\"\nreleases = \"/srv/releases\"",
        &["rollback.toml:16:1: blue.earlier: deb and releases exclude each other"],
    ),
    (
        "",
        "[blue.earlier]\nreleases = \"srv/releases\"\nlink = \"/srv/current\"",
        &["rollback.toml:15:12: blue.earlier.releases: \"srv/releases\" is not an absolute path"],
    ),
    (
        "",
        "[blue.earlier]\nreleases = \"/srv/releases\"",
        &["rollback.toml:14:1: blue.earlier: link is needed: link = \"/srv/listings/current\""],
    ),
    (
        "",
        "[blue.earlier]\nimage = \"listings:1.4\"\nvariable = \"TAG\"",
        &["rollback.toml:15:9: blue.earlier.image: \"listings:1.4\" is not the name of an image without a tag"],
    ),
    (
        "",
        "[blue.earlier]\nimage = \"listings\"\nvariable = \"TAG\"",
        &[
            "rollback.toml:15:9: blue.earlier.image: images are told by a compose file, and blue does not run by one ([blue] run.compose)",
        ],
    ),
    (
        "",
        "[blue.earlier]\ndeb = \"Listings\"\nlink = \"/srv/current\"",
        &["rollback.toml:16:8: blue.earlier.link: it goes with releases"],
    ),
    ("", "[blue.earlier]\nfiles = []", &["rollback.toml:15:9: blue.earlier.files: names no file"]),
    (
        "",
        "[blue.earlier]\ndeb = \"listings\"\n[change.blue-release]\non = \"here\"\nrun = [\"true\"]",
        &[
            "rollback.toml:16:1: change.blue-release: this name is that of the change by which [blue] earlier puts blue back",
        ],
    ),
    // Migrations without a database, without a command, and with the name of a change.
    (
        "",
        "[migrations]\ndown = [\"true\"]",
        &["rollback.toml:14:1: migrations: they are of a database, and there is no [database]"],
    ),
    (
        "",
        "[database]\nname = \"listings\"\n[migrations]\non = \"nowhere\"\ndown = [\"true\"]",
        &["rollback.toml:17:6: migrations.on: \"nowhere\" is neither a role nor a host: \"here\", a role, or of web1"],
    ),
    (
        "",
        "[database]\nname = \"listings\"\n[migrations]\ndown = []",
        &["rollback.toml:17:8: migrations.down: names no command"],
    ),
    (
        "",
        "[database]\nname = \"listings\"\n[migrations]\ndown = [\"true\"]\n[change.migrations]\non = \"here\"\nrun = [\"true\"]",
        &["rollback.toml:18:1: change.migrations: this name is that of the change by which [migrations] goes down"],
    ),
];

/// Two services behind one file of nginx; line 1 is `service`.
const SERVICES: &str = r#"service = "shop"
[[host]]
name = "web1"
ssh = "web1.example.com"
[[host]]
name = "app1"
ssh = "app1.example.com"
roles = ["app"]
[nginx]
file = "/etc/nginx/conf.d/shop.conf"
[change.flag]
on = "app"
run = ["true"]
[services.api]
nginx.upstream = "api"
blue = { servers = ["127.0.0.1:8080"], run.systemd = "api-blue.service" }
green = { servers = ["127.0.0.1:8081"], run.systemd = "api-green.service" }
[services.portal]
after = ["api"]
nginx.upstream = "portal"
blue = { servers = ["127.0.0.1:8090"], run.systemd = "portal-blue.service" }
green = { servers = ["127.0.0.1:8091"], run.systemd = "portal-green.service" }
[services.admin]
hosts = ["web1"]
nginx.upstream = "admin"
blue = { servers = ["127.0.0.1:8070"], run.systemd = "admin-blue.service" }
green = { servers = ["127.0.0.1:8071"], run.systemd = "admin-green.service" }
change.own = { on = "app", run = ["true"] }
"#;

#[test]
fn services_are_the_top_of_the_file_with_their_own_tables_over_it_and_who_needs_another_goes_back_before_it() {
    let read = Config::new(SERVICES).read().expect("a config");
    let names: Vec<&str> = read.services.iter().map(|service| service.name().as_str()).collect();
    assert_eq!(names, ["portal", "api", "admin"], "as they stand, but for who is needed");
    let [portal, api, admin] = read.services.as_slice() else { panic!("three") };
    for service in &read.services {
        assert_eq!(service.inventory.group.as_str(), "shop");
        assert_eq!(service.inventory.nginx.file.as_str(), "/etc/nginx/conf.d/shop.conf");
        assert_eq!(service.shared.len(), 1, "the change at the top is everybody's");
    }
    assert_eq!(portal.inventory.word_on_hosts(), "shop.portal");
    let apps = |service: &Service| service.inventory.with_role(Role::App).count();
    assert_eq!((apps(api), apps(admin)), (2, 1));
    assert_eq!((api.inventory.changes.len(), admin.inventory.changes.len()), (1, 2));
    let staging =
        Config::new(SERVICES).staging("[services.api.nginx]\nupstream = \"api_staging\"\n").read().expect("a config");
    let of = |name: &str| staging.services.iter().find(|service| service.name().as_str() == name).expect("it is there");
    assert!(format!("{:?}", of("api").inventory.nginx.layout).contains("api_staging"));
    assert!(format!("{:?}", of("portal").inventory.nginx.layout).contains("portal"));
}

#[test]
fn what_services_cannot_be_together_is_said_at_once() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "after = [\"api\"]",
            "after = [\"apu\", \"portal\"]",
            &[
                "rollback.toml:19:10: services.portal.after: there is no service \"apu\": did you mean \"api\"?",
                "rollback.toml:19:17: services.portal.after: it names itself",
            ],
        ),
        (
            "[services.api]\n",
            "[services.api]\nafter = [\"portal\"]\n",
            &["rollback.toml:19:11: each of these goes back after the next: portal, api, portal"],
        ),
        (
            "hosts = [\"web1\"]",
            "hosts = [\"web2\"]",
            &["rollback.toml:24:10: services.admin.hosts: there is no host \"web2\": did you mean \"web1\"?"],
        ),
        (
            "hosts = [\"web1\"]",
            "hosts = [\"app1\"]",
            &["rollback.toml:24:9: services.admin.hosts: none of them has the role \"balancer\""],
        ),
        (
            "nginx.upstream = \"portal\"",
            "nginx.upstream = \"api\"",
            &[
                "rollback.toml:18:11: services.portal: upstream api in /etc/nginx/conf.d/shop.conf is what api is switched by, too",
            ],
        ),
        (
            "nginx.upstream = \"portal\"",
            "nginx.switch = \"link\"\nnginx.blue = \"b.conf\"\nnginx.green = \"g.conf\"",
            &[
                "rollback.toml:18:11: services.portal: /etc/nginx/conf.d/shop.conf is what api is switched by, too",
                "rollback.toml:25:11: services.admin: /etc/nginx/conf.d/shop.conf is what portal is switched by, too",
            ],
        ),
        (
            "portal-green.service",
            "api-blue.service",
            &["rollback.toml:18:11: services.portal: green is unit api-blue.service, and so is api's blue"],
        ),
        (
            "127.0.0.1:8091",
            "127.0.0.1:8080",
            &["rollback.toml:18:11: services.portal: green is at 127.0.0.1:8080, and so is api's blue"],
        ),
    ];
    for (from, to, said) in cases {
        assert!(SERVICES.contains(from), "{from:?}");
        let problems = Config::new(SERVICES.replacen(from, to, 1)).problems();
        assert_eq!(problems, *said, "{to}");
    }
    let both = SERVICES.replacen(
        "[services.portal]\n",
        "[services.api.change.conf]\non = \"app\"\nfiles = [{ put = \"/a\", in = \"/etc/app\" }]\n[services.portal]\n\
         change.conf = { on = \"app\", files = [{ put = \"/b\", in = \"/etc/app\" }] }\n",
        1,
    );
    assert_eq!(
        Config::new(both).problems(),
        ["rollback.toml:21:11: services.portal: change conf writes /etc/app, and so does api's conf"]
    );
    let without = SERVICES.replacen("nginx.upstream = \"portal\"\n", "", 1).replacen("[nginx]\nfile = ", "#", 1);
    let problems = Config::new(without).problems();
    assert!(problems.iter().any(|problem| problem.contains("(of the service portal)")), "{problems:#?}");
    assert_eq!(
        Config::new(SERVICES.replacen("after =", "afer =", 1)).problems(),
        ["rollback.toml:19:1: unknown key \"afer\": did you mean \"after\"?"]
    );
    assert_eq!(
        Config::least_and("after = [\"x\"]\n").problems(),
        ["rollback.toml:14:1: unknown key \"after\": it belongs to [contacts.escalate] or [services.NAME]"]
    );
}

#[test]
fn every_problem_is_said_in_these_words() {
    let mut wrong = Vec::new();
    for (from, to, expected) in REFUSALS {
        let config = if from.is_empty() { Config::least_and(to) } else { Config::least_with(from, to) };
        let said = config.set("DASH", "-x").set("EMPTY", "").set("A", "https://x").problems();
        if said != *expected {
            wrong.push(format!("    ({from:?}, {to:?}, &{said:#?}),"));
        }
    }
    assert!(wrong.is_empty(), "said otherwise:\n{}", wrong.join("\n"));
}

#[test]
fn ten_problems_in_one_file_are_all_said_at_once_in_the_order_of_their_lines() {
    let config = Config::new(
        r#"service = "my listings"
color = "green"

[[host]]
name = "web1"
ssh = "-x"

[nginx]
file = "etc/nginx/conf.d/listings.conf"
upstream = 8

[blue]
servers = ["127.0.0.1:8080"]
helth = ["http://127.0.0.1:8080/health"]
run.systemd = "listings.service"

[green]
servers = ["127.0.0.1:8080"]
run.systemd = "listings"

[drain]
timeout = "20"

[verify]
passes = 0
public = ["listings.example.com"]
"#,
    );
    let places: Vec<(usize, usize)> = match config.read() {
        Ok(_) => panic!("taken"),
        Err(problems) => problems.iter().map(|problem| (problem.line, problem.column)).collect(),
    };
    assert_eq!(
        places,
        [(1, 11), (2, 1), (6, 7), (9, 8), (10, 12), (14, 1), (18, 12), (19, 1), (22, 11), (25, 10), (26, 11)],
        "{:#?}",
        config.problems()
    );
}

#[test]
fn every_form_of_a_key_keeps_its_place() {
    for (text, place) in [
        ("[\"drain\"]\n\"timeout\" = 'x'", (15, 13)),
        ("drain.timeout = 'x'", (1, 17)),
        ("drain = { timeout = 'x' }", (1, 21)),
        ("[drain]\ntimeout = \"\"\"x\"\"\"", (15, 11)),
        ("  [ drain ]\r\n\ttimeout =\t'x'\r\n", (15, 12)),
        ("# ünïcödé is counted in characters\n[drain]\n'timeout' = 'ü'", (16, 13)),
    ] {
        // What does not begin a table stands before the first one.
        let is_root = text.starts_with("drain");
        let base = if is_root { format!("{text}\n{LEAST}") } else { format!("{LEAST}{text}") };
        let problems = Config::new(base).read().expect_err("not a duration");
        assert_eq!((problems[0].line, problems[0].column), place, "{text}: {problems:?}");
        assert!(problems[0].what.starts_with("drain.timeout: "), "{problems:?}");
    }
}

#[test]
fn a_byte_order_mark_moves_no_column() {
    let problems = Config::new(format!("\u{feff}{}", LEAST.replace("\"listings\"", "3"))).read().expect_err("a number");
    assert_eq!((problems[0].line, problems[0].column), (1, 11));
    assert_eq!(problems[0].excerpt, "service = 3");
}

#[test]
fn an_excerpt_is_one_line_without_control_characters() {
    let config = Config::least_and("[verify]\nsmoke = 'ok' # \u{202e}txt\nintervall = '''\n\u{9b}31m'''");
    let problems = config.read().expect_err("an unknown key");
    assert_eq!(problems[0].excerpt, "intervall = '''");
    let config = Config::least_and("[verify]\n\tintervall = 'a\tb' # \u{202e}txt\u{200f}");
    let problems = config.read().expect_err("an unknown key");
    assert_eq!(problems[0].excerpt, " intervall = 'a b' # \u{fffd}txt\u{fffd}");
    let config = Config::least_and("[\"drain\\u001b[31m\"]");
    let problems = config.problems();
    assert!(problems[0].contains(r#"unknown key "drain\u{1b}[31m""#), "{problems:?}");
}

#[test]
fn a_secret_in_the_file_is_in_no_message() {
    const SECRET: &str = "https://hooks.slack.example.com/T0/B0/s3cr3t";
    for notify in [
        format!("[notify]\nslack = {{ webhook = '{SECRET}', webhok = 1 }}"),
        format!("[notify]\nslack = {{ webhook_env = '{SECRET}' }}"),
        "[notify]\nwebhook = [{ url = 'status.example.com/s3cr3t' }]".into(),
        "[notify.email]\nsmtp = 'smpt://ops:s3cr3t@mail'\nfrom = 'a@b.example'\nto = ['a@b.example']".into(),
        format!("[notify]\nslack = {{ webhook = '{SECRET}', }} }}"),
    ] {
        let config = Config::least_and(&notify);
        let problems = config.read().expect_err("each has a problem");
        let said = format!("{problems:?} {}", lines(&problems).join("\n"));
        assert!(!said.contains("s3cr3t"), "{notify}\n{said}");
    }
    let read = Config::least_and("[notify]\nslack.webhook_env = 'A'").set("A", SECRET).read().expect("a config");
    assert!(!format!("{read:?}").contains("s3cr3t"));
}

// -- the overlay

#[test]
fn an_overlay_is_laid_over_key_by_key_and_replaces_hosts_as_a_whole() {
    let base = format!("{LEAST}stop_timeout = \"7s\"\n[[host]]\nname = \"web2\"\nssh = \"web2\"\n");
    let config = Config::new(base).staging(
        "service = \"listings-staging\"\n[[host]]\nname = \"stage1\"\nssh = \"stage1\"\n[green]\nservers = [\"127.0.0.1:9081\"]\n",
    );
    let inventory = config.holds();
    assert_eq!(inventory.environment.as_str(), "staging");
    assert_eq!(inventory.service.as_str(), "listings-staging");
    assert_eq!(inventory.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["stage1"]);
    assert_eq!(inventory.green.servers[0].as_str(), "127.0.0.1:9081");
    assert_eq!(inventory.green.stop_timeout, Duration::from_secs(7), "the base's other keys stay");
    assert_eq!(inventory.sources, ["rollback.toml", "rollback.staging.toml"].map(PathBuf::from));
}

#[test]
fn a_problem_names_the_file_that_the_value_came_from() {
    let config = Config::least_and("stop_timeout = \"soon\"\n[drain]\ntimeout = \"later\"\n[targets]\nrto = \"never\"").staging(
        "servce = \"x\"\n[green]\nstop_timeout = \"never\"\nservers = [\"127.0.0.1:8080\"]\n[[host]]\nssh = \"stage1\"\n[targets]\nrto = \"5s\"\n",
    );
    assert_eq!(
        config.problems(),
        [
            "rollback.toml:16:11: drain.timeout: \"later\" is not a duration: for example \"20s\"",
            "rollback.staging.toml:1:1: unknown key \"servce\": did you mean \"service\"?",
            "rollback.staging.toml:3:16: green.stop_timeout: \"never\" is not a duration: for example \"20s\"",
            "rollback.staging.toml:4:12: green.servers[0]: \"127.0.0.1:8080\" is blue's too",
            "rollback.staging.toml:5:1: missing key host[0].name: for example \"web1\"",
        ]
    );
}

#[test]
fn an_overlay_is_checked_even_when_the_base_is_not_toml() {
    let config = Config::new("service = \n[[host]\n").staging("[drian]\n");
    assert_eq!(
        config.problems(),
        [
            "rollback.toml:1:11: not TOML: string values must be quoted, expected literal string",
            "rollback.toml:2:8: not TOML: unclosed array table, expected `]`",
            "rollback.staging.toml:1:2: unknown key \"drian\": did you mean \"drain\"?",
        ]
    );
}

#[test]
fn an_overlay_that_names_another_alternative_takes_the_bases_away() {
    let config = Config::least_and("[notify]\nslack.webhook_env = \"A\"")
        .set("B", "https://b.example.com")
        .staging("[green]\nrun.docker = \"green\"\n[notify]\nslack.webhook = \"$B\"");
    let inventory = config.holds();
    assert_eq!(inventory.green.run.describe(), "container green");
    assert_eq!(inventory.notify.channels.len(), 1);
    assert_eq!(config.warnings(), Vec::<String>::new());

    let process =
        LEAST.replace("run.systemd = \"listings-green.service\"", "run.process = { exe = \"/g\", port = 8081 }");
    let inventory = Config::new(process).staging("[green.run.process]\nexe = \"/stage/g\"").holds();
    assert_eq!(inventory.green.run.describe(), "process /stage/g on port 8081", "the same alternative is merged");
}

#[test]
fn an_environment_without_its_file_is_refused_so_that_a_typo_never_means_production() {
    let mut config = Config::new(LEAST);
    config.environment = "stagin";
    assert_eq!(config.problems(), ["rollback.toml:1:1: there is no rollback.stagin.toml for the environment stagin"]);
}

// -- variables

#[test]
fn a_text_that_is_exactly_a_variable_is_filled_in_and_no_other() {
    let config = Config::least_and("start = 1\n[verify]\nsmoke = \"test $HOST = x\"")
        .set("HOST", "deploy@web9")
        .set("SERVER", "127.0.0.1:9081");
    let base = config.base.replace("\"web1.example.com\"", "\"$HOST\"").replace("127.0.0.1:8081", "$SERVER");
    let inventory = Config { base: base.replace("start = 1\n", ""), ..config }.holds();
    assert_eq!(inventory.hosts[0].ssh.as_str(), "deploy@web9");
    assert_eq!(inventory.green.servers[0].as_str(), "127.0.0.1:9081");
    assert_eq!(inventory.verify.smoke.as_deref(), Some("test $HOST = x"));
}

#[test]
fn a_channel_whose_variable_is_not_set_is_left_out_with_a_warning_and_the_others_stay() {
    let config = Config::least_and(
        r#"[notify]
timeout = "$LIMIT"
slack = { webhook_env = "SLACK" }
email = { smtp = "$SMTP", from = "a@example.com", to = ["$TO"] }
webhook = [{ url = "$FIRST" }, { url_env = "SECOND" }, { url_env = "THIRD" }, { url_env = "FOURTH" }]
"#,
    )
    .set("SMTP", "smtp://mail")
    .set("SECOND", "https://second.example.com")
    .set("THIRD", "third.example.com/s3cr3t")
    .set("FOURTH", "");
    assert_eq!(
        config.warnings(),
        [
            "rollback.toml:15:11: the variable LIMIT is not set (neither in the environment nor in .env.deploy); the default of timeout is used",
            "rollback.toml:16:25: the variable SLACK is not set (neither in the environment nor in .env.deploy); no message goes to Slack",
            "rollback.toml:17:57: the variable TO is not set (neither in the environment nor in .env.deploy); no message goes out by email",
            "rollback.toml:18:20: the variable FIRST is not set (neither in the environment nor in .env.deploy); no message goes to this webhook",
            "rollback.toml:18:68: the value of the variable THIRD is not an http:// or https:// URL; no message goes to this webhook",
            "rollback.toml:18:91: the variable FOURTH is empty; no message goes to this webhook",
        ]
    );
    let channels = config.holds().notify.channels;
    assert!(matches!(channels.as_slice(), [Channel::Webhook { url }] if url.reveal() == "https://second.example.com"));
    assert_eq!(config.holds().notify.timeout, Duration::from_secs(5));
}

#[test]
fn a_literal_secret_is_taken_with_a_warning() {
    let config = Config::least_and(
        r#"[notify]
slack = { webhook = "https://hooks.slack.example.com/T0" }
email = { smtp = "smtps://ops:secret@mail.example.com", from = "a@example.com", to = ["b@example.com"] }
webhook = [{ url = "https://status.example.com/T0" }]
"#,
    );
    assert_eq!(
        config.warnings(),
        [
            "rollback.toml:15:21: notify.slack.webhook: a secret stands in the file: write webhook_env = \"SLACK_WEBHOOK_URL\" and set the variable in .env.deploy",
            "rollback.toml:16:18: notify.email.smtp: a secret stands in the file: write smtp_env = \"SMTP_URL\" and set the variable in .env.deploy",
            "rollback.toml:17:20: notify.webhook[0].url: a secret stands in the file: write url_env = \"STATUS_WEBHOOK_URL\" and set the variable in .env.deploy",
        ]
    );
    assert_eq!(config.holds().notify.channels.len(), 3);
}

#[test]
fn an_ssh_option_that_promises_nothing_less_is_passed_on() {
    let options = [
        "KexAlgorithms=curve25519-sha256",
        "ProxyCommand=ssh -W %h:%p bastion",
        "ProxyJump bastion",
        "StrictHostKeyChecking=accept-new",
        "StrictHostKeyChecking = yes",
        "UserKnownHostsFile=~/.ssh/known_hosts_prod",
        "ForwardAgent=no",
        "PermitLocalCommand=no",
        "BatchMode yes",
        "Port\t22",
    ];
    let config = Config::least_and(&format!("[ssh]\noptions = {options:?}"));
    assert_eq!(config.holds().ssh.options, options);
}

#[test]
fn a_home_that_is_not_known_is_a_problem_only_where_it_is_needed() {
    let mut config = Config::least_and("[ssh]\nconfig = \"~/.ssh/prod\"");
    config.home = None;
    assert_eq!(
        config.problems(),
        ["rollback.toml:15:10: ssh.config: the home folder that ~ stands for is not known: set HOME"]
    );
    let mut config = Config::new(LEAST);
    config.home = None;
    config.holds();
}

#[test]
fn an_env_file_is_read_as_a_shell_would_read_it_but_runs_and_expands_nothing() {
    let text = "\u{feff}# who is told\n\nPLAIN=https://example.com/#a # a comment\r\nexport EXPORTED=yes\n  SPACED = x y  \n\
        SINGLE='a $HOME \"b\" \\n'\nDOUBLE=\"a\\n\\\"b\\\" \\$c \\x # not a comment\" # a comment\n\
        EMPTY=\nexport=1\nRUN=$(date)`date`\nMONEY=$HOME\nPLAIN=later\n";
    let expected = [
        ("PLAIN", "https://example.com/#a"),
        ("EXPORTED", "yes"),
        ("SPACED", "x y"),
        ("SINGLE", "a $HOME \"b\" \\n"),
        ("DOUBLE", "a\n\"b\" $c \\x # not a comment"),
        ("EMPTY", ""),
        ("export", "1"),
        ("RUN", "$(date)`date`"),
        ("MONEY", "$HOME"),
        ("PLAIN", "later"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(config::parse_env_file(text).expect("an env file"), expected);
}

#[test]
fn every_bad_line_of_an_env_file_is_named_and_no_value_is_quoted() {
    let text =
        "GOOD=1\ns3cr3t\n1ST=s3cr3t\nA-B=s3cr3t\nOPEN='s3cr3t\nHALF=\"s3cr3t\\\nMORE=\"s3cr3t\" s3cr3t\n=s3cr3t\n";
    let name = "the part before = is not the name of a variable (letters, digits, underscores)";
    assert_eq!(
        config::parse_env_file(text).expect_err("seven bad lines"),
        [
            (2, "expected NAME=VALUE".to_owned()),
            (3, name.to_owned()),
            (4, name.to_owned()),
            (5, "OPEN: the quote is not closed on its line".to_owned()),
            (6, "HALF: the quote is not closed on its line".to_owned()),
            (7, "MORE: something follows the closing quote".to_owned()),
            (8, name.to_owned()),
        ]
    );
}

// -- the files around it

#[test]
fn the_config_is_found_here_or_in_the_nearest_parent() {
    let exists = |path: &Path| [Path::new("/srv/rollback.toml"), Path::new("/srv/a/rollback.toml")].contains(&path);
    let find = |start: &str| config::find(Path::new(start), &exists);
    assert_eq!(find("/srv/a/b/c"), Some("/srv/a/rollback.toml".into()));
    assert_eq!(find("/srv/b"), Some("/srv/rollback.toml".into()));
    assert_eq!(find("/var"), None);
}

#[test]
fn an_overlay_is_named_after_its_base_and_the_environment() {
    let path = |base: &str, environment: &str| {
        config::overlay_path(Path::new(base), &Environment::new(environment).expect("a plain word"))
    };
    assert_eq!(path("rollback.toml", "staging"), Path::new("rollback.staging.toml"));
    assert_eq!(path("/etc/x/site.eu.toml", "prod"), Path::new("/etc/x/site.eu.prod.toml"));
    assert_eq!(path("conf", "prod"), Path::new("conf.prod"));
}

#[test]
fn the_schema_in_the_docs_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rollback.schema.json");
    let schema = config::schema_json();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &schema).expect("docs/ can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == schema, "docs/rollback.schema.json is stale: run `UPDATE=1 cargo test --test config`");
}

#[test]
fn the_schema_of_the_output_in_the_docs_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/output.schema.json");
    let schema = rollback_prod::tell::terminal::line::schema_json();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &schema).expect("docs/ can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == schema, "docs/output.schema.json is stale: run `UPDATE=1 cargo test --test config`");
}

#[test]
fn the_schema_names_only_required_keys_that_it_has_and_describes_every_key() {
    fn walk(schema: &serde_json::Value, path: &str) {
        let properties = schema["properties"].as_object();
        for key in schema["required"].as_array().into_iter().flatten().filter_map(|key| key.as_str()) {
            assert!(properties.is_some_and(|keys| keys.contains_key(key)), "{path}.{key} is required and unknown");
        }
        for (key, inner) in properties.into_iter().flatten() {
            assert!(inner["description"].is_string(), "{path}.{key} has no description");
            walk(inner, &format!("{path}.{key}"));
            walk(&inner["items"], &format!("{path}.{key}[]"));
            walk(&inner["additionalProperties"], &format!("{path}.{key}.NAME"));
        }
        if properties.is_some() {
            assert_eq!(schema["additionalProperties"], false, "{path} takes unknown keys");
        }
    }
    let schema = config::schema_json();
    assert!(!schema.contains("null") && !schema.contains("$ref"), "{schema}");
    walk(&serde_json::from_str(&schema).expect("JSON"), "");
}

#[test]
fn the_example_is_taken_as_it_stands() {
    assert!(EXAMPLE.starts_with("#:schema ./rollback.schema.json\n"));
    let config = Config::new(EXAMPLE)
        .set("SLACK_WEBHOOK_URL", "https://hooks.slack.example.com/T0/B0")
        .set("STATUS_WEBHOOK_URL", "https://status.example.com/hook")
        .set("PAGERDUTY_ROUTING_KEY", "0123456789abcdef0123456789abcdef")
        .set("STATUSPAGE_TOKEN", "89a229ce1a8dbcf9ff30430fbe35eb4c")
        .set("GRAFANA_TOKEN", "glsa_0123456789");
    assert_eq!(config.warnings(), Vec::<String>::new());
    let inventory = config.holds();
    assert_eq!(inventory.notify.channels.len(), 7);
    assert!(inventory.database.is_some());
}

/// The example with its commented keys in force.
fn whole_example() -> String {
    let in_force = |line: &str| {
        let key = line.strip_prefix('#').filter(|rest| {
            rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') || rest.trim_start().starts_with('{')
        });
        key.unwrap_or(line).to_owned()
    };
    EXAMPLE.lines().map(in_force).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_key_of_the_schema_stands_in_the_example() {
    fn walk(schema: &serde_json::Value, values: &[&toml::Value], path: &str, missing: &mut Vec<String>) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            // What a service may have of its own stands at the top.
            if path == ".services" && EXAMPLE.contains(&format!("[{key}")) {
                continue;
            }
            let path = format!("{path}.{key}");
            // The colours are of one kind: what stands under one is known for the other.
            let colours = ["blue", "green"];
            let names = if colours.contains(&key.as_str()) { &colours[..] } else { &[key.as_str()] };
            let found: Vec<&toml::Value> =
                names.iter().flat_map(|key| values.iter().filter_map(move |value| value.get(key))).collect();
            if found.is_empty() {
                missing.push(path);
                continue;
            }
            walk(inner, &found, &path, missing);
            let items: Vec<&toml::Value> = found.iter().filter_map(|value| value.as_array()).flatten().collect();
            walk(&inner["items"], &items, &path, missing);
            let named: Vec<&toml::Value> =
                found.iter().filter_map(|value| value.as_table()).flatten().map(|(_, value)| value).collect();
            walk(&inner["additionalProperties"], &named, &path, missing);
        }
    }
    let example: toml::Table = whole_example().parse().expect("TOML");
    let schema = serde_json::from_str(&config::schema_json()).expect("JSON");
    let mut missing = Vec::new();
    walk(&schema, &[&toml::Value::Table(example)], "", &mut missing);
    assert!(missing.is_empty(), "not in docs/rollback.example.toml: {missing:?}");
}

#[test]
fn every_key_of_the_example_is_known_and_says_when_it_is_needed() {
    let problems = Config::new(whole_example())
        .set("SLACK_WEBHOOK_URL", "https://hooks.slack.example.com/T0/B0")
        .set("STATUS_WEBHOOK_URL", "https://status.example.com/hook")
        .set("PAGER_WEBHOOK_URL", "https://pager.example.com/hook")
        .problems();
    assert!(problems.iter().all(|problem| problem.contains("exclude each other")), "{problems:#?}");
    for (index, line) in whole_example().lines().enumerate() {
        let is_key = line.split('#').next().is_some_and(|key| key.contains('='));
        let comment = line.rsplit_once(" # ").map(|(_, comment)| comment.trim());
        assert!(!is_key || comment.is_some_and(|comment| !comment.is_empty()), "line {}: {line}", index + 1);
    }
}

// -- anything at all

/// Where a mutation cuts, how much it takes out, and what it puts in.
fn mutation() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    let pieces = prop::sample::select(vec![
        "",
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "\\",
        "$X",
        "-1",
        "1e9",
        "nan",
        "true",
        "\"20s\"",
        "0x",
        "99999999999999999999",
        "2026-11-20",
        "[blue]",
        "[[host]]",
        "host = 1\n",
        "a.b.c = 1\n",
        "\u{0}",
        "\u{202e}",
        "ü",
        "\r",
        "\u{feff}",
        "[green.run.process]\n",
        "run = {}",
        "\"18446744073709551615y\"",
    ]);
    let text = prop_oneof![pieces.prop_map(String::from), "\\PC{0,8}"];
    (any::<prop::sample::Index>(), 0..40usize, text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_config_makes_the_reader_panic_and_every_problem_has_a_place(
        mutations in prop::collection::vec(mutation(), 1..6),
        overlay in prop::option::of(prop::collection::vec(mutation(), 1..4)),
    ) {
        let mutate = |mutations: &[(prop::sample::Index, usize, String)]| {
            let mut text = whole_example();
            for (at, length, piece) in mutations {
                let start = text.floor_char_boundary(at.index(text.len() + 1));
                let end = text.floor_char_boundary((start + length).min(text.len()));
                text.replace_range(start..end, piece);
            }
            text
        };
        let mut config = Config::new(mutate(&mutations));
        if let Some(overlay) = overlay {
            config = config.staging(mutate(&overlay));
        }
        let problems = match config.read() {
            Ok(read) => read.warnings,
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                problems
            }
        };
        for problem in problems {
            let text = if problem.file == "rollback.toml" { &config.base } else { config.overlay.as_ref().expect("it") };
            prop_assert!(problem.line >= 1 && problem.line <= text.matches('\n').count() + 1, "{}", problem);
            prop_assert!(problem.column >= 1);
            prop_assert!(!problem.to_string().chars().any(char::is_control), "{:?}", problem.to_string());
            prop_assert!(!problem.excerpt.chars().any(char::is_control), "{:?}", problem.excerpt);
            prop_assert!(!problem.what.contains("the reason is not known"));
        }
    }

    #[test]
    fn no_env_file_makes_the_reader_panic(text in "(export )?[A-Z]{0,3}[= ]{0,2}[\"'\\\\a#$\\n ü]{0,12}") {
        let _ = config::parse_env_file(&text);
    }
}
