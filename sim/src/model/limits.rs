//! The limits of queues.

use super::*;

impl Model {
    /// G12: at no commit more attempts are open, or begun in a window, than the limits say.
    pub(super) fn is_within_limits(&mut self, fact: &Fact) -> Verdict {
        let wish = &self.tasks[&fact.task].wish;
        let (queue, key) = (wish.queue.clone(), wish.key.clone());
        let limits = self.queues.get(&queue).cloned().unwrap_or_default();
        must(!self.paused.contains(&queue), || format!("{queue} is paused"))?;
        let mut all = vec![(None, limits.concurrency, limits.rate)];
        if key.is_some() {
            all.push((key, limits.key_concurrency, limits.key_rate));
        }
        for (key, concurrency, rate) in all {
            let is_counted = |task: &&Task| {
                let place = task.open && !task.wish.is_external && task.wish.queue == queue;
                place && (key.is_none() || task.wish.key == key)
            };
            if let Some(limit) = concurrency {
                let open = self.tasks.values().filter(is_counted).count();
                must(open < limit as usize, || {
                    format!("G12: {open} attempts of {limit} are open in {queue}")
                })?;
                if open + 1 == limit as usize {
                    self.note("a limit that is reached");
                }
            }
            let begun = self.begun.entry((queue.clone(), key)).or_default();
            if let Some(rate) = rate {
                let within = begun.iter().rev().take_while(|at| **at > fact.at - rate.per).count();
                let most = (rate.limit + rate.burst - 1) as usize;
                must(within < most, || format!("G12: {within} of {most} began in one window in {queue}"))?;
            }
            begun.push(fact.at);
            if rate.is_some() {
                self.note("a rate that is looked at");
            }
        }
        Ok(())
    }
}
