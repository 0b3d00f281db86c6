//! What a share that was counted says of the one behind it: intervals, in which it lies in 95 of 100 such counts.

use serde::Serialize;

/// So many bad ones of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    pub bad: u64,
    pub of: u64,
}

/// Where a share, or a difference of two, may lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Standard deviations on both sides for 95 of 100.
const Z: f64 = 1.959_964;
/// On both sides for 999 of 1000.
const SURE: f64 = 3.290_527;

impl Counted {
    /// `None` of nothing.
    pub fn share(self) -> Option<f64> {
        (self.of > 0).then(|| self.bad as f64 / self.of as f64)
    }

    /// Wilson's interval (1927), good also of few and of none that are bad; `None` of nothing.
    ///
    /// `centre ± half`, with `centre = (p + z²/2n) / (1 + z²/n)` and
    /// `half = z / (1 + z²/n) · √(p(1 − p)/n + z²/4n²)`.
    pub fn interval(self) -> Option<Interval> {
        self.interval_at(Z)
    }

    /// The same for 999 of 1000.
    pub fn sure_interval(self) -> Option<Interval> {
        self.interval_at(SURE)
    }

    fn interval_at(self, z: f64) -> Option<Interval> {
        let p = self.share()?;
        let n = self.of as f64;
        let z2 = z * z;
        let scale = 1.0 + z2 / n;
        let centre = (p + z2 / (2.0 * n)) / scale;
        let half = z / scale * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        // Of none and of all the sums leave a last bit.
        let low = if self.bad == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if self.bad == self.of { 1.0 } else { (centre + half).min(1.0) };
        Some(Interval { low, high })
    }

    /// By how much this share is larger than another one, and between which bounds: Newcombe's hybrid score (1998,
    /// method 10), made of the two intervals of Wilson. `None` where either is of nothing.
    pub fn minus(self, other: Counted) -> Option<(f64, Interval)> {
        self.minus_at(other, Z)
    }

    /// Whether it is larger than another one, by chance in less than one of a thousand.
    pub fn is_surely_above(self, other: Counted) -> bool {
        self.minus_at(other, SURE).is_some_and(|(_, between)| between.low > 0.0)
    }

    fn minus_at(self, other: Counted, z: f64) -> Option<(f64, Interval)> {
        let (p, q) = (self.share()?, other.share()?);
        let (of_p, of_q) = (self.interval_at(z)?, other.interval_at(z)?);
        let difference = p - q;
        Some((
            difference,
            Interval {
                low: difference - (p - of_p.low).hypot(of_q.high - q),
                high: difference + (of_p.high - p).hypot(q - of_q.low),
            },
        ))
    }

    /// How many there must be, at about the same share, until the interval lies below a limit; `None` where it never will.
    pub fn needed_below(self, limit: f64) -> Option<u64> {
        let share = self.share().unwrap_or(0.0);
        if share >= limit {
            return None;
        }
        let lies_below = |of: u64| {
            let bad = (share * of as f64).round() as u64;
            Counted { bad, of }.interval().is_some_and(|interval| interval.high < limit)
        };
        let mut of = self.of.max(1);
        while !lies_below(of) {
            of = of + of / 8 + 1;
            if of > 100_000_000 {
                return None;
            }
        }
        Some(of)
    }
}

impl std::ops::Add for Counted {
    type Output = Counted;

    fn add(self, other: Counted) -> Counted {
        Counted { bad: self.bad + other.bad, of: self.of + other.of }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 0.0005
    }

    #[test]
    fn intervals_are_those_of_the_books() {
        // Newcombe 1998 (one sample), table I: Wilson without correction.
        for (bad, of, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let found = Counted { bad, of }.interval().expect("there are some");
            assert!(close(found.low, low) && close(found.high, high), "{bad} of {of}: {found:?}");
        }
        // Newcombe 1998 (two samples), table II, method 10.
        for (a, b, low, high) in
            [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 10), 0.6075, 1.0)]
        {
            let (_, found) =
                Counted { bad: a.0, of: a.1 }.minus(Counted { bad: b.0, of: b.1 }).expect("there are some");
            assert!(close(found.low, low) && close(found.high, high), "{a:?} {b:?}: {found:?}");
        }
    }

    #[test]
    fn so_many_clean_ones_prove_a_limit() {
        for (limit, wanted) in [(0.05, 73), (0.01, 381)] {
            let needed = Counted::default().needed_below(limit).expect("some will do");
            assert!(Counted { bad: 0, of: wanted }.interval().expect("some").high < limit);
            assert!(Counted { bad: 0, of: wanted - 1 }.interval().expect("some").high >= limit);
            assert!((wanted..wanted * 9 / 8 + 2).contains(&needed), "{limit}: {needed}");
        }
        assert_eq!(Counted { bad: 6, of: 100 }.needed_below(0.05), None);
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share_and_more_errors_move_it_up(of in 1_u64..100_000, part in 0.0..1.0_f64) {
            let bad = (part * of as f64) as u64;
            let counted = Counted { bad, of };
            let interval = counted.interval().expect("there are some");
            let share = counted.share().expect("there are some");
            prop_assert!(0.0 <= interval.low && interval.low <= share && share <= interval.high && interval.high <= 1.0);
            if bad < of {
                let more = Counted { bad: bad + 1, of }.interval().expect("there are some");
                prop_assert!(more.low >= interval.low && more.high >= interval.high);
            }
        }
    }
}
