//! The layouts in which shops keep blue and green, each on a real host: the rollback, what users notice of it, and the way
//! back to the byte. And the same as texts, for what a host need not be booted for.

#[path = "support/config.rs"]
mod config;
#[path = "support/page.rs"]
mod page;
#[path = "support/site.rs"]
mod site;
mod support;

use std::path::Path;

use config::inventory_of;
use page::{block, config_of, sections, with_tables};
use proptest::prelude::*;
use rollback_prod::nginx::{Clues, ConfigFile, Serving, SideTexts, Site, Template, find};
use rollback_prod::nouns::colour::{Colour, Each};
use rollback_prod::nouns::inventory::Inventory;
use site::{
    FILE, LYING_RELOAD, SIDE_FILES, STRIKES, TWO_PORTS, back_to_green, leftovers, nobody_noticed, rollback, served_by,
    unit, until, users_inside, users_lost_nothing,
};
use support::lab::Lab;

/// A section of the page with a file of nginx.
struct Layout {
    name: &'static str,
    /// With green serving.
    file: &'static str,
    config: &'static str,
    /// With blue serving.
    after: String,
}

fn layouts() -> Vec<Layout> {
    let layout = |(name, section)| {
        let (file, config, diff) = (block(section, "nginx")?, block(section, "toml")?, block(section, "diff")?);
        let mut after = file.to_owned();
        // The lines that go and those that come stand in the same order, and as many of each in a row.
        let lines = |sign| diff.lines().filter_map(move |line: &str| line.strip_prefix(sign));
        for (old, new) in lines('-').zip(lines('+')) {
            assert_eq!(file.matches(old).count(), 1, "{name}: {old}");
            after = after.replace(old, new);
        }
        Some(Layout { name, file, config, after })
    };
    sections().filter_map(layout).collect()
}

/// The config as the program reads it, of a service whose `[nginx]` has these keys besides.
fn inventory(nginx: &str, blue: &str, green: &str) -> Inventory {
    let text = format!(
        "service = \"listings\"\n[[host]]\nname = \"web1\"\nssh = \"web1\"\n[nginx]\nfile = \"/etc/nginx/x\"\n{nginx}\n\
         [blue]\nservers = [{blue}]\nrun.systemd = \"blue\"\n[green]\nservers = [{green}]\nrun.systemd = \"green\"\n"
    );
    inventory_of(Path::new("rollback.toml"), text)
}

const PASS: &str = "switch = \"pass\"\nblue = \"shop_blue\"\ngreen = \"shop_green\"";
const VARIABLE: &str = "switch = \"variable\"\nblue = \"shop_blue\"\ngreen = \"shop_green\"";

/// What a rollback to blue makes of a text, and the lines that decide otherwise for some requests; or the words of the
/// refusal.
type Judged = Result<(String, Vec<String>), String>;

/// Who serves by the text, and what becomes of it.
fn judged(nginx: &str, text: &str) -> (Option<Serving>, Judged) {
    let inventory =
        inventory(nginx, "\"127.0.0.1:8080\", \"127.0.0.1:8082\"", "\"127.0.0.1:8081\", \"127.0.0.1:8083\"");
    let texts = SideTexts::default();
    let site = Site::of(&inventory, &texts);
    let rewritten = site.rewrite(text, Colour::Blue, &Template::built_in()).map_err(|refusal| refusal.to_string());
    if let Ok(rewritten) = &rewritten {
        assert_eq!(site.serving(&rewritten.text), Ok(Serving::Blue), "{}", rewritten.text);
        let again = site.rewrite(&rewritten.text, Colour::Blue, &Template::built_in()).expect("what we wrote is read");
        assert!(!again.changed && again.text == rewritten.text, "twice is once: {}", again.text);
        // The first way there and back leaves `max_fails=0` on what served alone; from then on nothing.
        let to = |serve, text: &str| site.rewrite(text, serve, &Template::built_in()).expect("there is a way").text;
        let there_and_back = |text: &str| to(Colour::Blue, &to(Colour::Green, text));
        let once = there_and_back(&rewritten.text);
        assert_eq!(there_and_back(&once), once, "there and back is the same");
    }
    (site.serving(text).ok(), rewritten.map(|rewritten| (rewritten.text, rewritten.exceptions)))
}

#[test]
fn one_word_is_found_wherever_it_decides_and_nowhere_else() {
    for (claim, text, serving, expected) in [
        (
            "in every server, and in quotes",
            "server { set $a 'shop_green'; }\nserver { set $a shop_green; set $b other; }",
            Some(Serving::Green),
            Ok(("server { set $a 'shop_blue'; }\nserver { set $a shop_blue; set $b other; }", vec![])),
        ),
        (
            "what is on its way between the two",
            "server { set $a shop_blue; }\nserver { set $a shop_green; }",
            Some(Serving::Both),
            Ok(("server { set $a shop_blue; }\nserver { set $a shop_blue; }", vec![])),
        ),
        (
            "not where it decides for some requests",
            "map $cookie_x $a {\n default shop_green;\n beta shop_green;\n old shop_blue; }\nserver { if ($http_y) {\n set $a shop_green; } }",
            Some(Serving::Green),
            Ok((
                "map $cookie_x $a {\n default shop_blue;\n beta shop_green;\n old shop_blue; }\nserver { if ($http_y) {\n set $a shop_green; } }",
                vec!["line 3", "line 6"],
            )),
        ),
        (
            "headers that tell the weights of both",
            "upstream shop_blue { server 127.0.0.1:8080; } upstream shop_green { server 127.0.0.1:8081; }\n\
             server { set $a shop_green; proxy_pass http://$a; add_header X-Blue-Weight 0; add_header X-Green-Weight 100; }",
            Some(Serving::Green),
            Ok((
                "upstream shop_blue { server 127.0.0.1:8080; } upstream shop_green { server 127.0.0.1:8081; }\n\
                 server { set $a shop_blue; proxy_pass http://$a; add_header X-Blue-Weight 100; add_header X-Green-Weight 0; }",
                vec![],
            )),
        ),
        (
            "two variables with such words",
            "server { set $a shop_green; set $b shop_blue; }",
            None,
            Err("\"shop_blue\" or \"shop_green\" is what $a and $b are given; in the config: nginx.variable = \"a\""),
        ),
        (
            "none",
            "server { set $a elsewhere; if ($x) { set $a shop_green; } }",
            None,
            Err("no `set` and no default of a `map` gives a variable \"shop_blue\" or \"shop_green\" in this file"),
        ),
        (
            "what Lua computes",
            "server { set $a shop_green; access_by_lua_block { if ngx.var.a == 'x' then ngx.var.a = 'shop_blue' end } }",
            None,
            Err("line 1, column 29: access_by_lua_block sets $a by itself, and no word of the file decides"),
        ),
        (
            "an upstream that has other servers than the config takes it for",
            "upstream shop_blue { server 127.0.0.1:9090; server 127.0.0.1:8080 down; }\nserver { set $a shop_green; }",
            Some(Serving::Green),
            Err("line 1, column 1: the upstream \"shop_blue\" that \"shop_blue\" stands for has \"127.0.0.1:9090\", \
                 \"127.0.0.1:8080\", and none that serves is blue's: \"127.0.0.1:8080\", \"127.0.0.1:8082\""),
        ),
    ] {
        let lines = |lines: Vec<&str>| lines.into_iter().map(str::to_owned).collect();
        let expected = expected.map(|(text, others)| (text.to_owned(), lines(others))).map_err(str::to_owned);
        assert_eq!(judged(VARIABLE, text), (serving, expected), "{claim}");
    }
}

#[test]
fn what_is_passed_to_decides_where_all_of_it_says_the_same() {
    for (claim, text, serving, expected) in [
        (
            "everywhere, whatever is behind it",
            "server { location / { proxy_pass http://shop_green; } location /api { proxy_pass \"http://SHOP_GREEN/v1?x\"; } }",
            Some(Serving::Green),
            Ok((
                "server { location / { proxy_pass http://shop_blue; } location /api { proxy_pass \"http://shop_blue/v1?x\"; } }",
                vec![],
            )),
        ),
        (
            "and nowhere else",
            "server { proxy_pass http://shop_green; if ($x) {\n proxy_pass http://shop_green; } }\nserver { proxy_pass http://shop_green_admin; }",
            Some(Serving::Green),
            Ok((
                "server { proxy_pass http://shop_blue; if ($x) {\n proxy_pass http://shop_green; } }\nserver { proxy_pass http://shop_green_admin; }",
                vec!["line 2"],
            )),
        ),
        (
            "a way for testers beside it",
            "server { location / { proxy_pass http://shop_green; }\n location /blue { proxy_pass http://shop_blue; } }",
            None,
            Err(
                "line 2, column 37: line 2 passes to \"shop_blue\" and line 1 to \"shop_green\": which of them decides is not said; \
                 let it be a variable's word (nginx.switch = \"variable\")",
            ),
        ),
        (
            "with a port, and with a variable behind it",
            "server { location / { proxy_pass http://shop_green:80/x; } location /y { proxy_pass http://shop_green$request_uri; } }",
            Some(Serving::Green),
            Ok((
                "server { location / { proxy_pass http://shop_blue:80/x; } location /y { proxy_pass http://shop_blue$request_uri; } }",
                vec![],
            )),
        ),
        (
            "nobody",
            "server { proxy_pass http://other; }",
            None,
            Err("nothing in this file is passed to \"shop_blue\" or \"shop_green\""),
        ),
    ] {
        let lines = |lines: Vec<&str>| lines.into_iter().map(str::to_owned).collect();
        let expected = expected.map(|(text, others)| (text.to_owned(), lines(others))).map_err(str::to_owned);
        assert_eq!(judged(PASS, text), (serving, expected), "{claim}");
    }
    // An address is a word like any other.
    let address = "switch = \"pass\"\nblue = \"127.0.0.1:8080\"\ngreen = \"127.0.0.1:8081\"";
    let (serving, written) = judged(address, "server { proxy_pass http://127.0.0.1:8081/; }");
    assert_eq!(
        (serving, written.expect("it is written").0.as_str()),
        (Some(Serving::Green), "server { proxy_pass http://127.0.0.1:8080/; }")
    );
}

/// What becomes of a link, or of a copy, where the files of the sides say this.
fn with_files(nginx: &str, text: &str, blue: Option<&str>, green: Option<&str>) -> Judged {
    let inventory = inventory(nginx, "\"127.0.0.1:8080\"", "\"127.0.0.1:8081\"");
    let texts = SideTexts { blue: blue.map(str::to_owned), green: green.map(str::to_owned) };
    let written = Site::of(&inventory, &texts).rewrite(text, Colour::Blue, &Template::built_in());
    written.map(|written| (written.text, written.exceptions)).map_err(|refusal| refusal.to_string())
}

#[test]
fn the_file_of_a_side_must_be_there_and_be_its_own() {
    const LINK: &str = "switch = \"link\"\nblue = \"blue.conf\"\ngreen = \"green.conf\"";
    const COPY: &str = "switch = \"file\"\nblue = \"blue.conf\"\ngreen = \"green.conf\"";
    let (blue, green) = ("upstream u { server 127.0.0.1:8080; }", "upstream u { server 127.0.0.1:8081; }");
    let both = "upstream u { server 127.0.0.1:8080 weight=9; server 127.0.0.1:8081; }";
    let held = "upstream u { server 127.0.0.1:8080; server 127.0.0.1:8081 down; }";
    let done =
        |text: &str, others: &[&str]| Ok((text.to_owned(), others.iter().map(|other| (*other).to_owned()).collect()));
    for (now, after, nginx) in [("green.conf", "blue.conf", LINK), (green, blue, COPY)] {
        assert_eq!(with_files(nginx, now, Some(blue), Some(green)), done(after, &[]));
        assert_eq!(
            with_files(nginx, now, None, Some(green)),
            Err("what /etc/nginx/blue.conf says is not known".to_owned())
        );
        let another = "blue's file /etc/nginx/blue.conf sends to green: \"127.0.0.1:8081\"";
        assert_eq!(with_files(nginx, now, Some(green), Some(green)), Err(another.to_owned()));
    }
    assert_eq!(with_files(LINK, "green.conf", Some(both), Some(green)), done("blue.conf", &["/etc/nginx/blue.conf"]));
    assert_eq!(with_files(LINK, "green.conf", Some(held), Some(green)), done("blue.conf", &[]));
    assert_eq!(with_files(LINK, "../nginx/./green.conf", Some(blue), Some(green)), done("blue.conf", &[]));
    // A copy that nobody knows becomes blue's all the same.
    assert_eq!(
        with_files(COPY, "set $a other;", Some("set $a blue;"), Some("set $a green;")),
        done("set $a blue;", &[])
    );
    let inventory = inventory(COPY, "\"127.0.0.1:8080\"", "\"127.0.0.1:8081\"");
    let texts = SideTexts { blue: Some("set $a blue;".to_owned()), green: Some("set $a green;".to_owned()) };
    let site = Site::of(&inventory, &texts);
    assert_eq!(site.serving("# by hand\n  set $a   green;"), Ok(Serving::Green), "with a line of somebody's in it");
    assert!(site.serving("set $a other;").is_err());
}

#[test]
fn several_upstreams_are_one_service() {
    const API_WEB: &str = "upstreams = [\"api\", \"web\"]";
    for (claim, text, serving, expected) in [
        (
            "each with both sides",
            "upstream api { server 127.0.0.1:8080 down; server 127.0.0.1:8081; } upstream web { server 127.0.0.1:8082 down; server 127.0.0.1:8083; }",
            Some(Serving::Green),
            Ok("upstream api { server 127.0.0.1:8080 weight=100 max_fails=0; server 127.0.0.1:8081 down; } \
                upstream web { server 127.0.0.1:8082 weight=100 max_fails=0; server 127.0.0.1:8083 down; }"),
        ),
        (
            "each with one server, which is told by its place in the list",
            "upstream web { server 127.0.0.1:8083; } upstream api { server 127.0.0.1:8081; }",
            Some(Serving::Green),
            Ok("upstream web { server 127.0.0.1:8082; } upstream api { server 127.0.0.1:8080; }"),
        ),
        (
            "one that was switched and one that was not",
            "upstream api { server 127.0.0.1:8080; } upstream web { server 127.0.0.1:8083; }",
            Some(Serving::Both),
            Ok("upstream api { server 127.0.0.1:8080; } upstream web { server 127.0.0.1:8082; }"),
        ),
        (
            "one with nobody that we know",
            "upstream api { server 127.0.0.1:8080; } upstream web { server 10.0.0.1; }",
            None,
            Err(
                "which servers of each side belong to the upstream \"web\" is not known: it has \"10.0.0.1\"; blue.servers and \
                 green.servers must name them in the same order",
            ),
        ),
        (
            "one that is not there",
            "upstream api { server 127.0.0.1:8080; }",
            None,
            Err("no upstream \"web\" in this file; it has \"api\""),
        ),
    ] {
        let expected = expected.map(|text| (text.to_owned(), vec![])).map_err(str::to_owned);
        assert_eq!(judged(API_WEB, text), (serving, expected), "{claim}");
    }
}

#[test]
fn of_two_upstreams_of_one_name_the_config_says_which() {
    let text = "http { upstream u { server 10.0.0.1; } }\nstream { upstream u { server 127.0.0.1:8081; server 127.0.0.1:8083; } }";
    let twice = "line 2, column 10: the upstream \"u\" stands twice, at line 1 and at line 2; it is not said which one serves: \
                 nginx.context = \"http\" or \"stream\"";
    assert_eq!(judged("upstream = \"u\"", text), (None, Err(twice.to_owned())));
    let in_stream = "upstream = \"u\"\ncontext = \"stream\"";
    let (serving, written) = judged(in_stream, text);
    let (written, _) = written.expect("it is written");
    assert_eq!(serving, Some(Serving::Green));
    assert!(written.starts_with("http { upstream u { server 10.0.0.1; } }\n"), "{written}");
    // A file that is included knows no context.
    assert_eq!(judged(in_stream, "upstream u { server 127.0.0.1:8083; }").0, Some(Serving::Green));
}

/// What a config is told to say of `file`, with these files beside it.
fn found(file: &str, is_link: bool, text: &str, beside: &[(&str, &str)], servers: &Each<Vec<String>>) -> Vec<String> {
    let config_file = |(path, text): (&str, &str)| ConfigFile { path: path.to_owned(), text: text.to_owned() };
    let loaded = [config_file(("/etc/nginx/nginx.conf", "http { include x; }")), config_file((file, text))];
    let mut all: Vec<ConfigFile> = beside.iter().copied().map(config_file).collect();
    let behind = if is_link { beside[0].0 } else { file };
    if !is_link {
        all.push(config_file((file, text)));
    }
    let clues = Clues { named: file, behind, is_link, loaded: &loaded, beside: &all };
    find(clues, servers).map(|found| found.lines).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// However it is written, and whatever stands around it, the word is changed, all else stays, twice is once, and there and
    /// back is the same.
    #[test]
    fn a_word_among_anything_is_written_soundly(
        servers in prop::collection::vec(("[ \t\n]{1,3}", "[\"']?", prop::sample::select(AROUND), prop::sample::select(AROUND)), 1..5),
        is_passed in any::<bool>(),
    ) {
        let text = |word: &str| -> String {
            let one = |(space, quote, before, after): &(String, String, &str, &str)| match is_passed {
                true => format!("server {{{before} location / {{ proxy_pass{space}{quote}http://{word}{quote}; {after}}} }}\n"),
                false => format!("server {{{before} set{space}$active{space}{quote}{word}{quote};{after} }}\n"),
            };
            servers.iter().map(one).collect()
        };
        let (serving, written) = judged(if is_passed { PASS } else { VARIABLE }, &text("shop_green"));
        prop_assert_eq!(serving, Some(Serving::Green));
        prop_assert_eq!(written, Ok((text("shop_blue"), vec![])));
    }
}

/// What no word is.
const AROUND: &[&str] = &[
    "",
    "\n# set $active shop_green; proxy_pass http://shop_green;\n",
    " add_header X \"set $active shop_green; }\"; ",
    " set $other 1; ",
    "\r\n\t",
    " server_name caf\u{e9}.example.com; ",
];

/// One that is not named in the config, and that requests are passed to, goes on sending them to green.
#[test]
fn an_upstream_that_nobody_named_is_an_exception() {
    let exceptions = |text: &str| judged("upstream = \"web\"", text).1.expect("it is written").1;
    let web = "upstream web { server 127.0.0.1:8080 down; server 127.0.0.1:8082 down; server 127.0.0.1:8081; server 127.0.0.1:8083; }\n";
    let api = "upstream api { server 127.0.0.1:8081; }\n";
    let passes = "server { location / { proxy_pass http://web; } location /api { proxy_pass http://api; } }";
    let said = ["upstream api (line 2), which nginx.upstreams does not name,"];
    assert_eq!(exceptions(&format!("{web}{api}{passes}")), said);
    // Where the passes are in another file, any of them may be passed to.
    assert_eq!(exceptions(&format!("{web}{api}")), said);
    for text in [
        format!("{web}{api}server {{ location / {{ proxy_pass http://web; }} }}"),
        format!(
            "{web}upstream web_green {{ server 127.0.0.1:8081; }}\nserver {{ location / {{ proxy_pass http://web; }} location /g {{ proxy_pass http://web_green; }} }}"
        ),
        format!("{web}upstream api {{ server 127.0.0.1:8080; }}\n{passes}"),
        format!("{web}upstream api {{ server 127.0.0.1:8081 down; server 10.0.0.9; }}\n{passes}"),
    ] {
        assert_eq!(exceptions(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_layout_that_nobody_named_is_found_out() {
    let sides = |section: &str, side: &str, default: &str| -> Vec<String> {
        let line = section.split(&format!("[{side}]\nservers = [")).nth(1).and_then(|rest| rest.split_once(']'));
        let list = line.map_or(default, |(list, _)| list);
        list.split(", ").map(|server| server.trim_matches('"').to_owned()).collect()
    };
    for layout in layouts() {
        let servers = Each {
            blue: sides(layout.config, "blue", "127.0.0.1:8080"),
            green: sides(layout.config, "green", "127.0.0.1:8081"),
        };
        let in_nginx = layout.config.split("\n[").next().expect("the table of nginx");
        let mut wanted: Vec<&str> =
            in_nginx.lines().filter(|line| line.contains(" = ") && !line.starts_with("file = ")).collect();
        if in_nginx.contains("\"variable\"") && !in_nginx.contains("variable = ") {
            let is_url = layout.name.starts_with("A URL");
            wanted.push(if is_url { "variable = \"service_url\"" } else { "variable = \"active\"" });
        }
        let said = found(FILE, false, layout.file, &[], &servers);
        assert_eq!(said, wanted, "{}", layout.name);
        assert_eq!(found(FILE, false, &layout.after, &[], &servers), wanted, "{}, with blue serving", layout.name);
        // In another file than the config names it is found all the same, and the file is said.
        let elsewhere = [ConfigFile { path: "/etc/nginx/conf.d/x.conf".into(), text: layout.file.into() }];
        let clues = Clues { named: FILE, behind: FILE, is_link: false, loaded: &elsewhere, beside: &[] };
        let lines = find(clues, &servers).map(|found| found.lines).unwrap_or_default();
        assert_eq!(lines[0], "file = \"/etc/nginx/conf.d/x.conf\"", "{}", layout.name);
    }
    let servers = Each { blue: vec!["127.0.0.1:8080".to_owned()], green: vec!["127.0.0.1:8081".to_owned()] };
    let (blue, green) = ("upstream u { server 127.0.0.1:8080; }\n", "upstream u { server 127.0.0.1:8081; }\n");
    let of_sides = |switch: &str| {
        [&format!("switch = \"{switch}\""), "blue = \"/etc/nginx/s/blue.conf\"", "green = \"/etc/nginx/s/green.conf\""]
            .map(str::to_owned)
    };
    // Beside what serves there is one for each side, for checks.
    let three = "upstream u { server 127.0.0.1:8081; } upstream app_blue { server 127.0.0.1:8080; } \
                 upstream app_green { server 127.0.0.1:8081; }\n\
                 server { location / { proxy_pass http://u; } location /b { proxy_pass http://app_blue; } }";
    assert_eq!(found(FILE, false, three, &[], &servers), ["upstream = \"u\""]);
    // A map looks at the word, and has a default of its own.
    let chain = "upstream b { server 127.0.0.1:8080; } upstream g { server 127.0.0.1:8081; }\n\
                 map $environment $backend { default b; blue b; green g; }\nmap $host $environment { default green; }\n\
                 server { location / { proxy_pass http://$backend; } }";
    let lines = ["switch = \"variable\"", "blue = \"blue\"", "green = \"green\"", "variable = \"environment\""];
    assert_eq!(found(FILE, false, chain, &[], &servers), lines);
    // The files of the sides say a word only.
    let words = "upstream b { server 127.0.0.1:8080; }\nupstream g { server 127.0.0.1:8081; }\n";
    let sides = [("/etc/nginx/s/green.conf", "set $active g;\n"), ("/etc/nginx/s/blue.conf", "set $active b;\n")];
    let named = "/etc/nginx/active.conf";
    let file = |(path, text): (&str, &str)| ConfigFile { path: path.to_owned(), text: text.to_owned() };
    let loaded = [file(("/etc/nginx/nginx.conf", words)), file((named, sides[0].1))];
    let beside = sides.map(file);
    let clues = Clues { named, behind: sides[0].0, is_link: true, loaded: &loaded, beside: &beside };
    assert_eq!(find(clues, &servers).expect("it is found").lines, of_sides("link"));
    let beside = [("/etc/nginx/s/green.conf", green), ("/etc/nginx/s/blue.conf", blue)];
    assert_eq!(found("/etc/nginx/active.conf", true, green, &beside, &servers), of_sides("link"));
    assert_eq!(found("/etc/nginx/s/active.conf", false, green, &beside, &servers), of_sides("file"));
    assert!(found(FILE, false, "server { proxy_pass http://10.0.0.9; }", &[], &servers).is_empty());
}

#[test]
fn every_layout_is_rolled_back_and_taken_back_to_the_byte_and_nobody_notices() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", &format!("{TWO_PORTS}\nsystemctl restart listings-blue"));
    let layouts = layouts();
    assert!(layouts.len() >= 6, "the page has them");
    for layout in layouts {
        // Before the config says which one it is, `check` does, in the config's own words; that it knows all of them is shown
        // by their texts.
        if layout.name.contains("map") {
            let keys = ["upstream", "upstreams", "switch", "blue", "green", "variable"];
            let is_said = |line: &&str| line.split_once(" = ").is_none_or(|(key, _)| !keys.contains(&key));
            let unsaid = layout.config.lines().filter(is_said).collect::<Vec<_>>().join("\n");
            lab.config_with(|text| with_tables(text, &unsaid));
            back_to_green(&lab, "web1", layout.file);
            let check = site::run(&lab, &["check"]);
            check
                .exits(1)
                .says("hint: add to [nginx]:\n    ")
                .says("the config does not say in which way")
                .never_says("is not known");
            rollback(&lab, &[]).exits(2).says("missing key nginx.upstream");
        }
        lab.config_with(|text| with_tables(text, layout.config));
        back_to_green(&lab, "web1", layout.file);
        let weighs = !layout.config.contains("switch = ");
        shares_are(&lab, (!weighs).then_some("one word says who serves here, and a word knows no shares"));
        let load = lab.load("web1", "/");
        let scene = rollback(&lab, &[]);
        scene.exits(0).says("production: traffic on blue on 1 of 1 host; green stopped");
        scene.holds(
            site::read(&lab, "web1", FILE) == layout.after,
            &format!("{}: one word of the file changes", layout.name),
        );
        scene.holds(served_by(&lab, "web1") == "blue" && unit(&lab, "web1", "listings-green") != "active", layout.name);
        let undo = site::run(&lab, &["undo"]);
        let counts = load.stop();
        undo.exits(0);
        undo.holds(site::read(&lab, "web1", FILE) == layout.file, &format!("{}: the file is the old one", layout.name));
        undo.holds(served_by(&lab, "web1") == "green", layout.name);
        nobody_noticed(&counts, &scene);
    }
}

/// Whether a layout knows shares: a gradual switch is refused with why not, and all at once is always a way.
#[track_caller]
fn shares_are(lab: &Lab, refused: Option<&str>) {
    let switch =
        |steps: &str| site::run(lab, &["switch", "--to", "blue", "--steps", steps, "--hold", "0s", "--dry-run"]);
    match refused {
        Some(why) => switch("10,100").exits(1).says(why).says("all at once: --steps 100"),
        None => switch("10,100").exits(0).says("give blue 10 % and prove it"),
    };
    switch("100").exits(0);
}

/// A name server that knows one name, until it is killed; its pid.
const NAMES: &str = r#"
cat >/tmp/names.py <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53))
while 1:
    q, peer = s.recvfrom(512)
    end = q.index(b'\0', 12) + 5
    is_a = q[end - 4:end - 2] == b'\0\1'
    answer = b'\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1' if is_a else b''
    s.sendto(q[:2] + b'\x81\x80\0\1\0' + bytes([is_a]) + b'\0\0\0\0' + q[12:end] + answer, peer)
PY
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
python3 /tmp/names.py >/dev/null 2>&1 & echo $! >/tmp/names.pid
for n in $(seq 100); do getent hosts green.shop.internal && break; sleep 0.02; done"#;

#[test]
fn a_name_that_may_go_with_green_is_said_beforehand() {
    let lab = Lab::up(&["web1"]);
    let with_name =
        |text: String| text.replace("servers = [\"127.0.0.1:8081\"]", "servers = [\"green.shop.internal:8081\"]");
    lab.config_with(with_name);
    lab.sh("web1", NAMES);
    let file = site::read(&lab, "web1", FILE).replace("127.0.0.1:8081", "green.shop.internal:8081");
    back_to_green(&lab, "web1", &file);
    let note = "green's server green.shop.internal:8081 stays in nginx's files and is a name that is not in /etc/hosts";
    rollback(&lab, &["--dry-run"]).exits(0).says(note);
    lab.sh("web1", "echo '127.0.0.1 other green.shop.internal' >>/etc/hosts");
    rollback(&lab, &["--dry-run"]).exits(0).never_says(note);
    lab.sh("web1", "sed -i /green.shop.internal/d /etc/hosts");
    rollback(&lab, &[]).exits(0).says(note);
    // And so it is.
    lab.sh("web1", "nginx -t && kill $(cat /tmp/names.pid)");
    let said = lab.exec("web1", &["nginx", "-t"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("host not found in upstream \"green.shop.internal:8081\""), "{said}");
}

#[test]
fn a_file_that_is_included_says_the_word() {
    let lab = Lab::up(&["web1"]);
    let layout =
        layouts().into_iter().find(|layout| layout.name == "A variable that `set` gives").expect("on the page");
    let (set, included) = ("set $active shop_green;", "/etc/nginx/active.conf");
    assert!(layout.file.contains(set));
    lab.config_with(|text| with_tables(text, layout.config).replace(FILE, included));
    site::write(&lab, "web1", included, &format!("{set}\n"));
    back_to_green(&lab, "web1", &layout.file.replace(set, &format!("include {included};")));
    let load = lab.load("web1", "/");
    let scene = rollback(&lab, &[]);
    scene.exits(0).holds(site::read(&lab, "web1", included) == "set $active shop_blue;\n", "the word is blue's");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
    let undo = site::run(&lab, &["undo"]);
    nobody_noticed(&load.stop(), &scene);
    undo.exits(0).holds(site::read(&lab, "web1", included) == format!("{set}\n"), "and green's again");
}

#[test]
fn a_file_with_any_bytes_is_put_back_to_the_byte() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    // Latin-1, what shells use inside themselves, and what moves a terminal; none of it a word of nginx.
    lab.sh(
        "web1",
        r#"printf '# caf\351 \201\210\377 \001\177\033[2J\nlog_format odd "\033[1m\302$status\001";\n' >/tmp/odd
           cat /etc/nginx/sites-available/listings >>/tmp/odd
           # As long as such a file may become: nothing in a shell may take the square of it.
           seq 30000 | sed 's/^/# an address that is let in: /' >>/tmp/odd
           cp /tmp/odd /etc/nginx/sites-available/listings
           nginx -t && systemctl reload nginx"#,
    );
    let scene = rollback(&lab, &[]);
    scene.exits(0);
    let expected = "sed -e 's/server 127.0.0.1:8080 down/server 127.0.0.1:8080 weight=100 max_fails=0/' \
                    -e 's/8081 weight=100/8081 down/' -e 's/Blue-Weight 0/Blue-Weight 100/' -e 's/Green-Weight 100/Green-Weight 0/' \
                    /tmp/odd | cmp - /etc/nginx/sites-available/listings";
    lab.sh("web1", expected);
    scene.never_says("\u{1b}[2J");
    let kept = site::incidents(&lab).pop().expect("an incident").join("web1.nginx.before.conf");
    let kept = std::fs::read(kept).expect("what was there is kept");
    scene.holds(kept.starts_with(b"# caf\xe9 \x81\x88\xff \x01\x7f\x1b[2J\n"), "byte for byte");
    site::run(&lab, &["undo"]).exits(0);
    lab.sh("web1", "cmp /tmp/odd /etc/nginx/sites-available/listings");
}

/// The rollback and the way back, under load; `says` is what decides in a host's file.
#[track_caller]
fn there_and_back(lab: &Lab, says: &str, (green, blue): (&str, &str)) {
    lab.sh("web1", "nginx -t && systemctl reload nginx");
    assert_eq!(lab.sh("web1", says), green);
    until("green serves", || served_by(lab, "web1") == "green");
    let load = lab.load("web1", "/");
    let scene = rollback(lab, &[]);
    scene.exits(0);
    scene.holds(lab.sh("web1", says) == blue, "the file says blue");
    scene.holds(served_by(lab, "web1") == "blue" && leftovers(lab, "web1").is_empty(), &leftovers(lab, "web1"));
    let undo = site::run(lab, &["undo"]);
    let counts = load.stop();
    undo.exits(0);
    undo.holds(lab.sh("web1", says) == green, "the file says green again");
    undo.holds(served_by(lab, "web1") == "green" && leftovers(lab, "web1").is_empty(), &leftovers(lab, "web1"));
    nobody_noticed(&counts, &scene);
}

/// Says when the second file is to take its place, and gives whoever strikes half a second for it.
const SLOW_MV: &str =
    "#!/bin/sh\ncase \"$*\" in *conf.d/web.conf) touch /run/second-mv; sleep 0.5 ;; esac\nexec /bin/mv \"$@\"\n";

/// Two upstreams in two files: both change, or none does.
#[test]
fn upstreams_in_several_files_are_one_change() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", &format!("{TWO_PORTS}\nsystemctl restart listings-blue listings-green"));
    let (api, web) = ("/etc/nginx/conf.d/api.conf", "/etc/nginx/conf.d/web.conf");
    let both = |api_servers: &str, web_servers: &str| {
        let site = format!(
            "server {{ listen 80; server_name {}; location /health {{ proxy_pass http://api; }} location / {{ proxy_pass http://web; }} }}",
            support::lab::SITE
        );
        (format!("upstream api {{ {api_servers} }}\n"), format!("upstream web {{ {web_servers} }}\n{site}"))
    };
    let green = both("server 127.0.0.1:8081;", "server 127.0.0.1:8082 down; server 127.0.0.1:8083 weight=100;");
    let blue =
        both("server 127.0.0.1:8080;", "server 127.0.0.1:8082 weight=100 max_fails=0; server 127.0.0.1:8083 down;");
    let config = |more: &str| {
        lab.config_with(|text| {
            let text = text.replace(&format!("file = \"{FILE}\"\n"), "");
            let servers = "[blue]\nservers = [\"127.0.0.1:8080\", \"127.0.0.1:8082\"]\n\
                           [green]\nservers = [\"127.0.0.1:8081\", \"127.0.0.1:8083\"]\n";
            let files = "[nginx]\nfiles = [\"/etc/nginx/conf.d/api.conf\", \"/etc/nginx/conf.d/web.conf\"]\nupstreams = [\"api\", \"web\"]\n";
            with_tables(text, &format!("{files}{more}{servers}"))
        });
    };
    config("");
    let write = |(of_api, of_web): &(String, String)| {
        site::write(&lab, "web1", api, of_api);
        site::write(&lab, "web1", web, of_web);
        lab.sh("web1", "rm -f /etc/nginx/sites-enabled/listings; systemctl start listings-green; nginx -t 2>&1 && systemctl reload nginx");
        until("green serves", || served_by(&lab, "web1") == "green");
    };
    let now = || (site::read(&lab, "web1", api), site::read(&lab, "web1", web));
    write(&green);
    let load = lab.load("web1", "/");
    let scene = rollback(&lab, &[]);
    scene.exits(0).says("/etc/nginx/conf.d/api.conf, /etc/nginx/conf.d/web.conf").says("candidate accepted");
    scene.holds(now() == blue && served_by(&lab, "web1") == "blue", "both files say blue");
    let undo = site::run(&lab, &["undo"]);
    undo.exits(0).holds(now() == green && served_by(&lab, "web1") == "green", "both are as they were");
    nobody_noticed(&load.stop(), &scene);
    undo.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));

    // Struck when one of them has taken its place and the other has not.
    site::install(&lab, "web1", "/usr/local/bin/mv", SLOW_MV);
    for strike in STRIKES {
        write(&green);
        lab.sh("web1", "rm -f /run/second-mv");
        let users = users_inside(&lab, "web1");
        let second = site::struck(&lab, "several files", strike, "/run/second-mv");
        second.holds(now() == blue && served_by(&lab, "web1") == "blue", strike.0);
        second.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));
        users_lost_nothing(&lab, "web1", users, strike.0);
    }
    lab.sh("web1", "rm /usr/local/bin/mv");
    write(&green);

    // A reload that lies: both go back.
    site::install(&lab, "web1", "/usr/local/bin/reload-nginx", LYING_RELOAD);
    config("reload = \"/usr/local/bin/reload-nginx\"\n");
    let scene = rollback(&lab, &[]);
    scene.exits(3).holds(now() == green && leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));
    config("");
    // A line that is wrong is named by its own file, and one of them that nginx does not read by its name.
    site::write(&lab, "web1", web, &green.1.replace("server 127.0.0.1:8082 down;", "\n\nserver 10.0.0.9;"));
    lab.sh("web1", "nginx -t && systemctl reload nginx");
    rollback(&lab, &[]).exits(1).says("/etc/nginx/conf.d/web.conf: line 3: server 10.0.0.9 is neither blue nor green");
    write(&green);
    lab.sh("web1", "mv /etc/nginx/conf.d/web.conf /etc/nginx/sites-enabled/web; cp /etc/nginx/sites-enabled/web /etc/nginx/conf.d/web.conf
        sed -i 's,include /etc/nginx/conf.d/.*,include /etc/nginx/conf.d/api.conf;,' /etc/nginx/nginx.conf; nginx -t && systemctl reload nginx");
    let scene = rollback(&lab, &[]);
    scene.exits(1).says("nginx does not read /etc/nginx/conf.d/web.conf");
    scene.holds(now() == green, "nothing was changed");
}

#[test]
fn a_link_is_turned_and_turned_back_and_nobody_notices() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| with_tables(text, config_of("A link that is turned")));
    lab.sh("web1", SIDE_FILES);
    lab.sh("web1", "ln -s ../sites-available/shop-green.conf /etc/nginx/sites-enabled/listings");
    let says = "readlink /etc/nginx/sites-enabled/listings";
    let green = "../sites-available/shop-green.conf";
    there_and_back(&lab, says, (green, "/etc/nginx/sites-available/shop-blue.conf"));
    shares_are(&lab, Some("a link points at one side's file, and knows no shares"));
    // Taken for a file like others, it is said what would change.
    lab.config_with(|text| text.replace(FILE, "/etc/nginx/sites-enabled/listings"));
    rollback(&lab, &["--dry-run"])
        .says("/etc/nginx/sites-enabled/listings is a link, and /etc/nginx/sites-available/shop-green.conf");
    lab.config_with(|text| with_tables(text, config_of("A link that is turned")));
    // A file of blue's that sends to green is none.
    lab.sh("web1", "cp /etc/nginx/sites-available/shop-green.conf /etc/nginx/sites-available/shop-blue.conf");
    rollback(&lab, &[]).exits(1).says("blue's file /etc/nginx/sites-available/shop-blue.conf sends to green");
    lab.sh("web1", "ln -sfn ../sites-available/listings /etc/nginx/sites-enabled/listings");
    rollback(&lab, &[]).exits(1).says("points at \"../sites-available/listings\", which is neither blue's file");
    lab.sh("web1", "rm /etc/nginx/sites-enabled/listings; cp /etc/nginx/sites-available/shop-green.conf /etc/nginx/sites-enabled/listings");
    rollback(&lab, &[]).exits(1).says("/etc/nginx/sites-enabled/listings is no link");
}

#[test]
fn a_file_that_is_a_copy_becomes_the_other_and_nobody_notices() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| with_tables(text, config_of("A file that is a copy")));
    lab.sh("web1", SIDE_FILES);
    lab.sh("web1", "cp /etc/nginx/sites-available/shop-green.conf /etc/nginx/conf.d/active.conf");
    let says = "for c in blue green; do cmp -s /etc/nginx/conf.d/active.conf /etc/nginx/sites-available/shop-$c.conf && echo $c; done; true";
    there_and_back(&lab, says, ("green", "blue"));
    shares_are(&lab, Some("one side's file stands here, and knows no shares"));
    // Somebody changed the copy since: it is still known by its servers, and put back as it was.
    lab.sh("web1", "echo '# by hand' >>/etc/nginx/conf.d/active.conf");
    rollback(&lab, &[]).exits(0);
    assert_eq!(lab.sh("web1", says), "blue");
    site::run(&lab, &["undo"]).exits(0);
    assert_eq!(lab.sh("web1", "tail -n 1 /etc/nginx/conf.d/active.conf"), "# by hand");
    lab.sh("web1", "rm /etc/nginx/sites-available/shop-blue.conf");
    rollback(&lab, &[]).exits(1).says("what /etc/nginx/sites-available/shop-blue.conf says is not known");
}

/// A site as others have it: what of the lab's own is replaced, of the config and of the file.
struct Habit {
    name: &'static str,
    config: &'static [(&'static str, &'static str)],
    file: &'static [(&'static str, &'static str)],
    /// What the run says of it.
    says: &'static str,
}

const HABITS: &[Habit] = &[
    Habit {
        name: "the PROXY protocol in front",
        config: &[("probe = \"http://127.0.0.1/\"", "probe = \"http://127.0.0.1:8088/\"\nproxy_protocol = true")],
        file: &[("listen 80 default_server;", "listen 80 default_server;\n    listen 127.0.0.1:8088 proxy_protocol;")],
        says: "the probe answers 200",
    },
    Habit {
        name: "a probe that the application does not know, and answers all the same",
        config: &[("probe = \"http://127.0.0.1/\"", "probe = \"http://127.0.0.1/no-such-page\"")],
        file: &[],
        says: "the probe answers 404",
    },
    Habit {
        name: "a log in JSON, and no connection that is kept",
        config: &[],
        file: &[
            ("    keepalive 16;\n", ""),
            (
                "upstream listings",
                "log_format json escape=json '{\"at\":\"$time_iso8601\",\"status\": \"$status\",\"to\":\"$upstream_addr\"}';\nupstream listings",
            ),
            ("access.log combined", "access.log json"),
        ],
        says: "server errors 0.0 % of ",
    },
    Habit {
        name: "no log of requests at all",
        config: &[],
        file: &[("access_log /var/log/nginx/access.log combined;", "access_log off;")],
        // Those of before lie there still.
        says: "no access log of nginx that can be read there has a request since the switch",
    },
    Habit {
        name: "servers without a weight, which a deploy looks for",
        config: &[],
        file: &[("server 127.0.0.1:8081 weight=100;", "server 127.0.0.1:8081;")],
        says: "a deploy that looks for `server 127.0.0.1:8081;` will not find it any more",
    },
    Habit {
        name: "a probe that wants a password of whoever asks",
        config: &[("probe = \"http://127.0.0.1/\"", "probe = \"http://127.0.0.1/private\"")],
        file: &[],
        says: "the probe answers 401",
    },
    Habit {
        name: "a probe that leads elsewhere",
        config: &[("probe = \"http://127.0.0.1/\"", "probe = \"http://127.0.0.1/old\"")],
        file: &[],
        says: "the probe answers 301",
    },
];

#[test]
fn a_site_may_listen_and_log_as_its_owner_likes() {
    let lab = Lab::up(&["web1"]);
    let original = site::read(&lab, "web1", FILE);
    for habit in HABITS {
        let edited = |text: &str, edits: &[(&str, &str)]| {
            edits.iter().fold(text.to_owned(), |text, (this, that)| {
                assert!(text.contains(this), "{}: {this}", habit.name);
                text.replace(this, that)
            })
        };
        lab.config_with(|text| edited(&text, habit.config));
        let file = edited(&original, habit.file);
        back_to_green(&lab, "web1", &file);
        let load = lab.load("web1", "/");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let scene = rollback(&lab, &[]);
        let counts = load.stop();
        scene.exits(0).says(habit.says).never_says("look alike");
        nobody_noticed(&counts, &scene);
        site::run(&lab, &["undo"]).exits(0);
        scene.holds(site::read(&lab, "web1", FILE) == file, habit.name);
    }
}

/// Sites that nobody reaches otherwise: what listens, the probe, and what users ask.
const PLACES: &[(&str, &str)] = &[
    (
        "listen 443 ssl;\n    ssl_certificate /etc/nginx/site.crt;\n    ssl_certificate_key /etc/nginx/site.key;",
        "https://127.0.0.1/",
    ),
    ("listen [::]:80 ipv6only=on;", "http://[::1]/"),
];

#[test]
fn a_site_may_listen_for_tls_alone_or_for_ipv6_alone() {
    let lab = Lab::up(&["web1"]);
    lab.sh(
        "web1",
        "rm -f /etc/nginx/sites-enabled/default
         openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=listings.example.com \
           -addext subjectAltName=DNS:listings.example.com -keyout /etc/nginx/site.key -out /etc/nginx/site.crt 2>&1",
    );
    let original = site::read(&lab, "web1", FILE);
    for (listens, probe) in PLACES {
        lab.config_with(|text| text.replace("probe = \"http://127.0.0.1/\"", &format!("probe = \"{probe}\"")));
        let file = original.replace("listen 80 default_server;", listens);
        let asks = format!("curl -sk -g -m 5 -H 'Host: {}' {probe}", support::lab::SITE);
        site::write(&lab, "web1", FILE, &file);
        lab.sh("web1", "systemctl start listings-blue listings-green; nginx -t 2>&1 && systemctl restart nginx");
        until("green serves", || lab.sh("web1", &format!("{asks} || true")) == "green");
        lab.sh("web1", &format!(
            "rm -f /run/over; (until [ -e /run/over ]; do {asks} -o /dev/null -w '%{{http_code}}\\n'; sleep 0.02; done; touch /run/ended) >/run/saw 2>&1 &"
        ));
        let scene = rollback(&lab, &[]);
        scene.exits(0).says("the probe answers 200").never_says("look alike");
        scene.holds(lab.sh("web1", &asks) == "blue", probe);
        let saw = lab.sh(
            "web1",
            "touch /run/over; until [ -e /run/ended ]; do sleep 0.05; done; rm /run/ended; sort /run/saw | uniq -c",
        );
        scene.holds(saw.ends_with(" 200") && saw.lines().count() == 1, &saw);
        site::run(&lab, &["undo"]).exits(0);
        scene.holds(site::read(&lab, "web1", FILE) == file && lab.sh("web1", &asks) == "green", probe);
    }
}

/// What one word decides, and an application that is asked over HTTP/2, on hosts that are no balancers.
#[test]
fn layouts_serve_an_application_on_other_hosts_too() {
    let lab = Lab::up(&["lb1", "lb2", "app1"]);
    let app = lab.ip("app1");
    lab.sh("app1", "systemctl disable --now nginx");
    for lb in ["lb1", "lb2"] {
        lab.sh(
            lb,
            "systemctl disable --now listings-blue listings-green
             openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=listings.example.com \
               -addext subjectAltName=DNS:listings.example.com -keyout /etc/nginx/site.key -out /etc/nginx/site.crt 2>&1",
        );
    }
    let over_http2 = "listen 80;\n    listen 443 ssl http2;\n    ssl_certificate /etc/nginx/site.crt;\n    \
                      ssl_certificate_key /etc/nginx/site.key;";
    let there = |text: &str| text.replace("127.0.0.1:", &format!("{app}:"));
    let words = ["One server that", "A variable that `set`", "What `proxy_pass`"];
    let mut played = 0;
    for layout in layouts().iter().filter(|layout| words.iter().any(|word| layout.name.starts_with(word))) {
        let file = there(layout.file).replace("listen 80;", over_http2);
        let after = there(&layout.after).replace("listen 80;", over_http2);
        assert!(file.contains("http2"), "{}", layout.name);
        lab.config_with(|text| {
            let text = with_tables(text, layout.config).replace("probe = \"http://", "probe = \"https://");
            let text = text
                .replace("servers = [\"127.0.0.1:", &format!("servers = [\"{app}:"))
                .replace("ssh = \"app1\"\n", "ssh = \"app1\"\nroles = [\"app\"]\n");
            ["lb1", "lb2"].iter().fold(text, |text, lb| {
                let line = format!("ssh = \"{lb}\"\n");
                text.replace(&line, &format!("{line}roles = [\"balancer\"]\n"))
            })
        });
        for lb in ["lb1", "lb2"] {
            site::write(&lab, lb, FILE, &file);
            lab.sh(lb, "nginx -t 2>&1 && systemctl reload nginx");
            until("green serves", || served_by(&lab, lb) == "green");
        }
        // The users of one speak HTTP/2, each on a connection of its own: who sends on one that a reload closes at that moment
        // must send again, whatever is reloaded and by whom.
        lab.sh(
            "lb2",
            "rm -f /tmp/h2-over; (until [ -e /tmp/h2-over ]; do
               curl -sk --http2 --resolve listings.example.com:443:127.0.0.1 -o /dev/null -w '%{http_code} %{http_version}\n' \
                 https://listings.example.com/
               sleep 0.02
             done; touch /tmp/h2-ended) >/tmp/h2-users 2>&1 &",
        );
        let load = lab.load("lb1", "/");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let scene = rollback(&lab, &[]);
        let counts = load.stop();
        let users = lab.sh(
            "lb2",
            "touch /tmp/h2-over; until [ -e /tmp/h2-ended ]; do sleep 0.05; done; rm /tmp/h2-ended
             sort /tmp/h2-users | uniq -c",
        );
        scene
            .exits(0)
            .says("production: traffic on blue on 2 of 2 hosts")
            .says("green stopped")
            .never_says("look alike");
        nobody_noticed(&counts, &scene);
        scene.holds(users.lines().count() == 1 && users.ends_with("200 2"), &format!("{}: {users}", layout.name));
        for lb in ["lb1", "lb2"] {
            scene.holds(site::read(&lab, lb, FILE) == after && served_by(&lab, lb) == "blue", layout.name);
            scene.holds(leftovers(&lab, lb).is_empty(), &leftovers(&lab, lb));
        }
        scene.holds(unit(&lab, "app1", "listings-green") == "inactive", "green was stopped where it runs");
        let undo = site::run(&lab, &["undo"]);
        undo.exits(0);
        undo.holds(["lb1", "lb2"].iter().all(|lb| site::read(&lab, lb, FILE) == file), layout.name);
        played += 1;
    }
    assert_eq!(played, words.len(), "of each layout there is one");
}

/// A reload that takes long enough to be struck in the middle of it.
const SLOW_RELOAD: &str = "#!/bin/sh\ntouch /run/reload-began\nsleep 0.5\nexec systemctl reload nginx\n";

/// All layouts but the pair, which tests/faults.rs strikes, each struck in the middle of its switch.
#[test]
fn a_layout_that_is_struck_in_its_switch_is_one_or_the_other_and_the_next_run_finishes() {
    let files = [
        "A variable that `set`",
        "A URL that `set`",
        "A variable that a `map`",
        "What `proxy_pass`",
        "Several upstreams",
        "One server that",
        "Several servers",
    ];
    let layouts = layouts();
    let layouts: Vec<&Layout> =
        layouts.iter().filter(|layout| files.iter().any(|name| layout.name.starts_with(name))).collect();
    assert_eq!(layouts.len(), files.len(), "the page has them");
    // Every other one in the run.
    let step = if std::env::var("FAULTS").is_ok_and(|which| which == "all") { 1 } else { 2 };
    let layouts: Vec<&Layout> = layouts.into_iter().step_by(step).collect();
    std::thread::scope(|scope| {
        for some in layouts.chunks(2) {
            scope.spawn(move || {
                let lab = struck_lab(TWO_PORTS);
                lab.sh("web1", "systemctl restart listings-blue listings-green");
                for layout in some {
                    is_struck(&lab, layout.name, &|| back_to_green(&lab, "web1", layout.file), &format!("cat {FILE}"));
                }
            });
        }
        scope.spawn(|| {
            let lab = struck_lab(SIDE_FILES);
            let green = "/etc/nginx/sites-available/shop-green.conf";
            let (link, copy) = ("/etc/nginx/sites-enabled/listings", "/etc/nginx/conf.d/active.conf");
            let is_put = |how: &str| {
                lab.sh(
                    "web1",
                    &format!("{how}; systemctl start listings-green; nginx -t 2>&1 && systemctl reload nginx"),
                );
                until("green serves", || served_by(&lab, "web1") == "green");
            };
            let turned = || is_put(&format!("ln -sfn {green} {link}"));
            is_struck(&lab, "A link that is turned", &turned, &format!("readlink {link}"));
            let copied = || is_put(&format!("rm -f {link}; cp {green} {copy}"));
            is_struck(&lab, "A file that is a copy", &copied, &format!("cat {copy}"));
        });
    });
}

fn struck_lab(made: &str) -> Lab {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", made);
    lab
}

/// `says` is what decides in a host's file. `FAULTS=all cargo test --test layouts struck` strikes each layout in every way.
fn is_struck(lab: &Lab, section: &str, to_green: &dyn Fn(), says: &str) {
    site::install(lab, "web1", "/usr/local/bin/reload-nginx", SLOW_RELOAD);
    lab.config_with(|text| {
        with_tables(text, config_of(section))
            .replace("sudo = true", "sudo = true\nreload = \"/usr/local/bin/reload-nginx\"")
    });
    let green = || {
        to_green();
        lab.sh("web1", "rm -f /run/reload-began");
        lab.sh("web1", says)
    };
    // Each layout gets one of them, and all of them together each of them; the fault table plays them all on one layout.
    let is_whole = std::env::var("FAULTS").is_ok_and(|which| which == "all");
    let turn = section.bytes().map(usize::from).sum::<usize>() % STRIKES.len();
    let played = STRIKES.iter().enumerate().filter(|(place, _)| is_whole || *place == turn);
    for (_, strike) in played {
        let before = green();
        // Whom no cut of the line reaches.
        let users = users_inside(lab, "web1");
        let second = site::struck(lab, section, strike, "/run/reload-began");
        second.holds(lab.sh("web1", says) != before, section);
        second.holds(served_by(lab, "web1") == "blue" && leftovers(lab, "web1").is_empty(), &leftovers(lab, "web1"));
        users_lost_nothing(lab, "web1", users, &format!("{section}: {}", strike.0));
    }
    // A reload that lies is seen, and what was written is taken back.
    let before = green();
    site::install(lab, "web1", "/usr/local/bin/reload-nginx", LYING_RELOAD);
    let scene = rollback(lab, &[]);
    scene.exits(3).says("nginx started no new workers");
    scene.holds(lab.sh("web1", says) == before && served_by(lab, "web1") == "green", section);
    scene.holds(leftovers(lab, "web1").is_empty(), &leftovers(lab, "web1"));
}

/// Connections are passed on whole, so nginx sees no request, no header and no answer; and an upstream of the same name serves
/// somebody else's site.
#[test]
fn a_stream_is_switched_as_a_site_is_and_nobody_notices() {
    let lab = Lab::up(&["web1"]);
    let file = "/etc/nginx/stream.d/shop.conf";
    let stream = |blue: &str, green: &str| {
        format!(
            "upstream listings_backend {{\n    server 127.0.0.1:8080{blue};\n    server 127.0.0.1:8081{green};\n}}\n\
             server {{ listen 80; proxy_pass listings_backend; }}\n"
        )
    };
    let (green, blue) = (stream(" down", " weight=100"), stream(" weight=100 max_fails=0", " down"));
    lab.sh(
        "web1",
        "rm /etc/nginx/sites-enabled/*; mkdir /etc/nginx/stream.d
         echo 'stream { include /etc/nginx/stream.d/*.conf; }' >>/etc/nginx/nginx.conf
         echo 'upstream listings_backend { server 10.0.0.1; } server { listen 8099; location / { proxy_pass http://listings_backend; } }' \
           >/etc/nginx/conf.d/another.conf",
    );
    site::write(&lab, "web1", file, &green);
    let config = |more: &str| {
        let tables = format!("[nginx]\nfile = \"{file}\"\nupstream = \"listings_backend\"\n{more}");
        lab.config_with(|text| with_tables(text, &tables));
    };
    config("context = \"stream\"\n");
    there_and_back(&lab, &format!("cat {file}"), (green.trim_end(), blue.trim_end()));
}

#[test]
fn a_link_to_what_nginx_refuses_is_not_turned() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", SIDE_FILES);
    let enabled = "/etc/nginx/sites-enabled/listings";
    let shop = |side: &str| format!("/etc/nginx/sites-available/shop-{side}.conf");
    // What nginx refuses is refused before anything is changed.
    lab.config_with(|text| with_tables(text, config_of("A link that is turned")));
    lab.sh("web1", &format!("ln -sfn {} {enabled}; echo 'no_such_directive on;' >>{}", shop("green"), shop("blue")));
    let scene = rollback(&lab, &[]);
    scene.exits(1).says("nginx refuses the new file").says("no_such_directive");
    scene.holds(lab.sh("web1", &format!("readlink {enabled}")) == shop("green"), "the link is as it was");
}
