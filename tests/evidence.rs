//! Evidence: what is kept is what was there, byte for byte and no more than was asked for; what is not there is a gap
//! that the report names; and nothing on a host or on this disk can make it cost the rollback.

#[path = "support/site.rs"]
mod site;
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use rollback_prod::hosts::answer::Frame;
use rollback_prod::hosts::program::{Nonce, Program, shell_text};
use rollback_prod::steps::scripts;
use site::{command, incidents, roll, until};
use support::Scene;
use support::lab::Lab;

#[track_caller]
fn incident(lab: &Lab, scene: &Scene) -> PathBuf {
    let found = incidents(lab);
    scene.holds(found.len() == 1, "there is one incident folder");
    found.into_iter().next().expect("there is one")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("it can be listed")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn text(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut all).expect("it is whole");
    all
}

/// Green's archived log, unpacked.
#[track_caller]
fn green_log(folder: &Path) -> Vec<u8> {
    let name = names(folder).into_iter().find(|name| name.starts_with("green-rollback-")).expect("it was archived");
    unpacked(&std::fs::read(folder.join(name)).expect("it can be read"))
}

/// The config with green's log elsewhere, where the application does not write.
fn config_with_log(lab: &Lab, path: &str, edit: impl FnOnce(String) -> String) -> PathBuf {
    lab.config_with(|text| edit(text.replace("log = \"/opt/listings/logs/green.log\"", &format!("log = \"{path}\""))))
}

// --- the archive script on this machine's shells -----------------------------------------------------------------

const SHELLS: &[&[&str]] = &[&["dash"], &["bash", "--posix"], &["busybox", "ash"]];

/// What archive.sh ends with and sends for a file, unpacked.
fn archive(shell: &[&str], file: &Path, max: usize) -> (Option<i32>, Vec<u8>) {
    let (_, parts) = scripts().find(|(name, _)| *name == "archive").expect("there is archive.sh");
    let arguments = vec![("file", file.display().to_string()), ("max", max.to_string())];
    let program =
        Program { name: "archive", parts, arguments, cargo: Default::default(), limit: Duration::from_secs(10) };
    let nonce = Nonce::new();
    let output: Output = Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", &shell_text(&program, &nonce)])
        .stdin(Stdio::null())
        .output()
        .expect("start the shell");
    let mut frame = Frame::new(&nonce);
    let mut content = Vec::new();
    let taken = frame.push(&output.stdout, &mut |bytes| {
        content.extend_from_slice(bytes);
        Ok(())
    });
    taken.expect("a vector takes everything");
    // The first newline belongs to the begin marker.
    let packed = content.get(1..).unwrap_or_default();
    (frame.status(), if packed.is_empty() { Vec::new() } else { unpacked(packed) })
}

/// Bytes of every value, none like its neighbours.
fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

#[test]
fn an_archive_is_the_newest_bytes_of_the_log_and_its_rotation_to_the_byte() {
    let folder = tempfile::tempdir().expect("make a folder");
    let (log, rotated) = (noise(1, 1000), noise(2, 2000));
    let both: Vec<u8> = rotated.iter().chain(&log).copied().collect();
    for shell in SHELLS {
        for has_rotated in [true, false] {
            let file = folder.path().join("a b's $(log).txt");
            std::fs::write(&file, &log).expect("write");
            let old = PathBuf::from(format!("{}.1", file.display()));
            let _ = std::fs::remove_file(&old);
            if has_rotated {
                std::fs::write(&old, &rotated).expect("write");
            }
            let all = if has_rotated { &both } else { &log };
            for max in [1, 999, 1000, 1001, 1002, 2999, 3000, 3001, 1_000_000] {
                let (status, bytes) = archive(shell, &file, max);
                assert_eq!(status, Some(0));
                let newest = &all[all.len().saturating_sub(max)..];
                assert!(bytes == newest, "{shell:?}: {} bytes of {}, limit {max}", bytes.len(), all.len());
            }
        }
    }
}

#[test]
fn an_empty_log_is_an_empty_archive_and_a_missing_one_is_none() {
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("log");
    for shell in SHELLS {
        let _ = std::fs::remove_file(&file);
        assert_eq!(archive(shell, &file, 1000), (Some(50), Vec::new()), "{shell:?}");
        std::fs::write(&file, "").expect("write");
        assert_eq!(archive(shell, &file, 1000), (Some(0), Vec::new()), "{shell:?}");
    }
}

#[test]
fn a_log_that_grows_while_it_is_read_stays_within_its_limit() {
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("log");
    let line = "INFO GET / 200, and some words to make it longer than it needs to be\n";
    // The rotation fills the archive up to its limit, so that each byte of growth would be one too many.
    std::fs::write(folder.path().join("log.1"), line.repeat(30_000)).expect("write");
    let log = std::fs::File::create(&file).expect("make a file");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = std::fs::OpenOptions::new().append(true).open(&file).expect("open it");
            // An end, so that a reader that follows the log for ever shows as one that read too much.
            for _ in 0..200_000 {
                if is_over.load(Ordering::Relaxed) || writer.write_all(line.as_bytes()).is_err() {
                    break;
                }
                // About a megabyte a second: it grows between any two commands, and does not outgrow the limit.
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        for max in [10_000, 80_000, 1_500_000, 1_500_000, 1_500_000] {
            log.set_len(1000).expect("shorten it");
            let (status, bytes) = archive(SHELLS[0], &file, max);
            let now = std::fs::metadata(&file).expect("it is there").len();
            let is_within = status == Some(0) && !bytes.is_empty() && bytes.len() <= max;
            if !is_within || now <= 1000 {
                is_over.store(true, Ordering::Relaxed);
                panic!("{status:?}, {} bytes, limit {max}; the log has {now} by now", bytes.len());
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

// --- on real hosts -----------------------------------------------------------------------------------------------

#[test]
fn the_folder_holds_what_the_contract_names_and_its_sums_are_right() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "head -c 300000 /dev/urandom >/opt/listings/logs/static.log; head -c 5000 /dev/urandom >/opt/listings/logs/static.log.1");
    let config = config_with_log(&lab, "/opt/listings/logs/static.log", |text| {
        text.replace("[evidence]\n", "[evidence]\nmax_bytes = \"302000B\"\n")
    });
    // Two clients' requests failed a moment ago, one of them twice.
    lab.sh(
        "web1",
        r#"for from in 203.0.113.7 203.0.113.7 2001:db8::7; do
             printf '%s - - [%s] "GET / HTTP/1.1" 500 0 "-" "-"\n' "$from" "$(date '+%d/%b/%Y:%H:%M:%S %z')"
           done >>/var/log/nginx/access.log"#,
    );
    let scene = roll(&lab, &config);
    scene.exits(0);
    let folder = incident(&lab, &scene);
    let names = names(&folder);
    let postmortem = text(&folder, "POSTMORTEM.md");
    let counted = postmortem.lines().find(|line| line.starts_with("- web1: requests that failed")).unwrap_or_default();
    scene.holds(counted.contains(": 3 of ") && counted.contains(", from 2 addresses; since then: 0 of "), &postmortem);
    for line in [
        "- Users, by distinct addresses of clients as nginx logged them: 2 addresses",
        "- First request that failed in the logs: ",
        "- traffic on blue, proven on every balancer",
    ] {
        scene.holds(postmortem.contains(line), &postmortem);
    }
    scene.holds(!text(&folder, "journal.jsonl").contains("203.0.113.7"), "how many, and never who");
    for name in [
        "INCIDENT_REPORT.md",
        "INCIDENT_REPORT.html",
        "POSTMORTEM.md",
        "SHA256SUMS",
        "facts.json",
        "plan.json",
        "journal.jsonl",
        "nginx-error.log",
        "systemd.log",
        "web1.nginx.before.conf",
        "web1.nginx.after.conf",
    ] {
        scene.holds(names.iter().any(|other| other == name), &format!("there is {name}: {names:?}"));
    }
    let on_host =
        lab.exec("web1", &["sh", "-c", "cd /opt/listings/logs; tail -c 2000 static.log.1; cat static.log"]).stdout;
    scene.holds(green_log(&folder) == on_host, "green's log is byte for byte that of the host");
    scene.holds(text(&folder, "systemd.log").contains("listings-green"), "the journal tells of green");

    let sums = Command::new("sha256sum").args(["-c", "--strict", "SHA256SUMS"]).current_dir(&folder).output();
    scene.holds(sums.is_ok_and(|sums| sums.status.success()), "sha256sum -c agrees");
    let listed = text(&folder, "SHA256SUMS");
    for name in names.iter().filter(|name| *name != "SHA256SUMS" && *name != "INCIDENT_REPORT.md") {
        scene.holds(listed.contains(&format!("  {name}\n")), &format!("{name} is among the sums"));
    }
    scene.holds(
        !names.iter().any(|name| name.starts_with('.') || name.contains("unfinished")),
        "nothing half-written is left",
    );
}

#[test]
fn the_folder_is_private_whatever_the_umask_says() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "umask 000; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_rollback-prod"),
            "--reason",
            "broken",
            "--config",
        ])
        .arg(&config)
        .current_dir(lab.folder());
    let scene = Scene::of(&mut command, lab.folder());
    scene.exits(0);
    let folder = incident(&lab, &scene);
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    scene.holds(mode(&folder) == 0o700, &format!("the folder's mode is {:o}", mode(&folder)));
    for name in names(&folder) {
        let mode = mode(&folder.join(&name));
        scene.holds(mode == 0o600, &format!("the mode of {name} is {mode:o}"));
    }
}

#[test]
fn with_several_hosts_each_file_names_its_own() {
    let lab = Lab::up(&["web1", "web2"]);
    let scene = roll(&lab, &lab.config(""));
    scene.exits(0);
    let names = names(&incident(&lab, &scene));
    for host in ["web1", "web2"] {
        for name in
            [format!("nginx-error-{host}.log"), format!("systemd-{host}.log"), format!("{host}.nginx.after.conf")]
        {
            scene.holds(names.contains(&name), &format!("there is {name}: {names:?}"));
        }
        let green = names.iter().filter(|name| name.starts_with(&format!("green-rollback-{host}-"))).count();
        scene.holds(green == 1, &format!("green's log of {host}: {names:?}"));
    }
}

#[test]
fn a_log_that_only_root_may_read_is_read_through_sudo() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "mkdir -m 700 /var/log/private-app; echo 'only for root' >/var/log/private-app/green.log; chmod 600 /var/log/private-app/green.log");
    let scene = roll(&lab, &config_with_log(&lab, "/var/log/private-app/green.log", |text| text));
    scene.exits(0);
    scene.holds(green_log(&incident(&lab, &scene)) == b"only for root\n", "it was archived");
}

/// sudo for everything but what reads: a host that lets us switch and not look.
const NO_READING: &str = "printf 'deploy ALL=(ALL) NOPASSWD: ALL, !/usr/bin/tail, !/usr/bin/stat, !/usr/bin/cat, !/usr/bin/journalctl, !/usr/bin/test\\n' \
                          >/etc/sudoers.d/deploy";

#[test]
fn what_may_not_be_read_or_is_not_there_is_a_gap_in_the_report() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", NO_READING);
    lab.sh("web1", "echo secret >/opt/listings/logs/locked.log; chown root /opt/listings/logs/locked.log; chmod 600 /opt/listings/logs/locked.log");
    let config = config_with_log(&lab, "/opt/listings/logs/locked.log", |text| {
        text.replace("\"/var/log/nginx/error.log\"", "\"/var/log/nginx/error.log\", \"/var/log/no-such-file\"")
    });
    let scene = roll(&lab, &config);
    scene.holds(matches!(scene.status.code(), Some(0 | 4)), "gaps do not undo a rollback");
    scene.says("traffic on blue on 1 of 1 host; green stopped");
    let folder = incident(&lab, &scene);
    let report = text(&folder, "INCIDENT_REPORT.md");
    let gaps = report.split("Gaps").nth(1).unwrap_or_default();
    for (of, why) in [
        ("/opt/listings/logs/locked.log", "may not be read"),
        ("/var/log/no-such-file", "no such file"),
        ("journal of nginx, listings-green", "journalctl gave nothing"),
    ] {
        scene.says(of);
        scene.holds(gaps.contains(of) && gaps.contains(why), &format!("the report names {of} and {why}:\n{report}"));
    }
    let names = names(&folder);
    scene.holds(
        !names.iter().any(|name| name.starts_with("green-rollback") || name == "systemd.log"),
        &format!("no empty file pretends to be evidence: {names:?}"),
    );
}

#[test]
fn names_on_the_host_choose_no_path_here() {
    let lab = Lab::up(&["web1"]);
    let odd = "/var/log/we ird;$(touch pwned)&'..é.log";
    lab.sh("web1", "printf 'odd' >\"/var/log/we ird;\\$(touch pwned)&'..é.log\"");
    let config = lab.config_with(|text| {
        text.replace("\"/var/log/nginx/error.log\"", &format!("\"/var/log/nginx/error.log\", \"{odd}\""))
    });
    let scene = roll(&lab, &config);
    scene.exits(0);
    let names = names(&incident(&lab, &scene));
    let plain = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    scene.holds(names.iter().all(plain), &format!("plain names: {names:?}"));
    let odd = names.iter().find(|name| name.starts_with("file-")).expect("the odd file was archived");
    let bytes = std::fs::read(incident(&lab, &scene).join(odd)).expect("it can be read");
    scene.holds(unpacked(&bytes) == b"odd", "with what is in it");
}

#[test]
fn an_incident_folder_that_exists_is_never_written_to() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("");
    // Whoever ran in the same second: here, in every second of the next minutes.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let date = |seconds: u64| {
        let output = Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y%m%d-%H%M%S"]).output();
        String::from_utf8_lossy(&output.expect("start date").stdout).trim().to_owned()
    };
    let mut theirs = Vec::new();
    for second in now..now + 120 {
        let folder = lab.folder().join("incidents").join(format!("rollback-{}", date(second)));
        std::fs::create_dir_all(&folder).expect("make a folder");
        theirs.push(folder);
    }
    let scene = roll(&lab, &config);
    scene.exits(0);
    for folder in &theirs {
        scene.holds(names(folder).is_empty(), &format!("{} is as it was", folder.display()));
    }
    let ours: Vec<PathBuf> = incidents(&lab).into_iter().filter(|path| !theirs.contains(path)).collect();
    scene.holds(ours.len() == 1 && ours[0].to_string_lossy().ends_with("-2"), &format!("ours is the second: {ours:?}"));
    scene.says(&ours[0].file_name().expect("it has a name").to_string_lossy());
    scene.holds(names(&ours[0]).contains(&"INCIDENT_REPORT.md".to_owned()), "and is whole");
}

/// Peak memory of a run, in KiB, as the kernel counted it.
#[track_caller]
fn peak_kib(lab: &Lab, config: &Path) -> u64 {
    let log = |name: &str| std::fs::File::create(lab.folder().join(name)).expect("make a file");
    let mut child = command(lab, config)
        .stdin(Stdio::null())
        .stdout(log("stdout"))
        .stderr(log("stderr"))
        .spawn()
        .expect("start the program");
    let mut peak = 0;
    let status = loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            let seen = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
            peak = seen.unwrap_or(0).max(peak);
        }
        if let Some(status) = child.try_wait().expect("look at it") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = std::fs::read_to_string(lab.folder().join("stderr")).unwrap_or_default();
    assert!(status.success(), "{status}\n{said}");
    assert!(peak > 0, "it was measured");
    peak
}

#[test]
fn a_huge_log_passes_in_constant_memory() {
    let lab = Lab::up(&["web1"]);
    // Text as an application writes it, so that the search for errors has its work to do; 20 % of it are errors.
    lab.sh(
        "web1",
        "cd /opt/listings/logs
         { yes '2026-11-20 21:15:03 INFO GET /listings/4711?page=3 200 12ms' | head -n 8000
           yes '2026-11-20 21:15:03 ERROR query failed: relation \"listing_prices\" does not exist' | head -n 2000; } >block
         for i in $(seq 400); do cat block; done >huge.log; rm block; chown deploy huge.log",
    );
    let bytes: u64 = lab.sh("web1", "stat -c %s /opt/listings/logs/huge.log").parse().expect("a number");
    assert!(bytes > 240 << 20, "{bytes}");
    let config = config_with_log(&lab, "/opt/listings/logs/huge.log", |text| {
        text.replace("[evidence]\n", "[evidence]\nmax_bytes = \"4GiB\"\ntimeout = \"150s\"\n")
    });
    let peak = peak_kib(&lab, &config);
    let folder = incidents(&lab).pop().expect("there is one");
    let journal = text(&folder, "journal.jsonl");
    assert!(journal.contains(&format!("\"unpacked_bytes\":{bytes}")), "all of it came: {journal}");
    assert!(peak < 40 << 10, "{peak} KiB at the peak");
}

#[test]
fn a_journal_is_whole_whenever_its_writer_was_killed() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("");
    // At once when the first line is there, a little later, and so on into the evidence.
    for (round, word) in
        ["begun", "\"step\":\"lock\"", "\"step\":\"switch\"", "traffic_safe", "captured"].iter().enumerate()
    {
        let mut child = command(&lab, &config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the program");
        let mut path = PathBuf::new();
        until(&format!("the journal says {word}"), || {
            path = incidents(&lab).pop().unwrap_or_default().join("journal.jsonl");
            incidents(&lab).len() == round + 1 && std::fs::read_to_string(&path).is_ok_and(|text| text.contains(word))
        });
        let _ = child.kill();
        let _ = child.wait();
        let journal = std::fs::read_to_string(&path).expect("it is there");
        let whole = journal.rfind('\n').map_or("", |at| &journal[..at]);
        assert!(whole.lines().count() >= 1, "{journal}");
        for line in whole.lines() {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
            assert!(parsed.is_ok_and(|value| value["v"] == 1), "{line}");
        }
        let entries = rollback_prod::incident::journal::read(&path).expect("it reads back");
        assert_eq!(entries.len(), whole.lines().count());
        // The dead run's lock goes with its line; the next round must not meet it.
        until("the lock is gone", || {
            lab.sh("web1", "ls /run/rollback-prod/deploy 2>/dev/null || true")
                .split_whitespace()
                .all(|name| !name.ends_with(".lock"))
        });
    }
}

#[test]
fn an_archive_that_a_lost_line_cut_is_a_gap_and_the_rollback_goes_on() {
    let lab = Lab::up(&["web1"]);
    // Half of the archive, then nothing for a while: as a line looks that is about to be lost.
    lab.sh(
        "web1",
        r#"head -c 200000 /dev/urandom >/opt/listings/logs/static.log
        cat >/usr/local/bin/gzip <<'SH'
#!/bin/sh
/usr/bin/gzip "$@" | { head -c 100000; if [ ! -e /tmp/was-cut ]; then touch /tmp/half-way; sleep 30; fi; cat; }
SH
        chmod 755 /usr/local/bin/gzip"#,
    );
    let config = config_with_log(&lab, "/opt/listings/logs/static.log", |text| text);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| roll(&lab, &config));
        until("half of it was sent", || lab.exec("web1", &["test", "-e", "/tmp/half-way"]).status.success());
        lab.sh("web1", "touch /tmp/was-cut; pkill -KILL -f '^sshd: deploy'");
        let scene = run.join().expect("the run is not what panics");
        scene.holds(matches!(scene.status.code(), Some(0 | 4)), "a rollback that is done is not undone");
        scene.says("/opt/listings/logs/static.log: cut after").says("green stopped");
        let folder = incident(&lab, &scene);
        let report = text(&folder, "INCIDENT_REPORT.md");
        scene.holds(report.contains("cut after"), &format!("the report says so:\n{report}"));
        let sums = Command::new("sha256sum").args(["-c", "--strict", "SHA256SUMS"]).current_dir(&folder).output();
        scene.holds(sums.is_ok_and(|sums| sums.status.success()), "what came of it is kept, and summed up");
    });
}

#[test]
fn errors_in_greens_log_are_in_the_report_and_its_secrets_are_nowhere() {
    let lab = Lab::up(&["web1"]);
    lab.sh(
        "web1",
        "touch /opt/listings/green.noisy; for i in $(seq 40); do curl -s -o /dev/null http://127.0.0.1:8081/; done",
    );
    let on_host = lab.sh("web1", "cat /opt/listings/logs/green.log");
    assert!(on_host.contains("password=hunter2") && on_host.contains("panic"), "there is something to find: {on_host}");
    let scene = roll(&lab, &lab.config(""));
    scene.exits(0).never_says("hunter2");
    let folder = incident(&lab, &scene);
    let report = text(&folder, "INCIDENT_REPORT.md");
    for word in ["panic", "query failed", "timeout after 5000ms"] {
        scene.holds(report.contains(word), &format!("the report names {word}:\n{report}"));
    }
    // Everything that people read; the archive alone is the log as it was.
    for name in names(&folder).iter().filter(|name| !name.ends_with(".gz")) {
        scene.holds(!text(&folder, name).contains("hunter2"), &format!("{name} holds no secret"));
    }
}

/// A file system of that size over a folder, for as long as this lives.
struct Tiny(PathBuf);

impl Tiny {
    fn over(folder: &Path, size: &str) -> Tiny {
        std::fs::create_dir_all(folder).expect("make a folder");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tiny"]).arg(folder).status();
        assert!(status.is_ok_and(|status| status.success()), "mount a tmpfs");
        Tiny(folder.to_owned())
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_here_costs_evidence_and_not_the_rollback() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "head -c 400000 /dev/urandom >/opt/listings/logs/static.log");
    let config = config_with_log(&lab, "/opt/listings/logs/static.log", |text| text);
    let _tiny = Tiny::over(&lab.folder().join("incidents"), "24k");
    let scene = roll(&lab, &config);
    scene.exits(4).says("traffic on blue on 1 of 1 host; green stopped").says("No space left on device");
    let said = lab.sh("web1", "curl -s -H 'Host: listings.example.com' http://127.0.0.1/");
    scene.holds(said == "blue", "blue serves");
    // What the disk does not take, the screen does.
    scene.holds(scene.stdout.contains("Gaps"), "the report is on the screen");
}

#[test]
fn an_incidents_folder_that_cannot_be_made_is_made_elsewhere_and_named() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("");
    std::fs::write(lab.folder().join("incidents"), "a file where a folder should be").expect("write");
    let elsewhere = lab.folder().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("make a folder");
    let mut command = command(&lab, &config);
    let scene = Scene::of(command.env("TMPDIR", &elsewhere), lab.folder());
    scene.exits(0).says("green stopped").says("the incident folder is").says(&elsewhere.display().to_string());
    let found: BTreeMap<String, PathBuf> =
        names(&elsewhere).into_iter().map(|name| (name.clone(), elsewhere.join(name))).collect();
    let folder = found.iter().find(|(name, _)| name.starts_with("rollback-")).expect("it was made").1;
    scene.holds(names(folder).contains(&"INCIDENT_REPORT.md".to_owned()), "and is whole");
}
