//! The incident folder on this machine: made before the first change, private, never overwritten, every file under
//! a name of ours. Knows nothing of what the files say.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::journal;
use crate::nouns::names::{IncidentId, ServiceName};
use crate::nouns::record::{Drill, Rehearsal};

/// A line for each drill, beside the incident folders.
pub const DRILLS: &str = "drills.jsonl";
/// The file that lists the others' hashes.
pub const SUMS: &str = "SHA256SUMS";
/// Not among them: it is written last, and may be written again.
pub const REPORT: &str = "INCIDENT_REPORT.md";
/// The same with pictures.
pub const PAGE: &str = "INCIDENT_REPORT.html";
/// What is asked of people afterwards.
pub const POSTMORTEM: &str = "POSTMORTEM.md";

/// One incident's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// Within it, where a run has several services.
    service: Option<ServiceName>,
}

impl Folder {
    /// Makes the folder of an incident, with its parents: one that was not there before. Where another run of the
    /// same second has taken the name, it ends in `-2`, and so on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(incidents: &Path, id: &IncidentId) -> io::Result<Folder> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(incidents)?;
        let mut path = incidents.join(id.as_str());
        for number in 2..=99 {
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                    path = incidents.join(format!("{id}-{number}"));
                }
                made => return made.map(|()| Folder { path, service: None }),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// An existing folder.
    pub fn open(path: PathBuf) -> Folder {
        Folder { path, service: None }
    }

    /// The incident's path, whosever files it is for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in it for the files of one of several services.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn for_service(&self, name: &ServiceName) -> io::Result<Folder> {
        let folder = Folder { path: self.path.clone(), service: Some(name.clone()) };
        fs::DirBuilder::new().mode(0o700).create(folder.files())?;
        Ok(folder)
    }

    /// What stands before the names of its files in the incident.
    pub fn label(&self, name: &str) -> String {
        match &self.service {
            Some(service) => format!("{service}/{name}"),
            None => name.to_owned(),
        }
    }

    fn files(&self) -> PathBuf {
        match &self.service {
            Some(service) => self.path.join(service.as_str()),
            None => self.path.clone(),
        }
    }

    /// A new file of that name; `name` is one of ours, never a host's.
    ///
    /// # Errors
    /// When it exists already, or cannot be made.
    pub fn new_file(&self, name: &str) -> io::Result<File> {
        // At its end, whoever else adds a line to it.
        OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.files().join(name))
    }

    /// Writes a whole file, or leaves what was there: under another name first, then renamed.
    ///
    /// # Errors
    /// With the file's name.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let whole = || -> io::Result<()> {
            // Two runs may write the page over all of them at the same time.
            let unfinished = self.files().join(format!(".{name}.{}.unfinished", std::process::id()));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            fs::rename(&unfinished, self.files().join(name))
        };
        whole().with_context(|| format!("cannot write {}", self.files().join(name).display()))
    }

    /// Removes a file of ours that turned out to hold nothing.
    pub fn remove(&self, name: &str) {
        // It stays when it cannot be removed; an empty file harms nobody.
        let _ = fs::remove_file(self.files().join(name));
    }

    /// Writes `SHA256SUMS` over every file but itself and the report, in the format of sha256sum(1).
    ///
    /// # Errors
    /// With the file that could not be read or written.
    pub fn write_sums(&self) -> anyhow::Result<()> {
        let mut names = files_in(&self.path, "")?;
        names.retain(|name| name != SUMS && name != REPORT);
        names.sort();
        let mut sums = String::new();
        for name in names {
            let path = self.path.join(&name);
            let hash = hash_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
            sums.push_str(&format!("{hash}  {name}\n"));
        }
        self.write(SUMS, sums.as_bytes())
    }

    /// Whether a file is still what was sealed; a person may have gone on with it.
    pub fn is_as_sealed(&self, name: &str) -> bool {
        let sums = fs::read_to_string(self.path.join(SUMS)).unwrap_or_default();
        let sealed = sums.lines().filter_map(|line| line.split_once("  ")).find(|(_, of)| *of == name);
        match (sealed, hash_file(&self.path.join(name))) {
            (Some((sealed, _)), Ok(hash)) => sealed == hash,
            // Nobody goes on with what is not there.
            (None, Err(_)) => true,
            (None, Ok(_)) | (Some(_), Err(_)) => false,
        }
    }

    /// Corrects the line of one file that grew after the others were sealed: an outbox whose message was sent later.
    ///
    /// # Errors
    /// As [`Folder::write_sums`].
    pub fn refresh_sum(&self, name: &str) -> anyhow::Result<()> {
        let Ok(sums) = fs::read_to_string(self.path.join(SUMS)) else { return Ok(()) };
        let path = self.path.join(name);
        let hash = hash_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let fresh = sums.lines().map(|line| match line.split_once("  ") {
            Some((_, of)) if of == name => format!("{hash}  {name}\n"),
            Some(_) | None => format!("{line}\n"),
        });
        let fresh: String = fresh.collect();
        if fresh == sums { Ok(()) } else { self.write(SUMS, fresh.as_bytes()) }
    }
}

/// The files of a folder and of those in it, each with what stands before its name; ours have no deeper ones.
fn files_in(folder: &Path, before: &str) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        match entry.file_type() {
            _ if name.starts_with('.') => {}
            Ok(kind) if kind.is_dir() => names.extend(files_in(&entry.path(), &format!("{before}{name}/"))?),
            _ => names.push(format!("{before}{name}")),
        }
    }
    Ok(names)
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0_u8; 64 << 10];
    loop {
        let n = file.read(&mut chunk)?;
        if n == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&chunk[..n]);
    }
}

/// Writes a file beside the incident folders, whole or not at all.
///
/// # Errors
/// With the file's name.
pub fn write_beside(incidents: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    Folder::open(incidents.to_owned()).write(name, bytes)
}

/// Earlier drills of a database, oldest first.
pub fn drills(incidents: &Path, database: &str) -> Vec<Drill> {
    all_drills(incidents).into_iter().filter(|drill| drill.database == database).collect()
}

/// Earlier drills of all databases, oldest first.
pub fn all_drills(incidents: &Path) -> Vec<Drill> {
    on_record(incidents)
}

/// Earlier drills of rollbacks, oldest first.
pub fn rehearsals(incidents: &Path) -> Vec<Rehearsal> {
    on_record(incidents)
}

/// The lines of one kind. One of another kind, or that cannot be read, is none.
fn on_record<T: DeserializeOwned>(incidents: &Path) -> Vec<T> {
    let text = fs::read_to_string(incidents.join(DRILLS)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Adds a line to the record of drills, beside the incident folders.
///
/// # Errors
/// With the file that could not be written.
pub fn append_drill(incidents: &Path, drill: &impl Serialize) -> anyhow::Result<()> {
    let path = incidents.join(DRILLS);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(incidents);
    made.with_context(|| format!("cannot write {}", path.display()))?;
    journal::append_line(&path, drill)
}

/// Incident folders, the newest first.
pub fn newest_first(incidents: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<(String, PathBuf)> = fs::read_dir(incidents)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            IncidentId::new(name.clone()).ok()?;
            Some((name, entry.path()))
        })
        .collect();
    let moment = |name: &String| name.split_once('-').map(|(_, moment)| moment.to_owned());
    folders.sort_by_cached_key(|(name, _)| moment(name));
    folders.into_iter().rev().map(|(_, path)| path).collect()
}
