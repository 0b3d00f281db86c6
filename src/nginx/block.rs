//! Responsible for: what the template gets. The block cut into pieces, none of them lost, and the words of its server
//! lines as they shall be: who serves, who is down, who was missing. And the line endings of what comes back.
//!
//! Never: writes the block, which is for the template, or judges what was written, which is for `proof`.

use std::ops::Range;

use serde::Serialize;

use super::grammar::{Parsed, Statement, Word, bare, says_share, weight_of};
use super::text::is_space;
use super::{FULL_WEIGHT, NO_WEIGHT, Upstream, WantedBlock};
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
    pub(super) fn new(
        file: &Parsed<'a>,
        block: usize,
        upstream: &Upstream,
        wanted: &WantedBlock<'_>,
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

fn server_item<'a>(file: &Parsed<'a>, statement: &Statement, line: Line<'a>, wanted: &WantedBlock<'_>) -> Item<'a> {
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
