//! The database's own work, for a rollback, an undo and a drill alike: which dump, loaded aside, compared, swapped in,
//! dropped. Drives hosts through the traits of `remote`. What a dump is worth is `backup`'s to say; it never asks
//! anybody for consent, and replaces nothing without one.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dumps::dump::Scan;
use dumps::migrations::{self, Migration};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{programs, tables};
use crate::database::server::{self, Compared, DatabaseFacts, LoadState, Relative};
use crate::database::verdict::{self, Checked, Hindrance, RestoreTarget};
use crate::hosts::answer::{self, Answer, Failure, last_line};
use crate::hosts::carried;
use crate::hosts::facts::NotKnown;
use crate::hosts::job;
use crate::hosts::program::{Change, Tenure};
use crate::hosts::remote::{Apply, Ask};
use crate::incident::journal::{Journal, Progress};
use crate::nouns::consent::Overwrite;
use crate::nouns::inventory::{Database, Host, Inventory, Role};
use crate::nouns::migration::MigrationsSeen;
use crate::nouns::names::{HostName, IncidentId, RemotePath};
use crate::nouns::plan::{RestoreWish, TablesWish};
use crate::nouns::record::{Dump, StepWord, Swap};
use crate::nouns::refusal::RefusalName;
use crate::nouns::units::{bytes, span};

/// How often is asked how far a load is.
const POLL: Duration = Duration::from_millis(300);
/// A load goes on over there while the line is gone; this long is tried to see it again.
const LOST_LIMIT: Duration = Duration::from_secs(600);
/// What the stages of a load take of its time, in percent, measured (docs/performance.md): rows, indexes, foreign keys,
/// statistics.
const SHARES: [(&str, u32); 6] =
    [("create", 0), ("schema", 1), ("data", 59), ("indexes", 33), ("constraints", 4), ("analyze", 3)];
/// What the names of schemas begin with whose rows were not merged yet; see `Work::schema_of`.
const STAGE: &str = "rollback_prod_from_";
/// A dump of this size, as it lies there, is read in a few seconds; a larger one is read for a restore only.
const SOON_READ_BYTES: u64 = 100 << 20;
/// A rollback that restores nothing waits no longer for what is said of its database.
const SOON: Duration = Duration::from_secs(8);

/// What the work needs to know all along.
pub struct Work<'a, F> {
    pub inventory: &'a Inventory,
    pub database: &'a Database,
    pub fleet: &'a F,
    pub journal: &'a Journal<'a>,
    pub run: &'a IncidentId,
    pub is_forced: bool,
    /// Of a run that has locks: whose changes they are, and the numbers of its locks.
    pub tenure: Option<&'a Tenure>,
    pub numbers: BTreeMap<HostName, u64>,
}

/// The server that holds the database.
#[derive(Debug, Clone)]
pub struct DatabaseServer {
    pub host: HostName,
    pub facts: DatabaseFacts,
}

/// The dump that may be restored, or the reasons against all of them.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    pub dump: Option<Checked>,
    /// Newer ones that were not taken, each with the cause.
    pub passed_over: Vec<String>,
    pub problems: Vec<Hindrance>,
    /// What was against the one that is taken, and --force went past.
    pub forced_past: Vec<Hindrance>,
}

/// A database that was loaded and stands beside the live one.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub name: String,
    pub oid: u32,
    pub scan: Scan,
    pub took: Duration,
}

/// What of the live database a copy is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    Nothing,
    Structure,
    StructureAndRows,
}

/// How a swap ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// With the milliseconds of its transaction, where they were told.
    Done(Option<u64>),
    /// Everything is as it was; why.
    No(String),
    Unknown(String),
}

impl<F> Work<'_, F> {
    /// What the names of copies and kept databases begin with: the database's own, cut so that the rest fits.
    pub fn stem(&self) -> String {
        programs::cut(&self.database.name, "_before_20261120_211503_99").to_owned()
    }

    /// `listings_prod_copy_20261120_211503`
    pub fn name_of(&self, what: &str) -> String {
        format!("{}_{what}_{}", self.stem(), self.number())
    }

    /// `20261120_211503`
    pub(super) fn number(&self) -> String {
        self.run.as_str().trim_start_matches("rollback-").replace('-', "_")
    }
}

impl<F: Ask> Work<'_, F> {
    pub(super) fn say_progress(&self, server: &DatabaseServer, percent: Option<u8>, words: &str) {
        let time = self.journal.clock().now();
        let (service, step, host) = (self.journal.service(), StepWord::Restore, &server.host);
        self.journal.progress(&Progress { time, service, step, host, percent, words });
    }

    /// The server that holds the database, among all hosts that may have it.
    ///
    /// # Errors
    /// Why there is none, or which several there are.
    pub async fn server(&self) -> Result<DatabaseServer, Hindrance> {
        let stem = self.stem();
        let question = programs::facts(self.inventory, self.database, &stem);
        let hosts: Vec<&Host> = self.inventory.with_role(Role::Database).collect();
        let asked = join_all(hosts.iter().map(|host| self.fleet.ask(&host.name, &question))).await;
        let mut found: Vec<DatabaseServer> = Vec::new();
        let mut why: Vec<String> = Vec::new();
        let mut hint = None;
        for (host, answer) in hosts.iter().zip(asked) {
            match answer {
                Err(failure) => why.push(format!("{}: {failure}", host.name)),
                Ok(answer) => {
                    let facts = server::facts(&answer);
                    let is_asleep = facts.container_runs == Some(false);
                    if facts.is_reached() || is_asleep {
                        found.push(DatabaseServer { host: host.name.clone(), facts });
                    } else {
                        why.push(format!("{}: {}", host.name, no_access(&facts, self.database)));
                        hint = hint.or_else(|| sudoers_line(&facts, &self.database.admin));
                    }
                }
            }
        }
        // Of several servers it is the one that has the database and may be written to.
        if found.len() > 1 && found.iter().any(|server| server.facts.live.is_some() && !server.facts.server.is_standby)
        {
            found.retain(|server| server.facts.live.is_some() && !server.facts.server.is_standby);
        }
        match (found.len(), found.pop()) {
            (1, Some(server)) => Ok(server),
            (0, _) | (_, None) => {
                let why = format!("no PostgreSQL server can be asked: {}", why.join("; "));
                Err(Hindrance::new(RefusalName::DatabaseUnreached, why, hint.as_deref()))
            }
            (several, Some(server)) => {
                let why = format!("{several} hosts have a server that may be the one, {} among them", server.host);
                Err(Hindrance::new(RefusalName::DatabaseSeveral, why, Some("give the role \"database\" to one host")))
            }
        }
    }

    /// What stands in the way on the server, whatever the dump is.
    pub fn hindrances(&self, server: &DatabaseServer, tables: Option<&TablesWish>) -> Vec<Hindrance> {
        let mut problems = self.unchangeable(server);
        // Rows of some tables go into the database that is there, whoever is connected.
        if tables.is_none() {
            problems.extend(self.unswappable(server));
        }
        problems
    }

    /// What keeps every restore from it.
    fn unchangeable(&self, server: &DatabaseServer) -> Vec<Hindrance> {
        let facts = &server.facts;
        let mut problems = Vec::new();
        if facts.server.is_standby {
            let why = "the server is a standby: its database cannot be written to";
            problems.push(Hindrance::new(RefusalName::DatabaseStandby, why, None));
        }
        if !facts.server.can_create {
            let hint = format!("ALTER ROLE \"{}\" CREATEDB, or another database.admin", self.database.admin);
            problems.push(Hindrance::new(
                RefusalName::DatabaseRights,
                format!("the role {} may not create databases", self.database.admin),
                Some(&hint),
            ));
        }
        problems
    }

    /// What keeps another database from taking its place.
    fn unswappable(&self, server: &DatabaseServer) -> Vec<Hindrance> {
        let facts = &server.facts;
        let mut problems = Vec::new();
        if !facts.server.can_signal {
            let hint = format!("GRANT pg_signal_backend TO \"{}\"", self.database.admin);
            problems.push(Hindrance::new(
                RefusalName::DatabaseRights,
                format!("the role {} may not end other roles' sessions", self.database.admin),
                Some(&hint),
            ));
        }
        if !facts.hindrances.is_empty() {
            let hint =
                "they stay with the old database: commit or roll back what is prepared, drop slot or subscription";
            problems.push(Hindrance::new(
                RefusalName::DatabaseHeld,
                format!("{} has {}", self.database.name, facts.hindrances.join(", ")),
                Some(hint),
            ));
        }
        problems
    }

    /// All dumps that the pattern names, and what was found where it names none.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn files(
        &self,
        server: &DatabaseServer,
        pattern: &RemotePath,
    ) -> Result<(Vec<verdict::DumpFile>, String), Failure> {
        let question = programs::backups(self.inventory, self.database, pattern);
        Ok(server::files(&self.fleet.ask(&server.host, &question).await?))
    }

    /// Reads dumps to their end and judges them.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn check(&self, server: &DatabaseServer, files: Vec<verdict::DumpFile>) -> Result<Vec<Checked>, Failure> {
        let carried = carried::program_for(&server.facts.system);
        let all: u64 = files.iter().map(|file| file.bytes).sum();
        let words = match files.as_slice() {
            [one] => format!("reading {} ({}) to its end", one.path, bytes(all)),
            several => format!("reading {} dumps ({}) to their ends", several.len(), bytes(all)),
        };
        self.say_progress(server, None, &words);
        let scans = self.read(server, &files, carried).await?;
        let target = self.target(server);
        let checked = files.into_iter().zip(scans).map(|(file, (format, scan))| {
            let problems = verdict::judge(&file, format, &scan, &target);
            Checked { file, format, scan, problems }
        });
        Ok(checked.collect())
    }

    async fn read(
        &self,
        server: &DatabaseServer,
        files: &[verdict::DumpFile],
        carried: &'static [u8],
    ) -> Result<Vec<(verdict::Format, Scan)>, Failure> {
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let question = programs::scan(self.inventory, self.database, &paths, carried);
        Ok(server::scans(&self.fleet.ask(&server.host, &question).await?))
    }

    /// By which migrations the live database is newer than the dump that a restore would take, in words; nothing where no
    /// tool for migrations keeps its state there, or nobody can say soon.
    pub async fn migrated(&self) -> Option<String> {
        tokio::time::timeout(SOON, self.migrated_at_last()).await.ok().flatten()
    }

    async fn migrated_at_last(&self) -> Option<String> {
        let server = self.server().await.ok()?;
        let applied = self.migrations_live(&server).await.ok()?;
        if applied.is_empty() {
            return None;
        }
        let dumped = self.migrations_dumped(&server).await?;
        let differs = migrations::compared(&applied, &dumped)?;
        differs.is_newer.then(|| format!("{}: {}: blue may not know these", server.host, differs.words))
    }

    /// What tools for migrations have applied to the live database.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn migrations_live(&self, server: &DatabaseServer) -> Result<Vec<Migration>, String> {
        if server.facts.live.is_none() {
            return Err(format!("there is no database {}", self.database.name));
        }
        let question = programs::migrations(self.inventory, self.database, &server.facts.way);
        let answer = self.fleet.ask(&server.host, &question).await.map_err(|failure| failure.to_string())?;
        match answer.status_of("migrations") {
            Some(0) => Ok(server::migrations(&answer)),
            _ => Err("the server does not say which migrations are applied".to_owned()),
        }
    }

    /// What the newest dump that a restore would take has of them; `None` where there is none, or it is not soon read.
    async fn migrations_dumped(&self, server: &DatabaseServer) -> Option<Vec<Migration>> {
        let (files, _) = self.files(server, self.database.backups.as_ref()?).await.ok()?;
        let (candidates, _) = verdict::candidates(files, self.database.deployed_at);
        let newest = candidates.into_iter().next().filter(|file| file.bytes <= SOON_READ_BYTES)?;
        let carried = carried::program_for(&server.facts.system);
        let (_, scan) = self.read(server, &[newest], carried).await.ok()?.pop()?;
        scan.reads_migrations.then_some(scan.migrations)
    }

    /// Both, for whoever is to take migrations back. A dump that is not soon read is waited for a moment only, and only where
    /// it is to say how far.
    ///
    /// # Errors
    /// Why nothing is known.
    pub async fn migrations_seen(&self, says_how_far: bool) -> Result<MigrationsSeen, NotKnown> {
        let server = self.server().await.map_err(|problem| NotKnown { why: problem.why, hint: problem.hint })?;
        let live = self.migrations_live(&server).await.map_err(|why| NotKnown { why, hint: None })?;
        let wait = if says_how_far { SOON * 2 } else { SOON / 4 };
        let dump = tokio::time::timeout(wait, self.migrations_dumped(&server)).await.ok().flatten();
        Ok(MigrationsSeen { host: server.host, live, dump })
    }

    fn target(&self, server: &DatabaseServer) -> RestoreTarget {
        let facts = &server.facts;
        RestoreTarget {
            server: (facts.server.version_num > 0).then_some(facts.server.version_num),
            live_bytes: facts.live.as_ref().map(|live| live.size),
            free_bytes: facts.free_bytes,
            live_tables: facts.tables.clone(),
            roles: facts.roles.clone(),
            deployed_at: self.database.deployed_at,
        }
    }

    /// The newest whole dump older than the deploy, or the named one. Each is read until one is good.
    pub async fn choose(&self, server: &DatabaseServer, wish: &RestoreWish) -> Choice {
        let named = wish.backup.as_ref();
        let Some(pattern) = named.or(self.database.backups.as_ref()) else {
            let hint = "name a dump on the host: --backup FILE";
            return Choice::of(Hindrance::new(RefusalName::DumpNone, "the config has no database.backups", Some(hint)));
        };
        let (files, looked) = match self.files(server, pattern).await {
            Ok(files) => files,
            Err(failure) => return Choice::of(unread(server, &failure)),
        };
        if files.is_empty() {
            let looked = if looked.is_empty() { String::new() } else { format!(": {looked}") };
            let why = format!("there is no dump at {pattern} on {}{looked}", server.host);
            return Choice::of(Hindrance::new(RefusalName::DumpNone, why, Some("rollback-prod backups list")));
        }
        let (candidates, mut passed_over) = match named {
            // Whoever names one gets it judged by its own merits, its age among them.
            Some(_) => (files, Vec::new()),
            None => verdict::candidates(files, self.database.deployed_at),
        };
        let mut last = None;
        for file in candidates {
            let path = file.path.clone();
            let checked = match self.check(server, vec![file]).await {
                Ok(mut checked) => checked.pop(),
                Err(failure) => return Choice::of(unread(server, &failure)),
            };
            let Some(mut checked) = checked else {
                let why = format!("{path} could not be read on {}", server.host);
                return Choice::of(Hindrance::new(RefusalName::DumpUnread, why, None));
            };
            let mut forced_past = Vec::new();
            if let Some(tables) = &wish.tables {
                // A dump of a part is as good, where they are in it.
                checked.problems.retain(|problem| !problem.must_be_named || named.is_none());
                checked.problems.extend(tables::not_there(tables, &server.facts.tables, &checked.scan));
            }
            if self.is_forced {
                let goes = |problem: &Hindrance| problem.can_be_forced && !(problem.must_be_named && named.is_none());
                (forced_past, checked.problems) = checked.problems.into_iter().partition(goes);
            }
            if checked.problems.is_empty() {
                return Choice { dump: Some(checked), passed_over, forced_past, problems: Vec::new() };
            }
            let why: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
            passed_over.push(format!("{path}: {}", why.join("; ")));
            last = Some(checked);
        }
        match (named, last) {
            (Some(_), Some(checked)) => {
                Choice { problems: checked.problems.clone(), dump: Some(checked), ..Choice::default() }
            }
            _ => Choice {
                dump: None,
                problems: vec![Hindrance::new(
                    RefusalName::DumpNone,
                    format!(
                        "none of the dumps at {pattern} on {} may be restored: {}",
                        server.host,
                        passed_over.join("; ")
                    ),
                    Some("rollback-prod backups list"),
                )],
                passed_over,
                ..Choice::default()
            },
        }
    }

    /// What was chosen, for the journal.
    pub fn dump_record(&self, server: &DatabaseServer, choice: &Choice, tables: Option<&TablesWish>) -> Dump {
        let mut problems: Vec<String> = self.hindrances(server, tables).iter().map(ToString::to_string).collect();
        problems.extend(choice.problems.iter().map(ToString::to_string));
        let dump = choice.dump.as_ref();
        Dump {
            host: server.host.clone(),
            path: dump.map_or_else(|| "none".to_owned(), |dump| dump.file.path.clone()),
            bytes: dump.map_or(0, |dump| dump.file.bytes),
            modified: dump.map_or(DateTime::UNIX_EPOCH, |dump| dump.file.modified),
            tables: dump.map_or(0, |dump| dump.scan.rows.len() as u64),
            rows: dump.map_or(0, |dump| dump.scan.rows.iter().map(|(_, rows)| rows).sum()),
            problems,
            passed_over: choice.passed_over.clone(),
        }
    }

    /// Checks the copy, and compares it with its dump and with the live database.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn compare(
        &self,
        server: &DatabaseServer,
        loaded: &Loaded,
        against: Against,
    ) -> Result<Compared, Failure> {
        let rows = against == Against::StructureAndRows;
        let live = (against != Against::Nothing && server.facts.live.is_some()).then_some(self.database.name.as_str());
        let way = &server.facts.way;
        let question = programs::compare(self.inventory, self.database, way, &loaded.name, live, rows);
        let answer = self.fleet.ask(&server.host, &question).await?;
        let has_live = rows && live.is_some();
        Ok(server::compared(&answer, &self.database.name, &self.database.checks, &loaded.scan, has_live))
    }

    /// The config's checks that do not say true of a database.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn failed_checks(&self, server: &DatabaseServer, name: &str) -> Result<Vec<String>, Failure> {
        let question = programs::checks(self.inventory, self.database, &server.facts.way, name);
        Ok(server::failed_checks(&self.fleet.ask(&server.host, &question).await?, &self.database.checks))
    }

    /// How a load stands.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn load_state(&self, server: &DatabaseServer, run: &IncidentId) -> Result<LoadState, Failure> {
        let question = programs::progress(self.inventory, self.database, run);
        Ok(server::load_state(&self.fleet.ask(&server.host, &question).await?))
    }

    /// The database of that name as it is now.
    async fn relative(&self, server: &DatabaseServer, name: &str) -> Option<Relative> {
        let question = programs::facts(self.inventory, self.database, &self.stem());
        let answer = self.fleet.ask(&server.host, &question).await.ok()?;
        server::facts(&answer).relative(name).cloned()
    }

    /// Which of the two databases has the live name, asked anew; `None` where nobody can say.
    pub async fn is_swapped(&self, server: &DatabaseServer, swap: &Swap) -> Option<bool> {
        let question = programs::facts(self.inventory, self.database, &self.stem());
        let facts = server::facts(&self.fleet.ask(&server.host, &question).await.ok()?);
        if !facts.is_reached() {
            return None;
        }
        Some(facts.live.is_some_and(|live| live.oid == swap.copy_oid))
    }
}

impl<F: Apply> Work<'_, F> {
    fn keeping(&self, server: &DatabaseServer, forgets: bool) -> Change {
        let tenure = self.tenure_on(&server.host);
        programs::keep(self.inventory, self.database, &server.facts.way, self.run, tenure.as_ref(), forgets)
    }

    /// Removes what [`Work::keep`] kept: nothing came of what it was for.
    pub async fn forget_kept(&self, server: &DatabaseServer) {
        if let Err(failure) = self.fleet.apply(&server.host, &self.keeping(server, true)).await {
            self.journal.note(format!("{}: the dump that was kept is still there: {failure}", server.host));
        }
    }

    /// Keeps a dump of the live database as it is now, beside the records of our steps; its path.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn keep(&self, server: &DatabaseServer) -> Result<String, String> {
        let change = self.keeping(server, false);
        let answer = self.fleet.apply(&server.host, &change).await.map_err(|failure| failure.to_string())?;
        match (answer.status, answer.text("kept")) {
            (0, Some(kept)) => Ok(kept.trim().to_owned()),
            _ => Err(answer.worst_line("said")),
        }
    }

    /// Starts the container where it does not run, and looks again.
    ///
    /// # Errors
    /// What docker or the server said.
    pub async fn server_awake(&self) -> Result<DatabaseServer, Hindrance> {
        let server = self.server().await?;
        if server.facts.container_runs != Some(false) {
            return Ok(server);
        }
        self.journal.note(format!("{}: the database's container does not run; it is started", server.host));
        let change = programs::awake(self.inventory, self.database);
        let problem = |why: String| {
            let why = format!("the database's container does not come up: {why}");
            Hindrance::new(RefusalName::DatabaseAsleep, why, None)
        };
        let answer = self.fleet.apply(&server.host, &change).await.map_err(|failure| problem(failure.to_string()))?;
        if answer.status != 0 {
            return Err(problem(answer.text("awake").unwrap_or_default().trim().to_owned()));
        }
        self.server().await
    }

    /// Loads a dump into a new database of that name. Goes on over there whatever happens here; what failed is dropped.
    ///
    /// # Errors
    /// Why it failed. The copy is gone then, or named in the words.
    pub async fn load(
        &self,
        server: &DatabaseServer,
        dump: &Checked,
        name: &str,
        interrupts: &watch::Receiver<u32>,
    ) -> Result<Loaded, String> {
        let comment = format!("rollback-prod: a copy loaded from {} by {}", dump.file.path, self.run);
        let tenure = self.tenure_on(&server.host);
        let split = dump.scan.to_split(self.database.jobs);
        let load = programs::Load {
            run: self.run,
            copy: name,
            has_live: server.facts.live.is_some(),
            comment: &comment,
            file: &dump.file.path,
            bytes: dump.file.bytes,
            format: dump.format,
            is_odd: dump.scan.is_odd,
            split: &split,
            tenure: tenure.as_ref(),
        };
        let began = Instant::now();
        let carried = carried::program_for(&server.facts.system);
        let change = programs::load(self.inventory, self.database, &server.facts.way, &load, carried);
        // A load whose begin was not answered may run all the same: looking for it tells.
        let begun = self.fleet.apply(&server.host, &change).await;
        if let Ok(answer) = &begun
            && answer.status != 0
        {
            if answer.status == 93 {
                return Err(lock_was_taken(answer));
            }
            return Err(format!("the load could not be begun (status {})", answer.status));
        }
        let ended = self.follow(server, began, interrupts).await;
        let failed = match ended {
            Ok(scan) => match self.relative(server, name).await {
                Some(relative) => {
                    return Ok(Loaded { name: name.to_owned(), oid: relative.oid, scan, took: began.elapsed() });
                }
                None => "it was loaded and is not there any more".to_owned(),
            },
            Err(why) => why,
        };
        match self.drop(server, name, None).await {
            Ok(()) => Err(failed),
            Err(why) => Err(format!("{failed}; the copy {name} is still there: {why}")),
        }
    }

    /// Watches a load to its end.
    async fn follow(
        &self,
        server: &DatabaseServer,
        began: Instant,
        interrupts: &watch::Receiver<u32>,
    ) -> Result<Scan, String> {
        let mut lost_since: Option<Instant> = None;
        loop {
            if *interrupts.borrow() > 0 {
                return Err("interrupted".to_owned());
            }
            match self.load_state(server, self.run).await {
                Err(failure) => {
                    let since = *lost_since.get_or_insert_with(|| {
                        self.journal
                            .note(format!("{}: {failure}; the load goes on over there; looking again", server.host));
                        Instant::now()
                    });
                    if since.elapsed() > LOST_LIMIT {
                        return Err(format!("{failure}; nobody knows how the load stands"));
                    }
                    sleep(POLL * 5).await;
                }
                Ok(state) => {
                    lost_since = None;
                    match state {
                        LoadState::Running { stage, share, done, total } => {
                            self.show(server, began, &stage, share, (done, total));
                        }
                        LoadState::Ended { status: 0, scan, .. } => return Ok(*scan),
                        LoadState::Ended { status, said, .. } => return Err(why_failed(status, &said)),
                        LoadState::Killed { said } => {
                            return Err(format!("the load was killed on {}: {}", server.host, last_line(&said)));
                        }
                        LoadState::Gone => return Err("the load could not be begun".to_owned()),
                    }
                    sleep(POLL).await;
                }
            }
        }
    }

    fn show(&self, server: &DatabaseServer, began: Instant, stage: &str, share: f64, (done, total): (u64, u64)) {
        let before: u32 = SHARES.iter().take_while(|(name, _)| *name != stage).map(|(_, percent)| percent).sum();
        let of = SHARES.iter().find(|(name, _)| *name == stage).map_or(0, |(_, percent)| *percent);
        let percent = (f64::from(before) + f64::from(of) * share).min(100.0);
        let elapsed = began.elapsed();
        let left = if percent >= 5.0 {
            format!(", about {} left", span(elapsed.mul_f64((100.0 - percent) / percent)))
        } else {
            String::new()
        };
        let what = match stage {
            "data" | "schema" => "loading rows",
            "indexes" => "building indexes",
            "constraints" => "checking foreign keys",
            "analyze" => "gathering statistics",
            _ => "creating the copy",
        };
        let done = match stage {
            "data" if total > 0 => format!(" ({} of {})", bytes(done), bytes(total)),
            "indexes" | "constraints" if total > 0 => format!(" ({done} of {total})"),
            _ => String::new(),
        };
        let words = format!("{percent:.0} %: {what}{done}, {}{left}", span(elapsed));
        self.say_progress(server, Some(percent as u8), &words);
    }

    pub(super) fn tenure_on(&self, host: &HostName) -> Option<Tenure> {
        self.tenure.map(|tenure| tenure.under(self.numbers.get(host).copied()))
    }

    fn dropping(&self, server: &DatabaseServer, run: Option<&IncidentId>, name: &str, oid: Option<u32>) -> Change {
        let tenure = self.tenure_on(&server.host);
        programs::drop(self.inventory, self.database, run, tenure.as_ref(), &self.stem(), name, oid)
    }

    /// Drops a database of ours, and ends a load that goes on into it.
    ///
    /// # Errors
    /// Why it is still there.
    pub async fn drop(&self, server: &DatabaseServer, name: &str, oid: Option<u32>) -> Result<(), String> {
        let change = self.dropping(server, Some(self.run), name, oid);
        self.dropped(server, &change).await
    }

    pub(super) async fn dropped(&self, server: &DatabaseServer, change: &Change) -> Result<(), String> {
        match self.fleet.apply(&server.host, change).await {
            Ok(answer) if answer.status == 0 => Ok(()),
            Ok(answer) if answer.status == 93 => Err(lock_was_taken(&answer)),
            Ok(answer) => Err(last_line(&answer.text("drop").unwrap_or_default())),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// Removes the record of this run's load; the copy stays.
    pub async fn forget_load(&self, server: &DatabaseServer) {
        let change = self.dropping(server, Some(self.run), "", None);
        // It is a small folder in memory; it goes with the next reboot at the latest.
        let _ = self.fleet.apply(&server.host, &change).await;
    }

    /// Copies that earlier runs left behind: nobody's any more, and in the way of the disk.
    pub async fn drop_leftovers(&self, server: &DatabaseServer) {
        let stem = self.stem();
        for schema in server.facts.schemas.iter().filter(|schema| schema.name.starts_with(STAGE)) {
            if self.drop_schema(server, &schema.name).await.is_ok() {
                self.journal.note(format!("{}: {} was left by another run and is dropped", server.host, schema.name));
            }
        }
        for relative in &server.facts.relatives {
            let rest = relative.name.strip_prefix(&stem).unwrap_or_default();
            let Some(id) = rest.strip_prefix("_copy_").or_else(|| rest.strip_prefix("_drill_")) else { continue };
            let Ok(run) = IncidentId::new(format!("rollback-{}", id.replacen('_', "-", 2))) else { continue };
            if let Ok(LoadState::Running { .. }) = self.load_state(server, &run).await {
                self.journal.note(format!("{}: another load goes on into {}", server.host, relative.name));
                continue;
            }
            let change = self.dropping(server, Some(&run), &relative.name, Some(relative.oid));
            if matches!(self.fleet.apply(&server.host, &change).await, Ok(Answer { status: 0, .. })) {
                self.journal.note(format!("{}: {} was left by {run} and is dropped", server.host, relative.name));
            }
        }
    }

    /// The answer to a change that goes on over there by itself; one that was lost is looked for.
    ///
    /// # Errors
    /// Why there is none: what the change did is for its caller to find out.
    pub(super) async fn apply_or_find(
        &self,
        server: &DatabaseServer,
        change: &Change,
        step: &str,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let failure = match self.fleet.apply(&server.host, change).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        self.journal.note(format!("{}: {failure}; looking again", server.host));
        match self.fleet.ask(&server.host, &job::job(self.inventory, self.run, step, limit)).await {
            Ok(answer) if answer.status != job::NO_SUCH_STEP => Ok(answer),
            Ok(_) | Err(_) => Err(failure),
        }
    }

    /// Replaces the live database. An answer that was lost is looked for before anything is concluded from it.
    pub async fn swap(&self, server: &DatabaseServer, consent: &Overwrite<Swap>, comment: &str) -> Swapped {
        let swap = consent.change();
        let tenure = self.tenure_on(&server.host);
        let way = &server.facts.way;
        let change = programs::swap(self.inventory, self.database, way, self.run, tenure.as_ref(), swap, comment);
        let answer = match self.apply_or_find(server, &change, "swap", Duration::from_secs(40)).await {
            Ok(answer) => answer,
            Err(failure) => {
                return match self.is_swapped(server, swap).await {
                    Some(true) => Swapped::Done(None),
                    Some(false) => Swapped::No(failure.to_string()),
                    None => Swapped::Unknown(failure.to_string()),
                };
            }
        };
        let said = answer.text("swap").unwrap_or_default();
        match answer.status {
            0 => Swapped::Done(answer.text("took").and_then(|took| took.trim().parse().ok())),
            71 => Swapped::No("the databases are not those of the plan any more: somebody else renamed one".to_owned()),
            70 => Swapped::No(worst_line(&said)),
            93 => Swapped::No(lock_was_taken(&answer)),
            other => match self.is_swapped(server, swap).await {
                Some(true) => Swapped::Done(None),
                Some(false) => Swapped::No(format!("the swap ended with {other}: {}", worst_line(&said))),
                None => Swapped::Unknown(format!("the swap ended with {other}")),
            },
        }
    }

    /// What was kept, and its time is over.
    pub async fn drop_expired(&self, server: &DatabaseServer, now: DateTime<Utc>) {
        for relative in &server.facts.relatives {
            if relative.kept_until().is_none_or(|until| until > now) {
                continue;
            }
            let change = self.dropping(server, None, &relative.name, Some(relative.oid));
            if matches!(self.fleet.apply(&server.host, &change).await, Ok(Answer { status: 0, .. })) {
                let size = bytes(relative.size);
                self.journal
                    .note(format!("{}: {} ({size}) was kept long enough and is dropped", server.host, relative.name));
            }
        }
        for schema in &server.facts.schemas {
            if schema.kept_until().is_some_and(|until| until <= now)
                && self.drop_schema(server, &schema.name).await.is_ok()
            {
                self.journal
                    .note(format!("{}: the schema {} was kept long enough and is dropped", server.host, schema.name));
            }
        }
    }
}

impl Choice {
    fn of(problem: Hindrance) -> Choice {
        Choice { problems: vec![problem], ..Choice::default() }
    }
}

/// What the host said in place of a dump.
fn unread(server: &DatabaseServer, failure: &Failure) -> Hindrance {
    Hindrance::new(RefusalName::DumpUnread, format!("{}: {failure}", server.host), None)
}

/// Why psql leads nowhere, and what to do.
fn no_access(facts: &DatabaseFacts, database: &Database) -> String {
    match (&database.container, facts.container_runs) {
        (Some(container), None) => {
            format!("docker knows no container {container}, or may not be asked: {}", facts.refused)
        }
        _ => format!("psql does not reach it as {}: {}", database.admin, facts.refused.replace('\n', "; ")),
    }
}

/// What sudo must allow where psql is another account's: PostgreSQL's programs, as that account and no other.
fn sudoers_line(facts: &DatabaseFacts, admin: &str) -> Option<String> {
    let is_refused = facts.refused.lines().any(|line| line.starts_with("sudo: ")) && !facts.programs.is_empty();
    let programs = facts.programs.join(", ");
    is_refused.then(|| {
        format!("visudo -f /etc/sudoers.d/rollback-prod\n{} ALL=({admin}) NOPASSWD: {programs}", facts.account)
    })
}

pub(super) fn lock_was_taken(answer: &Answer) -> String {
    format!("another run took the lock: {}", answer.text("why").unwrap_or_default())
}

fn why_failed(status: i32, said: &str) -> String {
    let what = match status {
        60 => "the copy could not be made",
        62 => "the load failed, and the copy could not be dropped",
        _ => "the load failed",
    };
    format!("{what}: {}", worst_line(said))
}

/// The line of PostgreSQL's words that says most.
pub(super) fn worst_line(said: &str) -> String {
    answer::worst_line(said, &["ERROR:", "FATAL:", "PANIC:", "error:"])
}
