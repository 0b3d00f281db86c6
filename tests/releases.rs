//! What both sides run, on a real host: how it is found, where it is shown, and that nobody is rolled back to the release
//! that he wants to leave.

#[path = "support/site.rs"]
mod site;
mod support;

use site::{FILE, back_to_green, read, rollback, run, serves, write};
use support::Scene;
use support::lab::Lab;

fn config(lab: &Lab, blue: &str, green: &str) {
    let of = |text: String, colour: &str, more: &str| {
        text.replace(&format!("[{colour}]\n"), &format!("[{colour}]\n{more}\n"))
    };
    lab.config_with(|text| of(of(text, "blue", blue), "green", green));
}

#[track_caller]
fn says(scene: &Scene, code: i32, words: &str) {
    scene.exits(code).says(words);
}

#[test]
fn what_both_sides_run_is_shown_and_the_same_is_refused() {
    let lab = Lab::up(&["web1"]);
    let before = read(&lab, "web1", FILE);

    // Nothing is said: two copies of one program are named, and no reason to refuse.
    config(&lab, "", "");
    let scene = run(&lab, &["status"]);
    scene.holds(scene.stdout.matches("sha256:").count() == 2, "both programs have a digest");
    says(&run(&lab, &["--dry-run"]), 0, "are copies of one program");

    // A file of each.
    lab.sh(
        "web1",
        "echo 1.3.2 >/opt/listings/blue.version; printf '1.4.0\\nbuilt today\\n' >/opt/listings/green.version",
    );
    config(&lab, "release = \"/opt/listings/blue.version\"", "release = \"/opt/listings/green.version\"");
    says(&run(&lab, &["status"]), 0, "1.3.2; active");
    says(&run(&lab, &["--dry-run"]), 0, "green 1.4.0 → blue 1.3.2");
    let scene = rollback(&lab, &[]);
    says(&scene, 0, "green 1.4.0 → blue 1.3.2");
    serves(&lab, "web1", "blue", &scene);
    let report = site::kept(&lab, "INCIDENT_REPORT.md");
    assert!(report.contains("| Releases | green 1.4.0 → blue 1.3.2 |"), "{report}");
    back_to_green(&lab, "web1", &before);

    // The same on both: nothing is changed, --force does it all the same.
    lab.sh("web1", "echo 1.4.0 >/opt/listings/blue.version");
    says(&rollback(&lab, &[]), 1, "blue and green both run 1.4.0: to go there would change nothing");
    assert_eq!(read(&lab, "web1", FILE), before);
    says(&run(&lab, &["check"]), 1, "blue and green both run 1.4.0");
    let scene = run(&lab, &["assess"]);
    scene.says("against      blue and green both run 1.4.0");
    let scene = rollback(&lab, &["--force"]);
    says(&scene, 0, "traffic on blue");
    // What an undo goes back to is what was, the same or not.
    says(&run(&lab, &["undo"]), 0, "traffic on green");
    back_to_green(&lab, "web1", &before);

    // What green makes of its file holds nobody up: a FIFO, a page, a link to nothing.
    for made in ["mkfifo $f", "ln -s /nowhere $f", "mkdir $f", "ln -s /dev/zero $f"] {
        lab.sh("web1", &format!("f=/opt/listings/green.version; rm -rf $f; {made}"));
        says(&run(&lab, &["--dry-run"]), 0, "green (release not known) → blue 1.4.0");
    }

    // An answer, and a header of one.
    let version = |colour: &str, port: u16| {
        format!("release = \"http://127.0.0.1:{port}/\"\nrelease_header = \"X-Instance\" # {colour}")
    };
    config(&lab, &version("blue", 8080), &version("green", 8081));
    let scene = run(&lab, &["--dry-run"]);
    scene.says("  green green-").says(" → blue blue-");
    config(&lab, "release = \"http://127.0.0.1:8080/\"", "release = \"http://127.0.0.1:8081/nothing\"");
    says(&run(&lab, &["--dry-run"]), 0, "green (release not known) → blue blue");

    // What a deploy leaves in its folders: Capistrano's file, git's commit.
    lab.sh(
        "web1",
        "for colour in blue green; do
           f=/srv/$colour/releases/20261124120000; mkdir -p $f; ln -sfn $f /srv/$colour/current
           mkdir -p /etc/systemd/system/listings-$colour.service.d
           printf '[Service]\\nWorkingDirectory=/srv/%s/current\\n' $colour >/etc/systemd/system/listings-$colour.service.d/test.conf
         done
         echo 0123456789abcdef0123456789abcdef01234567 >/srv/blue/current/REVISION
         mkdir -p /srv/green/current/.git/refs/heads
         echo 'ref: refs/heads/main' >/srv/green/current/.git/HEAD
         echo '89abcdef012345670123456789abcdef01234567 refs/heads/main' >/srv/green/current/.git/packed-refs
         chown -R deploy /srv
         systemctl daemon-reload; systemctl restart listings-blue listings-green",
    );
    config(&lab, "", "");
    site::until("both answer again", || site::unit(&lab, "web1", "listings-green") == "active");
    says(&run(&lab, &["--dry-run"]), 0, "green 89abcdef0123 → blue 0123456789ab");
    lab.sh("web1", "echo 0123456789abcdef0123456789abcdef01234567 >/srv/green/current/.git/refs/heads/main");
    says(&run(&lab, &["--dry-run"]), 1, "blue and green both run 0123456789ab");
    lab.sh("web1", "rm -r /srv/blue/current/REVISION /srv/green/current/.git");

    // The runbook's own deploy: green became blue, and what blue was is kept. The way out that is named is one.
    lab.sh(
        "web1",
        "cd /opt/listings/bin && cp listings-blue listings-blue.old && printf old >>listings-blue.old && rm listings-blue && cp listings-green listings-blue &&
         chown deploy listings-* && systemctl restart listings-blue",
    );
    let scene = rollback(&lab, &[]);
    says(
        &scene,
        1,
        "blue's /opt/listings/bin/listings-blue is green's /opt/listings/bin/listings-green; what it was before is \
                     /opt/listings/bin/listings-blue.old: to go there would change nothing",
    );
    scene.says("sudo systemctl restart listings-blue");
    lab.sh(
        "web1",
        "cd /opt/listings/bin && cp -a listings-blue.old listings-blue.new && mv listings-blue.new listings-blue && systemctl restart listings-blue",
    );
    let scene = rollback(&lab, &[]);
    says(&scene, 0, "traffic on blue");
    write(&lab, "web1", FILE, &before);
}
