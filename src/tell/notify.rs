//! Sends the messages beside the work. It can neither fail nor delay the run: every attempt runs in a thread of its
//! own, a call waits at most `[notify] timeout`, and what did not get through is sent by the next command.
//!
//! `outbox` keeps what is to be sent in the incident folder, and what became of it; `send` carries one message to one
//! channel, `mail` where that is a mail server, `api` where it is a service that keeps something between two messages. Never writes what a channel's address is: that is where the secrets are.

mod api;
mod mail;
mod outbox;
mod send;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use chrono::Utc;

use crate::incident::alarm;
use crate::incident::folder;
use crate::incident::journal::Timed;
use crate::nouns::inventory::{Channel, Inventory, Notify};
use crate::nouns::record::Status;
use crate::nouns::redact::{self, Redactor};
use crate::tell::notify::api::Taken;
use crate::tell::notify::outbox::{Item, keys, kind};
use crate::tell::notify::send::send;

pub use crate::tell::notify::outbox::{OUTBOX, Outbox};
pub(in crate::tell) use crate::tell::notify::send::{Call, Lost, refusal};

/// Incidents further back than this are over; nobody waits for their messages.
const FOLDERS_LOOKED_AT: usize = 20;

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

impl Outbox {
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
            let waiting = self.unsent(&key);
            if waiting.is_empty() {
                continue;
            }
            open.extend(waiting.iter().cloned());
            let sending = Sending {
                outbox: self.clone(),
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
                    open.retain(|waiting| !waiting.is(&item));
                    deliveries.push(Delivery { channel: label(notify, &item.channel), message: item.id, outcome });
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        for item in open {
            let error = self.give_up_waiting(&item, notify.timeout);
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

/// What did not get through, in words.
pub fn failures(deliveries: Vec<Delivery>) -> Vec<String> {
    let failed = deliveries.into_iter().filter_map(|delivery| Some((delivery.channel, delivery.outcome.err()?)));
    failed.map(|(channel, why)| format!("{channel}: {why}")).collect()
}

/// Ends the step of sending.
pub fn end_step(step: Timed<'_, '_>, failures: &[String]) {
    if failures.is_empty() {
        step.end(Status::Done, "all messages were taken");
    } else {
        step.end(Status::Failed, format!("{}; the next command sends them again", failures.join("; ")));
    }
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
    let (of_runs, of_watches) = (folder::newest_first(&inventory.incidents), alarm::folders(&inventory.incidents));
    let outboxes: Vec<Outbox> = of_runs
        .iter()
        .take(FOLDERS_LOOKED_AT)
        .chain(of_watches.iter().take(FOLDERS_LOOKED_AT))
        .filter_map(|folder| Outbox::left_behind(folder))
        .filter(|outbox| outbox.keep_only_of(inventory, now))
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

/// All messages of one channel, one after the other.
struct Sending {
    outbox: Outbox,
    key: String,
    channel: Channel,
    waiting: Vec<Item>,
    deadline: Instant,
    redactor: Redactor,
    done: mpsc::Sender<(Item, Result<(), String>)>,
}

impl Sending {
    fn run(self) {
        let Some(_turn) = self.outbox.turn(&self.key, self.deadline) else { return };
        for item in &self.waiting {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let outcome = match self.outbox.is_sent_by_now(item) {
                true => Ok(Taken::default()),
                false => {
                    let receipt = self.outbox.receipt(&self.key);
                    let outcome = send(&self.channel, item, receipt.as_deref(), self.outbox.folder(), left)
                        .map(|taken| Taken { note: taken.note.map(|note| self.plain(&note)), ..taken })
                        .map_err(|why| self.plain(&why));
                    self.outbox.settle(item, &outcome);
                    outcome
                }
            };
            let said = match outcome {
                Ok(Taken { note: None, .. }) => Ok(()),
                Ok(Taken { note: Some(note), .. }) => Err(note),
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

/// What people call a channel.
fn label(notify: &Notify, key: &str) -> String {
    let (index, word) = key.split_once('-').unwrap_or(("0", key));
    let of_this_kind = |upto: usize| notify.channels.iter().take(upto).filter(|channel| kind(channel) == word).count();
    match of_this_kind(notify.channels.len()) {
        0 | 1 => word.to_owned(),
        _ => format!("{word} {}", of_this_kind(index.parse().unwrap_or(0) + 1)),
    }
}

/// Whether anybody is told by one of these that something is bad, and not only a graph or the public.
pub fn reaches_people(notify: &Notify) -> bool {
    notify.channels.iter().any(|channel| match channel {
        Channel::Slack { .. }
        | Channel::SlackThread { .. }
        | Channel::Email { .. }
        | Channel::Webhook { .. }
        | Channel::PagerDuty { .. } => true,
        Channel::Statuspage { .. } | Channel::Alertmanager { .. } | Channel::Grafana { .. } => false,
    })
}

/// What must not be in the words of an error.
fn secrets_of(notify: &Notify) -> Redactor {
    let secrets = notify.channels.iter().filter_map(|channel| Some(channel.secret()?.reveal()));
    Redactor::new(&[], secrets)
}
