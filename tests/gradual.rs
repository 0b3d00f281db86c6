//! The gradual switch on real hosts: share after share under load, a release that is bad at its first share, a laptop that dies
//! in the middle, a rollback that comes between, and shares that nginx really gives.

#[path = "support/site.rs"]
mod site;
#[path = "support/mod.rs"]
mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use site::*;
use support::Scene;
use support::lab::Lab;
use support::until_within;

/// Judged by errors alone: times count only once caches are warm, which a test need not wait for.
const BY_ERRORS: &str = "[judge]\np99 = \"off\"\nslower = \"off\"\n";
/// Hosts whose logs name servers, and whose green has a health URL of its own.
fn hosts(names: &[&str], extra: &str) -> Lab {
    let lab = Lab::up(names);
    for name in names {
        logs_say_who(&lab, name);
    }
    lab.config_with(|text| {
        let green = "servers = [\"127.0.0.1:8081\"]\n";
        text.replace(green, &format!("{green}health = [\"http://127.0.0.1:8081/health\"]\n")) + extra
    });
    lab
}

fn switch(lab: &Lab, to: &str, words: &[&str]) -> Scene {
    let mut all = vec!["switch", "--to", to, "--reason", "release 1.4"];
    all.extend(words);
    run(lab, &all)
}

/// One that goes on while the test does something else, once it holds its first share.
fn holding(lab: &Lab, to: &str, words: &[&str]) -> Running {
    let mut all = vec!["switch", "--to", to, "--reason", "release 1.4"];
    all.extend(words);
    let mut running = begin_command(lab, &all);
    until("it holds a share", || running.said().contains("judge ") || running.is_over());
    assert!(!running.is_over(), "{}", running.said());
    running
}

/// How many of so many requests went to green, one after the other.
fn green_of(lab: &Lab, host: &str, requests: usize) -> usize {
    let said = lab.sh(
        host,
        &format!("for n in $(seq {requests}); do curl -s -m 5 -H 'Host: listings.example.com' http://127.0.0.1/; done"),
    );
    assert_eq!(said.lines().count(), requests, "every request has an answer");
    said.lines().filter(|line| *line == "green").count()
}

/// No process of a dead man is left on the host.
fn nobody_is_armed(lab: &Lab, host: &str) -> bool {
    lab.sh(host, "ls -d /run/rollback-prod/*/*.dead-man /run/lock/rollback-prod-*/*.dead-man 2>/dev/null || true")
        .is_empty()
}

#[test]
fn traffic_moves_share_by_share_and_a_bad_release_is_taken_back() {
    let lab = hosts(&["web1"], BY_ERRORS);
    let before = read(&lab, "web1", FILE);
    let users = users_inside(&lab, "web1");
    let load = lab.load("web1", "/");
    let moved = switch(&lab, "blue", &["--steps", "10,50,100", "--hold", "8s", "--hold-max", "60s"]);
    moved
        .exits(0)
        .says("blue 10 %: good: ")
        .says("blue 50 %: good: ")
        .says("blue 100 %: good: ")
        .says("production: traffic on blue on 1 of 1 host; green kept running");
    let counts = load.stop();
    nobody_noticed(&counts, &moved);
    users_lost_nothing(&lab, "web1", users, "while traffic moved");
    moved.holds(counts.blue > 100 && counts.green > 100, &format!("{counts:?}"));
    moved.holds(read(&lab, "web1", FILE) == rolled_back(&before), "the file is what a rollback would have made of it");
    let report = kept(&lab, "INCIDENT_REPORT.md");
    moved.holds(report.contains("100 % of the traffic on blue") && report.contains("## Judgement"), &report);
    until_within(150, "the dead man has ended by himself", || nobody_is_armed(&lab, "web1"));

    // It is taken back as a rollback is, byte for byte; and goes there once more, all at once.
    let undone = run(&lab, &["undo"]);
    undone.exits(0).says("traffic on green on 1 of 1 host");
    undone.holds(read(&lab, "web1", FILE) == before, "the file is back byte for byte");
    switch(&lab, "blue", &["--steps", "100", "--hold", "0s"]).exits(0);

    // A release that is well, and broken: its first share is its last.
    write(&lab, "web1", "/opt/listings/half.py", HALF_BROKEN);
    drop_in(&lab, "web1", "listings-green", "ExecStart=\nExecStart=/usr/bin/python3 /opt/listings/half.py");
    lab.sh("web1", "systemctl restart listings-green");
    until("it listens", || lab.sh("web1", "curl -s http://127.0.0.1:8081/health || true").contains("green"));
    let on_blue = read(&lab, "web1", FILE);
    let load = lab.load("web1", "/");
    let bad = switch(&lab, "green", &["--steps", "10,100", "--hold", "60s"]);
    let counts = load.stop();
    bad.exits(3)
        .says("green 10 %: bad: green 100.0 % of ")
        .says("worse, by chance less than once in")
        .says("production: traffic of web1 put back, as it was: on blue; blue untouched");
    bad.holds(read(&lab, "web1", FILE) == on_blue, "the file is back byte for byte");
    bad.holds(served_by(&lab, "web1") == "blue", "blue serves");
    // Of the release's own errors there were a few seconds of one in ten.
    bad.holds(counts.bad_statuses > 0 && counts.bad_statuses * 5 < counts.total, &format!("{counts:?}"));
    let folder = kept(&lab, "INCIDENT_REPORT.md");
    bad.holds(folder.contains("switch to green taken back"), &folder);
    let files = incident_files(&lab);
    bad.holds(files.iter().any(|file| file.starts_with("green-rollback-")), &format!("evidence of green: {files:?}"));
}

#[test]
fn whoever_is_gone_the_balancers_put_all_traffic_back() {
    let lab = hosts(&["web1", "web2"], BY_ERRORS);
    let before = ["web1", "web2"].map(|host| read(&lab, host, FILE));
    let is_back = || ["web1", "web2"].iter().zip(&before).all(|(host, text)| read(&lab, host, FILE) == *text);
    let users = users_inside(&lab, "web1");
    let words = ["--steps", "10,100", "--hold", "5m", "--dead-man", "10s"];

    // The program is killed.
    holding(&lab, "blue", &words).kill();
    assert!(!is_back(), "a share of it went to blue");
    let began = Instant::now();
    until("both balancers put all traffic back", is_back);
    assert!(began.elapsed() > Duration::from_secs(5), "not before its time: {:?}", began.elapsed());
    until("both have proven it", || {
        let state = "cat /run/rollback-prod/deploy/listings.dead-man/state";
        ["web1", "web2"].iter().all(|host| lab.sh(host, state).starts_with("put all traffic back at "))
    });
    run(&lab, &["--dry-run"]).exits(0).says("the dead man of a switch: put all traffic back at ");

    // The line is cut, and the laptop goes on.
    let mut running = holding(&lab, "blue", &words);
    lab.cut("web1");
    until("web1 is back", || read(&lab, "web1", FILE) == before[0]);
    assert!(read(&lab, "web2", FILE) != before[1], "web2 hears its laptop");
    lab.mend("web1");
    running.signal(Signal::INT);
    let exit = running.exit();
    assert!(exit == 130 || exit == 5, "{exit}\n{}", running.said());
    until("web2 is back, too", is_back);

    // The laptop loses its power: nobody says goodbye.
    let running = holding(&lab, "blue", &words);
    lab.cut("web1");
    lab.cut("web2");
    running.kill();
    until("both are back", is_back);
    lab.mend("web1");
    lab.mend("web2");
    users_lost_nothing(&lab, "web1", users, "whoever was gone");
    until("the way there is found again", || {
        ["web1", "web2"].iter().all(|host| lab.ssh(host, "true").status.success())
    });
    // The next run finds its way, and who was armed is told of and gone.
    rollback(&lab, &[]).exits(0);
}

#[test]
fn a_rollback_wins_and_a_switch_goes_on_from_the_share_it_finds() {
    let lab = hosts(&["web1"], BY_ERRORS);
    let before = read(&lab, "web1", FILE);
    // Nobody comes, so nobody knows; it stands still, and says until when.
    let open = switch(&lab, "blue", &["--steps", "10,50,100", "--hold", "2s", "--hold-max", "4s", "--dead-man", "2m"]);
    open.exits(8)
        .says("blue 10 %: not enough data: ")
        .says("production: traffic on blue 10 % and green 90 % on 1 of 1 host")
        .says("unless it goes on, all traffic goes back to green at ")
        .says("next:       rollback-prod switch --to blue --hold 2s --dead-man 2m --reason 'release 1.4'");
    run(&lab, &["status"]).exits(0).says("blue 10 %");
    let goes_on = switch(&lab, "blue", &["--steps", "5,10,50,100", "--dry-run"]);
    goes_on
        .exits(0)
        .says("give blue 10 % and prove it")
        .says("the dead man of a switch: armed")
        .never_says("give blue 5 %");
    let further = switch(&lab, "blue", &["--steps", "5,10,50", "--hold", "0s", "--dead-man", "2m"]);
    further.exits(0).says("traffic on blue 50 % and green 50 % on 1 of 1 host");
    // Back the other way, from where it stands.
    let back = switch(&lab, "green", &["--steps", "80,100", "--hold", "0s"]);
    back.exits(0).says("production: traffic on green on 1 of 1 host");
    let served = green_of(&lab, "web1", 20);
    back.holds(served == 20, &format!("{served} of 20"));
    // He never saw a share of his own: he waits for it a while longer.
    let began = Instant::now();
    while !nobody_is_armed(&lab, "web1") {
        assert!(began.elapsed() < Duration::from_secs(120), "who was armed has ended");
        std::thread::sleep(Duration::from_millis(500));
    }

    // A rollback comes while it holds.
    write(&lab, "web1", FILE, &before);
    lab.sh("web1", "systemctl reload nginx");
    let mut running = holding(&lab, "blue", &["--steps", "10,100", "--hold", "5m", "--dead-man", "10s"]);
    let won = rollback(&lab, &[]);
    won.exits(0).says("the lock is taken over from the live run of switch by ").says("traffic on blue on 1 of 1 host");
    let exit = running.exit();
    assert!(exit == 5 && running.said().contains("another run took the lock"), "{exit}\n{}", running.said());
    let rolled = read(&lab, "web1", FILE);
    // Whoever was armed sees that it is not his any more.
    std::thread::sleep(Duration::from_secs(14));
    won.holds(read(&lab, "web1", FILE) == rolled && served_by(&lab, "web1") == "blue", "it stays so");

    // Another switch does not.
    let mut running = {
        let mut command = program(&lab, &["switch", "--to", "green", "--reason", "a", "--steps", "10", "--hold", "1m"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start it")
    };
    until("it holds the lock", || run(&lab, &["status"]).stdout.contains("switch by "));
    switch(&lab, "green", &["--steps", "100"]).exits(1).says("another run holds the lock: switch by ");
    let pid = i32::try_from(running.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, Signal::INT).expect("interrupt it");
    let ended = running.wait().expect("it ends");
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn shares_are_what_nginx_gives_and_where_there_are_none_it_says_so() {
    let lab = hosts(&["web1"], BY_ERRORS);
    let before = read(&lab, "web1", FILE);
    for (workers, zone) in [(1, false), (4, false), (1, true), (4, true)] {
        let text = if zone {
            before.replacen("keepalive 16;", "zone listings 64k;\n    keepalive 16;", 1)
        } else {
            before.clone()
        };
        write(&lab, "web1", FILE, &text);
        lab.sh(
            "web1",
            &format!(
                "sed -i 's/^worker_processes .*/worker_processes {workers};/' /etc/nginx/nginx.conf
                 nginx -t 2>/dev/null && systemctl reload nginx"
            ),
        );
        for share in [10_usize, 50, 90] {
            // Under load, so that the run itself proves the share.
            let load = lab.load("web1", "/");
            let words = ["--steps", &share.to_string(), "--hold", "4s", "--hold-max", "60s", "--dead-man", "off"];
            let given = switch(&lab, "blue", &words);
            drop(load);
            given.exits(0).says(&format!("asked for {share} %")).never_says("not real");
            let blue = 200 - green_of(&lab, "web1", 200);
            let off = blue.abs_diff(share * 2);
            given.holds(off <= 2 * workers + 2, &format!("{workers} workers, zone {zone}, {share} %: {blue} of 200"));
        }
        switch(&lab, "green", &["--steps", "100", "--hold", "0s"]).exits(0);
    }
    // What the log shows is another share than the file says: somebody else passes requests to one side alone.
    write(
        &lab,
        "web1",
        FILE,
        &before.replacen("proxy_pass http://listings_backend;", "proxy_pass http://127.0.0.1:8081;", 1),
    );
    lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
    let load = lab.load("web1", "/");
    let unreal = switch(&lab, "blue", &["--steps", "50,100", "--hold", "10s"]);
    drop(load);
    unreal.exits(3).says("blue, asked for 50 %: bad");

    // Where the client decides, a share is none of the requests.
    write(&lab, "web1", FILE, &before.replacen("keepalive 16;", "ip_hash;\n    keepalive 16;", 1));
    lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
    switch(&lab, "blue", &[]).exits(1).says("with `ip_hash` the client decides who answers").says("--steps 100");
    switch(&lab, "blue", &["--steps", "100", "--dry-run"]).exits(0);
    // No log that tells.
    write(&lab, "web1", FILE, &before.replace("rollback.log rollback;", "access.log combined;"));
    lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
    switch(&lab, "blue", &[])
        .exits(1)
        .says("no access log says which server a request went to")
        .says("log_format rollback '$msec|");
    switch(&lab, "blue", &["--hold", "0s", "--dry-run"]).exits(0);
    // Flags that contradict each other.
    switch(&lab, "blue", &["--steps", "50,10"]).exits(2);
    switch(&lab, "blue", &["--steps", "0,10"]).exits(2);
    switch(&lab, "blue", &["--hold", "5m", "--hold-max", "1m"]).exits(2);
    run(&lab, &["switch", "--to", "blue"]).exits(2).says("a switch needs a reason");
    run(&lab, &["switch", "--to", "red", "--reason", "a"]).exits(2);
}
