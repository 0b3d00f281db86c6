//! Several services in one file, on two hosts behind one nginx: all are proven before one moves, they go one after the other,
//! and whatever stops one of them leaves the others as the last lines say.

#[path = "support/database.rs"]
mod database;
#[path = "support/page.rs"]
mod page;
#[path = "support/site.rs"]
mod site;
#[path = "support/mod.rs"]
mod support;

use std::process::Command;

use site::*;
use support::Scene;
use support::lab::{Lab, Load};

/// The page that says what to write.
const PAGE: &str = include_str!("../docs/services.md");

/// Both services in one file, each behind a name of its own.
fn both_in(app: &str) -> String {
    format!(
        "upstream api {{
    server 127.0.0.1:8080 down;
    server 127.0.0.1:8081 weight=100;
}}
# what the portal's users get
upstream portal {{
    server {app}:8080 down;
    server {app}:8081 weight=100;
}}
server {{
    listen 80 default_server;
    server_name listings.example.com;
    location / {{ proxy_pass http://portal; }}
}}
server {{
    listen 80;
    server_name api.example.com;
    location / {{ proxy_pass http://api; }}
}}
"
    )
}

/// Two hosts as the page has them, and its config with `edit`s; nginx is reloaded by a program that a test can spoil.
struct Shop {
    lab: Lab,
    before: String,
}

impl Shop {
    fn up() -> Shop {
        Shop::on(Lab::up(&["web1", "app1"]))
    }

    fn on(lab: Lab) -> Shop {
        let app = lab.ip("app1");
        let before = both_in(&app);
        install(&lab, "web1", "/usr/local/sbin/reload", "#!/bin/sh\nexec systemctl reload nginx\n");
        let shop = Shop { lab, before };
        shop.config("", "");
        shop.anew();
        shop
    }

    /// The page's config, with lines for the top of the file and for its end.
    fn config(&self, top: &str, end: &str) {
        let (toml, ssh) = (page::block(PAGE, "toml").expect("its config"), self.lab.ssh_config());
        let text = toml.replace("10.0.0.21", &self.lab.ip("app1")).replacen(
            "[nginx]",
            &format!(
                "{top}\n[ssh]\nconfig = \"{}\"\n[drain]\ntimeout = \"5s\"\n[verify]\ninterval = \"100ms\"\n\
                 [nginx]\nreload = \"/usr/local/sbin/reload\"",
                ssh.display()
            ),
            1,
        );
        std::fs::write(self.lab.folder().join("rollback.toml"), format!("{text}\n{end}\n")).expect("write the config");
    }

    /// As before any rollback.
    fn anew(&self) {
        write(&self.lab, "web1", FILE, &self.before);
        for host in ["web1", "app1"] {
            self.lab.sh(host, "systemctl start listings-blue listings-green");
        }
        self.lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
        until("green serves both", || self.serve() == ("green".to_owned(), "green".to_owned()));
    }

    /// Who serves the portal, and who the API.
    fn serve(&self) -> (String, String) {
        (self.by("listings.example.com"), self.by("api.example.com"))
    }

    fn by(&self, name: &str) -> String {
        let url = format!("http://{}/", self.lab.ip("web1"));
        let host = format!("Host: {name}");
        let output = Command::new("curl").args(["-sS", "-m", "5", "--noproxy", "*", "-H", &host, &url]).output();
        String::from_utf8_lossy(&output.expect("start curl").stdout).trim().to_owned()
    }

    #[track_caller]
    fn is(&self, scene: &Scene, portal: &str, api: &str) {
        let now = self.serve();
        scene.holds(now == (portal.to_owned(), api.to_owned()), &format!("portal {portal}, api {api}: {now:?}"));
    }

    /// The reload of that number, from 1, does nothing and says so; all others are as ever.
    fn spoil_reload(&self, number: u32) {
        let script = format!(
            "#!/bin/sh\necho . >>/run/reloads\n[ \"$(wc -l </run/reloads)\" != {number} ] || {{ echo spoilt; exit 1; }}\n\
             exec systemctl reload nginx\n"
        );
        install(&self.lab, "web1", "/usr/local/sbin/reload", &script);
        self.lab.sh("web1", "rm -f /run/reloads");
    }
}

#[test]
fn they_go_back_one_after_the_other_in_one_incident_and_nobody_notices() {
    let shop = Shop::up();
    let lab = &shop.lab;
    let scene = run(lab, &["status"]);
    scene.exits(0).says("production: portal: traffic on green on 1 of 1 host; api: traffic on green on 1 of 1 host");
    let scene = run(lab, &["check"]);
    scene.exits(0).says("api: web1: nginx accepts the new file");
    let scene = run(lab, &["--dry-run"]);
    scene.exits(0).says("goes before api").says("waits until traffic is safe on portal");
    assert_eq!(read(lab, "web1", FILE), shop.before);
    let manual = run(lab, &["manual"]);
    manual.exits(0).says("Rollback of portal / prod").says("Rollback of api / prod");

    let load = Load::start(&lab.ip("web1"), "GET", "/", 8);
    let scene = rollback(lab, &["--json"]);
    scene.keeps_to_the_schema();
    let counts = load.stop();
    scene.exits(0);
    nobody_noticed(&counts, &scene);
    shop.is(&scene, "blue", "blue");
    let lines: Vec<serde_json::Value> = scene
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}")))
        .collect();
    let steps = |service: &str, step: &str| {
        lines
            .iter()
            .filter(|line| line["service"] == service && line["step"] == step && line["status"] == "done")
            .count()
    };
    for service in ["api", "portal"] {
        scene.holds(steps(service, "switch") == 1 && steps(service, "stop") == 1, service);
    }
    let place =
        |service: &str| lines.iter().position(|line| line["service"] == service && line["traffic_safe_ms"].is_u64());
    scene.holds(place("portal") < place("api"), "who needs the other goes first");
    let end = lines.last().expect("a last line");
    scene.holds(end["event"] == "end" && end["exit"] == 0 && end["traffic_safe_ms"].is_u64(), "one end");
    for (host, unit_of) in [("web1", "listings-green"), ("app1", "listings-green")] {
        scene.holds(unit(lab, host, unit_of) == "inactive", host);
        scene.holds(leftovers(lab, host).is_empty(), &leftovers(lab, host));
    }
    let file = read(lab, "web1", FILE);
    scene.holds(
        file == shop
            .before
            .replace(":8080 down;", ":8080 weight=100 max_fails=0;")
            .replace(":8081 weight=100;", ":8081 down;"),
        &file,
    );

    // One incident: one journal, one report with a section each, everything summed.
    let report = kept(lab, "INCIDENT_REPORT.md");
    for words in
        ["# shop: rollback of portal, api: done", "\n## portal: rolled back to blue", "\n## api: rolled back to blue"]
    {
        scene.holds(report.contains(words), &format!("{words}:\n{report}"));
    }
    let sums = kept(lab, "SHA256SUMS");
    scene.holds(sums.contains("  api/plan.json\n") && sums.contains("  portal/web1.nginx.before.conf\n"), &sums);
    let folders = std::fs::read_dir(lab.folder().join("incidents")).expect("incidents").flatten();
    let folders = folders.filter(|entry| entry.path().is_dir()).count();
    scene.holds(folders == 1, "one incident");

    // The other way round: whoever is needed is there first again.
    let undo = run(lab, &["undo"]);
    undo.exits(0).says("production: api: traffic on green on 1 of 1 host");
    shop.is(&undo, "green", "green");
    undo.holds(read(lab, "web1", FILE) == shop.before, "byte for byte");
    run(lab, &["undo"]).exits(1).says("nothing was changed");

    // One of them alone, and what is about one says so.
    run(lab, &["--dry-run", "--service", "portal"])
        .exits(0)
        .says("next:       rollback-prod --reason '…' --service portal");
    let scene = rollback(lab, &["--service", "portal"]);
    scene.exits(0).says("production: traffic on blue on 1 of 1 host");
    shop.is(&scene, "blue", "green");
    run(lab, &["undo"]).exits(0);
    shop.is(&scene, "green", "green");
    for words in [&["switch", "--to", "blue", "--reason", "x"][..], &["watch", "--for", "1s"], &["assess"]] {
        run(lab, words).exits(2).says("name it with --service; there is portal, api");
    }
    run(lab, &["assess", "--service", "api"]).says("assessment of api / prod");
    run(lab, &["status", "--service", "apu"]).exits(2).says("it has portal, api");
    shop.config("", "hosts = [\"web1\", \"app1\"]\n[services.admin]\nnginx.upstream = \"api\"\n");
    run(lab, &["status"]).exits(2).says("missing [blue] (of the service admin)");
}

#[test]
fn what_stops_one_of_them_leaves_the_others_as_is_said() {
    let shop = Shop::up();
    let lab = &shop.lab;

    // One does not come up: none is moved, and what was started is stopped again.
    lab.sh("app1", "systemctl stop listings-blue");
    drop_in(lab, "web1", "listings-blue", "ExecStart=\nExecStart=/bin/sh -c 'exit 7'");
    lab.sh("web1", "systemctl daemon-reload; systemctl stop listings-blue");
    let scene = rollback(lab, &[]);
    scene
        .holds(matches!(scene.status.code(), Some(1 | 3)), "nothing stands changed")
        .says("another service of this run");
    shop.is(&scene, "green", "green");
    scene.holds(read(lab, "web1", FILE) == shop.before, "the file is as it was");
    scene.holds(unit(lab, "app1", "listings-blue") != "active", "what was started for nothing is stopped");
    // The other one alone can be.
    let scene = rollback(lab, &["--service", "portal"]);
    scene.exits(0);
    shop.is(&scene, "blue", "green");
    run(lab, &["undo"]).exits(0);
    lab.sh("web1", "rm -r /etc/systemd/system/listings-blue.service.d; systemctl daemon-reload");

    // The second one's nginx refuses its reload: the first one stays, and what to type is said.
    shop.anew();
    shop.spoil_reload(2);
    let scene = rollback(lab, &[]);
    scene.exits(5).says("api: ").says("next:       rollback-prod check");
    shop.is(&scene, "blue", "green");
    let again = rollback(lab, &[]);
    again.exits(0);
    shop.is(&again, "blue", "blue");

    // All or nothing: the first one goes back, and nothing of it was stopped.
    shop.anew();
    shop.spoil_reload(2);
    let scene = rollback(lab, &["--all-or-nothing"]);
    scene.exits(3).says("all or nothing was asked for");
    shop.is(&scene, "green", "green");
    scene.holds(read(lab, "web1", FILE) == shop.before, "byte for byte");
    scene.holds(unit(lab, "app1", "listings-green") == "active", "green was not stopped");
    let scene = rollback(lab, &["--all-or-nothing"]);
    scene.exits(0);
    shop.is(&scene, "blue", "blue");

    // The first one cannot be moved: the second one is not begun.
    shop.anew();
    shop.spoil_reload(1);
    let scene = rollback(lab, &[]);
    scene.exits(3).says("api: nothing is moved: a service that goes before this one was not");
    shop.is(&scene, "green", "green");
    scene.holds(read(lab, "web1", FILE) == shop.before, "byte for byte");

    // What the first one goes to dies when both are moved, and will not live: its traffic goes back, in the same file, and the
    // other one's stays.
    shop.anew();
    let mut running = begin(lab, &["--bake", "8s"]);
    until("both are moved and looked after", || running.is_over() || running.said().contains("judge     "));
    drop_in(lab, "app1", "listings-blue", "ExecStart=\nExecStart=/bin/sh -c 'exit 7'");
    lab.sh("app1", "systemctl daemon-reload; systemctl kill -s KILL listings-blue; systemctl stop listings-blue");
    let code = running.exit();
    let said = running.said();
    assert_eq!(code, 5, "{said}");
    assert!(
        said.contains("production: portal: traffic of web1 put back") && said.contains("api: traffic on blue"),
        "{said}"
    );
    assert_eq!(shop.serve(), ("green".to_owned(), "blue".to_owned()), "{said}");
    lab.sh("app1", "rm -r /etc/systemd/system/listings-blue.service.d; systemctl daemon-reload");
    let undo = run(lab, &["undo"]);
    undo.exits(0);
    shop.is(&undo, "green", "green");
    undo.holds(read(lab, "web1", FILE) == shop.before, "byte for byte");

    // One that runs where another one does is seen on the hosts.
    shop.config("", "hosts = [\"web1\"]");
    run(lab, &["--dry-run"]).exits(1).says("api: web1: blue is unit listings-blue, and so is portal's blue");
}

/// What is done once for all, by the service that goes last, and what each has of its own.
const CHANGES: &str = r#"
[change.flag]
on    = "app"
run   = ["sh", "-c", "echo off >/opt/listings/flag; echo flag >>/opt/listings/calls"]
undo  = ["sh", "-c", "echo on >/opt/listings/flag"]
check = ["grep", "-qx", "off", "/opt/listings/flag"]
[[hook]]
at  = "after switch"
on  = ["web1"]
run = ["sh", "-c", "echo $ROLLBACK_SERVICE >>/opt/listings/hooks"]
"#;
const OF_THE_PORTAL: &str = r#"
[services.portal.change.page]
on    = ["app1"]
run   = ["sh", "-c", "echo old >/opt/listings/page; echo page >>/opt/listings/calls"]
undo  = ["sh", "-c", "echo new >/opt/listings/page"]
check = ["grep", "-qx", "old", "/opt/listings/page"]
"#;

/// Everything as before, the traces of changes too.
fn changes_anew(shop: &Shop) {
    shop.anew();
    for host in ["web1", "app1"] {
        shop.lab.sh(
            host,
            "cd /opt/listings; echo on >flag; echo new >page; : >calls; : >hooks; chown deploy flag page calls hooks",
        );
    }
}

#[test]
fn killed_at_any_moment_the_next_run_finishes_and_each_change_is_made_once() {
    let kills: u32 = std::env::var("KILLS").map_or(3, |kills| kills.parse().expect("KILLS is a number"));
    let shop = Shop::up();
    let lab = &shop.lab;
    shop.config(CHANGES, OF_THE_PORTAL);
    changes_anew(&shop);
    let words = ["--with", "flag,page"];
    let began = std::time::Instant::now();
    let scene = rollback(lab, &words);
    scene.exits(0);
    let whole = began.elapsed();
    assert_eq!(read(lab, "web1", "/opt/listings/hooks"), "portal\napi\n");
    assert_eq!(
        (read(lab, "web1", "/opt/listings/calls"), read(lab, "app1", "/opt/listings/calls")),
        ("flag\n".into(), "page\nflag\n".into())
    );
    let undo = run(lab, &["undo"]);
    undo.exits(0);
    undo.holds(
        read(lab, "web1", "/opt/listings/flag") == "on\n" && read(lab, "app1", "/opt/listings/page") == "new\n",
        "both",
    );
    shop.is(&undo, "green", "green");
    run(lab, &["partial", "page", "--reason", "the page alone"]).exits(0);
    assert_eq!(
        (read(lab, "app1", "/opt/listings/page"), read(lab, "web1", "/opt/listings/flag")),
        ("old\n".into(), "on\n".into())
    );

    for kill in 0..kills {
        changes_anew(&shop);
        let mut running = begin(lab, &words);
        std::thread::sleep(whole * kill / kills);
        let was_over = running.is_over();
        let said = running.said();
        running.kill();
        let second = rollback(lab, &words);
        let name = format!("killed at {kill} of {kills} ({was_over}):\n{said}");
        second.holds(second.status.code() == Some(0), &name);
        shop.is(&second, "blue", "blue");
        let calls = (read(lab, "web1", "/opt/listings/calls"), read(lab, "app1", "/opt/listings/calls"));
        second
            .holds(calls == ("flag\n".into(), "page\nflag\n".into()), &format!("each is made once: {calls:?}; {name}"));
        for host in ["web1", "app1"] {
            second.holds(leftovers(lab, host).is_empty(), &format!("{}{name}", leftovers(lab, host)));
        }
    }
}

/// Everybody's database is restored once, when the traffic of all is safe, and taken back before any traffic is.
#[test]
fn a_database_at_the_top_is_restored_once_and_an_undo_begins_with_it() {
    let lab = Lab::up(&["web1+postgres", "app1"]);
    lab.postgres("web1");
    database::filled(&lab);
    database::dump(&lab, database::NAME, "listings_1.sql.gz", 30);
    let shop = Shop::on(lab);
    let lab = &shop.lab;
    shop.config(database::CONFIG, "");
    database::sql(lab, "UPDATE listings SET title = 'spoilt'");
    let spoilt = || database::sql(lab, "SELECT count(*) FROM listings WHERE title = 'spoilt'") != "0";
    let typed = |words: &[&str], word: &str| Scene::of_typing(&mut program(lab, words), lab.folder(), word);

    let scene = typed(&["--reason", "spoilt", "--restore-db"], "RESTORE\n");
    scene.exits(0);
    scene.holds(scene.stdout.matches("Type 'RESTORE' to confirm").count() == 1, "it is asked once");
    scene.holds(!spoilt(), "the dump is live");
    shop.is(&scene, "blue", "blue");

    let undo = typed(&["undo"], "UNDO\n");
    undo.exits(0);
    undo.holds(spoilt(), "what was live before is live again");
    shop.is(&undo, "green", "green");
    undo.holds(read(lab, "web1", FILE) == shop.before, "byte for byte");
}

/// On more than one balancer: a part of them moves all services, and all or nothing takes back what was moved on some.
#[test]
fn on_several_balancers_all_services_move_or_none_does() {
    let shop = Shop::on(Lab::up(&["web1", "web2", "app1"]));
    let lab = &shop.lab;
    shop.config("[[host]]\nname = \"web2\"\nssh = \"web2\"\n", "");
    let reload = "/usr/local/sbin/reload";
    install(lab, "web2", reload, "#!/bin/sh\nexec systemctl reload nginx\n");
    let web2_anew = || {
        write(lab, "web2", FILE, &shop.before);
        lab.sh("web2", "systemctl start listings-blue listings-green; nginx -t 2>/dev/null && systemctl reload nginx");
    };
    web2_anew();

    // Only one of them: every service is moved there, and the other is as it was.
    let scene = rollback(lab, &["--hosts", "web1"]);
    shop.is(&scene, "blue", "blue");
    scene.holds(read(lab, "web2", FILE) == shop.before, "left out");
    run(lab, &["undo"]).exits(0);
    shop.is(&scene, "green", "green");

    // The second one's reload fails on one balancer: under all or nothing nothing stays moved on any.
    install(
        lab,
        "web2",
        reload,
        "#!/bin/sh\necho . >>/run/reloads\n[ \"$(wc -l </run/reloads)\" != 2 ] || exit 1\nexec systemctl reload nginx\n",
    );
    let scene = rollback(lab, &["--all-or-nothing"]);
    scene.exits(3);
    shop.is(&scene, "green", "green");
    for host in ["web1", "web2"] {
        scene.holds(read(lab, host, FILE) == shop.before, &format!("{host}: byte for byte"));
        scene.holds(unit(lab, host, "listings-green") == "active", "green was not stopped");
    }
}
