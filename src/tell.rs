//! What people read: screen, report, messages, manual. From the record alone: what production is, is concluded by the
//! record, and by `story` for whatever the documents ask beyond that.
//!
//! A run's entries go into `story`, which says what the run was. `times`, `timeline`, `loss`, `captured`, `checklist` and `impact`
//! are the parts of a document, each of them data for a template; `report` puts them together, `message` and `alarm` word what is
//! sent, and `render` fills the templates of both. `notify` sends, `terminal` prints; `manual` and `status` need no run.

pub mod alarm;
mod captured;
mod checklist;
pub mod explain;
pub mod filing;
pub mod history;
mod impact;
pub mod known;
mod loss;
pub mod manual;
pub mod message;
pub mod notify;
pub mod page;
mod picture;
pub mod rehearsal;
pub mod releases;
pub mod render;
pub mod report;
mod several;
pub mod status;
pub mod story;
pub mod terminal;
pub mod ticket;
mod timeline;
pub mod times;
