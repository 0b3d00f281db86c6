//! What consent a plan needs, and what was given, as a value that fits that very plan and no other. Never prompts.

use crate::nouns::plan::{Digest, Plan};
use crate::nouns::record::Swap;

/// Consent to one plan. There is no other way to get one than to show the plan and be given a reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    digest: Digest,
}

impl Confirmed {
    /// `--reason` is the consent to move traffic; a plan that was made for it carries it.
    pub fn by_reason(plan: &Plan) -> Confirmed {
        Confirmed { digest: plan.digest() }
    }

    /// Whether this consent was given to that plan.
    pub fn covers(&self, plan: &Plan) -> bool {
        self.digest == plan.digest()
    }
}

/// The word that an operator types to replace a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Restore,
    Undo,
}

impl Word {
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Restore => "RESTORE",
            Word::Undo => "UNDO",
        }
    }
}

/// Consent to one swap of databases. Only the exact word gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwrite {
    swap: Swap,
}

impl Overwrite {
    /// `None` for any other line: `restore`, ` RESTORE`, `RESTORE!`, nothing at all. The line end is no part of it.
    pub fn by_line(line: &str, word: Word, swap: Swap) -> Option<Overwrite> {
        let typed = line.strip_suffix('\n').unwrap_or(line);
        let typed = typed.strip_suffix('\r').unwrap_or(typed);
        (typed == word.as_str()).then_some(Overwrite { swap })
    }

    pub fn swap(&self) -> &Swap {
        &self.swap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
