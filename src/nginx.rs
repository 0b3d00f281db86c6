//! Responsible for: nginx's configuration as text. Finds the upstream block in a file, says who serves
//! in it, and writes the block that sends everything to one colour. Reads what nginx itself would read
//! (`ngx_conf_read_token`), keeps every byte that is not a weight, and parses again what it wrote.
//!
//! Never: opens a file, follows an `include`, runs nginx, or guesses. What is not understood is refused
//! with its line. Whether the whole configuration is good is `nginx -t`'s word, whether it serves is the
//! probe's.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::ops::Range;

use serde::Serialize;
use tera::Tera;

use crate::colour::Colour;

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
pub enum Context {
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
    pub weight: u32,
    pub is_down: bool,
    pub is_backup: bool,
    pub line: usize,
}

/// An upstream block as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Without quotes.
    pub name: String,
    pub context: Context,
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

/// Who takes requests, by what the block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    Blue,
    Green,
    Both,
    Neither,
}

/// What the block shall say. Addresses as in the config.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub serve: Colour,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    pub text: String,
    /// Servers of neither colour that take traffic (neither down nor backup), with their lines in the
    /// old text. They are left as they are.
    pub strangers: Vec<Server>,
    /// Servers of the serving colour that the block lacked.
    pub added: Vec<String>,
    pub changed: bool,
}

/// The upstream `name` in `text`: at top level, in `http` or in `stream`. Upper and lower case are one to
/// nginx here. A name that stands twice is refused with both lines; one that is not there, with the
/// upstreams and includes that are.
pub fn find_upstream(text: &str, name: &str) -> Result<Upstream, NotUnderstood> {
    let file = Parsed::from_text(text)?;
    let block = file.upstream_named(name)?;
    file.upstream(block)
}

/// Every `add_header X-Blue-Weight` and `X-Green-Weight`, in any case, anywhere in the file.
pub fn weight_headers(text: &str) -> Result<Vec<WeightHeader>, NotUnderstood> {
    let file = Parsed::from_text(text)?;
    let places = file.weight_header_places()?;
    Ok(places
        .into_iter()
        .map(|(colour, word)| WeightHeader { colour, value: word.value.clone(), line: file.line_of(word.span.start) })
        .collect())
}

/// The include directives as written, wherever they stand; none where the file is not understood.
pub fn include_lines(text: &str) -> Vec<String> {
    Parsed::from_text(text).map_or_else(|_| Vec::new(), |file| file.includes())
}

/// Writes the block so that one colour takes everything, and the weight headers to match.
///
/// The serving colour gets `weight=100`, no `down`, no `backup`, and `max_fails=0`: beside a `down` server
/// nginx does not treat the survivor as a lone one, and after a single dropped connection it would answer
/// 502 for `fail_timeout`. The other colour gets `down`; nginx refuses `weight=0`.
pub fn rewrite(
    text: &str,
    upstream: &str,
    wanted: &Wanted<'_>,
    template: &Template,
) -> Result<Rewritten, NotUnderstood> {
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
    match (takes(blue), takes(green)) {
        (true, true) => Serving::Both,
        (true, false) => Serving::Blue,
        (false, true) => Serving::Green,
        (false, false) => Serving::Neither,
    }
}

/// Percent of the weight that takes traffic which belongs to these addresses, 0 to 100. Rounded, but 100 is
/// said only of all of it, and 0 only of none.
pub fn share(upstream: &Upstream, servers: &[String]) -> u32 {
    let mut total = 0_u64;
    let mut ours = 0_u64;
    for server in upstream.servers.iter().filter(|server| server.takes_traffic()) {
        total += u64::from(server.weight);
        if server.is_one_of(servers) {
            ours += u64::from(server.weight);
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

/// The unified diff of two versions of the file at `path`; empty where they are equal.
pub fn diff(before: &str, after: &str, path: &str) -> String {
    if before == after {
        return String::new();
    }
    similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .header(&format!("{path} (now)"), &format!("{path} (after)"))
        .to_string()
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

    /// ` (written at line 7 of the template)`, for the lines that write a weight; empty if none is found.
    fn where_weight_is_written(&self) -> String {
        let source = without_template_comments(&self.source);
        let lines_with = |needle: &str| -> Vec<usize> {
            source.lines().zip(1..).filter(|(line, _)| line.contains(needle)).map(|(_, number)| number).collect()
        };
        let mut lines = lines_with("weight=0");
        if lines.is_empty() {
            lines = lines_with("weight=");
        }
        match lines.as_slice() {
            [] => String::new(),
            [line] => format!(" (written at line {line} of the template)"),
            several => {
                let numbers: Vec<String> = several.iter().map(usize::to_string).collect();
                format!(" (written at one of the lines {} of the template)", numbers.join(", "))
            }
        }
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("name", &self.name).field("source", &self.source).finish()
    }
}

const FULL_WEIGHT: u32 = 100;
const NO_WEIGHT: u32 = 0;

fn rewrite_once(text: &str, name: &str, wanted: &Wanted<'_>, template: &Template) -> Result<Rewritten, NotUnderstood> {
    refuse_impossible(wanted)?;
    let file = Parsed::from_text(text)?;
    let block = file.upstream_named(name)?;
    let upstream = file.upstream(block)?;
    refuse_what_cannot_be_switched(&file, block, &upstream, wanted)?;

    let missing = missing_servers(&upstream, wanted);
    let rendered = template.render(&BlockAsWanted::new(&file, block, &upstream, wanted, &missing))?;
    Proof { file: &file, block, before: &upstream, wanted, missing: &missing, template }.check(&rendered)?;

    let mut edits = vec![(upstream.span.clone(), rendered)];
    for (colour, word) in file.weight_header_places()? {
        let value = if colour == wanted.serve { FULL_WEIGHT } else { NO_WEIGHT }.to_string();
        if word.value != value && !upstream.span.contains(&word.span.start) {
            let quote = word.quote.map(String::from).unwrap_or_default();
            edits.push((word.span.clone(), format!("{quote}{value}{quote}")));
        }
    }
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
        added: missing,
    })
}

impl Wanted<'_> {
    fn addresses(&self, colour: Colour) -> &[String] {
        match colour {
            Colour::Blue => self.blue,
            Colour::Green => self.green,
        }
    }

    fn colour_of(&self, address: &str) -> Option<Colour> {
        [Colour::Blue, Colour::Green]
            .into_iter()
            .find(|colour| self.addresses(*colour).iter().any(|ours| same_address(ours, address)))
    }
}

/// What no block could fulfil. Checked here as well as in the config: these words are written into a file
/// that root loads.
fn refuse_impossible(wanted: &Wanted<'_>) -> Result<(), NotUnderstood> {
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
    wanted: &Wanted<'_>,
) -> Result<(), NotUnderstood> {
    // An included file may hold servers: nobody could say any more who serves.
    if let Some(include) = file.children(block).find(|statement| statement.name() == "include") {
        return Err(file.refused(
            include.span.start,
            format!(
                "the upstream \"{}\" includes another file, and its servers cannot be seen here; write them into the block",
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

fn missing_servers(upstream: &Upstream, wanted: &Wanted<'_>) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    for address in wanted.addresses(wanted.serve) {
        let stands = upstream.servers.iter().any(|server| same_address(&server.address, address));
        if !stands && !missing.iter().any(|known| same_address(known, address)) {
            missing.push(address.clone());
        }
    }
    missing
}

// ---------------------------------------------------------------------------------------------------------
// What the template gets
// ---------------------------------------------------------------------------------------------------------

/// The context of the template: the block as it shall be, in pieces that give the block again when they are
/// written one after the other.
#[derive(Serialize)]
struct BlockAsWanted<'a> {
    name: &'a str,
    serve: Colour,
    indent: &'a str,
    newline: &'static str,
    opening: &'a str,
    items: Vec<Item<'a>>,
    closing: &'a str,
    #[serde(skip)]
    written: &'a str,
}

/// One piece of the block. Blank lines and comments are pieces, too.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Item<'a> {
    Server {
        #[serde(flatten)]
        line: Line<'a>,
        address: String,
        parameters: Vec<String>,
        colour: Option<Colour>,
        weight: u32,
        down: bool,
        words: Vec<ServerWord>,
        last: String,
    },
    Directive {
        #[serde(flatten)]
        line: Line<'a>,
    },
    Comment {
        #[serde(flatten)]
        line: Line<'a>,
    },
    Blank {
        #[serde(flatten)]
        line: Line<'a>,
    },
}

/// What every piece has: the whitespace before it, itself, the comment behind it, and the line ending.
#[derive(Serialize, Clone, Copy)]
struct Line<'a> {
    line: usize,
    indent: &'a str,
    text: &'a str,
    comment: &'a str,
    end: &'a str,
}

/// One word of a server line, with the whitespace (and the comments) that stand before it.
#[derive(Serialize)]
struct ServerWord {
    before: String,
    text: String,
    /// Whether this is the place where the share stands: `weight=` or `down`, whichever it shall be.
    is_share: bool,
}

impl<'a> BlockAsWanted<'a> {
    fn new(
        file: &Parsed<'a>,
        block: usize,
        upstream: &Upstream,
        wanted: &Wanted<'_>,
        missing: &[String],
    ) -> BlockAsWanted<'a> {
        let statement = &file.statements[block];
        let written = &file.text[statement.span.clone()];
        let layout = Layout::of(file, block);
        let newline = if written.contains("\r\n") || (!written.contains('\n') && file.text.contains("\r\n")) {
            "\r\n"
        } else {
            "\n"
        };

        let mut items = Vec::new();
        let mut after_last_server = None;
        for piece in &layout.pieces {
            items.push(match piece.what {
                PieceKind::Statement(index) if file.statements[index].name() == "server" => {
                    server_item(file, &file.statements[index], piece.line, wanted)
                }
                PieceKind::Statement(_) => Item::Directive { line: piece.line },
                PieceKind::Comment => Item::Comment { line: piece.line },
                PieceKind::Blank => Item::Blank { line: piece.line },
            });
            if let Some(Item::Server { line, .. }) = items.last() {
                after_last_server = Some((items.len(), *line));
            }
        }
        if let Some((place, line)) = after_last_server {
            let added = missing.iter().map(|address| added_item(address, line, wanted.serve));
            items.splice(place..place, added);
        }

        BlockAsWanted {
            name: &file.text[statement.words[1].span.clone()],
            serve: wanted.serve,
            indent: indent_before(file.text, upstream.span.start),
            newline,
            opening: layout.opening,
            items,
            closing: layout.closing,
            written,
        }
    }

    /// A template is written with one kind of line ending, the file may have the other. A block that mixes
    /// both is left as rendered: the built-in template gives back what stood there.
    fn with_its_line_endings(&self, rendered: &str) -> String {
        let lines = self.written.matches('\n').count();
        let crlf_lines = self.written.matches("\r\n").count();
        if self.newline == "\r\n" && lines == crlf_lines {
            rendered.replace("\r\n", "\n").replace('\n', "\r\n")
        } else if self.newline == "\n" && crlf_lines == 0 {
            rendered.replace("\r\n", "\n")
        } else {
            rendered.to_owned()
        }
    }
}

fn server_item<'a>(file: &Parsed<'a>, statement: &Statement, line: Line<'a>, wanted: &Wanted<'_>) -> Item<'a> {
    let mut cursor = statement.span.start;
    let mut words: Vec<(&Word, ServerWord)> = Vec::new();
    for word in &statement.words {
        let text = &file.text[word.span.clone()];
        let before = &file.text[cursor..word.span.start];
        words.push((word, ServerWord { before: before.to_owned(), text: text.to_owned(), is_share: false }));
        cursor = word.span.end;
    }
    // The semicolon is the statement's last byte.
    let last = file.text[cursor..statement.span.end - 1].to_owned();

    let address = file.text[statement.words[1].span.clone()].to_owned();
    let colour = wanted.colour_of(&address);
    let (words, last) = match colour {
        Some(colour) if colour == wanted.serve => serving_words(words, last),
        Some(_) => downed_words(words, last),
        None => (words.into_iter().map(|(_, word)| word).collect(), last),
    };
    let (weight, down) = match colour {
        Some(colour) if colour == wanted.serve => (FULL_WEIGHT, false),
        Some(_) => (NO_WEIGHT, true),
        None => (weight_of(statement).unwrap_or(1), statement.words.iter().any(|word| word.value == "down")),
    };
    let parameters = words
        .iter()
        .skip(2)
        .filter(|word| !word.is_share && !says_share(&bare(&word.text)))
        .map(|word| word.text.clone())
        .collect();
    Item::Server { line, address, parameters, colour, weight, down, words, last }
}

/// The server line that was missing: indented and ended like the last one.
fn added_item<'a>(address: &str, model: Line<'a>, colour: Colour) -> Item<'a> {
    // What else stands at the end of the model's line, trailing spaces, is not copied.
    let end = if model.end.ends_with("\r\n") {
        "\r\n"
    } else if model.end.ends_with('\n') {
        "\n"
    } else {
        ""
    };
    let word =
        |before: &str, text: &str, is_share| ServerWord { before: before.to_owned(), text: text.to_owned(), is_share };
    Item::Server {
        line: Line { line: 0, indent: model.indent, text: "", comment: "", end },
        address: address.to_owned(),
        parameters: vec!["max_fails=0".to_owned()],
        colour: Some(colour),
        weight: FULL_WEIGHT,
        down: false,
        words: vec![
            word("", "server", false),
            word(" ", address, false),
            word(" ", "", true),
            word(" ", "max_fails=0", false),
        ],
        last: String::new(),
    }
}

fn serving_words(words: Vec<(&Word, ServerWord)>, last: String) -> (Vec<ServerWord>, String) {
    let mut line = WordLine::default();
    let mut is_shared = false;
    let mut is_unfailing = false;
    for (word, written) in words {
        let value = word.value.as_str();
        if line.has_no_address() {
            line.push(written);
        } else if says_share(value) {
            let stays = value == "weight=100";
            line.keep_first(&mut is_shared, ServerWord { is_share: !stays, ..written });
        } else if value.starts_with("max_fails=") {
            let text = if value == "max_fails=0" { written.text } else { "max_fails=0".to_owned() };
            line.keep_first(&mut is_unfailing, ServerWord { text, ..written });
        } else if value == "backup" || value == "drain" {
            // A backup alone is "no servers"; a draining server gets nobody new.
            line.drop(written);
        } else {
            line.push(written);
        }
    }
    if !is_unfailing {
        line.words.push(ServerWord { before: " ".to_owned(), text: "max_fails=0".to_owned(), is_share: false });
    }
    line.finish(is_shared, last)
}

fn downed_words(words: Vec<(&Word, ServerWord)>, last: String) -> (Vec<ServerWord>, String) {
    let mut line = WordLine::default();
    let mut is_shared = false;
    for (word, written) in words {
        if line.has_no_address() {
            line.push(written);
        } else if says_share(&word.value) {
            let stays = word.value == "down";
            line.keep_first(&mut is_shared, ServerWord { is_share: !stays, ..written });
        } else {
            line.push(written);
        }
    }
    line.finish(is_shared, last)
}

/// The words of a server while they are edited. `down` and `weight=` trade one place, so that a colour that
/// goes out and comes back leaves the line as it was.
#[derive(Default)]
struct WordLine {
    words: Vec<ServerWord>,
    /// Comments that stood before a word that went.
    orphaned: String,
}

impl WordLine {
    /// The first two words are no parameters: a host may be called `down`.
    fn has_no_address(&self) -> bool {
        self.words.len() < 2
    }

    fn push(&mut self, mut word: ServerWord) {
        word.before.insert_str(0, &self.orphaned);
        self.orphaned.clear();
        self.words.push(word);
    }

    fn drop(&mut self, word: ServerWord) {
        if word.before.contains('#') {
            self.orphaned.push_str(&word.before);
        }
    }

    fn keep_first(&mut self, seen: &mut bool, word: ServerWord) {
        if *seen {
            self.drop(word);
        } else {
            *seen = true;
            self.push(word);
        }
    }

    fn finish(mut self, is_shared: bool, last: String) -> (Vec<ServerWord>, String) {
        if !is_shared {
            let share = ServerWord { before: " ".to_owned(), text: String::new(), is_share: true };
            // After `server ADDRESS`.
            self.words.insert(2, share);
        }
        (self.words, self.orphaned + &last)
    }
}

fn says_share(value: &str) -> bool {
    value == "down" || value.starts_with("weight=")
}

/// A block cut into pieces, none of them lost: opening, pieces and closing are the block again.
struct Layout<'a> {
    opening: &'a str,
    pieces: Vec<Piece<'a>>,
    closing: &'a str,
}

struct Piece<'a> {
    what: PieceKind,
    line: Line<'a>,
}

#[derive(Clone, Copy)]
enum PieceKind {
    Statement(usize),
    Comment,
    Blank,
}

impl<'a> Layout<'a> {
    fn of(file: &Parsed<'a>, block: usize) -> Layout<'a> {
        let text = file.text;
        let statement = &file.statements[block];
        let body = statement.body.clone().expect("an upstream is looked for among the blocks");
        let marks = marks_in(file, block, &body);
        let start_of = |index: usize| marks.get(index).map_or(body.end, |(_, span)| span.start);

        let mut pieces = Vec::new();
        let mut cursor = body.start + line_end(&text[body.start..start_of(0)]).len();
        let opening = &text[statement.span.start..cursor];
        let mut index = 0;
        while let Some((what, span)) = marks.get(index) {
            cursor = push_blanks(file, &mut pieces, cursor, span.start);
            let indent = &text[cursor..span.start];
            let mut end = span.end;
            index += 1;
            if let (PieceKind::Statement(_), Some((PieceKind::Comment, comment))) = (what, marks.get(index))
                && !text[end..comment.start].contains('\n')
            {
                end = comment.end;
                index += 1;
            }
            let line = Line {
                line: file.line_of(span.start),
                indent,
                text: &text[span.clone()],
                comment: &text[span.end..end],
                end: line_end(&text[end..start_of(index)]),
            };
            cursor = end + line.end.len();
            pieces.push(Piece { what: *what, line });
        }
        cursor = push_blanks(file, &mut pieces, cursor, body.end);
        Layout { opening, pieces, closing: &text[cursor..statement.span.end] }
    }
}

/// Directives and comments that stand directly in the block, in order.
fn marks_in(file: &Parsed<'_>, block: usize, body: &Range<usize>) -> Vec<(PieceKind, Range<usize>)> {
    let mut marks: Vec<(PieceKind, Range<usize>)> = file
        .statements
        .iter()
        .enumerate()
        .filter(|(_, statement)| statement.parent == Some(block))
        .map(|(index, statement)| (PieceKind::Statement(index), statement.span.clone()))
        .collect();
    let statements = marks.clone();
    let first = file.comments.partition_point(|comment| comment.start < body.start);
    for comment in file.comments[first..].iter().take_while(|comment| comment.start < body.end) {
        let before = statements.partition_point(|(_, span)| span.start < comment.start);
        let is_inside = before > 0 && comment.start < statements[before - 1].1.end;
        if !is_inside {
            marks.push((PieceKind::Comment, comment.clone()));
        }
    }
    marks.sort_by_key(|(_, span)| span.start);
    marks
}

fn push_blanks<'a>(file: &Parsed<'a>, pieces: &mut Vec<Piece<'a>>, from: usize, to: usize) -> usize {
    let mut cursor = from;
    loop {
        let line = line_end(&file.text[cursor..to]);
        if line.is_empty() {
            return cursor;
        }
        let end = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
        let indent = &line[..line.len() - end.len()];
        let line_number = file.line_of(cursor);
        pieces.push(Piece {
            what: PieceKind::Blank,
            line: Line { line: line_number, indent, text: "", comment: "", end },
        });
        cursor += line.len();
    }
}

/// Of a gap of whitespace, what belongs to the line that it begins in: up to its newline; nothing if it has
/// none.
fn line_end(gap: &str) -> &str {
    gap.find('\n').map_or("", |newline| &gap[..=newline])
}

fn indent_before(text: &str, offset: usize) -> &str {
    let line = &text[..offset];
    let start = line.rfind('\n').map_or(0, |newline| newline + 1);
    let indent = &line[start..];
    if indent.chars().all(is_space) { indent } else { "" }
}

// ---------------------------------------------------------------------------------------------------------
// What the template gave
// ---------------------------------------------------------------------------------------------------------

/// Reads what a template rendered as if a stranger had written it.
struct Proof<'a> {
    file: &'a Parsed<'a>,
    block: usize,
    before: &'a Upstream,
    wanted: &'a Wanted<'a>,
    missing: &'a [String],
    template: &'a Template,
}

impl Proof<'_> {
    fn check(&self, rendered: &str) -> Result<(), NotUnderstood> {
        let by_template = |mut error: NotUnderstood| {
            error.what = format!("template {}: {}", self.template.name, error.what);
            error
        };
        let after = Parsed::from_text(rendered).map_err(by_template)?;
        let block = self.the_one_block(&after)?;
        let upstream = after.upstream(block).map_err(by_template)?;
        self.no_weight_is_zero(&after, &upstream)?;
        self.servers_are_as_wanted(&after, block, &upstream)?;
        self.directives_are_kept(&after, block)
    }

    fn refused(&self, after: &Parsed<'_>, line: usize, what: &str) -> NotUnderstood {
        after.refused_at_line(line, format!("template {} {what}", self.template.name))
    }

    fn the_one_block(&self, after: &Parsed<'_>) -> Result<usize, NotUnderstood> {
        let mut upper = after.statements.iter().enumerate().filter(|(_, statement)| statement.parent.is_none());
        let name = &self.before.name;
        let what = format!("does not render exactly one block `upstream {name} {{ … }}`, and nothing beside it");
        let (Some((index, only)), None) = (upper.next(), upper.next()) else {
            return Err(self.refused(after, 1, &what));
        };
        let is_it = only.is_upstream() && only.words[1].value.eq_ignore_ascii_case(name);
        // A comment beside the block would be written once more at every rollback.
        if is_it && only.span == (0..after.text.len()) { Ok(index) } else { Err(self.refused(after, 1, &what)) }
    }

    fn no_weight_is_zero(&self, after: &Parsed<'_>, upstream: &Upstream) -> Result<(), NotUnderstood> {
        match upstream.servers.iter().find(|server| server.weight == 0) {
            Some(server) => Err(self.refused(
                after,
                server.line,
                &format!(
                    "renders weight=0 for {}{}; nginx refuses \"weight=0\", write \"down\"",
                    server.address,
                    self.template.where_weight_is_written()
                ),
            )),
            None => Ok(()),
        }
    }

    fn servers_are_as_wanted(
        &self,
        after: &Parsed<'_>,
        block: usize,
        upstream: &Upstream,
    ) -> Result<(), NotUnderstood> {
        let mut rendered: Vec<(&Server, &Statement)> = upstream.servers.iter().zip(after.servers_in(block)).collect();
        let mut take = |address: &str| -> Result<(&Server, &Statement), NotUnderstood> {
            match rendered.iter().position(|(server, _)| same_address(&server.address, address)) {
                Some(place) => Ok(rendered.remove(place)),
                None => Err(self.refused(after, upstream.line, &format!("loses server {address}"))),
            }
        };
        for (server, written) in self.before.servers.iter().zip(self.file.servers_in(self.block)) {
            let (now, now_written) = take(&server.address)?;
            match self.wanted.colour_of(&server.address) {
                Some(colour) => {
                    self.is_as_wanted(after, colour, now, now_written)?;
                    self.parameters_are_kept(after, colour, written, now, now_written)?;
                }
                None => {
                    if self.file.text[written.span.clone()] != after.text[now_written.span.clone()] {
                        let what = format!("changes server {}, which is neither blue nor green", now.address);
                        return Err(self.refused(after, now.line, &what));
                    }
                }
            }
        }
        for address in self.missing {
            let (now, now_written) = take(address)?;
            self.is_as_wanted(after, self.wanted.serve, now, now_written)?;
        }
        match rendered.first() {
            Some((extra, _)) => Err(self.refused(
                after,
                extra.line,
                &format!("renders server {}, which nobody asked for", extra.address),
            )),
            None => Ok(()),
        }
    }

    fn is_as_wanted(
        &self,
        after: &Parsed<'_>,
        colour: Colour,
        server: &Server,
        written: &Statement,
    ) -> Result<(), NotUnderstood> {
        let address = &server.address;
        // The last one counts, as it does for nginx.
        let max_fails = written.words.iter().rev().find_map(|word| word.value.strip_prefix("max_fails="));
        let wrong = if colour != self.wanted.serve {
            (!server.is_down).then(|| format!("leaves {colour}'s server {address} in service; it must be down"))
        } else if server.is_down {
            Some(format!("renders {colour}'s server {address} down, and it is the one to serve"))
        } else if server.is_backup {
            Some(format!("renders {colour}'s server {address} as backup, and it is the one to serve"))
        } else if server.weight != FULL_WEIGHT {
            Some(format!("gives {colour}'s server {address} weight={}, not weight={FULL_WEIGHT}", server.weight))
        } else if max_fails != Some("0") {
            Some(format!(
                "renders {colour}'s server {address} without max_fails=0; beside a down server one dropped \
                 connection would cost 502 for all"
            ))
        } else {
            None
        };
        match wrong {
            Some(what) => Err(self.refused(after, server.line, &what)),
            None => Ok(()),
        }
    }

    fn parameters_are_kept(
        &self,
        after: &Parsed<'_>,
        colour: Colour,
        written: &Statement,
        now: &Server,
        now_written: &Statement,
    ) -> Result<(), NotUnderstood> {
        let mut left: Vec<&str> = now_written.words.iter().skip(2).map(|word| word.value.as_str()).collect();
        for word in written.words.iter().skip(2) {
            let value = word.value.as_str();
            let is_ours = says_share(value)
                || (colour == self.wanted.serve
                    && (value.starts_with("max_fails=") || value == "backup" || value == "drain"));
            if is_ours {
                continue;
            }
            match left.iter().position(|other| *other == value) {
                Some(place) => {
                    left.remove(place);
                }
                None => {
                    return Err(self.refused(after, now.line, &format!("loses \"{value}\" of server {}", now.address)));
                }
            }
        }
        Ok(())
    }

    fn directives_are_kept(&self, after: &Parsed<'_>, block: usize) -> Result<(), NotUnderstood> {
        let mut rendered = after.children(block).filter(|statement| statement.name() != "server");
        for directive in self.file.children(self.block).filter(|statement| statement.name() != "server") {
            let says_the_same = |other: &Statement| match directive.body {
                // What Lua says is not for us to read.
                Some(_) => self.file.text[directive.span.clone()] == after.text[other.span.clone()],
                None => other.body.is_none() && directive.values().eq(other.values()),
            };
            if !rendered.any(says_the_same) {
                let what = format!("loses the directive {} or moves it", listed(&[directive.name()], ""));
                return Err(self.refused(after, after.line_of(after.statements[block].span.start), &what));
            }
        }
        Ok(())
    }
}

/// A template error with the line of the template. Source: `tera::ErrorKind`.
fn template_error(name: &str, source: &str, error: &tera::Error) -> NotUnderstood {
    let (line, column, message) = match error.kind() {
        tera::ErrorKind::SyntaxError(report) | tera::ErrorKind::RenderingError(report) => {
            (report.span().start_line, report.span().start_col + 1, report.message().to_owned())
        }
        // The kinds are tera's and may grow; none of the others has a place.
        other => (0, 0, other.to_string()),
    };
    let mut what = format!("template {name}: {message}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let _ = write!(what, ": {inner}");
        cause = inner.source();
    }
    NotUnderstood { line, column, what, excerpt: excerpt(source.lines().nth(line.wrapping_sub(1)).unwrap_or_default()) }
}

/// The template with its `{# … #}` blanked, every line still where it was.
fn without_template_comments(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{#") {
        let (before, comment) = rest.split_at(start);
        code.push_str(before);
        let end = comment.find("#}").map_or(comment.len(), |end| end + 2);
        code.extend(comment[..end].chars().filter(|c| *c == '\n'));
        rest = &comment[end..];
    }
    code.push_str(rest);
    code
}

// ---------------------------------------------------------------------------------------------------------
// nginx's own grammar
// ---------------------------------------------------------------------------------------------------------

/// A file, read. Statements stand in one flat list, each with its parent: a thousand nested blocks cost no
/// stack, neither to build nor to drop.
struct Parsed<'a> {
    text: &'a str,
    statements: Vec<Statement>,
    comments: Vec<Range<usize>>,
    line_starts: Vec<usize>,
}

/// A directive with its `;`, or a block with its `}`.
struct Statement {
    words: Vec<Word>,
    span: Range<usize>,
    /// What stands between the braces of a block.
    body: Option<Range<usize>>,
    parent: Option<usize>,
}

struct Word {
    /// With its quotes.
    span: Range<usize>,
    /// As nginx sees it: no quotes, escapes resolved.
    value: String,
    quote: Option<char>,
}

impl Statement {
    fn name(&self) -> &str {
        &self.words[0].value
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|word| word.value.as_str())
    }

    fn is_upstream(&self) -> bool {
        self.body.is_some() && self.name() == "upstream" && self.words.len() == 2
    }
}

impl<'a> Parsed<'a> {
    fn from_text(text: &'a str) -> Result<Parsed<'a>, NotUnderstood> {
        let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        if let Some((offset, c)) = text.char_indices().find(|(_, c)| !is_allowed(*c)) {
            return Err(refused_at(
                text,
                offset,
                format!("control character {}, which has no place in a configuration", c.escape_unicode()),
            ));
        }
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(newline, _)| newline + 1));
        let mut lexer = Lexer::new(text);
        let statements = statements(&mut lexer)?;
        Ok(Parsed { text, statements, comments: lexer.comments, line_starts })
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    fn refused(&self, offset: usize, what: String) -> NotUnderstood {
        refused_at(self.text, offset, what)
    }

    fn refused_at_line(&self, line: usize, what: String) -> NotUnderstood {
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let indent = self.text[start..].find(|c| !matches!(c, ' ' | '\t')).unwrap_or_default();
        refused_at(self.text, start + indent, what)
    }

    fn children(&self, block: usize) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(move |statement| statement.parent == Some(block))
    }

    fn servers_in(&self, block: usize) -> impl Iterator<Item = &Statement> {
        self.children(block).filter(|statement| statement.name() == "server")
    }

    fn includes(&self) -> Vec<String> {
        self.statements
            .iter()
            .filter(|statement| statement.name() == "include" && statement.body.is_none())
            .map(|statement| self.text[statement.span.clone()].to_owned())
            .collect()
    }

    /// Where an upstream at this place belongs to; none for a place where nginx allows no upstream.
    fn context_of(&self, statement: &Statement) -> Option<Context> {
        let Some(parent) = statement.parent else {
            return Some(Context::Bare);
        };
        let parent = &self.statements[parent];
        match (parent.parent, parent.name()) {
            (None, "http") => Some(Context::Http),
            (None, "stream") => Some(Context::Stream),
            (_, _) => None,
        }
    }

    fn upstream_named(&self, name: &str) -> Result<usize, NotUnderstood> {
        let upstreams: Vec<usize> = (0..self.statements.len())
            .filter(|index| {
                let statement = &self.statements[*index];
                statement.is_upstream() && self.context_of(statement).is_some()
            })
            .collect();
        // nginx compares the names of upstreams without case, as hosts.
        let named: Vec<usize> = upstreams
            .iter()
            .copied()
            .filter(|index| self.statements[*index].words[1].value.eq_ignore_ascii_case(name))
            .collect();
        match named.as_slice() {
            [one] => Ok(*one),
            [] => {
                let has: Vec<&str> =
                    upstreams.iter().map(|index| self.statements[*index].words[1].value.as_str()).collect();
                let mut what =
                    format!("no upstream \"{name}\" in this file; it has {}", listed(&has, "no upstream at all"));
                let includes = self.includes();
                if !includes.is_empty() {
                    let _ = write!(what, "; it may stand in a file that is included: {}", listed(&includes, ""));
                }
                Err(refused(what))
            }
            [first, second, ..] => {
                let first_line = self.line_of(self.statements[*first].span.start);
                let second_start = self.statements[*second].span.start;
                let what = format!(
                    "the upstream \"{name}\" stands twice, at line {first_line} and at line {}; it is not said which one serves",
                    self.line_of(second_start)
                );
                Err(self.refused(second_start, what))
            }
        }
    }

    fn upstream(&self, block: usize) -> Result<Upstream, NotUnderstood> {
        let statement = &self.statements[block];
        let servers: Result<Vec<Server>, NotUnderstood> =
            self.servers_in(block).map(|server| self.server(server)).collect();
        Ok(Upstream {
            name: statement.words[1].value.clone(),
            context: self.context_of(statement).unwrap_or(Context::Bare),
            servers: servers?,
            line: self.line_of(statement.span.start),
            span: statement.span.clone(),
        })
    }

    fn server(&self, statement: &Statement) -> Result<Server, NotUnderstood> {
        let start = statement.span.start;
        let [_, address, parameters @ ..] = statement.words.as_slice() else {
            return Err(self.refused(start, "a server without an address".to_owned()));
        };
        if statement.body.is_some() {
            return Err(self.refused(start, "a server inside an upstream has no block".to_owned()));
        }
        let weight = weight_of(statement).map_err(|word| {
            self.refused(word.span.start, format!("\"{}\" is no weight that nginx knows", word.value))
        })?;
        Ok(Server {
            address: self.text[address.span.clone()].to_owned(),
            parameters: parameters
                .iter()
                .filter(|word| !says_share(&word.value))
                .map(|word| self.text[word.span.clone()].to_owned())
                .collect(),
            weight,
            is_down: parameters.iter().any(|word| word.value == "down"),
            is_backup: parameters.iter().any(|word| word.value == "backup"),
            line: self.line_of(start),
        })
    }

    /// The words that hold the values of the weight headers.
    fn weight_header_places(&self) -> Result<Vec<(Colour, &Word)>, NotUnderstood> {
        let mut places = Vec::new();
        for statement in self.statements.iter().filter(|statement| statement.name() == "add_header") {
            let name = statement.words.get(1).map_or("", |word| word.value.as_str());
            let colour = if name.eq_ignore_ascii_case("X-Blue-Weight") {
                Colour::Blue
            } else if name.eq_ignore_ascii_case("X-Green-Weight") {
                Colour::Green
            } else {
                continue;
            };
            match statement.words.get(2) {
                Some(word) => places.push((colour, word)),
                None => {
                    return Err(self.refused(statement.span.start, format!("add_header {name} without a value")));
                }
            }
        }
        Ok(places)
    }
}

/// The last `weight=` counts, as it does for nginx. The word itself where it is not a number.
fn weight_of(statement: &Statement) -> Result<u32, &Word> {
    let mut weight = 1;
    for word in statement.words.iter().skip(2) {
        if let Some(number) = word.value.strip_prefix("weight=") {
            // `+5` is a number to Rust and none to nginx.
            let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            weight = number.parse().ok().filter(|_| is_plain).ok_or(word)?;
        }
    }
    Ok(weight)
}

fn statements(lexer: &mut Lexer<'_>) -> Result<Vec<Statement>, NotUnderstood> {
    let mut done: Vec<Statement> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    loop {
        match lexer.token()? {
            Token::Word(word) => words.push(word),
            Token::Semicolon(at) => {
                let Some(first) = words.first() else {
                    return Err(lexer.unexpected(at));
                };
                let span = first.span.start..at + 1;
                let words = std::mem::take(&mut words);
                done.push(Statement { words, span, body: None, parent: open.last().copied() });
            }
            Token::Open(at) => {
                let Some(first) = words.first() else {
                    return Err(lexer.unexpected(at));
                };
                let start = first.span.start;
                let is_lua = first.value.ends_with("_by_lua_block");
                if first.value == "upstream" && words.len() != 2 {
                    return Err(refused_at(lexer.text, start, "an upstream has exactly one name".to_owned()));
                }
                let words = std::mem::take(&mut words);
                let parent = open.last().copied();
                // Where a block ends is known later.
                let mut statement = Statement { words, span: start..start, body: Some(at + 1..at + 1), parent };
                if is_lua {
                    let close = lexer.skip_lua(at)?;
                    statement.close(close);
                } else {
                    open.push(done.len());
                }
                done.push(statement);
            }
            Token::Close(at) => {
                if !words.is_empty() {
                    return Err(lexer.unexpected(at));
                }
                match open.pop() {
                    Some(block) => done[block].close(at),
                    None => return Err(lexer.unexpected(at)),
                }
            }
            Token::End => {
                let end = lexer.text.len();
                if let Some(first) = words.first() {
                    let line = line_number(lexer.text, first.span.start);
                    let hint = format!("the directive that begins at line {line} has no end");
                    return Err(end_of_file(lexer.text, "\";\" or \"}\"", &hint));
                }
                if let Some(block) = open.last() {
                    let line = line_number(lexer.text, done[*block].span.start);
                    let hint = format!("the block that begins at line {line} is not closed");
                    return Err(end_of_file(lexer.text, "\"}\"", &hint));
                }
                debug_assert_eq!(lexer.at, end);
                return Ok(done);
            }
        }
    }
}

impl Statement {
    fn close(&mut self, brace: usize) {
        self.span.end = brace + 1;
        if let Some(body) = &mut self.body {
            body.end = brace;
        }
    }
}

enum Token {
    Word(Word),
    Semicolon(usize),
    Open(usize),
    Close(usize),
    End,
}

/// Cuts text as `ngx_conf_read_token` of `src/core/ngx_conf_file.c` does. Its oddities are deliberate: a
/// comment begins only where a word could, a quote means something only at the start of a word, and `{`
/// after `$` is part of the word.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
    comments: Vec<Range<usize>>,
    /// nginx wants whitespace, `;`, `{` or `)` after a closing quote.
    is_after_quote: bool,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Lexer<'a> {
        // nginx takes a byte order mark for a part of the first word and will say so; here it must not hide
        // the name of the first block.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Lexer { text, at, comments: Vec::new(), is_after_quote: false }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn token(&mut self) -> Result<Token, NotUnderstood> {
        let was_quoted = std::mem::take(&mut self.is_after_quote);
        if was_quoted && !matches!(self.byte(), None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')')) {
            return Err(self.unexpected(self.at));
        }
        while let Some(byte) = self.byte() {
            let at = self.at;
            self.at += 1;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'#' => self.comment(at),
                b';' => return Ok(Token::Semicolon(at)),
                b'{' => return Ok(Token::Open(at)),
                b'}' => return Ok(Token::Close(at)),
                b'"' | b'\'' => return self.quoted(at, char::from(byte)),
                _ => return self.plain(at, byte),
            }
        }
        Ok(Token::End)
    }

    /// A comment, up to its line ending.
    fn comment(&mut self, start: usize) {
        let rest = &self.text[self.at..];
        let newline = rest.find('\n').map_or(self.text.len(), |newline| self.at + newline);
        let ends_with_return = newline < self.text.len() && self.text[start..newline].ends_with('\r');
        self.comments.push(start..newline - usize::from(ends_with_return));
        self.at = newline;
    }

    fn quoted(&mut self, start: usize, quote: char) -> Result<Token, NotUnderstood> {
        let mut is_escaped = false;
        while let Some(byte) = self.byte() {
            self.at += 1;
            if is_escaped {
                is_escaped = false;
            } else if byte == b'\\' {
                is_escaped = true;
            } else if char::from(byte) == quote {
                self.is_after_quote = true;
                let value = resolved(&self.text[start + 1..self.at - 1]);
                return Ok(Token::Word(Word { span: start..self.at, value, quote: Some(quote) }));
            }
        }
        let line = line_number(self.text, start);
        let hint = format!("the {quote} at line {line} is not closed");
        Err(end_of_file(self.text, "\";\" or \"}\"", &hint))
    }

    fn plain(&mut self, start: usize, first: u8) -> Result<Token, NotUnderstood> {
        let mut is_escaped = first == b'\\';
        let mut is_variable = first == b'$';
        while let Some(byte) = self.byte() {
            if is_escaped {
                is_escaped = false;
            } else if byte == b'{' && is_variable {
                // `${name}`, and, as nginx has it, `${{name`.
            } else {
                is_variable = byte == b'$';
                is_escaped = byte == b'\\';
                if matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{') {
                    let value = resolved(&self.text[start..self.at]);
                    return Ok(Token::Word(Word { span: start..self.at, value, quote: None }));
                }
            }
            self.at += 1;
        }
        let line = line_number(self.text, start);
        let hint = format!("the word that begins at line {line} has no end");
        Err(end_of_file(self.text, "\";\" or \"}\"", &hint))
    }

    /// Goes past the Lua code whose `{` stands at `open`, and gives the place of its `}`. As far as
    /// lua-nginx-module's own lexer reads Lua: strings, long brackets and comments.
    fn skip_lua(&mut self, open: usize) -> Result<usize, NotUnderstood> {
        let mut depth = 1_usize;
        while let Some(byte) = self.byte() {
            let at = self.at;
            self.at += 1;
            let is_skipped = match byte {
                b'{' => {
                    depth += 1;
                    true
                }
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(at);
                    }
                    true
                }
                b'"' | b'\'' => self.skip_lua_string(byte),
                b'[' => self.skip_long_bracket(at).unwrap_or(true),
                b'-' if self.byte() == Some(b'-') => {
                    self.at += 1;
                    self.skip_long_bracket(self.at).unwrap_or_else(|| {
                        let rest = &self.text[self.at..];
                        self.at += rest.find('\n').unwrap_or(rest.len());
                        true
                    })
                }
                _ => true,
            };
            if !is_skipped {
                break;
            }
        }
        let line = line_number(self.text, open);
        let hint = format!("the Lua block that begins at line {line} is not closed");
        Err(end_of_file(self.text, "\"}\"", &hint))
    }

    /// Whether the string has an end.
    fn skip_lua_string(&mut self, quote: u8) -> bool {
        let mut is_escaped = false;
        while let Some(byte) = self.byte() {
            self.at += 1;
            if is_escaped {
                is_escaped = false;
            } else if byte == b'\\' {
                is_escaped = true;
            } else if byte == quote {
                return true;
            }
        }
        false
    }

    /// None where no long bracket (`[[`, `[==[`) begins at `at`; else whether it has an end, and the lexer
    /// stands behind it.
    fn skip_long_bracket(&mut self, at: usize) -> Option<bool> {
        let inner = self.text.get(at..)?.strip_prefix('[')?;
        let level = inner.bytes().take_while(|byte| *byte == b'=').count();
        let content = inner[level..].strip_prefix('[')?;
        let close = format!("]{}]", "=".repeat(level));
        let start = self.text.len() - content.len();
        match content.find(&close) {
            Some(end) => {
                self.at = start + end + close.len();
                Some(true)
            }
            None => Some(false),
        }
    }

    fn unexpected(&self, at: usize) -> NotUnderstood {
        let what = self.text[at..].chars().next().map(String::from).unwrap_or_default();
        refused_at(self.text, at, format!("unexpected \"{what}\""))
    }
}

/// A word without its escapes. nginx resolves these six and leaves every other backslash where it is.
fn resolved(raw: &str) -> String {
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.peek()) {
            ('\\', Some('"')) => Some('"'),
            ('\\', Some('\'')) => Some('\''),
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('n')) => Some('\n'),
            (_, _) => None,
        };
        if escaped.is_some() {
            chars.next();
        }
        value.push(escaped.unwrap_or(c));
    }
    value
}

/// A word as written, as nginx would see it.
fn bare(written: &str) -> String {
    let inner =
        ['"', '\''].into_iter().find_map(|quote| written.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)));
    resolved(inner.unwrap_or(written))
}

/// One spelling for each address. Source: `ngx_parse_url` of `src/core/ngx_inet.c`.
fn normal_address(written: &str) -> String {
    let address = bare(written);
    if let (Some(scheme), Some(path)) = (address.get(..5), address.get(5..))
        && scheme.eq_ignore_ascii_case("unix:")
    {
        return format!("unix:{path}");
    }
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, port)) => {
            let host = inner.parse::<Ipv6Addr>().map_or_else(|_| inner.to_owned(), |ip| ip.to_string());
            (format!("[{host}]"), port)
        }
        None => {
            let (host, port) = address.split_at(address.find(':').unwrap_or(address.len()));
            (host.to_owned(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(number) => number.parse::<u16>().map_or_else(|_| number.to_owned(), |number| number.to_string()),
        None => format!("80{port}"),
    };
    format!("{}:{port}", host.to_ascii_lowercase())
}

// ---------------------------------------------------------------------------------------------------------
// Text
// ---------------------------------------------------------------------------------------------------------

/// Edits must be sorted and apart.
fn spliced(text: &str, edits: &[(Range<usize>, String)]) -> String {
    let mut result = String::with_capacity(text.len() + 64);
    let mut cursor = 0;
    for (span, replacement) in edits {
        result.push_str(&text[cursor..span.start]);
        result.push_str(replacement);
        cursor = span.end;
    }
    result.push_str(&text[cursor..]);
    result
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}, column {column}: ") }
}

fn refused(what: String) -> NotUnderstood {
    NotUnderstood { line: 0, column: 0, what, excerpt: String::new() }
}

fn refused_at(text: &str, offset: usize, what: String) -> NotUnderstood {
    let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    NotUnderstood {
        line: line_number(text, offset),
        column: text[start..offset].chars().count() + 1,
        what,
        excerpt: excerpt(text[start..].lines().next().unwrap_or_default()),
    }
}

fn end_of_file(text: &str, expecting: &str, hint: &str) -> NotUnderstood {
    refused_at(text, text.len(), format!("unexpected end of file, expecting {expecting} ({hint})"))
}

fn line_number(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

fn excerpt(line: &str) -> String {
    let mut shown = String::new();
    for c in line.chars().take(160) {
        if c.is_control() && c != '\t' {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// `"a", "b" and 3 more`: a refusal is read by a person.
fn listed(things: &[impl AsRef<str>], none: &str) -> String {
    const SHOWN: usize = 12;
    if things.is_empty() {
        return none.to_owned();
    }
    let shown: Vec<String> = things.iter().take(SHOWN).map(|thing| format!("\"{}\"", thing.as_ref())).collect();
    let list = shown.join(", ");
    if things.len() > SHOWN { format!("{list} and {} more", things.len() - SHOWN) } else { list }
}

fn first_difference(a: &str, b: &str) -> usize {
    let equal = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=equal).rev().find(|offset| b.is_char_boundary(*offset)).unwrap_or_default()
}
