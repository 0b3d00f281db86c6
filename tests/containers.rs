//! nginx in a container, of docker and of podman, on a real host: the rollback, what users notice of it, the way back to the
//! byte, what strikes it in the middle, and what is refused because a change there would be none.

#[path = "support/page.rs"]
mod page;
#[path = "support/site.rs"]
mod site;
mod support;

use page::{config_of, with_tables};
use site::{
    LYING_RELOAD, STRIKES, Strike, leftovers, nobody_noticed, rollback, served_by, unit, until, users_inside,
    users_lost_nothing,
};
use support::lab::{Lab, SITE};

/// Where nginx's files are on the host.
const FOLDER: &str = "/srv/shop/conf.d";
const FILE: &str = "/srv/shop/conf.d/default.conf";

fn serving(blue: &str, green: &str) -> String {
    format!(
        "upstream shop {{\n    server {blue};\n    server {green};\n    keepalive 16;\n}}\n\
         server {{\n    listen 80;\n    server_name {SITE};\n    location / {{\n        proxy_pass http://shop;\n        \
         proxy_http_version 1.1;\n        proxy_set_header Connection \"\";\n    }}\n}}\n"
    )
}

/// A docker engine on web1, with an image of nginx.
fn docker_lab() -> Lab {
    let lab = Lab::up(&["web1+docker"]);
    lab.docker("web1");
    lab.nginx_image("web1");
    lab.sh("web1", &format!("mkdir -p {FOLDER} /srv/shop/bin"));
    lab
}

/// nginx's container, with these words for how it is run.
fn nginx_runs(lab: &Lab, words: &str) {
    lab.sh(
        "web1",
        &format!("docker rm -f web-nginx >/dev/null 2>&1; docker run -d --name web-nginx {words} nginx:lab >/dev/null"),
    );
    until("green serves", || served_by(lab, "web1") == "green");
}

#[test]
fn apps_that_only_a_network_of_containers_knows_are_switched_and_nobody_notices() {
    let lab = docker_lab();
    // As the page says it, with the file under one path or the other.
    let config = |file: &str| {
        lab.config_with(|text| {
            let text = with_tables(text, config_of("nginx in a container")).replace(FILE, file);
            let is_own =
                |line: &&str| !["health = ", "log = ", "run.systemd = "].iter().any(|key| line.starts_with(key));
            text.lines().filter(is_own).collect::<Vec<_>>().join("\n")
        });
    };
    config(FILE);
    lab.sh(
        "web1",
        "docker network create shop
         for c in blue green; do docker run -d --name app-$c --network shop listings:$c --port 3000; done",
    );
    let green = serving("app-blue:3000 down", "app-green:3000 weight=100");
    let blue = serving("app-blue:3000 weight=100 max_fails=0", "app-green:3000 down");
    site::write(&lab, "web1", FILE, &green);
    nginx_runs(&lab, &format!("--network shop -p 80:80 -v {FOLDER}:/etc/nginx/conf.d:ro"));
    site::run(&lab, &["check"]).exits(0).never_says("error:");

    let load = lab.load("web1", "/");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let scene = rollback(&lab, &[]);
    let counts = load.stop();
    scene.exits(0).says("production: traffic on blue on 1 of 1 host; green stopped").never_says("look alike");
    scene.says("no connection to green, no old worker").says("server errors 0.0 % of ");
    scene.holds(site::read(&lab, "web1", FILE) == blue, "the words of the two servers change, and nothing else");
    let runs = |name: &str| lab.sh("web1", &format!("docker inspect -f '{{{{.State.Running}}}}' {name}"));
    scene.holds(served_by(&lab, "web1") == "blue" && runs("app-green") == "false", "green is stopped");
    nobody_noticed(&counts, &scene);
    let log = site::kept(&lab, "nginx-error.log");
    scene.holds(log.contains("\"GET / HTTP/1.1\""), &format!("what nginx printed is archived: {log}"));
    scene.says("green's server app-green:3000 stays in nginx's files and is a name that is not in /etc/hosts");

    // nginx does not find green while it is down. It is started before nginx is asked to.
    let undo = site::run(&lab, &["undo"]);
    undo.exits(0).says("nginx does not find green's server app-green:3000 while green is down");
    undo.holds(site::read(&lab, "web1", FILE) == green && served_by(&lab, "web1") == "green", "as it was");
    undo.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));

    // What nginx prints is counted, too; green alone gets all of it.
    let is_judged = || {
        let load = lab.load("web1", "/");
        site::run(&lab, &["watch", "--for", "8s"]).exits(0).says("green is good: green 0.0 % of ");
        drop(load);
    };
    is_judged();

    // One that the file did not name is found once it was started, and not before.
    // It logs into a file of its own, too, that the host has nowhere.
    let alone = |server: &str| {
        serving(server, "")
            .replace("    server ;\n", "")
            .replace("    listen 80;\n", "    listen 80;\n    access_log /var/log/nginx/shop.log;\n")
    };
    lab.sh("web1", "docker stop -t 1 app-blue");
    site::write(&lab, "web1", FILE, &alone("app-green:3000"));
    lab.sh("web1", "docker exec web-nginx nginx -s reload");
    let scene = rollback(&lab, &[]);
    scene.exits(0).says("verify    web1 done: blue started and proven").says("green stopped");
    scene.says("server errors not enough data (");
    scene.holds(site::read(&lab, "web1", FILE) == alone("app-blue:3000") && served_by(&lab, "web1") == "blue", "blue");
    site::run(&lab, &["undo"]).exits(0);
    is_judged();

    // A link in the folder that is mounted.
    for side in ["blue", "green"] {
        site::write(&lab, "web1", &format!("{FOLDER}/shop.{side}"), &alone(&format!("app-{side}:3000")));
    }
    lab.sh(
        "web1",
        &format!("ln -sfn shop.green {FILE}; docker start app-blue app-green; docker exec web-nginx nginx -s reload"),
    );
    until("green serves", || served_by(&lab, "web1") == "green");
    config(FILE);
    lab.config_with(|_| {
        let text = std::fs::read_to_string(lab.folder().join("rollback.toml")).expect("the config of before");
        text.replace("upstream = \"shop\"", "switch = \"link\"\nblue = \"shop.blue\"\ngreen = \"shop.green\"")
    });
    let turned = || lab.sh("web1", &format!("readlink {FILE}"));
    let load = lab.load("web1", "/");
    let scene = rollback(&lab, &[]);
    scene.exits(0).holds(turned() == "shop.blue" && served_by(&lab, "web1") == "blue", "the link is turned");
    let undo = site::run(&lab, &["undo"]);
    nobody_noticed(&load.stop(), &scene);
    undo.exits(0).holds(turned() == "shop.green" && served_by(&lab, "web1") == "green", "and turned back");
    lab.sh("web1", &format!("rm {FILE}"));
    site::write(&lab, "web1", FILE, &alone("app-green:3000"));

    // A reload that lies: the file of a folder is put back as it was put there, by a rename.
    config(FILE);
    site::install(&lab, "web1", "/usr/local/bin/reload-nginx", LYING_RELOAD);
    lab.sh(
        "web1",
        "docker cp /usr/local/bin/reload-nginx web-nginx:/reload-nginx; docker exec web-nginx nginx -s reload",
    );
    until("green serves", || served_by(&lab, "web1") == "green");
    lab.config_with(|_| {
        let text = std::fs::read_to_string(lab.folder().join("rollback.toml")).expect("the config of before");
        text.replace("container = \"web-nginx\"", "container = \"web-nginx\"\nreload = \"/reload-nginx\"")
    });
    let scene = rollback(&lab, &[]);
    scene.exits(3).says("nginx started no new workers");
    scene.holds(
        site::read(&lab, "web1", FILE) == alone("app-green:3000") && served_by(&lab, "web1") == "green",
        "it is put back",
    );
    scene.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));

    // The same by the path that the file has in the container, and what nginx refuses.
    config("/etc/nginx/conf.d/default.conf");
    rollback(&lab, &["--dry-run"]).exits(0).says(FILE).says("in a container of root a file is tested once");
    site::write(&lab, "web1", "/srv/shop/conf.d/other.conf", "no_such_directive on;\n");
    let scene = rollback(&lab, &[]);
    scene.exits(1).says("no_such_directive").says("ssh web1 docker exec web-nginx nginx -t");
    assert_eq!(served_by(&lab, "web1"), "green");
}

/// A reload that takes long enough to be struck in the middle of it.
const SLOW_RELOAD: &str = "#!/bin/sh\n: >/opt/bin/reload-began\nsleep 0.7\nexec nginx -s reload\n";

/// What strikes this layout besides, and users notice whatever is done.
const RESTART: Strike = ("the container is restarted", &[0, 3, 4], |lab, _| {
    lab.sh("web1", "if command -v docker; then docker restart -t 1 web-nginx; else podman restart -t 1 web-nginx; fi");
});

/// The file alone is mounted, and nginx shares the host's network.
#[test]
fn a_file_that_alone_is_mounted_is_written_in_place_whatever_strikes_and_what_would_be_no_change_is_refused() {
    let lab = docker_lab();
    let config = |file: &str, more: &str| {
        let tables = format!("[nginx]\ncontainer = \"web-nginx\"\nfile = \"{file}\"\nupstream = \"shop\"\n{more}");
        lab.config_with(|text| with_tables(text, &tables));
    };
    let green = serving("127.0.0.1:8080 down", "127.0.0.1:8081 weight=100");
    let blue = serving("127.0.0.1:8080 weight=100 max_fails=0", "127.0.0.1:8081 down");
    let reload = "/srv/shop/bin/reload-nginx";
    site::install(&lab, "web1", reload, SLOW_RELOAD);
    let back = || {
        site::write(&lab, "web1", FILE, &green);
        lab.sh("web1", "systemctl start listings-green listings-blue; rm -f /srv/shop/bin/reload-began");
        nginx_runs(
            &lab,
            &format!("--network host -v {FILE}:/etc/nginx/conf.d/default.conf:ro -v /srv/shop/bin:/opt/bin"),
        );
    };
    config(FILE, "reload = \"/opt/bin/reload-nginx\"\n");
    for strike in STRIKES.iter().chain([&RESTART]) {
        back();
        let inode = lab.sh("web1", &format!("stat -c %i {FILE}"));
        let users = (strike.0 != RESTART.0).then(|| users_inside(&lab, "web1"));
        let second = site::struck(&lab, "in place", strike, "/srv/shop/bin/reload-began");
        second.holds(site::read(&lab, "web1", FILE) == blue && served_by(&lab, "web1") == "blue", strike.0);
        second.holds(unit(&lab, "web1", "listings-green") != "active", strike.0);
        second.holds(
            lab.sh("web1", &format!("stat -c %i {FILE}")) == inode,
            "the container has the file that was changed",
        );
        second.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));
        if let Some(users) = users {
            users_lost_nothing(&lab, "web1", users, strike.0);
        }
    }
    let undo = site::run(&lab, &["undo"]);
    undo.exits(0).holds(site::read(&lab, "web1", FILE) == green && served_by(&lab, "web1") == "green", "as it was");

    // A reload that lies is seen, and what was written is taken back.
    site::install(&lab, "web1", reload, LYING_RELOAD);
    let scene = rollback(&lab, &[]);
    scene.exits(3).says("nginx started no new workers");
    scene.holds(site::read(&lab, "web1", FILE) == green && served_by(&lab, "web1") == "green", "it is put back");
    scene.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));

    // The power went while it was written: what it said before lies beside it, and that is said.
    let left = "/srv/shop/conf.d/.default.conf.rollback-prod-before";
    lab.sh("web1", &format!("cp -a {FILE} {left}; cat {left} | head -c 90 >{FILE}"));
    let scene = rollback(&lab, &[]);
    scene.exits(1).says("a run was cut off there").says(&format!("ssh web1 sudo cp -a {left} {FILE}"));
    lab.sh("web1", &format!("cat {left} >{FILE}; rm {left}"));

    // Somebody's editor put another file in its place, which the container never sees.
    lab.sh("web1", &format!("cp {FILE} /srv/shop/new && mv /srv/shop/new {FILE}"));
    let refused = |why: &str| {
        let scene = rollback(&lab, &[]);
        scene.exits(1).says(why).says("production: nothing was changed");
        scene.holds(site::read(&lab, "web1", FILE) == green, "the file is as it was");
    };
    refused("container web-nginx has another /etc/nginx/conf.d/default.conf than what lies at");

    // What would be gone with the container, or with its next start.
    let at = "/etc/nginx/conf.d/default.conf";
    config(at, "");
    lab.sh(
        "web1",
        &format!(
            "docker rm -f web-nginx; docker create --name web-nginx --network host nginx:lab
             docker cp {FILE} web-nginx:{at}; docker start web-nginx"
        ),
    );
    refused(&format!("{at} lies in no mount of container web-nginx"));
    lab.sh(
        "web1",
        &format!(
            "mkdir -p /srv/shop/templates; sed 's/\\$/$d/g' {FILE} >/srv/shop/templates/default.conf.template
             docker rm -f web-nginx; docker run -d --name web-nginx --network host -e d='$' \
               -v /srv/shop/templates:/etc/nginx/templates nginx:lab"
        ),
    );
    refused(&format!("{at} is filled from /etc/nginx/templates/default.conf.template at each start"));
    nginx_runs(&lab, &format!("--network host -v {FOLDER}:/etc/nginx/conf.d"));
    lab.sh("web1", &format!("cp {FILE} {FOLDER}/default.conf.old"));
    config(&format!("{FOLDER}/default.conf.old"), "");
    refused("the upstream that it serves is in /etc/nginx/conf.d/default.conf, which is another file");
    config(FILE, "test = \"docker exec web-nginx nginx -t\"\n");
    rollback(&lab, &[]).exits(2).says("runs in nginx.container already");
    config("/srv/shop/elsewhere.conf", "");
    refused("/srv/shop/elsewhere.conf is not in container web-nginx");
    config(FILE, "");
    lab.sh("web1", "docker stop -t 1 web-nginx");
    refused("container web-nginx does not run");
    lab.sh("web1", "docker rm web-nginx");
    refused("no container web-nginx is known there");
}

/// podman has no daemon: root's containers are root's, and deploy's are deploy's.
#[test]
fn containers_of_podman_are_root_s_or_the_account_s_own() {
    let lab = Lab::up(&["web1+podman"]);
    lab.podman("web1");
    lab.nginx_image("web1");
    lab.sh("web1", "mkdir -p /srv/shop/conf.d /srv/shop/bin");
    let there_and_back = |from: &str, to: &str, words: &[&str], says: &dyn Fn() -> String| {
        site::write(&lab, "web1", FILE, from);
        until("green serves", || says() == "green");
        let scene = rollback(&lab, words);
        // The servers of a network of its own are asked there, so their answers are known by their mark.
        scene.exits(0).says("production: traffic on blue on 1 of 1 host").never_says("look alike");
        scene.holds(site::read(&lab, "web1", FILE) == to && says() == "blue", "blue serves");
        let undo = site::run(&lab, &["undo"]);
        undo.exits(0).holds(site::read(&lab, "web1", FILE) == from && says() == "green", "as it was");
        undo.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));
    };
    let tables = "[nginx]\ncontainer = \"web-nginx\"\nfile = \"/etc/nginx/conf.d/default.conf\"\nupstream = \"shop\"\n";
    let green = serving("127.0.0.1:8080 down", "127.0.0.1:8081 weight=100");
    let blue = serving("127.0.0.1:8080 weight=100 max_fails=0", "127.0.0.1:8081 down");

    lab.config_with(|text| with_tables(text, tables));
    site::write(&lab, "web1", FILE, &green);
    lab.sh(
        "web1",
        &format!(
            "podman run -d --name web-nginx --network host -v {FOLDER}:/etc/nginx/conf.d:ro -v /srv/shop/bin:/opt/bin nginx:lab"
        ),
    );
    there_and_back(&green, &blue, &[], &|| served_by(&lab, "web1"));
    let slow = format!("{tables}reload = \"/opt/bin/reload-nginx\"\n");
    lab.config_with(|text| with_tables(text, &slow));
    site::install(&lab, "web1", "/srv/shop/bin/reload-nginx", SLOW_RELOAD);
    for strike in STRIKES.iter().chain([&RESTART]) {
        lab.sh("web1", "rm -f /srv/shop/bin/reload-began");
        let second = site::struck(&lab, "podman", strike, "/srv/shop/bin/reload-began");
        second.holds(site::read(&lab, "web1", FILE) == blue && served_by(&lab, "web1") == "blue", strike.0);
        second.holds(unit(&lab, "web1", "listings-green") != "active", strike.0);
        second.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));
        site::run(&lab, &["undo"]).exits(0).holds(served_by(&lab, "web1") == "green", "as it was");
    }
    lab.config_with(|text| with_tables(text, tables));
    lab.sh("web1", "podman stop -t 1 web-nginx; chown -R deploy /srv/shop");
    rollback(&lab, &[]).exits(1).says("container web-nginx does not run").says("ssh web1 sudo podman start web-nginx");

    // The account's own, in a network of its own, where the host is 10.0.2.2.
    let (green, blue) = (green.replace("127.0.0.1", "10.0.2.2"), blue.replace("127.0.0.1", "10.0.2.2"));
    let own = "probe = \"http://127.0.0.1:8088/\"\nsudo = false\n[blue]\nservers = [\"10.0.2.2:8080\"]\n\
               [green]\nservers = [\"10.0.2.2:8081\"]\nhealth = [\"http://127.0.0.1:8081/health\"]\n";
    lab.config_with(|text| with_tables(text, &format!("{tables}{own}")));
    site::write(&lab, "web1", FILE, &green);
    lab.sh(
        "web1",
        &format!(
            "cd / && runuser -u deploy -- env HOME=/home/deploy podman run -d --name web-nginx \
             --network slirp4netns:allow_host_loopback=true -p 8088:80 -v {FOLDER}:/etc/nginx/conf.d:ro nginx:lab"
        ),
    );
    let answers = || lab.sh("web1", &format!("curl -s -H 'Host: {SITE}' http://127.0.0.1:8088/ || true"));
    rollback(&lab, &["--dry-run", "--keep-green"]).exits(0).says("nginx accepts the new file");
    // A unit is not the account's to stop, which is said before and after; a process of its own is.
    let scene = rollback(&lab, &[]);
    scene
        .exits(4)
        .says("without sudo (nginx.sudo = false) deploy stops listings-green.service only where a rule of polkit");
    scene.says("green could not be stopped: Failed to stop listings-green.service: Access denied");
    site::run(&lab, &["undo"]).exits(0);
    lab.config_with(|text| {
        with_tables(text, &format!("{tables}{own}")).replace(
            "run.systemd = \"listings-green.service\"",
            "run.process = { exe = \"/opt/listings/bin/listings-green\", port = 8081, start = \"/opt/listings/bin/listings-green --port 8081 &\" }",
        )
    });
    lab.sh("web1", "systemctl stop listings-green; runuser -u deploy -- setsid /opt/listings/bin/listings-green --port 8081 >/dev/null 2>&1 &");
    until("green serves", || answers() == "green");
    there_and_back(&green, &blue, &[], &answers);
}
