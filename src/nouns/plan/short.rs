//! A plan as it stands above a run that begins at once: what matters at 3 a.m., on less than a screen, for one host or
//! hundreds. Guards, undos and diffs are not there: [`Plan`]'s Display has them. What cannot be undone is.

use std::collections::BTreeSet;
use std::fmt;

use similar::{ChangeTag, TextDiff};

use super::{Action, FileChange, Plan, Stage, StageName, Step, Undo};
use crate::nouns::likes::{Likes, few_of, first_of, likes};
use crate::nouns::names::{HostName, alike, listed};
use crate::nouns::octets;
use crate::nouns::record::plural;
use crate::nouns::units::counted;

/// Of what differs from host to host so many kinds are told: with more of them nobody reads all at this moment, and what
/// they have in common would leave the screen.
const KINDS: usize = 3;
/// A list of hosts as long as this is read as names; of a longer one the count says more.
const NAMED: usize = 4;
/// Of a file so many ways are told in which its lines change: whose traffic goes where is two.
const WAYS: usize = 2;
/// A line of a file that is longer stands on several rows, of which nobody reads all.
const LINE_CHARACTERS: usize = 130;

/// How a plan is shown before it is carried out at once.
pub struct Short<'p> {
    pub plan: &'p Plan,
    /// The flag that shows all of it.
    pub in_full: &'p str,
}

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        writeln!(f, "plan of {} for {} / {}", plan.id, plan.service, plan.environment)?;
        if let Some(releases) = &plan.releases {
            writeln!(f, "  {releases}")?;
        }
        let all = plan.told_hosts();
        for (number, (stage, steps)) in plan.told_stages().enumerate() {
            self.stage(f, number + 1, stage, &steps, &all)?;
        }
        if let Some(among) = &plan.among {
            writeln!(f, "  {among}")?;
        }
        if !plan.hooks.is_empty() {
            writeln!(f, "  {} run beside them", plural(plan.hooks.len(), "hook"))?;
        }
        self.files(f)?;
        self.notes(f)?;
        writeln!(f, "  {} shows all of it: each host, guard, undo and diff", self.in_full)
    }
}

impl Short<'_> {
    fn stage(
        &self,
        f: &mut fmt::Formatter<'_>,
        number: usize,
        stage: &Stage,
        steps: &[&Step],
        all: &[&HostName],
    ) -> fmt::Result {
        let direction = self.plan.direction;
        let (title, gate) = (stage.title(direction), stage.gate.words(direction));
        write!(f, "  {number}. {title} on {}{gate}", on(&hosts_of(steps), all))?;
        let said = |step: &&Step| match &step.undo {
            Undo::Impossible(why) if steps_say_what(stage.name) => format!("{}; IRREVERSIBLE: {why}", step.why),
            Undo::Impossible(why) => format!("IRREVERSIBLE: {why}"),
            _ if steps_say_what(stage.name) || says_nothing_new(step) => step.why.clone(),
            _ => String::new(),
        };
        let kinds = likes(steps.iter().map(|step| (&step.host, *step)), said);
        let mut told = kinds.iter().filter(|kind| !said(&kind.first).is_empty());
        if kinds.len() == 1 {
            return match told.next() {
                Some(kind) => writeln!(f, ": {}{}", said(&kind.first), by_name(kind)),
                None => writeln!(f),
            };
        }
        writeln!(f)?;
        for kind in told.by_ref().take(KINDS) {
            writeln!(f, "     {}: {}{}", few_of(&kind.hosts), said(&kind.first), by_name(kind))?;
        }
        self.more(f, "     ", told.map(|kind| kind.hosts.len()))
    }

    /// What changes in nginx's files, each kind with what its lines say.
    fn files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = self.plan.like_changes();
        for group in changes.iter().take(KINDS) {
            let (change, _) = &group.first;
            let (words, lines) = changed_lines(change);
            let hosts = match group.hosts.as_slice() {
                [host] => host.to_string(),
                hosts => format!("like on {} hosts ({})", hosts.len(), few_of(hosts)),
            };
            let paths: Vec<&str> = changed_paths(change);
            let lines = counted(lines, "line");
            writeln!(f, "  nginx: {hosts}: {}{}", first_of(&paths, 1), by_name(group))?;
            writeln!(f, "     {words} ({lines}{})", if group.hosts.len() > 1 { " on each" } else { "" })?;
        }
        self.more(f, "  nginx: ", changes.iter().skip(KINDS).map(|group| group.hosts.len()))?;
        let put = alike(self.plan.files_put());
        for (file, hosts) in put.iter().take(KINDS) {
            let count = |sign: char, header: &str| {
                file.diff.lines().filter(|line| line.starts_with(sign) && !line.starts_with(header)).count() as u64
            };
            let (comes, goes) = (counted(count('+', "+++"), "line"), count('-', "---"));
            writeln!(f, "  change: {}: {}: {comes} more, {goes} less", few_of(hosts), file.into)?;
        }
        self.more(f, "  change: ", put.iter().skip(KINDS).map(|(_, hosts)| hosts.len()))
    }

    /// All of them, since they are said nowhere else before the run begins; who is left out comes first, by name.
    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes = self.plan.told_notes();
        let is_left_out =
            |host: &&HostName| self.plan.left_out.iter().any(|left| left.host == **host && left.is_balancer);
        notes.sort_by_key(|note| !note.hosts.iter().any(is_left_out));
        for note in &notes {
            let whose = match note.hosts.as_slice() {
                [] => String::new(),
                hosts if hosts.iter().any(is_left_out) => format!("{}: ", listed(hosts)),
                hosts => format!("{}: ", few_of(hosts)),
            };
            writeln!(f, "  note: {whose}{}{}", note.first, by_name(note))?;
        }
        Ok(())
    }

    /// How many kinds were not told, and on how many hosts: nobody takes what was for all.
    fn more(&self, f: &mut fmt::Formatter<'_>, before: &str, hosts: impl Iterator<Item = usize>) -> fmt::Result {
        let hosts: Vec<usize> = hosts.collect();
        match (hosts.len(), hosts.iter().sum::<usize>()) {
            (0, _) => Ok(()),
            (kinds, hosts) => {
                let (kinds, on) = (plural(kinds, "other kind"), plural(hosts, "host"));
                writeln!(f, "{before}… and {kinds} on {on}: see {}", self.in_full)
            }
        }
    }
}

fn by_name<T>(group: &Likes<'_, T>) -> &'static str {
    if group.is_to_the_letter { "" } else { " (each by its own name)" }
}

fn hosts_of<'s>(steps: &[&'s Step]) -> Vec<&'s HostName> {
    steps.iter().map(|step| &step.host).collect()
}

/// Hosts by name while they are few, else by how many of all, and who of them is not there.
fn on(hosts: &[&HostName], all: &[&HostName]) -> String {
    let count = hosts.len();
    let among: BTreeSet<&&HostName> = hosts.iter().collect();
    let missing: Vec<&HostName> = all.iter().filter(|host| !among.contains(host)).copied().collect();
    match missing.len() {
        _ if count <= NAMED => listed(hosts),
        0 => format!("{count} hosts"),
        few if few <= NAMED => format!("{count} hosts, not {}", listed(&missing)),
        _ => format!("{count} hosts ({})", few_of(hosts)),
    }
}

/// Whether what a step does there is more than the title of its stage says. What a switch does is said of its file.
fn steps_say_what(stage: StageName) -> bool {
    match stage {
        StageName::Start
        | StageName::Stop
        | StageName::TakeBack
        | StageName::Ready(_)
        | StageName::Change(_)
        | StageName::Downgrade
        | StageName::Load
        | StageName::Swap => true,
        StageName::Lock
        | StageName::Arm
        | StageName::Shift(_)
        | StageName::Switch
        | StageName::Drain
        | StageName::Verify
        | StageName::Remember => false,
    }
}

/// A switch whose file says already what it should.
fn says_nothing_new(step: &Step) -> bool {
    matches!(&step.action, Action::Switch { change, .. } if !change.is_needed())
}

fn changed_paths(change: &FileChange) -> Vec<&str> {
    change.texts().filter(|(_, (before, after))| before != after).map(|(path, _)| path).collect()
}

/// What changes in the lines of a file, and in how many: `server 127.0.0.1:8080: down → weight=100`.
fn changed_lines(change: &FileChange) -> (String, u64) {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for (_, (before, after)) in change.texts() {
        for line in TextDiff::from_lines(before, after).iter_all_changes() {
            let text = octets::shown(line.value().trim());
            match line.tag() {
                ChangeTag::Delete => gone.push(text),
                ChangeTag::Insert => come.push(text),
                ChangeTag::Equal => {}
            }
        }
    }
    let count = gone.len().max(come.len()) as u64;
    // What several lines change in the same way is said once, of all of them.
    let mut ways: Vec<(String, Vec<String>)> = Vec::new();
    let mut tell = |what: String, way: String| match ways.iter_mut().find(|(other, _)| *other == way) {
        Some((_, whats)) => whats.push(what),
        None => ways.push((way, vec![what])),
    };
    for old in &gone {
        let (what, was) = named(old);
        match come.iter().position(|new| named(new).0 == what) {
            Some(at) => {
                let new = come.remove(at);
                tell(what.to_owned(), format!("{was} → {}", named(&new).1));
            }
            None => tell(old.clone(), "goes".to_owned()),
        }
    }
    come.into_iter().for_each(|new| tell(new, "comes".to_owned()));
    let said = ways.iter().map(|(way, whats)| shortened(&format!("{}: {way}", first_of(whats, 2))));
    let said: Vec<String> = said.take(WAYS).collect();
    let more = match ways.len() - said.len() {
        0 => String::new(),
        more => format!("; … and {more} more"),
    };
    (said.join("\n     ") + &more, count)
}

/// A directive and what it is about, and what it says of it: `server 127.0.0.1:8080`, `weight=100`.
fn named(line: &str) -> (&str, &str) {
    let line = line.trim_end_matches(';');
    let words = if line.starts_with("server ") { 2 } else { 1 };
    let end = line.match_indices(' ').nth(words - 1).map_or(line.len(), |(at, _)| at);
    match (&line[..end], line[end..].trim()) {
        (what, "") => (what, "no parameter"),
        named => named,
    }
}

fn shortened(what: &str) -> String {
    match what.char_indices().nth(LINE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &what[..end]),
        None => what.to_owned(),
    }
}
