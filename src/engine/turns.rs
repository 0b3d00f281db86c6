//! Whose turn it is where a run has several services: nothing is changed before the locks of all are held, no traffic moves
//! before what all of them go to is proven, and then it moves for one after the other. Moves nothing itself.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a service is, in the order in which it comes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    Begun,
    /// The locks are held, and nginx accepts what it is to read.
    Locked,
    /// What traffic goes to is proven.
    Ready,
    /// Traffic is where it should be, proven.
    Safe,
    /// What it moved is back, where that was to be; only what nobody waits for is left to do.
    Back,
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Stand {
    point: Point,
    is_well: bool,
}

/// A service's place among those of a run; most runs have one.
pub struct Turn {
    stands: Arc<[watch::Sender<Stand>]>,
    place: usize,
    is_all_or_nothing: bool,
}

/// The turns of so many services, in the order in which they go.
pub fn turns(count: usize, is_all_or_nothing: bool) -> Vec<Turn> {
    let begun = || watch::channel(Stand { point: Point::Begun, is_well: true }).0;
    let stands: Arc<[watch::Sender<Stand>]> = (0..count).map(|_| begun()).collect();
    (0..count).map(|place| Turn { stands: Arc::clone(&stands), place, is_all_or_nothing }).collect()
}

impl Turn {
    /// Says that this service has come there, or that it never will.
    pub(super) fn reach(&self, point: Point, is_well: bool) {
        self.stands[self.place].send_modify(|stand| {
            stand.point = stand.point.max(point);
            stand.is_well &= is_well;
        });
    }

    /// Says that this service moves nothing any more. Where it was never safe it never will be.
    pub(super) fn rest(&self, point: Point) {
        let is_safe = self.stands[self.place].borrow().point >= Point::Safe;
        self.reach(point, is_safe);
    }

    /// Whether all services have come there: the answer is no as soon as one never will.
    pub(super) async fn all(&self, point: Point) -> bool {
        for stand in self.stands.iter() {
            if !has_come(stand, point).await {
                return false;
            }
        }
        true
    }

    /// Waits for the services that go before this one; whether their traffic is where it should be.
    pub(super) async fn mine(&self) -> bool {
        for stand in &self.stands[..self.place] {
            if !has_come(stand, Point::Safe).await {
                return false;
            }
        }
        true
    }

    /// Whether what this service has come to stays: where all or nothing is asked for, that is known once all have come there.
    /// Those that went after it have put back by then what they moved.
    pub(super) async fn stays(&self) -> bool {
        if !self.is_all_or_nothing || self.all(Point::Safe).await {
            return true;
        }
        for stand in &self.stands[self.place + 1..] {
            until(stand, Point::Back).await;
        }
        false
    }

    /// Returns once every service of the run is over, well or not.
    pub async fn until_all_are_over(&self) {
        for stand in self.stands.iter() {
            until(stand, Point::Over).await;
        }
    }

    /// When the value is dropped this service is over, however that came.
    pub(super) fn until_over(&self) -> UntilOver<'_> {
        UntilOver(self)
    }
}

async fn until(stand: &watch::Sender<Stand>, point: Point) {
    // The sender lives longer than this: there is always an answer.
    let _ = stand.subscribe().wait_for(|stand| stand.point >= point).await;
}

async fn has_come(stand: &watch::Sender<Stand>, point: Point) -> bool {
    let mut stands = stand.subscribe();
    // The sender lives longer than this: there is always an answer.
    let stand = stands.wait_for(|stand| !stand.is_well || stand.point >= point).await;
    stand.is_ok_and(|stand| stand.is_well)
}

pub(super) struct UntilOver<'t>(&'t Turn);

impl Drop for UntilOver<'_> {
    fn drop(&mut self) {
        self.0.rest(Point::Over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rests_without_having_come_there_is_never_taken_for_ready() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let all = turns(2, false);
        all[0].reach(Point::Ready, true);
        all[1].reach(Point::Locked, true);
        assert!(runtime.block_on(all[0].all(Point::Locked)));
        all[1].rest(Point::Back);
        assert!(!runtime.block_on(all[0].all(Point::Ready)), "it is back, and was never ready");
        all[0].reach(Point::Safe, true);
        all[0].rest(Point::Back);
        assert!(runtime.block_on(all[1].mine()), "it was safe before it rested");
    }
}
