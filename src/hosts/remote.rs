//! What it means to ask a host and to change it, without saying how: the traits [`Ask`] and [`Apply`]. A reader that may
//! only ask holds a [`ReadOnly`], which has no `apply`: consent to a plan is what unlocks it. Never names ssh, and never
//! decides anything.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::answer::{Answer, Failure};
use super::program::{Change, Question};
use crate::nouns::consent::Confirmed;
use crate::nouns::names::HostName;
use crate::nouns::plan::Plan;

/// Asks hosts; cannot change them.
pub trait Ask: Sync {
    /// One question, one answer.
    ///
    /// # Errors
    /// [`Failure`]; a script that ends with a status other than 0 is an answer.
    fn ask(&self, host: &HostName, question: &Question) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// A question whose answer is a stream of bytes, given to `sink` as they come; the status is the script's.
    ///
    /// # Errors
    /// [`Failure`]; also when `sink` fails, which ends the stream.
    fn stream(
        &self,
        host: &HostName,
        question: &Question,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> impl Future<Output = Result<i32, Failure>> + Send;
}

/// Changes hosts.
pub trait Apply: Ask {
    /// One change, one answer.
    ///
    /// # Errors
    /// [`Failure`]; see there what is known then.
    fn apply(&self, host: &HostName, change: &Change) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// A change that lasts as long as what it returns: the lock.
    ///
    /// # Errors
    /// As [`Apply::apply`].
    fn hold(&self, host: &HostName, change: &Change) -> impl Future<Output = Result<(Answer, Held), Failure>> + Send;
}

/// Something held on a host until it is dropped or [`Held::release`]d.
#[derive(Default)]
pub struct Held {
    lost: Arc<AtomicBool>,
    release: Option<tokio::sync::oneshot::Sender<()>>,
    done: Option<tokio::task::JoinHandle<()>>,
}

impl Held {
    pub fn new(
        lost: Arc<AtomicBool>,
        release: tokio::sync::oneshot::Sender<()>,
        done: tokio::task::JoinHandle<()>,
    ) -> Held {
        Held { lost, release: Some(release), done: Some(done) }
    }

    /// Whether somebody else holds it by now.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether its channel has ended: the host may have given it to nobody, and nobody keeps it for us any more.
    pub fn is_gone(&self) -> bool {
        !self.is_lost() && self.done.as_ref().is_some_and(tokio::task::JoinHandle::is_finished)
    }

    /// Gives it back, and waits for that at most a second.
    pub async fn release(mut self) {
        drop(self.release.take());
        if let Some(done) = self.done.take() {
            // A host that cannot even say goodbye loses the lock with its channel.
            let _ = tokio::time::timeout(Duration::from_secs(1), done).await;
        }
    }
}

/// Hosts that may only be asked. What is inside comes out against a consent, and only then.
pub struct ReadOnly<F>(F);

impl<F> ReadOnly<F> {
    pub fn new(fleet: F) -> Self {
        Self(fleet)
    }

    /// The hosts as something that can be changed, for the plans that were consented to; `None` for any other.
    pub fn unlock<'p>(self, consents: impl IntoIterator<Item = (&'p Confirmed, &'p Plan)>) -> Option<F> {
        consents.into_iter().all(|(consent, plan)| consent.covers(plan)).then_some(self.0)
    }
}

impl<F: Ask> Ask for ReadOnly<F> {
    fn ask(&self, host: &HostName, question: &Question) -> impl Future<Output = Result<Answer, Failure>> + Send {
        self.0.ask(host, question)
    }

    fn stream(
        &self,
        host: &HostName,
        question: &Question,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> impl Future<Output = Result<i32, Failure>> + Send {
        self.0.stream(host, question, sink)
    }
}
