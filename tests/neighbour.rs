//! A bad neighbour: an account without any right on nginx, and green's own, which may be in a stranger's hands. Nothing
//! that they can make keeps a rollback from being done, holds up its traffic, or gets it to read what they may not.

#[path = "support/site.rs"]
mod site;
mod support;

use std::io::Read;
use std::path::Path;
use std::process::Command;

use rollback_prod::hosts::program::{Nonce, Program, shell_text};
use rollback_prod::steps::scripts;
use site::*;
use support::Scene;
use support::lab::Lab;

const HOST: &str = "web1";
const LOGS: &str = "/opt/listings/logs";
/// A password's hash as it stands in /etc/shadow: nobody but root may read it, and it is nowhere else.
const SECRET: &str = "$y$nobody.may.read.this";
/// A host that is shared by several tests at once is not always equally fast.
const A_SECOND: f64 = 1.0;
const NOISE: f64 = 0.5;

/// One host with two accounts that have no right: mallory, and the one that green runs as, whose logs are its own.
fn lab() -> (Lab, String) {
    let lab = Lab::up(&[HOST]);
    lab.sh(
        HOST,
        &format!(
            "useradd -m -s /bin/bash mallory; useradd -r greenapp; usermod -p '{SECRET}' mallory
             chown greenapp {LOGS} {LOGS}/green.log; chmod 755 {LOGS}
             mkdir -p /etc/systemd/system/listings-green.service.d
             printf '[Service]\\nUser=greenapp\\n' >/etc/systemd/system/listings-green.service.d/user.conf
             systemctl daemon-reload; systemctl restart listings-green"
        ),
    );
    lab.config("");
    let file = read(&lab, HOST, FILE);
    back_to_green(&lab, HOST, &file);
    (lab, file)
}

/// A process of an account that goes on until it is ended.
fn goes_on(lab: &Lab, account: &str, name: &str, text: &str) {
    // In a file: systemd-run has a `$` of its own.
    let script = format!("/opt/{name}.sh");
    write(lab, HOST, &script, text);
    let (unit, uid) = (format!("--unit={name}"), format!("--uid={account}"));
    let output = lab.exec(HOST, &["systemd-run", "-q", &unit, &uid, "-p", "WorkingDirectory=/tmp", "bash", &script]);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ends(lab: &Lab, name: &str) {
    lab.sh(HOST, &format!("systemctl stop {name}; systemctl reset-failed {name} 2>/dev/null || true"));
}

/// Seconds from the program's begin until every balancer was proven.
#[track_caller]
fn safe_after(lab: &Lab, scene: &Scene) -> f64 {
    let safe = newest_journal(lab).into_iter().find(|entry| entry["event"] == "traffic_safe");
    scene.holds(safe.is_some(), "traffic was safe at some time");
    safe.and_then(|entry| entry["at_ms"].as_f64()).unwrap_or(f64::INFINITY) / 1000.0
}

/// Every file of the newest incident, unpacked.
fn all_that_was_kept(lab: &Lab) -> Vec<(String, Vec<u8>)> {
    let folder = incidents(lab).pop().expect("an incident folder");
    let entries = std::fs::read_dir(&folder).expect("it can be listed").flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), whole(&entry.path()))).collect()
}

fn whole(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).expect("it can be read");
    if path.extension().is_some_and(|extension| extension == "gz") { unpacked(&bytes) } else { bytes }
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    // What is whole of one that was cut is looked at, too.
    let _ = flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut all);
    all
}

fn holds_the_secret(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, SECRET.as_bytes()).is_some()
}

/// The rollback is done, in time, and without a byte that the neighbour may not read.
#[track_caller]
fn done(lab: &Lab, name: &str, scene: &Scene, without: f64) {
    scene.holds(scene.status.code() == Some(0), &format!("{name}: exit code 0"));
    let after = safe_after(lab, scene);
    scene.holds(
        after < without + A_SECOND + NOISE,
        &format!("{name}: traffic is safe after {after:.2} s, {without:.2} s without it"),
    );
    scene.holds(served_by(lab, HOST) == "blue", &format!("{name}: blue serves"));
    for (file, bytes) in all_that_was_kept(lab) {
        scene.holds(!holds_the_secret(&bytes), &format!("{name}: {file} has nothing of /etc/shadow"));
    }
}

#[track_caller]
fn undisturbed(lab: &Lab, file: &str) -> f64 {
    let scene = rollback(lab, &[]);
    scene.exits(0);
    let safe = safe_after(lab, &scene);
    back_to_green(lab, HOST, file);
    safe
}

#[test]
fn whatever_green_makes_of_its_log_costs_a_gap_and_nothing_else() {
    let (lab, file) = lab();
    let without = undisturbed(&lab, &file);
    for (name, make, gap) in [
        ("a FIFO", "mkfifo green.log", "it is a FIFO"),
        ("a device", "ln -s /dev/zero green.log", "it is a device"),
        ("a link", "ln -s /etc/shadow green.log", "out of its folder"),
        ("a link by way of a folder", "ln -s /etc sub; ln -s sub/shadow green.log", "out of its folder"),
        ("a folder", "mkdir green.log", "it is a folder"),
        ("a socket", "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"green.log\")'", "it is a socket"),
    ] {
        lab.sh(HOST, &format!("mv {LOGS}/green.log /root/green.log"));
        as_account(&lab, HOST, "greenapp", &format!("cd {LOGS}; {make}"));
        let scene = rollback(&lab, &[]);
        lab.sh(HOST, &format!("rm -rf {LOGS}/green.log {LOGS}/sub; mv /root/green.log {LOGS}/green.log"));
        done(&lab, name, &scene, without);
        let report = kept(&lab, "INCIDENT_REPORT.md");
        scene.holds(report.contains(gap), &format!("{name}: the report says {gap:?}:\n{report}"));
        back_to_green(&lab, HOST, &file);
    }

    // Another name of a file that it may not read; where the kernel forbids that it was made before, or by a mistake.
    lab.sh(
        HOST,
        &format!(
            "cp -a /etc/shadow /opt/listings/copy; mv {LOGS}/green.log /root/; ln /opt/listings/copy {LOGS}/green.log"
        ),
    );
    let scene = rollback(&lab, &[]);
    lab.sh(HOST, &format!("rm -f {LOGS}/green.log /opt/listings/copy; mv /root/green.log {LOGS}/"));
    done(&lab, "a hard link", &scene, without);
    back_to_green(&lab, HOST, &file);

    // One line of 10 GB, none of it on the disk.
    lab.config_with(|text| text.replace("[evidence]\n", "[evidence]\nmax_bytes = \"64MB\"\n"));
    lab.sh(
        HOST,
        &format!("mv {LOGS}/green.log /root/; truncate -s 10G {LOGS}/green.log; chown greenapp {LOGS}/green.log"),
    );
    let scene = rollback(&lab, &[]);
    lab.sh(HOST, &format!("rm {LOGS}/green.log; mv /root/green.log {LOGS}/"));
    done(&lab, "10 GB", &scene, without);
    let kept = all_that_was_kept(&lab);
    let log = kept.iter().find(|(name, _)| name.starts_with("green-rollback")).map(|(_, bytes)| bytes.len());
    scene.holds(log.is_some_and(|bytes| bytes <= 64 << 20), &format!("its newest 64 MB are kept: {log:?}"));
    back_to_green(&lab, HOST, &file);

    // Honest links are read whole: one of green's in its folder, and one that is root's alone.
    lab.config("");
    as_account(
        &lab,
        HOST,
        "greenapp",
        &format!(
            "cd {LOGS}; mv green.log green.today; ln -s green.today green.log; echo the cause of it >>green.today"
        ),
    );
    let scene = rollback(&lab, &[]);
    scene.exits(0);
    let kept = all_that_was_kept(&lab);
    let log = kept.iter().find(|(name, _)| name.starts_with("green-rollback")).map(|(_, bytes)| bytes.clone());
    let has_cause = log.is_some_and(|bytes| memchr::memmem::find(&bytes, b"the cause of it\n").is_some());
    scene.holds(has_cause, "the linked log is there, and not only as much as the link is long");
}

#[test]
fn a_linked_log_that_only_root_may_read_is_read_whole() {
    let (lab, _) = lab();
    lab.sh(
        HOST,
        "mkdir -m 700 /var/log/app; yes 'only for root' | head -n 1000 >/var/log/app/log.2026-11-24; chmod 600 /var/log/app/*
         ln -s log.2026-11-24 /var/log/app/current.log",
    );
    lab.config_with(|text| text.replace(&format!("{LOGS}/green.log"), "/var/log/app/current.log"));
    let scene = rollback(&lab, &[]);
    scene.exits(0);
    let kept = all_that_was_kept(&lab);
    let log = kept.iter().find(|(name, _)| name.starts_with("green-rollback")).map(|(_, bytes)| bytes.len());
    scene.holds(log == Some(14_000), &format!("all of it, and not as much as the link is long: {log:?}"));
}

#[test]
fn a_log_that_changes_under_the_reader_gives_nothing_that_its_owner_may_not_read() {
    let (lab, _) = lab();
    goes_on(
        &lab,
        "greenapp",
        "swapping",
        &format!(
            "cd {LOGS}; echo honest >plain; ln -s /etc/shadow link; mkfifo fifo; ln -s /etc ways; mkdir real; echo honest >real/shadow
             while :; do cp plain t; mv -fT t green.log; cp -P link t; mv -fT t green.log; mv -fT green.log t; mkfifo p; mv -fT p green.log; done"
        ),
    );
    let scene = rollback(&lab, &[]);
    scene.exits(0);
    scene.holds(all_that_was_kept(&lab).iter().all(|(_, bytes)| !holds_the_secret(bytes)), "nothing of /etc/shadow");
    // The reader alone, often enough to be struck between its look and its reading.
    let (_, parts) = scripts().find(|(name, _)| *name == "archive").expect("there is archive.sh");
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..25 {
        let arguments =
            vec![("sudo", "yes".to_owned()), ("file", format!("{LOGS}/green.log")), ("max", "100000".to_owned())];
        let limit = std::time::Duration::from_secs(20);
        let program = Program { name: "archive", parts, arguments, cargo: Default::default(), limit };
        let output = lab.ssh(HOST, &shell_text(&program, &Nonce::new()));
        let begin = output.stdout.windows(2).position(|two| two == [0x1f, 0x8b]);
        let bytes = begin.map(|at| unpacked(&output.stdout[at..])).unwrap_or_default();
        assert!(!holds_the_secret(&bytes), "{}", String::from_utf8_lossy(&bytes));
        let end = String::from_utf8_lossy(&output.stdout).trim().rsplit(' ').next().unwrap_or_default().to_owned();
        *statuses.entry(end).or_insert(0) += 1;
    }
    ends(&lab, "swapping");
    assert!(statuses.len() > 1, "it was struck at different moments: {statuses:?}");
}

#[test]
fn whatever_a_stranger_on_the_host_makes_the_rollback_is_done() {
    let (lab, file) = lab();
    let without = undisturbed(&lab, &file);
    let again = |name: &str, make: &dyn Fn(), mend: &dyn Fn()| {
        make();
        let scene = rollback(&lab, &[]);
        mend();
        done(&lab, name, &scene, without);
        back_to_green(&lab, HOST, &file);
        scene
    };

    // Folders of our names, made first: with a process to wait for, and with FIFOs in the place of files.
    again(
        "forged records",
        &|| {
            as_account(
                &lab, HOST,
                "mallory",
                "for b in /run/lock /dev/shm /tmp /var/tmp; do d=$b/rollback-prod-listings-jobs-1000; mkdir -p $d/a.switch $d/b.switch
                 echo 1 >$d/a.switch/pid; mkfifo $d/b.switch/pid; chmod -R a+rwX $d; done",
            )
        },
        &|| drop(lab.sh(HOST, "rm -rf /run/lock/rollback-prod-l* /dev/shm/rollback-prod-l* /tmp/rollback-prod-l* /var/tmp/rollback-prod-l*")),
    )
    .never_says("a.switch");
    let left = leftovers(&lab, HOST);
    assert!(left.is_empty(), "nothing of ours is left, in the home either: {left}");

    // Two masters by name, where the pid file is not for us.
    lab.sh(HOST, "printf 'deploy ALL=(ALL) NOPASSWD: ALL, !/usr/bin/cat\\n' >/etc/sudoers.d/deploy");
    again(
        "a forged master",
        &|| {
            lab.sh(HOST, "chmod 600 /run/nginx.pid");
            goes_on(
                &lab,
                "mallory",
                "forged",
                "cp /bin/sleep /home/mallory/nginx; exec -a 'nginx: master process /usr/sbin/nginx' /home/mallory/nginx 600",
            );
            until("it runs", || lab.exec(HOST, &["pgrep", "-u", "mallory", "nginx"]).status.success());
        },
        &|| {
            ends(&lab, "forged");
            lab.sh(HOST, "chmod 644 /run/nginx.pid");
        },
    );
    lab.sh(HOST, "printf 'deploy ALL=(ALL) NOPASSWD: ALL\\n' >/etc/sudoers.d/deploy");

    // Blue's port on another address, held by a program whose name is a line of ours.
    again(
        "a listener with blue's port",
        &|| {
            goes_on(
                &lab,
                "mallory",
                "squatting",
                "cd /home/mallory; p=$'./a b\\n1F90 1 0100007F'; cp $(readlink -f /usr/bin/python3) \"$p\"
                 PYTHONHOME=/usr exec \"$p\" -c 'import socket, time; s = socket.socket(socket.AF_INET6); s.bind((\"::1\", 8080)); s.listen(); time.sleep(600)'",
            );
            until("it listens", || lab.sh(HOST, "ss -Hltn 'src [::1]'").contains("8080"));
        },
        &|| ends(&lab, "squatting"),
    );

    // What nginx logs of a request is not what nginx says.
    again(
        "[emerg] in a request",
        &|| {
            goes_on(
                &lab,
                "mallory",
                "asking",
                "while :; do curl -g -s -o /dev/null -H 'Expect:' -H 'Content-Length: 9000000' -d x -m 1 'http://127.0.0.1/[emerg]'; done",
            );
            until("nginx logs it", || {
                lab.exec(HOST, &["grep", "-qF", "[emerg]", "/var/log/nginx/error.log"]).status.success()
            });
        },
        &|| ends(&lab, "asking"),
    );

    // The word that marks an answer is never where others can read it.
    again(
        "somebody who lists processes",
        &|| {
            goes_on(
                &lab,
                "mallory",
                "listing",
                "exec python3 -c '
import glob
with open(\"/home/mallory/seen\", \"ab\", 0) as seen:
  while True:
    for path in glob.glob(\"/proc/[0-9]*/cmdline\"):
      try: words = open(path, \"rb\").read()
      except OSError: continue
      if words.startswith(b\"curl\"): seen.write(words.replace(b\"\\0\", b\" \") + b\"\\n\")
'",
            )
        },
        &|| ends(&lab, "listing"),
    );
    let seen = lab.sh(HOST, "sort -u /home/mallory/seen");
    let has_nonce = seen.split(|c: char| !c.is_ascii_hexdigit()).any(|word| word.len() >= 32);
    assert!(seen.contains("curl"), "it did see curl");
    assert!(!has_nonce, "no nonce on a command line of curl: {seen}");
}

#[test]
fn an_endless_green_and_a_proc_that_hides_hold_up_nothing() {
    let (lab, file) = lab();
    lab.config_with(|text| {
        text.replace(
            "[green]\n",
            "[green]\nhealth = [\"http://127.0.0.1:8081/health\", \"http://127.0.0.1:8081/ready\"]\n",
        )
    });
    let without = undisturbed(&lab, &file);
    for (name, answer) in [
        ("answers without end", ENDLESS_BODY),
        ("headers without end", ENDLESS_HEAD),
        (
            "an answer that drips",
            "c.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')\n  while 1: c.sendall(b'x'); time.sleep(0.1)",
        ),
    ] {
        green_answers(&lab, HOST, answer);
        let scene = rollback(&lab, &[]);
        green_answers_as_ever(&lab, HOST);
        done(&lab, name, &scene, without);
        back_to_green(&lab, HOST, &file);
    }

    // The processes of others are not there for us.
    lab.config("");
    lab.sh(HOST, "mount -o remount,hidepid=2 /proc");
    let hidden = lab.ssh(HOST, "test -d /proc/1 && echo there");
    assert!(hidden.stdout.is_empty(), "/proc hides them");
    let scene = rollback(&lab, &[]);
    lab.sh(HOST, "mount -o remount,hidepid=0 /proc");
    done(&lab, "hidepid", &scene, without);
    scene.holds(unit(&lab, HOST, "listings-green") != "active", "green is stopped");
}

#[test]
fn a_file_that_is_silent_takes_the_time_of_no_other() {
    let (lab, file) = lab();
    as_account(&lab, HOST, "mallory", "mkfifo /home/mallory/fifo.log; chmod 755 /home/mallory");
    lab.sh(HOST, "for n in 1 2 3 4; do echo $n >/var/log/$n.log; done");
    // Not a byte comes of any file.
    install(&lab, HOST, "/usr/local/bin/gzip", "#!/bin/sh\nsleep 30\n");
    lab.config_with(|text| {
        text.replace(
            "files = [\"/var/log/nginx/error.log\"]",
            "timeout = \"4s\"\nfiles = [\"/home/mallory/fifo.log\", \"/var/log/1.log\", \"/var/log/2.log\", \"/var/log/3.log\", \"/var/log/4.log\"]",
        )
    });
    let scene = rollback(&lab, &[]);
    scene.exits(0);
    let report = kept(&lab, "INCIDENT_REPORT.md");
    scene.holds(report.contains("it is a FIFO"), "the FIFO is named");
    scene.holds(report.contains("the time for all evidence is over"), "and the end of the time");
    let of =
        |event: &str| newest_journal(&lab).into_iter().find(|e| is(e, "outcome", "evidence") && e["status"] == event);
    let took = of("done").map_or(f64::INFINITY, |e| seconds(&e)) - of("started").map_or(0.0, |e| seconds(&e));
    scene.holds(took < 5.5, &format!("one deadline of 4 s for all of it: {took:.1} s"));
    back_to_green(&lab, HOST, &file);

    // With all the time that there is, each has ten seconds, and they have them together.
    lab.config_with(|text| {
        text.replace(
            "\"/var/log/nginx/error.log\"",
            "\"/home/mallory/fifo.log\", \"/var/log/1.log\", \"/var/log/2.log\"",
        )
    });
    let scene = rollback(&lab, &[]);
    scene.exits(0);
    scene.holds(kept(&lab, "INCIDENT_REPORT.md").contains("not a byte came for 10 s"), "what was silent is named");
    scene.holds(scene.took.as_secs() < 20, "three silent files take the time of one");
}

#[test]
fn check_names_what_the_folder_will_lack_and_the_command_that_mends_it() {
    let (lab, _) = lab();
    lab.sh(
        HOST,
        &format!(
            "rm -f {LOGS}/green.log; chown root:adm /var/log/nginx/error.log; chmod 640 /var/log/nginx/error.log
             printf 'deploy ALL=(ALL) NOPASSWD: ALL, !/usr/bin/tail, !/usr/bin/journalctl\\n' >/etc/sudoers.d/deploy"
        ),
    );
    let scene = run(&lab, &["check"]);
    scene
        .exits(0)
        .says(&format!(
            "the cause of the incident will not be in the folder: green's log {LOGS}/green.log is not there"
        ))
        .says("/var/log/nginx/error.log: it may not be read by deploy: ssh web1 sudo usermod -aG adm deploy")
        .says("sudo usermod -aG systemd-journal deploy");
    as_account(&lab, HOST, "greenapp", &format!("mkfifo {LOGS}/green.log"));
    run(&lab, &["check"]).exits(0).says("green's log /opt/listings/logs/green.log is a FIFO and no file");
}

#[test]
fn the_lines_of_the_manual_work_and_write_nowhere_where_others_can() {
    let (lab, file) = lab();
    let scene = run(&lab, &["manual"]);
    scene.exits(0).never_says("/tmp");
    let ssh_config = lab.ssh_config();
    let mut seen = Vec::new();
    for line in scene.stdout.lines().filter(|line| line.starts_with("ssh ")) {
        let words = line.replacen("ssh -t", "ssh", 1);
        if words.contains("vi ") {
            // What the operator types.
            write(&lab, HOST, FILE, &rolled_back(&file));
            continue;
        }
        let command = words.replacen("ssh ", &format!("ssh -F {} -o BatchMode=yes ", ssh_config.display()), 1);
        let output = Command::new("sh").args(["-c", &command]).current_dir(lab.folder()).output().expect("start sh");
        // These say nothing, and end so, when all is well; tail is for reading.
        let may_fail = ["hutting down", "ss -H"].iter().any(|word| words.contains(word));
        assert!(output.status.success() || may_fail, "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        if words.contains("nginx -s reload") && !words.contains("&&") {
            until("blue serves", || served_by(&lab, HOST) == "blue");
        }
        seen.push(words);
    }
    assert!(seen.iter().any(|words| words.contains("systemctl stop listings-green")), "green is stopped: {seen:?}");
    assert_eq!(read(&lab, HOST, FILE), file, "the copy was put back");
    let copy = lab.sh(HOST, "stat -c '%U %n' /root/listings.nginx.before");
    assert_eq!(copy, "root /root/listings.nginx.before");
    let log = whole(&lab.folder().join("green-rollback-web1.log.gz"));
    assert!(log.starts_with(b"") && !log.is_empty(), "the log was kept");
}
