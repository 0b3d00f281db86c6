//! What people read: screen, report, messages, manual. From the record alone; nothing here concludes what production is.

pub mod manual;
pub mod notify;
pub mod render;
pub mod report;
pub mod status;
pub mod terminal;
