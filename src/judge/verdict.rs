//! From counts and hard facts to an opinion with its figures. Three answers, never two: what was not measured is neither
//! good nor bad.

use super::interval::{Counted, Interval};
use super::sides::{Sides, SidesTick};
use crate::nouns::colour::{Colour, Each};
use crate::nouns::rules::{Finding, Judgement, Opinion, Rules, SideFigures, SlowRule};
use crate::nouns::units::grouped;

const ERROR_SHARE: &str = "error_share";
/// So many errors are the least that anything is called bad by.
const LEAST_ERRORS: u64 = 5;
/// "A hundred to one": of harmless releases one in a hundred comes there at most, whoever looks how often.
const ENOUGH_EVIDENCE: f64 = 100.0;
/// Beyond this the odds are not said: nobody has measured them.
const MOST_ODDS: f64 = 1e6;
/// A side with fewer attempts than one for so many of the judged one's is nobody to compare with.
const COMPARABLE: u64 = 50;
/// A limit that was broken must still be broken in the last so many seconds: what is over is over.
const RECENT_SECONDS: u64 = 20;
/// Caches are cold and old workers still end their requests: times do not count so long after a change of shares.
pub const WARM_UP_SECONDS: u64 = 20;
/// `slower`: the share that may take longer than the multiple of the other side's p95.
const SLOWER_SHARE: f64 = 0.05;
/// Twice next to nothing is still next to nothing.
const LEAST_SLOWER_MS: u64 = 50;
/// A p95 is not known of fewer.
const LEAST_FOR_P95: u64 = 59;

/// What the rules say of a side at a moment, in seconds since 1970; `hard` is what is known without counting requests. `round` is 1, and one more for each time that the counts
/// were begun anew within one watch: each has to say more than the one before, so that a long watch is fooled no more often
/// than a short one (`Σ 1/round²` is bounded).
pub fn judge(rules: &Rules, sides: &Sides, hard: &[Finding], now: u64, round: u32) -> Judgement {
    let case = Case {
        rules,
        sides,
        all: sides.all(),
        window: sides.last(rules.window.as_secs(), now),
        recent: sides.last(RECENT_SECONDS, now),
        now,
        evidence: sides.ln_evidence(),
        round,
    };
    let mut findings = hard.to_vec();
    findings.extend(case.worse());
    findings.extend(case.error_share());
    findings.extend(rules.slow.iter().enumerate().filter_map(|(n, rule)| case.slow(n, rule)));
    findings.extend(case.slower());
    let judged = sides.judged();
    let of = |opinion: Opinion| findings.iter().filter(move |finding| finding.opinion == opinion);
    // What requests say is said first, but where a hard fact decides.
    let first_of = |opinion: Opinion| {
        let is_of_requests = |finding: &&Finding| !hard.contains(finding);
        of(opinion).find(is_of_requests).or_else(|| of(opinion).next())
    };
    let (opinion, words) = match (of(Opinion::Bad).next(), first_of(Opinion::NotEnoughData), first_of(Opinion::Good)) {
        (Some(bad), _, _) => (Opinion::Bad, bad.words.clone()),
        (None, Some(open), _) => (Opinion::NotEnoughData, open.words.clone()),
        // Good is said by requests, and by such as came lately; not by a health URL alone.
        (None, None, Some(good)) if case.window.of(judged).tried > 0 => (Opinion::Good, good.words.clone()),
        (None, None, _) => (Opinion::NotEnoughData, format!("{judged}: nothing that was measured says anything")),
    };
    let sides = Each::from(|colour| figures(&case.all, colour));
    let after_s = now.saturating_sub(case.sides.since());
    Judgement { judged, opinion, words, findings, sides, after_s, of_s: after_s }
}

/// Fewer than a quantile needs say nothing of it: its own interval has no upper end yet.
const LEAST_FOR: [(f64, u64); 3] = [(0.5, 1), (0.95, LEAST_FOR_P95), (0.99, 299)];

fn figures(all: &SidesTick, colour: Colour) -> SideFigures {
    let attempts = all.of(colour);
    let [p50_ms, p95_ms, p99_ms] =
        LEAST_FOR.map(|(share, least)| attempts.latency.quantile(share).filter(|_| attempts.timed >= least));
    SideFigures { tried: attempts.tried, bad: all.errors_of(colour).bad, p50_ms, p95_ms, p99_ms }
}

struct Case<'a> {
    rules: &'a Rules,
    sides: &'a Sides,
    all: SidesTick,
    window: SidesTick,
    recent: SidesTick,
    now: u64,
    evidence: f64,
    round: u32,
}

impl Case<'_> {
    fn judged(&self) -> Colour {
        self.sides.judged()
    }

    fn other(&self) -> Colour {
        self.judged().other()
    }

    fn has_enough(&self, counted: Counted) -> bool {
        counted.of >= self.rules.min_requests
    }

    /// Whether the other side serves too, so that both can be held against each other.
    fn is_beside(&self, own: Counted, other: Counted) -> bool {
        other.of > 0 && other.of * COMPARABLE >= own.of
    }

    /// Worse than the other side at the same time.
    fn worse(&self) -> Option<Finding> {
        let (own, other) = (self.all.errors_of(self.judged()), self.all.errors_of(self.other()));
        if !self.is_beside(own, other) {
            return None;
        }
        let finding = |opinion, words| Some(Finding { rule: "worse_by".to_owned(), opinion, words });
        let figures = format!("{}, {} at the same time", self.figures(own), figures_of(self.other(), other));
        let Some((difference, between)) = own.minus(other) else {
            return finding(Opinion::NotEnoughData, format!("{}: no request yet", self.judged()));
        };
        let threshold = ENOUGH_EVIDENCE * f64::from(self.round * self.round);
        if self.evidence >= threshold.ln()
            && own.bad >= LEAST_ERRORS
            && difference >= self.rules.worse_by
            && self.has_enough(own)
        {
            let odds = odds_words(self.evidence.exp());
            let how = self.how_counted();
            return finding(Opinion::Bad, format!("{figures}: worse, by chance less than once in {odds}{how}"));
        }
        let points = match percent(self.rules.worse_by).as_str() {
            "1" => "1 point".to_owned(),
            several => format!("{several} points"),
        };
        // One client that repeats an error is no reason to go back, and none to call it good.
        let raw = self.all.raw_errors_of(self.judged()).minus(self.all.raw_errors_of(self.other()));
        let is_good = |between: Interval| between.high < self.rules.worse_by;
        if is_good(between) && raw.is_some_and(|(_, raw)| is_good(raw)) && self.has_enough(own) {
            return finding(Opinion::Good, format!("{figures}: not worse by more than {points}"));
        }
        let limit = other.share().unwrap_or(0.0) + self.rules.worse_by;
        finding(Opinion::NotEnoughData, format!("{figures}: not enough data{}", self.until(own, limit)))
    }

    /// More errors than a share may have, held over the window; good is said of all that was seen.
    fn error_share(&self) -> Option<Finding> {
        let limit = self.rules.error_share?;
        let own = self.window.errors_of(self.judged());
        let other = self.window.errors_of(self.other());
        let is_recent = self.recent.errors_of(self.judged()).share().is_some_and(|share| share > limit);
        let (all, raw) = (self.all.errors_of(self.judged()), self.all.raw_errors_of(self.judged()));
        let held = Held { own, other, is_recent, all, raw };
        Some(self.held(ERROR_SHARE, limit, held, &|counted| self.figures(counted)))
    }

    /// Too many that took too long.
    fn slow(&self, n: usize, rule: &SlowRule) -> Option<Finding> {
        let limit = humantime::format_duration(rule.limit);
        self.timed(rule.name, rule.share, &format!("slower than {limit}"), |attempts| Counted {
            bad: attempts.over.get(n).copied().unwrap_or(0),
            of: attempts.timed,
        })
    }

    /// Too many that took longer than twice the other side's p95 of the same minutes.
    fn slower(&self) -> Option<Finding> {
        let factor = self.rules.slower?;
        let other = self.window.of(self.other());
        if other.timed < LEAST_FOR_P95 {
            return None;
        }
        let p95 = other.latency.quantile(0.95)?;
        let limit = ((p95 as f64 * factor) as u64).max(LEAST_SLOWER_MS);
        let what = format!("slower than {limit} ms, {factor} x {}'s p95 of {p95} ms", self.other());
        self.timed("slower", SLOWER_SHARE, &what, |attempts| Counted {
            bad: attempts.latency.above(limit),
            of: attempts.timed,
        })
    }

    /// A rule about times; none where no time is known.
    fn timed(
        &self,
        rule: &str,
        limit: f64,
        what: &str,
        count: impl Fn(&logs::counts::Attempts) -> Counted,
    ) -> Option<Finding> {
        let all = count(self.all.of(self.judged()));
        if all.of == 0 {
            return None;
        }
        let words = |counted: Counted| format!("{} {what}", self.figures(counted));
        if self.now < self.sides.since() + WARM_UP_SECONDS {
            let words = format!("{}: it is still warming up", words(all));
            return Some(Finding { rule: rule.to_owned(), opinion: Opinion::NotEnoughData, words });
        }
        let (own, other) = (count(self.window.of(self.judged())), count(self.window.of(self.other())));
        let is_recent = count(self.recent.of(self.judged())).share().is_some_and(|share| share > limit);
        Some(self.held(rule, limit, Held { own, other, is_recent, all, raw: all }, &words))
    }

    /// An absolute limit. Where the other side serves too, it must be known to keep the limit: what both break is not the
    /// release's.
    fn held(&self, rule: &str, limit: f64, held: Held, figures: &dyn Fn(Counted) -> String) -> Finding {
        let finding = |opinion, words| Finding { rule: rule.to_owned(), opinion, words };
        let percent = percent(limit);
        let Held { own, other, is_recent, all, raw } = held;
        let of = |counted: Counted| counted.interval().unwrap_or(Interval { low: 0.0, high: 1.0 });
        if of(own).low > limit && own.bad >= LEAST_ERRORS && is_recent && self.has_enough(own) {
            let is_beside = self.is_beside(own, other);
            let open = |words: String| finding(Opinion::NotEnoughData, format!("{}{words}", figures(own)));
            // Whether its errors are more has a test of its own.
            let is_more = rule != ERROR_SHARE && own.is_surely_above(other);
            return if is_beside && !(of(other).high < limit || is_more) {
                let both = figures_of(self.other(), other);
                open(match of(other).low > limit {
                    true => format!(", but {both} at the same time: not this side alone"),
                    false => format!(", and {both} at the same time: too few to tell them apart"),
                })
            } else if !is_beside && self.now < self.sides.since() + self.rules.window.as_secs() {
                // Without anybody to compare with, a moment is no verdict.
                let window = humantime::format_duration(self.rules.window);
                open(format!(": over the limit of {percent} %, which is held over {window}"))
            } else {
                let how = if rule == ERROR_SHARE { self.how_counted() } else { "" };
                finding(Opinion::Bad, format!("{}: bad, limit {percent} %{how}", figures(own)))
            };
        }
        if of(all).high < limit && of(raw).high < limit && self.has_enough(all) {
            return finding(Opinion::Good, format!("{}: good, limit {percent} %", figures(all)));
        }
        let words = format!("{}: not enough data for a limit of {percent} %{}", figures(all), self.until(all, limit));
        finding(Opinion::NotEnoughData, words)
    }

    /// What the figures leave out, where they leave out anything.
    fn how_counted(&self) -> &'static str {
        let own = self.all.of(self.judged());
        if own.bad > 0 && !self.all.tells_clients_apart() {
            " (each attempt counted: clients cannot be told apart)"
        } else {
            ""
        }
    }

    /// `green 8.0 % of 412 (95 %: 5.8–11.0)`
    fn figures(&self, counted: Counted) -> String {
        let Some(interval) = counted.interval() else { return format!("{}: no request", self.judged()) };
        let between = format!("{}–{}", percent_of(interval.low), percent_of(interval.high));
        format!("{} (95 %: {between})", figures_of(self.judged(), counted))
    }

    /// How long it may take until it is known, at this rate.
    fn until(&self, counted: Counted, limit: f64) -> String {
        let seconds = self.now.saturating_sub(self.sides.since());
        let needed = counted.needed_below(limit).map(|needed| needed.max(self.rules.min_requests));
        let Some(needed) = needed.filter(|needed| *needed > counted.of && counted.of > 0 && seconds > 0) else {
            return String::new();
        };
        let rate = counted.of as f64 / seconds as f64;
        let minutes = (needed - counted.of) as f64 / rate / 60.0;
        match minutes {
            ..1.0 => format!(", about a minute more at {rate:.1} a second"),
            1.0..1440.0 => format!(", about {minutes:.0} min more at {rate:.1} a second"),
            _ => format!(", and days more at {rate:.2} a second"),
        }
    }
}

/// What an absolute limit is held against.
struct Held {
    own: Counted,
    other: Counted,
    is_recent: bool,
    /// Since the beginning; `raw` is every error, whoever repeats it.
    all: Counted,
    raw: Counted,
}

/// `blue 0.4 % of 38,201`
fn figures_of(colour: Colour, counted: Counted) -> String {
    match counted.share() {
        None => format!("{colour} none"),
        Some(share) => format!("{colour} {} % of {}", percent_of(share), grouped(counted.of)),
    }
}

/// One digit behind the point, two below one percent that would show as nothing.
fn percent_of(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.1 { format!("{percent:.2}") } else { format!("{percent:.1}") }
}

/// A limit as somebody wrote it: `5`, `0.5`.
fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn odds_words(odds: f64) -> String {
    if odds >= MOST_ODDS { "a million".to_owned() } else { grouped(odds as u64) }
}
