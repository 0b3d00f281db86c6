//! Files a ticket where the config says: one request, in the shape that its tracker's API documents, and what is known
//! afterwards. Never tries twice: whether an answer that did not come was a ticket, nobody knows but the tracker.
//!
//! Shapes: GitHub's REST API (create an issue), Jira's REST API v2 (create issue), whose texts are the wiki markup that
//! `ticket` writes; `tests/afterwards.rs` says which published descriptions they were held against.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::nouns::inventory::{GithubIssues, JiraProject, Tickets, Token};
use crate::nouns::redact::{self, Redactor, cut};
use crate::tell::notify::{Call, Lost, refusal};
use crate::tell::ticket::Tracker;

/// A person waits for it.
const LIMIT: Duration = Duration::from_secs(20);
/// What both take as a title.
const LONGEST_TITLE: usize = 255;
/// What each takes as a text.
const LONGEST_AT_GITHUB: usize = 65_536;
const LONGEST_AT_JIRA: usize = 32_767;

/// Where a ticket goes.
#[derive(Debug, Clone)]
pub enum TicketPlace {
    Github(GithubIssues),
    Jira(JiraProject),
}

/// What is known of it then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketAnswer {
    /// Its address, for people.
    Filed(String),
    /// There is none, and why.
    Refused(String),
    /// There may be one.
    Unknown(String),
}

impl TicketPlace {
    pub fn of(tickets: &Tickets, tracker: Tracker) -> Option<TicketPlace> {
        match tracker {
            Tracker::Github => tickets.github.clone().map(TicketPlace::Github),
            Tracker::Jira => tickets.jira.clone().map(TicketPlace::Jira),
        }
    }

    pub fn token(&self) -> &Token {
        match self {
            TicketPlace::Github(github) => &github.token,
            TicketPlace::Jira(jira) => &jira.token,
        }
    }

    /// Where a person looks for it: `example/listings`.
    pub fn name(&self) -> &str {
        match self {
            TicketPlace::Github(github) => &github.repository,
            TicketPlace::Jira(jira) => &jira.project,
        }
    }

    /// Sends it; blocks until there is an answer, or for twenty seconds. `ticket` is its title, a line end, and its text.
    pub fn file(&self, ticket: &str, id: &str) -> TicketAnswer {
        let Some(token) = &self.token().secret else {
            return TicketAnswer::Refused(format!("the variable {} is not set", self.token().env));
        };
        let (title, text) = ticket.split_once('\n').unwrap_or((ticket, ""));
        let title = cut(title.trim(), LONGEST_TITLE);
        let text = text.trim();
        let (url, headers, body) = match self {
            TicketPlace::Github(github) => (
                format!("{}/repos/{}/issues", github.url, github.repository),
                vec![
                    ("Authorization", format!("Bearer {}", token.reveal())),
                    ("Accept", "application/vnd.github+json".to_owned()),
                    ("X-GitHub-Api-Version", "2022-11-28".to_owned()),
                ],
                json!({ "title": title, "body": cut(text, LONGEST_AT_GITHUB) }),
            ),
            TicketPlace::Jira(jira) => {
                let login = match &jira.user {
                    Some(user) => format!("Basic {}", STANDARD.encode(format!("{user}:{}", token.reveal()))),
                    None => format!("Bearer {}", token.reveal()),
                };
                let fields = json!({
                    "project": { "key": jira.project },
                    "issuetype": { "name": jira.issue_type },
                    "summary": title,
                    "description": cut(text, LONGEST_AT_JIRA),
                });
                (
                    format!("{}/rest/api/2/issue", jira.url),
                    vec![("Authorization", login), ("Accept", "application/json".to_owned())],
                    json!({ "fields": fields }),
                )
            }
        };
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let call = Call { method: "POST", url: &url, id, limit: LIMIT };
        let answer = self.read(call.with(&headers, Some(&body)));
        // Whatever a server says, on one line and without the secret that it was sent.
        let login = headers.first().map_or("", |(_, login)| login.split_once(' ').map_or("", |(_, secret)| secret));
        let redactor = Redactor::new(&[], [token.reveal(), login].into_iter());
        let plain = |said: &str| cut(&redact::printable(redactor.text(said).trim()), 300);
        match answer {
            TicketAnswer::Filed(url) => TicketAnswer::Filed(plain(&url)),
            TicketAnswer::Refused(why) => TicketAnswer::Refused(plain(&why)),
            TicketAnswer::Unknown(why) => TicketAnswer::Unknown(plain(&why)),
        }
    }

    fn read(&self, answer: Result<(u16, String), Lost>) -> TicketAnswer {
        let (status, said) = match answer {
            Ok(answer) => answer,
            Err(Lost { words, may_have_arrived: true }) => return TicketAnswer::Unknown(words),
            Err(Lost { words, may_have_arrived: false }) => return TicketAnswer::Refused(words),
        };
        let body: Value = serde_json::from_str(&said).unwrap_or_default();
        let url = match self {
            TicketPlace::Github(_) => body["html_url"].as_str().filter(|url| is_address(url)).map(str::to_owned),
            TicketPlace::Jira(jira) => {
                body["key"].as_str().filter(|key| is_key(key)).map(|key| format!("{}/browse/{key}", jira.url))
            }
        };
        match (status, url) {
            (201, Some(url)) => TicketAnswer::Filed(url),
            // What it says is not what it should; that it made one is likely.
            (200..=299, _) => TicketAnswer::Unknown(refusal(status, &said)),
            (500.., _) => TicketAnswer::Unknown(refusal(status, &said)),
            (status, _) => TicketAnswer::Refused(refusal(status, &self.reasons(&body).unwrap_or(said))),
        }
    }

    /// Why, in the words that its API has for that.
    fn reasons(&self, body: &Value) -> Option<String> {
        let words = match self {
            TicketPlace::Github(_) => body["message"].as_str()?.to_owned(),
            TicketPlace::Jira(_) => {
                let general = body["errorMessages"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let fields = body["errors"].as_object().into_iter().flatten();
                let fields = fields.filter_map(|(field, why)| Some(format!("{field}: {}", why.as_str()?)));
                general.map(str::to_owned).chain(fields).collect::<Vec<_>>().join("; ")
            }
        };
        (!words.is_empty()).then_some(words)
    }
}

/// What a server calls an address is printed, kept and clicked.
fn is_address(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://")) && url.chars().all(|c| c.is_ascii_graphic())
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
