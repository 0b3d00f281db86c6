//! The only place that reads a clock. Durations come from the monotonic one, so that a wall clock that is set
//! meanwhile cannot bend them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Began when the process did.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    began_at: DateTime<Utc>,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { began: Instant::now(), began_at: Utc::now() }
    }

    pub fn began_at(&self) -> DateTime<Utc> {
        self.began_at
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The same as [`Clock::now`] in whole seconds since 1970.
    pub fn seconds(&self) -> u64 {
        u64::try_from(self.now().timestamp()).unwrap_or(0)
    }

    /// The time of the beginning and what has passed since.
    pub fn now(&self) -> DateTime<Utc> {
        self.began_at + self.began.elapsed()
    }
}
