//! Switches a balancer and proves it.

use std::time::Duration;

use crate::hosts::program::{Arguments, Change, Script, Tenure, UNIT, program, script};
use crate::nouns::inventory::Inventory;
use crate::nouns::plan::{FileChange, Mark, Proof};

pub(super) const SWITCH: Script = script!("switch");

/// How many answers in a row a balancer's probe must give before it counts as switched.
const PROBE_PASSES: u32 = 3;

/// A switch that is not proven within this many seconds is put back. nginx itself needs about 0.1 s; a file system
/// that is busy, or DNS in the configuration, may take seconds.
const SWITCH_LIMIT_SECONDS: u64 = 10;

/// Switches a balancer and proves it, or puts the old file back. In one root shell where the host's sudo allows that.
pub fn switch(
    inventory: &Inventory,
    tenure: &Tenure,
    change: &FileChange,
    proof: &Proof,
    may_root_shell: bool,
) -> Change {
    let nginx = &inventory.nginx;
    let mut arguments = Arguments::new(inventory);
    arguments.set("root_shell", if may_root_shell && nginx.sudo { "yes" } else { "no" });
    arguments.tenure(inventory, tenure);
    arguments.set("live", &change.path);
    arguments.set("before", &change.before);
    arguments.set("after", &change.after);
    arguments.set("test", nginx.test.join(UNIT));
    arguments.set("reload", nginx.reload.join(UNIT));
    arguments.set("pidfile", &proof.pidfile);
    for log in &proof.error_logs {
        arguments.set("log", log);
    }
    for log in &proof.access_logs {
        arguments.set("access", log);
    }
    arguments.set("probe", &nginx.probe);
    arguments.set("probe_host", nginx.probe_host.as_deref().unwrap_or("-"));
    arguments.set("limit", SWITCH_LIMIT_SECONDS);
    arguments.set("passes", PROBE_PASSES);
    match &proof.mark {
        Some(Mark::Header(line)) => arguments.set("header", line),
        Some(Mark::Body(body)) => arguments.set("body", body),
        None => {}
    }
    // The proof, the put-back with a test and a reload of its own, and a host that is busy.
    Change(program(SWITCH, arguments, Duration::from_secs(SWITCH_LIMIT_SECONDS + 50)))
}
