//! Stops a colour, and only that one.

use std::time::Duration;

use crate::hosts::program::{Arguments, Change, Script, Tenure, hex_ports, program, script};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::Inventory;
use crate::nouns::plan::Target;

pub(super) const STOP: Script = script!("stop");

/// Green's port is watched this long after its stop, for a supervisor that starts it again.
const PORT_WATCH_SECONDS: u64 = 1;

/// Stops a colour and watches its ports.
pub fn stop(inventory: &Inventory, tenure: &Tenure, colour: Colour, target: &Target) -> Change {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.tenure(inventory, tenure);
    arguments.run(&app.run);
    if let Target::Process { pid, started, exe } = target {
        arguments.set("pid", pid);
        arguments.set("started", started);
        arguments.set("exe", exe);
    }
    let grace = app.stop_timeout.as_secs().max(1);
    arguments.set("grace", grace);
    arguments.set("ports", hex_ports(app.ports()));
    arguments.set("watch", PORT_WATCH_SECONDS);
    Change(program(STOP, arguments, Duration::from_secs(grace + 30)))
}
