//! Whether migrations go down by a tool that is no package of the hosts': sqlx-cli, built from the Rust registry, with reversible
//! migrations on a real server. Down to where the dump is, up again by `undo`, and half-way. Fails where something was not.
//! `cargo bench --bench migrations` (as root: it boots a real host; the tool is built once, which takes minutes).

#[path = "../tests/support/database.rs"]
mod database;
#[path = "../tests/support/site.rs"]
mod site;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use database::{Asked, CONFIG, NAME, dump, filled, sql};
use site::{run, serves, write};
use support::lab::Lab;

const VERSION: &str = "0.8.6";
const URL: &str = "postgresql://listings@127.0.0.1/listings_prod";
const FOLDER: &str = "/opt/listings/migrations";

/// What the config says of it; the page has the same words.
const WORDS: &str = r#"
[migrations]
down = ["sqlx", "migrate", "revert", "--source", "/opt/listings/migrations", "--target-version", "{to}"]
up   = ["sqlx", "migrate", "run", "--source", "/opt/listings/migrations"]
on   = "app"
env  = { DATABASE_URL = "$DATABASE_URL" }
"#;

fn main() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sqlx");
    let tool = root.join("bin/sqlx");
    if !tool.exists() {
        let built = Command::new("cargo")
            .args(["install", "--quiet", "--locked", "--debug", "--no-default-features", "--features", "postgres"])
            .args(["--version", VERSION, "--root"])
            .arg(&root)
            .arg("sqlx-cli")
            .status()
            .expect("start cargo");
        assert!(built.success(), "sqlx-cli {VERSION} is built");
    }
    let lab = Lab::up(&["web1+postgres"]);
    lab.postgres("web1");
    filled(&lab);
    std::fs::copy(&tool, lab.dir().join("hosts/web1/mnt/usr/local/bin/sqlx")).expect("copy it to the host");
    lab.sh("web1", &format!("chmod 755 /usr/local/bin/sqlx; mkdir -p {FOLDER}"));
    for (number, up, down) in [
        (1, "CREATE TABLE users (id int)", "DROP TABLE users"),
        (2, "ALTER TABLE users ADD COLUMN mail text", "ALTER TABLE users DROP COLUMN mail"),
        (3, "CREATE TABLE mails (id int)", "DROP TABLE mails"),
    ] {
        write(&lab, "web1", &format!("{FOLDER}/2026010{number}_step.up.sql"), up);
        write(&lab, "web1", &format!("{FOLDER}/2026010{number}_step.down.sql"), down);
    }
    let sqlx = |words: &str| lab.sh("web1", &format!("DATABASE_URL={URL} sqlx migrate {words} --source {FOLDER} 2>&1"));
    lab.config(&format!("{CONFIG}\n{WORDS}"));
    std::fs::write(lab.folder().join(".env.deploy"), format!("DATABASE_URL={URL}\n")).expect("write .env.deploy");
    sqlx("run --target-version 20260101");
    dump(&lab, NAME, "listings_1.sql.gz", 30);
    sqlx("run");
    let applied = || sql(&lab, "SELECT string_agg(version::text, ',' ORDER BY version) FROM _sqlx_migrations");
    assert_eq!(applied(), "20260101,20260102,20260103");

    let down = |words: &[&str]| {
        let mut all = vec!["--reason", "checkout of 1.4", "--migrate-down"];
        all.extend(words);
        Asked::begin(&lab, &all).answer("DOWNGRADE")
    };
    let (exit, said) = down(&[]);
    assert_eq!((exit, applied().as_str()), (0, "20260101"), "{said}");
    println!("down to the dump: {}", said.lines().find(|line| line.contains("sqlx is at")).unwrap_or_default());
    let undo = run(&lab, &["undo"]);
    undo.exits(0);
    serves(&lab, "web1", "green", &undo);
    assert_eq!(applied(), "20260101,20260102,20260103");
    println!("and up again by undo");

    // One that cannot go down is in the way of the others: where it stands is told.
    write(&lab, "web1", &format!("{FOLDER}/20260102_step.down.sql"), "SELECT no_such_thing()");
    let (exit, said) = down(&["20260101"]);
    assert_eq!((exit, applied().as_str()), (5, "20260101,20260102"), "{said}");
    assert!(said.contains("on the way to 20260101"), "{said}");
    println!("half-way: {}", said.lines().find(|line| line.contains("on the way")).unwrap_or_default());
}
