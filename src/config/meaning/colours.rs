//! The two colours: what each is made of, and that they are two. Never takes one for the other: what is the same in
//! both is a problem, however it is written.

use super::Meaning;
use super::words::optional;
use crate::config::file;
use crate::config::tree::ALTERNATIVES;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{App, Commands, Header, HealthWith, Reach, ReleaseSaid, Run};
use crate::nouns::names::{ContainerName, RemotePath, ServerAddress, UnitName};
use crate::nouns::secret::Secret;

/// What a colour is made of: `None` is missing or wrong, and reported.
#[derive(Default)]
pub(super) struct Site {
    servers: Option<Vec<ServerAddress>>,
    pub(super) run: Option<Run>,
}

impl Meaning<'_, '_, '_> {
    /// What of a colour can be held against the other one, as far as it is right.
    pub(super) fn site(&mut self, colour: Colour, app: &file::AppTable) -> Site {
        let servers = app.servers.as_ref().and_then(|servers| self.servers(&format!("{colour}.servers"), servers));
        let run = app.run.as_ref().and_then(|run| self.run(&format!("{colour}.run"), run, servers.as_deref()));
        Site { servers, run }
    }

    /// `has_container`: nginx runs in a container.
    pub(super) fn app(&mut self, colour: Colour, app: &file::AppTable, site: Site, has_container: bool) -> Option<App> {
        let at = |key: &str| format!("{colour}.{key}");
        let health = self.each(&at("health"), &app.health, Self::url);
        let health_with = match &app.health_with {
            Some(table) => self.health_with(&at("health_with"), table),
            None => Some(HealthWith::default()),
        };
        let log = optional(&app.log, |word| self.word(&at("log"), word, RemotePath::new));
        let release = self.release(colour, app);
        let stop_timeout = self.wait(&at("stop_timeout"), &app.stop_timeout);
        let (servers, run) = (site.servers?, site.run?);
        // A name without a dot is one of a network of containers, and each host has its own.
        let is_own = |server: &ServerAddress| {
            server.is_local() || (has_container && server.name().is_some_and(|name| !name.contains('.')))
        };
        let reach = if servers.iter().all(is_own) { Reach::OwnHost } else { Reach::AnyBalancer };
        Some(App {
            colour,
            servers,
            reach,
            health: health?,
            health_with: health_with?,
            log: log.ok()?,
            release: release?,
            run,
            stop_timeout: stop_timeout?,
        })
    }

    /// What says which release it is: a path, or a URL with the header that counts.
    fn release(&mut self, colour: Colour, app: &file::AppTable) -> Option<ReleaseSaid> {
        let (path, header) = (format!("{colour}.release"), format!("{colour}.release_header"));
        let is_url = app.release.as_ref().is_some_and(|text| text.contains("://"));
        if app.release_header.is_some() && !is_url {
            self.wrong(&header, "only the answer of a URL has headers").hint =
                Some(format!("{colour}.release = \"http://…\" says which answer is meant"));
            return None;
        }
        match &app.release {
            None => Some(ReleaseSaid::Nowhere),
            Some(text) if is_url => {
                let url = self.url(&path, text);
                let header = optional(&app.release_header, |name| {
                    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                    if !is_name {
                        self.wrong(&header, format!("{name:?} is not the name of a header")).hint =
                            Some("for example \"X-Version\"".into());
                    }
                    is_name.then(|| name.to_owned())
                });
                Some(ReleaseSaid::ByUrl { url: url?, header: header.ok()? })
            }
            Some(text) => self.word(&path, text, RemotePath::new).map(ReleaseSaid::InFile),
        }
    }

    fn health_with(&mut self, path: &str, table: &file::HealthWithTable) -> Option<HealthWith> {
        let headers = self.each(&format!("{path}.headers"), &table.headers, Self::header);
        let ca = optional(&table.ca, |word| self.word(&format!("{path}.ca"), word, RemotePath::new));
        if table.insecure && table.ca.is_some() {
            self.wrong(&format!("{path}.insecure"), "it and ca exclude each other: with it any certificate will do");
            return None;
        }
        Some(HealthWith { headers: headers?, ca: ca.ok()?, insecure: table.insecure, statuses: table.statuses.clone() })
    }

    /// A line of a request's head. Never says what stands in it: it may be a secret.
    fn header(&mut self, path: &str, line: &str) -> Option<Header> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let why = match line.split_once(':') {
            _ if line.chars().any(char::is_control) => "has a control character in it",
            Some((name, value)) if !name.is_empty() && name.chars().all(is_token) && !value.trim().is_empty() => {
                let is_from_variable = self.tree.get(path).is_some_and(|node| node.variable.is_some());
                let hidden = is_from_variable.then(|| Secret::new(value.trim()));
                return Some(Header { line: Secret::new(line), hidden });
            }
            _ => "is not a line of a head",
        };
        self.wrong(path, why).hint = Some("for example \"Host: listings.example.com\"".into());
        None
    }

    fn servers(&mut self, path: &str, texts: &[String]) -> Option<Vec<ServerAddress>> {
        if texts.is_empty() {
            self.wrong(path, "there must be at least one server");
            return None;
        }
        self.each(path, texts, |meaning, path, text| {
            let server = meaning.word(path, text, ServerAddress::new)?;
            let why = match server.unix_path() {
                Some(socket) if !socket.starts_with('/') => "is not unix: and an absolute path",
                None if server.port().is_none_or(|port| port == 0) => "has no port from 1 to 65535",
                _ => return Some(server),
            };
            meaning.wrong(path, format!("{text:?} {why}"));
            None
        })
    }

    fn run(&mut self, path: &str, run: &file::RunTable, servers: Option<&[ServerAddress]>) -> Option<Run> {
        self.exactly_one(path, ALTERNATIVES[0])?;
        if let Some(unit) = &run.systemd {
            return self.word(&format!("{path}.systemd"), unit, UnitName::new).map(Run::Systemd);
        }
        if let Some(name) = &run.docker {
            return self.word(&format!("{path}.docker"), name, ContainerName::new).map(Run::Docker);
        }
        if let Some(compose) = &run.compose {
            let at = |key: &str| format!("{path}.compose.{key}");
            let file = compose.file.as_ref().and_then(|word| self.word(&at("file"), word, RemotePath::new));
            let service = compose.service.as_ref().and_then(|word| self.word(&at("service"), word, ContainerName::new));
            let project = optional(&compose.project, |word| self.word(&at("project"), word, ContainerName::new));
            return Some(Run::Compose { file: file?, project: project.ok()?, service: service? });
        }
        if let Some(command) = &run.command {
            let mut words = |key: &str, words: &Option<Vec<String>>| {
                let path = format!("{path}.command.{key}");
                let words = words.as_ref()?;
                if words.first().is_none_or(String::is_empty) {
                    self.wrong(&path, "names no command");
                    return None;
                }
                self.each(&path, words, Self::command_word)
            };
            let (start, stop) = (words("start", &command.start), words("stop", &command.stop));
            let status = words("status", &command.status);
            return Some(Run::Command(Commands { start: start?, stop: stop?, status: status? }));
        }
        let process = run.process.as_ref()?;
        let at = |key: &str| format!("{path}.process.{key}");
        let exe = process.exe.as_ref().and_then(|word| self.word(&at("exe"), word, RemotePath::new));
        let start = self.shell_line(&at("start"), &process.start);
        if let (Some(port), Some(servers)) = (process.port, servers)
            && !servers.iter().any(|server| server.port() == Some(port))
        {
            let servers: Vec<&str> = servers.iter().map(ServerAddress::as_str).collect();
            self.wrong(&at("port"), format!("{port} is not a port of its servers ({})", servers.join(", ")));
        }
        Some(Run::Process { exe: exe?, port: process.port?, start: start.ok()? })
    }

    pub(super) fn colours_differ(&mut self, blue: &Site, green: &Site) {
        let blues: Vec<String> = blue.servers.iter().flatten().map(plain_server).collect();
        for (index, server) in green.servers.iter().flatten().enumerate() {
            if blues.contains(&plain_server(server)) {
                self.wrong(&format!("green.servers.{index}"), format!("{:?} is blue's too", server.as_str()));
            }
        }
        if let (Some(blue), Some(green)) = (&blue.run, &green.run)
            && same_unit(blue, green)
        {
            let what = format!("is {}, which is blue's too; to stop green would stop blue", green.describe());
            self.wrong("green.run", what);
        }
    }
}

/// The same server, however it is written.
fn plain_server(server: &ServerAddress) -> String {
    match server.port() {
        None => server.as_str().into(),
        Some(port) => {
            let host =
                server.as_str().strip_suffix(&format!(":{port}")).unwrap_or(server.as_str()).to_ascii_lowercase();
            format!("{}:{port}", if host == "localhost" { "127.0.0.1" } else { &host })
        }
    }
}

fn same_unit(blue: &Run, green: &Run) -> bool {
    match (blue, green) {
        (Run::Systemd(blue), Run::Systemd(green)) => {
            let plain = |unit: &UnitName| unit.as_str().trim_end_matches(".service").to_owned();
            plain(blue) == plain(green)
        }
        (Run::Docker(_) | Run::Compose { .. } | Run::Systemd(_), _) => blue == green,
        (Run::Command(blue), Run::Command(green)) => blue.stop == green.stop,
        // One program on two ports is the usual case; the ports differ because the servers do.
        (Run::Process { exe, port, .. }, Run::Process { exe: other, port: other_port, .. }) => {
            exe == other && port == other_port
        }
        (Run::Process { .. } | Run::Command(_), _) => false,
    }
}
