//! Responsible for: what the template gets. The block cut into pieces, none of them lost, and the words of its server
//! lines as they shall be: who serves, who is down, who was missing. And the line endings of what comes back.
//!
//! Never: writes the block, which is for the template, or judges what was written, which is for `proof`.

use std::ops::Range;

use serde::Serialize;

use super::grammar::{Parsed, Statement, Word, bare, says_share};
use super::text::is_space;
use super::wish::{NO_WEIGHT, Stand, Wish};
use super::{Server, Upstream, same_address};
use crate::nouns::colour::Colour;

/// The context of the template: the block as it shall be, in pieces that give the block again when they are
/// written one after the other.
#[derive(Serialize)]
pub(super) struct BlockAsWanted<'a> {
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
        weight: u64,
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
    pub(super) fn new(file: &Parsed<'a>, block: usize, upstream: &Upstream, wish: &Wish<'_>) -> BlockAsWanted<'a> {
        let statement = &file.statements[block];
        let written = &file.text[statement.span.clone()];
        let layout = Layout::of(file, block);
        let newline = if written.contains("\r\n") || (!written.contains('\n') && file.text.contains("\r\n")) {
            "\r\n"
        } else {
            "\n"
        };

        let mut items = Vec::new();
        let mut servers = upstream.servers.iter();
        let mut after_last_server = None;
        for piece in &layout.pieces {
            items.push(match piece.what {
                PieceKind::Statement(index) => match (file.statements[index].name(), servers.as_slice()) {
                    ("server", [server, ..]) => {
                        servers.next();
                        server_item(file, &file.statements[index], piece.line, server, wish)
                    }
                    (_, _) => Item::Directive { line: piece.line },
                },
                PieceKind::Comment => Item::Comment { line: piece.line },
                PieceKind::Blank => Item::Blank { line: piece.line },
            });
            if let Some(Item::Server { line, .. }) = items.last() {
                after_last_server = Some((items.len(), *line));
            }
        }
        if let Some((place, line)) = after_last_server {
            let added = wish.missing.iter().map(|address| added_item(address, line, wish));
            items.splice(place..place, added);
        }

        BlockAsWanted {
            name: &file.text[statement.words[1].span.clone()],
            serve: wish.wanted.serve,
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
    pub(super) fn with_its_line_endings(&self, rendered: &str) -> String {
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

fn server_item<'a>(
    file: &Parsed<'a>,
    statement: &Statement,
    line: Line<'a>,
    server: &Server,
    wish: &Wish<'_>,
) -> Item<'a> {
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

    let stand = wish.stand(server);
    let (words, last) = match stand {
        Stand::Stranger => (words.into_iter().map(|(_, word)| word).collect(), last),
        Stand::Only => only_words(words, last, wish),
        Stand::Serves { weight, is_own, may_be_backup } => {
            serving_words(words, last, wish, (!is_own).then_some(weight), may_be_backup)
        }
        Stand::Down { keeps_weight } => downed_words(words, last, keeps_weight),
    };
    let (weight, down) = match stand {
        Stand::Stranger | Stand::Only => (server.weight, server.is_down),
        Stand::Serves { weight, .. } => (weight, false),
        Stand::Down { .. } => (NO_WEIGHT, true),
    };
    // A weight that stays beside a `down` is a word like any other.
    let is_share = |value: &str| match stand {
        Stand::Down { keeps_weight: true } => value == "down",
        Stand::Stranger | Stand::Only | Stand::Serves { .. } | Stand::Down { .. } => says_share(value),
    };
    let parameters = words
        .iter()
        .skip(2)
        .filter(|word| !word.is_share && !is_share(&bare(&word.text)))
        .map(|word| word.text.clone())
        .collect();
    let address = words.get(1).map(|word| word.text.clone()).unwrap_or_default();
    Item::Server {
        line,
        address,
        parameters,
        colour: wish.wanted.colour_of(&server.address),
        weight,
        down,
        words,
        last,
    }
}

/// The server line that was missing: indented and ended like the last one.
fn added_item<'a>(address: &str, model: Line<'a>, wish: &Wish<'_>) -> Item<'a> {
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
    let parameters: Vec<String> = wish.is_lone.then(|| "max_fails=0".to_owned()).into_iter().collect();
    let mut words = vec![word("", "server", false), word(" ", address, false), word(" ", "", true)];
    words.extend(parameters.iter().map(|parameter| word(" ", parameter, false)));
    Item::Server {
        line: Line { line: 0, indent: model.indent, text: "", comment: "", end },
        address: address.to_owned(),
        parameters,
        colour: Some(wish.wanted.serve),
        weight: wish.added_weight(),
        down: false,
        words,
        last: String::new(),
    }
}

/// With another address in the place of its own, and its quotes.
fn only_words(words: Vec<(&Word, ServerWord)>, last: String, wish: &Wish<'_>) -> (Vec<ServerWord>, String) {
    let mut line = WordLine::default();
    for (index, (word, written)) in words.into_iter().enumerate() {
        match wish.instead {
            Some(ours) if index == 1 && !same_address(&word.value, ours) => {
                line.push(ServerWord { text: word.like(ours), ..written });
            }
            // A draining server gets nobody new.
            _ if index > 1 && word.value == "drain" => line.drop(written),
            _ => line.push(written),
        }
    }
    let last = line.orphaned + &last;
    (line.words, last)
}

/// `weight` is the one that it gets; its own stays where that is none.
fn serving_words(
    words: Vec<(&Word, ServerWord)>,
    last: String,
    wish: &Wish<'_>,
    weight: Option<u64>,
    may_be_backup: bool,
) -> (Vec<ServerWord>, String) {
    let mut line = WordLine::default();
    let mut is_shared = weight.is_none();
    let mut is_unfailing = !wish.is_lone;
    for (word, written) in words {
        let value = word.value.as_str();
        if line.has_no_address() {
            line.push(written);
        } else if weight.is_none() && says_share(value) {
            if value == "down" { line.drop(written) } else { line.push(written) }
        } else if says_share(value) {
            let stays = weight.is_some_and(|weight| value == format!("weight={weight}"));
            line.keep_first(&mut is_shared, ServerWord { is_share: !stays, ..written });
        } else if wish.is_lone && value.starts_with("max_fails=") {
            let text = if value == "max_fails=0" { written.text } else { "max_fails=0".to_owned() };
            line.keep_first(&mut is_unfailing, ServerWord { text, ..written });
        } else if (value == "backup" && !may_be_backup) || value == "drain" {
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

/// Where the weight is kept, `down` stands behind it.
fn downed_words(words: Vec<(&Word, ServerWord)>, last: String, keeps_weight: bool) -> (Vec<ServerWord>, String) {
    let mut line = WordLine::default();
    let mut is_shared = false;
    for (word, written) in words {
        if line.has_no_address() {
            line.push(written);
        } else if keeps_weight && word.value.starts_with("weight=") {
            line.push(written);
            line.share_at = line.words.len();
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
    /// Where the share goes if it stands nowhere yet, if not after `server ADDRESS`.
    share_at: usize,
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
            self.words.insert(self.share_at.max(2), share);
        }
        (self.words, self.orphaned + &last)
    }
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
