//! What a copy has besides its rows, held against the live database: by kind, with the first names of each. Pure: what was
//! found is an argument. Says which of it the dump itself explains, and so makes the copy less than a database.

use crate::nouns::record::{Differs, StructureDiffers, plural};
use dumps::dump::Scan;

/// Kinds that pg_dump writes behind the rows.
const AFTER: &[&str] =
    &["index", "primary key", "unique key", "foreign key", "constraint", "trigger", "policy", "rule", "event trigger"];
/// Names that are shown of each kind.
const NAMES_SHOWN: usize = 3;

/// Reads what `differences` in `structure.sh` says.
pub fn read(said: &str) -> Vec<StructureDiffers> {
    let mut differs: Vec<StructureDiffers> = said
        .lines()
        .filter_map(|line| {
            let mut words = line.split('\u{1f}');
            let (kind, side, count) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
            let how = match side {
                "live" => Differs::OnlyLive,
                "copy" => Differs::OnlyCopy,
                "both" => Differs::Otherwise,
                _ => return None,
            };
            let mut names: Vec<String> = words.map(str::to_owned).collect();
            names.sort();
            Some(StructureDiffers { kind: kind.to_owned(), how, count, names })
        })
        .collect();
    differs.sort_by(|a, b| {
        (a.how, std::cmp::Reverse(a.count), &a.kind).cmp(&(b.how, std::cmp::Reverse(b.count), &b.kind))
    });
    differs
}

/// Why a copy is less than what is live, where the dump is the reason: what pg_dump left out of it, it was told to.
pub fn incomplete(differs: &[StructureDiffers], scan: &Scan) -> Vec<String> {
    // Of what is not pg_dump's nobody knows what it holds.
    if scan.items.is_empty() {
        return Vec::new();
    }
    let lacks = |kinds: &dyn Fn(&str) -> bool, how: Differs| -> Vec<&StructureDiffers> {
        differs.iter().filter(|differs| differs.how == how && kinds(&differs.kind)).collect()
    };
    let mut why = Vec::new();
    if !scan.has_after() {
        let after = lacks(&|kind| AFTER.contains(&kind), Differs::OnlyLive);
        why.extend(said("the dump has no indexes, keys and triggers in it; the copy lacks", &after));
    }
    if !scan.items.contains_key("ACL") {
        let grants = lacks(&|kind| kind == "grant", Differs::OnlyLive);
        why.extend(said("the dump has no rights in it (--no-acl); the copy lacks", &grants));
    }
    if !scan.has_owners {
        let owners = lacks(&|kind| kind == "owner", Differs::Otherwise);
        why.extend(said("the dump has no owners in it (--no-owner); in the copy belong to somebody else", &owners));
    }
    why
}

/// What the question says of it, a line for each way to differ.
pub fn lines(differs: &[StructureDiffers]) -> Vec<String> {
    [
        (Differs::OnlyLive, "live now and not in the dump, LOST:"),
        (Differs::OnlyCopy, "in the dump and not live, comes back:"),
        (Differs::Otherwise, "another in the dump than live:"),
    ]
    .into_iter()
    .filter_map(|(how, words)| {
        let these: Vec<&StructureDiffers> = differs.iter().filter(|differs| differs.how == how).collect();
        (!these.is_empty()).then(|| format!("{words} {}", counted(&these)))
    })
    .collect()
}

/// `WORDS 79: 41 indexes (a, b, c, …), 38 foreign keys (d, …)`; nothing where there is none.
fn said(words: &str, differs: &[&StructureDiffers]) -> Option<String> {
    let all: u64 = differs.iter().map(|differs| differs.count).sum();
    (all > 0).then(|| format!("{words} {all}: {}", counted(differs)))
}

/// `41 indexes (a, b, c, …), 38 foreign keys (d, …)`
fn counted(differs: &[&StructureDiffers]) -> String {
    let words = |differs: &&StructureDiffers| {
        let shown: Vec<&str> = differs.names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
        let more = if differs.count > shown.len() as u64 { ", …" } else { "" };
        format!("{} ({}{more})", plural_of(differs.count, &differs.kind), shown.join(", "))
    };
    differs.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// `1 index`, `3 indexes`, `2 foreign keys`, `4 policies`.
fn plural_of(count: u64, kind: &str) -> String {
    match kind {
        _ if count == 1 => format!("1 {kind}"),
        "index" => format!("{count} indexes"),
        "policy" => format!("{count} policies"),
        "schema" => format!("{count} schemas"),
        "statistics" => format!("{count} statistics"),
        kind => plural(usize::try_from(count).unwrap_or(usize::MAX), kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(items: &[&str], has_owners: bool) -> Scan {
        let items = items.iter().map(|kind| ((*kind).to_owned(), 1)).collect();
        Scan { items, has_owners, ..Scan::default() }
    }

    const SAID: &str = "index\u{1f}live\u{1f}41\u{1f}b\u{1f}a\u{1f}c\u{1f}d\u{1f}e\nforeign key\u{1f}live\u{1f}1\u{1f}f\n\
                        grant\u{1f}live\u{1f}2\u{1f}t to r\u{1f}u to r\nowner\u{1f}both\u{1f}1\u{1f}t\n\
                        column\u{1f}copy\u{1f}1\u{1f}t.old\n";

    #[test]
    fn what_the_dump_itself_leaves_out_makes_the_copy_incomplete() {
        let differs = read(SAID);
        let whole = scan(&["TABLE", "INDEX", "ACL"], true);
        assert!(incomplete(&differs, &whole).is_empty(), "what green added since is no reason");
        assert_eq!(
            incomplete(&differs, &scan(&["TABLE", "TABLE DATA"], false)),
            [
                "the dump has no indexes, keys and triggers in it; the copy lacks 42: 41 indexes (a, b, c, …), 1 foreign key (f)",
                "the dump has no rights in it (--no-acl); the copy lacks 2: 2 grants (t to r, u to r)",
                "the dump has no owners in it (--no-owner); in the copy belong to somebody else 1: 1 owner (t)",
            ]
        );
        assert!(incomplete(&differs, &scan(&[], false)).is_empty(), "nobody knows what another tool writes");
        assert!(incomplete(&[], &scan(&["TABLE"], false)).is_empty(), "nothing is lacking where nothing is live");
    }

    #[test]
    fn every_way_to_differ_is_a_line() {
        let said = lines(&read(SAID));
        assert_eq!(
            said,
            [
                "live now and not in the dump, LOST: 41 indexes (a, b, c, …), 2 grants (t to r, u to r), 1 foreign key (f)",
                "in the dump and not live, comes back: 1 column (t.old)",
                "another in the dump than live: 1 owner (t)",
            ]
        );
        assert!(lines(&[]).is_empty());
    }
}
