//! Shares traffic out anew on a balancer, and proves it; what cannot be proven is put back by the host itself, whoever
//! dies meanwhile. Undone by the same step the other way round.

use std::collections::BTreeMap;
use std::time::Duration;

use super::again::{self, Fetched};
use super::context::{Context, Outcome};
use super::observe;
use crate::hosts::answer::{Answer, Failure};
use crate::hosts::facts::direct_url;
use crate::hosts::program::{Arguments, Change, LIB, NGINX, PATIENCE, SHIFT, Script, Tenure, UNIT, program, script};
use crate::hosts::question::{MOST_DIRECT, path_of};
use crate::hosts::remote::{Apply, Ask};
use crate::nouns::inventory::Inventory;
use crate::nouns::joined;
use crate::nouns::names::HostName;
use crate::nouns::plan::{FileChange, Proof, StandsIn};
use crate::nouns::record::{Balancer, Status, What};
use crate::nouns::share::Share;
use crate::nouns::side::Side;

pub(super) const SWITCH: Script = script!("switch", LIB, NGINX, SHIFT);

/// How many answers in a row a balancer's probe must give before it counts as switched.
const PROBE_PASSES: u32 = 3;

/// A switch that is not proven within this many seconds is put back. nginx itself needs about 0.1 s; a file system
/// that is busy, or DNS in the configuration, may take seconds.
const SWITCH_LIMIT_SECONDS: u64 = 10;

/// What `switch.sh` ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Proven,
    FileChanged,
    NginxDown,
    NotWritten,
    /// The old file is back in these three.
    Refused,
    NotReloaded,
    NotProven,
    /// The old file could not be put back.
    Stuck,
    /// Another run has the lock.
    Fenced,
    Otherwise(i32),
}

impl Ended {
    fn with(status: i32) -> Ended {
        match status {
            0 => Ended::Proven,
            10 => Ended::FileChanged,
            11 => Ended::NginxDown,
            12 => Ended::NotWritten,
            20 => Ended::Refused,
            21 => Ended::NotReloaded,
            22 => Ended::NotProven,
            30 => Ended::Stuck,
            93 => Ended::Fenced,
            other => Ended::Otherwise(other),
        }
    }
}

/// Which way a step goes: what it makes of a balancer, and what that is where nothing came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Forth,
    /// It takes another switch back.
    Back,
}

impl Way {
    fn done(self) -> Balancer {
        match self {
            Way::Forth => Balancer::Shifted,
            Way::Back => Balancer::PutBack,
        }
    }

    fn not_begun(self) -> Balancer {
        match self {
            Way::Forth => Balancer::Unchanged,
            Way::Back => Balancer::Shifted,
        }
    }

    fn put_back(self) -> Balancer {
        match self {
            Way::Forth => Balancer::PutBack,
            Way::Back => Balancer::Shifted,
        }
    }
}

/// Switches a balancer and proves it, or puts the old file back. In one root shell where the host's sudo allows that.
pub fn switch(
    inventory: &Inventory,
    tenure: &Tenure,
    change: &FileChange,
    proof: &Proof,
    may_root_shell: bool,
) -> Change {
    let nginx = &inventory.nginx;
    let mut arguments = Arguments::new(inventory);
    // Root has an engine of its own, and need not know the containers of others.
    let is_in_root_shell = may_root_shell && nginx.sudo && nginx.container.is_none();
    arguments.set("root_shell", if is_in_root_shell { "yes" } else { "no" });
    arguments.container(nginx);
    arguments.set("service", inventory.word_on_hosts());
    arguments.tenure(tenure);
    arguments.set("run", &tenure.run);
    if !change.also.is_empty() {
        joined::parts(&change.before).for_each(|text| arguments.set("was", text));
    }
    arguments.set("before", &change.before);
    for log in &proof.access_logs {
        arguments.set("access", log);
    }
    written_and_proven(&mut arguments, inventory, change, proof);
    if let Some(mark) = &proof.mark {
        let (ours, theirs) = match mark.stands_in {
            StandsIn::Header => ("header", "other_header"),
            StandsIn::Body => ("body", "other_body"),
        };
        arguments.set(ours, &mark.ours);
        arguments.set(theirs, &mark.theirs);
        let (host, path) = (nginx.probe_host.as_deref(), path_of(nginx.probe.as_str()));
        for server in inventory.app(mark.of).servers.iter().take(MOST_DIRECT) {
            arguments.get("direct", PATIENCE, host, &direct_url(server.as_str(), path));
        }
    }
    arguments.lookups(inventory);
    // The proof, the put-back with a test and a reload of its own, and a host that is busy.
    Change(program(SWITCH, arguments, Duration::from_secs(SWITCH_LIMIT_SECONDS + 50)))
}

/// What `shift.sh` writes, and how it proves it; what the file says before is for whoever calls it.
pub(super) fn written_and_proven(arguments: &mut Arguments, inventory: &Inventory, change: &FileChange, proof: &Proof) {
    let nginx = &inventory.nginx;
    arguments.form(nginx);
    arguments.files(change);
    if !change.also.is_empty() {
        joined::parts(&change.after).for_each(|text| arguments.set("shall", text));
    }
    if change.mounted.as_ref().is_some_and(|mounted| mounted.alone) {
        arguments.set("alone", "yes");
    }
    arguments.set("after", &change.after);
    arguments.set("test", nginx.test.join(UNIT));
    arguments.set("reload", nginx.reload.join(UNIT));
    arguments.set("pidfile", &proof.pidfile);
    for log in &proof.error_logs {
        arguments.set("log", log);
    }
    arguments.set("probe", nginx.probe_url());
    arguments.set("probe_host", nginx.probe_host.as_deref().unwrap_or("-"));
    arguments.set("limit", SWITCH_LIMIT_SECONDS);
    arguments.set("passes", PROBE_PASSES);
    arguments.set("who", &proof.who);
}

/// A switch of one balancer.
#[derive(Clone, Copy)]
pub struct Switch<'s> {
    pub host: &'s HostName,
    pub change: &'s FileChange,
    pub proof: &'s Proof,
    /// What the side that the plan goes to gets.
    pub share: Share,
    /// How the file says it then.
    pub says: &'s str,
    pub way: Way,
}

impl Switch<'_> {
    /// Carries it out, on the files as this run has left them.
    pub async fn run<F: Apply>(&self, run: &Context<'_, F>) -> Outcome {
        let _nobody_else = run.files.writing(self.host).await;
        let change = run.files.as_they_are(self.host, self.change);
        let outcome = Switch { change: &change, ..*self }.carry_out(run).await;
        match outcome.status {
            Status::Done => run.files.remember(self.host, &change, true),
            Status::Failed => run.files.remember(self.host, &change, false),
            Status::Started | Status::Skipped | Status::Unknown => run.files.forget(self.host, &change),
        }
        outcome
    }

    async fn carry_out<F: Apply>(&self, run: &Context<'_, F>) -> Outcome {
        match self.apply(run).await {
            Ok(answer) => self.judged(run, &answer).await,
            Err(failure @ Failure::NotSent { .. }) => self.unknown(format!("{failure}; nothing was sent")),
            Err(failure @ Failure::Unknown { .. }) => {
                run.journal.note(format!("{}: {failure}; looking again", self.host));
                match again::result(run, self.host, "switch", Duration::from_secs(30)).await {
                    Fetched::Answer(answer) => self.judged(run, &answer).await,
                    Fetched::NoSuchStep => self.read_again(run).await,
                    Fetched::Nothing => self.unknown(format!("{failure}; the host has not come back")),
                }
            }
        }
    }

    /// The switch itself; sent again only when it certainly was not sent before.
    async fn apply<F: Apply>(&self, run: &Context<'_, F>) -> Result<Answer, Failure> {
        let may_root_shell = run.seen(self.host).is_some_and(|seen| seen.may_root_shell);
        let change = switch(run.inventory, &run.tenure_on(self.host), self.change, self.proof, may_root_shell);
        match run.fleet.apply(self.host, &change).await {
            Err(Failure::NotSent { .. }) => run.fleet.apply(self.host, &change).await,
            other => other,
        }
    }

    fn now(&self, state: Balancer) -> What {
        What::Balancer { host: self.host.clone(), state, share: self.share }
    }

    /// What it is where nothing came of the step: the share that it was proven at before, or what the way says.
    fn as_before<F>(&self, run: &Context<'_, F>, otherwise: Balancer) -> What {
        match run.journal.production(|production| production.share_before(self.host)) {
            Some(share) => What::Balancer { host: self.host.clone(), state: Balancer::Shifted, share },
            // What was to be taken back was not known to be there.
            None if self.way == Way::Back => self.now(Balancer::Unknown),
            None => self.now(otherwise),
        }
    }

    fn unknown(&self, detail: String) -> Outcome {
        Outcome::unknown(detail).then(self.now(Balancer::Unknown))
    }

    /// Where somebody else changed the balancer since it was read, what it was is not what it is: it is read again, and
    /// whatever is decided afterwards, such as whether to stop what was started for it, is decided by that.
    async fn judged<F: Ask>(&self, run: &Context<'_, F>, answer: &Answer) -> Outcome {
        let outcome = self.outcome(run, answer);
        if Ended::with(answer.status) == Ended::Fenced && run.plan.is_gradual {
            run.stop(format!("{}: another run took the lock; this one stops here", self.host));
        }
        match Ended::with(answer.status) {
            Ended::FileChanged | Ended::Fenced => match observe::found_now(run, self.host).await {
                Some(found) => outcome.then(found),
                None => outcome,
            },
            Ended::Proven
            | Ended::NginxDown
            | Ended::NotWritten
            | Ended::Refused
            | Ended::NotReloaded
            | Ended::NotProven
            | Ended::Stuck
            | Ended::Otherwise(_) => outcome,
        }
    }

    fn outcome<F>(&self, run: &Context<'_, F>, answer: &Answer) -> Outcome {
        remember_access_sizes(run, self.host, answer);
        let why = answer.text("why").unwrap_or_default();
        let said = |section: &str| answer.worst_line(section);
        let not_begun = |detail: String| {
            Outcome::failed(format!("{detail}; nothing was changed")).then(self.as_before(run, self.way.not_begun()))
        };
        // Somebody else has been there: what this run had made of it is not what it is.
        let anothers = |detail: String| match (run.journal.production(|p| p.share_before(self.host)), self.way) {
            (None, Way::Forth) => not_begun(detail),
            (Some(_), _) | (None, Way::Back) => self.unknown(format!("{detail}; nothing was changed")),
        };
        let put_back = |detail: String| Outcome::failed(detail).then(self.as_before(run, self.way.put_back()));
        let path = &self.change.path;
        match Ended::with(answer.status) {
            Ended::Proven => Outcome::done(self.says).then(self.now(self.way.done())),
            Ended::FileChanged => anothers(format!("{path} changed since it was read")),
            Ended::NginxDown => not_begun("nginx is not running there".to_owned()),
            Ended::NotWritten => not_begun(format!("the new file cannot be written beside {path}: {}", said("steps"))),
            Ended::Refused => put_back(format!("{why}: {}; the old file is back", said("test"))),
            Ended::NotReloaded => put_back(format!("{why}: {}; the old file is back", said("reload"))),
            Ended::NotProven => put_back(format!("not proven: {why}; the old file is back and loaded")),
            Ended::Stuck => {
                self.unknown(format!("{why}, and the old file could not be put back: {}", said("put_back")))
            }
            Ended::Fenced => anothers(format!("another run took the lock: {why}")),
            Ended::Otherwise(status) => self.unknown(format!("the step ended with {status}: {}", said("steps"))),
        }
    }

    /// What the file says now, and who answers.
    async fn read_again<F: Apply>(&self, run: &Context<'_, F>) -> Outcome {
        let seen = again::facts(run, self.host).await;
        let nginx = seen.as_ref().and_then(|seen| seen.nginx.as_ref());
        let text = nginx.and_then(|nginx| nginx.text.as_ref().ok());
        let by = nginx.and_then(|nginx| nginx.probe_answered_by);
        // Whose answer it should be, where all of them are somebody's.
        let wanted = match self.share {
            Share::ALL => Some(run.colour(Side::To)),
            Share::NONE => Some(run.colour(Side::From)),
            _ => None,
        };
        match text {
            Some(text) if *text == self.change.after && by.is_some() && by == wanted => {
                let who = wanted.map_or(String::new(), |colour| format!(" and {colour} answers"));
                Outcome::done(format!("read again: the file is the new one{who}")).then(self.now(self.way.done()))
            }
            Some(text) if *text == self.change.before && (by.is_none() || by != wanted) => {
                Outcome::failed("read again: the switch did not begin").then(self.as_before(run, self.way.not_begun()))
            }
            Some(_) | None => self.unknown("read again: what is served is not known".to_owned()),
        }
    }
}

fn remember_access_sizes<F>(run: &Context<'_, F>, host: &HostName, answer: &Answer) {
    let said = answer.text("access").unwrap_or_default();
    let sizes: BTreeMap<String, u64> = said
        .lines()
        .filter_map(|line| {
            let (path, size) = line.rsplit_once(' ')?;
            Some((path.to_owned(), size.parse().ok()?))
        })
        .collect();
    run.seen_since.remember_access_sizes(host, sizes);
}
