//! Responsible for: into which access logs the requests to a service go, in which format, and what those can tell.
//!
//! Never: opens a log, or follows an include: it gets what `nginx -T` shows, file by file.

use std::collections::BTreeSet;

use logs::form::{COMBINED, Escape, Field, Form};

use super::found::ConfigFile;
use super::grammar::{Parsed, Statement, normal_address};
use super::passes::{is_named, is_pass, place_in};
use super::same_address;
use crate::nouns::inventory::Inventory;

/// A log that requests to the service are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// As nginx names it: a path, mostly.
    pub path: String,
    /// The text of its format, the pieces put together.
    pub form: String,
    pub escape: Escape,
    /// Why nothing can be judged by it, in words; none where it can.
    pub unfit: Option<String>,
    /// Whether it says which server was tried.
    pub names_servers: bool,
    /// Whether it says how long one took.
    pub tells_times: bool,
}

/// What nginx logs to where no `access_log` stands; Debian's and nginx.org's packages are built so.
const USUAL_LOG: &str = "/var/log/nginx/access.log";

/// The address of a server as nginx logs it.
pub fn logged_address(server: &str) -> String {
    normal_address(server)
}

/// The lines that would tell all of it, in a log of its own: several logs on one level are allowed.
pub fn log_lines(service: &str) -> String {
    format!(
        "log_format rollback '$msec|$remote_addr|$status|$upstream_addr|$upstream_status|$upstream_response_time|$request_time';\n\
         access_log /var/log/nginx/{service}.rollback.log rollback;"
    )
}

/// The logs of the servers and locations that pass to the service's upstreams or servers, each once. Of several on one level
/// the one that tells most: they all log the same requests.
pub fn access_logs(files: &[ConfigFile], inventory: &Inventory) -> Vec<AccessLog> {
    let files: Vec<Parsed<'_>> = files.iter().filter_map(|file| Parsed::from_text(&file.text).ok()).collect();
    let config = Config { ours: ours(&files, inventory), files: &files };
    let mut found: Vec<AccessLog> = Vec::new();
    let mut shared: BTreeSet<String> = BTreeSet::new();
    for file in &files {
        for pass in file.statements.iter().filter(|statement| is_pass(statement)) {
            let is_ours = config.is_ours(file, pass);
            let Some(log) = best(config.logs_of(file, pass)) else { continue };
            if !is_ours {
                shared.insert(log.path);
            } else if !found.iter().any(|known| known.path == log.path) {
                found.push(log);
            }
        }
    }
    for log in &mut found {
        if !log.names_servers && shared.contains(&log.path) && log.unfit.is_none() {
            log.unfit =
                Some("other sites write to it, too, and it does not say which server a request went to".to_owned());
        }
    }
    found
}

/// The names of upstreams with a server of either side.
fn ours(files: &[Parsed<'_>], inventory: &Inventory) -> Vec<String> {
    let servers: Vec<&str> = [&inventory.blue, &inventory.green]
        .into_iter()
        .flat_map(|app| &app.servers)
        .map(|server| server.as_str())
        .collect();
    let is_of_ours = |address: &str| servers.iter().any(|server| same_address(server, address));
    let upstreams = files.iter().flat_map(|file| {
        let blocks = (0..file.statements.len()).filter(|index| file.statements[*index].is_upstream());
        blocks.filter_map(|index| file.upstream(index).ok())
    });
    upstreams
        .filter(|upstream| upstream.servers.iter().any(|server| is_of_ours(&server.address)))
        .map(|upstream| upstream.name)
        .chain(servers.iter().map(|server| (*server).to_owned()))
        .collect()
}

fn best(logs: Vec<AccessLog>) -> Option<AccessLog> {
    let worth = |log: &AccessLog| (log.unfit.is_none(), log.names_servers, log.tells_times);
    logs.into_iter().max_by_key(worth)
}

struct Config<'c, 't> {
    files: &'c [Parsed<'t>],
    /// Names that requests of ours are passed to.
    ours: Vec<String>,
}

impl Config<'_, '_> {
    /// Whether requests are passed to the service there, by its name, its server, or a variable that nobody here explains.
    fn is_ours(&self, file: &Parsed<'_>, pass: &Statement) -> bool {
        let target = &pass.words[1].value;
        let targets = file.targets_of(target);
        if targets.is_empty() {
            return target.contains('$');
        }
        targets.iter().any(|target| {
            self.ours.iter().any(|name| is_named(target, name) || same_address(&target[place_in(target)], name))
        })
    }

    /// Those of the innermost level that has any.
    fn logs_of(&self, file: &Parsed<'_>, pass: &Statement) -> Vec<AccessLog> {
        let mut around = pass.parent;
        loop {
            let on_level: Vec<&Statement> = file
                .statements
                .iter()
                .filter(|statement| statement.name() == "access_log" && statement.parent == around)
                .collect();
            if !on_level.is_empty() {
                return self.logs(&on_level);
            }
            let Some(index) = around else { break };
            around = file.statements[index].parent;
        }
        let of_http: Vec<&Statement> = self
            .files
            .iter()
            .flat_map(|file| {
                file.statements.iter().filter(move |statement| {
                    statement.name() == "access_log"
                        && statement.parent.is_none_or(|parent| file.statements[parent].name() == "http")
                })
            })
            .collect();
        match of_http.is_empty() {
            true => vec![self.log(USUAL_LOG, "combined", None)],
            false => self.logs(&of_http),
        }
    }

    fn logs(&self, statements: &[&Statement]) -> Vec<AccessLog> {
        let words = |statement: &Statement| statement.values().skip(1).map(str::to_owned).collect::<Vec<_>>();
        let logs = statements.iter().filter_map(|statement| {
            let words = words(statement);
            let (path, more) = words.split_first()?;
            if path == "off" {
                return None;
            }
            let is_option = |word: &&String| word.contains('=') || *word == "gzip";
            let format = more.first().filter(|word| !is_option(word)).map_or("combined", String::as_str);
            let unfit = if let Some(condition) = more.iter().find(|word| word.starts_with("if=")) {
                Some(format!("only some requests are written to it ({condition})"))
            } else if more.iter().any(|word| word == "gzip" || word.starts_with("gzip=")) {
                Some("it is written packed".to_owned())
            } else if path.contains('$') {
                Some("its name has a variable in it".to_owned())
            } else if path.starts_with("syslog:") {
                Some("it goes to syslog".to_owned())
            } else {
                None
            };
            Some(self.log(path, format, unfit))
        });
        logs.collect()
    }

    fn log(&self, path: &str, format: &str, unfit: Option<String>) -> AccessLog {
        let written = self.format(format);
        let (form, escape) = written.clone().unwrap_or((COMBINED.to_owned(), Escape::Default));
        let parsed = Form::new(&form, escape);
        let unfit = unfit.or_else(|| match &written {
            None => Some(format!("its format {format} is defined nowhere")),
            Some(_) if form.contains('\n') => Some("its format has several lines".to_owned()),
            Some(_) if !parsed.tells(Field::Status) && !parsed.tells(Field::ServerStatuses) => {
                Some("it does not say how a request ended ($status)".to_owned())
            }
            Some(_) => None,
        });
        AccessLog {
            path: path.to_owned(),
            escape,
            unfit,
            names_servers: parsed.tells(Field::Servers),
            tells_times: parsed.tells(Field::ServerTimes) || parsed.tells(Field::RequestTime),
            form,
        }
    }

    fn format(&self, name: &str) -> Option<(String, Escape)> {
        let formats =
            self.files.iter().flat_map(|file| &file.statements).filter(|statement| statement.name() == "log_format");
        let named =
            formats.map(|statement| statement.values().collect::<Vec<_>>()).find(|words| words.get(1) == Some(&name));
        let Some(words) = named else {
            return (name == "combined").then(|| (COMBINED.to_owned(), Escape::Default));
        };
        let pieces = &words[2..];
        let (escape, pieces) = match pieces.first().and_then(|word| word.strip_prefix("escape=")) {
            Some("json") => (Escape::Json, &pieces[1..]),
            Some("none") => (Escape::Nothing, &pieces[1..]),
            Some(_) => (Escape::Default, &pieces[1..]),
            None => (Escape::Default, pieces),
        };
        Some((pieces.concat(), escape))
    }
}
