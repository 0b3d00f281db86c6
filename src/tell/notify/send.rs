//! Carries one message to one channel and says how it was taken: a Slack webhook, any webhook, or mail; services that keep
//! something are `api`'s. Waits no longer than it is told. Never tries twice, and keeps nothing.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Uri};
use ureq::tls::{RootCerts, TlsConfig};

use crate::incident::folder;
use crate::nouns::inventory::Channel;
use crate::nouns::secret::Secret;
use crate::tell::notify::api::{self, Taken};
use crate::tell::notify::mail::{Letterhead, mail};
use crate::tell::notify::outbox::{Item, Payload};

/// What is read of an answer: enough for what a service calls what it keeps, or for the reason why not.
const LONGEST_ANSWER: u64 = 256 << 10;
/// A page that is larger stays where it is.
const LARGEST_PAGE: u64 = 2 << 20;

/// Sends one message, and says what is odd about it although it was taken. `receipt` is what an earlier message of the
/// incident got on that channel.
pub(super) fn send(
    channel: &Channel,
    item: &Item,
    receipt: Option<&str>,
    folder: &Path,
    limit: Duration,
) -> Result<Taken, String> {
    let post = |url: &str, body: &Value| Call { method: "POST", url, id: &item.id, limit }.plain(Some(body));
    match (channel, &item.payload) {
        (Channel::Slack { webhook }, Payload::Slack { body }) => {
            let (status, said) = post(webhook.reveal(), body)?;
            match (status, said.trim()) {
                (200, "ok") => Ok(Taken::default()),
                (status, said) => Err(refusal(status, said)),
            }
        }
        (Channel::Webhook { url }, Payload::Webhook { body }) => {
            let (status, said) = post(url.reveal(), body)?;
            match status {
                200..=299 => Ok(Taken::default()),
                status => Err(refusal(status, &said)),
            }
        }
        (Channel::Email { smtp, from, to }, Payload::Email { subject, text, has_page }) => {
            let page = has_page.then(|| page_in(folder)).flatten();
            let head = Letterhead { id: &item.id, subject, text, date: item.queued_at, page: page.as_deref() };
            let note = mail(smtp.reveal(), from, to, &head, limit)?;
            Ok(Taken { note, receipt: None })
        }
        (
            Channel::SlackThread { .. }
            | Channel::PagerDuty { .. }
            | Channel::Statuspage { .. }
            | Channel::Alertmanager { .. }
            | Channel::Grafana { .. },
            Payload::Kept { gist, slack },
        ) => api::tell(channel, gist, slack, (item.queued_at, &item.id), receipt, limit),
        (
            Channel::Slack { .. }
            | Channel::Webhook { .. }
            | Channel::Email { .. }
            | Channel::SlackThread { .. }
            | Channel::PagerDuty { .. }
            | Channel::Statuspage { .. }
            | Channel::Alertmanager { .. }
            | Channel::Grafana { .. },
            _,
        ) => Err("the config has another kind of channel in its place now".to_owned()),
    }
}

/// The incident's page, where it is there and no larger than a mail should be.
fn page_in(folder: &Path) -> Option<String> {
    let path = folder.join(folder::PAGE);
    let is_small = std::fs::metadata(&path).is_ok_and(|found| found.len() <= LARGEST_PAGE);
    is_small.then(|| std::fs::read_to_string(path).ok()).flatten()
}

/// A request without an answer.
#[derive(Debug)]
pub(in crate::tell) struct Lost {
    pub(in crate::tell) words: String,
    /// Whether whoever was asked may have done it all the same.
    pub(in crate::tell) may_have_arrived: bool,
}

/// One request, once.
pub(in crate::tell) struct Call<'a> {
    pub(in crate::tell) method: &'a str,
    pub(in crate::tell) url: &'a str,
    /// The message's: whoever gets it twice can tell.
    pub(in crate::tell) id: &'a str,
    pub(in crate::tell) limit: Duration,
}

impl Call<'_> {
    pub(super) fn plain(&self, body: Option<&Value>) -> Result<(u16, String), String> {
        self.with_login(None, body)
    }

    pub(super) fn bearer(&self, token: &Secret, body: Option<&Value>) -> Result<(u16, String), String> {
        self.with_login(Some(&format!("Bearer {}", token.reveal())), body)
    }

    pub(super) fn with_login(&self, login: Option<&str>, body: Option<&Value>) -> Result<(u16, String), String> {
        let login: Vec<(&str, &str)> = login.map(|login| ("Authorization", login)).into_iter().collect();
        self.with(&login, body).map_err(|lost| lost.words)
    }

    /// Status and body of the answer, with these headers besides.
    pub(in crate::tell) fn with(&self, headers: &[(&str, &str)], body: Option<&Value>) -> Result<(u16, String), Lost> {
        let unsent = |words: &str| Lost { words: words.to_owned(), may_have_arrived: false };
        let uri: Uri = self.url.trim().parse().map_err(|_| unsent("its URL is not one"))?;
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(self.limit))
            .http_status_as_error(false)
            // The URL is the secret: it is not carried anywhere else.
            .max_redirects(0)
            .user_agent(concat!("rollback-prod/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
        // What listens on this machine is not behind a proxy, whatever the environment says.
        let config = if uri.host().is_some_and(is_loopback) { config.proxy(None) } else { config };
        let agent = config.build().new_agent();
        let mut request = Request::builder().method(self.method).uri(uri).header("Idempotency-Key", self.id);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let odd = |_| unsent("a header of it cannot be sent");
        let sent = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json; charset=utf-8");
                agent.run(request.body(body.to_string()).map_err(odd)?)
            }
            None => agent.run(request.body(()).map_err(odd)?),
        };
        let mut answer = sent.map_err(|err| match err {
            ureq::Error::Timeout(_) => Lost {
                words: format!("no answer within {:.1} s; it may have arrived", self.limit.as_secs_f64()),
                may_have_arrived: true,
            },
            ureq::Error::BadUri(_) => unsent("its URL is not one"),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Tls(_) => unsent(&err.to_string()),
            ureq::Error::Io(err) if err.kind() == std::io::ErrorKind::ConnectionRefused => unsent(&err.to_string()),
            other => Lost { words: other.to_string(), may_have_arrived: true },
        })?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        // A status without its body is an answer all the same.
        let mut said =
            answer.body_mut().with_config().limit(LONGEST_ANSWER).lossy_utf8(true).read_to_string().unwrap_or_default();
        if let Some(seconds) = retry_after.filter(|_| !(200..300).contains(&status)) {
            said = format!("{} (Retry-After: {seconds})", said.trim());
        }
        Ok((status, said))
    }
}

pub(in crate::tell) fn refusal(status: u16, said: &str) -> String {
    match said.trim() {
        "" => format!("answers {status}"),
        said => format!("answers {status}: {said}"),
    }
}

/// A host's name or address that is this machine's own.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
