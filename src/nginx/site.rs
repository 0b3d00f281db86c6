//! Responsible for: the layouts. A service's nginx configuration as the config describes it: in which way a text says who
//! serves, who that is, and how it says another one.
//!
//! Never: opens a file; how a text reaches a host, as the content of a file or as the target of a link, is not known here.

use std::borrow::Cow;

use super::grammar::Parsed;
use super::passes::{is_named, is_pass};
use super::text::{listed, refused, spliced};
use super::word::Words;
use super::{
    Named, NotUnderstood, Rewritten, Template, Upstream, WantedBlock, find_upstream, rewrite, same_address, serving,
    share,
};
use crate::nouns::colour::{Colour, Each};
use crate::nouns::inventory::{Inventory, Layout, Nginx, NginxContext};
use crate::nouns::share::{Serving, Share};

/// How a service's configuration says who serves.
pub struct Site<'a> {
    nginx: &'a Nginx,
    servers: Each<Vec<String>>,
    texts: &'a SideTexts,
}

/// What the files of the two sides say, where the layout has some and they could be read.
pub type SideTexts = Each<Option<String>>;

/// What a share of the weight means for requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Why there are no shares, where there are none.
    pub refused: Option<String>,
    /// It is of open connections: who is fast gets more.
    pub is_by_connections: bool,
    /// All workers count together, and not each for itself.
    pub is_zoned: bool,
    /// Of both sides, in the largest of its upstreams.
    pub servers: usize,
}

/// For whoever asks although the config does not say.
fn not_said() -> NotUnderstood {
    refused("the config does not say in which way this file says who serves".to_owned())
}

/// Upstreams that the config does not name, that requests are passed to, and that have servers of the side which traffic
/// leaves: as exceptions. One that is called after a side is only asked by checks, beside the one that serves.
fn not_named(file: &Parsed<'_>, named: &[&str], from: &[String]) -> Vec<String> {
    let passes: Vec<&str> =
        file.statements.iter().filter(|pass| is_pass(pass)).map(|pass| pass.words[1].value.as_str()).collect();
    let is_passed_to = |name: &str| passes.iter().any(|target| is_named(target, name));
    // Where this file passes nothing to what it names, another one does, and may pass to all of them.
    let passes_elsewhere = !named.iter().any(|name| is_passed_to(name));
    let blocks = file.statements.iter().enumerate().filter(|(_, statement)| statement.is_upstream());
    let others = blocks.filter_map(|(index, _)| file.upstream(index).ok()).filter(|upstream| {
        let name = upstream.name.to_lowercase();
        !named.iter().any(|named| named.eq_ignore_ascii_case(&name))
            && !Colour::BOTH.iter().any(|colour| name.contains(&colour.to_string()))
            && (passes_elsewhere || is_passed_to(&upstream.name))
            && serving(upstream, from, &[]).includes(Colour::Blue)
    });
    others
        .map(|upstream| {
            let line = file.line_of(upstream.span().start);
            format!("upstream {} (line {line}), which nginx.upstreams does not name,", upstream.name)
        })
        .collect()
}

/// One upstream among those of a service, and whose servers belong to it.
struct Block<'s> {
    named: Named<'s>,
    servers: Each<Cow<'s, [String]>>,
}

impl<'a> Site<'a> {
    /// As a host has it whose files of the two sides say this.
    pub fn of(inventory: &'a Inventory, texts: &'a SideTexts) -> Site<'a> {
        let servers = Each::from(|colour| inventory.app(colour).addresses());
        Site { nginx: &inventory.nginx, servers, texts }
    }

    /// Who serves, by what the text says.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn serving(&self, text: &str) -> Result<Serving, NotUnderstood> {
        match &self.nginx.layout {
            Layout::Weights { upstreams, context } => {
                let each = self.of_blocks(text, upstreams, *context, |upstream, servers| {
                    serving(upstream, &servers.blue, &servers.green)
                })?;
                let takes = |colour| each.iter().any(|serving| serving.includes(colour));
                Ok(Serving::of(takes(Colour::Blue), takes(Colour::Green)))
            }
            Layout::Word { words, stands } => {
                Ok(Words { each: words, stand: stands }.find(&Parsed::from_text(text)?)?.serving())
            }
            Layout::Link(files) => self.pointed_at(files, text).map(Serving::only),
            Layout::Copy(files) => self.copied(files, text),
            Layout::NotSaid => Err(not_said()),
        }
    }

    /// Percent of the traffic that each side gets; see [`share`]. Of several upstreams it is what they give together.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn shares(&self, text: &str) -> Result<Each<u32>, NotUnderstood> {
        match &self.nginx.layout {
            Layout::Weights { upstreams, context } => {
                let each = self.of_blocks(text, upstreams, *context, |upstream, servers| {
                    Each::from(|colour| share(upstream, servers.of(colour)))
                })?;
                Ok(Each::from(|colour| {
                    let of_each = || each.iter().map(|shares| *shares.of(colour));
                    let all = |percent: u32| of_each().all(|share| share == percent);
                    let mean = of_each().sum::<u32>() / u32::try_from(each.len().max(1)).unwrap_or(1);
                    if all(0) || all(100) { mean } else { mean.clamp(1, 99) }
                }))
            }
            Layout::NotSaid => Err(not_said()),
            Layout::Word { .. } | Layout::Link(_) | Layout::Copy(_) => {
                let serving = self.serving(text)?;
                Ok(Each::from(|colour| match serving {
                    Serving::Both => 50,
                    one if one.includes(colour) => 100,
                    _ => 0,
                }))
            }
        }
    }

    /// The text as it shall be for that side to take everything; see [`rewrite`].
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn rewrite(&self, text: &str, serve: Colour, template: &Template) -> Result<Rewritten, NotUnderstood> {
        self.rewrite_to(text, serve, Share::ALL, template)
    }

    /// The same for its share, and the rest for the other side.
    ///
    /// # Errors
    /// [`NotUnderstood`]; of a share where [`Site::sharing`] says that there are none.
    pub fn rewrite_to(
        &self,
        text: &str,
        serve: Colour,
        share: Share,
        template: &Template,
    ) -> Result<Rewritten, NotUnderstood> {
        if share == Share::NONE {
            return self.rewrite(text, serve.other(), template);
        }
        if share.is_split()
            && let Some(why) = self.sharing(text)?.refused
        {
            return Err(refused(why));
        }
        match &self.nginx.layout {
            Layout::Weights { upstreams, context } => {
                let mut all = Rewritten { text: text.to_owned(), ..Rewritten::default() };
                for block in self.blocks(text, upstreams, *context)? {
                    let wanted = WantedBlock { serve, share, blue: &block.servers.blue, green: &block.servers.green };
                    let one = rewrite(&all.text, block.named, &wanted, template)?;
                    all.strangers.extend(one.strangers);
                    all.added.extend(one.added);
                    all.replaced.extend(one.replaced);
                    all.no_longer.extend(one.no_longer);
                    all.text = one.text;
                }
                all.changed = all.text != text;
                let names: Vec<&str> = upstreams.iter().map(String::as_str).collect();
                all.exceptions = not_named(&Parsed::from_text(text)?, &names, self.servers.of(serve.other()));
                Ok(all)
            }
            Layout::Word { words, stands } => self.with_another_word(Words { each: words, stand: stands }, text, serve),
            Layout::Link(files) => {
                let is_there = self.pointed_at(files, text)? == serve;
                let (_, exceptions) = self.side_file(files, serve)?;
                let after = if is_there { text } else { files.of(serve) };
                Ok(Rewritten { text: after.to_owned(), changed: !is_there, exceptions, ..Rewritten::default() })
            }
            Layout::NotSaid => Err(not_said()),
            Layout::Copy(files) => {
                let (after, exceptions) = self.side_file(files, serve)?;
                Ok(Rewritten { text: after.to_owned(), changed: after != text, exceptions, ..Rewritten::default() })
            }
        }
    }

    /// What a share of the weight is a share of.
    ///
    /// # Errors
    /// [`NotUnderstood`].
    pub fn sharing(&self, text: &str) -> Result<Sharing, NotUnderstood> {
        let whole = |what: &str| Sharing { refused: Some(what.to_owned()), ..Sharing::default() };
        let (upstreams, context) = match &self.nginx.layout {
            Layout::Weights { upstreams, context } => (upstreams, *context),
            Layout::Word { .. } => return Ok(whole("one word says who serves here, and a word knows no shares")),
            Layout::Link(_) => return Ok(whole("a link points at one side's file, and knows no shares")),
            Layout::Copy(_) => return Ok(whole("one side's file stands here, and knows no shares")),
            Layout::NotSaid => return Err(not_said()),
        };
        let file = Parsed::from_text(text)?;
        let mut sharing = Sharing { is_zoned: true, ..Sharing::default() };
        for block in self.blocks(text, upstreams, context)? {
            let block = file.upstream_named(block.named)?;
            let mut is_zoned = false;
            for directive in file.children(block) {
                match directive.name() {
                    name @ ("ip_hash" | "hash" | "sticky") => {
                        let line = file.line_of(directive.span.start);
                        sharing.refused = Some(format!(
                            "line {line}: with `{name}` the client decides who answers, and a share of the weight is none of \
                             the requests"
                        ));
                    }
                    "least_conn" | "least_time" => sharing.is_by_connections = true,
                    // Of two by chance the one with fewer connections.
                    "random" if directive.words.len() > 1 => sharing.is_by_connections = true,
                    "zone" => is_zoned = true,
                    _ => {}
                }
            }
            sharing.is_zoned &= is_zoned;
            sharing.servers = sharing.servers.max(file.servers_in(block).count());
        }
        Ok(sharing)
    }

    /// In a few words how it is said that a side serves alone.
    pub fn says(&self, serve: Colour, rewritten: &Rewritten) -> String {
        let rest = serve.other();
        match &self.nginx.layout {
            Layout::Weights { .. } if !rewritten.replaced.is_empty() => format!("{serve} in the place of {rest}"),
            Layout::Weights { .. } => format!("{serve} 100, {rest} down"),
            Layout::Word { words, .. } => format!("\"{}\" instead of \"{}\"", words.of(serve), words.of(rest)),
            Layout::Link(files) => format!("points at {} instead of {}", files.of(serve), files.of(rest)),
            Layout::NotSaid => format!("{serve} alone"),
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
            let servers = Each::from(|colour| self.servers.of(colour).into());
            return Ok(vec![Block { named: named(only), servers }]);
        }
        let are_pairs = self.servers.blue.len() == self.servers.green.len();
        let block = |name: &'s String| {
            let upstream = find_upstream(text, named(name))?;
            let stands =
                |address: &String| upstream.servers.iter().any(|server| same_address(&server.address, address));
            let servers = Each::from(|colour| {
                let theirs = self.servers.of(colour.other());
                let is_own = |(place, address): &(usize, &String)| {
                    stands(address) || (are_pairs && theirs.get(*place).is_some_and(stands))
                };
                let own: Vec<String> = self
                    .servers
                    .of(colour)
                    .iter()
                    .enumerate()
                    .filter(is_own)
                    .map(|(_, address)| address.clone())
                    .collect();
                Cow::from(own)
            });
            if servers.find(|own| own.is_empty()).is_some() {
                let has: Vec<&str> = upstream.servers.iter().map(|server| server.address.as_str()).collect();
                return Err(refused(format!(
                    "which servers of each side belong to the upstream \"{name}\" is not known: it has {}; blue.servers and \
                     green.servers must name them in the same order",
                    listed(&has, "no server")
                )));
            }
            Ok(Block { named: named(name), servers })
        };
        upstreams.iter().map(block).collect()
    }

    /// Something of each block of the text.
    fn of_blocks<T>(
        &self,
        text: &str,
        upstreams: &[String],
        context: Option<NginxContext>,
        of: impl Fn(&Upstream, &Each<Cow<'_, [String]>>) -> T,
    ) -> Result<Vec<T>, NotUnderstood> {
        let blocks = self.blocks(text, upstreams, context)?;
        blocks.iter().map(|block| Ok(of(&find_upstream(text, block.named)?, &block.servers))).collect()
    }

    /// Whose file a link names.
    fn pointed_at(&self, files: &Each<String>, target: &str) -> Result<Colour, NotUnderstood> {
        files.find(|file| self.nginx.beside(file) == self.nginx.beside(target)).ok_or_else(|| {
            let Each { blue, green } = files;
            refused(format!("points at {target:?}, which is neither blue's file {blue:?} nor green's {green:?}"))
        })
    }

    /// Whose file a text is a copy of; where it is changed since, whose servers it names.
    fn copied(&self, files: &Each<String>, text: &str) -> Result<Serving, NotUnderstood> {
        if let Some(colour) = self.texts.find(|known| known.as_deref() == Some(text)) {
            return Ok(Serving::only(colour));
        }
        let file = Parsed::from_text(text)?;
        // With other comments and blanks it is the same to nginx.
        let is_alike = |other: &str| Parsed::from_text(other).is_ok_and(|other| other.says_the_same(&file));
        if let Some(colour) = self.texts.find(|known| known.as_deref().is_some_and(is_alike)) {
            return Ok(Serving::only(colour));
        }
        match self.sent_to(&file.sent_to()) {
            Serving::Neither => Err(refused(format!(
                "is neither what {} says nor what {} does, and names no server of theirs",
                files.blue, files.green
            ))),
            serving => Ok(serving),
        }
    }

    /// What a side's file says, and itself where it sends to the other side, too. One that sends there alone is the other's,
    /// whatever it is called.
    fn side_file(&self, files: &Each<String>, serve: Colour) -> Result<(&str, Vec<String>), NotUnderstood> {
        let path = self.nginx.beside(files.of(serve));
        let Some(text) = self.texts.of(serve) else {
            return Err(refused(format!("what {path} says is not known")));
        };
        let sent_to = Parsed::from_text(text)?.sent_to();
        let rest = serve.other();
        match self.sent_to(&sent_to) {
            Serving::Both => Ok((text, vec![path])),
            serving if serving.includes(rest) => {
                Err(refused(format!("{serve}'s file {path} sends to {rest}: {}", listed(&sent_to, ""))))
            }
            _ => Ok((text, Vec::new())),
        }
    }

    /// Whose servers are among those addresses.
    fn sent_to(&self, addresses: &[String]) -> Serving {
        let are = |colour| {
            self.servers.of(colour).iter().any(|own| addresses.iter().any(|address| same_address(own, address)))
        };
        Serving::of(are(Colour::Blue), are(Colour::Green))
    }

    fn with_another_word(&self, words: Words<'_>, text: &str, serve: Colour) -> Result<Rewritten, NotUnderstood> {
        let file = Parsed::from_text(text)?;
        let places = words.find(&file)?;
        words.refuse_another_sides_servers(&file, &places, serve, self.servers.of(serve))?;
        let after = spliced(text, &words.edits(&file, &places, serve)?);
        Ok(Rewritten {
            changed: after != text,
            exceptions: places.exceptions_to(serve),
            text: after,
            ..Rewritten::default()
        })
    }
}
