//! Starts a colour.

use std::time::Duration;

use crate::hosts::program::{Arguments, Change, Script, Tenure, program, script};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Run};

pub(super) const START: Script = script!("start");

/// Starts a colour.
pub fn start(inventory: &Inventory, tenure: &Tenure, colour: Colour) -> Change {
    let app = inventory.app(colour);
    let mut arguments = Arguments::new(inventory);
    arguments.tenure(inventory, tenure);
    arguments.run(&app.run);
    if let Run::Process { start: Some(start), .. } = &app.run {
        arguments.set("start", start);
    }
    if let Some(log) = &app.log {
        arguments.set("log", log);
    }
    // systemctl waits for a Type=notify unit; its own limit is 90 s
    Change(program(START, arguments, Duration::from_secs(100)))
}
