use crate::{facts::Facts, plan::Plan, record::Entry, redact::Redactor, render::Templates};
pub struct Story<'a> {
    pub plan: Option<&'a Plan>,
    pub facts: Option<&'a Facts>,
    pub entries: &'a [Entry],
    pub local_offset: chrono::FixedOffset,
}
pub struct Message;
pub fn incident_report(s: &Story, _: &Templates, _: &Redactor) -> String {
    format!("{:#?}", s.entries)
}
pub fn postmortem(_: &Story, _: &Templates, _: &Redactor) -> String {
    String::new()
}
pub fn begin_message(_: &Story, _: &Templates, _: &Redactor) -> Message {
    Message
}
pub fn end_message(_: &Story, _: &Templates, _: &Redactor) -> Message {
    Message
}
pub fn times_line(_: &Story) -> Option<String> {
    None
}
