//! What is refused: flags, configs, hosts on which a rollback must not begin. Nothing is changed, the cause is named
//! with its host or line, and the last lines say what production is and what to type.

#[path = "support/site.rs"]
mod site;
mod support;

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use site::*;
use support::lab::{Lab, Load};
use support::{LEAST_CONFIG, Scene, rollback_prod};

/// The program in a folder without any host.
fn run_in(folder: &Path, words: &[&str]) -> Scene {
    Scene::of(rollback_prod().current_dir(folder).args(words), folder)
}

fn folder_with(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("make a folder");
    std::fs::write(folder.path().join("rollback.toml"), config).expect("write rollback.toml");
    folder
}

/// Refused, nothing changed, green serves as before, and nothing of ours is left.
#[track_caller]
fn refused(lab: &Lab, host: &str, scene: &Scene) {
    scene.exits(1).says("nothing was changed");
    untouched(lab, host, scene);
}

#[track_caller]
fn untouched(lab: &Lab, host: &str, scene: &Scene) {
    scene.holds(served_by(lab, host) == "green", "green serves");
    scene.holds(unit(lab, host, "listings-green") == "active", "green runs");
    let left = leftovers(lab, host);
    scene.holds(left.is_empty(), &format!("nothing of ours is left on {host}:\n{left}"));
}

#[test]
fn a_rollback_without_a_reason_shows_the_line_to_type() {
    let folder = folder_with(LEAST_CONFIG);
    for words in [&[][..], &["--reason", ""], &["--reason", " \t\n"], &["--force"], &["--severity", "P1"]] {
        let scene = run_in(folder.path(), words);
        scene.exits(2).says("rollback-prod --reason \"").says("nothing was changed");
        scene.holds(!folder.path().join("incidents").exists(), "no incident folder");
    }
}

#[test]
fn flags_that_are_not_understood_are_refused() {
    let folder = folder_with(LEAST_CONFIG);
    let cases: [(&[&str], &str); 7] = [
        (&["rolback"], "rolback"),
        (&["--reson", "x"], "--reason"),
        (&["--reason", "x", "--severity", "P9"], "P0"),
        (&["--reason", "x", "--backup", "f"], "--restore-db"),
        (&["--reason"], "--reason"),
        (&["status", "--reason", "x"], "--help"),
        (&["--reason", "x", "--env", "no such"], "no such"),
    ];
    for (words, says) in cases {
        run_in(folder.path(), words).exits(2).says(says);
    }
    let missing = run_in(folder.path(), &["--reason", "x", "--config", "nowhere.toml"]);
    missing.exits(2).says("nowhere.toml").says("nothing was changed");
}

#[test]
fn what_needs_a_database_or_an_incident_says_so_where_there_is_none() {
    let folder = folder_with(LEAST_CONFIG);
    let no_database = "the config has no [database]";
    run_in(folder.path(), &["--reason", "x", "--restore-db"]).exits(2).says(no_database).says("nothing was changed");
    run_in(folder.path(), &["backups"]).exits(1).says(no_database).says("nothing was changed");
    run_in(folder.path(), &["backups", "verify"]).exits(1).says(no_database).says("nothing was changed");
    run_in(folder.path(), &["undo"]).exits(1).says("has anything to take back").says("nothing was changed");
    run_in(folder.path(), &["undo", "nothing"]).exits(1).says("there is no incident nothing");
    run_in(folder.path(), &["--reason", "x", "--backup", "/x"]).exits(2);
    let folder = folder_with(&format!("{LEAST_CONFIG}\n[database]\nname = \"x\"\n"));
    let scene = run_in(folder.path(), &["--reason", "x", "--restore-db"]);
    scene.exits(2).says("no database.backups").says("--backup FILE");
    let scene = run_in(folder.path(), &["--reason", "x", "--restore-db", "--backup", "dump.sql"]);
    scene.exits(2).says("is not an absolute path");
}

#[test]
fn every_problem_of_a_config_is_said_at_once_with_its_place() {
    let config = LEAST_CONFIG
        .replace("service = \"listings\"", "servise = \"listings\"")
        .replace("[\"127.0.0.1:8081\"]", "[\"127.0.0.1:0\"]")
        .replace("probe = \"http://127.0.0.1/\"", "probe = \"127.0.0.1\"");
    let folder = folder_with(&config);
    let scene = run_in(folder.path(), &["--reason", "x"]);
    scene.exits(2).says("nothing was changed");
    for (place, word) in
        [("rollback.toml:1:1", "service"), ("rollback.toml:8:9", "probe"), ("rollback.toml:14:12", "port")]
    {
        let line = scene.stderr.lines().find(|line| line.contains(place));
        scene.holds(line.is_some_and(|line| line.contains(word)), &format!("{place} is blamed for {word}"));
    }
}

#[test]
fn a_host_that_the_config_does_not_name_is_refused() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let scene = rollback(&lab, &["--hosts", "web1,web7"]);
    scene.says("web7").says("web1").says("nothing was changed");
    scene.holds(matches!(scene.status.code(), Some(1 | 2)), "refused");
    untouched(&lab, "web1", &scene);
}

#[test]
fn an_upstream_file_that_is_not_understood_is_refused_with_its_line() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let good = read(&lab, "web1", FILE);
    let block_end = "    keepalive 16;\n}\n";
    let cases = [
        // somebody moved the service to other ports
        (good.replace(":8080 down", ":9080 down").replace(":8081", ":9081"), "9081"),
        // a third server takes a share of the traffic
        (good.replace(block_end, &format!("    server 127.0.0.1:8085 weight=10;\n{block_end}")), "127.0.0.1:8085"),
        // the block stands twice
        (
            good.replace(block_end, &format!("{block_end}upstream listings_backend {{ server 127.0.0.1:8081; }}\n")),
            "twice",
        ),
        // another name
        (good.replace("listings_backend", "listing_backend"), "listing_backend"),
    ];
    for (text, says) in cases {
        write(&lab, "web1", FILE, &text);
        let scene = rollback(&lab, &[]);
        scene.exits(1).says(says).says("nothing was changed").says("web1");
        scene.holds(read(&lab, "web1", FILE) == text, "the file is as it was");
        scene.holds(incidents(&lab).is_empty(), "no incident folder for what did not begin");
    }
    write(&lab, "web1", FILE, &good);
    let scene = run(&lab, &["check"]);
    scene.exits(0);
    untouched(&lab, "web1", &scene);
}

#[test]
fn a_stranger_in_the_upstream_is_left_alone_when_forced() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let stranger = "    server 127.0.0.1:8085 weight=1;\n    keepalive 16;\n";
    let text = read(&lab, "web1", FILE).replace("    keepalive 16;\n", stranger);
    write(&lab, "web1", FILE, &text);
    lab.sh(
        "web1",
        "systemd-run -q --unit=stranger /opt/listings/bin/listings-blue --port 8085 --log /tmp/stranger.log",
    );
    lab.sh("web1", "nginx -t && systemctl reload nginx");
    refused(&lab, "web1", rollback(&lab, &[]).says("--force").says("127.0.0.1:8085"));
    let forced = rollback(&lab, &["--force", "--keep-green"]);
    forced.exits(0);
    // And is somebody to turn to: what counts blue's failures stays.
    let expected = rolled_back(&text).replace(" max_fails=0", "");
    forced.holds(read(&lab, "web1", FILE) == expected, "the stranger's line is as it was");
}

#[test]
fn a_file_that_nginx_does_not_read_is_refused() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    // The link was replaced by a copy under another name: a change of the file would change nothing.
    lab.sh("web1", &format!("rm /etc/nginx/sites-enabled/listings; cp {FILE} /etc/nginx/sites-enabled/old-listings; nginx -t && systemctl reload nginx"));
    let scene = rollback(&lab, &[]);
    scene.says("does not read").says(FILE);
    refused(&lab, "web1", &scene);
}

#[test]
fn a_template_that_renders_what_nginx_refuses_is_refused_with_its_line() {
    let lab = Lab::up(&["web1"]);
    let template = lab.folder().join("upstream.tera");
    lab.config_with(|text| text.replace("sudo = true", "sudo = true\ntemplate = \"upstream.tera\""));
    let weight_zero = "{{ opening }}\n{%- for item in items %}{% if item.kind == \"server\" %}\n    server {{ item.address }} weight={{ item.weight }};{% endif %}{% endfor %}\n}\n";
    std::fs::write(&template, weight_zero).expect("write the template");
    let scene = rollback(&lab, &[]);
    scene.says("weight=0").says("upstream.tera").says("line ").says("nothing was changed");
    scene.holds(matches!(scene.status.code(), Some(1 | 2)), "refused");
    untouched(&lab, "web1", &scene);

    std::fs::write(&template, "{{ opening }}\n\n{% for item in items %}").expect("write the template");
    let scene = rollback(&lab, &[]);
    scene.exits(2).says("upstream.tera").says("nothing was changed");
    untouched(&lab, "web1", &scene);
}

#[test]
fn nginx_that_is_down_or_broken_already_is_refused_with_the_command_to_type() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    write(&lab, "web1", "/etc/nginx/conf.d/broken.conf", "no_such_directive on;\n");
    let broken = rollback(&lab, &[]);
    broken.says("no_such_directive").says("web1").says("hint:");
    refused(&lab, "web1", &broken);
    lab.sh("web1", "rm /etc/nginx/conf.d/broken.conf; systemctl stop nginx");
    let down = rollback(&lab, &[]);
    down.exits(1).says("nginx is not running").says("ssh web1 sudo systemctl status nginx").says("nothing was changed");
    down.holds(unit(&lab, "web1", "nginx") == "inactive", "it was not started behind anybody's back");
    // nginx makes its pid file when it is only tested. Started later, it would keep a mode that is not its own.
    let mode = lab.sh("web1", "stat -c %a /run/nginx.pid 2>/dev/null || echo none");
    down.holds(["none", "644"].contains(&mode.as_str()), &format!("its pid file is everybody's to read: {mode}"));
    lab.sh("web1", "systemctl start nginx; chmod 600 /run/nginx.pid");
    rollback(&lab, &[]).exits(0);
}

#[test]
fn the_sudoers_lines_that_are_printed_are_all_that_a_rollback_needs() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    // As where the application runs as somebody else, and the site's file is root's alone.
    lab.sh(
        "web1",
        &format!("echo '# nobody may do anything' >/etc/sudoers.d/deploy; chown root:root {FILE}; chmod 600 {FILE}"),
    );
    let before = read(&lab, "web1", FILE);
    let mut pasted = String::new();
    // Once is what it should take; what only shows when the rest is allowed may come in a second round.
    let mut rounds = 0;
    let last = loop {
        let scene = rollback(&lab, &[]);
        if scene.status.code() != Some(1) || rounds == 2 {
            break scene;
        }
        refused(&lab, "web1", &scene);
        let lines: Vec<&str> =
            scene.stderr.lines().map(str::trim).filter(|line| line.starts_with("deploy ALL=")).collect();
        scene.holds(!lines.is_empty(), "it prints the lines to add");
        scene.holds(lines.iter().all(|line| !line.ends_with("NOPASSWD: ALL")), "none of them gives everything away");
        pasted.push_str(&format!("{}\n", lines.join("\n")));
        write(&lab, "web1", "/etc/sudoers.d/deploy", &format!("{pasted}Defaults:deploy requiretty\n"));
        rollback(&lab, &[]).exits(1).says("visudo -f /etc/sudoers.d/rollback-prod").says("Defaults:deploy !requiretty");
        write(&lab, "web1", "/etc/sudoers.d/deploy", &pasted);
        lab.sh("web1", "visudo -c -q");
        rounds += 1;
    };
    last.exits(0);
    last.holds(rounds <= 1, &format!("the lines were all printed at once:\n{pasted}"));
    last.holds(read(&lab, "web1", FILE) == rolled_back(&before), "the file is right");
    let stat = lab.sh("web1", &format!("stat -c '%U:%G %a' {FILE}"));
    last.holds(stat == "root:root 600", &format!("owner and mode stay: {stat}"));
    last.holds(served_by(&lab, "web1") == "blue", "blue serves");
    last.holds(unit(&lab, "web1", "listings-green") == "inactive", "green is stopped");
    let left = leftovers(&lab, "web1");
    last.holds(left.is_empty(), &format!("nothing of ours is left:\n{left}"));
}

/// They are enough, says the test above; they are the least, says sudo's own log of what was run.
#[test]
fn no_sudoers_line_is_printed_that_nothing_makes_use_of() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| {
        text.replace("listings-green.service\"\n", "listings-green.service\"\nstop_timeout = \"1s\"\n")
    });
    lab.sh(
        "web1",
        &format!("echo '# nobody may do anything' >/etc/sudoers.d/deploy; chown root:root {FILE}; chmod 600 {FILE}"),
    );
    let scene = rollback(&lab, &[]);
    refused(&lab, "web1", &scene);
    let granted: Vec<String> =
        scene.stderr.lines().map(str::trim).filter(|line| line.starts_with("deploy ALL=")).map(str::to_owned).collect();
    write(&lab, "web1", "/etc/sudoers.d/deploy", &format!("{}\n", granted.join("\n")));
    // Blue has to be started, and green to be killed.
    lab.sh("web1", "systemctl stop listings-blue");
    drop_in(&lab, "web1", "listings-green", "KillSignal=SIGCONT\nTimeoutStopSec=60");
    rollback(&lab, &[]).exits(0).says("green stopped");
    // Green has to be started again.
    run(&lab, &["undo"]).exits(0);
    // nginx accepts the file and does not apply it: the old one has to be put back.
    lab.sh("web1", "systemd-run -q --unit=squatter python3 -m http.server 8099");
    until("somebody holds port 8099", || lab.sh("web1", "ss -Hltn '( sport = :8099 )'").contains("8099"));
    write(&lab, "web1", "/etc/nginx/sites-enabled/another", "server { listen 8099; return 204; }\n");
    rollback(&lab, &[]).exits(3);
    let used = lab.sh("web1", "journalctl -q --no-pager -t sudo -o cat | sed -n 's/.*COMMAND=//p' | sort -u");
    for line in &granted {
        let command = line.split_once("NOPASSWD: ").map_or("", |(_, command)| command);
        assert!(used.lines().any(|run| run == command), "nothing makes use of {command:?}; used were:\n{used}");
    }
}

#[test]
fn a_file_of_the_operators_own_needs_no_right_to_replace_it() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    lab.sh(
        "web1",
        &format!(
            "chown deploy:www-data {FILE} /etc/nginx/sites-available; chmod 640 {FILE}; usermod -aG www-data deploy"
        ),
    );
    let few = [
        "nginx -t",
        "nginx -T",
        "systemctl reload nginx",
        "systemctl * listings-blue.service",
        "systemctl * listings-green.service",
    ];
    let lines: String = few.iter().map(|words| format!("deploy ALL=(root) NOPASSWD: /usr/bin/{words}\n")).collect();
    write(&lab, "web1", "/etc/sudoers.d/deploy", &lines.replace("/usr/bin/nginx", "/usr/sbin/nginx"));
    let scene = rollback(&lab, &[]);
    scene.exits(0);
    let stat = lab.sh("web1", &format!("stat -c '%U:%G %a' {FILE}"));
    scene.holds(stat == "deploy:www-data 640", &format!("owner and mode stay: {stat}"));
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
    scene.holds(unit(&lab, "web1", "listings-green") == "inactive", "green is stopped");
}

#[test]
fn a_disk_that_is_full_or_read_only_is_refused_before_anything_changes() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let before = read(&lab, "web1", FILE);
    lab.sh(
        "web1",
        &format!(
            "cp -a {FILE} /root/listings; mount -t tmpfs -o size=512k tmpfs /etc/nginx/sites-available
             cp -a /root/listings {FILE}; dd if=/dev/zero of=/etc/nginx/sites-available/full bs=4k 2>/dev/null; rm -f /root/listings
             nginx -t && systemctl reload nginx"
        ),
    );
    let full = rollback(&lab, &[]);
    full.says("full").says("/etc/nginx/sites-available");
    refused(&lab, "web1", &full);
    lab.sh("web1", "rm /etc/nginx/sites-available/full; mount -o remount,ro /etc/nginx/sites-available");
    let read_only = rollback(&lab, &[]);
    read_only.says("Read-only file system").says("web1");
    read_only.exits(1);
    untouched(&lab, "web1", &read_only);
    read_only.holds(read(&lab, "web1", FILE) == before, "the file is as it was");
}

#[test]
fn blue_that_is_ill_or_somebody_else_is_refused() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    lab.sh("web1", "touch /opt/listings/blue.unhealthy");
    let ill = rollback(&lab, &[]);
    ill.says("503").says("blue");
    refused(&lab, "web1", &ill);
    // A healthy answer on blue's port, and not from blue: yesterday's process that nobody stopped.
    lab.sh(
        "web1",
        "rm /opt/listings/blue.unhealthy; systemctl stop listings-blue
         cp /opt/listings/bin/listings-blue /usr/local/bin/yesterdays-blue
         systemd-run -q --unit=yesterday /usr/local/bin/yesterdays-blue --port 8080 --log /tmp/yesterday.log
         for n in $(seq 500); do curl -fs -o /dev/null http://127.0.0.1:8080/health && exit; sleep 0.02; done; exit 1",
    );
    let other = rollback(&lab, &[]);
    other.says("/usr/local/bin/yesterdays-blue").says("pid ");
    refused(&lab, "web1", &other);
    other.holds(unit(&lab, "web1", "yesterday") == "active", "it was not stopped either");
}

#[test]
fn blue_that_is_down_is_started_and_proven_first() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    lab.sh("web1", "systemctl stop listings-blue");
    let load = lab.load("web1", "/");
    let scene = rollback(&lab, &[]);
    let counts = load.stop();
    scene.exits(0).says("blue started and proven");
    nobody_noticed(&counts, &scene);
    scene.holds(unit(&lab, "web1", "listings-blue") == "active", "blue runs");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
}

#[test]
fn what_was_started_for_nothing_is_stopped_again() {
    let lab = Lab::up(&["web1", "web2"]);
    lab.config_with(|text| verify_within(&text, "2s"));
    let stopped = || {
        for host in ["web1", "web2"] {
            lab.sh(host, "systemctl stop listings-blue; systemctl reset-failed listings-blue 2>/dev/null || true");
        }
    };
    stopped();
    // It could be started, by all that can be seen, and does not live.
    lab.sh("web2", "cp /opt/listings/bin/listings-blue /root/; cp /bin/false /opt/listings/bin/listings-blue");
    let scene = rollback(&lab, &[]);
    scene
        .exits(1)
        .says("traffic of web1, web2 as it was: on green")
        .says("web2: blue was started and is not well")
        .never_says("STILL RUNNING");
    for host in ["web1", "web2"] {
        untouched(&lab, host, &scene);
        scene.holds(unit(&lab, host, "listings-blue") != "active", &format!("blue of {host} is stopped again"));
    }

    // Somebody who changes his mind while they start.
    lab.sh("web2", "cp /root/listings-blue /opt/listings/bin/listings-blue");
    stopped();
    for host in ["web1", "web2"] {
        drop_in(&lab, host, "listings-blue", "ExecStartPre=/bin/sleep 1");
    }
    let known = incidents(&lab).len();
    let mut running = begin(&lab, &[]);
    until("blue is being started", || {
        incidents(&lab).len() > known && newest_journal(&lab).iter().any(|entry| is(entry, "intent", "verify"))
            || running.is_over()
    });
    running.signal(Signal::INT);
    let (code, said) = (running.exit(), running.said());
    assert_eq!(code, 130, "{said}");
    assert!(said.contains("traffic of web1, web2 as it was: on green"), "{said}");
    for host in ["web1", "web2"] {
        assert!(served_by(&lab, host) == "green" && unit(&lab, host, "listings-blue") != "active", "{host}: {said}");
    }
}

#[test]
fn blue_that_is_a_plain_process_is_started_and_outlives_the_program() {
    let lab = Lab::up(&["web1"]);
    let start = "cd /opt/listings && ./bin/listings-blue --port=8080";
    lab.config_with(|text| {
        text.replace(
            "run.systemd = \"listings-blue.service\"",
            &format!("run.process = {{ exe = \"/opt/listings/bin/listings-blue\", port = 8080, start = \"{start}\" }}"),
        )
    });
    lab.sh("web1", "systemctl disable --now listings-blue 2>/dev/null");
    let scene = rollback(&lab, &[]);
    scene.exits(0).says("blue started and proven");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves, with nobody connected any more");
    let owner = lab.sh("web1", "ps -o user= -p $(pgrep -x listings-blue)");
    scene.holds(owner == "deploy", &format!("as the user who logged in: {owner}"));
}

#[test]
fn a_plain_process_that_was_started_and_never_listens_is_ended_with_all_that_it_began() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| {
        verify_within(&text, "2s").replace(
            "run.systemd = \"listings-blue.service\"",
            "run.process = { exe = \"/opt/listings/bin/listings-blue\", port = 8080, start = \"sleep 7654 & exec sleep 7655\" }",
        )
    });
    lab.sh("web1", "systemctl disable --now listings-blue 2>/dev/null");
    let scene = rollback(&lab, &[]);
    scene.exits(1).says("on green").never_says("STARTED");
    untouched(&lab, "web1", &scene);
    let running = lab.sh("web1", "pgrep -fa '^sleep 765' || true");
    scene.holds(running.is_empty(), &format!("nothing of it runs: {running}"));
}

#[test]
fn blue_that_cannot_be_started_leaves_everything_as_it_was() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| verify_within(&text, "2s"));
    lab.sh("web1", "systemctl stop listings-blue; mv /opt/listings/bin/listings-blue /opt/listings/bin/away");
    let before = read(&lab, "web1", FILE);
    let scene = rollback(&lab, &[]);
    scene.exits(1).says("blue");
    scene.holds(read(&lab, "web1", FILE) == before, "the file is as it was");
    untouched(&lab, "web1", &scene);
}

#[test]
fn a_reason_is_text_and_nothing_else() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let reason = "it's \"down\"; $(touch /tmp/pwned) `touch /tmp/pwned` 'touch /tmp/pwned'\n```\n# not a heading\n\u{1b}[31mred\u{1b}]0;title\u{7} | <b>&amp; {{ 7 * 7 }} %s \\n";
    let scene = run(&lab, &["--reason", reason, "--keep-green", "-v"]);
    scene.exits(0);
    assert!(!Path::new("/tmp/pwned").exists(), "it was run here");
    scene.holds(!lab.exec("web1", &["test", "-e", "/tmp/pwned"]).status.success(), "it was not run on the host");
    let raw = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    scene.holds(!raw(&scene.stdout) && !raw(&scene.stderr), "no control character reaches the terminal");
    let report = kept(&lab, "INCIDENT_REPORT.md");
    scene.holds(report.contains("touch /tmp/pwned"), &format!("the report has it:\n{report}"));
    scene.holds(!raw(&report), &format!("the report has no control character either:\n{report}"));
    scene.holds(report.contains("7 * 7"), &format!("nothing in it is a template:\n{report}"));
    // A line of it outside a fence would be a heading; a fence that is too short would end at its own.
    let mut fence = 0;
    for line in report.lines() {
        let ticks = line.chars().take_while(|c| *c == '`').count();
        match (fence, ticks) {
            (0, 3..) => fence = ticks,
            (open, n) if open > 0 && n >= open => fence = 0,
            (0, _) => {
                scene.holds(line != "# not a heading", &format!("it makes no heading:\n{report}"));
            }
            _ => {}
        }
    }
    let begun = newest_journal(&lab).into_iter().find(|entry| entry["event"] == "begun").expect("the first line");
    scene.holds(begun["reason"] == reason, "the journal has every byte of it");
}

/// As from cron or in a container; the program itself is what is asked, so the name is that of the user who runs it.
#[test]
fn an_operator_without_variables_has_the_name_that_the_machine_knows() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let mut nameless = program(&lab, &["--reason", "cron saw errors", "--keep-green"]);
    nameless.env_remove("SUDO_USER").env_remove("LOGNAME").env_remove("USER");
    Scene::of(&mut nameless, lab.folder()).exits(0);
    let id = Command::new("id").arg("-un").output().expect("start id");
    let name = String::from_utf8_lossy(&id.stdout).trim().to_owned();
    let begun = newest_journal(&lab).into_iter().find(|entry| entry["event"] == "begun").expect("the first line");
    assert_eq!(begun["operator"], name.as_str(), "the journal names them");
    let report = kept(&lab, "INCIDENT_REPORT.md");
    assert!(report.contains(&name) && !report.contains("uid "), "and so does the report:\n{report}");
}

/// Every line as an object of the contract; the last one, apart.
#[track_caller]
fn json_lines(scene: &Scene) -> (Vec<serde_json::Value>, serde_json::Value) {
    scene.keeps_to_the_schema();
    let mut lines = Vec::new();
    for line in scene.stdout.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        scene.holds(value.is_object() && value["v"] == 1, &format!("an object of version 1: {line}"));
        let time = value["time"].as_str().unwrap_or("");
        scene.holds(
            chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'),
            &format!("a time: {line}"),
        );
        lines.push(value);
    }
    let last = lines.pop().unwrap_or_default();
    scene.holds(last["event"] == "end", "the last line is the end");
    scene.holds(
        lines.iter().all(|line| line["event"] == "step" || line["event"] == "note"),
        "the others are steps and notes",
    );
    scene.holds(last["exit"] == i64::from(scene.status.code().unwrap_or(-1)), "it holds the exit code");
    scene.holds(last["production"].as_str().is_some_and(|text| !text.is_empty()), "it says what production is");
    scene.holds(last["total_ms"].as_u64().is_some(), "it says how long it took");
    (lines, last)
}

#[test]
fn json_is_one_object_a_line_and_nothing_else() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let dry = run(&lab, &["--dry-run", "--json"]);
    let (_, last) = json_lines(dry.exits(0));
    dry.holds(last["incident"].is_null() && last["traffic_safe_ms"].is_null(), "a dry run has no incident");

    let scene = rollback(&lab, &["--json"]);
    let (lines, last) = json_lines(scene.exits(0));
    let words =
        ["connect", "observe", "lock", "switch", "drain", "stop", "verify", "restore", "evidence", "report", "notify"];
    let states = ["started", "done", "failed", "skipped", "unknown"];
    for line in lines.iter().filter(|line| line["event"] == "step") {
        scene.holds(words.contains(&line["step"].as_str().unwrap_or("")), &format!("a step of the contract: {line}"));
        scene.holds(
            states.contains(&line["status"].as_str().unwrap_or("")),
            &format!("a status of the contract: {line}"),
        );
    }
    for step in ["observe", "lock", "switch", "drain", "stop", "verify", "evidence", "report"] {
        let done = lines.iter().any(|line| line["step"] == step && line["status"] == "done");
        scene.holds(done, &format!("{step} is done"));
    }
    let safe = last["traffic_safe_ms"].as_u64().unwrap_or(0);
    scene.holds(safe > 0 && safe < last["total_ms"].as_u64().unwrap_or(0), "traffic was safe before the end");
    let incident = last["incident"].as_str().unwrap_or("");
    scene.holds(lab.folder().join(incident).join("INCIDENT_REPORT.md").is_file(), "the incident is where it says");
    scene.holds(lines.iter().all(|line| line["run"] == last["run"]), "every line names the run");
    scene.holds(incident.ends_with(last["run"].as_str().unwrap_or("?")), "which is the incident's name");

    lab.sh("web1", "systemctl stop nginx");
    let refused = rollback(&lab, &["--json"]);
    json_lines(refused.exits(1));
    let usage = run(&lab, &["--json"]);
    json_lines(usage.exits(2));
}

/// A config in which green drains until the test lets go of its stream.
fn long_drain(lab: &Lab) {
    lab.config_with(|text| {
        text.replace("timeout = \"10s\"\n\n[verify]", "timeout = \"60s\"\n\n[verify]").replace(
            "run.systemd = \"listings-green.service\"",
            "run.systemd = \"listings-green.service\"\nstop_timeout = \"1s\"",
        )
    });
}

/// Starts a rollback that hangs in the drain, on a request without end.
fn hang_in_drain(lab: &Lab) -> (Running, thread::JoinHandle<Got>) {
    let ip = lab.ip("web1");
    let stream = thread::spawn(move || get(&ip, "/stream?ms=60000"));
    until("the stream runs", || lab.sh("web1", "ss -Htn state established '( dport = :8081 )' | wc -l") != "0");
    let running = begin(lab, &[]);
    until("it drains", || newest_journal(lab).iter().any(|entry| entry["step"] == "drain"));
    (running, stream)
}

#[test]
fn an_interrupt_between_two_steps_says_what_production_is() {
    let lab = Lab::up(&["web1"]);
    long_drain(&lab);
    let (mut running, stream) = hang_in_drain(&lab);
    running.signal(Signal::INT);
    let code = running.exit();
    let said = running.said();
    assert_eq!(code, 130, "{said}");
    let last: Vec<&str> = said.lines().rev().take(2).collect();
    assert!(last[1].starts_with("production:") && last[1].contains("on blue on 1 of 1 host"), "{said}");
    assert!(last[0].starts_with("next:") && last[0].contains("rollback-prod"), "{said}");
    assert_eq!(unit(&lab, "web1", "listings-green"), "active", "green was not stopped: {said}");
    assert!(kept(&lab, "INCIDENT_REPORT.md").contains("interrupt"), "the report says so");
    let left = leftovers(&lab, "web1");
    assert!(left.is_empty(), "nothing of ours is left:\n{left}");

    lab.config_with(|text| {
        text.replace("timeout = \"10s\"\n\n[verify]", "timeout = \"1s\"\n\n[verify]")
            .replace("listings-green.service\"\n", "listings-green.service\"\nstop_timeout = \"1s\"\n")
    });
    let rerun = rollback(&lab, &[]);
    rerun.exits(0);
    rerun.holds(unit(&lab, "web1", "listings-green") != "active", "green is stopped");
    stream.join().expect("the stream ends");
}

#[test]
fn an_interrupt_before_the_first_change_changes_nothing() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    // The host takes its time to answer; the step that is waited for is only a question.
    lab.sh("web1", "systemctl kill -s STOP listings-blue");
    let mut running = begin(&lab, &[]);
    until("it asks the host", || lab.exec("web1", &["pgrep", "-u", "deploy", "curl"]).status.success());
    running.signal(Signal::TERM);
    assert_eq!(running.exit(), 130, "{}", running.said());
    assert!(running.said().contains("nothing was changed"), "{}", running.said());
    assert!(incidents(&lab).is_empty(), "no incident");
    lab.sh("web1", "systemctl kill -s CONT listings-blue");
    assert_eq!(served_by(&lab, "web1"), "green");
}

/// Starts a rollback whose reload takes its time, and waits until it has begun.
fn hang_in_switch(lab: &Lab) -> Running {
    lab.config_with(|text| text.replace("sudo = true", "sudo = true\nreload = \"/usr/local/sbin/nginx-reload\""));
    install(
        lab,
        "web1",
        "/usr/local/sbin/nginx-reload",
        "#!/bin/sh\ntouch /run/reloading\nsleep 4\nexec nginx -s reload\n",
    );
    let running = begin(lab, &["--keep-green"]);
    until("it reloads", || lab.exec("web1", &["test", "-e", "/run/reloading"]).status.success());
    running
}

#[test]
fn an_interrupt_during_the_switch_lets_it_end() {
    let lab = Lab::up(&["web1"]);
    let mut running = hang_in_switch(&lab);
    running.signal(Signal::INT);
    assert_eq!(running.exit(), 130, "{}", running.said());
    assert!(running.said().contains("traffic on blue on 1 of 1 host"), "{}", running.said());
    assert_eq!(served_by(&lab, "web1"), "blue");
    let left = leftovers(&lab, "web1");
    assert!(left.is_empty(), "nothing of ours is left:\n{left}");
}

#[test]
fn a_second_interrupt_stops_waiting_and_calls_the_host_unknown() {
    let lab = Lab::up(&["web1"]);
    let before = read(&lab, "web1", FILE);
    let mut running = hang_in_switch(&lab);
    let began = now();
    running.signal(Signal::INT);
    until("the first is heard", || running.said().contains("once more to stop waiting"));
    running.signal(Signal::INT);
    let code = running.exit();
    assert!(now() - began < 3.0, "it does not wait for the reload: {}", running.said());
    assert_eq!(code, 5, "{}", running.said());
    let last = running.said().lines().rev().take(2).collect::<Vec<_>>().join("\n");
    assert!(last.contains("NOT KNOWN") && last.contains("web1"), "{}", running.said());
    assert!(kept(&lab, "INCIDENT_REPORT.md").contains("web1"), "the report is written all the same");
    // The step ends by itself; the next run joins it.
    let next = rollback(&lab, &["--keep-green"]);
    next.exits(0);
    next.holds(read(&lab, "web1", FILE) == rolled_back(&before), "the file is right");
    next.holds(served_by(&lab, "web1") == "blue", "blue serves");
    let left = leftovers(&lab, "web1");
    next.holds(left.is_empty(), &format!("nothing of ours is left:\n{left}"));
}

#[test]
fn a_second_operator_is_told_who_is_at_it() {
    let lab = Lab::up(&["web1"]);
    long_drain(&lab);
    let (running, stream) = hang_in_drain(&lab);
    let second = rollback(&lab, &[]);
    second.exits(1).says("holds the lock").says("error rate of 12 percent").says("nothing was changed");
    second.says("[E-LOCK-HELD]").says("rollback-prod explain E-LOCK-HELD");
    // A program that reads along gets the reason in the same words, and its name.
    let told = rollback(&lab, &["--json"]);
    told.exits(1).says(r#""refusal":"E-LOCK-HELD""#);
    let status = run(&lab, &["status"]);
    status.exits(0).says("error rate of 12 percent");
    // Whoever pulls the plug of the first one's laptop leaves no lock.
    running.kill();
    let third = begin(&lab, &["--keep-green"]);
    until("it holds the lock", || {
        newest_journal(&lab).iter().any(|entry| is(entry, "outcome", "switch") && entry["status"] == "done")
    });
    third.kill();
    lab.sh("web1", "systemctl kill -s KILL listings-green");
    stream.join().expect("the stream ends");
    let left = leftovers(&lab, "web1");
    assert!(left.is_empty(), "nothing of ours is left:\n{left}");
}

#[test]
fn of_two_runs_that_begin_together_one_does_it_and_the_other_says_who() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let load = Load::start(&lab.ip("web1"), "GET", "/", 1);
    let mut both = [begin(&lab, &["--keep-green"]), begin(&lab, &["--keep-green"])];
    let codes = both.each_mut().map(Running::exit);
    let counts = load.stop();
    let said = both.each_ref().map(Running::said).join("\n==== the other\n");
    assert!(codes.contains(&0), "one does it: {codes:?}\n{said}");
    // The slower one may also come when all is over; then there is nothing left for it to do.
    assert!(codes.iter().all(|code| [0, 1].contains(code)), "the other is refused: {codes:?}\n{said}");
    assert!(!codes.contains(&1) || said.contains("another run holds the lock"), "and told why: {said}");
    assert!(counts.bad.is_empty(), "nobody noticed: {counts:?}");
    assert_eq!(served_by(&lab, "web1"), "blue", "{said}");
    assert!(!said.contains("cannot be written"), "each has a folder of its own, and where it belongs:\n{said}");
    let left = leftovers(&lab, "web1");
    assert!(left.is_empty(), "nothing of ours is left:\n{left}");
}

#[test]
fn an_operator_with_another_account_sees_the_lock_too() {
    let lab = Lab::up(&["web1"]);
    let hers = second_account(&lab);
    long_drain(&lab);
    let (running, stream) = hang_in_drain(&lab);
    // The lock is older than a beat may be; only its beats are fresh.
    lab.sh("web1", &format!("touch -d '-1 minute' {LOCK}"));
    let second = rollback(&lab, &["--config", &hers()]);
    second.exits(1).says("holds the lock").says("error rate of 12 percent");
    drop(running);
    lab.sh("web1", "systemctl kill -s KILL listings-green");
    stream.join().expect("the stream ends");
}

#[test]
fn a_run_that_slept_through_its_lock_stops_nothing_and_says_so() {
    let lab = Lab::up(&["web1"]);
    long_drain(&lab);
    let (mut running, stream) = hang_in_drain(&lab);
    // The laptop's lid is closed; five beats are missed, here in no time.
    running.signal(Signal::STOP);
    until("the lock looks abandoned", || {
        lab.sh("web1", &format!("touch -d '-1 minute' {LOCK}/beat; stat -c %Y {LOCK}/beat"))
            .parse::<f64>()
            .is_ok_and(|beat| beat < now() - 30.0)
    });
    let mut second = begin(&lab, &[]);
    until("the second run has the lock", || {
        incidents(&lab).len() == 2 && newest_journal(&lab).iter().any(|entry| entry["step"] == "drain")
    });
    running.signal(Signal::CONT);
    // By itself, although the request without end goes on.
    let code = running.exit();
    let said = running.said();
    assert_eq!(code, 4, "traffic is on blue, the stop was not this run's to do: {said}");
    assert!(said.contains("another run took the lock"), "{said}");
    assert_eq!(unit(&lab, "web1", "listings-green"), "active", "and it was not done: {said}");
    lab.sh("web1", "systemctl kill -s KILL listings-green");
    assert_eq!(second.exit(), 0, "{}", second.said());
    stream.join().expect("the stream ends");
}

#[test]
fn a_live_run_is_pre_empted_with_a_word_and_stops_before_its_next_change() {
    let lab = Lab::up(&["web1"]);
    long_drain(&lab);
    let (mut running, stream) = hang_in_drain(&lab);
    let refused = rollback(&lab, &[]);
    refused.exits(1).says("holds the lock").says("--take-over");
    let mut second = begin(&lab, &["--take-over"]);
    // By itself, although the request without end goes on.
    let code = running.exit();
    let said = running.said();
    assert_eq!(code, 4, "traffic is on blue, the stop was not this run's to do: {said}");
    assert!(said.contains("another run took the lock"), "{said}");
    assert_eq!(unit(&lab, "web1", "listings-green"), "active", "and it was not done: {said}");
    let third = rollback(&lab, &[]);
    third.exits(1).says("holds the lock");
    lab.sh("web1", "systemctl kill -s KILL listings-green");
    assert_eq!(second.exit(), 0, "{}", second.said());
    assert!(second.said().contains("lock taken over from the live run of"), "{}", second.said());
    assert_ne!(unit(&lab, "web1", "listings-green"), "active", "{}", second.said());
    stream.join().expect("the stream ends");
    let left = leftovers(&lab, "web1");
    assert!(left.is_empty(), "nothing of ours is left:\n{left}");
}

#[test]
fn a_lock_that_cannot_be_written_is_a_warning_and_never_a_refusal() {
    let everywhere = ["/run/rollback-prod/deploy", "/run/lock", "/dev/shm", "/tmp", "/var/tmp"];
    for (folders, is_full) in [(&everywhere[..1], true), (&everywhere[..], true), (&everywhere[..], false)] {
        let lab = Lab::up(&["web1"]);
        lab.config("");
        lab.sh("web1", "install -d -o deploy -m 0755 /run/rollback-prod/deploy");
        for folder in folders {
            lab.sh("web1", &format!("mount -t tmpfs -o size=16k,mode=1777 tmpfs {folder}"));
            if is_full {
                lab.exec("web1", &["dd", "if=/dev/zero", &format!("of={folder}/full"), "bs=1k"]);
            }
        }
        lab.sh("web1", "chown deploy /run/rollback-prod/deploy");
        if !is_full {
            folders.iter().for_each(|folder| drop(lab.sh("web1", &format!("mount -o remount,ro {folder}"))));
        }
        let load = Load::start(&lab.ip("web1"), "GET", "/", 2);
        let scene = rollback(&lab, &[]);
        scene.exits(0);
        if folders.len() > 1 {
            scene.says("no lock").says("without a lock");
        } else {
            // It lies where everybody may write, then.
            scene.never_says("no lock");
        }
        nobody_noticed(&load.stop(), &scene);
        scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
        scene.holds(unit(&lab, "web1", "listings-green") != "active", "green is stopped");
        lab.sh("web1", "rm -f /run/rollback-prod/deploy/full || true");
        let left = leftovers(&lab, "web1");
        scene.holds(left.is_empty(), &format!("nothing of ours is left:\n{left}"));
    }
}

/// Somebody with an account and no right on the host makes everything that a lock of ours could be taken for.
#[test]
fn what_an_account_without_rights_makes_is_no_lock_and_costs_no_time() {
    let forged = r#"
        cd BASE
        lock=rollback-prod-listings.lock
        mkdir $lock 2>/dev/null && echo 'mallory@evil pid 1 since ever' >$lock/holder && touch $lock/beat
        for uid in 0 UID; do
          place=rollback-prod-$uid
          case $n in
            0) mkdir -p $place/listings.999999999999999.1.lock && cd $place/listings.999999999999999.1.lock &&
                 echo 'mallory@evil pid 1 since ever' >holder && touch held beat && cd ../.. &&
                 echo 999999999999999 >$place/listings.number && chmod -R 777 $place ;;
            1) mkdir -p mine/listings.999999999999999.1.lock && mkfifo mine/listings.999999999999999.1.lock/holder mine/listings.number &&
                 touch mine/listings.999999999999999.1.lock/held && ln -s $PWD/mine $place ;;
            2) mkfifo $place ;;
            3) mkdir $place && chmod 000 $place ;;
          esac
        done
        ln -s /etc rollback-prod-listings-jobs-UID"#;
    let bases = ["/run/lock", "/dev/shm", "/tmp", "/var/tmp"];
    let host = |is_proven: bool, is_forged: bool| {
        let lab = Lab::up(&["web1"]);
        lab.config("");
        lab.sh("web1", "useradd -m mallory");
        if !is_proven {
            // All rights but that one.
            write(&lab, "web1", "/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD: ALL, !/usr/bin/install\n");
        }
        let uid = lab.sh("web1", "id -u deploy");
        for (n, base) in bases.iter().enumerate().filter(|_| is_forged) {
            let text = forged.replace("BASE", base).replace("UID", &uid);
            install(&lab, "web1", "/root/forge", &format!("n={n}\n{text}\n"));
            lab.sh("web1", "su mallory -s /bin/sh </root/forge");
        }
        lab
    };
    let rolled = |lab: &Lab, is_forged: bool| {
        let scene = rollback(lab, &[]);
        scene.exits(0).says("green stopped").never_says("without a lock").never_says("mallory");
        scene.holds(
            scene.stderr.contains("not used:") == is_forged || scene.stdout.contains("not used:") == is_forged,
            "it is named",
        );
        scene.holds(served_by(lab, "web1") == "blue", "blue serves");
        run(lab, &["status"]).exits(0).never_says("mallory");
        scene.took
    };
    // Where sudo lets us have a folder of root's making, and where it does not.
    for is_proven in [true, false] {
        let labs = [false, true].map(|is_forged| host(is_proven, is_forged));
        let green = read(&labs[0], "web1", FILE);
        let mut took = [Duration::MAX; 2];
        // What else runs on the machine delays one or the other; the least of a few is what it takes.
        for attempt in 0..3 {
            for (at, lab) in labs.iter().enumerate() {
                if attempt > 0 {
                    back_to_green(lab, "web1", &green);
                }
                took[at] = took[at].min(rolled(lab, at == 1));
            }
            if took[1].saturating_sub(took[0]) < Duration::from_secs(1) {
                break;
            }
        }
        let delay = took[1].saturating_sub(took[0]);
        assert!(delay < Duration::from_secs(1), "{is_proven}: it is not delayed: {took:?}");
    }
}

/// Two operators with accounts of their own, of whom one has slept: what the other did while he slept is told to him.
#[test]
fn a_live_run_of_another_account_is_pre_empted_too() {
    let lab = Lab::up(&["web1"]);
    let hers = second_account(&lab);
    long_drain(&lab);
    let (mut running, stream) = hang_in_drain(&lab);
    rollback(&lab, &["--config", &hers()]).exits(1).says("holds the lock").says("--take-over");
    // Who has no place that others look at cannot tell them to stop.
    write(&lab, "web1", "/etc/sudoers.d/alice", "alice ALL=(ALL) NOPASSWD: ALL, !/usr/bin/install\n");
    lab.sh("web1", "rm -rf /run/rollback-prod/alice");
    let unseen = rollback(&lab, &["--config", &hers(), "--take-over"]);
    unseen.exits(1).says("sudo rm -r /run/rollback-prod/deploy/listings.");
    write(&lab, "web1", "/etc/sudoers.d/alice", "alice ALL=(ALL) NOPASSWD: ALL\n");
    let mut second = begin(&lab, &["--config", &hers(), "--take-over"]);
    let code = running.exit();
    let said = running.said();
    assert_eq!(code, 4, "traffic is on blue, the stop was not this run's to do: {said}");
    assert!(said.contains("another run took the lock"), "{said}");
    lab.sh("web1", "systemctl kill -s KILL listings-green");
    assert_eq!(second.exit(), 0, "{}", second.said());
    assert!(second.said().contains("lock taken over from the live run of"), "{}", second.said());
    stream.join().expect("the stream ends");
    let left = leftovers(&lab, "web1");
    assert!(left.is_empty(), "nothing of ours is left:\n{left}");
}

/// Another operator's account on the host; gives what writes her config, the lab's as it is then, and names it.
fn second_account(lab: &Lab) -> impl Fn() -> String {
    lab.sh(
        "web1",
        "useradd -m -s /bin/bash alice; usermod -p '*' alice; cp -r /home/deploy/.ssh /home/alice/; chown -R alice: /home/alice/.ssh
         echo 'alice ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/alice",
    );
    || {
        let config = std::fs::read_to_string(lab.folder().join("rollback.toml")).expect("the config");
        let hers = config.replace("ssh = \"web1\"", "ssh = \"alice@web1\"");
        std::fs::write(lab.folder().join("hers.toml"), hers).expect("write her config");
        "hers.toml".to_owned()
    }
}

#[test]
fn a_stale_lock_is_taken_over_with_a_note() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    lab.sh(
        "web1",
        "install -d -o deploy -m 0755 /run/rollback-prod/deploy
         su deploy -s /bin/sh -c 'cd /run/rollback-prod/deploy && mkdir listings.17.1.lock && cd listings.17.1.lock &&
           echo \"mallory@laptop pid 1 since yesterday\" >holder && touch held && touch -d \"-1 hour\" beat'",
    );
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0).says("stale").says("mallory@laptop");
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("the lock is gone:\n{left}"));
}
