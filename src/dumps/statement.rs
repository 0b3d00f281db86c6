//! What one statement of a dump is, by its first words and its text; and the names and headers that stand in it. Never
//! looks at what comes before or after it.

/// What becomes of a statement.
pub(super) enum Kind {
    Copy(Vec<u8>),
    Offence,
    /// It would change the live database and is not needed: pg_dump before 11 wrote the database's comment.
    Dropped,
    Ordinary,
}

/// By its first words in small letters, and its text as far as it is remembered.
pub(super) fn kind_of(words: &[Vec<u8>], head: &[u8]) -> Kind {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    match words.as_slice() {
        [b"create" | b"drop" | b"alter", b"user", b"mapping", ..] => Kind::Ordinary,
        [
            b"create" | b"drop" | b"alter",
            b"database" | b"role" | b"user" | b"group" | b"tablespace" | b"system",
            ..,
        ] => Kind::Offence,
        [b"comment", b"on", b"database", ..] => Kind::Dropped,
        [b"copy", ..] => match copy_target(head) {
            Some(name) => Kind::Copy(name.to_vec()),
            None => Kind::Ordinary,
        },
        _ => Kind::Ordinary,
    }
}

/// A function or a procedure: its body may hold semicolons that end nothing.
pub(super) fn makes_routine(words: &[Vec<u8>]) -> bool {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    matches!(
        words.as_slice(),
        [b"create", b"function" | b"procedure", ..] | [b"create", b"or", b"replace", b"function" | b"procedure"]
    )
}

/// Whether what follows means something else because of this statement. pg_dump before 10.3 set the search path
/// between the items; with --use-set-session-authorization any of them sets the owner; with --disable-triggers rows
/// stand between two ALTER TABLE.
pub(super) fn hangs_together(words: &[Vec<u8>], kind: &str) -> bool {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    match words.as_slice() {
        // They stand with each item, or matter to tables only.
        [b"set", b"default_tablespace" | b"default_table_access_method" | b"default_with_oids", ..] => false,
        [b"set" | b"reset", ..] | [b"select", b"pg_catalog", b"set_config", ..] => true,
        [first, ..] => kind == "TABLE DATA" && *first != b"insert",
        [] => false,
    }
}

/// Type and owner in `-- Name: listings; Type: TABLE; Schema: public; Owner: listings`, also with `-- Data for Name:`.
pub(super) fn item_of(comment: &str) -> Option<(&str, &str)> {
    let rest = comment.strip_prefix("-- Data for Name: ").or_else(|| comment.strip_prefix("-- Name: "))?;
    // The name may hold anything, so it is read from the end.
    let (_, after) = rest.rsplit_once("; Type: ")?;
    let owner = after.rsplit_once("; Owner: ").map_or("", |(_, owner)| owner.trim());
    Some((after.split(';').next()?.trim(), owner))
}

/// The role that a statement of pg_dump's needs: whom something is given to, or belongs to.
pub(super) fn role_of(words: &[Vec<u8>], statement: &[u8]) -> Option<String> {
    let first = words.first()?.as_slice();
    let second = words.get(1).map(Vec::as_slice).unwrap_or_default();
    let marks: &[&str] = match (first, second) {
        (b"alter", b"default") => &[" TO ", " FROM "],
        (b"alter", _) => &[" OWNER TO "],
        (b"grant", _) => &[" TO "],
        (b"revoke", _) => &[" FROM "],
        _ => return None,
    };
    let text = String::from_utf8_lossy(statement);
    let text = text.trim().trim_end_matches(';').trim_end();
    let text = text.strip_suffix(" WITH GRANT OPTION").unwrap_or(text);
    let (_, role) = marks.iter().find_map(|mark| text.rsplit_once(mark))?;
    let is_one_name = role.starts_with('"') || !role.contains(char::is_whitespace);
    let is_nobody = ["PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE"].contains(&role);
    (is_one_name && !is_nobody && !role.is_empty()).then(|| plain_name(role))
}

/// The table of `COPY name (columns) FROM stdin;`, as written; `None` for any other COPY.
fn copy_target(statement: &[u8]) -> Option<&[u8]> {
    let rest = statement.trim_ascii().get(4..)?.trim_ascii_start();
    let name = name_at(rest);
    let after = &rest[name.len()..];
    // The columns may hold anything in quotes; what follows them cannot.
    let tail = match after.trim_ascii_start().first() {
        Some(b'(') => after_parentheses(after.trim_ascii_start())?,
        _ => after,
    };
    let words: Vec<Vec<u8>> = tail
        .split(|byte| byte.is_ascii_whitespace() || *byte == b';' || *byte == b'(')
        .filter(|word| !word.is_empty())
        .map(<[u8]>::to_ascii_lowercase)
        .take(2)
        .collect();
    (words == [&b"from"[..], b"stdin"] && !name.is_empty()).then_some(name)
}

/// What follows the brackets that the text begins with; none inside of them but in quotes.
pub fn after_parentheses(text: &[u8]) -> Option<&[u8]> {
    let mut is_quoted = false;
    let at = text.iter().position(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == b')' && !is_quoted
    })?;
    text.get(at + 1..)
}

/// The name that a text begins with, quotes and schema and all.
pub fn name_at(text: &[u8]) -> &[u8] {
    let mut is_quoted = false;
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(*byte, b'(' | b';');
    let end = text.iter().position(|byte| {
        is_quoted ^= *byte == b'"';
        !is_quoted && ends(byte)
    });
    &text[..end.unwrap_or(text.len())]
}

/// `schema.table` without quotes, of a name as SQL writes it: `public."we ird"` → `public.we ird`.
pub fn plain_name(name: &str) -> String {
    let mut plain = String::new();
    let mut is_quoted = false;
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                plain.push('"');
            }
            '"' => is_quoted = !is_quoted,
            c => plain.push(c),
        }
    }
    plain
}
