//! What a fleet costs the laptop besides its hosts: whole rollbacks by the planner and the engine as they are, of 128, 500
//! and 2,000 hosts in memory, which answer at once. `cargo bench --bench fleet`.
//!
//! Time is this program's own: the clock that a run waits by stands still meanwhile, and the incident folder is in memory
//! (/dev/shm) like the hosts, since what a sync costs is the disk's. Memory is the peak of the whole process, hosts in memory
//! included. The bar is that of a fleet of 2,000: 2 s and 300 MiB, and that a host there costs no more than one of 128 does,
//! give or take a third.

#[path = "../tests/support/fleet.rs"]
mod fleet;
#[path = "../tests/support/played.rs"]
mod played;

use std::time::{Duration, Instant};

use fleet::{Dice, Fleet};
use played::{Shape, inventory, request, run};

const SIZES: [usize; 3] = [128, 500, 2000];

fn main() {
    println!(
        "| layout | hosts | took | for each host | against 128 | peak memory |\n| --- | --- | --- | --- | --- | --- |"
    );
    // What takes less memory comes first: what the process has had it may keep.
    let shared: fn(usize) -> Shape = |hosts| Shape::InFront(hosts - 2);
    for (layout, shape) in [("two balancers before them", shared), ("each sends to itself", Shape::Alike)] {
        let mut first = None;
        for hosts in SIZES {
            let took = rollback(shape(hosts));
            let each = took.as_secs_f64() / f64::from(u32::try_from(hosts).expect("a few"));
            let against = each / *first.get_or_insert(each);
            let (took, each) = (took.as_secs_f64(), each * 1e6);
            println!("| {layout} | {hosts} | {took:.2} s | {each:.0} µs | {against:.2} | {} MiB |", peak_mib());
        }
    }
}

/// How long one whole run takes.
fn rollback(shape: Shape) -> Duration {
    let (inventory, file) = inventory(shape);
    let fleet = Fleet::new(&inventory, &file, Dice::new(1));
    let incidents = tempfile::tempdir_in("/dev/shm").expect("a folder");
    // From here on the peak is this run's, proc(5).
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let began = Instant::now();
    let ran =
        runtime.expect("a runtime").block_on(run(&fleet, &inventory, incidents.path(), &request(1, vec![], None)));
    let took = began.elapsed();
    assert_eq!(ran.verdict.exit, 0, "{}", ran.verdict.production);
    took
}

/// The most that this process has had since the last run began, proc_pid_status(5).
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
