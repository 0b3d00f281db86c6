//! An independent reader of finished plans: whatever the planner thought, no prefix of a plan may leave nobody
//! serving, and green must never stop before blue is proven. Shares no code with the planner, on purpose.

use std::fmt;

use crate::nouns::names::HostName;
use crate::nouns::plan::{Action, Guard, PhaseKind, Plan, Undo};

/// A rule that a plan breaks. A plan with one is never executed: it is a mistake in this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Phases are not in the order that keeps somebody serving.
    OutOfOrder { before: PhaseKind, after: PhaseKind },
    /// Green would be stopped while this balancer is neither switched by the plan nor known to be on blue.
    GreenStopsUnderABalancer { app: HostName, balancer: HostName },
    /// Green would be stopped without the guard that looks at blue and at green's peers.
    GreenStopsUnguarded { app: HostName },
    /// A file would be replaced without the hash of what it replaces.
    FileWithoutGuard { host: HostName },
    /// A balancer would be switched on which the lock is not taken first.
    SwitchWithoutLock { host: HostName },
    /// A switch that does not put the file back by itself.
    SwitchWithoutUndo { host: HostName },
    /// A candidate that takes the serving colour's traffic away without giving it to the other.
    NobodyServes { host: HostName },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::OutOfOrder { before, after } => write!(f, "{before:?} must come before {after:?}"),
            Violation::GreenStopsUnderABalancer { app, balancer } => {
                write!(f, "green on {app} would be stopped while {balancer} may still send to it")
            }
            Violation::GreenStopsUnguarded { app } => {
                write!(f, "green on {app} would be stopped without a look at blue")
            }
            Violation::FileWithoutGuard { host } => write!(f, "{host}: the file would be replaced unseen"),
            Violation::SwitchWithoutLock { host } => write!(f, "{host}: would be switched without the lock"),
            Violation::SwitchWithoutUndo { host } => write!(f, "{host}: the switch could not be put back"),
            Violation::NobodyServes { host } => write!(f, "{host}: nobody would serve after the switch"),
        }
    }
}

/// Every rule that the plan breaks.
///
/// `serves_blue` tells whether a text, as an nginx file, sends to blue and to nobody of green.
pub fn check(
    plan: &Plan,
    may_send_to: &dyn Fn(&HostName, &HostName) -> bool,
    serves_blue: &dyn Fn(&str) -> bool,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for pair in plan.phases.windows(2) {
        if pair[0].kind >= pair[1].kind {
            violations.push(Violation::OutOfOrder { before: pair[1].kind, after: pair[0].kind });
        }
    }
    let locked = plan.hosts_of(PhaseKind::Lock);
    for step in plan.phases.iter().flat_map(|phase| &phase.steps) {
        match &step.action {
            Action::Switch { change, .. } => {
                let is_guarded = matches!(&step.guard, Guard::FileIsUnchanged { sha256 }
                    if *sha256 == crate::nouns::digest::sha256(change.before.as_bytes()));
                if !is_guarded {
                    violations.push(Violation::FileWithoutGuard { host: step.host.clone() });
                }
                if step.undo != Undo::PutsFileBack {
                    violations.push(Violation::SwitchWithoutUndo { host: step.host.clone() });
                }
                if !locked.contains(&step.host) {
                    violations.push(Violation::SwitchWithoutLock { host: step.host.clone() });
                }
                if !serves_blue(&change.after) {
                    violations.push(Violation::NobodyServes { host: step.host.clone() });
                }
            }
            Action::Stop { .. } => {
                if step.guard != Guard::NobodyReachesGreen {
                    violations.push(Violation::GreenStopsUnguarded { app: step.host.clone() });
                }
                for left in plan.left_out.iter().filter(|left| left.is_balancer && !left.is_on_blue) {
                    if may_send_to(&left.host, &step.host) {
                        violations.push(Violation::GreenStopsUnderABalancer {
                            app: step.host.clone(),
                            balancer: left.host.clone(),
                        });
                    }
                }
            }
            Action::Lock { .. } | Action::Start { .. } | Action::Drain | Action::Verify => {}
        }
    }
    violations
}
