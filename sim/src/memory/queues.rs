//! Queues: what a visit looks at, and what it leaves. Found by walking over the lines, since here nobody waits for it.

use std::collections::{BTreeMap, BTreeSet};

use taskhook_core::queue::Closed;
use taskhook_core::queue::admission::{self, Standing, Visit};
use taskhook_core::subjects::Page;
use taskhook_core::{
    ConcurrencyKey, Context, Decided, HostKey, KeyUse, Line, QueueChange, QueueKey, Subjects, TaskKey, limits,
};

use super::data::Data;

impl Data {
    /// What a visit of the queue needs, for as many tasks as could start now at the most.
    pub(super) fn load_visit(&self, cx: &Context, key: QueueKey, subjects: &mut Subjects) {
        subjects.put_queue(key, self.queues.get(&key).cloned());
        let Some(queue) = self.queues.get(&key) else { return };
        let wanted = admission::wanted(cx, queue);
        let mut visit = Visit::default();
        if wanted == 0 {
            subjects.put_visit(key, visit);
            return;
        }
        let mut waiting: BTreeMap<Line, Vec<(TaskKey, HostKey)>> = BTreeMap::new();
        for ((line, _, task), host) in self.ready.iter().filter(|((line, _, _), _)| line.queue == key) {
            waiting.entry(*line).or_default().push((*task, *host));
        }
        for (line, why) in self.closed.iter().filter(|(line, _)| line.queue == key) {
            let room = queue.settings.key_room(line.key, self.key_use(line), cx.now);
            match (why, room) {
                // Of a key that has a place and is at its rate, the next look finds out when it has room.
                (Closed::KeyLimit, Ok(_) | Err(Closed::KeyRate(_))) | (Closed::KeyRate(_), Ok(_)) => {
                    visit.freed.push(*line);
                }
                (Closed::KeyRate(_), Err(Closed::KeyRate(at))) => {
                    visit.next_free = visit.next_free.into_iter().chain([at]).min();
                }
                _ => {}
            }
        }
        if visit.freed.is_empty() {
            let open = self.open.keys().filter(|line| line.queue == key);
            let mut open: Vec<(Line, Vec<(TaskKey, HostKey)>)> =
                open.map(|line| (*line, waiting.remove(line).unwrap_or_default())).collect();
            open.sort_by_key(|(line, _)| {
                let last = self.turns.get(&(key, line.priority));
                (-line.priority, last.is_some_and(|last| line.key <= *last), line.key)
            });
            let lines_max = admission::lines_wanted(wanted);
            visit.more = open.len() > lines_max;
            open.truncate(lines_max);
            let share = (wanted, open.len());
            for (line, tasks) in open {
                let used = self.key_use(&line);
                visit.keys.insert(line.key, used);
                let max = admission::wanted_of_line(cx, queue, line.key, used, share);
                visit.lines.push(standing(cx, line, &tasks, max));
            }
        }
        for task in visit.lines.iter().flat_map(|standing| &standing.tasks) {
            self.load_task(*task, subjects);
        }
        subjects.put_visit(key, visit);
    }

    fn key_use(&self, line: &Line) -> KeyUse {
        self.key_uses.get(&(line.queue, line.key)).copied().unwrap_or_default()
    }

    /// The lines that wait for a place with a host, as many as there are places.
    pub(super) fn load_waiting_for_host(&self, cx: &Context, host: HostKey, subjects: &mut Subjects) {
        let places = usize::try_from(cx.permits.free_with(host, cx.now)).unwrap_or(usize::MAX);
        let max = places.min(limits::HOST_PAGE);
        let waits = |why: &Closed| matches!(why, Closed::Hosts(hosts) if hosts.contains(&host));
        let mut rows: Vec<Line> =
            self.closed.iter().filter(|(_, why)| waits(why)).map(|(line, _)| *line).collect();
        rows.sort_by_key(|line| -line.priority);
        let more = rows.len() > max;
        rows.truncate(max);
        subjects.put_waiting_for_host(host, Page { rows, more });
    }

    /// What has become of queues.
    pub(super) fn save_queues(&mut self, decided: &[Decided], subjects: &Subjects) {
        for (key, change) in decided.iter().flat_map(|one| &one.decision.queues) {
            match change {
                QueueChange::Began { line } => {
                    self.turns.put((*key, line.priority), line.key);
                    let paced = subjects.key_use(*key, line.key).map(|used| used.paced);
                    let used = self.key_use(line);
                    let paced = paced.unwrap_or(used.paced);
                    self.key_uses.put((*key, line.key), KeyUse { paced, ..used });
                }
                QueueChange::Defined { settings, .. } => {
                    let furthest = settings.key_rate.map_or(self.now, |rate| rate.furthest(self.now));
                    let of_queue = (*key, ConcurrencyKey(i64::MIN))..=(*key, ConcurrencyKey(i64::MAX));
                    let uses: Vec<_> =
                        self.key_uses.range(of_queue).map(|(key, used)| (*key, *used)).collect();
                    for (of_key, used) in uses {
                        self.key_uses.put(of_key, KeyUse { paced: used.paced.min(furthest), ..used });
                    }
                }
                QueueChange::LineClosed { line, why } => {
                    self.open.remove(line);
                    if *why != Closed::Empty {
                        self.closed.put(*line, why.clone());
                    }
                }
                QueueChange::LineOpened { line } => {
                    self.open.put(*line, ());
                    self.closed.remove(line);
                }
                _ => {}
            }
            // The attempts that are open are counted as each task changes.
            let open = self.queues.get(key).map_or(0, |queue| queue.open);
            if subjects.has_loaded_queue(*key)
                && let Some(queue) = subjects.queue(*key)
            {
                self.queues.put(*key, taskhook_core::Queue { open, ..queue.clone() });
            }
        }
    }
}

/// The first `max` tasks of a line, but for those whose host has no place.
fn standing(cx: &Context, line: Line, waiting: &[(TaskKey, HostKey)], max: usize) -> Standing {
    let mut standing = Standing { line, tasks: Vec::new(), more: false, blocked: Vec::new() };
    let hosts: BTreeSet<HostKey> = waiting.iter().map(|(_, host)| *host).collect();
    let mut wanted: BTreeMap<HostKey, usize> = BTreeMap::new();
    for host in hosts {
        let places = usize::try_from(cx.permits.free_with(host, cx.now)).unwrap_or(usize::MAX);
        let waits = waiting.iter().filter(|(_, of)| *of == host).count();
        wanted.insert(host, places.min(max));
        // They wait for a place with this host, once those before them have begun.
        if places < max && waits > places {
            standing.blocked.push(host);
        } else if waits > max {
            standing.more = true;
        }
    }
    for (task, host) in waiting {
        let Some(left) = wanted.get_mut(host).filter(|left| **left > 0) else { continue };
        *left -= 1;
        match standing.tasks.len() < max {
            true => standing.tasks.push(*task),
            false => standing.more = true,
        }
    }
    standing
}
