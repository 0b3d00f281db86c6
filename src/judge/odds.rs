//! Is one side worse than the other at the same time? A test that may be looked at as often as one likes.
//!
//! While both are equally good, an error falls on the judged side by chance: with the share `w` of the attempts that it had in
//! those ten seconds. Were its odds of an error `r` times as high, it would be `r·w / (r·w + 1 − w)`. So each error multiplies
//! what speaks for `r` by `r / (r·w + 1 − w)` where it fell on the judged side, and by `1 / (r·w + 1 − w)` where not. Under
//! "equally good" the expectation of that factor is `w·r/(…) + (1 − w)/(…) = 1`, whatever `w` is and whatever came before, and
//! under "better" it is less: the product over all errors is a supermartingale that begins at 1, and so is the mean of such
//! products over several `r`. By Ville's inequality (1939) the chance that it *ever* comes to `1/α` is at most `α`, however
//! often one looks and whenever one stops. Only errors count, so a blip that hits both sides alike speaks for nobody; and `w`
//! may change with every tick, as it does while traffic is shifted.
//!
//! The family is that of Lindon, Sanden and Shirikian, "Rapid Regression Detection in Software Deployments through Sequential
//! Testing" (arXiv 2205.14762), which watches canaries at Netflix; a mixture over fixed ratios needs no special function, and
//! takes a `w` that changes.

/// The ratios of odds that are held against "equally good", alike before anything was seen.
const RATIOS: [f64; 12] = [1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 16.0, 25.0, 50.0, 100.0, 250.0, 1000.0];

/// What speaks for each ratio, as logarithms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Odds {
    ln: [f64; RATIOS.len()],
}

impl Odds {
    /// Takes in the errors of one tick: those of the judged side, those of the other, and the judged side's share of the
    /// attempts, 0 to 1.
    pub fn see(&mut self, errors: u64, others: u64, weight: f64) {
        // Of whom nothing was asked, or nobody else was: nothing is to be learnt of who is worse.
        if !(weight > 0.0 && weight < 1.0) {
            return;
        }
        let (errors, others) = (errors as f64, others as f64);
        for (ln, ratio) in self.ln.iter_mut().zip(RATIOS) {
            *ln += errors * ratio.ln() - (errors + others) * (ratio * weight + 1.0 - weight).ln();
        }
    }

    /// The logarithm of how much speaks for "worse" against "not worse".
    pub fn ln_evidence(&self) -> f64 {
        let highest = self.ln.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.ln.iter().map(|ln| (ln - highest).exp()).sum();
        highest + (sum / RATIOS.len() as f64).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(errors: u64, others: u64, weight: f64) -> f64 {
        let mut odds = Odds::default();
        odds.see(errors, others, weight);
        odds.ln_evidence().exp()
    }

    #[test]
    fn errors_that_all_fall_on_a_small_share_speak_loudly() {
        assert!((evidence(0, 0, 0.1) - 1.0).abs() < 1e-9);
        // How many, all on the judged side, until a hundred to one.
        for (weight, wanted) in [(0.01, 2), (0.05, 2), (0.10, 3), (0.25, 4), (0.50, 8)] {
            let first = (1..100).find(|errors| evidence(*errors, 0, weight) >= 100.0);
            assert_eq!(first, Some(wanted), "at a share of {weight}");
        }
        // As they should fall, and on the other side.
        assert!(evidence(10, 90, 0.1) < 1.0);
        assert!(evidence(0, 90, 0.1) < 0.1);
        assert!((evidence(50, 0, 1.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn one_more_error_never_speaks_for_the_side_and_order_does_not_matter() {
        for weight in [0.01, 0.1, 0.5, 0.9] {
            for errors in 0..40 {
                assert!(evidence(errors + 1, 20, weight) > evidence(errors, 20, weight));
                assert!(evidence(errors, 21, weight) < evidence(errors, 20, weight));
            }
        }
        let (mut one, mut other) = (Odds::default(), Odds::default());
        one.see(3, 1, 0.1);
        one.see(1, 9, 0.5);
        other.see(1, 9, 0.5);
        other.see(3, 1, 0.1);
        assert!((one.ln_evidence() - other.ln_evidence()).abs() < 1e-9);
    }

    /// The claim of the inequality, in numbers: of harmless runs that are looked at after every error, hardly any ever comes
    /// to a hundred to one.
    #[test]
    fn whoever_looks_after_every_error_is_hardly_ever_fooled() {
        let mut state = 7_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut fooled = 0;
        let runs = 2000;
        for _ in 0..runs {
            let mut odds = Odds::default();
            fooled += u32::from((0..300).any(|n| {
                let weight = if n < 150 { 0.1 } else { 0.5 };
                let is_ours = uniform() < weight;
                odds.see(u64::from(is_ours), u64::from(!is_ours), weight);
                odds.ln_evidence() >= 100.0_f64.ln()
            }));
        }
        assert!(fooled * 100 <= runs, "{fooled} of {runs}");
    }
}
