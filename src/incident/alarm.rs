//! What a `watch` that pages leaves on this machine: a folder of its own beside the incidents, with a line for each thing
//! that happened: it is bad, somebody was paged, it is over. On disk, so that one that is begun again pages nobody twice, and
//! `resolve` reaches it. Decides nothing, and sends nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::journal::{self, Alone};
use crate::nouns::colour::Colour;

/// The file in its folder.
const FILE: &str = "alarm.jsonl";

/// What its folder's name begins with: none of an incident's, so nothing there is to be taken back.
const PREFIX: &str = "watch-";

/// One that nobody ended is of another day by then.
const FORGOTTEN: TimeDelta = TimeDelta::hours(48);

/// More lines than a ladder of contacts can make.
const LARGEST: u64 = 1 << 20;

/// What is bad, and whose watch saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bad {
    /// The word of the config that it is of.
    pub service: String,
    pub environment: String,
    pub judged: Colour,
    /// The judgement's own words, with their figures.
    pub words: String,
    /// What gets traffic, in words.
    pub production: String,
    pub operator: String,
    pub laptop: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Happened {
    Bad(Box<Bad>),
    /// A step of the ladder: `team lead after 15m`.
    Paged {
        contact: String,
    },
    Over {
        by: String,
        text: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    v: u32,
    time: DateTime<Utc>,
    #[serde(flatten)]
    happened: Happened,
}

/// One of them, as far as it is on disk.
#[derive(Debug, Clone)]
pub struct Alarm {
    pub folder: PathBuf,
    /// `watch-20261120-211503`
    pub id: String,
    /// When it was judged bad first.
    pub since: DateTime<Utc>,
    /// When something was written to it last.
    pub last: DateTime<Utc>,
    pub bad: Bad,
    /// Who was paged, in order.
    pub paged: Vec<String>,
    /// Who called it over, and with what words.
    pub over: Option<(String, String)>,
}

impl Alarm {
    /// A new one, on disk when this returns.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn raise(incidents: &Path, now: DateTime<Utc>, bad: Bad) -> anyhow::Result<Alarm> {
        let make = || -> io::Result<PathBuf> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(incidents)?;
            let name = format!("{PREFIX}{}", now.format("%Y%m%d-%H%M%S"));
            let mut path = incidents.join(&name);
            for number in 2..=99 {
                match fs::DirBuilder::new().mode(0o700).create(&path) {
                    Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                        path = incidents.join(format!("{name}-{number}"));
                    }
                    made => return made.map(|()| path),
                }
            }
            Err(io::ErrorKind::AlreadyExists.into())
        };
        let folder = make().with_context(|| format!("cannot make a folder in {}", incidents.display()))?;
        append(&folder, now, Happened::Bad(Box::new(bad)))?;
        Alarm::read(&folder).with_context(|| format!("{} cannot be read back", folder.display()))
    }

    /// As it is on disk now; `None` where it is none.
    pub fn read(folder: &Path) -> Option<Alarm> {
        let id = folder.file_name()?.to_str().filter(|name| name.starts_with(PREFIX))?.to_owned();
        let mut text = Vec::new();
        File::open(folder.join(FILE)).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        // A line that was cut by a crash says nothing.
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let first = lines.next()?;
        let Happened::Bad(bad) = first.happened else { return None };
        let mut alarm = Alarm {
            folder: folder.to_owned(),
            id,
            since: first.time,
            last: first.time,
            bad: *bad,
            paged: Vec::new(),
            over: None,
        };
        for line in lines {
            alarm.last = alarm.last.max(line.time);
            match line.happened {
                Happened::Paged { contact } => alarm.paged.push(contact),
                Happened::Over { by, text } => alarm.over = Some((by, text)),
                Happened::Bad(_) => {}
            }
        }
        Some(alarm)
    }

    /// Those of a service that nobody ended, the newest first.
    pub fn open_of(incidents: &Path, service: &str, environment: &str, now: DateTime<Utc>) -> Vec<Alarm> {
        let is_of_it = |alarm: &Alarm| {
            (alarm.bad.service.as_str(), alarm.bad.environment.as_str()) == (service, environment)
                && alarm.over.is_none()
                && now - alarm.since < FORGOTTEN
        };
        folders(incidents).iter().filter_map(|folder| Alarm::read(folder)).filter(is_of_it).collect()
    }

    /// Whether an incident of that name began after it.
    pub fn is_before(&self, incident: &str) -> bool {
        let moment = |name: &str| name.split_once('-').map(|(_, moment)| moment.to_owned());
        moment(incident) > moment(&self.id)
    }

    /// The one of that name.
    pub fn named(incidents: &Path, name: &str) -> Option<Alarm> {
        folders(incidents).iter().filter_map(|folder| Alarm::read(folder)).find(|alarm| alarm.id == name)
    }

    /// Whether a name is one of these, and not an incident's.
    pub fn is_name(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// The right to page: of two that watch on one machine one pages.
    pub fn turn(&self) -> Option<Alone> {
        journal::alone(&self.folder.join(FILE))
    }

    /// Counts somebody as paged, in memory: this process pages nobody twice, whatever can be written.
    pub fn counts(&mut self, contact: &str) {
        self.paged.push(contact.to_owned());
    }

    /// The same on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn was_paged(&self, now: DateTime<Utc>, contact: &str) -> anyhow::Result<()> {
        append(&self.folder, now, Happened::Paged { contact: contact.to_owned() })
    }

    /// # Errors
    /// When it cannot be written.
    pub fn is_over(&mut self, now: DateTime<Utc>, by: &str, text: &str) -> anyhow::Result<()> {
        self.over = Some((by.to_owned(), text.to_owned()));
        append(&self.folder, now, Happened::Over { by: by.to_owned(), text: text.to_owned() })
    }
}

/// Their folders, the newest first.
pub fn folders(incidents: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(incidents)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_name().to_str()?.starts_with(PREFIX).then(|| entry.path())
        })
        .collect();
    found.sort();
    found.reverse();
    found
}

fn append(folder: &Path, time: DateTime<Utc>, happened: Happened) -> anyhow::Result<()> {
    journal::append_line(&folder.join(FILE), &Line { v: 1, time, happened })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    fn bad(service: &str) -> Bad {
        Bad {
            service: service.to_owned(),
            environment: "prod".to_owned(),
            judged: Colour::Green,
            words: "green 8.0 % of 412: bad".to_owned(),
            production: "traffic on green on 1 of 1 host".to_owned(),
            operator: "alice".to_owned(),
            laptop: "laptop".to_owned(),
        }
    }

    #[test]
    fn what_is_on_disk_is_what_another_process_goes_on_with() {
        let incidents = tempfile::tempdir().expect("a folder");
        let now: DateTime<Utc> = "2026-11-20T21:15:03Z".parse().expect("a time");
        let mut alarm = Alarm::raise(incidents.path(), now, bad("listings")).expect("a folder");
        assert_eq!(alarm.id, "watch-20261120-211503");
        alarm.was_paged(now, "team lead after 15m").expect("a line");
        // Cut by a crash; what comes behind it counts.
        let mut file = OpenOptions::new().append(true).open(alarm.folder.join(FILE)).expect("it is there");
        file.write_all(b"{\"v\":1,\"time\":\"2026").expect("a cut line");
        alarm.was_paged(now, "head after 1h").expect("a line");
        alarm.counts("head after 1h");
        assert_eq!(alarm.paged, ["head after 1h"]);
        let open = |service: &str, now| Alarm::open_of(incidents.path(), service, "prod", now).into_iter().next();
        let found = open("listings", now).expect("it is open");
        assert!(found.is_before("rollback-20261120-211504") && !found.is_before("rollback-20261120-211502"));
        assert_eq!((found.paged.len(), found.since, found.bad), (2, now, bad("listings")));
        assert!(open("search", now).is_none() && open("listings", now + FORGOTTEN).is_none());
        // Another one of the same second has a name of its own, and of two processes one may page.
        assert_eq!(
            Alarm::raise(incidents.path(), now, bad("listings")).expect("a folder").id,
            "watch-20261120-211503-2"
        );
        let turn = alarm.turn().expect("nobody has it");
        assert!(alarm.turn().is_none());
        drop(turn);
        assert!(alarm.turn().is_some());
        alarm.is_over(now, "carol", "rolled back by hand").expect("a line");
        let over = Alarm::named(incidents.path(), "watch-20261120-211503").and_then(|alarm| alarm.over);
        assert_eq!(over, Some(("carol".to_owned(), "rolled back by hand".to_owned())));
    }
}
