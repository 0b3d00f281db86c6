//! Reads a dump byte by byte as psql would, so that a line `DROP DATABASE` in a function's body or in a row is what it
//! is: text. Gives the parts to a [`Reader`], and notes what they say in a [`Scan`]. Constant memory; never holds a row.

use std::io;

use super::dump::{Reader, Scan, Section, one_line};
use super::migrations::Rows;
use super::statement::{Kind, hangs_together, item_of, kind_of, makes_routine, plain_name, role_of};

/// More of a statement than this is not remembered; what decides what it is stands at its beginning.
const HEAD_BYTES: usize = 1 << 20;
/// Of a comment: a header line of pg_dump is far shorter.
const COMMENT_BYTES: usize = 4096;
/// Rows that one connection loads in half a second; to split less than that is not worth a second transaction.
const LARGE_BYTES: u64 = 32 << 20;
/// Offences that are quoted; the others are the same mistake.
const OFFENCES_KEPT: usize = 5;
const QUOTED_CHARACTERS: usize = 120;

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Plain,
    /// `'…'`; with backslash escapes or without.
    Quote {
        escapes: bool,
    },
    QuotedName,
    /// The tag of a dollar quote, if it is one: from its first dollar on.
    Tag(Vec<u8>),
    /// `$tag$…$tag$`: the tag with its dollars, and as much of the text's end as may be it.
    Dollar {
        tag: Vec<u8>,
        end: Vec<u8>,
    },
    Comment,
    Block {
        depth: u32,
    },
    /// A backslash command, to the end of its line.
    Command,
    /// After `COPY … FROM stdin;`, up to the end of that line.
    BeforeRows,
    Rows,
}

/// Reads a dump in pieces of any size.
pub struct Scanner {
    scan: Scan,
    state: State,
    line: u64,
    /// The statement as it stands there, without comments; what was given away already is not in it.
    text: Vec<u8>,
    /// The same from its beginning, as far as it decides what the statement is.
    head: Vec<u8>,
    head_line: u64,
    /// The comment or command.
    aside: Vec<u8>,
    previous: u8,
    /// The backslash before escapes what comes.
    is_escaped: bool,
    /// Whether the string that ended last had escapes: `''` opens it again, and so does a quote on the next line.
    had_escapes: bool,
    /// A line ended since.
    had_line_end: bool,
    word: Vec<u8>,
    /// The statement's first words, in small letters.
    words: Vec<Vec<u8>>,
    /// Open `BEGIN` and `CASE` of a routine whose body is SQL; semicolons in there end nothing.
    begins: u32,
    parens: u32,
    /// `standard_conforming_strings` is off.
    escapes_everywhere: bool,
    copying: String,
    /// Of the table whose rows are passing, where a tool for migrations keeps it.
    migrations: Option<Rows>,
    block_rows: u64,
    block_bytes: u64,
    /// The beginning of a row that may become `\.`.
    row_head: Vec<u8>,
    is_row_start: bool,
    trailer_seen: bool,
    section: Section,
    /// The type of the item, from its header.
    kind: Option<String>,
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner {
            scan: Scan { reads_migrations: true, ..Scan::default() },
            state: State::Plain,
            line: 1,
            text: Vec::new(),
            head: Vec::new(),
            head_line: 1,
            aside: Vec::new(),
            previous: b'\n',
            is_escaped: false,
            had_escapes: false,
            had_line_end: false,
            word: Vec::new(),
            words: Vec::new(),
            begins: 0,
            parens: 0,
            escapes_everywhere: false,
            copying: String::new(),
            migrations: None,
            block_rows: 0,
            block_bytes: 0,
            row_head: Vec::new(),
            is_row_start: true,
            trailer_seen: false,
            section: Section::Schema,
            kind: None,
        }
    }
}

impl Scanner {
    pub fn new() -> Scanner {
        Scanner::default()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn push(&mut self, mut bytes: &[u8], reader: &mut impl Reader) -> io::Result<()> {
        self.scan.bytes += bytes.len() as u64;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.state == State::Rows {
                bytes = self.rows(bytes, reader)?;
            } else {
                self.sql(byte, reader)?;
                bytes = rest;
            }
        }
        Ok(())
    }

    /// What was read so far.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The input is over.
    pub fn end(mut self) -> Scan {
        if matches!(self.state, State::Comment | State::Command) {
            // The last line may lack its end; what it says counts, and nobody is told.
            let _ = self.aside_ends(&mut ());
        }
        let is_open = !self.head.trim_ascii().is_empty();
        self.scan.inside = match self.state {
            State::Rows | State::BeforeRows => Some(format!("COPY {}", self.copying)),
            State::Plain if !is_open => None,
            _ => Some("a statement".to_owned()),
        };
        self.scan.is_complete = self.trailer_seen && self.scan.inside.is_none();
        // Rows that come as INSERTs are not read for what they say.
        self.scan.reads_migrations &= self.scan.inserts == 0;
        self.scan
    }

    /// Rows up to the end of the block, or of the bytes; the rest is given back.
    fn rows<'b>(&mut self, bytes: &'b [u8], reader: &mut impl Reader) -> io::Result<&'b [u8]> {
        if self.is_row_start {
            return self.row_start(bytes, reader);
        }
        // Nothing but a backslash at the beginning of a row is of interest.
        let end = memchr::memmem::find(bytes, b"\n\\").map(|at| at + 1);
        let here = end.unwrap_or(bytes.len());
        let rows = memchr::memchr_iter(b'\n', &bytes[..here]).count() as u64;
        self.block_rows += rows;
        self.block_bytes += here as u64;
        self.line += rows;
        self.noted(&bytes[..here]);
        reader.rows(&bytes[..here])?;
        self.is_row_start = bytes[..here].ends_with(b"\n");
        Ok(&bytes[here..])
    }

    /// A row that begins like the end mark is held back until it is clear; that is four bytes at most.
    fn row_start<'b>(&mut self, bytes: &'b [u8], reader: &mut impl Reader) -> io::Result<&'b [u8]> {
        for (at, &byte) in bytes.iter().enumerate() {
            let fits = match self.row_head.as_slice() {
                [] => byte == b'\\',
                [_] => byte == b'.',
                [_, _] => byte == b'\r' || byte == b'\n',
                _ => byte == b'\n',
            };
            if !fits {
                self.is_row_start = false;
                if !self.row_head.is_empty() {
                    let held = std::mem::take(&mut self.row_head);
                    self.block_bytes += held.len() as u64;
                    self.noted(&held);
                    reader.rows(&held)?;
                }
                return Ok(&bytes[at..]);
            }
            self.row_head.push(byte);
            if byte == b'\n' {
                self.row_head.clear();
                self.line += 1;
                self.state = State::Plain;
                self.previous = b'\n';
                if self.block_bytes >= LARGE_BYTES {
                    self.scan.large.push((self.scan.rows.len(), self.block_bytes));
                }
                self.scan.rows.push((std::mem::take(&mut self.copying), self.block_rows));
                if let Some(rows) = self.migrations.take() {
                    self.scan.reads_migrations &= !rows.is_cut;
                    self.scan.migrations.extend(rows.end());
                }
                reader.copied(self.block_rows)?;
                return Ok(&bytes[at + 1..]);
            }
        }
        Ok(&[])
    }

    /// Bytes of rows, where they are of a table that says what has been migrated.
    fn noted(&mut self, rows: &[u8]) {
        if let Some(reading) = &mut self.migrations {
            reading.push(rows);
        }
    }

    /// One byte that is not of a row.
    fn sql(&mut self, byte: u8, reader: &mut impl Reader) -> io::Result<()> {
        if byte == b'\n' {
            self.line += 1;
        }
        match &mut self.state {
            State::Plain => return self.plain(byte, reader),
            State::Rows => {}
            State::Quote { escapes } => {
                let escapes = *escapes;
                if self.is_escaped {
                    self.is_escaped = false;
                } else if escapes && byte == b'\\' {
                    self.is_escaped = true;
                } else if byte == b'\'' {
                    self.had_escapes = escapes;
                    self.state = State::Plain;
                }
            }
            State::QuotedName => {
                if byte == b'"' {
                    self.state = State::Plain;
                }
            }
            State::Tag(tag) => {
                let is_letter = byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
                if byte == b'$' {
                    tag.push(byte);
                    self.state = State::Dollar { tag: std::mem::take(tag), end: Vec::new() };
                } else if is_letter || (tag.len() > 1 && byte.is_ascii_digit()) {
                    tag.push(byte);
                } else {
                    // `$1` is a parameter
                    self.state = State::Plain;
                    self.previous = b'$';
                    if byte == b'\n' {
                        self.line -= 1;
                    }
                    return self.sql(byte, reader);
                }
            }
            State::Dollar { tag, end } => {
                // A tag has no dollar inside, so the text's end is the tag exactly when it begins at a dollar.
                if byte == b'$' {
                    end.push(byte);
                    if end == tag {
                        self.state = State::Plain;
                    } else {
                        end.clear();
                        end.push(byte);
                    }
                } else if !end.is_empty() {
                    end.push(byte);
                    if end.len() >= tag.len() {
                        end.clear();
                    }
                }
            }
            State::Comment | State::Command => {
                if byte == b'\n' {
                    self.aside_ends(reader)?;
                    self.state = State::Plain;
                    self.had_line_end = true;
                    self.previous = byte;
                    // What stands on two lines stays two words.
                    return self.keep(byte, reader);
                }
                if self.aside.len() < COMMENT_BYTES {
                    self.aside.push(byte);
                }
                self.previous = b' ';
                return Ok(());
            }
            State::Block { depth } => {
                if self.previous == b'*' && byte == b'/' {
                    *depth -= 1;
                    self.previous = b' ';
                    if *depth == 0 {
                        self.state = State::Plain;
                        return self.keep(b' ', reader);
                    }
                } else if self.previous == b'/' && byte == b'*' {
                    *depth += 1;
                    self.previous = b' ';
                } else {
                    self.previous = byte;
                }
                return Ok(());
            }
            State::BeforeRows => {
                if byte == b'\n' {
                    if !self.aside.is_empty() {
                        // psql would take it for a statement of its own, after the rows.
                        let aside = std::mem::take(&mut self.aside);
                        let said = String::from_utf8_lossy(&aside).into_owned();
                        self.offends(self.line.saturating_sub(1).max(1), said.trim(), reader)?;
                    }
                    self.state = State::Rows;
                    self.is_row_start = true;
                    self.block_rows = 0;
                    self.block_bytes = 0;
                } else if (!byte.is_ascii_whitespace() || !self.aside.is_empty()) && self.aside.len() < COMMENT_BYTES {
                    self.aside.push(byte);
                }
                return Ok(());
            }
        }
        self.previous = byte;
        self.keep(byte, reader)
    }

    /// One byte outside quotes and comments.
    fn plain(&mut self, byte: u8, reader: &mut impl Reader) -> io::Result<()> {
        let was = std::mem::replace(&mut self.previous, byte);
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
        if was == b'-' && byte != b'-' {
            self.had_escapes = false;
        }
        match byte {
            b'\'' => {
                let is_again = self.had_escapes && (was == b'\'' || self.had_line_end);
                let escapes = self.escapes_everywhere || is_again || self.word == b"e";
                self.state = State::Quote { escapes };
                self.is_escaped = false;
                self.had_escapes = false;
                self.had_line_end = false;
            }
            b'\n' => self.had_line_end = true,
            b' ' | b'\t' | b'\r' | 0x0b | 0x0c => {}
            // It may be a comment, which is no more than white space.
            b'-' => {}
            _ => {
                self.had_escapes = false;
                self.had_line_end = false;
            }
        }
        match byte {
            b'"' => self.state = State::QuotedName,
            b'$' if !is_letter(was) => self.state = State::Tag(vec![byte]),
            b'-' if was == b'-' => {
                // The dash before is the comment's too.
                self.text.pop();
                self.head.pop();
                self.state = State::Comment;
                self.aside = b"--".to_vec();
                return Ok(());
            }
            b'*' if was == b'/' => {
                // The slash before is the comment's too.
                self.text.pop();
                self.head.pop();
                self.state = State::Block { depth: 1 };
                self.previous = b' ';
                return Ok(());
            }
            b'\\' => {
                self.state = State::Command;
                self.aside = vec![byte];
                return Ok(());
            }
            b'(' => self.parens += 1,
            b')' => self.parens = self.parens.saturating_sub(1),
            _ => {}
        }
        if is_letter(byte) && self.state == State::Plain {
            // Longer words are none that we look for.
            if self.word.len() < 32 {
                self.word.push(byte.to_ascii_lowercase());
            }
        } else {
            self.word_ends();
        }
        self.keep(byte, reader)?;
        if byte == b';' && self.parens == 0 && self.begins == 0 {
            self.statement_ends(reader)?;
        }
        Ok(())
    }

    fn word_ends(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        if makes_routine(&self.words) && self.parens == 0 {
            match word.as_slice() {
                b"begin" => self.begins += 1,
                b"case" if self.begins > 0 => self.begins += 1,
                b"end" => self.begins = self.begins.saturating_sub(1),
                _ => {}
            }
        }
        if self.words.len() < 4 {
            self.words.push(word);
        }
    }

    /// A byte of the statement's text.
    fn keep(&mut self, byte: u8, reader: &mut impl Reader) -> io::Result<()> {
        if self.head.is_empty() {
            if byte.is_ascii_whitespace() {
                return Ok(());
            }
            self.head_line = self.line;
        }
        self.text.push(byte);
        if self.head.len() < HEAD_BYTES {
            self.head.push(byte);
        }
        // Never between two signs that may begin a comment.
        let may_part = byte == b'\n' || (self.text.len() >= 2 * HEAD_BYTES && byte != b'-' && byte != b'/');
        if self.text.len() >= HEAD_BYTES && may_part {
            // What is so long is no COPY; its first words have said what it is.
            if !matches!(kind_of(&self.words, &self.head), Kind::Offence | Kind::Dropped) {
                reader.statement(&self.text, false)?;
            }
            self.text.clear();
        }
        Ok(())
    }

    fn statement_ends(&mut self, reader: &mut impl Reader) -> io::Result<()> {
        self.trailer_seen = false;
        match kind_of(&self.words, &self.head) {
            Kind::Copy(name) => {
                self.copying = self.decoded(&name);
                let table = plain_name(&self.copying);
                let table = table.rsplit('.').next().unwrap_or_default();
                self.migrations = Rows::of(&String::from_utf8_lossy(&self.head), table);
                self.state = State::BeforeRows;
                self.aside.clear();
                if self.section != Section::Rows {
                    self.is_odd(reader)?;
                }
                reader.copy(self.head.trim_ascii(), &name)?;
            }
            Kind::Offence => {
                let text = String::from_utf8_lossy(&self.head).into_owned();
                self.offends(self.head_line, text.trim(), reader)?;
            }
            Kind::Dropped => self.scan.statements += 1,
            Kind::Ordinary => {
                self.scan.statements += 1;
                self.settings();
                self.scan.roles.extend(role_of(&self.words, &self.head));
                if self.kind.as_deref().is_some_and(|kind| hangs_together(&self.words, kind)) {
                    self.is_odd(reader)?;
                }
                reader.statement(&self.text, true)?;
            }
        }
        self.text.clear();
        self.head.clear();
        self.words.clear();
        self.word.clear();
        self.begins = 0;
        self.parens = 0;
        Ok(())
    }

    fn is_odd(&mut self, reader: &mut impl Reader) -> io::Result<()> {
        if std::mem::replace(&mut self.scan.is_odd, true) { Ok(()) } else { reader.odd() }
    }

    /// A name as text.
    fn decoded(&self, name: &[u8]) -> String {
        match std::str::from_utf8(name) {
            Ok(name) => name.to_owned(),
            // The first 256 characters of Unicode are Latin 1.
            Err(_) if self.scan.encoding.as_deref() == Some("LATIN1") => {
                name.iter().map(|byte| char::from(*byte)).collect()
            }
            Err(_) => String::from_utf8_lossy(name).into_owned(),
        }
    }

    /// Settings that a dump makes and that matter to us.
    fn settings(&mut self) {
        let first = self.words.first().map_or(&b""[..], Vec::as_slice);
        if first == b"insert" {
            self.scan.inserts += 1;
        }
        if first != b"set" {
            return;
        }
        let head = String::from_utf8_lossy(&self.head).into_owned();
        let value = || head.split(['=', ' ']).next_back().unwrap_or("").trim_matches([';', '\'', '"', ' ']).to_owned();
        match self.words.get(1).map(Vec::as_slice) {
            Some(b"client_encoding") => self.scan.encoding = Some(value()),
            Some(b"transaction_timeout") => self.scan.sets_transaction_timeout = true,
            Some(b"standard_conforming_strings") => self.escapes_everywhere = value().eq_ignore_ascii_case("off"),
            _ => {}
        }
    }

    /// The end of a comment's or a command's line.
    fn aside_ends(&mut self, reader: &mut impl Reader) -> io::Result<()> {
        let aside = std::mem::take(&mut self.aside);
        let said = String::from_utf8_lossy(&aside).trim_end().to_owned();
        if said.starts_with('\\') {
            let word = said.split_whitespace().next().unwrap_or("");
            match word {
                "\\restrict" => self.scan.is_restricted = true,
                "\\unrestrict" => {}
                _ => self.offends(self.line.saturating_sub(1).max(1), &said, reader)?,
            }
            return Ok(());
        }
        if !self.head.is_empty() {
            return Ok(());
        }
        let value = |label: &str| said.strip_prefix(label).map(|value| value.trim().to_owned());
        if let Some(by) = value("-- Dumped by pg_dump version ") {
            self.scan.by = Some(by);
        } else if let Some(from) = value("-- Dumped from database version ") {
            self.scan.from = Some(from);
        } else if said == "-- PostgreSQL database dump complete" {
            self.trailer_seen = true;
        } else if said.starts_with("-- PostgreSQL database cluster dump") {
            self.scan.is_cluster = true;
        } else if let Some((kind, owner)) = item_of(&said) {
            *self.scan.items.entry(kind.to_owned()).or_default() += 1;
            self.scan.has_owners |= !matches!(owner, "" | "-");
            self.section = self.section.then(kind);
            reader.item(kind, self.section)?;
            self.kind = Some(kind.to_owned());
        }
        Ok(())
    }

    fn offends(&mut self, line: u64, text: &str, reader: &mut impl Reader) -> io::Result<()> {
        let text: String = one_line(text).chars().take(QUOTED_CHARACTERS).collect();
        if self.scan.offences.len() < OFFENCES_KEPT {
            self.scan.offences.push((line, text.clone()));
        }
        self.trailer_seen = false;
        reader.offence(line, &text)
    }
}
