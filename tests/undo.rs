//! A rollback taken back: the database first, then traffic to green, from nothing but the incident folder. Nobody
//! notices, and what cannot be taken back leaves blue serving.

#[path = "support/database.rs"]
mod database;
#[path = "support/site.rs"]
mod site;
mod support;

use database::*;
use site::*;
use support::Scene;
use support::lab::{Lab, Load};

#[track_caller]
fn undo(lab: &Lab, words: &[&str], typed: &str) -> Scene {
    let mut all = vec!["undo"];
    all.extend(words);
    Scene::of_typing(&mut program(lab, &all), lab.folder(), typed)
}

#[test]
fn traffic_goes_back_to_green_and_nobody_notices() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    run(&lab, &["undo"]).exits(1).says("no incident in").says("has anything to take back");
    let before = read(&lab, "web1", FILE);
    rollback(&lab, &[]).exits(0);
    assert_eq!(unit(&lab, "web1", "listings-green"), "inactive");
    // A dry run and a status between them are no incidents; an earlier folder that is none is not read.
    run(&lab, &["status"]).exits(0);
    std::fs::create_dir(lab.folder().join("incidents/rollback-20200101-000000")).expect("a folder without a journal");

    let load = Load::start(&lab.ip("web1"), "GET", "/", 8);
    let scene = undo(&lab, &[], "");
    let counts = load.stop();

    scene
        .exits(0)
        .says("traffic is safe: green serves on 1 of 1 host")
        .says("traffic on green on 1 of 1 host; blue kept running")
        .says("green started and proven");
    nobody_noticed(&counts, &scene);
    scene.holds(counts.green > 0 && counts.blue > 0, &format!("the load saw both: {counts:?}"));
    scene.holds(read(&lab, "web1", FILE) == before, "the file is as it was, byte for byte");
    scene.holds(unit(&lab, "web1", "listings-blue") == "active", "blue is left running");
    scene.holds(served_by(&lab, "web1") == "green", "green serves");
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
    let report = kept(&lab, "INCIDENT_REPORT.md");
    scene.holds(report.contains("is taken back") && !report.contains("blue was proven"), &report);

    let incident = incidents(&lab).into_iter().rev().nth(1).expect("the rollback's folder");
    let name = incident.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    undo(&lab, &[&name], "").exits(1).says("was taken back already, by rollback-");
    undo(&lab, &[], "").exits(1).says("has anything to take back");
    undo(&lab, &["rollback-20300101-000000"], "").exits(1).says("there is no incident rollback-20300101-000000");
    // And forth again.
    rollback(&lab, &[]).exits(0);
    undo(&lab, &[], "").exits(0);
}

#[test]
fn a_site_that_was_split_is_split_again_byte_for_byte() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let green_only = read(&lab, "web1", FILE);
    // As a canary leaves it: blue was to be gone soon, or has just been given a little again.
    for (blue, green) in [(1, 99), (10, 90)] {
        let split = green_only
            .replace("server 127.0.0.1:8080 down;", &format!("server 127.0.0.1:8080 weight={blue};"))
            .replace("server 127.0.0.1:8081 weight=100;", &format!("server 127.0.0.1:8081 weight={green};"));
        back_to_green(&lab, "web1", &green_only);
        write(&lab, "web1", FILE, &split);
        lab.sh("web1", "nginx -t && systemctl reload nginx");
        rollback(&lab, &[]).exits(0).says("traffic on blue on 1 of 1 host");
        let load = Load::start(&lab.ip("web1"), "GET", "/", 8);
        let scene = undo(&lab, &[], "");
        let counts = load.stop();
        scene.exits(0).says(&format!("traffic on green {green} % and blue {blue} % on 1 of 1 host"));
        nobody_noticed(&counts, &scene);
        scene.holds(read(&lab, "web1", FILE) == split, "the file is as it was, byte for byte");
        let load = Load::start(&lab.ip("web1"), "GET", "/", 8);
        until("both serve", || load.counts().blue > 0 && load.counts().green > 0);
        drop(load);
    }
}

#[test]
fn a_file_that_somebody_changed_meanwhile_keeps_what_they_changed() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    rollback(&lab, &[]).exits(0);
    let now = read(&lab, "web1", FILE);
    write(&lab, "web1", FILE, &now.replace("keepalive 16;", "keepalive 32;"));
    lab.sh("web1", "nginx -t && systemctl reload nginx");
    let scene = undo(&lab, &[], "");
    scene.exits(0).says("is not what the incident left any more");
    let after = read(&lab, "web1", FILE);
    scene.holds(after.contains("keepalive 32;"), &after);
    scene.holds(after.contains("server 127.0.0.1:8080 down"), &after);
    scene.holds(after.contains("server 127.0.0.1:8081 weight=100;"), &after);
    scene.holds(served_by(&lab, "web1") == "green", "green serves");
}

#[test]
fn where_green_cannot_serve_blue_goes_on() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    rollback(&lab, &[]).exits(0);
    let now = read(&lab, "web1", FILE);
    lab.sh("web1", "mv /opt/listings/bin/listings-green /opt/listings/bin/gone");
    undo(&lab, &[], "").exits(1).says("its program /opt/listings/bin/listings-green is not there");
    // One that is there and does not live is found out by starting it.
    lab.sh("web1", "cp /bin/false /opt/listings/bin/listings-green");
    let load = Load::start(&lab.ip("web1"), "GET", "/", 4);
    let scene = undo(&lab, &[], "");
    let counts = load.stop();
    scene.exits(1).says("green was started and is not well").says("undo rollback-");
    nobody_noticed(&counts, &scene);
    scene.holds(counts.green == 0, "nobody was sent to green");
    scene.holds(read(&lab, "web1", FILE) == now, "the file is as it was");
    // As whoever mends it does: systemd counts the starts of a unit, and refuses those that come too often.
    lab.sh("web1", "mv /opt/listings/bin/gone /opt/listings/bin/listings-green; systemctl reset-failed listings-green");
    undo(&lab, &[], "").exits(0);
}

#[test]
fn one_that_is_killed_is_finished_by_the_next() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let before = read(&lab, "web1", FILE);
    for step in ["lock", "verify", "switch", "drain"] {
        rollback(&lab, &[]).exits(0);
        let known = incidents(&lab).len();
        let mut asked = Asked::begin(&lab, &["undo"]);
        until("the undo has come to the step", || {
            incidents(&lab).len() > known
                && newest_journal(&lab).iter().any(|entry| is(entry, "intent", step) || is(entry, "outcome", step))
                || asked.is_over()
        });
        asked.kill();
        let scene = undo(&lab, &[], "");
        scene.exits(0);
        scene.holds(served_by(&lab, "web1") == "green", "green serves");
        scene.holds(read(&lab, "web1", FILE) == before, &format!("killed at {step}: the file is as it was"));
        let left = leftovers(&lab, "web1");
        scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
    }
}

#[test]
fn a_live_one_is_pre_empted_with_a_word() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace("timeout = \"10s\"\n\n[verify]", "timeout = \"60s\"\n\n[verify]"));
    rollback(&lab, &[]).exits(0);
    let ip = lab.ip("web1");
    let stream = std::thread::spawn(move || get(&ip, "/stream?ms=20000"));
    until("the stream runs", || lab.sh("web1", "ss -Htn state established '( dport = :8080 )' | wc -l") != "0");
    let known = incidents(&lab).len();
    let first = Asked::begin(&lab, &["undo"]);
    until("it drains", || {
        incidents(&lab).len() > known && newest_journal(&lab).iter().any(|entry| entry["step"] == "drain")
    });

    undo(&lab, &[], "").exits(1).says("holds the lock").says("--take-over");
    let second = undo(&lab, &["--take-over"], "");

    second.exits(0).says("lock taken over from the live run of");
    second.holds(served_by(&lab, "web1") == "green", "green serves");
    let (code, said) = first.answer("");
    second.holds(code == 4 && said.contains("another run took the lock"), &format!("{code}: {said}"));
    stream.join().expect("the stream ends");
    let left = leftovers(&lab, "web1");
    second.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
}

#[test]
fn the_database_goes_back_first_and_what_was_restored_is_kept_too() {
    let lab = with_database();
    dump(&lab, NAME, "a.sql.gz", 200);
    sql(&lab, "INSERT INTO listings VALUES (77777, 'late', '2026-11-21')");
    let before = state(&lab);
    let mut all = vec!["--reason", "migration failed", "--restore-db"];
    Scene::of_typing(&mut program(&lab, &all), lab.folder(), "RESTORE\n").exits(0);
    let restored = oid(&lab, NAME);
    sql(&lab, "INSERT INTO listings VALUES (88888, 'since the restore', '2026-11-21')");

    for typed in ["", "undo\n", "RESTORE\n"] {
        let scene = undo(&lab, &[], typed);
        scene.exits(1).says("the database stays as it was").says("Type 'UNDO' to confirm: ");
        scene.holds(oid(&lab, NAME) == restored && served_by(&lab, "web1") == "blue", "nothing was taken back");
    }
    let scene = undo(&lab, &[], "UNDO\n");
    scene
        .exits(0)
        .says("what was written since the restore is not in it")
        .says("traffic on green on 1 of 1 host")
        .says("database listings_prod as it was before the restore");
    scene.holds(state(&lab) == before, &format!("rows, number and properties are back:\n{}\n{before}", state(&lab)));
    scene.holds(served_by(&lab, "web1") == "green", "green serves");
    let kept = relatives(&lab);
    scene.holds(kept.len() == 1 && kept[0].starts_with("listings_prod_undone_"), &format!("{kept:?}"));
    scene.holds(oid(&lab, &kept[0]) == restored, "what had been restored is kept");

    // Once more, with the database alone: traffic is on blue already and stays there.
    rollback(&lab, &[]).exits(0);
    all.push("--json");
    Scene::of_typing(&mut program(&lab, &all), lab.folder(), "RESTORE\n").exits(0);
    let scene = undo(&lab, &[], "UNDO\n");
    scene.exits(0).says("traffic untouched; database listings_prod as it was before the restore");
    scene.holds(state(&lab) == before, "rows, number and properties are back");
    scene.holds(served_by(&lab, "web1") == "blue", "traffic stays");
}
