//! What a gradual switch costs users, and how soon a bad release is off: 200 weight changes under load, and the time from the
//! verdict to the last balancer that is back. `cargo bench --bench gradual` (as root: it boots a real host). It measures and
//! prints; it never judges.

#[path = "../tests/support/site.rs"]
mod site;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use site::{HALF_BROKEN, drop_in, logs_say_who, newest_journal, run, seconds, until, write};
use support::lab::{Lab, Load};

/// Each way has as many.
const CHANGES: usize = 100;
/// Verdicts that are timed.
const VERDICTS: usize = 5;

fn main() {
    println!("| what | measured | bar |\n| --- | --- | --- |");
    let lab = Lab::measured(&["web1"]);
    logs_say_who(&lab, "web1");
    lab.config_with(|text| {
        let green = "servers = [\"127.0.0.1:8081\"]\n";
        text.replace(green, &format!("{green}health = [\"http://127.0.0.1:8081/health\"]\n"))
            + "[judge]\np99 = \"off\"\nslower = \"off\"\n"
    });
    changes(&lab);
    verdicts(&lab);
}

fn switch(lab: &Lab, to: &str, steps: &str, hold: &str) -> support::Scene {
    run(lab, &["switch", "--to", to, "--reason", "a measurement", "--steps", steps, "--hold", hold])
}

fn changes(lab: &Lab) {
    let steps = (1..=CHANGES).map(|percent| percent.to_string()).collect::<Vec<_>>().join(",");
    let load = Load::start(&lab.ip("web1"), "GET", "/", 8);
    let mut times = Vec::new();
    for to in ["blue", "green"] {
        switch(lab, to, &steps, "0s").exits(0);
        let entries = newest_journal(lab);
        let of_switch = entries.iter().filter(|entry| site::is(entry, "outcome", "switch"));
        times.extend(of_switch.filter_map(|entry| entry["ms"].as_u64()));
    }
    let counts = load.stop();
    times.sort_unstable();
    let bad = counts.bad_statuses + counts.transport_errors;
    println!("| requests lost over {} weight changes, of {} | {bad} | 0 |", times.len(), counts.total);
    println!(
        "| a weight change, written, reloaded and proven: median, longest | {} ms, {} ms | – |",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

fn verdicts(lab: &Lab) {
    switch(lab, "blue", "100", "0s").exits(0);
    write(lab, "web1", "/opt/listings/half.py", HALF_BROKEN);
    drop_in(lab, "web1", "listings-green", "ExecStart=\nExecStart=/usr/bin/python3 /opt/listings/half.py");
    lab.sh("web1", "systemctl restart listings-green");
    until("it listens", || lab.sh("web1", "curl -s http://127.0.0.1:8081/health || true").contains("green"));
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..VERDICTS {
        let load = lab.load("web1", "/");
        switch(lab, "green", "10,100", "60s").exits(3);
        drop(load);
        let entries = newest_journal(lab);
        let bad = entries.iter().find(|entry| entry["event"] == "judged" && entry["opinion"] == "bad").map(seconds);
        let back = entries.iter().rfind(|entry| site::is(entry, "outcome", "switch")).map(seconds);
        if let (Some(bad), Some(back)) = (bad, back) {
            times.push(Duration::from_secs_f64((back - bad).max(0.0)));
        }
    }
    times.sort_unstable();
    let longest = times.last().copied().unwrap_or_default();
    println!(
        "| from the verdict to all traffic back: median, longest of {} | {:.2} s, {:.2} s | 2 s |",
        times.len(),
        times[times.len() / 2].as_secs_f64(),
        longest.as_secs_f64()
    );
}
