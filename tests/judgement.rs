//! What the judgement is worth, in numbers: thousands of simulated canaries with fixed seeds, of which it is known whether
//! their release was harmless. `UPDATE=1 cargo test --test judgement` writes the table in `docs/judgement.md` anew.

#[path = "support/config.rs"]
mod config;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use config::inventory_of;
use logs::counts::{Attempts, Batch, Tick};
use rollback_prod::judge::sides::Sides;
use rollback_prod::judge::verdict::judge;
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::rules::{Judgement, Opinion, Rules};
use support::LEAST_CONFIG;

const RUNS: u64 = 600;
/// Seconds between two looks.
const LOOK: u64 = 10;

/// Those of a config that says nothing of it.
fn defaults() -> Rules {
    static DEFAULTS: OnceLock<Rules> = OnceLock::new();
    let read = || inventory_of(Path::new("rollback.toml"), LEAST_CONFIG.to_owned()).judging.rules;
    DEFAULTS.get_or_init(read).clone()
}

fn sides() -> Sides {
    let names = BTreeMap::from([("b:1".to_owned(), Colour::Blue), ("g:1".to_owned(), Colour::Green)]);
    Sides::new(names, Colour::Green, 120)
}

/// SplitMix64 (Steele, Lea, Flood 2014), and what is drawn from it.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0 and below 1.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// How many of `n` are hit, each with that chance: from one hit to the next.
    fn of(&mut self, n: u64, chance: f64) -> u64 {
        if chance <= 0.0 {
            return 0;
        }
        let (mut at, mut hits) = (0.0, 0);
        loop {
            at += (self.uniform().ln() / (1.0 - chance).ln()).floor() + 1.0;
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }

    /// Arrivals of a Poisson process with that mean; of many by the normal distribution that it comes to.
    fn arrivals(&mut self, mean: f64) -> u64 {
        if mean > 200.0 {
            let angle = std::f64::consts::TAU * self.uniform();
            let normal = (-2.0 * self.uniform().ln()).sqrt() * angle.cos();
            return (mean + mean.sqrt() * normal).round() as u64;
        }
        let (mut sum, mut n) = (-self.uniform().ln(), 0);
        while sum < mean {
            sum -= self.uniform().ln();
            n += 1;
        }
        n
    }
}

/// A canary of which it is known what it is.
#[derive(Clone, Copy)]
struct Canary {
    what: &'static str,
    /// Of both sides together.
    per_second: f64,
    /// Green's share of them.
    share: f64,
    minutes: u64,
    blue: f64,
    green: f64,
    /// A blip of 20 s somewhere, in which so many of both sides' requests fail.
    blip: f64,
    /// One client of green's who repeats an error eight times, at some time.
    repeats: bool,
    /// What it is held to.
    asked: Asked,
}

#[derive(Clone, Copy)]
enum Asked {
    /// Rolled back in fewer of a hundred.
    FalseAlarmsBelow(f64),
    /// Caught in at least so many of a hundred.
    CaughtIn(f64),
    /// Caught after at most so many of green's requests in the median, and in all but few of a hundred runs.
    CaughtAfter(u64),
    /// Called good at its end in at least so many of a hundred.
    GoodIn(f64),
    Nothing,
}

const HARMLESS: Canary = Canary {
    what: "harmless: 0.5 % on both sides",
    per_second: 50.0,
    share: 0.1,
    minutes: 30,
    blue: 0.005,
    green: 0.005,
    blip: 0.0,
    repeats: false,
    asked: Asked::FalseAlarmsBelow(0.5),
};

fn canaries() -> Vec<Canary> {
    let harmless = |per_second| Canary { per_second, ..HARMLESS };
    let blip = |per_second| Canary {
        what: "harmless, 20 s in which 40 % fail on both sides",
        per_second,
        blip: 0.4,
        minutes: 10,
        ..HARMLESS
    };
    vec![
        harmless(5.0),
        harmless(50.0),
        harmless(500.0),
        Canary { what: "harmless, at 50 %", share: 0.5, ..HARMLESS },
        Canary { what: "harmless, at 90 %", share: 0.9, ..HARMLESS },
        blip(5.0),
        blip(50.0),
        blip(500.0),
        Canary { share: 0.9, ..blip(5.0) },
        Canary { what: "harmless, one client repeats an error 8 times", repeats: true, minutes: 10, ..HARMLESS },
        Canary {
            what: "green fails 20 %",
            per_second: 5.0,
            green: 0.2,
            minutes: 10,
            asked: Asked::CaughtAfter(25),
            ..HARMLESS
        },
        Canary { what: "green fails 5 %", green: 0.05, minutes: 5, asked: Asked::CaughtIn(99.0), ..HARMLESS },
        Canary { what: "green fails 2 %", green: 0.02, minutes: 5, asked: Asked::CaughtIn(95.0), ..HARMLESS },
        Canary { what: "green fails 2 %", per_second: 5.0, green: 0.02, minutes: 5, asked: Asked::Nothing, ..HARMLESS },
        Canary { what: "harmless, green alone", share: 1.0, ..HARMLESS },
        Canary {
            what: "green alone fails 8 %",
            share: 1.0,
            green: 0.08,
            minutes: 5,
            asked: Asked::CaughtIn(99.0),
            ..HARMLESS
        },
        Canary { what: "harmless, at the end of a hold", minutes: 5, asked: Asked::GoodIn(70.0), ..HARMLESS },
        Canary {
            what: "harmless, at the end of a hold",
            per_second: 5.0,
            minutes: 5,
            asked: Asked::Nothing,
            ..HARMLESS
        },
    ]
}

/// What became of one run: the opinion at its end, and green's requests until then.
fn run(canary: &Canary, seed: u64) -> (Opinion, u64) {
    let mut chance = Chance(seed);
    let mut sides = sides();
    let looks = canary.minutes * 60 / LOOK;
    let begun = 1_795_222_400;
    sides.begin(begun, None);
    let special = chance.next() % looks;
    let mut tried = 0;
    // nginx gives a share as exactly as its weights say, and not by chance.
    let mut owed = 0.0;
    let mut last = Opinion::NotEnoughData;
    for look in 0..looks {
        let at = begun + look * LOOK;
        let is_blip = canary.blip > 0.0 && (look == special || look == special + 1);
        let all = chance.arrivals(canary.per_second * LOOK as f64);
        owed += all as f64 * canary.share;
        let own = (owed as u64).min(all);
        owed -= own as f64;
        let mut attempts = |n: u64, chance_of_error: f64| {
            let bad = chance.of(n, if is_blip { canary.blip } else { chance_of_error });
            Attempts { tried: n, bad, once: bad, ..Attempts::default() }
        };
        let (blue, mut green) = (attempts(all - own, canary.blue), attempts(own, canary.green));
        if canary.repeats && look == special {
            (green.tried, green.bad, green.once) = (green.tried + 8, green.bad + 8, green.once + 1);
        }
        tried += green.tried;
        let servers = [("b:1".to_owned(), blue), ("g:1".to_owned(), green)];
        let tick = Tick { requests: 0, errors: 0, clients: 64, servers: servers.into() };
        sides.take(&Batch { ticks: [(at, tick)].into(), ..Batch::default() });
        last = judge(&defaults(), &sides, &[], at + LOOK, 1).opinion;
        if last == Opinion::Bad {
            break;
        }
    }
    (last, tried)
}

#[test]
fn the_defaults_are_worth_what_the_table_says() {
    let mut table = String::from(
        "| release | requests/s | on green | minutes | called bad | green's requests until then, median | called good at the end |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut wrong = String::new();
    let canaries = canaries();
    let results: Vec<Vec<(Opinion, u64)>> = std::thread::scope(|scope| {
        let running: Vec<_> = canaries
            .iter()
            .enumerate()
            .map(|(n, canary)| {
                scope.spawn(move || (0..RUNS).map(|seed| run(canary, seed * 1000 + n as u64)).collect::<Vec<_>>())
            })
            .collect();
        running.into_iter().map(|run| run.join().expect("a run ends")).collect()
    });
    for (canary, runs) in canaries.iter().zip(results) {
        let in_a_hundred =
            |opinion: Opinion| runs.iter().filter(|(last, _)| *last == opinion).count() as f64 * 100.0 / RUNS as f64;
        let (bad, good) = (in_a_hundred(Opinion::Bad), in_a_hundred(Opinion::Good));
        let mut until: Vec<u64> = runs.iter().filter(|(last, _)| *last == Opinion::Bad).map(|(_, n)| *n).collect();
        until.sort_unstable();
        let median = until.get(until.len() / 2).copied();
        let _ = writeln!(
            table,
            "| {} | {} | {} % | {} | {bad:.1} % | {} | {good:.1} % |",
            canary.what,
            canary.per_second,
            canary.share * 100.0,
            canary.minutes,
            median.map_or("–".to_owned(), |median| median.to_string()),
        );
        let is_so = match canary.asked {
            Asked::FalseAlarmsBelow(most) => bad < most,
            Asked::CaughtIn(least) => bad >= least,
            Asked::CaughtAfter(most) => bad >= 99.0 && median.is_some_and(|median| median <= most),
            Asked::GoodIn(least) => good >= least,
            Asked::Nothing => true,
        };
        if !is_so {
            let _ = writeln!(
                wrong,
                "{}, {} requests/s: bad {bad} %, {median:?}, good {good} %",
                canary.what, canary.per_second
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n{table}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/judgement.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (head, rest) = page.split_once("<!-- table -->\n").expect("it has a place for the table");
    let (_, tail) = rest.split_once("<!-- end -->").expect("and its end");
    let made = format!("{head}<!-- table -->\n{table}<!-- end -->{tail}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).expect("it can be written");
    }
    // Logarithms differ in their last bit between processors, and so may a run in a thousand.
    let kept = std::fs::read_to_string(&path).expect("the page");
    assert_eq!(made.lines().count(), kept.lines().count(), "UPDATE=1 cargo test --test judgement");
    for (now, kept) in made.lines().zip(kept.lines()) {
        assert!(is_alike(now, kept), "{kept}\nis by now\n{now}\nUPDATE=1 cargo test --test judgement");
    }
}

/// Whether two lines of the table say the same of the same release.
fn is_alike(now: &str, kept: &str) -> bool {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let (now, kept) = (cells(now), cells(kept));
    let number = |cell: &str| cell.trim_end_matches(" %").parse::<f64>().ok();
    now.len() == kept.len()
        && now.iter().zip(&kept).enumerate().all(|(n, (now, kept))| match (number(now), number(kept)) {
            (Some(now), Some(kept)) if n > 4 => (now - kept).abs() <= (kept * 0.1).max(0.5),
            (_, _) if n == 6 => true,
            (_, _) => now == kept,
        })
}

/// One look at counts of both sides.
fn judged(rules: &Rules, blue: Attempts, green: Attempts, seconds: u64) -> Judgement {
    let mut sides = sides();
    let begun = 1_795_222_400;
    sides.begin(begun, None);
    let servers = [("b:1".to_owned(), blue), ("g:1".to_owned(), green)];
    let tick = Tick { requests: 0, errors: 0, clients: 64, servers: servers.into() };
    sides.take(&Batch { ticks: [(begun + seconds - 10, tick)].into(), ..Batch::default() });
    judge(rules, &sides, &[], begun + seconds, 1)
}

fn errors(bad: u64, tried: u64) -> Attempts {
    Attempts { tried, bad, once: bad, ..Attempts::default() }
}

fn taking(times: &[(u64, u64)]) -> Attempts {
    let mut attempts = Attempts { over: vec![0], ..Attempts::default() };
    for (ms, count) in times {
        for _ in 0..*count {
            attempts.latency.add(*ms);
        }
        attempts.tried += count;
        attempts.timed += count;
        attempts.over[0] += if *ms > 2000 { *count } else { 0 };
    }
    attempts
}

#[test]
fn a_verdict_is_one_line_that_can_be_read_aloud() {
    let said = |blue, green| judged(&defaults(), blue, green, 120).words;
    assert_eq!(
        said(errors(153, 38_201), errors(33, 412)),
        "green 8.0 % of 412 (95 %: 5.8–11.0), blue 0.4 % of 38,201 at the same time: worse, by chance less than once in a million"
    );
    assert_eq!(
        said(errors(40, 10_000), errors(4, 1204)),
        "green 0.3 % of 1,204 (95 %: 0.1–0.9), blue 0.4 % of 10,000 at the same time: not worse by more than 1 point"
    );
    assert_eq!(
        said(errors(2, 549), errors(1, 61)),
        "green 1.6 % of 61 (95 %: 0.3–8.7), blue 0.4 % of 549 at the same time: not enough data"
    );
}

#[test]
fn what_both_sides_suffer_is_not_the_releases() {
    let judgement = judged(&defaults(), errors(600, 6000), errors(70, 600), 120);
    assert_eq!(judgement.opinion, Opinion::NotEnoughData, "{judgement:#?}");
    let of = judgement.findings.iter().find(|finding| finding.rule == "error_share").expect("it is asked");
    assert!(of.words.ends_with("not this side alone"), "{}", of.words);
    // With nobody beside it there is only the limit.
    let judgement = judged(&defaults(), errors(0, 0), errors(70, 600), 60);
    assert!(judgement.words.ends_with("over the limit of 5 %, which is held over 2m"), "{}", judgement.words);
    let judgement = judged(&defaults(), errors(0, 0), errors(70, 600), 120);
    assert_eq!((judgement.opinion, judgement.findings[0].rule.as_str()), (Opinion::Bad, "error_share"));
}

#[test]
fn an_outage_is_none_the_less_one_for_clients_that_repeat_it() {
    // Forty clients of whom each asks thirty times: thinned it would be 3 %.
    let outage = Attempts { tried: 1200, bad: 1200, once: 40, ..Attempts::default() };
    assert_eq!(judged(&defaults(), errors(0, 0), outage, 120).opinion, Opinion::Bad);
    // One client that does is no release, and nothing good either.
    let one = Attempts { tried: 1200, bad: 100, once: 1, ..Attempts::default() };
    let judgement = judged(&defaults(), errors(5, 10_800), one, 120);
    assert_eq!(judgement.opinion, Opinion::NotEnoughData, "{judgement:#?}");
}

#[test]
fn times_are_shares_too() {
    let fast = taking(&[(40, 1960), (90, 40)]);
    let slow = taking(&[(40, 380), (2500, 20)]);
    let judgement = judged(&defaults(), fast.clone(), slow.clone(), 120);
    assert_eq!(judgement.opinion, Opinion::Bad);
    assert!(
        judgement.words.starts_with("green 5.0 % of 400 (95 %: 3.3–7.6) slower than 2s: bad, limit 1 %"),
        "{}",
        judgement.words
    );
    // Not while it is warming up, and never by a number that nobody measured.
    assert_eq!(judged(&defaults(), fast.clone(), slow, 10).opinion, Opinion::NotEnoughData);
    let unknown = judged(&defaults(), errors(0, 2000), errors(0, 400), 120);
    assert!(unknown.findings.iter().all(|finding| finding.rule == "worse_by" || finding.rule == "error_share"));
    // Twice as slow as the other side, and none of them slow in itself.
    let twice = judged(&defaults(), fast.clone(), taking(&[(85, 360), (200, 40)]), 120);
    assert!(twice.words.contains("slower than 80 ms, 2 x blue's p95 of 40 ms"), "{}", twice.words);
    assert_eq!(twice.opinion, Opinion::Bad);
    // Twice next to nothing is nothing.
    assert_eq!(judged(&defaults(), taking(&[(2, 2000)]), taking(&[(9, 400)]), 120).opinion, Opinion::Good);
}

#[test]
fn nothing_is_never_good() {
    for (blue, green) in [(errors(0, 0), errors(0, 0)), (errors(0, 5000), errors(0, 0)), (errors(0, 10), errors(0, 3))]
    {
        assert_eq!(judged(&defaults(), blue, green, 300).opinion, Opinion::NotEnoughData);
    }
    let floor = Rules { min_requests: 1000, ..defaults() };
    assert_eq!(judged(&floor, errors(0, 9000), errors(0, 900), 300).opinion, Opinion::NotEnoughData);
    assert_eq!(judged(&floor, errors(0, 9000), errors(500, 900), 300).opinion, Opinion::NotEnoughData);
    assert_eq!(judged(&floor, errors(0, 9000), errors(0, 1000), 300).opinion, Opinion::Good);
}

#[test]
fn order_of_looks_and_memory_do_not_change_the_verdict() {
    let begun = 1_795_222_400;
    let tick = |n: u64| {
        let servers = [("b:1".to_owned(), errors(n % 7, 450)), ("g:1".to_owned(), errors(n % 3, 50))];
        (begun + n * 10, Tick { requests: 0, errors: 0, clients: 64, servers: servers.into() })
    };
    let all: Vec<(u64, Tick)> = (0..400).map(tick).collect();
    let mut forth = sides();
    forth.begin(begun, None);
    all.iter().for_each(|tick| forth.take(&Batch { ticks: [tick.clone()].into(), ..Batch::default() }));
    let mut whole = sides();
    whole.begin(begun, None);
    whole.take(&Batch { ticks: all.into_iter().collect(), ..Batch::default() });
    let now = begun + 4000;
    assert_eq!(judge(&defaults(), &forth, &[], now, 1), judge(&defaults(), &whole, &[], now, 1));
    assert_eq!(forth.all(), whole.all());
    assert_eq!(forth.all().of(Colour::Blue).tried, 400 * 450);
}
