//! Should we? How bad it is by the runbooks' matrix, what speaks against a rollback, and the answer. Concludes from what it
//! is given, and looks at nothing.

use super::interval::Counted;
use crate::nouns::colour::Colour;
use crate::nouns::request::Severity;
use crate::nouns::rules::{Judgement, Opinion};

/// What is known when somebody asks.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The side in question: the release.
    pub release: Colour,
    /// Whether it gets any traffic.
    pub gets_traffic: bool,
    pub judgement: &'a Judgement,
    /// Its errors, and those of the other side at the same time.
    pub errors: Counted,
    pub others: Counted,
    /// On so many of its hosts its health is bad.
    pub ill: usize,
    pub hosts: usize,
    /// What is wrong with the side that one would go back to, by host.
    pub way_back: Vec<String>,
    /// Why it is no other release, where that is proven.
    pub same_release: Option<String>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    RollBack,
    /// Nothing speaks for it, or something against it.
    DoNot,
    CannotTell,
}

/// The answer, with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    pub severity: Option<Severity>,
    pub advice: Advice,
    /// One sentence.
    pub answer: String,
    /// What stands against a rollback, whatever speaks for it.
    pub against: Vec<String>,
}

/// P0 and P1 are rolled back at once, P2 within a quarter of an hour, P3 is not.
const HALF: f64 = 0.5;
const SEVERE: f64 = 0.05;
const NOTABLE: f64 = 0.01;

/// Severity by the share that fails for certain, by health, and by what the rules say.
pub fn assess(situation: &Situation<'_>) -> Assessment {
    let Situation { release, judgement, .. } = situation;
    let other = release.other();
    if !situation.gets_traffic {
        return Assessment {
            severity: None,
            advice: Advice::DoNot,
            answer: format!("not a rollback situation: {release} gets no traffic"),
            against: Vec::new(),
        };
    }
    let severity = severity(situation);
    let mut against: Vec<String> =
        situation.way_back.iter().map(|why| format!("{other} is no way back: {why}")).collect();
    against.extend(situation.same_release.clone());
    if is_of_both(situation) {
        against.push(format!(
            "{other} is as bad at the same time: it is not the release, and a rollback will not help; look at what both share \
             (database, network, DNS, a provider)"
        ));
    }
    let (advice, answer) = match (severity, against.is_empty()) {
        (Some(Severity::P0 | Severity::P1), true) => (Advice::RollBack, format!("roll back now: {}", judgement.words)),
        (Some(Severity::P2), true) => {
            (Advice::RollBack, format!("roll back within 15 minutes, unless a fix is out before: {}", judgement.words))
        }
        (Some(Severity::P3), true) => (Advice::DoNot, format!("do not roll back, fix forward: {}", judgement.words)),
        (Some(_), false) => (Advice::DoNot, format!("{}; a rollback is not the answer", judgement.words)),
        (None, _) if judgement.opinion == Opinion::Good => {
            (Advice::DoNot, format!("not a rollback situation: {}", judgement.words))
        }
        (None, _) => (Advice::CannotTell, judgement.words.clone()),
    };
    Assessment { severity, advice, answer, against }
}

fn severity(situation: &Situation<'_>) -> Option<Severity> {
    let least = situation.errors.interval().map_or(0.0, |interval| interval.low);
    let is_bad = |rules: &[&str]| {
        let findings = &situation.judgement.findings;
        findings.iter().any(|finding| finding.opinion == Opinion::Bad && rules.contains(&finding.rule.as_str()))
    };
    let is_down = situation.hosts > 0 && situation.ill == situation.hosts;
    if is_down || least > HALF {
        Some(Severity::P0)
    } else if least > SEVERE || is_bad(&["error_share", "restarts", "p99", "health"]) {
        Some(Severity::P1)
    } else if (least > NOTABLE && is_bad(&["worse_by"]))
        || is_bad(&["p50", "p90", "p95", "slower"])
        || situation.ill > 0
    {
        Some(Severity::P2)
    } else if is_bad(&["worse_by"]) {
        Some(Severity::P3)
    } else {
        None
    }
}

/// Whether the other side fails no less, beyond doubt, and the release is not known to be worse.
fn is_of_both(situation: &Situation<'_>) -> bool {
    let is_worse = situation.judgement.findings.iter().any(|f| f.rule == "worse_by" && f.opinion == Opinion::Bad);
    let (Some(own), Some(other)) = (situation.errors.share(), situation.others.interval()) else { return false };
    !is_worse && other.low > NOTABLE && own <= other.high * 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nouns::rules::Finding;

    fn judgement(rule: &str, opinion: Opinion) -> Judgement {
        let finding = Finding { rule: rule.to_owned(), opinion, words: "green …".to_owned() };
        Judgement {
            judged: Colour::Green,
            opinion,
            words: "green …".to_owned(),
            findings: vec![finding],
            sides: Default::default(),
            after_s: 600,
            of_s: 600,
        }
    }

    fn situation(judgement: &Judgement, bad: u64, others: u64) -> Situation<'_> {
        Situation {
            release: Colour::Green,
            gets_traffic: true,
            judgement,
            errors: Counted { bad, of: 1000 },
            others: Counted { bad: others, of: 1000 },
            ill: 0,
            hosts: 2,
            way_back: Vec::new(),
            same_release: None,
        }
    }

    #[test]
    fn the_matrix_is_the_runbooks() {
        for (rule, bad, severity, advice) in [
            ("error_share", 700, Severity::P0, Advice::RollBack),
            ("error_share", 90, Severity::P1, Advice::RollBack),
            ("p99", 0, Severity::P1, Advice::RollBack),
            ("worse_by", 30, Severity::P2, Advice::RollBack),
            ("slower", 0, Severity::P2, Advice::RollBack),
            ("worse_by", 12, Severity::P3, Advice::DoNot),
        ] {
            let judgement = judgement(rule, Opinion::Bad);
            let assessment = assess(&situation(&judgement, bad, 0));
            assert_eq!((assessment.severity, assessment.advice), (Some(severity), advice), "{rule} {bad}");
        }
        let good = judgement("worse_by", Opinion::Good);
        let assessment = assess(&situation(&good, 1, 1));
        assert_eq!((assessment.severity, assessment.advice), (None, Advice::DoNot));
        let open = judgement("worse_by", Opinion::NotEnoughData);
        assert_eq!(assess(&situation(&open, 1, 1)).advice, Advice::CannotTell);
        let down = Situation { ill: 2, ..situation(&open, 0, 0) };
        assert_eq!(assess(&down).severity, Some(Severity::P0));
    }

    #[test]
    fn what_stands_against_it_is_said_first() {
        let both = judgement("error_share", Opinion::NotEnoughData);
        let assessment = assess(&situation(&both, 90, 85));
        assert_eq!(assessment.advice, Advice::DoNot);
        assert!(assessment.against[0].contains("it is not the release"), "{assessment:?}");
        let bad = judgement("worse_by", Opinion::Bad);
        let dead = Situation { way_back: vec!["web1 gives no answer".to_owned()], ..situation(&bad, 300, 0) };
        let assessment = assess(&dead);
        assert_eq!((assessment.advice, assessment.severity), (Advice::DoNot, Some(Severity::P1)));
        assert_eq!(assessment.against, ["blue is no way back: web1 gives no answer"]);
        let same = "blue and green both run 1.4.0: to go there would change nothing";
        let assessment = assess(&Situation { same_release: Some(same.to_owned()), ..situation(&bad, 300, 0) });
        assert_eq!((assessment.advice, assessment.against.as_slice()), (Advice::DoNot, &[same.to_owned()][..]));
        let gone = Situation { gets_traffic: false, ..situation(&bad, 300, 0) };
        assert!(assess(&gone).answer.contains("gets no traffic"));
    }
}
