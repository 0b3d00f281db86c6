//! How the changes of the config stand on the hosts, read from the answer of `standing.sh`. Pure.

use serde::Serialize;

use super::NotKnown;
use crate::hosts::answer::{Answer, Failure};
use crate::nouns::change::{FilePut, NamedChange, Put, PutBack, here};
use crate::nouns::digest::sha256;
use crate::nouns::names::{ChangeName, HostName};
use crate::nouns::octets;
use crate::nouns::plan::text_diff;
use crate::nouns::redact::{REDACTED, Redactor};

/// A change on a host, or here.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeSeen {
    pub host: HostName,
    pub name: ChangeName,
    /// In the order of the config.
    pub files: Vec<FileSeen>,
    /// What sudo does not allow of its words.
    pub missing: Vec<String>,
    /// What its check ended with, or why it could not be asked; `None` where it has none.
    pub check: Option<Result<i32, String>>,
    /// The step of an earlier run that is still at work on it there.
    pub at_work: Option<String>,
    /// Why nothing of it is known.
    pub unknown: Option<NotKnown>,
}

/// A hook whose program cannot be run.
#[derive(Debug, Clone, Serialize)]
pub struct HookSeen {
    /// Its place among those of the config.
    pub number: usize,
    pub host: HostName,
    pub why: String,
}

/// One of its files, and the one that it replaces.
#[derive(Debug, Clone, Serialize)]
pub struct FileSeen {
    /// What is to be done, where both can be read.
    pub work: Result<FilePut, String>,
    /// `root:root 644`; of what is replaced.
    pub owner: String,
    /// What sudo does not allow of what is needed, as words.
    pub missing: Vec<String>,
    /// What the replaced one says, where that is text of a size to keep; it goes into the incident folder, and nowhere else.
    #[serde(skip)]
    pub replaced: Option<Vec<u8>>,
}

/// Status of a command that is not there, or must not be run; those of shells.
const NOT_FOUND: [i32; 3] = [125, 126, 127];
/// What `told` in `words.sh` gives where the words have not ended in time.
const TOO_LATE: i32 = 124;

impl ChangeSeen {
    /// One of which nothing is known yet.
    fn of(host: HostName, change: &NamedChange) -> ChangeSeen {
        let name = change.name.clone();
        ChangeSeen { host, name, files: Vec::new(), missing: Vec::new(), check: None, at_work: None, unknown: None }
    }

    pub fn here(change: &NamedChange, check: Option<Result<i32, String>>) -> ChangeSeen {
        ChangeSeen { check, ..ChangeSeen::of(here(), change) }
    }

    /// Reads an answer.
    pub fn read(
        host: &HostName,
        change: &NamedChange,
        answer: Result<Answer, Failure>,
        redactor: &Redactor,
    ) -> ChangeSeen {
        let mut seen = ChangeSeen::of(host.clone(), change);
        match answer {
            Ok(answer) => {
                let texts =
                    |name: &'static str| answer.sections.iter().filter(move |(of, _)| of == name).map(|(_, text)| text);
                let told = texts("file").zip(texts("put").map(Some).chain(std::iter::repeat(None)));
                let told = told.zip(texts("into").map(Some).chain(std::iter::repeat(None)));
                seen.files = change
                    .files
                    .iter()
                    .zip(told)
                    .map(|(file, ((lines, put), into))| {
                        let lines = String::from_utf8_lossy(lines).into_owned();
                        read_file(file, &lines, (put, into), redactor)
                    })
                    .collect();
                if seen.files.len() != change.files.len() {
                    seen.unknown = Some(NotKnown { why: "it tells nothing of its files".to_owned(), hint: None });
                }
                let missing = answer.text("missing").unwrap_or_default();
                seen.missing =
                    missing.lines().filter_map(|line| line.strip_prefix("missing ")).map(str::to_owned).collect();
                seen.at_work =
                    answer.text("at_work").map(|step| step.trim().to_owned()).filter(|step| !step.is_empty());
                seen.check = (!change.check.is_empty()).then(|| check_status(answer.status_of("check"), change));
            }
            Err(failure) => seen.unknown = Some(failure.into()),
        }
        seen
    }

    /// Whether nothing needs to be done for it: its check says so, or, where it has none, files that are alike are all of it.
    pub fn is_in_force(&self, change: &NamedChange) -> bool {
        match &self.check {
            Some(check) => *check == Ok(0),
            None => !self.files.is_empty() && self.are_alike() && change.run.is_empty() && change.restart.is_none(),
        }
    }

    /// Whether all its files say already what they should.
    pub fn are_alike(&self) -> bool {
        self.files.iter().all(|file| file.work.as_ref().is_ok_and(|work| !work.is_needed()))
    }
}

/// What a check's status says, or why it says nothing.
///
/// # Errors
/// Why not.
pub fn check_status(status: Option<i32>, change: &NamedChange) -> Result<i32, String> {
    match status {
        None => Err("it gives no answer".to_owned()),
        Some(TOO_LATE) => Err(format!("it has not ended after {} s", change.manner.seconds())),
        Some(status) if NOT_FOUND.contains(&status) => Err(format!("it cannot be run (status {status})")),
        Some(status) => Ok(status),
    }
}

/// What a name says of its value, in files of variables: more than a line of a log would be doubted for.
const SECRETIVE: [&str; 16] = [
    "pass", "pwd", "secret", "token", "key", "auth", "cred", "dsn", "salt", "private", "cookie", "session", "sign",
    "cert", "hook", "pin",
];

/// The text without values that are secrets by their names or by their looks: long, and of letters and digits at once.
fn masked(text: &str) -> String {
    text.split_inclusive('\n').map(masked_line).collect()
}

fn masked_line(line: &str) -> String {
    let Some((name, value)) = line.split_once(['=', ':']) else { return line.to_owned() };
    let word = name.trim().trim_start_matches("export ").to_lowercase();
    let plain = value.trim().trim_matches(['"', '\'']);
    let is_word = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let is_odd = plain.len() >= 20
        && plain.chars().all(|c| c.is_ascii_alphanumeric() || "+/=_-".contains(c))
        && plain.contains(|c: char| c.is_ascii_digit())
        && plain.contains(|c: char| c.is_ascii_alphabetic());
    if plain.is_empty() || !is_word || !(is_odd || SECRETIVE.iter().any(|part| word.contains(part))) {
        return line.to_owned();
    }
    line.replace(plain, REDACTED)
}

type Texts<'t> = (Option<&'t Vec<u8>>, Option<&'t Vec<u8>>);

fn read_file(asked: &PutBack, lines: &str, (new, old): Texts<'_>, redactor: &Redactor) -> FileSeen {
    let PutBack { put, into } = asked;
    let line = |key: &str| {
        let found = lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        found.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let missing = lines.lines().filter_map(|line| line.strip_prefix("missing ")).map(str::to_owned).collect();
    // What is too large to be told comes as nothing.
    let is_all = |bytes: &&Vec<u8>, sum: &str| match line(sum) {
        Some(sum) if sum == "-" => bytes.is_empty(),
        sum => sum.is_some_and(|sum| sum == sha256(bytes)) && !bytes.contains(&0),
    };
    let old = old.filter(|bytes| is_all(bytes, "into"));
    let diff = |path: &str| match (new.filter(|bytes| is_all(bytes, "put")), old) {
        (Some(new), Some(old)) => {
            let text = |bytes: &[u8]| redactor.text(&masked(&octets::text_of(bytes)));
            let (old, new) = (text(old), text(new));
            // Of a file of variables nothing but the one that is set is anybody's business.
            let around = if matches!(put, Put::Variable { .. }) { 0 } else { 3 };
            let what = if old == new { "what differs is nothing to show\n" } else { "" };
            format!("{}{what}", text_diff(path, (&old, &new), around))
        }
        _ => String::new(),
    };
    let work = match (line("why"), line("live"), line("put"), line("into")) {
        (Some(why), _, _, _) => Err(format!("{into}: {why}")),
        (None, Some(live), Some(put_sum), Some(into_sum)) if put_sum != "-" => Ok(FilePut {
            diff: diff(&live),
            put: put.clone(),
            into: live,
            put_sha256: put_sum,
            into_sha256: (into_sum != "-").then_some(into_sum),
        }),
        (None, _, Some(put_sum), _) if put_sum == "-" => Err(match put {
            Put::File(path) => format!("there is no {path}"),
            Put::Variable { .. } | Put::Link(_) => format!("there is no {into}"),
        }),
        (None, _, None, _) => Err(format!("{put} cannot be read, or is no file")),
        (None, _, Some(_), _) => Err(format!("{into} cannot be read, or is no file")),
    };
    FileSeen { work, owner: line("owner").unwrap_or_default(), missing, replaced: old.cloned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_shown_without_those_that_are_secrets() {
        let shown = |line: &str| masked_line(line);
        for line in [
            "DB_PASS=abc",
            "export SMTP_PASS='x y'",
            "ENCRYPTION_KEY: abc",
            "SENTRY_DSN=https://a@b/1",
            "A=f00f00f00f00f00f00f00f00",
        ] {
            assert!(shown(line).contains(REDACTED), "{line}: {}", shown(line));
        }
        for line in [
            "MODE=old",
            "WORKERS=4",
            "# key = value of old",
            "URL=http://127.0.0.1:5000/a",
            "RELEASE=2026-11-30-checkout",
            "",
            "=",
        ] {
            assert_eq!(shown(line), line);
        }
        assert_eq!(masked("A=1\nTOKEN=x\nB=2"), format!("A=1\nTOKEN={REDACTED}\nB=2"));
    }
}
