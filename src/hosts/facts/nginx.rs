//! What nginx has on disk, what it has loaded and whether it runs. Understanding the file is `crate::nginx`'s.

use std::collections::BTreeMap;

use serde::Serialize;

use super::container::Contained;
use super::mark::{Origin, answered_by, mark, only_one_answers, origin};
use super::{Get, NotKnown};
use crate::hosts::answer::Answer;
use crate::nginx::{ConfigFile, Serving, SideTexts, Site, files_of_dump};
use crate::nouns::colour::Colour;
use crate::nouns::digest::sha256;
use crate::nouns::inventory::{Host, Inventory, Layout};
use crate::nouns::joined;
use crate::nouns::octets::{bytes_of, text_of};
use crate::nouns::plan::{FileChange, Mark, Mounted};
use crate::nouns::side::{Direction, Side};

/// What begins a log that is no file of the host: with a path, a file in the container; alone, what the container prints.
pub const IN_CONTAINER: &str = "container:";

#[derive(Debug, Clone, Serialize)]
pub struct NginxFacts {
    /// The file behind all links.
    pub path: Result<String, NotKnown>,
    /// Those that are changed with it, behind all links; the text is that of all then.
    pub also: Vec<String>,
    /// Of these files that nginx does not read.
    pub unread: Vec<(String, Option<String>)>,
    /// `user:group mode links`, as stat says.
    pub stat: String,
    /// How the container has it that nginx runs in, where it runs in one.
    pub mounted: Option<Mounted>,
    /// What nginx has loaded, and what lies beside the file; only where the config does not say in which way that file says
    /// who serves.
    #[serde(skip)]
    pub loaded: Vec<ConfigFile>,
    #[serde(skip)]
    pub beside: Vec<ConfigFile>,
    #[serde(skip)]
    pub is_link: bool,
    /// Names of servers that the container finds, with their addresses.
    pub known: BTreeMap<String, String>,
    /// What decides in it: its bytes; of a link that is itself what is changed, where it points.
    pub text: Result<String, NotKnown>,
    /// The files of the two sides, in a layout that has some.
    pub side_texts: SideTexts,
    pub sha256: Option<String>,
    /// Whether the configuration that is on disk now passes nginx's own test.
    pub is_valid: Result<(), NotKnown>,
    /// Whether nginx reads the file at all: this one, not one of its name.
    pub is_loaded: Result<bool, NotKnown>,
    /// The files that nginx reads in which an upstream of the config's name begins, as nginx names them; none where no
    /// upstream is what is changed.
    pub defined_in: Vec<String>,
    /// What it said before a run that lost its power in the middle of a change, beside it.
    pub left: Option<String>,
    /// A file of the same name that nginx reads.
    pub read_instead: Option<String>,
    pub pidfile: String,
    pub master: Option<u32>,
    pub workers: usize,
    pub error_logs: Vec<String>,
    pub access_logs: Vec<String>,
    /// Lines of other files that name a server of the side that traffic leaves.
    pub mentions: Vec<String>,
    /// Of the names of the side that traffic leaves those that the host's own file of names has, whoever is there.
    pub kept_names: Vec<String>,
    /// The answer of the probe, and whose it is as far as it can be told.
    pub probe: Get,
    pub probe_answered_by: Option<Colour>,
    pub probe_origin: Origin,
    /// What an answer of the side that traffic goes to has and one of the other has not.
    pub mark: Option<Mark>,
}

impl NginxFacts {
    /// From now on as it will be once that change is made: of its files those that are ours, too.
    pub(super) fn follow(&mut self, change: &FileChange) {
        let (Ok(path), Ok(text)) = (&self.path, &self.text) else { return };
        let theirs: Vec<(&String, &str)> =
            [&change.path].into_iter().chain(&change.also).zip(joined::parts(&change.after)).collect();
        let ours = [path].into_iter().chain(&self.also).zip(joined::parts(text));
        let texts: Vec<&str> = ours
            .map(|(path, text)| theirs.iter().find(|(of, _)| *of == path).map_or(text, |(_, after)| *after))
            .collect();
        let text = texts.join(joined::NEXT);
        self.sha256 = Some(sha256(&bytes_of(&text)));
        self.text = Ok(text);
    }
}

pub(super) fn read(
    inventory: &Inventory,
    direction: Direction,
    host: &Host,
    answer: &Answer,
    gets: &BTreeMap<String, Vec<Get>>,
) -> NginxFacts {
    let text = |name: &str| answer.text(name).unwrap_or_default();
    let hint = |command: &str| Some(format!("ssh {} {command}", host.ssh));
    let configured = inventory.nginx.file.as_str();
    let is_link = matches!(inventory.nginx.layout, Layout::Link(_));
    let container = inventory.nginx.container.as_ref();
    let contained = container.map(|name| Contained::read(name, host, &text("nginx.container"))).unwrap_or_default();
    let links = text("nginx.link");
    let mut links = links.lines();
    let first = links.next().unwrap_or_default().to_owned();
    let path = match (&contained.refusal, first) {
        (Some(refusal), _) => Err(refusal.clone()),
        (None, path) if path.starts_with('/') && answer.status_of("nginx.stat") == Some(0) => Ok(path),
        (None, _) => Err(NotKnown {
            why: format!("{configured} does not exist there"),
            hint: hint(&format!("ls -l {configured}")),
        }),
    };
    let file = match (&path, answer.bytes("nginx.text"), answer.status_of("nginx.text")) {
        (Err(err), _, _) => Err(err.clone()),
        (Ok(_), Some(bytes), Some(0)) => Ok(text_of(bytes)),
        (Ok(path), ..) if is_link => {
            Err(NotKnown { why: format!("{path} is no link"), hint: hint(&format!("ls -l {path}")) })
        }
        (Ok(path), said, _) => Err(NotKnown {
            why: format!("{path} cannot be read: {}", String::from_utf8_lossy(said.unwrap_or_default()).trim()),
            hint: hint(&format!("ls -l {path}")),
        }),
    };
    let dump = text("nginx.dump");
    let dumped = answer.status_of("nginx.dump");
    let test = inventory.nginx.test.join(" ");
    let is_valid = match dumped {
        Some(0) => Ok(()),
        _ => Err(NotKnown {
            why: format!("{test} fails there already: {}", complaint(&dump)),
            hint: hint(&match container {
                Some(name) => format!("{} exec {name} {test}", contained.engine),
                None if inventory.nginx.sudo => format!("sudo -n {test}"),
                None => test.clone(),
            }),
        }),
    };
    let files: Vec<&str> = dump
        .lines()
        .filter_map(|line| line.strip_prefix("# configuration file "))
        .map(|line| line.trim_end_matches(':'))
        .collect();
    // nginx names the file as its include does, which may be a link to it: what counts is that it is the same file.
    let same = text("nginx.same");
    let same: Vec<&str> = same.lines().collect();
    let is_loaded = match (&is_valid, &path, files.is_empty()) {
        (Err(err), _, _) => Err(err.clone()),
        (_, Err(err), _) => Err(err.clone()),
        (_, _, true) => {
            Err(NotKnown { why: format!("{test} cannot be turned into a dump of what is loaded"), hint: None })
        }
        (Ok(()), Ok(path), false) => {
            let is_named = |file: &&str| container.is_none() && (*file == path || *file == configured);
            Ok(files.iter().any(|file| is_named(file) || same.contains(file)))
        }
    };
    // Of a container it is said what each is.
    let said = text("nginx.logs");
    let contained_logs: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    let logs = |directive: &str| -> Vec<String> {
        let mut logs: Vec<String> =
            dump.lines()
                .filter_map(|line| line.trim().strip_prefix(directive)?.split_whitespace().next())
                .map(|path| path.trim_end_matches(';').trim_matches('"').to_owned())
                .filter_map(|path| match container {
                    Some(_) => {
                        let path = if path == "stderr" { "/dev/stderr" } else { path.as_str() };
                        contained_logs.get(path).map(|log| (*log).to_owned())
                    }
                    None => Some(path)
                        .filter(|path| path.starts_with('/') && !path.contains('$') && !path.starts_with("/dev/")),
                })
                .collect();
        logs.sort();
        logs.dedup();
        logs
    };
    let probe = gets.get("probe").and_then(|gets| gets.first()).cloned().unwrap_or_default();
    let direct = |side: Side| {
        let colour = direction.colour(side);
        gets.get(&format!("{colour}.direct")).map(Vec::as_slice).unwrap_or_default()
    };
    let (to, from) = (direct(Side::To), direct(Side::From));
    let mark = mark(direction.colour(Side::To), to, from, &probe);
    let both: Vec<&Get> = to.iter().chain(from).collect();
    let probe_origin = origin(&probe, &both, mark.as_ref(), file.as_deref().unwrap_or_default());
    let error_logs = match logs("error_log ") {
        // nginx's own default, which a dump does not show
        none if none.is_empty() => {
            let log = "/var/log/nginx/error.log";
            vec![
                if container.is_some() { contained_logs.get(log).copied().unwrap_or(IN_CONTAINER) } else { log }
                    .to_owned(),
            ]
        }
        some => some,
    };
    let access_logs = match logs("access_log ") {
        // Where nothing could be dumped, it is what people's images have.
        none if none.is_empty() && is_valid.is_err() && container.is_some() => vec![IN_CONTAINER.to_owned()],
        some => some,
    };
    let also: Vec<String> = links.map(str::to_owned).collect();
    let own: Vec<&str> =
        path.iter().chain(&also).map(String::as_str).chain([configured]).chain(same.iter().copied()).collect();
    let mentions = dump
        .lines()
        .filter_map(|line| line.strip_prefix("mention "))
        .filter(|line| {
            let file = line.split_whitespace().next().unwrap_or("");
            !own.contains(&file)
        })
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    NginxFacts {
        sha256: file.as_ref().ok().map(|text| sha256(&bytes_of(text))),
        also,
        unread: text("nginx.unread").lines().map(|path| (path.to_owned(), of_that_name(&files, path))).collect(),
        left: Some(text("nginx.left")).filter(|left| !left.is_empty()),
        read_instead: of_that_name(&files, configured),
        stat: text("nginx.stat").trim().to_owned(),
        mounted: contained.mounted,
        known: contained.known,
        loaded: loaded_files(answer),
        beside: files_beside(answer),
        is_link: text("nginx.is_link") == "yes",
        side_texts: SideTexts::from(|colour| side_text(answer, colour)),
        text: file,
        is_valid,
        is_loaded,
        defined_in: match &inventory.nginx.layout {
            Layout::Weights { upstreams, .. } => upstreams.first().map_or(Vec::new(), |name| defined_in(&dump, name)),
            Layout::Word { .. } | Layout::Link(_) | Layout::Copy(_) | Layout::NotSaid => Vec::new(),
        },
        pidfile: text("nginx.pidfile").trim().to_owned(),
        master: text("nginx.master").trim().parse().ok(),
        workers: text("nginx.workers").lines().filter(|line| line.ends_with(" open")).count(),
        error_logs,
        access_logs,
        mentions,
        kept_names: text("nginx.names").lines().map(str::to_owned).collect(),
        probe_answered_by: match probe_origin {
            Origin::NginxItself => None,
            Origin::App | Origin::NotKnown => answered_by(&probe, mark.as_ref())
                .or_else(|| only_one_answers(&probe, to, from))
                .map(|side| direction.colour(side)),
        },
        probe_origin,
        probe,
        mark,
        path,
    }
}

fn side_text(answer: &Answer, colour: Colour) -> Option<String> {
    let name = format!("nginx.{colour}");
    answer.bytes(&name).filter(|_| answer.status_of(&name) == Some(0)).map(text_of)
}

/// The files of a whole dump.
pub fn loaded_files(answer: &Answer) -> Vec<ConfigFile> {
    files_of_dump(&answer.bytes("nginx.whole").map(text_of).unwrap_or_default())
}

fn files_beside(answer: &Answer) -> Vec<ConfigFile> {
    let files = answer.all("nginx.beside");
    let files = files.filter_map(|said| said.split_once('\n').map(|(path, text)| (path.to_owned(), text.to_owned())));
    files.map(|(path, text)| ConfigFile { path, text: text.trim_end().to_owned() + "\n" }).collect()
}

/// Of the files of a dump one that is called like that path.
fn of_that_name(files: &[&str], path: &str) -> Option<String> {
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    files.iter().find(|file| **file != path && name(file) == name(path)).map(|file| (*file).to_owned())
}

/// Of the files of a dump those in which that upstream begins.
fn defined_in(dump: &str, upstream: &str) -> Vec<String> {
    let mut file = "";
    let mut found: Vec<String> = Vec::new();
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix("# configuration file ") {
            file = name.trim_end_matches(':');
        } else if let Some(rest) = line.trim_start().strip_prefix("upstream") {
            let name = rest.split('{').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
            if name.eq_ignore_ascii_case(upstream) && !found.iter().any(|known| known == file) {
                found.push(file.to_owned());
            }
        }
    }
    found
}

/// The line of nginx's or sudo's complaint that says most.
fn complaint(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let emerg = lines.iter().find(|line| line.contains("[emerg]"));
    let other = lines.iter().find(|line| !line.starts_with("# configuration file"));
    (*emerg.or(other).unwrap_or(&"it says nothing")).to_owned()
}

/// Whether the file's upstream sends to blue, green, both or neither; `None` where the file is not understood.
pub fn serving(inventory: &Inventory, nginx: &NginxFacts) -> Option<Serving> {
    let text = nginx.text.as_ref().ok()?;
    Site::of(inventory, &nginx.side_texts).serving(text).ok()
}
