//! Makes text safe to show: [`Redactor`] takes secrets out of it, [`printable`] makes what would move a terminal
//! visible, [`markdown`], [`code`] and [`fence`] make it inert in a report. Never decides where text comes from or
//! where it goes, and never takes out more of a line than the secret: who reads a log must still know what happened.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[REDACTED]";

/// Knows the secrets of one run and the shapes of all others.
#[derive(Debug, Clone)]
pub struct Redactor {
    extra: Vec<Regex>,
    known: Known,
}

/// The values themselves; Debug does not show them.
#[derive(Clone)]
struct Known(Vec<String>);

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} known secrets", self.0.len())
    }
}

/// A shorter value is a word of its own somewhere, and would take half the report with it.
const SHORTEST_SECRET: usize = 6;

/// A part of a URL that is this long is a key, not a name.
const SHORTEST_TOKEN: usize = 16;

impl Redactor {
    /// `extra` are the config's expressions, `secrets` the values that must not appear anywhere: URLs with a key in
    /// them, passwords. Of a URL its password and its long parts are kept out of text by themselves, too.
    pub fn new<'a>(extra: &[Regex], secrets: impl Iterator<Item = &'a str>) -> Redactor {
        let mut known: Vec<String> = Vec::new();
        for secret in secrets {
            known.push(secret.to_owned());
            known.extend(parts_of_url(secret));
        }
        known.retain(|value| value.chars().count() >= SHORTEST_SECRET);
        // The longest first: a URL goes as a whole before its password does.
        known.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        known.dedup();
        Redactor { extra: extra.to_vec(), known: Known(known) }
    }

    /// The text with [`REDACTED`] in the place of every secret; what names the secret stays. Doing it twice changes
    /// nothing more.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED);
            }
        }
        for rule in RULES.iter() {
            if let Cow::Owned(changed) = rule.shape.replace_all(&text, rule.keep) {
                text = changed;
            }
        }
        for shape in &self.extra {
            let changed = shape.replace_all(&text, |found: &Captures<'_>| {
                let found = &found[0];
                if found.is_empty() || found.contains(REDACTED) {
                    return found.to_owned();
                }
                // `password=\S+` takes the key along with the value: the key is no secret, and says what was there.
                let key = NAMED.find(found).map_or("", |key| key.as_str());
                format!("{key}{REDACTED}")
            });
            if let Cow::Owned(changed) = changed {
                text = changed;
            }
        }
        text
    }
}

/// The password of a URL, and what is long enough in its path and query to be a key.
fn parts_of_url(url: &str) -> Vec<String> {
    let Some((_, rest)) = url.split_once("://") else { return Vec::new() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let password = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    let keys = path.split(['/', '?', '&', '=', '#']).filter(|part| part.len() >= SHORTEST_TOKEN);
    password.into_iter().chain(keys).map(str::to_owned).collect()
}

/// One shape of a secret, and what is put in its place.
struct Rule {
    shape: Regex,
    keep: Keep,
}

/// What stays of a find.
type Keep = fn(&Captures<'_>) -> String;

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rules: [(&str, Keep); 9] = [
        // A block that was cut has no end; the key in it is still a key.
        (r"(?s)(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)(.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)", |found| {
            let is_redacted = found[2].starts_with(REDACTED);
            if is_redacted { found[0].to_owned() } else { format!("{}{REDACTED}", &found[1]) }
        }),
        (r"(?i)\b(https://hooks\.slack(?:-gov)?\.com/[a-z]+/)[^\s\x22'<>`)\[\]][^\s\x22'<>`)\]]*", |found| {
            format!("{}{REDACTED}", &found[1])
        }),
        // scheme://user:password@
        (r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/@:\x22'<>`]*:)([^\s/\x22'<>`]+)@", |found| {
            format!("{}{REDACTED}@", &found[1])
        }),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", |_| REDACTED.to_owned()),
        // the keys of Slack, GitHub, GitLab, Stripe and Google begin with who gave them
        (
            r"\b(?:xox[a-z]-[0-9A-Za-z-]{10,}|gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}|glpat-[0-9A-Za-z_-]{16,}|[sr]k_live_[0-9A-Za-z]{16,}|AIza[0-9A-Za-z_-]{30,})",
            |_| REDACTED.to_owned(),
        ),
        (r"\beyJ[0-9A-Za-z_-]{5,}\.[0-9A-Za-z_-]{5,}\.[0-9A-Za-z_-]*", |_| REDACTED.to_owned()),
        // A whole header. In JSON it ends with its quote, in a log line with the line.
        (
            r#"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\\?["']?\s*(?::|=>?)\s*\\?["']?)((?:bearer|basic|digest|token|negotiate)\s+)?[^\r\n"'\\]+"#,
            |found| {
                format!("{}{}{}{REDACTED}", &found[1], &found[2], found.get(3).map_or("", |scheme| scheme.as_str()))
            },
        ),
        (r"(?i)\b(bearer\s+)([0-9a-z._~+/=-]{8,})", |found| {
            // "bearer authentication failed" is a sentence
            let is_a_token = found[2].bytes().any(|b| b.is_ascii_digit()) || found[2].len() >= 24;
            if is_a_token { format!("{}{REDACTED}", &found[1]) } else { found[0].to_owned() }
        }),
        (
            r#"(?ix)
            ( [0-9a-z_.-]* (?:password|passwd|passphrase|pwd|secret[_-]?key|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|session[_-]?id) s? (?:[0-9_-][0-9a-z_-]*)? )
            ( \\?["']? \s* (?: :?=>? | : ) \s* | \s+ )
            ( \\?"(?:[^"\\]|\\[^"])* | '[^']* | [^\s,;&"'=)}\]] [^\s,;&"')}]* )"#,
            named_secret,
        ),
    ];
    rules.into_iter().filter_map(|(shape, keep)| Some(Rule { shape: Regex::new(shape).ok()?, keep })).collect()
});

/// How a value is introduced: `key=`, `"key": `, `--key `.
static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^[\w.-]+\\?["']?\s*(?:=>?|:)\s*"#).expect("a constant; the tests compile it"));

/// `key=value`: whether the value is a secret depends on both.
fn named_secret(found: &Captures<'_>) -> String {
    let (whole, key, between, value) = (&found[0], &found[1], &found[2], &found[3]);
    let lower = key.to_ascii_lowercase();
    let quote = value.chars().take_while(|c| "\\\"'".contains(*c)).count();
    let (quote, bare) = value.split_at(quote);
    let is_a_path =
        lower.trim_start_matches(['_', '-', '.']).ends_with("pwd") && bare.starts_with('/') && lower.len() <= 6;
    let says_nothing =
        ["true", "false", "null", "none", "nil", "yes", "no", "undefined", "***", "<nil>", "[redacted]", "(redacted)"];
    if bare.is_empty()
        || is_a_path
        || bare.starts_with("[REDACTED")
        || says_nothing.contains(&bare.to_ascii_lowercase().as_str())
    {
        return whole.to_owned();
    }
    let only_spaces = between.trim().is_empty();
    if only_spaces && !key.starts_with("--") {
        // "password authentication failed": prose, not a flag
        return whole.to_owned();
    }
    let is_about_passwords = ["pass", "pwd", "secret"].iter().any(|word| lower.contains(word));
    let digits = bare.bytes().filter(u8::is_ascii_digit).count();
    if !is_about_passwords {
        // max_tokens=512, token_count: 17
        if digits == bare.len() && digits <= 9 {
            return whole.to_owned();
        }
        // "unexpected token: identifier": a word after a colon and a space is prose
        let is_prose =
            between.trim_start().starts_with(':') && between.ends_with(char::is_whitespace) && quote.is_empty();
        if is_prose && digits == 0 && bare.len() < SHORTEST_TOKEN {
            return whole.to_owned();
        }
    }
    format!("{key}{between}{quote}{REDACTED}")
}

/// One line that cannot move a cursor, change a colour or turn reading direction: control characters are shown as
/// their pictures (`␛`), newlines as `⏎`, tabs as a space, bidirectional marks and characters of no width as
/// `\u{202e}`.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => out.push('⏎'),
            '\t' => out.push(' '),
            _ => push_visible(&mut out, c),
        }
    }
    out
}

/// As [`printable`], but lines and tabs stay.
pub fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\t' => out.push(c),
            _ => push_visible(&mut out, c),
        }
    }
    out
}

fn push_visible(out: &mut String, c: char) {
    match c {
        '\0'..='\u{1f}' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
        '\u{7f}' => out.push('␡'),
        // C1 controls (0x9b is an escape sequence by itself), soft hyphen, Arabic letter mark, Mongolian separator,
        // zero-width and bidirectional marks, line and paragraph separators, annotations, byte order mark, tags
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        _ => out.push(c),
    }
}

/// The text as words in a paragraph or a table's cell: nothing of it is Markdown or HTML.
pub fn markdown(text: &str) -> String {
    let text = printable(text);
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        // Our own mark stays readable where it cannot become a link.
        if let Some(after) = rest.strip_prefix(REDACTED)
            && !after.starts_with(['(', '[', ':'])
        {
            out.push_str(REDACTED);
            rest = after;
            continue;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// The text as words of an HTML page, also within an attribute; lines stay.
pub fn html(text: &str) -> String {
    let text = printable_lines(text);
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// The text as code within a line; in a table's cell, too. What no code span can hold becomes [`markdown`].
pub fn code(text: &str) -> String {
    let text = printable(text);
    let text = text.trim();
    if text.is_empty() || text.contains('`') || text.ends_with('\\') {
        return markdown(text);
    }
    // Tables are cut at `|` before code is looked at; the backslash is theirs, and they take it away.
    format!("`{}`", text.replace('|', "\\|"))
}

/// The text as a block of its own, whatever it holds: the fence is longer than any run of backticks in it.
pub fn fence(text: &str) -> String {
    fence_as(text, "")
}

/// As [`fence`], with the name of its language for those who colour it.
pub fn fence_as(text: &str, language: &str) -> String {
    let text = printable_lines(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}", text.trim_end_matches('\n'))
}

/// At most `limit` characters; what is cut is shown as `…`.
pub fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_expression_compiles() {
        assert_eq!(RULES.len(), 9, "a rule that does not compile protects nobody");
        assert!(NAMED.is_match("password=x"));
    }

    #[test]
    fn the_password_of_a_url_is_a_secret_by_itself() {
        let parts = parts_of_url("smtp://mailer:s3cr3t-word@mail.example.com:587/?tls=required");
        assert_eq!(parts, ["s3cr3t-word"]);
        let parts =
            parts_of_url("https://hooks.example.com/services/T000/abcdefghijklmnopqrstuvwx?sig=0123456789abcdef0");
        assert_eq!(parts, ["abcdefghijklmnopqrstuvwx", "0123456789abcdef0"]);
    }
}
