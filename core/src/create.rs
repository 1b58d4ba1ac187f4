//! New tasks: all of them come into being, or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Context;
use crate::decision::{Change, Decision, Outcome, Refused};
use crate::graph;
use crate::id::{EventKey, TaskKey};
use crate::input::{Create, FollowUp, NewTask, Plan};
use crate::subjects::{Edge, EdgeStatus, Subjects};
use crate::task::{Task, correlation, dependency, steps};
use crate::unique;

/// A creation, of one task or of a batch. Every refusal names the task it is about.
pub fn decide(cx: &Context, subjects: &Subjects, create: &Create) -> Decision {
    let positions: BTreeMap<TaskKey, usize> =
        create.tasks.iter().enumerate().map(|(position, new)| (new.key, position)).collect();
    assert!(positions.len() == create.tasks.len(), "the edge refuses a batch that has one id twice");
    for (position, new) in create.tasks.iter().enumerate() {
        if subjects.task(new.key).is_some_and(|task| task.content != new.content) {
            return refused(Refused::IdTaken { position });
        }
    }
    let replaced = unique::replaced(cx.now, subjects, &create.tasks);
    let is_made = |position: usize, new: &NewTask| {
        subjects.task(new.key).is_none() && !replaced.contains_key(&position)
    };
    for (position, new) in create.tasks.iter().enumerate() {
        if is_made(position, new) && subjects.queue(new.asked.queue).is_none() {
            return refused(Refused::NoSuchQueue { position });
        }
        if is_made(position, new) && subjects.source(new.asked.source).is_none() {
            return refused(Refused::NoSuchSource { position });
        }
        if is_made(position, new) && is_taken(subjects, &create.tasks[..position], new) {
            return refused(Refused::ExternalTaken { position });
        }
    }
    let mut waits_for = Vec::with_capacity(create.tasks.len());
    for (position, new) in create.tasks.iter().enumerate() {
        let mut within = Vec::new();
        // What a task that exists waited for may be pruned by now, and one that is not made waits for nobody.
        let after = if is_made(position, new) { &new.after } else { &[][..] };
        for (dependency, edge) in after.iter().enumerate() {
            match positions.get(&edge.parent) {
                Some(parent) if replaced.contains_key(parent) => {
                    return refused(Refused::DependsOnReplaced { position, dependency });
                }
                Some(parent) => within.push(*parent),
                None if subjects.task(edge.parent).is_none() => {
                    return refused(Refused::NoSuchDependency { position, dependency });
                }
                None => {}
            }
        }
        waits_for.push(within);
    }
    match graph::order(&waits_for) {
        Ok(order) => create_all(cx, subjects, create, &replaced, &order),
        Err(circle) => refused(Refused::Cycle(circle)),
    }
}

/// Whether the remote's id that a task says it has belongs to another one: that has not ended, or comes into being
/// `before` it.
fn is_taken(subjects: &Subjects, before: &[Arc<NewTask>], new: &NewTask) -> bool {
    let Some(external) = &new.external else { return false };
    let key = |other: &NewTask| other.external.as_ref().map(|external| external.key);
    correlation::holder(subjects, external.key, new.key).is_some()
        || before.iter().any(|other| key(other) == Some(external.key))
}

/// Creates the tasks parents first, so that each sees what has become of those it waits for.
fn create_all(
    cx: &Context,
    subjects: &Subjects,
    create: &Create,
    replaced: &BTreeMap<usize, TaskKey>,
    order: &[usize],
) -> Decision {
    let mut creating = Creating::new(cx, subjects);
    for position in order.iter().filter(|position| !replaced.contains_key(position)) {
        creating.add(&create.tasks[*position]);
    }
    let keys = create.tasks.iter().enumerate().map(|(position, new)| match replaced.get(&position) {
        Some(holder) => (*holder, false),
        None => (new.key, creating.has_made(new.key)),
    });
    let outcome = Outcome::Created(keys.collect());
    Decision { outcome, ..creating.decision }
}

/// Tasks that come into being in one decision, one after the other.
pub(crate) struct Creating<'a> {
    cx: &'a Context,
    subjects: &'a Subjects,
    /// As they are after it.
    made: BTreeMap<TaskKey, Task>,
    pub(crate) decision: Decision,
}

impl<'a> Creating<'a> {
    pub(crate) fn new(cx: &'a Context, subjects: &'a Subjects) -> Creating<'a> {
        Creating { cx, subjects, made: BTreeMap::new(), decision: Decision::nothing() }
    }

    /// Makes a task, unless it exists. What it waits for, and its queue, exist; nobody holds its unique key.
    pub(crate) fn add(&mut self, new: &Arc<NewTask>) {
        if self.subjects.task(new.key).is_some() {
            return;
        }
        let Some(queue) = self.subjects.queue(new.asked.queue) else { return };
        let edges = edges_of(new, |parent| self.made.get(&parent).or_else(|| self.subjects.task(parent)));
        let mut changes = Vec::new();
        let plan = Plan::of(&new.asked, &queue.settings, self.cx.now);
        let follow_up = first_steps(self.cx, new, plan, edges, &mut changes);
        if let Some(external) = &new.external {
            let correlated = Change::Correlated { attempt: None, external: external.clone() };
            self.decision.follow_ups.extend(correlation::unpark(self.subjects, &correlated));
            changes.insert(1, correlated);
        }
        let now = self.cx.now;
        let mut task: Option<Task> = None;
        for change in &changes {
            task = Some(task.map_or_else(|| Task::born(now, change), |task| task.evolve(now, change)));
        }
        self.made.extend(task.map(|task| (new.key, task)));
        self.decision.changes.extend(changes.into_iter().map(|change| (new.key, change)));
        self.decision.follow_ups.extend(follow_up);
        if self.subjects.parked_count(new.key.into()) > 0 && !cfg!(planted = "unpark_is_forgotten") {
            self.decision.follow_ups.push(FollowUp::Unpark { task: new.key, after: EventKey::default() });
        }
    }

    /// Whether this decision has made the task.
    pub(crate) fn has_made(&self, key: TaskKey) -> bool {
        self.made.contains_key(&key)
    }
}

fn edges_of<'a>(new: &NewTask, parent: impl Fn(TaskKey) -> Option<&'a Task>) -> Vec<(TaskKey, Edge)> {
    let edges = new
        .after
        .iter()
        .filter_map(|edge| Some((edge.parent, dependency::edge_to(parent(edge.parent)?, edge.on))));
    // An edge that is met at once can never matter again.
    edges.filter(|(_, edge)| edge.status != EdgeStatus::Met).collect()
}

fn first_steps(
    cx: &Context,
    new: &Arc<NewTask>,
    plan: Plan,
    edges: Vec<(TaskKey, Edge)>,
    changes: &mut Vec<Change>,
) -> Option<FollowUp> {
    let broken = edges.iter().find(|(_, edge)| edge.status == EdgeStatus::Broken).map(|(parent, _)| *parent);
    let pending = !edges.is_empty();
    let created = Change::Created { new: new.clone(), plan: Arc::new(plan), edges };
    let task = Task::born(cx.now, &created);
    changes.push(created);
    match broken {
        // Nobody waits for it yet but tasks of the same creation, and those see its state directly.
        Some(parent) => changes.push(Change::Skipped { parent }),
        None if task.is_behind_its_deadline(cx.now) => {
            changes.extend([Change::DeadlinePassed, Change::Failed]);
        }
        None if pending => changes.push(Change::Blocked),
        None => return steps::start(cx, &task, changes),
    }
    None
}

fn refused(why: Refused) -> Decision {
    Decision::answer(Outcome::Refused(why))
}
