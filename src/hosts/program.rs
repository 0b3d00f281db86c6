//! A program as it goes over the line: a static script, arguments that are data, and how long its answer is waited for.
//! Nothing of a host, a log, the config or a flag is ever code. Never sends anything.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::nouns::inventory::{App, Inventory, Layout, Nginx, Run};
use crate::nouns::names::{IncidentId, ServerAddress};
use crate::nouns::plan::{FileChange, TakesOver};

/// A static script with its arguments. The script is one of `scripts/remote/`; the arguments are data and reach it as
/// variables and lists of the names that it takes, whatever characters they hold; see [`takes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file under `scripts/remote/`, without `.sh`.
    pub name: &'static str,
    /// The parts of the script, in order.
    pub parts: &'static [&'static str],
    /// Names and values; a list has its name once for each value.
    pub arguments: Vec<(&'static str, String)>,
    /// Bytes that follow the script over the line; it finds them on its file descriptor 3. Mostly none.
    pub cargo: &'static [u8],
    /// After this long the answer is not waited for any more.
    pub limit: Duration,
}

/// A program that only asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question(pub(crate) Program);

/// A program that changes a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(pub(crate) Program);

impl Question {
    pub fn program(&self) -> &Program {
        &self.0
    }
}

impl Change {
    pub fn program(&self) -> &Program {
        &self.0
    }
}

/// A script and the shared parts that are sent in front of it, by the script's name.
pub type Script = (&'static str, &'static [&'static str]);

/// Shared by every script.
pub const LIB: &str = include_str!("../../scripts/remote/lib.sh");

/// Shared by those that ask or change nginx.
pub const NGINX: &str = include_str!("../../scripts/remote/nginx.sh");

/// Shared by those that take a lock.
pub const LOCK: &str = include_str!("../../scripts/remote/lock.sh");

/// Shared by those that write what nginx serves by.
pub const SHIFT: &str = include_str!("../../scripts/remote/shift.sh");

/// Shared by those that run words of the config, or put its files.
pub const WORDS: &str = include_str!("../../scripts/remote/words.sh");

/// Shared by those that ask which release a folder holds.
pub const REVISION: &str = include_str!("../../scripts/remote/revision.sh");

/// Shared by those to which a program of ours may come: `src/carried`.
pub const CARRY: &str = include_str!("../../scripts/remote/carry.sh");

/// `script!("stop")`, or `script!("swap", LIB, PSQL)` with other shared parts than `lib.sh` alone.
macro_rules! script {
    ($name:literal) => {
        $crate::hosts::program::script!($name, $crate::hosts::program::LIB)
    };
    ($name:literal, $($shared:expr),+) => {
        ($name, &[$($shared,)+ include_str!(concat!("../../scripts/remote/", $name, ".sh"))])
    };
}
pub(crate) use script;

/// The separator between words of a list that is one argument; no word can hold it.
pub const UNIT: &str = "\u{1f}";

/// Seconds that an HTTP answer may take, from a server on the same machine or beside it.
pub const PATIENCE: u64 = 3;

/// The same of green, and of nginx that sends to it: it is bad, or we would not be here, and must not hold up the rest.
pub const SHORT_PATIENCE: u64 = 1;

/// A run as the hosts know it: its steps bear its name, its lock the holder's line.
#[derive(Debug, Clone)]
pub struct Tenure {
    pub run: IncidentId,
    /// What the files of the run's services begin with on hosts: all of them are under one lock.
    pub services: Vec<String>,
    /// Who holds the lock and why, on one line.
    pub holder: String,
    /// From whom the lock is also taken while his run lives.
    pub takes_over: TakesOver,
    /// Of the lock that the run has on the host that this is for, where it has one: it only grows, so a host tells by it
    /// whether somebody came after us.
    pub number: Option<u64>,
}

impl Tenure {
    /// The same for a host whose lock has that number.
    #[must_use]
    pub fn under(&self, number: Option<u64>) -> Tenure {
        Tenure { number, ..self.clone() }
    }
}

/// Values by the names that scripts have for them.
pub struct Arguments(Vec<(&'static str, String)>);

impl Arguments {
    pub fn new(inventory: &Inventory) -> Arguments {
        let sudo = if inventory.nginx.sudo { "yes" } else { "no" };
        let mut arguments = Arguments(vec![("sudo", sudo.to_owned()), ("group", inventory.group.to_string())]);
        for app in [&inventory.blue, &inventory.green] {
            if let Run::Process { exe, .. } = &app.run {
                arguments.set("script", exe);
            }
        }
        arguments
    }

    /// The same for hosts that no config describes: through sudo where there is one.
    pub fn of_no_config() -> Arguments {
        Arguments(vec![("sudo", "yes".to_owned())])
    }

    /// Of a list: one more value.
    pub fn set(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.0.push((name, value.to_string()));
    }

    /// A question over HTTP; see `fetch_all` in `lib.sh`.
    pub fn get(&mut self, name: &str, seconds: u64, host: Option<&str>, url: &str) {
        self.set("get", format!("{name}{UNIT}{seconds}{UNIT}{}{UNIT}{url}", host.unwrap_or("-")));
    }

    /// A question to the health of a colour.
    pub fn health(&mut self, name: &str, seconds: u64, app: &App, url: &str) {
        let with = &app.health_with;
        let mut asked = url.to_owned();
        for header in &with.headers {
            asked.push_str(&format!("{UNIT}header {}", header.line.reveal()));
        }
        if let Some(ca) = &with.ca {
            asked.push_str(&format!("{UNIT}ca {ca}"));
        }
        if with.insecure {
            asked.push_str(&format!("{UNIT}insecure"));
        }
        self.get(name, seconds, None, &asked);
    }

    /// Where nginx runs, where that is not the host itself; see `nginx.sh`.
    pub fn container(&mut self, nginx: &Nginx) {
        const NAME: &str = "nginx_container";
        if let Some(container) = nginx.container.as_ref().filter(|_| !self.0.iter().any(|(of, _)| *of == NAME)) {
            self.set(NAME, container);
        }
    }

    /// Of the servers that are asked those by a name, which only the container that nginx runs in may know.
    pub fn lookups(&mut self, inventory: &Inventory) {
        let servers = || [&inventory.blue, &inventory.green].into_iter().flat_map(|app| &app.servers);
        let is_asked = |name: &&str| {
            let places = [format!("//{name}:"), format!("//{name}/")];
            self.0.iter().any(|(of, value)| *of == "get" && places.iter().any(|place| value.contains(place)))
        };
        let names: BTreeSet<&str> = servers().filter_map(ServerAddress::name).filter(is_asked).collect();
        if inventory.nginx.container.is_some() && !names.is_empty() {
            self.container(&inventory.nginx);
            names.into_iter().for_each(|name| self.set("lookup", name));
        }
    }

    /// The files of a change, and where the container has them that nginx runs in.
    pub fn files(&mut self, change: &FileChange) {
        self.set("live", &change.path);
        for path in &change.also {
            self.set("also", path);
        }
        if let Some(mounted) = &change.mounted {
            self.set("inside", &mounted.inside);
        }
    }

    /// What of nginx's file decides; see `says` in `lib.sh`.
    pub fn form(&mut self, nginx: &Nginx) {
        match nginx.layout {
            Layout::Link(_) => self.set("form", "link"),
            Layout::Weights { .. } | Layout::Word { .. } | Layout::Copy(_) | Layout::NotSaid => {}
        }
    }

    /// Whose change it is; see `fenced` in `lib.sh`.
    pub fn tenure(&mut self, tenure: &Tenure) {
        self.set("holder", &tenure.holder);
        if let Some(number) = tenure.number {
            self.set("number", number);
        }
    }

    /// What keeps a colour running.
    pub fn run(&mut self, run: &Run) {
        let words = RunWords::of(run);
        self.set("kind", words.kind);
        self.set("name", words.name);
        self.set("file", words.file);
        self.set("project", words.project);
    }
}

pub struct RunWords<'a> {
    pub kind: &'static str,
    pub name: &'a str,
    pub file: &'a str,
    pub project: &'a str,
}

impl<'a> RunWords<'a> {
    pub fn of(run: &'a Run) -> RunWords<'a> {
        match run {
            Run::Systemd(unit) => RunWords { kind: "systemd", name: unit.as_str(), file: "-", project: "-" },
            Run::Docker(name) => RunWords { kind: "docker", name: name.as_str(), file: "-", project: "-" },
            Run::Compose { file, project, service } => RunWords {
                kind: "compose",
                name: service.as_str(),
                file: file.as_str(),
                project: project.as_ref().map_or("-", |project| project.as_str()),
            },
            Run::Process { .. } => RunWords { kind: "process", name: "-", file: "-", project: "-" },
            Run::Command(_) => RunWords { kind: "command", name: "-", file: "-", project: "-" },
        }
    }
}

/// Ports as /proc writes them, with a space on both sides of each: ` 1F90 1F91 `.
pub fn hex_ports(ports: impl IntoIterator<Item = u16>) -> String {
    ports.into_iter().fold(" ".to_owned(), |text, port| format!("{text}{port:04X} "))
}

/// The script with its arguments.
pub fn program(script: Script, arguments: Arguments, limit: Duration) -> Program {
    Program { name: script.0, parts: script.1, arguments: arguments.0, cargo: &[], limit }
}

/// Another number each time: RandomState is seeded by the operating system once for each thread and differs for each
/// instance.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A fresh word that marks the lines of one answer: 32 hexadecimal digits that nobody can have printed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    pub fn new() -> Nonce {
        Nonce(format!("{:016x}{:016x}", random(), random()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Nonce {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a script takes, as its lines `# Takes:` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<'a> {
    /// `limit=10`: one value, and what it is where none is given.
    Word { name: &'a str, default: &'a str },
    /// `log...`: any number of values.
    List { name: &'a str },
}

/// What a part of a program takes.
pub fn takes(part: &str) -> impl Iterator<Item = Taken<'_>> {
    let words = part.lines().filter_map(|line| line.strip_prefix("# Takes: ")).flat_map(str::split_whitespace);
    words.map(|word| match (word.strip_suffix("..."), word.split_once('=')) {
        (Some(name), _) => Taken::List { name },
        (None, Some((name, default))) => Taken::Word { name, default },
        (None, None) => Taken::Word { name: word, default: "" },
    })
}

/// The text that a POSIX shell on the host evaluates for `program`: the shared functions, the script as a function, and
/// one call of it behind everything that it takes, each value in single quotes. Nothing of a value is ever code. What was
/// not given is set too: a variable of that name in the host's own environment is never taken for one of ours.
pub fn shell_text(program: &Program, nonce: &Nonce) -> String {
    let mut text = format!("rp_nonce={nonce}\n");
    for part in program.parts.split_last().map_or(&[][..], |(_, shared)| shared) {
        push_code(&mut text, part);
    }
    text.push_str("answered() { printf '\\n%s end %s\\n' \"$rp_nonce\" \"$1\"; rp_answered=yes; }\nrp_main() {\n");
    if let Some(script) = program.parts.last() {
        push_code(&mut text, script);
    }
    text.push_str("}\nrp_call() {\n");
    for taken in program.parts.iter().flat_map(|part| takes(part)) {
        push_taken(&mut text, taken, &program.arguments);
    }
    // A program that runs itself once more, as root, gives no second answer.
    text.push_str("rp_main\n}\n[ -z \"${rp_inner-}\" ] || { rp_call </dev/null; exit; }\n");
    // In a subshell of its own: nothing that a script sets or leaves changes the next one on this line. Its
    // standard input is empty, the line itself is 3, so that no command can eat what is meant for the shell.
    text.push_str("exec 3<&0\n(\n  rp_answered=\n  printf '\\n%s begin\\n' \"$rp_nonce\"\n  rp_call </dev/null\n  rp_end=$?\n  [ -n \"$rp_answered\" ] || answered \"$rp_end\"\n)\n");
    text
}

/// A word as a variable; a list as a function that runs a command with the values behind it, so that no sign is needed
/// between them that one of them could hold.
fn push_taken(text: &mut String, taken: Taken<'_>, arguments: &[(&'static str, String)]) {
    let (Taken::Word { name, .. } | Taken::List { name }) = taken;
    let mut given = arguments.iter().filter(|(of, _)| *of == name).map(|(_, value)| value.as_str());
    match taken {
        Taken::Word { default, .. } => {
            text.push_str(&format!("{name}={}\n", quoted(given.next_back().unwrap_or(default))))
        }
        Taken::List { .. } => {
            text.push_str(&format!("with_{name}() {{ \"$@\""));
            given.for_each(|value| text.extend([" ", &quoted(value)]));
            text.push_str("; }\n");
        }
    }
}

/// In single quotes for a POSIX shell, where nothing but the single quote itself means anything.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

/// Code without the lines that are only comment: they need not travel.
fn push_code(text: &mut String, code: &str) {
    for line in code.lines().filter(|line| !line.trim_start().starts_with('#')) {
        text.push_str(line);
        text.push('\n');
    }
}
