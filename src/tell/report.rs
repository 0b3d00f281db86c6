//! Tells the story of a run: the incident report, the postmortem's form, and the messages, from the plan, the facts
//! and the journal's entries. Pure: it reads no file and no clock, so that a journal that ends in the middle tells as
//! much as was known then. Never guesses: what was not measured is called that. Every text passes the redactor.

mod database;

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, Offset, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hosts::facts::Facts;
use crate::nouns::colour::Colour;
use crate::nouns::names::HostName;
use crate::nouns::plan::Plan;
use crate::nouns::record::{
    self, Balancer, Begun, DatabaseState, Entry, Green, Status, StepWord, Verdict, What, plural,
};
use crate::nouns::redact::{self, Redactor};
use crate::nouns::units::{bytes, duration, limit};
use crate::tell::render::{Name, Templates};

/// Everything that is known of one run. The journal is enough: plan and facts make the report richer.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    pub plan: Option<&'a Plan>,
    pub facts: Option<&'a Facts>,
    /// With [`What::Ended`] among them, unless the run was killed.
    pub entries: &'a [Entry],
    /// Of the operator's clock, for the column of local times.
    pub local_offset: FixedOffset,
}

/// One message, in the form of every channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same for the same message whenever it is made: `rollback-20261120-211503.begin`.
    pub id: String,
    pub service: String,
    pub environment: String,
    /// One line.
    pub subject: String,
    pub text: String,
    /// What a Slack webhook takes.
    pub slack: Value,
    /// What any other webhook gets.
    pub webhook: Value,
}

/// `INCIDENT_REPORT.md`.
pub fn incident_report(story: &Story<'_>, templates: &Templates, redactor: &Redactor) -> String {
    document(Name::Report, story, templates, redactor)
}

/// `POSTMORTEM.md`.
pub fn postmortem(story: &Story<'_>, templates: &Templates, redactor: &Redactor) -> String {
    document(Name::Postmortem, story, templates, redactor)
}

/// The message that goes out when the work begins.
pub fn begin_message(story: &Story<'_>, templates: &Templates, redactor: &Redactor) -> Message {
    message(Moment::Begin, story, templates, redactor)
}

/// The message that says how it ended. It goes out before the journal's last line, so the verdict comes with it.
pub fn end_message(story: &Story<'_>, verdict: &Verdict, templates: &Templates, redactor: &Redactor) -> Message {
    message(Moment::End(verdict), story, templates, redactor)
}

/// The measured times against `[targets]` on one line, for the last lines of a run; `None` where nothing was measured.
pub fn times_line(story: &Story<'_>) -> Option<String> {
    let begun = begun(story.entries).map(|(_, begun)| begun);
    let said: Vec<String> = measured(story.entries, begun)
        .into_iter()
        .filter_map(|measure| {
            let target =
                measure.target.map_or(String::new(), |target| format!(" (target {target}: {})", measure.verdict));
            Some(format!("{} {}{target}", measure.what, measure.took?))
        })
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// How an incident stands, in the word that status pages use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Standing {
    /// Work goes on, or something is left to do with all traffic safe.
    Mitigating,
    Resolved,
    /// Traffic is not on blue, or not everywhere.
    Failed,
    Unknown,
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Standing::Mitigating => "Mitigating",
            Standing::Resolved => "Resolved",
            Standing::Failed => "Failed",
            Standing::Unknown => "Unknown",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Moment<'a> {
    Begin,
    End(&'a Verdict),
}

impl Moment<'_> {
    fn word(self) -> &'static str {
        match self {
            Moment::Begin => "begin",
            Moment::End(_) => "end",
        }
    }
}

/// What the report's and the postmortem's templates get. Lists that are empty and options that are none have no
/// section.
#[derive(Debug, Clone, Serialize)]
struct Report {
    id: String,
    /// `listings`, or `listings (staging)`.
    service: String,
    environment: String,
    title: String,
    status: &'static str,
    /// What production is now.
    production: String,
    /// One sentence or two: when, what, how fast.
    summary: String,
    reason: String,
    /// The reason as typed, where Markdown had to change it.
    reason_verbatim: Option<String>,
    severity: Option<String>,
    operator: String,
    laptop: String,
    oncall: Option<String>,
    commander: Option<String>,
    program: String,
    began: Time,
    ended: Option<Time>,
    traffic_safe: Option<Time>,
    exit: Option<u8>,
    /// The journal has no end: the run was killed.
    is_cut_off: bool,
    local_zone: Option<String>,
    next: String,
    /// What is not done, each with its host and cause.
    left: Vec<String>,
    measured: Vec<Measure>,
    hosts: Vec<HostRow>,
    /// ssh's key exchanges, each with its hosts: `sntrup761x25519-sha512@openssh.com (web1, web2)`.
    key_exchange: Option<String>,
    database: Option<database::Database>,
    timeline: Vec<Event>,
    changes: Vec<Change>,
    patterns: Vec<Quote>,
    captured: Vec<File>,
    gaps: Vec<String>,
    notes: Vec<String>,
    /// Who answered before, as far as it was seen.
    before: Option<String>,
    errors: Vec<String>,
    checklist: Vec<Check>,
    steps: Vec<String>,
    actions: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Time {
    /// `2026-11-20 21:15:03`
    utc: String,
    /// `22:15:03`
    local: String,
    /// Since the run began: `+00:00.4`
    offset: String,
}

/// A time that was measured, and what was wanted.
#[derive(Debug, Clone, Serialize)]
struct Measure {
    what: &'static str,
    took: Option<String>,
    target: Option<String>,
    /// `met`, `missed`, `not measured`, or nothing where there is no target.
    verdict: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct HostRow {
    host: String,
    traffic: String,
    green: String,
    /// `12.1 % of 1200 requests → 0.1 % of 900 requests`
    errors: Option<String>,
    is_bad: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Event {
    at: Time,
    text: String,
    is_bad: bool,
    /// The one line that matters most.
    is_safe: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Change {
    path: String,
    hosts: String,
    diff: String,
}

#[derive(Debug, Clone, Serialize)]
struct Quote {
    kind: String,
    count: u64,
    file: String,
    example: String,
}

#[derive(Debug, Clone, Serialize)]
struct File {
    file: String,
    of: String,
    size: String,
    lines: u64,
    sha256: String,
}

#[derive(Debug, Clone, Serialize)]
struct Check {
    is_done: bool,
    text: String,
}

/// What the messages' templates get.
#[derive(Debug, Clone, Serialize)]
struct Notice {
    id: String,
    event: &'static str,
    service: String,
    environment: String,
    title: String,
    status: &'static str,
    severity: Option<String>,
    reason: String,
    production: String,
    next: Option<String>,
    /// What is not done; at most three, then how many more.
    left: Vec<String>,
    began: String,
    traffic_safe: Option<String>,
    traffic_safe_ms: Option<u64>,
    took: Option<String>,
    total_ms: Option<u64>,
    exit: Option<u8>,
    owner: String,
    laptop: String,
    oncall: Option<String>,
    commander: Option<String>,
    hosts: Vec<String>,
    /// Where the report is.
    incident: String,
}

fn document(name: Name, story: &Story<'_>, templates: &Templates, redactor: &Redactor) -> String {
    let context = redacted(&report(story), redactor);
    templates.render(
        name,
        &context,
        |text| Ok(tidy(&text)),
        |why| {
            // Our own template cannot fail on our own context. Should it, the bare facts are better than nothing.
            let bare = serde_json::to_string_pretty(&context).unwrap_or_default();
            format!(
                "# Incident report\n\nThe template failed: {}\n\n{}\n",
                redact::markdown(&why),
                redact::fence(&bare)
            )
        },
    )
}

fn message(moment: Moment<'_>, story: &Story<'_>, templates: &Templates, redactor: &Redactor) -> Message {
    let notice = notice(moment, story);
    let context = redacted(&notice, redactor);
    let said = |field: &str| context[field].as_str().unwrap_or_default().to_owned();
    let title = said("title");
    let as_json =
        |text: String| serde_json::from_str::<Value>(&text).map_err(|err| format!("what it makes is no JSON: {err}"));
    let as_mail = |text: String| {
        let (head, body) = text.trim_start().split_once('\n').unwrap_or((text.as_str(), ""));
        match head.strip_prefix("Subject:") {
            Some(subject) => Ok((redact::printable(subject.trim()), tidy(body))),
            None => Err("its first line is not `Subject: …`".to_owned()),
        }
    };
    let (subject, text) = templates.render(Name::Mail, &context, as_mail, |_| (title.clone(), format!("{title}\n")));
    let slack = |text: String| match as_json(text)? {
        value if value["text"].is_string() => Ok(value),
        _ => Err("Slack takes no message without `text`".to_owned()),
    };
    Message {
        id: format!("{}.{}", notice.id, moment.word()),
        service: said("service"),
        environment: said("environment"),
        slack: templates.render(Name::Slack, &context, slack, |_| serde_json::json!({ "text": title })),
        webhook: templates.render(Name::Webhook, &context, as_json, |_| context.clone()),
        subject,
        text,
    }
}

/// Every string in it without secrets. It is the one way into a template, so that no field can be forgotten.
fn redacted(context: &impl Serialize, redactor: &Redactor) -> Value {
    fn walk(value: &mut Value, redactor: &Redactor) {
        match value {
            Value::String(text) => *text = redactor.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| walk(value, redactor)),
            Value::Object(fields) => fields.values_mut().for_each(|value| walk(value, redactor)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    // Plain data with string keys has a JSON form.
    let mut value = serde_json::to_value(context).unwrap_or_default();
    walk(&mut value, redactor);
    value
}

/// The colour that traffic was to go to.
fn towards(entries: &[Entry]) -> Colour {
    begun(entries).map_or(Colour::Blue, |(_, begun)| begun.towards)
}

/// How the run ended, as far as the journal tells.
struct Ending {
    verdict: Verdict,
    standing: Standing,
    is_cut_off: bool,
    /// The last known moment.
    at_ms: u64,
}

fn ending(entries: &[Entry]) -> Ending {
    let ended = entries.iter().rev().find_map(|entry| {
        let What::Ended { exit, production, next } = &entry.what else { return None };
        Some((*exit, production, next, entry.at_ms))
    });
    let (verdict, at_ms) = match ended {
        Some((exit, production, next, at_ms)) => {
            let left = record::judge(entries, false).left;
            (Verdict { exit, production: production.clone(), next: next.clone(), left }, at_ms)
        }
        None => (record::judge(&closed(entries), true), entries.last().map_or(0, |entry| entry.at_ms)),
    };
    rated(verdict, entries, ended.is_none(), at_ms)
}

/// A verdict in the word of status pages.
fn rated(verdict: Verdict, entries: &[Entry], is_cut_off: bool, at_ms: u64) -> Ending {
    let states: Vec<Balancer> = balancer_states(entries, is_cut_off).into_iter().map(|(_, state)| state).collect();
    let standing = if verdict.exit == 0 {
        Standing::Resolved
    } else if states.contains(&Balancer::Unknown) {
        Standing::Unknown
    } else if !states.is_empty() && states.iter().all(|state| *state == Balancer::Blue) {
        Standing::Mitigating
    } else {
        Standing::Failed
    };
    Ending { verdict, standing, is_cut_off, at_ms }
}

/// The entries of a killed run with an end for each change that had begun: nobody knows what became of it.
fn closed(entries: &[Entry]) -> Vec<Entry> {
    let mut closed = entries.to_vec();
    for (step, host) in open_intents(entries) {
        let state = match step {
            StepWord::Switch => What::Balancer { host, state: Balancer::Unknown },
            StepWord::Stop => What::Green { host, state: Green::Unknown },
            StepWord::Connect
            | StepWord::Observe
            | StepWord::Lock
            | StepWord::Drain
            | StepWord::Verify
            | StepWord::Restore
            | StepWord::Evidence
            | StepWord::Report
            | StepWord::Notify => continue,
        };
        if let Some(last) = entries.last() {
            closed.push(Entry { what: state, ..last.clone() });
        }
    }
    closed
}

/// Changes whose outcome the journal does not have.
fn open_intents(entries: &[Entry]) -> Vec<(StepWord, HostName)> {
    let mut open: Vec<(StepWord, HostName)> = Vec::new();
    for entry in entries {
        match &entry.what {
            What::Intent { step, host, .. } => open.push((*step, host.clone())),
            What::Outcome { step, host: Some(host), status, .. } if *status != Status::Started => {
                open.retain(|(s, h)| (s, h) != (step, host));
            }
            What::Begun(_)
            | What::Outcome { .. }
            | What::Balancer { .. }
            | What::Green { .. }
            | What::TrafficSafe { .. }
            | What::Note { .. }
            | What::Gap { .. }
            | What::Captured(_)
            | What::Errors { .. }
            | What::Dump(_)
            | What::Loss(_)
            | What::Database(_)
            | What::Ended { .. } => {}
        }
    }
    open
}

fn begun(entries: &[Entry]) -> Option<(&Entry, &Begun)> {
    entries.iter().find_map(|entry| {
        let What::Begun(begun) = &entry.what else { return None };
        Some((entry, begun.as_ref()))
    })
}

fn balancer_states(entries: &[Entry], is_cut_off: bool) -> Vec<(HostName, Balancer)> {
    let entries = if is_cut_off { closed(entries) } else { entries.to_vec() };
    let balancers = begun(&entries).map(|(_, begun)| begun.balancers.clone()).unwrap_or_default();
    balancers
        .into_iter()
        .map(|host| {
            let state = record::last_balancer_state(&entries, &host).unwrap_or(Balancer::Unchanged);
            (host, state)
        })
        .collect()
}

fn green_state(entries: &[Entry], host: &HostName) -> Option<Green> {
    entries.iter().rev().find_map(|entry| {
        let What::Green { host: of, state } = &entry.what else { return None };
        (of == host).then_some(*state)
    })
}

fn traffic_safe(entries: &[Entry]) -> Option<(&Entry, usize)> {
    entries.iter().find_map(|entry| {
        let What::TrafficSafe { hosts, .. } = &entry.what else { return None };
        Some((entry, *hosts))
    })
}

/// When the last step of the rollback itself was done; evidence, report and messages come after it.
fn rollback_ms(entries: &[Entry]) -> Option<u64> {
    entries.iter().rev().find_map(|entry| {
        let What::Outcome { step, status: Status::Done, .. } = &entry.what else { return None };
        match step {
            StepWord::Lock
            | StepWord::Switch
            | StepWord::Drain
            | StepWord::Stop
            | StepWord::Verify
            | StepWord::Restore => Some(entry.at_ms),
            StepWord::Connect | StepWord::Observe | StepWord::Evidence | StepWord::Report | StepWord::Notify => None,
        }
    })
}

fn report(story: &Story<'_>) -> Report {
    let entries = story.entries;
    let ending = ending(entries);
    let clock = Clock::of(story);
    let begun = begun(entries).map(|(_, begun)| begun);
    let said = |pick: fn(&Begun) -> &str| begun.map_or("not known", pick).to_owned();
    let safe = traffic_safe(entries);
    let service = service_words(begun);
    let reason = said(|begun| &begun.reason);
    let gaps = gaps(entries);
    let notes = notes(story);
    Report {
        id: said(|begun| &begun.id),
        environment: said(|begun| &begun.environment),
        title: title(&service, &ending, begun),
        service,
        status: ending.standing.word(),
        production: ending.verdict.production.clone(),
        summary: summary(story, &ending, &clock),
        reason_verbatim: (redact::markdown(&reason) != reason).then(|| reason.clone()),
        reason,
        severity: begun.and_then(|begun| begun.severity.clone()),
        operator: said(|begun| &begun.operator),
        laptop: said(|begun| &begun.laptop),
        oncall: begun.and_then(|begun| begun.oncall.clone()),
        commander: begun.and_then(|begun| begun.commander.clone()),
        program: said(|begun| &begun.program),
        began: clock.time(0),
        ended: (!ending.is_cut_off).then(|| clock.time(ending.at_ms)),
        traffic_safe: safe.map(|(entry, _)| clock.time(entry.at_ms)),
        exit: (!ending.is_cut_off).then_some(ending.verdict.exit),
        is_cut_off: ending.is_cut_off,
        local_zone: clock.zone(),
        next: ending.verdict.next.clone(),
        left: ending.verdict.left.clone(),
        measured: measured(entries, begun),
        hosts: hosts(story, &ending),
        database: database::database(entries, begun.and_then(|begun| begun.restores.as_deref())),
        timeline: timeline(entries, &clock, &ending),
        changes: changes(story.plan),
        patterns: quotes(entries),
        captured: captured(entries),
        before: before(story.facts, towards(entries)),
        key_exchange: key_exchange(story.facts),
        errors: errors(entries),
        checklist: checklist(story, &ending),
        steps: steps(&ending, !quotes(entries).is_empty(), entries),
        actions: actions(&gaps, &notes, &ending),
        gaps,
        notes,
    }
}

fn notice(moment: Moment<'_>, story: &Story<'_>) -> Notice {
    let entries = story.entries;
    let clock = Clock::of(story);
    let begun = begun(entries).map(|(_, begun)| begun);
    let said = |pick: fn(&Begun) -> &str| begun.map_or("not known", pick).to_owned();
    let service = service_words(begun);
    let hosts: Vec<HostName> = begun.map(|begun| begun.balancers.clone()).unwrap_or_default();
    let id = said(|begun| &begun.id);
    let common = Notice {
        event: moment.word(),
        service: said(|begun| &begun.service),
        environment: said(|begun| &begun.environment),
        title: match begun.and_then(|begun| begun.undoes.as_ref()) {
            None => format!("{service}: rolling back to blue"),
            Some(incident) => format!("{service}: taking {incident} back"),
        },
        status: Standing::Mitigating.word(),
        severity: begun.and_then(|begun| begun.severity.clone()),
        reason: said(|begun| &begun.reason),
        production: match towards(entries) {
            Colour::Blue => format!("taking green out of {} now", plural(hosts.len(), "balancer")),
            Colour::Green => "what the incident changed is taken back now".to_owned(),
        },
        next: None,
        left: Vec::new(),
        began: format!("{} UTC", clock.time(0).utc),
        traffic_safe: None,
        traffic_safe_ms: None,
        took: None,
        total_ms: None,
        exit: None,
        owner: said(|begun| &begun.operator),
        laptop: said(|begun| &begun.laptop),
        oncall: begun.and_then(|begun| begun.oncall.clone()),
        commander: begun.and_then(|begun| begun.commander.clone()),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        incident: format!("{id} on {}", said(|begun| &begun.laptop)),
        id,
    };
    match moment {
        Moment::Begin => common,
        Moment::End(verdict) => {
            let now_ms = entries.last().map_or(0, |entry| entry.at_ms);
            let ending = rated(verdict.clone(), entries, false, now_ms);
            let safe = traffic_safe(entries).map(|(entry, _)| entry.at_ms);
            let mut left = ending.verdict.left.clone();
            if left.len() > 3 {
                let more = left.len() - 3;
                left.truncate(3);
                left.push(format!("and {more} more"));
            }
            Notice {
                title: title(&service, &ending, begun),
                status: ending.standing.word(),
                production: ending.verdict.production.clone(),
                next: Some(ending.verdict.next.clone()),
                left,
                traffic_safe: safe.map(duration),
                traffic_safe_ms: safe,
                took: Some(duration(ending.at_ms)),
                total_ms: Some(ending.at_ms),
                exit: Some(ending.verdict.exit),
                ..common
            }
        }
    }
}

/// The environment is said where it is not the one that everybody means.
fn service_words(begun: Option<&Begun>) -> String {
    match begun {
        None => "rollback".to_owned(),
        Some(begun) if begun.environment == "prod" => begun.service.clone(),
        Some(begun) => format!("{} ({})", begun.service, begun.environment),
    }
}

fn title(service: &str, ending: &Ending, begun: Option<&Begun>) -> String {
    if let Some(incident) = begun.and_then(|begun| begun.undoes.as_ref()) {
        let what = match ending.verdict.exit {
            0 => "is taken back",
            1 => "stays: the undo was refused, nothing was changed",
            3 => "stays: the undo failed and was put back",
            _ => "is taken back in part",
        };
        return format!("{service}: {incident} {what}");
    }
    let what = match (ending.standing, ending.verdict.exit) {
        (Standing::Resolved, _) => "rolled back to blue",
        (Standing::Mitigating, _) if ending.is_cut_off => "traffic on blue, the run was cut off",
        (Standing::Mitigating, 130) => "traffic on blue, interrupted before the end",
        (Standing::Mitigating, 6) => "traffic on blue, the database as it was",
        (Standing::Mitigating, _) => "traffic on blue, not all is done",
        (Standing::Unknown, _) => "rollback: what a balancer serves is NOT KNOWN",
        (Standing::Failed, 1) => "rollback refused, nothing was changed",
        (Standing::Failed, 3) => "rollback failed and put back: NOT mitigated",
        (Standing::Failed, 5) => "rollback incomplete: the balancers differ",
        (Standing::Failed, _) => "rollback not done: NOT mitigated",
    };
    format!("{service}: {what}")
}

fn summary(story: &Story<'_>, ending: &Ending, clock: &Clock) -> String {
    let begun = begun(story.entries).map(|(_, begun)| begun);
    let service = service_words(begun);
    let when = &clock.time(0).utc;
    let who = begun.map_or("somebody", |begun| &begun.operator);
    let mut said = match traffic_safe(story.entries) {
        _ if begun.is_some_and(|begun| begun.undoes.is_some()) => {
            let incident = begun.and_then(|begun| begun.undoes.as_deref()).unwrap_or("an incident");
            format!("{who} took {incident} of {service} back at {when} UTC.")
        }
        Some((entry, hosts)) => format!(
            "{who} rolled {service} back at {when} UTC; blue was proven on {} after {}.",
            plural(hosts, "balancer"),
            duration(entry.at_ms)
        ),
        None => format!("{who} began to roll {service} back at {when} UTC; all traffic on blue was never proven."),
    };
    if ending.is_cut_off {
        said.push_str(&format!(
            " The journal ends in the middle, {} after the start: the run was killed, or its machine died. What stands here is what was known then.",
            duration(ending.at_ms)
        ));
    } else {
        let verdict = match ending.verdict.exit {
            130 => "was interrupted",
            _ => "ended",
        };
        said.push_str(&format!(" The run {verdict} after {}.", duration(ending.at_ms)));
    }
    said
}

/// What is measured against the targets of the config.
fn measured(entries: &[Entry], begun: Option<&Begun>) -> Vec<Measure> {
    let safe = traffic_safe(entries).map(|(entry, _)| entry.at_ms);
    let rollback = safe.and_then(|_| rollback_ms(entries));
    let restored = newest_of_any_host(entries, StepWord::Restore).is_some();
    let restore = database::restore_ms(entries);
    let lost = database::lost_ms(entries);
    let service_is_back = if restored { restore.and(rollback) } else { safe };
    let target =
        |name: &str| begun.and_then(|begun| begun.targets_ms.iter().find(|(of, _)| of == name)).map(|(_, ms)| *ms);
    let moves_traffic = begun.is_none_or(|begun| !begun.traffic_stays);
    let (on_it, whole) = match towards(entries) {
        Colour::Blue => ("traffic safe on blue", "rollback complete"),
        Colour::Green => ("traffic safe on green", "undo complete"),
    };
    let rows = [
        ("traffic", on_it, safe, moves_traffic),
        ("rollback", whole, rollback, moves_traffic),
        ("restore", "database restored", restore, restored),
        ("rto", "recovery (RTO), counted from the start of this run", service_is_back, target("rto").is_some()),
        ("rpo", "lost data (RPO): the dump's age when it went live", lost, restored),
    ];
    rows.into_iter()
        .filter(|(_, _, _, is_shown)| *is_shown)
        .map(|(name, what, took, _)| Measure {
            what,
            took: took.map(duration),
            target: target(name).map(limit),
            verdict: match (took, target(name)) {
                (None, _) => "not measured",
                (Some(took), Some(target)) if took <= target => "met",
                (Some(_), Some(_)) => "missed",
                (Some(_), None) => "",
            },
        })
        .collect()
}

fn hosts(story: &Story<'_>, ending: &Ending) -> Vec<HostRow> {
    let entries = if ending.is_cut_off { closed(story.entries) } else { story.entries.to_vec() };
    let Some((_, begun)) = begun(&entries) else { return Vec::new() };
    let mut names = begun.balancers.clone();
    names.extend(begun.apps.iter().filter(|app| !begun.balancers.contains(app)).cloned());
    names
        .into_iter()
        .map(|host| {
            let left_out = story.plan.and_then(|plan| plan.left_out.iter().find(|left| left.host == host));
            let state = record::last_balancer_state(&entries, &host);
            let mut is_bad = false;
            let traffic = match (begun.balancers.contains(&host), state) {
                (false, _) => "–".to_owned(),
                (true, Some(Balancer::Blue)) => format!("{}, proven", begun.towards),
                (true, Some(Balancer::Unknown)) => {
                    is_bad = true;
                    "NOT KNOWN".to_owned()
                }
                (true, Some(Balancer::PutBack)) => {
                    is_bad = true;
                    "put back, as it was".to_owned()
                }
                (true, Some(Balancer::Unchanged) | None) => match left_out {
                    Some(left) if left.is_on_blue => format!("{} already; not touched: {}", begun.towards, left.why),
                    Some(left) => {
                        is_bad = true;
                        format!("as it was; not touched: {}", left.why)
                    }
                    None => {
                        is_bad = true;
                        "as it was".to_owned()
                    }
                },
            };
            let green = match (begun.apps.contains(&host), green_state(&entries, &host)) {
                (false, _) => "–",
                (true, None) => "untouched",
                (true, Some(Green::Stopped)) => "stopped",
                (true, Some(Green::Kept)) => "kept running",
                (true, Some(Green::LeftRunning)) => {
                    is_bad = true;
                    "STILL RUNNING"
                }
                (true, Some(Green::Unknown)) => {
                    is_bad = true;
                    "NOT KNOWN"
                }
            };
            let errors = entries.iter().rev().find_map(|entry| {
                let What::Errors { host: of, before, after } = &entry.what else { return None };
                (*of == host).then(|| format!("{} → {}", before.describe(), after.describe()))
            });
            HostRow { host: host.to_string(), traffic, green: green.to_owned(), errors, is_bad }
        })
        .collect()
}

fn errors(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .filter_map(|entry| {
            let What::Errors { host, before, after } = &entry.what else { return None };
            Some(format!("{host}: server errors {} before, {} after", before.describe(), after.describe()))
        })
        .collect()
}

/// Outcomes that are alike on several hosts are one line, at the time of the last of them.
fn timeline(entries: &[Entry], clock: &Clock, ending: &Ending) -> Vec<Event> {
    let mut groups: Vec<(u64, Words)> = Vec::new();
    for entry in entries {
        let Some(words) = words(entry) else { continue };
        match words {
            Words::Step { step, status, host: Some(host), detail, ms } => {
                // Only within a run of steps: what came between two of them stays between them.
                let like = groups.iter_mut().rev().take_while(|(_, words)| words.is_of_a_step()).find(|(_, words)| {
                    matches!(words, Words::Steps { step: s, status: t, detail: d, .. } if (*s, *t, d) == (step, status, &detail))
                });
                match like {
                    Some((at_ms, Words::Steps { hosts, ms: longest, .. })) => {
                        hosts.push(host);
                        *longest = (*longest).max(ms);
                        *at_ms = entry.at_ms;
                    }
                    _ => groups.push((entry.at_ms, Words::Steps { step, status, hosts: vec![host], detail, ms })),
                }
            }
            other => groups.push((entry.at_ms, other)),
        }
    }
    groups.sort_by_key(|(at_ms, _)| *at_ms);
    let mut events: Vec<Event> = groups.into_iter().map(|(at_ms, words)| words.event(clock.time(at_ms))).collect();
    if ending.is_cut_off {
        for (step, host) in open_intents(entries) {
            let text = format!("{} on {host} had begun; its outcome is not in the journal", step.as_str());
            events.push(Event { at: clock.time(ending.at_ms), text, is_bad: true, is_safe: false });
        }
        let text = "the journal ends here".to_owned();
        events.push(Event { at: clock.time(ending.at_ms), text, is_bad: true, is_safe: false });
    }
    events
}

/// What an entry has to say in the timeline.
enum Words {
    Step { step: StepWord, status: Status, host: Option<HostName>, detail: String, ms: u64 },
    Steps { step: StepWord, status: Status, hosts: Vec<HostName>, detail: String, ms: u64 },
    Safe(usize, Colour),
    Plain(String),
    Ended(u8),
}

fn words(entry: &Entry) -> Option<Words> {
    match &entry.what {
        What::Begun(begun) => Some(Words::Plain(format!("{} begins on {}", begun.program, begun.laptop))),
        What::Outcome { status: Status::Started, .. } => None,
        What::Outcome { step, host, status, ms, detail } => Some(Words::Step {
            step: *step,
            status: *status,
            host: host.clone(),
            detail: detail.trim().to_owned(),
            ms: *ms,
        }),
        What::TrafficSafe { hosts, towards } => Some(Words::Safe(*hosts, *towards)),
        What::Note { text } if !is_the_plan(text) => Some(Words::Plain(text.trim().to_owned())),
        What::Ended { exit, .. } => Some(Words::Ended(*exit)),
        // an intent is the outcome's beginning; states follow from outcomes; the rest has sections of its own
        What::Note { .. }
        | What::Intent { .. }
        | What::Balancer { .. }
        | What::Green { .. }
        | What::Gap { .. }
        | What::Captured(_)
        | What::Errors { .. }
        | What::Dump(_)
        | What::Loss(_)
        | What::Database(_) => None,
    }
}

/// With `--json` the plan goes out as a note. It has a file of its own.
fn is_the_plan(text: &str) -> bool {
    text.starts_with("plan of rollback-") && text.contains('\n')
}

impl Words {
    fn is_of_a_step(&self) -> bool {
        match self {
            Words::Step { .. } | Words::Steps { .. } => true,
            Words::Safe(..) | Words::Plain(_) | Words::Ended(_) => false,
        }
    }

    fn event(self, at: Time) -> Event {
        let of_step = |step: StepWord, status: Status, hosts: &[HostName], detail: &str, ms: u64| {
            let status_word = match status {
                Status::Failed => "FAILED",
                Status::Unknown => "NOT KNOWN",
                Status::Started | Status::Done | Status::Skipped => status.as_str(),
            };
            let on = if hosts.is_empty() { String::new() } else { format!(" on {}", some_of(hosts)) };
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            let took = if ms == 0 { String::new() } else { format!(" ({})", duration(ms)) };
            format!("{} {status_word}{on}{took}{detail}", step.as_str())
        };
        let is_bad = |status: Status| matches!(status, Status::Failed | Status::Unknown);
        match self {
            Words::Step { step, status, host, detail, ms } => Event {
                at,
                text: of_step(step, status, host.as_slice(), &detail, ms),
                is_bad: is_bad(status),
                is_safe: false,
            },
            Words::Steps { step, status, hosts, detail, ms } => {
                Event { at, text: of_step(step, status, &hosts, &detail, ms), is_bad: is_bad(status), is_safe: false }
            }
            Words::Safe(hosts, to) => {
                let text = format!("traffic is safe: {to} serves on {}", plural(hosts, "host"));
                Event { at, text, is_bad: false, is_safe: true }
            }
            Words::Plain(text) => Event { at, text, is_bad: false, is_safe: false },
            Words::Ended(exit) => {
                Event { at, text: format!("the run ends, exit {exit}"), is_bad: exit != 0, is_safe: false }
            }
        }
    }
}

fn changes(plan: Option<&Plan>) -> Vec<Change> {
    let mut found: Vec<(&crate::nouns::plan::FileChange, Vec<HostName>)> = Vec::new();
    for (host, change) in plan.into_iter().flat_map(Plan::file_changes).filter(|(_, change)| change.is_needed()) {
        match found.iter_mut().find(|(other, _)| *other == change) {
            Some((_, hosts)) => hosts.push(host.clone()),
            None => found.push((change, vec![host.clone()])),
        }
    }
    found
        .into_iter()
        .map(|(change, hosts)| Change { path: change.path.clone(), hosts: some_of(&hosts), diff: change.diff() })
        .collect()
}

/// The ten most frequent of all files.
fn quotes(entries: &[Entry]) -> Vec<Quote> {
    let mut quotes: Vec<Quote> = entries
        .iter()
        .filter_map(|entry| {
            let What::Captured(captured) = &entry.what else { return None };
            Some(captured)
        })
        .flat_map(|captured| {
            captured.patterns.iter().map(|pattern| Quote {
                kind: pattern.kind.clone(),
                count: pattern.count,
                file: captured.file.clone(),
                example: redact::cut(&redact::printable(&pattern.example), 240),
            })
        })
        .collect();
    quotes.sort_by_key(|quote| std::cmp::Reverse(quote.count));
    quotes.truncate(10);
    quotes
}

fn captured(entries: &[Entry]) -> Vec<File> {
    entries
        .iter()
        .filter_map(|entry| {
            let What::Captured(captured) = &entry.what else { return None };
            let (packed, unpacked) = (bytes(captured.bytes), bytes(captured.unpacked_bytes));
            Some(File {
                file: captured.file.clone(),
                of: match &captured.host {
                    Some(host) => format!("{host}: {}", captured.of),
                    None => captured.of.clone(),
                },
                size: if captured.unpacked_bytes == captured.bytes {
                    packed
                } else {
                    format!("{packed} ({unpacked} unpacked)")
                },
                lines: captured.lines,
                sha256: captured.sha256.clone(),
            })
        })
        .collect()
}

fn gaps(entries: &[Entry]) -> Vec<String> {
    let mut gaps: Vec<String> = Vec::new();
    for entry in entries {
        if let What::Gap { host, what, why } = &entry.what {
            let gap = match host {
                Some(host) => format!("{host}: {what}: {why}"),
                None => format!("{what}: {why}"),
            };
            if !gaps.contains(&gap) {
                gaps.push(gap);
            }
        }
    }
    gaps
}

/// What an operator was told before, which explains what came after: the plan's notes, and clocks that differ.
fn notes(story: &Story<'_>) -> Vec<String> {
    let mut notes: Vec<String> = story.plan.map(|plan| plan.notes.clone()).unwrap_or_default();
    for facts in story.facts.iter().flat_map(|facts| &facts.hosts) {
        match &facts.seen {
            Err(unknown) => notes.push(format!("{} was not reached: {unknown}", facts.host)),
            // Below two seconds nobody is misled by a log's times.
            Ok(seen) => match seen.clock_offset_ms {
                Ok(offset) if offset.abs() >= 2000 => {
                    let direction = if offset > 0 { "ahead of" } else { "behind" };
                    let apart = duration(offset.unsigned_abs());
                    notes.push(format!(
                        "{}: its clock is {apart} {direction} this machine's, and so are the times in its logs",
                        facts.host
                    ));
                }
                Ok(_) | Err(_) => {}
            },
        }
    }
    let mut kept: Vec<String> = Vec::new();
    for note in notes {
        if !kept.contains(&note) {
            kept.push(note);
        }
    }
    kept
}

fn before(facts: Option<&Facts>, to: Colour) -> Option<String> {
    let of = |wanted: Colour| -> Vec<HostName> {
        let hosts = facts.into_iter().flat_map(|facts| &facts.hosts);
        hosts
            .filter(|facts| {
                let nginx = facts.seen.as_ref().ok().and_then(|seen| seen.nginx.as_ref());
                nginx.is_some_and(|nginx| nginx.probe_answered_by == Some(wanted))
            })
            .map(|facts| facts.host.clone())
            .collect()
    };
    let said: Vec<String> = [(of(Colour::Green), to.other()), (of(Colour::Blue), to)]
        .into_iter()
        .filter(|(hosts, _)| !hosts.is_empty())
        .map(|(hosts, colour)| format!("{colour} answered on {}", some_of(&hosts)))
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// What each connection was encrypted by: it is most of a connection's time, and a matter of policy.
fn key_exchange(facts: Option<&Facts>) -> Option<String> {
    let mut hosts: BTreeMap<&str, Vec<HostName>> = BTreeMap::new();
    for facts in facts.into_iter().flat_map(|facts| &facts.hosts) {
        if let Some(name) = facts.seen.as_ref().ok().and_then(|seen| seen.key_exchange.as_deref()) {
            hosts.entry(name).or_default().push(facts.host.clone());
        }
    }
    let said: Vec<String> = match hosts.len() {
        1 => hosts.into_keys().map(str::to_owned).collect(),
        _ => hosts.into_iter().map(|(name, hosts)| format!("{name} ({})", some_of(&hosts))).collect(),
    };
    (!said.is_empty()).then(|| said.join("; "))
}

/// The runbook's list, ticked where the journal proves it.
fn checklist(story: &Story<'_>, ending: &Ending) -> Vec<Check> {
    let entries = story.entries;
    let begun = begun(entries).map(|(_, begun)| begun);
    let apps = begun.map(|begun| begun.apps.clone()).unwrap_or_default();
    let greens: Vec<Green> = apps.iter().filter_map(|host| green_state(entries, host)).collect();
    let check = |is_done: bool, text: &str| Check { is_done, text: text.to_owned() };
    let green_stopped = if greens.contains(&Green::Kept) {
        check(false, "green stopped: kept running, as `--keep-green` says")
    } else {
        check(
            !apps.is_empty() && greens.len() == apps.len() && greens.iter().all(|g| *g == Green::Stopped),
            "green stopped",
        )
    };
    let smoke =
        newest(entries, StepWord::Verify, None).map(|(status, detail)| (status, detail.contains("smoke command")));
    let smoke = match smoke {
        Some((Status::Done, true)) => check(true, "smoke tests passed"),
        Some((Status::Failed | Status::Unknown, true)) => check(false, "smoke tests passed: FAILED, see the timeline"),
        Some((Status::Started, _)) => check(false, "smoke tests passed: cut off"),
        Some((Status::Skipped, true) | (_, false)) | None => check(false, "smoke tests passed: none were run"),
    };
    let has_file = |begins: &str| {
        entries.iter().any(|entry| matches!(&entry.what, What::Captured(captured) if captured.file.starts_with(begins)))
    };
    let database = record::last_database(entries);
    let database = match (database.map(|database| database.state), begun.and_then(|begun| begun.restores.as_ref())) {
        (None, None) => check(true, "database: untouched"),
        (Some(DatabaseState::Restored), _) => check(true, "database: restored, checked on the copy and live"),
        (Some(DatabaseState::TakenBack), _) => check(true, "database: taken back to what it was before the restore"),
        (Some(DatabaseState::Unknown), _) => check(false, "database: NOT KNOWN, see the timeline"),
        (Some(DatabaseState::AsItWas) | None, Some(_)) => check(false, "database: NOT restored, as it was"),
        (Some(DatabaseState::AsItWas), None) => check(true, "database: as it was"),
    };
    if let Some(incident) = begun.and_then(|begun| begun.undoes.as_ref()) {
        let to = towards(entries);
        let safe = traffic_safe(entries).is_some() && is_all_blue(entries, ending);
        let traffic = match begun.is_some_and(|begun| begun.traffic_stays) {
            true => check(true, "traffic: the incident did not move it, untouched"),
            false => check(safe, &format!("traffic on {to}, proven on every balancer")),
        };
        return vec![check(true, &format!("takes {incident} back")), database, traffic, smoke];
    }
    vec![
        check(begun.is_some_and(|begun| !begun.reason.trim().is_empty()), "reason recorded"),
        check(
            traffic_safe(entries).is_some() && is_all_blue(entries, ending),
            "traffic on blue, proven on every balancer",
        ),
        check(all_done(entries, StepWord::Drain), "green drained"),
        green_stopped,
        check(all_done(entries, StepWord::Verify), "blue healthy after the switch"),
        smoke,
        check(has_file("green-rollback-"), "green's logs archived"),
        check(matches!(newest(entries, StepWord::Notify, None), Some((Status::Done, _))), "team notified"),
        database,
    ]
}

fn is_all_blue(entries: &[Entry], ending: &Ending) -> bool {
    let states = balancer_states(entries, ending.is_cut_off);
    !states.is_empty() && states.iter().all(|(_, state)| *state == Balancer::Blue)
}

/// The newest outcome of a step, on one host or of no host.
fn newest<'e>(entries: &'e [Entry], wanted: StepWord, on: Option<&HostName>) -> Option<(Status, &'e str)> {
    entries.iter().rev().find_map(|entry| {
        let What::Outcome { step, host, status, detail, .. } = &entry.what else { return None };
        (*step == wanted && host.as_ref() == on).then_some((*status, detail.as_str()))
    })
}

/// The newest outcome of a step, on whatever host.
fn newest_of_any_host(entries: &[Entry], wanted: StepWord) -> Option<Status> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Outcome { step, status, .. } if *step == wanted => Some(*status),
        _ => None,
    })
}

/// Whether a step was done on every host where it began, after traffic was safe.
fn all_done(entries: &[Entry], wanted: StepWord) -> bool {
    let from = entries.iter().position(|entry| matches!(&entry.what, What::TrafficSafe { .. }));
    let Some(after) = from.and_then(|from| entries.get(from..)) else { return false };
    let mut last: Vec<(&Option<HostName>, Status)> = Vec::new();
    for entry in after {
        if let What::Outcome { step, host, status, .. } = &entry.what
            && *step == wanted
            && host.is_some()
        {
            last.retain(|(of, _)| *of != host);
            last.push((host, *status));
        }
    }
    !last.is_empty() && last.iter().all(|(_, status)| *status == Status::Done)
}

/// What a person does next.
fn steps(ending: &Ending, has_patterns: bool, entries: &[Entry]) -> Vec<String> {
    let exit = ending.verdict.exit;
    let mut steps: Vec<&str> = Vec::new();
    match ending.standing {
        Standing::Unknown => steps.extend([
            "Find out what the balancers named above serve before anything else: `rollback-prod status`; the same by hand: `rollback-prod manual`.",
            "Run the rollback again: it looks first, and does only what is left.",
        ]),
        Standing::Failed if exit == 5 || entries.iter().any(|entry| matches!(&entry.what, What::Balancer { state: Balancer::Blue, .. })) => {
            steps.extend([
                "Some balancers still send to green: run the rollback again for them, or go by hand: `rollback-prod manual`.",
                "If it cannot be done soon, take the hosts that differ out of rotation.",
            ]);
        }
        Standing::Failed => steps.extend([
            "The incident is NOT mitigated: production is as it was. Remove the cause named above, see that `rollback-prod check` finds nothing, and run it again.",
        ]),
        Standing::Mitigating => steps.push("Run the rollback again: it looks first, and does only what is left."),
        Standing::Resolved => {}
    }
    if matches!(ending.standing, Standing::Mitigating | Standing::Resolved) {
        steps.push("Watch errors and latency for 30 minutes before calling it over.");
        steps.push("Hold the pipeline: the next deploy must not bring this release back.");
        if has_patterns {
            steps.push("Start the search for the cause with the error patterns above.");
        }
        steps.push("Fill in `POSTMORTEM.md` while memory is fresh.");
    }
    steps.into_iter().map(str::to_owned).collect()
}

/// The postmortem's first action items: what this run itself found wanting.
fn actions(gaps: &[String], notes: &[String], ending: &Ending) -> Vec<String> {
    let left = ending.verdict.left.iter().map(|left| format!("Not done in the run: {left}"));
    let gaps = gaps.iter().map(|gap| format!("Close the gap in the evidence: {gap}"));
    let notes = notes.iter().map(|note| format!("Look into: {note}"));
    left.chain(gaps).chain(notes).collect()
}

/// Turns the journal's milliseconds into times of day.
struct Clock {
    began: DateTime<Utc>,
    offset: FixedOffset,
}

impl Clock {
    fn of(story: &Story<'_>) -> Clock {
        // The process began before its first entry was written.
        let began = story.entries.first().map(|entry| entry.time - milliseconds(entry.at_ms)).unwrap_or_default();
        Clock { began, offset: story.local_offset }
    }

    fn time(&self, at_ms: u64) -> Time {
        let utc = self.began + milliseconds(at_ms);
        let tenths = at_ms / 100;
        Time {
            utc: utc.format("%Y-%m-%d %H:%M:%S").to_string(),
            local: utc.with_timezone(&self.offset).format("%H:%M:%S").to_string(),
            offset: format!("+{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10),
        }
    }

    /// `UTC+01:00`; nothing where local time is UTC.
    fn zone(&self) -> Option<String> {
        (self.offset.fix().local_minus_utc() != 0).then(|| format!("UTC{}", self.offset))
    }
}

fn milliseconds(ms: u64) -> TimeDelta {
    i64::try_from(ms).ok().and_then(TimeDelta::try_milliseconds).unwrap_or_default()
}

/// All names, or the first eight and how many more: a fleet's list is no line.
fn some_of(hosts: &[HostName]) -> String {
    let shown: Vec<&str> = hosts.iter().take(8).map(HostName::as_str).collect();
    match hosts.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Sections that were left out leave blank lines behind. One is enough, except within a fence, where every line is
/// what somebody wrote.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut fence: Option<usize> = None;
    let mut is_blank = true;
    for line in text.lines() {
        let ticks = line.bytes().take_while(|b| *b == b'`').count();
        match fence {
            Some(length) if ticks >= length && line.trim_end().len() == ticks => fence = None,
            Some(_) => {}
            None if ticks >= 3 => fence = Some(ticks),
            None if line.trim().is_empty() => {
                if !is_blank {
                    out.push('\n');
                }
                is_blank = true;
                continue;
            }
            None => {}
        }
        is_blank = false;
        out.push_str(if fence.is_some() { line } else { line.trim_end() });
        out.push('\n');
    }
    format!("{}\n", out.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_as_many_digits_as_somebody_would_say() {
        assert_eq!([412, 9_031, 123_000, 7_500_000].map(duration), ["0.41 s", "9.0 s", "2 min 03 s", "2 h 05 min"]);
        assert_eq!([60_000, 120_000, 90_000, 500].map(limit), ["60 s", "2 min", "90 s", "0.50 s"]);
    }

    #[test]
    fn blank_lines_stay_within_a_fence_only() {
        assert_eq!(tidy("\n\na\n\n\nb  \n```\nx\n\n\ny\n```\n\n\n"), "a\n\nb\n```\nx\n\n\ny\n```\n");
    }
}
