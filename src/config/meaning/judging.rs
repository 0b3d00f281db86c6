//! When a release counts as bad: `[judge]` and `[bake]`. A rule is switched off by the word `off`.

use super::Meaning;
use crate::config::file;
use crate::config::variables::look_up;
use crate::nouns::inventory::{Asks, Login, Prometheus, Query};
use crate::nouns::names::HttpUrl;
use crate::nouns::rules::{Bake, Judging, LogRule, Rules, SlowRule};
use crate::nouns::secret::Secret;

/// What switches a rule off.
const OFF: &str = "off";
/// More lines than that are read by nobody every few seconds.
const MOST_LINES: u64 = 10_000;
/// A quantile's name, and the share that may be slower.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.1), ("p95", 0.05), ("p99", 0.01)];

impl Meaning<'_, '_, '_> {
    pub(super) fn judging(&mut self, judge: &file::JudgeTable) -> Option<Judging> {
        let window = self.wait("judge.window", &judge.window);
        let error_share = self.unless_off("judge.error_share", &judge.error_share, Self::percent);
        let limits = [&judge.p50, &judge.p90, &judge.p95, &judge.p99];
        let slow = self.slow("judge", limits);
        let slower = self.unless_off("judge.slower", &judge.slower, Self::factor);
        let log = self.unless_off("judge.log_errors", &judge.log_errors, |meaning, path, text| {
            meaning.log_rule(path, text, &judge.log_pattern)
        });
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
            log: log.ok()?,
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

    /// `10/1000`
    fn log_rule(&mut self, path: &str, text: &str, pattern: &str) -> Option<LogRule> {
        let numbers = text.split_once('/').and_then(|(most, lines)| Some((most.parse().ok()?, lines.parse().ok()?)));
        let Some((most, lines)) = numbers.filter(|(most, lines): &(u64, u64)| most < lines && *lines <= MOST_LINES)
        else {
            self.wrong(path, format!("{text:?} is not so many of so many lines, at most {MOST_LINES}")).hint =
                Some("for example \"10/1000\"".into());
            return None;
        };
        let (folds_case, pattern) = match pattern.strip_prefix("(?i)") {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        // Both must read it alike: we check it here, and grep reads it there.
        let is_foreign = ["(?", "\\d", "\\p", "*?", "+?"].iter().any(|sign| pattern.contains(sign));
        if pattern.is_empty() || is_foreign || regex::Regex::new(pattern).is_err() {
            self.wrong("judge.log_pattern", format!("{pattern:?} is no pattern for grep -E")).hint =
                Some("for example \"(?i)error|panic|fatal\"".into());
            return None;
        }
        Some(LogRule { most, lines, pattern: pattern.to_owned(), folds_case })
    }

    /// `Ok(None)` where there is none.
    pub(super) fn prometheus(&mut self, judge: &file::JudgeTable) -> Result<Option<Prometheus>, ()> {
        let Some(table) = &judge.prometheus else { return Ok(None) };
        let path = "judge.prometheus";
        let url = table.url.as_ref().and_then(|url| self.word(&format!("{path}.url"), url, HttpUrl::new));
        let login = self.login(path, table);
        if table.alerts.as_ref().is_some_and(|labels| !(labels.starts_with('{') && labels.ends_with('}'))) {
            self.wrong(&format!("{path}.alerts"), "is not labels in braces").hint =
                Some("for example '{service=\"listings\",severity=\"critical\"}'".into());
            return Err(());
        }
        let queries: Vec<Option<Query>> =
            table.query.iter().enumerate().map(|(n, query)| self.query(&format!("{path}.query.{n}"), query)).collect();
        let queries: Option<Vec<Query>> = queries.into_iter().collect();
        if table.alerts.is_none() && table.query.is_empty() {
            self.wrong(path, "asks for nothing").hint = Some("set alerts, or a query".into());
            return Err(());
        }
        let url = url.ok_or(())?.as_str().trim_end_matches('/').to_owned();
        Ok(Some(Prometheus { url, login: login?, alerts: table.alerts.clone(), queries: queries.ok_or(())? }))
    }

    /// A variable that is not set is no reason to leave a bad release in traffic: it will say that nobody may ask it.
    fn login(&mut self, path: &str, table: &file::PrometheusTable) -> Result<Option<Login>, ()> {
        let mut variable = |key: &str, name: &String| {
            let place = self.tree.nearest(&format!("{path}.{key}")).place;
            match look_up(self.reading.variable, name) {
                Ok(value) => Some(Secret::new(value)),
                Err(why) => {
                    self.findings.warning(place, format!("{why}; Prometheus is asked without it"));
                    None
                }
            }
        };
        match (&table.token_env, &table.user, &table.password_env) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => Ok(variable("token_env", token).map(Login::Token)),
            (None, Some(user), Some(password)) => {
                Ok(variable("password_env", password).map(|password| Login::Password { user: user.clone(), password }))
            }
            (Some(_), _, _) => {
                self.wrong(path, "token_env and user exclude each other");
                Err(())
            }
            (None, _, _) => {
                self.wrong(path, "user and password_env go together");
                Err(())
            }
        }
    }

    fn query(&mut self, path: &str, query: &file::QueryTable) -> Option<Query> {
        let (name, max) = (query.name.clone()?, query.max.clone()?);
        let at = format!("{path}.max");
        let asks = match (&query.bad, &query.of, &query.expr, max) {
            (Some(bad), Some(of), None, file::Limit::Text(text)) => {
                Asks::Share { bad: bad.clone(), of: of.clone(), most: self.percent(&at, &text)? }
            }
            (None, None, Some(expr), file::Limit::Number(most)) => Asks::Value { expr: expr.clone(), most },
            (Some(_), Some(_), None, file::Limit::Number(_)) => {
                self.wrong(&at, "is a share of bad and of").hint = Some("for example \"5%\"".into());
                return None;
            }
            (None, None, Some(_), file::Limit::Text(_)) => {
                self.wrong(&at, "is a number, as expr is one").hint = Some("for example 1000".into());
                return None;
            }
            _ => {
                self.wrong(path, "wants bad and of, or expr");
                return None;
            }
        };
        Some(Query { name, asks })
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
