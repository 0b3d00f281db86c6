//! `init` on real hosts that no config describes: what it writes is untouched, `check` passes it, and a rollback with it is one.
//! Each layout that `docs/layouts.md` knows, each way to keep an application, and what it cannot do, which it says.

#[path = "support/database.rs"]
mod database;
#[path = "support/page.rs"]
mod page;
#[path = "support/site.rs"]
mod site;
mod support;

use std::path::PathBuf;
use std::process::Command;

use page::{block, sections};
use site::{FILE, SIDE_FILES, TWO_PORTS, back_to_green, leftovers, program, served_by, until};
use support::Scene;
use support::lab::{Lab, SITE};

/// The config that it writes, and none is there.
fn written(lab: &Lab) -> PathBuf {
    let path = lab.folder().join("rollback.toml");
    let _ = std::fs::remove_file(&path);
    path
}

fn command(lab: &Lab, hosts: &[&str]) -> Command {
    let mut words = vec!["init"];
    words.extend(hosts);
    let mut command = program(lab, &words);
    command.arg("--ssh-config").arg(lab.ssh_config());
    command
}

/// `init` with no terminal, which ends with 0: `check` found nothing in the way of what it wrote.
#[track_caller]
fn init(lab: &Lab, hosts: &[&str], what: &str) -> (Scene, String) {
    let path = written(lab);
    let scene = Scene::of(&mut command(lab, hosts), lab.folder());
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    scene.holds(scene.status.code() == Some(0), &format!("{what}: exit code 0\n{text}"));
    scene.says("production: nothing stands in the way").says("next:       rollback-prod --dry-run");
    (scene, text)
}

/// The same, `check` by itself, and the rollback with what was written.
#[track_caller]
fn rolls_back(lab: &Lab, hosts: &[&str], what: &str) -> String {
    let (_, text) = init(lab, hosts, what);
    let scene = site::rollback(lab, &[]);
    scene.holds(scene.status.code() == Some(0), &format!("{what}: the rollback ends with 0\n{text}"));
    scene.holds(served_by(lab, hosts[0]) == "blue", &format!("{what}: blue serves\n{text}"));
    for host in hosts {
        scene.holds(leftovers(lab, host).is_empty(), &format!("{what}: {}", leftovers(lab, host)));
    }
    text
}

/// The keys of a table of the page's config are those of what was written.
#[track_caller]
fn says_as_the_page(text: &str, config: &str, what: &str) {
    let is_said = |line: &&str| !line.starts_with('[') && !line.trim().is_empty();
    for line in config.lines().filter(is_said) {
        assert!(text.lines().any(|own| own.split("   #").next() == Some(line)), "{what}: {line}\n{text}");
    }
}

#[test]
fn every_layout_of_the_page_is_found_out_checked_and_rolled_back() {
    let is_layout =
        |section: &&(&str, &'static str)| block(section.1, "nginx").is_some() && block(section.1, "diff").is_some();
    let layouts: Vec<(&str, &'static str)> = sections().filter(|section| is_layout(&section)).collect();
    assert!(layouts.len() >= 6, "the page has them");
    // On two hosts side by side: a rollback mostly waits.
    let (some, others) = layouts.split_at(layouts.len() / 2 + 1);
    std::thread::scope(|scope| {
        scope.spawn(|| each_layout(some));
        scope.spawn(|| {
            let lab = each_layout(others);
            what_is_no_site_file(&lab);
        });
    });
}

fn each_layout(layouts: &[(&str, &'static str)]) -> Lab {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", &format!("{TWO_PORTS}\nsystemctl restart listings-blue listings-green"));
    for (name, section) in layouts {
        let (file, config) = (block(section, "nginx").expect("a file"), block(section, "toml").expect("a config"));
        back_to_green(&lab, "web1", file);
        let text = rolls_back(&lab, &["web1"], name);
        says_as_the_page(&text, config, name);
    }
    lab
}

fn what_is_no_site_file(lab: &Lab) {
    // A word in a file that is included.
    let included = "/etc/nginx/active.conf";
    let sides = "upstream shop_blue { server 127.0.0.1:8080; }\nupstream shop_green { server 127.0.0.1:8081; }\n";
    let site = format!(
        "{sides}server {{ listen 80; server_name {SITE}; include {included}; location / {{ proxy_pass http://$active; }} }}\n"
    );
    site::write(lab, "web1", included, "set $active shop_green;\n");
    back_to_green(lab, "web1", &site);
    let text = rolls_back(lab, &["web1"], "an include");
    assert!(text.contains(&format!("file = \"{included}\"\nswitch = \"variable\"")), "{text}");

    // A stream beside a site whose upstream has the same name.
    let stream = "/etc/nginx/stream.d/shop.conf";
    lab.sh(
        "web1",
        "rm /etc/nginx/sites-enabled/*; mkdir /etc/nginx/stream.d
         echo 'stream { include /etc/nginx/stream.d/*.conf; }' >>/etc/nginx/nginx.conf
         echo 'upstream shop { server 10.0.0.1; } server { listen 8099; location / { proxy_pass http://shop; } }' \
           >/etc/nginx/conf.d/another.conf",
    );
    let pair = "upstream shop {\n    server 127.0.0.1:8080 down;\n    server 127.0.0.1:8081 weight=100;\n}\n\
                server { listen 80; proxy_pass shop; }\n";
    site::write(lab, "web1", stream, pair);
    lab.sh("web1", "systemctl start listings-green; nginx -t 2>&1 && systemctl reload nginx");
    until("green serves", || served_by(lab, "web1") == "green");
    let text = rolls_back(lab, &["web1"], "a stream");
    assert!(text.contains("upstream = \"shop\"\ncontext = \"stream\""), "{text}");
}

#[test]
fn a_link_and_a_copy_are_found_out_with_the_file_of_the_other_side() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", SIDE_FILES);
    let green = "/etc/nginx/sites-available/shop-green.conf";
    let (link, copy) = ("/etc/nginx/sites-enabled/listings", "/etc/nginx/conf.d/active.conf");
    let put = |how: &str| {
        lab.sh("web1", &format!("{how}; systemctl start listings-green; nginx -t 2>&1 && systemctl reload nginx"));
        until("green serves", || served_by(&lab, "web1") == "green");
    };
    put(&format!("ln -sfn {green} {link}"));
    let text = rolls_back(&lab, &["web1"], "a link");
    says_as_the_page(&text, page::config_of("A link that is turned"), "a link");
    put(&format!("rm -f {link}; cp {green} {copy}"));
    let text = rolls_back(&lab, &["web1"], "a copy");
    says_as_the_page(&text, page::config_of("A file that is a copy"), "a copy");
}

/// Both sides as processes of one program, which nothing keeps and whose names say no colour.
const PROCESSES: &str = r#"
systemctl disable --now listings-blue listings-green 2>/dev/null
cp /opt/listings/bin/listings-blue /opt/listings/bin/listings
for pair in blue:8080 green:8081; do
  runuser -u deploy -- sh -c "cd /opt/listings && exec setsid ./bin/listings --colour ${pair%:*} --port ${pair#*:} --log /opt/listings/logs/app-${pair#*:}.log" </dev/null >/dev/null 2>&1 &
done
for n in $(seq 500); do curl -fs -o /dev/null http://127.0.0.1:8081/health && curl -fs -o /dev/null http://127.0.0.1:8080/health && exit; sleep 0.02; done; exit 1"#;

const SUPERVISED: &str = r#"
pkill -x listings
mkdir -p /etc/supervisor/conf.d
for pair in blue:8080 green:8081; do
  printf '[program:listings-%s]\ncommand=/opt/listings/bin/listings-%s --port %s --log /opt/listings/logs/%s.log\nuser=deploy\n' \
    ${pair%:*} ${pair%:*} ${pair#*:} ${pair%:*} >/etc/supervisor/conf.d/${pair%:*}.conf
done
setsid supervisord -c /etc/supervisor/supervisord.conf </dev/null >/dev/null 2>&1
for n in $(seq 500); do curl -fs -o /dev/null http://127.0.0.1:8081/health && curl -fs -o /dev/null http://127.0.0.1:8080/health && exit; sleep 0.02; done; exit 1"#;

const BELOW_RUNIT: &str = r#"
pkill -x supervisord
for n in $(seq 500); do pgrep -x listings-blue || pgrep -x listings-green || break; sleep 0.02; done >/dev/null
for pair in blue:8080 green:8081; do
  mkdir -p /srv/runit/shop-${pair%:*}
  printf '#!/bin/sh\nexec chpst -u deploy /opt/listings/bin/listings-%s --port %s --log /opt/listings/logs/%s.log\n' \
    ${pair%:*} ${pair#*:} ${pair%:*} >/srv/runit/shop-${pair%:*}/run
  chmod 755 /srv/runit/shop-${pair%:*}/run
done
setsid runsvdir -P /srv/runit </dev/null >/dev/null 2>&1 &
for n in $(seq 500); do curl -fs -o /dev/null http://127.0.0.1:8081/health && curl -fs -o /dev/null http://127.0.0.1:8080/health && exit; sleep 0.02; done; exit 1"#;

#[test]
fn plain_processes_and_programs_of_a_supervisor_are_known_and_other_failures_are_said() {
    let lab = Lab::up(&["web1"]);
    let file = site::read(&lab, "web1", FILE);
    let to_green = |how: &str| {
        site::write(&lab, "web1", FILE, &file);
        lab.sh("web1", how);
        lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
        until("green serves", || served_by(&lab, "web1") == "green");
    };
    // Both on one unit: to stop one would stop the other.
    to_green(&format!(
        "{TWO_PORTS}\nsystemctl stop listings-blue; sed -i 's/port 8083/port 8080/' /opt/listings/bin/both-green; systemctl restart listings-green"
    ));
    until("both ports are open", || lab.sh("web1", "ss -Hltn 'sport = :8080'").contains("8080"));
    let refused = |why: &str| {
        let path = written(&lab);
        let scene = Scene::of(&mut command(&lab, &["web1"]), lab.folder());
        scene.exits(1).says(why).says("no config was written").says("hint:");
        scene.holds(!path.exists(), "nothing is written");
    };
    refused("both colours are listings-green.service: to stop green would stop blue");

    to_green(PROCESSES);
    // With a terminal it is asked, and the likeliest is what Enter says; without one it is a guess that is marked.
    let guessed = "servers = [\"127.0.0.1:8081\"]   # guessed: no name says a colour";
    for (typed, is_blue) in [("2\n", true), ("\n", false)] {
        let path = written(&lab);
        let typed_to = format!("{:?}", command(&lab, &["web1"]));
        let mut script = Command::new("script");
        script.args(["-qec", &typed_to, "/dev/null"]);
        let scene = Scene::of_typing(&mut script, lab.folder(), typed);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        scene.says("127.0.0.1:8081 serves now. Is that green, the release that a rollback takes out? [1]");
        let (blue, _) = text.split_once("[green]").expect("both sides");
        scene.holds(blue.contains("servers = [\"127.0.0.1:8081\"]") == is_blue && !text.contains(guessed), &text);
    }
    let text = rolls_back(&lab, &["web1"], "processes");
    assert!(text.contains(guessed), "{text}");
    assert!(text.contains("run.process.exe = \"/opt/listings/bin/listings\"   # guessed: "), "{text}");

    to_green(SUPERVISED);
    let text = rolls_back(&lab, &["web1"], "supervisord");
    assert!(
        text.contains("run.command.stop = [\"sudo\", \"-n\", \"supervisorctl\", \"stop\", \"listings-green\"]"),
        "{text}"
    );

    to_green(BELOW_RUNIT);
    let text = rolls_back(&lab, &["web1"], "runit");
    assert!(
        text.contains("run.command.start = [\"sudo\", \"-n\", \"sv\", \"start\", \"/srv/runit/shop-green\"]"),
        "{text}"
    );

    // One side alone, and nobody who could be the other.
    lab.sh(
        "web1",
        "pkill -x runsvdir; pkill -x runsv; pkill -x listings-blue; pkill -x listings-green; rm -f /etc/systemd/system/listings-*.service; systemctl daemon-reload",
    );
    until("they are gone", || lab.sh("web1", "ss -Hltn 'sport = :8080'").is_empty());
    lab.sh(
        "web1",
        "runuser -u deploy -- setsid /opt/listings/bin/listings-green --port 8081 </dev/null >/dev/null 2>&1 &",
    );
    site::write(&lab, "web1", FILE, &file.replace("    server 127.0.0.1:8080 down;\n", ""));
    lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
    until("green serves", || served_by(&lab, "web1") == "green");
    refused("one side only: it sends to 127.0.0.1:8081");

    // What nginx has loaded is not for this account to read; its files are.
    lab.sh(
        "web1",
        "rm -f /etc/sudoers.d/deploy; systemctl disable --now nginx; rm -rf /etc/nginx/sites-enabled /etc/nginx/conf.d",
    );
    refused("may not read what nginx has loaded");
    lab.sh("web1", "rm -rf /usr/sbin/nginx");
    refused("no nginx runs there");
}

#[test]
fn containers_and_a_compose_project_are_known_with_nginx_in_a_container_too() {
    let lab = Lab::up(&["web1+docker"]);
    lab.docker("web1");
    lab.nginx_image("web1");
    let folder = "/srv/shop/conf.d";
    lab.sh(
        "web1",
        &format!(
            "mkdir -p {folder}; docker network create shop
             for c in blue green; do docker run -d --name app-$c --network shop listings:$c --port 3000; done"
        ),
    );
    let file = format!(
        "upstream shop {{\n    server app-blue:3000 down;\n    server app-green:3000 weight=100;\n}}\n\
         server {{ listen 80; server_name {SITE}; location / {{ proxy_pass http://shop; }} }}\n"
    );
    site::write(&lab, "web1", &format!("{folder}/default.conf"), &file);
    lab.sh(
        "web1",
        &format!("docker run -d --name web-nginx --network shop -p 80:80 -v {folder}:/etc/nginx/conf.d:ro nginx:lab"),
    );
    until("green serves", || served_by(&lab, "web1") == "green");
    let text = rolls_back(&lab, &["web1"], "nginx in a container");
    for line in ["container = \"web-nginx\"", "run.docker = \"app-green\"", "upstream = \"shop\""] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }

    // A project of compose behind the host's own nginx.
    lab.sh("web1", COMPOSE);
    until("green serves", || served_by(&lab, "web1") == "green");
    let text = rolls_back(&lab, &["web1"], "compose");
    for line in [
        "run.compose.file = \"/srv/listings/compose.yml\"",
        "run.compose.service = \"green\"",
        "run.compose.project = \"shop\"",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    assert!(text.contains("service = \"shop\"   # guessed: the name of its compose project"), "{text}");
}

const COMPOSE: &str = r#"
docker rm -f web-nginx app-blue app-green >/dev/null
systemctl stop listings-blue listings-green
mkdir -p /srv/listings
cat >/srv/listings/compose.yml <<Y
version: "3"
services:
  blue:
    image: listings:blue
    command: ["--port", "3000"]
    ports: ["127.0.0.1:8080:3000"]
  green:
    image: listings:green
    command: ["--port", "3000"]
    ports: ["127.0.0.1:8081:3000"]
Y
docker compose -f /srv/listings/compose.yml -p shop up -d 2>&1
systemctl start nginx"#;

#[test]
fn a_database_and_its_dumps_and_the_runbooks_variables_are_taken_over_and_nothing_is_overwritten() {
    let lab = Lab::up(&["web1+postgres"]);
    lab.postgres("web1");
    database::filled(&lab);
    database::dump(&lab, database::NAME, "listings_prod-1.sql.gz", 30);
    std::fs::write(
        lab.folder().join(".env.deploy"),
        "SLACK_WEBHOOK_URL=https://hooks.slack.com/services/T/B/secret\nONCALL_ENGINEER=Ada\nDB_NAME=listings_prod\n",
    )
    .expect("write .env.deploy");
    let (scene, text) = init(&lab, &["web1"], "a database");
    for line in [
        "roles = [\"balancer\", \"app\", \"database\"]",
        "name = \"listings_prod\"",
        "user = \"listings\"",
        "backups = \"/opt/listings/backups/*.sql.gz\"",
        "slack.webhook_env = \"SLACK_WEBHOOK_URL\"",
        "oncall = \"$ONCALL_ENGINEER\"",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    scene.holds(!text.contains("secret") && !text.contains("Ada"), "the values stay where they are");
    scene.says("deploy ALL=(root) NOPASSWD: /usr/sbin/nginx -t");
    site::run(&lab, &["backups"]).exits(0).says("listings_prod-1.sql.gz");
    scene.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));

    // Nothing is overwritten, and nobody is asked before that is known.
    let again = Scene::of(&mut command(&lab, &["web1"]), lab.folder());
    again
        .exits(1)
        .says("rollback.toml is there already, and init never overwrites")
        .says("next:       rollback-prod check");
    let path = lab.folder().join("rollback.toml");
    again.holds(std::fs::read_to_string(&path).expect("it is there") == text, "it is as it was");

    // With no more rights than those that were shown, the rollback is done all the same.
    let lines: Vec<&str> = scene.stdout.lines().filter(|line| line.starts_with("deploy ALL=(root)")).collect();
    lab.sh("web1", "rm /etc/sudoers.d/deploy");
    // Without any right its files are read as far as that account may, and what it lacks is shown.
    let mut without = command(&lab, &["web1"]);
    without.args(["--out", "without.toml"]);
    let without = Scene::of(&mut without, lab.folder());
    without.exits(1).says("nginx -T was refused").says("(it lacks some of them)").says("check --config without.toml");
    for line in &lines {
        without.says(line);
    }
    let lines = format!("{}\ndeploy ALL=(postgres) NOPASSWD: ALL\n", lines.join("\n"));
    site::write(&lab, "web1", "/etc/sudoers.d/rollback-prod", &lines);
    lab.sh("web1", "chmod 440 /etc/sudoers.d/rollback-prod; visudo -c >/dev/null");
    // Nobody is told of it, whom only the world's names would lead to.
    std::fs::write(lab.folder().join(".env.deploy"), "ONCALL_ENGINEER=Ada\n").expect("write .env.deploy");
    let config = lab.folder().join("rollback.toml");
    std::fs::write(&config, text.replace("slack.webhook_env", "#slack.webhook_env")).expect("write the config");
    site::rollback(&lab, &[]).exits(0).says("production: traffic on blue on 1 of 1 host; green stopped");
    assert_eq!(served_by(&lab, "web1"), "blue");
}

#[test]
fn balancers_and_apps_get_their_roles_and_a_host_that_is_not_reached_is_named() {
    let lab = Lab::up(&["lb1", "app1"]);
    let app = lab.ip("app1");
    lab.sh("app1", "systemctl disable --now nginx");
    for unit in ["blue", "green"] {
        site::drop_in(&lab, "app1", &format!("listings-{unit}"), "");
    }
    lab.sh("lb1", "systemctl disable --now listings-blue listings-green; rm /etc/systemd/system/listings-*; systemctl daemon-reload");
    let file = site::read(&lab, "lb1", FILE).replace("127.0.0.1:", &format!("{app}:"));
    site::write(&lab, "lb1", FILE, &file);
    lab.sh("lb1", "nginx -t 2>/dev/null && systemctl reload nginx");
    until("green serves", || served_by(&lab, "lb1") == "green");
    // The app's host was not named.
    let path = written(&lab);
    let scene = Scene::of(&mut command(&lab, &["lb1"]), lab.folder());
    scene.exits(1).says(&format!("{app}:8080 is on none of these hosts")).says("name the host that it is on, too");
    scene.holds(!path.exists(), "nothing is written");
    let text = rolls_back(&lab, &["lb1", "app1"], "two hosts");
    assert!(text.contains("ssh = \"lb1\"\nroles = [\"balancer\"]\n"), "{text}");
    assert!(text.contains("ssh = \"app1\"\nroles = [\"app\"]\n"), "{text}");

    lab.poweroff("app1");
    let path = written(&lab);
    let scene = Scene::of(&mut command(&lab, &["lb1", "app1"]), lab.folder());
    scene.exits(1).says("error: app1: ").says("production: nothing was changed, and no config was written");
    scene.holds(!path.exists(), "nothing is written");
    // Flags that are wrong are said before anybody is asked.
    for words in
        [&["init"][..], &["init", "-oProxyCommand=x"], &["init", "a b"], &["init", "lb1", "--config", "x.toml"]]
    {
        Scene::of(&mut program(&lab, words), lab.folder()).exits(2);
    }
}
