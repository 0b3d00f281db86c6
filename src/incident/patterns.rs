//! Finds trouble in a log while it streams by: lines that tell of a panic, a failed query, a timeout, an error, alike
//! ones counted together. Constant memory, whatever comes. Never keeps the log, and never judges: it counts and quotes.

use std::collections::HashMap;
use std::sync::LazyLock;

use memchr::{memchr, memchr_iter, memrchr};
use regex::bytes::{Regex, RegexSet};

use crate::nouns::record;
use crate::nouns::redact::{self, Redactor};

/// What is left of a line that is longer: a dump of a whole request in one line tells who is at fault in its beginning.
const LONGEST_LINE: usize = 8 * 1024;

/// More kinds of trouble than this are noise; the rarest half goes when a new one finds no room.
const MOST_PATTERNS: usize = 500;

/// Fits on a screen and into a report; ten more would not be read.
const TOP: usize = 10;

/// What is kept of an example; enough for any message, and for a secret in it to be seen as one.
const LONGEST_EXAMPLE: usize = 1024;

/// What a report quotes of it.
const LONGEST_QUOTE: usize = 240;

/// Lines are told apart by so much of their beginning.
const LONGEST_KEY: usize = 256;

/// What stands in a log, so far.
#[derive(Debug, Default)]
pub struct Patterns {
    lines: u64,
    /// The beginning of a line whose end has not come yet, at most [`LONGEST_LINE`].
    open: Vec<u8>,
    /// Whether a line is open: also one whose beginning was cut off as too long.
    is_open: bool,
    found: HashMap<Key, Seen>,
    key: Vec<u8>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// All lines of the log.
    pub lines: u64,
    /// At most ten, the most frequent first. Counts are exact up to 500 kinds of lines; beyond, never too high.
    pub patterns: Vec<record::Pattern>,
}

/// In the order in which a line that fits several is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Panic,
    Query,
    Timeout,
    Error,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Panic, Kind::Query, Kind::Timeout, Kind::Error];

    /// The word of the journal and the report.
    fn word(self) -> &'static str {
        match self {
            Kind::Panic => "panic",
            Kind::Query => "query",
            Kind::Timeout => "timeout",
            Kind::Error => "error",
        }
    }

    /// What a line of this kind has. Case is ignored but for what says so.
    fn shape(self) -> &'static str {
        match self {
            Kind::Panic => {
                r"\bpanic(?:ked|king)?\b|\bfatal\b|\bsegfault\b|segmentation fault|\bSIG(?:SEGV|ABRT|BUS)\b|^goroutine \d+ \[|traceback \(most recent|out ?of ?memory|assertion\b.*\bfailed|\bassertionerror|assert(?:ion)? failed"
            }
            Kind::Query => {
                r"query failed|relation .{1,80} does not exist|deadlock detected|\bpq: |sqlstate|duplicate key|too many (?:connections|clients)"
            }
            // `timeout=30s` is a setting
            Kind::Timeout => {
                r"(?:\btimeout|\btimed[ -]out|\btime-out|deadline ?exceeded)(?:[^=:\w\x22'\\]|[\x22'](?:[^:]|$)|:? +[a-z(]|:?$)"
            }
            // A status stands behind the quoted request (nginx, Apache), or has its name
            Kind::Error => {
                r#"(?-i:\b(?:ERROR|CRITICAL|EMERG)\b)|\[(?:error|crit|alert|emerg)\]|\b(?:level|lvl|severity)\\?["']?[=:] ?\\?["']?(?:err|crit|alert|emerg)|HTTP/[0-9.]+" 5\d\d\b|\b(?:status|status_code|code)\\?["']?[=:] ?\\?["']?5\d\d\b"#
            }
        }
    }
}

/// Kind and the line without what differs from line to line.
type Key = Vec<u8>;

#[derive(Debug)]
struct Seen {
    kind: Kind,
    count: u64,
    /// When it was first seen, in lines: the older of two that are as frequent stands first.
    first: u64,
    example: Vec<u8>,
}

/// Words one of which every line of every kind has: one pass over all of a buffer finds the few lines worth a look.
/// It may find too many, never too few.
static WORTH_A_LOOK: LazyLock<Regex> = LazyLock::new(|| {
    constant(
        r#"(?-u)(?i:panic|fatal|segfault|segmentation f|SIGSEGV|SIGABRT|SIGBUS|traceback \(|goroutine \d|out ?of ?memory|assert|query failed|does not exist|deadlock|pq: |sqlstate|duplicate key|too many c|timeout|time[ -]?out|timed[ -]out|deadline ?exceeded|\[(?:error|crit|alert|emerg)\]|(?:level|lvl|severity)[\\"']*[=:] ?[\\"']*(?:err|crit|alert|emerg)|(?:status|code)[\\"']*[=:] ?[\\"']*5\d\d)|ERROR|CRITICAL|EMERG|" 5\d\d"#,
    )
});

static KINDS: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new(Kind::ALL.map(|kind| format!("(?i-u){}", kind.shape())))
        .expect("constants; every test of this file compiles them")
});

fn constant(shape: &str) -> Regex {
    Regex::new(shape).expect("a constant; every test of this file compiles it")
}

impl Patterns {
    pub fn new() -> Patterns {
        Patterns::default()
    }

    /// Takes the next bytes of the log, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.is_open {
            let Some(end) = memchr(b'\n', rest) else { return self.keep_open(rest) };
            self.keep_open(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.open);
            self.line(&line);
            self.lines += 1;
            self.is_open = false;
            // the same memory for the next one
            self.open = line;
            self.open.clear();
        }
        let Some(last) = memrchr(b'\n', rest) else { return self.keep_open(rest) };
        let (whole, open) = rest.split_at(last + 1);
        self.scan(whole);
        self.keep_open(open);
    }

    /// What was found; a last line without its end counts.
    pub fn finish(mut self, redactor: &Redactor) -> Found {
        if self.is_open {
            let line = std::mem::take(&mut self.open);
            self.line(&line);
            self.lines += 1;
        }
        let mut seen: Vec<Seen> = self.found.into_values().collect();
        seen.sort_by(|a, b| b.count.cmp(&a.count).then(a.kind.cmp(&b.kind)).then(a.first.cmp(&b.first)));
        let patterns = seen
            .into_iter()
            .take(TOP)
            .map(|seen| {
                let example = redactor.text(&String::from_utf8_lossy(&seen.example));
                record::Pattern {
                    kind: seen.kind.word().to_owned(),
                    count: seen.count,
                    example: redact::cut(&redact::printable(example.trim_end()), LONGEST_QUOTE),
                }
            })
            .collect();
        Found { lines: self.lines, patterns }
    }

    fn keep_open(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.is_open = true;
        let room = LONGEST_LINE.saturating_sub(self.open.len());
        self.open.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Whole lines, in place.
    fn scan(&mut self, whole: &[u8]) {
        let mut at = 0;
        let mut counted = 0;
        while let Some(hit) = WORTH_A_LOOK.find_at(whole, at) {
            let begin = memrchr(b'\n', &whole[..hit.start()]).map_or(0, |newline| newline + 1);
            let end = memchr(b'\n', &whole[hit.start()..]).map_or(whole.len(), |length| hit.start() + length);
            self.lines += memchr_iter(b'\n', &whole[counted..begin]).count() as u64;
            counted = begin;
            let line = &whole[begin..end];
            self.line(&line[..line.len().min(LONGEST_LINE)]);
            at = end;
        }
        self.lines += memchr_iter(b'\n', &whole[counted..]).count() as u64;
    }

    /// One line without its end.
    fn line(&mut self, line: &[u8]) {
        let fits = KINDS.matches(line);
        let Some(kind) = Kind::ALL.into_iter().enumerate().find(|(n, _)| fits.matched(*n)).map(|(_, kind)| kind) else {
            return;
        };
        self.key.clear();
        self.key.extend_from_slice(kind.word().as_bytes());
        normalise(line, &mut self.key);
        if let Some(seen) = self.found.get_mut(self.key.as_slice()) {
            seen.count += 1;
            return;
        }
        if self.found.len() >= MOST_PATTERNS {
            self.forget_the_rare();
        }
        let example = line[..line.len().min(LONGEST_EXAMPLE)].to_vec();
        self.found.insert(self.key.clone(), Seen { kind, count: 1, first: self.lines, example });
    }

    /// A log may begin with five hundred curiosities and then fail in one way a million times: the rare make room.
    fn forget_the_rare(&mut self) {
        let mut counts: Vec<(u64, u64)> = self.found.values().map(|seen| (seen.count, u64::MAX - seen.first)).collect();
        counts.sort_unstable();
        if let Some(middle) = counts.get(counts.len() / 2).copied() {
            self.found.retain(|_, seen| (seen.count, u64::MAX - seen.first) >= middle);
        }
    }
}

/// The line without what differs between two of a kind: numbers, hexadecimal words, UUIDs and quoted strings.
fn normalise(line: &[u8], out: &mut Vec<u8>) {
    let limit = out.len() + LONGEST_KEY;
    let mut at = 0;
    while at < line.len() && out.len() < limit {
        let byte = line[at];
        if byte.is_ascii_alphanumeric() {
            if is_uuid(&line[at..]) {
                out.push(b'#');
                at += 36;
                continue;
            }
            let length = line[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
            push_word(&line[at..at + length], out);
            at += length;
        } else if matches!(byte, b'"' | b'\'' | b'`') {
            at += push_quoted(&line[at..], line[..at].last().copied(), &line[..at], out);
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out.truncate(limit);
}

/// A word: one of hexadecimal digits as a whole, of others only their numbers.
fn push_word(word: &[u8], out: &mut Vec<u8>) {
    let has_digit = word.iter().any(u8::is_ascii_digit);
    let is_hex = word.len() >= 7 && has_digit && word.iter().all(u8::is_ascii_hexdigit);
    let is_0x = word.len() > 2 && word.starts_with(b"0x") && word[2..].iter().all(u8::is_ascii_hexdigit);
    if is_hex || is_0x {
        out.push(b'#');
        return;
    }
    let mut in_number = false;
    for byte in word {
        if !byte.is_ascii_digit() {
            out.push(*byte);
        } else if !in_number {
            out.push(b'#');
        }
        in_number = byte.is_ascii_digit();
    }
}

/// Keys after which a quoted string is the message itself, in JSON and logfmt lines.
const TELLING: &[&[u8]] =
    &[b"msg", b"message", b"error", b"err", b"level", b"lvl", b"severity", b"event", b"exception", b"reason", b"cause"];

/// A quoted string, from its quote on; gives how much of the line that was. What is quoted is dropped, but for what
/// structure holds: a key of JSON, and a value that is the message.
fn push_quoted(rest: &[u8], before: Option<u8>, line: &[u8], out: &mut Vec<u8>) -> usize {
    let quote = rest[0];
    out.push(quote);
    // don't, won't: an apostrophe opens nothing
    if quote == b'\'' && before.is_some_and(|b| b.is_ascii_alphanumeric()) {
        return 1;
    }
    let Some(length) = memchr(quote, &rest[1..]) else { return 1 };
    let inside = &rest[1..1 + length];
    let after = rest.get(length + 2).copied();
    let lead = line.trim_ascii_end();
    let is_value = lead.last().is_some_and(|b| matches!(b, b'=' | b':')) && lead.len() + 1 >= line.len();
    let is_key = after == Some(b':') && lead.last().is_none_or(|b| matches!(b, b'{' | b','));
    let word: Vec<u8> = lead[..lead.len().saturating_sub(1)]
        .iter()
        .rev()
        .skip_while(|b| matches!(b, b'"' | b'\\'))
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        .copied()
        .collect();
    let is_telling = is_value && TELLING.iter().any(|key| key.iter().rev().eq(word.iter()));
    if is_key || is_telling {
        for part in inside.split_inclusive(|b| !b.is_ascii_alphanumeric()) {
            push_word(part, out);
        }
    }
    out.push(quote);
    length + 2
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() >= 36
        && text[..36].iter().enumerate().all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
        && !text.get(36).is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &[u8], chunk: usize) -> Found {
        let mut patterns = Patterns::new();
        for bytes in log.chunks(chunk) {
            patterns.feed(bytes);
        }
        patterns.finish(&Redactor::new(&[], std::iter::empty()))
    }

    fn kind_of(line: &str) -> Option<String> {
        let found = read(line.as_bytes(), 4096);
        assert!(found.patterns.len() <= 1);
        let alone = found.patterns.first().map(|pattern| pattern.kind.clone());
        // the fast path and the slow one agree
        let among = read(format!("before\n{line}\nafter\n").as_bytes(), 4096);
        assert_eq!(among.patterns.first().map(|pattern| pattern.kind.clone()), alone, "{line}");
        assert_eq!(among.lines, 3);
        alone
    }

    #[test]
    fn each_kind_of_trouble_is_known_by_its_words() {
        for (line, kind) in [
            ("panic: runtime error: index out of range", "panic"),
            ("thread 'main' panicked at src/main.rs:3:5:", "panic"),
            ("2026/11/20 FATAL: the database system is starting up", "panic"),
            ("goroutine 17 [running]:", "panic"),
            ("Traceback (most recent call last):", "panic"),
            ("java.lang.OutOfMemoryError: Java heap space", "panic"),
            ("green[77]: segfault at 0 ip 000055d0", "panic"),
            ("assertion `left == right` failed", "panic"),
            ("program received SIGSEGV", "panic"),
            ("ERROR query failed: select 1", "query"),
            ("pq: relation \"listings_v2\" does not exist", "query"),
            ("ERROR: deadlock detected", "query"),
            ("org.postgresql.util.PSQLException SQLState: 08006, SQLSTATE 08006", "query"),
            ("duplicate key value violates unique constraint", "query"),
            ("FATA sorry, too many clients already", "query"),
            ("dial tcp 10.0.0.1:5432: i/o timeout", "timeout"),
            ("upstream timed out (110: Connection timed out)", "timeout"),
            ("context deadline exceeded", "timeout"),
            ("read timeout: giving up", "timeout"),
            ("2026-11-20 ERROR cannot render page", "error"),
            ("{\"level\":\"error\",\"msg\":\"no\"}", "error"),
            ("level=error msg=\"no\"", "error"),
            ("2026/11/20 21:15:03 [error] 77#77: *1 connect() failed", "error"),
            ("10.0.0.1 - - [x] \"GET / HTTP/1.1\" 502 157", "error"),
            ("method=GET status=503 ms=12", "error"),
            ("{\"status\": 500, \"path\": \"/\"}", "error"),
        ] {
            assert_eq!(kind_of(line).as_deref(), Some(kind), "{line}");
        }
    }

    #[test]
    fn an_ordinary_line_is_no_trouble() {
        for line in [
            "2026-11-20T21:15:03Z INFO listening on :8081 timeout=30s read_timeout=5s",
            "10.0.0.1 - - [x] \"GET /500 HTTP/1.1\" 200 502",
            "no errors, 0 failures, error_count=0",
            "level=info msg=\"Terror of the deep, in stock\"",
            "status=200 bytes=5031",
            "{\"timeout\": 30, \"level\": \"info\"}",
            "the ERRORS page was asked for",
            "compiled with asserts",
            "",
        ] {
            assert_eq!(kind_of(line), None, "{line}");
        }
    }

    #[test]
    fn lines_that_differ_in_numbers_and_names_only_are_one_pattern() {
        let log = "2026-11-20T21:15:03.412Z ERROR req 550e8400-e29b-41d4-a716-446655440000 user 17 at 0x7f3a \"alice\" commit 3f2a9c1d\n\
                   2026-11-20T21:15:04.5Z ERROR req 01234567-89ab-cdef-0123-456789abcdef user 4 at 0xdeadbeef \"bob b\" commit 00ff00aa\n\
                   2026-11-20T21:15:05Z ERROR something else\n";
        let found = read(log.as_bytes(), 7);
        let counts: Vec<u64> = found.patterns.iter().map(|pattern| pattern.count).collect();
        assert_eq!((found.lines, counts), (3, vec![2, 1]), "{:#?}", found.patterns);
    }

    #[test]
    fn messages_of_json_and_logfmt_lines_are_told_apart() {
        let log = "{\"level\":\"error\",\"msg\":\"query failed\",\"user\":\"alice\"}\n\
                   {\"level\":\"error\",\"msg\":\"query failed\",\"user\":\"bob\"}\n\
                   {\"level\":\"error\",\"msg\":\"cache is cold\",\"user\":\"bob\"}\n\
                   level=error msg=\"disk is full\" user=\"a\"\nlevel=error msg=\"disk is full\" user=\"b\"\n\
                   level=error msg=\"disk is gone\" user=\"b\"\n";
        let counts: Vec<u64> = read(log.as_bytes(), 4096).patterns.iter().map(|pattern| pattern.count).collect();
        assert_eq!(counts, [2, 2, 1, 1]);
    }

    #[test]
    fn where_the_stream_is_cut_changes_nothing() {
        let long = format!("ERROR {}", "x".repeat(3 * LONGEST_LINE));
        let late = format!("{} ERROR too late to be seen", "y".repeat(LONGEST_LINE));
        let log = format!("INFO a\nERROR b 1\r\n\n{long}\nERROR b 22\r\n{late}\npanic: c\nERROR without an end");
        let whole = read(log.as_bytes(), log.len());
        assert_eq!(whole.lines, 8);
        assert_eq!(whole.patterns.iter().map(|pattern| pattern.count).collect::<Vec<_>>(), [2, 1, 1, 1]);
        for chunk in [1, 2, 3, 5, 64, 1000, LONGEST_LINE, LONGEST_LINE + 1] {
            assert_eq!(read(log.as_bytes(), chunk), whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn a_storm_after_many_curiosities_is_still_counted() {
        let mut log = String::new();
        for n in 0..5 * MOST_PATTERNS {
            // letters only: numbers would make them one pattern
            let word: String = n.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect();
            log.push_str(&format!("ERROR curiosity {word}\n"));
        }
        log.push_str(&"panic: the storm\n".repeat(1000));
        let mut patterns = Patterns::new();
        patterns.feed(log.as_bytes());
        assert!(patterns.found.len() <= MOST_PATTERNS);
        let found = patterns.finish(&Redactor::new(&[], std::iter::empty()));
        assert_eq!((found.patterns[0].count, found.patterns[0].kind.as_str()), (1000, "panic"));
        assert_eq!(found.patterns.len(), TOP);
    }

    #[test]
    fn what_is_quoted_is_redacted_printable_and_short() {
        let log = format!("ERROR login password=hunter2 \u{1b}[31m{}\n", "z".repeat(2000));
        let example = &read(log.as_bytes(), 4096).patterns[0].example;
        assert!(example.starts_with("ERROR login password=[REDACTED] ␛[31mzz"), "{example}");
        assert_eq!(example.chars().count(), LONGEST_QUOTE);
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let mut log: Vec<u8> = (0..=255).collect();
        log.extend_from_slice(b"\nERROR \xff\xfe\n\0\0\0");
        let found = read(&log, 10);
        assert_eq!((found.lines, found.patterns.len()), (4, 1));
    }
}
