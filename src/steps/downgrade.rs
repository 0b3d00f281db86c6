//! Migrations that are taken back: what is asked of the database before, the dump that is kept, the question, and what the database
//! says of them afterwards. That they are is a change, see [`super::change`].

use dumps::migrations::{self, Down};

use super::about::AboutRun;
use super::change;
use super::context::Context;
use crate::database::question::last_line;
use crate::hosts::facts::{ChangeSeen, Facts, NotKnown};
use crate::hosts::remote::{Apply, Ask};
use crate::nouns::change::ChangeWork;
use crate::nouns::inventory::{Database, Inventory};
use crate::nouns::names::HostName;
use crate::nouns::plan::Word;
use crate::nouns::record::{ChangeState, Status, StepWord, What, plural};
use crate::nouns::redact::{Redactor, printable};

/// How the change stands on the hosts that could run it: whether a step of an earlier run is at work on it, and why its command
/// cannot be run. Only asks.
pub async fn look<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    facts: &Facts,
    about: &AboutRun,
    redactor: &Redactor,
) -> Vec<ChangeSeen> {
    let Some(change) = inventory.migrations.as_ref().map(|migrations| &migrations.change) else { return Vec::new() };
    let name = std::slice::from_ref(&change.name);
    let mut seen = change::look(fleet, inventory, facts, name, about, redactor).await;
    let Some(program) = change.run.first() else { return seen };
    for of in seen.iter_mut().filter(|of| of.unknown.is_none()) {
        let lacking = change::lacks(fleet, inventory, &of.host, (program, &change.manner)).await;
        of.unknown = lacking.map(|why| NotKnown { why, hint: None });
    }
    seen
}

impl<'a, F: Apply> Context<'a, F> {
    fn down(&self) -> Option<(&'a Database, &'a Down)> {
        Some((self.inventory.database.as_ref()?, self.plan.down.as_ref()?))
    }

    /// Whether migrations may be taken back now: the database is where it was when it was looked at, a dump of it is kept, and
    /// the word was typed.
    ///
    /// # Errors
    /// Why not. The database is as it was.
    pub async fn may_downgrade(&self, work: &ChangeWork) -> Result<Goes, String> {
        let (database, down) = self.down().ok_or("there is nothing to take back")?;
        let tools = self.work(database);
        let server = tools.server_awake().await.map_err(|problem| problem.why)?;
        let state = async || match tools.migrations_live(&server).await? {
            live if down.is_at(&live) == Some(true) => Ok(Some(migrations::state_words(&live))),
            live if down.is_at(&live) == Some(false) => Ok(None),
            live => Err(format!("{}, and was at {} when it was looked at", migrations::state_words(&live), down.from)),
        };
        if let Some(words) = state().await? {
            return Ok(Goes::IsThere(words));
        }
        let kept = match tools.keep(&server).await {
            Ok(kept) => {
                self.journal.note(format!("{}: a dump of {} as it was is {kept}", server.host, database.name));
                Some(kept)
            }
            Err(why) if self.plan.is_forced => {
                self.journal.note(format!("{}: no dump of {} is kept: {why}", server.host, database.name));
                None
            }
            Err(why) => return Err(format!("no dump of it could be kept before: {why} (--force goes on past this)")),
        };
        if !self.goes_on() {
            return Err("interrupted".to_owned());
        }
        let text = question(database, down, work, kept.as_deref());
        let may_begin = match self.typed(Word::Downgrade, (&text, &last_line(Word::Downgrade)), ()).await {
            // Between the first look and the word there may be an hour.
            Ok(_) => state().await,
            Err(why) => Err(why),
        };
        if may_begin.is_err() && kept.is_some() {
            tools.forget_kept(&server).await;
        }
        may_begin.map(|words| words.map_or(Goes::From(kept), Goes::IsThere))
    }

    /// The database is there: what an earlier run began, whose laptop died, has ended since it was looked at.
    pub fn is_down(&self, host: &HostName, work: &ChangeWork, words: &str) {
        let timed = self.journal.timed_of(StepWord::Migrate, host, work.name.as_str());
        let now = What::Change { host: host.clone(), name: work.name.clone(), state: ChangeState::Made };
        timed.end_with(Status::Done, format!("{words} by now: what an earlier run began has ended"), [now]);
    }

    /// What the database says, once the command has ended, well or not.
    pub async fn say_state_after(&self, host: &HostName, work: &ChangeWork, is_done: bool, kept: Option<&str>) {
        let Some((database, down)) = self.down() else { return };
        let tools = self.work(database);
        let live = match tools.server().await {
            Ok(server) => tools.migrations_live(&server).await,
            Err(problem) => Err(problem.why),
        };
        let timed = self.journal.timed_of(StepWord::Verify, host, work.name.as_str());
        let now = |state: ChangeState| [What::Change { host: host.clone(), name: work.name.clone(), state }];
        let way_back = kept.map_or(String::new(), |kept| {
            format!("; what was before is in {kept}: rollback-prod --restore-db --backup {kept} --reason '…'")
        });
        match (live.as_ref().map(|live| (down.is_at(live), migrations::state_words(live))), is_done) {
            (Ok((Some(true), words)), _) => {
                timed.end_with(Status::Done, format!("{words}{way_back}"), now(ChangeState::Made));
            }
            (Ok((Some(false), words)), true) => {
                let why = format!("the command ended well, and {words} as before");
                timed.end_with(Status::Failed, why, now(ChangeState::AsItWas));
            }
            (Ok((Some(false), words)), false) => {
                timed.end_with(Status::Failed, format!("{words}, as before"), now(ChangeState::AsItWas));
            }
            (Ok((None, words)), _) => {
                let why = format!("{words}, on the way to {}{way_back}", down.to);
                timed.end_with(Status::Failed, why, now(ChangeState::Unknown));
            }
            (Err(why), _) => {
                let why = format!("what is applied is not known: {why}{way_back}");
                timed.end_with(Status::Unknown, why, now(ChangeState::Unknown));
            }
        }
    }

    /// Nothing was taken back, and why.
    pub fn stays_up(&self, host: &HostName, work: &ChangeWork, why: &str) {
        let timed = self.journal.timed_of(StepWord::Migrate, host, work.name.as_str());
        let now = What::Change { host: host.clone(), name: work.name.clone(), state: ChangeState::AsItWas };
        timed.end_with(Status::Failed, format!("the database stays as it was: {why}"), [now]);
    }
}

/// What is to be done about migrations that are to be taken back.
pub enum Goes {
    /// They are taken back now. The path of the dump of before; none where `--force` went past it.
    From(Option<String>),
    /// They are back already; the state in words.
    IsThere(String),
}

fn question(database: &Database, down: &Down, work: &ChangeWork, kept: Option<&str>) -> String {
    let gone = match down.are_all {
        true => format!("{} back: {}", plural(down.newer.len(), "migration"), down.newer.join(", ")),
        false => format!(
            "back from {}; {} keeps its last one alone, and nobody can say how many that is",
            down.from, down.tool
        ),
    };
    let kept = match kept {
        Some(kept) => format!("A dump of it as it is now: {kept}"),
        None => "No dump of it as it is now is kept.".to_owned(),
    };
    let lines = [
        format!(
            "DOWNGRADE of the live database {}: {} goes from {} to {}",
            database.name, down.tool, down.from, down.to
        ),
        format!("  {gone}"),
        format!("  by {}", work.words()),
        "  What newer columns and tables hold is lost with them.".to_owned(),
        format!("  {kept}"),
    ];
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}
