//! What a fleet costs the laptop besides its hosts: whole rollbacks by the planner and the engine as they are, of 128, 500
//! and 2,000 hosts in memory, which answer at once. `cargo bench --bench fleet`.
//!
//! Time is this program's own: the clock that a run waits by stands still meanwhile. Memory is the peak of the whole process,
//! hosts in memory included. The bar is that of a fleet of 2,000: 2 s and 300 MiB, and that a host there costs no more than
//! twice what one of 128 does.

#[path = "../tests/support/fleet.rs"]
mod fleet;
#[path = "../tests/support/played.rs"]
mod played;

use std::time::Instant;

use fleet::{Dice, Fleet};
use played::{Shape, inventory, request, run};

const SIZES: [usize; 3] = [128, 500, 2000];

fn main() {
    println!("| hosts | took | for each host | against 128 | peak memory |\n| --- | --- | --- | --- | --- |");
    let mut first = None;
    for hosts in SIZES {
        let (inventory, file) = inventory(Shape::Alike(hosts));
        let fleet = Fleet::new(&inventory, &file, Dice::new(1));
        let incidents = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let began = Instant::now();
        let ran =
            runtime.expect("a runtime").block_on(run(&fleet, &inventory, incidents.path(), &request(1, vec![], None)));
        let took = began.elapsed();
        assert_eq!(ran.verdict.exit, 0, "{}", ran.verdict.production);
        let each = took.as_secs_f64() / f64::from(u32::try_from(hosts).expect("a few"));
        let against = each / *first.get_or_insert(each);
        println!(
            "| {hosts} | {:.2} s | {:.0} µs | {against:.2} | {} MiB |",
            took.as_secs_f64(),
            each * 1e6,
            peak_mib()
        );
    }
}

/// The most that this process has had so far, proc_pid_status(5).
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
