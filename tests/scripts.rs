//! The scripts that run on hosts, as they are sent: every shell that a host may have must read them, no argument may
//! ever be code, and a program that is cut on its way must not run at all. On this machine's own shells.

#[path = "support/config.rs"]
mod config;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use config::inventory_of;
use logs::counts::Place;
use logs::form::Escape;
use proptest::prelude::*;
use rollback_prod::database::programs;
use rollback_prod::database::verdict::Format;
use rollback_prod::discover::question as discover;
use rollback_prod::hosts::answer::{Frame, sections};
use rollback_prod::hosts::program::{Change, LIB, NGINX, Nonce, Program, Question, Taken, Tenure, shell_text, takes};
use rollback_prod::hosts::{job, question};
use rollback_prod::incident::capture;
use rollback_prod::nginx::AccessLog;
use rollback_prod::nouns::change::{ChangePlace, FilePut, Manner, NamedChange, Put, PutBack};
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::earlier::{ComposeService, Kept};
use rollback_prod::nouns::inventory::{App, Inventory, Layout, Nginx};
use rollback_prod::nouns::joined::NEXT;
use rollback_prod::nouns::names::{ChangeName, IncidentId, RemotePath, UnitName};
use rollback_prod::nouns::plan::{FileChange, Mark, Mounted, Proof, StandsIn, TablesWish, TakesOver, Target};
use rollback_prod::nouns::record::{Merge, MergedTable, Swap};
use rollback_prod::nouns::rules::LogRule;
use rollback_prod::nouns::side::Direction;
use rollback_prod::steps::change::{self, WorkOnHost};
use rollback_prod::steps::measure::{self, Counting};
use rollback_prod::steps::{arm, drain, earlier, lock, remember, scripts, start, stop, switch, verify};

/// Every shell that is /bin/sh somewhere.
const SHELLS: &[&[&str]] = &[&["dash"], &["bash", "--posix"], &["busybox", "ash"]];

/// What a host's login shell is given before the program; see `bootstrap` in remote/ssh.rs, which the tests of
/// tests/ssh.rs run for real.
fn bootstrap(seal: &Nonce) -> String {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/hosts/ssh.rs")).expect("our source");
    // Taken from the source, so that what is tested here is what is sent: the text between `exec /bin/sh -c '` and `'`.
    let from = source.find("exec /bin/sh -c 'while").expect("the bootstrap stands in remote/ssh.rs")
        + "exec /bin/sh -c '".len();
    let literal: String = source[from..].chars().take_while(|c| *c != '\'').collect();
    // Undo what a Rust string literal and `format!` do to it.
    let mut text = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('\n')) => {
                while chars.peek().is_some_and(|c| c.is_whitespace()) {
                    chars.next();
                }
            }
            ('\\', Some(_)) => text.extend(chars.next()),
            ('{', Some('{')) | ('}', Some('}')) => text.extend(chars.next()),
            (c, _) => text.push(c),
        }
    }
    let text = text.replace("{seal}", seal.as_str());
    assert!(text.contains(seal.as_str()) && text.contains("eval \"$p\""), "the bootstrap was understood: {text}");
    text
}

/// A program as `bootstrap` takes it: how long, and then the program with the word that nobody can guess.
fn sealed(text: &str, seal: &Nonce) -> String {
    let text = format!("{text}#end-{seal}");
    format!("{}\n{text}", text.len())
}

fn run(words: &[&str], more: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .args(more)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error} (hint: scripts/lab install)", words[0]));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A shell that does not want it all has its reasons.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("wait for the shell");
    writer.join().expect("the writer does not panic");
    output
}

/// Values by their names, as a script is given them.
type Given = Vec<(&'static str, String)>;

fn program(parts: &'static [&'static str], arguments: Given) -> Program {
    Program { name: "test", parts, arguments, cargo: Default::default(), limit: Duration::from_secs(10) }
}

/// Names and contents, in order.
type Sections = Vec<(String, Vec<u8>)>;

/// Sends a program as it is sent over a line, and takes its answer apart: status, sections, noise.
fn send(shell: &[&str], program: &Program) -> (Option<i32>, Sections, String) {
    let nonce = Nonce::new();
    let text = sealed(&shell_text(program, &nonce), &nonce);
    let output = run(shell, &["-c", &bootstrap(&nonce)], text.as_bytes());
    let mut frame = Frame::new(&nonce);
    let mut content = Vec::new();
    frame
        .push(&output.stdout, &mut |bytes| {
            content.extend_from_slice(bytes);
            Ok(())
        })
        .expect("a vector takes everything");
    let noise = format!("{}{}", frame.noise(), String::from_utf8_lossy(&output.stderr));
    (frame.status(), sections(&content, &nonce), noise)
}

#[test]
fn who_failed_is_counted_by_distinct_addresses_and_only_where_each_line_tells_one() {
    let folder = Folder::new("access");
    let config = r#"service = "listings"
[[host]]
name = "web1"
ssh = "web1"
[nginx]
file = "/etc/nginx/sites-available/listings"
upstream = "listings_backend"
probe = "http://127.0.0.1/"
[blue]
servers = ["127.0.0.1:8080"]
health = ["http://127.0.0.1:8080/health"]
run.systemd = "listings-blue.service"
[green]
servers = ["127.0.0.1:8081"]
health = ["http://127.0.0.1:8081/health"]
run.systemd = "listings-green.service"
"#;
    let inventory = inventory_of(Path::new("rollback.toml"), config.to_owned());
    let line = |from: &str, status: u16| format!("{from} - - [x] \"GET / HTTP/1.1\" {status} 12 \"-\" \"curl\"\n");
    let json = |from: &str| format!("{{\"remote_addr\":\"{from}\",\"status\":502,\"agent\":\"c\"}}\n");
    let many: String = (0..10_050).map(|n| line(&format!("10.1.{}.{}", n / 250, n % 250), 503)).collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later").as_secs();
    let own =
        |at: u64, from: &str, status: u16| format!("{at}.417|{from}|{status}|127.0.0.1:8081|{status}|0.004|0.004\n");
    let cases: &[(&str, String, String, &str)] = &[
        // One that fails twice is one, one that is well is none.
        (
            "plain",
            [line("10.0.0.1", 500), line("10.0.0.1", 502), line("2001:db8::1", 504), line("10.0.0.9", 200)].concat(),
            line("10.0.0.1", 200),
            "before 4 3 - 2 other after 1 0 - 0 other",
        ),
        (
            "json",
            [json("10.0.0.1"), json("10.0.0.2")].concat(),
            json("::1"),
            "before 2 2 - 2 other after 1 1 - 1 other",
        ),
        // Of the format that `check` proposes; what is older than the time that counts is not counted.
        (
            "own",
            [own(now, "10.0.0.1", 502), own(now - 86_400, "10.0.0.7", 502), own(now, "2001:db8::1", 200)].concat(),
            [own(now + 1, "10.0.0.1", 500), own(now + 1, "10.0.0.2", 500)].concat(),
            &format!("before 2 1 {now}:2:1 1 own after 2 2 {}:2:2 2 own", now + 1),
        ),
        // What is no address is nobody, and then nobody knows how many.
        ("named", line("shop.example.com", 500), line("-", 500), "before 1 1 - - other after 1 1 - - other"),
        ("many", String::new(), many, "before 0 0 - 0 other after 10050 10050 - 10000+ other"),
    ];
    for (name, before, after, expected) in cases {
        let path = folder.0.join(name);
        std::fs::write(&path, format!("{before}{after}")).expect("a log");
        let log = [(path.display().to_string(), before.len() as u64)];
        for shell in SHELLS {
            let (status, sections, noise) = send(shell, verify::access(&inventory, &log).program());
            let said =
                sections.iter().find(|(name, _)| name == "access").map(|(_, text)| String::from_utf8_lossy(text));
            let said = said.unwrap_or_default();
            assert_eq!(status, Some(0), "{shell:?} {name}: {noise}");
            assert_eq!(said.trim(), format!("{} {expected}", path.display()), "{shell:?}: {noise}");
        }
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rp-scripts-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("make a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every script put together as it is sent, in files.
fn assembled(folder: &Path) -> Vec<PathBuf> {
    assert!(scripts().count() > 10, "the scripts are there");
    scripts()
        .map(|(name, parts)| {
            let path = folder.join(format!("{name}.sh"));
            let given = vec![("sudo", "no".into()), ("service", "it's a 'test'".into())];
            let text = shell_text(&program(parts, given), &Nonce::new());
            std::fs::write(&path, text).expect("write a script");
            path
        })
        .collect()
}

#[test]
fn every_script_is_read_by_every_shell() {
    let folder = Folder::new("read");
    for path in assembled(&folder.0) {
        for shell in SHELLS {
            let output = run(shell, &["-n", path.to_str().expect("UTF-8")], b"");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{shell:?} {}: {said}", path.display());
        }
    }
}

/// One that is defined again would take the other's place for everybody who calls it.
#[test]
fn every_function_of_a_script_is_defined_once() {
    for (name, parts) in scripts() {
        let framework = ["answered", "rp_main", "rp_call"].map(str::to_owned);
        let own = parts.iter().flat_map(|part| part.lines()).filter_map(|line| {
            let (function, _) = line.trim_start().split_once("() {")?;
            function.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| function.to_owned())
        });
        let mut functions: Vec<String> = framework.into_iter().chain(own).collect();
        functions.sort();
        let twice: Vec<&[String]> = functions.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{name}: {twice:?}");
    }
}

#[test]
fn every_script_pleases_shellcheck() {
    // With their comments, each as the body of a function behind the parts that it shares; those are looked at once, and then
    // stand there by their names alone.
    let mut seen: BTreeSet<&[&str]> = BTreeSet::new();
    for (name, parts) in scripts() {
        let (script, shared) = parts.split_last().expect("it has a part");
        let taken: String = parts
            .iter()
            .flat_map(|part| takes(part))
            .map(|taken| match taken {
                Taken::Word { name, .. } => format!("{name}=$1\n"),
                Taken::List { name } => format!("with_{name}() {{ \"$@\" 1 2; }}\n"),
            })
            .collect();
        let shared = if seen.insert(shared) { shared.concat() } else { by_names(&shared.concat()) };
        let text = format!(
            "#!/bin/sh\nrp_nonce=0\nanswered() {{ :; }}\n{shared}\nrp_main() {{\n{script}\n}}\n{taken}rp_main\n"
        );
        // SC2317, SC2329: not every script uses every function of lib.sh. SC2034: nor each of its variables.
        let output =
            run(&["shellcheck", "-s", "sh", "-f", "gcc", "-e", "SC2317,SC2329,SC2034", "-"], &[], text.as_bytes());
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Functions that do nothing and variables that say nothing, by the names that a shell's text gives to its own.
fn by_names(text: &str) -> String {
    let is_name = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut functions: BTreeSet<&str> = BTreeSet::new();
    let mut variables: BTreeSet<&str> = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if let Some((function, _)) = line.trim_start().split_once("() {")
            && is_name(function)
        {
            functions.insert(function);
        }
        let words = line.split([' ', '{', ';', '(', '\t']);
        variables
            .extend(words.filter_map(|word| word.split_once('=')).map(|(name, _)| name).filter(|name| is_name(name)));
        // What is read, and what is counted with.
        for read in line.split("read -r ").skip(1) {
            variables.extend(read.split([' ', ';']).take_while(|word| is_name(word)));
        }
        for loops in line.split("for ").skip(1) {
            variables.extend(loops.split(' ').next().filter(|word| is_name(word)));
        }
    }
    let functions = functions.into_iter().map(|name| format!("{name}() {{ :; }}\n"));
    let variables = variables.into_iter().map(|name| format!("{name}=$1\n"));
    functions.chain(variables).collect()
}

const ECHO: &[&str] = &[
    "section() { printf '\\n%s %s\\n' \"$rp_nonce\" \"$1\"; }\n",
    "# Takes: word list... unset=as-it-was none...\n\
     show() { for a in \"$@\"; do section arg; printf '%s' \"$a\"; done; }\n\
     with_list show; with_none show\nsection word; printf '%s' \"$word\"\nsection unset; printf '%s' \"$unset\"\nreturn 7\n",
];

#[track_caller]
fn arrive(shell: &[&str], values: &[String]) {
    let word = values.last().cloned().unwrap_or_default();
    let mut given: Given = values.iter().map(|value| ("list", value.clone())).collect();
    given.push(("word", word.clone()));
    let (status, sections, noise) = send(shell, &program(ECHO, given));
    assert_eq!(status, Some(7), "{shell:?}: {noise}");
    let of = |wanted: &str| -> Vec<&[u8]> {
        sections.iter().filter(|(name, _)| name == wanted).map(|(_, bytes)| bytes.as_slice()).collect()
    };
    let sent: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    assert!(of("arg") == sent, "{shell:?}: {:?} and not {sent:?}: {noise}", of("arg"));
    assert!(of("word") == [word.as_bytes()], "{shell:?}: {:?} and not {word:?}: {noise}", of("word"));
    assert_eq!(of("unset"), [b"as-it-was"], "{shell:?}");
    assert_eq!(noise, "", "{shell:?} says nothing else");
}

#[test]
fn hostile_arguments_arrive_as_they_were() {
    let nonce = "0123456789abcdef0123456789abcdef";
    let hostile = [
        String::new(),
        "'".into(),
        "'\\''".into(),
        "\"".into(),
        "`touch /tmp/x`".into(),
        "$(touch /tmp/x)".into(),
        "'; touch /tmp/x; '".into(),
        "a\nb\n\n".into(),
        "\n".into(),
        "\r\n".into(),
        "\t ".into(),
        "\\".into(),
        "\\n\\0\\c".into(),
        "%s%n".into(),
        "#end-".into(),
        format!("#end-{nonce}"),
        format!("a\n#end-{nonce}\ntouch /tmp/x\n"),
        format!("\n{nonce} end 0\n"),
        "}\nrp_main() { touch /tmp/x; }\n{".into(),
        "\nEOF\n".into(),
        "-n".into(),
        "--".into(),
        "*?[a]~!{a,b}".into(),
        "\u{1}\u{7f}\u{1b}]0;x\u{7}".into(),
        "ü€𝄞\u{202e}".into(),
        "#".into(),
        "x".repeat(100 << 10),
        "'".repeat(30_000),
        "a\n".repeat(10_000),
    ];
    for shell in SHELLS {
        arrive(shell, &hostile);
        for value in &hostile {
            arrive(shell, std::slice::from_ref(value));
        }
    }
}

proptest! {
    // 40 processes for each shell: a second or two.
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_argument_arrives_as_it_was(
        arguments in prop::collection::vec(
            prop_oneof![
                // anything but NUL, which no argument of a process can hold
                "[^\u{0}]{0,200}",
                // and what a shell gives a meaning, crowded
                "['\"\\\\$`\n\r #;&|(){}<>*?!~=%-]{0,100}",
            ],
            0..6,
        )
    ) {
        for shell in SHELLS {
            arrive(shell, &arguments);
        }
    }
}

/// A host's environment, or what an earlier program set, is never taken for what was not given.
#[test]
fn what_is_not_given_is_what_the_script_says() {
    for shell in SHELLS {
        let nonce = Nonce::new();
        let text = shell_text(&program(ECHO, vec![]), &nonce);
        let output = run(&["env", "word=theirs", "unset=theirs"], &[shell, &["-c", text.as_str()][..]].concat(), b"");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("as-it-was") && !said.contains("theirs"), "{shell:?}: {said}");
    }
}

/// A config with everything that a script can be given, and what it is built from, once for each way to run a colour and
/// each form of nginx's file.
fn every_program() -> Vec<Program> {
    let weights = "upstream = \"listings_backend\"";
    let several = "upstreams = [\"a\", \"b\"]\nfiles = [\"/etc/nginx/a\", \"/etc/nginx/b\"]";
    let contained = "upstream = \"listings_backend\"\ncontainer = \"web\"";
    let link = "switch = \"link\"\nblue = \"blue.conf\"\ngreen = \"green.conf\"";
    let green = [
        (weights, "run.systemd = \"listings-green.service\""),
        (link, "run.docker = \"green\""),
        (contained, "run.compose = { file = \"/opt/compose.yml\", project = \"listings\", service = \"green\" }"),
        (weights, "run.command = { start = [\"a\"], stop = [\"b\", \"c d\"], status = [\"e\"] }"),
        (several, "run.process = { exe = \"/opt/green\", port = 8081, start = \"/opt/green\" }"),
    ];
    let mut programs = Vec::new();
    for (layout, run) in green {
        let file = if layout == several { "" } else { "file = \"/etc/nginx/sites-available/listings\"\n" };
        let text = format!(
            r#"service = "listings"
[[host]]
name = "web1"
ssh = "web1"
roles = ["balancer", "app", "database"]
[nginx]
{file}{layout}
probe = "http://127.0.0.1/"
probe_host = "listings.example.com"
sudo = true
[blue]
servers = ["127.0.0.1:8080"]
health = ["http://127.0.0.1:8080/health"]
run.systemd = "listings-blue.service"
[green]
servers = ["127.0.0.1:8081", "unix:/run/green.sock", "green.internal:8085"]
health = ["http://127.0.0.1:8081/health", "http://green.internal:8085/health"]
log = "/var/log/green.log"
{run}
[database]
name = "listings"
user = "listings"
container = "postgres"
backups = "/var/backups/*.sql.gz"
checks = ["SELECT true"]
"#
        );
        programs.extend(programs_of(&inventory_of(Path::new("rollback.toml"), text)));
    }
    programs
}

fn remote(path: &str) -> RemotePath {
    RemotePath::new(path).expect("a path")
}

fn some_change() -> NamedChange {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    NamedChange {
        name: ChangeName::new("env").expect("a name"),
        manner: Manner {
            on: ChangePlace::Here,
            named_by: Vec::new(),
            cwd: Some("/opt".into()),
            env: Vec::new(),
            timeout: Duration::from_secs(1),
        },
        files: vec![PutBack { put: Put::File(remote("/a")), into: remote("/b") }],
        restart: None,
        called: None,
        as_root: true,
        run: words(&["true", "it's"]),
        undo: words(&["false"]),
        check: words(&["true"]),
    }
}

fn programs_of(inventory: &Inventory) -> Vec<Program> {
    let run = IncidentId::new("rollback-20260101-000000").expect("an id");
    let tenure = Tenure {
        run: run.clone(),
        services: vec!["listings".into()],
        holder: "somebody".into(),
        takes_over: TakesOver::Anybody,
        number: Some(1),
    };
    let path = RemotePath::new("/etc/nginx/sites-available/listings").expect("a path");
    let mounted = Some(Mounted { inside: "/etc/nginx/conf.d/listings.conf".into(), alone: true });
    let change = FileChange {
        path: path.as_str().to_owned(),
        before: "before".into(),
        after: "after".into(),
        also: vec!["/etc/nginx/b".into()],
        mounted,
    };
    let mut programs: Vec<Program> = Vec::new();
    let mut ask = |question: Question| programs.push(question.program().clone());
    ask(question::facts(inventory, Direction::to(Colour::Blue), &inventory.hosts[0]));
    let unsaid = Inventory { nginx: Nginx { layout: Layout::NotSaid, ..inventory.nginx.clone() }, ..inventory.clone() };
    ask(question::facts(&unsaid, Direction::to(Colour::Blue), &unsaid.hosts[0]));
    ask(question::facts_with_rights(inventory, Direction::to(Colour::Blue), &inventory.hosts[0]));
    ask(job::job(inventory, &run, "switch", Duration::from_secs(1)));
    ask(lock::test_candidate(inventory, &change));
    ask(discover::survey());
    let wanted = discover::PathAsked { name: "blue.direct/".into(), host: None, url: "http://127.0.0.1:8080/".into() };
    ask(discover::reach(&[wanted], Some("web"), &["app-blue".to_owned()]));
    ask(drain::sample(inventory, &inventory.green, Some("/run/nginx.pid")));
    ask(verify::health(inventory, Colour::Green));
    ask(verify::health_of_start(inventory, Colour::Green));
    ask(verify::probe(inventory));
    ask(verify::access(inventory, &[("/var/log/nginx/access.log".to_owned(), 1)]));
    ask(measure::loaded_config(inventory));
    let rule = LogRule { most: 10, lines: 1000, pattern: "error|panic".into(), folds_case: true };
    ask(measure::own_log(inventory, Colour::Green, &rule, 1));
    ask(measure::own_log(inventory, Colour::Blue, &rule, 1));
    let unlogged = App { log: None, ..inventory.green.clone() };
    let unlogged = Inventory { green: unlogged, ..inventory.clone() };
    ask(measure::own_log(&unlogged, Colour::Green, &rule, 1));
    let log = AccessLog {
        path: "/var/log/nginx/access.log".to_owned(),
        form: "$status".to_owned(),
        escape: Escape::Json,
        unfit: None,
        names_servers: false,
        tells_times: false,
        is_of_file: true,
    };
    let places = BTreeMap::from([(0, Place { device: 1, inode: 2, offset: 3 })]);
    let lasts = Duration::from_secs(1);
    let counting = Counting { logs: &[log], places: &places, limits: &[2000], since: 0, lasts };
    ask(measure::count(inventory, &counting));
    ask(capture::picture(inventory, &[1]));
    ask(capture::archive(inventory, &path));
    ask(capture::archive_nginx(inventory, "container:/var/log/nginx/error.log"));
    capture::archive_container(inventory, &inventory.green.run).into_iter().for_each(&mut ask);
    ask(capture::journal(inventory, 0, &[UnitName::new("listings-green.service").expect("a unit")]));
    let database = inventory.database.as_ref().expect("there is one");
    let carried = b"x";
    ask(programs::facts(inventory, database, "listings"));
    ask(programs::backups(inventory, database, &path));
    ask(programs::scan(inventory, database, &["/x.sql"], carried));
    ask(programs::progress(inventory, database, &run));
    ask(programs::compare(inventory, database, "direct", "copy", Some("live"), true));
    ask(programs::checks(inventory, database, "direct", "live"));
    ask(programs::tables(inventory, database, "direct", "copy", &["a".to_owned()]));
    ask(change::standing(inventory, &some_change(), &[("A".to_owned(), "b".to_owned())]));
    let compose =
        ComposeService { file: remote("/opt/compose.yaml"), project: "-".to_owned(), service: "blue".to_owned() };
    for kept in [
        Kept::Files(some_change().files),
        Kept::Folders { folder: remote("/srv/releases"), link: remote("/srv/current") },
        Kept::Images { name: "listings".to_owned(), compose, variable: "BLUE_TAG".to_owned() },
        Kept::Packages("listings".to_owned()),
    ] {
        ask(earlier::releases(inventory, &kept, Some("1.3.2")));
    }
    ask(change::lacking(inventory, "./freeze.sh", &some_change().manner));
    ask(programs::since(inventory, database, "direct", &some_merge()));
    let mut apply = |change: Change| programs.push(change.program().clone());
    apply(lock::prepare(inventory, &tenure, Some(&change)));
    for stands_in in [StandsIn::Header, StandsIn::Body] {
        let mark = Mark { of: Colour::Green, stands_in, ours: "x: y".into(), theirs: "x: z".into() };
        let proof = Proof {
            who: "blue".into(),
            pidfile: "/run/nginx.pid".into(),
            error_logs: vec!["/var/log/nginx/error.log".into()],
            access_logs: vec!["/var/log/nginx/access.log".into()],
            mark: Some(mark),
        };
        apply(switch::switch(inventory, &tenure, &change, &proof, true));
        apply(arm::arm(inventory, &tenure, Colour::Green, (std::slice::from_ref(&change), &proof), Some(600)));
    }
    apply(start::start(inventory, &tenure, Colour::Green, true));
    let named = some_change();
    let env = [("A".to_owned(), "b".to_owned())];
    let work = WorkOnHost {
        name: "change-env",
        is_back: true,
        files: &[FilePut {
            put: Put::File(remote("/a")),
            into: "/b".into(),
            put_sha256: "1".into(),
            into_sha256: None,
            diff: String::new(),
        }],
        words: &named.run,
        as_root: true,
        manner: &named.manner,
        env: &env,
    };
    apply(change::work(inventory, &tenure, &work));
    apply(remember::remember(inventory, &tenure, &["1.4.0".to_owned()], true, 1));
    let process = Target::Process { pid: 1, started: "1".into(), exe: "/opt/green".into() };
    apply(stop::stop(inventory, &tenure, Colour::Green, &process));
    apply(programs::awake(inventory, database));
    let load = programs::Load {
        run: &run,
        copy: "copy",
        has_live: true,
        comment: "ours",
        file: "/x.sql",
        bytes: 1,
        format: Format::Plain,
        is_odd: false,
        split: &[1],
        tenure: Some(&tenure),
    };
    apply(programs::load(inventory, database, "direct", &load, carried));
    let swap = Swap {
        live: "live".into(),
        live_oid: 1,
        copy: "copy".into(),
        copy_oid: 2,
        kept: "kept".into(),
        kept_until: None,
    };
    apply(programs::swap(inventory, database, "direct", &run, Some(&tenure), &swap, "ours"));
    apply(programs::drop(inventory, database, Some(&run), Some(&tenure), "listings", "listings_copy_x", Some(1)));
    let wish = TablesWish { names: vec!["a".into()], delete_missing: true, common_columns: true, fire_triggers: true };
    let merge = some_merge();
    let names = ("copy", "rollback_prod_from_x", "ours");
    apply(programs::stage(inventory, database, "direct", Some(&tenure), names, &merge, &wish));
    let rows = programs::RowsToMerge {
        run: &run,
        tenure: Some(&tenure),
        merge: &merge,
        from: "rollback_prod_from_x",
        comment: "ours",
        wish: Some(&wish),
    };
    apply(programs::merge(inventory, database, "direct", &rows));
    apply(programs::keep(inventory, database, "direct", &run, Some(&tenure), true));
    apply(programs::drop_schema(inventory, database, Some(&tenure), "rollback_prod_from_x"));
    programs
}

fn some_merge() -> Merge {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    Merge {
        live: "live".into(),
        live_oid: 1,
        kept: "rollback_prod_before_x".into(),
        kept_until: None,
        tables: vec![MergedTable {
            schema: "public".into(),
            table: "a".into(),
            kept: "public.a".into(),
            columns: words(&["id", "b"]),
            picked: words(&["id", "b"]),
            key: words(&["id"]),
            always: vec![],
            is_parted: false,
        }],
    }
}

/// What stands between the texts of several files is the same on both sides, as it arrives: lines that are only comment are not
/// sent, and this one begins as one.
#[test]
fn what_joins_several_files_is_the_same_on_both_sides() {
    const JOIN: &[&str] = &[LIB, NGINX, "section join; printf '%s' \"$rp_next\"\n"];
    for shell in SHELLS {
        let nonce = Nonce::new();
        let text = shell_text(&program(JOIN, vec![]), &nonce);
        let output = run(&["env"], &[shell, &["-c", text.as_str()][..]].concat(), b"");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("{nonce} join\n{NEXT}\n{nonce} end")), "{shell:?}: {said:?}");
    }
}

/// Both sides know the same names: what is set here is taken there, and what is taken there is used there and set here.
#[test]
fn a_script_takes_what_it_is_given_and_is_given_what_it_takes() {
    let programs = every_program();
    let name_of = |taken: Taken<'static>| match taken {
        Taken::Word { name, .. } | Taken::List { name } => name,
    };
    for (name, parts) in scripts() {
        assert!(programs.iter().any(|program| program.name == *name), "{name} is built by this test");
        let mut names: Vec<&str> = parts.iter().flat_map(|part| takes(part)).map(name_of).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{name} takes something twice: {names:?}");
    }
    for program in &programs {
        let taken: Vec<Taken<'_>> = program.parts.iter().flat_map(|part| takes(part)).collect();
        for (name, value) in &program.arguments {
            let is_taken = taken.iter().any(|taken| match taken {
                Taken::List { name: list } => list == name,
                Taken::Word { name: word, .. } => {
                    word == name && program.arguments.iter().filter(|(other, _)| other == name).count() == 1
                }
            });
            assert!(is_taken, "{} does not take {name}={value}, or not so often", program.name);
        }
    }
    // A part that several scripts share takes what one of them is given.
    for (script, part) in scripts().flat_map(|(name, parts)| parts.iter().map(move |part| (name, part))) {
        for taken in takes(part) {
            let name = name_of(taken);
            assert!(!name.starts_with("rp_"), "{script}: {name} is a name of lib.sh's");
            let code: String = part.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            let uses = match taken {
                // As a variable, or in a sum.
                Taken::Word { .. } => {
                    vec![format!("${name}"), format!("${{{name}"), format!("+ {name}"), format!("- {name}")]
                }
                Taken::List { .. } => vec![format!("with_{name} ")],
            };
            // What a shared part takes for the scripts behind it is used by one of them.
            let behind: String = scripts()
                .filter(|(_, parts)| parts.contains(part))
                .flat_map(|(_, parts)| parts.iter())
                .copied()
                .collect();
            let is_used = uses.iter().any(|words| code.contains(words) || behind.contains(words));
            assert!(is_used, "{script} takes {name} and does not use it");
            let is_given = programs.iter().any(|program| {
                program.parts.contains(part) && program.arguments.iter().any(|(given, _)| *given == name)
            });
            assert!(is_given, "{script} takes {name} and is never given it");
        }
    }
}

/// A shell takes one program after the other, and none of them leaves anything behind for the next.
#[test]
fn programs_follow_each_other_in_one_shell() {
    const LEAVE: &[&str] = &[
        "section() { printf '\\n%s %s\\n' \"$rp_nonce\" \"$1\"; }\n",
        "section was; printf '%s' \"${left-nothing} $(pwd)\"; left=something; cd /; trap '' TERM; set -f; return 7\n",
    ];
    for shell in SHELLS {
        let seal = Nonce::new();
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &bootstrap(&seal)])
            .current_dir("/tmp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the shell");
        let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        for round in 0..3 {
            let nonce = Nonce::new();
            let text = sealed(&shell_text(&program(LEAVE, vec![]), &nonce), &seal);
            stdin.write_all(text.as_bytes()).expect("the shell reads");
            let mut frame = Frame::new(&nonce);
            let (mut content, mut chunk) = (Vec::new(), [0; 512]);
            while frame.status().is_none() {
                let n = stdout.read(&mut chunk).expect("the shell writes");
                assert_ne!(n, 0, "{shell:?} ended in round {round}");
                frame
                    .push(&chunk[..n], &mut |bytes| {
                        content.extend_from_slice(bytes);
                        Ok(())
                    })
                    .expect("a vector takes everything");
            }
            assert_eq!(frame.status(), Some(7), "{shell:?}, round {round}");
            assert_eq!(frame.noise(), "", "{shell:?}, round {round}");
            let said = sections(&content, &nonce);
            assert_eq!(said, [("was".to_owned(), b"nothing /tmp".to_vec())], "{shell:?}, round {round}");
        }
        // What is no program ends it, and runs nothing.
        stdin.write_all(b"5\nls -l\n").expect("the shell reads");
        assert!(child.wait().expect("it ends").success());
    }
}

/// A line that is cut while the program travels: nothing of it runs, wherever the cut is.
#[test]
fn a_program_that_is_cut_on_its_way_runs_nothing() {
    let folder = Folder::new("cut");
    let touched = folder.0.join("touched");
    let nonce = Nonce::new();
    const TOUCH: &[&str] = &["# Takes: file other\n", "touch \"$file\"\n: >\"$file\"\n"];
    let file = touched.to_str().expect("UTF-8").to_owned();
    let program = program(TOUCH, vec![("file", file), ("other", "it's\n#end-\n".into())]);
    let whole = sealed(&shell_text(&program, &nonce), &nonce);
    let bootstrap = bootstrap(&nonce);
    // Many prefixes for each shell: all of them for dash, which is quick to start, every 7th for the others.
    for (shell, step) in SHELLS.iter().zip([1, 7, 7]) {
        for end in (0..whole.len()).step_by(step) {
            run(shell, &["-c", &bootstrap], &whole.as_bytes()[..end]);
            assert!(!touched.exists(), "{shell:?} ran something of the first {end} of {} bytes", whole.len());
        }
        // The proof that this test could fail: the whole program does run.
        run(shell, &["-c", &bootstrap], whole.as_bytes());
        assert!(touched.exists(), "{shell:?} did not run the whole program");
        std::fs::remove_file(&touched).expect("it is there");
    }
}

/// The same of every real script: a prefix of it never even begins.
#[test]
fn a_real_script_that_is_cut_on_its_way_never_begins() {
    for (name, parts) in scripts() {
        let nonce = Nonce::new();
        let whole = sealed(&shell_text(&program(parts, vec![("sudo", "no".into())]), &nonce), &nonce);
        let bootstrap = bootstrap(&nonce);
        let last = whole.len() - 1;
        // Around every end of a line near the end, where most of a program is there, and here and there before.
        let cuts = (0..last).step_by(499).chain(last.saturating_sub(40)..=last);
        for end in cuts {
            let output = run(SHELLS[0], &["-c", &bootstrap], &whole.as_bytes()[..end]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(!said.contains(nonce.as_str()), "{name} began after {end} of {} bytes: {said}", whole.len());
        }
    }
}

// --- stop.sh on processes of this machine ------------------------------------------------------------------------

struct Victim(std::process::Child);

impl Victim {
    fn new() -> Victim {
        Victim(Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().expect("start sleep"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("look at it").is_none()
    }

    fn started(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("stat has a name in brackets");
        fields.split(' ').nth(19).expect("stat has its fields").to_owned()
    }

    fn exe(&self) -> String {
        let exe = || std::fs::read_link(format!("/proc/{}/exe", self.pid())).expect("it runs");
        let ours = std::env::current_exe().expect("we run");
        // Between fork and exec the child is still us.
        while exe() == ours {
            std::thread::yield_now();
        }
        exe().to_string_lossy().into_owned()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stop(shell: &[&str], service: &str, pid: u32, started: &str, exe: &str) -> (Option<i32>, String) {
    let (_, parts) = scripts().find(|(name, _)| *name == "stop").expect("there is stop.sh");
    let given = vec![
        ("service", service.to_owned()),
        ("run", "rollback-20260101-000000".into()),
        ("kind", "process".into()),
        ("name", "-".into()),
        ("file", "-".into()),
        ("project", "-".into()),
        ("pid", pid.to_string()),
        ("started", started.to_owned()),
        ("exe", exe.to_owned()),
        ("grace", "2".into()),
        ("ports", String::new()),
        ("watch", "0".into()),
    ];
    let (status, sections, noise) = send(shell, &program(parts, given));
    let said = sections.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect::<String>();
    (status, said + &noise)
}

// --- prepare.sh, many at once -----------------------------------------------------------------------------------

/// A run that wants the lock: its shell, and what it said.
struct Wants {
    child: std::process::Child,
    said: String,
}

impl Wants {
    fn begin(shell: &[&str], service: &str, holder: &str, take_over: bool) -> Wants {
        let (_, parts) = scripts().find(|(name, _)| *name == "prepare").expect("there is prepare.sh");
        let given = vec![
            ("service", service.to_owned()),
            ("group", service.to_owned()),
            ("holder", holder.to_owned()),
            ("take_over", if take_over { "yes" } else { "no" }.to_owned()),
        ];
        let nonce = Nonce::new();
        let text = sealed(&shell_text(&program(parts, given), &nonce), &nonce);
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &bootstrap(&nonce)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the shell");
        child.stdin.as_mut().expect("piped").write_all(text.as_bytes()).expect("the shell reads");
        let mut said = Vec::new();
        let end = format!("{nonce} end ");
        let mut byte = [0];
        while !(said.ends_with(b"\n") && String::from_utf8_lossy(&said).contains(&end)) {
            match child.stdout.as_mut().expect("piped").read(&mut byte) {
                Ok(1) => said.push(byte[0]),
                _ => break,
            }
        }
        Wants { child, said: String::from_utf8_lossy(&said).into_owned() }
    }

    /// What stands in a section of one line.
    fn section(&self, name: &str) -> String {
        let from = self.said.lines().skip_while(|line| !line.ends_with(&format!(" {name}"))).nth(1);
        from.unwrap_or_default().to_owned()
    }

    fn holds(&self) -> bool {
        ["held", "stale", "taken"].contains(&self.section("lock").split(' ').next().unwrap_or_default())
    }

    /// Gives it back by the end of its line.
    fn end(mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Where locks of ours are kept on this machine.
fn place() -> PathBuf {
    let account = std::env::var("LOGNAME")
        .unwrap_or_else(|_| String::from_utf8_lossy(&run(&["id", "-un"], &[], b"").stdout).trim().to_owned());
    let proven = Path::new("/run/rollback-prod").join(account);
    if uid() == "0" { proven } else { PathBuf::from(format!("/run/lock/rollback-prod-{}", uid())) }
}

fn forget(service: &str) {
    for entry in std::fs::read_dir(place()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(service) {
            let _ = std::fs::remove_dir_all(entry.path());
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A lock that somebody left an hour ago.
fn abandoned(service: &str, number: u64) -> PathBuf {
    let lock = place().join(format!("{service}.{number}.1.lock"));
    std::fs::create_dir_all(&lock).expect("make a lock");
    std::fs::write(lock.join("holder"), "mallory@laptop pid 1 since yesterday\n").expect("write its holder");
    std::fs::write(lock.join("held"), "").expect("write that it is held");
    std::fs::write(lock.join("beat"), ".").expect("write its beat");
    let touched = run(&["touch", "-d", "-1 hour"], &[lock.join("beat").to_str().expect("UTF-8")], b"");
    assert!(touched.status.success());
    lock
}

/// Many runs judge the same lock abandoned in the same moment, or come together where there is none.
#[test]
fn of_many_runs_that_come_together_never_two_hold_the_lock() {
    let service = "rp-test-many";
    forget(service);
    let (mut last, mut won) = (0, 0);
    for round in 0..24 {
        if round % 3 != 2 {
            abandoned(service, 1 + round);
        }
        let holding = AtomicUsize::new(0);
        let all = Barrier::new(6);
        let numbers: Vec<u64> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..6)
                .map(|n| {
                    let (holding, all) = (&holding, &all);
                    scope.spawn(move || {
                        let shell = SHELLS[n % SHELLS.len()];
                        all.wait();
                        let wants = Wants::begin(shell, service, &format!("run {n}"), false);
                        let number = wants.section("number").parse().ok();
                        assert_eq!(wants.holds(), number.is_some(), "{}", wants.said);
                        if wants.holds() {
                            let others = holding.fetch_add(1, Ordering::SeqCst);
                            std::thread::sleep(Duration::from_millis(5));
                            assert_eq!(others, 0, "round {round}: two hold it: {}", wants.said);
                            holding.fetch_sub(1, Ordering::SeqCst);
                        } else {
                            assert!(wants.section("lock").starts_with("busy run "), "{}", wants.said);
                        }
                        wants.end();
                        number
                    })
                })
                .collect();
            runs.into_iter().filter_map(|run| run.join().expect("no two hold it")).collect()
        });
        won += numbers.len();
        // One after the other may have had it, each with a larger number.
        assert!(!numbers.is_empty(), "round {round}: nobody got it");
        assert!(numbers.iter().all(|number| *number > last), "round {round}: {numbers:?} after {last}");
        last = numbers.into_iter().max().unwrap_or(last);
    }
    assert!(won >= 24, "{won}");
    let left: Vec<_> = std::fs::read_dir(place())
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(service))
        .collect();
    assert_eq!(left, [format!("{service}.number")], "nothing but the number is left");
    forget(service);
}

/// What start.sh ends with for a holder and the number of its lock, where nothing is to be started.
fn is_fenced(shell: &[&str], service: &str, holder: &str, number: &str) -> (bool, String) {
    let (_, parts) = scripts().find(|(name, _)| *name == "start").expect("there is start.sh");
    let given = vec![("group", service.to_owned()), ("holder", holder.to_owned()), ("number", number.to_owned())];
    let (status, sections, noise) = send(shell, &program(parts, given));
    assert_eq!(noise, "");
    let why = sections.iter().find(|(name, _)| name == "why");
    (status == Some(93), why.map(|(_, why)| String::from_utf8_lossy(why).into_owned()).unwrap_or_default())
}

#[test]
fn a_run_whose_lock_another_had_since_changes_nothing_also_when_that_has_ended() {
    for shell in SHELLS {
        let service = "rp-test-fence";
        forget(service);
        let first = Wants::begin(shell, service, "alice", false);
        assert!(first.holds(), "{}", first.said);
        let number = first.section("number");
        assert!(!is_fenced(shell, service, "alice", &number).0, "{shell:?}");
        // Its line dies, its lock with it: nobody came, so it may come back.
        first.end();
        assert!(!is_fenced(shell, service, "alice", &number).0, "{shell:?}");
        let second = Wants::begin(shell, service, "bob", false);
        assert!(second.holds(), "{}", second.said);
        assert_eq!(is_fenced(shell, service, "alice", &number), (true, "bob".to_owned()), "{shell:?}");
        assert!(!is_fenced(shell, service, "bob", &second.section("number")).0, "{shell:?}");
        second.end();
        let (is_fenced_still, why) = is_fenced(shell, service, "alice", &number);
        assert!(is_fenced_still && why.contains("has ended meanwhile"), "{shell:?}: {why}");
        // A host that lost its memory knows nobody's number.
        forget(service);
        let (is_forgotten, why) = is_fenced(shell, service, "alice", &number);
        assert!(is_forgotten && why.contains("forgotten"), "{shell:?}: {why}");
        // Without a number, for want of room, what counts is who holds it now.
        assert!(!is_fenced(shell, service, "alice", "").0, "{shell:?}");
        abandoned(service, 5);
        assert!(!is_fenced(shell, service, "alice", "").0, "{shell:?}: nobody is there");
        let third = Wants::begin(shell, service, "carol", true);
        assert_eq!(is_fenced(shell, service, "alice", ""), (true, "carol".to_owned()), "{shell:?}");
        let fourth = Wants::begin(shell, service, "dave", true);
        assert_eq!(fourth.section("lock"), "taken carol", "{}", fourth.said);
        let mut third = third;
        third.child.stdin.as_mut().expect("piped").write_all(b"beat\n").expect("it reads");
        let mut told = [0; 5];
        third.child.stdout.as_mut().expect("piped").read_exact(&mut told).expect("it is told");
        assert_eq!(&told, b"lost\n", "{shell:?}");
        third.end();
        // The same run again, over a new line: its old one has not been seen to be dead yet.
        let again = Wants::begin(shell, service, "dave", false);
        assert_eq!(again.section("lock"), "held", "{}", again.said);
        again.end();
        fourth.end();
        forget(service);
    }
}

/// Parents like nginx's master, which has old children that end and new ones that come.
#[test]
fn children_are_found_with_the_kernels_list_and_without() {
    let family = "sleep 1000 & a=$!; sleep 1000 & b=$!; sleep 1000 & c=$!; echo; read -r line; kill $a $b $c";
    for shell in SHELLS {
        let mut parent = Command::new("sh")
            .args(["-c", family])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start sh");
        let mut said = [0; 1];
        parent.stdout.as_mut().expect("piped").read_exact(&mut said).expect("it has its children");
        let pid = parent.id().to_string();
        let (_, parts) = scripts().find(|(name, _)| *name == "sample").expect("there is sample.sh");
        let shared = parts[0];
        assert!(shared.contains("/children"), "lib.sh reads the kernel's list");
        let asked = |lib: &str| {
            let text = format!("rp_nonce=x\n{lib}\nchildren_of {pid}\nprintf '%s\\n' $rp_children");
            let output = run(shell, &["-c", &text], b"");
            let mut pids: Vec<String> =
                String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect();
            pids.sort();
            pids
        };
        let with = asked(shared);
        let without = asked(&shared.replace("/children", "/no-such-file"));
        drop(parent.stdin.take());
        parent.wait().expect("it ends");
        assert_eq!(with.len(), 3, "{shell:?}: {with:?}");
        assert_eq!(with, without, "{shell:?}");
    }
}

fn uid() -> String {
    String::from_utf8_lossy(&run(&["id", "-u"], &[], b"").stdout).trim().to_owned()
}

#[test]
fn a_pid_that_is_another_program_by_now_is_never_killed() {
    for shell in SHELLS {
        let mut victim = Victim::new();
        let _ = victim.exe();
        let (status, said) =
            stop(shell, "rp-test-exe", victim.pid(), &victim.started(), "/opt/listings/bin/listings-green");
        assert_eq!(status, Some(40), "{shell:?}: {said}");
        assert!(victim.lives(), "{shell:?}: {said}");
    }
}

#[test]
fn a_pid_that_was_given_to_a_younger_process_is_never_killed() {
    for shell in SHELLS {
        let mut victim = Victim::new();
        let exe = victim.exe();
        let (status, said) = stop(shell, "rp-test-pid", victim.pid(), "1", &exe);
        assert_eq!(status, Some(0), "what was to be stopped is gone; {shell:?}: {said}");
        assert!(said.contains("gone already"), "{shell:?}: {said}");
        assert!(victim.lives(), "{shell:?}: {said}");
    }
}

#[test]
fn the_process_that_was_seen_is_stopped() {
    for shell in SHELLS {
        let mut victim = Victim::new();
        let (exe, started) = (victim.exe(), victim.started());
        let (status, said) = stop(shell, "rp-test-stop", victim.pid(), &started, &exe);
        assert_eq!(status, Some(0), "{shell:?}: {said}");
        assert!(!victim.lives(), "{shell:?}: {said}");
    }
}
