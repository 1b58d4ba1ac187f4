//! What goes after its time, and which requests happen at most once.

use super::*;

/// Stands in the name of a task that is gone, behind its id.
const GONE: &str = ", gone in step ";
/// So long a request's key is remembered.
const KEY_FOR: Time = 24 * HOUR;

impl Model {
    /// Tasks and webhooks stay for so long behind their end; `None`: for ever.
    pub fn retains(&mut self, age: Option<Time>) {
        self.age = age;
    }

    /// G4: of the tasks none has gone but those that ended long enough ago. Whoever waits for one still has to hear of it.
    pub fn has_swept(&mut self, now: Time, is_there: impl Fn(&str) -> bool) -> Verdict {
        self.swept_at = now;
        let left = self.tasks.iter().filter(|(id, task)| !task.is_gone && !is_there(id));
        let left: Vec<String> = left.map(|(id, _)| id.clone()).collect();
        for id in left {
            let task = &self.tasks[&id];
            let is_old = task.state.is_end() && self.age.is_some_and(|age| task.ended_at + age < now);
            must(is_old, || format!("G4: {id} is gone at {now}: {task:?}"))?;
            self.note("a task that is gone after its time");
            self.takes_leave(&id);
        }
        Ok(())
    }

    /// Under its id another one may come. Those that waited for it still know of this one, by another name.
    fn takes_leave(&mut self, id: &str) {
        let name = format!("{id}{GONE}{}", self.step);
        let is_other = |(task, _): &(String, u32)| task != id;
        self.externals.retain(|_, (task, ..)| task != id);
        self.seen.retain(|of, _| is_other(of));
        self.answers.retain(|of, _| is_other(of));
        self.located.retain(is_other);
        self.told.retain(|of, _| is_other(of));
        self.asked.retain(|of, _| is_other(of));
        if let Some(key) = self.keys.get(id).copied() {
            self.keys.insert(name.clone(), key);
        }
        for task in self.tasks.values_mut() {
            let parents = task.wish.after.iter_mut().filter(|(parent, _)| parent == id);
            parents.for_each(|(parent, _)| parent.clone_from(&name));
            if task.met.remove(id) {
                task.met.insert(name.clone());
            }
        }
        if let Some(task) = self.tasks.remove(id) {
            self.tasks.insert(name, Task { is_gone: true, ..task });
        }
    }

    /// Nothing that is old is left: no task, and no webhook but one that waits.
    pub fn is_swept(&self, now: Time, has_event: impl Fn(u64) -> bool) -> Verdict {
        let is_old = |task: &Task| self.age.is_some_and(|age| task.ended_at + age < now);
        let left = self.tasks.iter().find(|(_, task)| !task.is_gone && task.state.is_end() && is_old(task));
        must(left.is_none(), || format!("it stays for ever: {left:?}"))?;
        let left = self.acknowledged.iter().find(|event| self.may_be_gone(**event) && has_event(**event));
        must(left.is_none(), || format!("webhook {left:?} stays for ever"))
    }

    /// Whether a webhook was old when a sweep has passed: one that waits for its task does so for a day.
    pub(super) fn may_be_gone(&self, event: u64) -> bool {
        let waits = if self.waiting.contains(&event) { 24 * HOUR } else { 0 };
        let age = self.age.map(|age| age.max(waits));
        age.is_some_and(|age| self.heard_at.get(&event).is_some_and(|at| at + age < self.swept_at))
    }

    /// The call to a remote that this task makes: one whose id is taken goes under a longer one.
    pub(super) fn call_of(&self, id: &str) -> Option<String> {
        let is_it = |call: &str| {
            let rest = id.strip_prefix(call);
            let key = rest.and_then(|rest| rest.strip_prefix('~'));
            let is_key = key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_digit()));
            rest == Some("") || (self.tasks.contains_key(call) && is_key)
        };
        self.calls.iter().find(|call| is_it(call)).cloned()
    }

    /// Whether there was a task with this id.
    pub(super) fn was_there(&self, id: &str) -> bool {
        let start = format!("{id}{GONE}");
        self.tasks.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
    }

    /// A user asks for this task under a key, and again under the same one when there is no answer: each time with another
    /// id, as the server gives them.
    pub fn asks_once(&mut self, key: u64, id: &str) {
        self.keys.insert(id.into(), key);
    }

    /// Whether it is asked for under a key.
    #[must_use]
    pub fn is_under_a_key(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    fn made_under(&self, key: u64) -> impl Iterator<Item = (&String, &Task)> {
        self.tasks.iter().filter(move |(id, _)| self.keys.get(*id) == Some(&key))
    }

    /// G6: under a key there is one task, for a day.
    pub(super) fn is_first_under_its_key(&self, fact: &Fact) -> Verdict {
        let Some(key) = self.keys.get(&fact.task) else { return Ok(()) };
        let first = self.made_under(*key).find(|(_, task)| task.created_at + KEY_FOR > fact.at);
        must(first.is_none(), || format!("G6: a second task for one request: {first:?}"))
    }

    /// A request was answered that it has happened already.
    pub fn has_happened(&mut self, key: u64) -> Verdict {
        self.note("a request that is repeated");
        let of_key = self.keys.iter().filter(|(_, other)| **other == key);
        let of_key = of_key.filter_map(|(id, _)| self.wishes.get(id));
        // A refusal is an answer too.
        let is_refused = of_key.flatten().any(|wish| wish.unique.is_some() || !wish.after.is_empty());
        let happened = is_refused || self.made_under(key).next().is_some();
        must(happened, || "G1: nothing has happened under this key".into())
    }
}

impl Task {
    /// What it waits for, if that has or had this id.
    pub(super) fn edge(&self, parent: &str) -> Option<&(String, On)> {
        self.wish.after.iter().find(|(name, _)| name.split(GONE).next() == Some(parent))
    }
}
