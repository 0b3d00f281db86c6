//! From hosts that nobody described to a config that describes them. `question` is what a host is asked, `survey` what it said,
//! `apps` who it is that serves at an address and what keeps him, `draft` what all of it comes to, with what was guessed and
//! what is missing, and `written` the text of `rollback.toml`.
//!
//! In: answers, and the words of whoever was asked. Out: a draft, or every reason why there is none. Never asks a host, a
//! terminal or a clock; never takes a guess for a fact: each is said.

pub mod apps;
pub mod draft;
pub mod question;
pub mod survey;
pub mod written;
