//! The line: refused, cut, frozen, noisy, and how a run ends then. Against real sshds, real cuts of the network and
//! real power failures.

#[path = "support/config.rs"]
mod config;
#[path = "support/site.rs"]
mod site;
mod support;

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use config::inventory_of;
use rollback_prod::hosts::program::Tenure;
use rollback_prod::hosts::question;
use rollback_prod::hosts::remote::{Apply, Ask};
use rollback_prod::hosts::ssh::Ssh;
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::inventory::Inventory;
use rollback_prod::nouns::names::IncidentId;
use rollback_prod::nouns::plan::TakesOver;
use rollback_prod::nouns::side::Direction;
use rollback_prod::steps::lock;
use site::{answer, command, roll, serves, until, users_inside, users_lost_nothing};
use support::lab::Lab;
use support::{Scene, rollback_prod};

/// The lab's own ssh_config with more in front, where it wins.
fn ssh_config(lab: &Lab, first: &str) -> PathBuf {
    let path = lab.folder().join("ssh_config");
    let text = std::fs::read_to_string(lab.ssh_config()).expect("the lab has one");
    std::fs::write(&path, format!("{first}\n{text}")).expect("write ssh_config");
    path
}

/// A config whose ssh settings are these, besides a short connect_timeout.
fn config_over(lab: &Lab, first: &str, settings: &str) -> PathBuf {
    let ours = ssh_config(lab, first);
    let theirs = lab.ssh_config();
    lab.config_with(|text| {
        text.replace(
            &format!("config = \"{}\"", theirs.display()),
            &format!("config = \"{}\"\nconnect_timeout = \"2s\"\n{settings}", ours.display()),
        )
    })
}

/// The journal of the newest run, as far as it was written.
fn journal(lab: &Lab) -> String {
    newest(lab, "journal.jsonl")
}

/// A file of the newest incident; empty where there is none.
fn newest(lab: &Lab, file: &str) -> String {
    let Ok(entries) = std::fs::read_dir(lab.folder().join("incidents")) else { return String::new() };
    let folder = entries.flatten().map(|entry| entry.path()).max();
    folder.and_then(|folder| std::fs::read_to_string(folder.join(file)).ok()).unwrap_or_default()
}

/// Waits until a step is about to be done: its intent is on disk.
#[track_caller]
fn await_intent(lab: &Lab, step: &str) {
    let words = [format!("\"step\":\"{step}\""), "\"event\":\"intent\"".to_owned()];
    until(&format!("the intent of {step} is on disk"), || {
        journal(lab).lines().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

/// nginx takes its time to reload, so that something can happen meanwhile. Gives the setting for it.
fn slow_reload(lab: &Lab, host: &str, seconds: u32) -> String {
    lab.sh(
        host,
        &format!(
            "printf '#!/bin/sh\\ntouch /run/reload-began\\nsleep {seconds}\\nexec systemctl reload nginx\\n' \
             >/usr/local/bin/slow-reload; chmod 755 /usr/local/bin/slow-reload"
        ),
    );
    "reload = \"/usr/local/bin/slow-reload\"".to_owned()
}

#[track_caller]
fn await_reload(lab: &Lab, host: &str) {
    until("the reload began", || lab.exec(host, &["test", "-e", "/run/reload-began"]).status.success());
}

fn with_nginx(text: String, setting: &str) -> String {
    text.replace("sudo = true\n", &format!("sudo = true\n{setting}\n"))
}

#[track_caller]
fn sshd(lab: &Lab, host: &str, lines: &str) {
    // `Match` ends only at another one or at the end of all files, so it may stand only in the last.
    lab.sh(
        host,
        &format!("printf '%b\\n' '{lines}' >/etc/ssh/sshd_config.d/00-test.conf; sshd -t && systemctl restart ssh"),
    );
    until("sshd listens again", || !lab.sh(host, "ss -Hltn '( sport = :22 )'").is_empty());
}

// --- refused at the door -----------------------------------------------------------------------------------------

#[test]
fn an_unknown_host_key_is_refused_with_the_command_that_shows_it() {
    let lab = Lab::up(&["web1"]);
    let empty = lab.folder().join("empty");
    std::fs::write(&empty, "").expect("write a file");
    // Whatever the operator's own file says about it.
    let first = format!("StrictHostKeyChecking no\nUserKnownHostsFile {}", empty.display());
    let scene = roll(&lab, &config_over(&lab, &first, ""));
    scene.exits(1).says("its host key is not known here").says("ssh web1 true");
    scene.holds(std::fs::read(&empty).expect("it is there").is_empty(), "and nothing was learnt");
    serves(&lab, "web1", "green", &scene);
}

#[test]
fn a_changed_host_key_is_refused_in_words_of_its_own() {
    let lab = Lab::up(&["web1"]);
    let known = lab.folder().join("known");
    let key = lab.folder().join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.is_ok_and(|status| status.success()));
    let public = std::fs::read_to_string(key.with_extension("pub")).expect("it was made");
    std::fs::write(&known, format!("web1,{} {public}", lab.ip("web1"))).expect("write known_hosts");
    let scene = roll(&lab, &config_over(&lab, &format!("UserKnownHostsFile {}", known.display()), ""));
    scene.exits(1).says("its host key is not the one we know").says("ssh-keygen -R");
    serves(&lab, "web1", "green", &scene);
}

#[test]
fn a_key_that_is_not_accepted_is_named() {
    let lab = Lab::up(&["web1"]);
    let key = lab.folder().join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.is_ok_and(|status| status.success()));
    lab.sh("web1", "rm /home/deploy/.ssh/authorized_keys");
    let scene = roll(&lab, &config_over(&lab, &format!("IdentityFile {}", key.display()), ""));
    scene.exits(1).says("it does not accept our key").says("ssh-add -l");
    serves(&lab, "web1", "green", &scene);
}

#[test]
fn a_host_that_asks_for_a_password_never_makes_us_wait() {
    let lab = Lab::up(&["web1"]);
    sshd(&lab, "web1", "PubkeyAuthentication no\\nPasswordAuthentication yes\\nKbdInteractiveAuthentication yes");
    let scene = roll(&lab, &config_over(&lab, "PreferredAuthentications password,keyboard-interactive", ""));
    scene.exits(1).says("it does not accept our key");
    scene.holds(scene.took < Duration::from_secs(10), "it ends by itself");
}

#[test]
fn a_closed_port_is_named() {
    let lab = Lab::up(&["web1"]);
    let scene = roll(&lab, &config_over(&lab, "Port 2222", ""));
    scene.exits(1).says("Connection refused").says("ssh web1 true");
    scene.holds(scene.took < Duration::from_secs(10), "at once");
}

#[test]
fn a_black_hole_ends_with_the_connect_timeout() {
    let lab = Lab::up(&["web1"]);
    let config = config_over(&lab, "", "");
    lab.cut("web1");
    let scene = roll(&lab, &config);
    scene.exits(1).says("web1");
    scene.holds(scene.took < Duration::from_secs(10), "two seconds and a little");
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let lab = Lab::up(&["web1"]);
    let scene = roll(&lab, &config_over(&lab, "Host web1\n  HostName no-such-host.invalid\nHost *", ""));
    scene.exits(1).says("its name cannot be resolved");
}

#[test]
fn an_account_that_runs_something_else_is_shown_with_its_words() {
    let lab = Lab::up(&["web1"]);
    sshd(&lab, "web1", "ForceCommand echo this account is for backups only");
    let scene = roll(&lab, &config_over(&lab, "", ""));
    scene.exits(1).says("this account is for backups only");
    scene.holds(scene.took < Duration::from_secs(20), "it does not wait for an answer that cannot come");
}

// --- odd hosts ---------------------------------------------------------------------------------------------------

#[test]
fn a_fish_login_shell_works() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "usermod -s /usr/bin/fish deploy");
    let scene = roll(&lab, &lab.config(""));
    scene.exits(0);
    serves(&lab, "web1", "blue", &scene);
}

/// The C shells differ from all others in quoting: `!` and newlines. Debian's base has none, so this stands in for it
/// where it matters: it takes one line, refuses a `!`, and gives the rest to sh.
#[test]
fn a_login_shell_that_takes_one_plain_line_works() {
    let lab = Lab::up(&["web1"]);
    lab.sh(
        "web1",
        r#"cat >/usr/local/bin/oddsh <<'SH'
#!/bin/sh
[ "$1" = -c ] || exit 1
case $2 in *'!'* | *'
'*) echo 'Event not found.' >&2; exit 1 ;; esac
exec /bin/sh -c "$2"
SH
        chmod 755 /usr/local/bin/oddsh; echo /usr/local/bin/oddsh >>/etc/shells; usermod -s /usr/local/bin/oddsh deploy"#,
    );
    roll(&lab, &lab.config("")).exits(0);
}

#[test]
fn noise_of_the_login_shell_is_no_answer() {
    let lab = Lab::up(&["web1"]);
    lab.sh(
        "web1",
        r#"{ cat <<'RC'
echo "Welcome to web1! $(seq 1 2000)"
printf '\n0123456789abcdef0123456789abcdef begin\nrights\n0123456789abcdef0123456789abcdef end 0\n'
printf '\nsection nginx.text\nupstream listings_backend { server 127.0.0.1:8080; }\n#end-\n'
echo 'you have mail' >&2
RC
        cat /home/deploy/.bashrc; } >/tmp/rc; install -o deploy -g deploy /tmp/rc /home/deploy/.bashrc"#,
    );
    let said = lab.ssh("web1", "true");
    assert!(String::from_utf8_lossy(&said.stdout).contains("Welcome to web1!"), "it is noisy: {said:?}");
    let scene = roll(&lab, &lab.config(""));
    scene.exits(0).never_says("Welcome to web1!");
    serves(&lab, "web1", "blue", &scene);
}

/// Everything that a host prints beside an answer, on every way that a program takes there.
#[test]
fn a_noisy_sudo_and_a_noisy_shell_change_no_judgement() {
    // All rights, which is one root shell, and only those that check asks for.
    for is_exact in [false, true] {
        let lab = Lab::up(&["web1"]);
        let config = lab.config("");
        let file = "/etc/nginx/sites-available/listings";
        lab.sh(
            "web1",
            &format!(
                r#"chown root:root {file}; chmod 600 {file}
                cat >/usr/local/bin/sudo <<'SH'
#!/bin/sh
echo 'sudo: unable to resolve host web1: Name or service not known' >&2
echo 'WARNING! upstream listings_backend {{ server 127.0.0.1:9; }} (ALL) NOPASSWD: ALL' >&2
exec /usr/bin/sudo "$@"
SH
                chmod 755 /usr/local/bin/sudo
                {{ echo 'echo "Welcome! mounted swapped 1 yes"; echo "mesg: ttyname failed: Inappropriate ioctl for device" >&2'
                  cat /home/deploy/.bashrc; }} >/tmp/rc; install -o deploy -g deploy /tmp/rc /home/deploy/.bashrc
                echo 'export LC_ALL=xx_XX.UTF-8' >>/home/deploy/.profile"#
            ),
        );
        let said = lab.ssh("web1", "sudo -n true; perl -e 1");
        assert!(String::from_utf8_lossy(&said.stderr).contains("unable to resolve host"), "it is noisy: {said:?}");
        let check = || {
            let mut command = rollback_prod();
            command.current_dir(lab.folder()).arg("--config").arg(&config).arg("check");
            Scene::of(&mut command, lab.folder())
        };
        if is_exact {
            lab.sh("web1", "echo '# nobody may do anything' >/etc/sudoers.d/deploy");
            let refused = check();
            let refused = refused.exits(1);
            let lines: Vec<&str> =
                refused.stderr.lines().map(str::trim).filter(|line| line.starts_with("deploy ALL=")).collect();
            // unshare tests the candidate; a switch does without it, so nobody is asked to allow it.
            let lines = format!("{}\ndeploy ALL=(root) NOPASSWD: /usr/bin/unshare\n", lines.join("\n"));
            lab.sh("web1", &format!("cat >/etc/sudoers.d/deploy <<'SUDOERS'\n{lines}SUDOERS\nvisudo -c -q"));
        }
        check().exits(0).says("nothing stands in the way");
        let scene = roll(&lab, &config);
        scene.exits(0).says("candidate accepted").says("green stopped").never_says("not tested").never_says("no lock");
        scene.never_says("unable to resolve").never_says("Welcome!");
        serves(&lab, "web1", "blue", &scene);
        // And what nginx refuses is refused in its own words, not in sudo's.
        lab.sh("web1", "echo 'no_such_directive on;' >/etc/nginx/conf.d/broken.conf");
        check().exits(1).says("no_such_directive").never_says("unable to resolve");
    }
}

#[test]
fn a_host_that_drops_connections_when_many_come_is_asked_again() {
    let lab = Lab::up(&["web1"]);
    // Of this setting sshd takes the last one that it reads.
    lab.sh("web1", "sed -i /MaxStartups/d /etc/ssh/sshd_config.d/lab.conf");
    sshd(&lab, "web1", "MaxStartups 1");
    // Somebody who never says who he is takes the only place.
    let taken = TcpStream::connect((lab.ip("web1"), 22)).expect("sshd takes one");
    let config = lab.config("");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(1500));
            drop(taken);
        });
        let scene = roll(&lab, &config);
        scene.exits(0).says("green stopped");
        serves(&lab, "web1", "blue", &scene);
    });
    let taken = TcpStream::connect((lab.ip("web1"), 22)).expect("sshd takes one");
    let began = Instant::now();
    let scene = roll(&lab, &config);
    scene.exits(1).says("it drops connections before it knows who we are");
    scene.holds(began.elapsed() < Duration::from_secs(10), "and it gives up in time");
    drop(taken);
}

#[test]
fn a_host_with_few_sessions_for_a_connection_is_rolled_back_all_the_same() {
    let lab = Lab::up(&["web1"]);
    sshd(&lab, "web1", "MaxSessions 2");
    let scene = roll(&lab, &lab.config(""));
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    let names: String = list(&lab);
    scene.holds(
        names.contains("nginx-error.log") && names.contains("systemd.log"),
        &format!("the evidence is whole: {names}"),
    );
}

fn list(lab: &Lab) -> String {
    let mut names = String::new();
    for folder in std::fs::read_dir(lab.folder().join("incidents")).expect("there is an incident").flatten() {
        for file in std::fs::read_dir(folder.path()).expect("it can be listed").flatten() {
            names.push_str(&format!("{}\n", file.file_name().to_string_lossy()));
        }
    }
    names
}

// --- what goes over the line, and how often ----------------------------------------------------------------------

#[test]
fn one_connection_to_each_host_carries_a_whole_run() {
    let lab = Lab::up(&["web1", "web2"]);
    let scene = roll(&lab, &lab.config(""));
    scene.exits(0);
    for host in ["web1", "web2"] {
        let accepted =
            lab.sh(host, "journalctl -q --no-pager -u ssh | grep -c 'Accepted publickey for deploy' || true");
        scene.holds(accepted == "1", &format!("{accepted} connections to {host}"));
    }
}

#[test]
fn a_shell_that_allows_few_open_files_is_asked_for_more() {
    let lab = Lab::up(&["web1", "web2", "web3"]);
    let run = command(&lab, &lab.config(""));
    let mut narrow = Command::new("sh");
    // Twelve files for each host, a dozen beside: this would not do.
    narrow.current_dir(lab.folder()).args(["-c", "ulimit -S -n 40; exec \"$0\" \"$@\""]);
    narrow.arg(run.get_program()).args(run.get_args());
    let scene = Scene::of(&mut narrow, lab.folder());
    scene.exits(0).says("traffic is safe: blue serves on 3 of 3 hosts");
}

#[test]
fn the_options_of_the_config_reach_ssh_and_the_report_says_what_was_agreed_on() {
    let lab = Lab::up(&["web1"]);
    sshd(&lab, "web1", "LogLevel DEBUG2");
    let reported = |scene: &Scene, name: &str| {
        let report = newest(&lab, "INCIDENT_REPORT.md");
        scene.holds(report.contains(&format!("| ssh key exchange | {name} |")), &report);
    };
    let kex = || lab.sh("web1", "journalctl -q --no-pager -u ssh | grep -o 'kex: algorithm: .*' | tail -n 1 || true");
    for name in ["curve25519-sha256", "ecdh-sha2-nistp256"] {
        let scene = roll(&lab, &config_over(&lab, "", &format!("options = [\"KexAlgorithms={name}\"]")));
        scene.exits(0);
        assert!(kex().starts_with(&format!("kex: algorithm: {name}")), "{}", kex());
        reported(&scene, name);
    }
    // Without a word of ours it is what the operator's own ssh does.
    let scene = roll(&lab, &config_over(&lab, "", ""));
    scene.exits(0);
    let by_itself = kex().trim_start_matches("kex: algorithm: ").trim().trim_end_matches(" [preauth]").to_owned();
    scene.holds(!by_itself.is_empty(), "sshd says what was agreed on");
    reported(&scene, &by_itself);
}

#[test]
fn a_jump_host_of_the_ssh_config_is_used() {
    let lab = Lab::up(&["web1", "web2"]);
    let ours = ssh_config(&lab, "Host web2\n  ProxyJump web1\nHost *");
    let theirs = lab.ssh_config().display().to_string();
    // With the time that a connection has by default: this one is two logins, one after the other.
    let config = lab.config_with(|text| text.replace(&theirs, &ours.display().to_string()));
    let scene = roll(&lab, &config);
    scene.exits(0);
    serves(&lab, "web2", "blue", &scene);
    let accepted = lab.sh("web2", "journalctl -q --no-pager -u ssh | grep 'Accepted publickey for deploy'");
    scene.holds(accepted.contains(&format!("from {} ", lab.ip("web1"))), &accepted);
}

#[test]
fn a_fleet_behind_a_bastion_that_drops_connections_is_reached() {
    let lab = Lab::up(&["bastion", "web1", "web2", "web3"]);
    lab.sh("bastion", "sed -i /MaxStartups/d /etc/ssh/sshd_config.d/lab.conf");
    sshd(&lab, "bastion", "MaxStartups 1");
    let file = ssh_config(&lab, "Host web*\nProxyJump bastion");
    let config = lab.config_with(|text| {
        text.replace(&lab.ssh_config().display().to_string(), &file.display().to_string())
            .replace("[[host]]\nname = \"bastion\"\nssh = \"bastion\"\n", "")
    });
    let scene = roll(&lab, &config);
    scene.exits(0).says("traffic is safe: blue serves on 3 of 3 hosts");
    for host in ["web1", "web2", "web3"] {
        serves(&lab, host, "blue", &scene);
    }
    let dropped = || {
        lab.sh(
            "bastion",
            "journalctl -u ssh --no-pager | grep -c 'beginning MaxStartups throttling\\|drop connection' || true",
        )
    };
    let before = dropped();
    scene.holds(before != "0", &format!("the bastion did drop connections: {before}"));
    // One after the other it drops none.
    let text = std::fs::read_to_string(&config).expect("the config");
    let config = lab.config_with(|_| text.replace("[ssh]\n", "[ssh]\nat_once = 1\n"));
    let scene = roll(&lab, &config);
    scene.exits(0).says("blue serves on 3 of 3 hosts");
    scene.holds(dropped() == before, &format!("dropped by then: {before}, now: {}", dropped()));
}

#[test]
fn no_secret_is_on_any_command_line() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("[notify]\ntimeout = \"1s\"\nslack = { webhook_env = \"SLACK_WEBHOOK_URL\" }");
    let secret = "T0PSECRETTOKEN";
    let is_over = AtomicBool::new(false);
    let (seen, looked, saw_ssh) = std::thread::scope(|scope| {
        // The lab's hosts are processes of this machine too: one look sees their command lines and ours.
        let sampler = scope.spawn(|| {
            let (mut seen, mut looked, mut saw_ssh) = (Vec::new(), 0, false);
            while !is_over.load(Ordering::Relaxed) {
                for process in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
                    let Ok(words) = std::fs::read(process.path().join("cmdline")) else { continue };
                    let words = String::from_utf8_lossy(&words).into_owned();
                    looked += 1;
                    saw_ssh |= words.contains("ControlPersist=no");
                    if words.contains(secret) {
                        seen.push(words);
                    }
                }
            }
            (seen, looked, saw_ssh)
        });
        let scene = Scene::of(
            command(&lab, &config).env("SLACK_WEBHOOK_URL", format!("https://127.0.0.1:9/services/{secret}")),
            lab.folder(),
        );
        is_over.store(true, Ordering::Relaxed);
        scene.exits(0).never_says(secret);
        sampler.join().expect("it does not panic")
    });
    assert!(looked > 1000 && saw_ssh, "it did look: {looked}");
    assert!(seen.is_empty(), "{seen:?}");
}

// --- cut, frozen, dead -------------------------------------------------------------------------------------------

/// A run in the background, in a process group of its own, as a terminal would start it.
struct Run(Child, Instant);

impl Run {
    fn start(lab: &Lab, config: &Path) -> Run {
        let log = |name: &str| std::fs::File::create(lab.folder().join(name)).expect("make a file");
        let child = command(lab, config)
            .stdin(Stdio::null())
            .stdout(log("stdout"))
            .stderr(log("stderr"))
            .process_group(0)
            .spawn()
            .expect("start the program");
        Run(child, Instant::now())
    }

    /// `kill -SIGNAL`, to the process or, with a minus, to its group.
    fn signal(&self, signal: &str, whom: &str) {
        let status = Command::new("kill").args([signal, "--", &format!("{whom}{}", self.0.id())]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Waits for its end and asserts all at once.
    #[track_caller]
    fn ends(mut self, lab: &Lab, codes: &[i32], within: Duration) -> String {
        while self.0.try_wait().expect("look at it").is_none() && self.1.elapsed() < within {
            std::thread::sleep(Duration::from_millis(10));
        }
        let is_late = self.0.try_wait().expect("look at it").is_none();
        let _ = self.0.kill();
        let status = self.0.wait().expect("wait for it");
        let read = |name: &str| std::fs::read_to_string(lab.folder().join(name)).unwrap_or_default();
        let said = format!("--- {status} after {:?}\n{}\n---\n{}", self.1.elapsed(), read("stdout"), read("stderr"));
        assert!(!is_late, "not over within {within:?}\n{said}");
        assert!(status.code().is_some_and(|code| codes.contains(&code)), "one of {codes:?}\n{said}");
        said
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_line_that_is_cut_for_a_moment_in_the_switch_is_waited_for() {
    let lab = Lab::up(&["web1"]);
    let setting = slow_reload(&lab, "web1", 1);
    let config = lab.config_with(|text| with_nginx(text, &setting));
    let users = users_inside(&lab, "web1");
    let run = Run::start(&lab, &config);
    await_intent(&lab, "switch");
    await_reload(&lab, "web1");
    lab.cut("web1");
    // The switch ends while nobody can hear it.
    until("blue serves", || answer(&lab, "web1") == "blue");
    std::thread::sleep(Duration::from_secs(3));
    lab.mend("web1");
    run.ends(&lab, &[0], Duration::from_secs(90));
    assert_eq!(answer(&lab, "web1"), "blue");
    users_lost_nothing(&lab, "web1", users, "the line is gone for seconds");
}

#[test]
fn a_connection_that_is_reset_in_the_switch_is_made_again_and_the_result_is_fetched() {
    let lab = Lab::up(&["web1"]);
    let setting = slow_reload(&lab, "web1", 2);
    let config = lab.config_with(|text| with_nginx(text, &setting));
    let users = users_inside(&lab, "web1");
    let run = Run::start(&lab, &config);
    await_reload(&lab, "web1");
    // Every sshd of a session, and with them whatever still hangs on its line.
    lab.sh("web1", "pkill -KILL -f '^sshd: deploy'");
    let said = run.ends(&lab, &[0], Duration::from_secs(60));
    assert!(said.contains("looking again"), "{said}");
    assert_eq!(answer(&lab, "web1"), "blue");
    users_lost_nothing(&lab, "web1", users, "its sshd is killed");
}

#[test]
fn a_host_that_is_cut_off_for_good_is_unknown_and_a_second_run_finishes() {
    let lab = Lab::up(&["web1"]);
    let setting = slow_reload(&lab, "web1", 1);
    let config = lab.config_with(|text| with_nginx(text, &setting));
    let users = users_inside(&lab, "web1");
    let run = Run::start(&lab, &config);
    await_reload(&lab, "web1");
    lab.cut("web1");
    let said = run.ends(&lab, &[5], Duration::from_secs(150));
    assert!(said.contains("NOT KNOWN") && said.contains("web1"), "{said}");
    lab.mend("web1");
    let scene = roll(&lab, &config);
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    users_lost_nothing(&lab, "web1", users, "the line is gone for good");
}

#[test]
fn one_host_that_is_cut_off_does_not_keep_the_other_from_blue() {
    let lab = Lab::up(&["web1", "web2"]);
    let config = config_over(&lab, "", "");
    lab.cut("web2");
    let scene = roll(&lab, &config);
    scene.exits(5).says("web2").says("NOT KNOWN");
    serves(&lab, "web1", "blue", &scene);
    lab.mend("web2");
    let scene = roll(&lab, &config);
    scene.exits(0);
    serves(&lab, "web2", "blue", &scene);
}

#[test]
fn after_a_power_failure_in_the_switch_a_second_run_finishes() {
    let lab = Lab::up(&["web1"]);
    let setting = slow_reload(&lab, "web1", 3);
    let config = lab.config_with(|text| with_nginx(text, &setting));
    let run = Run::start(&lab, &config);
    await_reload(&lab, "web1");
    lab.poweroff("web1");
    lab.boot("web1");
    // Whatever it finds, it says it: that all is well only when it is.
    let said = run.ends(&lab, &[0, 1, 3, 4, 5], Duration::from_secs(150));
    if said.contains("exit status: 0 ") {
        assert_eq!(answer(&lab, "web1"), "blue", "{said}");
    }
    let scene = roll(&lab, &config);
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    let left = lab.sh("web1", "ls -A /etc/nginx/sites-available");
    scene.holds(!left.contains("rollback-prod"), &format!("nothing of the first run is left: {left}"));
}

/// Keeps a run in its drain: a request that takes that long is in flight on green.
fn slow_request(lab: &Lab, host: &str, seconds: u32) -> Child {
    let child = Command::new("curl")
        .args(["-s", "-m", "120", "-H", "Host: listings.example.com"])
        .arg(format!("http://{}/slow?ms={}", lab.ip(host), seconds * 1000))
        .stdout(Stdio::null())
        .spawn()
        .expect("start curl");
    until("green has the request", || !lab.sh(host, "ss -Htn state established '( sport = :8081 )'").is_empty());
    child
}

#[test]
fn a_frozen_session_in_the_drain_ends_in_bounded_time_with_the_truth() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("");
    let mut slow = slow_request(&lab, "web1", 8);
    let run = Run::start(&lab, &config);
    until("traffic has moved", || answer(&lab, "web1") == "blue");
    until("it drains", || journal(&lab).contains("\"step\":\"drain\""));
    lab.sh("web1", "pkill -STOP -f '^sshd: deploy'");
    let said = run.ends(&lab, &[0, 4], Duration::from_secs(150));
    assert_eq!(answer(&lab, "web1"), "blue", "{said}");
    let green = lab.sh("web1", "systemctl show -p ActiveState --value listings-green");
    if said.contains("exit status: 0 ") {
        assert_eq!(green, "inactive", "{said}");
    } else {
        assert!(said.contains("not done:"), "{said}");
    }
    let _ = slow.kill();
    let _ = slow.wait();
}

/// Programs of ours on a host: shells, and what they run, of the user that we log in as.
fn ours(lab: &Lab, host: &str) -> String {
    lab.sh(host, "ps -u deploy -o args= | grep -v -e '^/opt/listings/bin/' -e '^ps ' || true")
}

#[test]
fn a_run_that_is_killed_leaves_no_process_and_no_lock() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("");
    let mut slow = slow_request(&lab, "web1", 9);
    let run = Run::start(&lab, &config);
    until("it drains", || journal(&lab).contains("\"step\":\"drain\""));
    assert!(ours(&lab, "web1").contains("/bin/sh -c"), "it is there: {}", ours(&lab, "web1"));
    lab.sh("web1", "test -e /run/rollback-prod/deploy/listings.*.lock/held");
    run.signal("-KILL", "");
    until("nothing of ours runs on the host", || ours(&lab, "web1").is_empty());
    until("the lock is gone", || {
        lab.sh("web1", "ls /run/rollback-prod/deploy").split_whitespace().all(|name| !name.ends_with(".lock"))
    });
    until("no ssh of ours is left here", || {
        let found = Command::new("pgrep").args(["-f", &format!("^ssh .*{}", lab.ssh_config().display())]).output();
        found.is_ok_and(|found| found.stdout.is_empty())
    });
    drop(run);
    // And whoever comes next finds no obstacle.
    roll(&lab, &config).exits(0);
    let _ = slow.kill();
    let _ = slow.wait();
}

/// The config as the program reads it.
fn inventory(config: &Path) -> Inventory {
    let text = std::fs::read_to_string(config).expect("the config");
    inventory_of(config, text)
}

/// Between the first answer and the lock somebody thinks, or another host is slow; a firewall forgets the line meanwhile.
#[test]
fn a_line_that_died_before_the_lock_is_made_again_and_one_that_dies_with_it_is_seen() {
    let lab = Lab::up(&["web1"]);
    let inventory = inventory(&lab.config(""));
    let host = &inventory.hosts[0];
    let tenure = |run: &str| Tenure {
        run: IncidentId::new(run).expect("an id"),
        services: vec![inventory.word_on_hosts()],
        holder: run.to_owned(),
        takes_over: TakesOver::Nobody,
        number: None,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        // At once, while nobody knows yet, and later than what a line is trusted for.
        for (n, pause) in [0, 1500].into_iter().enumerate() {
            let fleet = Ssh::new(&inventory).expect("a folder for sockets").that_will_hold();
            fleet
                .ask(&host.name, &question::facts(&inventory, Direction::to(Colour::Blue), host))
                .await
                .expect("it answers");
            lab.sh("web1", "pkill -KILL -f '^sshd: deploy'");
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let run = format!("rollback-20260101-00000{n}");
            let prepare = lock::prepare(&inventory, &tenure(&run), None);
            let (answer, held) = fleet.hold(&host.name, &prepare).await.expect("over a new line");
            assert_eq!(answer.text("lock").as_deref(), Some("held"), "{answer:?}");
            assert!(answer.text("number").is_some_and(|number| number.parse::<u64>().is_ok()), "{answer:?}");
            assert!(!held.is_gone() && !held.is_lost());
            lab.sh("web1", "pkill -KILL -f '^sshd: deploy'");
            let until = Instant::now() + Duration::from_secs(10);
            while !held.is_gone() {
                assert!(Instant::now() < until, "it is not seen that the channel died");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(!held.is_lost(), "nobody else has it");
            held.release().await;
        }
    });
}

/// It changed nothing, so there is nothing to not know.
#[test]
fn a_question_that_the_line_was_cut_under_is_asked_once_more() {
    let lab = Lab::up(&["web1"]);
    let slow = "#!/bin/sh\n[ -e /tmp/asked ] || { touch /tmp/asked; sleep 60; }\nexec /usr/bin/curl \"$@\"\n";
    lab.sh("web1", &format!("printf '%s' '{slow}' >/usr/local/bin/curl; chmod 755 /usr/local/bin/curl"));
    let inventory = inventory(&lab.config(""));
    let host = &inventory.hosts[0];
    let facts = question::facts(&inventory, Direction::to(Colour::Blue), host);
    let asked = async {
        let fleet = Ssh::new(&inventory).expect("a folder for sockets");
        let answer = fleet.ask(&host.name, &facts).await;
        (answer, fleet.round_trips(&host.name))
    };
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| tokio::runtime::Runtime::new().expect("a runtime").block_on(asked));
        until("it is under way", || lab.exec("web1", &["test", "-e", "/tmp/asked"]).status.success());
        let cut = Instant::now();
        lab.sh("web1", "pkill -KILL -f '^sshd: deploy'");
        let (answer, round_trips) = asking.join().expect("it is not what panics");
        assert_eq!(answer.expect("over a new line").status, 0);
        assert_eq!(round_trips, 2, "not more often");
        assert!(cut.elapsed() < Duration::from_secs(10), "at once");
    });
}

#[test]
fn a_run_that_is_killed_in_the_switch_lets_the_step_finish() {
    let lab = Lab::up(&["web1"]);
    let setting = slow_reload(&lab, "web1", 2);
    let config = lab.config_with(|text| with_nginx(text, &setting));
    let users = users_inside(&lab, "web1");
    let run = Run::start(&lab, &config);
    await_reload(&lab, "web1");
    run.signal("-KILL", "");
    // And its line with it, so that nobody hears how the step ends.
    lab.sh("web1", "pkill -KILL -f '^sshd: deploy'");
    until("blue serves: the step went on without us", || answer(&lab, "web1") == "blue");
    until("nothing of ours runs on the host", || ours(&lab, "web1").is_empty());
    let mut ask = rollback_prod();
    ask.arg("--config").arg(&config).arg("status");
    let status = Scene::of(&mut ask, lab.folder());
    status.exits(0).says(".switch was done");
    let scene = roll(&lab, &config);
    scene.exits(0).says("a step of an earlier run: rollback-").says("green stopped");
    users_lost_nothing(&lab, "web1", users, "the laptop is killed");
}

#[test]
fn ctrl_c_reaches_us_and_not_the_ssh_that_carries_a_step() {
    let lab = Lab::up(&["web1"]);
    let setting = slow_reload(&lab, "web1", 2);
    let config = lab.config_with(|text| with_nginx(text, &setting));
    let run = Run::start(&lab, &config);
    await_reload(&lab, "web1");
    // As a terminal does: to everything in the foreground.
    run.signal("-INT", "-");
    let said = run.ends(&lab, &[130], Duration::from_secs(60));
    assert!(said.contains("traffic on blue on 1 of 1 host"), "the step that ran was finished: {said}");
    assert!(!said.contains("no answer"), "{said}");
    assert_eq!(answer(&lab, "web1"), "blue");
    until("the lock is gone", || {
        lab.sh("web1", "ls /run/rollback-prod/deploy").split_whitespace().all(|name| !name.ends_with(".lock"))
    });
}
