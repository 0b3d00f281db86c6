//! From facts to a plan, and from a plan to what was done.
//!
//! In: what was asked for and what is. Out: a plan or every reason against one ([`planner`]), read once more by somebody who
//! did not write it ([`safety`]), and then carried out to the letter ([`run`]).

pub mod planner;
pub mod run;
pub mod safety;
