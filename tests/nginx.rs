//! Holds `nginx.rs` to its word: a table of exact texts, site files as people write them, blocks and damage
//! nobody would think of, and what the real nginx says about the result.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use rollback_prod::nginx::{
    Rewritten, Server, Serving, Template, Upstream, UpstreamContext, WantedBlock, find_upstream, include_lines,
    rewrite, same_address, serving, share, weight_headers,
};
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::octets::{bytes_of, text_of};
use rollback_prod::nouns::plan::FileChange;
use rollback_prod::nouns::share::Share;

const NAME: &str = "listings_backend";
const BLUE: &[&str] = &["127.0.0.1:8080"];
const GREEN: &[&str] = &["127.0.0.1:8081"];

// ---------------------------------------------------------------------------------------------------------
// The site files
// ---------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy)]
struct Site {
    name: &'static str,
    text: &'static str,
    blue: &'static [&'static str],
    green: &'static [&'static str],
    on_nginx: OnNginx,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum OnNginx {
    /// Included in an `http` block, accepted as it is.
    Accepted,
    /// Included in an `http` block, refused as it is, accepted once written.
    RefusedUntilWritten,
    /// A whole nginx.conf, accepted as it is.
    Whole,
    /// Needs modules that are not in every nginx.
    NotAsked,
}

macro_rules! site {
    ($name:literal, $on_nginx:ident) => {
        site!($name, $on_nginx, BLUE, GREEN)
    };
    ($name:literal, $on_nginx:ident, $blue:expr, $green:expr) => {
        Site {
            name: $name,
            text: include_str!(concat!("fixtures/nginx/", $name)),
            blue: $blue,
            green: $green,
            on_nginx: OnNginx::$on_nginx,
        }
    };
}

const SITES: &[Site] = &[
    site!("debian_default.conf", RefusedUntilWritten),
    site!("confd_keepalive.conf", Accepted),
    site!("several_upstreams.conf", Accepted),
    site!("whole_http.conf", Whole, &["10.0.0.1:8080", "10.0.0.2:8080"], &["10.0.0.1:8081", "10.0.0.2:8081"]),
    site!("stream.conf", NotAsked),
    site!("multi_line.conf", Accepted),
    site!("comments_with_braces.conf", Accepted),
    site!("quotes.conf", Accepted),
    site!("lua.conf", NotAsked),
    site!("map_and_if.conf", Accepted),
    site!(
        "ipv6_and_unix.conf",
        Accepted,
        &["[::1]:8080", "unix:/run/listings/blue.sock"],
        &["[::1]:8081", "unix:/run/listings/green.sock"]
    ),
    site!("crlf.conf", Accepted),
    site!("tabs.conf", Accepted),
    site!("no_newline.conf", Accepted),
    site!("unicode.conf", Accepted),
    site!("resolve.conf", NotAsked),
];

impl Site {
    fn written(&self, text: &str, serve: Colour) -> Rewritten {
        let (blue, green) = (owned(self.blue), owned(self.green));
        let wanted = WantedBlock { serve, share: Share::ALL, blue: &blue, green: &green };
        rewrite(text, NAME, &wanted, &Template::built_in())
            .unwrap_or_else(|error| panic!("{}: {error}\n  {}\n{text}", self.name, error.excerpt))
    }

    fn upstream(&self, text: &str) -> Upstream {
        find_upstream(text, NAME).unwrap_or_else(|error| panic!("{}: {error}\n{text}", self.name))
    }
}

fn owned(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|address| (*address).to_owned()).collect()
}

fn to(serve: Colour, text: &str) -> Result<Rewritten, rollback_prod::nginx::NotUnderstood> {
    with(serve, text, &Template::built_in())
}

fn with(serve: Colour, text: &str, template: &Template) -> Result<Rewritten, rollback_prod::nginx::NotUnderstood> {
    rewrite(text, NAME, &WantedBlock { serve, share: Share::ALL, blue: &owned(BLUE), green: &owned(GREEN) }, template)
}

fn refusal_of(text: &str) -> String {
    match to(Colour::Blue, text) {
        Ok(written) => panic!("this was written:\n{}", written.text),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn assert_same(what: &str, found: &str, expected: &str) {
    assert!(found == expected, "{what}:\n{}", diff(expected, found, "expected/found"));
}

/// What must hold of every text that was written, whatever it was made from.
#[track_caller]
fn assert_sound(what: &str, before: &str, after: &str, name: &str, wanted: &WantedBlock<'_>) {
    let old = find_upstream(before, name).unwrap_or_else(|error| panic!("{what}: {error}\n{before}"));
    let new = find_upstream(after, name).unwrap_or_else(|error| panic!("{what}: {error}\n{after}"));
    let (serve, rest) = match wanted.serve {
        Colour::Blue => (wanted.blue, wanted.green),
        Colour::Green => (wanted.green, wanted.blue),
    };
    for address in serve {
        assert!(
            new.servers.iter().any(|server| same_address(&server.address, address)),
            "{what}: no {address}\n{after}"
        );
    }
    let only = matches!((old.servers.as_slice(), serve), ([only], [_]) if only.takes_traffic());
    let own = |addresses: &[String]| weights_of_its_own(&old, addresses);
    let has_plain = of(&old, serve).any(|server| !server.is_backup);
    let is_lone = new.servers.iter().filter(|server| !server.is_down).count() == 1;
    let weights = |upstream: &Upstream, addresses: &[String]| -> Vec<u64> {
        let mut weights: Vec<u64> = of(upstream, addresses).map(|server| server.weight).collect();
        weights.sort_unstable();
        weights
    };
    for side in [serve, rest].into_iter().filter(|side| own(side)) {
        // What was added has the least of them.
        let (then, now) = (weights(&old, side), weights(&new, side));
        let added = vec![then[0]; now.len() - then.len()];
        assert_eq!(now, [added, then].concat(), "{what}: the weights of a side stay\n{after}");
    }
    for server in &new.servers {
        let is_in = |addresses: &[String]| addresses.iter().any(|address| same_address(address, &server.address));
        if is_in(serve) && only {
            assert!(server.takes_traffic() && server.weight == old.servers[0].weight, "{what}: {server:?}\n{after}");
        } else if is_in(serve) {
            assert!(!server.is_down && (!server.is_backup || has_plain), "{what}: {server:?}\n{after}");
            assert!(server.weight == 100 || own(serve), "{what}: {server:?}\n{after}");
            let last = server.parameters.iter().rfind(|word| word.contains("max_fails=")).map(String::as_str);
            let is_unfailing = matches!(last, Some("max_fails=0" | "\"max_fails=0\"" | "'max_fails=0'"));
            assert!(is_unfailing || !is_lone, "{what}: {server:?}");
        } else if is_in(rest) {
            assert!(server.is_down && (server.weight == 1 || own(rest)), "{what}: {server:?}\n{after}");
        } else {
            let same = |other: &&Server| {
                (&other.address, &other.parameters, other.weight, other.is_down)
                    == (&server.address, &server.parameters, server.weight, server.is_down)
            };
            assert!(old.servers.iter().any(|other| same(&other)), "{what}: stranger changed: {server:?}\n{after}");
        }
    }
    for header in weight_headers(after, name).expect("it was parsed above") {
        let value = if header.colour == wanted.serve { "100" } else { "0" };
        assert!(header.value == value, "{what}: {header:?}\n{after}");
    }
    if !headers_are_plain(before) {
        return;
    }
    let masked = |text: &str| -> (String, String) {
        let span = find_upstream(text, name).expect("found above").span();
        (without_weights(&text[..span.start]), without_weights(&text[span.end..]))
    };
    let (old_text, new_text) = (masked(before), masked(after));
    assert_same(&format!("{what}: before the block"), &new_text.0, &old_text.0);
    assert_same(&format!("{what}: behind the block"), &new_text.1, &old_text.1);
}

fn of<'u>(upstream: &'u Upstream, addresses: &'u [String]) -> impl Iterator<Item = &'u Server> {
    let is_of = |server: &&Server| addresses.iter().any(|address| same_address(address, &server.address));
    upstream.servers.iter().filter(is_of)
}

fn weights_of_its_own(upstream: &Upstream, addresses: &[String]) -> bool {
    let weights: BTreeSet<u64> = of(upstream, addresses).map(|server| server.weight).collect();
    weights.len() > 1 && !weights.contains(&0)
}

/// Whether `without_weights` can see what changes: damage also makes `'2;5'`, or a comment before the value.
fn headers_are_plain(text: &str) -> bool {
    weight_headers(text, NAME).expect("it was rewritten").iter().all(|header| {
        let line = text.split('\n').nth(header.line - 1).unwrap_or_default();
        let name = format!("x-{}-weight", header.colour);
        let is_plain = !header.value.is_empty() && header.value.chars().all(|c| c.is_alphanumeric() || c == '$');
        is_plain
            && line.to_ascii_lowercase().match_indices(&name).any(|(at, name)| {
                line[at + name.len()..].trim_start_matches(['"', '\'', ' ', '\t', '\r']).starts_with(&header.value)
            })
    })
}

/// Deliberately not made with the module's own lexer: the word after a weight header's name is cut out.
fn without_weights(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut masked = String::new();
    let mut cursor = 0;
    let mut names: Vec<usize> = ["x-blue-weight", "x-green-weight"]
        .iter()
        .flat_map(|name| lower.match_indices(name).map(|(at, name)| at + name.len()))
        .collect();
    names.sort_unstable();
    for end in names {
        if end < cursor {
            continue;
        }
        let rest = &text[end..];
        let gap = rest.find(|c: char| !"\"' \t\r\n".contains(c)).unwrap_or(rest.len());
        let value = rest[gap..].find([';', ' ', '"', '\'', '\n', '\r', '\t', '{']).unwrap_or(rest[gap..].len());
        masked.push_str(&text[cursor..end]);
        masked.push_str(&rest[..gap]);
        masked.push('?');
        cursor = end + gap + value;
    }
    masked.push_str(&text[cursor..]);
    masked
}

// ---------------------------------------------------------------------------------------------------------
// The table: exact texts
// ---------------------------------------------------------------------------------------------------------

struct Case {
    claim: &'static str,
    before: &'static str,
    after: &'static str,
}

const CASES: &[Case] = &[
    Case {
        claim: "weights become 100 and down, and max_fails=0 goes on the survivor",
        before: "upstream listings_backend {\n    server 127.0.0.1:8080 weight=0;\n    server 127.0.0.1:8081 weight=100;\n}\n",
        after: "upstream listings_backend {\n    server 127.0.0.1:8080 weight=100 max_fails=0;\n    server 127.0.0.1:8081 down;\n}\n",
    },
    Case {
        claim: "servers without parameters get theirs after the address",
        before: "upstream listings_backend {\n  server 127.0.0.1:8080;\n  server 127.0.0.1:8081;\n}",
        after: "upstream listings_backend {\n  server 127.0.0.1:8080 weight=100 max_fails=0;\n  server 127.0.0.1:8081 down;\n}",
    },
    Case {
        claim: "max_fails is replaced in its place on blue, and kept on green",
        before: "upstream listings_backend {\n  server 127.0.0.1:8080 max_fails=3 fail_timeout=5s down;\n  server 127.0.0.1:8081 max_fails=3 fail_timeout=5s weight=7;\n}",
        after: "upstream listings_backend {\n  server 127.0.0.1:8080 max_fails=0 fail_timeout=5s weight=100;\n  server 127.0.0.1:8081 max_fails=3 fail_timeout=5s down;\n}",
    },
    Case {
        claim: "green's max_fails=0 stays",
        before: "upstream listings_backend {\n  server 127.0.0.1:8080 down;\n  server 127.0.0.1:8081 weight=100 max_fails=0;\n}",
        after: "upstream listings_backend {\n  server 127.0.0.1:8080 weight=100 max_fails=0;\n  server 127.0.0.1:8081 down max_fails=0;\n}",
    },
    Case {
        claim: "backup goes from the survivor and stays on the other",
        before: "upstream listings_backend {\n  server 127.0.0.1:8080 backup;\n  server 127.0.0.1:8081 backup;\n}",
        after: "upstream listings_backend {\n  server 127.0.0.1:8080 weight=100 max_fails=0;\n  server 127.0.0.1:8081 down backup;\n}",
    },
    Case {
        claim: "what is said twice is said once",
        before: "upstream listings_backend {\n  server 127.0.0.1:8080 weight=2 down max_fails=1 weight=3 max_fails=2;\n  server 127.0.0.1:8081 weight=2 weight=3;\n}",
        after: "upstream listings_backend {\n  server 127.0.0.1:8080 weight=100 max_fails=0;\n  server 127.0.0.1:8081 down;\n}",
    },
    Case {
        claim: "columns and comments of a changed line stay",
        before: "upstream listings_backend {\n  server   127.0.0.1:8080   weight=1   fail_timeout=1s  ;   # blue\n\n  # the new one\n  server   127.0.0.1:8081   weight=1;# green\n}",
        after: "upstream listings_backend {\n  server   127.0.0.1:8080   weight=100   fail_timeout=1s max_fails=0  ;   # blue\n\n  # the new one\n  server   127.0.0.1:8081   down;# green\n}",
    },
    Case {
        claim: "comments inside a server stay, also before a word that goes",
        before: "upstream listings_backend {\n  server 127.0.0.1:8080 # blue\n    # only in need\n    backup\n    # the end\n  ;\n  server # green\n    127.0.0.1:8081 # why\n    weight=3 # three\n    weight=4 # four\n    ;\n}",
        after: "upstream listings_backend {\n  server 127.0.0.1:8080 weight=100 max_fails=0 # blue\n    # only in need\n    \n    # the end\n  ;\n  server # green\n    127.0.0.1:8081 # why\n    down # three\n     # four\n    ;\n}",
    },
    Case {
        claim: "a missing server of blue is added after the last server",
        before: "upstream listings_backend {\n    keepalive 4;\n    server 10.0.0.9 down;\n    server 127.0.0.1:8081; # green  \n    # the end\n}\n",
        after: "upstream listings_backend {\n    keepalive 4;\n    server 10.0.0.9 down;\n    server 127.0.0.1:8081 down; # green  \n    server 127.0.0.1:8080 weight=100 max_fails=0;\n    # the end\n}\n",
    },
    Case {
        claim: "a missing server is added to a block of one line",
        before: "upstream listings_backend { server 127.0.0.1:8081 backup; }",
        after: "upstream listings_backend { server 127.0.0.1:8081 down backup; server 127.0.0.1:8080 weight=100 max_fails=0; }",
    },
    Case {
        claim: "a missing server is added where there is no space at all",
        before: "upstream listings_backend{server 127.0.0.1:8081 down;}",
        after: "upstream listings_backend{server 127.0.0.1:8081 down;server 127.0.0.1:8080 weight=100 max_fails=0;}",
    },
    Case {
        claim: "the only server of a block gives its place away, and nothing else of the line changes",
        before: "upstream listings_backend {\n    server 127.0.0.1:8081; # the one that the deploy edits\n    keepalive 4;\n}\n",
        after: "upstream listings_backend {\n    server 127.0.0.1:8080; # the one that the deploy edits\n    keepalive 4;\n}\n",
    },
    Case {
        claim: "the only server's quotes, weight and parameters stay, but for one that lets nobody in",
        before: "upstream listings_backend{server  \"127.0.0.1:8081\"  weight=5 drain\tmax_fails=2 ;}",
        after: "upstream listings_backend{server  \"127.0.0.1:8080\"  weight=5\tmax_fails=2 ;}",
    },
    Case {
        claim: "a survivor with somebody to turn to keeps its way of finding out",
        before: "upstream listings_backend {\n  server 127.0.0.1:8080 down max_fails=2;\n  server 127.0.0.1:8081;\n  server 10.0.0.9 backup;\n}",
        after: "upstream listings_backend {\n  server 127.0.0.1:8080 weight=100 max_fails=2;\n  server 127.0.0.1:8081 down;\n  server 10.0.0.9 backup;\n}",
    },
    Case {
        claim: "a stranger stays byte for byte",
        before: "upstream listings_backend {\n  server\t10.0.0.9  \"weight=3\"  max_fails=2 ; # ours?\n  server 127.0.0.1:8080;\n  server 10.0.0.8 down;\n}",
        after: "upstream listings_backend {\n  server\t10.0.0.9  \"weight=3\"  max_fails=2 ; # ours?\n  server 127.0.0.1:8080 weight=100;\n  server 10.0.0.8 down;\n}",
    },
    Case {
        claim: "weight headers keep quotes, always and place",
        before: "upstream listings_backend { server 127.0.0.1:8080; server 127.0.0.1:8081; }\nserver { proxy_pass http://listings_backend; add_header X-Blue-Weight 0 always; add_header  'x-green-weight'\t\"100\"  always ; # X-Blue-Weight 7\nadd_header X-Blue-Weightless 3;}",
        after: "upstream listings_backend { server 127.0.0.1:8080 weight=100 max_fails=0; server 127.0.0.1:8081 down; }\nserver { proxy_pass http://listings_backend; add_header X-Blue-Weight 100 always; add_header  'x-green-weight'\t\"0\"  always ; # X-Blue-Weight 7\nadd_header X-Blue-Weightless 3;}",
    },
    Case {
        claim: "an upstream inside http is found, and its indentation stays",
        before: "http {\n\tupstream listings_backend {\n\t\tserver 127.0.0.1:8081 weight=0;\n\t}\n}\n",
        after: "http {\n\tupstream listings_backend {\n\t\tserver 127.0.0.1:8081 down;\n\t\tserver 127.0.0.1:8080 weight=100 max_fails=0;\n\t}\n}\n",
    },
    Case {
        claim: "a byte order mark and CRLF stay",
        before: "\u{feff}upstream listings_backend {\r\n  server 127.0.0.1:8081 down; # g\r\n\r\n}\r\n",
        after: "\u{feff}upstream listings_backend {\r\n  server 127.0.0.1:8081 down; # g\r\n  server 127.0.0.1:8080 weight=100 max_fails=0;\r\n\r\n}\r\n",
    },
    Case {
        claim: "a name in other case and in quotes is the same upstream",
        before: "upstream 'Listings_Backend' { server 127.0.0.1:8081; }",
        after: "upstream 'Listings_Backend' { server 127.0.0.1:8080; }",
    },
];

/// What an operator sees of a change.
fn diff(before: &str, after: &str, path: &str) -> String {
    FileChange { path: path.into(), before: before.into(), after: after.into(), also: vec![], mounted: None }.diff()
}

#[test]
fn every_case_is_written_exactly() {
    for case in CASES {
        let written = to(Colour::Blue, case.before).unwrap_or_else(|error| panic!("{}: {error}", case.claim));
        assert_same(case.claim, &written.text, case.after);
        assert!(written.changed, "{}", case.claim);
        let again = to(Colour::Blue, case.after).unwrap_or_else(|error| panic!("{}: {error}", case.claim));
        assert_same(case.claim, &again.text, case.after);
        assert!(!again.changed && again.added.is_empty(), "{}: written twice is written once", case.claim);
    }
}

#[test]
fn a_block_that_says_it_already_is_not_touched() {
    let text = "upstream listings_backend {\n\n  server  '127.0.0.1:8080' max_fails=0  \"weight=100\" ;  # x  \n # y\n  server 127.0.0.1:8081 fail_timeout=1s   down;  \n}";
    let written = to(Colour::Blue, text).unwrap();
    assert_same("untouched", &written.text, text);
    assert!(!written.changed);
}

#[test]
fn a_host_may_be_called_down_or_backup() {
    let wanted =
        WantedBlock { serve: Colour::Blue, share: Share::ALL, blue: &owned(&["backup"]), green: &owned(&["down:80"]) };
    let text = "upstream u { server backup; server down; }";
    let written = rewrite(text, "u", &wanted, &Template::built_in()).unwrap();
    assert_same("hosts", &written.text, "upstream u { server backup weight=100 max_fails=0; server down down; }");
}

#[test]
fn strangers_that_take_traffic_are_reported() {
    let text = "upstream listings_backend {\n  server 127.0.0.1:8080;\n  server 10.0.0.1 weight=4;\n  server 10.0.0.2 down;\n  server 10.0.0.3 backup;\n}";
    let written = to(Colour::Blue, text).unwrap();
    let strangers: Vec<(&str, usize)> =
        written.strangers.iter().map(|server| (server.address.as_str(), server.line)).collect();
    assert_eq!(strangers, [("10.0.0.1", 3)]);
}

#[test]
fn added_servers_are_reported() {
    let written = to(Colour::Blue, "upstream listings_backend { server 127.0.0.1:8081 down; }").unwrap();
    assert_eq!((written.added, written.replaced), (owned(BLUE), Vec::new()));
    let written = to(Colour::Blue, "upstream listings_backend { server 127.0.0.1:8081; }").unwrap();
    assert_eq!((written.added, written.replaced), (Vec::new(), owned(GREEN)));
}

/// 8 and 1 are what two machines can bear: 6 of 23 public upstreams with several servers have such weights.
#[test]
fn the_weights_of_a_sides_own_servers_stay() {
    let wanted = |serve, green: &'static [&'static str]| (serve, owned(&["b1", "b2", "b3"]), owned(green));
    for (claim, (serve, blue, green), before, after) in [
        (
            "there",
            wanted(Colour::Blue, &["g1", "g2"]),
            "server b1 weight=8 down; server b2 weight=1 max_fails=3 down; server b3 down weight=2; server g1 weight=5; server g2;",
            "server b1 weight=8; server b2 weight=1 max_fails=3; server b3 weight=2; server g1 weight=5 down; server g2 down;",
        ),
        (
            "and back",
            wanted(Colour::Green, &["g1", "g2"]),
            "server b1 weight=8; server b2 weight=1 max_fails=3; server b3 weight=2; server g1 weight=5 down; server g2 down;",
            "server b1 weight=8 down; server b2 weight=1 down max_fails=3; server b3 weight=2 down; server g1 weight=5; server g2;",
        ),
        (
            "a server that was missing gets no more than any of them",
            wanted(Colour::Blue, &["g1"]),
            "server b1 weight=8; server b2 weight=3; server g1;",
            "server b1 weight=8; server b2 weight=3; server g1 down; server b3 weight=3;",
        ),
        (
            "weights that are all the same say nothing",
            wanted(Colour::Blue, &["g1"]),
            "server b1 weight=4; server b2 weight=4; server b3 weight=4; server g1 weight=8;",
            "server b1 weight=100; server b2 weight=100; server b3 weight=100; server g1 down;",
        ),
        (
            "nor does what a runbook left",
            wanted(Colour::Blue, &["g1"]),
            "server b1 weight=4; server b2 weight=0; server b3 weight=4; server g1;",
            "server b1 weight=100; server b2 weight=100; server b3 weight=100; server g1 down;",
        ),
        (
            "a side's own way out stays",
            wanted(Colour::Blue, &["g1"]),
            "server b1; server b2 backup; server b3 down backup; server g1;",
            "server b1 weight=100; server b2 weight=100 backup; server b3 weight=100 backup; server g1 down;",
        ),
    ] {
        let block = |servers: &str| format!("upstream u {{ {servers} }}");
        let wanted = WantedBlock { serve, share: Share::ALL, blue: &blue, green: &green };
        let written =
            rewrite(&block(before), "u", &wanted, &Template::built_in()).unwrap_or_else(|err| panic!("{claim}: {err}"));
        assert_same(claim, &written.text, &block(after));
        assert_sound(claim, &block(before), &written.text, "u", &wanted);
    }
}

/// Without the words that say a share, and the values of headers.
fn without_shares(text: &str) -> String {
    let is_share = |word: &&str| {
        let word = word.trim_end_matches(';');
        let is_ours = ["", "down", "drain", "backup"].contains(&word);
        !(is_ours || word.starts_with("weight=") || word.starts_with("max_fails="))
    };
    let line = |line: &str| match line.to_lowercase().contains("-weight") {
        true => String::new(),
        false => line.replace(';', " ;").split([' ', '\t']).filter(is_share).collect::<Vec<_>>().join(" "),
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The weights that say a share, of servers with weights of their own, of sides of several sizes, and of a side that a part of
/// is down.
#[test]
fn a_share_is_the_smallest_weights_that_say_it() {
    let split = |servers: &str, share: u32, blue: &[&str], green: &[&str]| {
        let text = format!("upstream listings_backend {{\n{servers}}}\n");
        let share = Share::percent(share).expect("a share");
        let (blue, green) = (owned(blue), owned(green));
        let wanted = WantedBlock { serve: Colour::Green, share, blue: &blue, green: &green };
        let written =
            rewrite(&text, NAME, &wanted, &Template::built_in()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let again = rewrite(&written.text, NAME, &wanted, &Template::built_in()).expect("it is read again");
        assert_eq!(again.text, written.text, "it settles");
        written.text.lines().skip(1).filter(|line| line.contains("server")).map(str::trim).collect::<Vec<_>>().join(" ")
    };
    let one = |servers: &str, share| split(servers, share, BLUE, GREEN);
    let plain = "server 127.0.0.1:8080 weight=100 max_fails=0;\nserver 127.0.0.1:8081 down;\n";
    let said = |blue: &str, green: &str| {
        format!("server 127.0.0.1:8080 weight={blue} max_fails=0; server 127.0.0.1:8081 weight={green};")
    };
    assert_eq!(one(plain, 10), said("9", "1"));
    assert_eq!(one(plain, 50), said("1", "1"));
    assert_eq!(one(plain, 1), said("99", "1"));
    assert_eq!(one(plain, 95), said("1", "19"));
    // One side alone stands in the block: the other is added.
    assert_eq!(one("server 127.0.0.1:8080;\n", 25), "server 127.0.0.1:8080 weight=3; server 127.0.0.1:8081 weight=1;");
    // Two of one side and three of the other.
    let (blue, green) = (&["a:1", "a:2"], &["b:1", "b:2", "b:3"]);
    let several = "server a:1;\nserver a:2;\nserver b:1 down;\nserver b:2 down;\nserver b:3 down;\n";
    assert_eq!(
        split(several, 10, blue, green),
        "server a:1 weight=27; server a:2 weight=27; server b:1 weight=2; server b:2 weight=2; server b:3 weight=2;"
    );
    // What each of them can bear stays, and so does what is down for a reason of its own.
    let own = "server a:1 weight=3;\nserver a:2 weight=1;\nserver b:1 down;\nserver b:2 down;\nserver b:3 down;\n";
    assert_eq!(
        split(own, 50, blue, green),
        "server a:1 weight=9; server a:2 weight=3; server b:1 weight=4; server b:2 weight=4; server b:3 weight=4;"
    );
    let ill = "server a:1;\nserver a:2 down;\nserver b:1 down;\nserver b:2 down;\nserver b:3 down;\n";
    assert_eq!(
        split(ill, 50, blue, green),
        "server a:1 weight=3; server a:2 down; server b:1 weight=1; server b:2 weight=1; server b:3 weight=1;"
    );
    let spare = "server a:1;\nserver a:2 backup;\nserver b:1;\nserver b:2;\nserver b:3;\n";
    assert!(split(spare, 50, blue, green).starts_with("server a:1 weight=3; server a:2 weight=3 backup;"));
    // Whoever has no server there has nothing to give.
    let text = "upstream listings_backend {\nserver 127.0.0.1:8081;\n}\n";
    let wanted = WantedBlock {
        serve: Colour::Green,
        share: Share::percent(10).expect("a share"),
        blue: &owned(BLUE),
        green: &owned(GREEN),
    };
    let refused = rewrite(text, NAME, &wanted, &Template::built_in()).expect_err("blue is not there").to_string();
    assert!(refused.contains("has no server of blue"), "{refused}");
}

/// Every kind of file at every share: nginx takes it, the shares are the ones that were asked for, and from each of them all
/// goes to one side as it would have from the beginning.
#[test]
fn every_site_is_split_and_put_together_again() {
    for site in SITES {
        let (blue, green) = (owned(site.blue), owned(site.green));
        let on_blue = site.written(site.text, Colour::Blue).text;
        let on_green = site.written(&on_blue, Colour::Green).text;
        for percent in [1, 10, 33, 50, 90, 99] {
            let wanted = WantedBlock {
                serve: Colour::Green,
                share: Share::percent(percent).expect("a share"),
                blue: &blue,
                green: &green,
            };
            let split = rewrite(&on_blue, NAME, &wanted, &Template::built_in())
                .unwrap_or_else(|error| panic!("{}: {error}\n{on_blue}", site.name));
            let upstream = site.upstream(&split.text);
            let has_strangers = !split.strangers.is_empty();
            let given = share(&upstream, &green);
            assert!(has_strangers || given == percent, "{}: {given} and not {percent}\n{}", site.name, split.text);
            // Besides weights, and what a lone server gets, nothing changes on the way.
            let together = site.written(&split.text, Colour::Green).text;
            assert_same(site.name, &without_shares(&split.text), &without_shares(&on_blue));
            assert_same(site.name, &without_shares(&together), &without_shares(&on_green));
            assert_eq!(
                share(&site.upstream(&together), &green),
                share(&site.upstream(&on_green), &green),
                "{}",
                site.name
            );
            if percent == 10
                && matches!(site.on_nginx, OnNginx::Accepted | OnNginx::Whole | OnNginx::RefusedUntilWritten)
            {
                let (is_accepted, said) = nginx_accepts(&split.text, site.on_nginx == OnNginx::Whole);
                assert!(is_accepted, "{}: {said}\n{}", site.name, split.text);
            }
        }
    }
}

#[test]
fn a_server_that_stands_in_another_upstream_is_no_drift() {
    let text = "upstream blue { server 127.0.0.1:8080; }\nupstream listings_backend {\n  server 127.0.0.1:8081;\n}";
    assert_eq!(
        refusal_of(text),
        "line 1, column 17: blue's server 127.0.0.1:8080 is not in the upstream \"listings_backend\" but in \"blue\": what is \
         switched here is which of them is passed to"
    );
}

/// One for each side, and the one that is switched between them.
#[test]
fn a_third_upstream_beside_those_of_the_sides_is_switched() {
    let text = "upstream blue { server 127.0.0.1:8080; }\nupstream green { server 127.0.0.1:8081; }\nupstream listings_backend {\n  server 127.0.0.1:8081;\n}";
    let written = to(Colour::Blue, text).unwrap();
    assert_same("the third", &written.text, &text.replace("{\n  server 127.0.0.1:8081", "{\n  server 127.0.0.1:8080"));
}

#[test]
fn any_bytes_beside_the_block_stay() {
    let text = text_of(
        b"# caf\xe9 \x07\nlog_format x '\x1b[1m$status';\nupstream listings_backend { server 127.0.0.1:8081; }\n",
    );
    let written = to(Colour::Blue, &text).unwrap();
    let after =
        b"# caf\xe9 \x07\nlog_format x '\x1b[1m$status';\nupstream listings_backend { server 127.0.0.1:8080; }\n";
    assert_eq!(bytes_of(&written.text), after);
    assert!(!diff(&text, &written.text, "x").contains(['\x07', '\x1b']));
}

// ---------------------------------------------------------------------------------------------------------
// What is read
// ---------------------------------------------------------------------------------------------------------

#[test]
fn an_upstream_is_read_as_written() {
    let text = "http {\n  upstream \"a b\" {\n    server 'x:1' max_fails=1 weight=5 \"backup\"; server y down;\n  }\n}";
    let upstream = find_upstream(text, "a b").unwrap();
    assert_eq!((upstream.name.as_str(), upstream.context, upstream.line), ("a b", UpstreamContext::Http, 2));
    let first = &upstream.servers[0];
    assert_eq!(first.address, "'x:1'");
    assert_eq!(first.parameters, ["max_fails=1", "\"backup\""]);
    assert_eq!((first.weight, first.is_down, first.is_backup, first.line), (5, false, true, 3));
    let second = &upstream.servers[1];
    assert_eq!((second.weight, second.is_down, second.is_backup), (1, true, false));
    assert!(text[upstream.span()].starts_with("upstream \"a b\" {") && text[upstream.span()].ends_with('}'));
}

#[test]
fn an_upstream_is_found_in_each_context() {
    for (text, context) in [
        ("upstream u { server a; }", UpstreamContext::Bare),
        ("http { upstream u { server a; } }", UpstreamContext::Http),
        ("events {} stream { upstream u { server a:1; } }", UpstreamContext::Stream),
    ] {
        assert_eq!(find_upstream(text, "u").unwrap().context, context, "{text}");
    }
}

#[test]
fn who_serves_is_read_from_the_weights() {
    let (blue, green) = (owned(BLUE), owned(GREEN));
    for (servers, expected, blue_share) in [
        ("server 127.0.0.1:8080; server 127.0.0.1:8081;", Serving::Both, 50),
        ("server 127.0.0.1:8080 weight=3; server 127.0.0.1:8081;", Serving::Both, 75),
        ("server 127.0.0.1:8080; server 127.0.0.1:8081 down;", Serving::Blue, 100),
        ("server 127.0.0.1:8080; server 127.0.0.1:8081 backup;", Serving::Blue, 100),
        ("server 127.0.0.1:8080 down; server 127.0.0.1:8081;", Serving::Green, 0),
        ("server 127.0.0.1:8080 weight=0; server 127.0.0.1:8081 weight=100;", Serving::Green, 0),
        ("server 127.0.0.1:8080 down; server 127.0.0.1:8081 down;", Serving::Neither, 0),
        ("server 127.0.0.1:8080 weight=100; server 10.0.0.1 weight=100;", Serving::Blue, 50),
        ("server 127.0.0.1:8080 weight=100000; server 10.0.0.1;", Serving::Blue, 99),
        ("server 127.0.0.1:8080; server 10.0.0.1 weight=100000;", Serving::Blue, 1),
        ("server 10.0.0.1;", Serving::Neither, 0),
        ("", Serving::Neither, 0),
    ] {
        let upstream = find_upstream(&format!("upstream listings_backend {{ {servers} }}"), NAME).unwrap();
        assert_eq!(serving(&upstream, &blue, &green), expected, "{servers}");
        assert_eq!(share(&upstream, &blue), blue_share, "{servers}");
    }
}

#[test]
fn addresses_are_compared_as_nginx_does() {
    for (a, b) in [
        ("127.0.0.1", "127.0.0.1:80"),
        ("App.Example.com:8080", "app.example.COM:8080"),
        ("[::1]", "[0:0:0:0:0:0:0:1]:80"),
        ("[2001:DB8::5]:81", "[2001:db8:0:0::5]:81"),
        ("\"127.0.0.1:8080\"", "127.0.0.1:8080"),
        ("'unix:/run/a.sock'", "unix:/run/a.sock"),
        ("UNIX:/run/a.sock", "unix:/run/a.sock"),
        ("127.0.0.1:080", "127.0.0.1:80"),
    ] {
        assert!(same_address(a, b), "{a} is {b}");
        assert!(same_address(b, a), "{b} is {a}");
    }
    for (a, b) in [
        ("127.0.0.1:8080", "127.0.0.1:8081"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("localhost:8080", "127.0.0.1:8080"),
        ("unix:/run/A.sock", "unix:/run/a.sock"),
        ("[::1]:80", "[::2]:80"),
        ("[::1]:8080", "[::1]:8081"),
        ("127.0.0.1:80", "127.0.0.1:"),
        ("", "127.0.0.1"),
        ("é", "e"),
    ] {
        assert!(!same_address(a, b), "{a} is not {b}");
        assert!(!same_address(b, a), "{b} is not {a}");
    }
}

/// (line, value) of each that is found.
#[test]
fn weight_headers_are_those_of_the_servers_that_pass_to_the_upstream() {
    for (claim, text, expected) in [
        (
            "at any depth, in any case and quotes",
            "http { server { add_header x-blue-weight '5'; location / { proxy_pass http://u/x?y;\nif ($a) { add_header \"X-GREEN-Weight\" 9 always; } } } }",
            vec![(1, "5"), (2, "9")],
        ),
        ("of another service, never", "server { add_header X-Blue-Weight 5; proxy_pass http://other; }", vec![]),
        (
            "of a location that passes elsewhere, neither",
            "server { location / { proxy_pass https://U:80; }\nlocation /x { fastcgi_pass other; add_header X-Blue-Weight 5; }\nadd_header X-Green-Weight 1; }",
            vec![(3, "1")],
        ),
        (
            "what a variable says is no number of ours",
            "server { proxy_pass http://u; add_header X-Blue-Weight $w; }",
            vec![],
        ),
        ("outside of every server", "add_header X-Blue-Weight 5; server { proxy_pass http://u; }", vec![]),
        (
            "by way of variables",
            "map $host $side { default blue; x green; }\nserver { set $to ${side}_u; grpc_pass grpc://$to; add_header X-Blue-Weight 5; }\nupstream blue_u { server x; }",
            vec![],
        ),
        (
            "by way of variables that end there",
            "map $host $side { default other; x u; }\nserver { set $to ${side}; grpc_pass grpc://$to; add_header X-Blue-Weight 5; }",
            vec![(2, "5")],
        ),
        (
            "variables in a ring end",
            "server { set $a $b; set $b $a; proxy_pass http://$a; add_header X-Blue-Weight 5; }",
            vec![],
        ),
        (
            "what is passed on stands in another file, and can be nobody else's",
            "upstream u { server x; }\nserver { include proxy.conf; add_header X-Blue-Weight 5; }",
            vec![(2, "5")],
        ),
        (
            "but could be another's",
            "upstream u { server x; } upstream v { server x; }\nserver { include proxy.conf; add_header X-Blue-Weight 5; }",
            vec![],
        ),
    ] {
        let found = weight_headers(text, "u").unwrap_or_else(|error| panic!("{claim}: {error}"));
        let found: Vec<(usize, &str)> = found.iter().map(|header| (header.line, header.value.as_str())).collect();
        assert_eq!(found, expected, "{claim}");
    }
}

#[test]
fn includes_are_listed() {
    assert_eq!(
        include_lines("include a/*.conf;\nhttp { include  \"b c\"; }\n# include d;"),
        ["include a/*.conf;", "include  \"b c\";"]
    );
    assert!(include_lines("include a; {").is_empty());
}

#[test]
fn a_diff_is_unified_and_names_both_states() {
    assert_eq!(diff("a\n", "a\n", "/etc/x"), "");
    assert_eq!(
        diff("a\nb\n", "a\nc\n", "/etc/x"),
        "--- /etc/x (now)\n+++ /etc/x (after)\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    );
}

#[test]
fn what_nginx_lexes_oddly_is_lexed_so() {
    for odd in [
        "set $a ${b}c;",
        "set $a ${{b;",
        "set $a \"${\";",
        "return 200 a#b;",
        "return 200 a\"b;",
        "return 200 a\\;b;",
        "return 200 \\{;",
        "return 200 a}b;",
        "if ($a = \"b\"){ }",
        "return 200 '';",
        "return 200 \"\\\\\";",
        "return # ; {\n 200;",
        "#\r",
    ] {
        let text = format!("{odd}\nupstream u {{ server a; }}");
        assert!(find_upstream(&text, "u").is_ok(), "{odd}: {:?}", find_upstream(&text, "u"));
    }
}

// ---------------------------------------------------------------------------------------------------------
// What is refused
// ---------------------------------------------------------------------------------------------------------

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    for (text, expected) in [
        (
            "upstream listings_backend {\n  server a;\n",
            "line 3, column 1: unexpected end of file, expecting \"}\" (the block that begins at line 1 is not closed)",
        ),
        (
            "a;\n  b c",
            "line 2, column 6: unexpected end of file, expecting \";\" or \"}\" (the word that begins at line 2 has no end)",
        ),
        (
            "a b\n",
            "line 2, column 1: unexpected end of file, expecting \";\" or \"}\" (the directive that begins at line 1 has no end)",
        ),
        (
            "a \"b;\n}\n",
            "line 3, column 1: unexpected end of file, expecting \";\" or \"}\" (the \" at line 1 is not closed)",
        ),
        ("a;\n}\n", "line 2, column 1: unexpected \"}\""),
        ("é;\n é; ;", "line 2, column 5: unexpected \";\""),
        ("{ }", "line 1, column 1: unexpected \"{\""),
        ("a { b }", "line 1, column 7: unexpected \"}\""),
        ("a \"b\"c;", "line 1, column 6: unexpected \"c\""),
        ("a \"b\"é;", "line 1, column 6: unexpected \"é\""),
        (
            "a_by_lua_block {\n  \"}\n",
            "line 3, column 1: unexpected end of file, expecting \"}\" (the Lua block that begins at line 1 is not closed)",
        ),
        ("upstream a b { }", "line 1, column 1: an upstream has exactly one name"),
        ("a;\0", "line 1, column 3: a NUL character, which has no place in a configuration"),
        ("upstream listings_backend { server; }", "line 1, column 29: a server without an address"),
        (
            "upstream listings_backend { server a weight=x; }",
            "line 1, column 38: \"weight=x\" is no weight that nginx knows",
        ),
        (
            "upstream listings_backend { server a weight=+1; }",
            "line 1, column 38: \"weight=+1\" is no weight that nginx knows",
        ),
        (
            "upstream listings_backend { server 127.0.0.1:8080; }\nserver { proxy_pass http://listings_backend; add_header X-Blue-Weight; }",
            "line 2, column 46: add_header X-Blue-Weight without a value",
        ),
    ] {
        assert_eq!(refusal_of(text), expected, "{text:?}");
    }
}

#[test]
fn an_excerpt_moves_no_terminal() {
    let error = find_upstream("a;\nb \u{1b}[2J;}\n", "u").unwrap_err();
    assert_eq!((error.line, error.excerpt.as_str()), (2, "b \\u{1b}[2J;}"));
}

#[test]
fn an_upstream_that_is_not_there_is_refused_with_what_is() {
    assert_eq!(
        refusal_of("include conf.d/*.conf;\nupstream a { }\nhttp { upstream b { } server { upstream c { } } }"),
        "no upstream \"listings_backend\" in this file; it has \"a\", \"b\"; it may stand in a file that is included: \"include conf.d/*.conf;\""
    );
    assert_eq!(refusal_of(""), "no upstream \"listings_backend\" in this file; it has no upstream at all");
}

#[test]
fn an_upstream_that_stands_twice_is_refused_with_both_lines() {
    for text in [
        "upstream listings_backend { server 127.0.0.1:8080; }\nupstream \"listings_backend\" { }",
        "http { upstream listings_backend { server 127.0.0.1:8080; } }\nstream { upstream LISTINGS_backend { } }",
    ] {
        let refusal = refusal_of(text);
        assert!(refusal.starts_with("line 2, ") && refusal.contains("at line 1 and at line 2"), "{refusal}");
    }
}

#[test]
fn a_drifted_block_is_refused() {
    assert_eq!(
        refusal_of("upstream listings_backend {\n server 10.0.0.1; server 10.0.0.2; }"),
        "line 1, column 1: the block has drifted: the upstream \"listings_backend\" has \"10.0.0.1\", \"10.0.0.2\", \
         the config names blue \"127.0.0.1:8080\" and green \"127.0.0.1:8081\""
    );
    assert!(refusal_of("upstream listings_backend { }").contains("has no server, the config"));
}

#[test]
fn a_block_that_includes_another_file_is_refused() {
    let refusal = refusal_of("upstream listings_backend {\n  server 127.0.0.1:8080;\n  include servers/*.conf;\n}");
    assert!(refusal.starts_with("line 3, column 3: the upstream \"listings_backend\" includes"), "{refusal}");
}

#[test]
fn lua_that_chooses_by_itself_is_refused_and_lua_that_does_not_is_kept() {
    let with = |lua: &str| format!("upstream listings_backend {{\n  server 127.0.0.1:8080;\n  {lua}\n}}");
    for lua in [
        "balancer_by_lua_block { require 'ngx.balancer'.set_current_peer(\"10.0.0.1\", 80) }",
        "balancer_by_lua_block { require(\"shop.routing\").choose() }",
        "balancer_by_lua_file conf/balancer.lua;",
        "balancer_by_lua_block { router.balance() }",
        "balancer_by_lua_block { local b = balancers[1] b:pick{} b.pick \"x\" }",
        "balancer_by_lua_block { local b = r½require \"ngx.balancer\" ½() }",
    ] {
        let refusal = refusal_of(&with(lua));
        assert!(
            refusal.starts_with("line 3, column 3: balancer_by_lua_") && refusal.contains("decides by itself"),
            "{refusal}"
        );
    }
    let kept = with(
        "balancer_by_lua_block { local b = require \"ngx.balancer\" if (b.get_last_failure()) then b.set_more_tries(1) end -- it's (fine)\n }",
    );
    assert_eq!(to(Colour::Blue, &kept).unwrap().text, kept);
}

#[test]
fn a_stranger_with_weight_zero_is_refused() {
    let refusal = refusal_of("upstream listings_backend {\n  server 127.0.0.1:8080;\n  server 10.0.0.1 weight=0;\n}");
    assert!(refusal.starts_with("line 3, column 3: nginx refuses \"weight=0\""), "{refusal}");
}

#[test]
fn what_no_block_can_say_is_refused() {
    let text = "upstream listings_backend { server 127.0.0.1:8080; }";
    let refused = |blue: &[&str], green: &[&str]| {
        let wanted = WantedBlock { serve: Colour::Blue, share: Share::ALL, blue: &owned(blue), green: &owned(green) };
        rewrite(text, NAME, &wanted, &Template::built_in()).unwrap_err().to_string()
    };
    assert_eq!(refused(&[], GREEN), "the config names no server of blue, nobody would serve");
    assert_eq!(refused(&["a:80"], &["A"]), "the config names a:80 as blue and as green");
    for address in ["", "a b", "a;", "a{", "a}", "a#", "\"a", "a\n", "a\\", "$a"] {
        assert_eq!(refused(&["127.0.0.1:8080", address], GREEN), format!("{address:?} is no address of a server"));
    }
}

#[test]
fn nesting_costs_no_stack() {
    let depth = 200_000;
    let text = format!("{}{}upstream u {{ server a; }}", "a {".repeat(depth), "}".repeat(depth));
    assert!(find_upstream(&text, "u").is_ok());
    assert!(find_upstream(&"a {".repeat(depth), "u").is_err());
}

// ---------------------------------------------------------------------------------------------------------
// Templates of the operator
// ---------------------------------------------------------------------------------------------------------

const TWO_SERVERS: &str = "upstream listings_backend {\n    server 127.0.0.1:8080 down;\n    keepalive 8;\n    server 127.0.0.1:8081 weight=100 fail_timeout=1s;\n}\n";

const PLAIN: &str = r#"upstream {{ name }} {
{%- for item in items %}
{% if item.kind == "server" and item.colour %}    server {{ item.address }}
{%- if item.down %} down{% else %} weight={{ item.weight }}{% endif %}
{%- for parameter in item.parameters %} {{ parameter }}{% endfor %};
{%- else %}{{ item.indent }}{{ item.text }}{% endif %}
{%- endfor %}
{{ indent }}}
"#;

fn template(text: &str) -> Template {
    Template::parse("mine.tera", text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_plain_template_of_the_operator_works() {
    let written = with(Colour::Blue, TWO_SERVERS, &template(PLAIN)).unwrap();
    assert_same(
        "plain template",
        &written.text,
        "upstream listings_backend {\n    server 127.0.0.1:8080 weight=100 max_fails=0;\n    keepalive 8;\n    server 127.0.0.1:8081 down fail_timeout=1s;\n}\n",
    );
}

#[test]
fn a_plain_template_keeps_crlf() {
    let text = TWO_SERVERS.replace('\n', "\r\n");
    let written = with(Colour::Blue, &text, &template(PLAIN)).unwrap();
    assert!(!written.text.replace("\r\n", "").contains('\n'), "{:?}", written.text);
}

#[test]
fn nothing_is_escaped_whatever_the_template_is_called() {
    let text = "upstream listings_backend { server \"127.0.0.1:8080\" down; }";
    let built_in = include_str!("../templates/upstream.conf.tera");
    let written = with(Colour::Blue, text, &Template::parse("upstream.html", built_in).unwrap()).unwrap();
    assert!(written.text.contains("server \"127.0.0.1:8080\" weight=100"), "{}", written.text);
}

#[test]
fn a_template_that_renders_weight_zero_is_refused_with_its_line() {
    let error = with(
        Colour::Blue,
        TWO_SERVERS,
        &template("{# weight=0\n#}upstream {{ name }} {\n  server 127.0.0.1:8080 weight=100 max_fails=0;\n  server 127.0.0.1:8081 weight=0 fail_timeout=1s;\n keepalive 8;\n}\n"),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3, column 3: template mine.tera renders weight=0 for 127.0.0.1:8081 (written at line 4 of the template); \
         nginx refuses \"weight=0\", write \"down\""
    );
    assert_eq!(error.excerpt, "  server 127.0.0.1:8081 weight=0 fail_timeout=1s;");

    let by_value = PLAIN.replace(
        "{%- if item.down %} down{% else %} weight={{ item.weight }}{% endif %}",
        "{{- '' }} weight={{ item.weight }}",
    );
    assert_ne!(by_value, PLAIN);
    let error = with(Colour::Blue, TWO_SERVERS, &template(&by_value)).unwrap_err().to_string();
    assert!(error.contains("written at line 4 of the template"), "{error}\n{by_value}");
}

#[test]
fn a_template_that_loses_or_invents_something_is_refused() {
    let (blue, green) =
        ("server 127.0.0.1:8080 weight=100 max_fails=0;", "server 127.0.0.1:8081 down fail_timeout=1s;");
    for (body, expected) in [
        (format!("{blue} keepalive 8;"), "loses server 127.0.0.1:8081"),
        (format!("{green} keepalive 8;"), "loses server 127.0.0.1:8080"),
        (format!("{blue} {green}"), "loses the directive \"keepalive\" or moves it"),
        (format!("{blue} {green} keepalive 9;"), "loses the directive \"keepalive\" or moves it"),
        (
            format!("{blue} keepalive 8; server 127.0.0.1:8081 down;"),
            "loses \"fail_timeout=1s\" of server 127.0.0.1:8081",
        ),
        (format!("{blue} keepalive 8; {green} server 10.0.0.1;"), "renders server 10.0.0.1, which nobody asked for"),
        (
            format!("{blue} keepalive 8; server 127.0.0.1:8081 fail_timeout=1s;"),
            "leaves green's server 127.0.0.1:8081 in service",
        ),
        (
            format!("server 127.0.0.1:8080 weight=99 max_fails=0; keepalive 8; {green}"),
            "gives blue's server 127.0.0.1:8080 weight=99",
        ),
        (
            format!("server 127.0.0.1:8080 max_fails=0; keepalive 8; {green}"),
            "gives blue's server 127.0.0.1:8080 weight=1,",
        ),
        (
            format!("server 127.0.0.1:8080 weight=100 down max_fails=0; keepalive 8; {green}"),
            "renders blue's server 127.0.0.1:8080 down",
        ),
        (
            format!("server 127.0.0.1:8080 weight=100 backup max_fails=0; keepalive 8; {green}"),
            "renders blue's server 127.0.0.1:8080 as backup",
        ),
        (format!("server 127.0.0.1:8080 weight=100; keepalive 8; {green}"), "without max_fails=0"),
        (
            format!("server 127.0.0.1:8080 weight=100 max_fails=0 max_fails=2; keepalive 8; {green}"),
            "without max_fails=0",
        ),
        (format!("{blue} keepalive 8; {green} }} upstream listings_backend {{"), "does not render exactly one block"),
        (format!("{blue} keepalive 8; {green} }} include /etc/passwd; x {{"), "does not render exactly one block"),
        (format!("{blue} keepalive 8; {green} }}"), "unexpected \"}\""),
        (format!("{blue} keepalive 8; {green} x \0"), "a NUL character"),
        (
            format!("{blue} keepalive 8; server 127.0.0.1:8081 down weight= fail_timeout=1s;"),
            "\"weight=\" is no weight",
        ),
    ] {
        let error = with(Colour::Blue, TWO_SERVERS, &template(&format!("upstream listings_backend {{ {body} }}")))
            .expect_err(&body)
            .to_string();
        assert!(error.contains(expected) && error.contains("template mine.tera"), "{body}\n{error}");
    }
    for beside in [
        "# by us\nupstream listings_backend { BODY }",
        "upstream other { BODY }",
        "upstream listings_backend { BODY } # end",
        "",
    ] {
        let text = beside.replace("BODY", &format!("{blue} keepalive 8; {green}"));
        let error = with(Colour::Blue, TWO_SERVERS, &template(&text)).expect_err(beside).to_string();
        assert!(error.contains("does not render exactly one block"), "{beside}: {error}");
    }
}

#[test]
fn a_template_that_changes_a_stranger_is_refused() {
    let text = "upstream listings_backend { server 127.0.0.1:8080; server 10.0.0.1 weight=3; }";
    let changing =
        "upstream listings_backend { server 127.0.0.1:8080 weight=100 max_fails=0; server 10.0.0.1 weight=4; }";
    let error = with(Colour::Blue, text, &template(changing)).unwrap_err().to_string();
    assert!(error.contains("changes server 10.0.0.1, which is neither"), "{error}");
}

#[test]
fn a_template_that_grows_at_every_rollback_is_refused() {
    let growing =
        include_str!("../templates/upstream.conf.tera").replace("{{- closing }}", "# rolled back\n{{ closing }}");
    let error = with(Colour::Blue, TWO_SERVERS, &template(&growing)).unwrap_err().to_string();
    assert!(error.contains("does not settle"), "{error}");
}

#[test]
fn template_errors_come_with_the_line_of_the_template() {
    let error = Template::parse("mine.tera", "upstream {\n{% for x %}\n").unwrap_err();
    assert_eq!(error.line, 2, "{error}");
    assert!(error.what.starts_with("template mine.tera: "), "{error}");
    assert_eq!(error.excerpt, "{% for x %}");

    let error =
        with(Colour::Blue, TWO_SERVERS, &template("upstream {{ name }} {\n\n{{ blue_wieght }}\n}")).unwrap_err();
    assert_eq!(error.line, 3, "{error}");
}

// ---------------------------------------------------------------------------------------------------------
// The site files, each of them
// ---------------------------------------------------------------------------------------------------------

#[test]
fn every_file_of_the_folder_is_a_site_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nginx");
    let mut found: Vec<String> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut known: Vec<&str> = SITES.iter().map(|site| site.name).collect();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn every_byte_outside_the_block_stays() {
    for site in SITES {
        for serve in [Colour::Blue, Colour::Green] {
            let written = site.written(site.text, serve);
            let (blue, green) = (owned(site.blue), owned(site.green));
            let wanted = WantedBlock { serve, share: Share::ALL, blue: &blue, green: &green };
            assert_sound(&format!("{} to {serve}", site.name), site.text, &written.text, NAME, &wanted);
        }
    }
}

#[test]
fn blue_again_is_byte_identical() {
    for site in SITES {
        for serve in [Colour::Blue, Colour::Green] {
            let once = site.written(site.text, serve);
            let twice = site.written(&once.text, serve);
            assert_same(site.name, &twice.text, &once.text);
            assert!(!twice.changed, "{}", site.name);
        }
    }
}

/// The first way there and back leaves one trace: `max_fails=0` on what served once. From then on nothing.
#[test]
fn blue_green_blue_equals_blue() {
    for site in SITES {
        let seen_green = site.written(site.text, Colour::Green);
        let blue = site.written(&seen_green.text, Colour::Blue);
        let green = site.written(&blue.text, Colour::Green);
        let blue_again = site.written(&green.text, Colour::Blue);
        assert_same(site.name, &blue_again.text, &blue.text);
        assert!(green.changed && blue_again.changed, "{}", site.name);
    }
}

#[test]
fn the_way_there_and_back_leaves_only_max_fails() {
    let without = |text: &str| {
        ["max_fails=0", "max_fails=1", "max_fails=2", "max_fails=3", "max_fails=5"]
            .iter()
            .fold(text.to_owned(), |text, word| text.replace(&format!(" {word}"), ""))
    };
    for site in SITES {
        let blue = site.written(site.text, Colour::Blue);
        let green = site.written(&blue.text, Colour::Green);
        let blue_again = site.written(&green.text, Colour::Blue);
        if site.text.contains("backup") || site.text.contains("drain") || site.text.contains("\tmax_fails") {
            // Those go for good when their server serves, and a column is a tab here.
            continue;
        }
        let spaced = |text: &str| without(&text.replace("\"max_fails", " max_fails"));
        assert_same(site.name, &spaced(&blue_again.text), &spaced(&blue.text));
    }
}

#[test]
fn what_was_written_serves_one_colour() {
    for site in SITES {
        let (blue, green) = (owned(site.blue), owned(site.green));
        for (serve, expected) in [(Colour::Blue, Serving::Blue), (Colour::Green, Serving::Green)] {
            let written = site.written(site.text, serve);
            let upstream = site.upstream(&written.text);
            assert_eq!(serving(&upstream, &blue, &green), expected, "{}", site.name);
            let strangers = !written.strangers.is_empty();
            let ours = if serve == Colour::Blue { &blue } else { &green };
            assert_eq!(share(&upstream, ours) == 100, !strangers, "{}", site.name);
        }
    }
}

#[test]
fn comments_and_lines_of_the_block_stay() {
    for site in SITES {
        let written = site.written(site.text, Colour::Blue);
        let comments = |text: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.split_once(" #").map(|(_, comment)| comment.to_owned())).collect()
        };
        assert_eq!(comments(&written.text), comments(site.text), "{}", site.name);
        assert_eq!(written.text.matches('\r').count(), site.text.matches('\r').count(), "{}", site.name);
    }
}

#[test]
fn a_file_of_every_kind_is_written_exactly() {
    for (name, before, after) in [
        (
            "multi_line.conf",
            "        weight=5            # 5 while canarying\n        max_fails=2\n        fail_timeout=15s\n        backup              # only in need\n        ;\n\n    server 127.0.0.1:8081\n        max_conns=200",
            "        weight=100            # 5 while canarying\n        max_fails=0\n        fail_timeout=15s              # only in need\n        ;\n\n    server 127.0.0.1:8081 down\n        max_conns=200",
        ),
        (
            "no_newline.conf",
            "upstream listings_backend{server 127.0.0.1:8081;server 127.0.0.1:8080 down;}",
            "upstream listings_backend{server 127.0.0.1:8081 down;server 127.0.0.1:8080 weight=100 max_fails=0;}",
        ),
        ("tabs.conf", "\tweight=1\tmax_fails=2;\t# blue\n", "\tweight=100\tmax_fails=0;\t# blue\n"),
        (
            "resolve.conf",
            "service=http resolve slow_start=30s route=blue down;\n    server 127.0.0.1:8081 service",
            "service=http resolve slow_start=30s route=blue weight=100 max_fails=0;\n    server 127.0.0.1:8081 down service",
        ),
    ] {
        let site = SITES.iter().find(|site| site.name == name).expect("a site");
        assert_eq!(site.text.matches(before).count(), 1, "{name}");
        let written = site.written(site.text, Colour::Blue);
        assert_same(name, &written.text, &site.text.replace(before, after));
    }
}

// ---------------------------------------------------------------------------------------------------------
// What nobody would think of
// ---------------------------------------------------------------------------------------------------------

fn gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just(" "),
        1 => Just("\t"),
        1 => Just("\n        "),
        1 => Just("  # a { comment; inside\n      "),
        1 => Just("\r\n  "),
    ]
}

fn parameter() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "weight=1",
        "weight=100",
        "\"weight=7\"",
        "weight=0",
        "down",
        "'down'",
        "backup",
        "max_fails=0",
        "max_fails=3",
        "'max_fails=0'",
        "fail_timeout=10s",
        "max_conns=5",
        "slow_start=1s",
        "resolve",
        "\"route=a;{b}\"",
    ])
}

fn server(addresses: &'static [&'static str]) -> impl Strategy<Value = String> {
    let words = prop::collection::vec((gap(), parameter()), 0..5);
    (prop::sample::select(addresses), gap(), words, prop::bool::ANY).prop_map(|(address, first, words, is_spaced)| {
        let mut line = format!("server{first}{address}");
        for (gap, word) in words {
            line.push_str(gap);
            line.push_str(word);
        }
        if is_spaced {
            line.push(' ');
        }
        line + ";"
    })
}

const OURS: &[&str] =
    &["127.0.0.1:8080", "\"127.0.0.1:8080\"", "127.0.0.1:8081", "[::1]:8080", "unix:/run/blue.sock", "127.0.0.2"];
const STRANGERS: &[&str] = &["10.0.0.1:1 weight=3", "\"10.0.0.2\"  down", "a.example.com backup"];

fn block_line() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => server(OURS),
        1 => prop::sample::select(STRANGERS).prop_map(|stranger| format!("server {stranger};")),
        1 => Just("keepalive 8;".to_owned()),
        1 => Just("hash \"$a;{b}\" consistent;".to_owned()),
        1 => Just("balancer_by_lua_block { local a = {'}'} -- }\n }".to_owned()),
        1 => Just("# server 127.0.0.1:8080; }\n".to_owned()),
        1 => Just("\n".to_owned()),
    ]
}

fn block() -> impl Strategy<Value = String> {
    let ends = prop_oneof![
        4 => Just("\n    "),
        1 => Just("\r\n\t"),
        1 => Just(" "),
        1 => Just(""),
        2 => Just("  # é; }\n"),
    ];
    let head = prop::sample::select(vec![
        "upstream listings_backend {",
        "upstream 'listings_backend'\n{",
        "upstream # {\n listings_backend{",
    ]);
    (head, prop::collection::vec((block_line(), ends), 1..8)).prop_map(|(head, lines)| {
        let mut block = format!("{head}\n");
        for (line, end) in lines {
            block.push_str(&line);
            block.push_str(end);
        }
        block + "}"
    })
}

fn surrounding() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "\n",
        "  \t",
        "\r\n",
        "# upstream listings_backend { é\n",
        "server { listen 80; location / { return 200 \"}\"; } }",
        "map $a $b { \"~^x{2}\" 1; \"~}\" 2; }\n",
        "log_format x '{' \"}\";",
        "upstream other { server 127.0.0.1:8080 weight=5; }",
        "set $x ${y}z;",
        "init_by_lua_block { x = \"}\" --[[ } ]] }",
    ]);
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_block_among_anything_is_written_soundly(before in surrounding(), block in block(), after in surrounding(), is_blue in any::<bool>()) {
        let blue = owned(&["127.0.0.1:8080", "[0::1]:8080", "unix:/run/blue.sock"]);
        let green = owned(&["127.0.0.1:8081", "127.0.0.2:80"]);
        let wanted = WantedBlock { serve: if is_blue { Colour::Blue } else { Colour::Green }, share: Share::ALL, blue: &blue, green: &green };
        let text = format!("{before}{block}{after}");
        match rewrite(&text, NAME, &wanted, &Template::built_in()) {
            Ok(written) => {
                prop_assert!(written.text.starts_with(&before) && written.text.ends_with(&after), "{}", diff(&text, &written.text, "x"));
                assert_sound("generated", &text, &written.text, NAME, &wanted);
                for kept in ["#", "keepalive 8;", "hash \"$a;{b}\" consistent;", "balancer_by_lua_block", "10.0.0.1:1 weight=3;"] {
                    prop_assert!(written.text.matches(kept).count() >= text.matches(kept).count(), "{kept}: {}", diff(&text, &written.text, "x"));
                }
                let again = rewrite(&written.text, NAME, &wanted, &Template::built_in()).unwrap();
                prop_assert_eq!(&again.text, &written.text);
                prop_assert!(!again.changed && again.added.is_empty());
                prop_assert_eq!(written.changed, written.text != text);
            }
            Err(error) => {
                let is_known = error.what.contains("drifted") || error.what.contains("what is switched here");
                prop_assert!(is_known, "{}\n{}", error, text);
            }
        }
    }

    #[test]
    fn damage_never_panics_and_never_passes_unsound(
        site in prop::sample::select(SITES),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, prop::sample::select(&b"{};\"'\\#$ \n\r\t\0ax0=[]-\xff"[..])), 1..6),
        is_blue in any::<bool>(),
    ) {
        let mut bytes = site.text.as_bytes().to_vec();
        for (place, kind, byte) in damage {
            let place = place.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(place, byte),
                1 if place < bytes.len() => { bytes.remove(place); }
                2 if place < bytes.len() => bytes[place] = byte,
                // Rare enough not to empty every file.
                3 if byte == b'{' => bytes.truncate(place),
                _ => {}
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (blue, green) = (owned(site.blue), owned(site.green));
        let wanted = WantedBlock { serve: if is_blue { Colour::Blue } else { Colour::Green }, share: Share::ALL, blue: &blue, green: &green };
        let _ = (weight_headers(&text, NAME), include_lines(&text), find_upstream(&text, NAME));
        match rewrite(&text, NAME, &wanted, &Template::built_in()) {
            Ok(written) => {
                assert_sound(site.name, &text, &written.text, NAME, &wanted);
                let again = rewrite(&written.text, NAME, &wanted, &Template::built_in()).unwrap();
                prop_assert_eq!(again.text, written.text);
            }
            // The file may be refused; what the built-in template made of it never.
            Err(error) => prop_assert!(!error.what.contains("template "), "{error}\n{text}"),
        }
    }
}

// ---------------------------------------------------------------------------------------------------------
// The real nginx
// ---------------------------------------------------------------------------------------------------------

/// nginx's verdict, and what it said.
fn nginx_accepts(site: &str, is_whole: bool) -> (bool, String) {
    // Short: the path of a unix socket has 108 bytes.
    let folder = tempfile::Builder::new().prefix("rbn").tempdir_in("/tmp").expect("a folder in /tmp");
    let dir = folder.path().display();
    let own = format!(
        "access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; \
         uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;"
    );
    let site = on_unix_sockets(site, folder.path());
    let main = if is_whole {
        format!("pid {dir}/pid; error_log {dir}/error.log;\n{}", site.replacen("http {", &format!("http {{ {own}"), 1))
    } else {
        format!("pid {dir}/pid; error_log {dir}/error.log; events {{}} http {{ {own} include {dir}/site.conf; }}")
    };
    std::fs::write(folder.path().join("site.conf"), &site).expect("a file in the folder");
    std::fs::write(folder.path().join("nginx.conf"), &main).expect("a file in the folder");
    let on_debian = PathBuf::from("/usr/sbin/nginx");
    let program = if on_debian.exists() { on_debian } else { PathBuf::from("nginx") };
    let output = Command::new(&program)
        .args(["-t", "-e", "stderr", "-p"])
        .arg(folder.path())
        .arg("-c")
        .arg(folder.path().join("nginx.conf"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; these tests need nginx", program.display()));
    let said = format!(
        "{}{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default()
    );
    (output.status.success(), said)
}

/// The file with every `listen` on a socket of its own: `nginx -t` opens them, and ports are others' here.
fn on_unix_sockets(site: &str, folder: &Path) -> String {
    let mut text = String::new();
    let mut rest = site;
    let mut count = 0;
    while let Some(at) = rest.find("listen") {
        let (before, directive) = rest.split_at(at);
        text.push_str(before);
        let is_directive = directive["listen".len()..].starts_with([' ', '\t', '\n']);
        let length = if is_directive { directive.find(';').expect("a listen has an end") } else { "listen".len() };
        if is_directive {
            count += 1;
            text.push_str(&format!("listen unix:{}/{count}", folder.display()));
        } else {
            text.push_str(&directive[..length]);
        }
        rest = &directive[length..];
    }
    text + rest
}

#[test]
fn nginx_accepts_what_was_written() {
    let mut asked = 0;
    for site in SITES {
        let (is_whole, is_accepted) = match site.on_nginx {
            OnNginx::Accepted => (false, true),
            OnNginx::RefusedUntilWritten => (false, false),
            OnNginx::Whole => (true, true),
            OnNginx::NotAsked => continue,
        };
        asked += 1;
        let (accepted, said) = nginx_accepts(site.text, is_whole);
        assert_eq!(accepted, is_accepted, "{} as it is: {said}\n{}", site.name, site.text);
        for serve in [Colour::Blue, Colour::Green] {
            let written = site.written(site.text, serve).text;
            let (accepted, said) = nginx_accepts(&written, is_whole);
            assert!(accepted, "{} to {serve}: {said}\n{written}", site.name);
        }
    }
    assert!(asked >= 12, "only {asked} sites were asked about");
}

#[test]
fn nginx_refuses_weight_zero() {
    let (accepted, said) = nginx_accepts("upstream u { server 127.0.0.1:1; server 127.0.0.1:2 weight=0; }", false);
    assert!(!accepted && said.contains("invalid parameter \"weight=0\""), "{said}");
    let (accepted, said) = nginx_accepts("upstream u { server 127.0.0.1:1; server 127.0.0.1:2 down; }", false);
    assert!(accepted, "{said}");
}

/// What we read as nginx does, nginx reads; what we refuse, it refuses.
#[test]
fn nginx_agrees_about_its_own_grammar() {
    for (text, expected) in [
        ("map $uri $a { default ${uri}x; \"~}\" 1; }", true),
        ("map $uri $a { default a#b; x a\"b; y a}b; z a\\;b; }", true),
        ("map $uri $a # ; {\n { default 1; }", true),
        ("map $uri $a { default \"b\"c; }", false),
        ("map $uri $a { default \"b; }", false),
        ("map $uri $a { default 1 }", false),
        ("map $uri $a { default 1; } }", false),
        ("map $uri $a { ; }", false),
        ("map $uri $a { default '\\'{'; }", true),
        ("upstream A { server 127.0.0.1:1; } upstream a { server 127.0.0.1:2; }", false),
    ] {
        let (accepted, said) = nginx_accepts(text, false);
        assert_eq!(accepted, expected, "{text}: {said}");
        let ours = match text.contains("upstream") {
            true => find_upstream(text, "a").is_ok(),
            false => weight_headers(text, "u").is_ok(),
        };
        assert_eq!(ours, expected, "{text}");
    }
}
