//! Judging what serves: `watch`, which only looks, and where it is bad calls people, or begins a rollback if that was asked
//! for beforehand.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::escalate::{Called, Quiet};
use super::serves::Serves;
use super::{Run, Session, incident_id, rollback::watch_signals};
use crate::engine::hold::Hold;
use crate::hosts::remote::ReadOnly;
use crate::hosts::ssh::Ssh;
use crate::incident::journal::Journal;
use crate::nouns::clock::Clock;
use crate::nouns::colour::Colour;
use crate::nouns::production::{Production, Verdict};
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::request::Request;
use crate::nouns::rules::{Judgement, Opinion};
use crate::steps::observe::observe;

/// What a bad verdict leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenBad {
    /// It is said, and that is all.
    End,
    /// Whoever the config names is called until somebody is at it.
    Call,
    RollBack,
}

impl Session<'_> {
    /// Judges the release that gets traffic, for so long.
    pub(super) async fn watch(&self, fleet: ReadOnly<Ssh>, lasts: Duration, when_bad: WhenBad) -> u8 {
        let rolls_back = when_bad == WhenBad::RollBack;
        let journal = Journal::new(self.clock, self.terminal);
        let interrupts = watch_signals(&self.terminal.aside());
        let mut first = interrupts.clone();
        let facts = tokio::select! {
            facts = observe(&fleet, self.inventory(), self.request.direction, &journal) => facts,
            Ok(_) = first.wait_for(|count| *count > 0) => return self.end_before_anything(),
        };
        let serving = journal.production(|production| Serves::of(production, &facts));
        if let Some(refusal) = refusal(&serving, rolls_back) {
            self.show_refusals(&[refusal]);
            let production = format!("nothing was changed; {}", journal.production(Production::words));
            return self.end(
                &Verdict { exit: 1, production, next: self.command("status"), left: Vec::new() },
                None,
                None,
                None,
            );
        }
        let judged = if serving.green { Colour::Green } else { Colour::Blue };
        let held = Hold {
            fleet: &fleet,
            inventory: self.inventory(),
            facts: &facts,
            journal: &journal,
            judging: &self.inventory().judging,
            judged,
            alone: serving.alone(),
            lasts,
            at_most: lasts,
            is_new: false,
            shifted: None,
        }
        .run(interrupts.clone())
        .await;
        // What serves now is not what served when it began: somebody may have rolled back, or shifted traffic, meanwhile.
        observe(&fleet, self.inventory(), self.request.direction, &journal).await;
        let is_as_it_was = journal.production(|production| Serves::of(production, &facts)) == serving;
        let is_bad = !held.was_interrupted && held.judgement.opinion == Opinion::Bad;
        if rolls_back && is_bad && is_as_it_was && *interrupts.borrow() == 0 {
            drop(journal);
            return self.roll_back(fleet, held.judgement, interrupts).await;
        }
        let words = journal.production(Production::words);
        let may_call = *interrupts.borrow() == 0 && self.has_somebody_to_call();
        if when_bad == WhenBad::Call && is_bad && is_as_it_was && may_call {
            drop(journal);
            let called = self.call(&fleet, (&held.judgement, serving), words, interrupts).await;
            return self.end_of_calls(&called, &held.judgement);
        }
        let (exit, said, next) = match (held.was_interrupted || *interrupts.borrow() > 0, held.judgement.opinion) {
            (false, _) if !is_as_it_was => {
                (8, "who gets traffic has changed meanwhile, and not by this".to_owned(), "status")
            }
            (true, opinion) => (130, format!("interrupted; {judged} was {opinion} so far"), "status"),
            (false, Opinion::Bad) => (7, format!("{judged} is bad"), "--reason '…'"),
            (false, Opinion::Good) => (0, format!("{judged} is good"), "status"),
            (false, Opinion::NotEnoughData) => (8, format!("not enough data to judge {judged}"), "watch --for 30m"),
        };
        let next = match (exit, judged) {
            // There is nothing to go back to.
            (7, Colour::Blue) => self.command("status"),
            _ => self.command(next),
        };
        let production = format!("{said}: {}; nothing was changed; {words}", held.judgement.words);
        self.end(&Verdict { exit, production, next, left: Vec::new() }, None, None, None)
    }

    /// What it came to that people were called.
    fn end_of_calls(&self, called: &Called, judgement: &Judgement) -> u8 {
        let Called { quiet, id, production } = called;
        let (judged, id) = (judgement.judged, id.as_deref());
        let (exit, said) = match quiet {
            Quiet::CalledOver { by } => (7, format!("{judged} was bad, and {by} called it over")),
            Quiet::Moved { .. } => {
                (8, format!("{judged} was bad, and who gets traffic has changed meanwhile, not by this"))
            }
            Quiet::Well { words } => (7, format!("{judged} is good again: {words}; it was bad")),
            Quiet::AllPaged { failed } if failed.is_empty() => {
                (7, format!("{judged} is bad, and everybody who is to be called was"))
            }
            Quiet::AllPaged { .. } => (7, format!("{judged} is bad, and not every call got through")),
            Quiet::Interrupted => (130, format!("interrupted; {judged} is bad, and nobody else is called")),
            Quiet::NotOurs { id } => (7, format!("{judged} is bad; another watch calls for it: {id}")),
            Quiet::Nowhere { why } => (7, format!("{judged} is bad, and nobody was called: {why}")),
        };
        let next = match (quiet, id, judged) {
            (Quiet::AllPaged { .. } | Quiet::Interrupted, Some(id), Colour::Blue) => format!("resolve {id}"),
            (
                Quiet::AllPaged { .. } | Quiet::Interrupted | Quiet::NotOurs { .. } | Quiet::Nowhere { .. },
                _,
                Colour::Green,
            ) => "--reason '…'".to_owned(),
            (_, _, Colour::Blue | Colour::Green) => "status".to_owned(),
        };
        let left = match (quiet, id) {
            (Quiet::AllPaged { .. } | Quiet::Interrupted, Some(id)) => {
                vec![format!("its pages are open: `{}` when it is over", self.command(&format!("resolve {id}")))]
            }
            _ => Vec::new(),
        };
        let unsent = match quiet {
            Quiet::AllPaged { failed } => failed.iter().map(|why| format!("a message: {why}")).collect(),
            _ => Vec::new(),
        };
        let left = [left, unsent].concat();
        let production = format!("{said}: {}; nothing was changed; {production}", judgement.words);
        self.end(&Verdict { exit, production, next: self.command(&next), left }, None, None, None)
    }

    /// The same rollback as ever, whose reason says which rule, with which figures.
    async fn roll_back(&self, fleet: ReadOnly<Ssh>, judgement: Judgement, interrupts: watch::Receiver<u32>) -> u8 {
        let clock = Clock::start();
        let id = incident_id(clock, "rollback");
        let terminal = self.terminal.of_run(id.clone());
        let request = Request {
            id,
            reason: format!("{}: {}", self.request.reason, judgement.words),
            begun_at: clock.began_at(),
            ..self.request.clone()
        };
        let session = Session {
            terminal: &terminal,
            clock,
            opened: self.opened.clone(),
            request,
            picks: self.picks.clone(),
            redactor: Arc::clone(&self.redactor),
        };
        Run { sessions: vec![session] }.rollback(fleet, Some((judgement, interrupts))).await
    }
}

fn refusal(serving: &Serves, rolls_back: bool) -> Option<Refusal> {
    let why = match (serving.blue, serving.green) {
        (false, false) => {
            "no balancer that was reached is known to send to blue or green, so there is nothing to judge"
        }
        (true, false) if rolls_back => "green gets no traffic, so there is nothing to roll back",
        _ => return None,
    };
    Some(Refusal::new(RefusalName::NothingToJudge, why))
}
