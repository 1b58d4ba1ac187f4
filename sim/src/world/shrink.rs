//! A failing seed with as little around it as still fails.

use super::features::{Feature, Plan};
use super::run::run;

/// The smallest plan found that fails as `plan` does: fewer acts, fewer tasks, fewer features.
#[must_use]
pub fn shrink(plan: Plan) -> Plan {
    let mut smallest = plan;
    let still_fails = |plan: &Plan| run(*plan, false).verdict.is_err();
    loop {
        let before = smallest;
        let mut smaller: Vec<Plan> = Vec::new();
        for part in [2, 4, 8] {
            smaller.push(Plan { acts: smallest.acts - smallest.acts / part, ..smallest });
            smaller.push(Plan { tasks: smallest.tasks - smallest.tasks / part, ..smallest });
        }
        smaller.push(Plan { acts: smallest.acts.saturating_sub(1), ..smallest });
        smaller.push(Plan { tasks: smallest.tasks.saturating_sub(1).max(1), ..smallest });
        let all = Feature::ALL.iter().filter(|feature| smallest.has(**feature));
        smaller.extend(all.map(|feature| smallest.without(*feature)));
        for plan in smaller {
            // Of a step that was taken the others are tried on what is left.
            let mask = smallest.mask & plan.mask;
            let plan = Plan {
                mask,
                acts: plan.acts.min(smallest.acts),
                tasks: plan.tasks.min(smallest.tasks),
                ..plan
            };
            if plan != smallest && still_fails(&plan) {
                smallest = plan;
            }
        }
        if smallest == before {
            return smallest;
        }
    }
}
