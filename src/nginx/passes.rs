//! Responsible for: which parts of a file pass requests to an upstream, also by way of a variable, and the headers in those
//! parts in which the file tells its own weights.
//!
//! Never: changes anything, or follows an include.

use std::ops::Range;

use super::NotUnderstood;
use super::grammar::{Parsed, Statement, Word};
use crate::nouns::colour::Colour;

/// A variable may be set from another one; a ring of them ends here.
const DEEPEST: usize = 4;
/// Values that are looked at, of maps that hold thousands.
const MOST: usize = 10_000;

/// Where requests are passed.
struct Target {
    text: String,
    /// Whether by the variable that was asked about.
    is_by_it: bool,
}

/// A word that a variable is given.
pub(super) struct Given<'f> {
    /// Without `$`.
    pub(super) variable: &'f str,
    pub(super) word: &'f Word,
    /// Whether for every request.
    pub(super) is_for_all: bool,
    /// In a map: what it looks at, and what that must say.
    pub(super) entry: Option<(&'f str, &'f str)>,
}

impl Parsed<'_> {
    /// The words that hold the values of the weight headers of that upstream's servers. What a variable says is computed
    /// elsewhere, and is no number of ours.
    pub(super) fn weight_headers_of(&self, upstream: &str) -> Result<Vec<(Colour, &Word)>, NotUnderstood> {
        let mut places = Vec::new();
        for statement in self.statements.iter().filter(|statement| statement.name() == "add_header") {
            let name = statement.words.get(1).map_or("", |word| word.value.as_str());
            let is_of = |colour: &Colour| name.eq_ignore_ascii_case(&format!("X-{colour}-Weight"));
            let Some(colour) = Colour::BOTH.into_iter().find(is_of) else { continue };
            if !self.is_about(statement, upstream) {
                continue;
            }
            match statement.words.get(2) {
                Some(word) if word.value.contains('$') => {}
                Some(word) => places.push((colour, word)),
                None => {
                    return Err(self.refused(statement.span.start, format!("add_header {name} without a value")));
                }
            }
        }
        Ok(places)
    }

    /// Whether what stands here is said of answers that come from the upstream: by the innermost block around it that
    /// passes requests on at all, up to its `server`.
    fn is_about(&self, statement: &Statement, upstream: &str) -> bool {
        let mut around = statement.parent;
        while let Some(index) = around {
            let block = &self.statements[index];
            if let Some(is_passed) = self.passes_to(block, upstream) {
                return is_passed;
            }
            if block.name() == "server" {
                return self.may_pass_elsewhere(block);
            }
            around = block.parent;
        }
        false
    }

    /// Whether any request is passed to the upstream inside a block; `None` where none is passed to anybody.
    fn passes_to(&self, block: &Statement, upstream: &str) -> Option<bool> {
        let mut passes = self.inside(block).filter(|statement| is_pass(statement)).peekable();
        passes.peek()?;
        Some(passes.any(|pass| self.targets(&pass.words[1].value, None).iter().any(|to| is_named(&to.text, upstream))))
    }

    /// Whether what is passed on may stand in a file that the block includes, and can be nobody else's here.
    fn may_pass_elsewhere(&self, block: &Statement) -> bool {
        let includes = self.inside(block).any(|statement| statement.name() == "include");
        includes && self.statements.iter().filter(|statement| statement.is_upstream()).count() == 1
    }

    fn inside(&self, block: &Statement) -> impl Iterator<Item = &Statement> {
        let span = block.span.clone();
        self.statements.iter().filter(move |other| other.span.start > span.start && other.span.end < span.end)
    }

    /// The names that requests are passed to by way of a variable while it has that value.
    pub(super) fn passed_by(&self, variable: &str, value: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for pass in self.statements.iter().filter(|statement| is_pass(statement)) {
            let targets = self.targets(&pass.words[1].value, Some((variable, value)));
            for name in targets.iter().filter(|target| target.is_by_it).map(|target| name_in(&target.text)) {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }

    /// Where anything is sent by this file: servers of its upstreams that take traffic, and what is passed to directly.
    pub(super) fn sent_to(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (index, statement) in self.statements.iter().enumerate() {
            if statement.is_upstream() {
                let servers = self.upstream(index).map(|upstream| upstream.servers).unwrap_or_default();
                found.extend(servers.into_iter().filter(super::Server::takes_traffic).map(|server| server.address));
            } else if statement.name() == "server" && statement.body.is_none() && statement.parent.is_none() {
                // An upstream's servers, in a file that is included there.
                found.extend(
                    self.server(statement).ok().filter(super::Server::takes_traffic).map(|server| server.address),
                );
            } else if is_pass(statement) {
                let target = &statement.words[1].value;
                found.push(target[place_in(target)].to_owned());
            }
        }
        found
    }

    /// Whether it stands inside a block of that name, however deep.
    pub(super) fn is_in(&self, statement: &Statement, name: &str) -> bool {
        let mut around = statement.parent.map(|index| &self.statements[index]);
        while let Some(block) = around {
            if block.name() == name {
                return true;
            }
            around = block.parent.map(|index| &self.statements[index]);
        }
        false
    }

    /// Where requests may be passed by that word, as far as the file says.
    pub(super) fn targets_of(&self, word: &str) -> Vec<String> {
        self.targets(word, None).into_iter().map(|target| target.text).collect()
    }

    /// What a word that may name variables can become, as far as the file says, or is told of one of them.
    fn targets(&self, word: &str, told: Option<(&str, &str)>) -> Vec<Target> {
        let mut done = Vec::new();
        let mut open = vec![Target { text: word.to_owned(), is_by_it: false }];
        for _ in 0..=DEEPEST {
            let mut next = Vec::new();
            for target in open {
                let Some(place) = variable_in(&target.text) else {
                    done.push(target);
                    continue;
                };
                let (before, after) = (&target.text[..place.start], &target.text[place.end..]);
                let with = |value: &str| format!("{before}{value}{after}");
                let name = target.text[place.clone()].trim_matches(['$', '{', '}']);
                match told {
                    Some((told, value)) if told == name => next.push(Target { text: with(value), is_by_it: true }),
                    _ => next.extend(self.values_of(name).map(|value| Target { text: with(value), ..target })),
                }
            }
            next.truncate(MOST);
            open = next;
        }
        done
    }

    fn values_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.given().filter(move |given| given.variable == name).map(|given| given.word.value.as_str())
    }

    /// What `set`, `map` and the like give variables.
    pub(super) fn given(&self) -> impl Iterator<Item = Given<'_>> {
        let name = |word: &'_ Word| word.value.starts_with('$');
        self.statements.iter().enumerate().flat_map(move |(index, statement)| {
            let (set, mapped) = match (statement.name(), statement.words.as_slice()) {
                ("set", [_, variable, word]) if name(variable) => {
                    let is_for_all = !self.is_in(statement, "if");
                    (Some(Given { variable: &variable.value[1..], word, is_for_all, entry: None }), None)
                }
                ("map" | "split_clients" | "geo", [_, .., variable]) if statement.body.is_some() && name(variable) => {
                    (None, Some(&variable.value[1..]))
                }
                (_, _) => (None, None),
            };
            let is_split = statement.name() == "split_clients";
            let entries = mapped.into_iter().flat_map(move |variable| {
                self.children(index).filter_map(move |entry| match entry.words.as_slice() {
                    [key, word] => Some(Given {
                        variable,
                        word,
                        is_for_all: key.value == "default" && !is_split,
                        entry: Some((&statement.words[1].value, &key.value)),
                    }),
                    _ => None,
                })
            });
            set.into_iter().chain(entries)
        })
    }
}

/// `proxy_pass`, `grpc_pass`, `fastcgi_pass`, and those of modules that nobody has heard of.
pub(super) fn is_pass(statement: &Statement) -> bool {
    statement.body.is_none() && statement.words.len() == 2 && statement.name().ends_with("_pass")
}

/// Whether a target such as `http://NAME:80/path` or `NAME` means the upstream. nginx compares names without case, and a
/// port only where the upstream has one, which no block can say.
pub(super) fn is_named(target: &str, upstream: &str) -> bool {
    name_in(target).eq_ignore_ascii_case(upstream)
}

pub(super) fn name_in(target: &str) -> &str {
    target[place_in(target)].split(':').next().unwrap_or_default()
}

/// The bytes of a target that say where to: `NAME:80` of `http://NAME:80/path`.
pub(super) fn place_in(target: &str) -> Range<usize> {
    let start = target.find("://").map_or(0, |scheme| scheme + 3);
    let end = target[start..].find(['/', '?', '$']).map_or(target.len(), |end| start + end);
    start..end
}

/// The first variable of a word, with its `$` and its braces.
pub(super) fn variable_in(word: &str) -> Option<Range<usize>> {
    let start = word.find('$')?;
    let rest = &word[start + 1..];
    let length = match rest.strip_prefix('{') {
        Some(inner) => inner.find('}')? + 2,
        None => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len()),
    };
    Some(start..start + 1 + length)
}
