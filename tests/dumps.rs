//! What is in a dump and what is not, on a real server with the real pg_dump: each option is told for what it makes, no
//! part of a database is taken for all of it, and what a copy lacks besides rows is said before the question.

#[path = "support/database.rs"]
mod database;
#[path = "support/site.rs"]
mod site;
mod support;

use database::*;
use site::*;
use support::Scene;
use support::lab::Lab;

/// One of everything that is no row.
const RICH: &str = r"
SET ROLE listings;
CREATE TYPE mood AS ENUM ('fine', 'ill');
CREATE TABLE moods (id serial PRIMARY KEY, mood mood, note text UNIQUE);
CREATE TABLE visits (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
INSERT INTO visits SELECT i, '2026-01-02' FROM generate_series(1, 50) i;
INSERT INTO moods (mood) SELECT 'fine' FROM generate_series(1, 20);
CREATE VIEW fine AS SELECT * FROM moods WHERE mood = 'fine';
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM moods;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER keeps BEFORE UPDATE ON moods FOR EACH ROW EXECUTE FUNCTION kept();
ALTER TABLE moods ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody ON moods USING (true);
GRANT SELECT ON listings, moods TO reader;
COMMENT ON TABLE moods IS 'how they are';
CREATE INDEX ON ONLY visits (id);
RESET ROLE;
SELECT lo_create(4711);
";

/// Options of pg_dump, and a word of what is said of what they make.
const OPTIONS: &[(&str, &str)] = &[
    ("", "whole, 4 tables"),
    ("--schema-only", "a dump of a part: the schema only"),
    ("--data-only", "a dump of a part: rows only"),
    ("--section=pre-data", "a dump of a part: the schema only"),
    ("--section=data", "a dump of a part: rows only"),
    ("--section=post-data", "a dump of a part: indexes, keys and triggers only"),
    ("--section=pre-data --section=data", "no index, key or trigger in it"),
    ("--table=listings", "a dump of a part: it has 1 tables, and 5 are live"),
    ("--schema=public", "whole, 4 tables"),
    ("--exclude-table=orders", "whole, 3 tables"),
    ("--exclude-table-data=orders", "whole, 3 tables"),
    ("--no-acl", "whole, 4 tables"),
    ("--no-owner", "whole, 4 tables"),
    ("--clean", "whole, 4 tables"),
    ("--clean --if-exists", "whole, 4 tables"),
    ("--create", "CREATE DATABASE listings_prod"),
    ("--inserts", "6,070 INSERTs"),
    ("--column-inserts", "6,070 INSERTs"),
    ("--rows-per-insert=100 --inserts", "INSERTs"),
    ("--disable-triggers", "whole, 4 tables"),
    ("--no-comments", "whole, 4 tables"),
    ("--quote-all-identifiers", "whole, 4 tables"),
    ("--disable-dollar-quoting", "whole, 4 tables"),
    ("--use-set-session-authorization", "whole, 4 tables"),
    ("--serializable-deferrable", "whole, 4 tables"),
    ("--load-via-partition-root", "whole, 4 tables"),
    ("--encoding=LATIN1", "whole, 4 tables"),
    ("--no-blobs", "whole, 4 tables"),
    ("--no-tablespaces --no-publications --no-subscriptions", "whole, 4 tables"),
    ("--verbose", "whole, 4 tables"),
];

fn rich() -> Lab {
    let lab = with_database();
    sql(&lab, RICH);
    lab.sh("web1", &format!("chmod 777 {FOLDER}"));
    lab
}

/// A dump made with these options, an hour ago.
#[track_caller]
fn dumped(lab: &Lab, options: &str, file: &str) {
    lab.sh("web1", &format!("cd /; sudo -u postgres pg_dump {options} {NAME} >{FOLDER}/{file} 2>/dev/null"));
    aged(lab, file, 60);
}

fn verified(lab: &Lab, file: &str) -> Scene {
    run(lab, &["backups", "verify", &format!("{FOLDER}/{file}")])
}

/// The tables that tools for migrations keep, as each of them makes its own; their rows at the dump and those since; what is
/// said of them. Rails writes the newest first where it loads a schema, goose and prisma keep what was taken back.
const MIGRATED: &[(&str, &str, &str, &str)] = &[
    (
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
        "INSERT INTO alembic_version VALUES ('1975ea83b712')",
        "UPDATE alembic_version SET version_num = 'ae1027a6acf0'",
        "(alembic): live is at ae1027a6acf0, the dump at 1975ea83b712",
    ),
    (
        "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)",
        "INSERT INTO schema_migrations VALUES (9, false)",
        "UPDATE schema_migrations SET version = 10",
        "(golang-migrate): live is at 10, the dump at 9",
    ),
    (
        "CREATE TABLE schema_migrations (version character varying NOT NULL PRIMARY KEY)",
        "INSERT INTO schema_migrations VALUES ('20261120090000'), ('20261118090000')",
        "INSERT INTO schema_migrations VALUES ('20261124090000'), ('20261125090000')",
        "(rails): live is at 20261125090000, the dump at 20261120090000: 2 migrations newer (20261124090000, 20261125090000)",
    ),
    (
        "CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ,
           migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ, started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
           applied_steps_count INTEGER NOT NULL DEFAULT 0)",
        "INSERT INTO _prisma_migrations VALUES ('a', '', now(), '20261101_init', NULL, NULL), ('b', '', NULL, '20261102_wrong', 'no', now())",
        "INSERT INTO _prisma_migrations VALUES ('c', '', now(), '20261124_price', NULL, NULL, now() + interval '1 s')",
        "(prisma): live is at 20261124_price, the dump at 20261101_init: 1 migration newer (20261124_price)",
    ),
    (
        "CREATE TABLE __drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at bigint)",
        "INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 1763900000000)",
        "INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('y', 1763990000000)",
        "(drizzle): live is at 1763990000000, the dump at 1763900000000: 1 migration newer (1763990000000)",
    ),
    (
        "CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL PRIMARY KEY, version VARCHAR(50), description VARCHAR(200) NOT NULL,
           type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INTEGER, installed_by VARCHAR(100) NOT NULL,
           installed_on TIMESTAMP NOT NULL DEFAULT now(), execution_time INTEGER NOT NULL, success BOOLEAN NOT NULL)",
        "INSERT INTO flyway_schema_history VALUES (1, '1.9', 'init', 'SQL', 'V1', 1, 'x', now(), 1, true),
           (2, NULL, 'views', 'SQL', 'R__views', 1, 'x', now(), 1, true)",
        "INSERT INTO flyway_schema_history VALUES (3, '1.10', 'price', 'SQL', 'V2', 1, 'x', now(), 1, true)",
        "(flyway): live is at 1.10, the dump at 1.9: 1 migration newer (1.10)",
    ),
    (
        "CREATE TABLE databasechangelog (id VARCHAR(255) NOT NULL, author VARCHAR(255) NOT NULL, filename VARCHAR(255) NOT NULL,
           dateexecuted TIMESTAMP NOT NULL, orderexecuted INTEGER NOT NULL, exectype VARCHAR(10) NOT NULL, md5sum VARCHAR(35),
           description VARCHAR(255), comments VARCHAR(255), tag VARCHAR(255), liquibase VARCHAR(20), contexts VARCHAR(255),
           labels VARCHAR(255), deployment_id VARCHAR(10))",
        "INSERT INTO databasechangelog VALUES ('raw-1', 'x', 'changelog.xml', now(), 1, 'EXECUTED')",
        "INSERT INTO databasechangelog VALUES ('raw-2', 'x', 'changelog.xml', now(), 2, 'EXECUTED')",
        "(liquibase): live is at changelog.xml.raw-2, the dump at changelog.xml.raw-1: 1 migration newer (changelog.xml.raw-2)",
    ),
    (
        "CREATE TABLE django_migrations (id bigint NOT NULL PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, app varchar(255) NOT NULL,
           name varchar(255) NOT NULL, applied timestamptz NOT NULL)",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('auth', '0001_initial', now())",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '0001_initial', now())",
        "(django): live is at shop.0001_initial, the dump at auth.0001_initial: 1 migration newer (shop.0001_initial)",
    ),
    (
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
           success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)",
        "INSERT INTO _sqlx_migrations VALUES (20261120, 'init', now(), true, 'x', 1)",
        "INSERT INTO _sqlx_migrations VALUES (20261124, 'price', now(), true, 'x', 1), (20261125, 'broken', now(), false, 'x', -1)",
        "(sqlx): live is at 20261124, the dump at 20261120: 1 migration newer (20261124)",
    ),
    (
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
        "INSERT INTO __diesel_schema_migrations VALUES ('00000000000000')",
        "INSERT INTO __diesel_schema_migrations VALUES ('20261124090000')",
        "(diesel): live is at 20261124090000, the dump at 00000000000000: 1 migration newer (20261124090000)",
    ),
    (
        "CREATE TABLE goose_db_version (id integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, version_id bigint NOT NULL,
           is_applied boolean NOT NULL, tstamp timestamp NOT NULL DEFAULT now())",
        "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true), (7, true)",
        "INSERT INTO goose_db_version (version_id, is_applied) VALUES (8, true)",
        "(goose): live is at 8, the dump at 7: 1 migration newer (8)",
    ),
    (
        "CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar(255), batch integer, migration_time timestamptz)",
        "INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('a.js', 1, now())",
        "INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('b.js', 2, now())",
        "(knex): live is at b.js, the dump at a.js: 1 migration newer (b.js)",
    ),
];

#[test]
fn each_option_of_pg_dump_is_told_for_what_it_makes() {
    let lab = rich();
    for (number, (options, _)) in OPTIONS.iter().enumerate() {
        dumped(&lab, options, &format!("{number:02}.sql"));
    }
    let list = run(&lab, &["backups", "list"]);
    list.exits(0);
    for (number, (options, words)) in OPTIONS.iter().enumerate() {
        let line = list.stdout.lines().find(|line| line.contains(&format!("/{number:02}.sql "))).unwrap_or_default();
        list.holds(line.contains(words), &format!("pg_dump {options}: {words:?} in {line:?}"));
    }
    // The newest are of parts: none of them is taken, forced or not.
    for number in [1, 2, 5, 7] {
        aged(&lab, &format!("{number:02}.sql"), 1);
    }
    for words in [&["--restore-db"][..], &["--restore-db", "--force"]] {
        let scene = rollback(&lab, &[words, &["--dry-run"]].concat());
        scene.says("dump passed over: ").never_says("01.sql would be restored").never_says("07.sql would be restored");
    }
    // All that is whole is a database again, and is like the live one.
    for number in [0, 16, 19, 23, 25, 29] {
        verified(&lab, &format!("{number:02}.sql")).exits(0).says("would have served");
    }
    verified(&lab, "07.sql").exits(1).says("it has 1 tables, and 5 are live").says("would NOT have served");
}

#[test]
fn a_copy_that_lacks_what_its_dump_left_out_never_goes_live_unless_forced() {
    let lab = rich();
    let before = state(&lab);
    for (options, file, words) in [
        (
            "--section=pre-data --section=data",
            "sections.sql",
            "the dump has no indexes, keys and triggers in it; the copy lacks",
        ),
        ("--no-acl", "no-acl.sql", "the dump has no rights in it (--no-acl); the copy lacks 2: 2 grants"),
        (
            "--no-owner",
            "no-owner.sql",
            "the dump has no owners in it (--no-owner); in the copy belong to somebody else",
        ),
    ] {
        dumped(&lab, options, file);
        let path = format!("{FOLDER}/{file}");
        let words_of_run = ["--reason", "x", "--restore-db", "--backup", &path];
        let scene = Scene::of_typing(&mut program(&lab, &words_of_run), lab.folder(), "RESTORE\n");
        scene.exits(6).says("the copy is incomplete").says(words).says("database listings_prod as it was");
        scene.holds(
            state(&lab) == before && relatives(&lab).is_empty(),
            "the live database is as it was, the copy gone",
        );
        verified(&lab, file).exits(1).says(words);
    }
    // What green's migration made since is no reason: it is told, with what it costs.
    for (n, (table, first, ..)) in MIGRATED.iter().enumerate() {
        sql(&lab, &format!("SET ROLE listings; CREATE SCHEMA m{n}; SET search_path = m{n}; {table}; {first}"));
    }
    dumped(&lab, "", "whole.sql");
    sql(
        &lab,
        "SET ROLE listings; ALTER TABLE listings ADD COLUMN price int; CREATE INDEX newer ON listings (price);
         CREATE TABLE added (id int PRIMARY KEY); DROP VIEW fine; CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    );
    for (n, (_, _, later, _)) in MIGRATED.iter().enumerate() {
        sql(&lab, &format!("SET ROLE listings; SET search_path = m{n}; {later}"));
    }
    let path = format!("{FOLDER}/whole.sql");
    let whole = ["--reason", "x", "--restore-db", "--backup", &path];
    let scene = Scene::of_typing(&mut program(&lab, &whole), lab.folder(), "no\n");
    scene
        .exits(6)
        .says("Besides rows:")
        .says("  migrations (alembic): ")
        .says("live now and not in the dump, LOST:")
        .says("1 index (public.newer)")
        .says("1 table (public.added)")
        .says("in the dump and not live, comes back:")
        .says("1 view (public.fine)")
        .says("another in the dump than live:")
        .says("1 function (public.one())");
    for (_, _, _, words) in MIGRATED {
        scene.says(words);
    }
    // Where only traffic goes back, it is said what blue will find.
    for words in [&["--dry-run"][..], &[]] {
        let scene = rollback(&lab, words);
        scene.exits(0).says("1 migration newer (b.js): blue may not know these");
        for (_, _, _, words) in MIGRATED {
            scene.says(words);
        }
    }
    // Whoever wonders whether to go back is told, too, and whether a dump would be there.
    // Within a few seconds, or not at all: a machine that is busy needs another try.
    let assess = || run(&lab, &["assess"]);
    until("it is known in time", || {
        let said = assess().stdout;
        said.contains("1 migration newer (b.js): blue may not know these")
            && said.contains("a dump is fit, should the data be bad, too: ")
    });
    assess().exits(0).says("mind         ");
    let forced = ["--reason", "x", "--restore-db", "--backup", &format!("{FOLDER}/no-acl.sql"), "--force"];
    let scene = Scene::of_typing(&mut program(&lab, &forced), lab.folder(), "RESTORE\n");
    scene.exits(0).says("WARNING:    the copy is incomplete: the dump has no rights in it");
    let report = kept(&lab, "INCIDENT_REPORT.md");
    scene.holds(report.contains("live now and not in the dump, LOST:"), &report);
}

/// Packed and archived in every way that pg_dump and a shell know; as the host has the tools for it.
#[test]
fn what_a_dump_is_packed_in_is_read_through_the_hosts_own_programs_or_named() {
    let lab = rich();
    lab.sh(
        "web1",
        &format!(
            "cd /; dump() {{ sudo -u postgres pg_dump \"$@\" {NAME}; }}; cd {FOLDER}
             dump | xz -c1 >a.sql.xz; dump | bzip2 -c1 >b.sql.bz2; dump -Fc | gzip -c1 >c.dump.gz; dump -Ft >d.tar
             dump -Ft | gzip -c1 >e.tar.gz; cd /; sudo -u postgres pg_dump -Fd -f {FOLDER}/h.dir {NAME}; chmod 700 {FOLDER}/h.dir; cd {FOLDER}; dump -Fc >f.dump; printf '\\050\\265\\057\\375rest' >g.sql.zst
             head -c 3000 a.sql.xz >cut.sql.xz; chmod 600 d.tar; touch -d '2 hours ago' *"
        ),
    );
    let list = run(&lab, &["backups", "list"]);
    list.exits(0);
    let verdict = |file: &str| list.stdout.lines().find(|line| line.contains(&format!("/{file} "))).unwrap_or_default();
    for file in ["a.sql.xz", "b.sql.bz2", "c.dump.gz", "d.tar", "e.tar.gz", "f.dump"] {
        list.holds(verdict(file).contains("whole, 4 tables"), &format!("{file}: {}", verdict(file)));
        verified(&lab, file).exits(0).says("would have served");
    }
    list.holds(
        verdict("cut.sql.xz").contains("cannot be read to its end") || verdict("cut.sql.xz").contains("cut off"),
        "cut",
    );
    list.holds(verdict("g.sql.zst").contains("it is packed with zstd, which is not on the host"), verdict("g.sql.zst"));
    // An extension brings rows of its own, of which the dump has only those that were added: as PostGIS does.
    lab.sh(
        "web1",
        "cd /usr/share/postgresql/15/extension
         printf \"default_version = '1.0'\nrelocatable = true\n\" >shop.control
         echo \"CREATE TABLE shop_places (id int PRIMARY KEY); INSERT INTO shop_places SELECT generate_series(1, 500);
           SELECT pg_extension_config_dump('shop_places', 'WHERE id > 500');\" >shop--1.0.sql",
    );
    sql(&lab, "CREATE EXTENSION shop; INSERT INTO shop_places VALUES (501)");
    dumped(&lab, "", "i.sql");
    verified(&lab, "i.sql").exits(0).says("5 tables, 6,571 rows").says("would have served");

    // What it saw would have been too slow and too old, and how long the drills before took.
    lab.sh("web1", &format!("touch -d '3 hours ago' {FOLDER}/i.sql"));
    let promised = "rpo = \"1h\"\nrto = \"1ms\"\nrestore = \"2ms\"";
    lab.config(&CONFIG.replace("rpo = \"5m\"", promised));
    let scene = verified(&lab, "i.sql");
    scene.exits(0).says("a restore would have taken ").says(" of the 0.0 s that targets.restore promises");
    scene.says("a restore alone would have taken ").says(" of the 0.0 s that targets.rto promises");
    scene.says("what is lost would have been 3 h").says(" of the 1 h 00 min that targets.rpo promises");
    scene.says("loaded before in ").says("; now in ");
    // One that the config's own checks do not let pass would not have served.
    lab.config(&CONFIG.replace("count(*) > 0", "count(*) > 1000000"));
    verified(&lab, "i.sql")
        .exits(1)
        .says("the check `SELECT count(*) > 1000000 FROM listings`")
        .says("would NOT have served");
    let drills = std::fs::read_to_string(lab.folder().join("incidents/drills.jsonl")).expect("a record of drills");
    let last: Vec<serde_json::Value> =
        drills.lines().rev().take(2).map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!((&last[0]["would_serve"], &last[1]["would_serve"]), (&false.into(), &true.into()), "{drills}");
    assert_eq!(last[1]["missed"].as_array().map(Vec::len), Some(3), "{drills}");
    lab.config(CONFIG);
    // Without what is carried over, by the host's own shell.
    lab.sh("web1", "mount -o remount,noexec /dev/shm; mount -t tmpfs -o noexec tmpfs /tmp; mount -t tmpfs -o noexec tmpfs /var/tmp");
    lab.sh("web1", "mount -t tmpfs -o noexec,uid=1000 tmpfs /home/deploy/.cache 2>/dev/null || true");
    for file in ["a.sql.xz", "c.dump.gz"] {
        verified(&lab, file).exits(0).says("would have served");
    }
}
