//! Words the messages that go out when the work begins and when it has ended, in the form of every channel.
//! Every text passes the redactor. Never sends one: see `notify`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::nouns::colour::Colour;
use crate::nouns::names::HostName;
use crate::nouns::production::Verdict;
use crate::nouns::record::{Begun, plural};
use crate::nouns::redact::{self, Redactor};
use crate::nouns::units::duration;
use crate::tell::render::{Name, Templates, redacted, tidy};
use crate::tell::several;
use crate::tell::story::{Standing, Story, begun, ending_with, resolved, service_words, title, towards, traffic_safe};
use crate::tell::times::Clock;

/// One message, in the form of every channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same for the same message whenever it is made: `rollback-20261120-211503.begin`.
    pub id: String,
    /// The word of the config that it is of.
    pub service: String,
    pub environment: String,
    /// One line.
    pub subject: String,
    pub text: String,
    /// What a Slack webhook takes.
    pub slack: Value,
    /// What any other webhook gets.
    pub webhook: Value,
    /// The same in its parts, for services that keep something of it.
    pub gist: Gist,
}

/// A message in its parts, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gist {
    pub event: Event,
    /// The incident's name.
    pub incident: String,
    pub service: String,
    pub environment: String,
    pub title: String,
    /// In the word of status pages.
    pub status: String,
    pub production: String,
    pub next: Option<String>,
    pub severity: Option<String>,
    pub reason: String,
    pub operator: String,
    pub laptop: String,
    pub hosts: Vec<String>,
    /// `team lead after 15m`
    pub escalate: Vec<String>,
    /// Who of them was paged so far, with the one that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paged: Vec<String>,
    /// When the run began, in milliseconds since 1970.
    pub began_ms: i64,
    /// Whether a bad release was to be taken out, and not one brought in, or an incident taken back.
    pub is_rollback: bool,
    /// Whether traffic is where it should be, and answered.
    pub is_safe: bool,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    Begin,
    End,
    Resolved,
    /// A `watch` finds what serves bad.
    Bad,
    /// It still is, and the next one of the ladder is called.
    Paged,
}

/// The message that goes out when the work begins; one, whatever services the run has.
pub fn begin_message(stories: &[Story<'_>], templates: &Templates, redactor: &Redactor) -> Message {
    message(Moment::Begin, stories, templates, redactor)
}

/// The message that says how it ended. It goes out before the journal's last line, so the verdict comes with it.
pub fn end_message(stories: &[Story<'_>], verdict: &Verdict, templates: &Templates, redactor: &Redactor) -> Message {
    message(Moment::End(verdict), stories, templates, redactor)
}

/// The message that somebody calls it over: the last one of an incident.
pub fn resolved_message(stories: &[Story<'_>], templates: &Templates, redactor: &Redactor) -> Message {
    message(Moment::Resolved, stories, templates, redactor)
}

#[derive(Debug, Clone, Copy)]
enum Moment<'a> {
    Begin,
    End(&'a Verdict),
    Resolved,
}

impl Moment<'_> {
    fn word(self) -> &'static str {
        match self {
            Moment::Begin => "begin",
            Moment::End(_) => "end",
            Moment::Resolved => "resolved",
        }
    }

    fn event(self) -> Event {
        match self {
            Moment::Begin => Event::Begin,
            Moment::End(_) => Event::End,
            Moment::Resolved => Event::Resolved,
        }
    }
}

/// What the messages' templates get.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Notice {
    pub(super) id: String,
    /// `rollback` or `watch`: what it is of.
    pub(super) of: &'static str,
    pub(super) event: &'static str,
    pub(super) service: String,
    pub(super) environment: String,
    pub(super) title: String,
    pub(super) status: &'static str,
    /// In the words of public pages: `investigating`, `identified`, `monitoring`, `resolved`.
    pub(super) state: &'static str,
    pub(super) severity: Option<String>,
    pub(super) reason: String,
    pub(super) releases: Option<String>,
    pub(super) production: String,
    pub(super) next: Option<String>,
    /// What is not done; at most three, then how many more.
    pub(super) left: Vec<String>,
    pub(super) began: String,
    pub(super) traffic_safe: Option<String>,
    pub(super) traffic_safe_ms: Option<u64>,
    pub(super) took: Option<String>,
    pub(super) total_ms: Option<u64>,
    pub(super) exit: Option<u8>,
    pub(super) owner: String,
    pub(super) laptop: String,
    pub(super) oncall: Option<String>,
    pub(super) commander: Option<String>,
    pub(super) hosts: Vec<String>,
    /// Who is to be told when it lasts: `team lead after 15m`.
    pub(super) escalate: Vec<String>,
    /// Where the report is.
    pub(super) incident: String,
}

fn message(moment: Moment<'_>, stories: &[Story<'_>], templates: &Templates, redactor: &Redactor) -> Message {
    let notice = match stories {
        [story] => notice(moment, story),
        several => notice_of_all(moment, several),
    };
    let id = format!("{}.{}", notice.id, moment.word());
    worded(&notice, id, group_of(stories), |context| gist(moment, stories, context), (templates, redactor))
}

/// What is to be said, in the form of every channel; `group` is the word of the config, where it has several services; `gist` gets what the templates get, which has no secrets any more.
pub(super) fn worded(
    notice: &Notice,
    id: String,
    group: Option<String>,
    gist: impl FnOnce(&Value) -> Gist,
    (templates, redactor): (&Templates, &Redactor),
) -> Message {
    let context = redacted(notice, redactor);
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
        id,
        service: group.unwrap_or_else(|| said("service")),
        environment: said("environment"),
        gist: gist(&context),
        slack: templates.render(Name::Slack, &context, slack, |_| serde_json::json!({ "text": title })),
        webhook: templates.render(Name::Webhook, &context, as_json, |_| context.clone()),
        subject,
        text,
    }
}

/// The parts of what the templates get, which has no secrets any more.
fn gist(moment: Moment<'_>, stories: &[Story<'_>], context: &Value) -> Gist {
    let text = |field: &str| context[field].as_str().unwrap_or_default().to_owned();
    let maybe = |field: &str| context[field].as_str().map(str::to_owned);
    let texts = |field: &str| {
        let each = context[field].as_array().into_iter().flatten();
        each.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let first = stories.first();
    let begun = first.and_then(|story| begun(story.entries));
    let began_ms = first.and_then(|story| story.entries.first()).map_or(0, |first| first.time.timestamp_millis());
    Gist {
        event: moment.event(),
        incident: text("id"),
        service: group_of(stories).unwrap_or_else(|| text("service")),
        environment: text("environment"),
        title: text("title"),
        status: text("status"),
        production: text("production"),
        next: maybe("next"),
        severity: maybe("severity"),
        reason: text("reason"),
        operator: text("owner"),
        laptop: text("laptop"),
        hosts: texts("hosts"),
        escalate: texts("escalate"),
        paged: Vec::new(),
        began_ms,
        is_rollback: begun.is_none_or(|begun| begun.undoes.is_none() && begun.gradual.is_none() && !begun.is_partial()),
        is_safe: match moment {
            Moment::Begin => false,
            Moment::End(verdict) => stories.iter().all(|story| {
                matches!(ending_with(verdict, story.entries).standing, Standing::Resolved | Standing::Mitigating)
            }),
            Moment::Resolved => true,
        },
    }
}

/// A run that is over has not ended an incident: a person does that.
fn state_of(standing: Standing) -> &'static str {
    match standing {
        Standing::Resolved | Standing::Mitigating => "monitoring",
        Standing::Failed | Standing::Unknown => "identified",
    }
}

/// The word of the config that has several services.
fn group_of(stories: &[Story<'_>]) -> Option<String> {
    begun(stories.first()?.entries)?.group.clone()
}

/// What all services of a run come to, in the shape of one.
fn notice_of_all(moment: Moment<'_>, stories: &[Story<'_>]) -> Notice {
    let each: Vec<Notice> = stories.iter().map(|story| notice(moment, story)).collect();
    // What is of none of them in particular is any one's; there is one.
    let common = each.first().cloned().unwrap_or_default();
    let mut hosts: Vec<String> = Vec::new();
    for host in each.iter().flat_map(|notice| &notice.hosts) {
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }
    let named = || stories.iter().map(several::name).zip(&each);
    let releases = named().filter_map(|(name, notice)| Some(format!("{name}: {}", notice.releases.as_ref()?)));
    let releases: Vec<String> = releases.collect();
    let safe = each.iter().map(|notice| notice.traffic_safe_ms).collect::<Option<Vec<u64>>>();
    let safe = safe.and_then(|safe| safe.into_iter().max());
    let total_ms = each.iter().filter_map(|notice| notice.total_ms).max();
    let (group, names) = (several::group_words(stories), several::names(stories));
    Notice {
        service: group_of(stories).unwrap_or_else(|| common.service.clone()),
        title: match moment {
            Moment::Begin => {
                format!("{group}: {names}: {}", common.title.split_once(": ").map_or("", |(_, what)| what))
            }
            Moment::End(verdict) => several::title(stories, verdict),
            Moment::Resolved => format!("{group}: {} is over", common.id),
        },
        status: match moment {
            Moment::Begin => common.status,
            Moment::End(verdict) => several::standing(stories, verdict).word(),
            Moment::Resolved => common.status,
        },
        state: match moment {
            Moment::Begin | Moment::Resolved => common.state,
            Moment::End(verdict) => state_of(several::standing(stories, verdict)),
        },
        production: match moment {
            Moment::Begin => {
                let each = named().map(|(name, notice)| format!("{name}: {}", notice.production));
                each.collect::<Vec<_>>().join("; ")
            }
            Moment::End(_) | Moment::Resolved => common.production.clone(),
        },
        releases: (!releases.is_empty()).then(|| releases.join("; ")),
        traffic_safe: safe.map(duration),
        traffic_safe_ms: safe,
        total_ms,
        took: total_ms.map(duration),
        hosts,
        ..common
    }
}

fn notice(moment: Moment<'_>, story: &Story<'_>) -> Notice {
    let entries = story.entries;
    let clock = Clock::of(story);
    let begun = begun(entries);
    let said = |pick: fn(&Begun) -> &str| begun.map_or("not known", pick).to_owned();
    let service = service_words(begun);
    let hosts: Vec<HostName> = begun.map(|begun| begun.balancers.clone()).unwrap_or_default();
    let id = said(|begun| &begun.id);
    let is_partial = begun.is_some_and(Begun::is_partial);
    let names = begun.map(Begun::change_names).unwrap_or_default();
    let common = Notice {
        of: "rollback",
        event: moment.word(),
        service: said(|begun| &begun.service),
        environment: said(|begun| &begun.environment),
        title: match begun.map(|begun| (begun.undoes.as_ref(), begun.gradual.as_ref())) {
            Some((Some(incident), _)) => format!("{service}: taking {incident} back"),
            _ if is_partial => format!("{service}: partial rollback of {}", names.join(", ")),
            Some((None, Some(_))) => format!("{service}: traffic moves to {} in steps", towards(entries)),
            Some((None, None)) | None => format!("{service}: rolling back to blue"),
        },
        status: Standing::Mitigating.word(),
        state: "investigating",
        severity: begun.and_then(|begun| begun.severity.clone()),
        reason: said(|begun| &begun.reason),
        releases: begun.and_then(|begun| begun.releases.clone()),
        production: match towards(entries) {
            _ if is_partial => {
                format!("traffic stays; {} back now", if names.len() == 1 { "one change goes" } else { "changes go" })
            }
            to if begun.is_some_and(|begun| begun.gradual.is_some()) => {
                format!("{to} gets its first share of {} now", plural(hosts.len(), "balancer"))
            }
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
        escalate: begun.map(|begun| begun.escalate.clone()).unwrap_or_default(),
        incident: format!("{id} on {}", said(|begun| &begun.laptop)),
        id,
    };
    match moment {
        Moment::Begin => common,
        Moment::Resolved => {
            let safe = traffic_safe(entries).map(|safe| safe.at_ms);
            let (by, text) = resolved(entries).map_or(("somebody", ""), |(_, by, text)| (by, text.trim()));
            let colon = if text.is_empty() { "" } else { ": " };
            Notice {
                title: format!("{service}: {} is over", common.id),
                status: Standing::Resolved.word(),
                state: "resolved",
                production: format!("{by} calls it over{colon}{text}"),
                traffic_safe: safe.map(duration),
                traffic_safe_ms: safe,
                ..common
            }
        }
        Moment::End(verdict) => {
            let ending = ending_with(verdict, entries);
            let safe = traffic_safe(entries).map(|safe| safe.at_ms);
            let mut left = ending.verdict.left.clone();
            if left.len() > 3 {
                let more = left.len() - 3;
                left.truncate(3);
                left.push(format!("and {more} more"));
            }
            Notice {
                title: title(&service, &ending, begun),
                status: ending.standing.word(),
                state: state_of(ending.standing),
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
