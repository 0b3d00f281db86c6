//! From the file as written to the [`Inventory`]: words, durations, sizes, addresses, and what must hold between them.
//! Every problem points at the value that has it.
//!
//! `words` reads one value at a time; `hosts`, `nginx`, `colours`, `judging`, `changes`, `earlier` and `channels` are the tables that are more than their values.
//! Never looks at the documents' text, and never asks anything but what [`Reading`] holds.

mod changes;
mod channels;
mod colours;
mod earlier;
mod hosts;
mod judging;
mod nginx;
mod tickets;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::any_of;
use super::file::{self, default};
use super::findings::{Findings, readable};
use super::tree::{Kind, Node};
use super::value::size;
use super::{Problem, Reading};
use crate::config::meaning::words::optional;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Contacts, Database, DrillDue, Evidence, Inventory, Run, Targets, Tickets, Verify};
use crate::nouns::names::{ContainerName, RemotePath, ServiceName, UnitName};

/// What is kept or measured, not waited for. Ten years: past that it is a slip.
const LONGEST_AGE: Duration = Duration::from_secs(10 * 31_557_600);
/// More often than that nobody tries it.
const SHORTEST_DRILL: Duration = Duration::from_secs(3600);

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
    let (default_judge, default_bake) = (file::JudgeTable::default(), file::BakeTable::default());
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
    let runs: Vec<Run> = [&green_site, &blue_site].into_iter().filter_map(|site| site.run.clone()).collect();
    let blue_run = blue_site.run.clone();
    let has_container = written.nginx.as_ref().is_some_and(|nginx| nginx.container.is_some());
    let blue = written.blue.as_ref().and_then(|app| meaning.app(Colour::Blue, app, blue_site, has_container));
    let green = written.green.as_ref().and_then(|app| meaning.app(Colour::Green, app, green_site, has_container));
    let drain_timeout = meaning.wait("drain.timeout", &written.drain.as_ref().unwrap_or(&default_drain).timeout);
    let verify = meaning.verify(written.verify.as_ref().unwrap_or(&default_verify));
    let judging = meaning.judging(written.judge.as_ref().unwrap_or(&default_judge));
    let prometheus = meaning.prometheus(written.judge.as_ref().unwrap_or(&default_judge));
    let bake = judging.as_ref().and_then(|judging| {
        meaning.bake(written.bake.as_ref().unwrap_or(&default_bake), written.bake.is_some(), judging)
    });
    let database = written.database.as_ref().map(|database| meaning.database(database));
    if let (Some(_), Some(hosts)) = (&written.database, &written.host) {
        meaning.some_host_is("database", "database", hosts);
    }
    let changes = meaning.changes(&written.change, hosts.as_deref().unwrap_or_default());
    let earlier = meaning.earlier(written, blue_run.as_ref(), hosts.as_deref().unwrap_or_default());
    let migrations = meaning.migrations(written, hosts.as_deref().unwrap_or_default());
    let hooks = meaning.hooks(&written.hook, hosts.as_deref().unwrap_or_default());
    let evidence = meaning.evidence(written.evidence.as_ref().unwrap_or(&default_evidence), runs);
    let named = service.as_ref().map(|service| service.as_str());
    let notify = meaning.notify(written.notify.as_ref().unwrap_or(&default_notify), named.unwrap_or_default());
    let targets = meaning.targets(written.targets.as_ref().unwrap_or(&default_targets));
    let drill = written.drill.as_ref().map(|drill| meaning.drill(drill, written.database.as_ref()));
    let tickets = written.tickets.as_ref().map_or(Some(Tickets::default()), |tickets| meaning.tickets(tickets));
    let contacts = written.contacts.as_ref().map_or(Some(Contacts::default()), |contacts| meaning.contacts(contacts));

    let service = service?;
    Some(Inventory {
        drill: match drill {
            Some(drill) => Some(drill?),
            None => None,
        },
        group: service.clone(),
        is_alone: true,
        service,
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
        judging: judging?,
        prometheus: prometheus.ok()?,
        bake: bake?,
        database: match database {
            Some(database) => Some(database?),
            None => None,
        },
        changes: changes?,
        earlier: earlier?,
        migrations: migrations?,
        hooks: hooks?,
        evidence: evidence?,
        notify: notify?,
        targets: targets?,
        contacts: contacts?,
        tickets: tickets?,
    })
}

struct Meaning<'a, 'f, 's> {
    tree: &'a Node,
    reading: &'a Reading<'a>,
    /// The config's folder.
    folder: PathBuf,
    findings: &'f mut Findings<'s>,
}

impl Meaning<'_, '_, '_> {
    fn wrong(&mut self, path: &str, what: impl std::fmt::Display) -> &mut Problem {
        let node = self.tree.nearest(path);
        let origin = node.variable.as_ref().map(|name| format!(" (from the variable {name})")).unwrap_or_default();
        self.findings.problem(node.place, readable(&format!("{}: {what}{origin}", label(path))))
    }

    /// Whether the key stands in the file, be it right or wrong.
    fn is_written(&self, path: &str) -> bool {
        self.tree.get(path).is_some()
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

    fn evidence(&mut self, evidence: &file::EvidenceTable, runs: impl IntoIterator<Item = Run>) -> Option<Evidence> {
        let files = self
            .each("evidence.files", &evidence.files, |meaning, path, word| meaning.word(path, word, RemotePath::new));
        let written = evidence.journal.clone().unwrap_or_else(|| vec![default::JOURNAL.into()]);
        let mut journal =
            self.each("evidence.journal", &written, |meaning, path, word| meaning.word(path, word, UnitName::new));
        if let (None, Some(journal)) = (&evidence.journal, &mut journal) {
            let units = runs.into_iter().filter_map(|run| if let Run::Systemd(unit) = run { Some(unit) } else { None });
            journal.extend(units);
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

    fn drill(&mut self, drill: &file::DrillTable, database: Option<&file::DatabaseTable>) -> Option<DrillDue> {
        let mut every = |key: &str, text: &str| {
            let path = format!("drill.{key}");
            let every = self.duration(&path, text, LONGEST_AGE)?;
            if every < SHORTEST_DRILL {
                self.wrong(&path, format!("{text:?} is less than an hour"));
            }
            Some(every)
        };
        let (rollback, verify) = (every("every", &drill.every), every("verify_every", &drill.verify_every));
        let verify = verify?;
        Some(DrillDue { every: rollback?, verify_every: database.map(|_| verify) })
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
