//! Words what a `watch` says to people: that what serves is bad, who is called because it still is, and that it is over. The
//! same templates as the messages of a run. Never sends one, and never says who is to be called: see `judge::escalation`.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::incident::alarm::Alarm;
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Contacts, Escalation};
use crate::nouns::redact::Redactor;
use crate::nouns::units::duration;
use crate::tell::message::{Event, Gist, Message, Notice, worded};
use crate::tell::render::Templates;

/// What all that is said of one has in common.
pub struct Voice<'a> {
    pub contacts: &'a Contacts,
    /// What takes a bad green out: a command to paste.
    pub cure: &'a str,
    /// What is typed where blue is bad: there is nothing to go back to.
    pub look: &'a str,
    pub templates: &'a Templates,
    pub redactor: &'a Redactor,
}

impl Voice<'_> {
    /// The first message.
    pub fn bad(&self, alarm: &Alarm) -> Message {
        let notice = self.notice(alarm, "bad");
        self.message(alarm, &notice, Event::Bad, first_id(alarm))
    }

    /// The one that calls the next of the ladder; he stands among those who were paged already.
    pub fn paged(&self, alarm: &Alarm, contact: &Escalation, now: DateTime<Utc>) -> Message {
        let bad_for = (now - alarm.since).num_milliseconds();
        let notice = Notice {
            title: format!(
                "{}: {} is bad for {}; {} is called",
                service_words(alarm),
                alarm.bad.judged,
                duration(u64::try_from(bad_for).unwrap_or(0)),
                contact.name
            ),
            ..self.notice(alarm, "paged")
        };
        self.message(alarm, &notice, Event::Paged, page_id(alarm, alarm.paged.len()))
    }

    /// The last one: why it is over, in words.
    pub fn over(&self, alarm: &Alarm, by: &str, text: &str) -> Message {
        let colon = if text.is_empty() { "" } else { ": " };
        let notice = Notice {
            title: format!("{}: {} is over", service_words(alarm), alarm.id),
            status: "Resolved",
            state: "resolved",
            production: format!("{by} calls it over{colon}{text}"),
            next: None,
            ..self.notice(alarm, "resolved")
        };
        self.message(alarm, &notice, Event::Resolved, format!("{}.resolved", alarm.id))
    }

    fn notice(&self, alarm: &Alarm, event: &'static str) -> Notice {
        let bad = &alarm.bad;
        Notice {
            id: alarm.id.clone(),
            of: "watch",
            event,
            service: bad.service.clone(),
            environment: bad.environment.clone(),
            title: format!("{}: {} is judged bad", service_words(alarm), bad.judged),
            status: "Investigating",
            state: "investigating",
            reason: bad.words.clone(),
            production: format!("nothing was changed; {}", bad.production),
            next: Some(match bad.judged {
                Colour::Green => self.cure.to_owned(),
                Colour::Blue => self.look.to_owned(),
            }),
            began: format!("{} UTC", alarm.since.format("%Y-%m-%d %H:%M:%S")),
            owner: bad.operator.clone(),
            laptop: bad.laptop.clone(),
            oncall: self.contacts.oncall.clone(),
            commander: self.contacts.commander.clone(),
            escalate: self.contacts.escalate.iter().map(ToString::to_string).collect(),
            incident: format!("{} on {}", alarm.id, bad.laptop),
            ..Notice::default()
        }
    }

    fn message(&self, alarm: &Alarm, notice: &Notice, event: Event, id: String) -> Message {
        let gist = |context: &Value| {
            let text = |field: &str| context[field].as_str().unwrap_or_default().to_owned();
            Gist {
                event,
                incident: text("id"),
                service: text("service"),
                environment: text("environment"),
                title: text("title"),
                status: text("status"),
                production: text("production"),
                next: context["next"].as_str().map(str::to_owned),
                severity: None,
                reason: text("reason"),
                operator: text("owner"),
                laptop: text("laptop"),
                hosts: Vec::new(),
                escalate: escalate_of(context),
                paged: alarm.paged.iter().map(|contact| self.redactor.text(contact)).collect(),
                began_ms: alarm.since.timestamp_millis(),
                // Nothing is rolled back yet, and the public is told of what is.
                is_rollback: false,
                is_safe: event == Event::Resolved,
            }
        };
        worded(notice, id, None, gist, (self.templates, self.redactor))
    }
}

/// What the message is called that says it first.
pub fn first_id(alarm: &Alarm) -> String {
    format!("{}.begin", alarm.id)
}

/// What the message is called that pages the contact of that number, counted from 1.
pub fn page_id(alarm: &Alarm, number: usize) -> String {
    format!("{}.page{number}", alarm.id)
}

fn escalate_of(context: &Value) -> Vec<String> {
    context["escalate"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `listings`, or `listings (staging)`.
fn service_words(alarm: &Alarm) -> String {
    match alarm.bad.environment.as_str() {
        "prod" => alarm.bad.service.clone(),
        other => format!("{} ({other})", alarm.bad.service),
    }
}
