//! The database goes back: all of it, or none of it. On a real server of a real host: whatever is wrong with the dump,
//! the server or the run, the live database is whole and online afterwards, and the message says what to type.

#[path = "support/database.rs"]
mod database;
#[path = "support/site.rs"]
mod site;
mod support;

use database::*;
use site::*;
use support::Scene;
use support::lab::Lab;

/// A rollback with `--restore-db`, these words besides, and a line on its standard input.
#[track_caller]
fn restore(lab: &Lab, words: &[&str], typed: &str) -> Scene {
    let mut all = vec!["--reason", "migration failed", "--restore-db"];
    all.extend(words);
    Scene::of_typing(&mut program(lab, &all), lab.folder(), typed)
}

/// Rows that only the live database has by now.
fn goes_on(lab: &Lab) {
    sql(
        lab,
        "INSERT INTO listings SELECT i, 'late', '2026-11-21' FROM generate_series(100001, 100050) i;
         DELETE FROM orders WHERE id <= 10;",
    );
}

#[test]
fn the_database_goes_back_to_the_newest_whole_dump_older_than_the_deploy() {
    let lab = with_database();
    let deployed = (chrono::Utc::now() - chrono::TimeDelta::minutes(60)).to_rfc3339();
    lab.config(&CONFIG.replace("user =", &format!("deployed_at = \"{deployed}\"\nuser =")));
    let dumped = state(&lab);
    dump(&lab, NAME, "older.sql.gz", 300);
    dump(&lab, NAME, "wanted.sql.gz", 200);
    lab.sh("web1", &format!("cd {FOLDER}; head -c 20000 wanted.sql.gz >cut.sql.gz"));
    aged(&lab, "cut.sql.gz", 100);
    dump(&lab, NAME, "after-deploy.sql.gz", 30);
    goes_on(&lab);
    let live = oid(&lab, NAME);

    let list = run(&lab, &["backups"]);
    list.exits(0)
        .says("*  /opt/listings/backups/wanted.sql.gz")
        .says("whole, 2 tables, 6,000 rows")
        .says("after the deploy");
    let scene = restore(&lab, &[], "RESTORE\n");

    scene
        .exits(0)
        .says("NOT TAKEN: /opt/listings/backups/cut.sql.gz")
        .says("NOT TAKEN: /opt/listings/backups/after-deploy.sql.gz")
        .says("public.listings  2,050  2,000         50          0  2026-11-21 00:00:00+00")
        .says("public.orders    3,990  4,000          0         10")
        .says("This will OVERWRITE the current database. Type 'RESTORE' to confirm: ")
        .says("traffic on blue on 1 of 1 host; green stopped; database listings_prod restored (the replaced one is kept as");
    let now = state(&lab);
    let without_oid = |state: &str| state.split_once('\n').map(|(_, rest)| rest.to_owned());
    scene.holds(without_oid(&now) == without_oid(&dumped), &format!("rows and properties are back:\n{now}\n{dumped}"));
    scene.holds(oid(&lab, NAME) != live, "it is another database");
    let kept = relatives(&lab);
    scene.holds(kept.len() == 1 && kept[0].starts_with("listings_prod_before_"), &format!("one is kept: {kept:?}"));
    scene.holds(oid(&lab, &kept[0]) == live, "and it is the one that was live");
    let closed = lab.exec("web1", &["sh", "-c", &format!("cd /; sudo -u postgres psql -d {} -c 'SELECT 1'", kept[0])]);
    scene.holds(!closed.status.success(), "nobody writes into it by mistake");
    let report = kept_file(&lab, "INCIDENT_REPORT.md");
    for wanted in ["restored from the dump", "wanted.sql.gz", "public.listings", "| 50 |", "lost data (RPO)"] {
        scene.holds(report.contains(wanted), &format!("{wanted:?} is in the report:\n{report}"));
    }
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
    run(&lab, &["backups", "list"]).exits(0).says("beside it on the server").says("kept until");
    run(&lab, &["backups", "--json"]).exits(0).keeps_to_the_schema().says(r#""chosen":true"#);
}

fn kept_file(lab: &Lab, name: &str) -> String {
    kept(lab, name)
}

#[test]
fn nothing_but_the_word_replaces_the_database() {
    let lab = with_database();
    dump(&lab, NAME, "a.sql.gz", 200);
    goes_on(&lab);
    let before = state(&lab);
    for typed in ["", "restore\n", "RESTORE!\n", " RESTORE\n", "yes\n", "\n"] {
        let scene = restore(&lab, &[], typed);
        scene.exits(6).says("database listings_prod as it was").says("--restore-db");
        scene.holds(state(&lab) == before, &format!("{typed:?}: the live database is as it was"));
        scene.holds(relatives(&lab).is_empty(), &format!("{typed:?}: the copy is gone: {:?}", relatives(&lab)));
    }
    let scene = restore(&lab, &["--json"], "RESTORE\n");
    scene.exits(0);
    scene.keeps_to_the_schema();
    scene.holds(scene.stderr.contains("Type 'RESTORE' to confirm: "), "the question is on standard error");
}

#[test]
fn a_bad_dump_leaves_the_live_database_as_it_is_and_says_why() {
    let lab = with_database();
    dump(&lab, NAME, "good.sql.gz", 200);
    make_bad_dumps(&lab);
    let before = state(&lab);
    for (file, wanted) in BAD_DUMPS.iter().copied() {
        let scene = restore(&lab, &["--backup", &format!("{FOLDER}/{file}")], "RESTORE\n");
        scene.exits(6).says(wanted).says("database listings_prod as it was");
        scene.holds(state(&lab) == before, &format!("{file}: the live database is whole and as it was"));
        scene.holds(relatives(&lab).is_empty(), &format!("{file}: no copy is left: {:?}", relatives(&lab)));
    }
    lab.sh("web1", "kill $(cat /run/grower)");
    // What may be forced is loaded and compared all the same: the check of the config stops it then.
    let scene = restore(&lab, &["--backup", &format!("{FOLDER}/other.sql.gz"), "--force"], "RESTORE\n");
    scene.exits(6).says("the check `SELECT count(*) > 0 FROM listings`");
    scene.holds(state(&lab) == before, "the live database is as it was");
    let scene = restore(&lab, &["--backup", &format!("{FOLDER}/newer.sql.gz"), "--force"], "RESTORE\n");
    scene.exits(0);
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
}
