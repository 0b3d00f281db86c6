//! The rollback itself, on real hosts: traffic moves from green to blue, nobody notices, and whatever goes wrong on
//! the way leaves somebody serving and a program that says what is.

#[path = "support/site.rs"]
mod site;
mod support;

use std::thread;
use std::time::{Duration, Instant};

use site::*;
use support::lab::{Lab, Load};
use support::{Scene, rollback_prod};

const CONNECTIONS: usize = 16;
/// Where the load is not the point: one after the other, so that hosts that share two cores have time to answer.
const FEW: usize = 1;

#[test]
fn traffic_moves_to_blue_without_one_bad_answer_and_every_other_byte_of_the_file_stays() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    // Only root may read it, as where a file holds keys; and bytes that a careless rewrite would lose.
    let odd = "# tabs\there, a trailing blank \n# \"quotes\" ${dollar} ünïcode\n\n";
    write(&lab, "web1", FILE, &format!("{odd}{}\n\n# no newline at the end", read(&lab, "web1", FILE)));
    lab.sh("web1", &format!("chown root:www-data {FILE}; chmod 640 {FILE}; nginx -t && systemctl reload nginx"));
    let before = read(&lab, "web1", FILE);

    let load = Load::start(&lab.ip("web1"), "GET", "/", CONNECTIONS);
    let scene = rollback(&lab, &[]);
    let counts = load.stop();

    scene.exits(0).says("traffic is safe: blue serves on 1 of 1 host").says("green stopped");
    nobody_noticed(&counts, &scene);
    scene.holds(counts.green > 0 && counts.blue > 0, &format!("the load saw both: {counts:?}"));
    scene.holds(read(&lab, "web1", FILE) == rolled_back(&before), "the file is as it was but for the shares");
    scene.holds(before != rolled_back(&before), "and those did change");
    let stat = lab.sh("web1", &format!("stat -c '%U:%G %a %h' {FILE}; readlink /etc/nginx/sites-enabled/listings"));
    scene.holds(stat == format!("root:www-data 640 1\n{FILE}"), &format!("owner, mode and link stay: {stat}"));
    let got = get(&lab.ip("web1"), "/");
    let headers = (got.header("X-Blue-Weight"), got.header("X-Green-Weight"));
    scene.holds(headers == ("100".to_owned(), "0".to_owned()), &format!("the headers say so too: {got:?}"));
    scene.holds(unit(&lab, "web1", "listings-green") == "inactive", "green is stopped");
    scene.holds(unit(&lab, "web1", "listings-blue") == "active", "blue runs");
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
}

#[test]
fn no_post_is_lost_and_green_is_stopped_only_after_its_last_answer() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let load = Load::start(&lab.ip("web1"), "POST", "/", CONNECTIONS / 4);
    // A slow request each moment, so that some are in flight whenever the switch comes.
    let mut run = begin(&lab, &[]);
    let mut slow = Vec::new();
    while !run.is_over() {
        let ip = lab.ip("web1");
        slow.push(thread::spawn(move || (now(), get(&ip, "/slow?ms=2000"), now())));
        thread::sleep(Duration::from_millis(200));
    }
    let counts = load.stop();
    let slow: Vec<_> = slow.into_iter().map(|one| one.join().expect("a slow request ends")).collect();

    assert_eq!(run.exit(), 0, "{}", run.said());
    assert!(counts.bad.is_empty() && counts.total > 0, "every answer is good: {counts:?}");
    let logs = "cat /opt/listings/logs/blue.log /opt/listings/logs/green.log";
    let served: usize = lab.sh("web1", &format!("{logs} | grep -c 'INFO POST / 200'")).parse().expect("a number");
    assert_eq!(served, counts.total, "none was served twice, none was lost");
    assert!(slow.iter().all(|(_, got, _)| got.status == 200), "every slow answer is whole: {slow:?}");
    let journal = newest_journal(&lab);
    let switched = journal.iter().find(|entry| is(entry, "outcome", "switch")).map(seconds).expect("a switch");
    let stop = journal.iter().find(|entry| is(entry, "intent", "stop")).map(seconds).expect("green is stopped");
    let in_flight: Vec<_> =
        slow.iter().filter(|(sent, _, answered)| *sent < switched && switched < *answered).collect();
    assert!(in_flight.iter().any(|(_, got, _)| got.body == "green\n"), "some were in flight on green: {slow:?}");
    let last = slow.iter().filter(|(_, got, _)| got.body == "green\n").map(|(_, _, at)| *at).fold(0.0, f64::max);
    assert!(last < stop, "green is stopped ({stop}) after its last answer ({last})");
}

#[test]
fn a_dropped_connection_after_the_switch_does_not_take_blue_out() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let before = read(&lab, "web1", FILE);
    // Two workers, each with an opinion of its own: both must see a dropped connection.
    let after_a_drop = || {
        let ip = lab.ip("web1");
        let drops: Vec<u16> = (0..12).map(|_| get(&ip, "/die").status).collect();
        assert!(drops.contains(&502), "/die drops the connection: {drops:?}");
        (0..20).map(|_| get(&ip, "/").status).collect::<Vec<_>>()
    };
    rollback(&lab, &["--keep-green"]).exits(0);
    let ours = after_a_drop();
    assert!(ours.iter().all(|status| *status == 200), "with max_fails=0: {ours:?}");

    // What the runbook's words would have done: this shows that the claim above is worth something.
    let naive = rolled_back(&before).replace(" max_fails=0", "");
    write(&lab, "web1", FILE, &naive);
    // Not a reload: the workers of before would take the drops upon themselves, and be gone.
    lab.sh("web1", "nginx -t && systemctl restart nginx");
    let naively = after_a_drop();
    assert!(naively.contains(&502), "without it: {naively:?}");
}

#[test]
fn a_reload_that_nginx_accepts_and_does_not_apply_is_put_back() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let before = read(&lab, "web1", FILE);
    lab.sh("web1", "systemd-run -q --unit=squatter python3 -m http.server 8099");
    until("somebody holds port 8099", || lab.sh("web1", "ss -Hltn '( sport = :8099 )'").contains("8099"));
    // Written after nginx started and never loaded: the reload of the rollback is the first that would bind it.
    write(&lab, "web1", "/etc/nginx/sites-enabled/another", "server { listen 8099; return 204; }\n");

    let load = Load::start(&lab.ip("web1"), "GET", "/", CONNECTIONS);
    let scene = rollback(&lab, &[]);
    let counts = load.stop();

    scene.exits(3).says("[emerg]").says("8099").says("web1");
    nobody_noticed(&counts, &scene);
    scene.holds(counts.blue == 0, "blue never served");
    scene.holds(read(&lab, "web1", FILE) == before, "the old file is back byte for byte");
    scene.holds(served_by(&lab, "web1") == "green", "green serves");
    scene.holds(unit(&lab, "web1", "listings-green") == "active", "green runs");
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
}

/// A test command with a rule of its own house: it refuses the candidate, and only the candidate.
const HOUSE_RULE: &str = r#"#!/bin/sh
if grep -q max_fails=0 /etc/nginx/sites-available/listings; then
  echo 'nginx: [emerg] house rule 7: max_fails=0 in /etc/nginx/sites-available/listings:6' >&2
  exit 1
fi
exec nginx "$@"
"#;

#[test]
fn a_candidate_that_nginx_refuses_changes_nothing_anywhere() {
    let lab = Lab::up(&["web1", "web2"]);
    lab.config_with(|text| text.replace("sudo = true", "sudo = true\ntest = \"/usr/local/sbin/nginx-test -t\""));
    // web1 would take it: it must not be switched either.
    install(&lab, "web1", "/usr/local/sbin/nginx-test", "#!/bin/sh\nexec nginx \"$@\"\n");
    install(&lab, "web2", "/usr/local/sbin/nginx-test", HOUSE_RULE);
    let look =
        |host: &str| lab.sh(host, "ls -lai --time-style=full-iso /etc/nginx/sites-available /etc/nginx/sites-enabled");
    let before = [look("web1"), look("web2")];

    let scene = rollback(&lab, &[]);

    scene.exits(1).says("web2").says("house rule 7");
    scene.holds([look("web1"), look("web2")] == before, "no file was touched, none was added");
    for host in ["web1", "web2"] {
        scene.holds(served_by(&lab, host) == "green", "green serves");
        let left = leftovers(&lab, host);
        scene.holds(left.is_empty(), &format!("nothing of ours is left on {host}:\n{left}"));
    }
    let dry = run(&lab, &["--dry-run"]);
    dry.exits(1).says("web2").says("house rule 7");
}

#[test]
fn a_candidate_that_could_not_be_tested_beforehand_is_put_back_when_nginx_refuses_it() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace("sudo = true", "sudo = true\ntest = \"/usr/local/sbin/nginx-test -t\""));
    install(&lab, "web1", "/usr/local/sbin/nginx-test", HOUSE_RULE);
    lab.sh("web1", "mv /usr/bin/unshare /usr/bin/unshare.away");
    let before = read(&lab, "web1", FILE);

    let load = Load::start(&lab.ip("web1"), "GET", "/", CONNECTIONS);
    let scene = rollback(&lab, &[]);
    let counts = load.stop();

    scene.exits(3).says("house rule 7");
    nobody_noticed(&counts, &scene);
    scene.holds(counts.blue == 0, "blue never served");
    scene.holds(read(&lab, "web1", FILE) == before, "the old file is back byte for byte");
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
}

#[test]
fn a_file_that_somebody_else_changes_meanwhile_is_theirs() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace("sudo = true", "sudo = true\ntest = \"/usr/local/sbin/nginx-test -t\""));
    // A deploy that writes the file between our reading and our writing: while the candidate is tested.
    install(
        &lab,
        "web1",
        "/usr/local/sbin/nginx-test",
        "#!/bin/sh\nif [ \"$1\" = -t ] && mkdir /run/deployed 2>/dev/null; then\n  \
         nsenter -t 1 -m sh -c 'echo \"# a deploy was here\" >>/etc/nginx/sites-available/listings'\nfi\nexec nginx \"$@\"\n",
    );
    let before = read(&lab, "web1", FILE);

    let scene = rollback(&lab, &[]);

    let theirs = format!("{before}# a deploy was here\n");
    scene.holds(read(&lab, "web1", FILE) == theirs, "their content survives byte for byte");
    scene.exits(1).says("changed since it was read").says("web1");
    scene.holds(served_by(&lab, "web1") == "green", "green serves");
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
    // And the next run reads the file as it is now.
    rollback(&lab, &["--keep-green"]).exits(0);
    assert_eq!(read(&lab, "web1", FILE), rolled_back(&theirs));
}

#[test]
fn a_switch_that_is_not_proven_is_put_back_within_twenty_seconds() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace("sudo = true", "sudo = true\nreload = \"/usr/local/sbin/nginx-reload\""));
    // Blue dies in the moment of the switch.
    install(
        &lab,
        "web1",
        "/usr/local/sbin/nginx-reload",
        "#!/bin/sh\nsystemctl stop listings-blue\nexec nginx -s reload\n",
    );
    let before = read(&lab, "web1", FILE);

    let scene = rollback(&lab, &[]);

    scene.exits(3).says("web1").says("put back");
    scene.holds(read(&lab, "web1", FILE) == before, "the old file is back byte for byte");
    until("green serves", || served_by(&lab, "web1") == "green");
    scene.holds(unit(&lab, "web1", "listings-green") == "active", "green was never stopped");
    let journal = newest_journal(&lab);
    let began = journal.iter().find(|entry| is(entry, "intent", "switch")).map(seconds).expect("a switch");
    let ended = journal.iter().find(|entry| is(entry, "outcome", "switch")).map(seconds).expect("its end");
    scene.holds(ended - began < 20.0, &format!("put back after {} s", ended - began));
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
}

#[test]
fn a_reload_that_fails_is_put_back_and_nothing_is_unknown() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace("sudo = true", "sudo = true\nreload = \"/usr/local/sbin/nginx-reload\""));
    install(&lab, "web1", "/usr/local/sbin/nginx-reload", "#!/bin/sh\necho 'nginx.service is masked' >&2\nexit 1\n");
    let before = read(&lab, "web1", FILE);
    let scene = rollback(&lab, &[]);
    scene.exits(3).says("nginx.service is masked").says("web1");
    scene.holds(read(&lab, "web1", FILE) == before, "the old file is back byte for byte");
    scene.holds(served_by(&lab, "web1") == "green", "green serves");
    let left = leftovers(&lab, "web1");
    scene.holds(left.is_empty(), &format!("nothing of ours is left on the host:\n{left}"));
}

#[test]
fn a_file_that_said_so_before_and_is_not_proven_is_never_called_put_back() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace("sudo = true", "sudo = true\nreload = \"/usr/local/sbin/nginx-reload\""));
    install(
        &lab,
        "web1",
        "/usr/local/sbin/nginx-reload",
        "#!/bin/sh\nsystemctl stop listings-blue\nexec nginx -s reload\n",
    );
    // Somebody edited the file and did not reload: nginx still sends to green, and will not after our reload.
    write(&lab, "web1", FILE, &rolled_back(&read(&lab, "web1", FILE)));
    let scene = rollback(&lab, &[]);
    scene.exits(5).says("NOT KNOWN").says("web1").never_says("as it was");
    scene.holds(unit(&lab, "web1", "listings-green") == "active", "green was never stopped");
}

#[test]
fn a_dry_run_shows_the_diff_and_leaves_nothing_behind() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let sockets = lab.folder().join("run");
    std::fs::create_dir(&sockets).expect("make a folder");
    // What a mere login leaves (sudo's folders) is not ours.
    assert!(lab.ssh("web1", "sudo -n nginx -t").status.success());
    let look = || {
        lab.sh(
            "web1",
            "find / -xdev -type d -printf '%p %y %m %U:%G\\n' -o -printf '%p %y %s %m %U:%G %C@ %i %l\\n' | sort
             for d in /run /tmp /dev/shm /mnt; do find $d -printf '%p %y %m %U:%G %l\\n'; done | sort",
        )
        .lines()
        // The application logs who asked it, nginx whom it answered, systemd everything.
        .filter(|line| {
            !line.starts_with("/opt/listings/logs/") && !line.starts_with("/var/log/") && !line.starts_with("/run/log/")
        })
        .map(str::to_owned)
        .collect::<Vec<_>>()
    };
    let processes = || {
        let all = lab.sh("web1", "ps -eo args --no-headers | sort");
        all.lines().filter(|line| !line.contains("ps -eo args")).map(str::to_owned).collect::<Vec<_>>()
    };
    let files = look();
    let running = processes();

    let mut command = program(&lab, &["--dry-run"]);
    let scene = support::Scene::of(command.env("XDG_RUNTIME_DIR", &sockets), lab.folder());

    scene.exits(0).says("+    server 127.0.0.1:8081 down;").says("-    server 127.0.0.1:8080 down;");
    scene.says("nginx accepts the new file").says("nothing was changed");
    until("the processes on the host are those from before", || {
        let now = processes();
        now.iter().all(|one| running.contains(one))
    });
    let after = look();
    let changed: Vec<&String> = after.iter().filter(|line| !files.contains(line)).collect();
    let gone: Vec<&String> = files.iter().filter(|line| !after.contains(line)).collect();
    scene.holds(changed.is_empty() && gone.is_empty(), &format!("files on the host: new {changed:?}, gone {gone:?}"));
    scene.holds(incidents(&lab).is_empty() && !lab.folder().join("incidents").exists(), "no incident folder here");
    let here: Vec<_> = std::fs::read_dir(&sockets).expect("our folder").flatten().collect();
    scene.holds(here.is_empty(), &format!("no socket here: {here:?}"));
    // And the same words without the flag are the real run.
    rollback(&lab, &["--keep-green"]).exits(0);
}

#[test]
fn a_second_run_finds_nothing_left_to_do_and_harms_nobody() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let before = read(&lab, "web1", FILE);
    let load = Load::start(&lab.ip("web1"), "GET", "/", CONNECTIONS);
    let first = rollback(&lab, &[]);
    let second = rollback(&lab, &[]);
    let counts = load.stop();
    first.exits(0);
    second.exits(0).says("green stopped");
    nobody_noticed(&counts, &second);
    second.holds(read(&lab, "web1", FILE) == rolled_back(&before), "the file is right");
    second.holds(incidents(&lab).len() == 2, "each run has its folder");
}

#[test]
fn a_program_that_is_killed_at_any_moment_is_finished_by_the_next_one() {
    // Spread over the traffic part.
    killed_and_run_again((0..12).map(|n| (None, 250 + n * 60)));
}

#[test]
fn a_program_that_is_killed_in_the_middle_of_a_step_is_finished_by_the_next_one() {
    let moments =
        [("lock", 0), ("lock", 15), ("lock", 40), ("switch", 0), ("switch", 15), ("switch", 40), ("switch", 80)];
    killed_and_run_again(moments.into_iter().map(|(step, ms)| (Some(step), ms)));
}

/// Kills a rollback so many milliseconds after its start, or after the intent of a step is on disk; the second run
/// begins at once. Then everything as before, and the next moment.
fn killed_and_run_again(moments: impl Iterator<Item = (Option<&'static str>, u64)>) {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let before = read(&lab, "web1", FILE);
    let wanted = rolled_back(&before);
    for (step, ms) in moments {
        let moment = format!(
            "killed {ms} ms after {}",
            step.map_or("its start".to_owned(), |step| format!("the intent of {step}"))
        );
        let load = Load::start(&lab.ip("web1"), "GET", "/", CONNECTIONS / 4);
        let known = incidents(&lab).len();
        let began = Instant::now();
        let mut first = begin(&lab, &["--keep-green"]);
        if let Some(step) = step {
            until("the intent is on disk", || {
                let folder = incidents(&lab).get(known).cloned();
                folder.is_some_and(|folder| journal(&folder).iter().any(|entry| is(entry, "intent", step)))
                    || first.is_over()
            });
        }
        let moment_is_here = if step.is_some() { Instant::now() } else { began } + Duration::from_millis(ms);
        while Instant::now() < moment_is_here {
            thread::sleep(Duration::from_millis(1));
        }
        first.kill();
        let second = rollback(&lab, &["--keep-green"]);
        let counts = load.stop();

        second.holds(second.status.code() == Some(0), &format!("the second run ends well: {moment}"));
        second.holds(counts.bad.is_empty() && counts.total > 0, &format!("nobody noticed: {moment}: {counts:?}"));
        second.holds(read(&lab, "web1", FILE) == wanted, &format!("the file is right: {moment}"));
        second.holds(served_by(&lab, "web1") == "blue", &format!("blue serves: {moment}"));
        let left = leftovers(&lab, "web1");
        second.holds(left.is_empty(), &format!("nothing of ours is left: {moment}:\n{left}"));
        back_to_green(&lab, "web1", &before);
    }
}

#[test]
fn a_program_that_is_killed_while_green_stops_is_finished_by_the_next_one() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let before = read(&lab, "web1", FILE);
    for ms in [0, 30, 400] {
        let load = Load::start(&lab.ip("web1"), "GET", "/", CONNECTIONS / 4);
        let known = incidents(&lab).len();
        let first = begin(&lab, &[]);
        until("the intent of the stop is on disk", || {
            let folder = incidents(&lab).get(known).cloned();
            folder.is_some_and(|folder| journal(&folder).iter().any(|entry| is(entry, "intent", "stop")))
        });
        let moment = Instant::now() + Duration::from_millis(ms);
        while Instant::now() < moment {
            thread::sleep(Duration::from_millis(1));
        }
        first.kill();
        let second = rollback(&lab, &[]);
        let counts = load.stop();
        second
            .holds(second.status.code() == Some(0), &format!("the second run ends well: {ms} ms after the stop began"));
        nobody_noticed(&counts, &second);
        second.holds(unit(&lab, "web1", "listings-green") == "inactive", "green is stopped");
        let left = leftovers(&lab, "web1");
        second.holds(left.is_empty(), &format!("nothing of ours is left:\n{left}"));
        back_to_green(&lab, "web1", &before);
    }
}

#[test]
fn all_balancers_are_switched_at_once_and_nobody_notices() {
    let lab = Lab::up(&["web1", "web2", "web3"]);
    lab.config("");
    let before = read(&lab, "web1", FILE);
    let loads = ["web1", "web2", "web3"].map(|host| Load::start(&lab.ip(host), "GET", "/", FEW));
    let scene = rollback(&lab, &[]);
    let counts = loads.map(Load::stop);
    scene.exits(0).says("traffic is safe: blue serves on 3 of 3 hosts");
    for (host, counts) in ["web1", "web2", "web3"].into_iter().zip(&counts) {
        nobody_noticed(counts, &scene);
        scene.holds(served_by(&lab, host) == "blue", &format!("{host} is on blue"));
        scene.holds(read(&lab, host, FILE) == rolled_back(&before), &format!("the file of {host} is right"));
        scene.holds(unit(&lab, host, "listings-green") == "inactive", &format!("green of {host} is stopped"));
    }
}

#[test]
fn a_balancer_whose_file_cannot_be_replaced_is_named_and_its_green_goes_on() {
    let lab = Lab::up(&["web1", "web2", "web3"]);
    lab.config("");
    lab.sh(
        "web2",
        "cd /etc/nginx && mount --bind sites-available sites-available && mount -o remount,bind,ro sites-available",
    );
    let before = read(&lab, "web2", FILE);
    let load = lab.load("web2", "/");
    let scene = rollback(&lab, &[]);
    let counts = load.stop();
    nobody_noticed(&counts, &scene);
    scene.holds(served_by(&lab, "web2") == "green", "web2 serves green as before");
    scene.holds(unit(&lab, "web2", "listings-green") == "active", "its green runs");
    scene.holds(read(&lab, "web2", FILE) == before, "its file is as it was");
    // A check finds it before anything changes, or the switch does on that host alone; either way it is said.
    let others = [served_by(&lab, "web1"), served_by(&lab, "web3")];
    let expected = match scene.status.code() {
        Some(1) => ["green", "green"],
        _ => ["blue", "blue"],
    };
    scene.holds(others == expected, &format!("the others agree with the exit code: {others:?}"));
    scene.holds(matches!(scene.status.code(), Some(1 | 5)), "exit 1 before any change, 5 after one");
    let last = scene.stdout.lines().rev().take(3).collect::<Vec<_>>().join("\n") + &scene.stderr;
    scene.holds(last.contains("web2") && last.contains("Read-only file system"), "the host and the cause are named");
}

#[test]
fn two_hosts_are_rolled_back_one_by_one_and_both_greens_are_stopped() {
    let lab = Lab::up(&["web1", "web2"]);
    lab.config("");
    let first = rollback(&lab, &["--hosts", "web1"]);
    first.exits(5);
    first.holds(served_by(&lab, "web1") == "blue" && served_by(&lab, "web2") == "green", "only web1 is switched");
    first.holds(unit(&lab, "web2", "listings-green") == "active", "green of web2 still runs");
    first.holds(first.stdout.contains("--hosts web2"), "the next command to type finishes it");
    let second = rollback(&lab, &["--hosts", "web2"]);
    second.exits(0).says("traffic is safe: blue serves on 2 of 2 hosts");
    for host in ["web1", "web2"] {
        second.holds(served_by(&lab, host) == "blue", &format!("{host} is on blue"));
        second.holds(unit(&lab, host, "listings-green") == "inactive", &format!("green of {host} is stopped"));
    }
}

#[test]
fn green_goes_on_when_the_operator_keeps_it() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0).says("green kept running");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
    scene.holds(unit(&lab, "web1", "listings-green") == "active", "green runs");
}

#[test]
fn a_host_that_is_powered_off_is_named_and_finished_later() {
    let lab = Lab::up(&["web1", "web2"]);
    lab.config_with(|text| text.replace("[ssh]", "[ssh]\nconnect_timeout = \"2s\""));
    lab.poweroff("web2");
    let scene = rollback(&lab, &[]);
    scene.exits(5);
    scene.holds(served_by(&lab, "web1") == "blue", "web1 is on blue");
    let last: Vec<&str> = scene.stdout.lines().rev().take(2).collect();
    scene.holds(last.iter().all(|line| line.contains("web2")), "the last lines name web2");
    lab.boot("web2");
    let rerun = rollback(&lab, &["--hosts", "web2"]);
    rerun.exits(0);
    for host in ["web1", "web2"] {
        rerun.holds(served_by(&lab, host) == "blue", &format!("{host} is on blue"));
        rerun.holds(unit(&lab, host, "listings-green") == "inactive", &format!("green of {host} is stopped"));
    }
}

#[test]
fn every_host_of_a_fleet_has_a_state_of_its_own_and_the_rest_is_finished_by_name() {
    let hosts = ["web1", "web2", "web3"];
    let lab = Lab::up(&hosts);
    let reload = "/usr/local/sbin/reload-nginx";
    lab.config_with(|text| {
        text.replace("[ssh]", "[ssh]\nconnect_timeout = \"2s\"")
            .replace("sudo = true", &format!("sudo = true\nreload = \"{reload}\""))
    });
    for host in hosts {
        install(&lab, host, reload, "#!/bin/sh\nexec systemctl reload nginx\n");
    }
    let before = read(&lab, "web2", FILE);
    install(&lab, "web2", reload, "#!/bin/sh\necho 'no memory today'; exit 1\n");
    lab.poweroff("web3");
    let loads = ["web1", "web2"].map(|host| Load::start(&lab.ip(host), "GET", "/", FEW));
    let scene = rollback(&lab, &[]);
    scene
        .exits(5)
        .says("traffic of web1 on blue; traffic of web2 put back, as it was: on green; traffic of web3 NOT KNOWN")
        .says("no memory today")
        .says("--hosts web2,web3");
    scene.holds(served_by(&lab, "web1") == "blue", "web1 is on blue");
    scene.holds(unit(&lab, "web1", "listings-green") == "inactive", "its green is stopped: no other host sends to it");
    scene.holds(served_by(&lab, "web2") == "green", "web2 serves green as before");
    scene.holds(unit(&lab, "web2", "listings-green") == "active", "its green runs");
    scene.holds(read(&lab, "web2", FILE) == before, "its file is as it was");
    install(&lab, "web2", reload, "#!/bin/sh\nexec systemctl reload nginx\n");
    lab.boot("web3");
    let rest = rollback(&lab, &["--hosts", "web2,web3"]);
    for counts in loads.map(Load::stop) {
        nobody_noticed(&counts, &scene);
    }
    rest.exits(0).says("traffic is safe: blue serves on 3 of 3 hosts");
    for host in hosts {
        rest.holds(served_by(&lab, host) == "blue", &format!("{host} is on blue"));
        rest.holds(unit(&lab, host, "listings-green") == "inactive", &format!("green of {host} is stopped"));
    }
}

#[test]
fn green_is_left_running_under_a_balancer_that_nobody_listed() {
    let lab = Lab::up(&["web1", "edge"]);
    lab.config_with(|text| {
        text.replace("[[host]]\nname = \"edge\"\nssh = \"edge\"\n", "")
            .replace("timeout = \"10s\"\n\n[verify]", "timeout = \"2s\"\n\n[verify]")
    });
    let edge = read(&lab, "edge", FILE);
    write(&lab, "edge", FILE, &edge.replace("127.0.0.1:8081", &format!("{}:8081", lab.ip("web1"))));
    lab.sh("edge", "nginx -t && systemctl reload nginx");
    let load = lab.load("edge", "/");
    let scene = rollback(&lab, &[]);
    let counts = load.counts();
    scene.exits(4).says(&lab.ip("edge")).says("--force");
    nobody_noticed(&counts, &scene);
    scene.holds(unit(&lab, "web1", "listings-green") == "active", "green runs");
    scene.holds(served_by(&lab, "web1") == "blue", "web1 is on blue all the same");
    let forced = rollback(&lab, &["--force"]);
    drop(load);
    forced.exits(0);
    forced.holds(unit(&lab, "web1", "listings-green") == "inactive", "--force stops it");
}

/// A balancer before two hosts with the application, and its file.
fn in_front_of_two() -> (Lab, String) {
    let lab = Lab::up(&["lb", "app1", "app2"]);
    let (app1, app2) = (lab.ip("app1"), lab.ip("app2"));
    let servers = |port: u16| format!("servers = [\"{app1}:{port}\", \"{app2}:{port}\"]");
    lab.config_with(|text| {
        text.replace("ssh = \"lb\"\n", "ssh = \"lb\"\nroles = [\"balancer\"]\n")
            .replace("ssh = \"app1\"\n", "ssh = \"app1\"\nroles = [\"app\"]\n")
            .replace("ssh = \"app2\"\n", "ssh = \"app2\"\nroles = [\"app\"]\n")
            .replace("servers = [\"127.0.0.1:8080\"]", &servers(8080))
            .replace("servers = [\"127.0.0.1:8081\"]", &servers(8081))
    });
    let line = |port: u16, words: &str| format!("server {app1}:{port} {words};\n    server {app2}:{port} {words};");
    let file = read(&lab, "lb", FILE)
        .replace("server 127.0.0.1:8080 down;", &line(8080, "down"))
        .replace("server 127.0.0.1:8081 weight=100;", &line(8081, "weight=100"));
    write(&lab, "lb", FILE, &file);
    lab.sh("lb", "systemctl disable --now listings-blue listings-green; nginx -t && systemctl reload nginx");
    for app in ["app1", "app2"] {
        lab.sh(app, "systemctl disable --now nginx");
    }
    (lab, file)
}

#[test]
fn an_app_outside_hosts_that_a_balancer_inside_sends_to_is_proven_too_and_its_green_goes_on() {
    let (lab, file) = in_front_of_two();
    lab.sh("app2", "systemctl stop listings-blue");
    let load = lab.load("lb", "/");
    let scene = rollback(&lab, &["--hosts", "lb,app1"]);
    let counts = load.stop();
    scene.exits(0).says("app2").says("blue started and proven");
    nobody_noticed(&counts, &scene);
    scene.holds(unit(&lab, "app2", "listings-blue") == "active", "blue of app2 runs: lb sends to it");
    scene.holds(unit(&lab, "app2", "listings-green") == "active", "green of app2 was not meant");
    scene.holds(unit(&lab, "app1", "listings-green") == "inactive", "green of app1 was");
    scene.holds(served_by(&lab, "lb") == "blue", "blue serves");
    rollback(&lab, &[]).exits(0);
    scene.holds(unit(&lab, "app2", "listings-green") == "inactive", "green of app2, when it is meant");

    // One that cannot be started: refused, and nothing was changed.
    for app in ["app1", "app2"] {
        lab.sh(app, "systemctl start listings-green");
    }
    until("green is up", || {
        ["app1", "app2"]
            .iter()
            .all(|app| lab.exec(app, &["curl", "-fs", "http://127.0.0.1:8081/health"]).status.success())
    });
    write(&lab, "lb", FILE, &file);
    lab.sh("lb", "systemctl reload nginx");
    until("green serves", || served_by(&lab, "lb") == "green");
    lab.sh("app2", "systemctl stop listings-blue; mv /opt/listings/bin/listings-blue /opt/listings/bin/away");
    let load = lab.load("lb", "/");
    let scene = rollback(&lab, &["--hosts", "lb,app1"]);
    let counts = load.stop();
    scene.exits(1).says("app2").says("nothing was changed");
    nobody_noticed(&counts, &scene);
    scene.holds(read(&lab, "lb", FILE) == file, "the file is as it was");
    scene.holds(unit(&lab, "app1", "listings-green") == "active", "green goes on");
}

#[test]
fn a_green_that_hangs_does_not_hold_up_the_rollback() {
    let lab = Lab::up(&["web1", "wget"]);
    lab.config("");
    lab.sh("wget", "mv /usr/bin/curl /usr/bin/curl.away");
    for host in ["web1", "wget"] {
        lab.sh(host, "systemctl kill -s STOP listings-green");
    }
    let scene = rollback(&lab, &["--json"]);
    scene.exits(0);
    let end: serde_json::Value = serde_json::from_str(scene.stdout.lines().last().unwrap_or("")).expect("the end");
    let safe = end["traffic_safe_ms"].as_u64().unwrap_or(u64::MAX);
    scene.holds(safe < 6000, &format!("traffic is safe after {safe} ms"));
    for host in ["web1", "wget"] {
        scene.holds(served_by(&lab, host) == "blue", &format!("{host} is on blue"));
        scene.holds(unit(&lab, host, "listings-green") != "active", &format!("green of {host} is stopped"));
    }
}

#[test]
fn a_green_that_is_dead_or_dies_again_and_again_is_no_obstacle() {
    let lab = Lab::up(&["dead", "dying"]);
    lab.config("");
    lab.sh("dead", "systemctl stop listings-green");
    lab.sh(
        "dying",
        "sed -i -e 's|^ExecStart=.*|ExecStart=/bin/false|' -e 's|^Restart=.*|Restart=always\\nRestartSec=300ms\\nStartLimitIntervalSec=0|' \
           /etc/systemd/system/listings-green.service; systemctl daemon-reload; systemctl restart listings-green || true",
    );
    until("users see errors", || ["dead", "dying"].iter().all(|host| served_by(&lab, host) == "status 502"));
    let scene = rollback(&lab, &[]);
    scene.exits(0).says("green stopped");
    for host in ["dead", "dying"] {
        scene.holds(served_by(&lab, host) == "blue", &format!("{host} is on blue"));
        let state = unit(&lab, host, "listings-green");
        scene.holds(state == "inactive" || state == "failed", &format!("green of {host} is stopped for good: {state}"));
    }
}

#[test]
fn a_config_that_names_the_link_changes_the_file_behind_it() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace(FILE, "/etc/nginx/sites-enabled/listings"));
    let before = read(&lab, "web1", FILE);
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0);
    scene.holds(read(&lab, "web1", FILE) == rolled_back(&before), "the file is right");
    let link = lab.sh("web1", "readlink /etc/nginx/sites-enabled/listings");
    scene.holds(link == FILE, &format!("the link is still one: {link}"));
    scene.holds(lab.sh("web1", "ls -A /etc/nginx/sites-enabled") == "listings", "nothing lies beside it");
}

#[test]
fn a_request_without_end_is_cut_at_the_deadline_and_counted() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| {
        text.replace("timeout = \"10s\"\n\n[verify]", "timeout = \"2s\"\n\n[verify]").replace(
            "run.systemd = \"listings-green.service\"",
            "run.systemd = \"listings-green.service\"\nstop_timeout = \"1s\"",
        )
    });
    let ip = lab.ip("web1");
    let stream = thread::spawn(move || get(&ip, "/stream?ms=60000"));
    until("the stream runs", || lab.sh("web1", "ss -Htn state established '( dport = :8081 )' | wc -l") != "0");
    let scene = rollback(&lab, &[]);
    scene.exits(0).says("1 connection to green");
    scene.holds(scene.took < Duration::from_secs(20), "it does not wait for the end of the stream");
    let report = kept(&lab, "INCIDENT_REPORT.md");
    scene.holds(report.contains("1 connection to green"), &format!("the report counts it:\n{report}"));
    scene.holds(stream.join().expect("the stream ends").status == 0, "the stream was cut");
    scene.holds(unit(&lab, "web1", "listings-green") != "active", "green is stopped");
}

#[test]
fn traffic_is_safe_after_three_round_trips_to_each_host() {
    let lab = Lab::up(&["web1", "web2"]);
    lab.config("");
    for host in ["web1", "web2"] {
        // Counted by sshd, not by us.
        lab.sh(host, "echo 'LogLevel VERBOSE' >>/etc/ssh/sshd_config.d/lab.conf; systemctl restart ssh");
    }
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0);
    let safe =
        newest_journal(&lab).iter().find(|entry| entry["event"] == "traffic_safe").map(seconds).expect("it was safe");
    for host in ["web1", "web2"] {
        let sessions = lab.sh(host, "journalctl -q --no-pager -u ssh -o short-unix | grep 'Starting session: command'");
        let times = sessions.lines().filter_map(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        let before = times.filter(|time| *time < safe).count();
        scene.holds((1..=3).contains(&before), &format!("{host}: {before} sessions before {safe}:\n{sessions}"));
    }
}

#[test]
fn colours_that_answer_alike_are_told_apart_by_who_still_accepts() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    // No weight headers, no instance header, and the same body from both.
    let site: String = read(&lab, "web1", FILE)
        .lines()
        .filter(|line| !line.contains("add_header"))
        .map(|line| {
            format!(
                "{}\n",
                line.replace(
                    "proxy_http_version 1.1;",
                    "proxy_http_version 1.1;\n        proxy_hide_header X-Instance;"
                )
            )
        })
        .collect();
    write(&lab, "web1", FILE, &site);
    lab.sh(
        "web1",
        "sed -i 's/--port 8081/--colour blue --port 8081/' /etc/systemd/system/listings-green.service
         systemctl daemon-reload; systemctl restart listings-green; nginx -t && systemctl reload nginx
         for n in $(seq 500); do curl -fs -o /dev/null http://127.0.0.1:8081/health && exit; sleep 0.02; done; exit 1",
    );
    let load = Load::start(&lab.ip("web1"), "GET", "/", FEW);
    let scene = rollback(&lab, &[]);
    let counts = load.stop();
    scene.exits(0).says("look alike");
    nobody_noticed(&counts, &scene);
    scene.holds(read(&lab, "web1", FILE) == rolled_back(&site), "no headers were added");
    let asked = "grep -c 'GET / 200' /opt/listings/logs/blue.log";
    let (earlier, _) = (lab.sh("web1", asked), get(&lab.ip("web1"), "/"));
    scene.holds(lab.sh("web1", asked) != earlier, "blue answers");
    scene.holds(unit(&lab, "web1", "listings-green") == "inactive", "green is stopped");
}

#[test]
fn a_body_tells_blue_where_nginx_hides_the_instance_header() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let site = read(&lab, "web1", FILE)
        .replace("proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_hide_header X-Instance;");
    write(&lab, "web1", FILE, &site);
    lab.sh("web1", "nginx -t && systemctl reload nginx");
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0).never_says("look alike");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
}

/// An application whose answers to `/` bear a header that changes after so many of them, as one does that names the
/// process which gave it.
const ANSWERS_OF_SEVERAL: &str = r#"
import http.server, sys
asked, steady = 0, int(sys.argv[2])
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global asked
        asked += self.path == "/"
        self.send_response(200)
        self.send_header("X-Worker", "%s-%d" % (sys.argv[1], asked > steady))
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), Answer).serve_forever()
"#;

#[test]
fn a_mark_that_blue_itself_does_not_keep_is_none() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    install(&lab, "web1", "/opt/listings/several.py", ANSWERS_OF_SEVERAL);
    for (colour, port) in [("blue", 8080), ("green", 8081)] {
        // It is asked twice before the switch.
        let steady = if colour == "blue" { 2 } else { 1000 };
        let start = format!("ExecStart=\nExecStart=/usr/bin/python3 /opt/listings/several.py {colour} {steady} {port}");
        drop_in(&lab, "web1", &format!("listings-{colour}"), &start);
    }
    lab.sh("web1", "systemctl restart listings-blue listings-green");
    until("both listen", || lab.sh("web1", "ss -Hltn '( sport = :8080 or sport = :8081 )' | wc -l").trim() == "2");
    lab.sh("web1", "systemctl restart nginx");
    let worker = || get(&lab.ip("web1"), "/").header("X-Worker");
    assert_eq!(worker(), "green-0");
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0).never_says("look alike");
    scene.holds(worker() == "blue-1", "blue serves, with another mark than it had");
}

#[test]
fn an_answer_with_greens_mark_is_never_blues() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    // The file is loaded and its upstream is switched, but the site passes to another one.
    write(&lab, "web1", "/etc/nginx/conf.d/other.conf", "upstream other { server 127.0.0.1:8081; }\n");
    lab.sh(
        "web1",
        &format!("sed -i 's|http://listings_backend|http://other|' {FILE}; nginx -t && systemctl reload nginx"),
    );
    let before = read(&lab, "web1", FILE);
    let scene = rollback(&lab, &[]);
    scene.exits(3).says("still bear the mark of the side that must not serve").says("put back, as it was: on green");
    scene.holds(read(&lab, "web1", FILE) == before, "the file is as it was");
    scene.holds(served_by(&lab, "web1") == "green", "green serves");
    scene.holds(unit(&lab, "web1", "listings-green") == "active", "green was not stopped");
}

#[test]
fn one_answer_with_greens_mark_is_not_outvoted_by_a_few_of_blues() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    // What the site passes to sends every fifth request to green, whatever the upstream says that is switched.
    let other = "upstream other {\n    server 127.0.0.1:8099 weight=4;\n    server 127.0.0.1:8081;\n}\n\
                 server { listen 127.0.0.1:8099; access_log off; location / { proxy_pass http://listings_backend; } }\n";
    write(&lab, "web1", "/etc/nginx/conf.d/other.conf", other);
    lab.sh(
        "web1",
        &format!(
            "sed -i 's|http://listings_backend|http://other|' {FILE}
             sed -i 's/^worker_processes.*/worker_processes 1;/' /etc/nginx/nginx.conf
             nginx -t && systemctl reload nginx"
        ),
    );
    until("one worker is left", || lab.sh("web1", "pgrep -cf 'nginx: worke[r]'").trim() == "1");
    let before = read(&lab, "web1", FILE);
    let scene = rollback(&lab, &[]);
    scene.exits(3).says("still bear the mark of the side that must not serve").says("put back, as it was: on green");
    scene.holds(read(&lab, "web1", FILE) == before, "the file is as it was");
}

#[test]
fn a_file_of_the_same_name_that_nginx_does_not_load_is_refused_and_the_loaded_one_named() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let loaded = "/etc/nginx/sites-enabled/listings";
    // A copy where others have a link.
    lab.sh("web1", &format!("rm {loaded}; cp {FILE} {loaded}; nginx -t && systemctl reload nginx"));
    let before = read(&lab, "web1", FILE);
    for words in [&["--dry-run"][..], &[]] {
        let scene = rollback(&lab, words);
        scene.exits(1).says(&format!("nginx does not read {FILE}")).says(&format!("nginx.file = \"{loaded}\""));
    }
    assert_eq!(read(&lab, "web1", FILE), before);
    assert_eq!(served_by(&lab, "web1"), "green");

    // As it says. The other copy is as it was.
    lab.config_with(|text| text.replace(FILE, loaded));
    let load = Load::start(&lab.ip("web1"), "GET", "/", FEW);
    let scene = rollback(&lab, &[]);
    nobody_noticed(&load.stop(), &scene);
    scene.exits(0);
    scene.holds(read(&lab, "web1", loaded) == rolled_back(&before), "the file that is loaded is right");
    scene.holds(read(&lab, "web1", FILE) == before, "the other one is as it was");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
}

#[test]
fn a_file_that_nginx_reads_by_another_name_is_the_same_file() {
    let lab = Lab::up(&["web1"]);
    // The config goes through a link of a folder, nginx through one of the file that is called otherwise.
    lab.config_with(|text| text.replace(FILE, "/srv/nginx/listings"));
    lab.sh(
        "web1",
        &format!(
            "ln -s /etc/nginx/sites-available /srv/nginx; rm /etc/nginx/sites-enabled/listings
             ln -s {FILE} /etc/nginx/sites-enabled/00-shop; nginx -t && systemctl reload nginx"
        ),
    );
    let before = read(&lab, "web1", FILE);
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0).never_says("another file sends to green");
    scene.holds(read(&lab, "web1", FILE) == rolled_back(&before), "the file behind the links is right");
    scene.holds(lab.sh("web1", "readlink /etc/nginx/sites-enabled/00-shop").trim() == FILE, "the link is a link");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
}

#[test]
fn hosts_that_are_odd_each_in_their_own_way_are_all_switched() {
    let lab = Lab::up(&["fish", "wget", "noisy", "bare"]);
    lab.config("");
    lab.sh("fish", "usermod -s /usr/bin/fish deploy");
    lab.sh("wget", "mv /usr/bin/curl /usr/bin/curl.away");
    lab.sh("noisy", "printf 'echo Welcome to $HOSTNAME; echo on stderr >&2; printf no-newline\\n' | tee -a /home/deploy/.bashrc >/home/deploy/b; cat /home/deploy/.bashrc >>/home/deploy/b; mv /home/deploy/b /home/deploy/.bashrc");
    lab.sh(
        "bare",
        "for t in timeout nice unshare setsid ss ps free dmesg journalctl; do mv $(command -v $t) /root/; done",
    );
    let loads = ["fish", "wget", "noisy", "bare"].map(|host| (host, Load::start(&lab.ip(host), "GET", "/", FEW)));
    let scene = rollback(&lab, &[]);
    let counts = loads.map(|(host, load)| (host, load.stop()));
    scene.exits(0).says("traffic is safe: blue serves on 4 of 4 hosts");
    for (host, counts) in &counts {
        scene.holds(counts.bad.is_empty() && counts.blue > 0, &format!("nobody noticed on {host}: {counts:?}"));
        scene.holds(unit(&lab, host, "listings-green") == "inactive", &format!("green of {host} is stopped"));
    }
    // What is missing is said, not passed over.
    let report = kept(&lab, "INCIDENT_REPORT.md");
    scene.holds(report.contains("bare"), &format!("the report names the host without a journal:\n{report}"));
}

#[test]
fn a_file_in_conf_d_is_replaced_where_it_is() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace(FILE, "/etc/nginx/conf.d/listings.conf"));
    lab.sh("web1", &format!("mv {FILE} /etc/nginx/conf.d/listings.conf; rm /etc/nginx/sites-enabled/listings; nginx -t && systemctl reload nginx"));
    let before = read(&lab, "web1", "/etc/nginx/conf.d/listings.conf");
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0);
    scene.holds(read(&lab, "web1", "/etc/nginx/conf.d/listings.conf") == rolled_back(&before), "the file is right");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
    scene.holds(lab.sh("web1", "ls -A /etc/nginx/conf.d") == "listings.conf", "nothing lies beside it");
}

#[test]
fn two_servers_of_a_colour_are_switched_together() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| {
        text.replace("servers = [\"127.0.0.1:8080\"]", "servers = [\"127.0.0.1:8080\", \"127.0.0.1:8082\"]")
            .replace(
                "health = [\"http://127.0.0.1:8080/health\"]",
                "health = [\"http://127.0.0.1:8080/health\", \"http://127.0.0.1:8082/health\"]",
            )
            .replace("servers = [\"127.0.0.1:8081\"]", "servers = [\"127.0.0.1:8081\", \"127.0.0.1:8083\"]")
    });
    // Two processes in one unit, as a pre-forking server has them.
    lab.sh(
        "web1",
        &format!(
            "{TWO_PORTS}
         sed -i -e 's/server 127.0.0.1:8080 down;/&\\n    server 127.0.0.1:8082 down;/' \
           -e 's/server 127.0.0.1:8081 weight=100;/&\\n    server 127.0.0.1:8083 weight=100;/' /etc/nginx/sites-available/listings
         systemctl restart listings-blue listings-green; nginx -t && systemctl reload nginx
         for port in 8080 8081 8082 8083; do
           for n in $(seq 500); do curl -fs -o /dev/null http://127.0.0.1:$port/health && break; sleep 0.02; done
         done"
        ),
    );
    let load = Load::start(&lab.ip("web1"), "GET", "/", FEW);
    let scene = rollback(&lab, &[]);
    let counts = load.stop();
    scene.exits(0);
    nobody_noticed(&counts, &scene);
    let text = read(&lab, "web1", FILE);
    // Each is the other's way out.
    let blue = ["server 127.0.0.1:8080 weight=100;", "server 127.0.0.1:8082 weight=100;"];
    let green = ["server 127.0.0.1:8081 down;", "server 127.0.0.1:8083 down;"];
    scene.holds(blue.iter().chain(&green).all(|line| text.contains(line)), &format!("all four are right:\n{text}"));
    let listening = lab.sh("web1", "ss -Hltn '( sport = :8081 or sport = :8083 )'");
    scene.holds(listening.is_empty(), &format!("both greens are stopped: {listening}"));
}

/// A release that listens where the lab's own application cannot: on IPv6 or on a socket of the file system.
const ODD_APPLICATION: &str = r#"
import http.server, os, socket, sys
colour, address = sys.argv[1:]
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = (colour + "\n").encode()
        self.send_response(200)
        self.send_header("X-Instance", colour)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    address_family = socket.AF_UNIX if address.startswith("/") else socket.AF_INET6
    def server_bind(self):
        if address.startswith("/") and os.path.exists(address): os.remove(address)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
    def get_request(self):
        connection, peer = self.socket.accept()
        return connection, peer or ("unix", 0)
os.umask(0)
Server(address if address.startswith("/") else ("::1", int(address)), Answer).serve_forever()
"#;

/// Puts both colours, the site and the config on other addresses.
fn move_to(lab: &Lab, blue: (&str, &str), green: (&str, &str)) {
    install(lab, "web1", "/opt/listings/bin/odd.py", ODD_APPLICATION);
    for (colour, (server, address)) in [("blue", blue), ("green", green)] {
        let old = if colour == "blue" { "127.0.0.1:8080" } else { "127.0.0.1:8081" };
        lab.sh(
            "web1",
            &format!(
                "sed -i 's|^ExecStart=.*|ExecStart=/usr/bin/python3 /opt/listings/bin/odd.py {colour} {address}|' \\
                   /etc/systemd/system/listings-{colour}.service
                 sed -i 's|server {old} |server {server} |' {FILE}"
            ),
        );
    }
    lab.sh("web1", "systemctl daemon-reload; systemctl restart listings-blue listings-green");
    // Before nginx asks it: a worker that once found nobody there answers 502 for ten seconds.
    until("both colours listen", || {
        let all = lab.sh("web1", "ss -Hltn; ss -Hlxn");
        [blue.1, green.1].iter().all(|address| all.split_whitespace().any(|word| word.ends_with(address)))
    });
    lab.sh("web1", "nginx -t && systemctl restart nginx");
    until("the application is up on its new addresses", || served_by(lab, "web1") == "green");
}

#[test]
fn servers_on_ipv6_are_switched() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text.replace("127.0.0.1:8080", "[::1]:8080").replace("127.0.0.1:8081", "[::1]:8081"));
    move_to(&lab, ("[::1]:8080", "8080"), ("[::1]:8081", "8081"));
    let load = Load::start(&lab.ip("web1"), "GET", "/", FEW);
    let scene = rollback(&lab, &[]);
    let counts = load.stop();
    scene.exits(0);
    nobody_noticed(&counts, &scene);
    scene.holds(read(&lab, "web1", FILE).contains("server [::1]:8080 weight=100 max_fails=0;"), "the file is right");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
    scene.holds(lab.sh("web1", "ss -Hltn '( sport = :8081 )'").is_empty(), "green is stopped");
}

#[test]
fn servers_on_unix_sockets_are_switched() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| {
        text.replace("health = [\"http://127.0.0.1:8080/health\"]\n", "")
            .replace("127.0.0.1:8080", "unix:/opt/listings/blue.sock")
            .replace("127.0.0.1:8081", "unix:/opt/listings/green.sock")
    });
    let (blue, green) = ("/opt/listings/blue.sock", "/opt/listings/green.sock");
    move_to(&lab, (&format!("unix:{blue}"), blue), (&format!("unix:{green}"), green));
    let load = Load::start(&lab.ip("web1"), "GET", "/", FEW);
    let scene = rollback(&lab, &[]);
    let counts = load.stop();
    scene.exits(0);
    nobody_noticed(&counts, &scene);
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
    scene.holds(unit(&lab, "web1", "listings-green") != "active", "green is stopped");
}

/// A real rollback on an environment that is not prod, and what is left of it.
#[test]
fn a_drill_is_a_rollback_and_its_undo_with_a_score_and_prod_is_not_for_it() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("[drill]\nevery = \"90d\"\n[targets]\ntraffic = \"60s\"\n");
    std::fs::write(config.with_file_name("rollback.staging.toml"), "").expect("an overlay");
    let typed = |words: &[&str]| {
        let mut command = rollback_prod();
        command.args(words).arg("--config").arg(&config);
        Scene::of(&mut command, lab.folder())
    };
    let refused = typed(&["drill"]);
    refused.exits(1).says("prod is not the place for one").says("nothing was changed");
    typed(&["status"]).exits(0).says("a drill is overdue (none is on record");
    typed(&["check"]).says("a drill is overdue (none is on record");
    let before = lab.sh("web1", "cat /etc/nginx/sites-available/listings");

    let drill = typed(&["drill", "--env", "staging"]);
    drill
        .exits(0)
        .says("✓ rollback done and proven: traffic on blue")
        .says("✓ green stopped")
        .says("✓ taken back again: traffic on green");
    drill.says("✓ traffic safe on blue").says("(target 60 s: met)");
    let after = lab.sh("web1", "cat /etc/nginx/sites-available/listings");
    drill.holds(before == after, "the file is what it was, byte for byte");

    typed(&["status"]).exits(0).never_says("overdue");
    typed(&["history"]).exits(0).says("drill").says("undo of rollback-");
    let record = std::fs::read_to_string(lab.folder().join("incidents/drills.jsonl")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(record.trim()).expect("one line of JSON");
    assert_eq!((&record["drill"], &record["environment"]), (&"rollback".into(), &"staging".into()));
    assert!(record["rollback"].is_string() && record["undo"].is_string(), "{record}");
    let calendar = typed(&["drill", "--ics"]);
    calendar.exits(0).says("RRULE:FREQ=DAILY;INTERVAL=90");
}
