//! Responsible for: a layout that the config does not name. Which of them it is, by the servers of the two sides, in the files
//! that nginx has loaded; and what the config would say of it.
//!
//! Never: decides anything. What it finds is for an operator to read and to write down.

use super::grammar::Parsed;
use super::passes::{Given, is_named, is_pass, name_in, place_in, variable_in};
use super::same_address;
use crate::nouns::colour::{Colour, Each};

/// What stands around the name of a variable.
const MARKS: [char; 3] = ['$', '{', '}'];

/// A file of nginx's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    pub path: String,
    pub text: String,
}

/// The files that `nginx -T` shows.
pub fn files_of_dump(dump: &str) -> Vec<ConfigFile> {
    let mut found: Vec<ConfigFile> = Vec::new();
    for line in dump.split_inclusive('\n') {
        let head = line.trim_end().strip_prefix("# configuration file ").and_then(|rest| rest.strip_suffix(':'));
        match (head, found.last_mut()) {
            (Some(path), _) => found.push(ConfigFile { path: path.to_owned(), text: String::new() }),
            (None, Some(file)) => file.text.push_str(line),
            (None, None) => {}
        }
    }
    // It puts a newline behind each.
    for file in &mut found {
        if file.text.ends_with("\n\n") {
            file.text.pop();
        }
    }
    found
}

/// What a host has, as far as it says who serves.
#[derive(Debug, Clone, Copy)]
pub struct Clues<'a> {
    /// The file that the config names, and the one behind all links.
    pub named: &'a str,
    pub behind: &'a str,
    /// Whether what the config names is itself a link.
    pub is_link: bool,
    /// All that nginx has loaded, by the names that it has for them.
    pub loaded: &'a [ConfigFile],
    /// What lies in the folder of the named file and in that behind it.
    pub beside: &'a [ConfigFile],
}

/// A layout, in words, and the lines of `[nginx]` that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLayout {
    pub what: &'static str,
    pub lines: Vec<String>,
}

/// Which layout it is; `None` where no file sends to a server of either side.
pub fn find(clues: Clues<'_>, servers: &Each<Vec<String>>) -> Option<FoundLayout> {
    let files = parsed(clues.loaded);
    let search = Search { clues, servers, upstreams: upstreams(&files, servers), files };
    let both = |of: &Stands<'_>| of.sides.blue && of.sides.green;
    search
        .weights(both)
        .or_else(|| search.variable())
        .or_else(|| search.side_files())
        .or_else(|| search.pass())
        // The side that does not serve stands nowhere: one server that a deploy edits.
        .or_else(|| search.weights(|of| of.sides.blue || of.sides.green))
}

/// Those that are understood, with their paths.
pub(super) fn parsed(files: &[ConfigFile]) -> Vec<(&str, Parsed<'_>)> {
    files.iter().filter_map(|file| Some((file.path.as_str(), Parsed::from_text(&file.text).ok()?))).collect()
}

/// Those of which it is true, where it is of any.
fn narrowed<'s, 'f>(all: Vec<&'s Stands<'f>>, is_one: impl Fn(&Stands<'f>) -> bool) -> Vec<&'s Stands<'f>> {
    let some: Vec<&Stands<'f>> = all.iter().filter(|of| is_one(of)).copied().collect();
    if some.is_empty() { all } else { some }
}

/// An upstream with servers of ours.
pub(super) struct Stands<'f> {
    pub(super) name: String,
    file: &'f str,
    pub(super) sides: Each<bool>,
}

/// Whom a word passes to, and the word that would pass to the other side.
struct Passed {
    colour: Colour,
    others_word: String,
}

struct Search<'a> {
    clues: Clues<'a>,
    servers: &'a Each<Vec<String>>,
    upstreams: Vec<Stands<'a>>,
    files: Vec<(&'a str, Parsed<'a>)>,
}

pub(super) fn upstreams<'f>(files: &[(&'f str, Parsed<'_>)], servers: &Each<Vec<String>>) -> Vec<Stands<'f>> {
    let of_file = |(path, file): &(&'f str, Parsed<'_>)| {
        let path = *path;
        let blocks = (0..file.statements.len()).filter(|index| file.statements[*index].is_upstream());
        let upstreams: Vec<_> = blocks.filter_map(|index| file.upstream(index).ok()).collect();
        upstreams.into_iter().map(move |upstream| {
            let has = |address: &String| upstream.servers.iter().any(|server| same_address(&server.address, address));
            let sides = Each::from(|colour| servers.of(colour).iter().any(has));
            Stands { name: upstream.name, file: path, sides }
        })
    };
    files.iter().flat_map(of_file).filter(|stands| stands.sides.blue || stands.sides.green).collect()
}

/// The lines of a layout that names something of each side, given as that side's and the other's.
fn of_sides(switch: &str, colour: Colour, own: &str, other: &str) -> [String; 3] {
    let (blue, green) = if colour == Colour::Blue { (own, other) } else { (other, own) };
    [format!("switch = \"{switch}\""), format!("blue = \"{blue}\""), format!("green = \"{green}\"")]
}

impl Search<'_> {
    /// The line that names a file, where it is another one than the config does.
    fn file_line(&self, path: &str) -> Option<String> {
        let is_named = [self.clues.named, self.clues.behind].contains(&path) || {
            let text = |of: &str| self.clues.loaded.iter().find(|file| file.path == of).map(|file| &file.text);
            text(path).is_some_and(|text| {
                self.clues.beside.iter().any(|file| file.path == self.clues.behind && file.text == *text)
            })
        };
        (!is_named).then(|| format!("file = \"{path}\""))
    }

    fn found(&self, what: &'static str, path: &str, lines: impl IntoIterator<Item = String>) -> FoundLayout {
        FoundLayout { what, lines: self.file_line(path).into_iter().chain(lines).collect() }
    }

    fn weights(&self, is_one: impl Fn(&Stands<'_>) -> bool) -> Option<FoundLayout> {
        let all: Vec<&Stands<'_>> = self.upstreams.iter().filter(|stands| is_one(stands)).collect();
        // What is passed to is what serves: beside it there may be one for each side that only a check asks.
        let is_passed_to = |of: &Stands<'_>| self.passes().any(|(_, target)| is_named(target, &of.name));
        let is_no_sides = |of: &Stands<'_>| !["blue", "green"].iter().any(|side| of.name.to_lowercase().contains(side));
        let all = narrowed(narrowed(all, is_passed_to), is_no_sides);
        let of_named = all.iter().find(|stands| self.file_line(stands.file).is_none());
        let file = of_named.or(all.first())?.file;
        // One of several that shows one server alone is edited by its deploy beside the others.
        let is_beside = |of: &&Stands<'_>| is_passed_to(of) && is_no_sides(of);
        let is_one_of =
            |of: &&Stands<'_>| of.file == file && (all.iter().any(|one| one.name == of.name) || is_beside(of));
        let names: Vec<&str> = self.upstreams.iter().filter(is_one_of).map(|of| of.name.as_str()).collect();
        let line = match names.as_slice() {
            [one] => format!("upstream = \"{one}\""),
            several => format!(
                "upstreams = [{}]",
                several.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
            ),
        };
        Some(self.found("weights of the servers of an upstream", file, [line]))
    }

    /// What is passed to as a side's: its own upstreams, and its server where it has one.
    fn names(&self, colour: Colour) -> impl Iterator<Item = &str> {
        let own = self.upstreams.iter().filter(move |of| *of.sides.of(colour) && !*of.sides.of(colour.other()));
        let alone = match self.servers.of(colour).as_slice() {
            [one] => Some(one.as_str()),
            _ => None,
        };
        own.map(|of| of.name.as_str()).chain(alone)
    }

    /// Whose a target is, such as `http://shop_blue/path`, and by which name of theirs.
    fn whose(&self, target: &str) -> Option<(Colour, &str)> {
        let place = &target[place_in(target)];
        let is_it = |name: &&str| name_in(target).eq_ignore_ascii_case(name) || same_address(place, name);
        Colour::BOTH.into_iter().find_map(|colour| Some((colour, self.names(colour).find(is_it)?)))
    }

    /// What is passed to, and in which file.
    fn passes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(|(path, file)| {
            let passes = file.statements.iter().filter(|pass| is_pass(pass));
            passes.map(move |pass| (*path, pass.words[1].value.as_str()))
        })
    }

    /// A word that all requests are passed by, and the other side's word in its place.
    fn variable(&self) -> Option<FoundLayout> {
        let all: Vec<(&str, Given<'_>)> =
            self.files.iter().flat_map(|(path, file)| file.given().map(move |given| (*path, given))).collect();
        let for_all = || all.iter().filter(|(_, given)| given.is_for_all);
        // The default of a map that looks at such a word is for nobody.
        let is_for_nobody = |of: &Given<'_>| {
            of.entry.is_some_and(|(at, _)| for_all().any(|(_, given)| given.variable == at.trim_matches(MARKS)))
        };
        for (path, decides) in for_all().filter(|(_, given)| !is_for_nobody(given)) {
            let word = decides.word.value.as_str();
            // Where a map looks at it, it is the map's words that are passed to.
            let looked_at = |of: &Given<'_>| {
                of.entry.is_some_and(|(at, key)| at.trim_matches(MARKS) == decides.variable && key != "default")
            };
            let entries: Vec<&Given<'_>> = all.iter().map(|(_, given)| given).filter(|of| looked_at(of)).collect();
            let found = match entries.is_empty() {
                true => self.passed_by(decides.variable, word).map(|passed| (passed.colour, passed.others_word)),
                false => {
                    let of_entry = |of: &Given<'_>| Some(self.passed_by(of.variable, &of.word.value)?.colour);
                    let key = |of: &Given<'_>| of.entry.map(|(_, key)| key.to_owned());
                    let own = entries.iter().find(|of| key(of).as_deref() == Some(word)).and_then(|of| of_entry(of));
                    let other = own.and_then(|colour| entries.iter().find(|of| of_entry(of) == Some(colour.other())));
                    own.zip(other.and_then(|of| key(of)))
                }
            };
            let Some((colour, other)) = found else { continue };
            let variable = format!("variable = \"{}\"", decides.variable);
            let lines = of_sides("variable", colour, word, &other).into_iter().chain([variable]);
            return Some(self.found("a word that a variable is given", path, lines));
        }
        None
    }

    /// Whom a variable with that word passes to.
    fn passed_by(&self, variable: &str, word: &str) -> Option<Passed> {
        self.passes().find_map(|(_, target)| {
            let place = variable_in(target)?;
            if target[place.clone()].trim_matches(MARKS) != variable {
                return None;
            }
            let (before, after) = (&target[..place.start], &target[place.end..]);
            let (colour, name) = self.whose(&format!("{before}{word}{after}"))?;
            // The word may be a whole URL.
            let scheme = word.find("://").map_or("", |at| &word[..at + 3]);
            let place = &word[scheme.len()..];
            let (place, path) = place.split_at(place.find('/').unwrap_or(place.len()));
            let before = before.rsplit('/').next().unwrap_or_default();
            let (prefix, suffix) = name.split_once(place).filter(|(prefix, _)| *prefix == before)?;
            let other = self
                .names(colour.other())
                .find_map(|name| name.strip_prefix(prefix)?.strip_suffix(suffix).filter(|word| !word.is_empty()))?;
            Some(Passed { colour, others_word: format!("{scheme}{other}{path}") })
        })
    }

    /// A target of `proxy_pass` that is a side's, where the other side has a name, too.
    fn pass(&self) -> Option<FoundLayout> {
        self.passes().find_map(|(path, target)| {
            let (colour, name) = self.whose(target)?;
            let is_an_upstream = |name: &str| self.upstreams.iter().any(|of| of.name == name);
            // Of two with the same servers it is that one whose servers are edited.
            let is_alone = |colour| self.names(colour).filter(|name| is_an_upstream(name)).count() <= 1;
            if !Colour::BOTH.into_iter().all(is_alone) {
                return None;
            }
            let other = self.names(colour.other()).find(|other| is_an_upstream(other) == is_an_upstream(name))?;
            Some(self.found("a name that proxy_pass has", path, of_sides("pass", colour, name, other)))
        })
    }

    /// A link to one side's file, or a copy of it, beside which the other side's lies.
    fn side_files(&self) -> Option<FoundLayout> {
        let side = |text: &str| {
            let file = Parsed::from_text(text).ok()?;
            let sent_to = file.sent_to();
            let is_sent = |colour| {
                let own = self.servers.of(colour);
                own.iter().any(|own| sent_to.iter().any(|address| same_address(own, address)))
                    || file.given().any(|given| self.names(colour).any(|name| name == given.word.value))
            };
            match (is_sent(Colour::Blue), is_sent(Colour::Green)) {
                (true, false) => Some(Colour::Blue),
                (false, true) => Some(Colour::Green),
                _ => None,
            }
        };
        let live = self.clues.beside.iter().find(|file| file.path == self.clues.behind)?;
        let colour = side(&live.text)?;
        let is_link = self.clues.is_link;
        let own = match is_link {
            true => live,
            false => self.clues.beside.iter().find(|file| file.path != live.path && file.text == live.text)?,
        };
        let other = self.clues.beside.iter().find(|file| side(&file.text) == Some(colour.other()))?;
        let (what, switch) = match is_link {
            true => ("a link to a file of each side", "link"),
            false => ("a copy of a file of each side", "file"),
        };
        let lines = of_sides(switch, colour, &own.path, &other.path).to_vec();
        Some(FoundLayout { what, lines })
    }
}
