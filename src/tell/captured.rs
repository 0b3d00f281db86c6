//! What the run found and kept: captured files, the trouble that is in them, what could not be captured, and how many
//! requests failed before and after. Never judges it: that is the work of who reads the report.

use serde::Serialize;

use crate::nouns::record::{Entry, What};
use crate::nouns::redact;
use crate::nouns::units::bytes;

#[derive(Debug, Clone, Serialize)]
pub(super) struct Quote {
    kind: String,
    count: u64,
    file: String,
    example: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct File {
    file: String,
    of: String,
    size: String,
    lines: u64,
    sha256: String,
}

/// The ten most frequent of all files.
pub(super) fn quotes(entries: &[Entry]) -> Vec<Quote> {
    let mut quotes: Vec<Quote> = entries
        .iter()
        .filter_map(|entry| {
            let What::Captured(captured) = &entry.what else { return None };
            Some(captured)
        })
        .flat_map(|captured| {
            captured.patterns.iter().map(|pattern| Quote {
                kind: pattern.kind.clone(),
                count: pattern.count,
                file: captured.file.clone(),
                example: redact::cut(&redact::printable(&pattern.example), 240),
            })
        })
        .collect();
    quotes.sort_by_key(|quote| std::cmp::Reverse(quote.count));
    quotes.truncate(10);
    quotes
}

pub(super) fn captured(entries: &[Entry]) -> Vec<File> {
    entries
        .iter()
        .filter_map(|entry| {
            let What::Captured(captured) = &entry.what else { return None };
            let (packed, unpacked) = (bytes(captured.bytes), bytes(captured.unpacked_bytes));
            Some(File {
                file: captured.file.clone(),
                of: match &captured.host {
                    Some(host) => format!("{host}: {}", captured.of),
                    None => captured.of.clone(),
                },
                size: if captured.unpacked_bytes == captured.bytes {
                    packed
                } else {
                    format!("{packed} ({unpacked} unpacked)")
                },
                lines: captured.lines,
                sha256: captured.sha256.clone(),
            })
        })
        .collect()
}

pub(super) fn gaps(entries: &[Entry]) -> Vec<String> {
    let mut gaps: Vec<String> = Vec::new();
    for entry in entries {
        if let What::Gap { host, what, why } = &entry.what {
            let gap = match host {
                Some(host) => format!("{host}: {what}: {why}"),
                None => format!("{what}: {why}"),
            };
            if !gaps.contains(&gap) {
                gaps.push(gap);
            }
        }
    }
    gaps
}

pub(super) fn errors(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .filter_map(|entry| {
            let What::Errors { host, before, after, .. } = &entry.what else { return None };
            Some(format!("{host}: server errors {} before, {} after", before.describe(), after.describe()))
        })
        .collect()
}
