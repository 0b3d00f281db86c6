//! The database goes back on every kind of host and server that people have: in a container, without a place where a
//! program may run, with other formats, names, encodings and roles.

#[path = "support/database.rs"]
mod database;
#[path = "support/site.rs"]
mod site;
mod support;

use database::*;
use rollback_prod::nouns::units::grouped;
use site::*;
use support::Scene;
use support::lab::Lab;

#[track_caller]
fn restore(lab: &Lab, words: &[&str]) -> Scene {
    let mut all = vec!["--reason", "migration failed", "--restore-db"];
    all.extend(words);
    Scene::of_typing(&mut program(lab, &all), lab.folder(), "RESTORE\n")
}

#[track_caller]
fn nothing_is_left(lab: &Lab, scene: &Scene) {
    let left = leftovers(lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
}

/// Without the properties' first line, the number: what must be the same in another database.
fn contents(lab: &Lab) -> String {
    state(lab).split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default()
}

#[test]
fn where_no_program_may_run_the_shell_does_the_same() {
    let lab = with_database();
    dump(&lab, NAME, "good.sql.gz", 200);
    make_bad_dumps(&lab);
    let dumped = contents(&lab);
    sql(&lab, "INSERT INTO listings VALUES (77777, 'late', '2026-11-21')");
    lab.sh(
        "web1",
        "for folder in /tmp /var/tmp /dev/shm /home/deploy; do mount --bind $folder $folder; mount -o remount,bind,noexec $folder; done",
    );
    let before = state(&lab);
    for (file, wanted) in BAD_DUMPS.iter().copied() {
        let scene = restore(&lab, &["--backup", &format!("{FOLDER}/{file}")]);
        // gzip and awk have words of their own for what is cut off.
        let wanted = if file.starts_with("cut-gzip") || file == "cut.dump" { "it is cut off" } else { wanted };
        scene.exits(6).says(wanted).says("database listings_prod as it was");
        scene.holds(state(&lab) == before, &format!("{file}: the live database is whole and as it was"));
        scene.holds(relatives(&lab).is_empty(), &format!("{file}: no copy is left: {:?}", relatives(&lab)));
    }
    lab.sh("web1", "kill $(cat /run/grower)");
    let scene = restore(&lab, &["--backup", &format!("{FOLDER}/good.sql.gz")]);
    scene.exits(0).says("2 tables, 6,000 rows");
    scene.holds(contents(&lab) == dumped, "rows and properties are the dump's");
    nothing_is_left(&lab, &scene);
}

#[test]
fn custom_and_directory_format_and_plain_text_go_back_too() {
    let lab = with_database();
    let dumped = contents(&lab);
    for file in ["a.dump", "a.dir", "a.sql"] {
        dump(&lab, NAME, file, 200);
        sql(&lab, "INSERT INTO listings VALUES (77777, 'late', '2026-11-21')");
        let path = format!("{FOLDER}/{file}");
        let scene = restore(&lab, &["--backup", &path]);
        scene.exits(0).says("2 tables, 6,000 rows");
        scene.holds(contents(&lab) == dumped, &format!("{file}: rows and properties are the dump's"));
        // Where only root may read it.
        lab.sh("web1", &format!("chown -R root:root {path}; chmod -R go-rwx {path}; chmod 700 {FOLDER}"));
        sql(&lab, "INSERT INTO listings VALUES (77777, 'late', '2026-11-21')");
        let scene = restore(&lab, &["--backup", &path]);
        scene.exits(0);
        scene.holds(contents(&lab) == dumped, &format!("{file}, root's: rows and properties are the dump's"));
        nothing_is_left(&lab, &scene);
        lab.sh("web1", &format!("chmod 777 {FOLDER}"));
    }
    run(&lab, &["backups"]).exits(0).says("directory").says("custom").says("plain");
}

#[test]
fn the_database_of_a_container_goes_back_and_a_stopped_one_is_started() {
    let lab = Lab::up(&["web1+docker+postgres"]);
    lab.docker("web1");
    lab.postgres_image("web1");
    let config = CONFIG
        .replace("user = \"listings\"", "user = \"listings\"\nadmin = \"listings\"\ncontainer = \"listings_postgres\"");
    lab.config(&config);
    run(&lab, &["backups"]).exits(1).says("docker knows no container listings_postgres");
    lab.sh(
        "web1",
        &format!(
            "docker run -d --name listings_postgres -e POSTGRES_USER=listings --network host postgres:lab >/dev/null
             until docker exec -i listings_postgres psql -U listings -d postgres -qc 'SELECT 1' >/dev/null 2>&1; do sleep 0.1; done
             docker exec -i listings_postgres psql -U listings -d postgres -qc 'CREATE DATABASE listings_prod'
             docker exec -i listings_postgres psql -U listings -d listings_prod -q <<'SQL'
CREATE TABLE listings (id int PRIMARY KEY, title text); CREATE TABLE orders (id int PRIMARY KEY, listing int REFERENCES listings);
INSERT INTO listings SELECT i, 'title ' || i FROM generate_series(1, 500) i; INSERT INTO orders SELECT i, i FROM generate_series(1, 300) i;
SQL
             mkdir -p {FOLDER}; cd {FOLDER}
             docker exec -i listings_postgres pg_dump -U listings listings_prod | gzip >a.sql.gz
             docker exec -i listings_postgres pg_dump -U listings -Fc listings_prod >a.dump
             docker exec -i listings_postgres sh -c 'pg_dump -U listings -Fd -f /tmp/a.dir listings_prod && tar -C /tmp -cf - a.dir' | tar -xf -
             touch -d '1 hour ago' *"
        ),
    );
    let count = |lab: &Lab| {
        lab.sh(
            "web1",
            "docker exec -i listings_postgres psql -U listings -d listings_prod -Atqc 'SELECT count(*) FROM listings'",
        )
    };
    for file in ["a.sql.gz", "a.dump", "a.dir"] {
        lab.sh("web1", "docker exec -i listings_postgres psql -U listings -d listings_prod -qc \"INSERT INTO listings VALUES (9999, 'late')\"");
        assert_eq!(count(&lab), "501");
        let scene = restore(&lab, &["--backup", &format!("{FOLDER}/{file}")]);
        scene.exits(0).says("2 tables, 800 rows");
        scene.holds(count(&lab) == "500", &format!("{file}: the dump's rows are live"));
        nothing_is_left(&lab, &scene);
        let inside = lab.sh("web1", "docker exec -i listings_postgres ls /tmp");
        scene.holds(!inside.contains("rollback-prod"), &format!("nothing of ours is left in the container: {inside}"));
    }
    lab.sh("web1", "docker stop -t 5 listings_postgres >/dev/null");
    run(&lab, &["backups"]).exits(0).says("its container does not run, a restore starts it");
    let scene = restore(&lab, &["--backup", &format!("{FOLDER}/a.sql.gz")]);
    scene.exits(0).says("the database's container does not run; it is started");
    run(&lab, &["backups", "verify"]).exits(0).says("would have served");
    let drills = std::fs::read_to_string(lab.folder().join("incidents/drills.jsonl")).expect("a record of drills");
    assert!(drills.contains("\"would_serve\":true") && drills.lines().count() == 1, "{drills}");
}

#[test]
fn names_encodings_and_locales_of_all_kinds_survive() {
    let lab = with_database();
    let odd = "It's a \"Shop\" = 1";
    let name = odd.replace('"', "\\\"");
    sql_in(&lab, "postgres", "CREATE ROLE \"Odd Owner\" LOGIN");
    let quoted = odd.replace('"', "\"\"");
    lab.sh("web1", "mkdir -p /var/lib/postgresql/space; chown postgres /var/lib/postgresql/space");
    sql_in(&lab, "postgres", "CREATE TABLESPACE elsewhere LOCATION '/var/lib/postgresql/space'");
    let kinds = [
        "ENCODING 'UTF8'",
        "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
        "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
        "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'",
        "TABLESPACE elsewhere",
    ];
    for kind in kinds {
        sql_in(
            &lab,
            "postgres",
            &format!("CREATE DATABASE \"{quoted}\" TEMPLATE template0 OWNER \"Odd Owner\" {kind}"),
        );
        let inside = |text: &str| {
            // psql -d would read a name with a = as a connection string
            let conninfo = format!("dbname='{}'", odd.replace('\\', "\\\\").replace('\'', "\\'"));
            sql_in(&lab, &conninfo, text)
        };
        inside(
            "SET ROLE \"Odd Owner\"; CREATE SCHEMA \"We ird\";
             CREATE TABLE \"We ird\".\"T a\"\"b;l(e\" (\"c ol\" int PRIMARY KEY, \"x)y\" text DEFAULT 'a;''b');
             INSERT INTO \"We ird\".\"T a\"\"b;l(e\" SELECT i, E'\\\\.\\n\\\\connect x\\nDROP DATABASE y; \\t' || chr(65 + i % 26)
               FROM generate_series(1, 300) i;
             CREATE TABLE listings (id int PRIMARY KEY, \"Wh at\" text); INSERT INTO listings VALUES (1, 'a');",
        );
        lab.sh(
            "web1",
            &format!(
                "cd /; sudo -u postgres pg_dump -d \"$(cat <<'X'\ndbname='{}'\nX\n)\" | gzip >{FOLDER}/odd.sql.gz; touch -d '1 hour ago' {FOLDER}/odd.sql.gz",
                odd.replace('\'', "\\'")
            ),
        );
        let facts = format!(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, daticulocale, dattablespace
               FROM pg_database WHERE datname = '{}'",
            odd.replace('\'', "''")
        );
        let (was, rows) = (
            sql_in(&lab, "postgres", &facts),
            "SELECT count(*), md5(string_agg(\"x)y\", ',' ORDER BY \"c ol\")) FROM \"We ird\".\"T a\"\"b;l(e\"",
        );
        let dumped = inside(rows);
        inside("DELETE FROM \"We ird\".\"T a\"\"b;l(e\" WHERE \"c ol\" > 200; INSERT INTO listings VALUES (2, 'b')");
        lab.config(&CONFIG.replace(
            "name = \"listings_prod\"\nuser = \"listings\"",
            &format!("name = \"{name}\"\nuser = \"Odd Owner\""),
        ));
        let scene = restore(&lab, &[]);
        scene.exits(0);
        scene.holds(inside(rows) == dumped, &format!("{kind}: the rows are back"));
        scene.holds(sql_in(&lab, "postgres", &facts) == was, &format!("{kind}: {was}"));
        let scene = Scene::of_typing(&mut program(&lab, &["undo"]), lab.folder(), "UNDO\n");
        scene.exits(0);
        scene.holds(inside("SELECT count(*) FROM listings") == "2", "and back again");
        nothing_is_left(&lab, &scene);
        let drop = "SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname LIKE 'It''s%'";
        for line in sql_in(&lab, "postgres", drop).lines() {
            sql_in(&lab, "postgres", line);
        }
    }
}

#[test]
fn a_database_of_two_thousand_tables_goes_back() {
    let lab = with_database();
    // One transaction holds a lock for each table; a thousand at a time is what a server takes by default.
    for part in 0..2 {
        sql(
            &lab,
            &format!(
                "SET client_min_messages = warning;
                 SELECT format('CREATE TABLE t%s (id int PRIMARY KEY, at timestamptz); INSERT INTO t%s SELECT i, now() FROM generate_series(1, 3) i', n, n)
                   FROM generate_series({part}001, {part}999) n
                 \\gexec"
            ),
        );
    }
    sql_in(&lab, "postgres", "ALTER SYSTEM SET max_locks_per_transaction = 1024");
    lab.sh("web1", "systemctl restart postgresql@15-main");
    until("the server is back", || {
        lab.exec("web1", &["sh", "-c", "cd /; sudo -u postgres psql -qc 'SELECT 1'"]).status.success()
    });
    dump(&lab, NAME, "a.sql.gz", 200);
    let tables =
        sql(&lab, "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace");
    sql(&lab, "DELETE FROM t1005 WHERE id = 2");
    let scene = restore(&lab, &[]);
    scene.exits(0).says("public.t1005").says(&format!("{} tables", grouped(tables.parse().expect("a number"))));
    scene.holds(sql(&lab, "SELECT count(*) FROM t1005") == "3", "its rows are back");
    nothing_is_left(&lab, &scene);
}

#[test]
fn roles_rooms_and_servers_that_do_not_fit_are_named() {
    let lab = with_database();
    dump(&lab, NAME, "a.sql.gz", 200);
    let dumped = contents(&lab);
    let before = state(&lab);
    let with = |from: &str, to: &str| lab.config(&CONFIG.replace(from, to));

    with("user = \"listings\"", "user = \"listings\"\nadmin = \"reader\"");
    restore(&lab, &[]).exits(6).says("the role reader may not create databases").says("CREATEDB");
    with("user = \"listings\"", "user = \"listings\"\nadmin = \"nobody_here\"");
    restore(&lab, &[]).exits(6).says("psql does not reach it as nobody_here").says("does not exist");
    sql_in(&lab, "postgres", "CREATE ROLE dba LOGIN CREATEDB; GRANT listings TO dba");
    with("user = \"listings\"", "user = \"listings\"\nadmin = \"dba\"");
    restore(&lab, &[]).exits(6).says("may not end other roles' sessions").says("GRANT pg_signal_backend TO");
    assert_eq!(state(&lab), before);

    // A disk without room: the server's own is full but for a little.
    lab.config(CONFIG);
    lab.sh("web1", "fallocate -l 1M /dev/null 2>/dev/null; cp -a /var/lib/postgresql/15 /tmp/pg; systemctl stop postgresql@15-main; mount -t tmpfs -o size=130m,mode=755 tmpfs /var/lib/postgresql/15; cp -a /tmp/pg/. /var/lib/postgresql/15/; rm -rf /tmp/pg; systemctl start postgresql@15-main");
    lab.sh("web1", "free=$(df -Pk /var/lib/postgresql/15 | awk 'NR == 2 { print $4 }'); dd if=/dev/zero of=/var/lib/postgresql/15/filler bs=1k count=$((free - 1500)) 2>/dev/null");
    restore(&lab, &[]).exits(6).says("the server's disk has").says("a second copy needs about").says("--force");
    // Forced, it fails in the middle, and the live database does not notice.
    restore(&lab, &["--force"]).exits(6).says("could not extend file");
    assert_eq!(state(&lab), before);
    assert!(relatives(&lab).is_empty(), "{:?}", relatives(&lab));
    lab.sh("web1", "rm /var/lib/postgresql/15/filler");
    restore(&lab, &[]).exits(0);
    assert_eq!(contents(&lab), dumped);

    // No database of that name at all: it is made from the dump.
    sql_in(&lab, "postgres", "DROP DATABASE listings_prod WITH (FORCE)");
    let scene = restore(&lab, &[]);
    scene.exits(0).says("there is no live database of that name");
    scene.holds(sql(&lab, "SELECT count(*) FROM listings") == "2000", "its rows are there");
    nothing_is_left(&lab, &scene);

    // A server that does not run, and a host without psql.
    lab.sh("web1", "systemctl stop postgresql@15-main");
    restore(&lab, &[]).exits(6).says("psql does not reach it as postgres");
    lab.sh("web1", "mv /usr/bin/psql /usr/bin/psql.gone; mv /usr/lib/postgresql/15/bin /usr/lib/postgresql/15/gone");
    restore(&lab, &[]).exits(6).says("no PostgreSQL server can be asked");
}

#[test]
fn roles_that_a_dump_needs_are_named_with_the_lines_that_make_them() {
    let lab = with_database();
    dump(&lab, NAME, "a.sql.gz", 200);
    sql_in(&lab, "postgres", "CREATE ROLE auditor; CREATE ROLE \"Re\"\"port\"");
    sql(
        &lab,
        "GRANT SELECT ON listings TO auditor WITH GRANT OPTION; CREATE TABLE own (a int); ALTER TABLE own OWNER TO \"Re\"\"port\"",
    );
    dump(&lab, NAME, "roles.sql.gz", 100);
    sql(&lab, "DROP TABLE own; REVOKE ALL ON listings FROM auditor; DROP ROLE auditor; DROP ROLE \"Re\"\"port\"");
    let scene = restore(&lab, &[]);
    scene.exits(0).says("it gives things to roles that the server does not have: Re\"port, auditor");
    let of_roles = format!("{FOLDER}/roles.sql.gz");
    let scene = restore(&lab, &["--backup", &of_roles]);
    scene.exits(6).says("CREATE ROLE \"Re\"\"port\"; CREATE ROLE \"auditor\";");
    sql_in(&lab, "postgres", "CREATE ROLE \"Re\"\"port\"; CREATE ROLE \"auditor\"");
    restore(&lab, &["--backup", &of_roles]).exits(0);
    lab.sh("web1", &format!("rm {of_roles}"));
    // Of the rights that are live now the older one has none.
    restore(&lab, &["--backup", &format!("{FOLDER}/a.sql.gz"), "--force"]).exits(0);
}

#[test]
fn the_sudoers_line_that_check_prints_is_all_that_a_restore_needs() {
    let lab = with_database();
    dump(&lab, NAME, "good.sql.gz", 200);
    dump(&lab, NAME, "good.dump", 300);
    let dumped = contents(&lab);
    lab.sh(
        "web1",
        "echo '# nobody may do anything' >/etc/sudoers.d/deploy; sed -i /trust/d /etc/postgresql/15/main/pg_hba.conf",
    );
    sql(&lab, "SELECT pg_reload_conf()");
    // What sudo says beside an answer is none.
    let noisy = "#!/bin/sh\necho 'sudo: unable to resolve host web1: Name or service not known' >&2\nexec /usr/bin/sudo \"$@\"\n";
    install(&lab, "web1", "/usr/local/bin/sudo", noisy);
    let check = run(&lab, &["check"]);
    check.exits(1).says("psql does not reach it as postgres");
    let lines: Vec<&str> = check.stderr.lines().map(str::trim).filter(|line| line.starts_with("deploy ALL=")).collect();
    let of_database: Vec<&str> = lines.iter().copied().filter(|line| line.contains("(postgres)")).collect();
    let page = include_str!("../docs/start.md");
    check.holds(of_database.len() == 1, "one line is for the database");
    check.holds(page.contains(of_database[0]), "and it is the page's");
    let text = format!("{}\n", lines.join("\n"));
    write(&lab, "web1", "/etc/sudoers.d/deploy", &text);
    lab.sh("web1", "visudo -c -q");
    run(&lab, &["check"]).exits(0);
    for file in ["good.sql.gz", "good.dump"] {
        sql(&lab, "INSERT INTO listings VALUES (77777, 'late', '2026-11-21')");
        let scene = restore(&lab, &["--backup", &format!("{FOLDER}/{file}")]);
        scene.exits(0);
        scene.holds(contents(&lab) == dumped, &format!("{file}: rows and properties are the dump's"));
        nothing_is_left(&lab, &scene);
    }
}
