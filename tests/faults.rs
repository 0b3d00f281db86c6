//! The fault matrix: everything that goes wrong, at every step in which it can, on real hosts. A cell says what
//! production is after it, and holds: users were served, nothing is half-written, the exit code and the last words are
//! true, and a second run, when the fault is mended, finishes. The table is printed at the end.
//!
//! Every fault is played, at about an eighth of the moments that it has: `FAULTS=all cargo test --test faults` plays all cells, and
//! `ROW=power cargo test --test faults` those of the rows whose names hold that word, `MOMENT=hold` those of a moment.
//!
//! What has no row here: a pid that was given to another process (`scripts.rs`, where a pid can be chosen).

#[path = "support/site.rs"]
mod site;
mod support;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use site::*;
use support::lab::{Lab, Load};
use support::until_within;

const HOST: &str = "web1";
/// How many cells are played at once for each core: a cell waits most of its time, for a drain or a deadline.
const CELLS_PER_CORE: usize = 2;

/// The step in which a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Observe,
    Switch,
    Drain,
    Stop,
    Verify,
    Evidence,
    Report,
    /// Of a gradual switch, while it holds its first share.
    Hold,
    /// While blue is baked.
    Judge,
    /// While a change is made, with all traffic on blue.
    Change,
    /// While blue is put to the release before, which has no traffic yet.
    Release,
}

use Moment::{Change, Drain, Evidence, Hold, Judge, Observe, Release, Report, Stop, Switch, Verify};

const ALL: [Moment; 11] = [Observe, Switch, Change, Release, Drain, Stop, Verify, Evidence, Report, Hold, Judge];

/// Whom a fault may hurt by its own nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Users {
    /// They come over the network, and nobody of them may notice anything.
    Served,
    /// They are on the host itself, where a cut of the network does not reach them.
    Inside,
    /// The fault itself takes the service from them.
    Cut,
}

/// What happens at that moment.
enum Strike {
    /// Something is so from then on; when it strikes at the first step, it was so before.
    Lasting(fn(&Lab)),
    /// Something happens and is over.
    Passing(fn(&Lab)),
    /// The program itself gets a signal.
    Signal(Signal),
}

use Strike::{Lasting, Passing};

/// A row of the matrix.
struct Fault {
    name: &'static str,
    moments: &'static [Moment],
    users: Users,
    /// What the exit codes of the first run may be; which of them is right is held against production.
    exits: &'static [i32],
    /// Before the run: what makes room for the fault. The config's text may be changed.
    prepare: fn(&Lab, String) -> String,
    strike: Strike,
    mend: fn(&Lab),
}

fn as_it_is(_: &Lab, config: String) -> String {
    config
}

fn nothing(_: &Lab) {}

const FAULTS: &[Fault] = &[
    Fault {
        name: "ssh refused",
        moments: &ALL,
        users: Users::Served,
        exits: &[0, 1],
        prepare: as_it_is,
        strike: Lasting(|lab| drop(lab.sh(HOST, "systemctl stop ssh"))),
        mend: |lab| drop(lab.sh(HOST, "systemctl start ssh")),
    },
    Fault {
        name: "line cut for 1.5 s",
        moments: &ALL,
        users: Users::Inside,
        exits: &[0, 1, 4],
        prepare: as_it_is,
        strike: Passing(|lab| {
            lab.cut(HOST);
            std::thread::sleep(Duration::from_millis(1500));
            lab.mend(HOST);
        }),
        mend: nothing,
    },
    Fault {
        name: "host powered off",
        moments: &ALL,
        users: Users::Cut,
        exits: &[0, 1, 4, 5],
        prepare: as_it_is,
        strike: Passing(|lab| {
            lab.poweroff(HOST);
            lab.boot(HOST);
        }),
        mend: nothing,
    },
    Fault {
        name: "laptop killed with -9",
        moments: &ALL,
        users: Users::Served,
        exits: &[-1, 0],
        prepare: as_it_is,
        strike: Strike::Signal(Signal::KILL),
        mend: nothing,
    },
    Fault {
        name: "SIGINT",
        moments: &ALL,
        users: Users::Served,
        exits: &[130, 0],
        prepare: as_it_is,
        strike: Strike::Signal(Signal::INT),
        mend: nothing,
    },
    Fault {
        name: "disk full on the host",
        moments: &[Observe, Switch, Drain, Verify],
        users: Users::Served,
        exits: &[0, 1],
        prepare: on_a_small_disk,
        strike: Lasting(|lab| {
            drop(lab.exec(HOST, &["dd", "if=/dev/zero", "of=/etc/nginx/sites-available/full", "bs=4k", "status=none"]));
        }),
        mend: from_the_small_disk,
    },
    Fault {
        name: "file system read-only",
        moments: &[Observe, Switch, Drain, Verify],
        users: Users::Served,
        exits: &[0, 1],
        prepare: on_a_small_disk,
        strike: Lasting(|lab| drop(lab.sh(HOST, "mount -o remount,ro /etc/nginx/sites-available"))),
        mend: from_the_small_disk,
    },
    Fault {
        name: "nginx -t fails",
        moments: &ALL,
        users: Users::Served,
        exits: &[0, 1, 3],
        prepare: as_it_is,
        strike: Lasting(|lab| write(lab, HOST, "/etc/nginx/conf.d/broken.conf", "no_such_directive on;\n")),
        mend: |lab| drop(lab.sh(HOST, "rm -f /etc/nginx/conf.d/broken.conf")),
    },
    Fault {
        name: "nginx not running",
        moments: &ALL,
        users: Users::Cut,
        exits: &[0, 1, 3, 4, 5],
        prepare: as_it_is,
        strike: Lasting(|lab| drop(lab.sh(HOST, "systemctl stop nginx"))),
        mend: |lab| drop(lab.sh(HOST, "systemctl start nginx")),
    },
    Fault {
        name: "reload lies",
        moments: &[Observe, Drain, Verify],
        users: Users::Served,
        exits: &[0, 3],
        prepare: as_it_is,
        strike: Lasting(|lab| install(lab, HOST, RELOAD, "#!/bin/sh\nexit 0\n")),
        mend: |lab| install(lab, HOST, RELOAD, RELOADS),
    },
    Fault {
        name: "blue dies",
        moments: &[Observe, Switch, Drain, Stop, Verify, Report, Hold, Judge],
        users: Users::Cut,
        exits: &[0, 1, 3, 4],
        prepare: |lab, config| {
            drop_in(lab, HOST, "listings-blue", "Restart=no\nExecStartPre=/usr/bin/test ! -e /run/blue-is-dead");
            config
        },
        strike: Lasting(|lab| drop(lab.sh(HOST, "touch /run/blue-is-dead; systemctl kill -s KILL listings-blue"))),
        mend: |lab| {
            drop(lab.sh(HOST, "rm -f /run/blue-is-dead; rm -r /etc/systemd/system/listings-blue.service.d; systemctl daemon-reload; systemctl reset-failed listings-blue; systemctl start listings-blue"))
        },
    },
    Fault {
        // 4 where green was about to be stopped just then: it is left for whoever wonders why blue died.
        name: "blue dies, and can be started",
        moments: &[Drain, Stop, Verify],
        users: Users::Cut,
        exits: &[0, 4],
        prepare: |lab, config| {
            drop_in(lab, HOST, "listings-blue", "Restart=no");
            config
        },
        strike: Passing(|lab| drop(lab.sh(HOST, "systemctl kill -s KILL listings-blue"))),
        mend: nothing,
    },
    Fault {
        name: "green will not die",
        moments: &[Observe],
        users: Users::Served,
        exits: &[0],
        prepare: |lab, config| {
            drop_in(lab, HOST, "listings-green", "KillSignal=SIGCONT\nTimeoutStopSec=60");
            config.replace("listings-green.service\"\n", "listings-green.service\"\nstop_timeout = \"1s\"\n")
        },
        strike: Lasting(nothing),
        mend: nothing,
    },
    Fault {
        name: "green is started again",
        moments: &[Stop],
        users: Users::Served,
        exits: &[4],
        prepare: as_it_is,
        strike: Lasting(|lab| {
            drop(lab.sh(HOST, "systemd-run -q --unit=again --uid=deploy sh -c 'while :; do /opt/listings/bin/listings-green --port 8081; done'"))
        }),
        mend: |lab| drop(lab.sh(HOST, "systemctl stop again")),
    },
    Fault {
        name: "sudo gone",
        moments: &ALL,
        users: Users::Served,
        exits: &[0, 1, 3, 4, 5],
        prepare: as_it_is,
        strike: Lasting(|lab| write(lab, HOST, "/etc/sudoers.d/deploy", "# nobody may do anything\n")),
        mend: all_is_allowed,
    },
    Fault {
        name: "host key changed",
        moments: &[Observe, Switch, Drain, Stop],
        users: Users::Served,
        exits: &[0, 1],
        prepare: |lab, config| {
            lab.sh(HOST, "mkdir -p /root/keys; cp -a /etc/ssh/ssh_host_* /root/keys/");
            config
        },
        strike: Lasting(|lab| drop(lab.sh(HOST, "rm /etc/ssh/ssh_host_*; ssh-keygen -q -A; systemctl restart ssh"))),
        mend: |lab| drop(lab.sh(HOST, "cp -a /root/keys/* /etc/ssh/; systemctl restart ssh")),
    },
    Fault {
        name: "clock an hour off",
        moments: &ALL,
        users: Users::Served,
        exits: &[0, 3],
        prepare: as_it_is,
        strike: Lasting(|lab| {
            install(lab, HOST, "/usr/local/bin/date", "#!/bin/sh\nexec /bin/date -d '+1 hour' \"$@\"\n")
        }),
        mend: |lab| drop(lab.sh(HOST, "rm -f /usr/local/bin/date")),
    },
    Fault {
        name: "log of 10 GB",
        moments: &[Observe, Evidence],
        users: Users::Served,
        exits: &[0],
        prepare: as_it_is,
        strike: Lasting(|lab| drop(lab.sh(HOST, "truncate -s 10G /opt/listings/logs/green.log"))),
        mend: |lab| drop(lab.sh(HOST, "truncate -s 0 /opt/listings/logs/green.log")),
    },
    Fault {
        name: "log is a FIFO",
        moments: &[Observe, Evidence],
        users: Users::Served,
        exits: &[0],
        prepare: as_it_is,
        strike: Lasting(|lab| instead_of_the_log(lab, "mkfifo green.log")),
        mend: the_log_again,
    },
    Fault {
        name: "log is a device",
        moments: &[Observe],
        users: Users::Served,
        exits: &[0],
        prepare: as_it_is,
        strike: Lasting(|lab| instead_of_the_log(lab, "ln -s /dev/zero green.log")),
        mend: the_log_again,
    },
    Fault {
        name: "log is a link out of its folder",
        moments: &[Observe],
        users: Users::Served,
        exits: &[0],
        prepare: as_it_is,
        strike: Lasting(|lab| instead_of_the_log(lab, "ln -s /etc/shadow green.log")),
        mend: the_log_again,
    },
    Fault {
        name: "log is a folder",
        moments: &[Observe],
        users: Users::Served,
        exits: &[0],
        prepare: as_it_is,
        strike: Lasting(|lab| instead_of_the_log(lab, "mkdir green.log")),
        mend: the_log_again,
    },
    Fault {
        name: "lock forged",
        moments: &[Observe],
        users: Users::Served,
        exits: &[0],
        prepare: beside_a_stranger,
        strike: Lasting(|lab| {
            in_the_lock_s_place(
                lab,
                "mkdir -m 777 $d && echo mallory, since yesterday >$d/listings.9.1.lock; touch $d/listings.9.1.lock",
            );
        }),
        mend: without_the_stranger,
    },
    Fault {
        name: "lock is a link",
        moments: &[Observe],
        users: Users::Served,
        exits: &[0],
        prepare: beside_a_stranger,
        strike: Lasting(|lab| in_the_lock_s_place(lab, "ln -s /etc $d")),
        mend: without_the_stranger,
    },
    Fault {
        name: "lock unreadable",
        moments: &[Observe],
        users: Users::Served,
        exits: &[0],
        prepare: beside_a_stranger,
        strike: Lasting(|lab| in_the_lock_s_place(lab, "mkdir -m 000 $d")),
        mend: without_the_stranger,
    },
    Fault {
        name: "green's answers have no end",
        moments: &[Observe],
        users: Users::Cut,
        exits: &[0],
        prepare: green_s_health_is_asked,
        strike: Lasting(|lab| green_answers(lab, HOST, ENDLESS_BODY)),
        mend: |lab| green_answers_as_ever(lab, HOST),
    },
    Fault {
        name: "green's heads have no end",
        moments: &[Observe],
        users: Users::Cut,
        exits: &[0],
        prepare: green_s_health_is_asked,
        strike: Lasting(|lab| green_answers(lab, HOST, ENDLESS_HEAD)),
        mend: |lab| green_answers_as_ever(lab, HOST),
    },
    Fault {
        name: "/proc hides others",
        moments: &[Observe, Switch, Drain],
        users: Users::Served,
        exits: &[0, 3],
        prepare: as_it_is,
        strike: Lasting(|lab| drop(lab.sh(HOST, "mount -o remount,hidepid=2 /proc"))),
        mend: |lab| drop(lab.sh(HOST, "mount -o remount,hidepid=0 /proc")),
    },
    Fault {
        name: "log rotated meanwhile",
        moments: &[Observe, Drain, Evidence],
        users: Users::Served,
        exits: &[0],
        prepare: as_it_is,
        strike: Passing(|lab| {
            drop(lab.sh(
                HOST,
                "cd /opt/listings/logs; mv green.log green.log.1; install -o deploy -m 644 /dev/null green.log",
            ));
        }),
        mend: nothing,
    },
    Fault {
        name: "local disk full",
        moments: &ALL,
        users: Users::Served,
        exits: &[0, 4],
        prepare: |lab, config| {
            local_disk(lab, "mount", &["-t", "tmpfs", "-o", "size=256k", "tmpfs"]);
            config
        },
        strike: Lasting(|lab| {
            // Until not a byte goes on it.
            let path = lab.folder().join("incidents/full");
            drop(
                Command::new("dd")
                    .args(["if=/dev/zero", "bs=512", "status=none"])
                    .arg(format!("of={}", path.display()))
                    .output(),
            );
        }),
        mend: |lab| local_disk(lab, "umount", &["-l"]),
    },
    Fault {
        name: "slack hangs",
        moments: &[Observe],
        users: Users::Served,
        exits: &[0],
        prepare: |_, config| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("it has one");
            // It accepts and never says a word, as long as this test runs.
            std::mem::forget(listener);
            format!("{config}\n[notify]\ntimeout = \"1s\"\nwebhook = [{{ url = \"http://{address}/hook\" }}]\n")
        },
        strike: Lasting(nothing),
        mend: nothing,
    },
];

/// An account without rights, and a lock that is where any account can make a folder: in the place that root makes, nobody
/// else can.
fn beside_a_stranger(lab: &Lab, config: String) -> String {
    lab.sh(
        HOST,
        "useradd -m mallory; rm -rf /run/rollback-prod
         printf 'deploy ALL=(ALL) NOPASSWD: ALL, !/usr/bin/install\\n' >/etc/sudoers.d/deploy",
    );
    config
}

/// Makes something, as that account, wherever the lock may come to be; `$d` is the folder that it would be in.
fn in_the_lock_s_place(lab: &Lab, make: &str) {
    let uid = lab.sh(HOST, "id -u deploy");
    let text = format!("for b in /run/lock /dev/shm /tmp /var/tmp; do d=$b/rollback-prod-{uid}; {make}; done");
    as_account(lab, HOST, "mallory", &text);
}

fn all_is_allowed(lab: &Lab) {
    write(lab, HOST, "/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD:ALL\n");
}

fn without_the_stranger(lab: &Lab) {
    all_is_allowed(lab);
    lab.sh(
        HOST,
        "rm -rf /run/lock/rollback-prod-* /dev/shm/rollback-prod-* /tmp/rollback-prod-* /var/tmp/rollback-prod-*",
    );
}

fn green_s_health_is_asked(_: &Lab, config: String) -> String {
    config.replace("[green]\n", "[green]\nhealth = [\"http://127.0.0.1:8081/health\"]\n")
}

fn instead_of_the_log(lab: &Lab, make: &str) {
    lab.sh(HOST, &format!("cd /opt/listings/logs && mv green.log /root/ && runuser -u deploy -- {make}"));
}

fn the_log_again(lab: &Lab) {
    lab.sh(HOST, "cd /opt/listings/logs && rm -rf green.log && mv /root/green.log .");
}

const RELOAD: &str = "/usr/local/bin/reload-nginx";
/// It takes long enough to be struck in the middle of it.
const RELOADS: &str = "#!/bin/sh\ntouch /run/reload-began\nsleep 0.5\nexec systemctl reload nginx\n";

fn on_a_small_disk(lab: &Lab, config: String) -> String {
    lab.sh(
        HOST,
        &format!(
            "cp -a {FILE} /root/listings; mount -t tmpfs -o size=512k tmpfs /etc/nginx/sites-available
             cp -a /root/listings {FILE}; nginx -t 2>/dev/null && systemctl reload nginx"
        ),
    );
    config
}

fn from_the_small_disk(lab: &Lab) {
    lab.sh(
        HOST,
        &format!(
            "mount -o remount,rw /etc/nginx/sites-available; rm -f /etc/nginx/sites-available/full
             cp -a {FILE} /root/listings; umount -l /etc/nginx/sites-available; cp -a /root/listings {FILE}"
        ),
    );
}

fn local_disk(lab: &Lab, program: &str, words: &[&str]) {
    let folder = lab.folder().join("incidents");
    std::fs::create_dir_all(&folder).expect("make the folder");
    let output = Command::new(program).args(words).arg(&folder).output().expect("start mount");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A share that is held until somebody knows, with a dead man who is as patient as the second run is late.
const SWITCH: [&str; 11] =
    ["switch", "--to", "blue", "--reason", "a", "--steps", "10,100", "--hold", "8s", "--hold-max", "8s"];

/// The file at the first share.
fn shared(file: &str) -> String {
    file.replace("server 127.0.0.1:8080 down;", "server 127.0.0.1:8080 weight=1;")
        .replace("server 127.0.0.1:8081 weight=100;", "server 127.0.0.1:8081 weight=9;")
        .replace("X-Blue-Weight 0 always", "X-Blue-Weight 10 always")
        .replace("X-Green-Weight 100 always", "X-Green-Weight 90 always")
}

/// A file that a change puts back, and a command that takes its time.
const CHANGE: &str = r#"
[change.word]
on    = "app"
files = [{ put = "/opt/listings/word.old", in = "/opt/listings/word" }]
run   = ["sleep", "2"]
undo  = ["true"]
"#;

/// What blue is put to.
const EARLIER: &str = r#"release = "/opt/listings/release"
earlier = { files = [{ put = "/opt/listings/release.old", in = "/opt/listings/release" }] }"#;

/// What one cell came to.
struct Cell {
    fault: &'static str,
    moment: Moment,
    exit: i32,
    production: String,
}

/// One fault at one moment: a run that it strikes, what is true afterwards, and a run that finishes.
fn play(lab: &Lab, file: &str, fault: &Fault, moment: Moment) -> Cell {
    // Each step takes long enough to be struck in the middle of it.
    install(lab, HOST, RELOAD, RELOADS);
    drop_in(lab, HOST, "listings-green", if moment == Stop { "ExecStop=/bin/sleep 0.7" } else { "" });
    lab.sh(HOST, "rm -f /run/reload-began");
    let config = lab.config_with(|text| {
        let text = text
            .replace("sudo = true\n", &format!("sudo = true\nreload = \"{RELOAD}\"\n"))
            .replace("interval = \"100ms\"", "interval = \"200ms\"")
            .replace("[evidence]\n", "[evidence]\nmax_bytes = \"64MB\"\n")
            + "[judge]\np99 = \"off\"\nslower = \"off\"\n"
            + CHANGE;
        let text = if moment == Release { text.replace("[blue]\n", &format!("[blue]\n{EARLIER}\n")) } else { text };
        (fault.prepare)(lab, text)
    });
    drop(config);
    for file in ["word", "release"] {
        lab.sh(
            HOST,
            &format!("cd /opt/listings; echo new >{file}; echo old >{file}.old; chown deploy {file} {file}.old"),
        );
    }
    // A blue that takes as long to come up as the file that it is asked about is looked at.
    drop_in(lab, HOST, "listings-blue", if moment == Release { "ExecStartPre=/bin/sleep 0.7" } else { "" });
    if moment == Evidence {
        lab.sh(HOST, "head -c 12000000 /dev/urandom | base64 >>/opt/listings/logs/green.log");
    }
    let users = match fault.users {
        Users::Served => Some(Load::start(&lab.ip(HOST), "GET", "/", 2)),
        Users::Inside | Users::Cut => None,
    };
    let inside = (fault.users == Users::Inside).then(|| users_inside(lab, HOST));
    // Somebody whose request is in flight on green: the drain takes as long.
    let flight = (moment == Drain).then(|| {
        let ip = lab.ip(HOST);
        std::thread::spawn(move || get(&ip, "/slow?ms=2500"))
    });
    if moment == Drain {
        until("the request is in flight", || {
            lab.sh(HOST, "ss -Htn state established '( dport = :8081 )' | wc -l") != "0"
        });
    }

    let known = incidents(lab).len();
    if let (Lasting(strike), Observe) = (&fault.strike, moment) {
        strike(lab);
    }
    let mut running = match moment {
        Hold => begin_command(lab, &SWITCH),
        Judge => begin(lab, &["--bake", "6s"]),
        Change => begin(lab, &["--with", "word"]),
        Release => begin(lab, &["--to", "earlier"]),
        _ => begin(lab, &[]),
    };
    await_moment(lab, &mut running, known, moment);
    if !running.is_over() {
        match &fault.strike {
            Lasting(strike) if moment != Observe => strike(lab),
            Lasting(_) => {}
            Passing(strike) => strike(lab),
            Strike::Signal(signal) => running.signal(*signal),
        }
    }
    let code = running.exit();
    let said = running.said();
    let name = format!("{} × {moment:?}", fault.name);
    let holds = |claim: bool, words: &str| assert!(claim, "{name}: {words}\nexit {code}\n{said}");

    let more: &[i32] = match moment {
        // Judged bad and taken back, not to be judged, interrupted, or lost; which of them is right is held against production.
        Hold => &[-1, 0, 3, 4, 5, 8, 130],
        Judge => &[4, 8],
        // What is lost is lost of the change alone.
        Change => &[4, 5],
        _ => &[],
    };
    holds(
        fault.exits.contains(&code) || more.contains(&code),
        &format!("the exit code is one of {:?} and {more:?}", fault.exits),
    );
    let production =
        said.lines().rev().find_map(|line| line.strip_prefix("production: ")).unwrap_or_default().to_owned();
    holds(code == -1 || !production.is_empty(), "its last words say what production is");
    journal_is_whole(lab, known, fault.name == "local disk full", &holds);
    let text = read(lab, HOST, FILE);
    let wanted = rolled_back(file);
    let shared = shared(file);
    holds(
        text == file || text == wanted || (moment == Hold && text == shared),
        &format!("the file is the old one or the new one\n{text}"),
    );
    // What was cut may need a moment to come back, but it comes back as the last words say; they cannot know what happens
    // when all has been looked at.
    let is_too_late = fault.users == Users::Cut && moment == Report;
    let said_to_serve = ["blue", "green"].into_iter().find(|colour| {
        let is_silent = production.contains("DOES NOT ANSWER") || production.contains("NOT KNOWN");
        production.contains(&format!("on {colour} on 1 of 1")) && !is_silent && code != -1 && !is_too_late
    });
    if let Some(colour) = said_to_serve {
        until(&format!("{name}: {colour} serves, as it says\n{said}"), || served_by(lab, HOST) == colour);
    }
    let served = served_by(lab, HOST);
    let green_runs = unit(lab, HOST, "listings-green") == "active" || fault.name == "green is started again";
    match code {
        0 => {
            holds(text == wanted, "0: the file is the new one");
            holds(served == "blue" || fault.users == Users::Cut, &format!("0: blue serves, and not {served}"));
            let is_kept = moment == Hold || fault.name == "host powered off";
            holds(!green_runs || is_kept, "0: green is stopped");
        }
        1 | 3 => {
            holds(text == file, "nothing was changed: the file is the old one");
            holds(served == "green" || fault.users == Users::Cut, &format!("nothing was changed: {served} serves"));
            holds(green_runs, "nothing was changed: green runs");
        }
        4 => holds(text == wanted, "4: the file is the new one"),
        8 | 130 if moment == Hold => {
            holds(text == shared && production.contains("blue 10 %"), "it stands at the share that it says");
            holds(production.contains("all traffic goes back to green"), "it says until when");
        }
        _ => {}
    }

    let word = lab.sh(HOST, "cat /opt/listings/word");
    for (said, is) in [("made", "old"), ("taken back", "new"), ("not made", "new")] {
        let says = production.contains(&format!("change word {said}"));
        holds(!says || word.trim() == is, &format!("of the change it says {said}, and the file says {word}"));
    }

    (fault.mend)(lab);
    let release = lab.sh(HOST, "cat /opt/listings/release");
    holds(moment != Release || code != 0 || release.trim() == "old", "0: blue is the release before");
    holds(
        moment != Release || !matches!(code, 1 | 3) || release.trim() == "new",
        "nothing was changed: blue is what it was",
    );
    let second = match moment {
        Change => rollback(lab, &["--with", "word"]),
        Release => rollback(lab, &["--to", "earlier"]),
        _ => rollback(lab, &[]),
    };
    second.holds(
        second.status.code() == Some(0),
        &format!("{name}: the second run finishes; the first ended with {code}:\n{said}"),
    );
    second.holds(served_by(lab, HOST) == "blue", &format!("{name}: blue serves"));
    second.holds(read(lab, HOST, FILE) == wanted, &format!("{name}: the file is right"));
    second.holds(unit(lab, HOST, "listings-green") != "active", &format!("{name}: green is stopped"));
    let word = lab.sh(HOST, "cat /opt/listings/word");
    second.holds(moment != Change || word.trim() == "old", &format!("{name}: the change is made: {word}"));
    let release = lab.sh(HOST, "cat /opt/listings/release");
    second
        .holds(moment != Release || release.trim() == "old", &format!("{name}: blue is the release before: {release}"));
    let mut left = leftovers(lab, HOST);
    if moment == Hold {
        // Who was armed ends once he has seen for a while that it is not his any more: a minute and a half where the share that
        // he was armed for came between two of his looks.
        until_within(150, &format!("{name}: nothing of ours is left: {left}"), || {
            left = leftovers(lab, HOST);
            left.is_empty()
        });
    }
    second.holds(left.is_empty(), &format!("{name}: nothing of ours is left:\n{left}"));
    if let Some(users) = users {
        let counts = users.stop();
        second.holds(counts.bad.is_empty() && counts.total > 0, &format!("{name}: nobody noticed: {counts:?}\n{said}"));
    }
    if let Some(users) = inside {
        users_lost_nothing(lab, HOST, users, &name);
    }
    if let Some(flight) = flight {
        let got = flight.join().expect("the request ends");
        let is_hurt = fault.users != Users::Served;
        second.holds(got.status == 200 || is_hurt, &format!("{name}: the request in flight got {got:?}\n{said}"));
    }
    Cell { fault: fault.name, moment, exit: code, production }
}

/// Waits until the run is in that step, or over.
fn await_moment(lab: &Lab, running: &mut Running, known: usize, moment: Moment) {
    let entries = || incidents(lab).get(known).map(|folder| journal(folder)).unwrap_or_default();
    let has = |event: &str, step: &str, status: &str| {
        entries().iter().any(|entry| is(entry, event, step) && (status.is_empty() || entry["status"] == status))
    };
    until("the moment is there, or the run is over", || {
        running.is_over()
            || match moment {
                Observe => running.asks(),
                Switch => lab.exec(HOST, &["test", "-e", "/run/reload-began"]).status.success(),
                Drain => has("outcome", "drain", "started"),
                Stop => has("intent", "stop", ""),
                Verify => has("outcome", "verify", "started"),
                Evidence => has("outcome", "evidence", "started"),
                Report => has("outcome", "verify", "done"),
                Hold | Judge => running.said().contains("judge "),
                Change | Release => has("intent", "change", ""),
            }
    });
}

/// Every line of the journal is one; only a disk that is full may have cut the last.
fn journal_is_whole(lab: &Lab, known: usize, may_be_cut: bool, holds: &dyn Fn(bool, &str)) {
    let Some(folder) = incidents(lab).into_iter().filter(|path| path.is_dir()).nth(known) else { return };
    let text = std::fs::read_to_string(folder.join("journal.jsonl")).unwrap_or_default();
    let count = text.lines().count();
    for (number, line) in text.lines().enumerate() {
        let is_line = serde_json::from_str::<serde_json::Value>(line).is_ok();
        holds(
            is_line || (may_be_cut && number + 1 == count),
            &format!("line {} of the journal is whole: {line}", number + 1),
        );
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

#[test]
fn whatever_goes_wrong_at_whatever_step_the_truth_is_told_and_the_next_run_finishes() {
    let only = std::env::var("ROW").unwrap_or_default();
    let moments = std::env::var("MOMENT").unwrap_or_default();
    let is_asked = |moment: Moment| format!("{moment:?}").to_lowercase().contains(&moments);
    let is_whole = !moments.is_empty() || !only.is_empty() || std::env::var("FAULTS").is_ok_and(|which| which == "all");
    let rows = FAULTS.iter().enumerate().filter(|(_, fault)| fault.name.contains(&only));
    // Cells and not rows: a long row that comes last would be played alone.
    let open: VecDeque<(&Fault, Moment)> = rows
        .flat_map(|(row, fault)| {
            // In turn, so that each moment has as many; the switch, where most is at stake, with every fault.
            let is_played = move |(place, moment): &(usize, &Moment)| {
                is_whole || (row + place) % 8 == 0 || **moment == Switch || fault.moments.len() == 1
            };
            fault.moments.iter().enumerate().filter(is_played).map(move |(_, moment)| (fault, *moment))
        })
        .filter(|(_, moment)| is_asked(*moment))
        .collect();
    let open = Mutex::new(open);
    let cells: Mutex<Vec<Cell>> = Mutex::default();
    let failures: Mutex<Vec<String>> = Mutex::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores * CELLS_PER_CORE {
            scope.spawn(|| {
                loop {
                    let Some((fault, moment)) = open.lock().expect("nobody panics in there").pop_front() else {
                        return;
                    };
                    let lab = Lab::up(&[HOST]);
                    lab.config("");
                    if matches!(moment, Hold | Judge) {
                        logs_say_who(&lab, HOST);
                    }
                    let file = read(&lab, HOST, FILE);
                    let played = catch_unwind(AssertUnwindSafe(|| play(&lab, &file, fault, moment)));
                    // A cell that failed has mended nothing; what it mounted on this machine must go all the same.
                    let _ = Command::new("umount").arg("-ql").arg(lab.folder().join("incidents")).output();
                    match played {
                        Ok(cell) => cells.lock().expect("nobody panics in there").push(cell),
                        Err(panic) => failures.lock().expect("nobody panics in there").push(words_of(&*panic)),
                    }
                }
            });
        }
    });
    let cells = cells.into_inner().expect("nobody panicked in there");
    // Not through println: this is to be seen when the test passes, too.
    let _ = std::io::stderr().write_all(table(&cells, began.elapsed()).as_bytes());
    let failures = failures.into_inner().expect("nobody panicked in there");
    assert!(failures.is_empty(), "{} cells do not hold:\n{}", failures.len(), failures.join("\n\n"));
}

fn table(cells: &[Cell], took: Duration) -> String {
    let mut text = format!("\n{} cells in {} s\n\n| fault |", cells.len(), took.as_secs());
    for moment in ALL {
        let _ = write!(text, " {} |", format!("{moment:?}").to_lowercase());
    }
    let _ = writeln!(text, "\n| --- |{}", " --- |".repeat(ALL.len()));
    for fault in FAULTS.iter().filter(|fault| cells.iter().any(|cell| cell.fault == fault.name)) {
        let _ = write!(text, "| {} |", fault.name);
        for moment in ALL {
            let cell = cells.iter().find(|cell| cell.fault == fault.name && cell.moment == moment);
            let _ = match cell {
                None => write!(text, " |"),
                Some(Cell { exit: -1, .. }) => write!(text, " killed |"),
                Some(cell) => write!(text, " {}: {} |", cell.exit, cell.production),
            };
        }
        text.push('\n');
    }
    text
}
