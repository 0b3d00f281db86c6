//! The flags exactly as typed. No I/O, no defaults that depend on a machine, no meaning: `app` gives them theirs.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::nouns::colour::Colour;
use crate::nouns::plan::TakesOver;
use crate::nouns::request::Severity;
use crate::nouns::share::Share;
use crate::tell::explain::Topic;
use crate::tell::ticket::Tracker;

/// Takes a bad release out of production traffic: nginx back to blue, proven, on every host, over ssh.
#[derive(Debug, Parser)]
#[command(
    name = "rollback-prod",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done and proven; 1 refused, nothing changed; 2 bad flags or config, nothing changed;\n\
                  3 changed and put back; 4 traffic on blue, something after it not done; 5 balancers differ or one\n\
                  is unknown; 6 traffic on blue, database as it was; 7 judged bad, nothing was changed; 8 not enough\n\
                  data to judge, for a switch at the share that it names; 130 interrupted between two steps."
)]
pub struct Cli {
    #[command(flatten)]
    pub rollback: RollbackFlags,
    #[command(flatten)]
    pub everywhere: Everywhere,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags of the rollback itself.
#[derive(Debug, Args)]
pub struct RollbackFlags {
    /// Why; it is the consent to move traffic, and stands in the report as typed
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// After traffic is safe, restore the database from a dump (asks for RESTORE)
    #[arg(long, group = "restore")]
    pub restore_db: bool,
    /// Instead, put these tables' rows of a dump into the live database (asks for RESTORE); other rows stay
    #[arg(long, value_name = "a,b", value_delimiter = ',', group = "restore")]
    pub restore_tables: Vec<String>,
    /// Of those tables, delete the rows that the dump has not
    #[arg(long, requires = "restore_tables")]
    pub delete_missing: bool,
    /// Of those tables, take the columns that both sides have, where they differ
    #[arg(long, requires = "restore_tables")]
    pub common_columns: bool,
    /// Of those tables, let their triggers fire
    #[arg(long, requires = "restore_tables")]
    pub fire_triggers: bool,
    /// Put blue to this release first, which its hosts keep (see `releases`); "earlier" is the one before
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// What else of the release goes back with it, by the names of the config's changes
    #[arg(long, value_name = "CHANGE,…", value_delimiter = ',')]
    pub with: Vec<String>,
    /// Once traffic is safe and green is stopped, take migrations back to this one, or to where the dump is (asks for
    /// DOWNGRADE)
    #[arg(long, value_name = "REVISION", num_args = 0..=1, default_missing_value = "", conflicts_with = "restore")]
    pub migrate_down: Option<String>,
    /// The dump to restore instead of the one that would be chosen
    #[arg(long, value_name = "FILE", requires = "restore")]
    pub backup: Option<String>,
    /// Connect, read, check, test the new nginx file, show the plan, and stop: nothing is changed or left anywhere
    #[arg(long)]
    pub dry_run: bool,
    /// Severity for the report and the messages
    #[arg(long, value_name = "P0|P1|P2|P3", value_enum, ignore_case = true)]
    pub severity: Option<Severity>,
    /// Only these hosts, by the names of the config; balancers alone stand for the apps that they send to, too
    #[arg(long, value_name = "a,b", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// After the rollback, judge blue for so long [default: that of [bake] in the config, where it stands]
    #[arg(long, value_name = "TIME", value_parser = while_judged)]
    pub bake: Option<Duration>,
    /// Leave green running (drained) for diagnosis
    #[arg(long)]
    pub keep_green: bool,
    /// Of several services: where one cannot be rolled back, those before it go back to green, too
    #[arg(long)]
    pub all_or_nothing: bool,
    #[command(flatten)]
    pub insistence: Insistence,
}

/// Flags of everything that changes hosts, for those who were refused and know better.
#[derive(Debug, Args)]
pub struct Insistence {
    /// Go on past a refusal that names --force
    #[arg(long)]
    pub force: bool,
    /// Take the lock that another live run holds
    #[arg(long)]
    pub take_over: bool,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Everywhere {
    /// The environment: rollback.NAME.toml is laid over rollback.toml [default: prod]
    #[arg(long, value_name = "NAME", global = true)]
    pub env: Option<String>,
    /// The config [default: $ROLLBACK_CONFIG, else rollback.toml here or in a parent folder]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Only these of the config's services, where it has several [default: all of them]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', global = true)]
    pub service: Vec<String>,
    /// One JSON object a line on standard output, nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Lines that stay, on a terminal too: no live lines, nothing that moves the cursor (screen readers, recordings)
    #[arg(long, global = true)]
    pub plain: bool,
    /// More words about what is asked and answered, each host's own line, and the plan in full
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Who serves now: weights, health, green, lock, last incident; changes nothing
    Status,
    /// Every problem in the config and on the hosts, all at once; changes nothing
    Check,
    /// From hosts that were never seen to a rollback.toml that `check` passes; changes nothing on them
    Init {
        /// The hosts, as ssh takes them: balancers, and whatever the service and its database are on
        #[arg(required = true, value_name = "DESTINATION")]
        destinations: Vec<String>,
        /// Where the config goes; never over one that is there
        #[arg(long, value_name = "FILE", default_value = "rollback.toml")]
        out: PathBuf,
        /// An ssh_config, for `ssh -F`; it is written into the config
        #[arg(long, value_name = "FILE")]
        ssh_config: Option<PathBuf>,
    },
    /// The database dumps, newest first, each with its verdict; changes nothing
    Backups {
        #[command(subcommand)]
        what: Option<Backups>,
    },
    /// Should we? What speaks for a rollback and against it, by the last ten minutes; changes nothing
    Assess,
    /// Judge the release that gets traffic, by its requests, health and restarts; changes nothing without --rollback
    Watch {
        /// How long
        #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = while_judged)]
        lasts: Duration,
        /// Where it is judged bad, begin the rollback at once; --reason is the consent to that
        #[arg(long, requires = "watch_reason")]
        rollback: bool,
        /// Where it is judged bad, end at once, and call nobody of contacts.escalate
        #[arg(long, conflicts_with = "rollback")]
        no_page: bool,
        /// Why; the rule that was broken and its figures are added to it
        #[arg(long = "reason", id = "watch_reason", value_name = "TEXT", requires = "rollback")]
        reason: Option<String>,
    },
    /// Traffic to the other side, share by share, each one judged; a bad one is taken back at once
    Switch {
        /// Who shall get it
        #[arg(long, value_name = "blue|green", value_enum)]
        to: Colour,
        /// Why; it is the consent to move traffic
        #[arg(long = "reason", id = "switch_reason", value_name = "TEXT")]
        reason: Option<String>,
        /// The shares, in percent; it goes on from the one that it finds
        #[arg(long, value_name = "a,b", value_delimiter = ',', default_value = "10,50,100", value_parser = step)]
        steps: Vec<Share>,
        /// How long each share is judged before the next; 0s does not judge
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = while_held)]
        hold: Duration,
        /// How long it is waited at most where that was not enough to tell [default: twice the hold]
        #[arg(long, value_name = "TIME", value_parser = while_held)]
        hold_max: Option<Duration>,
        /// Every balancer puts all traffic back by itself after so long without a word of ours; or "off"
        #[arg(long, value_name = "TIME|off", default_value = "10m", value_parser = dead_man)]
        dead_man: DeadMan,
        /// Connect, read, check, test the new nginx files, show the plan, and stop: nothing is changed or left anywhere
        #[arg(long = "dry-run", id = "switch_dry_run")]
        dry_run: bool,
        #[command(flatten)]
        insistence: Insistence,
    },
    /// What else a release changed goes back: files, flags, whatever the config calls a change; traffic stays
    Partial {
        /// The changes, by their names in the config
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<String>,
        /// Why; it is the consent to make them
        #[arg(long = "reason", id = "partial_reason", value_name = "TEXT")]
        reason: Option<String>,
        /// Connect, read, check, show the plan, and stop: nothing is changed or left anywhere
        #[arg(long = "dry-run", id = "partial_dry_run")]
        dry_run: bool,
        #[command(flatten)]
        insistence: Insistence,
    },
    /// What each side runs, and what blue could be put back to; changes nothing
    Releases,
    /// Take one run back, a rollback, a switch or a partial one: database first, then traffic
    Undo {
        /// The incident; the last one when left out
        incident: Option<String>,
        #[command(flatten)]
        insistence: Insistence,
    },
    /// A real rollback on an environment that is not prod, taken back again, with a score
    Drill {
        /// Instead, when it is due again, as an entry of a calendar on standard output; connects to nobody
        #[arg(long)]
        ics: bool,
    },
    /// Every incident and drill, newest first, with its times beside the targets; connects to nobody
    History,
    /// Makes an incident's report and page again from its journal; connects to nobody
    Report {
        /// The incident; the newest one when left out
        #[arg(id = "report_incident", value_name = "INCIDENT")]
        incident: Option<String>,
        /// Instead, the text of a ticket on standard output, to paste
        #[arg(long, value_name = "github|jira", value_enum)]
        ticket: Option<Tracker>,
        /// File it there, by [tickets] of the config; once, and its address goes into the journal
        #[arg(long, requires = "ticket")]
        file: bool,
    },
    /// A line for an incident's timeline, by you; connects to nobody
    Note {
        text: String,
        /// The incident; the newest one when left out
        #[arg(long = "incident", id = "note_incident", value_name = "ID")]
        incident: Option<String>,
    },
    /// An incident is over: says so in its timeline, and to everybody who was told of it; connects to no host
    Resolve {
        /// The incident; the newest one when left out
        #[arg(id = "resolve_incident", value_name = "INCIDENT")]
        incident: Option<String>,
        /// What ended it, for the timeline and the messages
        #[arg(long, value_name = "TEXT", default_value = "")]
        because: String,
    },
    /// The same rollback as commands to type by hand, for each host; connects to nobody
    Manual,
    /// Why something was refused, or what an exit code says: what is true, and what to do; alone, all the names
    Explain {
        #[arg(value_name = "NAME", value_parser = topic(), ignore_case = true, hide_possible_values = true)]
        names: Vec<Topic>,
    },
    /// Completions for a shell, on standard output
    Completions { shell: clap_complete::Shell },
    /// The man page, on standard output
    Man,
}

/// The names that `explain` knows, `E-` or not, for completions and for whoever mistypes one.
fn topic() -> impl TypedValueParser<Value = Topic> {
    let value = |topic: Topic| {
        let name = topic.as_str();
        PossibleValue::new(name).aliases(name.strip_prefix("E-"))
    };
    PossibleValuesParser::new(Topic::all().map(value)).try_map(|typed| {
        let named = Topic::named(&typed).or_else(|| Topic::named(&format!("E-{typed}")));
        named.ok_or_else(|| format!("nothing is called {typed}"))
    })
}

#[derive(Debug, Subcommand)]
pub enum Backups {
    /// List them
    List,
    /// Restore the newest one, or this one, into a throw-away database and check it
    Verify {
        /// A dump on the host, whatever it holds
        file: Option<String>,
    },
}

/// Whether the balancers put all traffic back by themselves, and after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadMan(pub Option<Duration>);

/// A heartbeat that is late is none that is missing.
const SHORTEST_DEAD_MAN: Duration = Duration::from_secs(10);

fn dead_man(text: &str) -> Result<DeadMan, String> {
    if text == "off" {
        return Ok(DeadMan(None));
    }
    let limit = while_judged(text)?;
    match limit >= SHORTEST_DEAD_MAN {
        true => Ok(DeadMan(Some(limit))),
        false => Err("it is at least 10s, or off".to_owned()),
    }
}

fn while_held(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { while_judged(text) }
}

fn step(text: &str) -> Result<Share, String> {
    let percent = text.trim().trim_end_matches('%').trim_end().parse().ok();
    let share = percent.and_then(Share::percent).filter(|share| *share != Share::NONE);
    share.ok_or_else(|| "a share is a whole number from 1 to 100, in percent".to_owned())
}

/// From a second to a week.
fn while_judged(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|err| format!("{err}; for example 30m"))?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);
    if bounds.contains(&duration) { Ok(duration) } else { Err("it is from 1s to 7d".to_owned()) }
}

impl Insistence {
    /// From whom the lock is taken by what is no rollback.
    pub fn takes_over(&self) -> TakesOver {
        if self.take_over { TakesOver::Anybody } else { TakesOver::Nobody }
    }
}

impl RollbackFlags {
    /// Whether any flag was given that only the rollback itself takes.
    pub fn any(&self) -> bool {
        self.reason.is_some()
            || self.restore_db
            || !self.restore_tables.is_empty()
            || self.to.is_some()
            || self.migrate_down.is_some()
            || !self.with.is_empty()
            || self.backup.is_some()
            || self.dry_run
            || self.severity.is_some()
            || !self.hosts.is_empty()
            || self.bake.is_some()
            || self.keep_green
            || self.all_or_nothing
            || self.insistence.force
            || self.insistence.take_over
    }
}
