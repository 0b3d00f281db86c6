//! What can be done on a host, one kind to a file: its arguments, how its status is read, and what undoes it.
//!
//! In: a step of the plan and the [`context`] of the run. Out: an outcome for the journal. A kind never records its own
//! intent or outcome, never judges whether it may begin, and never undoes itself: that is the engine's. What waits for a
//! lost answer is in [`again`].
//!
//! | kind | file | script |
//! | --- | --- | --- |
//! | lock | [`lock`] | `prepare.sh` |
//! | start | [`start`] | `start.sh` |
//! | arm | [`arm`] | `arm.sh` |
//! | switch | [`switch`] | `switch.sh` |
//! | drain | [`drain`] | `sample.sh` |
//! | stop | [`stop`] | `stop.sh` |
//! | verify | [`verify`] | `health.sh`, `access.sh` |
//! | hold | [`measure`], [`prometheus`] | `count.sh`, `config.sh`, `complaints.sh` |
//! | change, hook | [`change`], [`hook`], [`here`], [`earlier`] | `change.sh`, `standing.sh`, `earlier.sh` |
//! | downgrade | [`downgrade`], [`change`] | `keep.sh`, `change.sh` |
//! | remember | [`remember`] | `remember.sh` |
//! | load, swap, take back | [`restore`] | those of [`programs`] |

pub mod about;
pub mod again;
pub mod arm;
pub mod certificate;
pub mod change;
pub mod context;
pub mod downgrade;
pub mod drain;
pub mod earlier;
pub mod here;
pub mod hook;
pub mod lock;
pub mod measure;
pub mod merge;
pub mod observe;
pub mod passes;
pub mod prometheus;
pub mod public;
pub mod remember;
pub mod restore;
pub mod start;
pub mod stop;
pub mod supervisor;
pub mod switch;
pub mod verify;

use crate::database::programs;
use crate::discover;
use crate::hosts::program::Script;
use crate::hosts::{job, question};
use crate::incident::capture;

const STEPS: &[Script] = &[
    lock::TEST,
    lock::PREPARE,
    switch::SWITCH,
    arm::ARM,
    drain::SAMPLE,
    verify::HEALTH,
    verify::ACCESS,
    measure::CONFIG,
    measure::COUNT,
    measure::COMPLAINTS,
    start::START,
    stop::STOP,
    change::CHANGE,
    change::STANDING,
    earlier::EARLIER,
    remember::REMEMBER,
];

/// Every script that is sent to hosts. For the tests that hold them to POSIX.
pub fn scripts() -> impl Iterator<Item = &'static Script> {
    let asked = question::SCRIPTS.iter().chain(discover::question::SCRIPTS);
    asked.chain(job::SCRIPTS).chain(STEPS).chain(capture::SCRIPTS).chain(programs::SCRIPTS)
}
