//! What goes over the line to a host, and what comes back. The only room that knows there is a line at all.
//!
//! In: a question or a change, made of a static script and arguments that are data ([`program`]). Out: an answer that was
//! framed by a word nobody can guess, or why there is none ([`answer`]); and, of the first question, everything that is
//! true of the host ([`question`], [`facts`]). [`remote`] says what asking and changing mean, [`ssh`] is the one file that does it.

pub mod answer;
pub mod carried;
pub mod facts;
pub mod job;
pub mod program;
pub mod question;
pub mod remote;
pub mod ssh;
