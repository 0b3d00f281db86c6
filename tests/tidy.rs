//! The repository's own rules, held by reading its files: what each file may import, say and reach. A rule that is
//! only written down is broken within a week.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The rooms, and the files of each, from what depends on nothing to what depends on everything. A room imports those
/// before it, a file those before it in its own room, and nobody what comes later. The door of a room (`nouns.rs`) holds
/// what its files share. A new file must find its place here.
const ROOMS: &[(&str, &[&str])] = &[
    // Crates of their own, whose door is their `lib.rs`; the last one is a program.
    ("dumps", &["migrations", "statement", "dump", "scanner", "source", "psql", "jobs", "load"]),
    ("logs", &["form", "moment", "latency", "counts", "tally", "follow", "reader"]),
    ("carried", &[]),
    (
        "nouns",
        &[
            "names",
            "units",
            "digest",
            "octets",
            "joined",
            "rebase",
            "colour",
            "likes",
            "side",
            "share",
            "rules",
            "redact",
            "release",
            "secret",
            "change",
            "earlier",
            "migration",
            "inventory",
            "service",
            "refusal",
            "record",
            "production",
            "together",
            "plan",
            "request",
            "consent",
            "clock",
        ],
    ),
    ("nginx", &["text", "grammar", "passes", "wish", "block", "proof", "word", "site", "found", "routes", "logs"]),
    (
        "judge",
        &["interval", "odds", "shifted", "prometheus", "complaints", "sides", "verdict", "severity", "escalation"],
    ),
    ("config", &["env_file", "value", "file", "findings", "tree", "variables", "check", "meaning", "services"]),
    ("hosts", &["carried", "program", "answer", "remote", "facts", "question", "job", "ssh"]),
    ("discover", &["question", "survey", "apps", "draft", "written"]),
    ("incident", &["journal", "folder", "alarm", "patterns", "past", "capture", "evidence"]),
    ("database", &["verdict", "structure", "server", "programs", "tables", "question", "restore", "merge"]),
    (
        "steps",
        &[
            "passes",
            "about",
            "context",
            "here",
            "public",
            "certificate",
            "supervisor",
            "observe",
            "again",
            "lock",
            "verify",
            "measure",
            "prometheus",
            "start",
            "switch",
            "arm",
            "drain",
            "stop",
            "change",
            "earlier",
            "hook",
            "remember",
            "restore",
            "merge",
            "downgrade",
        ],
    ),
    (
        "engine",
        &["doubts", "remarks", "planner", "safety", "hold", "lane", "turns", "run", "changes", "gradual", "watch"],
    ),
    (
        "tell",
        &[
            "known",
            "render",
            "story",
            "several",
            "times",
            "timeline",
            "loss",
            "captured",
            "checklist",
            "impact",
            "report",
            "picture",
            "page",
            "history",
            "explain",
            "ticket",
            "rehearsal",
            "message",
            "alarm",
            "manual",
            "status",
            "releases",
            "notify",
            "filing",
            "terminal",
        ],
    ),
    ("cli", &[]),
    (
        "app",
        &[
            "load",
            "switch",
            "services",
            "undo",
            "partial",
            "look",
            "releases",
            "afterwards",
            "filing",
            "rollback",
            "backups",
            "drill",
            "serves",
            "escalate",
            "watch",
            "assess",
            "init",
        ],
    ),
    ("main", &[]),
];

/// What only judges: nouns in, nouns out.
const JUDGES: &[&str] = &[
    "nouns",
    "nginx",
    "judge",
    "config",
    "hosts/program",
    "hosts/answer",
    "hosts/facts",
    "hosts/question",
    "hosts/job",
    "discover",
    "incident/patterns",
    "incident/capture",
    "dumps/migrations",
    "dumps/statement",
    "dumps/dump",
    "dumps/scanner",
    "dumps/jobs",
    "logs/form",
    "logs/moment",
    "logs/latency",
    "logs/counts",
    "logs/tally",
    "database/verdict",
    "database/structure",
    "database/tables",
    "database/server",
    "database/question",
    "database/programs",
    "engine/doubts",
    "engine/remarks",
    "engine/planner",
    "engine/safety",
    "tell/render",
    "tell/story",
    "tell/times",
    "tell/timeline",
    "tell/loss",
    "tell/captured",
    "tell/checklist",
    "tell/report",
    "tell/message",
    "tell/manual",
    "tell/status",
    "tell/releases",
];

struct Source {
    path: PathBuf,
    /// `engine/run` for both engine/run.rs and engine/run/after.rs, `engine` for the door.
    module: String,
    text: String,
    /// The text without its tests.
    code: String,
}

impl Source {
    fn is_in(&self, modules: &[&str]) -> bool {
        modules.iter().any(|module| self.module == *module || self.module.starts_with(&format!("{module}/")))
    }

    fn judges(&self) -> bool {
        self.is_in(JUDGES) && self.module != "nouns/clock"
    }
}

/// Where a module stands: its room, and its place within it. The door stands before its files.
fn place_of(module: &str) -> Option<(usize, Option<usize>)> {
    let (room, file) = module.split_once('/').map_or((module, None), |(room, file)| (room, Some(file)));
    let at = ROOMS.iter().position(|(name, _)| *name == room)?;
    match file {
        None => Some((at, None)),
        Some(file) => Some((at, Some(ROOMS[at].1.iter().position(|name| *name == file)?))),
    }
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
            let words: Vec<String> =
                within.components().take(2).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            // Tests stand at the end of a file.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            let module =
                words.join("/").trim_end_matches(".rs").trim_end_matches("/lib").trim_end_matches("/main").to_owned();
            Source { module, path: within.to_owned(), text, code }
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

/// The modules that a file names, by `crate::` from anywhere or by `super::` from its own room.
fn imports(source: &Source) -> BTreeSet<String> {
    let code: String = lines(&source.code).map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        found.extend(paths(rest));
    }
    for library in ["dumps", "logs"] {
        for rest in code.split(&format!("use {library}::")).skip(1) {
            found.extend(paths(rest).into_iter().map(|path| format!("{library}/{path}")));
        }
    }
    // From a file of a room, `super` is the room; from deeper down it is a file that was looked at already.
    if source.path.components().count() == 2 {
        let room = source.module.split('/').next().unwrap_or_default().to_owned();
        for rest in code.split("super::").skip(1) {
            found.extend(paths(rest).into_iter().map(|path| format!("{room}/{path}")));
        }
    }
    // What is no file is an item of the door.
    let found = found.into_iter().map(|path| {
        let known: Vec<&str> = path.split('/').take(2).collect();
        if place_of(&known.join("/")).is_some() { known.join("/") } else { known[0].to_owned() }
    });
    found.filter(|import| *import != source.module && !import.is_empty()).collect()
}

/// The first words of what follows `crate::`: `nouns::names::X` → `nouns/names`, `{a, b::{c, d}}` → `a`, `b/c`, `b/d`.
fn paths(rest: &str) -> Vec<String> {
    let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    let rest = &rest[word.len()..];
    if word.is_empty() {
        return rest
            .strip_prefix('{')
            .map_or_else(Vec::new, |group| parts_of(group).into_iter().flat_map(paths).collect());
    }
    match rest.strip_prefix("::") {
        None => vec![word],
        Some(rest) => match paths(rest).as_slice() {
            [] => vec![word],
            below => below.iter().map(|below| format!("{word}/{below}")).collect(),
        },
    }
}

/// The parts of a group at its first depth, up to its closing brace.
fn parts_of(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(group[begin..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(group[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn imports_are_read_as_they_are_written() {
    let read = |text: &str| paths(text).join(" ");
    assert_eq!(read("nouns::names::HostName;"), "nouns/names");
    assert_eq!(read("{app, nouns::{names::{A, B}, plan}};"), "app nouns/names nouns/plan");
    assert_eq!(read("nginx::Template::built_in()"), "nginx");
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "src/{} does not open with `//!`", source.path.display());
    }
}

#[test]
fn lower_rooms_and_files_never_import_higher_ones() {
    let mut said = String::new();
    let mut edges = 0;
    for source in sources().iter().filter(|source| source.module != "lib") {
        let Some((my_room, my_file)) = place_of(&source.module) else {
            let _ = writeln!(said, "src/{} has no place in ROOMS", source.path.display());
            continue;
        };
        for import in imports(source) {
            edges += 1;
            let Some((room, file)) = place_of(&import) else {
                let _ = writeln!(said, "src/{} imports {import}, which has no place", source.path.display());
                continue;
            };
            // A door names its files, and they what it holds for all of them.
            let is_lower =
                room < my_room || (room == my_room && (my_file.is_none() || file.is_none() || file < my_file));
            if !is_lower {
                let _ = writeln!(said, "src/{} imports {import}, which is above it", source.path.display());
            }
        }
    }
    none(said, "an import points upwards");
    assert!(edges > 150, "the imports were found at all: {edges}");
    let modules: BTreeSet<String> = sources().into_iter().map(|source| source.module).collect();
    for (room, files) in ROOMS {
        assert!(modules.contains(*room), "ROOMS names {room}, and there is no such room");
        for file in *files {
            let module = format!("{room}/{file}");
            assert!(modules.contains(&module), "ROOMS names {module}, and there is no such file");
        }
    }
}

#[test]
fn one_name_is_one_thing() {
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut said = String::new();
    for source in sources() {
        for (number, line) in lines(&source.code) {
            let Some(rest) = ["pub struct ", "pub enum ", "pub trait "].iter().find_map(|word| line.strip_prefix(word))
            else {
                continue;
            };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if let Some(other) = seen.insert(name.clone(), source.path.clone()) {
                let _ =
                    writeln!(said, "src/{}:{number}: {name} is also in src/{}", source.path.display(), other.display());
            }
        }
    }
    none(said, "one name, one thing, in the whole crate");
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
    none(offences(&words, |source| source.path == Path::new("hosts/ssh.rs")), "only hosts/ssh.rs talks ssh");
}

#[test]
fn every_name_of_a_refusal_is_given_to_one() {
    let listed = read(&root().join("src/nouns/refusal.rs"));
    let names = listed.lines().filter_map(|line| line.trim().split_once(" = \"E-"));
    let names: Vec<&str> = names.map(|(variant, _)| variant).collect();
    assert!(names.len() > 50, "they are found at all: {names:?}");
    let all: String = sources().into_iter().map(|source| source.code).collect();
    let is_given = |name: &&str| {
        let given = format!("RefusalName::{name}");
        all.match_indices(&given).any(|(at, _)| !all[at + given.len()..].starts_with(char::is_alphanumeric))
    };
    let unused: Vec<&str> = names.into_iter().filter(|name| !is_given(name)).collect();
    assert!(unused.is_empty(), "nothing is refused by these names: {unused:?}");
}

#[test]
fn the_time_of_day_is_read_in_the_clock() {
    // An outbox outlives the run that filled it: its letters carry stamps of their own.
    let is_allowed = |source: &Source| source.is_in(&["nouns/clock", "tell/notify", "logs/reader"]);
    none(
        offences(&["Utc::now", "Local::now()", "SystemTime::now"], |source| {
            is_allowed(source) || source.is_in(&["app"])
        }),
        "time comes from clock.rs",
    );
    // What only judges is the same at every hour.
    none(
        offences(&["::now()", "use tokio", "tokio::", "async fn"], |source| !source.judges()),
        "judgement does not wait and reads no clock",
    );
}

#[test]
fn what_only_judges_reaches_nothing_outside() {
    let words =
        ["std::fs", "fs::read", "File::open", "std::process", "Command::new", "std::env::", "std::net::Tcp", "ureq::"];
    // The operator's own templates are read where they are rendered.
    let judges = |source: &Source| source.judges() && source.module != "tell/render";
    none(offences(&words, |source| !judges(source)), "judgement does no I/O");
}

#[test]
fn one_file_prints() {
    let words = ["println!(", "print!("];
    let is_allowed = |source: &Source| source.is_in(&["tell/terminal", "main", "app", "carried"]);
    none(offences(&words, is_allowed), "everything printed goes through terminal.rs");
}

#[test]
fn a_dry_run_is_no_second_path_through_the_code() {
    let is_allowed = |source: &Source| source.is_in(&["cli", "app"]);
    none(offences(&["dry_run"], is_allowed), "below app.rs nobody knows whether a run is dry");
}

#[test]
fn nobody_puts_a_command_of_a_host_together() {
    let programs = ["\"nginx -", "\"systemctl\"", "\"docker\"", "\"journalctl\"", "\"sudo\"", "\"curl\""];
    // The config's defaults are words of the config, and so is what `init` writes; a manual is for typing; the rights that are asked for are words.
    let is_allowed = |source: &Source| {
        source.is_in(&[
            "config",
            "discover",
            "tell/manual",
            "engine/planner",
            "hosts/facts",
            "hosts/question",
            "hosts/program",
        ])
    };
    none(offences(&programs, is_allowed), "what runs on hosts is a script under scripts/remote");
}

#[test]
fn every_script_on_disk_is_sent_and_explains_itself() {
    let mut paths = Vec::new();
    files_below(&root().join("scripts/remote"), &mut paths);
    let sent: BTreeSet<&str> = rollback_prod::steps::scripts().map(|(name, _)| *name).collect();
    for path in paths {
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let text = read(&path);
        assert!(text.starts_with("# "), "{} does not say what it is for", path.display());
        let shared = [
            "lib",
            "nginx",
            "lock",
            "shift",
            "ground",
            "candidate",
            "psql",
            "carry",
            "words",
            "dump",
            "structure",
            "revision",
        ]
        .contains(&name.as_str());
        assert!(shared || sent.contains(name.as_str()), "{} is sent by nobody", path.display());
        if !shared {
            assert!(text.contains("\n# Takes: "), "{} does not say what it takes", path.display());
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
