//! Secrets go, everything else stays; and nothing that is shown can act.

use regex::Regex;
use rollback_prod::nouns::redact::{self, Redactor};

fn plain() -> Redactor {
    Redactor::new(&[], std::iter::empty())
}

/// What is given, and what must come out.
const SECRETS: &[(&str, &str)] = &[
    ("password=hunter2", "password=[REDACTED]"),
    ("password=hunter2&user=bob", "password=[REDACTED]&user=bob"),
    ("DB_PASSWORD = 'hunter 2' next", "DB_PASSWORD = '[REDACTED]' next"),
    ("passwd: hunter2", "passwd: [REDACTED]"),
    ("pwd=12345", "pwd=[REDACTED]"),
    ("PGPASSWORD=abc psql -h db", "PGPASSWORD=[REDACTED] psql -h db"),
    (r#"{"password":"hun\\ter2","user":"bob"}"#, r#"{"password":"[REDACTED]","user":"bob"}"#),
    (r#"{\"password\":\"hunter2\",\"user\":\"bob\"}"#, r#"{\"password\":\"[REDACTED]\",\"user\":\"bob\"}"#),
    (r#"{"api_key": "abc-def", "n": 1}"#, r#"{"api_key": "[REDACTED]", "n": 1}"#),
    ("client_secret=xyz", "client_secret=[REDACTED]"),
    ("token=deadbeef", "token=[REDACTED]"),
    ("GET /hook?access_token=ya29.abc&x=1 HTTP/1.1", "GET /hook?access_token=[REDACTED]&x=1 HTTP/1.1"),
    ("X-Api-Key: 0123abcd", "X-Api-Key: [REDACTED]"),
    ("--password hunter2 --user bob", "--password [REDACTED] --user bob"),
    ("Authorization: Bearer abcdef123456", "Authorization: Bearer [REDACTED]"),
    ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [REDACTED]"),
    (r#""Authorization": "Bearer abcdef123456", "x": 1"#, r#""Authorization": "Bearer [REDACTED]", "x": 1"#),
    ("sent bearer abcdef123456 to it", "sent bearer [REDACTED] to it"),
    ("Cookie: session=abc; theme=dark", "Cookie: [REDACTED]"),
    ("Set-Cookie: sid=abc; HttpOnly\nDate: now", "Set-Cookie: [REDACTED]\nDate: now"),
    ("postgres://app:hunter2@db:5432/x", "postgres://app:[REDACTED]@db:5432/x"),
    ("redis://:hunter2@cache", "redis://:[REDACTED]@cache"),
    ("https://bob:p@ss@example.com/", "https://bob:[REDACTED]@example.com/"),
    ("key AKIAIOSFODNN7EXAMPLE used", "key [REDACTED] used"),
    ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key=[REDACTED]"),
    ("to https://hooks.slack.com/services/T000/B000/XXXX now", "to https://hooks.slack.com/services/[REDACTED] now"),
    ("jwt eyJhbGciOi.eyJzdWIiOi.sig-_x done", "jwt [REDACTED] done"),
    ("xoxb-12345678-abcdef said", "[REDACTED] said"),
    ("ghp_0123456789abcdefghijABCDEFGHIJ0123", "[REDACTED]"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nafter",
        "-----BEGIN RSA PRIVATE KEY-----[REDACTED]\nafter",
    ),
    ("-----BEGIN PRIVATE KEY-----\nMIIE cut here", "-----BEGIN PRIVATE KEY-----[REDACTED]"),
];

/// Lines that must stay as they are.
const ORDINARY: &[&str] = &[
    "2026-11-20T21:15:03Z INFO listening on 127.0.0.1:8081",
    "FATAL: password authentication failed for user \"listings\"",
    "token expired for user 42",
    "syntax error, unexpected token: identifier at line 3",
    "max_tokens=512 token_count: 17",
    "the bearer of this ticket may pass",
    "bearer authentication failed",
    "PWD=/opt/listings ./bin/listings-green",
    "has_password=true token=null secret: false",
    "GET /api/listings?page=2&sort=price HTTP/1.1\" 502 157",
    "pq: relation \"listings_v2\" does not exist (SQLSTATE 42P01)",
    "panic: runtime error: index out of range [5] with length 3",
    "goroutine 17 [running]:",
    "upstream timed out (110: Connection timed out) while reading, client: 10.0.0.7, upstream: \"http://127.0.0.1:8081/\"",
    "ssh://deploy@web1:22 and postgres://app@db/listings",
    "https://example.com:8443/path@2x.png",
    "commit 3f2a9c1d0b7e, image sha256:9b1c",
    "user passed the check; compass=north",
    "cookies are disabled",
    "secretary: Alice",
    "",
];

#[test]
fn a_secret_goes_and_its_name_stays() {
    for (given, wanted) in SECRETS {
        assert_eq!(plain().text(given), *wanted, "given {given:?}");
    }
}

#[test]
fn an_ordinary_line_stays_as_it_is() {
    let eaten: Vec<_> = ORDINARY.iter().map(|line| (*line, plain().text(line))).filter(|(a, b)| a != b).collect();
    assert!(eaten.is_empty(), "{eaten:#?}");
}

#[test]
fn redacting_twice_changes_nothing_more() {
    let extra = [Regex::new(r"(?i)password=\S+").unwrap(), Regex::new("card [0-9]{4}").unwrap()];
    let redactor = Redactor::new(&extra, ["https://h.example/0123456789abcdefXYZ"].into_iter());
    for (given, _) in SECRETS {
        let once = redactor.text(given);
        assert_eq!(redactor.text(&once), once, "given {given:?}");
    }
}

#[test]
fn a_known_value_goes_wherever_it_stands_unless_it_is_a_word() {
    let redactor = Redactor::new(&[], ["https://h.example/T0/0123456789abcdefXYZ", "correct horse", "abc"].into_iter());
    assert_eq!(redactor.text("POST https://h.example/T0/0123456789abcdefXYZ: 500"), "POST [REDACTED]: 500");
    assert_eq!(redactor.text("only its key: 0123456789abcdefXYZ"), "only its key: [REDACTED]");
    assert_eq!(redactor.text("it is correct horse"), "it is [REDACTED]");
    assert_eq!(
        redactor.text("abc stays: too short to be told from a word"),
        "abc stays: too short to be told from a word"
    );
    assert!(!format!("{redactor:?}").contains("horse"), "Debug shows no secret");
}

#[test]
fn the_configs_own_expressions_keep_the_key_too() {
    let extra =
        [Regex::new(r"(?i)kennwort=\S+").unwrap(), Regex::new("[0-9]{4}-[0-9]{4}").unwrap(), Regex::new("x*").unwrap()];
    let redactor = Redactor::new(&extra, std::iter::empty());
    assert_eq!(redactor.text("Kennwort=geheim card 1234-5678"), "Kennwort=[REDACTED] card [REDACTED]");
}

#[test]
fn nothing_printed_moves_a_cursor_or_turns_the_text() {
    assert_eq!(redact::printable("a\u{1b}[31mred\u{7}\r\nb\tc\rd"), "a␛[31mred␇⏎b c␍d");
    assert_eq!(
        redact::printable("\u{202e}evil\u{200b}\u{9b}2J\u{feff}\u{7f}"),
        "\\u{202e}evil\\u{200b}\\u{9b}2J\\u{feff}␡"
    );
    assert_eq!(redact::printable("Grüße, 東京 🚨"), "Grüße, 東京 🚨");
}

#[test]
fn markdown_and_html_in_a_text_are_text() {
    let hostile = "| **b** `c` [l](http://x) <script>alert(1)</script> # h ~~s~~ a_b \\ &amp;\n- x";
    let inert = redact::markdown(hostile);
    for raw in ["<script", "| ", "**b", "[l]", "~~s"] {
        assert!(
            !inert.replace("\\|", "").replace("\\*", "").replace("\\~", "").replace("\\[", "").contains(raw),
            "{raw} in {inert}"
        );
    }
    assert!(!inert.contains('\n'));
    assert_eq!(redact::markdown("a|b_c"), "a\\|b\\_c");
    assert_eq!(redact::markdown("x=[REDACTED]; [REDACTED](http://x)"), "x=[REDACTED]; \\[REDACTED\\](http://x)");
    assert_eq!(redact::code("a|b"), "`a\\|b`");
    assert_eq!(redact::code("a`b"), "a\\`b");
}

#[test]
fn a_fence_is_longer_than_what_it_holds() {
    assert_eq!(redact::fence("plain\n"), "```\nplain\n```");
    assert_eq!(redact::fence("```\nout\n````"), "`````\n```\nout\n````\n`````");
    assert_eq!(redact::fence("\u{1b}[2J"), "```\n␛[2J\n```");
}

#[test]
fn a_cut_text_says_so() {
    assert_eq!(redact::cut("short", 5), "short");
    assert_eq!(redact::cut("too long", 5), "too…");
    assert_eq!(redact::cut("grüße!", 4), "grü…");
}
