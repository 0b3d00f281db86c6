//! What production is: one fold over the journal, as it grows. Screen, report, exit code, `status` and `undo` read it, and
//! nobody else concludes it. The latest that is known counts, not what was proven first.
//!
//! Pure: an entry in, a state out. Never looks at a host, and never at the plan: what was meant is no fact.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::change::is_here;
use super::colour::Colour;
use super::names::{ChangeName, HostName, listed};
use super::record::{
    AppState, Balancer, Begun, ChangeState, DatabaseNow, DatabaseState, Entry, MeantChange, Status, StepWord, Swap,
    Traffic, What, plural,
};
use super::share::{Serving, Share};
use super::side::{Direction, Side};
use super::{earlier, migration};

/// Who serves where, at which share, and what was started, stopped, kept, restored.
#[derive(Debug, Clone, Default)]
pub struct Production {
    begun: Option<Box<Begun>>,
    hosts: BTreeMap<HostName, HostNow>,
    database: Option<DatabaseNow>,
    /// What became of changes, where one was begun.
    changes: BTreeMap<(ChangeName, HostName), ChangeState>,
    /// What each was before the step that was begun last.
    changes_before: BTreeMap<(ChangeName, HostName), BeforeChange>,
    safe: Option<Safe>,
    /// Whoever puts all traffic back by himself, and after how many seconds without a word.
    dead_men: BTreeMap<HostName, u64>,
    /// When a share was held for the last time.
    held_until: Option<DateTime<Utc>>,
    has_good_dump: bool,
    /// The newest outcome of each step, with the place of its first one: that is the order in which they are told.
    outcomes: BTreeMap<StepKey, Newest>,
}

/// A step of its kind, of one host or of none, and which one where there are several.
type StepKey = (StepWord, Option<HostName>, Option<String>);

/// What is known of one host.
#[derive(Debug, Clone, Default)]
struct HostNow {
    /// Whether it was looked at as one that sends traffic on.
    is_balancer: bool,
    /// What was found on it; `None` where nothing could be.
    found: Option<Traffic>,
    /// `None` until this run changed it, or tried.
    balancer: Option<(Balancer, Share)>,
    /// What it was before the change that was tried last.
    before: Option<(Balancer, Share)>,
    blue: Option<AppState>,
    green: Option<AppState>,
    /// Whose answer was asked for last, and what was wrong with it.
    silent: Option<(Colour, String)>,
}

/// When every balancer was proven, and how many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Safe {
    pub at_ms: u64,
    pub hosts: usize,
}

#[derive(Debug, Clone)]
struct Newest {
    place: usize,
    status: Status,
    detail: String,
}

/// How a run ends: the exit code, what production is now, and the one next command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub exit: u8,
    pub production: String,
    pub next: String,
    /// What is not done, each with its host and cause.
    pub left: Vec<String>,
}

impl<'e> FromIterator<&'e Entry> for Production {
    fn from_iter<I: IntoIterator<Item = &'e Entry>>(entries: I) -> Production {
        let mut production = Production::default();
        for entry in entries {
            production.take(entry);
        }
        production
    }
}

/// What a change is called where it says how it is.
fn change_title(name: &ChangeName) -> String {
    match name.as_str() {
        migration::CHANGE => "downgrade of the database".to_owned(),
        earlier::CHANGE => "earlier release of blue".to_owned(),
        name => format!("change {name}"),
    }
}

/// What a change and whom it starts again were before its step.
#[derive(Debug, Clone, Copy, Default)]
struct BeforeChange {
    state: Option<ChangeState>,
    app: Option<(Colour, Option<AppState>)>,
}

impl Production {
    /// Takes the next entry.
    pub fn take(&mut self, entry: &Entry) {
        match &entry.what {
            What::Begun(begun) => self.begun = Some(begun.clone()),
            What::Found { host, traffic } => {
                let now = self.host_mut(host);
                (now.is_balancer, now.found) = (true, *traffic);
            }
            What::Intent { step, host, colour, of, .. } => {
                let app = colour.map(|colour| (colour, self.app(host, colour)));
                self.intend(*step, host, *colour);
                if let (StepWord::Change | StepWord::Migrate, Some(Ok(name))) = (step, of.clone().map(ChangeName::new))
                {
                    let key = (name, host.clone());
                    let state = self.changes.insert(key.clone(), ChangeState::Unknown);
                    self.changes_before.insert(key, BeforeChange { state, app });
                }
            }
            What::Change { host, name, state } => {
                let key = (name.clone(), host.clone());
                // A step of which nothing came leaves what an earlier one made.
                let before = self.changes_before.get(&key).copied().unwrap_or_default();
                // Whom it would have started again it has not touched, where nothing came of it.
                if let (ChangeState::AsItWas | ChangeState::TakenBack, Some((colour, app))) = (state, before.app)
                    && self.app(host, colour) == Some(AppState::Unknown)
                {
                    *self.host_mut(host).app_mut(colour) = app;
                }
                let state = before.state.filter(|_| *state == ChangeState::AsItWas).unwrap_or(*state);
                self.changes.insert(key, state);
            }
            What::Outcome { step, host, of, status, detail, .. } => {
                if *step == StepWord::Hold && host.is_none() && *status != Status::Started {
                    self.held_until = Some(entry.time);
                }
                let place = self.outcomes.len();
                let newest = Newest { place, status: *status, detail: detail.clone() };
                self.outcomes
                    .entry((*step, host.clone(), of.clone()))
                    .and_modify(|last| *last = Newest { place: last.place, ..newest.clone() })
                    .or_insert(newest);
            }
            What::Balancer { host, state, share } => self.host_mut(host).balancer = Some((*state, *share)),
            What::DeadMan { host, limit_seconds } => {
                match limit_seconds {
                    Some(limit) => self.dead_men.insert(host.clone(), *limit),
                    None => self.dead_men.remove(host),
                };
            }
            What::App { host, colour, state } => *self.host_mut(host).app_mut(*colour) = Some(*state),
            What::Green { host, state } => {
                let from = self.direction().colour(Side::From);
                *self.host_mut(host).app_mut(from) = Some(*state);
            }
            What::Answer { host, colour, is_good, detail } => {
                self.host_mut(host).silent = (!is_good).then(|| (*colour, detail.clone()));
            }
            What::TrafficSafe { hosts, .. } => {
                self.safe.get_or_insert(Safe { at_ms: entry.at_ms, hosts: *hosts });
            }
            What::Dump(dump) => self.has_good_dump |= dump.problems.is_empty(),
            What::Database(database) => self.database = Some(database.clone()),
            What::Note { .. }
            | What::Gap { .. }
            | What::Said { .. }
            | What::Captured(_)
            | What::Errors { .. }
            | What::Judged(_)
            | What::Loss(_)
            | What::Noted { .. }
            | What::Resolved { .. }
            | What::Ticket { .. }
            | What::Ended { .. } => {}
        }
    }

    /// A change that began and whose end is not in the journal may have happened.
    fn intend(&mut self, step: StepWord, host: &HostName, colour: Option<Colour>) {
        let from = self.direction().colour(Side::From);
        match step {
            StepWord::Switch => {
                let now = self.host_mut(host);
                now.before = now.balancer;
                now.balancer = Some((Balancer::Unknown, Share::ALL));
            }
            StepWord::Stop => *self.host_mut(host).app_mut(colour.unwrap_or(from)) = Some(AppState::Unknown),
            StepWord::Verify | StepWord::Change | StepWord::Migrate => {
                if let Some(colour) = colour {
                    *self.host_mut(host).app_mut(colour) = Some(AppState::Unknown);
                }
            }
            StepWord::Connect
            | StepWord::Observe
            | StepWord::Lock
            | StepWord::Drain
            | StepWord::Hold
            | StepWord::Judge
            | StepWord::Restore
            | StepWord::Hook
            | StepWord::Evidence
            | StepWord::Report
            | StepWord::Notify => {}
        }
    }

    fn host_mut(&mut self, host: &HostName) -> &mut HostNow {
        // Looked for first: a name is copied once for each host, not once for each entry.
        if !self.hosts.contains_key(host) {
            self.hosts.insert(host.clone(), HostNow::default());
        }
        self.hosts.get_mut(host).expect("it was put there if it was not")
    }

    pub fn begun(&self) -> Option<&Begun> {
        self.begun.as_deref()
    }

    /// Blue where no run has begun.
    pub fn direction(&self) -> Direction {
        self.begun.as_ref().map_or(Direction::to(Colour::Blue), |begun| begun.direction)
    }

    /// What the run did to a balancer; `None` where it did not come to it.
    pub fn balancer(&self, host: &HostName) -> Option<Balancer> {
        self.hosts.get(host)?.balancer.map(|(state, _)| state)
    }

    /// The share that a balancer was proven at before the change that was tried last; `None` where this run had not moved it.
    pub fn share_before(&self, host: &HostName) -> Option<Share> {
        match self.hosts.get(host)?.before? {
            (Balancer::Shifted, share) => Some(share),
            (Balancer::Unchanged | Balancer::PutBack | Balancer::Unknown, _) => None,
        }
    }

    /// The share that a balancer is proven at.
    pub fn share(&self, host: &HostName) -> Option<Share> {
        match self.hosts.get(host)?.balancer? {
            (Balancer::Shifted, share) => Some(share),
            (Balancer::Unchanged | Balancer::PutBack | Balancer::Unknown, _) => None,
        }
    }

    /// Whether a balancer is known not to have sent to that colour when it was looked at first: not to know is not that.
    pub fn found_off(&self, host: &HostName, colour: Colour) -> bool {
        let found = self.hosts.get(host).and_then(|now| now.found);
        found.and_then(|found| found.file).is_some_and(|file| !file.includes(colour))
    }

    /// Whether a balancer sent to that colour when it was looked at first.
    pub fn found_sending_to(&self, host: &HostName, colour: Colour) -> bool {
        let found = self.hosts.get(host).and_then(|now| now.found);
        found.and_then(|found| found.file).is_some_and(|file| file.includes(colour))
    }

    pub fn is_shifted(&self, host: &HostName) -> bool {
        self.balancer(host) == Some(Balancer::Shifted)
    }

    /// What the run did to a colour on an app host; `None` where it did nothing. The side that all traffic is back with is
    /// kept, and no leftover.
    pub fn app(&self, host: &HostName, colour: Colour) -> Option<AppState> {
        let now = self.hosts.get(host)?;
        let state = match colour {
            Colour::Blue => now.blue,
            Colour::Green => now.green,
        };
        let is_left = state == Some(AppState::LeftRunning) && self.direction().side(colour) == Side::From;
        if is_left && !self.is_anything_moved() { Some(AppState::Kept) } else { state }
    }

    /// Whether some traffic is where this run sends it, or may be: moved by it, or all of it there before.
    pub fn is_anything_moved(&self) -> bool {
        let from = self.direction().colour(Side::From);
        self.hosts.values().any(|now| match now.balancer {
            Some((Balancer::Shifted | Balancer::Unknown, _)) => true,
            Some((Balancer::Unchanged | Balancer::PutBack, _)) | None => {
                now.found.and_then(|found| found.file).is_some_and(|file| !file.includes(from))
            }
        })
    }

    /// What is wrong with whoever should answer through or on that host; `None` while nothing is known to be.
    pub fn complaint(&self, host: &HostName) -> Option<&str> {
        self.hosts.get(host)?.silent.as_ref().map(|(_, why)| why.as_str())
    }

    pub fn safe(&self) -> Option<Safe> {
        self.safe
    }

    pub fn database(&self) -> Option<&DatabaseNow> {
        self.database.as_ref()
    }

    /// The newest outcome of a step, on one host or of no host.
    pub fn outcome(&self, step: StepWord, host: Option<&HostName>) -> Option<(Status, &str)> {
        let newest = self.outcomes.get(&(step, host.cloned(), None))?;
        Some((newest.status, newest.detail.as_str()))
    }

    /// How the step of that name ended last, where a host has several of the kind.
    pub fn outcome_of(&self, step: StepWord, host: Option<&HostName>, of: Option<&str>) -> Option<Status> {
        self.outcomes.get(&(step, host.cloned(), of.map(str::to_owned))).map(|newest| newest.status)
    }

    /// Every balancer of the run with its state, in the order of the config.
    pub fn balancers(&self) -> impl Iterator<Item = (&HostName, Balancer)> {
        let names = self.begun.iter().flat_map(|begun| &begun.balancers);
        names.map(|host| (host, self.balancer(host).unwrap_or(Balancer::Unchanged)))
    }

    /// Whether every balancer is proven to send where this run sends it.
    pub fn is_all_shifted(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| {
            let is_there = |host: &HostName| match &begun.gradual {
                None => self.is_shifted(host),
                Some(repeat) => self.share(host) == Some(repeat.last),
            };
            !begun.balancers.is_empty() && begun.balancers.iter().all(is_there)
        })
    }

    /// Whether both sides get traffic by this run.
    pub fn is_split(&self) -> bool {
        self.hosts.keys().any(|host| self.share(host).is_some_and(Share::is_split))
    }

    /// When all traffic goes back by itself.
    fn dead_man_words(&self) -> Option<String> {
        let limit = self.dead_men.values().min().filter(|_| self.is_split())?;
        let from = self.direction().colour(Side::From);
        let when = match self.held_until {
            Some(held) => {
                let at = held + TimeDelta::seconds(i64::try_from(*limit).unwrap_or(i64::MAX / 1000));
                format!("at {} UTC", at.format("%H:%M"))
            }
            None => format!("{} after the end", humantime::format_duration(Duration::from_secs(*limit))),
        };
        Some(format!("unless it goes on, all traffic goes back to {from} {when}"))
    }

    /// One sentence about all balancers, and what else is known.
    pub fn words(&self) -> String {
        let Some(begun) = &self.begun else { return self.found_words() };
        let (to, from) = (begun.direction.colour(Side::To), begun.direction.colour(Side::From));
        if begun.traffic_stays {
            let mut clauses = match begun.changes.is_empty() {
                true => vec!["traffic untouched".to_owned()],
                false => vec![self.found_words().replacen("traffic ", "traffic untouched, ", 1)],
            };
            if !begun.changes.is_empty() {
                clauses.extend([to, from].into_iter().filter_map(|colour| self.app_words(colour)));
            }
            clauses.extend(self.change_words());
            clauses.extend(self.database_words());
            return clauses.join("; ");
        }
        let mut clauses = self.traffic_words(begun);
        clauses.extend(self.silent_words());
        clauses.extend(self.app_words(to));
        clauses.push(self.app_words(from).unwrap_or_else(|| format!("{from} untouched")));
        clauses.extend(self.dead_man_words());
        clauses.extend(self.change_words());
        clauses.extend(self.database_words());
        clauses.join("; ")
    }

    /// What became of a change on a host; `None` where it was not begun.
    pub fn change(&self, name: &ChangeName, host: &HostName) -> Option<ChangeState> {
        self.changes.get(&(name.clone(), host.clone())).copied()
    }

    /// Changes that are made, or may be, by this run.
    pub fn changes_made(&self) -> impl Iterator<Item = (&ChangeName, &HostName)> {
        let is_made = |state: &ChangeState| matches!(state, ChangeState::Made | ChangeState::Unknown);
        self.changes.iter().filter(move |(_, state)| is_made(state)).map(|((name, host), _)| (name, host))
    }

    /// What became of the changes that were meant, on each host on which one was begun.
    fn changes_meant(&self) -> impl Iterator<Item = ChangeState> {
        let meant = self.begun.iter().flat_map(|begun| &begun.changes);
        meant.flat_map(|change| {
            let hosts = change.hosts.iter().filter(|host| !change.in_force.contains(host));
            hosts.filter_map(|host| self.change(&change.name, host))
        })
    }

    /// The name of each change that was meant, and whether it is what it should be everywhere.
    pub fn changes_done(&self) -> Vec<(String, bool)> {
        let wanted = self.wanted();
        let is_done = |change: &MeantChange, host: &HostName| {
            change.in_force.contains(host) || self.change(&change.name, host) == Some(wanted)
        };
        let meant = self.begun.iter().flat_map(|begun| &begun.changes);
        meant.map(|change| (change.name.to_string(), change.hosts.iter().all(|host| is_done(change, host)))).collect()
    }

    /// What a change should be at the end.
    pub fn wanted(&self) -> ChangeState {
        match self.begun.as_ref().is_some_and(|begun| begun.undoes.is_some()) {
            true => ChangeState::TakenBack,
            false => ChangeState::Made,
        }
    }

    /// Whether every change that was meant is what it should be.
    fn are_changes_done(&self) -> bool {
        self.changes_done().iter().all(|(_, is_done)| *is_done)
    }

    /// What every change is now.
    fn change_words(&self) -> Option<String> {
        let mut clauses: Vec<String> = Vec::new();
        for change in self.begun.iter().flat_map(|begun| &begun.changes) {
            let of = |host: &HostName| match self.change(&change.name, host) {
                _ if change.in_force.contains(host) => (0, "in force already"),
                None | Some(ChangeState::AsItWas) if self.wanted() == ChangeState::TakenBack => (2, "STILL MADE"),
                None | Some(ChangeState::AsItWas) => (2, "not made"),
                Some(ChangeState::Made) if self.wanted() == ChangeState::TakenBack => (2, "STILL MADE"),
                Some(ChangeState::Made) => (1, "made"),
                Some(ChangeState::TakenBack) => (3, "taken back"),
                Some(ChangeState::Unknown) => (4, "NOT KNOWN"),
            };
            let groups = grouped(change.hosts.iter().map(|host| (of(host), host)));
            let is_one = groups.len() == 1;
            let words: Vec<String> = groups
                .iter()
                .map(|((_, words), hosts)| match is_one && (hosts.len() > 1 || is_here(hosts[0])) {
                    true => (*words).to_owned(),
                    false => format!("{words} on {}", listed(hosts)),
                })
                .collect();
            clauses.push(format!("{} {}", change_title(&change.name), words.join(", ")));
        }
        (!clauses.is_empty()).then(|| clauses.join("; "))
    }

    /// How a run that is about changes alone ends.
    fn exit_of_changes(&self, is_nothing_left: bool, was_interrupted: bool) -> u8 {
        let wanted = self.wanted();
        if self.changes_meant().any(|state| state == ChangeState::Unknown) {
            5
        } else if was_interrupted {
            130
        } else if self.are_changes_done() && is_nothing_left && !self.has_fallen_silent() {
            0
        } else if self.changes_meant().any(|state| state == wanted) {
            4
        } else if self.changes_meant().any(|state| state != ChangeState::AsItWas) {
            3
        } else {
            1
        }
    }

    fn traffic_words(&self, begun: &Begun) -> Vec<String> {
        let total = begun.balancers.len();
        let groups = grouped(begun.balancers.iter().map(|host| {
            let now = self.hosts.get(host);
            let found = now.and_then(|now| now.found);
            let was = found.map_or(String::new(), |found| format!(": {}", who_serves(&found)));
            let (rank, words) = match now.and_then(|now| now.balancer).unwrap_or((Balancer::Unchanged, Share::ALL)) {
                (Balancer::Shifted, share) => (0, shifted_words(begun.direction, share)),
                (Balancer::Unchanged, _) => (1, format!("as it was{was}")),
                (Balancer::PutBack, Share::NONE) if self.was_split(host) => {
                    (2, format!("put back: {}", shifted_words(begun.direction, Share::NONE)))
                }
                (Balancer::PutBack, _) => (2, format!("put back, as it was{was}")),
                (Balancer::Unknown, _) => (3, NOT_KNOWN.to_owned()),
            };
            ((rank, words), host)
        }));
        match groups.iter().next() {
            Some(((0, words), hosts)) if hosts.len() == total => {
                vec![format!("traffic {words} on {total} of {}", plural(total, "host"))]
            }
            _ => traffic_words(groups.iter().map(|((_, words), hosts)| (words.as_str(), hosts.as_slice()))),
        }
    }

    /// Whether a gradual switch found both sides with traffic: what it puts back goes to one of them.
    fn was_split(&self, host: &HostName) -> bool {
        let is_gradual = self.begun.as_ref().is_some_and(|begun| begun.gradual.is_some());
        let found = self.hosts.get(host).and_then(|now| now.found).and_then(|found| found.file);
        is_gradual && found == Some(Serving::Both)
    }

    /// Before a run: what was found, and what is known since.
    fn found_words(&self) -> String {
        let total = self.hosts.values().filter(|now| now.is_balancer).count();
        let groups = grouped(self.hosts.iter().filter(|(_, now)| now.is_balancer).map(|(host, now)| {
            let words = now.found.map_or(NOT_KNOWN.to_owned(), |found| who_serves(&found));
            (words, host)
        }));
        let mut clauses: Vec<String> = match groups.len() {
            0 => vec!["traffic NOT KNOWN".to_owned()],
            1 => {
                groups.keys().map(|words| format!("traffic {words} on {total} of {}", plural(total, "host"))).collect()
            }
            _ => traffic_words(groups.iter().map(|(words, hosts)| (words.as_str(), hosts.as_slice()))),
        };
        clauses.extend(self.silent_words());
        clauses.join("; ")
    }

    /// Who should answer and does not.
    fn silent_words(&self) -> Vec<String> {
        let found_silent = |found: &Traffic| {
            let by = found.file.and_then(only_colour).or(found.answered_by);
            by.filter(|_| is_silent(found))
        };
        let groups = grouped(self.hosts.iter().filter_map(|(host, now)| {
            let was_moved = matches!(now.balancer, Some((Balancer::Shifted | Balancer::Unknown, _)));
            let colour = match now.silent.as_ref().filter(|(colour, _)| self.may_get_some(*colour)) {
                Some((colour, _)) => *colour,
                None if now.silent.is_some() => return None,
                None if was_moved => return None,
                None => found_silent(now.found.as_ref()?)?,
            };
            Some((colour, host))
        }));
        groups.iter().map(|(colour, hosts)| format!("{colour} DOES NOT ANSWER on {}", listed(hosts))).collect()
    }

    /// What became of a colour on its hosts; `None` where the run did nothing to it, or took back what it did.
    fn app_words(&self, colour: Colour) -> Option<String> {
        let is_to = self.direction().side(colour) == Side::To;
        let serves = self.is_anything_moved();
        let states: Vec<(&HostName, AppState)> = self
            .hosts
            .keys()
            .filter_map(|host| Some((host, self.app(host, colour)?)))
            // A colour that traffic went to has to run.
            .filter(|(_, state)| !(is_to && serves && matches!(state, AppState::Started | AppState::StartedAgain)))
            .filter(|(_, state)| *state != AppState::StoppedAgain)
            .collect();
        let total = states.len();
        let everywhere = self.begun.as_ref().map_or(total, |begun| begun.apps.len()).max(total);
        let groups = grouped(states.into_iter().map(|(host, state)| (rank(state), host)));
        let words: Vec<String> = groups
            .iter()
            .map(|((_, said), hosts)| match hosts.len() >= everywhere && *said != STARTED {
                true => format!("{colour} {said}"),
                false => format!("{colour} {said} on {}", listed(hosts)),
            })
            .collect();
        (total > 0).then(|| words.join(", "))
    }

    fn database_words(&self) -> Option<String> {
        let restores = self.begun.as_ref().and_then(|begun| begun.restores.as_deref());
        let Some(DatabaseNow { name, state, swap, merge, .. }) = &self.database else {
            return restores.map(|name| format!("database {name} as it was"));
        };
        if let Some(merge) = merge {
            let kept = format!("(what was there is kept in its schema {})", merge.kept);
            let rows = format!("rows of {} in database {name}", merge.names());
            return Some(match state {
                DatabaseState::AsItWas => format!("database {name} as it was"),
                DatabaseState::Restored => format!("{rows} restored {kept}"),
                DatabaseState::TakenBack => format!("{rows} as they were before the restore {kept}"),
                DatabaseState::Unknown => format!("{rows} NOT KNOWN"),
            });
        }
        let kept = swap
            .as_ref()
            .and_then(Swap::kept)
            .map_or(String::new(), |kept| format!(" (the replaced one is kept as {kept})"));
        Some(match state {
            DatabaseState::AsItWas => format!("database {name} as it was"),
            DatabaseState::Restored => format!("database {name} restored{kept}"),
            DatabaseState::TakenBack => format!("database {name} as it was before the restore{kept}"),
            DatabaseState::Unknown => format!("database {name} NOT KNOWN"),
        })
    }

    /// Hosts on which this run started what traffic was to go to, and on which it still runs although nothing came of it.
    fn started_for_nothing(&self) -> impl Iterator<Item = &HostName> {
        let to = self.direction().colour(Side::To);
        self.hosts.keys().filter(move |host| {
            matches!(self.app(host, to), Some(AppState::Started | AppState::LeftRunning | AppState::Unknown))
        })
    }

    /// Whether what traffic left is known to run although it was to be stopped.
    fn is_left_running(&self) -> bool {
        let from = self.direction().colour(Side::From);
        self.hosts.keys().any(|host| self.app(host, from) == Some(AppState::LeftRunning))
    }

    /// Whether the side that serves was to be judged, and could not be.
    fn is_unbaked(&self) -> bool {
        self.outcome(StepWord::Judge, None).is_some_and(|(status, _)| status == Status::Skipped)
    }

    /// Whether somebody who should serve is known not to answer.
    pub fn is_silent(&self) -> bool {
        self.hosts.values().any(|now| now.silent.as_ref().is_some_and(|(colour, _)| self.may_get_some(*colour)))
    }

    /// Whether somebody answered when this run looked first, and does not any more.
    fn has_fallen_silent(&self) -> bool {
        let answered = |found: &Traffic| !is_silent(found);
        self.hosts.values().any(|now| now.silent.is_some() && now.found.as_ref().is_some_and(answered))
    }

    /// Whether a colour may have traffic: from whom a gradual switch took all of it back nobody waits for an answer.
    fn may_get_some(&self, colour: Colour) -> bool {
        let is_gradual = self.begun.as_ref().is_some_and(|begun| begun.gradual.is_some());
        !is_gradual || self.direction().side(colour) == Side::From || self.is_anything_moved()
    }

    /// Judges a run: what its exit code says of production is true of the fold and of nothing else.
    pub fn verdict(&self, was_interrupted: bool) -> Verdict {
        let begun = self.begun.as_deref();
        let states: Vec<(&HostName, Balancer)> = self.balancers().collect();
        let any = |wanted: Balancer| states.iter().any(|(_, state)| *state == wanted);
        let all_shifted = self.is_all_shifted();
        let left = self.not_done();
        let database = self.database.as_ref().map(|database| database.state);
        let is_restored = begun.and_then(|begun| begun.restores.as_deref()).is_none()
            || database.is_some_and(|state| state != DatabaseState::AsItWas);
        let traffic_stays = begun.is_some_and(|begun| begun.traffic_stays);

        let is_of_changes = begun.is_some_and(|begun| !begun.changes.is_empty());
        let of_changes = self.exit_of_changes(left.is_empty(), was_interrupted);
        let exit = if traffic_stays && is_of_changes {
            match database {
                None => of_changes,
                // What one was is no reason to say that the other was not.
                Some(DatabaseState::Restored | DatabaseState::TakenBack) if matches!(of_changes, 0 | 5 | 130) => {
                    of_changes
                }
                Some(DatabaseState::Restored | DatabaseState::TakenBack | DatabaseState::Unknown) => 4,
                Some(DatabaseState::AsItWas) if of_changes == 0 => 4,
                Some(DatabaseState::AsItWas) => of_changes,
            }
        } else if traffic_stays {
            match (database, left.is_empty(), was_interrupted) {
                (Some(DatabaseState::Restored | DatabaseState::TakenBack), true, _) => 0,
                (Some(DatabaseState::Restored | DatabaseState::TakenBack | DatabaseState::Unknown), _, _) => 4,
                (_, _, true) => 130,
                (Some(DatabaseState::AsItWas) | None, _, false) => 1,
            }
        } else if any(Balancer::Unknown) || self.changes.values().any(|state| *state == ChangeState::Unknown) {
            5
        } else if let Some(held) = self.held().filter(|held| !was_interrupted || *held != 8) {
            held
        } else if all_shifted {
            match (left.is_empty() && !self.is_silent() && self.are_changes_done(), was_interrupted) {
                (_, true) => 130,
                (_, false) if !is_restored || !self.is_downgraded() => 6,
                (true, false) => 0,
                (false, false) => 4,
            }
        } else if was_interrupted {
            130
        } else if any(Balancer::Shifted) || self.started_for_nothing().next().is_some() {
            5
        } else if self.changes.values().any(|state| *state == self.wanted()) {
            // Something of the release is back, and its traffic is not.
            5
        } else if database.is_some_and(|state| state != DatabaseState::AsItWas) {
            // The database was taken back, and traffic was not.
            4
        } else if any(Balancer::PutBack) || self.changes.values().any(|state| *state != ChangeState::AsItWas) {
            3
        } else {
            1
        };
        // The rollback is done and proven; what was asked of it besides is not known.
        let exit = if exit == 0 && self.is_unbaked() { 8 } else { exit };
        Verdict { exit, production: self.words(), next: self.next(exit, is_restored), left }
    }

    /// Whether migrations are where they were asked to be; nobody may have asked.
    fn is_downgraded(&self) -> bool {
        let is_undo = self.begun.as_ref().is_some_and(|begun| begun.undoes.is_some());
        is_undo || self.changes_done().iter().all(|(name, is_done)| name != migration::CHANGE || *is_done)
    }

    /// How a gradual switch ends whose last share was not judged good: what production is then, and not why.
    fn held(&self) -> Option<u8> {
        self.begun.as_ref()?.gradual.as_ref()?;
        let (status, _) = self.outcome(StepWord::Hold, None)?;
        let any = |wanted: Balancer| self.balancers().any(|(_, state)| state == wanted);
        match status {
            // The share that it stands at is the same everywhere, or they differ.
            Status::Skipped if !any(Balancer::PutBack) => Some(8),
            Status::Failed if any(Balancer::Shifted) => Some(5),
            Status::Failed => Some(3),
            Status::Started | Status::Done | Status::Skipped | Status::Unknown => None,
        }
    }

    /// The one command to type next.
    fn next(&self, exit: u8, is_restored: bool) -> String {
        let begun = self.begun.as_deref();
        let program = match begun.map_or("prod", |begun| begun.environment.as_str()) {
            "prod" => "rollback-prod".to_owned(),
            other => format!("rollback-prod --env {other}"),
        };
        let service = begun.filter(|begun| begun.group.is_some()).map(|begun| format!(" --service {}", begun.service));
        let service = service.unwrap_or_default();
        let again = |hosts: &[&HostName]| {
            let reason = shell_words::quote(begun.map_or("", |begun| &begun.reason)).into_owned();
            let reason = if reason.contains('\n') { "'…'".to_owned() } else { reason };
            let is_all = hosts.is_empty() || begun.is_none_or(|begun| hosts.len() == begun.balancers.len());
            let only = if is_all { String::new() } else { format!(" --hosts {}", listed(hosts).replace(", ", ",")) };
            let flags = begun.and_then(|begun| begun.restore_flags.as_deref()).unwrap_or("--restore-db");
            let restore = if is_restored { String::new() } else { format!(" {flags}") };
            let gradual = begun.and_then(|begun| begun.gradual.as_ref());
            let mut names = begun.map(Begun::change_names).unwrap_or_default();
            names.retain(|name| ![earlier::CHANGE, migration::CHANGE].contains(name));
            let down = begun.and_then(|begun| begun.down_flag.as_deref()).filter(|_| !self.is_downgraded());
            let down = down.map(|flag| format!(" {flag}")).unwrap_or_default();
            let to = begun.and_then(|begun| begun.to_release.as_deref());
            let to = to.map(|release| format!(" --to {}", shell_words::quote(release))).unwrap_or_default();
            if begun.is_some_and(Begun::is_partial) {
                return format!("{program} partial {} --reason {reason}{service}", names.join(" "));
            }
            let with = if names.is_empty() { String::new() } else { format!(" --with {}", names.join(",")) };
            match begun.and_then(|begun| begun.undoes.as_deref()) {
                Some(incident) => format!("{program} undo {incident}"),
                None => match gradual {
                    Some(repeat) => format!("{program} {} --reason {reason}{service}", repeat.command),
                    None => format!("{program} --reason {reason}{service}{only}{restore}{to}{with}{down}"),
                },
            }
        };
        let all_shifted = self.is_all_shifted();
        match exit {
            0 => format!("{program} status"),
            6 if !is_restored && !self.has_good_dump => format!("{program} backups list"),
            4 if self.database.as_ref().is_some_and(|database| database.state == DatabaseState::Unknown) => {
                format!("{program} backups list")
            }
            // Traffic is where it should be, and who should serve does not: that is to be looked at, not repeated.
            4 | 5 if self.is_silent() => format!("{program} status"),
            // What runs on although it was to be stopped would again: who sees to that is said there.
            4 if all_shifted && self.is_left_running() => format!("{program} check"),
            5 | 8 | 130 if begun.is_some_and(|begun| begun.gradual.is_some()) => {
                let held = self.outcome(StepWord::Hold, None).map(|(status, _)| status);
                match (exit, held) {
                    // Judged bad, and not back everywhere: never the same again.
                    (5, Some(Status::Failed)) => {
                        format!("{program} undo {}", begun.map_or("", |begun| begun.id.as_str()))
                    }
                    (5, _) => format!("{program} status"),
                    _ if self.is_anything_moved() => again(&[]),
                    _ => format!("{program} check"),
                }
            }
            8 => format!("{program} watch{service}"),
            // What was asked for is done: only the judgement of it was not waited for, or is bad.
            4 | 130 if all_shifted && self.outcome(StepWord::Judge, None).is_some() => format!("{program} status"),
            4 | 6 | 130 if all_shifted => again(&[]),
            1 | 3 if begun.is_none_or(|begun| begun.undoes.is_none()) => format!("{program} check"),
            _ => {
                let rest: Vec<&HostName> =
                    self.balancers().filter(|(_, state)| *state != Balancer::Shifted).map(|(host, _)| host).collect();
                again(&rest)
            }
        }
    }

    /// What is not done: steps whose newest outcome is not good. Messages are never among them, and a host that neither
    /// balances nor serves is not needed to move traffic: evidence that is missing of it is a gap.
    fn not_done(&self) -> Vec<String> {
        let is_needed = |host: &HostName| {
            self.begun.as_ref().is_none_or(|begun| begun.balancers.contains(host) || begun.apps.contains(host))
        };
        let needed: BTreeSet<&HostName> =
            self.outcomes.keys().filter_map(|(_, host, _)| host.as_ref()).filter(|host| is_needed(host)).collect();
        let mut left: Vec<(usize, String)> = self
            .outcomes
            .iter()
            .filter(|((step, ..), newest)| {
                *step != StepWord::Notify && matches!(newest.status, Status::Failed | Status::Unknown)
            })
            .filter(|((step, host, _), _)| {
                *step != StepWord::Connect || host.as_ref().is_none_or(|host| needed.contains(host))
            })
            .map(|((step, host, of), newest)| {
                let which = of.as_ref().map_or(String::new(), |of| format!(" {of}"));
                let words = match host {
                    Some(host) => format!("{}{which}: {host}: {}", step.as_str(), newest.detail),
                    None => format!("{}{which}: {}", step.as_str(), newest.detail),
                };
                (newest.place, words)
            })
            .collect();
        left.sort_by_key(|(place, _)| *place);
        left.into_iter().map(|(_, words)| words).collect()
    }
}

impl HostNow {
    fn app_mut(&mut self, colour: Colour) -> &mut Option<AppState> {
        match colour {
            Colour::Blue => &mut self.blue,
            Colour::Green => &mut self.green,
        }
    }
}

/// What a balancer's file says, and whether the one that answers agrees.
pub fn who_serves(found: &Traffic) -> String {
    let Some(file) = found.file else { return "NOT KNOWN".to_owned() };
    let by = found.answered_by;
    match (file, by) {
        (Serving::Blue, Some(Colour::Green)) => "on green (the file says blue: nginx was not reloaded)".to_owned(),
        (Serving::Green, Some(Colour::Blue)) => "on blue (the file says green: nginx was not reloaded)".to_owned(),
        (Serving::Blue, Some(Colour::Blue) | None) => "on blue".to_owned(),
        (Serving::Green, Some(Colour::Green) | None) => "on green".to_owned(),
        (Serving::Both, _) => format!("on blue {} and green {}", found.blue, found.blue.rest()),
        (Serving::Neither, _) => "on neither blue nor green".to_owned(),
    }
}

/// Whether the balancer's answer is its own word for a server that is not there.
fn is_silent(found: &Traffic) -> bool {
    matches!(found.status, 0 | 502 | 504)
}

fn only_colour(serving: Serving) -> Option<Colour> {
    match serving {
        Serving::Blue => Some(Colour::Blue),
        Serving::Green => Some(Colour::Green),
        Serving::Both | Serving::Neither => None,
    }
}

fn shifted_words(direction: Direction, share: Share) -> String {
    let (to, from) = (direction.colour(Side::To), direction.colour(Side::From));
    match share {
        Share::ALL => format!("on {to}"),
        Share::NONE => format!("on {from}"),
        split => format!("on {to} {split} and {from} {}", split.rest()),
    }
}

const STARTED: &str = "STARTED, and still running";

/// The order in which states are told, and their words.
fn rank(state: AppState) -> (u8, &'static str) {
    match state {
        AppState::Stopped => (0, "stopped"),
        AppState::Kept => (1, "kept running"),
        AppState::StartedAgain => (2, "running again"),
        AppState::Started => (3, STARTED),
        AppState::StoppedAgain => (4, "stopped again"),
        AppState::LeftRunning => (5, "STILL RUNNING"),
        AppState::Unknown => (6, "NOT KNOWN"),
    }
}

/// Of a balancer that could not be asked.
const NOT_KNOWN: &str = "NOT KNOWN";

/// Up to so many hosts are named in one breath.
const NAMED_AT_ONCE: usize = 8;

/// Several groups of hosts, each with what its traffic does. Of a fleet most hosts do the same: they come last, as the
/// others, for whoever is not one of them is named.
fn traffic_words<'g>(groups: impl Iterator<Item = (&'g str, &'g [&'g HostName])>) -> Vec<String> {
    let groups: Vec<_> = groups.collect();
    // Whoever nobody knows anything of is named, however many they are.
    let is_known = |words: &str| words != NOT_KNOWN;
    let counted = || groups.iter().filter(|(words, _)| is_known(words));
    let most = counted().map(|(_, hosts)| hosts.len()).max().filter(|most| *most > NAMED_AT_ONCE);
    let others = groups.iter().position(|(words, hosts)| is_known(words) && Some(hosts.len()) == most);
    let named = groups.iter().enumerate().filter(|(at, _)| Some(*at) != others);
    let mut words: Vec<String> =
        named.map(|(_, (words, hosts))| format!("traffic of {} {words}", listed(hosts))).collect();
    let which = if groups.len() > 1 { "the other" } else { "all" };
    words.extend(others.map(|at| {
        let (words, hosts) = groups[at];
        format!("traffic of {which} {} hosts {words}", hosts.len())
    }));
    words
}

/// Hosts that have the same in common, in their own order.
fn grouped<'h, K: Ord>(each: impl Iterator<Item = (K, &'h HostName)>) -> BTreeMap<K, Vec<&'h HostName>> {
    let mut groups: BTreeMap<K, Vec<&HostName>> = BTreeMap::new();
    for (key, host) in each {
        groups.entry(key).or_default().push(host);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_fleet_whoever_is_not_like_most_is_named_and_most_are_counted() {
        let names: Vec<HostName> = (1..=128).map(|n| HostName::new(format!("web{n}")).expect("a name")).collect();
        let hosts: Vec<&HostName> = names.iter().collect();
        let said = |groups: &[(&'static str, &[&HostName])]| traffic_words(groups.iter().copied()).join("; ");
        assert_eq!(
            said(&[("on blue", &hosts[2..]), ("NOT KNOWN", &hosts[..2])]),
            "traffic of web1, web2 NOT KNOWN; traffic of the other 126 hosts on blue"
        );
        assert_eq!(
            said(&[("on blue", &hosts[..3]), ("NOT KNOWN", &hosts[3..4])]),
            "traffic of web1, web2, web3 on blue; traffic of web4 NOT KNOWN"
        );
        assert_eq!(said(&[("as it was", &hosts)]), "traffic of all 128 hosts as it was");
        let dark = said(&[("on blue", &hosts[..3]), ("NOT KNOWN", &hosts[3..13])]);
        assert!(dark.contains("web1, web2, web3 on blue") && dark.contains("web13 NOT KNOWN"), "{dark}");
    }
}
