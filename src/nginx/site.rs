//! Responsible for: the layouts. A service's nginx configuration as the config describes it: in which way a text says who
//! serves, who that is, and how it says another one.
//!
//! Never: opens a file; how a text reaches a host, as the content of a file or as the target of a link, is not known here.

use std::borrow::Cow;

use super::grammar::Parsed;
use super::text::{listed, refused, spliced};
use super::word::Words;
use super::{
    Named, NotUnderstood, Rewritten, Template, WantedBlock, find_upstream, rewrite, same_address, serving, share,
};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Layout, NginxContext};
use crate::nouns::share::Serving;

/// How a service's configuration says who serves.
pub struct Site<'a> {
    layout: &'a Layout,
    blue: Vec<String>,
    green: Vec<String>,
}

/// One upstream among those of a service, and whose servers belong to it.
struct Block<'s> {
    named: Named<'s>,
    blue: Cow<'s, [String]>,
    green: Cow<'s, [String]>,
}

impl<'a> Site<'a> {
    pub fn of(inventory: &'a Inventory) -> Site<'a> {
        let addresses = |colour| inventory.app(colour).servers.iter().map(ToString::to_string).collect();
        Site { layout: &inventory.nginx.layout, blue: addresses(Colour::Blue), green: addresses(Colour::Green) }
    }

    /// Who serves, by what the text says.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn serving(&self, text: &str) -> Result<Serving, NotUnderstood> {
        match self.layout {
            Layout::Weights { upstreams, context } => {
                let of_block =
                    |block: Block<'_>| Ok(serving(&find_upstream(text, block.named)?, &block.blue, &block.green));
                let each = self.blocks(text, upstreams, *context)?.into_iter().map(of_block);
                let each = each.collect::<Result<Vec<Serving>, NotUnderstood>>()?;
                let takes = |colour| each.iter().any(|serving| serving.includes(colour));
                Ok(Serving::of(takes(Colour::Blue), takes(Colour::Green)))
            }
            Layout::Word(words) => Ok(Words(words).find(&Parsed::from_text(text)?)?.serving()),
        }
    }

    /// Percent of the traffic that a side gets; see [`share`]. Of several upstreams it is what they give together.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn share(&self, text: &str, colour: Colour) -> Result<u32, NotUnderstood> {
        match self.layout {
            Layout::Weights { upstreams, context } => {
                let of_block =
                    |block: Block<'_>| Ok(share(&find_upstream(text, block.named)?, block.addresses(colour)));
                let each = self.blocks(text, upstreams, *context)?.into_iter().map(of_block);
                let each = each.collect::<Result<Vec<u32>, NotUnderstood>>()?;
                let all = |percent: u32| each.iter().all(|share| *share == percent);
                let mean = each.iter().sum::<u32>() / u32::try_from(each.len().max(1)).unwrap_or(1);
                Ok(if all(0) || all(100) { mean } else { mean.clamp(1, 99) })
            }
            Layout::Word(_) => Ok(match self.serving(text)? {
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
        match self.layout {
            Layout::Weights { upstreams, context } => {
                let mut all = Rewritten { text: text.to_owned(), ..Rewritten::default() };
                for block in self.blocks(text, upstreams, *context)? {
                    let wanted = WantedBlock { serve, blue: &block.blue, green: &block.green };
                    let one = rewrite(&all.text, block.named, &wanted, template)?;
                    all.strangers.extend(one.strangers);
                    all.added.extend(one.added);
                    all.replaced.extend(one.replaced);
                    all.text = one.text;
                }
                all.changed = all.text != text;
                Ok(all)
            }
            Layout::Word(words) => self.with_another_word(Words(words), text, serve),
        }
    }

    /// In a few words how it is said that a side serves alone.
    pub fn says(&self, serve: Colour, rewritten: &Rewritten) -> String {
        let rest = serve.other();
        match self.layout {
            Layout::Weights { .. } if !rewritten.replaced.is_empty() => format!("{serve} in the place of {rest}"),
            Layout::Weights { .. } => format!("{serve} 100, {rest} down"),
            Layout::Word(words) => {
                let words = Words(words);
                format!("\"{}\" instead of \"{}\"", words.of(serve), words.of(rest))
            }
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
