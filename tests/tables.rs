//! Some tables' rows out of a dump and into the live database, on a real server: what goes back, what stays, what is refused,
//! what strikes it in the middle, and all of it taken back.

#[path = "support/database.rs"]
mod database;
#[path = "support/site.rs"]
mod site;
mod support;

use std::process::Command;

use database::*;
use site::*;
use support::Scene;
use support::lab::Lab;

/// What a shop's schema has besides plain tables: an audit by trigger, numbers that the database gives, columns that it
/// computes, partitions, a policy, a table without a key.
const SHOP: &str = "
SET ROLE listings;
CREATE TABLE audit (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON listings FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER always_noted AFTER UPDATE ON listings FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE listings ENABLE ALWAYS TRIGGER always_noted;
CREATE TABLE \"No tes\" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \"bo dy\" text, size int GENERATED ALWAYS AS (length(\"bo dy\")) STORED, doc json);
INSERT INTO \"No tes\" (\"bo dy\", doc) SELECT E'it''s \\\\. \\n' || i, '{\"a\": [1, 2]}' FROM generate_series(1, 50) i;
CREATE TABLE events (id int, at date NOT NULL, body text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_25 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_26 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events SELECT i, '2025-06-01'::date + i, 'e' || i FROM generate_series(1, 400) i;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON events USING (id < 10);
CREATE TABLE tickets (id serial PRIMARY KEY, listing int REFERENCES listings ON DELETE CASCADE, email text UNIQUE);
INSERT INTO tickets (listing, email) SELECT i, 'u' || i FROM generate_series(1, 100) i;
CREATE TABLE heap (a int, b text);
INSERT INTO heap SELECT i % 3, 'h' || i FROM generate_series(1, 30) i;
CREATE TABLE steps (id int PRIMARY KEY DEFERRABLE, place int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO steps SELECT i, i FROM generate_series(1, 9) i;
CREATE SCHEMA \"arch ive\";
CREATE TABLE \"arch ive\".listings (id int PRIMARY KEY);
CREATE VIEW all_listings AS SELECT * FROM listings;
RESET ROLE;
ALTER DATABASE listings_prod SET default_transaction_isolation = 'serializable';
ALTER DATABASE listings_prod SET default_transaction_read_only = off;
ALTER DATABASE listings_prod SET statement_timeout = '20s';
";

/// All rows of all tables of the service.
fn rows(lab: &Lab) -> String {
    let of = |table: &str| {
        format!("SELECT '{table}', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t")
    };
    let tables = ["listings", "orders", "audit", "\"No tes\"", "events", "tickets", "heap", "\"arch ive\".listings"];
    sql(lab, &tables.map(of).join("\nUNION ALL "))
}

fn of_ours(lab: &Lab) -> String {
    sql(lab, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'rollback%' ORDER BY 1")
}

/// A shop whose traffic is on blue, its dump, and what a bad release did to it since.
fn ready() -> Lab {
    let lab = with_database();
    sql(&lab, SHOP);
    dump(&lab, NAME, "a.sql.gz", 200);
    rollback(&lab, &[]).exits(0);
    lab
}

fn damage(lab: &Lab) {
    sql(
        lab,
        "DELETE FROM orders WHERE id <= 100;
         UPDATE listings SET title = 'broken' WHERE id BETWEEN 11 AND 30;
         INSERT INTO listings VALUES (9001, 'after the dump', '2026-11-28');
         UPDATE \"No tes\" SET \"bo dy\" = 'x', doc = '{}' WHERE id <= 5;
         DELETE FROM \"No tes\" WHERE id > 40;
         INSERT INTO \"No tes\" (\"bo dy\") VALUES ('new');
         DELETE FROM events WHERE id > 300; UPDATE events SET body = 'bad' WHERE id = 7;
         DELETE FROM tickets WHERE id > 90; UPDATE tickets SET email = 'changed' WHERE id = 1;
         INSERT INTO heap VALUES (7, 'late')",
    );
}

#[track_caller]
fn tables(lab: &Lab, names: &str, more: &[&str], typed: &str) -> Scene {
    let mut command: Command = program(lab, &["--reason", "migration failed", "--restore-tables", names]);
    Scene::of_typing(command.args(more), lab.folder(), typed)
}

#[track_caller]
fn nothing_is_left_of_copies(lab: &Lab, scene: &Scene) {
    scene.holds(relatives(lab).is_empty(), &format!("{:?}", relatives(lab)));
    scene.holds(!of_ours(lab).contains("rollback_prod_from_"), &of_ours(lab));
    scene.holds(leftovers(lab, "web1").is_empty(), &leftovers(lab, "web1"));
}

#[test]
fn rows_of_some_tables_go_back_and_all_others_stay() {
    let lab = ready();
    let dumped = rows(&lab);
    // Somebody subscribes to all of it: what has no identity of its own may not be changed then.
    sql(
        &lab,
        "CREATE PUBLICATION everything FOR ALL TABLES;
         ALTER TABLE heap REPLICA IDENTITY FULL; ALTER TABLE audit REPLICA IDENTITY FULL; ALTER TABLE steps REPLICA IDENTITY FULL",
    );
    damage(&lab);
    let before = rows(&lab);
    let line =
        |of: &str, table: &str| of.lines().find(|line| line.starts_with(&format!("{table}|"))).map(str::to_owned);

    let scene = tables(&lab, "public.listings,No tes,events,orders,tickets", &[], "RESTORE\n");
    scene.exits(0).says("This will OVERWRITE rows of public.listings").says("Type 'RESTORE' to confirm");
    scene.says("only live: kept").says("public.listings: its triggers do not fire: always_noted, noted");
    scene.says("rows of public.listings").says("next:       rollback-prod status");
    let after = rows(&lab);
    for table in ["orders", "events"] {
        scene.holds(line(&after, table) == line(&dumped, table), &format!("{table} is what it was:\n{after}"));
    }
    let asks = |what: &str| sql(&lab, what);
    scene.holds(asks("SELECT count(*) FROM listings WHERE title = 'broken'") == "0", "rows are set back");
    scene.holds(asks("SELECT title FROM listings WHERE id = 9001") == "after the dump", "rows that only live has stay");
    let computed = "SELECT count(*) FROM \"No tes\" WHERE id <= 50 AND size = length(\"bo dy\") AND size > 9";
    scene.holds(asks(computed) == "50", "computed columns are computed");
    scene.holds(asks("SELECT \"bo dy\" FROM \"No tes\" WHERE id = 51") == "new", "a row of an identity stays");
    scene.holds(asks("SELECT email FROM tickets WHERE id = 1") == "u1", "a unique value is set back");
    for table in ["audit", "heap"] {
        scene.holds(line(&after, table) == line(&before, table), &format!("{table} is as it was"));
    }
    scene.holds(asks("INSERT INTO tickets (email) VALUES ('next') RETURNING id") == "101", "the next number is free");
    scene.holds(asks("DELETE FROM tickets WHERE id = 101 RETURNING id") == "101", "and goes again");
    scene.holds(
        asks("SELECT tgname, tgenabled FROM pg_trigger WHERE tgname LIKE '%noted' ORDER BY 1")
            == "always_noted|A\nnoted|O",
        "triggers are as they were",
    );
    scene.holds(asks("SELECT attidentity FROM pg_attribute WHERE attidentity <> ''") == "a", "and so is the identity");
    nothing_is_left_of_copies(&lab, &scene);
    let report = kept(&lab, "INCIDENT_REPORT.md");
    scene.holds(report.contains("restored from the dump; what was there is in its schema"), &report);
    run(&lab, &["backups"]).exits(0).says("rollback_prod_before_").says("kept until ");
    let names = asks(&format!(
        "SELECT relname FROM pg_class WHERE relnamespace = '{}'::regnamespace AND relkind = 'r' ORDER BY 1",
        of_ours(&lab)
    ));
    scene.holds(names == "public.No tes\npublic.events\npublic.listings\npublic.orders\npublic.tickets", &names);

    // A key that is checked at the end is checked all the same.
    sql(
        &lab,
        "BEGIN; UPDATE steps SET place = 4 WHERE id = 5; UPDATE steps SET place = 5 WHERE id = 4; COMMIT; UPDATE steps SET place = 40 WHERE id = 9; INSERT INTO steps VALUES (11, 9)",
    );
    let clash = tables(&lab, "steps", &[], "RESTORE\n");
    clash.exits(6).says("duplicate key value violates unique constraint");
    sql(&lab, "DELETE FROM steps WHERE id = 11");
    tables(&lab, "steps", &[], "RESTORE\n").exits(0);
    clash.holds(asks("SELECT count(*) FROM steps WHERE id = place") == "9", "they are in their places again");

    // Twice is once, and what was written meanwhile is said before it is lost.
    let again = tables(&lab, "orders", &[], "RESTORE\n");
    again.exits(0).says("0 rows put in, 0 changed, 0 deleted");
    sql(&lab, "UPDATE listings SET title = 'by hand' WHERE id = 12");
    run(&lab, &["undo", &incident(&lab, 3)]).exits(1).says("nobody typed UNDO");
    let undo = Scene::of_typing(&mut program(&lab, &["undo", &incident(&lab, 4)]), lab.folder(), "UNDO\n");
    undo.exits(0).says("public.listings: of 20 put back 1 row were written to since");
    // What was written by hand is in the audit.
    undo.holds(
        but_audit(&rows(&lab)) == but_audit(&before),
        &format!("all is as it was before:\n{before}\nand not\n{}", rows(&lab)),
    );
}

fn but_audit(rows: &str) -> String {
    rows.lines().filter(|line| !line.starts_with("audit|")).collect::<Vec<_>>().join("\n")
}

/// The name of an incident, the newest being 0.
fn incident(lab: &Lab, back: usize) -> String {
    let folders = incidents(lab);
    let folder = &folders[folders.len() - 1 - back];
    folder.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()
}

#[test]
fn what_the_dump_has_not_goes_where_that_is_asked_for() {
    let lab = ready();
    let dumped = rows(&lab);
    damage(&lab);
    let before = rows(&lab);
    sql(&lab, "INSERT INTO tickets (listing, email) VALUES (9001, 'of a new one')");
    let with_ticket = rows(&lab);
    // Somebody else's rows would lead nowhere.
    let scene = tables(&lab, "public.listings", &["--delete-missing"], "RESTORE\n");
    scene.exits(6).says("1 row of tickets would refer to what is not in listings (tickets_listing_fkey)");
    scene.holds(rows(&lab) == with_ticket && of_ours(&lab).is_empty(), "nothing was changed");
    sql(&lab, "DELETE FROM tickets WHERE email = 'of a new one'");

    let all = "public.listings,orders,No tes,events,tickets,heap";
    let scene = tables(&lab, all, &["--delete-missing"], "RESTORE\n");
    scene.exits(0).says("only live: DELETED").says("public.heap has no key: all of its rows are replaced");
    let dumped = but_audit(&dumped);
    scene.holds(
        but_audit(&rows(&lab)) == dumped,
        &format!("all is what the dump has:\n{dumped}\nand not\n{}", rows(&lab)),
    );
    nothing_is_left_of_copies(&lab, &scene);
    let undo = Scene::of_typing(&mut program(&lab, &["undo"]), lab.folder(), "UNDO\n");
    undo.exits(0).says("Type 'UNDO' to confirm").says("as they were before the restore");
    undo.holds(rows(&lab) == before, &format!("all is as it was before:\n{before}\nand not\n{}", rows(&lab)));
}

#[test]
fn tables_that_rows_cannot_go_into_are_named_and_nothing_is_changed() {
    let lab = ready();
    damage(&lab);
    sql(
        &lab,
        "CREATE TABLE newer (id int PRIMARY KEY);
         ALTER TABLE orders ADD COLUMN note text DEFAULT 'n', ALTER COLUMN body TYPE varchar(999), DROP COLUMN listing",
    );
    let before = rows(&lab);
    let refused = |names: &str, more: &[&str], says: &[&str]| {
        let scene = tables(&lab, names, more, "RESTORE\n");
        scene.exits(6);
        for words in says {
            scene.says(words);
        }
        scene.holds(rows(&lab) == before && of_ours(&lab).is_empty(), "nothing was changed");
        nothing_is_left_of_copies(&lab, &scene);
    };
    refused("nosuch", &[], &["there is no table nosuch in the live database; it has "]);
    refused("newer", &[], &["the dump has no", "table", "newer"]);
    refused("all_listings,heap", &[], &["there is no table all_listings"]);
    refused(
        "listings",
        &[],
        &["listings may be any of arch ive.listings, public.listings", "--restore-tables arch ive.listings"],
    );
    refused("events_25", &[], &["public.events_25 is a partition of public.events", "--restore-tables public.events"]);
    refused("heap", &[], &["public.heap has no primary key", "--delete-missing replaces all of them"]);
    refused(
        "orders",
        &[],
        &[
            "public.orders has another shape than in the dump",
            "body is character varying(999) live and text in the dump",
            "note is only live",
            "listing is only in the dump",
            "--common-columns",
        ],
    );
    refused("events", &["--backup", "/opt/listings/backups/none.sql.gz"], &["there is no dump at"]);
    let scene = tables(&lab, "events", &[], "restore\n");
    scene
        .exits(6)
        .says("not confirmed")
        .says("next:       rollback-prod --reason 'migration failed' --restore-tables events");
    scene.holds(rows(&lab) == before && of_ours(&lab).is_empty(), "nothing was changed");

    // Somebody holds the table: it is waited for, and not for long. The database's own `statement_timeout` is not his.
    lab.sh(
        "web1",
        "cd /; (PGOPTIONS='-c statement_timeout=0' setpriv --reuid=postgres --regid=postgres --init-groups \
         psql -qc 'BEGIN; LOCK events; SELECT pg_sleep(600)' listings_prod >/dev/null 2>&1 &)",
    );
    until("it is locked", || {
        sql(
            &lab,
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'events' AND mode = 'AccessExclusiveLock'",
        ) == "1"
    });
    // Another one is not held up by that.
    let scene = tables(&lab, "heap", &["--delete-missing"], "RESTORE\n");
    scene.exits(0);
    let scene = tables(&lab, "events", &[], "RESTORE\n");
    scene.exits(6).says("lock timeout");
    sql_in(
        &lab,
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()",
    );
    nothing_is_left_of_copies(&lab, &scene);

    // A dump that has the table and none of its rows would empty it.
    lab.sh(
        "web1",
        &format!("cd /; sudo -u postgres pg_dump --exclude-table-data=audit {NAME} | gzip >{FOLDER}/no-audit.sql.gz"),
    );
    let audited = sql(&lab, "SELECT count(*) FROM audit");
    let scene =
        tables(&lab, "audit", &["--delete-missing", "--backup", "/opt/listings/backups/no-audit.sql.gz"], "RESTORE\n");
    scene.exits(6).says("the dump has no rows of");
    scene.holds(sql(&lab, "SELECT count(*) FROM audit") == audited, "nothing was deleted");
    lab.sh("web1", &format!("rm {FOLDER}/no-audit.sql.gz"));

    // What both have of it, and its default for the rest.
    let scene = tables(&lab, "orders", &["--common-columns"], "RESTORE\n");
    scene.exits(0).says("public.orders: ").says("the rest goes back");
    scene.holds(sql(&lab, "SELECT count(*), min(note), max(note) FROM orders") == "4000|n|n", "the default");
    // A dump of that table alone will do, where it is named.
    lab.sh("web1", &format!("cd /; sudo -u postgres pg_dump -t heap {NAME} | gzip >{FOLDER}/heap.sql.gz; touch -d '3 hours ago' {FOLDER}/heap.sql.gz"));
    sql(&lab, "DELETE FROM heap");
    let scene =
        tables(&lab, "heap", &["--delete-missing", "--backup", "/opt/listings/backups/heap.sql.gz"], "RESTORE\n");
    scene.exits(0).holds(sql(&lab, "SELECT count(*) FROM heap") == "30", "its rows are back");
}

#[test]
fn a_merge_that_is_struck_is_done_or_not_begun() {
    let lab = ready();
    damage(&lab);
    let names = ["--reason", "x", "--restore-tables", "public.listings,orders"];
    let before = rows(&lab);
    // Killed at the question: the next run clears away what it left.
    let mut asked = Asked::begin(&lab, &names);
    asked.until_it_says("Type 'RESTORE' to confirm: ");
    assert!(of_ours(&lab).contains("rollback_prod_from_"), "{}", of_ours(&lab));
    asked.kill();
    assert_eq!(rows(&lab), before);
    let undone = |lab: &Lab| {
        let undo = Scene::of_typing(&mut program(lab, &["undo"]), lab.folder(), "UNDO\n");
        undo.exits(0).holds(rows(lab) == before, "as before");
    };
    let scene = tables(&lab, names[3], &[], "RESTORE\n");
    scene.exits(0).says("was left by");
    nothing_is_left_of_copies(&lab, &scene);
    undone(&lab);

    // A trigger that takes its time is the moment to strike.
    sql(
        &lab,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
         CREATE TRIGGER slow AFTER UPDATE ON listings FOR EACH STATEMENT EXECUTE FUNCTION slow();",
    );
    let merging = "SELECT pid FROM pg_stat_activity WHERE application_name = 'rollback-prod' AND query LIKE 'DO $merge$%' AND state = 'active'";
    let struck = |hits: &dyn Fn()| {
        let mut asked =
            Asked::begin(&lab, &["--reason", "x", "--restore-tables", "public.listings,orders", "--fire-triggers"]);
        asked.until_it_says("Type 'RESTORE' to confirm: ");
        asked.type_line("RESTORE\n");
        until("it merges", || !sql_in(&lab, "postgres", merging).is_empty());
        hits();
        asked.ended()
    };
    // Its session is ended: nothing happened.
    let (exit, said) = struck(&|| {
        sql_in(&lab, "postgres", &format!("SELECT pg_terminate_backend(pid) FROM ({merging}) m"));
    });
    assert_eq!(exit, 6, "{said}");
    assert_eq!(rows(&lab), before, "{said}");
    // The line is cut: it goes on over there, and that is seen.
    let (exit, said) = struck(&|| {
        lab.cut("web1");
        std::thread::sleep(std::time::Duration::from_millis(1500));
        lab.mend("web1");
    });
    assert_eq!(exit, 0, "{said}");
    assert_eq!(sql(&lab, "SELECT count(*) FROM listings WHERE title = 'broken'"), "0", "{said}");
    assert_ne!(sql(&lab, "SELECT count(*) FROM audit"), before_count(&before, "audit"), "triggers fired");
}

#[test]
fn a_role_that_is_no_superuser_can_do_it_for_what_it_owns() {
    let lab = ready();
    sql_in(&lab, "postgres", "CREATE ROLE dba LOGIN CREATEDB INHERIT; GRANT listings TO dba");
    lab.config(&CONFIG.replace("user = \"listings\"", "user = \"listings\"\nadmin = \"dba\""));
    damage(&lab);
    let before = rows(&lab);
    let scene = tables(&lab, "public.listings,orders,tickets", &[], "RESTORE\n");
    scene.exits(0);
    scene.holds(sql(&lab, "SELECT count(*) FROM listings WHERE title = 'broken'") == "0", "rows are set back");
    scene.holds(sql(&lab, "SELECT count(*) FROM audit") == before_count(&before, "audit"), "no trigger fired");
    nothing_is_left_of_copies(&lab, &scene);
    // A foreign key that deletes with its row would change a table that nobody named.
    sql(&lab, "INSERT INTO tickets (listing, email) VALUES (9001, 'of a new one')");
    let scene = tables(&lab, "public.listings", &["--delete-missing"], "RESTORE\n");
    scene.exits(6).says("would refer to what is not in listings");
    sql(&lab, "DELETE FROM tickets WHERE email = 'of a new one'");
    let undo = Scene::of_typing(&mut program(&lab, &["undo"]), lab.folder(), "UNDO\n");
    undo.exits(0).holds(rows(&lab) == before, &format!("{before}\nand not\n{}", rows(&lab)));
    // What is another's is told.
    sql(&lab, "ALTER TABLE heap OWNER TO postgres");
    let scene = tables(&lab, "heap", &["--delete-missing"], "RESTORE\n");
    scene.exits(6).says("permission denied for table heap");
}

fn before_count(rows: &str, table: &str) -> String {
    let line = rows.lines().find_map(|line| line.strip_prefix(&format!("{table}|")));
    line.and_then(|rest| rest.split('|').next()).unwrap_or_default().to_owned()
}
