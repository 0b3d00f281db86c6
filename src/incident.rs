//! What is left of a run: the folder, the journal in it, the evidence. Everything that is written on this machine.
//!
//! In: entries as they happen, streams from hosts. Out: a folder that a stranger can read a year later, and that [`past`]
//! can take back. Decides nothing about production.

pub mod alarm;
pub mod capture;
pub mod evidence;
pub mod folder;
pub mod journal;
pub mod past;
pub mod patterns;
