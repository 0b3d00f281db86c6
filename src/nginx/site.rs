//! Responsible for: the layouts. A service's nginx configuration as the config describes it: in which way a text says who
//! serves, who that is, and how it says another one.
//!
//! Never: opens a file; how a text reaches a host, as the content of a file or as the target of a link, is not known here.

use std::borrow::Cow;

use serde::Serialize;

use super::grammar::Parsed;
use super::text::{listed, refused, spliced};
use super::word::Words;
use super::{
    Named, NotUnderstood, Rewritten, Template, WantedBlock, find_upstream, rewrite, same_address, serving, share,
};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Layout, Nginx, NginxContext, SideFiles};
use crate::nouns::share::Serving;

/// How a service's configuration says who serves.
pub struct Site<'a> {
    nginx: &'a Nginx,
    blue: Vec<String>,
    green: Vec<String>,
    texts: &'a SideTexts,
}

/// What the files of the two sides say, where the layout has some and they could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SideTexts {
    pub blue: Option<String>,
    pub green: Option<String>,
}

impl SideTexts {
    pub fn of(&self, colour: Colour) -> Option<&str> {
        match colour {
            Colour::Blue => self.blue.as_deref(),
            Colour::Green => self.green.as_deref(),
        }
    }
}

/// One upstream among those of a service, and whose servers belong to it.
struct Block<'s> {
    named: Named<'s>,
    blue: Cow<'s, [String]>,
    green: Cow<'s, [String]>,
}

impl<'a> Site<'a> {
    /// As a host has it whose files of the two sides say this.
    pub fn of(inventory: &'a Inventory, texts: &'a SideTexts) -> Site<'a> {
        let addresses = |colour| inventory.app(colour).servers.iter().map(ToString::to_string).collect();
        Site { nginx: &inventory.nginx, blue: addresses(Colour::Blue), green: addresses(Colour::Green), texts }
    }

    /// Who serves, by what the text says.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn serving(&self, text: &str) -> Result<Serving, NotUnderstood> {
        match &self.nginx.layout {
            Layout::Weights { upstreams, context } => {
                let of_block =
                    |block: Block<'_>| Ok(serving(&find_upstream(text, block.named)?, &block.blue, &block.green));
                let each = self.blocks(text, upstreams, *context)?.into_iter().map(of_block);
                let each = each.collect::<Result<Vec<Serving>, NotUnderstood>>()?;
                let takes = |colour| each.iter().any(|serving| serving.includes(colour));
                Ok(Serving::of(takes(Colour::Blue), takes(Colour::Green)))
            }
            Layout::Word(words) => Ok(Words(words).find(&Parsed::from_text(text)?)?.serving()),
            Layout::Link(files) => self.pointed_at(files, text).map(Serving::only),
            Layout::Copy(files) => self.copied(files, text),
        }
    }

    /// Percent of the traffic that a side gets; see [`share`]. Of several upstreams it is what they give together.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn share(&self, text: &str, colour: Colour) -> Result<u32, NotUnderstood> {
        match &self.nginx.layout {
            Layout::Weights { upstreams, context } => {
                let of_block =
                    |block: Block<'_>| Ok(share(&find_upstream(text, block.named)?, block.addresses(colour)));
                let each = self.blocks(text, upstreams, *context)?.into_iter().map(of_block);
                let each = each.collect::<Result<Vec<u32>, NotUnderstood>>()?;
                let all = |percent: u32| each.iter().all(|share| *share == percent);
                let mean = each.iter().sum::<u32>() / u32::try_from(each.len().max(1)).unwrap_or(1);
                Ok(if all(0) || all(100) { mean } else { mean.clamp(1, 99) })
            }
            Layout::Word(_) | Layout::Link(_) | Layout::Copy(_) => Ok(match self.serving(text)? {
                Serving::Both => 50,
                one if one.includes(colour) => 100,
                _ => 0,
            }),
        }
    }

    /// The text as it shall be for that side to take everything; see [`rewrite`].
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn rewrite(&self, text: &str, serve: Colour, template: &Template) -> Result<Rewritten, NotUnderstood> {
        match &self.nginx.layout {
            Layout::Weights { upstreams, context } => {
                let mut all = Rewritten { text: text.to_owned(), ..Rewritten::default() };
                for block in self.blocks(text, upstreams, *context)? {
                    let wanted = WantedBlock { serve, blue: &block.blue, green: &block.green };
                    let one = rewrite(&all.text, block.named, &wanted, template)?;
                    all.strangers.extend(one.strangers);
                    all.added.extend(one.added);
                    all.replaced.extend(one.replaced);
                    all.no_longer.extend(one.no_longer);
                    all.text = one.text;
                }
                all.changed = all.text != text;
                Ok(all)
            }
            Layout::Word(words) => self.with_another_word(Words(words), text, serve),
            Layout::Link(files) => {
                let is_there = self.pointed_at(files, text)? == serve;
                let (_, exceptions) = self.side_file(files, serve)?;
                let after = if is_there { text } else { files.of(serve) };
                Ok(Rewritten { text: after.to_owned(), changed: !is_there, exceptions, ..Rewritten::default() })
            }
            Layout::Copy(files) => {
                let (after, exceptions) = self.side_file(files, serve)?;
                Ok(Rewritten { text: after.to_owned(), changed: after != text, exceptions, ..Rewritten::default() })
            }
        }
    }

    /// In a few words how it is said that a side serves alone.
    pub fn says(&self, serve: Colour, rewritten: &Rewritten) -> String {
        let rest = serve.other();
        match &self.nginx.layout {
            Layout::Weights { .. } if !rewritten.replaced.is_empty() => format!("{serve} in the place of {rest}"),
            Layout::Weights { .. } => format!("{serve} 100, {rest} down"),
            Layout::Word(words) => {
                let words = Words(words);
                format!("\"{}\" instead of \"{}\"", words.of(serve), words.of(rest))
            }
            Layout::Link(files) => format!("points at {} instead of {}", files.of(serve), files.of(rest)),
            Layout::Copy(files) => format!("what {} says instead of {}", files.of(serve), files.of(rest)),
        }
    }

    /// One upstream has all servers of both sides. Of several each has those that stand in it, and those that stand in the
    /// same place of the other side's list: where the block shows one side alone nothing else says whose it will be.
    fn blocks<'s>(
        &'s self,
        text: &str,
        upstreams: &'s [String],
        context: Option<NginxContext>,
    ) -> Result<Vec<Block<'s>>, NotUnderstood> {
        let named = |name: &'s String| Named { name, context };
        if let [only] = upstreams {
            return Ok(vec![Block { named: named(only), blue: (&self.blue).into(), green: (&self.green).into() }]);
        }
        let are_pairs = self.blue.len() == self.green.len();
        let block = |name: &'s String| {
            let upstream = find_upstream(text, named(name))?;
            let stands =
                |address: &String| upstream.servers.iter().any(|server| same_address(&server.address, address));
            let own = |ours: &'s [String], theirs: &'s [String]| -> Vec<String> {
                let is_own = |(place, address): &(usize, &String)| {
                    stands(address) || (are_pairs && theirs.get(*place).is_some_and(stands))
                };
                ours.iter().enumerate().filter(is_own).map(|(_, address)| address.clone()).collect()
            };
            let (blue, green) = (own(&self.blue, &self.green), own(&self.green, &self.blue));
            if blue.is_empty() || green.is_empty() {
                let has: Vec<&str> = upstream.servers.iter().map(|server| server.address.as_str()).collect();
                return Err(refused(format!(
                    "which servers of each side belong to the upstream \"{name}\" is not known: it has {}; blue.servers and \
                     green.servers must name them in the same order",
                    listed(&has, "no server")
                )));
            }
            Ok(Block { named: named(name), blue: blue.into(), green: green.into() })
        };
        upstreams.iter().map(block).collect()
    }

    /// Whose file a link names.
    fn pointed_at(&self, files: &SideFiles, target: &str) -> Result<Colour, NotUnderstood> {
        let is_of = |colour: &Colour| self.nginx.beside(files.of(*colour)) == self.nginx.beside(target);
        [Colour::Blue, Colour::Green].into_iter().find(is_of).ok_or_else(|| {
            refused(format!(
                "points at {target:?}, which is neither blue's file {:?} nor green's {:?}",
                files.blue, files.green
            ))
        })
    }

    /// Whose file a text is a copy of; where it is changed since, whose servers it names.
    fn copied(&self, files: &SideFiles, text: &str) -> Result<Serving, NotUnderstood> {
        let both = [Colour::Blue, Colour::Green];
        if let Some(colour) = both.into_iter().find(|colour| self.texts.of(*colour) == Some(text)) {
            return Ok(Serving::only(colour));
        }
        let file = Parsed::from_text(text)?;
        // With other comments and blanks it is the same to nginx.
        let is_alike = |other: &str| Parsed::from_text(other).is_ok_and(|other| other.says_the_same(&file));
        if let Some(colour) = both.into_iter().find(|colour| self.texts.of(*colour).is_some_and(is_alike)) {
            return Ok(Serving::only(colour));
        }
        let sent_to = file.sent_to();
        let names = |ours: &[String]| ours.iter().any(|ours| sent_to.iter().any(|other| same_address(ours, other)));
        match Serving::of(names(&self.blue), names(&self.green)) {
            Serving::Neither => Err(refused(format!(
                "is neither what {} says nor what {} does, and names no server of theirs",
                files.blue, files.green
            ))),
            serving => Ok(serving),
        }
    }

    /// What a side's file says, and itself where it sends to the other side, too. One that sends there alone is the other's,
    /// whatever it is called.
    fn side_file(&self, files: &SideFiles, serve: Colour) -> Result<(&str, Vec<String>), NotUnderstood> {
        let path = self.nginx.beside(files.of(serve));
        let Some(text) = self.texts.of(serve) else {
            return Err(refused(format!("what {path} says is not known")));
        };
        let (ours, theirs) = match serve {
            Colour::Blue => (&self.blue, &self.green),
            Colour::Green => (&self.green, &self.blue),
        };
        let sent_to = Parsed::from_text(text)?.sent_to();
        let names = |side: &[String]| side.iter().any(|one| sent_to.iter().any(|other| same_address(one, other)));
        match (names(ours), names(theirs)) {
            (_, false) => Ok((text, Vec::new())),
            (true, true) => Ok((text, vec![path])),
            (false, true) => {
                let rest = serve.other();
                Err(refused(format!("{serve}'s file {path} sends to {rest}: {}", listed(&sent_to, ""))))
            }
        }
    }

    fn with_another_word(&self, words: Words<'_>, text: &str, serve: Colour) -> Result<Rewritten, NotUnderstood> {
        let file = Parsed::from_text(text)?;
        let places = words.find(&file)?;
        let ours = if serve == Colour::Blue { &self.blue } else { &self.green };
        words.refuse_another_sides_servers(&file, &places, serve, ours)?;
        let after = spliced(text, &words.edits(&file, &places, serve)?);
        Ok(Rewritten {
            changed: after != text,
            exceptions: places.exceptions_to(serve),
            text: after,
            ..Rewritten::default()
        })
    }
}

impl Block<'_> {
    fn addresses(&self, colour: Colour) -> &[String] {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }
}
