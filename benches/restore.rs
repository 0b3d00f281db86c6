//! How fast a database goes back, and how long the service is without one: a load beside the ways that people have, of a
//! shop, of one big table and of a small database; and the swap and its undo as clients see them. `cargo bench --bench
//! restore` (as root: it boots a real host; about 30 minutes); `cargo bench --bench restore -- load split memory big small line
//! swap drill` runs some of it.
//!
//! The ways are taken in turn, in another order in each round, and the medians printed. It measures and prints; it never
//! judges.

#[path = "../tests/support/database.rs"]
mod database;
#[path = "../tests/support/site.rs"]
mod site;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use database::{CONFIG, FOLDER, NAME, sql_in};
use dumps::dump::Scan;
use support::lab::Lab;
use support::{Scene, carried};

/// Rounds of the load; more than three take longer than anybody waits.
const ROUNDS: usize = 3;
/// Clients that connect anew for each question.
const CLIENTS: usize = 20;
const SHOP: &str = include_str!("shop.sql");

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    let lab = shop();
    println!("| what | seconds | of the plain way |\n| --- | --- | --- |");
    if is_chosen("load") {
        loads(&lab, "shop");
    }
    if is_chosen("split") {
        split(&lab, "shop");
    }
    if is_chosen("memory") {
        memory(&lab, "shop");
    }
    if is_chosen("big") {
        big(&lab);
        loads(&lab, "big");
        memory(&lab, "big");
    }
    if is_chosen("small") {
        small(&lab);
        loads(&lab, "small");
    }
    if is_chosen("line") {
        lines(&lab);
    }
    if is_chosen("swap") {
        swaps(&lab);
    }
    // The last, because it leaves the host without a place where a program may run.
    if is_chosen("drill") {
        drills(&lab);
    }
}

/// A host with a shop of about 2 GB, its dumps in two formats, and a server with the settings it comes with.
fn shop() -> Lab {
    let lab = Lab::up(&["web1+postgres"]);
    lab.postgres("web1");
    lab.config(&CONFIG.replace("checks = [\"SELECT count(*) > 0 FROM listings\"]\n", ""));
    lab.sh(
        "web1",
        "rm /etc/postgresql/15/main/conf.d/lab.conf
         printf \"listen_addresses = '*'\\n\" >/etc/postgresql/15/main/conf.d/lab.conf
         echo 'host all all 198.18.0.0/15 trust' >>/etc/postgresql/15/main/pg_hba.conf
         systemctl restart postgresql@15-main",
    );
    site::until("the server is back", || {
        lab.exec("web1", &["sh", "-c", "cd /; sudo -u postgres psql -qc 'SELECT 1'"]).status.success()
    });
    sql_in(&lab, "postgres", "CREATE ROLE listings LOGIN SUPERUSER");
    sql_in(&lab, "postgres", &format!("CREATE DATABASE {NAME} OWNER listings"));
    sql_in(&lab, NAME, SHOP);
    lab.sh(
        "web1",
        &format!(
            "mkdir -p {FOLDER}; chmod 777 {FOLDER}; cd {FOLDER}
             sudo -u postgres pg_dump {NAME} | gzip >shop.sql.gz; sudo -u postgres pg_dump -Fc -f {FOLDER}/shop.dump {NAME}
             touch -d '1 hour ago' shop.*"
        ),
    );
    let program = std::fs::read(carried().get_program()).expect("it is there");
    std::fs::write(lab.dir().join("hosts/web1/mnt/usr/local/bin/rollback-prod"), program).expect("carry it over");
    lab.sh("web1", "chmod 755 /usr/local/bin/rollback-prod");
    let bytes = lab.sh("web1", &format!("zcat {FOLDER}/shop.sql.gz | wc -c; stat -c %s {FOLDER}/shop.sql.gz"));
    let size = sql_in(&lab, "postgres", &format!("SELECT pg_size_pretty(pg_database_size('{NAME}'))"));
    println!("a database of {size}; its dump, bytes of text and of gzip: {}\n", bytes.replace('\n', ", "));
    lab
}

/// What pgbench makes: nearly all of it is one table.
fn big(lab: &Lab) {
    sql_in(lab, "postgres", "CREATE DATABASE big");
    lab.sh("web1", "cd /; sudo -u postgres /usr/lib/postgresql/15/bin/pgbench -q -i -s 50 big 2>&1");
    dumped(lab, "big");
}

/// As large as those of tutorials: 21 tables, 50,000 rows, 3 MB.
fn small(lab: &Lab) {
    sql_in(lab, "postgres", "CREATE DATABASE small");
    let tables: String = (0..21)
        .map(|n| {
            format!(
                "CREATE TABLE t{n} (id int PRIMARY KEY, name text, at timestamptz); CREATE INDEX ON t{n} (name);
                 INSERT INTO t{n} SELECT i, md5(i::text), '2026-01-01' FROM generate_series(1, 2400) i;"
            )
        })
        .collect();
    sql_in(lab, "small", &tables);
    dumped(lab, "small");
}

fn dumped(lab: &Lab, name: &str) {
    lab.sh(
        "web1",
        &format!(
            "cd {FOLDER}
             sudo -u postgres pg_dump {name} | gzip >{name}.sql.gz; sudo -u postgres pg_dump -Fc -f {FOLDER}/{name}.dump {name}"
        ),
    );
    sql_in(lab, "postgres", &format!("DROP DATABASE {name}"));
}

/// What ours asks for on the host, for a dump.
fn our_load(lab: &Lab, dump: &str) -> (String, String) {
    let read = format!("--read=cat --read={FOLDER}/{dump}.sql.gz");
    let scan = Scan::from_lines(&lab.sh("web1", &format!("rollback-prod scan {read}")));
    let split: String = scan.to_split(2).iter().map(|place| format!("--split={place} ")).collect();
    (format!("rollback-prod load --jobs=2 {split}{read} -- psql -d b"), read)
}

/// What it gains, or costs, that large tables come over several connections: in parts and without FREEZE, or whole with it.
fn split(lab: &Lab, dump: &str) {
    let (ours, _) = our_load(lab, dump);
    let words =
        |is_split: &bool| ours.split(' ').filter(|word| *is_split || !word.starts_with("--split")).collect::<Vec<_>>();
    println!("{dump}: {} large tables are split", ours.matches("--split").count());
    for is_split in [true, false, true, false] {
        sql_in(lab, "postgres", "CREATE DATABASE b TEMPLATE template0");
        sql_in(lab, "postgres", "CHECKPOINT");
        let began = Instant::now();
        lab.sh("web1", &format!("cd /; exec sudo -u postgres sh -ec '{} >/dev/null'", words(&is_split).join(" ")));
        println!("| {dump}: ours, split: {is_split} | {:.2} | |", began.elapsed().as_secs_f64());
        sql_in(lab, "postgres", "DROP DATABASE b WITH (FORCE)");
    }
}

/// The most memory that the reader and the loader take on the host; psql and the server have their own.
fn memory(lab: &Lab, dump: &str) {
    let (ours, read) = our_load(lab, dump);
    for (what, words) in [("load", ours), ("verdict", format!("rollback-prod scan {read}"))] {
        sql_in(lab, "postgres", "CREATE DATABASE b TEMPLATE template0");
        let peak = lab.sh(
            "web1",
            &format!(
                "cd /; (while sleep 0.2; do for p in $(pgrep -x rollback-prod); do cat /proc/$p/status; done; done 2>/dev/null \
                   | sed -un 's/^VmHWM: *\\([0-9]*\\) kB/\\1/p' >/run/peaks) & watcher=$!
                 sudo -u postgres sh -ec '{words} >/dev/null'; kill $watcher; sort -n /run/peaks | tail -1"
            ),
        );
        let kib: u64 = peak.parse().expect("a number of kB");
        println!("| {dump}: peak memory of a {what} on the host, MiB | {} | |", kib / 1024);
        sql_in(lab, "postgres", "DROP DATABASE b");
    }
}

fn loads(lab: &Lab, dump: &str) {
    let (ours, read) = our_load(lab, dump);
    let ways = [
        (
            "gunzip -c, psql -v ON_ERROR_STOP=1",
            format!("gunzip -c {FOLDER}/{dump}.sql.gz | psql -q -v ON_ERROR_STOP=1 -d b"),
        ),
        ("pg_restore -j2, custom format", format!("pg_restore -j2 -d b {FOLDER}/{dump}.dump")),
        ("ours, --jobs 2, verified", ours.clone()),
        ("the verdict, then ours", format!("rollback-prod scan {read} && {ours}")),
        ("the verdict alone", format!("rollback-prod scan {read}")),
        ("gzip -t alone", format!("gzip -t {FOLDER}/{dump}.sql.gz")),
    ];
    let mut taken: Vec<Vec<Duration>> = vec![Vec::new(); ways.len()];
    for round in 0..ROUNDS {
        for turn in 0..ways.len() {
            let way = (turn + round * 2) % ways.len();
            sql_in(lab, "postgres", "DROP DATABASE IF EXISTS b");
            sql_in(lab, "postgres", "CREATE DATABASE b TEMPLATE template0");
            sql_in(lab, "postgres", "CHECKPOINT");
            let began = Instant::now();
            lab.sh("web1", &format!("cd /; exec sudo -u postgres sh -ec '{} >/dev/null'", ways[way].1));
            taken[way].push(began.elapsed());
        }
    }
    let medians: Vec<Duration> = taken.into_iter().map(median).collect();
    for ((way, _), took) in ways.iter().zip(&medians) {
        println!(
            "| {dump}: {way} | {:.2} | {:.2} |",
            took.as_secs_f64(),
            medians[0].as_secs_f64() / took.as_secs_f64()
        );
    }
    sql_in(lab, "postgres", "DROP DATABASE b");
}

/// A list of the dumps with their verdicts, for which the program goes over, by a line of 10 Mbit/s each way and by a free one.
fn lines(lab: &Lab) {
    let veth = std::fs::read_to_string(lab.dir().join("hosts/web1/veth")).expect("the host's port");
    let shaped = |device: &str, verb: &str| {
        format!("tc qdisc {verb} dev {device} root tbf rate 10mbit burst 32kbit latency 400ms")
    };
    let both = |verb: &str| {
        let status = std::process::Command::new("sh").args(["-c", &shaped(veth.trim(), verb)]).status();
        assert!(status.is_ok_and(|status| status.success()), "the line to the host is not shaped");
        let leader = std::fs::read_to_string(lab.dir().join("hosts/web1/pid")).expect("its first process");
        let leader = leader.split_whitespace().next().expect("a number").to_owned();
        let status = std::process::Command::new("nsenter")
            .args(["-t", &leader, "-n", "sh", "-c", &shaped("host0", verb)])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "the line from the host is not shaped");
    };
    let mut taken = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        taken.0.push(listed(lab));
        both("add");
        taken.1.push(listed(lab));
        both("del");
    }
    println!("| the dumps with their verdicts, a free line | {:.2} | |", median(taken.0).as_secs_f64());
    println!("| the dumps with their verdicts, 10 Mbit/s | {:.2} | |", median(taken.1).as_secs_f64());
}

fn listed(lab: &Lab) -> Duration {
    let began = Instant::now();
    let scene = Scene::of(&mut site::program(lab, &["backups"]), lab.folder());
    let took = began.elapsed();
    scene.exits(0).says("shop.sql.gz");
    took
}

/// The load of a whole drill, ANALYZE and all: with this program carried to the host, and where none may run there.
fn drills(lab: &Lab) {
    lab.sh("web1", &format!("rm -f {FOLDER}/shop.dump"));
    let mut ways = (Vec::new(), Vec::new());
    for round in 0..2 * ROUNDS {
        // One after the other, so that a machine that becomes slower does so for both.
        let is_carried = round % 2 == 0;
        let mount = if is_carried {
            "umount $folder 2>/dev/null || :"
        } else {
            "mount --bind $folder $folder; mount -o remount,bind,noexec $folder"
        };
        lab.sh("web1", &format!("for folder in /tmp /var/tmp /dev/shm /home/deploy; do {mount}; done"));
        Scene::of(&mut site::program(lab, &["backups", "verify"]), lab.folder()).exits(0);
        let drills = std::fs::read_to_string(lab.folder().join("incidents/drills.jsonl")).expect("a record of drills");
        let drill: serde_json::Value =
            drills.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("a line");
        let took = Duration::from_millis(drill["load_ms"].as_u64().expect("how long it took"));
        if is_carried { ways.0.push(took) } else { ways.1.push(took) }
    }
    println!("| a drill's load, this program carried over | {:.1} | |", median(ways.0).as_secs_f64());
    println!("| a drill's load, gzip, awk and one psql | {:.1} | |", median(ways.1).as_secs_f64());
}

/// The longest time that any of the clients got no answer, over a whole restore and over its undo.
fn swaps(lab: &Lab) {
    let mut gaps = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let words = ["--reason", "bench", "--restore-db", "--backup", &format!("{FOLDER}/shop.sql.gz")];
        gaps.0.push(longest_gap(lab, &words, "RESTORE\n"));
        gaps.1.push(longest_gap(lab, &["undo"], "UNDO\n"));
        for relative in database::relatives(lab) {
            sql_in(lab, "postgres", &format!("DROP DATABASE {relative}"));
        }
    }
    println!("| without a database while it is restored, {CLIENTS} clients | {:.2} | |", median(gaps.0).as_secs_f64());
    println!("| without a database while that is undone | {:.2} | |", median(gaps.1).as_secs_f64());
}

fn longest_gap(lab: &Lab, words: &[&str], typed: &str) -> Duration {
    let stopping = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stopping, address) = (Arc::clone(&stopping), format!("{}:5432", lab.ip("web1")));
            std::thread::spawn(move || {
                let (mut last, mut gap) = (Instant::now(), Duration::ZERO);
                while !stopping.load(Ordering::Relaxed) {
                    if asked(&address).is_some() {
                        gap = gap.max(last.elapsed());
                        last = Instant::now();
                    }
                    // Twenty clients that never pause would leave the load no processor.
                    std::thread::sleep(Duration::from_millis(20));
                }
                gap
            })
        })
        .collect();
    let scene = Scene::of_typing(&mut site::program(lab, words), lab.folder(), typed);
    scene.exits(0);
    stopping.store(true, Ordering::Relaxed);
    clients.into_iter().map(|client| client.join().expect("a client ends")).max().unwrap_or_default()
}

/// One connection, one question, one answer, in PostgreSQL's own protocol: a client program's start would be most of it.
fn asked(address: &str) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut startup = vec![0, 3, 0, 0];
    for word in ["user", "listings", "database", NAME, ""] {
        startup.extend_from_slice(word.as_bytes());
        startup.push(0);
    }
    let length = u32::try_from(startup.len() + 4).ok()?.to_be_bytes();
    stream.write_all(&[&length[..], &startup].concat()).ok()?;
    until_ready(&mut stream)?;
    let query = b"SELECT count(*) FROM sellers WHERE id < 10\0";
    let length = u32::try_from(query.len() + 4).ok()?.to_be_bytes();
    stream.write_all(&[&b"Q"[..], &length, query].concat()).ok()?;
    until_ready(&mut stream)
}

/// Reads messages until the server is ready for the next query; nothing when it says an error.
fn until_ready(stream: &mut TcpStream) -> Option<()> {
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).ok()?;
        let length = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).ok()?;
        let mut body = vec![0; length.checked_sub(4)?];
        stream.read_exact(&mut body).ok()?;
        match head[0] {
            b'Z' => return Some(()),
            b'E' => return None,
            _ => {}
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
