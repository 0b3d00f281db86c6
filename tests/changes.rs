//! What else of a release goes back, on real hosts and here: files, flags, restarts; what cannot be made leaves nothing
//! behind; whoever dies meanwhile; and hooks, whatever they do.

#[path = "support/site.rs"]
mod site;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use rustix::process::Signal;
use site::*;
use support::Scene;
use support::lab::Lab;

/// A blue that is what its environment says, and is ill where that says so.
const BLUE: &str = r#"
import http.server, os
class Blue(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        mode = os.environ.get("MODE", "none")
        body = (mode if self.path == "/mode" else "blue").encode() + b"\n"
        self.send_response(500 if mode == "broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Instance", "blue")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Blue).serve_forever()
"#;

/// A command that leaves a trace of what it was given, and of who could have seen that.
const FLAG: &str = r#"#!/bin/sh
[ "$ADMIN_TOKEN" = "tok-5f1e7c4b9a" ] || { echo "no token"; exit 9; }
echo "the flag is $1 now; token $ADMIN_TOKEN"
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' >/opt/listings/seen
grep -rls "$ADMIN_TOKEN" /run /tmp /dev/shm /var/tmp /home /opt/listings/flag >/opt/listings/disk
echo "$1" >/opt/listings/flag
echo "$1" >>/opt/listings/calls
env | grep ^ROLLBACK_ >/opt/listings/told
"#;

const CHANGES: &str = r#"
[change.env]
on      = "app"
files   = [{ put = "/opt/listings/.env.blue.old", in = "/opt/listings/.env.blue" }]
restart = "blue"
check   = ["sh", "-c", "curl -fsS http://127.0.0.1:8080/mode | grep -qx old"]
[change.flag]
on    = ["web1"]
run   = ["/opt/listings/flag.sh", "off"]
undo  = ["/opt/listings/flag.sh", "on"]
check = ["grep", "-qx", "off", "/opt/listings/flag"]
env   = { ADMIN_TOKEN = "$ADMIN_TOKEN" }
[change.local]
on    = "here"
run   = ["git", "checkout", "-q", "before", "--", "flags.json"]
undo  = ["git", "checkout", "-q", "HEAD", "--", "flags.json"]
check = ["git", "diff", "--quiet", "before", "--", "flags.json"]
cwd   = "repository"
"#;

/// Hosts with such a blue, and everything that the config's changes name.
fn hosts(names: &[&str], extra: &str) -> Lab {
    let lab = Lab::up(names);
    for name in names {
        write(&lab, name, "/opt/listings/blue.py", BLUE);
        write(&lab, name, "/opt/listings/.env.blue", "MODE=new\nDB_PASSWORD=hunter2hunter2\n");
        write(&lab, name, "/opt/listings/.env.blue.old", "MODE=old\nDB_PASSWORD=hunter3hunter3\n");
        // Whoever deploys writes it as root, for the service alone.
        lab.sh(name, "chown root:www-data /opt/listings/.env.blue && chmod 640 /opt/listings/.env.blue");
        lab.sh(name, "chmod 600 /opt/listings/.env.blue.old");
        install(&lab, name, "/opt/listings/flag.sh", FLAG);
        lab.sh(name, "echo on >/opt/listings/flag && chown -R deploy /opt/listings/flag && cd /opt/listings && touch seen told disk calls && chmod 666 seen told disk calls");
        drop_in(
            &lab,
            name,
            "listings-blue",
            "EnvironmentFile=/opt/listings/.env.blue\nExecStart=\nExecStart=/usr/bin/python3 /opt/listings/blue.py",
        );
        lab.sh(name, "systemctl restart listings-blue");
        until("blue is there", || mode(&lab, name) == "new");
    }
    let git =
        "mkdir repository && cd repository && git init -q && git config user.email a@b.c && git config user.name x &&
        echo '{\"checkout\":false}' >flags.json && git add . && git commit -qm before && git tag before &&
        echo '{\"checkout\":true}' >flags.json && git commit -qam after";
    let made = std::process::Command::new("sh").args(["-c", git]).current_dir(lab.folder()).status();
    assert!(made.is_ok_and(|status| status.success()), "a repository");
    std::fs::write(lab.folder().join(".env.deploy"), "ADMIN_TOKEN=tok-5f1e7c4b9a\n").expect("write variables");
    lab.config_with(|text| text + CHANGES + extra);
    lab
}

fn mode(lab: &Lab, host: &str) -> String {
    lab.sh(host, "curl -s -m 2 http://127.0.0.1:8080/mode || true").trim().to_owned()
}

fn env_file(lab: &Lab, host: &str) -> (String, String) {
    let file = "/opt/listings/.env.blue";
    (read(lab, host, file), lab.sh(host, &format!("stat -c '%U:%G %a' {file}")).trim().to_owned())
}

fn flags(lab: &Lab) -> String {
    std::fs::read_to_string(lab.folder().join("repository/flags.json")).expect("read the flags")
}

fn partial(lab: &Lab, words: &[&str]) -> Scene {
    let mut all = vec!["partial"];
    all.extend(words);
    all.extend(["--reason", "the checkout of 1.4"]);
    run(lab, &all)
}

#[test]
fn what_else_a_release_changed_goes_back_and_undo_takes_that_back() {
    let lab = hosts(&["web1", "web2"], "");
    let (before, owner) = env_file(&lab, "web1");
    let site = read(&lab, "web1", FILE);
    run(&lab, &["check"]).exits(0);

    // Looked at first: what would change, without what nobody may read.
    let dry = run(&lab, &["partial", "env", "flag", "local", "--dry-run"]);
    dry.exits(0).says("-MODE=new").says("+MODE=old").never_says("hunter2").never_says("tok-5f1e");
    dry.says("make change env on web1, web2").says("next:       rollback-prod partial env flag local --reason");
    assert_eq!(env_file(&lab, "web1").0, before);

    let done = partial(&lab, &["env", "flag", "local"]);
    done.exits(0)
        .says("traffic untouched, on green on 2 of 2 hosts")
        .says("change env made; change flag made on web1; change local made")
        .never_says("hunter2")
        .never_says("tok-5f1e");
    let (text, owner_after) = env_file(&lab, "web1");
    done.holds(text.starts_with("MODE=old\n") && owner_after == owner, &format!("{text}{owner_after}"));
    done.holds(mode(&lab, "web1") == "old" && mode(&lab, "web2") == "old", "blue has what the file says");
    done.holds(
        read(&lab, "web1", "/opt/listings/.env.blue.old").starts_with("MODE=old"),
        "what was put is there still",
    );
    done.holds(
        read(&lab, "web1", "/opt/listings/..env.blue.before-rollback") == before,
        "what it was is kept beside it",
    );
    done.holds(read(&lab, "web1", "/opt/listings/flag") == "off\n", "the flag is off");
    done.holds(flags(&lab).contains("false"), "the flag of the repository is off");
    done.holds(read(&lab, "web1", FILE) == site && served_by(&lab, "web1") == "green", "traffic stays");
    let seen = read(&lab, "web1", "/opt/listings/seen");
    done.holds(!seen.contains("tok-5f1e"), &format!("nobody could read the token: {seen}"));
    done.holds(read(&lab, "web1", "/opt/listings/disk").is_empty(), "it was on no disk");
    let told = read(&lab, "web1", "/opt/listings/told");
    for line in
        ["ROLLBACK_FROM=green", "ROLLBACK_TO=blue", "ROLLBACK_STEP=change flag", "ROLLBACK_REASON=the checkout of 1.4"]
    {
        done.holds(told.contains(line), &format!("{line} in {told}"));
    }
    let report = kept(&lab, "INCIDENT_REPORT.md");
    done.holds(
        report.contains("partial rollback of env, flag, local: done")
            && report.contains("the flag is off now; token [REDACTED]"),
        &report,
    );
    let files = incident_files(&lab);
    done.holds(files.iter().any(|file| file == "web1.change-env.1.before"), &format!("{files:?}"));
    done.holds(kept(&lab, "web1.change-env.1.before") == before, "what was replaced is in the folder");
    done.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));

    // Once more: it is in force, and nothing is done.
    let again = partial(&lab, &["env", "flag", "local"]);
    again
        .exits(0)
        .says("change env in force already; change flag in force already on web1; change local in force already");

    let undone = run(&lab, &["undo"]);
    undone.exits(0).says("traffic untouched, on green").says("change env taken back");
    undone.holds(env_file(&lab, "web1") == (before.clone(), owner.clone()), "the file is back, byte for byte");
    undone.holds(
        mode(&lab, "web2") == "new" && read(&lab, "web1", "/opt/listings/flag") == "on\n",
        "and all of the rest",
    );
    undone.holds(flags(&lab).contains("true"), "here, too");

    // In a rollback: blue has it before it gets traffic.
    let load = lab.load("web1", "/");
    let with = rollback(&lab, &["--with", "env,flag"]);
    let counts = load.stop();
    with.exits(0).says("traffic on blue on 2 of 2 hosts; green stopped; change env made; change flag made on web1");
    nobody_noticed(&counts, &with);
    with.holds(mode(&lab, "web1") == "old" && served_by(&lab, "web1") == "blue", "blue serves with its old file");
    let undone = run(&lab, &["undo"]);
    undone.exits(0).says("traffic on green on 2 of 2 hosts");
    undone.holds(env_file(&lab, "web1").0 == before && mode(&lab, "web1") == "new", "and its file is back");
    undone.holds(read(&lab, "web1", FILE) == site, "as is nginx's");
}

const TROUBLE: &str = r#"
[change.ill]
on      = "app"
files   = [{ put = "/opt/listings/.env.ill", in = "/opt/listings/.env.blue" }]
restart = "blue"
[change.nowhere]
on    = "app"
files = [{ put = "/opt/listings/.env.gone", in = "/opt/listings/.env.blue" }]
[change.fails]
on  = ["web1"]
run = ["sh", "-c", "echo it is too late; exit 3"]
[change.half]
on    = ["web1"]
files = [{ put = "/opt/listings/.env.blue.old", in = "/opt/listings/.env.blue" }, { put = "/opt/listings/.env.blue.old", in = "/opt/listings/new.env" }]
run   = ["sh", "-c", "exit 4"]
[change.hangs]
on      = ["web1"]
run     = ["sh", "-c", "sleep 300 & sleep 300"]
undo    = ["true"]
timeout = "2s"
[change.floods]
on      = ["web1"]
run     = ["sh", "-c", "yes 'a line that is quite long, as lines go' | head -c 2000000000; printf 'done \\033[31m'"]
undo    = ["true"]
[change.theirs]
on    = ["web1"]
files = [{ put = "/srv/app/new", in = "/srv/app/old" }]
[change.linked]
on    = ["web1"]
files = [{ put = "/srv/app/new", in = "/srv/app/link" }]
[change.oneway]
on  = ["web1"]
run = ["true"]
[change.rooted]
on      = ["web1"]
run     = ["sudo", "-n", "sleep", "333"]
undo    = ["true"]
timeout = "2s"
[change.leaks]
on  = ["web1"]
run = ["sh", "-c", 'echo "401 for $ADMIN_TOKEN"; exit 8']
env = { ADMIN_TOKEN = "$ADMIN_TOKEN" }
[change.slow]
on    = ["web1"]
files = [{ put = "/opt/listings/.env.blue.old", in = "/opt/listings/.env.blue" }]
run   = ["sleep", "6"]
undo  = ["true"]
"#;

#[test]
fn what_cannot_be_made_leaves_nothing_behind() {
    let lab = hosts(&["web1"], TROUBLE);
    write(&lab, "web1", "/opt/listings/.env.ill", "MODE=broken\n");
    let before = env_file(&lab, "web1");
    let as_before = |scene: &Scene| {
        scene.holds(env_file(&lab, "web1") == before, "the file is as it was");
        scene.holds(mode(&lab, "web1") == "new", "blue is as it was");
        scene.holds(leftovers(&lab, "web1").is_empty(), &leftovers(&lab, "web1"));
    };
    let ill = partial(&lab, &["ill"]);
    as_before(ill.exits(3).says("change ill taken back").says("blue was started and is not well"));
    let nowhere = partial(&lab, &["nowhere"]);
    as_before(nowhere.exits(1).says("web1: change nowhere: there is no /opt/listings/.env.gone"));
    run(&lab, &["check"]).exits(1).says("there is no /opt/listings/.env.gone");
    // All or nothing: what was made before it goes back, too.
    let both = partial(&lab, &["flag", "ill"]);
    as_before(both.exits(3).says("change flag taken back on web1; change ill taken back"));
    both.holds(read(&lab, "web1", "/opt/listings/flag") == "on\n", "the flag is as it was");
    let twice = partial(&lab, &["env", "ill"]);
    as_before(twice.exits(1).says("change ill replaces /opt/listings/.env.blue, which change env replaces, too"));
    // One without a way back that fails may have done something.
    let fails = partial(&lab, &["flag", "fails"]);
    as_before(fails.exits(5).says("its command ended with 3: it is too late").says("change fails NOT KNOWN"));
    fails.holds(read(&lab, "web1", "/opt/listings/flag") == "on\n", "the other one is taken back");
    let half = partial(&lab, &["half"]);
    as_before(half.exits(3).says("its command ended with 4"));
    half.holds(lab.sh("web1", "ls /opt/listings/new.env 2>&1 || true").contains("No such file"), "it is gone again");
    let hangs = partial(&lab, &["hangs"]);
    as_before(hangs.exits(3).says("its command had not ended after 2 s, and was ended"));
    hangs.holds(!lab.sh("web1", "pgrep -fa 'sleep 30[0]' || true").contains("sleep"), "and all that it began");
    let floods = partial(&lab, &["floods"]);
    as_before(floods.exits(0).says("change floods made"));
    let journal = kept(&lab, "journal.jsonl");
    floods.holds(journal.len() < 100_000, &format!("{} bytes of journal", journal.len()));

    // Whose rights are not enough is told which.
    write(&lab, "web1", "/etc/sudoers.d/deploy", "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl\n");
    let refused = partial(&lab, &["env"]);
    as_before(
        refused
            .exits(1)
            .says("sudo does not allow deploy: ")
            .says("/usr/bin/tee /opt/listings/..env.blue.rollback-prod"),
    );
    let lines: String = String::from_utf8_lossy(&Vec::from(refused.stderr.as_bytes()))
        .lines()
        .filter_map(|line| {
            Some(format!("{}\n", line.trim_start().strip_prefix("deploy ALL").map(|rest| format!("deploy ALL{rest}"))?))
        })
        .collect();
    write(&lab, "web1", "/etc/sudoers.d/deploy", &format!("deploy ALL=(root) NOPASSWD: /usr/bin/systemctl\n{lines}"));
    partial(&lab, &["env"]).exits(0).says("change env made");
    run(&lab, &["undo"]).exits(0);
    write(&lab, "web1", "/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD:ALL\n");

    // Root follows nobody's names: the folder is the application's, who could put a link in the way.
    lab.sh("web1", "install -d -o www-data -g www-data /srv/app && cp /opt/listings/.env.blue.old /srv/app/new && cp /opt/listings/.env.blue /srv/app/old && chown www-data: /srv/app/*");
    write(&lab, "web1", "/etc/sudoers.d/deploy", "deploy ALL=(root) NOPASSWD: ALL\n");
    partial(&lab, &["theirs"]).exits(1).says("in a folder of www-data, and sudo does not allow us to be that account");
    write(&lab, "web1", "/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD: ALL\n");
    lab.sh("web1", "ln -s /etc/passwd /srv/app/.old.rollback-prod");
    let passwd = read(&lab, "web1", "/etc/passwd");
    partial(&lab, &["theirs"]).exits(0).says("change theirs made");
    let theirs = lab.sh("web1", "stat -c '%U %a' /srv/app/old; cat /srv/app/old");
    assert!(theirs.starts_with("www-data 640\nMODE=old"), "{theirs}");
    assert_eq!(read(&lab, "web1", "/etc/passwd"), passwd, "and what a link led to is as it was");
    run(&lab, &["undo"]).exits(0);
    lab.sh("web1", "chmod 777 /srv/app");
    partial(&lab, &["theirs"]).exits(1).says("others than its owner may write to a folder on the way to /srv/app/");
    lab.sh("web1", "chmod 755 /srv/app");

    lab.sh("web1", "ln -s /opt/listings/.env.blue /srv/app/link");
    partial(&lab, &["linked"])
        .exits(1)
        .says("/srv/app/link: it is a link out of its folder, to /opt/listings/.env.blue: name that");

    // What has no way back stays, and that is said.
    let stays = partial(&lab, &["oneway"]);
    stays.exits(0);
    run(&lab, &["undo"]).exits(1).says("change oneway stays made: the config said no undo for it");
    // Words of another account, which we cannot end, hold nobody up.
    let began = std::time::Instant::now();
    let rooted = partial(&lab, &["rooted"]);
    rooted.exits(3).says("its command had not ended after 2 s");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    lab.sh("web1", "pkill -KILL -fx 'sleep 333' || true");
    // A secret in the words of one that fails.
    partial(&lab, &["leaks"]).exits(5).says("its command ended with 8: 401 for [REDACTED]").never_says("tok-5f1e");
    assert!(!kept(&lab, "journal.jsonl").contains("tok-5f1e"), "nor in the journal");

    // A variable that is not set is no matter of those who do not ask for it.
    std::fs::write(lab.folder().join(".env.deploy"), "").expect("write variables");
    partial(&lab, &["flag"]).exits(1).says("change flag: the variable ADMIN_TOKEN is not set");
    partial(&lab, &["env"]).exits(0);
    run(&lab, &["undo"]).exits(0);
    partial(&lab, &["evn"]).exits(2).says("which the config does not have; it has env,");
}

#[test]
fn whoever_dies_in_the_middle_the_change_is_whole_or_not_at_all() {
    let lab = hosts(&["web1"], TROUBLE);
    let before = env_file(&lab, "web1");
    let begin = || {
        let words = ["partial", "slow", "--reason", "the checkout of 1.4"];
        let running = begin_command(&lab, &words);
        until("its command runs", || lab.sh("web1", "pgrep -fx 'sleep 6' || true").trim() != "");
        running
    };
    // The laptop is killed: the host goes on, and the next command finds its way back.
    begin().kill();
    until("the host has ended it", || lab.sh("web1", "pgrep -fx 'sleep 6' || true").trim().is_empty());
    assert!(env_file(&lab, "web1").0.starts_with("MODE=old"), "it is made");
    let undone = run(&lab, &["undo"]);
    undone.exits(0).says("change slow taken back");
    undone.holds(env_file(&lab, "web1") == before, "byte for byte");
    // The line is cut: it is asked again.
    let mut running = begin();
    lab.cut("web1");
    std::thread::sleep(Duration::from_secs(2));
    lab.mend("web1");
    assert_eq!(running.exit(), 0, "{}", running.said());
    run(&lab, &["undo"]).exits(0);
    // Its command is killed there.
    let mut running = begin();
    lab.sh("web1", "pkill -KILL -fx 'sleep 6'");
    assert_eq!(running.exit(), 3, "{}", running.said());
    assert_eq!(env_file(&lab, "web1"), before);
    // Ctrl-C: what was begun is done, and taken back, for it was not all that was asked for.
    let mut running = begin_command(&lab, &["partial", "slow", "flag", "--reason", "the checkout of 1.4"]);
    until("its command runs", || lab.sh("web1", "pgrep -fx 'sleep 6' || true").trim() != "");
    running.signal(Signal::INT);
    assert_eq!(running.exit(), 130, "{}", running.said());
    assert!(running.said().contains("change slow taken back"), "{}", running.said());
    assert_eq!(env_file(&lab, "web1"), before);
    assert!(leftovers(&lab, "web1").is_empty(), "{}", leftovers(&lab, "web1"));
}

/// One at each moment, here and there, that leaves a line.
fn hooks_everywhere() -> String {
    let mut text = String::new();
    for phase in ["observe", "lock", "switch", "drain", "stop", "verify", "report"] {
        for when in ["before", "after"] {
            text.push_str(&format!(
                "[[hook]]\nat = \"{when} {phase}\"\nrun = [\"sh\", \"-c\", 'echo \"$ROLLBACK_STEP of $ROLLBACK_SERVICE: $ROLLBACK_FROM to $ROLLBACK_TO\" >>said']\n"
            ));
        }
    }
    text.push_str("[[hook]]\nat = \"before switch\"\non = \"app\"\nenv = { TOKEN = \"$ADMIN_TOKEN\" }\nrun = [\"sh\", \"-c\", 'echo \"with $TOKEN\"; echo \"$ROLLBACK_STEP\" >/opt/listings/told']\n");
    text.push_str("[[hook]]\nat = \"on failure\"\nrun = [\"sh\", \"-c\", 'echo \"failure\" >>said']\n");
    text
}

#[test]
fn hooks_are_run_beside_the_steps_and_what_they_do_is_theirs() {
    let lab = hosts(&["web1"], &hooks_everywhere());
    let said = || std::fs::read_to_string(lab.folder().join("said")).unwrap_or_default();
    let variables = "ADMIN_TOKEN=tok-5f1e7c4b9a\nPRE_ROLLBACK_HOOK='echo \"pre: $ROLLBACK_STEP\" >>said'\nPOST_ROLLBACK_HOOK='echo post >>said; exit 1'\n";
    std::fs::write(lab.folder().join(".env.deploy"), variables).expect("write variables");
    let dry = rollback(&lab, &["--dry-run"]);
    dry.exits(0).says("hook before switch on web1: `sh -c ").holds(said().is_empty(), "none is run by a dry run");
    let done = rollback(&lab, &[]);
    done.exits(0).says("traffic on blue on 1 of 1 host; green stopped").never_says("tok-5f1e");
    let order = [
        "before observe",
        "after observe",
        "before lock",
        "pre: before lock",
        "after lock",
        "before switch",
        "after switch",
        "before drain",
        "after drain",
        "before stop",
        "after stop",
        "before verify",
        "after verify",
        "before report",
        "after report",
        "post",
    ];
    let lines: Vec<String> = said().lines().map(str::to_owned).collect();
    done.holds(lines.len() == order.len(), &format!("{lines:?}"));
    for (line, step) in lines.iter().zip(order) {
        done.holds(line.starts_with(step), &format!("{step}: {line}"));
    }
    done.holds(lines[0] == "before observe of listings: green to blue", &lines[0]);
    done.holds(read(&lab, "web1", "/opt/listings/told") == "before switch\n", "and on its host");
    let report = kept(&lab, "INCIDENT_REPORT.md");
    done.holds(report.contains("with [REDACTED]"), &report);
    run(&lab, &["undo"]).exits(0);

    // What hangs, forks or prints without end keeps nothing from being done.
    let with =
        |hook: &str| lab.config_with(|text| format!("{}{hook}", text.split("[change.env]").next().unwrap_or_default()));
    let on = |place: &str, at: &str, run: &str, more: &str| {
        format!("[[hook]]\nat = \"{at}\"\non = \"{place}\"\nrun = [\"sh\", \"-c\", {run:?}]\n{more}\n")
    };
    for place in ["here", "web1"] {
        let hooks = [
            on(place, "before switch", "sleep 400", "timeout = \"1s\""),
            on(place, "before switch", "(sleep 55; echo late) & echo started", ""),
            on(place, "after switch", "yes | head -c 500000000", ""),
            on(place, "before drain", "kill -9 $$", ""),
            on(place, "before stop", "exec /no/such/program", ""),
            on(place, "after verify", "printf '\\\\033[2Jcleared\\\\n'; exit 3", ""),
        ];
        with(&hooks.concat());
        let done = rollback(&lab, &[]);
        done.exits(0)
            .says("failed, and is not required: has not ended after 1 s, and was ended")
            .says("green stopped")
            .never_says("\u{1b}[2J");
        done.holds(lab.sh("web1", "pgrep -f 'sleep 40[0]' || true").is_empty(), "what hung is ended");
        done.holds(kept(&lab, "journal.jsonl").len() < 200_000, "of what they print a bounded part is kept");
        run(&lab, &["undo"]).exits(0);
    }
    // One that is required stops what has not begun.
    let before = read(&lab, "web1", FILE);
    for (at, exit, words) in [
        ("before observe", 1, "a hook that is required failed"),
        ("before lock", 1, "traffic of web1 as it was"),
        ("before switch", 1, "traffic of web1 as it was"),
    ] {
        with(&on("here", at, "echo freeze is on; exit 7", "required = true"));
        let stopped = rollback(&lab, &[]);
        stopped.exits(exit).says(words).says("freeze is on");
        stopped.holds(read(&lab, "web1", FILE) == before && served_by(&lab, "web1") == "green", at);
    }
    with(&on("web1", "after switch", "exit 7", "required = true"));
    let stopped = rollback(&lab, &[]);
    stopped
        .exits(4)
        .says("traffic on blue on 1 of 1 host; green STILL RUNNING")
        .says("hook after switch (sh): web1: ended with 7");
    run(&lab, &["undo"]).exits(4);
    // One that cannot be run is found before anything is done.
    std::fs::write(lab.folder().join("freeze.sh"), "#!/bin/sh\n").expect("write a hook");
    for (place, program, words) in [
        ("here", "./freeze.sh", "here: hook after lock: "),
        ("web1", "/opt/listings/blue.py", "web1: hook after lock: /opt/listings/blue.py is not executable"),
        ("web1", "no-such-program", "web1: hook after lock: there is no program no-such-program"),
    ] {
        let hook = |required: &str| {
            format!("[[hook]]\nat = \"after lock\"\non = \"{place}\"\nrun = [\"{program}\"]\n{required}\n")
        };
        with(&hook("required = true"));
        rollback(&lab, &[]).exits(1).says(words).says("nothing was changed");
        with(&hook(""));
        rollback(&lab, &["--dry-run"]).exits(0).says(words);
    }
    with(
        &(on("here", "before lock", "exit 7", "required = true")
            + &on("here", "on failure", "echo failed >>said2", "")),
    );
    rollback(&lab, &[]).exits(1);
    let said = std::fs::read_to_string(lab.folder().join("said2")).unwrap_or_default();
    assert_eq!(said, "failed\n");
    assert!(leftovers(&lab, "web1").is_empty(), "{}", leftovers(&lab, "web1"));
}

/// `KILLS=20 cargo test --test changes killed` plays more of them.
#[test]
fn killed_at_any_moment_the_next_run_finishes_and_each_change_is_made_once() {
    let kills: u32 = std::env::var("KILLS").map_or(4, |kills| kills.parse().expect("KILLS is a number"));
    let hooks = "[[hook]]\nat = \"before switch\"\nrun = [\"true\"]\n[[hook]]\nat = \"after switch\"\non = \"app\"\nrun = [\"true\"]\n";
    let lab = hosts(&["web1"], hooks);
    let (env, site) = (env_file(&lab, "web1").0, read(&lab, "web1", FILE));
    let words = ["--with", "env,flag"];
    // A run that nobody kills says how long there is something to kill.
    let began = std::time::Instant::now();
    rollback(&lab, &words).exits(0);
    let whole = began.elapsed();
    for kill in 0..kills {
        write(&lab, "web1", "/opt/listings/.env.blue", &env);
        write(&lab, "web1", FILE, &site);
        lab.sh("web1", "echo on >/opt/listings/flag; : >/opt/listings/calls; systemctl restart listings-blue listings-green; nginx -t 2>/dev/null && systemctl reload nginx");
        until("all is as before", || mode(&lab, "web1") == "new" && served_by(&lab, "web1") == "green");
        let mut running = begin(&lab, &words);
        std::thread::sleep(whole * kill / kills);
        let was_over = running.is_over();
        let said = running.said();
        running.kill();
        let second = rollback(&lab, &words);
        let name = format!("killed at {kill} of {kills} ({was_over}):\n{said}");
        second.holds(second.status.code() == Some(0), &name);
        second.holds(served_by(&lab, "web1") == "blue" && mode(&lab, "web1") == "old", &name);
        let calls = read(&lab, "web1", "/opt/listings/calls");
        second.holds(calls == "off\n", &format!("the flag is changed once: {calls:?}; {name}"));
        second.holds(leftovers(&lab, "web1").is_empty(), &format!("{}{name}", leftovers(&lab, "web1")));
    }
}

/// The block of the page about changes that begins so.
fn documented(begins: &str) -> String {
    let page = include_str!("../docs/changes.md");
    let lines = page.lines().map(str::trim).skip_while(|line| !line.starts_with(begins));
    let block: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    assert!(!block.is_empty(), "the page has {begins}");
    block.join("\n")
}

/// A server of flags on this machine: what it was told, in order.
fn flag_server() -> (u16, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let all = told.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            let request = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            all.lock().expect("nobody panics in there").push(request.replace(" HTTP/1.1", ""));
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    });
    (port, told)
}

#[test]
fn the_pages_own_config_does_what_the_page_says() {
    let lab = Lab::up(&["web1"]);
    let (port, told) = flag_server();
    let blocks = ["[change.env]", "[change.flag-checkout]", "[[hook]]"].map(documented).join("\n");
    let page = blocks.replace("127.0.0.1:5000", &format!("127.0.0.1:{port}"));
    lab.config(&page);
    std::fs::write(lab.folder().join(".env.deploy"), "ADMIN_TOKEN=tok-5f1e7c4b9a\n").expect("write .env.deploy");
    let freeze = lab.folder().join("scripts/freeze-deploys.sh");
    std::fs::create_dir_all(freeze.parent().expect("a folder")).expect("make it");
    std::fs::write(&freeze, "#!/bin/sh\necho \"$ROLLBACK_STEP of $ROLLBACK_SERVICE\" >>frozen\n").expect("write it");
    std::fs::set_permissions(&freeze, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("make it a program");
    write(&lab, "web1", "/opt/listings/.env.blue", "CHECKOUT=v2\n");
    write(&lab, "web1", "/opt/listings/.env.blue.old", "CHECKOUT=v1\n");
    let env = || read(&lab, "web1", "/opt/listings/.env.blue");
    let asked = || told.lock().expect("nobody panics in there").clone();

    run(&lab, &["partial", "env", "flag-checkout", "--reason", "checkout of 1.4"])
        .exits(0)
        .says("on green on 1 of 1 host");
    assert_eq!((env().as_str(), asked()), ("CHECKOUT=v1\n", vec!["POST /flags/checkout/off".to_owned()]));
    run(&lab, &["undo"]).exits(0);
    assert_eq!((env().as_str(), asked().len()), ("CHECKOUT=v2\n", 2));
    assert_eq!(asked()[1], "POST /flags/checkout/on");
    assert!(!lab.folder().join("frozen").exists(), "no traffic was switched");

    let scene = rollback(&lab, &["--with", "env"]);
    scene.exits(0);
    assert_eq!((env().as_str(), asked().len()), ("CHECKOUT=v1\n", 2));
    let frozen = std::fs::read_to_string(lab.folder().join("frozen")).unwrap_or_default();
    scene.holds(frozen == "before switch of listings\n", &frozen);
    serves(&lab, "web1", "blue", &scene);
    // Before and after each step.
    let undo = run(&lab, &["undo"]);
    undo.exits(0);
    assert_eq!(env(), "CHECKOUT=v2\n");
    serves(&lab, "web1", "green", &undo);
}
