//! Reading a dump: whatever pieces it comes in, wherever it is cut, whatever its rows say, the scan tells the same truth.

use std::io;

use dumps::dump::{Reader, Scan, Section};
use dumps::scanner::Scanner;
use proptest::prelude::*;

const TRAILER: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

/// What looks like an order and is text: in a function's body, a string, a name, a comment.
const STATEMENTS: [&str; 10] = [
    "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $_$\nBEGIN\n  EXECUTE 'x'; -- it's\n  DROP DATABASE a;\n\\connect b\n\
     \\.\n-- PostgreSQL database dump complete\n  RETURN $1;\nEND $_$;\n",
    "CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;\n",
    "COMMENT ON TABLE a IS 'it''s; \\connect x\n-- PostgreSQL database dump complete\n';\n",
    "COMMENT ON TABLE a IS E'it\\'s; DROP DATABASE x;';\n",
    "CREATE TABLE \"COPY a FROM stdin;\" (\"x\"\"y;\" int, b text DEFAULT '$$');\n",
    "/* a /* nested; */ 'comment */ CREATE VIEW v AS SELECT '--' AS a, \"b\" FROM c; -- it ends; here\n",
    "SELECT pg_catalog.setval('a_id_seq', 7, true);\n",
    "CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2;);\n",
    "INSERT INTO a VALUES (1, 'COPY a (b) FROM stdin;');\n",
    "CREATE INDEX i ON a USING btree (b) WHERE (c = '\\');\n",
];

/// Everything that a reader is given, as one text; pieces that only the reading made are joined.
#[derive(Default, PartialEq, Eq, Debug)]
struct Told(Vec<u8>);

impl Told {
    fn add(&mut self, what: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(format!("\n<{what}> ").as_bytes());
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl Reader for Told {
    fn item(&mut self, kind: &str, section: Section) -> io::Result<()> {
        self.add("item", format!("{kind} {section:?}").as_bytes())
    }
    fn statement(&mut self, text: &[u8], _is_last: bool) -> io::Result<()> {
        self.add("statement", text)
    }
    fn copy(&mut self, statement: &[u8], name: &[u8]) -> io::Result<()> {
        self.add("copy", statement)?;
        self.add("table", name)?;
        self.add("rows", b"")
    }
    fn rows(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn copied(&mut self, rows: u64) -> io::Result<()> {
        self.add("copied", rows.to_string().as_bytes())
    }
    fn odd(&mut self) -> io::Result<()> {
        self.add("odd", b"")
    }
    fn offence(&mut self, line: u64, text: &str) -> io::Result<()> {
        self.add("offence", format!("{line} {text}").as_bytes())
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Scan, Told) {
    let mut scanner = Scanner::new();
    let mut told = Told::default();
    for piece in pieces {
        scanner.push(piece, &mut told).expect("nothing ends the reading");
    }
    (scanner.end(), told)
}

fn scan(text: &str) -> Scan {
    read([text.as_bytes()]).0
}

/// As COPY writes a value: one backslash before each, and no line end inside.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

fn header(name: &str, kind: &str) -> String {
    format!("--\n-- Name: {name}; Type: {kind}; Schema: public; Owner: o\n--\n\n")
}

fn quoted(name: &str) -> String {
    format!("public.\"{}\"", name.replace('"', "\"\""))
}

/// A dump, and the tables with the numbers of their rows as it has them.
#[derive(Debug, Clone)]
struct Dump {
    text: String,
    tables: Vec<(String, u64)>,
    statements: u64,
}

fn any_dump() -> impl Strategy<Value = Dump> {
    let value = prop_oneof![
        "[ -~äß\\\\\n\t]{0,20}",
        Just("\\.".to_owned()),
        Just(".".to_owned()),
        Just("\\connect x".to_owned()),
        Just("-- PostgreSQL database dump complete".to_owned()),
        Just("DROP DATABASE listings_prod;".to_owned()),
    ];
    let table = ("[a-zA-Z \"';$(),.ä-]{1,12}", prop::collection::vec(prop::collection::vec(value, 1..3), 0..6));
    let statements = prop::collection::vec(prop::sample::select(STATEMENTS.to_vec()), 0..5);
    (statements, prop::collection::vec(table, 0..5)).prop_map(|(statements, tables)| {
        let mut text =
            "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped from database version 15.18\n\
                        -- Dumped by pg_dump version 15.18\n\nSET client_encoding = 'UTF8';\n"
                .to_owned();
        for statement in &statements {
            text += &header("x", "TABLE");
            text += statement;
        }
        let mut counts = Vec::new();
        for (name, rows) in &tables {
            text += &format!("--\n-- Data for Name: {name}; Type: TABLE DATA; Schema: public; Owner: o\n--\n\n");
            text += &format!("COPY {} (a, \"b)\"\";c\") FROM stdin;\n", quoted(name));
            for row in rows {
                let values: Vec<String> = row.iter().map(|value| escaped(value)).collect();
                text += &format!("{}\n", values.join("\t"));
            }
            text += "\\.\n\n\n";
            counts.push((quoted(name), rows.len() as u64));
        }
        text += TRAILER;
        text += "\\unrestrict abc\n\n";
        Dump { text, tables: counts, statements: statements.len() as u64 + 1 }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_dump_is_whole_and_every_row_is_counted_whatever_its_text_looks_like(dump in any_dump()) {
        let scan = scan(&dump.text);
        prop_assert!(scan.is_good(), "{scan:?}\n{}", dump.text);
        prop_assert_eq!(&scan.rows, &dump.tables);
        prop_assert_eq!(scan.statements, dump.statements);
        prop_assert_eq!(scan.bytes, dump.text.len() as u64);
        prop_assert!(scan.is_restricted);
        prop_assert_eq!(scan.by.as_deref(), Some("15.18"));
    }

    #[test]
    fn the_pieces_it_comes_in_make_no_difference(dump in any_dump(), size in 1usize..40, first in 0usize..200) {
        let whole = read([dump.text.as_bytes()]);
        let (head, rest) = dump.text.as_bytes().split_at(first.min(dump.text.len()));
        let pieces = read(std::iter::once(head).chain(rest.chunks(size)));
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn a_dump_that_is_cut_anywhere_is_not_whole(dump in any_dump(), at in any::<prop::sample::Index>()) {
        // Without its last empty comment line a dump is whole: everything in it was said.
        let end = dump.text.rfind("complete").expect("it has a trailer") + "complete".len();
        let cut = at.index(end);
        let (scan, _) = read([&dump.text.as_bytes()[..cut]]);
        prop_assert!(!scan.is_complete, "cut after {cut} of {}:\n{}", dump.text.len(), dump.text);
    }

    #[test]
    fn one_order_among_all_the_text_is_found_and_never_given_away(dump in any_dump(), at in any::<prop::sample::Index>()) {
        // Between two items: there text is an order.
        let places: Vec<usize> = dump.text.match_indices("--\n-- ").map(|(at, _)| at).filter(|at| {
            let (before, _) = read([&dump.text.as_bytes()[..*at]]);
            before.inside.is_none()
        }).collect();
        let place = places[at.index(places.len())];
        for order in ["DROP DATABASE listings_prod;\n", "\\connect listings_prod\n", "alter /**/ role a superuser;\n"] {
            let mut text = dump.text.clone();
            text.insert_str(place, order);
            let (scan, told) = read([text.as_bytes()]);
            prop_assert_eq!(scan.offences.len(), 1, "{:?} in\n{}", scan, text);
            prop_assert!(!scan.is_good());
            let line = text[..place].matches('\n').count() as u64 + 1;
            prop_assert_eq!(scan.offences[0].0, line);
            let told = String::from_utf8_lossy(&told.0).into_owned();
            let given = format!("<statement> {}", order.trim());
            prop_assert!(!told.contains(&given), "{}", told);
        }
    }

    #[test]
    fn a_scan_is_read_back_as_it_was_written(dump in any_dump(), cut in any::<prop::sample::Index>()) {
        let (scan, _) = read([&dump.text.as_bytes()[..cut.index(dump.text.len() + 1)]]);
        prop_assert_eq!(Scan::from_lines(&scan.to_lines()), scan);
    }

    #[test]
    fn no_bytes_at_all_make_the_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (scan, _) = read(bytes.chunks(7));
        prop_assert!(!scan.is_complete);
    }
}
