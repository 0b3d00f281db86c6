//! Is a release bad? Counts in, an opinion out, with the figures that it was formed by.
//!
//! In: what both sides did, by ten seconds ([`sides`]), hard facts, and the [`Rules`](crate::nouns::rules::Rules). Out: a
//! [`verdict::Judgement`]: bad, good, or not enough data, and the one line that a person can read aloud. Never asks a host,
//! reads no clock, and decides nothing about production. The formulas are in [`interval`] and [`odds`].

pub mod complaints;
pub mod escalation;
pub mod interval;
pub mod odds;
pub mod prometheus;
pub mod severity;
pub mod shifted;
pub mod sides;
pub mod verdict;
