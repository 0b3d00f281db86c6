//! The first question to a host, and the only one that is asked before a plan: everything that is true of it.

use std::time::Duration;

use super::facts::{direct_url, health_urls, rights_to_start, rights_to_stop};
use super::program::{
    Arguments, LIB, NGINX, PATIENCE, Question, REVISION, RunWords, SHORT_PATIENCE, Script, UNIT, hex_ports, program,
    script,
};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{App, Host, Inventory, Layout, ReleaseSaid, Role, Run};
use crate::nouns::names::{RemotePath, ServerAddress};
use crate::nouns::side::{Direction, Side};

const GROUND: &str = include_str!("../../scripts/remote/ground.sh");
const FACTS: Script = script!("facts", LIB, NGINX, GROUND, REVISION);
pub const SCRIPTS: &[Script] = &[FACTS];

/// What a question that reads files and asks local ports may take: an earlier run's step may be waited for.
const FACTS_LIMIT: Duration = Duration::from_secs(60);

/// So many servers of a colour are plenty to compare.
pub const MOST_DIRECT: usize = 4;

/// Everything about a host in one question.
pub fn facts(inventory: &Inventory, direction: Direction, host: &Host) -> Question {
    Question(program(FACTS, facts_wanted(inventory, direction, host), FACTS_LIMIT))
}

/// The same, and all that sudo must allow there, whether it does or not: for whoever sets it up.
pub fn facts_with_rights(inventory: &Inventory, direction: Direction, host: &Host) -> Question {
    let mut arguments = facts_wanted(inventory, direction, host);
    arguments.set("needed", "yes");
    Question(program(FACTS, arguments, FACTS_LIMIT))
}

fn facts_wanted(inventory: &Inventory, direction: Direction, host: &Host) -> Arguments {
    let from = inventory.app(direction.colour(Side::From));
    let patience = |colour: Colour| match direction.side(colour) {
        Side::To => PATIENCE,
        Side::From => SHORT_PATIENCE,
    };
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", inventory.word_on_hosts());
    if host.is(Role::Balancer) {
        arguments.set("nginx_file", &inventory.nginx.file);
        for file in &inventory.nginx.also {
            arguments.set("also", file);
        }
        arguments.container(&inventory.nginx);
        arguments.form(&inventory.nginx);
        if let Some(files) = inventory.nginx.side_files() {
            arguments.set("blue", &files.blue);
            arguments.set("green", &files.green);
            arguments.set("blue_file", inventory.nginx.beside(&files.blue));
            arguments.set("green_file", inventory.nginx.beside(&files.green));
        }
        if inventory.nginx.layout == Layout::NotSaid {
            arguments.set("find", "yes");
        }
        arguments.set("dump", dump_words(&inventory.nginx.test).join(UNIT));
        for server in from.addresses() {
            arguments.set("mark", server);
        }
        for name in from.servers.iter().filter_map(ServerAddress::name) {
            arguments.set("name", name);
        }
        if inventory.nginx.sudo && inventory.nginx.container.is_none() {
            for words in [&inventory.nginx.test, &dump_words(&inventory.nginx.test), &inventory.nginx.reload] {
                arguments.set("right", words.join(UNIT));
            }
        }
    }
    if host.is(Role::App) {
        if inventory.nginx.sudo {
            for words in app_rights(inventory) {
                arguments.set("right", words.join(UNIT));
            }
        }
        for (colour, app) in [(Colour::Blue, &inventory.blue), (Colour::Green, &inventory.green)] {
            arguments.set("colour", colour_words(colour, direction.side(colour), app).join(UNIT));
            release_words(&mut arguments, colour, patience(colour), app);
            if let Run::Command(commands) = &app.run {
                arguments.set("status", format!("{colour}{UNIT}{}", commands.status.join(UNIT)));
            }
        }
        arguments.set("ports", hex_ports(inventory.blue.ports().into_iter().chain(inventory.green.ports())));
        for (colour, app) in [(Colour::Blue, &inventory.blue), (Colour::Green, &inventory.green)] {
            // Where traffic goes is proven before anything moves; of what it leaves it is only said how it is.
            let times = if direction.side(colour) == Side::To { inventory.verify.passes } else { 1 };
            for _ in 0..times {
                for (n, url) in health_urls(app).enumerate() {
                    arguments.health(&format!("{colour}.health.{n}"), patience(colour), app, &url);
                }
            }
        }
    }
    for path in &inventory.evidence.files {
        // Only nginx's hosts have nginx's log; evidence leaves it out elsewhere, too.
        if (host.is(Role::Balancer) && inventory.nginx.container.is_none())
            || !path.as_str().ends_with("nginx/error.log")
        {
            arguments.set("evidence", path);
        }
    }
    if host.is(Role::Balancer) {
        let path = path_of(inventory.nginx.probe.as_str());
        let probe_host = inventory.nginx.probe_host.as_deref();
        for (colour, app) in [(Colour::Blue, &inventory.blue), (Colour::Green, &inventory.green)] {
            // Two answers of a lone server show what changes between answers.
            let times = if direction.side(colour) == Side::To && app.servers.len() == 1 { 2 } else { 1 };
            for server in app.servers.iter().take(MOST_DIRECT) {
                for _ in 0..times {
                    arguments.get(
                        &format!("{colour}.direct"),
                        patience(colour),
                        probe_host,
                        &direct_url(server.as_str(), path),
                    );
                }
            }
        }
        arguments.get("probe", SHORT_PATIENCE, probe_host, &inventory.nginx.probe_url());
    }
    arguments.lookups(inventory);
    arguments
}

/// The test command as the one that also prints what is loaded: `nginx -t` → `nginx -T`.
pub fn dump_words(test: &[String]) -> Vec<String> {
    test.iter().map(|word| if word == "-t" { "-T".to_owned() } else { word.clone() }).collect()
}

/// What `sudo -n` must allow on an app host besides what the facts script works out from the nginx file itself.
fn app_rights(inventory: &Inventory) -> Vec<Vec<String>> {
    let mut rights = Vec::new();
    for app in [&inventory.blue, &inventory.green] {
        rights.extend(rights_to_start(app));
        rights.extend(rights_to_stop(app));
    }
    rights
}

/// `NAME KIND UNIT-OR-CONTAINER COMPOSE-FILE PROJECT LOG FOLDER PROGRAM EXE PORTS`, with `-` for what there is not.
fn colour_words(colour: Colour, side: Side, app: &App) -> Vec<String> {
    let run = RunWords::of(&app.run);
    let log = app.log.as_ref().map_or("-", RemotePath::as_str);
    let (start, exe) = match &app.run {
        Run::Process { exe, start, .. } => (start.as_deref().map(StartPaths::of).unwrap_or_default(), exe.as_str()),
        Run::Systemd(_) | Run::Docker(_) | Run::Compose { .. } | Run::Command(_) => (StartPaths::default(), "-"),
    };
    let or_none = |path: Option<String>| path.unwrap_or_else(|| "-".to_owned());
    let (folder, program) = (or_none(start.folder), or_none(start.program));
    // Whether it could be started is asked of the one that traffic goes to.
    let ports = if side == Side::To { hex_ports(app.ports()) } else { "-".to_owned() };
    let colour = colour.to_string();
    let words = [&colour, run.kind, run.name, run.file, run.project, log, &folder, &program, exe, &ports];
    words.map(str::to_owned).to_vec()
}

/// What says which release a colour is: where to look for it, or whom to ask.
fn release_words(arguments: &mut Arguments, colour: Colour, patience: u64, app: &App) {
    let file = match &app.release {
        ReleaseSaid::ByUrl { url, .. } => {
            return arguments.health(&format!("{colour}.release"), patience, app, url.as_str());
        }
        ReleaseSaid::InFile(file) => file.as_str(),
        ReleaseSaid::Nowhere => "-",
    };
    let exe = match &app.run {
        // Its image says it.
        Run::Docker(_) | Run::Compose { .. } if file == "-" => return,
        Run::Process { exe, .. } => exe.as_str(),
        Run::Docker(_) | Run::Compose { .. } | Run::Systemd(_) | Run::Command(_) => "-",
    };
    let words = [&colour.to_string(), &hex_ports(app.ports()), file, exe];
    arguments.set("release", words.join(UNIT));
}

/// What a line for `sh -c` names before anything in it could be something else than it seems: `cd FOLDER &&`, and the path
/// of its program.
#[derive(Debug, Default, PartialEq, Eq)]
struct StartPaths {
    folder: Option<String>,
    program: Option<String>,
}

impl StartPaths {
    fn of(line: &str) -> StartPaths {
        let is_plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@:=,".contains(c));
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let mut found = StartPaths::default();
        if let ["cd", folder, "&&", ..] = words.as_slice()
            && is_plain(folder)
            && folder.starts_with('/')
        {
            found.folder = Some(folder.trim_end_matches('/').to_owned());
            words.drain(..3);
        }
        let is_before = |word: &&str| ["exec", "nohup", "setsid", "env"].contains(word) || word.contains('=');
        let mut rest = words.into_iter().skip_while(|word| is_plain(word) && is_before(word));
        found.program = match (rest.next().filter(|word| is_plain(word)), &found.folder) {
            (Some(path), _) if path.starts_with('/') => Some(path.to_owned()),
            (Some(path), Some(folder)) if path.contains('/') => {
                Some(format!("{folder}/{}", path.trim_start_matches("./")))
            }
            (Some(_) | None, _) => None,
        };
        found
    }
}

/// The path and query of an http URL.
pub fn path_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("/", |slash| &after_scheme[slash..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_line_names_its_folder_and_program_or_nothing() {
        let of = |line: &str| {
            let paths = StartPaths::of(line);
            (paths.folder.unwrap_or_default(), paths.program.unwrap_or_default())
        };
        let both = |folder: &str, program: &str| (folder.to_owned(), program.to_owned());
        assert_eq!(of("cd /opt/l && ./bin/green --port=8081"), both("/opt/l", "/opt/l/bin/green"));
        assert_eq!(of("cd /opt/l/ && PORT=1 exec bin/green"), both("/opt/l", "/opt/l/bin/green"));
        assert_eq!(of("nohup /opt/l/green"), both("", "/opt/l/green"));
        // What the shell would look for, or make something else of, is not known.
        for line in
            ["", "green", "./green", "cd $HOME && ./green", "\"/opt/my app/x\"", "cd /opt; ./x", "if true; then x"]
        {
            assert_eq!(of(line), both("", ""), "{line}");
        }
        assert_eq!(of("cd /opt && \"$X\"/bin"), both("/opt", ""));
    }
}
