//! What an operator reads before a word is typed that replaces a database. Pure text: names, the dump and its age, what
//! is lost, who is connected, how long it takes, how to take it back. Every word from outside is made printable.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::database::structure;
use crate::database::tables::{Preview, Since};
use crate::nouns::plan::Word;
use crate::nouns::record::{Dump, Loss, Merge, Swap, TableLoss, plural};
use crate::nouns::redact::printable;
use crate::nouns::units::{bytes, counted, grouped, span, to_the_second};

/// A screen holds this many tables beside the rest; the report has forty, the journal all.
const TABLES_SHOWN: usize = 15;
/// Kinds of sessions that are named one by one.
const SESSIONS_SHOWN: usize = 6;

/// Everything that the question shows.
#[derive(Debug, Clone)]
pub struct Prompt<'a> {
    pub word: Word,
    pub swap: &'a Swap,
    pub host: &'a str,
    pub server: &'a str,
    pub live_bytes: u64,
    /// `None` where no dump is involved: undo.
    pub dump: Option<&'a Dump>,
    pub loss: Option<&'a Loss>,
    /// `8 × listings@10.0.0.7 (puma)`
    pub sessions: &'a [String],
    /// What else the operator must know: green still runs, newer dumps were passed over.
    pub warnings: &'a [String],
    pub loaded_in: Option<Duration>,
    pub now: DateTime<Utc>,
    pub rpo: Option<Duration>,
}

/// The last line, as everybody who runs this knows it. The cursor stays behind it.
pub fn last_line(word: Word) -> String {
    match word {
        Word::Restore => "This will OVERWRITE the current database. Type 'RESTORE' to confirm: ".to_owned(),
        Word::Undo => "This will REPLACE the current database. Type 'UNDO' to confirm: ".to_owned(),
        Word::Downgrade => {
            "This will take migrations back in the current database. Type 'DOWNGRADE' to confirm: ".to_owned()
        }
    }
}

/// The text above the last line.
pub fn text(question: &Prompt<'_>) -> String {
    let swap = question.swap;
    let mut text = String::new();
    let mut line = |label: &str, words: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:<12}{}", printable(&words));
    };
    line(
        "database:",
        format!("{} on {} (PostgreSQL {}), {}", swap.live, question.host, question.server, bytes(question.live_bytes)),
    );
    match question.dump {
        Some(dump) => {
            for (is_first, words) in dump_lines(dump, question.now, question.rpo) {
                line(if is_first { "from:" } else { "" }, words);
            }
        }
        None => line("from:", format!("{}, what it was before", swap.copy)),
    }
    if let Some(loaded_in) = question.loaded_in {
        line("copy:", format!("{}, loaded and checked in {}", swap.copy, span(loaded_in)));
    }
    match question.sessions {
        [] => line("connected:", "nobody".to_owned()),
        sessions => {
            let mut shown: Vec<String> = sessions.iter().take(SESSIONS_SHOWN).cloned().collect();
            if sessions.len() > SESSIONS_SHOWN {
                shown.push(format!("{} more kinds", sessions.len() - SESSIONS_SHOWN));
            }
            line("connected:", format!("{}; they are disconnected", shown.join(", ")));
        }
    }
    line(
        "takes:",
        "under a second without a database, whatever its size; at most 5 s are waited for sessions".to_owned(),
    );
    let until = swap.kept_until.map_or(String::new(), |until| format!(" until {} UTC", until.format("%Y-%m-%d %H:%M")));
    if let Some(kept) = swap.kept() {
        line("kept:", format!("the current database as {kept}{until}"));
    }
    if question.word == Word::Restore && swap.kept().is_some() {
        line("back:", "rollback-prod undo".to_owned());
    }
    for warning in question.warnings {
        line("WARNING:", warning.clone());
    }
    if let Some(loss) = question.loss {
        text.push('\n');
        text.push_str(&loss_table(loss));
    }
    text
}

/// Which dump, how old, and those that were not taken; of each line whether it is the first.
fn dump_lines(dump: &Dump, now: DateTime<Utc>, rpo: Option<Duration>) -> Vec<(bool, String)> {
    let age = (now - dump.modified).to_std().unwrap_or_default();
    let target = match rpo {
        Some(rpo) if age > rpo => format!(" (target {}: MISSED)", span(rpo)),
        Some(rpo) => format!(" (target {}: met)", span(rpo)),
        None => String::new(),
    };
    let made = format!("made {} UTC, {} ago{target}", dump.modified.format("%Y-%m-%d %H:%M:%S"), span(age));
    let passed_over = dump.passed_over.iter().map(|passed| (false, format!("NOT TAKEN: {passed}")));
    [(true, format!("{}, {}", dump.path, bytes(dump.bytes))), (false, made)].into_iter().chain(passed_over).collect()
}

/// Everything that the question about some tables' rows shows.
#[derive(Debug, Clone)]
pub struct RowsPrompt<'a> {
    pub word: Word,
    pub merge: &'a Merge,
    pub host: &'a str,
    pub server: &'a str,
    /// `None` where no dump is involved: undo.
    pub dump: Option<&'a Dump>,
    /// What would change, table by table; empty in an undo.
    pub previews: &'a [Preview],
    pub deletes_missing: bool,
    /// In an undo, who wrote to those rows since.
    pub since: &'a [Since],
    /// What else the operator must know.
    pub warnings: &'a [String],
    /// What nobody needs to be warned of.
    pub notes: &'a [String],
    pub waits: (Duration, Duration),
    pub now: DateTime<Utc>,
    pub rpo: Option<Duration>,
}

/// The last line of that question.
pub fn last_line_of_rows(word: Word, merge: &Merge) -> String {
    let verb = if word == Word::Restore { "OVERWRITE" } else { "REPLACE" };
    printable(&format!("This will {verb} rows of {}. Type '{}' to confirm: ", merge.names(), word.as_str()))
}

/// The text above it.
pub fn text_of_rows(question: &RowsPrompt<'_>) -> String {
    let merge = question.merge;
    let mut text = String::new();
    let mut line = |label: &str, words: String| {
        let _ = writeln!(text, "{label:<12}{}", printable(&words));
    };
    line("database:", format!("{} on {} (PostgreSQL {})", merge.live, question.host, question.server));
    line("tables:", merge.names());
    if let Some(dump) = question.dump {
        for (is_first, words) in dump_lines(dump, question.now, question.rpo) {
            line(if is_first { "from:" } else { "" }, words);
        }
    }
    let (lock, longest) = question.waits;
    line(
        "takes:",
        format!(
            "one transaction; readers go on, writers of these tables wait, {} at most, after at most {} for the locks; else \
             nothing is changed",
            span(longest),
            span(lock)
        ),
    );
    let until =
        merge.kept_until.map_or(String::new(), |until| format!(" until {} UTC", until.format("%Y-%m-%d %H:%M")));
    line("kept:", format!("what is there now, in the schema {}{until}", merge.kept));
    if question.word == Word::Restore {
        line("back:", "rollback-prod undo".to_owned());
    }
    for note in question.notes {
        line("note:", note.clone());
    }
    for warning in question.warnings {
        line("WARNING:", warning.clone());
    }
    for since in question.since.iter().filter(|since| since.since > 0) {
        let rows = counted(since.since, "row");
        line(
            "WARNING:",
            format!("{}: of {} put back {rows} were written to since; that is lost", since.table, since.put_back),
        );
    }
    if !question.previews.is_empty() {
        text.push('\n');
        text.push_str(&preview_table(question.previews, question.deletes_missing));
    }
    text
}

fn preview_table(previews: &[Preview], deletes_missing: bool) -> String {
    let only_live = if deletes_missing { "only live: DELETED" } else { "only live: kept" };
    let head = ["table", "live", "dump", "only dump: put back", "differ: set back", only_live];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    rows.extend(previews.iter().map(|preview| {
        let counts = [preview.live, preview.copy, preview.only_copy, preview.changed, preview.only_live];
        std::iter::once(printable(&preview.table)).chain(counts.map(grouped)).collect()
    }));
    columns(&rows, |column| column == 0)
}

/// Rows of cells as columns; those of which `is_left` is true begin at the left.
fn columns(rows: &[Vec<String>], is_left: impl Fn(usize) -> bool) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..count).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut out = String::from(" ");
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            // Names and times to the left, numbers to the right.
            let _ = match is_left(column) {
                true => write!(out, " {cell}{pad} "),
                false => write!(out, " {pad}{cell} "),
            };
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text
}

fn loss_table(loss: &Loss) -> String {
    let mut text = String::new();
    if loss.tables.is_empty() {
        let _ = writeln!(text, "No table differs: {} alike.", plural(as_usize(loss.alike), "table"));
    } else {
        text.push_str("What is live now and not in the dump is LOST:\n");
        let head = ["table", "live", "dump", "only live", "only dump", "newest live", "newest in dump"];
        let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
        rows.extend(loss.tables.iter().take(TABLES_SHOWN).map(row));
        text.push_str(&columns(&rows, |column| matches!(column, 0 | 5 | 6)));
        if loss.tables.len() > TABLES_SHOWN {
            let _ = writeln!(text, "  and {} that differ too", plural(loss.tables.len() - TABLES_SHOWN, "more table"));
        }
        if loss.alike > 0 {
            let _ = writeln!(text, "  {} alike", plural(as_usize(loss.alike), "table"));
        }
    }
    for note in &loss.not_counted {
        let _ = writeln!(text, "  {}", printable(note));
    }
    if let Some(migrations) = &loss.migrations {
        let _ = writeln!(text, "  {}", printable(migrations));
    }
    let structure = structure::lines(&loss.structure);
    if !structure.is_empty() {
        text.push_str("Besides rows:\n");
    }
    for line in structure {
        let _ = writeln!(text, "  {}", printable(&line));
    }
    text
}

fn row(table: &TableLoss) -> Vec<String> {
    let count = |count: Option<u64>| count.map_or("–".to_owned(), grouped);
    let newest =
        |newest: &Option<String>| newest.as_ref().map_or("–".to_owned(), |newest| printable(&to_the_second(newest)));
    vec![
        printable(&table.table),
        count(table.live_rows),
        count(table.copy_rows),
        count(table.only_live),
        count(table.only_copy),
        newest(&table.newest_live),
        newest(&table.newest_copy),
    ]
}

fn as_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nouns::names::HostName;
    use crate::nouns::record::{Differs, StructureDiffers};

    fn time(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).expect("a time").to_utc()
    }

    #[test]
    fn the_question_names_what_is_lost_and_ends_with_the_line_everybody_knows() {
        let swap = Swap {
            live: "listings_prod".into(),
            live_oid: 1,
            copy: "listings_prod_copy_x".into(),
            copy_oid: 2,
            kept: "listings_prod_before_x".into(),
            kept_until: Some(time("2026-11-27T21:15:00Z")),
        };
        let dump = Dump {
            host: HostName::new("db1").expect("a name"),
            path: "/backups/a\u{1b}[31m.sql.gz".into(),
            bytes: 380_100_000,
            modified: time("2026-11-20T20:00:00Z"),
            tables: 2,
            rows: 12,
            problems: Vec::new(),
            passed_over: vec!["/backups/b.sql.gz: cut off inside COPY public.listings".into()],
        };
        let loss = Loss {
            database: "listings_prod".into(),
            tables: vec![TableLoss {
                table: "public.listings".into(),
                live_rows: Some(1_234_567),
                copy_rows: Some(1_234_000),
                only_live: Some(600),
                only_copy: Some(33),
                newest_live: Some("2026-11-20 21:14:59".into()),
                newest_copy: None,
            }],
            alike: 3,
            not_counted: vec!["public.events: too large to compare row by row".into()],
            migrations: Some("migrations (rails): live is at 3, the dump at 1".into()),
            structure: vec![StructureDiffers {
                kind: "index".into(),
                how: Differs::OnlyLive,
                count: 1,
                names: vec!["public.by_owner".into()],
            }],
        };
        let sessions: Vec<String> = vec!["8 × listings@10.0.0.7 (puma)".into()];
        let shown = text(&Prompt {
            word: Word::Restore,
            swap: &swap,
            host: "db1",
            server: "15.18",
            live_bytes: 2_000_000_000,
            dump: Some(&dump),
            loss: Some(&loss),
            sessions: &sessions,
            warnings: &["green still runs on web2".into()],
            loaded_in: Some(Duration::from_secs(72)),
            now: time("2026-11-20T21:15:03Z"),
            rpo: Some(Duration::from_secs(300)),
        });
        for wanted in [
            "database:   listings_prod on db1 (PostgreSQL 15.18), 2.0 GB",
            "made 2026-11-20 20:00:00 UTC, 1 h 15 min ago (target 5 min 00 s: MISSED)",
            "NOT TAKEN: /backups/b.sql.gz: cut off inside COPY public.listings",
            "connected:  8 × listings@10.0.0.7 (puma); they are disconnected",
            "kept:       the current database as listings_prod_before_x until 2026-11-27 21:15 UTC",
            "WARNING:    green still runs on web2",
            "public.listings  1,234,567  1,234,000        600         33",
            "3 tables alike",
            "public.events: too large",
            "migrations (rails): live is at 3, the dump at 1",
            "live now and not in the dump, LOST: 1 index (public.by_owner)",
        ] {
            assert!(shown.contains(wanted), "{wanted:?} is missing in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "no escape reaches the terminal");
        assert!(last_line(Word::Restore).ends_with("Type 'RESTORE' to confirm: "));
    }
}
