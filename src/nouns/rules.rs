//! When a release counts as bad, in numbers, and what was thought of one. What is measured, and how it is judged, is `judge`'s.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::colour::{Colour, Each};

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

/// How a side is judged beside its requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judging {
    pub rules: Rules,
    /// So many bad answers in a row to a health URL.
    pub health: u32,
    /// So many restarts of its unit, container or process within five minutes.
    pub restarts: u32,
    /// What may not stand too often in a side's own log.
    pub log: Option<LogRule>,
    /// Run here against a side before it gets its first share.
    pub smoke: Option<String>,
}

/// `log_errors = "10/1000"`: of the newest 1000 lines no more than 10 may match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogRule {
    pub most: u64,
    pub lines: u64,
    /// For `grep -E`.
    pub pattern: String,
    /// Whether upper and lower case are one.
    pub folds_case: bool,
}

/// After a rollback the side that serves is judged for so long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bake {
    pub lasts: Duration,
    pub judging: Judging,
    /// Whether the config says so, and not a flag alone.
    pub is_always: bool,
}

/// What is thought of a side. Three answers, never two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    Bad,
    Good,
    NotEnoughData,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// As the config calls it: `error_share`.
    pub rule: String,
    pub opinion: Opinion,
    /// `green 8.0 % of 412 (95 %: 5.8–11.0): bad, limit 5 %`
    pub words: String,
}

/// What a side did since it is judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SideFigures {
    pub tried: u64,
    pub bad: u64,
    /// Milliseconds; `None` of too few with a known time.
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub p99_ms: Option<u64>,
}

/// What all rules say at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub judged: Colour,
    pub opinion: Opinion,
    /// The one line that decides, to be read aloud.
    pub words: String,
    pub findings: Vec<Finding>,
    pub sides: Each<SideFigures>,
    /// Seconds since it began, and of how many.
    pub after_s: u64,
    pub of_s: u64,
}

impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Opinion::Bad => "bad",
            Opinion::Good => "good",
            Opinion::NotEnoughData => "not enough data",
        })
    }
}
