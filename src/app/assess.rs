//! Should we? One look at everything that speaks for a rollback and against it. Changes nothing.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join;
use tokio::time::timeout;

use super::Session;
use super::serves::Serves;
use crate::engine::{doubts, planner};
use crate::hosts::facts::{Facts, Seen};
use crate::hosts::remote::{Ask, ReadOnly};
use crate::hosts::ssh::Ssh;
use crate::incident::journal::Journal;
use crate::judge::severity::{Advice, Assessment, Situation, assess};
use crate::judge::sides::Sides;
use crate::judge::verdict::judge;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Host, Role};
use crate::nouns::production::{Production, Verdict};
use crate::nouns::record::What;
use crate::nouns::rules::{Finding, Judgement, Opinion};
use crate::steps::measure::{Meter, find_logs, named};
use crate::steps::observe::observe;

/// So much of the past is looked at.
const PAST: Duration = Duration::from_secs(600);
/// A reader has told all of that by then.
const READ_FOR: Duration = Duration::from_secs(2);
/// The database is looked at for so long: the answer is wanted now.
const DATABASE_FOR: Duration = Duration::from_secs(3);

/// What the screen shows.
struct Rows<'r> {
    assessment: &'r Assessment,
    judgement: &'r Judgement,
    ill: &'r [String],
    mind: &'r [String],
    refusals: &'r [String],
    releases: Option<String>,
}

impl Session<'_> {
    /// What each rule says of the last ten minutes, how bad that is, and what stands against a rollback.
    pub(super) async fn assess(&self, fleet: ReadOnly<Ssh>) -> u8 {
        let journal = Journal::new(self.clock, self.terminal);
        let facts = observe(&fleet, self.inventory(), self.request.direction, &journal).await;
        let serving = journal.production(|production| Serves::of(production, &facts));
        let (ill, hosts, way_back) = self.health(&facts);
        let ((sides, judgement), mind) =
            join(self.last_minutes(&fleet, &facts, serving, &ill, &journal), self.database_to_mind(&fleet, &journal))
                .await;
        let all = sides.all();
        let situation = Situation {
            release: Colour::Green,
            gets_traffic: serving.green,
            judgement: &judgement,
            errors: all.errors_of(Colour::Green),
            others: all.errors_of(Colour::Blue),
            ill: ill.len(),
            hosts,
            way_back,
            same_release: self.same_release(&facts),
        };
        let assessment = assess(&situation);
        let (refusals, _) = planner::check(&self.request, self.inventory(), &facts, &self.opened.template);
        let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        journal.record(What::Judged(Box::new(judgement.clone())));
        let rows = Rows {
            assessment: &assessment,
            judgement: &judgement,
            ill: &ill,
            mind: &mind,
            refusals: &refusals,
            releases: doubts::releases(self.request.direction, &self.apps(&facts), None),
        };
        self.terminal.printable(&self.table(&rows, &journal));
        let severity = assessment.severity.map_or(String::new(), |severity| format!("{severity}: "));
        let (exit, next) = match assessment.advice {
            Advice::RollBack => {
                let severity = assessment.severity.map_or(String::new(), |severity| format!(" --severity {severity}"));
                (7, format!("--reason {}{severity}", shell_words::quote(&judgement.words)))
            }
            Advice::DoNot => (0, "status".to_owned()),
            Advice::CannotTell => (8, "watch --for 30m".to_owned()),
        };
        let production =
            format!("{severity}{}; nothing was changed; {}", assessment.answer, journal.production(Production::words));
        let verdict = Verdict { exit, production, next: self.command(&next), left: Vec::new() };
        self.end(&verdict, None, None, None)
    }

    /// The counts of the last minutes, and what the rules say of them.
    async fn last_minutes(
        &self,
        fleet: &impl Ask,
        facts: &Facts,
        serving: Serves,
        ill: &[String],
        journal: &Journal<'_>,
    ) -> (Sides, Judgement) {
        let inventory = self.inventory();
        let rules = &inventory.judging.rules;
        let logs = find_logs(fleet, inventory, facts, serving.alone()).await;
        logs.notes.iter().for_each(|note| journal.note(note.clone()));
        let begun = self.clock.seconds().saturating_sub(PAST.as_secs());
        let meter = Meter::new(fleet, inventory, facts, journal, rules.limits_ms()).since(begun);
        meter.run(&logs.readable, READ_FOR).await;
        let mut sides = Sides::new(named(), Colour::Green, rules.window.as_secs());
        sides.begin(begun, serving.alone());
        meter.take().iter().for_each(|(_, batch)| sides.take(batch));
        let bad = |words: &String| Finding { rule: "health".to_owned(), opinion: Opinion::Bad, words: words.clone() };
        let hard: Vec<Finding> = ill.iter().map(bad).collect();
        let judgement = judge(rules, &sides, &hard, self.clock.seconds(), 1);
        (sides, judgement)
    }

    /// What to know of the database before one goes back: that green has migrated it, and whether a dump would be there.
    async fn database_to_mind(&self, fleet: &impl Ask, journal: &Journal<'_>) -> Vec<String> {
        let (migrated, dumps) = join(
            timeout(DATABASE_FOR, self.migrations(fleet, journal)),
            timeout(DATABASE_FOR, self.dumps(fleet, journal)),
        )
        .await;
        let late = |what: &str, command: &str| {
            let seconds = DATABASE_FOR.as_secs();
            format!("{what} was not known within {seconds} s: {}", self.command(command))
        };
        let migrated = migrated.unwrap_or_else(|_| Some(late("what has migrated", "--dry-run")));
        let dumps = dumps.unwrap_or_else(|_| Some(late("whether a dump is fit", "backups")));
        migrated.into_iter().chain(dumps).collect()
    }

    /// Why blue is no other release than green, where that is proven.
    fn same_release(&self, facts: &Facts) -> Option<String> {
        let apps = self.apps(facts);
        doubts::same_release(self.inventory(), self.request.direction, &apps).map(|doubt| doubt.why)
    }

    /// The app hosts that were reached.
    fn apps<'s>(&'s self, facts: &'s Facts) -> Vec<(&'s Host, &'s Seen)> {
        let hosts = self.inventory().with_role(Role::App);
        hosts.filter_map(|host| Some((host, facts.seen(&host.name)?))).collect()
    }

    /// What is wrong with green, by host; on how many hosts it was asked; and what is wrong with blue.
    fn health(&self, facts: &Facts) -> (Vec<String>, usize, Vec<String>) {
        let apps = || self.apps(facts).into_iter();
        let wrong = |colour: Colour| {
            apps()
                .filter(move |(_, seen)| !seen.app(colour).health.is_empty() && !seen.app(colour).is_healthy())
                .map(move |(host, seen)| format!("{colour} on {}: {}", host.name, seen.app(colour).complaint()))
                .collect::<Vec<String>>()
        };
        let asked = apps().filter(|(_, seen)| !seen.app(Colour::Green).health.is_empty()).count();
        (wrong(Colour::Green), asked, wrong(Colour::Blue))
    }

    /// One screen.
    fn table(&self, rows: &Rows<'_>, journal: &Journal<'_>) -> String {
        let Rows { assessment, judgement, ill, mind, refusals, releases } = rows;
        let inventory = self.inventory();
        let mut text =
            format!("assessment of {} / {}, the last 10 minutes\n", inventory.service, inventory.environment);
        let mut row = |label: &str, words: &str| {
            let _ = writeln!(text, "  {label:<12} {words}");
        };
        row("serving", &journal.production(Production::words));
        if let Some(releases) = releases {
            row("releases", releases);
        }
        for finding in &judgement.findings {
            row(&finding.rule, &finding.words);
        }
        if ill.is_empty() {
            row("health", "green is well, as far as it was asked");
        }
        for words in &assessment.against {
            row("against", words);
        }
        for words in *mind {
            row("mind", words);
        }
        for refusal in *refusals {
            row("in the way", refusal);
        }
        match assessment.severity {
            Some(severity) => row("severity", &severity.to_string()),
            None => row("severity", "none"),
        }
        text
    }
}
