//! Judging real hosts: nginx's own logs under real load, a green that fails, a log that is rotated while it is read, and a blue
//! that is baked.

#[path = "support/http.rs"]
mod http;
#[path = "support/site.rs"]
mod site;
#[path = "support/mod.rs"]
mod support;

use http::{Server, Temper};
use site::{
    FILE, LOG_FORMAT, begin, begin_command, green_answers, incidents, install, kept, program, read, rollback, run,
    served_by, until, write,
};
use support::lab::Lab;
use support::{Scene, until_within};

/// What green answers as a release that is broken.
const BROKEN: &str = "c.sendall(b'HTTP/1.1 500 X\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n')";

/// Green gets one request in ten, and the log says which.
fn canary(lab: &Lab, format: &str) {
    write(lab, "web1", "/etc/nginx/conf.d/rollback.conf", LOG_FORMAT);
    let site = read(lab, "web1", FILE)
        .replace("server 127.0.0.1:8080 down;", "server 127.0.0.1:8080 weight=9;")
        .replace("server 127.0.0.1:8081 weight=100;", "server 127.0.0.1:8081 weight=1;")
        .replace("access_log /var/log/nginx/access.log combined;", format);
    write(lab, "web1", FILE, &site);
    lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
}

const LOG: &str = "access_log /var/log/nginx/rollback.log rollback;";

fn watch(lab: &Lab, words: &[&str]) -> Scene {
    let mut all = vec!["watch"];
    all.extend(words);
    run(lab, &all)
}

/// The last judgement of a run with `--json`.
fn last_judgement(scene: &Scene) -> serde_json::Value {
    let mut lines = scene.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let line = lines.rfind(|line| line["step"] == "judge" && !line["judgement"].is_null());
    line.expect("a judgement")["judgement"].clone()
}

#[test]
fn a_bad_release_is_seen_and_rolled_back_with_its_figures_as_the_reason() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let file = read(&lab, "web1", FILE);
    canary(&lab, LOG);
    green_answers(&lab, "web1", BROKEN);
    // Nobody comes: its health alone says it.
    let seen = watch(&lab, &["--for", "2m"]);
    seen.exits(7)
        .says("green is bad: green on web1: http://127.0.0.1:8081/ answers 500, 3 times in a row: bad; nothing was changed")
        .says("traffic on blue 90 % and green 10 % on 1 of 1 host");
    // By its requests.
    run(&lab, &["assess"]).exits(7).says("P0: roll back now: green on web1: ");
    let users = lab.load("web1", "/");
    let server = Server::start(Temper::Says(200, "", "ok"));
    let somebody = format!(
        "[judge]\nhealth = 1000\n[notify]\nwebhook = [{{ url = \"http://127.0.0.1:{}/\" }}]\n[contacts]\nescalate = [{{ after = \"1s\", name = \"team lead\" }}, \
         {{ after = \"5s\", name = \"head\" }}, {{ after = \"1h\", name = \"nobody yet\" }}]\n",
        server.port
    );
    lab.config(&somebody);
    let seen = watch(&lab, &["--for", "2m", "--no-page"]);
    seen.exits(7).never_says("is called").says("at the same time: worse, by chance less than once in");
    let assessed = run(&lab, &["assess"]);
    assessed.exits(7).says("worse_by     green 100.0 % of ").says("severity     P0").says("--severity P0");
    assessed.holds(assessed.took < std::time::Duration::from_secs(8), &format!("{:?}", assessed.took));
    seen.holds(incidents(&lab).is_empty() && server.seen().is_empty(), "a watch that only looks leaves nothing");
    // Where the config says whom to call, one after the other is, each once, also by a watch that goes on for one that was killed.
    let told = |event: &str| -> Vec<String> {
        let bodies = server.seen().into_iter().filter_map(|request| serde_json::from_str(&request.body).ok());
        let of_it = bodies.filter(|body: &serde_json::Value| body["event"] == event);
        of_it.map(|body| body["title"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut killed = begin_command(&lab, &["watch", "--for", "2m"]);
    until_within(150, "the first one is called", || told("watch.paged").len() == 1);
    killed.signal(rustix::process::Signal::KILL);
    killed.exit();
    let mut calling = begin_command(&lab, &["watch", "--for", "2m"]);
    until_within(150, "the second one is called", || told("watch.paged").len() == 2 || calling.is_over());
    assert_eq!(told("watch.paged").len(), 2, "{}", calling.said());
    // Where only root may read the log, he reads it for us.
    lab.sh("web1", "chmod 600 /var/log/nginx/rollback.log");
    let back = watch(&lab, &["--for", "2m", "--rollback", "--reason", "canary of 1.4"]);
    back.exits(0).says("production: traffic on blue on 1 of 1 host");
    back.holds(served_by(&lab, "web1") == "blue", "blue serves");
    let report = kept(&lab, "INCIDENT_REPORT.md");
    back.holds(report.contains("canary of 1.4: green") && report.contains("## Judgement"), &report);
    back.holds(report.contains("worse, by chance less than once in"), &report);
    // Its time counts from the verdict, not from the beginning of the watch.
    back.never_says("MISSED");
    // Somebody is at it: nobody else is called, and whoever was knows.
    assert_eq!(calling.exit(), 8, "{}", calling.said());
    assert!(calling.said().contains("who gets traffic has changed meanwhile"), "{}", calling.said());
    let called = told("watch.paged");
    let is_called = |n: usize, name: &str| called[n].contains("green is bad for ") && called[n].ends_with(name);
    assert!(called.len() == 2 && is_called(0, "team lead is called") && is_called(1, "head is called"), "{called:?}");
    assert_eq!((told("watch.bad").len(), told("watch.resolved").len()), (1, 1), "{:?}", server.seen());
    lab.config("[judge]\nhealth = 1000\n");
    drop(users);
    // Never twice for one release.
    watch(&lab, &["--rollback", "--reason", "canary of 1.4"]).exits(1).says("green gets no traffic");
    run(&lab, &["assess"]).exits(0).says("not a rollback situation: green gets no traffic");
    // Nobody consents by nothing.
    watch(&lab, &["--rollback"]).exits(2);
    watch(&lab, &["--rollback", "--reason", " "]).exits(2).says("a rollback needs a reason");
    watch(&lab, &["--for", "99y"]).exits(2).says("it is from 1s to 7d");
    // What serves alone is judged by its own limits; nobody comes, and that is no verdict.
    let quiet = watch(&lab, &["--for", "6s"]);
    quiet.exits(8).says("not enough data to judge blue");
    // A log that names no server judges nobody while both get requests.
    write(&lab, "web1", FILE, &file);
    canary(&lab, "access_log /var/log/nginx/access.log combined;");
    lab.sh("web1", "systemctl start listings-green");
    let _users = lab.load("web1", "/");
    watch(&lab, &["--for", "8s"]).exits(8).says("no access log says which server a request went to");
    run(&lab, &["check"]).says("log_format rollback '$msec|").says("access_log /var/log/nginx/listings.rollback.log");
}

#[test]
fn a_good_release_is_good_across_rotation_and_a_blue_that_fails_is_not_baked() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    canary(&lab, LOG);
    let users = lab.load("web1", "/");
    let watched = {
        let mut command = program(&lab, &["watch", "--for", "24s", "--json"]);
        let folder = lab.folder().to_owned();
        let watching = std::thread::spawn(move || Scene::of(&mut command, &folder));
        std::thread::sleep(std::time::Duration::from_secs(8));
        // As logrotate does it, and as `copytruncate` does; with a line of a stranger between.
        lab.sh("web1", "cd /var/log/nginx; printf 'no line of\\033[31m ours\\n' >>rollback.log; mv rollback.log rollback.log.1; kill -USR1 $(cat /run/nginx.pid)");
        std::thread::sleep(std::time::Duration::from_secs(5));
        lab.sh("web1", "cd /var/log/nginx; cp rollback.log rollback.log.2; : >rollback.log");
        watching.join().expect("it ends")
    };
    watched.keeps_to_the_schema();
    watched.exits(0).says("another file has the name now").says("the file was cut").says("ours");
    let judgement = last_judgement(&watched);
    let tried = |colour: &str| judgement["sides"][colour]["tried"].as_u64().expect("a count") as f64;
    // What nginx gave green is one in ten, to the request; what was lost while the log was cut is little.
    let share = tried("green") / (tried("green") + tried("blue"));
    watched.holds((0.095..0.105).contains(&share) && tried("blue") > 300.0, &judgement.to_string());
    watched.holds(judgement["sides"]["blue"]["p95_ms"].is_u64(), &judgement.to_string());

    // Baked: blue alone, by limits of its own.
    let baked = rollback(&lab, &["--bake", "20s"]);
    baked.exits(0);
    let report = kept(&lab, "INCIDENT_REPORT.md");
    baked.holds(report.contains("- [x] blue is baked for 20s: blue"), &report);
    // Ctrl-C: traffic stays, and it is not baked.
    let mut running = begin(&lab, &["--bake", "5m"]);
    until("it judges", || running.said().contains("judge "));
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.exit(), 130, "{}", running.said());
    assert!(running.said().contains("traffic on blue on 1 of 1 host"), "{}", running.said());
    assert!(kept(&lab, "INCIDENT_REPORT.md").contains("- [ ] blue is not baked: interrupted"));
    // Blue goes bad while it is baked.
    lab.config("[judge]\nwindow = \"10s\"\n");
    let mut running = begin(&lab, &["--bake", "2m"]);
    until("it judges", || running.said().contains("judge "));
    let broken = lab.load("web1", "/die");
    assert_eq!(running.exit(), 4, "{}", running.said());
    assert!(running.said().contains("blue is judged bad: "), "{}", running.said());
    drop((users, broken));
}

#[test]
fn a_sides_own_log_is_counted_from_where_it_was_and_beside_the_others() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    canary(&lab, LOG);
    // What was there before is of another time.
    let log = |colour: &str, line: &str, times: usize| {
        lab.sh("web1", &format!("for n in $(seq {times}); do echo '{line}' >>/opt/listings/logs/{colour}.log; done"));
    };
    log("green", "ERROR of yesterday", 50);
    let clean = watch(&lab, &["--for", "14s"]);
    clean.exits(8).never_says("bad");
    // The release complains; so do both, which is not the release's.
    let complains = |who: &[&str], words: &[&str]| {
        let mut watching = begin_command(&lab, &[&["watch", "--for", "30s"], words].concat());
        until("it has begun", || watching.said().contains("judge "));
        who.iter().for_each(|colour| log(colour, "2026-11-20 Panic: \\033[31m no such listing", 20));
        (watching.exit(), watching.said())
    };
    let (exit, said) = complains(&["green"], &[]);
    assert!(
        exit == 7
            && said.contains("web1: 20 of ")
            && said.contains("lines of green's log match: bad, limit 10 of 1,000"),
        "{exit} {said}"
    );
    let (exit, said) = complains(&["green", "blue"], &[]);
    assert!(exit != 7, "{exit} {said}");
    // Cut meanwhile, it is read from its beginning; and a pattern of one's own, or none.
    lab.config("[judge]\nlog_errors = \"2/100\"\nlog_pattern = \"no such\"\n");
    let mut watching = begin_command(&lab, &["watch", "--for", "1m"]);
    until("it has begun", || watching.said().contains("judge "));
    lab.sh("web1", "cd /opt/listings/logs; printf 'a\\nb no such c\\nno such d\\nno such e\\n' >green.log");
    assert_eq!(watching.exit(), 7, "{}", watching.said());
    lab.config("[judge]\nlog_errors = \"off\"\n");
    let (exit, said) = complains(&["green"], &[]);
    assert_eq!(exit, 8, "{said}");
    lab.config("[judge]\nlog_errors = \"10\"\n");
    watch(&lab, &[]).exits(2).says("judge.log_errors: \"10\" is not so many of so many lines");
    lab.config("[judge]\nlog_pattern = \"(?x)a\"\n");
    watch(&lab, &[]).exits(2).says("is no pattern for grep -E");
}

/// Lines of the log in its format, `ahead` seconds ahead of the clock that this machine has, until the file `stop` is there.
const WRITER: &str = r#"
import sys, time
ahead, path = float(sys.argv[1]), "/var/log/nginx/rollback.log"
while True:
    with open(path, "a") as log:
        for n in range(20):
            status, server = (500, 8081) if n % 2 else (200, 8080)
            log.write(f"{time.time() + ahead:.3f}|10.0.0.{n}|{status}|127.0.0.1:{server}|{status}|0.005|0.005\n")
    time.sleep(0.2)
"#;

#[test]
fn a_log_may_lie_break_or_go_and_nothing_is_judged_by_what_it_does_not_say() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    canary(&lab, LOG);
    write(&lab, "web1", "/opt/listings/writer.py", WRITER);
    let writes =
        |ahead: &str| lab.sh("web1", &format!("systemd-run -q --unit=writer python3 /opt/listings/writer.py {ahead}"));
    let stops = || lab.sh("web1", "systemctl stop writer 2>/dev/null; systemctl reset-failed writer 2>/dev/null; true");

    // A host whose clock is an hour off, and so are the times in its log: its counts are of now all the same.
    install(&lab, "web1", "/usr/local/bin/date", "#!/bin/sh\nexec /bin/date -d '+1 hour' \"$@\"\n");
    writes("3600");
    let ahead = watch(&lab, &["--for", "1m"]);
    ahead
        .exits(7)
        .says("web1: its clock is ")
        .says("s off; its log's times are set right by that")
        .says("green 100.0 % of ");
    stops();
    lab.sh("web1", "rm /usr/local/bin/date");

    // What is no line of its format, has no end, or moves a terminal: said once, and no verdict.
    let mut watching = begin_command(&lab, &["watch", "--for", "16s"]);
    until("it has begun", || watching.said().contains("judge "));
    lab.sh(
        "web1",
        r#"cd /var/log/nginx; head -c 1000000 /dev/zero | tr '\0' x >>rollback.log; printf '\n\033[2J\033[31mmine\n' >>rollback.log
           printf '1.0|2|500|127.0.0.1:8081|500|0.1|0.1\nno end of line' >>rollback.log"#,
    );
    assert_eq!(watching.exit(), 8, "{}", watching.said());
    let said = watching.said();
    assert!(said.contains("there are lines that are not of the format in force"), "{said}");
    assert!(!said.contains('\u{1b}'), "nothing moves a terminal: {said:?}");

    // A reload that changes the format: what comes then is not read as what it is not.
    let users = lab.load("web1", "/die");
    let mut watching = begin_command(&lab, &["watch", "--for", "14s"]);
    until("it has begun", || watching.said().contains("judge "));
    write(&lab, "web1", "/etc/nginx/conf.d/rollback.conf", "log_format rollback '$remote_addr says $request';\n");
    lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
    let exit = watching.exit();
    let said = watching.said();
    assert!([7, 8].contains(&exit) && said.contains("not of the format in force"), "{exit} {said}");
    drop(users);

    // It goes while it is read, and comes again.
    write(&lab, "web1", "/etc/nginx/conf.d/rollback.conf", LOG_FORMAT);
    lab.sh("web1", "nginx -t 2>/dev/null && systemctl reload nginx");
    let mut watching = begin_command(&lab, &["watch", "--for", "40s"]);
    until("it has begun", || watching.said().contains("judge "));
    lab.sh("web1", "rm /var/log/nginx/rollback.log");
    std::thread::sleep(std::time::Duration::from_secs(3));
    writes("0");
    assert_eq!(watching.exit(), 7, "{}", watching.said());
    stops();
}
