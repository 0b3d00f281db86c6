//! Carries one message to one channel and says how it was taken: Slack, a webhook, or mail. Waits no longer than it
//! is told. Never tries twice, and keeps nothing.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

use crate::nouns::inventory::Channel;
use crate::tell::notify::mail::{Letterhead, mail};
use crate::tell::notify::outbox::{Item, Payload};

/// What is read of an answer: enough for `ok`, or for the reason why not.
const LONGEST_ANSWER: u64 = 2048;

/// Sends one message, and says what is odd about it although it was taken.
pub(super) fn send(channel: &Channel, item: &Item, limit: Duration) -> Result<Option<String>, String> {
    match (channel, &item.payload) {
        (Channel::Slack { webhook }, Payload::Slack { body }) => {
            let (status, said) = post_json(webhook.reveal(), body, &item.id, limit)?;
            match (status, said.trim()) {
                (200, "ok") => Ok(None),
                (status, said) => Err(refusal(status, said)),
            }
        }
        (Channel::Webhook { url }, Payload::Webhook { body }) => {
            let (status, said) = post_json(url.reveal(), body, &item.id, limit)?;
            match status {
                200..=299 => Ok(None),
                status => Err(refusal(status, &said)),
            }
        }
        (Channel::Email { smtp, from, to }, Payload::Email { subject, text }) => {
            mail(smtp.reveal(), from, to, &Letterhead { id: &item.id, subject, text, date: item.queued_at }, limit)
        }
        (Channel::Slack { .. } | Channel::Webhook { .. } | Channel::Email { .. }, _) => {
            Err("the config has another kind of channel in its place now".to_owned())
        }
    }
}

fn post_json(url: &str, body: &Value, id: &str, limit: Duration) -> Result<(u16, String), String> {
    let uri: Uri = url.trim().parse().map_err(|_| "its URL is not one".to_owned())?;
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        // The URL is the secret: it is not carried anywhere else.
        .max_redirects(0)
        .user_agent(concat!("rollback-prod/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    // What listens on this machine is not behind a proxy, whatever the environment says.
    let config = if uri.host().is_some_and(is_loopback) { config.proxy(None) } else { config };
    let agent = config.build().new_agent();
    let request = agent.post(uri).header("Idempotency-Key", id).content_type("application/json");
    let sent = request.send(body.to_string()).map_err(|err| match err {
        ureq::Error::Timeout(_) => format!("no answer within {:.1} s; it may have arrived", limit.as_secs_f64()),
        ureq::Error::BadUri(_) => "its URL is not one".to_owned(),
        other => other.to_string(),
    });
    let mut answer = sent?;
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

fn refusal(status: u16, said: &str) -> String {
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
