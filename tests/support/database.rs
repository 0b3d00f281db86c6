//! The database of a lab host for the tests of a restore: made, filled, dumped, looked at. On the host's own server, as
//! its superuser. A file of its own, so that a test file includes it with `#[path]` beside `support`.
#![allow(dead_code)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::site::{program, until};
use super::support::lab::Lab;

pub const NAME: &str = "listings_prod";
pub const FOLDER: &str = "/opt/listings/backups";

/// What the tests' config says of the database.
pub const CONFIG: &str = r#"
[database]
name = "listings_prod"
user = "listings"
backups = "/opt/listings/backups/*"
checks = ["SELECT count(*) > 0 FROM listings"]
health = ["http://127.0.0.1:8080/health"]

[targets]
rpo = "5m"
"#;

/// Runs SQL in a database of the host and gives what it says.
#[track_caller]
pub fn sql_in(lab: &Lab, database: &str, text: &str) -> String {
    // Neither sudo nor Debian's psql, which is Perl in front of PostgreSQL's: they took a tenth of the processor in all tests.
    let script = "cd /; printf '%s' \"$2\" | setpriv --reuid=postgres --regid=postgres --init-groups \
                  /usr/lib/postgresql/15/bin/psql -X -q -A -t -v ON_ERROR_STOP=1 -d \"$1\" -f -";
    let output = lab.exec("web1", &["sh", "-c", script, "sql", database, text]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "in {database}: {text}\n{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
pub fn sql(lab: &Lab, text: &str) -> String {
    sql_in(lab, NAME, text)
}

/// A host with a server, the database with its owner and properties, a folder for dumps.
pub fn with_database() -> Lab {
    let lab = Lab::up(&["web1+postgres"]);
    lab.postgres("web1");
    filled(&lab);
    lab
}

/// The same of a server that runs.
pub fn filled(lab: &Lab) {
    lab.config(CONFIG);
    sql_in(lab, "postgres", "CREATE ROLE listings LOGIN; CREATE ROLE reader LOGIN;");
    make(lab, NAME, 2000);
    lab.sh("web1", &format!("mkdir -p {FOLDER}"));
}

/// A database as the service has it: tables, an index, a foreign key, and what belongs to the database itself.
#[track_caller]
pub fn make(lab: &Lab, name: &str, rows: u32) {
    sql_in(lab, "postgres", &format!("CREATE DATABASE \"{name}\" OWNER listings"));
    sql_in(
        lab,
        name,
        &format!(
            "SET ROLE listings;
             CREATE TABLE listings (id int PRIMARY KEY, title text NOT NULL, created_at timestamptz NOT NULL);
             CREATE TABLE orders (id int PRIMARY KEY, listing int REFERENCES listings, body text);
             CREATE INDEX ON listings (created_at);
             INSERT INTO listings SELECT i, 'title ' || i, '2026-01-01'::timestamptz + i * interval '1 min'
               FROM generate_series(1, {rows}) i;
             INSERT INTO orders SELECT i, 1 + i % {rows}, repeat(md5(i::text), 8) FROM generate_series(1, {rows} * 2) i;"
        ),
    );
    sql_in(
        lab,
        "postgres",
        &format!(
            "ALTER DATABASE \"{name}\" SET work_mem = '7MB';
             ALTER DATABASE \"{name}\" SET search_path = \"$user\", public;
             ALTER ROLE listings IN DATABASE \"{name}\" SET statement_timeout = '33s';
             ALTER DATABASE \"{name}\" CONNECTION LIMIT 77;
             REVOKE CONNECT ON DATABASE \"{name}\" FROM PUBLIC;
             GRANT CONNECT ON DATABASE \"{name}\" TO reader WITH GRANT OPTION;
             COMMENT ON DATABASE \"{name}\" IS 'it''s the one';"
        ),
    );
}

/// Dumps a database into a file of the folder, made so many minutes ago.
#[track_caller]
pub fn dump(lab: &Lab, database: &str, file: &str, minutes_ago: u32) {
    let shell = match file {
        file if file.ends_with(".gz") => format!("pg_dump -d '{database}' | gzip >{FOLDER}/{file}"),
        file if file.ends_with(".dump") => format!("pg_dump -Fc -d '{database}' >{FOLDER}/{file}"),
        file if file.ends_with(".dir") => {
            format!("pg_dump -Fd -f /tmp/x.dir -d '{database}' && mv /tmp/x.dir {FOLDER}/{file}")
        }
        file => format!("pg_dump -d '{database}' >{FOLDER}/{file}"),
    };
    lab.sh("web1", &format!("cd /; chmod 777 {FOLDER}; sudo -u postgres sh -euc \"{shell}\""));
    aged(lab, file, minutes_ago);
}

#[track_caller]
pub fn aged(lab: &Lab, file: &str, minutes_ago: u32) {
    lab.sh("web1", &format!("touch -d '{minutes_ago} minutes ago' {FOLDER}/{file}"));
}

/// Everything that a restore must not change before it is done, and must leave when it fails: the database's number, its
/// rows, its properties, and that clients get in.
#[track_caller]
pub fn state(lab: &Lab) -> String {
    let inside = sql(
        lab,
        "SELECT count(*), max(id), md5(string_agg(title, ',' ORDER BY id)) FROM listings
         UNION ALL SELECT count(*), max(id), md5(string_agg(body, ',' ORDER BY id)) FROM orders",
    );
    format!("{}\n{inside}\n{}", oid(lab, NAME), properties(lab, NAME))
}

pub fn oid(lab: &Lab, database: &str) -> String {
    sql_in(lab, "postgres", &format!("SELECT oid FROM pg_database WHERE datname = '{database}'"))
}

/// Owner, encoding, locale, limit, rights, settings and comment of a database.
pub fn properties(lab: &Lab, database: &str) -> String {
    sql_in(
        lab,
        "postgres",
        &format!(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, datconnlimit, datallowconn,
               shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{database}';
             SELECT a.grantee::regrole, a.privilege_type, a.is_grantable FROM pg_database d, aclexplode(d.datacl) a
               WHERE datname = '{database}' ORDER BY 1, 2;
             SELECT setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
               WHERE datname = '{database}' ORDER BY 1"
        ),
    )
}

/// The databases of ours beside the live one.
pub fn relatives(lab: &Lab) -> Vec<String> {
    let names = "SELECT datname FROM pg_database WHERE datname ~ '_(copy|before|undone|drill)_2' ORDER BY 1";
    sql_in(lab, "postgres", names).lines().map(str::to_owned).collect()
}

/// Dumps that must not be restored, and a word of what must be said of each.
pub const BAD_DUMPS: &[(&str, &str)] = &[
    ("cut-in-copy.sql.gz", "cut off, inside COPY public.orders"),
    ("no-trailer.sql.gz", "pg_dump's last line is missing"),
    ("cut-gzip.sql.gz", "the gzip file ends too early"),
    ("bad-crc.sql.gz", "cannot be read to its end"),
    ("empty.sql", "it is empty"),
    ("empty.sql.gz", "it is empty"),
    ("list.sql", "it is not a dump"),
    ("noise.sql.gz", "it is not a dump"),
    ("create.sql.gz", "CREATE DATABASE listings_prod"),
    ("all.sql.gz", "a dump of a whole server (pg_dumpall)"),
    ("other.sql.gz", "another database's"),
    ("newer.sql.gz", "made by pg_dump 19"),
    ("timeout.sql.gz", "sets transaction_timeout"),
    ("wrong-sql.sql.gz", "syntax error"),
    ("wrong-table.sql.gz", "nowhere"),
    ("cut.dump", "cannot be read to its end"),
    ("growing.sql", "it is still being written"),
    ("nothing-there.sql", "there is no dump at"),
];

/// Makes all of them from `good.sql.gz`; one goes on growing until `/run/grower` is killed.
#[track_caller]
pub fn make_bad_dumps(lab: &Lab) {
    make(lab, "other", 5);
    sql_in(lab, "other", "ALTER TABLE listings RENAME TO houses; ALTER TABLE orders RENAME TO sales;");
    lab.sh(
        "web1",
        &format!(
            "cd {FOLDER}; zcat good.sql.gz >plain.sql
             head -c 100000 plain.sql | gzip >cut-in-copy.sql.gz
             head -n -8 plain.sql | gzip >no-trailer.sql.gz
             head -c 20000 good.sql.gz >cut-gzip.sql.gz
             cp good.sql.gz bad-crc.sql.gz; printf '\\001\\002' | dd of=bad-crc.sql.gz bs=1 conv=notrunc seek=$(($(stat -c %s good.sql.gz) - 7)) 2>/dev/null
             : >empty.sql; : | gzip >empty.sql.gz
             echo 'buy milk' >list.sql; head -c 50000 /dev/urandom >noise.sql.gz
             cd /; sudo -u postgres pg_dump -C {NAME} | gzip >{FOLDER}/create.sql.gz
             sudo -u postgres pg_dumpall | gzip >{FOLDER}/all.sql.gz
             sudo -u postgres pg_dump other | gzip >{FOLDER}/other.sql.gz
             cd {FOLDER}
             sed 's/Dumped by pg_dump version 15[.0-9]*/Dumped by pg_dump version 19.1/' plain.sql | gzip >newer.sql.gz
             sed 's/^SET statement_timeout = 0;/&\\nSET transaction_timeout = 0;/' plain.sql | gzip >timeout.sql.gz
             sed 's/^CREATE INDEX/CREATE INDEXX/' plain.sql | gzip >wrong-sql.sql.gz
             sed 's/^COPY public.listings/COPY public.nowhere/' plain.sql | gzip >wrong-table.sql.gz
             sudo -u postgres pg_dump -Fc {NAME} >whole.dump; head -c 40000 whole.dump >cut.dump
             touch -d '2 hours ago' *; (while :; do echo x >>growing.sql; sleep 0.05; done) >/dev/null 2>&1 & echo $! >/run/grower"
        ),
    );
}

/// A run that comes to its question and waits there.
pub struct Asked {
    child: Child,
    said: PathBuf,
}

impl Asked {
    pub fn begin(lab: &Lab, words: &[&str]) -> Asked {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let said = lab.folder().join(format!("asked{number}"));
        let file = File::create(&said).expect("make a file for what it says");
        let child = program(lab, words)
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a second handle of that file"))
            .stderr(file)
            .spawn()
            .expect("start the program");
        Asked { child, said }
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    #[track_caller]
    pub fn until_it_says(&mut self, words: &str) {
        until(&format!("it says {words:?}"), || {
            let is_over = self.child.try_wait().expect("look at the program").is_some();
            assert!(!is_over || self.said().contains(words), "it ended without {words:?}:\n{}", self.said());
            self.said().contains(words)
        });
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("look at the program").is_some()
    }

    pub fn type_line(&mut self, line: &str) {
        use std::io::Write as _;
        let mut stdin = self.child.stdin.take().expect("piped");
        // One that has ended by itself has said why.
        let _ = stdin.write_all(line.as_bytes());
    }

    /// Types a line and gives the exit code.
    #[track_caller]
    pub fn answer(mut self, line: &str) -> (i32, String) {
        self.type_line(line);
        self.ended()
    }

    /// The exit code, once it has ended.
    #[track_caller]
    pub fn ended(mut self) -> (i32, String) {
        let status = self.child.wait().expect("it ends");
        (status.code().unwrap_or(-1), self.said())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("send a signal to our child");
    }

    /// `kill -9`.
    pub fn kill(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.said()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
