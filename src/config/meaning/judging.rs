//! When a release counts as bad: `[judge]` and `[bake]`. A rule is switched off by the word `off`.

use super::Meaning;
use crate::config::file;
use crate::nouns::rules::{Bake, Judging, Rules, SlowRule};

/// What switches a rule off.
const OFF: &str = "off";
/// A quantile's name, and the share that may be slower.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.1), ("p95", 0.05), ("p99", 0.01)];

impl Meaning<'_, '_, '_> {
    pub(super) fn judging(&mut self, judge: &file::JudgeTable) -> Option<Judging> {
        let window = self.wait("judge.window", &judge.window);
        let error_share = self.unless_off("judge.error_share", &judge.error_share, Self::percent);
        let limits = [&judge.p50, &judge.p90, &judge.p95, &judge.p99];
        let slow = self.slow("judge", limits);
        let slower = self.unless_off("judge.slower", &judge.slower, Self::factor);
        let worse_by = self.percent("judge.worse_by", &judge.worse_by);
        Some(Judging {
            rules: Rules {
                window: window?,
                error_share: error_share.ok()?,
                slow: slow?,
                slower: slower.ok()?,
                worse_by: worse_by?,
                min_requests: judge.min_requests,
            },
            health: judge.health,
            restarts: judge.restarts,
            smoke: judge.smoke.clone(),
        })
    }

    /// Nobody serves beside the side that is baked: there is nothing to compare it with.
    pub(super) fn bake(&mut self, bake: &file::BakeTable, is_always: bool, judging: &Judging) -> Option<Bake> {
        let lasts = self.wait("bake.for", &bake.lasts);
        let error_share = self.unless_off("bake.error_share", &bake.error_share, Self::percent);
        let slow = self.slow("bake", [&bake.p50, &bake.p90, &bake.p95, &bake.p99]);
        let rules = Rules { error_share: error_share.ok()?, slow: slow?, slower: None, ..judging.rules.clone() };
        Some(Bake { lasts: lasts?, judging: Judging { rules, ..judging.clone() }, is_always })
    }

    fn slow(&mut self, table: &str, limits: [&Option<String>; 4]) -> Option<Vec<SlowRule>> {
        let mut rules = Some(Vec::new());
        for ((name, share), limit) in QUANTILES.into_iter().zip(limits) {
            let Some(limit) = limit else { continue };
            match self.unless_off(&format!("{table}.{name}"), limit, Self::wait) {
                Ok(Some(limit)) => {
                    if let Some(rules) = &mut rules {
                        rules.push(SlowRule { name, share, limit });
                    }
                }
                Ok(None) => {}
                Err(()) => rules = None,
            }
        }
        rules
    }

    /// `Ok(None)` where the rule is switched off, `Err` where its value is wrong and reported.
    fn unless_off<T>(
        &mut self,
        path: &str,
        text: &str,
        read: impl FnOnce(&mut Self, &str, &str) -> Option<T>,
    ) -> Result<Option<T>, ()> {
        if text == OFF {
            return Ok(None);
        }
        read(self, path, text).map(Some).ok_or(())
    }

    /// `5%` → 0.05
    fn percent(&mut self, path: &str, text: &str) -> Option<f64> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match number.filter(|number| *number > 0.0 && *number < 100.0) {
            Some(number) => Some(number / 100.0),
            None => {
                self.wrong(path, format!("{text:?} is no share between 0 and 100 %")).hint =
                    Some("for example \"5%\"".into());
                None
            }
        }
    }

    /// `2x` → 2.0
    fn factor(&mut self, path: &str, text: &str) -> Option<f64> {
        let number = text.strip_suffix('x').and_then(|number| number.trim().parse::<f64>().ok());
        match number.filter(|number| *number > 1.0 && *number < 1000.0) {
            Some(number) => Some(number),
            None => {
                self.wrong(path, format!("{text:?} is no multiple above 1")).hint = Some("for example \"2x\"".into());
                None
            }
        }
    }
}
