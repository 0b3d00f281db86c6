//! `drill`: a real rollback where nobody is hurt, taken back again, with a score. Both are runs of this very program, as an
//! operator would type them: what is tried is what is used. Moves nothing itself.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::rollback::watch_signals;
use super::{Run, refuse};
use crate::incident::{folder, past};
use crate::nouns::production::Verdict;
use crate::nouns::record::Rehearsal;
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::tell::rehearsal;

/// How a run of the program ended.
struct Ran {
    exit: u8,
    production: String,
    incident: Option<PathBuf>,
}

impl Ran {
    fn name(&self) -> Option<String> {
        past::name_of(self.incident.as_deref()?)
    }
}

impl Run<'_> {
    /// The rollback, its undo, and what held of the runbook.
    pub(super) async fn drill(&self) -> u8 {
        let session = self.first();
        let inventory = session.inventory();
        let environment = inventory.environment.as_str();
        if environment == "prod" {
            let why = "a drill is a real rollback, and prod is not the place for one; in prod, --dry-run tries all that can be tried without it";
            let hint = Some("rollback-prod --env staging drill".to_owned());
            session.terminal.refusals(
                session.clock.now(),
                None,
                &[Refusal { hint, ..Refusal::new(RefusalName::DrillProd, why) }],
            );
            return self.nothing_was_changed(1, &[], session.command("--dry-run --reason '…'"));
        }
        // Both runs hear a Ctrl-C themselves; this one lives to say what they came to.
        let interrupts = watch_signals(&session.terminal.aside());
        let begun = session.clock.now();
        let rollback = match self.typed(&["--reason", "drill: nothing is wrong"]).await {
            Ok(ran) => ran,
            Err(why) => return refuse(session.terminal, session.clock, Refusal::new(RefusalName::Mistake, why)),
        };
        // What was moved goes back. What nobody knows is not touched again by a program that nobody watches.
        let moved = rollback.name().filter(|_| matches!(rollback.exit, 0 | 4 | 6));
        let undo = match &moved {
            Some(incident) if *interrupts.borrow() == 0 => self.typed(&["undo", incident]).await.ok(),
            Some(_) | None => None,
        };
        let journals = |ran: &Ran| past::journals(ran.incident.as_deref()?).ok();
        let score =
            rehearsal::score(&journals(&rollback).unwrap_or_default(), undo.as_ref().and_then(journals).as_deref());
        for (sign, words) in [("✓", &score.held), ("✗", &score.missed)] {
            for what in words {
                session.terminal.printable(&format!("{sign} {what}"));
            }
        }
        let (held, of) = (score.held.len(), score.held.len() + score.missed.len());
        let record = Rehearsal {
            rollback: rollback.name(),
            undo: undo.as_ref().and_then(Ran::name),
            held: score.held,
            missed: score.missed.clone(),
            ..Rehearsal::begun(begun, inventory.group.as_str(), environment, &session.request.operator)
        };
        let mut left: Vec<String> = score.missed;
        if let Err(err) = folder::append_drill(&inventory.incidents, &record) {
            left.push(format!("its record: {err:#}"));
        }
        let (exit, production, next) = match &undo {
            Some(undo) if undo.exit == 0 && rollback.exit == 0 => (0, &undo.production, "status"),
            Some(undo) if undo.exit == 0 => (rollback.exit, &undo.production, "check"),
            Some(undo) => (undo.exit, &undo.production, "undo"),
            None if moved.is_some() => (130, &rollback.production, "undo"),
            None => (rollback.exit, &rollback.production, "check"),
        };
        let production = format!("{production}; {held} of {of} held");
        session.write_index(&self.templates());
        let verdict = Verdict { exit, production, next: session.command(next), left };
        session.end(&verdict, None, rollback.incident.as_deref(), None)
    }

    /// When it is due again, for a calendar.
    pub(super) fn drill_calendar(&self) -> u8 {
        let session = self.first();
        let inventory = session.inventory();
        let Some(due) = &inventory.drill else {
            let why = "the config does not say how often a drill is due ([drill] every)";
            return refuse(session.terminal, session.clock, Refusal::new(RefusalName::DrillUndated, why));
        };
        let rehearsals = folder::rehearsals(&inventory.incidents);
        session.terminal.text(&rehearsal::calendar(inventory.group.as_str(), due, &rehearsals, session.clock.now()));
        0
    }

    /// This program, with the same config, for the same services.
    async fn typed(&self, words: &[&str]) -> Result<Ran, String> {
        let session = self.first();
        let inventory = session.inventory();
        let program = std::env::current_exe().map_err(|err| format!("cannot tell which program this is: {err}"))?;
        let mut command = Command::new(program);
        if let Some(config) = inventory.sources.first() {
            command.arg("--config").arg(config.as_path());
        }
        command.args(["--env", inventory.environment.as_str(), "--json"]);
        command.args(session.picks.split_whitespace()).args(words);
        // Whatever name it was called by, the environment is on the line.
        command.arg0("rollback-prod").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|err| format!("the rollback cannot be started: {err}"))?;
        let mut last = Value::Null;
        if let Some(said) = child.stdout.take() {
            let mut lines = BufReader::new(said).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
                if value["event"] == "end" {
                    last = value;
                } else {
                    self.show(&value);
                }
            }
        }
        // Whose end nobody saw has moved what it has moved, too.
        let ended = child.wait().await.ok();
        let exit = ended.and_then(|ended| ended.code()).and_then(|code| u8::try_from(code).ok());
        let not_known = "not known from here".to_owned();
        Ok(Ran {
            // One that a signal ended has moved what it has moved.
            exit: exit.unwrap_or(5),
            production: last["production"].as_str().map_or(not_known, str::to_owned),
            incident: last["incident"].as_str().map(PathBuf::from),
        })
    }

    /// A line of a run, as one of this one.
    fn show(&self, value: &Value) {
        let terminal = self.first().terminal;
        if terminal.is_json() {
            return terminal.pass_on(value);
        }
        let text = |key: &str| value[key].as_str().unwrap_or_default();
        let is_over = matches!(text("status"), "done" | "failed" | "skipped" | "unknown");
        if text("event") == "step" && is_over {
            terminal.printable(&format!(
                "  {:<9} {} {} {}",
                text("step"),
                text("host"),
                text("status"),
                text("detail")
            ));
        }
    }
}
