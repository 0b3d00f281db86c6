//! Whose turn the traffic is: while the plan's lane moves it, nothing is put back beneath it. Moves nothing itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::nouns::names::HostName;

/// Whether the traffic's lane is at work: nothing is put back beneath it.
pub struct Watched {
    lane: watch::Sender<bool>,
    /// Hosts on which it was started again and would not live: they are looked at, and left alone.
    given_up: Mutex<BTreeSet<HostName>>,
    /// Whether migrations are being taken back.
    goes_down: AtomicBool,
}

impl Default for Watched {
    fn default() -> Watched {
        Watched { lane: watch::channel(false).0, given_up: Mutex::default(), goes_down: AtomicBool::new(false) }
    }
}

impl Watched {
    pub(super) fn lane_begins(&self) {
        self.lane.send_replace(true);
    }

    pub(super) fn lane_is_over(&self) {
        self.lane.send_replace(false);
    }

    pub(super) fn is_at_work(&self) -> bool {
        *self.lane.borrow()
    }

    pub(super) fn goes_down(&self, does: bool) {
        self.goes_down.store(does, Ordering::Relaxed);
    }

    pub(super) fn is_going_down(&self) -> bool {
        self.goes_down.load(Ordering::Relaxed)
    }

    pub(super) fn given_up(&self) -> MutexGuard<'_, BTreeSet<HostName>> {
        // A panic while it was held would have left a set that is whole all the same.
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn until_the_lane_is_over(&self) {
        // The sender lives in the same value: there is always an answer.
        let _ = self.lane.subscribe().wait_for(|is_at_work| !is_at_work).await;
    }
}
