//! `rollback-prod` takes a bad release out of production: it makes nginx send to blue again on every balancer, proves
//! it, drains and stops green, and keeps the evidence.
//!
//! One sentence: **facts are what is, the plan is what shall be, the record is what was done; servers are changed
//! through one file, and it cannot be reached without consent to that very plan.**
//!
//! From the command line to the wire in four hops: `main` → [`app::run`] → [`engine::run`] → `Ssh::apply` in
//! [`hosts::ssh`].
//!
//! The rooms stand in reading order, from what depends on nothing to what depends on everything; `tests/tidy.rs` holds
//! that none imports one below it, neither by folder nor by file. The long version is `docs/architecture.md`.

pub mod nouns;

pub mod nginx;

pub mod config;

pub mod hosts;

pub mod discover;

pub mod incident;
pub mod judge;

pub mod database;

pub mod steps;

pub mod engine;

pub mod tell;

pub mod app;
pub mod cli;
