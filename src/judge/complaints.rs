//! A side's own log: how many of its newest lines complain, beside those of the other side.

use crate::nouns::colour::Colour;
use crate::nouns::rules::{Finding, LogRule, Opinion};
use crate::nouns::units::grouped;

/// Where the other side complains so much as this of it, it is not the release's.
const AS_MUCH: f64 = 0.5;

/// So many lines that match, of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Complaints {
    pub matched: u64,
    pub lines: u64,
}

impl Complaints {
    fn share(self) -> f64 {
        if self.lines == 0 { 0.0 } else { self.matched as f64 / self.lines as f64 }
    }
}

/// What is said of the judged side's log on a host; `other` is the other side's at the same time, where it has some.
pub fn of_log(host: &str, judged: Colour, rule: &LogRule, own: Complaints, other: Option<Complaints>) -> Finding {
    let (most, of) = (rule.most, grouped(rule.lines));
    let figures = format!("{host}: {} of {} lines of {judged}'s log match", own.matched, grouped(own.lines));
    let finding = |opinion, words: String| Finding { rule: "log_errors".to_owned(), opinion, words };
    let is_alike = other.is_some_and(|other| other.matched > 0 && other.share() >= own.share() * AS_MUCH);
    match (own.matched > most, is_alike) {
        (false, _) => finding(Opinion::Good, format!("{figures}, limit {most} of {of}")),
        (true, true) => {
            let others = other.map_or(0, |other| other.matched);
            let words =
                format!("{figures}, and {others} of {}'s at the same time: not this side alone", judged.other());
            finding(Opinion::NotEnoughData, words)
        }
        (true, false) => finding(Opinion::Bad, format!("{figures}: bad, limit {most} of {of}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_sides_complain_of_is_not_the_releases() {
        let rule = LogRule { most: 10, lines: 1000, pattern: "error".to_owned(), folds_case: true };
        let own = |matched| Complaints { matched, lines: 500 };
        let said = |own, other| of_log("web1", Colour::Green, &rule, own, other).opinion;
        assert_eq!(said(own(10), None), Opinion::Good);
        assert_eq!(said(own(11), None), Opinion::Bad);
        assert_eq!(said(own(11), Some(Complaints { matched: 0, lines: 900 })), Opinion::Bad);
        assert_eq!(said(own(11), Some(Complaints { matched: 4, lines: 900 })), Opinion::Bad);
        assert_eq!(said(own(11), Some(Complaints { matched: 20, lines: 900 })), Opinion::NotEnoughData);
        assert_eq!(said(Complaints::default(), None), Opinion::Good);
    }
}
