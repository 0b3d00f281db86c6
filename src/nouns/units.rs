//! Sizes and times as people read them. Nothing here is parsed again.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// `1,234,567`
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `6,000 rows`
pub fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", grouped(count)) }
}

/// `2 tables, 6,000 rows`; nothing where neither is known, as of a dump that is no text.
pub fn contents(tables: u64, rows: u64) -> String {
    if tables == 0 && rows == 0 {
        return String::new();
    }
    format!("{}, {}", counted(tables, "table"), counted(rows, "row"))
}

/// `whole, 2 tables, 6,000 rows`: words with the contents behind them, as far as they are known.
pub fn with_contents(words: &str, tables: u64, rows: u64) -> String {
    let contents = contents(tables, rows);
    let comma = if contents.is_empty() { "" } else { ", " };
    format!("{words}{comma}{contents}")
}

/// PostgreSQL's timestamp without fractions of a second: `2026-11-21 07:57:45.735038+00` → `2026-11-21 07:57:45+00`.
pub fn to_the_second(timestamp: &str) -> String {
    let Some((seconds, rest)) = timestamp.split_once('.') else { return timestamp.to_owned() };
    format!("{seconds}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// `2026-11-20T21:15:03.412Z`: for programs.
pub fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `2.0 GB`
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// `4 h 12 min`, `12 s`: two units at most.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..172_800 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// `0.41 s`, `9.0 s`, `2 min 03 s`: as many digits as somebody would say.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{:.2} s", ms as f64 / 1000.0),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {:02} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// A target as the config has it: `60 s`, `2 min`.
pub fn limit(ms: u64) -> String {
    match ms {
        ms if ms >= 120_000 && ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        ms => duration(ms),
    }
}
