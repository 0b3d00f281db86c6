//! Whole runs of the planner and the engine as they are, against hosts in memory, with faults at any call that a seed
//! chooses: rollbacks of some hosts or all, from shares of any size, with a blue that is down, half-dead or will not live,
//! other operators between any two steps, lost lines at every question; then an undo, and a second run when all is mended.
//! After each step, and at the end, what must never be is looked for: nobody serves where somebody did, or the last words
//! are not true of the hosts. `SEED=17 cargo test --test simulation` repeats one.

#[path = "support/fleet.rs"]
mod fleet;

#[path = "support/played.rs"]
mod played;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use fleet::{Dice, FAULTS, Fault, Fleet, When, rewritten, sides};
use played::{Ran, Shape, in_steps, inventory, request, run, word};
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::inventory::{Inventory, Role};
use rollback_prod::nouns::names::{HostName, IncidentId};
use rollback_prod::nouns::record::{Balancer, ChangeState};
use rollback_prod::nouns::request::{Request, Undoing};
use rollback_prod::nouns::share::Share;

const SEEDS: u64 = 2_000;
/// Two for each core of the machine that runs the gate: a run waits for its disk now and then.
const THREADS: u64 = 4;

/// The hosts before a run, and what may have changed them behind its back.
struct Before {
    files: BTreeMap<HostName, String>,
    blue: BTreeSet<HostName>,
    green: BTreeSet<HostName>,
    served: BTreeSet<HostName>,
    changed: BTreeSet<HostName>,
}

impl Before {
    fn of(fleet: &Fleet) -> Before {
        let machines = fleet.machines();
        let with = |pick: fn(&fleet::Machine) -> bool| {
            machines.iter().filter(|(_, machine)| pick(machine)).map(|(host, _)| host.clone()).collect()
        };
        Before {
            files: machines.iter().map(|(host, machine)| (host.clone(), machine.loaded.clone())).collect(),
            blue: with(|machine| machine.blue),
            green: with(|machine| machine.green),
            changed: with(|machine| machine.is_changed),
            served: machines.keys().filter(|host| fleet.is_served(host)).cloned().collect(),
        }
    }
}

/// What the exit code and the last words say of production, held against what production is. `behind` is whether something
/// changed hosts after the run looked at them for the last time, or unseen by it.
fn lies(fleet: &Fleet, inventory: &Inventory, before: &Before, ran: &Ran, struck: &[String]) -> Vec<String> {
    let has = |name: &str| struck.iter().any(|fault| fault.starts_with(name));
    // What somebody else does, or a host by itself, is not this run's to know.
    let was_edited =
        fleet.struck().iter().any(|fault| fault.starts_with("FileEdited") || fault.starts_with("AnotherRun"));
    let is_others = has("PowerFails") || was_edited || has("LockTaken");
    let was_lost = has("Unreachable") || has("LostForGood") || has("Garbage");
    let interrupted_twice = has("Interrupt");
    let mut lies = Vec::new();
    let machines = fleet.machines();
    let to_is_blue = ran.to == Colour::Blue;
    let goes_there = |host: &HostName| match ran.undoes.get(host) {
        Some(before) => machines[host].loaded == *before,
        None => sides(&machines[host].loaded) == (true, false),
    };
    // What a gradual switch takes back goes to one side, whatever was there before.
    let is_gradual = ran.production.begun().is_some_and(|begun| begun.gradual.is_some());
    let is_home = |host: &HostName| is_gradual && sides(&machines[host].loaded) == (false, true);
    let balancers: Vec<&HostName> = inventory.with_role(Role::Balancer).map(|host| &host.name).collect();
    let mine: Vec<&HostName> = match ran.production.begun() {
        Some(begun) => begun.balancers.iter().collect(),
        None => balancers.clone(),
    };
    let exit = ran.verdict.exit;
    let words = &ran.verdict.production;
    let all_there = mine.iter().all(|host| goes_there(host));
    let moved: Vec<&&HostName> =
        balancers.iter().filter(|host| machines[**host].loaded != before.files[**host] && !is_home(host)).collect();
    let now = |pick: fn(&fleet::Machine) -> bool| -> BTreeSet<HostName> {
        machines.iter().filter(|(_, machine)| pick(machine)).map(|(host, _)| host.clone()).collect()
    };
    let (blue, green) = (now(|machine| machine.blue), now(|machine| machine.green));
    let (to_now, from_now) = if to_is_blue { (&blue, &green) } else { (&green, &blue) };
    let to_before = if to_is_blue { &before.blue } else { &before.green };
    let from_before = if to_is_blue { &before.green } else { &before.blue };
    for host in inventory.with_role(Role::App).map(|host| &host.name) {
        let (was, is) = (before.changed.contains(host), machines[host].is_changed);
        let said = ran.production.change(&word(), host);
        let is_true = match said {
            Some(ChangeState::Unknown) => true,
            Some(ChangeState::Made) => is,
            Some(ChangeState::TakenBack) => !is,
            Some(ChangeState::AsItWas) | None => is == was,
        };
        if !is_true {
            lies.push(format!("of the change on {host} it says {said:?}, and it was {was} and is {is}"));
        }
        if matches!(exit, 1 | 3) && is != was {
            lies.push(format!("exit {exit}, and the change on {host} was {was} and is {is}"));
        }
        let meant = ran.production.begun().into_iter().flat_map(|begun| &begun.changes);
        let is_meant = meant.into_iter().any(|change| change.hosts.contains(host));
        let is_undo = ran.production.begun().is_some_and(|begun| begun.undoes.is_some());
        if exit == 0 && is_meant && is == is_undo {
            lies.push(format!("exit 0, and the change on {host} is {is}"));
        }
    }
    if !matches!(exit, 0 | 1 | 3 | 4 | 5 | 130) {
        lies.push(format!("exit {exit} is none of a rollback of traffic"));
    }
    let stays = ran.production.begun().is_some_and(|begun| begun.traffic_stays);
    if !is_others {
        if matches!(exit, 0 | 4) && !all_there && !stays {
            lies.push(format!("exit {exit}, and not every balancer sends where it should"));
        }
        if matches!(exit, 1 | 3) && !moved.is_empty() {
            lies.push(format!("exit {exit}, and {moved:?} were moved"));
        }
        if exit == 1 && ran.was_refused && (to_now, from_now) != (to_before, from_before) && struck.is_empty() {
            lies.push("refused, and processes were started or stopped".to_owned());
        }
        let extra: Vec<_> = to_now.difference(to_before).collect();
        if matches!(exit, 1 | 3) && !extra.is_empty() {
            lies.push(format!("exit {exit}, and what was started still runs on {extra:?}"));
        }
        // What died by itself is not what was stopped.
        let stopped: Vec<_> = from_before.difference(from_now).collect();
        if matches!(exit, 1 | 3) && !stopped.is_empty() && !has("GreenDies") && !has("BlueDies") {
            lies.push(format!("exit {exit}, and {stopped:?} were stopped"));
        }
        let from = if to_is_blue { "green" } else { "blue" };
        let stopped = words.split([';', ',']).map(str::trim);
        let is_stopped_everywhere = stopped.clone().any(|clause| clause == format!("{from} stopped"));
        let said_stopped: Vec<&HostName> =
            match stopped.clone().find_map(|clause| clause.strip_prefix(&format!("{from} stopped on "))) {
                // More hosts may follow after a comma; the first of them is enough to be caught.
                Some(host) => from_now.iter().filter(|name| name.as_str() == host).collect(),
                None => from_now.iter().filter(|_| is_stopped_everywhere).collect(),
            };
        if exit == 0 && !said_stopped.is_empty() && !was_lost {
            lies.push(format!("{from} stopped, it says, and it runs on {said_stopped:?}"));
        }
        if ran.production.begun().is_some() && !words.contains("NOT KNOWN") && !interrupted_twice {
            for host in &mine {
                let is_there = match is_gradual {
                    true => ran.production.share(host) == Some(Share::ALL),
                    false => ran.production.is_shifted(host),
                };
                if is_there != goes_there(host) && machines[*host].loaded != before.files[*host] {
                    lies.push(format!(
                        "{host}: shifted is {is_there} by the last words, and it sends {:?}",
                        sides(&machines[*host].loaded)
                    ));
                }
            }
        }
    }
    // Somebody serves to the last second of the run, or it is said who does not.
    for host in &mine {
        let is_mine = ran.production.is_shifted(host) || ran.production.balancer(host) == Some(Balancer::PutBack);
        let was_cut = was_lost || interrupted_twice || has("NotSent") || has("LostBefore") || has("LostAfter");
        if is_mine && !fleet.is_served(host) && before.served.contains(*host) && !is_others && !was_cut {
            let is_said = words.contains("DOES NOT ANSWER");
            let might_live =
                machines.values().any(|m| (m.blue_can_start && m.is_app) || (m.green_can_start && m.is_app && m.green));
            if !is_said {
                lies.push(format!("nobody serves behind {host}, and the last words do not say so: {words}"));
            } else if might_live && exit == 0 {
                lies.push(format!("nobody serves behind {host}, and the exit code is 0"));
            }
        }
    }
    lies
}

/// Any call, half of the time one of those that change something.
fn any_call(dice: &mut Dice) -> When {
    match dice.below(2) {
        0 => When { program: None, call: dice.below(60) },
        _ => When {
            program: Some(dice.one_of(&["prepare", "switch", "switch", "stop", "start", "health"])),
            call: dice.below(4),
        },
    }
}

/// One seed: hosts, faults, a run, perhaps an undo, and another run when all is mended. What was wrong.
async fn play(seed: u64, incidents: &Path) -> Result<(u8, Option<u8>), String> {
    let mut dice = Dice::new(seed);
    let shape = dice.one_of(&[Shape::Alike(1), Shape::Alike(3), Shape::InFront(1), Shape::InFront(2)]);
    let (inventory, file) = inventory(shape);
    let count = dice.below(3) + usize::from(seed > 0);
    let faults = |dice: &mut Dice| -> Vec<(When, Fault)> {
        (0..count).map(|_| (any_call(dice), dice.one_of(&FAULTS))).collect()
    };
    let struck_first = faults(&mut dice);
    let struck_undo = if dice.below(2) == 0 { faults(&mut dice) } else { Vec::new() };
    // As a canary leaves it, or as somebody found it.
    let (blue, green) = dice.one_of(&[
        ("down", "weight=100"),
        ("down", "weight=100"),
        ("weight=1", "weight=99"),
        ("weight=10", "weight=90"),
        ("weight=100", "down"),
    ]);
    let (down, cannot, half_dead) = (dice.below(4), dice.below(6), dice.below(10));
    let names: Vec<HostName> = inventory.hosts.iter().map(|host| host.name.clone()).collect();
    let only: Vec<HostName> = match dice.below(4) {
        0 => {
            let at = dice.below(names.len());
            let more = seed.is_multiple_of(3).then(|| &names[(at + 2) % names.len()]);
            std::iter::once(&names[at]).chain(more).cloned().collect()
        }
        _ => Vec::new(),
    };
    let fleet = Fleet::new(&inventory, &rewritten(&file, blue, green), dice);
    fleet.change(|host, machine| {
        let at = names.iter().position(|name| name == host).unwrap_or_default();
        let splits = sides(&machine.loaded) == (true, true);
        if at + 1 == down && !splits {
            machine.blue = false;
        }
        if at + 1 == cannot {
            machine.blue_can_start = false;
        }
        machine.is_half_dead = at + 1 == half_dead;
    });
    let mut said = String::new();
    let mut wrong = Vec::new();
    for (when, fault) in &struck_first {
        fleet.strike(*when, *fault);
    }

    let before = Before::of(&fleet);
    let is_gradual = only.is_empty() && seed % 5 == 3;
    let asked = request(1, only.clone(), None);
    let asked = if is_gradual { in_steps(asked) } else { asked };
    // What else the release changed goes back with it, or alone.
    let changes = if seed % 7 == 2 && !is_gradual { vec![word()] } else { Vec::new() };
    let is_partial = !changes.is_empty() && seed.is_multiple_of(3);
    let asked = Request { changes, is_partial, ..asked };
    let first = run(&fleet, &inventory, incidents, &asked).await;
    let struck = fleet.struck();
    wrong.extend(fleet.broken());
    wrong.extend(lies(&fleet, &inventory, &before, &first, &struck).into_iter().map(|lie| format!("first run: {lie}")));
    let names_apps = inventory.with_role(Role::App).any(|host| only.contains(&host.name));
    let is_others = struck.iter().any(|fault| fault.starts_with("AnotherRun") || fault.starts_with("GreenDies"));
    for host in before.green.iter().filter(|host| names_apps && !only.contains(host) && !is_others) {
        if !fleet.machines()[host].green {
            wrong.push(format!("green of {host} was stopped, which --hosts does not name"));
        }
    }
    let is_plain = down == 0 && cannot == 0 && half_dead == 0 && only.is_empty();
    if struck.is_empty() && is_plain && first.verdict.exit != 0 {
        wrong.push(format!("nothing struck, and it ended with {}", first.verdict.exit));
    }
    let _ = writeln!(said, "first run, exit {}: {}\n{}", first.verdict.exit, first.verdict.production, first.said);
    let is_anothers = |struck: &[String]| struck.iter().any(|fault| fault.starts_with("LockTaken"));
    // Their channels end by themselves; what is left on a host that is reached is a leak.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let held: Vec<_> =
        fleet.machines().iter().filter(|(_, m)| m.lock.is_some()).map(|(name, _)| name.to_string()).collect();
    if !held.is_empty() && !is_anothers(&struck) {
        wrong.push(format!("the lock is still held on {held:?}"));
    }
    fleet.channels_end();
    fleet.mend();

    let mut undone = None;
    if !(first.files.is_empty() && first.changes.is_empty()) && seed.is_multiple_of(2) {
        for (when, fault) in &struck_undo {
            fleet.strike_from_now(*when, *fault);
        }
        let already = fleet.struck().len();
        let before_undo = Before::of(&fleet);
        let incident = IncidentId::new("rollback-20261121-000001").expect("a name");
        let undoing = Undoing {
            incident,
            service: String::new(),
            to: Colour::Green,
            files: first.files.clone(),
            between: first.between.clone(),
            swap: None,
            merge: None,
            changes: first.changes.clone(),
        };
        let undo = run(&fleet, &inventory, incidents, &request(2, Vec::new(), Some(undoing))).await;
        let struck = fleet.struck().split_off(already);
        wrong.extend(fleet.broken());
        wrong.extend(
            lies(&fleet, &inventory, &before_undo, &undo, &struck).into_iter().map(|lie| format!("undo: {lie}")),
        );
        let was_edited =
            fleet.struck().iter().any(|fault| fault.starts_with("FileEdited") || fault.starts_with("AnotherRun"));
        for (host, change) in &first.files {
            let is_back = fleet.machines()[host].file == change.before;
            if undo.verdict.exit == 0 && !is_back && !was_edited {
                wrong.push(format!("undo: exit 0, and the file of {host} is not what it was byte for byte"));
            }
        }
        if struck.is_empty() && !was_edited && undo.verdict.exit != 0 && !is_anothers(&fleet.struck()) {
            wrong.push(format!(
                "undo: nothing struck, and it ended with {}: {}",
                undo.verdict.exit, undo.verdict.production
            ));
        }
        let _ = writeln!(said, "undo, exit {}: {}\n{}", undo.verdict.exit, undo.verdict.production, undo.said);
        undone = Some(undo.verdict.exit);
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        fleet.channels_end();
        fleet.mend();
    }

    let before = Before::of(&fleet);
    let last = run(&fleet, &inventory, incidents, &request(3, Vec::new(), None)).await;
    wrong.extend(fleet.broken());
    if last.verdict.exit != 0 {
        wrong.push(format!("the last run ended with {}: {}", last.verdict.exit, last.verdict.production));
    }
    wrong.extend(lies(&fleet, &inventory, &before, &last, &[]).into_iter().map(|lie| format!("last run: {lie}")));
    if wrong.is_empty() {
        return Ok((first.verdict.exit, undone));
    }
    wrong.dedup();
    Err(format!(
        "{}\nrepeat it: SEED={seed} cargo test --test simulation\n{shape:?}, blue {blue}, green {green}, down {down}, cannot start {cannot}, half-dead {half_dead}, only {only:?}\n{:?}\n{said}last run, exit {}: {}\n{}{}",
        wrong.join("\n"),
        fleet.struck(),
        last.verdict.exit,
        last.verdict.production,
        last.said,
        fleet.said().join(", ")
    ))
}

/// Plays these seeds; how the first runs and the undos ended, and what failed.
fn play_all(seeds: impl Iterator<Item = u64>) -> (BTreeMap<u8, u32>, BTreeMap<u8, u32>, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let (mut exits, mut undone, mut failures) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let all = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    for seed in seeds {
        let incidents = all.path().join(seed.to_string());
        match runtime.block_on(play(seed, &incidents)) {
            Ok((exit, undo)) => {
                *exits.entry(exit).or_default() += 1;
                if let Some(undo) = undo {
                    *undone.entry(undo).or_default() += 1;
                }
            }
            Err(wrong) => failures.push(wrong),
        }
        let _ = std::fs::remove_dir_all(incidents);
    }
    (exits, undone, failures)
}

#[test]
fn whatever_strikes_somebody_serves_the_last_words_are_true_and_the_next_run_finishes() {
    let began = std::time::Instant::now();
    let seeds = std::env::var("SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("SEEDS is a number"));
    if let Ok(seed) = std::env::var("SEED") {
        let (_, _, failures) = play_all(std::iter::once(seed.parse().expect("SEED is a number")));
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        return;
    }
    let (mut exits, mut undone, mut failures) = (BTreeMap::<u8, u32>::new(), BTreeMap::<u8, u32>::new(), Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|first| scope.spawn(move || play_all((first..seeds).step_by(THREADS as usize)))).collect();
        for thread in threads {
            let (more_exits, more_undone, more_failures) = thread.join().expect("a thread of seeds");
            more_exits.into_iter().for_each(|(exit, n)| *exits.entry(exit).or_default() += n);
            more_undone.into_iter().for_each(|(exit, n)| *undone.entry(exit).or_default() += n);
            failures.extend(more_failures);
        }
    });
    let took = began.elapsed().as_secs_f64();
    println!("{seeds} seeds in {took:.1} s; exits of the first runs: {exits:?}, of the undos: {undone:?}");
    for failure in failures.iter().skip(1).take(20) {
        let cause: Vec<&str> = failure.lines().take_while(|line| !line.starts_with('[')).collect();
        println!("{}\n", cause.join("\n"));
    }
    assert!(failures.is_empty(), "{} seeds fail; the first:\n{}", failures.len(), failures[0]);
    if seeds < SEEDS {
        return;
    }
    // A simulation in which nothing ever goes wrong would prove nothing.
    for exit in [0, 1, 3, 4, 5, 130] {
        assert!(exits.contains_key(&exit), "no seed ends with {exit}: {exits:?}");
        assert!(undone.contains_key(&exit) || exit == 4, "no undo ends with {exit}: {undone:?}");
    }
}
