//! `rollback-prod` takes a bad release out of production: it makes nginx send to blue again on every balancer, proves
//! it, drains and stops green, and keeps the evidence.
//!
//! One sentence: **facts are what is, the plan is what shall be, the record is what was done; servers are changed
//! through one file, and it cannot be reached without consent to that very plan.**
//!
//! From the command line to the wire in four hops: `main` → [`app::run`] → its `rollback` → [`execute::execute`] →
//! `Ssh::apply` in [`remote::ssh`]. Reading takes the same way: [`app::run`] → [`observe::observe`] → `Ssh::ask`.
//!
//! The modules stand in reading order, from what depends on nothing to what depends on everything; `tests/tidy.rs`
//! holds that none imports one below it. The long version is `docs/architecture.md`.

// Nouns: plain data. No I/O, no async.
pub mod answer;
pub mod clock;
pub mod colour;
pub mod inventory;
pub mod names;
pub mod record;
pub mod units;

// Judgement: pure functions from nouns to nouns.
pub mod backup;
pub mod config;
pub mod database;
pub mod dump;
pub mod facts;
pub mod manual;
pub mod nginx;
pub mod patterns;
pub mod plan;
pub mod planner;
pub mod redact;
pub mod render;
pub mod report;
pub mod safety;
pub mod status;

// The border: what is sent to hosts, and what consent unlocks.
pub mod command;
pub mod consent;
pub mod prompt;
pub mod remote;

// Effects: each owns one outside thing.
pub mod incident;
pub mod journal;
pub mod notify;
pub mod passes;
pub mod public;
pub mod terminal;

// Procedures: they drive effects through the traits of `remote`.
pub mod evidence;
pub mod execute;
pub mod observe;
pub mod past;
pub mod restore;

// What is carried to the database's host.
pub mod on_host;

// The story and the edge.
pub mod app;
pub mod cli;
