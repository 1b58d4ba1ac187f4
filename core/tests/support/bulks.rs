//! The bulks of the small world, called by numbers: `bulk 1 cancel state=queued rate=1/1s` begins one, `bulk 1 stop`
//! cancels it, `bulk 1 look` looks at it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use taskhook_core::bulk::{Bulk, Facts, Filter, Settings};
use taskhook_core::{
    BulkChange, BulkCommand, BulkKey, Command, Context, Input, QueueKey, State, Subjects, Timestamp,
};

use super::World;
use super::script::{number, rate, span, value_of};

impl World {
    pub(crate) fn bulk_command(&self, words: &str) -> Input {
        let (key, rest) = words.split_once(' ').expect("a number, and what to do");
        let key = BulkKey(number(key));
        let (verb, options) = rest.split_once(' ').unwrap_or((rest, ""));
        let command = match verb {
            "look" => return Input::WakeBulk(key),
            "stop" => return Input::Bulk(key, BulkCommand::Cancel),
            "cancel" => Command::Cancel,
            "trigger" => Command::Trigger,
            "retry" => Command::Retry { ignore_dependencies: options.contains("ignoring") },
            other => panic!("no such verb: {other}"),
        };
        let value = |name: &str| value_of(options, name);
        let states = value("state").into_iter().flat_map(|states| states.split('|'));
        let settings = Settings {
            command,
            filter: Filter {
                states: states.map(|name| State::from_name(name).expect("a state")).collect(),
                queue: value("queue").map(|queue| QueueKey(number(queue))),
                created_after: value("since").map(|ago| self.now - span(ago)),
                ..Filter::default()
            },
            rate: value("rate").map(rate),
        };
        Input::Bulk(key, BulkCommand::Begin(Arc::new(settings)))
    }

    /// When the next bulk wants to be looked at.
    pub(crate) fn bulk_wakes(&self) -> Option<(Timestamp, BulkKey)> {
        self.bulks.values().filter_map(|bulk| Some((bulk.wake_at?, bulk.key))).min()
    }

    pub(crate) fn load_bulk(&self, subjects: &mut Subjects, key: BulkKey) {
        subjects.put_bulk(key, self.bulks.get(&key).cloned());
    }

    pub(crate) fn load_look(&self, cx: &Context, subjects: &mut Subjects, key: BulkKey) {
        self.load_bulk(subjects, key);
        let Some(bulk) = self.bulks.get(&key) else { return };
        let Some(mut look) = bulk.look(cx.now) else { return };
        // No task of this world has a name or labels.
        let labels = BTreeMap::new();
        for task in self.tasks.range((Bound::Excluded(look.after), Bound::Unbounded)).map(|(_, task)| task) {
            let (state, queue, created_at) = (task.state, task.plan.queue, task.created_at);
            let facts = Facts { state, queue, created_at, name: None, labels: &labels };
            let is_of_then = task.key <= bulk.until && created_at <= bulk.began_at;
            if !look.take(task.key, is_of_then && bulk.settings.wants(&facts)) {
                break;
            }
        }
        subjects.put_look(key, look);
    }

    pub(crate) fn load_bulk_command(&self, subjects: &mut Subjects, key: BulkKey, command: &BulkCommand) {
        self.load_bulk(subjects, key);
        if let BulkCommand::Begin(settings) = command {
            settings.filter.queue.iter().for_each(|queue| self.load_queue(subjects, *queue));
            subjects.put_running_bulks(self.bulks.values().filter(|bulk| bulk.is_running()).count());
            subjects.put_newest_task(self.tasks.keys().next_back().copied());
        }
    }

    pub(crate) fn save_bulks(&mut self, changes: &[(BulkKey, BulkChange)], subjects: &Subjects) {
        for (key, _) in changes {
            self.bulks.extend(subjects.bulk(*key).map(|bulk| (*key, bulk.clone())));
        }
    }
}

/// What has become of every bulk: `1 running: 2 of 3, 1 refused`.
pub(crate) fn bulks(world: &World) -> String {
    world.bulks.values().map(words).collect::<Vec<_>>().join(", ")
}

fn words(bulk: &Bulk) -> String {
    let counts = bulk.counts;
    let refused = if counts.refused > 0 { format!(", {} refused", counts.refused) } else { String::new() };
    format!("{} {}: {} of {}{refused}", bulk.key.0, bulk.state.name(), counts.applied, counts.matched)
}
