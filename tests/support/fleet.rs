//! Hosts in memory: what they serve, who runs, who holds the lock, and faults that strike at a call. They understand the
//! programs that go over the line by their names and arguments, and answer as the scripts do. Whoever changes them is
//! watched: what must never be is noted the moment it is.
//!
//! Each file that plays runs compiles this for itself and uses a part of it, hence the allowance below.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rollback_prod::hosts::answer::{Answer, Failure};
use rollback_prod::hosts::program::{Change, Program, Question};
use rollback_prod::hosts::remote::{Apply, Ask, Held};
use rollback_prod::nouns::inventory::{Inventory, Role};
use rollback_prod::nouns::names::HostName;
use tokio::sync::{oneshot, watch};

pub const PATH: &str = "/etc/nginx/sites-available/listings";
const BLUE: &str = "1F90";
const GREEN: &str = "1F91";

/// What goes wrong, at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The line cannot be made, this once.
    NotSent,
    /// The line is cut before the program begins.
    LostBefore,
    /// The program ends, and its answer is lost; its record stays on the host.
    LostAfter,
    /// The same, and the host has no record of it.
    LostForGood,
    /// From now on the host is not reached.
    Unreachable,
    /// It loses its power in the middle and comes up again by itself, without a lock and without records.
    PowerFails,
    /// It answers with what is no answer of that program.
    Garbage,
    /// The step ends with a status of its own choice.
    Fails,
    /// A colour dies there, unseen; started again, it lives.
    BlueDies,
    GreenDies,
    /// The same, and it will not live again.
    BlueDiesForGood,
    /// Somebody else's whole run: it takes the lock, moves everything to the other colour, and is over.
    AnotherRun,
    /// Somebody else has the lock from now on.
    LockTaken,
    /// The file was changed by hand a moment ago.
    FileEdited,
    /// The operator presses Ctrl-C, once or twice.
    Interrupt,
}

pub const FAULTS: [Fault; 15] = [
    Fault::NotSent,
    Fault::LostBefore,
    Fault::LostAfter,
    Fault::LostForGood,
    Fault::Unreachable,
    Fault::PowerFails,
    Fault::Garbage,
    Fault::Fails,
    Fault::BlueDies,
    Fault::GreenDies,
    Fault::BlueDiesForGood,
    Fault::LockTaken,
    Fault::AnotherRun,
    Fault::FileEdited,
    Fault::Interrupt,
];

/// At which call a fault strikes: counted over all of them, or over those of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    pub program: Option<&'static str>,
    pub call: usize,
}

/// Numbers that a seed decides (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// One host.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The file on its disk, and what nginx has loaded of it.
    pub file: String,
    pub loaded: String,
    pub blue: bool,
    pub green: bool,
    /// Whether they live once they are started.
    pub blue_can_start: bool,
    pub green_can_start: bool,
    /// Blue answers its health well every other time only.
    pub is_half_dead: bool,
    pub is_reached: bool,
    pub lock: Option<String>,
    /// Of the lock: it only grows.
    number: u64,
    asked: u32,
    /// Steps that ended and whose result was not fetched.
    records: BTreeMap<String, Answer>,
    /// Our last question after blue's health was answered with a yes.
    blue_was_well: bool,
    is_balancer: bool,
    pub is_app: bool,
    /// Whether the change of the config is made there.
    pub is_changed: bool,
}

/// The digests of the file that the change puts, and of the one that it replaces.
const PUT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const INTO: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

struct World {
    machines: BTreeMap<HostName, Machine>,
    /// Calls so far, of all programs and of each.
    calls: BTreeMap<Option<&'static str>, usize>,
    /// The faults that are still to come.
    faults: Vec<(When, Fault)>,
    struck: Vec<String>,
    /// Changes whose intent the journal has told.
    intents: BTreeSet<(String, HostName)>,
    broken: Vec<String>,
    lost: Vec<Arc<AtomicBool>>,
    dice: Dice,
    said: Vec<String>,
}

/// All hosts of an inventory.
pub struct Fleet {
    world: Arc<Mutex<World>>,
    /// Whether servers are reached from their own host only.
    is_local: bool,
    interrupts: watch::Sender<u32>,
}

impl Fleet {
    /// Green serves everywhere and blue is well.
    pub fn new(inventory: &Inventory, file: &str, dice: Dice) -> Fleet {
        let machine = |host: &rollback_prod::nouns::inventory::Host| Machine {
            file: file.to_owned(),
            loaded: file.to_owned(),
            blue: host.is(Role::App),
            green: host.is(Role::App),
            blue_can_start: true,
            green_can_start: true,
            is_reached: true,
            is_balancer: host.is(Role::Balancer),
            is_app: host.is(Role::App),
            ..Machine::default()
        };
        let machines = inventory.hosts.iter().map(|host| (host.name.clone(), machine(host))).collect();
        let world = World {
            machines,
            calls: BTreeMap::new(),
            faults: Vec::new(),
            struck: Vec::new(),
            intents: BTreeSet::new(),
            broken: Vec::new(),
            lost: Vec::new(),
            dice,
            said: Vec::new(),
        };
        Fleet {
            world: Arc::new(Mutex::new(world)),
            is_local: inventory.green.servers.iter().all(|server| server.is_local()),
            interrupts: watch::channel(0).0,
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics in there")
    }

    pub fn interrupts(&self) -> watch::Receiver<u32> {
        self.interrupts.send_replace(0);
        self.interrupts.subscribe()
    }

    pub fn strike(&self, when: When, fault: Fault) {
        self.world().faults.push((when, fault));
    }

    /// The same, with calls counted from this moment.
    pub fn strike_from_now(&self, when: When, fault: Fault) {
        let mut world = self.world();
        let already = world.calls.get(&when.program).copied().unwrap_or_default();
        world.faults.push((When { call: when.call + already, ..when }, fault));
    }

    pub fn intent(&self, step: &str, host: &HostName) {
        self.world().intents.insert((step.to_owned(), host.clone()));
    }

    /// What struck, at which call of which program.
    pub fn struck(&self) -> Vec<String> {
        self.world().struck.clone()
    }

    /// Everything that was sent, in order.
    pub fn said(&self) -> Vec<String> {
        self.world().said.clone()
    }

    /// What must never be, and was.
    pub fn broken(&self) -> Vec<String> {
        self.world().broken.clone()
    }

    pub fn machines(&self) -> BTreeMap<HostName, Machine> {
        self.world().machines.clone()
    }

    /// The run is over and its channels with it: locks of its own are gone, whatever it did.
    pub fn channels_end(&self) {
        for machine in self.world().machines.values_mut() {
            machine.lock = None;
        }
    }

    /// Everything that was broken is mended by somebody; what was switched or stopped stays so.
    pub fn mend(&self) {
        let mut world = self.world();
        world.faults.clear();
        for machine in world.machines.values_mut() {
            machine.is_reached = true;
            (machine.blue_can_start, machine.green_can_start, machine.is_half_dead) = (true, true, false);
            machine.blue_was_well = false;
        }
    }

    /// Changes hosts by hand, before a run.
    pub fn change(&self, mut each: impl FnMut(&HostName, &mut Machine)) {
        for (host, machine) in &mut self.world().machines {
            each(host, machine);
        }
    }

    /// Whether users of that balancer are served now.
    pub fn is_served(&self, balancer: &HostName) -> bool {
        self.world().somebody_serves(balancer, self.is_local)
    }

    pub fn forget_intents(&self) {
        self.world().intents.clear();
    }

    /// A call: the fault that strikes at it, if one does.
    fn begin(&self, host: &HostName, program: &Program) -> Option<Fault> {
        let mut world = self.world();
        let mut now = |program: Option<&'static str>| {
            let count = world.calls.entry(program).or_default();
            *count += 1;
            When { program, call: *count - 1 }
        };
        let now = [now(None), now(Some(program.name))];
        world.said.push(format!("{} {} {host}", now[0].call, program.name));
        let at = world.faults.iter().position(|(when, _)| now.contains(when))?;
        let (_, fault) = world.faults.swap_remove(at);
        world.struck.push(format!("{fault:?} at call {}, {} on {host}", now[0].call, program.name));
        Some(fault)
    }

    fn call(&self, host: &HostName, program: &Program) -> Result<Answer, Failure> {
        let fault = self.begin(host, program);
        let not_sent = || Failure::NotSent { why: "Connection refused".into(), hint: None };
        let unknown = || Failure::Unknown { why: "the line was cut".into() };
        if !self.world().machines[host].is_reached {
            return Err(not_sent());
        }
        let mut world = self.world();
        match fault {
            None => Ok(world.run(host, program, self.is_local, None)),
            Some(Fault::NotSent) => Err(not_sent()),
            Some(Fault::LostBefore) => Err(unknown()),
            Some(Fault::LostAfter) => {
                let answer = world.run(host, program, self.is_local, None);
                let record = format!("{}.{}", argument(program, "run"), program.name);
                match program.name {
                    "switch" | "stop" => drop(world.machine(host).records.insert(record, answer)),
                    "change" => {
                        let record = format!("{}.{}", argument(program, "run"), argument(program, "name"));
                        world.machine(host).records.insert(record, answer);
                    }
                    _ => {}
                }
                Err(unknown())
            }
            Some(Fault::LostForGood) => {
                world.run(host, program, self.is_local, None);
                Err(unknown())
            }
            Some(Fault::Unreachable) => {
                let happens = world.dice.below(2) == 0;
                if happens {
                    world.run(host, program, self.is_local, None);
                }
                let machine = world.machine(host);
                machine.is_reached = false;
                machine.lock = None;
                Err(unknown())
            }
            Some(Fault::PowerFails) => {
                let happens = world.dice.below(2) == 0;
                if happens {
                    world.run(host, program, self.is_local, None);
                }
                let machine = world.machine(host);
                // It starts with what is on its disk; both units are enabled.
                machine.loaded.clone_from(&machine.file);
                machine.lock = None;
                machine.number = 0;
                machine.records.clear();
                machine.blue = machine.is_app;
                machine.green = machine.is_app;
                Err(unknown())
            }
            Some(Fault::Garbage) => {
                let status = world.dice.one_of(&[0, 1, 127]);
                if status == 0 && matches!(program.name, "switch" | "stop" | "start" | "prepare" | "change") {
                    // What ends with 0 did it: a host that lies about that is another's case (the verification's).
                    return Ok(world.run(host, program, self.is_local, None));
                }
                let sections = vec![("motd".to_owned(), b"Welcome to web1".to_vec())];
                Ok(Answer { status, sections, noise: "Welcome".into(), ..Answer::default() })
            }
            Some(Fault::Fails) => {
                let status = match program.name {
                    "switch" => world.dice.one_of(&[10, 11, 12, 20, 21, 22, 30, 91]),
                    "stop" => world.dice.one_of(&[40, 41, 42]),
                    "change" => world.dice.one_of(&[10, 12, 20, 21, 30, 91]),
                    "start" | "prepare" => 1,
                    _ => return Ok(world.run(host, program, self.is_local, None)),
                };
                Ok(world.run(host, program, self.is_local, Some(status)))
            }
            Some(Fault::BlueDies) => {
                world.machine(host).blue = false;
                Ok(world.run(host, program, self.is_local, None))
            }
            Some(Fault::GreenDies) => {
                world.machine(host).green = false;
                Ok(world.run(host, program, self.is_local, None))
            }
            Some(Fault::BlueDiesForGood) => {
                let machine = world.machine(host);
                (machine.blue, machine.blue_can_start) = (false, false);
                Ok(world.run(host, program, self.is_local, None))
            }
            Some(Fault::AnotherRun) => {
                for machine in world.machines.values_mut() {
                    machine.number += 1;
                    machine.lock = None;
                    let blue_serves = sides(&machine.loaded) == (true, false);
                    let (blue, green) = if blue_serves { ("down", "weight=100") } else { ("weight=100", "down") };
                    machine.file = rewritten(&machine.file, blue, green);
                    machine.loaded.clone_from(&machine.file);
                    (machine.blue, machine.green) = (machine.is_app, machine.is_app);
                }
                Ok(world.run(host, program, self.is_local, None))
            }
            Some(Fault::LockTaken) => {
                for machine in world.machines.values_mut() {
                    machine.lock = Some("mallory@elsewhere pid 1 since today (rollback-x): mine".into());
                    machine.number += 1;
                }
                for lost in &world.lost {
                    lost.store(true, Ordering::Relaxed);
                }
                Ok(world.run(host, program, self.is_local, None))
            }
            Some(Fault::FileEdited) => {
                let machine = world.machine(host);
                machine.file.push_str("# by hand\n");
                machine.loaded.clone_from(&machine.file);
                Ok(world.run(host, program, self.is_local, None))
            }
            Some(Fault::Interrupt) => {
                let times = 1 + world.dice.below(2) as u32;
                drop(world);
                self.interrupts.send_modify(|count| *count += times);
                Ok(self.world().run(host, program, self.is_local, None))
            }
        }
    }
}

impl Ask for Fleet {
    async fn ask(&self, host: &HostName, question: &Question) -> Result<Answer, Failure> {
        // A round trip: others get their turn.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        self.call(host, question.program())
    }

    async fn stream(
        &self,
        host: &HostName,
        question: &Question,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<i32, Failure> {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let answer = self.call(host, question.program())?;
        sink(b"a line of text\n").map_err(|err| Failure::Unknown { why: err.to_string() })?;
        Ok(answer.status)
    }
}

impl Apply for Fleet {
    async fn apply(&self, host: &HostName, change: &Change) -> Result<Answer, Failure> {
        let program = change.program();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let step = match program.name {
            "start" => "verify",
            "arm" => "hold",
            "change" if argument(program, "name").starts_with("hook") => "hook",
            name => name,
        };
        {
            let mut world = self.world();
            let is_told = world.intents.contains(&(step.to_owned(), host.clone()));
            if !is_told {
                world.broken.push(format!("{step} on {host} began without its intent in the journal"));
            }
        }
        self.call(host, program)
    }

    async fn hold(&self, host: &HostName, change: &Change) -> Result<(Answer, Held), Failure> {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let lease =
            Lease { world: Arc::clone(&self.world), host: host.clone(), holder: argument(change.program(), "holder") };
        // Where the answer is lost the channel is over, and the lease ends with it.
        let answer = self.call(host, change.program())?;
        let lost = Arc::new(AtomicBool::new(false));
        self.world().lost.push(Arc::clone(&lost));
        let (release, released) = oneshot::channel::<()>();
        let done = tokio::spawn(async move {
            // Dropping the sender releases too.
            let _ = released.await;
            drop(lease);
        });
        Ok((answer, Held::new(lost, release, done)))
    }
}

/// A lock as long as its channel lives.
struct Lease {
    world: Arc<Mutex<World>>,
    host: HostName,
    holder: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut world = self.world.lock().expect("no test panics in there");
        let machine = world.machine(&self.host);
        if machine.lock.as_ref() == Some(&self.holder) {
            machine.lock = None;
        }
    }
}

impl World {
    fn machine(&mut self, host: &HostName) -> &mut Machine {
        self.machines.get_mut(host).expect("a host of the inventory")
    }

    /// What the program does and answers; with `ends`, as a step that fails in that way.
    fn run(&mut self, host: &HostName, program: &Program, is_local: bool, ends: Option<i32>) -> Answer {
        let mut said = Said::default();
        said.status = match program.name {
            "facts" => self.facts(host, program, is_local, &mut said),
            "prepare" => self.prepare(host, program, ends, &mut said),
            "switch" => self.switch(host, program, is_local, ends, &mut said),
            "start" => self.start(host, program, ends),
            "stop" => self.stop(host, program, is_local, ends, &mut said),
            "job" => match self.machine(host).records.remove(&argument(program, "job")) {
                Some(answer) => return answer,
                None => 92,
            },
            "standing" => {
                let into = if self.machines[host].is_changed { PUT } else { INTO };
                said.section("file", &format!("live /opt/word\nput {PUT}\ninto {into}\nowner root:root 644\n"));
                said.section("put", "old\n");
                said.section("into", "new\n");
                0
            }
            "change" => self.change(host, program, ends, &mut said),
            "sample" => {
                said.section("sockets", "");
                said.section("nginx.workers", "11 open\n");
                0
            }
            "health" => self.health(host, program, is_local, &mut said),
            "access" => {
                said.section("access", "/var/log/nginx/access.log before 100 0 after 100 0\n");
                0
            }
            _ => 0,
        };
        if self.machines[host].is_balancer && sides(&self.machines[host].file) == (false, false) {
            self.broken.push(format!("after {}: the file of {host} sends to nobody", program.name));
        }
        said.answer()
    }

    /// Who answers a user of that balancer: one of those that its loaded file sends to, since nginx tries the other.
    fn answers(&self, balancer: &HostName, is_local: bool) -> Option<&'static str> {
        let (blue, green) = sides(&self.machines[balancer].loaded);
        let runs = |pick: fn(&Machine) -> bool| self.apps(balancer, is_local).any(pick);
        match (blue && runs(|app| app.blue), green && runs(|app| app.green)) {
            (true, _) => Some("blue"),
            (false, true) => Some("green"),
            (false, false) => None,
        }
    }

    fn somebody_serves(&self, balancer: &HostName, is_local: bool) -> bool {
        self.answers(balancer, is_local).is_some()
    }

    /// Of the balancers that send to a host, those behind which nobody answers.
    fn unserved(&self, app: &HostName, is_local: bool) -> BTreeSet<HostName> {
        let balancers = self.within_reach(app, is_local).filter(|(_, machine)| machine.is_balancer);
        balancers.map(|(host, _)| host).filter(|host| !self.somebody_serves(host, is_local)).cloned().collect()
    }

    fn apps<'w>(&'w self, balancer: &'w HostName, is_local: bool) -> impl Iterator<Item = &'w Machine> {
        self.within_reach(balancer, is_local).map(|(_, machine)| machine).filter(|machine| machine.is_app)
    }

    /// Who sends to whom: within one host, or everybody to everybody.
    fn within_reach(&self, host: &HostName, is_local: bool) -> btree_map::Range<'_, HostName, Machine> {
        match is_local {
            true => self.machines.range::<HostName, _>(host..=host),
            false => self.machines.range::<HostName, _>(..),
        }
    }

    fn is_fenced(&mut self, host: &HostName, program: &Program, said: &mut Said) -> bool {
        let (holder, number) = (argument(program, "holder"), argument(program, "number"));
        let machine = self.machine(host);
        if number == machine.number.to_string() {
            return false;
        }
        match machine.lock.clone() {
            Some(other) if other != holder => said.section("why", &other),
            _ if number.is_empty() => return false,
            _ => said.section("why", "the host has forgotten our lock"),
        }
        true
    }

    fn prepare(&mut self, host: &HostName, program: &Program, ends: Option<i32>, said: &mut Said) -> i32 {
        let holder = argument(program, "holder");
        if ends.is_some() {
            said.section("lock", "none no folder in memory is writable");
            return 0;
        }
        match &self.machine(host).lock {
            Some(other) if *other != holder => {
                let other = format!("busy {other}");
                said.section("lock", &other);
                return 20;
            }
            Some(_) | None => {}
        }
        let calls = self.calls.get(&None).copied().unwrap_or_default() as u64;
        let machine = self.machine(host);
        machine.lock = Some(holder);
        machine.number = calls.max(machine.number + 1);
        let number = machine.number.to_string();
        said.section("lock", "held");
        said.section("number", &number);
        if program.arguments.iter().any(|(name, _)| *name == "text") {
            said.section("candidate", "syntax is ok");
            said.section("candidate.status", "0");
        }
        0
    }

    fn switch(
        &mut self,
        host: &HostName,
        program: &Program,
        is_local: bool,
        ends: Option<i32>,
        said: &mut Said,
    ) -> i32 {
        if self.is_fenced(host, program, said) {
            return 93;
        }
        let (before, after) = (argument(program, "before"), argument(program, "after"));
        said.section("steps", "");
        let machine = self.machine(host);
        if machine.file != before && machine.file != after {
            return 10;
        }
        match ends {
            // Nothing happened, or what happened was put back.
            Some(status @ (10 | 11 | 12 | 20 | 21 | 22)) => return status,
            // Killed, or not put back: the new file is there, and loaded or not.
            Some(status) => {
                machine.file = after;
                if status == 91 {
                    machine.loaded.clone_from(&machine.file);
                }
                return status;
            }
            None => {}
        }
        machine.file.clone_from(&after);
        machine.loaded = after;
        let header = argument(program, "header");
        let answers = self.answers(host, is_local);
        let is_proven = answers.is_some_and(|colour| header.is_empty() || header.ends_with(colour));
        if !is_proven {
            let machine = self.machine(host);
            machine.file.clone_from(&before);
            machine.loaded = before;
            said.section("why", "the probe was not answered by blue");
            return 22;
        }
        said.section("access", "/var/log/nginx/access.log 100\n");
        0
    }

    fn change(&mut self, host: &HostName, program: &Program, ends: Option<i32>, said: &mut Said) -> i32 {
        if self.is_fenced(host, program, said) {
            return 93;
        }
        let is_back = argument(program, "back") == "yes";
        let happens = match ends {
            None => true,
            // Nothing happened, or the files are as before.
            Some(10 | 12 | 20 | 21) => false,
            Some(_) => self.dice.below(2) == 0,
        };
        if happens {
            self.machine(host).is_changed = !is_back;
        }
        ends.unwrap_or(0)
    }

    fn start(&mut self, host: &HostName, program: &Program, ends: Option<i32>) -> i32 {
        let mut said = Said::default();
        if self.is_fenced(host, program, &mut said) {
            return 93;
        }
        if let Some(status) = ends {
            return status;
        }
        let machine = self.machine(host);
        if argument(program, "name").contains("blue") {
            machine.blue |= machine.blue_can_start;
            i32::from(!machine.blue)
        } else {
            machine.green |= machine.green_can_start;
            i32::from(!machine.green)
        }
    }

    fn stop(&mut self, host: &HostName, program: &Program, is_local: bool, ends: Option<i32>, said: &mut Said) -> i32 {
        if self.is_fenced(host, program, said) {
            return 93;
        }
        let is_blue = argument(program, "name").contains("blue");
        let colour = if is_blue { "blue" } else { "green" };
        // A host that had no room for a lock, or whose answer about it was lost, cannot tell one run from another.
        let was_anothers = self.struck.iter().any(|fault| fault.starts_with("AnotherRun"));
        let cannot_tell = was_anothers && argument(program, "number").is_empty();
        let goes_there = |(blue, green): (bool, bool)| if is_blue { blue } else { green };
        let sends = |machine: &Machine| machine.is_balancer && goes_there(sides(&machine.loaded));
        let senders = self.within_reach(host, is_local).filter(|(_, machine)| !cannot_tell && sends(machine));
        let broken = senders.map(|(from, _)| format!("{colour} was stopped on {host} while {from} sent to it"));
        let broken: Vec<String> = broken.collect();
        self.broken.extend(broken);
        // What does not run is not taken from anybody.
        if !is_blue && self.machines[host].green && !self.machines[host].blue_was_well {
            self.broken.push(format!("green was stopped on {host} and blue's last answer there was no good one"));
        }
        match ends {
            Some(42) => {
                said.section("stop", "");
                said.section("left", "port 8081: pid 7 /opt/green, started by pid 1 init");
                42
            }
            Some(status) => status,
            None => {
                let unserved = self.unserved(host, is_local);
                let machine = self.machine(host);
                if is_blue {
                    machine.blue = false
                } else {
                    machine.green = false
                }
                for balancer in self.unserved(host, is_local).difference(&unserved).filter(|_| !cannot_tell) {
                    self.broken.push(format!("a stop of {colour} on {host} left nobody serving behind {balancer}"));
                }
                0
            }
        }
    }

    /// The answers to those of a program's questions over HTTP.
    fn gets(&mut self, host: &HostName, program: &Program, is_local: bool, said: &mut Said) {
        for (_, get) in program.arguments.iter().filter(|(name, _)| *name == "get") {
            let Some(name) = get.split('\u{1f}').next() else { continue };
            let machine = self.machines[host].clone();
            let half_dead = machine.is_half_dead && machine.asked % 2 == 1;
            let colour = match name.split('.').next() {
                Some("probe") => self.answers(host, is_local).unwrap_or("nobody"),
                Some("blue") if (machine.blue && !half_dead) || !machine.is_app => "blue",
                Some("green") if machine.green || !machine.is_app => "green",
                _ => "nobody",
            };
            self.machine(host).asked += 1;
            if name.starts_with("blue.health") {
                self.machine(host).blue_was_well = colour == "blue";
            }
            match (name, colour) {
                ("probe", "nobody") => {
                    said.section(name, "HTTP/1.1 502 Bad Gateway\n\n");
                    said.section(&format!("{name}.code"), "502 ");
                }
                (_, "nobody") => {
                    said.section(name, "");
                    said.section(&format!("{name}.code"), "000 Connection refused");
                }
                (_, colour) => {
                    said.section(name, &format!("HTTP/1.1 200 OK\nX-Instance: {colour}\n\nhello"));
                    said.section(&format!("{name}.code"), "200 ");
                }
            }
        }
    }

    fn health(&mut self, host: &HostName, program: &Program, is_local: bool, said: &mut Said) -> i32 {
        self.gets(host, program, is_local, said);
        said.section("listeners", &listeners(&self.machines[host]));
        0
    }

    fn facts(&mut self, host: &HostName, program: &Program, is_local: bool, said: &mut Said) -> i32 {
        let machine = self.machines[host].clone();
        for job in machine.records.keys() {
            said.section("job", &format!("{job}\n0\n"));
        }
        self.machine(host).records.clear();
        self.gets(host, program, is_local, said);
        said.section("who", "1000\ndeploy\n/bin/bash\n");
        said.section("system", "Linux 6.1");
        said.section(
            "clock",
            &format!(
                "{}",
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
            ),
        );
        said.section("tools", "/usr/sbin/nginx\n/usr/bin/curl\n/usr/bin/gzip\n/usr/bin/sudo\n/usr/bin/systemctl\n");
        said.section("space", "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a 9 1 99999999 1% /\n");
        said.section("rights", "all");
        if let Some(lock) = &machine.lock {
            said.section("lock", lock);
            said.section("lock.age", "1");
        }
        if machine.is_balancer {
            said.section("nginx.link", PATH);
            said.section("nginx.stat", "root:root 644 1");
            said.section("nginx.stat.status", "0");
            said.section("nginx.text", &machine.file);
            said.section("nginx.text.status", "0");
            let dump = format!(
                "# configuration file {PATH}:\nerror_log /var/log/nginx/error.log;\naccess_log /var/log/nginx/access.log;\n"
            );
            said.section("nginx.dump", &dump);
            said.section("nginx.dump.status", "0");
            said.section("nginx.pidfile", "/run/nginx.pid");
            said.section("nginx.master", "10");
            said.section("nginx.workers", "11 open\n");
        }
        if machine.is_app {
            let unit = |colour: &str, runs: bool| {
                let state =
                    if runs { "ActiveState=active\nSubState=running" } else { "ActiveState=inactive\nSubState=dead" };
                format!("LoadState=loaded\n{state}\nControlGroup=/system.slice/listings-{colour}.service\n")
            };
            said.section("units", &format!("{}\n{}", unit("blue", machine.blue), unit("green", machine.green)));
            said.section("listeners", &listeners(&machine));
            let open =
                |port: &str, runs: bool| if runs { format!("0A here {port} 00000000 0 7\n") } else { String::new() };
            said.section("sockets", &(open(BLUE, machine.blue) + &open(GREEN, machine.green)));
        }
        0
    }
}

fn listeners(machine: &Machine) -> String {
    let line = |port: &str, pid: u32, colour: &str, runs: bool| match runs {
        true => {
            let group = format!("0::/system.slice/listings-{colour}.service|");
            [port, &pid.to_string(), "*", &format!("/opt/{colour}"), "123", &group].join("\u{1f}") + "\n"
        }
        false => String::new(),
    };
    line(BLUE, 6, "blue", machine.blue) + &line(GREEN, 7, "green", machine.green)
}

/// Of the file's upstream, whether blue and whether green get any traffic.
pub fn sides(text: &str) -> (bool, bool) {
    let is_up = |port: &str| text.lines().any(|line| line.contains(port) && !line.contains("down"));
    (is_up(":8080"), is_up(":8081"))
}

/// The file with other words behind its two servers.
pub fn rewritten(text: &str, blue: &str, green: &str) -> String {
    let line = |line: &str| {
        let words = if line.contains(":8080") {
            blue
        } else if line.contains(":8081") {
            green
        } else {
            return line.to_owned();
        };
        let end = line.find(":808").map_or(line.len(), |at| at + 5);
        format!("{} {words};", &line[..end])
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn argument(program: &Program, name: &str) -> String {
    let found = program.arguments.iter().find(|(given, _)| *given == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

#[derive(Default)]
struct Said {
    sections: Vec<(String, Vec<u8>)>,
    status: i32,
}

impl Said {
    fn section(&mut self, name: &str, text: &str) {
        self.sections.push((name.to_owned(), text.as_bytes().to_vec()));
    }

    fn answer(self) -> Answer {
        Answer { status: self.status, sections: self.sections, ..Answer::default() }
    }
}
