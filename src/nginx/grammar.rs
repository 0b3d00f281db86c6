//! Responsible for: nginx's own grammar, as far as upstreams need it. Cuts a file into words and statements as
//! `ngx_conf_read_token` does, says what an upstream and its servers are, and when two addresses are one.
//!
//! Never: knows blue from green, changes a byte, or reads what Lua says.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::ops::Range;

use super::text::{end_of_file, line_number, listed, refused, refused_at};
use super::{Named, NotUnderstood, Server, Upstream, UpstreamContext};
use crate::nouns::inventory::NginxContext;

/// A file, read. Statements stand in one flat list, each with its parent: a thousand nested blocks cost no
/// stack, neither to build nor to drop.
pub(super) struct Parsed<'a> {
    pub(super) text: &'a str,
    pub(super) statements: Vec<Statement>,
    pub(super) comments: Vec<Range<usize>>,
    line_starts: Vec<usize>,
}

/// A directive with its `;`, or a block with its `}`.
pub(super) struct Statement {
    pub(super) words: Vec<Word>,
    pub(super) span: Range<usize>,
    /// What stands between the braces of a block.
    pub(super) body: Option<Range<usize>>,
    pub(super) parent: Option<usize>,
}

pub(super) struct Word {
    /// With its quotes.
    pub(super) span: Range<usize>,
    /// As nginx sees it: no quotes, escapes resolved.
    pub(super) value: String,
    pub(super) quote: Option<char>,
}

impl Word {
    /// Its bytes without quotes.
    pub(super) fn inner(&self) -> Range<usize> {
        let quote = usize::from(self.quote.is_some());
        self.span.start + quote..self.span.end - quote
    }

    /// Another value in the same quotes.
    pub(super) fn like(&self, value: &str) -> String {
        let quote = self.quote.map(String::from).unwrap_or_default();
        format!("{quote}{value}{quote}")
    }
}

impl Statement {
    pub(super) fn name(&self) -> &str {
        &self.words[0].value
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|word| word.value.as_str())
    }

    pub(super) fn is_upstream(&self) -> bool {
        self.body.is_some() && self.name() == "upstream" && self.words.len() == 2
    }

    fn close(&mut self, brace: usize) {
        self.span.end = brace + 1;
        if let Some(body) = &mut self.body {
            body.end = brace;
        }
    }
}

impl<'a> Parsed<'a> {
    pub(super) fn from_text(text: &'a str) -> Result<Parsed<'a>, NotUnderstood> {
        // nginx ends a word there, and a shell drops it.
        if let Some(offset) = text.find('\0') {
            return Err(refused_at(text, offset, "a NUL character, which has no place in a configuration".to_owned()));
        }
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(newline, _)| newline + 1));
        let mut lexer = Lexer::new(text);
        let statements = statements(&mut lexer)?;
        Ok(Parsed { text, statements, comments: lexer.comments, line_starts })
    }

    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(super) fn refused(&self, offset: usize, what: String) -> NotUnderstood {
        refused_at(self.text, offset, what)
    }

    pub(super) fn refused_at_line(&self, line: usize, what: String) -> NotUnderstood {
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let indent = self.text[start..].find(|c| !matches!(c, ' ' | '\t')).unwrap_or_default();
        refused_at(self.text, start + indent, what)
    }

    pub(super) fn children(&self, block: usize) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(move |statement| statement.parent == Some(block))
    }

    /// Whether another file has the same statements in the same order.
    pub(super) fn says_the_same(&self, other: &Parsed<'_>) -> bool {
        self.statements.len() == other.statements.len()
            && self.statements.iter().zip(&other.statements).all(|(one, other)| {
                one.parent == other.parent
                    && one.body.is_some() == other.body.is_some()
                    && one.values().eq(other.values())
            })
    }

    pub(super) fn servers_in(&self, block: usize) -> impl Iterator<Item = &Statement> {
        self.children(block).filter(|statement| statement.name() == "server")
    }

    pub(super) fn includes(&self) -> Vec<String> {
        self.statements
            .iter()
            .filter(|statement| statement.name() == "include" && statement.body.is_none())
            .map(|statement| self.text[statement.span.clone()].to_owned())
            .collect()
    }

    /// Where an upstream at this place belongs to; none for a place where nginx allows no upstream.
    fn context_of(&self, statement: &Statement) -> Option<UpstreamContext> {
        let Some(parent) = statement.parent else {
            return Some(UpstreamContext::Bare);
        };
        let parent = &self.statements[parent];
        match (parent.parent, parent.name()) {
            (None, "http") => Some(UpstreamContext::Http),
            (None, "stream") => Some(UpstreamContext::Stream),
            (_, _) => None,
        }
    }

    /// The index of its statement.
    pub(super) fn upstream_named(&self, named: Named<'_>) -> Result<usize, NotUnderstood> {
        let name = named.name;
        let is_there = |found: UpstreamContext| {
            let wanted = match named.context {
                None => return true,
                Some(NginxContext::Http) => UpstreamContext::Http,
                Some(NginxContext::Stream) => UpstreamContext::Stream,
            };
            found == wanted || found == UpstreamContext::Bare
        };
        let upstreams: Vec<usize> = (0..self.statements.len())
            .filter(|index| {
                let statement = &self.statements[*index];
                statement.is_upstream() && self.context_of(statement).is_some_and(is_there)
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
                let contexts = [first, second].map(|index| self.context_of(&self.statements[*index]));
                let way_out = if contexts[0] == contexts[1] { "" } else { ": nginx.context = \"http\" or \"stream\"" };
                let what = format!(
                    "the upstream \"{name}\" stands twice, at line {first_line} and at line {}; \
                     it is not said which one serves{way_out}",
                    self.line_of(second_start)
                );
                Err(self.refused(second_start, what))
            }
        }
    }

    pub(super) fn upstream(&self, block: usize) -> Result<Upstream, NotUnderstood> {
        let statement = &self.statements[block];
        let servers: Result<Vec<Server>, NotUnderstood> =
            self.servers_in(block).map(|server| self.server(server)).collect();
        Ok(Upstream {
            name: statement.words[1].value.clone(),
            context: self.context_of(statement).unwrap_or(UpstreamContext::Bare),
            servers: servers?,
            line: self.line_of(statement.span.start),
            span: statement.span.clone(),
        })
    }

    pub(super) fn server(&self, statement: &Statement) -> Result<Server, NotUnderstood> {
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
}

/// The last `weight=` counts, as it does for nginx. The word itself where it is not a number.
pub(super) fn weight_of(statement: &Statement) -> Result<u64, &Word> {
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

/// Whether a parameter of a server says how much it gets.
pub(super) fn says_share(value: &str) -> bool {
    value == "down" || value.starts_with("weight=")
}

/// The words that the lexer gives, put together: what is closed, by what, and what never is.
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
            match (self.skip_lua_piece(at, byte), byte) {
                (Lua::Unclosed, _) => break,
                (Lua::Code, b'{') => depth += 1,
                (Lua::Code, b'}') => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(at);
                    }
                }
                (Lua::Code | Lua::Text | Lua::Comment, _) => {}
            }
        }
        let line = line_number(self.text, open);
        let hint = format!("the Lua block that begins at line {line} is not closed");
        Err(end_of_file(self.text, "\"}\"", &hint))
    }

    /// Goes past the piece of Lua that begins with `byte`, at `at`, which the lexer stands behind.
    fn skip_lua_piece(&mut self, at: usize, byte: u8) -> Lua {
        let (is_closed, piece) = match byte {
            b'"' | b'\'' => (self.skip_lua_string(byte), Lua::Text),
            b'[' => match self.skip_long_bracket(at) {
                Some(is_closed) => (is_closed, Lua::Text),
                None => (true, Lua::Code),
            },
            b'-' if self.byte() == Some(b'-') => {
                self.at += 1;
                let is_closed = self.skip_long_bracket(self.at).unwrap_or_else(|| {
                    let rest = &self.text[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                    true
                });
                (is_closed, Lua::Comment)
            }
            _ => (true, Lua::Code),
        };
        if is_closed { piece } else { Lua::Unclosed }
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

/// A piece of Lua.
enum Lua {
    /// One byte of it.
    Code,
    Text,
    Comment,
    /// A text or a comment that has no end.
    Unclosed,
}

/// Lua without its comments, and with `"` in the place of each text.
pub(super) fn lua_without_texts(code: &str) -> String {
    let mut lexer = Lexer::new(code);
    let mut bare = String::new();
    while let Some(byte) = lexer.byte() {
        let at = lexer.at;
        lexer.at += 1;
        match lexer.skip_lua_piece(at, byte) {
            Lua::Code => bare.push(char::from(byte)),
            Lua::Comment => {}
            Lua::Text => bare.push('"'),
            Lua::Unclosed => {
                bare.push('"');
                break;
            }
        }
    }
    bare
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
pub(super) fn bare(written: &str) -> String {
    let inner =
        ['"', '\''].into_iter().find_map(|quote| written.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)));
    resolved(inner.unwrap_or(written))
}

/// One spelling for each address. Source: `ngx_parse_url` of `src/core/ngx_inet.c`.
pub(super) fn normal_address(written: &str) -> String {
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
