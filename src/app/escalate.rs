//! A `watch` that found what serves bad, and pages until somebody is at it: the ladder of `contacts.escalate`, one after the
//! other, each once. Ends when it is called over, when traffic is with somebody else, when what serves is good again, or when
//! there is nobody left to call. Changes nothing; whom to call when is `judge::escalation`'s.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::rollback::laptop;
use super::serves::Serves;
use super::{Run, Session};
use crate::engine::hold::Hold;
use crate::hosts::remote::ReadOnly;
use crate::hosts::ssh::Ssh;
use crate::incident::alarm::{Alarm, Bad};
use crate::incident::folder;
use crate::incident::journal::{Alone, Journal, Progress, Typed, Watcher};
use crate::incident::past;
use crate::judge::escalation;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::Role;
use crate::nouns::names::HostName;
use crate::nouns::production::{Production, Verdict};
use crate::nouns::record::{Entry, StepWord};
use crate::nouns::rules::{Judgement, Opinion};
use crate::steps::observe::observe;
use crate::tell::alarm::{Voice, first_id, page_id};
use crate::tell::message::Message;
use crate::tell::notify::{self, Outbox};
use crate::tell::render::Templates;

/// How often it looks whether somebody's time has come, or somebody has called it over.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks at the hosts.
const HOSTS_EVERY: Duration = Duration::from_secs(10);
/// What serves is good again when the rules call it good over so long: what was bad for a moment and is well in the next
/// would be called twice.
const WELL_FOR: Duration = Duration::from_secs(120);

/// A watch that begins so long after the last line of an alarm, and the longest wait of the ladder, is of another time.
const GOES_ON: Duration = Duration::from_secs(60 * 60);
/// A message that did not get through is sent again so often,
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// and after the last one was called for so long.
const TRIED_FOR: Duration = Duration::from_secs(10 * 60);

/// What the calls came to.
pub(super) struct Called {
    pub(super) quiet: Quiet,
    /// The alarm's name.
    pub(super) id: Option<String>,
    /// What production was at the last look, in words.
    pub(super) production: String,
}

/// Why nobody is called any more.
pub(super) enum Quiet {
    /// Somebody typed `resolve`.
    CalledOver {
        by: String,
    },
    /// Somebody has moved traffic: whatever was bad, it does not get what it got.
    Moved {
        production: String,
    },
    /// The rules call it good again.
    Well {
        words: String,
    },
    /// The last one of the ladder was called; what did not get through to whom.
    AllPaged {
        failed: Vec<String>,
    },
    Interrupted,
    /// Another process on this machine pages for it.
    NotOurs {
        id: String,
    },
    /// There is no folder to keep in mind who was paged.
    Nowhere {
        why: String,
    },
}

/// Somebody else's screen stays as it is: rounds of looks, for hours, are nothing to be read.
struct Unseen;

impl Watcher for Unseen {
    fn show(&self, _: &Entry) {}

    fn ask(&self, _: &str, _: &str) -> Typed {
        Box::pin(std::future::ready(None))
    }

    fn progress(&self, _: &Progress<'_>) {}

    fn judging(&self, _: &Judgement) {}
}

impl Session<'_> {
    /// Whether this config says whom to call, and a way to do it. Nobody is got out of bed outside prod.
    pub(super) fn has_somebody_to_call(&self) -> bool {
        let inventory = self.inventory();
        inventory.environment.as_str() == "prod"
            && !inventory.contacts.escalate.is_empty()
            && notify::reaches_people(&inventory.notify)
    }

    /// Tells everybody that it is bad, and calls one after the other until that is needed no more. What was begun by a watch
    /// before this one is gone on with.
    pub(super) async fn call(
        &self,
        fleet: &ReadOnly<Ssh>,
        (judgement, serving): (&Judgement, Serves),
        production: String,
        mut interrupts: watch::Receiver<u32>,
    ) -> Called {
        // What production was at the last look.
        let seen = Mutex::new(production.clone());
        let last = || seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut alarm, _turn) = match self.alarm(judgement, production).await {
            Ok(raised) => raised,
            Err(quiet) => return Called { quiet, id: None, production: last() },
        };
        let id = Some(alarm.id.clone());
        let looks = self.look_at_hosts(fleet, judgement.judged, serving, &seen);
        let quiet = tokio::select! {
            quiet = self.page_on(&mut alarm) => quiet,
            quiet = looks => quiet,
            Ok(_) = interrupts.wait_for(|count| *count > 0) => Quiet::Interrupted,
        };
        let why = match &quiet {
            Quiet::Moved { production } => Some(format!("traffic was moved: {production}")),
            Quiet::Well { words } => Some(format!("it is good again: {words}")),
            Quiet::CalledOver { .. }
            | Quiet::AllPaged { .. }
            | Quiet::Interrupted
            | Quiet::NotOurs { .. }
            | Quiet::Nowhere { .. } => None,
        };
        if let Some(why) = why {
            self.end_alarm(&mut alarm, "the watch", &why).await;
        }
        Called { quiet, id, production: last() }
    }

    /// The one that a watch before this one left, or a new one. One of another time, which nobody ended, is over: whoever was
    /// called then is not at this.
    async fn alarm(&self, judgement: &Judgement, production: String) -> Result<(Alarm, Alone), Quiet> {
        let inventory = self.inventory();
        let (service, environment) = (inventory.group.as_str(), inventory.environment.as_str());
        let now = self.clock.now();
        let newest =
            folder::newest_first(&inventory.incidents).into_iter().next().and_then(|path| past::name_of(&path));
        let longest = inventory.contacts.escalate.iter().map(|contact| contact.after).max().unwrap_or_default();
        let is_gone_on_with = |alarm: &Alarm| {
            let age = (now - alarm.last).to_std().unwrap_or_default();
            alarm.bad.judged == judgement.judged
                && age < longest + GOES_ON
                && newest.as_ref().is_none_or(|incident| !alarm.is_before(incident))
        };
        let mut kept = None;
        for mut alarm in Alarm::open_of(&inventory.incidents, service, environment, now) {
            if kept.is_none() && is_gone_on_with(&alarm) {
                kept = Some(alarm);
            } else if let Some(_turn) = alarm.turn() {
                self.end_alarm(&mut alarm, "the watch", "it was of another time, and nobody had ended it").await;
            }
        }
        let alarm = match kept {
            Some(alarm) => alarm,
            None => {
                let bad = Bad {
                    service: service.to_owned(),
                    environment: environment.to_owned(),
                    judged: judgement.judged,
                    words: self.redactor().text(&judgement.words),
                    production: self.redactor().text(&production),
                    operator: self.request.operator.clone(),
                    laptop: laptop(),
                };
                Alarm::raise(&inventory.incidents, now, bad)
                    .map_err(|err| Quiet::Nowhere { why: format!("{err:#}") })?
            }
        };
        match alarm.turn() {
            Some(turn) => Ok((alarm, turn)),
            None => Err(Quiet::NotOurs { id: alarm.id }),
        }
    }

    /// Pages whose time has come, again and again; ends when somebody called it over, or when nobody is left.
    async fn page_on(&self, alarm: &mut Alarm) -> Quiet {
        let inventory = self.inventory();
        let ladder = &inventory.contacts.escalate;
        let outbox = Outbox::open(&alarm.folder);
        outbox.keep_only_of(inventory, self.clock.now());
        // A watch that goes on with it has nothing new to say.
        let is_told = outbox.knows(&first_id(alarm));
        self.put(&outbox, |voice| (!is_told).then(|| voice.bad(alarm)));
        let mut failed = self.deliver(&outbox).await;
        let (mut tried, mut called) = (Instant::now(), Instant::now());
        loop {
            if let Some((by, _)) = Alarm::read(&alarm.folder).and_then(|kept| kept.over) {
                return Quiet::CalledOver { by };
            }
            let bad_for = (self.clock.now() - alarm.since).to_std().unwrap_or_default();
            for contact in escalation::due(ladder, bad_for, &alarm.paged) {
                // What is in the outbox is sent, also by a later command: so the message is there first, and known by its
                // number should we die before it is written that he was paged.
                let is_there = outbox.knows(&page_id(alarm, alarm.paged.len() + 1));
                alarm.counts(&contact.to_string());
                self.put(&outbox, |voice| (!is_there).then(|| voice.paged(alarm, contact, self.clock.now())));
                if let Err(err) = alarm.was_paged(self.clock.now(), &contact.to_string()) {
                    self.terminal.warning(&format!("{err:#}"));
                }
                let (name, judged) = (&contact.name, alarm.bad.judged);
                Journal::new(self.clock, self.terminal).note(format!("{name} is called: {judged} is bad"));
                failed = self.deliver(&outbox).await;
                (tried, called) = (Instant::now(), Instant::now());
            }
            // Nobody else sends them as long as this watch lives.
            if !failed.is_empty() && tried.elapsed() >= AGAIN_AFTER {
                failed = self.deliver(&outbox).await;
                tried = Instant::now();
            }
            let is_last = escalation::next(ladder, &alarm.paged).is_none();
            if is_last && (failed.is_empty() || called.elapsed() >= TRIED_FOR) {
                return Quiet::AllPaged { failed };
            }
            sleep(LOOK).await;
        }
    }

    /// Until nothing goes to what is judged any more, or it is good again. A host that cannot be asked, or whose file cannot be
    /// read, tells neither.
    async fn look_at_hosts(
        &self,
        fleet: &ReadOnly<Ssh>,
        judged: Colour,
        serving: Serves,
        seen: &Mutex<String>,
    ) -> Quiet {
        let inventory = self.inventory();
        let mut serving = serving;
        loop {
            sleep(HOSTS_EVERY).await;
            let journal = Journal::new(self.clock, &Unseen);
            let facts = observe(fleet, inventory, self.request.direction, &journal).await;
            let production = journal.production(Production::words);
            seen.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&production);
            let is_off = |host: &HostName| journal.production(|production| production.found_off(host, judged));
            if inventory.with_role(Role::Balancer).all(|host| is_off(&host.name)) {
                return Quiet::Moved { production };
            }
            if inventory.with_role(Role::Balancer).any(|host| facts.seen(&host.name).is_none()) {
                continue;
            }
            let now = journal.production(|production| Serves::of(production, &facts));
            // More or less of it than before is no reason to let anybody sleep.
            if now.of_colour(judged) {
                serving = now;
            }
            let (_never, interrupts) = watch::channel(0);
            let hold = Hold {
                fleet,
                inventory,
                facts: &facts,
                journal: &journal,
                judging: &inventory.judging,
                judged,
                alone: serving.alone(),
                lasts: WELL_FOR,
                at_most: WELL_FOR,
                is_new: false,
                shifted: None,
            };
            // Traffic that is moved meanwhile is seen all the same, if a little later.
            let held = hold.run(interrupts).await;
            if held.judgement.opinion == Opinion::Good {
                return Quiet::Well { words: held.judgement.words };
            }
        }
    }

    /// It is over: said on disk first, and then to everybody who was told that it is bad.
    async fn end_alarm(&self, alarm: &mut Alarm, by: &str, text: &str) -> bool {
        let text = self.redactor().text(text);
        if let Err(err) = alarm.is_over(self.clock.now(), by, &text) {
            self.terminal.warning(&format!("{err:#}"));
        }
        let outbox = Outbox::open(&alarm.folder);
        outbox.keep_only_of(self.inventory(), self.clock.now());
        self.put(&outbox, |voice| Some(voice.over(alarm, by, &text)));
        self.deliver(&outbox).await.is_empty()
    }

    /// Puts a message in.
    fn put(&self, outbox: &Outbox, message: impl FnOnce(&Voice<'_>) -> Option<Message>) {
        let inventory = self.inventory();
        let templates = Templates::beside(inventory.sources.first().map(|path| path.as_path()));
        let (cure, look, redactor) = (self.command("--reason '…'"), self.command("status"), self.redactor());
        let contacts = &inventory.contacts;
        let voice = Voice { contacts, cure: &cure, look: &look, templates: &templates, redactor: &redactor };
        if let Some(message) = message(&voice) {
            outbox.post(&inventory.notify, &message);
        }
    }

    /// Sends what waits; what of it did not get through.
    async fn deliver(&self, outbox: &Outbox) -> Vec<String> {
        let journal = Journal::new(self.clock, self.terminal);
        let step = journal.begin(StepWord::Notify, None);
        let failed = notify::failures(outbox.deliver(&self.inventory().notify).await);
        notify::end_step(step, &failed);
        failed
    }
}

impl Run<'_> {
    /// The alarm that a `resolve` means: the named one, or one that is open and newer than every incident.
    ///
    /// # Errors
    /// That there is none of that name.
    pub(super) fn alarm_meant(&self, named: Option<&str>) -> Result<Option<Alarm>, String> {
        let inventory = self.first().inventory();
        let incidents = &inventory.incidents;
        if let Some(name) = named.filter(|name| Alarm::is_name(name)) {
            let found = Alarm::named(incidents, name);
            return found.map(Some).ok_or_else(|| format!("there is no {name} in {}", incidents.display()));
        }
        if named.is_some() {
            return Ok(None);
        }
        let (service, environment) = (inventory.group.as_str(), inventory.environment.as_str());
        let open = Alarm::open_of(incidents, service, environment, self.first().clock.now()).into_iter().next();
        let newest = folder::newest_first(incidents).into_iter().next().and_then(|folder| past::name_of(&folder));
        Ok(open.filter(|alarm| newest.is_none_or(|incident| !alarm.is_before(&incident))))
    }

    /// With an incident that is over every alarm is, that was raised before it.
    pub(super) async fn call_over_with(&self, incident: &str, text: &str) {
        let session = self.first();
        let inventory = session.inventory();
        let (service, environment) = (inventory.group.as_str(), inventory.environment.as_str());
        for mut alarm in Alarm::open_of(&inventory.incidents, service, environment, session.clock.now()) {
            if alarm.is_before(incident) {
                session.end_alarm(&mut alarm, &session.request.operator, text).await;
            }
        }
    }

    /// Nobody is called any more, and whoever was knows.
    pub(super) async fn call_over(&self, mut alarm: Alarm, text: &str) -> u8 {
        let session = self.first();
        let words = match alarm.over.clone() {
            Some((by, _)) => format!("it was called over before, by {by}; nothing is sent again"),
            None => {
                let by = session.request.operator.clone();
                match session.end_alarm(&mut alarm, &by, text.trim()).await {
                    true => "it is over, and everybody who was told of it knows".to_owned(),
                    false => "it is over; not everybody knows yet".to_owned(),
                }
            }
        };
        let production = format!("not asked; {}: {words}", alarm.id);
        let verdict = Verdict { exit: 0, production, next: session.command("status"), left: Vec::new() };
        // It has no report of its own.
        session.end(&verdict, None, None, None)
    }
}
