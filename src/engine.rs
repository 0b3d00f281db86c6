//! From facts to a plan, and from a plan to what was done.
//!
//! In: what was asked for and what is. Out: a plan or every reason against one ([`planner`], [`doubts`], [`remarks`]),
//! read once more by somebody who did not write it ([`safety`]), and then carried out to the letter ([`run`]), while
//! somebody looks that somebody serves ([`watch`]), or share by share, each one judged (`gradual`, [`hold`]); `changes` is what else goes back,
//! [`turns`] who goes when where there are several services.

mod changes;
pub mod doubts;
mod gradual;
pub mod hold;
mod lane;
pub mod planner;
pub mod remarks;
pub mod run;
pub mod safety;
pub mod turns;
pub mod watch;
