//! The database goes back, all of it or none of it: dumps, their verdicts, the load beside the live one, the question,
//! the swap.
//!
//! In: a dump on a host, and a server. Out: a copy that was proven, or the reason why there is none; the live database is
//! touched by the swap alone, and that takes a word that was typed. What reads and loads a dump where it lies is the crate [`dumps`].

pub mod merge;
pub mod programs;
pub mod question;
pub mod restore;
pub mod server;
pub mod structure;
pub mod tables;
pub mod verdict;
