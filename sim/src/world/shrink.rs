//! A failing seed with as little around it as still fails.

use super::features::{Feature, Plan};
use super::run::run;

/// The smallest plan found that fails as `plan` does: fewer acts, fewer tasks, fewer features.
#[must_use]
pub fn shrink(plan: Plan) -> Plan {
    let kind = |plan: &Plan| run(*plan, false).verdict.err().map(|error| kind_of(&error));
    let wanted = kind(&plan);
    smallest_that(plan, |plan| kind(plan) == wanted)
}

/// What does not hold, without what is different in each world: the first words, but for those with numbers.
fn kind_of(error: &str) -> String {
    let words = error.split(['{', '(']).next().unwrap_or_default();
    words
        .split_whitespace()
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn smallest_that(plan: Plan, still_fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut smallest = plan;
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

#[cfg(test)]
mod tests {
    use super::super::features::StoreKind;
    use super::*;

    #[test]
    fn the_smallest_is_no_larger_than_it_takes() {
        let plan = Plan { acts: 300, tasks: 90, ..Plan::on(StoreKind::Memory, 1) };
        let plan = Feature::ALL.iter().fold(plan, |plan, feature| plan.with(*feature));
        let fails = |plan: &Plan| plan.acts >= 5 && plan.tasks >= 3 && plan.has(Feature::Crashes);
        let none = Plan { mask: 0, acts: 5, tasks: 3, ..plan };
        assert_eq!(smallest_that(plan, fails), none.with(Feature::Crashes));
    }

    #[test]
    fn another_defect_is_another_kind() {
        let kinds = [
            "G14: t3 does not end: Task { attempt: 1 }",
            "G14: t17 does not end: Task { attempt: 2 }",
            "G14: t3 is overlooked at 1800001444141000: Task { attempt: 1 }",
            "no answer has named this URL: Fact { at: 1, task: \"t154\" }",
        ]
        .map(kind_of);
        assert_eq!(kinds[0], kinds[1]);
        assert_eq!(kinds[0], "does not end: Task");
        assert_eq!(kinds.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    }
}
