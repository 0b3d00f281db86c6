//! What consent a plan needs, and what was given, as a value that fits that very plan and no other. Never prompts.

use crate::plan::{Digest, Plan};

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
