//! One message as a mail, through the server that the config names. Never a password in the clear over a network, and
//! no recipient goes without because of another.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart, header};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};
use ureq::http::Uri;

use crate::incident::folder;
use crate::tell::notify::send::is_loopback;

pub(super) struct Letterhead<'a> {
    pub(super) id: &'a str,
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
    pub(super) date: DateTime<Utc>,
    /// The incident's page, to be looked at.
    pub(super) page: Option<&'a str>,
}

/// One mail to all recipients; when the server refuses it for one of them, to each by itself.
pub(super) fn mail(
    smtp: &str,
    from: &str,
    to: &[String],
    head: &Letterhead<'_>,
    limit: Duration,
) -> Result<Option<String>, String> {
    let until = Instant::now() + limit;
    let mailbox = |address: &str| address.parse::<Mailbox>().map_err(|err| format!("{address}: {err}"));
    let from = mailbox(from)?;
    let to: Vec<Mailbox> = to.iter().map(|address| mailbox(address)).collect::<Result<_, _>>()?;
    let message_id = |id: &str| {
        let id: String =
            id.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect();
        format!("<{id}@{}>", from.email.domain())
    };
    let mut builder = lettre::Message::builder()
        .from(from.clone())
        .subject(head.subject)
        .date(head.date.into())
        // The same whenever it is sent: a mail that arrives twice is shown once.
        .message_id(Some(message_id(head.id)));
    let id = head.id.trim_end_matches("-2");
    let (incident, word) = id.split_once('.').unwrap_or((id, ""));
    if word == "end" || word == "resolved" || word.starts_with("page") {
        let begin = message_id(&format!("{incident}.begin"));
        builder = builder.in_reply_to(begin.clone()).references(begin);
    }
    for address in &to {
        builder = builder.to(address.clone());
    }
    let mail = match head.page {
        None => builder.header(header::ContentType::TEXT_PLAIN).body(head.text.to_owned()),
        Some(page) => {
            let attached =
                Attachment::new(folder::PAGE.to_owned()).body(page.to_owned(), header::ContentType::TEXT_HTML);
            builder
                .multipart(MultiPart::mixed().singlepart(SinglePart::plain(head.text.to_owned())).singlepart(attached))
        }
    };
    let mail = mail.map_err(|err| err.to_string())?;
    let bytes = mail.formatted();
    let transport = |left: Duration| transport(smtp, left).map_err(|err| chain(&err));
    let refused = match transport(limit)?.send_raw(mail.envelope(), &bytes) {
        Ok(_) => return Ok(None),
        Err(err) if err.is_permanent() && to.len() > 1 => chain(&err),
        Err(err) => return Err(chain(&err)),
    };
    // One address that is gone must not cost the others the message.
    let mut wrong = Vec::new();
    for address in &to {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(refused);
        }
        let envelope = lettre::address::Envelope::new(Some(from.email.clone()), vec![address.email.clone()])
            .map_err(|err| err.to_string())?;
        if let Err(err) = transport(left)?.send_raw(&envelope, &bytes) {
            wrong.push(format!("{}: {}", address.email, chain(&err)));
        }
    }
    if wrong.len() == to.len() {
        Err(refused)
    } else {
        Ok(Some(wrong.join("; "))).map(|note| note.filter(|n| !n.is_empty()))
    }
}

/// `smtps://` is encrypted from the first byte. With `smtp://` a password never goes out in the clear, but to this
/// machine; without one, encryption is taken where it is offered, as mail servers among themselves do.
fn transport(url: &str, limit: Duration) -> Result<SmtpTransport, lettre::transport::smtp::Error> {
    let builder = SmtpTransport::from_url(url.trim())?.timeout(Some(limit));
    let uri: Option<Uri> = url.trim().parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let is_plain = uri.as_ref().and_then(Uri::scheme_str).is_some_and(|scheme| scheme.eq_ignore_ascii_case("smtp"));
    let is_chosen = uri.as_ref().and_then(Uri::query).is_some_and(|query| query.contains("tls="));
    if !is_plain || is_chosen || is_loopback(host) {
        return Ok(builder.build());
    }
    let has_password = uri.as_ref().and_then(Uri::authority).is_some_and(|authority| authority.as_str().contains('@'));
    let tls = if has_password {
        Tls::Required(TlsParameters::new(host.to_owned())?)
    } else {
        // Relays show certificates of their own making; the alternative is no encryption at all.
        let any = TlsParameters::builder(host.to_owned()).dangerous_accept_invalid_certs(true).build()?;
        Tls::Opportunistic(any)
    };
    Ok(builder.tls(tls).build())
}

/// An error with its causes, without saying one twice.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        let more = err.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = err.source();
    }
    text
}
