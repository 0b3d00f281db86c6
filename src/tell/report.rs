//! The incident report and the postmortem's form: gathers what the templates get, from the plan, the facts and the
//! journal's entries. Every text passes the redactor. Never concludes by itself what production is: see `story`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::nouns::names::HostName;
use crate::nouns::plan::LeftOut;
use crate::nouns::record::{AppState, Balancer, Begun, Entry, What, plural};
use crate::nouns::redact::{self, Redactor};
use crate::nouns::rules::{Judgement, Opinion};
use crate::nouns::side::Side;
use crate::nouns::units::duration;
use crate::tell::captured::{File, Quote, captured, errors, gaps, quotes};
use crate::tell::checklist::{Check, actions, checklist, steps};
use crate::tell::impact::{impact, moments, went_well};
use crate::tell::known::ChangedFile;
use crate::tell::loss::{Database, database};
use crate::tell::render::{Name, Templates, redacted, tidy};
use crate::tell::several;
use crate::tell::story::{Ending, Story, begun, ending, resolved, service_words, title, towards, traffic_safe};
use crate::tell::timeline::{Event, timeline};
use crate::tell::times::{Clock, Measure, Time, measured};

/// `INCIDENT_REPORT.md`, with a section for each service where there are several.
pub fn incident_report(stories: &[Story<'_>], templates: &Templates, redactor: &Redactor) -> String {
    of_all(Name::Report, stories, templates, redactor)
}

/// `POSTMORTEM.md`; the same.
pub fn postmortem(stories: &[Story<'_>], templates: &Templates, redactor: &Redactor) -> String {
    of_all(Name::Postmortem, stories, templates, redactor)
}

fn of_all(name: Name, stories: &[Story<'_>], templates: &Templates, redactor: &Redactor) -> String {
    if let [story] = stories {
        return document(name, story, templates, redactor);
    }
    let head = match name {
        Name::Report => several::head(stories, templates, redactor),
        _ => String::new(),
    };
    let parts = stories.iter().map(|story| several::as_section(&document(name, story, templates, redactor)));
    tidy(&[head].into_iter().chain(parts).collect::<Vec<_>>().join("\n"))
}

/// What the report's and the postmortem's templates get. Lists that are empty and options that are none have no
/// section.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    id: String,
    /// `listings`, or `listings (staging)`.
    service: String,
    environment: String,
    title: String,
    status: &'static str,
    /// `good`, `warn` or `bad`.
    tone: &'static str,
    /// What production is now.
    production: String,
    /// One sentence or two: when, what, how fast.
    summary: String,
    reason: String,
    /// What both sides ran.
    releases: Option<String>,
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
    resolved: Option<Over>,
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
    database: Option<Database>,
    timeline: Vec<Event>,
    changes: Vec<ChangedFile>,
    /// What changes and hooks printed.
    said: Vec<SaidBy>,
    patterns: Vec<Quote>,
    judgements: Vec<Judged>,
    captured: Vec<File>,
    gaps: Vec<String>,
    notes: Vec<String>,
    /// Who answered before, as far as it was seen.
    before: Option<String>,
    errors: Vec<String>,
    /// What it cost, when it was noticed and over, and what held: for the postmortem.
    impact: Vec<String>,
    moments: Vec<String>,
    well: Vec<String>,
    checklist: Vec<Check>,
    steps: Vec<String>,
    actions: Vec<String>,
}

/// When somebody called it over.
#[derive(Debug, Clone, Serialize)]
struct Over {
    at: Time,
    by: String,
    text: String,
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

/// What words that were run printed.
#[derive(Debug, Clone, Serialize)]
struct SaidBy {
    /// `hook before switch (./freeze.sh) on here`
    who: String,
    text: String,
}

fn said(entries: &[Entry]) -> Vec<SaidBy> {
    let told = entries.iter().filter_map(|entry| {
        let What::Said { step, host, of, text } = &entry.what else { return None };
        Some(SaidBy { who: format!("{} {of} on {host}", step.as_str()), text: text.clone() })
    });
    told.collect()
}

/// What the rules said at a moment.
#[derive(Debug, Clone, Serialize)]
struct Judged {
    at: Time,
    opinion: String,
    is_bad: bool,
    words: String,
}

/// A report is read, not searched: of more than this only those count that say something new, and some between them.
const MOST_JUDGEMENTS: usize = 30;

fn judgements(entries: &[Entry], clock: &Clock) -> Vec<Judged> {
    let all: Vec<(u64, &Judgement)> = entries
        .iter()
        .filter_map(
            |entry| if let What::Judged(judgement) = &entry.what { Some((entry.at_ms, &**judgement)) } else { None },
        )
        .collect();
    let every = all.len() / MOST_JUDGEMENTS + 1;
    let is_told = |n: usize| {
        let is_new = n == 0 || all[n - 1].1.opinion != all[n].1.opinion;
        is_new || n + 1 == all.len() || n.is_multiple_of(every)
    };
    let told = all.iter().enumerate().filter(|(n, _)| is_told(*n)).map(|(_, one)| one);
    told.map(|(at_ms, judgement)| Judged {
        at: clock.time(*at_ms),
        opinion: judgement.opinion.to_string(),
        is_bad: judgement.opinion == Opinion::Bad,
        words: judgement.words.clone(),
    })
    .collect()
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

impl Report {
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// How many hosts are as they should be.
    pub(super) fn good_hosts(&self) -> usize {
        self.hosts.iter().filter(|row| !row.is_bad).count()
    }
}

/// What is known of a run, in the words of a report.
pub(super) fn report(story: &Story<'_>) -> Report {
    let entries = story.entries;
    let ending = ending(entries);
    let clock = Clock::of(story);
    let begun = begun(entries);
    let said = |pick: fn(&Begun) -> &str| begun.map_or("not known", pick).to_owned();
    let safe = traffic_safe(entries);
    let service = service_words(begun);
    let reason = said(|begun| &begun.reason);
    let gaps = gaps(entries);
    let notes = story.known.notes.clone();
    let (measured, checklist) = (measured(entries, begun), checklist(story, &ending));
    Report {
        id: said(|begun| &begun.id),
        environment: said(|begun| &begun.environment),
        title: title(&service, &ending, begun),
        service,
        status: ending.standing.word(),
        tone: ending.standing.tone(),
        production: ending.verdict.production.clone(),
        summary: summary(story, &ending, &clock),
        reason_verbatim: (redact::markdown(&reason) != reason).then(|| reason.clone()),
        reason,
        releases: begun.and_then(|begun| begun.releases.clone()),
        severity: begun.and_then(|begun| begun.severity.clone()),
        operator: said(|begun| &begun.operator),
        laptop: said(|begun| &begun.laptop),
        oncall: begun.and_then(|begun| begun.oncall.clone()),
        commander: begun.and_then(|begun| begun.commander.clone()),
        program: said(|begun| &begun.program),
        began: clock.time(0),
        ended: (!ending.is_cut_off).then(|| clock.time(ending.at_ms)),
        resolved: resolved(entries).map(|(entry, by, text)| Over {
            at: clock.time(entry.at_ms),
            by: by.to_owned(),
            text: text.to_owned(),
        }),
        traffic_safe: safe.map(|safe| clock.time(safe.at_ms)),
        exit: (!ending.is_cut_off).then_some(ending.verdict.exit),
        is_cut_off: ending.is_cut_off,
        local_zone: clock.zone(),
        next: ending.verdict.next.clone(),
        left: ending.verdict.left.clone(),
        impact: impact(entries),
        moments: moments(entries, &clock),
        well: went_well(entries, &ending, &measured, &checklist, &gaps),
        measured,
        hosts: hosts(story, &ending),
        database: database(entries, begun.and_then(|begun| begun.restores.as_deref())),
        timeline: timeline(entries, &clock, &ending),
        changes: story.known.changes.clone(),
        said: self::said(entries),
        patterns: quotes(entries),
        judgements: judgements(entries, &clock),
        captured: captured(entries),
        before: story.known.before.clone(),
        key_exchange: story.known.key_exchange.clone(),
        errors: errors(entries),
        checklist,
        steps: steps(&ending, !quotes(entries).is_empty(), entries),
        actions: actions(&gaps, &notes, &ending),
        gaps,
        notes,
    }
}

/// One sentence or two: when, what, how fast.
pub(super) fn summary_of(story: &Story<'_>) -> String {
    summary(story, &ending(story.entries), &Clock::of(story))
}

fn summary(story: &Story<'_>, ending: &Ending, clock: &Clock) -> String {
    let begun = begun(story.entries);
    let service = service_words(begun);
    let when = &clock.time(0).utc;
    let who = begun.map_or("somebody", |begun| &begun.operator);
    let mut said = match traffic_safe(story.entries) {
        _ if begun.is_some_and(|begun| begun.undoes.is_some()) => {
            let incident = begun.and_then(|begun| begun.undoes.as_deref()).unwrap_or("an incident");
            format!("{who} took {incident} of {service} back at {when} UTC.")
        }
        _ if begun.is_some_and(Begun::is_partial) => {
            let names = begun.map(Begun::change_names).unwrap_or_default().join(", ");
            format!(
                "{who} began a partial rollback of {service} at {when} UTC: {names}; traffic was to stay where it is."
            )
        }
        _ if begun.is_some_and(|begun| begun.gradual.is_some()) => {
            format!("{who} began to move {service} to {} in steps at {when} UTC.", towards(story.entries))
        }
        Some(safe) => format!(
            "{who} rolled {service} back at {when} UTC; blue was proven on {} after {}.",
            plural(safe.balancers, "balancer"),
            duration(safe.at_ms)
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

fn hosts(story: &Story<'_>, ending: &Ending) -> Vec<HostRow> {
    let Some(begun) = begun(story.entries) else { return Vec::new() };
    // Who serves stands above, and nothing of it was to change.
    if begun.traffic_stays && !begun.changes.is_empty() {
        return Vec::new();
    }
    let balancers: BTreeSet<&HostName> = begun.balancers.iter().collect();
    let apps: BTreeSet<&HostName> = begun.apps.iter().collect();
    let left_out: BTreeMap<&HostName, &LeftOut> = story.known.left_out.iter().map(|left| (&left.host, left)).collect();
    let mut errors: BTreeMap<&HostName, String> = BTreeMap::new();
    for entry in story.entries {
        if let What::Errors { host, before, after, .. } = &entry.what {
            errors.insert(host, format!("{} → {}", before.describe(), after.describe()));
        }
    }
    let others = begun.apps.iter().filter(|app| !balancers.contains(app));
    let rows = begun.balancers.iter().chain(others).map(|host| {
        let traffic = balancers.contains(host).then(|| traffic_cell(host, ending, left_out.get(host).copied()));
        let green = apps.contains(host).then(|| from_cell(host, ending));
        let nothing = || ("–".to_owned(), false);
        let (traffic, traffic_is_bad) = traffic.unwrap_or_else(nothing);
        let (green, green_is_bad) = green.unwrap_or_else(nothing);
        let errors = errors.remove(host);
        HostRow { host: host.to_string(), traffic, green, errors, is_bad: traffic_is_bad || green_is_bad }
    });
    rows.collect()
}

/// What a balancer sends to, and whether that is not as it should be.
fn traffic_cell(host: &HostName, ending: &Ending, left_out: Option<&LeftOut>) -> (String, bool) {
    let to = ending.colour(Side::To);
    match (ending.balancer(host), left_out, ending.complaint(host)) {
        (Balancer::Shifted, _, Some(why)) => (format!("{to}, which DOES NOT ANSWER: {why}"), true),
        (Balancer::Shifted, Some(left), None) => (format!("{to} already; not touched: {}", left.why), false),
        (Balancer::Shifted, None, None) => match ending.share(host).filter(|share| share.is_split()) {
            Some(share) => (format!("{to} {share}, {} {}", to.other(), share.rest()), true),
            None => (format!("{to}, proven"), false),
        },
        (Balancer::Unknown, _, _) => ("NOT KNOWN".to_owned(), true),
        (Balancer::PutBack, _, _) => ("put back, as it was".to_owned(), true),
        (Balancer::Unchanged, Some(left), _) if left.is_there => {
            (format!("{to} already; not touched: {}", left.why), false)
        }
        (Balancer::Unchanged, Some(left), _) => (format!("as it was; not touched: {}", left.why), true),
        (Balancer::Unchanged, None, _) => ("as it was".to_owned(), true),
    }
}

/// What became of the side that traffic left on an app host, and whether that is not as it should be.
fn from_cell(host: &HostName, ending: &Ending) -> (String, bool) {
    let (words, is_bad) = match ending.from(host) {
        None => ("untouched", false),
        Some(AppState::Stopped | AppState::StoppedAgain) => ("stopped", false),
        Some(AppState::Kept) => ("kept running", false),
        Some(AppState::Started | AppState::StartedAgain) => ("running again", false),
        Some(AppState::LeftRunning) => ("STILL RUNNING", true),
        Some(AppState::Unknown) => ("NOT KNOWN", true),
    };
    (words.to_owned(), is_bad)
}
