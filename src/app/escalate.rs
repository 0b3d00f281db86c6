//! A `watch` that found what serves bad, and pages until somebody is at it: the ladder of `contacts.escalate`, one after the
//! other, each once. Ends when it is called over, when traffic is with somebody else, when what serves is good again, or when
//! there is nobody left to call. Changes nothing; whom to call when is `judge::escalation`'s.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::rollback::laptop;
use super::serves::Serves;
use super::{Run, Session};
use crate::engine::hold::Hold;
use crate::hosts::remote::ReadOnly;
use crate::hosts::ssh::Ssh;
use crate::incident::alarm::{Alarm, Bad, Caller};
use crate::incident::folder;
use crate::incident::journal::{Journal, Progress, Typed, Watcher};
use crate::incident::past;
use crate::judge::escalation;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::Role;
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
    /// The last one of the ladder was called.
    AllPaged,
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
    ) -> (Quiet, Option<String>) {
        let (mut alarm, _turn) = match self.alarm(judgement, production) {
            Ok(raised) => raised,
            Err(quiet) => return (quiet, None),
        };
        let id = Some(alarm.id.clone());
        let looks = self.look_at_hosts(fleet, judgement.judged, serving);
        let quiet = tokio::select! {
            quiet = self.page_on(&mut alarm) => quiet,
            quiet = looks => quiet,
            Ok(_) = interrupts.wait_for(|count| *count > 0) => Quiet::Interrupted,
        };
        let why = match &quiet {
            Quiet::Moved { production } => Some(format!("traffic was moved: {production}")),
            Quiet::Well { words } => Some(format!("it is good again: {words}")),
            Quiet::CalledOver { .. }
            | Quiet::AllPaged
            | Quiet::Interrupted
            | Quiet::NotOurs { .. }
            | Quiet::Nowhere { .. } => None,
        };
        if let Some(why) = why {
            self.end_alarm(&mut alarm, "the watch", &why).await;
        }
        (quiet, id)
    }

    /// The one that is open, or a new one.
    fn alarm(&self, judgement: &Judgement, production: String) -> Result<(Alarm, Caller), Quiet> {
        let inventory = self.inventory();
        let (service, environment) = (inventory.group.as_str(), inventory.environment.as_str());
        let now = self.clock.now();
        let open = Alarm::open_of(&inventory.incidents, service, environment, now)
            .filter(|alarm| alarm.bad.judged == judgement.judged);
        let alarm = match open {
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
        self.say(&outbox, |voice| (!is_told).then(|| voice.bad(alarm))).await;
        loop {
            if let Some((by, _)) = Alarm::read(&alarm.folder).and_then(|kept| kept.over) {
                return Quiet::CalledOver { by };
            }
            let bad_for = (self.clock.now() - alarm.since).to_std().unwrap_or_default();
            for contact in escalation::due(ladder, bad_for, &alarm.paged) {
                // What was put into the outbox is sent, also by the next command: so it is there first, and known by its
                // number should we die before it is written that he was paged.
                let is_there = outbox.knows(&page_id(alarm, alarm.paged.len() + 1));
                if let Err(err) = alarm.was_paged(self.clock.now(), &contact.to_string()) {
                    self.terminal.warning(&format!("{err:#}"));
                }
                let (name, judged) = (&contact.name, alarm.bad.judged);
                Journal::new(self.clock, self.terminal).note(format!("{name} is called: {judged} is bad"));
                self.say(&outbox, |voice| (!is_there).then(|| voice.paged(alarm, contact, self.clock.now()))).await;
            }
            if escalation::next(ladder, &alarm.paged).is_none() {
                return Quiet::AllPaged;
            }
            sleep(LOOK).await;
        }
    }

    /// Until traffic is with somebody else, or what is judged is good again. A host that cannot be asked tells neither.
    async fn look_at_hosts(&self, fleet: &ReadOnly<Ssh>, judged: Colour, serving: Serves) -> Quiet {
        let inventory = self.inventory();
        loop {
            sleep(HOSTS_EVERY).await;
            let journal = Journal::new(self.clock, &Unseen);
            let facts = observe(fleet, inventory, self.request.direction, &journal).await;
            if inventory.with_role(Role::Balancer).any(|host| facts.seen(&host.name).is_none()) {
                continue;
            }
            if journal.production(|production| Serves::of(production, &facts)) != serving {
                return Quiet::Moved { production: journal.production(Production::words) };
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
        self.say(&outbox, |voice| Some(voice.over(alarm, by, &text))).await
    }

    /// Puts a message in and sends what waits; whether all of it got through.
    async fn say(&self, outbox: &Outbox, message: impl FnOnce(&Voice<'_>) -> Option<Message>) -> bool {
        let inventory = self.inventory();
        let templates = Templates::beside(inventory.sources.first().map(|path| path.as_path()));
        let (cure, redactor) = (self.command("--reason '…'"), self.redactor());
        let voice = Voice { contacts: &inventory.contacts, cure: &cure, templates: &templates, redactor: &redactor };
        if let Some(message) = message(&voice) {
            outbox.post(&inventory.notify, &message);
        }
        let journal = Journal::new(self.clock, self.terminal);
        let step = journal.begin(StepWord::Notify, None);
        let failed = notify::failures(outbox.deliver(&inventory.notify).await);
        notify::end_step(step, &failed);
        failed.is_empty()
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
        let open = Alarm::open_of(incidents, service, environment, self.first().clock.now());
        let moment = |name: &str| name.split_once('-').map(|(_, moment)| moment.to_owned());
        let newest = folder::newest_first(incidents).into_iter().next();
        let newest = newest.and_then(|folder| moment(&past::name_of(&folder)?));
        Ok(open.filter(|alarm| newest.is_none_or(|newest| moment(&alarm.id).is_some_and(|moment| moment > newest))))
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
