//! Responsible for: the layout in which one word says who serves: what `set` or a `map`'s default gives the variable that
//! requests are passed by, or what they are passed to. Finds the places of the word, says whose it is, and changes it.
//!
//! Never: touches what says so for some requests only: an entry of a map, a `set` inside an `if`.

use std::collections::BTreeSet;
use std::ops::Range;

use super::grammar::Parsed;
use super::passes::{Given, is_named, is_pass, place_in};
use super::text::{listed, refused};
use super::{NotUnderstood, same_address, weight_header_edits};
use crate::nouns::colour::{Colour, Each};
use crate::nouns::inventory::WordStands;
use crate::nouns::share::{Serving, Share};

/// The words of a config, to be found in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) each: &'a Each<String>,
    pub(super) stand: &'a WordStands,
}

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
    /// Whom a place such as `NAME:80` names, and how much of it is the name: an upstream is one with any port, as nginx has it.
    fn named_by(&self, place: &str) -> Option<(Colour, usize)> {
        Colour::BOTH.into_iter().find_map(|colour| {
            let word = self.each.of(colour);
            if same_address(word, place) && word.contains(':') {
                return Some((colour, place.len()));
            }
            let name = place.split(':').next().unwrap_or_default();
            name.eq_ignore_ascii_case(word).then_some((colour, name.len()))
        })
    }

    pub(super) fn find(&self, file: &Parsed<'_>) -> Result<Places, NotUnderstood> {
        match self.stand {
            WordStands::InAVariable(wanted) => self.find_given(file, wanted.as_deref()),
            WordStands::InAPass => self.find_passed_to(file),
        }
    }

    fn find_given(&self, file: &Parsed<'_>, wanted: Option<&str>) -> Result<Places, NotUnderstood> {
        let of_wanted = file.given().filter(|given| wanted.is_none_or(|wanted| wanted == given.variable));
        let found: Vec<(Colour, Given<'_>)> = of_wanted
            .filter_map(|given| {
                let colour = self.each.find(|known| known.eq_ignore_ascii_case(&given.word.value))?;
                Some((colour, given))
            })
            .collect();
        let for_all = found.iter().filter(|(_, given)| given.is_for_all);
        let variables: BTreeSet<&str> = for_all.map(|(_, given)| given.variable).collect();
        let Each { blue, green } = self.each;
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
        for (colour, given) in found.iter().filter(|(_, given)| given.variable == variable) {
            match given.is_for_all {
                true => places.words.push((*colour, given.word.inner())),
                false => places.exceptions.push((*colour, file.line_of(given.word.span.start))),
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
            match file.is_in(statement, "if") {
                false => places.words.push((colour, bytes)),
                true => places.exceptions.push((colour, file.line_of(bytes.start))),
            }
        }
        let Each { blue, green } = self.each;
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
            edits.push((bytes.clone(), self.each.of(serve).to_owned()));
        }
        for name in Colour::BOTH.into_iter().flat_map(|colour| self.upstreams(file, places, colour)) {
            edits.extend(weight_header_edits(file, &name, serve, Share::ALL)?);
        }
        edits.sort_by_key(|(span, _)| span.start);
        // A server that passes to both has one pair of headers.
        edits.dedup();
        Ok(edits)
    }

    /// The upstreams that requests are passed to while the word is that side's.
    pub(super) fn upstreams(&self, file: &Parsed<'_>, places: &Places, colour: Colour) -> Vec<String> {
        let word = self.each.of(colour);
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
                        self.each.of(serve),
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
