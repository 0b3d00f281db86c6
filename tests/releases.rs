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

/// A program that says which release it is, from the folder that it runs in.
const SAYS_ITS_RELEASE: &str = r#"
import http.server, pathlib, sys
release = pathlib.Path(sys.argv[1]).read_text().strip()
class Blue(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_bad = release.startswith("bad")
        body = (release if self.path == "/version" else "blue").encode() + b"\n"
        self.send_response(500 if is_bad else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Instance", "blue")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Blue).serve_forever()
"#;

/// What the page about releases says of this way to keep them.
fn documented(way: &str) -> &'static str {
    let page = include_str!("../docs/releases.md");
    let begins = format!("earlier = {{ {way} = ");
    page.lines().map(str::trim).find(|line| line.starts_with(&begins)).expect("the page has it")
}

const BY_URL: &str = "release = \"http://127.0.0.1:8080/version\"\n";

/// Blue is that program on the hosts, reading its release from `file`.
fn blue_reads(lab: &Lab, hosts: &[&str], file: &str) {
    for host in hosts {
        write(lab, host, "/opt/listings/blue.py", SAYS_ITS_RELEASE);
        let start = format!("ExecStart=\nExecStart=/usr/bin/python3 /opt/listings/blue.py {file}");
        site::drop_in(lab, host, "listings-blue", &start);
        lab.sh(host, "systemctl daemon-reload; systemctl restart listings-blue");
        site::until("blue answers", || !runs(lab, host).is_empty());
    }
}

fn runs(lab: &Lab, host: &str) -> String {
    lab.sh(host, "curl -s http://127.0.0.1:8080/version || true")
}

#[test]
fn blue_is_put_to_the_release_before_when_it_is_what_green_runs() {
    let lab = Lab::up(&["web1", "web2"]);
    let hosts = ["web1", "web2"];
    for host in hosts {
        lab.sh(
            host,
            "cd /opt/listings && mkdir release && echo 1.4.0 >release/blue && echo 1.3.2 >release/blue.old && echo 1.4.0 >green.version
             chown -R deploy:www-data release && chmod 640 release/blue",
        );
    }
    blue_reads(&lab, &hosts, "/opt/listings/release/blue");
    let kept =
        "earlier = { files = [{ put = \"/opt/listings/release/blue.old\", in = \"/opt/listings/release/blue\" }] }";
    config(&lab, &format!("{BY_URL}{kept}"), "release = \"/opt/listings/green.version\"");
    let before = read(&lab, "web1", FILE);

    // The runbook's own deploy has made the bad release blue. It is said, and what to type.
    says(&rollback(&lab, &[]), 1, "--to earlier");
    let scene = run(&lab, &["releases"]);
    says(&scene, 0, "blue.old");
    scene.says("next:       rollback-prod --reason '…' --to sha256:");

    let scene = rollback(&lab, &["--to", "earlier", "--dry-run"]);
    says(&scene, 0, "green 1.4.0 → blue sha256:");
    scene.says("put /opt/listings/release/blue.old in the place of /opt/listings/release/blue").says("--to earlier");
    assert_eq!(runs(&lab, "web1"), "1.4.0");

    let scene = rollback(&lab, &["--to", "earlier"]);
    says(&scene, 0, "traffic on blue");
    for host in hosts {
        serves(&lab, host, "blue", &scene);
        assert_eq!(runs(&lab, host), "1.3.2");
        let owner = lab.sh(host, "stat -c '%U:%G %a' /opt/listings/release/blue");
        assert_eq!(owner, "deploy:www-data 640");
    }
    // It is remembered, where others with another account see it too, and after the host was started again.
    says(&run(&lab, &["status"]), 0, "release   1.4.0 was rolled back on ");
    let text = "ls /run/rollback-prod/*/listings.rolled-back /var/tmp/rollback-prod-*/listings.rolled-back | wc -l";
    assert_eq!(lab.sh("web1", text), "2");
    lab.sh("web1", "rm -r /run/rollback-prod");
    says(&run(&lab, &["status"]), 0, "release   1.4.0 was rolled back on ");
    lab.sh("web1", "systemctl start listings-green");
    let switch = ["switch", "--to", "green", "--reason", "release 1.4.0 again", "--steps", "100", "--hold", "0s"];
    let scene = run(&lab, &switch);
    says(&scene, 1, "1.4.0 was rolled back on ");
    scene.says("(--force goes on past this)");
    // Once more: it is there already.
    let again = rollback(&lab, &["--to", "earlier"]);
    says(&again, 0, "is put to sha256:");

    says(&run(&lab, &["undo"]), 0, "traffic on green");
    for host in hosts {
        assert_eq!(runs(&lab, host), "1.4.0", "what it was before");
        back_to_green(&lab, host, &before);
    }
    run(&lab, &["status"]).never_says("was rolled back");

    // One host has another one kept, and one has none: nothing is changed anywhere.
    lab.sh("web2", "rm /opt/listings/release/blue.old");
    says(&rollback(&lab, &["--to", "earlier"]), 1, "web2: blue cannot be put to earlier: there is none before");
    assert_eq!(runs(&lab, "web1"), "1.4.0");
    lab.sh("web2", "echo bad >/opt/listings/release/blue.old");
    says(&rollback(&lab, &["--to", "earlier"]), 1, "earlier is not the same release on every host: sha256:");
    lab.sh("web1", "echo bad >/opt/listings/release/blue.old");
    // It does not come up there: both are what they were, and green serves on.
    let scene = rollback(&lab, &["--to", "earlier"]);
    says(
        &scene,
        3,
        "on green; blue running again on web1; green untouched; earlier release of blue not made on web2, taken back on web1",
    );
    for host in hosts {
        site::until("blue is what it was", || runs(&lab, host) == "1.4.0");
        serves(&lab, host, "green", &scene);
    }
    // Who serves is not taken out of service for it.
    for host in hosts {
        lab.sh(host, "echo 1.3.2 >/opt/listings/release/blue.old");
    }
    says(&rollback(&lab, &["--force"]), 0, "traffic on blue");
    let scene = rollback(&lab, &["--to", "earlier"]);
    says(&scene, 1, "blue has traffic now, and would have to stop");
    scene.says("rollback-prod switch --to green --steps 100 --hold 0s");
    assert_eq!(runs(&lab, "web1"), "1.4.0");
}

#[test]
fn blue_is_put_to_a_folder_of_capistranos_kind() {
    let lab = Lab::up(&["web1"]);
    lab.sh(
        "web1",
        "mkdir -p /srv/blue/releases/20261101120000 /srv/blue/releases/20261115120000 /srv/blue/releases/20261124120000 && cd /srv/blue/releases
         echo 1.2.9 >20261101120000/version; echo 1.3.2 >20261115120000/version; echo 1.4.0 >20261124120000/version
         echo 0123456789abcdef0123456789abcdef01234567 >20261115120000/REVISION
         touch 20261101120000 && ln -s /srv/blue/releases/20261124120000 /srv/blue/current && chown -hR deploy /srv/blue",
    );
    blue_reads(&lab, &["web1"], "/srv/blue/current/version");
    config(&lab, &format!("{BY_URL}{}", documented("releases")), "");
    let before = read(&lab, "web1", FILE);
    let current = || lab.sh("web1", "readlink /srv/blue/current; stat -c %U /srv/blue/current");

    let scene = run(&lab, &["releases"]);
    says(&scene, 0, "now  20261124120000");
    scene.says("20261115120000  0123456789ab").says("next:       rollback-prod --reason '…' --to 20261115120000");
    says(&rollback(&lab, &["--to", "202611151200"]), 1, "there is no 202611151200; there is 20261124120000");
    says(&rollback(&lab, &["--to", "1.3.2"]), 1, "there is no 1.3.2; there is 20261124120000");

    // By its commit, which is what people see in their own tools.
    let scene = rollback(&lab, &["--to", "01234567"]);
    says(&scene, 0, "traffic on blue");
    assert_eq!(current(), "/srv/blue/releases/20261115120000\ndeploy");
    assert_eq!(runs(&lab, "web1"), "1.3.2");
    let undo = run(&lab, &["undo"]);
    says(&undo, 0, "traffic on green");
    assert_eq!(current(), "/srv/blue/releases/20261124120000\ndeploy");
    assert_eq!(runs(&lab, "web1"), "1.4.0");
    back_to_green(&lab, "web1", &before);

    // Killed when the link is turned and traffic is not: the same line again means the same release, not one further back.
    let running = site::begin(&lab, &["--to", "earlier"]);
    site::until("the link is turned", || current().starts_with("/srv/blue/releases/20261115120000"));
    running.kill();
    let scene = rollback(&lab, &["--to", "earlier"]);
    says(&scene, 0, "traffic on blue");
    assert_eq!(current(), "/srv/blue/releases/20261115120000\ndeploy");
    lab.sh("web1", "ln -sfn /srv/blue/releases/20261124120000 /srv/blue/current; rm -f /srv/blue/.current.before-rollback; systemctl restart listings-blue");
    back_to_green(&lab, "web1", &before);

    // A link from its own folder stays one, and one that leads elsewhere is refused.
    lab.sh("web1", "cd /srv/blue && ln -sfn releases/20261124120000 current && chown -h root:root current && chown root:root /srv/blue");
    let scene = rollback(&lab, &["--to", "earlier"]);
    says(&scene, 0, "traffic on blue");
    assert_eq!(current(), "releases/20261115120000\nroot");
    says(&run(&lab, &["undo"]), 0, "traffic on green");
    assert_eq!(current(), "releases/20261124120000\nroot");
    back_to_green(&lab, "web1", &before);
    lab.sh("web1", "mkdir /srv/elsewhere; ln -sfn /srv/elsewhere /srv/blue/current");
    says(&rollback(&lab, &["--to", "earlier"]), 1, "/srv/blue/current does not lead to a folder in /srv/blue/releases");
    lab.sh("web1", "rm /srv/blue/current; mkdir /srv/blue/current");
    says(&rollback(&lab, &["--to", "earlier"]), 1, "/srv/blue/current is no link");
    says(&run(&lab, &["releases"]), 1, "is no link");
    assert_eq!(read(&lab, "web1", FILE), before);
}

/// Packages in a repository of the host's own; dpkg-deb makes them, apt installs them.
const PACKAGES: &str = r#"
set -e; mkdir -p /srv/repo; cd /srv/repo
for version in 1.3.2 1.4.0-1; do
  mkdir -p build/DEBIAN build/srv/listings build/etc
  printf 'Package: listings-blue\nVersion: %s\nArchitecture: all\nMaintainer: test <t@example.com>\nDescription: listings\n' $version >build/DEBIAN/control
  echo /etc/listings.conf >build/DEBIAN/conffiles
  echo $version >build/srv/listings/version
  echo "of $version" >build/etc/listings.conf
  dpkg-deb --build --root-owner-group build listings-blue_$version.deb
  cat build/DEBIAN/control >>Packages
  printf 'Filename: ./listings-blue_%s.deb\nSize: %s\nSHA256: %s\n\n' $version $(stat -c %s listings-blue_$version.deb) $(sha256sum listings-blue_$version.deb | cut -d' ' -f1) >>Packages
done
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list.d/ours.list
apt-get -q update 2>&1 && apt-get -q -y install listings-blue 2>&1
echo 'changed here' >/etc/listings.conf"#;

#[test]
fn blue_is_put_to_another_version_of_its_package() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", PACKAGES);
    blue_reads(&lab, &["web1"], "/srv/listings/version");
    config(&lab, &format!("{BY_URL}{}", documented("deb")), "");
    let before = read(&lab, "web1", FILE);
    says(&run(&lab, &["releases"]), 0, "next:       rollback-prod --reason '…' --to 1.3.2");
    says(&rollback(&lab, &["--to", "1.3.1"]), 1, "there is no 1.3.1; there is 1.4.0-1, 1.3.2");
    let scene = rollback(&lab, &["--to", "1.3.2"]);
    says(&scene, 0, "traffic on blue");
    assert_eq!(runs(&lab, "web1"), "1.3.2");
    assert_eq!(lab.sh("web1", "cat /etc/listings.conf"), "changed here", "nobody's settings are taken");
    says(&run(&lab, &["undo"]), 0, "traffic on green");
    assert_eq!(runs(&lab, "web1"), "1.4.0-1");
    back_to_green(&lab, "web1", &before);

    // What cannot be had again is said beforehand; what cannot be installed leaves blue and traffic as they were.
    lab.sh("web1", "sed -i '/^Package/,/^$/{/1.4.0-1/,/^$/d}' /srv/repo/Packages; apt-get -q update 2>&1");
    lab.sh(
        "web1",
        "cd /srv/repo; awk -v RS= -v ORS='\\n\\n' '/1.3.2/' Packages >P; mv P Packages; apt-get -q update 2>&1",
    );
    let scene = rollback(&lab, &["--to", "1.3.2", "--dry-run"]);
    says(&scene, 0, "no repository has 1.4.0-1 any more, so `undo` cannot put blue back to it");
    lab.sh("web1", "rm /srv/repo/listings-blue_1.3.2.deb");
    let scene = rollback(&lab, &["--to", "1.3.2"]);
    scene.exits(3).says("on green; green untouched; earlier release of blue taken back");
    assert_eq!(runs(&lab, "web1"), "1.4.0-1");
    assert_eq!(read(&lab, "web1", FILE), before);
}
