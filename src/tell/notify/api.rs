//! The services that keep something between two messages: a thread, a page, an incident on a status page, a silence, an
//! annotation. Each call in the shape that its API documents; what has to be remembered of one for the next comes back as a
//! receipt. Never tries twice, and keeps nothing.
//!
//! Shapes: docs.slack.dev/reference/methods (chat.postMessage, chat.update), PagerDuty's Events API v2, Statuspage's API v1
//! (incidents), Alertmanager's API v2 (silences), Grafana's HTTP API (annotations). `tests/channels.rs` says which published
//! descriptions they were held against, and its doubles refuse what is not in them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::nouns::inventory::{Channel, Matcher};
use crate::nouns::redact::cut;
use crate::nouns::secret::Secret;
use crate::nouns::units::stamp;
use crate::tell::message::{Event, Gist};
use crate::tell::notify::send::{Call, refusal};

/// How a message was taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// What is odd about it although it was taken.
    pub(super) note: Option<String>,
    /// What the service calls what it keeps.
    pub(super) receipt: Option<String>,
}

/// A silence ends by itself, should nobody be left to end it.
const LONGEST_SILENCE: TimeDelta = TimeDelta::hours(1);

/// What PagerDuty takes as a summary.
const LONGEST_SUMMARY: usize = 1024;

/// A whole event is 512 kB at most, and a pager is no place to read a page of words: of each so many characters.
const LONGEST_DETAIL: usize = 4000;

/// What is to be kept in the outbox for such a channel; `None` where it has nothing to say of that moment.
pub(super) fn is_told(channel: &Channel, gist: &Gist) -> bool {
    match channel {
        Channel::SlackThread { .. } | Channel::Slack { .. } | Channel::Email { .. } | Channel::Webhook { .. } => true,
        // Nobody is got out of bed, and no user told, for what happens where nobody is hurt: overlays inherit their channels.
        Channel::PagerDuty { .. } => is_of_prod(gist) && page_action(gist).is_some(),
        // The public is told of what went wrong with the service, not of how its releases come out.
        Channel::Statuspage { .. } => is_of_prod(gist) && gist.is_rollback,
        Channel::Alertmanager { .. } => matches!(gist.event, Event::Begin | Event::End),
        Channel::Grafana { .. } => matches!(gist.event, Event::Begin | Event::End),
    }
}

fn is_of_prod(gist: &Gist) -> bool {
    gist.environment == "prod"
}

/// Gives a message to such a channel; `queued_at` is when it was made, `receipt` what an earlier one of the incident got.
pub(super) fn tell(
    channel: &Channel,
    gist: &Gist,
    slack: &Value,
    (queued_at, id): (DateTime<Utc>, &str),
    receipt: Option<&str>,
    limit: Duration,
) -> Result<Taken, String> {
    match channel {
        Channel::SlackThread { token, channel, url } => {
            Thread { token, channel, url, id, limit }.tell(gist, slack, receipt)
        }
        Channel::PagerDuty { key, url } => page(key, url, gist, (queued_at, id), limit),
        Channel::Statuspage { page, component, token, url } => {
            Status { page, component: component.as_deref(), token, url, id, limit }.tell(gist, receipt)
        }
        Channel::Alertmanager { url, matchers } => silence((url, matchers), gist, (queued_at, id), receipt, limit),
        Channel::Grafana { url, token } => annotate((url, token), gist, (queued_at, id), receipt, limit),
        Channel::Slack { .. } | Channel::Webhook { .. } | Channel::Email { .. } => {
            Err("the config has another kind of channel in its place now".to_owned())
        }
    }
}

/// One incident, one thread: its first message always says how it stands.
struct Thread<'a> {
    token: &'a Secret,
    channel: &'a str,
    url: &'a str,
    id: &'a str,
    limit: Duration,
}

impl Thread<'_> {
    fn tell(&self, gist: &Gist, slack: &Value, receipt: Option<&str>) -> Result<Taken, String> {
        let Some((channel, at)) = receipt.and_then(|receipt| receipt.split_once(' ')) else {
            // The first one; or the one before did not get through.
            let said = self.call("chat.postMessage", with(slack, &[("channel", self.channel.into())]))?;
            let kept = said["channel"].as_str().zip(said["ts"].as_str());
            return Ok(Taken { note: None, receipt: kept.map(|(channel, at)| format!("{channel} {at}")) });
        };
        // It takes less than the first one did: how a text is read, and where its links lead, is settled by then.
        let mut update = json!({ "channel": channel, "ts": at });
        for field in ["text", "blocks", "attachments"] {
            if !slack[field].is_null() {
                update[field] = slack[field].clone();
            }
        }
        self.call("chat.update", update)?;
        let words = json!({
            "channel": channel,
            "thread_ts": at,
            // Nothing in it is markup, a mention or a link.
            "mrkdwn": false,
            "text": crate::tell::render::mrkdwn(&format!("{}: {}", gist.title, gist.production), 2900),
        });
        self.call("chat.postMessage", words)?;
        Ok(Taken::default())
    }

    fn call(&self, method: &str, body: Value) -> Result<Value, String> {
        let url = format!("{}/{method}", self.url);
        let (status, said) =
            Call { method: "POST", url: &url, id: self.id, limit: self.limit }.bearer(self.token, Some(&body))?;
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        // Slack says 200 to almost everything; whether it was done stands in its answer.
        match (status, answer["ok"].as_bool()) {
            (200, Some(true)) => Ok(answer),
            (200, Some(false)) => Err(format!("{method}: {}", answer["error"].as_str().unwrap_or("no reason given"))),
            (status, _) => Err(refusal(status, &said)),
        }
    }
}

/// A JSON object with more in it.
fn with(object: &Value, more: &[(&str, Value)]) -> Value {
    let mut object = object.clone();
    for (key, value) in more {
        object[*key] = value.clone();
    }
    object
}

/// What becomes of a page; `None` where nobody is to be paged, nor was.
fn page_action(gist: &Gist) -> Option<&'static str> {
    match (gist.event, gist.is_rollback, gist.is_safe) {
        (Event::Resolved, _, _) => Some("resolve"),
        (Event::Begin, true, _) | (Event::Bad | Event::Paged, _, _) => Some("trigger"),
        // Somebody is at it, and the worst is over.
        (Event::End, true, true) => Some("acknowledge"),
        // Whatever it was, production is not as it should be.
        (Event::End, _, false) => Some("trigger"),
        (Event::Begin, false, _) | (Event::End, false, true) => None,
    }
}

fn page(
    key: &Secret,
    url: &str,
    gist: &Gist,
    (at, id): (DateTime<Utc>, &str),
    limit: Duration,
) -> Result<Taken, String> {
    let Some(action) = page_action(gist) else { return Ok(Taken::default()) };
    let severity = match gist.severity.as_deref() {
        Some("P0") => "critical",
        Some("P2") => "warning",
        Some("P3") => "info",
        _ => "error",
    };
    // One for all that is said of an incident: that is what makes it one.
    let incident = format!("rollback-prod/{}/{}", gist.service, gist.incident);
    // Whoever is called next has a page of his own: a trigger of one that somebody has acknowledged tells nobody.
    let of_contact = |number: usize| format!("{incident}/{number}");
    let dedup_key = match gist.event {
        Event::Paged => of_contact(gist.paged.len()),
        Event::Begin | Event::End | Event::Resolved | Event::Bad => incident.clone(),
    };
    let mut body = json!({ "routing_key": key.reveal(), "event_action": action, "dedup_key": dedup_key });
    if action == "trigger" {
        let detail = |text: &str| cut(text, LONGEST_DETAIL);
        body["client"] = "rollback-prod".into();
        body["payload"] = json!({
            "summary": cut(&format!("{}: {}", gist.title, gist.production), LONGEST_SUMMARY),
            "source": gist.laptop,
            "severity": severity,
            "timestamp": stamp(at),
            "component": gist.service,
            "group": gist.environment,
            "class": "rollback",
            "custom_details": {
                "reason": detail(&gist.reason), "operator": gist.operator, "status": gist.status,
                "hosts": detail(&gist.hosts.join(", ")), "production": detail(&gist.production),
                "next": gist.next.as_deref().map(detail), "escalate": detail(&gist.escalate.join(", ")),
                "incident": gist.incident, "contact": gist.paged.last(),
            },
        });
    }
    let send = |body: &Value| {
        let (status, said) = Call { method: "POST", url, id, limit }.plain(Some(body))?;
        if status == 202 { Ok(()) } else { Err(refusal(status, &said)) }
    };
    send(&body)?;
    if gist.event == Event::Resolved {
        // To resolve one twice harms nobody, should one of them not get through.
        for number in 1..=gist.paged.len() {
            body["dedup_key"] = of_contact(number).into();
            send(&body)?;
        }
    }
    Ok(Taken::default())
}

/// A public page: neither hosts nor reasons are anybody's business there.
struct Status<'a> {
    page: &'a str,
    component: Option<&'a str>,
    token: &'a Secret,
    url: &'a str,
    id: &'a str,
    limit: Duration,
}

impl Status<'_> {
    fn tell(&self, gist: &Gist, receipt: Option<&str>) -> Result<Taken, String> {
        let service = &gist.service;
        let (status, component, words) = match (gist.event, gist.is_safe) {
            (Event::Begin | Event::Bad | Event::Paged, _) => (
                "investigating",
                "partial_outage",
                format!("We see a problem with {service} and are going back to the previous version."),
            ),
            (Event::End, true) => (
                "monitoring",
                "operational",
                format!("The previous version of {service} is back in service. We are watching it."),
            ),
            (Event::End, false) => (
                "identified",
                "partial_outage",
                format!("Going back to the previous version of {service} is not done yet. We are working on it."),
            ),
            (Event::Resolved, _) => ("resolved", "operational", format!("{service} works as usual.")),
        };
        let mut incident = json!({ "status": status, "body": words });
        if receipt.is_none() {
            // Whoever gave it a better one meanwhile keeps it.
            incident["name"] = format!("Problem with {service}").into();
        }
        if let Some(id) = self.component {
            incident["component_ids"] = json!([id]);
            incident["components"] = json!({ id: component });
        }
        let body = json!({ "incident": incident });
        let (method, url) = match receipt {
            None => ("POST", format!("{}/v1/pages/{}/incidents", self.url, self.page)),
            Some(id) => ("PATCH", format!("{}/v1/pages/{}/incidents/{id}", self.url, self.page)),
        };
        let login = format!("OAuth {}", self.token.reveal());
        let (status, said) =
            Call { method, url: &url, id: self.id, limit: self.limit }.with_login(Some(&login), Some(&body))?;
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        match (status, answer["id"].as_str()) {
            (200 | 201, Some(id)) => Ok(Taken { note: None, receipt: Some(id.to_owned()) }),
            (status, _) => Err(refusal(status, &said)),
        }
    }
}

/// Alerts of the service are what everybody knows while it runs.
fn silence(
    (url, matchers): (&str, &[Matcher]),
    gist: &Gist,
    (at, id): (DateTime<Utc>, &str),
    receipt: Option<&str>,
    limit: Duration,
) -> Result<Taken, String> {
    let ends = at + LONGEST_SILENCE;
    match (gist.event, receipt) {
        // One that comes hours later would silence what nobody knows of.
        (Event::Begin, None) if Utc::now() >= ends => Ok(Taken::default()),
        (Event::Begin, None) => {
            let matchers = matchers.iter().map(
                |of| json!({ "name": of.name, "value": of.value, "isRegex": of.is_regex, "isEqual": of.is_equal }),
            );
            let body = json!({
                "matchers": matchers.collect::<Vec<_>>(),
                "startsAt": stamp(at),
                "endsAt": stamp(ends),
                "createdBy": format!("rollback-prod ({})", gist.operator),
                "comment": format!("{}: {}", gist.incident, gist.title),
            });
            let (status, said) =
                Call { method: "POST", url: &format!("{url}/api/v2/silences"), id, limit }.plain(Some(&body))?;
            let answer: Value = serde_json::from_str(&said).unwrap_or_default();
            match (status, answer["silenceID"].as_str()) {
                (200, Some(silence)) => Ok(Taken { note: None, receipt: Some(silence.to_owned()) }),
                (status, _) => Err(refusal(status, &said)),
            }
        }
        (Event::End, Some(silence)) => {
            let url = format!("{url}/api/v2/silence/{silence}");
            let ended = Call { method: "DELETE", url: &url, id, limit }.plain(None)?;
            match ended {
                // It has ended by itself, or somebody ended it.
                (200 | 404, _) => Ok(Taken::default()),
                (status, said) => Err(refusal(status, &said)),
            }
        }
        (Event::Begin, Some(_)) | (Event::End, None) | (Event::Resolved | Event::Bad | Event::Paged, _) => {
            Ok(Taken::default())
        }
    }
}

/// What happened stands on every graph.
fn annotate(
    (url, token): (&str, &Secret),
    gist: &Gist,
    (at, id): (DateTime<Utc>, &str),
    receipt: Option<&str>,
    limit: Duration,
) -> Result<Taken, String> {
    let text = format!("{}: {} ({})", gist.title, gist.production, gist.incident);
    let tags = json!(["rollback-prod", gist.service, gist.environment]);
    let (method, url, body) = match (gist.event, receipt) {
        (Event::Begin, _) => {
            let body = json!({ "time": gist.began_ms, "tags": tags, "text": text });
            ("POST", format!("{url}/api/annotations"), body)
        }
        (Event::End, Some(annotation)) => {
            let body = json!({ "timeEnd": at.timestamp_millis(), "text": text });
            ("PATCH", format!("{url}/api/annotations/{annotation}"), body)
        }
        (Event::End, None) => {
            let body = json!({ "time": gist.began_ms, "timeEnd": at.timestamp_millis(), "tags": tags, "text": text });
            ("POST", format!("{url}/api/annotations"), body)
        }
        (Event::Resolved | Event::Bad | Event::Paged, _) => return Ok(Taken::default()),
    };
    let (status, said) = Call { method, url: &url, id, limit }.bearer(token, Some(&body))?;
    let answer: Value = serde_json::from_str(&said).unwrap_or_default();
    match (status, method, answer["id"].as_u64()) {
        (200, "POST", Some(annotation)) => Ok(Taken { note: None, receipt: Some(annotation.to_string()) }),
        (200, "PATCH", _) => Ok(Taken::default()),
        (status, _, _) => Err(refusal(status, &said)),
    }
}
