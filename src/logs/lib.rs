//! Access logs of nginx where they lie: what a `log_format` can tell, what its lines say, and the counts of it that go to
//! the laptop, never the lines.
//!
//! In: a file that grows, is rotated or cut, and the format that is in force. Out: [`counts::Batch`]es, which add up over
//! files, hosts and looks. A crate of its own, because its code runs on hosts: it knows nothing of colours, of ssh or of
//! configs.

pub mod counts;
pub mod follow;
pub mod form;
pub mod latency;
pub mod moment;
pub mod reader;
pub mod tally;
