//! Responsible for: places in a text, and the words of a refusal. Puts edits in their places, and says which line and
//! column is to blame and how that line reads.
//!
//! Never: knows directives or blocks, or what a text is for.

use std::ops::Range;

use super::NotUnderstood;
use crate::nouns::octets::shown;

/// Edits must be sorted and apart.
pub(super) fn spliced(text: &str, edits: &[(Range<usize>, String)]) -> String {
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

/// What separates words to nginx, and nothing else: Rust would count more.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// How a refusal begins; empty for one without a place.
pub(super) fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}, column {column}: ") }
}

/// A refusal that no line is to blame for.
pub(super) fn refused(what: String) -> NotUnderstood {
    NotUnderstood { line: 0, column: 0, what, excerpt: String::new() }
}

pub(super) fn refused_at(text: &str, offset: usize, what: String) -> NotUnderstood {
    let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    NotUnderstood {
        line: line_number(text, offset),
        column: text[start..offset].chars().count() + 1,
        what,
        excerpt: excerpt(text[start..].lines().next().unwrap_or_default()),
    }
}

pub(super) fn end_of_file(text: &str, expecting: &str, hint: &str) -> NotUnderstood {
    refused_at(text, text.len(), format!("unexpected end of file, expecting {expecting} ({hint})"))
}

/// From 1.
pub(super) fn line_number(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// A line as it can be shown: no control characters but tabs, at most 160 characters.
pub(super) fn excerpt(line: &str) -> String {
    let line: String = line.chars().take(160).collect();
    shown(&line)
}

/// `"a", "b" and 3 more`: a refusal is read by a person.
pub(super) fn listed(things: &[impl AsRef<str>], none: &str) -> String {
    const SHOWN: usize = 12;
    if things.is_empty() {
        return none.to_owned();
    }
    let shown: Vec<String> = things.iter().take(SHOWN).map(|thing| format!("\"{}\"", thing.as_ref())).collect();
    let list = shown.join(", ");
    if things.len() > SHOWN { format!("{list} and {} more", things.len() - SHOWN) } else { list }
}

/// The offset in `b` of the first character that is not as in `a`.
pub(super) fn first_difference(a: &str, b: &str) -> usize {
    let equal = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=equal).rev().find(|offset| b.is_char_boundary(*offset)).unwrap_or_default()
}
