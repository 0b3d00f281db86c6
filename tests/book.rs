//! The book in docs/: its pages are all there and lead somewhere, its reference is made of the schema, its configs are read, its
//! card is one sheet of paper, and every command that it tells somebody to type is typed here, on a real host.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/database.rs"]
mod database;
#[path = "support/site.rs"]
mod site;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use rollback_prod::cli::Cli;
use rollback_prod::config::schema_json;
use serde_json::Value;
use site::{back_to_green, program, read, served_by};
use support::lab::Lab;
use support::{Scene, rollback_prod};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// Every page of the book, the README in front, by its path in the repository.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::from([("README.md".to_owned(), text(&repository().join("README.md")))]);
    for file in std::fs::read_dir(repository().join("docs")).expect("there is a book").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            pages.insert(format!("docs/{name}"), text(&file.path()));
        }
    }
    assert!(pages.len() > 15, "they are found: {:?}", pages.keys());
    pages
}

/// How a heading is called in a link, by GitHub and by mdBook.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_somewhere() {
    let pages = pages();
    let summary = &pages["docs/SUMMARY.md"];
    for page in pages.keys().filter_map(|page| page.strip_prefix("docs/")).filter(|page| *page != "SUMMARY.md") {
        assert!(summary.contains(&format!("]({page})")), "the summary has {page}");
    }
    let beside = ["SECURITY.md", "CHANGELOG.md", "incidents/README.md"].map(|page| (page.to_owned(), String::new()));
    let beside = beside.map(|(page, _)| (page.clone(), text(&repository().join(page))));
    for (page, said) in pages.iter().map(|(page, said)| (page.clone(), said.clone())).chain(beside) {
        let folder = repository().join(&page).parent().expect("a file has one").to_owned();
        for link in said.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let link = link.replace('\n', " ");
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            if link.contains("://") || link.contains(' ') {
                continue;
            }
            let target = if file.is_empty() { repository().join(&page) } else { folder.join(file) };
            assert!(target.exists(), "{page} leads to {link}, which is not there");
            if !heading.is_empty() && file != "config.md" {
                let text = text(&target);
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#')));
                assert!(anchors.any(|found| found == heading), "{page} leads to {link}, which has no such heading");
            }
        }
    }
}

/// What a value may be, in a word.
fn kind(schema: &Value) -> String {
    let words = |values: &Value| -> Vec<String> {
        values.as_array().into_iter().flatten().filter_map(Value::as_str).map(|word| format!("`\"{word}\"`")).collect()
    };
    let choices = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    match (schema["enum"].is_array(), choices, schema["const"].as_str()) {
        (true, _, _) => words(&schema["enum"]).join(" or "),
        (_, Some(choices), _) => {
            choices.iter().map(kind).filter(|kind| !kind.is_empty()).collect::<Vec<_>>().join(" or ")
        }
        (_, _, Some(word)) => format!("`\"{word}\"`"),
        _ => match schema["type"].as_str() {
            Some("string") => "text".into(),
            Some("boolean") => "true or false".into(),
            Some("integer") => "a whole number".into(),
            Some("number") => "a number".into(),
            Some("array") => format!("a list of {}", kind(&schema["items"])),
            Some("object") => "a table".into(),
            _ => String::new(),
        },
    }
}

/// The table of a service, whose tables are those of the top.
const SERVICE: &str = "[services.NAME]";

/// One table of the config, and those below it.
fn table(reference: &mut String, path: &str, schema: &Value) {
    let cell = |text: &str| text.replace('\n', " ").replace('|', "\\|");
    let Some(keys) = schema["properties"].as_object() else { return };
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !path.is_empty() {
        let _ = writeln!(reference, "## `{path}`\n");
        if let Some(words) = schema["description"].as_str() {
            let _ = writeln!(reference, "{words}\n");
        }
    }
    let _ = writeln!(reference, "| key | is | what |\n| --- | --- | --- |");
    let mut below: Vec<(String, &Value)> = Vec::new();
    let inner = path.trim_start_matches('[').trim_end_matches(']');
    let within = |key: &str| if inner.is_empty() { key.to_owned() } else { format!("{inner}.{key}") };
    for (key, value) in keys {
        let mut what = cell(value["description"].as_str().unwrap_or_default());
        if required.contains(&key.as_str()) {
            what.push_str(" Required.");
        }
        match (&value["default"], value["examples"].get(0)) {
            (Value::Null, None) => {}
            (Value::Null, Some(example)) => {
                let _ = write!(what, " Example: `{}`.", cell(&example.to_string()));
            }
            (default, _) => {
                let _ = write!(what, " Default: `{}`.", cell(&default.to_string()));
            }
        }
        let table_of = if value["properties"].is_object() {
            Some((format!("[{}]", within(key)), value))
        } else if value["items"]["properties"].is_object() {
            Some((format!("[[{}]]", within(key)), &value["items"]))
        } else if value["additionalProperties"]["properties"].is_object() {
            Some((format!("[{}.NAME]", within(key)), &value["additionalProperties"]))
        } else {
            None
        };
        let is = match &table_of {
            // What a service lays over the top of the file is said there.
            Some((name, _)) if path == SERVICE => {
                let of_the_top = name.replace("services.NAME.", "");
                format!("as [`{of_the_top}`](#{})", anchor(&of_the_top))
            }
            Some((name, _)) => format!("table [`{name}`](#{})", anchor(name)),
            None => cell(&kind(value)),
        };
        let _ = writeln!(reference, "| `{key}` | {is} | {what} |");
        below.extend(table_of.filter(|_| path != SERVICE));
    }
    reference.push('\n');
    for (name, value) in below {
        table(reference, &name, value);
    }
}

#[test]
fn the_reference_is_made_of_the_schema() {
    let schema: Value = serde_json::from_str(&schema_json()).expect("JSON");
    let mut reference = "# Every key of the config\n\nMade from [the schema](rollback.schema.json), with which editors complete and check \
                         the file. [The example](rollback.example.toml) has every\nkey with a comment, in the order in which one thinks. Times are texts: `\"5s\"`, `\"10m\"`, `\"90d\"`. A text that is\n\
                         exactly `\"$NAME\"` is a variable, of the environment or of `.env.deploy` beside the file.\n\n"
        .to_owned();
    table(&mut reference, "", &schema);
    let path = repository().join("docs/config.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &reference).expect("docs/ can be written");
    }
    assert!(text(&path) == reference, "docs/config.md is stale: run `UPDATE=1 cargo test --test book reference`");
    assert!(reference.matches("\n| `").count() > 150, "it has every key");
}

/// The blocks of a page, fenced or indented, without their margins.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let (mut is_fenced, mut is_open) = (false, false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            is_open = is_fenced;
            if is_fenced {
                blocks.push(Vec::new());
            }
        } else if is_fenced {
            blocks.last_mut().expect("one was begun").push(line);
        } else if line.starts_with("    ") {
            if !is_open {
                blocks.push(Vec::new());
            }
            is_open = true;
            blocks.last_mut().expect("one was begun").push(line);
        } else if !line.trim().is_empty() {
            is_open = false;
        }
    }
    let plain = |lines: Vec<&str>| {
        let margin = |line: &&str| line.len() - line.trim_start().len();
        let least = lines.iter().filter(|line| !line.trim().is_empty()).map(margin).min().unwrap_or(0);
        lines.iter().map(|line| format!("{}\n", line.get(least..).unwrap_or_default())).collect()
    };
    blocks.into_iter().map(plain).collect()
}

#[test]
fn every_config_of_the_book_is_read() {
    let example = text(&repository().join("docs/rollback.example.toml"));
    let mut count = 0;
    // Those of docs/layouts.md serve real hosts in tests/layouts.rs.
    for (page, said) in pages().into_iter().filter(|(page, _)| page != "docs/layouts.md") {
        let is_table = |line: &str| line.starts_with('[') && line.contains(']') && !line.contains("](");
        for block in blocks(&said).into_iter().filter(|block| block.lines().any(is_table)) {
            let folder = tempfile::tempdir().expect("a folder");
            let is_whole = block.lines().any(|line| line.starts_with("service "));
            // A part is laid over a whole one, as an overlay is.
            let base = if is_whole { &block } else { &example };
            std::fs::write(folder.path().join("rollback.toml"), base).expect("write it");
            if !is_whole {
                std::fs::write(folder.path().join("rollback.part.toml"), &block).expect("write it");
            }
            let mut manual = rollback_prod();
            let environment = if is_whole { "prod" } else { "part" };
            manual.current_dir(folder.path()).args(["--env", environment, "manual"]);
            let scene = Scene::of(&mut manual, folder.path());
            scene.exits(0);
            scene.holds(scene.stdout.contains("by hand"), &format!("{page}:\n{block}"));
            count += 1;
        }
    }
    assert!(count > 8, "they are found: {count}");
}

/// Every command that a page tells somebody to type, in blocks or within a line, each with the page.
fn commands() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (page, said) in pages() {
        let lines: Vec<String> =
            blocks(&said).iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let typed = lines.iter().filter_map(|line| {
            let line = line.trim().trim_start_matches("$ ");
            let line = line.split(" # ").next().unwrap_or_default().trim();
            line.starts_with("rollback-prod ").then(|| line.to_owned())
        });
        let within = said.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "));
        let within = within.filter(|code| code.starts_with("rollback-prod "));
        for command in typed.chain(within) {
            found.entry(command).or_insert_with(|| page.clone());
        }
    }
    assert!(found.len() > 40, "they are found: {}", found.len());
    found
}

/// A line of the book, as it is typed here: names and times of an example become those of the lab.
fn as_typed(command: &str, incident: &str) -> Vec<String> {
    let mut line = format!("{command} ");
    for (from, to) in [
        ("deploy@web1.example.com ", "web1 --out written.toml --ssh-config ssh_config "),
        ("web1,web2 ", "web1 "),
        ("/backups/of-june.dump ", "/opt/listings/backups/1.sql.gz "),
        ("report ID ", &format!("report {incident} ")),
        ("INCIDENT ", &format!("{incident} ")),
        ("E-NAME ", "E-SUDO "),
        ("explain NAME ", "explain e-lock-held "),
        ("REVISION ", "1f00 "),
        ("20261120_01 ", "1f00 "),
        ("--to 1.3.2 ", "--to earlier "),
        ("--for 30m ", "--for 3s "),
        ("watch --rollback ", "watch --for 3s --rollback "),
        ("--bake 5m ", "--bake 3s "),
        ("--hold 10m ", "--hold 0s "),
        ("--reason \"release 1.4\" ", "--reason \"release 1.4\" --hold 0s "),
        ("--reason … ", "--reason x "),
    ] {
        line = line.replace(from, to);
    }
    // What a line gives again is what counts.
    let line = line.replacen("--hold 0s --steps 5,25,100 --hold 0s", "--steps 5,25,100 --hold 0s", 1);
    shell_words::split(&line).unwrap_or_else(|err| panic!("{command}: {err}")).into_iter().skip(1).collect()
}

/// Who serves before a command, and the word that it asks for.
enum Before {
    AsItIs,
    Green,
    Blue,
}

/// Each command of the book but those of several services, in an order that a night could have: what must be so before,
/// what is typed, and how it may end.
const NIGHT: &[(&str, Before, &str, &[i32])] = {
    use Before::{AsItIs, Blue, Green};
    &[
        ("rollback-prod --help", AsItIs, "", &[0]),
        ("rollback-prod init deploy@web1.example.com", AsItIs, "", &[0]),
        ("rollback-prod check", AsItIs, "", &[0]),
        ("rollback-prod manual", AsItIs, "", &[0]),
        ("rollback-prod status", AsItIs, "", &[0]),
        ("rollback-prod releases", AsItIs, "", &[0]),
        ("rollback-prod explain", AsItIs, "", &[0]),
        ("rollback-prod explain NAME", AsItIs, "", &[0]),
        ("rollback-prod explain E-NAME", AsItIs, "", &[0]),
        ("rollback-prod explain 5", AsItIs, "", &[0]),
        ("rollback-prod drill --ics", AsItIs, "", &[0]),
        ("rollback-prod --dry-run --json", AsItIs, "", &[0]),
        ("rollback-prod --dry-run --reason \"…\"", AsItIs, "", &[0]),
        ("rollback-prod --dry-run --reason '…'", AsItIs, "", &[0]),
        ("rollback-prod --dry-run --reason \"quarterly test\"", AsItIs, "", &[0]),
        ("rollback-prod --dry-run --reason '…' --migrate-down REVISION", AsItIs, "", &[0]),
        // Nobody asks for anything in three seconds.
        ("rollback-prod assess", AsItIs, "", &[0, 8]),
        ("rollback-prod watch --for 30m", AsItIs, "", &[0, 8]),
        ("rollback-prod watch --rollback --reason \"canary of 1.4\"", AsItIs, "", &[0, 8]),
        ("rollback-prod --reason \"high error rate\" --severity P1", Green, "", &[0]),
        ("rollback-prod note \"db team: index rebuilt\"", AsItIs, "", &[0]),
        ("rollback-prod report", AsItIs, "", &[0]),
        ("rollback-prod report ID --ticket github", AsItIs, "", &[0]),
        // It must be filed by hand where the tracker cannot be reached, as here; tests/afterwards.rs has one that can.
        ("rollback-prod report --ticket jira --file", AsItIs, "", &[1]),
        ("rollback-prod report --ticket github", AsItIs, "", &[0]),
        ("rollback-prod resolve", AsItIs, "", &[0]),
        ("rollback-prod resolve --because \"release 1.4.1 is out\"", AsItIs, "", &[0]),
        ("rollback-prod history", AsItIs, "", &[0]),
        ("rollback-prod undo INCIDENT", AsItIs, "", &[0]),
        ("rollback-prod --reason \"high error rate\"", Green, "", &[0]),
        ("rollback-prod undo", AsItIs, "", &[0]),
        ("rollback-prod --reason '…'", Green, "", &[0]),
        ("rollback-prod --reason \"…\" --keep-green", Green, "", &[0]),
        ("rollback-prod --reason \"…\" --hosts web1,web2", Green, "", &[0]),
        ("rollback-prod --reason \"…\" --take-over", Green, "", &[0]),
        ("rollback-prod --reason \"high error rate\" --bake 5m", Green, "", &[0, 8]),
        ("rollback-prod switch --to green --steps 100 --hold 0s --reason '…'", Blue, "", &[0]),
        ("rollback-prod switch --to green --reason \"release 1.4\"", Blue, "", &[0]),
        (
            "rollback-prod switch --to green --reason \"release 1.4\" --steps 5,25,100 --hold 10m --dead-man 5m",
            Blue,
            "",
            &[0],
        ),
        ("rollback-prod partial env flag-checkout --reason \"checkout of 1.4\"", Green, "", &[0]),
        ("rollback-prod --reason \"high error rate\" --with env", Green, "", &[0]),
        ("rollback-prod --reason \"high error rate\" --to earlier", Green, "", &[0]),
        ("rollback-prod --reason \"…\" --to earlier", Green, "", &[0]),
        ("rollback-prod --reason \"high error rate\" --to 1.3.2", Green, "", &[0]),
        ("rollback-prod backups", AsItIs, "", &[0]),
        ("rollback-prod backups list", AsItIs, "", &[0]),
        ("rollback-prod backups verify", AsItIs, "", &[0]),
        ("rollback-prod backups verify /backups/of-june.dump", AsItIs, "", &[0]),
        ("rollback-prod --reason \"…\" --restore-tables listings,orders", Green, "RESTORE\n", &[0]),
        ("rollback-prod --reason \"…\" --restore-tables orders,listings", Green, "RESTORE\n", &[0]),
        ("rollback-prod --reason \"checkout of 1.4\" --migrate-down", Green, "DOWNGRADE\n", &[0]),
        ("rollback-prod --reason \"checkout of 1.4\" --migrate-down 20261120_01", Green, "DOWNGRADE\n", &[0]),
        ("rollback-prod --reason \"migration failed\" --restore-db", Green, "RESTORE\n", &[0]),
        ("rollback-prod --reason \"…\" --restore-db", Green, "RESTORE\n", &[0]),
        ("rollback-prod --env staging drill", Green, "", &[0]),
    ]
};

/// Those of docs/services.md are typed on its two hosts, in tests/services.rs.
const OF_SEVERAL: &[&str] = &[
    "rollback-prod --reason \"high error rate\" --service portal",
    "rollback-prod --reason \"high error rate\" --all-or-nothing",
];

#[test]
fn every_command_of_the_book_is_one_that_is_typed_here() {
    let found = commands();
    for (command, page) in &found {
        let words = std::iter::once("rollback-prod".to_owned()).chain(as_typed(command, "rollback-20261120-211502"));
        if command != "rollback-prod --help" {
            assert!(Cli::try_parse_from(words).is_ok(), "{page}: {command} is none of ours");
        }
        let is_typed = NIGHT.iter().any(|(typed, ..)| typed == command) || OF_SEVERAL.contains(&command.as_str());
        assert!(is_typed, "{page}: nobody types {command} in the tests");
    }
    for command in NIGHT.iter().map(|(command, ..)| command).chain(OF_SEVERAL) {
        assert!(found.contains_key(*command), "the book has {command} no more");
    }
}

/// alembic's files with two revisions, and the pages' own words for them.
fn migrations(lab: &Lab) {
    lab.sh(
        "web1",
        r#"mkdir -p /opt/listings/alembic/versions && cd /opt/listings
        printf '[alembic]\nscript_location = /opt/listings/alembic\n' >alembic.ini
        cat >alembic/env.py <<'PY'
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
PY
        touch alembic/script.py.mako
        printf 'from alembic import op\nrevision = "1f00"\ndown_revision = None\ndef upgrade():\n    op.execute("CREATE TABLE users (id int)")\ndef downgrade():\n    op.execute("DROP TABLE users")\n' >alembic/versions/1f00.py
        printf 'from alembic import op\nrevision = "2f00"\ndown_revision = "1f00"\ndef upgrade():\n    op.execute("CREATE TABLE mails (id int)")\ndef downgrade():\n    op.execute("DROP TABLE mails")\n' >alembic/versions/2f00.py"#,
    );
}

const URL: &str = "postgresql://listings@127.0.0.1/listings_prod";

fn upgrade(lab: &Lab, to: &str) {
    lab.sh("web1", &format!("cd /opt/listings && DATABASE_URL={URL} alembic upgrade {to} 2>&1"));
}

#[test]
fn a_night_with_every_command_of_the_book() {
    let lab = Lab::up(&["web1+postgres+migrations"]);
    lab.postgres("web1");
    database::filled(&lab);
    site::logs_say_who(&lab, "web1");
    migrations(&lab);
    upgrade(&lab, "1f00");
    database::dump(&lab, database::NAME, "1.sql.gz", 2);
    upgrade(&lab, "2f00");
    lab.sh("web1", "cd /opt/listings/bin; cp -a listings-blue ../blue-1.3.2; printf old >>../blue-1.3.2; cd; echo MODE=new >/opt/listings/.env.blue; echo MODE=old >/opt/listings/.env.blue.old; chown deploy /opt/listings/.env.blue*");
    let more = format!(
        "{}\n[change.env]\non = \"app\"\nfiles = [{{ put = \"/opt/listings/.env.blue.old\", in = \"/opt/listings/.env.blue\" }}]\n\
         [change.flag-checkout]\non = \"here\"\nrun = [\"true\"]\nundo = [\"true\"]\n\
         [migrations]\ndown = [\"alembic\", \"-c\", \"/opt/listings/alembic.ini\", \"downgrade\", \"{{to}}\"]\n\
         up = [\"alembic\", \"-c\", \"/opt/listings/alembic.ini\", \"upgrade\", \"{{to}}\"]\non = \"app\"\n\
         env = {{ DATABASE_URL = \"{URL}\" }}\n[drill]\nevery = \"90d\"\n",
        database::CONFIG
    );
    let earlier = "earlier.files = [{ put = \"/opt/listings/blue-1.3.2\", in = \"/opt/listings/bin/listings-blue\" }]";
    lab.config_with(|text| format!("{}\n{more}", text.replace("[blue]\n", &format!("[blue]\n{earlier}\n"))));
    std::fs::write(lab.folder().join("rollback.staging.toml"), "service = \"listings\"\n").expect("write it");
    std::fs::copy(lab.ssh_config(), lab.folder().join("ssh_config")).ok();
    let before = read(&lab, "web1", site::FILE);
    for (command, must_be, typed, ends) in NIGHT {
        match must_be {
            Before::AsItIs => {}
            Before::Green => back_to_green(&lab, "web1", &before),
            Before::Blue if served_by(&lab, "web1") == "blue" => {}
            Before::Blue => {
                site::rollback(&lab, &["--keep-green"]).exits(0);
            }
        }
        if command.contains("--migrate-down") && !command.contains("--dry-run") {
            upgrade(&lab, "2f00");
        }
        let incidents = site::incidents(&lab);
        let newest = incidents.last().and_then(|folder| folder.file_name());
        let incident = newest.map_or(String::new(), |name| name.to_string_lossy().into_owned());
        let words = as_typed(command, &incident);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let scene = Scene::of_typing(&mut program(&lab, &words), lab.folder(), typed);
        let code = scene.status.code().unwrap_or(-1);
        scene.holds(ends.contains(&code), &format!("{command} ends with one of {ends:?}"));
    }
}

/// The book as mdBook makes it.
fn book() -> PathBuf {
    let made = Command::new(repository().join("scripts/book")).output().expect("start scripts/book");
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "scripts/book:\n{said}");
    let target = Command::new(repository().join("scripts/target-dir")).output().expect("start it");
    PathBuf::from(String::from_utf8_lossy(&target.stdout).trim()).join("book")
}

#[test]
fn mdbook_makes_it_and_the_card_is_one_sheet() {
    let book = book();
    for page in pages().keys().filter_map(|page| page.strip_prefix("docs/")).filter(|page| *page != "SUMMARY.md") {
        assert!(book.join(page.replace(".md", ".html")).is_file(), "{page} is in the book");
    }
    let index = text(&book.join("index.html"));
    assert!(index.contains("traffic is safe") && !index.contains("{{#"), "the README's parts are in it");
    for data in ["rollback.schema.json", "output.schema.json", "rollback.example.toml"] {
        assert!(book.join(data).is_file(), "{data} is published with it");
    }
    assert_eq!(browser::sheets(&book.join("card.html")), 1, "the emergency card is one sheet of A4");
}

#[test]
fn the_lines_of_json_in_the_book_are_as_the_schema_says() {
    let page = text(&repository().join("docs/json.md"));
    let lines: Vec<String> =
        page.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    assert!(lines.len() > 3, "they are found");
    let complaints = support::schema::complaints(&lines.concat());
    assert!(complaints.is_empty(), "{complaints:?}");
    // And a line that is not is told.
    let broken = lines[0].replace("\"started\"", "\"begun\"");
    assert_eq!(support::schema::complaints(&broken).len(), 1, "the validator tells a status that there is none of");
}
