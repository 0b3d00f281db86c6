//! What blue could be put back to on a host, read from the answer of `earlier.sh`. Pure.

use serde::Serialize;

use super::NotKnown;
use crate::hosts::answer::{Answer, Failure};
use crate::nouns::change::NamedChange;
use crate::nouns::earlier::{self, Earlier, Kept, KeptRelease, KeptThere, THE_ONE_BEFORE};
use crate::nouns::names::HostName;
use crate::nouns::redact::printable;

/// The releases that a host keeps.
#[derive(Debug, Clone, Serialize)]
pub struct EarlierSeen {
    pub host: HostName,
    /// What blue is put to: a name among them, or the path of one.
    pub now: Option<String>,
    /// What it was put to before a rollback put it to that, and nobody took that back.
    pub before: Option<String>,
    /// The latest first.
    pub releases: Vec<KeptRelease>,
    /// Why nothing of it is known.
    pub unknown: Option<NotKnown>,
}

impl EarlierSeen {
    /// Reads an answer.
    pub fn read(host: &HostName, kept: &Kept, answer: Result<Answer, Failure>) -> EarlierSeen {
        let mut seen = EarlierSeen { host: host.clone(), now: None, before: None, releases: Vec::new(), unknown: None };
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                seen.unknown = Some(failure.into());
                return seen;
            }
        };
        if let Some(trouble) = answer.text("trouble") {
            seen.unknown = Some(NotKnown { why: printable(trouble.trim()), hint: None });
        }
        seen.now = answer.text("now").map(|now| now.trim().to_owned()).filter(|now| !now.is_empty());
        seen.before = answer.text("before").map(|before| before.trim().to_owned()).filter(|before| !before.is_empty());
        let mut told: Vec<(KeptRelease, Option<i64>)> = answer.all("release").map(|said| told(&said)).collect();
        match kept {
            Kept::Files(_) => {}
            // Names that are times say more than when somebody last wrote into a folder.
            Kept::Folders { .. } if told.iter().all(|(release, _)| is_a_number(&release.name)) => {
                told.sort_by_key(|(release, _)| std::cmp::Reverse((release.name.len(), release.name.clone())));
            }
            Kept::Folders { .. } => told.sort_by_key(|(_, made)| std::cmp::Reverse(*made)),
            Kept::Images { .. } => told.extend(images(&answer.text("images").unwrap_or_default())),
            Kept::Packages(package) => {
                told = versions(package, seen.now.as_deref(), &answer.text("versions").unwrap_or_default());
                if seen.now.is_none() {
                    let why = format!("the package {package} is not installed there");
                    seen.unknown.get_or_insert(NotKnown { why, hint: None });
                }
            }
        }
        for (what, name) in [("images", "docker"), ("versions", "apt-cache")] {
            if answer.status_of(what).is_some_and(|status| status != 0) {
                let why = format!("{name} says: {}", answer.worst_line(what));
                seen.unknown.get_or_insert(NotKnown { why, hint: None });
            }
        }
        seen.releases = told.into_iter().map(|(release, _)| release).collect();
        seen
    }

    /// The release that is meant, and the change that puts blue to it there.
    ///
    /// # Errors
    /// Why none is.
    pub fn change_to(&self, earlier: &Earlier, wanted: &str) -> Result<(KeptRelease, NamedChange), String> {
        if wanted == THE_ONE_BEFORE && matches!(earlier.kept, Kept::Packages(_)) {
            // What was installed before it was installed, nobody wrote down.
            let names: Vec<&str> = self.releases.iter().map(|release| release.name.as_str()).collect();
            return Err(format!("say which version; there is {}", names.join(", ")));
        }
        let there = KeptThere { releases: &self.releases, now: self.now.as_deref(), before: self.before.as_deref() };
        let release = earlier::meant(there, wanted)?;
        let now = self.releases.iter().find(|release| Some(release.name.as_str()) == self.name_now());
        let is_way_back = now.is_some_and(|now| now.can_be_had);
        let is_kept = self.releases.get(1).is_some_and(|kept| kept.name == release.name);
        let change = earlier.change_to(&release.name, self.now.as_deref(), is_kept, is_way_back);
        Ok((release.clone(), change))
    }

    /// The name of what blue is put to.
    pub fn name_now(&self) -> Option<&str> {
        self.now.as_deref().map(|now| now.rsplit('/').next().unwrap_or(now))
    }
}

fn is_a_number(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit())
}

/// A line each: its name, the seconds of its making, another name, words about it, whether it can be had again.
fn told(said: &str) -> (KeptRelease, Option<i64>) {
    let mut lines = said.lines().map(str::trim);
    let mut next = || lines.next().unwrap_or_default();
    let (name, seconds, also, about, can_be_had) = (next(), next(), next(), next(), next());
    let made = seconds.parse().ok();
    let when = made.and_then(|made| chrono::DateTime::from_timestamp(made, 0));
    let when = when.map(|when| when.format("of %Y-%m-%d %H:%M UTC").to_string());
    let about = when.unwrap_or_else(|| printable(about));
    let release = KeptRelease {
        name: name.to_owned(),
        also: (!also.is_empty()).then(|| printable(also)),
        about,
        can_be_had: can_be_had != "no",
    };
    (release, made)
}

/// Lines of docker: a tag, the image's number, and when it was made.
fn images(said: &str) -> Vec<(KeptRelease, Option<i64>)> {
    let read = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (tag, id) = (words.next()?, words.next()?);
        let made = words.next().unwrap_or_default().trim();
        let day = made.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        (tag != "<none>" && !tag.is_empty()).then(|| {
            let about = format!("image {id} of {}", printable(&day));
            (KeptRelease { name: tag.to_owned(), also: None, about, can_be_had: true }, None)
        })
    };
    said.lines().filter_map(read).collect()
}

/// Lines of `apt-cache madison`: `package | version | where`; one is said for each place that has it.
fn versions(package: &str, now: Option<&str>, said: &str) -> Vec<(KeptRelease, Option<i64>)> {
    let mut found: Vec<(KeptRelease, Option<i64>)> = Vec::new();
    for line in said.lines() {
        let mut words = line.split('|').map(str::trim);
        let (Some(of), Some(version), Some(place)) = (words.next(), words.next(), words.next()) else { continue };
        // The status file is where installed ones stand, and nothing can be had from there.
        if of != package || place.starts_with("/var/lib/dpkg/") || found.iter().any(|(known, _)| known.name == version)
        {
            continue;
        }
        let about = printable(place);
        found.push((KeptRelease { name: version.to_owned(), also: None, about, can_be_had: true }, None));
    }
    if let Some(now) = now.filter(|now| !found.iter().any(|(known, _)| known.name == *now)) {
        let about = "no repository has it any more".to_owned();
        found.insert(0, (KeptRelease { name: now.to_owned(), also: None, about, can_be_had: false }, None));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_apt_and_docker_are_releases() {
        let madison = "   listings |      1.4.0 | http://repo ./ Packages\n   listings |  1.3.2-1 | http://repo ./ Packages\n  \
                       listings-doc | 9 | http://repo ./ Packages\n";
        let names = |told: Vec<(KeptRelease, Option<i64>)>| -> Vec<String> {
            told.into_iter()
                .map(|(release, _)| format!("{}{}", release.name, if release.can_be_had { "" } else { "!" }))
                .collect()
        };
        assert_eq!(names(versions("listings", Some("1.4.0"), madison)), ["1.4.0", "1.3.2-1"]);
        assert_eq!(names(versions("listings", Some("1.5.0"), madison)), ["1.5.0!", "1.4.0", "1.3.2-1"]);
        let docker = "1.4.0 3f9a1c2b4d5e 2026-11-29 10:00:00 +0000 UTC\n<none> 0000 2026-11-20 10:00:00 +0000 UTC\n1.3.2 aa 2026-11-20 9:00:00 +0000 UTC";
        assert_eq!(names(images(docker)), ["1.4.0", "1.3.2"]);
        assert_eq!(images(docker)[0].0.about, "image 3f9a1c2b4d5e of 2026-11-29 10:00:00");
    }
}
