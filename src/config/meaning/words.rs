//! One value at a time: a text of the file into what it means, or a problem at its place. Never knows which tables there
//! are, nor what must hold between two values.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use super::Meaning;
use crate::config::check::nearest;
use crate::config::findings::readable;
use crate::config::value::host_of_url;
use crate::nouns::names::{BadWord, HttpUrl};

/// No wait of a rollback is meant to be longer; a slip like "30d" is found, and clocks cannot overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// PostgreSQL cuts a longer name silently, to that of another database perhaps.
const LONGEST_DATABASE_NAME: usize = 63;

impl Meaning<'_, '_, '_> {
    pub(super) fn word<T>(&mut self, path: &str, word: &str, new: impl Fn(String) -> Result<T, BadWord>) -> Option<T> {
        match new(word.to_owned()) {
            Ok(word) => Some(word),
            Err(bad) => {
                self.wrong(path, bad);
                None
            }
        }
    }

    /// All of them, or `None` when one is wrong.
    pub(super) fn each<T>(
        &mut self,
        path: &str,
        texts: &[String],
        mut read: impl FnMut(&mut Self, &str, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let read: Vec<Option<T>> =
            texts.iter().enumerate().map(|(index, text)| read(self, &format!("{path}.{index}"), text)).collect();
        read.into_iter().collect()
    }

    pub(super) fn duration(&mut self, path: &str, text: &str, longest: Duration) -> Option<Duration> {
        match humantime::parse_duration(text) {
            Err(error) => {
                self.wrong(path, format!("{text:?} is not a duration")).hint = Some(match error {
                    humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
                        "it needs a unit, for example \"20s\"".into()
                    }
                    humantime::DurationError::UnknownUnit { unit, .. } => {
                        format!("{unit:?} is no unit; for example \"20s\"")
                    }
                    _ => "for example \"20s\"".into(),
                });
                None
            }
            Ok(duration) if duration > longest => {
                self.wrong(path, format!("{text:?} is longer than {}", humantime::format_duration(longest)));
                None
            }
            Ok(duration) => Some(duration),
        }
    }

    pub(super) fn wait(&mut self, path: &str, text: &str) -> Option<Duration> {
        let duration = self.duration(path, text, LONGEST_WAIT)?;
        if duration.is_zero() {
            self.wrong(path, format!("{text:?} is no time at all; it must be more than zero"));
            return None;
        }
        Some(duration)
    }

    /// Any text but an empty one.
    pub(super) fn text(&mut self, path: &str, text: &str) -> Option<String> {
        if text.trim().is_empty() {
            self.wrong(path, "is empty");
            return None;
        }
        // A NUL ends an argument early: the line that runs would not be the line that stands here.
        if text.contains('\0') {
            self.wrong(path, "has a NUL in it");
            return None;
        }
        Some(text.to_owned())
    }

    /// A line for `sh -c`.
    pub(super) fn shell_line(&mut self, path: &str, text: &Option<String>) -> Result<Option<String>, ()> {
        optional(text, |text| self.text(path, text))
    }

    /// A path on this machine: `~/` is the home, everything else is relative to the config's folder.
    pub(super) fn local_path(&mut self, path: &str, text: &str) -> Option<PathBuf> {
        self.text(path, text)?;
        match (text.strip_prefix("~/"), &self.reading.home) {
            (Some(rest), Some(home)) => Some(home.join(rest)),
            (Some(_), None) => {
                self.wrong(path, "the home folder that ~ stands for is not known").hint = Some("set HOME".into());
                None
            }
            (None, _) => Some(self.folder.join(text)),
        }
    }

    pub(super) fn url(&mut self, path: &str, text: &str) -> Option<HttpUrl> {
        let url = self.word(path, text, HttpUrl::new)?;
        if let Err(why) = host_of_url(text) {
            self.wrong(path, format!("{text:?} {why}"));
            return None;
        }
        Some(url)
    }

    /// Words that are run without a shell.
    pub(super) fn command(&mut self, path: &str, text: &str) -> Option<Vec<String>> {
        let words = match shell_words::split(text) {
            Err(_) => {
                self.wrong(path, format!("{text:?} has a quote that is not closed"));
                return None;
            }
            Ok(words) => words,
        };
        if words.first().is_none_or(String::is_empty) {
            self.wrong(path, "is empty");
            return None;
        }
        let is_operator = |word: &&String| ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"].contains(&word.as_str());
        if let Some(operator) = words.iter().find(is_operator) {
            self.wrong(path, format!("{operator:?} needs a shell, and the words are run without one"));
            return None;
        }
        Some(words)
    }

    /// A word of a command, as it stands.
    pub(super) fn command_word(&mut self, path: &str, word: &str) -> Option<String> {
        if word.chars().any(char::is_control) {
            self.wrong(path, format!("{word:?} has a control character in it"));
            return None;
        }
        Some(word.to_owned())
    }

    /// One of the words that are known there.
    pub(super) fn one_of<T: Copy>(&mut self, path: &str, kind: &str, word: &str, known: &[(&str, T)]) -> Option<T> {
        let found = known.iter().find(|(name, _)| *name == word).map(|(_, means)| *means);
        if found.is_none() {
            let names = || known.iter().map(|(name, _)| *name);
            let hint = match nearest(word, names()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known: {}", names().collect::<Vec<_>>().join(", ")),
            };
            self.wrong(path, format!("unknown {kind} {word:?}")).hint = Some(hint);
        }
        found
    }

    /// A key that is needed by what others say. One that stands there all the same is wrong, and reported as that.
    pub(super) fn missing(&mut self, path: &str, example: &str) {
        self.missing_with_hint(path, format!("for example {example:?}"));
    }

    pub(super) fn missing_with_hint(&mut self, path: &str, hint: String) {
        if self.is_written(path) {
            return;
        }
        let table = path.rsplit_once('.').map_or("", |(table, _)| table);
        let place = self.tree.nearest(table).place;
        self.findings.problem(place, format!("missing key {path}")).hint = Some(hint);
    }

    /// A word that stands in nginx's configuration without quotes.
    pub(super) fn nginx_word(&mut self, path: &str, word: &str) -> Option<String> {
        self.text(path, word)?;
        if word.chars().any(|c| c.is_whitespace() || c.is_control() || "{};\"'\\$#".contains(c)) {
            self.wrong(path, format!("{word:?} has a character in it that no such name has"));
            return None;
        }
        Some(word.to_owned())
    }

    pub(super) fn role_or_database(&mut self, path: &str, name: &str) -> Option<String> {
        let name = self.text(path, name)?;
        if name.len() > LONGEST_DATABASE_NAME {
            self.wrong(
                path,
                format!("{name:?} is longer than {LONGEST_DATABASE_NAME} bytes, where PostgreSQL cuts it"),
            );
            return None;
        }
        if name.chars().any(char::is_control) {
            self.wrong(path, format!("{name:?} has a control character in it"));
            return None;
        }
        Some(name)
    }

    pub(super) fn time(&mut self, path: &str, text: &str) -> Option<chrono::DateTime<chrono::FixedOffset>> {
        chrono::DateTime::parse_from_rfc3339(text)
            .map_err(|_| {
                let hint = "RFC 3339, for example \"2026-11-20T20:58:00Z\"";
                self.wrong(path, format!("{text:?} is not a time")).hint = Some(hint.into());
            })
            .ok()
    }

    pub(super) fn regex(&mut self, path: &str, text: &str) -> Option<Regex> {
        match Regex::new(text) {
            Ok(regex) if regex.is_match("") => {
                self.wrong(path, format!("{text:?} matches the empty text, so it would blot out nothing, everywhere"));
                None
            }
            Ok(regex) => Some(regex),
            Err(error) => {
                // Its message draws the pattern over several lines; the reason stands on the last one.
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.wrong(path, format!("{text:?} is not a regular expression")).hint = Some(readable(&reason));
                None
            }
        }
    }
}

/// `Ok(None)` when the key is left out, `Err` when its value is wrong and reported.
pub(super) fn optional<T>(text: &Option<String>, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, ()> {
    text.as_deref().map(|text| read(text).ok_or(())).transpose()
}
