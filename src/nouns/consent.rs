//! What consent a plan needs, and what was given, as a value that fits that very plan and no other. Never prompts.

use crate::nouns::plan::{Digest, Plan, Word};

/// Consent to one plan. There is no other way to get one than to be given a reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    digest: Digest,
}

impl Confirmed {
    /// `--reason` is the consent to move traffic, and the name of an incident the one to take it back; a plan that was
    /// made for it carries it. `None` without one.
    pub fn by_reason(plan: &Plan) -> Option<Confirmed> {
        (!plan.reason.trim().is_empty()).then(|| Confirmed { digest: plan.digest() })
    }

    /// Whether this consent was given to that plan.
    pub fn covers(&self, plan: &Plan) -> bool {
        self.digest == plan.digest()
    }
}

/// Consent to one change of a live database, a swap or a merge. Only the exact word gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwrite<Change> {
    change: Change,
}

impl<Change> Overwrite<Change> {
    /// `None` for any other line: `restore`, ` RESTORE`, `RESTORE!`, nothing at all. The line end is no part of it.
    pub fn by_line(line: &str, word: Word, change: Change) -> Option<Overwrite<Change>> {
        let typed = line.strip_suffix('\n').unwrap_or(line);
        let typed = typed.strip_suffix('\r').unwrap_or(typed);
        (typed == word.as_str()).then_some(Overwrite { change })
    }

    pub fn change(&self) -> &Change {
        &self.change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nouns::record::Swap;

    #[test]
    fn nothing_but_the_exact_word_will_do() {
        let swap =
            Swap { live: "a".into(), live_oid: 1, copy: "b".into(), copy_oid: 2, kept: "c".into(), kept_until: None };
        for bad in ["", "\n", "restore", "RESTORE ", " RESTORE", "RESTORE\n\n", "yes", "UNDO", "RESTORE\0"] {
            assert_eq!(Overwrite::by_line(bad, Word::Restore, swap.clone()), None, "{bad:?} was taken");
        }
        for good in ["RESTORE", "RESTORE\n", "RESTORE\r\n"] {
            assert!(Overwrite::by_line(good, Word::Restore, swap.clone()).is_some(), "{good:?} was refused");
        }
    }
}
