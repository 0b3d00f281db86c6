//! What can be done on a host, one kind to a file: its arguments, how its status is read, and what undoes it.

pub mod drain;
pub mod lock;
pub mod observe;
pub mod passes;
pub mod public;
pub mod start;
pub mod stop;
pub mod switch;
pub mod verify;

use crate::database::programs;
use crate::hosts::program::Script;
use crate::hosts::{job, question};
use crate::incident::capture;

const STEPS: &[Script] = &[
    lock::TEST,
    lock::PREPARE,
    switch::SWITCH,
    drain::SAMPLE,
    verify::HEALTH,
    verify::ACCESS,
    start::START,
    stop::STOP,
];

/// Every script that is sent to hosts. For the tests that hold them to POSIX.
pub fn scripts() -> impl Iterator<Item = &'static Script> {
    question::SCRIPTS.iter().chain(job::SCRIPTS).chain(STEPS).chain(capture::SCRIPTS).chain(programs::SCRIPTS)
}
