//! When a release counts as bad, in numbers. What is measured, and what follows from it, is `judge`'s.

use std::time::Duration;

use serde::Serialize;

/// The rules that a side is judged by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rules {
    /// The absolute limits are held over it.
    pub window: Duration,
    /// No more than this share of a side's attempts may be errors: 0.05 is 5 %.
    pub error_share: Option<f64>,
    /// None of a side's quantiles may be slower.
    pub slow: Vec<SlowRule>,
    /// No more than 5 % of a side's requests may take longer than so many times the other side's p95.
    pub slower: Option<f64>,
    /// A side may be worse than the other by this before that counts: 0.01 is one point.
    pub worse_by: f64,
    /// Below so many attempts nothing is judged by them, whatever the intervals say.
    pub min_requests: u64,
}

/// `p99 = "2s"`: no more than one in a hundred may take longer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlowRule {
    /// `p99`
    pub name: &'static str,
    /// The share that may: 0.01 of a p99.
    pub share: f64,
    pub limit: Duration,
}

impl Rules {
    /// The limits for the time of one attempt, in milliseconds, in the order of the rules.
    pub fn limits_ms(&self) -> Vec<u64> {
        self.slow.iter().map(|rule| u64::try_from(rule.limit.as_millis()).unwrap_or(u64::MAX)).collect()
    }
}
