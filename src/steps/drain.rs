//! Counts what still reaches the colour that traffic left.

use std::time::Duration;

use crate::hosts::program::{Arguments, Question, Script, hex_ports, program, script};
use crate::nouns::inventory::Inventory;

pub(super) const SAMPLE: Script = script!("sample");

/// What still reaches green, as this host sees it.
pub fn sample(inventory: &Inventory, pidfile: Option<&str>) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("ports", hex_ports(inventory.green.ports()));
    if let Some(pidfile) = pidfile {
        arguments.set("pidfile", pidfile);
    }
    for path in inventory.green.servers.iter().filter_map(|server| server.unix_path()) {
        arguments.set("unix", path);
    }
    Question(program(SAMPLE, arguments, Duration::from_secs(10)))
}
