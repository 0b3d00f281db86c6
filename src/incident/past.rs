//! An incident folder read back: what a run changed, so that it can be taken back days later and from another laptop.
//! Reads files of one folder; changes none, and asks no host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::incident::folder;
use crate::incident::journal;
use crate::nouns::change::ChangeWork;
use crate::nouns::names::{HostName, IncidentId};
use crate::nouns::plan::FileChange;
use crate::nouns::production::Production;
use crate::nouns::record::{self, Balancer, Begun, DatabaseState, Entry, StepWord, What};
use crate::nouns::request::{MadeChange, Undoing};
use crate::nouns::side::Side;

/// What the named incident changed, or the last one that changed anything and was not taken back: for each of its
/// services, in the order in which they went, what of it is left to take back.
///
/// # Errors
/// What is wrong with the folder or its name, and what to type.
pub fn find(incidents: &Path, named: Option<&str>) -> Result<Vec<Undoing>, String> {
    let folders = folder::newest_first(incidents);
    let taken_back = taken_back(&folders);
    match named {
        Some(name) => left_of(&named_one(incidents, name)?, &taken_back),
        None => {
            for folder in &folders {
                let Some(name) = name_of(folder) else { continue };
                match left_of(folder, &taken_back) {
                    Ok(undoing) => return Ok(undoing),
                    // One that changed nothing is not the last one that changed something.
                    Err(_) if taken_back.keys().any(|(incident, _)| *incident == name) || is_nothing(folder) => {}
                    Err(why) => return Err(why),
                }
            }
            Err(format!("no incident in {} has anything to take back", incidents.display()))
        }
    }
}

/// The folder of an incident, or of the newest one that has a journal.
///
/// # Errors
/// That there is none, and which there are.
pub fn folder_of(incidents: &Path, named: Option<&str>) -> Result<PathBuf, String> {
    match named {
        Some(name) => named_one(incidents, name),
        None => {
            let newest = folder::newest_first(incidents).into_iter().find(|folder| folder.join(journal::FILE).exists());
            newest.ok_or_else(|| format!("there is no incident in {}", incidents.display()))
        }
    }
}

fn named_one(incidents: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = if name.contains('/') { PathBuf::from(name) } else { incidents.join(name) };
    if folder.is_dir() {
        return Ok(folder);
    }
    let newest = folder::newest_first(incidents);
    let known: Vec<String> = newest.iter().take(5).filter_map(|path| name_of(path)).collect();
    let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
    Err(format!("there is no incident {name} in {}; the last: {known}", incidents.display()))
}

/// The entries of each service of an incident, in the order in which they began.
///
/// # Errors
/// When its journal cannot be read back.
pub fn journals(folder: &Path) -> anyhow::Result<Vec<Vec<Entry>>> {
    Ok(parts(journal::read(&folder.join(journal::FILE))?))
}

/// What an incident changed, without what was taken back since.
fn left_of(folder: &Path, taken_back: &TakenBack) -> Result<Vec<Undoing>, String> {
    let all = read(folder)?;
    let by = |undoing: &Undoing| taken_back.get(&(undoing.incident.to_string(), undoing.service.clone()));
    let left: Vec<Undoing> = all.iter().filter(|undoing| by(undoing).is_none()).cloned().collect();
    match all.first().and_then(by) {
        Some(by) if left.is_empty() => Err(format!("{} was taken back already, by {by}", all[0].incident)),
        _ => Ok(left),
    }
}

/// The incident's name.
pub fn name_of(folder: &Path) -> Option<String> {
    Some(folder.file_name()?.to_str()?.to_owned())
}

/// Of incidents and their services the run that took them back.
type TakenBack = BTreeMap<(String, String), String>;

fn taken_back(folders: &[PathBuf]) -> TakenBack {
    let done = folders.iter().flat_map(|folder| {
        let entries = journal::read(&folder.join(journal::FILE)).unwrap_or_default();
        let parts = parts(entries).into_iter().filter_map(|part| {
            let begun = begun(&part)?;
            let is_done = part.iter().any(|entry| matches!(entry.what, What::Ended { exit: 0, .. }));
            is_done.then_some(((begun.undoes.clone()?, begun.service.clone()), name_of(folder)?))
        });
        parts.collect::<Vec<_>>()
    });
    done.collect()
}

/// The entries of each service of a run, in the order in which they began.
fn parts(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut parts: Vec<Vec<Entry>> = Vec::new();
    for entry in entries {
        match parts.iter_mut().find(|part| part.first().is_some_and(|first| first.service == entry.service)) {
            Some(part) => part.push(entry),
            None => parts.push(vec![entry]),
        }
    }
    parts
}

fn begun(entries: &[Entry]) -> Option<&Begun> {
    entries.iter().find_map(|entry| match &entry.what {
        What::Begun(begun) => Some(begun.as_ref()),
        _ => None,
    })
}

/// Whether a folder's run is an undo, or changed nothing that could be taken back.
fn is_nothing(folder: &Path) -> bool {
    if !folder.join(journal::FILE).exists() {
        return true;
    }
    let Ok(entries) = journal::read(&folder.join(journal::FILE)) else { return false };
    parts(entries).iter().all(|part| is_nothing_of(folder, part))
}

fn is_nothing_of(folder: &Path, entries: &[Entry]) -> bool {
    if entries.iter().collect::<Production>().changes_made().next().is_some() {
        return begun(entries).is_some_and(|begun| begun.undoes.is_some());
    }
    begun(entries).is_none_or(|begun| begun.undoes.is_some())
        || (moved(entries).is_empty() && !is_of_a_database(entries))
        || changes(folder, entries).is_ok_and(|changed| changed.files.is_empty() && !is_of_a_database(entries))
}

fn read(folder: &Path) -> Result<Vec<Undoing>, String> {
    let name = name_of(folder).unwrap_or_default();
    let entries = journal::read(&folder.join(journal::FILE))
        .map_err(|err| format!("{name} cannot be read back: {err:#}; by hand: rollback-prod manual"))?;
    if entries.is_empty() {
        return Err(format!("{name} has no beginning in its journal"));
    }
    let read: Vec<Option<Undoing>> =
        parts(entries).iter().map(|part| undoing(folder, &name, part)).collect::<Result<_, String>>()?;
    let read: Vec<Undoing> = read.into_iter().flatten().collect();
    if read.is_empty() { Err(format!("{name} changed nothing that could be taken back")) } else { Ok(read) }
}

/// What the run changed of one service; `None` where that is nothing.
fn undoing(folder: &Path, name: &str, entries: &[Entry]) -> Result<Option<Undoing>, String> {
    let begun = begun(entries).ok_or_else(|| format!("{name} has no beginning in its journal"))?;
    if let Some(undoes) = &begun.undoes {
        return Err(format!(
            "{name} is itself the undo of {undoes}; to roll back once more: rollback-prod --reason '…'"
        ));
    }
    let incident = IncidentId::new(begun.id.clone()).map_err(|err| format!("{name}: {err}"))?;
    let Changed { files, between } = changes(folder, entries)?;
    let database = database_of(entries);
    let swap = database.as_ref().and_then(|database| database.swap.clone());
    let merge = database.and_then(|database| database.merge);
    let changes = made(folder, entries)?;
    let (service, to) = (begun.service.clone(), begun.direction.colour(Side::From));
    let undoing = Undoing { incident, service, to, files, between, swap, merge, changes };
    let is_nothing = undoing.files.is_empty() && !undoing.is_of_a_database() && undoing.changes.is_empty();
    Ok((!is_nothing).then_some(undoing))
}

/// Balancers that the run moved, or may have moved.
fn moved(entries: &[Entry]) -> BTreeSet<HostName> {
    let production: Production = entries.iter().collect();
    let touched = entries.iter().filter_map(|entry| match &entry.what {
        What::Intent { step: StepWord::Switch, host, .. } => Some(host),
        _ => None,
    });
    touched
        .filter(|host| matches!(production.balancer(host), Some(Balancer::Shifted | Balancer::Unknown)))
        .cloned()
        .collect()
}

fn is_of_a_database(entries: &[Entry]) -> bool {
    database_of(entries).is_some_and(|database| database.swap.is_some() || database.merge.is_some())
}

/// The database that the run changed, or may have changed.
fn database_of(entries: &[Entry]) -> Option<record::DatabaseNow> {
    let production: Production = entries.iter().collect();
    let database = production.database()?;
    match database.state {
        DatabaseState::Restored | DatabaseState::Unknown => Some(database.clone()),
        DatabaseState::AsItWas | DatabaseState::TakenBack => None,
    }
}

/// What a run changed, by host, and what the files may say besides.
#[derive(Default)]
struct Changed {
    files: BTreeMap<HostName, FileChange>,
    between: BTreeMap<HostName, Vec<String>>,
}

/// The files that were changed on those hosts, from the plan that the run followed.
fn changes(folder: &Path, entries: &[Entry]) -> Result<Changed, String> {
    let hosts = moved(entries);
    let production: Production = entries.iter().collect();
    if hosts.is_empty() {
        return Ok(Changed::default());
    }
    let Changed { mut files, mut between } = Changed::default();
    for (_, step) in &steps_of_the_plan(folder, entries)? {
        let change = &step["action"]["switch"]["change"];
        let (Some(host), Some(path), Some(before), Some(after)) =
            (step["host"].as_str(), change["path"].as_str(), change["before"].as_str(), change["after"].as_str())
        else {
            continue;
        };
        let Ok(host) = HostName::new(host) else { continue };
        // Of several shares those count that it came to; together they are one change.
        let share = step["action"]["switch"]["share"].as_u64();
        let is_ahead =
            production.share(&host).is_some_and(|now| share.is_some_and(|share| share > now.as_percent().into()));
        if !hosts.contains(&host) || before == after || is_ahead {
            continue;
        }
        let change = FileChange {
            path: path.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            also: Vec::new(),
            mounted: None,
        };
        between.entry(host.clone()).or_default().push(after.to_owned());
        files.entry(host).and_modify(|all: &mut FileChange| all.after = after.to_owned()).or_insert(change);
    }
    Ok(Changed { files, between })
}

/// The steps of the plan that a run followed, each with the name of its stage.
fn steps_of_the_plan(folder: &Path, entries: &[Entry]) -> Result<Vec<(serde_json::Value, serde_json::Value)>, String> {
    let path = match entries.first().and_then(|entry| entry.service.as_ref()) {
        Some(service) => folder.join(service.as_str()).join("plan.json"),
        None => folder.join("plan.json"),
    };
    let damaged = |why: String| format!("{}: {why}; by hand: rollback-prod manual", path.display());
    let text = std::fs::read_to_string(&path).map_err(|err| damaged(err.to_string()))?;
    let plan: serde_json::Value = serde_json::from_str(&text).map_err(|err| damaged(err.to_string()))?;
    // The first edition called them phases.
    let stages = plan["stages"].as_array().or(plan["phases"].as_array());
    let stages = stages.ok_or_else(|| damaged("it has no stages".to_owned()))?;
    let steps = stages.iter().flat_map(|stage| {
        let steps = stage["steps"].as_array().into_iter().flatten();
        steps.map(|step| (stage["name"].clone(), step.clone()))
    });
    Ok(steps.collect())
}

/// The changes that the run made, or may have made, in the order of its plan.
fn made(folder: &Path, entries: &[Entry]) -> Result<Vec<MadeChange>, String> {
    let production: Production = entries.iter().collect();
    if production.changes_made().next().is_none() {
        return Ok(Vec::new());
    }
    let mut made = Vec::new();
    for (stage, step) in &steps_of_the_plan(folder, entries)? {
        let work = &step["action"]["change"]["work"];
        let (Some(host), false) = (step["host"].as_str(), work.is_null()) else { continue };
        let damaged = |why: String| format!("{}: a change in its plan: {why}", folder.display());
        let work = ChangeWork::deserialize(work).map_err(|err| damaged(err.to_string()))?;
        let host = HostName::new(host).map_err(|err| damaged(err.to_string()))?;
        if production.changes_made().any(|of| of == (&work.name, &host)) {
            made.push(MadeChange { host, work, was_before: !stage["ready"].is_null() });
        }
    }
    Ok(made)
}
