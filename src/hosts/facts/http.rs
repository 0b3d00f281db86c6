//! Answers over HTTP, as curl and wget print them. Never says who gave one.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::hosts::answer::Answer;

/// One answer over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Get {
    /// 0 when there was none.
    pub status: u16,
    /// Header lines as they came, without the status line.
    pub head: Vec<String>,
    pub body: String,
    /// Why there was none.
    pub error: String,
}

/// All answers over HTTP by name; a name asked several times has several.
pub fn gets(answer: &Answer) -> BTreeMap<String, Vec<Get>> {
    let mut found: BTreeMap<String, Vec<Get>> = BTreeMap::new();
    let mut last: Option<(&str, Get)> = None;
    for (name, bytes) in &answer.sections {
        match (name.strip_suffix(".code"), last.take()) {
            (Some(of), Some((asked, mut get))) if of == asked => {
                let said = String::from_utf8_lossy(bytes);
                let (code, error) = said.split_once(' ').unwrap_or((&said, ""));
                if let Ok(status) = code.trim().parse() {
                    get.status = status;
                }
                get.error = error.trim().to_owned();
                found.entry(asked.to_owned()).or_default().push(get);
            }
            _ => last = Some((name, parse_get(bytes))),
        }
    }
    found
}

fn parse_get(bytes: &[u8]) -> Get {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let text = text.trim_start_matches('\n');
    if !text.starts_with("HTTP/") {
        return Get { error: text.trim().to_owned(), ..Get::default() };
    }
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
    Get { status, head: lines.map(str::to_owned).collect(), body: body.to_owned(), error: String::new() }
}
