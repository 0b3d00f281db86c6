//! What judging costs: the reader on a host, beside `wc -l` of the same file, and at the pace of a busy site; the rules over
//! many hosts; the memory of a long watch. `cargo bench --bench judge`. It measures and prints; it never judges.

#[path = "../tests/support/config.rs"]
mod config;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use config::inventory_of;
use logs::counts::{Attempts, Batch, Tick};
use rollback_prod::judge::sides::Sides;
use rollback_prod::judge::verdict::judge;
use rollback_prod::nouns::colour::Colour;
use support::{LEAST_CONFIG, carried};

const FORM: &str =
    "--form=$msec|$remote_addr|$status|$upstream_addr|$upstream_status|$upstream_response_time|$request_time";
const LINES: u64 = 2_000_000;

fn main() {
    println!("| what | ours | floor or bar |\n| --- | --- | --- |");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
    for n in 0..LINES {
        file.write_all(line(1_795_222_400 + n / 20_000, n).as_bytes()).expect("it can be written");
    }
    drop(file);
    let file_word = format!("--file={}", path.display());
    let meta = std::fs::metadata(&path).expect("it is there");
    let from = format!("--from={}:{}:0", meta.dev(), meta.ino());
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        floor.push(timed(Command::new("wc").arg("-l").arg(&path)));
        ours.push(timed(carried().args(["count", FORM, "--limit=2000", &from, &file_word])));
    }
    let (ours, floor) = (median(ours), median(floor));
    let bytes = meta.len() as f64 / 1e6;
    println!(
        "| lines read and counted, a second ({LINES} of {bytes:.0} MB in all) | {:.0} | at least 200,000; `wc -l` {:.0} |",
        LINES as f64 / ours.as_secs_f64(),
        LINES as f64 / floor.as_secs_f64()
    );
    busy(&path);
    hosts();
}

fn line(second: u64, n: u64) -> String {
    let (status, server) =
        if n.is_multiple_of(10) { (if n.is_multiple_of(200) { 502 } else { 200 }, 8081) } else { (200, 8080) };
    format!(
        "{second}.{:03}|10.1.{}.{}|{status}|127.0.0.1:{server}|{status}|0.{:03}|0.{:03}\n",
        n % 1000,
        n % 7,
        n % 251,
        n * 7 % 400,
        n * 7 % 400 + 1
    )
}

/// The processor's time of a reader that follows a log of 5,000 requests a second.
fn busy(path: &std::path::Path) {
    let seconds = 20;
    let mut reader = carried()
        .args(["count", FORM, "--limit=2000", "--every=1000", &format!("--lasts={seconds}")])
        .arg(format!("--file={}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = reader.stdout.take().expect("a pipe");
    let listener = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = said.read_to_end(&mut text);
        text.len()
    });
    let stat = format!("/proc/{}/stat", reader.id());
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("it is there");
    let (began, mut written, mut ticks) = (Instant::now(), 0_u64, 0_u64);
    while began.elapsed() < Duration::from_secs(seconds - 1) {
        while written < (began.elapsed().as_secs_f64() * 5000.0) as u64 {
            file.write_all(line(1_795_230_000 + written / 5000, written).as_bytes()).expect("written");
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(10));
        ticks = std::fs::read_to_string(&stat).map_or(ticks, |stat| {
            let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            number(11) + number(12)
        });
    }
    let share = ticks as f64 / began.elapsed().as_secs_f64();
    let _ = reader.wait();
    let bytes = listener.join().expect("it ends");
    println!("| of a core, at 5,000 requests/s | {share:.1} % | at most 2 % |");
    println!(
        "| over the line then, a second | {} B | {} B of lines |",
        bytes as u64 / seconds,
        5000 * line(1_795_230_000, 0).len()
    );
}

/// Rules over what 32 hosts tell each second, for an hour.
fn hosts() {
    let names =
        BTreeMap::from([("127.0.0.1:8080".to_owned(), Colour::Blue), ("127.0.0.1:8081".to_owned(), Colour::Green)]);
    let mut sides = Sides::new(names, Colour::Green, 120);
    let begun = 1_795_222_400;
    sides.begin(begun, None);
    let rules = inventory_of(std::path::Path::new("rollback.toml"), LEAST_CONFIG.to_owned()).judging.rules;
    let attempts = |n: u64| {
        let mut attempts = Attempts { tried: 500, timed: 500, over: vec![0], ..Attempts::default() };
        (0..500).for_each(|ms| attempts.latency.add(ms * n % 900));
        attempts
    };
    let (blue, green) = (attempts(7), attempts(11));
    let mut longest = Duration::ZERO;
    for second in 0..3600 {
        let servers = [("127.0.0.1:8080".to_owned(), blue.clone()), ("127.0.0.1:8081".to_owned(), green.clone())];
        let tick = Tick { requests: 1000, errors: 0, clients: 64, servers: servers.into() };
        let batch = Batch { ticks: [((begun + second) / 10 * 10, tick)].into(), ..Batch::default() };
        let began = Instant::now();
        (0..32).for_each(|_| sides.take(&batch));
        let judgement = judge(&rules, &sides, &[], begun + second, 1);
        assert_eq!(judgement.judged, Colour::Green);
        longest = longest.max(began.elapsed());
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel says it");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak").trim().to_owned();
    println!("| a second of 32 hosts taken in and judged, at most | {:.1} ms | 1 s |", longest.as_secs_f64() * 1e3);
    println!("| peak memory after an hour of 32,000 requests/s | {peak} | 64 MiB |");
}

fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().expect("it starts");
    assert!(status.success(), "{command:?}");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
