//! The repository's own rules, held by reading its files: what each file may import, say and reach. A rule that is
//! only written down is broken within a week.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Lower files never import higher ones. Each name stands for `NAME.rs` and everything in `NAME/`; it may import
/// those before it and no other. A new file must find its place here.
const ORDER: &[&str] = &[
    // nouns: plain data, and the words that make it up. nginx is judgement, and a noun to the facts: what a file says
    "names",
    "units",
    "colour",
    "redact",
    "nginx",
    "inventory",
    "answer",
    "facts",
    "record",
    "plan",
    "dump",
    // judgement: pure functions from nouns to nouns
    "config",
    "backup",
    "database",
    "planner",
    "safety",
    "consent",
    "prompt",
    "render",
    "patterns",
    "report",
    "status",
    "manual",
    // effects: each owns one outside thing. command is pure, and its words are remote's
    "clock",
    "remote",
    "command",
    "journal",
    "incident",
    "notify",
    "passes",
    "public",
    "terminal",
    // procedures: drive effects through the traits
    "observe",
    "evidence",
    "past",
    "restore",
    "execute",
    // carried to the database's host
    "on_host",
    // the story, and the edge
    "cli",
    "app",
    "main",
];
const JUDGEMENT_ENDS_BEFORE: &str = "clock";

struct Source {
    path: PathBuf,
    /// `execute` for both execute.rs and execute/after.rs.
    module: String,
    text: String,
    /// The text without its tests.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder of ours can be listed").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut paths = Vec::new();
    files_below(&src, &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    assert!(paths.len() > 20, "the sources are there: {paths:?}");
    paths
        .into_iter()
        .map(|path| {
            let text = read(&path);
            let within = path.strip_prefix(&src).expect("it was found below it");
            let first = within.components().next().expect("it has a name").as_os_str().to_string_lossy();
            // Tests stand at the end of a file.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            Source { module: first.trim_end_matches(".rs").to_owned(), path: within.to_owned(), text, code }
        })
        .collect()
}

/// Lines of code, without those that are only comment, with their numbers.
fn lines(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().map(|(n, line)| (n + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Every line of code that holds one of the words, in a file that may not.
fn offences(words: &[&str], is_allowed: impl Fn(&Source) -> bool) -> String {
    let mut said = String::new();
    for source in sources().iter().filter(|source| !is_allowed(source)) {
        for (number, line) in lines(&source.code) {
            if words.iter().any(|word| line.contains(word)) {
                let _ = writeln!(said, "src/{}:{number}: {}", source.path.display(), line.trim());
            }
        }
    }
    said
}

#[track_caller]
fn none(offences: String, rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n{offences}");
}

/// The modules that a file names after `crate::`, wherever it does.
fn imports(source: &Source) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    let code: String = lines(&source.code).map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        // `use crate::{manual, facts::{A, B}};`: names at the first depth.
        let mut depth = 0;
        let mut at_start = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                c if c.is_whitespace() => {}
                _ if at_start => {
                    found.insert(word(&group[at..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    // Not modules: macros and items of lib.rs begin with a capital or are none of ours.
    found.remove("");
    found.remove(&source.module);
    found
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "src/{} does not open with `//!`", source.path.display());
    }
}

#[test]
fn lower_files_never_import_higher_ones() {
    let place: BTreeMap<&str, usize> = ORDER.iter().enumerate().map(|(n, name)| (*name, n)).collect();
    let mut said = String::new();
    let mut edges = 0;
    for source in sources().iter().filter(|source| source.module != "lib") {
        let Some(mine) = place.get(source.module.as_str()) else {
            let _ = writeln!(said, "src/{} has no place in ORDER", source.path.display());
            continue;
        };
        for import in imports(source) {
            edges += 1;
            match place.get(import.as_str()) {
                Some(theirs) if theirs < mine => {}
                Some(_) => {
                    let _ = writeln!(said, "src/{} imports {import}, which is above it", source.path.display());
                }
                None => {
                    let _ = writeln!(said, "src/{} imports {import}, which has no place", source.path.display());
                }
            }
        }
    }
    none(said, "an import points upwards");
    assert!(edges > 60, "the imports were found at all: {edges}");
    let modules: BTreeSet<String> = sources().into_iter().map(|source| source.module).collect();
    for name in ORDER {
        assert!(modules.contains(*name), "ORDER names {name}, and there is no such file");
    }
}

#[test]
fn nothing_panics_by_choice() {
    let words = [".unwrap()", "panic!(", "todo!(", "unimplemented!(", "dbg!(", "#[ignore", "unreachable!("];
    none(offences(&words, |_| false), "use `expect` with the reason why it cannot happen");
}

#[test]
fn no_test_is_ignored() {
    let mut paths = Vec::new();
    files_below(&root().join("tests"), &mut paths);
    files_below(&root().join("src"), &mut paths);
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        for (number, line) in lines(&read(path)) {
            assert!(!line.trim_start().starts_with("#[ignore"), "{}:{number}: {line}", path.display());
        }
    }
}

#[test]
fn ssh_is_named_in_one_file() {
    let words = ["openssh::", "use openssh", "Command::new(\"ssh"];
    none(offences(&words, |source| source.path == Path::new("remote/ssh.rs")), "only remote/ssh.rs talks ssh");
}

#[test]
fn the_time_of_day_is_read_in_the_clock() {
    // An outbox outlives the run that filled it: its letters carry stamps of their own.
    let is_allowed = |source: &Source| ["clock", "notify"].contains(&source.module.as_str());
    none(
        offences(&["Utc::now", "Local::now()", "SystemTime::now"], |source| {
            is_allowed(source) || source.module == "app"
        }),
        "time comes from clock.rs",
    );
    // What only judges is the same at every hour.
    let end = ORDER.iter().position(|name| *name == JUDGEMENT_ENDS_BEFORE).expect("it stands in ORDER");
    let judges = |source: &Source| ORDER[..end].contains(&source.module.as_str());
    none(
        offences(&["::now()", "use tokio", "tokio::", "async fn"], |source| !judges(source)),
        "judgement does not wait and reads no clock",
    );
}

#[test]
fn what_only_judges_reaches_nothing_outside() {
    let end = ORDER.iter().position(|name| *name == JUDGEMENT_ENDS_BEFORE).expect("it stands in ORDER");
    let words =
        ["std::fs", "fs::read", "File::open", "std::process", "Command::new", "std::env::", "std::net::Tcp", "ureq::"];
    // The operator's own templates are read where they are rendered.
    let judges = |source: &Source| ORDER[..end].contains(&source.module.as_str()) && source.module != "render";
    none(offences(&words, |source| !judges(source)), "judgement does no I/O");
}

#[test]
fn one_file_prints() {
    let words = ["println!(", "print!("];
    let is_allowed = |source: &Source| ["terminal", "main", "app", "on_host"].contains(&source.module.as_str());
    none(offences(&words, is_allowed), "everything printed goes through terminal.rs");
}

#[test]
fn a_dry_run_is_no_second_path_through_the_code() {
    let is_allowed = |source: &Source| ["cli", "app"].contains(&source.module.as_str());
    none(offences(&["dry_run"], is_allowed), "below app.rs nobody knows whether a run is dry");
}

#[test]
fn scripts_are_named_in_one_file() {
    let is_allowed = |source: &Source| source.module == "command";
    none(offences(&["scripts/remote"], is_allowed), "only command.rs knows the scripts");
    let programs = ["\"nginx -", "\"systemctl\"", "\"docker\"", "\"journalctl\"", "\"sudo\"", "\"curl\""];
    // The config's defaults are words of the config; a manual is for typing.
    let is_allowed = |source: &Source| ["command", "config", "manual"].contains(&source.module.as_str());
    none(
        offences(&programs, |source| is_allowed(source) || ["planner", "facts"].contains(&source.module.as_str())),
        "only command.rs knows what runs on hosts",
    );
}

#[test]
fn every_script_on_disk_is_sent_and_explains_itself() {
    let mut paths = Vec::new();
    files_below(&root().join("scripts/remote"), &mut paths);
    let sent: BTreeSet<&str> = rollback_prod::command::SCRIPTS.iter().map(|(name, _)| *name).collect();
    for path in paths {
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let text = read(&path);
        assert!(text.starts_with("# "), "{} does not say what it is for", path.display());
        let shared = ["lib", "candidate", "psql", "carry"].contains(&name.as_str());
        assert!(shared || sent.contains(name.as_str()), "{} is sent by nobody", path.display());
        if !shared {
            assert!(
                text.contains("\n# Arguments:") || text.contains("\n#   "),
                "{} does not name its arguments",
                path.display()
            );
        }
    }
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let mut is_in = false;
    let mut counted = 0;
    // A reason may hold for the few that belong together (serde and serde_json), not for a list.
    let mut since_a_reason = usize::MAX;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_in = line == "[dependencies]";
            since_a_reason = usize::MAX;
        } else if is_in && line.starts_with('#') {
            since_a_reason = 0;
        } else if is_in && !line.is_empty() {
            counted += 1;
            since_a_reason = since_a_reason.saturating_add(1);
            assert!(since_a_reason <= 3, "no reason above `{line}`");
        }
    }
    assert!(counted > 15, "the dependencies were found: {counted}");
}
