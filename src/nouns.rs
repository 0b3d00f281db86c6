//! What an operator would say: host, colour, plan, record. Plain data, and the words that make it up.
//!
//! In: nothing but text that was read elsewhere. Out: values that cannot be wrong, since only a good one can be made
//! ([`names`], [`inventory`]). Nothing here asks a host, writes a file or waits; [`clock`] is the one place that knows what
//! time it is.
//!
//! [`plan`] is what shall be done, [`consent`] the value that says somebody wants just that, [`record`] what was done.

pub mod change;
pub mod clock;
pub mod colour;
pub mod consent;
pub mod digest;
pub mod earlier;
pub mod inventory;
pub mod joined;
pub mod likes;
pub mod migration;
pub mod names;
pub mod octets;
pub mod plan;
pub mod production;
pub mod rebase;
pub mod record;
pub mod redact;
pub mod refusal;
pub mod release;
pub mod request;
pub mod rules;
pub mod secret;
pub mod service;
pub mod share;
pub mod side;
pub mod together;
pub mod units;
