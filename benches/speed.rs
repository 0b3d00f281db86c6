//! How fast, each against its floor in the same run: prints one table. `cargo bench --bench speed` (as root: it boots
//! a real host); `cargo bench --bench speed -- switch distance help archive load` runs some of them.
//!
//! Times are medians of pairs taken in turn (ours, floor, ours, floor …), so that a machine whose speed drifts bends
//! both alike. It measures and prints; it never judges: a figure that is worse than its bar is a line to read.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::lab::{Lab, Load};
use support::{end_of, rollback_prod};

/// Pairs for the switch: enough for a median on a noisy machine, few enough for a coffee.
const PAIRS: usize = 15;

fn main() {
    // As ssh's ProxyCommand this program is the long line itself.
    if let [_, word, address, ms] = &std::env::args().collect::<Vec<_>>()[..]
        && word == "long-line"
    {
        return long_line(address, Duration::from_millis(ms.parse().expect("milliseconds")));
    }
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    println!("| what | ours | floor | ratio | bar |\n| --- | --- | --- | --- | --- |");
    if is_chosen("help") {
        help();
    }
    if is_chosen("switch") {
        switch();
    }
    if is_chosen("distance") {
        distance();
    }
    if is_chosen("archive") {
        archive();
    }
    if is_chosen("load") {
        load();
    }
}

/// `rollback-prod --help` beside the start of any process.
fn help() {
    let time = |command: &mut dyn FnMut() -> Command| {
        median((0..30).map(|_| {
            let began = Instant::now();
            let done = command().stdout(Stdio::null()).status().expect("it starts");
            assert!(done.success());
            began.elapsed()
        }))
    };
    let mut ours = || {
        let mut command = rollback_prod();
        command.arg("--help");
        command
    };
    let (ours, floor) = (time(&mut ours), time(&mut || Command::new("true")));
    row("`rollback-prod --help` / starting `true`", ours, floor, "ours under 10 ms");
}

/// From process start to traffic safe, beside one cold ssh that does nothing but test, reload and wait for the new
/// workers.
fn switch() {
    let lab = Lab::measured(&["web1"]);
    let config = lab.config("");
    let mut ours = Vec::new();
    let mut floors = Vec::new();
    for _ in 0..PAIRS {
        to_green(&lab);
        ours.push(traffic_safe(&config));
        to_green(&lab);
        floors.push(floor_of_switch(&lab));
    }
    let (ours, floor) = (median(ours), median(floors));
    row("process start to traffic safe, one host", ours, floor, "at most 1.5, aim 1.3");
}

fn traffic_safe(config: &std::path::Path) -> Duration {
    let mut command = rollback_prod();
    let end = end_of(command.args(["--json", "--keep-green", "--reason", "bench", "--config"]).arg(config));
    Duration::from_millis(end["traffic_safe_ms"].as_u64().expect("it was safe"))
}

/// One cold handshake, `nginx -t`, reload, and asking until a new worker answers: what nobody can leave out.
fn floor_of_switch(lab: &Lab) -> Duration {
    // The file is put there beforehand: the floor does not write.
    lab.sh("web1", "cp /root/blue.site /etc/nginx/sites-available/listings");
    let began = Instant::now();
    let done = Command::new("ssh")
        .arg("-F")
        .arg(lab.ssh_config())
        .args(["web1", "sudo -n nginx -t 2>/dev/null && sudo -n systemctl reload nginx && until curl -s http://127.0.0.1/ | grep -q blue; do :; done"])
        .status()
        .expect("ssh starts");
    let took = began.elapsed();
    assert!(done.success());
    took
}

/// The same over a line on which an answer takes so long; the floor is `ssh host true`, which is the handshake. What is
/// left of the difference, divided by the line's delay, is the number of round trips.
fn distance() {
    let lab = Lab::measured(&["web1"]);
    let near = lab.config("");
    let near_text = std::fs::read_to_string(&near).expect("the config");
    let mut beside = Vec::new();
    for delay_ms in [0_u32, 50, 200] {
        let ssh_config = lab.folder().join("far");
        let me = std::env::current_exe().expect("we have a path");
        let theirs = std::fs::read_to_string(lab.ssh_config()).expect("the lab has one");
        let proxy = format!("Host *\n    ProxyCommand {} long-line %h:%p {delay_ms}\n", me.display());
        std::fs::write(&ssh_config, format!("{proxy}{theirs}")).expect("write a file");
        let config = lab.config_with(|_| {
            near_text.replace(&lab.ssh_config().display().to_string(), &ssh_config.display().to_string())
        });
        let (mut ours, mut handshakes) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            to_green(&lab);
            ours.push(traffic_safe(&config));
            let began = Instant::now();
            let done = Command::new("ssh").arg("-F").arg(&ssh_config).args(["web1", "true"]).status();
            assert!(done.expect("ssh starts").success());
            handshakes.push(began.elapsed());
        }
        let (ours, handshake) = (median(ours), median(handshakes));
        row(&format!("traffic safe over a line of {delay_ms} ms / `ssh host true`"), ours, handshake, "");
        beside.push((delay_ms, ours.saturating_sub(handshake)));
    }
    let (_, near) = beside[0];
    for (delay_ms, beside) in &beside[1..] {
        let trips = beside.saturating_sub(near).as_secs_f64() * 1000.0 / f64::from(*delay_ms);
        println!("| round trips beside the handshake, {delay_ms} ms | {trips:.1} | | | at most 4 |");
    }
}

/// Passes bytes between standard input and output and an address, each of them half of the delay later.
fn long_line(address: &str, delay: Duration) {
    let stream = TcpStream::connect(address).expect("the host listens");
    stream.set_nodelay(true).expect("a socket takes that");
    let back = stream.try_clone().expect("a second handle");
    std::thread::spawn(move || late(std::io::stdin(), &stream, delay / 2));
    late(&back, std::io::stdout(), delay / 2);
}

fn late(mut from: impl Read + Send, mut to: impl Write, delay: Duration) {
    let (send, arrive) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                let _ = send.send((Instant::now() + delay, bytes[..n].to_vec()));
            }
        });
        for (due, bytes) in arrive {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).and_then(|()| to.flush()).is_err() {
                break;
            }
        }
        // Whoever reads on over there has nobody left to read for.
        std::process::exit(0);
    });
}

/// Green serves again, and no old worker is left to disturb what is measured.
fn to_green(lab: &Lab) {
    lab.sh(
        "web1",
        "systemctl start listings-green; until curl -fs http://127.0.0.1:8081/health; do :; done
         cd /root; live=/etc/nginx/sites-available/listings
         [ -e green.site ] || { cp $live green.site
           sed 's/8080 down/8080 weight=100 max_fails=0/; s/8081 weight=100/8081 down/' green.site >blue.site; }
         cp green.site $live; nginx -s reload
         while ps ax | grep -q '[s]hutting down'; do sleep 0.05; done; sleep 0.3
         while ps ax | grep -q '[s]hutting down'; do sleep 0.05; done
         until curl -s http://127.0.0.1/ | grep -q green; do :; done",
    );
}

/// A log's archive beside plain `ssh host gzip`, and the memory of ours while 2 GiB pass through.
fn archive() {
    let lab = Lab::measured(&["web1"]);
    let config = lab.config_with(|text| {
        let without = text.split("[evidence]").next().unwrap_or_default().to_owned();
        without + "[evidence]\nmax_bytes = \"4GB\"\ntimeout = \"10m\"\njournal = []\nfiles = []\n"
    });
    lab.sh(
        "web1",
        "i=0; while [ $i -lt 20000 ]; do
           echo \"2026-11-20T21:15:03.$((i % 1000))Z INFO GET /listing/$((i * 7919 % 100003)) 200 $((i % 97)) ms user=$((i * 31 % 7919))\"; i=$((i + 1))
         done >/tmp/part
         for n in $(seq 1400); do cat /tmp/part; done | head -c 2147483648 >/opt/listings/logs/green.log; chown deploy /opt/listings/logs/green.log",
    );
    let mut ours = Vec::new();
    let mut floors = Vec::new();
    let mut peak_kib = 0;
    for _ in 0..3 {
        to_green(&lab);
        let (took, kib) = archive_of(&config);
        ours.push(took);
        peak_kib = peak_kib.max(kib);
        let began = Instant::now();
        let target = std::fs::File::create(lab.folder().join("floor.gz")).expect("the file is made");
        let done = Command::new("ssh")
            .arg("-F")
            .arg(lab.ssh_config())
            .args(["web1", "gzip -1 -c /opt/listings/logs/green.log"])
            .stdout(target)
            .status()
            .expect("ssh starts");
        assert!(done.success());
        floors.push(began.elapsed());
    }
    let (ours, floor) = (median(ours), median(floors));
    row("archiving and verifying a log of 2 GiB", ours, floor, "at most 1.25 (0.8 of the speed)");
    println!("| peak memory while it passes | {} MiB | | | under 40 MiB |", peak_kib / 1024);
}

/// How long the evidence took, and the peak of our memory in KiB.
fn archive_of(config: &std::path::Path) -> (Duration, u64) {
    let mut child = rollback_prod()
        .args(["--json", "--keep-green", "--reason", "bench", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = child.stdout.take().expect("piped");
    let pid = child.id();
    let peak = std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
            let now =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
            peak = peak.max(now.unwrap_or(0));
            std::thread::sleep(Duration::from_millis(20));
        }
        peak
    });
    let said = std::io::read_to_string(stdout).expect("it speaks");
    let done = child.wait().expect("it ends");
    let evidence = said
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|event| event["step"] == "evidence" && event["status"] == "done")
        .unwrap_or_default();
    assert!(done.success(), "{said}");
    let ms = evidence["ms"].as_u64().unwrap_or_else(|| panic!("no evidence in {said}"));
    (Duration::from_millis(ms), peak.join().expect("the look at its memory ends"))
}

/// Twenty whole rollbacks in a row while users ask.
fn load() {
    let lab = Lab::measured(&["web1"]);
    let config = lab.config("");
    let mut total = 0;
    let mut bad = Vec::new();
    for _ in 0..20 {
        to_green(&lab);
        let users = Load::start(&lab.ip("web1"), "GET", "/", 3 * Load::CONNECTIONS);
        let done =
            rollback_prod().args(["--json", "--reason", "bench", "--config"]).arg(&config).output().expect("it starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        let counts = users.stop();
        total += counts.total;
        bad.extend(counts.bad);
    }
    println!("| failed requests in 20 whole rollbacks under load | {} of {total} | 0 | | 0 |", bad.len());
    for what in bad.iter().take(5) {
        println!("| | {what} | | | |");
    }
}

fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort();
    times[times.len() / 2]
}

fn row(what: &str, ours: Duration, floor: Duration, bar: &str) {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    println!("| {what} | {} | {} | {:.2} | {bar} |", ms(ours), ms(floor), ours.as_secs_f64() / floor.as_secs_f64());
}
