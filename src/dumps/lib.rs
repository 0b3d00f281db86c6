//! Dumps of PostgreSQL where they lie: what is in one, read as it streams by, and how a plain one is loaded over several
//! connections at once.
//!
//! In: the output of a command, packed or not. Out: a [`dump::Scan`], and a database that psql was fed. A crate of its own,
//! because its binary goes to hosts: it knows nothing of ssh, of configs or of incidents, and talks to nobody but psql.

pub mod dump;
mod jobs;
pub mod load;
pub mod migrations;
mod psql;
pub mod scanner;
pub mod source;
pub mod statement;
