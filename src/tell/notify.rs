//! Sends the messages: Slack, mail, webhooks, through an outbox in the incident folder. It can neither fail nor delay
//! the run: every attempt runs in a thread of its own, a call waits at most `[notify] timeout`, and what did not get
//! through is sent by the next command. Never writes what a channel's address is: that is where the secrets are.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use lettre::message::{Mailbox, header};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

use crate::nouns::inventory::{Channel, Inventory, Notify};
use crate::nouns::names::IncidentId;
use crate::nouns::redact::{self, Redactor};
use crate::tell::report::Message;

/// The outbox's file in the incident folder. It grows when a message is sent later, so it has no place in SHA256SUMS.
pub const OUTBOX: &str = "outbox.jsonl";

/// Incidents further back than this are over; nobody waits for their messages.
const FOLDERS_LOOKED_AT: usize = 20;

/// A message that is older confuses more than it helps.
const TOO_OLD: TimeDelta = TimeDelta::hours(24);

/// A run writes a handful of lines; a file that is larger is not ours.
const LARGEST_OUTBOX: u64 = 4 * 1024 * 1024;

/// What is read of an answer: enough for `ok`, or for the reason why not.
const LONGEST_ANSWER: u64 = 2048;

/// The messages of one incident, and what became of them.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

/// What became of one message on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `slack`, or `webhook 2` where there are several.
    pub channel: String,
    /// The message's id.
    pub message: String,
    /// Why it did not get through, without secrets.
    pub outcome: Result<(), String>,
}

/// Deliveries that go on beside the work.
pub struct Beside(tokio::sync::oneshot::Receiver<Vec<Delivery>>);

struct Shared {
    /// Locked as long as this process may send, so that no other sends the same; `None` where it cannot be written.
    file: Option<File>,
    state: Mutex<State>,
    /// A channel is free again.
    freed: Condvar,
}

#[derive(Default)]
struct State {
    items: Vec<Item>,
    /// Channels on which a message is on its way, perhaps longer than anybody waits for it.
    busy: HashSet<String>,
    /// Why the file does not say what happened.
    trouble: Option<String>,
}

#[derive(Debug, Clone)]
struct Item {
    id: String,
    channel: String,
    service: String,
    environment: String,
    queued_at: DateTime<Utc>,
    payload: Payload,
    attempts: u32,
    is_sent: bool,
}

/// What one kind of channel needs of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Payload {
    Slack { body: Value },
    Email { subject: String, text: String },
    Webhook { body: Value },
}

/// One line of the file. The newest line of a message on a channel is the truth.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    v: u32,
    time: DateTime<Utc>,
    id: String,
    /// The channel's place in the config and its kind: `0-slack`.
    channel: String,
    state: Stage,
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    letter: Option<Letter>,
}

/// The first line of a message has it whole.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    service: String,
    environment: String,
    payload: Payload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Queued,
    Sent,
    Failed,
}

impl Outbox {
    /// The outbox of an incident folder. Where it cannot be kept on disk it is kept in memory: see [`Outbox::trouble`].
    pub fn open(folder: &Path) -> Outbox {
        let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(folder.join(OUTBOX));
        match opened {
            Ok(file) => {
                // Nobody else sends what is in a new folder; were somebody to look in just now, it is empty.
                let _ = file.try_lock();
                Outbox::read(file)
            }
            Err(err) => {
                let state = State { trouble: Some(format!("{OUTBOX}: {err}")), ..State::default() };
                Outbox(Arc::new(Shared { file: None, state: Mutex::new(state), freed: Condvar::new() }))
            }
        }
    }

    /// The outbox that an earlier run left; nothing when there is none, or when that run is still at it.
    fn left_behind(folder: &Path) -> Option<Outbox> {
        let file = OpenOptions::new().read(true).append(true).open(folder.join(OUTBOX)).ok()?;
        file.try_lock().ok()?;
        Some(Outbox::read(file))
    }

    fn read(mut file: File) -> Outbox {
        let mut text = Vec::new();
        let read = (&mut file).take(LARGEST_OUTBOX).read_to_end(&mut text);
        if text.last().is_some_and(|last| *last != b'\n') {
            // A crash cut the last line: what comes next must not be lost with it.
            let _ = file.write_all(b"\n");
        }
        let state = State {
            items: items(&String::from_utf8_lossy(&text)),
            trouble: read.err().map(|err| format!("{OUTBOX}: {err}")),
            ..State::default()
        };
        Outbox(Arc::new(Shared { file: Some(file), state: Mutex::new(state), freed: Condvar::new() }))
    }

    /// Why the file does not say what happened, if so; a gap in the report.
    pub fn trouble(&self) -> Option<String> {
        self.0.state().trouble.clone()
    }

    /// Puts a message in for every channel. The same message is never put in twice.
    pub fn post(&self, notify: &Notify, message: &Message) {
        for (key, channel) in keys(notify) {
            let payload = match channel {
                Channel::Slack { .. } => Payload::Slack { body: message.slack.clone() },
                Channel::Email { .. } => {
                    Payload::Email { subject: message.subject.clone(), text: message.text.clone() }
                }
                Channel::Webhook { .. } => Payload::Webhook { body: message.webhook.clone() },
            };
            let mut state = self.0.state();
            if state.items.iter().any(|item| item.id == message.id && item.channel == key) {
                continue;
            }
            let item = Item {
                id: message.id.clone(),
                channel: key,
                service: message.service.clone(),
                environment: message.environment.clone(),
                queued_at: Utc::now(),
                payload,
                attempts: 0,
                is_sent: false,
            };
            self.0.write(&mut state, &item, Stage::Queued, None);
            state.items.push(item);
        }
    }

    /// Tries every message that did not get through yet once, in order on each channel, all channels at once. Takes
    /// at most `[notify] timeout`; what takes longer is called not delivered.
    pub async fn deliver(&self, notify: &Notify) -> Vec<Delivery> {
        wait_for(deliver_beside(self, notify)).await
    }

    /// As [`Outbox::deliver`], by a deadline; blocks until then.
    fn deliver_until(&self, notify: &Notify, deadline: Instant) -> Vec<Delivery> {
        let redactor = secrets_of(notify);
        let (sender, receiver) = mpsc::channel();
        let mut open: Vec<Item> = Vec::new();
        for (key, channel) in keys(notify) {
            let waiting: Vec<Item> =
                self.0.state().items.iter().filter(|item| item.channel == key && !item.is_sent).cloned().collect();
            if waiting.is_empty() {
                continue;
            }
            open.extend(waiting.iter().cloned());
            let sending = Sending {
                shared: Arc::clone(&self.0),
                key,
                channel: channel.clone(),
                waiting,
                deadline,
                redactor: redactor.clone(),
                done: sender.clone(),
            };
            // A thread, not a task: a resolver or a handshake that hangs must not keep the program from ending. Where
            // none can be had, its messages are reported below as not delivered.
            let _ = std::thread::Builder::new().name("notify".into()).spawn(move || sending.run());
        }
        drop(sender);
        let mut deliveries = Vec::new();
        while !open.is_empty() {
            // a moment more than the threads have, so that their own words for a timeout are heard
            let left = (deadline + Duration::from_millis(50)).saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok((item, outcome)) => {
                    open.retain(|waiting| (&waiting.id, &waiting.channel) != (&item.id, &item.channel));
                    deliveries.push(Delivery { channel: label(notify, &item.channel), message: item.id, outcome });
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        for item in open {
            let error = self.0.give_up_waiting(&item, notify.timeout);
            deliveries.push(Delivery { channel: label(notify, &item.channel), message: item.id, outcome: Err(error) });
        }
        deliveries
    }
}

/// As [`Outbox::deliver`], but it has begun when this returns, and goes on beside what comes next.
pub fn deliver_beside(outbox: &Outbox, notify: &Notify) -> Beside {
    let (outbox, notify) = (outbox.clone(), notify.clone());
    let deadline = Instant::now() + notify.timeout;
    beside(move || outbox.deliver_until(&notify, deadline))
}

/// Sends, beside what comes next, what the newest incidents of this service and environment still have in their
/// outboxes. Bounded as one delivery is.
pub fn resend_beside(inventory: &Inventory) -> Beside {
    let inventory = inventory.clone();
    let deadline = Instant::now() + inventory.notify.timeout;
    beside(move || resend_until(&inventory, deadline))
}

/// Waits for deliveries that go on beside; no longer than they themselves do.
pub async fn wait_for(beside: Beside) -> Vec<Delivery> {
    beside.0.await.unwrap_or_else(|_| {
        let why = "the thread that sends could not be started, or ended early".to_owned();
        vec![Delivery { channel: "messages".into(), message: String::new(), outcome: Err(why) }]
    })
}

fn beside(work: impl FnOnce() -> Vec<Delivery> + Send + 'static) -> Beside {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // Without a thread nothing is sent now, and the next command finds it in the outbox.
    let _ = std::thread::Builder::new().name("notify".into()).spawn(move || {
        let _ = sender.send(work());
    });
    Beside(receiver)
}

fn resend_until(inventory: &Inventory, deadline: Instant) -> Vec<Delivery> {
    if inventory.notify.channels.is_empty() {
        return Vec::new();
    }
    let now = Utc::now();
    let outboxes: Vec<Outbox> = newest_folders(&inventory.incidents)
        .iter()
        .filter_map(|folder| Outbox::left_behind(folder))
        .filter(|outbox| {
            let mut state = outbox.0.state();
            // Another environment's channels stand at the same places in its own config.
            state.items.retain(|item| {
                item.service == inventory.service.as_str()
                    && item.environment == inventory.environment.as_str()
                    && now - item.queued_at < TOO_OLD
            });
            state.items.iter().any(|item| !item.is_sent)
        })
        .collect();
    // All at once: one server that hangs must not take the time of all the others.
    std::thread::scope(|scope| {
        let sending: Vec<_> = outboxes
            .iter()
            .map(|outbox| {
                std::thread::Builder::new().spawn_scoped(scope, || outbox.deliver_until(&inventory.notify, deadline))
            })
            .collect();
        sending.into_iter().flatten().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

fn newest_folders(incidents: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(incidents) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| IncidentId::new(name.as_str()).is_ok())
        .collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.truncate(FOLDERS_LOOKED_AT);
    names.into_iter().map(|name| incidents.join(name)).collect()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that died while it held the lock left whole items behind: each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line, on disk before it returns. Where that fails the run goes on.
    fn write(&self, state: &mut State, item: &Item, stage: Stage, error: Option<String>) {
        let letter = (stage == Stage::Queued).then(|| Letter {
            service: item.service.clone(),
            environment: item.environment.clone(),
            payload: item.payload.clone(),
        });
        let line = Line {
            v: 1,
            time: if stage == Stage::Queued { item.queued_at } else { Utc::now() },
            id: item.id.clone(),
            channel: item.channel.clone(),
            state: stage,
            attempts: item.attempts,
            error,
            letter,
        };
        let Some(mut file) = self.file.as_ref() else { return };
        let written = serde_json::to_string(&line)
            .map_err(std::io::Error::from)
            .and_then(|text| file.write_all(format!("{text}\n").as_bytes()))
            .and_then(|()| file.sync_data());
        if let Err(err) = written {
            state.trouble = Some(format!("{OUTBOX}: {err}"));
        }
    }

    /// Notes what an attempt came to.
    fn settle(&self, item: &Item, outcome: &Result<Option<String>, String>) {
        let mut state = self.state();
        let found = state.items.iter_mut().find(|known| (&known.id, &known.channel) == (&item.id, &item.channel));
        let Some(known) = found else { return };
        known.attempts += 1;
        known.is_sent = known.is_sent || outcome.is_ok();
        let known = known.clone();
        let (stage, error) = match outcome {
            Ok(note) => (Stage::Sent, note.clone()),
            Err(why) => (Stage::Failed, Some(why.clone())),
        };
        self.write(&mut state, &known, stage, error);
    }

    /// Nobody waits any longer. The attempt itself goes on, and notes by itself if it gets through after all.
    fn give_up_waiting(&self, item: &Item, timeout: Duration) -> String {
        let seconds = timeout.as_secs_f64();
        let mut state = self.state();
        let is_on_its_way = state.busy.contains(&item.channel);
        let error = match is_on_its_way {
            true => format!("no answer within {seconds:.1} s; it may have arrived"),
            false => "it was not tried".to_owned(),
        };
        self.write(&mut state, item, Stage::Failed, Some(error.clone()));
        error
    }
}

/// All messages of one channel, one after the other.
struct Sending {
    shared: Arc<Shared>,
    key: String,
    channel: Channel,
    waiting: Vec<Item>,
    deadline: Instant,
    redactor: Redactor,
    done: mpsc::Sender<(Item, Result<(), String>)>,
}

impl Sending {
    fn run(self) {
        let Some(_turn) = Turn::take(&self.shared, &self.key, self.deadline) else { return };
        for item in &self.waiting {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let is_sent_by_now = self
                .shared
                .state()
                .items
                .iter()
                .any(|known| (&known.id, &known.channel) == (&item.id, &item.channel) && known.is_sent);
            if left.is_zero() {
                return;
            }
            let outcome = match is_sent_by_now {
                true => Ok(None),
                false => {
                    let outcome = send(&self.channel, item, left)
                        .map(|note| note.map(|note| self.plain(&note)))
                        .map_err(|why| self.plain(&why));
                    self.shared.settle(item, &outcome);
                    outcome
                }
            };
            let said = match outcome {
                Ok(None) => Ok(()),
                Ok(Some(note)) => Err(note),
                Err(why) => Err(why),
            };
            // Nobody listens any more when it was too late.
            let _ = self.done.send((item.clone(), said));
        }
    }

    /// Whatever a server says, on one line and without our secrets.
    fn plain(&self, said: &str) -> String {
        redact::cut(&redact::printable(self.redactor.text(said).trim()), 300)
    }
}

/// The right to send on a channel, given back also by a thread that dies.
struct Turn<'a> {
    shared: &'a Shared,
    key: &'a str,
}

impl<'a> Turn<'a> {
    /// Waits while an earlier message is on its way; in order is worth more than in time.
    fn take(shared: &'a Shared, key: &'a str, deadline: Instant) -> Option<Turn<'a>> {
        let mut state = shared.state();
        while state.busy.contains(key) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = shared.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.busy.insert(key.to_owned());
        Some(Turn { shared, key })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.state().busy.remove(self.key);
        self.shared.freed.notify_all();
    }
}

/// Sends one message, and says what is odd about it although it was taken.
fn send(channel: &Channel, item: &Item, limit: Duration) -> Result<Option<String>, String> {
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

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

struct Letterhead<'a> {
    id: &'a str,
    subject: &'a str,
    text: &'a str,
    date: DateTime<Utc>,
}

/// One mail to all recipients; when the server refuses it for one of them, to each by itself.
fn mail(
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
        .message_id(Some(message_id(head.id)))
        .header(header::ContentType::TEXT_PLAIN);
    if let Some(incident) = head.id.strip_suffix(".end") {
        let begin = message_id(&format!("{incident}.begin"));
        builder = builder.in_reply_to(begin.clone()).references(begin);
    }
    for address in &to {
        builder = builder.to(address.clone());
    }
    let mail = builder.body(head.text.to_owned()).map_err(|err| err.to_string())?;
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

/// What a line of the file says about each message.
fn items(text: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    // A line that was cut by a crash says nothing.
    for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        let known = items.iter_mut().find(|item| item.id == line.id && item.channel == line.channel);
        match (known, line.letter) {
            (Some(item), _) => {
                item.attempts = line.attempts;
                item.is_sent = item.is_sent || line.state == Stage::Sent;
            }
            (None, Some(letter)) => items.push(Item {
                id: line.id,
                channel: line.channel,
                service: letter.service,
                environment: letter.environment,
                queued_at: line.time,
                payload: letter.payload,
                attempts: line.attempts,
                is_sent: line.state == Stage::Sent,
            }),
            (None, None) => {}
        }
    }
    items
}

fn kind(channel: &Channel) -> &'static str {
    match channel {
        Channel::Slack { .. } => "slack",
        Channel::Email { .. } => "email",
        Channel::Webhook { .. } => "webhook",
    }
}

/// Every channel with the word that stands for it in the file.
fn keys(notify: &Notify) -> impl Iterator<Item = (String, &Channel)> {
    notify.channels.iter().enumerate().map(|(index, channel)| (format!("{index}-{}", kind(channel)), channel))
}

/// What people call a channel.
fn label(notify: &Notify, key: &str) -> String {
    let (index, word) = key.split_once('-').unwrap_or(("0", key));
    let of_this_kind = |upto: usize| notify.channels.iter().take(upto).filter(|channel| kind(channel) == word).count();
    match of_this_kind(notify.channels.len()) {
        0 | 1 => word.to_owned(),
        _ => format!("{word} {}", of_this_kind(index.parse().unwrap_or(0) + 1)),
    }
}

/// What must not be in the words of an error.
fn secrets_of(notify: &Notify) -> Redactor {
    let addresses = notify.channels.iter().map(|channel| match channel {
        Channel::Slack { webhook } => webhook.reveal(),
        Channel::Email { smtp, .. } => smtp.reveal(),
        Channel::Webhook { url } => url.reveal(),
    });
    Redactor::new(&[], addresses)
}
