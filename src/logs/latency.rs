//! How long requests took, as counts that add up: every millisecond up to 50, then steps of two percent. A quantile is
//! known to two percent that way, whoever measured which part of it.

use std::collections::BTreeMap;

/// Up to here every millisecond is a step of its own.
const EXACT: u64 = 50;
/// Each further step is larger by this.
const GROWTH: f64 = 1.02;
/// Ten minutes: whatever took longer took as long.
const LONGEST: u64 = 600_000;

/// Counts of times, by their step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency {
    pub steps: BTreeMap<u16, u64>,
}

/// The step of a time.
pub fn step_of(ms: u64) -> u16 {
    if ms <= EXACT {
        return u16::try_from(ms).unwrap_or(0);
    }
    let above = (ms.min(LONGEST) as f64 / EXACT as f64).ln() / GROWTH.ln();
    // The edge of a step belongs to it; a rounding of the logarithm must not put it into the next one.
    let step = (above - 1e-9).ceil();
    EXACT as u16 + step as u16
}

/// The longest time of a step, in milliseconds.
pub fn longest_of(step: u16) -> u64 {
    let above = u64::from(step).saturating_sub(EXACT);
    if above == 0 { u64::from(step) } else { (EXACT as f64 * GROWTH.powf(above as f64) + 1e-6).floor() as u64 }
}

impl Latency {
    pub fn add(&mut self, ms: u64) {
        *self.steps.entry(step_of(ms)).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Latency) {
        for (step, count) in &other.steps {
            *self.steps.entry(*step).or_default() += count;
        }
    }

    pub fn count(&self) -> u64 {
        self.steps.values().sum()
    }

    /// How many took longer than that: those of all steps above it. Of a time between two edges a part of one step, two
    /// percent wide, is taken for faster.
    pub fn above(&self, ms: u64) -> u64 {
        self.steps.range(step_of(ms) + 1..).map(|(_, count)| count).sum()
    }

    /// The time that so large a share of them did not take longer than, in milliseconds; `None` of none.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut so_far = 0;
        for (step, count) in &self.steps {
            so_far += count;
            if so_far >= wanted {
                return Some(longest_of(*step));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_what_it_says_and_is_two_percent_wide() {
        let mut last = 0;
        for ms in (0..3000).chain((3000..LONGEST).step_by(997)) {
            let step = step_of(ms);
            assert!(step >= last, "{ms} ms");
            last = step;
            let longest = longest_of(step);
            assert!(longest >= ms && longest as f64 <= (ms as f64 * GROWTH).max(ms as f64) + 1.0, "{ms} ms: {longest}");
        }
        assert_eq!(step_of(LONGEST), step_of(u64::MAX));
    }

    #[test]
    fn quantiles_of_known_times_are_found() {
        let mut one = Latency::default();
        let mut other = Latency::default();
        for ms in 1..=1000 {
            if ms % 3 == 0 { one.add(ms) } else { other.add(ms) }
        }
        one.merge(&other);
        assert_eq!(one.count(), 1000);
        for (share, exact) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let found = one.quantile(share).expect("there are some") as f64;
            assert!((exact..exact * 1.021).contains(&found), "{share}: {found}");
        }
        assert_eq!(Latency::default().quantile(0.5), None);
        assert!(one.above(500).abs_diff(500) <= 10, "{}", one.above(500));
        assert_eq!(one.above(20), 980);
    }
}
