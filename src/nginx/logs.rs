//! Responsible for: into which access logs the requests to a service go, in which format, and what those can tell.
//!
//! Never: opens a log, or follows an include: it gets what `nginx -T` shows, file by file.

use std::collections::BTreeSet;

use logs::form::{COMBINED, Escape, Field, Form};

use super::found::{ConfigFile, parsed, upstreams};
use super::grammar::{Parsed, Statement, normal_address};
use super::passes::{is_named, is_pass, place_in};
use super::same_address;
use crate::nouns::colour::{Colour, Each};
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
    /// Whether it stands in the file that passes the requests, around where it does.
    pub is_of_file: bool,
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

/// How the requests to a service are logged.
#[derive(Debug)]
pub struct Logging {
    /// The logs of the servers and locations that pass to the service's upstreams or servers, each once. Of several on one
    /// level the one that tells most: they all log the same requests.
    pub logs: Vec<AccessLog>,
    /// The upstreams with servers of the service, as nginx logs them where it could try none; and whose they are, where of one
    /// side alone.
    pub upstreams: Vec<(String, Option<Colour>)>,
}

pub fn logging(files: &[ConfigFile], inventory: &Inventory) -> Logging {
    let files = parsed(files);
    let servers = Each::from(|colour| inventory.app(colour).addresses());
    let upstreams: Vec<(String, Option<Colour>)> = upstreams(&files, &servers)
        .into_iter()
        .map(|of| (of.name, of.sides.find(|has| *has).filter(|_| of.sides.blue != of.sides.green)))
        .collect();
    let ours = upstreams.iter().map(|(name, _)| name).chain(&servers.blue).chain(&servers.green);
    let config = Config { ours: ours.cloned().collect(), files: &files };
    let mut found = config.logs_where(|file, pass| config.passes_to_us(file, pass));
    if found.is_empty() {
        // By a variable that nobody here explains.
        found = config.logs_where(|_, pass| pass.words[1].value.contains('$'));
    }
    let shared = config.logs_of_others();
    for log in &mut found {
        if !log.names_servers && shared.contains(&log.path) && log.unfit.is_none() {
            log.unfit =
                Some("other sites write to it, too, and it does not say which server a request went to".to_owned());
        }
    }
    Logging { logs: found, upstreams }
}

fn best(logs: Vec<AccessLog>) -> Option<AccessLog> {
    let worth = |log: &AccessLog| (log.unfit.is_none(), log.names_servers, log.tells_times);
    logs.into_iter().max_by_key(worth)
}

struct Config<'c> {
    files: &'c [(&'c str, Parsed<'c>)],
    /// Names that requests of ours are passed to.
    ours: Vec<String>,
}

impl Config<'_> {
    fn files(&self) -> impl Iterator<Item = &Parsed<'_>> {
        self.files.iter().map(|(_, file)| file)
    }

    /// Whether requests are passed to the service there, by its upstream's name or its server.
    fn passes_to_us(&self, file: &Parsed<'_>, pass: &Statement) -> bool {
        file.targets_of(&pass.words[1].value).iter().any(|target| {
            self.ours.iter().any(|name| is_named(target, name) || same_address(&target[place_in(target)], name))
        })
    }

    /// The best log of each place that passes requests so, each once. A stream has none.
    fn logs_where(&self, is_it: impl Fn(&Parsed<'_>, &Statement) -> bool) -> Vec<AccessLog> {
        let mut found: Vec<AccessLog> = Vec::new();
        for file in self.files() {
            let passes = file.statements.iter().filter(|pass| is_pass(pass) && !file.is_in(pass, "stream"));
            for pass in passes.filter(|pass| is_it(file, pass)) {
                let Some(mut log) = best(self.logs_at(file, pass.parent)) else { continue };
                if !file.is_in(pass, "server") && !log.is_of_file {
                    // A part that some server includes: that server's own log is not seen from here.
                    log.unfit = Some("which server includes the part that passes the requests is not known".to_owned());
                }
                if !found.iter().any(|known| known.path == log.path) {
                    found.push(log);
                }
            }
        }
        found
    }

    /// All logs of servers that do not pass to the service.
    fn logs_of_others(&self) -> BTreeSet<String> {
        let mut others = BTreeSet::new();
        for file in self.files() {
            for (index, server) in file.statements.iter().enumerate() {
                let is_server = server.body.is_some() && server.name() == "server" && !file.is_in(server, "upstream");
                if !is_server || file.is_in(server, "stream") {
                    continue;
                }
                let inside = |of: &Statement| server.span.start < of.span.start && of.span.end < server.span.end;
                let is_ours = file.statements.iter().any(|pass| {
                    is_pass(pass)
                        && inside(pass)
                        && (self.passes_to_us(file, pass) || pass.words[1].value.contains('$'))
                });
                if is_ours {
                    continue;
                }
                let own: Vec<&Statement> =
                    file.statements.iter().filter(|of| of.name() == "access_log" && inside(of)).collect();
                let logs = if own.is_empty() { self.logs_at(file, Some(index)) } else { self.logs(&own) };
                others.extend(logs.into_iter().map(|log| log.path));
            }
        }
        others
    }

    /// Those of the innermost level that has any.
    fn logs_at(&self, file: &Parsed<'_>, mut around: Option<usize>) -> Vec<AccessLog> {
        loop {
            let on_level: Vec<&Statement> = file
                .statements
                .iter()
                .filter(|statement| statement.name() == "access_log" && statement.parent == around)
                .collect();
            if !on_level.is_empty() {
                let is_of_file = true;
                return self.logs(&on_level).into_iter().map(|log| AccessLog { is_of_file, ..log }).collect();
            }
            let Some(index) = around else { break };
            around = file.statements[index].parent;
        }
        let of_http: Vec<&Statement> = self
            .files()
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
            is_of_file: false,
            form,
        }
    }

    fn format(&self, name: &str) -> Option<(String, Escape)> {
        let formats =
            self.files().flat_map(|file| &file.statements).filter(|statement| statement.name() == "log_format");
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
