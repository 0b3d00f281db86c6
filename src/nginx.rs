//! Responsible for: nginx's configuration as text. Finds the upstream block in a file, says who serves
//! in it, and writes the block that sends everything to one colour. Reads what nginx itself would read
//! (`ngx_conf_read_token`), keeps every byte that is not a weight, and parses again what it wrote.
//!
//! `site` knows the layouts: where a service's traffic is decided by weights the story of a rewrite is here, where by a word
//! in `word`; `found` tells which one it is where nobody said, and `routes` where requests go on a host that nobody described. `grammar` reads a file, `passes` says which of it leads to an upstream, `wish` how each
//! server shall stand, `block` is what the template gets, `proof` reads what the template gave, and `text` has the places
//! and the words of refusals.
//!
//! Never: opens a file, follows an `include`, runs nginx, or guesses. What is not understood is refused
//! with its line. Whether the whole configuration is good is `nginx -t`'s word, whether it serves is the
//! probe's.

mod block;
mod found;
mod grammar;
mod logs;
mod passes;
mod proof;
mod routes;
mod site;
mod text;
mod wish;
mod word;

use std::ops::Range;

use tera::Tera;

use crate::nouns::colour::Colour;
use crate::nouns::inventory::NginxContext;
use crate::nouns::names::ServerAddress;
pub use crate::nouns::share::{Serving, Share};
use block::BlockAsWanted;
pub use found::{Clues, ConfigFile, FoundLayout, files_of_dump, find};
use grammar::{Parsed, lua_without_texts, normal_address};
pub use logs::{AccessLog, Logging, log_lines, logged_address, logging};
use proof::{Expected, template_error};
pub use routes::{Frontage, Listening, OtherSide, Route, RouteContext, are_alike, other_colours, routes, sends_to};
pub use site::{Sharing, SideTexts, Site};
use text::{first_difference, is_space, listed, place, refused, refused_at, spliced};
use wish::Wish;

/// Where and why a file was not understood, or a template or its result refused.
///
/// Display is `line 12, column 5: unexpected end of file, expecting "}"`, with a hint in parentheses or
/// after a semicolon where there is one. What has no place, such as an upstream that is not there, has
/// line 0 and is shown without one.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{}{what}", place(*line, *column))]
pub struct NotUnderstood {
    /// From 1; 0 where no line is to blame.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub what: String,
    /// The line as written, without what a terminal would act on, cut at 160 characters.
    pub excerpt: String,
}

/// Where an upstream block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamContext {
    Http,
    Stream,
    /// At top level: the file is included from elsewhere. The usual case for a site file.
    Bare,
}

/// One `server` line of an upstream block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As written, quotes included; compare with [`same_address`].
    pub address: String,
    /// All but `weight=` and `down`, in order, as written. `backup` is among them.
    pub parameters: Vec<String>,
    /// 1 where none is written. 0 is read, though nginx refuses it: a runbook may have left it there.
    pub weight: u64,
    pub is_down: bool,
    pub is_backup: bool,
    pub line: usize,
}

/// An upstream block as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Without quotes.
    pub name: String,
    pub context: UpstreamContext,
    pub servers: Vec<Server>,
    pub line: usize,
    span: Range<usize>,
}

/// A header in which the file tells its own weights, such as `add_header X-Blue-Weight 100;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightHeader {
    pub colour: Colour,
    /// Without quotes.
    pub value: String,
    pub line: usize,
}

/// An upstream block by its name, and where it stands where one of that name stands in `http` and in `stream`.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub name: &'a str,
    pub context: Option<NginxContext>,
}

impl<'a> From<&'a str> for Named<'a> {
    fn from(name: &'a str) -> Self {
        Named { name, context: None }
    }
}

/// What the block shall say. Addresses as in the config.
#[derive(Debug, Clone, Copy)]
pub struct WantedBlock<'a> {
    pub serve: Colour,
    /// Of the block's traffic for that side; the other one gets the rest.
    pub share: Share,
    pub blue: &'a [String],
    pub green: &'a [String],
}

/// The Tera template that an upstream block is written with.
#[derive(Clone)]
pub struct Template {
    tera: Tera,
    name: String,
    source: String,
}

/// The file as it shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewritten {
    pub text: String,
    /// Servers of neither colour that take traffic (neither down nor backup), with their lines in the
    /// old text. They are left as they are.
    pub strangers: Vec<Server>,
    /// Servers of the serving colour that the block lacked.
    pub added: Vec<String>,
    /// The only server of a block, of the other colour, where another one stands in its place now.
    pub replaced: Vec<String>,
    /// Plain lines of servers, `server ADDRESS;`, that are written otherwise now: a deploy that looks for one finds nothing.
    pub no_longer: Vec<String>,
    /// What still sends some requests to the other colour: `line 4` (an entry of a map, a `set` inside an `if`), or a file.
    pub exceptions: Vec<String>,
    pub changed: bool,
}

/// The upstream `name` in `text`: at top level, in `http` or in `stream`. Upper and lower case are one to
/// nginx here. A name that stands twice is refused with both lines; one that is not there, with the
/// upstreams and includes that are.
pub fn find_upstream<'a>(text: &str, named: impl Into<Named<'a>>) -> Result<Upstream, NotUnderstood> {
    let file = Parsed::from_text(text)?;
    let block = file.upstream_named(named.into())?;
    file.upstream(block)
}

/// Every `add_header X-Blue-Weight` and `X-Green-Weight`, in any case, in the parts of the file that pass requests to that
/// upstream; not one whose value is a variable's.
pub fn weight_headers(text: &str, upstream: &str) -> Result<Vec<WeightHeader>, NotUnderstood> {
    let file = Parsed::from_text(text)?;
    let places = file.weight_headers_of(upstream)?;
    Ok(places
        .into_iter()
        .map(|(colour, word)| WeightHeader { colour, value: word.value.clone(), line: file.line_of(word.span.start) })
        .collect())
}

/// The server whose name nginx complains that it does not find.
pub fn not_found<'s>(complaint: &str, servers: &'s [ServerAddress]) -> Option<&'s ServerAddress> {
    let is_it = |server: &&ServerAddress| complaint.contains(&format!("host not found in upstream \"{server}\""));
    servers.iter().filter(|server| server.name().is_some()).find(is_it)
}

/// The include directives as written, wherever they stand; none where the file is not understood.
pub fn include_lines(text: &str) -> Vec<String> {
    Parsed::from_text(text).map_or_else(|_| Vec::new(), |file| file.includes())
}

/// Writes the block so that one colour takes everything, or its share, and the weight headers to match.
///
/// Of a block of one server the address changes and nothing else. In every other block the serving colour gets
/// `weight=100`, or keeps the weights that tell its servers apart, and no `down`; the other colour gets `down`, for nginx
/// refuses `weight=0`. A server that is left alone gets `max_fails=0`; see [`Wish::is_lone`]. In a split both sides get
/// weights, the smallest that are as the shares.
pub fn rewrite<'a>(
    text: &str,
    upstream: impl Into<Named<'a>>,
    wanted: &WantedBlock<'_>,
    template: &Template,
) -> Result<Rewritten, NotUnderstood> {
    let upstream = upstream.into();
    let first = rewrite_once(text, upstream, wanted, template)?;
    // A template that adds a line of its own would add it again at every rollback, and `changed` would
    // never be false again.
    let again = rewrite_once(&first.text, upstream, wanted, template)?;
    if again.text != first.text {
        let offset = first_difference(&first.text, &again.text);
        return Err(refused_at(
            &again.text,
            offset,
            format!("template {} does not settle: written a second time, the block is different here", template.name),
        ));
    }
    Ok(first)
}

/// Who serves, by the weights: a server that is down or backup does not, and strangers are not asked.
pub fn serving(upstream: &Upstream, blue: &[String], green: &[String]) -> Serving {
    let takes = |addresses: &[String]| {
        upstream.servers.iter().any(|server| server.takes_traffic() && server.is_one_of(addresses))
    };
    Serving::of(takes(blue), takes(green))
}

/// Percent of the weight that takes traffic which belongs to these addresses, 0 to 100. Rounded, but 100 is
/// said only of all of it, and 0 only of none.
pub fn share(upstream: &Upstream, servers: &[String]) -> u32 {
    let mut total = 0_u128;
    let mut ours = 0_u128;
    for server in upstream.servers.iter().filter(|server| server.takes_traffic()) {
        total += u128::from(server.weight);
        if server.is_one_of(servers) {
            ours += u128::from(server.weight);
        }
    }
    if ours == 0 {
        0
    } else if ours == total {
        100
    } else {
        let percent = (ours * 100 + total / 2) / total;
        u32::try_from(percent.clamp(1, 99)).expect("a number from 1 to 99 fits")
    }
}

/// Whether two addresses are one to nginx: a missing port is 80, the case of a host does not matter, nor
/// how an IPv6 address is spelled, nor quotes. Paths of unix sockets are exact. Names are not resolved:
/// `localhost` is not `127.0.0.1`.
pub fn same_address(a: &str, b: &str) -> bool {
    normal_address(a) == normal_address(b)
}

impl Server {
    /// Whether nginx gives it requests while the others are well.
    pub fn takes_traffic(&self) -> bool {
        !self.is_down && !self.is_backup && self.weight > 0
    }

    fn is_one_of(&self, addresses: &[String]) -> bool {
        addresses.iter().any(|address| same_address(address, &self.address))
    }
}

impl Upstream {
    /// The bytes of the block in its file, from `upstream` to `}`.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

impl Template {
    /// The one in `templates/upstream.conf.tera`.
    pub fn built_in() -> Template {
        Template::parse("built-in upstream.conf.tera", include_str!("../templates/upstream.conf.tera"))
            .expect("the built-in template is part of the program, and every test renders it")
    }

    /// Another one; `name` is what messages call it. Syntax errors come with their line.
    pub fn parse(name: &str, text: &str) -> Result<Template, NotUnderstood> {
        let mut tera = Tera::default();
        // `&quot;` is no quote to nginx, whatever the file is called.
        tera.autoescape_on(Vec::<&str>::new());
        tera.add_raw_template(name, text).map_err(|error| template_error(name, text, &error))?;
        Ok(Template { tera, name: name.to_owned(), source: text.to_owned() })
    }

    fn render(&self, block: &BlockAsWanted<'_>) -> Result<String, NotUnderstood> {
        let rendered = tera::Context::from_serialize(block)
            .and_then(|context| self.tera.render(&self.name, &context))
            .map_err(|error| template_error(&self.name, &self.source, &error))?;
        // A template is a file and ends with a newline; the block in the middle of a line must not.
        Ok(block.with_its_line_endings(rendered.trim_matches(is_space)))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("name", &self.name).field("source", &self.source).finish()
    }
}

fn rewrite_once(
    text: &str,
    named: Named<'_>,
    wanted: &WantedBlock<'_>,
    template: &Template,
) -> Result<Rewritten, NotUnderstood> {
    refuse_impossible(wanted)?;
    let file = Parsed::from_text(text)?;
    let block = file.upstream_named(named)?;
    let upstream = file.upstream(block)?;
    refuse_what_cannot_be_switched(&file, block, &upstream, wanted)?;

    let wish = Wish::new(&upstream, wanted);
    if let Some(colour) = wish.lacks() {
        let what = format!("the upstream \"{}\" has no server of {colour}, so it has no share to give", upstream.name);
        return Err(file.refused(upstream.span.start, what));
    }
    refuse_a_server_of_another_block(&file, block, &upstream, &wish)?;
    let rendered = template.render(&BlockAsWanted::new(&file, block, &upstream, &wish))?;
    Expected { file: &file, block, before: &upstream, wish: &wish, template }.check(&rendered)?;

    let mut edits = vec![(upstream.span.clone(), rendered)];
    edits.extend(weight_header_edits(&file, &upstream.name, wanted.serve, wanted.share)?);
    edits.sort_by_key(|(span, _)| span.start);

    let text_after = spliced(text, &edits);
    Ok(Rewritten {
        changed: text_after != text,
        text: text_after,
        strangers: upstream
            .servers
            .iter()
            .filter(|server| server.takes_traffic() && wanted.colour_of(&server.address).is_none())
            .cloned()
            .collect(),
        exceptions: Vec::new(),
        no_longer: no_longer(&file, block, &upstream, &wish),
        replaced: wish
            .replacement()
            .and(upstream.servers.first())
            .map(|only| only.address.clone())
            .into_iter()
            .collect(),
        added: wish.missing,
    })
}

/// What makes the headers of an upstream's servers tell what each side gets.
fn weight_header_edits(
    file: &Parsed<'_>,
    upstream: &str,
    serve: Colour,
    share: Share,
) -> Result<Vec<(Range<usize>, String)>, NotUnderstood> {
    let edit = |(colour, word): (Colour, &grammar::Word)| {
        let share = if colour == serve { share } else { share.rest() };
        let value = share.as_percent().to_string();
        (word.value != value).then(|| (word.span.clone(), word.like(&value)))
    };
    Ok(file.weight_headers_of(upstream)?.into_iter().filter_map(edit).collect())
}

impl WantedBlock<'_> {
    fn addresses(&self, colour: Colour) -> &[String] {
        match colour {
            Colour::Blue => self.blue,
            Colour::Green => self.green,
        }
    }

    fn colour_of(&self, address: &str) -> Option<Colour> {
        Colour::BOTH.into_iter().find(|colour| self.addresses(*colour).iter().any(|ours| same_address(ours, address)))
    }
}

/// What no block could fulfil. Checked here as well as in the config: these words are written into a file
/// that root loads.
fn refuse_impossible(wanted: &WantedBlock<'_>) -> Result<(), NotUnderstood> {
    if wanted.addresses(wanted.serve).is_empty() {
        return Err(refused(format!("the config names no server of {}, nobody would serve", wanted.serve)));
    }
    for address in wanted.blue.iter().chain(wanted.green) {
        let is_one_word = |c: char| !c.is_control() && !c.is_whitespace() && !"\"'\\;{}#$".contains(c);
        if address.is_empty() || !address.chars().all(is_one_word) {
            return Err(refused(format!("{address:?} is no address of a server")));
        }
    }
    if let Some(both) = wanted.blue.iter().find(|blue| wanted.green.iter().any(|green| same_address(blue, green))) {
        return Err(refused(format!("the config names {both} as blue and as green")));
    }
    Ok(())
}

fn refuse_what_cannot_be_switched(
    file: &Parsed<'_>,
    block: usize,
    upstream: &Upstream,
    wanted: &WantedBlock<'_>,
) -> Result<(), NotUnderstood> {
    // An included file may hold servers: nobody could say any more who serves.
    if let Some(include) = file.children(block).find(|statement| statement.name() == "include") {
        return Err(file.refused(
            include.span.start,
            format!(
                "the upstream \"{}\" includes another file, and its servers cannot be seen here; \
                 write them into the block",
                upstream.name
            ),
        ));
    }
    let decides = |statement: &&grammar::Statement| {
        statement.name().starts_with("balancer_by_lua") && may_choose_a_peer(&file.text[statement.span.clone()])
    };
    if let Some(lua) = file.children(block).find(decides) {
        return Err(file.refused(
            lua.span.start,
            format!(
                "{} decides by itself who serves in the upstream \"{}\", and no weight is asked",
                lua.name(),
                upstream.name
            ),
        ));
    }
    for server in upstream.servers.iter().filter(|server| wanted.colour_of(&server.address).is_none()) {
        if server.weight == 0 {
            return Err(file.refused_at_line(
                server.line,
                format!(
                    "nginx refuses \"weight=0\", and server {} is neither blue nor green; write \"down\"",
                    server.address
                ),
            ));
        }
    }
    if upstream.servers.iter().all(|server| wanted.colour_of(&server.address).is_none()) {
        let has: Vec<&str> = upstream.servers.iter().map(|server| server.address.as_str()).collect();
        return Err(file.refused(
            upstream.span.start,
            format!(
                "the block has drifted: the upstream \"{}\" has {}, the config names blue {} and green {}",
                upstream.name,
                listed(&has, "no server"),
                listed(wanted.blue, "nothing"),
                listed(wanted.green, "nothing"),
            ),
        ));
    }
    Ok(())
}

fn no_longer(file: &Parsed<'_>, block: usize, upstream: &Upstream, wish: &Wish<'_>) -> Vec<String> {
    let is_rewritten = |server: &Server| match wish.stand(server) {
        wish::Stand::Stranger | wish::Stand::Only => false,
        wish::Stand::Down { .. } => true,
        wish::Stand::Serves { is_own, .. } => !is_own || wish.is_lone,
    };
    let pairs = upstream.servers.iter().zip(file.servers_in(block));
    let plain = pairs.filter(|(server, written)| written.words.len() == 2 && is_rewritten(server));
    plain.map(|(server, _)| format!("server {};", server.address)).collect()
}

/// Whether Lua in a balancer may choose the server. Without a choice of its own nginx goes by the weights; so what calls
/// nothing but what is known to choose nobody leaves them in force, and everything else may choose.
fn may_choose_a_peer(lua: &str) -> bool {
    const HARMLESS: &[&str] = &[
        "set_more_tries",
        "set_timeouts",
        "get_last_failure",
        "enable_keepalive",
        "log",
        "require",
        "tonumber",
        "tostring",
    ];
    // As words of Lua that stand in front of a bracket.
    const KEYWORDS: &[&str] = &["if", "elseif", "while", "and", "or", "not", "return", "until", "in", "then"];
    let Some((_, code)) = lua.split_once('{') else { return true };
    let bare = lua_without_texts(code);
    // LuaJIT, which is nginx's Lua, takes every byte of no ASCII for a letter.
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    // A bracket or a text behind a name is a call.
    let calls_another = bare.match_indices(['(', '"', '{']).any(|(at, _)| {
        let name = bare[..at].trim_end().rsplit(|c| !is_name(c)).next().unwrap_or_default();
        !name.is_empty() && !HARMLESS.contains(&name) && !KEYWORDS.contains(&name)
    });
    let elsewhere = |call: &str| !call.trim_start_matches(['(', ' ', '"', '\'']).starts_with("ngx.balancer");
    calls_another || code.split("require").skip(1).any(elsewhere)
}

/// A server that this block lacks and another one has: what is switched there is which block is passed to, and blue's server
/// in green's block would make both the same for good. Where the block's own servers stand in others too, it is neither
/// side's, but the one that is switched.
fn refuse_a_server_of_another_block(
    file: &Parsed<'_>,
    block: usize,
    upstream: &Upstream,
    wish: &Wish<'_>,
) -> Result<(), NotUnderstood> {
    let is_new = |address: &str| {
        let is_it = |new: &str| same_address(new, address);
        wish.missing.iter().any(|new| is_it(new)) || wish.replacement().is_some_and(is_it)
    };
    let others = || file.statements.iter().enumerate().filter(|(index, other)| *index != block && other.is_upstream());
    let stands_elsewhere = |own: &Server| {
        let is_own = |server: &grammar::Statement| {
            server.words.get(1).is_some_and(|word| same_address(&word.value, &own.address))
        };
        others().any(|(index, _)| file.servers_in(index).any(is_own))
    };
    if upstream.servers.iter().all(stands_elsewhere) {
        return Ok(());
    }
    for (index, other) in others() {
        for server in file.servers_in(index) {
            let Some(address) = server.words.get(1).filter(|word| is_new(&word.value)) else { continue };
            return Err(file.refused(
                server.span.start,
                format!(
                    "{}'s server {} is not in the upstream \"{}\" but in \"{}\": what is switched here is which of them is \
                     passed to",
                    wish.wanted.serve, address.value, upstream.name, other.words[1].value
                ),
            ));
        }
    }
    Ok(())
}
