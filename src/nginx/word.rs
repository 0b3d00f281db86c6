//! Responsible for: the layout in which one word says who serves: what `set` or a `map`'s default gives the variable that
//! requests are passed by, or what they are passed to. Finds the places of the word, says whose it is, and changes it.
//!
//! Never: touches what says so for some requests only: an entry of a map, a `set` inside an `if`.

use std::collections::BTreeSet;
use std::ops::Range;

use super::grammar::{Parsed, Statement, Word};
use super::passes::{is_named, is_pass, place_in};
use super::text::{listed, refused};
use super::wish::{FULL_WEIGHT, NO_WEIGHT};
use super::{NotUnderstood, same_address};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{SideWords, WordStands};
use crate::nouns::share::Serving;

/// The words of a config, to be found in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a>(pub(super) &'a SideWords);

/// Where a word stands that decides for every request.
pub(super) struct Places {
    /// The variable that is given it; `None` where it is passed to.
    variable: Option<String>,
    /// The bytes of the word itself.
    words: Vec<(Colour, Range<usize>)>,
    /// The lines that decide for some requests, and what each of them says.
    exceptions: Vec<(Colour, usize)>,
}

impl Words<'_> {
    pub(super) fn of(&self, colour: Colour) -> &str {
        match colour {
            Colour::Blue => &self.0.blue,
            Colour::Green => &self.0.green,
        }
    }

    fn colour_of(&self, word: &str) -> Option<Colour> {
        [Colour::Blue, Colour::Green].into_iter().find(|colour| self.of(*colour).eq_ignore_ascii_case(word))
    }

    /// Whom a place such as `NAME:80` names, and how much of it is the name: an upstream is one with any port, as nginx has it.
    fn named_by(&self, place: &str) -> Option<(Colour, usize)> {
        [Colour::Blue, Colour::Green].into_iter().find_map(|colour| {
            let word = self.of(colour);
            if same_address(word, place) && word.contains(':') {
                return Some((colour, place.len()));
            }
            let name = place.split(':').next().unwrap_or_default();
            name.eq_ignore_ascii_case(word).then_some((colour, name.len()))
        })
    }

    pub(super) fn find(&self, file: &Parsed<'_>) -> Result<Places, NotUnderstood> {
        match &self.0.stands {
            WordStands::InAVariable(wanted) => self.find_given(file, wanted.as_deref()),
            WordStands::InAPass => self.find_passed_to(file),
        }
    }

    fn find_given(&self, file: &Parsed<'_>, wanted: Option<&str>) -> Result<Places, NotUnderstood> {
        let mut found: Vec<(&str, Colour, &Word, bool)> = Vec::new();
        for (index, statement) in file.statements.iter().enumerate() {
            for (variable, word, is_for_all) in given(file, index, statement) {
                if wanted.is_none_or(|wanted| wanted == variable)
                    && let Some(colour) = self.colour_of(&word.value)
                {
                    found.push((variable, colour, word, is_for_all));
                }
            }
        }
        let variables: BTreeSet<&str> = found.iter().filter(|(.., for_all)| *for_all).map(|found| found.0).collect();
        let (blue, green) = (&self.0.blue, &self.0.green);
        let variable = match variables.iter().collect::<Vec<_>>().as_slice() {
            [one] => **one,
            [] => {
                let of = wanted.map(|name| format!(" ${name}")).unwrap_or_default();
                return Err(refused(format!(
                    "no `set` and no default of a `map` gives a variable{of} \"{blue}\" or \"{green}\" in this file"
                )));
            }
            [first, second, ..] => {
                return Err(refused(format!(
                    "\"{blue}\" or \"{green}\" is what ${first} and ${second} are given; in the config: nginx.variable = \"{first}\""
                )));
            }
        };
        refuse_what_lua_sets(file, variable)?;
        let mut places = Places { variable: Some(variable.to_owned()), words: Vec::new(), exceptions: Vec::new() };
        for (_, colour, word, is_for_all) in found.iter().filter(|(name, ..)| *name == variable) {
            match is_for_all {
                true => places.words.push((*colour, word.inner())),
                false => places.exceptions.push((*colour, file.line_of(word.span.start))),
            }
        }
        Ok(places)
    }

    /// Some pass to blue and some to green: which of them decides, and which is for testers, nothing says.
    fn find_passed_to(&self, file: &Parsed<'_>) -> Result<Places, NotUnderstood> {
        let mut places = Places { variable: None, words: Vec::new(), exceptions: Vec::new() };
        for statement in file.statements.iter().filter(|statement| is_pass(statement)) {
            let inner = statement.words[1].inner();
            let place = place_in(&file.text[inner.clone()]);
            let bytes = inner.start + place.start..inner.start + place.end;
            let Some((colour, length)) = self.named_by(&file.text[bytes.clone()]) else { continue };
            let bytes = bytes.start..bytes.start + length;
            match file.is_inside_an_if(statement) {
                false => places.words.push((colour, bytes)),
                true => places.exceptions.push((colour, file.line_of(bytes.start))),
            }
        }
        let (blue, green) = (&self.0.blue, &self.0.green);
        let line_of = |wanted| places.words.iter().find(|(colour, _)| *colour == wanted).map(|(_, bytes)| bytes.start);
        match (line_of(Colour::Blue), line_of(Colour::Green)) {
            (None, None) => Err(refused(format!("nothing in this file is passed to \"{blue}\" or \"{green}\""))),
            (Some(to_blue), Some(to_green)) => Err(file.refused(
                to_blue.max(to_green),
                format!(
                    "line {} passes to \"{blue}\" and line {} to \"{green}\": which of them decides is not said; \
                     let it be a variable's word (nginx.switch = \"variable\")",
                    file.line_of(to_blue),
                    file.line_of(to_green)
                ),
            )),
            (Some(_), None) | (None, Some(_)) => Ok(places),
        }
    }

    /// The edits that make every request go to that side.
    pub(super) fn edits(
        &self,
        file: &Parsed<'_>,
        places: &Places,
        serve: Colour,
    ) -> Result<Vec<(Range<usize>, String)>, NotUnderstood> {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for (_, bytes) in places.words.iter().filter(|(colour, _)| *colour != serve) {
            edits.push((bytes.clone(), self.of(serve).to_owned()));
        }
        for name in [Colour::Blue, Colour::Green].into_iter().flat_map(|colour| self.upstreams(file, places, colour)) {
            for (colour, word) in file.weight_headers_of(&name)? {
                let value = if colour == serve { FULL_WEIGHT } else { NO_WEIGHT }.to_string();
                let is_new = !edits.iter().any(|(span, _)| *span == word.span);
                if word.value != value && is_new {
                    edits.push((word.span.clone(), word.like(&value)));
                }
            }
        }
        edits.sort_by_key(|(span, _)| span.start);
        Ok(edits)
    }

    /// The upstreams that requests are passed to while the word is that side's.
    pub(super) fn upstreams(&self, file: &Parsed<'_>, places: &Places, colour: Colour) -> Vec<String> {
        let word = self.of(colour);
        let mut names = places.variable.as_ref().map_or(Vec::new(), |variable| file.passed_by(variable, word));
        // It may be passed on in another file.
        if names.is_empty() {
            names.push(word.to_owned());
        }
        names
    }

    /// A side whose upstream has none of its servers is not what the config takes it for.
    pub(super) fn refuse_another_sides_servers(
        &self,
        file: &Parsed<'_>,
        places: &Places,
        serve: Colour,
        addresses: &[String],
    ) -> Result<(), NotUnderstood> {
        let names = self.upstreams(file, places, serve);
        for (index, statement) in file.statements.iter().enumerate().filter(|(_, statement)| statement.is_upstream()) {
            if !names.iter().any(|name| is_named(name, &statement.words[1].value)) {
                continue;
            }
            let upstream = file.upstream(index)?;
            if !upstream.servers.iter().any(|server| server.takes_traffic() && server.is_one_of(addresses)) {
                let has: Vec<&str> = upstream.servers.iter().map(|server| server.address.as_str()).collect();
                return Err(file.refused(
                    statement.span.start,
                    format!(
                        "the upstream \"{}\" that \"{}\" stands for has {}, and none that serves is {serve}'s: {}",
                        upstream.name,
                        self.of(serve),
                        listed(&has, "no server"),
                        listed(addresses, "nothing"),
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Places {
    pub(super) fn serving(&self) -> Serving {
        let says = |colour: Colour| self.words.iter().any(|(found, _)| *found == colour);
        Serving::of(says(Colour::Blue), says(Colour::Green))
    }

    /// What still goes to the side that traffic leaves.
    pub(super) fn exceptions_to(&self, serve: Colour) -> Vec<String> {
        let others = self.exceptions.iter().filter(|(colour, _)| *colour != serve);
        others.map(|(_, line)| format!("line {line}")).collect()
    }
}

/// The words that a statement gives a variable, with its name, and whether for every request.
fn given<'f>(file: &'f Parsed<'_>, index: usize, statement: &'f Statement) -> Vec<(&'f str, &'f Word, bool)> {
    let name = |word: &'f Word| word.value.strip_prefix('$');
    match (statement.name(), statement.words.as_slice()) {
        ("set", [_, variable, word]) => {
            name(variable).map(|name| (name, word, !file.is_inside_an_if(statement))).into_iter().collect()
        }
        ("map" | "split_clients" | "geo", [_, .., variable]) if statement.body.is_some() => {
            let Some(name) = name(variable) else { return Vec::new() };
            let entries = file.children(index).filter_map(|entry| match entry.words.as_slice() {
                [key, word] => Some((name, word, key.value == "default" && statement.name() != "split_clients")),
                _ => None,
            });
            entries.collect()
        }
        (_, _) => Vec::new(),
    }
}

/// What Lua computes is not what the file says.
fn refuse_what_lua_sets(file: &Parsed<'_>, variable: &str) -> Result<(), NotUnderstood> {
    let names = [format!("ngx.var.{variable}"), format!("ngx.var[\"{variable}\"]"), format!("ngx.var['{variable}']")];
    for statement in file.statements.iter().filter(|statement| statement.name().contains("_by_lua")) {
        let lua = &file.text[statement.span.clone()];
        let is_its_value = statement.name().starts_with("set_by_lua")
            && statement.words.get(1).is_some_and(|word| word.value.strip_prefix('$') == Some(variable));
        let sets = |name: &String| {
            lua.match_indices(name.as_str()).any(|(at, _)| {
                let rest = lua[at + name.len()..].trim_start();
                rest.starts_with('=') && !rest.starts_with("==")
            })
        };
        if is_its_value || names.iter().any(sets) {
            let what = format!("{} sets ${variable} by itself, and no word of the file decides", statement.name());
            return Err(file.refused(statement.span.start, what));
        }
    }
    Ok(())
}
