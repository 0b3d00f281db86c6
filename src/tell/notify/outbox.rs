//! The messages of one incident as they are kept on disk, and what became of each: one line for every change, on disk
//! before anything else happens. Never sends one, and never writes what a channel's address is.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::nouns::inventory::{Channel, Inventory, Notify};
use crate::tell::message::{Event, Gist, Message};
use crate::tell::notify::api::{self, Taken};

/// The outbox's file in the incident folder. It grows when a message is sent later, so it has no place in SHA256SUMS.
pub const OUTBOX: &str = "outbox.jsonl";

/// A message that is older confuses more than it helps.
const TOO_OLD: TimeDelta = TimeDelta::hours(24);

/// A run writes a handful of lines; a file that is larger is not ours.
const LARGEST_OUTBOX: u64 = 4 * 1024 * 1024;

/// The messages of one incident, and what became of them.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    folder: PathBuf,
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
pub(super) struct Item {
    pub(super) id: String,
    /// The channel's place in the config and its kind: `0-slack`.
    pub(super) channel: String,
    service: String,
    environment: String,
    pub(super) queued_at: DateTime<Utc>,
    pub(super) payload: Payload,
    attempts: u32,
    is_sent: bool,
    /// What the service calls what it keeps.
    receipt: Option<String>,
}

/// A message that was told already, told once more.
fn again(id: &str) -> String {
    format!("{id}-2")
}

/// What one kind of channel needs of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Payload {
    Slack {
        body: Value,
    },
    Email {
        subject: String,
        text: String,
        /// Whether the incident's page goes with it, as it is by then.
        #[serde(default)]
        has_page: bool,
    },
    Webhook {
        body: Value,
    },
    /// For a service that keeps something of it.
    Kept {
        gist: Box<Gist>,
        slack: Value,
    },
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
    receipt: Option<String>,
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
                Outbox::read(folder, file)
            }
            Err(err) => {
                let state = State { trouble: Some(format!("{OUTBOX}: {err}")), ..State::default() };
                let folder = folder.to_owned();
                Outbox(Arc::new(Shared { folder, file: None, state: Mutex::new(state), freed: Condvar::new() }))
            }
        }
    }

    /// The outbox that an earlier run left; nothing when there is none, or when that run is still at it.
    pub(super) fn left_behind(folder: &Path) -> Option<Outbox> {
        let file = OpenOptions::new().read(true).append(true).open(folder.join(OUTBOX)).ok()?;
        file.try_lock().ok()?;
        Some(Outbox::read(folder, file))
    }

    /// Whether a process is at it that may still send from it.
    pub fn is_held(folder: &Path) -> bool {
        let Ok(file) = OpenOptions::new().read(true).open(folder.join(OUTBOX)) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }

    fn read(folder: &Path, mut file: File) -> Outbox {
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
        let folder = folder.to_owned();
        Outbox(Arc::new(Shared { folder, file: Some(file), state: Mutex::new(state), freed: Condvar::new() }))
    }

    /// Why the file does not say what happened, if so; a gap in the report.
    pub fn trouble(&self) -> Option<String> {
        self.0.state().trouble.clone()
    }

    /// Puts a message in for every channel. The same message is never put in twice; one that says something else by now is, once.
    pub fn post(&self, notify: &Notify, message: &Message) {
        for (key, channel) in keys(notify).filter(|(_, channel)| api::is_told(channel, &message.gist)) {
            let payload = match channel {
                Channel::Slack { .. } => Payload::Slack { body: message.slack.clone() },
                Channel::Email { .. } => {
                    let has_page = !matches!(message.gist.event, Event::Begin | Event::Bad | Event::Paged);
                    Payload::Email { subject: message.subject.clone(), text: message.text.clone(), has_page }
                }
                Channel::Webhook { .. } => Payload::Webhook { body: message.webhook.clone() },
                Channel::SlackThread { .. }
                | Channel::PagerDuty { .. }
                | Channel::Statuspage { .. }
                | Channel::Alertmanager { .. }
                | Channel::Grafana { .. } => {
                    Payload::Kept { gist: Box::new(message.gist.clone()), slack: message.slack.clone() }
                }
            };
            let mut state = self.0.state();
            let of_it = |item: &&Item| item.channel == key && (item.id == message.id || item.id == again(&message.id));
            let known = state.items.iter().filter(of_it).count();
            if state.items.iter().any(|item| of_it(&item) && item.payload == payload) || known > 1 {
                continue;
            }
            // What was told is not true any more: it is told once more.
            let item = Item {
                id: if known == 0 { message.id.clone() } else { again(&message.id) },
                channel: key,
                service: message.service.clone(),
                environment: message.environment.clone(),
                queued_at: Utc::now(),
                payload,
                attempts: 0,
                is_sent: false,
                receipt: None,
            };
            self.0.write(&mut state, &item, Stage::Queued, None);
            state.items.push(item);
        }
    }

    /// Whether a message was put in, by whatever process.
    pub fn knows(&self, id: &str) -> bool {
        self.0.state().items.iter().any(|item| item.id == id)
    }

    /// What did not get through yet on a channel, in order.
    pub(super) fn unsent(&self, key: &str) -> Vec<Item> {
        self.0.state().items.iter().filter(|item| item.channel == key && !item.is_sent).cloned().collect()
    }

    /// Forgets, for this process, what is too old or of another config, and says whether anything is left to send.
    pub fn keep_only_of(&self, inventory: &Inventory, now: DateTime<Utc>) -> bool {
        let mut state = self.0.state();
        // Another environment's channels stand at the same places in its own config.
        state.items.retain(|item| {
            item.service == inventory.group.as_str()
                && item.environment == inventory.environment.as_str()
                && now - item.queued_at < TOO_OLD
        });
        state.items.iter().any(|item| !item.is_sent)
    }

    /// What an earlier message of the incident got on a channel.
    pub(super) fn receipt(&self, key: &str) -> Option<String> {
        self.0.state().items.iter().filter(|item| item.channel == key).find_map(|item| item.receipt.clone())
    }

    /// Where it is kept.
    pub(super) fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Somebody else may have got it through meanwhile.
    pub(super) fn is_sent_by_now(&self, item: &Item) -> bool {
        self.0.state().items.iter().any(|known| known.is(item) && known.is_sent)
    }

    /// The right to send on a channel. Waits while an earlier message is on its way; in order is worth more than in time.
    pub(super) fn turn<'a>(&'a self, key: &'a str, deadline: Instant) -> Option<Turn<'a>> {
        let shared = self.0.as_ref();
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

    /// Notes what an attempt came to.
    pub(super) fn settle(&self, item: &Item, outcome: &Result<Taken, String>) {
        let mut state = self.0.state();
        let found = state.items.iter_mut().find(|known| known.is(item));
        let Some(known) = found else { return };
        known.attempts += 1;
        known.is_sent = known.is_sent || outcome.is_ok();
        if let Ok(Taken { receipt: Some(receipt), .. }) = outcome {
            known.receipt.get_or_insert_with(|| receipt.clone());
        }
        let known = known.clone();
        let (stage, error) = match outcome {
            Ok(taken) => (Stage::Sent, taken.note.clone()),
            Err(why) => (Stage::Failed, Some(why.clone())),
        };
        self.0.write(&mut state, &known, stage, error);
    }

    /// Nobody waits any longer. The attempt itself goes on, and notes by itself if it gets through after all.
    pub(super) fn give_up_waiting(&self, item: &Item, timeout: Duration) -> String {
        let seconds = timeout.as_secs_f64();
        let mut state = self.0.state();
        let is_on_its_way = state.busy.contains(&item.channel);
        let error = match is_on_its_way {
            true => format!("no answer within {seconds:.1} s; it may have arrived"),
            false => "it was not tried".to_owned(),
        };
        self.0.write(&mut state, item, Stage::Failed, Some(error.clone()));
        error
    }
}

impl Item {
    /// The same message on the same channel.
    pub(super) fn is(&self, other: &Item) -> bool {
        (&self.id, &self.channel) == (&other.id, &other.channel)
    }
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
            receipt: item.receipt.clone(),
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
}

/// The right to send on a channel, given back also by a thread that dies.
pub(super) struct Turn<'a> {
    shared: &'a Shared,
    key: &'a str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.state().busy.remove(self.key);
        self.shared.freed.notify_all();
    }
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
                item.receipt = item.receipt.take().or(line.receipt);
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
                receipt: line.receipt,
            }),
            (None, None) => {}
        }
    }
    items
}

pub(super) fn kind(channel: &Channel) -> &'static str {
    match channel {
        Channel::Slack { .. } => "slack",
        Channel::Email { .. } => "email",
        Channel::Webhook { .. } => "webhook",
        Channel::SlackThread { .. } => "slack thread",
        Channel::PagerDuty { .. } => "pagerduty",
        Channel::Statuspage { .. } => "statuspage",
        Channel::Alertmanager { .. } => "alertmanager",
        Channel::Grafana { .. } => "grafana",
    }
}

/// Every channel with the word that stands for it in the file.
pub(super) fn keys(notify: &Notify) -> impl Iterator<Item = (String, &Channel)> {
    notify.channels.iter().enumerate().map(|(index, channel)| (format!("{index}-{}", kind(channel)), channel))
}
