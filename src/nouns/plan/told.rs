//! A plan in full, as the dry run shows it: every step with its guard and its undo, every diff, every host by name. Hosts
//! that are alike are told once; what differs by more than a host's own name never is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::{Action, Among, FileChange, Gate, Guard, Holding, Plan, Stage, StageName, Step, Undo};
use crate::nouns::change::ChangeWork;
use crate::nouns::likes::{Likes, likes};
use crate::nouns::names::{HostName, ServiceName, alike, listed};
use crate::nouns::side::{Direction, Side};

/// So many names are repeated; the names of more hosts stand once, before everything that is of all of them.
const REPEATED: usize = 4;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan of {} for {} / {}", self.id, self.service, self.environment)?;
        if let Some(releases) = &self.releases {
            writeln!(f, "  {releases}")?;
        }
        let all = self.told_hosts();
        if all.len() > REPEATED {
            writeln!(f, "  hosts: {}", listed(&all))?;
        }
        for (number, (stage, steps)) in self.told_stages().enumerate() {
            let hosts: Vec<&HostName> = steps.iter().map(|step| &step.host).collect();
            let gate = stage.gate.words(self.direction);
            writeln!(f, "  {}. {} on {}{gate}", number + 1, stage.title(self.direction), by_names(&hosts, &all))?;
            let groups = like_steps(&steps, self.direction);
            for group in &groups {
                // Where not all are alike, whose it is must be said.
                let whose = if groups.len() > 1 { format!("{}: ", listed(&group.hosts)) } else { String::new() };
                let (why, guard) = (&group.first.why, guard_of(group, stage, self.direction));
                writeln!(f, "     {whose}{why}{}", by_name(group))?;
                writeln!(f, "       if {guard}; undo: {}", group.first.undo.words(self.direction))?;
            }
        }
        if let Some(among) = &self.among {
            writeln!(f, "  {among}")?;
        }
        for hook in &self.hooks {
            writeln!(f, "  hook {hook}")?;
        }
        for note in self.told_notes() {
            let whose = match note.hosts.as_slice() {
                [] => String::new(),
                hosts => format!("{}: ", by_names(hosts, &all)),
            };
            writeln!(f, "  note: {whose}{}{}", note.first, by_name(&note))?;
        }
        for group in self.like_changes() {
            write!(f, "\n{}{}:\n{}", by_names(&group.hosts, &all), by_name(&group), group.first.1)?;
        }
        for (file, hosts) in alike(self.files_put()) {
            write!(f, "\n{}:\n{}", by_names(&hosts, &all), file.diff)?;
        }
        Ok(())
    }
}

fn by_names(hosts: &[&HostName], all: &[&HostName]) -> String {
    match hosts.len() {
        count if count > REPEATED && count == all.len() => format!("all {count} hosts"),
        _ => listed(hosts),
    }
}

/// What is said of each of several hosts with its own name, and stands there with the first one's.
fn by_name<T>(group: &Likes<'_, T>) -> &'static str {
    if group.is_to_the_letter { "" } else { " (the first one's; in each other's its own name stands there instead)" }
}

/// Steps that come to the same, whatever the files say besides.
fn like_steps<'s>(steps: &[&'s Step], direction: Direction) -> Vec<Likes<'s, &'s Step>> {
    likes(steps.iter().map(|step| (&step.host, *step)), |step| {
        let guard = match &step.guard {
            Guard::FileIsUnchanged { .. } => String::new(),
            other => other.words(direction),
        };
        format!("{}\n{guard}\n{}", step.why, step.undo.words(direction))
    })
}

/// The guard of all steps of a group, in words.
fn guard_of(group: &Likes<'_, &Step>, stage: &Stage, direction: Direction) -> String {
    let steps = || stage.steps.iter().filter(|step| group.hosts.contains(&&step.host));
    let said: BTreeSet<String> = steps().map(|step| step.guard.words(direction)).collect();
    match (said.len(), said.into_iter().next()) {
        (1, Some(guard)) => guard,
        _ => "each one's file is still what it was when it was read".to_owned(),
    }
}

impl Plan {
    /// The stages with something to do, each with the steps that do it.
    pub(super) fn told_stages(&self) -> impl Iterator<Item = (&Stage, Vec<&Step>)> {
        let told = self.stages.iter().map(|stage| (stage, stage.told().collect::<Vec<_>>()));
        told.filter(|(_, steps)| !steps.is_empty())
    }

    /// The hosts that something is done on, in the order in which they come first.
    pub(super) fn told_hosts(&self) -> Vec<&HostName> {
        let mut known: BTreeSet<&HostName> = BTreeSet::new();
        let hosts = self.told_stages().flat_map(|(_, steps)| steps).map(|step| &step.host);
        hosts.filter(|host| known.insert(host)).collect()
    }

    /// The diffs of nginx's files. Of a row of shares the first one shows what changes; the others change it further.
    pub(super) fn like_changes(&self) -> Vec<Likes<'_, (&FileChange, String)>> {
        let mut told: BTreeSet<&HostName> = BTreeSet::new();
        let needed = self.file_changes().filter(|(_, change)| change.is_needed());
        let shown = needed.filter(|(host, _)| told.insert(host) || !self.is_gradual);
        likes(shown.map(|(host, change)| (host, (change, change.diff()))), |(_, diff)| diff.clone())
    }

    /// The notes: those that are of none of the hosts alone, then those of hosts, once where several have the same.
    pub(super) fn told_notes(&self) -> Vec<Likes<'_, &str>> {
        let hosts = || self.stages.iter().flat_map(|stage| &stage.steps).map(|step| &step.host);
        let known: BTreeMap<&str, &HostName> =
            hosts().chain(self.left_out.iter().map(|left| &left.host)).map(|host| (host.as_str(), host)).collect();
        let mut told: Vec<Likes<'_, &str>> = Vec::new();
        let mut of_hosts: Vec<(&HostName, &str)> = Vec::new();
        for note in &self.notes {
            match note.split_once(": ").and_then(|(name, rest)| Some((*known.get(name)?, rest))) {
                Some(of) => of_hosts.push(of),
                None => told.push(Likes { first: note, hosts: Vec::new(), is_to_the_letter: true }),
            }
        }
        told.extend(likes(of_hosts.into_iter(), |note| (*note).to_owned()));
        told
    }
}

impl fmt::Display for Among {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: &[ServiceName]| names.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ");
        match (self.before.as_slice(), self.behind.as_slice()) {
            ([], behind) => write!(f, "goes before {}", names(behind))?,
            (before, _) => write!(f, "waits until traffic is safe on {}", names(before))?,
        }
        if self.is_all_or_nothing {
            f.write_str("; goes back where another of them cannot be moved")?;
        }
        Ok(())
    }
}

impl Stage {
    /// The steps that do something.
    fn told(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| !matches!(step.action, Action::Leave { .. }))
    }

    pub(super) fn title(&self, direction: Direction) -> String {
        let (to, from) = (direction.colour(Side::To), direction.colour(Side::From));
        match self.name {
            StageName::Lock
                if self.steps.iter().all(|step| matches!(step.action, Action::Lock { candidate: None })) =>
            {
                "take the lock".to_owned()
            }
            StageName::Lock => "take the lock, test the candidate".to_owned(),
            StageName::TakeBack => "take the database back".to_owned(),
            StageName::Start => {
                let sides: BTreeSet<Side> = self.steps.iter().filter_map(Step::starts).collect();
                let colours: Vec<String> = sides.into_iter().map(|side| direction.colour(side).to_string()).collect();
                format!("start {} and prove it", colours.join(" and "))
            }
            StageName::Arm
                if self.steps.iter().all(|step| matches!(step.action, Action::Arm { limit_seconds: None, .. })) =>
            {
                "call off any dead man".to_owned()
            }
            StageName::Arm => "arm the dead man".to_owned(),
            StageName::Shift(share) => format!("give {to} {share} and prove it"),
            StageName::Switch => format!("switch to {to} and prove it"),
            StageName::Ready(_) | StageName::Change(_) => {
                let words = |work: &ChangeWork| match work.is_back {
                    true => format!("take change {} back", work.name),
                    false => format!("make change {}", work.name),
                };
                self.steps.iter().find_map(Step::changes).map_or_else(String::new, words)
            }
            StageName::Drain => format!("drain {from}"),
            StageName::Stop => format!("stop {from}"),
            StageName::Verify => format!("verify {to}"),
            StageName::Remember => "remember the release".to_owned(),
            StageName::Downgrade => "take migrations back".to_owned(),
            StageName::Load => "load the dump aside, once traffic is safe".to_owned(),
            StageName::Swap if self.steps.iter().any(|step| matches!(step.action, Action::Merge { .. })) => {
                "put rows of the copy into the live tables".to_owned()
            }
            StageName::Swap => "put the copy in the place of the live database".to_owned(),
        }
    }
}

impl Gate {
    /// Behind the title of its stage.
    pub(super) fn words(self, direction: Direction) -> String {
        match self {
            Gate::Typed(word) => format!(", once {} is typed", word.as_str()),
            Gate::Held(holding) => format!(", once {}", holding.words(direction)),
            Gate::Open | Gate::NoneFailed | Gate::AnyProven => String::new(),
        }
    }
}

impl Holding {
    fn words(self, direction: Direction) -> String {
        let (to, share) = (direction.colour(Side::To), self.share);
        match self.seconds {
            0 => format!("{to} has {share}"),
            seconds => {
                let time = humantime::format_duration(Duration::from_secs(seconds));
                format!("{to} was judged good at {share} for {time}")
            }
        }
    }
}

impl Guard {
    /// As it is shown, and as it is said when it does not hold.
    pub fn words(&self, direction: Direction) -> String {
        let (to, from) = (direction.colour(Side::To), direction.colour(Side::From));
        match self {
            Guard::NobodyElseHoldsTheLock => "no other run holds the lock".to_owned(),
            Guard::WeHoldTheLock => "this run holds the lock".to_owned(),
            Guard::FileIsUnchanged { sha256 } => format!("the file is still {}", &sha256[..sha256.len().min(12)]),
            Guard::AreShifted { .. } => "its balancers are switched and proven".to_owned(),
            Guard::NobodyNeedsIt { .. } => {
                format!("every balancer is proven on {to}, {to} still answers, and no peer is connected to {from}")
            }
            Guard::TrafficIsSafe => format!("every balancer is proven on {to}"),
            Guard::FromIsStopped => format!("every balancer is proven on {to}, and {from} runs nowhere any more"),
            Guard::Nothing => "nothing".to_owned(),
        }
    }
}

impl Undo {
    pub fn words(&self, direction: Direction) -> String {
        match self {
            Undo::Does(action) => match action.as_ref() {
                Action::Switch { .. } => {
                    "the old file is put back, by the step itself where it cannot be proven".to_owned()
                }
                Action::Stop { side, .. } => format!("stop {} again", direction.colour(*side)),
                Action::Start { side } => format!("start {} again", direction.colour(*side)),
                Action::Change { work } => work.words(),
                Action::Lock { .. }
                | Action::Arm { .. }
                | Action::Drain
                | Action::Leave { .. }
                | Action::Verify { .. }
                | Action::Load { .. }
                | Action::Swap
                | Action::Merge { .. }
                | Action::TakeBack { .. }
                | Action::TakeRowsBack { .. }
                | Action::Remember { .. } => "taken back".to_owned(),
            },
            Undo::AllBack(_) => format!("all traffic goes back to {} at once", direction.colour(Side::From)),
            Undo::Released => "released at the end, and when this program dies".to_owned(),
            Undo::CopyIsDropped => "the copy is dropped".to_owned(),
            Undo::EndsByItself => "ends by itself once one side has all traffic".to_owned(),
            Undo::ByCommand(command) => command.clone(),
            Undo::NothingToUndo => "changes nothing".to_owned(),
            Undo::Impossible(why) => format!("IRREVERSIBLE: {why}"),
        }
    }
}
